"""A run while it goes on, in the driver's terminal: devices, progress, losses, bytes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_bytes, as_count, as_percent, as_seconds
from gaisnet.schema.plan import ClusterPlan, Plan
from gaisnet.schema.run import Event, RoundMetrics, RunManifest, ServiceMetrics
from gaisnet.schema.watch import DeviceState, Look

__all__ = ["LiveView"]

_STYLES = {"idle": "dim", "computing": "green", "silent": "yellow", "lost": "bold red"}
_UNKNOWN = DeviceState("idle", 0.0, 0)
_BAR_WIDTH = 40
_SHOWN_HEARD_S = 1.0


class LiveView:
    """A watcher that is drawn as often as the terminal wants it."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._manifest: RunManifest | None = None
        self._look: Look = dict
        self._last = "begins"
        self._round = 0
        self._calls_before, self._calls_a_round = 0, 0
        self._losses: list[float] = []
        self._accuracy: float | None = None
        self._sent_bytes = 0
        self._rejected: defaultdict[str, int] = defaultdict(int)
        self._lost: set[str] = set()
        self._notes: dict[str, str] = {}
        self._since = time.monotonic()

    def began(self, plan: Plan, manifest: RunManifest, look: Look) -> None:
        """See ``Watcher``."""
        self._plan, self._manifest, self._look = plan, manifest, look
        self._round, self._accuracy = manifest.rounds_done, manifest.eval_accuracy_before

    def told(self, event: Event) -> None:
        """See ``Watcher``."""
        self._last = event.kind.replace("_", " ")
        if event.kind == "round_started" and event.round is not None:
            self._round, self._calls_before = event.round, self._calls()
        if event.kind == "update_rejected" and event.device is not None:
            self._rejected[event.device] += 1
        if event.kind in ("device_lost", "device_leaving") and event.device is not None:
            self._lost.add(event.device)
        if event.kind == "versions_differ" and event.device is not None:
            self._notes[event.device] = event.detail

    def round_measured(self, metrics: RoundMetrics) -> None:
        """See ``Watcher``."""
        self._calls_a_round = self._calls() - self._calls_before
        self._round = metrics.round + 1
        if metrics.train_loss is not None:
            self._losses.append(metrics.train_loss)
        if metrics.eval_accuracy is not None:
            self._accuracy = metrics.eval_accuracy
        self._sent_bytes += sum(link.frame_bytes for link in metrics.traffic)

    def service_measured(self, metrics: ServiceMetrics) -> None:
        """See ``Watcher``."""
        self._sent_bytes += sum(link.frame_bytes for link in metrics.traffic)

    def __rich__(self) -> RenderableType:
        if self._plan is None or self._manifest is None:
            return Text(f"getting ready, {as_seconds(round(time.monotonic() - self._since))}")
        told = [Text(f"{name} {note}", style="yellow") for name, note in self._notes.items()]
        return Group(self._headline(), *told, self._progress(), self._devices(self._plan))

    def _headline(self) -> Text:
        parts = [f"round {min(self._round + 1, self._rounds)} of {self._rounds}", self._last]
        if self._losses:
            first, last = self._losses[0], self._losses[-1]
            parts.append(f"loss {first:.4f} → {last:.4f}" if len(self._losses) > 1 else
                         f"loss {last:.4f}")  # fmt: skip
        if self._accuracy is not None:
            parts.append(f"accuracy {as_percent(self._accuracy)}")
        parts.append(f"{as_bytes(self._sent_bytes)} sent")
        parts.append(as_seconds(round(time.monotonic() - self._since)))
        return Text("  ·  ".join(parts), style="bold")

    def _progress(self) -> RenderableType:
        """Rounds, and the part of the present one by the calls that the one before it took."""
        part = 0.0
        if self._calls_a_round:
            part = min((self._calls() - self._calls_before) / self._calls_a_round, 1.0)
        done = min(self._round + part, self._rounds)
        return ProgressBar(total=max(self._rounds, 1), completed=done, width=_BAR_WIDTH)

    def _devices(self, plan: Plan) -> Table:
        table = compact_table("", "device", "state", "holds", "heard", "calls", "rejected")
        states, places = self._look(), _places(plan)
        for device in sorted(places.keys() | states.keys()):
            found = states.get(device, _UNKNOWN)
            state = "lost" if device in self._lost else found.state
            table.add_row(
                device,
                Text(state, style=_STYLES[state]),
                places.get(device, ""),
                _heard(found),
                as_count(found.calls),
                str(self._rejected[device] or ""),
            )
        return table

    @property
    def _rounds(self) -> int:
        return self._manifest.rounds if self._manifest else 0

    def _calls(self) -> int:
        return sum(state.calls for state in self._look().values())


def _heard(state: DeviceState) -> str:
    return "now" if state.heard_s < _SHOWN_HEARD_S else f"{as_seconds(round(state.heard_s))} ago"


def _places(plan: Plan) -> Mapping[str, str]:
    """What each device does for the plan, in a few words."""
    held: defaultdict[str, list[str]] = defaultdict(list)
    for cluster in plan.clusters:
        for device, what in _roles(cluster, plan.n_units):
            held[device].append(what)
    if plan.cloud:
        held[plan.cloud].append("cloud")
    return {device: ", ".join(dict.fromkeys(parts)) for device, parts in held.items()}


def _roles(cluster: ClusterPlan, n_units: int) -> Iterator[tuple[str, str]]:
    yield cluster.edge, f"edge of {cluster.id}"
    for stage in cluster.body:
        yield stage.device, f"{cluster.id} {_span(stage.first_unit, stage.last_unit)}"
    for owner in cluster.owners:
        spans = [(0, cluster.head_units - 1), (cluster.tail_first_unit, n_units - 1)]
        told = " and ".join(_span(first, last) for first, last in spans if first <= last)
        yield owner.device, f"{cluster.id} owner {told}".rstrip()


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}–{last}"
