"""Find the list of blocks of a transformers model."""

from __future__ import annotations

from torch import nn

from gaisnet.errors import ModelError

__all__ = ["find_block_list", "refuse"]

_SECOND_CHAIN = 0.1
"""A second list of blocks with more than this share of the first one's parameters is a chain."""


def refuse(module: nn.Module, reason: str) -> ModelError:
    """The error for an architecture that cannot be cut."""
    return ModelError(
        f"{type(module).__name__} cannot be cut: {reason}",
        hint="choose another model, or hold this one whole on one device",
    )


def find_block_list(module: nn.Module) -> str:
    """Path of the module list that holds the model's blocks.

    The list whose members the model's ``_no_split_modules`` name, otherwise the one with the most
    parameters; lists inside the members of another list (experts) do not count.

    Raises:
        ModelError: There is no such list, or there are two (encoder and decoder, two towers).
    """
    if _has_decoder(module):
        raise refuse(module, "it is an encoder-decoder, whose two chains cross")
    lists = _outer_lists(module)
    if not lists:
        raise refuse(module, "it has no list of blocks")
    unsplit = set(getattr(module, "_no_split_modules", None) or ())
    named = {path: blocks for path, blocks in lists.items() if _members(blocks) & unsplit}
    sizes = {path: _size(blocks) for path, blocks in (named or lists).items()}
    ranked = sorted(sizes, key=lambda path: sizes[path], reverse=True)
    if len(ranked) > 1 and sizes[ranked[1]] > _SECOND_CHAIN * sizes[ranked[0]]:
        raise refuse(module, f"it has two chains of blocks, {ranked[0]} and {ranked[1]}")
    return ranked[0]


def _has_decoder(module: nn.Module) -> bool:
    """Whether an encoder-decoder's decoder is really there: a classifier may have the encoder
    alone, with the configuration of both."""
    if not getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        return False
    return any(path.split(".")[-1] == "decoder" for path, _ in module.named_modules())


def _outer_lists(module: nn.Module, prefix: str = "") -> dict[str, nn.ModuleList]:
    found: dict[str, nn.ModuleList] = {}
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            if _size(child):
                found[f"{prefix}{name}"] = child
        else:
            found.update(_outer_lists(child, f"{prefix}{name}."))
    return found


def _members(blocks: nn.ModuleList) -> set[str]:
    return {type(block).__name__ for block in blocks}


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
