"""Who has a part in something has no say in it, whatever became of the households meanwhile: across all concepts."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from domain.account import Account, MinutesHeld
from domain.decision import Actor
from domain.dispute import DecidedByParty, DecideDispute, decide_dispute
from domain.expiry import (
    AnnounceExpiry,
    ExpireMinutes,
    ExpiryCalledOff,
    Savings,
    announce_expiry,
    expire_minutes,
)
from domain.fact import Fact
from domain.grant import (
    ApproveGrant,
    ProposeGrant,
    RejectGrant,
    WithdrawGrant,
    approve_grant,
    propose_grant,
    reject_grant,
    withdraw_grant,
)
from domain.hours import ConfirmHours, ReverseHours, confirm, reverse
from domain.household import (
    ClosedHousehold,
    HouseholdClosed,
    HouseholdMerged,
    HouseholdRegistered,
    MemberDied,
    MemberLeft,
    MemberMoved,
    MemberRegistered,
    UnknownHousehold,
    UnknownMember,
)
from domain.household_life import DecidedByMember, MergeHouseholds, MoveMember, merge_households, move_member
from domain.inspection import InspectedByParty, InspectRecord, inspect_record
from domain.objection import DecideObjection, ObjectionDecidedByParty, decide_objection
from domain.opening import (
    ApproveOpeningBalance,
    OpeningBalanceProposed,
    ProposeOpeningBalance,
    RejectOpeningBalance,
    WithdrawOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
    reject_opening_balance,
    withdraw_opening_balance,
)
from domain.request import FulfilWithRecord, RecordNotForRequest, fulfil_with_record
from domain.sheet import SheetRow, log_sheet
from domain.transfer import DonateMinutes, RegisterFamilyTie, donate, register_family_tie
from domain.visit import AttachEvidence, MakeDoorCode, UnknownRecord, attach_evidence, make_door_code
from tests.controls import (
    ADMIN,
    DISPUTE_OPENED,
    DISTRICT,
    GRANT_PROPOSED,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOUSEHOLD_MERGED,
    JINHU,
    LOGGER,
    MEMBER_LEFT,
    NOW,
    OBJECTION_RAISED,
    OFFER_ACCEPTED,
    OFFER_MADE,
    PERIOD_SEALED,
    REQUEST_ASKED,
    SAMPLE_DRAWN,
    TIME,
    XINZHU,
    at,
    credited,
    district,
    given,
    logged,
    volunteer,
)
from tests.domain.test_sheet import sheet

KEYED = replace(HOURS_LOGGED, also_logged_by="S2", evidence="staff")
"""S1 and S2 both keyed it."""
S2_IN_H2 = MemberRegistered("S2", "H2")
SHEET = AttachEvidence(record="R1", kind="sheet", sha256="cd" * 32)
BOTH = pytest.mark.parametrize("keyer", ["S1", "S2"])


# ── The second keyer of a paper ──────────────────────────────────────────────────────────────────────────────


@BOTH
def test_neither_keyer_of_a_paper_decides_its_dispute(keyer: str) -> None:
    disputed = replace(
        DISPUTE_OPENED,
        record="R1",
        held_minutes=90,
        opened_at=at("11-22 11:00"),
        hearing_until=at("11-22 11:30"),
        decision_due=at("11-23 11:00"),
    )
    facts = (
        KEYED,
        replace(HOURS_CONFIRMED, confirmed_by="S4"),
        disputed,
        MinutesHeld("household:H1", 90, "dispute:D1"),
    )
    given(DISTRICT, facts).when(
        decide_dispute, DecideDispute(dispute="D1", outcome="dismissed"), actor=Actor(keyer, "staff", XINZHU)
    ).refused(DecidedByParty("D1", keyer))


@BOTH
def test_neither_keyer_of_a_paper_decides_an_objection_to_it(keyer: str) -> None:
    record = replace(KEYED, started_at=at("10-21 09:00"), ended_at=at("10-21 10:30"))
    objected = replace(OBJECTION_RAISED, record="R1", raised_by="V3")
    given(DISTRICT, record, replace(PERIOD_SEALED, sealed_by="A2"), objected).when(
        decide_objection,
        DecideObjection(period="2026-10", objection="B1", outcome="dismissed"),
        actor=Actor(keyer, "staff", XINZHU),
        now=OBJECTION_RAISED.decision_due,
    ).refused(ObjectionDecidedByParty("B1", keyer))


@BOTH
def test_neither_keyer_of_a_paper_inspects_it(keyer: str) -> None:
    given(DISTRICT, KEYED, SAMPLE_DRAWN).when(
        inspect_record, InspectRecord(sample="T1", record="R1"), actor=Actor(keyer, "auditor")
    ).refused(InspectedByParty("R1", keyer))


# ── Who lives in the household that stands in another's place ────────────────────────────────────────────────


def test_what_is_attached_by_the_household_that_took_over_the_earner_is_its_own_word() -> None:
    after = (*district(evidence_min="staff"), HOURS_LOGGED, HOUSEHOLD_MERGED, S2_IN_H2)
    (attached,) = given(after).when(attach_evidence, SHEET).accepted
    assert attached.evidence == "self"  # type: ignore[attr-defined]
    outsider = Actor("S5", "staff", XINZHU)
    (attached,) = given(after).when(attach_evidence, SHEET, actor=outsider).accepted
    assert attached.evidence == "staff"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("ended", "member"), [("H1", "V2"), ("H2", "V3")])
def test_members_of_a_successor_attach_to_what_was_theirs_and_nobody_else_does(ended: str, member: str) -> None:
    past = (*DISTRICT, HOURS_LOGGED, HouseholdMerged(ended, "H3", ("V1", "V2") if ended == "H1" else ("V3",)))
    assert given(past).when(attach_evidence, SHEET, actor=volunteer(member)).accepted
    left = (*past, MemberLeft(member, "H3"))
    given(left).when(attach_evidence, SHEET, actor=volunteer(member)).refused(UnknownRecord("R1"))


def test_who_is_of_no_household_is_not_of_the_one_that_was_not_served() -> None:
    nobody_served = replace(HOURS_LOGGED, recipient_household=None)
    given(DISTRICT, nobody_served, MemberLeft("V3", "H2")).when(attach_evidence, SHEET, actor=volunteer("V3")).refused(
        UnknownRecord("R1")
    )


@pytest.mark.parametrize("ended", [MemberDied("V3", "H2"), MemberLeft("V3", "H2"), MemberMoved("V3", "H2", "H3")])
def test_an_objection_is_not_decided_by_who_took_over_the_objectors_household(ended: Fact) -> None:
    raised = replace(OBJECTION_RAISED, record=None, raised_by="V3")
    past = (replace(PERIOD_SEALED, sealed_by="A2"), raised, ended, HouseholdMerged("H2", "H1", ()))
    given(DISTRICT, past, MemberRegistered("S2", "H1")).when(
        decide_objection,
        DecideObjection(period="2026-10", objection="B1", outcome="upheld"),
        now=OBJECTION_RAISED.decision_due,
    ).refused(ObjectionDecidedByParty("B1", "S2"))


def test_staff_move_nobody_into_their_own_household() -> None:
    given(DISTRICT, S2_IN_H2).when(move_member, MoveMember(member="V1", into="H2")).refused(DecidedByMember("H2"))


def test_who_left_leads_no_sheet_any_more() -> None:
    command = sheet(SheetRow(volunteer="V4", record="R9"))
    given(DISTRICT, MEMBER_LEFT).when(log_sheet, command, actor=volunteer("V1")).refused(UnknownMember("V1"))


# ── What a merger must not lose ──────────────────────────────────────────────────────────────────────────────


def test_what_was_given_before_a_merger_fulfils_the_request_and_is_paid_from_what_is_held_for_it() -> None:
    past = (
        *district(payer="recipient", request_hold=True),
        HouseholdRegistered("H5", XINZHU),
        credited("H2", 60),
        replace(REQUEST_ASKED, held_minutes=60),
        MinutesHeld("household:H2", 60, "request:Q1"),
        OFFER_MADE,
        OFFER_ACCEPTED,
        logged("R5", "11-22 09:00 - 10:00"),
    )
    past += given(past).when(merge_households, MergeHouseholds(household="H2", into="H5")).accepted
    done = given(past).when(fulfil_with_record, FulfilWithRecord(request="Q1", record="R5"), actor=volunteer("V1"))
    confirmed = given(past, done.accepted).when(confirm, ConfirmHours(record="R5")).accepted
    assert given(past, done.accepted, confirmed).state(Account.of("household:H5")) == Account("household:H5", 0, 0)


@pytest.mark.parametrize("served", [None, "H3"])
def test_what_another_household_was_given_fulfils_no_request(served: str | None) -> None:
    elsewhere = replace(logged("R5", "11-22 09:00 - 10:00"), recipient_household=served)
    given(DISTRICT, REQUEST_ASKED, OFFER_MADE, OFFER_ACCEPTED, elsewhere).when(
        fulfil_with_record, FulfilWithRecord(request="Q1", record="R5"), actor=volunteer("V1")
    ).refused(RecordNotForRequest("Q1", "R5"))


def test_what_was_reversed_between_two_that_became_one_household_does_not_lapse() -> None:
    rules = district(payer="recipient", expiry_months=1, balance_minutes_max=None)
    past: tuple[Fact, ...] = (
        *rules,
        credited("H2", 90),
        logged("R1", "09-21 09:00 - 10:30"),
    )
    commands: tuple[tuple[Any, Any], ...] = (
        (confirm, ConfirmHours(record="R1")),
        (merge_households, MergeHouseholds(household="H1", into="H2")),
    )
    for decide, command in commands:
        past += given(past).when(decide, command).accepted
    announce = AnnounceExpiry(household="H2", records=("R1",))
    (announced,) = given(past).when(announce_expiry, announce, actor=TIME).accepted
    expire = ExpireMinutes(household="H2", announcement=announced.announcement)  # type: ignore[attr-defined]
    later = NOW + timedelta(days=61)
    (expired,) = given(past, announced).when(expire_minutes, expire, actor=TIME, now=later).accepted
    assert expired.lapsed == (("R1", 90),)  # type: ignore[attr-defined]
    past += given(past).when(reverse, ReverseHours(record="R1", reason="not-served")).accepted
    state = given(past).state(Savings.of("household:H2"))
    assert "R1" not in state.left()
    assert state.account.balance_minutes == 90
    (called_off,) = given(past, announced).when(expire_minutes, expire, actor=TIME, now=later).accepted
    assert isinstance(called_off, ExpiryCalledOff)


# ── Closed households ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("decide", "command"),
    [
        (propose_grant, ProposeGrant(household="H3", minutes=1, need="other")),
        (propose_opening_balance, ProposeOpeningBalance(household="H3", minutes=1)),
        (donate, DonateMinutes(household="H3", minutes=1)),
        (register_family_tie, RegisterFamilyTie(household="H3", other_household="H1")),
        (make_door_code, MakeDoorCode(household="H3", code_hash="ab" * 32)),
    ],
)
def test_a_closed_household_of_another_community_is_as_unknown_as_an_open_one(decide: Any, command: Any) -> None:
    closed = (*DISTRICT, HouseholdClosed("H3", "other", f"pool:{JINHU}", ("V4",)))
    given(closed).when(decide, command).refused(UnknownHousehold("H3"))
    given(closed).when(decide, command, actor=ADMIN).refused(ClosedHousehold("H3"))


def test_a_proposal_for_a_household_that_is_closed_by_now_is_rejected_or_withdrawn_and_never_approved() -> None:
    past = (*DISTRICT, GRANT_PROPOSED, HouseholdMerged("H2", "H1", ("V3",)))
    given(past).when(approve_grant, ApproveGrant(grant="G1")).refused(ClosedHousehold("H2"))
    assert given(past).when(reject_grant, RejectGrant(grant="G1", reason="other")).accepted
    assert given(past).when(withdraw_grant, WithdrawGrant(grant="G1"), actor=LOGGER).accepted
    opened = OpeningBalanceProposed("O1", "H2", 60, "S1")
    past = (*DISTRICT, opened, HouseholdMerged("H2", "H1", ("V3",)))
    named = {"household": "H2", "opening": "O1"}
    given(past).when(approve_opening_balance, ApproveOpeningBalance(**named)).refused(ClosedHousehold("H2"))
    assert given(past).when(reject_opening_balance, RejectOpeningBalance(**named, reason="other")).accepted
    assert given(past).when(withdraw_opening_balance, WithdrawOpeningBalance(**named), actor=LOGGER).accepted
