"""Runs that lose a device at a given moment, and what has to come of them, put together by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gaisnet.executor.carryover import carry_over
from gaisnet.executor.checkpoint import Checkpoints
from gaisnet.executor.engines import Address, Engine, LocalEngine, Parcel
from gaisnet.executor.export import states_sha256
from gaisnet.executor.frames import read_header
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.planfiles import read_plan
from gaisnet.executor.run import RunResult, execute
from gaisnet.executor.session import Session
from gaisnet.planner import inputs_of, replan
from gaisnet.schema.files import canonical_json, read_lines
from gaisnet.schema.run import Event
from tests.executor.faults.fragile import FragileEngine

__all__ = [
    "CuttingEngine",
    "Losing",
    "LosingInEvaluation",
    "changed_at",
    "events",
    "is_snapshot",
    "run",
]


class Losing(FragileEngine):
    """Loses devices in a round, as soon as ``method`` is asked for."""

    def __init__(
        self, lost: str | list[str], method: str, round_index: int, **options: Any
    ) -> None:
        super().__init__(self._strike, **options)
        self.lost = [lost] if isinstance(lost, str) else lost
        self.method, self.round_index = method, round_index
        self.round: int | None = -1
        self.own = False
        """Whether it is the device itself that has to be asked."""

    def follow(self, event: Event) -> None:
        if event.kind == "round_started":
            self.round = event.round

    def _strike(self, address: Address, method: str) -> None:
        due = self.round == self.round_index and method == self.method
        if due and (not self.own or address.device == self.lost[0]):
            self.gone |= {*self.lost}


class LosingInEvaluation(Losing):
    """Loses a device in a round while modules are asked for to be evaluated, whoever is asked."""

    def __init__(self, lost: str, round_index: int) -> None:
        super().__init__(lost, "", round_index)
        self.own = True  # and it is never asked for that

    def call(self, address: Address, method: str, *arguments: Any, **options: Any) -> Any:
        due = self.round == self.round_index and not self.gone
        if due and is_snapshot(method, arguments):
            self.gone |= {*self.lost}
            self._needs(self.lost[0])
        return super().call(address, method, *arguments, **options)


def is_snapshot(method: str, arguments: Sequence[Any]) -> bool:
    """Whether a coordinator is asked for its modules by whoever runs the plan; what is asked for
    in a round has its number."""
    return method == "give" and arguments[1] == Moment()


class CuttingEngine(LocalEngine):
    """A device's modules are cut short on their way in a round: its update is left out there."""

    def __init__(self, device: str, round_index: int) -> None:
        super().__init__()
        self.device, self.round_index = device, round_index

    def _carry(self, parcel: Parcel, receiver: Address) -> Parcel:
        frame: Any = parcel
        header = read_header(frame.frame)
        if (header.kind, header.sender, header.round) == ("modules", self.device, self.round_index):
            frame.frame = frame.frame[:-1]
        return super()._carry(parcel, receiver)


def run(
    plan: Path,
    folder: Path,
    engine: Losing,
    on_event: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> RunResult:
    def follow(event: Event) -> None:
        engine.follow(event)
        on_event(event)

    return execute(plan, run_dir=folder, engine=engine, on_event=follow, **options)


def changed_at(
    plan: Path, folder: Path, lost: str, done: int, rounds: int, engine: Engine | None = None
) -> str:
    """Hash of the modules of a run whose plan changes after ``done`` rounds; those are run on
    ``engine``."""
    execute(plan, run_dir=folder, rounds=done, engine=engine or LocalEngine())
    files = read_plan(plan)
    other = replan(files.plan, [lost], inputs_of(files.plan, plan), folder=folder)
    (folder / "other.json").write_text(canonical_json(other))
    after = read_plan(folder / "other.json")
    checkpoint, _ = Checkpoints(folder / "checkpoints", files.sha256, 2).newest()
    assert checkpoint is not None
    session = Session(after, LocalEngine(), "by-hand", files.plan.seed, rounds, 7)
    session.resume(carry_over(checkpoint, files.plan, other, personal=False))
    for index in range(done, rounds):
        session.round(index)
    return states_sha256(session.domains())


def events(folder: Path) -> tuple[Event, ...]:
    return read_lines(folder / "events.jsonl", Event)
