"""How long clusters wait for one another at devices that several of them use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["waiting_s"]

ITERATIONS = 200
DAMPING = 0.5


def waiting_s(
    cycle_s: Sequence[float], demand_s: Sequence[Mapping[str, float]], visits: Sequence[int]
) -> list[float]:
    """Seconds that each cluster waits in one step, beyond ``cycle_s``.

    A closed queueing network with one customer per cluster: approximate mean value analysis
    (Bard 1979; Schweitzer 1979), in which an arrival sees the others as they are on average. Of a
    job in service half is left (services have fixed lengths), of one that waits all. A resource
    cannot be used more than all the time: no cluster's step is shorter than the work of all
    clusters at its busiest device.

    Args:
        cycle_s: Length of a step of each cluster without the others.
        demand_s: Busy seconds per step of each cluster on each device.
        visits: Jobs into which each cluster's demand on a device is divided.
    """
    shared = _shared(demand_s)
    waits = [dict.fromkeys(shared, 0.0) for _ in cycle_s]
    for _ in range(ITERATIONS):
        lengths = [c + sum(w.values()) for c, w in zip(cycle_s, waits, strict=True)]
        for k, wait in enumerate(waits):
            for device in shared:
                if demand_s[k].get(device, 0.0) > 0.0:
                    seen = _seen(k, device, lengths, demand_s, waits, visits)
                    wait[device] += DAMPING * (visits[k] * seen - wait[device])
    total = [sum(wait.values()) for wait in waits]
    return [max(w, _floor(k, shared, cycle_s, demand_s)) for k, w in enumerate(total)]


def _shared(demand_s: Sequence[Mapping[str, float]]) -> list[str]:
    devices = sorted({device for demand in demand_s for device in demand})
    return [d for d in devices if sum(demand.get(d, 0.0) > 0.0 for demand in demand_s) > 1]


def _seen(
    k: int,
    device: str,
    lengths: Sequence[float],
    demand_s: Sequence[Mapping[str, float]],
    waits: Sequence[Mapping[str, float]],
    visits: Sequence[int],
) -> float:
    """Work of other clusters that a job of cluster k finds at ``device``, in seconds."""
    found = 0.0
    for j, demand in enumerate(demand_s):
        busy = demand.get(device, 0.0)
        if j == k or busy == 0.0:
            continue
        serving = min(1.0, busy / lengths[j])
        queueing = min(1.0 - serving, waits[j][device] / lengths[j])
        found += (serving / 2.0 + queueing) * busy / visits[j]
    return found


def _floor(
    k: int, shared: Sequence[str], cycle_s: Sequence[float], demand_s: Sequence[Mapping[str, float]]
) -> float:
    totals = [
        sum(demand.get(device, 0.0) for demand in demand_s)
        for device in shared
        if demand_s[k].get(device, 0.0) > 0.0
    ]
    return max([0.0, *(total - cycle_s[k] for total in totals)])
