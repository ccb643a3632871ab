"""Opening balances: proposed by one, approved by another, once a household."""

from typing import Any

import pytest

from domain.account import Account, BalanceTooHigh, OpeningBalanceCredited
from domain.decision import Actor
from domain.grant import ApprovedByProposer, ProposedByAnother
from domain.household import MemberRegistered, UnknownHousehold
from domain.opening import (
    ApproveOpeningBalance,
    Opening,
    OpeningAlreadyCredited,
    OpeningAlreadyProposed,
    OpeningBalanceProposed,
    OpeningBalanceRejected,
    OpeningBalanceWithdrawn,
    OpeningForOwnHousehold,
    ProposeOpeningBalance,
    RejectOpeningBalance,
    UnknownOpening,
    WithdrawOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
    reject_opening_balance,
    withdraw_opening_balance,
)
from domain.policy import NoPolicyInForce
from tests.controls import (
    ADMIN,
    COMMAND_ID,
    DISTRICT,
    LOGGER,
    STAFF,
    STAFF_ELSEWHERE,
    credited,
    district,
    given,
)

PROPOSED = OpeningBalanceProposed("OB1", "H2", 600, "S1")
CREDITED = OpeningBalanceCredited("issuance", "household:H2", 600, "H2", "OB1", "S2")
PAST = (*DISTRICT, PROPOSED)
PROPOSE = ProposeOpeningBalance(opening="OB1", household="H2", minutes=600)
APPROVE = ApproveOpeningBalance(household="H2", opening="OB1")
REJECT = RejectOpeningBalance(household="H2", opening="OB1", reason="wrong-amount")
WITHDRAW = WithdrawOpeningBalance(household="H2", opening="OB1")
REJECTED = OpeningBalanceRejected("OB1", "H2", "S2", "wrong-amount")
WITHDRAWN = OpeningBalanceWithdrawn("OB1", "H2", "S1")
SETTLING = [
    (approve_opening_balance, APPROVE, STAFF),
    (reject_opening_balance, REJECT, STAFF),
    (withdraw_opening_balance, WITHDRAW, LOGGER),
]


def test_one_proposes_and_another_approves_and_it_is_credited() -> None:
    given(DISTRICT).when(propose_opening_balance, PROPOSE, actor=LOGGER).then(PROPOSED)
    for actor in (STAFF, ADMIN):
        expected = OpeningBalanceCredited("issuance", "household:H2", 600, "H2", "OB1", actor.id)
        given(PAST).when(approve_opening_balance, APPROVE, actor=actor).then(expected, policy=1)
    assert given(PAST, CREDITED).state(Account.of("household:H2")).balance_minutes == 600


def test_what_is_proposed_without_a_number_gets_one() -> None:
    number = "-".join(COMMAND_ID[start : start + 8] for start in (0, 8, 16, 24))
    command = ProposeOpeningBalance(household="H2", minutes=600)
    given(DISTRICT).when(propose_opening_balance, command).then(OpeningBalanceProposed(number, "H2", 600, "S2"))


def test_what_was_earned_here_meanwhile_does_not_stand_in_the_way() -> None:
    assert given(PAST, credited("H2", 90)).when(approve_opening_balance, APPROVE).accepted


def test_one_proposal_is_open_at_a_time_until_it_is_rejected_or_withdrawn() -> None:
    given(PAST).when(propose_opening_balance, PROPOSE).refused(OpeningAlreadyProposed("H2", "OB1"))
    given(PAST).when(reject_opening_balance, REJECT).then(REJECTED)
    given(PAST).when(withdraw_opening_balance, WITHDRAW, actor=LOGGER).then(WITHDRAWN)
    for settled in (REJECTED, WITHDRAWN):
        assert given(PAST, settled).when(propose_opening_balance, PROPOSE).accepted
        assert given(PAST, settled).state(Opening.of("H2")) == Opening("H2")


@pytest.mark.parametrize(("decide", "command", "actor"), [(propose_opening_balance, PROPOSE, STAFF), *SETTLING])
def test_an_opening_balance_is_credited_once_a_household(decide: Any, command: Any, actor: Actor) -> None:
    given(PAST, CREDITED).when(decide, command, actor=actor).refused(OpeningAlreadyCredited("H2"))


@pytest.mark.parametrize(("decide", "command", "actor"), SETTLING)
def test_what_is_settled_is_the_proposal_that_is_open(decide: Any, command: Any, actor: Actor) -> None:
    given(DISTRICT).when(decide, command, actor=actor).refused(UnknownOpening("H2", "OB1"))
    other = OpeningBalanceProposed("OB2", "H2", 700, "S1")
    given(DISTRICT, other).when(decide, command, actor=actor).refused(UnknownOpening("H2", "OB1"))


@pytest.mark.parametrize(("decide", "command", "actor"), [(propose_opening_balance, PROPOSE, STAFF), *SETTLING])
def test_a_household_elsewhere_or_nowhere_is_unknown(decide: Any, command: Any, actor: Actor) -> None:
    given(PAST).when(decide, command, actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H2"))
    given(PROPOSED).when(decide, command, actor=actor).refused(UnknownHousehold("H2"))


@pytest.mark.parametrize(("decide", "command"), [(approve_opening_balance, APPROVE), (reject_opening_balance, REJECT)])
def test_nobody_decides_what_they_proposed_or_what_is_their_households(decide: Any, command: Any) -> None:
    given(PAST).when(decide, command, actor=LOGGER).refused(ApprovedByProposer("S1"))
    given(PAST, MemberRegistered("S2", "H2")).when(decide, command).refused(OpeningForOwnHousehold("H2"))


def test_nobody_proposes_for_their_own_household_and_only_who_proposed_withdraws() -> None:
    kin = MemberRegistered("S2", "H2")
    given(DISTRICT, kin).when(propose_opening_balance, PROPOSE).refused(OpeningForOwnHousehold("H2"))
    given(PAST).when(withdraw_opening_balance, WITHDRAW).refused(ProposedByAnother("S1"))


def test_an_opening_balance_reaches_the_cap_and_never_passes_it() -> None:
    facts = (*district(balance_minutes_max=600), PROPOSED)
    assert given(facts).when(approve_opening_balance, APPROVE).accepted
    refused = BalanceTooHigh("household:H2", 1, 600, 600)
    given(facts, credited("H2", 1)).when(approve_opening_balance, APPROVE).refused(refused)
    unruled = [fact for fact in PAST if fact.type != "policy-adopted.v2"]
    given(unruled).when(approve_opening_balance, APPROVE).refused(NoPolicyInForce("2026-11-22"))
