"""``search``: a Pareto front of plans over everything that has no exact method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from gaisnet.errors import InfeasibleError, InputError
from gaisnet.planner.assemble import TOOLS, input_files
from gaisnet.planner.compose import overridden, plan_inputs
from gaisnet.planner.inputs import Inputs, read_inputs
from gaisnet.planner.search.evaluate import Evaluator, Outcome
from gaisnet.planner.search.front import knee, undominated
from gaisnet.planner.search.measures import directions_of
from gaisnet.planner.search.relocate import relocated
from gaisnet.planner.search.space import Space, job_of, search_space, setting_of
from gaisnet.planner.search.storage import open_study
from gaisnet.planner.search.study import Sampler, enumerate_all, recorded, sample
from gaisnet.schema.files import canonical_json, sha256_bytes, write_atomic
from gaisnet.schema.front import Front, FrontPoint, Refusal, Setting
from gaisnet.schema.job import Measure
from gaisnet.schema.plan import Plan

__all__ = ["Pick", "Search", "search"]

Pick = Literal["time", "energy", "bytes", "memory", "leakage", "knee"]
MOST_REFUSALS = 20
Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Search:
    """A front, and its plans."""

    inputs: Inputs
    front: Front
    evaluator: Evaluator

    def point(self, name: str) -> FrontPoint:
        """A point of the front by its id."""
        return next(point for point in self.front.points if point.id == name)

    def write_plan(self, name: str, path: Path, job_path: Path, *, force: bool = False) -> Plan:
        """Write a point's plan to ``path``, and the job that it is the plan of to ``job_path``.

        ``gaisnet plan`` makes the same plan of that job, byte for byte.

        Raises:
            UsageError: A file exists and ``force`` is false.
            OutputError: It cannot be written.
        """
        setting = self.point(name).setting
        job = relocated(job_of(self.inputs.job, setting), self.inputs.job_path, job_path)
        write_atomic(job_path, canonical_json(job), force=force)
        made = plan_inputs(read_inputs(job_path), path.parent)
        write_atomic(path, canonical_json(made), force=force)
        return made


def search(
    job_path: str | Path,
    *,
    trials: int,
    output: str | Path | None = None,
    pick: Pick = "knee",
    sampler: Sampler = "nsga2",
    storage: str | None = None,
    study: str | None = None,
    calibration: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Search:
    """Plans of which none is better than another in everything.

    Every combination of the job's ``search.space`` is planned as ``plan`` would, if there are no
    more than ``trials``; then the front is exact. Otherwise a sampler proposes ``trials`` of them.

    Args:
        job_path: The job.
        trials: Most combinations to plan.
        output: Where the front will be written: paths in it are relative to that file's folder.
        pick: Which plan is taken: the best in one measure, or the knee of the front.
        sampler: Proposes combinations where not all can be planned.
        storage: Of the trials, see ``open_study``; a search that was cut short goes on there.
        study: Name in the storage, by default the job's.
        calibration: File of a calibration instead of the job's.
        changes: Instead of the job's, as for ``plan``: ``scheme``, ``gap``, ``seed``, ...
        progress: Told what is done, and how much of the whole.

    Raises:
        InputError: A file is missing or malformed, or the space asks for what is not there.
        UsageError: The storage has a study of that name that is of something else.
        InfeasibleError: No combination that was tried has a plan.
    """
    inputs = overridden(read_inputs(job_path, calibration), **(changes or {}))
    job = inputs.job
    space = search_space(inputs)
    measures = _measures(inputs, space, pick)
    opened = open_study(
        storage, study or job.name, directions_of(measures), _question(inputs, sampler), measures
    )
    evaluator = Evaluator(inputs, measures, recorded(opened))
    exact = space.combinations <= trials
    told = _teller(progress, min(trials, space.combinations), len(evaluator.known))
    if exact:
        enumerate_all(opened, space, evaluator, told)
    else:
        first, base = setting_of(job), job.seed
        sample(
            opened, space, evaluator, told,
            trials=trials, first=first, sampler=sampler, seed=base,
        )  # fmt: skip
    method: Literal["enumeration", "nsga2", "tpe"] = "enumeration" if exact else sampler
    front = _front(
        inputs, Path(output or job_path).parent, space, measures, evaluator, method, pick
    )
    return Search(inputs=inputs, front=front, evaluator=evaluator)


def _measures(inputs: Inputs, space: Space, pick: Pick) -> tuple[Measure, ...]:
    """The job's, or all that can be told apart.

    Raises:
        InputError: Leakage is asked for, but the profile has none; or what is to be picked by is
            not compared.
    """
    found: list[Measure] = list(inputs.job.search.measures or _default_measures(inputs, space))
    where = f"{inputs.job_path}: search.measures"
    if "leakage" in (*found, pick) and not inputs.model.leakage:
        raise InputError(
            "the profile says nothing of leakage",
            where=where,
            hint="measure it with `gaisnet profile --leakage`",
        )
    if "rank" in found and space.values["rank"] == (None,):
        raise InputError("the tunable modules have no rank", where=where, hint="leave out rank")
    if pick != "knee" and pick not in found:
        found.append(pick)
    return tuple(dict.fromkeys(found))


def _default_measures(inputs: Inputs, space: Space) -> list[Measure]:
    found: list[Measure] = ["time", "energy", "bytes", "memory"]
    if inputs.model.leakage:
        found.append("leakage")
    varied = {name for name, values in space.values.items() if len(values) > 1}
    if "rank" in varied:
        found.append("rank")
    if "compression" in varied:
        found.append("bits")
    if varied & {"batch_size", "local_steps", "cloud_every"}:
        found.append("interval")
    return found


def _question(inputs: Inputs, sampler: Sampler) -> str:
    """Digest of all that outcomes and proposals depend on; not where the files lie."""
    files = input_files(inputs, inputs.job_path.parent)
    hashes = [files.fleet.sha256, files.profile.sha256]
    hashes += [f"{device}={file.sha256}" for device, file in sorted(files.device_profiles.items())]
    hashes += [f"calibration={files.calibration.sha256}"] if files.calibration else []
    tools = [f"{name}={version(name)}" for name in (*TOOLS, "optuna")]
    parts = [inputs.job.model_dump_json(), sampler, *hashes, *tools]
    return sha256_bytes("\n".join(parts).encode())


def _teller(progress: Progress | None, total: int, before: int) -> Callable[[int, Outcome], None]:
    if progress is not None and before:
        progress(f"{before} known", min(1.0, before / total))
    counts: Counter[str] = Counter()

    def told(done: int, outcome: Outcome) -> None:
        kind = "planned" if outcome.measures else "pruned" if outcome.pruned else "infeasible"
        counts[kind] += 1
        if progress is not None:
            said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            progress(f"{done} of {total}: {said}", min(1.0, done / total))

    return told


def _front(
    inputs: Inputs,
    folder: Path,
    space: Space,
    measures: Sequence[Measure],
    evaluator: Evaluator,
    method: Literal["enumeration", "nsga2", "tpe"],
    pick: Pick,
) -> Front:
    planned = {s: o.measures for s, o in evaluator.known.items() if o.measures is not None}
    if not planned:
        raise _no_plan(evaluator)
    settings = sorted(planned, key=lambda setting: setting.model_dump_json())
    vectors = [evaluator.vector(planned[setting]) for setting in settings]
    kept = undominated(vectors)
    points = tuple(
        _point(evaluator, f"p{number}", settings[index]) for number, index in enumerate(kept)
    )
    outcomes = evaluator.known.values()
    return Front(
        name=inputs.job.name,
        inputs=input_files(inputs, folder),
        method=method,
        measures=tuple(measures),
        space=space.as_spec(),
        left_out=space.left_out,
        combinations=space.combinations,
        planned=len(planned),
        pruned=sum(outcome.pruned for outcome in outcomes),
        infeasible=sum(not o.pruned and o.measures is None for o in outcomes),
        refusals=_refusals(evaluator),
        points=points,
        picked=points[_picked([vectors[index] for index in kept], measures, pick)].id,
        pick=pick,
        seed=inputs.job.seed,
        reproducible=inputs.job.search.time_limit_s is None,
        tool_versions={name: version(name) for name in (*TOOLS, "optuna")},
    )


def _picked(vectors: list[tuple[float, ...]], measures: Sequence[Measure], pick: Pick) -> int:
    """The knee, or the least of one measure and of those the least of all others in order."""
    if pick == "knee":
        return knee(vectors)
    place = measures.index(pick)
    return min(range(len(vectors)), key=lambda i: (vectors[i][place], vectors[i]))


def _point(evaluator: Evaluator, name: str, setting: Setting) -> FrontPoint:
    measures, (plan, _) = evaluator.known[setting].measures, evaluator.clusters(setting)
    assert measures is not None
    return FrontPoint(
        id=name,
        setting=setting,
        measures=measures,
        clusters=plan.clusters,
        gap=max((proof.gap for proof in plan.certificates), default=0.0),
    )


def _refusals(evaluator: Evaluator) -> tuple[Refusal, ...]:
    """Why combinations have no plan, the most frequent reasons first."""
    settings: dict[str, list[Setting]] = {}
    for setting, outcome in evaluator.known.items():
        if outcome.measures is None and not outcome.pruned:
            settings.setdefault(outcome.reason, []).append(setting)
    reasons = sorted(settings, key=lambda reason: (-len(settings[reason]), reason))
    return tuple(
        Refusal(reason=reason, combinations=len(settings[reason]), example=settings[reason][0])
        for reason in reasons[:MOST_REFUSALS]
    )


def _no_plan(evaluator: Evaluator) -> InfeasibleError:
    refusals = _refusals(evaluator)
    return InfeasibleError(
        f"none of {len(evaluator.known)} combinations has a plan; most often: {refusals[0].reason}",
        hint="widen search.space in the job, or see what `gaisnet plan` says without --search",
    )
