"""The joint search: its front is what planning every combination by itself gives."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest

from gaisnet.errors import InfeasibleError, InputError, UsageError
from gaisnet.planner import plan, read_inputs
from gaisnet.planner.search import search
from gaisnet.planner.search.bounds import least_measures
from gaisnet.planner.search.evaluate import Evaluator
from gaisnet.planner.search.front import dominates
from gaisnet.planner.search.measures import FIELDS, leakage_of, values_of
from gaisnet.planner.search.space import search_space
from gaisnet.schema.files import canonical_json, read_model, sha256_file
from gaisnet.schema.front import Front, Setting
from gaisnet.schema.job import Job, Measure
from gaisnet.schema.plan import Plan
from tests.planner.factory import make_model
from tests.planner.search.small import SPACE, leakage_rows, ranked_model, small_job


def by_hand(path: Path, setting: dict[str, Any]) -> tuple[Plan, dict[str, float]] | None:
    """The plan of a combination whose settings are written into the job's file, and what it takes
    by the plan's own predictions."""
    job = read_model(path, Job)
    tuning = job.fine_tuning.model_copy(update={"batch_size": setting["batch_size"]})
    limits = job.constraints.model_copy(update={"min_head_units": setting["min_head_units"]})
    number = job.clustering.model_copy(update={"clusters": setting["clusters"]})
    changed = {"fine_tuning": tuning, "constraints": limits, "clustering": number}
    other = path.with_name("other.json")
    job = job.model_copy(update=changed | {"objective": setting["objective"]})
    other.write_text(canonical_json(job))
    try:
        made = plan(other)
    except InfeasibleError:
        return None
    samples = 3 * 2 * setting["batch_size"]
    return made, {
        "time": made.predictions.round_s / samples,
        "bytes": sum(link.payload_bytes_per_round for link in made.predictions.links) / samples,
        "memory": sum(device.memory_bytes for device in made.predictions.devices),
        "interval": 2 * setting["batch_size"],
    }


def test_the_front_of_a_small_space_is_that_of_planning_everything_by_hand(tmp_path: Path) -> None:
    measures: list[Measure] = ["time", "bytes", "memory", "interval"]
    path = small_job(tmp_path, measures=measures)
    found = search(path, trials=16).front
    names = ("clusters", "objective", "min_head_units", "batch_size")
    every = [dict(zip(names, v, strict=True)) for v in product(*(SPACE[n] for n in names))]
    plans = {tuple(s.values()): by_hand(path, s) for s in every}
    vectors = {
        key: tuple(float(f"{made[1][name]:.9g}") for name in measures)
        for key, made in plans.items()
        if made is not None
    }
    expected = {v for v in vectors.values() if not any(dominates(w, v) for w in vectors.values())}
    got = [values_of(point.measures, measures) for point in found.points]
    assert set(got) == expected
    assert len(got) == len(expected)
    assert found.method == "enumeration"
    assert found.combinations == 16 == found.planned + found.pruned + found.infeasible
    assert found.infeasible == sum(made is None for made in plans.values()) > 0
    for point in found.points:
        made = plans[tuple(getattr(point.setting, name) for name in names)]
        assert made is not None
        assert point.clusters == made[0].clusters


@pytest.mark.parametrize("measures", [["memory", "interval"], ["interval"]])
def test_what_bounds_rule_out_would_not_have_been_on_the_front(
    tmp_path: Path, measures: list[Measure], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(5, leakage=leakage_rows(0.1, 0.3, 0.6, 0.9))
    path = small_job(tmp_path, model, measures=measures, space={"min_head_units": [1, 2]})
    pruned = search(path, trials=16).front
    monkeypatch.setattr(Evaluator, "_ruled_out", lambda self, least: None)
    every = search(path, trials=16).front
    assert {values_of(p.measures, measures) for p in pruned.points} == {
        values_of(p.measures, measures) for p in every.points
    }
    assert every.pruned == 0
    assert pruned.planned < every.planned


@pytest.mark.parametrize("intra", ["sequential", "merge"])
def test_bounds_undercut_every_plan(tmp_path: Path, intra: str) -> None:
    model = make_model(5, leakage=leakage_rows(0.1, 0.3, 0.6, 0.9))
    space = {"topology": ["u_shape", "vanilla"], "clusters": [2], "batch_size": [4]}
    path = small_job(
        tmp_path,
        model,
        space=space,
        fine_tuning={"batch_size": 8, "local_steps": 2, "intra": intra},
    )
    inputs = read_inputs(path)
    evaluator = Evaluator(inputs, ("time",), {})
    planned = 0
    for setting in search_space(inputs).settings():
        own = evaluator.inputs_of(setting)
        roster = evaluator.roster(own)
        least, found = least_measures(roster, setting), evaluator.outcome(setting).measures
        if found is None:
            continue
        planned += 1
        for field in FIELDS.values():
            bound, value = getattr(least, field), getattr(found, field)
            assert bound is None or bound == value or bound <= value * (1 + 1e-9), field
    assert planned >= 4


def test_every_plan_of_the_front_is_what_plan_makes_of_its_job(tmp_path: Path) -> None:
    found = search(small_job(tmp_path / "in"), trials=16)
    for point in found.front.points:
        place = tmp_path / "front" / point.id
        place.mkdir(parents=True)
        written = found.write_plan(point.id, place / "plan.json", place / "job.json")
        again = plan(place / "job.json", output=place / "plan.json")
        assert (place / "plan.json").read_text() == canonical_json(again) == canonical_json(written)
        assert again.inputs.fleet.path == "../../in/fleet.json"
        assert again.clusters == point.clusters


def test_the_pick_is_the_best_of_its_measure(tmp_path: Path) -> None:
    model = make_model(5, leakage=leakage_rows(0.1, 0.3, 0.6, 0.9))
    storage = f"journal:{tmp_path}/search.log"
    path = small_job(tmp_path, model, space={"batch_size": [4]})
    for pick in ("time", "leakage"):
        front = search(path, trials=8, pick=pick, storage=storage).front  # type: ignore[arg-type]
        values = {p.id: getattr(p.measures, FIELDS[pick]) for p in front.points}  # type: ignore[index]
        assert values[front.picked] <= min(values.values()) * (1 + 1e-8)
        assert "leakage" in front.measures


def test_a_deeper_floor_leaks_less(tmp_path: Path) -> None:
    model = make_model(5, leakage=leakage_rows(0.1, 0.3, 0.6, 0.9))
    space = {"batch_size": [4], "min_head_units": [1, 2], "objective": ["makespan"]}
    path = small_job(tmp_path, model, measures=["time", "leakage"], space=space)
    front = search(path, trials=4).front
    leaks = [p.measures.leakage for p in front.points]
    assert leaks == sorted(leaks, key=lambda x: -(x or 0.0))
    assert len(set(leaks)) > 1
    for point in front.points:
        assert point.measures.leakage == leakage_of(point.clusters, model)


def test_leakage_needs_its_measurement(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing of leakage"):
        search(small_job(tmp_path), trials=16, pick="leakage")
    part = make_model(5, leakage=leakage_rows(0.1))
    path = small_job(tmp_path, part, space={"min_head_units": [2]}, measures=["leakage"])
    with pytest.raises(InfeasibleError, match="not measured its leakage"):
        search(path, trials=8)


def test_combinations_without_a_plan_say_why(tmp_path: Path) -> None:
    path = small_job(tmp_path, space={"microbatches": [1, 3], "clusters": [1]})
    front = search(path, trials=16).front
    reasons = {refusal.reason: refusal.combinations for refusal in front.refusals}
    assert reasons["3 micro-batches do not divide a batch of 8"] == 4
    assert any("are needed" in reason for reason in reasons)
    assert sum(reasons.values()) == front.infeasible
    with pytest.raises(InfeasibleError, match="none of 4 combinations has a plan; most often"):
        search(small_job(tmp_path, space={"min_head_units": [3], "batch_size": [80]}), trials=4)


# Ranks.


def test_ranks_that_the_profile_has_are_searched_and_planned_with(tmp_path: Path) -> None:
    path = small_job(
        tmp_path,
        ranked_model(2, 16),
        space={"batch_size": [4], "clusters": [2], "rank": [2, 8, 16]},
    )
    found = search(path, trials=100)
    assert "rank" in found.front.measures
    assert {point.setting.rank for point in found.front.points} == {2, 8, 16}
    lean = next(p for p in found.front.points if p.setting.rank == 2)
    made = found.write_plan(lean.id, tmp_path / "p.json", tmp_path / "j.json")
    assert made.model_fingerprint == f"{2:064d}"
    assert read_inputs(tmp_path / "j.json").model.tunable.r == 2  # type: ignore[union-attr]


def test_ranks_without_figures_are_refused_with_the_command_that_counts_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="no figures of rank 4") as caught:
        search(small_job(tmp_path, space={"rank": [4, 8]}), trials=10)
    assert "--ranks 4,8" in (caught.value.hint or "")
    (said,) = search(small_job(tmp_path, space={"batch_size": [4]}), trials=10).front.left_out
    assert said.startswith("rank: the profile has figures of one only")


# Sampling, storages, and coming back.


def text_of(found: Any) -> str:
    return canonical_json(found.front)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_sampled_search_is_the_same_every_time_and_begins_with_the_job(
    tmp_path: Path, sampler: Any
) -> None:
    path = small_job(tmp_path, clustering={"clusters": 2}, space={"clusters": [2, 1]})
    found = search(path, trials=9, sampler=sampler)
    assert found.front.method == sampler
    assert next(iter(found.evaluator.known)).clusters == 2
    assert text_of(found) == text_of(search(path, trials=9, sampler=sampler))
    other = search(path, trials=9, sampler=sampler, changes={"seed": 1})
    assert list(other.evaluator.known) != list(found.evaluator.known)


@pytest.mark.parametrize("kind", ["sqlite:///{}/search.db", "journal:{}/search.log"])
def test_a_storage_opens_in_plain_optuna_and_a_longer_search_goes_on_there(
    tmp_path: Path, kind: str
) -> None:
    path, storage = small_job(tmp_path), kind.format(tmp_path)
    begun = search(path, trials=5, storage=storage)
    assert begun.front.planned + begun.front.infeasible + begun.front.pruned <= 5
    finished = search(path, trials=9, storage=storage)
    assert text_of(finished) == text_of(search(path, trials=9))
    study = load(storage)
    assert len(study.trials) == 9
    assert [t.number for t in study.trials] == list(range(9))
    planned = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert planned
    assert all(len(t.values) == len(finished.front.measures) for t in planned)
    assert {tuple(t.params) for t in planned} == {
        ("clusters", "objective", "min_head_units", "batch_size")
    }
    for trial in study.trials:
        assert trial in planned or trial.user_attrs["reason"]
    assert study.best_trials


def load(storage: str) -> optuna.Study:
    if storage.startswith("journal:"):
        from optuna.storages.journal import JournalFileBackend

        backend = JournalFileBackend(storage.removeprefix("journal:"))
        return optuna.load_study(study_name="job", storage=optuna.storages.JournalStorage(backend))
    return optuna.load_study(study_name="job", storage=storage)


def test_enumeration_goes_on_after_sampling_in_the_same_study(tmp_path: Path) -> None:
    path, storage = small_job(tmp_path), f"journal:{tmp_path}/search.log"
    search(path, trials=5, storage=storage)
    found = search(path, trials=16, storage=storage).front
    assert found.points == search(path, trials=16).front.points


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    path, storage = small_job(tmp_path), f"journal:{tmp_path}/search.log"
    search(path, trials=3, storage=storage)
    with pytest.raises(UsageError, match="of another job") as caught:
        search(path, trials=3, storage=storage, changes={"seed": 1})
    assert "--study" in (caught.value.hint or "")
    search(path, trials=3, storage=storage, changes={"seed": 1}, study="another")
    optuna.create_study(
        study_name="foreign", storage=optuna_storage(storage), directions=["minimize"]
    ).ask()
    with pytest.raises(UsageError, match="not made by gaisnet"):
        search(path, trials=3, storage=storage, study="foreign", changes={"seed": 1})


def optuna_storage(storage: str) -> Any:
    return load(storage)._storage


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////nowhere/at/all.db", "journal:/no/x"])
def test_storages_that_cannot_be_opened_are_told(tmp_path: Path, storage: str) -> None:
    with pytest.raises((InputError, UsageError)) as caught:
        search(small_job(tmp_path), trials=3, storage=storage)
    assert caught.value.where == storage


def test_the_front_is_a_file_that_reads_back(tmp_path: Path) -> None:
    found = search(small_job(tmp_path), trials=16).front
    path = tmp_path / "front.json"
    path.write_text(canonical_json(found))
    assert read_model(path, Front) == found
    assert found.inputs.profile.sha256 == sha256_file(tmp_path / "profile.json")
    assert not search(
        small_job(tmp_path), trials=4, changes={"time_limit_s": 60.0}
    ).front.reproducible
    assert isinstance(found.points[0].setting, Setting)
