"""Which model a profile is of: hashes by which a plan and a run find out that it is another."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from gaisnet.models.foundation import FoundationModel
from gaisnet.schema.files import sha256_file
from gaisnet.schema.model import ModelSpec

_PASSING = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")

__all__ = ["model_fingerprint", "weights_sha256"]


def weights_sha256(spec: ModelSpec) -> str | None:
    """SHA-256 over the names and hashes of a folder's safetensors files, in order of name.

    ``None`` if the weights do not come from a local folder.
    """
    folder = Path(spec.source)
    if spec.weights != "load" or not os.path.isdir(folder):
        return None
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    lines = [f"{path.name} {sha256_file(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def model_fingerprint(model: FoundationModel) -> str:
    """SHA-256 over the configuration and every parameter's name, shape and dtype.

    It is the same on every device, also on meta, and does not depend on where the model lies on
    the disk or which version of transformers wrote its configuration.
    """
    rows = [
        (name, list(parameter.shape), str(parameter.dtype))
        for name, parameter in model.bare.named_parameters()
    ]
    config = {name: v for name, v in model.config.to_dict().items() if name not in _PASSING}
    parts = [model.architecture, config, sorted(rows)]
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
