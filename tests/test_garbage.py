"""What is imported is left out of collections, and nothing else is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from gaisnet.garbage import nothing_collected


class Node:
    """May refer to itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_what_a_block_leaves_is_not_looked_at_again_and_what_comes_later_is():
    with nothing_collected():
        assert not gc.isenabled()
        before = weakref.ref(Node())
    assert gc.isenabled()
    after = weakref.ref(Node())
    gc.collect()
    assert before() is not None
    assert after() is None


def test_a_collector_that_was_off_stays_off_and_an_error_passes():
    gc.disable()
    with pytest.raises(ImportError), nothing_collected():
        raise ImportError
    assert not gc.isenabled()
