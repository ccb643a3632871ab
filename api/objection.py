"""Objections to disclosures: raised by residents, decided by staff who have no part in them, read by both."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.disclosure import PeriodPath
from api.dispute import _salt
from api.identity import Reader, Staff, Writer
from api.wiring import Service
from api.writing import WritingRoute
from application.write_loop import Accepted
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.disclosure import ObjectionGround, ObjectionRaised, ObjectionStatus
from domain.dispute import Text, WithText
from domain.identifiers import PersonId, PlaceName, RecordId
from domain.objection import (
    DecideObjection,
    RaiseObjection,
    UnknownObjection,
    WithdrawObjection,
    decide_objection,
    raise_objection,
    withdraw_objection,
)
from domain.refusal import Refusal
from infrastructure.vault import recalled_remarks
from projections import objection
from projections.objection import ObjectionRow

router = APIRouter(route_class=WritingRoute, prefix="/v1/disclosures/{period}/objections", tags=["公示 disclosure"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "raise_an_objection": raise_objection,
    "decide_an_objection": decide_objection,
    "withdraw_an_objection": withdraw_objection,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_objection": (UnknownObjection,),
    "list_objections": (OutsideCommunity,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "raise_an_objection": {"ground": "hours-missing", "text": "十月十二日助餐一小时没有计入。"},
    "decide_an_objection": {"outcome": "upheld", "text": "查签到表属实，已补登。"},
}

ObjectionPath = Annotated[RecordId, Path(alias="objection")]


class ObjectionWritten(Written):
    period: str
    objection: str = Field(description="The objection's number.")


class Complaint(BaseModel):
    """What is wrong with the disclosure, in a fixed word and in one's own. Staff name whom they write for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objection: RecordId | None = None
    ground: ObjectionGround
    person: PersonId | None = None
    record: RecordId | None = None
    text: Text | None = None


class Verdict(BaseModel):
    """Whether something is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["upheld", "dismissed"]
    text: Text | None = None


class ObjectionPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("", status_code=201, response_model=ObjectionWritten, summary="提出异议 Object to a disclosure")
async def raise_an_objection(
    request: Request,
    caller: Writer,
    period: PeriodPath,
    body: Annotated[Complaint, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Object to a month's disclosure while its window is open: any member of a household, or staff for one who comes to
    the desk. What is said in words goes to the vault."""
    service: Service = request.app.state.service
    command = RaiseObjection(period=period, salt=_salt(idempotency_key), **dict(body))
    accepted = await service.execute(raise_objection, command, caller, idempotency_key)
    (raised,) = (fact for fact in accepted.facts if isinstance(fact, ObjectionRaised))
    await _remember(service, period, raised.objection, command, accepted)
    return written(accepted, period=period, objection=raised.objection)


@router.post(
    "/{objection}/decision", status_code=201, response_model=ObjectionWritten, summary="处理异议 Decide an objection"
)
async def decide_an_objection(
    request: Request,
    caller: Staff,
    period: PeriodPath,
    number: ObjectionPath,
    body: Annotated[Verdict, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide an objection, by staff who have no part in it. What was wrong is corrected apart, under its own date."""
    service: Service = request.app.state.service
    command = DecideObjection(period=period, objection=number, salt=_salt(idempotency_key), **dict(body))
    accepted = await service.execute(decide_objection, command, caller, idempotency_key)
    await _remember(service, period, number, command, accepted)
    return written(accepted, period=period, objection=number)


@router.post(
    "/{objection}/withdrawal",
    status_code=201,
    response_model=ObjectionWritten,
    summary="撤回异议 Withdraw an objection",
)
async def withdraw_an_objection(
    request: Request,
    caller: Writer,
    period: PeriodPath,
    number: ObjectionPath,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take back an objection of one's own, or one that was written down for somebody who takes it back."""
    service: Service = request.app.state.service
    command = WithdrawObjection(period=period, objection=number)
    accepted = await service.execute(withdraw_objection, command, caller, idempotency_key)
    return written(accepted, period=period, objection=number)


async def _remember(service: Service, period: str, number: str, command: WithText, accepted: Accepted) -> None:
    """Keep the words of a command in the vault, under the digest that its fact holds."""
    if command.kept is not None and command.text_digest is not None:
        key = _text_key(period, number, command.text_digest)
        await service.remember_remark(key, command.kept, overwrite=not accepted.repeated)


def _text_key(period: str, number: str, digest: str) -> str:
    return f"objection:{period}:{number}:{digest}"


@router.get("", response_model=ObjectionPage, summary="异议列表 Objections to a month")
async def list_objections(
    request: Request,
    caller: Reader,
    period: PeriodPath,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[ObjectionStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Objections in the order they were raised. Members see their own, staff their community's."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        found = await objection.objections(
            connection,
            period,
            community=community,
            person=caller.id if caller.role == "volunteer" else None,
            status=status,
            after=after,
            limit=limit + 1,
        )
    return page(found, limit, lambda row: row.raised_position, position)


@router.get("/{objection}", response_model=dict[str, object], summary="查询异议 Read an objection")
async def read_objection(
    request: Request, caller: Reader, period: PeriodPath, number: ObjectionPath, min_position: MinPosition = None
) -> Response:
    """One objection, with what was said for those whom it concerns; auditors read its digests."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await objection.objection(connection, period, number)
        if row is None or not _may_read(caller, row):
            # Whoever may not read it isn't told either that it exists.
            raise UnknownObjection(number)
        digests = [digest for digest in (row.text_digest, row.decision_digest) if digest is not None]
        keys = {} if caller.role == "auditor" else {digest: _text_key(period, number, digest) for digest in digests}
        texts = await recalled_remarks(connection, service.bank.name, keys.values()) if keys else {}

    def words(digest: str | None) -> str | None:
        kept = None if digest is None else texts.get(keys.get(digest, ""))
        return None if kept is None else kept.partition("\n")[2]

    said = {"text": words(row.text_digest), "decision_text": words(row.decision_digest)}
    return answer({**msgspec.to_builtins(row), **said})


def _may_read(caller: Actor, row: ObjectionRow) -> bool:
    """Auditors read all, staff their community's, members their own."""
    if caller.role in ("auditor", "admin"):
        return True
    if caller.role == "staff":
        return caller.community in (None, row.community)
    return caller.id == row.person
