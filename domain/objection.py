"""Objections (异议): a resident says what is wrong with a disclosure, and somebody without a part in it decides.

Whoever lives here may object while the window is open, by themselves or at the desk; one objection of a person to a
month is open at a time. It is decided within the policy's days, after that by an administrator only. A decision changes
no figure: what was wrong is corrected by facts of its own, under their own dates, and shows as late.
(民政部令第67号: a volunteer may report an error or gap, and it must be checked and corrected in time.)
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from domain.community import require_reach
from domain.decision import Context, Decided, Decision, Question, read
from domain.disclosure import (
    STATUS_ZH,
    Disclosure,
    Objection,
    ObjectionDismissed,
    ObjectionGround,
    ObjectionRaised,
    ObjectionUpheld,
    ObjectionWithdrawn,
    Period,
    first_day,
    last_day,
)
from domain.dispute import WithText
from domain.hours import ServiceRecord, UnknownRecord, local, side_of
from domain.household import Household, Person, UnknownMember, successor
from domain.identifiers import PersonId, RecordId, new_number
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown


class RaiseObjection(WithText):
    """Object to a disclosure. Staff name the resident for whom they write it down."""

    period: Period
    objection: RecordId | None = None
    ground: ObjectionGround
    person: PersonId | None = None
    record: RecordId | None = None


class DecideObjection(WithText):
    """Decide an objection, for or against whoever raised it."""

    period: Period
    objection: RecordId
    outcome: Literal["upheld", "dismissed"]


class WithdrawObjection(BaseModel):
    """Take back an objection of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: Period
    objection: RecordId


def raise_objection(command: RaiseObjection, context: Context) -> Decision:
    """Raises: ObjectionOfAnother, UnknownDisclosure, UnknownMember (also where they are outside the staff's community),
    ObjectionTooLate, ObjectionAlreadyRaised, ObjectionStillOpen, UnknownRecord (also where it isn't their
    household's), RecordOutsidePeriod."""
    number = command.person or context.actor.id
    if context.actor.role == "volunteer" and number != context.actor.id:
        raise ObjectionOfAnother(number)
    disclosure, person, book = yield from read(Disclosure.of(command.period), Person.of(number), policy_book)
    sealed = disclosure.require()
    if person.household is None:
        raise UnknownMember(number)
    household = yield from read(Household.of(person.household))
    community = household.require()
    if number != context.actor.id:
        require_reach(context, community, UnknownMember(number))
    if disclosure.frozen or context.now >= sealed.objections_until:
        raise ObjectionTooLate(command.period, sealed.objections_until.isoformat(timespec="minutes"))
    objection = command.objection or new_number(context.command_id)
    if objection in disclosure.objections:
        raise ObjectionAlreadyRaised(command.period, objection)
    for other in disclosure.undecided:
        if disclosure.objections[other].raised.person == number:
            raise ObjectionStillOpen(command.period, other)
    if command.record is not None:
        yield from _own_record(command.record, command.period, person)
    now = local(context.now, context.zone)
    adopted = book.in_force(now.date())
    raised = ObjectionRaised(
        command.period,
        objection,
        number,
        person.household,
        community,
        command.ground,
        context.actor.id,
        now + timedelta(days=adopted.policy.objection_decision_days),
        command.record,
        command.text_digest,
    )
    return Decided(adopted.version, (raised,))


def _own_record(number: str, period: str, person: Person) -> Generator[Question, Any, None]:
    """Raises: UnknownRecord, RecordOutsidePeriod."""
    record = yield from read(ServiceRecord.of(number))
    logged = record.require()
    if (yield from side_of(person, logged)) is None:
        raise UnknownRecord(number)
    if not first_day(period) <= logged.started_at.date() <= last_day(period):
        raise RecordOutsidePeriod(number, period)


def decide_objection(command: DecideObjection, context: Context) -> Decision:
    """By somebody of the staff who has no part in it: not who raised it or wrote it down, nor of that household; who
    sealed the month; who logged or settled the record that it is about, nor of a household on either side of that.

    Raises: UnknownObjection (also where it is outside the staff's community), ObjectionSettled,
    ObjectionDecidedByParty, ObjectionLeftToAdministrators.
    """
    disclosure, found = yield from _found(command.period, command.objection, context)
    raised = found.raised
    if found.status != "open":
        raise ObjectionSettled(command.objection, found.status)
    decider = yield from read(Person.of(context.actor.id))
    parties = {raised.person, raised.raised_by, disclosure.require().sealed_by}
    home = yield from read(Household.of(raised.household))
    homes = {raised.household, (yield from successor(home)).household}
    objector = yield from read(Person.of(raised.person))
    if objector.household is not None:
        homes.add(objector.household)
    if raised.record is not None:
        record = yield from read(ServiceRecord.of(raised.record))
        logged = record.require()
        parties |= record.parties
        if (yield from side_of(decider, logged)) is not None:
            parties.add(decider.person)
    if (
        context.actor.role not in ("staff", "admin")
        or decider.person in parties
        or (decider.household is not None and decider.household in homes)
    ):
        raise ObjectionDecidedByParty(command.objection, context.actor.id)
    if context.now > raised.decision_due and context.actor.role != "admin":
        raise ObjectionLeftToAdministrators(command.objection)
    if command.outcome == "upheld":
        upheld = ObjectionUpheld(command.period, command.objection, context.actor.id, command.text_digest)
        return Decided(0, (upheld,))
    dismissed = ObjectionDismissed(command.period, command.objection, context.actor.id, command.text_digest)
    return Decided(0, (dismissed,))


def withdraw_objection(command: WithdrawObjection, context: Context) -> Decision:
    """By the resident, or by whoever wrote it down for them.

    Raises: UnknownObjection, ObjectionSettled, ObjectionWithdrawnByAnother.
    """
    _, found = yield from _found(command.period, command.objection, context)
    if context.actor.id not in (found.raised.person, found.raised.raised_by):
        raise ObjectionWithdrawnByAnother(command.objection, context.actor.id)
    if found.status != "open":
        raise ObjectionSettled(command.objection, found.status)
    return Decided(0, (ObjectionWithdrawn(command.period, command.objection, context.actor.id),))


def _found(period: str, objection: str, context: Context) -> Generator[Question, Any, tuple[Disclosure, Objection]]:
    """An objection, for whom it concerns. Raises: UnknownObjection."""
    disclosure = yield from read(Disclosure.of(period))
    found = disclosure.objections.get(objection)
    if found is None:
        raise UnknownObjection(objection)
    if context.actor.id not in (found.raised.person, found.raised.raised_by):
        require_reach(context, found.raised.community, UnknownObjection(objection))
        if context.actor.role == "volunteer":
            raise UnknownObjection(objection)
    return disclosure, found


@dataclass(unsafe_hash=True)
class UnknownObjection(Unknown):
    objection: str
    zh = "没有编号为“{objection}”的异议。"
    en = "There is no objection “{objection}”."


@dataclass(unsafe_hash=True)
class ObjectionOfAnother(NotAllowed):
    person: str
    zh = "您只能为自己提出异议，不能代替“{person}”。"
    en = "You raise objections of your own only, not those of “{person}”."


@dataclass(unsafe_hash=True)
class ObjectionTooLate(AgainstRule):
    period: str
    until: str
    zh = "{period} 的异议期已于 {until} 结束。"
    en = "The time to object to {period} was over at {until}."


@dataclass(unsafe_hash=True)
class ObjectionAlreadyRaised(AlreadyDone):
    period: str
    objection: str
    zh = "{period} 的异议编号“{objection}”已被使用，请换一个或省略。"
    en = "The number “{objection}” of an objection to {period} is taken: choose another, or leave it out."


@dataclass(unsafe_hash=True)
class ObjectionStillOpen(AlreadyDone):
    period: str
    objection: str
    zh = "此人对 {period} 的异议“{objection}”还在处理中。"
    en = "An objection “{objection}” of that person to {period} is still open."


@dataclass(unsafe_hash=True)
class RecordOutsidePeriod(AgainstRule):
    record: str
    period: str
    zh = "服务记录“{record}”不属于 {period}。"
    en = "The service record “{record}” doesn't belong to {period}."


@dataclass(unsafe_hash=True)
class ObjectionSettled(AlreadyDone):
    objection: str
    outcome: str
    zh = "异议“{objection}”已经结束（{outcome}）。"
    en = "The objection “{objection}” is {outcome} already."

    @property
    def message_zh(self) -> str:
        return self.zh.format(objection=self.objection, outcome=STATUS_ZH.get(self.outcome, self.outcome))


@dataclass(unsafe_hash=True)
class ObjectionDecidedByParty(NotAllowed):
    objection: str
    person: str
    zh = "“{person}”与异议“{objection}”有关（提出、代记、封存、登记或处理，或属有关的户），须由无关的工作人员决定。"
    en = (
        "“{person}” has a part in the objection “{objection}” (raised it, wrote it down, sealed the month, logged or "
        "settled the record, or is of a household concerned); staff without one decide."
    )


@dataclass(unsafe_hash=True)
class ObjectionLeftToAdministrators(NotAllowed):
    objection: str
    zh = "异议“{objection}”已逾期，须由管理员决定。"
    en = "The objection “{objection}” is past its day; an administrator must decide it."


@dataclass(unsafe_hash=True)
class ObjectionWithdrawnByAnother(NotAllowed):
    objection: str
    person: str
    zh = "异议“{objection}”不是“{person}”提出的，不能撤回。"
    en = "“{person}” didn't raise the objection “{objection}” and can't take it back."
