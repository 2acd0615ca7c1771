"""The stages that requests go through: entry, body, entry again."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.schema.plan import ClusterPlan
from gaisnet.schema.plan import Stage as StagePlan

__all__ = ["ServiceChain"]


@dataclass(frozen=True, slots=True)
class ServiceChain:
    """Which units which device holds for a service, from the plan."""

    cluster: str
    entry: str
    """Device that holds head and tail, asks, and gets the answers."""
    head: StagePlan | None
    body: tuple[StagePlan, ...]
    tail: StagePlan | None

    @classmethod
    def of(cls, cluster: ClusterPlan, entry: str, n_units: int) -> ServiceChain:
        """The chain of a cluster as it is entered at a device.

        The entry need be no owner of the cluster: then it holds head and tail to ask only.
        """
        return cls(
            cluster=cluster.id,
            entry=entry,
            head=_held(entry, 0, cluster.head_units),
            body=cluster.body,
            tail=_held(entry, cluster.tail_first_unit, n_units),
        )

    def stages(self) -> tuple[StagePlan, ...]:
        """All of them in order; they cover the model."""
        ends = (*([self.head] if self.head else []), *self.body)
        return (*ends, *([self.tail] if self.tail else []))


def _held(device: str, first: int, end: int) -> StagePlan | None:
    return StagePlan(device=device, first_unit=first, last_unit=end - 1) if first < end else None
