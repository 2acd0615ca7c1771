"""Every architecture of the tables is cut exactly, or refused by name and reason."""

from __future__ import annotations

import pytest
import torch

from gaisnet.errors import ModelError
from gaisnet.models import FoundationModel, check_split
from tests.models.count import tuned
from tests.models.tiny import REFUSED, TINY, tiny_model

_WITHOUT_CACHE = {"openai-gpt", "minimax"}
"""Causal models that keep no key-value cache of the usual kind: no generation over a split."""

_WITHOUT_OUR_LOSS = {
    "audio-spectrogram-transformer",
    "clip_vision_model",
    "dinov3_vit",
    "hubert",
    "siglip_vision_model",
    "vit-features",
    "vitdet",
    "wav2vec2",
    "whisper",
}
"""Models without a head have no loss; Whisper's decoder leaves the shift of labels to others."""


@pytest.mark.parametrize("name", TINY)
def test_every_cut_gives_equal_logits_gradients_and_tokens(name: str) -> None:
    model = tuned(name)
    result = check_split(model)
    assert [check for check in result.cuts if not check.ok] == []
    generated = {check.generation_equal for check in result.cuts}
    generates = result.task == "causal_lm" and name not in _WITHOUT_CACHE
    assert generated == ({True} if generates else {None})
    if name not in _WITHOUT_OUR_LOSS:
        _assert_loss_is_the_models_own(model)


def _assert_loss_is_the_models_own(model: FoundationModel) -> None:
    inputs = model.example_inputs(3, 9)
    with torch.no_grad():
        outputs = model.bare(**inputs)
    assert torch.equal(model.loss(outputs.logits, inputs["labels"]), outputs.loss)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_cut_is_refused_by_name_and_reason(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be cut") as caught:
        tiny_model(name)
    assert REFUSED[name][0] in caught.value.message
    assert caught.value.hint
