"""Data files, their checks, and the stateless batches drawn from them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gaisnet.errors import InputError
from gaisnet.executor.data import DataFormat, Shard, concatenate, load_shard
from gaisnet.executor.data.shard import epoch_order
from gaisnet.models import FoundationModel, load_model
from gaisnet.schema.model import ModelSpec

IMAGES = DataFormat(
    task="image_classification", main_input="pixel_values", sample_shape=(1, 4, 4), classes=3
)
TEXT = DataFormat(task="causal_lm", vocabulary=20, max_tokens=8)


def numbered(samples: int, name: str = "d0") -> Shard:
    rows = torch.arange(samples)
    return Shard(name, {"pixel_values": rows.float().view(-1, 1)}, rows)


def labels(shard: Shard, step: int, batch_size: int, seed: int = 0) -> list[int]:
    drawn = shard.batch(step, batch_size, seed).labels
    assert drawn is not None
    return drawn.tolist()


# --- batches ------------------------------------------------------------------------------


@given(samples=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**63))
@settings(deadline=None, max_examples=60)
def test_an_epoch_draws_every_sample_once(samples, batch_size, seed):
    shard = numbered(samples)
    epochs = batch_size  # this many epochs are this many batches times samples: a whole number
    drawn = [n for step in range(samples) for n in labels(shard, step, batch_size, seed)]
    for epoch in range(epochs):
        assert sorted(drawn[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


def test_a_batch_has_its_size_even_where_it_straddles_epochs():
    shard = numbered(5)
    batches = [labels(shard, step, 4) for step in range(3)]
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert Counter(n for batch in batches for n in batch).most_common(1)[0][1] <= 3
    assert sorted((batches[0] + batches[1])[:5]) == list(range(5))


def test_a_batch_depends_on_seed_name_and_step_alone():
    drawn = labels(numbered(50), 7, 8)
    labels(numbered(50), 3, 8)
    torch.manual_seed(99)
    assert labels(numbered(50), 7, 8) == drawn
    assert labels(numbered(50), 7, 8, seed=1) != drawn
    assert labels(numbered(50, "d1"), 7, 8) != drawn
    assert labels(numbered(50), 8, 8) != drawn


def test_epochs_are_shuffled_differently():
    assert list(epoch_order(0, "d0", 0, 30)) != list(epoch_order(0, "d0", 1, 30))


def test_the_order_is_the_same_on_every_machine():
    assert epoch_order(7, "d0", 2, 10).tolist() == [3, 7, 4, 8, 1, 6, 9, 5, 0, 2]


def test_inputs_and_labels_stay_together():
    batch = numbered(20).batch(2, 6, 0)
    assert batch.labels is not None
    assert torch.equal(batch.inputs["pixel_values"].view(-1), batch.labels.float())
    assert len(batch) == 6


def test_in_order_yields_every_sample_once_as_in_the_file():
    drawn = [batch.labels.tolist() for batch in numbered(7).in_order(3)]
    assert drawn == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize(("step", "batch_size"), [(-1, 4), (0, 0)])
def test_impossible_batches_are_refused(step, batch_size):
    with pytest.raises(ValueError, match="no batch"):
        numbered(3).batch(step, batch_size, 0)


def test_shards_are_concatenated_in_the_order_of_their_names():
    parts = [Shard(n, {"x": torch.full((2, 1), v)}, torch.tensor([v, v])) for n, v in POOLED]
    pooled = concatenate(parts, "server")
    assert pooled.labels is not None
    assert pooled.labels.tolist() == [1, 1, 2, 2, 3, 3]
    assert pooled.inputs["x"].view(-1).tolist() == [1, 1, 2, 2, 3, 3]
    assert pooled.name == "server"


POOLED = [("b", 2), ("c", 3), ("a", 1)]


def test_unlike_shards_are_not_concatenated():
    wide = Shard("b", {"x": torch.zeros(2, 3)}, torch.zeros(2))
    with pytest.raises(InputError, match=r"x is \[2\] a sample in the data of a, but \[3\]"):
        concatenate([wide, Shard("a", {"x": torch.zeros(2, 2)}, torch.zeros(2))], "s")
    with pytest.raises(InputError, match="labels is absent"):
        concatenate([wide, Shard("a", {"x": torch.zeros(2, 3)})], "s")
    with pytest.raises(ValueError, match="nothing"):
        concatenate([], "s")


# --- files --------------------------------------------------------------------------------


def images(samples: int = 4) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.rand(samples, 1, 4, 4), "labels": torch.arange(samples) % 3}


def tokens(samples: int = 3, width: int = 5) -> dict[str, torch.Tensor]:
    ids = torch.arange(samples * width).view(samples, width) % 20
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, folder / "data.safetensors")
    return folder / "data.safetensors"


def test_a_file_round_trips(tmp_path):
    stored = images()
    shard = load_shard(write(tmp_path, stored), "d0", IMAGES, samples=4)
    assert torch.equal(shard.inputs["pixel_values"], stored["pixel_values"])
    assert torch.equal(shard.labels, stored["labels"])
    assert set(shard.inputs) == {"pixel_values"}


def test_a_language_model_learns_its_own_text_but_no_padding(tmp_path):
    stored = tokens()
    shard = load_shard(write(tmp_path, stored), "d0", TEXT)
    assert shard.labels[0].tolist() == [0, 1, 2, -100, -100]
    assert torch.equal(shard.labels[1:], stored["input_ids"][1:])


def test_labels_of_the_file_go_before_the_text_itself(tmp_path):
    labels = torch.full((3, 5), -100)
    labels[:, -1] = 7
    shard = load_shard(write(tmp_path, {**tokens(), "labels": labels}), "d0", TEXT)
    assert torch.equal(shard.labels, labels)


def test_requests_need_no_labels_but_may_hold_answers_of_another_length(tmp_path):
    shard = load_shard(write(tmp_path, tokens()), "s", TEXT, use="requests")
    assert shard.labels is None
    answers = {**tokens(), "labels": torch.ones(3, 2, dtype=torch.int64)}
    assert load_shard(write(tmp_path, answers), "s", TEXT, use="requests").labels.shape == (3, 2)
    with pytest.raises(InputError, match="labels"):
        load_shard(write(tmp_path, answers), "s", TEXT)


def nan_images() -> dict[str, torch.Tensor]:
    tensors = images()
    tensors["pixel_values"][2, 0, 1, 1] = torch.nan
    return tensors


BAD_IMAGES = {
    "main input absent": ({"labels": torch.zeros(2)}, "pixel_values is missing"),
    "labels absent": ({"pixel_values": torch.rand(2, 1, 4, 4)}, "labels is missing"),
    "double": ({**images(), "pixel_values": images()["pixel_values"].double()}, "dtype is float64"),
    "integers": ({**images(), "pixel_values": torch.zeros(4, 1, 4, 4).long()}, "dtype is int64"),
    "counts differ": ({**images(), "labels": torch.zeros(3).long()}, r"shape is \[3\]"),
    "no samples": ({"pixel_values": torch.rand(0, 1, 4, 4)}, r"shape is \[0, 1, 4, 4\]"),
    "size": ({**images(), "pixel_values": torch.rand(4, 1, 8, 8)}, r"shape is \[1, 8, 8\]"),
    "nan": (nan_images(), "sample 2 holds NaN"),
    "high class": ({**images(), "labels": torch.tensor([0, 1, 3, 2])}, "label 3 is out of range"),
    "negative class": ({**images(), "labels": torch.tensor([0, -1, 1, 2])}, "label -1 is out"),
    "matrix of labels": ({**images(), "labels": torch.zeros(4, 2).long()}, r"\[4, 2\]"),
    "float labels": ({**images(), "labels": torch.zeros(4)}, r"labels are torch.float32 \[4\]"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_with_the_place(tmp_path, case):
    tensors, message = BAD_IMAGES[case]
    with pytest.raises(InputError, match=message) as caught:
        load_shard(write(tmp_path, tensors), "d0", IMAGES)
    assert "data.safetensors" in str(caught.value)
    assert caught.value.hint


BAD_TOKENS = {
    "vector": ({"input_ids": torch.zeros(3).long()}, r"shape is \[3\]"),
    "floats": ({"input_ids": torch.zeros(3, 5)}, "float32"),
    "too long": (tokens(2, 9), "9 tokens"),
    "unknown token": ({"input_ids": torch.full((2, 5), 20)}, "token id 20"),
    "half a mask": ({**tokens(), "attention_mask": torch.ones(3, 4).long()}, r"shape is \[3, 4\]"),
    "empty mask": ({**tokens(), "attention_mask": torch.zeros(3, 5).long()}, "masked altogether"),
    "odd mask": ({**tokens(), "attention_mask": torch.full((3, 5), 2)}, "neither 0 nor 1"),
    "unknown label": ({**tokens(), "labels": torch.full((3, 5), 99)}, "label 99"),
    "unknown tensor": (
        {**tokens(), "atention_mask": torch.ones(3, 5)},
        "not take .* atention_mask",
    ),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_bad_tokens_are_refused(tmp_path, case):
    tensors, message = BAD_TOKENS[case]
    accepted = frozenset({"input_ids", "attention_mask"})
    form = DataFormat(task="causal_lm", vocabulary=20, max_tokens=8, accepted=accepted)
    with pytest.raises(InputError, match=message):
        load_shard(write(tmp_path, tensors), "d0", form)


def test_the_fleets_sample_count_is_checked(tmp_path):
    with pytest.raises(InputError, match="holds 4 samples, but the fleet says 5 for d0"):
        load_shard(write(tmp_path, images()), "d0", IMAGES, samples=5)


def test_missing_and_garbled_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_shard(tmp_path / "absent.safetensors", "d0", IMAGES)
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_shard(tmp_path / "bad.safetensors", "d0", IMAGES)


def random_model(folder: Path, **config: object) -> FoundationModel:
    (folder / "config.json").write_text(json.dumps(config))
    return load_model(ModelSpec(source=str(folder / "config.json")))


def test_the_format_of_an_image_model_is_read_off_it(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape = {"intermediate_size": 8, "image_size": 4, "patch_size": 2, "num_channels": 1}
    model = random_model(tmp_path, model_type="vit", num_labels=3, **sizes, **shape)
    form = DataFormat.of(model)
    assert (form.main_input, form.sample_shape, form.classes) == ("pixel_values", (1, 4, 4), 3)
    assert form.tokenizer is None
    load_shard(write(tmp_path, images()), "d0", form)


def test_the_format_of_a_language_model_is_read_off_it(tmp_path):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 20, "n_positions": 16}
    form = DataFormat.of(random_model(tmp_path, model_type="gpt2", **sizes))
    assert (form.task, form.vocabulary, form.max_tokens) == ("causal_lm", 20, 16)
    load_shard(write(tmp_path, tokens()), "d0", form)
    with pytest.raises(InputError, match="does not take the tensors pixel_values"):
        load_shard(write(tmp_path, {**tokens(), "pixel_values": torch.zeros(3, 1)}), "d0", form)


# --- text ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    words = ["[UNK]", "the", "cat", "sat", "on", "mat", "[PAD]"]
    plain = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("model")
    PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    return folder


def text_file(folder: Path, *lines: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n")
    return path


def text_form(folder: Path, **changes: object) -> DataFormat:
    known = {"task": "causal_lm", "vocabulary": 7, "max_tokens": 6, "tokenizer": folder}
    return DataFormat(**{**known, **changes})


def test_text_is_tokenised_by_the_models_own_tokenizer(tmp_path, tokenizer_folder):
    path = text_file(tmp_path, {"text": "the cat sat on"}, {"text": "the mat"})
    shard = load_shard(path, "d0", text_form(tokenizer_folder))
    assert shard.inputs["input_ids"].tolist() == [[1, 2, 3, 4], [1, 5, 6, 6]]
    assert shard.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert shard.labels.tolist() == [[1, 2, 3, 4], [1, 5, -100, -100]]


def test_prompts_are_padded_on_the_left(tmp_path, tokenizer_folder):
    path = text_file(tmp_path, {"text": "the cat sat on"}, {"text": "the mat"})
    shard = load_shard(path, "s", text_form(tokenizer_folder), use="requests")
    assert shard.inputs["input_ids"].tolist() == [[1, 2, 3, 4], [6, 6, 1, 5]]
    assert shard.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_text_is_padded_and_cut_to_a_given_length(tmp_path, tokenizer_folder):
    path = text_file(tmp_path, {"text": "the cat sat on"}, {"text": "the"})
    form = text_form(tokenizer_folder)
    assert load_shard(path, "d0", form, tokens=3).inputs["input_ids"].tolist() == [
        [1, 2, 3],
        [1, 6, 6],
    ]
    assert load_shard(path, "s", form, use="requests", tokens=3).inputs["input_ids"].tolist() == [
        [2, 3, 4],
        [6, 6, 1],
    ]


def test_long_text_is_cut_to_the_models_positions(tmp_path, tokenizer_folder):
    path = text_file(tmp_path, {"text": "the " * 50})
    shard = load_shard(path, "d0", text_form(tokenizer_folder))
    assert shard.inputs["input_ids"].shape == (1, 6)


def test_text_with_classes(tmp_path, tokenizer_folder):
    path = text_file(tmp_path, {"text": "cat", "label": 1}, {"text": "mat", "label": 0})
    form = text_form(tokenizer_folder, task="sequence_classification", classes=2)
    assert load_shard(path, "d0", form).labels.tolist() == [1, 0]


BAD_LINES = {
    "not json": (["{text}"], "line 1: not JSON"),
    "not an object": (['"cat"'], "line 1: not of the form"),
    "extra field": ([{"text": "cat"}, {"text": "cat", "lable": 1}], "line 2: not of the form"),
    "text is a number": ([{"text": 3}], "line 1: not of the form"),
    "label is text": ([{"text": "cat", "label": "1"}], "line 1: label is '1'"),
    "label is a truth value": ([{"text": "cat", "label": True}], "line 1: label is True"),
    "some labels": ([{"text": "cat", "label": 1}, {"text": "mat"}], "1 of 2 lines have a label"),
    "nothing": (["", " "], "0 of 0 lines"),
    "no tokens": ([{"text": " "}], "no text gives any token"),
    "an empty text": ([{"text": "cat"}, {"text": ""}], "masked altogether"),
    "class out of range": ([{"text": "cat", "label": 2}], "label 2 is out of range"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines_are_refused(tmp_path, tokenizer_folder, case):
    lines, message = BAD_LINES[case]
    form = text_form(tokenizer_folder, task="sequence_classification", classes=2)
    with pytest.raises(InputError, match=message):
        load_shard(text_file(tmp_path, *lines), "d0", form, use="requests")


def test_text_without_a_tokenizer_is_refused(tmp_path):
    path = text_file(tmp_path, {"text": "cat"})
    with pytest.raises(InputError, match="no tokenizer"):
        load_shard(path, "d0", TEXT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="tokenizer cannot be loaded"):
        load_shard(path, "d0", text_form(tmp_path / "empty"))


def test_text_that_is_no_utf8_is_refused(tmp_path, tokenizer_folder):
    (tmp_path / "data.jsonl").write_bytes(b'{"text": "\xff"}')
    with pytest.raises(InputError, match="UTF-8"):
        load_shard(tmp_path / "data.jsonl", "d0", text_form(tokenizer_folder))
