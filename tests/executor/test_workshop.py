"""Devices load a model: what they take on trust, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import nn

from gaisnet.errors import MismatchError
from gaisnet.executor.blueprints import ModelSource
from gaisnet.executor.workshop import load_source
from gaisnet.models import FoundationModel, Stage
from gaisnet.models.identity import model_fingerprint
from tests.executor.hfsl import make_model

HERE = version("transformers")


@contextmanager
def stages_that_run() -> Iterator[list[Stage]]:
    """Every stage through which anything goes meanwhile."""
    seen: list[Stage] = []

    def look(module: nn.Module, args: Any) -> None:
        if isinstance(module, Stage):
            seen.append(module)

    hook = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def source_of(model: FoundationModel, **known: str | None) -> ModelSource:
    return ModelSource.of(model).model_copy(update=known)


def test_a_model_that_was_accepted_by_the_same_code_is_not_cut_again_to_be_sure() -> None:
    model = make_model("vit")
    source = source_of(model, fingerprint=model_fingerprint(model), accepted_by=HERE)
    with stages_that_run() as seen:
        loaded = load_source(source)
    assert not seen
    assert loaded.n_units == model.n_units
    given = model.bare.state_dict()
    assert all(torch.equal(given[name], it) for name, it in loaded.bare.state_dict().items())


@pytest.mark.parametrize("accepted_by", [None, "4.0.0"])
def test_what_other_code_has_accepted_is_cut_and_compared_here(accepted_by: str | None) -> None:
    model = make_model("vit")
    known = {"fingerprint": model_fingerprint(model), "accepted_by": accepted_by}
    with stages_that_run() as seen:
        load_source(source_of(model, **known))
    assert len(seen) == 3


def test_without_a_fingerprint_nobody_knows_which_model_was_accepted() -> None:
    source = source_of(make_model("vit"), accepted_by=HERE)
    with stages_that_run() as seen:
        load_source(source)
    assert len(seen) == 3


def test_another_model_is_refused_although_one_was_accepted() -> None:
    model = make_model("vit")
    with pytest.raises(MismatchError, match="its parameters differ"):
        load_source(source_of(model, fingerprint="f" * 64, accepted_by=HERE))
