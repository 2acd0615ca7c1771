"""Bottleneck adapters after each block (Houlsby et al., arXiv 1902.00751, section 2.1).

One adapter a block, on the block's output (the place of Pfeiffer et al., arXiv 2005.00247):
``h + W_up · gelu(W_down · h + b_down) + b_up``. The up-projection starts at zero, so a fresh
adapter is the identity, exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaisnet.models.foundation import FoundationModel
from gaisnet.schema.model import AdapterSpec

__all__ = ["BottleneckAdapter", "attach_adapters"]

_NAME = "bottleneck_adapter"


class BottleneckAdapter(nn.Module):
    """Down-projection, GELU, up-projection, and a residual path.

    Args:
        width: Width of the hidden state.
        bottleneck: Width between the projections.
        index: Where in the block's output tuple the hidden state stands; ``None`` if the block
            returns the hidden state itself.
        dtype: Type of the parameters.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        index: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck, dtype=dtype)
        self.up = nn.Linear(bottleneck, width, dtype=dtype)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.index = index

    def forward(self, hidden: Tensor) -> Tensor:
        """``[..., width]`` to the same shape."""
        adapted: Tensor = hidden + self.up(F.gelu(self.down(hidden)))
        return adapted


def attach_adapters(model: FoundationModel, spec: AdapterSpec) -> None:
    """Give every block of the model an adapter."""
    anatomy = model.anatomy
    dtype = next(p.dtype for p in model.bare.parameters() if p.is_floating_point())
    for block in model.bare.get_submodule(anatomy.block_path).children():
        adapter = BottleneckAdapter(
            anatomy.hidden_size, spec.bottleneck, anatomy.output_index, dtype
        )
        block.add_module(_NAME, adapter.to(model.device))
        block.register_forward_hook(_adapt)


def _adapt(block: nn.Module, args: Any, output: Any) -> Any:
    """Forward hook; a plain function, so that clones of the block use their own adapter."""
    adapter = block.get_submodule(_NAME)
    assert isinstance(adapter, BottleneckAdapter)
    return replace_hidden(output, adapter.index, adapter)


def replace_hidden(output: Any, index: int | None, change: Any) -> Any:
    """``output`` with its hidden state changed."""
    if index is None:
        return change(output)
    return tuple(change(value) if i == index else value for i, value in enumerate(output))
