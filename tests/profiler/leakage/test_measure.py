"""Leakage of small models, cut by cut, and the files it is measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gaisnet.errors import InputError
from gaisnet.models import FoundationModel
from gaisnet.profiler.leakage import DataSample, measure_cut, measure_leakage, read_sample
from gaisnet.profiler.leakage import measure as measuring
from gaisnet.profiler.leakage.collect import collect, groups
from gaisnet.profiler.passage import forward_inputs
from tests.profiler.small import on_meta, real

SAMPLES = 24
LABELS = torch.arange(SAMPLES) % 2


def images() -> Tensor:
    noise = torch.randn(SAMPLES, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return noise + LABELS.view(-1, 1, 1, 1)


def pictures() -> DataSample:
    return DataSample({"pixel_values": images()}, "pixel_values", LABELS)


def text() -> DataSample:
    ids = torch.randint(3, 61, (SAMPLES, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[::3, 6:] = 0
    return DataSample({"input_ids": ids, "attention_mask": mask}, "input_ids", LABELS)


def test_every_cut_of_an_image_model_is_measured(folder: Path) -> None:
    told: list[float] = []
    seen: list[float] = []
    model = real("vit", folder, "lora")
    rows = measure_leakage(
        model, pictures(), announce=told.append, progress=lambda what, done: seen.append(done)
    )
    assert [row.unit for row in rows] == [0, 1, 2, 3]
    assert all(row.distance_correlation > row.distance_correlation_null for row in rows)
    assert rows[0].inversion_error < 0.9
    assert rows[0].label_auc_norm is None  # nothing below the first cut is tuned
    assert all(row.label_auc_cosine is not None for row in rows[1:])
    assert told[0] > 0
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert measure_leakage(model, pictures()) == rows


def test_a_text_model_tells_its_tokens_right_after_the_embedding(folder: Path) -> None:
    rows = measure_leakage(real("bert", folder, "head"), text())
    assert rows[0].token_accuracy is not None
    assert rows[0].majority_accuracy is not None
    assert rows[0].token_accuracy > 5 * rows[0].majority_accuracy
    assert all(row.label_auc_norm is None for row in rows)


def test_a_language_model_needs_no_labels(folder: Path) -> None:
    sample = text()
    rows = measure_leakage(real("llama", folder), DataSample(sample.inputs, "input_ids"))
    assert [row.label_auc_cosine for row in rows] == 4 * [None]


def test_gradients_are_each_sample_s_own_whatever_the_batch(folder: Path) -> None:
    model = real("vit", folder)
    alone, together = (collect(model, pictures(), [2], size)[2] for size in (1, 7))
    assert together.gradients is not None
    torch.testing.assert_close(alone.gradients, together.gradients)
    torch.testing.assert_close(alone.smashed, together.smashed)
    assert all(parameter.grad is None for parameter in model.bare.parameters())


def test_what_is_collected_is_the_hidden_state_and_its_gradient(folder: Path) -> None:
    model = real("vit", folder)
    found = collect(model, pictures(), [2], 8)[2]
    batch = {"pixel_values": images()[:1], "labels": LABELS[:1]}
    outputs = model.bare(**forward_inputs(model, batch), output_hidden_states=True)
    hidden = outputs.hidden_states[2]
    hidden.retain_grad()
    model.loss(outputs.logits, LABELS[:1]).backward()  # type: ignore[no-untyped-call]
    assert found.gradients is not None
    torch.testing.assert_close(found.smashed[:1], hidden.detach())
    torch.testing.assert_close(found.gradients[:1], hidden.grad)


def test_little_memory_changes_no_figure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = real("vit", folder, "lora")
    rows = measure_leakage(model, pictures())
    monkeypatch.setattr(measuring, "_BUDGET_BYTES", 1)
    assert measure_leakage(model, pictures()) == rows


def test_cuts_are_grouped_within_the_budget() -> None:
    assert list(groups([3, 3, 3, 9, 1], 7)) == [[0, 1], [2], [3], [4]]
    assert list(groups([], 7)) == []


def test_torch_s_own_generator_is_left_as_it_was(folder: Path) -> None:
    crossing = collect(real("vit", folder, "lora"), pictures(), [1], 8)[1]
    before = torch.get_rng_state()
    measure_cut(1, crossing, images())
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> FoundationModel:
    return on_meta("vit", tmp_path_factory.mktemp("vit"), "lora")


def test_the_first_samples_of_a_file_are_read(tmp_path: Path, vit: FoundationModel) -> None:
    path = tmp_path / "data.safetensors"
    save_file({"pixel_values": images(), "labels": LABELS}, path)
    sample = read_sample(path, vit, 10)
    assert len(sample) == 10
    assert torch.equal(sample.raw, images()[:10])
    assert sample.labels is not None
    assert torch.equal(sample.labels, LABELS[:10])


def faulty(path: Path, **changes: Tensor | None) -> None:
    tensors = {"pixel_values": images(), "labels": LABELS} | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"not safetensors at all"), "not a readable"),
        (lambda path: faulty(path, pixel_values=None), "this model takes pixel_values"),
        (lambda path: faulty(path, other=LABELS + 0), "this model takes pixel_values"),
        (lambda path: faulty(path, pixel_values=images().half()), "dtype is float16"),
        (lambda path: faulty(path, pixel_values=images() / 0), "NaN or infinity"),
        (lambda path: faulty(path, pixel_values=images()[..., :8].clone()), "takes [3, 16, 16]"),
        (lambda path: faulty(path, labels=LABELS[:3]), "first dimension counts the samples"),
        (lambda path: faulty(path, labels=LABELS + 5), "this model has 2 classes"),
        (
            lambda path: faulty(path, pixel_values=images()[:3], labels=LABELS[:3]),
            "too few",
        ),
    ],
)
def test_a_file_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, vit: FoundationModel, write: Callable[[Path], object], complaint: str
) -> None:
    path = tmp_path / "data.safetensors"
    write(path)
    with pytest.raises(InputError) as refused:
        read_sample(path, vit, 100)
    assert complaint in str(refused.value).replace("\n", " ")
    assert str(path) in str(refused.value)


def test_tokens_outside_the_vocabulary_are_refused(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "data.safetensors"
    save_file({"input_ids": torch.full((9, 4), 61)}, path)
    with pytest.raises(InputError, match="below 61"):
        read_sample(path, on_meta("bert", folder, "lora"), 100)
