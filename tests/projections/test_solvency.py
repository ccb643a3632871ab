"""The solvency board: what was promised, what is served, where the issued minutes are, and who leaves theirs idle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from api.wiring import Timebank
from domain.account import HoursConfirmed, HoursReversed
from domain.community import CommunityRegistered
from domain.fact import Fact
from domain.hours import HoursLogged
from domain.household import AgeAttested, HouseholdRegistered, MemberRegistered
from domain.solvency import Identity, IdleSaver, MonthServed, Outstanding, Requests, Waiting
from projections.solvency import (
    identities,
    identity,
    idle_savers,
    months_before,
    outstanding,
    requests,
    served,
    waiting,
)
from tests.controls import (
    BALANCE_CARRIED,
    BALANCE_PAID_IN,
    BALANCE_TAKEN_ALONG,
    EXPIRY_ANNOUNCED,
    GROUP_REGISTERED,
    HOURS_LOGGED,
    HOURS_REVERSED,
    JINHU,
    MINUTES_CAPPED,
    MINUTES_DONATED,
    MINUTES_EXPIRED,
    MINUTES_TRANSFERRED,
    OFFER_ACCEPTED,
    OFFER_MADE,
    PARTNER_REGISTERED,
    PARTNER_SETTLED,
    POOL_FUNDED,
    REDEMPTION_REVERSED,
    REQUEST_ASKED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    REQUEST_FULFILLED,
    REWARD_COLLECTED,
    REWARD_OFFERED,
    XINZHU,
    at,
)
from tests.projections.history import POLICIES, History, projecting, record

OpenBank = Callable[..., Timebank]
PLACES = (
    *(CommunityRegistered(place, place) for place in (XINZHU, JINHU)),
    *(HouseholdRegistered(home, place) for home, place in (("H1", XINZHU), ("H2", XINZHU), ("H3", JINHU))),
    PARTNER_REGISTERED,
    REWARD_OFFERED,
    GROUP_REGISTERED,
    EXPIRY_ANNOUNCED,
)
POOL, OTHER_POOL = "pool:" + XINZHU, "pool:" + JINHU
H1, H2, H3 = "household:H1", "household:H2", "household:H3"


@contextmanager
def asking(bank: Timebank) -> Iterator[psycopg.Cursor[Any]]:
    with bank.reading() as connection, connection.cursor() as cursor:
        yield cursor


def confirmed(target: str, minutes: int, number: str = "R0", source: str = "issuance") -> HoursConfirmed:
    return HoursConfirmed(source, target, minutes, number, "S2")


def served_on(day: date, number: str, *, household: str = "H1", **changes: Any) -> HoursLogged:
    start = at("11-21 09:00").replace(year=day.year, month=day.month, day=day.day)
    times = {"started_at": start, "ended_at": start + timedelta(minutes=90)}
    return replace(HOURS_LOGGED, record=number, household=household, **times, **changes)


# ── What is outstanding, and what is served ──────────────────────────────────────────────────────────────────────


def test_outstanding_is_what_accounts_above_zero_hold(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(
        bank,
        *PLACES,
        *(confirmed(H1, 100), confirmed(H2, 60), confirmed("group:G1", 40), confirmed(H3, 7)),
        replace(POOL_FUNDED, minutes=500),
        replace(REWARD_COLLECTED, source=H2, minutes=90),
    )
    with asking(bank) as cursor:
        assert outstanding(cursor, None) == (Outstanding(107, 40, 500, 647), 30)
        assert outstanding(cursor, XINZHU) == (Outstanding(100, 40, 500, 640), 30)
        assert outstanding(cursor, JINHU) == (Outstanding(7, 0, 0, 7), 0)


def test_service_counts_in_each_of_the_last_whole_months(open_bank: OpenBank) -> None:
    bank = open_bank()
    days = {"R1": "2025-10-31", "R2": "2025-11-01", "R3": "2026-01-31", "R4": "2026-10-31", "R5": "2026-11-01"}
    facts: list[Fact] = [served_on(date.fromisoformat(day), number) for number, day in days.items()]
    facts += [served_on(date(2026, 10, 2), "R6"), served_on(date(2026, 10, 3), "R7")]
    facts += [confirmed(H1, 90, number) for number in (*days, "R7")]
    record(bank, *facts, HoursReversed(H1, "issuance", 90, "R7", "S2", "other"))
    with asking(bank) as cursor:
        months = served(cursor, None, date(2026, 11, 30))
        assert [month.month for month in months] == ["2025-11", "2025-12", *(f"2026-{n:02}" for n in range(1, 11))]
        assert {month.month: month.service_minutes for month in months if month.service_minutes} == {
            "2025-11": 90,
            "2026-01": 90,
            "2026-10": 90,
        }
        assert served(cursor, JINHU, date(2026, 11, 30)) == []


def test_months_before_the_first_service_do_not_count(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, served_on(date(2026, 9, 3), "R1"), confirmed(H1, 90, "R1"))
    with asking(bank) as cursor:
        assert served(cursor, None, date(2026, 11, 2)) == [MonthServed("2026-09", 90), MonthServed("2026-10", 0)]
        assert served(cursor, None, date(2026, 9, 30)) == []


# ── Where the issued minutes are ─────────────────────────────────────────────────────────────────────────────────

EVERY_KIND = (
    *(confirmed(H1, 1000), confirmed(H2, 800), confirmed(H3, 300), confirmed("group:G1", 100)),
    *(confirmed("group:G9", 12), confirmed("group:G9", 2, source=H3)),
    confirmed(H1, 20, source=H3),
    replace(MINUTES_CAPPED, source=H1, target=POOL, minutes=200),
    replace(HOURS_REVERSED, source=H2, minutes=100),
    replace(POOL_FUNDED, target=POOL, minutes=600),
    replace(MINUTES_TRANSFERRED, source=H1, target=H3, minutes=50),
    replace(MINUTES_TRANSFERRED, source=H1, target=H2, minutes=30),
    replace(MINUTES_DONATED, source="group:G1", target=OTHER_POOL, minutes=60),
    replace(MINUTES_EXPIRED, source=H2, minutes=40),
    replace(BALANCE_CARRIED, source=H2, target=OTHER_POOL, minutes=10),
    replace(BALANCE_TAKEN_ALONG, source=H1, minutes=70),
    replace(BALANCE_PAID_IN, target=H3, minutes=15),
    replace(REWARD_COLLECTED, source=H2, minutes=90),
    replace(REWARD_COLLECTED, source=H3, minutes=25),
    replace(REDEMPTION_REVERSED, target=H2, minutes=90),
    replace(PARTNER_SETTLED, minutes=25),
)


def test_issued_is_held_pooled_spent_expired_and_left_in_each_community_and_in_all(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, *PLACES, *EVERY_KIND)
    with asking(bank) as cursor:
        total, each = identity(cursor), identities(cursor, None)
        assert identities(cursor, JINHU) == each[-1:]
    by_community = {cell.community: cell for cell in each}
    assert by_community == {
        "": Identity("", 12, 2, 14, 0, 0, 0, 0),
        XINZHU: Identity(XINZHU, 2400, -100, 1390, 800, 0, 40, 70),
        JINHU: Identity(JINHU, 300, 98, 318, 70, 25, 0, -15),
    }
    assert total == Identity(None, 2712, 0, 1722, 870, 25, 40, 55)
    assert {cell.difference_minutes for cell in (total, *each)} == {0}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_difference_is_always_zero(open_bank: OpenBank, policy: dict[str, Any]) -> None:
    bank = open_bank(**policy)
    history = History(bank, 11)
    with projecting(bank) as projector:
        for _ in range(6):
            history.go(60)
            projector.catch_up()
            with asking(bank) as cursor:
                total, each = identity(cursor), identities(cursor, None)
            assert {cell.difference_minutes for cell in (total, *each)} == {0}
            assert sum(cell.moved_in_minutes for cell in each) == 0
            for part in ("issued_minutes", "held_minutes", "pooled_minutes"):
                assert sum(getattr(cell, part) for cell in each) == getattr(total, part)
    assert total.issued_minutes > 0


def test_a_balance_that_no_movement_explains_shows_as_a_difference(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, *PLACES, confirmed(H1, 100))
    with psycopg.connect(bank.read_address) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE accounts SET balance_minutes = 101 WHERE account = %s", (H1,))
        assert [cell.difference_minutes for cell in identities(cursor, None)] == [-1, 0]
        assert identity(cursor).difference_minutes == -1
        connection.rollback()


# ── How long records wait ────────────────────────────────────────────────────────────────────────────────────────


def test_waiting_is_from_log_to_confirmation_of_what_was_not_imported(open_bank: OpenBank) -> None:
    bank = open_bank()
    for number in range(1, 14):
        record(bank, served_on(date(2026, 10, number), f"R{number}"), confirmed(H1, 90, f"R{number}"))
    record(bank, HoursReversed(H1, "issuance", 90, "R10", "S2", "other"), served_on(date(2026, 10, 20), "R20"))
    since = 1_800_000_000_000_000
    with psycopg.connect(bank.read_address) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE hours SET settled_at_microseconds = %s, logged_at_microseconds = %s - 59999999"
            " - 60000000 * substr(record, 2)::bigint",
            (since, since),
        )
        cursor.execute("UPDATE hours SET imported = true WHERE record = 'R11'")
        cursor.execute("UPDATE hours SET settled_at_microseconds = %s WHERE record = 'R12'", (since - 1,))
        cursor.execute("UPDATE hours SET community = %s WHERE record = 'R13'", (JINHU,))
        assert waiting(cursor, XINZHU, since) == Waiting(10, 5, 9)
        assert waiting(cursor, None, since) == Waiting(11, 6, 10)
        assert waiting(cursor, None, since + 1) == Waiting(0, None, None)
        connection.rollback()


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_requests_that_expired_or_are_open_are_unfilled(open_bank: OpenBank) -> None:
    bank = open_bank()
    asked = [replace(REQUEST_ASKED, request=f"Q{n}", estimated_minutes=10**n) for n in range(5)]
    record(bank, *asked, replace(REQUEST_ASKED, request="Q5", community=JINHU, estimated_minutes=10**5))
    record(bank, replace(OFFER_MADE, request="Q3"))
    ends = (REQUEST_CANCELLED, REQUEST_FULFILLED, REQUEST_EXPIRED, OFFER_ACCEPTED)
    record(bank, *(replace(fact, request=f"Q{n}") for n, fact in enumerate(ends)))
    with asking(bank) as cursor:
        assert requests(cursor, None, 0) == Requests(6, 1, 1, 1, 1, 2, 3, 110_100, 0, 0)
        assert requests(cursor, XINZHU, 0) == Requests(5, 1, 1, 1, 1, 1, 2, 10_100, 0, 0)
        assert requests(cursor, None, 2**62) == Requests(0, 0, 0, 0, 0, 0, 0, 0, None, None)


# ── Old savers ───────────────────────────────────────────────────────────────────────────────────────────────────

YEAR_AGO, DAY = 366, timedelta(days=1)


def today(bank: Timebank) -> date:
    return datetime.now(bank.zone).date()


def saver(bank: Timebank, *, age: int = 75, saved_days_ago: int = YEAR_AGO) -> list[Fact]:
    """H1 with V1, who is old, and what the household saved on one day."""
    return [
        *PLACES,
        MemberRegistered("V1", "H1"),
        MemberRegistered("V2", "H1"),
        AgeAttested("V1", age, "S2"),
        served_on(today(bank) - saved_days_ago * DAY, "R1"),
        confirmed(H1, 90, "R1"),
    ]


def idle(bank: Timebank, *facts: Fact, community: str | None = None) -> tuple[int, int, list[IdleSaver]]:
    if facts:
        record(bank, *facts)
    with asking(bank) as cursor:
        return idle_savers(cursor, community, today(bank), str(bank.zone))


def test_an_old_saver_who_spent_nothing_for_a_year_is_idle(open_bank: OpenBank) -> None:
    bank = open_bank()
    first_day = str(today(bank) - YEAR_AGO * DAY)
    expected = (1, 90, [IdleSaver("H1", XINZHU, 90, 75, first_day, None)])
    assert idle(bank, *saver(bank)) == expected
    assert idle(bank, served_on(today(bank) - DAY, "R2"), confirmed(H1, 0, "R2"), community=XINZHU) == expected
    assert idle(bank, community=JINHU) == (0, 0, [])
    # The oldest member's age counts, and what was spent long ago doesn't.
    lately = served_on(today(bank) - 367 * DAY, "R3", household="H2")
    assert idle(bank, AgeAttested("V2", 81, "S2"), lately, confirmed(H2, 30, "R3", H1)) == (
        1,
        60,
        [IdleSaver("H1", XINZHU, 60, 81, first_day, str(today(bank) - 367 * DAY))],
    )


SPENT = {
    "too young": lambda bank: saver(bank, age=74),
    "saved for the first time less than a year ago": lambda bank: saver(bank, saved_days_ago=364),
    "gave some away": lambda bank: [
        *saver(bank),
        replace(MINUTES_TRANSFERRED, source=H1, target=H2, minutes=1),
    ],
    "donated some": lambda bank: [*saver(bank), replace(MINUTES_DONATED, source=H1, target=POOL, minutes=1)],
    "redeemed some": lambda bank: [
        *saver(bank),
        replace(REWARD_COLLECTED, source=H1, minutes=1),
    ],
    "was served": lambda bank: [
        *saver(bank),
        served_on(today(bank) - 360 * DAY, "R2", household="H2"),
        confirmed(H2, 1, "R2", H1),
    ],
    "has nothing left": lambda bank: [*saver(bank), replace(MINUTES_CAPPED, minutes=90)],
}


@pytest.mark.parametrize("facts", SPENT.values(), ids=SPENT)
def test_a_household_is_not_idle_that(open_bank: OpenBank, facts: Callable[[Timebank], list[Fact]]) -> None:
    bank = open_bank()
    assert idle(bank, *facts(bank)) == (0, 0, [])


def test_what_was_taken_away_is_no_spending(open_bank: OpenBank) -> None:
    bank = open_bank()
    taken = (replace(MINUTES_CAPPED, minutes=1), replace(MINUTES_EXPIRED, source=H1, minutes=1))
    count, minutes, (row,) = idle(bank, *saver(bank), *taken)
    assert (count, minutes, row.last_spent_on) == (1, 88, None)


@pytest.mark.parametrize(
    ("day", "months", "before"),
    [("2026-11-23", 12, "2025-11-23"), ("2028-02-29", 12, "2027-02-28"), ("2026-03-31", 1, "2026-02-28")],
)
def test_a_month_before_is_the_same_day_or_the_last(day: str, months: int, before: str) -> None:
    assert str(months_before(date.fromisoformat(day), months)) == before
