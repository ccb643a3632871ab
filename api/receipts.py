"""A household's receipts as one file: every fact that concerns it, proven at one checkpoint."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from psycopg import AsyncConnection
from starlette.responses import Response, StreamingResponse

from api.answers import MinPosition
from api.identity import allow
from api.log import HOUSEHOLD_TAGS, TEXT, not_yet_sealed
from api.wiring import Service
from domain.checkpoint import receipts_head
from domain.decision import Actor
from domain.household import UnknownHousehold
from domain.identifiers import HouseholdId
from domain.refusal import Refusal
from domain.statement import NoSigningKey
from infrastructure.log import best_checkpoint, newest_checkpoint, positions_of, receipts, signed_size
from projections import hours, household

router = APIRouter(prefix="/v1", tags=["证据 evidence"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_receipts": (UnknownHousehold, NoSigningKey, "not-yet-sealed"),
}
BATCH_FACTS: Final = 100
"""Facts that are proven at a time: each may need a tile of its own, of 8 KB."""

Owner = Annotated[Actor, allow("volunteer", "auditor", "admin")]


class Proven(NamedTuple):
    """The positions of a household's facts, and a checkpoint that holds them all."""

    positions: list[int]
    checkpoint: str


@router.get("/households/{household_id}/receipts", summary="户的收据 Receipts of a household", response_class=Response)
async def read_receipts(
    request: Request,
    caller: Owner,
    household_id: Annotated[HouseholdId, Path()],
    min_position: MinPosition = None,
) -> Response:
    """Receipts of all that concerns a household, its hours first of all, up to a checkpoint, as one file that `timebank
    verify` checks without asking us. For the household's own members, auditors and administrators."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        known = await household.household(connection, household_id) is not None
        if known and caller.role == "volunteer":
            known = await household.concerns(connection, caller.id, household_id)
        if not known:
            # Whoever may not see it isn't told either that it exists.
            raise UnknownHousehold(household_id)
        proven = await proven_of(connection, service.bank.name, household_id, min_position or 0)
    if proven is None:
        raise await not_yet_sealed(service)
    name = quote(f"{service.bank.name}-{household_id}.receipts")
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return StreamingResponse(_file(service, household_id, proven), media_type=TEXT, headers=headers)


async def _file(service: Service, household_id: str, proven: Proven) -> AsyncIterator[str]:
    yield receipts_head(household_id)
    for at in range(0, len(proven.positions), BATCH_FACTS):
        # A connection a batch: somebody who reads slowly must not keep one from others.
        async with service.pool.connection() as connection:
            proofs = await proofs_of(connection, service.bank.name, proven, at)
        yield proofs
    # Last, so that a file that was cut off proves nothing.
    yield proven.checkpoint


async def proofs_of(connection: AsyncConnection[Any], ledger: str, proven: Proven, at: int) -> str:
    """The next proofs of a file."""
    found = await receipts(connection, ledger, proven.positions[at : at + BATCH_FACTS], proven.checkpoint)
    return "".join(receipt.proof_text() + "\n" for receipt in found)


async def proven_of(
    connection: AsyncConnection[Any], ledger: str, household_id: str, min_position: int = 0
) -> Proven | None:
    """What a file of a household's receipts holds; None where no checkpoint holds the position.

    Everything that names the household by a tag, and everything of each record of service that it gave or was given.
    """
    newest = await newest_checkpoint(connection, ledger)
    if newest is None or signed_size(newest) < min_position:
        return None
    size = signed_size(newest)
    concerning = await positions_of(connection, ledger, [kind + household_id for kind in HOUSEHOLD_TAGS], size)
    records = {tag for _, tags in concerning for tag in tags if tag.startswith("record:")}
    records |= {"record:" + record for record in await hours.records_of(connection, household_id)}
    positions = {position for position, _ in concerning}
    positions |= {position for position, _ in await positions_of(connection, ledger, sorted(records), size)}
    found = sorted(positions)
    checkpoint = await best_checkpoint(connection, ledger, max(found, default=1))
    return Proven(found, newest if checkpoint is None else checkpoint)
