"""Engines: where services run and how frames travel."""

from gaisnet.executor.engines.base import Address, Answer, Engine, News, Parcel, Reply
from gaisnet.executor.engines.choose import EngineOptions, make_engine
from gaisnet.executor.engines.local import LocalEngine

__all__ = [
    "Address",
    "Answer",
    "Engine",
    "EngineOptions",
    "LocalEngine",
    "News",
    "Parcel",
    "Reply",
    "make_engine",
]
