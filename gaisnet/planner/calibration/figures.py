"""Factors of devices and figures of links that fit the times of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Literal

from gaisnet.planner.calibration.robust import line, weighted_quantile
from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.links import LinkFigures
from gaisnet.schema.run import MoveTime, RoundMetrics, WorkTime
from gaisnet.schema.run_calibration import DeviceFit, LinkFit, Times

__all__ = ["Clock", "fit_devices", "fit_links"]

Clock = Literal["virtual", "wall"]
DIGITS = 12
MOST_POINTS = 200
"""Points of a line: pairs grow with their square."""


def fit_devices(
    cost: CostModel, rounds: Sequence[RoundMetrics], clock: Clock
) -> tuple[DeviceFit, ...]:
    """One factor for each device that computed and whose times are known.

    A device's passes of all kinds share the factor, each round's weighing as much as it was
    predicted to take: what is slow by bandwidth, by FLOP/s or by overhead is not told apart.
    """
    ratios: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    passes: defaultdict[str, int] = defaultdict(int)
    for metrics in rounds:
        for work in metrics.work:
            predicted, measured = _predicted_s(cost, work), _measured_s(work, clock)
            if predicted > 0.0 and measured is not None:
                ratios[work.device].append((measured / predicted, predicted))
                passes[work.device] += work.times
    return tuple(
        _device_fit(cost, rounds, clock, device, ratios[device], passes[device])
        for device in sorted(ratios)
    )


def _device_fit(
    cost: CostModel,
    rounds: Sequence[RoundMetrics],
    clock: Clock,
    device: str,
    ratios: list[tuple[float, float]],
    passes: int,
) -> DeviceFit:
    own = [[w for w in m.work if w.device == device] for m in rounds]
    predicted = _median_of(own, lambda work: _predicted_s(cost, work))
    factor = _rounded(weighted_quantile(ratios, 0.5))
    low, high = (weighted_quantile(ratios, share) for share in (0.25, 0.75))
    return DeviceFit(
        device=device,
        factor=max(factor, 1e-12),
        spread=_rounded((high - low) / 2.0),
        passes=passes,
        round_times=Times(
            predicted_s=predicted,
            measured_s=_median_of(own, lambda work: _measured_s(work, clock) or 0.0),
            calibrated_s=predicted * factor,
        ),
    )


def _predicted_s(cost: CostModel, work: WorkTime) -> float:
    span = work.first_unit, work.last_unit
    return work.times * cost.work_s(work.device, work.direction, *span, work.samples)


def _measured_s(work: WorkTime, clock: Clock) -> float | None:
    return work.virtual_s if clock == "virtual" else work.wall_s


def fit_links(cost: CostModel, rounds: Sequence[RoundMetrics]) -> tuple[LinkFit, ...]:
    """Latency and bandwidth of every directed link that carried frames, on the virtual clock."""
    moves: defaultdict[tuple[str, str], list[MoveTime]] = defaultdict(list)
    for metrics in rounds:
        for move in metrics.moves:
            moves[move.sender, move.receiver].append(move)
    return tuple(_link_fit(cost, rounds, link, moves[link]) for link in sorted(moves))


def _link_fit(
    cost: CostModel,
    rounds: Sequence[RoundMetrics],
    link: tuple[str, str],
    moves: Sequence[MoveTime],
) -> LinkFit:
    before = cost.links.way(*link)
    share = cost.link_share(link[0])
    points = [(m.frame_bytes / share, m.virtual_s / m.times) for m in moves]
    after, fitted = _figures(before, points[:MOST_POINTS])
    own = [[m for m in metrics.moves if (m.sender, m.receiver) == link] for metrics in rounds]

    def carried(figures: LinkFigures) -> Callable[[MoveTime], float]:
        return lambda move: move.times * figures.transfer_s(move.frame_bytes / share)

    return LinkFit(
        sender=link[0],
        receiver=link[1],
        bandwidth_bits_per_s=8.0 * after.bandwidth_bytes_per_s,
        latency_s=after.latency_s,
        fitted=fitted,
        frames=sum(move.times for move in moves),
        largest_frame_bytes=max(move.frame_bytes for move in moves),
        round_times=Times(
            predicted_s=_median_of(own, carried(before)),
            measured_s=_median_of(own, lambda move: move.virtual_s),
            calibrated_s=_median_of(own, carried(after)),
        ),
    )


def _figures(
    before: LinkFigures, points: Sequence[tuple[float, float]]
) -> tuple[LinkFigures, Literal["line", "factor"]]:
    """A line over the frames' sizes where that has a meaning, else one factor on both figures."""
    found = line(points)
    if found is not None and found[1] > 0.0 and found[0] > -1e-9:
        latency_s, per_byte = max(0.0, found[0]), found[1]
        return _link(before, _rounded(1.0 / per_byte), _rounded(latency_s)), "line"
    factor = median(seconds / before.transfer_s(size) for size, seconds in points)
    bandwidth = before.bandwidth_bytes_per_s / factor
    return _link(before, _rounded(bandwidth), _rounded(before.latency_s * factor)), "factor"


def _link(before: LinkFigures, bandwidth_bytes_per_s: float, latency_s: float) -> LinkFigures:
    return LinkFigures(
        bandwidth_bytes_per_s=bandwidth_bytes_per_s,
        latency_s=latency_s,
        joules_per_byte=before.joules_per_byte,
    )


def _median_of(
    rows: Iterable[Sequence[WorkTime | MoveTime]], seconds: Callable[..., float]
) -> float:
    """Over rounds, of the sum over what stands in one."""
    return median(sum(map(seconds, row)) for row in rows)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
