"""Bytes of a tensor on the wire, quantised or not: what the executor's quantiser must match."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gaisnet.schema.job import Compression

__all__ = ["SCALE_BYTES", "compressed_bytes", "compressed_rows_bytes"]

SCALE_BYTES = 4
"""One float32 scale per row (a row is the last dimension), as in per-token absmax quantisation
(Dettmers et al., arXiv 2208.07339, section 3.1)."""


def compressed_bytes(shape: Sequence[int], kind: Compression, item_bytes: int = 4) -> int:
    """Payload bytes of a tensor of ``shape`` whose items have ``item_bytes`` uncompressed."""
    if not shape:
        return compressed_rows_bytes(1, 1, kind, item_bytes)
    return compressed_rows_bytes(prod(shape[:-1]), shape[-1], kind, item_bytes)


def compressed_rows_bytes(rows: int, width: int, kind: Compression, item_bytes: int = 4) -> int:
    """Payload bytes of ``rows`` rows of ``width`` items.

    ``int8`` takes one byte an item and a scale a row; ``int4`` packs two items of a row into one
    byte, rounded up, and adds the same scale. An empty tensor takes none.
    """
    if rows * width == 0:
        return 0
    if kind == "int8":
        return rows * (width + SCALE_BYTES)
    if kind == "int4":
        return rows * ((width + 1) // 2 + SCALE_BYTES)
    return rows * width * item_bytes
