"""Cut a model into stages that together compute exactly what the whole computes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.errors import ModelError
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.session import KVSession
from gaisnet.models.shell import Cut, clone_structure, rewire
from gaisnet.models.state import load_state

__all__ = ["Stage", "cut", "make_stage", "side_inputs"]

_STATE_CACHE = "cache_params"
"""What state space models call their cache; they mask padding in the prompt only."""

_TOKEN_MASK = "token_mask"
"""Side input: which input tokens are not padding, for heads that read the last real token."""


class Stage(nn.Module):
    """Units ``first_unit`` to ``last_unit`` of a model, as one callable part.

    Built by ``make_stage``. A stage is not for concurrent use: one pass at a time.
    """

    def __init__(
        self,
        model: FoundationModel,
        first_unit: int,
        last_unit: int,
        shell: nn.Module,
        owned: Mapping[str, nn.Parameter],
    ) -> None:
        super().__init__()
        self.first_unit = first_unit
        """First unit held."""
        self.last_unit = last_unit
        """Last unit held, inclusive."""
        self.n_units = model.n_units
        """Units of the whole model."""
        self.shell = shell
        self.config = model.config
        self._owned = dict(owned)
        self.anatomy = model.anatomy
        """Where the whole model's units are."""
        self._wire = rewire(shell, model.anatomy, first_unit, last_unit)
        self._call = _CallShape(model)

    @property
    def is_first(self) -> bool:
        """Whether the stage takes the raw input."""
        return self.first_unit == 0

    @property
    def is_last(self) -> bool:
        """Whether the stage answers with logits."""
        return self.last_unit == self.n_units - 1

    @property
    def can_generate(self) -> bool:
        """Whether the model keeps a cache that can be split."""
        return self._call.cache_name is not None

    @property
    def has_tunable(self) -> bool:
        """Whether anything in this stage is trained."""
        return any(parameter.requires_grad for parameter in self._owned.values())

    def owned_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that this stage holds, frozen ones too, by the whole model's names."""
        return dict(self._owned)

    def parameters_tuned(self) -> dict[str, nn.Parameter]:
        """The parameters of this stage that are trained, by the whole model's names."""
        return {name: p for name, p in self._owned.items() if p.requires_grad}

    def tunable_state(self) -> dict[str, Tensor]:
        """Copies of the trained parameters, by the whole model's names."""
        return {name: p.detach().clone() for name, p in self.parameters_tuned().items()}

    def load_tunable_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the trained parameters; entries for other stages are ignored.

        Raises:
            ModelError: A parameter of this stage is missing, or has another shape.
        """
        load_state(self.parameters_tuned(), state)

    def new_session(self) -> KVSession:
        """An empty key-value cache of this stage for one generating batch.

        Raises:
            ModelError: The model keeps no cache of the usual kind.
        """
        if self._call.cache_name is None:
            raise ModelError(
                f"{type(self.shell).__name__} cannot generate over a split: "
                "it keeps no key-value cache of the usual kind"
            )
        return KVSession(self.config, self.anatomy.n_blocks, self.first_unit, self.last_unit)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        hidden: Tensor | None = None,
        *,
        session: KVSession | None = None,
    ) -> Tensor:
        """Run this stage's units on one batch.

        Args:
            inputs: The first stage reads the raw inputs, later ones the side inputs (a whole
                batch's dictionary will do: labels and raw inputs are not read there). With a
                session, ``attention_mask`` covers the new tokens only, and may be left out.
            hidden: The hidden state ``[batch, tokens, width]`` before the cut; none for the
                first stage.
            session: Keys and values of the tokens before; updated.

        Returns:
            The hidden state after the last unit, or logits on the last stage (with a session,
            those of the last token only, ``[batch, 1, vocabulary]``, where the model can).
        """
        kwargs = self._call.arguments(inputs, None if self.is_first else hidden)
        if session is not None:
            self._call.add_session(kwargs, inputs, session, hidden)
            self._wire.on_enter = session.passed_below
        self._wire.hidden = hidden
        try:
            outputs = self.shell(**kwargs)
        except Cut as cut_here:
            return cut_here.hidden
        finally:
            self._wire.hidden = self._wire.on_enter = None
            if session is not None:
                session.passed_above()
        result = outputs[self.anatomy.output_key]
        assert isinstance(result, Tensor)
        return result


class _CallShape:
    """Which arguments the model's ``forward`` takes, and stand-ins for the raw input."""

    def __init__(self, model: FoundationModel) -> None:
        self.raw_name = str(getattr(model.bare, "main_input_name", "input_ids"))
        self.dtype = getattr(model.config, "dtype", None) or torch.float32
        shape = model.example_inputs(1, 1)[self.raw_name].shape
        self.raw_shape = tuple(shape[1:])
        self.pad_token_id = getattr(model.config, "pad_token_id", None)
        self.parameters = frozenset(inspect.signature(type(model.bare).forward).parameters)
        self.cache_name = _cache_name(model.bare, self.parameters)
        # With a cache at hand, the mask code does not look for packed sequences in the values of
        # the positions, which a model on meta does not have.
        on_meta = model.device.type == "meta"
        self.fixed = {"use_cache": on_meta} if "use_cache" in self.parameters else {}

    def arguments(self, inputs: Mapping[str, Tensor], hidden: Tensor | None) -> dict[str, Any]:
        kwargs: dict[str, Any] = {"return_dict": True, **self.fixed}
        names = inputs.keys() if hidden is None else inputs.keys() & _SIDE_INPUTS
        for name in names - {"labels", _TOKEN_MASK}:
            kwargs[name] = inputs[name]
        if hidden is not None:
            kwargs[self.raw_name] = self._stand_in(hidden, inputs.get(_TOKEN_MASK))
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.dtype != torch.long:
            kwargs["attention_mask"] = mask.long()
        return kwargs

    def add_session(
        self,
        kwargs: dict[str, Any],
        inputs: Mapping[str, Tensor],
        session: KVSession,
        hidden: Tensor | None,
    ) -> None:
        source = inputs[self.raw_name] if hidden is None else hidden
        mask, positions = session.extend(
            source.shape[0], source.shape[1], inputs.get("attention_mask"), source.device
        )
        kwargs.update({str(self.cache_name): session.cache, "use_cache": True})
        kwargs.pop("attention_mask", None)
        state_space = self.cache_name == _STATE_CACHE
        if mask is not None and not (state_space and mask.shape[1] > source.shape[1]):
            kwargs["attention_mask"] = mask
        if "position_ids" in self.parameters:
            kwargs["position_ids"] = positions
        if "logits_to_keep" in self.parameters:
            kwargs["logits_to_keep"] = 1

    def _stand_in(self, hidden: Tensor, token_mask: Tensor | None) -> Tensor:
        """Something of the raw input's shape; no module of a later stage reads its values."""
        if self.raw_name != "input_ids":
            zero = torch.zeros((), dtype=self.dtype, device=hidden.device)
            return zero.expand(hidden.shape[0], *self.raw_shape)
        pad = self.pad_token_id
        token = 1 if pad == 0 else 0
        if token_mask is None or pad is None:
            return torch.full(hidden.shape[:2], token, device=hidden.device)
        return torch.where(token_mask.bool(), token, pad)


def _cache_name(module: Any, parameters: frozenset[str]) -> str | None:
    """What ``forward`` calls its cache; ``None`` if the model has none that we can fill."""
    supports = getattr(module, "_supports_default_dynamic_cache", None)
    if not callable(supports) or not supports():
        return None
    return next((name for name in ("past_key_values", _STATE_CACHE) if name in parameters), None)


_SIDE_INPUTS = frozenset({"attention_mask", "position_ids"})


def side_inputs(model: FoundationModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What later stages need of a batch beside the hidden state; never raw input or labels.

    Args:
        model: The model.
        inputs: The raw inputs of a batch.

    Returns:
        ``attention_mask`` and ``token_mask`` as one byte a token, ``position_ids`` as they are,
        each only where given and needed; nothing for images.
    """
    side = {name: inputs[name] for name in _SIDE_INPUTS & inputs.keys()}
    if "attention_mask" in side:
        side["attention_mask"] = side["attention_mask"].to(torch.uint8)
    if _reads_last_token(model) and "input_ids" in inputs:
        side[_TOKEN_MASK] = (inputs["input_ids"] != model.config.pad_token_id).to(torch.uint8)
    return side


def _reads_last_token(model: FoundationModel) -> bool:
    """Sequence classifiers over causal models look for the last token that is no padding."""
    return (
        model.task == "sequence_classification"
        and hasattr(model.bare, "score")
        and getattr(model.config, "pad_token_id", None) is not None
    )


def make_stage(
    model: FoundationModel, first_unit: int, last_unit: int, *, private_tunables: bool = True
) -> Stage:
    """One stage of a model.

    Args:
        model: The whole model, with its tunable modules attached.
        first_unit: First unit of the stage.
        last_unit: Last unit of the stage, inclusive.
        private_tunables: Copy the parameters that are trained, so that several owners can each
            have this stage in one process; otherwise they are the model's own. Frozen parameters
            always share the model's storage.

    Raises:
        ModelError: There are no such units.
    """
    if not 0 <= first_unit <= last_unit < model.n_units:
        raise ModelError(
            f"no units {first_unit} to {last_unit}: {model.architecture} has {model.n_units} units"
        )
    owned: dict[str, nn.Parameter] = {}
    units = model.parameter_units()

    def replace(name: str, parameter: nn.Parameter) -> nn.Parameter:
        if not any(first_unit <= unit <= last_unit for unit in units[name]):
            return nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        copied = private_tunables and parameter.requires_grad
        owned[name] = nn.Parameter(parameter.detach().clone()) if copied else parameter
        return owned[name]

    shell = clone_structure(model.bare, replace, model.anatomy.block_path)
    return Stage(model, first_unit, last_unit, shell, owned)


def cut(
    model: FoundationModel,
    segments: Sequence[tuple[int, int]],
    *,
    private_tunables: bool = True,
) -> list[Stage]:
    """Cut a model into a chain of stages.

    Args:
        model: The whole model, with its tunable modules attached.
        segments: First and last unit of each stage, in order, covering all units.
        private_tunables: As for ``make_stage``.

    Raises:
        ModelError: The segments leave a unit out, or hold one twice.
    """
    covered = [unit for first, last in segments for unit in range(first, last + 1)]
    if covered != list(range(model.n_units)):
        raise ModelError(
            f"the segments {list(segments)} do not cover units 0 to {model.n_units - 1} once each"
        )
    return [make_stage(model, *segment, private_tunables=private_tunables) for segment in segments]
