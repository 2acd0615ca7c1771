"""Split fine-tuning on the embedded engine against the unsplit step, side by side.

ViT-Base geometry (random weights), LoRA, batch 8, four stages under u_shape: head and tail on the
owner, two body stages; every cut is crossed by real frames. Both steps alternate in one process,
so contention touches both alike; the ratio of medians is printed. Target: at most 1.05.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.alternate import alternate
from gaisnet.executor.blueprints import ModelSource
from gaisnet.executor.build import Site, build_services
from gaisnet.executor.chain import chain_of
from gaisnet.executor.data import Shard
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines import Engine, LocalEngine
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.propagate import Propagation
from gaisnet.executor.tasks import BatchRef
from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.schema.job import AdamWSpec, FineTuning
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.plan import (
    Certificate,
    ClusterPlan,
    InputFile,
    Owner,
    Plan,
    PlanInputs,
    Predictions,
    Stage,
)

CONFIG = {
    "model_type": "vit",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
    "num_labels": 10,
}
BATCH, TARGET = 8, 1.05
SPEC = AdamWSpec()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    found = measure(repeats=options.repeats)
    verdict = "met" if found["ratio"] <= TARGET else "missed"
    print("split fine-tuning, ViT-Base, LoRA, batch 8, 4 stages, embedded engine (CPU medians)")
    print(f"  unsplit step {found['unsplit_s']:.3f} s, split step {found['split_s']:.3f} s")
    print(f"  ratio {found['ratio']:.3f}, target at most {TARGET}: {verdict}")


def measure(*, repeats: int = 7) -> dict[str, float]:
    """CPU seconds of an unsplit and a split step, alternating on one thread, and their ratio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        whole, split = (make_model(Path(folder)) for _ in range(2))
        shard = make_shard(whole)
        steps = _whole_step(whole, shard), split_step(split, shard, LocalEngine())
        # Wall time would count the machine's other work.
        unsplit_s, split_s = alternate(steps, repeats, time.process_time)
    return {"unsplit_s": unsplit_s, "split_s": split_s, "ratio": split_s / unsplit_s}


def _whole_step(model: FoundationModel, shard: Shard) -> Callable[[], None]:
    tuned = [p for p in model.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=SPEC.learning_rate)
    steps = iter(range(10**6))

    def step() -> None:
        batch = shard.batch(next(steps), BATCH, 0)
        model.module(**batch.inputs, labels=batch.labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def split_step(model: FoundationModel, shard: Shard, engine: Engine) -> Callable[[], None]:
    """One step over an engine with the devices ``owner``, ``one``, ``two`` and ``server``."""
    facts, plan = ModelFacts.of(model), _plan(model.n_units)
    site = Site(
        run="benchmark",
        plan=plan,
        model=model,
        facts=facts,
        fine_tuning=FineTuning(optimizer=SPEC, batch_size=BATCH),
        source=ModelSource.of(model),
        data={"owner": shard},
    )
    build_services(engine, site)
    dispatcher = Dispatcher(engine)
    chain = chain_of(plan.clusters[0], plan.n_units, plan.clusters[0].owners)
    steps = iter(range(10**6))

    def step() -> None:
        batches = {"owner": BatchRef("owner", next(steps), BATCH, 1, 0)}
        batch = Propagation(
            dispatcher=dispatcher,
            chain=chain,
            batches=batches,
            moment=Moment(),
            crosses_below=facts.crosses_below,
        )
        batch.forward(0)
        batch.backward(0)
        batch.mean_loss()
        for stop in chain.stops():
            dispatcher.call(stop.address, "update", stop.stage)
        engine.settle()

    return step


def make_model(folder: Path) -> FoundationModel:
    """The model; ``folder`` has to stay as long as it is used elsewhere."""
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIG))
    return attach(load_model(ModelSpec(source=str(path))), LoraSpec(), seed=0)


def make_shard(model: FoundationModel) -> Shard:
    """The owner's samples."""
    tensors = model.example_inputs(4 * BATCH)
    labels = tensors.pop("labels")
    return Shard("owner", tensors, labels)


def _plan(n_units: int) -> Plan:
    file = InputFile(path="none", sha256="0" * 64)
    cluster = ClusterPlan(
        id="c0",
        edge="server",
        domain="general",
        owners=(Owner(device="owner", shards=("owner",), samples=4 * BATCH),),
        head_units=3,
        tail_first_unit=n_units - 3,
        body=(
            Stage(device="one", first_unit=3, last_unit=6),
            Stage(device="two", first_unit=7, last_unit=n_units - 4),
        ),
        intra="sequential",
    )
    return Plan(
        name="benchmark",
        scheme="hfsl",
        topology="u_shape",
        objective="makespan",
        n_units=n_units,
        model_fingerprint="0" * 64,
        inputs=PlanInputs(job=file, fleet=file, profile=file),
        clusters=(cluster,),
        certificates=(
            Certificate(
                decision="all",
                objective="none",
                solver="hand",
                status="given",
                value=0.0,
                bound=0.0,
                gap=0.0,
            ),
        ),
        predictions=Predictions(steps=(), round_s=0.0, aggregation_s=0.0, devices=(), links=()),
    )


if __name__ == "__main__":
    main()
