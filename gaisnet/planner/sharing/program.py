"""The mixed-integer program with tangents (Kelley): its bound holds for the real problem.

    y_p in {0,1}          the service takes way p; one way each
    φ_v, a_r              shares of a visit, and of fine-tuning: Σ φ_v + a_r <= 1 per resource
    t_v >= y f(μ_v / y)   by tangents, for service, mean wait and late wait; μ_v = φ_v / seconds
    Σ t <= slo y          D_s >= Σ t
    i_r >= 1 / a_r        by tangents
    T >= each round's     fixed + Σ needed i, and auxiliary variables for its maxima

Tangents in y and μ together (perspectives) are tight for fractional y as well. All lie below
their curves, so that no real solution is cut off. Times of a service are relative to its D0, those
of rounds to T0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Literal

from gaisnet.planner.linear import FloatArray, LinearProgram
from gaisnet.planner.sharing.curves import Curve, inverse
from gaisnet.planner.sharing.problem import Sharing, SharingProblem
from gaisnet.planner.sharing.seconds import Resource, Seconds
from gaisnet.planner.sharing.ways import Way

__all__ = ["Goal", "Program"]

Terms = list[tuple[int, float]]

SAFETY = 2e-5
"""SLOs are kept with this margin, relative, since tangents end a little below their curves."""
CLOSE = 1e-6
"""Relative distance of a tangent from its curve at which no more are added."""
SERVED = 1e-6
LEAST_SHARE = 1e-4
"""At which an inverse is still linearised."""
SLOWEST = 1e3
"""Times its D0 that a service without an SLO may take at any of its visits."""
SHARES = (0.03, 0.1, 0.25, 0.45, 0.65, 0.8, 0.9, 1.0)
"""Of the way from standstill to full speed, of a curve's first tangents."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is minimised: the objective, or how far SLOs must be loosened (tuning may rest)."""

    kind: Literal["cost", "factor"] = "cost"
    services: frozenset[int] = frozenset()
    """Those whose SLOs are loosened, by a common factor."""


@dataclass(frozen=True, kw_only=True)
class _Bend:
    """``result >= y curve(speed · share / y)``."""

    result: int
    share: int
    speed: float
    served: int | None
    curve: Curve
    least: float
    """Smallest μ that is looked at."""


class Program:
    """The program of one problem."""

    def __init__(self, problem: SharingProblem, goal: Goal | None = None) -> None:
        self.problem, self.goal = problem, goal or Goal()
        self.linear = LinearProgram()
        self._bends: list[_Bend] = []
        self._users: dict[Resource, Terms] = {}
        self._impossible: set[tuple[int, int]] = set()
        """Services and ways that break the SLO whatever their shares."""
        self.served = [
            [self.linear.variable(upper=1.0, whole=True) for _ in ways] for ways in problem.ways
        ]
        self._factor = self.linear.variable(1.0, 1.0) if self.goal.kind == "factor" else None
        self._shares = [
            [self._way(s, p) for p in range(len(ways))] for s, ways in enumerate(problem.ways)
        ]
        for ys in self.served:
            self.linear.row([(y, 1.0) for y in ys], at_least=1.0, at_most=1.0)
        self._inverse: dict[Resource, int] = {}
        self._tuning = self._tune() if self.goal.kind == "cost" else {}
        self._capacity = {
            resource: self.linear.row(terms, at_most=1.0)
            for resource, terms in sorted(self._users.items())
        }

    def cut(self, values: FloatArray) -> bool:
        """Tangents where curves lie above ``values``; whether there were any."""
        missed = False
        for bend in self._bends:
            y = 1.0 if bend.served is None else float(values[bend.served])
            if y <= SERVED:
                continue
            mu = max(bend.least, float(values[bend.share]) * bend.speed / y)
            height = y * bend.curve.value(mu)
            if values[bend.result] < height - CLOSE * max(1.0, height):
                missed = True
                self._tangent(bend, mu)
        return missed

    def fix(self, ways: Sequence[int] | None) -> None:
        """Give every service a way, or free them all."""
        for s, ys in enumerate(self.served):
            for p, y in enumerate(ys):
                free = ways is None and (s, p) not in self._impossible
                taken = float(ways is not None and p == ways[s])
                self.linear.bounds(y, taken, 1.0 if free else taken)

    def forbid(self, ways: Sequence[int]) -> None:
        """Exclude one choice of ways."""
        terms = [(self.served[s][p], 1.0) for s, p in enumerate(ways)]
        self.linear.row(terms, at_most=len(ways) - 1.0)

    def chosen(self, values: FloatArray) -> tuple[int, ...]:
        """The way of each service that is served most by ``values``."""
        return tuple(max(range(len(ys)), key=lambda p: values[ys[p]]) for ys in self.served)

    def read(self, ways: Sequence[int], values: FloatArray, row_price: FloatArray) -> Sharing:
        """Shares of a solution with fixed ways; what nobody needs is given away."""
        problem = self.problem
        found = [problem.ways[s][p] for s, p in enumerate(ways)]
        shares = [
            {
                visit.resource: min(1.0, max(0.0, float(values[phi])))
                for visit, phi in zip(way.visits, self._shares[s][p], strict=True)
            }
            for s, (p, way) in enumerate(zip(ways, found, strict=True))
        ]
        tuning = {}
        for resource in self._capacity:
            mine = [part for part in shares if resource in part]
            used = sum(part[resource] for part in mine)
            if resource in self._tuning:
                tuning[resource] = max(0.0, 1.0 - used)
            elif used > 0.0:
                for part in mine:
                    part[resource] /= used
        prices = {resource: -float(row_price[row]) for resource, row in self._capacity.items()}
        return Sharing(ways=tuple(found), shares=tuple(shares), tuning=tuning, price=prices)

    def _bend(self, curve: Curve, share: int, speed: float, least: float, y: int | None) -> int:
        """A variable of at least the curve, with its first tangents."""
        result = self.linear.variable()
        bend = _Bend(result=result, share=share, speed=speed, served=y, curve=curve, least=least)
        self._bends.append(bend)
        for part in SHARES:
            self._tangent(bend, least + part * (speed - least))
        return result

    def _tangent(self, bend: _Bend, mu: float) -> None:
        slope, value = bend.curve.slope(mu), bend.curve.value(mu)
        scale = 1.0 / max(1.0, value)
        rest = (value - slope * mu) * scale
        terms = [(bend.result, scale), (bend.share, -slope * bend.speed * scale)]
        if bend.served is None:
            self.linear.row(terms, at_least=rest)
        else:
            self.linear.row([*terms, (bend.served, -rest)], at_least=0.0)

    def _way(self, s: int, p: int) -> list[int]:
        """Shares, queues, SLO and delay of one way; its shares."""
        way, y = self.problem.ways[s][p], self.served[s][p]
        scale = 1.0 / self.problem.idle_s[s]
        shares, served, waits, late = [], [], [], []
        for v, visit in enumerate(way.visits):
            speed = 1.0 / visit.seconds
            curves = [curve.scaled(scale) for curve in way.curves(v)]
            least = self._slowest(s, way, curves, speed)
            if least >= speed:
                self.linear.bounds(y, 0.0, 0.0)
                self._impossible.add((s, p))
                least = speed
            share = self.linear.variable(upper=1.0)
            self._users.setdefault(visit.resource, []).append((share, 1.0))
            self.linear.row([(share, speed), (y, -least)], at_least=0.0)
            self.linear.row([(y, 1.0), (share, -1.0)], at_least=0.0)
            shares.append(share)
            bends = [self._bend(curve, share, speed, least, y) for curve in curves]
            served.append((bends[0], 1.0))
            waits.append(bends[1])
            late += bends[2:]
        base = [(y, way.fixed_s * scale), *served]
        self._slo(s, y, [*base, *self._longest(way.waits(), late or waits)], scale)
        if self.goal.kind == "cost":
            self._delay(s, [*base, *self._longest(way.waits(), waits)])
        return shares

    def _slowest(self, s: int, way: Way, curves: Sequence[Curve], speed: float) -> float:
        """Smallest μ of a visit at which none of its curves alone breaks the SLO."""
        scale = 1.0 / self.problem.idle_s[s]
        limit = SLOWEST if self._factor is not None else self.problem.limit_s(s) * scale
        left = min(limit, SLOWEST) - way.fixed_s * scale
        return max(curve.reaches(left, speed) for curve in curves)

    def _longest(self, parts: Iterable[Sequence[int]], of: Sequence[int]) -> Terms:
        """Of each part the longest."""
        terms: Terms = []
        for part in parts:
            if len(part) == 1:
                terms.append((of[part[0]], 1.0))
                continue
            longest = self.linear.variable()
            for v in part:
                self.linear.row([(longest, 1.0), (of[v], -1.0)], at_least=0.0)
            terms.append((longest, 1.0))
        return terms

    def _slo(self, s: int, y: int, latency: Terms, scale: float) -> None:
        limit = self.problem.limit_s(s) * scale * (1.0 - SAFETY)
        if isinf(limit):
            return
        terms = [(column, -factor) for column, factor in latency]
        if self._factor is not None and s in self.goal.services:
            self.linear.row([*terms, (y, limit), (self._factor, limit)], at_least=limit)
        else:
            self.linear.row([*terms, (y, limit)], at_least=0.0)

    def _delay(self, s: int, latency: Terms) -> None:
        weight = self.problem.services[s].delay_weight
        if weight > 0.0:
            delay = self.linear.variable(weight)
            terms = [(column, -factor) for column, factor in latency]
            self.linear.row([(delay, 1.0), *terms], at_least=0.0)

    def _tune(self) -> dict[Resource, int]:
        """Fine-tuning's shares, and the longest round."""
        tuning = {r: self.linear.variable(upper=1.0) for r in sorted(self.problem.tuned())}
        for resource, share in tuning.items():
            self._users.setdefault(resource, []).append((share, 1.0))
            self._inverse[resource] = self._bend(inverse(), share, 1.0, LEAST_SHARE, None)
        longest = self.linear.variable(1.0)
        for length in self.problem.rounds:
            terms, fixed = self._seconds(length.plain)
            for weight, parts in length.longest:
                if weight > 0.0:
                    terms.append((self._maximum(parts), weight))
            negative = [(column, -factor) for column, factor in terms]
            self.linear.row([(longest, 1.0), *negative], at_least=fixed)
        return tuning

    def _maximum(self, parts: Iterable[Seconds]) -> int:
        most = self.linear.variable()
        for part in parts:
            terms, fixed = self._seconds(part)
            negative = [(column, -factor) for column, factor in terms]
            self.linear.row([(most, 1.0), *negative], at_least=fixed)
        return most

    def _seconds(self, part: Seconds) -> tuple[Terms, float]:
        unit = 1.0 / self.problem.full_round_s
        needed = part.needed.items()
        terms = [(self._inverse[r], seconds * unit) for r, seconds in needed if seconds > 0.0]
        return terms, part.fixed * unit
