"""Bad updates on the wire: what is left out, what closes all the same, and what ends a round."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaisnet.errors import QuorumError
from gaisnet.executor.aggregate import Contribution
from gaisnet.executor.chain import HOLDER
from gaisnet.executor.engines import Address
from gaisnet.executor.frames import Buffer, decode, encode, read_header
from gaisnet.executor.gate import UpdateGate, update_norm
from gaisnet.executor.holder import Holder
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.pool import Pool
from gaisnet.executor.run import execute
from gaisnet.schema.job import AdamWSpec, FineTuning, SgdSpec, UpdateGateSpec
from tests.executor.hfsl import Fleet, cluster, make_model, make_plan, make_shard, same
from tests.executor.jobs import lines, write_job

Tensors = dict[str, Tensor]
OWNERS = {"a": 8, "b": 4, "c": 4, "d": 4}
CUTS = [1, 3]


@dataclass
class Attacked(Fleet):
    """A fleet of which some frames with modules are changed on their way."""

    change: Callable[[Tensors], Tensors] | Callable[[Buffer], Buffer] | None = None
    attacker: str = ""
    raw: bool = False
    rounds: tuple[int, ...] = (0,)

    def _tap(self, sender: str, receiver: str, frame: Buffer) -> Buffer | None:
        super()._tap(sender, receiver, frame)
        if sender != self.attacker or self.change is None:
            return None
        header = read_header(frame)
        if header.kind != "modules" or header.round not in self.rounds:
            return None
        if self.raw:
            return self.change(frame)
        return encode(header, self.change(decode(frame)[1]))


def attacked(change=None, attacker="b", *, owners=OWNERS, clusters=None, **options) -> Attacked:
    given = {"change": change, "attacker": attacker}
    given |= {name: options.pop(name) for name in ("raw", "rounds") if name in options}
    model = make_model("vit")
    tuning = {"rounds": 1, "local_steps": 1, "batch_size": 4, "optimizer": SgdSpec()} | options
    shards = {name: make_shard(model, name, n, i) for i, (name, n) in enumerate(owners.items())}
    plan = make_plan(clusters or [cluster("c0", owners, CUTS)])
    return Attacked(plan, model, shards, FineTuning(**tuning), **given)


def first_named(change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    def changed(state: Tensors) -> Tensors:
        name = min(state)
        return state | {name: change(state[name])}

    return changed


def poisoned(value: float) -> Callable[[Tensor], Tensor]:
    def poison(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    return poison


def without_first(state: Tensors) -> Tensors:
    return {name: tensor for name, tensor in state.items() if name != min(state)}


BAD = {
    "nan": (first_named(poisoned(float("nan"))), "not finite"),
    "infinite": (first_named(poisoned(float("inf"))), "not finite"),
    "shape": (first_named(lambda t: t.reshape(-1)[:-1]), "does not fit"),
    "type": (first_named(Tensor.double), "does not fit"),
    "missing": (without_first, "is missing"),
    "unknown": (lambda state: state | {"stranger": torch.zeros(1)}, "is not expected"),
    "huge": (lambda state: {n: t + 1e6 for n, t in state.items()}, "running median"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_bad_update_is_left_out_and_named(kind):
    """The round equals one in which its sender owns nothing of the average."""
    change, reason = BAD[kind]
    fleet, honest = attacked(change), attacked(quorum=0.5)
    fleet.tune(1)
    assert list(fleet.tuner.rejected) == ["b"]
    assert reason in fleet.tuner.rejected["b"]
    honest.tune(1)
    assert not honest.tuner.rejected
    assert not same(fleet.modules(), honest.modules())
    assert all(bool(torch.isfinite(t).all()) for t in fleet.modules().values())
    expected = survivors(honest, without="b")
    found = fleet.modules()
    assert expected
    assert same({name: found[name] for name in expected}, expected)


def survivors(fleet: Attacked, *, without: str) -> Tensors:
    """The owners' mean, computed from the honest owners' frames by hand."""
    states = {
        sender: decode(frame)[1]
        for sender, receiver, frame in fleet.frames
        if receiver == "edge-0" and read_header(frame).kind == "modules" and sender in OWNERS
    }
    kept = {name: state for name, state in states.items() if name != without}
    total = sum(OWNERS[name] for name in kept)
    return {
        name: sum(OWNERS[d] * kept[d][name].double() for d in sorted(kept)).div(total).float()
        for name in states[without]
    }


@pytest.mark.parametrize("place", [3, 40, -1])
def test_a_corrupt_frame_is_a_lost_update(place):
    fleet = attacked(lambda frame: frame[:place], raw=True)
    fleet.tune(1)
    assert list(fleet.tuner.rejected) == ["b"]


def test_a_replayed_update_is_not_taken_again():
    """The second round's frame is the first round's."""
    kept: list[Buffer] = []

    def replay(frame: Buffer) -> Buffer:
        kept.append(frame)
        return kept[0]

    fleet = attacked(replay, raw=True, rounds=(0, 1))
    fleet.tune(1)
    assert not fleet.tuner.rejected
    fleet.tuner.round(1)
    assert "expects a frame of" in fleet.tuner.rejected["b"]


def test_a_bad_body_stage_costs_its_cluster_the_round():
    """The other cluster's modules are the result, as if it were alone."""
    clusters = [cluster("c0", {"a": 8}, CUTS), cluster("c1", {"b": 8}, CUTS)]
    owners, change = {"a": 8, "b": 8}, BAD["nan"][0]
    fleet = attacked(change, "c1-body0", owners=owners, clusters=clusters)
    alone = attacked(owners={"a": 8}, clusters=clusters[:1])
    fleet.tune(1)
    alone.tune(1)
    assert list(fleet.tuner.rejected) == ["c1-body0"]
    assert same(fleet.modules(), alone.modules())


def test_an_edge_without_a_good_cluster_takes_the_others_modules():
    clusters = [
        cluster("c0", {"a": 8}, CUTS, edge="edge-0"),
        cluster("c1", {"b": 8}, CUTS, edge="edge-1"),
    ]
    owners, change = {"a": 8, "b": 8}, BAD["nan"][0]
    fleet = attacked(change, "c1-body0", owners=owners, clusters=clusters)
    fleet.tune(1)
    assert same(fleet.modules(device="edge-1"), fleet.modules(device="edge-0"))


def test_a_bad_edge_is_left_out_by_the_cloud():
    clusters = [
        cluster(f"c{i}", {name: 8}, CUTS, edge=f"edge-{i}") for i, name in enumerate("abcd")
    ]
    fleet = attacked(
        BAD["huge"][0], "edge-2", owners=dict.fromkeys("abcd", 8), clusters=clusters, rounds=()
    )
    fleet.tune(1)
    assert not fleet.tuner.rejected
    fleet.rounds = (1,)
    to_cloud = fleet.change
    fleet.change = lambda state: (
        to_cloud(state) if len(state) == len(fleet.facts.tunable) else state
    )
    fleet.tuner.round(1)
    assert list(fleet.tuner.rejected) == ["edge-2"]


@pytest.mark.parametrize("kind", ["nan", "huge"])
def test_a_bad_owner_in_turns_hands_on_what_it_was_given(kind):
    """Split learning: the next owner starts from the last good modules."""
    clusters = [cluster("c0", OWNERS, CUTS, handover="relay")]
    fleet = attacked(BAD[kind][0], "c", clusters=clusters, rounds=(1,))
    fleet.tune(2)
    assert list(fleet.tuner.rejected) == ["c"]
    handed = [
        decode(frame)[1]
        for sender, receiver, frame in fleet.frames
        if read_header(frame).round == 1
        and (sender, receiver) in {("edge-0", "c"), ("edge-0", "d")}
    ]
    assert len(handed) == 2
    assert same(*handed)


def test_too_few_good_updates_end_the_round_before_anything_is_averaged():
    fleet = attacked(BAD["nan"][0], "a", quorum=0.8)
    before = fleet.modules()
    with pytest.raises(QuorumError, match=r"12 of 20 samples.*a: .*not finite"):
        fleet.tune(1)
    assert same(fleet.modules(), before)


def test_moments_of_a_rejected_device_start_anew():
    fleet = attacked(BAD["nan"][0], "b", optimizer=AdamWSpec(), rounds=(1,))
    steps = []
    for index in range(2):
        fleet.tuner.round(index)
        reply = fleet.engine.call(
            Address("b", HOLDER), "export_optimizers", ["c0/head", "c0/tail"], Moment(index)
        )
        steps.append(len(decode(fleet.engine.fetch(reply.parcels[0]))[1]))
    assert steps[0] > 0
    assert steps[1] == 0


norms = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(rounds=st.lists(norms, min_size=1, max_size=4), factor=st.sampled_from([1.5, 3.0, 10.0]))
def test_the_bound_is_the_factor_times_the_median_of_accepted_and_present_norms(rounds, factor):
    gate, accepted = UpdateGate(UpdateGateSpec(norm_factor=factor, window=1000)), []
    known = {"w": torch.zeros(1, dtype=torch.float64)}
    for row in rounds:
        pool = Pool()
        for i, norm in enumerate(row):
            state = {"w": torch.tensor([norm], dtype=torch.float64)}
            pool.contributions[f"s{i}"] = Contribution(1, state)
        gate.drop_outliers("pool", pool, known)
        ordered = sorted(accepted + row)
        n = len(ordered)
        bound = factor * (ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if n >= 3 else float("inf")
        bad = {f"s{i}" for i, norm in enumerate(row) if norm > bound}
        assert set(pool.reasons) == bad
        accepted += [norm for norm in row if norm <= bound]
    restored = UpdateGate(UpdateGateSpec())
    restored.restore(gate.export())
    assert restored.export().get("pool", []) == accepted[-32:]


def test_no_factor_means_no_bound():
    fleet = attacked(BAD["huge"][0], update_gate=UpdateGateSpec(norm_factor=None))
    fleet.tune(1)
    assert not fleet.tuner.rejected


def test_the_norm_of_an_update_is_that_of_all_its_differences():
    known = {"w": torch.ones(2, 3), "v": torch.zeros(4)}
    state = {"w": torch.full((2, 3), 3.0), "v": torch.full((4,), -1.0)}
    assert update_norm(state, known) == pytest.approx((6 * 4 + 4 * 1) ** 0.5)


def test_a_run_writes_down_whose_updates_were_not_averaged(tmp_path, monkeypatch):
    """A device that returns modules of NaN from its second round on: the run goes on without it."""
    original = Holder.get_modules

    def bad(self, stages, moment, *others):
        if self.device == "b" and moment.round >= 1:
            for name in stages:
                for parameter in self.stage(name).owned_parameters().values():
                    if parameter.requires_grad:
                        parameter.data.fill_(float("nan"))
        return original(self, stages, moment, *others)

    monkeypatch.setattr(Holder, "get_modules", bad)
    plan = write_job(tmp_path, [cluster("c0", OWNERS, CUTS)])
    result = execute(plan)
    assert [list(m.rejected) for m in result.metrics] == [[], ["b"], ["b"]]
    events = [e for e in lines(result.run_dir / "events.jsonl") if e["kind"] == "update_rejected"]
    assert [(e["round"], e["device"]) for e in events] == [(1, "b"), (2, "b")]
    assert all("not finite" in e["detail"] for e in events)


def test_a_resumed_run_judges_by_the_norms_of_all_rounds(tmp_path):
    """The checkpoint holds what the uninterrupted run's last one holds."""
    plan = write_job(tmp_path, [cluster("c0", OWNERS, CUTS)], cloud="sky")
    whole = execute(plan, run_dir=tmp_path / "whole")
    execute(plan, run_dir=tmp_path / "parts", rounds=1)
    execute(None, resume=tmp_path / "parts", rounds=3)
    found = [
        json.loads((tmp_path / run / "checkpoints/round-3/state.json").read_text())
        for run in ("whole", "parts")
    ]
    assert found[0] == found[1]
    assert len(found[0]["norms"]["edge-0"]["c0/owners"]) == 3 * len(OWNERS)
    assert whole.manifest.rounds_done == 3
