"""Networks of namespaces leave nothing, also those that were killed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cluster.network import Network, can_make_networks

CODE = """
import os, signal
from tests.cluster.network import Network
Network(("one", "two"), 1e6, 0.0).__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""


def spaces(process: int) -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    names = {line.split()[0] for line in listed.stdout.splitlines()}
    return {name for name in names if name.startswith(f"gaisnet-{process}-")}


@pytest.mark.skipif(not can_make_networks(), reason="namespaces are for root")
def test_what_a_killed_process_has_left_behind_is_removed_by_the_next_network():
    with subprocess.Popen([sys.executable, "-c", CODE]) as killed:
        killed.wait(60)
    assert len(spaces(killed.pid)) == 3
    with Network(("one",), 1e6, 0.0):
        assert spaces(killed.pid) == set()
        assert len(spaces(os.getpid())) == 2
    assert spaces(os.getpid()) == set()
