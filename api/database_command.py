"""``timebank db``: the database and the ledger in it."""

from typing import Annotated

import psycopg
import typer
from rich.console import Console

from api.policy_command import preset_named
from api.terminal import Json, answer, day
from api.wiring import database, timebank
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy, Policy
from infrastructure.schema import known_migrations, schema_version
from infrastructure.settings import read_settings

database_app = typer.Typer(help="数据库与账本。 The database and the ledger.", no_args_is_help=True)


@database_app.command("open")
def open_database(
    name: Annotated[str, typer.Option(help="时间银行的名称。 The time bank's name.")],
    policy_from: Annotated[
        str, typer.Option(help="首版规则的生效日，早于最早的历史记录。 First day of the first policy.")
    ],
    zone: Annotated[str, typer.Option(help="时区。 Time zone.")] = "Asia/Shanghai",
    synthetic: Annotated[bool, typer.Option("--synthetic", help="只放合成数据。 For synthetic data only.")] = False,
    preset: Annotated[str | None, typer.Option(help="以一地的规则为首版。 Another place's rules as the first.")] = None,
    as_json: Json = False,
) -> None:
    """开立账本并采用首版规则。 Open the ledger and adopt the first policy.

    再次运行不会改变已开立的账本。 Running it again changes nothing.
    """
    first_day = day(policy_from)
    if first_day is None:
        raise typer.BadParameter("--policy-from")
    opening = OpenLedger(name=name, zone=zone, synthetic=synthetic)
    policy = Policy() if preset is None else preset_named(preset).policy
    with timebank(read_settings(), opening, AdoptPolicy(effective_on=first_day, policy=policy)) as bank:
        content = {"ledger": bank.name, "name": bank.opened.name, "position": bank.store.head()}
    answer(content, as_json, lambda console: console.print(f"账本已开立 open: {content['name']}"))


@database_app.command("status")
def database_status(as_json: Json = False) -> None:
    """数据库版本与账本位置。 The database's version and the ledger's position."""
    settings = read_settings()
    with database(settings) as address, psycopg.connect(address) as connection:
        ledgers = connection.execute("SELECT ledger, head FROM ledgers ORDER BY ledger").fetchall()
        server = connection.execute("SHOW server_version").fetchall()[0][0]
        content = {
            "server_version": server,
            "schema_version": schema_version(address),
            "schema_version_of_program": len(known_migrations()),
            "embedded": settings.database_url is None,
            "ledgers": dict(ledgers),
        }

    def show(console: Console) -> None:
        for key, value in content.items():
            console.print(f"{key}: {value}")

    answer(content, as_json, show)
