"""Service requests: asked for, offered, accepted, withdrawn, rescheduled, done, cancelled, matched, read."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import psycopg
from fastapi import APIRouter, Body, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Inspector, Reader, Writer, allow
from api.problems import Problem
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import household_account
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.hours import HoursLogged
from domain.household import NotEnrolled, UnknownMember
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId
from domain.matching import Distance, Place
from domain.policy import PolicyBook
from domain.refusal import Refusal
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    ExpireRequest,
    FulfilRequest,
    FulfilWithRecord,
    LapseOffer,
    MakeOffer,
    RequestAsked,
    RescheduleRequest,
    ServiceTimes,
    UnknownRequest,
    Window,
    WithdrawOffer,
    accept,
    ask,
    cancel,
    fulfil,
    fulfil_with_record,
    offer,
    reschedule,
    withdraw,
)
from projections import account, household
from projections import request as projected
from projections.request import FIRST_RANK, OpenRow, RequestRow

router = APIRouter(route_class=WritingRoute, prefix="/v1/requests", tags=["服务需求 requests"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_request": ask,
    "make_offer": offer,
    "accept_offer": accept,
    "withdraw_offer": withdraw,
    "reschedule_request": reschedule,
    "fulfil_request": fulfil,
    "fulfil_request_with_record": fulfil_with_record,
    "cancel_request": cancel,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "list_open_requests": (UnknownMember, NotEnrolled),
    "list_waiting_requests": (OutsideCommunity,),
    "read_request": (UnknownRequest,),
    "list_requests": (OutsideCommunity, "own-records-only"),
}
_TIMES: Final = {"earliest_at": "2099-10-31T08:00:00+08:00", "latest_at": "2099-10-31T12:00:00+08:00"}
EXAMPLES: Final[dict[str, Any]] = {
    "make_offer": {"volunteer": "V00001"},
    "accept_offer": {"volunteer": "V00001"},
    "withdraw_offer": {"volunteer": "V00001"},
    "reschedule_request": _TIMES,
    "fulfil_request_with_record": {"record": "R-1"},
    "fulfil_request": {"started_at": "2026-10-31T09:00:00+08:00", "ended_at": "2026-10-31T10:30:00+08:00"},
}

DAY_MICROSECONDS: Final = 86_400_000_000
RequestPath = Annotated[RecordId, Path()]
ListedStatus = Literal["open", "accepted", "fulfilled", "cancelled", "expired"]
"""Every status of a request that there is."""
Volunteer = Annotated[Actor, allow("volunteer")]


class WithVolunteer(BaseModel):
    """Whose offer it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volunteer: PersonId


class WithRecord(BaseModel):
    """Which record's hours were given for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: RecordId


class RequestPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class OpenPage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


class WaitingPage(BaseModel):
    count: int = Field(description="How many there are in all.")
    items: list[dict[str, object]]
    next: int | None
    position: int


# ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("", status_code=201, response_model=Written, summary="提出需求 Ask for a service")
async def add_request(
    request: Request, caller: Writer, command: AskForService, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask for a service. Members ask for their own household, staff for households of their community."""
    service: Service = request.app.state.service
    accepted = await service.execute(ask, command, caller, idempotency_key)
    asked = next(fact for fact in accepted.facts if isinstance(fact, RequestAsked))
    return written(accepted, request=asked.request)


@router.post("/{number}/offers", status_code=201, response_model=Written, summary="响应需求 Offer")
async def make_offer(
    request: Request,
    caller: Writer,
    number: RequestPath,
    command: Annotated[WithVolunteer, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Offer to do it. Volunteers offer themselves; staff offer for volunteers who can't, within their community."""
    service: Service = request.app.state.service
    made = MakeOffer(request=number, volunteer=command.volunteer)
    return written(await service.execute(offer, made, caller, idempotency_key), request=number)


@router.post("/{number}/acceptance", status_code=201, response_model=Written, summary="接受响应 Accept an offer")
async def accept_offer(
    request: Request,
    caller: Writer,
    number: RequestPath,
    command: Annotated[WithVolunteer, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept one volunteer's offer. By the household that asked, or staff; never by who offered."""
    service: Service = request.app.state.service
    taken = AcceptOffer(request=number, volunteer=command.volunteer)
    return written(await service.execute(accept, taken, caller, idempotency_key), request=number)


@router.post("/{number}/withdrawal", status_code=201, response_model=Written, summary="撤回响应 Withdraw an offer")
async def withdraw_offer(
    request: Request,
    caller: Writer,
    number: RequestPath,
    command: Annotated[WithVolunteer, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take an offer back. If it had been accepted, the request is open again."""
    service: Service = request.app.state.service
    taken_back = WithdrawOffer(request=number, volunteer=command.volunteer)
    return written(await service.execute(withdraw, taken_back, caller, idempotency_key), request=number)


@router.post("/{number}/window", status_code=201, response_model=Written, summary="改期 Reschedule")
async def reschedule_request(
    request: Request,
    caller: Writer,
    number: RequestPath,
    command: Annotated[Window, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Want it at another time. Everybody who offered or was accepted is released, and may offer again."""
    service: Service = request.app.state.service
    later = RescheduleRequest(request=number, earliest_at=command.earliest_at, latest_at=command.latest_at)
    return written(await service.execute(reschedule, later, caller, idempotency_key), request=number)


@router.post("/{number}/fulfilment", status_code=201, response_model=Written, summary="完成 Log its hours")
async def fulfil_request(
    request: Request,
    caller: Writer,
    number: RequestPath,
    command: Annotated[ServiceTimes, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Log the hours given for it, by the accepted volunteer or staff, with a reason where that is late. The record
    waits to be confirmed."""
    service: Service = request.app.state.service
    done = FulfilRequest(
        request=number,
        record=command.record,
        started_at=command.started_at,
        ended_at=command.ended_at,
        minutes=command.minutes,
        late_reason=command.late_reason,
    )
    accepted = await service.execute(fulfil, done, caller, idempotency_key)
    logged = next(fact for fact in accepted.facts if isinstance(fact, HoursLogged))
    return written(accepted, request=number, record=logged.record)


@router.post("/{number}/record", status_code=201, response_model=Written, summary="用已有记录完成 Name its record")
async def fulfil_request_with_record(
    request: Request,
    caller: Writer,
    number: RequestPath,
    command: Annotated[WithRecord, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Say which record holds the hours given for it, where they were logged otherwise, such as by checking out."""
    service: Service = request.app.state.service
    named = FulfilWithRecord(request=number, record=command.record)
    accepted = await service.execute(fulfil_with_record, named, caller, idempotency_key)
    return written(accepted, request=number, record=command.record)


@router.post("/{number}/cancellation", status_code=201, response_model=Written, summary="取消 Cancel")
async def cancel_request(
    request: Request, caller: Writer, number: RequestPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take a request back, as long as it is not done. By the household that asked, or staff."""
    service: Service = request.app.state.service
    return written(
        await service.execute(cancel, CancelRequest(request=number), caller, idempotency_key), request=number
    )


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _rank(text: str) -> tuple[int, bool, int, int]:
    """A rank from a page's ``next``. Raises: ValueError."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.removeprefix("-").isdecimal() and len(part) < 20 for part in parts):
        raise ValueError("须是上一页的 next / must be the `next` of the page before")
    distance, service_is_new, earliest, position = (int(part) for part in parts)
    if not 0 <= distance <= 4 or abs(earliest) > 2**62 or abs(position) > 2**62:
        raise ValueError("须是上一页的 next / must be the `next` of the page before")
    return distance, bool(service_is_new), earliest, position


def _fit_rank(text: str) -> str:
    if text:
        _rank(text)
    return text


AfterRank = Annotated[
    str, AfterValidator(_fit_rank), Query(max_length=80, description="The `next` of the page before.")
]


@router.get("/open", response_model=OpenPage, summary="可响应的需求 Open requests")
async def list_open_requests(
    request: Request, caller: Volunteer, after: AfterRank = "", limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """What a volunteer may offer for, the nearest first: the same building, meta grid, base grid and community as their
    own household; then services they have given before, the earliest window, and what has waited longest. Which
    household asks is told to whoever is accepted."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        own = await _home_of(connection, caller.id)
        home = await account.account(connection, household_account(own))
        rows = await projected.open_requests(
            connection,
            volunteer=caller.id,
            household=own,
            home=Place((home and home.community) or "", tuple(home.grid.split("/")) if home and home.grid else ()),
            now_microseconds=time.time_ns() // 1000,
            after=_rank(after) if after else FIRST_RANK,
            limit=limit + 1,
        )
    shown = [_matched_view(row) for row in rows[:limit]]
    following = ",".join(str(int(part)) for part in rows[limit - 1].rank) if len(rows) > limit else None
    return answer({"items": shown, "next": following, "position": position})


async def _home_of(connection: AsyncConnection[Any], volunteer: str) -> str:
    """The household of an enrolled volunteer. Raises: UnknownMember, NotEnrolled."""
    person = await household.person(connection, volunteer)
    if person is None or person.household is None:
        raise UnknownMember(volunteer)
    if not person.volunteer:
        raise NotEnrolled(volunteer)
    return person.household


@router.get("/waiting", response_model=WaitingPage, summary="久无人响应的需求 Waiting too long")
async def list_waiting_requests(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    days: Annotated[int, Query(ge=0, le=366, description="Asked at least so many days ago.")] = 3,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Requests that nobody has been accepted for, the longest waiting first, and how many there are in all."""
    service: Service = request.app.state.service
    community = _community_of(caller, community)
    position = await service.fresh(min_position)
    before = time.time_ns() // 1000 - days * DAY_MICROSECONDS
    async with service.pool.connection() as connection:
        count, rows = await projected.waiting(
            connection, community=community, asked_before_microseconds=before, after=after, limit=limit + 1
        )
    shown = [_whole_view(row) for row in rows[:limit]]
    following = rows[limit - 1].asked_position if len(rows) > limit else None
    return answer({"count": count, "items": shown, "next": following, "position": position})


def _community_of(caller: Actor, community: str | None) -> str | None:
    """What staff may list: their own community's. Raises: OutsideCommunity."""
    if caller.role != "staff" or caller.community is None:
        return community
    if community not in (None, caller.community):
        raise OutsideCommunity(community or "", caller.community)
    return caller.community


@router.get("/{number}", response_model=dict[str, object], summary="查询一项需求 Read one request")
async def read_request(
    request: Request, caller: Reader, number: RequestPath, min_position: MinPosition = None
) -> Response:
    """One request and where it stands. The household that asks and the staff see who offered; the accepted volunteer
    sees for which household it is; other volunteers see what they must know to offer, as long as it is open."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await projected.request(connection, number)
        view = None if row is None else await _view(connection, caller, row)
    if view is None:
        # Whoever may not read it isn't told either that it exists.
        raise UnknownRequest(number)
    return answer(view)


async def _view(connection: AsyncConnection[Any], caller: Actor, row: RequestRow) -> dict[str, object] | None:
    """What the caller may see of a request; None: nothing."""
    reader = await household.person(connection, caller.id) if caller.role == "volunteer" else None
    if caller.role == "volunteer":
        whole = reader is not None and reader.household == row.household
    else:
        whole = caller.role != "staff" or caller.community in (None, row.community)
    if whole:
        return _whole_view(row) | {"offers": await projected.offers(connection, row.request)}
    if reader is None:
        return None
    own = await projected.offer(connection, row.request, reader.person)
    if own is None:
        over = row.status != "open" or row.expires_at_microseconds <= time.time_ns() // 1000
        may_offer = reader.volunteer and reader.household is not None and not over
        return _offered_view(row) if may_offer else None
    return _volunteers_view(row, own.status)


def _offered_view(row: RequestRow) -> dict[str, object]:
    """What a volunteer must know to offer, and nothing of who asks."""
    return {
        "request": row.request,
        "status": row.status,
        "community": row.community,
        "grid": row.grid,
        "service": row.service,
        "earliest_at": row.earliest_at,
        "latest_at": row.latest_at,
        "estimated_minutes": row.estimated_minutes,
        "needs": row.needs.split(),
        "asked_position": row.asked_position,
        "asked_at_microseconds": row.asked_at_microseconds,
        "expires_at_microseconds": row.expires_at_microseconds,
    }


def _matched_view(row: OpenRow) -> dict[str, object]:
    return _offered_view(row) | {
        "distance": Distance(row.distance).name.lower().replace("_", "-"),
        "service_given_before": not row.service_is_new,
        "offered": row.offered,
    }


def _volunteers_view(row: RequestRow, offered: str) -> dict[str, object]:
    """What a volunteer sees whose offer it has: for which household it is, once they are accepted."""
    view = _offered_view(row) | {"offer": offered}
    return view | {"household": row.household, "record": row.record} if offered == "accepted" else view


def _whole_view(row: RequestRow) -> dict[str, object]:
    whole: dict[str, object] = msgspec.to_builtins(row)
    return whole | {"needs": row.needs.split()}


@router.get("", response_model=RequestPage, summary="需求列表 List requests")
async def list_requests(
    request: Request,
    caller: Reader,
    community: Annotated[PlaceName | None, Query()] = None,
    household: Annotated[HouseholdId | None, Query()] = None,
    volunteer: Annotated[PersonId | None, Query(description="Those for which an offer of theirs stands.")] = None,
    status: Annotated[ListedStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Requests in the order they were asked. Members list their own household's, or, with their own number as
    `volunteer`, those that they offered for; staff their community's."""
    service: Service = request.app.state.service
    member = caller.role == "volunteer"
    # Whose request it is could be found out by asking for a household's.
    if member and volunteer is not None and (volunteer != caller.id or household is not None):
        raise Problem("own-records-only")
    community = _community_of(caller, community)
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        if member and volunteer is None:
            household = await _own_household(connection, caller, household)
        rows = await projected.requests(
            connection,
            community=community,
            household=household,
            volunteer=volunteer,
            status=status,
            after=after,
            limit=limit + 1,
        )
    if member and volunteer is not None:
        shown = [_volunteers_view(row, "accepted" if row.volunteer == volunteer else "made") for row in rows]
    else:
        shown = [_whole_view(row) for row in rows]
    return page(shown, limit, lambda row: row["asked_position"], position)


async def _own_household(connection: AsyncConnection[Any], caller: Actor, asked: str | None) -> str:
    """Raises: Problem 403 where another household's are asked for."""
    person = await household.person(connection, caller.id)
    own = (person and person.household) or ""
    if asked not in (None, own):
        raise Problem("own-records-only")
    return own


def find_lapsed(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterator[tuple[str, LapseOffer]]:
    """The offers of those who can't come any more."""
    del now
    for number, volunteer, position in projected.offers_to_lapse(connection):
        yield f"{number} {volunteer} {position}", LapseOffer(request=number, volunteer=volunteer)


def find_over(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterator[tuple[str, ExpireRequest]]:
    """The requests whose time is over, and that nothing has ended yet."""
    for number in projected.over(connection, now):
        yield number, ExpireRequest(request=number)
