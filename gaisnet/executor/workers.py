"""The engine of a run: one that the caller has, or one that is made for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gaisnet.executor.build import devices_of
from gaisnet.executor.engines import Engine, EngineOptions, make_engine
from gaisnet.executor.planfiles import PlanFiles

__all__ = ["Workers"]


@dataclass(frozen=True)
class Workers:
    """The engine that a run is given, or what it is to be made of."""

    engine: str | Engine
    options: EngineOptions

    @contextmanager
    def at_work(self, files: PlanFiles) -> Iterator[Engine]:
        """The engine; if it was made here, it is closed afterwards."""
        if not isinstance(self.engine, str):
            self.engine.watch()  # what has ended since its last run is known, and is started again
            yield self.engine
            return
        plan, fleet = files.plan, [device.id for device in files.fleet.devices]
        step_s = max((step.makespan_s for step in plan.predictions.steps), default=0.0)
        devices = devices_of(plan)
        made = make_engine(self.engine, devices, self.options, step_s=step_s, spares=fleet)
        try:
            yield made
        finally:
            made.close()

    @property
    def command(self) -> str:
        """What resumes a run on the same engine."""
        name = self.engine if isinstance(self.engine, str) else self.engine.name
        engine, address = "" if name == "local" else f" --engine {name}", self.options.address
        return f"gaisnet execute{engine}" + (f" --address {address}" if address else "")
