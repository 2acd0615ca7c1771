"""One thread: the tests' matrices are small, and two cores are shared with what they start."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
