"""What ``gaisnet execute`` and ``gaisnet drain`` do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gaisnet.errors import UsageError

if TYPE_CHECKING:
    from gaisnet.report import ProgressCallback, Session
    from gaisnet.schema.plan import Plan
    from gaisnet.schema.run import Event, RoundMetrics, RunManifest, ServiceMetrics
    from gaisnet.schema.watch import Look, Watcher

__all__ = ["drain", "followed", "show"]


@contextmanager
def followed(session: Session, metrics_port: int | None) -> Iterator[list[Watcher]]:
    """Watchers that show a run while it goes on: a live view in a terminal, lines elsewhere.

    Raises:
        UsageError: The port cannot be had, or prometheus-client is not installed.
    """
    from gaisnet.report.live import LiveView

    with ExitStack() as stack:
        watchers: list[Watcher] = []
        if metrics_port is not None:
            watchers.append(stack.enter_context(_figures(metrics_port)))
        view = LiveView()
        if stack.enter_context(session.live(view)):
            watchers.append(view)
        else:
            progress = stack.enter_context(session.progress("executing"))
            watchers.append(_Lines(session, progress))
        yield watchers


@contextmanager
def _figures(port: int) -> Iterator[Watcher]:
    if find_spec("prometheus_client") is None:
        raise UsageError(
            "--metrics-port needs the package prometheus-client",
            hint="install it with `pip install 'gaisnet[metrics]'`",
        )
    from gaisnet.report.prometheus import RunFigures

    figures = RunFigures()
    with figures.served(port):
        yield figures


class _Lines:
    """Events as progress, and each round's outcome as a line."""

    def __init__(self, session: Session, progress: ProgressCallback) -> None:
        self._session, self._progress = session, progress

    def began(self, plan: Plan, manifest: RunManifest, look: Look) -> None:
        """See ``Watcher``."""

    def told(self, event: Event) -> None:
        """See ``Watcher``."""
        what = event.kind.replace("_", " ")
        self._progress(what if event.round is None else f"{what} {event.round + 1}", None)
        if event.kind == "round_closed" and event.round is not None:
            self._session.note(f"round {event.round + 1}: {event.detail}")
        if event.kind == "versions_differ":
            self._session.note(f"{event.device} {event.detail}")

    def round_measured(self, metrics: RoundMetrics) -> None:
        """See ``Watcher``."""

    def service_measured(self, metrics: ServiceMetrics) -> None:
        """See ``Watcher``."""


def show(session: Session, run_dir: Path) -> None:
    """A run that has ended: as a page in its folder, and for whoever started it.

    Raises:
        OutputError: The page cannot be written.
    """
    from gaisnet.report import read_run, report_html, run_view
    from gaisnet.schema.files import write_atomic

    run = read_run(run_dir)
    write_atomic(run_dir / "report.html", report_html(run), force=True)
    session.show(run_view(run))
    session.answer(run.document())


def drain(session: Session, device: str, address: str, deadline_s: float) -> None:
    """Let a device leave its cluster when the round that it works on is closed.

    Raises:
        UsageError: Ray is not installed, or the device is the cluster's head.
        RunError: The cluster cannot be reached, or the run does not let the device go in time.
        MismatchError: It has not joined the cluster.
    """
    from gaisnet.nodes.settings import prepare

    prepare(private=False)
    from gaisnet.nodes.drain import drain as drain_device

    with session.progress(f"draining {device}"):
        waited = drain_device(address, device, deadline_s)
    session.note(f"{device} has left the cluster at {address}")
    session.answer({"device": device, "address": address, "had_work": waited})
