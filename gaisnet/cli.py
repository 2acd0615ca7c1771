"""The command line: which commands there are; ``gaisnet/commands`` says what each of them does.

Nothing heavy is imported before a command runs, so that ``gaisnet --help`` answers at once.
"""

from __future__ import annotations

import os

import typer

from gaisnet.commands.cluster import certs, drain, join
from gaisnet.commands.execute import execute
from gaisnet.commands.inspect import doctor, report
from gaisnet.commands.plan import plan
from gaisnet.commands.profile import profile
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
    app()


if __name__ == "__main__":
    main()
