"""A report as one self-contained page: no network, no script, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2

from gaisnet.report import charts, units
from gaisnet.report.explanation_view import explanation_rows
from gaisnet.report.extrapolation_view import told_extrapolation
from gaisnet.report.front_view import FRONT_TITLE, front_caption, front_headline, front_rows
from gaisnet.report.holdings import holdings
from gaisnet.report.leakage_view import as_bits_per_s
from gaisnet.report.plan_view import plan_warnings
from gaisnet.report.profile_page import profile_charts
from gaisnet.report.profile_view import heat, unit_cost
from gaisnet.report.robust_view import fallback_rows, loss_line
from gaisnet.report.run_record import RunRecord, by_tier
from gaisnet.schema.front import Front
from gaisnet.schema.plan import DevicePrediction, Plan
from gaisnet.schema.profile import ModelPart, Profile

__all__ = ["report_html"]

_MOST_LINKS = 20


def report_html(subject: Front | Profile | Plan | RunRecord) -> str:
    """The page of a profile, a plan or a run; everything from outside is escaped."""
    if isinstance(subject, RunRecord):
        return _render("run.html", **_run(subject))
    if isinstance(subject, Plan):
        return _render("plan.html", **_plan(subject))
    if isinstance(subject, Front):
        return _render("front.html", **_front(subject))
    return _render("profile.html", **_profile(subject))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gaisnet.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(units, name) for name in units.__all__}
    environment.filters["as_bits_per_s"] = as_bits_per_s
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def _run(run: RunRecord) -> dict[str, Any]:
    predicted, virtual, wall = run.times_s()
    times = [("predicted", predicted), ("virtual clock", virtual), ("wall, here", wall)]
    rows = [(name, seconds, units.as_seconds(seconds)) for name, seconds in times]
    links = sorted(run.traffic(), key=lambda link: -link.payload_bytes)
    return {
        "title": f"Run {run.manifest.run_id}",
        "run": run,
        "accuracies": run.accuracies(),
        "accuracy_chart": charts.line_chart(
            {"accuracy": run.accuracies()}, lambda share: f"{100 * share:.4g} %", y_max=1.0
        ),
        "loss_chart": charts.line_chart(_losses(run), lambda loss: f"{loss:.3g}"),
        "times": charts.bars(rows, distinct=True),
        "tiers": by_tier(run.traffic(), run.tiers) if run.tiers else [],
        "links": _link_bars([(x.sender, x.receiver, x.payload_bytes) for x in links]),
        "more_links": max(0, len(links) - _MOST_LINKS),
        **(_plan_parts(run.plan) if run.plan is not None else {"plan": None}),
    }


def _losses(run: RunRecord) -> dict[str, list[tuple[int, float]]]:
    return {
        "train": [(m.round + 1, m.train_loss) for m in run.rounds if m.train_loss is not None],
        "held out": [(m.round + 1, m.eval_loss) for m in run.rounds if m.eval_loss is not None],
    }


def _plan(plan: Plan) -> dict[str, Any]:
    found = plan.predictions.links
    links = sorted(found, key=lambda link: -link.payload_bytes_per_round)
    return {
        "title": f"Plan {plan.name}",
        "warnings": plan_warnings(plan),
        "loss": loss_line(plan.loss) if plan.loss else None,
        "fallbacks": fallback_rows(plan),
        "explanation": explanation_rows(plan.explanation),
        "links": _link_bars([(x.sender, x.receiver, x.payload_bytes_per_round) for x in links]),
        "more_links": max(0, len(links) - _MOST_LINKS),
        **_plan_parts(plan),
    }


def _plan_parts(plan: Plan) -> dict[str, Any]:
    held = holdings(plan)
    return {
        "plan": plan,
        "clusters": [
            (cluster, [holding for holding in held if holding.cluster == cluster.id])
            for cluster in plan.clusters
        ],
        "steps": {step.cluster: step for step in plan.predictions.steps},
        "served": {service.service: service for service in plan.predictions.services},
        "memory": [_memory_bar(device) for device in plan.predictions.devices],
    }


def _memory_bar(device: DevicePrediction) -> charts.Bar:
    """What a device holds against the whole model, with its limit where that is on the scale."""
    scale = max(device.whole_model_bytes, device.memory_bytes, 1)
    limit = 100 * device.limit_bytes / scale
    needed, whole = map(units.as_bytes, (device.memory_bytes, device.whole_model_bytes))
    return charts.Bar(
        device.device,
        round(100 * device.memory_bytes / scale, 2),
        f"{needed} of {units.as_bytes(device.limit_bytes)}; whole model {whole}",
        limit_percent=round(limit, 2) if limit <= 100 else None,
    )


def _link_bars(links: Sequence[tuple[str, str, int]]) -> tuple[charts.Bar, ...]:
    shown = links[:_MOST_LINKS]
    return charts.bars([(f"{a} → {b}", sent, units.as_bytes(sent)) for a, b, sent in shown])


def _front(front: Front) -> dict[str, Any]:
    heads, rows = front_rows(front)
    return {
        "title": f"Search {front.name}",
        "front": front,
        "headline": front_headline(front),
        "heads": heads,
        "rows": rows,
        "table_title": FRONT_TITLE,
        "caption": front_caption(front),
    }


def _extrapolation(profile: Profile) -> str | None:
    made = profile.model.extrapolation if profile.model else None
    return None if made is None else told_extrapolation(made)


def _profile(profile: Profile) -> dict[str, Any]:
    source = profile.model.model.source if profile.model else None
    name = source or (profile.device.name if profile.device else "")
    return {
        "title": f"Profile of {name}",
        "device": profile.device,
        "model": profile.model,
        "link": profile.link,
        "extrapolation": _extrapolation(profile),
        "rows": _unit_rows(profile.model) if profile.model else [],
        **profile_charts(profile),
    }


def _unit_rows(part: ModelPart) -> list[dict[str, Any]]:
    costs = [unit_cost(unit) for unit in part.units]
    heaviest, total = max(costs) or 1, sum(costs) or 1
    return [
        {
            "unit": unit,
            "percent": round(100 * cost / heaviest, 2),
            "share": cost / total,
            "heat": heat(cost / heaviest).split()[-1:],
        }
        for unit, cost in zip(part.units, costs, strict=True)
    ]
