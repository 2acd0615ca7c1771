"""How well the current tunable modules do on held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.errors import RunError
from gaisnet.executor.data import Batch, Shard
from gaisnet.executor.inference.answers import Score, answers_of, score
from gaisnet.executor.residual import apply_residuals
from gaisnet.models import FoundationModel, make_stage

__all__ = ["Evaluation", "Evaluator"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over a whole file."""

    loss: float
    """Per sample, or per scored token for language models."""
    accuracy: float | None
    """Share of right answers (classes, or tokens); ``None`` where the task has none."""
    scored: int
    """Samples or tokens that the means are over."""


class Evaluator:
    """Runs a whole model on held-out data, in one process, where it lies, and without gradients.

    It holds its own copy of the tunable modules, so evaluating disturbs no training.

    Args:
        model: With tunable modules attached.
        batch_size: Samples of a pass; bounds the memory, not the result.
    """

    def __init__(self, model: FoundationModel, *, batch_size: int = 64) -> None:
        self._model = model
        self._whole = make_stage(model, 0, model.n_units - 1)
        self._batch_size = batch_size

    @torch.no_grad()
    def evaluate(self, shard: Shard, modules: Mapping[str, Tensor] | None = None) -> Evaluation:
        """Loss and accuracy over all samples of a shard that has labels.

        Args:
            shard: Held-out data; batches are taken in its order.
            modules: Tunable modules (and residuals of FedEx-LoRA) to use from now on; by default
                those of the last call.

        Raises:
            RunError: The loss is not finite: training has diverged.
            ModelError: The modules do not fit the model.
        """
        if modules is not None:
            self._whole.load_tunable_state(modules)
            apply_residuals(self._model, self._whole, modules)
        loss, hits, scored, known = 0.0, 0, 0, True
        for batch in shard.in_order(self._batch_size):
            batch_loss, part = self._pass(batch.to(self._model.device))
            loss += batch_loss * part.count
            hits, scored = hits + (part.hits or 0), scored + part.count
            known = known and part.hits is not None
        return Evaluation(loss / max(scored, 1), hits / max(scored, 1) if known else None, scored)

    def _pass(self, batch: Batch) -> tuple[float, Score]:
        assert batch.labels is not None, "held-out data was loaded without labels"
        logits = self._whole(batch.inputs)
        part = score(self._model.task, answers_of(self._model.task, logits), batch.labels)
        if part.count == 0:
            return 0.0, part
        loss = float(self._model.loss(logits, batch.labels))
        if not torch.isfinite(torch.tensor(loss)):
            raise RunError(
                f"the loss on held-out data is {loss}",
                hint="training has diverged: lower the learning rate, or set clip_norm",
            )
        return loss, part
