"""Ridge regression on principal components, in closed form, with the penalty chosen by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Components", "principal_components", "ridge"]

_SMALLEST_SHARE = 1e-13
"""Of the largest eigenvalue; below it there is rounding only."""
_PENALTIES = tuple(10.0**power for power in range(-12, 3))
"""Relative to the largest eigenvalue."""


@dataclass(frozen=True)
class Components:
    """Principal components of centred rows ``X``, ``[m, f]``: the largest eigenvectors of its
    covariance."""

    directions: Tensor
    """``[f, k]``, orthonormal."""
    eigenvalues: Tensor
    """Of ``X'X``, ``[k]``, descending."""


def principal_components(rows: Tensor, most: int) -> Components:
    """Of centred rows ``[m, f]``, by the smaller of ``X'X`` and ``XX'``, in double precision.

    Args:
        rows: Centred.
        most: How many to keep; those that are rounding only are never kept.
    """
    exact = rows.double()
    wide = rows.shape[0] < rows.shape[1]
    values, vectors = torch.linalg.eigh(exact @ exact.T if wide else exact.T @ exact)
    values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most]
    kept = values > _SMALLEST_SHARE * values[0].clamp_min(torch.finfo(torch.double).tiny)
    values, vectors = values[kept], vectors[:, kept]
    if wide:
        vectors = exact.T @ vectors / values.sqrt()
    return Components(vectors, values)


def ridge(rows: Tensor, targets: Tensor, components: Components) -> Tensor:
    """The map ``[f, d]`` that is best by generalised cross-validation.

    Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge
    parameter", Technometrics 21(2), 1979, equation 1.4.

    Args:
        rows: Centred features, ``[m, f]``.
        targets: Centred, ``[m, d]``.
        components: Of the features.
    """
    wanted = targets.double()
    scale, values = components.eigenvalues.sqrt(), components.eigenvalues
    if not len(values):
        return torch.zeros(rows.shape[1], targets.shape[1], dtype=torch.double)
    coordinates = (rows.double() @ components.directions / scale).T @ wanted
    shrinkage = _best_shrinkage(values, coordinates, wanted)
    return components.directions @ (shrinkage[:, None] / scale[:, None] * coordinates)


def _best_shrinkage(values: Tensor, coordinates: Tensor, wanted: Tensor) -> Tensor:
    """``s² / (s² + λ)`` for the penalty with the least GCV score; one degree is the mean's."""
    energy, total, rows = coordinates.square().sum(1), wanted.square().sum(), len(wanted)
    best, least = torch.zeros_like(values), float(total / (1 - 1 / rows) ** 2)
    for penalty in _PENALTIES:
        shrinkage = values / (values + penalty * values[0])
        freedom = 1 - float(shrinkage.sum() + 1) / rows
        residual = float(total - (energy * shrinkage * (2 - shrinkage)).sum())
        if freedom > 0.5 / rows and max(residual, 0.0) / freedom**2 < least:
            best, least = shrinkage, max(residual, 0.0) / freedom**2
    return best
