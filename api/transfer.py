"""Minutes given away by households, and the family ties that allow it."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import IdempotencyKey, MinPosition, Written, answer, written
from api.household import HouseholdPath, _readable
from api.identity import Reader, Staff, Writer
from api.wiring import Service
from api.writing import WritingRoute
from domain.household import UnknownHousehold
from domain.refusal import Refusal
from domain.transfer import (
    DonateMinutes,
    EndFamilyTie,
    RegisterFamilyTie,
    TransferMinutes,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)
from projections.transfer import family_ties

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["转赠与捐赠 transfers"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_family_tie": register_family_tie,
    "remove_family_tie": end_family_tie,
    "add_transfer": transfer,
    "add_donation": donate,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {"read_family_ties": (UnknownHousehold,)}
EXAMPLES: Final[dict[str, Any]] = {
    "add_family_tie": {"household": "H00001", "other_household": "H00002"},
    "remove_family_tie": {"household": "H00001", "other_household": "H00002"},
    "add_transfer": {"household": "H00001", "recipient_household": "H00002", "minutes": 60},
    "add_donation": {"household": "H00001", "minutes": 60},
}


class FamilyTies(BaseModel):
    items: list[dict[str, object]]


@router.post("/family-ties", status_code=201, response_model=Written, summary="登记亲属 Register family")
async def add_family_tie(
    request: Request, caller: Staff, command: RegisterFamilyTie, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register two households as family. Never one's own household."""
    service: Service = request.app.state.service
    return written(await service.execute(register_family_tie, command, caller, idempotency_key))


@router.post("/family-ties/ending", status_code=201, response_model=Written, summary="解除亲属 End a family tie")
async def remove_family_tie(
    request: Request, caller: Staff, command: EndFamilyTie, idempotency_key: IdempotencyKey = None
) -> Response:
    """End a family tie; what was given on it stays given."""
    service: Service = request.app.state.service
    return written(await service.execute(end_family_tie, command, caller, idempotency_key))


@router.get("/households/{household}/family-ties", response_model=FamilyTies, summary="亲属户 Family ties")
async def read_family_ties(
    request: Request, caller: Reader, household: HouseholdPath, min_position: MinPosition = None
) -> Response:
    """The households that one is tied to as family. Members read their own household's, staff their community's."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    await _readable(service, caller, household)
    async with service.pool.connection() as connection:
        rows = await family_ties(connection, household)
    items = [
        {
            "household": row.other_household if row.household == household else row.household,
            "registered_by": row.registered_by,
            "registered_position": row.registered_position,
        }
        for row in rows
    ]
    return answer({"items": items})


@router.post("/transfers", status_code=201, response_model=Written, summary="转赠 Transfer minutes")
async def add_transfer(
    request: Request, caller: Writer, command: TransferMinutes, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give minutes of one's household to another, as far as the policy allows; staff do it at the household's
    request."""
    service: Service = request.app.state.service
    return written(await service.execute(transfer, command, caller, idempotency_key))


@router.post("/donations", status_code=201, response_model=Written, summary="捐赠 Donate minutes")
async def add_donation(
    request: Request, caller: Writer, command: DonateMinutes, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give minutes of one's household to a community's pool; staff do it at the household's request."""
    service: Service = request.app.state.service
    return written(await service.execute(donate, command, caller, idempotency_key))
