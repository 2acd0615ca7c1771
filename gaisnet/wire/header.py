"""Who sends what to whom: the header of a frame."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from gaisnet.errors import RunError
from gaisnet.schema.base import Count, Identifier, Strict
from gaisnet.schema.job import Compression

__all__ = ["FrameError", "Header", "Kind", "Rows", "first_fault", "read_text", "write_text"]

Kind = Literal[
    "activation",
    "gradient",
    "labels",
    "tied_gradient",
    "modules",
    "data",
    "history",
    "request",
    "tokens",
    "logits",
    "secrets",
]
"""What a frame carries."""

Rows = Annotated[tuple[Count, ...], Field(max_length=65_536)]

_COUNTERS = ("epoch", "sequence", "round", "step", "microbatch", "position")
_COUNTER_DIGITS = 10 * len(_COUNTERS)


class FrameError(RunError):
    """A frame is damaged, too large, or not what was expected."""


class Header(Strict):
    """Who sends what to whom, and for which moment of the run."""

    run: Identifier
    """The run that the frame belongs to; a holder refuses any other."""
    kind: Kind
    sender: Identifier
    """Device that made the frame."""
    receiver: Identifier
    """Device that it is for."""
    epoch: Count = 0
    """Counts how often the run's services were put in place; a holder refuses any earlier one."""
    sequence: Count = 0
    """Counts the sender's frames: none is taken twice."""
    round: Count = 0
    step: Count = 0
    microbatch: Count = 0
    stage: Annotated[str, Field(max_length=200)] = ""
    """Which stage made it, or whose modules these are."""
    rows: Rows = ()
    """Samples of each owner in a merged batch, in the owners' order."""
    compression: Compression = "none"
    """How the tensors that cross a cut are quantised."""
    session: Annotated[str, Field(max_length=200)] = ""
    """Which conversation an inference frame belongs to."""
    position: Count = 0
    """Tokens that the session held before this frame."""


def write_text(header: Header) -> str:
    """The header as JSON.

    Counters are padded: a frame's size tells what it carries, not how far the run is.
    """
    counters = {name: getattr(header, name) for name in _COUNTERS}
    text = json.dumps(header.model_dump(exclude_defaults=True) | counters, separators=(",", ":"))
    return text + " " * (_COUNTER_DIGITS - sum(len(str(n)) for n in counters.values()))


def read_text(text: str) -> Header:
    """The header that ``write_text`` wrote.

    Raises:
        FrameError: It is none.
    """
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        raise FrameError(f"a frame's header is wrong: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """Where the first fault is, and what it is; nothing of what was sent is repeated."""
    one = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, one['loc']))[:100]}: {one['msg']}"
