"""Grants that a second person approves, and the starting grant."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, page, written
from api.identity import Inspector, Staff
from api.wiring import Service
from api.writing import WritingRoute
from domain.community import OutsideCommunity
from domain.grant import (
    ApproveGrant,
    GrantStartingMinutes,
    ProposeGrant,
    RejectGrant,
    WhyNot,
    WithdrawGrant,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
    reject_grant,
    withdraw_grant,
)
from domain.identifiers import PlaceName, RecordId
from domain.refusal import Refusal
from projections import grant

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["拨付 grants"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_grant_proposal": propose_grant,
    "approve_grant_proposal": approve_grant,
    "reject_grant_proposal": reject_grant,
    "withdraw_grant_proposal": withdraw_grant,
    "add_starting_grant": grant_starting_minutes,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {"list_grant_proposals": (OutsideCommunity,)}
EXAMPLES: Final[dict[str, Any]] = {
    "add_grant_proposal": {"household": "H00001", "minutes": 1200, "need": "low-income"},
    "reject_grant_proposal": {"reason": "not-proven"},
    "add_starting_grant": {"household": "H00001", "need": "living-alone"},
}

GrantPath = Annotated[RecordId, Path(alias="grant")]
ListedStatus = Literal["open", "approved", "rejected", "withdrawn"]


class WithWhyNot(BaseModel):
    """Why a proposed grant is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: WhyNot


class GrantPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class GrantWritten(Written):
    grant: str


@router.post("/grant-proposals", status_code=201, response_model=GrantWritten, summary="申请拨付 Propose a grant")
async def add_grant_proposal(
    request: Request, caller: Staff, command: ProposeGrant, idempotency_key: IdempotencyKey = None
) -> Response:
    """Propose a grant from the household's community's pool, for another person to approve. Nothing moves yet."""
    service: Service = request.app.state.service
    accepted = await service.execute(propose_grant, command, caller, idempotency_key)
    return written(accepted, grant=accepted.facts[0].grant)  # type: ignore[attr-defined]


@router.post(
    "/grant-proposals/{grant}/approval", status_code=201, response_model=Written, summary="批准拨付 Approve a grant"
)
async def approve_grant_proposal(
    request: Request, caller: Staff, number: GrantPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Approve a proposed grant: the pool pays. Never one's own proposal, nor one for one's own household."""
    service: Service = request.app.state.service
    return written(await service.execute(approve_grant, ApproveGrant(grant=number), caller, idempotency_key))


@router.post(
    "/grant-proposals/{grant}/rejection", status_code=201, response_model=Written, summary="驳回拨付 Reject a grant"
)
async def reject_grant_proposal(
    request: Request,
    caller: Staff,
    number: GrantPath,
    body: Annotated[WithWhyNot, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Refuse a proposed grant, for a reason."""
    service: Service = request.app.state.service
    command = RejectGrant(grant=number, reason=body.reason)
    return written(await service.execute(reject_grant, command, caller, idempotency_key))


@router.post(
    "/grant-proposals/{grant}/withdrawal", status_code=201, response_model=Written, summary="撤回申请 Withdraw a grant"
)
async def withdraw_grant_proposal(
    request: Request, caller: Staff, number: GrantPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take one's own proposal back."""
    service: Service = request.app.state.service
    return written(await service.execute(withdraw_grant, WithdrawGrant(grant=number), caller, idempotency_key))


@router.get("/grant-proposals", response_model=GrantPage, summary="拨付申请 List proposed grants")
async def list_grant_proposals(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[ListedStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Proposed grants in the order they were proposed; ``status=open`` are those that wait for a second person."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await grant.grants(connection, community=community, status=status, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.proposed_position, position)


@router.post("/starting-grants", status_code=201, response_model=Written, summary="起始时间 Starting grant")
async def add_starting_grant(
    request: Request, caller: Staff, command: GrantStartingMinutes, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give a new household in need what the policy provides, from its community's pool; once a household."""
    service: Service = request.app.state.service
    return written(await service.execute(grant_starting_minutes, command, caller, idempotency_key))
