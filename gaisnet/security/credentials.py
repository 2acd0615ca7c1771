"""What a device shows to the others: certificate, key and token, in a folder of its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gaisnet.errors import SecurityError

__all__ = [
    "CA",
    "CERTIFICATE",
    "KEY",
    "TOKEN",
    "Credentials",
    "credentials_from",
    "read_credentials",
]

CERTIFICATE, KEY, CA, TOKEN = "cert.pem", "key.pem", "ca.pem", "token"
_SECRET = (KEY, TOKEN)
_LEAST_TOKEN = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """A device's folder; what is in it never goes into a log, a plan or a report."""

    folder: Path

    def environment(self) -> dict[str, str]:
        """Environment variables by which Ray demands and shows them: tokens and mutual TLS."""
        path = self.folder.resolve()
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(path / TOKEN),
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(path / CERTIFICATE),
            "RAY_TLS_SERVER_KEY": str(path / KEY),
            "RAY_TLS_CA_CERT": str(path / CA),
        }


def read_credentials(folder: Path) -> Credentials:
    """The credentials in a folder that ``gaisnet certs`` made.

    Raises:
        SecurityError: One is missing, or others can read a secret.
    """
    for name in (CERTIFICATE, KEY, CA, TOKEN):
        if not os.path.isfile(folder / name):
            raise SecurityError(
                f"the credentials lack {name}",
                where=str(folder),
                hint="make them with `gaisnet certs`, and bring the device's folder there",
            )
    for name in _SECRET:
        if stat.S_IMODE((folder / name).stat().st_mode) & 0o077:
            raise SecurityError(
                "others on this machine can read this secret",
                where=str(folder / name),
                hint=f"chmod 600 {folder / name}",
            )
    if len((folder / TOKEN).read_bytes().strip()) < _LEAST_TOKEN:
        raise SecurityError("the token is too short", where=str(folder / TOKEN))
    return Credentials(folder)


def credentials_from(
    folder: Path | None, insecure: bool, environment: Mapping[str, str]
) -> dict[str, str]:
    """Environment variables for talking to other machines.

    Args:
        folder: Of the device's credentials.
        insecure: Whether to go on without any.
        environment: Of this process, in which they may be set already.

    Raises:
        SecurityError: There are none, and that was not asked for.
    """
    if folder is not None:
        return read_credentials(folder).environment()
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "token" and environment.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return {}
    if insecure:
        # Otherwise a token that lies in this user's home would count, on this device alone.
        return {} if mode else {"RAY_AUTH_MODE": "disabled"}
    raise SecurityError(
        "whoever reaches a cluster's ports can run code on its devices, and nothing here keeps "
        "strangers out",
        hint="name the device's folder that `gaisnet certs` made with --credentials; or, where "
        "nobody else can reach the devices, say --insecure",
    )
