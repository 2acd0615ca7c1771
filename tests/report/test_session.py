"""How a command speaks and how it ends: streams, formats, messages, exit codes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gaisnet.errors import InputError, UnprovenError
from gaisnet.report import Session
from gaisnet.schema.run import Event

EVENT = Event(sequence=0, kind="run_done")


def test_text_goes_to_standard_output_and_remarks_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Session() as session:
        session.show("a view")
        session.note("a remark")
        session.answer({"never": "shown"})
    out, err = capsys.readouterr()
    assert out == "a view\n"
    assert err == "a remark\n"


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("json") as session:
        session.show("a view")
        session.answer({"b": 1, "a": "ä"})
        session.answer({"second": "document"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": "ä", "b": 1}
    assert err == "a view\n"


def test_quiet_leaves_only_results_for_programs_and_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(session: Session) -> None:
        session.show("a view")
        session.note("a remark")
        with session.progress("working") as progress:
            progress("hard", 0.5)
        raise InputError("wrong", where="f.yaml: x", hint="mend it")

    with pytest.raises(SystemExit), Session("json", quiet=True) as session:
        work(session)
    out, err = capsys.readouterr()
    assert err == "error: f.yaml: x: wrong\n  → mend it\n"
    assert json.loads(out)["error"] == {
        "kind": "InputError",
        "exit_code": 10,
        "message": "wrong",
        "where": "f.yaml: x",
        "hint": "mend it",
    }


def test_a_failure_after_the_answer_adds_no_second_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(session: Session) -> None:
        session.answer(EVENT)
        raise UnprovenError("gap")

    with pytest.raises(SystemExit) as ended, Session("json") as session:
        work(session)
    assert ended.value.code == 13
    assert json.loads(capsys.readouterr().out)["kind"] == "run_done"


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, Session():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_bug_is_called_one_and_its_traceback_is_for_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for debug, traced in (("", False), ("1", True)):
        monkeypatch.setenv("GAISNET_DEBUG", debug)
        with pytest.raises(SystemExit) as ended, Session():
            raise ZeroDivisionError("division by zero")
        err = capsys.readouterr().err
        assert ended.value.code == 1
        assert "this is a bug in gaisnet: ZeroDivisionError: division by zero" in err
        assert ("Traceback" in err) == traced


def test_messages_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), Session():
        raise InputError("devices[0] [bold]x[/nonsense] " + "y" * 200)
    assert "devices[0] [bold]x[/nonsense] " + "y" * 200 in capsys.readouterr().err


def test_a_result_is_written_before_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session() as session:
        session.deliver(EVENT, "a view", tmp_path / "event.json", force=False)
    assert json.loads((tmp_path / "event.json").read_text())["kind"] == "run_done"
    assert "written to" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended, Session() as session:
        session.deliver(EVENT, "a view", tmp_path / "event.json", force=False)
    assert ended.value.code == 2
    assert "a view" not in capsys.readouterr().out


def test_a_progress_bar_appears_on_a_terminal_only_and_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gaisnet.report.session._SHOW_AFTER_S", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Session() as session, session.progress("planning") as progress:
        time.sleep(0.05)
        progress("step [1]", 0.5)
        time.sleep(0.25)
    assert "planning: step [1]" in capsys.readouterr().err
    monkeypatch.delenv("FORCE_COLOR")
    with Session() as session, session.progress("planning") as progress:
        progress("step", None)
    assert capsys.readouterr().err == ""
