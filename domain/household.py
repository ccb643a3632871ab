"""Households and the people in them. The household holds the balance; names and addresses are in the vault.

Households live: members come, leave and die, households move, are split, merged and closed. What is decided about that,
and what becomes of the balance, is in `household_life`; here is what it leaves behind, since everybody asks for it.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain.community import Community, GridPath, require_reach, require_scope
from domain.decision import READINGS_KEPT, Context, Decided, Decision, Fold, Question, Reading, read
from domain.fact import Fact
from domain.identifiers import HouseholdId, PersonId, PlaceName, has_control
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown


class HouseholdRegistered(Fact, frozen=True, omit_defaults=True):
    """A household was registered in a community; its account begins at nothing."""

    type = "household-registered.v1"
    household: str
    community: str
    grid: GridPath = ()

    def tags(self) -> tuple[str, ...]:
        return ("household:" + self.household,)


class MemberRegistered(Fact, frozen=True, omit_defaults=True):
    """A person was registered as a member of a household, for whose account they earn: somebody new, or somebody who
    had left a household, who keeps number, age and enrolment."""

    type = "member-registered.v1"
    member: str
    household: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.member, "members:" + self.household)


class VolunteerEnrolled(Fact, frozen=True, omit_defaults=True):
    """A member who gives service from now on. A person keeps one number in every part."""

    type = "volunteer-enrolled.v1"
    volunteer: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.volunteer,)


class AgeAttested(Fact, frozen=True, omit_defaults=True):
    """Somebody of the staff saw a document by which the person has reached an age. No date of birth is recorded."""

    type = "age-attested.v1"
    person: str
    age_years_min: int
    attested_by: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.person,)


class MemberLeft(Fact, frozen=True, omit_defaults=True):
    """A member left the household and belongs to none now. What they earned stays with the household."""

    type = "member-left.v1"
    member: str
    household: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.member, "members:" + self.household)


class MemberMoved(Fact, frozen=True, omit_defaults=True):
    """A member left one household for another. What they earned stays with the one they left."""

    type = "member-moved.v1"
    member: str
    household: str
    into: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.member, "members:" + self.household, "members:" + self.into)


class MemberDied(Fact, frozen=True, omit_defaults=True):
    """A member died. The household keeps its balance; when and of what is recorded nowhere."""

    type = "member-died.v1"
    member: str
    household: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.member, "members:" + self.household)


class HouseholdMoved(Fact, frozen=True, omit_defaults=True):
    """A household belongs to another community or grid since a day. Its records and movements stay where they were.

    ``planned`` says that its day had been planned, and that the plan is carried out with this.
    """

    type = "household-moved.v1"
    household: str
    community: str
    grid: GridPath
    moved_on: date
    planned: bool = False

    def tags(self) -> tuple[str, ...]:
        return ("household:" + self.household,)


class HouseholdMovePlanned(Fact, frozen=True, omit_defaults=True):
    """A household will belong to another community or grid from a day on; another plan takes the place of this one."""

    type = "household-move-planned.v1"
    household: str
    community: str
    grid: GridPath
    moves_on: date
    planned_by: str

    def tags(self) -> tuple[str, ...]:
        return ("household:" + self.household,)


class HouseholdMoveCalledOff(Fact, frozen=True, omit_defaults=True):
    """A household stays where it is: the move that was planned won't be."""

    type = "household-move-called-off.v1"
    household: str
    called_off_by: str

    def tags(self) -> tuple[str, ...]:
        return ("household:" + self.household,)


class HouseholdSplit(Fact, frozen=True, omit_defaults=True):
    """Some members of a household are a household of their own from now on: ``into``, which is new."""

    type = "household-split.v1"
    household: str
    into: str
    community: str
    grid: GridPath
    members: tuple[str, ...]

    def tags(self) -> tuple[str, ...]:
        return _tags_of_all(
            ("household:" + self.into, "members:" + self.household, "members:" + self.into), self.members
        )


class HouseholdMerged(Fact, frozen=True, omit_defaults=True):
    """A household was closed, and all its members belong to another one, which stands in its place from now on."""

    type = "household-merged.v1"
    household: str
    into: str
    members: tuple[str, ...]

    def tags(self) -> tuple[str, ...]:
        own = ("household:" + self.household, "members:" + self.household, "members:" + self.into)
        return _tags_of_all(own, self.members)


class HouseholdClosed(Fact, frozen=True, omit_defaults=True):
    """A household was closed, and who was left in it belongs to none now.

    ``heir`` is the account that its balance went to, and that bears what may still be undone of its past.
    """

    type = "household-closed.v1"
    household: str
    cause: Literal["moved-away", "died", "left-for-ledger", "other"]
    heir: str
    members: tuple[str, ...]

    def tags(self) -> tuple[str, ...]:
        return _tags_of_all(("household:" + self.household, "members:" + self.household), self.members)


def _tags_of_all(own: tuple[str, ...], members: tuple[str, ...]) -> tuple[str, ...]:
    return (*own, *("person:" + member for member in members))


HouseholdFact = (
    HouseholdRegistered
    | HouseholdMoved
    | HouseholdMovePlanned
    | HouseholdMoveCalledOff
    | HouseholdSplit
    | HouseholdMerged
    | HouseholdClosed
)


class Household(msgspec.Struct, frozen=True):
    """``community`` is None while the household is not registered.

    ``heir`` is the account that stands in its place since it was closed: the household that it was merged into, or
    where its balance went. ``plan`` is a move that is to come.
    """

    household: str
    community: str | None = None
    grid: GridPath = ()
    heir: str | None = None
    plan: HouseholdMovePlanned | None = None

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(household: str) -> "Reading[Household]":
        return _household.of(household)

    def require(self) -> str:
        """The household's community. Raises: UnknownHousehold, ClosedHousehold."""
        if self.community is None:
            raise UnknownHousehold(self.household)
        if self.heir is not None:
            raise ClosedHousehold(self.household)
        return self.community

    def require_within(self, context: Context) -> str:
        """As `require`, for who may reach it: a closed one of another community is as unknown as an open one.

        Raises: UnknownHousehold, ClosedHousehold.
        """
        self.require_reached(context, UnknownHousehold(self.household))
        return self.require()

    def require_reached(self, context: Context, unknown: Unknown) -> None:
        """Open or closed, it is one that staff of a community may know of. Raises: ``unknown``."""
        if self.community is None:
            raise unknown
        require_reach(context, self.community, unknown)


def _evolve_household(state: Household, fact: HouseholdFact) -> Household:
    match fact:
        case HouseholdRegistered() | HouseholdSplit():
            return Household(state.household, fact.community, fact.grid, state.heir)
        case HouseholdMoved():
            plan = state.plan
            if fact.planned or plan is None or (plan.community, plan.grid) == (fact.community, fact.grid):
                plan = None
            return Household(state.household, fact.community, fact.grid, state.heir, plan)
        case HouseholdMovePlanned():
            return replace(state, plan=fact)
        case HouseholdMoveCalledOff():
            return replace(state, plan=None)
        case HouseholdMerged():
            return replace(state, heir="household:" + fact.into)
        case HouseholdClosed():
            return replace(state, heir=fact.heir)


_household = Fold[Household]("household", Household, _evolve_household, get_args(HouseholdFact))


def successor(household: Household) -> Generator[Question, Any, Household]:
    """Who stands in a household's place now: itself while it is open, else the household that took it over.

    Where nobody did, the answer is a closed one: the last whose balance went elsewhere.
    """
    while household.heir is not None and household.heir.startswith("household:"):
        household = yield from read(Household.of(household.heir.removeprefix("household:")))
    return household


PersonFact = (
    MemberRegistered
    | VolunteerEnrolled
    | AgeAttested
    | MemberLeft
    | MemberMoved
    | MemberDied
    | HouseholdSplit
    | HouseholdMerged
    | HouseholdClosed
)


class Person(msgspec.Struct, frozen=True):
    """Someone with a number. ``household`` is None for a person who is no registered member, such as most staff.

    ``age_years_min`` is the age that the person is known to have reached; 0: none was attested. Who has left or died
    is no member and no volunteer, and only who has left can become one again.
    """

    person: str
    household: str | None = None
    volunteer: bool = False
    age_years_min: int = 0
    left: bool = False
    died: bool = False

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(person: str) -> "Reading[Person]":
        return _person.of(person)


def _evolve_person(state: Person, fact: PersonFact) -> Person:
    match fact:
        case MemberRegistered():
            return replace(state, household=fact.household, left=False)
        case VolunteerEnrolled():
            return replace(state, volunteer=True)
        case AgeAttested():
            return replace(state, age_years_min=max(state.age_years_min, fact.age_years_min))
        case MemberMoved() | HouseholdSplit() | HouseholdMerged():
            return replace(state, household=fact.into)
        case MemberLeft() | HouseholdClosed():
            return replace(state, household=None, left=True)
        case MemberDied():
            return replace(state, household=None, volunteer=False, died=True)


_person = Fold[Person]("person", Person, _evolve_person, get_args(PersonFact))

RosterFact = (
    MemberRegistered | MemberLeft | MemberMoved | MemberDied | HouseholdSplit | HouseholdMerged | HouseholdClosed
)


class Roster(msgspec.Struct, frozen=True):
    """Who belongs to a household, for what concerns all of them at once; most decisions ask for one `Person`."""

    household: str
    members: frozenset[str] = frozenset()

    @staticmethod
    def of(household: str) -> "Reading[Roster]":
        return _roster.of(household)


def _evolve_roster(state: Roster, fact: RosterFact) -> Roster:
    match fact:
        case MemberRegistered():
            return Roster(state.household, state.members | {fact.member})
        case MemberLeft() | MemberDied():
            return Roster(state.household, state.members - {fact.member})
        case MemberMoved():
            moved = frozenset({fact.member})
        case HouseholdSplit() | HouseholdMerged():
            moved = frozenset(fact.members)
        case HouseholdClosed():
            return Roster(state.household)
    return Roster(state.household, state.members | moved if fact.into == state.household else state.members - moved)


_roster = Fold[Roster]("members", Roster, _evolve_roster, get_args(RosterFact))


def _fit_name(text: str) -> str:
    if has_control(text):
        raise ValueError("不能包含控制字符或不可见字符 / must not contain control or invisible characters")
    return text


Name = Annotated[
    str, AfterValidator(_fit_name), Field(max_length=100, description="Kept in the vault, never in the journal.")
]


class RegisterHousehold(BaseModel):
    """Register a household in a community, at a grid of it if known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    community: PlaceName
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()


class RegisterMember(BaseModel):
    """Register a person as member of a household: somebody new, or somebody who had left one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: PersonId
    household: HouseholdId
    name: Name | None = Field(None, exclude=True)


class EnrolVolunteer(BaseModel):
    """Enrol a registered member as a volunteer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volunteer: PersonId


class AttestAge(BaseModel):
    """Attest that a member has reached an age, from a document that was seen and not copied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: PersonId
    age_years_min: Annotated[int, Field(strict=True, ge=1, le=120)]


def register_household(command: RegisterHousehold, context: Context) -> Decision:
    """Raises: UnknownCommunity, UnknownGrid, DissolvedCommunity, HouseholdAlreadyRegistered, OutsideCommunity."""
    require_scope(context, command.community)
    household, community = yield from read(Household.of(command.household), Community.of(command.community))
    if household.community is not None:
        raise HouseholdAlreadyRegistered(command.household)
    community.require(command.grid)
    return Decided(0, (HouseholdRegistered(command.household, command.community, command.grid),))


def register_member(command: RegisterMember, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), ClosedHousehold,
    MemberAlreadyRegistered, MemberHasDied."""
    person, household = yield from read(Person.of(command.member), Household.of(command.household))
    household.require_within(context)
    if person.household is not None:
        raise MemberAlreadyRegistered(command.member)
    if person.died:
        raise MemberHasDied(command.member)
    return Decided(0, (MemberRegistered(command.member, command.household),))


def enrol_volunteer(command: EnrolVolunteer, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), VolunteerAlreadyEnrolled."""
    person = yield from read(Person.of(command.volunteer))
    if person.household is None:
        raise UnknownMember(command.volunteer)
    household = yield from read(Household.of(person.household))
    require_reach(context, household.require(), UnknownMember(command.volunteer))
    if person.volunteer:
        raise VolunteerAlreadyEnrolled(command.volunteer)
    return Decided(0, (VolunteerEnrolled(command.volunteer),))


def attest_age(command: AttestAge, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), AttestedByMember,
    AgeAlreadyAttested."""
    person = yield from read(Person.of(command.person))
    if person.household is None:
        raise UnknownMember(command.person)
    household, attester = yield from read(Household.of(person.household), Person.of(context.actor.id))
    require_reach(context, household.require(), UnknownMember(command.person))
    if context.actor.id == command.person or attester.household == person.household:
        raise AttestedByMember(command.person)
    if person.age_years_min >= command.age_years_min:
        raise AgeAlreadyAttested(command.person, person.age_years_min)
    return Decided(0, (AgeAttested(command.person, command.age_years_min, context.actor.id),))


@dataclass(unsafe_hash=True)
class AttestedByMember(NotAllowed):
    person: str
    zh = "不能核验本人或本户成员“{person}”的年龄，须由户外的人办理。"
    en = "Nobody attests the age of “{person}” for themselves or their own household; somebody else must."


@dataclass(unsafe_hash=True)
class AgeAlreadyAttested(AlreadyDone):
    person: str
    age_years_min: int
    zh = "“{person}”已核验为年满 {age_years_min} 岁。"
    en = "“{person}” is attested to be at least {age_years_min} years old already."


@dataclass(unsafe_hash=True)
class UnknownHousehold(Unknown):
    household: str
    zh = "户“{household}”没有登记。"
    en = "The household “{household}” is not registered."


@dataclass(unsafe_hash=True)
class ClosedHousehold(AgainstRule):
    household: str
    zh = "户“{household}”已经销户，不能再登记、接受服务或收付时间。"
    en = "The household “{household}” is closed: it can't be served, earn, receive or spend any more."


@dataclass(unsafe_hash=True)
class MemberHasDied(AgainstRule):
    member: str
    zh = "“{member}”已登记去世。"
    en = "“{member}” is recorded as having died."


@dataclass(unsafe_hash=True)
class UnknownMember(Unknown):
    member: str
    zh = "“{member}”不是已登记的成员，请先登记其所在的户。"
    en = "“{member}” is no registered member; register the person in a household first."


@dataclass(unsafe_hash=True)
class NotEnrolled(NotAllowed):
    volunteer: str
    zh = "“{volunteer}”还不是注册志愿者。"
    en = "“{volunteer}” is not enrolled as a volunteer."


@dataclass(unsafe_hash=True)
class HouseholdAlreadyRegistered(AlreadyDone):
    household: str
    zh = "户“{household}”已经登记。"
    en = "The household “{household}” is registered already."


@dataclass(unsafe_hash=True)
class MemberAlreadyRegistered(AlreadyDone):
    """Doesn't say of which household: that may be one that whoever asks must not know of."""

    member: str
    zh = "“{member}”已经是一户的成员。"
    en = "“{member}” is a member of a household already."


@dataclass(unsafe_hash=True)
class VolunteerAlreadyEnrolled(AlreadyDone):
    volunteer: str
    zh = "“{volunteer}”已经是注册志愿者。"
    en = "“{volunteer}” is enrolled as a volunteer already."
