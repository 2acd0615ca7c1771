"""A small decoder with one hidden layer, on principal components of both sides."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaisnet.profiler.leakage.ridge import Components

__all__ = ["MLP_STEPS", "mlp"]

MLP_STEPS = 240
"""Most steps of training."""
_MOST = 128
_HIDDEN = 128
_BATCH = 256
_CHECK_EVERY = 20
_PATIENCE = 3
_RATE = 3e-3
_DECAY = 1e-3


def mlp(
    rows: Tensor,
    targets: Tensor,
    held: Tensor,
    components: Components,
    target_components: Components,
    seed: int,
) -> Tensor:
    """Train on ``rows`` and ``targets``, and answer for ``held``.

    A fifth of the rows says when to stop. torch's global generator is left as it was.

    Args:
        rows: Centred features, ``[m, f]``.
        targets: Centred, ``[m, d]``.
        held: Features to answer for, ``[n, f]``.
        components: Of the features.
        target_components: Of the targets.
        seed: Of the initial weights and the order.

    Returns:
        ``[n, d]``.
    """
    inward, outward = _scaled(components, len(rows)), target_components.directions[:, :_MOST]
    spread = (target_components.eigenvalues[:1] / len(rows)).sqrt().float()
    features, wanted = _onto(rows, inward), _onto(targets, outward) / spread
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        decoder = _train(features, wanted)
    with torch.no_grad():
        answer: Tensor = decoder(_onto(held, inward)) * spread
    return answer @ outward.T.float()


def _onto(rows: Tensor, directions: Tensor) -> Tensor:
    return rows.float() @ directions.float()


def _scaled(components: Components, rows: int) -> Tensor:
    """Directions in whose coordinates the features vary by about one."""
    values = components.eigenvalues[:_MOST]
    # Small directions are left small: they are mostly noise.
    scale = (values / rows).sqrt().clamp_min(0.05 * float((values[0] / rows).sqrt()))
    return components.directions[:, :_MOST] / scale


def _train(features: Tensor, wanted: Tensor) -> nn.Module:
    order = torch.randperm(len(features))
    check, train = order[: max(1, len(order) // 5)], order[max(1, len(order) // 5) :]
    decoder = nn.Sequential(
        nn.Linear(features.shape[1], _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, wanted.shape[1])
    )
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=_RATE, weight_decay=_DECAY)
    best, least, worse = copy.deepcopy(decoder.state_dict()), float("inf"), 0
    for step in range(MLP_STEPS):
        picks = train[torch.randint(len(train), (_BATCH,))]
        loss = F.mse_loss(decoder(features[picks]), wanted[picks])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % _CHECK_EVERY == 0:
            error = _error(decoder, features[check], wanted[check])
            worse = 0 if error < least else worse + 1
            if error < least:
                best, least = copy.deepcopy(decoder.state_dict()), error
            if worse >= _PATIENCE:
                break
    decoder.load_state_dict(best)
    return decoder


def _error(decoder: nn.Module, features: Tensor, wanted: Tensor) -> float:
    with torch.no_grad():
        return float(F.mse_loss(decoder(features), wanted))
