"""Two plans side by side: every decision and figure, and what of it differs."""

from __future__ import annotations

import io

from rich.console import Console

from gaisnet.report.plan_diff import compare_plans, plan_comparison_view
from gaisnet.schema.files import canonical_json
from gaisnet.schema.plan import Plan
from tests.report.subjects import plan


def shown(first: Plan, second: Plan) -> str:
    text = io.StringIO()
    found = compare_plans(first, second, ("a.json", "b.json"))
    Console(file=text, width=160).print(plan_comparison_view(found))
    return text.getvalue()


def changed() -> Plan:
    """Another edge server for the first cluster, and a round twice as long."""
    before = plan()
    moved = before.clusters[0].model_copy(update={"edge": "elsewhere"})
    longer = {"round_s": 2 * before.predictions.round_s}
    return before.model_copy(
        update={
            "clusters": (moved, *before.clusters[1:]),
            "predictions": before.predictions.model_copy(update=longer),
            "routes": (),
        }
    )


def test_a_plan_does_not_differ_from_itself() -> None:
    found = compare_plans(plan(), plan(), ("a", "b"))
    assert not any(decision.differs for decision in found.decisions)
    assert not any(prediction.change.differs for prediction in found.predictions)
    assert "the plans are the same" in shown(plan(), plan())


def test_what_was_decided_otherwise_is_told_with_both_sides() -> None:
    found = compare_plans(plan(), changed(), ("a", "b"))
    name = plan().clusters[0].id
    differing = {d.what: (d.first, d.second) for d in found.decisions if d.differs}
    assert differing[f"cluster {name} edge"] == (plan().clusters[0].edge, "elsewhere")
    routes = {f"service {route.service}" for route in plan().routes}
    assert routes
    assert all(differing[what][1] is None for what in routes)
    assert set(differing) == {f"cluster {name} edge", *routes}


def test_what_is_predicted_otherwise_has_its_ratio() -> None:
    found = compare_plans(plan(), changed(), ("a", "b"))
    (longer,) = [p for p in found.predictions if p.change.differs]
    assert (longer.what, longer.unit, longer.change.ratio) == ("a round", "s", 2.0)
    assert '"ratio": 2.0' in canonical_json(found)
    text = shown(plan(), changed())
    assert "Decided otherwise" in text
    assert "×2" in text
    assert "first: a.json; second: b.json" in text
