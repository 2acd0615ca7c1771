"""One traced pass through a model: what runs when, and what the blocks read.

Gradients are recorded up to the first block and after the last one, so that the graph tells which
parameters feed the hidden state, which reach the blocks by another way (a position bias), and
which belong to the epilogue. It works on the meta device, where only the comparison of values
(does a block read the raw input beside the hidden state?) is left out.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.models.blocks import refuse

__all__ = ["Trace", "hidden_argument", "probe", "tensors_in"]


@dataclass
class Trace:
    """What one pass showed. Paths are module paths, names are parameter names."""

    n_blocks: int
    roots: list[str] = field(default_factory=list)
    """Topmost modules with parameters that are called outside the blocks."""
    orphans: list[str] = field(default_factory=list)
    """Parameters that belong to no root and no block: read directly by the model's own code."""
    before: set[str] = field(default_factory=set)
    """Modules called before the first block."""
    after: set[str] = field(default_factory=set)
    """Modules called after the last block."""
    hidden_parameters: set[str] = field(default_factory=set)
    """Parameters on which the hidden state that enters the first block depends."""
    extra_parameters: set[str] = field(default_factory=set)
    """Parameters on which other arguments of the blocks depend."""
    extra_names: set[str] = field(default_factory=set)
    """Names of the other tensor arguments of the blocks."""
    prologue_outputs: dict[str, Any] = field(default_factory=dict)
    """What modules before the first block returned, tensors replaced by meta tensors."""
    shared: set[str] = field(default_factory=set)
    """Modules before the first block whose outputs the blocks receive beside the hidden state."""
    block_outputs: list[tuple[Any, ...] | None] = field(default_factory=list)
    hidden_index: int = 0
    hidden_size: int = 0
    hidden_tokens: int = 0
    """Length of the hidden state, its second axis."""
    output_key: str = "logits"


@dataclass
class _BlockCall:
    hidden: Tensor
    extras: dict[str, list[Tensor]]
    output: Any = None


class _Recorder:
    """Hooks of one pass."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        self.blocks = blocks
        self.calls: list[tuple[nn.Module, _BlockCall]] = []
        self.phase = "before"
        self.phases: dict[nn.Module, set[str]] = {}
        self.outputs: dict[nn.Module, Any] = {}
        self.extra_storages: set[int] = set()

    def enter_block(self, block: nn.Module, args: Any, kwargs: Any) -> None:
        hidden = hidden_argument(args, kwargs)
        names = inspect.signature(block.forward).parameters
        named = [*zip(names, args, strict=False), *kwargs.items()]
        extras = {
            name: found
            for name, value in named
            if value is not hidden and (found := list(tensors_in(value)))
        }
        self.calls.append((block, _BlockCall(hidden, extras)))
        self.extra_storages |= {_storage(t) for found in extras.values() for t in found}
        self.phase = "inside"
        torch.set_grad_enabled(False)

    def leave_block(self, block: nn.Module, args: Any, output: Any) -> None:
        self.calls[-1][1].output = output
        self.phase = "between"
        if block is self.blocks[-1]:
            self.phase = "after"
            torch.set_grad_enabled(True)

    def enter(self, module: nn.Module, args: Any) -> None:
        if self.phase != "inside":
            self.phases.setdefault(module, set()).add(self.phase)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.phase == "before":
            self.outputs[module] = output


def probe(module: nn.Module, block_path: str, inputs: Mapping[str, Tensor]) -> Trace:
    """Trace one pass of ``module`` over ``inputs`` and check that its blocks form a chain.

    Raises:
        ModelError: Blocks are shared or skipped, pass more than the hidden state to each other,
            something with parameters works between them, or they read the raw input.
    """
    blocks = module.get_submodule(block_path)
    assert isinstance(blocks, nn.ModuleList)
    with _all_trainable(module):
        recorder, outputs = _run(module, blocks, inputs)
        trace = Trace(n_blocks=len(blocks))
        _read_blocks(module, recorder, trace)
        if recorder.calls[0][1].hidden.shape[0] != next(iter(inputs.values())).shape[0]:
            raise refuse(module, "the first axis of its hidden state is not the batch")
        _read_graphs(module, recorder, outputs, trace)
    _read_roots(module, block_path, recorder, trace)
    _check_raw_input_stays_out(module, blocks, inputs, recorder)
    return trace


def hidden_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden state among the arguments of a block: its first tensor."""
    for value in (*args[:1], kwargs.get("hidden_states"), *args, *kwargs.values()):
        if isinstance(value, Tensor):
            return value
    raise LookupError("a block is called without any tensor")


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


def _run(
    module: nn.Module, blocks: nn.ModuleList, inputs: Mapping[str, Tensor]
) -> tuple[_Recorder, Any]:
    recorder = _Recorder(blocks)
    inner = {part for block in blocks for part in block.modules()}
    handles = []
    for part in module.modules():
        if part not in inner:
            handles.append(part.register_forward_pre_hook(recorder.enter))
            handles.append(part.register_forward_hook(recorder.leave))
    for block in set(blocks):
        handles.append(block.register_forward_pre_hook(recorder.enter_block, with_kwargs=True))
        handles.append(block.register_forward_hook(recorder.leave_block))
    try:
        with torch.enable_grad():
            outputs = module(**inputs, return_dict=True)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise refuse(module, f"it fails on a sample batch: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    return recorder, outputs


@contextmanager
def _all_trainable(module: nn.Module) -> Iterator[None]:
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    for parameter, _ in flags:
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _read_blocks(module: nn.Module, recorder: _Recorder, trace: Trace) -> None:
    called = [block for block, _ in recorder.calls]
    if len(called) != len(set(called)):
        raise refuse(module, "its layers share one block")
    if called != list(recorder.blocks):
        raise refuse(module, "its blocks do not run one after the other")
    calls = [call for _, call in recorder.calls]
    positions = {_handed_on(module, a.output, b) for a, b in itertools.pairwise(calls)}
    if len(positions) > 1:
        raise refuse(module, "its blocks return different things")
    trace.block_outputs = [_without_tensors(call.output) for call in calls]
    trace.hidden_index = positions.pop() if positions else 0
    trace.hidden_size = calls[0].hidden.shape[-1]
    trace.hidden_tokens = calls[0].hidden.shape[1]
    trace.extra_names = {name for call in calls for name in call.extras}


def _handed_on(module: nn.Module, output: Any, following: _BlockCall) -> int:
    """Position of the hidden state in ``output``, seen from what the next block received."""
    values = [output] if isinstance(output, Tensor) else list(output)
    extras = {id(tensor) for found in following.extras.values() for tensor in found}
    if any(id(tensor) in extras for tensor in tensors_in(values)):
        raise refuse(module, "its blocks hand more than the hidden state to each other")
    for position, value in enumerate(values):
        if value is following.hidden:
            return position
    raise refuse(module, "it works on the hidden state between its blocks")


def _read_graphs(module: nn.Module, recorder: _Recorder, outputs: Any, trace: Trace) -> None:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    first = recorder.calls[0][1]
    trace.hidden_parameters = {names[i] for i in _leaves([first.hidden]) & names.keys()}
    extras = [t for _, call in recorder.calls for found in call.extras.values() for t in found]
    trace.extra_parameters = {names[i] for i in _leaves(extras) & names.keys()}
    trace.output_key = "logits" if "logits" in outputs else "last_hidden_state"
    if trace.output_key not in outputs:
        raise refuse(module, f"it answers with {', '.join(outputs)} instead of logits")


def _leaves(tensors: list[Tensor]) -> set[int]:
    """Ids of the parameters on which the tensors depend."""
    stack: list[Any] = [t.grad_fn for t in tensors if t.grad_fn is not None]
    found = {id(t) for t in tensors if t.is_leaf and t.requires_grad}
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        stack.extend(following for following, _ in node.next_functions)
    return found


def _read_roots(module: nn.Module, block_path: str, recorder: _Recorder, trace: Trace) -> None:
    paths = {part: path for path, part in module.named_modules()}
    for part in _roots(module, module.get_submodule(block_path), recorder.phases):
        path = paths[part]
        phases = recorder.phases[part]
        if "between" in phases:
            raise refuse(module, f"{path} works between its blocks")
        trace.roots.append(path)
        if "before" in phases:
            trace.before.add(path)
            trace.prologue_outputs[path] = _on_meta(recorder.outputs[part])
            if {_storage(t) for t in tensors_in(recorder.outputs[part])} & recorder.extra_storages:
                trace.shared.add(path)
        if "after" in phases:
            trace.after.add(path)
    held = (*trace.roots, block_path)
    trace.orphans = [
        name
        for name, _ in module.named_parameters(remove_duplicate=False)
        if not any(name.startswith(f"{path}.") for path in held)
    ]


def _roots(
    module: nn.Module, blocks: nn.Module, phases: Mapping[nn.Module, set[str]]
) -> Iterator[nn.Module]:
    """Topmost called modules with parameters that do not contain the blocks."""
    for child in module.children():
        if child is blocks or not any(True for _ in child.parameters()):
            continue
        if child in phases and blocks not in set(child.modules()):
            yield child
        else:
            yield from _roots(child, blocks, phases)


def _check_raw_input_stays_out(
    module: nn.Module, blocks: nn.ModuleList, inputs: Mapping[str, Tensor], first: _Recorder
) -> None:
    """Refuse a model whose blocks see the raw input beside the hidden state."""
    if any(tensor.is_meta for tensor in inputs.values()):
        return
    second, _ = _run(module, blocks, {name: _other(name, t) for name, t in inputs.items()})
    for (_, mine), (_, other) in zip(first.calls, second.calls, strict=True):
        for name, tensors in mine.extras.items():
            pairs = zip(tensors, other.extras.get(name, []), strict=False)
            if not all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs):
                raise refuse(
                    module, f"its blocks read the raw input beside the hidden state: {name}"
                )


def _other(name: str, tensor: Tensor) -> Tensor:
    """Another raw input of the same kind; masks and positions stay."""
    return tensor if "mask" in name or "position" in name else tensor.flip(0, -1)


def _storage(tensor: Tensor) -> int:
    """Identifies the memory that a tensor shares with its views."""
    return int(tensor.untyped_storage()._cdata)


def _without_tensors(output: Any) -> tuple[Any, ...] | None:
    """A block's output tuple with its constants alone."""
    if isinstance(output, Tensor):
        return None
    return tuple(None if any(True for _ in tensors_in(value)) else value for value in output)


def _on_meta(value: Any) -> Any:
    return _map_tensors(value, lambda tensor: tensor.detach().to("meta"))


def _map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return tuple(_map_tensors(item, change) for item in value)
    return value
