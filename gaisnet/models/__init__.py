"""Foundation models: load one, find its units, attach tunable modules, cut it into stages."""

from gaisnet.models.anatomy import Anatomy, find_anatomy
from gaisnet.models.attach import attach
from gaisnet.models.foundation import FoundationModel, bare
from gaisnet.models.generate import GreedyDecoder, greedy_generate, run_stages
from gaisnet.models.load import load_model
from gaisnet.models.session import KVSession
from gaisnet.models.stage import Stage, cut, make_stage, side_inputs
from gaisnet.models.state import (
    frozen_hashes,
    load_tunable_state,
    needs_gradient,
    tied_groups,
    tunable_parameters,
    tunable_state,
)

__all__ = [
    "Anatomy",
    "FoundationModel",
    "GreedyDecoder",
    "KVSession",
    "Stage",
    "attach",
    "bare",
    "cut",
    "find_anatomy",
    "frozen_hashes",
    "greedy_generate",
    "load_model",
    "load_tunable_state",
    "make_stage",
    "needs_gradient",
    "run_stages",
    "side_inputs",
    "tied_groups",
    "tunable_parameters",
    "tunable_state",
]
