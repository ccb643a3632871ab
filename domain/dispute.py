"""Disputes: a settled service record is questioned by either side, both are heard, and somebody of neither decides.

While a dispute is open its minutes are held on the account that earned them, all of them, even where that takes what
is available below the floor: minutes in dispute are nobody's to spend, and a hold that could be refused would reward
whoever spent them fast. The record itself can't be reversed meanwhile. Upheld, a confirmed record is reversed exactly,
and a rejected one confirmed after all; dismissed or withdrawn, everything stays as it was. What was decided once is
not disputed again.
"""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, computed_field

from domain.account import UNDECIDED, MinutesHeld, MinutesReleased, release_hold, standing_accounts
from domain.community import require_reach
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read, require_time
from domain.evidence import require_evidence, stronger
from domain.fact import Fact
from domain.hours import (
    STATUS_ZH,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    Ground,
    HoursLogged,
    RecordInDispute,
    ServiceRecord,
    Side,
    UnknownRecord,
    VolunteerDay,
    _check_claim,
    _confirmed,
    _reversed,
    days_of,
    local,
    side_of,
    with_heirs,
)
from domain.household import Person
from domain.identifiers import RecordId, has_control, new_number
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

BOTH_SIDES: Final = frozenset[Side](("earner", "recipient"))
TEXT_CHARACTERS_MAX: Final = 2000
OUTCOME_ZH: Final = {"upheld": "已支持", "dismissed": "已驳回", "withdrawn": "已撤回"}
SIDE_ZH: Final = {"earner": "服务方", "recipient": "服务对象方"}


class DisputeStatementGiven(Fact, frozen=True, omit_defaults=True):
    """A side was heard, or the staff said what they know. What was said in free words is in the vault."""

    type = "dispute-statement-given.v1"
    dispute: str
    side: Side
    stated_by: str
    ground: Ground
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("dispute:" + self.dispute,)


class DisputeEscalated(Fact, frozen=True, omit_defaults=True):
    """Nobody decided the dispute in time; from now on only an administrator does."""

    type = "dispute-escalated.v1"
    dispute: str

    def tags(self) -> tuple[str, ...]:
        return ("dispute:" + self.dispute,)


DisputeFact = (
    DisputeOpened | DisputeStatementGiven | DisputeEscalated | DisputeUpheld | DisputeDismissed | DisputeWithdrawn
)


class Dispute(msgspec.Struct, frozen=True):
    """Where one dispute stands. ``heard`` are the sides that have spoken, the one that opened it among them."""

    dispute: str
    status: Literal["absent", "open", "upheld", "dismissed", "withdrawn"] = "absent"
    opened: DisputeOpened | None = None
    heard: frozenset[Side] = frozenset()
    escalated: bool = False
    vouched: bool = False
    """Whether the household that was served said that it was."""

    @staticmethod
    def of(dispute: str) -> "Reading[Dispute]":
        return _dispute.of(dispute)


def _evolve(state: Dispute, fact: DisputeFact) -> Dispute:
    match fact:
        case DisputeOpened():
            return Dispute(state.dispute, "open", fact, frozenset((fact.side,)))
        case DisputeStatementGiven():
            vouched = state.vouched or (fact.side == "recipient" and fact.ground == "served")
            return replace(state, heard=state.heard | {fact.side}, vouched=vouched)
        case DisputeEscalated():
            return replace(state, escalated=True)
        case DisputeUpheld():
            return replace(state, status="upheld")
        case DisputeDismissed():
            return replace(state, status="dismissed")
        case DisputeWithdrawn():
            return replace(state, status="withdrawn")


_dispute = Fold[Dispute]("dispute", Dispute, _evolve, get_args(DisputeFact))


def _fit_text(text: str) -> str:
    text = text.strip()
    if has_control(text.replace("\n", "")):
        raise ValueError("不能包含控制字符或不可见字符 / must not contain control or invisible characters")
    return text


Text = Annotated[
    str,
    AfterValidator(_fit_text),
    Field(min_length=1, max_length=TEXT_CHARACTERS_MAX, description="Kept in the vault, never in the journal."),
]


class WithText(BaseModel):
    """A command with free words: they go to the vault, and their digest to the fact, so that they can't be changed.

    ``salt`` goes to the vault with them. Once both are erased, nobody can try guesses at the words against the digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text | None = Field(default=None, exclude=True)
    salt: str = Field(default="", exclude=True)

    @property
    def kept(self) -> str | None:
        """What the vault keeps: the salt's line, and the words."""
        return None if self.text is None else f"{self.salt}\n{self.text}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text_digest(self) -> str | None:
        return None if self.kept is None else hashlib.sha256(self.kept.encode()).hexdigest()


class OpenDispute(WithText):
    """Dispute a record that was settled. ``settled_at`` is when the journal recorded that: a column of the journal's
    own, which no fact holds, so it arrives with the command, as the time does."""

    dispute: RecordId | None = None
    record: RecordId
    ground: Ground
    side: Literal["earner", "recipient"] | None = None
    settled_at: AwareDatetime = Field(exclude=True)


class StateCase(WithText):
    """Say what is to be said for a side. A member speaks for their own household; staff may write down what either
    household told them, by naming its side, or what they know themselves."""

    dispute: RecordId
    ground: Ground
    side: Literal["earner", "recipient"] | None = None


class DecideDispute(WithText):
    """Decide a dispute, for or against whoever opened it."""

    dispute: RecordId
    outcome: Literal["upheld", "dismissed"]


class WithdrawDispute(BaseModel):
    """Take back a dispute that one opened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dispute: RecordId


class EscalateDispute(BaseModel):
    """Hand a dispute that nobody decided in time to the administrators."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dispute: RecordId


def open_dispute(command: OpenDispute, context: Context) -> Decision:
    """By a member of the household that earns or of the one that was served, or by staff of the community.

    Raises: UnknownRecord, NotYourSide, DisputeAlreadyOpened, RecordInDispute, RecordDisputeDecided,
    RecordNotDisputable, GroundNotFitting, DisputedTooLate, NoPolicyInForce.
    """
    number = command.dispute or new_number(context.command_id)
    record, dispute, speaker, book = yield from read(
        ServiceRecord.of(command.record), Dispute.of(number), Person.of(context.actor.id), policy_book
    )
    logged = record.require()
    require_reach(context, logged.community, UnknownRecord(command.record))
    side = yield from _side(command.side, context, speaker, logged)
    if side is None:
        raise UnknownRecord(command.record)
    if dispute.opened is not None:
        raise DisputeAlreadyOpened(number)
    if record.dispute is not None:
        raise RecordInDispute(command.record, record.dispute)
    if record.decided_dispute is not None:
        raise RecordDisputeDecided(command.record, record.decided_dispute)
    if record.status not in ("confirmed", "rejected") or (record.status == "rejected" and side == "recipient"):
        raise RecordNotDisputable(command.record, record.status)
    if (command.ground == "served") != (record.status == "rejected"):
        raise GroundNotFitting(command.record, record.status, command.ground)
    adopted = book.in_force(logged.started_at.date())
    policy = adopted.policy
    if context.now > command.settled_at + timedelta(days=policy.dispute_days_max):
        raise DisputedTooLate(command.record, policy.dispute_days_max)
    now = local(context.now, context.zone)
    time_to_decide = timedelta(days=policy.dispute_decision_days)
    held_minutes = _minutes_left(record)
    opened = DisputeOpened(
        number,
        command.record,
        context.actor.id,
        side,
        command.ground,
        held_minutes,
        now,
        now + time_to_decide / 2,
        now + time_to_decide,
        command.text_digest,
    )
    if record.confirmed is None or not held_minutes:
        return Decided(adopted.version, (opened,))
    (account,) = yield from standing_accounts((record.confirmed.target,))
    if account in UNDECIDED:  # it expired when its household was closed: nothing is left to be spent
        return Decided(adopted.version, (replace(opened, held_minutes=0),))
    return Decided(adopted.version, (opened, MinutesHeld(account, held_minutes, "dispute:" + number)))


def _minutes_left(record: ServiceRecord) -> int:
    """What the record left on the earning account: the credit, without what went on to the pool above the cap."""
    if record.confirmed is None:
        return 0
    return record.confirmed.minutes - (0 if record.capped is None else record.capped.minutes)


def _side(
    named: Literal["earner", "recipient"] | None, context: Context, speaker: Person, logged: HoursLogged
) -> Generator[Question, Any, Side | None]:
    """For whom somebody speaks; None: a member whom the record doesn't concern. Raises: NotYourSide."""
    own = yield from side_of(speaker, logged)
    if own is None:
        return None if context.actor.role == "volunteer" else named or "staff"
    if named not in (None, own):
        raise NotYourSide(speaker.person, own)
    return own


def _open(
    number: str, context: Context
) -> Generator[Question, Any, tuple[Dispute, DisputeOpened, ServiceRecord, HoursLogged, Person]]:
    """An open dispute, for somebody whom it concerns. Raises: UnknownDispute, DisputeClosed."""
    dispute, person = yield from read(Dispute.of(number), Person.of(context.actor.id))
    opened = dispute.opened
    if opened is None:
        raise UnknownDispute(number)
    record = yield from read(ServiceRecord.of(opened.record))
    logged = record.require()
    require_reach(context, logged.community, UnknownDispute(number))
    if context.actor.role == "volunteer" and (yield from side_of(person, logged)) is None:
        raise UnknownDispute(number)
    if dispute.status != "open":
        raise DisputeClosed(number, dispute.status)
    return dispute, opened, record, logged, person


def state_case(command: StateCase, context: Context) -> Decision:
    """Raises: UnknownDispute, DisputeClosed, NotYourSide."""
    *_, logged, person = yield from _open(command.dispute, context)
    side = yield from _side(command.side, context, person, logged)
    if side is None:
        raise UnknownDispute(command.dispute)
    given = DisputeStatementGiven(command.dispute, side, context.actor.id, command.ground, command.text_digest)
    return Decided(0, (given,))


def decide_dispute(command: DecideDispute, context: Context) -> Decision:
    """By somebody of the staff who has no part in it, once both sides were heard or had time enough to be.

    Raises: UnknownDispute, DisputeClosed, DecidedByParty, LeftToAdministrators, SidesNotHeard; and where a rejected
    record would be confirmed after all: EvidenceTooWeak, RecordOverlaps, DayTooLong, RecordTooShort, RecordTooLong,
    OwnHouseholdServed, BalanceTooLow, RecordAboveCap.
    """
    dispute, opened, record, logged, decider = yield from _open(command.dispute, context)
    if context.actor.role not in ("staff", "admin") or decider.person in {opened.opened_by, *record.parties}:
        raise DecidedByParty(command.dispute, decider.person)
    if (yield from side_of(decider, logged)) is not None:
        raise DecidedByParty(command.dispute, decider.person)
    if dispute.escalated and context.actor.role != "admin":
        raise LeftToAdministrators(command.dispute)
    if context.now < opened.hearing_until and not dispute.heard >= BOTH_SIDES:
        raise SidesNotHeard(command.dispute, opened.hearing_until.isoformat(timespec="minutes"))
    if command.outcome == "dismissed":
        dismissed = DisputeDismissed(command.dispute, opened.record, decider.person, command.text_digest)
        return Decided(0, (dismissed, *(yield from _released(opened, record))))
    upheld = DisputeUpheld(command.dispute, opened.record, decider.person, command.text_digest)
    if opened.ground != "served" and record.confirmed is not None:
        undone = _reversed(record.confirmed, record.capped, decider.person, opened.ground)
        released = yield from _released(opened, record)
        return Decided(0, (upheld, *released, *(yield from with_heirs(undone))))
    book = yield from read(policy_book)
    adopted = book.in_force(logged.started_at.date())
    if adopted.policy.evidence_min != "self":
        evidence = stronger(logged.evidence, "recipient") if dispute.vouched else logged.evidence
        yield from require_evidence(logged.record, evidence, adopted.policy.evidence_min)
    first, last = days_of(logged.started_at, logged.ended_at)
    days = yield from read(VolunteerDay.of(logged.volunteer, first), VolunteerDay.of(logged.volunteer, last))
    # While it was rejected its time was free, and other service may have been logged for it.
    yield from _check_claim(logged, adopted.policy, *days)
    confirmed, capped = yield from _confirmed(logged, adopted, decider)
    return Decided(adopted.version, (upheld, confirmed) if capped is None else (upheld, confirmed, capped))


def _released(opened: DisputeOpened, record: ServiceRecord) -> Generator[Question, Any, tuple[MinutesReleased, ...]]:
    if record.confirmed is None:
        return ()
    hold = "dispute:" + opened.dispute
    return (yield from release_hold(record.confirmed.target, opened.held_minutes, hold))


def withdraw_dispute(command: WithdrawDispute, context: Context) -> Decision:
    """Raises: UnknownDispute, DisputeClosed, WithdrawnByAnother."""
    _, opened, record, *_ = yield from _open(command.dispute, context)
    if opened.opened_by != context.actor.id:
        raise WithdrawnByAnother(command.dispute, context.actor.id)
    withdrawn = DisputeWithdrawn(command.dispute, opened.record)
    return Decided(0, (withdrawn, *(yield from _released(opened, record))))


def escalate_dispute(command: EscalateDispute, context: Context) -> Decision:
    """Raises: LeftToTime, UnknownDispute, DisputeClosed, DisputeNotDue."""
    require_time(context)
    dispute, opened, *_ = yield from _open(command.dispute, context)
    if dispute.escalated or context.now < opened.decision_due:
        raise DisputeNotDue(command.dispute)
    return Decided(0, (DisputeEscalated(command.dispute),))


@dataclass(unsafe_hash=True)
class UnknownDispute(Unknown):
    dispute: str
    zh = "没有编号为“{dispute}”的争议。"
    en = "There is no dispute “{dispute}”."


@dataclass(unsafe_hash=True)
class DisputeAlreadyOpened(AlreadyDone):
    dispute: str
    zh = "争议编号“{dispute}”已被使用，请换一个或省略。"
    en = "The dispute number “{dispute}” is taken: choose another, or leave it out."


@dataclass(unsafe_hash=True)
class RecordDisputeDecided(AlreadyDone):
    record: str
    dispute: str
    zh = "服务记录“{record}”的争议“{dispute}”已有决定，不能再次提出。"
    en = "Dispute “{dispute}” over the service record “{record}” was decided; it can't be disputed again."


@dataclass(unsafe_hash=True)
class RecordNotDisputable(AlreadyDone):
    """A rejected record is disputed by the side that would have earned."""

    record: str
    status: str
    zh = "服务记录“{record}”的状态是“{status}”，您不能对它提出争议。"
    en = "The service record “{record}” is {status}; you can't dispute it."

    @property
    def message_zh(self) -> str:
        return self.zh.format(record=self.record, status=STATUS_ZH[self.status])


@dataclass(unsafe_hash=True)
class GroundNotFitting(AgainstRule):
    record: str
    status: str
    ground: str
    zh = "服务记录“{record}”{status}，不能以“{ground}”为由提出争议：已驳回的只能以 served 为由，已确认的不能。"
    en = (
        "The service record “{record}” is {status} and can't be disputed on the ground “{ground}”: “served” is the "
        "ground for a rejected record, and for no other."
    )

    @property
    def message_zh(self) -> str:
        return self.zh.format(record=self.record, status=STATUS_ZH[self.status], ground=self.ground)


@dataclass(unsafe_hash=True)
class DisputedTooLate(AgainstRule):
    record: str
    dispute_days_max: int
    zh = "服务记录“{record}”已超过处理后 {dispute_days_max} 天的争议期限。"
    en = "The service record “{record}” is past the {dispute_days_max} days after settling within which it is disputed."


@dataclass(unsafe_hash=True)
class NotYourSide(NotAllowed):
    person: str
    side: str
    zh = "“{person}”属于{side}，不能替另一方陈述。"
    en = "“{person}” is of the side “{side}” and can't speak for the other."

    @property
    def message_zh(self) -> str:
        return self.zh.format(person=self.person, side=SIDE_ZH.get(self.side, self.side))


@dataclass(unsafe_hash=True)
class DisputeClosed(AlreadyDone):
    dispute: str
    outcome: str
    zh = "争议“{dispute}”已经结束（{outcome}）。"
    en = "The dispute “{dispute}” is {outcome} already."

    @property
    def message_zh(self) -> str:
        return self.zh.format(dispute=self.dispute, outcome=OUTCOME_ZH.get(self.outcome, self.outcome))


@dataclass(unsafe_hash=True)
class DecidedByParty(NotAllowed):
    dispute: str
    person: str
    zh = "“{person}”与争议“{dispute}”有关，须由与双方、登记、处理和提出都无关的工作人员决定。"
    en = (
        "“{person}” has a part in dispute “{dispute}”; it is decided by staff of neither household who didn't log "
        "or settle the record, nor open the dispute."
    )


@dataclass(unsafe_hash=True)
class LeftToAdministrators(NotAllowed):
    dispute: str
    zh = "争议“{dispute}”已逾期升级，须由管理员决定。"
    en = "The dispute “{dispute}” has escalated; an administrator must decide it."


@dataclass(unsafe_hash=True)
class SidesNotHeard(AgainstRule):
    dispute: str
    hearing_until: str
    zh = "争议“{dispute}”的双方还没有都陈述；到 {hearing_until} 仍未陈述的，可以决定。"
    en = "Not both sides of dispute “{dispute}” were heard yet; from {hearing_until} on it can be decided without."


@dataclass(unsafe_hash=True)
class WithdrawnByAnother(NotAllowed):
    dispute: str
    person: str
    zh = "争议“{dispute}”不是“{person}”提出的，不能撤回。"
    en = "“{person}” didn't open the dispute “{dispute}” and can't take it back."


@dataclass(unsafe_hash=True)
class DisputeNotDue(AgainstRule):
    dispute: str
    zh = "争议“{dispute}”还没有到升级的时候，或已经升级。"
    en = "The dispute “{dispute}” isn't due to escalate yet, or has escalated already."
