"""``timebank witness``: on the auditor's machine to follow a log and cosign it, at the ledger to name who may."""

import contextlib
import http.client
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from typer.core import TyperGroup

from api.acting import queried
from api.terminal import Json, answer, fail, say
from api.wiring import timebank
from domain.statement import VerifierKey
from domain.witness import witness_key
from infrastructure import cosignature
from infrastructure.embedded import make_data_directory
from infrastructure.settings import read_settings
from infrastructure.signing import CosigningKey, create_witness_key, read_witness_key
from infrastructure.witness import KEY_FILE, LogUnreachable, Looked, Refused, RemoteLog, Witness

REFUSED_STATUS = 3
"""The exit status that says: the log was refused. Whoever watches the witness must not take it for a failure."""


class FollowsAnAddress(TyperGroup):
    """``timebank witness URL …`` is ``timebank witness follow URL …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["follow", *args]
        return super().parse_args(ctx, args)


witness_app = typer.Typer(
    cls=FollowsAnAddress,
    help="见证人：在审核人员自己的机器上跟踪日志并副签。 Witnesses: follow a log from your own machine.",
    no_args_is_help=True,
)

Directory = Annotated[
    Path | None,
    typer.Option(
        envvar="TIMEBANK_WITNESS",
        help="见证人的目录，省略则为数据目录下的 witness。 Its directory; else `witness` in the data directory.",
        file_okay=False,
    ),
]
WitnessKey = Annotated[str, typer.Argument(help="见证人的公钥，即 timebank witness show 的输出。 The witness's key.")]


@witness_app.command("init")
def init(
    name: Annotated[
        str, typer.Argument(help="见证人的名称，如 audit.example/a001，不含空格。 The witness's name, without spaces.")
    ],
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """生成见证人的密钥，并显示公钥，请交给账本的运维人员。 Make a key; hand its public part to the operator.

    不要在账本的机器上运行；一把密钥只给一个见证人用。 Not on the ledger's machine; and a key is for one witness only.
    """
    home = _home(directory)
    try:
        key = create_witness_key(home / KEY_FILE, name)
    except ValueError as error:
        fail(f"{error}。")
    _show_key(key, home, as_json)


@witness_app.command("show")
def show(directory: Directory = None, as_json: Json = False) -> None:
    """显示见证人的公钥。 Show the witness's public key."""
    home = _home(directory)
    _show_key(_own_key(home), home, as_json)


@witness_app.command("follow")
def follow(
    url: Annotated[str, typer.Argument(help="日志的地址，如 https://…/v1/log/checkpoint。 The log's address.")],
    key: Annotated[
        str, typer.Option(help="日志的公钥，经另一途径核对过。 The log's key, compared over another channel.")
    ],
    once: Annotated[bool, typer.Option("--once", help="只看一次。 Look once.")] = False,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="每隔几秒看一次。 Seconds between looks.")] = 60,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """跟踪日志：要求每个检查点由上一个增长而来，才副签并交给账本；不需要数据库。

    Follow a log: demand that each checkpoint has grown from the one before, then cosign it. It needs no database.

    日志被改写、截短或分叉时不副签，写下两个检查点，以状态 3 结束。

    A log that was rewritten, truncated or has forked is not cosigned: both checkpoints are written down, and the exit
    status is 3.
    """
    home = _home(directory)
    witness, log, trusted = Witness(home, _own_key(home)), RemoteLog(url), _log_key(key)
    while True:
        try:
            looked = witness.look(log, trusted)
            _show_look(looked, as_json)
            if looked.handed_in not in (None, http.client.OK):
                _not_taken(looked, once)
        except Refused as refused:
            say(f"timebank: {refused}")
            raise typer.Exit(REFUSED_STATUS) from None
        except LogUnreachable as error:
            if once:
                raise
            say(f"timebank: {error}")
        if once:
            return
        time.sleep(seconds)


@witness_app.command("trust")
def trust(key: WitnessKey, as_json: Json = False) -> None:
    """运维人员：接受一个见证人的副签；公钥请经另一途径核对。 For operators: take a witness's cosignatures."""
    known = _witness_key(key)
    with timebank(read_settings()) as bank, psycopg.connect(bank.owner_address) as connection:
        cosignature.trust(connection, bank.name, known)
    answer({"trusted": str(known)}, as_json, lambda console: console.print(str(known), soft_wrap=True))


@witness_app.command("distrust")
def distrust(key: WitnessKey, as_json: Json = False) -> None:
    """运维人员：不再接受一个见证人的副签；已有的保留。 For operators: take no more of them; those there are stay."""
    known = _witness_key(key)
    with timebank(read_settings()) as bank, psycopg.connect(bank.owner_address) as connection:
        was_trusted = cosignature.distrust(connection, bank.name, known)
    if not was_trusted:
        fail("这个见证人本来就不受信任。 / This witness was not trusted.")
    answer({"distrusted": str(known)}, as_json, lambda console: console.print(str(known), soft_wrap=True))


@witness_app.command("list")
def list_(as_json: Json = False) -> None:
    """账本接受哪些见证人的副签。 Whose cosignatures the ledger takes."""
    with timebank(read_settings()) as bank:
        found = queried(bank, lambda connection: cosignature.trusted_witnesses(connection, bank.name))

    def show(console: Console) -> None:
        for key in found:
            console.print(str(key), soft_wrap=True)

    answer({"ledger": bank.name, "witnesses": [str(key) for key in found]}, as_json, show)


def _show_look(looked: Looked, as_json: bool) -> None:
    checkpoint, own = looked.checkpoint, looked.cosignature
    content = {
        "log": checkpoint.origin,
        "size_before": looked.before,
        "size": checkpoint.size,
        "witness": own.name,
        "cosigned_at": own.at.isoformat(),
        "cosignature": own.line(),
        "carried": looked.carried or looked.handed_in == http.client.OK,
    }

    def show(console: Console) -> None:
        grown = "首次 first" if looked.before is None else f"{looked.before} →"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        console.print(f"{now} {checkpoint.origin} {grown} {checkpoint.size}，副签于 cosigned {own.at.isoformat()}")

    answer(content, as_json, show)


def _not_taken(looked: Looked, once: bool) -> None:
    reason = (
        f"账本没有接受副签（HTTP {looked.handed_in}）：请运维人员运行 timebank witness trust。 / The ledger has not"
        f" taken the cosignature (HTTP {looked.handed_in}); have its operator run `timebank witness trust`."
    )
    if once:
        fail(reason)
    say(f"timebank: {reason}")


def _home(directory: Path | None) -> Path:
    """The witness's directory, which is made where there is none."""
    if directory is None:
        data = read_settings().data
        make_data_directory(data)
        directory = data / "witness"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _own_key(home: Path) -> CosigningKey:
    key = read_witness_key(home / KEY_FILE)
    if key is None:
        fail(
            "还没有见证人的密钥，请先运行 timebank witness init。 / There is no key: run `timebank witness init` first."
        )
    return key


def _log_key(text: str) -> VerifierKey:
    with contextlib.suppress(ValueError):
        return VerifierKey.parse(text.strip())
    fail("--key：不是日志的公钥，应为 timebank keys show 的输出。 / --key: not what `timebank keys show` prints.")


def _witness_key(text: str) -> VerifierKey:
    with contextlib.suppress(ValueError):
        return witness_key(text.strip())
    fail("不是见证人的公钥，应为 timebank witness show 的输出。 / This is not what `timebank witness show` prints.")


def _show_key(key: CosigningKey, home: Path, as_json: bool) -> None:
    content = {"witness": key.verifier.name, "key": str(key.verifier), "directory": str(home)}
    answer(content, as_json, lambda console: console.print(content["key"], soft_wrap=True))
