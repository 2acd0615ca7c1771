"""A hit cluster as a splitting problem: who is left in it, who may help, what is held already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gaisnet.planner.chains import Moving, SplitTask, residences, step_figures
from gaisnet.planner.cost import Residence, frozen_bytes, unit_bytes
from gaisnet.planner.predict import chain_of
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes.task import scheme_task
from gaisnet.schema.plan import ClusterPlan, Owner

__all__ = ["Holdings", "held_units", "moved_unit_bytes", "repair_task"]

Units = dict[tuple[str, str], set[int]]
"""Units by cluster and device."""


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What devices held before the loss: it does not have to be moved to them again."""

    roster: Roster
    units: Units = field(default_factory=dict)

    def moving(self, cluster: str, devices: Iterable[str], price: float) -> Moving:
        """What each of ``devices`` lacks of each unit for ``cluster``."""
        whole, shared = moved_unit_bytes(self.roster)
        return Moving(
            unit_bytes=whole,
            missing={device: self._missing(cluster, device, whole, shared) for device in devices},
            price=price,
        )

    def _missing(
        self, cluster: str, device: str, whole: Sequence[int], shared: Sequence[int]
    ) -> tuple[int, ...]:
        own = self.units.get((cluster, device), set())
        anywhere = {u for (_, d), units in self.units.items() if d == device for u in units}
        return tuple(
            0 if unit in own else size - frozen if unit in anywhere else size
            for unit, (size, frozen) in enumerate(zip(whole, shared, strict=True))
        )


def held_units(roster: Roster, clusters: Iterable[ClusterPlan]) -> Units:
    """Units of every device in every cluster."""
    held: Units = {}
    for cluster in clusters:
        chain = chain_of(cluster, roster.job.fine_tuning)
        for device, spans in residences(roster.cost, chain).items():
            units = {u for span in spans for u in range(span.first_unit, span.last_unit + 1)}
            held[cluster.id, device] = units
    return held


def moved_unit_bytes(roster: Roster) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``[L]`` bytes of a unit that move with it, and those of them that clusters share.

    Weights, and optimizer state where the job keeps it over rounds.
    """
    cost, keep = roster.cost, roster.job.fine_tuning.keep_optimizer_state
    whole = tuple(
        unit_bytes(unit, cost.optimizer, 0) - unit.gradient_bytes if keep else unit.weight_bytes
        for unit in cost.model.units
    )
    return whole, tuple(frozen_bytes(unit) for unit in cost.model.units)


def repair_task(
    holdings: Holdings,
    cluster: ClusterPlan,
    owners: Sequence[Owner],
    helpers: Sequence[str],
    beside: Mapping[str, tuple[Residence, ...]],
    bytes_weight: float,
) -> SplitTask:
    """The splitting problem of ``cluster`` with these owners.

    Args:
        holdings: What was held before.
        cluster: As it was.
        owners: Those that are left, or that joined.
        helpers: Who may hold stages.
        beside: What devices hold for other clusters.
        bytes_weight: What moving the whole model once counts like, in steps of ``cluster``.
    """
    roster = holdings.roster
    names = tuple(owner.device for owner in owners)
    devices = dict.fromkeys([*names, *helpers])
    limit_bytes = {device: roster.cost.devices[device].limit_bytes for device in devices}
    return replace(
        scheme_task(roster, cluster.id, names, tuple(helpers), limit_bytes, cluster.intra),
        beside={device: held for device, held in beside.items() if device in devices},
        moving=holdings.moving(cluster.id, devices, bytes_price(roster, cluster, bytes_weight)),
    )


def bytes_price(roster: Roster, cluster: ClusterPlan, bytes_weight: float) -> float:
    """Objective per byte: ``bytes_weight`` × the old chain's objective over the model's bytes."""
    chain = chain_of(cluster, roster.job.fine_tuning)
    turns = len(chain.owners) // chain.merged
    before = step_figures(roster.cost, chain).value(roster.job.objective, turns)
    whole = sum(moved_unit_bytes(roster)[0])
    return bytes_weight * before / whole if whole else 0.0
