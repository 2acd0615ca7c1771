"""The device part of a profile: what this machine can do, measured in under ten seconds."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
from typing import Literal

import torch

from gaisnet.models.accelerator import usual_place
from gaisnet.profiler.clock import fixed_threads
from gaisnet.profiler.device_memory import cuda_runtime_bytes, memory_limit, runtime_bytes
from gaisnet.profiler.kernels import attention_flops_per_s, efficiency, traffic_bytes_per_s
from gaisnet.profiler.microbench import (
    bandwidth_bytes_per_s,
    busy_work,
    gemm_curve,
    op_overhead_s,
    usable_dtypes,
)
from gaisnet.profiler.power import cpu_power, cuda_power, modelled_cuda_power
from gaisnet.progress import Progress, silent
from gaisnet.schema.profile import DevicePart, Power

__all__ = ["device_name", "profile_device", "software_versions"]

_GEMM_BUDGET_S = 0.8
_BANDWIDTH_BUDGET_S = 0.6
_OVERHEAD_BUDGET_S = 0.2
_KERNEL_BUDGET_S = 0.6
_BUSY_S, _GPU_BUSY_S = 0.3, 1.0
_LIBRARIES = ("torch", "transformers", "peft", "numpy", "gaisnet")


def profile_device(
    progress: Progress | None = None,
    *,
    device: str | None = None,
    threads: int = 1,
    fresh: bool = False,
) -> DevicePart:
    """Measure this device.

    The peak is the best of the square matrix products, the sustained speed the median of a
    transformer's products, both by type.

    Args:
        progress: Told what is being measured.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        threads: CPU threads to measure with.
        fresh: Whether this process holds no model yet; see ``runtime_bytes``.

    Returns:
        The device part, ``origin: measured``.
    """
    show = progress or silent
    place = torch.device(usual_place(device))
    show("runtime", 0.0)
    cuda = place.type == "cuda"
    resident = cuda_runtime_bytes(place) if cuda else runtime_bytes(fresh=fresh)
    with fixed_threads(threads):
        show("matrix products", 0.0)
        speeds = _speeds(place)
        show("attention and functions", 0.4)
        attention = attention_flops_per_s(place, _KERNEL_BUDGET_S)
        traffic = traffic_bytes_per_s(place, _KERNEL_BUDGET_S)
        show("memory", 0.5)
        limit, source = _memory(place)
        bandwidth = bandwidth_bytes_per_s(place, _BANDWIDTH_BUDGET_S)
        overhead = op_overhead_s(place, _OVERHEAD_BUDGET_S)
        show("power", 0.7)
        power = _power(place, threads)
    part = DevicePart(
        name=device_name(place),
        kind="cuda" if cuda else "cpu",
        origin="measured",
        source=f"microbenchmarks, torch {torch.__version__}",
        peak_flops_per_s={name: peak for name, (peak, _) in speeds.items()},
        sustained_flops_per_s={name: sustained for name, (_, sustained) in speeds.items()},
        memory_bandwidth_bytes_per_s=bandwidth,
        memory_bytes=limit,
        memory_source=source,
        op_overhead_s=overhead,
        attention_efficiency=efficiency(attention, speeds["float32"][1]),
        traffic_bytes_per_s=traffic,
        power=power,
        threads=threads,
        runtime_bytes=resident,
        software=software_versions(),
    )
    show("done", 1.0)
    return part


def software_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide speed and memory."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _speeds(place: torch.device) -> dict[str, tuple[float, float]]:
    """Peak and sustained FLOP/s by name of the type."""
    found = {}
    for dtype in usable_dtypes(place):
        curve = gemm_curve(place, dtype, _GEMM_BUDGET_S)
        peak = max(point.flops_per_s for point in curve)
        sustained = statistics.median(p.flops_per_s for p in curve if p.transformer)
        found[str(dtype).removeprefix("torch.")] = (peak, sustained)
    return found


def _memory(
    place: torch.device,
) -> tuple[int, Literal["cgroup-v2", "cgroup-v1", "meminfo", "cuda"]]:
    if place.type == "cuda":
        return int(torch.cuda.mem_get_info(place)[1]), "cuda"
    limit = memory_limit()
    return limit.limit_bytes, limit.source


def _power(place: torch.device, threads: int) -> Power:
    if place.type == "cuda":
        card = torch.cuda.get_device_properties(place)
        measured = cuda_power(busy_work(place, _GPU_BUSY_S), str(card.uuid))
        return measured or modelled_cuda_power(card.multi_processor_count)
    return cpu_power(busy_work(place, _BUSY_S), threads)


def device_name(place: torch.device) -> str:
    """What the device is called, by its vendor."""
    if place.type == "cuda":
        return str(torch.cuda.get_device_name(place))
    return _cpu_model() or platform.processor() or platform.machine()


def _cpu_model() -> str | None:
    """The processor's name as Linux shows it; elsewhere ``None``."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        return None
    return None
