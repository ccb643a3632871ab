"""Households that live, over HTTP: members leave, move and die; households move, are split, merged and closed."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.answers import After, IdempotencyKey, Limit, MinPosition, Written, page, written
from api.identity import Inspector, Staff
from api.wiring import Service
from api.writing import WritingRoute
from domain.household_life import (
    CallOffMove,
    CloseHousehold,
    LeaveHousehold,
    MergeHouseholds,
    MoveHousehold,
    MoveMember,
    RecordDeath,
    SplitHousehold,
    call_off_move,
    close_household,
    leave_household,
    merge_households,
    move_household,
    move_member,
    record_death,
    split_household,
)
from domain.identifiers import HouseholdId
from domain.refusal import Refusal
from projections import household

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["户与成员 households"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_departure": leave_household,
    "add_member_move": move_member,
    "add_death": record_death,
    "add_household_move": move_household,
    "call_off_household_move": call_off_move,
    "add_household_split": split_household,
    "add_household_merger": merge_households,
    "add_household_closure": close_household,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {}
EXAMPLES: Final[dict[str, Any]] = {
    "add_departure": {"member": "V00001"},
    "add_member_move": {"member": "V00001", "into": "H00002"},
    "add_death": {"member": "V00001"},
    "add_household_move": {"household": "H00001", "community": "金湖社区", "moved_on": "2026-11-01"},
    "add_household_split": {"household": "H00001", "into": "H90001", "members": ["V00001"], "minutes": 600},
    "add_household_merger": {"household": "H00002", "into": "H00001"},
    "add_household_closure": {"household": "H00001", "cause": "moved-away"},
}


class DesertedHousehold(BaseModel):
    household: str
    community: str
    grid: str
    status: str
    members: int
    deserted_position: int = Field(description="Where in the journal its last member left or died.")
    heir: str | None
    closed_position: int | None
    moves_on: str | None
    moves_to: str | None
    move_planned_position: int | None


class DesertedPage(BaseModel):
    items: list[DesertedHousehold]
    next: str | None
    position: int


@router.post("/departures", status_code=201, response_model=Written, summary="成员离户 A member leaves")
async def add_departure(
    request: Request, caller: Staff, command: LeaveHousehold, idempotency_key: IdempotencyKey = None
) -> Response:
    """A member leaves the household; the balance stays with it. Who is in no household can't log hours, and keeps their
    number, age and enrolment for the one they join."""
    service: Service = request.app.state.service
    return written(await service.execute(leave_household, command, caller, idempotency_key))


@router.post("/member-moves", status_code=201, response_model=Written, summary="成员转户 A member changes household")
async def add_member_move(
    request: Request, caller: Staff, command: MoveMember, idempotency_key: IdempotencyKey = None
) -> Response:
    """A member goes from one household to another; what they earned so far stays where it is."""
    service: Service = request.app.state.service
    return written(await service.execute(move_member, command, caller, idempotency_key))


@router.post("/deaths", status_code=201, response_model=Written, summary="登记去世 A member died")
async def add_death(
    request: Request, caller: Staff, command: RecordDeath, idempotency_key: IdempotencyKey = None
) -> Response:
    """A member has died: nothing is logged for them any more, and their tokens end. The household keeps its balance."""
    service: Service = request.app.state.service
    accepted = await service.execute(record_death, command, caller, idempotency_key)
    await service.revoke_tokens(command.member)
    return written(accepted)


@router.post("/household-moves", status_code=201, response_model=Written, summary="户迁移 A household moves")
async def add_household_move(
    request: Request, caller: Staff, command: MoveHousehold, idempotency_key: IdempotencyKey = None
) -> Response:
    """A household has moved to another community or grid of the district, or will: with a day to come the move is
    planned, and done by itself on that day; a new plan takes the place of the old one. History stays where it was."""
    service: Service = request.app.state.service
    return written(await service.execute(move_household, command, caller, idempotency_key))


@router.post(
    "/household-moves/{household}/cancellation",
    status_code=201,
    response_model=Written,
    summary="取消预定的迁移 Call off",
)
async def call_off_household_move(
    request: Request,
    caller: Staff,
    number: Annotated[HouseholdId, Path(alias="household")],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A household won't move as planned."""
    service: Service = request.app.state.service
    command = CallOffMove(household=number)
    return written(await service.execute(call_off_move, command, caller, idempotency_key))


@router.post("/household-splits", status_code=201, response_model=Written, summary="分户 Split a household")
async def add_household_split(
    request: Request, caller: Staff, command: SplitHousehold, idempotency_key: IdempotencyKey = None
) -> Response:
    """Some members become a household of their own, with a share of the balance."""
    service: Service = request.app.state.service
    return written(await service.execute(split_household, command, caller, idempotency_key))


@router.post("/household-mergers", status_code=201, response_model=Written, summary="并户 Merge households")
async def add_household_merger(
    request: Request, caller: Staff, command: MergeHouseholds, idempotency_key: IdempotencyKey = None
) -> Response:
    """All members and the whole balance of a household go to another one, which stands in its place from now on."""
    service: Service = request.app.state.service
    return written(await service.execute(merge_households, command, caller, idempotency_key))


@router.post("/household-closures", status_code=201, response_model=Written, summary="销户 Close a household")
async def add_household_closure(
    request: Request, caller: Staff, command: CloseHousehold, idempotency_key: IdempotencyKey = None
) -> Response:
    """Close a household for good. Its balance goes to the household that takes it over, or where the policy says."""
    service: Service = request.app.state.service
    return written(await service.execute(close_household, command, caller, idempotency_key))


@router.get("/deserted-households", response_model=DesertedPage, summary="待销户 Households to close")
async def list_deserted(
    request: Request, caller: Inspector, after: After = "", limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """Open households whose last member left or died, in the order of their numbers. Staff see their community's."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    community = caller.community if caller.role == "staff" else None
    async with service.pool.connection() as connection:
        rows = await household.deserted(connection, community=community, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.household, position)
