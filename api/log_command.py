"""``timebank proof`` and ``timebank verify``: a fact's receipt, and what it proves to whoever has it, offline."""

import base64
import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from api.acting import queried
from api.terminal import Json, answer, fail
from api.wiring import timebank
from domain.checkpoint import Checkpoint, NoReceipt, Receipt
from domain.statement import NoSigningKey, VerifierKey
from infrastructure import log
from infrastructure.settings import read_settings
from infrastructure.signing import read_key, split_successions, succeeding, successions, verified

RECEIPT_BYTES_MAX = 1_000_000


def proof(
    position: Annotated[int, typer.Argument(min=1, help="事实的位置。 The fact's position.")],
    as_json: Json = False,
) -> None:
    """一条事实的收据（C2SP tlog-proof 文件），可以 > 文件 保存，用 timebank verify 离线验证。

    The receipt of a fact: keep it, and verify it offline with `timebank verify`.
    """
    with timebank(read_settings()) as bank:
        with contextlib.closing(bank.sealer()) as sealer:
            sealer.catch_up()
            if sealer.sign() is None:
                raise NoSigningKey(bank.name)
        found = queried(bank, lambda connection: log.receipt(connection, bank.name, position))
    if found is None:
        fail(f"没有位置 {position} 的事实。 / There is no fact at position {position}.")
    text = found.text()

    def show(_: Console) -> None:
        # To the byte: a console may break lines.
        sys.stdout.write(text)

    answer({"position": position, "receipt": text}, as_json, show)


def verify(
    file: Annotated[Path, typer.Argument(help="收据文件。 The receipt.", dir_okay=False, exists=True)],
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="您信任的公钥，可重复；不给则用数据目录里的。 A key that you trust; else the data directory's."
        ),
    ] = None,
    successions_file: Annotated[
        Path | None,
        typer.Option(
            "--successions",
            help="密钥交接文件。 Notes by which keys named their successors.",
            dir_okay=False,
            exists=True,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """离线验证收据：事实、在日志中的位置、签名；不需要数据库和网络。 Verify a receipt: no database, no network."""
    keys = _trusted(key)
    if successions_file is not None:
        keys = succeeding(keys, split_successions(successions_file.read_text(errors="replace")))
    content = file.read_bytes()
    try:
        if len(content) > RECEIPT_BYTES_MAX:
            raise NoReceipt
        receipt = Receipt.parse(content.decode())
    except UnicodeDecodeError:
        raise NoReceipt from None
    checkpoint = Checkpoint.parse(verified(receipt.checkpoint, keys))
    leaf = receipt.proven(checkpoint)
    recorded_at = datetime.fromtimestamp(leaf.recorded_at_microseconds / 1_000_000, UTC)
    shown = {
        "valid": True,
        "ledger": leaf.ledger,
        "position": leaf.position,
        "type": leaf.type,
        "recorded_at": recorded_at.isoformat(timespec="microseconds"),
        "tags": list(leaf.tags),
        "fact": msgspec.json.decode(leaf.data),
        "log_size": checkpoint.size,
        "root": base64.b64encode(checkpoint.root).decode(),
    }

    def show(console: Console) -> None:
        console.print(f"有效 valid: {leaf.ledger} {leaf.position}   {leaf.type}   {shown['recorded_at']}")
        console.print(f"  日志共 the log has {checkpoint.size} 条 facts，根 root {shown['root']}")
        console.print(leaf.data.decode(errors="replace"))

    answer(shown, as_json, show)


def _trusted(given: list[str] | None) -> list[VerifierKey]:
    """The keys that were named; else the ledger's own, and those before it that named it their successor."""
    if given:
        try:
            return [VerifierKey.parse(text.strip()) for text in given]
        except ValueError as error:
            fail(f"--key：{error}。")
    settings = read_settings()
    own = read_key(settings.data, settings.ledger)
    if own is None:
        raise NoSigningKey(settings.ledger)
    return preceding(own.verifier, successions(settings.data, settings.ledger))


def preceding(key: VerifierKey, notes: list[str]) -> list[VerifierKey]:
    """A key, and those that led to it, one after the other."""
    keys = [key]
    for note in reversed(notes):
        with contextlib.suppress(ValueError, IndexError):
            before = VerifierKey.parse(note.split("\n")[1])
            if keys[-1] in succeeding([before], [note]):
                keys.append(before)
    return keys
