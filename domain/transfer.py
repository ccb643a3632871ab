"""Minutes that a household gives away: to family or to anybody (转赠), as the policy says, or to a pool (捐赠).

A gift is of what the giver has: it never goes below zero, whatever overdraft the policy allows for receiving service.
A member of the giving household gives, or staff do at its request, who give nothing to their own household that way.
Family ties between households are registered by staff, and never by the family itself.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from domain.account import (
    Account,
    Amount,
    BalanceTooHigh,
    MinutesDonated,
    MinutesTransferred,
    household_account,
    pool_account,
    require_cover,
)
from domain.community import Community
from domain.decision import Context, Decided, Decision, Fold, Reading, read
from domain.expiry import age_of
from domain.fact import Fact
from domain.household import Household, Person
from domain.identifiers import HouseholdId, PlaceName
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown


class FamilyTieRegistered(Fact, frozen=True, omit_defaults=True):
    """Two households were registered as family: the policy may let them give each other minutes."""

    type = "family-tie-registered.v1"
    household: str
    other_household: str
    registered_by: str

    def tags(self) -> tuple[str, ...]:
        return ("ties:" + self.household, "ties:" + self.other_household)


class FamilyTieEnded(Fact, frozen=True, omit_defaults=True):
    """A family tie no longer holds; what was given on it stays given."""

    type = "family-tie-ended.v1"
    household: str
    other_household: str
    ended_by: str

    def tags(self) -> tuple[str, ...]:
        return ("ties:" + self.household, "ties:" + self.other_household)


class FamilyTies(msgspec.Struct, frozen=True):
    """The households that one is tied to now. A tie holds both ways."""

    household: str
    others: frozenset[str] = frozenset()

    @staticmethod
    def of(household: str) -> "Reading[FamilyTies]":
        return _ties.of(household)


def _evolve_ties(state: FamilyTies, fact: FamilyTieRegistered | FamilyTieEnded) -> FamilyTies:
    other = frozenset({fact.household, fact.other_household}) - {state.household}
    match fact:
        case FamilyTieRegistered():
            return FamilyTies(state.household, state.others | other)
        case FamilyTieEnded():
            return FamilyTies(state.household, state.others - other)


_ties = Fold[FamilyTies]("ties", FamilyTies, _evolve_ties, (FamilyTieRegistered, FamilyTieEnded))


class TransferMonth(msgspec.Struct, frozen=True):
    """What one account transferred in one month of the ledger's calendar."""

    minutes: int = 0

    @staticmethod
    def of(account: str, day: date) -> "Reading[TransferMonth]":
        return _month.of(f"{account}:{day:%Y-%m}")


def _evolve_month(state: TransferMonth, fact: MinutesTransferred) -> TransferMonth:
    return TransferMonth(state.minutes + fact.minutes)


_month = Fold[TransferMonth]("transfers", lambda _: TransferMonth(), _evolve_month, (MinutesTransferred,))


class RegisterFamilyTie(BaseModel):
    """Register two households as family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    other_household: HouseholdId


class EndFamilyTie(BaseModel):
    """End a family tie, whichever of the two is named first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    other_household: HouseholdId


class TransferMinutes(BaseModel):
    """Give minutes of a household to another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    recipient_household: HouseholdId
    minutes: Amount


class DonateMinutes(BaseModel):
    """Give minutes of a household to a community's pool: its own community's if none is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    minutes: Amount
    community: PlaceName | None = None


def register_family_tie(command: RegisterFamilyTie, context: Context) -> Decision:
    """The first household is the one whose staff register the tie; the other may live in any community.

    Raises: UnknownHousehold (also where the first is outside the staff's community), HouseholdNamedTwice,
    TieOfOwnHousehold, FamilyTieAlreadyRegistered.
    """
    household, other, ties, registrar = yield from read(
        Household.of(command.household),
        Household.of(command.other_household),
        FamilyTies.of(command.household),
        Person.of(context.actor.id),
    )
    household.require_within(context)
    other.require()
    if command.household == command.other_household:
        raise HouseholdNamedTwice(command.household)
    if registrar.household in (command.household, command.other_household):
        raise TieOfOwnHousehold(registrar.household)
    if command.other_household in ties.others:
        raise FamilyTieAlreadyRegistered(command.household, command.other_household)
    return Decided(0, (FamilyTieRegistered(command.household, command.other_household, context.actor.id),))


def end_family_tie(command: EndFamilyTie, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where the first is outside the staff's community), UnknownFamilyTie."""
    household, ties = yield from read(Household.of(command.household), FamilyTies.of(command.household))
    household.require_within(context)
    if command.other_household not in ties.others:
        raise UnknownFamilyTie(command.household, command.other_household)
    return Decided(0, (FamilyTieEnded(command.household, command.other_household, context.actor.id),))


def transfer(command: TransferMinutes, context: Context) -> Decision:
    """Raises: NotOfTheHousehold, UnknownHousehold (also where the giver is outside the staff's community),
    HouseholdNamedTwice, MovedToOwnHousehold, TransfersSwitchedOff, NotFamily, TransferMonthFull, BalanceTooLow,
    BalanceTooHigh (the recipient's), NoPolicyInForce."""
    giver, household, recipient, book = yield from read(
        Person.of(context.actor.id),
        Household.of(command.household),
        Household.of(command.recipient_household),
        policy_book,
    )
    _require_giver(context, giver, household)
    recipient.require()
    if command.household == command.recipient_household:
        raise HouseholdNamedTwice(command.household)
    if giver.household == command.recipient_household:
        raise MovedToOwnHousehold(command.recipient_household)
    today = context.now.astimezone(context.zone).date()
    adopted = book.in_force(today)
    policy = adopted.policy
    if policy.transfer == "nobody":
        raise TransfersSwitchedOff(adopted.version)
    ties = yield from read(FamilyTies.of(command.household))
    tie: Literal["family", "anyone"] = "family" if command.recipient_household in ties.others else "anyone"
    if policy.transfer == "family" and tie != "family":
        raise NotFamily(command.household, command.recipient_household)
    source, target = household_account(command.household), household_account(command.recipient_household)
    if policy.transfer_minutes_month_max is not None:
        month = yield from read(TransferMonth.of(source, today))
        if month.minutes + command.minutes > policy.transfer_minutes_month_max:
            raise TransferMonthFull(f"{today:%Y-%m}", month.minutes, command.minutes, policy.transfer_minutes_month_max)
    payer, payee = yield from read(Account.of(source), Account.of(target))
    require_cover(payer, command.minutes, 0)
    require_room(payee, command.minutes, policy.balance_minutes_max)
    lots = yield from age_of(source, command.minutes)
    transferred = MinutesTransferred(source, target, command.minutes, context.actor.id, tie, today, lots)
    return Decided(adopted.version, (transferred,))


def donate(command: DonateMinutes, context: Context) -> Decision:
    """Raises: NotOfTheHousehold, UnknownHousehold (also where it is outside the staff's community), UnknownCommunity,
    BalanceTooLow."""
    giver, household = yield from read(Person.of(context.actor.id), Household.of(command.household))
    home = _require_giver(context, giver, household)
    community, payer = yield from read(
        Community.of(command.community or home), Account.of(household_account(command.household))
    )
    community.require()
    require_cover(payer, command.minutes, 0)
    pool = pool_account(community.community)
    return Decided(0, (MinutesDonated(payer.account, pool, command.minutes, context.actor.id),))


def _require_giver(context: Context, giver: Person, household: Household) -> str:
    """The household's community, for those who may give for it: its members, and staff at its request.

    Raises: NotOfTheHousehold, whether there is such a household or not; UnknownHousehold.
    """
    if context.actor.role == "volunteer":
        if giver.household != household.household:
            raise NotOfTheHousehold(household.household)
        return household.require()
    return household.require_within(context)


def require_room(payee: Account, minutes: int, balance_minutes_max: int | None) -> None:
    """Raises: BalanceTooHigh when ``minutes`` more would lift the account above its cap."""
    if balance_minutes_max is not None and payee.balance_minutes + minutes > balance_minutes_max:
        raise BalanceTooHigh(payee.account, payee.balance_minutes, minutes, balance_minutes_max)


@dataclass(unsafe_hash=True)
class HouseholdNamedTwice(AgainstRule):
    household: str
    zh = "两边都是户“{household}”，须填写两个不同的户。"
    en = "Both sides are the household “{household}”; two different ones are needed."


@dataclass(unsafe_hash=True)
class TieOfOwnHousehold(NotAllowed):
    household: str
    zh = "不能登记自己的户“{household}”的亲属关系，须由别人办理。"
    en = "Nobody registers a family tie of their own household “{household}”; somebody else must do it."


@dataclass(unsafe_hash=True)
class FamilyTieAlreadyRegistered(AlreadyDone):
    household: str
    other_household: str
    zh = "户“{household}”与户“{other_household}”已经登记为亲属。"
    en = "The households “{household}” and “{other_household}” are registered as family already."


@dataclass(unsafe_hash=True)
class UnknownFamilyTie(Unknown):
    household: str
    other_household: str
    zh = "户“{household}”与户“{other_household}”没有登记亲属关系。"
    en = "The households “{household}” and “{other_household}” are not registered as family."


@dataclass(unsafe_hash=True)
class NotOfTheHousehold(NotAllowed):
    household: str
    zh = "您不是户“{household}”的成员，不能支配它的时间。"
    en = "You are no member of the household “{household}” and can't give its minutes away."


@dataclass(unsafe_hash=True)
class MovedToOwnHousehold(NotAllowed):
    household: str
    zh = "不能替别人把时间转给自己的户“{household}”，须由别人办理。"
    en = "Nobody moves minutes of others to their own household “{household}”; somebody else must do it."


@dataclass(unsafe_hash=True)
class TransfersSwitchedOff(AgainstRule):
    policy: int
    zh = "第 {policy} 版规则不允许转赠；可以捐赠给公共时间池。"
    en = "Version {policy} of the policy allows no transfers; minutes can be donated to a pool."


@dataclass(unsafe_hash=True)
class NotFamily(AgainstRule):
    household: str
    recipient_household: str
    zh = "规则只允许转赠给亲属，户“{household}”与户“{recipient_household}”没有登记亲属关系。"
    en = (
        "The policy allows transfers to family only, and the households “{household}” and “{recipient_household}” "
        "are not registered as such."
    )


@dataclass(unsafe_hash=True)
class TransferMonthFull(AgainstRule):
    month: str
    transferred_minutes: int
    minutes: int
    transfer_minutes_month_max: int
    zh = "{month} 已转赠 {transferred_minutes} 分钟，再转 {minutes} 分钟会超过每月 {transfer_minutes_month_max} 分钟。"
    en = (
        "{transferred_minutes} minutes were transferred in {month}; {minutes} more would exceed the limit of "
        "{transfer_minutes_month_max} a month."
    )
