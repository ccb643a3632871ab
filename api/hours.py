"""Service records: logged, confirmed, rejected, reversed, read."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Reader, Staff, Writer
from api.problems import Problem
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import Reason
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.dispute import Text
from domain.hours import (
    ConfirmHours,
    HoursLogged,
    LogHours,
    LogManyHours,
    Rating,
    RejectHours,
    ReverseHours,
    UnknownRecord,
    confirm,
    log,
    log_many,
    reject,
    reverse,
)
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId
from domain.refusal import Refusal
from infrastructure.vault import recalled_remarks
from projections import hours, household
from projections.hours import HoursRow

router = APIRouter(route_class=WritingRoute, prefix="/v1/hours", tags=["服务记录 hours"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "log_hours": log,
    "log_many_hours": log_many,
    "confirm_hours": confirm,
    "reject_hours": reject,
    "reverse_hours": reverse,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_hours": (UnknownRecord,),
    "list_hours": (OutsideCommunity, "own-records-only"),
}
EXAMPLES: Final[dict[str, Any]] = {
    "log_many_hours": {"hours": [LogHours.model_config["json_schema_extra"]["example"]]},  # type: ignore[index]
    "confirm_hours": {"rating": 5, "remark": "准时、耐心"},
    "reject_hours": {"reason": "not-served"},
    "reverse_hours": {"reason": "duplicate"},
}

RecordPath = Annotated[RecordId, Path()]
ListedStatus = Literal["logged", "confirmed", "rejected", "reversed"]
"""Every status of a record that there is."""


class Confirmation(BaseModel):
    """What is said of a service while confirming it, if anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rating: Rating | None = None
    remark: Text | None = None


UNSAID: Final = Confirmation()


class WithReason(BaseModel):
    """Why a record is rejected or reversed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason


class HoursPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("", status_code=201, response_model=Written, summary="登记服务 Log hours")
async def log_hours(
    request: Request, caller: Writer, command: LogHours, idempotency_key: IdempotencyKey = None
) -> Response:
    """Log one stretch of service. A volunteer logs their own; staff log for volunteers of their community."""
    service: Service = request.app.state.service
    accepted = await service.execute(log, command, caller, idempotency_key)
    return written(accepted, record=accepted.facts[0].record)  # type: ignore[attr-defined]


@router.post("/batch", status_code=201, response_model=Written, summary="批量登记 Log a sheet")
async def log_many_hours(
    request: Request, caller: Writer, command: LogManyHours, idempotency_key: IdempotencyKey = None
) -> Response:
    """Log up to 1,000 stretches of service: all of them, or none, with every refused row named (`errors`)."""
    service: Service = request.app.state.service
    accepted = await service.execute(log_many, command, caller, idempotency_key)
    return written(accepted, records=[fact.record for fact in accepted.facts if isinstance(fact, HoursLogged)])


@router.post("/{record}/confirmation", status_code=201, response_model=Written, summary="确认 Confirm")
async def confirm_hours(
    request: Request,
    caller: Writer,
    record: RecordPath,
    command: Annotated[Confirmation, Body()] = UNSAID,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Confirm a logged record: the hours count, and the household is credited. Staff confirm, and members what their
    household was served; nobody what their own household earned. The remark goes to the vault."""
    service: Service = request.app.state.service
    confirmed = ConfirmHours(record=record, rating=command.rating)
    accepted = await service.execute(confirm, confirmed, caller, idempotency_key)
    if command.remark is not None:
        await service.remember_remark(_remark_key(record), command.remark, overwrite=not accepted.repeated)
    return written(accepted, record=record)


@router.post("/{record}/rejection", status_code=201, response_model=Written, summary="驳回 Reject")
async def reject_hours(
    request: Request,
    caller: Staff,
    record: RecordPath,
    command: Annotated[WithReason, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Reject a logged record; it never earns."""
    service: Service = request.app.state.service
    refused = RejectHours(record=record, reason=command.reason)
    return written(await service.execute(reject, refused, caller, idempotency_key), record=record)


@router.post("/{record}/reversal", status_code=201, response_model=Written, summary="冲正 Reverse")
async def reverse_hours(
    request: Request,
    caller: Staff,
    record: RecordPath,
    command: Annotated[WithReason, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Undo a confirmed record, exactly and once."""
    service: Service = request.app.state.service
    undone = ReverseHours(record=record, reason=command.reason)
    return written(await service.execute(reverse, undone, caller, idempotency_key), record=record)


@router.get("/{record}", response_model=dict[str, object], summary="查询一条记录 Read one record")
async def read_hours(
    request: Request, caller: Reader, record: RecordPath, min_position: MinPosition = None
) -> Response:
    """One service record and where it stands. Staff, and whoever confirmed it, also read the remark on it."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await hours.record(connection, record)
        if row is None:
            raise UnknownRecord(record)
        if not await may_read(connection, caller, row):
            # Whoever may not read it isn't told either that it exists.
            raise UnknownRecord(record)
        if row.confirmed_as is None or not (caller.role in ("staff", "admin") or caller.id == row.settled_by):
            return answer(row)
        key = _remark_key(record)
        remarks = await recalled_remarks(connection, service.bank.name, [key])
    return answer({**msgspec.to_builtins(row), "remark": remarks.get(key)})


def _remark_key(record: str) -> str:
    return "confirmation:" + record


async def may_read(connection: AsyncConnection[Any], caller: Actor, row: HoursRow) -> bool:
    """Auditors read all, staff their community's, volunteers what their household gave or received."""
    if caller.role in ("auditor", "admin"):
        return True
    if caller.role == "staff":
        return caller.community in (None, row.community)
    if caller.id == row.volunteer:
        return True
    return await household.concerns(connection, caller.id, row.household, row.recipient_household)


@router.get("", response_model=HoursPage, summary="记录列表 List records")
async def list_hours(
    request: Request,
    caller: Reader,
    community: Annotated[PlaceName | None, Query()] = None,
    volunteer: Annotated[PersonId | None, Query()] = None,
    recipient_household: Annotated[HouseholdId | None, Query()] = None,
    status: Annotated[ListedStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Records in the order they were logged, by community, volunteer, household that was served, and status. Members
    list what they gave, or with their own `recipient_household` what was given to them, to be confirmed."""
    service: Service = request.app.state.service
    if caller.role == "volunteer" and recipient_household is not None:
        await service.fresh(min_position)
        async with service.pool.connection() as connection:
            if not await household.concerns(connection, caller.id, recipient_household):
                raise Problem("own-records-only")
    elif caller.role == "volunteer":
        if volunteer not in (None, caller.id):
            raise Problem("own-records-only")
        volunteer = caller.id
    elif caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await hours.records(
            connection,
            community=community,
            volunteer=volunteer,
            recipient_household=recipient_household,
            status=status,
            after=after,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: row.logged_position, position)
