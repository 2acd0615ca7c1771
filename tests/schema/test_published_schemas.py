"""The JSON Schemas under ``docs/schema`` are those of the models."""

from __future__ import annotations

from pathlib import Path

from gaisnet.schema.export import export, schema_texts

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema"


def test_the_published_schemas_are_current() -> None:
    published = {path.name: path.read_text() for path in PUBLISHED.glob("*.json")}
    assert published == schema_texts(), "run `make schemas`"


def test_export_writes_the_same_bytes_again(tmp_path: Path) -> None:
    export(tmp_path / "one")
    export(tmp_path / "one")
    written = {path.name: path.read_text() for path in (tmp_path / "one").iterdir()}
    assert written == schema_texts()


def test_every_field_of_a_schema_refuses_unknown_ones() -> None:
    for name, text in schema_texts().items():
        assert text.count('"properties"') == text.count('"additionalProperties": false'), name
