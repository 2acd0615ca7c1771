"""Whatever a file or another device says: readers refuse it as documented, soon, and cheaply.

The same readers are fuzzed for longer by ``make fuzz``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.seeds import real_inputs
from fuzz.targets import TARGETS

quick = settings(
    max_examples=25, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[bytes]]:
    return real_inputs(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("target", TARGETS)
@quick
@given(noise=st.binary(max_size=200))
def test_noise_is_refused(target: str, noise: bytes):
    TARGETS[target](noise)


@pytest.mark.parametrize("target", TARGETS)
@quick
@given(data=st.data())
def test_what_is_nearly_right_is_refused_or_read(
    target: str, seeds: Mapping[str, list[bytes]], data: st.DataObject
):
    drawn = data.draw(st.tuples(st.integers(0, 100), st.integers(0, 2**32)))
    known = seeds.get(target, [b"{}"])
    TARGETS[target](damaged(known[drawn[0] % len(known)], random.Random(drawn[1])))


def damaged(seed: bytes, draw: random.Random) -> bytes:
    """A few bytes changed, a piece cut out, doubled or put elsewhere, or the end missing."""
    content = bytearray(seed)
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(content) + 1)
        end = min(len(content), begin + draw.randint(0, 40))
        piece, kind = bytes(content[begin:end]), draw.randrange(5)
        if kind == 0 and content:
            content[draw.randrange(len(content))] = draw.randrange(256)
        elif kind == 1:
            del content[begin:end]
        elif kind == 2:
            content[begin:begin] = piece * draw.randint(1, 50)
        elif kind == 3:
            place = draw.randrange(len(content) + 1)
            content[place:place] = draw.choice(HOSTILE)
        else:
            del content[begin:]
    return bytes(content)


HOSTILE = (
    b"null", b"-1", b"1e400", b"NaN", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"',
    b"\xff\xfe", b"&a [*a]", b"1152921504606846976", b'"F4"', b'"F8_E4M3"', b"{}", b"\0" * 9,
)  # fmt: skip
"""What readers stumble over: depth, digits, surrogates, claims of 2^60 bytes, unusual types."""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b"- " * 50_000]
)
def test_depth_and_digits_without_end_are_refused(target: str, text: bytes):
    TARGETS[target](text)


@pytest.mark.parametrize("target", ["frame", "shard-tensors", "shard-tokens", "leakage-sample"])
@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F8_E8M0", "C64", "U16", "U64", "F8_E5M2"])
def test_types_that_no_reader_takes_are_refused(target: str, dtype: str):
    table = {"pixel_values": {"dtype": dtype, "shape": [8, 1, 8, 8], "data_offsets": [0, 4096]}}
    text = json.dumps(table).encode()
    TARGETS[target](len(text).to_bytes(8, "little") + text + bytes(4096))
