"""The service on an edge server (and on the cloud) that keeps the modules and averages them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gaisnet.executor.aggregate import Aggregator, Contribution, ModuleState
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer, FrameError
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.residual import is_residual, residual_name

__all__ = ["COORDINATOR", "Coordinator", "body_pool", "cloud_pool", "edge_pool", "owner_pool"]

COORDINATOR = "coordinator"
"""Name of the service."""


class Coordinator:
    """Keeps one set of tunable modules per domain.

    Contributions are gathered in pools: the owners of a cluster, its body stages, the clusters
    of a domain at an edge, the edges of a domain at the cloud.

    Args:
        device: Id of the device.
        run: Id of the run.
        aggregator: How contributions become one.
        modules: The first modules of each domain.
    """

    def __init__(
        self, device: str, run: str, aggregator: Aggregator, modules: Mapping[str, ModuleState]
    ) -> None:
        self._mailbox = Mailbox(device, run)
        self._aggregator = aggregator
        self._modules: dict[str, dict[str, Tensor]] = {d: dict(m) for d, m in modules.items()}
        self._pools: dict[str, dict[str, Contribution]] = {}

    def give(
        self, domain: str, moment: Moment, receiver: str, names: Sequence[str] | None = None
    ) -> Answer:
        """The modules of a domain, or of them those in ``names`` with their residuals."""
        state = self._modules[domain]
        if names is not None:
            wanted = {*names, *map(residual_name, names)}
            state = {name: tensor for name, tensor in state.items() if name in wanted}
        return Answer((self._mailbox.frame("modules", receiver, state, moment),))

    def collect_stages(
        self, pool: str, source: str, samples: int, domain: str, moment: Moment, frame: Buffer
    ) -> Answer:
        """Put the modules of a device's stages into a pool.

        Stages do not send residuals back, since they do not change them; they are those that
        this coordinator gave out.

        Raises:
            FrameError: A tensor is unknown, or not of the known shape and type.
        """
        state = self._with_residuals(domain, self._open(source, domain, moment, frame))
        self._pools.setdefault(pool, {})[source] = Contribution(samples, state)
        return Answer()

    def pass_on(self, domain: str, moment: Moment, receiver: str, frame: Buffer) -> Answer:
        """Hand one owner's modules to the next as they are; raises as above."""
        state = self._with_residuals(domain, self._open("an owner", domain, moment, frame))
        return Answer((self._mailbox.frame("modules", receiver, state, moment),))

    def collect_edge(
        self, source: str, samples: int, domain: str, moment: Moment, frame: Buffer
    ) -> Answer:
        """Put an edge's modules of a domain into the cloud's pool; raises as above."""
        state = self._open(source, domain, moment, frame)
        self._pools.setdefault(cloud_pool(domain), {})[source] = Contribution(samples, state)
        return Answer()

    def close_cluster(self, cluster: str, domain: str, samples: int) -> Answer:
        """Average a cluster's owners, add its body, and put the whole into the domain's pool.

        A parameter that an owner's stage and a body stage share is taken from the owners.
        """
        state: dict[str, Tensor] = {}
        for part in self._pools.pop(body_pool(cluster), {}).values():
            state.update(part.state)
        owners = self._pools.pop(owner_pool(cluster), None)
        if owners is not None:
            state.update(self._aggregator.average(owners))
        pool = self._pools.setdefault(edge_pool(domain), {})
        pool[cluster] = Contribution(samples, state)
        return Answer()

    def close(self, pool: str, domain: str) -> Answer:
        """Average a pool: the result are the domain's modules from now on."""
        self._modules[domain] = self._aggregator.average(self._pools.pop(pool))
        return Answer()

    def take(self, domain: str, moment: Moment, frame: Buffer) -> Answer:
        """Replace a domain's modules by what the cloud, or a checkpoint, says."""
        _, state = self._mailbox.open(frame, moment, "modules")
        self._modules[domain] = state
        return Answer()

    def _with_residuals(self, domain: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        known = self._modules[domain]
        twins = {residual_name(name) for name in state} & known.keys() - state.keys()
        return state | {name: known[name] for name in sorted(twins)}

    def _open(self, source: str, domain: str, moment: Moment, frame: Buffer) -> dict[str, Tensor]:
        _, state = self._mailbox.open(frame, moment, "modules")
        known = self._modules[domain]
        for name, tensor in state.items():
            like = known.get(name)
            if like is None and is_residual(name):
                continue
            if like is None or like.shape != tensor.shape or like.dtype != tensor.dtype:
                found = f"{tuple(tensor.shape)} {tensor.dtype}"
                raise FrameError(f"{source} sent {name} of {found}, which does not fit the model")
        return state


def owner_pool(cluster: str) -> str:
    """Pool of the owners of a cluster."""
    return f"{cluster}/owners"


def body_pool(cluster: str) -> str:
    """Pool of the body stages of a cluster."""
    return f"{cluster}/body"


def edge_pool(domain: str) -> str:
    """Pool of the clusters of a domain at an edge."""
    return f"edge/{domain}"


def cloud_pool(domain: str) -> str:
    """Pool of the edges of a domain at the cloud."""
    return f"cloud/{domain}"
