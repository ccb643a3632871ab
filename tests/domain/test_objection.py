"""Objections: residents raise them while the window is open, and staff without a part in them decide."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from domain.decision import Actor
from domain.disclosure import (
    GROUND_ZH,
    Disclosure,
    ObjectionDismissed,
    ObjectionGround,
    ObjectionRaised,
    ObjectionUpheld,
    ObjectionWithdrawn,
    UnknownDisclosure,
)
from domain.fact import Fact
from domain.hours import UnknownRecord
from domain.household import HouseholdClosed, HouseholdMerged, MemberRegistered, UnknownMember
from domain.objection import (
    DecideObjection,
    ObjectionAlreadyRaised,
    ObjectionDecidedByParty,
    ObjectionLeftToAdministrators,
    ObjectionOfAnother,
    ObjectionSettled,
    ObjectionStillOpen,
    ObjectionTooLate,
    ObjectionWithdrawnByAnother,
    RaiseObjection,
    RecordOutsidePeriod,
    UnknownObjection,
    WithdrawObjection,
    decide_objection,
    raise_objection,
    withdraw_objection,
)
from tests.controls import (
    ADMIN,
    DISTRICT,
    HOURS_CONFIRMED,
    HOURS_REJECTED,
    NOW,
    OBJECTION_DISMISSED,
    OBJECTION_UPHELD,
    OBJECTION_WITHDRAWN,
    PERIOD_FROZEN,
    PERIOD_SEALED,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    district,
    given,
    logged,
    volunteer,
)

RESIDENT, DECIDER = volunteer("V3"), Actor("S5", "staff", XINZHU)
SERVICE = (logged("R3", "10-12 09:00 - 10:00"), replace(HOURS_CONFIRMED, record="R3", minutes=60, confirmed_by="S2"))
UNTIL = PERIOD_SEALED.objections_until


def raising(**changes: Any) -> RaiseObjection:
    return RaiseObjection(**({"period": "2026-10", "objection": "B1", "ground": "hours-missing"} | changes))


def raised(by: str = "V3", **changes: Any) -> ObjectionRaised:
    due = NOW + timedelta(days=15)
    fact = ObjectionRaised("2026-10", "B1", "V3", "H2", XINZHU, "hours-missing", by, due)
    return replace(fact, **changes)


SEALED = (*DISTRICT, *SERVICE, PERIOD_SEALED)
OPEN = (*SEALED, raised())
UPHOLD, DISMISS = (
    DecideObjection(period="2026-10", objection="B1", outcome=outcome) for outcome in ("upheld", "dismissed")
)
WITHDRAW = WithdrawObjection(period="2026-10", objection="B1")


# ── Raising ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_resident_objects_and_it_says_by_when_it_is_decided() -> None:
    given(SEALED).when(raise_objection, raising(), actor=RESIDENT).then(raised(), policy=1)
    shorter = (*district(objection_decision_days=3), PERIOD_SEALED)
    given(shorter).when(raise_objection, raising(), actor=RESIDENT).then(raised(decision_due=NOW + timedelta(days=3)))


def test_staff_write_it_down_for_a_resident_of_their_community() -> None:
    named = raising(person="V3")
    given(SEALED).when(raise_objection, named, actor=STAFF).then(raised("S2"))
    given(SEALED).when(raise_objection, named, actor=ADMIN).then(raised("A1"))
    given(SEALED).when(raise_objection, named, actor=STAFF_ELSEWHERE).refused(UnknownMember("V3"))
    for stranger in ("V9", "S2"):
        given(SEALED).when(raise_objection, raising(person=stranger)).refused(UnknownMember(stranger))
    given(SEALED).when(raise_objection, raising()).refused(UnknownMember("S2"))


def test_nobody_objects_in_the_name_of_another() -> None:
    given(SEALED).when(raise_objection, raising(person="V3"), actor=volunteer("V1")).refused(ObjectionOfAnother("V3"))
    given(SEALED).when(raise_objection, raising(person="V3"), actor=RESIDENT).then(raised())


def test_an_objection_without_a_number_gets_its_commands() -> None:
    (fact,) = given(SEALED).when(raise_objection, raising(objection=None), actor=RESIDENT).accepted
    assert isinstance(fact, ObjectionRaised)
    assert fact.objection == "01234567-89abcdef-01234567-89abcdef"


def test_words_are_kept_apart_and_only_their_digest_is_recorded() -> None:
    (fact,) = given(SEALED).when(raise_objection, raising(text="少了一小时", salt="x"), actor=RESIDENT).accepted
    assert isinstance(fact, ObjectionRaised)
    assert fact.text_digest == raising(text="少了一小时", salt="x").text_digest is not None
    assert fact.text_digest != raising(text="少了一小时", salt="y").text_digest
    assert "少了" not in repr(fact)


def test_objections_are_raised_while_the_window_is_open() -> None:
    last = UNTIL - timedelta(microseconds=1)
    assert given(SEALED).when(raise_objection, raising(), actor=RESIDENT, now=last).accepted
    refusal = ObjectionTooLate("2026-10", "2026-11-27T12:00+08:00")
    given(SEALED).when(raise_objection, raising(), actor=RESIDENT, now=UNTIL).refused(refusal)
    given(SEALED, PERIOD_FROZEN).when(raise_objection, raising(), actor=RESIDENT).refused(refusal)
    given(DISTRICT).when(raise_objection, raising(), actor=RESIDENT).refused(UnknownDisclosure("2026-10"))


def test_one_objection_of_a_person_to_a_month_is_open_at_a_time() -> None:
    again = raising(objection="B2")
    given(OPEN).when(raise_objection, again, actor=RESIDENT).refused(ObjectionStillOpen("2026-10", "B1"))
    given(OPEN, OBJECTION_DISMISSED).when(raise_objection, again, actor=RESIDENT).then(raised(objection="B2"))
    other = raised(person="V1", household="H1", raised_by="V1", objection="B2")
    given(OPEN).when(raise_objection, again, actor=volunteer("V1")).then(other)


def test_a_number_is_used_once_a_month() -> None:
    given(OPEN).when(raise_objection, raising(), actor=volunteer("V1")).refused(ObjectionAlreadyRaised("2026-10", "B1"))


@pytest.mark.parametrize("actor", [RESIDENT, volunteer("V1"), volunteer("V2")])
def test_a_record_that_is_named_is_one_of_ones_own_household(actor: Actor) -> None:
    (fact,) = given(SEALED).when(raise_objection, raising(record="R3"), actor=actor).accepted
    assert isinstance(fact, ObjectionRaised)
    assert fact.record == "R3"


def test_other_peoples_records_are_unknown_and_another_months_do_not_belong() -> None:
    november = logged("R4", "11-02 09:00 - 10:00")
    past = given(SEALED, november)
    past.when(raise_objection, raising(record="R3"), actor=volunteer("V4")).refused(UnknownRecord("R3"))
    past.when(raise_objection, raising(record="R9"), actor=RESIDENT).refused(UnknownRecord("R9"))
    past.when(raise_objection, raising(record="R3", person="V4"), actor=ADMIN).refused(UnknownRecord("R3"))
    past.when(raise_objection, raising(record="R4"), actor=RESIDENT).refused(RecordOutsidePeriod("R4", "2026-10"))


def test_the_records_of_a_household_that_was_merged_are_its_successors() -> None:
    merged = HouseholdMerged("H2", "H3", ("V3",))
    assert given(SEALED, merged).when(raise_objection, raising(record="R3"), actor=volunteer("V4")).accepted


# ── Deciding ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_staff_without_a_part_in_it_decide() -> None:
    given(OPEN).when(decide_objection, UPHOLD, actor=DECIDER).then(ObjectionUpheld("2026-10", "B1", "S5"))
    given(OPEN).when(decide_objection, DISMISS, actor=DECIDER).then(ObjectionDismissed("2026-10", "B1", "S5"))


OF_H2 = MemberRegistered("S5", "H2")
OF_H1 = MemberRegistered("S5", "H1")


@pytest.mark.parametrize(
    ("actor", "past", "of_record"),
    [
        (Actor("V3", "admin"), (), {}),
        (Actor("S7", "staff", XINZHU), (), {"raised_by": "S7"}),
        (Actor("A1", "admin"), (), {}),
        (DECIDER, (OF_H2,), {}),
        (Actor("S1", "staff", XINZHU), (), {"record": "R3"}),
        (STAFF, (), {"record": "R3"}),
        (Actor("V1", "admin"), (), {"record": "R3"}),
        (DECIDER, (OF_H1,), {"record": "R3"}),
    ],
    ids=["raised", "wrote down", "sealed", "household", "logged", "confirmed", "served", "household that earned"],
)
def test_whoever_has_a_part_in_it_does_not(actor: Actor, past: tuple[Fact, ...], of_record: Any) -> None:
    facts = given(SEALED, past, raised(**of_record))
    facts.when(decide_objection, UPHOLD, actor=actor).refused(ObjectionDecidedByParty("B1", actor.id))


def test_nor_does_who_rejected_the_record() -> None:
    rejected = (logged("R5", "10-13 09:00 - 10:00"), replace(HOURS_REJECTED, record="R5"))
    facts = given(SEALED, rejected, raised(record="R5"))
    facts.when(decide_objection, UPHOLD, actor=STAFF).refused(ObjectionDecidedByParty("B1", "S2"))


def test_who_took_the_household_in_has_a_part_too() -> None:
    merged = (HouseholdMerged("H2", "H3", ("V3",)), MemberRegistered("S5", "H3"))
    given(OPEN, merged).when(decide_objection, UPHOLD, actor=DECIDER).refused(ObjectionDecidedByParty("B1", "S5"))
    closed = (HouseholdClosed("H2", "moved-away", "pool:" + XINZHU, ("V3",)),)
    assert given(OPEN, closed).when(decide_objection, UPHOLD, actor=DECIDER).accepted


def test_after_its_day_an_administrator_decides_even_once_it_is_frozen() -> None:
    late = raised().decision_due + timedelta(microseconds=1)
    past = given(OPEN, PERIOD_FROZEN)
    past.when(decide_objection, UPHOLD, actor=DECIDER, now=late).refused(ObjectionLeftToAdministrators("B1"))
    past.when(decide_objection, UPHOLD, actor=Actor("A2", "admin"), now=late).then(
        ObjectionUpheld("2026-10", "B1", "A2")
    )
    assert past.when(decide_objection, UPHOLD, actor=DECIDER, now=raised().decision_due).accepted


def test_what_is_of_another_community_or_another_person_is_unknown() -> None:
    given(OPEN).when(decide_objection, UPHOLD, actor=STAFF_ELSEWHERE).refused(UnknownObjection("B1"))
    given(OPEN).when(withdraw_objection, WITHDRAW, actor=volunteer("V1")).refused(UnknownObjection("B1"))
    given(SEALED).when(decide_objection, UPHOLD, actor=DECIDER).refused(UnknownObjection("B1"))
    given(OPEN).when(decide_objection, UPHOLD, actor=RESIDENT).refused(ObjectionDecidedByParty("B1", "V3"))


@pytest.mark.parametrize(
    ("closed", "status"),
    [(OBJECTION_UPHELD, "upheld"), (OBJECTION_DISMISSED, "dismissed"), (OBJECTION_WITHDRAWN, "withdrawn")],
)
def test_an_objection_ends_once(closed: Fact, status: str) -> None:
    given(OPEN, closed).when(decide_objection, UPHOLD, actor=DECIDER).refused(ObjectionSettled("B1", status))
    given(OPEN, closed).when(withdraw_objection, WITHDRAW, actor=RESIDENT).refused(ObjectionSettled("B1", status))
    assert given(OPEN, closed).state(Disclosure.of("2026-10")).undecided == ()


# ── Withdrawing ──────────────────────────────────────────────────────────────────────────────────────────────


def test_who_raised_it_or_wrote_it_down_takes_it_back() -> None:
    written = (*SEALED, raised("S2"))
    given(written).when(withdraw_objection, WITHDRAW, actor=RESIDENT).then(ObjectionWithdrawn("2026-10", "B1", "V3"))
    given(written).when(withdraw_objection, WITHDRAW, actor=STAFF).then(ObjectionWithdrawn("2026-10", "B1", "S2"))
    given(written).when(withdraw_objection, WITHDRAW, actor=DECIDER).refused(ObjectionWithdrawnByAnother("B1", "S5"))


def test_every_ground_is_named_in_chinese() -> None:
    assert set(GROUND_ZH) == set(get_args(ObjectionGround))
