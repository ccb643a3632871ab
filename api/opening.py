"""Opening balances: what households held in older books."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, page, written
from api.grant import ListedStatus
from api.household import HouseholdPath
from api.identity import Inspector, Staff
from api.wiring import Service
from api.writing import WritingRoute
from domain.community import OutsideCommunity
from domain.identifiers import PlaceName, RecordId
from domain.opening import (
    ApproveOpeningBalance,
    ProposeOpeningBalance,
    RejectOpeningBalance,
    WhyNotOpened,
    WithdrawOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
    reject_opening_balance,
    withdraw_opening_balance,
)
from domain.refusal import Refusal
from projections import opening

router = APIRouter(route_class=WritingRoute, prefix="/v1/opening-balances", tags=["期初时间 opening balances"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_opening_balance": propose_opening_balance,
    "approve_opening": approve_opening_balance,
    "reject_opening": reject_opening_balance,
    "withdraw_opening": withdraw_opening_balance,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {"list_opening_balances": (OutsideCommunity,)}
EXAMPLES: Final[dict[str, Any]] = {
    "add_opening_balance": {"household": "H00001", "minutes": 1200},
    "approve_opening": {"opening": "OB00001"},
    "reject_opening": {"opening": "OB00001", "reason": "wrong-amount"},
    "withdraw_opening": {"opening": "OB00001"},
}


class WhichOpening(BaseModel):
    """The proposal that is meant, by its number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opening: RecordId


class RefusedOpening(BaseModel):
    """The proposal that is meant, and why it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opening: RecordId
    reason: WhyNotOpened


class OpeningPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class OpeningWritten(Written):
    opening: str


@router.post("", status_code=201, response_model=OpeningWritten, summary="申报期初 Propose an opening balance")
async def add_opening_balance(
    request: Request, caller: Staff, command: ProposeOpeningBalance, idempotency_key: IdempotencyKey = None
) -> Response:
    """Propose what a household held in older books, for another person to approve. Nothing moves yet."""
    service: Service = request.app.state.service
    accepted = await service.execute(propose_opening_balance, command, caller, idempotency_key)
    return written(accepted, opening=accepted.facts[0].opening)  # type: ignore[attr-defined]


@router.post(
    "/{household}/approval", status_code=201, response_model=Written, summary="批准期初 Approve an opening balance"
)
async def approve_opening(
    request: Request,
    caller: Staff,
    household: HouseholdPath,
    body: Annotated[WhichOpening, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Approve a proposed opening balance: it is credited, once a household. Never one's own proposal."""
    service: Service = request.app.state.service
    command = ApproveOpeningBalance(household=household, opening=body.opening)
    return written(await service.execute(approve_opening_balance, command, caller, idempotency_key))


@router.post(
    "/{household}/rejection", status_code=201, response_model=Written, summary="驳回期初 Reject an opening balance"
)
async def reject_opening(
    request: Request,
    caller: Staff,
    household: HouseholdPath,
    body: Annotated[RefusedOpening, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Refuse a proposed opening balance, for a reason; a right one may be proposed."""
    service: Service = request.app.state.service
    command = RejectOpeningBalance(household=household, opening=body.opening, reason=body.reason)
    return written(await service.execute(reject_opening_balance, command, caller, idempotency_key))


@router.post(
    "/{household}/withdrawal", status_code=201, response_model=Written, summary="撤回期初 Withdraw an opening balance"
)
async def withdraw_opening(
    request: Request,
    caller: Staff,
    household: HouseholdPath,
    body: Annotated[WhichOpening, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take one's own proposal back."""
    service: Service = request.app.state.service
    command = WithdrawOpeningBalance(household=household, opening=body.opening)
    return written(await service.execute(withdraw_opening_balance, command, caller, idempotency_key))


@router.get("", response_model=OpeningPage, summary="期初列表 List opening balances")
async def list_opening_balances(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[ListedStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Proposed opening balances in their order; ``status=open`` are those that wait for a second person."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await opening.openings(connection, community=community, status=status, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.proposed_position, position)
