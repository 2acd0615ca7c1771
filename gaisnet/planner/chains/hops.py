"""Seconds and joules of one cut between two stages, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.planner.cost import CostModel

__all__ = ["NO_HOP", "Hop", "entry_hop", "exit_hop", "stage_hop"]


@dataclass(frozen=True, kw_only=True)
class Hop:
    """Transfers of one micro-batch over one cut."""

    forward_s: float
    backward_s: float
    energy_j: float

    @property
    def stage_s(self) -> float:
        """Both ways: the cut as a stage of the pipeline."""
        return self.forward_s + self.backward_s


NO_HOP = Hop(forward_s=0.0, backward_s=0.0, energy_j=0.0)


def stage_hop(cost: CostModel, sender: str, receiver: str, cut: int, samples: int) -> Hop:
    """Hidden states with side inputs after unit ``cut`` forward, gradients backward."""
    forward = cost.activation_bytes(cut, samples) + cost.side_input_bytes(samples)
    return _hop(cost, sender, receiver, forward, cost.gradient_bytes(cut, samples))


def entry_hop(cost: CostModel, owner: str, first: str, head_units: int, samples: int) -> Hop:
    """From an owner's head to the first stage of the body, and gradients back."""
    return stage_hop(cost, owner, first, head_units - 1, samples)


def exit_hop(cost: CostModel, owner: str, last: str, tail_first_unit: int, samples: int) -> Hop:
    """From the last stage of the body to an owner's tail (which has its own side inputs), and
    gradients back. Under the vanilla topology the owner's labels to the last stage."""
    if tail_first_unit == cost.n_units:
        labels = cost.label_bytes(samples)
        return Hop(
            forward_s=cost.transfer_s(owner, last, labels),
            backward_s=0.0,
            energy_j=cost.transfer_j(owner, last, labels),
        )
    cut = tail_first_unit - 1
    forward, backward = cost.activation_bytes(cut, samples), cost.gradient_bytes(cut, samples)
    return _hop(cost, last, owner, forward, backward)


def _hop(cost: CostModel, sender: str, receiver: str, forward: int, backward: int) -> Hop:
    return Hop(
        forward_s=cost.transfer_s(sender, receiver, forward),
        backward_s=cost.transfer_s(receiver, sender, backward),
        energy_j=cost.transfer_j(sender, receiver, forward)
        + cost.transfer_j(receiver, sender, backward),
    )
