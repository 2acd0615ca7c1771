"""How well returned gradients tell the labels.

Li et al., "Label leakage and protection in two-party split learning", ICLR 2022, sections 3.1 and
3.2: the party without labels scores each sample by the norm of its gradient, or by the cosine with
one gradient whose label it knows. Their two classes become one class against the rest here.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["auc", "label_auc_by_cosine", "label_auc_by_norm"]


def auc(scores: Tensor, positive: Tensor) -> Tensor:
    """Area under the ROC curve: the chance that a positive sample scores above a negative one.

    Equal scores count half (Mann and Whitney's U over the number of pairs).

    Args:
        scores: ``[…, samples]``; several attackers at once if there are leading dimensions.
        positive: Which samples are, ``[samples]``; some must be and some not.

    Returns:
        ``[…]``, from 0 to 1.
    """
    above, below = scores[..., positive, None], scores[..., None, ~positive]
    return ((above > below).double() + 0.5 * (above == below).double()).mean((-2, -1))


def label_auc_by_norm(gradients: Tensor, labels: Tensor) -> float | None:
    """Mean over the classes of the AUC of ``‖gradient‖`` for one class against the rest.

    The attacker is granted the direction: it may also be the smaller norms that are positive.

    Args:
        gradients: One a sample, ``[samples, …]``.
        labels: Class ids, ``[samples]``.

    Returns:
        From 0.5 to 1; ``None`` where there is but one class.
    """
    norms = gradients.flatten(1).double().norm(dim=1)
    found = [float(auc(norms, positive)) for positive in _classes(labels)]
    return _mean([max(area, 1 - area) for area in found])


def label_auc_by_cosine(gradients: Tensor, labels: Tensor) -> float | None:
    """Mean over classes and hints of the AUC of the cosine with a known sample's gradient.

    Every sample of a class is the hint in turn, and is then not among those to be told apart.
    Gradients that are all zero have a cosine of zero with any other.

    Args:
        gradients: One a sample, ``[samples, …]``.
        labels: Class ids, ``[samples]``.

    Returns:
        From 0 to 1, 0.5 for an uninformed attacker; ``None`` where no class has two samples
        and others beside it.
    """
    flat = gradients.flatten(1).double()
    unit = flat / flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.double).tiny)
    # In single precision, so that gradients of one direction tie whatever the rounding.
    cosines = (unit @ unit.T).float()
    found = []
    for positive in _classes(labels):
        hints = positive.nonzero().flatten()
        if len(hints) > 1:
            found.append(float(_hinted(cosines, positive, hints)))
    return _mean(found)


def _hinted(cosines: Tensor, positive: Tensor, hints: Tensor) -> Tensor:
    """Mean AUC over the hints, each without itself: its own pairs are all won, and taken away."""
    others = len(hints) - 1
    found = []
    for hint in hints:
        scores = cosines[hint].clone()
        scores[hint] = torch.inf
        found.append((auc(scores, positive) * len(hints) - 1) / others)
    return torch.stack(found).mean()


def _classes(labels: Tensor) -> Iterator[Tensor]:
    """Which samples are of a class, for each class that some are of and some are not."""
    for label in torch.unique(labels).tolist():
        positive = labels == label
        if not positive.all():
            yield positive


def _mean(areas: list[float]) -> float | None:
    return sum(areas) / len(areas) if areas else None
