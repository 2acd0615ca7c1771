"""Microbenchmarks of what is no matrix product: attention and element-wise operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaisnet.extrapolation.seconds import ADAMW_PASSES
from gaisnet.extrapolation.work import UPDATE
from gaisnet.profiler.clock import repeat, steady_s
from gaisnet.schema.profile import AttentionEfficiency

__all__ = ["attention_flops_per_s", "efficiency", "traffic_bytes_per_s"]

_ATTENTION = ((1, 12, 128, 32), (1, 3, 197, 64), (1, 12, 197, 64))
"""Samples, heads, tokens and width of a head: MiniLM, ViT-Tiny and ViT-Base."""
_ROWS, _WIDTH = 256, 1024
"""A mebibyte in float32: activations of a layer, which a CPU's second cache holds."""
_UPDATED = 1 << 20
_ACCELERATOR_BATCH = 64
"""As many samples on a GPU, so that the operators take longer than their launch."""
_LEAST = 15
"""Runs of everything, also where the machine is so busy that the time is up before."""


def attention_flops_per_s(device: torch.device, budget_s: float) -> tuple[float, float]:
    """Medians over shapes of attention's FLOP/s in float32, forward and backward.

    FLOPs as the profile counts them: two products forward, four backward, nothing for the scores
    that are computed again.
    """
    share = budget_s / (2 * len(_ATTENTION))
    found = [_attend(device, shape, share) for shape in _ATTENTION]
    return _median([forward for forward, _ in found]), _median([back for _, back in found])


def efficiency(attention: tuple[float, float], sustained_flops_per_s: float) -> AttentionEfficiency:
    """Attention's speeds over that of a transformer's products."""
    forward, backward = attention
    return AttentionEfficiency(
        forward=forward / sustained_flops_per_s, backward=backward / sustained_flops_per_s
    )


def traffic_bytes_per_s(device: torch.device, budget_s: float) -> dict[str, float]:
    """Bytes read plus written per second by element-wise operators, by kind.

    Each kind is timed forward and backward, as training has them; the times are added.
    """
    rows = _ROWS * (_ACCELERATOR_BATCH if device.type == "cuda" else 1)
    first, second = (torch.randn(rows, _WIDTH, device=device) for _ in range(2))
    weight = torch.ones(_WIDTH, device=device)
    mean, inverse = torch.zeros(rows, 1, device=device), torch.ones(rows, 1, device=device)
    n_bytes = first.numel() * first.element_size()
    aten = torch.ops.aten
    norm = [[_WIDTH], mean, inverse, weight, weight, [True, False, False]]
    kinds: dict[str, list[tuple[int, Callable[[], object]]]] = {
        "move": [(3, lambda: first + second), (3, lambda: first * second), (2, first.clone)],
        "norm": [
            (2, lambda: F.layer_norm(first, (_WIDTH,), weight, weight)),
            (3, lambda: aten.native_layer_norm_backward(second, first, *norm)),
        ],
        "gelu": [(2, lambda: F.gelu(first)), (3, lambda: aten.gelu_backward(second, first))],
        "silu": [(2, lambda: F.silu(first)), (3, lambda: aten.silu_backward(second, first))],
        "tanh": [(2, lambda: torch.tanh(first)), (3, lambda: aten.tanh_backward(second, first))],
        "softmax": [
            (2, lambda: torch.softmax(first, -1)),
            (3, lambda: aten._softmax_backward_data(second, first, -1, torch.float32)),
        ],
    }
    share = budget_s / sum(len(works) for works in kinds.values())

    def spent_s(work: Callable[[], object]) -> float:
        return steady_s(repeat(work, budget_s=share, device=device, least=_LEAST))

    found = {
        kind: n_bytes * sum(n for n, _ in works) / sum(spent_s(work) for _, work in works)
        for kind, works in kinds.items()
    }
    return found | {UPDATE: _update_bytes_per_s(device, share)}


def _update_bytes_per_s(device: torch.device, budget_s: float) -> float:
    """Of one step of AdamW on a weight as large as a small transformer's."""
    weight = nn.Parameter(torch.zeros(_UPDATED, device=device))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW([weight], lr=0.0)
    runs = repeat(optimizer.step, budget_s=budget_s, device=device, least=_LEAST)
    return ADAMW_PASSES * weight.numel() * weight.element_size() / steady_s(runs)


def _attend(
    device: torch.device, shape: tuple[int, int, int, int], budget_s: float
) -> tuple[float, float]:
    samples, heads, tokens, width = shape
    batch = samples * (_ACCELERATOR_BATCH if device.type == "cuda" else 1)
    sizes = (batch, heads, tokens, width)
    inputs = [torch.randn(sizes, device=device, requires_grad=True) for _ in range(3)]
    query, key, value = inputs
    answer: Tensor = F.scaled_dot_product_attention(query, key, value)
    gradient = torch.ones_like(answer)

    def back() -> None:
        torch.autograd.grad(answer, inputs, gradient, retain_graph=True)

    def attend() -> None:
        F.scaled_dot_product_attention(query, key, value)

    flops = 4 * batch * heads * tokens**2 * width
    forward_s = steady_s(repeat(attend, budget_s=budget_s, device=device, least=_LEAST))
    backward_s = steady_s(repeat(back, budget_s=budget_s, device=device, least=_LEAST))
    return flops / forward_s, 2 * flops / backward_s


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
