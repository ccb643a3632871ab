"""``timebank audit sample`` and ``timebank audit report``: a sample anyone can draw again, and what it came to."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from api import inspection_report
from api.acting import Key, actor_of, carry_out, caught_up
from api.inspection import prepared
from api.terminal import Json, answer, fail, progress
from api.wiring import timebank
from application.inspection import redraw
from domain.disclosure import Period
from domain.inspection import DRAWN_MAX, SampleDrawn, SampleWanted, draw_sample
from domain.ledger import SYNTHETIC_NOTICE
from infrastructure.settings import read_settings

commands = typer.Typer()

PeriodOption = Annotated[str | None, typer.Option("--period", help="只限一个月的服务，如 2026-10。 Of one month only.")]


@commands.command()
def sample(
    seed: Annotated[str, typer.Option(help="公开的种子，抽样之前无人知道，如彩票号码。 A public seed.")] = "",
    count: Annotated[int, typer.Option("--n", min=1, max=DRAWN_MAX, help="抽多少条。 How many records.")] = 50,
    period: PeriodOption = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="截至账本的哪个位置，默认现在。 Up to which position; now if left out.")
    ] = None,
    number: Annotated[str | None, typer.Option(help="抽样编号，可省略。 The sample's number.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TIMEBANK_TOKEN",
            help="审核人员的令牌；没有则只抽取、不登记。 An auditor's token; without it nothing is recorded.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="把登记过的抽样全部重抽、核对。 Draw every recorded sample again.")
    ] = False,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """抽取服务记录供查验：用同一种子，任何人得到同样的结果；有令牌则登记为事实。

    Draw service records to inspect: with the same seed anybody gets the same ones. With a token it is recorded.
    """
    if check:
        _check(as_json)
        return
    if not seed.strip():
        raise typer.BadParameter("请给出 --seed。 Give --seed.")
    wanted = SampleWanted.model_validate({"sample": number, "seed": seed, "count": count, "period": _month(period)})
    with caught_up() as bank:
        drawing = prepared(bank, wanted, size)
        recorded: str | None = None
        if token is not None:
            if size is not None:
                fail(
                    "--size 只用于重抽，登记的总是截至现在。 / --size is for drawing again; what is recorded is of now."
                )
            actor = actor_of(bank, token, ("auditor",))
            accepted = carry_out(bank, actor, draw_sample, drawing, key)
            (fact,) = (fact for fact in accepted.facts if isinstance(fact, SampleDrawn))
            recorded = fact.sample
            content = _content(fact.seed, fact.size, fact.period, fact.population, fact.records)
        else:
            drawn = drawing.drawn
            content = _content(wanted.seed, drawn.size, wanted.period, drawn.population, drawn.records)
    content["sample"] = recorded

    def show(console: Console) -> None:
        said = "没有登记 not recorded" if recorded is None else f"抽样 sample {recorded}"
        console.print(
            f"{said}：截至位置 up to position {content['size']:,}，"
            f"从 of {content['population']:,} 条记录中抽 records drew {len(content['records']):,}"
        )
        for record in content["records"]:
            console.print(f"  {record}")

    answer(content, as_json, show)


def _content(seed: str, size: int, period: str | None, population: int, records: tuple[str, ...]) -> dict[str, Any]:
    return {"seed": seed, "size": size, "period": period, "population": population, "records": records}


def _check(as_json: bool) -> None:
    with timebank(read_settings()) as bank:
        found = redraw(bank.store, bank.name, bank.store.at)
    content = {"position": found.position, "samples": found.samples, "differences": found.differences}

    def show(console: Console) -> None:
        console.print(f"核对到位置 checked up to position {found.position:,}: {found.samples:,} 次抽样 samples")
        for each in found.differences:
            console.print(f"  ! {each.what}: 重抽 drawn {each.replayed}，登记 recorded {each.projected}")
        if not found.differences:
            console.print("  全部一致 all drawn alike")

    answer(content, as_json, show)
    if found.differences:
        raise typer.Exit(1)


@commands.command()
def report(
    directory: Annotated[Path, typer.Argument(help="写入的目录。 Where to write.")],
    period: PeriodOption = None,
    as_json: Json = False,
) -> None:
    """查验报告：覆盖、守恒、补登、冲正、风险信号、问题、谁确认了多少；写成 report.html 和 report.json。

    The inspection report, as report.html and report.json: coverage, conservation, late entries, reversals, risk
    signals, findings, and who confirmed how much. No name and nothing that was said in words is in it.
    """
    month = _month(period)
    with caught_up() as bank, progress("重算 Recounting", bank.store.head()) as told:
        content = inspection_report.report(bank, month, datetime.now(UTC), told)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        document = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        (directory / "report.json").write_bytes(document)
        (directory / "report.html").write_text(inspection_report.page(content), encoding="utf-8")
    except OSError as error:
        fail(f"不能写入 {directory}：{error.strerror}。 / {directory} can't be written to: {error.strerror}.")
    coverage, findings = content["coverage"], content["findings"]
    summary = {
        "directory": str(directory),
        "period": month,
        "position": content["position"],
        "drawn": coverage["drawn"],
        "inspected": coverage["inspected"],
        "conserved": content["conservation"]["conserved"],
        "findings": {name: findings[name] for name in ("open", "answered", "closed")},
    }

    def show(console: Console) -> None:
        console.print(f"查验报告 report: {directory / 'report.html'}, {directory / 'report.json'}")
        console.print(f"  抽中 drawn {coverage['drawn']:,}，已查验 inspected {coverage['inspected']:,}")
        console.print("  分钟守恒 conserved" if summary["conserved"] else "  分钟不守恒 NOT conserved")
        if content["notice"]:
            console.print(SYNTHETIC_NOTICE)

    answer(summary, as_json, show)
    if not summary["conserved"]:
        raise typer.Exit(1)


def _month(text: str | None) -> str | None:
    if text is None:
        return None
    with contextlib.suppress(ValidationError):
        month: str = TypeAdapter(Period).validate_python(text.strip())
        return month
    raise typer.BadParameter("应为月份，例：2026-10。 It must be a month such as 2026-10.")
