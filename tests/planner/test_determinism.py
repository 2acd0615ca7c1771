"""A plan's bytes depend on its inputs alone: not on hashes, threads, folders or processors."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gaisnet.schema.fleet import Fleet, Link
from tests.planner.factory import LINKS, make_device, make_job, make_model, write_files

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from gaisnet.planner import plan
from gaisnet.schema.files import canonical_json
sys.stdout.write(canonical_json(plan(sys.argv[1], clusters=3)))
"""
SURROUNDINGS = {
    "hashes": {"PYTHONHASHSEED": "4242"},
    "threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    "locale": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"},
    "numpy-without-avx": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "oldest-blas": {"OPENBLAS_CORETYPE": "Prescott"},
}
OWNERS = 13
"""More than the clustering's proof takes, so that k-means and its repair decide."""


def uneven_fleet() -> Fleet:
    """Figures with many digits, so that sums round."""
    draw = random.Random(3)
    devices = [
        make_device(
            f"d{i}",
            flops_per_s=1e9 * draw.uniform(0.3, 3.0),
            memory_bytes=int(draw.uniform(5_000, 12_000)),
            samples=draw.randint(20, 80),
            joules_per_flop=1e-9 * draw.uniform(0.5, 2.0),
        )
        for i in range(OWNERS)
    ]
    edge = make_device("edge0", "edge", flops_per_s=7.7e9, memory_bytes=90_000)
    links = [
        Link(
            between=(f"d{i}", "edge0"),
            bandwidth_bits_per_s=8e6 * draw.uniform(0.3, 3.0),
            latency_s=0.002 * draw.uniform(0.5, 2.0),
        )
        for i in range(OWNERS)
    ]
    return Fleet(devices=(*devices, edge), links=(*links, *LINKS))


def planned(job: Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, os.path.relpath(job, cwd)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", **environment},
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    services = [{"id": "s0", "rate_per_s": 1.3}, {"id": "s1", "rate_per_s": 0.7, "origin": "d1"}]
    tuning = {"batch_size": 8, "local_steps": 3, "microbatches": 2}
    made = make_job(services=services, fine_tuning=tuning)
    return write_files(tmp_path_factory.mktemp("job"), made, uneven_fleet(), make_model(7))


@pytest.fixture(scope="module")
def expected(job: Path) -> str:
    return planned(job, ROOT)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_plans_are_the_same_bytes_in_other_surroundings(
    job: Path, expected: str, name: str
) -> None:
    assert planned(job, job.parent, **SURROUNDINGS[name]) == expected
