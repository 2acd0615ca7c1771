"""Split generation against the model's own ``generate``: tokens per second, as a ratio.

GPT-2's geometry (124 million parameters, random weights) over four stages of the embedded engine:
head and tail on the entry, two body stages between. The two take turns in one process, so that
whatever else the machine does touches both alike; the ratio is the median over the turns.

    python -m benchmarks.generation [--turns N] [--tokens N] [--batch N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gaisnet.executor.data import Shard
from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.inference import Body, Generation, ServiceChain, ServiceDesk, Serving
from gaisnet.models import FoundationModel, load_model
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.plan import ClusterPlan, Owner
from gaisnet.schema.plan import Stage as StagePlan

__all__ = ["TARGET", "measure"]

TARGET = 0.95
"""Least ratio of tokens per second, split over whole."""

_PROMPT_TOKENS = 32


def measure(*, turns: int = 5, new_tokens: int = 64, batch: int = 1) -> dict[str, float]:
    """Tokens per second of both, and the median ratio of split over whole."""
    torch.set_num_threads(1)
    model = _gpt2()
    prompts = model.example_inputs(batch, _PROMPT_TOKENS)
    requests = Shard("benchmark", {k: prompts[k] for k in ("input_ids", "attention_mask")})
    whole_s, split_s = [], []
    for turn in range(turns + 1):
        own, seconds = _own(model, requests, new_tokens)
        answered, split_seconds = _split(model, requests, new_tokens)
        assert answered == own, "split generation gave other tokens"
        if turn:  # the first warms up
            whole_s.append(seconds)
            split_s.append(split_seconds)
    tokens = batch * new_tokens
    return {
        "whole_tokens_per_s": tokens / statistics.median(whole_s),
        "split_tokens_per_s": tokens / statistics.median(split_s),
        "ratio": statistics.median(w / s for w, s in zip(whole_s, split_s, strict=True)),
    }


def _gpt2() -> FoundationModel:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
        model = load_model(ModelSpec(source=str(path)))
    model.bare.generation_config.eos_token_id = None  # type: ignore[union-attr]
    return model


@torch.no_grad()
def _own(model: FoundationModel, requests: Shard, new: int) -> tuple[list[list[int]], float]:
    started = time.perf_counter()
    found = model.bare.generate(  # type: ignore[operator]
        **requests.inputs, do_sample=False, max_new_tokens=new, pad_token_id=0
    )
    seconds = time.perf_counter() - started
    return found[:, _PROMPT_TOKENS:].tolist(), seconds


def _split(model: FoundationModel, requests: Shard, new: int) -> tuple[list[list[int]], float]:
    desk = _desk(model, requests, new)
    started = time.perf_counter()
    answers = desk.answer().answers
    return answers, time.perf_counter() - started


def _desk(model: FoundationModel, requests: Shard, new: int) -> ServiceDesk:
    plan = ClusterPlan(
        id="c0",
        edge="edge",
        domain="general",
        owners=(Owner(device="phone", shards=("phone",), samples=1),),
        head_units=4,
        tail_first_unit=10,
        body=(
            StagePlan(device="box0", first_unit=4, last_unit=6),
            StagePlan(device="box1", first_unit=7, last_unit=9),
        ),
        intra="sequential",
    )
    serving = Serving(LocalEngine(), model, "benchmark")
    chain = ServiceChain.of(plan, "phone", model.n_units)
    body = Body(serving, plan.id, chain.body)
    return ServiceDesk(serving, chain, body, requests, generation=Generation.of(model, new))


def main() -> None:
    """Print one run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    found = measure(turns=given.turns, new_tokens=given.tokens, batch=given.batch)
    print("split generation over the whole model's own, GPT-2 geometry, 4 stages:")
    for name, value in found.items():
        print(f"  {name:20s} {value:8.3f}")
    print(f"  target for the ratio {TARGET:8.3f}")


if __name__ == "__main__":
    main()
