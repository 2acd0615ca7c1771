"""The command line: which commands there are; ``gaisnet/commands`` says what each of them does.

Nothing heavy is imported before a command runs, so that ``gaisnet --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

import typer

from gaisnet.commands.cluster import certs, drain, join
from gaisnet.commands.execute import execute
from gaisnet.commands.inspect import doctor, report
from gaisnet.commands.plan import plan
from gaisnet.commands.profile import profile
from gaisnet.errors import OutputError
from gaisnet.options.common import Version

__all__ = ["app", "main"]

app = typer.Typer(
    name="gaisnet",
    epilog="Exit codes: 0 done, 2 usage, 10 input file, 11 model, 12 infeasible, 13 unproven, "
    "14 mismatch, 15 cannot write, 20 run failed, 21 quorum, 22 security, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(version: Version = False) -> None:
    """Fine-tune and serve a foundation model over a fleet of unequal devices."""


for _command in (profile, plan, execute, report, doctor, join, drain, certs):
    app.command()(_command)


def main() -> None:
    """The entry point of the ``gaisnet`` command."""
    # transformers draws bars of its own, which --quiet and --format json must not show.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app()
    except OSError as error:  # of --help and --version: a command tells of its own
        with suppress(OSError):
            typer.echo(f"error: standard output: cannot write: {error.strerror}", err=True)
        raise SystemExit(OutputError.exit_code) from error
    finally:
        _drop_what_nobody_takes(sys.stdout)
        _drop_what_nobody_takes(sys.stderr)


def _drop_what_nobody_takes(stream: TextIO | None) -> None:
    """Python would try again to write it while it ends, with a traceback and another exit code."""
    if stream is None:  # it was closed before gaisnet began
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
