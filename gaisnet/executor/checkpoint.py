"""Checkpoints: all that a run needs to go on bit for bit, written whole or not at all.

A checkpoint is a folder ``round-N`` (N rounds are done) with ``modules.safetensors`` (every
coordinator's modules by domain, residuals among them), ``optimizers.safetensors`` and
``state.json``, which holds the rest and the hash of the other two. It is written under a temporary
name, flushed to the disk and then renamed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gaisnet.errors import InputError, MismatchError
from gaisnet.executor.gate import Norms
from gaisnet.schema.base import Count, Sha256, Strict
from gaisnet.schema.files import canonical_json, output_error, read_model, sha256_bytes, sha256_file

__all__ = ["Checkpoint", "CheckpointState", "Checkpoints"]

_STATE, _MODULES, _OPTIMIZERS = "state.json", "modules.safetensors", "optimizers.safetensors"
_NAME = re.compile(r"round-(\d{1,9})")


class CheckpointState(Strict):
    """``state.json``."""

    schema_version: Literal[1] = 1
    rounds_done: Count
    plan_sha256: Sha256
    seed: Count
    """Of the order of samples and of dropout: all draws follow from it and the cursors."""
    cursors: dict[str, Count]
    """Steps that each owner has taken on its data."""
    norms: dict[str, Norms] = Field(default_factory=dict)
    """Norms of accepted updates, by coordinator and pool."""
    modules_sha256: Sha256
    optimizers_sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run between two rounds."""

    rounds_done: int
    seed: int
    cursors: Mapping[str, int]
    modules: Mapping[str, Tensor]
    """By ``device|domain|parameter``, the device being an edge or the cloud."""
    optimizers: Mapping[str, Tensor]
    """By ``device|stage|parameter|key``."""
    norms: Mapping[str, Norms] = field(default_factory=dict)
    """Of accepted updates, by coordinator and pool."""
    plan_sha256: str | None = None
    """Of the plan that it was taken under; none before it is written."""


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: Where they are; it is made when the first is written.
        plan_sha256: Of the run's plan.
        keep: How many of the newest are kept.
        earlier: Of plans that the run had before.
    """

    def __init__(
        self, folder: Path, plan_sha256: str, keep: int, earlier: Collection[str] = ()
    ) -> None:
        self._folder = folder
        self._plan_sha256 = plan_sha256
        self._known = {plan_sha256, *earlier}
        self._keep = keep

    def write(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then prune older ones.

        Raises:
            OutputError: It cannot be written; those before it are untouched.
        """
        target = self._folder / f"round-{checkpoint.rounds_done}"
        temporary = self._folder / f".tmp-{secrets.token_hex(6)}"
        try:
            temporary.mkdir(parents=True)
            self._write_into(temporary, checkpoint)
            if target.exists():  # left damaged by an earlier attempt
                shutil.rmtree(target)
            temporary.rename(target)
            _sync(self._folder)
        except OSError as error:
            raise output_error(error, target, "the checkpoint cannot be written") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._prune()
        return target

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is intact, and the names of damaged ones after it.

        Raises:
            MismatchError: It is of another plan.
        """
        damaged: list[str] = []
        for path in reversed(self._all()):
            try:
                return self._read(path), damaged
            except (InputError, SafetensorError):
                damaged.append(path.name)
        return None, damaged

    def _write_into(self, folder: Path, checkpoint: Checkpoint) -> None:
        modules, optimizers = save(dict(checkpoint.modules)), save(dict(checkpoint.optimizers))
        state = CheckpointState(
            rounds_done=checkpoint.rounds_done,
            plan_sha256=self._plan_sha256,
            seed=checkpoint.seed,
            cursors=dict(sorted(checkpoint.cursors.items())),
            norms=dict(checkpoint.norms),
            modules_sha256=sha256_bytes(modules),
            optimizers_sha256=sha256_bytes(optimizers),
        )
        for name, data in (
            (_MODULES, modules),
            (_OPTIMIZERS, optimizers),
            (_STATE, canonical_json(state).encode()),
        ):
            _write(folder / name, data)
        _sync(folder)

    def _read(self, path: Path) -> Checkpoint:
        state = read_model(path / _STATE, CheckpointState)
        if state.plan_sha256 not in self._known:
            raise MismatchError(
                "the checkpoint is of another plan",
                where=str(path),
                hint="resume with the plan that the run was started with",
            )
        files = {_MODULES: state.modules_sha256, _OPTIMIZERS: state.optimizers_sha256}
        for name, expected in files.items():
            if sha256_file(path / name) != expected:
                raise InputError("its content does not match its hash", where=str(path / name))
        return Checkpoint(
            rounds_done=state.rounds_done,
            plan_sha256=state.plan_sha256,
            seed=state.seed,
            cursors=state.cursors,
            norms=state.norms,
            modules=load((path / _MODULES).read_bytes()),
            optimizers=load((path / _OPTIMIZERS).read_bytes()),
        )

    def _all(self) -> list[Path]:
        """Oldest first."""
        if not self._folder.is_dir():
            return []
        numbered = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        return [path for _, path in sorted((int(m[1]), path) for m, path in numbered if m)]

    def tidy(self) -> None:
        """Remove what a killed process left half-written."""
        for path in self._folder.glob(".tmp-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _prune(self) -> None:
        self.tidy()
        for path in self._all()[: -self._keep]:
            shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
