"""Inspection: samples drawn, records inspected and findings closed by auditors; findings answered by staff."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.dispute import _salt
from api.identity import Auditor, Inspector, Staff
from api.wiring import Service, Timebank, one_moment
from api.writing import WritingRoute
from application.write_loop import Accepted
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.dispute import Text, WithText
from domain.identifiers import PlaceName, RecordId
from domain.inspection import (
    AnswerFinding,
    CloseFinding,
    DrawSample,
    FindingOutcome,
    FindingRecorded,
    InspectRecord,
    Matter,
    Measure,
    RecordFinding,
    SampleDrawn,
    SampleWanted,
    Severity,
    UnknownFinding,
    UnknownSample,
    answer_finding,
    close_finding,
    draw_records,
    draw_sample,
    inspect_record,
    record_finding,
)
from domain.refusal import Refusal
from infrastructure.vault import recalled_remarks
from projections import inspection
from projections.inspection import FindingRow, to_draw_from

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["查验 inspection"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_sample": draw_sample,
    "inspect_a_record": inspect_record,
    "add_finding": record_finding,
    "answer_a_finding": answer_finding,
    "close_a_finding": close_finding,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_sample": (UnknownSample,),
    "read_finding": (UnknownFinding,),
    "list_findings": (OutsideCommunity,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_finding": {"severity": "moderate", "matter": "no-evidence", "sample": "2026-10-A", "record": "R1"},
    "answer_a_finding": {"measure": "corrected", "text": "已补充签到表。"},
    "close_a_finding": {"outcome": "resolved"},
}

SamplePath = Annotated[RecordId, Path(alias="sample")]
RecordPath = Annotated[RecordId, Path(alias="record")]
FindingPath = Annotated[RecordId, Path(alias="finding")]


class SampleWritten(Written):
    sample: str = Field(description="The sample's number.")


class FindingWritten(Written):
    finding: str = Field(description="The finding's number.")


class Fault(BaseModel):
    """What is wrong, in fixed words and in one's own: with a record of a sample, another record, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: RecordId | None = None
    severity: Severity
    matter: Matter
    sample: RecordId | None = None
    record: RecordId | None = None
    text: Text | None = None


class Reply(BaseModel):
    """What was done about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Measure
    text: Text | None = None


class Closing(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: FindingOutcome
    text: Text | None = None


class InspectionPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


# ── Samples ──────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/samples", status_code=201, response_model=SampleWritten, summary="抽样 Draw a sample")
async def add_sample(
    request: Request, caller: Auditor, command: SampleWanted, idempotency_key: IdempotencyKey = None
) -> Response:
    """Draw service records from all that are logged now, by a method that anybody can repeat. By auditors."""
    service: Service = request.app.state.service
    await service.fresh(await asyncio.to_thread(service.bank.store.head))
    drawing = await asyncio.to_thread(prepared, service.bank, command)
    accepted = await service.execute(draw_sample, drawing, caller, idempotency_key)
    (drawn,) = (fact for fact in accepted.facts if isinstance(fact, SampleDrawn))
    return written(accepted, sample=drawn.sample)


def prepared(bank: Timebank, wanted: SampleWanted, size: int | None = None) -> DrawSample:
    """The command to record a draw from what the log held up to ``size`` (a position; None: now)."""
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        size = position if size is None else min(size, position)
        population = to_draw_from(cursor, size, wanted.period)
    drawn = draw_records(bank.name, wanted.seed, size, wanted.period, population, wanted.count)
    return DrawSample(**dict(wanted), drawn=drawn)


@router.post(
    "/samples/{sample}/records/{record}/inspection",
    status_code=201,
    response_model=SampleWritten,
    summary="查验无误 Inspect a record",
)
async def inspect_a_record(
    request: Request,
    caller: Auditor,
    number: SamplePath,
    record: RecordPath,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Say that a record of the sample is in order. What isn't is a finding, which counts as inspected too."""
    service: Service = request.app.state.service
    command = InspectRecord(sample=number, record=record)
    accepted = await service.execute(inspect_record, command, caller, idempotency_key)
    return written(accepted, sample=number, record=record)


@router.get("/samples", response_model=InspectionPage, summary="抽样列表 List samples")
async def list_samples(
    request: Request, _: Inspector, after: AfterPosition = 0, limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """Samples in the order they were drawn, with how many of their records were inspected."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await inspection.samples(connection, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.drawn_position, position)


@router.get("/samples/{sample}", response_model=dict[str, object], summary="一次抽样 A sample")
async def read_sample(
    request: Request, caller: Inspector, number: SamplePath, min_position: MinPosition = None
) -> Response:
    """A sample with its records and what became of each; staff of a community see its own records of it."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await inspection.sample(connection, number)
        if row is None:
            raise UnknownSample(number)
        records = await inspection.drawn_records(connection, number, caller.community)
    shown = [{name: value for name, value in msgspec.to_builtins(one).items() if name != "key"} for one in records]
    return answer({**msgspec.to_builtins(row), "records": shown, "position": position})


# ── Findings ─────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/findings", status_code=201, response_model=FindingWritten, summary="提出问题 Record a finding")
async def add_finding(
    request: Request, caller: Auditor, command: Fault, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say what is wrong, how bad it is, and with which record. What is said in words goes to the vault. By auditors."""
    service: Service = request.app.state.service
    recording = RecordFinding(salt=_salt(idempotency_key), **dict(command))
    accepted = await service.execute(record_finding, recording, caller, idempotency_key)
    (recorded,) = (fact for fact in accepted.facts if isinstance(fact, FindingRecorded))
    await _remember(service, recorded.finding, recording, accepted)
    return written(accepted, finding=recorded.finding)


@router.post(
    "/findings/{finding}/answer", status_code=201, response_model=FindingWritten, summary="答复问题 Answer a finding"
)
async def answer_a_finding(
    request: Request,
    caller: Staff,
    number: FindingPath,
    body: Annotated[Reply, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Say what was done about a finding: by staff of the record's community, or of the district."""
    service: Service = request.app.state.service
    command = AnswerFinding(finding=number, salt=_salt(idempotency_key), **dict(body))
    accepted = await service.execute(answer_finding, command, caller, idempotency_key)
    await _remember(service, number, command, accepted)
    return written(accepted, finding=number)


@router.post(
    "/findings/{finding}/closing", status_code=201, response_model=FindingWritten, summary="问题结案 Close a finding"
)
async def close_a_finding(
    request: Request,
    caller: Auditor,
    number: FindingPath,
    body: Annotated[Closing, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Close a finding that was answered, or that turned out to be unfounded. By auditors."""
    service: Service = request.app.state.service
    command = CloseFinding(finding=number, salt=_salt(idempotency_key), **dict(body))
    accepted = await service.execute(close_finding, command, caller, idempotency_key)
    await _remember(service, number, command, accepted)
    return written(accepted, finding=number)


async def _remember(service: Service, number: str, command: WithText, accepted: Accepted) -> None:
    """Keep the words of a command in the vault, under the digest that its fact holds."""
    if command.kept is not None and command.text_digest is not None:
        key = _text_key(number, command.text_digest)
        await service.remember_remark(key, command.kept, overwrite=not accepted.repeated)


def _text_key(number: str, digest: str) -> str:
    return f"finding:{number}:{digest}"


@router.get("/findings", response_model=InspectionPage, summary="问题列表 List findings")
async def list_findings(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[Literal["open", "answered", "closed"] | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Findings in the order they were recorded; staff of a community see those about its records."""
    service: Service = request.app.state.service
    if caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await inspection.findings(connection, community=community, status=status, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.found_position, position)


@router.get("/findings/{finding}", response_model=dict[str, object], summary="一个问题 A finding")
async def read_finding(
    request: Request, caller: Inspector, number: FindingPath, min_position: MinPosition = None
) -> Response:
    """One finding, with what was said about it."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await inspection.finding(connection, number)
        if row is None or not _may_read(caller, row):
            # Whoever may not read it isn't told either that it exists.
            raise UnknownFinding(number)
        digests = (row.text_digest, row.answer_digest, row.closing_digest)
        keys = [_text_key(number, digest) for digest in digests if digest is not None]
        texts = await recalled_remarks(connection, service.bank.name, keys) if keys else {}

    def words(digest: str | None) -> str | None:
        kept = None if digest is None else texts.get(_text_key(number, digest))
        return None if kept is None else kept.partition("\n")[2]

    said = {name: words(digest) for name, digest in zip(("text", "answer_text", "closing_text"), digests, strict=True)}
    return answer({**msgspec.to_builtins(row), **said})


def _may_read(caller: Actor, row: FindingRow) -> bool:
    return caller.community in (None, row.community)
