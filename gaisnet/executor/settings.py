"""What a run tunes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaisnet.schema.job import FineTuning

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run tunes with."""

    fine_tuning: FineTuning
    seed: int
    """Of the order of samples."""
    dropout: bool = False
    """Whether the tunable modules have dropout; its draws follow the seed."""
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    """Samples of a step of an owner, by device, where they are not the job's."""
