"""What is wrong with a user's files, folders and disks: its exit code, one message, no debris."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gaisnet import planner
from gaisnet.report import read_run
from gaisnet.schema.files import read_model
from gaisnet.schema.plan import Plan
from tests.cli.bench import ENVIRONMENT, OWNERS, Answer, command, fleet, job, write_yaml


def refused(answer: Answer, code: int, *words: str) -> None:
    """One message on standard error, with these words; nothing on standard output."""
    assert answer.code == code, answer.err
    assert answer.out == ""
    assert answer.err.count("error: ") == 1
    for word in words:
        assert word in answer.err


def nothing_written(folder: Path, name: str) -> None:
    assert not (folder / name).exists()
    assert not list(folder.rglob("*.tmp"))


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


PLAN = ("plan", "job.yaml", "-o", "new.json")
EXECUTE = ("execute", "plan.json", "-o", "run")
Here = Callable[..., Answer]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(bench: Path, here: Here) -> None:
    refused(here(*EXECUTE, "--compute", "cuda"), 14, "torch finds no GPU here", "--compute cpu")
    nothing_written(bench, "run")
    device = ("profile", "--device-only", "-o", "device.json")
    refused(here(*device, "--compute", "cuda"), 2, "torch finds no GPU here")
    nothing_written(bench, "device.json")


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("job.yaml", None, ["job.yaml", "no such file"]),
        ("fleet.yaml", None, ["fleet.yaml", "no such file"]),
        ("profile.json", None, ["profile.json", "no such file"]),
        ("job.yaml", lambda text: "a: b: c", ["job.yaml", "line 1, column 5"]),
        ("profile.json", lambda text: text[:-20], ["profile.json", "not valid JSON"]),
        ("job.yaml", lambda text: text + "tunabel: {}", ["tunabel", "did you mean 'tunable'"]),
        (
            "fleet.yaml",
            lambda text: text.replace("flops_per_s: 1000000000.0", "flops_per_s: -1", 1),
            ["devices[0].figures.flops_per_s", "-1", "must be at least 1e-30"],
        ),
        (
            "fleet.yaml",
            lambda text: text.replace("latency_s: 0.001", "latency_s: .nan", 1),
            ["links[0].latency_s", "NaN", "finite"],
        ),
        (
            "fleet.yaml",
            lambda text: text.replace("samples: 24", "samples: 25", 1),
            ["devices[0].data", "label_histogram sums to 24, but samples is 25"],
        ),
        ("job.yaml", lambda text: "schema_version: 9\n" + text, ["schema version 9"]),
    ],
    ids=[
        "no-job",
        "no-fleet",
        "no-profile",
        "malformed-yaml",
        "malformed-json",
        "unknown-field",
        "negative-figure",
        "nan-figure",
        "inconsistent-figures",
        "other-version",
    ],
)
def test_a_faulty_input_file_is_refused_with_10(
    here: Here, bench: Path, file: str, change: Callable[[str], str] | None, words: list[str]
) -> None:
    if change is None:
        (bench / file).unlink()
    else:
        edit(bench / file, change)
    refused(here(*PLAN), 10, *words)
    nothing_written(bench, "new.json")


def test_a_fleet_that_cannot_hold_the_model_is_infeasible_with_12(here: Here, bench: Path) -> None:
    write_yaml(bench / "fleet.yaml", fleet(memory_bytes=2_000))
    refused(here(*PLAN), 12, "→", "these cannot all hold: memory of", "→ smallest mend: give")
    nothing_written(bench, "new.json")
    told = json.loads(here(*PLAN, "--format", "json").out)["error"]
    assert told["mend"].startswith("give ")
    assert set(told["conflict"]) <= {f"memory of {name}" for name in (*OWNERS, "edge-0")}


def test_a_profile_of_other_tuning_is_a_mismatch_with_14(here: Here, bench: Path) -> None:
    write_yaml(bench / "job.yaml", job() | {"tunable": {"kind": "head"}})
    refused(here(*PLAN), 14, "profile", "→")
    nothing_written(bench, "new.json")


def test_a_plan_for_another_model_is_a_mismatch_with_14(here: Here, bench: Path) -> None:
    config = json.loads((bench / "vit" / "config.json").read_text())
    (bench / "vit" / "model.safetensors").unlink()
    config["intermediate_size"] *= 2
    (bench / "vit" / "config.json").write_text(json.dumps(config))
    write_yaml(bench / "job.yaml", job() | {"model": {"source": "vit", "weights": "random"}})
    text = (bench / "plan.json").read_text()
    old = json.loads(text)["inputs"]["job"]["sha256"]
    new = subprocess.check_output(["sha256sum", bench / "job.yaml"], text=True).split()[0]
    (bench / "plan.json").write_text(text.replace(old, new))
    refused(here(*EXECUTE), 14, "model", "→")
    nothing_written(bench, "run")


def test_a_file_that_changed_after_planning_is_a_mismatch_with_14(here: Here, bench: Path) -> None:
    edit(bench / "fleet.yaml", lambda text: text + "\n# edited\n")
    refused(here(*EXECUTE), 14, "fleet", "→")
    nothing_written(bench, "run")


def test_a_device_that_the_fleet_lacks_is_a_mismatch_with_14(here: Here, bench: Path) -> None:
    edit(bench / "plan.json", lambda text: text.replace('"edge-0"', '"ghost"'))
    refused(here(*EXECUTE), 14, "ghost")
    nothing_written(bench, "run")


def test_data_that_is_missing_is_refused_with_10(here: Here, bench: Path) -> None:
    (bench / f"{OWNERS[0]}.safetensors").unlink()
    refused(here(*EXECUTE), 10, f"{OWNERS[0]}.safetensors")
    nothing_written(bench, "run")


@pytest.mark.parametrize("source", ["nowhere/at-all", "empty"])
def test_a_model_that_is_not_there_is_refused_with_11(here: Here, bench: Path, source: str) -> None:
    (bench / "empty").mkdir()
    refused(here("profile", source, "--model-only", "-o", "p.json"), 11, source)
    nothing_written(bench, "p.json")


def test_an_existing_file_is_kept_without_force_with_2(here: Here, bench: Path) -> None:
    (bench / "new.json").write_text("mine")
    refused(here(*PLAN), 2, "new.json", "--force")
    assert (bench / "new.json").read_text() == "mine"
    assert here(*PLAN, "--force").code == 0


def test_a_folder_with_a_run_is_not_started_again_with_2(here: Here, bench: Path) -> None:
    assert here(*EXECUTE, "-q").code == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in (bench / "run").rglob("*"))
    refused(here(*EXECUTE), 2, "--resume")
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (bench / "run").rglob("*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan",),
        ("plan", "job.yaml", "--scheme", "none"),
        ("plan", "job.yaml", "--clusters", "0"),
        ("plan", "job.yaml", "--seed", "-1"),
        ("profile",),
        ("profile", "vit", "--device-only"),
        ("profile", "vit", "--tunable", "head", "--rank", "4"),
        ("profile", "vit", "--batch-sizes", "1,x"),
        ("execute",),
        ("profile", "vit", "--rank", "100000000"),
        ("profile", "vit", "--ranks", "100000000"),
        ("profile", "vit", "--num-labels", "100000000"),
        ("profile", "vit", "--tokens", "99999999999999999999"),
        ("profile", "vit", "--threads", "100000"),
        ("profile", "--list-presets", "-o", "presets.json"),
        ("plan", "job.yaml", "--seed", "9223372036854775808"),
        ("plan", "--replan", "plan.json", "--lost", " ,,"),
        ("execute", "--resume", "run", "-o", "other"),
        ("execute", "plan.json", "-o", "run", "--seed", "9223372036854775808"),
        ("execute", "plan.json", "-o", "run", "--credentials", "mine"),
        ("execute", "plan.json", "-o", "run", "--insecure"),
        ("fly",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_refused_with_2(
    here: Here, bench: Path, arguments: tuple[str, ...]
) -> None:
    before = sorted(bench.rglob("*"))
    answer = here(*arguments)
    assert answer.code == 2, answer.err
    assert answer.out == ""
    assert answer.err
    assert sorted(bench.rglob("*")) == before


def test_the_largest_seed_is_as_good_as_any(here: Here, bench: Path) -> None:
    largest = str(2**63 - 1)
    assert here(*PLAN, "--seed", largest).code == 0
    assert here("execute", "new.json", "-o", "run", "--seed", largest).code == 0
    assert read_run(bench / "run").manifest.seed == 2**63 - 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "plan.json"), "plan.json: this is a plan, not a job"),
        (("plan", "fleet.yaml"), "fleet.yaml: this is a fleet, not a job"),
        (("execute", "job.yaml"), "job.yaml: this is a job, not a plan"),
        (("execute", "profile.json"), "profile.json: this is a profile, not a plan"),
        (("plan", "job.yaml", "--calibration", "plan.json"), "a plan, not a run's calibration"),
        (("profile", "--from", "plan.json", "--as", "pixel-6"), "this is a plan, not a profile"),
    ],
)
def test_a_file_in_place_of_another_is_told_as_such_with_10(
    here: Here, arguments: tuple[str, ...], words: str
) -> None:
    refused(here(*arguments, "-o", "new"), 10, words)


@pytest.mark.parametrize(
    "arguments",
    [("report", "plan.json"), ("report", "plan.json", "--format", "json"), ("--help",)],
    ids=" ".join,
)
def test_a_full_disk_behind_standard_output_is_told_with_15(
    bench: Path, arguments: tuple[str, ...]
) -> None:
    done = into_full(">", *arguments, cwd=bench)
    assert done.returncode == 15, done.stderr
    assert done.stderr.count("error: standard output: cannot write: No space left") == 1
    assert "Traceback" not in done.stderr


def test_where_nothing_can_be_told_the_exit_code_still_tells(bench: Path) -> None:
    assert into_full("2>", "report", "nowhere.json", cwd=bench).returncode == 10
    assert into_full("2>", "plan", "job.yaml", "-o", "new.json", cwd=bench).returncode == 0
    assert (bench / "new.json").exists()


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may read everything"
)
@pytest.mark.parametrize(
    ("locked", "arguments", "code", "words"),
    [
        ("job.yaml", ("plan", "job.yaml", "-o", "new"), 10, "job.yaml: the file cannot be read"),
        ("fleet.yaml", ("plan", "job.yaml", "-o", "new"), 10, "fleet.yaml: the file cannot be"),
        ("phone.safetensors", ("execute", "plan.json", "-o", "new"), 10, "Permission denied"),
        ("away", ("report", "away/run"), 10, "Permission denied"),
        ("away", ("execute", "--resume", "away"), 10, "no run in this folder"),
        ("away", ("execute", "plan.json", "-o", "away/run"), 15, "Permission denied"),
        ("away", ("plan", "job.yaml", "-o", "away/new"), 15, "Permission denied"),
        ("away", ("certs", "away", "--device", "phone"), 15, "Permission denied"),
        ("away", ("profile", "away/vit", "--no-times", "-o", "new"), 11, "that you may read"),
    ],
)
def test_what_may_not_be_read_or_written_is_told(
    bench: Path, locked: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    shutil.copytree(bench / "vit", bench / "away" / "vit")
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if os.geteuid() == 0:
        for path in (bench, *bench.rglob("*")):
            os.chown(path, 65534, 65534)
        for folder in bench.parents:
            if folder == Path(tempfile.gettempdir()):
                break
            folder.chmod(0o755)
    (bench / locked).chmod(0)
    done = subprocess.run(
        [*(nobody if os.geteuid() == 0 else []), *command(*arguments)],
        cwd=bench, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    (bench / locked).chmod(0o755)
    refused(Answer(done.returncode, done.stdout, done.stderr), code, words)
    nothing_written(bench, "new")


def test_closed_streams_hinder_nobody(bench: Path) -> None:
    script = 'exec "$0" "$@" <&- >&- 2>&-'
    for arguments in (("plan", "job.yaml", "-o", "new.json"), ("report", "plan.json")):
        done = subprocess.run(
            ["bash", "-c", script, *command(*arguments)],
            cwd=bench, env=ENVIRONMENT, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, arguments
    assert read_model(bench / "new.json", Plan) == read_model(bench / "plan.json", Plan)


def into_full(stream: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs gaisnet with a stream that goes to a full disk."""
    return subprocess.run(
        ["bash", "-c", f'exec "$0" "$@" {stream} /dev/full', *command(*arguments)],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def test_with_json_a_refusal_is_a_document(here: Here, bench: Path) -> None:
    answer = here(*PLAN, "--format", "json", "--clusters", "50")
    error = json.loads(answer.out)["error"]
    assert error["exit_code"] == answer.code == 12
    assert error["message"] in answer.err


def test_a_full_disk_leaves_no_plan_with_15(here: Here, bench: Path) -> None:
    limited = ["bash", "-c", 'ulimit -f 1; exec "$0" "$@"', *command("plan", "job.yaml")]
    done = subprocess.run(
        [*limited, "-o", "new.json"],
        cwd=bench,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    refused(Answer(done.returncode, "", done.stderr), 15, "new.json", "→")
    nothing_written(bench, "new.json")
    refused(here("plan", "job.yaml", "-o", "/dev/full"), 15, "free some space")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A folder on a disk of its own, if we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


def run_on_small_disk(bench: Path, disk: Path, size: str) -> Answer:
    """Executes with the run's folder on a disk that is too small for it."""
    script = f'mount -t tmpfs -o size={size} tmpfs {disk} && exec "$0" "$@"'
    arguments = command("execute", "plan.json", "-o", disk / "run")
    mounted = ["unshare", "--mount", "--map-root-user", "bash", "-c", script, *arguments]
    limited = ["bash", "-c", f'ulimit -f {size.rstrip("k")}; exec "$0" "$@"', *arguments]
    may_mount = ["unshare", "--mount", "--map-root-user", "true"]
    allowed = shutil.which("unshare") and not subprocess.run(may_mount, check=False).returncode
    done = subprocess.run(
        mounted if allowed else limited,
        cwd=bench, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


def test_a_disk_that_fills_up_fails_the_run_with_20_and_the_command_to_resume(
    bench: Path, small_disk: Path
) -> None:
    answer = run_on_small_disk(bench, small_disk, "16k")
    refused(answer, 20, "gaisnet execute --resume", "space")
    assert "Traceback" not in answer.err


def test_ctrl_c_saves_the_run_and_says_how_to_go_on_with_130(here: Here, bench: Path) -> None:
    document = yaml.safe_load((bench / "job.yaml").read_text())
    document["fine_tuning"]["rounds"] = 900
    write_yaml(bench / "job.yaml", document)
    assert here("plan", "job.yaml", "-o", "long.json", "-q").code == 0
    running = subprocess.Popen(
        command("execute", "long.json", "-o", "run"),
        cwd=bench, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = bench / "run" / "metrics.jsonl"
    while running.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < 3):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    refused(Answer(running.returncode, out, "error: " + err.partition("error: ")[2]), 130)
    assert "Traceback" not in err
    assert "gaisnet execute --resume run" in err
    record = read_run(bench / "run")
    assert record.manifest.status == "interrupted"
    assert 2 <= record.manifest.rounds_done < 900
    goes_on = record.manifest.rounds_done + 2
    again = here("execute", "--resume", "run", "--rounds", goes_on, "-q")
    assert again.code == 0, again.err
    assert len(read_run(bench / "run").rounds) == goes_on


def test_ctrl_c_while_nothing_runs_yet_ends_with_130_too(bench: Path) -> None:
    fifo = bench / "slow.yaml"
    os.mkfifo(fifo)
    waiting = subprocess.Popen(
        command("plan", "slow.yaml", "-o", "new.json"),
        cwd=bench, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with fifo.open("w"):
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=60)
    refused(Answer(waiting.returncode, out, err), 130, "nothing was written")
    nothing_written(bench, "new.json")


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner's own plan, but for one proof."""
    original = planner.plan

    def without_proof(*arguments: Any, **options: Any) -> Plan:
        made = original(*arguments, **options)
        first, *others = made.certificates
        weak = first.model_copy(update={"status": "feasible", "gap": 0.25})
        return made.model_copy(update={"certificates": (weak, *others)})

    monkeypatch.setattr(planner, "plan", without_proof)


@pytest.mark.usefixtures("unproven")
def test_a_plan_without_the_proof_asked_for_is_written_marked_and_told_with_13(
    here: Here, bench: Path
) -> None:
    answer = here(*PLAN, "--gap", "0.2")
    assert answer.code == 13
    assert "proven only to a gap of 0.25; the plan is kept" in answer.err
    assert "not proven optimal, gap 25.0 %" in answer.out
    assert read_model(bench / "new.json", Plan).certificates[0].status == "feasible"
    assert here(*PLAN, "--force", "--gap", "0.25", "-q").code == 0
    assert here(*PLAN, "--force", "-q").code == 0, "nobody asked for a proof"
