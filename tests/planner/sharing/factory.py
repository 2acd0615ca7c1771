"""Small problems of shares between fine-tuning and services."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gaisnet.planner.routing.options import Option
from gaisnet.planner.sharing.problem import SharingProblem
from gaisnet.planner.sharing.seconds import Length, Resource, Seconds
from gaisnet.planner.sharing.ways import Visit, Way
from gaisnet.schema.job import Service

__all__ = ["make_service", "make_way", "random_sharing", "scaled"]


def make_service(name: str = "s0", **changes: Any) -> Service:
    fields: dict[str, Any] = {"id": name, "rate_per_s": 2.0}
    return Service.model_validate({**fields, **changes})


def make_way(
    service: Service,
    seconds: dict[str, float],
    *,
    fixed_s: float = 0.0,
    times: dict[str, int] | None = None,
) -> Way:
    """One visit of the compute of each device named; ``times`` of equal length, once by default."""
    option = Option(service=service, cluster="c0", entry="e", demand_s=dict(seconds))
    visits = tuple(
        Visit(resource=("compute", d), seconds=s, times=(times or {}).get(d, 1), burst=1.0)
        for d, s in seconds.items()
    )
    return Way(option=option, fixed_s=fixed_s, visits=visits)


def random_sharing(seed: int, services: int, ways: int, **changes: Any) -> SharingProblem:
    """Three devices with links, a round that is a maximum of two clusters, services that differ."""
    generator = np.random.default_rng(seed)
    draw = generator.uniform
    resources: list[Resource] = [(k, d) for d in "abc" for k in ("compute", "link")]  # type: ignore[misc]

    def part() -> Seconds:
        needed = {r: draw(0.1, 1.0) for r in resources if draw() < 0.6}
        return Seconds(fixed=draw(0.0, 0.2), needed=needed)

    def way(service: Service) -> Way:
        option = Option(service=service, cluster="c0", entry="e", demand_s={})
        visits = []
        for resource in resources:
            if draw() < 0.7 or not visits:
                times = 1 if draw() < 0.6 else 2
                burst = 1.0 if times == 1 else draw(1.0, 2.0)
                seconds = draw(0.005, 0.05)
                visits.append(Visit(resource=resource, seconds=seconds, times=times, burst=burst))
        return Way(option=option, fixed_s=draw(0.0, 0.1), visits=tuple(visits))

    rounds = tuple(
        Length(plain=part(), longest=((2.0, (part(), part())), (1.0, (part(),)))) for _ in range(2)
    )
    users = [
        make_service(
            f"s{i}",
            rate_per_s=draw(0.2, 3.0),
            slo_s=draw(0.6, 2.0) if draw() < 0.7 else None,
            slo_percentile=None,
            delay_weight=draw(0.01, 0.2),
            **changes,
        )
        for i in range(services)
    ]
    users = [
        user.model_copy(update={"slo_percentile": 95.0}) if user.slo_s and draw() < 0.5 else user
        for user in users
    ]
    return SharingProblem(
        rounds=rounds, ways=tuple(tuple(way(user) for _ in range(ways)) for user in users)
    )


def scaled(problem: SharingProblem, resource: Resource, factor: float) -> SharingProblem:
    """The same problem with ``factor`` times as much of a resource; T0 and D0 may change."""

    def seconds(part: Seconds) -> Seconds:
        return replace(
            part, needed={r: s / factor if r == resource else s for r, s in part.needed.items()}
        )

    def visit(v: Visit) -> Visit:
        return replace(v, seconds=v.seconds / factor) if v.resource == resource else v

    return SharingProblem(
        rounds=tuple(
            Length(
                plain=seconds(length.plain),
                longest=tuple((w, tuple(map(seconds, parts))) for w, parts in length.longest),
            )
            for length in problem.rounds
        ),
        ways=tuple(
            tuple(replace(way, visits=tuple(map(visit, way.visits))) for way in ways)
            for ways in problem.ways
        ),
    )
