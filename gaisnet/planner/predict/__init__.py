"""What a plan will take: seconds, joules, bytes."""

from gaisnet.planner.predict.rounds import RoundFigures, chain_of, predict_round, round_links

__all__ = ["RoundFigures", "chain_of", "predict_round", "round_links"]
