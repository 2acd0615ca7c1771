"""Which model a profile is of: hashes by which a plan and a run find out that it is another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from gaisnet.models.foundation import FoundationModel
from gaisnet.schema.files import sha256_file
from gaisnet.schema.model import ModelSpec

__all__ = ["model_fingerprint", "weights_sha256"]


def weights_sha256(spec: ModelSpec) -> str | None:
    """SHA-256 over the names and hashes of a folder's safetensors files, in order of name.

    ``None`` if the weights do not come from a local folder.
    """
    folder = Path(spec.source)
    if spec.weights != "load" or not folder.is_dir():
        return None
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    lines = [f"{path.name} {sha256_file(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def model_fingerprint(model: FoundationModel) -> str:
    """SHA-256 over the architecture and every parameter's name, shape and dtype."""
    rows = [
        (name, list(parameter.shape), str(parameter.dtype))
        for name, parameter in model.bare.named_parameters()
    ]
    text = json.dumps([model.architecture, sorted(rows)], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
