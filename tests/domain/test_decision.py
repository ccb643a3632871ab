"""How decisions are driven: what they ask is what they are told, and several of them hold together or not at all."""

import contextlib
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from domain.account import (
    Account,
    BalanceTooLow,
    FundPool,
    GrantedAlone,
    GrantMinutes,
    MinutesGranted,
    PoolFunded,
    fund_pool,
    grant_minutes,
)
from domain.certificate import Certificate, certificate_numbers
from domain.community import Community, CommunityAlreadyRegistered, RegisterCommunity, register_community
from domain.consent import Consent
from domain.decision import (
    Context,
    Decided,
    RowsRefused,
    drive,
    fold_facts,
    read,
    read_all,
    together,
)
from domain.desk import Paper
from domain.disclosure import Disclosure, seals
from domain.dispute import Dispute
from domain.evidence import Attached
from domain.expiry import Expiry
from domain.grant import Grant, StartingGrant
from domain.group import Group
from domain.hours import (
    ConfirmHours,
    DayTooLong,
    HoursLogged,
    InTheFuture,
    LogHours,
    LogManyHours,
    RecordOverlaps,
    RecordTooShort,
    ServiceRecord,
    UnknownRecord,
    VolunteerDay,
    confirm,
    log,
    log_many,
)
from domain.household import (
    EnrolVolunteer,
    Household,
    MemberRegistered,
    Person,
    RegisterMember,
    Roster,
    VolunteerEnrolled,
    enrol_volunteer,
    register_member,
)
from domain.inspection import Finding, Sample
from domain.ledger import ledger
from domain.opening import Opening
from domain.partner import Partner, Reward
from domain.policy import Policy, PolicyAdopted, policy_book, policy_proposals
from domain.recognition import Recognition, Stars
from domain.redemption import HouseholdMonth, Reservation
from domain.request import AskedRequests, ServiceRequest
from domain.sheet import Sheet
from domain.statement import StatementState, Trust, issued_statements
from domain.transfer import FamilyTies, TransferMonth
from domain.visit import Attendance, DoorCode, Visit
from tests.controls import (
    ADMIN,
    AUDITOR,
    COMMAND_EXAMPLES,
    COMMAND_ID,
    COMMAND_PASTS,
    COMMANDS_OF_AUDITORS,
    COMMANDS_OF_TIME,
    COMMUNITY_REGISTERED,
    DISTRICT,
    FACT_EXAMPLES,
    FIRST_COMMANDS,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    LOGGER,
    NOW,
    ORDINARY_PAST,
    TIME,
    XINZHU,
    ZONE,
    at,
    between,
    district,
    given,
    logged,
)

POOL = "pool:" + XINZHU
CONTEXT = Context(ADMIN, NOW, COMMAND_ID, ZONE)
FOLDS = [
    reading.fold
    for reading in (
        ledger,
        policy_book,
        Community.of(""),
        Household.of(""),
        Person.of(""),
        Account.of(""),
        GrantedAlone.of(""),
        ServiceRecord.of(""),
        VolunteerDay.of("", NOW.date()),
        ServiceRequest.of(""),
        AskedRequests.of(""),
        Attached.of(""),
        Attendance.of("", NOW.date()),
        DoorCode.of(""),
        Paper.of(""),
        Sheet.of(""),
        Visit.of(""),
        Dispute.of(""),
        Partner.of(""),
        Reward.of(""),
        Reservation.of(""),
        HouseholdMonth.of("", "", NOW),
        Roster.of(""),
        Trust.of(""),
        StatementState.of(""),
        issued_statements,
        policy_proposals,
        Consent.of(""),
        Disclosure.of("2026-10"),
        seals,
        Sample.of(""),
        Finding.of(""),
        FamilyTies.of(""),
        TransferMonth.of("", NOW.date()),
        Group.of(""),
        Grant.of(""),
        StartingGrant.of(""),
        Opening.of(""),
        Expiry.of(""),
        Stars.of(""),
        Recognition.of(""),
        Certificate.of(""),
        certificate_numbers,
    )
]


def sheet(*spans: str, volunteer: str = "V1") -> LogManyHours:
    """V1's hours, numbered R10, R11, …"""
    rows = []
    for number, span in enumerate(spans, 10):
        started_at, ended_at = between(span)
        rows.append(
            LogHours(
                record=f"R{number}",
                volunteer=volunteer,
                recipient_household="H2",
                service="助餐",
                started_at=started_at,
                ended_at=ended_at,
            )
        )
    return LogManyHours(hours=tuple(rows))


# ── Folds ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fold", FOLDS, ids=lambda fold: fold.prefix)
def test_a_fold_takes_every_fact_that_bears_its_tag_and_no_other(fold: Any) -> None:
    tagged = {type(fact) for fact in FACT_EXAMPLES for tag in fact.tags() if tag.startswith(fold.prefix + ":")}
    assert tagged == set(fold.fact_types)


@pytest.mark.parametrize("fold", FOLDS, ids=lambda fold: fold.prefix)
def test_a_fold_has_an_answer_for_each_of_its_facts_and_never_refuses(fold: Any) -> None:
    for fact in FACT_EXAMPLES:
        for tag in fact.tags():
            if tag.startswith(fold.prefix + ":"):
                once = fold.evolve(fold.start(tag), fact)
                assert isinstance(once, type(fold.start(tag)))
                assert isinstance(fold.evolve(once, fact), type(once))


def test_every_tag_belongs_to_a_fold() -> None:
    prefixes = {fold.prefix for fold in FOLDS}
    assert len(prefixes) == len(FOLDS)
    assert {tag.partition(":")[0] for fact in FACT_EXAMPLES for tag in fact.tags()} == prefixes
    assert not [(a, b) for a in prefixes for b in prefixes if a != b and a.startswith(b)]  # the write loop's short cut


def test_a_state_is_folded_from_the_facts_of_its_own_tag() -> None:
    others = (logged("R2", "11-21 14:00 - 15:00"), replace(HOURS_CONFIRMED, record="R3"))
    assert given(HOURS_LOGGED, others).state(ServiceRecord.of("R1")).status == "logged"
    assert fold_facts(ServiceRecord.of("R9"), [HOURS_LOGGED, *others]) == ServiceRecord("R9")


# ── Driving ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("decide", COMMAND_EXAMPLES, ids=lambda decide: decide.__name__)
def test_every_example_command_is_accepted_twice_alike(decide: Any) -> None:
    ordinary = () if decide in FIRST_COMMANDS else ORDINARY_PAST
    facts = given(ordinary, COMMAND_PASTS.get(decide, ()))
    actor = TIME if decide in COMMANDS_OF_TIME else AUDITOR if decide in COMMANDS_OF_AUDITORS else ADMIN
    first, second = (facts.when(decide, COMMAND_EXAMPLES[decide], actor=actor) for _ in range(2))
    assert first.accepted == second.accepted
    assert first.decided == second.decided


def test_a_mapping_must_hold_what_a_decision_asks_for() -> None:
    with pytest.raises(KeyError):
        drive(confirm(ConfirmHours(record="R1"), CONTEXT), {})


def test_one_reading_gives_its_state_and_several_give_a_tuple() -> None:
    def ask(*readings: Any) -> Any:
        answer = yield from read(*readings)
        return answer

    state = given(COMMUNITY_REGISTERED).state
    one, other = Community.of(XINZHU), Community.of("别处")
    assert drive(ask(one), state) == state(one)
    assert drive(ask(one, other), state) == (state(one), state(other))
    assert drive(read_all([other, one]), state) == (state(other), state(one))
    assert drive(read_all([]), {}) == ()


def test_facts_are_paired_with_the_policy_each_was_decided_under() -> None:
    a, b = FACT_EXAMPLES[:2]
    assert list(Decided(3, (a, b)).each()) == [(3, a), (3, b)]
    assert list(Decided(0, (a, b), (1, 2)).each()) == [(1, a), (2, b)]
    with pytest.raises(ValueError, match="zip"):
        list(Decided(0, (a, b), (1,)).each())


# ── Together ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sheet_is_logged_whole() -> None:
    command = sheet("11-20 09:00 - 10:00", "11-20 10:00 - 11:00")
    given(DISTRICT).when(log_many, command).then(
        logged("R10", "11-20 09:00 - 10:00", logged_by="S2"),
        logged("R11", "11-20 10:00 - 11:00", logged_by="S2"),
        policy=1,
    )


def test_one_bad_row_keeps_the_whole_sheet_out_and_every_bad_row_is_named() -> None:
    command = sheet("11-20 09:00 - 09:14", "11-20 10:00 - 11:00", "11-22 11:30 - 12:30", "11-20 10:30 - 11:30")
    given(DISTRICT).when(log_many, command).refused(
        RowsRefused(
            (
                (0, RecordTooShort(14, 15)),
                (2, InTheFuture("2026-11-22T12:30:00+08:00")),
                (3, RecordOverlaps("R13", "R11")),
            )
        )
    )


def test_a_refused_row_leaves_its_time_to_later_rows() -> None:
    command = sheet("11-20 09:00 - 09:14", "11-20 09:00 - 10:00")
    given(DISTRICT).when(log_many, command).refused(RowsRefused(((0, RecordTooShort(14, 15)),)))


def test_later_rows_see_earlier_ones() -> None:
    day = sheet("11-20 06:00 - 14:00", "11-20 14:00 - 16:01")
    given(DISTRICT).when(log_many, day).refused(RowsRefused(((1, DayTooLong("2026-11-20", 601, 600)),)))
    assert given(DISTRICT).when(log_many, sheet("11-20 06:00 - 14:00", "11-20 14:00 - 16:00")).accepted
    crossing = sheet("11-19 23:00 - 11-20 01:00", "11-20 00:30 - 01:30")
    given(DISTRICT).when(log_many, crossing).refused(RowsRefused(((1, RecordOverlaps("R11", "R10")),)))


def test_rows_see_the_ledger_as_well_as_each_other() -> None:
    past = (DISTRICT, logged("R1", "11-20 06:00 - 10:00"))
    command = sheet("11-20 10:00 - 14:00", "11-20 14:00 - 16:01")
    given(*past).when(log_many, command).refused(RowsRefused(((1, DayTooLong("2026-11-20", 601, 600)),)))


def test_a_state_that_is_read_late_holds_what_earlier_rows_decided() -> None:
    """The pool's balance is first read by the grant, after the funding was decided without reading it."""
    fund, grant = FundPool(community=XINZHU, minutes=60), GrantMinutes(household="H2", minutes=60, need="illness")
    state = given(DISTRICT).state
    granted = MinutesGranted(POOL, "household:H2", 60, "A1", "illness", CONTEXT.now.date())
    decided = drive(together([partial(fund_pool, fund, CONTEXT), partial(grant_minutes, grant, CONTEXT)]), state)
    assert decided.facts == (PoolFunded("issuance", POOL, 60, "A1"), granted)
    assert decided.policies == (0, 1)
    with pytest.raises(RowsRefused) as refused:
        drive(together([partial(grant_minutes, grant, CONTEXT), partial(fund_pool, fund, CONTEXT)]), state)
    assert refused.value.rows == ((0, BalanceTooLow(POOL, 0, 60, 0)),)


def test_decisions_of_different_kinds_build_on_each_other() -> None:
    rows = sheet("11-20 09:00 - 10:00", volunteer="V7").hours
    decided = drive(
        together(
            [
                partial(register_member, RegisterMember(member="V7", household="H1", name=None), CONTEXT),
                partial(enrol_volunteer, EnrolVolunteer(volunteer="V7"), CONTEXT),
                partial(log, rows[0], replace(CONTEXT, actor=LOGGER)),
                partial(confirm, ConfirmHours(record="R10"), CONTEXT),
                partial(confirm, ConfirmHours(record="R1"), CONTEXT),
            ]
        ),
        given(DISTRICT, HOURS_LOGGED).state,
    )
    assert decided.facts == (
        MemberRegistered("V7", "H1"),
        VolunteerEnrolled("V7"),
        logged("R10", "11-20 09:00 - 10:00", volunteer="V7"),
        replace(HOURS_CONFIRMED, record="R10", minutes=60, confirmed_by="A1"),
        replace(HOURS_CONFIRMED, confirmed_by="A1"),
    )


def test_balances_run_through_the_rows() -> None:
    state = given(district(balance_minutes_max=100), HOURS_LOGGED, logged("R2", "11-20 09:00 - 10:00")).state
    confirms = [partial(confirm, ConfirmHours(record=record), CONTEXT) for record in ("R1", "R2", "R9")]
    with pytest.raises(RowsRefused) as refused:
        drive(together(confirms), state)
    assert refused.value.rows == ((2, UnknownRecord("R9")),)
    decided = drive(
        together([partial(confirm, ConfirmHours(record=record), CONTEXT) for record in ("R1", "R2")]), state
    )
    assert [(type(fact).__name__, fact.minutes) for fact in decided.facts] == [  # type: ignore[attr-defined]
        ("HoursConfirmed", 90),
        ("HoursConfirmed", 60),
        ("MinutesCapped", 50),
    ]


def test_rows_of_one_sheet_may_fall_under_two_policies() -> None:
    second = PolicyAdopted(2, at("11-21 00:00").date(), Policy())
    decided = given(DISTRICT, second).when(log_many, sheet("11-20 09:00 - 10:00", "11-21 09:00 - 10:00")).decided
    assert decided is not None
    assert [(policy, fact.record) for policy, fact in decided.each() if isinstance(fact, HoursLogged)] == [
        (1, "R10"),
        (2, "R11"),
    ]


def test_the_same_thing_twice_in_one_batch_is_refused_the_second_time() -> None:
    twice = [partial(register_community, RegisterCommunity(community="金花茶"), CONTEXT)] * 2
    with pytest.raises(RowsRefused) as refused:
        drive(together(twice), given().state)
    assert refused.value.rows == ((1, CommunityAlreadyRegistered("金花茶")),)


def test_a_broken_decision_is_no_refusal() -> None:
    def broken() -> Any:
        yield from read(ledger)
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        drive(together([broken]), given().state)


def test_a_sheet_asks_in_as_few_rounds_as_one_of_its_rows() -> None:
    """Every round is a query to the journal, so it must not grow with the rows."""
    hours = [f"11-{day:02} {hour:02}:00 - {hour + 1:02}:00" for day in range(11, 21) for hour in range(9, 15)]
    state = given(DISTRICT).state
    rounds = []
    for rows in (hours[:1], hours):
        decision = log_many(LogManyHours(hours=tuple(sheet(*rows).hours)), CONTEXT)
        question = next(decision)
        number = 1
        with contextlib.suppress(StopIteration):
            while True:
                question = decision.send(tuple(map(state, question)))
                number += 1
        rounds.append(number)
    assert rounds[0] == rounds[1]
