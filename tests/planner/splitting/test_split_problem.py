"""What a problem may hold, and what a hopeless one is told."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gaisnet.planner import SplitProblem, evaluate_split, solve_split
from tests.planner.splitting.oracle import OBJECTIVES


def uniform(device_count: int = 2, unit_count: int = 3, /, **changes: Any) -> dict[str, Any]:
    """Equal units of 10 bytes, and devices of 100 bytes with full links."""
    full = [[1.0] * device_count for _ in range(device_count)]
    return {
        "units": [{"forward_flops": 1, "param_bytes": 10, "output_bytes": 1}] * unit_count,
        "devices": [{"flops_per_s": 1, "memory_bytes": 100}] * device_count,
        "links": {"bandwidth_bytes_per_s": full, "latency_s": full, "joules_per_byte": full},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": []}, "at least 1 item"),
        ({"devices": []}, "at least 1 item"),
        ({"owner": 2}, "owner 2 is not one of the 2 devices"),
        ({"topology": "u_shape"}, "u_shape needs an owner"),
        ({"pin_first": 1}, "need an owner"),
        ({"owner": 0, "pin_last": 4}, "pin_last is 4, but there are 3 units"),
        ({"microbatches": 0}, "greater than or equal to 1"),
        ({"max_segments": 0}, "greater than or equal to 1"),
        ({"input_bytes": math.nan}, "finite number"),
        ({"mode": "both"}, "'inference' or 'training'"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_senseless_fields_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitProblem(**uniform(**changes))


@pytest.mark.parametrize("figure", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["forward_flops", "param_bytes", "output_bytes"])
def test_units_take_finite_figures_only(field: str, figure: float) -> None:
    unit = {"forward_flops": 1, field: figure}
    with pytest.raises(ValidationError, match=field):
        SplitProblem(**uniform(units=[unit]))


@pytest.mark.parametrize(
    ("field", "figure"),
    [
        ("flops_per_s", 0.0),
        ("flops_per_s", math.nan),
        ("memory_bytes", -1),
        ("memory_bytes", math.nan),
    ],
)
def test_devices_need_a_speed_and_a_memory(field: str, figure: float) -> None:
    device = {"flops_per_s": 1, "memory_bytes": 100, field: figure}
    with pytest.raises(ValidationError, match=field):
        SplitProblem(**uniform(devices=[device, device]))


@pytest.mark.parametrize(
    "rows", [[[1.0]], [[1.0, 1.0]], [[1.0, -1.0], [1.0, 1.0]], [[1, math.nan]] * 2]
)
def test_matrices_must_be_square_and_positive(rows: list[list[float]]) -> None:
    links = uniform()["links"] | {"bandwidth_bytes_per_s": rows}
    with pytest.raises(ValidationError, match="bandwidth_bytes_per_s"):
        SplitProblem(**uniform(links=links))


def test_numpy_matrices_are_welcome_and_the_file_form_round_trips() -> None:
    links = {name: np.array(rows) for name, rows in uniform()["links"].items()}
    problem = SplitProblem(**uniform(links=links))
    assert SplitProblem.model_validate_json(problem.model_dump_json()) == problem
    with pytest.raises(ValidationError, match="frozen"):
        problem.microbatches = 2  # type: ignore[misc]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_infinite_speed_bandwidth_and_memory_cost_nothing(objective: Any) -> None:
    device = {"flops_per_s": math.inf, "memory_bytes": math.inf}
    free = [[math.inf] * 2] * 2
    none = [[0.0] * 2] * 2
    links = {"bandwidth_bytes_per_s": free, "latency_s": none, "joules_per_byte": none}
    answer = solve_split(SplitProblem(**uniform(devices=[device] * 2, links=links)), objective)
    assert (answer.status, answer.value, answer.gap) == ("optimal", 0.0, 0.0)


@pytest.mark.parametrize("solver", ["exact", "milp", "subset_dp"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_unit_on_one_device(objective: Any, solver: Any) -> None:
    answer = solve_split(SplitProblem(**uniform(1, 1)), objective, solver=solver)
    assert answer.segments == [(0, 0, 0)]


def test_no_chain_over_devices_without_links() -> None:
    none = [[0.0] * 2] * 2
    links = {"bandwidth_bytes_per_s": none, "latency_s": none, "joules_per_byte": none}
    small = {"flops_per_s": 1, "memory_bytes": 20}
    problem = SplitProblem(**uniform(links=links, devices=[small, small]))
    answer = solve_split(problem, "latency")
    assert answer.status == "infeasible"
    assert answer.reason is not None
    assert "links" in answer.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": [{"flops_per_s": 1, "memory_bytes": 7}] * 2}, "unit 0 needs 10 bytes, 3 more"),
        ({"devices": [{"flops_per_s": 1, "memory_bytes": 12}] * 2}, "30 bytes, .* 6 too few"),
        (
            {"devices": [{"flops_per_s": 1, "memory_bytes": 20}] * 2, "max_segments": 1},
            r"1 devices \(max_segments 1\) have 10 too few",
        ),
        (
            {
                "devices": [{"flops_per_s": 1, "memory_bytes": m} for m in (15, 100)],
                "owner": 0,
                "pin_first": 2,
            },
            r"device 0, must hold units \[0, 1\] .* 5 bytes too small",
        ),
        (
            {
                "devices": [{"flops_per_s": 1, "memory_bytes": m} for m in (15, 100)],
                "owner": 0,
                "topology": "u_shape",
            },
            r"device 0, must hold units \[0, 2\] .* 5 bytes too small",
        ),
        ({"devices": [{"flops_per_s": 1, "memory_bytes": 15}] * 2}, "no order of devices"),
    ],
)
def test_infeasible_problems_say_why(changes: dict[str, Any], words: str) -> None:
    problem = SplitProblem(**uniform(**changes))
    for objective in OBJECTIVES:
        for solver in ("exact", "milp"):
            answer = solve_split(problem, objective, solver=solver)
            assert answer.status == "infeasible"
            assert answer.reason is not None
            assert re.search(words, answer.reason), answer.reason


@pytest.mark.parametrize("solver", ["exact", "milp", "subset_dp"])
def test_memory_that_is_exactly_enough_is_enough(solver: Any) -> None:
    thirds = [{"forward_flops": 1, "param_bytes": 0.1, "output_bytes": 1}] * 3
    exact = {"flops_per_s": 1, "memory_bytes": 0.1 + 0.1 + 0.1}
    problem = SplitProblem(**uniform(1, units=thirds, devices=[exact]))
    assert solve_split(problem, "latency", solver=solver).status == "optimal"
    assert evaluate_split(problem, [(0, 0, 2)]).violations == ()
    short = {"flops_per_s": 1, "memory_bytes": 0.3 - 1e-6}
    problem = SplitProblem(**uniform(1, units=thirds, devices=[short]))
    assert solve_split(problem, "latency", solver=solver).status == "infeasible"


def test_unknown_names_are_refused() -> None:
    problem = SplitProblem(**uniform())
    with pytest.raises(ValueError, match="objective must be one of"):
        solve_split(problem, "speed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="solver must be"):
        solve_split(problem, "latency", solver="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="12 devices, got 13"):
        solve_split(SplitProblem(**uniform(13)), "latency", solver="subset_dp")
