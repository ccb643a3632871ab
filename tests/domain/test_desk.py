"""Desk entry from paper: two people key it, and nothing is logged until they agree."""

from typing import Any

import pytest
from msgspec.structs import replace

from domain.community import OutsideCommunity
from domain.decision import RowsRefused
from domain.desk import (
    KeyingDifference,
    KeyPaper,
    OwnHoursKeyed,
    Paper,
    PaperAgreed,
    PaperAlreadyLogged,
    PaperKeyed,
    PaperNumberTaken,
    key_paper,
)
from domain.hours import ConfirmedByLogger, ConfirmHours, LogHours, RecordOverlaps, confirm
from tests.controls import (
    DISTRICT,
    GRID,
    JINHU,
    LOGGER,
    PAPER_AGREED,
    PAPER_KEYED,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    at,
    between,
    district,
    given,
    logged,
)

THIRD = STAFF._replace(id="S3")
KEYED = replace(PAPER_KEYED, differences=())


def line(span: str = "11-17 09:00 - 10:30", **changes: Any) -> LogHours:
    started_at, ended_at = between(span)
    asked = {"volunteer": "V1", "service": "助餐", "recipient_household": "H2"}
    return LogHours.model_validate(asked | {"started_at": started_at, "ended_at": ended_at} | changes)


def paper(*rows: LogHours, **changes: Any) -> KeyPaper:
    asked = {"paper": "P1", "community": XINZHU, "sha256": "ab" * 32, "rows": rows or (line(),)}
    return KeyPaper.model_validate(asked | changes)


RECORD = logged(
    "01234567-89abcdef-01234567-89abcdef-0",
    "11-17 09:00 - 10:30",
    logged_by="S2",
    evidence="staff",
    also_logged_by="S1",
)
AGREED = replace(PAPER_AGREED, records=(RECORD.record,))


def test_the_first_keying_logs_nothing() -> None:
    given(DISTRICT).when(key_paper, paper(), actor=LOGGER).then(KEYED, policy=0)


def test_the_second_that_is_alike_logs_the_records_for_both() -> None:
    decided = given(DISTRICT, KEYED).when(key_paper, paper()).then(AGREED, RECORD)
    assert [policy for policy, _ in decided.each()] == [0, 1]


def test_what_comes_late_from_paper_says_so() -> None:
    facts = district(late_after_days=1, late_needs_reason=True)
    given(facts, KEYED).when(key_paper, paper(line(late_reason="other"))).then(
        AGREED, replace(RECORD, late_reason="on-paper")
    )


def test_neither_of_the_two_confirms_what_they_keyed() -> None:
    past = given(DISTRICT, KEYED, AGREED, RECORD)
    command = ConfirmHours(record=RECORD.record)
    for keyer in (LOGGER, STAFF):
        past.when(confirm, command, actor=keyer).refused(ConfirmedByLogger(RECORD.record, keyer.id))
    assert past.when(confirm, command, actor=THIRD).accepted


def test_a_paper_that_one_person_keys_twice_is_keyed_once() -> None:
    given(DISTRICT, KEYED).when(key_paper, paper(), actor=LOGGER).then(KEYED)
    assert given(KEYED, KEYED).state(Paper.of("P1")).keyings == (KEYED,)


def test_differences_are_told_and_nothing_is_logged() -> None:
    command = paper(line("11-17 09:00 - 10:45", service="助洁", recipient_household=None), line(volunteer="V4"))
    (keyed,) = given(DISTRICT, KEYED).when(key_paper, command).accepted
    assert isinstance(keyed, PaperKeyed)
    assert keyed.keyed_by == "S2"
    assert keyed.differences == (
        KeyingDifference(-1, "rows", "1", "2"),
        KeyingDifference(0, "service", "助餐", "助洁"),
        KeyingDifference(0, "ended_at", "2026-11-17T10:30+08:00", "2026-11-17T10:45+08:00"),
        KeyingDifference(0, "claimed_minutes", "90", "105"),
        KeyingDifference(0, "recipient_household", "H2", ""),
    )


def test_both_must_have_the_same_scan_before_them() -> None:
    (keyed,) = given(DISTRICT, KEYED).when(key_paper, paper(sha256="cd" * 32)).accepted
    assert keyed.differences == (KeyingDifference(-1, "sha256", "ab" * 32, "cd" * 32),)  # type: ignore[attr-defined]


def test_a_grid_is_compared_as_a_path() -> None:
    placed = paper(line(community=XINZHU, grid=GRID))
    (keyed,) = given(DISTRICT, KEYED).when(key_paper, placed).accepted
    assert keyed.differences == (  # type: ignore[attr-defined]
        KeyingDifference(0, "community", "", XINZHU),
        KeyingDifference(0, "grid", "", GRID[0]),
    )


def test_whoever_was_mistaken_keys_again_and_then_they_agree() -> None:
    wrong = replace(KEYED, keyed_by="S2", rows=(replace(KEYED.rows[0], volunteer="V4"),))
    first, *_ = given(DISTRICT, KEYED, wrong).when(key_paper, paper()).accepted
    assert first == AGREED
    other_way, *_ = given(DISTRICT, wrong, KEYED).when(key_paper, paper(line(volunteer="V4")), actor=LOGGER).accepted
    assert isinstance(other_way, PaperAgreed)
    assert (other_way.keyed_by, other_way.also_keyed_by) == ("S1", "S2")


def test_a_third_person_may_agree_with_either() -> None:
    wrong = replace(KEYED, keyed_by="S2", rows=(replace(KEYED.rows[0], volunteer="V4"),))
    agreed, _ = given(DISTRICT, KEYED, wrong).when(key_paper, paper(), actor=THIRD).accepted
    assert (agreed.keyed_by, agreed.also_keyed_by) == ("S3", "S1")  # type: ignore[attr-defined]


def test_times_are_compared_as_instants_and_minutes_as_counted() -> None:
    elsewhere = line(minutes=90, started_at="2026-11-17T01:00:00Z", ended_at="2026-11-17T02:30:00Z")
    assert given(DISTRICT, KEYED).when(key_paper, paper(elsewhere)).accepted == (AGREED, RECORD)


def test_what_two_people_agree_on_still_keeps_the_rules() -> None:
    twice = (*KEYED.rows, *KEYED.rows)
    number = RECORD.record
    given(DISTRICT, replace(KEYED, rows=twice)).when(key_paper, paper(line(), line())).refused(
        RowsRefused(((1, RecordOverlaps(number[:-1] + "1", number)),))
    )


def test_a_paper_is_logged_once() -> None:
    given(DISTRICT, KEYED, AGREED).when(key_paper, paper(), actor=THIRD).refused(PaperAlreadyLogged("P1"))


@pytest.mark.parametrize("keyer", ["V1", "V2"])
def test_nobody_keys_their_own_or_their_households_hours(keyer: str) -> None:
    given(DISTRICT).when(key_paper, paper(), actor=STAFF._replace(id=keyer)).refused(OwnHoursKeyed("V1"))


def test_staff_key_the_papers_of_their_community() -> None:
    given(DISTRICT).when(key_paper, paper(), actor=STAFF_ELSEWHERE).refused(OutsideCommunity(XINZHU, JINHU))
    theirs = paper(community=JINHU)
    given(DISTRICT, KEYED).when(key_paper, theirs, actor=STAFF_ELSEWHERE).refused(PaperNumberTaken("P1"))
    assert at("11-17 09:00") == KEYED.rows[0].started_at
