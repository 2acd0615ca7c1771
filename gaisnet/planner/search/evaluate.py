"""Plans combinations, each inner problem once, and says what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gaisnet.errors import InfeasibleError
from gaisnet.planner.assemble import assemble, make_roster
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.ranks import at_rank, profile_at_rank
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes import choose_clusters
from gaisnet.planner.search.bounds import least_measures
from gaisnet.planner.search.front import Vector, dominates
from gaisnet.planner.search.measures import FIELDS, measures_of, natural_of, values_of
from gaisnet.planner.search.space import job_of
from gaisnet.schema.front import Measures, Setting
from gaisnet.schema.job import Measure
from gaisnet.schema.plan import Plan

__all__ = ["Evaluator", "Outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a combination: measures, or why there are none."""

    measures: Measures | None = None
    reason: str = ""
    pruned: bool = False
    """Another plan is better in everything than any of this combination can be."""


class Evaluator:
    """Plans combinations of one job.

    Args:
        inputs: The job's files.
        measures: What plans are compared by.
        known: Outcomes of combinations that were planned before.
    """

    def __init__(
        self, inputs: Inputs, measures: Sequence[Measure], known: dict[Setting, Outcome]
    ) -> None:
        self._inputs = inputs
        self._names = tuple(measures)
        self._rosters: dict[tuple[int | None, str], Roster] = {}
        self.known = known
        self._best: list[Vector] = []
        for outcome in known.values():
            self._add(outcome)

    def outcome(self, setting: Setting) -> Outcome:
        """What comes of a combination; planned only if it is new and no bound rules it out."""
        if setting not in self.known:
            self.known[setting] = self._found(setting)
            self._add(self.known[setting])
        return self.known[setting]

    def vector(self, measures: Measures) -> Vector:
        """Measures as the front compares them."""
        return values_of(measures, self._names)

    def natural(self, measures: Measures) -> Vector:
        """The same, each as it is: of some more is better."""
        return natural_of(measures, self._names)

    def inputs_of(self, setting: Setting) -> Inputs:
        """The files of a combination, its job changed in memory only.

        Raises:
            InfeasibleError: The combination makes no job.
        """
        job = job_of(self._inputs.job, setting)
        model = self._inputs.model
        profiles = {
            device: profile_at_rank(profile, model, job.tunable)
            for device, profile in self._inputs.device_profiles.items()
        }
        return replace(
            self._inputs, job=job, model=at_rank(model, job.tunable), device_profiles=profiles
        )

    def roster(self, inputs: Inputs) -> Roster:
        """Of a combination; those of one rank and compression share costs and what was solved."""
        tunable, compression = inputs.job.tunable, inputs.job.fine_tuning.compression
        key = getattr(tunable, "r", None), compression
        if key not in self._rosters:
            self._rosters[key] = make_roster(inputs)
        return replace(self._rosters[key], job=inputs.job)

    def clusters(self, setting: Setting) -> tuple[Plan, Roster]:
        """The plan of a combination, without an explanation or fallbacks.

        Raises:
            InfeasibleError: It has none.
        """
        inputs = self.inputs_of(setting)
        roster = self.roster(inputs)
        folder = inputs.job_path.parent
        return assemble(inputs, folder, roster, choose_clusters(roster)), roster

    def _found(self, setting: Setting) -> Outcome:
        try:
            roster = self.roster(self.inputs_of(setting))
            better = self._ruled_out(least_measures(roster, setting))
            if better is not None:
                return Outcome(pruned=True, reason=f"no plan of it is better than {better}")
            plan, roster = self.clusters(setting)
        except InfeasibleError as error:
            return Outcome(reason=error.message)
        measures = measures_of(plan, roster.job, roster.cost, setting)
        missing = [name for name in self._names if getattr(measures, FIELDS[name]) is None]
        if missing:
            return Outcome(reason=f"the profile has not measured its {', '.join(missing)}")
        return Outcome(measures=measures)

    def _ruled_out(self, least: Measures) -> Vector | None:
        """A vector that is better in everything than any plan with at least these measures."""
        if any(getattr(least, FIELDS[name]) is None for name in self._names):
            return None
        bound = self.vector(least)
        return next((vector for vector in self._best if dominates(vector, bound)), None)

    def _add(self, outcome: Outcome) -> None:
        if outcome.measures is not None:
            self._best.append(self.vector(outcome.measures))
