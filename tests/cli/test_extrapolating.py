"""Times for other devices from the command line: ``--as``, ``--from``, ``--calibrate``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gaisnet.planner.cost import CostModel
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.files import canonical_json, read_model
from gaisnet.schema.fleet import Device, Fleet
from gaisnet.schema.job import Job
from gaisnet.schema.profile import ModelPart, Profile
from tests.cli.bench import Answer, fleet, write_yaml
from tests.extrapolation.synthetic import make_device, timed

Here = Callable[..., Answer]
MODEL = ("vit", "--rank", "2", "--targets", "q_proj,v_proj")
PRESET = "raspberry-pi-5-8gb"


@pytest.fixture
def measured(bench: Path) -> ModelPart:
    """The bench's profile with made-up times and a device, in ``measured.json``."""
    profile = read_model(bench / "profile.json", Profile)
    assert profile.model is not None
    part = timed(profile.model, [0.001 * (1 + unit) for unit in range(len(profile.model.units))])
    whole = Profile(device=make_device("here", speed=1e5, op_overhead_s=1e-5), model=part)
    (bench / "measured.json").write_text(canonical_json(whole))
    return part


@pytest.mark.usefixtures("measured")
def test_a_profile_is_carried_over_to_a_preset_and_says_so(here: Here, bench: Path) -> None:
    answer = here("profile", "--from", "measured.json", "--as", PRESET, "-o", "pi.json")
    assert answer.code == 0, answer.err
    made = read_model(bench / "pi.json", Profile)
    assert made.device is not None
    assert (made.device.name, made.device.origin) == (PRESET, "extrapolated")
    assert made.model is not None
    assert made.model.extrapolation is not None
    assert made.model.extrapolation.measured_on == "here"
    assert f"times of {PRESET} are extrapolated" in re.sub(r"\s+", " ", answer.out)
    assert "not known" in answer.out
    assert here("report", "pi.json", "-o", "pi.html").code == 0
    assert "extrapolated" in (bench / "pi.html").read_text()


def test_the_planner_gives_a_preset_the_times_of_as(
    here: Here, bench: Path, measured: ModelPart
) -> None:
    answer = here("profile", "--from", "measured.json", "--as", PRESET, "-o", "pi.json")
    assert answer.code == 0, answer.err
    made = read_model(bench / "pi.json", Profile)
    devices = (
        Device(id="named", tier="end", preset=PRESET),
        Device(id="given", tier="end", profile="pi.json"),
    )
    cost = CostModel.from_parts(
        read_model(bench / "job.yaml", Job),
        Fleet(devices=devices),
        measured,
        {"given": made},
        make_device("here", speed=1e5, op_overhead_s=1e-5),
    )
    last = cost.n_units - 1
    for size in (1, 2, 7):
        for work in (cost.forward_s, cost.backward_s, cost.energy_j):
            assert work("named", 0, last, size) == pytest.approx(work("given", 0, last, size))
    assert cost.update_s("named", 0, last) == pytest.approx(cost.update_s("given", 0, last))
    assert cost.forward_s("named", 0, last, 1) > 0.0


@pytest.mark.usefixtures("measured")
def test_a_plan_is_made_from_extrapolated_times(here: Here, bench: Path) -> None:
    assert here("profile", "--from", "measured.json", "--as", PRESET, "-o", "pi.json").code == 0
    job = (bench / "job.yaml").read_text().replace("profile.json", "measured.json")
    (bench / "job.yaml").write_text(job)
    document = fleet()
    carried, named, *_ = document["devices"]
    for device in (carried, named):
        del device["figures"]
    carried["profile"], named["preset"] = "pi.json", PRESET
    write_yaml(bench / "fleet.yaml", document)
    planned = here("plan", "job.yaml", "-o", "new.json", "-q")
    assert planned.code == 0, planned.err


@pytest.mark.usefixtures("measured")
def test_a_step_taken_there_calibrates(here: Here, bench: Path) -> None:
    taken = here("profile", *MODEL, "--calibration", "--batch-sizes", "1,2", "-o", "step.json")
    assert taken.code == 0, taken.err
    step = read_model(bench / "step.json", CalibrationStep)
    assert step.batch_size == 2
    assert "of CPU time" in taken.out
    answer = here(
        "profile", "--from", "measured.json", "--as", "measured.json",
        "--calibrate", "step.json", "--format", "json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["model"]["extrapolation"]
    assert told["calibrated_batch_size"] == 2
    assert told["calibration"] != 1.0


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--as", PRESET), 2, "--from"),
        (("--from", "measured.json"), 2, "--from belongs to --as"),
        ((*MODEL, "--from", "measured.json", "--as", PRESET), 2, "leave out one"),
        ((*MODEL, "--calibrate", "step.json"), 2, "--calibrate belongs to --as"),
        (("--calibration",), 2, "--calibration belongs to a model"),
        ((*MODEL, "--calibration", "--as", PRESET), 2, "on the device itself"),
        (("--from", "measured.json", "--as", "raspbery-pi-5"), 10, "did you mean raspberry-pi-5"),
        (("--from", "measured.json", "--as", "nowhere.json"), 10, "no such file"),
        (("--from", "measured.json", "--as", "profile.json"), 10, "no device part"),
        (("--from", "job.yaml", "--as", PRESET), 10, "job.yaml"),
        (("--from", "measured.json", "--as", PRESET, "--calibrate", "profile.json"), 10, "profile"),
    ],
)
def test_what_cannot_be_is_refused(
    here: Here, bench: Path, options: tuple[str, ...], code: int, word: str
) -> None:
    answer = here("profile", *options, "-o", "new.json")
    assert answer.code == code, answer.err
    assert word in re.sub(r"\s+", " ", answer.err)
    assert not (bench / "new.json").exists()


@pytest.mark.usefixtures("measured")
def test_a_step_of_another_model_is_a_mismatch(here: Here, bench: Path) -> None:
    assert here("profile", "vit", "--rank", "3", "--calibration", "-o", "step.json").code == 0
    asked = ("--from", "measured.json", "--as", PRESET, "--calibrate", "step.json")
    answer = here("profile", *asked)
    assert answer.code == 14
    assert "another tunable modules" in re.sub(r"\s+", " ", answer.err)
