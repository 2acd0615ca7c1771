"""Whisper's encoder through the same door as every other model, and what is refused beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from gaisnet.errors import ModelError
from gaisnet.models import attach, check_split, load_model
from gaisnet.profiler import profile_model
from gaisnet.schema.model import FullSpec, HeadSpec, LoraSpec, ModelSpec

from .small import write

_SIZES = {
    "d_model": 24,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 40,
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "classifier_proj_size": 10,
}
_BLOCK = 2 * 20 * (4 * 24**2 + 2 * 24 * 40) + 4 * 20**2 * 24
_PROLOGUE = 2 * 3 * 24 * (40 * 8 + 20 * 24)
_EPILOGUE = 2 * (20 * 24 * 10 + 10 * 2)


def _spec(folder: Path, architecture: str, attention: str = "sdpa") -> ModelSpec:
    config = transformers.WhisperConfig(**_SIZES, num_labels=2)
    source = write(config, architecture, folder, architecture)
    return ModelSpec.model_validate({"source": source, "attention": attention})


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_encoder_that_classifies_sound_is_counted_by_all_witnesses(
    attention: str, folder: Path
) -> None:
    spec = _spec(folder, "WhisperForAudioClassification", attention)
    part = profile_model(spec, FullSpec(), times=False)
    assert part.tokens == 20
    expected = [_PROLOGUE, _BLOCK, _BLOCK, _BLOCK, _EPILOGUE]
    assert [unit.forward_flops for unit in part.units] == expected
    assert part.flops_disagreement == 0
    assert [unit.backward_flops for unit in part.units[1:-1]] == [2 * _BLOCK] * 3
    assert not any(unit.uncounted for unit in part.units)


def test_its_projector_and_classifier_are_the_head(folder: Path) -> None:
    spec = _spec(folder, "WhisperForAudioClassification")
    part = profile_model(spec, HeadSpec(), times=False)
    assert [unit.tunable_parameters > 0 for unit in part.units] == [False] * 4 + [True]
    assert load_model(spec, device="meta").task == "audio_classification"


def test_it_is_cut_bit_equal_to_the_whole(folder: Path) -> None:
    model = load_model(_spec(folder, "WhisperForAudioClassification"))
    checked = check_split(attach(model, LoraSpec(), seed=0))
    assert [each for each in checked.cuts if not each.ok] == []


def test_an_encoder_decoder_is_refused_and_not_halved_in_silence(folder: Path) -> None:
    with pytest.raises(ModelError, match="encoder-decoder"):
        load_model(_spec(folder, "WhisperForConditionalGeneration"), device="meta")
