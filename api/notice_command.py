"""Notices on the command line: what was written, what waits, what was given up, and trying that again."""

from typing import Annotated, Any

import msgspec
import psycopg
import typer
from rich.console import Console

from api.notifier import adapters_of
from api.terminal import Json, answer
from api.wiring import timebank
from infrastructure.notice import OutboxNotice, State, deliveries, delivery_counts, last_notices, position_of, retry
from infrastructure.settings import read_settings

notice_app = typer.Typer(help="通知：写下的、待送的、未能送达的。 Notices and their delivery.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="最多显示几条。 How many at most.")]


@notice_app.command("status")
def status(as_json: Json = False) -> None:
    """送达情况：各方式待送、已送、未能送达多少。 How many wait, went out and were given up, by each way out."""
    with timebank(read_settings()) as bank, psycopg.connect(bank.address, autocommit=True) as connection:
        found = {
            "ledger": bank.name,
            "position": position_of(connection, bank.name),
            "head": bank.store.head(),
            "adapters": [adapter.name for adapter in adapters_of(bank.settings)],
            "deliveries": delivery_counts(connection, bank.name),
        }
    answer(found, as_json, lambda console: _show_status(console, found))


@notice_app.command("list")
def list_(limit: Limit = 20, as_json: Json = False) -> None:
    """最近写下的通知，新的在前。 The notices written last, the newest first."""
    with timebank(read_settings()) as bank, psycopg.connect(bank.address, autocommit=True) as connection:
        found = last_notices(connection, bank.name, limit)
    _answer(found, as_json)


@notice_app.command("pending")
def pending(limit: Limit = 20, as_json: Json = False) -> None:
    """还没有送达的。 Those that are still to be delivered."""
    _show_state("pending", limit, as_json)


@notice_app.command("failed")
def failed(limit: Limit = 20, as_json: Json = False) -> None:
    """多次未能送达、已放弃的。 Those that were given up after the last attempt."""
    _show_state("failed", limit, as_json)


@notice_app.command("retry")
def retry_(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="通知编号；省略则全部。 Numbers; all if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """把放弃的重新送。 Have what was given up tried again."""
    with timebank(read_settings()) as bank, psycopg.connect(bank.address, autocommit=True) as connection:
        count = retry(connection, bank.name, numbers or None)
    answer({"retried": count}, as_json, lambda console: console.print(f"重新送出 to be tried again: {count}"))


def _show_state(state: State, limit: int, as_json: bool) -> None:
    with timebank(read_settings()) as bank, psycopg.connect(bank.address, autocommit=True) as connection:
        found = deliveries(connection, bank.name, state, limit)
    _answer(found, as_json)


def _answer(found: list[Any], as_json: bool) -> None:
    items = [msgspec.to_builtins(one) | {"text_zh": one.text_zh, "text_en": one.text_en} for one in found]
    answer({"items": items}, as_json, lambda console: _show(console, found))


def _show(console: Console, found: list[Any]) -> None:
    for one in found:
        notice: OutboxNotice = one
        console.print(f"{notice.number:>8}  {notice.written_at:%Y-%m-%d %H:%M}  {notice.recipient}  {notice.kind}")
        console.print(f"          {notice.text_zh} {notice.text_en}")
        for delivery in getattr(one, "deliveries", ()):
            error = "" if delivery.last_error is None else f"：{delivery.last_error}"
            console.print(f"          {delivery.adapter}: {delivery.attempts} 次 attempts{error}")


def _show_status(console: Console, found: dict[str, Any]) -> None:
    console.print(f"已通知到位置 told up to position {found['position']} / {found['head']}")
    console.print(f"送达方式 adapters: {'、'.join(found['adapters']) or '—'}")
    for adapter, states in found["deliveries"].items():
        console.print(f"  {adapter}: " + ", ".join(f"{state} {count:,}" for state, count in states.items()))
