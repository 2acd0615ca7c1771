"""The error tree: each class has its exit code, and the table in the docs says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gaisnet import errors
from gaisnet.errors import GaisnetError, InputError, QuorumError, RunError

CLASSES = [getattr(errors, name) for name in errors.__all__]
DOCS = Path(__file__).parents[1] / "docs" / "exit-codes.md"


def test_the_documented_codes_are_those_of_the_classes() -> None:
    rows = re.findall(r"^\| (\d+) \| `?([A-Za-z–]+)`? \|", DOCS.read_text(), re.MULTILINE)
    documented = {name: int(code) for code, name in rows if name != "–"}
    assert documented == {c.__name__: c.exit_code for c in CLASSES if c is not GaisnetError}
    assert {code for code, name in rows if name == "–"} == {"0", str(GaisnetError.exit_code)}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"(\w+Error) +(\d+)", errors.__doc__ or "")
    assert {name: int(code) for name, code in drawn} == {c.__name__: c.exit_code for c in CLASSES}


def test_every_error_has_one_root_and_a_code_of_its_own() -> None:
    assert all(issubclass(each, GaisnetError) for each in CLASSES)
    codes = [each.exit_code for each in CLASSES]
    assert len(codes) == len(set(codes))
    assert issubclass(QuorumError, RunError)


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        (None, None, "wrong"),
        ("f.yaml: x", None, "f.yaml: x: wrong"),
        (None, "mend it", "wrong\n  → mend it"),
        ("f.yaml: x", "mend it", "f.yaml: x: wrong\n  → mend it"),
    ],
)
def test_an_error_says_where_what_and_what_to_do(
    where: str | None, hint: str | None, text: str
) -> None:
    assert str(InputError("wrong", where=where, hint=hint)) == text
