"""Splitting changes nothing: values of tuned parameters equal those of the unsplit model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from gaisnet.models import bare, tunable_state
from gaisnet.schema.job import AdamWSpec, FineTuning, OptimizerSpec, SgdSpec
from gaisnet.schema.model import (
    DeepPromptSpec,
    FullSpec,
    HeadSpec,
    LoraSpec,
    TunableSpec,
)
from tests.executor.hfsl import (
    CONFIGS,
    N_UNITS,
    Fleet,
    cluster,
    distance,
    make_model,
    make_plan,
    make_shard,
    same,
)
from tests.executor.whole import draw, make_stepper, train_whole

TUNABLES: dict[str, TunableSpec] = {
    "full": FullSpec(),
    "lora": LoraSpec(r=2, alpha=4),
    "prompt": DeepPromptSpec(tokens=2),
    "head": HeadSpec(),
}
OPTIMIZERS: dict[str, OptimizerSpec] = {
    "sgd": SgdSpec(learning_rate=0.05, momentum=0.9),
    "adamw": AdamWSpec(learning_rate=0.01),
}


def tuning(optimizer: OptimizerSpec, **more: object) -> FineTuning:
    base = {"rounds": 2, "local_steps": 2, "batch_size": 4, "optimizer": optimizer}
    return FineTuning(**(base | more))


def cut_places(n_cuts: int) -> st.SearchStrategy[list[int]]:
    units = st.integers(1, N_UNITS - 1)
    return st.lists(units, min_size=n_cuts, max_size=n_cuts, unique=True).map(sorted)


@pytest.mark.parametrize("n_cuts", [1, 2, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("tunable", TUNABLES)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_invariant_1_split_equals_monolithic_bit_for_bit(tunable, optimizer, n_cuts, data):
    # A causal language model's head is its (often tied) embedding: it has no head to tune.
    names = ["vit", "bert"] if tunable == "head" else sorted(CONFIGS)
    name = data.draw(st.sampled_from(names))
    cuts, u_shape = data.draw(cut_places(n_cuts)), data.draw(st.booleans())
    tied = name == "gpt2" and tunable == "full"
    microbatches = 1 if tied else data.draw(st.sampled_from([1, 2, 4]))
    clip_norm, seed = data.draw(st.sampled_from([None, 0.5])), data.draw(st.integers(0, 9))
    spec = TUNABLES[tunable]
    whole, split = make_model(name, spec, seed=seed), make_model(name, spec, seed=seed)
    shard = make_shard(whole, "a", 6, seed)
    plan = make_plan([cluster("c0", {"a": 6}, cuts, u_shape=u_shape, microbatches=microbatches)])
    job = tuning(OPTIMIZERS[optimizer], clip_norm=clip_norm)
    fleet = Fleet(plan, split, {"a": shard}, job, seed=seed)

    losses = fleet.tune(2)

    expected = train_whole(
        whole,
        draw(shard, 4, 4, seed),
        OPTIMIZERS[optimizer],
        microbatches=microbatches,
        clip_norm=clip_norm,
    )
    assert same(fleet.modules(), tunable_state(whole.module))
    assert losses == pytest.approx([sum(expected[:2]) / 2, sum(expected[2:]) / 2])


@settings(max_examples=10, deadline=None)
@given(cuts=cut_places(2), clip_norm=st.floats(0.01, 0.3), merged=st.booleans())
def test_invariant_2_clipping_uses_the_norm_over_all_parts(cuts, clip_norm, merged):
    whole, split = make_model("vit", FullSpec()), make_model("vit", FullSpec())
    shard = make_shard(whole, "a", 4, 0)
    plan = make_plan([cluster("c0", {"a": 4}, cuts, intra="merge" if merged else "sequential")])
    job = tuning(SgdSpec(learning_rate=0.1), clip_norm=clip_norm, local_steps=1)
    before = tunable_state(split.module)
    fleet = Fleet(plan, split, {"a": shard}, job)
    fleet.tune(1)
    train_whole(whole, draw(shard, 1, 4, 0), job.optimizer, clip_norm=clip_norm)
    after = fleet.modules()
    assert same(after, tunable_state(whole.module))
    moved = torch.cat([(after[n] - before[n]).flatten() for n in before])
    # Clipped: the whole step has the length learning rate × limit; per part it would be longer.
    assert float(moved.norm()) == pytest.approx(0.1 * clip_norm, rel=1e-3)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("u_shape", [True, False])
def test_invariant_14_split_lora_equals_centralised_peft(name, u_shape):
    targets = {"vit": ["q_proj", "v_proj"], "gpt2": ["c_attn"], "bert": ["query", "value"]}[name]
    split = make_model(name, LoraSpec(r=2, alpha=4, targets=tuple(targets), train_head=False))
    plain = make_model(name, FullSpec())
    config = LoraConfig(r=2, lora_alpha=4, target_modules=targets, fan_in_fan_out=name == "gpt2")
    model = get_peft_model(bare(plain.module).requires_grad_(False), config).eval()
    own = dict(model.base_model.model.named_parameters())
    with torch.no_grad():
        for key, value in tunable_state(split.module).items():
            own[key].copy_(value)
    shard = make_shard(split, "a", 6, 3)
    optimizer = AdamWSpec(learning_rate=0.01)
    plan = make_plan([cluster("c0", {"a": 6}, [1, 3, 4], u_shape=u_shape)])
    fleet = Fleet(plan, split, {"a": shard}, tuning(optimizer))
    fleet.tune(2)
    tuned = {key: p for key, p in own.items() if p.requires_grad}
    stepper = make_stepper(list(tuned.values()), optimizer)
    for batch in draw(shard, 4, 4, 0):
        model(**batch.inputs, labels=batch.labels).loss.backward()
        stepper.step()
        stepper.zero_grad()
    assert distance(fleet.modules(), {key: p.detach() for key, p in tuned.items()}) <= 1e-6


def test_tied_embeddings_stay_tied_over_micro_batches():
    whole, split = make_model("gpt2", FullSpec()), make_model("gpt2", FullSpec())
    shard = make_shard(whole, "a", 4, 0)
    plan = make_plan([cluster("c0", {"a": 4}, [1, 3], u_shape=False, microbatches=2)])
    fleet = Fleet(plan, split, {"a": shard}, tuning(SgdSpec(learning_rate=0.1)))
    fleet.tune(2)
    train_whole(whole, draw(shard, 4, 4, 0), SgdSpec(learning_rate=0.1), microbatches=2)
    assert distance(fleet.modules(), tunable_state(whole.module)) <= 1e-6
