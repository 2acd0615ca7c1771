"""``gaisnet execute``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaisnet.errors import UsageError
from gaisnet.options import cluster, run
from gaisnet.options import common as opt

if TYPE_CHECKING:
    from gaisnet.report import ProgressCallback, Session
    from gaisnet.schema.run import Event

__all__ = ["execute"]


def execute(
    plan: run.PlanFile = None,
    output: run.RunFolder = None,
    resume: run.Resume = None,
    engine: run.Engine = "local",
    address: run.Address = None,
    patience: run.Patience = 1.0,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    rounds: run.Rounds = None,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Run a plan: fine-tune over the fleet, then answer the services' requests."""
    from gaisnet.report import Session, read_run, report_html, run_view
    from gaisnet.schema.files import write_atomic

    with Session(format, quiet=quiet) as session:
        if resume is not None and output is not None:
            raise UsageError("--resume goes on in the run's own folder", hint="leave out --output")
        with session.progress("executing") as progress:
            from gaisnet.executor.engines import EngineOptions
            from gaisnet.executor.run import execute as run_plan

            options = EngineOptions(
                address=address, patience=patience, credentials=credentials, insecure=insecure
            )
            result = run_plan(
                plan,
                run_dir=output,
                engine=engine,
                engine_options=options,
                resume=resume,
                seed=seed,
                rounds=rounds,
                on_event=lambda event: _follow(event, session, progress),
            )
        run = read_run(result.run_dir)
        write_atomic(result.run_dir / "report.html", report_html(run), force=True)
        session.show(run_view(run))
        session.answer(run.document())


def _follow(event: Event, session: Session, progress: ProgressCallback) -> None:
    """A run's events as progress, and each round's outcome as a line."""
    what = event.kind.replace("_", " ")
    progress(what if event.round is None else f"{what} {event.round + 1}", None)
    if event.kind == "round_closed" and event.round is not None:
        session.note(f"round {event.round + 1}: {event.detail}")
