"""Two passes over fake tensors, of one and of two samples, watched for memory and for work."""

from __future__ import annotations

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gaisnet.models.foundation import FoundationModel
from gaisnet.profiler.passage import Listener, Phase, run_pass
from gaisnet.profiler.standins import fake_batch
from gaisnet.profiler.unit_memory import MemoryWatch, UnitMemory, units_memory
from gaisnet.profiler.unit_work import UnitWork, WorkWatch, units_work
from gaisnet.profiler.valueless import as_without_padding

__all__ = ["count_passes"]


def count_passes(
    model: FoundationModel, mode: FakeTensorMode, tokens: int | None, seed: int
) -> tuple[list[UnitMemory], list[UnitWork]]:
    """Bytes held, and calls and bytes touched, of every unit.

    Args:
        model: Of fake tensors under ``mode``, with its tunable modules attached.
        mode: The fake mode.
        tokens: Sequence length, for text.
        seed: Seed of the batch.
    """
    one, two = (_watched(model, mode, samples, tokens, seed) for samples in (1, 2))
    return units_memory(one.memory, two.memory), units_work(one.work, two.work)


class _Both(Listener):
    def __init__(self, model: FoundationModel) -> None:
        self.memory = MemoryWatch(model)
        self.work = WorkWatch(model.n_units)

    def enter(self, unit: int, phase: Phase) -> None:
        self.memory.enter(unit, phase)
        self.work.enter(unit, phase)

    def cut(self, unit: int, hidden: Tensor) -> None:
        self.memory.cut(unit, hidden)

    def finish(self) -> None:
        self.memory.finish()


def _watched(
    model: FoundationModel, mode: FakeTensorMode, samples: int, tokens: int | None, seed: int
) -> _Both:
    batch = fake_batch(model.example_inputs(samples, tokens, seed), mode)
    for parameter in model.bare.parameters():
        parameter.grad = None
    watch = _Both(model)
    tracker = watch.memory.tracker
    tracker.add([*model.bare.parameters(), *model.bare.buffers(), *batch.values()])
    with mode, as_without_padding(), tracker, watch.work:
        run_pass(model, batch, watch)
    return watch
