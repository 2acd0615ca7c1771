"""A fleet whose figures are wrong is put right by a run of the fleet as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gaisnet.schema.files import canonical_json, read_lines, read_model
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import RoundMetrics
from gaisnet.schema.run_calibration import Calibration
from tests.cli.bench import Answer, fleet, gaisnet, job, write_yaml

Here = Callable[..., Answer]


def true_fleet() -> dict[str, Any]:
    """The phone is 2.5 times slower than the fleet's file believes, its links 3 times."""
    true = fleet()
    figures = true["devices"][0]["figures"]
    true["devices"][0]["figures"] = figures | {"flops_per_s": figures["flops_per_s"] / 2.5}
    true["links"][0] |= {"bandwidth_bits_per_s": 3e7, "latency_s": 0.003}
    return true


@pytest.fixture
def ran(bench: Path) -> Path:
    """The run of the true fleet lies in ``run``."""
    write_yaml(bench / "true-fleet.yaml", true_fleet())
    split = {"scheme": "sfl-v2", "fleet": "true-fleet.yaml"}
    write_yaml(bench / "true.yaml", job(rounds=3) | split)
    write_yaml(bench / "job.yaml", job(rounds=3) | {"scheme": "sfl-v2"})
    planned = gaisnet("plan", "true.yaml", "-o", "true.json", "-q", cwd=bench)
    assert planned.code == 0, planned.err
    done = gaisnet("execute", "true.json", "-o", "run", "-q", cwd=bench)
    assert done.code == 0, done.err
    return bench


def test_a_calibration_recovers_the_true_figures_and_betters_the_plan(
    here: Here, ran: Path
) -> None:
    believed = here("plan", "job.yaml", "-o", "believed.json", "-q")
    assert believed.code == 0, believed.err
    answer = here("plan", "job.yaml", "--calibrate", "run", "-o", "c.json", "--format", "json")
    assert answer.code == 0, answer.err
    found = read_model(ran / "c.json", Calibration)
    assert answer.out == canonical_json(found)
    factors = {fit.device: fit.factor for fit in found.devices}
    assert factors == pytest.approx({"phone": 2.5, "board": 1.0, "edge-0": 1.0})
    way = next(fit for fit in found.links if (fit.sender, fit.receiver) == ("phone", "edge-0"))
    assert way.latency_s == pytest.approx(0.003)
    assert way.bandwidth_bits_per_s == pytest.approx(3e7)
    times = found.round_times
    assert abs(times.calibrated_s - times.measured_s) < abs(times.predicted_s - times.measured_s)
    assert "predicted" in answer.err
    fitted = here("plan", "job.yaml", "--calibration", "c.json", "-o", "fitted.json", "-q")
    assert fitted.code == 0, fitted.err
    plans = [read_model(ran / f"{n}.json", Plan) for n in ("true", "believed", "fitted")]
    true_s, believed_s, fitted_s = (plan.predictions.round_s for plan in plans)
    assert fitted_s == pytest.approx(true_s)
    assert believed_s < 0.8 * true_s
    assert plans[2].clusters == plans[0].clusters
    assert plans[2].inputs.calibration is not None
    again = gaisnet("execute", "fitted.json", "-o", "again", "--rounds", "1", "-q", cwd=ran)
    assert again.code == 0, again.err
    one = read_lines(ran / "again" / "metrics.jsonl", RoundMetrics)[0]
    assert one.virtual_s == pytest.approx(found.round_times.measured_s)
    (ran / "c.json").write_text(canonical_json(found.model_copy(update={"rounds": 9})))
    assert here("execute", "fitted.json", "-o", "third", "-q").code == 14


def test_the_devices_own_clocks_can_be_asked_for(here: Here, ran: Path) -> None:
    answer = here("plan", "job.yaml", "--calibrate", "run", "--clock", "wall", "--format", "json")
    assert answer.code == 0, answer.err
    found = Calibration.model_validate_json(answer.out)
    assert found.clock == "wall"
    assert found.links == ()
    assert any("links" in name for name in found.unseen)
    assert "one after the other" in answer.err
    for fit in found.devices:
        assert fit.round_times.measured_s > 0.0
    rounds = read_lines(ran / "run" / "metrics.jsonl", RoundMetrics)
    for metrics in rounds:
        assert sum(work.wall_s or 0.0 for work in metrics.work) <= metrics.wall_s


def test_what_cannot_be_calibrated_is_refused(here: Here, ran: Path) -> None:
    assert here("plan", "job.yaml", "--calibrate", "nowhere").code == 10
    assert here("plan", "job.yaml", "--clock", "wall").code == 2
    lines = (ran / "run" / "metrics.jsonl").read_text().splitlines()
    bare = [json.dumps(json.loads(line) | {"work": [], "moves": []}) for line in lines]
    (ran / "run" / "metrics.jsonl").write_text("\n".join(bare) + "\n")
    answer = here("plan", "job.yaml", "--calibrate", "run")
    assert answer.code == 10
    assert "has not recorded" in answer.err
