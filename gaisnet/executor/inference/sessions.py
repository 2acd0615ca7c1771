"""The key-value caches that one stage keeps for the batches that are being generated."""

from __future__ import annotations

from gaisnet.executor.inference.growing import new_session
from gaisnet.executor.inference.port import SessionLostError, Turn
from gaisnet.models import KVSession, Stage

__all__ = ["Sessions"]


class Sessions:
    """Caches of one stage, by session."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._open: dict[str, KVSession] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def bytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(session.bytes for session in self._open.values())

    def of(self, turn: Turn) -> KVSession | None:
        """The cache that a pass builds on; a new one at position 0; none without a session.

        Raises:
            SessionLostError: The cache is not there, or has seen another number of tokens.
        """
        if not turn.session:
            return None
        if turn.position == 0:
            self._open[turn.session] = new_session(self._stage)
        held = self._open.get(turn.session)
        if held is None or held.length != turn.position:
            found = "no cache" if held is None else f"a cache of {held.length} tokens"
            raise SessionLostError(
                f"units {self._stage.first_unit} to {self._stage.last_unit} have {found} of "
                f"session {turn.session}, which is at token {turn.position}",
                hint="replay the session's tokens from position 0",
            )
        return held

    def end(self, session: str) -> None:
        """Forget a session, if it is known."""
        self._open.pop(session, None)
