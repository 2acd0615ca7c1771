"""Tuned parameters that several stages of a chain hold, e.g. tied embeddings.

Each stage has its own copy and its own part of the gradient; the gradient of the whole is the sum
of the parts, and with it every copy takes the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaisnet.errors import MismatchError
from gaisnet.executor.chain import Chain, Stop
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.tasks import Pass

__all__ = ["Tie", "find_ties", "sum_tied_gradients"]


@dataclass(frozen=True, slots=True)
class Tie:
    """Stages that share parameters, in chain order."""

    stops: tuple[Stop, ...]
    names: tuple[str, ...]


def find_ties(chain: Chain, facts: ModelFacts) -> tuple[Tie, ...]:
    """The ties of a chain, each owner's on its own.

    Raises:
        MismatchError: Merged owners share parameters with the body: the gradients of their own
            batches' means and that of the union's do not add up to anything's gradient.
    """
    ties: list[Tie] = []
    for owner in chain.owners:
        path = [stop for stop in chain.stops() if stop.owner in (None, owner)]
        found = _ties_of(path, facts)
        ties += [tie for tie in found if tie not in ties]
    for tie in ties:
        if chain.merges and any(stop.owner is None for stop in tie.stops):
            raise MismatchError(
                f"{', '.join(tie.names[:3])} is shared between stages, which merged owners "
                "cannot tune",
                hint="plan with intra: sequential, or with other tunable modules",
            )
    return tuple(ties)


def _ties_of(path: Sequence[Stop], facts: ModelFacts) -> list[Tie]:
    held = [set(facts.names_in(stop.first_unit, stop.last_unit)) for stop in path]
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in facts.tunable:
        places = tuple(place for place, names in enumerate(held) if name in names)
        if len(places) > 1:
            groups.setdefault(places, []).append(name)
    return [Tie(tuple(path[p] for p in places), tuple(names)) for places, names in groups.items()]


def sum_tied_gradients(dispatcher: Dispatcher, tie: Tie, moment: Moment) -> None:
    """The first stage sums all parts, in chain order, and gives the sum to the others."""
    root, *others = tie.stops
    parts = []
    for stop in others:
        task = Pass(stop.stage, moment, (root.address.device,))
        reply = dispatcher.call(
            stop.address, "give_gradients", task, tie.names, makes=1, keys=(stop.stage,)
        )
        parts += [dispatcher.send(part, root.address) for part in reply.parcels]
    task = Pass(root.stage, moment, tuple(stop.address.device for stop in others))
    reply = dispatcher.call(
        root.address, "give_gradients", task, tie.names,
        parcels=parts, makes=len(others), keys=(root.stage,),
    )  # fmt: skip
    for stop, parcel in zip(others, reply.parcels, strict=True):
        total = dispatcher.send(parcel, stop.address)
        task = Pass(stop.stage, moment)
        dispatcher.call(stop.address, "set_gradients", task, parcels=[total], keys=(stop.stage,))
