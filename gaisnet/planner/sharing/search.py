"""Outer approximation: the program proposes ways and bounds the value, tangents make it true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from gaisnet.planner.linear import LinearResult
from gaisnet.planner.sharing.problem import Sharing, SharingProblem
from gaisnet.planner.sharing.program import Goal, Program

__all__ = ["Found", "loosest_factor", "solve_sharing"]

MOST_TANGENTS = 60
"""Rounds of tangents until a linear program is as good as its curves."""
MOST_PROPOSALS = 200
GAP = 2e-5
"""Relative, at which a value counts as proven: a little more than the tangents' tolerance."""
PRECISION = 1e-3
"""Relative, of a loosened SLO."""
SLACK = 1e-4
"""Relative, by which a loosened SLO is looser than the bound on it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best shares, with what is proven about them."""

    sharing: Sharing | None
    value: float
    bound: float
    """inf: there are no shares that meet all SLOs, proven."""
    nodes: int

    @property
    def gap(self) -> float:
        """``(value - bound) / value``; 0 when the value is 0."""
        return max(0.0, (self.value - self.bound) / self.value) if self.value > 0.0 else 0.0


def solve_sharing(problem: SharingProblem, node_limit: int) -> Found:
    """Shares and ways of the least objective; ties go to the first way."""
    program = Program(problem)
    relaxed = _refine(program)
    if relaxed.infeasible:
        return Found(sharing=None, value=inf, bound=inf, nodes=0)
    best: Sharing | None = None
    value, bound, nodes = inf, relaxed.bound, 0
    tried: set[tuple[int, ...]] = set()
    while len(tried) < MOST_PROPOSALS:
        result = program.linear.solve(gap=GAP / 4.0, node_limit=node_limit)
        nodes += max(1, result.nodes)
        bound = min(value, max(bound, result.bound))
        if not result.found or bound >= value * (1.0 - GAP):
            break
        ways = program.chosen(result.values)
        if ways in tried:
            break
        tried.add(ways)
        found = _settle(program, ways)
        worth = inf if found is None else problem.value(found)
        if worth == inf:
            program.forbid(ways)
        elif worth < value:
            best, value = found, worth
    return Found(sharing=best, value=value, bound=bound, nodes=nodes)


def _refine(program: Program) -> LinearResult:
    """The relaxation, with tangents until it has all that it needs."""
    result = program.linear.solve(relaxed=True)
    for _ in range(MOST_TANGENTS):
        if not result.found or not program.cut(result.values):
            break
        result = program.linear.solve(relaxed=True)
    return result


def _settle(program: Program, ways: Sequence[int]) -> Sharing | None:
    """Best shares for these ways; None if none meet the SLOs."""
    program.fix(ways)
    result = _refine(program)
    program.fix(None)
    return program.read(ways, result.values, result.row_price) if result.found else None


def loosest_factor(problem: SharingProblem, services: frozenset[int]) -> float | None:
    """By how much SLOs of ``services`` must be loosened alike so that all hold, with fine-tuning
    at rest. At least 1, and the least to 0.1 %; None: no factor does."""
    program = Program(problem, Goal(kind="factor", services=services))
    if _refine(program).infeasible:
        return None
    best = inf
    for _ in range(MOST_PROPOSALS):
        result = program.linear.solve(gap=PRECISION / 4.0)
        if not result.found or best <= result.bound * (1.0 + PRECISION):
            break
        ways = program.chosen(result.values)
        program.fix(ways)
        settled = _refine(program)
        program.fix(None)
        if settled.found:
            best = min(best, settled.bound * (1.0 + SLACK))
        else:
            program.forbid(ways)
    return best if best < inf else None
