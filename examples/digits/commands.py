"""Runs the three gaisnet commands as a user would."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

__all__ = ["CommandFailed", "gaisnet"]


class CommandFailed(Exception):  # noqa: N818 - it is what happened, and never leaves the example
    """A gaisnet command ended with an exit code other than 0; it has said why itself."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


def gaisnet(console: Console, *arguments: str | Path) -> None:
    """Show a command line and run it, its output going where ours goes.

    Raises:
        CommandFailed: It did not end with 0.
    """
    words = [str(argument) for argument in arguments]
    console.print(f"[bold cyan]$ gaisnet {shlex.join(words)}[/bold cyan]", soft_wrap=True)
    # So small a model gains nothing from a second thread, which costs much on busy cores.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    done = subprocess.run([sys.executable, "-m", "gaisnet.cli", *words], env=environment)
    if done.returncode != 0:
        raise CommandFailed(done.returncode)
