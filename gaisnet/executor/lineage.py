"""The plans that a run has had, one after the other, and the checkpoints taken under them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gaisnet.errors import MismatchError
from gaisnet.executor.carryover import carry_over
from gaisnet.executor.checkpoint import Checkpoint, Checkpoints
from gaisnet.executor.planfiles import PlanFiles
from gaisnet.schema.files import read_model, sha256_file
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import EarlierPlan

__all__ = ["Lineage"]


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A run's plans: those before, oldest first, and the present one."""

    folder: Path
    """The run's; paths of plans before are relative to it."""
    files: PlanFiles
    """The present plan."""
    earlier: tuple[EarlierPlan, ...] = ()

    @property
    def first(self) -> Plan:
        """What the run began with."""
        return self._plan_of(self.earlier[0].sha256) if self.earlier else self.files.plan

    @property
    def checkpoints(self) -> Checkpoints:
        """Of all plans; new ones are of the present one."""
        keep = self.files.job.fine_tuning.keep_checkpoints
        known = [plan.sha256 for plan in self.earlier]
        return Checkpoints(self.folder / "checkpoints", self.files.sha256, keep, known)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is intact, as the present plan goes on from it; and the
        names of damaged ones.

        Raises:
            MismatchError: It is of no plan of the run's.
        """
        checkpoint, damaged = self.checkpoints.newest()
        if checkpoint is None or checkpoint.plan_sha256 in (None, self.files.sha256):
            return checkpoint, damaged
        old, personal = self._plan_of(checkpoint.plan_sha256), self.files.job.fine_tuning.personal
        return carry_over(checkpoint, old, self.files.plan, personal=personal), damaged

    def _plan_of(self, sha256: str) -> Plan:
        path = self.folder / next(plan.path for plan in self.earlier if plan.sha256 == sha256)
        plan = read_model(path, Plan)
        if sha256_file(path) != sha256:
            raise MismatchError("a plan that the run had before has changed", where=str(path))
        return plan
