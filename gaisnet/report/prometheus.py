"""A run's figures for Prometheus, on loopback: what ``gaisnet execute --metrics-port`` serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, start_http_server

from gaisnet.errors import UsageError
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event, LinkTraffic, RoundMetrics, RunManifest, ServiceMetrics
from gaisnet.schema.watch import Look

__all__ = ["RunFigures"]

_LOOPBACK = "127.0.0.1"
_END_S = 5.0
"""It looks twice a second whether it is to end."""
_LINK = ("sender", "receiver")


class RunFigures:
    """A watcher whose figures can be scraped at ``/metrics``."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._rounds = Counter("gaisnet_rounds", "Rounds that are closed.", registry=registry)
        self._train_loss = Gauge(
            "gaisnet_train_loss", "Mean loss over the last round's samples.", registry=registry
        )
        self._eval_loss = Gauge(
            "gaisnet_eval_loss", "Loss on the held-out samples.", registry=registry
        )
        self._accuracy = Gauge(
            "gaisnet_eval_accuracy", "Accuracy on the held-out samples.", registry=registry
        )
        self._seconds = Summary(
            "gaisnet_round_seconds",
            "Time of a round: here (wall), or with the fleet's figures (virtual).",
            ("clock",),
            registry=registry,
        )
        self._bytes = Counter(
            "gaisnet_link_bytes", "Bytes of frames over a link.", _LINK, registry=registry
        )
        self._frames = Counter(
            "gaisnet_link_frames", "Frames over a link.", _LINK, registry=registry
        )
        self._rejected = Counter(
            "gaisnet_updates_rejected",
            "Updates that were not averaged.",
            ("device",),
            registry=registry,
        )
        self._lost = Counter(
            "gaisnet_devices_lost", "Times that a device was lost.", ("device",), registry=registry
        )
        self._requests = Counter(
            "gaisnet_requests", "Requests that were answered.", ("service",), registry=registry
        )

    @contextmanager
    def served(self, port: int) -> Iterator[None]:
        """Serve the figures on 127.0.0.1, and nowhere else.

        Raises:
            UsageError: The port cannot be had.
        """
        try:
            server, thread = start_http_server(port, addr=_LOOPBACK, registry=self._registry)
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be had for --metrics-port: {error.strerror}",
                hint="name another one",
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join(_END_S)

    def began(self, plan: Plan, manifest: RunManifest, look: Look) -> None:
        """See ``Watcher``."""
        if manifest.eval_loss_before is not None:
            self._eval_loss.set(manifest.eval_loss_before)
        if manifest.eval_accuracy_before is not None:
            self._accuracy.set(manifest.eval_accuracy_before)

    def told(self, event: Event) -> None:
        """See ``Watcher``."""
        if event.kind == "round_closed":
            self._rounds.inc()
        if event.kind == "device_lost" and event.device is not None:
            self._lost.labels(event.device).inc()

    def round_measured(self, metrics: RoundMetrics) -> None:
        """See ``Watcher``."""
        found = (
            (self._train_loss, metrics.train_loss),
            (self._eval_loss, metrics.eval_loss),
            (self._accuracy, metrics.eval_accuracy),
        )
        for gauge, value in found:
            if value is not None:
                gauge.set(value)
        self._seconds.labels("wall").observe(metrics.wall_s)
        self._seconds.labels("virtual").observe(metrics.virtual_s)
        for device in metrics.rejected:
            self._rejected.labels(device).inc()
        self._add(metrics.traffic)

    def service_measured(self, metrics: ServiceMetrics) -> None:
        """See ``Watcher``."""
        self._requests.labels(metrics.service).inc(metrics.requests)
        self._add(metrics.traffic)

    def _add(self, traffic: Sequence[LinkTraffic]) -> None:
        for link in traffic:
            self._bytes.labels(link.sender, link.receiver).inc(link.frame_bytes)
            self._frames.labels(link.sender, link.receiver).inc(link.frames)
