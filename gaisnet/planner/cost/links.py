"""What it takes to move bytes between two devices: seconds, joules, Shannon's rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from itertools import permutations

from gaisnet.schema.fleet import Fleet, Link, Radio

__all__ = ["LOCAL", "NO_LINK", "LinkFigures", "LinkTable", "radio_bits_per_s"]


@dataclass(frozen=True, kw_only=True)
class LinkFigures:
    """One directed link."""

    bandwidth_bytes_per_s: float
    latency_s: float
    joules_per_byte: float

    def transfer_s(self, payload_bytes: float) -> float:
        """``latency + bytes / bandwidth`` (Hockney's model); infinite where there is no link."""
        if self.bandwidth_bytes_per_s == 0.0:
            return math.inf
        return self.latency_s + payload_bytes / self.bandwidth_bytes_per_s

    def transfer_j(self, payload_bytes: float) -> float:
        """Joules of the same transfer."""
        return self.joules_per_byte * payload_bytes


@dataclass(frozen=True)
class _ByPosition:
    """One direction of a radio link whose distance is that between the devices' positions."""

    link: Link
    reverse: bool


LOCAL = LinkFigures(bandwidth_bytes_per_s=math.inf, latency_s=0.0, joules_per_byte=0.0)
NO_LINK = LinkFigures(bandwidth_bytes_per_s=0.0, latency_s=0.0, joules_per_byte=0.0)

FAST_BYTES_PER_S = 1.25e9
"""Of a link that is imagined where a fleet has none at all: 10 Gbit/s."""

SLOWEST_BITS_PER_S = 1e-30
"""A slower radio link is none."""

NEAREST_M = 1.0
"""Devices at one place: models of path loss know no distance of zero."""


def radio_bits_per_s(radio: Radio, distance_m: float | None = None) -> float:
    """Shannon's rate ``B log2(1 + p g / (N0 B))`` of a radio link.

    The gain g is the path loss ``128.1 + 37.6 log10(d / 1 km)`` dB (3GPP TR 36.814, table
    A.2.1.1-3, urban macro) by default, plus the shadowing margin.

    Args:
        radio: The link.
        distance_m: What it bridges, where it has no distance of its own.

    Raises:
        ValueError: There is no distance.
    """
    distance_m = distance_m if radio.distance_m is None else radio.distance_m
    if distance_m is None:
        raise ValueError("a radio link has a rate over a distance only")
    loss_db = (
        radio.path_loss_db_at_1km
        + radio.path_loss_exponent_db * math.log10(distance_m / 1000.0)
        + radio.shadowing_db
    )
    noise_db = radio.noise_dbm_per_hz - 30.0 + 10.0 * math.log10(radio.bandwidth_hz)
    snr = (10.0 * math.log10(radio.transmit_power_w) - loss_db - noise_db) / 10.0
    bits = snr * math.log2(10.0) if snr > 300.0 else math.log1p(10.0**snr) / math.log(2.0)
    rate = radio.bandwidth_hz * bits
    return rate if rate >= SLOWEST_BITS_PER_S else 0.0


class LinkTable:
    """Directed links between the devices of a fleet.

    A link between two devices goes before one of a device and a tier, that before one of two
    tiers; of equals the first in the file counts, and a link's own direction goes before another
    link's reverse. A device reaches itself at no cost.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._tier = {device.id: device.tier for device in fleet.devices}
        self._position = {device.id: device.position_m for device in fleet.devices}
        self._ways: dict[tuple[str, str], LinkFigures | _ByPosition] = {}
        self._between: dict[tuple[str, str], LinkFigures] = {}
        for link in fleet.links:
            self._ways.setdefault(link.between, _way(link, reverse=False))
        for link in fleet.links:
            back = (link.between[1], link.between[0])
            self._ways.setdefault(back, _way(link, reverse=True))

    def knows(self, sender: str, receiver: str) -> bool:
        """Whether both are devices of the fleet."""
        return sender in self._tier and receiver in self._tier

    def changed(self, ways: Mapping[tuple[str, str], LinkFigures]) -> LinkTable:
        """The same links, but for those between devices that ``ways`` has other figures of."""
        other = copy(self)
        other._ways = {**self._ways, **ways}
        return other

    def way(self, sender: str, receiver: str) -> LinkFigures:
        """The link from ``sender`` to ``receiver``; ``NO_LINK`` if the fleet has none."""
        if sender == receiver:
            return LOCAL
        tiers = self._tier[sender], self._tier[receiver]
        for pair in (
            (sender, receiver),
            (sender, tiers[1]),
            (tiers[0], receiver),
            tiers,
        ):
            found = self._ways.get(pair)
            if found is not None:
                at = (sender, receiver)
                return found if isinstance(found, LinkFigures) else self._bridging(found, at)
        return NO_LINK

    def _bridging(self, link: _ByPosition, pair: tuple[str, str]) -> LinkFigures:
        """What a link that goes by positions is between two devices."""
        if pair not in self._between:
            one, other = (self._position[device] for device in pair)
            assert one is not None, "the fleet has seen to it"
            assert other is not None, "the fleet has seen to it"
            distance_m = max(math.dist(one, other), NEAREST_M)
            self._between[pair] = _figures(link.link, link.reverse, distance_m)
        return self._between[pair]

    def faster(self, one: str, other: str, factor: float) -> LinkTable:
        """The same links, but that between two devices ``factor`` times as fast, both ways."""
        table = copy(self)
        table._ways = dict(self._ways)
        for pair in ((one, other), (other, one)):
            way = self.way(*pair)
            bandwidth = factor * way.bandwidth_bytes_per_s
            table._ways[pair] = replace(way, bandwidth_bytes_per_s=bandwidth)
        return table

    def bridged(self, pairs: Iterable[tuple[str, str]]) -> LinkTable:
        """The same links, and one as fast as the fastest from the first to the second device of
        each pair that has none."""
        table = copy(self)
        table._ways = dict(self._ways)
        fast = replace(LOCAL, bandwidth_bytes_per_s=self._fastest() or FAST_BYTES_PER_S)
        for pair in pairs:
            if self.way(*pair).bandwidth_bytes_per_s == 0.0:
                table._ways[pair] = fast
        return table

    def _fastest(self) -> float:
        """Bytes per second of the fastest link; 0 if there is none."""
        ways = self._ways.values()
        found = [way for way in ways if isinstance(way, LinkFigures)]
        if len(found) < len(ways):
            found += [self.way(*pair) for pair in permutations(self._tier, 2)]
        return max((way.bandwidth_bytes_per_s for way in found), default=0.0)


def _way(link: Link, *, reverse: bool) -> LinkFigures | _ByPosition:
    """One direction of a link."""
    if link.radio is not None and link.radio.distance_m is None:
        return _ByPosition(link, reverse)
    return _figures(link, reverse)


def _figures(link: Link, reverse: bool, distance_m: float | None = None) -> LinkFigures:
    """One direction of a link; radio adds the transmitter's ``p · 8 / rate`` joules a byte."""
    if link.radio is not None:
        bits_per_s = radio_bits_per_s(link.radio, distance_m)
        power_w = link.radio.transmit_power_w
    else:
        bits_per_s = float(link.bandwidth_bits_per_s or 0.0)
        power_w = 0.0
    if reverse and link.reverse_bandwidth_bits_per_s is not None:
        bits_per_s = link.reverse_bandwidth_bits_per_s
    radio_j = power_w * 8.0 / bits_per_s if bits_per_s > 0.0 else 0.0
    return LinkFigures(
        bandwidth_bytes_per_s=bits_per_s / 8.0,
        latency_s=link.latency_s,
        joules_per_byte=link.joules_per_byte + radio_j,
    )
