"""Gradient clipping by the norm over all parts of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from gaisnet.executor.chain import Chain
from gaisnet.executor.dispatch import Dispatcher

__all__ = ["clip_scale"]

_EPS = 1e-6  # as in torch.nn.utils.clip_grad_norm_


def clip_scale(
    dispatcher: Dispatcher, chain: Chain, order: Sequence[str], clip_norm: float
) -> float:
    """The factor for every gradient of a chain, bit for bit ``torch.nn.utils.clip_grad_norm_``'s.

    That is the norm of the norms of the single gradients, stacked in the order in which the whole
    model lists its parameters. Parameters that stages share count once; if features are merged,
    every owner's head and tail count.

    Args:
        dispatcher: Asks the holders for the norms.
        chain: The stages that take the step.
        order: Names of the tuned parameters in the whole model's order.
        clip_norm: The largest norm that is allowed.
    """
    norms: dict[tuple[int, int], float] = {}
    place = {name: index for index, name in enumerate(order)}
    asked = [
        (stop, dispatcher.call(stop.address, "gradient_norms", stop.stage, keys=(stop.stage,)))
        for stop in chain.stops()
    ]
    for stop, reply in asked:
        owner = chain.owners.index(stop.owner) if stop.owner else 0
        found: Mapping[str, float] = dispatcher.read(reply)["norms"]
        for name, norm in found.items():
            norms.setdefault((place[name], owner), norm)
    total = torch.linalg.vector_norm(torch.tensor([norms[key] for key in sorted(norms)]))
    return float(torch.clamp(clip_norm / (total + _EPS), max=1.0))
