"""Why services cannot be routed, and the smallest change that would mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gaisnet.errors import InfeasibleError
from gaisnet.planner.mend import bytes_text
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing.assign import assign
from gaisnet.planner.routing.options import Option
from gaisnet.planner.routing.queueing import Loads
from gaisnet.schema.job import Service
from gaisnet.schema.plan import ClusterPlan

__all__ = ["loosest", "no_cluster", "no_room", "too_slow"]


def no_cluster(
    roster: Roster, clusters: Sequence[ClusterPlan], service: Service
) -> InfeasibleError:
    """No cluster may answer the service, or none is linked with its origin."""
    domains = sorted({cluster.domain for cluster in clusters})
    if roster.job.fine_tuning.personal and service.domain not in domains:
        return InfeasibleError(
            f"service {service.id}: no cluster tunes domain {service.domain!r}",
            where=f"services[{service.id}].domain",
            hint=f"the clusters' domains are {', '.join(domains)}",
        )
    return InfeasibleError(
        f"service {service.id}: its origin {service.origin} has no links to any cluster's body",
        where=f"services[{service.id}].origin",
        hint="link it both ways with the devices that hold the body",
    )


def no_room(missing: Mapping[Option, Mapping[str, int]]) -> InfeasibleError:
    """Every way to answer overloads some device's memory."""
    option = min(missing, key=lambda o: sum(missing[o].values()))
    device, count = next(iter(missing[option].items()))
    return InfeasibleError(
        f"service {option.service.id}: device {device} lacks the memory to serve it",
        where=f"services[{option.service.id}]",
        hint=f"give {device} {bytes_text(count)} more, or shorter prompts and outputs",
    )


def too_slow(choices: Sequence[Sequence[Option]], node_limit: int) -> InfeasibleError:
    """SLOs or capacities cannot all be met: one service alone, or all of them together."""
    for options in choices:
        alone = [option for option in options if Loads([option]).stable]
        if not alone:
            return _overloaded(options)
        if not any(Loads([option]).meets_slo(option) for option in alone):
            least = min(Loads([option]).latency_s(option) for option in alone)
            return _loosest(options[0].service, least, "alone in the fleet")
    relaxed = assign(choices, node_limit, slo=False)
    if relaxed.options is None:
        return _crowded(choices)
    loads = Loads(relaxed.options)
    late = [option for option in relaxed.options if not loads.meets_slo(option)]
    worst = max(late, key=lambda o: loads.latency_s(o) / (o.service.slo_s or 1.0))
    return _loosest(worst.service, loads.latency_s(worst), "beside the other services")


def _loosest(service: Service, least_s: float, when: str) -> InfeasibleError:
    return loosest(service, least_s, when, "; or a larger inference_share")


def loosest(service: Service, least_s: float, when: str, instead: str = "") -> InfeasibleError:
    """An SLO is too tight: what it would have to be, and what could be changed instead."""
    what = "mean" if service.slo_percentile is None else f"{service.slo_percentile:g}th percentile"
    return InfeasibleError(
        f"service {service.id}: its {what} latency {when} is {least_s:.4g} s at best, "
        f"but slo_s is {service.slo_s:.4g}",
        where=f"services[{service.id}].slo_s",
        hint=f"the loosest SLO that would do is {least_s:.4g} s{instead}",
    )


def _overloaded(options: Sequence[Option]) -> InfeasibleError:
    """One service is too much for every cluster."""
    service = options[0].service
    busiest = {option: Loads([option]).busiest(option) for option in options}
    best = min(busiest, key=lambda o: busiest[o][1])
    resource, utilisation = busiest[best]
    return InfeasibleError(
        f"service {service.id}: {_name(resource)} would be busy {utilisation:.0%} of its share",
        where=f"services[{service.id}].rate_per_s",
        hint=f"at most {service.rate_per_s / utilisation:.4g} requests a second fit; "
        "or a larger inference_share",
    )


def _crowded(choices: Sequence[Sequence[Option]]) -> InfeasibleError:
    """Each service fits alone, but not all together."""
    routed = [options[0] for options in choices]
    loads = Loads(routed)
    worst = max(routed, key=lambda option: loads.busiest(option)[1])
    resource, utilisation = loads.busiest(worst)
    return InfeasibleError(
        f"services {', '.join(o.service.id for o in routed)} do not fit together: "
        f"{_name(resource)} would be busy {utilisation:.0%} of its share",
        where="services",
        hint="lower their rates, or raise inference_share",
    )


def _name(resource: str | tuple[str, str]) -> str:
    if isinstance(resource, str):
        return f"device {resource}"
    return f"the link from {resource[0]} to {resource[1]}"
