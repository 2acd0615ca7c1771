"""Options of ``gaisnet profile`` that belong together, and which of them exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaisnet.errors import UsageError
from gaisnet.options.together import check_belonging, check_one_asked

__all__ = ["Carry", "Other", "Sample", "check_asked"]


@dataclass(frozen=True)
class Other:
    """What can be asked for instead of a profile of a model or of this device."""

    list_presets: bool
    compare: tuple[Path, Path] | None
    listen: str | None
    insecure: bool
    """Of ``listen``."""
    link: str | None
    output: Path | None
    """Of ``compare`` and ``link``; presets are no file, and who listens writes none."""

    @property
    def asked(self) -> bool:
        """Whether it is."""
        return bool(self.list_presets or self.compare or self.listen or self.link)


@dataclass(frozen=True)
class Carry:
    """Times that are carried over to another device."""

    source: Path | None
    """``--from``: the profile that they stand in; else the model is timed now."""
    device: str | None
    """``--as``."""
    step: Path | None
    """``--calibrate``: a step timed on that device."""
    calibration: bool
    """``--calibration``: time such a step here, for elsewhere."""


@dataclass(frozen=True)
class Sample:
    """What leaks at the cuts, and on which data that is measured."""

    leakage: bool
    data: Path | None
    most: int


def check_asked(
    model: str | None, device_only: bool, other: Other, carry: Carry, sample: Sample
) -> None:
    """Refuse what cannot be done at once, and options without what they belong to.

    Raises:
        UsageError: There are such options, or nothing is asked for.
    """
    _check_carry(model, carry)
    ways: dict[str, Any] = {"model": model, "--device-only": device_only, "--from": carry.source}
    ways |= {"--list-presets": other.list_presets, "--compare": other.compare}
    ways |= {"--listen": other.listen, "--link": other.link}
    check_one_asked(ways, "name a model to profile", "or give --device-only or --list-presets")
    check_belonging("--leakage", sample.leakage, {"--data": sample.data}, {})
    check_belonging("a model", model, {}, {"--leakage": sample.leakage})
    check_belonging("--listen", other.listen, {}, {"--insecure": other.insecure})
    silent = "--list-presets" if other.list_presets else "--listen" if other.listen else None
    if silent is not None and other.output is not None:
        raise UsageError(f"{silent} writes no file", hint="leave out --output")


def _check_carry(model: str | None, carry: Carry) -> None:
    """Of what is carried over: the model or a profile, to a device, by a step that was timed there.

    Raises:
        UsageError: A part lacks what it belongs to, or stands beside what it excludes.
    """
    if carry.device is not None and model is None and carry.source is None:
        raise UsageError("--as needs times to extrapolate", hint="name a model, or give --from")
    belonging = {"--from": carry.source, "--calibrate": carry.step}
    check_belonging("--as", carry.device, {}, belonging)
    check_belonging("a model", model, {}, {"--calibration": carry.calibration})
    if carry.calibration and carry.device is not None:
        raise UsageError(
            "--calibration is taken on the device itself",
            hint="run it there, and give its file to --calibrate here",
        )
