"""The service on an edge server that conducts its clusters' part of a round.

Whoever runs the algorithm sends an edge one message a round and gets one report; all that goes on
between the devices of a cluster in the meantime is between them and their edge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import TypeAdapter

from gaisnet.executor.clusterround import ClusterReport, ClusterTuner
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Answer, Engine
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.settings import Settings
from gaisnet.schema.plan import ClusterPlan
from gaisnet.schema.run import LinkTraffic

__all__ = ["CONDUCTOR", "Conductor", "EdgeReport"]

CONDUCTOR = "conductor"
"""Name of the service."""


@dataclass(frozen=True, kw_only=True)
class EdgeReport:
    """What an edge's clusters did in a round."""

    clusters: tuple[ClusterReport, ...]
    traffic: tuple[LinkTraffic, ...]
    """What their links carried."""

    @classmethod
    def read(cls, values: Mapping[str, object]) -> EdgeReport:
        """From an answer's values, which may have come as JSON."""
        report: EdgeReport = _REPORT.validate_python(values["report"], strict=False)
        return report


class Conductor:
    """Runs rounds of its clusters, all at the same time where the engine can.

    Args:
        engine: Reaches the devices of the clusters.
        clusters: Those of the edge.
        facts: Of the model.
        settings: Of the job.
        dispensable: Owners without which a round may close.
    """

    def __init__(
        self,
        engine: Engine,
        clusters: Sequence[ClusterPlan],
        facts: ModelFacts,
        settings: Settings,
        dispensable: Collection[str] = (),
    ) -> None:
        self._engine = engine
        self._tuners = [
            ClusterTuner(
                cluster=cluster,
                facts=facts,
                settings=settings,
                dispensable=frozenset(o.device for o in cluster.owners) & set(dispensable),
            )
            for cluster in clusters
        ]

    def round(self, index: int, cursors: Mapping[str, Mapping[str, int]]) -> Answer:
        """``values["report"]``: an ``EdgeReport``.

        Args:
            index: Of the round.
            cursors: By cluster: steps that each of its owners has taken.

        Raises:
            RunError: A loss is not finite, or a device is lost.
        """
        parts = [partial(_round, tuner, index, cursors[tuner.cluster.id]) for tuner in self._tuners]
        reports = self._engine.together(parts)
        report = EdgeReport(clusters=tuple(reports), traffic=self._engine.meter.take())
        return Answer(values={"report": report})


def _round(
    tuner: ClusterTuner, index: int, cursors: Mapping[str, int], engine: Engine
) -> ClusterReport:
    engine.heed(tuner.dispensable)
    return tuner.round(Dispatcher(engine), index, cursors)


_REPORT = TypeAdapter(EdgeReport)
