"""``calibrate``: a run's records against a job's figures, and the figures that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from gaisnet.errors import InputError, MismatchError
from gaisnet.planner.calibration.figures import Clock, fit_devices, fit_links
from gaisnet.planner.calibration.loss import fit_loss
from gaisnet.planner.cost import CostModel
from gaisnet.planner.inputs import Inputs, read_inputs
from gaisnet.planner.predict import predict_round
from gaisnet.planner.routing import FINE_TUNING
from gaisnet.schema.files import read_lines, read_model, resolve
from gaisnet.schema.manifest import MANIFEST, read_manifest
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import RoundMetrics, RunManifest
from gaisnet.schema.run_calibration import Calibration, Times

__all__ = ["calibrate"]


def calibrate(
    job_path: str | Path, run_dir: str | Path, *, clock: Clock | None = None
) -> Calibration:
    """Figures of devices and links, and the utility of rounds, that fit a run.

    Args:
        job_path: The job whose figures are held against the run; its fleet has the run's devices.
        run_dir: The run's folder.
        clock: ``wall``: what the devices' own clocks say. ``virtual``: what the figures of the
            run's own fleet say. By default ``wall``, but for runs of the embedded engine: there
            all devices are this machine.

    Raises:
        InputError: A file is missing or malformed, or the run has recorded nothing.
        MismatchError: The run is of another model, or of devices that the fleet lacks.
    """
    inputs, folder = read_inputs(job_path), Path(run_dir)
    manifest, rounds, plan = _read_run(folder)
    clock = clock or ("virtual" if manifest.engine == "local" else "wall")
    _check(inputs, plan, rounds, folder)
    recorded = [metrics for metrics in rounds if metrics.work]
    if not recorded:
        raise InputError(
            "the run has not recorded what devices did", where=str(folder), hint="run it again"
        )
    cost = _cost(inputs, plan)
    devices = fit_devices(cost, recorded, clock)
    if not devices:
        raise InputError(
            f"the run has no {clock} times of any device", where=str(folder), hint="--clock virtual"
        )
    links = fit_links(cost, recorded) if clock == "virtual" else ()
    found = Calibration(
        run_id=manifest.run_id,
        plan_sha256=manifest.plan_sha256,
        engine=manifest.engine,
        clock=clock,
        rounds=len(recorded),
        round_times=Times(predicted_s=0.0, measured_s=0.0, calibrated_s=0.0),
        devices=devices,
        links=links,
        loss=fit_loss(rounds, manifest.eval_loss_before),
        unseen=_unseen(recorded, [fit.device for fit in devices], clock),
        skipped_rounds=len(rounds) - len(recorded),
        tool_versions={"gaisnet": version("gaisnet")},
    )
    times = _round_times(inputs, cost, plan, recorded, found)
    return found.model_copy(update={"round_times": times})


def _cost(inputs: Inputs, plan: Plan) -> CostModel:
    """The job's figures, in the shares of fine-tuning that the run's plan gave it."""
    whole = CostModel.from_inputs(inputs)
    if inputs.job.inference_share is not None or not plan.shares:
        return whole
    return whole.at_plan_shares(FINE_TUNING, plan.shares)


def _read_run(folder: Path) -> tuple[RunManifest, tuple[RoundMetrics, ...], Plan]:
    manifest = read_manifest(folder)
    metrics = folder / "metrics.jsonl"
    rounds = read_lines(metrics, RoundMetrics) if metrics.is_file() else ()
    return manifest, rounds, read_model(resolve(folder / MANIFEST, manifest.plan_path), Plan)


def _check(inputs: Inputs, plan: Plan, rounds: Sequence[RoundMetrics], folder: Path) -> None:
    if plan.model_fingerprint != inputs.model.fingerprint:
        raise MismatchError(
            "the run is of another model, or of other tunable modules, than the job",
            where=str(folder),
            hint="calibrate with the job that was run, or one of the same model",
        )
    known = {device.id for device in inputs.fleet.devices}
    used = {work.device for metrics in rounds for work in metrics.work}
    used |= {owner.device for cluster in plan.clusters for owner in cluster.owners}
    missing = sorted(used - known)
    if missing:
        raise MismatchError(
            f"the job's fleet lacks devices of the run: {', '.join(missing)}", where=str(folder)
        )


def _unseen(rounds: Sequence[RoundMetrics], fitted: Sequence[str], clock: Clock) -> tuple[str, ...]:
    devices = {work.device for metrics in rounds for work in metrics.work} - set(fitted)
    found = [f"device {name}" for name in sorted(devices)]
    if clock == "wall" and any(metrics.moves for metrics in rounds):
        found.append("links: their transfers have no clock of their own")
    return tuple(found)


def _round_times(
    inputs: Inputs,
    cost: CostModel,
    plan: Plan,
    rounds: Sequence[RoundMetrics],
    found: Calibration,
) -> Times:
    tuning, cloud = inputs.job.fine_tuning, plan.cloud or plan.clusters[0].edge

    def predicted_s(figures: CostModel) -> float:
        return predict_round(figures, plan.clusters, cloud, tuning).round_s

    return Times(
        predicted_s=predicted_s(cost),
        measured_s=median(m.wall_s if found.clock == "wall" else m.virtual_s for m in rounds),
        calibrated_s=predicted_s(cost.calibrated(found)),
    )
