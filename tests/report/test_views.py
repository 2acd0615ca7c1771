"""What the terminal and the page show of a profile, a plan and a run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from gaisnet.errors import InputError
from gaisnet.report import (
    plan_view,
    profile_table,
    read_run,
    read_subject,
    report_html,
    run_view,
    view,
)
from gaisnet.report.plan_view import plan_warnings
from gaisnet.report.run_record import by_tier, total_by_link
from gaisnet.schema.files import canonical_json
from gaisnet.schema.leakage import LeakageRow
from gaisnet.schema.link import LinkPart, LinkRate, TransferTime
from tests.report import subjects


def shown(renderable: RenderableType, width: int = 120) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    console.file.close()
    return console.export_text()


def lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def test_a_profile_shows_units_in_order_and_marks_the_heaviest() -> None:
    text = shown(profile_table(subjects.profile()))
    names = [line.strip(" ●").split()[0] for line in text.splitlines() if line.strip(" ●")]
    assert [n for n in names if n in ("emb", "layers.0", "head")] == ["emb", "layers.0", "head"]
    assert "●" in lines(text, "layers.0")[0]
    assert "●" not in lines(text, "emb")[0]
    assert "100.0 %" in lines(text, "layers.0")[0]
    assert "4.5 M" in lines(text, "total")[0]


def test_a_profile_shows_what_to_doubt_of_it() -> None:
    text = shown(profile_table(subjects.profile()))
    assert "differ by at most 1.2 %" in text
    assert "nobody counted: x::y" in text
    assert "share a parameter: emb, head" in text
    assert "warning: something to doubt" in text
    assert "kappa 1.100" in lines(text, "batch 4")[0]
    assert "11 ms of CPU time" in lines(text, "batch 4")[0]


def test_a_narrow_terminal_gets_fewer_columns_and_nothing_cut() -> None:
    narrow, wide = (shown(profile_table(subjects.profile()), width) for width in (80, 120))
    assert "params" in wide
    assert "params" not in narrow
    assert "…" not in narrow + wide


def test_a_profile_shows_what_cuts_give_away_and_what_the_link_carries() -> None:
    made = subjects.profile()
    assert made.model is not None
    row = LeakageRow(
        unit=1,
        samples=64,
        distance_correlation=0.5,
        distance_correlation_null=0.25,
        inversion_error=0.75,
        inversion_error_stderr=0.01,
        attack="position_ridge",
        label_auc_norm=0.625,
    )
    times = tuple(
        TransferTime(payload_bytes=size, median_s=0.1, spread_s=0.0, samples=3) for size in (1, 2)
    )
    rate = LinkRate(bandwidth_bits_per_s=9.42e7, spread_bits_per_s=1e6, transfers=times)
    link = LinkPart(
        peer="<host>:1",
        latency_s=0.002,
        latency_spread_s=0.0,
        to_peer=rate,
        from_peer=rate,
        moved_bytes=3,
    )
    made = made.model_copy(
        update={"model": made.model.model_copy(update={"leakage": (row,)}), "link": link}
    )
    text = shown(profile_table(made))
    told = [line for line in lines(text, "layers.0") if "position ridge" in line]
    assert "0.750 ± 0.010" in told[0]
    assert "0.625" in told[0]
    assert "94.2 Mbit/s" in lines(text, "to it")[0]
    page = report_html(made)
    for figure in ("position ridge", "0.750 ± 0.010", "94.2 Mbit/s", "&lt;host&gt;:1"):
        assert figure in page


def test_a_plan_shows_who_holds_what_within_which_memory() -> None:
    text = shown(plan_view(subjects.plan()))
    assert "■■·······■" in lines(text, "owner")[0]
    assert "··■■■■····" in lines(text, "board")[0]
    assert "██████████ 10 MiB" in lines(text, "board")[0]
    assert "40 MiB" in lines(text, "board")[0]


def test_a_plan_shows_times_links_routes_and_proof() -> None:
    text = shown(plan_view(subjects.plan(status="feasible", meets_slo=False)))
    assert "250 ms" in lines(text, "general")[0]
    assert "averaging: 500 ms; round: 2.5 s" in text
    assert "missed" in lines(text, "ask")[0]
    assert "29 KiB" in lines(text, "d29")[0]
    assert "and 18 more" in text
    proof = lines(text, "feasible")[0]
    assert "1.25" in proof
    assert "0.2" in proof
    assert "split of cluster c0: not proven optimal, gap 20.0 %" in text


def test_a_plan_warns_of_everything_that_is_not_as_asked() -> None:
    assert len(plan_warnings(subjects.plan(status="feasible", meets_slo=False))) == 3
    assert plan_warnings(subjects.plan().model_copy(update={"reproducible": True})) == []


def test_a_run_shows_gain_times_traffic_and_where_results_lie(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    text = shown(run_view(subjects.run(folder=tmp_path)), 200)
    assert "accuracy 12.5 % before tuning → 90.0 % after round 3" in text
    assert "predicted 2.5 s, on the fleet's virtual clock 2.6 s, here 400 ms" in text
    between = lines(text, "edge")[0].split()
    assert between[:3] == ["end", "edge", "4"]
    assert f"adapters of general: {tmp_path / 'adapters/general'}" in text
    assert f"report: {tmp_path / 'report.html'}" in text
    assert "--resume" not in text


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_an_unfinished_run_says_how_to_go_on(status: str) -> None:
    assert "gaisnet execute --resume run" in shown(run_view(subjects.run(status)))


def test_traffic_adds_up_by_link_and_by_tier() -> None:
    run = subjects.run()
    links = run.traffic()
    assert sum(link.payload_bytes for link in links) == 2 * (3 * 1024 + 512)
    tiers = {(sent.sender, sent.receiver): sent for sent in by_tier(links, run.tiers)}
    assert tiers["end", "end"].payload_bytes == 3 * 1024 + 512
    assert tiers["end", "edge"].frames == 4
    assert total_by_link([]) == ()


class Page(HTMLParser):
    """Collects what a page loads, and whether its tags are closed in order."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


SUBJECTS = {"profile": subjects.profile(), "plan": subjects.plan(), "run": subjects.run()}


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_a_page_is_well_formed_and_loads_nothing(subject: object) -> None:
    text = report_html(subject)  # type: ignore[arg-type]
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?:", text)
    assert "prefers-color-scheme: dark" in text


def test_a_runs_page_shows_curve_times_memory_traffic_and_clusters() -> None:
    text = report_html(subjects.run())
    assert "12.5 % → 90.0 %" in text
    assert text.count("<circle") == 3 + 3 + 3
    for figure in ("2.5 s", "2.6 s", "400 ms", "phone → board", "10 MiB of 10 MiB", "2–5"):
        assert figure in text
    assert Page(report_html(subjects.run())).text.count("end") >= 2


def test_a_run_whose_plan_has_moved_is_still_shown() -> None:
    moved = replace(subjects.run(), plan=None, tiers={})
    assert "12.5 % → 90.0 %" in report_html(moved)
    assert "Sent over links" in shown(run_view(moved))


def test_what_comes_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>[bold]"
    text = report_html(subjects.profile(evil))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert evil in shown(profile_table(subjects.profile(evil)), 200)
    assert "<b>x" not in report_html(subjects.run(domain="<b>x"))


def test_the_kind_of_file_decides_the_view(tmp_path: Path) -> None:
    for name, model in (("profile", subjects.profile()), ("plan", subjects.plan())):
        path = tmp_path / f"{name}.json"
        path.write_text(canonical_json(model))
        assert read_subject(path) == model
        assert shown(view(read_subject(path)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{}", "neither a profile, a plan nor a front"), ("{", "not valid JSON"), ("[]", "neither")],
)
def test_a_file_of_no_known_kind_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_subject(path)


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run in this folder"):
        read_run(tmp_path)
    record = subjects.run()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "manifest.json").write_text(canonical_json(record.manifest))
    rows = "".join(metrics.model_dump_json() + "\n" for metrics in record.rounds)
    (folder / "metrics.jsonl").write_text(rows + '{"round": 3, "tr')
    (tmp_path / "plan.json").write_text(canonical_json(subjects.plan()))
    found = read_run(folder)
    assert found.rounds == record.rounds
    assert found.plan == subjects.plan()
    assert found.services == ()
    assert found.tiers == {}
