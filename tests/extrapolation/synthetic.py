"""Devices and models by hand, whose times can be computed on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.profile import (
    AttentionEfficiency,
    DevicePart,
    EndToEnd,
    FlopWitnesses,
    ModelPart,
    PassWork,
    Power,
    Spread,
    Timing,
    UnitPart,
)

__all__ = ["make_device", "make_model", "make_step", "make_unit", "spread", "timed"]

KINDS = ("move", "norm", "gelu", "silu", "tanh", "softmax")


def make_device(name: str = "there", speed: float = 1.0, **changes: Any) -> DevicePart:
    """A device that is ``speed`` times as fast as the plainest, at everything."""
    figures: dict[str, Any] = {
        "name": name,
        "kind": "cpu",
        "origin": "measured",
        "source": "by hand",
        "peak_flops_per_s": {"float32": 2e6 * speed},
        "sustained_flops_per_s": {"float32": 1e6 * speed},
        "memory_bandwidth_bytes_per_s": 1e5 * speed,
        "memory_bytes": 10**9,
        "memory_source": "meminfo",
        "op_overhead_s": 1e-3 / speed,
        "attention_efficiency": AttentionEfficiency(forward=0.5, backward=0.25),
        "traffic_bytes_per_s": {kind: 1e4 * (1 + i) * speed for i, kind in enumerate(KINDS)},
        "power": Power(idle_w=1.0, busy_w=2.0, source="model"),
    }
    return DevicePart(**(figures | changes))


def make_unit(index: int = 1, **changes: Any) -> UnitPart:
    """A unit with every kind of work in both passes."""
    work = PassWork(
        operators=10,
        sample_bytes={"move": 500, "gelu": 300, "product": 100},
        fixed_bytes={"norm": 40, "product": 1000},
    )
    figures: dict[str, Any] = {
        "name": f"unit-{index}",
        "kind": "block",
        "parameters": 100,
        "tunable_parameters": 10,
        "forward_flops": 100_000,
        "attention_flops": 20_000,
        "backward_flops": 150_000,
        "witnesses": FlopWitnesses(),
        "weight_bytes": 400,
        "gradient_bytes": 40,
        "optimizer_bytes": 88,
        "saved_activation_bytes": 100,
        "output_bytes": 64,
        "gradient_output_bytes": 64,
        "operators": 10,
        "forward_work": work,
        "backward_work": work.model_copy(update={"operators": 25}),
        "tunable_tensors": 2,
    }
    return UnitPart(**(figures | changes))


def make_model(units: Sequence[UnitPart] | None = None, **changes: Any) -> ModelPart:
    """A model that was not timed."""
    figures: dict[str, Any] = {
        "model": ModelSpec(source="tiny.json"),
        "tunable": LoraSpec(),
        "architecture": "Tiny",
        "fingerprint": "0" * 64,
        "optimizer": "adamw",
        "tokens": 8,
        "input_bytes": 64,
        "side_input_bytes": 0,
        "label_bytes": 8,
        "units": tuple(units) if units is not None else (make_unit(0), make_unit(1), make_unit(2)),
    }
    return ModelPart(**(figures | changes))


def spread(seconds: float, samples: int = 9) -> Spread:
    """A measurement with a spread of a tenth."""
    return Spread(median_s=seconds, spread_s=seconds / 10, samples=samples)


def timed(
    model: ModelPart,
    seconds: Sequence[float],
    kappa: float = 1.0,
    sizes: Sequence[int] = (1, 4),
    fixed_s: float = 0.0,
) -> ModelPart:
    """The model with times: unit ``u`` takes ``seconds[u]`` a sample forward, twice that back,
    half of it to update; forward costs ``fixed_s`` more whatever the batch."""
    units = tuple(
        unit.model_copy(
            update={
                "timings": tuple(
                    Timing(
                        batch_size=size,
                        forward=spread(99.0),
                        backward=spread(99.0),
                        forward_cpu=spread(fixed_s + size * s),
                        backward_cpu=spread(2 * size * s),
                    )
                    for size in sizes
                ),
                "update": spread(99.0),
                "update_cpu": spread(s / 2),
            }
        )
        for unit, s in zip(model.units, seconds, strict=True)
    )
    checks = tuple(
        EndToEnd(
            batch_size=size,
            step=spread(99.0),
            step_cpu=spread(kappa * sum(seconds) * (3 * size + 0.5)),
            sum_s=99.0,
            sum_cpu_s=sum(seconds) * (3 * size + 0.5),
            kappa=kappa,
        )
        for size in sizes
    )
    return model.model_copy(update={"units": units, "end_to_end": checks, "stage_overhead_s": 0.01})


def make_step(seconds: float, **changes: Any) -> CalibrationStep:
    """A calibration step of ``make_model`` that took so long."""
    figures: dict[str, Any] = {
        "device": "there",
        "fingerprint": "0" * 64,
        "tunable": LoraSpec(),
        "optimizer": "adamw",
        "tokens": 8,
        "batch_size": 4,
        "step": spread(2 * seconds),
        "step_cpu": spread(seconds),
    }
    return CalibrationStep(**(figures | changes))
