"""``timebank audit replay``: the live ledger checked against all that was sealed and signed."""

from typing import Annotated

import typer

from api.replay import audit_replay, position_asked
from api.terminal import Json
from api.wiring import timebank
from infrastructure.settings import read_settings

commands = typer.Typer()


@commands.command("replay")
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
