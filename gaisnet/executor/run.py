"""Executes a plan: rounds of HFSL, then the services, all written down in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

from gaisnet.errors import (
    InterruptedRunError,
    OutputError,
    RunError,
    UsageError,
)
from gaisnet.executor.betweenrounds import hear_at_the_end, let_go, refuse_if_lost
from gaisnet.executor.build import devices_of
from gaisnet.executor.checkpoint import Checkpoint
from gaisnet.executor.engines import Engine, EngineOptions
from gaisnet.executor.engines.base import DepartedError, LostDeviceError
from gaisnet.executor.export import frozen_sha256, states_sha256
from gaisnet.executor.lineage import Lineage
from gaisnet.executor.placement import planned_compute
from gaisnet.executor.planfiles import PlanFiles, read_plan
from gaisnet.executor.recovery import OnLoss, go_on_without
from gaisnet.executor.runfolder import RunFolder
from gaisnet.executor.services import answer_services
from gaisnet.executor.session import Session
from gaisnet.executor.workers import Workers
from gaisnet.heap import freed_memory_kept
from gaisnet.schema.base import ComputeWish
from gaisnet.schema.run import EarlierPlan, Event, RoundMetrics, RunManifest, ServiceMetrics
from gaisnet.schema.watch import Watcher

__all__ = ["RunResult", "execute"]

_TOOLS = ("gaisnet", "torch", "transformers", "peft", "safetensors")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left behind."""

    run_dir: Path
    manifest: RunManifest
    metrics: tuple[RoundMetrics, ...]
    """Of every round, also of those before an interruption."""
    services: tuple[ServiceMetrics, ...]


def execute(
    plan_path: str | Path | None,
    *,
    run_dir: str | Path | None = None,
    engine: str | Engine = "local",
    engine_options: EngineOptions | None = None,
    resume: str | Path | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    watchers: Sequence[Watcher] = (),
    on_loss: OnLoss = "replan",
    compute: ComputeWish | None = None,
) -> RunResult:
    """Run a plan to its end.

    Args:
        plan_path: What ``gaisnet plan`` wrote; may be left out to resume.
        run_dir: Folder for the run; by default ``NAME-run`` beside the plan.
        engine: ``local``: everything in this process; ``ray``: a process on every device. Or
            an engine that the caller has, and closes.
        engine_options: Of the engine ray.
        resume: Folder of a run that was interrupted: it goes on from its newest intact
            checkpoint, bit for bit as if nothing had happened.
        seed: Of the order of samples, instead of the plan's.
        rounds: How many in all, instead of the job's.
        on_event: Is told every event as it happens.
        watchers: Follow the run.
        on_loss: ``replan``: the run goes on without a device that is lost, under another plan
            over those that are left, from the last checkpoint; ``stop``: it ends.
        compute: What devices compute on (see ``placement``); by default ``auto``, and what a run
            that is resumed computed on before.

    Raises:
        UsageError: There is a run in the folder already, or no such engine.
        InputError: A file is missing or malformed.
        MismatchError: The plan fits its inputs, the model or the fleet no longer, or there is no
            GPU where a device is to compute on one.
        ModelError: The model cannot be loaded or cut.
        SecurityError: Other machines are to take part, without credentials.
        RunError: The run failed, or the disk is full; its hint is the command that resumes it.
        QuorumError: Too few updates were fit to be averaged; likewise.
        InterruptedRunError: Ctrl-C; likewise.
    """
    files = read_plan(_plan_path(plan_path, resume))
    folder = RunFolder(_folder(files, run_dir, resume), on_event, watchers)
    run = _Run(files, folder, on_loss, compute, resumed=resume is not None)
    with freed_memory_kept():
        return run.execute(Workers(engine, engine_options or EngineOptions()), seed, rounds)


def _plan_path(plan_path: str | Path | None, resume: str | Path | None) -> Path:
    if plan_path is not None:
        return Path(plan_path)
    if resume is None:
        raise UsageError("there is nothing to execute", hint="name a plan, or a run to resume")
    folder = Path(resume)
    return folder / RunFolder(folder).read_manifest().plan_path


def _folder(files: PlanFiles, run_dir: str | Path | None, resume: str | Path | None) -> Path:
    if resume is not None:
        return Path(resume)
    return Path(run_dir) if run_dir else files.path.parent / f"{files.plan.name}-run"


class _Run:
    """One run of a plan in its folder."""

    def __init__(
        self,
        files: PlanFiles,
        folder: RunFolder,
        on_loss: OnLoss,
        compute: ComputeWish | None,
        *,
        resumed: bool,
    ) -> None:
        self._folder = folder
        self._on_loss = on_loss
        self._wish = compute
        self._known_lost: set[str] = set()
        self._known_differences: dict[str, str] = {}
        self._before = self._folder.read_manifest() if resumed else None
        earlier = () if self._before is None else self._before.earlier_plans
        stays = self._before is not None and compute is None
        self._computed_on = dict(self._before.compute) if self._before and stays else {}
        self._lineage = Lineage(folder=folder.path, files=files, earlier=earlier)
        self._manifest: RunManifest

    def execute(self, given: Workers, seed: int | None, rounds: int | None) -> RunResult:
        """See ``execute`` above."""
        if self._before is None:
            self._folder.refuse_existing()
        seed, rounds = self._settle(seed, rounds)
        with given.at_work(self._lineage.files) as engine:
            epoch = 0 if self._before is None else self._before.epoch + 1
            session = self._session(engine, seed, rounds, epoch)
            checkpoint = self._begin(session, engine.name, rounds)
            with self._told_on_failure(given.command), hear_at_the_end(self._folder, engine):
                services = self._endure(session, checkpoint)
        return RunResult(
            run_dir=self._folder.path,
            manifest=self._manifest,
            metrics=self._folder.metrics(),
            services=services,
        )

    def _endure(
        self, session: Session, checkpoint: Checkpoint | None
    ) -> tuple[ServiceMetrics, ...]:
        """All that is left to do, however many devices are lost meanwhile: each loss leaves
        fewer, so there is an end to it."""
        engine, rounds = session.engine, self._manifest.rounds
        held: Session | None = session
        while True:
            try:
                held = held or self._session(engine, session.seed, rounds, self._manifest.epoch)
                return self._work(held, checkpoint, rounds)
            except LostDeviceError as error:
                if self._on_loss == "stop":
                    raise
                checkpoint, held = self._go_on_without(error, engine), None

    def _go_on_without(self, error: LostDeviceError, engine: Engine) -> Checkpoint | None:
        """Another plan, and the last checkpoint carried over to it; the manifest makes it so."""
        self._tell_lost(_lost_by(error))
        manifest, epoch = self._manifest, self._manifest.epoch + 1
        target = self._folder.path / "plans" / f"epoch-{epoch}.json"
        known = self._lineage.files, self._lineage.first, engine, target
        files = go_on_without(error, self._known_lost, *known)
        replaced = EarlierPlan(path=manifest.plan_path, sha256=manifest.plan_sha256)
        earlier = (*self._lineage.earlier, replaced)
        self._lineage = Lineage(folder=self._folder.path, files=files, earlier=earlier)
        self._note(
            plan_path=_relative(target, self._folder.path),
            plan_sha256=files.sha256,
            earlier_plans=self._lineage.earlier,
            epoch=epoch,
        )
        checkpoint, _ = self._lineage.newest()
        done = checkpoint.rounds_done if checkpoint else 0
        self._folder.reopen(done)
        self._note(rounds_done=done)
        self._folder.announce(files.plan, self._manifest, engine.states)
        lost = files.plan.loss.lost if files.plan.loss else ()
        detail = f"goes on without {', '.join(lost)} after {done} rounds"
        self._folder.tell("replanned", round_index=done, device=error.where, detail=detail)
        return checkpoint

    def _tell_lost(self, lost: Mapping[str, str], round_index: int | None = None) -> None:
        """Of each device once, as soon as it is known."""
        for device, why in sorted(lost.items()):
            if device not in self._known_lost:
                self._known_lost.add(device)
                self._folder.tell("device_lost", round_index=round_index, device=device, detail=why)

    def _tell_differences(self, engine: Engine) -> None:
        """Of each device's versions once, when it has begun."""
        known, present = self._known_differences, devices_of(self._lineage.files.plan)
        for device, what in engine.differences().items():
            if device in present and known.get(device) != what:
                known[device] = what
                detail = f"runs {what}: the same bits as elsewhere are not promised"
                self._folder.tell("versions_differ", device=device, detail=detail)

    def _session(self, engine: Engine, seed: int, rounds: int, epoch: int) -> Session:
        files = self._lineage.files
        known = files, engine, self._run_id(seed), seed, rounds, epoch
        compute = planned_compute(files, self._wish or "auto", self._computed_on)
        session = Session(*known, compute=compute, bears_losses=self._on_loss == "replan")
        self._computed_on |= session.computed_on
        return session

    def _work(
        self, session: Session, checkpoint: Checkpoint | None, rounds: int
    ) -> tuple[ServiceMetrics, ...]:
        """The rounds that are left, then services and adapters."""
        self._note(compute=self._computed_on)
        self._tell_differences(session.engine)
        if checkpoint is not None:
            session.resume(checkpoint)
        for index in range(checkpoint.rounds_done if checkpoint else 0, rounds):
            self._folder.tell("round_started", round_index=index)
            metrics = session.round(index)
            self._folder.add_metrics(metrics)
            self._tell_lost(session.lost, index)
            for device, why in metrics.rejected.items():
                self._folder.tell("update_rejected", round_index=index, device=device, detail=why)
            taken = session.checkpoint(index + 1)
            self._tell_lost(session.lost, index)
            written = self._lineage.checkpoints.write(taken)
            self._note(rounds_done=index + 1)
            self._folder.tell("checkpoint_written", round_index=index, detail=written.name)
            self._folder.tell("round_closed", round_index=index, detail=_summary(metrics))
            plan = self._lineage.files.plan
            let_go(self._folder, session.engine, plan, index + 1, rounds)
            refuse_if_lost(session.lost, plan, index + 1, rounds)
        return self._finish(session)

    def _finish(self, session: Session) -> tuple[ServiceMetrics, ...]:
        services = []
        for metrics in answer_services(session, self._folder.path):
            services.append(metrics)
            self._folder.add_service(metrics)
            self._folder.tell("service_answered", detail=metrics.service)
        if frozen_sha256(session.model) != session.frozen_sha256:
            raise RunError("a frozen tensor has changed during the run; this is a defect")
        written = session.export(self._folder.adapters)
        self._note(
            status="done",
            adapters={d: str(path.relative_to(self._folder.path)) for d, path in written.items()},
            tunable_sha256=states_sha256(session.domains()),
        )
        self._folder.tell("run_done")
        return tuple(services)

    # The folder's beginning and end.

    def _settle(self, seed: int | None, rounds: int | None) -> tuple[int, int]:
        """Seed and rounds: the caller's, a resumed run's, or the plan's."""
        manifest = self._before
        if manifest is None:
            job = self._lineage.files.job.fine_tuning
            return (self._lineage.files.plan.seed if seed is None else seed), (rounds or job.rounds)
        if seed not in (None, manifest.seed):
            raise UsageError(f"the run was started with seed {manifest.seed}, not {seed}")
        return manifest.seed, (rounds or manifest.rounds)

    def _run_id(self, seed: int) -> str:
        if self._before is not None:
            return self._before.run_id
        return f"{self._lineage.files.plan.name[:32]}-{self._lineage.files.sha256[:8]}-{seed}"[:64]

    def _begin(self, session: Session, engine: str, rounds: int) -> Checkpoint | None:
        """Make (or reopen) the folder and write the manifest; returns where to go on."""
        checkpoint, damaged = (None, []) if self._before is None else self._lineage.newest()
        done = checkpoint.rounds_done if checkpoint else 0
        loss, accuracy = self._first_evaluation(session)
        if self._before is None:
            self._folder.create()
        else:
            self._folder.reopen(done)
            self._lineage.checkpoints.tidy()
        self._manifest = RunManifest(
            run_id=session.run,
            plan_path=_relative(self._lineage.files.path, self._folder.path),
            plan_sha256=self._lineage.files.sha256,
            earlier_plans=self._lineage.earlier,
            epoch=session.epoch,
            engine=cast(Literal["local", "ray"], engine),
            seed=session.seed,
            status="running",
            rounds_done=done,
            rounds=rounds,
            eval_loss_before=loss,
            eval_accuracy_before=accuracy,
            frozen_sha256=session.frozen_sha256,
            tool_versions={name: version(name) for name in _TOOLS},
        )
        self._folder.write_manifest(self._manifest)
        kind = "run_resumed" if self._before else "run_started"
        state = f"{done} of {rounds} rounds are done"
        self._folder.announce(self._lineage.files.plan, self._manifest, session.engine.states)
        self._folder.tell(kind, detail="; ".join([state, *(f"{n} is damaged" for n in damaged)]))
        return checkpoint

    def _first_evaluation(self, session: Session) -> tuple[float | None, float | None]:
        """Held-out loss and accuracy before any tuning; a resumed run has them written down."""
        if self._before is not None:
            return self._before.eval_loss_before, self._before.eval_accuracy_before
        found = session.evaluate()
        return (found.loss, found.accuracy) if found else (None, None)

    def _note(self, **changes: object) -> None:
        self._manifest = self._manifest.model_copy(update=changes)
        self._folder.write_manifest(self._manifest)

    @contextmanager
    def _told_on_failure(self, command: str) -> Iterator[None]:
        """Whatever ends the run is written down, and the error says how to go on."""
        resume = f"{command} --resume {self._folder.path}"
        try:
            yield
        except KeyboardInterrupt:
            self._give_up("interrupted", "run_interrupted", "Ctrl-C")
            raise InterruptedRunError(
                f"interrupted after {self._manifest.rounds_done} of {self._manifest.rounds} rounds",
                where=str(self._folder.path),
                hint=f"go on with `{resume}`",
            ) from None
        except OutputError as error:
            self._give_up("failed", "run_failed", error.message)
            raise RunError(
                error.message,
                where=error.where,
                hint=f"free some space, then go on with `{resume}`",
            ) from error
        except RunError as error:
            if isinstance(error, LostDeviceError):
                with suppress(OutputError):
                    self._tell_lost(_lost_by(error))
            self._give_up("failed", "run_failed", error.message)
            advice = f"{error.hint}; then" if error.hint else "the last checkpoint is kept:"
            error.hint = f"{advice} go on with `{resume}`"
            raise

    def _give_up(self, status: str, kind: str, detail: str) -> None:
        with suppress(OutputError):
            self._note(status=status)
            self._folder.tell(kind, detail=detail)


def _lost_by(error: LostDeviceError) -> dict[str, str]:
    """The device that is lost, and what is to be said; nothing of one that has left."""
    return {} if isinstance(error, DepartedError) else {str(error.where): error.message}


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()


def _summary(metrics: RoundMetrics) -> str:
    parts = [f"loss {metrics.train_loss:.4f}"] if metrics.train_loss is not None else []
    if metrics.eval_accuracy is not None:
        parts.append(f"accuracy {metrics.eval_accuracy:.4f}")
    parts.append(f"virtual {metrics.virtual_s:.3g} s")
    if metrics.rejected:
        parts.append(f"not averaged: {', '.join(metrics.rejected)}")
    return ", ".join(parts)
