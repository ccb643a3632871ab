"""Consent: a volunteer agrees to be listed, under a pseudonym, in what the time bank discloses; and may take it back.

Without it nobody is listed (志愿服务条例 art. 20: no disclosure of a volunteer's personal information without consent).
Given and withdrawn are facts, so that what a disclosure listed can be told to have been right when it was sealed.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from pydantic import BaseModel, ConfigDict

from domain.community import require_reach
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read
from domain.evidence import Sha256
from domain.fact import Fact
from domain.household import Household, NotEnrolled, Person, UnknownMember
from domain.identifiers import PersonId
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed


class ConsentGiven(Fact, frozen=True, omit_defaults=True):
    """A volunteer agreed to be listed under a pseudonym. ``paper_sha256`` is of the signed paper, where it was given on
    one and somebody of the staff recorded it."""

    type = "consent-given.v1"
    person: str
    recorded_by: str
    paper_sha256: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("consent:" + self.person,)


class ConsentWithdrawn(Fact, frozen=True, omit_defaults=True):
    """A volunteer takes that back: from now on they are listed nowhere, in no earlier disclosure either."""

    type = "consent-withdrawn.v1"
    person: str
    recorded_by: str

    def tags(self) -> tuple[str, ...]:
        return ("consent:" + self.person,)


ConsentFact = ConsentGiven | ConsentWithdrawn


class Consent(msgspec.Struct, frozen=True):
    """Whether somebody agrees to be listed now."""

    person: str
    given: bool = False

    @staticmethod
    def of(person: str) -> "Reading[Consent]":
        return _consent.of(person)


def _evolve(state: Consent, fact: ConsentFact) -> Consent:
    match fact:
        case ConsentGiven():
            return Consent(state.person, given=True)
        case ConsentWithdrawn():
            return Consent(state.person)


_consent = Fold[Consent]("consent", Consent, _evolve, get_args(ConsentFact))


class GiveConsent(BaseModel):
    """Agree to be listed. Staff record what somebody signed on paper, with the hash of its scan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: PersonId
    paper_sha256: Sha256 | None = None


class WithdrawConsent(BaseModel):
    """Agree no longer. No paper is needed for that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: PersonId


def give_consent(command: GiveConsent, context: Context) -> Decision:
    """Raises: ConsentOfAnother, UnknownMember (also where they are outside the staff's community), NotEnrolled,
    ConsentNeedsPaper, ConsentAlreadyGiven."""
    person, consent = yield from _reached(command.person, context)
    if not person.volunteer:
        raise NotEnrolled(command.person)
    if command.paper_sha256 is None and context.actor.id != command.person:
        raise ConsentNeedsPaper(command.person)
    if consent.given:
        raise ConsentAlreadyGiven(command.person)
    return Decided(0, (ConsentGiven(command.person, context.actor.id, command.paper_sha256),))


def withdraw_consent(command: WithdrawConsent, context: Context) -> Decision:
    """Raises: ConsentOfAnother, UnknownMember (also where they are outside the staff's community), ConsentNotGiven."""
    _, consent = yield from _reached(command.person, context)
    if not consent.given:
        raise ConsentNotGiven(command.person)
    return Decided(0, (ConsentWithdrawn(command.person, context.actor.id),))


def _reached(number: str, context: Context) -> Generator[Question, Any, tuple[Person, Consent]]:
    """Oneself, or whoever the staff's community can reach: who belongs to no household any more is the district's."""
    if context.actor.role == "volunteer" and context.actor.id != number:
        raise ConsentOfAnother(number)
    person, consent = yield from read(Person.of(number), Consent.of(number))
    if person.household is not None:
        household = yield from read(Household.of(person.household))
        if context.actor.id != number:
            require_reach(context, household.require(), UnknownMember(number))
    elif not (person.left or person.died) or context.actor.community is not None:
        raise UnknownMember(number)
    return person, consent


@dataclass(unsafe_hash=True)
class ConsentOfAnother(NotAllowed):
    person: str
    zh = "您只能为自己同意或撤回同意，不能代替“{person}”。"
    en = "You can give and withdraw your own consent only, not that of “{person}”."


@dataclass(unsafe_hash=True)
class ConsentNeedsPaper(AgainstRule):
    person: str
    zh = "代“{person}”登记同意，须附其签名纸件扫描的 SHA-256。"
    en = "Consent that is recorded for “{person}” needs the SHA-256 of the scan of what they signed."


@dataclass(unsafe_hash=True)
class ConsentAlreadyGiven(AlreadyDone):
    person: str
    zh = "“{person}”已经同意公示。"
    en = "“{person}” has given consent already."


@dataclass(unsafe_hash=True)
class ConsentNotGiven(AlreadyDone):
    person: str
    zh = "“{person}”没有同意过公示，或已经撤回。"
    en = "“{person}” has given no consent, or has withdrawn it."
