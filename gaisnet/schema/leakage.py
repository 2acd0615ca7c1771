"""What the traffic over a cut gives away, in a profile."""

from __future__ import annotations

from typing import Literal

from gaisnet.schema.base import Count, Fraction, NonNegative, PositiveCount, Strict

__all__ = ["Attack", "LeakageRow"]

Attack = Literal["ridge", "position_ridge", "mlp", "nearest_neighbour"]


class LeakageRow(Strict):
    """One cut: what its smashed data tells of the raw inputs, and its gradients of the labels."""

    unit: Count
    """The cut is the one after this unit."""
    samples: PositiveCount
    """Samples measured; half of them taught the attacks, the other half was attacked."""
    distance_correlation: Fraction
    """Between raw inputs and smashed data (Székely and Rizzo 2013, bias-corrected)."""
    distance_correlation_null: Fraction
    """The mean of the same over permuted samples: what this many independent ones would show."""
    inversion_error: NonNegative
    """Error of the best attack on held-out inputs over that of guessing: 0 all leaks, 1 nothing.

    For images and sound the squared error against predicting the mean; for tokens the share of
    wrong ones against always answering the most frequent.
    """
    inversion_error_stderr: NonNegative
    """Standard error of the same, over the held-out samples."""
    attack: Attack
    """The attack that had the smallest error."""
    token_accuracy: Fraction | None = None
    """Share of held-out tokens recovered; for text only."""
    majority_accuracy: Fraction | None = None
    """The same for always answering the most frequent token."""
    label_auc_norm: Fraction | None = None
    """How well the returned gradients' norms tell the classes apart: 0.5 not at all, 1 wholly.

    Absent where no gradient crosses the cut or the labels are no classes.
    """
    label_auc_cosine: Fraction | None = None
    """The same by the cosine with a gradient whose label the attacker knows."""
