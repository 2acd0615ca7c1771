"""The space of a search: which values each setting may take, and the job of a combination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from gaisnet.errors import InfeasibleError, InputError
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.ranks import profiled_ranks
from gaisnet.schema.front import Setting
from gaisnet.schema.job import Job, SearchSpace
from gaisnet.schema.model import LoraSpec

__all__ = ["COMPRESSION_BITS", "Space", "job_of", "search_space", "setting_of"]

MOST_CLUSTERS = 16
DEEPER = 2
"""Depth floors beyond the job's that are tried by default."""
COMPRESSION_BITS = {"none": 32, "int8": 8, "int4": 4}
TUNING = ("topology", "batch_size", "microbatches", "compression", "local_steps", "cloud_every")
"""Fields of a setting that are fields of ``fine_tuning``."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Values of every field of ``Setting``, in the order in which the front names them."""

    values: dict[str, tuple[Any, ...]]
    left_out: tuple[str, ...] = ()
    """What could not be varied, and why."""

    @property
    def combinations(self) -> int:
        """Size of the grid."""
        return prod(len(values) for values in self.values.values())

    def settings(self) -> Iterator[Setting]:
        """Every combination, the last field fastest."""
        for values in product(*self.values.values()):
            yield self.setting(dict(zip(self.values, values, strict=True)))

    def setting(self, values: dict[str, Any]) -> Setting:
        """A combination, from a value of each field."""
        return Setting(**values)

    def as_spec(self) -> SearchSpace:
        """The same as it would stand in a job."""
        chosen = {n: v for n, v in self.values.items() if v != (None,)}
        return SearchSpace(**chosen)


def search_space(inputs: Inputs) -> Space:
    """The job's ``search.space``, with values near the job's own where it names none.

    Raises:
        InputError: A rank is asked for that the profile has no figures of, or clusters of a scheme
            that gives them.
    """
    job, asked = inputs.job, inputs.job.search.space
    ranks, left_out = _ranks(inputs)
    defaults: dict[str, tuple[Any, ...]] = {
        "clusters": _clusters(inputs),
        "objective": tuple(dict.fromkeys((job.objective, "energy"))),
        "topology": (job.fine_tuning.topology,),
        "min_head_units": _depths(inputs),
        "min_tail_units": (job.constraints.min_tail_units,),
        "batch_size": _halved_and_doubled(job.fine_tuning.batch_size),
        "microbatches": (job.fine_tuning.microbatches,),
        "rank": ranks,
        "compression": tuple(COMPRESSION_BITS),
        "local_steps": _halved_and_doubled(job.fine_tuning.local_steps),
        "cloud_every": (job.fine_tuning.cloud_every, 2 * job.fine_tuning.cloud_every),
    }
    if job.scheme in ("fl", "central"):
        defaults |= {"objective": (job.objective,), "compression": (job.fine_tuning.compression,)}
    values = {name: _ordered(getattr(asked, name)) or each for name, each in defaults.items()}
    return Space(values=values, left_out=left_out)


def _ordered(values: Sequence[Any] | None) -> tuple[Any, ...]:
    """Each once, in the order of the job."""
    return tuple(dict.fromkeys(values or ()))


def _clusters(inputs: Inputs) -> tuple[int | None, ...]:
    job = inputs.job
    if job.scheme != "hfsl":
        if job.search.space.clusters is not None:
            raise InputError(
                f"scheme {job.scheme} says how many clusters there are",
                where=f"{inputs.job_path}: search.space.clusters",
                hint="leave clusters out of the space",
            )
        return (None,)
    if job.clustering.clusters is not None:
        return (job.clustering.clusters,)
    owners = sum(d.data is not None and d.data.samples > 0 for d in inputs.fleet.devices)
    return tuple(range(1, max(1, min(owners, MOST_CLUSTERS)) + 1))


def _depths(inputs: Inputs) -> tuple[int, ...]:
    job, units = inputs.job, len(inputs.model.units)
    least = job.constraints.min_head_units
    if job.scheme in ("fl", "central"):
        return (least,)
    most = units - 1 - (job.constraints.min_tail_units if _keeps_tails(job) else 0)
    return tuple(range(least, max(least, min(least + DEEPER, most)) + 1))


def _keeps_tails(job: Job) -> bool:
    return job.fine_tuning.topology == "u_shape"


def _halved_and_doubled(value: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, value // 2), value, 2 * value}))


def _ranks(inputs: Inputs) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """Ranks that can be planned with, and why there are no others."""
    asked, known = inputs.job.search.space.rank, profiled_ranks(inputs.model)
    if not isinstance(inputs.job.tunable, LoraSpec):
        if asked is not None:
            raise InputError(
                f"{inputs.job.tunable.kind} has no rank",
                where=f"{inputs.job_path}: search.space.rank",
                hint="leave rank out of the space",
            )
        return (None,), ()
    missing = sorted(set(asked or ()) - set(known))
    if missing:
        raise InputError(
            f"the profile has no figures of rank {', '.join(map(str, missing))}",
            where=f"{inputs.job_path}: search.space.rank",
            hint=f"count them: `gaisnet profile {inputs.job.model.source} --ranks "
            f"{','.join(map(str, sorted(set(asked or ()))))}` with its other options",
        )
    if len(known) > 1:
        return known, ()
    why = "rank: the profile has figures of one only; `gaisnet profile --ranks` counts others"
    return known, (why,)


def setting_of(job: Job) -> Setting:
    """The combination that the job itself is."""
    limits, rank = job.constraints, job.tunable.r if isinstance(job.tunable, LoraSpec) else None
    return Setting(
        clusters=job.clustering.clusters,
        objective=job.objective,
        min_head_units=limits.min_head_units,
        min_tail_units=limits.min_tail_units,
        rank=rank,
        **{name: getattr(job.fine_tuning, name) for name in TUNING},
    )


def job_of(job: Job, setting: Setting) -> Job:
    """The job with a combination's settings, and nothing left to search for.

    Raises:
        InfeasibleError: The micro-batches do not divide the batch.
    """
    if setting.batch_size % setting.microbatches:
        raise InfeasibleError(
            f"{setting.microbatches} micro-batches do not divide a batch of {setting.batch_size}"
        )
    tuning = {name: getattr(setting, name) for name in TUNING}
    depths = {"min_head_units": setting.min_head_units, "min_tail_units": setting.min_tail_units}
    changes: dict[str, Any] = {
        "objective": setting.objective,
        "fine_tuning": job.fine_tuning.model_copy(update=tuning),
        "constraints": job.constraints.model_copy(update=depths),
        "search": job.search.model_copy(update={"space": SearchSpace(), "measures": None}),
    }
    if job.scheme == "hfsl":
        number = {"clusters": setting.clusters}
        changes["clustering"] = job.clustering.model_copy(update=number)
    if isinstance(job.tunable, LoraSpec):
        changes["tunable"] = job.tunable.model_copy(update={"r": setting.rank})
    return job.model_copy(update=changes)
