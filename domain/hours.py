"""Hours of service: logged by one person, then confirmed or rejected by another; a confirmed record may be reversed.

Rules that hold under every policy: nobody confirms hours that they logged or that their own household earned;
one volunteer's records can't overlap in time; only confirmed hours count; a record is settled once and reversed at
most once. The policy adds limits. Every record lives under the version in force when its service began.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache, partial
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, get_args

import msgspec
from msgspec.structs import replace
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from domain.account import (
    ISSUANCE,
    Account,
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    ImportReason,
    MinutesCapped,
    MinutesReleased,
    Reason,
    account_fold,
    group_account,
    household_account,
    pool_account,
    release_hold,
    require_cover,
    standing_accounts,
)
from domain.community import Community, CommunityRegistered, GridPath, GridRegistered, require_reach, require_scope
from domain.decision import (
    BY_TIME,
    Context,
    Decided,
    Decision,
    Fold,
    Question,
    Reading,
    read,
    read_all,
    require_time,
    together,
)
from domain.evidence import Evidence, require_evidence, stronger
from domain.fact import Fact, Movement
from domain.household import (
    ClosedHousehold,
    Household,
    HouseholdRegistered,
    MemberHasDied,
    MemberRegistered,
    NotEnrolled,
    Person,
    UnknownMember,
    VolunteerEnrolled,
    successor,
)
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId, ServiceName, new_number
from domain.policy import Policy, PolicyAdopted, PolicyBook, policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

MINUTE = timedelta(minutes=1)
DAY_MINUTES: Final = 24 * 60
STATUS_ZH: Final = {"logged": "待确认", "confirmed": "已确认", "rejected": "已驳回", "reversed": "已冲正"}


LateReason = Literal["forgotten", "away-or-ill", "no-network", "on-paper", "visit-left-open", "other"]
"""Why a service was logged late."""


class HoursLogged(Fact, frozen=True, omit_defaults=True, gc=False):
    """One stretch of service was claimed; it counts for nothing until it is confirmed.

    ``household`` earns, ``recipient_household`` was served (None: the community at large). Times carry the ledger's
    own offset, so the days are plain to read. ``service_minutes`` are the claimed minutes after the policy's rounding.
    ``group`` is whose hours they are where they were given as a group; ``also_logged_by`` keyed the same from paper.
    ``late_reason`` is why they were logged later than the policy's ordinary time (None: in time, or none was given).
    """

    type = "hours-logged.v1"
    record: str
    volunteer: str
    household: str
    community: str
    service: str
    started_at: datetime
    ended_at: datetime
    claimed_minutes: int
    service_minutes: int
    logged_by: str
    recipient_household: str | None = None
    grid: GridPath = ()
    evidence: Evidence = "self"
    group: str | None = None
    also_logged_by: str | None = None
    late_reason: LateReason | None = None

    def tags(self) -> tuple[str, ...]:
        first, last = days_of(self.started_at, self.ended_at)
        day = f"day:{self.volunteer}:{first.isoformat()}"
        if first == last:
            return ("record:" + self.record, day)
        return ("record:" + self.record, day, f"day:{self.volunteer}:{last.isoformat()}")


class RequestFulfilled(Fact, frozen=True, omit_defaults=True, gc=False):
    """A service request was done, and its hours are logged as this record. It is the record's fact too, so it is here.

    ``held_minutes`` stay held on the account of the household that asked until the record is settled (0: none are).
    """

    type = "request-fulfilled.v1"
    request: str
    record: str
    volunteer: str
    account: str
    held_minutes: int

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request, "record:" + self.record)


class HoursRejected(Fact, frozen=True, omit_defaults=True, gc=False):
    """A logged record was refused by whoever checked it; it never earns."""

    type = "hours-rejected.v1"
    record: str
    rejected_by: str
    reason: ImportReason

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record,)


Side = Literal["earner", "recipient", "staff"]
"""Who speaks in a dispute: the household that earns, the one that was served, or the staff for neither."""
Ground = Reason | Literal["served"]
"""What is said in a dispute: what is wrong with a record, or that the service was given as it was logged."""


class DisputeOpened(Fact, frozen=True, omit_defaults=True):
    """A settled record is in dispute. The facts that begin and end a dispute are the record's too, so they are here.

    A confirmed record is disputed for what is wrong with it, a rejected one because it was ``served`` all the same.
    ``held_minutes`` are what the record left on the earning account. Until ``hearing_until`` both sides are waited for;
    from ``decision_due`` on the dispute escalates. ``text_digest`` is the SHA-256 of what the vault keeps:
    a salt, a line end, and the words.
    """

    type = "dispute-opened.v1"
    dispute: str
    record: str
    opened_by: str
    side: Side
    ground: Ground
    held_minutes: int
    opened_at: datetime
    hearing_until: datetime
    decision_due: datetime
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("dispute:" + self.dispute, "record:" + self.record)


class DisputeUpheld(Fact, frozen=True, omit_defaults=True):
    """Who disputed was right: a confirmed record is reversed with this, a rejected one confirmed after all."""

    type = "dispute-upheld.v1"
    dispute: str
    record: str
    decided_by: str
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("dispute:" + self.dispute, "record:" + self.record)


class DisputeDismissed(Fact, frozen=True, omit_defaults=True):
    """The record stays as it was settled."""

    type = "dispute-dismissed.v1"
    dispute: str
    record: str
    decided_by: str
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("dispute:" + self.dispute, "record:" + self.record)


class DisputeWithdrawn(Fact, frozen=True, omit_defaults=True):
    """Whoever opened the dispute took it back; nothing was decided."""

    type = "dispute-withdrawn.v1"
    dispute: str
    record: str

    def tags(self) -> tuple[str, ...]:
        return ("dispute:" + self.dispute, "record:" + self.record)


Status = Literal["absent", "logged", "confirmed", "rejected", "reversed"]
RecordFact = (
    HoursLogged
    | HoursConfirmed
    | MinutesCapped
    | HoursRejected
    | HoursReversed
    | CappedMinutesReturned
    | DisputeOpened
    | DisputeUpheld
    | DisputeDismissed
    | DisputeWithdrawn
    | RequestFulfilled
)


class ServiceRecord(msgspec.Struct, frozen=True, gc=False):
    """Where one service record stands. ``fulfilled`` is the request that it was given for, ``dispute`` is open now;
    ``decided_dispute`` was upheld or dismissed."""

    record: str
    status: Status = "absent"
    logged: HoursLogged | None = None
    confirmed: HoursConfirmed | None = None
    capped: MinutesCapped | None = None
    rejected: HoursRejected | None = None
    dispute: str | None = None
    decided_dispute: str | None = None
    fulfilled: RequestFulfilled | None = None

    @staticmethod
    def of(record: str) -> "Reading[ServiceRecord]":
        return _record.of(record)

    @property
    def counts(self) -> bool:
        """Still takes up the volunteer's time: not rejected and not reversed."""
        return self.status in ("logged", "confirmed")

    @property
    def evidence(self) -> Evidence:
        """The grade that it was logged with, or more once the household that was served has confirmed it."""
        grade = "self" if self.logged is None else self.logged.evidence
        by_recipient = self.confirmed is not None and self.confirmed.confirmed_as == "recipient"
        return stronger(grade, "recipient") if by_recipient else grade

    @property
    def parties(self) -> set[str]:
        """Whoever gave the service, logged it, keyed it as the second, or settled it: none of them is its judge."""
        logged, confirmed, rejected = self.logged, self.confirmed, self.rejected
        found = () if logged is None else (logged.volunteer, logged.logged_by, logged.also_logged_by)
        settled_by = confirmed and confirmed.confirmed_by, rejected and rejected.rejected_by
        return {person for person in (*found, *settled_by) if person is not None}

    def require(self) -> HoursLogged:
        """Raises: UnknownRecord."""
        if self.logged is None:
            raise UnknownRecord(self.record)
        return self.logged


def _evolve_record(state: ServiceRecord, fact: RecordFact) -> ServiceRecord:
    match fact:
        case HoursLogged():
            return ServiceRecord(state.record, "logged", fact)
        case HoursConfirmed():
            if state.status != "logged":  # a rejected record, after a dispute
                return replace(state, status="confirmed", confirmed=fact)
            return ServiceRecord(state.record, "confirmed", state.logged, fact, fulfilled=state.fulfilled)
        case MinutesCapped():
            return replace(state, capped=fact)
        case HoursRejected():
            return ServiceRecord(state.record, "rejected", state.logged, rejected=fact, fulfilled=state.fulfilled)
        case HoursReversed():
            return replace(state, status="reversed")
        case CappedMinutesReturned():
            return state
        case DisputeOpened():
            return replace(state, dispute=fact.dispute)
        case DisputeUpheld() | DisputeDismissed():
            return replace(state, dispute=None, decided_dispute=fact.dispute)
        case DisputeWithdrawn():
            return replace(state, dispute=None)
        case RequestFulfilled():
            return replace(state, fulfilled=fact)


_record = Fold[ServiceRecord](
    "record",
    ServiceRecord,
    _evolve_record,
    get_args(RecordFact),
)


class Span(msgspec.Struct, frozen=True, gc=False):
    """When one record's service was."""

    record: str
    started_at: datetime
    ended_at: datetime
    claimed_minutes: int

    def overlaps(self, other: "Span") -> bool:
        return self.started_at < other.ended_at and other.started_at < self.ended_at

    def minutes_on(self, day: date) -> int:
        """Claimed minutes that count for a day: past midnight a break is taken to have been on the later day."""
        first, last = days_of(self.started_at, self.ended_at)
        if first == last:
            return self.claimed_minutes if day == first else 0
        on_first = min(self.claimed_minutes, minutes_on(first, self.started_at, self.ended_at))
        return on_first if day == first else self.claimed_minutes - on_first if day == last else 0


def span_of(logged: HoursLogged) -> Span:
    return Span(logged.record, logged.started_at, logged.ended_at, logged.claimed_minutes)


class VolunteerDay(msgspec.Struct, frozen=True, gc=False):
    """All service that one volunteer ever claimed for one day, whatever became of it."""

    spans: tuple[Span, ...] = ()

    @staticmethod
    def of(volunteer: str, day: date) -> "Reading[VolunteerDay]":
        return _day.of(f"{volunteer}:{day.isoformat()}")


def _evolve_day(state: VolunteerDay, fact: HoursLogged) -> VolunteerDay:
    return VolunteerDay((*state.spans, span_of(fact)))


_day = Fold[VolunteerDay]("day", lambda _: VolunteerDay(), _evolve_day, (HoursLogged,))


def days_of(started_at: datetime, ended_at: datetime) -> tuple[date, date]:
    """The first and the last day that a service touches; one that ends at midnight doesn't touch the new day."""
    first, last = started_at.date(), ended_at.date()
    if first != last and ended_at.hour == 0 and ended_at.minute == 0:
        return first, max(first, (ended_at - MINUTE).date())
    return first, last


def local(instant: datetime, zone: tzinfo) -> datetime:
    """The instant on the zone's clock, with the offset that it has then: as it reads when it is decoded again.

    Two times that share a zone are subtracted on the wall clock, which is an hour off where clocks change between them.
    """
    at = instant.astimezone(zone)
    return at.replace(tzinfo=_fixed(at.utcoffset() or timedelta()))


_fixed = lru_cache(timezone)
"""An offset as a zone: the few there are, each made once."""


def minutes_on(day: date, started_at: datetime, ended_at: datetime) -> int:
    """How many whole minutes of a service fall on one day of its own zone."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=started_at.tzinfo)
    since = max(started_at, midnight)
    until = min(ended_at, midnight + timedelta(days=1))
    return max(0, (until - since) // MINUTE)


def check_span(started_at: datetime, ended_at: datetime, minutes: int | None) -> None:
    """What every claim of service must be before any rule is asked. Raises: ValueError."""
    if started_at.second or started_at.microsecond or ended_at.second or ended_at.microsecond:
        raise ValueError("时间须精确到整分钟 / times must be whole minutes")
    if ended_at <= started_at:
        raise ValueError("结束时间须晚于开始时间 / ended_at must be after started_at")
    if started_at.year < 1900 or ended_at.year >= 2200:
        raise ValueError("时间须在 1900 至 2199 年之间 / times must be of the years 1900 to 2199")
    if minutes is not None and minutes > (ended_at - started_at) // MINUTE:
        raise ValueError("时长不能超过起止时间 / minutes must fit between started_at and ended_at")


ClaimedMinutes = Annotated[
    int, Field(strict=True, ge=1, le=1440, description="Less than the whole time where there was a break.")
]

Rating = Annotated[int, Field(strict=True, ge=1, le=5, description="From 1 (poor) to 5 (very good).")]


class LogHours(BaseModel):
    """Log one stretch of service. Place and record number may be left out: the recipient's place (or else the
    volunteer's own) and a new number are taken."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "volunteer": "V00001",
                "recipient_household": "H00002",
                "service": "陪伴聊天",
                "started_at": "2026-10-31T09:00:00+08:00",
                "ended_at": "2026-10-31T10:30:00+08:00",
            }
        },
    )

    record: RecordId | None = None
    volunteer: PersonId
    recipient_household: HouseholdId | None = None
    community: PlaceName | None = None
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()
    service: ServiceName
    started_at: AwareDatetime
    ended_at: AwareDatetime
    minutes: ClaimedMinutes | None = None
    late_reason: Annotated[LateReason | None, Field(description="Why it is logged late; kept only where it is.")] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_span(self.started_at, self.ended_at, self.minutes)
        if self.grid and self.community is None:
            raise ValueError("填写网格时须填写社区 / a grid needs its community")
        return self


class LogManyHours(BaseModel):
    """Log several stretches of service, such as a day's sheet: all of them, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours: Annotated[tuple[LogHours, ...], Field(min_length=1, max_length=1000)]


class ConfirmHours(BaseModel):
    """Confirm a logged record: the hours count and the minutes are credited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId
    rating: Rating | None = None


class SettleSilence(BaseModel):
    """Confirm a record that nobody has answered. ``logged_at`` is when the journal recorded it: that is a column of
    the journal's own, which no fact holds, so it arrives with the command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId
    logged_at: AwareDatetime


class RejectHours(BaseModel):
    """Reject a logged record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId
    reason: Reason


class ReverseHours(BaseModel):
    """Undo a confirmed record, exactly and once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId
    reason: Reason


class ImportHours(msgspec.Struct, frozen=True, gc=False):
    """One row of a district's own books. Its times are `local` ones."""

    record: str
    volunteer: str
    household: str
    household_community: str
    recipient_household: str | None
    community: str
    grid: GridPath
    service: str
    started_at: datetime
    ended_at: datetime
    minutes: int
    confirmed_by: str | None
    status: Literal["logged", "confirmed", "rejected", "reversed"]


class Grounds(NamedTuple):
    """What hours are logged on, beside somebody's claim. ``for_others`` lets a volunteer log those of others.

    ``begun`` says that the service was begun when the recipient's household was open: what became of that since is no
    obstacle.
    """

    evidence: Evidence = "self"
    group: str | None = None
    also_logged_by: str | None = None
    for_others: bool = False
    begun: bool = False


CLAIMED: Final = Grounds()


def log(command: LogHours, context: Context, grounds: Grounds = CLAIMED) -> Decision:
    """Raises: RecordAlreadyLogged, UnknownMember, MemberHasDied, NotEnrolled, NotYourself, OwnHouseholdServed,
    InTheFuture, TooLongAgo, LateWithoutReason, RecordTooShort, RecordTooLong, DayTooLong, RecordOverlaps,
    UnknownHousehold, ClosedHousehold, UnknownCommunity, UnknownGrid, DissolvedCommunity, OutsideCommunity,
    NoPolicyInForce."""
    actor = context.actor
    if actor.role == "volunteer" and actor.id != command.volunteer and not grounds.for_others:
        raise NotYourself(command.volunteer)
    record_id = command.record or new_number(context.command_id)
    started_at, ended_at = local(command.started_at, context.zone), local(command.ended_at, context.zone)
    first, last = days_of(started_at, ended_at)
    record, person, book, first_day, last_day = yield from read(
        ServiceRecord.of(record_id),
        Person.of(command.volunteer),
        policy_book,
        VolunteerDay.of(command.volunteer, first),
        VolunteerDay.of(command.volunteer, last),
    )
    if record.status != "absent":
        raise RecordAlreadyLogged(record_id)
    if person.household is None:
        raise MemberHasDied(command.volunteer) if person.died else UnknownMember(command.volunteer)
    if not person.volunteer:
        raise NotEnrolled(command.volunteer)
    adopted = book.in_force(first)
    late_reason = _check_times(adopted.policy, started_at, ended_at, command.late_reason, context)
    place = yield from read(Household.of(command.recipient_household or person.household))
    home = place.community if grounds.begun and place.community is not None else place.require()
    community_id = command.community or home
    grid = command.grid or (place.grid if community_id == home else ())
    community = yield from read(Community.of(community_id))
    community.require(grid)
    if actor.role != "volunteer":
        require_scope(context, community_id)
    logged = HoursLogged(
        record_id,
        command.volunteer,
        person.household,
        community_id,
        command.service,
        started_at,
        ended_at,
        command.minutes or (ended_at - started_at) // MINUTE,
        adopted.policy.service_minutes(command.minutes or (ended_at - started_at) // MINUTE),
        actor.id,
        command.recipient_household,
        grid,
        grounds.evidence,
        grounds.group,
        grounds.also_logged_by,
        late_reason,
    )
    yield from _check_claim(logged, adopted.policy, first_day, last_day)
    return Decided(adopted.version, (logged,))


def log_many(command: LogManyHours, context: Context) -> Decision:
    """Raises: RowsRefused, with the refusals of `log` by row."""
    rows = enumerate(command.hours)
    return together([partial(log, row, replace(context, command_id=f"{context.command_id}-{n}")) for n, row in rows])


def _check_times(
    policy: Policy, started_at: datetime, ended_at: datetime, reason: LateReason | None, context: Context
) -> LateReason | None:
    """Why it is logged late; None for what is logged in time."""
    if ended_at > context.now:
        raise InTheFuture(ended_at.isoformat())
    days = (context.now.astimezone(context.zone).date() - started_at.date()).days
    if days > policy.log_days_back_max:
        raise TooLongAgo(started_at.date().isoformat(), policy.log_days_back_max)
    if days <= policy.late_after_days:
        return None
    if reason is None and policy.late_needs_reason:
        raise LateWithoutReason(started_at.date().isoformat(), policy.late_after_days)
    return reason


def _check_claim(
    logged: HoursLogged, policy: Policy, first_day: VolunteerDay, last_day: VolunteerDay
) -> Generator[Question, Any, None]:
    """The rules for every claim that may count, logged or imported: own household, length, overlap, minutes a day."""
    if logged.recipient_household == logged.household:
        raise OwnHouseholdServed(logged.household)
    minutes = logged.claimed_minutes
    if minutes < policy.record_minutes_min:
        raise RecordTooShort(minutes, policy.record_minutes_min)
    if minutes > policy.record_minutes_max:
        raise RecordTooLong(minutes, policy.record_minutes_max)
    first, last = days_of(logged.started_at, logged.ended_at)
    if last > first + timedelta(days=1):
        raise RecordTooLong((logged.ended_at - logged.started_at) // MINUTE, DAY_MINUTES)
    spans = (*first_day.spans, *last_day.spans) if first != last else first_day.spans
    if not spans and first == last and minutes <= policy.day_minutes_max:
        return  # nearly every claim: the only one of its day
    claimed = span_of(logged)
    clashing = [span for span in spans if span.overlaps(claimed)]
    for record in (yield from read_all(ServiceRecord.of(span.record) for span in clashing)):
        if record.counts:
            raise RecordOverlaps(logged.record, record.record)
    for day, others in {first: first_day.spans, last: last_day.spans}.items():
        if minutes + sum(span.claimed_minutes for span in others) <= policy.day_minutes_max:
            continue  # even if all of it were on this day
        own = claimed.minutes_on(day)
        if own + sum(span.minutes_on(day) for span in others) <= policy.day_minutes_max:
            continue
        records = yield from read_all(ServiceRecord.of(span.record) for span in others)
        counting = sum(span.minutes_on(day) for span, r in zip(others, records, strict=True) if r.counts)
        if own + counting > policy.day_minutes_max:
            raise DayTooLong(day.isoformat(), own + counting, policy.day_minutes_max)


def confirm(command: ConfirmHours, context: Context) -> Decision:
    """By staff, or by a member of the household that was served.

    Where the household that earned was merged since, its successor is credited; where it was closed without one, the
    record can only be rejected.

    Raises: UnknownRecord (also to a member of neither household), RecordAlreadySettled, ConfirmedByLogger,
    ConfirmedByOwnHousehold, ClosedHousehold, BalanceTooLow (the payer's), RecordAboveCap (where the policy refuses at
    the cap), EvidenceTooWeak.
    """
    record, book, confirmer = yield from read(
        ServiceRecord.of(command.record), policy_book, Person.of(context.actor.id)
    )
    logged = record.require()
    require_reach(context, logged.community, UnknownRecord(command.record))
    confirmed_as = yield from _confirming_as(context, logged, confirmer)
    if record.status != "logged":
        raise RecordAlreadySettled(command.record, record.status)
    adopted = book.in_force(logged.started_at.date())
    if adopted.policy.evidence_min != "self":
        evidence = stronger(logged.evidence, "recipient") if confirmed_as == "recipient" else logged.evidence
        yield from require_evidence(logged.record, evidence, adopted.policy.evidence_min)
    released = yield from _released(record)
    confirmed, capped = yield from _confirmed(logged, adopted, confirmer, released=released)
    if confirmed_as != "staff" or command.rating is not None:
        confirmed = replace(confirmed, confirmed_as=confirmed_as, rating=command.rating or 0)
    return Decided(adopted.version, (*released, confirmed) if capped is None else (*released, confirmed, capped))


def _released(record: ServiceRecord) -> Generator[Question, Any, tuple[MinutesReleased, ...]]:
    """What was held for the request that a logged record fulfils. It is released when the record is settled, so that
    it can pay for it."""
    fulfilled = record.fulfilled
    if fulfilled is None or not fulfilled.held_minutes:
        return ()
    hold = "request:" + fulfilled.request
    return (yield from release_hold(fulfilled.account, fulfilled.held_minutes, hold))


def _confirming_as(
    context: Context, logged: HoursLogged, confirmer: Person
) -> Generator[Question, Any, Literal["staff", "recipient", "silence"]]:
    """Raises: UnknownRecord for a member of neither household; one of the household that earns is told more."""
    if context.actor.role != "volunteer":
        return "silence" if context.actor.id == BY_TIME else "staff"
    if confirmer.household in (logged.household, logged.recipient_household or ""):
        return "recipient"
    # Asked of nobody else, so that nearly every confirmation needs to know nothing more.
    if confirmer.household is None or confirmer.household not in (yield from sides_now(logged)):
        raise UnknownRecord(logged.record)
    return "recipient"


def sides_now(logged: HoursLogged) -> Generator[Question, Any, tuple[str, str | None]]:
    """The households that stand now for the one that earned and the one that was served (None: there was none)."""
    served = logged.recipient_household
    earner, recipient = yield from read(Household.of(logged.household), Household.of(served or logged.household))
    earner = yield from successor(earner)
    if served is None:
        return earner.household, None
    return earner.household, (yield from successor(recipient)).household


def side_of(person: Person, logged: HoursLogged) -> Generator[Question, Any, Literal["earner", "recipient"] | None]:
    """Of which side of a record somebody is. Where a household was merged since, its successor stands in its place."""
    earner, recipient = yield from sides_now(logged)
    if person.person == logged.volunteer or person.household in (logged.household, earner):
        return "earner"
    if person.household is not None and person.household in (logged.recipient_household, recipient):
        return "recipient"
    return None


def settle_silence(command: SettleSilence, context: Context) -> Decision:
    """What nobody answered for as many days as the policy of its day says is confirmed, and marked so. All that
    `confirm` asks for holds; where it refuses, the record stays open.

    Raises: LeftToTime, UnknownRecord, SilenceNotOver, and as `confirm`.
    """
    require_time(context)
    record, book = yield from read(ServiceRecord.of(command.record), policy_book)
    days = book.in_force(record.require().started_at.date()).policy.silence_days
    if days is None or context.now < command.logged_at + timedelta(days=days):
        raise SilenceNotOver(command.record)
    return (yield from confirm(ConfirmHours(record=command.record), context))


def _confirmed(
    logged: HoursLogged,
    adopted: PolicyAdopted,
    confirmer: Person,
    earning: tuple[Account, Household] | None = None,
    released: tuple[MinutesReleased, ...] = (),
) -> Generator[Question, Any, tuple[HoursConfirmed, MinutesCapped | None]]:
    """The movements that follow when ``confirmer`` vouches for a record: the credit, and what goes on to the pool.

    ``earning`` are the volunteer's household and its account where they were read already, or the household is
    registered by the same command; ``released`` comes before.
    """
    if confirmer.person in (logged.logged_by, logged.volunteer, logged.also_logged_by):
        raise ConfirmedByLogger(logged.record, confirmer.person)
    if confirmer.household == logged.household:
        raise ConfirmedByOwnHousehold(logged.record, logged.household)
    policy = adopted.policy
    minutes = logged.service_minutes
    target, account, household = yield from _earner(logged, policy, confirmer, earning)
    balance_max = policy.balance_minutes_max
    source = ISSUANCE if policy.payer == "issuance" else (yield from _payer(policy, logged, target))
    if source != ISSUANCE:
        payer = yield from read(Account.of(source))
        for release in released:
            payer = account_fold.evolve(payer, release)
        floor = policy.balance_minutes_min if source.startswith("household:") else 0
        require_cover(payer, minutes, floor)
    if account is None or household is None or balance_max is None:
        return HoursConfirmed(source, target, minutes, logged.record, confirmer.person), None
    excess = min(minutes, max(0, account.balance_minutes + minutes - balance_max))
    if not excess:
        return HoursConfirmed(source, target, minutes, logged.record, confirmer.person), None
    match policy.above_balance_max:
        case "refuse":
            raise RecordAboveCap(logged.record, account.balance_minutes, minutes, balance_max)
        case "honour":
            return HoursConfirmed(source, target, minutes - excess, logged.record, confirmer.person, excess), None
        case "pool":
            pool = pool_account(household.require())
            return (
                HoursConfirmed(source, target, minutes, logged.record, confirmer.person),
                MinutesCapped(target, pool, excess, logged.record),
            )


def _earner(
    logged: HoursLogged, policy: Policy, confirmer: Person, earning: tuple[Account, Household] | None
) -> Generator[Question, Any, tuple[str, Account | None, Household | None]]:
    """Which account is credited: the volunteer's household, its successor if it was merged since, or the group whose
    hours are its own to donate. With the account itself where a cap makes its balance matter (on households alone).

    Raises: ClosedHousehold (where the household would earn), ConfirmedByOwnHousehold (of the successor's member).
    """
    to_group = group_account(logged.group) if logged.group is not None and policy.group_hours == "donate-only" else None
    target = household_account(logged.household)
    account: Account | None
    if earning is not None:
        account, household = earning
    elif to_group is not None or policy.balance_minutes_max is None:
        # Only what is needed: credits to one account never conflict where no cap makes them look at its balance.
        account, household = None, (yield from read(Household.of(logged.household)))
    else:
        account, household = yield from read(Account.of(target), Household.of(logged.household))
    if household.heir is not None:
        household = yield from successor(household)
        if confirmer.household == household.household:
            raise ConfirmedByOwnHousehold(logged.record, household.household)
        if household.heir is not None and to_group is None:
            raise ClosedHousehold(logged.household)
        target = household_account(household.household)
        if account is not None:
            account = yield from read(Account.of(target))
    if to_group is not None:
        # Whose minutes they are changes nothing in who may vouch for them.
        return to_group, None, None
    return target, account, household


def _payer(policy: Policy, logged: HoursLogged, target: str) -> Generator[Question, Any, str]:
    """Which account pays: the recipient's household, the community's pool, or issuance.

    A household that was merged since is paid for by its successor; one that is closed, or that became one with the
    household that earned, counts as no recipient.
    """
    payer = policy.payer
    if payer == "recipient":
        if logged.recipient_household is not None:
            recipient = yield from successor((yield from read(Household.of(logged.recipient_household))))
            account = household_account(recipient.household)
            if recipient.heir is None and account != target:
                return account
        payer = policy.payer_without_recipient
    if payer == "issuance":
        return ISSUANCE
    (pool,) = yield from standing_accounts((pool_account(logged.community),))
    return pool


def reject(command: RejectHours, context: Context) -> Decision:
    """Raises: UnknownRecord, RecordAlreadySettled."""
    record = yield from read(ServiceRecord.of(command.record))
    require_reach(context, record.require().community, UnknownRecord(command.record))
    if record.status != "logged":
        raise RecordAlreadySettled(command.record, record.status)
    released = yield from _released(record)
    return Decided(0, (*released, HoursRejected(command.record, context.actor.id, command.reason)))


def reverse(command: ReverseHours, context: Context) -> Decision:
    """An exact reversal is never refused for what was spent since: it may leave a balance below the floor.

    What is in dispute is left to the dispute's decision. Where a household was closed since, its heir gives back, and
    is given back, what it would have.

    Raises: UnknownRecord, RecordNotConfirmed, RecordAlreadyReversed, RecordInDispute.
    """
    record = yield from read(ServiceRecord.of(command.record))
    require_reach(context, record.require().community, UnknownRecord(command.record))
    if record.status == "reversed":
        raise RecordAlreadyReversed(command.record)
    if record.confirmed is None:
        raise RecordNotConfirmed(command.record, record.status)
    if record.dispute is not None:
        raise RecordInDispute(command.record, record.dispute)
    undone = _reversed(record.confirmed, record.capped, context.actor.id, command.reason)
    return Decided(0, (yield from with_heirs(undone)))


def with_heirs(movements: tuple[Movement, ...]) -> Generator[Question, Any, tuple[Fact, ...]]:
    """The movements between the accounts that stand now in the place of those they name."""
    names = sorted({name for movement in movements for name in (movement.source, movement.target)})
    standing = dict(zip(names, (yield from standing_accounts(names)), strict=True))
    if all(name == account for name, account in standing.items()):
        return movements
    return tuple(replace(m, source=standing[m.source], target=standing[m.target]) for m in movements)


def _reversed(
    confirmed: HoursConfirmed, capped: MinutesCapped | None, actor: str, reason: ImportReason
) -> tuple[Movement, ...]:
    """What was moved on to the pool comes back first, then the credit goes back to its payer."""
    record = confirmed.record
    undone = HoursReversed(confirmed.target, confirmed.source, confirmed.minutes, record, actor, reason)
    if capped is None:
        return (undone,)
    return (CappedMinutesReturned(capped.target, capped.source, capped.minutes, record), undone)


def import_hours(command: ImportHours, context: Context) -> Decision:
    """One row of history: registers what is new in it, then logs and settles it under the rules of its day.

    All rules hold but one: how far back a record may be logged. Nobody knows who kept the old books, so the
    volunteer counts as having logged the hours; a row that the volunteer confirmed is refused.

    A household that was closed since may have been served, and can't earn any more; nobody who left or died does.

    Raises: as `log` and `confirm`, and MemberElsewhere.
    """
    started_at, ended_at = command.started_at, command.ended_at
    first, last = days_of(started_at, ended_at)
    # A row says all that it touches, so everything is asked for at once and a thousand rows are loaded in one query.
    # What is asked for again below is answered from memory.
    asked: Question = (
        ServiceRecord.of(command.record),
        Person.of(command.volunteer),
        policy_book,
        VolunteerDay.of(command.volunteer, first),
        Community.of(command.community),
        Community.of(command.household_community),
        Household.of(command.household),
        Household.of(command.recipient_household or command.household),
        Person.of(command.confirmed_by or command.volunteer),
        Account.of(household_account(command.household)),
    )
    if first != last:
        asked += (VolunteerDay.of(command.volunteer, last),)
    record, person, book, first_day, community, home, household, recipient, confirmer, account, *more = yield asked
    last_day = more[0] if more else first_day
    if record.logged is not None:
        return (yield from _import_again(command, record, record.logged, started_at, ended_at, book, confirmer))
    if person.died:
        raise MemberHasDied(command.volunteer)
    if person.left or person.household not in (None, command.household):
        raise MemberElsewhere(command.volunteer, command.household)
    if ended_at > context.now:
        raise InTheFuture(ended_at.isoformat())
    adopted = book.in_force(first)
    if household.heir is not None:
        raise ClosedHousehold(command.household)
    facts: list[Fact] = []
    if community.name is None or command.grid not in community.grids:
        facts += _new_places(community, command.grid)
    if home.name is None and home.community != community.community:
        facts += _new_places(home, ())
    if household.community is None:
        facts.append(HouseholdRegistered(command.household, command.household_community))
    if recipient.community is None and recipient.household != command.household:
        facts.append(HouseholdRegistered(recipient.household, command.community, command.grid))
    if person.household is None:
        facts.append(MemberRegistered(command.volunteer, command.household))
    if not person.volunteer:
        facts.append(VolunteerEnrolled(command.volunteer))
    logged = HoursLogged(
        command.record,
        command.volunteer,
        command.household,
        command.community,
        command.service,
        started_at,
        ended_at,
        command.minutes,
        adopted.policy.service_minutes(command.minutes),
        command.volunteer,
        command.recipient_household,
        command.grid,
    )
    if command.status == "reversed" and logged.recipient_household == logged.household:
        raise OwnHouseholdServed(logged.household)
    if command.status in ("logged", "confirmed"):
        # What the old books rejected or reversed took up nobody's time: a duplicate is the commonest of all.
        yield from _check_claim(logged, adopted.policy, first_day, last_day)
    facts.append(logged)
    if household.community is None:
        household = replace(household, community=command.household_community)
    facts += yield from _imported_settlement(command, logged, adopted, confirmer, (account, household))
    return Decided(adopted.version, tuple(facts))


def _imported_settlement(
    command: ImportHours,
    logged: HoursLogged,
    adopted: PolicyAdopted,
    confirmer: Person,
    earning: tuple[Account, Household] | None = None,
    released: tuple[MinutesReleased, ...] = (),
) -> Generator[Question, Any, list[Fact]]:
    """How the old books settled a record; nothing for one that they had not settled yet."""
    if command.confirmed_by is None or command.status == "logged":
        return []
    if command.status == "rejected":
        return [*released, HoursRejected(command.record, command.confirmed_by, "imported")]
    confirmed, capped = yield from _confirmed(logged, adopted, confirmer, earning, released)
    facts: list[Fact] = [*released, confirmed] if capped is None else [*released, confirmed, capped]
    if command.status == "reversed":
        facts += _reversed(confirmed, capped, command.confirmed_by, "imported")
    return facts


def _import_again(
    command: ImportHours,
    record: ServiceRecord,
    logged: HoursLogged,
    started_at: datetime,
    ended_at: datetime,
    book: PolicyBook,
    confirmer: Person,
) -> Decision:
    """A record that is there already: offices export every month, and what was open then may be settled now.

    Raises: RecordAlreadyLogged when the row is not the same service; RecordAlreadySettled when it was settled
    otherwise; RecordInDispute when it would be reversed meanwhile; as `confirm`.
    """
    same = (
        logged.volunteer == command.volunteer
        and logged.household == command.household
        and logged.recipient_household == command.recipient_household
        and logged.community == command.community
        and logged.grid == command.grid
        and logged.service == command.service
        and logged.started_at == started_at
        and logged.ended_at == ended_at
        and logged.claimed_minutes == command.minutes
    )
    if not same:
        raise RecordAlreadyLogged(command.record)
    adopted = book.in_force(started_at.date())
    if command.status in (record.status, "logged"):
        return Decided(0, ())
    if record.status == "logged":
        released = yield from _released(record)
        settlement = yield from _imported_settlement(command, logged, adopted, confirmer, released=released)
        return Decided(adopted.version, tuple(settlement))
    if record.status == "confirmed" and record.confirmed is not None and command.status == "reversed":
        if record.dispute is not None:
            raise RecordInDispute(command.record, record.dispute)
        actor = command.confirmed_by or command.volunteer
        return Decided(0, (yield from with_heirs(_reversed(record.confirmed, record.capped, actor, "imported"))))
    raise RecordAlreadySettled(command.record, record.status)


def _new_places(community: Community, grid: GridPath) -> list[Fact]:
    facts: list[Fact] = []
    if community.name is None:
        facts.append(CommunityRegistered(community.community, community.community))
    for depth in range(1, len(grid) + 1):
        if grid[:depth] not in community.grids:
            facts.append(GridRegistered(community.community, grid[:depth]))
    return facts


@dataclass(unsafe_hash=True)
class UnknownRecord(Unknown):
    record: str
    zh = "没有编号为“{record}”的服务记录。"
    en = "There is no service record “{record}”."


@dataclass(unsafe_hash=True)
class RecordAlreadyLogged(AlreadyDone):
    record: str
    zh = "服务记录“{record}”已经存在，内容不同的记录请用新编号。"
    en = "The service record “{record}” exists already; another service needs a number of its own."


@dataclass(unsafe_hash=True)
class RecordAlreadySettled(AlreadyDone):
    record: str
    status: str
    zh = "服务记录“{record}”已经处理（{status}），不能再次确认或驳回。"
    en = "The service record “{record}” is {status} already and can't be settled again."

    @property
    def message_zh(self) -> str:
        return self.zh.format(record=self.record, status=STATUS_ZH[self.status])


@dataclass(unsafe_hash=True)
class RecordNotConfirmed(AlreadyDone):
    record: str
    status: str
    zh = "服务记录“{record}”的状态是“{status}”，只有已确认的记录才能冲正。"
    en = "The service record “{record}” is {status}; only a confirmed one can be reversed."

    @property
    def message_zh(self) -> str:
        return self.zh.format(record=self.record, status=STATUS_ZH[self.status])


@dataclass(unsafe_hash=True)
class RecordAlreadyReversed(AlreadyDone):
    record: str
    zh = "服务记录“{record}”已经冲正过一次。"
    en = "The service record “{record}” was reversed already."


@dataclass(unsafe_hash=True)
class RecordInDispute(AlreadyDone):
    record: str
    dispute: str
    zh = "服务记录“{record}”正在争议“{dispute}”中，由争议的处理决定。"
    en = "The service record “{record}” is in dispute “{dispute}”, whose decision settles it."


@dataclass(unsafe_hash=True)
class SilenceNotOver(AgainstRule):
    record: str
    zh = "服务记录“{record}”还不能因无人答复而确认。"
    en = "The service record “{record}” is not confirmed by silence, or not yet."


@dataclass(unsafe_hash=True)
class NotYourself(NotAllowed):
    volunteer: str
    zh = "志愿者只能登记自己的服务，不能替“{volunteer}”登记。"
    en = "A volunteer logs their own hours only, not those of “{volunteer}”."


@dataclass(unsafe_hash=True)
class ConfirmedByLogger(NotAllowed):
    record: str
    person: str
    zh = "“{person}”登记或提供了服务记录“{record}”，不能由本人确认。"
    en = "“{person}” logged or gave the service of record “{record}”; somebody else must confirm it."


@dataclass(unsafe_hash=True)
class ConfirmedByOwnHousehold(NotAllowed):
    record: str
    household: str
    zh = "服务记录“{record}”的时间记在确认人自己的户“{household}”，须由户外的人确认。"
    en = "Record “{record}” earns for the confirmer's own household “{household}”; somebody else must confirm it."


@dataclass(unsafe_hash=True)
class OwnHouseholdServed(AgainstRule):
    household: str
    zh = "为自己的户“{household}”服务不计时间。"
    en = "Serving one's own household “{household}” earns no time."


@dataclass(unsafe_hash=True)
class MemberElsewhere(AgainstRule):
    member: str
    household: str
    zh = "“{member}”登记在另一户，不在户“{household}”。"
    en = "“{member}” is registered in another household than “{household}”."


@dataclass(unsafe_hash=True)
class InTheFuture(AgainstRule):
    ended_at: str
    zh = "服务到 {ended_at} 才结束，结束之后才能登记。"
    en = "The service ends at {ended_at}; it can be logged once it has ended."


@dataclass(unsafe_hash=True)
class TooLongAgo(AgainstRule):
    day: str
    log_days_back_max: int
    zh = "{day} 的服务已超过 {log_days_back_max} 天的补登期限。"
    en = "A service of {day} is past the {log_days_back_max} days within which hours may be logged."


@dataclass(unsafe_hash=True)
class LateWithoutReason(AgainstRule):
    day: str
    late_after_days: int
    zh = "{day} 的服务在 {late_after_days} 天之后才登记，须说明补登原因。"
    en = "A service of {day} is logged more than {late_after_days} days later, which needs a reason."


@dataclass(unsafe_hash=True)
class RecordTooShort(AgainstRule):
    minutes: int
    record_minutes_min: int
    zh = "服务 {minutes} 分钟，少于每次最短 {record_minutes_min} 分钟。"
    en = "{minutes} minutes of service are fewer than the shortest record of {record_minutes_min}."


@dataclass(unsafe_hash=True)
class RecordTooLong(AgainstRule):
    minutes: int
    record_minutes_max: int
    zh = "服务 {minutes} 分钟，超过每次最长 {record_minutes_max} 分钟。"
    en = "{minutes} minutes of service are more than the longest record of {record_minutes_max}."


@dataclass(unsafe_hash=True)
class DayTooLong(AgainstRule):
    day: str
    minutes: int
    day_minutes_max: int
    zh = "{day} 的服务共 {minutes} 分钟，超过每人每天 {day_minutes_max} 分钟。"
    en = "Service on {day} would come to {minutes} minutes, more than {day_minutes_max} a volunteer a day."


@dataclass(unsafe_hash=True)
class RecordOverlaps(AgainstRule):
    record: str
    other: str
    zh = "与同一志愿者的服务记录“{other}”时间重叠。"
    en = "It overlaps in time with the same volunteer's record “{other}”."


@dataclass(unsafe_hash=True)
class RecordAboveCap(AgainstRule):
    record: str
    balance_minutes: int
    minutes: int
    balance_minutes_max: int
    zh = "该户余额 {balance_minutes} 分钟，记录“{record}”再记 {minutes} 分钟会超过上限 {balance_minutes_max} 分钟。"
    en = (
        "The household holds {balance_minutes} minutes; the {minutes} of record “{record}” would exceed "
        "the cap of {balance_minutes_max}."
    )
