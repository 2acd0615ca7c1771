"""Distance correlation against its definition, and where its value is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaisnet.profiler.leakage.distance import (
    centred,
    distance_correlation,
    distances,
    null_distance_correlation,
    token_distances,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlation(first: Tensor, second: Tensor) -> float:
    return distance_correlation(centred(distances(first)), centred(distances(second)))


def by_definition(first: list[list[float]], second: list[list[float]]) -> float:
    """Székely and Rizzo 2014, definition 2 and equations 3.1 and 3.2, sum by sum."""

    def table(rows: list[list[float]]) -> list[list[float]]:
        n = range(len(rows))
        a = [[math.dist(rows[k], rows[i]) for i in n] for k in n]
        row = [sum(a[k]) / (len(a) - 2) for k in n]
        column = [sum(a[k][i] for k in n) / (len(a) - 2) for i in n]
        grand = sum(map(sum, a)) / ((len(a) - 1) * (len(a) - 2))
        return [[(a[k][i] - row[k] - column[i] + grand) * (i != k) for i in n] for k in n]

    def covariance(a: list[list[float]], b: list[list[float]]) -> float:
        return sum(x * y for r, s in zip(a, b, strict=True) for x, y in zip(r, s, strict=True))

    a, b = table(first), table(second)
    scale = math.sqrt(covariance(a, a) * covariance(b, b))
    return math.sqrt(max(0.0, covariance(a, b)) / scale) if scale > 0 else 0.0


@settings(deadline=None, max_examples=20)
@given(n=st.integers(4, 9), d=st.integers(1, 4), e=st.integers(1, 4), seed=st.integers(0, 99))
def test_it_is_the_definition(n: int, d: int, e: int, seed: int) -> None:
    x, y = normal(n, d, seed=seed), normal(n, e, seed=seed + 100)
    wanted = by_definition(x.tolist(), y.tolist())
    assert correlation(x, y) == pytest.approx(wanted, abs=1e-5)


def test_a_copy_moved_scaled_and_turned_has_one() -> None:
    x = normal(30, 5)
    turn = torch.linalg.qr(normal(5, 5, seed=1)).Q
    assert correlation(x, 3 * x @ turn + 7) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dimensions", [1, 20, 1000])
def test_independent_samples_have_none_in_any_dimension(dimensions: int) -> None:
    squares, null = [], 0.0
    for seed in range(20):
        x = centred(distances(normal(60, dimensions, seed=seed)))
        noise = centred(distances(normal(60, dimensions, seed=seed + 100)))
        squares.append(distance_correlation(x, noise) ** 2)
        null = null_distance_correlation(x, noise, seed)
    assert sum(squares) / len(squares) < 0.03
    assert null < 0.2


def test_rows_of_centred_distances_sum_to_zero() -> None:
    table = centred(distances(normal(12, 3)))
    torch.testing.assert_close(table.sum(0), torch.zeros(12).double(), atol=1e-9, rtol=0)
    assert not table.diagonal().any()


def test_a_dependence_without_correlation_stands_above_the_null() -> None:
    x = normal(200, 1)
    a, b = centred(distances(x)), centred(distances(x.square()))
    assert distance_correlation(a, b) > 3 * null_distance_correlation(a, b, 0)


def test_what_does_not_vary_has_none() -> None:
    assert correlation(torch.ones(9, 3), normal(9, 3)) == 0


def test_tokens_are_as_far_apart_as_their_one_hot_encodings() -> None:
    tokens = torch.randint(5, (12, 7), generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(tokens, 5)
    torch.testing.assert_close(token_distances(tokens), distances(one_hot), atol=1e-6, rtol=0)
