"""A job whose search has few combinations, of which some cannot be planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaisnet.schema.leakage import LeakageRow
from gaisnet.schema.profile import ModelPart, RankPart, RankUnit, UnitPart
from tests.planner.factory import make_fleet, make_job, make_model, write_files

__all__ = ["SPACE", "leakage_rows", "ranked_model", "small_job"]

SPACE: dict[str, Any] = {
    "clusters": [1, 2],
    "objective": ["makespan", "energy"],
    "min_head_units": [1, 3],
    "batch_size": [4, 8],
    "compression": ["none"],
    "local_steps": [2],
    "cloud_every": [1],
}
"""16 combinations; owners hold no head of three units with a batch of 8."""


def small_job(folder: Path, model: ModelPart | None = None, **changes: Any) -> Path:
    """A job of three owners and five units; returns its path."""
    search = {"space": SPACE | changes.pop("space", {})}
    if "measures" in changes:
        search["measures"] = changes.pop("measures")
    job = make_job(search=search, **changes)
    fleet = make_fleet(3, memory_bytes=(5_000, 9_000, 4_000))
    return write_files(folder, job, fleet, model or make_model(5))


def leakage_rows(*errors: float) -> tuple[LeakageRow, ...]:
    """Measured inversion errors of the cuts after units 0, 1, ..."""
    return tuple(
        LeakageRow(
            unit=unit,
            samples=8,
            distance_correlation=0.5,
            distance_correlation_null=0.1,
            inversion_error=error,
            inversion_error_stderr=0.01,
            attack="ridge",
        )
        for unit, error in enumerate(errors)
    )


def ranked_model(*ranks: int, units: int = 5) -> ModelPart:
    """A model of rank 8 with figures of others, in proportion to the rank."""
    model = make_model(units)
    parts = tuple(
        RankPart(
            r=r,
            fingerprint=f"{r:064d}",
            units=tuple(_at(unit, r / model.tunable.r) for unit in model.units),  # type: ignore[union-attr]
        )
        for r in ranks
    )
    return model.model_copy(update={"ranks": parts})


def _at(unit: UnitPart, factor: float) -> RankUnit:
    grown = round((factor - 1.0) * unit.gradient_bytes)
    return RankUnit(
        parameters=unit.parameters + grown // 4,
        tunable_parameters=unit.tunable_parameters + grown // 4,
        forward_flops=unit.forward_flops + 100 * grown,
        backward_flops=unit.backward_flops + 120 * grown,
        weight_bytes=unit.weight_bytes + grown,
        gradient_bytes=unit.gradient_bytes + grown,
        optimizer_bytes=unit.optimizer_bytes + 2 * grown,
        lora_a_bytes=0,
        saved_activation_bytes=unit.saved_activation_bytes,
        working_bytes=unit.working_bytes,
    )
