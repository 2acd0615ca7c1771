"""The table of experiments: what is run, and how it is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from examples.digits import experiments
from examples.digits.experiments import ALPHAS, SCHEMES, SEEDS, Row, measure
from examples.digits.files import Setting
from examples.digits.fleet import END_DEVICES
from examples.digits.pretrain import Recipe


def row(accuracy: float, **changes: object) -> Row:
    setting = Setting(**changes)  # type: ignore[arg-type]
    return Row(
        setting=setting,
        accuracy=accuracy,
        end_device_bytes=3 * 2**20,
        server_bytes=2**20,
        sent_bytes=2**19,
        round_s=0.5,
        label_distance=0.25,
    )


def test_every_skew_is_run_with_five_seeds_and_both_kinds_of_owners() -> None:
    ran = {(s.intra, s.alpha, s.seed) for s in experiments._skew_settings()}
    assert ran == {(i, a, s) for i in ("sequential", "merge") for a in ALPHAS for s in SEEDS}
    assert {math.inf, 0.1} <= set(ALPHAS)
    assert len(SEEDS) == 5


def test_every_way_to_cluster_is_run_with_every_seed() -> None:
    ran = experiments._clustering_settings()
    assert len(ran) == len(set(ran)) == len(SEEDS) * len(experiments.CLUSTERS) * 3
    assert {s.policy for s in ran} == {"mix", "similar"}
    assert {s.label_weight for s in ran} == {0.0, 1.0}


def test_every_scheme_is_run_on_the_same_data() -> None:
    ran = experiments._scheme_settings()
    assert tuple(setting.scheme for setting in ran) == SCHEMES
    assert len({(setting.alpha, setting.seed, setting.rounds) for setting in ran}) == 1
    samples = {s.local_steps * (1 if s.scheme == "central" else len(END_DEVICES)) for s in ran}
    assert len(samples) == 1, "all see as many samples"


def test_the_page_gives_the_median_and_every_seed() -> None:
    accuracies = (0.5, 0.9, 0.6, 0.8, 0.7)
    rows = [
        row(accuracy, intra=intra, alpha=alpha, seed=seed)
        for intra in ("sequential", "merge")
        for alpha in ALPHAS
        for seed, accuracy in enumerate(accuracies)
    ]
    grouped = [
        row(accuracy - (0.1 if "similar" in changes.values() else 0.0), clusters=n, **changes)
        for n in experiments.CLUSTERS
        for changes in experiments.GROUPINGS.values()
        for accuracy in accuracies
    ]
    page = experiments._document(rows, grouped, [row(0.25, scheme="fl")])
    assert page.count("| 0.25 | **60.0%** | 40.0% 80.0% 50.0% 70.0% 60.0% |") == 1
    assert "| 4 | labels ignored | 0.25 | **70.0%** |" in page
    assert "better than `similar` for 5 of 5 seeds and worse for 0" in page
    assert "+10.0 percentage points" in page
    assert page.count("| **70.0%** | 50.0% 90.0% 60.0% 80.0% 70.0% |") == 6 + 2
    assert "| sequential | even (IID) |" in page
    assert "| merge | α = 0.1 |" in page
    assert "| fl | 25.0% | 3.0 | 1.0 | 0.5 | 0.50 |" in page
    assert "make experiments" in page


@pytest.mark.parametrize("scheme", ["hfsl", "central"])
def test_a_run_is_measured_from_its_own_files(
    tiny_recipe: Recipe, letters_cache: Path, tmp_path: Path, scheme: str
) -> None:
    memory = next(s.memory for s in experiments._scheme_settings() if s.scheme == scheme)
    setting = Setting(alpha=1.0, rounds=1, local_steps=1, scheme=scheme, memory=memory)
    found = measure(setting, tmp_path / "run", tiny_recipe, letters_cache)
    assert found.setting == setting
    assert 0.0 < found.accuracy < 1.0
    assert found.sent_bytes > 0
    assert found.round_s > 0.0
    assert 0.0 <= found.label_distance <= 1.0
    assert 0 < found.end_device_bytes <= 3.5 * 2**20, "what the largest of them has"
