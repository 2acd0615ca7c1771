"""The options of the commands that concern a cluster of devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaisnet.options.common import ComputeChoice, PathArgument, PathOption

__all__ = [
    "AuthorityFolder",
    "CertifiedDevice",
    "Compute",
    "Credentials",
    "Deadline",
    "Device",
    "Drained",
    "Folder",
    "Head",
    "Hosts",
    "Inline",
    "JoinAddress",
    "JoinInsecure",
    "MemoryLimit",
    "OwnHost",
    "OwnProfile",
    "PlanToCheck",
    "Renew",
    "Revoked",
]

Option, Argument = typer.Option, typer.Argument

Device = Annotated[str, Option("--device", help="Id of this device in the fleet.")]
Drained = Annotated[str, Argument(metavar="ID", help="Id of the device that is to leave.")]
Deadline = Annotated[
    float,
    Option("--deadline", min=1.0, help="Seconds that a run has to let the device go."),
]
OwnProfile = Annotated[
    Path, PathOption("--profile", help="This device's profile (`gaisnet profile --device-only`).")
]
JoinAddress = Annotated[
    str, Option("--address", metavar="HOST:PORT", help="Of the cluster's head.")
]
Head = Annotated[bool, Option("--head", help="Begin the cluster here, at --address.")]
OwnHost = Annotated[
    str | None, Option("--host", help="Address under which the others reach this device.")
]
Folder = Annotated[
    Path | None,
    PathOption("--folder", help="Where the job's relative paths to model and data are looked up."),
]
MemoryLimit = Annotated[
    int | None, Option("--memory-bytes", min=1, help="Limit; else the profile's memory.")
]
Compute = Annotated[
    ComputeChoice,
    Option("--compute", help="What this device computes on; auto: what a plan's driver says."),
]
Inline = Annotated[
    bool, Option("--inline", help="For links with latency, on every device: no object store.")
]
Credentials = Annotated[
    Path | None, PathOption("--credentials", help="The device's folder that `gaisnet certs` made.")
]
JoinInsecure = Annotated[
    bool, Option("--insecure", help="Without authentication: whoever reaches it runs code here.")
]

PlanToCheck = Annotated[
    Path | None,
    PathOption("--plan", help="The plan whose devices are looked at: here, or with --address."),
]

AuthorityFolder = Annotated[
    Path, PathArgument(metavar="FOLDER", help="The authority's; it is made if there is none.")
]
Hosts = Annotated[
    list[str] | None, Option("--host", help="Address or name of the device; may be repeated.")
]
CertifiedDevice = Annotated[str | None, Option("--device", help="Id of the device to admit.")]
Renew = Annotated[
    bool, Option("--renew", help="New authority, token and certificates for all devices.")
]
Revoked = Annotated[
    list[str] | None, Option("--revoke", help="Renew, without this device; may be repeated.")
]
