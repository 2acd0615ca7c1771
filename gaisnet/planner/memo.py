"""What was solved before: an equal problem under the same figures is solved once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gaisnet.errors import InfeasibleError

__all__ = ["Memo"]

T = TypeVar("T")


class Memo:
    """Answers by question. That there is none is an answer too."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], dict[str, Any]] = {}
        self._figures: list[tuple[object, ...]] = []
        """Kept, so that no other object gets the identity of one that is gone."""
        self.asked = 0
        """Questions so far."""

    @property
    def solved(self) -> int:
        """Questions that were not known before."""
        return sum(map(len, self._known.values()))

    def recall(self, figures: tuple[object, ...], question: str, solve: Callable[[], T]) -> T:
        """The answer that was given before, else that of ``solve``.

        Args:
            figures: What the answer depends on by identity: the very cost model and fleet.
            question: All else that it depends on.
            solve: A pure function.

        Raises:
            InfeasibleError: ``solve`` did, now or before.
        """
        self.asked += 1
        known = self._under(figures)
        if question not in known:
            try:
                known[question] = solve()
            except InfeasibleError as error:
                known[question] = error
        answer = known[question]
        if isinstance(answer, InfeasibleError):
            raise answer
        found: T = answer
        return found

    def _under(self, figures: tuple[object, ...]) -> dict[str, Any]:
        key = tuple(map(id, figures))
        if key not in self._known:
            self._known[key] = {}
            self._figures.append(figures)
        return self._known[key]
