"""YAML and JSON text to plain data: mappings with text keys, lists, text, numbers, booleans, null.

YAML is read by the core schema of YAML 1.2, so ``1e9`` is a number and ``no`` is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import yaml

from gaisnet.schema.limits import MAX_INTEGER

__all__ = ["MAX_DEPTH", "MAX_NODES", "Plain", "parse_json", "parse_yaml"]

Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | int | float | bool | None"

MAX_DEPTH = 64
"""Deepest nesting; libyaml's composer recurses in C and would crash on hostile input."""
MAX_NODES = 1_000_000
"""Most values once YAML aliases are written out ("billion laughs")."""

_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_json(text: str) -> Plain:
    """Reads JSON; NaN and infinities pass, for the model to refuse with the field's name.

    Raises:
        ValueError: Malformed, too deep, a repeated key, or an integer beyond 64 bits.
    """
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_float=_number, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error
    return _checked(data)


def parse_yaml(text: str) -> Plain:
    """Reads one YAML document.

    Raises:
        ValueError: As for JSON, and for a tag, a key that is not text, or too many aliases.
    """
    try:
        _check_events(yaml.parse(text, Loader=_SafeLoader))
        data = yaml.load(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_explain(error)) from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    return _checked(data)


def _check_events(events: Iterable[yaml.Event]) -> None:
    depth = 0
    for event in events:
        if tag := getattr(event, "tag", None):
            raise ValueError(f"tags such as {tag!r} are not accepted")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _explain(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + ", ".join(part for part in (error.context, error.problem) if part)


def _checked(data: Any) -> Plain:
    """The data itself, once it is known to be plain and of bounded size."""
    todo = [data]
    seen = 0
    while todo:
        seen += 1
        if seen > MAX_NODES and isinstance(data, dict | list):
            raise ValueError(f"more than {MAX_NODES} values")
        value = todo.pop()
        if isinstance(value, dict):
            _check_keys(value)
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    plain: Plain = data
    return plain


def _check_keys(mapping: dict[Any, Any]) -> None:
    for key in mapping:
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} must be text: put it in quotes")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key {key!r} stands twice in one mapping")
        mapping[key] = value
    return mapping


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"the integer {text[:24]} does not fit 64 bits")
    return int(text)


def _number(text: str) -> int | float:
    """A whole number written with an exponent, ``4e9``, also serves where a count is wanted."""
    value = float(text)
    if "e" in text.lower() and abs(value) < 2**53 and value.is_integer():
        return int(value)
    return value


class _CoreLoader(_SafeLoader):  # type: ignore[misc]
    """The scalars of YAML 1.2's core schema, unique keys, and no tag beyond those."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    yaml_constructors: dict[str | None, Any] = {}  # noqa: RUF012


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key in (loader.construct_object(k, deep=True) for k, _ in node.value if not _merges(k)):
        if isinstance(key, list | dict):
            raise _misplaced("a key must be text", node)
        if key in seen:
            raise _misplaced(f"the key {key!r} stands twice in one mapping", node)
        seen.add(key)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _misplaced(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _merges(key: yaml.Node) -> bool:
    return key.tag == "tag:yaml.org,2002:merge"


def _construct_sequence(loader: Any, node: yaml.SequenceNode) -> list[Any]:
    return [loader.construct_object(value, deep=True) for value in node.value]


def _construct_integer(_: Any, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0x", "0o") and len(text) < 18 else _integer(text)


def _construct_float(_: Any, node: yaml.ScalarNode) -> int | float:
    text = node.value.lower().replace(".inf", "inf").replace(".nan", "nan")
    return _number(text)


def _resolve_scalar(tag: str, pattern: str, first: str) -> None:
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first)
    )


_resolve_scalar("null", r"~|null|Null|NULL|", "~nN")
_CoreLoader.yaml_implicit_resolvers[""] = _CoreLoader.yaml_implicit_resolvers["~"]
_resolve_scalar("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve_scalar("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_resolve_scalar("float", _FLOAT.pattern, "-+.0123456789")
_resolve_scalar("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.")
_resolve_scalar("merge", "<<", "<")

for _tag, _construct in {
    "null": yaml.SafeLoader.construct_yaml_null,
    "bool": yaml.SafeLoader.construct_yaml_bool,
    "str": yaml.SafeLoader.construct_yaml_str,
    "merge": yaml.SafeLoader.construct_yaml_str,
    "int": _construct_integer,
    "float": _construct_float,
    "seq": _construct_sequence,
    "map": _construct_mapping,
}.items():
    _CoreLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
