"""The wire format: what is decoded is what was encoded, and nothing damaged is taken."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as library_load
from safetensors.torch import save as library_save

from gaisnet.executor.frames import (
    MAX_TABLE_BYTES,
    FrameError,
    Header,
    decode,
    encode,
    payload_bytes,
    read_header,
)
from gaisnet.executor.mailbox import Mailbox, Moment

HEADER = Header(
    run="r", kind="activation", sender="a", receiver="b", sequence=7, round=1, rows=(3, 2)
)
DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def tensors() -> st.SearchStrategy[dict[str, torch.Tensor]]:
    def make(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 9
        return (values > 0) if dtype is torch.bool else values.abs().to(dtype)

    shapes = st.lists(st.integers(0, 5), max_size=4)
    one = st.builds(make, st.sampled_from(DTYPES), shapes, st.integers(0, 99))
    return st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda n: n != "__metadata__"), one
    )


@settings(deadline=None)
@given(tensors())
def test_a_frame_comes_back_bit_for_bit(sent):
    header, received = decode(encode(HEADER, sent))
    assert header == HEADER
    assert received.keys() == sent.keys()
    for name, tensor in sent.items():
        assert received[name].dtype == tensor.dtype
        assert received[name].shape == tensor.shape
        assert torch.equal(received[name], tensor)


@settings(deadline=None, max_examples=50)
@given(tensors())
def test_a_frame_is_a_safetensors_file_for_the_library_too(sent):
    frame = encode(HEADER, sent)
    theirs = library_load(frame)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in sent.items())
    text = HEADER.model_dump_json()
    ours = decode(library_save({n: t.contiguous() for n, t in sent.items()}, {"gaisnet": text}))
    assert ours[0] == HEADER
    assert all(torch.equal(ours[1][name], tensor) for name, tensor in sent.items())


def test_payload_is_tensor_data_alone():
    frame = encode(HEADER, {"x": torch.zeros(3, 5), "mask": torch.zeros(7, dtype=torch.uint8)})
    assert payload_bytes(frame) == 3 * 5 * 4 + 7
    assert read_header(frame) == HEADER


def test_frames_of_equal_tensors_are_equally_long_however_far_the_run_is():
    late = HEADER.model_copy(update={"sequence": 123_456, "round": 99, "step": 7, "microbatch": 3})
    assert len(encode(late, {})) == len(encode(HEADER, {}))


@pytest.mark.parametrize("padding", range(9))
def test_decoded_tensors_lie_as_torchs_own_do(padding):
    """Else some processors round their products otherwise than the whole model's."""
    sent = {"x": torch.arange(5.0), "y": torch.ones(3, dtype=torch.int8), "z": torch.ones(2, 2)}
    header = HEADER.model_copy(update={"stage": "s" * (1 + padding)})
    for frame in (encode(header, sent), bytearray(encode(header, sent))):
        received = decode(frame)[1]
        assert all(tensor.data_ptr() % 64 == 0 for tensor in received.values())
        assert all(torch.equal(received[name], tensor) for name, tensor in sent.items())


def test_non_contiguous_tensors_are_sent_by_value():
    x = torch.arange(12.0).view(3, 4)
    _, received = decode(encode(HEADER, {"x": x.T, "y": x[:, 1]}))
    assert torch.equal(received["x"], x.T)
    assert torch.equal(received["y"], x[:, 1])


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(data):
    """Bits of tensor data may flip; anything else must end in a FrameError, not a crash."""
    frame = bytearray(encode(HEADER, {"x": torch.ones(2, 3), "b": torch.ones(3, dtype=torch.bool)}))
    kind = data.draw(st.sampled_from(["flip", "cut", "grow"]))
    if kind == "cut":
        frame = frame[: data.draw(st.integers(0, len(frame) - 1))]
    elif kind == "grow":
        frame += data.draw(st.binary(min_size=1, max_size=20))
    else:
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place] ^= data.draw(st.integers(1, 255))
    try:
        _, received = decode(frame)
    except FrameError:
        return
    assert kind == "flip"
    assert sum(t.nbytes for t in received.values()) == 2 * 3 * 4 + 3


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(noise):
    with pytest.raises(FrameError):
        decode(noise)


def raw(table: object, data: bytes = b"") -> bytes:
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + data


META = {"__metadata__": {"gaisnet": HEADER.model_dump_json()}}


def one_tensor(dtype: str, shape: list[int], offsets: list[int], data: bytes) -> bytes:
    return raw(META | {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, data)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ((2**60).to_bytes(8, "little") + b"{}", "claims a table"),
        ((MAX_TABLE_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_TABLE_BYTES + 1), "claims"),
        (raw([1, 2]), "no JSON object"),
        (raw({}), "no header"),
        (raw({"__metadata__": {"gaisnet": "{}"}}), "header is wrong"),
        (raw({"__metadata__": {"gaisnet": HEADER.model_dump_json()[:-1] + ',"x":1}'}}), "x"),
        (
            raw(META | {"x": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"1234"),
            "x",
        ),
        (one_tensor("F32", [-1], [0, 4], b"1234"), "x"),
        (
            raw(META | {"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
            "x",
        ),
        (
            raw(META | {"x": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
            "dtype",
        ),
        (
            raw(META | {"x": {"dtype": "F32", "shape": [1] * 17, "data_offsets": [0, 4]}}, b"1234"),
            "shape",
        ),
        (raw(META, b"trailing"), "follow its table"),
        (b"[" * 8 + b"[" * 100_000, "claims a table"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "not JSON"),
    ],
)
def test_what_a_frame_says_of_itself_must_be_true(frame, why):
    with pytest.raises(FrameError, match=why):
        decode(frame)


def test_a_frame_longer_than_allowed_is_refused():
    frame = encode(HEADER, {"x": torch.zeros(100)})
    with pytest.raises(FrameError, match="not between"):
        decode(frame, max_bytes=len(frame) - 1)


def test_a_dtype_without_a_place_on_the_wire_is_refused():
    with pytest.raises(FrameError, match="complex64"):
        encode(HEADER, {"x": torch.zeros(1, dtype=torch.complex64)})


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"run": "other"}, "run other"),
        ({"receiver": "c"}, "for c"),
        ({"round": 4}, "round=4"),
        ({"step": 1}, "step=1"),
        ({"microbatch": 1}, "microbatch=1"),
        ({"kind": "gradient"}, "not gradient"),
    ],
)
def test_a_mailbox_opens_only_what_is_meant_for_it_now(sent, why):
    header = HEADER.model_copy(update={"round": 0} | sent)
    with pytest.raises(FrameError, match=why):
        Mailbox("b", "r").open(encode(header, {}), Moment(), "activation")


def test_a_mailbox_counts_its_frames():
    mailbox = Mailbox("a", "r")
    numbers = [read_header(mailbox.frame("data", "b", {}, Moment())[1]).sequence for _ in range(3)]
    assert numbers == [0, 1, 2]
