"""Consent of volunteers to be listed in disclosures: given, withdrawn, and read by themselves and staff."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from api.answers import IdempotencyKey, MinPosition, Written, answer, written
from api.household import VolunteerPath, readable_volunteer
from api.identity import Reader, Writer
from api.wiring import Service
from api.writing import WritingRoute
from domain.consent import GiveConsent, WithdrawConsent, give_consent, withdraw_consent
from domain.evidence import Sha256
from domain.household import UnknownMember
from domain.refusal import Refusal
from projections import consent

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["公示 disclosure"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_consent": give_consent,
    "withdraw_a_consent": withdraw_consent,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {"read_consent": (UnknownMember,)}
EXAMPLES: Final[dict[str, Any]] = {"add_consent": {"paper_sha256": "ab" * 32}}


class Paper(BaseModel):
    """What was signed, where somebody of the staff records it; a volunteer who consents by themselves signs nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paper_sha256: Sha256 | None = None


class Consented(BaseModel):
    """Whether a volunteer agrees to be listed, and each time that they did, the latest first."""

    volunteer: str
    given: bool
    items: list[dict[str, object]]
    position: int


@router.post(
    "/volunteers/{volunteer}/consent", status_code=201, response_model=Written, summary="同意公示 Give consent"
)
async def add_consent(
    request: Request,
    caller: Writer,
    volunteer: VolunteerPath,
    body: Annotated[Paper | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Agree to be listed in disclosures, under a pseudonym that is another one every month. Volunteers for themselves;
    staff record what somebody signed on paper."""
    service: Service = request.app.state.service
    command = GiveConsent(person=volunteer, paper_sha256=None if body is None else body.paper_sha256)
    return written(await service.execute(give_consent, command, caller, idempotency_key))


@router.post(
    "/volunteers/{volunteer}/consent/withdrawal",
    status_code=201,
    response_model=Written,
    summary="撤回同意 Withdraw consent",
)
async def withdraw_a_consent(
    request: Request, caller: Writer, volunteer: VolunteerPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Agree no longer: the volunteer's rows are left out of every list, of earlier months too."""
    service: Service = request.app.state.service
    command = WithdrawConsent(person=volunteer)
    return written(await service.execute(withdraw_consent, command, caller, idempotency_key))


@router.get("/volunteers/{volunteer}/consent", response_model=Consented, summary="公示同意 Consent of a volunteer")
async def read_consent(
    request: Request, caller: Reader, volunteer: VolunteerPath, min_position: MinPosition = None
) -> Response:
    """Whether a volunteer agrees to be listed. Read by themselves, staff of their community, and auditors."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    await readable_volunteer(service, caller, volunteer)
    async with service.pool.connection() as connection:
        rows = await consent.consents(connection, volunteer)
    given = any(row.withdrawn_position is None for row in rows)
    return answer({"volunteer": volunteer, "given": given, "items": rows, "position": position})
