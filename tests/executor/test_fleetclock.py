"""Virtual time of a round against times worked out by hand."""

from __future__ import annotations

import pytest

from gaisnet.errors import MismatchError
from gaisnet.executor.fleetclock import FleetClock
from gaisnet.planner.cost import CostModel
from gaisnet.schema.job import FineTuning, SgdSpec
from gaisnet.schema.model import FullSpec
from tests.executor.hfsl import Fleet, cluster, make_model, make_plan, make_shard


class Figures:
    """Every stage takes 1 s forward and 2 s back, every frame half a second."""

    work_s = CostModel.work_s

    def __init__(self, update_s: float = 0.0) -> None:
        self._update_s = update_s

    def forward_s(self, device: str, first: int, last: int, batch: int) -> float:
        return 1.0

    def backward_s(self, device: str, first: int, last: int, batch: int) -> float:
        return 2.0

    def update_s(self, device: str, first: int, last: int) -> float:
        return self._update_s

    def transfer_s(self, sender: str, receiver: str, n_bytes: float) -> float:
        return 0.0 if sender == receiver else 0.5


def round_s(clusters: list, figures: object = None, **tuning: object) -> float:
    model = make_model("vit", FullSpec())
    names = [owner.device for c in clusters for owner in c.owners]
    shards = {name: make_shard(model, name, 4, 0) for name in names}
    job = FineTuning(**({"local_steps": 1, "batch_size": 4, "optimizer": SgdSpec()} | tuning))
    fleet = Fleet(make_plan(clusters), model, shards, job)
    clock = FleetClock(figures or Figures())
    fleet.dispatcher.record()
    fleet.tune(1)
    clock.keep(fleet.dispatcher.journal())
    _check_records(clock)
    return clock.elapsed_s()


def _check_records(clock: FleetClock) -> None:
    """Every pass is recorded, with this machine's time of it, and every frame over a link."""
    for work in clock.work():
        seconds = {"forward": 1.0, "backward": 2.0, "turn": 3.0}.get(work.direction)
        assert seconds is None or work.virtual_s == seconds * work.times
        assert work.wall_s is not None
        assert work.wall_s > 0.0
    assert all(move.virtual_s == 0.5 * move.times for move in clock.moves())
    assert all(move.sender != move.receiver for move in clock.moves())


MODULES = 0.5 + 0.5  # down to all devices at once, and up again
LATENCY = 3 * (1.0 + 0.5) + 3.0 + 3 * (0.5 + 2.0)  # to the tail, turn, and back to the head


def test_one_batch_passes_the_chain_once_each_way():
    assert round_s([cluster("c0", {"a": 4}, [1, 2, 4])]) == pytest.approx(MODULES + LATENCY)


@pytest.mark.parametrize("microbatches", [2, 4])
def test_microbatches_are_pipelined(microbatches):
    """The owner is the bottleneck: head forward and backward and the tail's turn, 6 s each time."""
    found = round_s(
        [cluster("c0", {"a": 4}, [1, 2, 4], microbatches=microbatches)], microbatches=microbatches
    )
    period = 1.0 + 3.0 + 2.0
    assert MODULES + microbatches * period <= found
    assert found <= MODULES + LATENCY + (microbatches - 1) * period


def test_clusters_run_at_the_same_time_unless_they_share_a_device():
    apart = [cluster(f"c{n}", {n: 4}, [1, 4]) for n in "ab"]
    shared = [cluster(f"c{n}", {n: 4}, [1, 4], devices=["server"]) for n in "ab"]
    alone = round_s(apart[:1])
    assert round_s(apart) == pytest.approx(alone)
    assert alone < round_s(shared) <= alone + 3.0


def test_a_turn_waits_for_the_update_of_the_one_before():
    """Two owners in turn, one body: its second forward pass comes after its first update."""
    two = [cluster("c0", {"a": 4, "b": 4}, [1], u_shape=False)]
    # Head, hop, turn, update, turn, hop, head's backward pass, update.
    chain = 1.0 + 0.5 + 3.0 + 100.0 + 3.0 + 0.5 + 2.0 + 100.0
    assert round_s(two, Figures(update_s=100.0)) == pytest.approx(MODULES + chain)


def test_merged_owners_meet_at_the_body_once():
    merged = [cluster("c0", {"a": 4, "b": 4}, [1, 4], intra="merge")]
    alone = [cluster("c0", {"a": 4}, [1, 4])]
    assert round_s(merged) == pytest.approx(round_s(alone))


def test_modules_handed_from_turn_to_turn_go_through_the_edge():
    relay = [cluster("c0", {"a": 4, "b": 4}, [1], u_shape=False, handover="relay")]
    one = 1.0 + 0.5 + 3.0 + 0.5 + 2.0
    assert round_s(relay) == pytest.approx(MODULES + 2 * one + 2 * 0.5)


def test_a_link_that_is_not_there_is_a_mismatch():
    class Cut(Figures):
        def transfer_s(self, sender: str, receiver: str, n_bytes: float) -> float:
            return float("inf")

    with pytest.raises(MismatchError, match="from edge-0 to a, but the fleet has no link there"):
        round_s([cluster("c0", {"a": 4}, [1, 4])], Cut())
