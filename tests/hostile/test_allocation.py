"""A header that claims more than there is allocates nothing for it."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from gaisnet.wire import FrameError, unpack

ROOT = Path(__file__).parents[2]
HUGE = 2**60
READERS = ("frame", "checkpoint-tensors", "shard-tensors", "shard-tokens", "leakage-sample")


def claims() -> dict[str, bytes]:
    """Files of some hundred bytes that speak of 2^60."""
    header = {"gaisnet": '{"run": "r", "kind": "modules", "sender": "a", "receiver": "b"}'}
    found = {"table": HUGE.to_bytes(8, "little") + b"{}", "most": b"\xff" * 16}
    for name, shape, offsets in (
        ("tensor", [HUGE], [0, 4 * HUGE]),
        ("product", [2**30, 2**30], [0, 4 * HUGE]),
        ("overflow", [2**33, 2**33], [0, 0]),
        ("offsets", [1], [HUGE, HUGE + 4]),
    ):
        entry = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        table = json.dumps({"__metadata__": header, "pixel_values": entry}).encode()
        found[name] = len(table).to_bytes(8, "little") + table + bytes(4)
    return found


@pytest.mark.parametrize("claim", claims())
def test_a_frame_is_refused_before_anything_is_allocated_for_it(claim: str):
    frame = claims()[claim]
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            unpack(frame)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20


LIMITED = """
import resource, sys
from pathlib import Path
from fuzz.targets import TARGETS

readers = [TARGETS[name] for name in sys.argv[2:]]
for target in readers:
    target(b"{}")  # whatever is loaded at first use
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 64 * 2**20,) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    for target in readers:
        target(path.read_bytes())
try:
    bytearray(128 * 2**20)
except MemoryError:
    sys.stdout.write("bounded")
"""


def test_no_reader_of_tensors_takes_memory_that_is_only_claimed(tmp_path: Path):
    """Within 64 MiB more address space than before, which the end shows to be a bound."""
    for name, content in claims().items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), *READERS],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "bounded"), done.stderr
