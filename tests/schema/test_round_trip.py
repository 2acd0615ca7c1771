"""Every file survives being written and read: the same model, and the same bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gaisnet.errors import InputError
from gaisnet.schema.files import canonical_json, read_model
from tests.schema import strategies

relaxed = settings(
    deadline=None,
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a whole file takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
each_file = pytest.mark.parametrize("model", strategies.FILES, ids=lambda m: m.__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@each_file
@relaxed
@given(data=st.data())
def test_canonical_json_reads_back_as_the_same_model_and_the_same_bytes(
    folder: Path, model: type[BaseModel], data: st.DataObject
) -> None:
    original = data.draw(strategies.of(model))
    text = canonical_json(original)
    again = read_model(write(folder / "file.json", text), model)
    assert again == original
    assert canonical_json(again) == text


@each_file
@relaxed
@given(data=st.data())
def test_canonical_json_means_the_same_as_yaml(
    folder: Path, model: type[BaseModel], data: st.DataObject
) -> None:
    original = data.draw(strategies.of(model))
    assert read_model(write(folder / "file.yaml", canonical_json(original)), model) == original


@each_file
@relaxed
@given(data=st.data())
def test_models_are_frozen_and_hold_nothing_unknown(
    folder: Path, model: type[BaseModel], data: st.DataObject
) -> None:
    original = data.draw(strategies.of(model))
    name = data.draw(st.sampled_from(sorted(model.model_fields)))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(original, name, getattr(original, name))
    plain = original.model_dump(mode="json") | {"zzz_unknown": 1}
    with pytest.raises(InputError, match="zzz_unknown: there is no such field"):
        read_model(write(folder / "file.json", json.dumps(plain)), model)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where numbers stand that may not be negative, by the models' own rule: all but a few."""
    if isinstance(value, dict):
        return [p for key, inner in value.items() for p in places(inner, (*path, key))]
    if isinstance(value, list):
        return [p for index, inner in enumerate(value) for p in places(inner, (*path, index))]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [path] if is_number else []


MAY_BE_NEGATIVE = {
    "path_loss_db_at_1km",
    "path_loss_exponent_db",
    "noise_dbm_per_hz",
    "shadowing_db",
    "value",
    "bound",
    "worse_by",
    "position_m",
    "schema_version",
}


@each_file
@pytest.mark.parametrize("bad", [-1, math.nan, math.inf], ids=str)
@relaxed
@given(data=st.data())
def test_a_negative_or_not_finite_figure_is_refused_with_its_field(
    folder: Path, model: type[BaseModel], bad: float, data: st.DataObject
) -> None:
    plain = data.draw(strategies.of(model)).model_dump(mode="json")
    allowed = MAY_BE_NEGATIVE if bad == -1 else {"schema_version"}
    where = [p for p in places(plain) if not allowed & set(p)]
    if not where:
        return
    path = data.draw(st.sampled_from(where))
    target = plain
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = bad
    with pytest.raises(InputError) as refusal:
        read_model(write(folder / "file.json", json.dumps(plain)), model)
    assert refusal.value.where is not None
    field = next(step for step in reversed(path) if isinstance(step, str))
    assert field in refusal.value.where
    shown = {"-1": "-1", "nan": "NaN", "inf": "Infinity"}[str(bad)]
    assert shown in refusal.value.message
