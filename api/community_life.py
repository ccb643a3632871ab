"""Places that change, over HTTP: communities are renamed, split and merged, grids moved, each from a day on."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.answers import IdempotencyKey, Written, written
from api.identity import Admin
from api.wiring import Service
from api.writing import WritingRoute
from domain.community_life import (
    MergeCommunities,
    MoveGrid,
    RenameCommunity,
    RenameGrids,
    SplitCommunity,
    merge_communities,
    move_grid,
    rename_community,
    rename_grids,
    split_community,
)

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["社区与时间池 communities"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_community_name": rename_community,
    "add_community_merger": merge_communities,
    "add_community_split": split_community,
    "add_grid_move": move_grid,
    "add_grid_names": rename_grids,
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_community_name": {"community": "新竹社区", "name": "新竹一社区", "effective_on": "2030-01-01"},
    "add_community_merger": {"community": "新竹社区", "into": "金湖社区", "effective_on": "2030-01-01"},
    "add_community_split": {
        "community": "新竹社区",
        "into": "新竹东社区",
        "grids": ["第3网格"],
        "minutes": 6000,
        "effective_on": "2030-01-01",
    },
    "add_grid_move": {
        "community": "新竹社区",
        "grid": ["第3网格"],
        "into_community": "金湖社区",
        "into_grid": ["第1网格"],
        "effective_on": "2030-01-01",
    },
    "add_grid_names": {
        "community": "新竹社区",
        "names": [{"grid": ["第1网格"], "name": "第3网格"}, {"grid": ["第3网格"], "name": "第1网格"}],
        "effective_on": "2030-01-01",
    },
}


@router.post("/community-names", status_code=201, response_model=Written, summary="社区更名 Rename a community")
async def add_community_name(
    request: Request, caller: Admin, command: RenameCommunity, idempotency_key: IdempotencyKey = None
) -> Response:
    """A community is called otherwise from a day on. Its id stays, and with it everything that names it."""
    service: Service = request.app.state.service
    return written(await service.execute(rename_community, command, caller, idempotency_key))


@router.post("/community-mergers", status_code=201, response_model=Written, summary="社区合并 Merge communities")
async def add_community_merger(
    request: Request, caller: Admin, command: MergeCommunities, idempotency_key: IdempotencyKey = None
) -> Response:
    """A community becomes a part of another one from a day on: that day its pool and households follow. Tokens of its
    staff are bound to its id; give them new ones."""
    service: Service = request.app.state.service
    return written(await service.execute(merge_communities, command, caller, idempotency_key))


@router.post("/community-splits", status_code=201, response_model=Written, summary="社区拆分 Split a community")
async def add_community_split(
    request: Request, caller: Admin, command: SplitCommunity, idempotency_key: IdempotencyKey = None
) -> Response:
    """Some base grids become a new community from a day on, with a share of the pool: it is held until that day, and
    then goes over by itself, as do the households."""
    service: Service = request.app.state.service
    return written(await service.execute(split_community, command, caller, idempotency_key))


@router.post("/grid-moves", status_code=201, response_model=Written, summary="网格变更 Move a grid")
async def add_grid_move(
    request: Request, caller: Admin, command: MoveGrid, idempotency_key: IdempotencyKey = None
) -> Response:
    """A grid and all below it becomes another registered one from a day on: renamed, merged, or another community's."""
    service: Service = request.app.state.service
    return written(await service.execute(move_grid, command, caller, idempotency_key))


@router.post("/grid-names", status_code=201, response_model=Written, summary="网格更名 Rename grids")
async def add_grid_names(
    request: Request, caller: Admin, command: RenameGrids, idempotency_key: IdempotencyKey = None
) -> Response:
    """Grids of a community are called otherwise, all from one day on, so that two of them can swap their names. Their
    paths stay, and with them everything that names them."""
    service: Service = request.app.state.service
    return written(await service.execute(rename_grids, command, caller, idempotency_key))
