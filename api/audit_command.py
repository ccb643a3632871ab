"""``timebank audit``: what auditors take away with them, to check it without us."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api import bundle, inspection_command, verification
from api.replay import audit_replay, position_asked
from api.terminal import Json, answer, progress
from api.wiring import timebank
from domain.ledger import SYNTHETIC_NOTICE
from infrastructure.settings import read_settings

audit_app = typer.Typer(
    help="审计：带走核对所需的一切。 Audit: everything that it takes, to take away.", no_args_is_help=True
)


@audit_app.command("export")
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


@audit_app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(help="审计包。 The bundle.", file_okay=False, exists=True)],
    key: Annotated[
        list[str] | None,
        typer.Option(help="您信任的公钥，可重复；不给则用包里的。 A key that you trust; else the bundle's own."),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="须有其副签的见证人的公钥，可重复。 A witness that must have cosigned, by its key."),
    ] = None,
    without_rules: Annotated[
        bool, typer.Option("--without-rules", help="不逐条重新决定。 Don't decide every fact again.")
    ] = False,
    without_journals: Annotated[
        bool, typer.Option("--without-journals", help="不核对纯文本流水。 Leave the plain-text journals out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """离线验证审计包：签名、散列、规则、余额、数字和纯文本流水；不需要数据库和网络。有任何不符则以非零状态结束。

    Verify a bundle: signatures, hashes, every rule, balances, figures and the plain-text journals, without a database
    or a network. It names the first thing wrong, and every kind of it; the exit status is then 1.
    """
    rules, plain = not without_rules, not without_journals
    verification.verify(directory, key or (), witness or (), rules=rules, plain=plain, as_json=as_json)


@audit_app.command("replay")
def replay(
    to: Annotated[int | None, typer.Option(min=0, help="重放到这个位置。 Replay up to this position.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="重放到这一时刻，或当天结束。 Replay up to this time, or to the end of a day."),
    ] = None,
    as_json: Json = False,
) -> None:
    """对正在使用的账本：重算每条事实的散列，与封存的树和签名核对；按当时的规则重新决定；汇总表逐行核对。有不符则以非零状态结束。

    On the live ledger: re-hash every fact against the sealed tree and what was signed, decide every fact again, and
    compare every row of the projections. The exit status is 1 where anything is found.
    """
    with timebank(read_settings()) as bank:
        audit_replay(bank, position_asked(bank, to, as_of), as_json=as_json)


audit_app.command("sample")(inspection_command.sample)
audit_app.command("report")(inspection_command.report)
