"""Visits, sheets, papers, attached evidence: each row stands where the facts leave it, whichever batch settles it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace

from api.due import DUE, run_due
from api.visit import find_overdue
from api.wiring import Timebank, adopted_policies
from domain.decision import fold_facts
from domain.desk import Paper, PaperKeyed
from domain.evidence import Attached, stronger
from domain.hours import HoursLogged, ServiceRecord
from domain.policy import PolicyBook
from domain.sheet import Sheet
from domain.visit import CheckedIn, Visit
from projections import desk, evidence, sheet, visit
from tests.controls import (
    CHECKED_IN,
    CHECKED_OUT,
    EVIDENCE_ATTACHED,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REVERSED,
    PAPER_AGREED,
    PAPER_KEYED,
    SHEET_LOGGED,
    VISIT_CLOSED,
    VISIT_OVERDUE,
    VISIT_VOIDED,
    at,
)
from tests.projections.history import POLICIES, History, projecting, record

OpenBank = Callable[..., Timebank]


def rows(bank: Timebank, table: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY position").fetchall()
        return [dict(zip(columns, row, strict=True)) for row in found]


def visits(bank: Timebank) -> dict[str, dict[str, Any]]:
    return {row["visit"]: row for row in rows(bank, "visits", visit.COLUMNS)}


@pytest.mark.parametrize("cuts", [cuts for n in range(3) for cuts in combinations((1, 2), n)], ids=str)
def test_a_visit_reads_the_same_whether_it_is_settled_in_its_batch_or_in_later_ones(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (CHECKED_IN, VISIT_OVERDUE, VISIT_CLOSED)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 3), strict=True):
        record(bank, *facts[start:end])
    assert visits(bank)["C1"] == {
        "visit": "C1",
        "volunteer": "V1",
        "recipient_household": "H2",
        "community": "新竹社区",
        "grid": "第3网格",
        "service": "助餐",
        "started_at": "2026-11-22T10:30+08:00",
        "started_at_microseconds": round(at("11-22 10:30").timestamp()) * 1_000_000,
        "checked_in_by": "V1",
        "evidence": "checked-in",
        "position": first,
        "status": "logged",
        "ended_at": "2026-11-22T11:30+08:00",
        "record": "R8",
        "settled_by": "S2",
        "reason": "forgotten",
        "settled_position": first + 2,
    }


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("ended", "values"),
    [
        (CHECKED_OUT, ("logged", "2026-11-22T12:00+08:00", "R8", "V1", None)),
        (VISIT_OVERDUE, ("overdue", None, None, None, None)),
        (VISIT_VOIDED, ("voided", None, None, "V1", "mistake")),
    ],
    ids=lambda x: getattr(x, "type", ""),
)
def test_a_visit_says_how_it_ended(open_bank: OpenBank, at_once: bool, ended: Any, values: tuple[Any, ...]) -> None:
    bank = open_bank()
    if at_once:
        record(bank, CHECKED_IN, ended)
    else:
        record(bank, CHECKED_IN)
        record(bank, ended)
    row = visits(bank)["C1"]
    assert tuple(row[column] for column in visit.SETTLED_COLUMNS[:-1]) == values


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in combinations((1, 2, 3), n)], ids=str)
def test_a_records_grade_survives_every_later_step(open_bank: OpenBank, cuts: tuple[int, ...]) -> None:
    bank = open_bank()
    facts = (HOURS_LOGGED, EVIDENCE_ATTACHED, HOURS_CONFIRMED, HOURS_REVERSED)
    for start, end in zip((0, *cuts), (*cuts, 4), strict=True):
        record(bank, *facts[start:end])
    columns = ("record", "status", "evidence", "group_id", "also_logged_by")
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(columns)} FROM hours").fetchall()
    assert found == [("R1", "reversed", "staff", None, None)]
    (attached,) = rows(bank, "evidence", evidence.COLUMNS)
    assert (attached["kind"], attached["sha256"], attached["attached_by"]) == ("sheet", "cd" * 32, "S2")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("logged_as", "grade"), [("self", "recipient"), ("checked-in", "recipient"), ("staff", "staff")]
)
def test_the_household_that_was_served_raises_a_grade_and_lowers_none(
    open_bank: OpenBank, at_once: bool, logged_as: Any, grade: str
) -> None:
    bank = open_bank()
    facts = replace(HOURS_LOGGED, evidence=logged_as), replace(HOURS_CONFIRMED, confirmed_as="recipient")
    weak_photo = replace(EVIDENCE_ATTACHED, kind="photo", evidence="self")
    for part in [(*facts, weak_photo)] if at_once else [[facts[0]], [facts[1]], [weak_photo]]:
        record(bank, *part)
    with bank.reading() as connection:
        assert connection.execute("SELECT evidence FROM hours").fetchall() == [(grade,)]


def test_a_record_names_its_group_and_both_who_keyed_it(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, replace(HOURS_LOGGED, evidence="staff", group="G1", also_logged_by="S3"))
    with bank.reading() as connection:
        found = connection.execute("SELECT evidence, group_id, also_logged_by FROM hours").fetchall()
    assert found == [("staff", "G1", "S3")]


def test_a_sheet_names_its_records(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, SHEET_LOGGED)
    (row,) = rows(bank, "sheets", sheet.COLUMNS)
    assert (row["sheet"], row["leader"], row["records"]) == ("SH1", "V1", ["R8", "R9"])
    assert (row["group_id"], row["sha256"], row["ended_at"]) == ("G1", "ef" * 32, "2026-11-18T16:00+08:00")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_paper_stands_where_its_last_keying_leaves_it_and_shows_no_row(open_bank: OpenBank, at_once: bool) -> None:
    bank = open_bank()
    first = replace(PAPER_KEYED, differences=())
    record(bank, first)
    assert rows(bank, "papers", desk.COLUMNS)[0]["status"] == "keyed"
    record(bank, *(PAPER_KEYED, PAPER_KEYED) if at_once else (PAPER_KEYED,))
    (row,) = rows(bank, "papers", desk.COLUMNS)
    assert row["status"] == "differing"
    assert row["differences"] == [{"row": 0, "field": "service", "earlier": "助洁", "now": "助餐"}]
    assert "V1" not in str(row)
    record(bank, PAPER_AGREED)
    (row,) = rows(bank, "papers", desk.COLUMNS)
    assert (row["status"], row["differences"], row["records"]) == ("logged", [], ["R8"])
    assert (row["keyed_by"], row["also_keyed_by"], row["rows"]) == ("S2", "S1", 1)


def test_every_row_says_what_the_facts_say(open_bank: OpenBank) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 41)
    with projecting(bank) as projector:
        for _ in range(6):
            history.go(10)
            projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    found = visits(bank)
    assert {row["status"] for row in found.values()} == {"logged", "voided", "overdue"}
    assert set(found) == {fact.visit for fact in facts if isinstance(fact, CheckedIn)}
    for number, row in found.items():
        state = fold_facts(Visit.of(number), facts)
        assert row["status"] == state.status
        assert (row["volunteer"], row["evidence"]) == (state.require().volunteer, state.require().evidence)
    with bank.reading() as connection:
        grades = dict(connection.execute("SELECT record, evidence FROM hours").fetchall())
    assert {"self", "checked-in", "staff"} <= set(grades.values())
    for fact in facts:
        if isinstance(fact, HoursLogged):
            attached = fold_facts(Attached.of(fact.record), facts)
            assert grades[fact.record] == stronger(fact.evidence, attached.evidence)
    for row in rows(bank, "sheets", sheet.COLUMNS):
        logged = fold_facts(Sheet.of(row["sheet"]), facts).logged
        assert logged is not None
        assert list(logged.records) == row["records"]
        assert all(fold_facts(ServiceRecord.of(number), facts).logged for number in row["records"])
    papers = {row["paper"]: row for row in rows(bank, "papers", desk.COLUMNS)}
    assert {row["status"] for row in papers.values()} == {"logged", "differing"}
    assert set(papers) == {fact.paper for fact in facts if isinstance(fact, PaperKeyed)}
    for number, row in papers.items():
        assert (row["status"] == "logged") == fold_facts(Paper.of(number), facts).agreed


# ── What falls due ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_checked_out_of_falls_due_once(open_bank: OpenBank) -> None:
    bank = open_bank(check_in_minutes_max=60)
    now = datetime.now(UTC)
    started_at = (now - timedelta(minutes=62)).astimezone(bank.zone).replace(second=0, microsecond=0)
    long_ago = replace(CHECKED_IN, started_at=started_at)
    just_now = replace(CHECKED_IN, visit="C2", started_at=started_at + timedelta(minutes=10))
    ended = replace(CHECKED_IN, visit="C3", started_at=started_at)
    record(bank, long_ago, just_now, ended, replace(VISIT_VOIDED, visit="C3", started_at=started_at))
    report = run_due(bank, now)
    assert report.done["overdue visits"] == 1
    with projecting(bank) as projector:
        projector.catch_up()
    assert {number: row["status"] for number, row in visits(bank).items()} == {
        "C1": "overdue",
        "C2": "open",
        "C3": "voided",
    }
    again = run_due(bank, now)
    assert (again.done["overdue visits"], again.refused["overdue visits"]) == (0, 0)


def test_what_is_found_too_early_or_too_late_is_refused_by_the_rules(open_bank: OpenBank) -> None:
    bank = open_bank(check_in_minutes_max=60)
    now = datetime.now(UTC)
    started_at = (now - timedelta(minutes=62)).astimezone(bank.zone).replace(second=0, microsecond=0)
    record(bank, replace(CHECKED_IN, started_at=started_at))
    voided = replace(VISIT_VOIDED, started_at=started_at)
    with bank.reading() as connection:
        (found,) = find_overdue(connection, now.astimezone(bank.zone), PolicyBook(adopted_policies(bank.store)))
        assert not list(find_overdue(connection, now.astimezone(bank.zone), PolicyBook()))
    record(bank, voided)
    (kind,) = [due for due in DUE if due.name == "overdue visits"]
    stale = kind._replace(find=lambda *_: [found])
    report = run_due(bank, now, [stale])
    assert (report.done["overdue visits"], report.refused["overdue visits"]) == (0, 1)
