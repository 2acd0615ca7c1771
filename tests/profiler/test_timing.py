"""Times: what is timed, what is pooled, and how the check adds up. Nothing here asserts speed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gaisnet.models.state import tunable_state
from gaisnet.profiler import profile_model
from gaisnet.profiler.clock import Instant
from gaisnet.profiler.passage import Listener, Phase, run_pass
from gaisnet.profiler.timing import Record, Stepper, optimizer_of, time_steps
from gaisnet.profiler.timing_summary import end_to_end, stage_overhead_s, with_times
from gaisnet.progress import silent
from gaisnet.schema.profile import ModelPart

from .small import TUNABLES, real, spec_of


@pytest.fixture(scope="module")
def lora(folder: Path) -> ModelPart:
    """A small ViT under LoRA, analysed but not timed."""
    return profile_model(spec_of("vit", folder), TUNABLES["lora"], times=False)


def _records(units: int, repetitions: int = 3) -> dict[int, Record]:
    """Made-up times: unit u takes u + 1 seconds forward, twice that backward, half the CPU."""
    records = {}
    for size in (1, 4):
        record = Record()
        for unit in range(units):
            for activity, factor in (("forward", 1), ("backward", 2), ("update", 0.5)):
                seconds = (unit + 1.0) * factor * (1 if activity == "update" else size)
                runs = [Instant(seconds, seconds / 2)] * repetitions
                record.parts[unit, activity] = runs  # type: ignore[index]
        record.steps = [Instant(1000.0, 200.0)] * repetitions
        record.lone_stage = [Instant(9.0, 0.25 + 3.5 * size / 2)] * repetitions
        records[size] = record
    return records


def test_identical_blocks_are_pooled_and_others_are_not(lora: ModelPart) -> None:
    units = with_times(lora.units, _records(5))
    forward = [unit.timings[0].forward for unit in units]
    # Blocks 2 and 3 do the same work; block 1 sends nothing down and stays apart.
    assert [spread.median_s for spread in forward] == [1.0, 2.0, 3.5, 3.5, 5.0]
    assert [spread.samples for spread in forward] == [3, 3, 6, 6, 3]
    assert [spread.spread_s for spread in forward] == [0.0, 0.0, 0.5, 0.5, 0.0]
    assert [spread.expected_s for spread in forward] == [1.0, 2.0, 3.5, 3.5, 5.0]


def test_updates_are_pooled_over_batch_sizes(lora: ModelPart) -> None:
    units = with_times(lora.units, _records(5))
    update = units[1].update
    assert update is not None
    assert (update.median_s, update.samples) == (1.0, 6)


def test_kappa_is_the_steps_cpu_time_over_the_sum(lora: ModelPart) -> None:
    records = _records(5)
    checks = end_to_end(with_times(lora.units, records), records)
    # 1 + 2 + 3.5 + 3.5 + 5 = 15 s forward, twice that backward, half of it for updates.
    assert [check.sum_s for check in checks] == [15 * 3 + 7.5, 15 * 12 + 7.5]
    assert [check.sum_cpu_s for check in checks] == [26.25, 93.75]
    assert checks[0].kappa == pytest.approx(200.0 / 26.25)
    assert checks[1].kappa == pytest.approx(200.0 / 93.75)


def test_a_stages_overhead_is_what_its_one_block_does_not_take(lora: ModelPart) -> None:
    records = _records(5)
    block = with_times(lora.units, records)[2]
    assert stage_overhead_s(block, records) == pytest.approx(0.25)
    for record in records.values():
        record.lone_stage = [Instant(0.0, 0.0)]
    assert stage_overhead_s(block, records) == 0.0


def test_what_is_never_done_takes_no_time(lora: ModelPart) -> None:
    records = _records(5)
    for record in records.values():
        del record.parts[0, "backward"]
    units = with_times(lora.units, records)
    assert units[0].timings[1].backward.median_s == 0.0
    assert units[1].timings[1].backward.median_s == 16.0


class _Diary(Listener):
    def __init__(self) -> None:
        self.places: list[tuple[int, Phase]] = []

    def enter(self, unit: int, phase: Phase) -> None:
        self.places.append((unit, phase))


@pytest.mark.parametrize(
    ("tunable", "lowest"), [("full", 0), ("lora", 1), ("adapter", 1), ("head", 4)]
)
def test_a_pass_enters_units_upwards_and_back_down_to_the_lowest_tuned(
    tunable: str, lowest: int, folder: Path
) -> None:
    model = real("vit", folder, tunable)
    diary = _Diary()
    run_pass(model, model.example_inputs(2), diary)
    forward = [(unit, "forward") for unit in range(5)]
    assert diary.places == forward + [(unit, "backward") for unit in range(4, lowest - 1, -1)]


def test_a_pass_without_gradients_goes_up_only(folder: Path) -> None:
    model = real("gpt2", folder, "lora")
    diary = _Diary()
    run_pass(model, model.example_inputs(2), diary, backward=False)
    assert diary.places == [(unit, "forward") for unit in range(5)]
    assert all(parameter.grad is None for parameter in model.bare.parameters())


@pytest.mark.parametrize("tunable", ["full", "lora", "deep_prompt"])
def test_a_listened_pass_leaves_the_gradients_of_a_plain_one(tunable: str, folder: Path) -> None:
    model = real("bert", folder, tunable)
    batch = model.example_inputs(2)
    run_pass(model, batch, _Diary())
    listened = {n: p.grad.clone() for n, p in model.bare.named_parameters() if p.grad is not None}
    model.bare.zero_grad()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    model.loss(model.bare(**inputs).logits, batch["labels"]).backward()
    plain = {n: p.grad for n, p in model.bare.named_parameters() if p.grad is not None}
    assert listened.keys() == plain.keys()
    assert all(torch.equal(listened[name], plain[name]) for name in plain)


class _Ordered(Stepper):
    """Remembers which kind of step came when."""

    order: tuple[str, ...] = ()

    def plain(self, batch: Mapping[str, Tensor]) -> Instant:
        self.order += ("plain",)
        return super().plain(batch)

    def with_clock(self, batch: Mapping[str, Tensor], record: Record) -> None:
        self.order += ("clocked",)
        super().with_clock(batch, record)


def test_steps_with_and_without_a_clock_change_places(folder: Path) -> None:
    model = real("vit", folder, "lora")
    stepper, batch, record = _Ordered(model, "adamw"), model.example_inputs(1), Record()
    for _ in range(4):
        stepper.turn(batch, record)
    assert stepper.order == ("clocked", "plain", "plain", "clocked") * 2
    assert len(record.steps) == len(record.lone_stage) == len(record.parts[0, "forward"]) == 4


def test_timing_changes_no_weight_and_visits_every_part(folder: Path) -> None:
    model = real("vit", folder, "lora")
    before = tunable_state(model.module)
    records = time_steps(
        model,
        optimizer="adamw",
        batch_sizes=(2, 1),
        tokens=None,
        seed=0,
        threads=1,
        budget_s=0.0,
        show=silent,
    )
    after = tunable_state(model.module)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert list(records) == [2, 1]
    for record in records.values():
        assert {unit for unit, activity in record.parts if activity == "forward"} == set(range(5))
        assert {u for u, activity in record.parts if activity == "backward"} == {1, 2, 3, 4}
        assert {u for u, activity in record.parts if activity == "update"} == {1, 2, 3, 4}
        assert len(record.lone_stage) == len(record.steps)
        assert len(record.steps) == len(record.parts[0, "forward"]) >= 5


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_profiled_optimizer_stands_still(name: str) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer_of([parameter], name).step()
    assert parameter.tolist() == [1.0, 1.0, 1.0]
