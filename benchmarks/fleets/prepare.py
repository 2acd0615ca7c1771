"""Profiles, fleet, job and plan of a case, made by the commands that a user gives."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file

from benchmarks.fleets.cases import Case
from benchmarks.fleets.control import controlled
from gaisnet.links import fleet_link
from gaisnet.models import load_model
from gaisnet.schema.files import read_model
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.profile import Profile
from tests.cluster.network import Network
from tests.cluster.nodes import GAISNET, environment

__all__ = ["prepare", "usual_s"]

_CONTROL = "control.json"
_PORT = 6555
_LIMIT_S, _LISTENS_S = 300.0, 2.0


def prepare(case: Case, network: Network, folder: Path) -> None:
    """Write all that ``gaisnet execute`` needs into ``folder``; what is there stays."""
    if (folder / "plan.json").exists():
        return
    (folder / "model.json").write_text(json.dumps(case.model))
    _write_data(case, folder)
    with controlled() as control_s:
        _write_profiles(case, network, folder)
    (folder / _CONTROL).write_text(json.dumps(statistics.median(control_s)))
    pairs = combinations(case.machines, 2)
    links = [_link(network, pair, folder) for pair in pairs]
    fleet = {"devices": [case.device(name) for name in case.machines], "links": links}
    (folder / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    (folder / "job.yaml").write_text(yaml.safe_dump(case.job))
    words = ["plan", str(folder / "job.yaml"), "-o", str(folder / "plan.json"), "--quiet"]
    _run(network, next(iter(case.machines)), words)


def usual_s(folder: Path) -> float:
    """CPU seconds of the piece of work of ``controlled`` while the profiles were taken."""
    return float(json.loads((folder / _CONTROL).read_text()))


def _write_data(case: Case, folder: Path) -> None:
    model = load_model(ModelSpec(source=str(folder / "model.json")))
    for seed, (name, machine) in enumerate(case.machines.items()):
        if machine.samples:
            inputs = model.example_inputs(machine.samples, seed=seed)
            save_file(inputs, folder / f"{name}.safetensors")


def _write_profiles(case: Case, network: Network, folder: Path) -> None:
    """One of every kind of machine; those of a kind share it."""
    made: dict[bool, Path] = {}
    for name, machine in case.machines.items():
        path = folder / f"{name}.json"
        if machine.slowed in made:
            path.write_bytes(made[machine.slowed].read_bytes())
            continue
        if not path.exists():
            sizes = f"1,{case.batch_size // case.microbatches}"
            words = ["profile", str(folder / "model.json"), "--batch-sizes", sizes, "--quiet"]
            _run(network, name, [*words, "-o", str(path)], case.settings(name))
        made[machine.slowed] = path


def _link(network: Network, pair: tuple[str, str], folder: Path) -> dict[str, Any]:
    """As the fleet has it: measured from the first of two machines to the second."""
    output = folder / f"link-{'-'.join(pair)}.json"
    if not output.exists():
        _measure_link(network, *pair, output)
    part = read_model(output, Profile).link
    assert part is not None
    return fleet_link(part, pair).model_dump(mode="json", exclude_defaults=True)


def _measure_link(network: Network, here: str, there: str, output: Path) -> None:
    place = f"{network.address(there)}:{_PORT}"
    words = [GAISNET, "profile", "--listen", place, "--insecure", "--quiet"]
    other = subprocess.Popen(network.command(there, words), env=environment())
    try:
        time.sleep(_LISTENS_S)
        _run(network, here, ["profile", "--link", place, "-o", str(output), "--quiet"])
    finally:
        other.send_signal(signal.SIGINT)
        other.wait(_LIMIT_S)


def _run(
    network: Network, name: str, words: Sequence[str], settings: Mapping[str, str] | None = None
) -> None:
    done = subprocess.run(
        network.command(name, [GAISNET, *words]),
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
        env=environment() | dict(settings or {}),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
