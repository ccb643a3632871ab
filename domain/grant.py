"""Grants from a pool (拨付) that need more than one person's word, and the starting grant of a household in need.

Above what the policy lets a household be granted on one person's word within so many days, one proposes and another
approves: neither of them, nor anybody of the household, does both. Whether the pool covers it is decided when it is
approved, since nothing is set aside before.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from domain.account import (
    Account,
    Amount,
    GrantApproved,
    GrantedToOwnHousehold,
    Need,
    StartingMinutesGranted,
    household_account,
    pool_account,
    require_cover,
)
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read
from domain.fact import Fact
from domain.household import Household, Person
from domain.identifiers import HouseholdId, RecordId, new_number
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown
from domain.transfer import require_room

ProposalStatus = Literal["absent", "open", "approved", "rejected", "withdrawn"]
PROPOSAL_ZH: Final = {"open": "待审批", "approved": "已批准", "rejected": "已驳回", "withdrawn": "已撤回"}
WhyNot = Literal["not-in-need", "wrong-amount", "duplicate", "not-proven", "other"]


class GrantProposed(Fact, frozen=True, omit_defaults=True):
    """Somebody proposed a grant that another person is to approve; nothing moves yet."""

    type = "grant-proposed.v1"
    grant: str
    household: str
    minutes: int
    need: str
    proposed_by: str

    def tags(self) -> tuple[str, ...]:
        return ("grant:" + self.grant,)


class GrantRejected(Fact, frozen=True, omit_defaults=True):
    """A proposed grant was refused by another person."""

    type = "grant-rejected.v1"
    grant: str
    rejected_by: str
    reason: str

    def tags(self) -> tuple[str, ...]:
        return ("grant:" + self.grant,)


class GrantWithdrawn(Fact, frozen=True, omit_defaults=True):
    """Who had proposed a grant took the proposal back."""

    type = "grant-withdrawn.v1"
    grant: str
    withdrawn_by: str

    def tags(self) -> tuple[str, ...]:
        return ("grant:" + self.grant,)


GrantFact = GrantProposed | GrantApproved | GrantRejected | GrantWithdrawn


class Grant(msgspec.Struct, frozen=True):
    """Where one proposed grant stands."""

    grant: str
    status: ProposalStatus = "absent"
    proposed: GrantProposed | None = None

    @staticmethod
    def of(grant: str) -> "Reading[Grant]":
        return _fold.of(grant)


def _evolve(state: Grant, fact: GrantFact) -> Grant:
    match fact:
        case GrantProposed():
            return Grant(state.grant, "open", fact)
        case GrantApproved():
            return replace(state, status="approved")
        case GrantRejected():
            return replace(state, status="rejected")
        case GrantWithdrawn():
            return replace(state, status="withdrawn")


_fold = Fold[Grant]("grant", Grant, _evolve, get_args(GrantFact))


class StartingGrant(msgspec.Struct, frozen=True):
    """Whether a household had its starting grant."""

    granted: bool = False

    @staticmethod
    def of(household: str) -> "Reading[StartingGrant]":
        return _start.of(household)


def _evolve_start(_: StartingGrant, fact: StartingMinutesGranted) -> StartingGrant:
    del fact
    return StartingGrant(True)


_start = Fold[StartingGrant]("start", lambda _: StartingGrant(), _evolve_start, (StartingMinutesGranted,))


class ProposeGrant(BaseModel):
    """Propose a grant to a household from its community's pool, for another person to approve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grant: RecordId | None = None
    household: HouseholdId
    minutes: Amount
    need: Need


class ApproveGrant(BaseModel):
    """Approve a proposed grant: the minutes are paid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grant: RecordId


class RejectGrant(BaseModel):
    """Refuse a proposed grant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grant: RecordId
    reason: WhyNot


class WithdrawGrant(BaseModel):
    """Take one's own proposal back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grant: RecordId


class GrantStartingMinutes(BaseModel):
    """Give a new household in need the policy's starting grant from its community's pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    need: Need


def propose_grant(command: ProposeGrant, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), GrantedToOwnHousehold,
    GrantAlreadyProposed."""
    grant_id = command.grant or new_number(context.command_id)
    grant, household, proposer = yield from read(
        Grant.of(grant_id), Household.of(command.household), Person.of(context.actor.id)
    )
    household.require_within(context)
    if grant.status != "absent":
        raise GrantAlreadyProposed(grant_id)
    if proposer.household == command.household:
        raise GrantedToOwnHousehold(command.household)
    proposed = GrantProposed(grant_id, command.household, command.minutes, command.need, context.actor.id)
    return Decided(0, (proposed,))


def approve_grant(command: ApproveGrant, context: Context) -> Decision:
    """Raises: UnknownGrant (also where it is outside the staff's community), GrantAlreadySettled, ApprovedByProposer,
    GrantedToOwnHousehold, BalanceTooLow (the pool's), BalanceTooHigh, NoPolicyInForce."""
    grant, approver, book = yield from read(Grant.of(command.grant), Person.of(context.actor.id), policy_book)
    proposed, household = yield from _open(grant, context)
    community = household.require()
    if approver.person == proposed.proposed_by:
        raise ApprovedByProposer(approver.person)
    if approver.household == proposed.household:
        raise GrantedToOwnHousehold(proposed.household)
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    pool, payee = yield from read(
        Account.of(pool_account(community)), Account.of(household_account(proposed.household))
    )
    require_cover(pool, proposed.minutes, 0)
    require_room(payee, proposed.minutes, adopted.policy.balance_minutes_max)
    approved = GrantApproved(pool.account, payee.account, proposed.minutes, command.grant, context.actor.id)
    return Decided(adopted.version, (approved,))


def reject_grant(command: RejectGrant, context: Context) -> Decision:
    """Raises: UnknownGrant (also where it is outside the staff's community), GrantAlreadySettled, ApprovedByProposer,
    GrantedToOwnHousehold."""
    grant, rejecter = yield from read(Grant.of(command.grant), Person.of(context.actor.id))
    proposed, _ = yield from _open(grant, context)
    if rejecter.person == proposed.proposed_by:
        raise ApprovedByProposer(rejecter.person)
    if rejecter.household == proposed.household:
        raise GrantedToOwnHousehold(proposed.household)
    return Decided(0, (GrantRejected(command.grant, context.actor.id, command.reason),))


def withdraw_grant(command: WithdrawGrant, context: Context) -> Decision:
    """Raises: UnknownGrant (also where it is outside the staff's community), GrantAlreadySettled, ProposedByAnother."""
    grant = yield from read(Grant.of(command.grant))
    proposed, _ = yield from _open(grant, context)
    if proposed.proposed_by != context.actor.id:
        raise ProposedByAnother(proposed.proposed_by)
    return Decided(0, (GrantWithdrawn(command.grant, context.actor.id),))


def grant_starting_minutes(command: GrantStartingMinutes, context: Context) -> Decision:
    """By one person, whatever it was granted so before: the policy fixes how much, and a household has it once. What is
    granted alone after it is less by it.

    Raises: UnknownHousehold (also where it is outside the staff's community), GrantedToOwnHousehold, NoStartingGrant,
    StartingGrantAlreadyGiven, BalanceTooLow (the pool's), BalanceTooHigh, NoPolicyInForce."""
    household, granter, start, book = yield from read(
        Household.of(command.household),
        Person.of(context.actor.id),
        StartingGrant.of(command.household),
        policy_book,
    )
    community = household.require_within(context)
    if granter.household == command.household:
        raise GrantedToOwnHousehold(command.household)
    today = context.now.astimezone(context.zone).date()
    adopted = book.in_force(today)
    minutes = adopted.policy.starting_grant_minutes
    if not minutes:
        raise NoStartingGrant(adopted.version)
    if start.granted:
        raise StartingGrantAlreadyGiven(command.household)
    pool, payee = yield from read(Account.of(pool_account(community)), Account.of(household_account(command.household)))
    require_cover(pool, minutes, 0)
    require_room(payee, minutes, adopted.policy.balance_minutes_max)
    granted = StartingMinutesGranted(
        pool.account, payee.account, minutes, command.household, context.actor.id, command.need, today
    )
    return Decided(adopted.version, (granted,))


def _open(grant: Grant, context: Context) -> Generator[Question, Any, tuple[GrantProposed, Household]]:
    """An open proposal and its household, which may be closed by now: then it can only be rejected or withdrawn.

    Raises: UnknownGrant (also where it is outside the staff's community), GrantAlreadySettled.
    """
    if grant.proposed is None:
        raise UnknownGrant(grant.grant)
    household = yield from read(Household.of(grant.proposed.household))
    household.require_reached(context, UnknownGrant(grant.grant))
    if grant.status != "open":
        raise GrantAlreadySettled(grant.grant, grant.status)
    return grant.proposed, household


@dataclass(unsafe_hash=True)
class UnknownGrant(Unknown):
    grant: str
    zh = "没有编号为“{grant}”的拨付申请。"
    en = "There is no proposed grant “{grant}”."


@dataclass(unsafe_hash=True)
class GrantAlreadyProposed(AlreadyDone):
    grant: str
    zh = "拨付申请“{grant}”已经存在，请用新编号。"
    en = "The proposed grant “{grant}” exists already; another needs a number of its own."


@dataclass(unsafe_hash=True)
class GrantAlreadySettled(AlreadyDone):
    grant: str
    status: str
    zh = "拨付申请“{grant}”已经处理（{status}）。"
    en = "The proposed grant “{grant}” is {status} already."

    @property
    def message_zh(self) -> str:
        return self.zh.format(grant=self.grant, status=PROPOSAL_ZH.get(self.status, self.status))


@dataclass(unsafe_hash=True)
class ApprovedByProposer(NotAllowed):
    person: str
    zh = "“{person}”提出了这项申请，须由另一个人审批。"
    en = "“{person}” proposed this; somebody else must approve or reject it."


@dataclass(unsafe_hash=True)
class ProposedByAnother(NotAllowed):
    proposed_by: str
    zh = "这项申请由“{proposed_by}”提出，只有本人可以撤回。"
    en = "This was proposed by “{proposed_by}”, who alone can withdraw it."


@dataclass(unsafe_hash=True)
class NoStartingGrant(AgainstRule):
    policy: int
    zh = "第 {policy} 版规则没有设起始时间。"
    en = "Version {policy} of the policy provides no starting grant."


@dataclass(unsafe_hash=True)
class StartingGrantAlreadyGiven(AlreadyDone):
    household: str
    zh = "户“{household}”已经领过起始时间。"
    en = "The household “{household}” had its starting grant already."
