"""Communities, their grids and their pools."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import After, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Admin, Anyone, Inspector, Staff
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes, pool_account
from domain.community import (
    OutsideCommunity,
    RegisterCommunity,
    RegisterGrid,
    UnknownCommunity,
    register_community,
    register_grid,
)
from domain.identifiers import PlaceName
from domain.refusal import Refusal
from projections import account, community

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["社区与时间池 communities"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_community": register_community,
    "add_grid": register_grid,
    "add_funding": fund_pool,
    "add_grant": grant_minutes,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "list_grids": (UnknownCommunity,),
    "read_pool": (OutsideCommunity, UnknownCommunity),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_community": {"community": "新竹社区"},
    "add_grid": {"community": "新竹社区", "grid": ["第3网格"]},
    "add_funding": {"community": "新竹社区", "minutes": 6000},
    "add_grant": {"household": "H00001", "minutes": 120, "need": "living-alone"},
}

CommunityId = Annotated[PlaceName, Path()]


class CommunityPage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


class PoolBalance(BaseModel):
    community: str
    balance_minutes: int
    last_position: int
    position: int


@router.post("/communities", status_code=201, response_model=Written, summary="登记社区 Register a community")
async def add_community(
    request: Request, caller: Admin, command: RegisterCommunity, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register a community of the district."""
    service: Service = request.app.state.service
    return written(await service.execute(register_community, command, caller, idempotency_key))


@router.post("/grids", status_code=201, response_model=Written, summary="登记网格 Register a grid")
async def add_grid(
    request: Request, caller: Staff, command: RegisterGrid, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register a grid below a community: base grid first, then meta grid, then building grid."""
    service: Service = request.app.state.service
    return written(await service.execute(register_grid, command, caller, idempotency_key))


@router.get("/communities", response_model=CommunityPage, summary="社区列表 List communities")
async def list_communities(
    request: Request, _: Anyone, after: After = "", limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """The district's communities, what they are called today, how many grids each has, and which of them become, or
    became, a part of another one. Public."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await community.communities(
            connection, today=datetime.now(service.bank.zone).date(), after=after, limit=limit + 1
        )
    return page(rows, limit, lambda row: row.community, position)


@router.get("/communities/{community_id}/grids", response_model=CommunityPage, summary="网格列表 List grids")
async def list_grids(
    request: Request,
    _: Anyone,
    community_id: CommunityId,
    after: After = "",
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """One community's grids, in the order of their paths, and what each is called today. Public."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        today = datetime.now(service.bank.zone).date()
        rows = await community.grids(connection, community_id, today=today, after=after, limit=limit + 1)
        if not rows and await account.account(connection, pool_account(community_id)) is None:
            raise UnknownCommunity(community_id)
    return page(rows, limit, lambda row: row.grid, position)


@router.post("/pools/funding", status_code=201, response_model=Written, summary="注入时间池 Fund a pool")
async def add_funding(
    request: Request, caller: Admin, command: FundPool, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give a community's pool minutes from issuance."""
    service: Service = request.app.state.service
    return written(await service.execute(fund_pool, command, caller, idempotency_key))


@router.post("/grants", status_code=201, response_model=Written, summary="拨付 Grant minutes")
async def add_grant(
    request: Request, caller: Staff, command: GrantMinutes, idempotency_key: IdempotencyKey = None
) -> Response:
    """Grant a household minutes from its community's pool, for a need."""
    service: Service = request.app.state.service
    return written(await service.execute(grant_minutes, command, caller, idempotency_key))


@router.get("/communities/{community_id}/pool", response_model=PoolBalance, summary="时间池余额 Pool balance")
async def read_pool(
    request: Request, caller: Inspector, community_id: CommunityId, min_position: MinPosition = None
) -> Response:
    """What a community's pool holds. Staff read their own community's."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community not in (None, community_id):
        raise OutsideCommunity(community_id, caller.community or "")
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await account.account(connection, pool_account(community_id))
    if row is None:
        raise UnknownCommunity(community_id)
    return answer(
        {
            "community": community_id,
            "balance_minutes": row.balance_minutes,
            "last_position": row.last_position,
            "position": position,
        }
    )
