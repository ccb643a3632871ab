"""``timebank statement``: balances that households take along to another ledger, or bring from one."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from api.acting import Key, Token, actor_of, carry_out, caught_up, queried, show_written
from api.statement import genuine, signed
from api.terminal import Json, answer, fail
from api.wiring import Timebank, timebank
from domain.account import BalanceTakenAlong, household_account
from domain.decision import Role
from domain.statement import (
    NoSigningKey,
    PayIn,
    PayInStatement,
    TakeAlong,
    UnknownStatement,
    pay_in,
    take_balance_along,
)
from infrastructure.settings import read_settings
from infrastructure.signing import read_key
from projections import account, statement

ROLES: tuple[Role, ...] = ("staff", "admin")
NOTE_BYTES_MAX = 100_000

statement_app = typer.Typer(help="结单：把余额带到其他账本，或从其他账本转入。 Statements.", no_args_is_help=True)


@statement_app.command("issue")
def issue(
    token: Token,
    household: Annotated[str, typer.Argument(help="要转出的户。 The household that leaves.")],
    ledger: Annotated[str, typer.Argument(help="转入的账本，如 xingning。 The ledger that receives.")],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """一户带余额转到其他账本：在这里销户，余额写在有编号的结单上；用 show 取得签名的结单。

    A household leaves with its balance: it is closed here, and `show` gives the signed statement.
    """
    with timebank(read_settings()) as bank:
        if read_key(bank.settings.data, bank.name) is None:
            raise NoSigningKey(bank.name)
        command = TakeAlong(household=household, receiving_ledger=ledger, ledger=bank.name)
        accepted = carry_out(bank, actor_of(bank, token, ROLES), take_balance_along, command, key)
    number = next(fact.statement for fact in accepted.facts if isinstance(fact, BalanceTakenAlong))
    show_written(accepted, as_json, statement=number)


@statement_app.command("show")
def show_statement(
    number: Annotated[str, typer.Argument(help="结单编号，如 qingxiu-1。 The statement's number.")],
    as_json: Json = False,
) -> None:
    """签名的结单，原样交给该户，一个字节都不能改；可以 > 文件 保存。 The signed statement: hand it over unchanged."""
    with caught_up() as bank:
        issued, note = _signed(bank, number)

    def show(_: Console) -> None:
        # To the byte: a console may break lines.
        sys.stdout.write(note)

    answer({"statement": issued, "note": note}, as_json, show)


def _signed(bank: Timebank, number: str) -> tuple[dict[str, Any], str]:
    """Raises: UnknownStatement, NoSigningKey, SigningKeyUnusable."""
    row = queried(bank, lambda connection: statement.issued(connection, number))
    if row is None:
        raise UnknownStatement(number)
    name = household_account(row.household)
    held = queried(bank, lambda connection: account.account(connection, name))
    key = read_key(bank.settings.data, bank.name)
    if held is None:
        raise UnknownStatement(number)
    if key is None:
        raise NoSigningKey(bank.name)
    issued = signed(row, held, bank.zone)
    return issued.model_dump(mode="json"), key.sign(issued.text())


@statement_app.command("pay-in")
def pay_in_(
    token: Token,
    household: Annotated[str, typer.Argument(help="转入的户，已在这里登记。 The household here that is paid.")],
    file: Annotated[Path, typer.Argument(help="结单文件，原样。 The statement's file, unchanged.", dir_okay=False)],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """把其他账本的结单转入一户；每份只能转入一次，改动过的被拒绝。 Pay a statement of another ledger in, once only."""
    content = file.read_bytes()
    if len(content) > NOTE_BYTES_MAX:
        fail(f"{file} 不是结单。 / {file} is no statement.")
    try:
        note = content.decode()
    except UnicodeDecodeError:
        fail(f"{file} 不是结单。 / {file} is no statement.")
    asked = PayInStatement(household=household, note=note)
    with timebank(read_settings()) as bank:
        actor = actor_of(bank, token, ROLES)
        found, signer = genuine(bank, asked.note)
        command = PayIn(household=asked.household, ledger=bank.name, statement=found, key=signer)
        accepted = carry_out(bank, actor, pay_in, command, key)
    show_written(accepted, as_json, statement=found.id, minutes=found.minutes)
