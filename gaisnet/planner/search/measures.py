"""What plans are compared by, and a bound on it that no plan of a combination undercuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.traffic import Message, cloud_messages
from gaisnet.planner.predict import predict_round
from gaisnet.planner.search.space import COMPRESSION_BITS
from gaisnet.schema.front import Measures, Setting
from gaisnet.schema.job import FineTuning, Job, Measure
from gaisnet.schema.plan import ClusterPlan, Plan
from gaisnet.schema.profile import ModelPart

__all__ = [
    "FIELDS",
    "directions_of",
    "leakage_of",
    "learning_measures",
    "measures_of",
    "natural_of",
    "values_of",
]

FIELDS: dict[Measure, str] = {
    "time": "time_s",
    "energy": "energy_j",
    "bytes": "payload_bytes",
    "memory": "memory_bytes",
    "leakage": "leakage",
    "rank": "rank",
    "bits": "bits",
    "interval": "interval_samples",
}
"""Field of ``Measures`` of each measure."""
MORE_IS_BETTER = ("rank", "bits")
DIGITS = 9


def measures_of(plan: Plan, job: Job, cost: CostModel, setting: Setting) -> Measures:
    """A plan's measures; ``cost`` is that of its job."""
    tuning = job.fine_tuning
    samples = round_samples(plan.clusters, tuning)
    cloud = cloud_parts(cost, plan, tuning)
    found = predict_round(cost, plan.clusters, plan.cloud or plan.clusters[0].edge, tuning)
    # Predictions are of a round that ends at the cloud; not every round does.
    spared = 1.0 - 1.0 / tuning.cloud_every
    sent = sum(link.payload_bytes_per_round for link in plan.predictions.links)
    sent_at_cloud = sum(message.payload_bytes * message.times for message in cloud)
    joules_at_cloud = sum(
        m.times * cost.transfer_j(m.sender, m.receiver, m.payload_bytes) for m in cloud
    )
    return Measures(
        time_s=plan.predictions.round_s / samples,
        energy_j=(sum(found.energy_j.values()) - spared * joules_at_cloud) / samples,
        payload_bytes=(sent - spared * sent_at_cloud) / samples,
        memory_bytes=sum(device.memory_bytes for device in plan.predictions.devices),
        leakage=leakage_of(plan.clusters, cost.model),
        **learning_measures(setting),
    )


def learning_measures(setting: Setting) -> dict[str, Any]:
    """What a setting means for learning, which nothing here predicts."""
    return {
        "rank": setting.rank,
        "bits": COMPRESSION_BITS[setting.compression],
        "interval_samples": setting.batch_size * setting.local_steps * setting.cloud_every,
    }


def round_samples(clusters: Sequence[ClusterPlan], tuning: FineTuning) -> int:
    """Samples of all owners in a round."""
    return sum(len(c.owners) for c in clusters) * tuning.batch_size * tuning.local_steps


def cloud_parts(cost: CostModel, plan: Plan, tuning: FineTuning) -> list[Message]:
    """Messages of one average at the cloud."""
    if plan.cloud is None:
        return []
    edges = sorted({cluster.edge for cluster in plan.clusters})
    domains = len({cluster.domain for cluster in plan.clusters}) if tuning.personal else 1
    return list(cloud_messages(cost, edges, plan.cloud, domains))


def leakage_of(clusters: Sequence[ClusterPlan], model: ModelPart) -> float | None:
    """What the worst cut in use gives away: ``1 - inversion error`` of the best attack measured.

    A cut is in use where its activations come to a device that does not own the data. Labels that
    leave their owners are given away wholly. ``None`` where some cut in use was not measured.
    """
    error = {row.unit: row.inversion_error for row in model.leakage}
    worst = 0.0
    for cluster in clusters:
        if not cluster.body:
            continue
        if cluster.tail_first_unit == len(model.units):
            worst = 1.0
        cuts = [cluster.head_units - 1, *(stage.last_unit for stage in cluster.body[:-1])]
        if any(cut not in error for cut in cuts):
            return None
        worst = max([worst, *(1.0 - error[cut] for cut in cuts)])
    return min(1.0, worst)


def natural_of(measures: Measures, names: Sequence[Measure]) -> tuple[float, ...]:
    """The named measures, to as many digits as comparisons heed.

    Sums of the same parts in another order differ in their last digits; they are equal here.
    """
    values = [getattr(measures, FIELDS[name]) for name in names]
    assert None not in values
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def values_of(measures: Measures, names: Sequence[Measure]) -> tuple[float, ...]:
    """The named measures as a vector of which less is better."""
    natural = zip(natural_of(measures, names), names, strict=True)
    return tuple(-value if name in MORE_IS_BETTER else value for value, name in natural)


def directions_of(names: Sequence[Measure]) -> list[str]:
    """Optuna's word for which way each measure is better."""
    return ["maximize" if name in MORE_IS_BETTER else "minimize" for name in names]
