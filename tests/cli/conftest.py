"""One profiled and planned job for all tests of the command line, and a copy for each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gaisnet.cli import main
from tests.cli.bench import Answer, command, gaisnet, write_bench

PROFILE = (
    "profile",
    "vit",
    "--rank",
    "2",
    "--targets",
    "q_proj,v_proj",
    "--no-times",
    "--model-only",
)


@pytest.fixture(scope="session")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    folder = tmp_path_factory.mktemp("bench")
    write_bench(folder)
    answer = gaisnet(*PROFILE, "-o", "profile.json", "--format", "json", cwd=folder)
    assert answer.code == 0, answer.err
    return folder, answer


@pytest.fixture(scope="session")
def planned(profiled: tuple[Path, Answer]) -> tuple[Path, Answer]:
    folder, _ = profiled
    answer = gaisnet("plan", "job.yaml", "-o", "plan.json", "--format", "json", cwd=folder)
    assert answer.code == 0, answer.err
    return folder, answer


@pytest.fixture
def bench(planned: tuple[Path, Answer], tmp_path: Path) -> Path:
    """A folder with model, data, fleet, job, profile and plan, to be spoilt."""
    folder = tmp_path / "bench"
    shutil.copytree(planned[0], folder)
    return folder


@pytest.fixture
def here(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Runs ``gaisnet`` in this process, in the folder ``bench``: the same code, sooner."""
    monkeypatch.chdir(bench)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("GAISNET_DEBUG", raising=False)

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["gaisnet", *command(*arguments)[3:]])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        code = ended.value.code
        return Answer(code if isinstance(code, int) else 0, said.out, said.err)

    return run
