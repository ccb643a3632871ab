"""Disputes: opened by either side or by staff, both sides heard, decided, withdrawn, read by whom they concern."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
import psycopg
from fastapi import APIRouter, Body, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Reader, Staff, Writer
from api.wiring import Service
from api.writing import WritingRoute
from application.write_loop import Accepted
from domain.account import HoursConfirmed
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.dispute import (
    DecideDispute,
    EscalateDispute,
    OpenDispute,
    StateCase,
    Text,
    UnknownDispute,
    WithdrawDispute,
    decide_dispute,
    open_dispute,
    state_case,
    withdraw_dispute,
)
from domain.hours import Ground, HoursRejected, SettleSilence
from domain.identifiers import PlaceName, RecordId
from domain.policy import PolicyBook
from domain.refusal import Refusal
from infrastructure.fact_store import PostgresFactStore
from infrastructure.vault import recalled_remarks
from projections import dispute, household
from projections.dispute import EPOCH, DisputeListed, due_disputes, microseconds
from projections.hours import unanswered

router = APIRouter(route_class=WritingRoute, prefix="/v1/disputes", tags=["争议 disputes"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "open_a_dispute": open_dispute,
    "state_a_case": state_case,
    "decide_a_dispute": decide_dispute,
    "withdraw_a_dispute": withdraw_dispute,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_dispute": (UnknownDispute,),
    "list_disputes": (OutsideCommunity,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "open_a_dispute": {"record": "R1", "ground": "not-served", "text": "当天没有人来。"},
    "state_a_case": {"ground": "served", "text": "我按时到了，邻居可以作证。"},
    "decide_a_dispute": {"outcome": "dismissed", "text": "签到表与双方陈述一致。"},
}

DisputePath = Annotated[RecordId, Path()]
NamedSide = Literal["earner", "recipient"]


class Complaint(BaseModel):
    """Which record is disputed, and why: `served` for a rejected one, else what is wrong with it. Staff may name the
    side that they write for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dispute: RecordId | None = None
    record: RecordId
    ground: Ground
    side: NamedSide | None = None
    text: Text | None = None


class Statement(BaseModel):
    """What is said for a side, in a fixed word and in one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ground: Ground
    side: NamedSide | None = None
    text: Text | None = None


class Verdict(BaseModel):
    """For whoever opened the dispute, or against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["upheld", "dismissed"]
    text: Text | None = None


class DisputePage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("", status_code=201, response_model=Written, summary="提出争议 Open a dispute")
async def open_a_dispute(
    request: Request, caller: Writer, command: Complaint, idempotency_key: IdempotencyKey = None
) -> Response:
    """Dispute a confirmed or rejected record: by a member of the household that earns or of the one that was served, or
    by staff. Its minutes are held until it is decided."""
    service: Service = request.app.state.service
    settled_at = await asyncio.to_thread(_settled_at, service.bank.store, command.record)
    opening = OpenDispute(**dict(command), salt=_salt(idempotency_key), settled_at=settled_at)
    accepted = await service.execute(open_dispute, opening, caller, idempotency_key)
    number: str = accepted.facts[0].dispute  # type: ignore[attr-defined]
    await _remember(service, number, opening, accepted)
    return written(accepted, dispute=number, record=command.record)


def _settled_at(store: PostgresFactStore, record: str) -> datetime:
    """When the journal recorded that a record was settled; now where it wasn't, which the decision will refuse.

    Raises: StoreUnavailable.
    """
    cold, tail = store.read_boundary(["record:" + record], store.head())
    times = [
        recorded.recorded_at_microseconds
        for recorded in (*cold, *tail)
        if isinstance(fact := recorded.envelope.fact, HoursConfirmed | HoursRejected) and fact.record == record
    ]
    return EPOCH + timedelta(microseconds=times[-1]) if times else datetime.now(UTC)


@router.post("/{dispute}/statement", status_code=201, response_model=Written, summary="陈述 State a case")
async def state_a_case(
    request: Request,
    caller: Writer,
    dispute: DisputePath,
    command: Annotated[Statement, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Say what is to be said for one's own household; staff write down what either household told them."""
    service: Service = request.app.state.service
    statement = StateCase(dispute=dispute, salt=_salt(idempotency_key), **dict(command))
    accepted = await service.execute(state_case, statement, caller, idempotency_key)
    await _remember(service, dispute, statement, accepted)
    return written(accepted, dispute=dispute)


@router.post("/{dispute}/decision", status_code=201, response_model=Written, summary="决定 Decide")
async def decide_a_dispute(
    request: Request,
    caller: Staff,
    dispute: DisputePath,
    command: Annotated[Verdict, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Uphold or dismiss. Upheld, a confirmed record is reversed with it, and a rejected one confirmed after all."""
    service: Service = request.app.state.service
    decision = DecideDispute(dispute=dispute, salt=_salt(idempotency_key), **dict(command))
    accepted = await service.execute(decide_dispute, decision, caller, idempotency_key)
    await _remember(service, dispute, decision, accepted)
    return written(accepted, dispute=dispute)


@router.post("/{dispute}/withdrawal", status_code=201, response_model=Written, summary="撤回 Withdraw")
async def withdraw_a_dispute(
    request: Request, caller: Writer, dispute: DisputePath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take back a dispute that one opened; the minutes are released."""
    service: Service = request.app.state.service
    accepted = await service.execute(withdraw_dispute, WithdrawDispute(dispute=dispute), caller, idempotency_key)
    return written(accepted, dispute=dispute)


async def _remember(
    service: Service, number: str, command: OpenDispute | StateCase | DecideDispute, accepted: Accepted
) -> None:
    """Keep the words of a command in the vault, under the digest that its fact holds."""
    if command.kept is not None and command.text_digest is not None:
        key = _text_key(number, command.text_digest)
        await service.remember_remark(key, command.kept, overwrite=not accepted.repeated)


def _salt(idempotency_key: str | None) -> str:
    """The same for a repeated request, which must have the same digest. The journal doesn't hold the client's key."""
    if idempotency_key is None:
        return secrets.token_hex(16)
    return hashlib.blake2b(idempotency_key.encode(), digest_size=16, person=b"dispute salt").hexdigest()


def _text_key(number: str, digest: str) -> str:
    return f"dispute:{number}:{digest}"


@router.get("/{dispute}", response_model=dict[str, object], summary="查询争议 Read a dispute")
async def read_dispute(
    request: Request,
    caller: Reader,
    number: Annotated[RecordId, Path(alias="dispute")],
    min_position: MinPosition = None,
) -> Response:
    """One dispute and what was said in it. Its words are for those whom it concerns; auditors read their digests."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await dispute.dispute(connection, number)
        if row is None or not await _may_read(connection, caller, row):
            # Whoever may not read it isn't told either that it exists.
            raise UnknownDispute(number)
        said = await dispute.statements(connection, number)
        digests = {digest for digest in (row.decision_digest, *(one.text_digest for one in said)) if digest}
        keys = {digest: _text_key(number, digest) for digest in digests if caller.role != "auditor"}
        texts = await recalled_remarks(connection, service.bank.name, keys.values()) if keys else {}

    def words(digest: str | None) -> str | None:
        kept = None if digest is None else texts.get(keys.get(digest, ""))
        return None if kept is None else kept.partition("\n")[2]

    statements = [{**msgspec.to_builtins(one), "text": words(one.text_digest)} for one in said]
    decision = {"decision_text": words(row.decision_digest), "statements": statements}
    return answer({**msgspec.to_builtins(row), **decision})


async def _may_read(connection: AsyncConnection[Any], caller: Actor, row: DisputeListed) -> bool:
    """Auditors read all, staff their community's, members what concerns their household."""
    if caller.role in ("auditor", "admin"):
        return True
    if caller.role == "staff":
        return caller.community in (None, row.community)
    return caller.id == row.volunteer or await household.concerns(
        connection, caller.id, row.household, row.recipient_household
    )


@router.get("", response_model=DisputePage, summary="争议列表 List disputes")
async def list_disputes(
    request: Request,
    caller: Reader,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[Literal["open", "upheld", "dismissed", "withdrawn"] | None, Query()] = None,
    escalated: Annotated[bool | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Disputes in the order they were opened. Members see those that concern their household, staff their community's;
    `status=open` is the queue, and of it `escalated=true` the administrators'."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        own: list[str] | None = None
        if caller.role == "volunteer":
            person = await household.person(connection, caller.id)
            home = None if person is None else person.household
            own = [] if home is None else await household.stood_for(connection, home)
        rows = await dispute.disputes(
            connection,
            community=community,
            households=own,
            status=status,
            escalated=escalated,
            after=after,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: row.opened_position, position)


# ── What falls due ───────────────────────────────────────────────────────────────────────────────────────────────


def late_disputes(
    connection: psycopg.Connection[Any], now: datetime, _: PolicyBook
) -> Iterator[tuple[str, EscalateDispute]]:
    """Open disputes past the day by which they were to be decided."""
    for number in due_disputes(connection.cursor(), now):
        yield number, EscalateDispute(dispute=number)


def silent_records(
    connection: psycopg.Connection[Any], now: datetime, book: PolicyBook
) -> Iterator[tuple[str, SettleSilence]]:
    """Records that nobody answered for as long as the policy of their day waits."""
    waits = [days for adopted in book.versions if (days := adopted.policy.silence_days) is not None]
    if not waits:
        return
    oldest = microseconds(now - timedelta(days=min(waits)))
    for record, worked_on, logged_at in unanswered(connection.cursor(), oldest):
        days = book.in_force(worked_on).policy.silence_days
        if days is not None and logged_at <= microseconds(now - timedelta(days=days)):
            yield record, SettleSilence(record=record, logged_at=EPOCH + timedelta(microseconds=logged_at))
