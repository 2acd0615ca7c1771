"""What came of a run, read from the files that the commands wrote."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import ViTForImageClassification

from gaisnet.schema.files import read_lines, read_model
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import LinkTraffic, RoundMetrics, RunManifest, ServiceMetrics

__all__ = ["Outcome", "accuracy", "read_outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Plan and run of one folder."""

    fleet: Fleet
    plan: Plan
    manifest: RunManifest
    rounds: tuple[RoundMetrics, ...]
    services: tuple[ServiceMetrics, ...]
    run_dir: Path

    def tier_traffic(self) -> dict[tuple[str, str], LinkTraffic]:
        """Everything that was sent, tuning and answering, summed by the tiers of both ends."""
        tier_of = {device.id: device.tier for device in self.fleet.devices}
        frames: Counter[tuple[str, str]] = Counter()
        payload: Counter[tuple[str, str]] = Counter()
        whole: Counter[tuple[str, str]] = Counter()
        sent = [link for metrics in self.rounds for link in metrics.traffic]
        sent += [link for service in self.services for link in service.traffic]
        for link in sent:
            pair = tier_of[link.sender], tier_of[link.receiver]
            frames[pair] += link.frames
            payload[pair] += link.payload_bytes
            whole[pair] += link.frame_bytes
        return {
            pair: LinkTraffic(
                sender=pair[0],
                receiver=pair[1],
                frames=frames[pair],
                payload_bytes=payload[pair],
                frame_bytes=whole[pair],
            )
            for pair in sorted(frames)
        }

    def held_by(self, device: str) -> str:
        """The units that a device holds, e.g. ``0-1, 6``."""
        spans = set()
        for cluster in self.plan.clusters:
            if device in {owner.device for owner in cluster.owners}:
                spans |= {(0, cluster.head_units - 1)}
                spans |= {(cluster.tail_first_unit, self.plan.n_units - 1)}
            spans |= {(s.first_unit, s.last_unit) for s in cluster.body if s.device == device}
        named = [f"{a}" if a == b else f"{a}-{b}" for a, b in sorted(spans) if a <= b]
        return ", ".join(named) or "-"

    def service_accuracy(self) -> float:
        """Share of all services' requests that were answered rightly."""
        asked = sum(service.requests for service in self.services)
        right = sum((service.accuracy or 0.0) * service.requests for service in self.services)
        return right / asked


def read_outcome(folder: Path, run_dir: Path) -> Outcome:
    """Read plan and run.

    Raises:
        InputError: A file is missing or malformed.
    """
    return Outcome(
        fleet=read_model(folder / "fleet.yaml", Fleet),
        plan=read_model(folder / "plan.json", Plan),
        manifest=read_model(run_dir / "manifest.json", RunManifest),
        rounds=read_lines(run_dir / "metrics.jsonl", RoundMetrics),
        services=read_lines(run_dir / "services.jsonl", ServiceMetrics),
        run_dir=run_dir,
    )


def accuracy(model_folder: Path, data: Path, adapter: Path | None = None) -> float:
    """Test accuracy of a whole model, computed by transformers and peft without gaisnet.

    Args:
        model_folder: The foundation model.
        data: Images and labels.
        adapter: The tuned modules; without it the model as it is.
    """
    model = ViTForImageClassification.from_pretrained(model_folder)
    if adapter is not None:
        with warnings.catch_warnings():
            # peft asks for an attribute that transformers has renamed.
            warnings.simplefilter("ignore", FutureWarning)
            model = PeftModel.from_pretrained(model, adapter)
    samples = load_file(data)
    with torch.no_grad():
        answers = model.eval()(pixel_values=samples["pixel_values"]).logits.argmax(1)
    return float((answers == samples["labels"]).float().mean())
