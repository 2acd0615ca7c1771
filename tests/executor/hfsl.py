"""Small fleets that fine-tune tiny models: plans by hand, services in place, one call a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gaisnet.executor.aggregate import aggregator_of
from gaisnet.executor.blueprints import ModelSource
from gaisnet.executor.build import Site, build_services, gather_data
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.data import Shard
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines import Address, LocalEngine
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.finetune import FineTuner
from gaisnet.executor.frames import Buffer, decode
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.relay import cloud_of
from gaisnet.executor.settings import Settings
from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.schema.job import FineTuning
from gaisnet.schema.model import LoraSpec, ModelSpec, TunableSpec
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

VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
    "num_labels": 3,
    "initializer_range": 0.3,
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 2,
    "vocab_size": 40,
    "n_positions": 16,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "resid_pdrop": 0.0,
}
BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "num_labels": 3,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {"vit": VIT, "gpt2": GPT2, "bert": BERT}
N_UNITS = 5
"""Of each of these models: embeddings, three blocks, head."""

_NOWHERE = InputFile(path="none", sha256="0" * 64)


def make_model(name: str, tunable: TunableSpec | None = None, *, seed: int = 0) -> FoundationModel:
    """A tiny model with tunable modules; the same arguments give the same values."""
    spec = ModelSpec(source=str(config_file(name)), seed=seed)
    return attach(
        load_model(spec), LoraSpec(r=2, alpha=4) if tunable is None else tunable, seed=seed
    )


def config_file(name: str) -> Any:
    import json
    import tempfile
    from pathlib import Path

    path = Path(tempfile.gettempdir()) / f"gaisnet-test-{name}-config.json"
    text = json.dumps(CONFIGS[name], sort_keys=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def make_shard(model: FoundationModel, device: str, samples: int, seed: int) -> Shard:
    """Random samples with labels."""
    tensors = model.example_inputs(samples, seed=seed)
    labels = tensors.pop("labels")
    return Shard(device, tensors, labels)


def cluster(
    name: str,
    owners: Mapping[str, int],
    cuts: Sequence[int],
    *,
    devices: Sequence[str] = (),
    edge: str = "edge-0",
    domain: str = "general",
    u_shape: bool = True,
    **options: Any,
) -> ClusterPlan:
    """A cluster whose model is cut before each unit of ``cuts``.

    No cut is federated learning. Under ``u_shape`` a second cut begins the tail (with one cut
    the body is empty); otherwise the last piece is the last body stage.
    """
    bounds = [*cuts, N_UNITS]
    head, tail = (bounds[0], N_UNITS) if not u_shape or len(cuts) < 1 else (bounds[0], bounds[-2])
    pieces = [(a, b - 1) for a, b in pairwise(bounds) if b <= tail]
    names = list(devices) or [f"{name}-body{i}" for i in range(len(pieces))]
    body = tuple(
        Stage(device=d, first_unit=a, last_unit=b) for d, (a, b) in zip(names, pieces, strict=True)
    )
    feeding = options.pop("shards", {})
    return ClusterPlan(
        id=name,
        edge=edge,
        domain=domain,
        owners=tuple(
            Owner(device=d, shards=feeding.get(d, (d,)), samples=n) for d, n in owners.items()
        ),
        head_units=head,
        tail_first_unit=tail,
        body=body,
        **({"intra": "sequential"} | options),
    )


def make_plan(clusters: Sequence[ClusterPlan], *, cloud: str | None = None) -> Plan:
    """A plan by hand; the predictions are empty."""
    certificate = Certificate(
        decision="all",
        objective="none",
        solver="hand",
        status="given",
        value=0.0,
        bound=0.0,
        gap=0.0,
    )
    return Plan(
        name="test",
        scheme="hfsl",
        topology="u_shape",
        objective="makespan",
        n_units=N_UNITS,
        model_fingerprint="0" * 64,
        inputs=PlanInputs(job=_NOWHERE, fleet=_NOWHERE, profile=_NOWHERE),
        clusters=tuple(clusters),
        cloud=cloud,
        certificates=(certificate,),
        predictions=Predictions(steps=(), round_s=0.0, aggregation_s=0.0, devices=(), links=()),
    )


@dataclass
class Fleet:
    """A plan in place on the embedded engine."""

    plan: Plan
    model: FoundationModel
    shards: Mapping[str, Shard]
    fine_tuning: FineTuning
    seed: int = 0
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    run: str = "test"

    def __post_init__(self) -> None:
        self.frames: list[tuple[str, str, bytes]] = []
        self.engine = self.make_engine()
        aggregator = aggregator_of(self.fine_tuning.aggregator)
        aggregator.prepare(self.model)
        self.facts = ModelFacts.of(self.model)
        site = Site(
            run=self.run,
            plan=self.plan,
            model=self.model,
            facts=self.facts,
            fine_tuning=self.fine_tuning,
            source=ModelSource.of(self.model, self.fine_tuning.aggregator),
            data=self.shards,
        )
        build_services(self.engine, site)
        self.dispatcher = Dispatcher(self.engine)
        gather_data(self.dispatcher, self.plan)
        settings = Settings(
            fine_tuning=self.fine_tuning, seed=self.seed, batch_sizes=self.batch_sizes
        )
        self.tuner = FineTuner(self.dispatcher, self.plan, self.facts, settings)

    def make_engine(self) -> LocalEngine:
        """The engine, which shows its frames to ``_tap``."""
        return LocalEngine(tap=self._tap)

    def tune(self, rounds: int) -> list[float]:
        """So many rounds; their losses."""
        return [self.tuner.round(index) for index in range(rounds)]

    def modules(self, domain: str = "general", device: str | None = None) -> dict[str, Tensor]:
        """The current modules at the cloud, or at another coordinator."""
        device = device or cloud_of(self.plan)
        reply = self.engine.call(Address(device, COORDINATOR), "give", domain, Moment(), device)
        return decode(self.engine.fetch(reply.parcels[0]))[1]

    def _tap(self, sender: str, receiver: str, frame: Buffer) -> Buffer | None:
        self.frames.append((sender, receiver, bytes(frame)))
        return None


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Largest difference of two states with the same names."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)
