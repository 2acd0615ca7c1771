"""``gaisnet join``, ``drain`` and ``certs``: who takes part in a cluster."""

from __future__ import annotations

from gaisnet.errors import UsageError
from gaisnet.options import cluster
from gaisnet.options import common as opt

__all__ = ["certs", "drain", "join"]


def join(
    address: cluster.JoinAddress,
    device: cluster.Device,
    profile: cluster.OwnProfile,
    head: cluster.Head = False,
    host: cluster.OwnHost = None,
    folder: cluster.Folder = None,
    memory_bytes: cluster.MemoryLimit = None,
    inline: cluster.Inline = False,
    compute: cluster.Compute = "auto",
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Let this device take part in a cluster, until Ctrl-C."""
    from gaisnet import joining
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        shown = joining.use_credentials(credentials, insecure)
        from gaisnet.nodes.node import NodeSpec

        spec = NodeSpec(
            device=device,
            profile=profile,
            head=head,
            address=address,
            host=host,
            folder=folder,
            memory_bytes=memory_bytes,
            inline=inline,
            compute=compute,
            credentials=shown,
        )
        joining.join(session, spec)


def drain(
    device: cluster.Drained,
    address: cluster.JoinAddress,
    deadline: cluster.Deadline = 600.0,
    credentials: cluster.Credentials = None,
    insecure: cluster.JoinInsecure = False,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Let a device leave its cluster, once the round that it works on is closed."""
    from gaisnet import joining, running
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        joining.use_credentials(credentials, insecure)
        running.drain(session, device, address, deadline)


def certs(
    folder: cluster.AuthorityFolder,
    device: cluster.CertifiedDevice = None,
    host: cluster.Hosts = None,
    renew: cluster.Renew = False,
    revoke: cluster.Revoked = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
) -> None:
    """Make certificates and a token for the devices of a cluster, or make them anew."""
    from gaisnet import joining
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        if renew or revoke:
            joining.renew(session, folder, revoke or [])
        elif device is None:
            raise UsageError("nobody is to be admitted", hint="give --device, or --renew")
        else:
            joining.admit(session, folder, device, host or [])
