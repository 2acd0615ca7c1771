"""Foundation models: load one, find its units, attach tunable modules, cut it into stages."""

from gaisnet.models.anatomy import Anatomy, find_anatomy
from gaisnet.models.attach import attach
from gaisnet.models.check import CutCheck, SplitCheck, check_split, split_gradients
from gaisnet.models.dropout import disable_dropout, seed_dropout
from gaisnet.models.foundation import FoundationModel, bare
from gaisnet.models.generate import GreedyDecoder, greedy_generate, run_stages
from gaisnet.models.load import load_model
from gaisnet.models.saving import load_adapter, save_adapter
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
    "CutCheck",
    "FoundationModel",
    "GreedyDecoder",
    "KVSession",
    "SplitCheck",
    "Stage",
    "attach",
    "bare",
    "check_split",
    "cut",
    "disable_dropout",
    "find_anatomy",
    "frozen_hashes",
    "greedy_generate",
    "load_adapter",
    "load_model",
    "load_tunable_state",
    "make_stage",
    "needs_gradient",
    "run_stages",
    "save_adapter",
    "seed_dropout",
    "side_inputs",
    "split_gradients",
    "tied_groups",
    "tunable_parameters",
    "tunable_state",
]
