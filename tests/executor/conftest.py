"""One thread: bit-equal results and no contention."""

import torch

torch.set_num_threads(1)
