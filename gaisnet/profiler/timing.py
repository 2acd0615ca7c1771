"""Times of every unit inside whole steps, and of whole steps beside them.

A block that is run again and again finds its weights in the cache, and one that is run alone does
not meet the memory traffic of the others. So the units are timed where they work: in whole steps,
one after the other, read off at the boundaries between them. Every step with a clock in it is
followed by one without, which is the profile's own check.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gaisnet.extrapolation.work import Activity
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.stage import make_stage, side_inputs
from gaisnet.profiler.allocator import measured_peak
from gaisnet.profiler.clock import Instant, Ticker, fixed_threads
from gaisnet.profiler.cuts import hidden_before
from gaisnet.profiler.passage import Listener, Phase, run_pass
from gaisnet.progress import Progress
from gaisnet.schema.profile import MeasuredPeak

__all__ = [
    "LEAST_STEPS",
    "Record",
    "Stepper",
    "lone_unit",
    "optimizer_of",
    "time_steps",
    "time_whole_steps",
]

_WARM_UP = 4
"""Steps until blocks of kept memory have found their places: the first few meet new pages."""
_FEWEST = 5
_WHOLE_STEPS = 9
_MOST = 60
LEAST_STEPS = _WARM_UP + 2 * _FEWEST
"""Steps that are run at each batch size, however long they take."""


@dataclass
class Record:
    """Raw times at one batch size."""

    parts: dict[tuple[int, Activity], list[Instant]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By unit and what was done, in steps with a clock in them."""
    steps: list[Instant] = field(default_factory=list)
    """Whole steps without one."""
    lone_stage: list[Instant] = field(default_factory=list)
    """Forward passes of ``lone_unit`` as a stage of its own."""
    peak: MeasuredPeak | None = None
    """Memory of a whole step on a GPU."""


def time_steps(
    model: FoundationModel,
    *,
    optimizer: str,
    batch_sizes: Sequence[int],
    tokens: int | None,
    seed: int,
    threads: int,
    budget_s: float,
    show: Progress,
) -> dict[int, Record]:
    """Time training steps (forward, backward, update) of a model, batch sizes taking turns.

    Args:
        model: With its tunable modules attached, on the device to be timed. No weight changes,
            since the optimizer's rate is zero.
        optimizer: ``sgd`` or ``adamw``.
        batch_sizes: Batch sizes to time.
        tokens: Sequence length, for text.
        seed: Seed of the batches.
        threads: CPU threads.
        budget_s: Stop after this long, but not before five repetitions.
        show: Told how far it is.

    Returns:
        By batch size, the raw times.
    """
    stepper = Stepper(model, optimizer)
    batches = {size: model.example_inputs(size, tokens, seed) for size in batch_sizes}
    records = {size: Record() for size in batch_sizes}
    with fixed_threads(threads), _no_garbage_collection():
        for batch in batches.values():
            for _ in range(_WARM_UP):
                stepper.plain(batch)
        if model.device.type == "cuda":
            for size, batch in batches.items():
                records[size].peak = stepper.peak(batch)
        started = time.perf_counter()
        for repetition in range(1, _MOST + 1):
            for size, batch in batches.items():
                stepper.turn(batch, records[size])
            spent_s = time.perf_counter() - started
            show("times", max(repetition / _MOST, spent_s / max(budget_s, spent_s)))
            if repetition >= _FEWEST and spent_s >= budget_s:
                break
    return records


def time_whole_steps(
    model: FoundationModel,
    *,
    optimizer: str,
    batch_size: int,
    tokens: int | None,
    seed: int,
    threads: int,
) -> tuple[list[Instant], list[Record]]:
    """A few whole training steps, by turns without a clock in them and with one, each of the
    latter in a record of its own; arguments as of ``time_steps``."""
    stepper = Stepper(model, optimizer)
    batch = model.example_inputs(batch_size, tokens, seed)
    with fixed_threads(threads), _no_garbage_collection():
        for _ in range(_WARM_UP):
            stepper.plain(batch)
        turns = [(stepper.plain(batch), stepper.clocked(batch)) for _ in range(_WHOLE_STEPS)]
    return [plain for plain, _ in turns], [clocked for _, clocked in turns]


def optimizer_of(parameters: Sequence[nn.Parameter], name: str) -> torch.optim.Optimizer:
    """An optimizer of the kind that is profiled, whose steps change nothing."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=0.0)
    return torch.optim.AdamW(parameters, lr=0.0)


def lone_unit(n_units: int) -> int:
    """The block that is also timed as a stage of its own: one in the middle."""
    return n_units // 2


class _Stopwatch(Listener):
    """Marks every boundary of a pass."""

    def __init__(self, device: torch.device) -> None:
        self.ticker = Ticker(device)
        self.parts: list[tuple[int, Activity]] = []

    def enter(self, unit: int, phase: Phase) -> None:
        self.begin(unit, phase)

    def begin(self, unit: int, activity: Activity) -> None:
        """From here on it is this unit and activity."""
        self.ticker.mark()
        self.parts.append((unit, activity))

    def finish(self) -> None:
        """The last begun part ends when the next begins, or here."""


class Stepper:
    """Runs training steps of a model with one optimizer per unit.

    Args:
        model: With its tunable modules attached; no weight of it changes.
        optimizer: ``sgd`` or ``adamw``.
    """

    def __init__(self, model: FoundationModel, optimizer: str) -> None:
        self._model = model
        self._parameters = list(model.bare.parameters())
        self._updaters = dict(_updaters(model, optimizer))
        unit = lone_unit(model.n_units)
        self._stage = make_stage(model, unit, unit, private_tunables=False)
        self._hidden: dict[int, Tensor | None] = {}

    def turn(self, batch: Mapping[str, Tensor], record: Record) -> None:
        """One repetition: a step with a clock in it, one without, and the lone stage.

        The steps change places every time, since of two in a row the second is a little faster:
        it finds its sizes of memory, and a part of its weights in the cache.
        """
        clock_first = len(record.steps) % 2 == 0
        if clock_first:
            self.with_clock(batch, record)
        record.steps.append(self.plain(batch))
        if not clock_first:
            self.with_clock(batch, record)
        record.lone_stage.append(self.lone_stage(batch))

    def plain(self, batch: Mapping[str, Tensor]) -> Instant:
        """One step; how long it took in all."""
        self._forget_gradients()
        ticker = Ticker(self._model.device)
        ticker.mark()
        run_pass(self._model, batch, Listener())
        for updater in self._updaters.values():
            updater.step()
        ticker.mark()
        return ticker.intervals()[0]

    def peak(self, batch: Mapping[str, Tensor]) -> MeasuredPeak:
        """Memory of one step that is not the first; see ``measured_peak``."""
        self._forget_gradients()
        states = [state for u in self._updaters.values() for state in u.state.values()]
        kept = [v for state in states for v in state.values() if isinstance(v, Tensor)]
        held = [*self._parameters, *self._model.bare.buffers(), *kept, *batch.values()]
        return measured_peak(lambda: self.plain(batch), held, self._model.device)

    def lone_stage(self, batch: Mapping[str, Tensor]) -> Instant:
        """A forward pass of one block as a stage; how long it took."""
        side = side_inputs(self._model, batch)
        size = batch["labels"].shape[0]
        if size not in self._hidden:
            self._hidden[size] = hidden_before(self._model, self._stage.first_unit, batch)
        ticker = Ticker(self._model.device)
        ticker.mark()
        self._stage(side, self._hidden[size])
        ticker.mark()
        return ticker.intervals()[0]

    def clocked(self, batch: Mapping[str, Tensor]) -> Record:
        """One step with a clock in it, by itself."""
        record = Record()
        self.with_clock(batch, record)
        return record

    def with_clock(self, batch: Mapping[str, Tensor], record: Record) -> None:
        """One step, its parts noted in ``record``."""
        self._forget_gradients()
        watch = _Stopwatch(self._model.device)
        run_pass(self._model, batch, watch)
        for unit, updater in self._updaters.items():
            watch.begin(unit, "update")
            updater.step()
        watch.ticker.mark()
        durations = watch.ticker.intervals()
        for part, duration in zip(watch.parts, durations, strict=True):
            record.parts[part].append(duration)

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def _updaters(
    model: FoundationModel, optimizer: str
) -> Iterator[tuple[int, torch.optim.Optimizer]]:
    """One optimizer for each unit that has tuned parameters; tied ones go to the first."""
    by_unit: dict[int, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.bare.named_parameters():
        if parameter.requires_grad:
            by_unit[model.unit_of(name)].append(parameter)
    for unit, parameters in sorted(by_unit.items()):
        yield unit, optimizer_of(parameters, optimizer)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Python's collector would stop a random step for milliseconds."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
