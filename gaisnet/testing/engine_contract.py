"""What any engine promises: frames, order, errors and counts, tested with services that only probe.

Every test places its own services, so that one engine does for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

from gaisnet.errors import MismatchError, ModelError, RunError
from gaisnet.executor.blueprints import HolderBlueprint, ModelSource, ProbeBlueprint
from gaisnet.executor.engines import Address, Engine, Reply
from gaisnet.executor.frames import decode
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.probe import PROBE
from gaisnet.schema.job import SgdSpec
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.testing.small_job import DEVICES

__all__ = ["EngineContract"]

A, B, C = (Address(device, PROBE) for device in DEVICES[:3])
_RUN = "contract"

E = TypeVar("E", bound=BaseException)


class EngineContract:
    """Tests over a fixture ``engine``."""

    @pytest.fixture(autouse=True)
    def _probes(self, engine: Engine) -> None:
        for address in (A, B, C):
            engine.place(address, ProbeBlueprint(device=address.device, run=_RUN))
        engine.meter.take()

    def test_a_frame_made_on_one_device_is_taken_on_another(self, engine: Engine) -> None:
        (parcel,) = engine.call(A, "make", B.device, 3).parcels
        assert parcel.address == A
        arrived = engine.send(parcel, B)
        assert arrived.address == B
        assert engine.call(B, "take", 2.0, parcels=[arrived]).values == {"sum": 6.0}

    def test_a_chain_may_be_issued_before_any_of_it_is_done(self, engine: Engine) -> None:
        (parcel,) = engine.call(A, "make", B.device, 1000, makes=1).parcels
        for here, there in ((B, C), (C, A)):
            arrived = engine.send(parcel, here)
            reply = engine.call(here, "turn", there.device, parcels=[arrived], makes=1)
            (parcel,) = reply.parcels
        arrived = engine.send(parcel, A)
        assert engine.call(A, "take", 1.0, parcels=[arrived]).values == {"sum": 1000.0}

    def test_frames_may_stay_on_their_device_however_many_are_under_way(
        self, engine: Engine
    ) -> None:
        for _ in range(10):
            (parcel,) = engine.call(A, "make", A.device, 1, makes=1).parcels
            for _ in range(40):
                reply = engine.call(A, "turn", A.device, parcels=[engine.send(parcel, A)], makes=1)
                (parcel,) = reply.parcels
            taken = engine.call(A, "take", 1.0, parcels=[engine.send(parcel, A)])
            assert taken.values == {"sum": 1.0}

    def test_calls_of_a_service_run_in_the_order_of_their_issue(self, engine: Engine) -> None:
        frames = [engine.call(A, "make", A.device, n, makes=1).parcels[0] for n in range(1, 30)]
        sent = [decode(engine.fetch(frame))[0].sequence for frame in reversed(frames)]
        assert sent == sorted(sent, reverse=True)
        assert len(set(sent)) == len(sent)

    def test_a_service_that_is_placed_again_starts_anew(self, engine: Engine) -> None:
        first = decode(engine.fetch(engine.call(A, "make", B.device, 1).parcels[0]))[0]
        engine.place(A, ProbeBlueprint(device=A.device, run=_RUN))
        again = decode(engine.fetch(engine.call(A, "make", B.device, 1).parcels[0]))[0]
        assert (first.sequence, again.sequence) == (0, 0)

    def test_what_is_laid_at_a_service_can_be_taken_there(self, engine: Engine) -> None:
        values = torch.arange(5, dtype=torch.float32)
        _, frame = Mailbox(B.device, _RUN).frame("data", B.device, {"x": values}, Moment())
        parcel = engine.put(frame, B)
        assert engine.call(B, "take", 1.0, parcels=[parcel]).values == {"sum": 10.0}
        assert engine.meter.take() == ()

    def test_a_fetched_frame_is_the_one_that_was_made(self, engine: Engine) -> None:
        (parcel,) = engine.call(A, "make", B.device, 7, makes=1).parcels
        size = parcel.frame_bytes
        frame = engine.fetch(parcel)
        header, tensors = decode(frame)
        assert (len(frame), header.sender, header.receiver) == (size, A.device, B.device)
        assert torch.equal(tensors["x"], torch.ones(7))

    def test_the_meter_counts_each_direction_and_nothing_within_a_device(
        self, engine: Engine
    ) -> None:
        for sender, receiver, items in ((A, B, 3), (A, B, 4), (B, A, 5), (A, A, 100)):
            (parcel,) = engine.call(sender, "make", receiver.device, items, makes=1).parcels
            engine.send(parcel, receiver)
        there, back = engine.meter.take()
        assert (there.sender, there.receiver) == (A.device, B.device)
        assert (there.frames, there.payload_bytes, back.payload_bytes) == (2, 28, 20)
        assert there.frame_bytes > there.payload_bytes
        assert engine.meter.take() == ()

    def test_floats_cross_bit_for_bit(self, engine: Engine) -> None:
        for factor in (0.1, 1 / 3, 1e-300, 2.0**-1074, 1.7976931348623157e308):
            (parcel,) = engine.call(A, "make", A.device, 1, makes=1).parcels
            values = engine.call(A, "take", factor, parcels=[engine.send(parcel, A)]).values
            assert values == {"sum": factor}

    def test_a_services_error_comes_with_its_place_and_advice(self, engine: Engine) -> None:
        error = _raised(RunError, lambda: engine.call(A, "fail", "it broke"), engine)
        assert (error.message, error.where) == ("it broke", "probe")
        assert error.hint == "ask for something else"
        assert type(error) is RunError

    def test_after_an_error_the_engine_goes_on(self, engine: Engine) -> None:
        _raised(RunError, lambda: engine.call(A, "fail", "it broke"), engine)
        assert engine.call(A, "take", 1.0).values == {"sum": 0.0}

    def test_what_builds_on_a_failed_call_fails_with_its_error(self, engine: Engine) -> None:
        def issue() -> Reply:
            (parcel,) = engine.call(A, "fail", "it broke", makes=1).parcels
            return engine.call(B, "take", 1.0, parcels=[engine.send(parcel, B)])

        assert _raised(RunError, issue, engine).message == "it broke"
        assert engine.call(B, "take", 1.0).values == {"sum": 0.0}

    def test_to_bear_a_loss_that_does_not_come_changes_nothing(self, engine: Engine) -> None:
        engine.heed([A.device])
        with engine.bear([A.device]) as lost:
            (parcel,) = engine.call(A, "make", B.device, 3, makes=1).parcels
            found = engine.call(B, "take", 2.0, parcels=[engine.send(parcel, B)])
        assert lost == {}
        assert found.values == {"sum": 6.0}

    def test_only_a_loss_is_borne(self, engine: Engine) -> None:
        def issue() -> Reply:
            with engine.bear([A.device]):
                return engine.call(A, "fail", "it broke")

        assert _raised(RunError, issue, engine).message == "it broke"
        assert engine.call(A, "take", 1.0).values == {"sum": 0.0}

    def test_a_promise_of_frames_is_held_against_what_is_made(self, engine: Engine) -> None:
        error = _raised(RunError, lambda: engine.call(A, "make", B.device, 1, makes=2), engine)
        assert "made 1 frames, not 2" in error.message

    def test_errors_keep_their_kind(self, engine: Engine) -> None:
        holder = Address(A.device, "holder")
        spec = ModelSpec(source="nowhere/config.json")
        source = ModelSource(spec=spec, tunable=LoraSpec())

        def issue() -> Reply:
            blueprint = HolderBlueprint(
                device=A.device, run=_RUN, model=source, optimizer=SgdSpec()
            )
            engine.place(holder, blueprint)
            return engine.call(holder, "gradient_norms", "none")

        assert _raised(ModelError, issue, engine).exit_code == 11

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
    def test_a_gpu_that_is_not_there_is_missed_where_it_is_to_be(self, engine: Engine) -> None:
        holder = Address(A.device, "holder")
        source = ModelSource(spec=ModelSpec(source="model"), compute="cuda")

        def issue() -> Reply:
            blueprint = HolderBlueprint(
                device=A.device, run=_RUN, model=source, optimizer=SgdSpec()
            )
            engine.place(holder, blueprint)
            return engine.call(holder, "gradient_norms", "none")

        error = _raised(MismatchError, issue, engine)
        assert (error.where, error.exit_code) == (A.device, 14)
        assert "no GPU" in error.message

    def test_a_frame_must_lie_where_it_is_used_and_go_where_it_is_meant_to(
        self, engine: Engine
    ) -> None:
        (parcel,) = engine.call(A, "make", B.device, 1, makes=1).parcels
        with pytest.raises(RunError, match="lies at"):
            engine.call(B, "take", 1.0, parcels=[parcel])

        def wrong() -> Reply:
            return engine.call(C, "take", 1.0, parcels=[engine.send(parcel, C)])

        error = _raised(RunError, wrong, engine)
        assert f"for {B.device} was to be sent to {C.device}" in error.message

    @pytest.mark.parametrize(
        ("device", "method"), [("stranger", "make"), (A.device, "nothing"), (A.device, "_frame")]
    )
    def test_unknown_services_and_private_methods_are_refused(
        self, engine: Engine, device: str, method: str
    ) -> None:
        error = _raised(RunError, lambda: engine.call(Address(device, PROBE), method), engine)
        assert "no service probe" in error.message

    def test_each_device_tells_once_what_it_has_done(self, engine: Engine) -> None:
        engine.settle()
        engine.news()
        engine.place(A, ProbeBlueprint(device=A.device, run=_RUN))
        _raised(RunError, lambda: engine.call(A, "fail", "it broke"), engine)
        lines = [json.loads(line) for line in engine.news()[A.device].lines]
        told = [(line["level"], line["device"]) for line in lines]
        assert told == [("info", A.device), ("error", A.device)]
        assert "it broke" in lines[1]["message"]
        again = engine.news()[A.device]
        assert (again.lines, again.leaving) == ((), False)

    def test_states_tell_of_every_device_that_did_something(self, engine: Engine) -> None:
        assert engine.call(A, "take", 1.0).values == {"sum": 0.0}
        found = engine.states()[A.device]
        assert found.state in ("idle", "computing")
        assert found.heard_s < 60.0

    def test_devices_of_one_installation_do_not_differ(self, engine: Engine) -> None:
        """Nothing is to be said of their versions."""
        assert dict(engine.differences()) == {}

    def test_nobody_is_lost(self, engine: Engine) -> None:
        assert engine.watch() == frozenset()


def _raised(kind: type[E], issue: Callable[[], Reply], engine: Engine) -> E:
    """What issuing, or waiting for it, raises."""
    with pytest.raises(kind) as caught:
        _ = issue().values
    engine.settle()
    return caught.value
