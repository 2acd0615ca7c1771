"""Several machines on this one: a network namespace each, joined by links of given figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Protocol

import psutil

__all__ = ["Loopback", "Machines", "Network", "can_make_networks"]

_CABLES = Path(__file__).with_name("cables.py")
_SPACE = "gaisnet-"
"""What the names of namespaces begin with, before the id of the process that made them."""
_MTU = 9000
"""Large, so that the cables have few packets to pass on."""
_BURST_BYTES = 2 * _MTU
_NOBODY = "02:00:00:00:00:99"
"""A hardware address that no machine has."""
_ROOM_BYTES = 4 * 2**20
"""What waits at a port before packets are dropped."""


@cache
def can_make_networks() -> bool:
    """Whether this process may make namespaces and links, found by making two and one.

    Who is root in a container often may not.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc"))):
        return False
    try:
        with Network(("one", "other"), 1e6, 0.001):
            return True
    except RuntimeError:
        return False


class Machines(Protocol):
    """Where nodes may be started."""

    names: Sequence[str]

    def address(self, name: str) -> str:
        """Of a machine."""

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """What runs a command on a machine."""

    def sent_bytes(self) -> Mapping[str, int]:
        """What each machine has sent so far, packets' heads among it; if that is known."""


@dataclass
class Loopback:
    """Addresses of this machine: no links, and no counters."""

    names: Sequence[str]

    def address(self, name: str) -> str:
        """On loopback; not 127.0.0.1, which Ray takes for another address of this machine."""
        return f"127.0.0.{self.names.index(name) + 2}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """The same everywhere."""
        return list(words)

    def sent_bytes(self) -> Mapping[str, int]:
        """Unknown."""
        return {}

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was made."""


@dataclass
class Network:
    """Machines, each two of them joined by a link of their own; a context that leaves nothing.

    Args:
        names: Of the machines, in the order of their addresses.
        bits_per_s: Rate of every link, each way; or of each, by the names of its ends in order.
        delay_s: From any machine to any other.
    """

    names: Sequence[str]
    bits_per_s: float | Mapping[tuple[str, str], float]
    delay_s: float
    _made: ExitStack = field(default_factory=ExitStack)

    def address(self, name: str) -> str:
        """Of a machine. Ray looks for others at an address in all namespaces: no two processes
        that make networks at the same time should have the same ones."""
        return f"10.199.{os.getpid() % 250}.{self.names.index(name) + 1}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """What runs a command on a machine."""
        return ["ip", "netns", "exec", self._space(name), *words]

    def sent_bytes(self) -> Mapping[str, int]:
        """What each machine has sent so far, packets' heads among it."""
        return {name: self._sent_bytes(name) for name in self.names}

    def cut(self, name: str, others: Sequence[str]) -> None:
        """Let packets between a machine and others vanish; neither end is told."""
        self._misdirect("replace", name, others, ["lladdr", _NOBODY, "nud", "permanent"])

    def mend(self, name: str, others: Sequence[str]) -> None:
        """Undo a cut."""
        self._misdirect("del", name, others, [])

    def _misdirect(self, verb: str, name: str, others: Sequence[str], words: Sequence[str]) -> None:
        for here, there in [pair for o in others for pair in ((name, o), (o, name))]:
            neighbour = ["ip", "-n", self._space(here), "neigh", verb, self.address(there)]
            _run([*neighbour, *words, "dev", self._port(there, here)])

    def __enter__(self) -> Network:
        _remove_left_behind()
        try:
            self._make()
        except BaseException:
            self._made.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def _make(self) -> None:
        self._add_space("hub")
        for name in self.names:
            self._add_space(name)
            address = ["addr", "add", f"{self.address(name)}/32", "dev", "lo"]
            _run(["ip", "-n", self._space(name), *address])
        pairs = list(combinations(self.names, 2))
        for one, other in pairs:
            self._join(one, other)
            self._join(other, one)
        cables = [self._port(*ends) for pair in pairs for ends in (pair, pair[::-1])]
        words = [sys.executable, str(_CABLES), str(self.delay_s), *cables]
        process = subprocess.Popen(self.command("hub", words))
        self._made.callback(_end, process)

    def _add_space(self, name: str) -> None:
        space = self._space(name)
        _run(["ip", "netns", "add", space])
        self._made.callback(_run, ["ip", "netns", "del", space])
        _run(["ip", "-n", space, "link", "set", "lo", "up"])

    def _join(self, name: str, other: str) -> None:
        """A machine's end of the link to another one, up to the hub."""
        here, hub = self._space(name), self._space("hub")
        port, there = self._port(other, name), self._port(name, other)
        pair = ["type", "veth", "peer", "name", there, "netns", hub]
        _run(["ip", "link", "add", port, "netns", here, *pair])
        for space, end in ((here, port), (hub, there)):
            _run(["ip", "-n", space, "link", "set", end, "mtu", str(_MTU), "up"])
            plain = [sys.executable, str(_CABLES), "plain", end]
            _run(["ip", "netns", "exec", space, *plain])
        _run(
            [
                *("tc", "-n", here, "qdisc", "add", "dev", port, "root", "tbf"),
                *("rate", f"{self._rate(name, other):.0f}bit", "burst", str(_BURST_BYTES)),
                *("limit", str(_ROOM_BYTES)),
            ]
        )
        way = ["route", "add", f"{self.address(other)}/32", "dev", port, "src", self.address(name)]
        _run(["ip", "-n", here, *way])

    def _rate(self, one: str, other: str) -> float:
        given = self.bits_per_s
        if not isinstance(given, Mapping):
            return given
        return given[one, other] if (one, other) in given else given[other, one]

    def _sent_bytes(self, name: str) -> int:
        files = [
            f"/sys/class/net/{self._port(other, name)}/statistics/tx_bytes"
            for other in self.names
            if other != name
        ]
        return sum(map(int, _run(self.command(name, ["cat", *files])).split()))

    def _space(self, name: str) -> str:
        return f"{_SPACE}{os.getpid()}-{name}"

    def _port(self, end: str, other: str) -> str:
        """Of a machine's link to ``end``; or of the hub's side of the link from ``end``."""
        return f"to-{self.names.index(end)}-{self.names.index(other)}"


def _remove_left_behind() -> None:
    """Namespaces of processes that were killed; of those that live, none is touched."""
    for line in _run(["ip", "netns", "list"]).splitlines():
        space = line.split()[0]
        maker = space.removeprefix(_SPACE).partition("-")[0]
        if space.startswith(_SPACE) and maker.isdecimal() and not psutil.pid_exists(int(maker)):
            with suppress(RuntimeError):  # another process was faster
                _run(["ip", "netns", "del", space])


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
