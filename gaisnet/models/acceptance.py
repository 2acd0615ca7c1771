"""The last word on whether a model can be cut: one small batch through a split of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gaisnet.models.blocks import refuse
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.generate import run_stages
from gaisnet.models.stage import cut

__all__ = ["refuse_unequal"]


@torch.no_grad()
def refuse_unequal(model: FoundationModel, inputs: Mapping[str, Tensor]) -> None:
    """Cut a freshly loaded model into three and compare the answers.

    The anatomy rests on what one pass showed; a model whose stages compute something else, for a
    reason that the probe does not look for, is refused here instead of giving wrong results.

    Raises:
        ModelError: A stage fails, or the answers differ.
    """
    last = model.n_units - 1
    middle = (last + 1) // 2
    segments = [(0, middle - 1), (middle, last - 1), (last, last)]
    try:
        split = run_stages(cut(model, segments, private_tunables=False), inputs)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise refuse(model.bare, f"a stage of it fails: {error}") from error
    whole = model.bare(**inputs)[model.anatomy.output_key]
    if not torch.equal(split.nan_to_num(), whole.nan_to_num()):
        difference = float((split - whole).abs().max())
        raise refuse(model.bare, f"its stages answer otherwise than the whole, by {difference:.3g}")
