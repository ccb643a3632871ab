"""Accounts and everything that moves minutes between them. All accounts of a ledger together always sum to zero.

An account is ``household:H1``, ``pool:新竹社区`` (公共时间池) or ``issuance``, the negative one that service earned
without a payer comes from. A balance is a fold; it is stored in no fact.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from domain.community import Community, require_reach, require_scope
from domain.decision import READINGS_KEPT, Context, Decided, Decision, Fold, Reading, read
from domain.fact import Movement
from domain.household import Household, Person, UnknownHousehold
from domain.identifiers import HouseholdId, PlaceName
from domain.policy import policy_book
from domain.refusal import AgainstRule, NotAllowed

ISSUANCE: Final = "issuance"
Reason = Literal["duplicate", "wrong-person", "wrong-time", "not-served", "false-record", "other"]
ImportReason = Reason | Literal["imported"]


def household_account(household: str) -> str:
    return "household:" + household


def pool_account(community: str) -> str:
    return "pool:" + community


def _account_tags(movement: Movement) -> tuple[str, ...]:
    """Nothing is ever decided on the issuance account's balance, so nothing is tagged with it."""
    source, target = movement.source, movement.target
    if source == ISSUANCE:
        return ("account:" + target,)
    if target == ISSUANCE:
        return ("account:" + source,)
    return ("account:" + source, "account:" + target)


class HoursConfirmed(Movement, frozen=True, omit_defaults=True, gc=False):
    """A service record was confirmed: ``minutes`` are credited to the earning household (target).

    ``honour_minutes`` is the part above the balance cap that is recognised without being credited.
    """

    type = "hours-confirmed.v1"
    record: str
    confirmed_by: str
    honour_minutes: int = 0

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class MinutesCapped(Movement, frozen=True, omit_defaults=True, gc=False):
    """What lifted a household above the policy's balance cap went on to its community's pool."""

    type = "minutes-capped.v1"
    record: str

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class HoursReversed(Movement, frozen=True, omit_defaults=True, gc=False):
    """A confirmed record was undone: exactly what was credited goes back to where it came from (冲正)."""

    type = "hours-reversed.v1"
    record: str
    reversed_by: str
    reason: ImportReason

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class CappedMinutesReturned(Movement, frozen=True, omit_defaults=True, gc=False):
    """A reversal took back what had gone on to the pool, so that it undoes its record exactly."""

    type = "capped-minutes-returned.v1"
    record: str

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class PoolFunded(Movement, frozen=True, omit_defaults=True, gc=False):
    """A community's pool was given minutes from issuance, for grants."""

    type = "pool-funded.v1"
    funded_by: str

    def tags(self) -> tuple[str, ...]:
        return _account_tags(self)


class MinutesGranted(Movement, frozen=True, omit_defaults=True, gc=False):
    """A household was granted minutes from its community's pool."""

    type = "minutes-granted.v1"
    granted_by: str
    need: str

    def tags(self) -> tuple[str, ...]:
        return _account_tags(self)


AccountFact = HoursConfirmed | MinutesCapped | HoursReversed | CappedMinutesReturned | PoolFunded | MinutesGranted


class Account(msgspec.Struct, frozen=True, gc=False):
    """An account's balance in minutes."""

    account: str
    balance_minutes: int = 0

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(account: str) -> "Reading[Account]":
        return account_fold.of(account)


def evolve(state: Account, fact: AccountFact) -> Account:
    """The account after one movement; one that names it neither as source nor as target changes nothing."""
    minutes = fact.minutes
    change = (minutes if fact.target == state.account else 0) - (minutes if fact.source == state.account else 0)
    return Account(state.account, state.balance_minutes + change) if change else state


account_fold = Fold[Account]("account", Account, evolve, get_args(AccountFact))

Amount = Annotated[int, Field(ge=1, le=60_000_000, description="Whole minutes.")]
Need = Literal["living-alone", "low-income", "disability", "illness", "emergency", "other"]


class FundPool(BaseModel):
    """Give a community's pool minutes from issuance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    minutes: Amount


class GrantMinutes(BaseModel):
    """Grant a household minutes from its community's pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    minutes: Amount
    need: Need


def fund_pool(command: FundPool, context: Context) -> Decision:
    """Raises: UnknownCommunity, OutsideCommunity."""
    require_scope(context, command.community)
    community = yield from read(Community.of(command.community))
    community.require()
    pool = pool_account(command.community)
    return Decided(0, (PoolFunded(ISSUANCE, pool, command.minutes, context.actor.id),))


def grant_minutes(command: GrantMinutes, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), GrantedToOwnHousehold, BalanceTooLow
    (the pool's), BalanceTooHigh, NoPolicyInForce."""
    household, book, granter = yield from read(
        Household.of(command.household), policy_book, Person.of(context.actor.id)
    )
    community = household.require()
    require_reach(context, community, UnknownHousehold(command.household))
    if granter.household == command.household:
        raise GrantedToOwnHousehold(command.household)
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    target = household_account(command.household)
    pool, account = yield from read(Account.of(pool_account(community)), Account.of(target))
    require_cover(pool, command.minutes, 0)
    balance_max = adopted.policy.balance_minutes_max
    if balance_max is not None and account.balance_minutes + command.minutes > balance_max:
        raise BalanceTooHigh(target, account.balance_minutes, command.minutes, balance_max)
    granted = MinutesGranted(pool.account, target, command.minutes, context.actor.id, command.need)
    return Decided(adopted.version, (granted,))


def require_cover(payer: Account, minutes: int, balance_minutes_min: int) -> None:
    """Raises: BalanceTooLow when paying ``minutes`` would take the account below its floor."""
    if payer.balance_minutes - minutes < balance_minutes_min:
        raise BalanceTooLow(payer.account, payer.balance_minutes, minutes, balance_minutes_min)


@dataclass(unsafe_hash=True)
class GrantedToOwnHousehold(NotAllowed):
    household: str
    zh = "不能给自己的户“{household}”拨付，须由户外的人办理。"
    en = "Nobody grants minutes to their own household “{household}”; somebody else must do it."


@dataclass(unsafe_hash=True)
class BalanceTooLow(AgainstRule):
    account: str
    balance_minutes: int
    minutes: int
    balance_minutes_min: int
    zh = "账户“{account}”余额 {balance_minutes} 分钟，支付 {minutes} 分钟后会低于下限 {balance_minutes_min} 分钟。"
    en = (
        "The account “{account}” holds {balance_minutes} minutes; paying {minutes} would take it below "
        "its floor of {balance_minutes_min}."
    )


@dataclass(unsafe_hash=True)
class BalanceTooHigh(AgainstRule):
    account: str
    balance_minutes: int
    minutes: int
    balance_minutes_max: int
    zh = "账户“{account}”余额 {balance_minutes} 分钟，再加 {minutes} 分钟会超过上限 {balance_minutes_max} 分钟。"
    en = (
        "The account “{account}” holds {balance_minutes} minutes; {minutes} more would exceed "
        "its cap of {balance_minutes_max}."
    )
