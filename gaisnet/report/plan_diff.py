"""Two plans side by side: what was decided otherwise, and what is predicted otherwise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from pydantic import computed_field
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.report.comparison import Change
from gaisnet.report.holdings import holdings
from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_bytes, as_joules, as_seconds
from gaisnet.schema.base import Strict
from gaisnet.schema.plan import ClusterPlan, Plan

__all__ = ["Decision", "PlanComparison", "Prediction", "compare_plans", "plan_comparison_view"]

Key = TypeVar("Key", bound=Hashable)


class Decision(Strict):
    """One decision in both plans; ``None`` where a plan has it not to take."""

    what: str
    first: str | None
    second: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differs(self) -> bool:
        """Whether the plans decide otherwise."""
        return self.first != self.second


class Prediction(Strict):
    """One predicted figure in both plans."""

    what: str
    unit: str
    change: Change


class PlanComparison(Strict):
    """What ``gaisnet plan --diff`` gives."""

    first: str
    second: str
    decisions: tuple[Decision, ...]
    predictions: tuple[Prediction, ...]


_UNITS: dict[str, Callable[[float], str]] = {
    "s": as_seconds,
    "J": as_joules,
    "bytes": as_bytes,
    "": lambda value: f"{value:.3g}",
}


def compare_plans(first: Plan, second: Plan, names: tuple[str, str]) -> PlanComparison:
    """Every decision and every predicted figure of two plans.

    Clusters, devices, services and links are matched by name.

    Args:
        first: What is compared with.
        second: What has changed.
        names: What to call the two.
    """
    decided = [_decisions(plan) for plan in (first, second)]
    predicted = [_predictions(plan) for plan in (first, second)]
    return PlanComparison(
        first=names[0],
        second=names[1],
        decisions=tuple(
            Decision(what=what, first=decided[0].get(what), second=decided[1].get(what))
            for what in _merged(*decided)
        ),
        predictions=tuple(
            Prediction(
                what=what,
                unit=unit,
                change=Change(
                    first=predicted[0].get((what, unit)), second=predicted[1].get((what, unit))
                ),
            )
            for what, unit in _merged(*predicted)
        ),
    )


def plan_comparison_view(found: PlanComparison) -> RenderableType:
    """The tables of what differs, and how much is the same."""
    decisions = [d for d in found.decisions if d.differs]
    predictions = [p for p in found.predictions if p.change.differs]
    same = len(found.decisions) - len(decisions) + len(found.predictions) - len(predictions)
    parts: list[RenderableType] = []
    if decisions:
        table = compact_table("Decided otherwise", "", "first", "second", left=3)
        for decision in decisions:
            table.add_row(decision.what, decision.first or "–", decision.second or "–")
        parts.append(table)
    if predictions:
        parts.append(_prediction_table(predictions))
    told = "the plans are the same" if not parts else f"{same} decisions and figures are the same"
    parts.append(Text(f"{told}; first: {found.first}; second: {found.second}", style="dim"))
    return Group(*parts)


def _prediction_table(predictions: Iterable[Prediction]) -> Table:
    table = compact_table("Predicted otherwise", "", "first", "second", "ratio", left=1)
    for prediction in predictions:
        write, change = _UNITS[prediction.unit], prediction.change
        cells = ("–" if v is None else write(v) for v in (change.first, change.second))
        ratio = "" if change.ratio is None else f"×{change.ratio:.3g}"
        worse = change.ratio is not None and change.ratio > 1
        style = "yellow" if change.ratio is None else "red" if worse else "green"
        table.add_row(prediction.what, *cells, Text(ratio, style=style))
    return table


def _merged(first: Mapping[Key, object], second: Mapping[Key, object]) -> list[Key]:
    return [*first, *(key for key in second if key not in first)]


def _decisions(plan: Plan) -> dict[str, str]:
    found = {
        "scheme": plan.scheme,
        "topology": plan.topology,
        "objective": plan.objective,
        "memory kept free": f"{plan.slack.memory:g}",
        "time kept free": f"{plan.slack.time:g}",
        "cloud": plan.cloud or "first edge",
        "clusters": ", ".join(cluster.id for cluster in plan.clusters),
        "lost": ", ".join(plan.loss.lost) if plan.loss else "",
        "seed": str(plan.seed),
    }
    for name, file in (("job", plan.inputs.job), ("fleet", plan.inputs.fleet)):
        found[f"{name} file"] = f"{file.path} ({file.sha256[:12]})"
    found["profile"] = f"{plan.inputs.profile.path} ({plan.inputs.profile.sha256[:12]})"
    for cluster in plan.clusters:
        found |= _of_cluster(cluster)
    devices: dict[str, list[str]] = {}
    for held in holdings(plan):
        devices.setdefault(held.device, []).append(f"{held.cluster} {held.role} {held.spans()}")
    found |= {f"device {name} holds": "; ".join(held) for name, held in sorted(devices.items())}
    routes = {r.service: f"cluster {r.cluster}, entered at {r.entry}" for r in plan.routes}
    return found | {f"service {name}": route for name, route in routes.items()}


def _of_cluster(cluster: ClusterPlan) -> dict[str, str]:
    name = f"cluster {cluster.id}"
    stages = (f"{s.device} {s.first_unit}–{s.last_unit}" for s in cluster.body)
    return {
        f"{name} owners": ", ".join(owner.device for owner in cluster.owners),
        f"{name} edge": cluster.edge,
        f"{name} domain": cluster.domain,
        f"{name} head and tail": f"[0, {cluster.head_units}), [{cluster.tail_first_unit}, …)",
        f"{name} body": ", ".join(stages) or "none",
        f"{name} turns": f"{cluster.intra}, {cluster.handover}",
        f"{name} micro-batches": str(cluster.microbatches),
    }


def _predictions(plan: Plan) -> dict[tuple[str, str], float]:
    predicted = plan.predictions
    found = {("a round", "s"): predicted.round_s, ("averaging", "s"): predicted.aggregation_s}
    for step in predicted.steps:
        name = f"cluster {step.cluster}"
        found[f"{name} pass", "s"] = step.latency_s
        found[f"{name} period", "s"] = step.period_s
        found[f"{name} step", "s"] = step.makespan_s
        found[f"{name} step", "J"] = step.energy_j
    for service in predicted.services:
        found[f"service {service.service} mean", "s"] = service.mean_s
        found[f"service {service.service} 95 %", "s"] = service.p95_s
    for device in predicted.devices:
        found[f"device {device.device} memory", "bytes"] = float(device.memory_bytes)
        found[f"device {device.device} busy, a round", "s"] = device.busy_s_per_round
        found[f"device {device.device} a round", "J"] = device.energy_j_per_round
    for link in predicted.links:
        name = f"{link.sender} → {link.receiver}, a round"
        found[name, "bytes"] = float(link.payload_bytes_per_round)
        found[name, "s"] = link.transfer_s_per_round
    gaps = {(f"gap of {proof.decision}", ""): proof.gap for proof in plan.certificates}
    return found | gaps
