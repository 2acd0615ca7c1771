"""Bounds that files and options share. It imports nothing: ``gaisnet --help`` is not to wait."""

from __future__ import annotations

__all__ = ["ID_PATTERN", "MAX_INTEGER", "MAX_LABELS", "MAX_WIDTH"]

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Of a device, a cluster, a service: it may name a file, and never leads out of a folder."""
MAX_INTEGER = 2**63 - 1
"""Larger integers are not portable JSON, and no figure of ours needs them."""
MAX_WIDTH = 2**16
"""Of a module that is attached to a model: wider than the layers of any."""
MAX_LABELS = 2**20
"""Classes of a head: more than any has."""
