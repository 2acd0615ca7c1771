"""Split inference against the whole model: classes, tokens, frames, swaps and lost stages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_frame

from gaisnet.errors import InputError, RunError
from gaisnet.executor.data import Shard
from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.inference import Body, Generation, ServiceChain, ServiceDesk, Serving
from gaisnet.executor.residual import residual_name
from gaisnet.models import FoundationModel, load_tunable_state
from tests.executor.serving import (
    UNITS,
    build,
    cluster,
    known,
    modules_of,
    open_desk,
    own_generate,
    prompts,
    shaken,
)

torch.set_num_threads(1)

FAMILIES = ["gpt2", "llama", "qwen2", "qwen3"]
LAYOUTS = {
    "u-shape": (1, 5),
    "deep u-shape": (2, 3),
    "vanilla": (1, 6),
    "all on the entry": (6, 6),
    "two halves on the entry": (3, 3),
    "nothing on the entry": (0, 6),
    "tail alone on the entry": (0, 5),
}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, tuple[int, ...]]:
    head = draw(st.integers(0, UNITS))
    tail = draw(st.integers(max(head, 1), UNITS))
    cuts = draw(st.sets(st.integers(head + 1, max(head + 1, tail - 1)), max_size=3))
    return head, tail, tuple(sorted(cut for cut in cuts if head < cut < tail))


# --- generation ---------------------------------------------------------------------------


@given(family=st.sampled_from(FAMILIES), layout=layouts(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_invariant_15_split_generation_equals_the_models_own(family, layout, seed):
    model, requests = known(family), prompts(3, 5, seed=seed)
    desk, _ = open_desk(model, cluster(*layout), requests, new_tokens=8)
    assert desk.answer().answers == own_generate(model, requests, 8)


@given(
    family=st.sampled_from(FAMILIES),
    layout=layouts(),
    lost=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=3),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=20)
def test_invariant_15_generation_survives_the_loss_of_stages(family, layout, lost, seed):
    model, requests = known(family), prompts(3, 5, seed=seed)
    desk, body = open_desk(model, cluster(*layout), requests, new_tokens=8)
    for passes in desk.steps():
        for at, stage in lost:
            if at == passes and stage < len(body.stages):
                body.place(stage, device=f"spare{at}")
    assert desk.collect().answers == own_generate(model, requests, 8)


def test_sequences_end_at_their_own_end_token():
    model, requests = known("llama"), prompts(8, 5, seed=3)
    found = open_desk(model, cluster(1, 5, [3]), requests, new_tokens=25)[0].answer()
    lengths = [len(row) for row in found.answers]
    assert min(lengths) < max(lengths), "the seed no longer gives unequal ends"
    assert found.answers == own_generate(model, requests, 25)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
def test_answers_do_not_depend_on_the_batch_size(batch_size):
    model, requests = known("gpt2"), prompts(5, 4, seed=1)
    desk, _ = open_desk(model, cluster(1, 5), requests, new_tokens=6, batch_size=batch_size)
    assert desk.answer().answers == own_generate(model, requests, 6)


def test_prompts_without_a_mask_are_taken_as_they_are():
    model, full = known("llama"), prompts(3, 4, padded=False)
    requests = Shard("chat", {"input_ids": full.inputs["input_ids"]})
    desk, body = open_desk(model, cluster(1, 5, [2]), requests, new_tokens=6)
    for passes in desk.steps():
        if passes == 3:
            body.place(1)
    assert desk.collect().answers == own_generate(model, full, 6)


def test_continuations_are_scored_against_the_wanted_ones():
    model, requests = known("gpt2"), prompts(2, 4, padded=False)
    wanted = torch.tensor(own_generate(model, requests, 3))
    wanted[0, 1], wanted[1, 0] = (wanted[0, 1] + 1) % 40, -100
    asked = Shard("chat", requests.inputs, wanted)
    found = open_desk(model, cluster(1, 5), asked, new_tokens=3)[0].answer()
    assert (found.hits, found.count) == (4, 5)


def close_after_the_first(desk: ServiceDesk, engine: LocalEngine) -> None:
    for _ in desk.steps():
        engine.close()


def test_a_stage_that_is_gone_ends_the_service_with_an_error():
    engine = LocalEngine()
    desk, _ = open_desk(known("gpt2"), cluster(1, 5), prompts(2, 4), new_tokens=6, engine=engine)
    with pytest.raises(RunError, match="no service"):
        close_after_the_first(desk, engine)


def test_caches_are_dropped_when_a_batch_has_ended():
    engine = LocalEngine()
    desk, body = open_desk(
        known("gpt2"), cluster(1, 5, [3]), prompts(4, 4), new_tokens=3, batch_size=2, engine=engine
    )
    desk.answer()
    left = [engine.call(a, "end", "none").values["sessions"] for a in body.addresses]
    assert left == [0, 0]


# --- classification -----------------------------------------------------------------------


def classified(model: FoundationModel, samples: int) -> Shard:
    inputs = model.example_inputs(samples, seed=4)
    labels = inputs.pop("labels")
    if "attention_mask" in inputs:
        inputs["attention_mask"][1, -3:] = 0
    return Shard("look", inputs, labels)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("family", "task"), [("vit", None), ("bert", "sequence_classification"), ("bert", "masked_lm")]
)
def test_split_answers_are_the_models_own(family, task, layout):
    model = known(family, task)
    requests = classified(model, 7)
    desk, _ = open_desk(model, cluster(*LAYOUTS[layout]), requests, batch_size=3)
    with torch.no_grad():
        expected = model.module(**requests.inputs).logits.argmax(-1)
    found = desk.answer()
    assert found.answers == expected.tolist()
    counted = requests.labels != -100
    assert found.hits == ((expected == requests.labels) & counted).sum().item()
    assert found.count == counted.sum().item()


def test_features_are_answered_with_their_mean_over_tokens():
    model = known("bert", "features")
    requests = classified(model, 2)
    found = open_desk(model, cluster(1, 5), requests)[0].answer()
    with torch.no_grad():
        expected = model.module(**requests.inputs).last_hidden_state.mean(1)
    assert torch.allclose(torch.tensor(found.answers), expected, atol=1e-6)
    assert found.hits is None


def test_requests_without_labels_are_answered_but_not_scored():
    model = known("vit")
    requests = Shard("look", classified(model, 3).inputs)
    found = open_desk(model, cluster(1, 5), requests)[0].answer()
    assert (len(found.answers), found.hits, found.count) == (3, None, 0)


def test_the_coarser_the_compression_the_further_the_features():
    model = known("bert", "features")
    requests = classified(model, 4)
    plain, int8, int4 = (
        torch.tensor(
            open_desk(model, cluster(1, 5, [3]), requests, compression=c)[0].answer().answers
        )
        for c in ("none", "int8", "int4")
    )
    off_by_8, off_by_4 = (plain - int8).abs().mean(), (plain - int4).abs().mean()
    assert 0 < off_by_8 < 0.1
    assert off_by_8 < off_by_4 / 3


@pytest.mark.parametrize(("kind", "row_bytes"), [("int8", 16 + 4), ("int4", 8 + 4)])
def test_compressed_hidden_states_take_fewer_bytes(kind, row_bytes):
    engine, model = LocalEngine(), known("bert", "features")
    requests = classified(model, 4)
    open_desk(model, cluster(1, 5), requests, compression=kind, engine=engine)[0].answer()
    rows = requests.inputs["input_ids"].numel()
    there, back = sorted(engine.meter.take(), key=lambda t: t.sender, reverse=True)
    assert (there.payload_bytes, back.payload_bytes) == (rows * (row_bytes + 1), rows * row_bytes)


# --- what crosses the links ---------------------------------------------------------------


def tapped(family: str, layout: tuple[int, int], **desk: object) -> list[tuple[str, str, bytes]]:
    frames: list[tuple[str, str, bytes]] = []
    engine = LocalEngine(
        tap=lambda sender, receiver, f: frames.append((sender, receiver, bytes(f)))
    )
    model = known(family)
    requests = prompts(3, 5) if family in FAMILIES else classified(model, 3)
    open_desk(model, cluster(*layout), requests, engine=engine, **desk)[0].answer()
    return frames


@pytest.mark.parametrize("layout", [(1, 5), (2, 3), (1, 6)])
def test_no_raw_prompt_leaves_the_entry(layout):
    for sender, _, frame in tapped("llama", layout, new_tokens=5):
        if sender == "phone":
            tensors = load_frame(frame)
            assert all(t.dtype in (torch.float32, torch.uint8) for t in tensors.values())
            assert "hidden" in tensors


def test_no_raw_image_leaves_the_entry():
    pixels = classified(known("vit"), 3).inputs["pixel_values"]
    for sender, _, frame in tapped("vit", (1, 5)):
        assert pixels[0].numpy().tobytes()[:64] not in frame
        assert sender != "phone" or set(load_frame(frame)) == {"hidden"}


def test_under_u_shape_neither_tokens_nor_classes_cross_a_link():
    for _, _, frame in tapped("llama", (1, 5), new_tokens=5):
        assert "answers" not in load_frame(frame)


def test_metered_bytes_of_generation_follow_from_the_shapes():
    engine, width, batch, tokens, new = LocalEngine(), 16, 3, 5, 4
    model = known("gpt2")
    desk, _ = open_desk(
        model, cluster(1, 5, [3]), prompts(batch, tokens), new_tokens=new, engine=engine
    )
    lengths = [len(row) for row in desk.answer().answers]
    assert max(lengths) == new, "the seed no longer gives a full answer"
    hidden_bytes = batch * width * 4 * (tokens + new - 1)
    mask_bytes = batch * tokens
    found = {(t.sender, t.receiver): t.payload_bytes for t in engine.meter.take()}
    assert found == {
        ("phone", "box0"): hidden_bytes + mask_bytes,
        ("box0", "box1"): hidden_bytes + mask_bytes,
        ("box1", "phone"): hidden_bytes,
    }


# --- modules swapped between two steps ----------------------------------------------------


@pytest.mark.parametrize("layout", [(1, 5, (3,)), (1, 6, (3,)), (6, 6, ())])
def test_swapping_the_same_modules_changes_nothing(layout):
    model, requests = known("llama"), prompts(3, 5, seed=2)
    desk, _ = open_desk(model, cluster(*layout), requests, new_tokens=8)
    for _ in desk.steps():
        desk.swap(modules_of(model), "edge")
    assert desk.collect().answers == own_generate(model, requests, 8)


@pytest.mark.parametrize("layout", [(1, 5, (3,)), (1, 6, (3,)), (6, 6, ())])
def test_swapped_modules_hold_for_later_tokens_only(layout):
    model, requests, at = build("llama"), prompts(3, 5, seed=2), 3
    before = own_generate(model, requests, 8)
    changed = shaken(model, 2.0)
    desk, _ = open_desk(model, cluster(*layout), requests, new_tokens=8)
    for passes in desk.steps():
        if passes == at:
            desk.swap(changed, "edge")
    found = desk.collect().answers
    assert [row[:at] for row in found] == [row[:at] for row in before]
    assert found == swapped_reference(model, requests, changed, at, 8)
    assert found != before


@torch.no_grad()
def swapped_reference(model, requests, changed, at, new_tokens) -> list[list[int]]:
    """The whole model, decoding by hand with its own cache, modules changed after ``at`` steps."""
    old, mask = modules_of(model), requests.inputs["attention_mask"]
    ids, cache, rows = requests.inputs["input_ids"], None, []
    for step in range(new_tokens):
        if step == at:
            load_tunable_state(model.module, changed)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model.module(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        ids, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        rows.append(ids)
    load_tunable_state(model.module, old)
    tokens = torch.cat(rows, dim=1).tolist()
    return [row[: row.index(5) + 1] if 5 in row else row for row in tokens]


def test_a_desk_leaves_the_models_own_modules_alone():
    model = build("gpt2")
    before = modules_of(model)
    desk, _ = open_desk(model, cluster(1, 5), prompts(2, 4), new_tokens=2)
    desk.swap(shaken(model, 1.0), "edge")
    desk.answer()
    assert all(torch.equal(before[name], now) for name, now in modules_of(model).items())


def test_swapped_modules_are_metered():
    engine, model = LocalEngine(), known("gpt2")
    desk, _ = open_desk(model, cluster(1, 5), prompts(2, 4), new_tokens=2, engine=engine)
    desk.swap(modules_of(model), "edge")
    sent = sum(t.payload_bytes for t in engine.meter.take())
    assert sent == sum(p.nbytes for p in modules_of(model).values())


def test_residuals_of_fedex_lora_are_swapped_in_as_well():
    model, changed = known("gpt2"), build("gpt2")
    generator, modules = torch.Generator().manual_seed(7), modules_of(model)
    for name in [name for name in modules if ".lora_A." in name]:
        path = name.partition(".lora_A.")[0]
        layer = changed.bare.get_submodule(path)
        residual = torch.randn(layer.out_features, layer.in_features, generator=generator)
        modules[residual_name(name)] = residual
        update = layer.scaling["default"] * residual
        with torch.no_grad():
            layer.base_layer.weight += update.T if layer.fan_in_fan_out else update
    desk, _ = open_desk(model, cluster(1, 5, [3]), prompts(3, 5), new_tokens=6)
    desk.swap(modules, "edge")
    assert desk.answer().answers == own_generate(changed, prompts(3, 5), 6)
    assert own_generate(changed, prompts(3, 5), 6) != own_generate(model, prompts(3, 5), 6)


# --- refusals -----------------------------------------------------------------------------


def test_a_device_that_only_asks_holds_head_and_tail_as_an_owner_does():
    asking = ServiceChain.of(cluster(1, 5, [3]), "watch", UNITS)
    owning = ServiceChain.of(cluster(1, 5, [3]), "phone", UNITS)
    assert [(s.first_unit, s.last_unit) for s in asking.stages()] == [
        (0, 0),
        (1, 2),
        (3, 4),
        (5, 5),
    ]
    assert [s.device for s in asking.stages()] == ["watch", "box0", "box1", "watch"]
    assert asking.body == owning.body
    assert ServiceChain.of(cluster(0, 6), "watch", UNITS).head is None


def test_only_language_models_generate():
    with pytest.raises(InputError, match="ViTForImageClassification generates no text"):
        Generation.of(known("vit"), 5)


def test_answers_must_fit_the_models_positions():
    with pytest.raises(InputError, match="60 tokens and 5 more do not fit the 64 positions"):
        open_desk(known("gpt2"), cluster(1, 5), prompts(2, 60), new_tokens=5)
    open_desk(known("gpt2"), cluster(1, 5), prompts(2, 60), new_tokens=4)


def test_prompts_padded_on_the_right_are_refused():
    asked = prompts(2, 5)
    asked.inputs["attention_mask"][0, -1] = 0
    with pytest.raises(InputError, match="padded on the right"):
        open_desk(known("gpt2"), cluster(1, 5), asked, new_tokens=4)


def test_frames_of_another_run_are_refused():
    engine = LocalEngine()
    model = known("gpt2")
    desk, _ = open_desk(model, cluster(1, 5), prompts(2, 4), new_tokens=2, engine=engine)
    Body(Serving(engine, model, "other"), "c0", cluster(1, 5).body)
    with pytest.raises(RunError, match="of run run with activation for box0 came to box0"):
        desk.answer()
