"""The terminal views of a profile, a plan and a run, and which of them a file asks for."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import RenderableType

from gaisnet.errors import InputError
from gaisnet.report.front_view import front_view
from gaisnet.report.plan_view import plan_view
from gaisnet.report.profile_view import profile_table
from gaisnet.report.run_record import RunRecord, read_run
from gaisnet.report.run_view import run_view
from gaisnet.schema.files import read_bytes, read_model
from gaisnet.schema.front import Front
from gaisnet.schema.parse import parse_json
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import Profile

__all__ = ["read_subject", "view"]


def read_subject(path: Path) -> Front | Profile | Plan | RunRecord:
    """Reads a profile, a plan or a run's folder, whichever it is.

    Raises:
        InputError: It is none of them, or malformed.
    """
    if os.path.isdir(path):
        return read_run(path)
    fields = _top_fields(path)
    if "points" in fields:
        return read_model(path, Front)
    if "clusters" in fields:
        return read_model(path, Plan)
    if {"device", "model"} & fields:
        return read_model(path, Profile)
    raise InputError("this is neither a profile, a plan nor a front", where=str(path), hint=_HINT)


_HINT = "give a file of `gaisnet profile` or `gaisnet plan`, or a run's folder"


def _top_fields(path: Path) -> set[str]:
    try:
        data = parse_json(read_bytes(path).decode())
    except ValueError as error:
        raise InputError(f"not valid JSON: {error}", where=str(path), hint=_HINT) from error
    return set(data) if isinstance(data, dict) else set()


def view(subject: Front | Profile | Plan | RunRecord) -> RenderableType:
    """The terminal view of a profile, a plan or a run."""
    if isinstance(subject, RunRecord):
        return run_view(subject)
    if isinstance(subject, Front):
        return front_view(subject)
    return plan_view(subject) if isinstance(subject, Plan) else profile_table(subject)
