"""Recognition: stars (星级) for hours served, honours, training and commendations on a volunteer's record.

Stars come by themselves: as many minutes of confirmed, unreversed service as the policy asks for make one due, and a
reversal that takes them away makes its withdrawal due. What was served is counted in the projection, as of a position
that the fact names, so that an auditor counts it again. All else is given by staff, never to themselves or their own
household, and is never edited: it is withdrawn by another fact, with a reason.
(志愿服务条例 art. 19; 民函〔2012〕340号)
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal, Self, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.community import require_reach
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read, read_all, require_time
from domain.fact import Fact
from domain.household import Household, NotEnrolled, Person, UnknownMember
from domain.identifiers import PersonId, RecordId, ServiceName, new_number
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

Title = ServiceName
"""A short name without personal data, such as of an honour or an organisation."""
Level = Literal["community", "street", "district", "city", "province", "nation"]
Subject = Literal[
    "orientation",
    "first-aid",
    "elderly-care",
    "dementia-care",
    "disability-support",
    "child-care",
    "mental-health",
    "fire-safety",
    "digital-help",
    "law-and-policy",
    "other",
]
WithdrawalReason = Literal["mistake", "duplicate", "wrong-person", "false-record", "misconduct", "other"]

LEVEL_ZH: Final[dict[str, str]] = {
    "community": "社区级",
    "street": "街道级",
    "district": "城区级",
    "city": "市级",
    "province": "省级",
    "nation": "国家级",
}
SUBJECT_ZH: Final[dict[str, str]] = {
    "orientation": "志愿者入门",
    "first-aid": "急救",
    "elderly-care": "为老服务",
    "dementia-care": "认知症照护",
    "disability-support": "助残",
    "child-care": "儿童照护",
    "mental-health": "心理",
    "fire-safety": "消防安全",
    "digital-help": "智能设备助用",
    "law-and-policy": "法规政策",
    "other": "其他",
}
REASON_ZH: Final[dict[str, str]] = {
    "mistake": "登记有误",
    "duplicate": "重复登记",
    "wrong-person": "误记他人",
    "false-record": "虚假记录",
    "misconduct": "行为不当",
    "other": "其他",
}


class StarAwarded(Fact, frozen=True, omit_defaults=True):
    """A volunteer reached a star: ``service_minutes`` of confirmed and unreversed service, all that the journal held of
    it up to ``counted_position``, against the policy's ``threshold_minutes``."""

    type = "star-awarded.v1"
    volunteer: str
    star: int
    threshold_minutes: int
    service_minutes: int
    counted_position: int

    def tags(self) -> tuple[str, ...]:
        return ("stars:" + self.volunteer,)


class StarWithdrawn(Fact, frozen=True, omit_defaults=True):
    """A star was lost: since records were reversed, ``service_minutes`` up to ``counted_position`` are too few."""

    type = "star-withdrawn.v1"
    volunteer: str
    star: int
    service_minutes: int
    counted_position: int

    def tags(self) -> tuple[str, ...]:
        return ("stars:" + self.volunteer,)


class HonourAwarded(Fact, frozen=True, omit_defaults=True):
    """A volunteer was given an honour (荣誉) by the time bank or its community."""

    type = "honour-awarded.v1"
    recognition: str
    volunteer: str
    title: str
    level: Level
    awarded_on: date
    awarded_by: str

    def tags(self) -> tuple[str, ...]:
        return ("recognition:" + self.recognition,)


class TrainingRecorded(Fact, frozen=True, omit_defaults=True):
    """A volunteer was trained (培训) for so many minutes, which earn nothing. ``name`` is the course's own."""

    type = "training-recorded.v1"
    recognition: str
    volunteer: str
    subject: Subject
    minutes: int
    trained_on: date
    recorded_by: str
    name: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("recognition:" + self.recognition,)


class CommendationRecorded(Fact, frozen=True, omit_defaults=True):
    """An organisation commended a volunteer (表彰奖励)."""

    type = "commendation-recorded.v1"
    recognition: str
    volunteer: str
    title: str
    organisation: str
    commended_on: date
    recorded_by: str

    def tags(self) -> tuple[str, ...]:
        return ("recognition:" + self.recognition,)


class RecognitionWithdrawn(Fact, frozen=True, omit_defaults=True):
    """An honour, a training or a commendation no longer stands on the volunteer's record."""

    type = "recognition-withdrawn.v1"
    recognition: str
    withdrawn_by: str
    reason: WithdrawalReason

    def tags(self) -> tuple[str, ...]:
        return ("recognition:" + self.recognition,)


StarFact = StarAwarded | StarWithdrawn
EntryFact = HonourAwarded | TrainingRecorded | CommendationRecorded
RecognitionFact = EntryFact | RecognitionWithdrawn


class Stars(msgspec.Struct, frozen=True):
    """The stars that a volunteer holds, each with what it was awarded for, and up to where was counted last."""

    held: tuple[tuple[int, int], ...] = ()
    counted_position: int = 0

    @staticmethod
    def of(volunteer: str) -> "Reading[Stars]":
        return _stars.of(volunteer)


def _evolve_stars(state: Stars, fact: StarFact) -> Stars:
    others = tuple(one for one in state.held if one[0] != fact.star)
    match fact:
        case StarAwarded():
            return Stars((*others, (fact.star, fact.threshold_minutes)), fact.counted_position)
        case StarWithdrawn():
            return Stars(others, fact.counted_position)


_stars = Fold[Stars]("stars", lambda _: Stars(), _evolve_stars, get_args(StarFact))


class Recognition(msgspec.Struct, frozen=True):
    """Where one honour, training or commendation stands."""

    recognition: str
    entry: EntryFact | None = None
    withdrawn: bool = False

    @staticmethod
    def of(recognition: str) -> "Reading[Recognition]":
        return _recognition.of(recognition)


def _evolve(state: Recognition, fact: RecognitionFact) -> Recognition:
    match fact:
        case HonourAwarded() | TrainingRecorded() | CommendationRecorded():
            return Recognition(state.recognition, fact)
        case RecognitionWithdrawn():
            return replace(state, withdrawn=True)


_recognition = Fold[Recognition]("recognition", Recognition, _evolve, get_args(RecognitionFact))


class SettleStars(BaseModel):
    """Award and withdraw the stars of a volunteer who has served so many minutes, as counted up to a position."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volunteer: PersonId
    service_minutes: Annotated[int, Field(strict=True, ge=0)]
    counted_position: Annotated[int, Field(strict=True, ge=0)]


class AwardHonour(BaseModel):
    """Give a volunteer an honour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recognition: RecordId | None = None
    volunteer: PersonId
    title: Title
    level: Level = "community"
    awarded_on: date


class RecordTraining(BaseModel):
    """Put a training on a volunteer's record: its subject, and the course's own name where it has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recognition: RecordId | None = None
    volunteer: PersonId
    subject: Subject
    name: Title | None = None
    minutes: Annotated[int, Field(strict=True, ge=1, le=60_000)]
    trained_on: date

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.subject == "other" and self.name is None:
            raise ValueError("其他培训须写明名称 / another training needs its name")
        return self


class RecordCommendation(BaseModel):
    """Put an organisation's commendation on a volunteer's record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recognition: RecordId | None = None
    volunteer: PersonId
    title: Title
    organisation: Title
    commended_on: date


class WithdrawRecognition(BaseModel):
    """Withdraw an honour, a training or a commendation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recognition: RecordId
    reason: WithdrawalReason


def stars_due(
    held: tuple[tuple[int, int], ...], service_minutes: int, star_minutes: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which stars to award and which to withdraw, where ``held`` names each star with what it was awarded for.

    A new policy takes no star away: one is lost only below what it was awarded for, and below what it takes now.
    """
    reached = {star for star, minutes in enumerate(star_minutes, 1) if service_minutes >= minutes}
    holding = dict(held)
    lost = {star for star, threshold in held if service_minutes < threshold and star not in reached}
    return tuple(sorted(reached - holding.keys())), tuple(sorted(lost))


def settle_stars(command: SettleStars, context: Context) -> Decision:
    """Somebody who died is awarded nothing more.

    Raises: LeftToTime, StarsNotDue (also on what was counted before the last time), NoPolicyInForce.
    """
    require_time(context)
    person, stars, book = yield from read(Person.of(command.volunteer), Stars.of(command.volunteer), policy_book)
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    thresholds = adopted.policy.star_minutes
    awarded, lost = stars_due(stars.held, command.service_minutes, thresholds)
    counted = (command.service_minutes, command.counted_position)
    facts = (
        *(StarWithdrawn(command.volunteer, star, *counted) for star in lost),
        *(StarAwarded(command.volunteer, star, thresholds[star - 1], *counted) for star in awarded if person.volunteer),
    )
    if not facts or command.counted_position < stars.counted_position:
        raise StarsNotDue(command.volunteer)
    return Decided(adopted.version, facts)


def award_honour(command: AwardHonour, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), NotEnrolled, RecognisedByOwnHousehold,
    RecognitionAlreadyRecorded, DayToCome."""
    number = yield from _new_entry(command.recognition, command.volunteer, command.awarded_on, context)
    fact = HonourAwarded(number, command.volunteer, command.title, command.level, command.awarded_on, context.actor.id)
    return Decided(0, (fact,))


def record_training(command: RecordTraining, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), NotEnrolled, RecognisedByOwnHousehold,
    RecognitionAlreadyRecorded, DayToCome."""
    number = yield from _new_entry(command.recognition, command.volunteer, command.trained_on, context)
    fact = TrainingRecorded(
        number,
        command.volunteer,
        command.subject,
        command.minutes,
        command.trained_on,
        context.actor.id,
        command.name,
    )
    return Decided(0, (fact,))


def record_commendation(command: RecordCommendation, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), NotEnrolled, RecognisedByOwnHousehold,
    RecognitionAlreadyRecorded, DayToCome."""
    number = yield from _new_entry(command.recognition, command.volunteer, command.commended_on, context)
    fact = CommendationRecorded(
        number, command.volunteer, command.title, command.organisation, command.commended_on, context.actor.id
    )
    return Decided(0, (fact,))


def _new_entry(named: str | None, volunteer: str, day: date, context: Context) -> Generator[Question, Any, str]:
    """The number of a new entry on a volunteer's record."""
    number = named or new_number(context.command_id)
    person = yield from known_volunteer(volunteer, context, UnknownMember(volunteer))
    if not person.volunteer and not person.died:
        raise NotEnrolled(volunteer)
    recognition = yield from read(Recognition.of(number))
    if recognition.entry is not None:
        raise RecognitionAlreadyRecorded(number)
    require_past(day, context)
    return number


def withdraw_recognition(command: WithdrawRecognition, context: Context) -> Decision:
    """Raises: UnknownRecognition (also where it is outside the staff's community), RecognisedByOwnHousehold,
    RecognitionAlreadyWithdrawn."""
    recognition = yield from read(Recognition.of(command.recognition))
    if recognition.entry is None:
        raise UnknownRecognition(command.recognition)
    yield from known_volunteer(recognition.entry.volunteer, context, UnknownRecognition(command.recognition))
    if recognition.withdrawn:
        raise RecognitionAlreadyWithdrawn(command.recognition)
    return Decided(0, (RecognitionWithdrawn(command.recognition, context.actor.id, command.reason),))


def known_volunteer(
    volunteer: str, context: Context, unknown: Unknown, *others: str
) -> Generator[Question, Any, Person]:
    """Somebody of the staff's community; who belongs to no household any more is the district's. Neither who acts nor
    any of the ``others`` who take part may be that person, nor of the same household.

    Raises: ``unknown``, RecognisedByOwnHousehold.
    """
    person = yield from read(Person.of(volunteer))
    if person.household is not None:
        household = yield from read(Household.of(person.household))
        require_reach(context, household.require(), unknown)
    elif not (person.left or person.died) or context.actor.community is not None:
        raise unknown
    for other in (yield from read_all(Person.of(number) for number in (context.actor.id, *others))):
        if other.person == volunteer or (other.household is not None and other.household == person.household):
            raise RecognisedByOwnHousehold(volunteer, other.person)
    return person


def require_past(day: date, context: Context) -> None:
    """Raises: DayToCome."""
    if day > context.now.astimezone(context.zone).date():
        raise DayToCome(day.isoformat())


@dataclass(unsafe_hash=True)
class StarsNotDue(AgainstRule):
    volunteer: str
    zh = "志愿者“{volunteer}”的星级没有变化。"
    en = "No star of the volunteer “{volunteer}” is due to be awarded or withdrawn."


@dataclass(unsafe_hash=True)
class RecognisedByOwnHousehold(NotAllowed):
    volunteer: str
    person: str
    zh = "“{person}”是“{volunteer}”本人或同户成员，不能为其评定、证明或撤销，须由户外的人办理。"
    en = (
        "“{person}” is “{volunteer}” or of the same household, and can neither recognise nor certify nor undo that; "
        "somebody else must."
    )


@dataclass(unsafe_hash=True)
class RecognitionAlreadyRecorded(AlreadyDone):
    recognition: str
    zh = "编号“{recognition}”已被使用，请换一个或省略。"
    en = "The number “{recognition}” is taken: choose another, or leave it out."


@dataclass(unsafe_hash=True)
class UnknownRecognition(Unknown):
    recognition: str
    zh = "没有编号为“{recognition}”的荣誉、培训或表彰。"
    en = "There is no honour, training or commendation “{recognition}”."


@dataclass(unsafe_hash=True)
class RecognitionAlreadyWithdrawn(AlreadyDone):
    recognition: str
    zh = "“{recognition}”已经撤销。"
    en = "“{recognition}” was withdrawn already."


@dataclass(unsafe_hash=True)
class DayToCome(AgainstRule):
    day: str
    zh = "{day} 还没有到，不能登记将来的日期。"
    en = "{day} is still to come; a day that is recorded must have come."
