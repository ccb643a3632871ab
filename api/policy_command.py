"""``timebank policy``: the rule books of other places, and what a policy would have done to this ledger's history."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from api.terminal import Json, answer, day, fail, hours_of, progress
from api.wiring import timebank
from application.policy_dry_run import (
    BY_SILENCE,
    CAPPED,
    HONOURED,
    LAPSING,
    OTHER_MINUTES,
    OTHER_TERMS,
    PAID,
    ROUNDED,
    DryRunReport,
    dry_run,
)
from domain.ledger import SYNTHETIC_NOTICE
from domain.policy import AdoptPolicy, Policy
from domain.presets import PRESETS, Preset, Text, described
from infrastructure.settings import read_settings

LISTED: Final = 20
EFFECTS: Final[dict[str, str]] = {
    "record-too-short": "时长过短 too short",
    "record-too-long": "时长过长 too long",
    "day-too-long": "超过每天上限 more than a day's limit",
    "too-long-ago": "超过补登期限 logged too late",
    "balance-too-low": "付款账户余额不足 the payer held too little",
    "record-above-cap": "超过余额上限 above the cap",
    "late-without-reason": "补登未说明原因 late without a reason",
    "evidence-too-weak": "凭据不足 too little evidence",
    "silence-not-over": "不因无人答复而确认 silence wouldn't confirm it",
    "balance-too-high": "收方超过余额上限 above the payee's cap",
    "transfers-switched-off": "不能转赠 no transfers",
    "not-family": "不是亲属 not family",
    "transfer-month-full": "超过每月转赠上限 more than a month's transfers",
    "grant-needs-approval": "须两人拨付 a grant for two people",
    "no-starting-grant": "没有起始时间 no starting grant",
    "age-not-attested": "未到兑换年龄 too young to redeem",
    "redemption-balance-too-low": "余额不足以兑换 too little saved to redeem",
    "disputed-too-late": "超过争议期限 disputed too late",
    "dispute-not-due": "还不升级 wouldn't escalate yet",
    "visit-too-long": "签到超过时限 left open too long",
    "visit-not-overdue": "签到未超过时限 not left open too long",
    "nothing-expires": "不过期 wouldn't lapse",
    OTHER_MINUTES: "分钟不同 other minutes",
    OTHER_TERMS: "期限或去向不同 other days or accounts",
    BY_SILENCE: "现在因无人答复而确认 silence would confirm it now",
    LAPSING: "现在会预告到期 would be announced to lapse now",
    ROUNDED: "取整不同 rounded otherwise",
    CAPPED: "超限转入时间池 above the cap, to the pool",
    HONOURED: "超限记为荣誉 above the cap, as an honour",
    PAID: "由另一账户支付 another account pays",
}
NOT_SHOWN: Final = Text(
    "当时被拒绝的没有留下事实，所以看不出更宽的规则会多准许什么；只因时间而发生的（无人答复的确认、到期预告），按现在计。",
    "What was refused at the time left no fact: what a laxer policy would have let in can't be seen. What happens with "
    "time alone (silence that confirms, minutes announced to lapse) is shown as of now.",
)

policy_app = typer.Typer(help="规则：各地的规则，试行新规则。 The rules: presets and dry runs.", no_args_is_help=True)


@policy_app.command("presets")
def presets(
    name: Annotated[str | None, typer.Argument(help="只看一个，如 nanjing。 One of them only.")] = None,
    as_json: Json = False,
) -> None:
    """各地的规则写成设置，以及设置说不了的。 Other places' rule books as settings, and what settings can't say."""
    shown = [*PRESETS.values()] if name is None else [preset_named(name)]

    def show(console: Console) -> None:
        for preset in shown:
            console.print(f"{preset.name}   {preset.place.zh} {preset.place.en}")
            console.print(f"  {preset.source}")
            for setting, value in preset.settings.items():
                console.print(f"  {setting} = {value}")
            for label, texts in (
                ("设为 set", preset.said),
                ("推定 assumed", preset.assumed),
                ("未说明，用默认 not said, at the default", preset.open),
                ("设置说不了 no setting for", preset.unsaid),
            ):
                for text in texts:
                    console.print(f"  {label}: {text.zh} / {text.en}")
            console.print()

    answer([described(preset) for preset in shown], as_json, show)


def preset_named(name: str) -> Preset:
    """A preset; ends the command where there is none of that name."""
    if name not in PRESETS:
        fail(f"没有名为“{name}”的预设，有： / There is no preset “{name}”; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


@policy_app.command("dry-run")
def dry_run_(
    file: Annotated[
        Path | None, typer.Argument(help="JSON 文件，内容为各项设置。 A JSON file of settings.", dir_okay=False)
    ] = None,
    preset: Annotated[str | None, typer.Option(help="改用一个预设。 A preset instead of a file.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="只用于这天起的服务。 For service from this day on only.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="只用于至这天的服务。 For service up to this day only.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="最多列出多少户和记录。 How many accounts and records.")] = LISTED,
    as_json: Json = False,
) -> None:
    """用一套规则重放全部历史：会影响谁，影响多少；什么都不写入。

    Replay all history under a policy: who would be affected, and by how much. Nothing is written. Settings that the
    file leaves out are at their defaults, as in a proposal.
    """
    since, until = day(from_), day(to)
    if since is not None and until is not None and since > until:
        fail("--from 不能晚于 --to。 / --from must not be after --to.")
    if file is not None and preset is None:
        policy = _settings(file)
    elif preset is not None and file is None:
        policy = preset_named(preset).policy
    else:
        raise typer.BadParameter("请给出文件，或 --preset。 Give a file, or --preset.")
    with timebank(read_settings()) as bank:
        with progress("试行 Trying the policy", bank.store.head()) as told:
            report = dry_run(bank.store, policy, bank.zone, since, until, told, datetime.now(UTC))
        synthetic = bank.opened.synthetic

    def show(console: Console) -> None:
        _show(console, report, limit)
        if synthetic:
            console.print(SYNTHETIC_NOTICE)

    content: dict[str, Any] = msgspec.to_builtins(report)
    content |= {name: content[name][:limit] for name in ("accounts", "affected", "affected_decisions")}
    answer({"synthetic": synthetic, **content, "note": NOT_SHOWN._asdict()}, as_json, show)


def _settings(file: Path) -> Policy:
    """The settings of a file. Raises: OSError, ValidationError."""
    try:
        settings = msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fail(f"{file} 不是 JSON：{error} / {file} is no JSON: {error}")
    return AdoptPolicy.model_validate({"effective_on": date.min, "policy": settings}).policy


def _show(console: Console, report: DryRunReport, limit: int) -> None:
    console.print(f"重放到位置 replayed to position {report.position:,}: {report.records:,} 条记录 records")
    for setting in report.settings:
        console.print(f"  {setting.setting}: {setting.adopted} → {setting.supposed}")
    console.print(
        f"\n受影响 affected: {report.households_affected:,} 户 households, "
        f"{report.volunteers_affected:,} 志愿者 volunteers, {report.records_affected:,} 条记录 records"
    )
    _table(
        console,
        ("原因 reason", "代码 code", "记录 records", "原 before (h)", "新 after (h)"),
        [
            (
                EFFECTS.get(effect.code, ""),
                effect.code,
                f"{effect.records:,}",
                hours_of(effect.minutes_before),
                hours_of(effect.minutes_after),
            )
            for effect in report.effects
        ],
        text_columns=2,
    )
    _show_decisions(console, report, limit)
    before, after = report.total_before, report.total_after
    _table(
        console,
        ("合计（小时） totals in hours", "原 before", "新 after", "差 change"),
        [
            (label, hours_of(was), hours_of(would), f"{(would - was) / 60:+,.1f}")
            for label, was, would in (
                ("记入 credited", before.credited_minutes, after.credited_minutes),
                ("超限入池 above the cap to pools", before.capped_minutes, after.capped_minutes),
                ("超限记荣誉 above the cap as honours", before.honour_minutes, after.honour_minutes),
                ("户和时间池支付 paid by households and pools", before.paid_minutes, after.paid_minutes),
                ("各户余额 held by households", before.balance_minutes, after.balance_minutes),
            )
        ],
    )
    _table(
        console,
        ("账户 account", "记录 records", "记入 credited", "入池 capped", "余额 balance"),
        [
            (
                each.account.removeprefix("household:"),
                f"{each.records:,}",
                f"{hours_of(each.before.credited_minutes)} → {hours_of(each.after.credited_minutes)}",
                f"{hours_of(each.before.capped_minutes)} → {hours_of(each.after.capped_minutes)}",
                f"{hours_of(each.before.balance_minutes)} → {hours_of(each.after.balance_minutes)}",
            )
            for each in report.accounts[:limit]
        ],
    )
    _more(console, len(report.accounts) - limit)
    _table(
        console,
        ("记录 record", "户 household", "日期 day", "代码 code", "分钟 min"),
        [
            (
                each.record,
                each.account.removeprefix("household:"),
                each.day.isoformat(),
                each.code,
                f"{each.minutes_before} → {each.minutes_after}",
            )
            for each in report.affected[:limit]
        ],
        text_columns=4,
    )
    _more(console, len(report.affected) - limit)
    for type_, uncovered in report.uncovered.items():
        console.print(f"会透支 would overdraw: {type_} ×{uncovered.facts:,}, {hours_of(uncovered.minutes)} 小时 h")
    for type_, count in report.follows.items():
        console.print(f"随之不发生 wouldn't have followed: {type_} ×{count:,}")
    for label, counts in (("未重新裁定", report.not_decided_again), ("按原样保留", report.kept)):
        for type_, count in counts.items():
            console.print(f"{label} stands as it happened: {type_} ×{count:,}")
    console.print(f"{NOT_SHOWN.zh} {NOT_SHOWN.en}")


def _show_decisions(console: Console, report: DryRunReport, limit: int) -> None:
    """What isn't hours: the effects, and the decisions that are affected most."""
    _table(
        console,
        ("其他事项 other decisions", "原因 reason", "代码 code", "件 decisions", "原 before (h)", "新 after (h)"),
        [
            (
                effect.type,
                EFFECTS.get(effect.code, ""),
                effect.code,
                f"{effect.decisions:,}",
                hours_of(effect.minutes_before),
                hours_of(effect.minutes_after),
            )
            for effect in report.other_effects
        ],
        text_columns=3,
    )
    _table(
        console,
        ("位置 position", "事项 decision", "账户 account", "日期 day", "代码 code", "分钟 min"),
        [
            (
                f"{each.position:,}" if each.position else "—",
                each.type,
                each.account.removeprefix("household:"),
                each.day.isoformat(),
                each.code,
                f"{each.minutes_before} → {each.minutes_after}",
            )
            for each in report.affected_decisions[:limit]
        ],
        text_columns=5,
    )
    _more(console, len(report.affected_decisions) - limit)


def _table(console: Console, headings: tuple[str, ...], rows: list[tuple[str, ...]], text_columns: int = 1) -> None:
    if rows:
        table = Table(box=None)
        for number, heading in enumerate(headings):
            justify: Any = "left" if number < text_columns else "right"
            table.add_column(heading, justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _more(console: Console, left: int) -> None:
    if left > 0:
        console.print(f"… 还有 {left:,} 个 more (--limit)")
