"""Visits: a volunteer checks in at a service and out of it again, and the visit becomes a service record (签到、签退).

Both ends are dated by the clock of the ledger, never by a claim. Each end has a grade of evidence: a one-time code
that the recipient's household shows at the door gives ``checked-in``, staff who are there give ``staff``, the volunteer
alone gives ``self``; the record gets the weaker one. A check-in that stays open never earns: past the policy's limit it
is overdue, and staff either close it with times and a reason, or void it. What earns is the record, by the rules of
`log`.
"""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from domain.community import Community, GridPath, require_reach, require_scope
from domain.decision import Context, Decided, Decision, Fold, KnownByHash, Question, Reading, read, require_time
from domain.evidence import Attached, Evidence, EvidenceAttached, EvidenceKind, Sha256, stronger, weaker
from domain.fact import Fact
from domain.hours import (
    MINUTE,
    Grounds,
    LogHours,
    NotYourself,
    OwnHouseholdServed,
    ServiceRecord,
    UnknownRecord,
    local,
    log,
    side_of,
)
from domain.household import Household, NotEnrolled, Person, UnknownHousehold, UnknownMember, successor
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId, ServiceName, new_number
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

CODE_CHARACTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH: Final = 16
"""80 random bits: the journal holds the hash, from which a shorter code could be guessed while it is still good."""
VISIT_STATUS_ZH: Final = {
    "absent": "不存在",
    "open": "服务中",
    "overdue": "逾期未签退",
    "logged": "已登记",
    "voided": "已作废",
}
CloseReason = Literal["forgotten", "device", "emergency", "other"]
VoidReason = Literal["not-served", "mistake", "duplicate", "other"]


def code_hash(code: str) -> str:
    """What the journal holds of a door code."""
    if isinstance(code, KnownByHash):
        return str(code)
    return hashlib.sha256(b"timebank door code\0" + code.encode()).hexdigest()


class DoorCodeMade(Fact, frozen=True, omit_defaults=True, gc=False):
    """A one-time code for the door of a household: its hash alone. Whoever brings the code was there."""

    type = "door-code-made.v1"
    code_hash: str
    household: str
    made_by: str
    valid_until: datetime

    def tags(self) -> tuple[str, ...]:
        return ("door:" + self.code_hash,)


class CheckedIn(Fact, frozen=True, omit_defaults=True, gc=False):
    """A volunteer began a service. It earns nothing until it is checked out and confirmed.

    ``code_hash`` names the door code that this spent.
    """

    type = "checked-in.v1"
    visit: str
    volunteer: str
    community: str
    service: str
    started_at: datetime
    checked_in_by: str
    evidence: Evidence
    recipient_household: str | None = None
    grid: GridPath = ()
    code_hash: str | None = None

    def tags(self) -> tuple[str, ...]:
        return _tags(self.visit, self.volunteer, self.started_at, self.code_hash)


class CheckedOut(Fact, frozen=True, omit_defaults=True, gc=False):
    """The volunteer ended the service: the visit is the record that was logged with this."""

    type = "checked-out.v1"
    visit: str
    volunteer: str
    started_at: datetime
    ended_at: datetime
    record: str
    checked_out_by: str
    evidence: Evidence
    code_hash: str | None = None

    def tags(self) -> tuple[str, ...]:
        return _tags(self.visit, self.volunteer, self.started_at, self.code_hash)


class VisitOverdue(Fact, frozen=True, omit_defaults=True, gc=False):
    """Nobody checked out within the policy's limit: the visit waits for staff and can't be checked out any more."""

    type = "visit-overdue.v1"
    visit: str
    volunteer: str
    started_at: datetime

    def tags(self) -> tuple[str, ...]:
        return _tags(self.visit, self.volunteer, self.started_at)


class VisitClosed(Fact, frozen=True, omit_defaults=True, gc=False):
    """Staff found out when an open visit ended: it is the record that was logged with this, on the volunteer's word."""

    type = "visit-closed.v1"
    visit: str
    volunteer: str
    started_at: datetime
    ended_at: datetime
    record: str
    closed_by: str
    reason: CloseReason

    def tags(self) -> tuple[str, ...]:
        return _tags(self.visit, self.volunteer, self.started_at)


class VisitVoided(Fact, frozen=True, omit_defaults=True, gc=False):
    """An open visit came to nothing; it never earns."""

    type = "visit-voided.v1"
    visit: str
    volunteer: str
    started_at: datetime
    voided_by: str
    reason: VoidReason

    def tags(self) -> tuple[str, ...]:
        return _tags(self.visit, self.volunteer, self.started_at)


def _tags(visit: str, volunteer: str, started_at: datetime, spent: str | None = None) -> tuple[str, ...]:
    """``started_at`` is the check-in's in every fact of a visit, so that a volunteer's days stay short."""
    tags = ("visit:" + visit, f"attendance:{volunteer}:{started_at.date().isoformat()}")
    return tags if spent is None else (*tags, "door:" + spent)


class DoorCode(msgspec.Struct, frozen=True, gc=False):
    """``spent`` once a check-in or check-out was made with it."""

    code_hash: str
    made: DoorCodeMade | None = None
    spent: bool = False

    @staticmethod
    def of(code_hash: str) -> "Reading[DoorCode]":
        return _door.of(code_hash)


def _evolve_door(state: DoorCode, fact: DoorCodeMade | CheckedIn | CheckedOut) -> DoorCode:
    if isinstance(fact, DoorCodeMade):
        return replace(state, made=fact)
    return replace(state, spent=True)


_door = Fold[DoorCode]("door", DoorCode, _evolve_door, (DoorCodeMade, CheckedIn, CheckedOut))

VisitFact = CheckedIn | CheckedOut | VisitOverdue | VisitClosed | VisitVoided
VISIT_FACTS: Final = (CheckedIn, CheckedOut, VisitOverdue, VisitClosed, VisitVoided)
VisitStatus = Literal["absent", "open", "overdue", "logged", "voided"]


class Visit(msgspec.Struct, frozen=True, gc=False):
    """Where one visit stands."""

    visit: str
    status: VisitStatus = "absent"
    begun: CheckedIn | None = None

    @staticmethod
    def of(visit: str) -> "Reading[Visit]":
        return _visit.of(visit)

    def require(self) -> CheckedIn:
        """Raises: UnknownVisit."""
        if self.begun is None:
            raise UnknownVisit(self.visit)
        return self.begun


def _evolve_visit(state: Visit, fact: VisitFact) -> Visit:
    match fact:
        case CheckedIn():
            return Visit(state.visit, "open", fact)
        case VisitOverdue():
            return Visit(state.visit, "overdue", state.begun)
        case CheckedOut() | VisitClosed():
            return Visit(state.visit, "logged", state.begun)
        case VisitVoided():
            return Visit(state.visit, "voided", state.begun)


_visit = Fold[Visit]("visit", Visit, _evolve_visit, VISIT_FACTS)


class Attendance(msgspec.Struct, frozen=True, gc=False):
    """The visits that a volunteer began on one day and has not ended: each with when it began."""

    open: tuple[tuple[str, datetime], ...] = ()

    @staticmethod
    def of(volunteer: str, day: date) -> "Reading[Attendance]":
        return _attendance.of(f"{volunteer}:{day.isoformat()}")


def _evolve_attendance(state: Attendance, fact: VisitFact) -> Attendance:
    others = tuple(visit for visit in state.open if visit[0] != fact.visit)
    return Attendance((*others, (fact.visit, fact.started_at)) if isinstance(fact, CheckedIn) else others)


_attendance = Fold[Attendance]("attendance", lambda _: Attendance(), _evolve_attendance, VISIT_FACTS)


def _fit_code(text: str) -> str:
    code = text.upper().replace("-", "").replace(" ", "").translate(str.maketrans("OIL", "011"))
    if len(code) != CODE_LENGTH or any(character not in CODE_CHARACTERS for character in code):
        raise ValueError("门码是 16 位字母和数字 / a door code is 16 letters and digits")
    return code


DoorCodeText = Annotated[
    str, AfterValidator(_fit_code), Field(max_length=40, description="As shown at the door; dashes may be left out.")
]


class MakeDoorCode(BaseModel):
    """Make a one-time code for a household's door. Only its hash is ever given to the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    code_hash: Sha256
    valid_minutes: Annotated[int, Field(strict=True, ge=5, le=44_640)] = 720


class CheckIn(BaseModel):
    """Begin a service now: at the household whose door code is given, or at a named one, or for the community."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"example": {"volunteer": "V00001", "service": "陪伴聊天", "code": "7K3M-Q2XD-9TBV-4HRN"}},
    )

    visit: RecordId | None = None
    volunteer: PersonId
    service: ServiceName
    code: DoorCodeText | None = None
    recipient_household: HouseholdId | None = None
    community: PlaceName | None = None
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.code is not None and self.recipient_household is not None:
            raise ValueError(
                "门码已说明是哪一户，不要再填户编号 / a door code says which household it is; leave that out"
            )
        if self.grid and self.community is None:
            raise ValueError("填写网格时须填写社区 / a grid needs its community")
        return self


class CheckOut(BaseModel):
    """End a visit now; less minutes than it took where there was a break."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    visit: RecordId
    code: DoorCodeText | None = None
    record: RecordId | None = None
    minutes: Annotated[int, Field(strict=True, ge=1, le=1440)] | None = None


class MarkOverdue(BaseModel):
    """Nobody checked out in time. Given by the system alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    visit: RecordId


class Closing(BaseModel):
    """When an open visit really ended, and why that is known only now; its start where that was later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime
    minutes: Annotated[int, Field(strict=True, ge=1, le=1440)] | None = None
    reason: CloseReason
    record: RecordId | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for time in (self.started_at, self.ended_at):
            if time is not None and (time.second or time.microsecond):
                raise ValueError("时间须精确到整分钟 / times must be whole minutes")
            if time is not None and not 1900 <= time.year < 2200:
                raise ValueError("时间须在 1900 至 2199 年之间 / times must be of the years 1900 to 2199")
        return self


class CloseVisit(Closing):
    """Close an open visit; it is logged with these times."""

    visit: RecordId


class VoidVisit(BaseModel):
    """End an open visit without a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    visit: RecordId
    reason: VoidReason


class AttachEvidence(BaseModel):
    """Attach the hash of a photo or of a paper sheet to a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId
    kind: EvidenceKind
    sha256: Sha256


def make_door_code(command: MakeDoorCode, context: Context) -> Decision:
    """Raises: UnknownHousehold (also where it is neither one's own nor of the staff's community), DoorCodeExists."""
    household, code, maker = yield from read(
        Household.of(command.household), DoorCode.of(command.code_hash), Person.of(context.actor.id)
    )
    if context.actor.role == "volunteer" and maker.household != command.household:
        raise UnknownHousehold(command.household)
    household.require_within(context)
    if code.made is not None:
        raise DoorCodeExists(command.household)
    valid_until = local(context.now + timedelta(minutes=command.valid_minutes), context.zone).replace(microsecond=0)
    return Decided(0, (DoorCodeMade(command.code_hash, command.household, context.actor.id, valid_until),))


def check_in(command: CheckIn, context: Context) -> Decision:
    """Raises: VisitAlreadyBegun, UnknownMember, NotEnrolled, NotYourself, StillCheckedIn, UnknownDoorCode,
    DoorCodeSpent, DoorCodeExpired, OwnDoorCode, OwnHouseholdServed, UnknownHousehold, UnknownCommunity, UnknownGrid,
    OutsideCommunity, NoPolicyInForce."""
    actor = context.actor
    if actor.role == "volunteer" and actor.id != command.volunteer:
        raise NotYourself(command.volunteer)
    visit_id = command.visit or new_number(context.command_id)
    now = _this_minute(context)
    visit, person, book = yield from read(Visit.of(visit_id), Person.of(command.volunteer), policy_book)
    if visit.status != "absent":
        raise VisitAlreadyBegun(visit_id)
    if person.household is None:
        raise UnknownMember(command.volunteer)
    if not person.volunteer:
        raise NotEnrolled(command.volunteer)
    adopted = book.in_force(now.date())
    # The limit is a day at the most, so a visit that is still open began today or yesterday.
    today, yesterday = yield from read(
        Attendance.of(command.volunteer, now.date()),
        Attendance.of(command.volunteer, now.date() - timedelta(days=1)),
    )
    for other, started_at in (*yesterday.open, *today.open):
        if now <= started_at + timedelta(minutes=book.in_force(started_at.date()).policy.check_in_minutes_max):
            raise StillCheckedIn(command.volunteer, other)
    evidence, spent = yield from _grade(command.code, person, context)
    recipient = command.recipient_household
    if spent is not None:
        # The door is still there where its household was merged since the code was made.
        recipient = (yield from successor((yield from read(Household.of(spent.household))))).household
    if recipient == person.household:
        raise OwnHouseholdServed(person.household)
    place = yield from read(Household.of(recipient or person.household))
    home = place.require()
    community_id = command.community or home
    grid = command.grid or (place.grid if community_id == home else ())
    community = yield from read(Community.of(community_id))
    community.require(grid)
    if actor.role != "volunteer":
        require_scope(context, community_id)
    begun = CheckedIn(
        visit_id,
        command.volunteer,
        community_id,
        command.service,
        now,
        actor.id,
        evidence,
        recipient,
        grid,
        None if spent is None else spent.code_hash,
    )
    return Decided(adopted.version, (begun,))


def check_out(command: CheckOut, context: Context) -> Decision:
    """Raises: UnknownVisit (also somebody else's), VisitNotOpen, VisitTooLong, UnknownDoorCode, DoorCodeSpent,
    DoorCodeExpired, OwnDoorCode, VisitTimesOutside; as `log`."""
    visit, book = yield from read(Visit.of(command.visit), policy_book)
    begun = _reached(visit, context)
    if visit.status != "open":
        raise VisitNotOpen(command.visit, visit.status)
    now = _this_minute(context)
    limit_minutes = book.in_force(begun.started_at.date()).policy.check_in_minutes_max
    if now > begun.started_at + timedelta(minutes=limit_minutes):
        raise VisitTooLong(command.visit, limit_minutes)
    person = yield from read(Person.of(begun.volunteer))
    evidence, spent = yield from _grade(command.code, person, context)
    if spent is not None and spent.household != begun.recipient_household:
        of_door = yield from successor((yield from read(Household.of(spent.household))))
        if of_door.household != (yield from _recipient(begun)):
            raise UnknownDoorCode
    decided = yield from _log(
        begun, now, context, command.record, command.minutes, weaker(begun.evidence, evidence), begun.started_at
    )
    ended = CheckedOut(
        command.visit,
        begun.volunteer,
        begun.started_at,
        now,
        decided.facts[0].record,  # type: ignore[attr-defined]
        context.actor.id,
        evidence,
        None if spent is None else spent.code_hash,
    )
    return Decided(decided.policy, (ended, *decided.facts))


def mark_overdue(command: MarkOverdue, context: Context) -> Decision:
    """Raises: LeftToTime, UnknownVisit, VisitNotOpen, VisitNotOverdue."""
    require_time(context)
    visit, book = yield from read(Visit.of(command.visit), policy_book)
    begun = visit.require()
    if visit.status != "open":
        raise VisitNotOpen(command.visit, visit.status)
    adopted = book.in_force(begun.started_at.date())
    if _this_minute(context) <= begun.started_at + timedelta(minutes=adopted.policy.check_in_minutes_max):
        raise VisitNotOverdue(command.visit, adopted.policy.check_in_minutes_max)
    return Decided(adopted.version, (VisitOverdue(command.visit, begun.volunteer, begun.started_at),))


def close_visit(command: CloseVisit, context: Context) -> Decision:
    """The record has the grade ``self``, whatever the check-in had: nobody noted the end when it was.

    Raises: UnknownVisit, VisitNotOpen, VisitTimesOutside; as `log`.
    """
    visit, book = yield from read(Visit.of(command.visit), policy_book)
    begun = _reached(visit, context)
    if visit.status not in ("open", "overdue"):
        raise VisitNotOpen(command.visit, visit.status)
    limit_minutes = book.in_force(begun.started_at.date()).policy.check_in_minutes_max
    latest = begun.started_at + timedelta(minutes=limit_minutes)
    started_at = begun.started_at if command.started_at is None else local(command.started_at, context.zone)
    ended_at = local(command.ended_at, context.zone)
    whole_minutes = (ended_at - started_at) // MINUTE
    if not begun.started_at <= started_at < ended_at <= latest or (command.minutes or 1) > whole_minutes:
        raise VisitTimesOutside(command.visit, begun.started_at.isoformat(), latest.isoformat())
    decided = yield from _log(begun, ended_at, context, command.record, command.minutes, "self", started_at)
    closed = VisitClosed(
        command.visit,
        begun.volunteer,
        begun.started_at,
        ended_at,
        decided.facts[0].record,  # type: ignore[attr-defined]
        context.actor.id,
        command.reason,
    )
    return Decided(decided.policy, (closed, *decided.facts))


def void_visit(command: VoidVisit, context: Context) -> Decision:
    """Raises: UnknownVisit (also somebody else's), VisitNotOpen."""
    visit = yield from read(Visit.of(command.visit))
    begun = _reached(visit, context)
    if visit.status not in ("open", "overdue"):
        raise VisitNotOpen(command.visit, visit.status)
    voided = VisitVoided(command.visit, begun.volunteer, begun.started_at, context.actor.id, command.reason)
    return Decided(0, (voided,))


def attach_evidence(command: AttachEvidence, context: Context) -> Decision:
    """A paper sheet that staff hold gives the record the grade ``staff``, unless they are of the household that earns.
    A photo, and what a volunteer attaches, is there for whoever checks and gives no grade.

    Raises: UnknownRecord (also where it isn't one's own household's, nor of the staff's community),
    EvidenceAlreadyAttached.
    """
    record, attached, person = yield from read(
        ServiceRecord.of(command.record), Attached.of(command.record), Person.of(context.actor.id)
    )
    logged = record.require()
    require_reach(context, logged.community, UnknownRecord(command.record))
    side = yield from side_of(person, logged)
    if context.actor.role == "volunteer" and side is None:
        raise UnknownRecord(command.record)
    if command.sha256 in attached.sha256s:
        raise EvidenceAlreadyAttached(command.record, command.sha256)
    by_staff = context.actor.role != "volunteer" and command.kind == "sheet" and side != "earner"
    evidence = stronger(record.evidence, "staff" if by_staff else attached.evidence)
    fact = EvidenceAttached(command.record, command.kind, command.sha256, context.actor.id, evidence)
    return Decided(0, (fact,))


def _this_minute(context: Context) -> datetime:
    """The clock's minute: what lasted 59 seconds more is not counted."""
    return local(context.now, context.zone).replace(second=0, microsecond=0)


def _reached(visit: Visit, context: Context) -> CheckedIn:
    """Raises: UnknownVisit, also for volunteers where it is somebody else's, and outside the staff's community."""
    begun = visit.require()
    require_reach(context, begun.community, UnknownVisit(visit.visit))
    if context.actor.role == "volunteer" and context.actor.id != begun.volunteer:
        raise UnknownVisit(visit.visit)
    return begun


def _grade(
    code: str | None, volunteer: Person, context: Context
) -> Generator[Question, Any, tuple[Evidence, DoorCodeMade | None]]:
    """How well one end of a visit is known, and the door code that proves it."""
    if code is None:
        if context.actor.role == "volunteer":
            return "self", None
        actor = yield from read(Person.of(context.actor.id))
        of_household = actor.person == volunteer.person or actor.household == volunteer.household
        return "self" if of_household else "staff", None
    door = yield from read(DoorCode.of(code_hash(code)))
    if door.made is None:
        raise UnknownDoorCode
    if door.spent:
        raise DoorCodeSpent
    if context.now > door.made.valid_until:
        raise DoorCodeExpired(door.made.valid_until.isoformat())
    maker = yield from read(Person.of(door.made.made_by))
    if maker.person == volunteer.person or maker.household == volunteer.household:
        raise OwnDoorCode(volunteer.person)
    return "checked-in", door.made


def _log(
    begun: CheckedIn,
    ended_at: datetime,
    context: Context,
    record: str | None,
    minutes: int | None,
    evidence: Evidence,
    started_at: datetime,
) -> Decision:
    """The visit as a service record, by the rules that hold for every record.

    Where the household was merged meanwhile, its successor was served; where it was closed, it was served all the
    same. Where the place became a part of another community, the household's own place is taken.
    """
    if ended_at <= started_at or (minutes or 1) > (ended_at - started_at) // MINUTE:
        raise VisitTimesOutside(begun.visit, started_at.isoformat(), ended_at.isoformat())
    recipient = yield from _recipient(begun)
    stands = (yield from read(Community.of(begun.community))).heir is None
    hours = LogHours(
        record=record,
        volunteer=begun.volunteer,
        recipient_household=recipient,
        community=begun.community if stands else None,
        grid=begun.grid if stands else (),
        service=begun.service,
        started_at=started_at,
        ended_at=ended_at,
        minutes=minutes,
        late_reason="visit-left-open",
    )
    return (yield from log(hours, context, Grounds(evidence, begun=True)))


def _recipient(begun: CheckedIn) -> Generator[Question, Any, str | None]:
    """The household that a visit is to: since it was merged, the one that stands in its place."""
    if begun.recipient_household is None:
        return None
    household = yield from successor((yield from read(Household.of(begun.recipient_household))))
    return begun.recipient_household if household.heir is not None else household.household


@dataclass(unsafe_hash=True)
class UnknownVisit(Unknown):
    visit: str
    zh = "没有编号为“{visit}”的签到。"
    en = "There is no visit “{visit}”."


@dataclass(unsafe_hash=True)
class UnknownDoorCode(Unknown):
    """Doesn't repeat the code, which may be a good one of another door."""

    zh = "门码不正确，请核对服务对象出示的门码。"
    en = "This is no door code of that household; check what is shown at the door."


@dataclass(unsafe_hash=True)
class VisitAlreadyBegun(AlreadyDone):
    visit: str
    zh = "签到“{visit}”已经存在，请用新编号。"
    en = "The visit “{visit}” exists already; another one needs a number of its own."


@dataclass(unsafe_hash=True)
class StillCheckedIn(AlreadyDone):
    volunteer: str
    visit: str
    zh = "“{volunteer}”还有未签退的服务“{visit}”，请先签退或作废。"
    en = "“{volunteer}” is still checked in for the visit “{visit}”; check out of it or void it first."


@dataclass(unsafe_hash=True)
class VisitNotOpen(AlreadyDone):
    visit: str
    status: str
    zh = "签到“{visit}”的状态是“{status}”，不能这样处理。"
    en = "The visit “{visit}” is {status}, so this can't be done with it."

    @property
    def message_zh(self) -> str:
        return self.zh.format(visit=self.visit, status=VISIT_STATUS_ZH.get(self.status, self.status))


@dataclass(unsafe_hash=True)
class DoorCodeExists(AlreadyDone):
    household: str
    zh = "户“{household}”已有这个门码，请重新生成。"
    en = "The household “{household}” has this door code already; make another."


@dataclass(unsafe_hash=True)
class DoorCodeSpent(AlreadyDone):
    zh = "门码只能使用一次，这个已经用过；请服务对象出示新的门码。"
    en = "A door code works once and this one was used; ask the recipient for a new one."


@dataclass(unsafe_hash=True)
class EvidenceAlreadyAttached(AlreadyDone):
    record: str
    sha256: str
    zh = "这份凭据（{sha256}）已经附在该服务记录上。"
    en = "This evidence ({sha256}) is attached to the record already."


@dataclass(unsafe_hash=True)
class OwnDoorCode(NotAllowed):
    volunteer: str
    zh = "门码须由服务对象或工作人员生成，“{volunteer}”不能使用自己或自家人生成的门码。"
    en = "“{volunteer}” can't use a door code that they or their own household made."


@dataclass(unsafe_hash=True)
class DoorCodeExpired(AgainstRule):
    valid_until: str
    zh = "门码已于 {valid_until} 失效，请服务对象出示新的门码。"
    en = "The door code was good until {valid_until}; ask the recipient for a new one."


@dataclass(unsafe_hash=True)
class VisitTooLong(AgainstRule):
    visit: str
    check_in_minutes_max: int
    zh = "签到“{visit}”已超过 {check_in_minutes_max} 分钟未签退，须由工作人员核实处理。"
    en = "The visit “{visit}” was left open for more than {check_in_minutes_max} minutes; staff must settle it."


@dataclass(unsafe_hash=True)
class VisitNotOverdue(AgainstRule):
    visit: str
    check_in_minutes_max: int
    zh = "签到“{visit}”还没有超过 {check_in_minutes_max} 分钟。"
    en = "The visit “{visit}” has not been open for more than {check_in_minutes_max} minutes yet."


@dataclass(unsafe_hash=True)
class VisitTimesOutside(AgainstRule):
    visit: str
    started_at: str
    until: str
    zh = "签到“{visit}”的服务时间须在 {started_at} 至 {until} 之内，且不少于一分钟。"
    en = "The service of visit “{visit}” must lie between {started_at} and {until}, and last a minute at least."
