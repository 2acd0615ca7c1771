"""Say how many architectures are cut exactly: ``python -m tests.models.count [--compute cuda]``."""

from __future__ import annotations

import argparse
import sys

import torch
import transformers

from gaisnet.errors import ModelError
from gaisnet.models import FoundationModel, check_split
from gaisnet.models.accelerator import place_of, refusals_of_the_gpu
from gaisnet.schema.model import FullSpec, LoraSpec
from tests.models.tiny import REFUSED, TINY, tiny_config, tiny_model

__all__ = ["tuned"]


def tuned(name: str) -> FoundationModel:
    """The tiny model with LoRA, or wholly tuned where it has no linear maps."""
    try:
        return tiny_model(name, LoraSpec(r=2))
    except ModelError as error:
        if "no linear maps" not in error.message:
            raise
        return tiny_model(name, FullSpec())


def is_exact(name: str, place: torch.device) -> bool:
    """Whether every split of the tiny model is; what a GPU cannot repeat is said."""
    try:
        with refusals_of_the_gpu(name):
            return check_split(tuned(name).to(place)).ok
    except ModelError as error:
        sys.stdout.write(f"{error}\n")
        return False


def main() -> None:
    """Check every tiny model and print the count, and what is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compute", choices=("cpu", "cuda"), default="cpu")
    place = place_of(parser.parse_args().compute, None)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    exact = [name for name in TINY if is_exact(name, place)]
    of = f"of {len(TINY) + len(REFUSED)} configurations"
    types = {tiny_config(name)["model_type"] for name in exact}
    every = {tiny_config(name)["model_type"] for name in (*TINY, *REFUSED)}
    sys.stdout.write(f"{len(exact)} {of} ({len(types)} of {len(every)} model types) are exact\n")
    for name in REFUSED:
        try:
            tiny_model(name)
            sys.stdout.write(f"{name}: not refused\n")
        except ModelError as error:
            sys.stdout.write(f"{name}: {error.message}\n")


if __name__ == "__main__":
    main()
