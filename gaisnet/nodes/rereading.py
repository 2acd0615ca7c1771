"""Has Ray read its settings again, where a program has imported it before they were there.

Ray reads most of them when it is imported: its core into a configuration that it offers to read
anew, as it does itself after switching its token authentication on; its Python into constants.
"""

from __future__ import annotations

from typing import Any

import ray
from ray import _raylet
from ray._common.utils import env_bool
from ray._private import ray_constants

from gaisnet.errors import RunError

__all__ = ["check_unused", "read_again"]


def check_unused() -> None:
    """Refuse to go on with a Ray that is connected: it cannot change its settings any more.

    Raises:
        RunError: It is.
    """
    if ray.is_initialized():
        raise RunError(
            "Ray is in use in this process already",
            hint="close the other engine, or call `ray.shutdown()`",
        )


def read_again() -> None:
    """Take over the environment's settings as they are now."""
    # In this order: what still runs of an earlier cluster could look for a token otherwise.
    core: Any = _raylet  # whose stub leaves out what is not meant for everybody
    core.Config.initialize("")
    core.AuthenticationTokenLoader.instance().reset_cache()
    ray_constants.ENABLE_RAY_CLUSTER = env_bool(
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not ray_constants.IS_WINDOWS_OR_OSX
    )
