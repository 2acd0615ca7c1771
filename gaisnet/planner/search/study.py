"""The order in which combinations are tried, and their record in an Optuna storage.

Each trial's sampler is seeded by the trial's number, and sees finished trials only. So a study
that was killed goes on as if nothing had happened; a trial that was under way is done again under
its own number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from gaisnet.planner.search.evaluate import Evaluator, Outcome
from gaisnet.planner.search.space import Space
from gaisnet.schema.front import Measures, Setting

if TYPE_CHECKING:
    import optuna

__all__ = ["Sampler", "enumerate_all", "recorded", "sample"]

Sampler = Literal["nsga2", "tpe"]
Told = Callable[[int, Outcome], None]
"""Told how many trials are done, and what came of the last."""

POPULATION = 24
SEEDS = 2**31 - 1


def recorded(study: optuna.Study) -> dict[Setting, Outcome]:
    """Outcomes of the finished trials of a study, in the order of their numbers."""
    found: dict[Setting, Outcome] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and "setting" in trial.user_attrs:
            setting = Setting.model_validate(trial.user_attrs["setting"])
            found.setdefault(setting, _outcome(trial.user_attrs))
    return found


def enumerate_all(study: optuna.Study, space: Space, evaluator: Evaluator, told: Told) -> None:
    """Try every combination that the study has not tried."""
    import optuna

    distributions = _distributions(space)
    for done, setting in enumerate(space.settings()):
        if setting in evaluator.known:
            continue
        outcome = evaluator.outcome(setting)
        trial = optuna.trial.create_trial(
            state=_state(outcome),
            params={name: getattr(setting, name) for name in distributions},
            distributions=distributions,
            values=_values(evaluator, outcome),
            user_attrs=_attributes(setting, outcome),
        )
        study.add_trial(trial)
        told(done + 1, outcome)


def sample(
    study: optuna.Study,
    space: Space,
    evaluator: Evaluator,
    told: Told,
    *,
    trials: int,
    first: Setting,
    sampler: Sampler,
    seed: int,
) -> None:
    """Try combinations that a sampler proposes until ``trials`` are finished.

    Args:
        study: Its finished trials count.
        space: The combinations.
        evaluator: Plans them.
        told: Told of each.
        trials: How many.
        first: Proposed first, as far as it lies in the space.
        sampler: ``nsga2`` (Deb et al. 2002) or ``tpe``.
        seed: Of the proposals.
    """
    distributions = _distributions(space)
    if not study.get_trials(deepcopy=False):
        own = {n: getattr(first, n) for n in distributions}
        study.enqueue_trial({n: v for n, v in own.items() if v in distributions[n].choices})
    for trial in _trials(study, trials, sampler, seed):
        chosen = {
            name: trial.suggest_categorical(name, list(each.choices))
            for name, each in distributions.items()
        }
        setting = space.setting({n: chosen.get(n, v[0]) for n, v in space.values.items()})
        outcome = evaluator.outcome(setting)
        for name, value in _attributes(setting, outcome).items():
            trial.set_user_attr(name, value)
        study.tell(trial, _values(evaluator, outcome), state=_state(outcome))
        told(trial.number + 1, outcome)


def _trials(
    study: optuna.Study, trials: int, sampler: Sampler, seed: int
) -> Iterator[optuna.Trial]:
    """Trials under their numbers: first those that were begun and not finished."""
    import optuna

    for begun in study.get_trials(deepcopy=False):
        if begun.state == optuna.trial.TrialState.RUNNING and begun.number < trials:
            study.sampler = _sampler(sampler, seed, begun.number)
            yield optuna.Trial(study, begun._trial_id)
    while (number := _next_number(study)) < trials:
        study.sampler = _sampler(sampler, seed, number)
        yield study.ask()


def _next_number(study: optuna.Study) -> int:
    return sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))


def _sampler(kind: Sampler, seed: int, number: int) -> Any:
    from optuna.samplers import NSGAIISampler, TPESampler

    own = (seed * 1_000_003 + number) % SEEDS
    if kind == "tpe":
        return TPESampler(seed=own)
    return NSGAIISampler(population_size=POPULATION, seed=own)


def _distributions(space: Space) -> dict[str, Any]:
    """Of what has several values."""
    from optuna.distributions import CategoricalDistribution

    several = {name: values for name, values in space.values.items() if len(values) > 1}
    return {name: CategoricalDistribution(values) for name, values in several.items()}


def _state(outcome: Outcome) -> Any:
    from optuna.trial import TrialState

    return TrialState.COMPLETE if outcome.measures is not None else TrialState.PRUNED


def _values(evaluator: Evaluator, outcome: Outcome) -> list[float] | None:
    return None if outcome.measures is None else list(evaluator.natural(outcome.measures))


def _attributes(setting: Setting, outcome: Outcome) -> dict[str, Any]:
    """What the storage keeps of a trial beside its parameters."""
    kept: dict[str, Any] = {"setting": setting.model_dump(mode="json")}
    if outcome.measures is not None:
        kept["measures"] = outcome.measures.model_dump(mode="json")
        return kept | {"outcome": "planned"}
    return kept | {
        "outcome": "pruned" if outcome.pruned else "infeasible",
        "reason": outcome.reason,
    }


def _outcome(kept: dict[str, Any]) -> Outcome:
    if "measures" in kept:
        return Outcome(measures=Measures.model_validate(kept["measures"]))
    return Outcome(reason=kept["reason"], pruned=kept["outcome"] == "pruned")
