"""Minutes that lapse: who was told of which, and what falls due."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import psycopg
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import AfterPosition, Limit, MinPosition, page
from api.household import HouseholdPath, _readable
from api.identity import Inspector, Reader
from api.wiring import Service
from domain.community import OutsideCommunity
from domain.expiry import RECORDS_MAX, AnnounceExpiry, ExpireMinutes, earned_before
from domain.household import UnknownHousehold
from domain.identifiers import PlaceName
from domain.policy import NoPolicyInForce, PolicyBook
from domain.refusal import Refusal
from projections import expiry

router = APIRouter(prefix="/v1", tags=["到期 expiry"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "list_expiries": (OutsideCommunity,),
    "read_expiries": (UnknownHousehold,),
}


class ExpiryPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.get("/expiries", response_model=ExpiryPage, summary="到期预告 List announcements")
async def list_expiries(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[Literal["announced", "expired", "called-off"] | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Minutes that are announced to lapse, or did, in the order of the announcements. Staff see their community's."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await expiry.expiries(connection, community=community, status=status, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.announced_position, position)


@router.get("/households/{household}/expiries", response_model=ExpiryPage, summary="户到期预告 Announcements")
async def read_expiries(
    request: Request,
    caller: Reader,
    household: HouseholdPath,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """What of a household's minutes lapses on which day unless it is spent before, and what did lapse."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    await _readable(service, caller, household)
    async with service.pool.connection() as connection:
        rows = await expiry.expiries(connection, household=household, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.announced_position, position)


def find_to_announce(
    connection: psycopg.Connection[Any], now: datetime, book: PolicyBook
) -> Iterator[tuple[str, AnnounceExpiry]]:
    """Whom to tell today of which records. The day is part of each key: what was called off may be announced again."""
    try:
        policy = book.in_force(now.date()).policy
    except NoPolicyInForce:
        return
    if policy.expiry_months is None:
        return
    on = now.date() + timedelta(days=policy.expiry_notice_days)
    for household, records in expiry.records_to_announce(connection, earned_before(on, policy.expiry_months)):
        for first in range(0, len(records), RECORDS_MAX):
            some = tuple(records[first : first + RECORDS_MAX])
            key = f"{now.date()} {household} {' '.join(some)}"
            yield key, AnnounceExpiry(household=household, records=some)


def find_due(
    connection: psycopg.Connection[Any], now: datetime, book: PolicyBook
) -> Iterator[tuple[str, ExpireMinutes]]:
    """The announcements whose day has come."""
    del book
    for household, announcement in expiry.due_announcements(connection, now.date()):
        yield announcement, ExpireMinutes(household=household, announcement=announcement)
