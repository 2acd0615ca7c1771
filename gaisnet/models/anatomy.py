"""Where a model's units are: its blocks, what comes before them and what comes after.

A *unit* is the smallest thing that a device can hold: unit 0 is the prologue (embeddings), units
1 to n are the blocks, unit n + 1 is the epilogue (final norm, pooler, head). Nothing here knows an
architecture by name: one traced pass (``probe``) shows which modules run before, in and after the
block list, and which parameters reach the blocks by another way than the hidden state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from gaisnet.errors import ModelError
from gaisnet.models.blocks import find_block_list
from gaisnet.models.probe import Trace, probe

__all__ = ["Anatomy", "find_anatomy"]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """How a model divides into units. Module paths are those of the bare transformers model."""

    block_path: str
    """Path of the module list that holds the blocks."""
    n_blocks: int
    """Number of blocks."""
    prologue: tuple[str, ...]
    """Modules with parameters that run before the first block and only feed the hidden state."""
    epilogue: tuple[str, ...]
    """Modules with parameters that run after the last block."""
    common: tuple[str, ...]
    """Modules and parameters that every stage needs (a position bias that all blocks read)."""
    head: tuple[str, ...]
    """The modules of the epilogue that are not part of the base model: the task's head."""
    hidden_index: int
    """Where in the tuple that a block returns the hidden state stands."""
    block_outputs: tuple[tuple[object, ...] | None, ...]
    """What each block returned in the probe, without its tensors; ``None`` where a block returns
    the hidden state itself and no tuple."""
    hidden_size: int
    """Width of the hidden state."""
    hidden_tokens: int
    """Length of the hidden state in the probe: an axis of this length is that of the tokens."""
    output_key: str
    """Which field of the model's output is the answer: ``logits`` or ``last_hidden_state``."""
    prologue_shapes: Mapping[str, object]
    """What each prologue module returned in the probe; tensors as meta tensors."""
    block_extras: frozenset[str]
    """Names of the tensor arguments that blocks get besides the hidden state."""
    parameter_units: Mapping[str, tuple[int, ...]]
    """Units that need each parameter, ascending; several for tied and common ones. A tied
    parameter stands under each of its names."""

    @property
    def output_index(self) -> int | None:
        """Where in a block's output the hidden state stands; ``None`` if it is the output."""
        return None if self.block_outputs[0] is None else self.hidden_index

    @property
    def n_units(self) -> int:
        """Units of the model: the blocks, the prologue and the epilogue."""
        return self.n_blocks + 2


def find_anatomy(module: nn.Module, inputs: Mapping[str, Tensor]) -> Anatomy:
    """Find the units of a bare transformers model by one traced pass over ``inputs``.

    Args:
        module: A ``PreTrainedModel``; it may lie on the meta device.
        inputs: Keyword arguments of its ``forward``, without labels.

    Raises:
        ModelError: The architecture cannot be cut; the message says which and why.
    """
    block_path = find_block_list(module)
    trace = probe(module, block_path, inputs)
    prologue, epilogue, common = _classify(module, trace)
    return Anatomy(
        block_path=block_path,
        n_blocks=trace.n_blocks,
        prologue=tuple(prologue),
        epilogue=tuple(epilogue),
        common=tuple(common),
        head=tuple(_head(module, epilogue, block_path, trace.output_key)),
        hidden_index=trace.hidden_index,
        block_outputs=tuple(trace.block_outputs),
        hidden_size=trace.hidden_size,
        hidden_tokens=trace.hidden_tokens,
        output_key=trace.output_key,
        prologue_shapes={path: trace.prologue_outputs[path] for path in prologue},
        block_extras=frozenset(trace.extra_names),
        parameter_units=_parameter_units(
            module, block_path, trace.n_blocks, prologue, epilogue, common
        ),
    )


def _classify(module: nn.Module, trace: Trace) -> tuple[list[str], list[str], list[str]]:
    """Sort the roots and the orphan parameters into prologue, epilogue and common."""
    prologue: list[str] = []
    epilogue: list[str] = []
    common: list[str] = []
    for path in trace.roots:
        before, after = path in trace.before, path in trace.after
        shared = path in trace.shared or _owns(module, path, trace.extra_parameters)
        if shared or (before and after):
            common.append(path)
        elif before:
            prologue.append(path)
        else:
            epilogue.append(path)
    for name in trace.orphans:
        used_before = name in trace.hidden_parameters or name in trace.extra_parameters
        (common if used_before else epilogue).append(name)
    return prologue, epilogue, common


def _owns(module: nn.Module, path: str, parameter_names: Iterable[str]) -> bool:
    wanted = {id(module.get_parameter(name)) for name in parameter_names}
    return any(id(parameter) in wanted for parameter in module.get_submodule(path).parameters())


def _head(
    module: nn.Module, epilogue: Iterable[str], block_path: str, output_key: str
) -> list[str]:
    """Epilogue modules beside the base model, e.g. ``classifier`` beside ``vit``."""
    base = block_path.split(".")[0]
    if not isinstance(getattr(module, base, None), nn.Module) or base == block_path:
        return []
    if getattr(module, "base_model", module) is module and output_key != "logits":
        return []
    return [path for path in epilogue if path.split(".")[0] != base]


def _parameter_units(
    module: nn.Module,
    block_path: str,
    n_blocks: int,
    prologue: Iterable[str],
    epilogue: Iterable[str],
    common: Iterable[str],
) -> dict[str, tuple[int, ...]]:
    owners: list[tuple[str, range]] = [(path, range(1)) for path in prologue]
    owners += [(path, range(n_blocks + 1, n_blocks + 2)) for path in epilogue]
    owners += [(path, range(n_blocks + 2)) for path in common]
    owners += [(f"{block_path}.{i}", range(i + 1, i + 2)) for i in range(n_blocks)]
    units: dict[int, set[int]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        found = [own for path, own in owners if name == path or name.startswith(f"{path}.")]
        if not found:
            raise ModelError(f"{type(module).__name__}: no unit holds the parameter {name}")
        units.setdefault(id(parameter), set()).update(*found)
    return {
        name: tuple(sorted(units[id(parameter)]))
        for name, parameter in module.named_parameters(remove_duplicate=False)
    }
