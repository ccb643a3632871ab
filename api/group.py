"""Groups of volunteers: registered, joined and left, and what they donate."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import After, AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Inspector, Reader, Staff, Writer
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import group_account
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.group import (
    AppointGroupLeader,
    DonateGroupMinutes,
    GroupGift,
    JoinGroup,
    LeaveGroup,
    RegisterGroup,
    UnknownGroup,
    appoint_group_leader,
    donate_group_minutes,
    join_group,
    leave_group,
    register_group,
)
from domain.identifiers import PersonId, PlaceName, RecordId
from domain.refusal import Refusal
from projections import account, group

router = APIRouter(route_class=WritingRoute, prefix="/v1/groups", tags=["志愿团队 groups"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_group": register_group,
    "add_group_member": join_group,
    "remove_group_member": leave_group,
    "set_group_leader": appoint_group_leader,
    "add_group_donation": donate_group_minutes,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "list_groups": (OutsideCommunity,),
    "read_group": (UnknownGroup,),
    "read_group_statement": (UnknownGroup,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_group": {"group": "G001", "community": "新竹社区", "leader": "V00001"},
    "add_group_member": {"member": "V00002"},
    "remove_group_member": {"member": "V00002"},
    "set_group_leader": {"member": "V00002"},
    "add_group_donation": {"minutes": 60, "household": "H00002", "need": "living-alone"},
}

GroupPath = Annotated[RecordId, Path(alias="group")]


class GroupMember(BaseModel):
    """A person in a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: PersonId


class GroupPage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


class GroupStatement(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("", status_code=201, response_model=Written, summary="登记团队 Register a group")
async def add_group(
    request: Request, caller: Staff, command: RegisterGroup, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register a group of volunteers in a community, with its leader."""
    service: Service = request.app.state.service
    return written(await service.execute(register_group, command, caller, idempotency_key))


@router.post("/{group}/members", status_code=201, response_model=Written, summary="加入团队 Join a group")
async def add_group_member(
    request: Request,
    caller: Writer,
    number: GroupPath,
    body: Annotated[GroupMember, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take a person into a group: its leader does, or the community's staff."""
    service: Service = request.app.state.service
    command = JoinGroup(group=number, member=body.member)
    return written(await service.execute(join_group, command, caller, idempotency_key))


@router.post("/{group}/departures", status_code=201, response_model=Written, summary="退出团队 Leave a group")
async def remove_group_member(
    request: Request,
    caller: Writer,
    number: GroupPath,
    body: Annotated[GroupMember, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Leave a group; its leader and the community's staff take others off."""
    service: Service = request.app.state.service
    command = LeaveGroup(group=number, member=body.member)
    return written(await service.execute(leave_group, command, caller, idempotency_key))


@router.post("/{group}/leader", status_code=201, response_model=Written, summary="更换负责人 Appoint a leader")
async def set_group_leader(
    request: Request,
    caller: Writer,
    number: GroupPath,
    body: Annotated[GroupMember, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Have another member of the group lead it."""
    service: Service = request.app.state.service
    command = AppointGroupLeader(group=number, leader=body.member)
    return written(await service.execute(appoint_group_leader, command, caller, idempotency_key))


@router.post("/{group}/donations", status_code=201, response_model=Written, summary="团队捐赠 Donate a group's minutes")
async def add_group_donation(
    request: Request,
    caller: Writer,
    number: GroupPath,
    body: Annotated[GroupGift, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Give minutes of a group to a pool, or to a household in need. A group's minutes can be spent in no other way."""
    service: Service = request.app.state.service
    command = DonateGroupMinutes(group=number, **body.model_dump())
    return written(await service.execute(donate_group_minutes, command, caller, idempotency_key))


@router.get("", response_model=GroupPage, summary="团队列表 List groups")
async def list_groups(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    after: After = "",
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Groups with their leaders and what their accounts hold. Staff see their own community's."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await group.groups(connection, community=community, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.group, position)


@router.get("/{group}", response_model=dict[str, object], summary="团队 One group")
async def read_group(request: Request, caller: Reader, number: GroupPath, min_position: MinPosition = None) -> Response:
    """One group, its members and what its account holds. Members read their own groups', staff their community's."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    row, members = await _readable(service, caller, number)
    return answer(
        {
            "group": row.group,
            "community": row.community,
            "leader": row.leader,
            "members": members,
            "balance_minutes": row.balance_minutes,
        }
    )


@router.get("/{group}/statement", response_model=GroupStatement, summary="团队流水 Statement")
async def read_group_statement(
    request: Request,
    caller: Reader,
    number: GroupPath,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Every movement of a group's account, with its position in the journal and the running balance."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    await _readable(service, caller, number)
    async with service.pool.connection() as connection:
        rows = await account.statement(connection, group_account(number), after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.position, position)


async def _readable(service: Service, caller: Actor, number: str) -> tuple[group.GroupListed, list[str]]:
    """A group and its members, for those who may read it; to others it doesn't exist. Raises: UnknownGroup."""
    async with service.pool.connection() as connection:
        row = await group.group(connection, number)
        members = await group.group_members(connection, number)
    if row is None:
        raise UnknownGroup(number)
    match caller.role:
        case "auditor" | "admin":
            return row, members
        case "staff" if caller.community in (None, row.community):
            return row, members
        case "volunteer" if caller.id in members:
            return row, members
        case _:
            raise UnknownGroup(number)
