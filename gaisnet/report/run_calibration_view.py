"""A calibration in the terminal: predicted against measured, before and after."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.report.leakage_view import as_bits_per_s
from gaisnet.report.tables import compact_table, spaced
from gaisnet.report.units import as_percent, as_seconds
from gaisnet.schema.run_calibration import Calibration, LossFit, Times

__all__ = ["run_calibration_view"]

_COLUMNS = ("predicted", "measured", "off by", "calibrated", "off by")


def run_calibration_view(found: Calibration) -> RenderableType:
    """Everything that was fitted, and how well."""
    clock = {"wall": "the devices' own clocks", "virtual": "the figures that the run had"}
    head = f"Calibration by run {found.run_id}: {found.rounds} rounds, {clock[found.clock]}"
    parts: list[RenderableType] = [Text(head, style="bold"), _devices(found)]
    if found.links:
        parts.append(_links(found))
    notes = [_loss(found.loss)] if found.loss else []
    notes += [f"nothing is known of {name}" for name in found.unseen]
    if found.clock == "wall" and found.engine == "local":
        notes.append(
            "the embedded engine ran all devices on this machine, one after the other: its speed "
            "is theirs now, and the whole round is not the fleet's"
        )
    return spaced(*parts, *map(Text, notes))


def _devices(found: Calibration) -> Table:
    table = compact_table("A round", "device", "times", "±", *_COLUMNS, left=1)
    for fit in found.devices:
        table.add_row(
            fit.device, f"{fit.factor:.4g}", f"{fit.spread:.2g}", *_cells(fit.round_times)
        )
    table.add_section()
    table.add_row("the whole round", "", "", *_cells(found.round_times))
    return table


def _links(found: Calibration) -> Table:
    heads = ("from", "to", "latency", "bandwidth", "by", *_COLUMNS)
    table = compact_table("Links, a round", *heads, left=2)
    for fit in found.links:
        figures = as_seconds(fit.latency_s), as_bits_per_s(fit.bandwidth_bits_per_s), fit.fitted
        table.add_row(fit.sender, fit.receiver, *figures, *_cells(fit.round_times))
    return table


def _cells(times: Times) -> tuple[str, ...]:
    measured = times.measured_s
    return (
        as_seconds(times.predicted_s),
        as_seconds(measured),
        _off(times.predicted_s, measured),
        as_seconds(times.calibrated_s),
        _off(times.calibrated_s, measured),
    )


def _off(predicted_s: float, measured_s: float) -> str:
    if measured_s == 0.0:
        return "–"
    sign = "+" if predicted_s >= measured_s else "-"
    return f"{sign}{as_percent(abs(predicted_s / measured_s - 1.0))}"


def _loss(fit: LossFit) -> str:
    """The curve as it would be written down."""
    kind = fit.kind.replace("_", " ")
    return (
        f"{kind} loss after r rounds: {fit.initial_loss:.4g} - {fit.amplitude:.4g} "
        f"(1 - (1 + r/{fit.scale_rounds:.4g})^-{fit.exponent:.4g}), "
        f"{fit.residual:.2g} off in the mean over {fit.points} rounds"
    )
