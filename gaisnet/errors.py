"""Every error that gaisnet raises on purpose, and the exit code of each.

    GaisnetError                    1
    ├── UsageError                  2    the command line asks for something impossible
    ├── InputError                 10    an input file is missing, malformed or inconsistent
    ├── ModelError                 11    a model cannot be loaded, or cannot be split
    ├── InfeasibleError            12    no plan satisfies the constraints
    ├── UnprovenError              13    a plan was written, but not with the gap asked for
    ├── MismatchError              14    a plan does not match model, profiles or devices
    ├── OutputError                15    a result cannot be written (disk full, no permission)
    ├── RunError                   20    a run failed after its retries; its checkpoint is kept
    │   └── QuorumError            21    too few devices are left to close a round
    ├── SecurityError              22    refused for safety
    └── InterruptedRunError       130    stopped by the user; state is saved

The command line turns each into one message and its ``exit_code`` (docs/exit-codes.md).
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "GaisnetError",
    "InfeasibleError",
    "InputError",
    "InterruptedRunError",
    "MismatchError",
    "ModelError",
    "OutputError",
    "QuorumError",
    "RunError",
    "SecurityError",
    "UnprovenError",
    "UsageError",
]


class GaisnetError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: What was wrong, and with which value.
        where: The file and field, device or unit concerned.
        hint: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  → {self.hint}" if self.hint else ""
        return f"{place}{self.message}{advice}"


class UsageError(GaisnetError):
    """The command line asks for something impossible."""

    exit_code: ClassVar[int] = 2


class InputError(GaisnetError):
    """A file given to gaisnet is missing, malformed or inconsistent."""

    exit_code: ClassVar[int] = 10


class ModelError(GaisnetError):
    """A model cannot be loaded, or cannot be split."""

    exit_code: ClassVar[int] = 11


class InfeasibleError(GaisnetError):
    """No plan satisfies the constraints; the message names the one that binds.

    Args:
        message: As in ``GaisnetError``.
        where: As there.
        hint: As there.
        conflict: Constraints that cannot all hold, none to spare, where they are known.
        mend: The smallest change of one of them after which there is a plan.
    """

    exit_code: ClassVar[int] = 12

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        conflict: tuple[str, ...] = (),
        mend: str | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.conflict = conflict
        self.mend = mend

    def __str__(self) -> str:
        told = super().__str__()
        if self.conflict:
            told += f"\n  these cannot all hold: {', '.join(self.conflict)}"
        return f"{told}\n  → smallest mend: {self.mend}" if self.mend else told


class UnprovenError(GaisnetError):
    """A plan was written, but its gap is wider than the one that was asked for."""

    exit_code: ClassVar[int] = 13


class MismatchError(GaisnetError):
    """A plan does not match the model, the profiles or the devices found."""

    exit_code: ClassVar[int] = 14


class OutputError(GaisnetError):
    """A result cannot be written: the disk is full, or the place is not writable."""

    exit_code: ClassVar[int] = 15


class RunError(GaisnetError):
    """A run failed after its retries; its last checkpoint is kept."""

    exit_code: ClassVar[int] = 20


class QuorumError(RunError):
    """Too few devices are left to close a round."""

    exit_code: ClassVar[int] = 21


class SecurityError(GaisnetError):
    """Refused for safety."""

    exit_code: ClassVar[int] = 22


class InterruptedRunError(GaisnetError):
    """Stopped by the user; everything up to the last checkpoint is saved."""

    exit_code: ClassVar[int] = 130
