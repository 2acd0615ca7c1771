"""Fills the arrays of ``Body`` from the cost model; the same index letters as there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gaisnet.planner.chains.body import Body, FloatArray, Ways
from gaisnet.planner.chains.task import SplitTask
from gaisnet.planner.cost import CostModel, frozen_bytes, unit_bytes

__all__ = ["make_body"]


def make_body(cost: CostModel, task: SplitTask) -> Body:
    """All arrays of a cluster's splitting problem."""
    samples = task.merged * task.microbatch_size
    work_s = [cost.unit_s(holder, samples) for holder in task.holders]
    work_j = [cost.unit_j(holder, samples) for holder in task.holders]
    slow = np.array([1.0 / task.speed.get(holder, 1.0) for holder in task.holders])
    hop_s, hop_j = _hops(cost, task.holders, samples)
    owner_bytes, owner_working = _owner_memory(cost, task)
    moving, owners_moving = _moving(cost, task)
    taken_bytes, taken_working = _taken(cost, task)
    shape = len(task.holders), cost.n_units
    body = Body(
        task=task,
        holders=task.holders,
        work_s=np.array(work_s).reshape(shape) * slow[:, None],
        work_j=np.array(work_j).reshape(shape),
        hop_s=hop_s,
        hop_j=hop_j,
        entry=_entry(cost, task),
        leave=_leave(cost, task),
        owner_busy_s=_owner_seconds(cost, task).sum(axis=-1),
        owner_bytes=owner_bytes,
        owner_working=owner_working,
        unit_bytes=_unit_bytes(cost, task),
        unit_working=np.array([samples * float(unit.working_bytes) for unit in cost.model.units]),
        moving=moving,
        owners_moving=owners_moving,
        taken_bytes=taken_bytes,
        taken_working=taken_working,
    )
    return _without_leaks(body) if task.rules.leaking else body


def _without_leaks(body: Body) -> Body:
    """No way for what leaks too much into the hands of those who are not trusted with it."""
    rules, hop_s = body.task.rules, body.hop_s.copy()
    entry = {name: getattr(body.entry, name).copy() for name in ("through_s", "stage_s", "turns_s")}
    for n, holder in enumerate(body.holders):
        for unit in rules.leaking if holder in rules.untrusted else ():
            hop_s[:, n, unit : unit + 1] = np.inf
            for ways in entry.values():
                ways[..., unit + 1, n] = np.inf
    return replace(body, hop_s=hop_s, entry=replace(body.entry, **entry))


def _transfers(
    cost: CostModel, senders: Sequence[str], receivers: Sequence[str], payloads: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """``[S, R, P]`` seconds and joules of each payload; inf where there is no link."""
    ways = [[cost.links.way(s, r) for r in receivers] for s in senders]
    shape = len(senders), len(receivers), 1
    latency = np.array([[way.latency_s for way in row] for row in ways]).reshape(shape)
    speed = np.array([[way.bandwidth_bytes_per_s for way in row] for row in ways]).reshape(shape)
    joules = np.array([[way.joules_per_byte for way in row] for row in ways]).reshape(shape)
    part = np.array([cost.link_share(s) for s in senders]).reshape(-1, 1, 1)
    sent = np.array(payloads, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = latency + sent / part / speed
    same = np.array([[s == r for r in receivers] for s in senders], dtype=bool).reshape(shape)
    return np.where((sent == 0.0) | same, 0.0, seconds), joules * sent


def _hops(cost: CostModel, holders: Sequence[str], samples: int) -> tuple[FloatArray, FloatArray]:
    """``[N, N, L-1]`` seconds and joules of each cut of the body, both ways."""
    cuts, side = range(cost.n_units - 1), cost.side_input_bytes(samples)
    forward = [cost.activation_bytes(cut, samples) + side for cut in cuts]
    backward = [cost.gradient_bytes(cut, samples) for cut in cuts]
    there_s, there_j = _transfers(cost, holders, holders, forward)
    back_s, back_j = _transfers(cost, holders, holders, backward)
    return there_s + back_s.transpose(1, 0, 2), there_j + back_j.transpose(1, 0, 2)


def _owner_seconds(cost: CostModel, task: SplitTask) -> FloatArray:
    """``[O, 2, L+1, 2]`` seconds of a head of h units, and of a tail from t; forward, backward."""
    samples, units = task.microbatch_size, cost.n_units
    seconds = np.zeros((len(task.owners), 2, units + 1, 2))
    for o, owner in enumerate(task.owners):
        slow = 1.0 / task.speed.get(owner, 1.0)
        for cut in range(units + 1):
            for end, span in enumerate(((0, cut - 1), (cut, units - 1))):
                seconds[o, end, cut, 0] = slow * cost.forward_s(owner, *span, samples)
                seconds[o, end, cut, 1] = slow * cost.backward_s(owner, *span, samples)
    return seconds


def _owner_joules(cost: CostModel, task: SplitTask) -> FloatArray:
    """``[O, 2, L+1]`` joules of a head of h units, and of a tail from t."""
    joules = np.zeros((len(task.owners), 2, cost.n_units + 1))
    for o, owner in enumerate(task.owners):
        each = cost.unit_j(owner, task.microbatch_size)
        joules[o, 0, 1:] = np.cumsum(each)
        joules[o, 1, :-1] = np.cumsum(each[::-1])[::-1]
    return joules


def _entry(cost: CostModel, task: SplitTask) -> Ways:
    """From heads into the body, and gradients back; cut h is after unit h - 1."""
    samples, side = task.microbatch_size, cost.side_input_bytes(task.microbatch_size)
    cuts = range(cost.n_units)
    forward = [0, *(cost.activation_bytes(cut, samples) + side for cut in cuts)]
    backward = [0, *(cost.gradient_bytes(cut, samples) for cut in cuts)]
    there_s, there_j = _transfers(cost, task.owners, task.holders, forward)
    back_s, back_j = _transfers(cost, task.holders, task.owners, backward)
    back_s = back_s.transpose(1, 0, 2)
    seconds = _owner_seconds(cost, task)[:, 0]
    out_s = there_s + seconds[:, None, :, 0]
    home_s = back_s + seconds[:, None, :, 1]
    joules = there_j + back_j.transpose(1, 0, 2) + _owner_joules(cost, task)[:, None, 0]
    through = out_s.max(axis=0) + home_s.max(axis=0) if task.turns == 1 else out_s + home_s
    return _ways(task, through, there_s + back_s, joules)


def _leave(cost: CostModel, task: SplitTask) -> Ways:
    """From the body into tails, and gradients back; labels to the body where there is no tail."""
    samples, units = task.microbatch_size, cost.n_units
    cuts = range(units - 1)
    forward = [0, *(cost.activation_bytes(cut, samples) for cut in cuts), 0]
    backward = [0, *(cost.gradient_bytes(cut, samples) for cut in cuts), cost.label_bytes(samples)]
    there_s, there_j = _transfers(cost, task.holders, task.owners, forward)
    back_s, back_j = _transfers(cost, task.owners, task.holders, backward)
    stage_s = there_s.transpose(1, 0, 2) + back_s
    through = stage_s + _owner_seconds(cost, task)[:, 1].sum(axis=-1)[:, None]
    joules = there_j.transpose(1, 0, 2) + back_j + _owner_joules(cost, task)[:, None, 1]
    return _ways(task, through.max(axis=0) if task.turns == 1 else through, stage_s, joules)


def _ways(task: SplitTask, through: FloatArray, stage_s: FloatArray, joules: FloatArray) -> Ways:
    """Means over turns of ``[O, N, L+1]``; merged owners wait for the slowest, energies add up."""
    merged = task.turns == 1
    return Ways(
        through_s=(through if merged else through.mean(axis=0)).T,
        stage_s=(stage_s.max(axis=0) if merged else stage_s.mean(axis=0)).T,
        turns_s=(stage_s.max(axis=0, keepdims=True) if merged else stage_s).transpose(0, 2, 1),
        energy_j=(joules.sum(axis=0) / task.turns).T,
    )


def _unit_bytes(cost: CostModel, task: SplitTask) -> FloatArray:
    """``[N, L]``; frozen weights are left out where they are accounted for elsewhere."""
    in_flight = task.merged * task.batch_size
    full = np.array([unit_bytes(unit, cost.optimizer, in_flight) for unit in cost.model.units])
    frozen = np.array([frozen_bytes(unit) for unit in cost.model.units])
    shared = np.zeros((len(task.holders), cost.n_units))
    for n, holder in enumerate(task.holders):
        shared[n] = holder in task.shares_weights
        for residence in task.beside.get(holder, ()):
            shared[n, residence.first_unit : residence.last_unit + 1] = 1.0
    each: FloatArray = full[None, :] - shared * frozen[None, :]
    return each


def _taken(cost: CostModel, task: SplitTask) -> tuple[dict[str, float], dict[str, float]]:
    """Additive and transient bytes of what devices hold for others than this cluster."""
    additive, working = {}, {}
    for device, held in task.beside.items():
        highest = max(
            r.microbatch_size * cost.model.units[unit].working_bytes
            for r in held
            for unit in range(r.first_unit, r.last_unit + 1)
        )
        additive[device] = float(cost.memory(held).total_bytes - highest)
        working[device] = float(highest)
    return additive, working


def _moving(cost: CostModel, task: SplitTask) -> tuple[FloatArray, FloatArray]:
    """``[N, L]`` prices of moving units to holders, ``[2, L+1]`` heads and tails to owners."""
    units = cost.n_units
    ends = np.zeros((2, units + 1))
    if task.moving is None:
        return np.zeros((len(task.holders), units)), ends
    prices = task.moving.price * np.array([task.moving.of(h) for h in task.holders], dtype=float)
    for owner in task.owners:
        each = task.moving.price * np.array(task.moving.of(owner), dtype=float)
        ends[0, 1:] += np.cumsum(each)
        ends[1, :-1] += np.cumsum(each[::-1])[::-1]
    return prices.reshape(len(task.holders), units), ends


def _owner_memory(cost: CostModel, task: SplitTask) -> tuple[FloatArray, FloatArray]:
    """``[2, L+1]`` additive and transient bytes of a head of h units, and of a tail from t."""
    additive = [unit_bytes(unit, cost.optimizer, task.batch_size) for unit in cost.model.units]
    working = [task.microbatch_size * unit.working_bytes for unit in cost.model.units]
    heads = np.concatenate([[0.0], np.cumsum(additive)])
    tails = np.concatenate([np.cumsum(additive[::-1])[::-1], [0.0]])
    head_working = np.concatenate([[0.0], np.maximum.accumulate(working)])
    tail_working = np.concatenate([np.maximum.accumulate(working[::-1])[::-1], [0.0]])
    return np.array([heads, tails]), np.array([head_working, tail_working])
