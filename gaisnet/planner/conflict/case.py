"""A job with some of its constraints lifted or eased, and whether it can be planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations

from gaisnet.errors import InfeasibleError, UnprovenError
from gaisnet.planner.assemble import assemble, make_roster
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes import choose_clusters, is_plannable

__all__ = ["Case", "Oracle", "whole_bytes"]

EASED_GAP = 1e9
"""A search with it stops at its first find."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job as it might be."""

    inputs: Inputs
    extra_bytes: Mapping[str, int] = field(default_factory=dict)
    """Memory that devices have beyond their own."""
    bridged: frozenset[str] = frozenset()
    """Devices that have links to all others, as fast as the fleet's fastest."""

    def roster(self) -> Roster:
        """The fleet as the planner sees it."""
        found = make_roster(self.inputs)
        cost, fleet = found.cost, found.fleet
        devices = {
            name: replace(device, limit_bytes=device.limit_bytes + self.extra_bytes.get(name, 0))
            for name, device in cost.devices.items()
        }
        pairs = permutations([device.id for device in fleet.devices], 2)
        lacking = (pair for pair in pairs if self.bridged & {*pair})
        links = cost.links.bridged(lacking) if self.bridged else cost.links
        return replace(found, cost=replace(cost, devices=devices, links=links))


def whole_bytes(inputs: Inputs) -> int:
    """More memory than all clusters together need."""
    roster = make_roster(inputs)
    tuning = inputs.job.fine_tuning
    owners = max(1, sum(device.data is not None for device in inputs.fleet.devices))
    one = roster.cost.stage_memory_bytes(0, roster.cost.n_units - 1, owners * tuning.batch_size)
    return 2 * owners * one.total_bytes + 1


@dataclass(kw_only=True)
class Oracle:
    """Whether cases can be planned, counting how often it is asked; answers are remembered by
    whoever asks."""

    most_calls: int
    calls: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether it answers no more."""
        return self.calls >= self.most_calls

    def plannable(self, case: Case) -> bool:
        """Whether ``plan`` finds a plan.

        Services are routed over the clusters that are best without them: so where there are any,
        all is planned in full.
        """
        self.calls += 1
        try:
            roster = case.roster()
            if not roster.job.services:
                return is_plannable(_eased(roster))
            assemble(case.inputs, case.inputs.job_path.parent, roster, choose_clusters(roster))
        except (InfeasibleError, UnprovenError):
            return False
        return True


def _eased(roster: Roster) -> Roster:
    search = roster.job.search.model_copy(update={"gap": EASED_GAP})
    return replace(roster, job=roster.job.model_copy(update={"search": search}))
