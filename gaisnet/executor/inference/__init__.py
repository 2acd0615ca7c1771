"""Split inference: classification and generation over a chain of stages."""

from gaisnet.executor.inference.chain import ServiceChain
from gaisnet.executor.inference.generation import Generation
from gaisnet.executor.inference.port import SessionLostError
from gaisnet.executor.inference.serve import Answers, Body, ServiceDesk, Serving

__all__ = [
    "Answers",
    "Body",
    "Generation",
    "ServiceChain",
    "ServiceDesk",
    "Serving",
    "SessionLostError",
]
