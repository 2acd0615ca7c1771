"""``gaisnet execute`` while it goes on: a live view in a terminal, lines elsewhere, figures."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import termios
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.cli.bench import ENVIRONMENT, command, gaisnet

LIMIT_S = 120


def in_a_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code, and all that came over a pseudo-terminal of 120 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    parts, until = [], time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                parts.append(os.read(ours, 65536))
            except OSError:  # the other end is closed
                break
    os.close(ours)
    return process.wait(timeout=LIMIT_S), b"".join(parts).decode()


def test_in_a_terminal_devices_and_rounds_are_shown_live(bench: Path) -> None:
    code, text = in_a_terminal(bench, "execute", "plan.json", "-o", "run")
    assert code == 0, text
    assert "getting ready" in text
    assert "\x1b[?25l" in text, "the cursor is hidden while it is drawn"
    assert "holds" in text
    assert "owner" in text
    assert "round 1:" not in text, "no lines beside it"
    assert "Run " in text, "at the end stands the report"


def test_quiet_shows_nothing_in_a_terminal_either(bench: Path) -> None:
    code, text = in_a_terminal(bench, "execute", "plan.json", "-o", "run", "--quiet")
    assert (code, text.strip()) == (0, "")


def test_without_a_terminal_each_round_is_a_line_and_logs_have_their_level(bench: Path) -> None:
    answer = gaisnet("execute", "plan.json", "-o", "run", "--log-level", "error", cwd=bench)
    assert answer.code == 0, answer.err
    assert "round 1: loss" in answer.err
    assert "\x1b[" not in answer.out + answer.err
    assert not (bench / "run" / "logs").exists(), "nothing went wrong"


def test_figures_can_be_scraped_while_the_command_runs(bench: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = command("execute", "plan.json", "-o", "run", "--metrics-port", str(port), "-q")
    process = subprocess.Popen(words, cwd=bench, env=ENVIRONMENT, start_new_session=True)
    text = ""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    assert process.returncode == 0
    assert "gaisnet_rounds_total" in text


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_port_that_is_none_is_refused(bench: Path, port: str) -> None:
    assert gaisnet("execute", "plan.json", "--metrics-port", port, cwd=bench).code == 2
