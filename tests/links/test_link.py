"""Links measured over real sockets, and what either end does with strangers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import torch

from gaisnet.errors import SecurityError, UsageError
from gaisnet.executor.frames import decode
from gaisnet.links import (
    LinkEffort,
    LinkError,
    Listener,
    fleet_link,
    measure_link,
    parse_address,
)
from gaisnet.links import listen as listening
from gaisnet.links.wire import HELLO, MAX_TRANSFER_BYTES, ORDER
from gaisnet.wire import payload_bytes
from tests.links.relay import Relay

LOOPBACK = ("127.0.0.1", 0)
QUICK = LinkEffort(pings=5, long_s=0.05, rounds=3, budget_s=5, limit_s=30)


@contextmanager
def listener(connections: int = 1) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """A listener in a thread; the list gets its reports."""
    reports: list[str] = []
    end = Listener(LOOPBACK)
    thread = threading.Thread(
        target=end.serve, args=(reports.append,), kwargs={"connections": connections}, daemon=True
    )
    thread.start()
    try:
        yield end.address, reports
        thread.join(10)
        assert not thread.is_alive()
    finally:
        end.close()


def stranger(address: tuple[str, int], *messages: bytes) -> bytes:
    """What the listener answers to these bytes, until it closes."""
    with socket.create_connection(address, timeout=10) as end:
        for message in messages:
            end.sendall(message)
        answer = b""
        with suppress(ConnectionResetError):
            while got := end.recv(4096):
                answer += got
        return answer


def test_a_paced_relay_s_rates_and_delay_are_found() -> None:
    with listener() as (address, reports):
        relay = Relay(address, up_bytes_per_s=4e6, down_bytes_per_s=1e6, delay_s=0.02)
        part = measure_link(relay.address, effort=QUICK)
    # The relay can only be slower than it was told, where the machine is busy.
    assert 0.5 * 32e6 < part.to_peer.bandwidth_bits_per_s < 1.15 * 32e6
    assert 0.5 * 8e6 < part.from_peer.bandwidth_bits_per_s < 1.15 * 8e6
    assert 0.02 <= part.latency_s < 0.06
    assert part.moved_bytes < relay.passed_bytes < part.moved_bytes + 60_000
    assert reports == [f"127.0.0.1: measured with {part.moved_bytes} bytes"]


def test_the_largest_size_takes_long_and_every_size_is_taken_in_every_round() -> None:
    steps: list[float] = []
    with listener() as (address, _):
        relay = Relay(address, up_bytes_per_s=4e6, down_bytes_per_s=4e6)
        part = measure_link(relay.address, effort=QUICK, progress=lambda _, x: steps.append(x))
    for rate in (part.to_peer, part.from_peer):
        assert rate.transfers[-1].median_s >= 0.9 * QUICK.long_s
        assert len(rate.transfers) >= 3
        assert len({transfer.samples for transfer in rate.transfers}) == 1
    assert steps == sorted(steps)
    assert steps[-1] == 1


def test_a_fleet_takes_the_link() -> None:
    with listener() as (address, _):
        part = measure_link(address, effort=LinkEffort(pings=2, long_s=1e-4, rounds=1))
    link = fleet_link(part, ("phone", "edge-0"))
    assert link.between == ("phone", "edge-0")
    assert link.bandwidth_bits_per_s == part.to_peer.bandwidth_bits_per_s
    assert link.reverse_bandwidth_bits_per_s == part.from_peer.bandwidth_bits_per_s
    assert link.latency_s == part.latency_s


@pytest.mark.parametrize(
    ("messages", "report"),
    [
        ([b"GET / HTTP/1.1\r\n\r\n"], "this is no gaisnet"),
        ([HELLO[:-1] + b"\x09"], "another version"),
        ([b"\x80\x04" + 20 * b"."], "this is no gaisnet"),
        ([HELLO, ORDER.pack(b"D", MAX_TRANSFER_BYTES + 1)], "no gaisnet asks for"),
        ([HELLO, ORDER.pack(b"U", 2**63)], "no gaisnet asks for"),
        ([HELLO, ORDER.pack(b"X", 0)], "no gaisnet asks for"),
        ([HELLO, ORDER.pack(b"U", 8), struct.pack(">Q", 2**40)], "no gaisnet sends"),
        ([HELLO, ORDER.pack(b"U", 8), struct.pack(">Q", 40), 40 * b"x"], "no gaisnet sends"),
    ],
)
def test_strangers_are_told_nothing_and_do_not_stop_the_listener(
    messages: list[bytes], report: str
) -> None:
    with listener(connections=2) as (address, reports):
        answer = stranger(address, *messages)
        measure_link(address, effort=LinkEffort(pings=1, long_s=1e-4, rounds=1))
    assert answer in (b"", HELLO)
    assert report in reports[0]
    assert "measured" in reports[1]


def test_one_who_says_nothing_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_HELLO_S", 0.1)
    with listener() as (address, reports):
        assert stranger(address) == b""
    assert "took too long" in reports[0]


def test_a_session_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_SESSION_BYTES", 10_000)
    with listener() as (address, reports):
        order = ORDER.pack(b"D", 6_000)
        answer = stranger(address, HELLO, order, order)
    frame = answer[len(HELLO) + 8 :]
    assert int.from_bytes(answer[len(HELLO) :][:8], "big") == len(frame)
    assert payload_bytes(frame) == 6_000
    assert "no gaisnet asks for" in reports[0]


def test_what_crosses_is_a_frame_that_a_run_reads() -> None:
    with listener() as (address, _):
        answer = stranger(address, HELLO, ORDER.pack(b"D", 3 * 2**20 + 4), ORDER.pack(b"Q", 0))
    header, tensors = decode(answer[len(HELLO) + 8 :])
    assert header.kind == "activation"
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert sum(tensor.nbytes for tensor in tensors.values()) == 3 * 2**20 + 4


def test_one_who_leaves_in_the_middle_is_reported() -> None:
    with listener() as (address, reports), socket.create_connection(address) as end:
        end.sendall(HELLO + ORDER.pack(b"U", 1000) + struct.pack(">Q", 1200) + b"half")
        end.close()
    assert "closed the connection" in reports[0] or "lost" in reports[0]


@contextmanager
def impostor(answer: bytes) -> Iterator[tuple[str, int]]:
    """Someone else who listens, and says this to whoever comes."""
    with socket.create_server(LOOPBACK) as server:

        def run() -> None:
            end, _ = server.accept()
            with end, suppress(ConnectionResetError):
                end.recv(64)
                end.sendall(answer)
                end.settimeout(10)
                while end.recv(4096):
                    continue

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()
        thread.join(10)


@pytest.mark.parametrize("answer", [b"220 smtp.example.org ready", struct.pack(">14s", b"")])
def test_an_end_that_is_no_gaisnet_is_refused(answer: bytes) -> None:
    with impostor(answer) as address, pytest.raises(LinkError, match="no gaisnet"):
        measure_link(address, effort=QUICK)


def test_an_end_that_answers_wrongly_is_refused() -> None:
    with impostor(HELLO + b"?") as address, pytest.raises(LinkError, match="no gaisnet answers"):
        measure_link(address, effort=QUICK)


def test_an_end_that_stops_answering_is_given_up() -> None:
    effort = LinkEffort(pings=1, limit_s=0.2)
    with impostor(HELLO) as address, pytest.raises(LinkError, match="took too long"):
        measure_link(address, effort=effort)


def test_nobody_there_says_what_to_do() -> None:
    with socket.create_server(LOOPBACK) as server:
        address = server.getsockname()
    with pytest.raises(LinkError, match="--listen"):
        measure_link(address)


def test_listening_to_others_is_refused_unless_asked_for() -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(SecurityError, match="--insecure"):
            Listener((host, 0))
    Listener(("0.0.0.0", 0), insecure=True).close()
    Listener(("localhost", 0)).close()


def test_a_port_in_use_is_told() -> None:
    end = Listener(LOOPBACK)
    with pytest.raises(UsageError, match="cannot listen"):
        Listener(end.address)
    end.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("phone:7000", ("phone", 7000)),
        ("[::1]:7", ("::1", 7)),
        (":7000", ("127.0.0.1", 7000)),
        ("7000", ("127.0.0.1", 7000)),
    ],
)
def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "phone", "phone:", "phone:x", "phone:70000", "::1:7000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        parse_address(text)
