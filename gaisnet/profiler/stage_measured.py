"""What a candidate stage really uses: the other end of ``stage_memory``, on a CPU or a GPU."""

from __future__ import annotations

from gaisnet.models.accelerator import usual_place
from gaisnet.models.attach import attach
from gaisnet.models.load import load_model
from gaisnet.profiler.allocator import measured_peak
from gaisnet.profiler.analysis import Optimizer
from gaisnet.profiler.cuts import hidden_before
from gaisnet.profiler.stage_memory import StageStep
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.profile import MeasuredPeak

__all__ = ["measured_stage_peak"]


def measured_stage_peak(
    spec: ModelSpec,
    tunable: TunableSpec,
    first: int,
    last: int,
    batch_size: int,
    optimizer: Optimizer = "adamw",
    *,
    tokens: int | None = None,
    seed: int = 0,
    checkpointing: bool = False,
    device: str | None = None,
) -> MeasuredPeak:
    """Peak of units ``first`` to ``last`` in a real training step, by the device's allocator.

    ``stage_memory`` with the same arguments predicts it. This one loads the whole model.

    Args:
        spec: The model.
        tunable: Its tunable modules.
        first: First unit of the stage.
        last: Last unit, inclusive.
        batch_size: Samples of a step.
        optimizer: What updates the tuned parameters.
        tokens: Sequence length, for text.
        seed: Seed of the batch.
        checkpointing: Whether blocks keep their input only.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.

    Raises:
        ModelError: The model cannot be loaded or cut, or there are no such units.
    """
    place = usual_place(device)
    model = attach(load_model(spec, device=place), tunable, seed=seed)
    batch = model.example_inputs(batch_size, tokens, seed)
    hidden = hidden_before(model, first, batch)
    received = None if hidden is None else hidden.clone()
    step = StageStep(model, first, last, batch, received, optimizer)
    if checkpointing:
        step.checkpoint_blocks()

    def run() -> None:
        step.backward(step.forward())
        step.update()

    run()
    return measured_peak(run, [*step.resident(), *step.state(), *step.received()], model.device)
