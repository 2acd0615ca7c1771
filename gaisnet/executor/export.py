"""Tuned modules as a folder that others can load, and hashes of what was tuned and what not."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gaisnet.executor.aggregate import ModuleState
from gaisnet.executor.residual import RESIDUAL, is_residual
from gaisnet.models import FoundationModel, frozen_hashes, load_tunable_state, save_adapter
from gaisnet.schema.files import output_error
from gaisnet.schema.model import LoraSpec

__all__ = ["export_adapter", "frozen_sha256", "states_sha256"]

_RANK_TOLERANCE = 1e-7
"""Singular values below this part of the largest are rounding errors of the residual."""


def frozen_sha256(model: FoundationModel) -> str:
    """One hash over every frozen tensor."""
    rows = sorted(frozen_hashes(model.module).items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def states_sha256(states: Mapping[str, ModuleState]) -> str:
    """One hash over the modules of all domains."""
    digest = hashlib.sha256()
    for domain, state in sorted(states.items()):
        for name, tensor in sorted(state.items()):
            digest.update(f"{domain}|{name}|{tuple(tensor.shape)}|{tensor.dtype}\n".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def export_adapter(model: FoundationModel, state: ModuleState, folder: Path) -> None:
    """Write tuned modules; the folder is replaced as a whole.

    LoRA is in peft's format. A layer with a residual becomes a LoRA of higher rank: the residual
    is a sum of few products B A, and its singular vectors are appended to B and A, so that peft
    computes the same map.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = folder.with_name(f".tmp-{secrets.token_hex(6)}")
    load_tunable_state(model.module, state)
    try:
        temporary.mkdir(parents=True)
        save_adapter(model, temporary)
        _sort_targets(temporary / "adapter_config.json")
        residuals = {name: tensor for name, tensor in state.items() if is_residual(name)}
        if residuals and isinstance(model.tunable, LoraSpec):
            _raise_ranks(temporary, residuals, model.tunable)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise output_error(error, folder, "the tuned modules cannot be written") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sort_targets(path: Path) -> None:
    """peft writes a set in the order of its hashes, which differ from process to process."""
    if not path.exists():
        return
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _raise_ranks(folder: Path, residuals: Mapping[str, Tensor], spec: LoraSpec) -> None:
    """Append each residual's factors to its layer's A and B, and tell peft the layer's rank.

    ``alpha_pattern`` grows with the rank, so that the scale alpha / r stays what it was.
    """
    weights, config_file = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = load_file(weights)
    config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    for name, residual in sorted(residuals.items()):
        path = name.partition(RESIDUAL)[0]
        up, down = _factors(residual)
        key_a, key_b = (f"base_model.model.{path}.lora_{part}.weight" for part in "AB")
        tensors[key_a] = torch.cat([tensors[key_a], down]).contiguous()
        tensors[key_b] = torch.cat([tensors[key_b], up], dim=1).contiguous()
        rank = tensors[key_a].shape[0]
        config["rank_pattern"][path] = rank
        config["alpha_pattern"][path] = spec.alpha / spec.r * rank
    save_file(tensors, weights, metadata={"format": "pt"})
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _factors(residual: Tensor) -> tuple[Tensor, Tensor]:
    """``[out, k]`` and ``[k, in]`` whose product is the residual, k its numerical rank."""
    u, s, vh = torch.linalg.svd(residual.double(), full_matrices=False)
    kept = int((s > _RANK_TOLERANCE * s[0]).sum()) if s.numel() else 0
    root = s[:kept].sqrt()
    return (u[:, :kept] * root).float(), (root[:, None] * vh[:kept]).float()
