"""What each unit's passes do beside their FLOPs: calls, and bytes by kind of operator.

Counted over fake tensors, which run the operators that a CPU would run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gaisnet.profiler.flop_counter import looks_like_a_product
from gaisnet.profiler.passage import Listener, Phase
from gaisnet.schema.profile import PassWork

__all__ = ["UnitWork", "WorkWatch", "kind_of_operator", "touched_bytes", "units_work"]

_KINDS = {
    "gelu": "gelu",
    "silu": "silu",
    "sigmoid": "silu",
    "tanh": "tanh",
    "native_layer_norm": "norm",
    "native_group_norm": "norm",
    "_fused_rms_norm": "norm",
    "rsqrt": "norm",
    "_softmax": "softmax",
    "_log_softmax": "softmax",
    "exp": "softmax",
}
_FREE = {"_unsafe_view", "detach", "alias", "empty", "empty_like", "new_empty", "empty_strided"}
_ATTENTION = ("bmm", "baddbmm", "attention")
_LOOK_UPS = ("embedding", "gather", "index", "index_select", "embedding_dense_backward", "scatter")
"""They touch as much of their table as they return or are given, not all of it."""


@dataclass(frozen=True)
class UnitWork:
    """Work of one unit's passes."""

    forward: PassWork
    backward: PassWork


@dataclass
class _Tally:
    operators: int = 0
    moved: Counter[str] = field(default_factory=Counter)


def units_work(one: WorkWatch, two: WorkWatch) -> list[UnitWork]:
    """Calls and bytes of every unit: what the second sample of ``two`` adds, and the rest."""
    first, second = one.tallies, two.tallies
    return [
        UnitWork(
            forward=_work(first[unit, "forward"], second[unit, "forward"]),
            backward=_work(first[unit, "backward"], second[unit, "backward"]),
        )
        for unit in range(len(first) // 2)
    ]


def kind_of_operator(name: str) -> str | None:
    """The kind that an operator's bytes count under; ``None`` if they do not count.

    Attention's bytes stay in the caches: its FLOPs bound it.
    """
    if name in _FREE or any(part in name for part in _ATTENTION):
        return None
    if looks_like_a_product(name):
        return "product"
    base = name.removesuffix("_").removesuffix("_backward_data").removesuffix("_backward")
    return _KINDS.get(base, "move")


def _work(one: _Tally, two: _Tally) -> PassWork:
    kinds = sorted({*one.moved, *two.moved})
    sample = {kind: max(0, two.moved[kind] - one.moved[kind]) for kind in kinds}
    fixed = {kind: max(0, one.moved[kind] - sample[kind]) for kind in kinds}
    return PassWork(
        operators=one.operators,
        sample_bytes={kind: n_bytes for kind, n_bytes in sample.items() if n_bytes},
        fixed_bytes={kind: n_bytes for kind, n_bytes in fixed.items() if n_bytes},
    )


class WorkWatch(TorchDispatchMode, Listener):  # type: ignore[no-untyped-call]
    """Adds each operator to the unit and phase that the pass is in."""

    def __init__(self, n_units: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        phases: tuple[Phase, ...] = ("forward", "backward")
        self.tallies = {(unit, phase): _Tally() for unit in range(n_units) for phase in phases}
        self._now = self.tallies[0, "forward"]

    def enter(self, unit: int, phase: Phase) -> None:
        self._now = self.tallies[unit, phase]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "aten" and not func.is_view:
            name = func._overloadpacket.__name__
            if name not in _FREE:
                self._now.operators += 1
            kind = kind_of_operator(name)
            if kind is not None:
                self._now.moved[kind] += touched_bytes(name, (args, kwargs), result)
        return result


def touched_bytes(name: str, given: Any, returned: Any) -> int:
    """Bytes that an operator reads and writes, by its arguments and results."""
    read, written = _bytes(given), _bytes(returned)
    if name.startswith(_LOOK_UPS):
        return 2 * min(read, written) if name != "embedding_dense_backward" else written
    return read + written


def _bytes(tree: Any) -> int:
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
