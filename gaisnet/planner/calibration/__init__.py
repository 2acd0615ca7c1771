"""Figures that fit a run: speeds of devices, links, and what rounds are worth."""

from gaisnet.planner.calibration.run import calibrate

__all__ = ["calibrate"]
