"""Requests as they stand, what is open for a volunteer in which order, what waits, and whose time is over."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from api.wiring import Timebank
from domain.account import MinutesHeld, MinutesReleased
from domain.decision import fold_facts
from domain.fact import Fact
from domain.household import HouseholdClosed
from domain.matching import Place, rank
from domain.request import RequestAsked, ServiceRequest
from projections import request as projected
from projections.hours import to_the_minute
from projections.request import OfferRow, OpenRow, RequestRow, unix_microseconds
from tests.controls import (
    COMMUNITY_REGISTERED,
    GRID_REGISTERED,
    HOURS_CONFIRMED,
    HOUSEHOLD_REGISTERED,
    OFFER_ACCEPTED,
    OFFER_MADE,
    OFFER_WITHDRAWN,
    REQUEST_ASKED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    REQUEST_FULFILLED,
    REQUEST_RESCHEDULED,
    XINZHU,
    at,
    logged,
)
from tests.projections.history import POLICIES, History, projecting, record, rows

OpenBank = Callable[..., Timebank]
Query = Callable[[psycopg.AsyncConnection[Any]], Coroutine[Any, Any, Any]]
HOME = Place(XINZHU, ("第3网格", "甲", "2栋"))
NOW_MICROSECONDS = unix_microseconds(at("11-22 12:00"))


def query(bank: Timebank, asked: Query) -> Any:
    async def asking() -> Any:
        async with await psycopg.AsyncConnection.connect(bank.read_address) as connection:
            return await asked(connection)

    return asyncio.run(asking())


def row(bank: Timebank, number: str) -> RequestRow:
    found = query(bank, lambda connection: projected.request(connection, number))
    assert isinstance(found, RequestRow)
    return found


def offers(bank: Timebank, number: str = "Q1") -> dict[str, str]:
    found: list[OfferRow] = query(bank, lambda connection: projected.offers(connection, number))
    return {offer.volunteer: offer.status for offer in found}


def open_rows(bank: Timebank, **named: Any) -> list[OpenRow]:
    asked = {"volunteer": "V9", "household": "H9", "home": HOME, "now_microseconds": NOW_MICROSECONDS} | named
    found: list[OpenRow] = query(bank, lambda connection: projected.open_requests(connection, **asked))
    return found


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_row_says_what_the_facts_say_whenever_they_were_folded(
    open_bank: OpenBank, policy: dict[str, Any]
) -> None:
    bank = open_bank(**policy)
    history = History(bank, 21)
    with projecting(bank) as projector:
        for _ in range(15):
            history.go(20)
            projector.catch_up()
    as_it_happened = rows(bank)
    with closing(bank.projector()) as projector:
        projector.rebuild()
    assert rows(bank) == as_it_happened
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    by_tag: dict[str, list[Fact]] = {}
    for fact in facts:
        for tag in fact.tags():
            by_tag.setdefault(tag, []).append(fact)
    found = query(bank, lambda connection: projected.requests(connection, limit=10_000))
    assert [one.request for one in found] == [fact.request for fact in facts if isinstance(fact, RequestAsked)]
    for one in found:
        reading = ServiceRequest.of(one.request)
        state = fold_facts(reading, by_tag[reading.tag])
        assert (one.status, one.volunteer) == (state.status, state.volunteer)
        standing = {who for who, status in offers(bank, one.request).items() if status in ("made", "accepted")}
        assert standing == set(state.offers)
        assert state.terms is not None
        assert (one.earliest_at, one.latest_at) == tuple(
            map(to_the_minute, (state.terms.earliest_at, state.terms.latest_at))
        )
        assert one.expires_at_microseconds == unix_microseconds(state.terms.expires_at)
        assert one.earliest_at_microseconds == unix_microseconds(state.terms.earliest_at)
        assert (one.household, one.community, one.service) == (
            state.terms.household,
            state.terms.community,
            state.terms.service,
        )
        assert (tuple(one.needs.split()), one.held_minutes) == (state.terms.needs, state.terms.held_minutes)
    statuses = Counter(one.status for one in found)
    assert statuses.keys() == {"open", "accepted", "fulfilled", "cancelled", "expired"}, statuses
    assert {"offer-withdrawn.v1", "request-rescheduled.v1"} <= {fact.type for fact in facts}
    for kind in (MinutesHeld, MinutesReleased):
        holds = [fact for fact in facts if isinstance(fact, kind) and fact.hold.startswith("request:")]
        assert bool(holds) == ("request_hold" in policy)


def test_a_request_is_followed_through_its_life_in_batches_of_their_own(open_bank: OpenBank) -> None:
    bank = open_bank()
    asked_position = record(bank, REQUEST_ASKED)
    first = row(bank, "Q1")
    assert (first.status, first.asked_position, first.changed_position) == ("open", asked_position, asked_position)
    assert (first.grid, first.needs) == ("第3网格", "woman-volunteer wheelchair")
    assert (first.earliest_at, first.latest_at) == ("2026-11-22T08:00+08:00", "2026-11-23T18:00+08:00")
    record(bank, OFFER_MADE, replace(OFFER_MADE, volunteer="V2"))
    assert offers(bank) == {"V1": "made", "V2": "made"}
    record(bank, OFFER_ACCEPTED)
    accepted = row(bank, "Q1")
    assert (accepted.status, accepted.volunteer, accepted.accepted_by) == ("accepted", "V1", "V3")
    assert accepted.accepted_at_microseconds == accepted.changed_at_microseconds
    assert offers(bank) == {"V1": "accepted", "V2": "made"}
    record(bank, OFFER_WITHDRAWN)
    again = row(bank, "Q1")
    assert (again.status, again.volunteer, again.accepted_at_microseconds) == ("open", None, None)
    assert offers(bank) == {"V1": "withdrawn", "V2": "made"}
    record(bank, REQUEST_RESCHEDULED)
    assert (row(bank, "Q1").earliest_at, offers(bank)) == (
        "2026-11-24T08:00+08:00",
        {"V1": "withdrawn", "V2": "lapsed"},
    )
    record(bank, OFFER_MADE)
    assert offers(bank) == {"V1": "made", "V2": "lapsed"}
    record(bank, OFFER_ACCEPTED)
    record(bank, logged("R1", "11-22 09:00 - 10:00"), REQUEST_FULFILLED)
    done = row(bank, "Q1")
    assert (done.status, done.volunteer, done.record) == ("fulfilled", "V1", "R1")
    assert done.asked_position == asked_position
    assert done.changed_position > asked_position


@pytest.mark.parametrize(("ending", "status"), [(REQUEST_CANCELLED, "cancelled"), (REQUEST_EXPIRED, "expired")])
def test_a_request_ends(open_bank: OpenBank, ending: Fact, status: str) -> None:
    bank = open_bank()
    record(bank, REQUEST_ASKED, ending)
    assert row(bank, "Q1").status == status
    assert query(bank, lambda connection: projected.request(connection, "Q2")) is None


# ── What is open for a volunteer ─────────────────────────────────────────────────────────────────────────────────

SERVICES = ["助餐", "助洁", "陪诊", "理发"]
GIVEN = frozenset({"助餐", "陪诊"})


def many(dice: Random, number: int) -> Iterable[RequestAsked]:
    levels = (("第3网格", "第30网格"), ("甲", "甲乙", "%"), ("2栋", "2", "22栋"))
    for n in range(number):
        yield replace(
            REQUEST_ASKED,
            request=f"Q{n}",
            household=f"H{dice.randint(2, 9)}",
            community=dice.choice([XINZHU, XINZHU, XINZHU, "金湖社区"]),
            grid=tuple(dice.choice(names) for names in levels[: dice.randint(0, 3)]),
            service=dice.choice(SERVICES),
            earliest_at=at("11-22 08:00") + timedelta(hours=dice.randint(0, 5)),
            expires_at=at("11-22 12:00") + timedelta(minutes=dice.choice([-1, 0, 1, 60])),
        )


@pytest.mark.parametrize("grid", [HOME.grid, HOME.grid[:2], HOME.grid[:1], ()], ids=len)
def test_the_database_orders_as_the_rule_does_and_pages_hold_each_once(
    open_bank: OpenBank, grid: tuple[str, ...]
) -> None:
    bank = open_bank()
    home = Place(XINZHU, grid)
    asked = list(many(Random(len(grid)), 400))  # noqa: S311 - reproducible
    services = zip(("R1", "R2", "R3"), (*GIVEN, "理发"), strict=True)
    hours = [
        logged(number, f"11-2{day} 09:00 - 10:00", service=service, volunteer="V9")
        for day, (number, service) in enumerate(services)
    ]
    confirmed = [replace(HOURS_CONFIRMED, record=number) for number in ("R1", "R2")]
    record(bank, *hours, *confirmed, *asked)
    first = bank.store.head() - len(asked) + 1
    open_ = [
        (rank(home, GIVEN, Place(one.community, one.grid), one.service, one.earliest_at, first + n), one.request)
        for n, one in enumerate(asked)
        if one.household != "H9" and one.expires_at > at("11-22 12:00")
    ]
    expected = [number for _, number in sorted(open_)]
    found = open_rows(bank, home=home, limit=500)
    assert [one.request for one in found] == expected
    assert len({one.distance for one in found}) == len(grid) + 2
    assert [(one.distance, one.service_is_new, one.asked_position) for one in found] == [
        (int(one.distance), one.service_is_new, one.asked_position) for one, _ in sorted(open_)
    ]
    paged: list[str] = []
    after = projected.FIRST_RANK
    while page := open_rows(bank, home=home, limit=31, after=after):
        paged += [one.request for one in page]
        after = page[-1].rank
    assert paged == expected


def test_a_volunteer_is_told_where_their_own_offer_stands(open_bank: OpenBank) -> None:
    bank = open_bank()
    other = replace(REQUEST_ASKED, request="Q2")
    record(bank, REQUEST_ASKED, other, replace(OFFER_MADE, volunteer="V9"), replace(OFFER_MADE, request="Q2"))
    assert {one.request: one.offered for one in open_rows(bank)} == {"Q1": True, "Q2": False}
    record(bank, replace(OFFER_ACCEPTED, volunteer="V9"))
    assert [one.request for one in open_rows(bank)] == ["Q2"]


def test_nothing_is_open_of_a_household_that_is_closed_by_now(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, COMMUNITY_REGISTERED, GRID_REGISTERED, HOUSEHOLD_REGISTERED, REQUEST_ASKED)
    assert [one.request for one in open_rows(bank)] == ["Q1"]
    record(bank, HouseholdClosed("H2", "moved-away", "pool:" + XINZHU, ()))
    assert open_rows(bank) == []


# ── What staff must look after ───────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_was_accepted_for_waits_the_longest_first_and_is_counted(open_bank: OpenBank) -> None:
    bank = open_bank()
    numbers = ["Q1", "Q2", "Q3", "Q4"]
    record(
        bank,
        *(replace(REQUEST_ASKED, request=number) for number in numbers),
        replace(REQUEST_ASKED, request="Q5", community="金湖社区"),
        replace(OFFER_MADE, request="Q2"),
        replace(OFFER_ACCEPTED, request="Q2"),
        replace(REQUEST_CANCELLED, request="Q3"),
    )

    def waiting(**named: Any) -> tuple[int, list[str]]:
        asked = {"community": None, "asked_before_microseconds": time.time_ns() // 1000 + 10_000_000} | named
        count, found = query(bank, lambda connection: projected.waiting(connection, **asked))
        return count, [one.request for one in found]

    assert waiting() == (3, ["Q1", "Q4", "Q5"])
    assert waiting(community=XINZHU) == (2, ["Q1", "Q4"])
    assert waiting(limit=1) == (3, ["Q1"])
    assert waiting(after=row(bank, "Q1").asked_position) == (3, ["Q4", "Q5"])
    assert waiting(asked_before_microseconds=row(bank, "Q1").asked_at_microseconds) == (0, [])


def test_the_requests_whose_time_is_over_are_found_with_the_one_first_that_was_over_first(open_bank: OpenBank) -> None:
    bank = open_bank()
    ends = {"Q1": at("11-23 18:00"), "Q2": at("11-22 18:00"), "Q3": at("11-22 18:00")}
    record(bank, *(replace(REQUEST_ASKED, request=number, expires_at=end) for number, end in ends.items()))

    def over(now: datetime) -> list[str]:
        with bank.reading() as connection:
            return list(projected.over(connection, now))

    assert over(at("11-22 17:59")) == []
    assert over(at("11-22 18:00").astimezone(UTC)) == ["Q2", "Q3"]
    assert over(at("12-22 18:00")) == ["Q2", "Q3", "Q1"]
    record(bank, replace(REQUEST_EXPIRED, request="Q2"), replace(REQUEST_CANCELLED, request="Q3"))
    assert over(at("12-22 18:00")) == ["Q1"]
