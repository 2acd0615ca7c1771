"""A device asks a head whether it is let in: real sockets, and certificates of authorities.

The answers are those of Ray 2.60; ``tests/executor/engines`` asks Ray itself.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gaisnet.errors import GaisnetError, RunError, SecurityError
from gaisnet.security import knock, read_credentials
from gaisnet.security.authority import Authority

HOST = "127.0.0.1"
SETTINGS = bytes.fromhex("000000040000000000")
STATUS = b"\x40\x0bgrpc-status"
TAKEN, REFUSED = STATUS + b"\x010", b"\x88" + STATUS + b"\x0216"
LIMIT_S = 5.0


def headers(block: bytes) -> bytes:
    return len(block).to_bytes(3, "big") + bytes([1, 5]) + (1).to_bytes(4, "big") + block


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities' devices: ``own/a``, ``own/b`` and ``other/a``."""
    folder = tmp_path_factory.mktemp("fleets")
    for authority, device in (("own", "a"), ("own", "b"), ("other", "a")):
        Authority(folder / authority).admit(device, ["192.0.2.1"])  # and this machine, as always
    return folder


def secured(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def token_of(folder: Path) -> bytes:
    return b"Bearer " + (folder / "token").read_bytes()


@contextmanager
def head(folder: Path | None, answer: Callable[[bytes], bytes], host: str = HOST) -> Iterator[int]:
    """A port that answers one call, under TLS if there are credentials."""
    with socket.create_server((host, 0)) as listens:
        listens.settimeout(LIMIT_S)

        def serve() -> None:
            with suppress(OSError):
                plain, _ = listens.accept()
                plain.settimeout(LIMIT_S)
                with (
                    plain
                    if folder is None
                    else secured(folder).wrap_socket(plain, server_side=True) as one
                ):
                    asked = one.recv(2**16)
                    one.sendall(SETTINGS + answer(asked))
                    one.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listens.getsockname()[1]
        finally:
            thread.join(2 * LIMIT_S)
            assert not thread.is_alive()


def checks(folder: Path) -> Callable[[bytes], bytes]:
    """Takes the token of a device's folder alone."""
    return lambda asked: headers(TAKEN if token_of(folder) in asked else REFUSED)


def refusal(port: int, shown: dict[str, str], host: str = HOST) -> GaisnetError:
    with pytest.raises(GaisnetError) as caught:
        knock(host, port, shown, limit_s=LIMIT_S)
    assert caught.value.where
    assert caught.value.hint
    return caught.value


def test_a_device_of_the_same_authority_is_let_in(fleet: Path):
    with head(fleet / "own" / "b", checks(fleet / "own" / "b")) as port:
        knock(HOST, port, read_credentials(fleet / "own" / "a").environment(), limit_s=LIMIT_S)


def test_a_token_from_the_environment_counts(fleet: Path):
    shown = read_credentials(fleet / "own" / "a").environment()
    token = (fleet / "own" / "a" / "token").read_text()
    shown |= {"RAY_AUTH_TOKEN": token, "RAY_AUTH_TOKEN_PATH": str(fleet / "nowhere")}
    with head(fleet / "own" / "b", checks(fleet / "own" / "b")) as port:
        knock(HOST, port, shown, limit_s=LIMIT_S)


def test_a_long_token_arrives_whole(fleet: Path):
    token = "long" * 500
    came: list[bytes] = []

    def answer(asked: bytes) -> bytes:
        came.append(asked)
        return headers(TAKEN)

    with head(None, answer) as port:
        knock(HOST, port, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}, limit_s=LIMIT_S)
    # 2007 = 127 + 1880, and 1880 = 88 + 14 · 128 (RFC 7541, 5.1).
    assert bytes([127, 88 + 128, 14]) + b"Bearer " + token.encode() in came[0]


def test_a_head_of_another_authority_is_not_spoken_to(fleet: Path):
    with head(fleet / "other" / "a", lambda asked: headers(TAKEN)) as port:
        found = refusal(port, read_credentials(fleet / "own" / "a").environment())
    assert isinstance(found, SecurityError)
    assert "the head's certificate does not fit" in found.message


def test_a_head_whose_certificate_is_for_another_address_is_not_spoken_to(fleet: Path):
    with head(fleet / "own" / "b", lambda asked: headers(TAKEN), "127.0.0.3") as port:
        shown = read_credentials(fleet / "own" / "a").environment()
        found = refusal(port, shown, host="127.0.0.3")
    assert isinstance(found, SecurityError)
    assert "127.0.0.3" in found.message


def test_a_head_that_does_not_take_the_certificate_is_told_of(fleet: Path, tmp_path: Path):
    """The head has been given another authority; this device trusts the old one still."""
    mixed = tmp_path / "mixed"
    shutil.copytree(fleet / "own" / "b", mixed)
    shutil.copy(fleet / "other" / "a" / "ca.pem", mixed / "ca.pem")
    with head(mixed, lambda asked: headers(TAKEN)) as port:
        found = refusal(port, read_credentials(fleet / "own" / "a").environment())
    assert isinstance(found, SecurityError)
    assert "certificate" in found.message


def test_another_clusters_token_is_refused(fleet: Path, tmp_path: Path):
    mixed = tmp_path / "mixed"
    shutil.copytree(fleet / "own" / "a", mixed)
    shutil.copy(fleet / "other" / "a" / "token", mixed / "token")
    with head(fleet / "own" / "b", checks(fleet / "own" / "b")) as port:
        found = refusal(port, read_credentials(mixed).environment())
    assert isinstance(found, SecurityError)
    assert "does not take this token" in found.message


@pytest.mark.parametrize("shown", [{}, {"RAY_AUTH_MODE": "disabled"}])
def test_without_credentials_the_cluster_may_have_none_either(fleet: Path, shown: dict[str, str]):
    with head(None, lambda asked: headers(TAKEN)) as port:
        knock(HOST, port, shown, limit_s=LIMIT_S)
    with head(fleet / "own" / "a", lambda asked: headers(TAKEN)) as port:
        found = refusal(port, shown)
    assert isinstance(found, SecurityError)
    assert "no certificate" in found.message
    with head(None, lambda asked: headers(REFUSED)) as port:
        found = refusal(port, shown)
    assert isinstance(found, SecurityError)
    assert "asks for a token" in found.message


def test_credentials_are_not_shown_to_a_cluster_without_any(fleet: Path):
    with head(None, lambda asked: headers(TAKEN)) as port:
        found = refusal(port, read_credentials(fleet / "own" / "a").environment())
    assert isinstance(found, SecurityError)
    assert "without TLS" in found.message


def test_damaged_credentials_are_told_of(fleet: Path, tmp_path: Path):
    mixed = tmp_path / "mixed"
    shutil.copytree(fleet / "own" / "a", mixed)
    shutil.copy(fleet / "own" / "b" / "key.pem", mixed / "key.pem")
    with head(fleet / "own" / "b", checks(fleet / "own" / "b")) as port:
        found = refusal(port, read_credentials(mixed).environment())
    assert isinstance(found, SecurityError)
    assert "cannot be used" in found.message


def test_nobody_there_or_nobody_who_answers_is_an_error_in_time(fleet: Path):
    shown = read_credentials(fleet / "own" / "a").environment()
    with socket.create_server((HOST, 0)) as listens:
        port = listens.getsockname()[1]
        for credentials in ({}, shown):
            with pytest.raises(RunError, match=r"no answer within 0\.2 s"):
                knock(HOST, port, credentials, limit_s=0.2)
    with pytest.raises(RunError, match="nobody answers"):
        knock(HOST, port, shown, limit_s=LIMIT_S)
    with pytest.raises(RunError, match="nobody answers"):
        knock("no-such-host.invalid", 1, shown, limit_s=LIMIT_S)
