"""``timebank figures``, ``balance``, ``due``, ``replay`` and ``rebuild``: what a ledger comes to."""

import contextlib
from datetime import UTC, date, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from api.acting import caught_up
from api.due import run_due
from api.replay import position_asked, replayed_and_compared
from api.terminal import Json, answer, community_of, day, hours_of, household_of, progress
from api.wiring import Timebank, public_figures, timebank
from domain.account import household_account, pool_account
from domain.community import UnknownCommunity
from domain.figures import Basis, Dimension
from domain.household import UnknownHousehold
from domain.ledger import SYNTHETIC_NOTICE
from infrastructure.settings import read_settings
from projections.account import balance

commands = typer.Typer()


@commands.command()
def figures(
    as_of: Annotated[
        str | None, typer.Option(help="截至哪一天（YYYY-MM-DD），默认今天。 Up to and including this day; today.")
    ] = None,
    basis: Annotated[
        Basis,
        typer.Option(
            help="service：按服务日期；recorded：按当时账本。 By day of service, or as the books stood then.",
        ),
    ] = "service",
    by: Annotated[
        Dimension | None,
        typer.Option(
            help="再按社区、网格、服务或月份分列。 Also by this dimension.",
        ),
    ] = None,
    level: Annotated[int, typer.Option(min=1, max=3, help="网格层级：1 基础、2 元、3 楼栋。 Grid level.")] = 1,
    as_json: Json = False,
) -> None:
    """公开数字：服务户数、服务时长，总计或分列，截至任何一天。 The public figures, as of any day.

    分列的数字在这里是精确的，只有一户也列出，不宜公布；公布请用 GET /v1/figures。 By dimension they are exact here,
    down to a single household: not to be published, for which there is GET /v1/figures.
    """
    with caught_up() as bank:
        show_figures(bank, as_json, day(as_of), basis, by, level)


def show_figures(
    bank: Timebank, as_json: bool, as_of: date | None, basis: Basis, by: Dimension | None, level: int
) -> None:
    with bank.reading() as connection:
        until = as_of or datetime.now(bank.zone).date()
        found = public_figures(bank, connection, as_of=until, basis=basis, by=by, level=level)

    def show(console: Console) -> None:
        console.print(f"\n{found['ledger']}   截至 as of {found['as_of']}，账本位置 position {found['position']:,}")
        if found["notice"]:
            console.print(found["notice"])
        console.print(
            f"  服务户数 households served   {found['households_served']:>12,}\n"
            f"  服务时长 hours of service    {hours_of(found['service_minutes']):>12}"
            f"   ({found['service_minutes']:,} 分钟 minutes)\n"
            f"  服务记录 service records     {found['service_records']:>12,}"
        )
        for meaning in found["definitions"].values():
            console.print(f"  · {meaning}")
        if found["cells"]:
            table = Table(box=None)
            table.add_column(str(found["by"]))
            for heading in ("户 households", "小时 hours", "记录 records"):
                table.add_column(heading, justify="right")
            for cell in found["cells"]:
                table.add_row(
                    cell["key"],
                    f"{cell['households_served']:,}",
                    hours_of(cell["service_minutes"]),
                    f"{cell['service_records']:,}",
                )
            console.print(table)
        console.print()

    answer(found, as_json, show)


@commands.command(name="balance")
def show_balance(
    household: Annotated[str, typer.Argument(help="户编号，如 H00001。 A household's number.")] = "",
    pool: Annotated[str | None, typer.Option(help="改查社区的公共时间池。 A community's pool instead.")] = None,
    as_json: Json = False,
) -> None:
    """查询一户（或一个社区时间池）的余额。 The balance of a household, or of a community's pool."""
    if bool(household) == (pool is not None):
        raise typer.BadParameter("请给出户编号，或 --pool 社区。 Give a household's number, or --pool COMMUNITY.")
    with caught_up() as bank:
        name = household_account(household_of(household)) if pool is None else pool_account(community_of(pool))
        with bank.reading() as connection:
            row = balance(connection, name)
    if row is None:
        raise UnknownHousehold(household) if pool is None else UnknownCommunity(pool)

    def show(console: Console) -> None:
        console.print(f"{row.account}   {row.community or ''} {row.grid}".rstrip())
        for label, minutes in (
            ("余额 balance", row.balance_minutes),
            ("存入 earned", row.earned_minutes),
            ("支出 spent", row.spent_minutes),
            ("获拨 granted", row.granted_minutes),
            ("超限转出 capped", row.capped_minutes),
            ("转入 received", row.received_minutes),
            ("转出 given", row.given_minutes),
            ("冻结 held", row.held_minutes),
        ):
            console.print(f"  {label:<18}{minutes:>12,} 分钟 min   {hours_of(minutes):>10} 小时 h")
        if bank.opened.synthetic:
            console.print(SYNTHETIC_NOTICE)

    answer({**msgspec.to_builtins(row), "synthetic": bank.opened.synthetic}, as_json, show)


@commands.command()
def due(as_json: Json = False) -> None:
    """办理到期的事项，如到期的预留与争议。 Do what has fallen due: reservations that expire, disputes that escalate.

    服务运行时每分钟自动办理。 A running service does it by itself every minute.
    """
    with caught_up() as bank:
        report = run_due(bank, datetime.now(UTC))

    def show(console: Console) -> None:
        for kind, done in report.done.items():
            console.print(f"{kind:<24}{done:>8,} 已办理 done {report.refused[kind]:>8,} 不再适用 no longer due")

    answer(report._asdict(), as_json, show)


@commands.command(name="replay")
def replay_(
    to: Annotated[int | None, typer.Option(min=0, help="重放到这个位置。 Replay up to this position.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="重放到这一时刻，如 2026-10-31T18:00:00+08:00；只写日期则到当天结束。 "
            "Replay up to this time, or to the end of a day."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """从第一条事实起重算全部余额和数字，并与汇总表逐行核对；有任何差异则以非零状态结束。

    Count all balances and figures again from the first fact, and compare them with the projections, up to the head
    with every row of them; any difference is listed, and the exit status is 1.
    """
    with timebank(read_settings()) as bank:
        position, counted_again, found = replayed_and_compared(bank, position_asked(bank, to, as_of))
    replayed = counted_again.counted()
    total_minutes = counted_again.total_minutes
    content = {
        "position": position,
        "synthetic": bank.opened.synthetic,
        "facts": counted_again.facts,
        "movements": counted_again.movements,
        "total_minutes": total_minutes,
        "conserved": total_minutes == 0,
        "figures": replayed.figures,
        "differences": found,
        "balances": replayed.balances,
    }

    def show(console: Console) -> None:
        held = sum(minutes for name, minutes in replayed.balances.items() if name.startswith("household:"))
        pooled = sum(minutes for name, minutes in replayed.balances.items() if name.startswith("pool:"))
        issued = -replayed.balances.get("issuance", 0)
        console.print(f"重放到位置 replayed to position {position:,}: {counted_again.facts:,} 个事实 facts")
        if bank.opened.synthetic:
            console.print(SYNTHETIC_NOTICE)
        console.print(
            f"  发行 issued {issued:,} = 各户 held {held:,} + 时间池 pooled {pooled:,}（分钟 minutes）\n"
            f"  所有账户合计 all accounts sum to {total_minutes}\n"
            f"  服务户数 households served {replayed.figures.households_served:,}；服务时长 hours "
            f"{hours_of(replayed.figures.service_minutes)}；记录 records {replayed.figures.service_records:,}"
        )
        if found:
            for difference in found[:50]:
                console.print(f"  ✗ {difference.what}: {difference.replayed} ≠ {difference.projected}")
            console.print(f"与汇总表有 {len(found)} 处不同 {len(found)} differences from the projections")
        else:
            agreeing = f"{len(replayed.balances):,} 个账户和全部数字与汇总表一致"
            console.print(f"  {agreeing} accounts and all figures agree with the projections")

    answer(content, as_json, show)
    if found or total_minutes:
        raise typer.Exit(1)


@commands.command()
def rebuild(as_json: Json = False) -> None:
    """从账本重建全部汇总表；服务可照常运行。 Fold all projections anew, while the service runs."""
    with (
        timebank(read_settings()) as bank,
        contextlib.closing(bank.projector()) as projector,
        progress("重建汇总表 Rebuilding", bank.store.head()) as told,
    ):
        position = projector.rebuild(told)
    answer(
        {"position": position},
        as_json,
        lambda console: console.print(f"已重建到位置 rebuilt up to position {position:,}"),
    )
