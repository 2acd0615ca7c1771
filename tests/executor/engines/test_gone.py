"""What Ray says of a process that is there no more, in few words."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError

from gaisnet.executor.engines.ray.health import ENDED, GONE, why_gone


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ActorDiedError(), ENDED),
        (ActorUnavailableError("no connection", None), ENDED),
        (OutOfMemoryError("a page about the memory"), f"{ENDED}: its machine ran out of memory"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_process_that_ended_or_was_ended_for_want_of_memory_is_lost(error: RayError, why: str):
    """So that a run goes on without it."""
    assert isinstance(error, GONE)
    assert why_gone(error) == why
