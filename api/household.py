"""Households and their people: registered, and what their accounts hold."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
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
from api.identity import Inspector, Reader, Staff
from api.wiring import Service
from api.writing import WritingRoute
from domain.account import household_account
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.household import (
    AttestAge,
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    UnknownHousehold,
    UnknownMember,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.identifiers import HouseholdId, PersonId, PlaceName
from domain.refusal import Refusal
from projections import account, household
from projections.account import AccountRow

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["户与成员 households"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_household": register_household,
    "add_member": register_member,
    "add_volunteer": enrol_volunteer,
    "add_age": attest_age,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "list_households": (OutsideCommunity,),
    "read_balance": (UnknownHousehold,),
    "read_statement": (UnknownHousehold,),
    "read_members": (UnknownHousehold,),
    "read_volunteer": (UnknownMember,),
    "read_household": (UnknownHousehold,),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_household": {"household": "H00001", "community": "新竹社区", "grid": ["第3网格"]},
    "add_member": {"member": "V00001", "household": "H00001", "name": "示例"},
    "add_volunteer": {"volunteer": "V00001"},
    "add_age": {"person": "V00001", "age_years_min": 60},
}

HouseholdPath = Annotated[HouseholdId, Path()]
VolunteerPath = Annotated[PersonId, Path()]


class Balance(BaseModel):
    """A household's account: balance = earned - spent + granted - capped + received - given, all in minutes; of it
    ``held`` is set aside, and the rest is available."""

    household: str
    community: str
    balance_minutes: int
    earned_minutes: int
    spent_minutes: int
    granted_minutes: int
    capped_minutes: int = Field(description="What went on to the community's pool above the policy's cap.")
    received_minutes: int = Field(description="From other households, groups, ledgers and older books.")
    given_minutes: int = Field(description="To others: transferred, donated, carried on, taken along, expired.")
    held_minutes: int = Field(description="Set aside for requests, reservations and disputes.")
    available_minutes: int = Field(description="The balance less what is held.")
    last_position: int
    last_activity_microseconds: int | None = Field(description="Recorded-at of the last movement; Unix time.")
    position: int = Field(description="The answer holds everything up to this position of the journal.")


class BalancePage(BaseModel):
    items: list[Balance]
    next: str | None
    position: int


class Statement(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class HouseholdAnswer(BaseModel):
    """``heir`` is the account that stands in the place of a closed household."""

    household: str
    community: str
    grid: str
    status: str = Field(description="open, merged or closed.")
    members: int
    deserted_position: int | None = Field(description="Where its last member left or died, if nobody came since.")
    heir: str | None
    closed_position: int | None
    moves_on: str | None = Field(description="The day of a planned move.")
    moves_to: str | None = Field(description="Where to: the community, and the grid's path after a `/`.")
    move_planned_position: int | None


class People(BaseModel):
    items: list[dict[str, object]]


@router.post("/households", status_code=201, response_model=Written, summary="登记户 Register a household")
async def add_household(
    request: Request, caller: Staff, command: RegisterHousehold, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register a household in a community, at a grid of it if known."""
    service: Service = request.app.state.service
    return written(await service.execute(register_household, command, caller, idempotency_key))


@router.post("/ages", status_code=201, response_model=Written, summary="核验年龄 Attest an age")
async def add_age(
    request: Request, caller: Staff, command: AttestAge, idempotency_key: IdempotencyKey = None
) -> Response:
    """Attest that a member has reached an age. The date of birth itself is recorded nowhere."""
    service: Service = request.app.state.service
    return written(await service.execute(attest_age, command, caller, idempotency_key))


@router.post("/members", status_code=201, response_model=Written, summary="登记成员 Register a member")
async def add_member(
    request: Request, caller: Staff, command: RegisterMember, idempotency_key: IdempotencyKey = None
) -> Response:
    """Register a person in a household. The name goes to the vault; the journal holds the number only."""
    service: Service = request.app.state.service
    accepted = await service.execute(register_member, command, caller, idempotency_key)
    if command.name is not None:
        # A repeated request finishes what was cut off between journal and vault; it doesn't rename anybody.
        await service.remember_name(command.member, command.name, overwrite=not accepted.repeated)
    return written(accepted)


@router.post("/volunteers", status_code=201, response_model=Written, summary="注册志愿者 Enrol a volunteer")
async def add_volunteer(
    request: Request, caller: Staff, command: EnrolVolunteer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Enrol a registered member as a volunteer."""
    service: Service = request.app.state.service
    return written(await service.execute(enrol_volunteer, command, caller, idempotency_key))


@router.get("/households", response_model=BalancePage, summary="各户余额 List balances")
async def list_households(
    request: Request,
    caller: Inspector,
    community: Annotated[PlaceName | None, Query()] = None,
    after: After = "",
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Households with their balances, in the order of their numbers. Staff see their own community's."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await account.household_accounts(connection, community=community, after=after, limit=limit + 1)
    return page([_balance(row, position) for row in rows], limit, lambda item: item["household"], position)


@router.get("/households/{household}/balance", response_model=Balance, summary="户余额 Balance")
async def read_balance(
    request: Request, caller: Reader, household: HouseholdPath, min_position: MinPosition = None
) -> Response:
    """What a household's account holds. Volunteers read their own household's, staff their community's."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    return answer(_balance(await _readable(service, caller, household), position))


@router.get("/households/{household}/statement", response_model=Statement, summary="户流水 Statement")
async def read_statement(
    request: Request,
    caller: Reader,
    household: HouseholdPath,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Every movement of a household's account, with its position in the journal and the running balance."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    await _readable(service, caller, household)
    async with service.pool.connection() as connection:
        rows = await account.statement(connection, household_account(household), after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.position, position)


@router.get("/households/{household}/members", response_model=People, summary="户成员 Members")
async def read_members(
    request: Request, caller: Reader, household: HouseholdPath, min_position: MinPosition = None
) -> Response:
    """The people of a household, by number."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    await _readable(service, caller, household)
    return answer({"items": await _members(service, household)})


@router.get("/volunteers/{volunteer}", response_model=dict[str, object], summary="志愿者 Volunteer")
async def read_volunteer(
    request: Request, caller: Reader, volunteer: VolunteerPath, min_position: MinPosition = None
) -> Response:
    """To which household a volunteer's hours go. Volunteers read themselves, staff their community's; who belongs to no
    household any more is read by themselves and the district's own people."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    return answer(await readable_volunteer(service, caller, volunteer))


async def readable_volunteer(service: Service, caller: Actor, volunteer: str) -> household.PersonRow:
    """A volunteer, for those who may read of them; to others they don't exist. Raises: UnknownMember."""
    async with service.pool.connection() as connection:
        person = await household.person(connection, volunteer)
    if person is None or (caller.role == "volunteer" and caller.id != volunteer):
        raise UnknownMember(volunteer)
    if person.household is None:
        if caller.role == "staff" and caller.community is not None:
            raise UnknownMember(volunteer)
        return person
    try:
        await _readable(service, caller, person.household)
    except UnknownHousehold:
        # Whoever may not read of them isn't told either where they live.
        raise UnknownMember(volunteer) from None
    return person


@router.get("/households/{household_id}", response_model=HouseholdAnswer, summary="户 Household")
async def read_household(
    request: Request, caller: Reader, household_id: Annotated[HouseholdId, Path()], min_position: MinPosition = None
) -> Response:
    """Where a household belongs now, and what stands in its place if it was closed. Read by those who read its
    balance."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    await _readable(service, caller, household_id)
    async with service.pool.connection() as connection:
        row = await household.household(connection, household_id)
    if row is None:
        raise UnknownHousehold(household_id)
    return answer(row)


async def _members(service: Service, number: str) -> list[household.PersonRow]:
    async with service.pool.connection() as connection:
        return await household.members(connection, number)


async def _readable(service: Service, caller: Actor, number: str) -> AccountRow:
    """A household's account, for those who may read it; to others it doesn't exist. Raises: UnknownHousehold."""
    async with service.pool.connection() as connection:
        row = await account.account(connection, household_account(number))
        own = caller.role == "volunteer" and await household.concerns(connection, caller.id, number)
    if row is None or row.community is None:
        raise UnknownHousehold(number)
    match caller.role:
        case "auditor" | "admin":
            return row
        case "staff" if caller.community in (None, row.community):
            return row
        case "volunteer" if own:
            return row
        case _:
            raise UnknownHousehold(number)


def _balance(row: AccountRow, position: int) -> dict[str, object]:
    return {
        "household": row.account.removeprefix("household:"),
        "community": row.community,
        "balance_minutes": row.balance_minutes,
        "earned_minutes": row.earned_minutes,
        "spent_minutes": row.spent_minutes,
        "granted_minutes": row.granted_minutes,
        "capped_minutes": row.capped_minutes,
        "received_minutes": row.received_minutes,
        "given_minutes": row.given_minutes,
        "held_minutes": row.held_minutes,
        "available_minutes": row.balance_minutes - row.held_minutes,
        "last_position": row.last_position,
        "last_activity_microseconds": row.last_activity_microseconds,
        "position": position,
    }
