"""A private certificate authority for the devices of one fleet, and the token that they share.

A folder holds the authority's certificate, its key, the token and a folder for each device.
Only the device's folder goes to the device; the authority's key stays where it was made.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gaisnet.errors import SecurityError, UsageError
from gaisnet.schema.files import output_error
from gaisnet.schema.limits import ID_PATTERN
from gaisnet.security.certificates import (
    device_certificate,
    hosts_of,
    own_certificate,
    pem,
    pem_of_key,
)
from gaisnet.security.credentials import CA, CERTIFICATE, KEY, TOKEN

__all__ = ["Authority"]

_CA_KEY = "ca-key.pem"


_DEVICE = re.compile(ID_PATTERN)
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


class Authority:
    """The authority in a folder; it is made there with the first device, if there is none.

    Args:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def admit(self, device: str, hosts: Sequence[str]) -> Path:
        """Make (or renew) the folder of a device, with a new key and certificate.

        Args:
            device: Its id.
            hosts: Addresses and names under which others reach it.

        Returns:
            The folder that is to be brought to the device.

        Raises:
            UsageError: The id is none of a fleet's, or a host is neither an address nor a name.
            OutputError: It cannot be written.
            SecurityError: The authority's own files are damaged.
        """
        _check_names(device, hosts)
        if not os.path.exists(self._folder / _CA_KEY):
            self._found()
        target = self._folder / device
        ca = self._certificate(self._folder / CA)
        key, certificate = device_certificate(self._key(), ca, device, hosts)
        try:
            target.mkdir(mode=0o700, exist_ok=True)
            _write(target / KEY, pem_of_key(key))
            _write(target / CERTIFICATE, pem(certificate), mode=0o644)
            _write(target / CA, (self._folder / CA).read_bytes(), mode=0o644)
            _write(target / TOKEN, (self._folder / TOKEN).read_bytes())
        except OSError as error:
            raise output_error(error, target) from error
        return target

    def devices(self) -> tuple[str, ...]:
        """Those that were admitted, sorted."""
        return tuple(sorted(path.parent.name for path in self._folder.glob(f"*/{CERTIFICATE}")))

    def renew(self, revoked: Sequence[str] = ()) -> tuple[str, ...]:
        """Start anew: a new authority, a new token, and new certificates for all devices.

        The certificates and the token that a revoked device has open nothing any more, once the
        others have theirs: nobody has to be told of them one by one.

        Args:
            revoked: Devices that are left out.

        Returns:
            The devices whose folders are to be brought there again.

        Raises:
            UsageError: A revoked device is not known.
            SecurityError: A device's certificate is damaged.
            OutputError: Something cannot be written.
        """
        known = {device: self._hosts(device) for device in self.devices()}
        strangers = sorted(set(revoked) - known.keys())
        if strangers:
            raise UsageError(f"{strangers[0]} was never admitted", where=str(self._folder))
        self._found()
        for device in revoked:
            shutil.rmtree(self._folder / device)
        kept = {device: hosts for device, hosts in known.items() if device not in revoked}
        for device, hosts in kept.items():
            self.admit(device, hosts)
        return tuple(kept)

    def _found(self) -> None:
        key, certificate = own_certificate()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._folder / TOKEN, secrets.token_hex(32).encode())
            _write(self._folder / CA, pem(certificate), mode=0o644)
            _write(self._folder / _CA_KEY, pem_of_key(key))
        except OSError as error:
            raise output_error(error, self._folder) from error

    def _key(self) -> ec.EllipticCurvePrivateKey:
        path = self._folder / _CA_KEY
        with _told_if_damaged(path):
            key = load_pem_private_key(path.read_bytes(), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
            raise ValueError("it is no key on an elliptic curve")

    def _certificate(self, path: Path) -> x509.Certificate:
        with _told_if_damaged(path):
            return x509.load_pem_x509_certificate(path.read_bytes())

    def _hosts(self, device: str) -> list[str]:
        path = self._folder / device / CERTIFICATE
        certificate = self._certificate(path)
        with _told_if_damaged(path):
            return hosts_of(certificate)


def _check_names(device: str, hosts: Sequence[str]) -> None:
    if not _DEVICE.fullmatch(device):
        raise UsageError(
            f"--device {device!r} is no id of a device",
            hint="ids are letters, digits, '.', '_' and '-', at most 64 of them",
        )
    wrong = [host for host in hosts if not (_is_address(host) or _HOST.fullmatch(host))]
    if wrong:
        raise UsageError(
            f"--host {wrong[0]!r} is neither an address nor a name",
            hint="such as 192.168.1.20 or phone.local",
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading keys and certificates raises."""


@contextmanager
def _told_if_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise SecurityError(
            f"this is not what `gaisnet certs` made: {error}",
            where=str(path),
            hint="put it back from a copy, or remove the folder and admit every device anew",
        ) from error


def _write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """A secret is never readable by others, not even while it is written."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
