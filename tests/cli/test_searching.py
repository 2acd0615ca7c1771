"""A search from the command line: front, plans and jobs that the other commands take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gaisnet.schema.files import canonical_json, read_model
from gaisnet.schema.front import Front
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import Profile
from tests.cli.bench import Answer, gaisnet

Here = Callable[..., Answer]
SPACE = {
    "clusters": [1, 2],
    "min_head_units": [1],
    "batch_size": [4, 8],
    "compression": ["none", "int8"],
    "local_steps": [2],
    "cloud_every": [1],
}
MODEL = ("vit", "--rank", "2", "--targets", "q_proj,v_proj", "--no-times", "--model-only")


def with_space(bench: Path, **changes: object) -> None:
    job = yaml.safe_load((bench / "job.yaml").read_text())
    job["search"] = {"space": SPACE | changes}
    (bench / "job.yaml").write_text(yaml.safe_dump(job))


def test_a_search_writes_its_front_and_every_plan_of_it(here: Here, bench: Path) -> None:
    with_space(bench)
    names = ("--front", "front.json", "--front-dir", "front", "-o", "best.json", "--pick", "bytes")
    answer = here("plan", "job.yaml", "--search", "16", *names, "--format", "json")
    assert answer.code == 0, answer.err
    front = read_model(bench / "front.json", Front)
    assert answer.out == canonical_json(front) == (bench / "front.json").read_text()
    assert "the front is exact" in answer.err
    written = sorted(path.name for path in (bench / "front").iterdir())
    assert written == sorted(point.id for point in front.points)
    for point in front.points:
        made = read_model(bench / "front" / point.id / "plan.json", Plan)
        assert made.clusters == point.clusters
        again = here("plan", f"front/{point.id}/job.json", "-o", f"front/{point.id}/again.json")
        assert again.code == 0, again.err
        text = (bench / "front" / point.id / "again.json").read_text()
        assert text == (bench / "front" / point.id / "plan.json").read_text()
    best = next(point for point in front.points if point.id == front.picked)
    assert read_model(bench / "best.json", Plan).clusters == best.clusters
    least = min(point.measures.payload_bytes for point in front.points)
    assert best.measures.payload_bytes == pytest.approx(least)


def test_a_picked_plan_of_another_rank_is_executed_as_it_is(here: Here, bench: Path) -> None:
    counted = here("profile", *MODEL, "--ranks", "2,4", "-o", "profile.json", "--force")
    assert counted.code == 0, counted.err
    made = read_model(bench / "profile.json", Profile)
    assert made.model is not None
    assert [part.r for part in made.model.ranks] == [4]
    with_space(bench, rank=[4], clusters=[1])
    answer = here("plan", "job.yaml", "--search", "8", "-o", "best.json", "-q")
    assert answer.code == 0, answer.err
    ran = gaisnet("execute", "best.json", "-o", "run", "--rounds", "1", "-q", cwd=bench)
    assert ran.code == 0, ran.err
    adapter = json.loads(
        (bench / "run" / "adapters" / "general" / "adapter_config.json").read_text()
    )
    assert adapter["r"] == 4


def test_a_search_shows_its_front_and_report_shows_it_again(here: Here, bench: Path) -> None:
    with_space(bench)
    answer = here("plan", "job.yaml", "--search", "3", "--front", "front.json")
    assert answer.code == 0, answer.err
    assert "sampled by NSGA-II" in answer.out
    assert "picked by knee" in answer.out
    assert "--ranks" in answer.out
    shown = here("report", "front.json")
    assert shown.code == 0, shown.err
    assert shown.out == answer.out
    assert here("report", "front.json", "-o", "front.html").code == 0
    assert "p0" in (bench / "front.html").read_text()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--pick", "time"), "--pick belongs to --search"),
        (("--storage", "sqlite:///x.db"), "--storage belongs to --search"),
        (("--search", "2", "--front", "job.yaml"), "exists"),
        (("--search", "2", "--storage", "nonsense"), "nonsense"),
        (("--search", "0"), "--search"),
    ],
)
def test_searches_that_cannot_be_are_refused(
    here: Here, bench: Path, options: tuple[str, ...], word: str
) -> None:
    answer = here("plan", "job.yaml", *options, "-o", "new.json")
    assert answer.code in (2, 10)
    assert word in answer.err
    assert not (bench / "new.json").exists()


def test_a_time_limit_is_marked(here: Here) -> None:
    answer = here("plan", "job.yaml", "--time-limit", "60", "--format", "json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["reproducible"] is False
    assert "wall-clock limit" in answer.err
