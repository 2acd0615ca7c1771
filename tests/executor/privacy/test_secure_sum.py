"""Secure sums: exact, whoever is lost, and nothing to be seen in what is sent."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.errors import RunError, SecurityError
from gaisnet.executor.privacy.fixed_point import FRACTION_BITS, from_fixed, to_fixed
from gaisnet.executor.privacy.secure_sum import Contributor, unmasked_sum
from gaisnet.executor.secure_relay import threshold_of

WORDS = 7


class Sum:
    """The protocol among ``count`` contributors, step by step."""

    def __init__(
        self, count: int, threshold: int | None = None, seed: int = 0, silent: int = 0
    ) -> None:
        """``silent``: so many of them are lost before their keys come."""
        self.threshold = threshold or threshold_of(count)
        self.names = [f"owner-{i}" for i in range(count)]
        rng = np.random.default_rng(seed)
        self.values = {n: rng.integers(0, 2**64, WORDS, dtype=np.uint64) for n in self.names}
        self.people = {n: Contributor(n, "run/0/c0", self.threshold) for n in self.names}
        self.people = {n: self.people[n] for n in self.names[silent:]}
        self.keys = {n: person.keys() for n, person in self.people.items()}
        self.sealed = {n: person.shares(self.keys) for n, person in self.people.items()}

    def masked(self, names: list[str], sharing: list[str] | None = None) -> dict[str, np.ndarray]:
        """Values of ``names``, when shares of ``sharing`` (by default all) came."""
        sharing = sharing or self.names
        return {
            n: self.people[n].masked(
                self.values[n], {m: self.sealed[m][n] for m in sharing if m != n}
            )
            for n in names
        }

    def total(self, masked: dict[str, np.ndarray], revealing: list[str]) -> np.ndarray:
        reveals = {n: self.people[n].reveal(masked) for n in revealing}
        return unmasked_sum(masked, self.keys, reveals, "run/0/c0", self.threshold)

    def expected(self, names: list[str]) -> np.ndarray:
        return sum((self.values[n] for n in names), np.uint64(0))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), count=st.integers(3, 8))
def test_the_sum_is_exact_whoever_is_lost_above_the_threshold(data, count):
    """Lost before the keys, before the shares, before the values, or before the reveals."""
    silent = data.draw(st.integers(0, count - threshold_of(count)))
    run = Sum(count, seed=count, silent=silent)
    spare = count - silent - run.threshold
    gone = data.draw(st.permutations(run.names[silent:]))[:spare]
    a, b = sorted(data.draw(st.tuples(st.integers(0, spare), st.integers(0, spare))))
    sharing = [n for n in run.keys if n not in gone[:a]]
    sending = [n for n in sharing if n not in gone[a:b]]
    revealing = [n for n in sending if n not in gone[b:]]
    masked = run.masked(sending, sharing)
    assert np.array_equal(run.total(masked, revealing), run.expected(sending))


def test_one_lost_more_than_allowed_and_nothing_is_unmasked():
    run = Sum(5, threshold=4)
    masked = run.masked(run.names)
    with pytest.raises(SecurityError, match="3 of the 4"):
        run.total(masked, run.names[:3])


def test_who_sees_all_messages_of_the_sum_sees_no_summand():
    """Masked words are as good as uniform: the same value, many times masked, never recurs."""
    seen = []
    for seed in range(40):
        run = Sum(3)
        run.values = dict.fromkeys(run.names, np.zeros(WORDS, np.uint64))
        seen += [words for masked in [run.masked(run.names)] for words in masked.values()]
        assert seed >= 0
    words = np.stack(seen)
    assert len(np.unique(words)) == words.size
    ones = np.unpackbits(words.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 4 * 0.5 / (words.size * 64) ** 0.5


def test_nobody_masks_twice():
    """The difference of what one adds in two ways would be seen."""
    run = Sum(4)
    run.masked(["owner-0"])
    with pytest.raises(SecurityError, match="twice"):
        run.masked(["owner-0"])


@given(st.integers(3, 1000))
def test_the_threshold_is_two_thirds_and_never_so_few_that_they_do_not_hide_each_other(count):
    assert threshold_of(count) == max(3, math.ceil(2 * count / 3)) <= count


def test_nobody_answers_twice():
    """Seeds of one set of survivors and keys of another would open who is in only one."""
    run = Sum(4)
    masked = run.masked(run.names)
    run.people["owner-0"].reveal(masked)
    with pytest.raises(SecurityError, match="does not unmask"):
        run.people["owner-0"].reveal(run.names[:3])


@pytest.mark.parametrize("survivors", [["owner-0"], ["owner-0", "owner-1", "stranger"]])
def test_nobody_helps_to_unmask_a_sum_of_few_or_of_strangers(survivors):
    run = Sum(4)
    run.masked(run.names)
    with pytest.raises(SecurityError, match="does not unmask"):
        run.people["owner-0"].reveal(survivors)


def test_a_share_that_was_changed_or_meant_for_another_is_refused():
    run = Sum(3)
    good = {m: run.sealed[m]["owner-0"] for m in ("owner-1", "owner-2")}
    flipped = good | {"owner-1": good["owner-1"][:-1] + bytes([good["owner-1"][-1] ^ 1])}
    swapped = good | {"owner-1": run.sealed["owner-1"]["owner-2"]}
    for shares in (flipped, swapped, good | {"owner-1": b""}):
        with pytest.raises(SecurityError, match="not genuine"):
            run.people["owner-0"].masked(run.values["owner-0"], shares)


@pytest.mark.parametrize(("count", "threshold"), [(2, 2), (3, 2), (4, 2), (3, 4)])
def test_too_few_contributors_or_too_low_a_threshold_is_refused(count, threshold):
    with pytest.raises(SecurityError, match="do not hide each other"):
        Sum(count, threshold)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.integers(1, 10_000)), min_size=1, max_size=9
    )
)
def test_the_fixed_point_mean_is_the_mean_to_half_a_unit_a_contributor(parts):
    words = sum((to_fixed(np.array([x]), n) for x, n in parts), np.uint64(0))
    total = sum(n for _, n in parts)
    found = from_fixed(np.atleast_1d(words), total)[0]
    exact = sum(n * x for x, n in parts) / total
    assert abs(found - exact) <= len(parts) * 2.0 ** -(FRACTION_BITS + 1) / total + 1e-12


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**40])
def test_what_has_no_exact_fixed_point_is_refused(value):
    with pytest.raises(RunError, match="no exact fixed point"):
        to_fixed(np.array([0.5, value]), 3)
