"""A model's figures at other ranks of LoRA, each counted as the profile's own are."""

from __future__ import annotations

from collections.abc import Sequence

from gaisnet.errors import ModelError
from gaisnet.profiler.analysis import analyse
from gaisnet.progress import Progress, silent
from gaisnet.schema.model import LoraSpec
from gaisnet.schema.profile import ModelPart, RankPart, RankUnit, UnitPart

__all__ = ["with_ranks"]


def with_ranks(
    part: ModelPart,
    ranks: Sequence[int],
    *,
    tokens: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelPart:
    """The same part with what other ranks would change: operations, parameters, memory.

    Nothing is timed: the planner scales the times of the part's own rank by the FLOPs.

    Args:
        part: Of a model with LoRA.
        ranks: Which to count; that of the part itself is left out.
        tokens: As for the part.
        seed: As for the part.
        progress: Told what is being counted.

    Raises:
        ModelError: The tunable modules are no LoRA.
    """
    tunable, show = part.tunable, progress or silent
    if not isinstance(tunable, LoraSpec):
        raise ModelError(
            f"{tunable.kind} has no rank", hint="ranks are of --tunable lora; leave out --ranks"
        )
    others = sorted(set(ranks) - {tunable.r})
    found = []
    for done, r in enumerate(others):
        show(f"rank {r}", done / len(others))
        found.append(_rank_part(part, tunable.model_copy(update={"r": r}), tokens, seed))
    return part.model_copy(update={"ranks": tuple(found)})


def _rank_part(part: ModelPart, tunable: LoraSpec, tokens: int | None, seed: int) -> RankPart:
    other = analyse(part.model, tunable, optimizer=part.optimizer, tokens=tokens, seed=seed)
    units = tuple(map(_rank_unit, other.units))
    return RankPart(r=tunable.r, fingerprint=other.fingerprint, units=units)


def _rank_unit(unit: UnitPart) -> RankUnit:
    return RankUnit(**{name: getattr(unit, name) for name in RankUnit.model_fields})
