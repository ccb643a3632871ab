"""Queues: what waits for staff, oldest first, until it is settled."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from api.wiring import Timebank, adopted_policies
from domain.account import HoursConfirmed
from domain.fact import Fact
from domain.hours import HoursLogged, HoursRejected
from domain.policy import Policy, PolicyAdopted
from projections.queue import EXPIRING_DAYS, QUEUES, REQUEST_DAYS, QueueCount, counts, named, waiting
from tests.controls import (
    CHECKED_IN,
    DISPUTE_DISMISSED,
    DISPUTE_ESCALATED,
    DISPUTE_OPENED,
    DISPUTE_UPHELD,
    DISPUTE_WITHDRAWN,
    HOURS_LOGGED,
    JINHU,
    OFFER_ACCEPTED,
    OFFER_MADE,
    PARTNER_REGISTERED,
    REQUEST_ASKED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    RESERVATION_RELEASED,
    REWARD_COLLECTED,
    REWARD_OFFERED,
    REWARD_RESERVED,
    VISIT_OVERDUE,
    VISIT_VOIDED,
    XINZHU,
    envelope,
)
from tests.projections.history import projecting, record

OpenBank = Callable[..., Timebank]


def logged(bank: Timebank, number: str, days_ago: int, community: str = XINZHU) -> HoursLogged:
    """An hour of service on an earlier day, by the ledger's own calendar."""
    start = (datetime.now(bank.zone) - timedelta(days=days_ago)).replace(hour=9, minute=0, second=0, microsecond=0)
    end = start + timedelta(hours=1)
    return replace(HOURS_LOGGED, record=number, community=community, started_at=start, ended_at=end)


def count(bank: Timebank, queue: str, *, community: str | None = None, in_days: int = 0) -> tuple[int, int | None]:
    """How many wait, and how many days the oldest has waited, on a later day."""
    now = datetime.now(UTC) + timedelta(days=in_days, minutes=1)
    with bank.reading() as connection, connection.cursor() as cursor:
        found = {
            each.queue: each
            for each in counts(cursor, adopted_policies(bank.store), community=community, now=now, zone=bank.zone)
        }
    assert list(found) == [each.name for each in QUEUES]
    each: QueueCount = found[queue]
    return each.count, each.oldest_waiting_days


def listed(bank: Timebank, name: str, **asked: Any) -> list[dict[str, Any]]:
    queue = named(name)
    assert queue is not None

    async def asking() -> list[dict[str, Any]]:
        async with await psycopg.AsyncConnection.connect(bank.read_address) as connection:
            question = {
                "community": None,
                "now": datetime.now(UTC),
                "zone": bank.zone,
                "after": 0,
                "limit": 100,
            } | asked
            return await waiting(connection, queue, adopted_policies(bank.store), **question)  # type: ignore[arg-type]

    return asyncio.run(asking())


@pytest.fixture
def bank(open_bank: OpenBank) -> Timebank:
    """Records logged in the order of their numbers; R1, R2 and R6 are settled."""
    bank = open_bank()
    places = (XINZHU, XINZHU, XINZHU, JINHU, XINZHU, JINHU)
    record(bank, *(logged(bank, f"R{n + 1}", 1, place) for n, place in enumerate(places)))
    record(bank, HoursConfirmed("issuance", "household:H1", 90, "R1", "S2"), HoursRejected("R2", "S2", "other"))
    record(bank, HoursConfirmed("issuance", "household:H1", 90, "R6", "S2"))
    return bank


def test_what_waits_is_counted_and_listed_until_it_is_settled(bank: Timebank) -> None:
    assert count(bank, "to-confirm") == (3, 0)
    assert [row["record"] for row in listed(bank, "to-confirm")] == ["R3", "R4", "R5"]
    record(bank, HoursRejected("R3", "S2", "other"))
    assert count(bank, "to-confirm") == (2, 0)
    record(bank, *(HoursRejected(number, "S2", "other") for number in ("R4", "R5")))
    assert count(bank, "to-confirm") == (0, None)
    assert listed(bank, "to-confirm") == []


def test_waiting_is_counted_in_whole_days(bank: Timebank) -> None:
    assert count(bank, "to-confirm", in_days=9) == (3, 9)
    rows = listed(bank, "to-confirm", now=datetime.now(UTC) + timedelta(days=9, minutes=1))
    assert {row["waiting_days"] for row in rows} == {9}


def test_a_community_has_its_own(bank: Timebank) -> None:
    assert count(bank, "to-confirm", community=JINHU) == (1, 0)
    assert [row["record"] for row in listed(bank, "to-confirm", community=JINHU)] == ["R4"]
    assert [row["record"] for row in listed(bank, "to-confirm", community=XINZHU)] == ["R3", "R5"]


def test_a_queue_comes_in_pages(bank: Timebank) -> None:
    found, after = [], 0
    while page := listed(bank, "to-confirm", after=after, limit=1):
        found += [row["record"] for row in page]
        after = page[-1]["position"]
    assert found == ["R3", "R4", "R5"]


def test_a_record_is_late_from_the_day_after_the_last_one_that_is_not(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, logged(bank, "R1", 7), logged(bank, "R2", 8), logged(bank, "R3", 0))
    assert [row["record"] for row in listed(bank, "late-entries")] == ["R2"]
    assert count(bank, "late-entries") == (1, 0)
    assert count(bank, "to-confirm") == (3, 0)
    record(bank, HoursRejected("R2", "S2", "other"))
    assert count(bank, "late-entries") == (0, None)


def test_what_is_late_is_what_the_policy_of_its_day_says(open_bank: OpenBank) -> None:
    bank = open_bank(late_after_days=20)
    record(bank, logged(bank, "R1", 20), logged(bank, "R2", 21), replace(logged(bank, "R3", 5), late_reason="on-paper"))
    today = datetime.now(bank.zone).date()
    record(bank, PolicyAdopted(2, today - timedelta(days=10), Policy(late_after_days=4), "P1"))
    rows = listed(bank, "late-entries")
    assert [(row["record"], row["days_late"], row["late_reason"]) for row in rows] == [
        ("R2", 21, None),
        ("R3", 5, "on-paper"),
    ]


def test_what_comes_from_older_books_is_not_late(open_bank: OpenBank) -> None:
    bank = open_bank()
    imported = replace(envelope(logged(bank, "R1", 900)), imported=True)
    bank.store.append([imported], [], [], bank.store.head())
    with projecting(bank) as projector:
        projector.catch_up()
    assert count(bank, "to-confirm") == (1, 0)
    assert count(bank, "late-entries") == (0, None)


def test_a_visit_waits_from_the_policys_limit_until_it_is_closed_or_void(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, CHECKED_IN)
    assert listed(bank, "open-check-ins") == []
    record(bank, VISIT_OVERDUE)
    waits_for = CHECKED_IN.started_at + timedelta(days=3, minutes=1)
    (row,) = listed(bank, "open-check-ins", now=waits_for, community=XINZHU)
    assert (row["visit"], row["volunteer"], row["waiting_days"]) == ("C1", "V1", 3)
    assert listed(bank, "open-check-ins", community=JINHU) == []
    record(bank, VISIT_VOIDED)
    assert count(bank, "open-check-ins") == (0, None)


@pytest.mark.parametrize("end", [DISPUTE_UPHELD, DISPUTE_DISMISSED, DISPUTE_WITHDRAWN], ids=lambda fact: fact.type)
def test_a_dispute_waits_in_the_community_of_its_record_until_it_ends(open_bank: OpenBank, end: Fact) -> None:
    bank = open_bank()
    record(bank, replace(HOURS_LOGGED, record="R3", community=JINHU), DISPUTE_OPENED)
    waits_for = DISPUTE_OPENED.opened_at + timedelta(days=2, minutes=1)
    (row,) = listed(bank, "disputes", now=waits_for, community=JINHU)
    assert (row["dispute"], row["record"], row["escalated"], row["waiting_days"]) == ("D1", "R3", False, 2)
    assert listed(bank, "disputes", community=XINZHU) == []
    record(bank, DISPUTE_ESCALATED)
    assert [row["escalated"] for row in listed(bank, "disputes")] == [True]
    record(bank, end)
    assert count(bank, "disputes") == (0, None)


@pytest.mark.parametrize("end", [RESERVATION_RELEASED, REWARD_COLLECTED], ids=lambda fact: fact.type)
def test_a_reservation_waits_when_its_end_is_near_until_it_is_collected_or_released(
    open_bank: OpenBank, end: Fact
) -> None:
    bank = open_bank()
    record(bank, PARTNER_REGISTERED, REWARD_OFFERED, REWARD_RESERVED)
    near = REWARD_RESERVED.expires_at - timedelta(days=EXPIRING_DAYS)
    assert listed(bank, "expiring-reservations", now=near - timedelta(seconds=1)) == []
    (row,) = listed(bank, "expiring-reservations", now=near, community=XINZHU)
    assert (row["reservation"], row["household"], row["waiting_days"]) == ("RV1", "H2", 5)
    assert "code_sha256" not in row
    assert listed(bank, "expiring-reservations", now=near, community=JINHU) == []
    record(bank, end)
    assert listed(bank, "expiring-reservations", now=near) == []


@pytest.mark.parametrize("end", [OFFER_ACCEPTED, REQUEST_CANCELLED, REQUEST_EXPIRED], ids=lambda fact: fact.type)
def test_a_request_waits_too_long_after_some_days_until_somebody_is_accepted(open_bank: OpenBank, end: Fact) -> None:
    bank = open_bank()
    record(bank, REQUEST_ASKED, OFFER_MADE)
    assert count(bank, "requests-waiting", in_days=REQUEST_DAYS - 1) == (0, None)
    assert count(bank, "requests-waiting", in_days=REQUEST_DAYS) == (1, REQUEST_DAYS)
    assert count(bank, "requests-waiting", in_days=REQUEST_DAYS, community=JINHU) == (0, None)
    (row,) = listed(bank, "requests-waiting", now=datetime.now(UTC) + timedelta(days=REQUEST_DAYS, minutes=1))
    assert (row["request"], row["household"], row["waiting_days"]) == ("Q1", "H2", REQUEST_DAYS)
    record(bank, end)
    assert count(bank, "requests-waiting", in_days=REQUEST_DAYS) == (0, None)


def test_every_queue_says_in_both_languages_what_waits_in_it() -> None:
    assert named("nothing") is None
    for queue in QUEUES:
        assert named(queue.name) is queue
        assert not queue.zh.isascii()
        assert queue.en.isascii()
        assert not queue.title.isascii()
