"""Run a model whose tensors have no values as it would run on a batch without padding.

Transformers looks into the attention mask to see whether it can be left out. Meta and fake
tensors cannot be looked into, and with fake ones transformers takes the path of a compiler, which
builds the full mask. Here every such question is answered as for a batch of full-length samples,
so that the operators and the memory are those of the real run. Experts' grouped products, whose
meta kernel knows bfloat16 only, are given the shape that they have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["ASKS_FOR_TRACING", "as_without_padding"]

_MATRIX = 2
ASKS_FOR_TRACING = "transformers.masking_utils.is_tracing"


class _SayYes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers yes, or one, wherever a scalar is read from a tensor that has no values.

    The one is for an optimizer's step counter; no shape depends on it.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and _has_no_values(args[0]):
            return True if args[0].dtype == torch.bool else 1
        if func is torch.ops.aten._grouped_mm.default and _has_no_values(args[0]):
            return _grouped_product(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _has_no_values(tensor: Tensor) -> bool:
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def _grouped_product(
    left: Tensor, right: Tensor, offs: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """Nothing of the shape of rows times one matrix each, or of a sum of outer products each."""
    shape = (*left.shape[:-1], right.shape[-1])
    if left.dim() == right.dim() == _MATRIX and offs is not None:
        shape = (offs.shape[0], *shape)
    return left.new_empty(shape)


@contextmanager
def as_without_padding() -> Iterator[None]:
    """For the block, masks of meta and fake tensors are taken to hide nothing."""
    with patch(ASKS_FOR_TRACING, lambda tensor=None: False), _SayYes():  # type: ignore[no-untyped-call]
        yield
