"""A run in the terminal: what tuning gained, what was predicted, and what was sent."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.report.run_record import RunRecord, by_tier
from gaisnet.report.tables import compact_table, spaced
from gaisnet.report.units import as_bytes, as_percent, as_seconds
from gaisnet.schema.run import RoundMetrics, ServiceMetrics

__all__ = ["run_view"]

_MOST_ROUNDS = 12


def run_view(run: RunRecord) -> RenderableType:
    """How a run ended, round by round, and where its results lie."""
    parts: list[RenderableType] = [Text(_headline(run), style="bold")]
    if run.rounds:
        parts += [_gain(run), _rounds(run.rounds), *_rejected(run.rounds), _times(run)]
    if run.services:
        parts.append(_services(run.services))
    if run.traffic():
        parts.append(_traffic(run))
    parts.append(_places(run))
    return spaced(*parts)


def _headline(run: RunRecord) -> str:
    done = run.manifest
    return f"Run {done.run_id}: {done.status}, {done.rounds_done} of {done.rounds} rounds"


def _gain(run: RunRecord) -> Text:
    accuracies = run.accuracies()
    if not accuracies:
        return Text("accuracy: not evaluated")
    told = [
        f"{as_percent(share)} {f'after round {done}' if done else 'before tuning'}"
        for done, share in accuracies
    ]
    if len(accuracies) == 1:
        return Text(f"accuracy {told[0]}")
    style = "green" if accuracies[-1][1] > accuracies[0][1] else "yellow"
    return Text(f"accuracy {told[0]} → {told[-1]}", style=style)


def _rounds(rounds: tuple[RoundMetrics, ...]) -> Table:
    columns = ("round", "train loss", "eval loss", "accuracy", "predicted", "virtual", "wall")
    table = compact_table("Rounds", *columns)
    shown = rounds[-_MOST_ROUNDS:]
    for metrics in shown:
        losses = (metrics.train_loss, metrics.eval_loss)
        accuracy = metrics.eval_accuracy
        table.add_row(
            str(metrics.round + 1),
            *("–" if loss is None else f"{loss:.4f}" for loss in losses),
            "–" if accuracy is None else as_percent(accuracy),
            *map(as_seconds, (metrics.predicted_s, metrics.virtual_s, metrics.wall_s)),
        )
    if len(shown) < len(rounds):
        table.caption = f"the last {len(shown)} of {len(rounds)}"
    return table


def _rejected(rounds: tuple[RoundMetrics, ...]) -> list[RenderableType]:
    """Updates that were not averaged; nothing if all were."""
    bad = [(m.round + 1, device, why) for m in rounds for device, why in m.rejected.items()]
    if not bad:
        return []
    table = compact_table("Updates not averaged", "round", "device", "reason", left=3)
    for done, device, why in bad[-_MOST_ROUNDS:]:
        table.add_row(str(done), device, why)
    if len(bad) > _MOST_ROUNDS:
        table.caption = f"the last {_MOST_ROUNDS} of {len(bad)}"
    return [table]


def _times(run: RunRecord) -> Text:
    predicted, virtual, wall = run.times_s()
    ratio = f" (predicted is {predicted / virtual:.2f} × virtual)" if virtual else ""
    return Text(
        f"a round: predicted {as_seconds(predicted)}, on the fleet's virtual clock "
        f"{as_seconds(virtual)}, here {as_seconds(wall)}{ratio}"
    )


def _services(services: tuple[ServiceMetrics, ...]) -> Table:
    columns = ("service", "requests", "tokens", "accuracy", "predicted", "virtual", "wall")
    table = compact_table("Inference", *columns, left=1)
    for metrics in services:
        accuracy = metrics.accuracy
        table.add_row(
            metrics.service,
            str(metrics.requests),
            str(metrics.tokens),
            "–" if accuracy is None else as_percent(accuracy),
            *map(as_seconds, (metrics.predicted_s, metrics.virtual_s, metrics.wall_s)),
        )
    return table


def _traffic(run: RunRecord) -> Table:
    title = "Sent between tiers" if run.tiers else "Sent over links"
    columns = ("from", "to", "frames", "payload", "with headers")
    table = compact_table(title, *columns, left=2)
    for sent in by_tier(run.traffic(), run.tiers):
        payload, whole = as_bytes(sent.payload_bytes), as_bytes(sent.frame_bytes)
        table.add_row(sent.sender, sent.receiver, str(sent.frames), payload, whole)
    return table


def _places(run: RunRecord) -> RenderableType:
    lines = [
        Text(f"adapters of {domain}: {run.folder / folder}")
        for domain, folder in sorted(run.manifest.adapters.items())
    ]
    report = run.folder / "report.html"
    if report.is_file():
        lines.append(Text(f"report: {report}"))
    if run.manifest.status in ("interrupted", "failed"):
        lines.append(Text(f"go on with: gaisnet execute --resume {run.folder}", style="bold"))
    return Group(*lines)
