"""What the documents name is there: files, modules, commands, options, exit codes, links."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_group

from gaisnet import errors
from gaisnet.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
PROMPT = re.compile(r"^[a-z]*\$ ([^#\n]+)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
MODULE = re.compile(r"python -m ([a-z_]+(?:\.[a-z_]+)*)(?![A-Z])")
FILE = re.compile(r"(?:[\w-]+/)*[\w-]+\.(?:py|md|svg|toml)")


def codes(text: str) -> Iterator[str]:
    """What stands in back quotes, and every command at a prompt, on one line each."""
    for code in (*INLINE.findall(FENCE.sub("", text)), *PROMPT.findall(text)):
        yield " ".join(code.split())


def anchors(path: Path) -> set[str]:
    """Of all headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(path.read_text())
    }


def options() -> dict[str, set[str]]:
    """Of every command."""
    return {
        name: {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        for name, command in get_group(app).commands.items()
    }


def flags_in_sources() -> str:
    """Text that any option of a benchmark, an example or another script here stands in."""
    folders = ("benchmarks", "examples", "fuzz", "tests", "gaisnet")
    return "".join(path.read_text() for name in folders for path in (ROOT / name).rglob("*.py"))


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_document
def test_commands_and_their_options_exist(document: Path) -> None:
    known, sources = options(), flags_in_sources()
    for code in codes(document.read_text()):
        command = re.match(r"gaisnet ([a-z]+)", code)
        assert command is None or command[1] in known, code
        for flag in FLAG.findall(code):
            if command is not None:
                assert flag in known[command[1]] | {"--help"}, code
            else:
                assert f'"{flag}' in sources or flag in {"--help", "--version"}, code


@each_document
def test_modules_and_files_exist(document: Path) -> None:
    files = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts}
    for code in codes(document.read_text()):
        for module in MODULE.findall(code):
            assert importlib.util.find_spec(module), code
        for file in FILE.findall(code):
            assert any(each == file or each.endswith(f"/{file}") for each in files), code


@each_document
def test_targets_of_make_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", document.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_error_has_its_row_among_the_exit_codes_and_in_the_help() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "docs/exit-codes.md").read_text(), re.M)
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    raised = {each for each in classes if each is not errors.GaisnetError}
    assert {(str(each.exit_code), each.__name__) for each in raised} == set(rows)
    told = {int(code) for code in re.findall(r"\d+", str(app.info.epilog))}
    assert told == {each.exit_code for each in raised} | {0}


def test_every_room_of_the_house_stands_in_its_plan() -> None:
    plan = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "gaisnet").iterdir()
        if path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists())
    ]
    assert [room for room in rooms if room != "__init__.py" and f"`{room}`" not in plan] == []
