"""Turns pydantic's complaints into one sentence: which field, which value, what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gaisnet.errors import InputError
from gaisnet.schema.kinds import kind_of, name_of
from gaisnet.schema.parse import Plain

__all__ = ["explain"]

Location = tuple[int | str, ...]


def explain(error: ValidationError, path: Path, data: Plain, model: type[BaseModel]) -> InputError:
    """The first complaint about a file, with its field, its value and what to do.

    A file of another kind is told as such: all its fields would be wrong.

    Args:
        error: What pydantic found.
        path: The file.
        data: What the file holds, to tell field names from pydantic's own labels.
        model: What it should hold.
    """
    given, wanted = kind_of(data) if isinstance(data, dict) else None, name_of(model)
    if given is not None and wanted is not None and given != wanted:
        return InputError(f"this is {given}, not {wanted}", where=str(path), hint="name another")
    problems = _causes(error.errors())
    first = problems[0]
    location = _within(data, first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = ": ".join(part for part in (str(path), _dotted(location)) if part)
    return InputError(_message(first) + more, where=where, hint=_hint(first, location, model))


def _causes(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leaves out what follows from another complaint, and puts the version's first.

    A list that lost a malformed item also complains that it is too short, and a file of another
    version complains about everything.
    """
    inner = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    causes = [problem for problem in problems if problem["loc"] not in inner]
    return sorted(causes, key=lambda problem: problem["loc"] != ("schema_version",))


def _within(data: Plain, location: Location) -> Location:
    """The location without the labels that pydantic adds for the branches of a union."""
    kept: list[int | str] = []
    here = data
    for index, step in enumerate(location):
        if isinstance(here, dict) and step in here:
            here = here[str(step)]
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        elif index < len(location) - 1:
            continue
        kept.append(step)
    return tuple(kept)


def _dotted(location: Location) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _message(problem: ErrorDetails) -> str:
    kind, value = problem["type"], _shown(problem["input"])
    if kind == "missing":
        return "this field is missing"
    if kind == "extra_forbidden":
        return "there is no such field"
    if problem["loc"] == ("schema_version",):
        return f"schema version {value} is not one that this gaisnet reads"
    reason = _limit(problem) or problem["msg"].removeprefix("Value error, ")
    for stiff, plain in _WORDS.items():
        reason = reason.replace(stiff, plain)
    return f"{value}: {reason}" if value else reason


def _limit(problem: ErrorDetails) -> str | None:
    """What a number must be; pydantic writes 1e-30 out."""
    for name, words in _LIMITS.items():
        if name in problem.get("ctx", {}):
            return f"must be {words} {problem['ctx'][name]:g}"
    return None


_LIMITS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
_WORDS = {
    "Input should be": "must be",
    "String should match pattern": "must match",
    "String should have": "must have",
    "Tuple should have": "must have",
    " after validation": "",
    "Input tag": "kind",
    " found using 'kind'": "",
    "expected tags": "known ones",
    "Unable to extract tag using discriminator 'kind'": "the field 'kind' is missing",
}


def _shown(value: Any) -> str:
    """The value as the file would write it; nothing for a whole mapping or list."""
    if isinstance(value, dict | list | tuple):
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


_HINTS = {
    "finite_number": "give a finite number",
    "greater_than": "give a larger number",
    "greater_than_equal": "give a number that is not below the limit",
    "less_than": "give a smaller number",
    "less_than_equal": "give a number that is not above the limit",
    "int_type": "give a whole number, without a fraction or quotes",
    "int_from_float": "give a whole number, without a fraction",
    "float_type": "give a number, without quotes",
    "string_type": "give text; put it in quotes if it looks like a number",
    "bool_type": "write true or false",
    "string_pattern_mismatch": "names are letters, digits, '.', '_' and '-', at most 64 of them",
    "literal_error": "write one of the values that the message lists",
    "union_tag_invalid": "write one of the kinds that the message lists",
    "union_tag_not_found": "add 'kind'",
    "missing": "add it",
}


def _hint(problem: ErrorDetails, location: Location, model: type[BaseModel]) -> str | None:
    if problem["loc"] == ("schema_version",):
        known = problem.get("ctx", {}).get("expected", "1")
        return (
            f"this version reads schema version {known}; write the file again, or upgrade gaisnet"
        )
    if problem["type"] == "extra_forbidden":
        return _suggestion(str(location[-1]), sorted(_fields_at(model, problem["loc"][:-1])))
    return _HINTS.get(problem["type"])


def _suggestion(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known fields here: {', '.join(known)}"


def _fields_at(model: type[BaseModel], location: Location) -> set[str]:
    """Names of the fields that may stand at a location, given as pydantic gives it."""
    models = {model}
    for step in location:
        inner = (m.model_fields[step].annotation for m in models if step in m.model_fields)
        models = set(_models_in(inner)) or _branch(models, step) or models
    return {name for each in models for name in each.model_fields}


def _branch(models: set[type[BaseModel]], tag: int | str) -> set[type[BaseModel]]:
    """The branch of a union that a tag selects."""
    kinds = {each: each.model_fields.get("kind") for each in models}
    return {each for each, kind in kinds.items() if kind is not None and kind.default == tag}


def _models_in(annotations: Iterable[Any]) -> Iterable[type[BaseModel]]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        else:
            yield from _models_in(get_args(annotation))
