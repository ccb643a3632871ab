"""Late entries stay listed for inspection whatever became of them, and are counted by community and month."""

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from api.wiring import Timebank, adopted_policies
from domain.account import HoursConfirmed, HoursReversed
from domain.hours import HoursLogged, HoursRejected
from projections.late_entries import LateCount, LateEntry, late_counts, late_entries
from tests.controls import HOURS_LOGGED, JINHU, XINZHU, envelope
from tests.projections.history import projecting, record

OpenBank = Callable[..., Timebank]


def logged(bank: Timebank, number: str, days_ago: int, **changes: Any) -> HoursLogged:
    start = (datetime.now(bank.zone) - timedelta(days=days_ago)).replace(hour=9, minute=0, second=0, microsecond=0)
    fact = replace(HOURS_LOGGED, record=number, started_at=start, ended_at=start + timedelta(minutes=90))
    return replace(fact, **changes)


def listed(bank: Timebank, **asked: Any) -> list[LateEntry]:
    async def asking() -> list[LateEntry]:
        async with await psycopg.AsyncConnection.connect(bank.read_address) as connection:
            return await late_entries(connection, adopted_policies(bank.store), bank.zone, **asked)

    return asyncio.run(asking())


def counted(bank: Timebank, **asked: Any) -> list[LateCount]:
    question: dict[str, Any] = {"community": None, "since": None, "until": None} | asked
    with bank.reading() as connection, connection.cursor() as cursor:
        return late_counts(cursor, adopted_policies(bank.store), bank.zone, **question)


@pytest.fixture
def bank(open_bank: OpenBank) -> Timebank:
    """R1 to R5 are late, R3 of Jinhu; R6 was in time, R7 came from older books."""
    bank = open_bank()
    record(
        bank,
        logged(bank, "R1", 8),
        logged(bank, "R2", 30, late_reason="away-or-ill"),
        logged(bank, "R3", 12, community=JINHU),
        logged(bank, "R4", 9),
        logged(bank, "R5", 10, late_reason="other"),
        logged(bank, "R6", 7),
    )
    imported = replace(envelope(logged(bank, "R7", 900)), imported=True)
    bank.store.append([imported], [], [], bank.store.head())
    record(
        bank,
        HoursConfirmed("issuance", "household:H1", 90, "R2", "S2"),
        HoursRejected("R3", "S2", "other"),
        HoursConfirmed("issuance", "household:H1", 90, "R4", "S2"),
        HoursReversed("household:H1", "issuance", 90, "R4", "S2", "other"),
    )
    with projecting(bank) as projector:
        projector.catch_up()
    return bank


def test_late_entries_stay_listed_once_they_are_settled(bank: Timebank) -> None:
    found = [(each.record, each.days_late, each.late_reason, each.status, each.settled_by) for each in listed(bank)]
    assert found == [
        ("R1", 8, None, "logged", None),
        ("R2", 30, "away-or-ill", "confirmed", "S2"),
        ("R3", 12, None, "rejected", "S2"),
        ("R4", 9, None, "reversed", "S2"),
        ("R5", 10, "other", "logged", None),
    ]


def test_late_entries_are_listed_by_community_status_and_day_and_in_pages(bank: Timebank) -> None:
    today = datetime.now(bank.zone).date()
    assert [each.record for each in listed(bank, community=JINHU)] == ["R3"]
    assert [each.record for each in listed(bank, status="logged")] == ["R1", "R5"]
    assert len(listed(bank, since=today - timedelta(days=1), until=today + timedelta(days=1))) == 5
    assert listed(bank, since=today + timedelta(days=2)) == listed(bank, until=today - timedelta(days=2)) == []
    first = listed(bank, limit=2)
    rest = listed(bank, after=first[-1].position)
    assert [each.record for each in (*first, *rest)] == ["R1", "R2", "R3", "R4", "R5"]


def test_late_entries_are_counted_by_community_and_the_month_in_which_they_were_logged(bank: Timebank) -> None:
    month = listed(bank)[0].logged_on[:7]
    xinzhu = LateCount(XINZHU, month, 4, 2, 1, 0, 1, 2, 360, 30)
    jinhu = LateCount(JINHU, month, 1, 0, 0, 1, 0, 0, 90, 12)
    assert sorted(counted(bank), key=lambda each: -each.records) == [xinzhu, jinhu]
    assert counted(bank, community=JINHU) == [jinhu]
    assert counted(bank, since=date(2199, 1, 1)) == counted(bank, until=date(2020, 1, 1)) == []
