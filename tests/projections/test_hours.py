"""Service records: one row each, standing where the facts leave it, whichever batch settles it."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import combinations
from typing import Any

import pytest

from api.wiring import Timebank
from domain.decision import fold_facts
from domain.fact import Fact
from domain.hours import HoursLogged, ServiceRecord
from projections.hours import COLUMNS, to_the_minute
from tests.controls import EVIDENCE_ATTACHED, HOURS_CONFIRMED, HOURS_LOGGED, HOURS_REJECTED, HOURS_REVERSED
from tests.projections.history import POLICIES, History, projecting, record

OpenBank = Callable[..., Timebank]


def rows(bank: Timebank) -> dict[str, dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM hours")
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found}


@pytest.mark.parametrize("cuts", [cuts for n in range(3) for cuts in combinations((1, 2), n)], ids=str)
def test_a_record_reads_the_same_whether_it_is_settled_in_its_batch_or_in_later_ones(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (HOURS_LOGGED, HOURS_CONFIRMED, HOURS_REVERSED)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 3), strict=True):
        record(bank, *facts[start:end])
    row = rows(bank)["R1"]
    assert (row["status"], row["settled_by"], row["reversed_by"]) == ("reversed", "S2", "S2")
    assert (row["credit_minutes"], row["reason"]) == (90, "duplicate")
    assert (row["logged_position"], row["settled_position"], row["reversed_position"]) == (first, first + 1, first + 2)
    times = [row[f"{what}_at_microseconds"] for what in ("logged", "settled", "reversed")]
    assert times == sorted(times)
    assert None not in times


@pytest.mark.parametrize("attached", [1, 2], ids=["before it is settled", "after it was settled"])
@pytest.mark.parametrize("cuts", [cuts for n in range(3) for cuts in combinations((1, 2), n)], ids=str)
def test_evidence_counts_whenever_it_is_attached_and_whichever_batch_tells_of_it(
    open_bank: OpenBank, cuts: tuple[int, ...], attached: int
) -> None:
    bank = open_bank()
    facts: list[Fact] = [HOURS_LOGGED, HOURS_CONFIRMED]
    facts.insert(attached, EVIDENCE_ATTACHED)
    for start, end in zip((0, *cuts), (*cuts, 3), strict=True):
        record(bank, *facts[start:end])
    row = rows(bank)["R1"]
    assert (row["evidence"], row["status"]) == (EVIDENCE_ATTACHED.evidence, "confirmed")
    assert HOURS_LOGGED.evidence != EVIDENCE_ATTACHED.evidence


@pytest.mark.parametrize("offset", [timedelta(), timedelta(hours=8), -timedelta(hours=3, minutes=30)], ids=str)
@pytest.mark.parametrize("seconds", [0, 59, 59.5])
def test_times_are_shown_to_the_minute_with_the_offset_that_they_were_recorded_with(
    offset: timedelta, seconds: float
) -> None:
    time = datetime(2026, 11, 21, 9, 5, tzinfo=timezone(offset)) + timedelta(seconds=seconds)
    assert to_the_minute(time) == time.isoformat(timespec="minutes")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_rejected_record_says_who_and_why(open_bank: OpenBank, at_once: bool) -> None:
    bank = open_bank()
    if at_once:
        record(bank, HOURS_LOGGED, HOURS_REJECTED)
    else:
        record(bank, HOURS_LOGGED)
        record(bank, HOURS_REJECTED)
    row = rows(bank)["R1"]
    assert (row["status"], row["settled_by"], row["reason"], row["credit_minutes"]) == (
        "rejected",
        "S2",
        "not-served",
        0,
    )


def test_every_row_says_what_the_facts_say(open_bank: OpenBank) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 31)
    with projecting(bank) as projector:
        for _ in range(8):
            history.go(40)
            projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    found = rows(bank)
    assert {row["status"] for row in found.values()} == {"logged", "confirmed", "rejected", "reversed"}
    assert set(found) == {fact.record for fact in facts if isinstance(fact, HoursLogged)}
    for number, row in found.items():
        state = fold_facts(ServiceRecord.of(number), facts)
        logged = state.require()
        assert row["status"] == state.status
        assert row["credit_minutes"] == (state.confirmed.minutes if state.confirmed else 0)
        assert (row["volunteer"], row["household"], row["recipient_household"], row["community"], row["service"]) == (
            logged.volunteer,
            logged.household,
            logged.recipient_household,
            logged.community,
            logged.service,
        )
        assert (row["grid"], row["service_minutes"]) == ("/".join(logged.grid), logged.service_minutes)
        assert row["worked_on"] == logged.started_at.date()
        assert row["started_at"] == logged.started_at.isoformat(timespec="minutes")
