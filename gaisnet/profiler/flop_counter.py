"""First witness: the operators that run, each counted by the formulas of torch's flop counter.

On CPU tensors ``torch.utils.flop_counter`` has no formula for the attention kernel that a CPU
uses and leaves it out without a word. On the meta device attention decomposes into its matrix
products, which are counted, forward and backward; nothing is allocated. What looks like a matrix
product, a convolution or attention and has no formula is listed by name.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gaisnet.models.foundation import FoundationModel
from gaisnet.profiler.passage import Listener, Phase, run_pass
from gaisnet.profiler.valueless import as_without_padding

__all__ = ["UnitFlops", "count_flops", "looks_like_a_product"]

_PRODUCT = re.compile(
    r"(^|_)(mm|bmm|addmm|baddbmm|matmul|mv|addmv|dot|vdot|linear|bilinear|trilinear|einsum|inner"
    r"|tensordot|addbmm|grouped_mm|scaled_mm|conv\w*|convolution\w*|attention\w*|lstm|gru|rnn"
    r"|fft\w*|selective_scan|ssm|int_mm)($|_)"
)
_NO_PRODUCT = re.compile(r"mask|convert|_fused_sdp_choice")
_ATTENTION = ("bmm", "baddbmm", "attention")


@dataclass
class UnitFlops:
    """Counted operations of one unit over one pass of a batch."""

    forward_flops: int = 0
    attention_flops: int = 0
    """The batched products of two activations in ``forward_flops``."""
    backward_flops: int = 0
    uncounted: Counter[str] = field(default_factory=Counter)
    """Calls, by name, of product-like operators without a formula."""


def count_flops(model: FoundationModel, tokens: int | None, seed: int) -> list[UnitFlops]:
    """FLOPs of every unit for one sample, forward and backward.

    Args:
        model: On the meta device, with its tunable modules attached.
        tokens: Sequence length, for text.
        seed: Seed of the batch (on the meta device only shapes matter).
    """
    counter = _Counter(model.n_units)
    batch = model.example_inputs(1, tokens, seed)
    with as_without_padding(), counter:
        run_pass(model, batch, counter)
    return counter.units


def looks_like_a_product(operator: str) -> bool:
    """Whether an operator of this name multiplies matrices, convolves or attends."""
    return bool(_PRODUCT.search(operator)) and not _NO_PRODUCT.search(operator)


def _grouped_products(left: Tensor, right: Tensor, *args: Any, **kwargs: Any) -> int:
    """Mixture of experts: each row of ``left`` meets one of the stacked matrices of ``right``,
    or (for the gradient of the matrices) the rows of both are summed group by group."""
    batched = left.shape[0] if left.dim() == right.dim() == _STACKED else 1
    rows, inner, columns = left.shape[-2], left.shape[-1], right.shape[-1]
    return int(2 * batched * rows * inner * columns)


_STACKED = 3
_FORMULAS = {torch.ops.aten._grouped_mm: _grouped_products}
"""What torch's own table lacks."""


class _Counter(TorchDispatchMode, Listener):  # type: ignore[no-untyped-call]
    """Adds each operator to the unit that the pass is in."""

    def __init__(self, n_units: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.units = [UnitFlops() for _ in range(n_units)]
        self._now = self.units[0]
        self._phase: Phase = "forward"

    def enter(self, unit: int, phase: Phase) -> None:
        self._now, self._phase = self.units[unit], phase

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = getattr(func, "_overloadpacket", func)
        formula = flop_registry.get(packet) or _FORMULAS.get(packet)
        name = getattr(packet, "__name__", str(packet))
        if formula is not None:
            self._add(name, int(formula(*args, **kwargs, out_val=result)))
        elif looks_like_a_product(name):
            self._now.uncounted[str(packet)] += 1
        return result

    def _add(self, name: str, flops: int) -> None:
        if self._phase == "backward":
            self._now.backward_flops += flops
            return
        self._now.forward_flops += flops
        if any(part in name for part in _ATTENTION):
            self._now.attention_flops += flops
