"""What a command says, where it says it, and how it ends."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gaisnet.errors import GaisnetError, OutputError
from gaisnet.schema.files import canonical_json, write_atomic

__all__ = ["Format", "ProgressCallback", "Session"]

Format = Literal["text", "json"]
ProgressCallback = Callable[[str, float | None], None]
"""Told what is being done, and the share of the whole that is done, if that is known."""

_SHOW_AFTER_S = 2.0
_LOOKS_PER_S = 4.0
_WIDTH_WITHOUT_TERMINAL = 120
_INTERRUPTED = 130


class Session:
    """The one place where a command's results, progress and failures reach the user.

    With ``text``, results go to standard output and progress to standard error. With ``json``,
    one JSON document goes to standard output and all else to standard error. As a context it
    turns every failure into a message and its exit code (docs/exit-codes.md).

    Args:
        form: What standard output gets.
        quiet: Whether text for people and progress are left out; failures are always told.
    """

    def __init__(self, form: Format = "text", *, quiet: bool = False) -> None:
        self._form = form
        self._quiet = quiet
        self._answered = False
        self._people = _console(stderr=form == "json")
        self._stderr = _console(stderr=True)

    def show(self, *views: RenderableType) -> None:
        """Text for people."""
        if not self._quiet:
            with suppress(OSError) if self._form == "json" else _told_if_full():
                for view in views:
                    self._people.print(view)

    def note(self, text: str) -> None:
        """A remark on standard error; nothing fails where that is full."""
        if not self._quiet:
            with suppress(OSError):
                self._stderr.print(text, style="dim", markup=False, highlight=False)

    def answer(self, data: Any) -> None:
        """The result for programs: one JSON document, if that was asked for."""
        if self._form == "json" and not self._answered:
            text = canonical_json(data) if isinstance(data, BaseModel) else _json(data)
            self._answered = True
            if sys.stdout is None:  # it was closed before gaisnet began
                return
            with _told_if_full():
                sys.stdout.write(text)
                sys.stdout.flush()

    def deliver(
        self, result: BaseModel, view: RenderableType, output: Path | None, *, force: bool
    ) -> None:
        """Writes a result to its file, and shows it.

        Raises:
            UsageError: The file exists and ``force`` is false.
            OutputError: It cannot be written.
        """
        if output is not None:
            write_atomic(output, canonical_json(result), force=force)
        self.show(view)
        if output is not None:
            self.note(f"written to {output}")
        self.answer(result)

    @contextmanager
    def live(self, view: RenderableType) -> Iterator[bool]:
        """A view that is drawn again and again where results go, if that is a terminal.

        Yields:
            Whether it is shown.
        """
        if self._quiet or not self._people.is_terminal:
            yield False
            return
        with Live(view, console=self._people, transient=True, refresh_per_second=_LOOKS_PER_S):
            yield True

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """A progress bar on standard error, if it is a terminal and the work takes a while."""
        if self._quiet or not self._stderr.is_terminal:
            yield _ignore
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
        shown = Progress(*columns, TimeElapsedColumn(), console=self._stderr, transient=True)
        task = shown.add_task(escape(title), total=None)
        timer = threading.Timer(_SHOW_AFTER_S, shown.start)
        timer.daemon = True
        timer.start()
        try:
            yield lambda what, done: shown.update(
                task,
                description=escape(f"{title}: {what}"),
                total=None if done is None else 1.0,
                completed=done,
            )
        finally:
            timer.cancel()
            timer.join(_SHOW_AFTER_S)
            shown.stop()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, SystemExit | BrokenPipeError):
            return
        if os.environ.get("GAISNET_DEBUG") == "1":
            self._stderr.print(*traceback.format_exception(error), markup=False, highlight=False)
        failure = _Failure(error)
        with suppress(OSError, OutputError):  # there the exit code alone tells
            self._stderr.print(failure.text(), markup=False, highlight=False, soft_wrap=True)
        with suppress(OSError, OutputError):
            self.answer(failure.document())
        raise SystemExit(failure.exit_code) from error


@contextmanager
def _told_if_full() -> Iterator[None]:
    """Who closes a pipe has read enough; any other failure is a result that cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write: {error.strerror}",
            where="standard output",
            hint="send it somewhere else, or name a file with --output",
        ) from error


class _Failure:
    """An exception as the user is told of it."""

    def __init__(self, error: BaseException) -> None:
        self.kind = type(error).__name__
        self.where: str | None = None
        self.hint: str | None = None
        self.conflict: tuple[str, ...] = getattr(error, "conflict", ())
        self.mend: str | None = getattr(error, "mend", None)
        if isinstance(error, GaisnetError):
            self.exit_code = error.exit_code
            self.message, self.where, self.hint = error.message, error.where, error.hint
        elif isinstance(error, KeyboardInterrupt):
            self.exit_code = _INTERRUPTED
            self.message = "interrupted; nothing was written"
        else:
            self.exit_code = 1
            self.message = f"this is a bug in gaisnet: {self.kind}: {error}"
            self.hint = "run again with GAISNET_DEBUG=1 for the traceback, and report it"

    def text(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  → {self.hint}" if self.hint else ""
        told = f"error: {place}{self.message}{advice}"
        if self.conflict:
            told += f"\n  these cannot all hold: {', '.join(self.conflict)}"
        return f"{told}\n  → smallest mend: {self.mend}" if self.mend else told

    def document(self) -> dict[str, Any]:
        fields = ("kind", "exit_code", "message", "where", "hint")
        document = {name: getattr(self, name) for name in fields}
        if self.conflict:
            document |= {"conflict": list(self.conflict), "mend": self.mend}
        return {"error": document}


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _ignore(what: str, done: float | None, /) -> None:
    """Progress that nobody sees."""
