"""Which updates a coordinator takes: a bad one is left out, counted and named, and ends no run.

Names, shapes, types and finiteness are always checked. The norm of an update, that is of the
difference from the modules that were given out, must not exceed a multiple of the median over the
updates of this round and the last ones that were accepted; while most contributors are honest, so
is that median (after Sun et al., arXiv 1911.07963, section 4: norm thresholding). Aggregation
weights never come from a contributor: they are the plan's record of its samples.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from statistics import median

import torch
from torch import Tensor

from gaisnet.executor.pool import Pool
from gaisnet.executor.residual import is_residual
from gaisnet.schema.job import UpdateGateSpec

__all__ = ["Norms", "UpdateGate", "update_norm"]

Norms = dict[str, list[float]]
"""Norms of accepted updates, oldest first, by pool."""

_FEWEST_NORMS = 3
"""Of two norms, neither can be called the outlier."""


class UpdateGate:
    """Judges updates, and remembers the norms of those that it accepted."""

    def __init__(self, spec: UpdateGateSpec) -> None:
        self._spec = spec
        self._norms: dict[str, deque[float]] = {}

    def fault(
        self, state: Mapping[str, Tensor], known: Mapping[str, Tensor], names: Collection[str]
    ) -> str | None:
        """What is wrong with an update by itself.

        Args:
            state: The update.
            known: The modules that were given out.
            names: Those of them that the sender has to return; residuals may come beside them.
        """
        strangers = sorted(n for n in state.keys() - set(names) if not is_residual(n))
        missing = sorted(set(names) - state.keys())
        if strangers or missing:
            return f"{strangers[0]} is not expected" if strangers else f"{missing[0]} is missing"
        for name, tensor in sorted(state.items()):
            like = known.get(name)
            if like is not None and (like.shape != tensor.shape or like.dtype != tensor.dtype):
                return f"{name} of {tuple(tensor.shape)} {tensor.dtype} does not fit the model"
            if not bool(torch.isfinite(tensor).all()):
                return f"{name} is not finite"
        return None

    def drop_outliers(
        self,
        name: str,
        pool: Pool,
        known: Mapping[str, Tensor],
        *,
        apart: bool = False,
        trusted: str | None = None,
    ) -> None:
        """Reject a pool's updates of too large a norm; the norms of the others are remembered.

        Args:
            name: Of the pool.
            pool: Its contributions; those that are judged already are not judged again.
            known: The modules that were given out.
            apart: Whether each source is measured by its own past alone, as body stages are,
                whose modules are not alike.
            trusted: The coordinator itself, if it contributes.
        """
        norms = {
            source: update_norm(part.state, known)
            for source, part in sorted(pool.contributions.items())
            if source != trusted and source not in pool.judged
        }
        pool.judged.update(norms)
        if not apart:
            self._judge(name, pool, norms)
            return
        for source, norm in norms.items():
            self._judge(f"{name}/{source}", pool, {source: norm})

    def export(self) -> Norms:
        """What is remembered, for a checkpoint."""
        return {pool: list(norms) for pool, norms in sorted(self._norms.items()) if norms}

    def restore(self, norms: Mapping[str, Iterable[float]]) -> None:
        """Put back what ``export`` gave."""
        self._norms = {pool: deque(n, maxlen=self._spec.window) for pool, n in norms.items()}

    def _judge(self, key: str, pool: Pool, norms: Mapping[str, float]) -> None:
        past = self._norms.setdefault(key, deque(maxlen=self._spec.window))
        bound = self._bound([*past, *norms.values()])
        for source, norm in norms.items():
            if norm <= bound:
                past.append(norm)
                continue
            times = f"{self._spec.norm_factor:g} times the running median"
            reason = f"its norm {norm:.3g} is above {bound:.3g}, {times}"
            pool.reject(source, pool.contributions[source].samples, reason)

    def _bound(self, norms: list[float]) -> float:
        if self._spec.norm_factor is None or len(norms) < _FEWEST_NORMS:
            return math.inf
        return self._spec.norm_factor * median(norms) or math.inf


def update_norm(state: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> float:
    """Euclidean norm of ``state - known`` over all tensors; those not in ``known`` count whole."""
    parts = [
        torch.linalg.vector_norm(tensor.double() - known[name].double())
        if name in known
        else torch.linalg.vector_norm(tensor.double())
        for name, tensor in sorted(state.items())
    ]
    return float(torch.linalg.vector_norm(torch.stack(parts))) if parts else 0.0
