"""The files of the example: valid, consistent with one another, and leaking no test data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from examples.digits.files import Setting, write_job_folder
from examples.digits.fleet import END_DEVICES, SITES
from examples.digits.pretrain import Recipe
from gaisnet.schema.catalogue import preset_names
from gaisnet.schema.files import read_model, sha256_file
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.job import Job


@pytest.fixture(scope="module")
def folder(
    tiny_recipe: Recipe, letters_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    written = tmp_path_factory.mktemp("job") / "demo"
    write_job_folder(written, Setting(), tiny_recipe, letters_cache)
    return written


def images(path: Path) -> Counter[bytes]:
    """How often each image stands in a file (a few digits are drawn identically)."""
    return Counter(image.numpy().tobytes() for image in load_file(path)["pixel_values"])


def test_fleet_and_job_are_valid_and_name_files_that_exist(folder: Path) -> None:
    fleet = read_model(folder / "fleet.yaml", Fleet)
    job = read_model(folder / "job.yaml", Job)
    named = [job.fleet, job.model.source, job.evaluation]
    named += [service.data for service in job.services]
    named += [device.data.path for device in fleet.devices if device.data is not None]
    assert all(name is not None and (folder / name).exists() for name in named)
    assert not (folder / job.profile).exists(), "that is for `gaisnet profile` to write"


def test_eight_unequal_devices_own_data_and_each_is_in_the_catalogue(folder: Path) -> None:
    fleet = read_model(folder / "fleet.yaml", Fleet)
    owners = [device for device in fleet.devices if device.data is not None]
    assert len(owners) == len({device.preset for device in owners}) == 8
    assert {device.preset for device in fleet.devices} <= set(preset_names())
    assert {device.tier for device in fleet.devices} == {"end", "edge", "cloud"}


def test_the_fleet_tells_each_share_as_it_is(folder: Path) -> None:
    for device in read_model(folder / "fleet.yaml", Fleet).devices:
        if device.data is None or device.data.path is None:
            continue
        labels = load_file(folder / device.data.path)["labels"]
        histogram = tuple(torch.bincount(labels, minlength=10).tolist())
        assert device.data.label_histogram == histogram
        assert device.data.samples == len(labels)


def test_no_held_out_digit_is_in_a_share(folder: Path) -> None:
    shares = sum((images(folder / f"shares/{name}.safetensors") for name in END_DEVICES), Counter())
    held_out = images(folder / "heldout/all.safetensors")
    assert sum(shares.values()) + sum(held_out.values()) == 1797
    assert sum((shares & held_out).values()) == 0


def test_the_user_groups_ask_for_all_held_out_digits_between_them(folder: Path) -> None:
    asked = [images(folder / f"heldout/users-{site}.safetensors") for site in SITES]
    assert sum(asked, Counter()) == images(folder / "heldout/all.safetensors")
    assert all(asked)


def test_the_same_setting_writes_the_same_bytes(
    folder: Path, tiny_recipe: Recipe, letters_cache: Path, tmp_path: Path
) -> None:
    def digests(root: Path) -> dict[str, str]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): sha256_file(path) for path in files}

    write_job_folder(tmp_path / "again", Setting(), tiny_recipe, letters_cache)
    assert digests(tmp_path / "again") == digests(folder)


def test_images_are_what_the_model_takes(folder: Path) -> None:
    tensors: dict[str, Tensor] = load_file(folder / "heldout/all.safetensors")
    assert tensors["pixel_values"].shape == (450, 1, 8, 8)
    assert tensors["pixel_values"].dtype == torch.float32
    assert tensors["labels"].dtype == torch.int64
