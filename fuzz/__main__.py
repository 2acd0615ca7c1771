"""Runs the fuzzer (atheris, coverage-guided): ``python -m fuzz [TARGET …] --seconds 60``.

Each target runs in a process of its own, with a bound on memory and on the time of one input; the
target ``together`` is all of them at once. A finding is kept in ``build/fuzz/TARGET/crash-*``; run
it again with ``--input FILE``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_MEMORY_MIB, _ALLOCATION_MIB, _INPUT_S, _INPUT_BYTES = 4096, 256, 20, 65_536


def main() -> int:
    """Returns how many targets found something."""
    asked = _arguments()
    if asked.child:
        _fuzz(asked.targets[0], asked.libfuzzer)
    if asked.input is not None:
        from fuzz.targets import target as reader_of

        reader_of(asked.targets[0])(asked.input.read_bytes())
        return 0
    from fuzz.seeds import real_inputs
    from fuzz.targets import TARGETS, TOGETHER

    with tempfile.TemporaryDirectory() as folder:
        seeds = dict(real_inputs(Path(folder)))
    numbered = enumerate(TARGETS)
    seeds[TOGETHER] = [bytes([n]) + seed for n, name in numbered for seed in seeds.get(name, [])]
    findings = 0
    for target in asked.targets or TARGETS:
        place = _corpus(target, seeds.get(target, []))
        executions, code, told = _run(target, place, asked.seconds)
        sys.stdout.write(f"{target}: {executions} executions, {code if code else 'none'}\n")
        sys.stdout.flush()
        if code:
            findings += 1
            sys.stdout.write(told[-4000:])
    return findings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="see fuzz/targets.py; all without any")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--input", type=Path, help="run one input, without the fuzzer")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked, rest = parser.parse_known_args()
    asked.libfuzzer = rest
    return asked


def _corpus(target: str, seeds: list[bytes]) -> Path:
    """What was found interesting in earlier runs is kept there, too."""
    place = _ROOT / "build" / "fuzz" / target
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (place / "corpus" / f"seed-{number}").write_bytes(seed)
    return place


def _run(target: str, place: Path, seconds: int) -> tuple[int, int, str]:
    """Executions, exit code (0: nothing was found) and what the fuzzer said."""
    options = {
        "max_total_time": seconds,
        "rss_limit_mb": _MEMORY_MIB,
        "malloc_limit_mb": _ALLOCATION_MIB,
        "timeout": _INPUT_S,
        "max_len": _INPUT_BYTES,
        "print_final_stats": 1,
        "artifact_prefix": f"{place}/",
    }
    words = [f"-{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", target, "--child", *words, str(place / "corpus")],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=_ROOT,
        timeout=seconds + 300,
        check=False,
    )
    told = done.stdout + done.stderr
    found = re.findall(r"number_of_executed_units: (\d+)|^Done (\d+) runs", told, re.MULTILINE)
    executions = max((int(a or b) for a, b in found), default=0)
    return executions, done.returncode, told


def _fuzz(target: str, words: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["gaisnet"]):
        from fuzz.targets import target as reader_of
    atheris.Setup([sys.argv[0], *words], reader_of(target))
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
