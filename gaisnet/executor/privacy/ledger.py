"""What differentially private updates have spent."""

from __future__ import annotations

from functools import lru_cache

from gaisnet.errors import UsageError
from gaisnet.schema.job import PrivacySpec

__all__ = ["epsilon_spent"]


def epsilon_spent(spec: PrivacySpec, rounds: int) -> float | None:
    """ε of one owner's updates in so many rounds, at ``spec.delta``; None if they have no noise.

    Each round is a Gaussian mechanism, all rounds compose (Rényi accounting, Mironov, arXiv
    1702.07476). The guarantee is local: it holds against whoever averages, and between any two
    data sets of the owner, whose clipped updates are at most 2 C apart; so the multiplier that
    counts is half of the job's. Owners take part in every round: nothing is gained by sampling.

    It covers the head and tail modules that the owner sends, not its activations, nor the
    body's modules, which others hold and tune on those activations.

    Raises:
        UsageError: The library that keeps account is not installed.
    """
    if spec.update_clip_norm is None or spec.noise_multiplier == 0.0 or rounds == 0:
        return None
    return _composed(spec.noise_multiplier / 2.0, rounds, spec.delta)


@lru_cache(maxsize=1024)
def _composed(multiplier: float, rounds: int, delta: float) -> float:
    try:
        from dp_accounting.dp_event import GaussianDpEvent, SelfComposedDpEvent
        from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant
    except ImportError as error:
        raise UsageError(
            "differentially private updates need the library dp-accounting",
            hint="pip install 'gaisnet[privacy]'",
        ) from error
    accountant = RdpAccountant()
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(multiplier), rounds))
    return float(accountant.get_epsilon(delta))
