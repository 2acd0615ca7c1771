"""Rounds of HFSL under secure aggregation, clipping and noise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gaisnet.errors import InputError, QuorumError
from gaisnet.executor.frames import decode, read_header
from gaisnet.executor.privacy import Guard, epsilon_spent
from gaisnet.executor.run import execute
from gaisnet.schema.job import FineTuning, PrivacySpec, SgdSpec
from tests.executor.hfsl import Fleet, cluster, distance, make_model, make_plan, make_shard, same
from tests.executor.jobs import write_job

OWNERS = {"a": 8, "b": 4, "c": 4, "d": 4}
CUTS = [1, 3]


class Watched(Fleet):
    """A fleet of which some frames are cut short on their way."""

    lost: tuple[str, ...] = ()

    def _tap(self, sender, receiver, frame):
        super()._tap(sender, receiver, frame)
        if sender in self.lost and read_header(frame).kind == "modules":
            return frame[:-1]
        return None


def fleet(lost=(), owners=OWNERS, clusters=None, privacy=None, **options) -> Watched:
    model = make_model("vit")
    tuning = {"rounds": 1, "local_steps": 2, "batch_size": 4, "optimizer": SgdSpec()} | options
    spec = PrivacySpec() if privacy is None else PrivacySpec(**privacy)
    shards = {name: make_shard(model, name, n, i) for i, (name, n) in enumerate(owners.items())}
    plan = make_plan(clusters or [cluster("c0", owners, CUTS)])
    made = Watched(plan, model, shards, FineTuning(**tuning, privacy=spec))
    made.lost = lost
    return made


def test_the_secure_mean_is_the_mean_to_the_fixed_points_precision():
    plain, secure = fleet(), fleet(privacy={"secure_aggregation": True})
    plain.tune(2)
    secure.tune(2)
    assert distance(plain.modules(), secure.modules()) <= 2.0**-23
    assert not same(plain.modules(), secure.modules())


def test_two_secure_runs_end_bit_for_bit_alike_though_their_masks_differ():
    first, second = (fleet(privacy={"secure_aggregation": True}) for _ in range(2))
    first.tune(2)
    second.tune(2)
    assert same(first.modules(), second.modules())
    sent = [[f for s, _, f in run.frames if s == "a"] for run in (first, second)]
    assert sent[0] != sent[1]


@pytest.mark.parametrize("lost", ["a", "c"])
def test_a_lost_owner_leaves_the_mean_of_the_others(lost):
    """As without secure aggregation, where the same frame is cut short."""
    secure, plain = fleet((lost,), privacy={"secure_aggregation": True}), fleet((lost,))
    secure.tune(1)
    plain.tune(1)
    assert list(secure.tuner.rejected) == [lost] == list(plain.tuner.rejected)
    assert distance(secure.modules(), plain.modules()) <= 2.0**-23


def test_below_the_threshold_nothing_is_unmasked_and_the_round_ends():
    secure = fleet(("b", "c"), privacy={"secure_aggregation": True}, quorum=0.0)
    before = secure.modules()
    with pytest.raises(QuorumError):
        secure.tune(1)
    assert same(secure.modules(), before)


def test_the_edge_is_sent_no_owners_modules():
    """Not one of an owner's tensors, and nothing near it, is in what it sends to the edge."""
    plain, secure = fleet(), fleet(privacy={"secure_aggregation": True})
    plain.tune(1)
    secure.tune(1)
    own = {
        (sender, name): tensor
        for sender, receiver, frame in plain.frames
        if receiver == "edge-0" and sender in OWNERS and read_header(frame).kind == "modules"
        for name, tensor in decode(frame)[1].items()
    }
    assert len(own) > 8
    masked = {
        (sender, name): tensor
        for sender, receiver, frame in secure.frames
        if receiver == "edge-0" and sender in OWNERS and read_header(frame).kind == "modules"
        for name, tensor in decode(frame)[1].items()
    }
    assert masked.keys() == own.keys()
    for (sender, name), tensor in own.items():
        near = masked[sender, name].double() / 2.0**24 / OWNERS[sender]
        assert float((near - tensor).abs().min()) > 1.0


@pytest.mark.parametrize(
    ("clusters", "owners"),
    [
        ([cluster("c0", {"a": 8, "b": 4}, CUTS)], {"a": 8, "b": 4}),
        ([cluster("c0", OWNERS, CUTS, handover="relay")], OWNERS),
    ],
)
def test_a_plan_that_cannot_hide_an_owner_is_refused(clusters, owners):
    with pytest.raises(InputError, match="no owner is hidden"):
        fleet(clusters=clusters, owners=owners, privacy={"secure_aggregation": True})


@pytest.mark.parametrize("aggregator", ["fedex_lora", "median", "trimmed_mean"])
def test_what_needs_each_owners_modules_does_not_go_with_secure_sums(aggregator):
    with pytest.raises(ValidationError, match="needs each owner's modules"):
        FineTuning(aggregator=aggregator, privacy=PrivacySpec(secure_aggregation=True))


def test_noise_without_a_clipping_norm_is_refused():
    with pytest.raises(ValidationError, match="needs update_clip_norm"):
        PrivacySpec(noise_multiplier=1.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=8),
    st.floats(0.01, 3.0),
)
def test_an_update_is_clipped_over_all_its_tensors(delta, limit):
    guard = Guard(PrivacySpec(update_clip_norm=limit), "a", "run")
    given = {"w": torch.ones(len(delta)), "v": torch.zeros(2, 2)}
    guard.received(given)
    sent = guard.update({"w": given["w"] + torch.tensor(delta), "v": torch.ones(2, 2)}, 0)
    moved = torch.cat([(sent[n] - given[n]).double().reshape(-1) for n in given])
    whole = torch.cat([torch.tensor(delta).double(), torch.ones(4).double()])
    scale = min(1.0, limit / float(whole.norm()))
    assert torch.allclose(moved, scale * whole, atol=1e-5)


def test_noise_has_the_scale_that_the_job_asks_for_and_follows_the_run_if_it_is_to():
    spec = PrivacySpec(update_clip_norm=2.0, noise_multiplier=1.5, reproducible_noise=True)
    given = {"w": torch.zeros(20_000)}
    drawn = []
    for device, round_index in (("a", 0), ("a", 0), ("a", 1), ("b", 0)):
        guard = Guard(spec, device, "run")
        guard.received(given)
        drawn.append(guard.update(given, round_index)["w"])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])
    assert float(drawn[0].std()) == pytest.approx(3.0, rel=0.03)
    assert abs(float(drawn[0].mean())) < 4 * 3.0 / math.sqrt(20_000)


def test_noise_is_not_reproducible_unless_asked_for():
    spec = PrivacySpec(update_clip_norm=2.0, noise_multiplier=1.5)
    given, sent = {"w": torch.zeros(8)}, []
    for _ in range(2):
        guard = Guard(spec, "a", "run")
        guard.received(given)
        sent.append(guard.update(given, 0)["w"])
    assert not torch.equal(*sent)


def test_activations_get_noise_in_proportion_to_each_sample_and_gradients_none():
    guard = Guard(PrivacySpec(activation_noise=0.5, reproducible_noise=True), "a", "run")
    hidden = torch.stack([torch.full((40, 50), 1.0), torch.full((40, 50), 10.0)])
    noise = guard.activation(hidden.requires_grad_(True), "0/0/0") - hidden.detach()
    assert float(noise[0].std()) == pytest.approx(0.5, rel=0.1)
    assert float(noise[1].std()) == pytest.approx(5.0, rel=0.1)
    assert not noise.requires_grad
    quiet = Guard(PrivacySpec(), "a", "run")
    assert quiet.activation(hidden, "0/0/0") is hidden


def test_activation_noise_is_on_the_wire_and_training_goes_on():
    noisy = fleet(privacy={"activation_noise": 0.3, "reproducible_noise": True})
    plain = fleet()
    assert noisy.tune(1) != plain.tune(1)
    first = [
        next(
            decode(f)[1]["hidden"] for s, _, f in run.frames if read_header(f).kind == "activation"
        )
        for run in (noisy, plain)
    ]
    error = (first[0] - first[1]).double()
    share = error.square().mean().sqrt() / first[1].double().square().mean().sqrt()
    assert float(share) == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize("rounds", [1, 12, 100])
def test_epsilon_is_that_of_the_composed_gaussian_mechanism(rounds):
    """Against the bound in closed form: the minimum over orders of RDP's conversion."""
    spec = PrivacySpec(update_clip_norm=1.0, noise_multiplier=4.0, delta=1e-6)
    sigma, log_delta = 2.0, math.log(1e-6)  # two data sets of an owner are 2 C apart
    orders = [1 + x / 100 for x in range(1, 20_000)]
    spent = {a: rounds * a / (2 * sigma**2) for a in orders}
    bound = min(spent[a] - log_delta / (a - 1) for a in orders)
    tighter = min(
        spent[a] + math.log1p(-1 / a) - (log_delta + math.log(a)) / (a - 1) for a in orders
    )
    found = epsilon_spent(spec, rounds)
    assert tighter * 0.99 <= found <= bound
    assert epsilon_spent(PrivacySpec(), rounds) is None


def test_a_run_tells_what_its_updates_have_spent(tmp_path):
    privacy = PrivacySpec(update_clip_norm=1.0, noise_multiplier=2.0, secure_aggregation=True)
    plan = write_job(tmp_path, [cluster("c0", OWNERS, CUTS)], privacy=privacy)
    result = execute(plan, rounds=2)
    spent = [m.epsilon for m in result.metrics]
    assert spent == [epsilon_spent(privacy, 1), epsilon_spent(privacy, 2)]
    assert spent[0] < spent[1]
