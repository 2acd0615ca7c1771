"""What crosses a cut gives away: raw inputs from smashed data, labels from gradients."""

from gaisnet.profiler.leakage.collect import Crossing
from gaisnet.profiler.leakage.measure import measure_cut, measure_leakage
from gaisnet.profiler.leakage.profile import read_profile_sample, with_leakage
from gaisnet.profiler.leakage.sample import DataSample, read_sample

__all__ = [
    "Crossing",
    "DataSample",
    "measure_cut",
    "measure_leakage",
    "read_profile_sample",
    "read_sample",
    "with_leakage",
]
