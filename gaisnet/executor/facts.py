"""What the algorithms need to know of a model besides its stages."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.models import FoundationModel, needs_gradient, tied_groups, tunable_parameters

__all__ = ["ModelFacts"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Read once from the model with its tunable modules attached."""

    n_units: int
    tunable: tuple[str, ...]
    """Names of tuned parameters in the whole model's order."""
    units: dict[str, tuple[int, ...]]
    """Units that need each of them: several for tied ones."""
    gradient_crosses: tuple[bool, ...]
    """Whether a gradient crosses the cut after each unit."""

    @classmethod
    def of(cls, model: FoundationModel) -> ModelFacts:
        """The facts of a model."""
        names = tuple(tunable_parameters(model.module))
        tied = tied_groups(model)
        return cls(
            n_units=model.n_units,
            tunable=names,
            units={name: tied.get(name) or (model.unit_of(name),) for name in names},
            gradient_crosses=tuple(needs_gradient(model, unit) for unit in range(model.n_units)),
        )

    def names_in(self, first_unit: int, last_unit: int) -> tuple[str, ...]:
        """Tuned parameters that a stage of these units holds."""
        return tuple(
            name
            for name in self.tunable
            if any(first_unit <= unit <= last_unit for unit in self.units[name])
        )

    def crosses_below(self, first_unit: int) -> bool:
        """Whether a gradient leaves a stage that begins at ``first_unit``."""
        return first_unit > 0 and self.gradient_crosses[first_unit - 1]
