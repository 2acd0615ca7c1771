"""Who holds which units of the model under a plan."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.schema.plan import ClusterPlan, Plan

__all__ = ["Holding", "holdings", "strip"]


@dataclass(frozen=True)
class Holding:
    """One device's part in one cluster."""

    device: str
    cluster: str
    role: str
    """``owner``, ``body`` or ``owner, body``."""
    units: tuple[int, ...]
    """The units that it holds, ascending."""

    def spans(self) -> str:
        """The units as spans: ``0–2, 9``."""
        spans: list[list[int]] = []
        for unit in self.units:
            if spans and spans[-1][1] == unit - 1:
                spans[-1][1] = unit
            else:
                spans.append([unit, unit])
        return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in spans) or "none"


def holdings(plan: Plan) -> tuple[Holding, ...]:
    """All holdings, by cluster: owners first, then the body in order."""
    return tuple(holding for cluster in plan.clusters for holding in _of(cluster, plan.n_units))


def _of(cluster: ClusterPlan, n_units: int) -> list[Holding]:
    outer = {*range(cluster.head_units), *range(cluster.tail_first_unit, n_units)}
    held: dict[str, set[int]] = {owner.device: set(outer) for owner in cluster.owners}
    roles = {owner.device: ["owner"] for owner in cluster.owners}
    for stage in cluster.body:
        held.setdefault(stage.device, set()).update(range(stage.first_unit, stage.last_unit + 1))
        if "body" not in roles.setdefault(stage.device, []):
            roles[stage.device].append("body")
    return [
        Holding(device, cluster.id, ", ".join(roles[device]), tuple(sorted(units)))
        for device, units in held.items()
    ]


def strip(units: tuple[int, ...], n_units: int, width: int = 32) -> str:
    """The model as a strip of at most ``width`` characters, filled where units are held."""
    cells = min(n_units, width)
    held = {unit * cells // n_units for unit in units}
    return "".join("■" if cell in held else "·" for cell in range(cells))
