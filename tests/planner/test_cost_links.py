"""Links: lookup, Hockney's model, Shannon's rate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaisnet.planner.cost import LinkTable, compressed_bytes, radio_bits_per_s
from gaisnet.schema.fleet import Device, Fleet, Link, Radio, Tier
from tests.planner.factory import make_cost, make_device, make_fleet, make_job, make_model


def table(*links: Link) -> LinkTable:
    devices = (
        make_device("a"),
        make_device("b"),
        make_device("e", "edge"),
        make_device("c", "cloud"),
    )
    return LinkTable(Fleet(devices=devices, links=links))


def link(one: str, other: str, bits: float, **more: float) -> Link:
    return Link(between=(one, other), bandwidth_bits_per_s=bits, **more)


def test_pairs_go_before_device_and_tier_and_those_before_tiers() -> None:
    tiers, mixed, pair = link("end", "edge", 8.0), link("a", "edge", 16.0), link("a", "e", 24.0)
    assert table(tiers).way("a", "e").bandwidth_bytes_per_s == 1.0
    assert table(tiers, mixed).way("a", "e").bandwidth_bytes_per_s == 2.0
    assert table(tiers, mixed, pair).way("a", "e").bandwidth_bytes_per_s == 3.0
    assert table(tiers, mixed, pair).way("b", "e").bandwidth_bytes_per_s == 1.0


def test_reverse_bandwidth_serves_the_other_direction() -> None:
    found = table(link("a", "e", 8.0, reverse_bandwidth_bits_per_s=80.0, latency_s=0.5))
    assert found.way("a", "e").transfer_s(4) == 4.5
    assert found.way("e", "a").transfer_s(4) == 0.9


def test_a_links_own_direction_goes_before_another_links_reverse() -> None:
    found = table(link("a", "e", 8.0), link("e", "a", 16.0))
    assert found.way("e", "a").bandwidth_bytes_per_s == 2.0


def test_devices_of_one_tier_use_the_tiers_link_both_ways() -> None:
    found = table(link("end", "end", 8.0))
    assert found.way("a", "b") == found.way("b", "a")


def test_no_link_takes_for_ever_and_oneself_no_time() -> None:
    assert table().way("a", "b").transfer_s(1) == math.inf
    assert table().way("a", "a").transfer_s(10**9) == 0.0


def test_radio_rate_is_shannons() -> None:
    radio = Radio(bandwidth_hz=1e6, transmit_power_w=0.2, distance_m=1000.0)
    gain = 10 ** (-12.81)
    noise_w = 10 ** (-20.4) * 1e6
    expected = 1e6 * math.log2(1 + 0.2 * gain / noise_w)
    assert radio_bits_per_s(radio) == pytest.approx(expected)


@pytest.mark.parametrize("distance_m", [1e-30, 1e30])
@pytest.mark.parametrize("noise", [-1e30, -1e4, 1e4, 1e30])
def test_radio_of_any_figures_is_finite_or_no_link(distance_m: float, noise: float) -> None:
    radio = Radio(
        bandwidth_hz=1e30, transmit_power_w=1e-30, distance_m=distance_m, noise_dbm_per_hz=noise
    )
    way = table(Link(between=("a", "e"), radio=radio)).way("a", "e")
    seconds = way.transfer_s(1)
    assert seconds == math.inf if way.bandwidth_bytes_per_s == 0.0 else 0.0 <= seconds < 1e31
    assert math.isfinite(way.transfer_j(1))


def test_radio_gets_slower_with_distance_and_pays_for_its_transmitter() -> None:
    near = Radio(bandwidth_hz=1e6, transmit_power_w=0.2, distance_m=100.0)
    far = Radio(bandwidth_hz=1e6, transmit_power_w=0.2, distance_m=1000.0)
    assert radio_bits_per_s(near) > radio_bits_per_s(far)
    way = table(Link(between=("a", "e"), radio=far, joules_per_byte=1e-9)).way("a", "e")
    assert way.transfer_j(1000) == pytest.approx(1000 * (1e-9 + 0.2 * 8 / radio_bits_per_s(far)))


def standing(name: str, tier: Tier, x: float, y: float) -> Device:
    return make_device(name, tier).model_copy(update={"position_m": (x, y)})


PLACES = st.floats(-1e4, 1e4)


@given(st.tuples(PLACES, PLACES), st.tuples(PLACES, PLACES))
def test_a_radio_link_without_a_distance_bridges_that_between_positions(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    radio = Radio(bandwidth_hz=1e6, transmit_power_w=0.2)
    devices = (standing("a", "end", *one), standing("e", "edge", *other))
    fleet = Fleet(devices=devices, links=(Link(between=("end", "edge"), radio=radio),))
    told = radio.model_copy(update={"distance_m": max(1.0, math.dist(one, other))})
    expected = LinkTable(
        fleet.model_copy(update={"links": (Link(between=("a", "e"), radio=told),)})
    )
    found = LinkTable(fleet)
    for way in (("a", "e"), ("e", "a")):
        assert found.way(*way) == expected.way(*way)


def test_every_pair_of_two_tiers_has_a_distance_of_its_own_and_pairs_still_go_before_tiers() -> (
    None
):
    radio = Radio(bandwidth_hz=1e6, transmit_power_w=0.2)
    devices = (
        standing("near", "end", 0, 100),
        standing("far", "end", 3000, 4000),
        standing("wired", "end", 0, 0),
        standing("e", "edge", 0, 0),
    )
    links = (Link(between=("end", "edge"), radio=radio), link("wired", "e", 8.0))
    found = LinkTable(Fleet(devices=devices, links=links))
    for device, distance_m in (("near", 100), ("far", 5000)):
        bits = radio_bits_per_s(radio.model_copy(update={"distance_m": distance_m}))
        assert found.way(device, "e").bandwidth_bytes_per_s == pytest.approx(bits / 8)
    assert found.way("wired", "e").bandwidth_bytes_per_s == 1.0
    half = found.faster("far", "e", 0.5)
    assert 2 * half.way("e", "far").bandwidth_bytes_per_s == pytest.approx(
        found.way("e", "far").bandwidth_bytes_per_s
    )
    bridged = found.bridged([("near", "far")]).way("near", "far")
    assert bridged.bandwidth_bytes_per_s == found.way("near", "e").bandwidth_bytes_per_s


def test_a_radio_link_with_neither_distance_nor_positions_is_refused_with_the_devices() -> None:
    radio = Radio(bandwidth_hz=1e6, transmit_power_w=0.2)
    devices = (make_device("a"), standing("b", "end", 0, 0), standing("e", "edge", 0, 0))
    with pytest.raises(ValueError, match=r"end and edge has no distance_m.*\['a'\]"):
        Fleet(devices=devices, links=(Link(between=("end", "edge"), radio=radio),))
    Fleet(devices=devices, links=(Link(between=("b", "e"), radio=radio),))


def test_a_share_of_a_link_is_a_share_of_its_bandwidth_not_of_its_latency() -> None:
    cost = make_cost(make_job(), make_fleet(), make_model())
    assert cost.transfer_s("d0", "edge0", 1000) == pytest.approx(0.002 + 0.001)
    assert cost.at_share(0.25).transfer_s("d0", "edge0", 1000) == pytest.approx(0.002 + 0.004)
    assert cost.transfer_s("d0", "edge0", 0) == 0.0


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [
        ((2, 3, 5), "none", 120),
        ((2, 3, 5), "int8", 6 * (5 + 4)),
        ((2, 3, 5), "int4", 6 * (3 + 4)),
        ((7,), "int4", 4 + 4),
        ((0, 5), "int8", 0),
        ((), "none", 4),
    ],
)
def test_compressed_bytes_by_hand(shape: tuple[int, ...], kind: str, expected: int) -> None:
    assert compressed_bytes(shape, kind) == expected  # type: ignore[arg-type]


@given(rows=st.integers(1, 50), width=st.integers(16, 512))
def test_compression_saves_bytes(rows: int, width: int) -> None:
    sizes = [compressed_bytes((rows, width), kind) for kind in ("none", "int8", "int4")]
    assert sizes[0] > sizes[1] > sizes[2]
