"""Executes (or resumes) a plan with pauses, so that a test can kill it in the middle."""

import sys
import time
from pathlib import Path

import torch

from gaisnet.executor.run import execute

if __name__ == "__main__":
    torch.set_num_threads(1)
    plan = Path(sys.argv[1])
    run_dir = plan.parent / "test-run"
    started = (run_dir / "manifest.json").exists()
    execute(plan, resume=run_dir if started else None, on_event=lambda event: time.sleep(0.05))
