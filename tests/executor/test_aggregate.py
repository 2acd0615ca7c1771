"""Averages of LoRA: what is exact, and that what is exported computes the same."""

from __future__ import annotations

import math
import statistics
from itertools import permutations

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaisnet.errors import InputError, UsageError
from gaisnet.executor.aggregate import (
    Contribution,
    FedAvg,
    FedExLora,
    Median,
    TrimmedMean,
    aggregator_of,
    register_aggregator,
)
from gaisnet.executor.data import Shard
from gaisnet.executor.evaluate import Evaluator
from gaisnet.executor.export import export_adapter
from gaisnet.executor.residual import apply_residuals, is_residual
from gaisnet.models import load_model, make_stage, tunable_state
from gaisnet.schema.job import FineTuning, SgdSpec
from gaisnet.schema.model import HeadSpec, LoraSpec, ModelSpec
from tests.executor.hfsl import (
    Fleet,
    cluster,
    config_file,
    distance,
    make_model,
    make_plan,
    make_shard,
    same,
)

TOLERANCE = 1e-5
A, B, R = (f"layer.lora_{part}.default.weight" for part in "ABR")
# Maps that are not square: the feed-forward ones.
WIDE = {
    "vit": LoraSpec(r=2, alpha=6, targets=("q_proj", "fc1", "fc2")),
    "gpt2": LoraSpec(r=2, alpha=6, targets=("c_attn", "c_fc")),
    "bert": LoraSpec(r=2, alpha=6, targets=("query", "intermediate.dense")),
}


def states(n: int, out: int, rank: int, width: int, seed: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            A: torch.randn(rank, width, generator=generator),
            B: torch.randn(out, rank, generator=generator),
            "bias": torch.randn(3, generator=generator),
        }
        for _ in range(n)
    ]


def merged(state: dict[str, Tensor]) -> Tensor:
    product = state[B].double() @ state[A].double()
    return product + state[R].double() if R in state else product


def mean(values: list[Tensor], weights: list[int]) -> Tensor:
    total = sum(w * v.double() for w, v in zip(weights, values, strict=True))
    return total / sum(weights)


counts = st.lists(st.integers(1, 50), min_size=1, max_size=6)


@settings(deadline=None)
@given(counts, st.integers(1, 7), st.integers(1, 3), st.integers(1, 7), st.integers(0, 99))
def test_invariant_8_merged_weights_are_the_mean_of_the_clients(weights, out, rank, width, seed):
    """Over one level, and over two levels with the second fed by the first."""
    clients = states(len(weights), out, rank, width, seed)
    parts = {
        f"c{i}": Contribution(n, s) for i, (n, s) in enumerate(zip(weights, clients, strict=True))
    }
    expected = mean([merged(state) for state in clients], weights)
    flat = FedExLora().average(parts)
    torch.testing.assert_close(merged(flat), expected, atol=TOLERANCE, rtol=0.0)
    groups = [dict(list(parts.items())[k::2]) for k in (0, 1) if list(parts.items())[k::2]]
    edges = {
        f"e{k}": Contribution(sum(p.samples for p in group.values()), FedExLora().average(group))
        for k, group in enumerate(groups)
    }
    nested = FedExLora().average(edges)
    torch.testing.assert_close(merged(nested), expected, atol=TOLERANCE, rtol=0.0)
    for name in (A, B, "bias"):
        torch.testing.assert_close(nested[name], flat[name])


@settings(deadline=None)
@given(counts, st.integers(0, 99))
def test_fedavg_is_the_weighted_mean_and_leaves_equal_tensors_alone(weights, seed):
    clients = states(len(weights), 3, 2, 4, seed)
    parts = {f"c{i}": Contribution(n, clients[i]) for i, n in enumerate(weights)}
    averaged = FedAvg().average(parts)
    for name in (A, B, "bias"):
        expected = mean([state[name] for state in clients], weights)
        torch.testing.assert_close(averaged[name].double(), expected, atol=1e-6, rtol=0.0)
    equal = {f"c{i}": Contribution(n, clients[0]) for i, n in enumerate(weights)}
    assert same(FedAvg().average(equal), clients[0])


@pytest.mark.parametrize("aggregator", [FedAvg(), FedExLora()])
def test_invariant_12_sums_run_in_the_order_of_ids_not_of_arrival(aggregator):
    """Values whose sum depends on the order, even in float64."""
    values = dict(zip("abc", [1e30, 1.0, -1e30], strict=True))
    parts = {
        name: Contribution(1, {A: torch.full((1, 2), x), B: torch.ones(2, 1)})
        for name, x in values.items()
    }
    first = aggregator.average(parts)
    for order in permutations("abc"):
        assert same(aggregator.average({name: parts[name] for name in order}), first)


def test_plain_averaging_of_lora_is_not_exact_and_the_residual_is_what_is_missing():
    clients = states(3, 4, 2, 5, 0)
    parts = {f"c{i}": Contribution(1, state) for i, state in enumerate(clients)}
    plain, exact = FedAvg().average(parts), FedExLora().average(parts)
    expected = mean([merged(state) for state in clients], [1, 1, 1])
    missing = expected - merged(plain)
    assert float(missing.abs().max()) > 0.1
    torch.testing.assert_close(exact[R].double(), missing, atol=1e-6, rtol=0.0)


def tune(name: str, aggregator: str, rounds: int = 2) -> tuple[Fleet, dict[str, Tensor]]:
    """Two edges, one cluster with two owners: every level averages something."""
    model = make_model(name, WIDE[name])
    sizes = {"a": 4, "b": 8, "c": 6}
    shards = {n: make_shard(model, n, k, k) for n, k in sizes.items()}
    clusters = [
        cluster("c0", {"a": 4, "b": 8}, [2, 3], intra="merge"),
        cluster("c1", {"c": 6}, [1, 4], edge="edge-1"),
    ]
    tuning = FineTuning(
        local_steps=3, batch_size=4, optimizer=SgdSpec(learning_rate=0.5), aggregator=aggregator
    )
    fleet = Fleet(make_plan(clusters, cloud="sky"), model, shards, tuning)
    fleet.tune(rounds)
    return fleet, fleet.modules()


def test_ffa_lora_tunes_and_sends_b_alone():
    fleet, after = tune("vit", "ffa_lora")
    assert any(".lora_B." in name for name in after)
    assert not any(".lora_A." in name for name in after)
    assert set(after) == set(tunable_state(fleet.model.module))


def test_fedex_residuals_reach_every_stage_and_evaluation():
    """A stage's map is W0 + s (R + B A): seen in the logits of a model made by hand."""
    fleet, state = tune("bert", "fedex_lora")
    residuals = {key: value for key, value in state.items() if is_residual(key)}
    assert residuals
    assert max(float(value.abs().max()) for value in residuals.values()) > 1e-4
    inputs = fleet.model.example_inputs(3, seed=9)
    labels = inputs.pop("labels")
    by_hand = make_model("bert", WIDE["bert"])
    with torch.no_grad():
        for key, value in state.items():
            if is_residual(key):
                path = key.partition(".lora_R.")[0]
                by_hand.bare.get_parameter(f"{path}.base_layer.weight").add_(3.0 * value)
            else:
                by_hand.bare.get_parameter(key).copy_(value)
        expected = by_hand.module(**inputs).logits
        stage = make_stage(fleet.model, 0, 4)
        stage.load_tunable_state(state)
        apply_residuals(fleet.model, stage, state)
        torch.testing.assert_close(stage(inputs), expected, atol=TOLERANCE, rtol=0.0)
    loss = Evaluator(fleet.model).evaluate(Shard("x", inputs, labels), state).loss
    assert loss == pytest.approx(float(fleet.model.loss(expected, labels)), abs=TOLERANCE)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("aggregator", ["fedavg", "ffa_lora", "fedex_lora"])
@pytest.mark.parametrize("name", sorted(WIDE))
def test_exported_adapters_give_the_same_logits_in_peft(tmp_path, name, aggregator):
    fleet, state = tune(name, aggregator)
    inputs = fleet.model.example_inputs(3, seed=9)
    inputs.pop("labels")
    stage = make_stage(fleet.model, 0, 4)
    stage.load_tunable_state(state)
    apply_residuals(fleet.model, stage, state)
    export_adapter(fleet.model, state, tmp_path / "adapter")
    base = load_model(ModelSpec(source=str(config_file(name)))).module
    with torch.no_grad():
        plain = base.eval()(**inputs).logits
        model = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
        loaded, ours = model(**inputs).logits, stage(inputs)
    torch.testing.assert_close(loaded, ours, atol=TOLERANCE, rtol=0.0)
    assert float((loaded - plain).abs().max()) > 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("aggregator", ["ffa_lora", "fedex_lora"])
def test_lora_aggregators_refuse_other_modules(aggregator):
    with pytest.raises(InputError, match="averages LoRA of linear maps only"):
        aggregator_of(aggregator).prepare(make_model("vit", HeadSpec()))


def test_an_unknown_aggregator_is_a_usage_error_and_a_registered_one_is_found():
    with pytest.raises(UsageError, match="no aggregator 'mine'"):
        aggregator_of("mine")
    register_aggregator("mine", FedAvg())
    assert isinstance(aggregator_of("mine"), FedAvg)


def test_fedex_equals_fedavg_where_there_is_nothing_to_average():
    shard = make_shard(make_model("vit"), "a", 4, 0)
    results = []
    for aggregator in ("fedavg", "fedex_lora"):
        tuning = FineTuning(local_steps=2, batch_size=4, optimizer=SgdSpec(), aggregator=aggregator)
        plan = make_plan([cluster("c0", {"a": 4}, [1, 3])])
        fleet = Fleet(plan, make_model("vit"), {"a": shard}, tuning)
        fleet.tune(2)
        results.append(fleet.modules())
    assert distance(*results) == 0.0


columns = st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1)


def by_name(rows: list[list[float]]) -> dict[str, Contribution]:
    """One contributor a row, with unequal samples, which must not matter."""
    return {f"d{i:02}": Contribution(i + 1, {"w": torch.tensor(row)}) for i, row in enumerate(rows)}


@given(columns)
def test_the_median_is_that_of_each_coordinate(rows):
    found = Median().average(by_name(rows))["w"]
    expected = [statistics.median(column) for column in zip(*rows, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


@given(columns, st.floats(0.0, 0.49))
def test_the_trimmed_mean_leaves_out_both_ends_of_each_coordinate(rows, fraction):
    count = len(rows)
    trim = max(math.floor(fraction * count), 1 if fraction and count >= 3 else 0)
    found = TrimmedMean(fraction).average(by_name(rows))["w"]
    expected = [
        statistics.fmean(sorted(column)[trim : count - trim]) for column in zip(*rows, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("robust", [Median(), TrimmedMean(0.2)])
@given(honest=st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), bad=st.floats(-1e9, 1e9))
def test_one_bad_contributor_of_five_cannot_leave_the_range_of_the_others(robust, honest, bad):
    found = robust.average(by_name([[x] for x in [*honest, bad]]))["w"].item()
    assert min(honest) - 1e-6 <= found <= max(honest) + 1e-6


def test_a_robust_average_of_one_is_the_one():
    state = by_name([[1.0, 2.0, 3.0]])
    for name in ("median", "trimmed_mean"):
        assert torch.equal(aggregator_of(name).average(state)["w"], state["d00"].state["w"])


def test_the_job_says_how_much_is_trimmed():
    few = by_name([[0.0], [0.0], [0.0], [0.0], [5.0]])
    assert aggregator_of("trimmed_mean", trim_fraction=0.0).average(few)["w"].item() == 1.0
    assert aggregator_of("trimmed_mean", trim_fraction=0.2).average(few)["w"].item() == 0.0
