"""Households that live: who belongs where, what becomes of the balance, and that no minute is made or lost."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.account import (
    Account,
    BalanceCarried,
    BalanceTooLow,
    GrantMinutes,
    Holds,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesHeld,
    MinutesReleased,
    grant_minutes,
)
from domain.community import CommunityDissolved, CommunityMerged, UnknownCommunity
from domain.decision import BY_TIME, Actor, Context, LeftToTime, drive
from domain.dispute import (
    DecidedByParty,
    DecideDispute,
    OpenDispute,
    StateCase,
    decide_dispute,
    open_dispute,
    state_case,
)
from domain.fact import Fact, Movement
from domain.hours import (
    ConfirmedByOwnHousehold,
    ConfirmHours,
    HoursRejected,
    MemberElsewhere,
    RejectHours,
    ReverseHours,
    UnknownRecord,
    confirm,
    import_hours,
    log,
    reject,
    reverse,
)
from domain.household import (
    ClosedHousehold,
    EnrolVolunteer,
    Household,
    HouseholdAlreadyRegistered,
    HouseholdClosed,
    HouseholdMerged,
    HouseholdMoved,
    HouseholdRegistered,
    HouseholdSplit,
    MemberHasDied,
    MemberRegistered,
    Person,
    RegisterMember,
    Roster,
    UnknownHousehold,
    UnknownMember,
    enrol_volunteer,
    register_member,
)
from domain.household_life import (
    CallOffMove,
    CloseHousehold,
    CompleteMove,
    DecidedByMember,
    LeaveHousehold,
    MergeHouseholds,
    MinutesStillHeld,
    MoveHousehold,
    MoveMember,
    NoMovePlanned,
    NotYet,
    RecordDeath,
    SameHousehold,
    SamePlace,
    SplitHousehold,
    TooFarAhead,
    call_off_move,
    close_household,
    complete_move,
    leave_household,
    merge_households,
    move_household,
    move_member,
    record_death,
    split_household,
)
from domain.redemption import (
    CollectReward,
    RedemptionOfOwnHousehold,
    ReleaseReservation,
    ReverseRedemption,
    UnknownReservation,
    collect,
    release,
    reverse_redemption,
)
from domain.refusal import Refusal
from domain.request import (
    AcceptOffer,
    AskedRequests,
    CancelRequest,
    LapseOffer,
    OfferStands,
    OfferWithdrawn,
    RequestFollowed,
    RequestInOtherStatus,
    RequestsStillOpen,
    UnknownOffer,
    UnknownRequest,
    accept,
    cancel,
    lapse_offer,
)
from domain.visit import CheckedIn, CheckIn, CheckOut, VoidVisit, check_in, check_out, void_visit
from tests.controls import (
    ADMIN,
    CODE,
    COMMAND_EXAMPLES,
    COMMAND_ID,
    DISPUTE_OPENED,
    DISPUTE_UPHELD,
    DISTRICT,
    DOOR_CODE,
    DOOR_CODE_MADE,
    GRID,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOUSEHOLD_CLOSED,
    HOUSEHOLD_MERGED,
    HOUSEHOLD_MOVE_CALLED_OFF,
    HOUSEHOLD_MOVE_PLANNED,
    HOUSEHOLD_SPLIT,
    JINHU,
    MEMBER_DIED,
    MEMBER_LEFT,
    MEMBER_MOVED,
    MINUTES_CAPPED,
    MINUTES_HELD,
    NOW,
    OFFER_ACCEPTED,
    OFFER_MADE,
    PARTNER_REGISTERED,
    REQUEST_ASKED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    REQUEST_FULFILLED,
    REWARD_OFFERED,
    STAFF_ELSEWHERE,
    TIME,
    XINZHU,
    ZONE,
    at,
    collected,
    credited,
    district,
    given,
    logged,
    reserved,
    volunteer,
)

TODAY = NOW.date()
POOL = "pool:" + XINZHU
H2_MEMBER = MemberRegistered("S2", "H2")

LEAVE = LeaveHousehold(member="V1")
MOVE = MoveMember(member="V1", into="H2")
DEATH = RecordDeath(member="V1")
MERGE = MergeHouseholds(household="H1", into="H2")
CLOSE = CloseHousehold(household="H1", cause="moved-away")


def split(**changes: Any) -> SplitHousehold:
    return SplitHousehold(**{"household": "H1", "into": "H8", "members": ("V2",), "minutes": 30} | changes)


# ── Members ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_leaves_a_household_can_not_log_and_keeps_number_age_and_enrolment_for_the_next() -> None:
    given(DISTRICT).when(leave_household, LEAVE).then(MEMBER_LEFT)
    gone = (*DISTRICT, MEMBER_LEFT)
    given(gone).when(log, COMMAND_EXAMPLES[log]).refused(UnknownMember("V1"))
    again = RegisterMember(member="V1", household="H2")
    joined = given(gone).when(register_member, again).then(MemberRegistered("V1", "H2")).facts
    assert given(gone, joined).state(Person.of("V1")) == Person("V1", "H2", volunteer=True)
    assert given(gone, joined).state(Roster.of("H1")).members == {"V2"}
    assert given(gone, joined).state(Roster.of("H2")).members == {"V1", "V3"}


def test_a_member_goes_to_another_household_and_earns_for_that_one() -> None:
    given(DISTRICT).when(move_member, MOVE).then(MEMBER_MOVED)
    moved = (*DISTRICT, MEMBER_MOVED)
    (logged,) = given(moved).when(log, COMMAND_EXAMPLES[log].model_copy(update={"recipient_household": "H1"})).accepted
    assert logged.household == "H2"  # type: ignore[attr-defined]
    assert given(moved).state(Roster.of("H2")).members == {"V1", "V3"}


def test_what_was_logged_before_a_move_earns_for_the_household_of_then() -> None:
    given(DISTRICT, HOURS_LOGGED, MEMBER_MOVED).when(confirm, ConfirmHours(record="R1")).then(HOURS_CONFIRMED)


def test_who_has_died_is_no_member_and_no_volunteer_and_never_becomes_one_again() -> None:
    given(DISTRICT).when(record_death, DEATH).then(MEMBER_DIED)
    dead = (*DISTRICT, MEMBER_DIED)
    died = MemberHasDied("V1")
    given(dead).when(log, COMMAND_EXAMPLES[log]).refused(died)
    given(dead).when(log, COMMAND_EXAMPLES[log], actor=volunteer("V1")).refused(died)
    given(dead).when(register_member, RegisterMember(member="V1", household="H2")).refused(died)
    given(dead).when(enrol_volunteer, EnrolVolunteer(volunteer="V1")).refused(UnknownMember("V1"))
    given(dead).when(import_hours, COMMAND_EXAMPLES[import_hours]).refused(died)
    for decide, command in ((leave_household, LEAVE), (move_member, MOVE), (record_death, DEATH)):
        given(dead).when(decide, command, actor=ADMIN).refused(died)
        given(dead).when(decide, command).refused(UnknownMember("V1"))
    assert given(dead).state(Roster.of("H1")).members == {"V2"}


def test_the_household_of_who_died_keeps_its_balance_and_what_was_logged_before_still_counts() -> None:
    facts = (*DISTRICT, credited("H1", 90), HOURS_LOGGED, MEMBER_DIED)
    assert given(facts).state(Account.of("household:H1")).balance_minutes == 90
    given(facts).when(confirm, ConfirmHours(record="R1")).then(HOURS_CONFIRMED)


def test_an_old_book_does_not_bring_back_who_has_left() -> None:
    row = COMMAND_EXAMPLES[import_hours]
    given(DISTRICT, MEMBER_LEFT).when(import_hours, row).refused(MemberElsewhere("V1", "H1"))


def test_a_member_left_behind_in_a_closed_household_can_be_moved_out_of_it() -> None:
    facts = (*DISTRICT, HouseholdMerged("H1", "H2", ("V2",)))
    given(facts).when(move_member, MOVE).then(MEMBER_MOVED)


# ── A household moves ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_household_moves_to_another_community_and_its_cap_overflows_to_the_pool_of_that_one() -> None:
    command = MoveHousehold(household="H1", community=JINHU, moved_on=date(2026, 11, 20))
    moved = HouseholdMoved("H1", JINHU, (), date(2026, 11, 20))
    given(DISTRICT).when(move_household, command).then(moved)
    facts = (*district(balance_minutes_max=60), HOURS_LOGGED, moved)
    given(facts).when(confirm, ConfirmHours(record="R1")).then(
        HOURS_CONFIRMED, MinutesCapped("household:H1", "pool:" + JINHU, 30, "R1")
    )


def test_a_household_moves_to_another_grid() -> None:
    command = MoveHousehold(household="H1", community=XINZHU, grid=GRID, moved_on=TODAY)
    moved = given(DISTRICT).when(move_household, command).then(HouseholdMoved("H1", XINZHU, GRID, TODAY)).facts
    assert given(DISTRICT, moved).state(Household.of("H1")) == Household("H1", XINZHU, GRID)


PLAN = MoveHousehold(household="H2", community=JINHU, moved_on=date(2026, 12, 1))
PLANNED = (*DISTRICT, HOUSEHOLD_MOVE_PLANNED)
COMPLETE_MOVE = CompleteMove(household="H2")
ON_THE_DAY = at("12-01 00:30")


def test_a_move_to_come_is_planned_and_done_by_time_on_its_day_with_what_was_asked_for_at_home() -> None:
    given(DISTRICT).when(move_household, PLAN).then(HOUSEHOLD_MOVE_PLANNED)
    past = (*PLANNED, REQUEST_ASKED)
    assert given(past).state(Household.of("H2")).community == XINZHU
    given(past).when(complete_move, COMPLETE_MOVE, actor=TIME).refused(NotYet("2026-12-01"))
    given(past).when(complete_move, COMPLETE_MOVE, now=ON_THE_DAY).refused(LeftToTime("S2"))
    moved = HouseholdMoved("H2", JINHU, (), date(2026, 12, 1), planned=True)
    facts = given(past).when(complete_move, COMPLETE_MOVE, actor=TIME, now=ON_THE_DAY).accepted
    assert facts == (moved, RequestFollowed("Q1", "H2", JINHU, ()))
    after = given(past, facts)
    assert after.state(Household.of("H2")) == Household("H2", JINHU, ())
    after.when(complete_move, COMPLETE_MOVE, actor=TIME, now=ON_THE_DAY).refused(NoMovePlanned("H2"))


def test_another_plan_takes_the_place_of_the_first_and_either_can_be_called_off() -> None:
    later = PLAN.model_copy(update={"moved_on": date(2026, 12, 8)})
    replaced = (*PLANNED, *given(PLANNED).when(move_household, later).accepted)
    given(replaced).when(complete_move, COMPLETE_MOVE, actor=TIME, now=ON_THE_DAY).refused(NotYet("2026-12-08"))
    off = CallOffMove(household="H2")
    given(replaced).when(call_off_move, off).then(HOUSEHOLD_MOVE_CALLED_OFF)
    stays = (*replaced, HOUSEHOLD_MOVE_CALLED_OFF)
    given(stays).when(call_off_move, off).refused(NoMovePlanned("H2"))
    given(PLANNED).when(call_off_move, off, actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H2"))
    given(PLANNED, MemberRegistered("S2", "H2")).when(call_off_move, off).refused(DecidedByMember("H2"))


def test_a_plan_is_done_once_the_household_is_there_and_stands_where_it_went_elsewhere_first() -> None:
    there = given(PLANNED, HouseholdMoved("H2", JINHU, (), TODAY))
    assert there.state(Household.of("H2")).plan is None
    elsewhere = given(PLANNED, HouseholdMoved("H2", XINZHU, (), TODAY))
    assert elsewhere.state(Household.of("H2")).plan == HOUSEHOLD_MOVE_PLANNED


def test_a_planned_move_goes_to_what_its_place_has_become_by_then() -> None:
    plan = replace(HOUSEHOLD_MOVE_PLANNED, grid=("第9网格",))
    merged = CommunityMerged(JINHU, XINZHU, date(2026, 12, 1))
    facts = given(DISTRICT, plan, merged).when(complete_move, COMPLETE_MOVE, actor=TIME, now=ON_THE_DAY).accepted
    assert facts == (HouseholdMoved("H2", XINZHU, (), date(2026, 12, 1), planned=True),)


def test_a_household_that_was_closed_since_does_not_move() -> None:
    closed = given(PLANNED, HouseholdMerged("H2", "H1", ("V3",)))
    closed.when(complete_move, COMPLETE_MOVE, actor=TIME, now=ON_THE_DAY).refused(ClosedHousehold("H2"))


# ── Split ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_household_is_split_with_a_share_of_its_balance() -> None:
    share = BalanceCarried("household:H1", "household:H8", 30, "household-split")
    facts = given(DISTRICT, credited("H1", 90)).when(split_household, split()).then(HOUSEHOLD_SPLIT, share).facts
    after = given(DISTRICT, credited("H1", 90), facts)
    assert after.state(Household.of("H8")) == Household("H8", XINZHU, ())
    assert after.state(Person.of("V2")) == Person("V2", "H8", volunteer=True)
    assert after.state(Roster.of("H1")).members == {"V1"}
    assert after.state(Roster.of("H8")).members == {"V2"}


def test_a_new_household_may_have_a_place_of_its_own_and_no_share() -> None:
    facts = given(DISTRICT).when(split_household, split(minutes=0, community=XINZHU, grid=GRID)).accepted
    assert facts == (HouseholdSplit("H1", "H8", XINZHU, GRID, ("V2",)),)


def test_a_share_is_at_most_what_is_not_held_even_where_an_overdraft_is_allowed() -> None:
    past = (*district(balance_minutes_min=-600), credited("H1", 90), MinutesHeld("household:H1", 60, "request:Q1"))
    given(past).when(split_household, split(minutes=31)).refused(BalanceTooLow("household:H1", 30, 31, 0))
    assert given(past).when(split_household, split(minutes=30)).accepted


# ── Merge ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("balance", "carried"),
    [
        (0, ()),
        (90, (BalanceCarried("household:H1", "household:H2", 90, "household-merged"),)),
        (-40, (BalanceCarried("household:H2", "household:H1", 40, "household-merged"),)),
    ],
)
def test_all_members_and_the_whole_balance_go_to_the_other_household(balance: int, carried: tuple[Fact, ...]) -> None:
    past = (*DISTRICT, BalanceCarried("issuance", "household:H1", balance, "household-split"))
    facts = given(past).when(merge_households, MERGE).then(HOUSEHOLD_MERGED, *carried).facts
    after = given(past, facts)
    assert after.state(Account.of("household:H1")).balance_minutes == 0
    assert after.state(Account.of("household:H2")).balance_minutes == balance
    assert after.state(Roster.of("H2")).members == {"V1", "V2", "V3"}
    assert after.state(Roster.of("H1")).members == frozenset()
    assert after.state(Person.of("V1")).household == "H2"


def test_a_record_of_a_merged_household_earns_for_its_successor_up_to_that_ones_cap() -> None:
    confirmed = HoursConfirmed("issuance", "household:H2", 90, "R1", "S2")
    past = (HOURS_LOGGED, HOUSEHOLD_MERGED, credited("H2", 60))
    given(DISTRICT, past).when(confirm, ConfirmHours(record="R1")).then(confirmed)
    given(district(balance_minutes_max=None), past).when(confirm, ConfirmHours(record="R1")).then(confirmed)
    given(district(balance_minutes_max=100), past).when(confirm, ConfirmHours(record="R1")).then(
        confirmed, MinutesCapped("household:H2", POOL, 50, "R1")
    )


def test_a_successor_is_followed_however_often_it_was_merged_again() -> None:
    facts = (*DISTRICT, HOURS_LOGGED, HOUSEHOLD_MERGED, HouseholdMerged("H2", "H3", ("V1", "V2", "V3")))
    (confirmed,) = given(facts).when(confirm, ConfirmHours(record="R1"), actor=ADMIN).accepted
    assert confirmed.target == "household:H3"  # type: ignore[attr-defined]


def test_nobody_confirms_for_the_household_that_took_over_the_one_that_earned() -> None:
    facts = (*DISTRICT, HOURS_LOGGED, HOUSEHOLD_MERGED, H2_MEMBER)
    given(facts).when(confirm, ConfirmHours(record="R1")).refused(ConfirmedByOwnHousehold("R1", "H2"))


@pytest.mark.parametrize("served", [None, "H3"])
def test_nobody_confirms_a_groups_hours_for_the_household_that_took_over_the_one_that_gave_them(
    served: str | None,
) -> None:
    given_as_group = replace(HOURS_LOGGED, group="G1", recipient_household=served)
    facts = (*DISTRICT, given_as_group, HOUSEHOLD_MERGED, H2_MEMBER)
    command, refusal = ConfirmHours(record="R1"), ConfirmedByOwnHousehold("R1", "H2")
    given(facts).when(confirm, command).refused(refusal)
    given(facts).when(confirm, command, actor=Actor(H2_MEMBER.member, "volunteer")).refused(refusal)


def test_a_groups_hours_are_confirmed_whatever_became_of_the_household_that_gave_them() -> None:
    given_as_group = replace(HOURS_LOGGED, group="G1")
    for ended in (HOUSEHOLD_MERGED, HOUSEHOLD_CLOSED):
        given(DISTRICT, given_as_group, ended).when(confirm, ConfirmHours(record="R1")).then(
            HoursConfirmed("issuance", "group:G1", 90, "R1", "S2")
        )


def test_a_household_does_not_pay_itself_after_it_was_merged_with_the_one_it_served() -> None:
    facts = (*district(payer="recipient"), HOURS_LOGGED, HOUSEHOLD_MERGED)
    (confirmed,) = given(facts).when(confirm, ConfirmHours(record="R1")).accepted
    assert (confirmed.source, confirmed.target) == ("issuance", "household:H2")  # type: ignore[attr-defined]


def test_the_successor_of_a_served_household_pays() -> None:
    facts = (*district(payer="recipient"), HOURS_LOGGED, HouseholdMerged("H2", "H3", ("V3",)), credited("H3", 90))
    (confirmed,) = given(facts).when(confirm, ConfirmHours(record="R1")).accepted
    assert confirmed.source == "household:H3"  # type: ignore[attr-defined]


def test_a_reversal_takes_from_the_successor_what_its_record_brought() -> None:
    facts = (*DISTRICT, HOURS_LOGGED, HOURS_CONFIRMED, HOUSEHOLD_MERGED)
    undone = HoursReversed("household:H2", "issuance", 90, "R1", "S2", "duplicate")
    given(facts).when(reverse, ReverseHours(record="R1", reason="duplicate")).then(undone)


# ── Close ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "balance", "heir", "carried"),
    [
        ("pool", 90, POOL, (BalanceCarried("household:H1", POOL, 90, "household-closed"),)),
        ("expire", 90, "expired", (BalanceCarried("household:H1", "expired", 90, "household-closed"),)),
        ("pool", 0, POOL, ()),
        ("pool", -40, POOL, (BalanceCarried(POOL, "household:H1", 40, "household-closed"),)),
        ("expire", -40, POOL, (BalanceCarried(POOL, "household:H1", 40, "household-closed"),)),
    ],
)
def test_a_closed_households_balance_goes_where_the_policy_says(
    policy: str, balance: int, heir: str, carried: tuple[Fact, ...]
) -> None:
    past = (*district(closing_balance=policy), BalanceCarried("issuance", "household:H1", balance, "household-split"))
    closed = HouseholdClosed("H1", "moved-away", heir, ("V1", "V2"))
    facts = given(past).when(close_household, CLOSE).then(closed, *carried, policy=1).facts
    assert given(past, facts).state(Account.of("household:H1")).balance_minutes == 0
    assert given(past, facts).state(Person.of("V1")).household is None
    assert given(past, facts).state(Roster.of("H1")).members == frozenset()


def test_a_closed_households_balance_may_go_to_another_household() -> None:
    command = CloseHousehold(household="H1", cause="died", taken_over_by="H2")
    closed = HouseholdClosed("H1", "died", "household:H2", ("V1", "V2"))
    carried = BalanceCarried("household:H1", "household:H2", 90, "household-closed")
    given(DISTRICT, credited("H1", 90)).when(close_household, command).then(closed, carried)


def test_a_record_of_a_household_closed_without_a_successor_is_not_confirmed() -> None:
    facts = (*DISTRICT, HOURS_LOGGED, HOUSEHOLD_CLOSED)
    given(facts).when(confirm, ConfirmHours(record="R1")).refused(ClosedHousehold("H1"))


@pytest.mark.parametrize(("without_recipient", "payer"), [("issuance", "issuance"), ("pool", POOL)])
def test_for_a_served_household_that_was_closed_pays_who_pays_where_there_is_none(
    without_recipient: str, payer: str
) -> None:
    policy = district(payer="recipient", payer_without_recipient=without_recipient)
    carried = BalanceCarried("household:H2", POOL, 90, "household-closed")
    facts = (*policy, HOURS_LOGGED, credited("H2", 90), HouseholdClosed("H2", "died", POOL, ()), carried)
    (confirmed,) = given(facts).when(confirm, ConfirmHours(record="R1")).accepted
    assert confirmed.source == payer  # type: ignore[attr-defined]


@pytest.mark.parametrize("heir", [POOL, "expired", "household:H3"])
def test_a_reversal_takes_from_where_the_balance_of_a_closed_household_went(heir: str) -> None:
    facts = (*DISTRICT, HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED, HouseholdClosed("H1", "other", heir, ()))
    returned, undone = given(facts).when(reverse, ReverseHours(record="R1", reason="other")).accepted
    assert (returned.source, returned.target) == (POOL, heir)  # type: ignore[attr-defined]
    assert undone == HoursReversed(heir, "issuance", 90, "R1", "S2", "other")
    tags = [*returned.tags(), *undone.tags()]
    assert len(set(returned.tags())) == len(returned.tags()), tags


def test_a_closed_household_is_neither_served_nor_joined_nor_changed_any_more() -> None:
    closed = (*DISTRICT, HouseholdClosed("H2", "died", POOL, ("V3",)), HOUSEHOLD_MERGED)
    refused = ClosedHousehold("H2")
    given(closed).when(log, COMMAND_EXAMPLES[log].model_copy(update={"volunteer": "V4"}), actor=ADMIN).refused(refused)
    for decide, command in (
        (register_member, RegisterMember(member="V7", household="H2")),
        (grant_minutes, GrantMinutes(household="H2", minutes=1, need="other")),
        (move_household, MoveHousehold(household="H2", community=XINZHU, moved_on=TODAY)),
        (split_household, split(household="H2", members=("V3",))),
        (merge_households, MergeHouseholds(household="H2", into="H3")),
        (merge_households, MergeHouseholds(household="H3", into="H2")),
        (close_household, CloseHousehold(household="H2", cause="other")),
        (close_household, CloseHousehold(household="H3", cause="other", taken_over_by="H2")),
    ):
        given(closed).when(decide, command, actor=ADMIN).refused(refused)
    given(closed).when(move_member, MoveMember(member="V4", into="H2"), actor=ADMIN).refused(refused)


def test_old_books_may_say_that_a_closed_household_was_served_but_not_that_it_earned() -> None:
    row = COMMAND_EXAMPLES[import_hours]
    assert given(DISTRICT, HouseholdClosed("H2", "died", POOL, ())).when(import_hours, row).accepted
    # Nobody of it is known here, so only the household itself says that it is closed.
    unknown = (HouseholdRegistered("H1", XINZHU), HouseholdClosed("H1", "other", POOL, ()))
    given(DISTRICT[:6], unknown).when(import_hours, row).refused(ClosedHousehold("H1"))


# ── Refusals that several share ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("decide", "command", "refusal"),
    [
        (leave_household, LeaveHousehold(member="V9"), UnknownMember("V9")),
        (record_death, RecordDeath(member="V9"), UnknownMember("V9")),
        (move_member, MoveMember(member="V1", into="H9"), UnknownHousehold("H9")),
        (move_member, MoveMember(member="V1", into="H1"), SameHousehold("H1")),
        (move_household, MoveHousehold(household="H9", community=JINHU, moved_on=TODAY), UnknownHousehold("H9")),
        (move_household, MoveHousehold(household="H1", community="别处", moved_on=TODAY), UnknownCommunity("别处")),
        (
            move_household,
            MoveHousehold(household="H1", community=JINHU, moved_on=date(2027, 11, 24)),
            TooFarAhead("2027-11-24", "2027-11-23"),
        ),
        (
            move_household,
            MoveHousehold(household="H2", community=XINZHU, grid=GRID, moved_on=TODAY),
            SamePlace("H2", f"{XINZHU}/第3网格"),
        ),
        (split_household, split(into="H2"), HouseholdAlreadyRegistered("H2")),
        (split_household, split(members=("V2", "V3")), UnknownMember("V3")),
        (split_household, split(household="H9"), UnknownHousehold("H9")),
        (merge_households, MergeHouseholds(household="H1", into="H1"), SameHousehold("H1")),
        (merge_households, MergeHouseholds(household="H1", into="H9"), UnknownHousehold("H9")),
        (close_household, CloseHousehold(household="H9", cause="other"), UnknownHousehold("H9")),
        (close_household, CloseHousehold(household="H1", cause="other", taken_over_by="H1"), SameHousehold("H1")),
    ],
)
def test_what_can_not_be_is_refused(decide: Any, command: Any, refusal: Refusal) -> None:
    given(DISTRICT).when(decide, command, actor=ADMIN).refused(refusal)


def test_minutes_that_are_held_must_be_released_before_a_household_goes_that_nobody_takes_over() -> None:
    held = MinutesHeld("household:H1", 60, "request:Q1")
    given(DISTRICT, credited("H1", 90), held).when(close_household, CLOSE).refused(MinutesStillHeld("household:H1", 60))


# ── What is not finished ─────────────────────────────────────────────────────────────────────────────────────────

H2_INTO_H3 = MergeHouseholds(household="H2", into="H3")
H2_TAKEN_OVER = CloseHousehold(household="H2", cause="died", taken_over_by="H3")
H2_CLOSED = CloseHousehold(household="H2", cause="moved-away")
HOLDING = {"payer": "recipient", "request_hold": True}
ASKED_AND_HELD = (replace(REQUEST_ASKED, held_minutes=60), MINUTES_HELD)
MERGED_INTO_H3 = HouseholdMerged("H2", "H3", ("V3",))


@pytest.mark.parametrize(("decide", "command"), [(merge_households, H2_INTO_H3), (close_household, H2_TAKEN_OVER)])
def test_what_a_household_asked_for_follows_the_one_that_stands_in_its_place(decide: Any, command: Any) -> None:
    past = (*district(**HOLDING), credited("H2", 90), *ASKED_AND_HELD, OFFER_MADE)
    facts = given(past).when(decide, command, actor=ADMIN).accepted
    assert facts[1:] == (
        BalanceCarried("household:H2", "household:H3", 90, facts[1].cause),  # type: ignore[attr-defined]
        MinutesReleased("household:H2", 60, "request:Q1"),
        MinutesHeld("household:H3", 60, "request:Q1"),
        RequestFollowed("Q1", "H3", JINHU, ()),
    )
    after = given(past, facts)
    assert after.state(Account.of("household:H2")) == Account("household:H2")
    assert after.state(Account.of("household:H3")) == Account("household:H3", 90, 60)
    assert after.state(AskedRequests.of("H3")).requests == ("Q1",)
    # Its offers stand, its members go on, and what is held is released where it is now.
    assert after.when(accept, AcceptOffer(request="Q1", volunteer="V1"), actor=volunteer("V4")).accepted
    after.when(cancel, CancelRequest(request="Q1"), actor=STAFF_ELSEWHERE).then(
        MinutesReleased("household:H3", 60, "request:Q1"), replace(REQUEST_CANCELLED, cancelled_by="S9")
    )
    after.when(cancel, CancelRequest(request="Q1")).refused(UnknownRequest("Q1"))


def test_what_was_asked_for_elsewhere_than_at_home_is_wanted_there_as_before() -> None:
    elsewhere = replace(REQUEST_ASKED, grid=())
    facts = given(DISTRICT, elsewhere).when(merge_households, H2_INTO_H3, actor=ADMIN).accepted
    assert facts[-1] == RequestFollowed("Q1", "H3", XINZHU, ())


def test_what_is_over_by_then_stays_with_the_household_of_then() -> None:
    for over in (REQUEST_CANCELLED, REQUEST_EXPIRED):
        facts = given(DISTRICT, REQUEST_ASKED, over).when(merge_households, H2_INTO_H3, actor=ADMIN).accepted
        assert facts == (MERGED_INTO_H3,)


def test_the_hours_given_for_a_request_are_paid_from_what_the_successor_holds_for_it() -> None:
    fulfilled = (HOURS_LOGGED, *ASKED_AND_HELD, REQUEST_FULFILLED)
    past = (*district(**HOLDING), credited("H2", 90), *fulfilled)
    merged = (*past, *given(past).when(merge_households, H2_INTO_H3, actor=ADMIN).accepted)
    released = MinutesReleased("household:H3", 60, "request:Q1")
    paid = HoursConfirmed("household:H3", "household:H1", 90, "R1", "A1")
    given(merged).when(confirm, ConfirmHours(record="R1"), actor=ADMIN).then(released, paid)
    given(merged).when(reject, RejectHours(record="R1", reason="other"), actor=ADMIN).then(
        released, HoursRejected("R1", "A1", "other")
    )


def test_a_household_that_asks_is_closed_once_that_is_settled_where_nobody_takes_it_over() -> None:
    past = (*DISTRICT, REQUEST_ASKED, replace(REQUEST_ASKED, request="Q2"))
    given(past).when(close_household, H2_CLOSED, actor=ADMIN).refused(RequestsStillOpen("H2", "Q1, Q2"))
    settled = (*past, REQUEST_CANCELLED, replace(REQUEST_EXPIRED, request="Q2"))
    assert given(settled).when(close_household, H2_CLOSED, actor=ADMIN).accepted
    # What is over though nothing has ended it yet can't be accepted any more, and is ended with time.
    later = at("11-25 12:00")
    assert given(past).when(close_household, H2_CLOSED, actor=ADMIN, now=later).accepted


def test_a_request_at_home_follows_a_household_to_its_new_home_and_staff_there_reach_it() -> None:
    command = MoveHousehold(household="H2", community=JINHU, moved_on=TODAY)
    facts = given(DISTRICT, REQUEST_ASKED).when(move_household, command).accepted
    assert facts == (HouseholdMoved("H2", JINHU, (), TODAY), RequestFollowed("Q1", "H2", JINHU, ()))
    after = given(DISTRICT, REQUEST_ASKED, facts)
    assert after.when(cancel, CancelRequest(request="Q1"), actor=STAFF_ELSEWHERE).accepted


def test_a_split_leaves_what_was_asked_for_and_what_is_held_with_the_old_household() -> None:
    past = (*DISTRICT, credited("H2", 90), *ASKED_AND_HELD)
    command = SplitHousehold(household="H2", into="H8", members=("V3",), minutes=30)
    facts = given(past).when(split_household, command).accepted
    assert [type(fact).__name__ for fact in facts] == ["HouseholdSplit", "BalanceCarried"]
    assert given(past, facts).state(Account.of("household:H2")) == Account("household:H2", 60, 60)


def test_the_offers_of_who_can_not_come_any_more_lapse_and_the_request_is_open_again() -> None:
    accepted = (*DISTRICT, REQUEST_ASKED, OFFER_MADE, OFFER_ACCEPTED)
    lapse = LapseOffer(request="Q1", volunteer="V1")
    lapsed = OfferWithdrawn("Q1", "V1", BY_TIME, at("11-23 18:00"))
    for gone in (MEMBER_LEFT, MEMBER_DIED, MEMBER_MOVED):
        given(accepted, gone).when(lapse_offer, lapse, actor=TIME).then(lapsed, policy=1)
        only_made = given(DISTRICT, REQUEST_ASKED, OFFER_MADE, gone)
        only_made.when(lapse_offer, lapse, actor=TIME).then(replace(lapsed, expires_at=None))
    given(accepted).when(lapse_offer, lapse, actor=TIME).refused(OfferStands("Q1", "V1"))
    given(accepted, MEMBER_DIED).when(lapse_offer, lapse).refused(LeftToTime("S2"))
    given(accepted, REQUEST_CANCELLED).when(lapse_offer, lapse, actor=TIME).refused(
        RequestInOtherStatus("Q1", "cancelled")
    )
    none_made = given(DISTRICT, REQUEST_ASKED, MEMBER_DIED)
    none_made.when(lapse_offer, lapse, actor=TIME).refused(UnknownOffer("Q1", "V1"))


RESERVED = (PARTNER_REGISTERED, REWARD_OFFERED, credited("H2", 90), *reserved("RV1"))
COLLECT = CollectReward(reservation="RV1", code=CODE)


def test_a_reservation_is_collected_given_up_and_undone_by_the_household_it_was_merged_into() -> None:
    past = (*DISTRICT, *RESERVED)
    merged = (*past, *given(past).when(merge_households, H2_INTO_H3, actor=ADMIN).accepted)
    counter, h3 = Actor("P1", "partner"), volunteer("V4")
    released, bought = given(merged).when(collect, COLLECT, actor=counter).accepted
    assert released == MinutesReleased("household:H3", 60, "reservation:RV1")
    assert (bought.source, bought.target) == ("household:H3", "partner:P1")  # type: ignore[attr-defined]
    give_up = ReleaseReservation(reservation="RV1")
    assert given(merged).when(release, give_up, actor=h3).accepted
    given(merged).when(release, give_up, actor=volunteer("V1")).refused(UnknownReservation("RV1"))
    assert given(merged).when(release, give_up, actor=STAFF_ELSEWHERE).accepted[0] == released
    undo = ReverseRedemption(reservation="RV1", reason="other", restocked=True)
    sold = (*merged, released, bought)
    (undone,) = given(sold).when(reverse_redemption, undo, actor=ADMIN).accepted
    assert undone.target == "household:H3"  # type: ignore[attr-defined]
    of_h3 = MemberRegistered("A1", "H3")
    given(sold, of_h3).when(reverse_redemption, undo, actor=ADMIN).refused(RedemptionOfOwnHousehold("RV1", "H2"))


def test_a_redemption_of_a_closed_household_is_given_back_to_its_heir() -> None:
    closed = HouseholdClosed("H2", "died", POOL, ("V3",))
    past = (*DISTRICT, PARTNER_REGISTERED, REWARD_OFFERED, credited("H2", 60), *collected("RV1"), closed)
    undo = ReverseRedemption(reservation="RV1", reason="other", restocked=True)
    (undone,) = given(past).when(reverse_redemption, undo).accepted
    assert undone.target == POOL  # type: ignore[attr-defined]


DISPUTED = (
    *DISTRICT,
    logged("R3", "10-30 10:00 - 11:00"),
    replace(HOURS_CONFIRMED, record="R3", minutes=60),
    DISPUTE_OPENED,
    MinutesHeld("household:H1", 60, "dispute:D1"),
)
H1_INTO_H3 = MergeHouseholds(household="H1", into="H3")


def test_a_dispute_goes_on_with_the_household_that_took_over_and_its_minutes_stay_held() -> None:
    merged = (*DISPUTED, *given(DISPUTED).when(merge_households, H1_INTO_H3, actor=ADMIN).accepted)
    assert given(merged).state(Account.of("household:H3")) == Account("household:H3", 60, 60)
    case = StateCase(dispute="D1", ground="served")
    (stated,) = given(merged).when(state_case, case, actor=volunteer("V4")).accepted
    assert stated.side == "earner"  # type: ignore[attr-defined]
    party = (*merged, MemberRegistered("A1", "H3"))
    verdict = DecideDispute(dispute="D1", outcome="upheld")
    given(party).when(decide_dispute, verdict, actor=ADMIN).refused(DecidedByParty("D1", "A1"))
    upheld, released, undone = given(merged).when(decide_dispute, verdict, actor=ADMIN).accepted
    assert upheld == DISPUTE_UPHELD
    assert released == MinutesReleased("household:H3", 60, "dispute:D1")
    assert (undone.source, undone.target) == ("household:H3", "issuance")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("heir", "held"),
    [("household:H3", ("household:H3",)), (POOL, (POOL,)), ("expired", ())],
)
def test_what_is_disputed_after_an_account_went_is_held_where_it_would_be_taken_back(
    heir: str, held: tuple[str, ...]
) -> None:
    past = (*DISTRICT, HOURS_LOGGED, HOURS_CONFIRMED, HouseholdClosed("H1", "died", heir, ()))
    command = OpenDispute(dispute="D1", record="R1", ground="not-served", settled_at=NOW)
    opened, *holds = given(past).when(open_dispute, command, actor=volunteer("V3")).accepted
    assert tuple(hold.account for hold in holds) == held  # type: ignore[attr-defined]
    assert opened.held_minutes == (90 if held else 0)  # type: ignore[attr-defined]
    dismiss = DecideDispute(dispute="D1", outcome="dismissed")
    later = NOW + timedelta(days=30)
    _, *released = given(past, opened, holds).when(decide_dispute, dismiss, actor=ADMIN, now=later).accepted
    assert tuple(hold.account for hold in released) == held  # type: ignore[attr-defined]


def test_who_joined_with_the_household_that_was_served_confirms_for_it() -> None:
    past = (*DISTRICT, HOURS_LOGGED, MERGED_INTO_H3)
    as_member = given(past).when(confirm, ConfirmHours(record="R1"), actor=volunteer("V4"))
    as_member.then(replace(HOURS_CONFIRMED, confirmed_by="V4", confirmed_as="recipient"))
    stranger = (*past, MemberRegistered("V9", "H9"))
    given(stranger).when(confirm, ConfirmHours(record="R1"), actor=volunteer("V9")).refused(UnknownRecord("R1"))


CHECKED_IN_AT_H2 = CheckedIn("C2", "V1", XINZHU, "助餐", at("11-22 10:00"), "V1", "self", "H2")


@pytest.mark.parametrize(
    ("became", "recipient"),
    [(MERGED_INTO_H3, "H3"), (HouseholdClosed("H2", "died", POOL, ("V3",)), "H2")],
)
def test_a_visit_is_checked_out_of_whatever_became_of_the_household_since(became: Fact, recipient: str) -> None:
    past = (*DISTRICT, CHECKED_IN_AT_H2, became)
    _, log_ = given(past).when(check_out, CheckOut(visit="C2"), actor=volunteer("V1")).accepted
    assert log_.recipient_household == recipient  # type: ignore[attr-defined]


def test_a_visit_in_a_community_that_was_merged_since_is_logged_where_the_household_lives() -> None:
    dissolved = (CommunityDissolved(XINZHU, JINHU), HouseholdMoved("H2", JINHU, (), TODAY))
    past = (*DISTRICT, CHECKED_IN_AT_H2, *dissolved)
    _, log_ = given(past).when(check_out, CheckOut(visit="C2"), actor=volunteer("V1")).accepted
    assert log_.community == JINHU  # type: ignore[attr-defined]


def test_the_visit_of_who_died_or_left_since_is_not_checked_out_and_can_be_voided() -> None:
    for gone, refusal in ((MEMBER_DIED, MemberHasDied("V1")), (MEMBER_LEFT, UnknownMember("V1"))):
        past = (*DISTRICT, CHECKED_IN_AT_H2, gone)
        given(past).when(check_out, CheckOut(visit="C2")).refused(refusal)
        assert given(past).when(void_visit, VoidVisit(visit="C2", reason="other")).accepted


def test_a_door_code_of_a_merged_household_opens_and_ends_a_visit_to_its_successor() -> None:
    past = (*DISTRICT, DOOR_CODE_MADE, MERGED_INTO_H3)
    command = CheckIn(volunteer="V1", service="助餐", code=DOOR_CODE)
    (begun,) = given(past).when(check_in, command, actor=volunteer("V1")).accepted
    assert begun.recipient_household == "H3"  # type: ignore[attr-defined]
    out = CheckOut(visit="C2", code=DOOR_CODE)
    _, log_ = given(past, CHECKED_IN_AT_H2).when(check_out, out, actor=volunteer("V1")).accepted
    assert log_.recipient_household == "H3"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("decide", "command"),
    [
        (leave_household, LEAVE),
        (record_death, DEATH),
        (move_member, MOVE),
        (move_household, MoveHousehold(household="H1", community=JINHU, moved_on=TODAY)),
        (split_household, split(minutes=0)),
        (merge_households, MERGE),
        (merge_households, MergeHouseholds(household="H2", into="H1")),
        (close_household, CLOSE),
        (close_household, CloseHousehold(household="H2", cause="other", taken_over_by="H1")),
    ],
)
def test_nobody_decides_about_their_own_household(decide: Any, command: Any) -> None:
    own = MemberRegistered("S2", "H1")
    given(DISTRICT, own).when(decide, command).refused(DecidedByMember("H1"))
    assert given(DISTRICT).when(decide, command).accepted


@pytest.mark.parametrize(
    ("decide", "command", "refusal"),
    [
        (leave_household, LEAVE, UnknownMember("V1")),
        (record_death, DEATH, UnknownMember("V1")),
        (move_member, MOVE, UnknownMember("V1")),
        (move_member, MoveMember(member="V4", into="H2"), UnknownHousehold("H2")),
        (move_household, MoveHousehold(household="H1", community=JINHU, moved_on=TODAY), UnknownHousehold("H1")),
        (split_household, split(), UnknownHousehold("H1")),
        (merge_households, MERGE, UnknownHousehold("H1")),
        (merge_households, MergeHouseholds(household="H3", into="H1"), UnknownHousehold("H1")),
        (close_household, CLOSE, UnknownHousehold("H1")),
        (close_household, CloseHousehold(household="H3", cause="other", taken_over_by="H1"), UnknownHousehold("H1")),
        (register_member, RegisterMember(member="V7", household="H1"), UnknownHousehold("H1")),
    ],
)
def test_staff_of_one_community_are_told_nothing_of_another(decide: Any, command: Any, refusal: Refusal) -> None:
    given(DISTRICT).when(decide, command, actor=STAFF_ELSEWHERE).refused(refusal)
    closed = HouseholdClosed("H1", "other", POOL, ())
    given(DISTRICT, closed).when(decide, command, actor=STAFF_ELSEWHERE).refused(refusal)


# ── No minute is made or lost ────────────────────────────────────────────────────────────────────────────────────

NUMBERS = st.sampled_from(["H1", "H2", "H3", "H4", "H5"])
MEMBERS = st.sampled_from(["V1", "V2", "V3", "V4"])
LIVES = st.one_of(
    st.builds(LeaveHousehold, member=MEMBERS).map(lambda c: (leave_household, c)),
    st.builds(MoveMember, member=MEMBERS, into=NUMBERS).map(lambda c: (move_member, c)),
    st.builds(RecordDeath, member=MEMBERS).map(lambda c: (record_death, c)),
    st.builds(RegisterMember, member=MEMBERS, household=NUMBERS).map(lambda c: (register_member, c)),
    st.builds(
        MoveHousehold,
        household=NUMBERS,
        community=st.sampled_from([XINZHU, JINHU]),
        moved_on=st.sampled_from([TODAY, date(2026, 12, 1)]),
    ).map(lambda c: (move_household, c)),
    st.builds(
        SplitHousehold,
        household=NUMBERS,
        into=NUMBERS,
        members=st.sets(MEMBERS, min_size=1, max_size=2).map(lambda found: tuple(sorted(found))),
        minutes=st.integers(0, 120),
    ).map(lambda c: (split_household, c)),
    st.builds(MergeHouseholds, household=NUMBERS, into=NUMBERS).map(lambda c: (merge_households, c)),
    st.builds(
        CloseHousehold, household=NUMBERS, cause=st.just("other"), taken_over_by=st.none() | NUMBERS
    ).map(lambda c: (close_household, c)),
    st.just((confirm, ConfirmHours(record="R1"))),
    st.just((reverse, ReverseHours(record="R1", reason="other"))),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@drawn(
    st.lists(LIVES, max_size=25),
    st.sampled_from(["pool", "expire"]),
    st.sampled_from(["issuance", "recipient"]),
    st.integers(-100, 300),
)
def test_whatever_becomes_of_households_all_accounts_sum_to_zero_and_closed_ones_hold_nothing(
    lives: list[Any], closing: str, payer: str, balance: int
) -> None:
    start = BalanceCarried("issuance", "household:H1", balance, "household-split")
    facts: list[Fact] = [
        *district(closing_balance=closing, payer=payer, balance_minutes_min=-600),
        start,
        credited("H3", 70),
        HOURS_LOGGED,
        MinutesHeld("household:H1", 30, "request:Q9"),
        MinutesHeld("household:H3", 20, "dispute:D9"),
    ]
    for decide, command in lives:
        context = Context(Actor("D1", "admin"), NOW, COMMAND_ID, ZONE)
        try:
            decided = drive(decide(command, context), given(*facts).state)
        except Refusal:
            continue
        for fact in decided.facts:
            assert not isinstance(fact, Movement) or fact.minutes > 0
        facts += decided.facts
    balances: Counter[str] = Counter()
    for fact in facts:
        if isinstance(fact, Movement):
            balances[fact.source] -= fact.minutes
            balances[fact.target] += fact.minutes
    assert sum(balances.values()) == 0
    held: list[tuple[str, int]] = []
    homes: dict[str, set[str]] = {}
    for member in ("V1", "V2", "V3", "V4"):
        person = given(*facts).state(Person.of(member))
        if person.household is not None:
            homes.setdefault(person.household, set()).add(member)
    for number in ("H1", "H2", "H3", "H4", "H5"):
        household = given(*facts).state(Household.of(number))
        assert given(*facts).state(Account.of("household:" + number)).balance_minutes == balances["household:" + number]
        assert given(*facts).state(Roster.of(number)).members == homes.get(number, set())
        holds = given(*facts).state(Holds.of("household:" + number)).open
        assert given(*facts).state(Account.of("household:" + number)).held_minutes == sum(h.minutes for h in holds)
        held += [(hold.hold, hold.minutes) for hold in holds]
        if household.heir is not None:
            assert not holds
            assert balances["household:" + number] == 0
            assert number not in homes
    # Whatever was held is held once, for the same and as many minutes, by a household that stands.
    assert sorted(held) == [("dispute:D9", 20), ("request:Q9", 30)]
