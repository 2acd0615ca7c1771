"""Brute force for small splitting problems, and the random problems it is asked about.

Written from the definitions alone, and on purpose without any of the solver's code.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

from gaisnet.planner import SplitProblem

Path = list[tuple[int, int, int]]
OBJECTIVES = ("latency", "period", "makespan", "energy")


def every_split(problem: SplitProblem) -> Iterator[Path]:
    """All chains of segments on distinct devices; under u_shape between the owner's two ends."""
    units, devices = len(problem.units), range(len(problem.devices))
    if problem.topology == "chain":
        for holders, ranges in _compositions(list(devices), 0, units):
            yield [(n, *span) for n, span in zip(holders, ranges, strict=True)]
        return
    owner = problem.owner
    yield [(owner, 0, units - 1)]
    others = [n for n in devices if n != owner]
    for head in range(1, units - 1):
        for tail in range(head + 1, units):
            for holders, ranges in _compositions(others, head, tail):
                body = [(n, *span) for n, span in zip(holders, ranges, strict=True)]
                yield [(owner, 0, head - 1), *body, (owner, tail, units - 1)]


def _compositions(
    devices: list[int], begin: int, end: int
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, int]]]]:
    for count in range(1, min(len(devices), end - begin) + 1):
        for cuts in itertools.combinations(range(begin + 1, end), count - 1):
            edges = [begin, *cuts, end]
            ranges = [(a, b - 1) for a, b in itertools.pairwise(edges)]
            for holders in itertools.permutations(devices, count):
                yield holders, ranges


def figures(problem: SplitProblem, path: Path) -> dict[str, float] | None:
    """The four objectives of a split, or None where it breaks a constraint."""
    if not _permitted(problem, path):
        return None
    train = problem.mode == "training"
    busy = [0.0] * len(problem.devices)
    joules = 0.0
    for n, first, last in path:
        for unit in problem.units[first : last + 1]:
            work = unit.forward_flops + (unit.backward_flops if train else 0)
            busy[n] += work / problem.devices[n].flops_per_s
            joules += work * problem.devices[n].joules_per_flop
    transfers = []
    for (n, _, last), (m, _, _) in itertools.pairwise(path):
        data = problem.units[last].output_bytes
        ways = [(n, m), (m, n)] if train else [(n, m)]
        transfers.append(sum(_seconds(problem, *way, data) for way in ways))
        joules += sum(problem.links.joules_per_byte[a][b] * data for a, b in ways)
    if problem.send_input and problem.owner is not None and path[0][0] != problem.owner:
        way = (problem.owner, path[0][0])
        transfers.append(_seconds(problem, *way, problem.input_bytes))
        joules += problem.links.joules_per_byte[way[0]][way[1]] * problem.input_bytes
    if math.inf in transfers:
        return None
    latency, period = sum(busy) + sum(transfers), max(busy + transfers)
    makespan = latency + (problem.microbatches - 1) * period
    cost = sum(b * d.price_per_hour / 3600 for b, d in zip(busy, problem.devices, strict=True))
    for spent, limit in ((joules, problem.energy_budget_j), (cost, problem.cost_budget)):
        if limit is not None and spent > limit * (1 + 1e-9):
            return None
    return {"latency": latency, "period": period, "makespan": makespan, "energy": joules}


def _seconds(problem: SplitProblem, n: int, m: int, data: float) -> float:
    bandwidth = problem.links.bandwidth_bytes_per_s[n][m]
    return problem.links.latency_s[n][m] + data / bandwidth if bandwidth else math.inf


def _permitted(problem: SplitProblem, path: Path) -> bool:
    memory = [0.0] * len(problem.devices)
    for n, first, last in path:
        memory[n] += sum(
            u.param_bytes + u.activation_bytes for u in problem.units[first : last + 1]
        )
    if any(m > d.memory_bytes for m, d in zip(memory, problem.devices, strict=True)):
        return False
    if problem.max_segments is not None and len(path) > problem.max_segments:
        return False
    holder = [n for n, first, last in path for _ in range(first, last + 1)]
    pinned = holder[: problem.pin_first] + holder[len(holder) - problem.pin_last :]
    if any(n != problem.owner for n in pinned):
        return False
    return _devices_permitted(problem, set(holder)) and _units_permitted(problem, path, holder)


def _devices_permitted(problem: SplitProblem, used: set[int]) -> bool:
    if used & set(problem.forbidden_devices) or set(problem.forced_devices) - used:
        return False
    if any(len(used & set(group)) > 1 for group in problem.apart_devices):
        return False
    return all(set(g) <= used or not set(g) & used for g in problem.together_devices)


def _units_permitted(problem: SplitProblem, path: Path, holder: list[int]) -> bool:
    if any(len({holder[unit] for unit in units}) > 1 for units in problem.colocated_units):
        return False
    for tier in problem.privacy_tiers:
        if set(holder[: tier.first_units]) - {*tier.devices, problem.owner}:
            return False
    if problem.max_leakage is None:
        return True
    owner = problem.owner
    own = None if owner is None else problem.devices[owner].trust

    def trusted(n: int) -> bool:
        theirs = problem.devices[n].trust
        if owner is None:
            return False
        return n == owner or (own is not None and theirs is not None and theirs >= own)

    if owner is not None and problem.max_leakage < 1 and not trusted(path[0][0]):
        return False
    return all(
        trusted(m) or problem.units[last].leakage <= problem.max_leakage
        for (_, _, last), (m, _, _) in itertools.pairwise(path)
    )


def brute_force(problem: SplitProblem) -> dict[str, float]:
    """Least value of each objective; infinite when nothing is permitted."""
    best = dict.fromkeys(OBJECTIVES, math.inf)
    for path in every_split(problem):
        found = figures(problem, path)
        for name, value in (found or {}).items():
            best[name] = min(best[name], value)
    return best


def random_fields(seed: int, *, devices: int = 4, units: int = 6) -> dict[str, Any]:
    """Fields of a small problem: tight integer memories, missing and one-way links, all rules."""
    rng = random.Random(seed)
    n, length = rng.randint(1, devices), rng.randint(1, units)
    owner = rng.choice([None, rng.randrange(n), rng.randrange(n)])
    topology = "chain" if owner is None else rng.choice(["chain", "chain", "u_shape"])
    pins = (0, 0)
    if owner is not None:
        pins = (rng.choice([0, 0, 1, 2]), rng.choice([0, 0, 1, 2]))
    model = [
        {
            "forward_flops": rng.choice([0, 1, 2, 3, 10]) * rng.uniform(0.5, 1.5),
            "backward_flops": rng.uniform(0, 6),
            "param_bytes": rng.randint(0, 6),
            "activation_bytes": rng.randint(0, 3),
            "output_bytes": rng.choice([0, 1, 4, 4, 9]),
        }
        for _ in range(length)
    ]
    total = sum(unit["param_bytes"] + unit["activation_bytes"] for unit in model)
    roomy = rng.choice([0.7, 1.2, 2.0, 4.0])
    links = [0, 0.5, 1, 3, 10] if rng.random() < 0.5 else [1, 2, 5, math.inf]
    return {
        "mode": rng.choice(["inference", "training"]),
        "units": model,
        "devices": [
            {
                "flops_per_s": rng.choice([0.5, 1, 2, 8]),
                "memory_bytes": rng.randint(0, max(1, int(2 * roomy * total / n))),
                "joules_per_flop": rng.choice([0.0, 0.1, 1.0]),
            }
            for _ in range(n)
        ],
        "links": {
            "bandwidth_bytes_per_s": [[rng.choice(links) for _ in range(n)] for _ in range(n)],
            "latency_s": [[rng.choice([0, 0.1, 1]) for _ in range(n)] for _ in range(n)],
            "joules_per_byte": [[rng.choice([0, 0.1, 1]) for _ in range(n)] for _ in range(n)],
        },
        "owner": owner,
        "topology": topology,
        "pin_first": min(pins[0], length),
        "pin_last": min(pins[1], length),
        "send_input": rng.random() < 0.5,
        "input_bytes": rng.choice([0, 1, 20]),
        "max_segments": rng.choice([None, None, 1, 2, 3, 4]),
        "microbatches": rng.choice([1, 2, 4, 16]),
    }


def random_problem(seed: int, **sizes: int) -> SplitProblem:
    """The problem of ``random_fields``."""
    return SplitProblem(**random_fields(seed, **sizes))


def crowded(seed: int, *, kinds: int, each: int, units: int = 10) -> SplitProblem:
    """``kinds`` sorts of devices, ``each`` of every sort, links by sort; memory is tight."""
    rng = random.Random(seed)
    sorts = [kind for kind in range(kinds) for _ in range(each)]
    speeds = [rng.uniform(1, 10) for _ in range(kinds)]
    sizes = [rng.randint(20, 45) for _ in range(kinds)]
    between = [[rng.uniform(1, 10) for _ in range(kinds)] for _ in range(kinds)]
    rows = [[between[a][b] for b in sorts] for a in sorts]
    return SplitProblem(
        mode="training",
        units=[
            {
                "forward_flops": rng.uniform(1, 2),
                "backward_flops": rng.uniform(1, 2),
                "param_bytes": rng.randint(5, 15),
                "output_bytes": rng.randint(1, 4),
            }
            for _ in range(units)
        ],
        devices=[
            {"flops_per_s": speeds[s], "memory_bytes": sizes[s], "joules_per_flop": 1 / speeds[s]}
            for s in sorts
        ],
        links={"bandwidth_bytes_per_s": rows, "latency_s": rows, "joules_per_byte": rows},
        microbatches=4,
    )


RULES = (
    "forbidden_devices",
    "forced_devices",
    "together_devices",
    "apart_devices",
    "colocated_units",
    "privacy_tiers",
    "max_leakage",
    "energy_budget_j",
    "cost_budget",
)


def random_rules(seed: int, names: tuple[str, ...], **sizes: int) -> SplitProblem:
    """``random_problem`` with these side constraints; budgets are what some split spends exactly,
    or just less."""
    fields, rng = random_fields(seed, **sizes), random.Random(seed + 1)
    count, length = len(fields["devices"]), len(fields["units"])
    for unit in fields["units"]:
        unit["leakage"] = rng.choice([0.1, 0.3, 0.5, 1.0])
    for device in fields["devices"]:
        device["trust"] = rng.choice([None, 0, 1, 2])
        device["price_per_hour"] = rng.choice([0.0, 900.0, 3600.0])

    def some(of: int, most: int) -> list[int]:
        return rng.sample(range(of), rng.randint(1, min(most, of)))

    rules: dict[str, Any] = {
        "forbidden_devices": some(count, 1),
        "forced_devices": some(count, 2),
        "together_devices": [some(count, 3)],
        "apart_devices": [some(count, 3), some(count, 2)],
        "colocated_units": [some(length, 3), some(length, 2)],
        "privacy_tiers": [{"first_units": rng.randint(1, length), "devices": some(count, 3)}],
        "max_leakage": rng.choice([0.1, 0.3, 0.5, 0.9, 1.0]),
    }
    fields |= {name: rules[name] for name in names if name in rules}
    for name in ("energy_budget_j", "cost_budget"):
        if name in names:
            fields[name] = _boundary(SplitProblem(**fields), name, rng)
    return SplitProblem(**fields)


def _boundary(problem: SplitProblem, name: str, rng: random.Random) -> float:
    """What some permitted split spends, or slightly less; 1 if there is none."""
    from gaisnet.planner import evaluate_split

    spent = set()
    for path in every_split(problem):
        if figures(problem, path):
            found = evaluate_split(problem, path)
            spent.add(found.energy_j if name == "energy_budget_j" else found.cost)
    figure = rng.choice(sorted(spent)[: max(1, len(spent) // 2)] or [1.0])
    return figure * rng.choice([1.0, 1.0, 1 - 1e-6])
