"""The embedded engine: what it refuses, and what the meter counts."""

from __future__ import annotations

import pytest

from gaisnet.errors import RunError, UsageError
from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address, Engine, EngineOptions, LocalEngine, make_engine
from gaisnet.executor.holder import Holder
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.privacy import Guard
from gaisnet.executor.probe import PROBE
from gaisnet.executor.tasks import Pass, StageSpec
from gaisnet.schema.job import PrivacySpec, SgdSpec
from tests.executor.hfsl import make_model

A, B = Address("a", PROBE), Address("b", PROBE)


def placed(engine: Engine) -> Engine:
    for address in (A, B):
        engine.place(address, ProbeBlueprint(device=address.device, run="r"))
    return engine


@pytest.fixture
def engine() -> Engine:
    return placed(make_engine("local"))


def test_a_frame_made_on_one_device_is_taken_on_another(engine):
    (parcel,) = engine.call(A, "make", "b", 3).parcels
    assert parcel.address == A
    arrived = engine.send(parcel, B)
    assert engine.call(B, "take", 2.0, parcels=[arrived]).values == {"sum": 6.0}


def test_the_meter_counts_each_direction_and_nothing_within_a_device(engine):
    for sender, receiver, items in ((A, B, 3), (A, B, 4), (B, A, 5), (A, A, 100)):
        (parcel,) = engine.call(sender, "make", receiver.device, items).parcels
        engine.send(parcel, receiver)
    there, back = engine.meter.take()
    assert (there.sender, there.receiver, there.frames, there.payload_bytes) == ("a", "b", 2, 28)
    assert (back.sender, back.receiver, back.frames, back.payload_bytes) == ("b", "a", 1, 20)
    assert there.frame_bytes > there.payload_bytes
    assert engine.meter.take() == ()


def test_the_tap_sees_what_stays_within_a_device_too():
    seen = []
    engine = placed(LocalEngine(tap=lambda *message: seen.append(message)))
    (parcel,) = engine.call(A, "make", "a", 1).parcels
    engine.send(parcel, A)
    assert [(s, r, len(f)) for s, r, f in seen] == [("a", "a", parcel.frame_bytes)]


def test_a_frame_must_lie_where_it_is_used_and_go_where_it_is_meant_to(engine):
    (parcel,) = engine.call(A, "make", "b", 1).parcels
    with pytest.raises(RunError, match="lies at"):
        engine.call(B, "take", 1.0, parcels=[parcel])
    with pytest.raises(RunError, match="for b was to be sent to a"):
        engine.send(parcel, A)


@pytest.mark.parametrize(
    ("address", "method"), [(Address("z", PROBE), "make"), (A, "nothing"), (A, "_frame")]
)
def test_unknown_services_and_private_methods_are_refused(engine, address, method):
    with pytest.raises(RunError, match="no service probe"):
        engine.call(address, method)


def test_a_closed_engine_has_no_services(engine):
    engine.close()
    with pytest.raises(RunError):
        engine.call(A, "make", "b", 1)


def test_other_engines_are_a_usage_error():
    with pytest.raises(UsageError, match="no engine 'gpu'"):
        make_engine("gpu")
    with pytest.raises(UsageError, match="no address"):
        make_engine("local", options=EngineOptions(address="127.0.0.1:6379"))


def test_a_holder_refuses_what_it_does_not_hold():
    guard = Guard(PrivacySpec(), "a", "r")
    holder = Holder("a", "r", make_model("vit"), SgdSpec(), guard=guard)
    with pytest.raises(RunError, match="holds no stage nothing"):
        holder.forward(Pass("nothing", Moment()))
    holder.hold(StageSpec("tail", 3, 4, True))
    with pytest.raises(RunError, match="did not pass tail forward"):
        holder.backward(Pass("tail", Moment()))
