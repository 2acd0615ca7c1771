"""The catalogue: real devices, plausible figures, stated sources and assumptions."""

from __future__ import annotations

import re

import pytest

from gaisnet.errors import InputError
from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.profile import DevicePart

every_preset = pytest.mark.parametrize("name", preset_names())


def test_the_catalogue_spans_boards_phones_laptops_servers_and_cards() -> None:
    assert len(preset_names()) >= 20
    families = {name.split("-")[0] for name in preset_names()}
    assert {"raspberry", "jetson", "phone", "laptop", "server", "cloud", "rtx", "t4"} <= families


@every_preset
def test_a_preset_is_a_device_part_with_source_year_and_reason(name: str) -> None:
    part = preset(name)
    assert part.name == name
    assert part.origin == "preset"
    assert part.memory_source == part.power.source == "datasheet"
    assert re.search(r"\b20[12][0-9]\b", part.source)
    assert "Assumed:" in part.source


@every_preset
def test_figures_are_in_the_range_of_real_hardware(name: str) -> None:
    part = preset(name)
    for dtype, peak in part.peak_flops_per_s.items():
        assert 0.2 * peak <= part.sustained_flops_per_s[dtype] <= 0.8 * peak
    assert 1e10 <= part.peak_flops_per_s["float32"] <= 1e14
    assert part.peak_flops_per_s.get("float16", 1e15) >= part.peak_flops_per_s["float32"]
    assert 1e9 <= part.memory_bandwidth_bytes_per_s <= 4e12
    assert 2**29 <= part.memory_bytes <= 2**39
    assert part.runtime_bytes < part.memory_bytes
    assert part.power.idle_w < part.power.busy_w <= 700


def gflops_per_watt(part: DevicePart) -> float:
    return part.peak_flops_per_s["float32"] / part.power.busy_w / 1e9


@every_preset
def test_no_device_is_more_efficient_than_hardware_is(name: str) -> None:
    assert 1 <= gflops_per_watt(preset(name)) <= 500


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean t4-16gb"):
        preset("T4")
    with pytest.raises(InputError, match="did you mean raspberry-pi-5"):
        preset("rasberry-pi-5")
    with pytest.raises(InputError, match="--list-presets"):
        preset("zzz")
