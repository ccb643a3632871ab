"""Hours of service: the rules for logging, confirming, rejecting and reversing, on both sides of each boundary."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import (
    Account,
    BalanceTooLow,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    PoolFunded,
)
from domain.community import OutsideCommunity, UnknownCommunity, UnknownGrid
from domain.decision import Actor, LeftToTime
from domain.fact import Fact
from domain.hours import (
    MINUTE,
    ConfirmedByLogger,
    ConfirmedByOwnHousehold,
    ConfirmHours,
    DayTooLong,
    HoursLogged,
    HoursRejected,
    InTheFuture,
    LateWithoutReason,
    LogHours,
    NotYourself,
    OwnHouseholdServed,
    RecordAboveCap,
    RecordAlreadyLogged,
    RecordAlreadyReversed,
    RecordAlreadySettled,
    RecordNotConfirmed,
    RecordOverlaps,
    RecordTooLong,
    RecordTooShort,
    RejectHours,
    ReverseHours,
    ServiceRecord,
    SettleSilence,
    SilenceNotOver,
    TooLongAgo,
    UnknownRecord,
    confirm,
    days_of,
    log,
    log_many,
    minutes_on,
    reject,
    reverse,
    settle_silence,
)
from domain.household import MemberRegistered, NotEnrolled, UnknownHousehold, UnknownMember
from domain.identifiers import check_id
from domain.policy import NoPolicyInForce, Policy, PolicyAdopted
from domain.refusal import Refusal
from tests.controls import (
    ADMIN,
    CAPPED_MINUTES_RETURNED,
    COMMAND_EXAMPLES,
    COMMAND_ID,
    DISTRICT,
    GRID,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REJECTED,
    HOURS_REVERSED,
    JINHU,
    LOGGER,
    MINUTES_CAPPED,
    NOW,
    OFFSET,
    STAFF,
    STAFF_ELSEWHERE,
    TIME,
    XINZHU,
    at,
    between,
    credited,
    district,
    given,
    logged,
    volunteer,
)

FRIDAY = date(2026, 11, 20)
SATURDAY = date(2026, 11, 21)
POOL = "pool:" + XINZHU


def hours(span: str = "11-21 09:00 - 10:30", **changes: Any) -> LogHours:
    started_at, ended_at = between(span)
    fields = {"record": "R2", "volunteer": "V1", "recipient_household": "H2", "service": "助餐"}
    return LogHours(**(fields | {"started_at": started_at, "ended_at": ended_at} | changes))


def becomes(span: str = "11-21 09:00 - 10:30", **changes: Any) -> HoursLogged:
    return logged("R2", span, **({"logged_by": "S2"} | changes))


# ── Logging ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_hours_are_logged_where_the_recipient_lives() -> None:
    given(DISTRICT).when(log, hours()).then(becomes(community=XINZHU, grid=GRID), policy=1)


def test_hours_for_the_community_at_large_are_logged_where_the_volunteer_lives() -> None:
    general = becomes(recipient_household=None, community=XINZHU, grid=())
    given(DISTRICT).when(log, hours(recipient_household=None)).then(general)


@pytest.mark.parametrize(
    ("community", "grid", "logged_grid"),
    [(XINZHU, (), GRID), (XINZHU, GRID, GRID), (JINHU, (), ())],
)
def test_a_named_place_holds_and_the_recipients_grid_goes_with_its_own_community_only(
    community, grid, logged_grid
) -> None:
    command = hours(community=community, grid=grid)
    given(DISTRICT).when(log, command, actor=ADMIN).then(becomes(community=community, grid=logged_grid, logged_by="A1"))


def test_hours_are_stored_on_the_ledgers_own_clock() -> None:
    in_utc = hours(started_at=datetime(2026, 11, 20, 16, 30, tzinfo=UTC), ended_at="2026-11-21T02:00:00+09:00")
    (fact,) = given(DISTRICT).when(log, in_utc).then(becomes("11-21 00:30 - 01:00")).facts
    assert isinstance(fact, HoursLogged)
    assert fact.started_at.isoformat() == "2026-11-21T00:30:00+08:00"
    assert fact.tags() == ("record:R2", "day:V1:2026-11-21")


@pytest.mark.parametrize(
    ("clock", "minutes"),
    [
        ("2026-03-29T01:30:00+01:00 2026-03-29T03:30:00+02:00", 60),  # clocks go forward
        ("2026-10-25T01:30:00+02:00 2026-10-25T03:30:00+01:00", 180),  # and back
        ("2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00", 60),
    ],
)
def test_minutes_are_those_that_passed_where_clocks_change(clock: str, minutes: int) -> None:
    started_at, ended_at = clock.split()
    command = hours(started_at=started_at, ended_at=ended_at)
    now = datetime.fromisoformat(ended_at)
    facts = given(DISTRICT).when(log, command, now=now, zone=ZoneInfo("Europe/Zurich")).accepted
    assert [(fact.claimed_minutes, fact.service_minutes) for fact in facts] == [(minutes, minutes)]
    assert [(fact.started_at.isoformat(), fact.ended_at.isoformat()) for fact in facts] == [(started_at, ended_at)]


def test_a_break_is_left_out_of_the_minutes() -> None:
    given(DISTRICT).when(log, hours(minutes=60)).then(becomes(claimed_minutes=60, service_minutes=60))


def test_service_minutes_are_the_claimed_ones_rounded() -> None:
    quarter_hours = district(rounding="up", rounding_step_minutes=15)
    rounded = becomes(claimed_minutes=52, service_minutes=60)
    given(quarter_hours).when(log, hours(minutes=52)).then(rounded)


def test_a_volunteer_logs_their_own_hours_and_only_those() -> None:
    given(DISTRICT).when(log, hours(), actor=volunteer("V1")).then(becomes(logged_by="V1"))
    given(DISTRICT).when(log, hours(volunteer="V2"), actor=volunteer("V1")).refused(NotYourself("V2"))
    rows = given(DISTRICT).when(log_many, COMMAND_EXAMPLES[log_many], actor=volunteer("V1"))
    assert rows.refusal is not None
    assert rows.refusal.rows == ((1, NotYourself("V2")),)


def test_a_volunteer_may_serve_in_any_community() -> None:
    assert given(DISTRICT).when(log, hours(recipient_household="H3"), actor=volunteer("V1")).accepted


def test_staff_log_what_was_served_in_their_community_whoever_served() -> None:
    given(DISTRICT).when(log, hours(), actor=STAFF_ELSEWHERE).refused(OutsideCommunity(XINZHU, JINHU))
    given(DISTRICT).when(log, hours(recipient_household="H3")).refused(OutsideCommunity(JINHU, XINZHU))
    assert given(DISTRICT).when(log, hours(volunteer="V4"), actor=STAFF).accepted
    assert given(DISTRICT).when(log, hours(recipient_household="H3"), actor=STAFF_ELSEWHERE).accepted


def test_a_record_without_a_number_gets_its_commands() -> None:
    (fact,) = given(DISTRICT).when(log, hours(record=None)).accepted
    assert isinstance(fact, HoursLogged)
    assert fact.record == "01234567-89abcdef-01234567-89abcdef"
    rows = given(DISTRICT).when(log_many, COMMAND_EXAMPLES[log_many]).accepted
    assert [row.record for row in rows] == [fact.record + "-0", fact.record + "-1"]


@hypothesis_given(st.text("0123456789abcdef", min_size=32, max_size=32) | st.text("013458", min_size=32, max_size=32))
def test_a_number_that_was_given_can_always_be_named_again(command_id: str) -> None:
    (fact,) = given(DISTRICT).when(log, hours(record=None), command_id=command_id).accepted
    assert check_id(fact.record) is None
    assert ConfirmHours(record=fact.record).record == fact.record


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (hours(record="R1"), RecordAlreadyLogged("R1")),
        (hours(volunteer="V8"), UnknownMember("V8")),
        (hours(volunteer="V3", recipient_household=None), NotEnrolled("V3")),
        (hours(recipient_household="H8"), UnknownHousehold("H8")),
        (hours(recipient_household="H1"), OwnHouseholdServed("H1")),
        (hours(community="别处"), UnknownCommunity("别处")),
        (hours(community=JINHU, grid=GRID), UnknownGrid(JINHU, "第3网格")),
        (hours(community=XINZHU, grid=(*GRID, "3-2")), UnknownGrid(XINZHU, "第3网格/3-2")),
    ],
)
def test_a_claim_is_refused_for_who_where_and_which(command: LogHours, refusal: Refusal) -> None:
    earlier = logged("R1", "11-01 09:00 - 10:00")
    given(DISTRICT, earlier).when(log, command, actor=ADMIN).refused(refusal)


@pytest.mark.parametrize("status", [(), (HOURS_REJECTED,), (HOURS_CONFIRMED,), (HOURS_CONFIRMED, HOURS_REVERSED)])
def test_a_number_is_used_once_whatever_became_of_its_record(status: tuple[Fact, ...]) -> None:
    refused = RecordAlreadyLogged("R1")
    given(DISTRICT, HOURS_LOGGED, status).when(log, hours("11-19 09:00 - 10:00", record="R1")).refused(refused)


@pytest.mark.parametrize(
    ("span", "minutes", "refusal"),
    [
        ("11-21 09:00 - 09:15", None, None),
        ("11-21 09:00 - 09:14", None, RecordTooShort(14, 15)),
        ("11-21 09:00 - 10:00", 15, None),
        ("11-21 09:00 - 10:00", 14, RecordTooShort(14, 15)),
        ("11-21 09:00 - 17:00", None, None),
        ("11-21 09:00 - 17:01", None, RecordTooLong(481, 480)),
        ("11-21 09:00 - 17:01", 480, None),  # with a minute's break
        ("11-20 09:00 - 11-21 24:00", 60, None),
        ("11-19 23:59 - 11-21 09:00", 60, RecordTooLong(1981, 1440)),  # touches three days
        ("11-15 09:00 - 11-21 09:00", 60, RecordTooLong(8640, 1440)),
    ],
)
def test_a_record_is_neither_too_short_nor_too_long(span: str, minutes: int | None, refusal: Refusal | None) -> None:
    outcome = given(DISTRICT).when(log, hours(span, minutes=minutes))
    assert outcome.refusal == refusal


@pytest.mark.parametrize(
    ("span", "now", "days_back", "refusal"),
    [
        ("11-22 11:00 - 12:00", "11-22 12:00", 30, None),
        ("11-22 11:00 - 12:01", "11-22 12:00", 30, InTheFuture("2026-11-22T12:01:00+08:00")),
        ("10-23 00:00 - 01:00", "11-22 12:00", 30, None),
        ("10-22 23:59 - 10-23 01:00", "11-22 12:00", 30, TooLongAgo("2026-10-22", 30)),
        ("10-23 00:00 - 01:00", "11-22 23:59", 30, None),
        ("10-23 23:00 - 24:00", "11-22 24:00", 30, TooLongAgo("2026-10-23", 30)),  # the 23rd has begun
        ("11-22 00:00 - 01:00", "11-22 12:00", 0, None),
        ("11-21 23:00 - 24:00", "11-22 00:00", 0, TooLongAgo("2026-11-21", 0)),
        ("11-21 23:00 - 11-22 01:00", "11-22 12:00", 0, TooLongAgo("2026-11-21", 0)),
    ],
)
def test_hours_are_logged_after_the_service_and_soon(
    span: str, now: str, days_back: int, refusal: Refusal | None
) -> None:
    facts = district(log_days_back_max=days_back)
    for moment in (at(now), at(now).astimezone(UTC)):  # the ledger's day counts, not the server's
        assert given(facts).when(log, hours(span), now=moment).refusal == refusal


@pytest.mark.parametrize(("days_later", "late"), [(0, False), (3, False), (4, True), (30, True)])
@pytest.mark.parametrize("needed", [False, True])
def test_what_is_logged_late_keeps_its_reason_and_needs_one_where_the_policy_says_so(
    days_later: int, late: bool, needed: bool
) -> None:
    facts = district(late_after_days=3, late_needs_reason=needed)
    command, now = hours("11-21 09:00 - 10:30"), at("11-21 23:00") + timedelta(days=days_later)
    reasoned = command.model_copy(update={"late_reason": "no-network"})
    (logged_late,) = given(facts).when(log, reasoned, now=now).accepted
    assert logged_late.late_reason == ("no-network" if late else None)  # type: ignore[attr-defined]
    unreasoned = given(facts).when(log, command, now=now)
    if late and needed:
        unreasoned.refused(LateWithoutReason("2026-11-21", 3))
    else:
        assert unreasoned.accepted == (replace(logged_late, late_reason=None),)


def test_the_leap_day_is_a_day_like_any_other() -> None:
    leap_day = date(2028, 2, 29)
    facts = (*district(log_days_back_max=1), PolicyAdopted(2, leap_day, Policy(log_days_back_max=1)))
    started_at = datetime(2028, 2, 29, 22, 30, tzinfo=OFFSET)
    command = hours(started_at=started_at, ended_at=started_at + timedelta(minutes=91))
    assert (command.ended_at.month, command.ended_at.day) == (3, 1)
    decided = given(facts).when(log, command, now=started_at + timedelta(days=1)).decided
    assert decided is not None
    assert decided.policy == 2
    assert decided.facts[0].tags() == ("record:R2", "day:V1:2028-02-29", "day:V1:2028-03-01")
    too_late = TooLongAgo("2028-02-29", 1)
    given(facts).when(log, command, now=started_at + timedelta(days=2)).refused(too_late)


@pytest.mark.parametrize(
    ("earlier", "span", "refusal"),
    [
        # The limit is 600 minutes a day, and each record here is at most 540.
        ("11-21 09:00 - 14:00", "11-21 14:00 - 19:00", None),
        ("11-21 09:00 - 14:00", "11-21 14:00 - 19:01", DayTooLong("2026-11-21", 601, 600)),
        # A service that crosses midnight counts on each day with what falls there.
        ("11-20 14:00 - 23:00", "11-20 23:00 - 11-21 01:00", None),
        ("11-20 13:59 - 22:59", "11-20 22:59 - 11-21 01:00", DayTooLong("2026-11-20", 601, 600)),
        ("11-21 02:00 - 11:00", "11-20 23:00 - 11-21 01:00", None),
        ("11-21 02:00 - 11:00", "11-20 23:00 - 11-21 01:01", DayTooLong("2026-11-21", 601, 600)),
        ("11-20 23:00 - 11-21 01:00", "11-21 02:00 - 11:00", None),
        ("11-20 23:00 - 11-21 01:01", "11-21 02:00 - 11:00", DayTooLong("2026-11-21", 601, 600)),
        ("11-20 23:00 - 11-21 01:00", "11-20 14:00 - 23:00", None),
        # One that ends at 24:00 exactly is of its own day alone.
        ("11-20 14:00 - 23:00", "11-20 23:00 - 24:00", None),
        ("11-20 13:59 - 22:59", "11-20 22:59 - 24:00", DayTooLong("2026-11-20", 601, 600)),
        ("11-21 00:00 - 09:00", "11-20 22:00 - 24:00", None),
    ],
)
def test_a_volunteer_serves_at_most_so_many_minutes_a_day(earlier: str, span: str, refusal: Refusal | None) -> None:
    facts = (*district(record_minutes_max=540), logged("R1", earlier))
    assert given(facts).when(log, hours(span)).refusal == refusal
    assert given(facts).when(log, hours(span, volunteer="V2")).refusal is None


@pytest.mark.parametrize(
    ("span", "overlaps"),
    [
        ("11-21 08:00 - 09:00", False),
        ("11-21 08:00 - 09:01", True),
        ("11-21 10:30 - 11:30", False),
        ("11-21 10:29 - 11:30", True),
        ("11-21 09:30 - 10:00", True),
        ("11-21 08:00 - 12:00", True),
        ("11-21 09:00 - 10:30", True),
        ("11-20 09:00 - 10:30", False),
        ("11-20 23:00 - 11-21 00:30", False),
    ],
)
def test_one_volunteers_records_never_overlap_but_may_touch(span: str, overlaps: bool) -> None:
    refusal = RecordOverlaps("R2", "R1") if overlaps else None
    assert given(DISTRICT, HOURS_LOGGED).when(log, hours(span)).refusal == refusal
    assert given(DISTRICT, HOURS_LOGGED).when(log, hours(span, volunteer="V2")).refusal is None


@pytest.mark.parametrize(
    ("earlier", "span", "overlaps"),
    [
        ("11-20 23:00 - 11-21 01:00", "11-21 00:30 - 01:30", True),
        ("11-20 23:00 - 11-21 01:00", "11-21 01:00 - 02:00", False),
        ("11-20 23:00 - 11-21 01:00", "11-20 22:00 - 23:00", False),
        ("11-20 23:00 - 11-21 01:00", "11-20 22:00 - 23:30", True),
        ("11-21 00:30 - 01:30", "11-20 23:00 - 11-21 01:00", True),
        ("11-21 01:00 - 02:00", "11-20 23:00 - 11-21 01:00", False),
        ("11-20 23:00 - 24:00", "11-21 00:00 - 01:00", False),
        ("11-20 23:00 - 11-21 01:00", "11-20 23:30 - 11-21 00:30", True),
    ],
)
def test_overlaps_are_seen_across_midnight(earlier: str, span: str, overlaps: bool) -> None:
    refusal = RecordOverlaps("R2", "R1") if overlaps else None
    assert given(DISTRICT, logged("R1", earlier)).when(log, hours(span)).refusal == refusal


@pytest.mark.parametrize(
    ("status", "frees"),
    [
        ((), False),
        ((HOURS_CONFIRMED,), False),
        ((HOURS_REJECTED,), True),
        ((HOURS_CONFIRMED, HOURS_REVERSED), True),
        ((HOURS_CONFIRMED, MINUTES_CAPPED), False),
        ((HOURS_CONFIRMED, MINUTES_CAPPED, CAPPED_MINUTES_RETURNED, HOURS_REVERSED), True),
    ],
)
def test_a_rejected_or_reversed_record_frees_its_time(status: tuple[Fact, ...], frees: bool) -> None:
    past = (HOURS_LOGGED, *status)
    overlapping = given(DISTRICT, past).when(log, hours())
    assert overlapping.refusal == (None if frees else RecordOverlaps("R2", "R1"))
    short_day = given(district(day_minutes_max=150), past).when(log, hours("11-21 14:00 - 15:30"))
    assert short_day.refusal == (None if frees else DayTooLong("2026-11-21", 180, 150))


def test_of_many_records_of_a_day_those_that_count_are_counted() -> None:
    past = [
        logged("R1", "11-21 06:00 - 10:00"),
        logged("R3", "11-21 07:00 - 11:00"),
        HoursRejected("R1", "S2", "wrong-time"),
        logged("R4", "11-21 11:00 - 15:00"),
    ]
    given(DISTRICT, past).when(log, hours("11-21 16:00 - 18:01")).refused(DayTooLong("2026-11-21", 601, 600))
    assert given(DISTRICT, past).when(log, hours("11-21 16:00 - 18:00")).accepted
    given(DISTRICT, past).when(log, hours("11-21 06:00 - 07:30")).refused(RecordOverlaps("R2", "R3"))


def test_a_service_lives_under_the_rules_of_the_day_on_which_it_began() -> None:
    second = PolicyAdopted(2, SATURDAY, Policy(record_minutes_min=60))
    half_hours = {"11-20 09:00 - 09:30": None, "11-20 23:45 - 11-21 00:15": None, "11-21 00:00 - 00:30": 60}
    for span, least in half_hours.items():
        outcome = given(DISTRICT, second).when(log, hours(span))
        if least is None:
            outcome.then(becomes(span), policy=1)
        else:
            outcome.refused(RecordTooShort(30, 60))
    given(DISTRICT, second).when(log, hours("11-21 00:00 - 01:00")).then(becomes("11-21 00:00 - 01:00"), policy=2)


def test_before_the_first_policy_nothing_is_logged() -> None:
    first = PolicyAdopted(1, SATURDAY, Policy())
    facts = (*(fact for fact in DISTRICT if not isinstance(fact, PolicyAdopted)), first)
    assert given(facts).when(log, hours("11-21 00:00 - 01:00")).accepted
    given(facts).when(log, hours("11-20 23:59 - 11-21 01:00")).refused(NoPolicyInForce("2026-11-20"))


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": at("11-21 10:30"), "ended_at": at("11-21 10:30")},
        {"started_at": at("11-21 10:31"), "ended_at": at("11-21 10:30")},
        {"started_at": "2026-11-21T09:00:30+08:00"},
        {"ended_at": "2026-11-21T10:30:00.000001+08:00"},
        {"started_at": "2026-11-21T09:00:00"},
        {"started_at": "0001-01-01T00:00:00+08:00"},
        {"ended_at": "9999-12-31T23:59:00-08:00"},
        {"minutes": 91},
        {"minutes": 0},
        {"minutes": 1441},
        {"grid": GRID},
        {"record": "13800138000"},
        {"volunteer": "张三"},
        {"service": ""},
        {"balance": 1},
    ],
)
def test_a_claim_that_makes_no_sense_is_turned_away_at_the_door(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        hours(**changes)


# ── Confirming ───────────────────────────────────────────────────────────────────────────────────────────────

CONFIRM = ConfirmHours(record="R1")
PAYS_POOL = PoolFunded("issuance", POOL, 90, "A1")


def test_confirmed_hours_are_credited_to_the_volunteers_household() -> None:
    given(DISTRICT, HOURS_LOGGED).when(confirm, CONFIRM).then(HOURS_CONFIRMED, policy=1)


def test_the_rounded_minutes_are_credited_not_the_claimed_ones() -> None:
    rounded = logged("R1", "11-21 09:00 - 09:52", service_minutes=60)
    given(DISTRICT, rounded).when(confirm, CONFIRM).then(HoursConfirmed("issuance", "household:H1", 60, "R1", "S2"))


@pytest.mark.parametrize(
    ("settings", "recipient", "source"),
    [
        ({"payer": "issuance"}, "H2", "issuance"),
        ({"payer": "pool"}, "H2", POOL),
        ({"payer": "recipient"}, "H2", "household:H2"),
        ({"payer": "recipient", "payer_without_recipient": "issuance"}, None, "issuance"),
        ({"payer": "recipient", "payer_without_recipient": "pool"}, None, POOL),
        ({"payer": "issuance", "payer_without_recipient": "pool"}, None, "issuance"),
        ({"payer": "pool", "payer_without_recipient": "issuance"}, None, POOL),
    ],
)
def test_the_policy_says_who_pays(settings: dict[str, Any], recipient: str | None, source: str) -> None:
    record = replace(HOURS_LOGGED, recipient_household=recipient)
    past = (PAYS_POOL, credited("H2", 90), record)
    paid = HoursConfirmed(source, "household:H1", 90, "R1", "S2")
    given(district(**settings), past).when(confirm, CONFIRM).then(paid)


@pytest.mark.parametrize("floor", [0, -60])
def test_a_recipient_pays_down_to_the_floor_and_no_further(floor: int) -> None:
    facts = (*district(payer="recipient", balance_minutes_min=floor), HOURS_LOGGED)
    assert given(facts, credited("H2", 90 + floor)).when(confirm, CONFIRM).accepted
    refused = BalanceTooLow("household:H2", 89 + floor, 90, floor)
    given(facts, credited("H2", 89 + floor)).when(confirm, CONFIRM).refused(refused)


def test_a_pool_pays_what_it_holds_whatever_the_floor_of_households() -> None:
    facts = (*district(payer="pool", balance_minutes_min=-60), HOURS_LOGGED)
    assert given(facts, PAYS_POOL).when(confirm, CONFIRM).accepted
    given(facts, replace(PAYS_POOL, minutes=89)).when(confirm, CONFIRM).refused(BalanceTooLow(POOL, 89, 90, 0))


def test_the_pool_of_the_place_of_service_pays() -> None:
    elsewhere = replace(HOURS_LOGGED, community=JINHU, grid=())
    facts = (*district(payer="pool"), elsewhere, PoolFunded("issuance", "pool:" + JINHU, 90, "A1"))
    paid = HoursConfirmed("pool:" + JINHU, "household:H1", 90, "R1", "S9")
    given(facts).when(confirm, CONFIRM, actor=STAFF_ELSEWHERE).then(paid)


@pytest.mark.parametrize(
    ("balance", "excess"),
    [(0, 0), (10, 0), (11, 1), (55, 45), (99, 89), (100, 90), (150, 90), (-50, 0)],
)
def test_what_lifts_a_balance_above_the_cap_is_the_excess(balance: int, excess: int) -> None:
    past = (credited("H1", balance), HOURS_LOGGED)
    cap: dict[str, Any] = {"balance_minutes_max": 100}

    refusing = given(district(**cap, above_balance_max="refuse"), past).when(confirm, CONFIRM)
    assert refusing.refusal == (RecordAboveCap("R1", balance, 90, 100) if excess else None)

    moved_on = (MinutesCapped("household:H1", POOL, excess, "R1"),) if excess else ()
    pooling = given(district(**cap, above_balance_max="pool"), past).when(confirm, CONFIRM)
    pooling.then(HOURS_CONFIRMED, *moved_on)

    honoured = replace(HOURS_CONFIRMED, minutes=90 - excess, honour_minutes=excess)
    given(district(**cap, above_balance_max="honour"), past).when(confirm, CONFIRM).then(honoured)


def test_the_excess_goes_to_the_pool_where_the_household_lives() -> None:
    past = (credited("H1", 100), replace(HOURS_LOGGED, community=JINHU, grid=()))
    capped = given(district(balance_minutes_max=100), past).when(confirm, CONFIRM, actor=STAFF_ELSEWHERE).accepted[1]
    assert capped == MinutesCapped("household:H1", POOL, 90, "R1")


def test_without_a_cap_a_balance_may_be_any() -> None:
    past = (credited("H1", 60_000_000), HOURS_LOGGED)
    given(district(balance_minutes_max=None), past).when(confirm, CONFIRM).then(HOURS_CONFIRMED)


@pytest.mark.parametrize(
    ("actor", "refusal"),
    [
        (LOGGER, ConfirmedByLogger("R1", "S1")),
        (volunteer("V1"), ConfirmedByLogger("R1", "V1")),
        (Actor("V1", "admin"), ConfirmedByLogger("R1", "V1")),
        (volunteer("V2"), ConfirmedByOwnHousehold("R1", "H1")),
        (Actor("V2", "staff", XINZHU), ConfirmedByOwnHousehold("R1", "H1")),
        (Actor("V2", "admin"), ConfirmedByOwnHousehold("R1", "H1")),
        (STAFF, None),
        (ADMIN, None),
        (volunteer("V3"), None),  # the recipient
        (Actor("V4", "staff", XINZHU), None),
    ],
)
def test_nobody_confirms_what_they_logged_gave_or_earn_from(actor: Actor, refusal: Refusal | None) -> None:
    assert given(DISTRICT, HOURS_LOGGED).when(confirm, CONFIRM, actor=actor).refusal == refusal


def test_who_moved_in_since_is_of_the_household_too() -> None:
    past = (HOURS_LOGGED, MemberRegistered("S2", "H1"))
    given(DISTRICT, past).when(confirm, CONFIRM).refused(ConfirmedByOwnHousehold("R1", "H1"))


def test_a_member_of_the_household_that_was_served_confirms_and_rates() -> None:
    rated = ConfirmHours(record="R1", rating=5)
    confirmed = replace(HOURS_CONFIRMED, confirmed_by="V3", confirmed_as="recipient", rating=5)
    given(DISTRICT, HOURS_LOGGED).when(confirm, rated, actor=volunteer("V3")).then(confirmed, policy=1)
    unrated = replace(confirmed, rating=0)
    given(DISTRICT, HOURS_LOGGED).when(confirm, CONFIRM, actor=volunteer("V3")).then(unrated)
    by_staff = replace(HOURS_CONFIRMED, rating=1)
    given(DISTRICT, HOURS_LOGGED).when(confirm, ConfirmHours(record="R1", rating=1)).then(by_staff)


@pytest.mark.parametrize("rating", [0, 6, 2.5])
def test_a_rating_is_from_one_to_five(rating: Any) -> None:
    with pytest.raises(ValidationError):
        ConfirmHours(record="R1", rating=rating)


def test_a_member_confirms_what_their_own_household_was_served_and_is_told_of_nothing_else() -> None:
    outcome = given(DISTRICT, HOURS_LOGGED).when(confirm, CONFIRM, actor=volunteer("V4"))
    outcome.refused(UnknownRecord("R1"))
    for stranger in ("V4", "V-NONE"):
        at_large = replace(HOURS_LOGGED, recipient_household=None)
        given(DISTRICT, at_large).when(confirm, CONFIRM, actor=volunteer(stranger)).refused(UnknownRecord("R1"))
    past = (HOURS_LOGGED, MemberRegistered("V5", "H2"))
    assert given(DISTRICT, past).when(confirm, CONFIRM, actor=volunteer("V5")).accepted


LOGGED_AT = NOW - timedelta(days=7)
SILENCE = SettleSilence(record="R1", logged_at=LOGGED_AT)


def test_silence_confirms_a_record_after_the_policys_days_and_says_so() -> None:
    past = given(district(silence_days=7), HOURS_LOGGED)
    confirmed = replace(HOURS_CONFIRMED, confirmed_by=TIME.id, confirmed_as="silence")
    past.when(settle_silence, SILENCE, actor=TIME).then(confirmed, policy=1)
    early = NOW - timedelta(minutes=1)
    past.when(settle_silence, SILENCE, actor=TIME, now=early).refused(SilenceNotOver("R1"))
    given(DISTRICT, HOURS_LOGGED).when(settle_silence, SILENCE, actor=TIME).refused(SilenceNotOver("R1"))
    for actor in (ADMIN, STAFF, volunteer("V3")):
        past.when(settle_silence, SILENCE, actor=actor).refused(LeftToTime(actor.id))


def test_silence_settles_under_every_other_rule_of_confirming() -> None:
    past = (HOURS_LOGGED, HOURS_REJECTED)
    settled = given(district(silence_days=7), past).when(settle_silence, SILENCE, actor=TIME)
    settled.refused(RecordAlreadySettled("R1", "rejected"))
    given(DISTRICT).when(settle_silence, SILENCE, actor=TIME).refused(UnknownRecord("R1"))
    poor = given(district(silence_days=7, payer="pool"), HOURS_LOGGED)
    poor.when(settle_silence, SILENCE, actor=TIME).refused(BalanceTooLow(POOL, 0, 90, 0))
    full = district(silence_days=7, balance_minutes_max=100, above_balance_max="refuse")
    rich = given(full, credited("H1", 60), HOURS_LOGGED)
    rich.when(settle_silence, SILENCE, actor=TIME).refused(RecordAboveCap("R1", 60, 90, 100))


SETTLED = [
    ((HOURS_REJECTED,), "rejected"),
    ((HOURS_CONFIRMED,), "confirmed"),
    ((HOURS_CONFIRMED, HOURS_REVERSED), "reversed"),
    ((HOURS_CONFIRMED, MINUTES_CAPPED, CAPPED_MINUTES_RETURNED, HOURS_REVERSED), "reversed"),
]


@pytest.mark.parametrize(("settled", "status"), SETTLED)
def test_a_record_is_settled_once(settled: tuple[Fact, ...], status: str) -> None:
    past = given(DISTRICT, HOURS_LOGGED, settled)
    past.when(confirm, CONFIRM).refused(RecordAlreadySettled("R1", status))
    past.when(reject, RejectHours(record="R1", reason="other")).refused(RecordAlreadySettled("R1", status))


@pytest.mark.parametrize(
    ("decide", "command"),
    [
        (confirm, CONFIRM),
        (reject, RejectHours(record="R1", reason="not-served")),
        (reverse, ReverseHours(record="R1", reason="duplicate")),
    ],
)
def test_a_record_is_settled_by_staff_of_its_community_if_it_exists(decide: Any, command: Any) -> None:
    given(DISTRICT).when(decide, command).refused(UnknownRecord("R1"))
    past = (HOURS_LOGGED, HOURS_CONFIRMED) if decide is reverse else (HOURS_LOGGED,)
    given(DISTRICT, past).when(decide, command, actor=STAFF_ELSEWHERE).refused(UnknownRecord("R1"))
    for actor in (STAFF, ADMIN):
        assert given(DISTRICT, past).when(decide, command, actor=actor).accepted


def test_a_service_begun_under_the_old_rules_is_confirmed_under_them() -> None:
    second = PolicyAdopted(2, SATURDAY, Policy(payer="pool", balance_minutes_max=100, above_balance_max="refuse"))
    crossing = logged("R1", "11-20 23:30 - 11-21 01:00")
    past = (credited("H1", 100), second)
    given(DISTRICT, past, crossing).when(confirm, CONFIRM).then(HOURS_CONFIRMED, policy=1)
    given(DISTRICT, past, PAYS_POOL, HOURS_LOGGED).when(confirm, CONFIRM).refused(RecordAboveCap("R1", 100, 90, 100))
    given(DISTRICT, past, HOURS_LOGGED).when(confirm, CONFIRM).refused(BalanceTooLow(POOL, 0, 90, 0))


# ── Rejecting and reversing ──────────────────────────────────────────────────────────────────────────────────

REVERSE = ReverseHours(record="R1", reason="duplicate")


def test_a_logged_record_is_rejected_with_its_reason() -> None:
    command = RejectHours(record="R1", reason="not-served")
    given(DISTRICT, HOURS_LOGGED).when(reject, command).then(HOURS_REJECTED, policy=0)


def test_a_reversal_gives_back_exactly_what_was_credited() -> None:
    given(DISTRICT, HOURS_LOGGED, HOURS_CONFIRMED).when(reverse, REVERSE).then(HOURS_REVERSED, policy=0)


@pytest.mark.parametrize("above", ["pool", "honour"])
@pytest.mark.parametrize("payer", ["issuance", "pool", "recipient"])
@pytest.mark.parametrize("balance", [0, 10, 55, 100, 150])
def test_a_reversal_leaves_every_account_as_if_the_record_had_never_been(above: str, payer: str, balance: int) -> None:
    facts = district(balance_minutes_max=100, above_balance_max=above, payer=payer)
    past = (*facts, PAYS_POOL, credited("H1", balance), credited("H2", 90), HOURS_LOGGED)
    confirmed = given(past).when(confirm, CONFIRM).accepted
    reversed_ = given(past, confirmed).when(reverse, REVERSE).accepted
    moved: Counter[str] = Counter()
    for movement in (*confirmed, *reversed_):
        moved[movement.source] -= movement.minutes
        moved[movement.target] += movement.minutes
    assert not any(moved.values())
    assert moved.keys() >= {"household:H1"}


def test_what_went_on_to_the_pool_comes_back_first() -> None:
    past = (HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED)
    given(DISTRICT, past).when(reverse, REVERSE).then(CAPPED_MINUTES_RETURNED, HOURS_REVERSED)


def test_what_was_only_honoured_is_not_taken_back_from_the_balance() -> None:
    honoured = replace(HOURS_CONFIRMED, minutes=60, honour_minutes=30)
    undone = HoursReversed("household:H1", "issuance", 60, "R1", "S2", "duplicate")
    given(DISTRICT, HOURS_LOGGED, honoured).when(reverse, REVERSE).then(undone)


def test_a_reversal_is_not_refused_for_what_was_spent_since() -> None:
    spent = HoursConfirmed("household:H1", "household:H3", 90, "R9", "S9")
    past = (*DISTRICT, HOURS_LOGGED, HOURS_CONFIRMED, spent)
    undone = given(past).when(reverse, REVERSE).then(HOURS_REVERSED).facts
    assert given(past, undone).state(Account.of("household:H1")).balance_minutes == -90


@pytest.mark.parametrize(
    ("past", "refusal"),
    [
        ((), RecordNotConfirmed("R1", "logged")),
        ((HOURS_REJECTED,), RecordNotConfirmed("R1", "rejected")),
        ((HOURS_CONFIRMED, HOURS_REVERSED), RecordAlreadyReversed("R1")),
    ],
)
def test_only_a_confirmed_record_is_reversed_and_once(past: tuple[Fact, ...], refusal: Refusal) -> None:
    given(DISTRICT, HOURS_LOGGED, past).when(reverse, REVERSE).refused(refusal)


def test_a_record_remembers_all_that_became_of_it() -> None:
    past = (HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED, CAPPED_MINUTES_RETURNED, HOURS_REVERSED)
    record = given(past).state(ServiceRecord.of("R1"))
    assert record == ServiceRecord("R1", "reversed", HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED)
    assert not record.counts


# ── Days ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("span", "first", "last"),
    [
        ("11-20 09:00 - 10:00", FRIDAY, FRIDAY),
        ("11-20 23:00 - 24:00", FRIDAY, FRIDAY),
        ("11-20 00:00 - 24:00", FRIDAY, FRIDAY),
        ("11-20 23:00 - 11-21 00:01", FRIDAY, SATURDAY),
        ("11-20 23:59 - 24:00", FRIDAY, FRIDAY),
    ],
)
def test_a_service_touches_the_days_on_which_it_has_minutes(span: str, first: date, last: date) -> None:
    assert days_of(*between(span)) == (first, last)


@hypothesis_given(
    st.integers(0, 10 * 366 * 1440),
    st.integers(1, 1440),
    st.integers(-48, 56).map(lambda quarters: timezone(timedelta(minutes=15 * quarters))),
)
def test_the_minutes_of_all_days_are_the_minutes_of_the_service(since_2020: int, minutes: int, zone: timezone) -> None:
    started_at = datetime(2020, 1, 1, tzinfo=zone) + since_2020 * MINUTE
    ended_at = started_at + minutes * MINUTE
    first, last = days_of(started_at, ended_at)
    assert first == started_at.date()
    assert (last - first).days in (0, 1)
    assert sum(minutes_on(day, started_at, ended_at) for day in {first, last}) == minutes
    assert all(minutes_on(day, started_at, ended_at) > 0 for day in (first, last))
    for beyond in (first - timedelta(days=1), last + timedelta(days=1)):
        assert minutes_on(beyond, started_at, ended_at) == 0


def test_the_example_command_is_logged() -> None:
    assert given(DISTRICT).when(log, COMMAND_EXAMPLES[log], command_id=COMMAND_ID).accepted
