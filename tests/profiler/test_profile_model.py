"""Whole profiles: complete, consistent and the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from gaisnet.errors import ModelError
from gaisnet.extrapolation import extrapolate, step_s
from gaisnet.models import attach, load_model
from gaisnet.models.identity import model_fingerprint
from gaisnet.profiler import affordable, make_profile, model_part, profile_model, stage_memory
from gaisnet.profiler.affordable import timing_estimate_s, training_bytes
from gaisnet.profiler.device_memory import MemoryLimit
from gaisnet.profiler.standins import model_on_meta
from gaisnet.profiler.timing import LEAST_STEPS
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.profile import ModelPart, Profile
from tests.extrapolation.synthetic import make_device

from .small import TUNABLES, on_meta, real, spec_of, write


@pytest.fixture(scope="module")
def timed(folder: Path) -> ModelPart:
    """A small ViT, timed briefly."""
    patch = pytest.MonkeyPatch()
    patch.setattr(model_part, "_BUDGET_S", 0.0)
    try:
        return profile_model(spec_of("vit", folder), TUNABLES["lora"], batch_sizes=(4, 1, 4))
    finally:
        patch.undo()


def test_sums_and_kappa_of_a_profile_agree_with_its_units(timed: ModelPart) -> None:
    assert [check.batch_size for check in timed.end_to_end] == [1, 4]
    for index, check in enumerate(timed.end_to_end):
        timings = [unit.timings[index] for unit in timed.units]
        assert {timing.batch_size for timing in timings} == {check.batch_size}
        total = sum(t.forward_cpu.expected_s + t.backward_cpu.expected_s for t in timings)
        total += sum(unit.update_cpu.expected_s for unit in timed.units if unit.update_cpu)
        assert check.sum_cpu_s == pytest.approx(total)
        assert check.kappa == pytest.approx(check.step_cpu.expected_s / check.sum_cpu_s)


def test_nothing_tuned_below_means_no_backward_time(timed: ModelPart) -> None:
    prologue, *others = timed.units
    assert all(timing.backward.expected_s == 0 for timing in prologue.timings)
    assert all(
        t.backward.expected_s > 0 and t.forward.expected_s > 0 for u in others for t in u.timings
    )


def test_times_do_not_touch_the_analysis(timed: ModelPart, folder: Path) -> None:
    plain = profile_model(spec_of("vit", folder), TUNABLES["lora"], times=False)
    bare = [
        unit.model_copy(update={"timings": (), "update": None, "update_cpu": None})
        for unit in timed.units
    ]
    assert bare == list(plain.units)
    assert timed.warnings == ()
    assert plain.warnings == ("not timed: analysed on the meta device, as asked",)


@pytest.mark.parametrize(
    ("family", "tunable"), [("vit", "deep_prompt"), ("bert", "lora"), ("qwen3", "lora")]
)
def test_two_profiles_have_the_same_operations_and_bytes(
    family: str, tunable: str, folder: Path
) -> None:
    first, second = (
        profile_model(spec_of(family, folder), TUNABLES[tunable], times=False, seed=seed)
        for seed in (0, 1)
    )
    assert first.model_dump_json() == second.model_dump_json()
    assert first.flops_disagreement == 0.0


@pytest.mark.parametrize("tunable", sorted(TUNABLES))
def test_parameters_and_their_bytes_are_those_of_the_loaded_model(
    tunable: str, folder: Path
) -> None:
    part = profile_model(spec_of("bert", folder), TUNABLES[tunable], times=False, optimizer="sgd")
    parameters = list(real("bert", folder, tunable).bare.parameters())
    tuned = [parameter for parameter in parameters if parameter.requires_grad]
    assert sum(u.parameters for u in part.units) == sum(p.numel() for p in parameters)
    assert sum(u.tunable_parameters for u in part.units) == sum(p.numel() for p in tuned)
    assert sum(u.weight_bytes for u in part.units) == 4 * sum(p.numel() for p in parameters)
    assert sum(u.gradient_bytes for u in part.units) == 4 * sum(p.numel() for p in tuned)
    assert {unit.optimizer_bytes for unit in part.units} == {0}


def test_tied_embeddings_are_held_by_both_ends(folder: Path) -> None:
    part = profile_model(spec_of("gpt2", folder), TUNABLES["full"], times=False)
    assert part.tied_units == ((0, 4),)
    assert part.units[0].parameters == 61 * 24 + 64 * 24
    assert part.units[-1].parameters == 61 * 24 + 2 * 24


def test_units_are_named_and_of_three_kinds(timed: ModelPart) -> None:
    assert [unit.kind for unit in timed.units] == ["prologue", *["block"] * 3, "epilogue"]
    assert timed.units[1].name.endswith("layers.0")
    assert timed.architecture == "ViTForImageClassification"
    assert timed.tokens == 17


def test_a_profile_survives_its_file(timed: ModelPart) -> None:
    profile = Profile(model=timed)
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_a_model_too_large_for_this_device_is_not_timed_and_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affordable, "memory_limit", lambda: MemoryLimit(10_000, "cgroup-v2"))
    part = profile_model(spec_of("vit", folder), TUNABLES["full"])
    assert part.end_to_end == ()
    assert all(unit.timings == () for unit in part.units)
    needed = training_bytes(part, 4)
    assert part.warnings == (f"not timed: it needs {needed} bytes of this device's 10000",)


def test_a_model_too_slow_for_this_device_is_extrapolated_and_says_why(folder: Path) -> None:
    part = profile_model(
        spec_of("vit", folder), TUNABLES["full"], figures=make_device(), timing_budget_s=0.0
    )
    assert part.extrapolation is not None
    assert part.extrapolation.method == "modelled"
    (warning,) = part.warnings
    assert warning.startswith("times are extrapolated, not measured: timing it would take about")
    assert {timing.origin for unit in part.units for timing in unit.timings} == {"extrapolated"}


def test_without_figures_of_the_device_a_slow_model_has_no_times(folder: Path) -> None:
    part = profile_model(spec_of("vit", folder), TUNABLES["full"], timing_budget_s=0.0)
    assert all(unit.timings == () for unit in part.units)
    (warning,) = part.warnings
    assert warning.startswith("not timed: timing it would take about")


def test_the_estimate_of_timing_is_all_steps_of_all_batch_sizes(folder: Path) -> None:
    part = profile_model(spec_of("vit", folder), TUNABLES["full"], times=False)
    device = make_device()
    one, two, both = (
        timing_estimate_s(part, sizes, "cpu", 1, device) for sizes in ((1,), (2,), (1, 2))
    )
    made = extrapolate(part, device, batch_sizes=(2,))
    assert two == pytest.approx(LEAST_STEPS * step_s(made, 2))
    assert both == pytest.approx(one + two)


def test_the_fingerprint_is_of_shapes_and_settings_not_of_values_places_or_devices(
    folder: Path, tmp_path: Path
) -> None:
    on_disk = load_model(spec_of("vit", folder))
    on_disk.bare.save_pretrained(tmp_path)
    saved = attach(load_model(ModelSpec(source=str(tmp_path))), TUNABLES["lora"], seed=7)
    known = model_fingerprint(on_meta("vit", folder, "lora"))
    assert known == model_fingerprint(real("vit", folder, "lora")) == model_fingerprint(saved)
    saved.config.hidden_act = "relu"
    assert model_fingerprint(saved) != known
    other_rank = model_on_meta(spec_of("vit", folder), LoraSpec(r=2), 0)
    assert model_fingerprint(other_rank) != known


def test_weights_are_hashed_where_they_come_from_files(folder: Path, tmp_path: Path) -> None:
    model = load_model(spec_of("vit", folder))
    model.bare.save_pretrained(tmp_path)
    spec = ModelSpec(source=str(tmp_path))
    part = profile_model(spec, TUNABLES["head"], times=False)
    again = profile_model(spec, TUNABLES["head"], times=False)
    random = profile_model(
        spec.model_copy(update={"weights": "random"}), TUNABLES["head"], times=False
    )
    assert part.weights_sha256 is not None
    assert part.weights_sha256 == again.weights_sha256
    assert random.weights_sha256 is None
    attach(model, TUNABLES["head"], seed=0)
    with open(tmp_path / "model.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x01\x02\x03\x04")
    changed = profile_model(spec, TUNABLES["head"], times=False)
    assert changed.weights_sha256 != part.weights_sha256


def test_a_source_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        profile_model(ModelSpec(source=str(tmp_path / "missing")), TUNABLES["lora"])


def test_disagreeing_witnesses_are_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(model: object, tokens: int) -> list[int]:
        return [1] * 5

    monkeypatch.setattr("gaisnet.profiler.analysis.closed_form_flops", half)
    part = profile_model(spec_of("vit", folder), TUNABLES["lora"], times=False)
    assert part.flops_disagreement > 0.99
    told = [warning for warning in part.warnings if "disagree" in warning]
    assert len(told) == 5
    assert "closed_form 1" in told[1]


def test_make_profile_joins_both_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    profile = make_profile(
        spec_of("vit", folder),
        times=False,
        measure_device=False,
        progress=lambda what, done: seen.append(done),
    )
    assert profile.device is None
    assert profile.model is not None
    assert profile.model.tunable == LoraSpec()
    assert "torch" in profile.tool_versions
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert json.loads(profile.model_dump_json())["schema_version"] == 1


def test_make_profile_of_a_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaisnet.profiler.device.runtime_bytes", lambda fresh: 1)
    monkeypatch.setattr("gaisnet.profiler.device._GEMM_BUDGET_S", 0.01)
    profile = make_profile(None, device="cpu")
    assert profile.model is None
    assert profile.device is not None


def test_a_model_that_needs_values_is_refused_and_not_called_a_bug(folder: Path) -> None:
    """wav2vec 2.0: torch's weight normalisation mixes devices on the meta device."""
    config = transformers.Wav2Vec2Config(**_WAV2VEC)
    spec = ModelSpec(source=write(config, "Wav2Vec2ForSequenceClassification", folder, "wav2vec"))
    with pytest.raises(ModelError, match="cannot be analysed without its values") as refused:
        profile_model(spec, TUNABLES["lora"], times=False)
    assert refused.value.exit_code == 11
    assert refused.value.where == spec.source
    with pytest.raises(ModelError, match="cannot be analysed without its values"):
        stage_memory(spec, TUNABLES["lora"], 1, 2, 2)


_WAV2VEC = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 400,
    "conv_dim": (8, 8),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "vocab_size": 20,
}
