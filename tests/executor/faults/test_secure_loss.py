"""Owners that are lost in the middle of a secure sum: it goes on without them, and is exact."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaisnet.errors import QuorumError
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.dispensable import dispensable_owners
from gaisnet.executor.engines import Address, LocalEngine, Parcel
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.finetune import FineTuner
from gaisnet.executor.frames import Buffer, decode, read_header
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.privacy.fixed_point import from_fixed, to_fixed
from gaisnet.executor.run import execute
from gaisnet.executor.settings import Settings
from gaisnet.schema.job import FineTuning, PrivacySpec, SgdSpec
from gaisnet.schema.run import Event
from tests.executor.faults.fragile import FragileEngine
from tests.executor.faults.losing import CuttingEngine, Losing, changed_at, events, run
from tests.executor.hfsl import Fleet, cluster, make_model, make_plan, make_shard, same
from tests.executor.jobs import write_job

OWNERS = {"a": 8, "b": 4, "c": 6, "d": 2}
LOST = "d"
STEPS = ["offer_keys", "seal_shares", "masked_modules", "reveal_shares"]
BEFORE = STEPS[:3]
"""When what a lost owner has to add has not come so far."""
ROUNDS = 3
SEED, KEY = 16, 32
"""Bytes of a share of a seed, and of one of a key; no other message of the protocol is so short."""


def job(
    folder: Path, owners: dict[str, int] = OWNERS, helper: str = "edge-0", quorum: float = 0.5
) -> Path:
    clusters = [cluster("c0", owners, [1, 3], devices=[helper])]
    privacy = PrivacySpec(secure_aggregation=True)
    return write_job(folder, clusters, rounds=ROUNDS, privacy=privacy, quorum=quorum)


@pytest.mark.parametrize("step", STEPS)
def test_the_round_closes_without_the_lost_owner_and_the_run_goes_on_from_there(
    tmp_path: Path, step: str
):
    plan, started = job(tmp_path), []

    def follow(event: Event) -> None:
        if event.kind == "round_started":
            started.append(event.round)

    result = run(plan, tmp_path / "run", Losing(LOST, step, 1), follow)
    assert (result.manifest.status, result.manifest.epoch) == ("done", 1)
    assert started == [0, 1, 2] == [m.round for m in result.metrics]
    left_out = [LOST] if step in BEFORE else []
    assert [list(m.rejected) for m in result.metrics] == [[], left_out, []]
    told = [(e.kind, e.round, e.device) for e in events(tmp_path / "run")]
    (lost,) = [place for place, each in enumerate(told) if each[0] == "device_lost"]
    assert told[lost] == ("device_lost", 1, LOST)
    assert told.index(("replanned", 2, LOST)) > told.index(("checkpoint_written", 1, None)) > lost
    assert [each for each in told if each[0] == "update_rejected"] == [
        ("update_rejected", 1, device) for device in left_out
    ]
    reference = CuttingEngine(LOST, 1) if left_out else LocalEngine()
    expected = changed_at(plan, tmp_path / "other", LOST, 2, ROUNDS, reference)
    assert result.manifest.tunable_sha256 == expected


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_interrupted_after_the_loss_is_resumed_bit_for_bit(tmp_path: Path, step: str):
    plan = job(tmp_path)
    whole = run(plan, tmp_path / "whole", Losing(LOST, step, 1))

    def stop(event: Event) -> None:
        if event.kind == "replanned":  # before there is any checkpoint of the new plan
            raise KeyboardInterrupt

    with pytest.raises(BaseException, match="interrupted"):
        run(plan, tmp_path / "run", Losing(LOST, step, 1), stop)
    resumed = execute(None, resume=tmp_path / "run")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256
    assert [m.rejected for m in resumed.metrics] == [m.rejected for m in whole.metrics]


def test_a_loss_may_end_the_run_instead_as_if_nothing_of_the_round_had_happened(tmp_path: Path):
    plan = job(tmp_path)
    with pytest.raises(LostDeviceError, match=LOST) as caught:
        run(plan, tmp_path / "run", Losing(LOST, "masked_modules", 1), on_loss="stop")
    assert f"--resume {tmp_path / 'run'}" in str(caught.value.hint)
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


@pytest.mark.parametrize("step", STEPS)
def test_below_the_threshold_nothing_is_unmasked_and_the_round_is_done_again(
    tmp_path: Path, step: str
):
    """Of five owners four have to be left; three can hide each other in a round of their own."""
    owners = OWNERS | {"e": 8}
    plan = job(tmp_path, owners)
    engine = Losing(["c", "d"], step, 1)
    result = run(plan, tmp_path / "run", engine)
    told = events(tmp_path / "run")
    assert [e.round for e in told if e.kind == "replanned"] == [1]
    assert not any(m.rejected for m in result.metrics)
    assert result.manifest.status == "done"


@pytest.mark.parametrize("step", STEPS)
def test_where_the_others_would_not_hide_each_other_the_run_ends_and_is_resumed(
    tmp_path: Path, step: str
):
    plan = job(tmp_path)
    with pytest.raises(LostDeviceError) as caught:
        run(plan, tmp_path / "run", Losing(["c", "d"], step, 1))
    assert caught.value.exit_code == 20
    assert "no owner is hidden" in str(caught.value.hint)
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_below_the_quorum_the_run_ends_with_21_and_is_resumed(tmp_path: Path):
    plan = job(tmp_path, dict.fromkeys(OWNERS, 8), quorum=0.8)
    with pytest.raises(QuorumError) as caught:
        run(plan, tmp_path / "run", Losing(LOST, "masked_modules", 1))
    assert caught.value.exit_code == 21
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


class LosingFleet(Fleet):
    """A fleet that can lose an owner when it is asked for something."""

    engine: FragileEngine

    def make_engine(self) -> LocalEngine:
        return FragileEngine(tap=self._tap)

    def lose(self, device: str, step: str) -> None:
        def strike(address: object, method: str) -> None:
            if method == step:
                self.engine.gone.add(device)

        self.engine.before = strike
        settings = Settings(fine_tuning=self.fine_tuning, seed=self.seed)
        known = self.dispatcher, self.plan, self.facts, settings
        self.tuner = FineTuner(*known, dispensable_owners(self.plan))


class LateEngine(FragileEngine):
    """The masked modules of one that is lost are on their way for so long that others reveal."""

    late: Buffer | None = None

    def _carry(self, parcel: Parcel, receiver: Address) -> Parcel:
        frame: Any = parcel
        header = read_header(frame.frame) if frame.frame else None
        if header is not None and (header.sender, header.kind) == (LOST, "modules"):
            self.late, self.before = bytes(frame.frame), self._deliver
            self.gone.add(LOST)
        return super()._carry(parcel, receiver)

    def _deliver(self, address: Address, method: str) -> None:
        if method == "reveal_shares" and self.late is not None:
            edge, frame, self.late = Address("edge-0", COORDINATOR), self.late, None
            names = sorted(decode(frame)[1])
            given = "c0", LOST, OWNERS[LOST], names, "general", Moment(0)
            self.call(edge, "collect_masked", *given, parcels=[self.put(frame, edge)])


class LateFleet(LosingFleet):
    """Of ``LateEngine``."""

    engine: LateEngine

    def make_engine(self) -> LocalEngine:
        return LateEngine(tap=self._tap)


def fleet(*, secure: bool, kind: type[LosingFleet] = LosingFleet) -> LosingFleet:
    model = make_model("vit")
    shards = {name: make_shard(model, name, n, i) for i, (name, n) in enumerate(OWNERS.items())}
    privacy = PrivacySpec(secure_aggregation=secure)
    tuning = FineTuning(rounds=1, local_steps=2, batch_size=4, optimizer=SgdSpec(), privacy=privacy)
    return kind(make_plan([cluster("c0", OWNERS, [1, 3])]), model, shards, tuning)


@pytest.mark.parametrize("step", STEPS)
def test_the_mean_is_the_fixed_point_mean_of_those_whose_modules_came_bit_for_bit(step: str):
    plain, secure = fleet(secure=False), fleet(secure=True)
    plain.tune(1)
    secure.lose(LOST, step)
    secure.tune(1)
    counted = [name for name in OWNERS if name != LOST or step not in BEFORE]
    assert list(secure.tuner.rejected) == [name for name in OWNERS if name not in counted]
    sent = {
        sender: decode(frame)[1]
        for sender, receiver, frame in plain.frames
        if (receiver, read_header(frame).kind) == ("edge-0", "modules") and sender in OWNERS
    }
    found = secure.modules()
    for name, like in sent["a"].items():
        words = [to_fixed(sent[o][name].double().numpy().ravel(), OWNERS[o]) for o in counted]
        total = np.sum(np.stack(words), 0, dtype=np.uint64)
        mean = from_fixed(total, sum(OWNERS[o] for o in counted))
        assert torch.equal(found[name], torch.from_numpy(mean).reshape(like.shape).to(like.dtype))


def test_masked_modules_that_come_when_others_reveal_are_not_added():
    """They would be opened: the others have revealed what its pairwise masks are made of."""
    late, never = fleet(secure=True, kind=LateFleet), fleet(secure=True)
    late.lose(LOST, "nothing")
    never.lose(LOST, "masked_modules")
    late.tune(1)
    never.tune(1)
    assert late.engine.gone == {LOST}
    assert isinstance(late.engine, LateEngine)
    assert late.engine.late is None, "it was delivered"
    assert list(late.tuner.rejected) == [LOST] == list(never.tuner.rejected)
    assert same(late.modules(), never.modules())


@pytest.mark.parametrize("step", STEPS)
def test_nobody_is_ever_given_both_kinds_of_share_of_one_owner(tmp_path: Path, step: str):
    """Over all that edges are sent in a run that loses an owner, and does a round again."""
    shown: defaultdict[tuple[int, int, str], set[int]] = defaultdict(set)
    answers: defaultdict[tuple[int, int, str], int] = defaultdict(int)

    def tap(sender: str, receiver: str, frame: Buffer) -> None:
        header = read_header(frame)
        if receiver != "edge-0" or header.kind != "secrets":
            return
        tensors = decode(frame)[1]
        if {t.numel() for t in tensors.values()} <= {SEED, KEY}:
            answers[header.epoch, header.round, sender] += 1
            for owner, tensor in tensors.items():
                shown[header.epoch, header.round, owner].add(tensor.numel())

    plan = job(tmp_path, OWNERS | {"e": 8}, "helper")
    engine = Losing(LOST, step, 1, tap=tap)

    def lose_the_edges_helper(event: Event) -> None:
        """When the sum of the next round is unmasked: that round is done again."""
        if event.kind == "replanned" and event.round == 2:
            engine.lost, engine.method, engine.round_index = ["helper"], "close_cluster", 2

    result = run(plan, tmp_path / "run", engine, lose_the_edges_helper)
    assert (result.manifest.status, result.manifest.epoch) == ("done", 2)
    assert all(len(kinds) == 1 for kinds in shown.values())
    assert set(answers.values()) == {1}
    # Of who was lost between shares and values a key is shown, of all others seeds.
    keys = {place for place, kinds in shown.items() if kinds == {KEY}}
    assert keys == ({(0, 1, LOST)} if step == "masked_modules" else set())
