"""Leakage, comparison and links from the command line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gaisnet.schema.files import read_model
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.profile import Profile
from tests.cli.bench import ENVIRONMENT, OWNERS, Answer, command, fleet, write_yaml

Here = Callable[..., Answer]
MODEL = ("vit", "--rank", "2", "--targets", "q_proj,v_proj", "--no-times", "--model-only")
DATA = f"{OWNERS[0]}.safetensors"


def test_leakage_stands_in_the_profile_and_in_its_views(here: Here, bench: Path) -> None:
    answer = here("profile", *MODEL, "--leakage", "--data", DATA, "-o", "leaking.json")
    assert answer.code == 0, answer.err
    made = read_model(bench / "leaking.json", Profile)
    assert made.model is not None
    assert [row.unit for row in made.model.leakage] == [0, 1, 2, 3]
    assert made.model.leakage[0].samples == 24
    assert "leakage on 24 samples will take about" in answer.err
    assert "inversion error" in answer.out
    assert here("report", "leaking.json", "-o", "leaking.html").code == 0
    assert 'aria-label="leakage by cut"' in (bench / "leaking.html").read_text()
    planned = here("plan", "job.yaml", "-q", "-o", "new.json")
    assert planned.code == 0, planned.err


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ((*MODEL, "--leakage"), 2, "--data"),
        ((*MODEL, "--data", DATA), 2, "--leakage"),
        (("--device-only", "--leakage", "--data", DATA), 2, "--leakage belongs to a model"),
        ((*MODEL, "--leakage", "--data", "none.safetensors"), 10, "none.safetensors"),
        ((*MODEL, "--leakage", "--data", "job.yaml"), 10, "safetensors file"),
        ((*MODEL, "--insecure"), 2, "--listen"),
        ((*MODEL, "--link", "127.0.0.1:9"), 2, "--link takes no model"),
        (("--listen", "0.0.0.0:0"), 22, "--insecure"),
        (("--listen", "nonsense"), 2, "no address"),
        (("--list-presets",), 2, "--list-presets writes no file"),
        (("--link", "127.0.0.1:nonsense"), 2, "no address"),
        (("--compare", "profile.json", "job.yaml"), 10, "job.yaml"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    here: Here, bench: Path, options: tuple[str, ...], code: int, word: str
) -> None:
    written = () if options[0] == "--listen" else ("-o", "new.json")
    answer = here("profile", *options, *written)
    assert answer.code == code, answer.err
    assert word in re.sub(r"\s+", " ", answer.err)
    assert not (bench / "new.json").exists()


def test_two_profiles_are_compared_for_people_and_programs(here: Here, bench: Path) -> None:
    text = (bench / "profile.json").read_text()
    (bench / "old.json").write_text(text)
    answer = here("profile", "--compare", "old.json", "profile.json", "--format", "json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["first"], found["second"]) == ("old.json", "profile.json")
    assert len(found["units"]) == 5
    assert not any(row["flops"]["differs"] for row in found["units"])
    assert {row["cut_bytes"]["ratio"] for row in found["units"]} == {1.0}
    assert "layers.2" in answer.err
    shown = here("profile", "--compare", "old.json", "profile.json")
    assert "first → second" in shown.out


def test_a_link_is_measured_between_two_processes_and_a_fleet_takes_it(
    here: Here, bench: Path
) -> None:
    listener = subprocess.Popen(
        command("profile", "--listen", "127.0.0.1:0", "--format", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert listener.stderr is not None
        found = re.search(r"listening on (\S+);", listener.stderr.readline())
        assert found is not None
        answer = here("profile", "--link", found[1], "-o", "link.json")
        assert answer.code == 0, answer.err
        listener.send_signal(signal.SIGINT)
        out, _ = listener.communicate(timeout=30)
    finally:
        listener.kill()
    assert listener.returncode == 0
    made = read_model(bench / "link.json", Profile)
    assert made.link is not None
    assert json.loads(out)["answered"] == [
        f"127.0.0.1: measured with {made.link.moved_bytes} bytes"
    ]
    snippet = yaml.safe_load(answer.out[answer.out.index("links:") :])
    snippet["links"][0]["between"] = ["phone", "edge-0"]
    write_yaml(bench / "linked.yaml", fleet() | snippet)
    link = read_model(bench / "linked.yaml", Fleet).links[0]
    assert link.bandwidth_bits_per_s == made.link.to_peer.bandwidth_bits_per_s
    assert link.latency_s == made.link.latency_s
    assert here("report", "link.json").code == 0


def test_nobody_at_the_other_end_says_how_to_begin(here: Here) -> None:
    answer = here("profile", "--link", "127.0.0.1:1")
    assert answer.code == 20
    assert "--listen 127.0.0.1:1" in answer.err
