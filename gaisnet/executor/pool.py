"""What a coordinator has been sent for one average: what counts, and what was rejected."""

from __future__ import annotations

from dataclasses import dataclass, field

from gaisnet.executor.aggregate import Contribution

__all__ = ["Pool", "body_pool", "cloud_pool", "edge_pool", "owner_pool", "turn_pool"]


@dataclass(slots=True)
class Pool:
    """Contributions of one round, by source."""

    contributions: dict[str, Contribution] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a source's contribution does not count."""
    lost_samples: int = 0
    """Of the sources in ``reasons``."""

    judged: set[str] = field(default_factory=set)
    """Sources whose norms were looked at."""

    @property
    def newest(self) -> Contribution | None:
        """The last that came and counts."""
        return next(reversed(self.contributions.values()), None)

    def reject(self, source: str, samples: int, reason: str) -> None:
        """Leave a source out."""
        self.contributions.pop(source, None)
        self.reasons[source] = reason
        self.lost_samples += samples


def owner_pool(cluster: str) -> str:
    """Pool of the owners of a cluster."""
    return f"{cluster}/owners"


def turn_pool(cluster: str) -> str:
    """Pool of what the owners of a cluster hand on from turn to turn."""
    return f"{cluster}/turns"


def body_pool(cluster: str) -> str:
    """Pool of the body stages of a cluster."""
    return f"{cluster}/body"


def edge_pool(domain: str) -> str:
    """Pool of the clusters of a domain at an edge."""
    return f"edge/{domain}"


def cloud_pool(domain: str) -> str:
    """Pool of the edges of a domain at the cloud."""
    return f"cloud/{domain}"
