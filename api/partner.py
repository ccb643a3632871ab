"""Partners, their rewards and their statements."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import (
    After,
    AfterPosition,
    IdempotencyKey,
    Limit,
    MinPosition,
    Written,
    answer,
    page,
    written,
)
from api.identity import Partner, Staff, allow
from api.problems import Problem
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import household_account
from domain.decision import Actor
from domain.identifiers import PlaceName, RecordId
from domain.partner import (
    Items,
    OfferReward,
    PartnerId,
    RegisterPartner,
    RestockReward,
    SettlePartner,
    UnknownPartner,
    UnknownReward,
    WithdrawReward,
    offer_reward,
    register_partner,
    restock_reward,
    settle_partner,
    withdraw_reward,
)
from domain.refusal import Refusal
from projections import account, household, partner, redemption
from projections.partner import RewardRow

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["合作单位与兑换项 partners"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_partner": register_partner,
    "add_reward": offer_reward,
    "add_stock": restock_reward,
    "remove_reward": withdraw_reward,
    "add_settlement": settle_partner,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_reward": (UnknownReward,),
    "list_settlements": (UnknownPartner,),
    "read_partner_statement": (UnknownPartner, "not-found"),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_partner": {"partner": "P001", "name": "新竹食堂", "community": "新竹社区"},
    "add_reward": {
        "reward": "RW001",
        "partner": "P001",
        "name": "午餐",
        "minutes": 60,
        "items": 100,
        "communities": ["新竹社区"],
        "age_years_min": 60,
        "balance_minutes_min": 600,
        "household_month_max": 4,
    },
    "add_stock": {"items": 50},
}

Known = Annotated[Actor, allow("volunteer", "staff", "partner", "auditor", "admin")]
"""Anybody with a token; what each of them sees is bounded by the route."""
Settled = Annotated[Actor, allow("partner", "staff", "auditor", "admin")]
PartnerPath = Annotated[PartnerId, Path()]
RewardPath = Annotated[RecordId, Path()]


class WithItems(BaseModel):
    """How many are added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: Items


class RewardWritten(Written):
    reward: str = Field(description="The reward's number.")


class PartnerPage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


class RewardPage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class PartnerStatement(BaseModel):
    """What one settlement covers, or, with the number that the next one will have, what isn't settled yet."""

    partner: str
    number: int
    settled: bool
    settled_by: str | None
    settled_at_microseconds: int | None
    minutes: int = Field(description="What all lines of the statement come to, on this page or another.")
    items: list[dict[str, object]]
    next: int | None
    position: int


@router.post("/partners", status_code=201, response_model=Written, summary="登记合作单位 Register a partner")
async def add_partner(
    request: Request, caller: Staff, command: RegisterPartner, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register a partner where its counter is. Its counter's token has the role `partner` and the partner's number."""
    service: Service = request.app.state.service
    return written(await service.execute(register_partner, command, caller, idempotency_key))


@router.get("/partners", response_model=PartnerPage, summary="合作单位列表 List partners")
async def list_partners(
    request: Request,
    _: Known,
    community: Annotated[PlaceName | None, Query()] = None,
    after: After = "",
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """The partners, in the order of their numbers, and where they are."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await partner.partners(connection, community=community, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.partner, position)


@router.post("/rewards", status_code=201, response_model=RewardWritten, summary="上架兑换项 Offer a reward")
async def add_reward(
    request: Request, caller: Staff, command: OfferReward, idempotency_key: IdempotencyKey = None
) -> Response:
    """Offer what a partner gives for minutes, how many there are, and who may redeem it. Another price is another
    reward."""
    service: Service = request.app.state.service
    accepted = await service.execute(offer_reward, command, caller, idempotency_key)
    return written(accepted, reward=accepted.facts[0].reward)  # type: ignore[attr-defined]


@router.get("/rewards", response_model=RewardPage, summary="兑换项列表 List rewards")
async def list_rewards(
    request: Request,
    caller: Known,
    community: Annotated[PlaceName | None, Query(description="Those that its households may redeem.")] = None,
    partner_id: Annotated[PartnerId | None, Query(alias="partner")] = None,
    open_only: Annotated[bool, Query(alias="open", description="Only what can be reserved now.")] = True,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Rewards in the order they were offered, with what is left of each. Members see those for their own community's
    households, a partner its own."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        if caller.role == "partner":
            partner_id = caller.id
        elif caller.role == "volunteer":
            community = await _home(connection, caller.id) or community
        rows = await partner.rewards(
            connection,
            community=community,
            partner=partner_id,
            open_only=open_only,
            after=after,
            limit=limit + 1,
        )
    return page([_reward(row) for row in rows], limit, lambda row: row["offered_position"], position)


async def _home(connection: AsyncConnection[Any], member: str) -> str | None:
    """The community of a member's household."""
    person = await household.person(connection, member)
    home = (
        await account.account(connection, household_account(person.household)) if person and person.household else None
    )
    return home.community if home else None


def _reward(row: RewardRow) -> dict[str, object]:
    return msgspec.structs.asdict(row) | {"communities": row.communities.split("/") if row.communities else []}


@router.get("/rewards/{reward}", response_model=dict[str, object], summary="查询兑换项 Read one reward")
async def read_reward(request: Request, _: Known, reward: RewardPath, min_position: MinPosition = None) -> Response:
    """One reward, with what is left of it, whether it is still offered or not."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await partner.reward(connection, reward)
    if row is None:
        raise UnknownReward(reward)
    return answer(_reward(row))


@router.post("/rewards/{reward}/stock", status_code=201, response_model=Written, summary="补货 Restock")
async def add_stock(
    request: Request,
    caller: Partner,
    reward: RewardPath,
    command: Annotated[WithItems, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Add items to a reward's stock: the partner itself, or staff."""
    service: Service = request.app.state.service
    restocked = RestockReward(reward=reward, items=command.items)
    return written(await service.execute(restock_reward, restocked, caller, idempotency_key))


@router.post("/rewards/{reward}/withdrawal", status_code=201, response_model=Written, summary="下架 Withdraw")
async def remove_reward(
    request: Request, caller: Partner, reward: RewardPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Let nobody reserve a reward any more; what was reserved before can still be collected."""
    service: Service = request.app.state.service
    return written(await service.execute(withdraw_reward, WithdrawReward(reward=reward), caller, idempotency_key))


@router.post("/partners/{partner_id}/settlements", status_code=201, response_model=Written, summary="结算 Settle")
async def add_settlement(
    request: Request, caller: Staff, partner_id: PartnerPath, idempotency_key: IdempotencyKey = None
) -> Response:
    """Settle with a partner all that it has collected since the last time, on a statement with the next number."""
    service: Service = request.app.state.service
    return written(await service.execute(settle_partner, SettlePartner(partner=partner_id), caller, idempotency_key))


@router.get("/partners/{partner_id}/settlements", response_model=RewardPage, summary="结算列表 List settlements")
async def list_settlements(
    request: Request,
    caller: Settled,
    partner_id: PartnerPath,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """What was settled with a partner, by the statements' numbers. A partner reads its own, staff their community's."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        await _readable(connection, caller, partner_id)
        rows = await partner.settlements(connection, partner_id, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.number, position)


@router.get("/partners/{partner_id}/statement", response_model=PartnerStatement, summary="结算单 Statement")
async def read_partner_statement(
    request: Request,
    caller: Settled,
    partner_id: PartnerPath,
    number: Annotated[int | None, Query(ge=1, le=2**62, description="Of a settlement; none: what is not settled.")] = (
        None
    ),
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Every reward that a settlement paid for, or that none has paid for yet, and every one that was reversed.

    It names reservations and rewards, and no household. A partner reads its own, staff their community's.
    """
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection, connection.transaction():
        # The lines, their sum and the settlement are of one moment.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await _readable(connection, caller, partner_id)
        last = await partner.last_settlements(connection, partner_id, until=number)
        if number is not None and (not last or last[0].number != number):
            raise Problem("not-found")
        settled = last[0] if number is not None else None
        before = last[1:] if settled else last[:1]
        since, until = before[0].position if before else 0, settled.position if settled else None
        minutes = await redemption.redeemed_minutes(connection, partner_id, after=since, until=until)
        rows = await redemption.redemptions(
            connection, partner_id, after=max(since, after), until=until, limit=limit + 1
        )
    shown = rows[:limit]
    return answer(
        {
            "partner": partner_id,
            "number": settled.number if settled else 1 + (before[0].number if before else 0),
            "settled": settled is not None,
            "settled_by": settled.settled_by if settled else None,
            "settled_at_microseconds": settled.recorded_at_microseconds if settled else None,
            "minutes": minutes,
            "items": shown,
            "next": shown[-1].position if len(rows) > limit else None,
            "position": position,
        }
    )


async def _readable(connection: AsyncConnection[Any], caller: Actor, number: str) -> None:
    """Raises: UnknownPartner for one that isn't there, or not for this caller."""
    row = await partner.partner(connection, number)
    if (
        row is None
        or (caller.role == "partner" and caller.id != number)
        or (caller.role == "staff" and caller.community not in (None, row.community))
    ):
        raise UnknownPartner(number)
