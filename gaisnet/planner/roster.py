"""Who is who in a fleet: owners of data, coordinating edges, and who may hold others' stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from gaisnet.errors import InfeasibleError
from gaisnet.planner.cost import CostModel
from gaisnet.planner.memo import Memo
from gaisnet.schema.fleet import DataShard, Device, Fleet
from gaisnet.schema.job import Job
from gaisnet.schema.plan import Owner

__all__ = ["Roster"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Roster:
    """A fleet seen with the eyes of a job."""

    job: Job
    fleet: Fleet
    cost: CostModel
    memo: Memo = field(default_factory=Memo)
    """Of problems that were solved before, with these or other figures."""

    def recall(self, question: str, solve: Callable[[], T]) -> T:
        """What ``solve`` finds, now or before; it may depend on the question, costs and fleet."""
        return self.memo.recall((self.cost, self.fleet), question, solve)

    @property
    def question(self) -> str:
        """The job without what neither clusters nor splits depend on: how often is averaged."""
        tuning = {"local_steps": 1, "cloud_every": 1, "rounds": 1}
        fine_tuning = self.job.fine_tuning.model_copy(update=tuning)
        return self.job.model_copy(update={"fine_tuning": fine_tuning}).model_dump_json()

    @property
    def owners(self) -> tuple[Device, ...]:
        """Devices with data, in the fleet's order.

        Raises:
            InfeasibleError: There are none.
        """
        found = tuple(d for d in self.fleet.devices if d.data is not None and d.data.samples > 0)
        if not found:
            raise InfeasibleError(
                "no device of the fleet owns data",
                hint="give at least one device `data` with samples",
            )
        return found

    @property
    def samples(self) -> dict[str, int]:
        """Samples of each owner."""
        return {owner.id: self.shard(owner.id).samples for owner in self.owners}

    def device(self, name: str) -> Device:
        """The device of that id."""
        return next(device for device in self.fleet.devices if device.id == name)

    def shard(self, name: str) -> DataShard:
        """The data of an owner."""
        data = self.device(name).data
        assert data is not None, f"{name} is no owner"
        return data

    @property
    def default_edge(self) -> str:
        """The fleet's first edge server, else its first cloud, else its first device."""
        for tier in ("edge", "cloud"):
            for device in self.fleet.devices:
                if device.tier == tier:
                    return device.id
        return self.fleet.devices[0].id

    @property
    def cloud(self) -> str:
        """Averages over the edges: the first cloud, else the first edge."""
        clouds = (device.id for device in self.fleet.devices if device.tier == "cloud")
        return next(clouds, self.default_edge)

    def edge_of(self, device: Device) -> str:
        """Who coordinates a device; servers without another coordinator do so themselves."""
        if device.edge is not None:
            return device.edge
        return self.default_edge if device.tier == "end" else device.id

    def may_hold(self, name: str) -> bool:
        """Whether a device may hold stages for others."""
        forbidden = name in self.job.constraints.forbidden_devices
        return self.device(name).privacy == "shared" and not forbidden

    def owner(self, name: str, shards: tuple[str, ...] | None = None) -> Owner:
        """An owner as the plan names it; ``shards`` are its own data unless given."""
        fed = shards or (name,)
        return Owner(
            device=name, shards=fed, samples=sum(self.shard(shard).samples for shard in fed)
        )

    @property
    def domain(self) -> str:
        """The domain of all data, or ``general`` if there are several."""
        domains = {self.shard(owner.id).domain for owner in self.owners}
        return domains.pop() if len(domains) == 1 else "general"

    def domain_of(self, name: str) -> str:
        """Whose modules an owner tunes: its own domain's if they are personal."""
        return self.shard(name).domain if self.job.fine_tuning.personal else self.domain
