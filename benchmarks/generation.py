"""Split generation against the model's own ``generate``: tokens per second, as a ratio.

GPT-2's geometry (124 million parameters, random weights) over four stages of the embedded engine:
head and tail on the entry, two body stages between. The two take short turns in one process, so
that whatever else the machine does touches both alike; a ratio is the median over the turns. On a
busy machine the one of the process's own CPU time is the steadier.

    python -m benchmarks.generation [--turns N] [--tokens N] [--batch N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gaisnet.executor.data import Shard
from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.inference import Body, ServiceChain, ServiceDesk, Serving
from gaisnet.models import FoundationModel, load_model
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.plan import ClusterPlan, Owner
from gaisnet.schema.plan import Stage as StagePlan

__all__ = ["TARGET", "measure"]

TARGET = 0.95
"""Least ratio of tokens per second, split over whole."""

_PROMPT_TOKENS = 32


def measure(*, turns: int = 15, new_tokens: int = 32, batch: int = 1) -> dict[str, float]:
    """Tokens per second of both, and the ratios of split over whole by wall and by CPU time."""
    torch.set_num_threads(1)
    model = _gpt2()
    prompts = model.example_inputs(batch, _PROMPT_TOKENS)
    requests = Shard("benchmark", {k: prompts[k] for k in ("input_ids", "attention_mask")})
    whole, split = [], []
    for turn in range(turns + 1):
        own, taken = _timed(lambda: _own(model, requests, new_tokens))
        desk = _desk(model, requests, new_tokens)
        answers, split_taken = _timed(lambda desk=desk: desk.answer().answers)
        assert answers == own, "split generation gave other tokens"
        if turn:  # the first warms up
            whole.append(taken)
            split.append(split_taken)
    tokens = batch * new_tokens
    (whole_wall, whole_cpu), (split_wall, split_cpu) = (
        zip(*whole, strict=True),
        zip(*split, strict=True),
    )
    return {
        "whole_tokens_per_s": tokens / statistics.median(whole_wall),
        "split_tokens_per_s": tokens / statistics.median(split_wall),
        "ratio": _median_ratio(whole_wall, split_wall),
        "cpu_ratio": _median_ratio(whole_cpu, split_cpu),
    }


def _timed(work: Callable[[], list[list[int]]]) -> tuple[list[list[int]], tuple[float, float]]:
    """What the work gives, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, (time.perf_counter() - wall, time.process_time() - cpu)


def _median_ratio(whole: Sequence[float], split: Sequence[float]) -> float:
    return statistics.median(w / s for w, s in zip(whole, split, strict=True))


def _gpt2() -> FoundationModel:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
        model = load_model(ModelSpec(source=str(path)))
    model.bare.generation_config.eos_token_id = None  # type: ignore[union-attr]
    return model


@torch.no_grad()
def _own(model: FoundationModel, requests: Shard, new: int) -> list[list[int]]:
    found = model.bare.generate(  # type: ignore[operator]
        **requests.inputs, do_sample=False, max_new_tokens=new, pad_token_id=0
    )
    answers: list[list[int]] = found[:, _PROMPT_TOKENS:].tolist()
    return answers


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
    return ServiceDesk(serving, chain, body, requests, new_tokens=new)


def main() -> None:
    """Print one run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    found = measure(turns=given.turns, new_tokens=given.tokens, batch=given.batch)
    print("split generation over the whole model's own, GPT-2 geometry, 4 stages:")
    for name, value in found.items():
        print(f"  {name:20s} {value:8.3f}")
    print(f"  {'target':20s} {TARGET:8.3f}")


if __name__ == "__main__":
    main()
