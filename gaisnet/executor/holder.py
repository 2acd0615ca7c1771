"""What lives on a device: its stages, their optimizers, the activations in flight, its own data.

Methods take frames and return frames. Raw inputs and labels are read here and leave only as the
hidden state of the head; labels leave under the vanilla topology alone, and a whole shard only
when a plan centralises the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import DataSource
from gaisnet.executor.crossing import Arrival, Crossing, Frames
from gaisnet.executor.data import DataFormat, Shard, load_shard
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer, FrameError
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.optimizers import load_optimizer_state, make_optimizer, optimizer_state
from gaisnet.executor.owndata import OwnData
from gaisnet.executor.privacy import Guard, OwnerSide
from gaisnet.executor.residual import apply_residuals
from gaisnet.executor.tasks import Pass, StageSpec
from gaisnet.models import FoundationModel, Stage, make_stage, seed_dropout, side_inputs
from gaisnet.schema.job import Compression, OptimizerSpec

__all__ = ["Holder"]


@dataclass(slots=True)
class _Flight:
    """A micro-batch between its forward and its backward pass."""

    arrival: Arrival
    output: Tensor


@dataclass(slots=True)
class _Held:
    """A stage with what it needs for training."""

    spec: StageSpec
    stage: Stage
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer | None
    in_flight: dict[int, _Flight] = field(default_factory=dict)


class Holder:
    """A device's share of the model.

    It computes where the model lies. Frames, the device's own data and what the guard protects stay
    in the processor's memory.

    Args:
        device: Id of the device.
        run: Id of the run; frames of any other are refused.
        model: The whole model; frozen weights are shared with it, tunable ones copied.
        optimizer: Of every stage.
        compression: Of hidden states and gradients that leave.
        guard: Protects what an owner sends.
        epoch: Of the run; frames of any other are refused.
    """

    def __init__(
        self,
        device: str,
        run: str,
        model: FoundationModel,
        optimizer: OptimizerSpec,
        compression: Compression = "none",
        *,
        guard: Guard,
        epoch: int = 0,
    ) -> None:
        self.device = device
        self._guard = guard
        self._model = model
        self._optimizer = optimizer
        self._mailbox = Mailbox(device, run, epoch)
        self._crossing = Crossing(self._mailbox, model, compression)
        self._secret = OwnerSide(self._mailbox, run)
        self._data = OwnData(device)
        self._held: dict[str, _Held] = {}

    def hold(self, spec: StageSpec) -> Answer:
        """Build a stage; its tunable modules are copies of its own.

        Returns:
            ``values``: what this device computes on (``compute``).
        """
        stage = make_stage(self._model, spec.first_unit, spec.last_unit)
        tuned = stage.parameters_tuned()
        self._held[spec.name] = _Held(spec, stage, tuned, make_optimizer(tuned, self._optimizer))
        return Answer(values={"compute": self._model.device.type})

    def read(self, source: DataSource) -> Answer:
        """Read the device's own data, here and nowhere else; ``values``: how many ``samples``.

        Raises:
            InputError: It is missing, or not what the model takes.
        """
        form, path = DataFormat.of(self._model), source.file.locate()
        shard = load_shard(path, source.name, form, samples=source.samples)
        self._data.add(shard)
        return Answer(values={"samples": len(shard)})

    def stage(self, name: str) -> Stage:
        """A stage that this device holds, with its current modules.

        Raises:
            RunError: It holds no such stage.
        """
        return self._of(name).stage

    # Forward and backward.

    def forward(self, task: Pass, *frames: Buffer) -> Answer:
        """One micro-batch through a stage.

        Args:
            task: Which stage and micro-batch, and who gets the result.
            frames: ``activation`` of each owner (none at the head), ``labels`` of each owner
                where they travel.

        Returns:
            ``activation`` for each receiver, then ``labels`` if they travel. The last stage
            turns at once: loss, backward pass and a ``gradient`` for each receiver; ``values``
            holds the micro-batch's mean ``loss``.
        """
        held = self._of(task.stage)
        arrival = self._arrive(held, task, frames)
        if arrival.hidden is not None and held.spec.gradient_below:
            arrival.hidden.requires_grad_(True)
        if task.dropout is not None:
            seed_dropout(held.stage, *task.dropout, task.moment.microbatch)
        flight = _Flight(arrival, held.stage(arrival.inputs, arrival.hidden))
        if held.stage.is_last:
            return self._turn(task, flight)
        if flight.output.requires_grad:
            held.in_flight[task.moment.microbatch] = flight
        return Answer(self._hand_on(held, task, flight))

    def backward(self, task: Pass, *frames: Buffer) -> Answer:
        """The backward pass of a micro-batch that went forward here.

        Args:
            task: Its ``receivers`` are those that sent the activations.
            frames: ``gradient`` of each owner, or one for all.

        Returns:
            ``gradient`` for each receiver, if anything below is tuned.
        """
        flight = self._of(task.stage).in_flight.pop(task.moment.microbatch, None)
        if flight is None:
            raise RunError(f"{task.moment} did not pass {task.stage} forward")
        gradient = self._crossing.returned(task.moment, frames)
        if gradient.shape != flight.output.shape:
            raise FrameError(f"a gradient of {tuple(gradient.shape)} came for {task.stage}")
        if task.scale != 1.0:
            gradient = gradient * task.scale
        torch.autograd.backward(flight.output, gradient)
        return Answer(self._gradients(task, flight, 1.0))

    # The step.

    def gradient_norms(self, stage: str) -> Answer:
        """``values["norms"]``: Euclidean norm of each parameter's gradient, by name."""
        norms = {
            name: float(torch.linalg.vector_norm(parameter.grad))
            for name, parameter in self._of(stage).parameters.items()
            if parameter.grad is not None
        }
        return Answer(values={"norms": norms})

    def update(self, stage: str, scale: float | None = None) -> Answer:
        """One optimizer step on gradients times ``scale``; then they are cleared."""
        held = self._of(stage)
        gradients = [p.grad for p in held.parameters.values() if p.grad is not None]
        if scale is not None:
            for gradient in gradients:
                gradient.mul_(scale)
        if held.optimizer is not None:
            held.optimizer.step()
            held.optimizer.zero_grad(set_to_none=True)
        return Answer()

    def reset_optimizer(self, stage: str) -> Answer:
        """Forget moments and step counts."""
        held = self._of(stage)
        held.optimizer = make_optimizer(held.parameters, self._optimizer)
        return Answer()

    # Parameters that several stages share.

    def give_gradients(self, task: Pass, names: Sequence[str], *frames: Buffer) -> Answer:
        """Gradients of shared parameters, the parts in ``frames`` added, for each receiver."""
        parameters = self._of(task.stage).parameters
        self._take_gradients(task, frames, torch.add)
        parts = {name: p.grad for name in names if (p := parameters[name]).grad is not None}
        return Answer(
            tuple(
                self._mailbox.frame("tied_gradient", r, parts, task.moment, stage=task.stage)
                for r in task.receivers
            )
        )

    def set_gradients(self, task: Pass, *frames: Buffer) -> Answer:
        """Replace this stage's gradients of shared parameters by the sum over all stages."""
        self._take_gradients(task, frames, lambda own, whole: whole)
        return Answer()

    def _take_gradients(
        self, task: Pass, frames: Sequence[Buffer], combine: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        parameters = self._of(task.stage).parameters
        for frame in frames:
            _, gradients = self._mailbox.open(frame, task.moment, "tied_gradient")
            for name, gradient in gradients.items():
                own, came = parameters[name].grad, gradient.to(parameters[name].device)
                parameters[name].grad = came if own is None else combine(own, came)

    # Modules.

    def get_modules(
        self, stages: Sequence[str], moment: Moment, receiver: str, own: bool = False
    ) -> Answer:
        """The tunable modules of some of this device's stages, as one frame.

        Args:
            stages: Names of the stages.
            moment: The round.
            receiver: Who gets them.
            own: Whether they are the owner's own head and tail, which the guard protects.
        """
        state = self._state(stages)
        if own:
            state = self._guard.update(state, moment.round)
        return Answer((self._mailbox.frame("modules", receiver, state, moment),))

    def _state(self, stages: Sequence[str]) -> dict[str, Tensor]:
        states = [self._of(name).stage.tunable_state() for name in stages]
        return {name: tensor.cpu() for state in states for name, tensor in state.items()}

    def set_modules(self, stages: Sequence[str], moment: Moment, frame: Buffer) -> Answer:
        """Take tunable modules (and residuals of FedEx-LoRA) into some of this device's stages."""
        _, state = self._mailbox.open(frame, moment, "modules")
        self._guard.received(state)
        for name in stages:
            stage = self._of(name).stage
            stage.load_tunable_state(state)
            apply_residuals(self._model, stage, state)
        return Answer()

    # Secure aggregation, see ``privacy.secure_sum``.

    def offer_keys(self, cluster: str, threshold: int, moment: Moment, receiver: str) -> Answer:
        """Begin a sum over the owners of a cluster."""
        return self._secret.keys(cluster, threshold, moment, receiver)

    def seal_shares(self, cluster: str, moment: Moment, receiver: str, frame: Buffer) -> Answer:
        """Shares for each of the owners whose keys are in the frame."""
        return self._secret.shares(cluster, moment, receiver, frame)

    def masked_modules(
        self,
        cluster: str,
        stages: Sequence[str],
        samples: int,
        moment: Moment,
        receiver: str,
        frame: Buffer,
    ) -> Answer:
        """The owner's modules under masks; the frame has the shares that the others sealed."""
        state = self._guard.update(self._state(stages), moment.round)
        return self._secret.masked(cluster, samples, moment, receiver, state, frame)

    def reveal_shares(
        self, cluster: str, survivors: Sequence[str], moment: Moment, receiver: str
    ) -> Answer:
        """What unmasks the sum over ``survivors``."""
        return self._secret.reveal(cluster, survivors, moment, receiver)

    # Checkpoints.

    def export_optimizers(self, stages: Sequence[str], moment: Moment) -> Answer:
        """Optimizer states of stages as one frame: ``stage|parameter|key``."""
        state: dict[str, Tensor] = {}
        for name in stages:
            held = self._of(name)
            kept = optimizer_state(held.optimizer, held.parameters)
            state |= {f"{name}|{key}": value for key, value in kept.items()}
        return Answer((self._mailbox.frame("history", self.device, state, moment),))

    def import_optimizers(self, stages: Sequence[str], moment: Moment, frame: Buffer) -> Answer:
        """Put back what ``export_optimizers`` gave."""
        _, state = self._mailbox.open(frame, moment, "history")
        for name in stages:
            held, prefix = self._of(name), f"{name}|"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            load_optimizer_state(held.optimizer, held.parameters, own)
        return Answer()

    # Data that leaves its device: only where a plan centralises it.

    def upload_data(self, shard: str, receiver: str) -> Answer:
        """A whole shard, inputs and labels."""
        own = self._data.shard(shard)
        return Answer(
            (self._mailbox.frame("data", receiver, own.tensors(), Moment(), stage=shard),)
        )

    def pool_data(self, name: str, own: Sequence[str], *frames: Buffer) -> Answer:
        """Make one shard of some of the device's own and of uploaded ones."""
        shards = [self._data.shard(shard) for shard in own]
        for frame in frames:
            header, tensors = self._mailbox.open(frame, Moment(), "data")
            shards.append(Shard.of(header.stage, tensors))
        self._data.pool(name, shards)
        return Answer()

    # Plumbing.

    def _of(self, name: str) -> _Held:
        if name not in self._held:
            raise RunError(f"device {self.device} holds no stage {name}")
        return self._held[name]

    def _arrive(self, held: _Held, task: Pass, frames: Sequence[Buffer]) -> Arrival:
        """What a pass starts from: frames, own data, or at the tail both."""
        ref, index = task.batch, task.moment.microbatch
        own = None if ref is None else self._data.microbatch(ref, index).to(self._model.device)
        if not held.stage.is_first:
            arrival = self._crossing.arrive(task.moment, frames)
            if own is None:
                return arrival
            sides = side_inputs(self._model, own.inputs)
            return replace(arrival, inputs=sides, labels=own.labels)
        assert own is not None, "the head reads the owner's own data"
        return Arrival(own.inputs, None, own.labels, (len(own),))

    def _hand_on(self, held: _Held, task: Pass, flight: _Flight) -> Frames:
        arrival = flight.arrival
        sides = arrival.inputs if task.side_inputs else {}
        own = held.stage.is_first
        if own:
            sides = side_inputs(self._model, sides)
        labels = arrival.labels if task.labels_with else None
        hidden = self._guard.activation(flight.output, _pass(task)) if own else flight.output
        frames = self._crossing.activations(
            task.moment, task.receivers, hidden, sides, arrival.rows, labels
        )
        if task.labels_for is None or arrival.labels is None:
            return frames
        return frames + self._crossing.labels(task.moment, task.labels_for, arrival.labels)

    def _turn(self, task: Pass, flight: _Flight) -> Answer:
        """Loss and backward pass of the last stage."""
        labels = flight.arrival.labels
        if labels is None:
            raise RunError(f"no labels reached {task.stage}", hint="give every shard labels")
        loss = self._model.loss(flight.output, labels)
        torch.autograd.backward(loss if task.weight == 1.0 else loss * task.weight)
        return Answer(self._gradients(task, flight, task.scale), {"loss": loss.item()})

    def _gradients(self, task: Pass, flight: _Flight, scale: float) -> Frames:
        hidden, rows = flight.arrival.hidden, flight.arrival.rows
        if hidden is None or hidden.grad is None:
            return ()
        gradient = hidden.grad if scale == 1.0 else hidden.grad * scale
        return self._crossing.gradients(task.moment, task.receivers, gradient, rows)


def _pass(task: Pass) -> str:
    """Names a micro-batch of a run."""
    return f"{task.moment.round}/{task.moment.step}/{task.moment.microbatch}/{task.stage}"
