"""What a round costs whoever coordinates it, by the number of simulated devices.

Clusters of ten owners and two stage holders, ten clusters to an edge, a tiny vision transformer;
the embedded engine, since only what is sent counts here. Printed for one round: calls and frames
that the driver issues itself, the bytes of the edges' reports to it (the JSON that crosses on other
engines), the most frames of modules that one edge's coordinator has at once, and by how much the
memory of the whole simulation (every device is in this process) grew in its second round.

    OMP_NUM_THREADS=1 python -m benchmarks.coordinator [--devices 10,100,1000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic_core import to_jsonable_python

from gaisnet.executor.conductor import CONDUCTOR
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.engines import Address, LocalEngine
from gaisnet.executor.engines.base import Parcel, Reply
from gaisnet.executor.planfiles import read_plan
from gaisnet.executor.session import Session
from gaisnet.schema.plan import ClusterPlan
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

_OWNERS, _CLUSTERS = 10, 10
"""Owners of a cluster, clusters of an edge, at most."""


class _Counting(LocalEngine):
    """Knows who issues what: the driver, or an edge that conducts its clusters."""

    def __init__(self) -> None:
        super().__init__()
        self.start()

    def start(self) -> None:
        """Count from here."""
        self.calls = self.frames = self.report_bytes = 0
        self.held, self.most = Counter[str](), Counter[str]()
        self._conducting = False

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        self.calls += not self._conducting
        if address.service == COORDINATOR:
            self._hold(address.device, method, parcels)
        if address.service != CONDUCTOR:
            return super().call(address, method, *arguments, parcels=parcels, makes=makes)
        self._conducting = True
        reply = super().call(address, method, *arguments, parcels=parcels, makes=makes)
        self._conducting = False
        self.report_bytes += len(json.dumps(to_jsonable_python(reply.values)))
        return reply

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        self.frames += not self._conducting
        return super().send(parcel, receiver)

    def _hold(self, edge: str, method: str, parcels: Sequence[Parcel]) -> None:
        """Frames that came in since the cluster before was closed."""
        if method == "close_cluster":
            self.held[edge] = 0
        self.held[edge] += sum(parcel.frame_bytes for parcel in parcels)
        self.most[edge] = max(self.most[edge], self.held[edge])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="10,100,1000")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| devices | edges | calls | frames | reports, KB | KB a device | held, KB | grew, MB |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for devices in map(int, options.devices.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            print(row(devices, Path(folder)), flush=True)


def row(devices: int, folder: Path) -> str:
    """One line of the table."""
    clusters = fleet(devices)
    files = read_plan(write_job(folder, clusters, evaluate=False, rounds=2, local_steps=1))
    engine = _Counting()
    session = Session(files, engine, "benchmark", 0, 2)
    session.round(0)
    engine.start()
    before = psutil.Process().memory_info().rss
    session.round(1)
    grew = psutil.Process().memory_info().rss - before
    edges = len({each.edge for each in clusters})
    kilobytes = engine.report_bytes / 1e3
    held = max(engine.most.values()) / 1e3
    return (
        f"| {devices} | {edges} | {engine.calls} | {engine.frames} | {kilobytes:.1f} | "
        f"{kilobytes / devices:.2f} | {held:.0f} | {grew / 1e6:.1f} |"
    )


def fleet(devices: int) -> list[ClusterPlan]:
    """Clusters of so many owners together, each with its edge and one of the owners as stages."""
    made = []
    for number in range(-(-devices // _OWNERS)):
        owners = {f"d{n}": 8 for n in range(_OWNERS * number, min(devices, _OWNERS * (number + 1)))}
        edge = f"edge-{number // _CLUSTERS}"
        body = [next(iter(owners)), edge]
        made.append(cluster(f"c{number}", owners, [1, 2, 4], devices=body, edge=edge))
    return made


if __name__ == "__main__":
    main()
