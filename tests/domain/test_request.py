"""Service requests: asked for, offered, accepted, and what becomes of them; and the minutes that are held for them."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import Account, BalanceTooLow, HoursConfirmed, HoursReversed, MinutesHeld, MinutesReleased
from domain.community import CommunityDissolved, OutsideCommunity, UnknownCommunity, UnknownGrid
from domain.decision import Actor, Context, Decided, LeftToTime, drive
from domain.fact import Fact
from domain.hours import (
    ConfirmHours,
    HoursLogged,
    HoursRejected,
    LateWithoutReason,
    NotYourself,
    OwnHouseholdServed,
    RecordAlreadySettled,
    RecordOverlaps,
    RecordTooLong,
    RecordTooShort,
    RejectHours,
    RequestFulfilled,
    confirm,
    import_hours,
    reject,
)
from domain.household import (
    ClosedHousehold,
    HouseholdClosed,
    HouseholdMoved,
    HouseholdRegistered,
    MemberHasDied,
    MemberLeft,
    MemberRegistered,
    NotEnrolled,
    UnknownHousehold,
    UnknownMember,
)
from domain.policy import NoPolicyInForce
from domain.refusal import Refusal
from domain.request import (
    NEEDS_ZH,
    STATUS_ZH,
    AcceptOffer,
    AskForService,
    CancelRequest,
    ExpireRequest,
    FulfilRequest,
    FulfilWithRecord,
    MakeOffer,
    OfferAccepted,
    OfferAlreadyMade,
    OfferForSomebodyElse,
    OfferMade,
    OfferWithdrawn,
    OwnOfferAccepted,
    RecordNotForRequest,
    RequestAlreadyAsked,
    RequestAsked,
    RequestCancelled,
    RequestExpired,
    RequestInOtherStatus,
    RequestNeed,
    RequestNotOver,
    RequestRescheduled,
    RescheduleRequest,
    ServedOutsideWindow,
    ServiceRequest,
    Status,
    UnknownOffer,
    UnknownRequest,
    WindowOver,
    WithdrawOffer,
    accept,
    ask,
    cancel,
    expire,
    fulfil,
    fulfil_with_record,
    offer,
    reschedule,
    withdraw,
)
from tests.controls import (
    ADMIN,
    COMMAND_EXAMPLES,
    COMMAND_ID,
    DISTRICT,
    GRID,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    JINHU,
    LEDGER_OPENED,
    MEMBER_DIED,
    NOW,
    OFFER_ACCEPTED,
    OFFER_MADE,
    OFFER_WITHDRAWN,
    REQUEST_ASKED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    REQUEST_FULFILLED,
    REQUEST_RESCHEDULED,
    STAFF,
    STAFF_ELSEWHERE,
    TIME,
    XINZHU,
    ZONE,
    at,
    credited,
    district,
    given,
    logged,
    volunteer,
)

V1, V2, V3, V4 = (volunteer(f"V{number}") for number in (1, 2, 3, 4))
OFFERED = (*DISTRICT, REQUEST_ASKED, OFFER_MADE)
ACCEPTED = (*OFFERED, OFFER_ACCEPTED)
HOLDING = {"request_hold": True, "payer": "recipient"}
HELD = MinutesHeld("household:H2", 60, "request:Q1")
RELEASED = MinutesReleased("household:H2", 60, "request:Q1")
SOMEBODY_ELSES = (*DISTRICT, MemberRegistered("V8", "H3"))


def asking(**changes: Any) -> AskForService:
    """H2 asks for an hour of tomorrow."""
    body: dict[str, Any] = {
        "request": "Q1",
        "household": "H2",
        "service": "陪诊",
        "earliest_at": at("11-23 08:00"),
        "latest_at": at("11-23 18:00"),
        "estimated_minutes": 60,
    }
    return AskForService.model_validate(body | changes)


def asked(**changes: Any) -> RequestAsked:
    """What follows from `asking`."""
    fact = replace(REQUEST_ASKED, earliest_at=at("11-23 08:00"), needs=())
    return replace(fact, **changes)


def served(span: str = "11-22 09:00 - 10:00", **changes: Any) -> FulfilRequest:
    start, end = span.split(" - ")
    times = {"started_at": at(start), "ended_at": at(f"{start.split()[0]} {end}")}
    return FulfilRequest.model_validate({"request": "Q1", "record": "R1", **times} | changes)


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_member_asks_for_their_household_at_its_own_grid() -> None:
    given(DISTRICT).when(ask, asking(), actor=V3).then(asked(), policy=1)


def test_staff_ask_for_a_household_of_their_community() -> None:
    given(DISTRICT).when(ask, asking()).then(asked(asked_by="S2"))
    given(DISTRICT).when(ask, asking(), actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H2"))


def test_nobody_asks_for_another_household() -> None:
    given(DISTRICT).when(ask, asking(), actor=V1).refused(UnknownHousehold("H2"))
    given(DISTRICT).when(ask, asking(household="H9"), actor=V3).refused(UnknownHousehold("H9"))
    given(DISTRICT).when(ask, asking(household="H9"), actor=ADMIN).refused(UnknownHousehold("H9"))


def test_a_number_is_derived_from_the_command_where_none_is_given() -> None:
    command = asking(request=None)
    number = "01234567-89abcdef-01234567-89abcdef"
    given(DISTRICT).when(ask, command, actor=V3).then(asked(request=number))


def test_a_number_is_used_once() -> None:
    given(DISTRICT, REQUEST_ASKED).when(ask, asking(), actor=V3).refused(RequestAlreadyAsked("Q1"))


def test_a_service_may_be_asked_for_at_another_place() -> None:
    given(DISTRICT).when(ask, asking(community=JINHU), actor=V3).then(asked(community=JINHU, grid=()))
    given(DISTRICT).when(ask, asking(community=XINZHU), actor=V3).then(asked())
    given(DISTRICT).when(ask, asking(community=JINHU)).refused(OutsideCommunity(JINHU, XINZHU))
    given(DISTRICT).when(ask, asking(community="没有"), actor=V3).refused(UnknownCommunity("没有"))
    unknown = asking(community=JINHU, grid=GRID)
    given(DISTRICT).when(ask, unknown, actor=V3).refused(UnknownGrid(JINHU, "第3网格"))


def test_needs_are_words_of_a_closed_list_each_once_and_in_one_order() -> None:
    command = asking(needs=["wheelchair", "woman-volunteer", "wheelchair"])
    given(DISTRICT).when(ask, command, actor=V3).then(asked(needs=("woman-volunteer", "wheelchair")))
    with pytest.raises(ValidationError, match="woman-volunteer"):
        asking(needs=["王奶奶住302"])
    assert set(NEEDS_ZH) == set(RequestNeed.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes",
    [
        {"latest_at": at("11-23 08:00")},
        {"latest_at": at("11-23 08:59")},
        {"earliest_at": at("11-23 08:00") + timedelta(seconds=1)},
        {"latest_at": at("11-23 18:00") + timedelta(microseconds=1)},
        {"latest_at": at("11-23 18:00").replace(year=2200)},
        {"earliest_at": at("11-23 18:00").replace(year=1899)},
        {"earliest_at": at("11-23 08:00").replace(tzinfo=None)},
        {"grid": GRID},
        {"estimated_minutes": 0},
        {"service": "13800138000"},
        {"remark": "free text"},
    ],
)
def test_what_is_no_request_at_all_is_refused_before_any_rule(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asking(**changes)


def test_a_window_must_leave_time_for_what_is_asked() -> None:
    early = {"earliest_at": at("11-22 08:00")}
    fits = asking(**early, latest_at=at("11-22 13:00"))
    given(DISTRICT).when(ask, fits, actor=V3).then(
        asked(**early, latest_at=at("11-22 13:00"), expires_at=at("11-22 13:00"))
    )
    given(DISTRICT).when(ask, asking(**early, latest_at=at("11-22 12:59")), actor=V3).refused(
        WindowOver("2026-11-22T12:59:00+08:00", 60)
    )


def test_what_could_not_be_logged_as_one_record_is_not_asked_for() -> None:
    given(DISTRICT).when(ask, asking(estimated_minutes=14), actor=V3).refused(RecordTooShort(14, 15))
    given(DISTRICT).when(ask, asking(estimated_minutes=481), actor=V3).refused(RecordTooLong(481, 480))
    without = (LEDGER_OPENED, *DISTRICT[2:])
    given(without).when(ask, asking(), actor=V3).refused(NoPolicyInForce("2026-11-22"))


def test_a_request_stays_open_until_its_window_ends_or_the_policys_days_are_over() -> None:
    far = asking(latest_at=at("12-31 18:00"))
    given(district(request_open_days_max=7)).when(ask, far, actor=V3).then(
        asked(latest_at=at("12-31 18:00"), expires_at=at("11-29 12:00"))
    )


# ── Holding ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_estimated_minutes_are_held_where_the_policy_says_so_and_the_recipient_pays() -> None:
    holding = given(district(**HOLDING), credited("H2", 60))
    holding.when(ask, asking(), actor=V3).then(asked(held_minutes=60), HELD)
    for policy in ({"request_hold": True}, {"request_hold": True, "payer": "pool"}, {"payer": "recipient"}):
        given(district(**policy)).when(ask, asking(), actor=V3).then(asked())


def test_what_is_held_is_what_confirming_would_cost() -> None:
    stepped = district(**HOLDING, rounding="up", rounding_step_minutes=45)
    given(stepped, credited("H2", 90)).when(ask, asking(), actor=V3).then(
        asked(held_minutes=90), replace(HELD, minutes=90)
    )
    to_nothing = district(**HOLDING, rounding="down", rounding_step_minutes=60, record_minutes_min=60)
    given(to_nothing, credited("H2", 60)).when(ask, asking(estimated_minutes=60), actor=V3).then(
        asked(held_minutes=60), HELD
    )


def test_a_hold_must_be_covered_by_what_is_available() -> None:
    holding = (*district(**HOLDING), credited("H2", 119))
    second = asking(request="Q2")
    given(holding, HELD).when(ask, second, actor=V3).refused(BalanceTooLow("household:H2", 59, 60, 0))
    given(holding).when(ask, second, actor=V3).then(
        asked(request="Q2", held_minutes=60), replace(HELD, hold="request:Q2")
    )
    floored = given(district(**HOLDING, balance_minutes_min=-60))
    assert floored.when(ask, asking(), actor=V3).accepted


# ── Offering ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_volunteer_offers_and_staff_offer_for_one_who_can_not() -> None:
    given(DISTRICT, REQUEST_ASKED).when(offer, MakeOffer(request="Q1", volunteer="V1"), actor=V1).then(OFFER_MADE)
    given(DISTRICT, REQUEST_ASKED).when(offer, MakeOffer(request="Q1", volunteer="V4")).then(
        OfferMade("Q1", "V4", "S2")
    )


def test_several_volunteers_may_offer_each_once() -> None:
    given(OFFERED).when(offer, MakeOffer(request="Q1", volunteer="V2"), actor=V2).then(OfferMade("Q1", "V2", "V2"))
    given(OFFERED).when(offer, MakeOffer(request="Q1", volunteer="V1"), actor=V1).refused(OfferAlreadyMade("Q1", "V1"))


@pytest.mark.parametrize(
    ("person", "actor", "refusal"),
    [
        ("V1", V2, OfferForSomebodyElse("V1")),
        ("V1", STAFF_ELSEWHERE, UnknownRequest("Q1")),
        ("V8", STAFF, NotEnrolled("V8")),
        ("V9", STAFF, UnknownMember("V9")),
        ("V5", volunteer("V5"), OwnHouseholdServed("H2")),
    ],
)
def test_an_offer_is_refused(person: str, actor: Actor, refusal: Refusal) -> None:
    five = replace(DISTRICT[-1], volunteer="V5")
    facts = given(SOMEBODY_ELSES, MemberRegistered("V5", "H2"), five, REQUEST_ASKED)
    facts.when(offer, MakeOffer(request="Q1", volunteer=person), actor=actor).refused(refusal)


def test_nothing_is_offered_for_what_is_not_there_or_not_open_any_more() -> None:
    command = MakeOffer(request="Q1", volunteer="V2")
    given(DISTRICT).when(offer, command, actor=V2).refused(UnknownRequest("Q1"))
    given(ACCEPTED).when(offer, command, actor=V2).refused(RequestInOtherStatus("Q1", "accepted"))
    given(OFFERED).when(offer, command, actor=V2, now=at("11-23 17:59")).then(OfferMade("Q1", "V2", "V2"))
    given(OFFERED).when(offer, command, actor=V2, now=at("11-23 18:00")).refused(RequestInOtherStatus("Q1", "expired"))


# ── Accepting ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("actor", [V3, STAFF, ADMIN])
def test_the_household_or_staff_accept_an_offer(actor: Actor) -> None:
    given(OFFERED).when(accept, AcceptOffer(request="Q1", volunteer="V1"), actor=actor).then(
        replace(OFFER_ACCEPTED, accepted_by=actor.id), policy=1
    )


def test_hours_of_an_accepted_request_can_be_logged_until_the_policy_says_no() -> None:
    """The window's last day is the 23rd, and hours are logged up to two days back: until the 25th ends."""
    facts = given(district(log_days_back_max=2), REQUEST_ASKED, OFFER_MADE)
    expires_at = at("11-26 00:00")
    decided = facts.when(accept, AcceptOffer(request="Q1", volunteer="V1"), actor=V3)
    decided.then(OfferAccepted("Q1", "V1", "V3", expires_at))
    accepted = given(facts.facts, decided.accepted)
    late = served("11-23 08:00 - 09:00")
    assert accepted.when(fulfil, late, actor=V1, now=expires_at - timedelta(minutes=1)).accepted
    assert isinstance(accepted.when(fulfil, late, actor=V1, now=expires_at).refusal, Refusal)


@pytest.mark.parametrize(
    ("person", "actor", "refusal"),
    [
        ("V2", V3, UnknownOffer("Q1", "V2")),
        ("V1", V4, UnknownRequest("Q1")),
        ("V1", STAFF_ELSEWHERE, UnknownRequest("Q1")),
        ("V1", V1, UnknownRequest("Q1")),
        ("V1", Actor("V1", "staff", XINZHU), OwnOfferAccepted("V1")),
        ("V1", Actor("V2", "staff", XINZHU), OwnOfferAccepted("V1")),
    ],
)
def test_an_acceptance_is_refused(person: str, actor: Actor, refusal: Refusal) -> None:
    given(OFFERED).when(accept, AcceptOffer(request="Q1", volunteer=person), actor=actor).refused(refusal)


def test_of_many_offers_one_is_accepted() -> None:
    facts = given(ACCEPTED, OfferMade("Q1", "V4", "V4"))
    for person in ("V1", "V4"):
        facts.when(accept, AcceptOffer(request="Q1", volunteer=person), actor=V3).refused(
            RequestInOtherStatus("Q1", "accepted")
        )
    given(DISTRICT).when(accept, AcceptOffer(request="Q1", volunteer="V1"), actor=V3).refused(UnknownRequest("Q1"))


def test_who_may_not_give_the_service_by_now_is_not_accepted() -> None:
    command = AcceptOffer(request="Q1", volunteer="V6")
    offered = replace(OFFER_MADE, volunteer="V6")
    given(DISTRICT, REQUEST_ASKED, offered).when(accept, command).refused(UnknownMember("V6"))
    member = MemberRegistered("V6", "H2")
    given(DISTRICT, member, REQUEST_ASKED, offered).when(accept, command).refused(NotEnrolled("V6"))
    enrolled = replace(DISTRICT[-1], volunteer="V6")
    facts = given(DISTRICT, member, enrolled, REQUEST_ASKED, offered)
    facts.when(accept, command).refused(OwnHouseholdServed("H2"))


# ── Withdrawing ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_offer_is_withdrawn_before_anybody_is_accepted() -> None:
    command = WithdrawOffer(request="Q1", volunteer="V1")
    withdrawn = replace(OFFER_WITHDRAWN, expires_at=None)
    given(OFFERED).when(withdraw, command, actor=V1).then(withdrawn)
    given(OFFERED).when(withdraw, command).then(replace(withdrawn, withdrawn_by="S2"))
    given(OFFERED, withdrawn).when(withdraw, command, actor=V1).refused(UnknownOffer("Q1", "V1"))
    given(OFFERED, withdrawn).when(offer, MakeOffer(request="Q1", volunteer="V1"), actor=V1).then(OFFER_MADE)


def test_after_the_accepted_volunteer_withdraws_the_request_is_open_again_and_other_offers_stand() -> None:
    facts = given(ACCEPTED, OfferMade("Q1", "V4", "V4"))
    withdrawn = facts.when(withdraw, WithdrawOffer(request="Q1", volunteer="V1"), actor=V1)
    withdrawn.then(OFFER_WITHDRAWN, policy=1)
    after = given(facts.facts, withdrawn.accepted)
    state = after.state(ServiceRequest.of("Q1"))
    assert (state.status, state.offers, state.volunteer) == ("open", ("V4",), None)
    after.when(accept, AcceptOffer(request="Q1", volunteer="V4"), actor=V3).then(
        replace(OFFER_ACCEPTED, volunteer="V4")
    )


def test_a_request_that_is_open_again_waits_as_long_as_a_new_one() -> None:
    far = replace(REQUEST_ASKED, latest_at=at("12-31 18:00"), expires_at=at("11-25 12:00"))
    facts = given(district(request_open_days_max=7), far, OFFER_MADE, OFFER_ACCEPTED)
    command = WithdrawOffer(request="Q1", volunteer="V1")
    facts.when(withdraw, command, actor=V1, now=at("12-01 12:00")).then(
        replace(OFFER_WITHDRAWN, expires_at=at("12-08 12:00"))
    )


def test_another_offer_is_withdrawn_while_somebody_is_accepted() -> None:
    facts = given(ACCEPTED, OfferMade("Q1", "V4", "V4"))
    withdrawn = facts.when(withdraw, WithdrawOffer(request="Q1", volunteer="V4"), actor=V4)
    withdrawn.then(OfferWithdrawn("Q1", "V4", "V4", None))
    assert given(facts.facts, withdrawn.accepted).state(ServiceRequest.of("Q1")).volunteer == "V1"


def test_a_withdrawal_is_refused() -> None:
    command = WithdrawOffer(request="Q1", volunteer="V1")
    given(OFFERED).when(withdraw, command, actor=V2).refused(OfferForSomebodyElse("V1"))
    given(OFFERED).when(withdraw, command, actor=STAFF_ELSEWHERE).refused(UnknownRequest("Q1"))
    given(DISTRICT).when(withdraw, command, actor=V1).refused(UnknownRequest("Q1"))
    given(ACCEPTED, REQUEST_FULFILLED).when(withdraw, command, actor=V1).refused(
        RequestInOtherStatus("Q1", "fulfilled")
    )


# ── Rescheduling ─────────────────────────────────────────────────────────────────────────────────────────────────

LATER = RescheduleRequest(request="Q1", earliest_at=at("11-24 08:00"), latest_at=at("11-24 18:00"))


@pytest.mark.parametrize("facts", [OFFERED, ACCEPTED], ids=["open", "accepted"])
def test_with_a_new_window_everybody_is_released_and_may_offer_again(facts: Any) -> None:
    given(facts).when(reschedule, LATER, actor=V3).then(REQUEST_RESCHEDULED, policy=1)
    after = given(facts, REQUEST_RESCHEDULED)
    state = after.state(ServiceRequest.of("Q1"))
    assert (state.status, state.offers, state.volunteer) == ("open", (), None)
    assert (state.terms.earliest_at, state.terms.latest_at) == (at("11-24 08:00"), at("11-24 18:00"))
    after.when(fulfil, served(), actor=V1).refused(UnknownRequest("Q1"))
    after.when(accept, AcceptOffer(request="Q1", volunteer="V1"), actor=V3).refused(UnknownOffer("Q1", "V1"))
    after.when(offer, MakeOffer(request="Q1", volunteer="V1"), actor=V1).then(OFFER_MADE)


def test_rescheduling_is_the_households_and_staffs_and_into_the_future() -> None:
    given(OFFERED).when(reschedule, LATER).then(replace(REQUEST_RESCHEDULED, rescheduled_by="S2"))
    for actor in (V1, STAFF_ELSEWHERE):
        given(ACCEPTED).when(reschedule, LATER, actor=actor).refused(UnknownRequest("Q1"))
    past = RescheduleRequest(request="Q1", earliest_at=at("11-22 08:00"), latest_at=at("11-22 12:59"))
    given(OFFERED).when(reschedule, past, actor=V3).refused(WindowOver("2026-11-22T12:59:00+08:00", 60))
    given(OFFERED, REQUEST_CANCELLED).when(reschedule, LATER, actor=V3).refused(RequestInOtherStatus("Q1", "cancelled"))


# ── Done ─────────────────────────────────────────────────────────────────────────────────────────────────────────

DONE = logged("R1", "11-22 09:00 - 10:00", service="陪诊", logged_by="V1")
HOLDING_ASKED = replace(REQUEST_ASKED, held_minutes=60)
HOLDING_ACCEPTED = (*district(**HOLDING), credited("H2", 60), HOLDING_ASKED, HELD, OFFER_MADE, OFFER_ACCEPTED)
PAID = HoursConfirmed("household:H2", "household:H1", 60, "R1", "S2")
HOLDING_DONE = (*HOLDING_ACCEPTED, DONE, REQUEST_FULFILLED)


def test_the_accepted_volunteer_logs_the_hours_against_the_request() -> None:
    fulfilled = replace(REQUEST_FULFILLED, held_minutes=0)
    given(ACCEPTED).when(fulfil, served(), actor=V1).then(DONE, fulfilled, policy=1)
    given(ACCEPTED).when(fulfil, served()).then(replace(DONE, logged_by="S2"), fulfilled)


def test_a_record_without_a_number_has_it_from_the_command() -> None:
    number = "01234567-89abcdef-01234567-89abcdef"
    facts = given(ACCEPTED).when(fulfil, served(record=None), actor=V1).accepted
    assert [fact.record for fact in facts] == [number, number]  # type: ignore[attr-defined]


def test_every_rule_of_logging_holds() -> None:
    other = logged("R9", "11-22 09:30 - 10:30")
    given(ACCEPTED, other).when(fulfil, served(), actor=V1).refused(RecordOverlaps("R1", "R9"))
    given(ACCEPTED).when(fulfil, served(minutes=5), actor=V1).refused(RecordTooShort(5, 15))
    with pytest.raises(ValidationError, match="must fit"):
        served(minutes=61)


@pytest.mark.parametrize("needed", [False, True])
def test_hours_that_are_logged_late_keep_their_reason_and_need_one_where_the_policy_says_so(needed: bool) -> None:
    facts = given(district(late_after_days=3, late_needs_reason=needed), REQUEST_ASKED, OFFER_MADE, OFFER_ACCEPTED)
    reasoned, late = served(late_reason="away-or-ill"), at("11-26 09:00")
    fulfilled = replace(REQUEST_FULFILLED, held_minutes=0)
    facts.when(fulfil, reasoned, actor=V1, now=at("11-25 09:00")).then(DONE, fulfilled)
    facts.when(fulfil, reasoned, actor=V1, now=late).then(replace(DONE, late_reason="away-or-ill"), fulfilled)
    unreasoned = facts.when(fulfil, served(), actor=V1, now=late)
    if needed:
        unreasoned.refused(LateWithoutReason("2026-11-22", 3))
    else:
        unreasoned.then(DONE, fulfilled)


def test_only_the_accepted_volunteer_or_staff_say_that_it_is_done() -> None:
    for actor in (V2, V4, STAFF_ELSEWHERE):
        given(ACCEPTED).when(fulfil, served(), actor=actor).refused(UnknownRequest("Q1"))
    given(ACCEPTED).when(fulfil, served(), actor=V3).refused(NotYourself("V1"))
    given(DISTRICT).when(fulfil, served(), actor=V1).refused(UnknownRequest("Q1"))


def test_it_is_done_once_and_only_after_somebody_was_accepted() -> None:
    given(OFFERED).when(fulfil, served()).refused(RequestInOtherStatus("Q1", "open"))
    again = served(record="R2", started_at=at("11-22 10:30"), ended_at=at("11-22 11:30"))
    given(HOLDING_DONE).when(fulfil, again, actor=V1).refused(RequestInOtherStatus("Q1", "fulfilled"))


def test_the_service_was_within_the_window_or_at_least_touched_it() -> None:
    """Its window is from eight on the 22nd to six on the 23rd."""
    refusal = ServedOutsideWindow("Q1", "2026-11-22T08:00:00+08:00", "2026-11-23T18:00:00+08:00")
    given(ACCEPTED).when(fulfil, served("11-22 07:00 - 08:00"), actor=V1).refused(refusal)
    assert given(ACCEPTED).when(fulfil, served("11-22 07:01 - 08:01"), actor=V1).accepted
    late, now = served("11-23 17:59 - 19:00"), at("11-25 12:00")
    assert given(ACCEPTED).when(fulfil, late, actor=V1, now=now).accepted
    given(ACCEPTED).when(fulfil, served("11-23 18:00 - 19:00"), actor=V1, now=now).refused(refusal)


def test_a_record_that_was_logged_otherwise_fulfils_the_request() -> None:
    command = FulfilWithRecord(request="Q1", record="R1")
    fulfilled = replace(REQUEST_FULFILLED, held_minutes=0)
    for actor in (V1, V3, STAFF):
        given(ACCEPTED, DONE).when(fulfil_with_record, command, actor=actor).then(fulfilled)
    holding = given(HOLDING_ACCEPTED, DONE).when(fulfil_with_record, command, actor=V1)
    holding.then(REQUEST_FULFILLED)
    given(HOLDING_ACCEPTED, DONE, holding.accepted).when(confirm, ConfirmHours(record="R1")).then(RELEASED, PAID)


def test_a_record_that_is_confirmed_already_releases_what_was_held_at_once() -> None:
    confirmed = (credited("H2", 60), DONE, PAID)
    command = FulfilWithRecord(request="Q1", record="R1")
    given(HOLDING_ACCEPTED, confirmed).when(fulfil_with_record, command, actor=V1).then(
        RELEASED, replace(REQUEST_FULFILLED, held_minutes=0)
    )


@pytest.mark.parametrize(
    "facts",
    [
        (),
        (replace(DONE, volunteer="V2"),),
        (replace(DONE, recipient_household="H3"),),
        (replace(DONE, recipient_household=None),),
        (DONE, HoursRejected("R1", "S2", "other")),
        (DONE, replace(PAID, source="issuance"), HoursReversed("household:H1", "issuance", 60, "R1", "S2", "other")),
        (DONE, replace(REQUEST_FULFILLED, request="Q2", held_minutes=0)),
        (DONE, replace(REQUEST_FULFILLED, request="Q2", held_minutes=0), PAID),
    ],
)
def test_another_record_does_not_fulfil_it(facts: tuple[Fact, ...]) -> None:
    command = FulfilWithRecord(request="Q1", record="R1")
    given(ACCEPTED, facts).when(fulfil_with_record, command, actor=V1).refused(RecordNotForRequest("Q1", "R1"))


def test_naming_a_record_is_refused_as_logging_one_is() -> None:
    command = FulfilWithRecord(request="Q1", record="R1")
    given(ACCEPTED, DONE).when(fulfil_with_record, command, actor=V2).refused(UnknownRequest("Q1"))
    given(OFFERED, DONE).when(fulfil_with_record, command).refused(RequestInOtherStatus("Q1", "open"))
    early = logged("R1", "11-22 07:00 - 08:00")
    assert isinstance(given(ACCEPTED, early).when(fulfil_with_record, command, actor=V1).refusal, ServedOutsideWindow)


def test_what_is_held_stays_held_until_the_record_is_settled_and_then_pays_for_it() -> None:
    given(HOLDING_ACCEPTED).when(fulfil, served(), actor=V1).then(DONE, REQUEST_FULFILLED)
    done = given(HOLDING_DONE)
    assert done.state(Account.of("household:H2")).available_minutes == 0
    done.when(confirm, ConfirmHours(record="R1")).then(RELEASED, PAID)
    after = given(HOLDING_DONE, RELEASED, PAID)
    assert after.state(Account.of("household:H2")) == Account("household:H2", 0, 0)
    after.when(confirm, ConfirmHours(record="R1")).refused(RecordAlreadySettled("R1", "confirmed"))


def test_a_hold_for_another_request_does_not_pay() -> None:
    other = MinutesHeld("household:H2", 30, "request:Q2")
    given(HOLDING_DONE, other).when(confirm, ConfirmHours(record="R1")).refused(
        BalanceTooLow("household:H2", 30, 60, 0)
    )


def test_what_is_above_the_cap_is_still_capped_after_a_hold_paid() -> None:
    capped = given(district(**HOLDING, balance_minutes_max=30), HOLDING_DONE[len(DISTRICT) :])
    facts = capped.when(confirm, ConfirmHours(record="R1")).accepted
    assert [type(fact).__name__ for fact in facts] == ["MinutesReleased", "HoursConfirmed", "MinutesCapped"]


def test_a_rejected_record_releases_what_was_held_for_it() -> None:
    given(HOLDING_DONE).when(reject, RejectHours(record="R1", reason="not-served")).then(
        RELEASED, HoursRejected("R1", "S2", "not-served")
    )


@pytest.mark.parametrize("status", ["confirmed", "rejected"])
def test_books_that_settle_a_record_release_what_was_held_for_it(status: Any) -> None:
    row = COMMAND_EXAMPLES[import_hours]
    command = replace(
        row, record="R1", service="陪诊", started_at=DONE.started_at, ended_at=DONE.ended_at, minutes=60, status=status
    )
    assert given(HOLDING_DONE).when(import_hours, command).accepted[0] == RELEASED


def test_a_record_that_fulfils_no_request_is_settled_as_ever() -> None:
    given(DISTRICT, HOURS_LOGGED).when(confirm, ConfirmHours(record="R1")).then(HOURS_CONFIRMED)


# ── When households and places change meanwhile ──────────────────────────────────────────────────────────────────

CLOSED = HouseholdClosed("H2", "moved-away", "pool:" + XINZHU, ())


def test_a_household_that_is_closed_by_now_asks_for_nothing_and_is_offered_nothing() -> None:
    given(DISTRICT, CLOSED).when(ask, asking()).refused(ClosedHousehold("H2"))
    closed = ClosedHousehold("H2")
    given(OFFERED, CLOSED).when(offer, MakeOffer(request="Q1", volunteer="V2"), actor=V2).refused(closed)
    given(OFFERED, CLOSED).when(accept, AcceptOffer(request="Q1", volunteer="V1")).refused(closed)
    given(ACCEPTED, CLOSED).when(fulfil, served(), actor=V1).refused(closed)
    given(ACCEPTED, CLOSED).when(cancel, CancelRequest(request="Q1")).then(RequestCancelled("Q1", "S2"))


def test_who_left_or_died_gives_no_service() -> None:
    for gone, refusal in ((MEMBER_DIED, MemberHasDied("V1")), (MemberLeft("V1", "H1"), UnknownMember("V1"))):
        given(DISTRICT, REQUEST_ASKED, gone).when(offer, MakeOffer(request="Q1", volunteer="V1")).refused(refusal)
        given(OFFERED, gone).when(accept, AcceptOffer(request="Q1", volunteer="V1"), actor=V3).refused(refusal)
        given(ACCEPTED, gone).when(fulfil, served()).refused(refusal)


def test_where_the_place_is_part_of_another_by_now_the_household_is_served_where_it_lives() -> None:
    moved = HouseholdMoved("H2", JINHU, (), NOW.date())
    facts = given(ACCEPTED, CommunityDissolved(XINZHU, JINHU), moved)
    facts.when(fulfil, served(), actor=V1).then(
        replace(DONE, community=JINHU, grid=()), replace(REQUEST_FULFILLED, held_minutes=0)
    )
    elsewhere = (*DISTRICT, replace(REQUEST_ASKED, grid=("第9网格",)), OFFER_MADE, OFFER_ACCEPTED)
    given(elsewhere).when(fulfil, served(), actor=V1).then(DONE, replace(REQUEST_FULFILLED, held_minutes=0))


# ── Cancelled and expired ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("facts", [OFFERED, ACCEPTED], ids=["open", "accepted"])
def test_the_household_or_staff_cancel(facts: Any) -> None:
    given(facts).when(cancel, CancelRequest(request="Q1"), actor=V3).then(REQUEST_CANCELLED)
    given(facts).when(cancel, CancelRequest(request="Q1")).then(RequestCancelled("Q1", "S2"))
    for actor in (V1, V4, STAFF_ELSEWHERE):
        given(facts).when(cancel, CancelRequest(request="Q1"), actor=actor).refused(UnknownRequest("Q1"))


def test_cancelling_releases_what_is_held_and_is_done_once() -> None:
    given(HOLDING_ACCEPTED).when(cancel, CancelRequest(request="Q1"), actor=V3).then(RELEASED, REQUEST_CANCELLED)
    given(HOLDING_ACCEPTED, RELEASED, REQUEST_CANCELLED).when(cancel, CancelRequest(request="Q1"), actor=V3).refused(
        RequestInOtherStatus("Q1", "cancelled")
    )
    given(HOLDING_DONE).when(cancel, CancelRequest(request="Q1"), actor=V3).refused(
        RequestInOtherStatus("Q1", "fulfilled")
    )
    given(OFFERED).when(cancel, CancelRequest(request="Q1"), actor=V3, now=at("11-23 18:00")).refused(
        RequestInOtherStatus("Q1", "expired")
    )


EXPIRE = ExpireRequest(request="Q1")


def test_an_open_request_expires_when_its_time_is_over() -> None:
    open_ = given(district(**HOLDING), credited("H2", 60), HOLDING_ASKED, HELD)
    open_.when(expire, EXPIRE, actor=TIME, now=at("11-23 18:00")).then(RELEASED, RequestExpired("Q1", None))
    open_.when(expire, EXPIRE, actor=TIME, now=at("11-23 17:59")).refused(
        RequestNotOver("Q1", "2026-11-23T18:00:00+08:00")
    )


def test_an_accepted_request_expires_when_its_hours_can_not_be_logged_any_more() -> None:
    given(ACCEPTED).when(expire, EXPIRE, actor=TIME, now=at("12-23 23:59")).refused(
        RequestNotOver("Q1", "2026-12-24T00:00:00+08:00")
    )
    given(ACCEPTED).when(expire, EXPIRE, actor=TIME, now=at("12-24 00:00")).then(REQUEST_EXPIRED)


def test_nobody_expires_a_request_by_hand_nor_twice() -> None:
    for actor in (ADMIN, STAFF, V3):
        given(OFFERED).when(expire, EXPIRE, actor=actor, now=at("12-24 00:00")).refused(LeftToTime(actor.id))
    given(DISTRICT).when(expire, EXPIRE, actor=TIME).refused(UnknownRequest("Q1"))
    given(OFFERED, REQUEST_EXPIRED).when(expire, EXPIRE, actor=TIME).refused(RequestInOtherStatus("Q1", "expired"))


def test_a_status_is_told_in_chinese() -> None:
    assert set(STATUS_ZH) == set(Status.__args__) - {"absent"}  # type: ignore[attr-defined]
    for status, text in STATUS_ZH.items():
        refusal = RequestInOtherStatus("Q1", status)
        assert text in refusal.message_zh
        assert status not in refusal.message_zh
        assert status in refusal.message_en


# ── Whatever is done in whatever order ───────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.tuples(
        st.sampled_from("aaooooccccwrffffxeettCCJ"),
        st.sampled_from(["Q1", "Q2"]),
        st.sampled_from(["V1", "V4"]),
        st.integers(0, 40),
    ),
    min_size=30,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@for_all(STEPS)
def test_one_is_accepted_at_a_time_and_exactly_what_is_promised_is_held(steps: list[tuple[str, str, str, int]]) -> None:
    facts: list[Fact] = [*district(**HOLDING, request_open_days_max=3), HouseholdRegistered("H9", XINZHU)]
    facts.append(credited("H2", 150))
    now = NOW
    accepted: dict[str, str] = {}
    held: dict[str, int] = {}
    record_of: dict[str, str] = {}
    for step, number, person, hours in steps:
        actor = volunteer(person)
        window = {"earliest_at": now - timedelta(hours=3), "latest_at": now + timedelta(hours=hours + 2)}
        decide, command, by = {
            "a": (ask, asking(request=number, estimated_minutes=30 + hours, **window), V3),
            "o": (offer, MakeOffer(request=number, volunteer=person), actor),
            "c": (accept, AcceptOffer(request=number, volunteer=person), V3),
            "w": (withdraw, WithdrawOffer(request=number, volunteer=person), actor),
            "r": (reschedule, RescheduleRequest(request=number, **window), V3),
            "f": (
                fulfil,
                served(
                    request=number,
                    record=f"R-{number}",
                    started_at=now - timedelta(hours=2),
                    ended_at=now - timedelta(hours=1),
                ),
                STAFF,
            ),
            "x": (cancel, CancelRequest(request=number), V3),
            "e": (expire, ExpireRequest(request=number), TIME),
            "C": (confirm, ConfirmHours(record=f"R-{number}"), STAFF),
            "J": (reject, RejectHours(record=f"R-{number}", reason="other"), STAFF),
            "t": (None, None, None),
        }[step]
        if decide is None:
            now += timedelta(hours=hours)
            continue
        try:
            decided: Decided = drive(decide(command, Context(by, now, COMMAND_ID, ZONE)), given(facts).state)
        except Refusal:
            continue
        for fact in decided.facts:
            facts.append(fact)
            match fact:
                case MinutesHeld():
                    assert fact.hold not in held
                    held[fact.hold] = fact.minutes
                case MinutesReleased():
                    assert held.pop(fact.hold) == fact.minutes
                case OfferAccepted():
                    assert number not in accepted
                    accepted[number] = fact.volunteer
                case OfferWithdrawn() if accepted.get(number) == fact.volunteer:
                    del accepted[number]
                case RequestRescheduled():
                    accepted.pop(number, None)
                case RequestFulfilled():
                    assert fact.volunteer == accepted[number]
                    assert number not in record_of
                    record_of[number] = fact.record
                case HoursLogged():
                    assert fact.recipient_household == "H2"
                    assert fact.household != "H2"
                case _:
                    pass
        account = given(facts).state(Account.of("household:H2"))
        assert account.held_minutes == sum(held.values())
        assert account.available_minutes >= 0
        for request in ("Q1", "Q2"):
            state = given(facts).state(ServiceRequest.of(request))
            if state.status in ("accepted", "fulfilled"):
                assert state.volunteer == accepted[request]
            if state.status in ("cancelled", "expired", "absent"):
                assert "request:" + request not in held
