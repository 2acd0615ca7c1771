"""``gaisnet certs``, and commands that refuse to work among strangers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate
from typer.testing import CliRunner

from gaisnet.cli import app
from gaisnet.security.certificates import hosts_of


def run(*arguments: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return found.exit_code, found.stdout, found.stderr


def test_devices_are_admitted_and_all_is_made_anew_without_one(tmp_path: Path):
    fleet = tmp_path / "fleet"
    for device in ("a", "b"):
        code, out, err = run("certs", fleet, "--device", device, "--format", "json")
        assert code == 0, err
        assert json.loads(out) == {"device": device, "folder": str(fleet / device)}
    token = (fleet / "token").read_text()
    code, out, _ = run("certs", fleet, "--revoke", "b", "--format", "json")
    assert (code, json.loads(out)) == (0, {"devices": ["a"], "revoked": ["b"]})
    assert not (fleet / "b").exists()
    assert (fleet / "token").read_text() != token
    assert token not in out


@pytest.mark.parametrize(
    ("arguments", "why"), [([], "nobody is to be admitted"), (["--renew"], "no authority")]
)
def test_a_command_that_asks_for_nothing_possible_ends_with_2(tmp_path, arguments, why):
    code, _, err = run("certs", tmp_path / "fleet", *arguments)
    assert code == 2
    assert why in err


@pytest.mark.parametrize(
    ("device", "hosts", "why"),
    [
        ("../evil", (), "no id of a device"),
        ("", (), "no id of a device"),
        ("a/b", (), "no id of a device"),
        ("a" * 65, (), "no id of a device"),
        ("phone", ("not a host!!",), "neither an address nor a name"),
        ("phone", ("10.0.0.1", "-x"), "neither an address nor a name"),
    ],
)
def test_names_that_are_none_are_refused_and_leave_nothing(tmp_path, device, hosts, why):
    folder = tmp_path / "a" / "fleet"
    named = [word for host in hosts for word in ("--host", host)]
    code, _, err = run("certs", folder, "--device", device, *named)
    assert code == 2
    assert why in err
    assert list(tmp_path.iterdir()) == []


def test_addresses_and_names_of_hosts_are_certified(tmp_path: Path):
    hosts = ["10.0.0.1", "fe80::1", "phone.local", "edge-0"]
    named = [word for host in hosts for word in ("--host", host)]
    code, _, err = run("certs", tmp_path / "fleet", "--device", "phone", *named)
    assert code == 0, err
    pem = (tmp_path / "fleet" / "phone" / "cert.pem").read_bytes()
    assert hosts_of(load_pem_x509_certificate(pem)) == hosts


@pytest.mark.parametrize(
    "command",
    [
        ["join", "--address", "10.0.0.1:6379", "--device", "a", "--profile", "me.json"],
        ["doctor", "--address", "10.0.0.1:6379", "--plan", "plan.json"],
    ],
)
def test_without_credentials_commands_end_with_22(command, monkeypatch):
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    code, out, err = run(*command)
    assert (code, out) == (22, "")
    assert "gaisnet certs" in err
    assert "--insecure" in err
