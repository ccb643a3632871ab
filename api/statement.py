"""Leaving for another ledger over HTTP: statements issued, shown, and paid in; and whose statements are believed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.answers import After, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Admin, Anyone, Inspector, Reader, Staff
from api.wiring import Service, Timebank, known
from api.writing import WritingRoute
from domain.account import BalanceTakenAlong, household_account
from domain.decision import Actor
from domain.refusal import Refusal
from domain.statement import (
    VALID_DAYS,
    BalanceStatement,
    LeaveForLedger,
    LedgerNotTrusted,
    NoSigningKey,
    PayIn,
    PayInStatement,
    StatementNotGenuine,
    TakeAlong,
    Trust,
    TrustLedger,
    UnknownStatement,
    VerifierKey,
    pay_in,
    take_balance_along,
    trust_ledger,
)
from infrastructure.signing import SigningKey, open_note, read_key
from projections import account, statement
from projections.account import AccountRow
from projections.statement import StatementRow

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["跨账本转移 moving to another ledger"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_trusted_ledger": trust_ledger,
    "add_leaving": take_balance_along,
    "add_pay_in": pay_in,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_public_key": (NoSigningKey,),
    "read_taken_along": (UnknownStatement, NoSigningKey),
}
EXAMPLES: Final[dict[str, Any]] = {
    "add_trusted_ledger": {
        "ledger": "xingning",
        "key": "xingning+7d04cc6d+AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
    },
    "add_leaving": {"household": "H00001", "receiving_ledger": "xingning"},
    "add_pay_in": {"household": "H00001", "note": "timebank-statement/v1\n{…}\n\n— xingning …\n"},
}


class Key(BaseModel):
    ledger: str
    key: str = Field(description="The public key as C2SP signed notes write it: name+hash+base64.")


class SignedStatement(BaseModel):
    statement: BalanceStatement
    note: str = Field(description="The signed text. It is worth its minutes to the receiving ledger: keep it whole.")


class TrustedPage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


@router.get("/key", response_model=Key, summary="公钥 Public key")
async def read_public_key(request: Request, _: Anyone) -> Response:
    """The key that this ledger signs with, for whoever checks its statements. Public; compare it over another channel
    before trusting it."""
    service: Service = request.app.state.service
    key = await _signing_key(service)
    return answer({"ledger": service.bank.name, "key": str(key.verifier)})


@router.post("/trusted-ledgers", status_code=201, response_model=Written, summary="信任另一账本 Trust another ledger")
async def add_trusted_ledger(
    request: Request, caller: Admin, command: TrustLedger, idempotency_key: IdempotencyKey = None
) -> Response:
    """Believe the statements that another ledger signs with this key, and with no other from now on."""
    service: Service = request.app.state.service
    return written(await service.execute(trust_ledger, command, caller, idempotency_key))


@router.get("/trusted-ledgers", response_model=TrustedPage, summary="受信任的账本 Trusted ledgers")
async def list_trusted_ledgers(
    request: Request, _: Inspector, after: After = "", limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """The ledgers whose statements are believed, and with which key."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await statement.trusted(connection, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.ledger, position)


@router.post("/leavings", status_code=201, response_model=Written, summary="带余额转出 Leave with the balance")
async def add_leaving(
    request: Request, caller: Staff, command: LeaveForLedger, idempotency_key: IdempotencyKey = None
) -> Response:
    """A household leaves for another ledger: it is closed here, and its whole balance is on a numbered statement, which
    ``/v1/leavings/{statement}`` shows signed."""
    service: Service = request.app.state.service
    taking = TakeAlong(**command.model_dump(), ledger=service.bank.name)
    accepted = await service.execute(take_balance_along, taking, caller, idempotency_key)
    numbers = [fact.statement for fact in accepted.facts if isinstance(fact, BalanceTakenAlong)]
    return written(accepted, statement=numbers[0])


@router.get("/leavings/{statement_id}", response_model=SignedStatement, summary="转出结单 Signed statement")
async def read_taken_along(
    request: Request,
    caller: Reader,
    statement_id: Annotated[str, Path(max_length=100)],
    min_position: MinPosition = None,
) -> Response:
    """The signed statement that a household takes along. Read by its members, staff of its community and auditors; each
    copy is valid for 90 days from the day on which it is read, and all of them bear the same number."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await statement.issued(connection, statement_id)
        held = row and await account.account(connection, household_account(row.household))
    if not row or not held or not _may_read(caller, row, held):
        raise UnknownStatement(statement_id)
    key = await _signing_key(service)
    issued = signed(row, held, service.bank.zone)
    return answer({"statement": issued.model_dump(mode="json"), "note": key.sign(issued.text())})


def signed(row: StatementRow, held: AccountRow, zone: tzinfo) -> BalanceStatement:
    """What is signed of a statement: valid from today for as long as each copy is."""
    ledger, _, number = row.statement.rpartition("-")
    return BalanceStatement(
        ledger=ledger,
        number=int(number),
        household=row.household,
        members=tuple(row.members.split()),
        minutes=row.minutes,
        # Nothing moves on a closed household's account any more, so these are the sums of the day it left.
        earned_minutes=held.earned_minutes,
        spent_minutes=held.spent_minutes,
        receiving_ledger=row.other_ledger,
        issued_at=datetime.fromtimestamp(row.recorded_at_microseconds // 1_000_000, UTC).astimezone(zone),
        valid_until=datetime.now(zone).date() + timedelta(days=VALID_DAYS),
        policy=row.policy,
    )


def _may_read(caller: Actor, row: StatementRow, held: AccountRow) -> bool:
    match caller.role:
        case "auditor" | "admin":
            return True
        case "staff":
            return caller.community in (None, held.community)
        case _:
            return caller.id in row.members.split()


@router.post("/pay-ins", status_code=201, response_model=Written, summary="转入余额 Pay a statement in")
async def add_pay_in(
    request: Request, caller: Staff, command: PayInStatement, idempotency_key: IdempotencyKey = None
) -> Response:
    """Pay in what a household brought from another ledger: only on a statement that this ledger is named in, that one
    it trusts has signed and nobody has changed, and only once ever."""
    service: Service = request.app.state.service
    found, key = await asyncio.to_thread(genuine, service.bank, command.note)
    paying = PayIn(household=command.household, ledger=service.bank.name, statement=found, key=key)
    return written(await service.execute(pay_in, paying, caller, idempotency_key))


def genuine(bank: Timebank, note: str) -> tuple[BalanceStatement, str]:
    """The statement in a note, and the trusted key that signed it. Raises: StatementNotGenuine, LedgerNotTrusted."""
    claimed = BalanceStatement.parse(note.rpartition("\n\n")[0] + "\n")
    trust = known(bank.store, Trust.of(claimed.ledger))
    if trust.key is None:
        raise LedgerNotTrusted(claimed.ledger)
    if open_note(note, VerifierKey.parse(trust.key)) != claimed.text():
        raise StatementNotGenuine
    return claimed, trust.key


async def _signing_key(service: Service) -> SigningKey:
    """Raises: NoSigningKey, SigningKeyUnusable."""
    key = await asyncio.to_thread(read_key, service.bank.settings.data, service.bank.name)
    if key is None:
        raise NoSigningKey(service.bank.name)
    return key
