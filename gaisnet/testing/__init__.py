"""Contract tests that every engine has to pass; they need pytest.

Subclass ``EngineContract`` (and ``RunContract``) in a test module of your own, with a fixture
``engine`` that gives an engine whose devices are ``DEVICES``.
"""

from gaisnet.testing.engine_contract import EngineContract
from gaisnet.testing.run_contract import RunContract
from gaisnet.testing.small_job import DEVICES, write_small_job

__all__ = ["DEVICES", "EngineContract", "RunContract", "write_small_job"]
