"""The rule book: its versions, and the adoption of a new one."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import IdempotencyKey, Written, answer, written
from api.identity import Admin, Anyone
from api.wiring import Service
from api.writing import WritingRoute
from domain.policy import AdoptPolicy, adopt

router = APIRouter(route_class=WritingRoute, prefix="/v1/policies", tags=["规则 policy"])


RULES: Final[dict[str, Callable[..., Any]]] = {"adopt_policy": adopt}
EXAMPLES: Final[dict[str, Any]] = {
    "adopt_policy": {"effective_on": "2027-01-01", "policy": {"record_minutes_max": 360}},
}


class Policies(BaseModel):
    items: list[dict[str, object]]


@router.post("", status_code=201, response_model=Written, summary="采用新规则 Adopt a policy")
async def adopt_policy(
    request: Request, caller: Admin, command: AdoptPolicy, idempotency_key: IdempotencyKey = None
) -> Response:
    """Adopt a new version of the rules from a later day on. A service keeps the rules of the day it began on."""
    service: Service = request.app.state.service
    return written(await service.execute(adopt, command, caller, idempotency_key))


@router.get("", response_model=Policies, summary="各版规则 List policies")
async def list_policies(request: Request, _: Anyone) -> Response:
    """Every version of the rules, with the day from which it is in force. Public."""
    service: Service = request.app.state.service
    return answer({"items": await service.policies()})
