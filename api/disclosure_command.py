"""``timebank disclose`` and ``timebank disclosure``: a month sealed by whoever's token it is, and shown."""

from typing import Annotated, Any

import msgspec
import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from api.acting import Key, Token, actor_of, carry_out, caught_up, queried
from api.disclosure import checkpoint_size, disclosed, late_page, prepared, secret_of, shown
from api.terminal import Json, answer, hours_of
from api.wiring import timebank
from application.disclosure import recount
from domain.disclosure import GROUND_ZH, Period, seal_period
from infrastructure.settings import read_settings
from projections import disclosure as projected

LISTED_MAX = 10_000
STATUS = {"open": "异议期内 open to objections", "frozen": "已定稿 frozen"}

PeriodOption = Annotated[str, typer.Option("--period", help="月份，如 2026-10。 A month.")]


commands = typer.Typer()


@commands.command()
def disclose(period: PeriodOption, token: Token, key: Key = None, as_json: Json = False) -> None:
    """封存一个月并公示：逐月进行，由全区的工作人员或管理员；之后的更正另行列出。

    Seal a month that is over and disclose it; what is corrected later is listed as late.
    """
    month = _period(period)
    with timebank(read_settings()) as bank:
        actor = actor_of(bank, token, ("staff", "admin"))
        size = checkpoint_size(bank)
    with caught_up() as bank:
        carry_out(bank, actor, seal_period, prepared(bank, month, size), key)
    with caught_up() as bank:
        content = disclosed(bank, month)
    answer(content, as_json, lambda console: _show(console, content))


@commands.command()
def disclosure(
    period: Annotated[str | None, typer.Option("--period", help="月份；省略则列出全部。 A month; else all.")] = None,
    late: Annotated[bool, typer.Option("--late", help="列出封存后的更正。 List what came late to it.")] = False,
    recounted: Annotated[
        bool, typer.Option("--recount", help="从账本重新核对全部封存。 Count every seal again from the journal.")
    ] = False,
    as_json: Json = False,
) -> None:
    """已公示的月份：数字、名单、封存后的更正、异议。 Disclosed months, what came late to them, and objections."""
    month = None if period is None else _period(period)
    if late and month is None:
        raise typer.BadParameter("--late 须与 --period 一起使用。 Give --late with --period.")
    if recounted:
        if month is not None:
            raise typer.BadParameter("--recount 核对全部月份。 --recount is of all months.")
        _recount(as_json)
        return
    with caught_up() as bank:
        if month is None:
            found = queried(bank, lambda connection: projected.disclosures(connection, after="", limit=LISTED_MAX))
            items = [shown(bank, row) for row in found]
            answer({"items": items}, as_json, lambda console: _show_all(console, items))
            return
        content = late_page(bank, month, limit=LISTED_MAX) if late else disclosed(bank, month)
    show = _show_late if late else _show
    answer(content, as_json, lambda console: show(console, content))


def _period(text: str) -> str:
    try:
        month: str = TypeAdapter(Period).validate_python(text.strip())
    except ValidationError:
        raise typer.BadParameter("应为月份，例：2026-10。 It must be a month such as 2026-10.") from None
    return month


def _recount(as_json: bool) -> None:
    with timebank(read_settings()) as bank:
        found = recount(bank.store, bank.name, lambda month: secret_of(bank, month))
    content = {
        "position": found.position,
        "seals": found.seals,
        "lists": found.lists,
        "differences": found.differences,
    }

    def show(console: Console) -> None:
        console.print(
            f"核对到位置 recounted to position {found.position:,}: {found.seals:,} 次封存 seals, "
            f"{found.lists:,} 份名单 lists"
        )
        for each in found.differences:
            console.print(f"  ! {each.what}: 账本 journal {each.replayed}，封存 seal {each.projected}")
        if not found.differences:
            console.print("  全部一致 all agree with the journal")

    answer(content, as_json, show)
    if found.differences:
        raise typer.Exit(1)


def _show_all(console: Console, items: list[dict[str, Any]]) -> None:
    for item in items:
        console.print(
            f"{item['period']}  {STATUS[item['status']]}  {hours_of(item['service_minutes'])}  "
            f"{item['households_served']:,} 户 households"
        )


def _show(console: Console, content: dict[str, Any]) -> None:
    console.print(f"{content['ledger']}  {content['period']}   {STATUS[content['status']]}")
    if content["notice"]:
        console.print(content["notice"])
    console.print(f"  截至位置 as of position {content['watermark']:,}，封存于 sealed {content['sealed_on']}")
    console.print(f"  服务时长 service {hours_of(content['service_minutes'])}")
    console.print(f"  服务记录 records {content['service_records']:,}")
    console.print(f"  服务户数 households served {content['households_served']:,}")
    console.print(
        f"  以前月份的更正 corrections of earlier months: {content['corrected_records']:+,} 条 records, "
        f"{content['corrected_minutes']:+,} 分钟 minutes"
    )
    for title, groups in (("社区 community", "by_community"), ("服务 service", "by_service")):
        for group in content[groups]:
            key = group.key or "（合并 together）"
            console.print(
                f"    {title} {key}: {hours_of(group.service_minutes)}, {group.volunteers:,} 人 volunteers, "
                f"{group.households_served:,} 户 households"
            )
    listed = content["listed"]
    console.print(
        f"  名单 listed: {len(listed['rows']):,}，不再显示 withheld {len(listed['withheld']):,}   "
        f"SHA-256 {listed['sha256']}"
    )
    late = content["late"]
    console.print(f"  封存后的更正 late: {late['changes']:,} 条 changes, {late['change_minutes']:+,} 分钟 minutes")
    console.print(f"  异议期至 objections until {content['objections_until'].isoformat(timespec='minutes')}")
    for count in content["objections"]:
        console.print(
            f"    {GROUND_ZH[count.ground]} {count.ground}: {count.raised:,}，待处理 open {count.open:,}，"
            f"成立 upheld {count.upheld:,}，不成立 dismissed {count.dismissed:,}，撤回 withdrawn {count.withdrawn:,}"
        )


def _show_late(console: Console, content: dict[str, Any]) -> None:
    if content["withheld"]:
        console.print(f"人数太少，不列出 too few people to be listed: {content['withheld']:,}")
    for item in content["items"]:
        values = msgspec.structs.asdict(item)
        console.print(
            f"  {values['position']:,}  {values['recorded_on']}  {values['change']}  {values['change_minutes']:+,} "
            f"分钟 minutes  {values['reason'] or ''}".rstrip()
        )
    if not content["items"] and not content["withheld"]:
        console.print("没有封存后的更正。 Nothing came late.")
