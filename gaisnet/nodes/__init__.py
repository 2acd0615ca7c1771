"""Nodes of a Ray cluster: what Ray is told, how a device joins, what runs there and ends.

Nothing here imports torch: a device that has only joined pays for Ray alone, and for the one
process that waits, warm, for a run.
"""
