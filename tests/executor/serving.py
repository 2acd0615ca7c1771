"""Small models, plans and requests for the tests of split inference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from gaisnet.executor.data import Shard
from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.inference import Body, Generation, ServiceChain, ServiceDesk, Serving
from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.schema.job import Compression
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.plan import ClusterPlan, Owner
from gaisnet.schema.plan import Stage as StagePlan

_LLAMA = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "eos_token_id": 5,
    "pad_token_id": 0,
}
CONFIGS: dict[str, dict[str, object]] = {
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 16,
        "n_layer": 4,
        "n_head": 2,
        "vocab_size": 40,
        "n_positions": 64,
        "initializer_range": 0.5,
        "eos_token_id": 5,
    },
    "llama": {"model_type": "llama", **_LLAMA},
    "qwen2": {"model_type": "qwen2", **_LLAMA},
    "qwen3": {"model_type": "qwen3", "head_dim": 4, **_LLAMA},
    "vit": {
        "model_type": "vit",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 8,
        "patch_size": 4,
        "num_channels": 1,
        "num_labels": 4,
        "initializer_range": 0.3,
    },
    "bert": {
        "model_type": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 40,
        "num_labels": 3,
        "initializer_range": 0.3,
    },
}
UNITS = 6


def build(family: str, task: str | None = None) -> FoundationModel:
    """A small random model with LoRA of which no part is zero."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(CONFIGS[family]))
        model = attach(load_model(ModelSpec(source=str(path), task=task)), LoraSpec(r=2), seed=0)
    load = shaken(model, 0.3)
    with torch.no_grad():
        for name, parameter in model.bare.named_parameters():
            if name in load:
                parameter.copy_(load[name])
    assert model.n_units == UNITS
    return model


known = cache(build)


def modules_of(model: FoundationModel) -> dict[str, Tensor]:
    """The model's tunable modules."""
    named = model.bare.named_parameters()
    return {name: p.detach().clone() for name, p in named if p.requires_grad}


def shaken(model: FoundationModel, size: float, seed: int = 0) -> dict[str, Tensor]:
    """The tunable modules with noise."""
    generator = torch.Generator().manual_seed(seed)
    state = modules_of(model)
    return {n: p + size * torch.randn(p.shape, generator=generator) for n, p in state.items()}


def cluster(
    head: int, tail: int, cuts: Sequence[int] = (), *, owner: str = "phone", intra: str = "merge"
) -> ClusterPlan:
    """Owner's head and tail, and a body cut before each unit of ``cuts``."""
    edges = [head, *cuts, tail]
    body = [(a, b) for a, b in pairwise(edges) if a < b]
    return ClusterPlan(
        id="c0",
        edge="edge",
        domain="general",
        owners=(Owner(device=owner, shards=(owner,), samples=1),),
        head_units=head,
        tail_first_unit=tail,
        body=tuple(
            StagePlan(device=f"box{n}", first_unit=a, last_unit=b - 1)
            for n, (a, b) in enumerate(body)
        ),
        intra=intra,
    )


def prompts(batch: int, width: int, *, seed: int = 0, padded: bool = True) -> Shard:
    """Random prompts of unequal lengths, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(6, 40, (batch, width), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(batch if padded else 0):
        mask[row, : row % width] = 0
    return Shard("chat", {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask})


def open_desk(
    model: FoundationModel,
    plan: ClusterPlan,
    requests: Shard,
    *,
    new_tokens: int = 0,
    batch_size: int = 32,
    compression: Compression = "none",
    engine: LocalEngine | None = None,
) -> tuple[ServiceDesk, Body]:
    """A service on a new local engine."""
    serving = Serving(engine or LocalEngine(), model, "run", compression)
    chain = ServiceChain.of(plan, plan.owners[0].device, model.n_units)
    body = Body(serving, plan.id, chain.body)
    desk = ServiceDesk(serving, chain, body, requests, new_tokens=new_tokens, batch_size=batch_size)
    return desk, body


@torch.no_grad()
def own_generate(model: FoundationModel, requests: Shard, new_tokens: int) -> list[list[int]]:
    """What the model's own ``generate`` adds, up to the end token."""
    plan = Generation.of(model, new_tokens)
    width = requests.inputs["input_ids"].shape[1]
    found = model.module.generate(
        **requests.inputs,
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0 if plan.pad_token_id is None else plan.pad_token_id,
    )
    return [_until_end(row) for row in found[:, width:].tolist()]


def _until_end(row: list[int]) -> list[int]:
    return row[: row.index(5) + 1] if 5 in row else row
