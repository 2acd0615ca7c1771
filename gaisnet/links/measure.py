"""The end that measures: ``gaisnet profile --link``."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gaisnet.errors import UsageError
from gaisnet.links.address import Address
from gaisnet.links.fit import Round, fit_rate, spread
from gaisnet.links.wire import DONE, HELLO, ORDER, LinkError, Stream
from gaisnet.progress import Progress, silent
from gaisnet.schema.fleet import Link
from gaisnet.schema.link import LinkPart

__all__ = ["LinkEffort", "fleet_link", "measure_link"]

_CONNECT_S = 5.0
_FEWEST_SIZES = 3


@dataclass(frozen=True, kw_only=True)
class LinkEffort:
    """How hard to measure."""

    pings: int = 30
    """Empty frames for the latency."""
    smallest_bytes: int = 1024
    """First size; each next one is four times as large."""
    largest_bytes: int = 16 * 2**20
    """No size beyond it, however fast the link is."""
    long_s: float = 0.2
    """The largest size is the first that takes so much longer than an empty frame: the slope then
    stands over the jitter, also where the round trip is long."""
    rounds: int = 7
    """Transfers of each size and direction, if the budget lasts."""
    budget_s: float = 15.0
    """No new round is begun after it."""
    limit_s: float = 100.0
    """After it the measurement is given up."""


def measure_link(
    address: Address, *, effort: LinkEffort | None = None, progress: Progress | None = None
) -> LinkPart:
    """Measure the link to where another device runs ``gaisnet profile --listen``.

    Clocks need not agree: everything is timed here, from the first byte to the answer. One way is
    taken to be half of the round trip.

    Args:
        address: Host and port of the other end.
        effort: How hard to measure.
        progress: Told what is being measured.

    Raises:
        LinkError: The other end is not there, is too slow, or is no gaisnet.
        UsageError: The host is not known.
    """
    work, show = effort or LinkEffort(), progress or silent
    stream = _connect(address, work.limit_s)
    try:
        return _measured(_Client(stream), f"{address[0]}:{address[1]}", work, show)
    finally:
        stream.close()


def fleet_link(part: LinkPart, between: tuple[str, str]) -> Link:
    """The link as ``fleet.yaml`` has it.

    Args:
        part: Measured on the first of the two, with the second as its peer.
        between: Ids of the two devices.
    """
    return Link(
        between=between,
        bandwidth_bits_per_s=part.to_peer.bandwidth_bits_per_s,
        reverse_bandwidth_bits_per_s=part.from_peer.bandwidth_bits_per_s,
        latency_s=part.latency_s,
    )


class _Client:
    """Times single transfers, and counts what they move."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.moved_bytes = 0

    def upload(self, n_bytes: int) -> float:
        """Seconds to pack a frame, until the other end has said that it has unpacked it."""
        begun = time.perf_counter()
        self._stream.send(ORDER.pack(b"U", n_bytes))
        self._stream.send_frame(n_bytes)
        if self._stream.receive(1) != DONE:
            raise LinkError("the other end answers what no gaisnet answers")
        self.moved_bytes += n_bytes
        return time.perf_counter() - begun

    def download(self, n_bytes: int) -> float:
        """Seconds from asking for a frame to having unpacked it."""
        begun = time.perf_counter()
        self._stream.send(ORDER.pack(b"D", n_bytes))
        self._stream.receive_frame(n_bytes)
        self.moved_bytes += n_bytes
        return time.perf_counter() - begun

    def quit(self) -> None:
        """Tell the other end that this was all."""
        self._stream.send(ORDER.pack(b"Q", 0))


def _connect(address: Address, limit_s: float) -> Stream:
    where = f"{address[0]}:{address[1]}"
    try:
        connection = socket.create_connection(address, timeout=_CONNECT_S)
    except socket.gaierror as error:
        raise UsageError(f"the host is not known: {error}", where=where) from error
    except OSError as error:
        raise LinkError(
            f"nobody answers: {error}",
            where=where,
            hint=f"run `gaisnet profile --listen {where}` on the other device first",
        ) from error
    stream = Stream(connection, _CONNECT_S)
    try:
        stream.send(HELLO)
        if stream.receive(len(HELLO)) != HELLO:
            raise LinkError("it is no gaisnet, or one of another version", where=where)
    except LinkError:
        stream.close()
        raise
    stream.set_limit(limit_s)
    return stream


def _measured(client: _Client, peer: str, work: LinkEffort, show: Progress) -> LinkPart:
    begun = time.perf_counter()
    show("latency", 0.0)
    latency_s, latency_spread_s = spread([client.upload(0) / 2 for _ in range(work.pings)])
    show("sizes", 0.1)
    directions = (client.upload, client.download)
    sizes = [_sizes(transfer, work, 2 * latency_s) for transfer in directions]
    rounds: tuple[list[Round], list[Round]] = ([], [])
    for index in range(work.rounds):
        show(f"round {index + 1}", 0.2 + 0.8 * index / work.rounds)
        for transfer, steps, kept in zip(directions, sizes, rounds, strict=True):
            kept.append({size: transfer(size) for size in steps})
        if time.perf_counter() - begun > work.budget_s:
            break
    client.quit()
    show("done", 1.0)
    return LinkPart(
        peer=peer,
        latency_s=latency_s,
        latency_spread_s=latency_spread_s,
        to_peer=fit_rate(rounds[0]),
        from_peer=fit_rate(rounds[1]),
        moved_bytes=client.moved_bytes,
    )


def _sizes(
    transfer: Callable[[int], float], work: LinkEffort, round_trip_s: float
) -> Sequence[int]:
    """Growing sizes up to the first that takes long; this warms the connection up as well."""
    sizes = [work.smallest_bytes]
    while len(sizes) < _FEWEST_SIZES or transfer(sizes[-1]) < round_trip_s + work.long_s:
        if 4 * sizes[-1] > work.largest_bytes:
            break
        sizes.append(4 * sizes[-1])
    return sizes
