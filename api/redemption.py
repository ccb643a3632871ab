"""Reservations of rewards: made, collected, released, reversed, read."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Inspector, Partner, Staff, Writer, allow
from api.partner import Known
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import Reason, RewardCollected
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.identifiers import PlaceName, RecordId
from domain.redemption import (
    Code,
    CollectManyRewards,
    CollectReward,
    ReleaseReservation,
    ReserveReward,
    ReverseRedemption,
    UnknownReservation,
    collect,
    collect_many,
    release,
    reserve,
    reverse_redemption,
)
from domain.refusal import Refusal
from projections import household, partner, redemption
from projections.redemption import ReservationRow

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["兑换 redemptions"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_reservation": reserve,
    "add_collection": collect,
    "add_collections": collect_many,
    "release_reservation": release,
    "reverse_collection": reverse_redemption,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_reservation": (UnknownReservation,),
    "list_reservations": (OutsideCommunity,),
    "list_open_reservations": (OutsideCommunity,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_reservation": {
        "reservation": "RV-20261122-0001",
        "reward": "RW001",
        "member": "V00001",
        "code_sha256": "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
    },
    "add_collection": {"code": "ABCD-EFGH-IJKL-MNOP"},
    "add_collections": {
        "collections": [
            {
                "reservation": "RV-20261122-0001",
                "code": "ABCD-EFGH-IJKL-MNOP",
                "collected_at": "2026-11-22T09:30:00+08:00",
            }
        ]
    },
    "reverse_collection": {"reason": "other", "restocked": True},
}

Releaser = Annotated[Actor, allow("volunteer", "partner", "staff", "admin")]
ReservationPath = Annotated[RecordId, Path()]
ListedStatus = Literal["reserved", "given-up", "collected", "released", "reversed"]
COUNTER_FIELDS: Final = (
    *("reservation", "reward", "minutes", "code_sha256", "reserved_at", "ends_at", "status"),
    *("collected_at", "reserved_position"),
)
"""What a partner's counter is shown of a reservation: all that it needs to honour a code, and nobody's number."""


class WithCode(BaseModel):
    """The code that the member shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Code
    collected_at: Annotated[
        AwareDatetime | None, Field(description="When, if the counter had no network then; else now.")
    ] = None


class WithReversal(BaseModel):
    """Why a redemption is reversed, and whether the item came back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason
    restocked: bool


class ReservationWritten(Written):
    reservation: str = Field(description="The reservation's number.")


class CollectionsWritten(Written):
    reservations: list[str] = Field(description="The reservations that were collected, in the order of the rows.")


class ReservationPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class OpenReservationPage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


@router.post("/reservations", status_code=201, response_model=ReservationWritten, summary="预留兑换项 Reserve a reward")
async def add_reservation(
    request: Request, caller: Writer, command: ReserveReward, idempotency_key: IdempotencyKey = None
) -> Response:
    """Reserve a reward for a member of one's household; staff for members of their community. The minutes are held.

    The client makes the code (at least 16 random characters of A-Z and 2-7), shows it to the member, and sends
    only the SHA-256 of `<reservation>:<code>` in hex.
    """
    service: Service = request.app.state.service
    accepted = await service.execute(reserve, command, caller, idempotency_key)
    return written(accepted, reservation=command.reservation)


@router.post("/reservations/{reservation}/collection", status_code=201, response_model=Written, summary="核销 Collect")
async def add_collection(
    request: Request,
    caller: Partner,
    reservation: ReservationPath,
    command: Annotated[WithCode, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Collect a reserved reward with its code, once: the household's minutes go to the partner."""
    service: Service = request.app.state.service
    collected = CollectReward(reservation=reservation, code=command.code, collected_at=command.collected_at)
    return written(await service.execute(collect, collected, caller, idempotency_key))


@router.post(
    "/redemptions/collections",
    status_code=201,
    response_model=CollectionsWritten,
    summary="补交核销 Hand in collections",
)
async def add_collections(
    request: Request, caller: Partner, command: CollectManyRewards, idempotency_key: IdempotencyKey = None
) -> Response:
    """Hand in what a counter without a network noted: all of it, or none, with every refused row named (`errors`).

    Each row was collected before its reservation's end and is handed in at most three days after that end.
    """
    service: Service = request.app.state.service
    accepted = await service.execute(collect_many, command, caller, idempotency_key)
    collected = [fact.reservation for fact in accepted.facts if isinstance(fact, RewardCollected)]
    return written(accepted, reservations=collected)


@router.post(
    "/reservations/{reservation}/release", status_code=201, response_model=Written, summary="放弃或释放 Release"
)
async def release_reservation(
    request: Request, caller: Releaser, reservation: ReservationPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give a reservation up: it ends now, and the minutes are available again after three days, within which a counter
    without a network may hand in that it was collected before. The partner, or staff once they have asked the
    partner, release it at once."""
    service: Service = request.app.state.service
    command = ReleaseReservation(reservation=reservation)
    return written(await service.execute(release, command, caller, idempotency_key))


@router.post(
    "/reservations/{reservation}/reversal", status_code=201, response_model=Written, summary="冲正兑换 Reverse"
)
async def reverse_collection(
    request: Request,
    caller: Staff,
    reservation: ReservationPath,
    command: Annotated[WithReversal, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Undo a redemption, exactly and once: the household has its minutes back. `restocked` puts the item back into
    the stock."""
    service: Service = request.app.state.service
    undone = ReverseRedemption(reservation=reservation, reason=command.reason, restocked=command.restocked)
    return written(await service.execute(reverse_redemption, undone, caller, idempotency_key))


@router.get("/reservations/{reservation}", response_model=dict[str, object], summary="查询预留 Read one reservation")
async def read_reservation(
    request: Request, caller: Known, reservation: ReservationPath, min_position: MinPosition = None
) -> Response:
    """One reservation and where it stands: for its household, its partner, and the staff where either of them is."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await redemption.reservation(connection, reservation)
        if row is None or not await _may_read(connection, caller, row):
            raise UnknownReservation(reservation)
    return answer(_shown(row, caller))


async def _may_read(connection: AsyncConnection[Any], caller: Actor, row: ReservationRow) -> bool:
    match caller.role:
        case "auditor" | "admin":
            return True
        case "partner":
            return caller.id == row.partner
        case "staff":
            if caller.community in (None, row.community):
                return True
            place = await partner.partner(connection, row.partner)
            return place is not None and place.community == caller.community
        case _:
            person = await household.person(connection, caller.id)
            return person is not None and person.household == row.household


def _shown(row: ReservationRow, caller: Actor) -> dict[str, object]:
    shown = msgspec.structs.asdict(row)
    if caller.role == "partner":
        return {name: shown[name] for name in COUNTER_FIELDS}
    del shown["code_sha256"]
    return shown


@router.get("/reservations", response_model=ReservationPage, summary="预留列表 List reservations")
async def list_reservations(
    request: Request,
    caller: Known,
    community: Annotated[PlaceName | None, Query()] = None,
    status: Annotated[ListedStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Reservations in the order they were made. Members see their household's, staff their community's households', a
    partner its own, with the digests by which its counter checks codes while it has no network."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    filters: dict[str, str] = {}
    async with service.pool.connection() as connection:
        if caller.role == "partner":
            filters["partner"] = caller.id
        elif caller.role == "volunteer":
            person = await household.person(connection, caller.id)
            filters["household"] = (person.household if person else None) or ""
        rows = await redemption.reservations(
            connection, community=_scope(caller, community), status=status, after=after, limit=limit + 1, **filters
        )
    return page([_shown(row, caller) for row in rows], limit, lambda row: row["reserved_position"], position)


@router.get("/open-reservations", response_model=OpenReservationPage, summary="即将到期的预留 Reservations by end")
async def list_open_reservations(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    after: Annotated[
        str, Query(pattern=r"^([0-9]{1,18}~[A-Za-z0-9._-]{1,64})?$", description="The `next` of the page before.")
    ] = "",
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """What is reserved and neither collected nor released, those that end first at the top. Staff see their own
    community's households'."""
    service: Service = request.app.state.service
    community = _scope(caller, community)
    position = await service.fresh(min_position)
    end, _, number = after.partition("~")
    async with service.pool.connection() as connection:
        rows = await redemption.open_reservations(
            connection, community=community, after=(int(end or 0), number), limit=limit + 1
        )
    return page(
        [_shown(row, caller) for row in rows],
        limit,
        lambda row: f"{row['ends_at_microseconds']}~{row['reservation']}",
        position,
    )


def _scope(caller: Actor, community: str | None) -> str | None:
    """The community that a list is of. Raises: OutsideCommunity."""
    if caller.role != "staff" or caller.community is None:
        return community
    if community not in (None, caller.community):
        raise OutsideCommunity(community or "", caller.community)
    return caller.community
