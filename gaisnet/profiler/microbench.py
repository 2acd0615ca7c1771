"""Microbenchmarks: what matrix products, copies and single operators cost on this device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gaisnet.profiler.clock import repeat, steady_s

__all__ = [
    "GemmPoint",
    "bandwidth_bytes_per_s",
    "busy_work",
    "gemm_curve",
    "op_overhead_s",
    "usable_dtypes",
]

Shape = tuple[int, int, int]

_SQUARES: tuple[Shape, ...] = ((256, 256, 256), (512, 512, 512), (1024, 1024, 1024))
_TRANSFORMER: tuple[Shape, ...] = (
    (128, 384, 384),
    (128, 384, 1536),
    (197, 768, 768),
    (197, 768, 3072),
    (197, 3072, 768),
)
"""Rows (tokens of a sample), inputs and outputs of the linear maps of MiniLM- and ViT-Base-size
blocks: the products that a fleet's devices really run."""

_ACCELERATOR_SCALE, _ACCELERATOR_BATCH = 8, 64
"""A GPU needs larger products to fill it: squares grow by this, rows as in a batch of so many. On
an H200, products of a batch of 8 took no longer than their launch."""

_BANDWIDTH_BYTES = 1 << 27
_LEAST, _LEAST_SLOW = 7, 3
"""Runs of everything, also where the machine is so busy that the time is up before; and of
products of which hardly so many fit into their share of it."""
_TOO_SLOW_S = 0.25
"""A type whose smallest product takes longer than this is not computed by this device."""


@dataclass(frozen=True)
class GemmPoint:
    """Speed of one matrix product [rows, inner] x [inner, columns]."""

    rows: int
    inner: int
    columns: int
    transformer: bool
    """Whether the shape is one of a transformer's, not a square."""
    flops_per_s: float


def gemm_curve(device: torch.device, dtype: torch.dtype, budget_s: float) -> list[GemmPoint]:
    """Undisturbed speed of square and of transformer-like products.

    Args:
        device: Where to compute.
        dtype: Type of both factors and of the product.
        budget_s: Time for the whole curve.
    """
    shapes = _shapes(device)
    share = budget_s / len(shapes)
    points: list[GemmPoint] = []
    for shape, likeness in shapes:
        expected_s = _expected_s(shape, likeness, points)
        if expected_s <= share:
            least = _LEAST if _LEAST * expected_s <= share else _LEAST_SLOW
            points.append(_gemm_point(device, dtype, shape, likeness, share, least))
    return points


def _expected_s(shape: Shape, transformer: bool, points: Sequence[GemmPoint]) -> float:
    """By the best speed so far; nothing for the first of its kind, which is always measured.

    On a slow device one large product alone would take more than its share of the time.
    """
    seen = [point.flops_per_s for point in points if point.transformer == transformer]
    return 2 * math.prod(shape) / max(seen) if seen else 0.0


def usable_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """Floating types that the device multiplies in a bearable time; float32 comes first."""
    found = [torch.float32]
    for dtype in (torch.bfloat16, torch.float16):
        work = _product(device, dtype, _SQUARES[0])
        if min(run.wall_s for run in repeat(work, budget_s=0.0, device=device)) < _TOO_SLOW_S:
            found.append(dtype)
    return tuple(found)


def bandwidth_bytes_per_s(device: torch.device, budget_s: float) -> float:
    """Bytes read plus bytes written per second by a copy too large for caches.

    The fastest run counts: whoever else uses the memory only takes from it.
    """
    return _copy_speed(device, _BANDWIDTH_BYTES, budget_s)


def _copy_speed(device: torch.device, n_bytes: int, budget_s: float) -> float:
    source = torch.ones(n_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    runs = repeat(lambda: target.copy_(source), budget_s=budget_s, device=device, least=_LEAST)
    return 2 * n_bytes / min(min(run.wall_s, run.cpu_s) for run in runs)


def busy_work(device: torch.device, seconds: float) -> Callable[[], object]:
    """What keeps the device at matrix products for so long, and at nothing else."""
    work = _product(device, torch.float32, max(shape for shape, _ in _shapes(device)))
    return lambda: repeat(work, budget_s=seconds, device=device)


def op_overhead_s(device: torch.device, budget_s: float) -> float:
    """Time of one operator on tensors too small to matter: the mean over a block's usual ones."""
    hidden = torch.ones(1, 1, 8, device=device)
    weight = torch.ones(8, 8, device=device)
    bias = torch.ones(8, device=device)
    operators: tuple[Callable[[], Tensor], ...] = (
        lambda: F.linear(hidden, weight, bias),
        lambda: F.layer_norm(hidden, (8,), bias, bias),
        lambda: F.gelu(hidden),
        lambda: hidden + hidden,
        lambda: torch.softmax(hidden, -1),
    )
    loops = 20

    def work() -> None:
        for _ in range(loops):
            for operator in operators:
                operator()

    runs = repeat(work, budget_s=budget_s, device=device, least=_LEAST)
    return steady_s(runs) / (loops * len(operators))


def _shapes(device: torch.device) -> list[tuple[Shape, bool]]:
    cuda = device.type == "cuda"
    scale, batch = (_ACCELERATOR_SCALE, _ACCELERATOR_BATCH) if cuda else (1, 1)
    squares = [((m * scale, k * scale, n * scale), False) for m, k, n in _SQUARES]
    blocks = [((m * batch, k, n), True) for m, k, n in _TRANSFORMER]
    return squares + blocks


def _product(device: torch.device, dtype: torch.dtype, shape: Shape) -> Callable[[], Tensor]:
    rows, inner, columns = shape
    generator = torch.Generator(device).manual_seed(0)
    left = torch.randn(rows, inner, generator=generator, device=device).to(dtype)
    right = torch.randn(columns, inner, generator=generator, device=device).to(dtype)
    return lambda: F.linear(left, right)


def _gemm_point(
    device: torch.device,
    dtype: torch.dtype,
    shape: Shape,
    transformer: bool,
    budget_s: float,
    least: int,
) -> GemmPoint:
    rows, inner, columns = shape
    runs = repeat(_product(device, dtype, shape), budget_s=budget_s, device=device, least=least)
    flops = 2 * rows * inner * columns
    return GemmPoint(rows, inner, columns, transformer, flops / steady_s(runs))
