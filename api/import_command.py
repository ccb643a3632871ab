"""``timebank import``: a file of service records, all of it or nothing."""

import contextlib
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from api.terminal import Json, answer, hours_of, progress
from api.wiring import Timebank, timebank
from application.hours_import import HoursImport, ImportReport
from infrastructure.settings import read_settings
from infrastructure.vault import remember

commands = typer.Typer()


@commands.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV 或 XLSX 文件。 A CSV or XLSX file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只检查，不写入。 Check every row and write nothing.")
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="写入合格的行，其余另存。 Record the good rows; save the refused ones."),
    ] = False,
    as_json: Json = False,
) -> None:
    """导入服务记录文件：默认整个文件全部写入或全部不写。 Import a file of service records: all of it, or nothing.

    被拒绝的行逐行列出（行号、列、原因）；--skip-bad 时另存为 FILE.refused.csv 供更正后再导入。
    Refused rows are listed (row, column, reason); --skip-bad saves them as FILE.refused.csv, to be corrected.
    同一文件再次导入不会重复。 Importing the same file again adds nothing.
    """
    with timebank(read_settings()) as bank:
        hours_import = HoursImport(bank.store, bank.zone, file, ledger_is_synthetic=bank.opened.synthetic)
        refused_path = file.with_name(file.stem + ".refused.csv") if skip_bad else None
        indexing = contextlib.nullcontext() if dry_run else bank.indexing()
        with indexing, progress(f"检查 Checking {file.name}", hours_import.file.rows_estimate) as told:
            report = hours_import.run(dry_run=dry_run, skip_bad=skip_bad, refused_path=refused_path, progress=told)
        if not dry_run:
            keep_in_vault(bank, hours_import)
            catch_up(bank)
    answer(report, as_json, lambda console: _show_import(console, report))
    if report.rows_refused and not skip_bad:
        raise typer.Exit(1)


def keep_in_vault(bank: Timebank, hours_import: HoursImport) -> None:
    with psycopg.connect(bank.address) as connection:
        remember(connection, bank.name, names=hours_import.names, remarks=hours_import.remarks)


def _show_import(console: Console, report: ImportReport) -> None:
    shown = 50
    if report.problems:
        table = Table(title="被拒绝的行 Refused rows", box=None)
        for heading in ("行 row", "列 field", "内容 value", "原因 reason"):
            table.add_column(heading, overflow="fold")
        for problem in report.problems[:shown]:
            table.add_row(str(problem.row), problem.field, problem.value, f"{problem.reason_zh} {problem.reason_en}")
        console.print(table)
        if len(report.problems) > shown:
            console.print(f"… 还有 {len(report.problems) - shown} 个问题 more problems")
    outcome = "只检查，未写入 checked only, nothing written" if report.dry_run else "已写入 recorded"
    if report.rows_refused and not report.dry_run and report.position is None:
        outcome = "全部未写入 nothing was recorded"
    console.print(
        f"{report.file}: {report.rows:,} 行 rows; {report.rows_imported:,} 新 new, "
        f"{report.rows_already_there:,} 已有 already there, {report.rows_refused:,} 被拒绝 refused — {outcome}"
    )
    console.print(
        f"已确认且未冲正 confirmed and unreversed: {report.service_records:,} 条 records, "
        f"{hours_of(report.service_minutes)} 小时 hours; {report.facts:,} 个事实 facts"
    )
    for kind, ignored in (("列 columns", report.ignored_columns), ("工作表 sheets", report.ignored_sheets)):
        if ignored:
            console.print(f"没有读取的{kind} not read: {'、'.join(ignored)}")
    if report.refused_file:
        console.print(f"被拒绝的行另存于 Refused rows are saved in: {report.refused_file}")


def catch_up(bank: Timebank) -> None:
    """Fold what was imported, so that it is seen, and so that the next import's balances are recalled from it."""
    with progress("汇总 Folding the figures", bank.store.head()) as told:
        bank.catch_up(told)
