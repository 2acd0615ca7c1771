"""Second witness: fvcore's trace of the forward pass.

fvcore counts multiply-adds, so its figures are doubled; it does not know fused attention, so it
is told; and it adds a few operations for norms, which the other two leave out, so it is told not
to. The traced model is hollow (weights of zeros without memory) and its matrix products are not
computed, only shaped, so a model of any size is traced in little time and memory.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gaisnet.models.foundation import FoundationModel
from gaisnet.profiler.passage import forward_inputs
from gaisnet.profiler.valueless import ASKS_FOR_TRACING

__all__ = ["fvcore_flops"]

_NORMS = ("layer_norm", "batch_norm", "group_norm", "instance_norm")
_ATTENTION = "aten::scaled_dot_product_attention"
_PREFIX = "inner"


def fvcore_flops(model: FoundationModel, tokens: int | None, seed: int) -> list[int | None]:
    """Forward FLOPs of one sample in every unit; ``None`` everywhere if it cannot be traced.

    Args:
        model: Hollow (see ``standins.make_hollow``), with its tunable modules attached.
        tokens: Sequence length, for text.
        seed: Seed of the batch.
    """
    inputs = forward_inputs(model, model.example_inputs(1, tokens, seed))
    named = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    fixed = {name: value for name, value in inputs.items() if name not in named}
    call = _Positional(model, list(named), fixed)
    try:
        by_module = _trace(call, tuple(named.values()))
    except (RuntimeError, TypeError, ValueError, NotImplementedError, KeyError):
        return [None] * model.n_units
    return _by_unit(model, by_module)


class _Positional(nn.Module):
    """The model as fvcore wants it: tensors in, one tensor out."""

    def __init__(self, model: FoundationModel, names: list[str], fixed: dict[str, Any]) -> None:
        super().__init__()
        self.inner = model.bare
        self._names = names
        self._fixed = fixed
        self._key = model.anatomy.output_key
        blocks = self.inner.get_submodule(model.anatomy.block_path)
        self._first_block = next(iter(blocks.children()))

    def forward(self, *tensors: Tensor) -> Any:
        named = dict(zip(self._names, tensors, strict=True))
        with ExitStack() as stack:

            def from_here_on(*_: Any) -> None:
                elsewhere = stack.enter_context(ThreadPoolExecutor(1))
                stack.enter_context(_ShapesOnly(elsewhere))

            handle = self._first_block.register_forward_pre_hook(from_here_on, prepend=True)
            stack.callback(handle.remove)
            return self.inner(**named, **self._fixed, return_dict=True)[self._key]


def _trace(call: nn.Module, tensors: tuple[Tensor, ...]) -> Counter[str]:
    with warnings.catch_warnings(), patch(ASKS_FOR_TRACING, lambda tensor=None: False):
        warnings.simplefilter("ignore")
        # fvcore compiles a loss with a deprecated function as it is imported.
        from fvcore.nn import FlopCountAnalysis

        with torch.no_grad():
            analysis = FlopCountAnalysis(call, tensors)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            analysis.set_op_handle(_ATTENTION, _attention_products)
            analysis.set_op_handle("aten::_grouped_mm", _grouped_products)
            for norm in _NORMS:
                analysis.set_op_handle(f"aten::{norm}", _nothing)
            logging.getLogger("fvcore").setLevel(logging.ERROR)
            by_module: Counter[str] = analysis.by_module()
    return by_module


def _attention_products(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    """Multiply-adds of q·kᵀ and of the probabilities times v, shapes ``[..., heads, t, d]``."""
    query, key, value = (shape.type().sizes() for shape in inputs[:3])
    scores = _product(query[:-1]) * key[-2]
    return Counter(attention=scores * (query[-1] + value[-1]))


def _grouped_products(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    """Multiply-adds of experts: each row ``[rows, inner]`` meets one ``[inner, columns]``."""
    rows, stacked = (shape.type().sizes() for shape in inputs[:2])
    return Counter(experts=_product(rows) * stacked[-1])


def _nothing(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    return Counter()


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total


def _by_unit(model: FoundationModel, by_module: Counter[str]) -> list[int | None]:
    """Blocks by name; what the prologue's modules do not account for is the epilogue's."""
    anatomy = model.anatomy
    names = [f"{_PREFIX}.{anatomy.block_path}.{index}" for index in range(anatomy.n_blocks)]
    blocks = [2 * int(by_module[name]) for name in names]
    prologue = 2 * sum(int(by_module[f"{_PREFIX}.{path}"]) for path in anatomy.prologue)
    return [prologue, *blocks, 2 * int(by_module[""]) - sum(blocks) - prologue]


class _ShapesOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers with zeros that take no memory; matrix products are not even computed.

    A tracer keeps every tensor that it has seen, which for a large model is more than there is
    memory. It is switched on from the first block on: while it is on, the tracer does not see
    convolutions, which stand in prologues only.
    """

    def __init__(self, elsewhere: Executor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._elsewhere = elsewhere

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        aten = torch.ops.aten
        if func in (aten.mm.default, aten.bmm.default, aten._grouped_mm.default):
            left, right = args[:2]
            return _zeros(left.dtype, (*left.shape[:-1], right.shape[-1]))
        if func is aten.addmm.default:
            _, left, right = args
            return _zeros(left.dtype, (left.shape[0], right.shape[1]))
        if func._schema.is_mutable and isinstance(args[0], Tensor) and _is_hollow(args[0]):
            return args[0]
        kwargs = kwargs or {}
        if not func.is_view:
            # The tracer belongs to its thread. In this one it takes even the reading of a shape
            # for an operator, and keeps every tensor alive that is touched.
            found = self._elsewhere.submit(_shape_of, func, args, kwargs).result()
            if found is not None:
                return _zeros(*found)
        return func(*args, **kwargs)


@torch.no_grad()
def _shape_of(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.dtype, torch.Size] | None:
    """Type and shape of the answer, if it is one floating tensor."""
    result = func(*args, **kwargs)
    if not isinstance(result, Tensor) or not result.is_floating_point():
        return None
    return result.dtype, result.shape


def _zeros(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    return torch.zeros((), dtype=dtype).expand(list(shape))


def _is_hollow(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and not any(tensor.stride())
