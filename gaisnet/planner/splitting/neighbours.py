"""Neighbourhoods for the ng-route relaxation: which earlier devices a path still remembers.

A path that is at device m remembers of the devices that it has left those in near(m), as far as
it remembered them all the way since; it may not enter a device that it remembers. Larger
neighbourhoods forbid more returns: with none it is the plain relaxation, with everybody near the
relaxation is exact (Baldacci, Mingozzi and Roberti 2011; grown from the returns that are seen as
in Roberti and Mingozzi 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gaisnet.planner.splitting.instance import BoolArray, FloatArray
from gaisnet.planner.splitting.solution import Segment

__all__ = ["IntArray", "Neighbourhoods", "Returns", "nobody"]

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Neighbourhoods:
    """What a path can remember where."""

    near: tuple[tuple[int, ...], ...]
    """Per device those that a path at it can remember; bit b of a memory is the b-th of them."""

    @property
    def devices(self) -> int:
        """N."""
        return len(self.near)

    @cached_property
    def width(self) -> int:
        """Bits of a memory."""
        return max(map(len, self.near), default=0)

    @property
    def memories(self) -> int:
        """M, the number of memories."""
        return 1 << self.width

    @cached_property
    def remembered(self) -> BoolArray:
        """``[N, M, N]`` does memory s of device n hold device m?"""
        held = np.zeros((self.devices, self.memories, self.devices), dtype=bool)
        memory = np.arange(self.memories)
        for n, near in enumerate(self.near):
            for bit, m in enumerate(near):
                held[n, :, m] = (memory >> bit & 1) > 0
        return held

    @cached_property
    def follow(self) -> IntArray:
        """``[N, N, M]`` memory at m after coming from n with memory s."""
        left = self.remembered.copy()
        left[np.arange(self.devices), :, np.arange(self.devices)] = True
        after = np.zeros((self.devices, self.devices, self.memories), dtype=np.intp)
        for m, near in enumerate(self.near):
            for bit, k in enumerate(near):
                after[:, m] |= left[:, :, k].astype(np.intp) << bit
        return after

    @cached_property
    def states(self) -> IntArray:
        """``[N, N, M]`` index m * M + memory of the state that a hop leads to; N * M: forbidden."""
        state = np.arange(self.devices)[:, None] * self.memories + self.follow
        return np.where(self.remembered.transpose(0, 2, 1), self.devices * self.memories, state)


def nobody(devices: int) -> Neighbourhoods:
    """Nothing is remembered."""
    return Neighbourhoods(((),) * devices)


class Returns:
    """Counts which devices relaxed paths pass between two visits of one device."""

    def __init__(self, devices: int) -> None:
        self._passed: FloatArray = np.zeros((devices, devices))

    def count(self, path: list[Segment]) -> None:
        """Short ways back weigh more: they are forbidden by few neighbourhoods."""
        visits = [n for n, _, _ in path]
        latest: dict[int, int] = {}
        for place, n in enumerate(visits):
            if n in latest:
                between = visits[latest[n] + 1 : place]
                self._passed[between, n] += 1.0 / len(between)
            latest[n] = place

    def forbid(self, width: int) -> Neighbourhoods:
        """Neighbourhoods of at most ``width`` devices against the commonest returns."""
        order = np.argsort(-self._passed, axis=1, kind="stable")[:, :width]
        return Neighbourhoods(
            tuple(
                tuple(int(n) for n in row if self._passed[m, n] > 0) for m, row in enumerate(order)
            )
        )
