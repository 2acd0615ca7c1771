"""Between two rounds: what devices have said, and whether one has left or is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from gaisnet.errors import GaisnetError
from gaisnet.executor.build import devices_of
from gaisnet.executor.engines import Engine
from gaisnet.executor.engines.base import DepartedError, LostDeviceError
from gaisnet.executor.runfolder import RunFolder
from gaisnet.schema.plan import Plan

__all__ = ["hear_at_the_end", "let_go", "refuse_if_lost"]


def let_go(folder: RunFolder, engine: Engine, plan: Plan, done: int, rounds: int) -> None:
    """Write down what devices say; the round and its checkpoint are whole, so whoever wants to
    leave may do so now.

    Args:
        folder: Of the run.
        engine: Knows the devices.
        plan: The present one.
        done: Rounds that are done.
        rounds: How many there will be.

    Raises:
        DepartedError: A device has left that the plan has more work for.
        OutputError: The logs cannot be written.
    """
    leaving = _hear(folder, engine)
    for device in leaving:
        folder.tell("device_leaving", round_index=done - 1, device=device)
    if done == rounds and not plan.routes:
        return  # the run's end lets all of them go
    for device in leaving:
        engine.release(device)
    needed = sorted(set(leaving) & set(devices_of(plan)))
    if needed:
        raise DepartedError(
            f"{', '.join(needed)} leaves after round {done} of {rounds}",
            where=needed[0],
            hint="let another machine join in its place, or plan without it",
        )


def refuse_if_lost(lost: Mapping[str, str], plan: Plan, done: int, rounds: int) -> None:
    """The round has closed without some devices; what is left has to be planned without them.

    Args:
        lost: What is to be said of each.
        plan: The present one.
        done: Rounds that are done.
        rounds: How many there will be.

    Raises:
        LostDeviceError: One is lost, and there is more to do.
    """
    for device, why in sorted(lost.items()):
        if done < rounds or plan.routes:
            raise LostDeviceError(why, where=device)


@contextmanager
def hear_at_the_end(folder: RunFolder, engine: Engine) -> Iterator[None]:
    """What devices have said by the end is written down, whatever that end is."""
    try:
        yield
    finally:
        with suppress(GaisnetError):
            _hear(folder, engine)


def _hear(folder: RunFolder, engine: Engine) -> list[str]:
    """Returns those that want to leave."""
    news = engine.news()
    folder.add_logs({device: told.lines for device, told in news.items()})
    return sorted(device for device, told in news.items() if told.leaving)
