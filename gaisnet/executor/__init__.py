"""Runs a plan: fine-tuning by HFSL, split inference, aggregation, checkpoints, virtual time."""

from gaisnet.executor.run import RunResult, execute

__all__ = ["RunResult", "execute"]
