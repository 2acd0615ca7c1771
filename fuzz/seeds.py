"""Real files and frames of a small job: what the fuzzer starts from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.run import execute
from gaisnet.schema import catalogue
from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.files import canonical_json
from gaisnet.schema.profile import Profile
from gaisnet.security.authority import Authority
from gaisnet.testing import write_small_job

__all__ = ["real_inputs"]

_FRAMES = 12
_ARGUMENTS = (
    b'[{"name":"c0/head","first_unit":0,"last_unit":0,"gradient_below":false}]',
    b'[["c0/head","c0/tail"],{"round":1,"step":0,"microbatch":0}]',
)
_BLUEPRINT = (
    b'{"kind":"holder","device":"a","run":"r","model":{"spec":{"source":"model.json"}},'
    b'"optimizer":{"kind":"sgd"}}'
)
_RECEIPT = b'{"values":"{}","made":[{"receiver":"b","frame_bytes":9,"payload_bytes":1}]}'
_TEXT = b'{"text": "to be or not to be", "label": 1}\n{"text": "that is", "label": 0}\n'
_ANSWERS = (
    bytes.fromhex("000000040000000000") + b"\0\0\x15\1\5\0\0\0\1\x88@\x0bgrpc-status\x0216abcd",
    bytes.fromhex("000004080000000000003f0001") + b"\0\0\x0e\1\5\0\0\0\1@\x0bgrpc-status\x010",
)
_EMPTY_TENSORS = b"\x02\0\0\0\0\0\0\0{}"


def real_inputs(folder: Path) -> Mapping[str, list[bytes]]:
    """Seeds by target; the job is written into ``folder`` and executed there."""
    frames: dict[str, bytes] = {}
    plan = write_small_job(folder)
    engine = LocalEngine(tap=lambda sender, receiver, frame: _keep(frames, bytes(frame)))
    run = execute(plan, run_dir=folder / "run", engine=engine).run_dir
    Authority(folder / "fleet").admit("phone", ["10.0.0.7"])
    checkpoint = next((run / "checkpoints").glob("round-*"))
    device = canonical_json(Profile(device=preset(preset_names()[0]))).encode()
    names = ("fleet", "job", "profile")
    files = {name: [(folder / f"{name}.json").read_bytes()] for name in names}
    files["profile"].append(device)
    tensors = [(folder / "owner-a.safetensors").read_bytes(), _EMPTY_TENSORS]
    lines = [(run / f"{n}.jsonl").read_bytes() for n in ("events", "metrics", "services")]
    return files | {
        "frame": list(frames.values()),
        "header": [_header_of(frame) for frame in frames.values()],
        "message": [_RECEIPT, _BLUEPRINT],
        "arguments": list(_ARGUMENTS),
        "fleet-json": files["fleet"],
        "plan": [plan.read_bytes()],
        "manifest": [(run / "manifest.json").read_bytes()],
        "catalogue": [Path(catalogue.__file__).with_name("catalogue.yaml").read_bytes()],
        "lines": lines,
        "subject": [device, plan.read_bytes()],
        "checkpoint-state": [(checkpoint / "state.json").read_bytes()],
        "checkpoint-tensors": [(checkpoint / "modules.safetensors").read_bytes(), _EMPTY_TENSORS],
        "shard-tensors": tensors,
        "shard-tokens": tensors,
        "shard-text": [_TEXT],
        "leakage-sample": tensors,
        "head-answer": list(_ANSWERS),
        "credentials": [(folder / "fleet" / "phone" / "token").read_bytes()],
        "authority": [(folder / "fleet" / name).read_bytes() for name in ("ca-key.pem", "ca.pem")],
    }


def _keep(frames: dict[str, bytes], frame: bytes) -> None:
    """Some frames of each kind."""
    kind = json.loads(_header_of(frame))["kind"]
    name = f"{kind}-{sum(each.startswith(kind) for each in frames)}"
    if len(frames) < _FRAMES and not name.endswith("-2"):
        frames[name] = frame


def _header_of(frame: bytes) -> bytes:
    length = int.from_bytes(frame[:8], "little")
    text: str = json.loads(frame[8 : 8 + length])["__metadata__"]["gaisnet"]
    return text.encode()
