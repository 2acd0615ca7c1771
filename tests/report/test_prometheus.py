"""Figures for Prometheus, scraped over HTTP while a run goes on."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from gaisnet.errors import UsageError
from gaisnet.executor.run import execute
from gaisnet.report.prometheus import RunFigures
from gaisnet.schema.run import Event, RoundMetrics
from gaisnet.testing import write_small_job


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_a_run_is_scraped_while_it_goes_on(tmp_path: Path) -> None:
    figures, port, seen = RunFigures(), free_port(), []

    def scrape(event: Event) -> None:
        if event.kind in ("round_closed", "run_done"):
            seen.append(scraped(port))

    with figures.served(port):
        plan = write_small_job(tmp_path, rounds=2)
        result = execute(plan, run_dir=tmp_path / "run", on_event=scrape, watchers=[figures])
    first, second, last = seen
    assert (first["gaisnet_rounds_total"], second["gaisnet_rounds_total"]) == (1.0, 2.0)
    assert first["gaisnet_train_loss"] == result.metrics[0].train_loss
    assert second["gaisnet_train_loss"] == result.metrics[1].train_loss
    assert second['gaisnet_round_seconds_count{clock="wall"}'] == 2.0
    virtual_s = sum(metrics.virtual_s for metrics in result.metrics)
    assert second['gaisnet_round_seconds_sum{clock="virtual"}'] == pytest.approx(virtual_s)
    link = '{receiver="edge-0",sender="owner-b"}'
    sent = [t for m in result.metrics for t in m.traffic]
    bytes_sent = [t.frame_bytes for t in sent if (t.sender, t.receiver) == ("owner-b", "edge-0")]
    assert second[f"gaisnet_link_bytes_total{link}"] == sum(bytes_sent)
    assert last['gaisnet_requests_total{service="ask"}'] == result.services[0].requests
    with pytest.raises(OSError, match="refused"):
        scraped(port)


def test_rejections_and_lost_devices_are_counted() -> None:
    figures, port = RunFigures(), free_port()
    with figures.served(port):
        figures.round_measured(
            RoundMetrics(round=0, predicted_s=1.0, virtual_s=1.0, wall_s=1.0, rejected={"a": "NaN"})
        )
        figures.told(Event(sequence=0, kind="device_lost", device="b"))
        found = scraped(port)
    assert found['gaisnet_updates_rejected_total{device="a"}'] == 1.0
    assert found['gaisnet_devices_lost_total{device="b"}'] == 1.0


def test_only_loopback_is_listened_on() -> None:
    port = free_port()
    with RunFigures().served(port):
        listening = [
            line.split()[1]
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_port_that_is_taken_is_the_users_mistake() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}"), RunFigures().served(port):
            pass
