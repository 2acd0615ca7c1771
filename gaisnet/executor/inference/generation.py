"""How prompts are continued, and which prompts can be."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.errors import InputError
from gaisnet.executor.data import DataFormat, Shard
from gaisnet.models import FoundationModel

__all__ = ["Generation"]


@dataclass(frozen=True, slots=True)
class Generation:
    """How prompts are continued: greedily, up to an end token."""

    max_new_tokens: int
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    @classmethod
    def of(cls, model: FoundationModel, max_new_tokens: int) -> Generation:
        """With the end and padding tokens that the model's own ``generate`` uses.

        Raises:
            InputError: The model is no causal language model.
        """
        if model.task != "causal_lm":
            raise InputError(
                f"output_tokens is {max_new_tokens}, but {model.architecture} generates no text",
                hint="set output_tokens to 0, or use a causal language model",
            )
        config = getattr(model.bare, "generation_config", None)
        eos = getattr(config, "eos_token_id", None)
        return cls(max_new_tokens, eos, getattr(config, "pad_token_id", None))

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a sequence."""
        eos = self.eos_token_id
        return frozenset({eos} if isinstance(eos, int) else eos or ())

    def check(self, model: FoundationModel, prompts: Shard) -> None:
        """Refuse prompts that cannot be continued rightly.

        Raises:
            InputError: The answers would not fit the model's positions, or padding stands
                between a prompt and its answer.
        """
        longest, width = DataFormat.of(model).max_tokens, prompts.inputs["input_ids"].shape[1]
        if longest is not None and width + self.max_new_tokens > longest:
            raise InputError(
                f"prompts of {width} tokens and {self.max_new_tokens} more do not fit the "
                f"{longest} positions of {model.architecture}",
                where=f"requests of service {prompts.name}",
                hint="shorten the prompts, or lower output_tokens",
            )
        mask = prompts.inputs.get("attention_mask")
        if mask is not None and not bool(mask[:, -1].all()):
            raise InputError(
                "prompts are padded on the right",
                where=f"requests of service {prompts.name}",
                hint="pad them on the left, so that answers follow their prompts",
            )
