"""Two profiles side by side."""

from __future__ import annotations

import pytest
from rich.console import Console

from gaisnet.errors import MismatchError
from gaisnet.report.comparison import Comparison, compare_profiles, comparison_view
from gaisnet.schema.profile import Profile, Spread, UnitPart
from tests.report import subjects

NAMES = ("a.json", "b.json")


def changed(**changes: object) -> Profile:
    """The sample profile with its second unit changed."""
    profile = subjects.profile()
    assert profile.model is not None
    units = list(profile.model.units)
    units[1] = units[1].model_copy(update=changes)
    part = profile.model.model_copy(update={"units": tuple(units)})
    return profile.model_copy(update={"model": part})


def slower(by_s: float, spread_s: float) -> Profile:
    profile = subjects.profile()
    assert profile.model is not None
    timing = profile.model.units[1].timings[0]
    spent = Spread(median_s=timing.forward_cpu.median_s + by_s, spread_s=spread_s, samples=3)
    return changed(timings=(timing.model_copy(update={"forward_cpu": spent}),))


def compared(second: Profile) -> Comparison:
    return compare_profiles(subjects.profile(), second, NAMES)


def shown(found: Comparison) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(comparison_view(found))
    console.file.close()
    return console.export_text()


def test_a_profile_is_the_same_as_itself() -> None:
    found = compared(subjects.profile())
    figures = [
        figure
        for row in found.model_dump(mode="json")["units"]
        for name, figure in row.items()
        if name != "unit"
    ]
    assert len(figures) == 3 * 4
    assert not any(figure["differs"] for figure in figures)
    assert {figure["ratio"] for figure in figures} == {1.0}
    assert "→" not in shown(found).replace("first → second", "")


def test_counts_differ_by_any_difference() -> None:
    found = compared(changed(forward_flops=1_000_001, output_bytes=6 * 1024))
    row = found.units[1]
    assert row.flops.differs
    assert row.cut_bytes.ratio == 2
    assert not row.memory_bytes.differs
    line = next(line for line in shown(found).splitlines() if "layers.0" in line)
    assert "3 KiB → 6 KiB ×2" in line
    total = next(line for line in shown(found).splitlines() if "total" in line)
    assert total.split()[:5] == ["total", "3", "M", "→", "3"]
    assert "KiB" not in total


def test_memory_is_weights_gradients_optimizer_and_saved() -> None:
    extra = {"gradient_bytes": 10, "optimizer_bytes": 20, "saved_activation_bytes": 2**20 + 3}
    change = compared(changed(**extra)).units[1].memory_bytes
    assert change.first is not None
    assert change.second == change.first + 33


@pytest.mark.parametrize(("by_s", "differs"), [(0.4e-3, False), (0.6e-3, True)])
def test_times_differ_only_beyond_their_spread(by_s: float, differs: bool) -> None:
    found = compared(slower(by_s, spread_s=0.5e-3))
    assert found.batch_size == 1
    assert found.units[1].time_s.differs is differs
    line = next(line for line in shown(found).splitlines() if "layers.0" in line)
    assert ("→" in line) is differs
    assert ("≈" in line) is not differs


def test_a_unit_that_only_one_has_is_shown_alone() -> None:
    found = compared(changed(name="other.layers.9"))
    assert [row.unit for row in found.units] == ["emb", "vit.layers.0", "head", "other.layers.9"]
    assert found.units[3].flops.first is None
    assert found.units[3].flops.differs
    assert found.units[3].flops.ratio is None


def test_devices_are_compared_where_both_have_one() -> None:
    assert subjects.profile().device is not None
    fast = subjects.profile().device.model_copy(  # type: ignore[union-attr]
        update={"sustained_flops_per_s": {"float32": 4e11}}
    )
    found = compared(Profile(device=fast))
    assert found.device["sustained float32"].ratio == 4
    assert found.units == ()
    assert "400 GFLOP/s" in shown(found)


def test_without_a_common_batch_size_there_are_no_times() -> None:
    profile = subjects.profile()
    assert profile.model is not None

    def resized(unit: UnitPart) -> UnitPart:
        timing = unit.timings[0].model_copy(update={"batch_size": 8})
        return unit.model_copy(update={"timings": (timing,)})

    part = profile.model.model_copy(update={"units": tuple(map(resized, profile.model.units))})
    found = compared(profile.model_copy(update={"model": part}))
    assert found.batch_size is None
    assert found.units[0].time_s.first is None
    assert not found.units[0].time_s.differs


def test_profiles_without_a_common_part_are_refused() -> None:
    whole = subjects.profile()
    device, model = Profile(device=whole.device), Profile(model=whole.model)
    with pytest.raises(MismatchError, match=r"a\.json and b\.json"):
        compare_profiles(device, model, NAMES)
