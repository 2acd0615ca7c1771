"""``gaisnet`` as it is, but for devices that strike at the process that drives them.

Run with strikes as a JSON list, and then with the words of the command.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from gaisnet import cli
from gaisnet.nodes.settings import prepare
from tests.executor.engines.faults.deeds import cut_off
from tests.executor.engines.faults.strike import Strike

_DEVICES = "StruckProcess"


def main(strikes: list[Strike]) -> None:
    """Have the command's devices strike at this process."""
    prepare(private=True)
    from gaisnet.executor.engines.ray import engine
    from tests.executor.engines.faults.struck import armed

    known = [strike.model_copy(update={"process": os.getpid()}) for strike in strikes]
    engine.RayEngine = partial(engine.RayEngine, process=armed(known))  # type: ignore[misc]

    def leave(number: int, frame: object) -> None:
        """Lose all connections to devices; those to Ray's daemons on this machine stay."""
        cut_off(_ports_of_devices)
        Path(strikes[0].path).touch()

    signal.signal(signal.SIGUSR1, leave)
    cli.main()


def _ports_of_devices() -> frozenset[int]:
    found: set[int] = set()
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if _DEVICES in " ".join(each.cmdline()):
                found |= {connection.laddr.port for connection in each.net_connections("tcp")}
    return frozenset(found)


if __name__ == "__main__":
    told = json.loads(sys.argv.pop(1))
    main([Strike.model_validate_json(json.dumps(each)) for each in told])
