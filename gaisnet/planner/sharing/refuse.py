"""Why shares cannot make all SLOs hold, and the loosest SLO that would do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gaisnet.errors import InfeasibleError
from gaisnet.planner.routing.refuse import loosest
from gaisnet.planner.sharing.problem import SharingProblem, late_s
from gaisnet.planner.sharing.search import loosest_factor
from gaisnet.planner.sharing.seconds import Resource
from gaisnet.planner.sharing.ways import Way

__all__ = ["refusal"]

MOST_CANDIDATES = 3
"""Services whose SLO alone is loosened, those first that have least room."""
BESIDE = "beside the other services as they are"


def refusal(problem: SharingProblem) -> InfeasibleError:
    """The first of: a service alone, one beside the others, all loosened alike, too much load."""
    alone = [_alone(problem, s) for s in range(len(problem.ways))]
    for error, _ in alone:
        if error is not None:
            return error
    tightest = sorted(range(len(alone)), key=lambda s: alone[s][1])
    with_slo = [s for s in tightest if problem.services[s].slo_s is not None]
    for s in with_slo[:MOST_CANDIDATES]:
        factor = loosest_factor(problem, frozenset({s}))
        if factor is not None:
            return loosest(problem.services[s], problem.limit_s(s) * factor, BESIDE)
    factor = loosest_factor(problem, frozenset(with_slo)) if with_slo else None
    if factor is None:
        return _crowded(problem)
    least_s = problem.limit_s(with_slo[0]) * factor
    return loosest(problem.services[with_slo[0]], least_s, "all SLOs loosened alike")


def _alone(problem: SharingProblem, s: int) -> tuple[InfeasibleError | None, float]:
    """What forbids a service even alone in the fleet, and how often its latency fits its SLO."""
    least_s = min(late_s(way, {}) for way in problem.ways[s])
    limit_s = problem.limit_s(s)
    if least_s == float("inf"):
        return _overloaded(problem, s), 0.0
    if least_s > limit_s * (1.0 - 1e-5):
        return loosest(problem.services[s], least_s * (1.0 + 2e-5), "alone in the fleet"), 0.0
    return None, limit_s / least_s


def _overloaded(problem: SharingProblem, s: int) -> InfeasibleError:
    """One service is too much for every way, even with all of its resources."""
    service = problem.services[s]
    resource, busy = min((_busiest([way]) for way in problem.ways[s]), key=lambda found: found[1])
    return InfeasibleError(
        f"service {service.id}: {_name(resource)} would be busy {busy:.0%} of the time",
        where=f"services[{service.id}].rate_per_s",
        hint=f"at most {service.rate_per_s / busy:.4g} requests a second fit",
    )


def _crowded(problem: SharingProblem) -> InfeasibleError:
    """Each service fits alone, but not all together."""
    fastest = [min(ways, key=lambda way: way.idle_s) for ways in problem.ways]
    resource, busy = _busiest(fastest)
    names = ", ".join(service.id for service in problem.services)
    return InfeasibleError(
        f"services {names} do not fit together: on their fastest ways {_name(resource)} would be "
        f"busy {busy:.0%} of the time",
        where="services",
        hint="lower their rates, or add devices that hold the model",
    )


def _busiest(ways: Sequence[Way]) -> tuple[Resource, float]:
    """The resource that is used most, and how much, if all ways are taken at once."""
    busy: defaultdict[Resource, float] = defaultdict(float)
    for way in ways:
        for visit in way.visits:
            busy[visit.resource] += way.option.service.rate_per_s * visit.seconds
    return max(busy.items(), key=lambda found: found[1])


def _name(resource: Resource) -> str:
    kind, device = resource
    return f"device {device}" if kind == "compute" else f"what {device} sends"
