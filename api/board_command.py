"""The board on the command line: queues, solvency, signals."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from api.acting import caught_up
from api.board import late_board, queues_board, signals_board, solvency_board
from api.terminal import Json, answer
from domain.identifiers import normal_name

SAVERS_LISTED: Final = 10
"""Old savers on the terminal; the JSON document has all that the board names."""

Community = Annotated[str | None, typer.Option(help="只看一个社区。 One community only.")]

commands = typer.Typer()


@commands.command()
def queues(community: Community = None, as_json: Json = False) -> None:
    """工作人员的待办：每类多少条，最早的等了多久。 What waits for staff: how many, and for how long."""
    with caught_up() as bank:
        found = queues_board(bank, community=_name(community), now=datetime.now(UTC))
    answer(found, as_json, lambda console: _show_queues(console, found))


@commands.command("late-entries")
def late_entries(
    community: Community = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="从哪一天的登记起。 Logged on this day or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="至哪一天的登记。 Logged on this day or earlier.")
    ] = None,
    as_json: Json = False,
) -> None:
    """补登的记录，按社区和登记的月份计。 Records that were logged late, by community and month."""
    days = {name: None if at is None else at.date() for name, at in (("since", since), ("until", until))}
    with caught_up() as bank:
        found = late_board(bank, community=_name(community), **days)
    answer(found, as_json, lambda console: _show_late(console, found))


@commands.command()
def solvency(community: Community = None, as_json: Json = False) -> None:
    """兑付能力：未用的时间与每月服务量、发行去向、等待时间、高龄闲置。 Whether what was promised can be served."""
    with caught_up() as bank:
        found = solvency_board(bank, community=_name(community), today=datetime.now(bank.zone).date())
    answer(found, as_json, lambda console: _show_solvency(console, found))


@commands.command()
def signals(
    community: Community = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="从哪一天的服务起，默认一年前。 Services from this day on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """供检查的风险信号：每条规则及其记录；信号不是结论。 Risk signals for inspection, with rules and records."""
    first_day: date | None = None if since is None else since.date()
    with caught_up() as bank:
        today = datetime.now(bank.zone).date()
        found = signals_board(bank, community=_name(community), since=first_day, today=today)
    answer(found, as_json, lambda console: _show_signals(console, found))


def _name(community: str | None) -> str | None:
    return None if community is None else normal_name(community)


def _show_queues(console: Console, found: dict[str, Any]) -> None:
    for each in found["items"]:
        oldest = each.oldest_waiting_days
        waited = "" if oldest is None else f"   最早的已等 the oldest has waited {oldest:,} 天 days"
        console.print(f"{each.title:<24}{each.count:>8,}{waited}\n  · {each.definition}")
    if found["notice"]:
        console.print(found["notice"])


def _show_late(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['ledger']} {found['community'] or ''}   补登 late: {found['records']:,} 条 records")
    for each in found["items"]:
        console.print(
            f"  {each.month}  {each.community}: {each.records:,} 条 records, 待确认 to confirm {each.to_confirm:,}, "
            f"已确认 confirmed {each.confirmed:,}, 已驳回 rejected {each.rejected:,}, "
            f"已冲正 reversed {each.reversed:,}；有原因 with a reason {each.with_reason:,}；"
            f"最晚 latest {each.days_late_max:,} 天 days"
        )
    console.print(f"  · {found['definition']}")
    if found["notice"]:
        console.print(found["notice"])


def _show_solvency(console: Console, found: dict[str, Any]) -> None:
    outstanding, waiting, savers = found["outstanding"], found["waiting"], found["idle_savers"]
    console.print(
        f"{found['ledger']} {found['community'] or ''}   {found['as_of']}，账本位置 position {found['position']:,}"
    )
    if found["notice"]:
        console.print(found["notice"])
    for label, minutes in (
        ("各户未用 households", outstanding.households_minutes),
        ("团队未用 groups", outstanding.groups_minutes),
        ("时间池 pools", outstanding.pools_minutes),
        ("合计 outstanding", outstanding.total_minutes),
        ("透支 overdrawn", found["overdrawn_minutes"]),
        ("每月服务 served a month", found["served_minutes_a_month"]),
    ):
        console.print(f"  {label:<24}{minutes / 60:>14,.1f} 小时 h")
    months = found["months_to_serve_all"]
    console.print(f"  全部兑现约需月数 months to serve all: {'—' if months is None else f'{months:,.1f}'}")
    console.print("  发行的分钟在哪里 where the issued minutes are:")
    for cell in (*found["issued_by_community"], *filter(None, [found["issued"]])):
        name = "合计 total" if cell["community"] is None else cell["community"] or "—"
        console.print(
            f"    {name}: 发行 issued {cell['issued_minutes']:,} + 转入 moved in {cell['moved_in_minutes']:,}"
            f" = 持有 held {cell['held_minutes']:,} + 时间池 pooled {cell['pooled_minutes']:,}"
            f" + 已兑换 spent {cell['spent_minutes']:,} + 已过期 expired {cell['expired_minutes']:,}"
            f" + 转出账本 left {cell['left_minutes']:,}；差额 difference {cell['difference_minutes']:,}"
        )
    if waiting.records:
        console.print(
            f"  登记到确认 logged to confirmed: {waiting.records:,} 条 records, 中位数 median "
            f"{waiting.median_minutes:,}, p90 {waiting.ninetieth_percentile_minutes:,} 分钟 minutes"
        )
    requests = found["requests"]
    console.print(
        f"  需求 requests: {requests.asked:,}，已完成 fulfilled {requests.fulfilled:,}，"
        f"未满足 unfilled {requests.unfilled:,}（{requests.unfilled_minutes / 60:,.1f} 小时 h）"
    )
    if requests.accepted_median_minutes is not None:
        console.print(
            f"  提出到约定 asked to accepted: 中位数 median {requests.accepted_median_minutes:,}, "
            f"p90 {requests.accepted_ninetieth_percentile_minutes:,} 分钟 minutes"
        )
    console.print(
        f"  {savers['age_years_min']} 岁以上闲置 idle savers: {savers['households']:,} 户 households, "
        f"{savers['idle_minutes'] / 60:,.1f} 小时 h"
    )
    for saver in savers["items"][:SAVERS_LISTED]:
        since = saver.last_spent_on or "从未支出 never spent"
        console.print(
            f"    {saver.household}  {saver.community}  {saver.balance_minutes / 60:,.1f} 小时 h，"
            f"{saver.age_years_min} 岁以上 and over，最后支出 last spent {since}"
        )
    for meaning in found["definitions"].values():
        console.print(f"  · {meaning}")


def _show_signals(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['ledger']} {found['community'] or ''}   {found['since']} – {found['until']}")
    console.print(found["definition"])
    if found["notice"]:
        console.print(found["notice"])
    for rule in found["rules"]:
        console.print(f"\n{rule['rule']}: {rule['count']:,}\n  {rule['text']}")
        for signal in rule["signals"]:
            measured = ", ".join(f"{name} {value}" for name, value in signal.measured.items())
            more = "" if signal.records_count == len(signal.records) else f" … ({signal.records_count:,})"
            who, records = " ↔ ".join(signal.who), " ".join(signal.records)
            console.print(f"  ! {who}  {'、'.join(signal.communities)}  {measured}\n      {records}{more}")
