"""A row of a district's own books: what it implies is registered, and the rules of its day hold."""

from typing import Any

import pytest
from msgspec.structs import replace

from domain.account import BalanceTooLow, HoursConfirmed, HoursReversed, MinutesCapped, PoolFunded
from domain.community import CommunityRegistered, GridRegistered
from domain.fact import Fact
from domain.hours import (
    ConfirmedByLogger,
    ConfirmedByOwnHousehold,
    DayTooLong,
    HoursLogged,
    HoursRejected,
    ImportHours,
    InTheFuture,
    MemberElsewhere,
    OwnHouseholdServed,
    RecordAboveCap,
    RecordAlreadyLogged,
    RecordOverlaps,
    RecordTooLong,
    RecordTooShort,
    import_hours,
)
from domain.household import HouseholdRegistered, MemberRegistered, VolunteerEnrolled
from domain.policy import NoPolicyInForce, Policy, PolicyAdopted
from domain.refusal import Refusal
from tests.controls import (
    ADMIN,
    CAPPED_MINUTES_RETURNED,
    COMMAND_EXAMPLES,
    DISTRICT,
    GRID,
    HOURS_LOGGED,
    JINHU,
    LEDGER_OPENED,
    NOW,
    POLICY_ADOPTED,
    XINZHU,
    at,
    between,
    credited,
    district,
    given,
    logged,
)

NOTHING_YET = (LEDGER_OPENED, POLICY_ADOPTED)
PLACES = ("第3网格", "3-2元网格", "5栋")
POOL = "pool:" + XINZHU


def row(span: str = "11-18 09:00 - 10:30", **changes: Any) -> ImportHours:
    started_at, ended_at = between(span)
    times = {"started_at": started_at, "ended_at": ended_at, "minutes": (ended_at - started_at).seconds // 60}
    return replace(COMMAND_EXAMPLES[import_hours], **(times | changes))


def becomes(span: str = "11-18 09:00 - 10:30", **changes: Any) -> HoursLogged:
    return logged("R7", span, **({"logged_by": "V1"} | changes))


CONFIRMED = HoursConfirmed("issuance", "household:H1", 90, "R7", "S2")
REVERSED = HoursReversed("household:H1", "issuance", 90, "R7", "S2", "imported")


def test_in_a_district_that_is_known_a_row_is_logged_and_settled() -> None:
    given(DISTRICT).when(import_hours, row(), actor=ADMIN).then(becomes(), CONFIRMED, policy=1)


def test_into_an_empty_ledger_a_row_brings_all_that_it_speaks_of() -> None:
    given(NOTHING_YET).when(import_hours, row(grid=PLACES, household_community="𠮷祥社区")).then(
        CommunityRegistered(XINZHU, XINZHU),
        GridRegistered(XINZHU, PLACES[:1]),
        GridRegistered(XINZHU, PLACES[:2]),
        GridRegistered(XINZHU, PLACES),
        CommunityRegistered("𠮷祥社区", "𠮷祥社区"),
        HouseholdRegistered("H1", "𠮷祥社区"),
        HouseholdRegistered("H2", XINZHU, PLACES),
        MemberRegistered("V1", "H1"),
        VolunteerEnrolled("V1"),
        becomes(grid=PLACES),
        CONFIRMED,
        policy=1,
    )


def test_only_what_is_missing_is_registered() -> None:
    command = row(volunteer="V3", household="H2", recipient_household="H9", grid=(*GRID, "3-2"))
    given(DISTRICT).when(import_hours, command).then(
        GridRegistered(XINZHU, (*GRID, "3-2")),
        HouseholdRegistered("H9", XINZHU, (*GRID, "3-2")),
        VolunteerEnrolled("V3"),
        becomes(volunteer="V3", household="H2", recipient_household="H9", grid=(*GRID, "3-2"), logged_by="V3"),
        replace(CONFIRMED, target="household:H2"),
    )


def test_service_for_the_community_at_large_registers_no_recipient() -> None:
    facts = given(NOTHING_YET).when(import_hours, row(recipient_household=None, grid=())).accepted
    assert [fact for fact in facts if isinstance(fact, HouseholdRegistered)] == [HouseholdRegistered("H1", XINZHU)]
    assert facts[-2:] == (becomes(recipient_household=None, grid=()), CONFIRMED)


@pytest.mark.parametrize(
    ("status", "confirmed_by", "settling"),
    [
        ("logged", None, ()),
        ("logged", "S2", ()),
        ("confirmed", "S2", (CONFIRMED,)),
        ("rejected", "S2", (HoursRejected("R7", "S2", "imported"),)),
        ("reversed", "S2", (CONFIRMED, REVERSED)),
    ],
)
def test_a_row_ends_where_the_books_say(status: Any, confirmed_by: str | None, settling: tuple[Fact, ...]) -> None:
    command = row(status=status, confirmed_by=confirmed_by)
    given(DISTRICT).when(import_hours, command).then(becomes(), *settling)


def test_a_reversed_row_undoes_what_went_on_to_the_pool_too() -> None:
    facts = (*district(balance_minutes_max=100), credited("H1", 40))
    given(facts).when(import_hours, row(status="reversed")).then(
        becomes(),
        CONFIRMED,
        MinutesCapped("household:H1", POOL, 30, "R7"),
        replace(CAPPED_MINUTES_RETURNED, record="R7"),
        REVERSED,
    )


@pytest.mark.parametrize("home", [XINZHU, JINHU])
def test_the_first_record_of_a_household_may_lift_it_above_the_cap(home: str) -> None:
    facts = (LEDGER_OPENED, replace(POLICY_ADOPTED, policy=Policy(balance_minutes_max=60)))
    followed = given(facts).when(import_hours, row(household_community=home)).accepted
    assert followed[-2:] == (CONFIRMED, MinutesCapped("household:H1", "pool:" + home, 30, "R7"))


def test_a_household_keeps_its_community_whatever_a_row_says() -> None:
    facts = (*district(balance_minutes_max=60), HOURS_LOGGED)
    followed = given(facts).when(import_hours, row(household_community=JINHU)).accepted
    assert followed == (becomes(), CONFIRMED, MinutesCapped("household:H1", POOL, 30, "R7"))


def test_history_may_be_as_old_as_the_rules() -> None:
    first = PolicyAdopted(1, at("01-01 00:00").date(), Policy(log_days_back_max=0))
    given(LEDGER_OPENED, first).when(import_hours, row("01-01 00:00 - 01:30")).then(
        *given(LEDGER_OPENED, first).when(import_hours, row("01-01 00:00 - 01:30")).accepted[:-2],
        becomes("01-01 00:00 - 01:30"),
        CONFIRMED,
    )
    outcome = given(LEDGER_OPENED, replace(first, effective_on=at("01-02 00:00").date())).when(
        import_hours, row("01-01 23:00 - 01-02 00:30")
    )
    outcome.refused(NoPolicyInForce("2026-01-01"))


def test_a_row_lives_under_the_rules_of_the_day_on_which_it_began() -> None:
    second = PolicyAdopted(2, at("11-18 00:00").date(), Policy(payer="pool"))
    crossing = "11-17 23:00 - 11-18 00:30"
    given(DISTRICT, second).when(import_hours, row(crossing)).then(becomes(crossing), CONFIRMED, policy=1)
    given(DISTRICT, second).when(import_hours, row()).refused(BalanceTooLow(POOL, 0, 90, 0))
    paid = replace(CONFIRMED, source=POOL)
    funded = PoolFunded("issuance", POOL, 90, "A1")
    given(DISTRICT, second, funded).when(import_hours, row()).then(becomes(), paid, policy=2)


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (row(volunteer="V4"), MemberElsewhere("V4", "H1")),
        (row(household="H2", recipient_household=None), MemberElsewhere("V1", "H2")),
        (row(recipient_household="H1"), OwnHouseholdServed("H1")),
        (row(confirmed_by="V1"), ConfirmedByLogger("R7", "V1")),
        (row(confirmed_by="V2"), ConfirmedByOwnHousehold("R7", "H1")),
        (row(status="reversed", confirmed_by="V2"), ConfirmedByOwnHousehold("R7", "H1")),
        (row("11-22 11:00 - 12:01"), InTheFuture("2026-11-22T12:01:00+08:00")),
        (row(minutes=14), RecordTooShort(14, 15)),
        (row("11-18 09:00 - 17:01"), RecordTooLong(481, 480)),
        (row("11-21 10:29 - 11:30"), RecordOverlaps("R7", "R1")),
        (row(record="R1"), RecordAlreadyLogged("R1")),
    ],
)
def test_a_row_is_refused(command: ImportHours, refusal: Refusal) -> None:
    given(DISTRICT, HOURS_LOGGED).when(import_hours, command).refused(refusal)


@pytest.mark.parametrize(
    "command",
    [
        row("11-22 11:00 - 12:00"),
        row(minutes=15),
        row("11-18 09:00 - 17:00"),
        row("11-21 10:30 - 11:30"),
        row(confirmed_by="V3"),
        row(confirmed_by="S9"),
        row(status="rejected", confirmed_by="V1"),
        row(community=JINHU, grid=()),
    ],
)
def test_a_row_just_within_the_rules_is_taken(command: ImportHours) -> None:
    assert given(DISTRICT, HOURS_LOGGED).when(import_hours, command, now=NOW).accepted


@pytest.mark.parametrize("length", ["12:00", "12:01"])
def test_the_day_of_an_imported_row_is_bounded_too(length: str) -> None:
    past = (logged("R1", "11-18 00:00 - 08:00"), logged("R2", "11-18 08:00 - 09:00"))
    outcome = given(DISTRICT, past).when(import_hours, row("11-18 11:00 - " + length))
    assert outcome.refusal == (None if length == "12:00" else DayTooLong("2026-11-18", 601, 600))


def test_at_the_cap_a_row_is_refused_where_the_policy_refuses() -> None:
    facts = (*district(balance_minutes_max=100, above_balance_max="refuse"), credited("H1", 11))
    given(facts).when(import_hours, row()).refused(RecordAboveCap("R7", 11, 90, 100))


def test_rows_of_older_books_need_no_reason_for_coming_late() -> None:
    facts = district(late_after_days=0, late_needs_reason=True)
    assert given(facts).when(import_hours, COMMAND_EXAMPLES[import_hours]).accepted
