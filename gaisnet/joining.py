"""What ``gaisnet join`` and ``gaisnet certs`` do."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gaisnet.errors import MismatchError, UsageError

if TYPE_CHECKING:
    from gaisnet.executor.finding import Finding
    from gaisnet.nodes.node import NodeSpec
    from gaisnet.report import Session
    from gaisnet.security.authority import Authority

__all__ = ["admit", "check", "check_here", "join", "renew", "use_credentials"]


def use_credentials(folder: Path | None, insecure: bool) -> dict[str, str]:
    """Credentials for a cluster, in the environment of this process as well.

    Raises:
        SecurityError: There are none, and that was not asked for.
    """
    from gaisnet.security import credentials_from

    found = credentials_from(folder, insecure, os.environ)
    os.environ.update(found)
    return found


def join(session: Session, spec: NodeSpec) -> None:
    """Be a node of a cluster, until Ctrl-C or SIGTERM.

    Raises:
        UsageError: An address is none that Ray takes as it is.
        RunError: There is no cluster, or the node has not started or has ended by itself.
        SecurityError: The cluster does not take this device's credentials.
    """
    from gaisnet.nodes.address import head_address
    from gaisnet.nodes.node import Node
    from gaisnet.security import knock

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    if not spec.head:
        knock(*head_address(spec.address), spec.environment(os.environ))
    node = Node(spec, os.environ)
    try:
        what = "begins a cluster at" if spec.head else "asks to join the cluster at"
        session.note(f"{spec.device} {what} {spec.address}; Ctrl-C ends it")
        if node.await_start():
            session.note(f"{spec.device} takes part")
        node.wait()
    except KeyboardInterrupt:
        session.note(f"{spec.device} leaves")
    finally:
        node.stop()


def check(
    session: Session, plan: Path | None, address: str, credentials: Path | None, insecure: bool
) -> None:
    """Look at every device of a plan, where it is.

    Raises:
        UsageError: No plan is named, or Ray is not installed.
        SecurityError: There are no credentials, and that was not asked for.
        RunError: The cluster cannot be reached.
        MismatchError: Something is not as the plan needs it.
    """
    if plan is None:
        raise UsageError("a cluster is looked at for a plan", hint="name it with --plan")
    use_credentials(credentials, insecure)
    from gaisnet.nodes.settings import prepare

    prepare(private=False)
    from gaisnet.executor.engines.ray.checkup import check_cluster
    from gaisnet.executor.planfiles import read_plan

    with session.progress("looking at the devices"):
        findings = check_cluster(read_plan(plan), address)
    _tell(session, findings)


def check_here(session: Session, plan: Path) -> None:
    """Look at what every device of a plan would compute on if the plan were executed here.

    Raises:
        InputError: The plan cannot be read.
        MismatchError: One would compute on a GPU, and there is none; or the plan is outdated.
    """
    with session.progress("looking for a GPU"):
        from gaisnet.executor.placement import check_compute
        from gaisnet.executor.planfiles import read_plan

        findings = check_compute(read_plan(plan))
    _tell(session, findings)


def _tell(session: Session, findings: Sequence[Finding]) -> None:
    from gaisnet.report.environment import checkup_table

    session.show(checkup_table([asdict(finding) for finding in findings]))
    session.answer({"findings": [asdict(finding) for finding in findings]})
    wrong = [finding for finding in findings if not finding.ok]
    if wrong:
        first = wrong[0]
        raise MismatchError(
            f"{first.check}: {first.found}, not {first.expected} ({len(wrong)} findings in all)",
            where=first.device,
            hint=first.advice,
        )


def admit(session: Session, folder: Path, device: str, hosts: Sequence[str]) -> None:
    """Make a device's credentials.

    Raises:
        OutputError: They cannot be written.
        UsageError: The package cryptography is not installed.
    """
    made = _authority(folder).admit(device, hosts)
    session.note(f"bring {made} to {device}, and there alone")
    session.answer({"device": device, "folder": str(made)})


def renew(session: Session, folder: Path, revoked: Sequence[str]) -> None:
    """Make everything anew, without the revoked devices; raises as ``admit``."""
    if not os.path.isdir(folder):
        raise UsageError("there is no authority", where=str(folder))
    devices = _authority(folder).renew(revoked)
    session.note(f"bring the new folders to {', '.join(devices) or 'nobody'}, and start all anew")
    session.answer({"devices": list(devices), "revoked": sorted(revoked)})


def _authority(folder: Path) -> Authority:
    try:
        from gaisnet.security.authority import Authority
    except ImportError as error:
        raise UsageError(
            "certificates need the package cryptography",
            hint="install it with `pip install 'gaisnet[ray]'`",
        ) from error
    return Authority(folder)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
