"""Commands of the command line that write for somebody: whose token it is decides what they may do, as over HTTP."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, TypeVar

import psycopg
import typer
from psycopg import AsyncConnection
from rich.console import Console

from api.terminal import answer, fail
from api.wiring import Timebank, timebank
from application.write_loop import Accepted, Decide, Ticket, command_id
from domain.decision import Actor, Role
from domain.statement import NoSigningKey
from infrastructure.settings import read_settings
from infrastructure.tokens import SELECT_ACTOR, token_hash

T = TypeVar("T")

Token = Annotated[
    str,
    typer.Option(
        envvar="TIMEBANK_TOKEN",
        help="您的令牌；写入环境变量更安全，不会留在命令历史里。 Your token; safer in the environment than typed.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(help="自定的编号：同一编号重复运行只办一次。 A key of your own: run again with it, it is done once."),
]


def actor_of(bank: Timebank, token: str, roles: tuple[Role, ...]) -> Actor:
    """Who acts; ends the command where the token is nobody's, or its role may not do this."""
    with psycopg.connect(bank.address) as connection:
        row = connection.execute(SELECT_ACTOR, (token_hash(token.strip()), bank.name)).fetchone()
    if row is None:
        fail(
            "令牌不存在或已停用，请用 --token 或环境变量 TIMEBANK_TOKEN 给出自己的令牌。 / "
            "The token is unknown or revoked; give your own with --token or TIMEBANK_TOKEN."
        )
    actor = Actor(*row)
    if actor.role not in roles:
        fail(f"角色 {actor.role} 不能这样办理。 / The role {actor.role} may not do this.")
    return actor


def carry_out(bank: Timebank, actor: Actor, decide: Decide, command: Any, key: str | None) -> Accepted:
    """Have one command decided and recorded. Raises: Refusal, StoreUnavailable."""
    number = secrets.token_hex(16) if key is None else command_id(actor.id, key)
    (accepted,) = bank.run(Ticket(decide, command, actor, number))
    return accepted


def show_written(accepted: Accepted, as_json: bool, **more: Any) -> None:
    """What was recorded: the position, the facts by type, and what else there is to know."""
    facts = [fact.type for fact in accepted.facts]
    content = {"position": accepted.position, "repeated": accepted.repeated, "facts": facts, **more}

    def show(console: Console) -> None:
        done = "先前已办理 was done already" if accepted.repeated else "已办理 done"
        console.print(f"{done}: {', '.join(facts)}")
        for name, value in more.items():
            console.print(f"  {name}: {value}")

    answer(content, as_json, show)


@contextlib.contextmanager
def caught_up() -> Iterator[Timebank]:
    """The ledger, with everything folded that is in it."""
    with timebank(read_settings()) as bank:
        bank.catch_up()
        yield bank


def queried(bank: Timebank, query: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    """The answer of one of the queries that the service asks of the projections."""

    async def ask() -> T:
        async with await AsyncConnection.connect(bank.read_address, autocommit=True) as connection:
            return await query(connection)

    return asyncio.run(ask())


@contextlib.contextmanager
def sealed() -> Iterator[Timebank]:
    """The ledger, with everything in its log and that signed. Raises: NoSigningKey."""
    with timebank(read_settings()) as bank:
        seal(bank)
        yield bank


def seal(bank: Timebank) -> None:
    """Take all that was recorded into the log, and sign it. Raises: NoSigningKey."""
    with contextlib.closing(bank.sealer()) as sealer:
        sealer.catch_up()
        if sealer.sign() is None:
            raise NoSigningKey(bank.name)
