"""Answers the services of a plan with the tuned modules, and measures what they got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from gaisnet.errors import MismatchError, OutputError
from gaisnet.executor.blueprints import RequestSource
from gaisnet.executor.engines import Engine
from gaisnet.executor.inference import Answers, Body, ServiceChain, ServiceDesk, Serving
from gaisnet.executor.relay import GENERAL
from gaisnet.executor.rundata import request_source
from gaisnet.executor.serviceclock import ServiceClock
from gaisnet.executor.session import Session
from gaisnet.schema.files import write_atomic
from gaisnet.schema.job import Service
from gaisnet.schema.plan import Route
from gaisnet.schema.run import ServiceMetrics

__all__ = ["answer_services"]

_BATCH_SIZE = 32
"""Requests that go through the chain together."""


def answer_services(session: Session, folder: Path) -> Iterator[ServiceMetrics]:
    """Answer the requests of every routed service that has any.

    Answers are written to ``answers/SERVICE.json``, a list by request.

    Raises:
        InputError: The requests are not what the model takes.
        OutputError: The answers cannot be written.
    """
    domains: dict[str, dict[str, Tensor]] = {}
    for route in session.files.plan.routes:
        service = _service(session, route)
        requests = request_source(session.files, service)
        if requests is not None:
            domains = domains or session.domains()
            modules = domains.get(service.domain, domains[GENERAL])
            desks = _Desks(session, route, service, modules)
            virtual_s = desks.lone_request_s(requests)
            answers = desks.answer(session.engine, requests)
            _write(folder / "answers" / f"{service.id}.json", answers)
            yield _metrics(session, service, answers, virtual_s)


class _Desks:
    """Puts a service's servers in place, with its domain's modules."""

    def __init__(
        self, session: Session, route: Route, service: Service, modules: dict[str, Tensor]
    ) -> None:
        self._session, self._service, self._modules = session, service, modules
        plan = session.files.plan
        self._cluster = next(c for c in plan.clusters if c.id == route.cluster)
        self._chain = ServiceChain.of(self._cluster, route.entry, plan.n_units)

    def answer(
        self, engine: Engine, requests: RequestSource, batch_size: int = _BATCH_SIZE
    ) -> Answers:
        """All answers, over ``engine``; what putting servers in place sent is not metered."""
        session = self._session
        tuning = session.files.job.fine_tuning
        given = session.run, tuning.compression, session.source, tuning.privacy, session.epoch
        serving = Serving(engine, session.model, *given, session.compute)
        body = Body(serving, self._cluster.id, self._chain.body)
        desk = ServiceDesk(
            serving,
            self._chain,
            body,
            requests,
            new_tokens=self._service.output_tokens,
            batch_size=batch_size,
        )
        desk.swap(self._modules, self._cluster.edge)
        session.engine.meter.take()
        return desk.answer()

    def lone_request_s(self, requests: RequestSource) -> float:
        """Virtual seconds of one request that finds the fleet idle."""
        files = self._session.files
        cost = files.service_cost_model(self._service.id)
        clock = ServiceClock(self._session.engine, cost, self._chain)
        self.answer(clock, requests.model_copy(update={"first": 1}), batch_size=1)
        return clock.elapsed_s


def _service(session: Session, route: Route) -> Service:
    for service in session.files.job.services:
        if service.id == route.service:
            return service
    raise MismatchError(
        f"the plan routes service {route.service}, which the job lacks",
        where=str(session.files.path),
        hint="make a new plan with `gaisnet plan`",
    )


def _metrics(
    session: Session, service: Service, answers: Answers, virtual_s: float
) -> ServiceMetrics:
    predictions = session.files.plan.predictions.services
    predicted = {p.service: p.service_s for p in predictions}
    right = answers.hits is not None and answers.count > 0
    generated = service.output_tokens > 0
    return ServiceMetrics(
        service=service.id,
        requests=len(answers.answers),
        accuracy=(answers.hits or 0) / answers.count if right else None,
        tokens=sum(map(len, answers.answers)) if generated else 0,
        predicted_s=predicted.get(service.id, 0.0),
        virtual_s=virtual_s,
        wall_s=answers.wall_s,
        traffic=session.engine.meter.take(),
    )


def _write(path: Path, answers: Answers) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error
    write_atomic(path, json.dumps(answers.answers) + "\n", force=True)
