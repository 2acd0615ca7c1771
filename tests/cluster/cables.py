"""Cables with latency, in user space: what comes in at one end leaves at the other, later.

Run with the seconds of latency and the names of the cables' ends, in the namespace where these are;
or with ``plain`` and one port, whose offloads it turns off.
Rates are not its business: a token bucket of the kernel's stands at every machine's port.
"""

from __future__ import annotations

import ctypes
import fcntl
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_ALL_PROTOCOLS, _OWN = 3, 4  # ETH_P_ALL, PACKET_OUTGOING
_LONGEST = 65536
_WHEN_PARENT_ENDS = 1  # PR_SET_PDEATHSIG
_ETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x21, 0x24, 0x2C)
"""Checksums, TCP, UDP and generic segmentation, generic reassembly: what must be done at once."""


def plain(port: str) -> None:
    """Have an interface send packets as they are on a wire: of its size, and with a checksum."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
            request = struct.pack("16sP8x", port.encode(), ctypes.addressof(value))
            with suppress(OSError):  # the kernel knows no such offload
                fcntl.ioctl(control, _ETHTOOL, request)


def join(delay_s: float, names: list[str]) -> None:
    """Pass packets on until the process is ended, or its parent; each two ports are the ends of a
    cable."""
    ctypes.CDLL(None).prctl(_WHEN_PARENT_ENDS, signal.SIGKILL)
    ports = [_open(name) for name in names]
    ends = list(zip(ports[::2], ports[1::2], strict=True))
    across = dict(ends) | {there: here for here, there in ends}
    late: deque[tuple[float, bytes, socket.socket]] = deque()
    while True:
        wait_s = max(0.0, late[0][0] - time.monotonic()) if late else None
        for port in select.select(ports, [], [], wait_s)[0]:
            packet, origin = port.recvfrom(_LONGEST)
            if origin[2] != _OWN:
                late.append((time.monotonic() + delay_s, packet, across[port]))
        while late and late[0][0] <= time.monotonic():
            _, packet, port = late.popleft()
            _send(port, packet)


def _open(name: str) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    port.bind((name, 0))
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**23)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**23)
    return port


def _send(port: socket.socket, packet: bytes) -> None:
    with suppress(OSError):  # a full queue drops, as a real one does
        port.send(packet, socket.MSG_DONTWAIT)


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        plain(sys.argv[2])
    else:
        join(float(sys.argv[1]), sys.argv[2:])
