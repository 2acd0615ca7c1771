"""What ``gaisnet plan`` can be asked for beyond a job: going on after a loss, bearing one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gaisnet.report import report_html
from gaisnet.schema.files import read_model
from gaisnet.schema.plan import Plan
from tests.cli.bench import Answer, fleet, write_yaml

Here = Callable[..., Answer]
REPLAN = ("plan", "--replan", "plan.json", "--lost")


def plan_in(bench: Path, name: str) -> Plan:
    return read_model(bench / name, Plan)


def test_a_plan_goes_on_without_a_lost_owner_and_runs(here: Here, bench: Path) -> None:
    done = here(*REPLAN, "phone", "-o", "new.json", "--bytes-weight", "2")
    assert done.code == 0, done.err
    assert "without phone: " in done.out
    found = plan_in(bench, "new.json")
    assert found.loss is not None
    assert (found.loss.lost, found.loss.bytes_weight) == (("phone",), 2.0)
    assert "phone" not in str(found.clusters)
    ran = here("execute", "new.json", "-o", "run", "--rounds", "1")
    assert ran.code == 0, ran.err
    assert (bench / "run" / "adapters").is_dir()


def test_a_plan_goes_on_without_its_edge_server_and_runs(here: Here, bench: Path) -> None:
    done = here(*REPLAN, "edge-0", "-o", "new.json", "--format", "json")
    assert done.code == 0, done.err
    found = Plan.model_validate_json(done.out)
    assert found == plan_in(bench, "new.json")
    assert found.clusters[0].edge in ("phone", "board")
    ran = here("execute", "new.json", "-o", "run", "--rounds", "1")
    assert ran.code == 0, ran.err


def test_every_single_loss_is_prepared_for_if_asked(here: Here, bench: Path) -> None:
    done = here("plan", "job.yaml", "--survive", "1", "-o", "new.json")
    assert done.code == 0, done.err
    assert "If a device is lost" in done.out
    found = plan_in(bench, "new.json")
    assert [fallback.lost for fallback in found.fallbacks] == ["board", "edge-0", "phone"]
    assert all(fallback.feasible for fallback in found.fallbacks)
    assert "If a device is lost" in report_html(found)


def test_a_fatal_loss_is_named_with_its_mend_and_12(here: Here, bench: Path) -> None:
    alone = fleet()
    alone["devices"] = [alone["devices"][0], alone["devices"][-1]]
    write_yaml(bench / "fleet.yaml", alone)
    done = here("plan", "job.yaml", "--survive", "1", "-o", "new.json", "--format", "json")
    assert done.code == 12
    assert "the loss of phone is fatal: no device of the fleet owns data" in done.err
    assert "→ without phone: give" in done.err
    fatal = [
        fallback.lost for fallback in plan_in(bench, "new.json").fallbacks if not fallback.feasible
    ]
    assert fatal == ["phone"]
    assert json.loads(done.out)["fallbacks"]


def test_two_plans_are_compared_decision_by_decision(here: Here, bench: Path) -> None:
    assert here(*REPLAN, "phone", "-o", "new.json", "-q").code == 0
    done = here("plan", "--diff", "plan.json", "new.json", "--format", "json")
    assert done.code == 0, done.err
    found = {d["what"]: d for d in json.loads(done.out)["decisions"] if d["differs"]}
    assert found["lost"]["second"] == "phone"
    assert found["device phone holds"]["second"] is None
    text = here("plan", "--diff", "plan.json", "new.json").out
    assert "Decided otherwise" in text
    assert "Predicted otherwise" in text


def test_a_plan_explains_itself_in_full_if_asked(here: Here, bench: Path) -> None:
    done = here("plan", "job.yaml", "--explain", "-o", "new.json")
    assert done.code == 0, done.err
    for title in ("What binds the plan", "What nearly was chosen", "What 25 % more would buy"):
        assert title in done.out
        assert title in report_html(plan_in(bench, "new.json"))
    assert plan_in(bench, "new.json").explanation.complete


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan",), "name a job"),
        (("plan", "job.yaml", "--replan", "plan.json"), "--replan takes no JOB"),
        (("plan", "--replan", "plan.json"), "--replan needs --lost"),
        (("plan", "job.yaml", "--lost", "phone"), "--lost belongs to --replan"),
        (("plan", "--diff", "plan.json", "plan.json", "--explain"), "--explain belongs to a job"),
        ((*REPLAN, "phone", "--scheme", "fl"), "--scheme belongs to a job"),
        ((*REPLAN, "ghost"), "no device ghost"),
        (("plan", "job.yaml", "--slack", "2"), "--slack"),
    ],
)
def test_what_does_not_go_together_is_refused_with_2(
    here: Here, arguments: tuple[str, ...], words: str
) -> None:
    done = here(*arguments)
    assert done.code == 2
    assert words in done.err


def test_a_plan_whose_fleet_has_changed_is_not_replanned(here: Here, bench: Path) -> None:
    with (bench / "fleet.yaml").open("a") as file:
        file.write("\n# edited\n")
    done = here(*REPLAN, "phone", "-o", "new.json")
    assert done.code == 14
    assert "fleet has changed" in done.err
