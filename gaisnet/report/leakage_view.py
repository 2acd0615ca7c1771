"""What cuts give away, and what a link carries, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_percent, as_seconds
from gaisnet.schema.leakage import LeakageRow
from gaisnet.schema.link import LinkPart, LinkRate

__all__ = ["as_bits_per_s", "leakage_table", "link_table"]


def leakage_table(rows: Sequence[LeakageRow], names: Sequence[str]) -> Table:
    """One row per cut.

    Args:
        rows: The measurements.
        names: The units' names, by index.
    """
    columns = ("cut after", "attack", "inversion error", "distance correlation", "label AUC")
    table = compact_table(
        "Leakage; inversion error: 0 all is recovered, 1 nothing", *columns, left=2
    )
    for row in rows:
        error = f"{row.inversion_error:.3f} ± {row.inversion_error_stderr:.3f}"
        correlation = f"{row.distance_correlation:.3f} (chance {row.distance_correlation_null:.3f})"
        told = [auc for auc in (row.label_auc_norm, row.label_auc_cosine) if auc is not None]
        attack = row.attack.replace("_", " ")
        if row.token_accuracy is not None:
            attack += f", {as_percent(row.token_accuracy)} of tokens"
        label = f"{max(told):.3f}" if told else "–"
        table.add_row(names[row.unit], attack, error, correlation, label)
    return table


def link_table(link: LinkPart) -> Table:
    """Bandwidth each way, and latency."""
    latency = f"{as_seconds(link.latency_s)} ± {as_seconds(link.latency_spread_s)}"
    title = f"Link to {link.peer} ({link.transport}), latency {latency}"
    table = compact_table(title, "direction", "bandwidth", "spread", left=1)
    directions: tuple[tuple[str, LinkRate], ...] = (
        ("to it", link.to_peer),
        ("from it", link.from_peer),
    )
    for name, rate in directions:
        spread = as_bits_per_s(rate.spread_bits_per_s)
        table.add_row(name, as_bits_per_s(rate.bandwidth_bits_per_s), spread)
    return table


def as_bits_per_s(rate: float) -> str:
    """A bandwidth: ``94.2 Mbit/s``."""
    units = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
    power = 0
    while rate >= 999.5 and power < len(units) - 1:
        rate, power = rate / 1000, power + 1
    return f"{rate:.3g} {units[power]}"
