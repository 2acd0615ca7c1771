"""Tiny random models of many architectures, for every test that needs a real model.

``tiny_model(name)`` loads one as a user would, from a configuration file; the same name always
gives the same weights.
"""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.schema.model import ModelSpec, TunableSpec
from tests.models.tiny_encoders import ENCODERS
from tests.models.tiny_language import CAUSAL_LMS
from tests.models.tiny_refused import REFUSED
from tests.models.tiny_vision import VISION_AND_SOUND

__all__ = ["NAMED", "TINY", "tiny_config", "tiny_model", "tiny_spec"]

TINY: dict[str, dict[str, Any]] = CAUSAL_LMS | ENCODERS | VISION_AND_SOUND
"""All that are cut exactly."""

NAMED = ("gpt2", "llama", "qwen2", "qwen3", "bert", "vit")
"""The families that must work with every kind of tunable modules."""


def tiny_config(name: str) -> dict[str, Any]:
    """The configuration, as it would stand in ``config.json``."""
    return copy.deepcopy(TINY[name] if name in TINY else REFUSED[name][1])


@functools.cache
def _config_file(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gaisnet-tiny-"))
    path = folder / "config.json"
    path.write_text(json.dumps(tiny_config(name)), encoding="utf-8")
    return path


def tiny_spec(name: str, **more: Any) -> ModelSpec:
    """What a job would say to have this model."""
    return ModelSpec(source=str(_config_file(name)), **more)


def tiny_model(
    name: str, tunable: TunableSpec | None = None, *, device: str = "cpu", **more: Any
) -> FoundationModel:
    """A fresh model, with tunable modules attached if any are given (seed 1)."""
    model = load_model(tiny_spec(name, **more), device=device)
    return model if tunable is None else attach(model, tunable, seed=1)
