"""A run from its files: what it leaves behind, how it ends, and how it goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gaisnet.errors import (
    InputError,
    InterruptedRunError,
    MismatchError,
    ModelError,
    RunError,
    UsageError,
)
from gaisnet.executor.run import execute
from gaisnet.schema.files import sha256_file
from gaisnet.schema.job import AdamWSpec, Service
from gaisnet.schema.model import LoraSpec
from gaisnet.schema.plan import Route
from gaisnet.schema.run import Event
from tests.executor.hfsl import cluster
from tests.executor.jobs import lines, write_job

CLUSTERS = [
    cluster("c0", {"a": 8, "b": 8}, [1, 2, 4]),
    cluster("c1", {"c": 8}, [1, 3], edge="edge-1"),
]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A plan that is only read."""
    return make_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def finished(job):
    """A run of it, undisturbed."""
    return execute(job)


def make_job(folder: Path, **options: object) -> Path:
    given = {
        "services": [Service(id="ask", rate_per_s=1.0, data="held-out.safetensors")],
        "routes": [Route(service="ask", cluster="c0", entry="a")],
        "optimizer": AdamWSpec(learning_rate=0.01),
    }
    return write_job(folder, CLUSTERS, cloud="sky", **(given | options))


def copied(job: Path, folder: Path) -> Path:
    """The job's files in a folder of their own, without runs."""
    shutil.copytree(job.parent, folder, ignore=shutil.ignore_patterns("*-run"), dirs_exist_ok=True)
    return folder / job.name


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def accept(plan: Path, name: str) -> None:
    """Make the plan agree with an input that was edited."""
    content = json.loads(plan.read_text())
    content["inputs"][name]["sha256"] = sha256_file(plan.parent / f"{name}.json")
    plan.write_text(json.dumps(content))


def test_a_run_leaves_everything_behind(job, finished):
    assert finished.run_dir == job.parent / "test-run"
    manifest = finished.manifest
    assert (manifest.status, manifest.rounds_done, manifest.rounds) == ("done", 3, 3)
    assert (finished.run_dir / manifest.plan_path).resolve() == job.resolve()
    assert manifest.adapters == {"general": "adapters/general"}
    assert (finished.run_dir / "adapters/general/adapter_model.safetensors").is_file()
    assert json.loads((finished.run_dir / "manifest.json").read_text()) == manifest.model_dump(
        mode="json"
    )
    assert len(lines(finished.run_dir / "metrics.jsonl")) == 3
    kept = sorted(path.name for path in (finished.run_dir / "checkpoints").iterdir())
    assert kept == ["round-2", "round-3"]
    answers = json.loads((finished.run_dir / "answers/ask.json").read_text())
    assert len(answers) == 12
    assert lines(finished.run_dir / "services.jsonl")[0]["requests"] == 12
    assert not list(finished.run_dir.rglob(".*"))


def test_a_run_says_what_the_model_could_do_before_tuning(tmp_path, job, finished):
    before = finished.manifest.eval_accuracy_before, finished.manifest.eval_loss_before
    assert None not in before
    plan = copied(job, tmp_path)
    with pytest.raises(InterruptedRunError):
        execute(plan, on_event=StopAt("round_started", 2, KeyboardInterrupt()))
    resumed = execute(None, resume=plan.parent / "test-run").manifest
    assert (resumed.eval_accuracy_before, resumed.eval_loss_before) == before
    assert before[1] != finished.metrics[0].eval_loss


def test_metrics_hold_losses_times_and_traffic(finished):
    first, *_, last = finished.metrics
    assert [m.round for m in finished.metrics] == [0, 1, 2]
    assert last.train_loss < first.train_loss
    assert all(0 <= m.eval_accuracy <= 1 and m.eval_loss > 0 for m in finished.metrics)
    assert all(m.virtual_s > 0 and m.wall_s > 0 for m in finished.metrics)
    links = {(t.sender, t.receiver) for t in last.traffic}
    assert {("a", "c0-body0"), ("edge-0", "sky"), ("sky", "edge-1")} <= links
    (service,) = finished.services
    assert service.service == "ask"
    assert 0 <= service.accuracy <= 1
    # Three hops of a millisecond each, and a little computing.
    assert 0.003 < service.virtual_s < 0.02


def test_events_are_numbered_and_handed_on(tmp_path, job):
    seen: list[Event] = []
    result = execute(copied(job, tmp_path), rounds=1, on_event=seen.append)
    assert [event.kind for event in seen] == [
        "run_started",
        "round_started",
        "checkpoint_written",
        "round_closed",
        "service_answered",
        "run_done",
    ]
    written = [Event.model_validate(line) for line in lines(result.run_dir / "events.jsonl")]
    assert written == seen
    assert [event.sequence for event in seen] == list(range(6))


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path, job, finished):
    again = execute(copied(job, tmp_path / "a"))
    assert again.manifest.tunable_sha256 == finished.manifest.tunable_sha256
    assert fingerprint(again.run_dir) == fingerprint(finished.run_dir)
    other = execute(copied(job, tmp_path / "b"), seed=1)
    assert other.manifest.tunable_sha256 != finished.manifest.tunable_sha256


def fingerprint(run_dir: Path) -> dict[str, str]:
    """Of the last checkpoint: hashes of modules and of optimizer states, and the cursors."""
    return json.loads((run_dir / "checkpoints/round-3/state.json").read_text())


class StopAt:
    """Raises at an event."""

    def __init__(self, kind: str, round_index: int, error: BaseException) -> None:
        self._at, self._error = (kind, round_index), error

    def __call__(self, event: Event) -> None:
        if (event.kind, event.round) == self._at:
            raise self._error


@pytest.mark.parametrize("kind", ["round_started", "checkpoint_written", "round_closed"])
@pytest.mark.parametrize("round_index", [0, 2])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, job, finished, kind, round_index):
    plan = copied(job, tmp_path)
    with pytest.raises(InterruptedRunError, match="interrupted after") as caught:
        execute(plan, on_event=StopAt(kind, round_index, KeyboardInterrupt()))
    run_dir = plan.parent / "test-run"
    assert caught.value.exit_code == 130
    assert f"gaisnet execute --resume {run_dir}" in caught.value.hint
    assert json.loads((run_dir / "manifest.json").read_text())["status"] == "interrupted"
    result = execute(None, resume=run_dir)
    assert fingerprint(run_dir) == fingerprint(finished.run_dir)
    assert result.manifest.tunable_sha256 == finished.manifest.tunable_sha256
    assert result.manifest.status == "done"
    assert [m.train_loss for m in result.metrics] == [m.train_loss for m in finished.metrics]
    assert [m.traffic for m in result.metrics] == [m.traffic for m in finished.metrics]
    sequences = [line["sequence"] for line in lines(run_dir / "events.jsonl")]
    assert sequences == list(range(len(sequences)))


def test_a_finished_run_can_be_given_more_rounds(tmp_path, job, finished):
    plan = copied(job, tmp_path)
    execute(plan, rounds=1)
    result = execute(None, resume=plan.parent / "test-run", rounds=3)
    assert result.manifest.tunable_sha256 == finished.manifest.tunable_sha256


def test_invariant_13_killed_at_any_moment_it_resumes_bit_for_bit(tmp_path, job, finished):
    """kill −9 of a real process, twice at random moments of its life, then to the end."""
    plan = copied(job, tmp_path)
    run_dir = plan.parent / "test-run"
    command = [sys.executable, "-m", "tests.executor.run_slowly", str(plan)]
    chance = random.Random(os.environ.get("PYTEST_RANDOM_SEED", "13"))
    for _ in range(2):  # two lives are enough here: each takes seconds to start
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        wait_for(run_dir / "events.jsonl", process)
        time.sleep(chance.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    (run_dir / "checkpoints/.tmp-half").mkdir(parents=True, exist_ok=True)
    result = execute(plan, resume=run_dir)
    assert not list(run_dir.rglob(".tmp*"))
    assert fingerprint(run_dir) == fingerprint(finished.run_dir)
    assert result.manifest.tunable_sha256 == finished.manifest.tunable_sha256
    assert [m.train_loss for m in result.metrics] == [m.train_loss for m in finished.metrics]


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    size = path.stat().st_size if path.exists() else 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.01)


def test_a_damaged_checkpoint_is_passed_over(tmp_path, job, finished):
    plan = copied(job, tmp_path)
    with pytest.raises(InterruptedRunError):
        execute(plan, on_event=StopAt("round_closed", 1, KeyboardInterrupt()))
    run_dir = plan.parent / "test-run"
    broken = run_dir / "checkpoints/round-2/optimizers.safetensors"
    data = bytearray(broken.read_bytes())
    data[-1] ^= 1
    broken.write_bytes(data)
    seen: list[Event] = []
    execute(None, resume=run_dir, on_event=seen.append)
    assert seen[0].detail == "1 of 3 rounds are done; round-2 is damaged"
    assert fingerprint(run_dir) == fingerprint(finished.run_dir)


def test_a_full_disk_keeps_the_checkpoint_and_says_how_to_go_on(
    tmp_path, job, finished, monkeypatch
):
    plan = copied(job, tmp_path)
    run_dir = plan.parent / "test-run"
    real = os.fsync

    def full(descriptor: int) -> None:
        if (run_dir / "checkpoints/round-1").exists():
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device") as caught:
        execute(plan)
    assert caught.value.exit_code == 20
    assert f"go on with `gaisnet execute --resume {run_dir}`" in caught.value.hint
    names = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert names == ["round-1"]
    monkeypatch.setattr(os, "fsync", real)
    result = execute(None, resume=run_dir)
    assert result.manifest.tunable_sha256 == finished.manifest.tunable_sha256


def test_a_diverging_run_fails_with_a_way_to_go_on(tmp_path):
    plan = make_job(tmp_path, optimizer=AdamWSpec(learning_rate=1e30))
    with pytest.raises(RunError, match="the loss") as caught:
        execute(plan)
    assert caught.value.exit_code == 20
    assert "--resume" in caught.value.hint
    manifest = json.loads((tmp_path / "test-run/manifest.json").read_text())
    assert manifest["status"] == "failed"


# What is refused before anything is written.


@pytest.mark.parametrize("name", ["job", "fleet", "profile"])
def test_a_file_that_changed_since_the_plan_was_made_is_a_mismatch(tmp_path, job, name):
    plan = copied(job, tmp_path)
    path = tmp_path / f"{name}.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(MismatchError, match=f"the {name} has changed") as caught:
        execute(plan)
    assert caught.value.exit_code == 14
    assert not (tmp_path / "test-run").exists()


def test_a_missing_input_is_a_mismatch(tmp_path, job):
    plan = copied(job, tmp_path)
    (tmp_path / "profile.json").unlink()
    with pytest.raises(MismatchError, match="the profile that the plan was made from is not there"):
        execute(plan)


def test_a_missing_or_malformed_plan_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        execute(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputError):
        execute(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cloud": "mars"}, "cloud mars is no device"),
        ({"n_units": 7}, None),
        ({"model_fingerprint": "f" * 64}, "for another model"),
    ],
)
def test_a_plan_for_something_else_is_a_mismatch(tmp_path, job, change, why):
    plan = copied(job, tmp_path)
    edited(plan, **change)
    with pytest.raises((MismatchError, InputError), match=why):
        execute(plan)


@pytest.mark.parametrize("field", ["owner", "shard", "edge", "body"])
def test_a_device_that_the_fleet_lacks_is_named(tmp_path, job, field):
    plan = copied(job, tmp_path)
    content = json.loads(plan.read_text())
    first = content["clusters"][0]
    if field == "owner":
        first["owners"][0]["device"] = "ghost"
    elif field == "shard":
        first["owners"][0]["shards"] = ["ghost"]
    elif field == "edge":
        first["edge"] = "ghost"
    else:
        first["body"][0]["device"] = "ghost"
    plan.write_text(json.dumps(content))
    with pytest.raises(MismatchError, match="uses device ghost, which the fleet lacks"):
        execute(plan)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"handover": "relay", "intra": "merge"}, "merges owners that hand modules"),
        ({"head_units": 0}, "has no head"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(tmp_path, job, change, why):
    plan = copied(job, tmp_path)
    content = json.loads(plan.read_text())
    content["clusters"][0] |= change
    if "head_units" in change:
        content["clusters"][0]["body"][0]["first_unit"] = 0
    plan.write_text(json.dumps(content))
    with pytest.raises(MismatchError, match=why):
        execute(plan)


def test_other_weights_than_those_profiled_are_a_mismatch(tmp_path, job):
    plan = copied(job, tmp_path)
    profile = json.loads((tmp_path / "profile.json").read_text())
    profile["model"]["weights_sha256"] = "a" * 64
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    accept(plan, "profile")
    with pytest.raises(MismatchError, match="are not those that were profiled"):
        execute(plan)


def test_a_model_that_is_gone_is_a_model_error(tmp_path, job):
    plan = copied(job, tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(ModelError):
        execute(plan)
    assert not (tmp_path / "test-run").exists()


def test_an_owner_without_data_is_an_input_error(tmp_path, job):
    plan = copied(job, tmp_path)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(InputError, match=r"a\.safetensors: there is no such file"):
        execute(plan)
    assert not (tmp_path / "test-run").exists()


def test_a_link_that_the_fleet_lacks_is_a_mismatch(tmp_path, job):
    plan = copied(job, tmp_path)
    fleet = json.loads((tmp_path / "fleet.json").read_text())
    fleet["links"] = [link for link in fleet["links"] if link["between"] != ["end", "edge"]]
    (tmp_path / "fleet.json").write_text(json.dumps(fleet))
    accept(plan, "fleet")
    with pytest.raises(MismatchError, match="the fleet has no link there"):
        execute(plan)


def test_nothing_existing_is_overwritten(tmp_path, job):
    plan = copied(job, tmp_path)
    execute(plan, rounds=1)
    before = (tmp_path / "test-run/manifest.json").read_text()
    with pytest.raises(UsageError, match="there is a run in this folder already"):
        execute(plan)
    assert (tmp_path / "test-run/manifest.json").read_text() == before
    with pytest.raises(UsageError, match="started with seed 0, not 5"):
        execute(None, resume=tmp_path / "test-run", seed=5)


def test_resuming_needs_a_run_and_its_own_plan(tmp_path, job):
    with pytest.raises(InputError, match="there is no run in this folder"):
        execute(None, resume=tmp_path)
    with pytest.raises(UsageError, match="nothing to execute"):
        execute(None)
    plan = copied(job, tmp_path)
    execute(plan, rounds=1)
    edited(plan, seed=3)
    with pytest.raises(MismatchError, match="of another plan"):
        execute(plan, resume=tmp_path / "test-run")


def test_dropout_follows_the_seed_and_the_step(tmp_path):
    results = []
    for n, dropout in enumerate([0.0, 0.5, 0.5]):
        folder = tmp_path / str(n)
        folder.mkdir()
        plan = make_job(folder, tunable=LoraSpec(r=2, alpha=4, dropout=dropout))
        results.append(
            execute(plan, rounds=1).run_dir / "adapters/general/adapter_model.safetensors"
        )
    plain, once, again = map(load_file, results)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert any(not torch.equal(plain[name], once[name]) for name in once)
