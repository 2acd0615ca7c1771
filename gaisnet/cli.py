"""The command line: one plain function a command, which parses, calls and shows.

Nothing heavy is imported before a command runs, so that ``gaisnet --help`` answers at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from gaisnet import cluster_options as cluster
from gaisnet import options as opt
from gaisnet import search_options as find
from gaisnet.errors import ModelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gaisnet.report import ProgressCallback, Session
    from gaisnet.schema.run import Event

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
def _root(version: opt.Version = False) -> None:
    """Fine-tune and serve a foundation model over a fleet of unequal devices."""


@app.command()
def profile(
    model: opt.ModelArgument = None,
    output: opt.Output = None,
    tunable: opt.Tunable = "lora",
    rank: opt.Rank = None,
    ranks: opt.Ranks = None,
    alpha: opt.Alpha = None,
    targets: opt.Targets = None,
    bottleneck: opt.Bottleneck = None,
    prompt_tokens: opt.PromptTokens = None,
    train_head: opt.HeadTuned = None,
    optimizer: opt.Optimizer = "adamw",
    task: opt.Task = None,
    num_labels: opt.Labels = None,
    dtype: opt.Dtype = "float32",
    attention: opt.Attention = "sdpa",
    random_weights: opt.RandomWeights = False,
    tokens: opt.Tokens = None,
    batch_sizes: opt.BatchSizes = "1,4",
    times: opt.Times = True,
    threads: opt.Threads = 1,
    device_only: opt.DeviceOnly = False,
    model_only: opt.ModelOnly = False,
    list_presets: opt.ListPresets = False,
    as_device: opt.AsDevice = None,
    from_profile: opt.FromProfile = None,
    calibration: opt.Calibration = False,
    calibrate: opt.Calibrate = None,
    leakage: opt.Leakage = False,
    data: opt.Data = None,
    leakage_samples: opt.LeakageSamples = 128,
    compare: opt.Compare = None,
    listen: opt.Listen = None,
    link: opt.LinkTo = None,
    insecure: opt.Insecure = False,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
    force: opt.Force = False,
) -> None:
    """Measure what each layer of a model costs, and what this device can do."""
    from gaisnet import profiling
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        profiling.check_extrapolation(model, from_profile, as_device, calibration, calibrate)
        asked_for = (model, device_only, list_presets, compare, listen, link, from_profile)
        profiling.check_one_asked(*asked_for)
        profiling.check_belonging(leakage, data, model, insecure, listen)
        _check_output(output, force)
        target, step = profiling.target(as_device), profiling.calibration_file(calibrate)
        if list_presets:
            _show_presets(session)
        elif listen is not None:
            profiling.listen(session, listen, insecure)
        elif compare is not None:
            profiling.compare(session, compare, output, force)
        elif link is not None:
            profiling.link(session, link, output, force)
        elif from_profile is not None:
            made = profiling.as_device(profiling.read_profile(from_profile), target, step)
            profiling.deliver(session, made, output, force)
        else:
            picked = (rank, alpha, targets, bottleneck, prompt_tokens, train_head)
            tuned = opt.tunable_spec(tunable, *picked)
            sizes = opt.numbers("--batch-sizes", batch_sizes)
            named = (task, num_labels, dtype, random_weights, seed, attention)
            spec = None if model is None else opt.model_spec(model, *named)
            asked = {"optimizer": optimizer, "batch_sizes": sizes, "tokens": tokens, "times": times}
            asked |= {"ranks": opt.numbers("--ranks", ranks)}
            asked |= {"measure_device": not model_only, "threads": threads, "seed": seed or 0}
            if calibration and spec is not None:
                profiling.calibrate(session, spec, tuned, asked, output, force)
                return
            sample = profiling.leakage_sample(spec, data, leakage_samples)
            made = profiling.measure(session, spec, tuned, asked, sample)
            profiling.deliver(session, profiling.as_device(made, target, step), output, force)


@app.command()
def plan(
    job: opt.JobFile = None,
    output: opt.Output = None,
    scheme: opt.Scheme = None,
    clusters: opt.Clusters = None,
    objective: opt.Objective = None,
    gap: opt.Gap = None,
    slack: opt.SlackText = None,
    survive: opt.Survive = None,
    explain: opt.Explain = False,
    diff: opt.Diff = None,
    replan: opt.Replan = None,
    lost: opt.Lost = None,
    bytes_weight: opt.BytesWeight = None,
    time_limit: find.TimeLimit = None,
    calibration: find.CalibrationFile = None,
    calibrate: find.Calibrate = None,
    clock: find.Clock = None,
    search: find.SearchFor = None,
    pick: find.Pick = None,
    sampler: find.Sampler = None,
    storage: find.Storage = None,
    study: find.Study = None,
    front: find.FrontFile = None,
    front_dir: find.FrontFolder = None,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
    force: opt.Force = False,
) -> None:
    """Decide who holds what, who is clustered with whom, and who serves whom, with proof."""
    from gaisnet import planning
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        planning.check_one_asked({"JOB": job, "--replan": replan, "--diff": diff})
        settings: dict[str, Any] = {"scheme": scheme, "objective": objective}
        settings |= {"clusters": clusters, "slack": opt.slack(slack), "seed": seed}
        settings |= {"time_limit_s": time_limit, "explain": explain or None}
        more = {"search": search, "calibrate": calibrate, "calibration": calibration}
        of_jobs = {opt.flag(name): value for name, value in {**settings, **more}.items()}
        planning.check_belonging("a job", job, {}, of_jobs)
        of_replans = {"--bytes-weight": bytes_weight}
        planning.check_belonging("--replan", replan, {"--lost": lost}, of_replans)
        searched: dict[str, Any] = {"pick": pick, "sampler": sampler, "storage": storage}
        searched |= {"study": study, "front": front, "front_dir": front_dir}
        of_searches = {opt.flag(name): value for name, value in searched.items()}
        planning.check_belonging("--search", search, {}, of_searches)
        planning.check_belonging("--calibrate", calibrate, {}, {"--clock": clock})
        _check_output(output, force)
        settings |= {"gap": gap, "survive": survive}
        if diff is not None:
            planning.compare(session, diff, output, force)
            return
        if job is not None and calibrate is not None:
            planning.calibrate(session, job, calibrate, clock, output, force)
            return
        if job is not None and search is not None:
            searched |= {"calibration": calibration}
            planning.search(session, job, search, settings, searched, output, force)
            return
        settings |= {"output": output, "explain": explain, "calibration": calibration}
        if replan is not None:
            changes = {"lost": opt.names(lost), "bytes_weight": bytes_weight, "gap": gap}
            made = planning.without(session, replan, changes, survive, output)
        else:
            made = planning.make(session, job, settings)
        planning.deliver(session, made, output, force)
        planning.refuse_fatal(session, made, replan or job, output)
        planning.refuse_unproven(made, gap, output)


@app.command()
def execute(
    plan: opt.PlanFile = None,
    output: opt.RunFolder = None,
    resume: opt.Resume = None,
    engine: opt.Engine = "local",
    address: opt.Address = None,
    patience: opt.Patience = 1.0,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    rounds: opt.Rounds = None,
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


@app.command()
def report(
    subject: opt.Subject,
    output: opt.PageFile = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
    force: opt.Force = False,
) -> None:
    """Show a profile, a plan or a run; with -o also as one self-contained HTML page."""
    from gaisnet.report import RunRecord, Session, read_subject, report_html, view
    from gaisnet.schema.files import write_atomic

    with Session(format, quiet=quiet) as session:
        found = read_subject(subject)
        if output is not None:
            write_atomic(output, report_html(found), force=force)
        session.show(view(found))
        if output is not None:
            session.note(f"written to {output}")
        session.answer(found.document() if isinstance(found, RunRecord) else found)


@app.command()
def doctor(
    model: opt.ModelOption = None,
    address: opt.Address = None,
    plan: cluster.PlanToCheck = None,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    tunable: opt.Tunable = "lora",
    task: opt.Task = None,
    num_labels: opt.Labels = None,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Show what is here; prove a model's cuts (--model); look at a cluster (--address)."""
    from gaisnet import joining
    from gaisnet.report import Session
    from gaisnet.report.environment import environment, environment_table, split_data, split_table

    with Session(format, quiet=quiet) as session:
        if address is not None:
            joining.check(session, plan, address, credentials, insecure)
            return
        found = environment()
        session.show(environment_table(found))
        if model is None:
            session.answer(found)
            return
        spec = opt.model_spec(model, task, num_labels, seed=seed)
        from gaisnet.models import attach, check_split, load_model

        with session.progress("checking every cut"):
            whole = attach(load_model(spec), opt.tunable_spec(tunable), seed=spec.seed)
            check = check_split(whole)
        session.show(split_table(check))
        session.answer({**found, "split": split_data(check)})
        if not check.ok:
            raise ModelError("a split of this model differs from the whole", where=model)


@app.command()
def join(
    address: cluster.JoinAddress,
    device: cluster.Device,
    profile: cluster.OwnProfile,
    head: cluster.Head = False,
    host: cluster.OwnHost = None,
    folder: cluster.Folder = None,
    memory_bytes: cluster.MemoryLimit = None,
    inline: cluster.Inline = False,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Let this device take part in a cluster, until Ctrl-C."""
    from gaisnet import joining
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        shown = joining.use_credentials(credentials, insecure)
        from gaisnet.executor.engines.ray.node import NodeSpec

        spec = NodeSpec(
            device=device,
            profile=profile,
            head=head,
            address=address,
            host=host,
            folder=folder,
            memory_bytes=memory_bytes,
            inline=inline,
            credentials=shown,
        )
        joining.join(session, spec)


@app.command()
def certs(
    folder: cluster.AuthorityFolder,
    device: cluster.CertifiedDevice = None,
    host: cluster.Hosts = None,
    renew: cluster.Renew = False,
    revoke: cluster.Revoked = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Make certificates and a token for the devices of a cluster, or make them anew."""
    from gaisnet import joining
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        if renew or revoke:
            joining.renew(session, folder, revoke or [])
        elif device is None:
            raise UsageError("nobody is to be admitted", hint="give --device, or --renew")
        else:
            joining.admit(session, folder, device, host or [])


def main() -> None:
    """The entry point of the ``gaisnet`` command."""
    # transformers draws bars of its own, which --quiet and --format json must not show.
    os.environ.setdefault("TQDM_DISABLE", "1")
    app()


def _show_presets(session: Session) -> None:
    from gaisnet.report import preset_table
    from gaisnet.schema.catalogue import preset, preset_names

    presets = [preset(name) for name in preset_names()]
    session.show(preset_table(presets))
    session.answer({"presets": [part.model_dump(mode="json") for part in presets]})


def _check_output(output: Path | None, force: bool) -> None:
    """Refuses before the work what would be refused after it."""
    from gaisnet.schema.files import check_writable

    if output is not None:
        check_writable(output, force=force)


def _follow(event: Event, session: Session, progress: ProgressCallback) -> None:
    """A run's events as progress, and each round's outcome as a line."""
    what = event.kind.replace("_", " ")
    progress(what if event.round is None else f"{what} {event.round + 1}", None)
    if event.kind == "round_closed" and event.round is not None:
        session.note(f"round {event.round + 1}: {event.detail}")


if __name__ == "__main__":
    main()
