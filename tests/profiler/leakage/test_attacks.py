"""The attacks on smashed data of which it is known what it gives away."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from gaisnet.profiler.leakage import Crossing, measure_cut
from gaisnet.profiler.leakage.inversion import invert, relative_error
from gaisnet.profiler.leakage.pairs import pieces, split_samples
from gaisnet.profiler.leakage.ridge import principal_components, ridge
from gaisnet.profiler.leakage.tokens import recover


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_identity_leaks_everything() -> None:
    inputs = normal(80, 6)
    row = measure_cut(0, Crossing(inputs, None), inputs)
    assert row.inversion_error < 1e-6
    assert row.distance_correlation == pytest.approx(1)
    assert row.label_auc_norm is None


def test_independent_noise_leaks_nothing() -> None:
    row = measure_cut(0, Crossing(normal(120, 6, seed=1), None), normal(120, 6))
    assert 0.9 < row.inversion_error < 1.1
    assert row.distance_correlation == pytest.approx(row.distance_correlation_null, abs=0.1)


def test_half_of_the_dimensions_leak_half() -> None:
    inputs = normal(200, 8)
    found = invert(inputs[:, :4], inputs, split_samples(200, 0), 0)
    assert found.error == pytest.approx(0.5, abs=0.08)
    assert 0 < found.stderr < 0.05


def test_noise_on_the_smashed_data_raises_the_error_to_wiener_s() -> None:
    inputs = normal(400, 4)
    found = invert(inputs + normal(400, 4, seed=1), inputs, split_samples(400, 0), 0)
    assert found.error == pytest.approx(0.5, abs=0.06)


def test_a_network_reads_what_no_linear_map_can() -> None:
    signs = normal(600, 2)
    smashed = torch.stack([signs[:, 0].square(), signs[:, 1].square()], 1)
    found = invert(smashed, smashed.sqrt(), split_samples(600, 0), 0)
    assert found.attack == "mlp"
    assert found.error < 0.05


def test_patches_teach_what_whole_images_cannot() -> None:
    """A random map of each patch, and fewer images than an image has pixels."""
    images = normal(24, 1, 16, 16)
    patches = pieces(images, 16)
    assert patches is not None
    smashed = torch.cat([normal(24, 1, 20), patches @ normal(16, 20, seed=2)], 1)
    found = invert(smashed, images, split_samples(24, 0), 0)
    assert found.attack == "position_ridge"
    assert found.error < 1e-3


def test_what_does_not_vary_leaks_nothing() -> None:
    halves = split_samples(20, 0)
    assert invert(torch.ones(20, 3), normal(20, 2), halves, 0).error == 1
    assert invert(normal(20, 3), torch.ones(20, 2), halves, 0).error == 1


def test_pieces_are_patches_row_by_row_and_stretches_of_sound() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    cut = pieces(image, 4)
    assert cut is not None
    assert cut[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    sound = torch.arange(12.0).reshape(1, 2, 6)
    cut = pieces(sound, 3)
    assert cut is not None
    assert cut[0].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert pieces(image, 5) is None
    assert pieces(image, 9) is None
    assert pieces(sound, 4) is None


@settings(deadline=None, max_examples=15)
@given(n=st.integers(6, 25), f=st.integers(1, 12), seed=st.integers(0, 99))
def test_ridge_is_some_ridge_of_scikit_learn(n: int, f: int, seed: int) -> None:
    """For one of the penalties that are tried."""
    rows, targets = normal(n, f, seed=seed), normal(n, 2, seed=seed + 1)
    rows, targets = (part.double() - part.double().mean(0) for part in (rows, targets))
    components = principal_components(rows, 100)
    ours, largest = ridge(rows, targets, components), float(components.eigenvalues[0])
    candidates = [
        torch.tensor(
            Ridge(largest * 10.0**power, fit_intercept=False, solver="svd")
            .fit(rows.numpy(), targets.numpy())
            .coef_.T
        )
        for power in range(-12, 3)
    ]
    distance = min(float((ours - c).abs().max()) for c in (*candidates, torch.zeros_like(ours)))
    assert distance < 1e-4


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    guessed = 1 + normal(2000, 40).abs()
    attacked = 0.4 * guessed + 0.2 * normal(2000, 40, seed=1)
    found = [relative_error(a, g) for a, g in zip(attacked, guessed, strict=True)]
    spread = torch.tensor([ratio for ratio, _ in found]).std()
    stated = torch.tensor([stderr for _, stderr in found]).mean()
    assert float(stated / spread) == pytest.approx(1, abs=0.1)


def tokens(vocabulary: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.randint(vocabulary, (60, 9), generator=torch.Generator().manual_seed(0))
    ids[:, ::3] = 7
    return ids, torch.ones_like(ids).bool(), normal(vocabulary, 16, seed=3)


def test_embedded_tokens_are_recovered_and_noise_gives_the_majority() -> None:
    ids, real, table = tokens()
    halves = split_samples(60, 0)
    told = recover(table[ids] + normal(9, 16, seed=4), ids, real, halves, None, 0)
    assert told.accuracy == 1
    assert told.inversion.error == 0
    blind = recover(normal(60, 9, 16, seed=5), ids, real, halves, table, 0)
    assert blind.majority == pytest.approx(1 / 3 + 2 / 3 / 20, abs=0.05)
    assert blind.inversion.error > 0.9


def test_the_table_of_embeddings_finds_tokens_never_seen() -> None:
    ids, real, table = tokens()
    halves = split_samples(60, 0)
    unseen = ids.clone()
    unseen[halves.held_out] += 20
    table = normal(40, 16, seed=3)
    smashed = table[unseen] @ normal(16, 16, seed=6)
    with_table = recover(smashed, unseen, real, halves, table, 0)
    assert with_table.inversion.attack == "ridge"
    assert with_table.accuracy > 0.5
    assert recover(smashed, unseen, real, halves, None, 0).accuracy == 0


def test_padding_is_not_among_the_tokens_recovered() -> None:
    ids, real, table = tokens()
    smashed = table[ids]
    padded = real.clone()
    padded[:, 5:] = False
    smashed[:, 5:] = 0
    assert recover(smashed, ids, padded, split_samples(60, 0), None, 0).accuracy == 1
