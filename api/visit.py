"""Visits: codes for the door, check-in, check-out, what staff do with those left open; and evidence for any record."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import psycopg
from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.hours import RecordPath, may_read
from api.identity import Reader, Staff, Writer
from api.wiring import Service
from api.writing import WritingRoute
from domain.community import OutsideCommunity
from domain.evidence import EvidenceKind, Sha256
from domain.hours import ClaimedMinutes, UnknownRecord
from domain.identifiers import HouseholdId, PlaceName, RecordId
from domain.policy import PolicyBook
from domain.refusal import Refusal
from domain.visit import (
    CODE_CHARACTERS,
    CODE_LENGTH,
    AttachEvidence,
    CheckIn,
    CheckOut,
    CloseVisit,
    Closing,
    DoorCodeText,
    MakeDoorCode,
    MarkOverdue,
    UnknownVisit,
    VoidReason,
    VoidVisit,
    attach_evidence,
    check_in,
    check_out,
    close_visit,
    code_hash,
    make_door_code,
    void_visit,
)
from projections import evidence, hours, household
from projections import visit as visits

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["签到 visits"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_door_code": make_door_code,
    "begin_visit": check_in,
    "end_visit": check_out,
    "close_open_visit": close_visit,
    "void_open_visit": void_visit,
    "add_evidence": attach_evidence,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_visit": (UnknownVisit,),
    "list_visits": (OutsideCommunity,),
    "list_evidence": (UnknownRecord,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_door_code": {"household": "H00002", "valid_minutes": 720},
    "end_visit": {"code": "7K3M-Q2XD-9TBV-4HRN"},
    "close_open_visit": {"ended_at": "2026-10-31T10:30:00+08:00", "reason": "forgotten"},
    "void_open_visit": {"reason": "mistake"},
    "add_evidence": {"kind": "sheet", "sha256": "0" * 64},
}

VisitPath = Annotated[RecordId, Path()]
ListedVisitStatus = Literal["open", "overdue", "logged", "voided"]


class DoorCodeWanted(BaseModel):
    """A one-time code for the door of a household."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    valid_minutes: Annotated[int, Field(strict=True, ge=5, le=44_640)] = 720


class CheckingOut(BaseModel):
    """How a visit ends; its time is now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: DoorCodeText | None = None
    record: RecordId | None = None
    minutes: ClaimedMinutes | None = None


class Voiding(BaseModel):
    """Why a visit came to nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: VoidReason


class EvidenceFile(BaseModel):
    """A photo or a paper sheet, by its hash. The file itself stays with whoever keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EvidenceKind
    sha256: Sha256


class DoorCodeWritten(Written):
    code: str = Field(description="To be shown at the door. It is stored nowhere: only this answer holds it.")
    valid_until: datetime


class VisitWritten(Written):
    visit: str


class VisitPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class EvidenceList(BaseModel):
    items: list[dict[str, object]]
    position: int


@router.post("/door-codes", status_code=201, response_model=DoorCodeWritten, summary="生成门码 Make a door code")
async def add_door_code(
    request: Request, caller: Writer, command: DoorCodeWanted, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a code that a volunteer checks in or out with, once. Members make it for their own household, staff for
    those of their community."""
    service: Service = request.app.state.service
    key = idempotency_key or secrets.token_hex(16)
    code = _door_code(request.headers["authorization"], key)
    wanted = MakeDoorCode(household=command.household, code_hash=code_hash(code), valid_minutes=command.valid_minutes)
    accepted = await service.execute(make_door_code, wanted, caller, key)
    shown = "-".join(code[start : start + 4] for start in range(0, CODE_LENGTH, 4))
    return written(accepted, code=shown, valid_until=accepted.facts[0].valid_until)  # type: ignore[attr-defined]


def _door_code(authorization: str, key: str) -> str:
    """80 bits that follow from the caller's own token and key: nobody else can tell them, and a repeated request gets
    the same code again, though it is stored nowhere."""
    token = authorization[7:].strip()
    number = int.from_bytes(hmac.digest(token.encode(), b"door code " + key.encode(), hashlib.sha256))
    return "".join(CODE_CHARACTERS[number >> 5 * place & 31] for place in range(CODE_LENGTH))


@router.post("/visits", status_code=201, response_model=VisitWritten, summary="签到 Check in")
async def begin_visit(
    request: Request, caller: Writer, command: CheckIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Begin a service now: with the code shown at the door, by staff who are there, or by the volunteer alone."""
    service: Service = request.app.state.service
    accepted = await service.execute(check_in, command, caller, idempotency_key)
    return written(accepted, visit=accepted.facts[0].visit)  # type: ignore[attr-defined]


@router.post("/visits/{visit}/check-out", status_code=201, response_model=VisitWritten, summary="签退 Check out")
async def end_visit(
    request: Request,
    caller: Writer,
    visit: VisitPath,
    command: Annotated[CheckingOut, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """End a visit now: it becomes a service record, which waits to be confirmed like any other."""
    service: Service = request.app.state.service
    ending = CheckOut(visit=visit, code=command.code, record=command.record, minutes=command.minutes)
    accepted = await service.execute(check_out, ending, caller, idempotency_key)
    return written(accepted, visit=visit, record=accepted.facts[0].record)  # type: ignore[attr-defined]


@router.post("/visits/{visit}/closing", status_code=201, response_model=VisitWritten, summary="补签退 Close a visit")
async def close_open_visit(
    request: Request,
    caller: Staff,
    visit: VisitPath,
    command: Annotated[Closing, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Close a visit that nobody checked out of, with the times that staff found out; its record is of grade `self`."""
    service: Service = request.app.state.service
    closing = CloseVisit(visit=visit, **dict(command))
    accepted = await service.execute(close_visit, closing, caller, idempotency_key)
    return written(accepted, visit=visit, record=accepted.facts[0].record)  # type: ignore[attr-defined]


@router.post("/visits/{visit}/voiding", status_code=201, response_model=VisitWritten, summary="作废 Void a visit")
async def void_open_visit(
    request: Request,
    caller: Writer,
    visit: VisitPath,
    command: Annotated[Voiding, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """End an open or overdue visit without a record. Volunteers void their own."""
    service: Service = request.app.state.service
    voiding = VoidVisit(visit=visit, reason=command.reason)
    return written(await service.execute(void_visit, voiding, caller, idempotency_key), visit=visit)


@router.post("/hours/{record}/evidence", status_code=201, response_model=Written, summary="附凭据 Attach evidence")
async def add_evidence(
    request: Request,
    caller: Writer,
    record: RecordPath,
    command: Annotated[EvidenceFile, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Attach the hash of a photo or paper sheet to a record. A sheet that staff hold makes its grade `staff`."""
    service: Service = request.app.state.service
    attaching = AttachEvidence(record=record, kind=command.kind, sha256=command.sha256)
    return written(await service.execute(attach_evidence, attaching, caller, idempotency_key), record=record)


@router.get("/hours/{record}/evidence", response_model=EvidenceList, summary="凭据 Evidence of a record")
async def list_evidence(
    request: Request, caller: Reader, record: RecordPath, min_position: MinPosition = None
) -> Response:
    """What was attached to one record, by those who may read the record."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await hours.record(connection, record)
        if row is None or not await may_read(connection, caller, row):
            raise UnknownRecord(record)
        return answer({"items": await evidence.attached(connection, record), "position": position})


@router.get("/visits/{visit}", response_model=dict[str, object], summary="查询签到 Read one visit")
async def read_visit(request: Request, caller: Reader, visit: VisitPath, min_position: MinPosition = None) -> Response:
    """One visit: to the volunteer, the household served, staff of the community and auditors."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await visits.visit(connection, visit)
        if row is None or (caller.role == "staff" and caller.community not in (None, row.community)):
            raise UnknownVisit(visit)
        if caller.role == "volunteer" and caller.id != row.volunteer:
            person = await household.person(connection, caller.id)
            if person is None or person.household != row.recipient_household:
                raise UnknownVisit(visit)
    return answer(row)


@router.get("/visits", response_model=VisitPage, summary="签到列表 List visits")
async def list_visits(
    request: Request,
    caller: Reader,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[ListedVisitStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Visits in the order they were begun; `status=overdue` is the queue of staff. Members see their own, and those at
    their household."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        concerning = None
        if caller.role == "volunteer":
            person = await household.person(connection, caller.id)
            concerning = caller.id, None if person is None else person.household
        rows = await visits.visits(
            connection, community=community, status=status, concerning=concerning, after=after, limit=limit + 1
        )
    return page(rows, limit, lambda row: row.position, position)


def find_overdue(
    connection: psycopg.Connection[Any], now: datetime, book: PolicyBook
) -> Iterator[tuple[str, MarkOverdue]]:
    """The visits that nobody checked out of within the limit of the day they began on."""
    if not book.versions:
        return
    shortest = min(adopted.policy.check_in_minutes_max for adopted in book.versions)
    before = now - timedelta(minutes=shortest)
    for number, started_at_microseconds in visits.open_since(connection, round(before.timestamp() * 1_000_000)):
        started_at = datetime.fromtimestamp(started_at_microseconds / 1_000_000, UTC).astimezone(now.tzinfo)
        limit_minutes = book.in_force(started_at.date()).policy.check_in_minutes_max
        if now.replace(second=0, microsecond=0) > started_at + timedelta(minutes=limit_minutes):
            yield number, MarkOverdue(visit=number)
