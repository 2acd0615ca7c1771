"""What an owner does to its modules and activations before they leave: clipping and noise."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

import torch
from torch import Tensor

from gaisnet.schema.job import PrivacySpec

__all__ = ["Guard"]


class Guard:
    """Protects what one device sends.

    Noise is drawn from the operating system's randomness, unless the job wants it reproducible;
    then it follows the run's id, and whoever knows that can take it off again.

    Args:
        spec: What the job asks for.
        device: Id of the device.
        run: Id of the run.
    """

    def __init__(self, spec: PrivacySpec, device: str, run: str) -> None:
        self._spec = spec
        self._given: dict[str, Tensor] = {}
        self._source = f"{run}/{device}"
        self._generator = torch.Generator()
        self._generator.manual_seed(secrets.randbits(63))

    def received(self, state: Mapping[str, Tensor]) -> None:
        """Remember the modules that a round starts from, if updates are to be clipped."""
        if self._spec.update_clip_norm is not None:
            self._given |= {name: tensor.clone() for name, tensor in state.items()}

    def update(self, state: Mapping[str, Tensor], round_index: int) -> dict[str, Tensor]:
        """The modules with their update clipped to ``update_clip_norm`` C, over all tensors, and
        Gaussian noise of standard deviation ``noise_multiplier · C`` in every coordinate
        (McMahan et al., arXiv 1710.06963, with the noise added by each owner itself).
        """
        limit = self._spec.update_clip_norm
        if limit is None:
            return dict(state)
        self._reseed(f"update/{round_index}")
        deltas = {n: t.double() - self._given[n].double() for n, t in sorted(state.items())}
        norms = [torch.linalg.vector_norm(delta) for delta in deltas.values()]
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        scale = min(1.0, limit / norm) if norm > 0.0 else 1.0
        std = self._spec.noise_multiplier * limit
        moved = {n: scale * delta + std * self._noise(delta) for n, delta in deltas.items()}
        return {n: (self._given[n].double() + m).to(state[n].dtype) for n, m in moved.items()}

    def activation(self, hidden: Tensor, moment: str) -> Tensor:
        """Hidden states ``[batch, tokens, width]`` with noise of ``activation_noise`` times the
        root mean square of each sample's; the gradient passes as if there were none.

        Args:
            hidden: What the head computed.
            moment: Names the pass, for reproducible noise.
        """
        share = self._spec.activation_noise
        if share == 0.0:
            return hidden
        self._reseed(f"activation/{moment}")
        values = hidden.detach().double()
        size = values.square().mean(tuple(range(1, values.ndim)), keepdim=True).sqrt()
        return (values + share * size * self._noise(values)).to(hidden.dtype)

    def _noise(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self._generator, dtype=torch.float64)
        return drawn.to(like.device)

    def _reseed(self, what: str) -> None:
        if self._spec.reproducible_noise:
            digest = hashlib.sha256(f"{self._source}/{what}".encode()).digest()
            self._generator.manual_seed(int.from_bytes(digest[:7], "little"))
