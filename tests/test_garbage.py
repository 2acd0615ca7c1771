"""What is imported is left out of collections, and nothing else is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from gaisnet.garbage import leave_alone, nothing_collected


class Node:
    """May refer to itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_while_a_block_imports():
    with nothing_collected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_there_is_is_left_alone_and_what_comes_later_is_not():
    gc.collect()
    gc.disable()
    before = weakref.ref(Node())
    leave_alone()
    after = weakref.ref(Node())
    gc.collect()
    assert before() is not None
    assert after() is None


def test_a_collector_that_was_off_stays_off_and_an_error_passes():
    gc.disable()
    with pytest.raises(ImportError), nothing_collected():
        raise ImportError
    assert not gc.isenabled()
