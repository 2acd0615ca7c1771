"""Messages between two devices over a link with latency, beside raw TCP over the same link.

Two namespaces, 100 Mbit/s and 20 ms each way (``tests/cluster``), two nodes that have joined with
credentials and ``--inline``. A message is 1.2 MB and its receipt; raw TCP sends the same and gets
one byte, on a connection that is warm. Wall time, medians. It takes root, with ``ip`` and ``tc``.

    python -m benchmarks.latency
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.files import canonical_json
from gaisnet.schema.profile import Profile
from tests.cluster.network import Network, can_make_networks
from tests.cluster.nodes import Cluster, environment

MESSAGE_BYTES, TIMES, WARM = 1_200_000, 25, 5
BITS_PER_S, DELAY_S, TARGET = 100e6, 0.020, 1.1
NAMES = ("one", "two")
_PORT = 7001

_RAY = """
import json, sys
from pathlib import Path
from gaisnet.joining import use_credentials
use_credentials(Path(sys.argv[2]), False)
from gaisnet.nodes.settings import prepare
prepare(private=False, inline=True)
from gaisnet.executor.engines.ray.engine import RayEngine
engine = RayEngine(["one", "two"], address=sys.argv[1])
found = engine.time_link("one", "two", int(sys.argv[3]), times=int(sys.argv[4]))
engine.close()
print(json.dumps(found))
"""
_TAKE = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as listener:
    connection, _ = listener.accept()
    got = 0
    while more := len(connection.recv(1 << 20)):
        got += more
        if got == int(sys.argv[3]):
            got = 0
            connection.sendall(b"k")
"""
_GIVE = """
import json, socket, sys, time
until, taken = time.monotonic() + 20, []
while True:
    try:
        here = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        break
    except OSError:
        assert time.monotonic() < until
        time.sleep(0.1)
content = bytes(int(sys.argv[3]))
for _ in range(int(sys.argv[4])):
    started = time.perf_counter()
    here.sendall(content)
    here.recv(1)
    taken.append(time.perf_counter() - started)
print(json.dumps(taken))
"""


def main() -> None:
    """Measure and print."""
    if not can_make_networks():
        print("not run: namespaces can be made by root alone, with ip and tc")
        return
    with tempfile.TemporaryDirectory() as folder, Network(NAMES, BITS_PER_S, DELAY_S) as network:
        profile = Path(folder) / "me.json"
        profile.write_text(canonical_json(Profile(device=preset(preset_names()[0]))))
        profiles = dict.fromkeys(NAMES, profile)
        with Cluster(network, profiles, Path(folder), ["--inline"]) as cluster:
            turns = [_raw(network), _ray(cluster), _raw(network), _ray(cluster)]
    raw_s, ray_s = (
        statistics.median(one + two) for one, two in zip(turns[:2], turns[2:], strict=True)
    )
    floor_s = 8 * MESSAGE_BYTES / BITS_PER_S + 2 * DELAY_S
    verdict = "met" if ray_s <= TARGET * raw_s else "missed"
    print(
        f"1.2 MB and its receipt over 100 Mbit/s and 20 ms each way; by the figures {floor_s:.4f} s"
    )
    print(f"  raw TCP {raw_s:.4f} s, between devices {ray_s:.4f} s")
    print(f"  ratio {ray_s / raw_s:.3f}, target at most {TARGET}: {verdict}")


def _raw(network: Network) -> list[float]:
    place = [network.address("two"), str(_PORT), str(MESSAGE_BYTES)]
    taking = subprocess.Popen(network.command("two", [sys.executable, "-c", _TAKE, *place]))
    words = [sys.executable, "-c", _GIVE, *place, str(TIMES + WARM)]
    found = _output(network, words)
    taking.wait(60)
    return found


def _ray(cluster: Cluster) -> list[float]:
    shown = [cluster.address, str(cluster.credentials("one"))]
    words = [sys.executable, "-c", _RAY, *shown, str(MESSAGE_BYTES), str(TIMES + WARM)]
    return _output(cluster.network, words)


def _output(network: object, words: list[str]) -> list[float]:
    """What a command on the first machine prints, less the first times."""
    assert isinstance(network, Network)
    told = subprocess.run(
        network.command("one", words),
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
    )
    found: list[float] = json.loads(told.stdout.splitlines()[-1])
    return found[WARM:]


if __name__ == "__main__":
    main()
