"""A plan in the terminal: clusters, who holds what, memory, predicted times, and the proof."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.report.explanation_view import explanation_tables
from gaisnet.report.holdings import Holding, holdings, strip
from gaisnet.report.robust_view import fallback_table, loss_line
from gaisnet.report.tables import compact_table, spaced
from gaisnet.report.units import as_bytes, as_count, as_joules, as_percent, as_seconds, bar
from gaisnet.schema.plan import Certificate, ClusterPlan, DevicePrediction, Plan

__all__ = ["plan_view", "plan_warnings"]

_MOST_LINKS = 12


def plan_view(plan: Plan) -> RenderableType:
    """Everything that a plan decides and predicts."""
    parts: list[RenderableType] = [Text(_headline(plan), style="bold")]
    if plan.loss is not None:
        parts.append(Text(loss_line(plan.loss)))
    parts += [_holders(plan), _steps(plan)]
    if plan.routes:
        parts.append(_services(plan))
    if plan.prices:
        parts.append(_prices(plan))
    parts.append(_links(plan))
    if plan.fallbacks:
        parts.append(fallback_table(plan))
    parts += [*explanation_tables(plan.explanation), _certificates(plan.certificates)]
    warnings = [Text(f"warning: {text}", style="yellow") for text in plan_warnings(plan)]
    if warnings:
        parts.append(Group(*warnings))
    return spaced(*parts)


def plan_warnings(plan: Plan) -> list[str]:
    """What the user should know before running the plan."""
    warnings = []
    if not plan.reproducible:
        warnings.append("a wall-clock limit was in force: the same inputs may give another plan")
    for certificate in plan.certificates:
        if certificate.status == "feasible":
            gap = as_percent(certificate.gap)
            warnings.append(f"{certificate.decision}: not proven optimal, gap {gap}")
    for service in plan.predictions.services:
        if not service.meets_slo:
            warnings.append(f"service {service.service} misses its latency objective")
    for fallback in plan.fallbacks:
        if not fallback.feasible:
            warnings.append(f"the loss of {fallback.lost} is fatal: {fallback.reason}")
    for device in plan.predictions.devices:
        if device.memory_bytes > device.limit_bytes:
            warnings.append(f"device {device.device} needs more memory than it has")
    return warnings


def _headline(plan: Plan) -> str:
    round_s = as_seconds(plan.predictions.round_s)
    return (
        f"Plan {plan.name}: {plan.scheme}, {plan.topology}, {len(plan.clusters)} cluster(s), "
        f"{plan.n_units} units, least {plan.objective}; a round takes {round_s}{_margins(plan)}"
    )


def _margins(plan: Plan) -> str:
    kept = [("memory", plan.slack.memory), ("time", plan.slack.time)]
    parts = [f"{as_percent(part)} of {what}" for what, part in kept if part > 0]
    return f", with {' and '.join(parts)} to spare" if parts else ""


def _holders(plan: Plan) -> Table:
    columns = ("cluster", "device", "role", "units", "held", "memory", "of limit", "whole model")
    table = compact_table("Who holds what", *columns, left=6)
    memory = {device.device: device for device in plan.predictions.devices}
    last = None
    for holding in holdings(plan):
        if last not in (None, holding.cluster):
            table.add_section()
        first_row = last != holding.cluster
        table.add_row(*_holder_row(plan, holding, memory.get(holding.device), first_row))
        last = holding.cluster
    return table


def _holder_row(
    plan: Plan, holding: Holding, memory: DevicePrediction | None, first_row: bool
) -> list[RenderableType]:
    row: list[RenderableType] = [
        holding.cluster if first_row else "",
        holding.device,
        holding.role,
        strip(holding.units, plan.n_units),
        holding.spans(),
    ]
    return row + (_memory_cells(memory) if memory is not None else ["", "", ""])


def _memory_cells(memory: DevicePrediction) -> list[RenderableType]:
    share = memory.memory_bytes / memory.limit_bytes if memory.limit_bytes else 1.0
    style = "red" if share > 1 else "yellow" if share > 0.9 else "green"
    return [
        Text(f"{bar(share, 10)} {as_bytes(memory.memory_bytes)}", style=style),
        f"{as_bytes(memory.limit_bytes)}",
        as_bytes(memory.whole_model_bytes),
    ]


def _steps(plan: Plan) -> Table:
    table = compact_table(
        "Predicted: one local step, all owners' turns",
        "cluster", "owners", "edge", "domain", "pass", "period", "step", "energy",
        left=4,
    )  # fmt: skip
    by_cluster = {step.cluster: step for step in plan.predictions.steps}
    for cluster in plan.clusters:
        step = by_cluster.get(cluster.id)
        if step is None:
            continue
        times = (step.latency_s, step.period_s, step.makespan_s)
        table.add_row(
            cluster.id,
            _owners(cluster),
            cluster.edge,
            cluster.domain,
            *map(as_seconds, times),
            as_joules(step.energy_j),
        )
    aggregation = as_seconds(plan.predictions.aggregation_s)
    table.caption = f"averaging: {aggregation}; round: {as_seconds(plan.predictions.round_s)}"
    table.caption_justify = "left"
    return table


def _services(plan: Plan) -> Table:
    table = compact_table(
        "Predicted: inference",
        "service", "cluster", "entry", "idle", "mean", "95 %", "busiest", "per second", "SLO",
        left=3,
    )  # fmt: skip
    predicted = {service.service: service for service in plan.predictions.services}
    for route in plan.routes:
        found = predicted.get(route.service)
        if found is None:
            table.add_row(route.service, route.cluster, route.entry)
            continue
        times = map(as_seconds, (found.service_s, found.mean_s, found.p95_s))
        busiest, rate = as_percent(found.utilisation), as_count(found.throughput_per_s)
        met = Text("met", style="green") if found.meets_slo else Text("missed", style="red")
        table.add_row(route.service, route.cluster, route.entry, *times, busiest, rate, met)
    return table


def _prices(plan: Plan) -> Table:
    """What fine-tuning keeps of each device, and what more of it would buy."""
    table = compact_table(
        "What one more percent of a device saves of a round (or its worth in waiting)",
        "device", "tuning", "compute", "tuning", "links",
        left=1,
    )  # fmt: skip
    price = {(p.device, p.resource): p.round_s_per_percent for p in plan.prices}
    left = {share.device: share for share in plan.shares if share.user == "fine-tuning"}
    worth = {device: 0.0 for device, _ in sorted(price)}
    for (device, _), seconds in price.items():
        worth[device] += seconds
    for device in sorted(worth, key=lambda name: (-worth[name], name))[:_MOST_LINKS]:
        share = left[device]
        compute_s, link_s = (price.get((device, kind), 0.0) for kind in ("compute", "link"))
        table.add_row(
            device,
            as_percent(share.compute),
            as_seconds(compute_s),
            as_percent(share.link),
            as_seconds(link_s),
        )
    return table


def _links(plan: Plan) -> Table:
    table = compact_table(
        "Predicted: busiest links, a round", "from", "to", "payload", "time", left=2
    )
    busiest = sorted(plan.predictions.links, key=lambda link: -link.transfer_s_per_round)
    for link in busiest[:_MOST_LINKS]:
        sent = as_bytes(link.payload_bytes_per_round)
        table.add_row(link.sender, link.receiver, sent, as_seconds(link.transfer_s_per_round))
    if len(busiest) > _MOST_LINKS:
        table.caption = f"and {len(busiest) - _MOST_LINKS} more"
        table.caption_justify = "left"
    return table


def _certificates(certificates: tuple[Certificate, ...]) -> Table:
    table = compact_table("Certificates", "status", "value", "bound", "gap", left=1)
    table.add_column("decision")
    table.add_column("least, and who says so")
    for proof in certificates:
        style = {"optimal": "green", "feasible": "yellow", "given": "dim"}[proof.status]
        figures = (f"{proof.value:.6g}", f"{proof.bound:.6g}", f"{proof.gap:.2g}")
        said = Text(f"{proof.objective}; {proof.solver}")
        table.add_row(Text(proof.status, style=style), *figures, Text(proof.decision), said)
    return table


def _owners(cluster: ClusterPlan) -> str:
    details: list[str] = [cluster.intra] if len(cluster.owners) > 1 else []
    if cluster.microbatches > 1:
        details.append(f"{cluster.microbatches} micro-batches")
    return f"{len(cluster.owners)}" + (f" ({', '.join(details)})" if details else "")
