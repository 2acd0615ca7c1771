"""A private authority: what it makes, who is let in, and who no longer is."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509

from gaisnet.errors import SecurityError, UsageError
from gaisnet.security import credentials_from, read_credentials
from gaisnet.security.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "fleet")


def handshake(server: Path, client: Path, name: str = "127.0.0.1") -> bool:
    """Whether two devices' certificates satisfy one another, over a real connection."""
    accepts = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server / "ca.pem"))
    accepts.verify_mode = ssl.CERT_REQUIRED
    accepts.load_cert_chain(server / "cert.pem", server / "key.pem")
    asks = ssl.create_default_context(cafile=str(client / "ca.pem"))
    asks.load_cert_chain(client / "cert.pem", client / "key.pem")
    there, here = socket.socketpair()
    served: list[bytes] = []

    def serve() -> None:
        try:
            with accepts.wrap_socket(there, server_side=True) as secured:
                served.append(secured.recv(2))
        except OSError:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asks.wrap_socket(here, server_hostname=name) as secured:
            secured.sendall(b"hi")
    except OSError:
        here.close()
    thread.join(timeout=10)
    return served == [b"hi"]


def test_two_devices_of_one_authority_trust_each_other(authority):
    a, b = authority.admit("a", ["192.0.2.1"]), authority.admit("b", ["b.example"])
    assert handshake(a, b)
    assert handshake(a, b, "192.0.2.1")
    assert handshake(b, a, "b.example")


def test_a_name_that_the_certificate_lacks_is_refused(authority):
    a, b = authority.admit("a", []), authority.admit("b", [])
    assert not handshake(a, b, "192.0.2.9")


def test_a_stranger_of_another_authority_is_refused(authority, tmp_path):
    ours, other = authority.admit("a", []), Authority(tmp_path / "other").admit("a", [])
    assert not handshake(ours, other)
    assert not handshake(other, ours)


def test_a_revoked_device_is_refused_after_the_others_were_renewed(authority, tmp_path):
    authority.admit("a", ["192.0.2.1"])
    lost = authority.admit("lost", [])
    kept = tmp_path / "kept"
    lost.rename(kept)
    authority.admit("lost", [])
    assert authority.renew(["lost"]) == ("a",)
    a = tmp_path / "fleet" / "a"
    assert not handshake(a, kept)
    assert (a / "token").read_text() != (kept / "token").read_text()
    assert authority.devices() == ("a",)
    assert handshake(a, authority.admit("b", []), "192.0.2.1"), "its hosts are kept"


def test_renewing_knows_whom_it_is_to_revoke(authority):
    with pytest.raises(UsageError, match="nobody was never admitted"):
        authority.renew(["nobody"])


def test_secrets_are_the_owners_alone(authority, tmp_path):
    folder = authority.admit("a", [])
    for path in (folder / "key.pem", folder / "token", tmp_path / "fleet" / "ca-key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (folder / "ca-key.pem").exists()


def test_a_certificate_is_for_a_device_and_a_little_more_than_a_year(authority):
    folder = authority.admit("a", ["192.0.2.1"])
    made = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("192.0.2.1") in names.get_values_for_type(x509.IPAddress)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=395) < left < datetime.timedelta(days=398)


def test_the_environment_demands_token_and_tls_and_holds_no_secret(authority):
    folder = authority.admit("a", [])
    found = credentials_from(folder, False, {})
    assert (found["RAY_AUTH_MODE"], found["RAY_USE_TLS"]) == ("token", "1")
    text = " ".join(found.values())
    assert (folder / "token").read_text() not in text
    assert "PRIVATE" not in text


@pytest.mark.parametrize("name", ["key.pem", "token"])
def test_a_secret_that_others_can_read_is_refused(authority, name):
    folder = authority.admit("a", [])
    (folder / name).chmod(0o640)
    with pytest.raises(SecurityError, match="others on this machine"):
        read_credentials(folder)


@pytest.mark.parametrize("name", ["key.pem", "token", "ca.pem", "cert.pem"])
def test_missing_credentials_are_named(authority, name):
    folder = authority.admit("a", [])
    (folder / name).unlink()
    with pytest.raises(SecurityError, match=name):
        read_credentials(folder)


def test_a_short_token_is_refused(authority):
    folder = authority.admit("a", [])
    (folder / "token").write_text("secret")
    with pytest.raises(SecurityError, match="too short"):
        read_credentials(folder)


def test_without_credentials_one_has_to_say_so():
    with pytest.raises(SecurityError) as caught:
        credentials_from(None, False, {"RAY_AUTH_MODE": "token"})
    assert caught.value.exit_code == 22
    # A token in this user's home would count otherwise, though nobody asked for it.
    assert credentials_from(None, True, {}) == {"RAY_AUTH_MODE": "disabled"}
    assert credentials_from(None, True, {"RAY_AUTH_MODE": "token"}) == {}
    assert credentials_from(None, False, {"RAY_AUTH_MODE": "token", "RAY_USE_TLS": "1"}) == {}


@pytest.mark.parametrize("version", [3, 66])
def test_an_authoritys_certificate_of_no_known_version_is_refused(authority, tmp_path, version):
    authority.admit("a", ["127.0.0.1"])
    path = tmp_path / "fleet" / "ca.pem"
    content = ssl.PEM_cert_to_DER_cert(path.read_text())
    known = b"\xa0\x03\x02\x01\x02"
    assert known in content
    spoiled = content.replace(known, known[:-1] + bytes([version]), 1)
    path.write_text(ssl.DER_cert_to_PEM_cert(spoiled))
    with pytest.raises(SecurityError, match="not a valid X509 version") as caught:
        authority.admit("b", [])
    assert caught.value.where == str(path)
