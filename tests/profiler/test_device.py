"""The device part: measured figures are sane, limits come from the right file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gaisnet.errors import UsageError
from gaisnet.extrapolation.work import KINDS
from gaisnet.profiler import device_memory, profile_device
from gaisnet.profiler.clock import Instant, Ticker, fixed_threads, repeat, steady_s
from gaisnet.profiler.device_memory import memory_limit, runtime_bytes
from gaisnet.profiler.microbench import gemm_curve
from gaisnet.profiler.power import cpu_power, modelled_power
from gaisnet.profiler.statistics import spread_of
from gaisnet.schema.profile import DevicePart, Spread


@pytest.fixture(scope="module")
def part() -> Iterator[DevicePart]:
    """This machine, measured more briefly than a user would."""
    with pytest.MonkeyPatch.context() as patch:
        for budget in ("GEMM", "KERNEL", "BANDWIDTH", "OVERHEAD"):
            patch.setattr(f"gaisnet.profiler.device._{budget}_BUDGET_S", 0.05)
        yield profile_device(device="cpu")


def test_a_measured_device_has_every_figure(part: DevicePart) -> None:
    assert part.origin == "measured"
    assert part.kind == "cpu"
    assert part.threads == 1
    assert set(part.peak_flops_per_s) == set(part.sustained_flops_per_s)
    assert "float32" in part.peak_flops_per_s
    assert part.software["torch"] == torch.__version__
    assert DevicePart.model_validate_json(part.model_dump_json()) == part


def test_measured_figures_are_those_of_some_computer_of_this_age(part: DevicePart) -> None:
    for name, sustained in part.sustained_flops_per_s.items():
        assert 1e7 < sustained <= part.peak_flops_per_s[name] < 1e14
    assert 1e8 < part.memory_bandwidth_bytes_per_s < 1e13
    assert 1e-7 < part.op_overhead_s < 1e-2
    assert part.attention_efficiency is not None
    assert 1e-3 < part.attention_efficiency.forward < 1e2
    assert 1e-3 < part.attention_efficiency.backward < 1e2
    assert set(part.traffic_bytes_per_s) == {*KINDS, "update"}
    assert all(1e6 < speed < 1e14 for speed in part.traffic_bytes_per_s.values())
    assert 1 << 25 < part.runtime_bytes < part.memory_bytes
    assert 0 < part.power.idle_w <= part.power.busy_w


def test_progress_ends_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaisnet.profiler.device.runtime_bytes", lambda fresh: 1)
    monkeypatch.setattr("gaisnet.profiler.device._GEMM_BUDGET_S", 0.01)
    seen: list[float] = []
    profile_device(lambda what, done: seen.append(done), device="cpu")
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_product_counts_two_operations_per_multiply_add() -> None:
    points = gemm_curve(torch.device("cpu"), torch.float32, 0.01)
    work = {2 * point.rows * point.inner * point.columns for point in points}
    assert 2 * 256**3 in work
    assert {point.transformer for point in points} == {True, False}


def _machine(root: Path, *, total: int, group: str, files: dict[str, str]) -> tuple[Path, Path]:
    proc, cgroup = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:  {total // 1024} kB\nMemFree: 1 kB\n")
    (proc / "self" / "cgroup").write_text(group)
    for name, text in files.items():
        path = cgroup / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroup


_GIB = 1 << 30


@pytest.mark.parametrize(
    ("group", "files", "limit", "source"),
    [
        ("0::/app\n", {"app/memory.max": f"{_GIB}\n"}, _GIB, "cgroup-v2"),
        ("0::/a/b\n", {"a/memory.max": f"{_GIB}\n", "a/b/memory.max": "max\n"}, _GIB, "cgroup-v2"),
        ("0::/\n", {"memory.max": f"{_GIB}\n"}, _GIB, "cgroup-v2"),
        ("0::/app\n", {"app/memory.max": "max\n"}, 4 * _GIB, "meminfo"),
        (
            "9:cpu:/x\n4:memory:/box\n0::/\n",
            {"memory/box/memory.limit_in_bytes": f"{2 * _GIB}\n"},
            2 * _GIB,
            "cgroup-v1",
        ),
        ("4:memory:/box\n", {"memory/memory.limit_in_bytes": f"{_GIB}\n"}, _GIB, "cgroup-v1"),
        (
            "4:memory:/box\n",
            {"memory/box/memory.limit_in_bytes": "9223372036854771712\n"},
            4 * _GIB,
            "meminfo",
        ),
        ("0::/app\n", {"app/memory.max": f"{64 * _GIB}\n"}, 4 * _GIB, "meminfo"),
        ("", {}, 4 * _GIB, "meminfo"),
    ],
)
def test_the_tightest_limit_wins_and_is_named(
    group: str, files: dict[str, str], limit: int, source: str, tmp_path: Path
) -> None:
    proc, cgroup = _machine(tmp_path, total=4 * _GIB, group=group, files=files)
    found = memory_limit(proc, cgroup)
    assert (found.limit_bytes, found.source) == (limit, source)


def test_a_machine_that_hides_its_memory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError

    monkeypatch.setattr(device_memory.psutil, "virtual_memory", refuse)
    with pytest.raises(UsageError, match="cannot be read"):
        memory_limit(tmp_path, tmp_path)


def test_the_runtime_is_measured_in_this_process_where_no_other_can_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError

    monkeypatch.setattr(subprocess, "run", refuse)
    assert runtime_bytes() == pytest.approx(
        device_memory.psutil.Process().memory_info().rss, rel=0.05
    )


def test_a_process_that_holds_nothing_is_asked_itself_and_starts_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert 1 << 25 < runtime_bytes(fresh=True) < memory_limit().limit_bytes


def test_a_slow_device_is_not_asked_for_large_products() -> None:
    whole = gemm_curve(torch.device("cpu"), torch.float32, 60 * _TINY_S)
    hurried = gemm_curve(torch.device("cpu"), torch.float32, _TINY_S)
    assert len(hurried) < len(whole)
    assert {point.transformer for point in hurried} == {True, False}


_TINY_S = 1e-3


def test_power_without_counters_is_a_model_and_says_so(tmp_path: Path) -> None:
    power = cpu_power(lambda: None, 2, tmp_path)
    assert power.source == "model"
    assert power == modelled_power(2)


def test_modelled_power_grows_with_the_cube_of_the_clock() -> None:
    slow, fast = modelled_power(1, 1e9), modelled_power(1, 2e9)
    assert fast.busy_w == pytest.approx(8 * slow.busy_w)
    assert slow.busy_w == pytest.approx(1.0)
    assert modelled_power(4, 1e9).busy_w == pytest.approx(4 * slow.busy_w)


def test_power_by_rapl_is_joules_over_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("0")
    clock = iter([0.0, 1.0, 1.0, 3.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("time.sleep", lambda seconds: counter.write_text("5000000") and None)
    power = cpu_power(lambda: counter.write_text("25000000"), 1, tmp_path)
    assert (power.source, power.idle_w, power.busy_w) == ("rapl", 5.0, 10.0)


def test_a_counter_that_wrapped_around_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("9000000")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert cpu_power(lambda: counter.write_text("7"), 1, tmp_path).source == "model"


def test_processor_time_is_not_spent_while_waiting() -> None:
    ticker = Ticker()
    ticker.mark()
    torch.zeros(1)
    ticker.mark()
    (duration,) = ticker.intervals()
    assert duration.wall_s > 0
    assert Instant(3.0, 2.0) - Instant(1.0, 0.5) == Instant(2.0, 1.5)


def test_work_is_repeated_at_least_once_and_at_most_as_often_as_allowed() -> None:
    calls: list[int] = []
    assert len(repeat(lambda: calls.append(1), budget_s=0.0)) == 1
    assert len(calls) == 2
    assert len(repeat(lambda: None, budget_s=60.0, most=7)) == 7


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    with fixed_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_spread_is_half_of_what_nine_tenths_of_the_samples_span() -> None:
    spread = spread_of([float(i) for i in range(101)])
    assert (spread.median_s, spread.spread_s, spread.samples) == (50.0, 45.0, 101)
    assert spread_of([2.5]) == Spread(median_s=2.5, mean_s=2.5, spread_s=0.0, samples=1)


def test_two_speeds_of_one_core_are_both_in_the_mean_and_in_the_spread() -> None:
    spread = spread_of([1.0] * 6 + [2.0] * 4)
    assert spread.expected_s == pytest.approx(1.4)
    assert spread.spread_s == 0.5


def test_a_halted_machine_is_not_in_the_mean() -> None:
    assert spread_of([1.0, 2.0, 3.0, 4.0, 100.0]).mean_s == 2.5


def test_what_disturbs_a_run_does_not_make_the_device_slower() -> None:
    busy = [Instant(9.0, 1.1), Instant(1.2, 1.2), Instant(50.0, 1.0), Instant(7.0, 6.0)]
    assert steady_s(busy) == 1.1
    threaded = [Instant(1.0, 4.0)] * 3
    assert steady_s(threaded) == 1.0


def test_a_busy_machine_still_gets_its_least_runs() -> None:
    assert len(repeat(lambda: None, budget_s=0.0, least=5)) == 5
