"""Runs a plan: fine-tuning by HFSL, split inference, aggregation, checkpoints, virtual time."""
