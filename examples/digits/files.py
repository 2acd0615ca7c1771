"""Writes the folder that the three gaisnet commands work on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.digits.fleet import CLOUD, END_DEVICES, SITES, fleet_document, share_path
from examples.digits.letters import normalise
from examples.digits.partition import dirichlet_shares
from examples.digits.pretrain import RECIPE, Recipe, pretrained_folder, write_foundation_model

__all__ = [
    "JOB_TITLE",
    "TUNABLE",
    "Digits",
    "Setting",
    "is_job_folder",
    "load_split",
    "write_job_folder",
]

TUNABLE: dict[str, Any] = {
    "kind": "lora",
    "r": 8,
    "alpha": 16,
    "targets": ["q_proj", "v_proj", "fc1", "fc2"],
}
"""LoRA on attention and feed-forward layers; the new head is tuned as well (the default)."""

TEST_SHARE = 0.25

JOB_TITLE = "What is to be done, and how: the job of the digits example."
FLEET_TITLE = "Who takes part, and over which links: the fleet of the digits example."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What one run of the example varies."""

    alpha: float = 0.1
    """Skew of the devices' shares; ``math.inf`` for none."""
    seed: int = 0
    """Of the split into training and test data, the shares, the new head and the order."""
    scheme: str = "hfsl"
    rounds: int = 12
    local_steps: int = 4
    batch_size: int = 16
    learning_rate: float = 5e-3
    intra: str = "sequential"
    memory: str = "scaled"
    eval_every: int = 1
    clusters: int = len(SITES)
    policy: str = "mix"
    label_weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Digits:
    """Normalised images ``(n, 1, 8, 8)`` and labels ``(n,)``."""

    images: torch.Tensor
    labels: torch.Tensor

    def take(self, rows: NDArray[np.int64]) -> Digits:
        """The samples with these row numbers."""
        index = torch.from_numpy(rows)
        return Digits(self.images[index], self.labels[index])

    def save(self, path: Path) -> None:
        """Write them as the tensors that the model takes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"pixel_values": self.images, "labels": self.labels}, path)


def load_split(seed: int) -> tuple[Digits, Digits]:
    """scikit-learn's 1,797 handwritten digits, three quarters to learn from, the rest held out."""
    source = load_digits()
    everything = Digits(
        normalise(torch.from_numpy(source.images)), torch.from_numpy(source.target).long()
    )
    train, test = train_test_split(
        np.arange(len(source.target)),
        test_size=TEST_SHARE,
        random_state=seed,
        stratify=source.target,
    )
    return everything.take(np.sort(train)), everything.take(np.sort(test))


def write_job_folder(
    folder: Path, setting: Setting, recipe: Recipe = RECIPE, cache: Path | None = None
) -> None:
    """Write foundation model, shares, held-out data, ``fleet.yaml`` and ``job.yaml``.

    Args:
        folder: Made if it is not there; files of the same names are replaced.
        setting: What the run is to be.
        recipe: Of the pre-training on letters.
        cache: Where pre-trained models are kept; by default the user's cache folder.
    """
    foundation = pretrained_folder(recipe, cache)
    folder.mkdir(parents=True, exist_ok=True)
    # First, so that a folder that was left half-written is known as ours.
    _write_yaml(folder / "job.yaml", _job_document(setting), JOB_TITLE)
    write_foundation_model(foundation, folder / "model", seed=setting.seed)
    train, test = load_split(setting.seed)
    labels = _write_shares(folder, train, setting)
    test.save(folder / "heldout" / "all.safetensors")
    _write_questions(folder, test, setting.seed)
    _write_yaml(folder / "fleet.yaml", fleet_document(labels, setting.memory), FLEET_TITLE)


def is_job_folder(folder: Path) -> bool:
    """Whether ``write_job_folder`` wrote it."""
    job = folder / "job.yaml"
    return job.is_file() and job.read_bytes().startswith(f"# {JOB_TITLE}\n".encode())


def _write_shares(folder: Path, train: Digits, setting: Setting) -> dict[str, NDArray[np.int64]]:
    shares = dirichlet_shares(
        train.labels.numpy(), len(END_DEVICES), alpha=setting.alpha, seed=setting.seed
    )
    labels = {}
    for device, rows in zip(END_DEVICES, shares, strict=True):
        share = train.take(rows)
        share.save(folder / share_path(device))
        labels[device] = share.labels.numpy()
    return labels


def _write_questions(folder: Path, test: Digits, seed: int) -> None:
    """Each site's users ask for other digits than the other's, all held out."""
    groups = dirichlet_shares(test.labels.numpy(), len(SITES), alpha=1.0, seed=seed)
    for site, rows in zip(SITES, groups, strict=True):
        test.take(rows).save(folder / "heldout" / f"users-{site}.safetensors")


def _job_document(setting: Setting) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "digits",
        "fleet": "fleet.yaml",
        "profile": "profile.json",
        "model": {"source": "model", "task": "image_classification", "seed": setting.seed},
        "tunable": TUNABLE,
        "scheme": setting.scheme,
        "fine_tuning": {
            "rounds": setting.rounds,
            "local_steps": setting.local_steps,
            "batch_size": setting.batch_size,
            "optimizer": {"kind": "adamw", "learning_rate": setting.learning_rate},
            "topology": "u_shape",
            "intra": setting.intra,
            "eval_every": setting.eval_every,
        },
        "clustering": _clustering(setting),
        "constraints": {"forbidden_devices": list(CLOUD)},
        "evaluation": "heldout/all.safetensors",
        "services": [_service(site) for site in SITES],
        # Given, so that all schemes and settings of the experiments tune in the same share.
        "inference_share": 0.2,
        "seed": setting.seed,
    }


def _clustering(setting: Setting) -> dict[str, Any]:
    usual = Setting()
    chosen = {"policy": setting.policy, "label_weight": setting.label_weight}
    told = {key: value for key, value in chosen.items() if value != getattr(usual, key)}
    return {"clusters": setting.clusters, **told}


def _service(site: str) -> dict[str, Any]:
    return {
        "id": f"users-{site}",
        "origin": f"phone-{site}",
        "rate_per_s": 2.0,
        "slo_s": 0.5,
        "data": f"heldout/users-{site}.safetensors",
    }


def _write_yaml(path: Path, document: dict[str, Any], title: str) -> None:
    body = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=96)
    path.write_text(f"# {title}\n{body}", encoding="utf-8")
