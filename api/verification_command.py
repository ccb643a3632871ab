"""``timebank audit verify``: a bundle checked without us, and so without anything that a ledger needs."""

from pathlib import Path
from typing import Annotated

import typer

from api import verification
from api.terminal import Json

commands = typer.Typer()


@commands.command("verify")
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
