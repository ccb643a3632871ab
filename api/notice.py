"""Notices: read by whom they are for, marked as read, and muted by kind; and those that could not be delivered."""

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Body, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from api.answers import AfterPosition, Limit, answer, page
from api.identity import Addressee, Staff
from api.wiring import Service
from domain.decision import Actor
from domain.notice import ADMINS, EVERYBODY, KINDS, person, staff
from domain.refusal import Refusal
from infrastructure.notice import (
    OutboxNotice,
    failed_deliveries,
    inbox,
    mark_read,
    mute,
    settings_of,
    told_position,
)

router = APIRouter(prefix="/v1/notices", tags=["通知 notices"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "mark_notices_read": ("length-required", "body-too-large"),
    "change_notice_settings": ("length-required", "body-too-large"),
}


def _known_kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError("没有这种通知 / there is no such kind of notice")
    return name


KindName = Annotated[str, AfterValidator(_known_kind), WithJsonSchema({"type": "string", "enum": list(KINDS)})]


class NoticePage(BaseModel):
    """``position`` is where in the journal all is told up to; ``next`` and ``number`` are the notices' own."""

    items: list[dict[str, object]]
    next: int | None
    position: int


class ReadUpto(BaseModel):
    """The number of the last notice that was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"upto": 42}})

    upto: Annotated[int, Field(strict=True, ge=0, le=2**62)]


class NoticeSettingsChange(BaseModel):
    """The kinds that one doesn't want to be told; all others one is told."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"example": {"muted": ["hours-confirmed", "policy-adopted"]}}
    )

    muted: Annotated[list[KindName], Field(max_length=len(KINDS))]


@router.get("", response_model=NoticePage, summary="我的通知 My notices")
async def list_notices(
    request: Request,
    caller: Addressee,
    unread: Annotated[bool, Query(description="Only those after what was marked as read.")] = False,
    since: Annotated[AwareDatetime | None, Query(description="Only those written at this time or later.")] = None,
    kind: Annotated[KindName | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
) -> Response:
    """One's own notices in the order they were written: those to oneself and to everybody; to staff also those of their
    community's staff (of all, where they have no community), and to administrators theirs."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        position = await told_position(connection, service.bank.name)
        read_upto = (await settings_of(connection, service.bank.name, caller.id)).read_upto
        rows = await inbox(
            connection,
            service.bank.name,
            caller.id,
            recipients=_recipients(caller),
            all_staff=_all_staff(caller),
            unread=unread,
            since=since,
            kind=kind,
            after=after,
            limit=limit + 1,
        )
    shown = [_shown(row) | {"read": row.number <= read_upto} for row in rows]
    return page(shown, limit, lambda row: row["number"], position)


def _all_staff(caller: Actor) -> bool:
    return caller.role == "admin" or (caller.role == "staff" and caller.community is None)


def _recipients(caller: Actor) -> list[str]:
    own = [person(caller.id), EVERYBODY]
    if caller.role == "admin":
        own.append(ADMINS)
    if caller.role == "staff" and caller.community is not None:
        own.append(staff(caller.community))
    return own


def _shown(row: OutboxNotice) -> dict[str, object]:
    return {**msgspec.to_builtins(row), "text_zh": row.text_zh, "text_en": row.text_en}


@router.put("/read", response_model=dict[str, object], summary="标为已读 Mark as read")
async def mark_notices_read(request: Request, caller: Addressee, command: Annotated[ReadUpto, Body()]) -> Response:
    """Mark all notices up to a number as read. It never goes back, so doing it twice changes nothing."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        await mark_read(connection, service.bank.name, caller.id, command.upto)
        found = await settings_of(connection, service.bank.name, caller.id)
    return answer({"read_upto": found.read_upto})


@router.get("/settings", response_model=dict[str, object], summary="通知设置 Settings")
async def read_notice_settings(request: Request, caller: Addressee) -> Response:
    """Which kinds one has muted, and all kinds there are with their texts."""
    service: Service = request.app.state.service
    async with service.pool.connection() as connection:
        found = await settings_of(connection, service.bank.name, caller.id)
    kinds = [{"kind": name, "text_zh": kind.zh, "text_en": kind.en} for name, kind in KINDS.items()]
    return answer({**msgspec.to_builtins(found), "kinds": kinds})


@router.put("/settings", response_model=dict[str, object], summary="静音 Mute kinds")
async def change_notice_settings(
    request: Request, caller: Addressee, command: Annotated[NoticeSettingsChange, Body()]
) -> Response:
    """Be told all kinds but these from now on. What is muted isn't written for oneself, so it can't be read later."""
    service: Service = request.app.state.service
    kinds = sorted(set(command.muted))
    async with service.pool.connection() as connection:
        await mute(connection, service.bank.name, caller.id, kinds)
    return answer({"muted": kinds})


@router.get("/failed", response_model=NoticePage, summary="未能送达的通知 Undelivered notices")
async def list_failed_notices(
    request: Request, caller: Staff, after: AfterPosition = 0, limit: Limit = 100
) -> Response:
    """Deliveries that were given up after the last attempt: all of them to administrators and staff of the district, to
    a community's staff those to them. `timebank notices retry` has them tried again."""
    service: Service = request.app.state.service
    recipients = None if _all_staff(caller) else _recipients(caller)
    async with service.pool.connection() as connection:
        position = await told_position(connection, service.bank.name)
        rows = await failed_deliveries(
            connection, service.bank.name, recipients=recipients, after=after, limit=limit + 1
        )
    return page(rows, limit, lambda row: row.number, position)
