"""Reading refuses with file, field, value and advice; writing leaves a whole file or none."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaisnet.errors import GaisnetError, InputError, OutputError, UsageError
from gaisnet.schema.files import (
    MAX_FILE_BYTES,
    canonical_json,
    read_lines,
    read_model,
    resolve,
    sha256_bytes,
    sha256_file,
    write_atomic,
)
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.job import Job
from gaisnet.schema.run import Event

DEVICE = "{id: a, tier: end, figures: {flops_per_s: 1e9, memory_bytes: 4e9}}"
FLEET = f"devices:\n- {DEVICE}\n"
JOB = "fleet: f.yaml\nprofile: p.json\nmodel: {source: m}\n"


def refusal(path: Path, model: type[Fleet] | type[Job] = Fleet) -> GaisnetError:
    with pytest.raises(InputError) as caught:
        read_model(path, model)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        (FLEET + "naem: x", "naem", "no such field", "did you mean 'name'?"),
        (FLEET + "schema_version: 2", "schema_version", "schema version 2", "upgrade gaisnet"),
        (FLEET.replace("1e9", "-5"), "devices[0].figures.flops_per_s", "-5: must be at least", ""),
        (FLEET.replace("1e9", ".nan"), "devices[0].figures.flops_per_s", "NaN", "finite"),
        (FLEET.replace("1e9", "'1e9'"), "devices[0].figures.flops_per_s", '"1e9"', "quotes"),
        (FLEET.replace("4e9", "4.5"), "devices[0].figures.memory_bytes", "4.5", "whole number"),
        (FLEET.replace("4e9", "true"), "devices[0].figures.memory_bytes", "true", "whole"),
        (FLEET.replace("end", "edn"), "devices[0].tier", "'end', 'edge' or 'cloud'", ""),
        (FLEET.replace("id: a", "id: a b"), "devices[0].id", '"a b"', "letters"),
        (FLEET.replace("id: a,", ""), "devices[0].id", "missing", "add it"),
        (FLEET + f"- {DEVICE}", "", "stand twice: ['a']", ""),
        (FLEET + "links: [{between: [a, b], bandwidth_bits_per_s: 1}]", "", "lacks: ['b']", ""),
        ("devices: []", "devices", "at least 1 item", ""),
        ("[]", "", "mapping", ""),
        (" \n", "", "empty", ""),
        ("a: b: c", "", "not valid YAML: line 1, column 5", ""),
    ],
)
def test_a_fault_in_a_fleet_is_named_with_field_value_and_advice(
    fleet_file: Path, text: str, field: str, message: str, hint: str
) -> None:
    fleet_file.write_text(text)
    error = refusal(fleet_file)
    assert error.where == ": ".join(part for part in (str(fleet_file), field) if part)
    assert message in error.message
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        ("tunable: {kind: lora, rank: 4}", "tunable.rank", "no such field", "alpha, dropout, kind"),
        ("tunable: {kind: lora, alhpa: 4}", "tunable.alhpa", "no such field", "'alpha'"),
        ("tunable: {kind: lora, r: 0}", "tunable.r", "0: must be", ""),
        ("tunable: {kind: lara}", "tunable", "kind 'lara' does not match", ""),
        ("tunable: {r: 1}", "tunable", "'kind' is missing", ""),
        ("fine_tuning: {batch_size: 6, microbatches: 4}", "fine_tuning", "must divide", ""),
    ],
)
def test_faults_within_a_union_are_named_by_the_users_own_fields(
    tmp_path: Path, text: str, field: str, message: str, hint: str
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB + text)
    error = refusal(path, Job)
    assert error.where == f"{path}: {field}"
    assert message in error.message
    assert hint in (error.hint or "")


def test_further_faults_are_counted_and_consequences_are_not(fleet_file: Path) -> None:
    fleet_file.write_text(FLEET.replace("1e9", "-5"))
    assert "more)" not in refusal(fleet_file).message
    fleet_file.write_text(FLEET.replace("1e9", "-5").replace("4e9", "-6") + "naem: x")
    assert refusal(fleet_file).message.endswith("(and 2 more)")


def test_a_path_that_is_no_readable_text_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.yaml").message
    assert "folder" in refusal(tmp_path).message
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff")
    assert "byte 3 is not UTF-8" in refusal(binary).message
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read" in refusal(loop).message
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert "larger than" in refusal(huge).message


def test_json_is_read_as_json_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text("devices: []")
    assert "not valid JSON: line 1, column 1" in refusal(path).message


def test_lines_are_read_one_model_each_and_an_unfinished_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"sequence":0,"kind":"run_started"}\n{"sequence":1,"ki')
    assert read_lines(path, Event) == (Event(sequence=0, kind="run_started"),)
    path.write_text('{"sequence":0,"kind":"run_started"}\n{"sequence":-1,"kind":"run_done"}\n')
    with pytest.raises(InputError, match=r"events.jsonl:2: sequence: -1"):
        read_lines(path, Event)
    path.write_text("{]\n")
    with pytest.raises(InputError, match=r"events.jsonl:1: not valid JSON"):
        read_lines(path, Event)


def test_canonical_json_has_sorted_keys_and_shortest_floats() -> None:
    text = canonical_json(Event(sequence=0, kind="run_done", detail="ä"))
    assert text.startswith('{\n  "detail": "ä",\n  "device": null,\n  "kind"')
    assert text.endswith("}\n")


def test_paths_in_a_file_are_relative_to_its_folder(tmp_path: Path) -> None:
    assert resolve(tmp_path / "job.yaml", "data/x") == tmp_path / "data/x"
    assert resolve(tmp_path / "job.yaml", "/abs") == Path("/abs")


def test_hashes_are_sha_256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_bytes(b"abc") == sha256_file(tmp_path / "f") == known


def test_writing_replaces_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_atomic(path, "one")
    with pytest.raises(UsageError, match="--force"):
        write_atomic(path, "two")
    assert path.read_text() == "one"
    write_atomic(path, b"three", force=True)
    assert path.read_text() == "three"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    write_atomic(tmp_path / "f", "x")
    os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        write_atomic(tmp_path, "x")
    with pytest.raises(OutputError, match="there is no folder"):
        write_atomic(tmp_path / "none" / "f", "x")
    with pytest.raises(OutputError, match="shorter name"):
        write_atomic(tmp_path / ("n" * 300), "x")
    with pytest.raises(OutputError, match="free some space"):
        write_atomic("/dev/full", "x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds at most 64 KiB: a mounted one if we may, else a limit on file sizes."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if (
        os.geteuid() == 0
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    ):
        yield tmp_path
        subprocess.run(["umount", str(tmp_path)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(small_disk: Path) -> None:
    path = small_disk / "plan.json"
    write_atomic(path, "old")
    with pytest.raises(OutputError) as caught:
        write_atomic(path, "x" * 200_000, force=True)
    assert caught.value.exit_code == 15
    assert caught.value.__cause__.errno in (errno.ENOSPC, errno.EFBIG)  # type: ignore[union-attr]
    assert "another disk" in (caught.value.hint or "")
    assert path.read_text() == "old"
    assert [p.name for p in small_disk.iterdir()] == ["plan.json"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    script = (
        "import sys; from gaisnet.schema.files import write_atomic\n"
        "while True:\n"
        "    for letter in 'ab': write_atomic(sys.argv[1], letter * 3_000_000, force=True)\n"
    )
    for pause_s in (0.0, 0.013, 0.031):
        writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
        while not path.exists():
            time.sleep(0.005)
        time.sleep(pause_s)
        writer.kill()
        writer.wait()
        content = path.read_text()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
        path.unlink()
