"""The rule book: who adopts a version, when it may begin, which one is in force on a day, and what its numbers mean."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.policy import (
    AdoptPolicy,
    ApprovePolicy,
    DecidedByProposer,
    NoPolicyInForce,
    Policy,
    PolicyAdopted,
    PolicyBook,
    PolicyNeedsApproval,
    PolicyProposalExists,
    PolicyProposalRejected,
    PolicyProposalSettled,
    PolicyProposalWithdrawn,
    PolicyProposed,
    PolicyTooEarly,
    PolicyWithdrawnByAnother,
    ProposePolicy,
    RejectPolicy,
    UnknownPolicyProposal,
    WithdrawPolicy,
    adopt,
    approve_policy,
    policy_book,
    policy_proposals,
    propose_policy,
    reject_policy,
    withdraw_policy,
)
from tests.controls import ADMIN, NOW, POLICY_ADOPTED, POLICY_PROPOSED, Given, given

STRICTER = Policy(record_minutes_min=60)
OTHER_ADMIN = ADMIN._replace(id="A2")
APPROVE = ApprovePolicy(proposal="P1")
PROPOSED: Given = given(POLICY_ADOPTED, POLICY_PROPOSED)
"""A2 proposed P1, to begin on 1 December."""


def proposed(day: date) -> PolicyProposed:
    return replace(POLICY_PROPOSED, effective_on=day, policy=STRICTER)


def test_the_first_version_may_reach_back_to_when_the_books_begin() -> None:
    command = AdoptPolicy(effective_on=date(2020, 1, 1))
    given().when(adopt, command, actor=ADMIN).then(POLICY_ADOPTED, policy=0)


def test_no_later_version_is_adopted_alone() -> None:
    later = AdoptPolicy(effective_on=date(2027, 1, 1), policy=STRICTER)
    given(POLICY_ADOPTED).when(adopt, later, actor=ADMIN).refused(PolicyNeedsApproval(1))


def test_a_version_is_proposed_by_one_and_adopted_when_another_approves_it() -> None:
    command = ProposePolicy(proposal="P1", effective_on=date(2026, 12, 1), policy=Policy(record_minutes_min=30))
    given(POLICY_ADOPTED).when(propose_policy, command, actor=OTHER_ADMIN).then(POLICY_PROPOSED, policy=0)
    adopted = PolicyAdopted(2, date(2026, 12, 1), Policy(record_minutes_min=30), "P1")
    PROPOSED.when(approve_policy, APPROVE, actor=ADMIN).then(adopted, policy=0)


def test_a_proposal_without_a_number_takes_one_from_its_command() -> None:
    command = ProposePolicy(effective_on=date(2026, 12, 1))
    (fact,) = given(POLICY_ADOPTED).when(propose_policy, command, actor=ADMIN).accepted
    assert fact == PolicyProposed("01234567-89abcdef-01234567-89abcdef", date(2026, 12, 1), Policy(), "A1")


def test_a_number_is_proposed_under_once() -> None:
    again = ProposePolicy(proposal="P1", effective_on=date(2027, 1, 1))
    PROPOSED.when(propose_policy, again, actor=OTHER_ADMIN).refused(PolicyProposalExists("P1"))


def test_nobody_approves_or_rejects_what_they_proposed() -> None:
    PROPOSED.when(approve_policy, APPROVE, actor=OTHER_ADMIN).refused(DecidedByProposer("P1"))
    reject = RejectPolicy(proposal="P1", reason="mistake")
    PROPOSED.when(reject_policy, reject, actor=OTHER_ADMIN).refused(DecidedByProposer("P1"))


def test_a_proposal_is_rejected_by_another_or_withdrawn_by_its_own() -> None:
    reject = RejectPolicy(proposal="P1", reason="not-agreed")
    PROPOSED.when(reject_policy, reject, actor=ADMIN).then(PolicyProposalRejected("P1", "A1", "not-agreed"), policy=0)
    withdraw = WithdrawPolicy(proposal="P1")
    PROPOSED.when(withdraw_policy, withdraw, actor=OTHER_ADMIN).then(PolicyProposalWithdrawn("P1", "A2"), policy=0)
    PROPOSED.when(withdraw_policy, withdraw, actor=ADMIN).refused(PolicyWithdrawnByAnother("P1"))


@pytest.mark.parametrize(
    ("settled", "outcome"),
    [
        (PolicyProposalRejected("P1", "A1", "other"), "rejected"),
        (PolicyProposalWithdrawn("P1", "A2"), "withdrawn"),
        (PolicyAdopted(2, date(2026, 12, 1), Policy(record_minutes_min=30), "P1"), "adopted"),
    ],
)
def test_a_proposal_is_settled_once(settled: PolicyAdopted, outcome: str) -> None:
    past = given(PROPOSED.facts, settled)
    refusal = PolicyProposalSettled("P1", outcome)
    past.when(approve_policy, APPROVE, actor=ADMIN).refused(refusal)
    past.when(reject_policy, RejectPolicy(proposal="P1", reason="other"), actor=ADMIN).refused(refusal)
    past.when(withdraw_policy, WithdrawPolicy(proposal="P1"), actor=OTHER_ADMIN).refused(refusal)
    (standing,) = past.state(policy_proposals).standing(past.state(policy_book))
    assert (standing.proposed, standing.status) == (POLICY_PROPOSED, outcome)
    assert outcome not in refusal.message_zh
    assert outcome in refusal.message_en


def test_only_what_was_proposed_is_settled_and_no_other_with_it() -> None:
    refusal = UnknownPolicyProposal("P1")
    past = given(POLICY_ADOPTED, replace(POLICY_PROPOSED, proposal="P2"), PolicyProposalWithdrawn("P2", "A2"))
    past.when(approve_policy, APPROVE, actor=ADMIN).refused(refusal)
    past.when(reject_policy, RejectPolicy(proposal="P1", reason="other"), actor=ADMIN).refused(refusal)
    past.when(withdraw_policy, WithdrawPolicy(proposal="P1"), actor=OTHER_ADMIN).refused(refusal)
    assert given(past.facts, POLICY_PROPOSED).when(approve_policy, APPROVE, actor=ADMIN).accepted


def test_a_later_version_begins_after_the_day_of_its_approval() -> None:
    tomorrow, today = date(2026, 11, 23), date(2026, 11, 22)
    refusal = PolicyTooEarly("2026-11-22", "2026-11-22")
    given(POLICY_ADOPTED).when(propose_policy, ProposePolicy(effective_on=today), actor=ADMIN).refused(refusal)
    given(POLICY_ADOPTED, proposed(today)).when(approve_policy, APPROVE, actor=ADMIN).refused(refusal)
    assert given(POLICY_ADOPTED).when(propose_policy, ProposePolicy(effective_on=tomorrow), actor=ADMIN).accepted
    approved = given(POLICY_ADOPTED, proposed(tomorrow)).when(approve_policy, APPROVE, actor=ADMIN)
    approved.then(PolicyAdopted(2, tomorrow, STRICTER, "P1"))


def test_today_is_the_ledgers_day() -> None:
    past = given(POLICY_ADOPTED, proposed(date(2026, 11, 23)))
    last_minute = datetime(2026, 11, 22, 15, 59, tzinfo=UTC)  # 23:59 in Shanghai
    assert past.when(approve_policy, APPROVE, actor=ADMIN, now=last_minute).accepted
    midnight = last_minute + timedelta(minutes=1)
    late = past.when(approve_policy, APPROVE, actor=ADMIN, now=midnight)
    late.refused(PolicyTooEarly("2026-11-23", "2026-11-23"))


@pytest.mark.parametrize(("day", "accepted"), [(date(2027, 1, 1), False), (date(2027, 1, 2), True)])
def test_effective_dates_rise(day: date, accepted: bool) -> None:
    planned = PolicyAdopted(2, date(2027, 1, 1), STRICTER, "P0")
    outcome = given(POLICY_ADOPTED, planned, proposed(day)).when(approve_policy, APPROVE, actor=ADMIN)
    if accepted:
        outcome.then(PolicyAdopted(3, day, STRICTER, "P1"))
    else:
        outcome.refused(PolicyTooEarly(day.isoformat(), "2027-01-01"))


def test_a_version_is_in_force_from_its_day_until_the_next_begins() -> None:
    second = PolicyAdopted(2, date(2028, 2, 29), STRICTER)
    book = PolicyBook((POLICY_ADOPTED, second))
    assert book.in_force(date(2020, 1, 1)) == book.in_force(date(2028, 2, 28)) == POLICY_ADOPTED
    assert book.in_force(date(2028, 2, 29)) == book.in_force(date(2100, 1, 1)) == second
    with pytest.raises(NoPolicyInForce) as refused:
        book.in_force(date(2019, 12, 31))
    assert refused.value == NoPolicyInForce("2019-12-31")


@pytest.mark.parametrize(
    ("rounding", "step", "claimed", "minutes"),
    [
        ("up", 15, 52, 60),  # N. California: quarter hours up
        ("up", 15, 45, 45),
        ("up", 15, 46, 60),
        ("up", 60, 1, 60),
        ("down", 15, 52, 45),
        ("down", 15, 45, 45),
        ("down", 60, 59, 0),
        ("nearest", 15, 52, 45),
        ("nearest", 15, 53, 60),
        ("nearest", 30, 44, 30),
        ("nearest", 30, 45, 60),  # exactly between: up
        ("nearest", 1, 52, 52),
        ("down", 1, 52, 52),
        ("up", 1, 52, 52),
    ],
)
def test_minutes_are_rounded_to_the_step(rounding, step: int, claimed: int, minutes: int) -> None:
    assert Policy(rounding=rounding, rounding_step_minutes=step).service_minutes(claimed) == minutes


@hypothesis_given(st.sampled_from(["down", "nearest", "up"]), st.integers(1, 240), st.integers(0, 1440))
def test_rounding_gives_a_whole_number_of_steps_nearest_to_the_claim(rounding, step: int, claimed: int) -> None:
    minutes = Policy(rounding=rounding, rounding_step_minutes=step).service_minutes(claimed)
    assert minutes % step == 0
    assert minutes >= 0
    match rounding:
        case "down":
            assert minutes <= claimed < minutes + step
        case "up":
            assert minutes - step < claimed <= minutes
        case _:
            assert 2 * abs(minutes - claimed) <= step


@pytest.mark.parametrize(
    ("setting", "least", "most"),
    [
        ("record_minutes_min", 1, 1440),
        ("record_minutes_max", 1, 1440),
        ("log_days_back_max", 0, 3660),
        ("day_minutes_max", 1, 1440),
        ("rounding_step_minutes", 1, 240),
        ("balance_minutes_min", -60_000_000, 0),
        ("balance_minutes_max", 1, 60_000_000),
    ],
)
def test_every_number_has_its_bounds(setting: str, least: int, most: int) -> None:
    others = {"record_minutes_min": 1, "record_minutes_max": 1440, "rounding": "up"}
    for number in (least, most):
        AdoptPolicy.model_validate({"effective_on": "2027-01-01", "policy": others | {setting: number}})
    for number in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=setting):
            AdoptPolicy.model_validate({"effective_on": "2027-01-01", "policy": others | {setting: number}})


def test_the_shortest_record_may_equal_the_longest_but_not_exceed_it() -> None:
    AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=60, record_minutes_max=60))
    with pytest.raises(ValidationError, match="最短时长"):
        AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=61, record_minutes_max=60))


def test_the_shortest_record_never_rounds_to_nothing() -> None:
    AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=15, rounding_step_minutes=15))
    with pytest.raises(ValidationError, match="取整后不能为零"):
        AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=14, rounding_step_minutes=15))


def test_there_may_be_no_cap_at_all() -> None:
    read = AdoptPolicy.model_validate({"effective_on": "2027-01-01", "policy": {"balance_minutes_max": None}})
    assert read.policy.balance_minutes_max is None
