"""Carries one batch through a chain: activations forward, gradients back.

With several owners the batch merges their features at the body (feature merging). The body sees
Σb samples and the gradient of the mean over them: a tail scales the gradient that it sends by
b_i / Σb. A head rescales what it receives by Σb / b_i, so that head and tail see the gradient of
their own batch's mean. One owner alone is the same with Σb = b_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gaisnet.executor.chain import Chain, Stop
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Parcel, Reply
from gaisnet.executor.journal import Direction, Work
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.tasks import BatchRef, Pass

__all__ = ["Propagation", "microbatch_sizes"]


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """One batch of each owner of a chain, in micro-batches."""

    dispatcher: Dispatcher
    chain: Chain
    batches: Mapping[str, BatchRef]
    """Batch of each owner, by device; all have the same number of micro-batches."""
    moment: Moment
    dropout_seed: int | None = None
    crosses_below: Callable[[int], bool] | None = None
    """Whether a gradient leaves a stage that begins at a unit; if unknown, each is waited for."""
    _inbox: dict[tuple[Stop, int], list[Parcel]] = field(default_factory=dict)
    _turned: list[tuple[Reply, int]] = field(default_factory=list)

    def forward(self, microbatch: int) -> None:
        """Take a micro-batch to its loss; the last layer turns and sends its gradients."""
        for layer, stops in enumerate(self.chain.layers):
            direction: Direction = "turn" if self._is_last(layer) else "forward"
            for place, stop in enumerate(stops):
                task = self._pass(layer, place, microbatch)
                onward = self._destinations(layer, place)
                self._run(direction, stop, task, onward)

    def backward(self, microbatch: int) -> None:
        """Take a micro-batch's gradients down the chain, as far as there is anything to tune."""
        for layer in reversed(range(len(self.chain.layers) - 1)):
            for place, stop in enumerate(self.chain.layers[layer]):
                if (stop, microbatch) in self._inbox:
                    back = self.chain.backward(layer, place)
                    task = Pass(
                        stage=stop.stage,
                        moment=replace(self.moment, microbatch=microbatch),
                        receivers=_devices(back),
                        scale=self._union_over(stop),
                    )
                    self._run("backward", stop, task, back)

    def mean_loss(self) -> float:
        """Over all samples that went forward; waits for the last layer."""
        losses = [(self.dispatcher.read(reply)["loss"], n) for reply, n in self._turned]
        return math.fsum(loss * n for loss, n in losses) / sum(n for _, n in losses)

    def _run(
        self, direction: Direction, stop: Stop, task: Pass, destinations: Sequence[Stop]
    ) -> None:
        """One pass of one stage: from its inbox to the inboxes of the next."""
        microbatch = task.moment.microbatch
        samples = self._samples(stop, microbatch)
        reply = self.dispatcher.call(
            stop.address,
            "backward" if direction == "backward" else "forward",
            task,
            parcels=self._inbox.pop((stop, microbatch), []),
            makes=self._makes(direction, stop, len(destinations)),
            keys=(stop.stage,),
            work=Work(direction, stop.first_unit, stop.last_unit, samples),
        )
        if direction == "turn":
            self._turned.append((reply, samples))
        # A cut that no gradient crosses gets no frame.
        for parcel, following in zip(reply.parcels, destinations, strict=bool(reply.parcels)):
            arrived = self.dispatcher.send(parcel, following.address)
            self._inbox.setdefault((following, microbatch), []).append(arrived)

    def _makes(self, direction: Direction, stop: Stop, destinations: int) -> int | None:
        """Frames that a pass makes."""
        if direction == "forward":
            return destinations
        if self.crosses_below is None:
            return None
        return destinations if self.crosses_below(stop.first_unit) else 0

    def _pass(self, layer: int, place: int, microbatch: int) -> Pass:
        stop, last = self.chain.layers[layer][place], self._is_last(layer)
        onward, back = self.chain.onward(layer, place), self.chain.backward(layer, place)
        batch = self.batches[stop.owner.device] if stop.owner else None
        step = next(iter(self.batches.values())).step
        return Pass(
            stage=stop.stage,
            moment=replace(self.moment, microbatch=microbatch),
            receivers=_devices(back if last else onward),
            batch=batch,
            side_inputs=not last and onward[0].owner is None,
            labels_for=self._labels_for(layer),
            labels_with=self._sends_labels(layer) and len(self.chain.layers) == 2,
            weight=self._samples(stop, microbatch) / self._batch_size(stop),
            scale=1.0 / self._union_over(stop) if last else 1.0,
            dropout=None if self.dropout_seed is None else (self.dropout_seed, step),
        )

    def _destinations(self, layer: int, place: int) -> tuple[Stop, ...]:
        """Of the frames of a forward pass: activations and then labels, or gradients."""
        if self._is_last(layer):
            return self.chain.backward(layer, place)
        labels = self.chain.layers[-1] if self._labels_for(layer) else ()
        return self.chain.onward(layer, place) + labels

    def _sends_labels(self, layer: int) -> bool:
        """Labels leave the head only if the last stage is not an owner's (vanilla topology)."""
        return layer == 0 and self.chain.layers[-1][0].owner is None

    def _labels_for(self, layer: int) -> str | None:
        """Who gets the labels in a frame of their own: a last stage that is not the next one."""
        if not self._sends_labels(layer) or len(self.chain.layers) == 2:
            return None
        return self.chain.layers[-1][0].address.device

    def _is_last(self, layer: int) -> bool:
        return layer == len(self.chain.layers) - 1

    def _union_over(self, stop: Stop) -> float:
        """Σb / b_i for an owner's stage if features are merged, else 1."""
        if stop.owner is None or not self.chain.merges:
            return 1.0
        union = sum(batch.batch_size for batch in self.batches.values())
        return union / self._batch_size(stop)

    def _batch_size(self, stop: Stop) -> int:
        return sum(batch.batch_size for batch in self._batches_at(stop))

    def _samples(self, stop: Stop, microbatch: int) -> int:
        return sum(microbatch_sizes(batch)[microbatch] for batch in self._batches_at(stop))

    def _batches_at(self, stop: Stop) -> Sequence[BatchRef]:
        if stop.owner is not None:
            return (self.batches[stop.owner.device],)
        return tuple(self.batches.values())


def microbatch_sizes(batch: BatchRef) -> list[int]:
    """Samples of each micro-batch: as even as can be, larger ones first."""
    size, more = divmod(batch.batch_size, batch.microbatches)
    return [size + (index < more) for index in range(batch.microbatches)]


def _devices(stops: Sequence[Stop]) -> tuple[str, ...]:
    return tuple(stop.address.device for stop in stops)
