"""What listens, and where: on loopback alone, as long as nobody asks for more."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from gaisnet.executor.engines.ray.engine import RayEngine


def listening(processes: list[psutil.Process]) -> set[tuple[str, str]]:
    """Names of processes with the addresses that they listen on."""
    found = set()
    for process in processes:
        try:
            for each in process.net_connections(kind="inet"):
                if each.status == psutil.CONN_LISTEN:
                    found.add((process.name(), each.laddr.ip.removeprefix("::ffff:")))
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_private_cluster_listens_on_loopback_alone(ray_engine: RayEngine):
    own = psutil.Process()
    found = listening([own, *own.children(recursive=True)])
    assert {name for name, _ in found} >= {"gcs_server", "raylet"}
    strangers = {each for each in found if not ipaddress.ip_address(each[1]).is_loopback}
    assert strangers == set()
