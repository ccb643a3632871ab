"""Sheets of group service: logged whole, and read."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Reader, Writer
from api.problems import Problem
from api.wiring import Service
from api.writing import WritingRoute
from domain.community import OutsideCommunity
from domain.identifiers import PlaceName, RecordId
from domain.refusal import Refusal
from domain.sheet import LogSheet, SheetLogged, log_sheet
from projections import sheet as sheets

router = APIRouter(route_class=WritingRoute, prefix="/v1/sheets", tags=["签到表 sheets"])

RULES: Final[dict[str, Callable[..., Any]]] = {"add_sheet": log_sheet}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_sheet": ("not-found",),
    "list_sheets": (OutsideCommunity,),
}

SheetPath = Annotated[RecordId, Path()]


class SheetWritten(Written):
    sheet: str


class SheetPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("", status_code=201, response_model=SheetWritten, summary="登记集体服务 Log a group's sheet")
async def add_sheet(
    request: Request, caller: Writer, command: LogSheet, idempotency_key: IdempotencyKey = None
) -> Response:
    """Log a service that up to 500 volunteers gave together: all of them, or none, with every refused row named."""
    service: Service = request.app.state.service
    accepted = await service.execute(log_sheet, command, caller, idempotency_key)
    logged = next(fact for fact in accepted.facts if isinstance(fact, SheetLogged))
    return written(accepted, sheet=logged.sheet, records=logged.records)


@router.get("/{sheet}", response_model=dict[str, object], summary="查询签到表 Read one sheet")
async def read_sheet(request: Request, caller: Reader, sheet: SheetPath, min_position: MinPosition = None) -> Response:
    """One sheet with the numbers of its records: to its leader, staff of the community and auditors."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await sheets.sheet(connection, sheet)
    if (
        row is None
        or (caller.role == "staff" and caller.community not in (None, row.community))
        or (caller.role == "volunteer" and caller.id != row.leader)
    ):
        raise Problem("not-found")
    return answer(row)


@router.get("", response_model=SheetPage, summary="签到表列表 List sheets")
async def list_sheets(
    request: Request,
    caller: Reader,
    community: Annotated[PlaceName | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Sheets in the order they were logged; volunteers see those that they led."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    leader = caller.id if caller.role == "volunteer" else None
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await sheets.sheets(connection, community=community, leader=leader, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.position, position)
