"""The inspection report: what an inspection covered and what it came to, as JSON and as a page that needs nothing else.

It names people by their numbers only, and nothing of what was said in words. The page is one file without scripts, with
everything escaped: names of services and seeds are whatever somebody typed.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.answers import MinPosition, answer
from api.identity import allow
from api.terminal import hours_of
from api.wiring import Service, Timebank, adopted_policies, one_moment
from application.replay import replay
from domain.decision import Actor
from domain.disclosure import Period, first_day, last_day
from domain.inspection import MATTER_ZH, MEASURE_ZH, OUTCOME_ZH, SEVERITY_ZH
from domain.ledger import SYNTHETIC_NOTICE
from domain.refusal import Refusal
from domain.signals import RULES as SIGNAL_RULES
from domain.signals import SCOPE_EN, SCOPE_ZH
from projections import inspection, solvency
from projections.disclosure import COLUMNS as DISCLOSURE_COLUMNS
from projections.disclosure import DisclosureRow, late_totals
from projections.late_entries import late_counts
from projections.signals import signals

router = APIRouter(prefix="/v1", tags=["查验 inspection"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {"read_inspection_report": ()}

FORMAT: Final = "timebank-inspection-report/v1"
BEGINNING: Final = "2000-01"
"""The signals of all times look at services from this month on: earlier than any time bank that is imported."""


class InspectionReport(BaseModel):
    """What was inspected and found, of one month (by the day of service) or of all."""

    format: str
    ledger: str
    name: str
    synthetic: bool
    period: str | None
    position: int
    made_at: datetime
    coverage: dict[str, object]
    conservation: dict[str, object]
    late_entries: dict[str, object]
    reversals: dict[str, object]
    signals: list[dict[str, object]]
    findings: dict[str, object]
    confirmers: list[dict[str, object]]
    disclosures: list[dict[str, object]]
    definitions: dict[str, str]
    notice: str | None


DEFINITIONS: Final[dict[str, str]] = {
    "coverage": (
        "抽中的服务记录中已查验的（无误，或提出了问题）；inspected_records 是全部记录中查验过的。 / "
        "Of the service records that were drawn, those inspected: found in order, or the subject of a finding; "
        "`inspected_records` is of all records."
    ),
    "conservation": (
        "从第一条事实重算：所有账户合计应为 0；发行 + 转入 = 持有 + 时间池 + 已兑换 + 已过期 + 转出，"
        "difference 应为 0。 / Counted again from the first fact: all accounts sum to 0; issued + moved in = held + "
        "pooled + spent + expired + left, and `difference` is 0."
    ),
    "late_entries": (
        "登记晚于规则通常期限的记录，按登记的月份计。 / "
        "Records that were logged later than the policy ordinarily has it, by the month in which they were logged."
    ),
    "reversals": "已冲正的服务记录，按原因。 / Service records that were reversed, by reason.",
    "signals": f"{SCOPE_ZH} / {SCOPE_EN}",
    "confirmers": (
        "谁确认了多少：仍为已确认的记录；imported 是旧台账记载的。 / "
        "Who confirmed how much of what is still confirmed; `imported` is as older books had it."
    ),
    "disclosures": (
        "已封存的月份，以及封存之后的更正。 / Months that are sealed, and what was corrected after they were."
    ),
}


@router.get("/inspection-report", response_model=InspectionReport, summary="查验报告 Inspection report")
async def read_inspection_report(
    request: Request,
    _: Annotated[Actor, allow("auditor", "admin")],
    period: Annotated[Period | None, Query(description="One month, by the day of service; else all.")] = None,
    min_position: MinPosition = None,
) -> Response:
    """Coverage, conservation, late entries, reversals, risk signals, findings, and who confirmed how much."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    return answer(await asyncio.to_thread(report, service.bank, period, datetime.now(UTC)))


def report(
    bank: Timebank, period: str | None, now: datetime, told: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """The report in one snapshot, which names its position; conservation is counted from the facts up to there.

    Raises: GapInJournal, StoreUnavailable, and what the store raises for facts that can't be read.
    """
    policies = adopted_policies(bank.store)
    today = now.astimezone(bank.zone).date()
    since = None if period is None else first_day(period)
    until = None if period is None else last_day(period)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        samples = inspection.all_samples(cursor, period)
        logged = inspection.logged(cursor, period)
        findings = inspection.all_findings(cursor, period)
        identity = solvency.identity(cursor)
        by_community = solvency.identities(cursor, None)
        late = late_counts(cursor, policies, bank.zone, community=None, since=since, until=until)
        reversals = inspection.reversals(cursor, period)
        confirmers = inspection.confirmers(cursor, period)
        pointed_at = []
        for rule in SIGNAL_RULES.values():
            count, found = signals(
                cursor,
                rule.name,
                since=since or first_day(BEGINNING),
                until=until or today,
                policies=policies,
                community=None,
            )
            text = f"{rule.zh} / {rule.en}"
            pointed_at.append({"rule": rule.name, "text": text, "count": count, "signals": found})
        disclosures = _disclosures(cursor, period)
    counted = replay(bank.store, position, told)
    drawn = sum(one.drawn for one in samples)
    inspected = sum(one.inspected for one in samples)
    return {
        "format": FORMAT,
        "ledger": bank.name,
        "name": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "period": period,
        "position": position,
        "made_at": now.astimezone(bank.zone).isoformat(timespec="seconds"),
        "coverage": {
            "samples": samples,
            "drawn": drawn,
            "inspected": inspected,
            "records": logged.records,
            "inspected_records": logged.inspected,
            "by_status": {name: getattr(logged, name) for name in ("to_confirm", "confirmed", "rejected", "reversed")},
        },
        "conservation": {
            "facts": counted.facts,
            "movements": counted.movements,
            "total_minutes": counted.total_minutes,
            "conserved": counted.total_minutes == 0 and identity.difference_minutes == 0,
            "issued": _with_difference(identity),
            "by_community": [_with_difference(one) for one in by_community],
        },
        "late_entries": {"records": sum(one.records for one in late), "items": late},
        "reversals": {"records": sum(one.records for one in reversals), "items": reversals},
        "signals": pointed_at,
        "findings": {
            "open": sum(one.status == "open" for one in findings),
            "answered": sum(one.status == "answered" for one in findings),
            "closed": sum(one.status == "closed" for one in findings),
            "items": [_without_digests(one) for one in findings],
        },
        "confirmers": confirmers,
        "disclosures": disclosures,
        "definitions": DEFINITIONS,
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


def _disclosures(cursor: Any, period: str | None) -> list[dict[str, Any]]:
    cursor.execute(
        f"SELECT {', '.join(DISCLOSURE_COLUMNS)} FROM disclosures"
        " WHERE %(period)s::text IS NULL OR period = %(period)s ORDER BY period",
        {"period": period},
    )
    shown = []
    for row in [DisclosureRow(*values) for values in cursor.fetchall()]:
        late = late_totals(cursor, row)
        shown.append(
            {
                "period": row.period,
                "watermark": row.watermark,
                "sealed_on": row.sealed_on,
                "status": row.status,
                "service_minutes": row.service_minutes,
                "service_records": row.service_records,
                "late_changes": late.changes,
                "late_minutes": late.change_minutes,
            }
        )
    return shown


def _with_difference(identity: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(identity), "difference_minutes": identity.difference_minutes}


def _without_digests(row: Any) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(row).items() if not name.endswith("_digest")}


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────

STYLE: Final = """
:root { color-scheme: light dark; font-family: system-ui, "Noto Sans SC", sans-serif; line-height: 1.5; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { border-top: 1px solid #8888; font-size: 1.1rem; margin-top: 2rem; padding-top: 1rem; }
.notice { border: 1px solid #b60; padding: .5rem; } .bad { color: #b00; font-weight: bold; } .good { color: #070; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
th, td { border-bottom: 1px solid #8884; overflow-wrap: anywhere; padding: .25rem .5rem; text-align: left; }
td.n, th.n { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; } p.what { opacity: .8; }
@media (max-width: 40rem) { body { padding: .5rem; } table { font-size: .8rem; } }
"""
"""The only style, inside the page; the policy below lets nothing else be loaded or run."""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"

Cell = str | int | None


def page(content: dict[str, Any]) -> str:
    """The report as a page of its own, in Chinese and English."""
    period = content["period"] or "全部 all"
    title = f"查验报告 Inspection report · {content['name']} · {period}"
    coverage, conservation, findings = content["coverage"], content["conservation"], content["findings"]
    definitions = content["definitions"]
    parts = [
        "<!doctype html>",
        '<html lang="zh-CN">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
    ]
    if content["notice"]:
        parts.append(f'<p class="notice">{escape(content["notice"])}</p>')
    parts.append(
        f"<p>账本 ledger {escape(content['ledger'])}，位置 position {content['position']:,}，"
        f"制作 made {escape(content['made_at'])}</p>"
    )

    def section(zh: str, en: str, what: str, *body: str) -> None:
        parts.append(f'<section><h2>{zh} <span lang="en">{en}</span></h2>')
        parts.append(f'<p class="what">{escape(definitions[what])}</p>')
        parts.extend(body)
        parts.append("</section>")

    section(
        "覆盖",
        "Coverage",
        "coverage",
        f"<p>抽中 drawn {coverage['drawn']:,}，已查验 inspected {coverage['inspected']:,}"
        f"（{_percent(coverage['inspected'], coverage['drawn'])}）；全部记录 all records {coverage['records']:,}，"
        f"查验过 inspected {coverage['inspected_records']:,}</p>",
        _table(
            (
                "抽样 Sample",
                "种子 Seed",
                "月份 Month",
                "#位置 Size",
                "#可抽 Population",
                "#抽中 Drawn",
                "#已查验 Inspected",
                "#有问题 With findings",
            ),
            (
                (s.sample, s.seed, s.period or "—", s.size, s.population, s.drawn, s.inspected, s.findings)
                for s in coverage["samples"]
            ),
        ),
    )
    good = conservation["conserved"]
    section(
        "守恒",
        "Conservation",
        "conservation",
        f'<p class="{"good" if good else "bad"}">{"分钟守恒 conserved" if good else "分钟不守恒 NOT conserved"}：'
        f"所有账户合计 all accounts sum to {conservation['total_minutes']:,}；"
        f"{conservation['facts']:,} 条事实 facts，{conservation['movements']:,} 笔流水 movements</p>",
        _table(
            (
                "社区 Community",
                "#发行 Issued",
                "#转入 Moved in",
                "#持有 Held",
                "#时间池 Pooled",
                "#已兑换 Spent",
                "#已过期 Expired",
                "#转出 Left",
                "#差额 Difference",
            ),
            (
                (
                    "合计 total" if one["community"] is None else one["community"] or "—",
                    *(
                        one[f"{name}_minutes"]
                        for name in ("issued", "moved_in", "held", "pooled", "spent", "expired", "left", "difference")
                    ),
                )
                for one in (*conservation["by_community"], conservation["issued"])
            ),
        ),
    )
    section(
        "问题",
        "Findings",
        "coverage",
        f"<p>待答复 open {findings['open']:,}，已答复 answered {findings['answered']:,}，"
        f"已结案 closed {findings['closed']:,}</p>",
        _table(
            (
                "编号 Number",
                "程度 Severity",
                "事项 Matter",
                "记录 Record",
                "社区 Community",
                "状态 Status",
                "答复 Answer",
                "结果 Outcome",
            ),
            (
                (
                    one["finding"],
                    _both(SEVERITY_ZH, one["severity"]),
                    _both(MATTER_ZH, one["matter"]),
                    one["record"] or "—",
                    one["community"] or "—",
                    _both(STATUS_ZH, one["status"]),
                    _both(MEASURE_ZH, one["measure"]),
                    _both(OUTCOME_ZH, one["outcome"]),
                )
                for one in findings["items"]
            ),
        ),
    )
    section(
        "补登",
        "Late entries",
        "late_entries",
        _table(
            (
                "月份 Month",
                "社区 Community",
                "#记录 Records",
                "#待确认 To confirm",
                "#已确认 Confirmed",
                "#已驳回 Rejected",
                "#已冲正 Reversed",
                "#有原因 With a reason",
                "#最晚天数 Days at most",
            ),
            (
                (
                    o.month,
                    o.community,
                    o.records,
                    o.to_confirm,
                    o.confirmed,
                    o.rejected,
                    o.reversed,
                    o.with_reason,
                    o.days_late_max,
                )
                for o in content["late_entries"]["items"]
            ),
        ),
    )
    section(
        "冲正",
        "Reversals",
        "reversals",
        _table(
            ("原因 Reason", "#记录 Records", "#小时 Hours", "#办理人数 People who reversed"),
            ((o.reason, o.records, hours_of(o.service_minutes), o.people) for o in content["reversals"]["items"]),
        ),
    )
    section(
        "风险信号",
        "Risk signals",
        "signals",
        _table(
            ("规则 Rule", "说明 What it points at", "#信号 Signals"),
            ((one["rule"], one["text"], one["count"]) for one in content["signals"]),
        ),
        _table(
            ("规则 Rule", "有关 Who", "社区 Communities", "#记录 Records", "记录编号 Numbers"),
            (
                (one["rule"], "、".join(s.who), "、".join(s.communities), s.records_count, " ".join(s.records))
                for one in content["signals"]
                for s in one["signals"]
            ),
        ),
    )
    section(
        "谁确认了多少",
        "Who confirmed how much",
        "confirmers",
        _table(
            (
                "人员 Person",
                "身份 As",
                "#记录 Records",
                "#小时 Hours",
                "#志愿者 Volunteers",
                "#社区 Communities",
                "#旧台账 Imported",
            ),
            (
                (
                    c.person,
                    c.confirmed_as,
                    c.records,
                    hours_of(c.service_minutes),
                    c.volunteers,
                    c.communities,
                    c.imported,
                )
                for c in content["confirmers"]
            ),
        ),
    )
    section(
        "公示",
        "Disclosures",
        "disclosures",
        _table(
            (
                "月份 Month",
                "#水位 Watermark",
                "封存 Sealed",
                "状态 Status",
                "#小时 Hours",
                "#记录 Records",
                "#封存后更正 Late",
                "#更正分钟 Minutes",
            ),
            (
                (
                    one["period"],
                    one["watermark"],
                    one["sealed_on"],
                    _both({"open": "异议期内", "frozen": "已定稿"}, one["status"]),
                    hours_of(one["service_minutes"]),
                    one["service_records"],
                    one["late_changes"],
                    one["late_minutes"],
                )
                for one in content["disclosures"]
            ),
        ),
    )
    return "\n".join([*parts, "</body>", "</html>", ""])


STATUS_ZH: Final[dict[str, str]] = {"open": "待答复", "answered": "已答复", "closed": "已结案"}


def _both(chinese: dict[str, str], word: str | None) -> str:
    return "—" if word is None else f"{chinese.get(word, '')} {word}".strip()


def _percent(part: int, whole: int) -> str:
    return "—" if not whole else f"{100 * part / whole:.1f}%"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that scrolls by itself where the screen is narrow; a head that begins with # is over numbers."""
    body = "".join(
        f"<tr>{''.join(_cell(head, value) for head, value in zip(heads, row, strict=True))}</tr>" for row in rows
    )
    if not body:
        return "<p>没有 none</p>"
    head = "".join(
        f'<th scope="col"{" class=" + chr(34) + "n" + chr(34) if name.startswith("#") else ""}>'
        f"{escape(name.removeprefix('#'))}</th>"
        for name in heads
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(head: str, value: Cell) -> str:
    text = f"{value:,}" if isinstance(value, int) else escape(value or "")
    return f'<td class="n">{text}</td>' if head.startswith("#") else f"<td>{text}</td>"
