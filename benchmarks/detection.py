"""How long it takes until a device that is gone is found, from the fault on: it is killed, frozen,
cut off from one that sends to it, or from everybody, while frames go back and forth.

Three machines are network namespaces behind links of 50 Mbit/s and 5 ms (root alone may make them),
each a ``gaisnet join`` with credentials; whoever runs the plan waits 2 s for a sign of life, as for
every plan whose steps take less than two thirds of a second.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.files import canonical_json
from gaisnet.schema.profile import Profile
from tests.cluster.network import Network, can_make_networks
from tests.cluster.nodes import Cluster

NAMES = ("head", "sender", "receiver")
HEAD, SENDER, RECEIVER = NAMES
BITS_PER_S, LATENCY_S = 50e6, 0.005
SILENCE_S, WORK_S = 2.0, 20.0
SETTLE_S = 1.5
"""Frames go back and forth for so long before the fault, and a little longer each time, so that
it strikes at another moment between two signs of life."""
ITEMS = 50_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--driver", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.driver:
        watch(*options.driver)
        return
    if not can_make_networks():
        print("only root may make networks, with ip and tc")
        return
    print(f"seconds from the fault until it is found; the bound is {SILENCE_S:.3g}")
    for fault, found_s in measure(repeats=options.repeats).items():
        print(f"{fault}: median {statistics.median(found_s):.2f}, most {max(found_s):.2f}")


def measure(*, repeats: int = 5) -> dict[str, list[float]]:
    """Seconds by fault."""
    with tempfile.TemporaryDirectory() as made, Network(NAMES, BITS_PER_S, LATENCY_S) as network:
        folder = Path(made)
        profile = folder / "profile.json"
        profile.write_text(canonical_json(Profile(device=preset(preset_names()[0]))))
        with Cluster(network, dict.fromkeys(NAMES, profile), folder, ["--inline"]) as cluster:
            return _measure(network, cluster, repeats)


def _measure(network: Network, cluster: Cluster, repeats: int) -> dict[str, list[float]]:
    words = [sys.executable, "-m", "benchmarks.detection", "--driver", cluster.address]
    command = network.command(HEAD, [*words, str(cluster.credentials(HEAD))])
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    faults: dict[str, tuple[Callable[[int], None], Callable[[int], None]]] = {
        "kill": (_signals(signal.SIGKILL), lambda process: None),
        "freeze": (_signals(signal.SIGSTOP), _signals(signal.SIGKILL)),
        "link cut": (_cuts(network, [SENDER]), _mends(network, [SENDER])),
        "machine cut": (_cuts(network, [SENDER, HEAD]), _mends(network, [SENDER, HEAD])),
    }
    found: dict[str, list[float]] = {}
    try:
        for number in range(repeats):
            for fault, (strike, mend) in faults.items():
                process = int(_told(driver))
                time.sleep(SETTLE_S + number * SILENCE_S / 8 / repeats)
                began = time.monotonic()
                strike(process)
                found.setdefault(fault, []).append(float(_told(driver)) - began)
                print(f"  {fault:12s} {found[fault][-1]:.2f}", flush=True)
                mend(process)
                _tell(driver)
    finally:
        driver.kill()
        driver.wait(10)
    return found


def _signals(number: signal.Signals) -> Callable[[int], None]:
    return lambda process: os.kill(process, number)


def _cuts(network: Network, others: list[str]) -> Callable[[int], None]:
    return lambda process: network.cut(RECEIVER, others)


def _mends(network: Network, others: list[str]) -> Callable[[int], None]:
    return lambda process: network.mend(RECEIVER, others)


def _told(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout is not None
    return driver.stdout.readline()


def _tell(driver: subprocess.Popen[str]) -> None:
    assert driver.stdin is not None
    driver.stdin.write("\n")
    driver.stdin.flush()


def watch(address: str, credentials: str) -> None:
    """The driver's part, on the head's machine: says whom to strike, and when it was found."""
    from gaisnet.joining import use_credentials
    from gaisnet.nodes.settings import prepare

    use_credentials(Path(credentials), False)
    prepare(private=False, inline=True)
    from gaisnet.executor.blueprints import ProbeBlueprint
    from gaisnet.executor.engines import Address
    from gaisnet.executor.engines.base import LostDeviceError
    from gaisnet.executor.engines.ray.engine import RayEngine
    from gaisnet.executor.engines.ray.patience import Patience
    from gaisnet.executor.probe import PROBE

    engine = RayEngine(
        [SENDER, RECEIVER], address=address, patience=Patience(SILENCE_S, WORK_S), threads=1
    )
    here, there = Address(SENDER, PROBE), Address(RECEIVER, PROBE)
    while True:
        for each in (here, there):
            engine.place(each, ProbeBlueprint(device=each.device, run="r"))
        engine.settle()
        print(engine.processes()[RECEIVER], flush=True)
        try:
            while True:
                (parcel,) = engine.call(here, "make", RECEIVER, ITEMS, makes=1).parcels
                sent = engine.send(parcel, there)
                _ = engine.call(there, "take", 1.0, parcels=[sent]).values
        except LostDeviceError as error:
            found_s, named = time.monotonic(), error.where
            sys.stderr.write(f"{error.message}\n")
            if named != RECEIVER:
                raise
            print(found_s, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
