"""What a device says of its own work: lines that wait until whoever runs the plan collects them.

Lines hold names, sizes and times; never tensors, arguments or secrets.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from gaisnet.schema.watch import LogLevel

__all__ = ["DeviceLog", "secrets_of"]

_MOST_LINES = 20_000
_STEPS = frozenset(
    {"read", "hold", "start", "set_modules", "get_modules", "close_cluster", "close"}
)
"""Methods of services that are steps of a run, and not of a batch."""
_HIDDEN = "***"


class DeviceLog(logging.Handler):
    """A device's log, as JSON lines: ``time`` (UTC), ``level``, ``device``, ``message``.

    It takes what libraries say, too, where it is made a handler of theirs.

    Args:
        device: Id of the device.
        level: Least level that is kept.
        secrets: Texts that must not stand in it.
        most_lines: The oldest are dropped if more than so many wait; how many is said.
    """

    def __init__(
        self,
        device: str,
        level: LogLevel = "info",
        secrets: frozenset[str] = frozenset(),
        most_lines: int = _MOST_LINES,
    ) -> None:
        super().__init__(level.upper())
        self._device, self._secrets = device, secrets
        self._lines: deque[str] = deque(maxlen=most_lines)
        self._dropped = 0
        self._logger = logging.Logger(device, level.upper())
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        text = record.getMessage()
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        self._dropped += len(self._lines) == self._lines.maxlen
        self._lines.append(_line(record.created, record.levelname.lower(), self._device, text))

    def take(self) -> tuple[str, ...]:
        """The lines since the last call."""
        self.acquire()
        try:
            lines, dropped = tuple(self._lines), self._dropped
            self._lines.clear()
            self._dropped = 0
        finally:
            self.release()
        if not dropped:
            return lines
        now = datetime.now(UTC).timestamp()
        told = _line(now, "warning", self._device, f"{dropped} lines before these were dropped")
        return (told, *lines)

    def placed(self, service: str, seconds: float) -> None:
        """A service is in place."""
        self._logger.info("%s is in place after %.3f s", service, seconds)

    def called(self, doing: str, seconds: float, made_bytes: int) -> None:
        """A call is done."""
        level = logging.INFO if doing.rpartition(".")[2] in _STEPS else logging.DEBUG
        self._logger.log(level, "%s took %.6f s and made %d bytes", doing, seconds, made_bytes)

    def sent(self, receiver: str, frame_bytes: int) -> None:
        """A frame has reached another device."""
        self._logger.debug("sent %d bytes to %s", frame_bytes, receiver)

    def failed(self, doing: str, error: BaseException) -> None:
        """Something went wrong."""
        self._logger.error("%s failed: %s: %s", doing, type(error).__name__, error)

    def warn(self, text: str) -> None:
        """Something is not as it should be."""
        self._logger.warning("%s", text)


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """Ray's token, as it stands in the environment or in the file that is named there."""
    found = {environment.get("RAY_AUTH_TOKEN", "")}
    path = environment.get("RAY_AUTH_TOKEN_PATH")
    if path and os.path.isfile(path):
        found.add(Path(path).read_text(encoding="utf-8", errors="replace").strip())
    return frozenset(found - {""})


def _line(time_s: float, level: str, device: str, message: str) -> str:
    time = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
    fields = {"time": time, "level": level, "device": device, "message": message}
    return json.dumps(fields, ensure_ascii=False)
