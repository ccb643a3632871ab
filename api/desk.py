"""Desk entry from paper: keyed by two people, and logged once they agree."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Inspector, Staff
from api.problems import Problem
from api.wiring import Service
from api.writing import WritingRoute
from domain.community import OutsideCommunity
from domain.desk import KeyPaper, PaperAgreed, PaperKeyed, key_paper
from domain.identifiers import PlaceName, RecordId
from domain.refusal import Refusal
from projections import desk

router = APIRouter(route_class=WritingRoute, prefix="/v1/papers", tags=["纸质表录入 papers"])

RULES: Final[dict[str, Callable[..., Any]]] = {"add_keying": key_paper}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_paper": ("not-found",),
    "list_papers": (OutsideCommunity,),
}

PaperPath = Annotated[RecordId, Path()]
ListedPaperStatus = Literal["keyed", "differing", "logged"]


class Difference(BaseModel):
    """One place where two keyings differ; row -1 is the paper as a whole."""

    row: int
    field: str
    earlier: str
    now: str


class PaperWritten(Written):
    paper: str
    differences: list[Difference] = Field(description="From what another person keyed last; nothing is logged yet.")


class PaperPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("", status_code=201, response_model=PaperWritten, summary="录入纸质表 Key a paper sheet")
async def add_keying(
    request: Request, caller: Staff, command: KeyPaper, idempotency_key: IdempotencyKey = None
) -> Response:
    """Key a paper sheet. The first keying logs nothing; a second person's that is alike logs all its records, and one
    that differs is answered with the differences."""
    service: Service = request.app.state.service
    accepted = await service.execute(key_paper, command, caller, idempotency_key)
    match accepted.facts[0]:
        case PaperAgreed(records=records):
            return written(accepted, paper=command.paper, differences=[], records=records)
        case PaperKeyed(differences=differences):
            return written(accepted, paper=command.paper, differences=differences)
        case other:
            raise TypeError(f"{other!r} is no keying")


@router.get("/{paper}", response_model=dict[str, object], summary="查询纸质表 Read one paper")
async def read_paper(
    request: Request, caller: Inspector, paper: PaperPath, min_position: MinPosition = None
) -> Response:
    """Where one paper stands: keyed once, differing, or logged. What was keyed isn't shown before two agree."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await desk.paper(connection, paper)
    if row is None or (caller.role == "staff" and caller.community not in (None, row.community)):
        raise Problem("not-found")
    return answer(row)


@router.get("", response_model=PaperPage, summary="纸质表列表 List papers")
async def list_papers(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[ListedPaperStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Papers in the order in which something last happened to them: `keyed` ones wait for a second person."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await desk.papers(connection, community=community, status=status, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.position, position)
