"""A plan in place: model, data, services and clock, and one round at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from gaisnet.executor.aggregate import Aggregator, aggregator_of
from gaisnet.executor.blueprints import ModelSource
from gaisnet.executor.build import Site, build_services, gather_data
from gaisnet.executor.checkpoint import Checkpoint
from gaisnet.executor.compute import computed
from gaisnet.executor.data import DataFormat
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.dispensable import dispensable_owners
from gaisnet.executor.engines import Engine
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.evaluate import Evaluation, Evaluator
from gaisnet.executor.export import export_adapter, frozen_sha256
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.finetune import FineTuner
from gaisnet.executor.fleetclock import FleetClock
from gaisnet.executor.planfiles import PlanFiles, check_model
from gaisnet.executor.privacy import epsilon_spent
from gaisnet.executor.relay import GENERAL
from gaisnet.executor.rundata import data_sources, load_held_out
from gaisnet.executor.settings import Settings
from gaisnet.executor.snapshot import Snapshots
from gaisnet.executor.workshop import load_source
from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.models.accelerator import gpu_name
from gaisnet.schema.base import Compute
from gaisnet.schema.model import LoraSpec
from gaisnet.schema.run import RoundMetrics

__all__ = ["Session", "load_tuned_model"]

Found = TypeVar("Found")

_HELD_OUT = "held-out samples"
"""What the driver computes with itself."""


def load_tuned_model(files: PlanFiles, aggregator: Aggregator) -> FoundationModel:
    """The job's model with its tunable modules, fitted for the aggregator.

    Raises:
        ModelError: It cannot be loaded.
        MismatchError: It is not the one that the plan was made for.
    """
    spec = files.model_spec()
    model = attach(load_model(spec), files.job.tunable, seed=spec.seed)
    check_model(files, model)
    aggregator.prepare(model)
    return model


class Session:
    """Everything of a run that lives in memory.

    Args:
        files: The plan and its inputs.
        engine: Where services go.
        run: Id of the run.
        seed: Of the order of samples.
        rounds: How many there will be; the last one is evaluated.
        epoch: How often the run's services were put in place before.
        compute: What each device is to compute on; the CPU where it is not said.
        bears_losses: Whether a round may close without owners that are lost.

    Raises:
        InputError: Data is missing or malformed.
        ModelError: The model cannot be loaded or cut.
        MismatchError: The model is not the plan's.
    """

    def __init__(
        self,
        files: PlanFiles,
        engine: Engine,
        run: str,
        seed: int,
        rounds: int,
        epoch: int = 0,
        *,
        compute: Mapping[str, Compute] | None = None,
        bears_losses: bool = True,
    ) -> None:
        self.compute = dict(compute or {})
        self.computed_on: dict[str, Compute]
        """What each device that holds a stage computes on: a node may have been told otherwise."""
        tuning = files.job.fine_tuning
        self.files, self.engine, self.run, self.seed = files, engine, run, seed
        self._rounds, self.epoch = rounds, epoch
        self._dispensable = dispensable_owners(files.plan) if bears_losses else frozenset()
        self.aggregator = aggregator_of(tuning.aggregator, trim_fraction=tuning.trim_fraction)
        self.model = load_tuned_model(files, self.aggregator)
        self.format = DataFormat.of(self.model)
        self.frozen_sha256 = frozen_sha256(self.model)
        self._facts = ModelFacts.of(self.model)
        self._cost = files.cost_model()
        self._held_out = load_held_out(files, self.format)
        self._dispatcher = Dispatcher(engine)
        self.source = ModelSource(
            spec=files.job.model,
            tunable=files.job.tunable,
            aggregator=tuning.aggregator,
            base=str(files.job_path.resolve().parent),
            fingerprint=files.plan.model_fingerprint,
            weights_sha256=files.profile.weights_sha256,
            accepted_by=version("transformers"),
        )
        self._evaluator = Evaluator(self._evaluated())
        self._build()
        self._snapshots = Snapshots(engine, files.plan, tuning.personal, run, epoch)

    def _evaluated(self) -> FoundationModel:
        """The model that held-out samples go through: on the GPU here, if there is one and any
        device is to compute on one. What is tuned does not depend on it."""
        if "cuda" not in self.compute.values() or gpu_name() is None:
            return self.model
        source = self.source.on("cuda")
        model = computed(_HELD_OUT, load_source, source)
        self.engine.lend(source, model)
        return model

    def _build(self) -> None:
        self.engine.meter.take()  # what it carried before is not this run's
        files, tuning = self.files, self.files.job.fine_tuning
        site = Site(
            run=self.run,
            epoch=self.epoch,
            plan=files.plan,
            model=self.model,
            facts=self._facts,
            fine_tuning=tuning,
            source=self.source,
            data=data_sources(files),
            compute=self.compute,
        )
        held = build_services(self.engine, site)
        gather_data(self._dispatcher, files.plan)
        self.engine.settle()
        self.computed_on = {device: reply.values["compute"] for device, reply in held.items()}
        tunable = files.job.tunable
        dropout = isinstance(tunable, LoraSpec) and tunable.dropout > 0
        settings = Settings(fine_tuning=tuning, seed=self.seed, dropout=dropout)
        known = self._dispatcher, files.plan, self._facts, settings
        self._tuner = FineTuner(*known, self._dispensable)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was taken."""
        self._snapshots.restore(checkpoint.modules, checkpoint.optimizers, checkpoint.norms)
        self._tuner.cursors.update(checkpoint.cursors)
        self.engine.meter.take()

    @property
    def lost(self) -> Mapping[str, str]:
        """Owners without which the last round closed, each with what is to be said of it."""
        return self._tuner.lost

    def checkpoint(self, rounds_done: int) -> Checkpoint:
        """The state after so many rounds.

        That of an owner which was lost meanwhile is left out: its optimizer would start anew.

        Raises:
            LostDeviceError: Another device is lost.
        """
        return self._again_if_lost(lambda: self._take_checkpoint(rounds_done))

    def _again_if_lost(self, ask: Callable[[], Found]) -> Found:
        """What ``ask`` gives once the modules are averaged, also if owners are lost meanwhile that
        are not needed for it; raises LostDeviceError for others."""
        while True:
            try:
                return ask()
            except LostDeviceError as error:
                if error.where not in self._dispensable or error.where in self.lost:
                    raise
                self._tuner.lost[error.where] = error.message

    def _take_checkpoint(self, rounds_done: int) -> Checkpoint:
        return Checkpoint(
            rounds_done=rounds_done,
            seed=self.seed,
            cursors=self._tuner.cursors,
            modules=self._snapshots.modules(),
            optimizers=self._snapshots.optimizers(without=self.lost),
            norms=self._snapshots.norms(),
        )

    def round(self, index: int) -> RoundMetrics:
        """Run one round and measure it.

        Raises:
            RunError: A loss is not finite.
            LostDeviceError: A device is lost without which the round cannot close.
            QuorumError: Too few updates were fit to be averaged.
            MismatchError: The plan sends over a link that the fleet lacks.
        """
        clock, started = FleetClock(self._cost), time.perf_counter()
        self._dispatcher.record()
        loss = self._tuner.round(index)
        clock.keep(self._dispatcher.journal())
        wall_s = time.perf_counter() - started
        held_out = self._again_if_lost(self.evaluate) if self._is_due(index) else None
        return RoundMetrics(
            round=index,
            train_loss=loss,
            eval_loss=held_out.loss if held_out else None,
            eval_accuracy=held_out.accuracy if held_out else None,
            predicted_s=self.files.plan.predictions.round_s,
            virtual_s=clock.elapsed_s(),
            wall_s=wall_s,
            traffic=self.engine.meter.take(),
            work=clock.work(),
            moves=clock.moves(),
            rejected=dict(sorted(self._tuner.rejected.items())),
            epsilon=epsilon_spent(self.files.job.fine_tuning.privacy, index + 1),
        )

    def domains(self) -> dict[str, dict[str, Tensor]]:
        """The current modules of each domain, and the general ones."""
        return self._snapshots.by_domain(self.aggregator)

    def export(self, folder: Path) -> dict[str, Path]:
        """Write every domain's modules below ``folder``; returns their folders by domain.

        Raises:
            OutputError: They cannot be written.
        """
        written = {}
        for domain, state in self.domains().items():
            written[domain] = folder / domain
            export_adapter(self.model, state, written[domain])
        return written

    def evaluate(self) -> Evaluation | None:
        """How the current general modules do on the job's held-out samples, if there are any."""
        if self._held_out is None:
            return None
        modules = self.domains()[GENERAL]
        return computed(_HELD_OUT, self._evaluator.evaluate, self._held_out, modules)

    def _is_due(self, index: int) -> bool:
        every, last = self.files.job.fine_tuning.eval_every, index + 1 == self._rounds
        return last or (index + 1) % every == 0
