"""Bytes and calls by kind of operator against what a block's operators must touch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gaisnet.profiler.standins import make_fake
from gaisnet.profiler.unit_passes import count_passes
from gaisnet.profiler.unit_work import UnitWork, kind_of_operator, touched_bytes

from .small import FAMILIES, on_meta


def work(family: str, folder: Path, tunable: str) -> list[UnitWork]:
    model, mode = on_meta(family, folder, tunable), FakeTensorMode()
    make_fake(model, mode)
    return count_passes(model, mode, None, 0)[1]


def test_a_vit_block_forward_touches_what_its_operators_read_and_write(folder: Path) -> None:
    shape = FAMILIES["vit"].geometry
    tokens, width, inner = shape.tokens, shape.width, shape.inner
    block = work("vit", folder, "full")[2].forward
    item = 4
    # Per token: query, key, value and output maps, then the two of the multilayer perceptron.
    linear = 4 * (width + width) + (width + inner) + (inner + width)
    assert block.sample_bytes["product"] == item * tokens * linear
    weights = 4 * (width * width + width) + 2 * width * inner + inner + width
    assert block.fixed_bytes["product"] == item * weights
    assert block.sample_bytes["gelu"] == item * tokens * 2 * inner
    # Two norms read and write the hidden state, and write a mean and a deviation per token.
    assert block.sample_bytes["norm"] == item * tokens * 2 * (2 * width + 2)
    # Two residual sums.
    assert block.sample_bytes["move"] == item * tokens * 2 * 3 * width


@pytest.mark.parametrize("family", ["vit", "bert", "gpt2", "llama", "mixtral"])
def test_backward_does_more_than_forward_where_all_is_tuned(family: str, folder: Path) -> None:
    for unit in work(family, folder, "full")[1:-1]:
        assert unit.backward.operators > unit.forward.operators > 0
        assert unit.backward.sample_bytes["product"] > unit.forward.sample_bytes["product"]


def test_what_lies_below_everything_tuned_has_no_backward_pass(folder: Path) -> None:
    found = work("vit", folder, "head")
    assert [unit.backward.operators > 0 for unit in found] == [False] * 4 + [True]
    assert found[0].backward.sample_bytes == found[0].backward.fixed_bytes == {}


def test_looking_up_tokens_does_not_read_the_whole_table() -> None:
    table, tokens = torch.zeros(1000, 8), torch.zeros(5, dtype=torch.long)
    found = torch.ops.aten.embedding(table, tokens)
    assert touched_bytes("embedding", (table, tokens), found) == 2 * 5 * 8 * 4
    assert touched_bytes("embedding_dense_backward", (found, tokens), table) == 1000 * 8 * 4
    assert touched_bytes("add", (found, found), found) == 3 * 5 * 8 * 4


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("addmm", "product"),
        ("bmm", None),
        ("_scaled_dot_product_flash_attention_for_cpu", None),
        ("_unsafe_view", None),
        ("gelu_backward", "gelu"),
        ("native_layer_norm", "norm"),
        ("native_layer_norm_backward", "norm"),
        ("_softmax_backward_data", "softmax"),
        ("silu", "silu"),
        ("tanh_", "tanh"),
        ("add", "move"),
        ("cat", "move"),
    ],
)
def test_operators_have_kinds(operator: str, kind: str | None) -> None:
    assert kind_of_operator(operator) == kind
