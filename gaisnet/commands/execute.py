"""``gaisnet execute``."""

from __future__ import annotations

from gaisnet.errors import UsageError
from gaisnet.garbage import nothing_collected
from gaisnet.options import cluster, run
from gaisnet.options import common as opt

__all__ = ["execute"]


def execute(
    plan: run.PlanFile = None,
    output: run.RunFolder = None,
    resume: run.Resume = None,
    engine: run.Engine = "local",
    address: run.Address = None,
    patience: run.Patience = 1.0,
    on_loss: run.OnLoss = "replan",
    compute: run.Compute = None,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    rounds: run.Rounds = None,
    seed: opt.Seed = None,
    metrics_port: run.MetricsPort = None,
    log_level: run.LogLevel = "info",
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Run a plan: fine-tune over the fleet, then answer the services' requests."""
    from gaisnet import running
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        if resume is not None and output is not None:
            raise UsageError("--resume goes on in the run's own folder", hint="leave out --output")
        with running.followed(session, metrics_port) as watchers:
            with nothing_collected():
                from gaisnet.executor.engines import EngineOptions
                from gaisnet.executor.run import execute as run_plan

            options = EngineOptions(
                address=address,
                patience=patience,
                credentials=credentials,
                insecure=insecure,
                log_level=log_level,
            )
            result = run_plan(
                plan,
                run_dir=output,
                engine=engine,
                engine_options=options,
                resume=resume,
                seed=seed,
                rounds=rounds,
                watchers=watchers,
                on_loss=on_loss,
                compute=compute,
            )
        running.show(session, result.run_dir)
