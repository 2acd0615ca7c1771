"""Several nodes on this machine, each a ``gaisnet join`` with credentials of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.files import canonical_json
from gaisnet.schema.profile import Profile
from tests.executor.engines.conftest import alive, end

LIMIT_S = 120.0


def gaisnet(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=300, check=False, env=environment()
    )


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "gaisnet.cli", *map(str, words)]


def environment(home: Path | None = None) -> dict[str, str]:
    """None of the settings that another cluster of this process has left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return kept | own | ({} if home is None else {"HOME": str(home)})


def own_address() -> str:
    """Under which others would reach this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("8.8.8.8", 9))
        return str(asked.getsockname()[0])


class Loopback:
    """Nodes at this machine's own address (the head), 127.0.0.2 and so on.

    Ray takes 127.0.0.1 for the machine's own address, under which others reach it.

    Args:
        folder: For credentials; also where the devices find model and data.
        devices: The first begins the cluster.
        home: Of the nodes' user, if it is another one.
    """

    def __init__(self, folder: Path, devices: list[str], home: Path | None = None) -> None:
        self.folder, self.devices, self.home = folder, devices, home
        with socket.socket() as taken:
            taken.bind((own_address(), 0))
            host, port = taken.getsockname()
        self.address = f"{host}:{port}"
        self.joined: dict[str, subprocess.Popen[str]] = {}
        self.profile = folder / "me.json"
        self.profile.write_text(canonical_json(Profile(device=preset(preset_names()[0]))))
        for number, device in enumerate(devices, start=1):
            place = host if number == 1 else f"127.0.0.{number}"
            made = gaisnet("certs", folder / "fleet", "--device", device, "--host", place)
            assert made.returncode == 0, made.stderr

    def credentials(self, device: str) -> tuple[str, str]:
        return "--credentials", str(self.folder / "fleet" / device)

    def join(self, number: int, shown: Sequence[str] = ()) -> None:
        """Start a node, with its credentials unless other words are given."""
        device = self.devices[number]
        place = ["--head"] if number == 0 else ["--host", f"127.0.0.{number + 1}"]
        words = ["join", "--address", self.address, "--device", device, *place]
        words += ["--profile", str(self.profile), "--folder", str(self.folder)]
        words += ["--memory-bytes", str(10**9)]
        self.joined[device] = subprocess.Popen(
            command(*words, *(shown or self.credentials(device))),
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.home),
            start_new_session=True,
        )

    def await_port(self) -> None:
        host, port = self.address.split(":")
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.2)

    def processes(self, device: str) -> list[psutil.Process]:
        own = psutil.Process(self.joined[device].pid)
        return [own, *own.children(recursive=True)]

    def leave(self, device: str) -> tuple[int, str]:
        """Ctrl-C; returns exit code and what was said."""
        started = self.processes(device)
        self.joined[device].send_signal(signal.SIGINT)
        told = self.joined[device].communicate(timeout=LIMIT_S)[1]
        end(started)
        return self.joined[device].returncode, told

    def close(self) -> None:
        """Whatever happened, nothing is left."""
        started = [
            each
            for device, process in self.joined.items()
            if process.poll() is None
            for each in self.processes(device)
        ]
        for process in self.joined.values():
            if process.poll() is None:
                process.terminate()
        for process in self.joined.values():
            process.communicate(timeout=LIMIT_S)
        for each in filter(alive, started):
            each.kill()
