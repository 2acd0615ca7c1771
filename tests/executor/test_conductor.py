"""How a round is shared out: one message to every edge, and nothing but reports back."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from gaisnet.executor.conductor import EdgeReport
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines import Address, Engine
from gaisnet.executor.engines.base import Reply
from gaisnet.executor.finetune import FineTuner
from gaisnet.executor.journal import Computed, Journal, Moved
from gaisnet.executor.settings import Settings
from gaisnet.schema.job import FineTuning, SgdSpec
from tests.executor.hfsl import Fleet, cluster, make_model, make_plan, make_shard

TUNING = FineTuning(
    local_steps=3, batch_size=2, optimizer=SgdSpec(learning_rate=0.1), cloud_every=100
)


class Listening(Dispatcher):
    """Knows what the driver has asked for, and what it was told."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.heard: list[tuple[str, str, Reply]] = []

    def call(self, address: Address, method: str, *arguments: Any, **options: Any) -> Reply:
        reply = super().call(address, method, *arguments, **options)
        self.heard.append((address.device, method, reply))
        return reply


def fleet() -> tuple[Fleet, Listening]:
    owners = [("a", "edge-0"), ("b", "edge-0"), ("c", "edge-1")]
    clusters = [cluster(f"c{o}", {o: 4}, (1, 3), edge=edge) for o, edge in owners]
    model = make_model("vit")
    shards = {o: make_shard(model, o, 4, seed) for seed, (o, _) in enumerate(owners)}
    found = Fleet(make_plan(clusters), model, shards, TUNING)
    dispatcher = Listening(found.engine)
    found.tuner = FineTuner(
        dispatcher, found.plan, found.facts, Settings(fine_tuning=TUNING, seed=0)
    )
    return found, dispatcher


def test_the_driver_sends_every_edge_one_message_a_round_and_one_to_close_it():
    found, dispatcher = fleet()
    for index in range(2):
        dispatcher.heard.clear()
        found.tuner.round(index)
        asked = [(device, method) for device, method, _ in dispatcher.heard]
        assert asked == [(e, m) for m in ("round", "close") for e in ("edge-0", "edge-1")]


def test_a_report_survives_the_way_as_json_and_its_journal_joins_the_drivers():
    found, dispatcher = fleet()
    dispatcher.record()
    found.tuner.round(0)
    reports = [EdgeReport.read(reply.values) for _, m, reply in dispatcher.heard if m == "round"]
    for report in reports:
        text = TypeAdapter(dict).dump_json({"report": to_jsonable_python(report)})
        assert EdgeReport.read(TypeAdapter(dict).validate_json(text)) == report
    whole = dispatcher.journal()
    parts = [part.journal for report in reports for part in report.clusters]
    assert [len(part.clusters) for part in reports] == [2, 1]
    assert count(whole, Computed) == sum(count(part, Computed) for part in parts) > 0
    assert count(whole, Moved) == sum(count(part, Moved) for part in parts) > 0
    assert all(task < place for place, entry in enumerate(whole.entries) for task in entry.after)


def count(journal: Journal, kind: type) -> int:
    return sum(isinstance(entry, kind) for entry in journal.entries)
