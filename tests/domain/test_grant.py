"""Grants that two people decide, and the starting grant that a household has once in its life."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from domain.account import (
    BalanceTooHigh,
    BalanceTooLow,
    GrantApproved,
    GrantedToOwnHousehold,
    GrantMinutes,
    GrantNeedsApproval,
    MinutesGranted,
    PoolFunded,
    StartingMinutesGranted,
    grant_minutes,
)
from domain.decision import Actor
from domain.fact import Fact
from domain.grant import (
    PROPOSAL_ZH,
    ApprovedByProposer,
    ApproveGrant,
    Grant,
    GrantAlreadyProposed,
    GrantAlreadySettled,
    GrantProposed,
    GrantRejected,
    GrantStartingMinutes,
    GrantWithdrawn,
    NoStartingGrant,
    ProposedByAnother,
    ProposeGrant,
    RejectGrant,
    StartingGrantAlreadyGiven,
    UnknownGrant,
    WithdrawGrant,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
    reject_grant,
    withdraw_grant,
)
from domain.household import MemberRegistered, UnknownHousehold
from domain.policy import NoPolicyInForce
from tests.controls import (
    ADMIN,
    COMMAND_ID,
    DISTRICT,
    JINHU,
    LOGGER,
    NOW,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    credited,
    district,
    given,
)

POOL = "pool:" + XINZHU
FUNDED = PoolFunded("issuance", POOL, 900, "A1")
PROPOSED = GrantProposed("G1", "H2", 900, "low-income", "S1")
PAST = (*DISTRICT, FUNDED, PROPOSED)
APPROVED = GrantApproved(POOL, "household:H2", 900, "G1", "S2")
APPROVE, WITHDRAW = ApproveGrant(grant="G1"), WithdrawGrant(grant="G1")
REJECT = RejectGrant(grant="G1", reason="not-proven")
SETTLED = {
    "approved": APPROVED,
    "rejected": GrantRejected("G1", "S2", "not-proven"),
    "withdrawn": GrantWithdrawn("G1", "S1"),
}


# ── Alone ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_person_grants_up_to_the_policys_limit_and_no_more() -> None:
    facts = (*district(grant_minutes_alone_max=300), FUNDED)
    grant = GrantMinutes(household="H2", minutes=300, need="illness")
    assert given(facts).when(grant_minutes, grant).accepted
    more = GrantMinutes(household="H2", minutes=301, need="illness")
    given(facts).when(grant_minutes, more).refused(GrantNeedsApproval(301, 0, 30, 300))
    nobody = (*district(grant_minutes_alone_max=0), FUNDED)
    one = GrantMinutes(household="H2", minutes=1, need="illness")
    given(nobody).when(grant_minutes, one).refused(GrantNeedsApproval(1, 0, 30, 0))


def test_a_large_grant_is_not_given_in_small_ones_by_one_person_nor_by_several_alone() -> None:
    facts = (*district(grant_minutes_alone_max=300, grant_alone_days=10), FUNDED)
    first = MinutesGranted(POOL, "household:H2", 200, "S1", "illness", NOW.date())
    hundred, more = (GrantMinutes(household="H2", minutes=minutes, need="illness") for minutes in (100, 101))
    for actor in (LOGGER, STAFF, ADMIN):
        assert given(facts, first).when(grant_minutes, hundred, actor=actor).accepted
        given(facts, first).when(grant_minutes, more, actor=actor).refused(GrantNeedsApproval(101, 200, 10, 300))


@pytest.mark.parametrize(("days_ago", "counts"), [(0, True), (9, True), (10, False), (400, False)])
def test_what_was_granted_alone_counts_for_the_days_that_the_policy_says(days_ago: int, counts: bool) -> None:
    facts = (*district(grant_minutes_alone_max=300, grant_alone_days=10), FUNDED)
    earlier = MinutesGranted(POOL, "household:H2", 300, "S1", "illness", NOW.date() - timedelta(days=days_ago))
    outcome = given(facts, earlier).when(grant_minutes, GrantMinutes(household="H2", minutes=1, need="illness"))
    if counts:
        outcome.refused(GrantNeedsApproval(1, 300, 10, 300))
    else:
        assert outcome.accepted


def test_a_starting_grant_counts_as_granted_alone_and_what_two_people_granted_does_not() -> None:
    facts = (*district(grant_minutes_alone_max=300), FUNDED)
    started = StartingMinutesGranted(POOL, "household:H2", 120, "H2", "S1", "illness", NOW.date())
    by_two = GrantApproved(POOL, "household:H2", 300, "G1", "S2")
    elsewhere = MinutesGranted(POOL, "household:H1", 300, "S1", "illness", NOW.date())
    most, more = (GrantMinutes(household="H2", minutes=minutes, need="illness") for minutes in (180, 181))
    assert given(facts, started, by_two, elsewhere).when(grant_minutes, most).accepted
    given(facts, started, by_two, elsewhere).when(grant_minutes, more).refused(GrantNeedsApproval(181, 120, 30, 300))


@given_any(
    granted=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 400)), max_size=30),
    minutes_max=st.integers(0, 600),
    days=st.integers(1, 30),
)
def test_no_days_in_a_row_ever_hold_more_than_one_persons_limit(
    granted: list[tuple[int, int]], minutes_max: int, days: int
) -> None:
    facts: list[Fact] = [*district(grant_minutes_alone_max=minutes_max, grant_alone_days=days)]
    facts.append(PoolFunded("issuance", POOL, 60_000, "A1"))
    for day, minutes in sorted(granted):
        command = GrantMinutes(household="H2", minutes=minutes, need="illness")
        outcome = given(facts).when(grant_minutes, command, now=NOW + timedelta(days=day))
        if outcome.refusal is None:
            facts += outcome.accepted
    done = [fact for fact in facts if isinstance(fact, MinutesGranted) and fact.on is not None]
    for first in done:
        assert first.on is not None
        until = first.on + timedelta(days=days)
        assert sum(fact.minutes for fact in done if fact.on is not None and first.on <= fact.on < until) <= minutes_max


# ── Proposed ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_is_proposed_whatever_the_pool_holds_now() -> None:
    command = ProposeGrant(grant="G1", household="H2", minutes=900, need="low-income")
    given(DISTRICT).when(propose_grant, command, actor=LOGGER).then(PROPOSED)
    unnamed = ProposeGrant(household="H2", minutes=900, need="low-income")
    number = "-".join(COMMAND_ID[start : start + 8] for start in (0, 8, 16, 24))
    given(DISTRICT).when(propose_grant, unnamed, actor=LOGGER).then(
        GrantProposed(number, "H2", 900, "low-income", "S1")
    )


def test_a_grant_is_proposed_once_to_a_household_of_the_staffs_that_is_not_their_own() -> None:
    command = ProposeGrant(grant="G1", household="H2", minutes=900, need="low-income")
    given(PAST).when(propose_grant, command).refused(GrantAlreadyProposed("G1"))
    given(DISTRICT).when(propose_grant, command, actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H2"))
    given(DISTRICT, MemberRegistered("S2", "H2")).when(propose_grant, command).refused(GrantedToOwnHousehold("H2"))
    unknown = ProposeGrant(household="H8", minutes=1, need="other")
    given(DISTRICT).when(propose_grant, unknown).refused(UnknownHousehold("H8"))


# ── Decided by another ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("actor", [STAFF, ADMIN])
def test_another_person_approves_and_the_pool_pays(actor: Actor) -> None:
    approved = GrantApproved(POOL, "household:H2", 900, "G1", actor.id)
    given(PAST).when(approve_grant, APPROVE, actor=actor).then(approved, policy=1)


def test_another_person_rejects_and_who_proposed_withdraws() -> None:
    given(PAST).when(reject_grant, REJECT).then(SETTLED["rejected"])
    given(PAST).when(withdraw_grant, WITHDRAW, actor=LOGGER).then(SETTLED["withdrawn"])
    given(PAST).when(withdraw_grant, WITHDRAW).refused(ProposedByAnother("S1"))


@pytest.mark.parametrize(("decide", "command"), [(approve_grant, APPROVE), (reject_grant, REJECT)])
def test_nobody_decides_their_own_proposal_nor_one_for_their_household(decide: Any, command: Any) -> None:
    given(PAST).when(decide, command, actor=LOGGER).refused(ApprovedByProposer("S1"))
    given(PAST).when(decide, command, actor=Actor("S1", "admin")).refused(ApprovedByProposer("S1"))
    given(PAST, MemberRegistered("S2", "H2")).when(decide, command).refused(GrantedToOwnHousehold("H2"))


@pytest.mark.parametrize(
    ("decide", "command"), [(approve_grant, APPROVE), (reject_grant, REJECT), (withdraw_grant, WITHDRAW)]
)
def test_a_proposal_that_is_not_there_or_elsewhere_is_unknown(decide: Any, command: Any) -> None:
    given(DISTRICT, FUNDED).when(decide, command).refused(UnknownGrant("G1"))
    given(PAST).when(decide, command, actor=STAFF_ELSEWHERE).refused(UnknownGrant("G1"))


@pytest.mark.parametrize("status", SETTLED)
@pytest.mark.parametrize(
    ("decide", "command", "actor"),
    [(approve_grant, APPROVE, STAFF), (reject_grant, REJECT, STAFF), (withdraw_grant, WITHDRAW, LOGGER)],
)
def test_a_proposal_is_settled_once(status: str, decide: Any, command: Any, actor: Actor) -> None:
    refused = GrantAlreadySettled("G1", status)
    given(PAST, PoolFunded("issuance", POOL, 900, "A1"), SETTLED[status]).when(decide, command, actor=actor).refused(
        refused
    )
    assert PROPOSAL_ZH[status] in refused.message_zh
    assert status in refused.message_en


def test_cover_and_cap_are_those_of_the_day_of_approval() -> None:
    short = (*DISTRICT, PoolFunded("issuance", POOL, 899, "A1"), PROPOSED)
    given(short).when(approve_grant, APPROVE).refused(BalanceTooLow(POOL, 899, 900, 0))
    assert given(short, PoolFunded("issuance", POOL, 1, "A1")).when(approve_grant, APPROVE).accepted
    capped = (*district(balance_minutes_max=1000), FUNDED, PROPOSED, credited("H2", 101))
    given(capped).when(approve_grant, APPROVE).refused(BalanceTooHigh("household:H2", 101, 900, 1000))
    unruled = [fact for fact in PAST if fact.type != "policy-adopted.v2"]
    given(unruled).when(approve_grant, APPROVE).refused(NoPolicyInForce("2026-11-22"))


def test_where_a_proposal_stands_is_folded() -> None:
    for status, fact in SETTLED.items():
        assert given(PROPOSED, fact).state(Grant.of("G1")) == Grant("G1", status, PROPOSED)  # type: ignore[arg-type]


# ── Starting grant ───────────────────────────────────────────────────────────────────────────────────────────

START = GrantStartingMinutes(household="H2", need="low-income")
STARTING = (*district(starting_grant_minutes=120, balance_minutes_max=150), PoolFunded("issuance", POOL, 120, "A1"))
STARTED = StartingMinutesGranted(POOL, "household:H2", 120, "H2", "S2", "low-income", NOW.date())


def test_a_household_in_need_has_the_policys_starting_grant_once_in_its_life() -> None:
    given(STARTING).when(grant_starting_minutes, START).then(STARTED, policy=1)
    again = (*STARTING, STARTED, PoolFunded("issuance", POOL, 120, "A1"))
    given(again).when(grant_starting_minutes, START, actor=ADMIN).refused(StartingGrantAlreadyGiven("H2"))


def test_a_starting_grant_is_the_policys_from_a_pool_that_covers_it_up_to_the_cap() -> None:
    given(DISTRICT, FUNDED).when(grant_starting_minutes, START).refused(NoStartingGrant(1))
    unfunded = district(starting_grant_minutes=120)
    given(unfunded).when(grant_starting_minutes, START).refused(BalanceTooLow(POOL, 0, 120, 0))
    given(STARTING, credited("H2", 31)).when(grant_starting_minutes, START).refused(
        BalanceTooHigh("household:H2", 31, 120, 150)
    )
    elsewhere = GrantStartingMinutes(household="H3", need="other")
    given(STARTING).when(grant_starting_minutes, elsewhere, actor=ADMIN).refused(
        BalanceTooLow("pool:" + JINHU, 0, 120, 0)
    )


def test_a_starting_grant_is_given_by_staff_of_the_community_who_live_elsewhere() -> None:
    given(STARTING).when(grant_starting_minutes, START, actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H2"))
    kin = MemberRegistered("S2", "H2")
    given(STARTING, kin).when(grant_starting_minutes, START).refused(GrantedToOwnHousehold("H2"))
