"""A profile at another rank of LoRA than that which was timed.

Operations, parameters and bytes are those that the profiler counted at that rank. Times are
scaled: passes by the FLOPs, the optimizer's step by the tunable bytes. What LoRA costs beside
FLOPs (its operator calls) does not depend on the rank.
"""

from __future__ import annotations

from gaisnet.schema.model import LoraSpec, TunableSpec
from gaisnet.schema.profile import ModelPart, Profile, RankPart, RankUnit, Timing, UnitPart

__all__ = ["at_rank", "profile_at_rank", "profiled_ranks", "scaled_times"]


def profiled_ranks(model: ModelPart) -> tuple[int, ...]:
    """Ranks that the profile has figures of, ascending; none if its modules are no LoRA."""
    if not isinstance(model.tunable, LoraSpec):
        return ()
    return tuple(sorted({model.tunable.r, *(part.r for part in model.ranks)}))


def at_rank(model: ModelPart, tunable: TunableSpec) -> ModelPart:
    """The figures of ``model`` with the rank of ``tunable``.

    They are the model's own where nothing else was counted: what they are of then shows in
    ``ModelPart.tunable``. Nothing but the rank changes.
    """
    if not isinstance(tunable, LoraSpec) or not isinstance(model.tunable, LoraSpec):
        return model
    asked = model.tunable.model_copy(update={"r": tunable.r})
    part = next((part for part in model.ranks if part.r == tunable.r), None)
    if part is None or tunable.r == model.tunable.r:
        return model
    return model.model_copy(
        update={
            "tunable": asked,
            "fingerprint": part.fingerprint,
            "units": tuple(map(_unit_at, model.units, part.units)),
            "ranks": (*(p for p in model.ranks if p is not part), _own_part(model)),
        }
    )


def profile_at_rank(profile: Profile, model: ModelPart, tunable: TunableSpec) -> Profile:
    """A device's profile of the same ``model``, at the rank of ``tunable``.

    Counts do not depend on the device, so ranks that were counted elsewhere are good here.
    """
    own = profile.model
    if own is None or (own.fingerprint, own.tunable) != (model.fingerprint, model.tunable):
        return profile
    own = own.model_copy(update={"ranks": own.ranks or model.ranks})
    return profile.model_copy(update={"model": at_rank(own, tunable)})


def scaled_times(model: ModelPart, factor: float) -> ModelPart:
    """The same model on a device that takes ``factor`` times as long for everything."""
    units = tuple(
        unit.model_copy(
            update={
                "timings": tuple(_timing(timing, factor, factor) for timing in unit.timings),
                "update": unit.update and unit.update.scaled(factor),
                "update_cpu": unit.update_cpu and unit.update_cpu.scaled(factor),
            }
        )
        for unit in model.units
    )
    return model.model_copy(update={"units": units})


def _own_part(model: ModelPart) -> RankPart:
    assert isinstance(model.tunable, LoraSpec)
    units = tuple(
        RankUnit(**{name: getattr(unit, name) for name in RankUnit.model_fields})
        for unit in model.units
    )
    return RankPart(r=model.tunable.r, fingerprint=model.fingerprint, units=units)


def _unit_at(unit: UnitPart, rank: RankUnit) -> UnitPart:
    changes = {name: getattr(rank, name) for name in RankUnit.model_fields}
    changes = {name: value for name, value in changes.items() if value is not None}
    forward = _ratio(rank.forward_flops, unit.forward_flops)
    backward = _ratio(rank.backward_flops, unit.backward_flops)
    step = _ratio(rank.gradient_bytes, unit.gradient_bytes)
    changes["timings"] = tuple(_timing(timing, forward, backward) for timing in unit.timings)
    changes["update"] = unit.update and unit.update.scaled(step)
    changes["update_cpu"] = unit.update_cpu and unit.update_cpu.scaled(step)
    return unit.model_copy(update=changes)


def _ratio(new: int, old: int) -> float:
    return new / old if old else 1.0


def _timing(timing: Timing, forward: float, backward: float) -> Timing:
    return timing.model_copy(
        update={
            "forward": timing.forward.scaled(forward),
            "forward_cpu": timing.forward_cpu.scaled(forward),
            "backward": timing.backward.scaled(backward),
            "backward_cpu": timing.backward_cpu.scaled(backward),
        }
    )
