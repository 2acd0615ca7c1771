"""``make demo``: profile, plan and execute on real data, from nothing to answered questions.

Run it as ``python -m examples.digits.demo``; ``--help`` says what can be varied.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import transformers
from rich.console import Console

from examples.digits.commands import CommandFailed, gaisnet
from examples.digits.files import TUNABLE, Setting, is_job_folder, write_job_folder
from examples.digits.outcome import accuracy, read_outcome
from examples.digits.pretrain import RECIPE, Recipe
from examples.digits.story import head_line, introduce, show_outcome, show_shares

__all__ = ["main", "make_room", "run_demo"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = _parse(arguments)
    console = _console()
    setting = Setting(alpha=options.alpha, seed=options.seed, rounds=options.rounds)
    try:
        make_room(options.folder)
        run_demo(options.folder, setting, console)
    except CommandFailed as failed:
        return failed.exit_code
    except FileExistsError as error:
        console.print(f"[red]{error}[/red]")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def run_demo(
    folder: Path,
    setting: Setting,
    console: Console,
    recipe: Recipe = RECIPE,
    cache: Path | None = None,
) -> dict[str, float]:
    """The whole demo, into an empty folder.

    Args:
        folder: Where everything is written.
        setting: What is tuned, and how.
        console: Where to tell the story.
        recipe: Of the pre-training on letters.
        cache: Where pre-trained models are kept; by default the user's cache folder.

    Returns:
        Test accuracy ``before`` and ``after`` tuning.

    Raises:
        CommandFailed: One of the three commands failed.
    """
    started = time.perf_counter()
    transformers.utils.logging.disable_progress_bar()
    introduce(console)
    head_line(console, "1  A model that knows letters, and everyone's own digits")
    console.print("Pre-training takes some 20 seconds the first time; then the model is cached.")
    write_job_folder(folder, setting, recipe, cache)
    show_shares(console, folder)
    _run_commands(folder, console)
    held_out, run_dir = folder / "heldout" / "all.safetensors", folder / "run"
    outcome = read_outcome(folder, run_dir)
    adapter = run_dir / next(iter(outcome.manifest.adapters.values()))
    accuracies = {
        "before": accuracy(folder / "model", held_out),
        "after": accuracy(folder / "model", held_out, adapter),
    }
    show_outcome(console, outcome, accuracies, folder)
    console.print(f"\nAll of it took {time.perf_counter() - started:.0f} s.")
    return accuracies


def _run_commands(folder: Path, console: Console) -> None:
    job, profile, plan = folder / "job.yaml", folder / "profile.json", folder / "plan.json"
    head_line(console, "2  What does each layer cost?")
    console.print("Counted, and timed on this machine; the fleet's devices are in the catalogue.")
    targets = ",".join(TUNABLE["targets"])
    gaisnet(console, "profile", folder / "model", "--targets", targets, "-o", profile)
    head_line(console, "3  Who holds what, and who tunes with whom?")
    console.print("The quickest round that memory allows, with a proven bound for each decision.")
    gaisnet(console, "plan", job, "-o", plan)
    head_line(console, "4  Tune together, then answer")
    console.print("Every tensor really crosses the cuts; a virtual clock keeps the fleet's time.")
    gaisnet(console, "execute", plan, "-o", folder / "run")


def _console() -> Console:
    """As wide as the terminal; where there is none, as wide as the commands' own tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)


def make_room(folder: Path) -> None:
    """Remove what an earlier demo left; raises FileExistsError if the folder is someone else's."""
    if folder.exists() and any(folder.iterdir()):
        if not is_job_folder(folder):
            raise FileExistsError(f"{folder} holds something else: name another --folder")
        shutil.rmtree(folder)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    defaults = Setting()
    parser = argparse.ArgumentParser(prog="python -m examples.digits.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where to write")
    parser.add_argument(
        "--alpha",
        type=float,
        default=defaults.alpha,
        help="skew of the devices' digits: small is skewed, inf is even (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--rounds", type=int, default=defaults.rounds)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
