"""Inspection over HTTP and on the command line: samples, findings, and a report that names nobody and runs nothing."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from api import inspection_report
from api.inspection import prepared
from api.wiring import Timebank
from application.inspection import redraw
from application.write_loop import Accepted
from domain.decision import Actor
from domain.inspection import (
    CloseFinding,
    FindingAlreadyClosed,
    InspectRecord,
    RecordAlreadyInspected,
    SampleAlreadyDrawn,
    SampleWanted,
    close_finding,
    draw,
    draw_sample,
    inspect_record,
)
from tests.api.processes import answer, run
from tests.api.racing import race, won
from tests.api.service import XINZHU, Api, register_places, serving
from tests.api.test_disclosure import month, people, ring
from tests.projections.history import projecting, record

OpenBank = Callable[..., Timebank]
RACERS = 16
SEED = "双色球 2026137 期 03 08 14 21 27 30 + 11"


@pytest.fixture
def api(open_bank: OpenBank) -> Iterator[Api]:
    """A ledger of its own with some services, and a second auditor."""
    bank = open_bank(log_days_back_max=400, disclosure_count_min=3)
    with serving(bank) as api:
        register_places(api)
        api.tokens["auditor 2"] = api.new_token("U2", "auditor")
        ring(api, people(api, 6), month(bank))
        yield api


def drawn(api: Api, count: int = 4, **changes: Any) -> dict[str, Any]:
    written = api.wrote("/v1/samples", {"seed": SEED, "count": count} | changes, "auditor")
    found: dict[str, Any] = api.read(f"/v1/samples/{written['sample']}", "auditor")
    return found


def finding(api: Api, **body: Any) -> str:
    fault = {"severity": "moderate", "matter": "no-evidence"} | body
    return str(api.wrote("/v1/findings", fault, "auditor")["finding"])


# ── Samples ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_auditor_draws_a_sample_that_anybody_draws_again(api: Api) -> None:
    head = api.bank.store.head()
    found = drawn(api)
    assert (found["seed"], found["size"], found["population"], found["drawn"]) == (SEED, head, 6, 4)
    items = api.read("/v1/hours", "auditor", limit=500)["items"]
    order = [item["record"] for item in sorted(items, key=lambda item: item["logged_position"])]
    indexes = draw(api.bank.name, SEED, head, None, 6, 4)
    assert [one["record"] for one in found["records"]] == [order[index] for index in indexes]
    again = redraw(api.bank.store, api.bank.name, api.bank.store.at)
    assert (again.samples, again.differences) == (1, [])
    assert [item["sample"] for item in api.read("/v1/samples", "S9")["items"]] == [found["sample"]]
    assert api.read(f"/v1/samples/{found['sample']}", "S9")["records"] == []
    assert len(api.read(f"/v1/samples/{found['sample']}", "S1")["records"]) == 4


def test_a_sample_is_of_one_month_and_of_all_there_is_at_most(api: Api) -> None:
    period = month(api.bank)
    ring(api, people(api, 3), month(api.bank, 2))
    assert len(drawn(api, 50, period=period)["records"]) == 6
    assert len(drawn(api, 50)["records"]) == 9
    body = {"seed": SEED, "count": 4, "period": "2020-01"}
    api.problem(api.post("/v1/samples", body, "auditor"), 422, "nothing-to-sample")
    api.problem(api.post("/v1/samples", {"seed": SEED, "count": 501}, "auditor"), 422, "invalid-request")
    for by in ("admin", "S0"):
        api.problem(api.post("/v1/samples", {"seed": SEED, "count": 4}, by), 403, "role-not-allowed")
    numbered = {"seed": SEED, "count": 1, "sample": "T1"}
    api.wrote("/v1/samples", numbered, "auditor", "key")
    assert api.post("/v1/samples", numbered, "auditor", "key").json()["repeated"]
    api.problem(api.post("/v1/samples", numbered, "auditor"), 409, "sample-already-drawn")
    api.problem(api.get("/v1/samples/T9", "auditor"), 404, "unknown-sample")


def test_a_forged_draw_is_found_with_what_is_wrong(api: Api) -> None:
    wanted = SampleWanted(seed=SEED, count=2)
    (fact,) = api.record((draw_sample, prepared(api.bank, wanted)), actor=Actor("U1", "auditor"))[0]
    record(api.bank, msgspec.structs.replace(fact, sample="T2", records=fact.records[::-1]))
    record(api.bank, msgspec.structs.replace(fact, sample="T3", records=(), population=5, size=10**9))
    assert [one.what for one in redraw(api.bank.store, api.bank.name, api.bank.store.at).differences] == [
        "sample T2 record 1",
        "sample T3 was drawn after its size",
        "sample T3 population",
    ]


# ── Findings ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_records_are_inspected_and_a_finding_is_answered_and_closed(api: Api) -> None:
    sample = drawn(api)
    number, records = sample["sample"], [one["record"] for one in sample["records"]]
    path = f"/v1/samples/{number}/records/{records[0]}/inspection"
    assert api.wrote(path, None, "auditor")["facts"] == ["record-inspected.v1"]
    api.problem(api.post(path, None, "auditor"), 409, "record-already-inspected")
    api.problem(api.post(path, None, "S1"), 403, "role-not-allowed")
    api.problem(api.post(f"/v1/samples/{number}/records/R-NONE/inspection", None, "auditor"), 422, "record-not-drawn")
    api.problem(api.post(f"/v1/samples/T9/records/{records[0]}/inspection", None, "auditor"), 404, "unknown-sample")
    fault = finding(api, sample=number, record=records[1], text="没有签到表")
    listed = api.read("/v1/samples", "auditor")["items"][0]
    assert (listed["drawn"], listed["inspected"], listed["findings"]) == (4, 2, 1)
    results = [one["result"] for one in api.read(f"/v1/samples/{number}", "auditor")["records"]]
    assert results == ["in-order", "finding", None, None]
    queue = api.read("/v1/queues/findings", "S1")["items"]
    assert [(row["finding"], row["record"]) for row in queue] == [(fault, records[1])]

    closing = f"/v1/findings/{fault}/closing"
    api.problem(api.post(closing, {"outcome": "resolved"}, "auditor"), 422, "finding-not-answered")
    api.problem(api.post(f"/v1/findings/{fault}/answer", {"measure": "corrected"}, "S9"), 404, "unknown-finding")
    api.problem(api.post(f"/v1/findings/{fault}/answer", {"measure": "corrected"}, "auditor"), 403, "role-not-allowed")
    api.wrote(f"/v1/findings/{fault}/answer", {"measure": "corrected", "text": "已补签到表"}, "S1")
    assert api.read("/v1/queues/findings", "S1")["items"] == []
    api.wrote(closing, {"outcome": "resolved", "text": "属实"}, "auditor 2")
    api.problem(api.post(closing, {"outcome": "resolved"}, "auditor"), 409, "finding-already-closed")
    for reader in ("auditor", "S1", "S0", "admin"):
        row = api.read(f"/v1/findings/{fault}", reader)
        assert (row["status"], row["measure"], row["outcome"]) == ("closed", "corrected", "resolved")
        assert (row["text"], row["answer_text"], row["closing_text"]) == ("没有签到表", "已补签到表", "属实")
        assert [one["finding"] for one in api.read("/v1/findings", reader, status="closed")["items"]] == [fault]
    api.problem(api.get(f"/v1/findings/{fault}", "S9"), 404, "unknown-finding")
    assert api.read("/v1/findings", "S9")["items"] == []
    api.problem(api.get("/v1/findings", "S9", community=XINZHU), 403, "outside-community")
    with psycopg.connect(api.bank.address) as connection:
        stored = b"".join(data for (data,) in connection.execute("SELECT data FROM facts"))
    assert not [words for words in ("没有签到表", "已补签到表", "属实") if words.encode() in stored]


def test_what_names_nothing_is_refused(api: Api) -> None:
    def post(**body: Any) -> Any:
        return api.post("/v1/findings", {"severity": "minor", "matter": "other"} | body, "auditor")

    sample = drawn(api, 1)
    api.problem(post(record="R-NONE"), 404, "unknown-record")
    api.problem(post(sample="T9", record="R-NONE"), 404, "unknown-sample")
    api.problem(post(sample=sample["sample"], record="R-NONE"), 422, "record-not-drawn")
    api.problem(post(severity="dreadful"), 422, "invalid-request")
    fault = finding(api)
    api.problem(post(finding=fault), 409, "finding-already-recorded")
    api.problem(api.post(f"/v1/findings/{fault}/answer", {"measure": "corrected"}, "S1"), 404, "unknown-finding")
    api.wrote(f"/v1/findings/{fault}/answer", {"measure": "explained"}, "S0")
    own = api.new_token("S0", "auditor")
    api.tokens["S0 as auditor"] = own
    settled_by_s0 = sample["records"][0]["record"]
    path = f"/v1/samples/{sample['sample']}/records/{settled_by_s0}/inspection"
    api.problem(api.post(path, None, "S0 as auditor"), 403, "inspected-by-party")


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_many_draws_inspections_and_closings_exactly_one_is_recorded(api: Api) -> None:
    bank, auditor = api.bank, Actor("U1", "auditor")
    drawing = prepared(bank, SampleWanted(sample="T1", seed=SEED, count=2))
    draws = race(bank, 4, [(draw_sample, drawing, auditor)] * RACERS)
    assert [one for one in draws if not isinstance(one, Accepted)] == [SampleAlreadyDrawn("T1")] * (RACERS - 1)
    first = drawing.drawn.records[0]
    looks = race(bank, 4, [(inspect_record, InspectRecord(sample="T1", record=first), auditor)] * RACERS)
    lost = [one for one in looks if not isinstance(one, Accepted)]
    assert lost == [RecordAlreadyInspected("T1", first)] * (RACERS - 1)
    fault = finding(api)
    closing = CloseFinding(finding=fault, outcome="unfounded")
    closed = race(bank, 4, [(close_finding, closing, Actor(f"U{n}", "auditor")) for n in range(RACERS)])
    assert won(closed) == 1
    assert [one for one in closed if not isinstance(one, Accepted)] == [FindingAlreadyClosed(fault)] * (RACERS - 1)


# ── The report ───────────────────────────────────────────────────────────────────────────────────────────────


class Page(HTMLParser):
    """What a browser would make of it: the tags, what runs or loads something, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'onmouseover='alert(3)",
    "</table>&lt;b&gt;",
    "\u202e",
)


def test_the_report_says_what_was_covered_and_what_it_came_to(api: Api) -> None:
    period = month(api.bank)
    sample = drawn(api, 4, period=period)
    records = [one["record"] for one in sample["records"]]
    api.wrote(f"/v1/samples/{sample['sample']}/records/{records[0]}/inspection", None, "auditor")
    fault = finding(api, sample=sample["sample"], record=records[1], text="绝不外传")
    api.wrote("/v1/disclosures", {"period": period}, "admin")
    api.wrote(f"/v1/hours/{records[2]}/reversal", {"reason": "wrong-time"}, "S2")
    for by in ("S0", "S1"):
        api.problem(api.get("/v1/inspection-report", by), 403, "role-not-allowed")
    api.problem(api.get("/v1/inspection-report"), 401, "unauthorized")
    found = api.read("/v1/inspection-report", "auditor", period=period)
    assert (found["coverage"]["drawn"], found["coverage"]["inspected"], found["coverage"]["records"]) == (4, 2, 6)
    assert found["coverage"]["by_status"] == {"to_confirm": 0, "confirmed": 5, "rejected": 0, "reversed": 1}
    assert found["conservation"]["conserved"]
    assert found["conservation"]["total_minutes"] == found["conservation"]["issued"]["difference_minutes"] == 0
    assert found["reversals"]["items"] == [{"reason": "wrong-time", "records": 1, "service_minutes": 60, "people": 1}]
    (confirmer,) = found["confirmers"]
    assert (confirmer["person"], confirmer["records"], confirmer["volunteers"]) == ("S0", 5, 5)
    assert [one["finding"] for one in found["findings"]["items"]] == [fault]
    assert "text_digest" not in found["findings"]["items"][0]
    (disclosed,) = found["disclosures"]
    assert (disclosed["period"], disclosed["late_changes"], disclosed["late_minutes"]) == (period, 1, -60)
    assert {rule["rule"] for rule in found["signals"]} >= {"confirmation-ring", "one-confirmer"}
    assert found["late_entries"]["records"] == 0 or found["late_entries"]["items"]
    whole = api.read("/v1/inspection-report", "admin")
    assert (whole["period"], whole["coverage"]["drawn"]) == (None, 4)
    other = api.read("/v1/inspection-report", "admin", period="2020-01")
    assert (other["coverage"]["drawn"], other["findings"]["items"], other["disclosures"]) == (0, [], [])
    assert "绝不外传" not in json.dumps(whole, ensure_ascii=False)


def test_the_page_is_one_file_in_both_languages_that_fits_a_narrow_screen(api: Api) -> None:
    drawn(api)
    finding(api)
    with projecting(api.bank) as projector:
        projector.catch_up()
    content = inspection_report.report(api.bank, None, datetime.now(UTC))
    text = inspection_report.page(content)
    page = Page(text)
    assert set(page.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "span", "div"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert {name for name, _ in page.attributes} <= {
        *("lang", "charset", "name", "content", "http-equiv", "class", "scope", "tabindex"),
    }
    assert ("content", "width=device-width, initial-scale=1") in page.attributes
    assert ("content", inspection_report.POLICY) in page.attributes
    assert "overflow-x: auto" in text
    assert page.tags.count("table") == text.count('<div class="wide" tabindex="0"><table>')
    assert "url(" not in text
    assert "://" not in text
    for zh, en in (("覆盖", "Coverage"), ("守恒", "Conservation"), ("问题", "Findings"), ("谁确认了多少", "confirmed")):
        assert zh in page.text
        assert en in page.text
    assert content["notice"] in page.text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_somebody_typed_is_shown_and_never_run(api: Api, hostile: str) -> None:
    with projecting(api.bank) as projector:
        projector.catch_up()
    content = json.loads(json.dumps(_plain(inspection_report.report(api.bank, None, datetime.now(UTC)))))
    poisoned = inspection_report.page(_poisoned(content, hostile))
    clean, page = Page(inspection_report.page(_poisoned(content, "x"))), Page(poisoned)
    assert page.tags == clean.tags
    assert [name for name, _ in page.attributes] == [name for name, _ in clean.attributes]
    assert hostile in page.text


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


class _Item(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]


def _poisoned(value: Any, hostile: str) -> Any:
    """Every text of the report is what an enemy typed; numbers stay."""
    if isinstance(value, dict):
        return _Item({key: _poisoned(one, hostile) for key, one in value.items()})
    if isinstance(value, list):
        return [_poisoned(one, hostile) for one in value]
    return hostile if isinstance(value, str) else value


# ── On the command line ──────────────────────────────────────────────────────────────────────────────────────


def test_the_commands_draw_check_and_write_the_report(api: Api, tmp_path: Path) -> None:
    bank = api.bank
    settings = {
        "TIMEBANK_DATABASE_URL": bank.settings.database_url.get_secret_value(),  # type: ignore[union-attr]
        "TIMEBANK_LEDGER": bank.name,
    }
    token = api.tokens["auditor"]
    tried = answer("audit", "sample", "--seed", SEED, "--n", 3, **settings)
    assert (tried["sample"], tried["population"], len(tried["records"])) == (None, 6, 3)
    recorded = answer("audit", "sample", "--seed", SEED, "--n", 3, "--number", "T1", **settings, TIMEBANK_TOKEN=token)
    assert recorded == tried | {"sample": "T1"}
    later = answer("audit", "sample", "--seed", SEED, "--n", 3, "--size", tried["size"], **settings)
    assert later == tried
    assert answer("audit", "sample", "--check", **settings)["samples"] == 1
    refused = run("audit", "sample", "--seed", SEED, **settings, TIMEBANK_TOKEN=api.tokens["S0"])
    assert (refused.returncode, refused.stdout) == (1, "")
    report = answer("audit", "report", tmp_path / "out", "--period", month(bank), **settings)
    assert (report["conserved"], report["drawn"], report["findings"]["open"]) == (True, 0, 0)
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (written["format"], written["period"]) == (inspection_report.FORMAT, month(bank))
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert run("audit", "sample", **settings).returncode == 2
    assert run("audit", "report", tmp_path, "--period", "2026-1", **settings).returncode == 2
    (tmp_path / "file").write_text("")
    assert run("audit", "report", tmp_path / "file", **settings).returncode == 1
