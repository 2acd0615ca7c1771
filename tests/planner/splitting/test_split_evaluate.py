"""Figures and violations against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from gaisnet.planner import SplitProblem, evaluate_split


def two_devices(**changes: Any) -> SplitProblem:
    """Units of 10, 20, 30 flops (backward twice that); device 1 is five times as fast."""
    fields: dict[str, Any] = {
        "mode": "inference",
        "units": [
            {
                "forward_flops": flops,
                "backward_flops": 2 * flops,
                "param_bytes": 100,
                "activation_bytes": 11,
                "output_bytes": output,
            }
            for flops, output in ((10, 40), (20, 80), (30, 7))
        ],
        "devices": [
            {"flops_per_s": 10, "memory_bytes": 250, "joules_per_flop": 0.5},
            {"flops_per_s": 50, "memory_bytes": 333, "joules_per_flop": 2.0},
        ],
        "links": {
            "bandwidth_bytes_per_s": [[0, 20], [40, 0]],
            "latency_s": [[0, 0.25], [0.5, 0]],
            "joules_per_byte": [[0, 0.01], [0.03, 0]],
        },
        "owner": 0,
    }
    return SplitProblem(**{**fields, **changes})


def test_inference_chain_by_hand() -> None:
    found = evaluate_split(two_devices(microbatches=4), [(0, 0, 0), (1, 1, 2)])
    # 10/10 s on device 0, 0.25 + 40/20 s over the link, 50/50 s on device 1
    assert found.latency_s == pytest.approx(1 + 2.25 + 1)
    assert found.period_s == pytest.approx(2.25)
    assert found.makespan_s == pytest.approx(4.25 + 3 * 2.25)
    assert found.energy_j == pytest.approx(10 * 0.5 + 50 * 2 + 40 * 0.01)
    assert found.memory_bytes == (111, 222)
    assert found.violations == ()


def test_training_adds_the_backward_pass_and_the_gradients_way_back() -> None:
    found = evaluate_split(two_devices(mode="training"), [(0, 0, 0), (1, 1, 2)])
    transfer = (0.25 + 40 / 20) + (0.5 + 40 / 40)
    assert found.latency_s == pytest.approx(30 / 10 + transfer + 150 / 50)
    assert found.period_s == pytest.approx(transfer)
    assert found.energy_j == pytest.approx(30 * 0.5 + 150 * 2 + 40 * (0.01 + 0.03))


def test_raw_input_travels_once_to_a_foreign_first_device() -> None:
    problem = two_devices(send_input=True, input_bytes=100, mode="training")
    found = evaluate_split(problem, [(1, 0, 2)])
    assert found.latency_s == pytest.approx((0.25 + 100 / 20) + 180 / 50)
    assert found.period_s == pytest.approx(0.25 + 100 / 20)
    assert found.energy_j == pytest.approx(180 * 2 + 100 * 0.01)
    at_home = evaluate_split(problem, [(0, 0, 2)])
    assert at_home.latency_s == pytest.approx(180 / 10)


def test_the_owners_two_ends_add_up() -> None:
    found = evaluate_split(two_devices(topology="u_shape"), [(0, 0, 0), (1, 1, 1), (0, 2, 2)])
    assert found.violations == ()
    assert found.memory_bytes == (222, 111)
    assert found.period_s == pytest.approx(max(10 / 10 + 30 / 10, 0.5 + 80 / 40))


def test_items_are_fields() -> None:
    found = evaluate_split(two_devices(), [(1, 0, 2)])
    assert found["latency_s"] == found.latency_s
    with pytest.raises(KeyError):
        found["speed"]


@pytest.mark.parametrize(
    ("changes", "segments", "words"),
    [
        ({}, [(0, 0, 2)], ["device 0: needs 333 bytes and has 250, 83 too few"]),
        ({}, [(0, 0, 0)], ["units 1 to 2 are on no device"]),
        ({}, [(0, 0, 1), (1, 1, 2)], ["segment 1 on device 1 starts at unit 1 instead of 2"]),
        ({}, [(1, 0, 0), (0, 1, 1), (1, 2, 2)], ["device 1 holds segments [0, 2]"]),
        ({"pin_last": 1}, [(1, 0, 2)], ["pinned units [2] are on device 1, not on owner 0"]),
        ({"max_segments": 1}, [(0, 0, 0), (1, 1, 2)], ["2 segments, 1 are allowed"]),
        ({"topology": "u_shape"}, [(0, 0, 0), (1, 1, 2)], ["the last segment is on device 1"]),
        ({}, [(2, 0, 2)], ["segment 0: (2, 0, 2) names no device", "units 0 to 2 are on no"]),
    ],
)
def test_violations_name_what_is_wrong(
    changes: dict[str, Any], segments: list[tuple[int, int, int]], words: list[str]
) -> None:
    found = evaluate_split(two_devices(**changes), segments)
    assert len(found.violations) == len(words)
    for violation, word in zip(found.violations, words, strict=True):
        assert word in violation


def test_each_missing_link_is_named() -> None:
    links = {
        "bandwidth_bytes_per_s": [[0, 0], [0, 0]],
        "latency_s": [[0, 0], [0, 0]],
        "joules_per_byte": [[0, 0], [0, 0]],
    }
    problem = two_devices(links=links, mode="training", send_input=True, input_bytes=1)
    found = evaluate_split(problem, [(1, 0, 1), (0, 2, 2)])
    assert [words[:28] for words in found.violations] == [
        "no link from device 1 to 0 f",
        "no link from device 0 to 1 f",
        "no link from owner 0 to devi",
    ]
    assert found.latency_s == float("inf")
