"""Text to plain data: YAML 1.2 scalars, and what hostile or careless text runs into."""

from __future__ import annotations

import math

import pytest

from gaisnet.schema.parse import MAX_DEPTH, parse_json, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("4.5e9", 4_500_000_000),
        ("-2.5E-3", -0.0025),
        (".5", 0.5),
        ("+7", 7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
    ],
)
def test_yaml_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}") == {"a": value}


def test_a_whole_number_with_an_exponent_serves_as_a_count() -> None:
    assert isinstance(parse_yaml("4e9"), int)
    assert isinstance(parse_json("4e9"), int)
    assert isinstance(parse_yaml("4.0"), float)
    assert isinstance(parse_json("1e300"), float)


def test_anchors_and_merge_keys_spare_repetition() -> None:
    text = "base: &base {p: 1, q: 2}\nother: {<<: *base, q: 3}"
    assert parse_yaml(text) == {"base": {"p": 1, "q": 2}, "other": {"p": 1, "q": 3}}


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_nesting_is_accepted_up_to_its_limit() -> None:
    assert parse_yaml(nested(MAX_DEPTH))
    with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH}"):
        parse_yaml(nested(MAX_DEPTH + 1))


BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3", "line 1, column 1: the key 'a' stands twice"),
        ("a: b: c", "line 1, column 5"),
        ("a: [1", "line 2, column 1"),
        ("a: 'x", "line 1"),
        ("a: *nowhere", "undefined alias"),
        ("1: x", "the key 1 must be text"),
        ("null: x", "the key None must be text"),
        ("[a]: x", "a key must be text"),
        ("a: !!python/object:os.system x", "tags such as"),
        ("a: !!binary aGk=", "tags such as"),
        ("a: " + "9" * 30, "64 bits"),
        ("a: " + "9" * 9000, "64 bits"),
        ("a: 0x" + "f" * 30, "64 bits"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a\x00b: 1", "control characters"),
        ("&a [*a]", "recursive"),
        ("[" * 100_000, f"deeper than {MAX_DEPTH}"),
        ("{a: " * 100_000, f"deeper than {MAX_DEPTH}"),
        (BOMB, "values"),
    ],
    ids=lambda text: text[:20].replace("\x00", "0"),
)
def test_yaml_that_is_malformed_or_hostile_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("[", r"\[")):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('{"a": }', "line 1, column 7"),
        ("", "line 1, column 1"),
        ("[" * 100_000, "nested deeper"),
        ("9" * 9000, "64 bits"),
        ("9223372036854775808", "64 bits"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_is_malformed_or_hostile_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_json(text)
