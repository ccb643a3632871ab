"""Groups of volunteers, and what they serve together: hours that are the group's own, to be donated and never spent.

Records that are logged as a group's credit its account where the policy says so (``group_hours``). Its leader gives
those minutes to a pool, or to a household in need; staff of its community may, too.
"""

from dataclasses import dataclass
from typing import Self, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, model_validator

from domain.account import (
    Account,
    Amount,
    MinutesDonated,
    Need,
    group_account,
    household_account,
    pool_account,
    require_cover,
)
from domain.community import Community, require_reach, require_scope
from domain.decision import Context, Decided, Decision, Fold, Reading, read
from domain.fact import Fact
from domain.household import Household, Person, UnknownMember
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId
from domain.policy import policy_book
from domain.refusal import AlreadyDone, NotAllowed, Unknown
from domain.transfer import MovedToOwnHousehold, require_room


class GroupRegistered(Fact, frozen=True, omit_defaults=True):
    """A group of volunteers was registered in a community, with its leader, who is its first member."""

    type = "group-registered.v1"
    group: str
    community: str
    leader: str

    def tags(self) -> tuple[str, ...]:
        return ("group:" + self.group,)


class GroupMemberJoined(Fact, frozen=True, omit_defaults=True):
    """A person joined a group."""

    type = "group-member-joined.v1"
    group: str
    member: str

    def tags(self) -> tuple[str, ...]:
        return ("group:" + self.group,)


class GroupMemberLeft(Fact, frozen=True, omit_defaults=True):
    """A person left a group; what was served as the group stays the group's."""

    type = "group-member-left.v1"
    group: str
    member: str

    def tags(self) -> tuple[str, ...]:
        return ("group:" + self.group,)


class GroupLeaderAppointed(Fact, frozen=True, omit_defaults=True):
    """Another member leads a group from now on."""

    type = "group-leader-appointed.v1"
    group: str
    leader: str

    def tags(self) -> tuple[str, ...]:
        return ("group:" + self.group,)


GroupFact = GroupRegistered | GroupMemberJoined | GroupMemberLeft | GroupLeaderAppointed


class Group(msgspec.Struct, frozen=True):
    """``community`` is None while the group is not registered."""

    group: str
    community: str | None = None
    leader: str | None = None
    members: frozenset[str] = frozenset()

    @staticmethod
    def of(group: str) -> "Reading[Group]":
        return _fold.of(group)

    def require(self, context: Context) -> str:
        """The group's community, for those who may act for the group: its leader, and staff of its community.

        Raises: UnknownGroup, also for everybody else.
        """
        if self.community is None:
            raise UnknownGroup(self.group)
        if context.actor.role == "volunteer":
            if context.actor.id not in self.members:
                raise UnknownGroup(self.group)
            if context.actor.id != self.leader:
                raise NotLeadingGroup(self.group)
        else:
            require_reach(context, self.community, UnknownGroup(self.group))
        return self.community


def _evolve(state: Group, fact: GroupFact) -> Group:
    match fact:
        case GroupRegistered():
            return Group(state.group, fact.community, fact.leader, frozenset({fact.leader}))
        case GroupMemberJoined():
            return replace(state, members=state.members | {fact.member})
        case GroupMemberLeft():
            return replace(state, members=state.members - {fact.member})
        case GroupLeaderAppointed():
            return replace(state, leader=fact.leader)


_fold = Fold[Group]("group", Group, _evolve, get_args(GroupFact))


class RegisterGroup(BaseModel):
    """Register a group of volunteers in a community."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: RecordId
    community: PlaceName
    leader: PersonId


class JoinGroup(BaseModel):
    """Add a registered member of a household to a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: RecordId
    member: PersonId


class LeaveGroup(BaseModel):
    """Take a person off a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: RecordId
    member: PersonId


class AppointGroupLeader(BaseModel):
    """Have another member lead a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: RecordId
    leader: PersonId


class GroupGift(BaseModel):
    """What a group gives: to a household in need, or to a pool (its own community's if none is named)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: Amount
    community: PlaceName | None = None
    household: HouseholdId | None = None
    need: Need | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.household is not None and self.community is not None:
            raise ValueError("只能填写户或社区之一 / name a household or a community, not both")
        if (self.household is None) != (self.need is None):
            raise ValueError("捐给户时须填写困难原因 / a household is given to for a need, and a pool without one")
        return self


class DonateGroupMinutes(GroupGift):
    """Give minutes of a group away."""

    group: RecordId


def register_group(command: RegisterGroup, context: Context) -> Decision:
    """Raises: OutsideCommunity, UnknownCommunity, UnknownMember (the leader), GroupAlreadyRegistered."""
    require_scope(context, command.community)
    group, community, leader = yield from read(
        Group.of(command.group), Community.of(command.community), Person.of(command.leader)
    )
    community.require()
    if group.community is not None:
        raise GroupAlreadyRegistered(command.group)
    if leader.household is None:
        raise UnknownMember(command.leader)
    return Decided(0, (GroupRegistered(command.group, command.community, command.leader),))


def join_group(command: JoinGroup, context: Context) -> Decision:
    """Raises: UnknownGroup (also where it is outside the staff's community), NotLeadingGroup, UnknownMember,
    AlreadyInGroup."""
    group, member = yield from read(Group.of(command.group), Person.of(command.member))
    group.require(context)
    if member.household is None:
        raise UnknownMember(command.member)
    if command.member in group.members:
        raise AlreadyInGroup(command.group, command.member)
    return Decided(0, (GroupMemberJoined(command.group, command.member),))


def leave_group(command: LeaveGroup, context: Context) -> Decision:
    """Members leave by themselves; the leader and staff take others off.

    Raises: UnknownGroup (also where it is outside the staff's community), NotLeadingGroup, NotInGroup, LeaderStays.
    """
    group = yield from read(Group.of(command.group))
    if context.actor.id != command.member or command.member not in group.members:
        group.require(context)
    if command.member not in group.members:
        raise NotInGroup(command.group, command.member)
    if command.member == group.leader:
        raise LeaderStays(command.group, command.member)
    return Decided(0, (GroupMemberLeft(command.group, command.member),))


def appoint_group_leader(command: AppointGroupLeader, context: Context) -> Decision:
    """Raises: UnknownGroup (also where it is outside the staff's community), NotLeadingGroup, NotInGroup,
    AlreadyLeading."""
    group = yield from read(Group.of(command.group))
    group.require(context)
    if command.leader not in group.members:
        raise NotInGroup(command.group, command.leader)
    if command.leader == group.leader:
        raise AlreadyLeading(command.group, command.leader)
    return Decided(0, (GroupLeaderAppointed(command.group, command.leader),))


def donate_group_minutes(command: DonateGroupMinutes, context: Context) -> Decision:
    """Raises: UnknownGroup (also where it is outside the staff's community), NotLeadingGroup, UnknownCommunity,
    UnknownHousehold, MovedToOwnHousehold, BalanceTooLow, BalanceTooHigh (the household's), NoPolicyInForce."""
    group, giver, payer = yield from read(
        Group.of(command.group), Person.of(context.actor.id), Account.of(group_account(command.group))
    )
    home = group.require(context)
    actor = context.actor.id
    if command.household is None:
        community = yield from read(Community.of(command.community or home))
        community.require()
        require_cover(payer, command.minutes, 0)
        pool = pool_account(community.community)
        return Decided(0, (MinutesDonated(payer.account, pool, command.minutes, actor),))
    household, book, payee = yield from read(
        Household.of(command.household), policy_book, Account.of(household_account(command.household))
    )
    household.require()
    if giver.household == command.household:
        raise MovedToOwnHousehold(command.household)
    require_cover(payer, command.minutes, 0)
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    require_room(payee, command.minutes, adopted.policy.balance_minutes_max)
    donated = MinutesDonated(payer.account, payee.account, command.minutes, actor, command.need)
    return Decided(adopted.version, (donated,))


@dataclass(unsafe_hash=True)
class UnknownGroup(Unknown):
    group: str
    zh = "没有编号为“{group}”的志愿团队。"
    en = "There is no group “{group}”."


@dataclass(unsafe_hash=True)
class GroupAlreadyRegistered(AlreadyDone):
    group: str
    zh = "志愿团队“{group}”已经登记。"
    en = "The group “{group}” is registered already."


@dataclass(unsafe_hash=True)
class NotLeadingGroup(NotAllowed):
    group: str
    zh = "只有志愿团队“{group}”的负责人和社区工作人员可以这样做。"
    en = "Only the leader of the group “{group}” and the community's staff may do this."


@dataclass(unsafe_hash=True)
class AlreadyInGroup(AlreadyDone):
    group: str
    member: str
    zh = "“{member}”已经是志愿团队“{group}”的成员。"
    en = "“{member}” is in the group “{group}” already."


@dataclass(unsafe_hash=True)
class NotInGroup(Unknown):
    group: str
    member: str
    zh = "“{member}”不是志愿团队“{group}”的成员。"
    en = "“{member}” is not in the group “{group}”."


@dataclass(unsafe_hash=True)
class LeaderStays(NotAllowed):
    group: str
    member: str
    zh = "“{member}”是志愿团队“{group}”的负责人，须先由另一名成员接任。"
    en = "“{member}” leads the group “{group}”; another member must be appointed first."


@dataclass(unsafe_hash=True)
class AlreadyLeading(AlreadyDone):
    group: str
    member: str
    zh = "“{member}”已经是志愿团队“{group}”的负责人。"
    en = "“{member}” leads the group “{group}” already."
