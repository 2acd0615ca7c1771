"""Privacy options on Ray: the same bits as in one process, and what really goes over sockets."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from gaisnet.executor.run import execute
from gaisnet.schema.job import PrivacySpec
from gaisnet.testing import write_small_job
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

if TYPE_CHECKING:
    from gaisnet.executor.engines.ray.engine import RayEngine

pytestmark = pytest.mark.timeout(900)

OWNERS = {"owner-a": 8, "owner-b": 4, "owner-c": 4}
OPTIONS = {
    "secure sums": {"secure_aggregation": True},
    "private updates": {
        "update_clip_norm": 0.5, "noise_multiplier": 1.5, "reproducible_noise": True,
    },
    "noisy activations": {"activation_noise": 0.3, "reproducible_noise": True},
    "all": {
        "secure_aggregation": True, "update_clip_norm": 0.5, "noise_multiplier": 1.5,
        "activation_noise": 0.3, "reproducible_noise": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_private_rounds_are_the_embedded_engines_bit_for_bit(
    ray_engine: RayEngine, tmp_path: Path, option: str
):
    chosen = [cluster("c0", OWNERS, [1, 3], devices=["edge-1"])]
    plan = write_job(tmp_path, chosen, rounds=2, privacy=PrivacySpec(**OPTIONS[option]))
    here = execute(plan, run_dir=tmp_path / "here")
    there = execute(plan, run_dir=tmp_path / "there", engine=ray_engine)
    assert there.manifest.tunable_sha256 == here.manifest.tunable_sha256
    assert [m.traffic for m in there.metrics] == [m.traffic for m in here.metrics]
    assert [m.epsilon for m in there.metrics] == [m.epsilon for m in here.metrics]
    assert all(not metrics.rejected for metrics in there.metrics)


def test_a_log_for_each_device_comes_from_its_own_process(ray_engine: RayEngine, tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=1)
    result = execute(plan, run_dir=tmp_path / "run", engine=ray_engine)
    token = os.environ["RAY_AUTH_TOKEN"]
    logs = {path.stem: path.read_text() for path in (result.run_dir / "logs").iterdir()}
    assert logs.keys() == {"edge-0", "edge-1", "owner-a", "owner-b", "owner-c"}
    assert all("is in place" in text for text in logs.values())
    assert len(token) >= 32
    for path in result.run_dir.rglob("*"):
        assert path.is_dir() or token.encode() not in path.read_bytes()


class Capture:
    """What crosses the loopback interface, packet by packet; root alone may look."""

    _RECEIVE_BUFFER_FORCE, _ALL_PROTOCOLS = 33, 3

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self._ALL_PROTOCOLS)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, self._RECEIVE_BUFFER_FORCE, 2**26)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._packets: list[bytes] = []
        self._thread = threading.Thread(target=self._listen)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()
            self.dropped = self._dropped()
            self._socket.close()

    def found(self, canaries: list[bytes]) -> int:
        whole = b"\n".join(self._packets)
        return sum(canary in whole for canary in canaries)

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                self._packets.append(self._socket.recv(2**17))
            except TimeoutError:
                continue

    def _dropped(self) -> int:
        """Packets that came faster than they were read (PACKET_STATISTICS)."""
        packed = self._socket.getsockopt(263, 6, 8)
        return int(struct.unpack("II", packed)[1])


def canaries(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Give every owner labels and inputs that are unlike any other bytes; returns theirs."""
    labels, inputs = [], []
    for number, name in enumerate(["owner-a", "owner-b", "owner-c", "held-out"]):
        draw = torch.Generator().manual_seed(number)
        tensors = {
            "pixel_values": torch.rand(8, 1, 8, 8, generator=draw),
            "labels": torch.rand(8, 3, generator=draw),
        }
        save_file(tensors, folder / f"{name}.safetensors")
        if name != "held-out":
            labels += [row.numpy().tobytes() for row in tensors["labels"]]
            inputs += [row.reshape(-1)[:8].numpy().tobytes() for row in tensors["pixel_values"]]
    return labels, inputs


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may capture the loopback interface")
@pytest.mark.parametrize("topology", ["u_shape", "vanilla"])
def test_under_u_shape_no_label_and_no_input_goes_over_a_socket(
    ray_engine: RayEngine, tmp_path: Path, topology: str
):
    """Under the vanilla topology labels do: the scan would see them."""
    plan = write_small_job(tmp_path, topology=topology, rounds=1)
    labels, inputs = canaries(tmp_path)
    capture = Capture()
    with capture.running():
        execute(plan, run_dir=tmp_path / "run", engine=ray_engine)
    assert capture.dropped == 0
    assert capture.found([b"pixel_values"]) == 0
    assert capture.found(inputs) == 0
    if topology == "u_shape":
        assert capture.found(labels) == 0
    else:
        assert capture.found(labels) > len(labels) // 4
