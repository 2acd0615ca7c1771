"""The demo from end to end: the real commands on real digits, only smaller."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from examples.digits.commands import CommandFailed, gaisnet
from examples.digits.demo import main, make_room, run_demo
from examples.digits.files import JOB_TITLE, Setting
from examples.digits.outcome import Outcome, read_outcome
from examples.digits.pretrain import Recipe
from gaisnet.cli import app

SETTING = Setting(alpha=1.0, rounds=2, local_steps=10, learning_rate=1e-2)


class Demo:
    """What one run of the demo told and left behind."""

    def __init__(self, folder: Path, text: str, accuracies: dict[str, float]) -> None:
        self.folder = folder
        self.text = text
        self.accuracies = accuracies
        self.outcome: Outcome = read_outcome(folder, folder / "run")


def in_this_process(console: Console, *arguments: str | Path) -> None:
    """The same commands, spared three starts of Python and its imports."""
    words = [str(argument) for argument in arguments]
    console.print(f"$ gaisnet {' '.join(words)}", soft_wrap=True)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def demo(
    tiny_recipe: Recipe, letters_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    told = Console(file=io.StringIO(), width=120, highlight=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("examples.digits.demo.gaisnet", in_this_process)
        accuracies = run_demo(folder, SETTING, told, tiny_recipe, letters_cache)
    assert isinstance(told.file, io.StringIO)
    return Demo(folder, told.file.getvalue(), accuracies)


def test_the_devices_learn_digits(demo: Demo) -> None:
    assert demo.accuracies["before"] < 0.25, "a new head knows nothing"
    assert demo.accuracies["after"] > demo.accuracies["before"] + 0.25


def test_peft_split_inference_and_the_run_itself_agree_on_the_accuracy(demo: Demo) -> None:
    after = pytest.approx(demo.accuracies["after"], abs=1e-6)
    assert demo.outcome.rounds[-1].eval_accuracy == after
    assert demo.outcome.service_accuracy() == after
    before = pytest.approx(demo.accuracies["before"], abs=1e-6)
    assert demo.outcome.manifest.eval_accuracy_before == before
    assert sum(service.requests for service in demo.outcome.services) == 450


def test_no_device_holds_the_whole_model_and_all_fit(demo: Demo) -> None:
    devices = demo.outcome.plan.predictions.devices
    assert all(cluster.body for cluster in demo.outcome.plan.clusters)
    assert all(device.memory_bytes <= device.limit_bytes for device in devices)
    assert all(device.memory_bytes < device.whole_model_bytes for device in devices)


def test_the_data_centre_averages_but_holds_no_layer(demo: Demo) -> None:
    held = {stage.device for cluster in demo.outcome.plan.clusters for stage in cluster.body}
    assert demo.outcome.plan.cloud == "datacentre"
    assert "datacentre" not in held
    assert ("edge", "cloud") in demo.outcome.tier_traffic()


def test_it_tells_commands_figures_and_places(demo: Demo) -> None:
    for command in ("profile", "plan", "execute"):
        assert f"$ gaisnet {command} {demo.folder}" in demo.text
    after = f"{demo.accuracies['after']:.1%}"
    assert f"before, {after} after 2 rounds" in demo.text
    assert "Memory to tune with" in demo.text
    assert "Sent between tiers" in demo.text
    assert re.search(r"A round  [\d.]+ s predicted by the plan, [\d.]+ s on the fleet's", demo.text)
    for name in ("run/adapters/general", "run/report.html", "plan.json"):
        assert str(demo.folder / name) in demo.text
        assert (demo.folder / name).exists()


def test_tier_traffic_is_the_sum_over_links(demo: Demo) -> None:
    everything = (*demo.outcome.rounds, *demo.outcome.services)
    whole = sum(link.frame_bytes for metrics in everything for link in metrics.traffic)
    tiers = demo.outcome.tier_traffic().values()
    assert sum(sent.frame_bytes for sent in tiers) == whole > 0
    assert all(sent.payload_bytes < sent.frame_bytes for sent in tiers)


def test_a_failing_command_says_why_and_hands_its_exit_code_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandFailed) as failed:
        gaisnet(Console(file=io.StringIO()), "plan", tmp_path / "nothing.yaml")
    assert failed.value.exit_code == 10
    assert "nothing.yaml" in capfd.readouterr().err


def test_a_folder_with_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("thesis.txt", "fleet.yaml", "job.yaml"):
        (tmp_path / name).write_text("years of work")
    assert main(["--folder", str(tmp_path)]) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert "holds something else" in capsys.readouterr().out.replace("\n", " ")


def test_what_an_earlier_demo_left_makes_room(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(f"# {JOB_TITLE}\nname: half-written")
    make_room(tmp_path)
    assert not tmp_path.exists()
