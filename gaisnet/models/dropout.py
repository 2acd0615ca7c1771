"""Dropout that does not depend on the cut.

A loaded model has dropout off. ``seed_dropout`` switches it on with a counter: before each unit
runs, torch's generator is seeded from (seed, step, micro-batch, unit), so a unit draws the same
numbers in whatever stage, order or process it runs (a GPU's generator is another one than a
processor's, and draws others). The generators are put back after every pass.
The modules that contain the blocks stay in evaluation mode, since what they do in training only
(LayerDrop, SpecAugment) is drawn between the units.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.stage import Stage

__all__ = ["disable_dropout", "seed_dropout"]

_NAME = "_gaisnet_dropout"


@dataclass(frozen=True)
class _Generators:
    """States of torch's generators: the processor's, and those of GPUs that are in use."""

    cpu: Tensor
    cuda: tuple[Tensor, ...]

    @classmethod
    def now(cls) -> _Generators:
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return cls(torch.get_rng_state(), tuple(torch.cuda.get_rng_state_all()) if used else ())

    def put_back(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


@dataclass
class _Counter:
    """Where in training the next pass stands, and the generator's state outside the pass."""

    seed: int = 0
    step: int = 0
    microbatch: int = 0
    outside: _Generators | None = None
    active: bool = True

    def reseed(self, unit: int) -> None:
        """Seed torch's generator for a unit."""
        if self.active:
            key = f"{self.seed}/{self.step}/{self.microbatch}/{unit}".encode()
            digest = hashlib.blake2b(key, digest_size=8).digest()
            torch.manual_seed(int.from_bytes(digest, "little") >> 1)

    def enter(self) -> None:
        """A pass begins."""
        if self.active:
            self.outside = _Generators.now()
            self.reseed(0)

    def leave(self) -> None:
        """A pass ends, by an answer, a cut or an error."""
        if self.outside is not None:
            self.outside.put_back()
            self.outside = None


def seed_dropout(
    target: FoundationModel | Stage, seed: int, step: int, microbatch: int = 0
) -> None:
    """Switch dropout on for the next pass, with draws that only depend on these numbers.

    Args:
        target: A whole model, or a stage.
        seed: Seed of the run.
        step: Optimizer step (or any counter that the parts agree on).
        microbatch: Number of the micro-batch in the step.
    """
    module, block_path, _ = _parts(target)
    counter = getattr(module, _NAME, None) or _install(target)
    counter.seed, counter.step, counter.microbatch = seed, step, microbatch
    counter.active = True
    if not module.get_submodule(block_path)[0].training:  # type: ignore[index]
        module.train()
        names = block_path.split(".")
        for depth in range(len(names)):
            module.get_submodule(".".join(names[:depth])).training = False


def disable_dropout(target: FoundationModel | Stage) -> None:
    """Switch dropout off, as it is after loading."""
    module, _, _ = _parts(target)
    module.eval()
    counter = getattr(module, _NAME, None)
    if counter is not None:
        counter.active = False


def _parts(target: FoundationModel | Stage) -> tuple[nn.Module, str, int]:
    module = target.shell if isinstance(target, Stage) else target.bare
    return module, target.anatomy.block_path, target.anatomy.n_blocks


def _install(target: FoundationModel | Stage) -> _Counter:
    module, block_path, n_blocks = _parts(target)
    counter = _Counter()
    setattr(module, _NAME, counter)
    module.register_forward_pre_hook(lambda *_: counter.enter(), prepend=True)
    module.register_forward_hook(lambda *_: counter.leave(), always_call=True)
    blocks = list(module.get_submodule(block_path).children())
    for index, block in enumerate(blocks):
        block.register_forward_pre_hook(_reseeder(counter, index + 1), prepend=True)
    blocks[-1].register_forward_hook(_reseeder(counter, n_blocks + 1))
    return counter


def _reseeder(counter: _Counter, unit: int) -> Any:
    def hook(*_: Any) -> None:
        counter.reseed(unit)

    return hook
