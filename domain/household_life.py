"""Households that live: members leave, move and die; households move, are split, merged and closed.

No minute is made or lost on the way: what an account held is carried by one movement, or stays where it is. History
stays with its time: records and movements keep the household, the community and the grid that they had. Nobody decides
about their own household.

What is not finished follows the household that stands in the place of one that is merged or taken over: its requests,
its reservations and disputes, its visits and unconfirmed records, and the minutes that are held for any of them. Where
no household does, what it asked for and what is held must be settled first. A split leaves all of that with the old
household, whose available balance must cover the share; so does who leaves or dies, but for what they offered to do.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.account import EXPIRED, Account, BalanceCarried, carry_holds, household_account, pool_account, require_cover
from domain.community import Community, registered_place_on, require_reach
from domain.decision import Context, Decided, Decision, Question, read, read_all, require_time
from domain.expiry import age_of
from domain.fact import Fact
from domain.household import (
    Household,
    HouseholdAlreadyRegistered,
    HouseholdClosed,
    HouseholdMerged,
    HouseholdMoveCalledOff,
    HouseholdMoved,
    HouseholdMovePlanned,
    HouseholdSplit,
    MemberDied,
    MemberHasDied,
    MemberLeft,
    MemberMoved,
    Person,
    Roster,
    UnknownMember,
)
from domain.identifiers import HouseholdId, PersonId, PlaceName
from domain.policy import policy_book
from domain.refusal import AgainstRule, NotAllowed
from domain.request import follow_requests, require_nothing_asked

MOVE_DAYS_AHEAD_MAX: Final = 366
"""How far ahead a household's move can be planned, so that a mistyped year is noticed."""


class LeaveHousehold(BaseModel):
    """A member leaves the household, for none that is known. The balance stays with the household."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: PersonId


class MoveMember(BaseModel):
    """A member goes from one household to another. The balance stays where it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: PersonId
    into: HouseholdId


class RecordDeath(BaseModel):
    """A member has died. The household keeps its balance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: PersonId


class MoveHousehold(BaseModel):
    """A household has moved to another community or grid, or will, on a day to come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    community: PlaceName
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()
    moved_on: date


class CallOffMove(BaseModel):
    """A household won't move as planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId


class CompleteMove(BaseModel):
    """Carry out a planned move on its day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId


class SplitHousehold(BaseModel):
    """Some members become a household of their own, with a share of the balance. Its place is that of the old one,
    if none is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    into: HouseholdId
    members: Annotated[tuple[PersonId, ...], Field(min_length=1, max_length=50)]
    minutes: Annotated[
        int, Field(strict=True, ge=0, le=60_000_000, description="The new household's share, in minutes.")
    ]
    community: PlaceName | None = None
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.members)) < len(self.members):
            raise ValueError("成员不能重复 / a member is named twice")
        if self.grid and self.community is None:
            raise ValueError("填写网格时须填写社区 / a grid needs its community")
        return self


class MergeHouseholds(BaseModel):
    """All members and the whole balance of a household go to another one, and the household is closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    into: HouseholdId


class CloseHousehold(BaseModel):
    """Close a household. Its balance goes to the household that takes it over, or else where the policy says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    cause: Literal["moved-away", "died", "other"]
    taken_over_by: HouseholdId | None = None


def leave_household(command: LeaveHousehold, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), MemberHasDied, DecidedByMember."""
    household = yield from _home_of(command.member, context)
    return Decided(0, (MemberLeft(command.member, household),))


def record_death(command: RecordDeath, context: Context) -> Decision:
    """A household whose last member died keeps its balance until somebody closes it.

    Raises: UnknownMember (also where they are outside the staff's community), MemberHasDied, DecidedByMember.
    """
    household = yield from _home_of(command.member, context)
    return Decided(0, (MemberDied(command.member, household),))


def move_member(command: MoveMember, context: Context) -> Decision:
    """Raises: UnknownMember and UnknownHousehold (also where they are outside the staff's community), MemberHasDied,
    ClosedHousehold, SameHousehold, DecidedByMember."""
    household = yield from _home_of(command.member, context)
    into, actor = yield from read(Household.of(command.into), Person.of(context.actor.id))
    into.require_within(context)
    require_outsider(actor, command.into)
    if household == command.into:
        raise SameHousehold(household)
    return Decided(0, (MemberMoved(command.member, household, command.into),))


def _home_of(member: str, context: Context) -> Generator[Question, Any, str]:
    """The household of a member whom the actor may decide about."""
    person, actor = yield from read(Person.of(member), Person.of(context.actor.id))
    if person.household is None:
        raise MemberHasDied(member) if person.died and context.actor.community is None else UnknownMember(member)
    household = yield from read(Household.of(person.household))
    if household.community is not None:
        require_reach(context, household.community, UnknownMember(member))
    if person.person == actor.person or actor.household == person.household:
        raise DecidedByMember(person.household)
    return person.household


def move_household(command: MoveHousehold, context: Context) -> Decision:
    """Pool and caps are those of the new community from now on, and what was asked for at home follows. A move that
    is to come is planned: a new plan takes the place of the old one, and nothing changes before its day.

    Raises: UnknownHousehold (also where it is outside the staff's community), ClosedHousehold, UnknownCommunity,
    UnknownGrid, DissolvedCommunity, SamePlace, TooFarAhead, DecidedByMember.
    """
    today = context.now.astimezone(context.zone).date()
    latest = today + timedelta(days=MOVE_DAYS_AHEAD_MAX)
    if command.moved_on > latest:
        raise TooFarAhead(command.moved_on.isoformat(), latest.isoformat())
    household, community, actor = yield from read(
        Household.of(command.household), Community.of(command.community), Person.of(context.actor.id)
    )
    household.require_within(context)
    community.require(command.grid)
    require_outsider(actor, command.household)
    if (household.community, household.grid) == (command.community, command.grid):
        raise SamePlace(command.household, "/".join((command.community, *command.grid)))
    place = (command.community, command.grid)
    if command.moved_on > today:
        planned = HouseholdMovePlanned(command.household, *place, command.moved_on, context.actor.id)
        return Decided(0, (planned,))
    moved = HouseholdMoved(command.household, *place, command.moved_on)
    return Decided(0, (moved, *(yield from follow_requests(household, command.household, place))))


def call_off_move(command: CallOffMove, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), ClosedHousehold, NoMovePlanned,
    DecidedByMember."""
    household, actor = yield from read(Household.of(command.household), Person.of(context.actor.id))
    household.require_within(context)
    require_outsider(actor, command.household)
    if household.plan is None:
        raise NoMovePlanned(command.household)
    return Decided(0, (HouseholdMoveCalledOff(command.household, context.actor.id),))


def complete_move(command: CompleteMove, context: Context) -> Decision:
    """By the system alone, to what the place of the plan has become by its day; a grid that isn't registered there is
    left out.

    Raises: LeftToTime, UnknownHousehold, ClosedHousehold, NoMovePlanned, NotYet.
    """
    require_time(context)
    household = yield from read(Household.of(command.household))
    household.require()
    plan, today = household.plan, context.now.astimezone(context.zone).date()
    if plan is None:
        raise NoMovePlanned(command.household)
    if plan.moves_on > today:
        raise NotYet(plan.moves_on.isoformat())
    place = yield from registered_place_on(plan.community, plan.grid, today)
    moved = HouseholdMoved(command.household, *place, plan.moves_on, planned=True)
    return Decided(0, (moved, *(yield from follow_requests(household, command.household, place))))


def split_household(command: SplitHousehold, context: Context) -> Decision:
    """Raises: UnknownHousehold and UnknownMember (also where they are outside the staff's community), ClosedHousehold,
    HouseholdAlreadyRegistered, UnknownCommunity, UnknownGrid, DissolvedCommunity, BalanceTooLow (what isn't held must
    cover the share), DecidedByMember."""
    household, new, actor = yield from read(
        Household.of(command.household), Household.of(command.into), Person.of(context.actor.id)
    )
    home = household.require_within(context)
    require_outsider(actor, command.household)
    if new.community is not None:
        raise HouseholdAlreadyRegistered(command.into)
    for person in (yield from read_all(Person.of(member) for member in command.members)):
        if person.household != command.household:
            raise UnknownMember(person.person)
    community, grid = (home, household.grid) if command.community is None else (command.community, command.grid)
    (yield from read(Community.of(community))).require(grid)
    split = HouseholdSplit(command.household, command.into, community, grid, command.members)
    if not command.minutes:
        return Decided(0, (split,))
    account = yield from read(Account.of(household_account(command.household)))
    require_cover(account, command.minutes, 0)
    lots = yield from age_of(account.account, command.minutes)
    target = household_account(command.into)
    share = BalanceCarried(account.account, target, command.minutes, "household-split", lots)
    return Decided(0, (split, share))


def merge_households(command: MergeHouseholds, context: Context) -> Decision:
    """The sum of two balances may be above the policy's cap: nobody loses what was earned. A debt is taken over too,
    and so is what the household asked for and what is held.

    Raises: UnknownHousehold (also where one is outside the staff's community), ClosedHousehold, SameHousehold,
    DecidedByMember.
    """
    if command.household == command.into:
        raise SameHousehold(command.household)
    household, into, actor = yield from read(
        Household.of(command.household), Household.of(command.into), Person.of(context.actor.id)
    )
    household.require_within(context)
    into.require_within(context)
    require_outsider(actor, command.household, command.into)
    account, roster = yield from read(Account.of(household_account(command.household)), Roster.of(command.household))
    merged = HouseholdMerged(command.household, command.into, tuple(sorted(roster.members)))
    carried = yield from _carry_all(account, household_account(command.into), "household-merged")
    return Decided(0, (merged, *carried, *(yield from _follow(household, account, into))))


def _follow(household: Household, account: Account, into: Household) -> Generator[Question, Any, tuple[Fact, ...]]:
    """What is held and what was asked for goes over to the household that stands in the place of another one."""
    holds = yield from carry_holds(account, household_account(into.household))
    place = (into.require(), into.grid)
    return (*holds, *(yield from follow_requests(household, into.household, place)))


def close_household(command: CloseHousehold, context: Context) -> Decision:
    """A balance below zero is borne by whoever takes the household over, or else by its community's pool. Who takes it
    over also has what is held and what was asked for.

    Raises: UnknownHousehold (also where one is outside the staff's community), ClosedHousehold, SameHousehold,
    MinutesStillHeld and RequestsStillOpen (where nobody takes it over), DecidedByMember, NoPolicyInForce.
    """
    household, book, actor = yield from read(Household.of(command.household), policy_book, Person.of(context.actor.id))
    community = household.require_within(context)
    require_outsider(actor, command.household)
    account, roster = yield from read(Account.of(household_account(command.household)), Roster.of(command.household))
    if command.taken_over_by is not None:
        if command.taken_over_by == command.household:
            raise SameHousehold(command.household)
        heir = yield from read(Household.of(command.taken_over_by))
        heir.require_within(context)
        require_outsider(actor, command.taken_over_by)
        version, target = 0, household_account(command.taken_over_by)
        following = yield from _follow(household, account, heir)
    else:
        require_nothing_held(account)
        yield from require_nothing_asked(command.household, context)
        following = ()
        adopted = book.in_force(context.now.astimezone(context.zone).date())
        expires = adopted.policy.closing_balance == "expire" and account.balance_minutes >= 0
        version, target = adopted.version, EXPIRED if expires else pool_account(community)
    closed = HouseholdClosed(command.household, command.cause, target, tuple(sorted(roster.members)))
    carried = yield from _carry_all(account, target, "household-closed")
    return Decided(version, (closed, *carried, *following))


def require_outsider(actor: Person, *households: str) -> None:
    """Raises: DecidedByMember."""
    if actor.household in households:
        raise DecidedByMember(actor.household or "")


def require_nothing_held(account: Account) -> None:
    """Raises: MinutesStillHeld."""
    if account.held_minutes:
        raise MinutesStillHeld(account.account, account.held_minutes)


def _carry_all(
    account: Account, target: str, cause: Literal["household-merged", "household-closed"]
) -> Generator[Question, Any, tuple[Fact, ...]]:
    """The movement that leaves nothing on an account, neither minutes nor debt."""
    minutes = account.balance_minutes
    if minutes > 0:
        lots = (yield from age_of(account.account, minutes)) if target.startswith("household:") else ()
        return (BalanceCarried(account.account, target, minutes, cause, lots),)
    return (BalanceCarried(target, account.account, -minutes, cause),) if minutes else ()


@dataclass(unsafe_hash=True)
class DecidedByMember(NotAllowed):
    household: str
    zh = "不能办理自己所在户“{household}”的变动，须由户外的人办理。"
    en = "Nobody decides about their own household “{household}”; somebody else must."


@dataclass(unsafe_hash=True)
class SameHousehold(AgainstRule):
    household: str
    zh = "转入的户就是“{household}”本身。"
    en = "It is the household “{household}” itself already."


@dataclass(unsafe_hash=True)
class SamePlace(AgainstRule):
    household: str
    place: str
    zh = "户“{household}”已经登记在“{place}”。"
    en = "The household “{household}” is registered at “{place}” already."


@dataclass(unsafe_hash=True)
class NotYet(AgainstRule):
    day: str
    zh = "{day} 还没有到。"
    en = "{day} has not come yet."


@dataclass(unsafe_hash=True)
class TooFarAhead(AgainstRule):
    day: str
    latest: str
    zh = "{day} 太远，最晚可以登记 {latest} 的迁移。"
    en = "{day} is too far ahead; a move can be planned for {latest} at the latest."


@dataclass(unsafe_hash=True)
class NoMovePlanned(AgainstRule):
    household: str
    zh = "户“{household}”没有预定的迁移。"
    en = "No move of the household “{household}” is planned."


@dataclass(unsafe_hash=True)
class MinutesStillHeld(AgainstRule):
    account: str
    held_minutes: int
    zh = "账户“{account}”还有 {held_minutes} 分钟被冻结，请先了结有关的需求、预约或争议。"
    en = "The account “{account}” has {held_minutes} minutes held; settle what they are held for first."
