"""Several machines on this one: a network namespace each, joined by links of given figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["Loopback", "Machines", "Network", "can_make_networks"]

_SWITCH = Path(__file__).with_name("switch.py")
_MTU = 9000
"""Large, so that the switch has few packets to pass on."""
_BURST_BYTES = 2 * _MTU
_ROOM_BYTES = 4 * 2**20
"""What waits at a port before packets are dropped."""


def can_make_networks() -> bool:
    """Whether this process may make namespaces, and has the tools."""
    return os.geteuid() == 0 and shutil.which("ip") is not None and shutil.which("tc") is not None


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
        """On loopback."""
        return f"127.0.0.{self.names.index(name) + 1}"

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
    """Machines around a switch; a context that leaves nothing behind.

    Args:
        names: Of the machines, in the order of their addresses.
        bits_per_s: Rate of every port, each way.
        delay_s: From any machine to any other.
    """

    names: Sequence[str]
    bits_per_s: float
    delay_s: float
    _made: ExitStack = field(default_factory=ExitStack)

    def address(self, name: str) -> str:
        """Of a machine."""
        return f"10.199.7.{self.names.index(name) + 1}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """What runs a command on a machine."""
        return ["ip", "netns", "exec", self._space(name), *words]

    def sent_bytes(self) -> Mapping[str, int]:
        """What each machine has sent so far, packets' heads among it."""
        path = "/sys/class/net/port/statistics/tx_bytes"
        return {n: int(_run(self.command(n, ["cat", path]))) for n in self.names}

    def __enter__(self) -> Network:
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
            self._join(name)
        words = [sys.executable, str(_SWITCH), str(self.delay_s), *map(self._port, self.names)]
        process = subprocess.Popen(self.command("hub", words))
        self._made.callback(_end, process)

    def _add_space(self, name: str) -> None:
        space = self._space(name)
        _run(["ip", "netns", "add", space])
        self._made.callback(_run, ["ip", "netns", "del", space])
        _run(["ip", "-n", space, "link", "set", "lo", "up"])

    def _join(self, name: str) -> None:
        here, hub, port = self._space(name), self._space("hub"), self._port(name)
        pair = ["type", "veth", "peer", "name", port, "netns", hub]
        _run(["ip", "link", "add", "port", "netns", here, *pair])
        for space, end in ((here, "port"), (hub, port)):
            _run(["ip", "-n", space, "link", "set", end, "mtu", str(_MTU), "up"])
            plain = [sys.executable, str(_SWITCH), "plain", end]
            _run(["ip", "netns", "exec", space, *plain])
            _run(
                [
                    *("tc", "-n", space, "qdisc", "add", "dev", end, "root", "tbf"),
                    *("rate", f"{self.bits_per_s:.0f}bit", "burst", str(_BURST_BYTES)),
                    *("limit", str(_ROOM_BYTES)),
                ]
            )
        _run(["ip", "-n", here, "addr", "add", f"{self.address(name)}/24", "dev", "port"])

    def _space(self, name: str) -> str:
        return f"gaisnet-{os.getpid()}-{name}"

    def _port(self, name: str) -> str:
        return f"to-{self.names.index(name)}"


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
