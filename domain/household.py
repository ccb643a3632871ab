"""Households and the people in them. The household holds the balance; names and addresses are in the vault."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain.community import Community, GridPath, require_reach, require_scope
from domain.decision import READINGS_KEPT, Context, Decided, Decision, Fold, Reading, read
from domain.fact import Fact
from domain.identifiers import HouseholdId, PersonId, PlaceName, has_control
from domain.refusal import AlreadyDone, NotAllowed, Unknown


class HouseholdRegistered(Fact, frozen=True, omit_defaults=True):
    type = "household-registered.v1"
    household: str
    community: str
    grid: GridPath = ()

    def tags(self) -> tuple[str, ...]:
        return ("household:" + self.household,)


class MemberRegistered(Fact, frozen=True, omit_defaults=True):
    type = "member-registered.v1"
    member: str
    household: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.member,)


class VolunteerEnrolled(Fact, frozen=True, omit_defaults=True):
    """A member who gives service from now on. A person keeps one number in every part."""

    type = "volunteer-enrolled.v1"
    volunteer: str

    def tags(self) -> tuple[str, ...]:
        return ("person:" + self.volunteer,)


class Household(msgspec.Struct, frozen=True):
    """``community`` is None while the household is not registered."""

    household: str
    community: str | None = None
    grid: GridPath = ()

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(household: str) -> "Reading[Household]":
        return _household.of(household)

    def require(self) -> str:
        """The household's community. Raises: UnknownHousehold."""
        if self.community is None:
            raise UnknownHousehold(self.household)
        return self.community


def _evolve_household(state: Household, fact: HouseholdRegistered) -> Household:
    return Household(state.household, fact.community, fact.grid)


_household = Fold[Household]("household", Household, _evolve_household, (HouseholdRegistered,))

PersonFact = MemberRegistered | VolunteerEnrolled


class Person(msgspec.Struct, frozen=True):
    """Someone with a number. ``household`` is None for a person who is no registered member, such as most staff."""

    person: str
    household: str | None = None
    volunteer: bool = False

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(person: str) -> "Reading[Person]":
        return _person.of(person)


def _evolve_person(state: Person, fact: PersonFact) -> Person:
    match fact:
        case MemberRegistered():
            return Person(state.person, fact.household, state.volunteer)
        case VolunteerEnrolled():
            return Person(state.person, state.household, True)


_person = Fold[Person]("person", Person, _evolve_person, (MemberRegistered, VolunteerEnrolled))


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
    """Register a person as member of a household."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: PersonId
    household: HouseholdId
    name: Name | None = Field(None, exclude=True)


class EnrolVolunteer(BaseModel):
    """Enrol a registered member as a volunteer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volunteer: PersonId


def register_household(command: RegisterHousehold, context: Context) -> Decision:
    """Raises: UnknownCommunity, UnknownGrid, HouseholdAlreadyRegistered, OutsideCommunity."""
    require_scope(context, command.community)
    household, community = yield from read(Household.of(command.household), Community.of(command.community))
    if household.community is not None:
        raise HouseholdAlreadyRegistered(command.household)
    community.require(command.grid)
    return Decided(0, (HouseholdRegistered(command.household, command.community, command.grid),))


def register_member(command: RegisterMember, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is outside the staff's community), MemberAlreadyRegistered."""
    person, household = yield from read(Person.of(command.member), Household.of(command.household))
    require_reach(context, household.require(), UnknownHousehold(command.household))
    if person.household is not None:
        raise MemberAlreadyRegistered(command.member)
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


@dataclass(unsafe_hash=True)
class UnknownHousehold(Unknown):
    household: str
    zh = "户“{household}”没有登记。"
    en = "The household “{household}” is not registered."


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
