"""Programs that have imported Ray, or used it, before they ask for an engine on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executor.engines.loopback import LIMIT_S, environment

pytestmark = pytest.mark.timeout(600)

_IMPORTED = "import ray"
_USED = """
import ray

from gaisnet.errors import RunError
from gaisnet.executor.engines import make_engine

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
before = dict(os.environ)
try:
    make_engine("ray", ["a"])
except RunError as error:
    told.append(error.message)
assert dict(os.environ) == before
ray.shutdown()
"""
_PROGRAM = """
import ipaddress
import json
import os
import sys

told = []
{before}

import psutil

from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address, make_engine
from gaisnet.executor.probe import PROBE
from tests.executor.engines.test_listening import listening

engine = make_engine("ray", ["a", "b"])
try:
    a, b = (Address(device, PROBE) for device in "ab")
    for address in (a, b):
        engine.place(address, ProbeBlueprint(device=address.device, run="r"))
    (parcel,) = engine.call(a, "make", "b", 4, makes=1).parcels
    found = engine.call(b, "take", 1.0, parcels=[engine.send(parcel, b)]).values["sum"]
    places = listening([psutil.Process(), *psutil.Process().children(recursive=True)])
    open_to_all = [each for each in places if not ipaddress.ip_address(each[1]).is_loopback]
finally:
    engine.close()
sys.stdout.write(json.dumps([told, found, open_to_all]))
"""


@pytest.mark.parametrize(
    ("before", "told"),
    [(_IMPORTED, []), (_USED, ["Ray is in use in this process already"])],
    ids=["imported", "used"],
)
def test_the_engine_starts_as_private_as_ever(tmp_path: Path, before: str, told: list[str]):
    """Ray reads most of its settings when it is imported; its own token is another one, too."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(before=before)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=environment(home=tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [told, 4.0, []]
