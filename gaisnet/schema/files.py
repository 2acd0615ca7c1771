"""Reads files into strict models; writes canonical JSON, and never half a file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gaisnet.errors import InputError, OutputError, UsageError
from gaisnet.schema.explain import explain
from gaisnet.schema.parse import Plain, parse_json, parse_yaml

__all__ = [
    "MAX_FILE_BYTES",
    "canonical_json",
    "check_new",
    "check_readable",
    "check_writable",
    "make_folder",
    "output_error",
    "read_bytes",
    "read_lines",
    "read_model",
    "resolve",
    "sha256_bytes",
    "sha256_file",
    "write_atomic",
]

T = TypeVar("T", bound=BaseModel)
StrPath = str | os.PathLike[str]

MAX_FILE_BYTES = 16 * 2**20
"""Largest file that is read as YAML or JSON."""


def read_model(path: StrPath, model: type[T]) -> T:
    """Reads a YAML file (``.yaml``, ``.yml``) or a JSON file into a strict model.

    Raises:
        InputError: The file is missing, unreadable, malformed, or not what the model asks for;
            the message names the file, the field, its value and what to do.
    """
    return _validated(_parse(Path(path)), Path(path), model)


def read_lines(path: StrPath, model: type[T]) -> tuple[T, ...]:
    """Reads a file of one JSON object a line; an unfinished last line counts as not written.

    Raises:
        InputError: As for ``read_model``; the message names the line.
    """
    text = _decode(read_bytes(path), Path(path))
    lines = text.split("\n")[:-1]
    return tuple(
        _read_line(line, f"{path}:{number}", model) for number, line in enumerate(lines, 1)
    )


def _read_line(line: str, place: str, model: type[T]) -> T:
    try:
        data = parse_json(line)
    except ValueError as error:
        raise _malformed(place, "JSON", error) from error
    return _validated(data, Path(place), model)


def _validated(data: Plain, path: Path, model: type[T]) -> T:
    # Strict validation takes tuples from JSON's lists only when it reads JSON itself.
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise explain(error, path, data, model) from error


def _parse(path: Path) -> Plain:
    text = _decode(read_bytes(path), path)
    if not text.strip():
        raise InputError(
            "the file is empty", where=str(path), hint="write it again, or name another one"
        )
    form, parse = ("JSON", parse_json) if path.suffix == ".json" else ("YAML", parse_yaml)
    try:
        data = parse(text)
    except ValueError as error:
        raise _malformed(str(path), form, error) from error
    if not isinstance(data, dict):
        raise InputError(
            "the file must hold a mapping of fields",
            where=str(path),
            hint="docs/schema says which fields each file has",
        )
    return data


def _malformed(place: str, form: str, error: ValueError) -> InputError:
    return InputError(f"not valid {form}: {error}", where=place, hint="correct it at that place")


def read_bytes(path: StrPath, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Reads a whole file of the user's.

    Raises:
        InputError: It is missing, a folder, unreadable, or larger than ``limit_bytes``.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=where, hint="check the path") from error
    except IsADirectoryError as error:
        raise InputError(
            "this is a folder, not a file", where=where, hint="name a file in it"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"the file cannot be read: {reason}", where=where, hint="check who may read it"
        ) from error
    if len(data) > limit_bytes:
        raise InputError(
            f"the file is larger than {limit_bytes} bytes", where=where, hint="check the path"
        )
    return data


def check_readable(path: StrPath, *, hint: str) -> None:
    """Refuses a file that a library would misname: safetensors calls any of these missing.

    Raises:
        InputError: It is missing, a folder, or not to be read by this user.
    """
    if os.path.isdir(path):
        raise InputError("this is a folder, not a file", where=str(path), hint=hint)
    if not os.path.exists(path):
        raise InputError("there is no such file", where=str(path), hint=hint)
    if not os.access(path, os.R_OK):
        raise InputError("the file cannot be read: Permission denied", where=str(path), hint=hint)


def _decode(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte {error.start} is not UTF-8 text", where=str(path), hint="save it as UTF-8"
        ) from error


def canonical_json(model: BaseModel) -> str:
    """The one JSON text of a model: sorted keys, shortest floats, a newline at the end."""
    data = model.model_dump(mode="json")
    return json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_bytes(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: StrPath) -> str:
    """SHA-256 of a file's content, of any size.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", where=str(path)) from error


def resolve(base_file: StrPath, relative: str) -> Path:
    """A path that stands in a file, relative to that file's folder."""
    return Path(base_file).parent / Path(relative).expanduser()


def check_writable(path: StrPath, *, force: bool = False) -> None:
    """Refuses a target that would be refused after hours of work.

    Raises:
        UsageError: It exists and ``force`` is false, or it is a folder.
        OutputError: Its folder does not exist.
    """
    target = Path(path)
    if os.path.isdir(target):
        raise UsageError("this is a folder", where=str(path), hint="name a file in it")
    if os.path.isfile(target) and not force:
        raise UsageError(
            "the file exists",
            where=str(path),
            hint="name another one, or overwrite it with --force",
        )
    if not os.path.isdir(target.parent):
        raise OutputError(
            f"there is no folder {target.parent}", where=str(path), hint="make the folder first"
        )


def check_new(path: StrPath | None, *, force: bool = False) -> None:
    """``check_writable``, if there is a target."""
    if path is not None:
        check_writable(path, force=force)


def make_folder(path: StrPath) -> None:
    """Makes a folder and those above it, where they are not there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path, "the folder cannot be made") from error


def write_atomic(path: StrPath, data: bytes | str, *, force: bool = False) -> None:
    """Writes a file whole or not at all: a temporary name beside it, then a rename.

    A device or a pipe is written to directly.

    Args:
        path: The target; a symbolic link is followed.
        data: Its content; text becomes UTF-8.
        force: Whether an existing file is replaced.

    Raises:
        UsageError: It exists and ``force`` is false.
        OutputError: It cannot be written: disk full, no permission, no such folder.
    """
    check_writable(path, force=force)
    content = data.encode() if isinstance(data, str) else data
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            _write_through(target, content)
        else:
            _replace(target, content)
    except OSError as error:
        raise output_error(error, path) from error


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".gaisnet-{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk only with its folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_through(target: Path, content: bytes) -> None:
    with open(target, "wb", buffering=0) as file:
        file.write(content)


_HINTS = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space in your quota, or write to another disk",
    errno.EFBIG: "raise the limit on file sizes, or write to another disk",
    errno.EACCES: "write to a folder that you may write to",
    errno.EPERM: "write to a folder that you may write to",
    errno.EROFS: "the disk is read-only: write to another one",
    errno.EEXIST: "name another one: a file has this name",
    errno.ENOTDIR: "name another one: a file stands where a folder would have to",
    errno.ENAMETOOLONG: "use a shorter name",
}


def output_error(error: OSError, path: StrPath, what: str = "cannot write") -> OutputError:
    """What the system said of a result that it did not take, with what to do about it."""
    hint = _HINTS.get(error.errno or 0)
    return OutputError(f"{what}: {error.strerror}", where=str(path), hint=hint)
