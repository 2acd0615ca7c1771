"""The oracle: the same steps on the unsplit model, written as anyone would write them."""

from __future__ import annotations

import torch
from torch import Tensor

from gaisnet.executor.data import Batch, Shard
from gaisnet.models import FoundationModel
from gaisnet.schema.job import OptimizerSpec


def train_whole(
    model: FoundationModel,
    batches: list[Batch],
    optimizer: OptimizerSpec,
    *,
    microbatches: int = 1,
    clip_norm: float | None = None,
) -> list[float]:
    """Train in place with transformers' own forward and loss; returns the batches' losses."""
    parameters = [p for p in model.module.parameters() if p.requires_grad]
    stepper = make_stepper(parameters, optimizer)
    losses = []
    for batch in batches:
        total = 0.0
        for rows in torch.arange(len(batch)).tensor_split(microbatches):
            inputs = {name: tensor[rows] for name, tensor in batch.inputs.items()}
            labels = batch.labels[rows]
            loss = model.module(**inputs, labels=labels).loss
            weight = len(rows) / len(batch)
            (loss if weight == 1.0 else loss * weight).backward()
            total += loss.item() * len(rows)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        stepper.step()
        stepper.zero_grad()
        losses.append(total / len(batch))
    return losses


def make_stepper(parameters: list[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    if spec.kind == "sgd":
        return torch.optim.SGD(
            parameters, spec.learning_rate, spec.momentum, weight_decay=spec.weight_decay
        )
    betas = spec.beta1, spec.beta2
    return torch.optim.AdamW(parameters, spec.learning_rate, betas, spec.eps, spec.weight_decay)


def draw(shard: Shard, steps: int, batch_size: int, seed: int) -> list[Batch]:
    """The batches that an owner takes."""
    return [shard.batch(step, batch_size, seed) for step in range(steps)]
