"""The cache that grows in place holds, byte for byte, what transformers' own would."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from gaisnet.executor.inference.growing import CHUNK_TOKENS, new_session
from gaisnet.models import make_stage
from tests.executor.serving import known


@given(pieces=st.lists(st.integers(1, 2 * CHUNK_TOKENS), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_growing_equals_concatenating(pieces):
    model = known("gpt2")
    session = new_session(make_stage(model, 0, 5))
    growing, plain = session.cache.layers[0], DynamicLayer()
    assert type(growing) is not DynamicLayer
    generator = torch.Generator().manual_seed(0)
    for tokens in pieces:
        new = [torch.randn(2, 3, tokens, 4, generator=generator) for _ in range(2)]
        found, expected = growing.update(*new), plain.update(*new)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert growing.get_seq_length() == plain.get_seq_length()
        assert growing.get_mask_sizes(1) == plain.get_mask_sizes(1)


def test_storage_is_kept_until_a_chunk_is_full():
    layer = new_session(make_stage(known("gpt2"), 0, 5)).cache.layers[0]
    one = torch.ones(1, 1, 1, 4)
    places = {layer.update(one, one)[0].data_ptr() for _ in range(CHUNK_TOKENS)}
    assert len(places) == 1
    assert layer.update(one, one)[0].data_ptr() not in places


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_only_own_layers_of_a_stage_hold_anything(family):
    session = new_session(make_stage(known(family), 2, 3))
    held = [type(layer).__name__ == "_GrowingLayer" for layer in session.cache.layers]
    assert held == [False, True, True, False]
