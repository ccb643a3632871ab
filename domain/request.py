"""Service requests: a household asks, volunteers offer, one is accepted, and the hours given are logged against it.

    ask ──▶ open ──accept──▶ accepted ──fulfil──▶ fulfilled
             ▲ └──offer──┘    │   │
             ├───withdraw─────┘   │            open or accepted ──▶ cancelled, or expired with time alone
             └───reschedule───────┘

**Rescheduling releases.** Nobody is bound to a time that they didn't agree to, and no request waits on somebody's
silence: with a new window all offers lapse, the accepted one too, and whoever can come then offers again.

**Expiry.** A request that is open ends with its window, or after the policy's ``request_open_days_max`` since it was
asked, rescheduled or opened again. One that is accepted ends when hours of its window can't be logged any more.

**It follows its household.** A household that is merged, or taken over by another one when it is closed, leaves what it
has asked for to that one, with its offers and what is held. What was asked for at home follows when home is elsewhere.
An offer ends by itself when who made it can't come any more: they have died or left, or are of the household by now.

**Holds.** Where the policy says ``request_hold``, the estimated minutes are set aside on the account of the household
that asks. Only where the recipient pays: a household that service costs nothing has nothing to set aside. They are
released when the request is cancelled or expires. When it is done they stay held until its record is confirmed, which
they then pay for, or rejected; so whoever was promised minutes isn't left without because they were spent meanwhile.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from domain.account import Account, MinutesHeld, MinutesReleased, household_account, require_cover
from domain.community import Community, GridPath, Place, require_reach, require_scope
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read, read_all, require_time
from domain.fact import Fact
from domain.hours import (
    MINUTE,
    ClaimedMinutes,
    HoursLogged,
    LateReason,
    LogHours,
    OwnHouseholdServed,
    RecordTooLong,
    RecordTooShort,
    RequestFulfilled,
    ServiceRecord,
    check_span,
    local,
    log,
    sides_now,
)
from domain.household import Household, MemberHasDied, NotEnrolled, Person, UnknownHousehold, UnknownMember
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId, ServiceName, new_number
from domain.policy import Policy, PolicyBook, policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

RequestNeed = Literal[
    "woman-volunteer",
    "man-volunteer",
    "dialect",
    "sign-language",
    "wheelchair",
    "lift",
    "heavy-lifting",
    "first-aid",
]
"""What whoever comes must be or bring. A closed list: free text could hold personal data."""
NEEDS_ZH: Final[dict[str, str]] = {
    "woman-volunteer": "女志愿者",
    "man-volunteer": "男志愿者",
    "dialect": "会方言",
    "sign-language": "会手语",
    "wheelchair": "协助轮椅",
    "lift": "搀扶起坐",
    "heavy-lifting": "搬重物",
    "first-aid": "懂急救",
}
STATUS_ZH: Final = {
    "open": "待响应",
    "accepted": "已约定",
    "fulfilled": "已完成",
    "cancelled": "已取消",
    "expired": "已过期",
}


class RequestAsked(Fact, frozen=True, omit_defaults=True, gc=False):
    """A household asked for a service at a place, within a window from the earliest start to the latest end.

    ``held_minutes`` are held on its account (0: none). Unless somebody is accepted, the request ends at ``expires_at``.
    """

    type = "request-asked.v1"
    request: str
    household: str
    community: str
    grid: GridPath
    service: str
    earliest_at: datetime
    latest_at: datetime
    estimated_minutes: int
    needs: tuple[str, ...]
    asked_by: str
    expires_at: datetime
    held_minutes: int

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request, "asked:" + self.household)


class RequestFollowed(Fact, frozen=True, omit_defaults=True, gc=False):
    """The household that asks is another one since the first was merged or taken over, or its home is elsewhere: the
    request is ``household``'s from now on, at this place. Offers stand, and so does the one accepted."""

    type = "request-followed.v1"
    request: str
    household: str
    community: str
    grid: GridPath

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request, "asked:" + self.household)


class OfferMade(Fact, frozen=True, omit_defaults=True, gc=False):
    """A volunteer offered to do what was asked."""

    type = "offer-made.v1"
    request: str
    volunteer: str
    offered_by: str

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request,)


class OfferAccepted(Fact, frozen=True, omit_defaults=True, gc=False):
    """The household, or staff for it, accepted one volunteer's offer. The hours can be logged until ``expires_at``."""

    type = "offer-accepted.v1"
    request: str
    volunteer: str
    accepted_by: str
    expires_at: datetime

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request,)


class OfferWithdrawn(Fact, frozen=True, omit_defaults=True, gc=False):
    """A volunteer can't come after all. If they had been accepted, the request is open again, until ``expires_at``."""

    type = "offer-withdrawn.v1"
    request: str
    volunteer: str
    withdrawn_by: str
    expires_at: datetime | None

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request,)


class RequestRescheduled(Fact, frozen=True, omit_defaults=True, gc=False):
    """What was asked for is wanted at another time. All offers lapsed, the accepted one too."""

    type = "request-rescheduled.v1"
    request: str
    earliest_at: datetime
    latest_at: datetime
    rescheduled_by: str
    expires_at: datetime

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request,)


class RequestCancelled(Fact, frozen=True, omit_defaults=True, gc=False):
    """The household, or staff for it, took the request back."""

    type = "request-cancelled.v1"
    request: str
    cancelled_by: str

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request,)


class RequestExpired(Fact, frozen=True, omit_defaults=True, gc=False):
    """Its time went by without it being done; ``volunteer`` had been accepted (None: nobody)."""

    type = "request-expired.v1"
    request: str
    volunteer: str | None

    def tags(self) -> tuple[str, ...]:
        return ("request:" + self.request,)


Status = Literal["absent", "open", "accepted", "fulfilled", "cancelled", "expired"]
RequestFact = (
    RequestAsked
    | OfferMade
    | OfferAccepted
    | OfferWithdrawn
    | RequestRescheduled
    | RequestFulfilled
    | RequestCancelled
    | RequestExpired
    | RequestFollowed
)


class ServiceRequest(msgspec.Struct, frozen=True, gc=False):
    """Where one request stands. ``terms`` are what is asked for by now; ``volunteer`` is the one accepted."""

    request: str
    status: Status = "absent"
    terms: RequestAsked | None = None
    offers: tuple[str, ...] = ()
    volunteer: str | None = None

    @staticmethod
    def of(request: str) -> "Reading[ServiceRequest]":
        return _request.of(request)

    def require(self) -> RequestAsked:
        """Raises: UnknownRequest."""
        if self.terms is None:
            raise UnknownRequest(self.request)
        return self.terms

    def require_status(self, now: datetime, *statuses: Status) -> None:
        """Raises: RequestInOtherStatus, also for an open one whose time is over though nothing has ended it yet."""
        status: Status = self.status
        if status == "open" and self.terms is not None and now >= self.terms.expires_at:
            status = "expired"
        if status not in statuses:
            raise RequestInOtherStatus(self.request, status)


def _evolve(state: ServiceRequest, fact: RequestFact) -> ServiceRequest:
    terms = state.terms
    match fact:
        case RequestAsked():
            return ServiceRequest(state.request, "open", fact)
        case OfferMade():
            return replace(state, offers=(*state.offers, fact.volunteer))
        case OfferAccepted():
            terms = terms and replace(terms, expires_at=fact.expires_at)
            return replace(state, status="accepted", terms=terms, volunteer=fact.volunteer)
        case OfferWithdrawn():
            offers = tuple(volunteer for volunteer in state.offers if volunteer != fact.volunteer)
            if fact.expires_at is None:
                return replace(state, offers=offers)
            terms = terms and replace(terms, expires_at=fact.expires_at)
            return ServiceRequest(state.request, "open", terms, offers)
        case RequestRescheduled():
            terms = terms and replace(
                terms, earliest_at=fact.earliest_at, latest_at=fact.latest_at, expires_at=fact.expires_at
            )
            return ServiceRequest(state.request, "open", terms)
        case RequestFulfilled():
            return replace(state, status="fulfilled")
        case RequestCancelled():
            return replace(state, status="cancelled")
        case RequestExpired():
            return replace(state, status="expired")
        case RequestFollowed():
            terms = terms and replace(terms, household=fact.household, community=fact.community, grid=fact.grid)
            return replace(state, terms=terms)


_request = Fold[ServiceRequest]("request", ServiceRequest, _evolve, get_args(RequestFact))


class AskedRequests(msgspec.Struct, frozen=True):
    """All that a household ever asked for, and what it took over from another one; what became of each is its own."""

    requests: tuple[str, ...] = ()

    @staticmethod
    def of(household: str) -> "Reading[AskedRequests]":
        return _asked.of(household)


def _evolve_asked(state: AskedRequests, fact: RequestAsked | RequestFollowed) -> AskedRequests:
    if fact.request in state.requests:
        return state
    return AskedRequests((*state.requests, fact.request))


_asked = Fold[AskedRequests]("asked", lambda _: AskedRequests(), _evolve_asked, (RequestAsked, RequestFollowed))


def open_requests(household: str) -> Generator[Question, Any, tuple[RequestAsked, ...]]:
    """What a household asks for by now and is not done, cancelled or expired."""
    asked = yield from read(AskedRequests.of(household))
    states = yield from read_all(ServiceRequest.of(number) for number in asked.requests)
    return tuple(
        state.terms
        for state in states
        if state.status in ("open", "accepted") and state.terms is not None and state.terms.household == household
    )


def follow_requests(household: Household, into: str, place: Place) -> Generator[Question, Any, tuple[Fact, ...]]:
    """What a household asks for follows it: to the one that stands in its place, or with it to another place. What was
    asked for elsewhere than at its home is wanted there as before."""
    facts: list[Fact] = []
    for terms in (yield from open_requests(household.household)):
        at_home = (terms.community, terms.grid) == (household.community, household.grid)
        where = place if at_home else (terms.community, terms.grid)
        if (into, *where) != (terms.household, terms.community, terms.grid):
            facts.append(RequestFollowed(terms.request, into, *where))
    return tuple(facts)


class Window(BaseModel):
    """From when on the service may begin, and by when it must have ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    earliest_at: AwareDatetime
    latest_at: AwareDatetime

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for at in (self.earliest_at, self.latest_at):
            if at.second or at.microsecond:
                raise ValueError("时间须精确到整分钟 / times must be whole minutes")
            if not 1900 <= at.year < 2200:
                raise ValueError("时间须在 1900 至 2199 年之间 / times must be of the years 1900 to 2199")
        if self.latest_at <= self.earliest_at:
            raise ValueError("最晚结束须晚于最早开始 / latest_at must be after earliest_at")
        return self


def _each_once(needs: tuple[RequestNeed, ...]) -> tuple[RequestNeed, ...]:
    """In one order, so that the same needs are always the same fact."""
    return tuple(need for need in get_args(RequestNeed) if need in needs)


class AskForService(Window):
    """Ask for a service. Place and number may be left out: where the household lives and a new number are taken."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "household": "H00002",
                "service": "陪诊",
                "earliest_at": "2099-10-31T08:00:00+08:00",
                "latest_at": "2099-10-31T12:00:00+08:00",
                "estimated_minutes": 120,
                "needs": ["woman-volunteer", "wheelchair"],
            }
        },
    )

    request: RecordId | None = None
    household: HouseholdId
    community: PlaceName | None = None
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()
    service: ServiceName
    estimated_minutes: Annotated[int, Field(strict=True, ge=1, le=1440)]
    needs: Annotated[tuple[RequestNeed, ...], Field(max_length=20), AfterValidator(_each_once)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.estimated_minutes > (self.latest_at - self.earliest_at) // MINUTE:
            raise ValueError("预计时长超过起止时间 / estimated_minutes must fit between earliest_at and latest_at")
        if self.grid and self.community is None:
            raise ValueError("填写网格时须填写社区 / a grid needs its community")
        return self


class MakeOffer(BaseModel):
    """Offer to do what a request asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId
    volunteer: PersonId


class AcceptOffer(BaseModel):
    """Accept one volunteer's offer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId
    volunteer: PersonId


class WithdrawOffer(BaseModel):
    """Take an offer back, before or after it was accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId
    volunteer: PersonId


class RescheduleRequest(Window):
    """Want it at another time; whoever offered or was accepted is released."""

    request: RecordId


class ServiceTimes(BaseModel):
    """When the service was given. The record's number may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId | None = None
    started_at: AwareDatetime
    ended_at: AwareDatetime
    minutes: ClaimedMinutes | None = None
    late_reason: Annotated[LateReason | None, Field(description="Why it is logged late; kept only where it is.")] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_span(self.started_at, self.ended_at, self.minutes)
        return self


class FulfilRequest(ServiceTimes):
    """Log the hours that were given for a request; with that it is done."""

    request: RecordId


class FulfilWithRecord(BaseModel):
    """Name the record of the hours that were given for a request; with that it is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId
    record: RecordId


class CancelRequest(BaseModel):
    """Take a request back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId


class LapseOffer(BaseModel):
    """End the offer of a volunteer who can't come any more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId
    volunteer: PersonId


class ExpireRequest(BaseModel):
    """End a request whose time is over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: RecordId


def ask(command: AskForService, context: Context) -> Decision:
    """A member asks for their own household; staff for households of their community.

    Raises: RequestAlreadyAsked, UnknownHousehold (also another one than the member's, or outside the staff's
    community), ClosedHousehold, UnknownCommunity, UnknownGrid, DissolvedCommunity, OutsideCommunity, NoPolicyInForce,
    WindowOver, RecordTooShort, RecordTooLong, BalanceTooLow (where the estimated minutes are held).
    """
    actor, now = context.actor, local(context.now, context.zone)
    number = command.request or new_number(context.command_id)
    request, household, caller, book = yield from read(
        ServiceRequest.of(number), Household.of(command.household), Person.of(actor.id), policy_book
    )
    if request.status != "absent":
        raise RequestAlreadyAsked(number)
    if actor.role == "volunteer" and caller.household != command.household:
        raise UnknownHousehold(command.household)
    home = household.require_within(context)
    community_id = command.community or home
    grid = command.grid or (household.grid if community_id == home else ())
    require_scope(context, community_id)
    community = yield from read(Community.of(community_id))
    community.require(grid)
    adopted = book.in_force(now.date())
    policy, minutes = adopted.policy, command.estimated_minutes
    if minutes < policy.record_minutes_min:
        raise RecordTooShort(minutes, policy.record_minutes_min)
    if minutes > policy.record_minutes_max:
        raise RecordTooLong(minutes, policy.record_minutes_max)
    earliest_at, latest_at = _window(command, minutes, context)
    held: tuple[Fact, ...] = ()
    held_minutes = 0
    if policy.request_hold and policy.payer == "recipient":
        held_minutes = policy.service_minutes(minutes)
        account = yield from read(Account.of(household_account(command.household)))
        require_cover(account, held_minutes, policy.balance_minutes_min)
        held = (MinutesHeld(account.account, held_minutes, _hold(number)),) if held_minutes else ()
    asked = RequestAsked(
        number,
        command.household,
        community_id,
        grid,
        command.service,
        earliest_at,
        latest_at,
        minutes,
        command.needs,
        actor.id,
        _open_until(now, latest_at, policy),
        held_minutes,
    )
    return Decided(adopted.version, (asked, *held))


def require_nothing_asked(household: str, context: Context) -> Generator[Question, Any, None]:
    """A household can't be closed for good while somebody may be about to come. Raises: RequestsStillOpen."""
    waiting = yield from open_requests(household)
    numbers = [terms.request for terms in waiting if context.now < terms.expires_at]
    if numbers:
        raise RequestsStillOpen(household, ", ".join(numbers))


def _window(window: Window, minutes: int, context: Context) -> tuple[datetime, datetime]:
    """Raises: WindowOver where what is asked for can't be given any more before it ends."""
    if window.latest_at - minutes * MINUTE < context.now:
        raise WindowOver(local(window.latest_at, context.zone).isoformat(), minutes)
    return local(window.earliest_at, context.zone), local(window.latest_at, context.zone)


def _open_until(now: datetime, latest_at: datetime, policy: Policy) -> datetime:
    return min(latest_at, now.replace(second=0, microsecond=0) + timedelta(days=policy.request_open_days_max))


def _hold(request: str) -> str:
    return "request:" + request


def offer(command: MakeOffer, context: Context) -> Decision:
    """A volunteer offers themselves; staff offer for volunteers who can't, to requests of their community.

    Raises: OfferForSomebodyElse, UnknownRequest (also outside the staff's community), RequestInOtherStatus,
    UnknownMember, MemberHasDied, NotEnrolled, OwnHouseholdServed, ClosedHousehold (the one that asked),
    OfferAlreadyMade.
    """
    actor = context.actor
    if actor.role == "volunteer" and actor.id != command.volunteer:
        raise OfferForSomebodyElse(command.volunteer)
    request, person = yield from read(ServiceRequest.of(command.request), Person.of(command.volunteer))
    terms = request.require()
    require_reach(context, terms.community, UnknownRequest(command.request))
    request.require_status(context.now, "open")
    yield from _check_parties(person, terms)
    if command.volunteer in request.offers:
        raise OfferAlreadyMade(command.request, command.volunteer)
    return Decided(0, (OfferMade(command.request, command.volunteer, actor.id),))


def _check_parties(person: Person, terms: RequestAsked) -> Generator[Question, Any, None]:
    """Raises: UnknownMember, MemberHasDied, NotEnrolled, OwnHouseholdServed, ClosedHousehold."""
    if person.household is None:
        raise MemberHasDied(person.person) if person.died else UnknownMember(person.person)
    if not person.volunteer:
        raise NotEnrolled(person.person)
    if person.household == terms.household:
        raise OwnHouseholdServed(terms.household)
    household = yield from read(Household.of(terms.household))
    household.require()


def accept(command: AcceptOffer, context: Context) -> Decision:
    """By a member of the household that asked, or staff of the community; one offer at a time.

    Raises: UnknownRequest (also another household's, or outside the staff's community), RequestInOtherStatus,
    UnknownOffer, OwnOfferAccepted, UnknownMember, MemberHasDied, NotEnrolled, OwnHouseholdServed, ClosedHousehold,
    NoPolicyInForce.
    """
    request, person, caller, book = yield from read(
        ServiceRequest.of(command.request),
        Person.of(command.volunteer),
        Person.of(context.actor.id),
        policy_book,
    )
    terms = _asked_by(request, caller, context)
    request.require_status(context.now, "open")
    if command.volunteer not in request.offers:
        raise UnknownOffer(command.request, command.volunteer)
    yield from _check_parties(person, terms)
    if context.actor.id == command.volunteer or caller.household == person.household:
        raise OwnOfferAccepted(command.volunteer)
    adopted = book.in_force(terms.latest_at.date())
    # The first day on which hours of the window's last one are too old to be logged.
    day = terms.latest_at.date() + timedelta(days=adopted.policy.log_days_back_max + 1)
    expires_at = local(datetime.combine(day, time(), context.zone), context.zone)
    accepted = OfferAccepted(command.request, command.volunteer, context.actor.id, expires_at)
    return Decided(adopted.version, (accepted,))


def _asked_by(request: ServiceRequest, caller: Person, context: Context) -> RequestAsked:
    """What is asked for, told to members of the household that asks, and staff. To others it isn't there.

    Raises: UnknownRequest.
    """
    terms = request.require()
    if context.actor.role == "volunteer" and caller.household != terms.household:
        raise UnknownRequest(request.request)
    require_reach(context, terms.community, UnknownRequest(request.request))
    return terms


def withdraw(command: WithdrawOffer, context: Context) -> Decision:
    """By the volunteer who offered, or staff for them. After an acceptance the request is open again, and every other
    offer still stands.

    Raises: OfferForSomebodyElse, UnknownRequest (also outside the staff's community), RequestInOtherStatus,
    UnknownOffer, NoPolicyInForce.
    """
    actor = context.actor
    if actor.role == "volunteer" and actor.id != command.volunteer:
        raise OfferForSomebodyElse(command.volunteer)
    request, book = yield from read(ServiceRequest.of(command.request), policy_book)
    terms = request.require()
    require_reach(context, terms.community, UnknownRequest(command.request))
    request.require_status(context.now, "open", "accepted")
    return _withdrawn(request, terms, command.volunteer, book, context)


def _withdrawn(
    request: ServiceRequest, terms: RequestAsked, volunteer: str, book: PolicyBook, context: Context
) -> Decided:
    """Raises: UnknownOffer, NoPolicyInForce."""
    actor = context.actor.id
    if volunteer not in request.offers:
        raise UnknownOffer(request.request, volunteer)
    if request.volunteer != volunteer:
        return Decided(0, (OfferWithdrawn(request.request, volunteer, actor, None),))
    now = local(context.now, context.zone)
    adopted = book.in_force(now.date())
    expires_at = _open_until(now, terms.latest_at, adopted.policy)
    return Decided(adopted.version, (OfferWithdrawn(request.request, volunteer, actor, expires_at),))


def lapse_offer(command: LapseOffer, context: Context) -> Decision:
    """By the system alone, for who died, left, or is of the household that asks by now. Hours that they gave for it
    can't be logged any more, so nothing is lost; a request that they were accepted for is open again.

    Raises: LeftToTime, UnknownRequest, RequestInOtherStatus, UnknownOffer, OfferStands, NoPolicyInForce.
    """
    require_time(context)
    request, person, book = yield from read(
        ServiceRequest.of(command.request), Person.of(command.volunteer), policy_book
    )
    terms = request.require()
    if request.status not in ("open", "accepted"):
        raise RequestInOtherStatus(command.request, request.status)
    if person.volunteer and person.household not in (None, terms.household):
        raise OfferStands(command.request, command.volunteer)
    return _withdrawn(request, terms, command.volunteer, book, context)


def reschedule(command: RescheduleRequest, context: Context) -> Decision:
    """By a member of the household that asked, or staff: see the head of this module for what becomes of offers.

    Raises: UnknownRequest (also another household's, or outside the staff's community), RequestInOtherStatus,
    WindowOver, NoPolicyInForce.
    """
    request, caller, book = yield from read(
        ServiceRequest.of(command.request), Person.of(context.actor.id), policy_book
    )
    terms = _asked_by(request, caller, context)
    request.require_status(context.now, "open", "accepted")
    earliest_at, latest_at = _window(command, terms.estimated_minutes, context)
    now = local(context.now, context.zone)
    adopted = book.in_force(now.date())
    rescheduled = RequestRescheduled(
        command.request, earliest_at, latest_at, context.actor.id, _open_until(now, latest_at, adopted.policy)
    )
    return Decided(adopted.version, (rescheduled,))


def fulfil(command: FulfilRequest, context: Context) -> Decision:
    """The accepted volunteer logs what they gave, or staff for them: all rules of `log` hold, and the record waits to
    be confirmed like any other. What is held for the request stays held until then.

    Raises: UnknownRequest (also to others), RequestInOtherStatus, ServedOutsideWindow, and as `log`:
    RecordAlreadyLogged, UnknownMember, MemberHasDied, NotEnrolled, NotYourself, OwnHouseholdServed, InTheFuture,
    TooLongAgo, LateWithoutReason, RecordTooShort, RecordTooLong, DayTooLong, RecordOverlaps, ClosedHousehold,
    OutsideCommunity, NoPolicyInForce.
    """
    request, caller = yield from read(ServiceRequest.of(command.request), Person.of(context.actor.id))
    terms = _accepted(request, caller, context)
    _check_window(terms, command.started_at, command.ended_at)
    community = yield from read(Community.of(terms.community))
    # What was there when it was asked may be part of another place by now: then where the household lives is taken.
    stands = community.heir is None and (not terms.grid or terms.grid in community.grids)
    hours = LogHours(
        record=command.record,
        volunteer=request.volunteer or "",
        recipient_household=terms.household,
        community=terms.community if stands else None,
        grid=terms.grid if stands else (),
        service=terms.service,
        started_at=command.started_at,
        ended_at=command.ended_at,
        minutes=command.minutes,
        late_reason=command.late_reason,
    )
    decided = yield from log(hours, context)
    facts: list[Fact] = []
    for fact in decided.facts:
        facts.append(fact)
        if isinstance(fact, HoursLogged):
            account = household_account(terms.household)
            facts.append(RequestFulfilled(command.request, fact.record, fact.volunteer, account, terms.held_minutes))
    return Decided(decided.policy, tuple(facts))


def _accepted(request: ServiceRequest, caller: Person, context: Context) -> RequestAsked:
    """What was asked for, told to the accepted volunteer, the household that asks, and staff.

    Raises: UnknownRequest, RequestInOtherStatus where nobody is accepted now.
    """
    terms = request.require()
    if context.actor.role != "volunteer" or context.actor.id != request.volunteer:
        _asked_by(request, caller, context)
    request.require_status(context.now, "accepted")
    return terms


def _check_window(terms: RequestAsked, started_at: datetime, ended_at: datetime) -> None:
    """Whoever came a little early or stayed on served within the window all the same. Raises: ServedOutsideWindow."""
    if started_at >= terms.latest_at or ended_at <= terms.earliest_at:
        raise ServedOutsideWindow(terms.request, terms.earliest_at.isoformat(), terms.latest_at.isoformat())


def fulfil_with_record(command: FulfilWithRecord, context: Context) -> Decision:
    """What was logged otherwise, such as by checking in and out, fulfils the request: the accepted volunteer's hours
    for the household that asked, given for no other request.

    Raises: UnknownRequest (also to others), RequestInOtherStatus, RecordNotForRequest, ServedOutsideWindow.
    """
    request, caller, record = yield from read(
        ServiceRequest.of(command.request), Person.of(context.actor.id), ServiceRecord.of(command.record)
    )
    terms, logged = _accepted(request, caller, context), record.logged
    if logged is None or not record.counts or record.fulfilled is not None:
        raise RecordNotForRequest(command.request, command.record)
    served = logged.recipient_household
    if served != terms.household:  # or it was given before its household became one with the one that asks now
        _, served = yield from sides_now(logged)
    if (logged.volunteer, served) != (request.volunteer, terms.household):
        raise RecordNotForRequest(command.request, command.record)
    _check_window(terms, logged.started_at, logged.ended_at)
    account = household_account(terms.household)
    if record.status == "logged":
        fulfilled = RequestFulfilled(command.request, command.record, logged.volunteer, account, terms.held_minutes)
        return Decided(0, (fulfilled,))
    return Decided(
        0, (*_released(terms), RequestFulfilled(command.request, command.record, logged.volunteer, account, 0))
    )


def cancel(command: CancelRequest, context: Context) -> Decision:
    """By a member of the household that asked, or staff, as long as it is not done.

    Raises: UnknownRequest (also another household's, or outside the staff's community), RequestInOtherStatus.
    """
    request, caller = yield from read(ServiceRequest.of(command.request), Person.of(context.actor.id))
    terms = _asked_by(request, caller, context)
    request.require_status(context.now, "open", "accepted")
    return Decided(0, (*_released(terms), RequestCancelled(command.request, context.actor.id)))


def _released(terms: RequestAsked) -> tuple[MinutesReleased, ...]:
    if not terms.held_minutes:
        return ()
    return (MinutesReleased(household_account(terms.household), terms.held_minutes, _hold(terms.request)),)


def expire(command: ExpireRequest, context: Context) -> Decision:
    """By the system alone, when its time is over (see the head of this module).

    Raises: LeftToTime, UnknownRequest, RequestInOtherStatus, RequestNotOver.
    """
    require_time(context)
    request = yield from read(ServiceRequest.of(command.request))
    terms = request.require()
    if request.status not in ("open", "accepted"):
        raise RequestInOtherStatus(command.request, request.status)
    if context.now < terms.expires_at:
        raise RequestNotOver(command.request, terms.expires_at.isoformat())
    return Decided(0, (*_released(terms), RequestExpired(command.request, request.volunteer)))


@dataclass(unsafe_hash=True)
class UnknownRequest(Unknown):
    request: str
    zh = "没有编号为“{request}”的服务需求。"
    en = "There is no service request “{request}”."


@dataclass(unsafe_hash=True)
class UnknownOffer(Unknown):
    request: str
    volunteer: str
    zh = "“{volunteer}”没有响应服务需求“{request}”，或已撤回。"
    en = "“{volunteer}” has made no offer for the request “{request}”, or took it back."


@dataclass(unsafe_hash=True)
class RequestAlreadyAsked(AlreadyDone):
    request: str
    zh = "需求编号“{request}”已被使用，请换一个或省略。"
    en = "The number “{request}” is another request's; choose one of your own, or leave it out."


@dataclass(unsafe_hash=True)
class RequestInOtherStatus(AlreadyDone):
    request: str
    request_status: str
    zh = "服务需求“{request}”现在是“{request_status}”，不能这样办理。"
    en = "The service request “{request}” is {request_status} now, so this can't be done."

    @property
    def message_zh(self) -> str:
        status = STATUS_ZH.get(self.request_status, self.request_status)
        return self.zh.format(request=self.request, request_status=status)


@dataclass(unsafe_hash=True)
class OfferAlreadyMade(AlreadyDone):
    request: str
    volunteer: str
    zh = "“{volunteer}”已经响应服务需求“{request}”。"
    en = "“{volunteer}” has offered for the request “{request}” already."


@dataclass(unsafe_hash=True)
class OfferForSomebodyElse(NotAllowed):
    volunteer: str
    zh = "志愿者只能自己响应或撤回，不能替“{volunteer}”办理。"
    en = "A volunteer offers and withdraws for themselves only, not for “{volunteer}”."


@dataclass(unsafe_hash=True)
class OwnOfferAccepted(NotAllowed):
    volunteer: str
    zh = "不能接受本人或本户成员“{volunteer}”的响应，须由别人办理。"
    en = "Nobody accepts the offer of themselves or their own household (“{volunteer}”); somebody else must."


@dataclass(unsafe_hash=True)
class OfferStands(AgainstRule):
    request: str
    volunteer: str
    zh = "“{volunteer}”仍可以服务，对需求“{request}”的响应继续有效。"
    en = "“{volunteer}” can still come, so the offer for the request “{request}” stands."


@dataclass(unsafe_hash=True)
class RequestsStillOpen(AgainstRule):
    """``requests`` are their numbers."""

    household: str
    requests: str
    zh = "户“{household}”还有未了结的服务需求：{requests}；请先完成或取消。"
    en = "The household “{household}” still asks for service: {requests}; have it done or cancelled first."


@dataclass(unsafe_hash=True)
class RequestNotOver(AgainstRule):
    request: str
    expires_at: str
    zh = "服务需求“{request}”到 {expires_at} 才过期。"
    en = "The service request “{request}” expires at {expires_at}, not before."


@dataclass(unsafe_hash=True)
class WindowOver(AgainstRule):
    latest_at: str
    minutes: int
    zh = "{latest_at} 之前已来不及完成 {minutes} 分钟的服务，请另选时间。"
    en = "{minutes} minutes of service don't fit before {latest_at} any more; choose another time."


@dataclass(unsafe_hash=True)
class RecordNotForRequest(AgainstRule):
    request: str
    record: str
    zh = "服务记录“{record}”不是约定的志愿者为需求“{request}”的户所做的，或已用于别的需求，或已驳回、冲正。"
    en = (
        "The record “{record}” is not the accepted volunteer's for the household of “{request}”, or it fulfils another "
        "request, or it doesn't count."
    )


@dataclass(unsafe_hash=True)
class ServedOutsideWindow(AgainstRule):
    request: str
    earliest_at: str
    latest_at: str
    zh = "服务不在需求“{request}”约定的 {earliest_at} 至 {latest_at} 之内；时间有变的，请先改期。"
    en = "The service was not within {earliest_at} to {latest_at}, which “{request}” asks for; reschedule it first."
