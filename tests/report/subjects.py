"""A profile, a plan and a run made by hand, with every part that a report shows."""

from __future__ import annotations

from pathlib import Path

from gaisnet.report import RunRecord
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.plan import (
    Certificate,
    ClusterPlan,
    DevicePrediction,
    InputFile,
    LinkPrediction,
    Owner,
    Plan,
    PlanInputs,
    Predictions,
    Route,
    ServicePrediction,
    Stage,
    StepPrediction,
)
from gaisnet.schema.profile import (
    DevicePart,
    EndToEnd,
    FlopWitnesses,
    ModelPart,
    Power,
    Profile,
    Spread,
    Timing,
    UnitPart,
)
from gaisnet.schema.run import LinkTraffic, RoundMetrics, RunManifest, ServiceMetrics

SHA = "0" * 64
MEBIBYTE = 2**20


def spread(median_s: float) -> Spread:
    return Spread(median_s=median_s, spread_s=0.0, samples=3)


def unit(name: str, flops: int, *, uncounted: tuple[str, ...] = ()) -> UnitPart:
    timing = Timing(
        batch_size=1,
        forward=spread(1e-3),
        backward=spread(2e-3),
        forward_cpu=spread(1e-3),
        backward_cpu=spread(2e-3),
    )
    return UnitPart(
        name=name,
        kind="block",
        parameters=1_500_000,
        tunable_parameters=4_096,
        forward_flops=flops,
        backward_flops=2 * flops,
        witnesses=FlopWitnesses(),
        uncounted=uncounted,
        weight_bytes=6 * MEBIBYTE,
        gradient_bytes=0,
        optimizer_bytes=0,
        saved_activation_bytes=MEBIBYTE,
        output_bytes=3 * 1024,
        gradient_output_bytes=0,
        timings=(timing,),
    )


def profile(source: str = "models/vit") -> Profile:
    device = DevicePart(
        name="Test CPU",
        kind="cpu",
        origin="measured",
        source="microbenchmarks",
        peak_flops_per_s={"float32": 2e11},
        sustained_flops_per_s={"float32": 1e11},
        memory_bandwidth_bytes_per_s=2e10,
        memory_bytes=8 * 2**30,
        memory_source="cgroup-v2",
        op_overhead_s=3e-6,
        power=Power(idle_w=5, busy_w=25, source="rapl"),
    )
    check = EndToEnd(
        batch_size=4,
        step=spread(0.02),
        step_cpu=spread(0.011),
        sum_s=0.019,
        sum_cpu_s=0.01,
        kappa=1.1,
    )
    model = ModelPart(
        model=ModelSpec(source=source),
        tunable=LoraSpec(),
        architecture="ViTForImageClassification",
        fingerprint=SHA,
        optimizer="adamw",
        tokens=17,
        input_bytes=256,
        side_input_bytes=0,
        label_bytes=8,
        units=(
            unit("emb", 10),
            unit("vit.layers.0", 1_000_000),
            unit("head", 5, uncounted=("x::y",)),
        ),
        tied_units=((0, 2),),
        end_to_end=(check,),
        flops_disagreement=0.012,
        warnings=("something to doubt",),
    )
    return Profile(device=device, model=model)


def device(name: str, memory: int, limit: int) -> DevicePrediction:
    return DevicePrediction(
        device=name,
        weight_bytes=memory // 2,
        training_bytes=memory - memory // 2,
        memory_bytes=memory,
        limit_bytes=limit,
        whole_model_bytes=40 * MEBIBYTE,
        busy_s_per_round=0.1,
        energy_j_per_round=2.0,
    )


def plan(name: str = "demo", *, status: str = "optimal", meets_slo: bool = True) -> Plan:
    cluster = ClusterPlan(
        id="c0",
        edge="edge-0",
        domain="general",
        owners=(Owner(device="phone", shards=("phone",), samples=10),),
        head_units=2,
        tail_first_unit=9,
        body=(
            Stage(device="board", first_unit=2, last_unit=5),
            Stage(device="edge-0", first_unit=6, last_unit=8),
        ),
        intra="sequential",
        microbatches=2,
    )
    inputs = {key: InputFile(path=f"{key}.yaml", sha256=SHA) for key in ("job", "fleet", "profile")}
    return Plan(
        name=name,
        scheme="hfsl",
        topology="u_shape",
        objective="makespan",
        n_units=10,
        model_fingerprint=SHA,
        inputs=PlanInputs(**inputs),
        clusters=(cluster,),
        routes=(Route(service="ask", cluster="c0", entry="phone"),),
        certificates=(
            Certificate(
                decision="split of cluster c0",
                objective="makespan",
                solver="search",
                status=status,  # type: ignore[arg-type]
                value=1.25,
                bound=1.0,
                gap=0.2,
            ),
        ),
        predictions=Predictions(
            steps=(
                StepPrediction(
                    cluster="c0", latency_s=0.2, period_s=0.05, makespan_s=0.25, energy_j=1.5
                ),
            ),
            round_s=2.5,
            aggregation_s=0.5,
            devices=(
                device("phone", 4 * MEBIBYTE, 16 * MEBIBYTE),
                device("board", 10 * MEBIBYTE, 10 * MEBIBYTE),
                device("edge-0", 12 * MEBIBYTE, 64 * MEBIBYTE),
            ),
            links=tuple(
                LinkPrediction(
                    sender="phone",
                    receiver=f"d{index}",
                    payload_bytes_per_round=1024 * index,
                    transfer_s_per_round=0.001 * index,
                )
                for index in range(30)
            ),
            services=(
                ServicePrediction(
                    service="ask",
                    service_s=0.01,
                    mean_s=0.02,
                    p95_s=0.05,
                    utilisation=0.3,
                    throughput_per_s=40.0,
                    meets_slo=meets_slo,
                ),
            ),
        ),
        reproducible=False,
    )


def traffic(payload: int) -> tuple[LinkTraffic, ...]:
    return (
        LinkTraffic(
            sender="phone",
            receiver="board",
            frames=2,
            payload_bytes=payload,
            frame_bytes=payload + 8,
        ),
        LinkTraffic(
            sender="board",
            receiver="edge-0",
            frames=1,
            payload_bytes=payload,
            frame_bytes=payload + 4,
        ),
    )


def round_metrics(index: int, accuracy: float | None) -> RoundMetrics:
    return RoundMetrics(
        round=index,
        train_loss=1.0 / (index + 1),
        eval_loss=1.1 / (index + 1),
        eval_accuracy=accuracy,
        predicted_s=2.5,
        virtual_s=2.6,
        wall_s=0.4,
        traffic=traffic(1024),
    )


def run(status: str = "done", folder: Path = Path("run"), domain: str = "general") -> RunRecord:
    manifest = RunManifest(
        run_id="demo-1",
        plan_path="../plan.json",
        plan_sha256=SHA,
        engine="local",
        seed=0,
        status=status,  # type: ignore[arg-type]
        rounds_done=3,
        rounds=3,
        eval_accuracy_before=0.125,
        adapters={domain: f"adapters/{domain}"},
        frozen_sha256=SHA,
    )
    service = ServiceMetrics(
        service="ask",
        requests=5,
        accuracy=0.8,
        predicted_s=0.02,
        virtual_s=0.03,
        wall_s=0.01,
        traffic=traffic(512),
    )
    return RunRecord(
        folder=folder,
        manifest=manifest,
        rounds=tuple(round_metrics(i, a) for i, a in enumerate((0.5, None, 0.9))),
        services=(service,),
        events=(),
        plan=plan(),
        tiers={"phone": "end", "board": "end", "edge-0": "edge"},
    )
