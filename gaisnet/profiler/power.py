"""Watts of this device, idle and busy, with their source.

RAPL's energy counters (Intel and AMD, readable by root on most systems) and NVML are measured;
elsewhere the CMOS model of mobile edge computing stands in: power = κ · f³ per core, with
κ = 10⁻²⁷ (Mao et al., "A Survey on Mobile Edge Computing", IEEE Comm. Surveys & Tutorials 19(4),
2017, section II-B). A model's watts serve to compare devices, not to bill anyone.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from gaisnet.schema.profile import Power

__all__ = ["cpu_power", "cuda_power", "modelled_cuda_power", "modelled_power"]

_KAPPA = 1e-27
_USUAL_HZ = 2.5e9
_IDLE_SHARE = 0.3
_IDLE_WINDOW_S, _GPU_IDLE_WINDOW_S = 0.2, 1.0
_MICRO = 1e-6
_WATTS_PER_MULTIPROCESSOR = 4.0
"""Board power over streaming multiprocessors: 3.7 (A100, 400 W / 108) to 6.1 (RTX 3060)."""
_GPU_IDLE_SHARE = 0.1


def cpu_power(
    busy: Callable[[], object], threads: int, powercap: Path = Path("/sys/class/powercap")
) -> Power:
    """Power of the CPU package while nothing runs and while ``busy`` runs.

    Args:
        busy: Some work of at least a tenth of a second.
        threads: Threads that ``busy`` uses; the model counts as many cores.
        powercap: Where the kernel shows RAPL's counters.
    """
    counters = sorted(powercap.glob("intel-rapl:*/energy_uj"))
    before = _joules(counters)
    if not counters or before is None:
        return modelled_power(threads)
    started = time.perf_counter()
    time.sleep(_IDLE_WINDOW_S)
    idle = _watts(counters, before, started)
    before, started = _joules(counters) or 0.0, time.perf_counter()
    busy()
    loaded = _watts(counters, before, started)
    if idle is None or loaded is None:
        return modelled_power(threads)
    return Power(idle_w=idle, busy_w=max(loaded, idle), source="rapl")


def cuda_power(busy: Callable[[], object], uuid: str) -> Power | None:
    """Power of a GPU by NVML's counter of joules, or ``None`` where that cannot be read.

    The counter moves every tenth of a second or so, and the watts that NVML tells are a mean over
    the last second: so both windows should be about a second long.

    Args:
        busy: Some work of about a second, all of it on the GPU.
        uuid: Of the GPU: NVML counts also those that this process may not use.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")

        def joules() -> float:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000

        idle = _mean_watts(joules, lambda: time.sleep(_GPU_IDLE_WINDOW_S))
        loaded = _mean_watts(joules, busy)
    except nvml.NVMLError:
        return None
    return Power(idle_w=idle, busy_w=max(idle, loaded), source="nvml")


def _mean_watts(joules: Callable[[], float], work: Callable[[], object]) -> float:
    before, started = joules(), time.perf_counter()
    work()
    return (joules() - before) / (time.perf_counter() - started)


def modelled_power(cores: int, clock_hz: float | None = None) -> Power:
    """Power of ``cores`` cores by the CMOS model, at the machine's clock rate if none is given."""
    rate = clock_hz or _clock_hz()
    busy_w = cores * _KAPPA * rate**3
    return Power(idle_w=_IDLE_SHARE * busy_w, busy_w=busy_w, source="model")


def modelled_cuda_power(multiprocessors: int) -> Power:
    """Power of a GPU whose counters cannot be read, from its number of multiprocessors."""
    busy_w = multiprocessors * _WATTS_PER_MULTIPROCESSOR
    return Power(idle_w=_GPU_IDLE_SHARE * busy_w, busy_w=busy_w, source="model")


def _clock_hz() -> float:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, RuntimeError, NotImplementedError):
        frequency = None
    return frequency.current * 1e6 if frequency and frequency.current else _USUAL_HZ


def _joules(counters: list[Path]) -> float | None:
    try:
        return sum(int(path.read_text()) for path in counters) * _MICRO
    except (OSError, ValueError):
        return None


def _watts(counters: list[Path], before: float, started: float) -> float | None:
    """``None`` also where a counter wrapped around in between."""
    after = _joules(counters)
    if after is None or after < before:
        return None
    return (after - before) / (time.perf_counter() - started)
