"""Every reader, as a function of bytes that raises only what its documentation promises.

Shared by the fuzzer (``python -m fuzz``) and by the property tests of ``tests/hostile``.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from gaisnet.errors import GaisnetError
from gaisnet.executor.checkpoint import Checkpoints, CheckpointState
from gaisnet.executor.data import DataFormat
from gaisnet.executor.data.files import load_shard
from gaisnet.executor.engines.ray import messages
from gaisnet.executor.frames import decode, read_header
from gaisnet.executor.holder import Holder
from gaisnet.profiler.leakage import read_profile_sample
from gaisnet.report import read_subject
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.catalogue import _Catalogue
from gaisnet.schema.files import canonical_json, read_lines, read_model, sha256_bytes
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.front import Front
from gaisnet.schema.job import Job
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import Profile
from gaisnet.schema.run import Event, RoundMetrics, RunManifest, ServiceMetrics
from gaisnet.schema.run_calibration import Calibration
from gaisnet.security.authority import Authority
from gaisnet.security.credentials import read_credentials
from gaisnet.security.knock import _takes
from gaisnet.wire.header import read_text

__all__ = ["TARGETS", "TOGETHER", "Target", "target"]

Target = Callable[[bytes], object]

_HASH = "0" * 64
_ANSWER_S = 5.0
_ANSWER_BYTES = 2**16
"""What a pair of sockets holds, since nobody reads meanwhile."""
_IMAGES = DataFormat(
    task="image_classification",
    main_input="pixel_values",
    sample_shape=(1, 8, 8),
    classes=3,
    accepted=frozenset({"pixel_values"}),
)
_TOKENS = DataFormat(task="causal_lm", vocabulary=50, max_tokens=16)
_WORDS = ("[UNK]", "to", "be", "or", "not", "that", "is")


@cache
def _folder() -> Path:
    """Of this process; in memory where that is possible."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="gaisnet-fuzz-", dir=place))


@contextmanager
def _file(data: bytes, name: str) -> Iterator[Path]:
    path = _folder() / name
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink()


def _read_frame(data: bytes) -> None:
    for read in (decode, read_header, lambda frame: decode(bytearray(frame), max_bytes=4096)):
        with suppress(GaisnetError):
            read(data)


def _read_header(data: bytes) -> None:
    with suppress(GaisnetError):
        read_text(data.decode("utf-8", "surrogateescape"))


def _read_message(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    known = messages.Receipt, messages.Failure, messages.DeviceFacts, messages.DeviceNews
    for kind in (*known, messages.Hello):
        with suppress(ValidationError):
            kind.model_validate_json(text)
    with suppress(ValidationError):
        messages.unpack_blueprint(text)


def _read_arguments(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for method in (Holder.hold, Holder.forward, Holder.set_modules, Holder.masked_modules):
        with suppress(GaisnetError):
            messages.unpack_arguments(method, text)


def _model_file(model: type[BaseModel], suffix: str) -> Target:
    def read(data: bytes) -> None:
        with _file(data, f"file{suffix}") as path, suppress(GaisnetError):
            read_model(path, model)

    return read


def _line_file(data: bytes) -> None:
    with _file(data, "lines.jsonl") as path:
        for model in (Event, RoundMetrics, ServiceMetrics):
            with suppress(GaisnetError):
                read_lines(path, model)


def _subject(data: bytes) -> None:
    with _file(data, "subject.json") as path, suppress(GaisnetError):
        read_subject(path)


def _checkpoint(state: bytes, tensors: bytes) -> None:
    folder = _folder() / "checkpoints" / "round-1"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("state.json", state),
        ("modules.safetensors", tensors),
        ("optimizers.safetensors", tensors),
    ):
        (folder / name).write_bytes(content)
    with suppress(GaisnetError):
        Checkpoints(folder.parent, _HASH, keep=1).newest()


def _checkpoint_tensors(data: bytes) -> None:
    """Whoever wrote the tensors wrote their hash as well."""
    digest = sha256_bytes(data)
    state = CheckpointState(
        rounds_done=1,
        plan_sha256=_HASH,
        seed=0,
        cursors={},
        modules_sha256=digest,
        optimizers_sha256=digest,
    )
    _checkpoint(canonical_json(state).encode(), data)


def _shard(suffix: str, form: DataFormat) -> Target:
    def read(data: bytes) -> None:
        with _file(data, f"shard{suffix}") as path:
            known = replace(form, tokenizer=_tokenizer()) if suffix == ".jsonl" else form
            for use in ("samples", "requests"):
                with suppress(GaisnetError):
                    load_shard(path, "owner", known, use=use)

    return read


@cache
def _tokenizer() -> Path:
    folder = _folder() / "tokenizer"
    made = Tokenizer(WordLevel({word: n for n, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]").save_pretrained(folder)
    return folder


@cache
def _spec() -> ModelSpec:
    path = _folder() / "model.json"
    path.write_text(
        '{"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, '
        '"num_attention_heads": 2, "intermediate_size": 24, "image_size": 8, "patch_size": 4, '
        '"num_channels": 1, "num_labels": 3}'
    )
    return ModelSpec(source=str(path), weights="random")


def _leakage_sample(data: bytes) -> None:
    with _file(data, "sample.safetensors") as path, suppress(GaisnetError):
        read_profile_sample(path, _spec(), 16)


def _head_answer(data: bytes) -> None:
    """What a head says to a device that knocks."""
    here, there = socket.socketpair()
    with here, there, suppress(GaisnetError, TimeoutError):
        there.settimeout(_ANSWER_S)
        there.sendall(data[:_ANSWER_BYTES])
        there.shutdown(socket.SHUT_WR)
        _takes(here, "head:1", None, time.monotonic() + _ANSWER_S)


def _credentials(data: bytes) -> None:
    """The token, and every file of an authority, may hold anything."""
    folder = _folder() / "credentials"
    folder.mkdir(exist_ok=True)
    for name in ("cert.pem", "key.pem", "ca.pem", "token"):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    with suppress(GaisnetError):
        read_credentials(folder)


def _authority(data: bytes) -> None:
    folder = _folder() / "authority"
    (folder / "phone").mkdir(parents=True, exist_ok=True)
    for name in ("ca-key.pem", "ca.pem", "token", "phone/cert.pem"):
        (folder / name).write_bytes(data)
    for work in (lambda: Authority(folder).admit("board", []), lambda: Authority(folder).renew()):
        with suppress(GaisnetError):
            work()


_MODELS: dict[str, tuple[type[Any], str]] = {
    "profile": (Profile, ".json"),
    "fleet": (Fleet, ".yaml"),
    "fleet-json": (Fleet, ".json"),
    "job": (Job, ".yaml"),
    "plan": (Plan, ".json"),
    "manifest": (RunManifest, ".json"),
    "calibration": (CalibrationStep, ".json"),
    "run-calibration": (Calibration, ".json"),
    "front": (Front, ".json"),
    "catalogue": (_Catalogue, ".yaml"),
}

TARGETS: dict[str, Target] = {
    "frame": _read_frame,
    "header": _read_header,
    "message": _read_message,
    "arguments": _read_arguments,
    **{name: _model_file(*which) for name, which in _MODELS.items()},
    "lines": _line_file,
    "subject": _subject,
    "checkpoint-state": lambda data: _checkpoint(data, b""),
    "checkpoint-tensors": _checkpoint_tensors,
    "shard-tensors": _shard(".safetensors", _IMAGES),
    "shard-tokens": _shard(".safetensors", _TOKENS),
    "shard-text": _shard(".jsonl", _TOKENS),
    "leakage-sample": _leakage_sample,
    "head-answer": _head_answer,
    "credentials": _credentials,
    "authority": _authority,
}

TOGETHER = "together"
"""Name of a target that holds all of them: what is slow to load is loaded once."""


def target(name: str) -> Target:
    """The target of a name; of ``TOGETHER`` the input's first byte chooses the reader."""
    if name != TOGETHER:
        return TARGETS[name]
    readers = list(TARGETS.values())
    return lambda data: readers[data[0] % len(readers)](data[1:]) if data else None
