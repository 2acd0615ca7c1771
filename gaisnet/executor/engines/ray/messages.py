"""What engine and devices say to each other beside frames: JSON, checked where it arrives.

Ray carries each message as text and each frame as plain bytes; nothing of a user's is pickled.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, get_type_hints

import psutil
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from gaisnet.errors import GaisnetError, RunError
from gaisnet.executor.blueprints import Blueprint
from gaisnet.executor.compute import own_compute
from gaisnet.models.accelerator import gpu_name
from gaisnet.schema.base import Bytes, Compute, Count, NonNegative, Strict

__all__ = [
    "UNKNOWN",
    "VERSIONS",
    "DeviceFacts",
    "DeviceNews",
    "Failure",
    "Hello",
    "Made",
    "Receipt",
    "pack_arguments",
    "pack_blueprint",
    "unpack_arguments",
    "unpack_blueprint",
]

_PACKAGES = ("gaisnet", "ray", "torch", "transformers", "peft", "safetensors")
VERSIONS = {"python": platform.python_version()} | {
    name: version(name).partition("+")[0] for name in _PACKAGES
}
"""Of what this process has imported, which may be older than what is installed by now; without what
says for which hardware it was built, as in ``2.13.0+cpu``."""
UNKNOWN = "unknown"
"""Version of what a device says nothing of."""
_BLUEPRINT: TypeAdapter[Blueprint] = TypeAdapter(Blueprint)


class Failure(Strict):
    """An error on its way to whoever runs the algorithm."""

    kind: str
    """Name of the exception's class."""
    message: str
    where: str | None = None
    hint: str | None = None
    device: str
    """Where it arose."""
    passed_on: bool = False
    """Whether a call failed only because an earlier one, whose frames it takes, had failed."""

    @classmethod
    def of(cls, error: BaseException, device: str, doing: str) -> Failure:
        """An error that arose on a device."""
        if isinstance(error, GaisnetError):
            kind, where, hint = type(error).__name__, error.where, error.hint
            return cls(kind=kind, message=error.message, where=where, hint=hint, device=device)
        message = f"{doing} failed on {device}: {type(error).__name__}: {error}"
        return cls(kind="RunError", message=message, device=device)

    def error(self) -> GaisnetError:
        """The same error, to be raised here."""
        kind = _error_kinds().get(self.kind, RunError)
        return kind(self.message, where=self.where, hint=self.hint)


class Made(Strict):
    """A frame that a call made."""

    receiver: str
    frame_bytes: Bytes
    payload_bytes: Bytes


class Hello(Strict):
    """What a device's process says first."""

    process: Count
    """Its id."""
    versions: dict[str, str]
    """What it runs, by package."""

    @classmethod
    def here(cls) -> Hello:
        """Of this process."""
        return cls(process=os.getpid(), versions=VERSIONS)

    @classmethod
    def read(cls, told: object) -> Hello:
        """From text; another gaisnet may say something else, so that nothing is known of it."""
        try:
            return cls.model_validate_json(str(told))
        except ValidationError:
            return cls(process=0, versions={})

    @property
    def gaisnet(self) -> str:
        """Its version."""
        return self.versions.get("gaisnet", UNKNOWN)

    def differences(self) -> str:
        """Packages of which it has another version than this process, for people."""
        found = [(name, self.versions.get(name, UNKNOWN), here) for name, here in VERSIONS.items()]
        other = [each for each in found if each[1] != each[2]]
        return ", ".join(f"{name} {there} (here {here})" for name, there, here in other)


class DeviceFacts(Strict):
    """What a device's process says of itself when it is asked."""

    available_bytes: Bytes
    """Memory that is free."""
    time_s: float
    """Its clock, in seconds since 1970."""
    gpu: str | None
    """What the GPU is called that torch finds there, if it finds one."""
    compute: Compute | None
    """What its node was told to compute on, if it was."""

    @classmethod
    def here(cls) -> DeviceFacts:
        """Of this process."""
        return cls(
            available_bytes=psutil.virtual_memory().available,
            time_s=time.time(),
            gpu=gpu_name(),
            compute=own_compute(),
        )


class DeviceNews(Strict):
    """``engines.base.News`` on its way."""

    lines: tuple[str, ...] = ()
    leaving: bool = False


class Receipt(Strict):
    """The outcome of a call."""

    values: str = "{}"
    """JSON, in which numbers may be infinite or not a number."""
    made: tuple[Made, ...] = ()
    work_s: NonNegative | None = None
    """How long the service worked, by the device's clock."""
    failure: Failure | None = None


def pack_arguments(arguments: Sequence[Any]) -> str:
    """Arguments of a call; floats come back bit for bit."""
    return json.dumps(to_jsonable_python(list(arguments)), separators=(",", ":"))


def unpack_arguments(method: Callable[..., Any], text: str) -> list[Any]:
    """Arguments as the method's first parameters want them.

    Raises:
        RunError: They are others.
    """
    try:
        count = len(json.loads(text))
        return list(_adapter(getattr(method, "__func__", method), count).validate_json(text))
    except (ValueError, TypeError, RecursionError, PydanticUserError) as error:
        found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise RunError(f"{method.__name__} was called with other arguments: {found}") from error


def pack_blueprint(blueprint: Blueprint) -> str:
    """A blueprint as text."""
    return blueprint.model_dump_json()


def unpack_blueprint(text: str) -> Blueprint:
    """A blueprint from text, checked.

    Raises:
        ValidationError: It is none.
    """
    return _BLUEPRINT.validate_json(text)


@lru_cache(maxsize=256)
def _adapter(method: Callable[..., Any], count: int) -> TypeAdapter[tuple[Any, ...]]:
    hints = get_type_hints(method)
    names = [name for name in inspect.signature(method).parameters if name != "self"][:count]
    if len(names) < count:
        raise TypeError(f"it takes {len(names)} at most")
    arguments: Any = tuple[tuple(hints[name] for name in names)]  # type: ignore[misc]
    return TypeAdapter(arguments)


def _error_kinds() -> dict[str, type[GaisnetError]]:
    kinds: dict[str, type[GaisnetError]] = {}
    todo: list[type[GaisnetError]] = [GaisnetError]
    while todo:
        kind = todo.pop()
        kinds[kind.__name__] = kind
        todo += kind.__subclasses__()
    return kinds
