"""Opening balances: what a household held in older books, proposed by one person and approved by another, once.

What the household earned here meanwhile doesn't stand in the way: districts move over while service goes on. The second
person is who makes sure that hours which were imported as records aren't credited again. Above the policy's cap an
opening balance is refused, as a grant is.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from domain.account import ISSUANCE, Account, Amount, OpeningBalanceCredited, household_account
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read
from domain.fact import Fact
from domain.grant import ApprovedByProposer, ProposedByAnother
from domain.household import Household, Person, UnknownHousehold
from domain.identifiers import HouseholdId, RecordId, new_number
from domain.policy import policy_book
from domain.refusal import AlreadyDone, NotAllowed, Unknown
from domain.transfer import require_room

WhyNotOpened = Literal["wrong-amount", "wrong-household", "not-proven", "imported-as-records", "other"]


class OpeningBalanceProposed(Fact, frozen=True, omit_defaults=True):
    """Somebody read in older books what a household held, for another person to approve; nothing moves yet."""

    type = "opening-balance-proposed.v1"
    opening: str
    household: str
    minutes: int
    proposed_by: str

    def tags(self) -> tuple[str, ...]:
        return ("opening:" + self.household,)


class OpeningBalanceRejected(Fact, frozen=True, omit_defaults=True):
    """A proposed opening balance was refused by another person; a right one may be proposed."""

    type = "opening-balance-rejected.v1"
    opening: str
    household: str
    rejected_by: str
    reason: str

    def tags(self) -> tuple[str, ...]:
        return ("opening:" + self.household,)


class OpeningBalanceWithdrawn(Fact, frozen=True, omit_defaults=True):
    """Who had proposed an opening balance took the proposal back."""

    type = "opening-balance-withdrawn.v1"
    opening: str
    household: str
    withdrawn_by: str

    def tags(self) -> tuple[str, ...]:
        return ("opening:" + self.household,)


OpeningFact = OpeningBalanceProposed | OpeningBalanceCredited | OpeningBalanceRejected | OpeningBalanceWithdrawn


class Opening(msgspec.Struct, frozen=True):
    """A household's opening balance: the proposal that is open, if any, and whether one was credited."""

    household: str
    open: OpeningBalanceProposed | None = None
    credited: bool = False

    @staticmethod
    def of(household: str) -> "Reading[Opening]":
        return _fold.of(household)


def _evolve(state: Opening, fact: OpeningFact) -> Opening:
    match fact:
        case OpeningBalanceProposed():
            return replace(state, open=fact)
        case OpeningBalanceCredited():
            return Opening(state.household, None, True)
        case OpeningBalanceRejected() | OpeningBalanceWithdrawn():
            return replace(state, open=None)


_fold = Fold[Opening]("opening", Opening, _evolve, get_args(OpeningFact))


class ProposeOpeningBalance(BaseModel):
    """Propose what a household held in older books, for another person to approve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opening: RecordId | None = None
    household: HouseholdId
    minutes: Amount


class ApproveOpeningBalance(BaseModel):
    """Approve a household's proposed opening balance: it is credited, once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    opening: RecordId


class RejectOpeningBalance(BaseModel):
    """Refuse a household's proposed opening balance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    opening: RecordId
    reason: WhyNotOpened


class WithdrawOpeningBalance(BaseModel):
    """Take one's own proposal back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    opening: RecordId


def propose_opening_balance(command: ProposeOpeningBalance, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), OpeningForOwnHousehold,
    OpeningAlreadyCredited, OpeningAlreadyProposed."""
    household, state, proposer = yield from read(
        Household.of(command.household), Opening.of(command.household), Person.of(context.actor.id)
    )
    household.require_within(context)
    if proposer.household == command.household:
        raise OpeningForOwnHousehold(command.household)
    if state.credited:
        raise OpeningAlreadyCredited(command.household)
    if state.open is not None:
        raise OpeningAlreadyProposed(command.household, state.open.opening)
    opening = command.opening or new_number(context.command_id)
    return Decided(0, (OpeningBalanceProposed(opening, command.household, command.minutes, context.actor.id),))


def approve_opening_balance(command: ApproveOpeningBalance, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), OpeningAlreadyCredited,
    UnknownOpening, ApprovedByProposer, OpeningForOwnHousehold, BalanceTooHigh, NoPolicyInForce."""
    proposed = yield from _open(command.household, command.opening, context)
    yield from _require_another(proposed, context)
    household, book, payee = yield from read(
        Household.of(command.household), policy_book, Account.of(household_account(command.household))
    )
    household.require()
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    require_room(payee, proposed.minutes, adopted.policy.balance_minutes_max)
    credited = OpeningBalanceCredited(
        ISSUANCE, payee.account, proposed.minutes, command.household, command.opening, context.actor.id
    )
    return Decided(adopted.version, (credited,))


def reject_opening_balance(command: RejectOpeningBalance, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), OpeningAlreadyCredited,
    UnknownOpening, ApprovedByProposer, OpeningForOwnHousehold."""
    proposed = yield from _open(command.household, command.opening, context)
    yield from _require_another(proposed, context)
    rejected = OpeningBalanceRejected(command.opening, command.household, context.actor.id, command.reason)
    return Decided(0, (rejected,))


def withdraw_opening_balance(command: WithdrawOpeningBalance, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), OpeningAlreadyCredited,
    UnknownOpening, ProposedByAnother."""
    proposed = yield from _open(command.household, command.opening, context)
    if proposed.proposed_by != context.actor.id:
        raise ProposedByAnother(proposed.proposed_by)
    return Decided(0, (OpeningBalanceWithdrawn(command.opening, command.household, context.actor.id),))


def _open(household_id: str, opening: str, context: Context) -> Generator[Question, Any, OpeningBalanceProposed]:
    """The household's open proposal, which must be the one that is meant. Where the household is closed by now, it can
    only be rejected or withdrawn."""
    household, state = yield from read(Household.of(household_id), Opening.of(household_id))
    household.require_reached(context, UnknownHousehold(household_id))
    if state.credited:
        raise OpeningAlreadyCredited(household_id)
    if state.open is None or state.open.opening != opening:
        raise UnknownOpening(household_id, opening)
    return state.open


def _require_another(proposed: OpeningBalanceProposed, context: Context) -> Generator[Question, Any, None]:
    approver = yield from read(Person.of(context.actor.id))
    if approver.person == proposed.proposed_by:
        raise ApprovedByProposer(approver.person)
    if approver.household == proposed.household:
        raise OpeningForOwnHousehold(proposed.household)


@dataclass(unsafe_hash=True)
class OpeningForOwnHousehold(NotAllowed):
    household: str
    zh = "不能办理自己的户“{household}”的期初时间，须由户外的人办理。"
    en = "Nobody handles the opening balance of their own household “{household}”; somebody else must do it."


@dataclass(unsafe_hash=True)
class OpeningAlreadyCredited(AlreadyDone):
    household: str
    zh = "户“{household}”的期初时间已经入账，每户只有一次。"
    en = "The opening balance of the household “{household}” was credited already, which is done once."


@dataclass(unsafe_hash=True)
class OpeningAlreadyProposed(AlreadyDone):
    household: str
    opening: str
    zh = "户“{household}”已有待审批的期初时间“{opening}”。"
    en = "An opening balance of the household “{household}” is proposed already: “{opening}”."


@dataclass(unsafe_hash=True)
class UnknownOpening(Unknown):
    household: str
    opening: str
    zh = "户“{household}”没有编号为“{opening}”的待审批期初时间。"
    en = "The household “{household}” has no open proposal “{opening}” of an opening balance."
