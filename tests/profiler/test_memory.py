"""Memory predicted on fake tensors against what real tensors use, unit by unit, stage by stage."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gaisnet.models import FoundationModel
from gaisnet.profiler import stage_memory
from gaisnet.profiler.analysis import Optimizer, optimizer_bytes
from gaisnet.profiler.cuts import hidden_before
from gaisnet.profiler.passage import Listener, Phase, run_pass
from gaisnet.profiler.stage_memory import StageMemory, StageStep, watch_step
from gaisnet.profiler.standins import fake_batch, make_fake
from gaisnet.profiler.storages import StorageTracker
from gaisnet.profiler.timing import optimizer_of
from gaisnet.profiler.unit_passes import count_passes
from gaisnet.profiler.valueless import as_without_padding

from .small import FAMILIES, TUNABLES, on_meta, real, spec_of

_CLOSE = 0.015

_STAGES: list[tuple[str, str, str, int, int, int, Optimizer]] = [
    ("vit", "full", "sdpa", 0, 4, 3, "adamw"),
    ("vit", "lora", "sdpa", 1, 2, 4, "adamw"),
    ("vit", "deep_prompt", "eager", 2, 4, 2, "sgd"),
    ("bert", "lora", "eager", 0, 4, 2, "adamw"),
    ("bert", "head", "sdpa", 2, 4, 5, "adamw"),
    ("bert", "bitfit", "sdpa", 0, 2, 2, "adamw"),
    ("gpt2", "full", "sdpa", 3, 4, 2, "sgd"),
    ("gpt2", "lora", "eager", 0, 1, 3, "adamw"),
    ("gpt2", "full", "sdpa", 0, 4, 1, "adamw"),
    ("llama", "adapter", "sdpa", 1, 3, 2, "adamw"),
    ("qwen2", "lora", "sdpa", 0, 4, 2, "adamw"),
    ("qwen3", "deep_prompt", "sdpa", 0, 2, 3, "adamw"),
    ("qwen3", "full", "eager", 2, 3, 2, "adamw"),
]


@pytest.mark.parametrize(
    ("family", "tunable", "attention", "first", "last", "batch_size", "optimizer"), _STAGES
)
def test_a_stage_uses_what_was_predicted_without_allocating_it(
    family: str,
    tunable: str,
    attention: str,
    first: int,
    last: int,
    batch_size: int,
    optimizer: Optimizer,
    folder: Path,
) -> None:
    spec = spec_of(family, folder, attention)
    predicted = stage_memory(spec, TUNABLES[tunable], first, last, batch_size, optimizer)
    model = real(family, folder, tunable, attention)
    used = _really_used(model, first, last, batch_size, optimizer)
    assert predicted.peak_bytes == pytest.approx(used.peak_bytes, rel=_CLOSE)
    assert predicted.saved_bytes == pytest.approx(used.saved_bytes, rel=_CLOSE, abs=64)
    assert predicted.weight_bytes == used.weight_bytes
    assert predicted.gradient_bytes == used.gradient_bytes
    assert predicted.optimizer_bytes == used.optimizer_bytes
    assert predicted.input_bytes == used.input_bytes


@pytest.mark.parametrize(("family", "tunable"), [("vit", "full"), ("gpt2", "lora")])
def test_checkpointed_blocks_keep_their_input_only(family: str, tunable: str, folder: Path) -> None:
    spec, batch_size = spec_of(family, folder), 8
    chosen = (spec, TUNABLES[tunable], 1, 3, batch_size)
    plain, predicted = stage_memory(*chosen), stage_memory(*chosen, checkpointing=True)
    used = _really_used(real(family, folder, tunable), 1, 3, batch_size, "adamw", True)
    assert predicted.peak_bytes == pytest.approx(used.peak_bytes, rel=_CLOSE)
    assert predicted.saved_bytes == used.saved_bytes
    hidden_bytes = batch_size * FAMILIES[family].geometry.tokens * 24 * 4
    assert predicted.saved_bytes == pytest.approx(3 * hidden_bytes, rel=0.05)
    assert predicted.peak_bytes < plain.peak_bytes


@pytest.mark.parametrize("tunable", sorted(TUNABLES))
@pytest.mark.parametrize("family", ["vit", "llama"])
def test_checkpointing_is_foreseen_under_every_tuning(
    family: str, tunable: str, folder: Path
) -> None:
    if (family, tunable) == ("llama", "bitfit"):
        family = "bert"  # Llama's maps have no biases.
    chosen = (spec_of(family, folder), TUNABLES[tunable], 1, 4, 3, "sgd")
    predicted = stage_memory(*chosen, checkpointing=True)
    used = _really_used(real(family, folder, tunable), 1, 4, 3, "sgd", True)
    assert predicted.peak_bytes == pytest.approx(used.peak_bytes, rel=_CLOSE)


def _really_used(
    model: FoundationModel,
    first: int,
    last: int,
    batch_size: int,
    optimizer: Optimizer,
    checkpointing: bool = False,
) -> StageMemory:
    batch = model.example_inputs(batch_size)
    hidden = hidden_before(model, first, batch)
    received = None if hidden is None else hidden.clone()
    step = StageStep(model, first, last, batch, received, optimizer)
    if checkpointing:
        step.checkpoint_blocks()
    return watch_step(step)


@pytest.mark.parametrize("tunable", ["full", "lora", "adapter"])
@pytest.mark.parametrize("family", ["vit", "bert", "gpt2", "qwen3"])
def test_live_bytes_at_every_boundary_are_those_of_a_real_pass(
    family: str, tunable: str, folder: Path
) -> None:
    model = on_meta(family, folder, tunable)
    mode = FakeTensorMode()
    make_fake(model, mode)
    batch = fake_batch(model.example_inputs(2), mode)
    with mode, as_without_padding():
        imagined = _walk(model, batch)
    whole = real(family, folder, tunable)
    assert imagined == _walk(whole, whole.example_inputs(2))


class _Diary(Listener):
    def __init__(self, tracker: StorageTracker) -> None:
        self.tracker = tracker
        self.pages: list[tuple[int, Phase, int, int]] = []

    def enter(self, unit: int, phase: Phase) -> None:
        self.pages.append((unit, phase, self.tracker.live_bytes, self.tracker.peak_bytes))


def _walk(
    model: FoundationModel, batch: dict[str, torch.Tensor]
) -> list[tuple[int, Phase, int, int]]:
    tracker = StorageTracker()
    tracker.add([*model.bare.parameters(), *model.bare.buffers(), *batch.values()])
    diary = _Diary(tracker)
    with tracker:
        run_pass(model, batch, diary)
    return diary.pages


@pytest.mark.parametrize("family", ["vit", "llama"])
def test_units_saved_bytes_add_up_to_the_whole_models(family: str, folder: Path) -> None:
    model = on_meta(family, folder, "full")
    mode = FakeTensorMode()
    make_fake(model, mode)
    by_unit = sum(unit.saved_bytes for unit in count_passes(model, mode, None, 0)[0])
    spec = spec_of(family, folder)
    last = model.n_units - 1
    one, two = (stage_memory(spec, TUNABLES["full"], 0, last, size) for size in (1, 2))
    assert by_unit == pytest.approx(two.saved_bytes - one.saved_bytes, rel=_CLOSE)


@pytest.mark.parametrize(
    ("family", "tunable"), [("vit", "lora"), ("bert", "full"), ("gpt2", "lora"), ("qwen2", "full")]
)
def test_the_planners_sum_over_units_bounds_the_peak_closely(
    family: str, tunable: str, folder: Path
) -> None:
    model = on_meta(family, folder, tunable)
    mode = FakeTensorMode()
    make_fake(model, mode)
    units, _ = count_passes(model, mode, None, 0)
    batch_size = 64
    batch_bytes = sum(unit.saved_bytes for unit in units) + max(u.working_bytes for u in units)
    last = model.n_units - 1
    whole = stage_memory(spec_of(family, folder), TUNABLES[tunable], 0, last, batch_size)
    fixed = whole.weight_bytes + whole.gradient_bytes + whole.optimizer_bytes + whole.input_bytes
    assert fixed + batch_size * batch_bytes == pytest.approx(whole.peak_bytes, rel=0.05)


def test_frozen_blocks_below_the_tuned_ones_keep_nothing(folder: Path) -> None:
    model = on_meta("bert", folder, "head")
    mode = FakeTensorMode()
    make_fake(model, mode)
    units, _ = count_passes(model, mode, None, 0)
    assert [unit.saved_bytes for unit in units[1:4]] == [0, 0, 0]
    assert all(unit.working_bytes > 0 for unit in units[1:4])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizer_state_is_what_the_optimizer_makes(name: Optimizer) -> None:
    parameters = [torch.nn.Parameter(torch.ones(5, 7)), torch.nn.Parameter(torch.ones(3))]
    optimizer = optimizer_of(parameters, name)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = [v for kept in optimizer.state.values() for v in kept.values()]
    made = sum(value.untyped_storage().nbytes() for value in state)
    assert made == optimizer_bytes(parameters, name)


def test_the_tracker_counts_storages_once_and_sees_them_die() -> None:
    tracker = StorageTracker()
    with tracker:
        first = torch.zeros(100)
        view = first.view(10, 10)[2:]
        assert tracker.live_bytes == 400
        second = view + 1
        assert tracker.live_bytes == 400 + 320
        del first
        assert tracker.live_bytes == 720
        del view
        assert tracker.live_bytes == 320
        tracker.restart_peak()
        assert tracker.peak_bytes == 320
        del second
        gc.collect()
        assert (tracker.live_bytes, tracker.peak_bytes) == (0, 320)


def test_the_tracker_counts_operators_but_no_views() -> None:
    tracker = StorageTracker()
    square = torch.ones(4, 4)
    with tracker:
        square.mul(2).t().add(1)
    assert tracker.operators == 2


def test_what_the_allocator_hands_out_is_what_the_tracker_counts(folder: Path) -> None:
    """The allocator's own record of a step, read from torch's profiler."""
    model = real("bert", folder, "lora")
    batch = model.example_inputs(8)
    tracker = StorageTracker()
    tracker.add([*model.bare.parameters(), *model.bare.buffers(), *batch.values()])
    before = tracker.live_bytes
    with tracker:
        run_pass(model, batch, Listener())
    for parameter in model.bare.parameters():
        parameter.grad = None
    with torch.profiler.profile(profile_memory=True) as profile:
        run_pass(model, batch, Listener())
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert tracker.peak_bytes - before == pytest.approx(peak, rel=_CLOSE)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_counting_allocates_nothing_of_the_models_size(family: str, folder: Path) -> None:
    model = on_meta(family, folder, "full")
    assert all(parameter.is_meta for parameter in model.bare.parameters())
    make_fake(model, FakeTensorMode())
    assert {p.device.type for p in model.bare.parameters()} == {"cpu"}
    assert all(isinstance(p.data, torch._subclasses.FakeTensor) for p in model.bare.parameters())
