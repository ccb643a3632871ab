"""The rules themselves: versions that one person proposes and another approves."""

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.decision import Actor
from domain.policy import (
    AdoptPolicy,
    ApprovePolicy,
    Policy,
    PolicyAdopted,
    PolicyProposalRejected,
    PolicyProposalWithdrawn,
    PolicyProposed,
    ProposePolicy,
    RejectPolicy,
    WithdrawPolicy,
    adopt,
    approve_policy,
    propose_policy,
    reject_policy,
    withdraw_policy,
)
from tests.domain.time_bank.books import Model, Told, follows
from tests.domain.time_bank.leading import ADMIN, INDEX, OTHER_ADMIN, RIGHT, Leading, pick

# Hypothesis draws what is first more often, so that comes first which lets most happen.
POLICIES = st.builds(
    Policy,
    record_minutes_min=st.sampled_from([1, 15]),
    record_minutes_max=st.sampled_from([480, 1440, 120]),
    log_days_back_max=st.sampled_from([40, 40, 3, 0]),
    day_minutes_max=st.sampled_from([1440, 300, 120]),
    rounding=st.sampled_from(["down", "nearest", "up"]),
    rounding_step_minutes=st.sampled_from([1, 15, 60]),
    payer=st.sampled_from(["recipient", "pool", "issuance"]),
    payer_without_recipient=st.sampled_from(["pool", "issuance"]),
    balance_minutes_min=st.sampled_from([-60, -300, 0]),
    balance_minutes_max=st.sampled_from([None, 200, 60]),
    above_balance_max=st.sampled_from(["pool", "honour", "refuse"]),
    request_hold=st.booleans(),
    request_open_days_max=st.sampled_from([30, 1]),
    check_in_minutes_max=st.sampled_from([720, 120]),
    evidence_min=st.sampled_from([*["self"] * 8, "checked-in"]),
    silence_days=st.sampled_from([1, 2, None]),
    dispute_days_max=st.sampled_from([30, 1, 0]),
    dispute_decision_days=st.sampled_from([1, 3]),
    redemption_age_years_min=st.sampled_from([0, 0, 60]),
    redemption_balance_minutes_min=st.sampled_from([0, 0, 50]),
    reservation_days=st.sampled_from([1, 7]),
    transfer=st.sampled_from(["anyone", "anyone", "family", "nobody"]),
    late_after_days=st.sampled_from([7, 0]),
    late_needs_reason=st.sampled_from([False, False, True]),
    transfer_minutes_month_max=st.sampled_from([None, 100]),
    group_hours=st.sampled_from(["donate-only", "household"]),
    grant_minutes_alone_max=st.sampled_from([None, 60]),
    grant_alone_days=st.sampled_from([30, 1]),
    starting_grant_minutes=st.sampled_from([30, 30, 0]),
    expiry_months=st.sampled_from([1, 1, None]),
    expiry_notice_days=st.sampled_from([1, 40]),
    closing_balance=st.sampled_from(["pool", "expire"]),
    star_minutes=st.sampled_from([(60, 120), (30,), (6_000,)]),
    certificate_issuer=st.sampled_from(["staff", "staff", "admin"]),
    certificate_minutes_min=st.sampled_from([0, 0, 60]),
    take_along=st.sampled_from([True, True, False]),
).filter(lambda policy: policy.service_minutes(policy.record_minutes_min) >= 1)


class PolicyModel(Model):
    def __init__(self) -> None:
        super().__init__()
        self.proposals: dict[str, PolicyProposed] = {}
        self.open_proposals: set[str] = set()

    @follows(PolicyAdopted)
    def _adopted(self, fact: PolicyAdopted, told: Told) -> None:
        """A later version is what was proposed, is approved by another, and changes no day that has begun."""
        assert fact.version == len(self.policies) + 1
        if self.policies:
            proposed = self.proposals[fact.proposal]
            self.open_proposals.remove(fact.proposal)
            assert (fact.effective_on, fact.policy) == (proposed.effective_on, proposed.policy)
            assert proposed.proposed_by != told.actor.id
            assert fact.effective_on > max(told.today, self.policies[-1].effective_on)
        self.policies.append(fact)

    @follows(PolicyProposed)
    def _proposed(self, fact: PolicyProposed, _: Told) -> None:
        assert fact.proposal not in self.proposals
        self.proposals[fact.proposal] = fact
        self.open_proposals.add(fact.proposal)

    @follows(PolicyProposalRejected)
    def _proposal_rejected(self, fact: PolicyProposalRejected, _: Told) -> None:
        assert fact.rejected_by != self.proposals[fact.proposal].proposed_by
        self.open_proposals.remove(fact.proposal)

    @follows(PolicyProposalWithdrawn)
    def _proposal_withdrawn(self, fact: PolicyProposalWithdrawn, _: Told) -> None:
        assert fact.withdrawn_by == self.proposals[fact.proposal].proposed_by
        self.open_proposals.remove(fact.proposal)


class PolicyRules(Leading):
    @rule(policy=POLICIES, days=st.integers(0, 2), fresh=RIGHT, at_once=RIGHT)
    def propose_policy(self, policy: Policy, days: int, fresh: bool, at_once: bool) -> None:
        proposed = self.here.proposals
        number = f"P{len(proposed)}" if fresh or not proposed else list(proposed)[-1]
        effective_on = max(self.now.date(), self.here.policies[-1].effective_on) + timedelta(days=days)
        command = ProposePolicy(proposal=number, effective_on=effective_on, policy=policy)
        self.here.send(propose_policy, command, OTHER_ADMIN)
        if at_once:
            self.here.send(approve_policy, ApprovePolicy(proposal=number), ADMIN)

    @precondition(lambda self: self.here.proposals)
    @rule(proposal=INDEX, admin=st.sampled_from([ADMIN, OTHER_ADMIN]), how=st.sampled_from("arwx"))
    def settle_proposal(self, proposal: int, admin: Actor, how: str) -> None:
        number = pick(list(self.here.proposals), proposal)
        match how:
            case "a":
                self.here.send(approve_policy, ApprovePolicy(proposal=number), admin)
            case "r":
                self.here.send(reject_policy, RejectPolicy(proposal=number, reason="not-agreed"), admin)
            case "w":
                self.here.send(withdraw_policy, WithdrawPolicy(proposal=number), admin)
            case _:  # by one person alone, which only the first version is
                proposed = self.here.proposals[number]
                alone = AdoptPolicy(effective_on=proposed.effective_on, policy=proposed.policy)
                self.here.send(adopt, alone, admin)


def adopt_first(ledger: Any, effective_on: date, policy: Policy) -> None:
    ledger.send(adopt, AdoptPolicy(effective_on=effective_on, policy=policy), ADMIN)
