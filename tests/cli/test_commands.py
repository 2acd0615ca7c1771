"""The three commands, report and doctor on a small real job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gaisnet.report import read_run
from gaisnet.schema.files import canonical_json, read_model
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import Profile
from tests.cli.bench import Answer, gaisnet

Here = Callable[..., Answer]


def test_profile_writes_what_it_prints(profiled: tuple[Path, Answer]) -> None:
    folder, answer = profiled
    made = read_model(folder / "profile.json", Profile)
    assert answer.out == canonical_json(made) == (folder / "profile.json").read_text()
    assert made.model is not None
    assert [unit.kind for unit in made.model.units] == ["prologue"] + 3 * ["block"] + ["epilogue"]
    assert made.model.tunable.kind == "lora"
    assert "layers.2" in answer.err
    assert "%|" not in answer.err


def test_plan_writes_what_it_prints_and_the_same_again(planned: tuple[Path, Answer]) -> None:
    folder, answer = planned
    text = (folder / "plan.json").read_text()
    assert answer.out == canonical_json(read_model(folder / "plan.json", Plan)) == text
    assert "Who holds what" in answer.err


def test_planning_again_gives_the_same_bytes(here: Here, bench: Path) -> None:
    text = (bench / "plan.json").read_text()
    again = here("plan", "job.yaml", "-o", "plan.json", "--force", "-q")
    assert (again.code, again.out, again.err) == (0, "", "")
    assert (bench / "plan.json").read_text() == text


def test_plan_takes_scheme_clusters_objective_and_seed(here: Here) -> None:
    options = ("--scheme", "sfl-v2", "--clusters", "1", "--objective", "latency", "--seed", "7")
    answer = here("plan", "job.yaml", *options, "--format", "json", "-q")
    assert answer.code == 0, answer.err
    made = Plan.model_validate_json(answer.out)
    assert (made.scheme, made.objective, made.seed) == ("sfl-v2", "latency", 7)
    assert len(made.clusters) == 1


def test_execute_tells_rounds_and_leaves_a_report(here: Here, bench: Path) -> None:
    answer = gaisnet("execute", "plan.json", "-o", "run", "--format", "json", cwd=bench)
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    record = read_run(bench / "run")
    assert document["manifest"] == record.manifest.model_dump(mode="json")
    assert record.manifest.status == "done"
    assert len(document["rounds"]) == 2
    assert "round 2: loss" in answer.err
    assert "accuracy by round" in (bench / "run" / "report.html").read_text()
    assert (bench / "run" / document["manifest"]["adapters"]["general"]).is_dir()
    shown = here("report", "run", "-o", "page.html")
    assert shown.code == 0
    assert "2 of 2 rounds" in shown.out
    assert (bench / "page.html").read_text() == (bench / "run" / "report.html").read_text()


def test_doctor_shows_the_environment_and_proves_a_models_splits(here: Here) -> None:
    answer = here("doctor", "--model", "vit", "--format", "json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["versions"]["torch"]
    assert found["memory_bytes"] > 0
    assert found["split"]["ok"]
    assert found["split"]["n_units"] == 5


def test_doctor_says_what_each_device_of_a_plan_would_compute_on(here: Here) -> None:
    answer = here("doctor", "--plan", "plan.json", "--format", "json")
    assert answer.code == 0, answer.err
    findings = json.loads(answer.out)["findings"]
    assert {finding["check"] for finding in findings} == {"compute"}
    assert {finding["found"] for finding in findings} == {"cpu"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model", "vit", "--plan", "plan.json"), "--model takes no --plan"),
        (("--plan", "plan.json", "--insecure"), "--insecure belongs to --address"),
        (("--credentials", "vit"), "--credentials belongs to --address"),
    ],
    ids=["two", "loopback", "nobody"],
)
def test_doctor_refuses_what_does_not_go_together(
    here: Here, options: tuple[str, ...], told: str
) -> None:
    answer = here("doctor", *options)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


def test_the_catalogue_is_listed(here: Here) -> None:
    answer = here("profile", "--list-presets", "--format", "json", "-q")
    names = [part["name"] for part in json.loads(answer.out)["presets"]]
    assert "raspberry-pi-5-8gb" in names
    assert names == sorted(names)


@pytest.mark.parametrize("command", ["profile", "plan", "execute", "report", "doctor"])
def test_every_command_explains_itself(here: Here, command: str) -> None:
    answer = here(command, "--help")
    assert answer.code == 0
    for option in ("--format", "--quiet", "--help"):
        assert option in answer.out


def test_the_version_and_shell_completion_are_there() -> None:
    assert gaisnet("--version").out.startswith("gaisnet 0.")
    completion = gaisnet(_GAISNET_COMPLETE="complete_bash", COMP_WORDS="gaisnet pr", COMP_CWORD="1")
    assert "profile" in completion.out
