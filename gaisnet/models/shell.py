"""The shell of a stage: the model's own code around the units that the stage holds.

A shell is a structural clone of the bare model: the module tree is copied, tensors are not.
Parameters of the units that the stage holds are the source's own (or private copies of the tunable
ones); all others lie on the meta device. A stage runs the architecture's original ``forward``, so
masks and rotary embeddings are computed by the code that was written for it; only the ends are
bent: foreign modules before the stage hand on the hidden state that was received, and the pass
stops after the last block that the stage holds.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.models.anatomy import Anatomy
from gaisnet.models.probe import hidden_argument

__all__ = ["Cut", "Wire", "clone_structure", "rewire"]


class Cut(Exception):  # noqa: N818 - it is not an error
    """Ends a pass at the cut; carries the hidden state.

    An ``Exception``, since torch runs hooks that are always to be called for no other kind.
    """

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@dataclass
class Wire:
    """What the bent modules of a shell need to know about the pass that is running."""

    hidden: Tensor | None = None
    """The hidden state that was received."""
    on_enter: Callable[[], None] | None = None
    """Called when the foreign blocks below the stage have been passed."""

    def received(self) -> Tensor:
        """The hidden state that was received."""
        assert self.hidden is not None, "a later stage needs the hidden state before the cut"
        return self.hidden


def clone_structure(
    module: nn.Module, replace: Callable[[str, nn.Parameter], nn.Parameter], block_path: str
) -> nn.Module:
    """Copy a module tree without its tensors.

    Args:
        module: The bare model.
        replace: Says, by name and parameter, what stands in the parameter's place.
        block_path: Path of the block list. Buffers of blocks whose parameters all went to the
            meta device follow them; other buffers are shared.
    """
    memo: dict[int, Any] = {id(buffer): buffer for buffer in module.buffers()}
    for part in module.modules():
        # Each module has ten of these, most for hooks; asking them how they are copied is slow.
        held = [value for value in vars(part).values() if type(value) in (OrderedDict, set)]
        memo.update((id(value), type(value)()) for value in held if not value)
    for name, parameter in module.named_parameters():
        memo[id(parameter)] = replace(name, parameter)
    for block in module.get_submodule(block_path).children():
        if _absent(block, memo):
            memo.update({id(buffer): buffer.to("meta") for buffer in block.buffers()})
    for attribute in ("config", "generation_config"):
        value = getattr(module, attribute, None)
        memo[id(value)] = value
    return copy.deepcopy(module, memo)


def _absent(block: nn.Module, memo: dict[int, Any]) -> bool:
    parameters = [memo[id(parameter)] for parameter in block.parameters()]
    return bool(parameters) and all(parameter.is_meta for parameter in parameters)


def rewire(shell: nn.Module, anatomy: Anatomy, first_unit: int, last_unit: int) -> Wire:
    """Bend the ends of ``shell`` so that its ``forward`` runs only the units of a stage.

    Args:
        shell: From ``clone_structure``.
        anatomy: The model's units.
        first_unit: First unit of the stage.
        last_unit: Last unit of the stage, inclusive.

    Returns:
        The wire through which the pass receives its hidden state.
    """
    wire = Wire()
    blocks = list(shell.get_submodule(anatomy.block_path).children())
    for index, block in enumerate(blocks):
        if not first_unit <= index + 1 <= last_unit:
            _bypass(block, anatomy, index, wire if index == 0 and first_unit > 0 else None)
    if first_unit > 0:
        for path in anatomy.prologue:
            _silence(shell.get_submodule(path), anatomy, path, wire)
    if first_unit == 1:
        blocks[0].register_forward_pre_hook(_Enter(wire), with_kwargs=True, prepend=True)
    if last_unit == 0:
        blocks[0].register_forward_pre_hook(_stop_before, with_kwargs=True, prepend=True)
    elif last_unit <= anatomy.n_blocks:
        blocks[last_unit - 1].register_forward_hook(_StopAfter(anatomy))
    return wire


class _Enter:
    """Gives the first block of a stage the received hidden state."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        dummy, received = hidden_argument(args, kwargs), self.wire.received()
        args = tuple(received if value is dummy else value for value in args)
        kwargs = {name: received if value is dummy else value for name, value in kwargs.items()}
        return args, kwargs


def _stop_before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise Cut(hidden_argument(args, kwargs))


class _StopAfter:
    """Ends the pass with the hidden state that the block returned."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.index = anatomy.output_index

    def __call__(self, block: nn.Module, args: Any, output: Any) -> None:
        raise Cut(output if self.index is None else output[self.index])


def _bypass(block: nn.Module, anatomy: Anatomy, number: int, wire: Wire | None) -> None:
    """Make a foreign block hand on what it gets, or, with a wire, what the stage received."""
    _clear_hooks(block)
    template = anatomy.block_outputs[number]
    index = anatomy.hidden_index

    def forward(*args: Any, **kwargs: Any) -> Any:
        if wire is None:
            hidden = hidden_argument(args, kwargs)
        else:
            hidden = wire.received()
            if wire.on_enter is not None:
                wire.on_enter()
        if template is None:
            return hidden
        return tuple(hidden if i == index else value for i, value in enumerate(template))

    block.forward = forward


def _silence(module: nn.Module, anatomy: Anatomy, path: str, wire: Wire) -> None:
    """Make a foreign prologue module answer with something of the right shape."""
    template, tokens = anatomy.prologue_shapes[path], anatomy.hidden_tokens
    for part in module.modules():
        _clear_hooks(part)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return _fill(template, wire.received(), tokens)

    module.forward = forward


def _fill(template: Any, hidden: Tensor, tokens: int) -> Any:
    """The template with zeros for its tensors, sized as for the hidden state at hand.

    Fresh ones each time: some models change their embeddings in place. Sound goes through
    convolutions with its channels before its frames, so not every second axis is the tokens'.
    """
    if isinstance(template, tuple):
        return tuple(_fill(item, hidden, tokens) for item in template)
    if not isinstance(template, Tensor):
        return template
    if template.dim() == hidden.dim() and template.shape[-1] == hidden.shape[-1]:
        return torch.zeros_like(hidden)
    if template.shape == (tokens, hidden.shape[-1]):  # positions, the same for all samples
        return hidden.new_zeros(hidden.shape[1:])
    per_token = template.dim() == hidden.dim() == 3 and template.shape[1] == tokens
    if per_token and template.is_floating_point():
        return hidden.new_zeros((*hidden.shape[:2], template.shape[-1]))
    shape = (hidden.shape[0], *template.shape[1:])
    return torch.zeros(shape, dtype=template.dtype, device=hidden.device)


def _clear_hooks(module: nn.Module) -> None:
    for hooks in (
        module._forward_hooks,
        module._forward_hooks_with_kwargs,
        module._forward_hooks_always_called,
        module._forward_pre_hooks,
        module._forward_pre_hooks_with_kwargs,
    ):
        hooks.clear()
