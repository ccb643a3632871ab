"""The rule book: its versions, the proposal of a new one and a second person's approval, and other places' rules."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import IdempotencyKey, Written, answer, written
from api.identity import Admin, Anyone, Inspector
from api.wiring import Service
from api.writing import WritingRoute
from domain.identifiers import RecordId
from domain.policy import (
    AdoptPolicy,
    ApprovePolicy,
    ProposalReason,
    ProposePolicy,
    RejectPolicy,
    WithdrawPolicy,
    adopt,
    approve_policy,
    propose_policy,
    reject_policy,
    withdraw_policy,
)
from domain.presets import PRESETS, described

router = APIRouter(route_class=WritingRoute, prefix="/v1/policies", tags=["规则 policy"])


RULES: Final[dict[str, Callable[..., Any]]] = {
    "adopt_policy": adopt,
    "propose_new_policy": propose_policy,
    "approve_policy_proposal": approve_policy,
    "reject_policy_proposal": reject_policy,
    "withdraw_policy_proposal": withdraw_policy,
}
EXAMPLES: Final[dict[str, Any]] = {
    "adopt_policy": {"effective_on": "2027-01-01", "policy": {"record_minutes_max": 360}},
    "propose_new_policy": {"effective_on": "2027-01-01", "policy": {"record_minutes_max": 360}},
    "reject_policy_proposal": {"reason": "not-agreed"},
}

ProposalPath = Annotated[RecordId, Path()]


class WithReason(BaseModel):
    """Why a proposal is rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: ProposalReason


class Policies(BaseModel):
    items: list[dict[str, object]]


@router.post("", status_code=201, response_model=Written, summary="采用首版规则 Adopt the first policy")
async def adopt_policy(
    request: Request, caller: Admin, command: AdoptPolicy, idempotency_key: IdempotencyKey = None
) -> Response:
    """Adopt the ledger's first version of the rules. Every later one is proposed, and approved by a second person."""
    service: Service = request.app.state.service
    return written(await service.execute(adopt, command, caller, idempotency_key))


@router.get("", response_model=Policies, summary="各版规则 List policies")
async def list_policies(request: Request, _: Anyone) -> Response:
    """Every version of the rules, with the day from which it is in force. Public."""
    service: Service = request.app.state.service
    return answer({"items": await service.policies()})


@router.get("/presets", response_model=Policies, summary="各地规则 Rules of other places")
async def list_presets(_: Anyone) -> Response:
    """The rule books of other time banks as settings, with what the settings can't say of each. Public."""
    return answer({"items": [described(preset) for preset in PRESETS.values()]})


@router.post("/proposals", status_code=201, response_model=Written, summary="提出新规则 Propose a policy")
async def propose_new_policy(
    request: Request, caller: Admin, command: ProposePolicy, idempotency_key: IdempotencyKey = None
) -> Response:
    """Propose a new version of the rules from a later day on. A service keeps the rules of the day it began on."""
    service: Service = request.app.state.service
    accepted = await service.execute(propose_policy, command, caller, idempotency_key)
    return written(accepted, proposal=accepted.facts[0].proposal)  # type: ignore[attr-defined]


@router.get("/proposals", response_model=Policies, summary="规则提案 List proposed policies")
async def list_policy_proposals(request: Request, _: Inspector) -> Response:
    """Every version of the rules that was ever proposed, by whom, and what became of it."""
    service: Service = request.app.state.service
    return answer({"items": await service.policy_proposals()})


@router.post("/proposals/{proposal}/approval", status_code=201, response_model=Written, summary="批准 Approve")
async def approve_policy_proposal(
    request: Request, caller: Admin, proposal: ProposalPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Approve what another administrator proposed: it is adopted, from its day on, which must still be to come."""
    service: Service = request.app.state.service
    command = ApprovePolicy(proposal=proposal)
    return written(await service.execute(approve_policy, command, caller, idempotency_key), proposal=proposal)


@router.post("/proposals/{proposal}/rejection", status_code=201, response_model=Written, summary="否决 Reject")
async def reject_policy_proposal(
    request: Request,
    caller: Admin,
    proposal: ProposalPath,
    command: Annotated[WithReason, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Reject what another administrator proposed."""
    service: Service = request.app.state.service
    refused = RejectPolicy(proposal=proposal, reason=command.reason)
    return written(await service.execute(reject_policy, refused, caller, idempotency_key), proposal=proposal)


@router.post("/proposals/{proposal}/withdrawal", status_code=201, response_model=Written, summary="撤回 Withdraw")
async def withdraw_policy_proposal(
    request: Request, caller: Admin, proposal: ProposalPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take back what one proposed oneself."""
    service: Service = request.app.state.service
    command = WithdrawPolicy(proposal=proposal)
    return written(await service.execute(withdraw_policy, command, caller, idempotency_key), proposal=proposal)
