"""The manifest of a run, in the run's folder."""

from __future__ import annotations

import os
from pathlib import Path

from gaisnet.errors import InputError
from gaisnet.schema.files import read_model
from gaisnet.schema.run import RunManifest

__all__ = ["MANIFEST", "read_manifest"]

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> RunManifest:
    """Which run a folder holds.

    Raises:
        InputError: It holds none, or the manifest is malformed.
    """
    path = folder / MANIFEST
    if not os.path.isfile(path):
        raise InputError(
            "there is no run in this folder",
            where=str(folder),
            hint="name a folder that `gaisnet execute` made, and that you may read",
        )
    return read_model(path, RunManifest)
