"""Which vectors are kept of many: held against the definition, pair by pair."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.search.front import dominates, knee, undominated

VECTORS = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.tuples(*[st.integers(0, 4).map(float)] * n), min_size=1, max_size=12)
)


@settings(deadline=None)
@given(VECTORS)
def test_the_front_is_all_that_nothing_dominates_each_value_once(
    vectors: list[tuple[float, ...]],
) -> None:
    kept = [vectors[index] for index in undominated(vectors)]
    expected = {v for v in vectors if not any(dominates(other, v) for other in vectors)}
    assert set(kept) == expected
    assert len(kept) == len(expected)
    assert kept == sorted(kept)


@settings(deadline=None)
@given(VECTORS)
def test_everything_left_out_is_dominated_by_or_equal_to_something_kept(
    vectors: list[tuple[float, ...]],
) -> None:
    kept = [vectors[index] for index in undominated(vectors)]
    assert all(any(k == v or dominates(k, v) for k in kept) for v in vectors)


TRIPLES = st.lists(st.tuples(*[st.integers(0, 2).map(float)] * 2), min_size=3, max_size=3)


@settings(deadline=None)
@given(TRIPLES)
def test_dominance_is_a_strict_partial_order(vectors: list[tuple[float, ...]]) -> None:
    a, b, c = vectors
    assert not dominates(a, a)
    assert not (dominates(a, b) and dominates(b, a))
    assert dominates(a, c) or not (dominates(a, b) and dominates(b, c))


@settings(deadline=None)
@given(VECTORS)
def test_the_front_does_not_depend_on_the_order(vectors: list[tuple[float, ...]]) -> None:
    backward = vectors[::-1]
    assert [vectors[i] for i in undominated(vectors)] == [
        backward[i] for i in undominated(backward)
    ]


@settings(deadline=None)
@given(VECTORS)
def test_the_knee_is_undominated_and_does_not_depend_on_units(
    vectors: list[tuple[float, ...]],
) -> None:
    front = [vectors[index] for index in undominated(vectors)]
    found = knee(front)
    assert not any(dominates(other, front[found]) for other in front)
    doubled = [tuple(2.0 * x for x in vector) for vector in front]
    assert knee(doubled) == found


def test_the_knee_is_the_plan_that_gives_up_least() -> None:
    assert knee([(0.0, 10.0), (1.0, 1.0), (10.0, 0.0)]) == 1
