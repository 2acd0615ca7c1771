"""Devices' nodes on the machines of a network, started and used by the documented commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cluster.network import Machines

__all__ = ["GAISNET", "Cluster", "environment"]

GAISNET = str(Path(sys.executable).with_name("gaisnet"))
PORT = 6399
_START_S, _END_S = 240.0, 60.0


@dataclass
class Cluster:
    """A node for every machine of a network; a context that ends them all.

    Args:
        network: Machines, named as the devices; the first one is the head.
        profiles: File of each device.
        folder: Where devices find what the job names, and logs are written.
        options: More words for every ``gaisnet join``.
        settings: More environment variables of single devices.
    """

    network: Machines
    profiles: Mapping[str, Path]
    folder: Path
    options: Sequence[str] = ()
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    _nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of the head."""
        return f"{self.network.address(self.network.names[0])}:{PORT}"

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As ``run``, a command that goes to the cluster."""
        return self.run(*words, *self._shown())

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """As ``ask``, a command that goes on."""
        return subprocess.Popen(
            self.network.command(self.network.names[0], [GAISNET, *words, *self._shown()]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def process(self, name: str) -> psutil.Process:
        """The process in which a device's services run."""
        found = self._called(name, "DeviceProcess")
        if len(found) != 1:
            raise RuntimeError(f"{len(found)} processes of {name}")
        return found[0]

    def waiting(self, name: str) -> psutil.Process:
        """The process that waits for the next run on a device; it may still be starting."""
        until = time.monotonic() + _START_S
        while len(found := self._called(name, "ray::IDLE")) != 1:
            if time.monotonic() > until:
                raise RuntimeError(f"{len(found)} processes wait on {name}")
            time.sleep(0.1)
        return found[0]

    def _called(self, name: str, words: str) -> list[psutil.Process]:
        """Processes of a device that show these words."""
        node = psutil.Process(self._nodes[list(self.network.names).index(name)].pid)
        found = []
        for each in node.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if words in " ".join(each.cmdline()):
                    found.append(each)
        return found

    def _shown(self) -> list[str]:
        shown = str(self.credentials(self.network.names[0]))
        return ["--address", self.address, "--credentials", shown]

    def run(self, *words: str, timeout_s: float = _START_S) -> subprocess.CompletedProcess[str]:
        """A command of gaisnet's on the head's machine."""
        return subprocess.run(
            self.network.command(self.network.names[0], [GAISNET, *words]),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=environment(),
        )

    def __enter__(self) -> Cluster:
        try:
            for name in self.network.names:
                self._admit(name)
            for place, name in enumerate(self.network.names, start=1):
                self._start(name)
                # One after the other: a node that finds no core for half a minute gives up.
                self._await(self.network.names[:place])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        for node in self._nodes:
            node.wait(_END_S)

    def credentials(self, name: str) -> Path:
        """A device's."""
        return self.folder / "certs" / name

    def _admit(self, name: str) -> None:
        words = ["certs", str(self.folder / "certs"), "--device", name]
        done = self.run(*words, "--host", self.network.address(name))
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def _start(self, name: str) -> None:
        head = ["--head"] if name == self.network.names[0] else []
        words = ["join", *head, "--address", self.address, "--device", name]
        words += ["--host", self.network.address(name), "--profile", str(self.profiles[name])]
        words += ["--folder", str(self.folder), *self.options]
        words += ["--credentials", str(self.credentials(name))]
        with (self.folder / f"{name}.log").open("wb") as log:
            command = self.network.command(name, [GAISNET, *words])
            self._nodes.append(
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    env=environment() | dict(self.settings.get(name, {})),
                )
            )

    def _await(self, names: Sequence[str]) -> None:
        """Until devices have joined, as the head sees it."""
        code = (
            "import sys; from pathlib import Path; from gaisnet.joining import use_credentials;"
            "use_credentials(Path(sys.argv[2]), False);"
            "from gaisnet.nodes.settings import prepare;"
            "prepare(private=False); from gaisnet.nodes.cluster import joined;"
            "sys.stdout.write(' '.join(joined(sys.argv[1])))"
        )
        head = self.network.names[0]
        words = [sys.executable, "-c", code, self.address, str(self.credentials(head))]
        until = time.monotonic() + _START_S
        while True:
            command = self.network.command(head, words)
            told = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment()
            )
            if set(told.stdout.split()) >= set(names):
                return
            if time.monotonic() > until or any(node.poll() is not None for node in self._nodes):
                logs = [p.read_text()[-500:] for p in sorted(self.folder.glob("*.log"))]
                raise RuntimeError(
                    f"not all have joined: {told.stdout} {told.stderr[-500:]} {logs}"
                )
            time.sleep(0.5)


def environment() -> dict[str, str]:
    """For commands: without what a Ray of this process has set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
