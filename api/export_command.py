"""``timebank audit export``: the bundle that auditors take away with them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api import bundle
from api.terminal import Json, answer, progress
from api.wiring import timebank
from domain.ledger import SYNTHETIC_NOTICE
from infrastructure.settings import read_settings

commands = typer.Typer()


@commands.command("export")
def export(
    directory: Annotated[Path, typer.Argument(help="新的或空的目录。 A new or empty directory.")],
    period: Annotated[
        str | None,
        typer.Option(help="只到这个月记入的为止，如 2026-10。 Up to what was recorded by the end of this month."),
    ] = None,
    as_json: Json = False,
) -> None:
    """导出审计包：事实、签名的日志、公钥、规则、数字，以及 ledger、hledger、beancount 可读的流水。

    Write the audit bundle: facts, the signed log, public keys, rules, figures, and journals for ledger, hledger and
    beancount. No name, phone or remark is in it. The same ledger and checkpoint give the same bytes.
    """
    with (
        timebank(read_settings()) as bank,
        progress("导出 Exporting", bank.store.head()) as told,
    ):
        manifest = bundle.export(bank, directory, period, lambda done, _: told(done))
    total_bytes = sum(file.bytes for file in manifest.files)

    def show(console: Console) -> None:
        until = "" if period is None else f"   {period}"
        console.print(f"审计包 bundle: {directory}   {manifest.ledger}{until}")
        console.print(
            f"  {manifest.size:,} 条事实 facts, {len(manifest.files):,} 个文件 files, {total_bytes:,} 字节 bytes"
        )
        if manifest.synthetic:
            console.print(SYNTHETIC_NOTICE)

    content = {
        "directory": str(directory),
        "ledger": manifest.ledger,
        "size": manifest.size,
        "period": manifest.period,
        "files": len(manifest.files),
        "bytes": total_bytes,
        "synthetic": manifest.synthetic,
    }
    answer(content, as_json, show)
