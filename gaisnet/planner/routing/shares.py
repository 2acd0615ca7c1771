"""Divides each device's inference share between the services that use it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from gaisnet.planner.routing.options import Option
from gaisnet.schema.plan import Share

__all__ = ["FINE_TUNING", "divide_shares"]

FINE_TUNING = "fine-tuning"


def divide_shares(
    kept: float, holders: Collection[str], options: Sequence[Option]
) -> tuple[Share, ...]:
    """Shares of compute and links on every device that holds a stage.

    Fine-tuning has what inference leaves. Services divide the inference share in proportion to
    the time that they need on the device, and on all links that it sends on.
    """
    compute: defaultdict[str, dict[str, float]] = defaultdict(dict)
    link: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for option in options:
        name, rate = option.service.id, option.service.rate_per_s
        for resource, seconds in option.demand_s.items():
            if isinstance(resource, str):
                compute[resource][name] = compute[resource].get(name, 0.0) + rate * seconds
            else:
                link[resource[0]][name] = link[resource[0]].get(name, 0.0) + rate * seconds
    shares = []
    for device in sorted({*holders, *compute, *link}):
        shares.append(Share(device=device, user=FINE_TUNING, compute=1.0 - kept, link=1.0 - kept))
        for service in sorted({*compute[device], *link[device]}):
            shares.append(
                Share(
                    device=device,
                    user=service,
                    compute=kept * _part(compute[device], service),
                    link=kept * _part(link[device], service),
                )
            )
    return tuple(shares)


def _part(used: dict[str, float], service: str) -> float:
    total = sum(used.values())
    return used.get(service, 0.0) / total if total > 0.0 else 0.0
