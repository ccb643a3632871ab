"""The log on the command line: receipts and consistency, and what a file proves to whoever has it, offline."""

import base64
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from api.acting import queried, sealed
from api.certificate_file_command import Later, verified_certificate
from api.receipts import BATCH_FACTS, Proven, proofs_of, proven_of
from api.terminal import Json, answer, fail
from api.wiring import Timebank
from domain.certificate_file import FORMAT as CERTIFICATE_FORMAT
from domain.certificate_file import PACKED_MARK
from domain.checkpoint import (
    CONSISTENCY_FORMAT,
    PROOF_FORMAT,
    RECEIPTS_FORMAT,
    Checkpoint,
    Consistency,
    NoCheckpoint,
    NoReceipt,
    Receipt,
    Receipts,
    receipts_head,
)
from domain.household import UnknownHousehold
from domain.identifiers import normal_id
from domain.leaf import Leaf
from domain.statement import FORMAT as STATEMENT_FORMAT
from domain.statement import BalanceStatement, NoSigningKey, VerifierKey
from domain.witness import REFUSED_FORMAT, RefusedLog, witness_key
from infrastructure import log
from infrastructure.settings import read_settings
from infrastructure.signing import (
    preceding,
    read_key,
    require_cosigned,
    signed_checkpoint,
    split_successions,
    succeeding,
    successions,
    verified,
)

commands = typer.Typer()

RECEIPT_BYTES_MAX = 1_000_000
RECEIPTS_BYTES_MAX = 500_000_000
"""A file of a household's receipts: some thousand bytes a fact."""


@commands.command()
def proof(
    position: Annotated[int, typer.Argument(min=1, help="事实的位置。 The fact's position.")],
    as_json: Json = False,
) -> None:
    """一条事实的收据（C2SP tlog-proof 文件），可以 > 文件 保存，用 timebank verify 离线验证。

    The receipt of a fact: keep it, and verify it offline with `timebank verify`.
    """
    with sealed() as bank:
        found = queried(bank, lambda connection: log.receipt(connection, bank.name, position))
    if found is None:
        fail(f"没有位置 {position} 的事实。 / There is no fact at position {position}.")
    _write({"position": position, "receipt": found.text()}, found.text(), as_json)


@commands.command()
def receipts(
    household: Annotated[str, typer.Argument(help="户编号。 The household's number.")],
    as_json: Json = False,
) -> None:
    """一户全部收据，一个文件：可以 > 文件 保存，用 timebank verify 离线验证。

    All receipts of a household as one file: keep it, and verify it offline with `timebank verify`.
    """
    household = normal_id(household)
    with sealed() as bank:
        bank.catch_up()
        proven = queried(bank, lambda connection: proven_of(connection, bank.name, household))
        if proven is None or not proven.positions:
            raise UnknownHousehold(household)
        text = "".join(_proofs(bank, household, proven))
    _write({"household": household, "facts": len(proven.positions), "receipts": text}, text, as_json)


def _proofs(bank: Timebank, household: str, proven: Proven) -> Iterator[str]:
    yield receipts_head(household)
    for at in range(0, len(proven.positions), BATCH_FACTS):
        yield queried(bank, functools.partial(proofs_of, ledger=bank.name, proven=proven, at=at))
    yield proven.checkpoint


@commands.command()
def consistency(
    older: Annotated[int, typer.Argument(min=1, help="较早检查点的条数。 The older checkpoint's size.")],
    newer: Annotated[
        int | None, typer.Argument(min=1, help="较晚的；省略则为最新。 The newer one's; else now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """证明日志由较早的检查点增长而来，可以 > 文件 保存，用 timebank verify 离线验证。

    That the log has grown from an older checkpoint: keep it, and verify it offline with `timebank verify`.
    """
    with sealed() as bank:
        if newer is None:
            note = queried(bank, lambda connection: log.newest_checkpoint(connection, bank.name))
            newer = 0 if note is None else log.signed_size(note)
        found = queried(
            bank, lambda connection: log.consistency(connection, bank.name, older, newer or 0, cosigned=True)
        )
    if found is None:
        fail(
            f"没有 {older} 条和 {newer} 条的两个检查点，或前者更晚；见 GET /v1/log/checkpoints。 / There are no"
            f" checkpoints of {older} and {newer} facts, or the first is the newer; GET /v1/log/checkpoints lists them."
        )
    _write({"older": older, "newer": newer, "consistency": found.text()}, found.text(), as_json)


def _write(content: dict[str, object], text: str, as_json: bool) -> None:
    # To the byte: a console may break lines.
    def show(_: Console) -> None:
        sys.stdout.write(text)

    answer(content, as_json, show)


@dataclass(frozen=True)
class Trust:
    """Whose signatures a file must bear: one of these keys', and every one of these witnesses'."""

    keys: list[VerifierKey]
    witnesses: list[VerifierKey]

    def checkpoint(self, note: str) -> Checkpoint:
        """Raises: NoteNotGenuine, NotCosigned, NoCheckpoint, OtherOrigin."""
        require_cosigned(note, self.witnesses)
        return signed_checkpoint(note, self.keys)

    def cosigned(self, note: str) -> list[dict[str, object]]:
        """Who of the witnesses has cosigned it, and when."""
        found = require_cosigned(note, self.witnesses)
        return [{"name": key.name, "key": str(key), "cosigned_at": one.at.isoformat()} for key, one in found.items()]


@commands.command()
def verify(
    file: Annotated[
        Path,
        typer.Argument(
            help="收据、一致性证明或检查点。 Receipts, a consistency, a checkpoint.", dir_okay=False, exists=True
        ),
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="您信任的公钥，可重复；不给则用数据目录里的。 A key that you trust; else the data directory's."
        ),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="须有其副签的见证人公钥，可重复。 A witness that must have cosigned; may be repeated."),
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
    revocation: Annotated[
        Path | None,
        typer.Option(
            help="证明的撤销事实的收据。 The receipt of the fact that revoked a certificate.",
            dir_okay=False,
            exists=True,
        ),
    ] = None,
    online: Annotated[
        str | None,
        typer.Option(
            help="再向账本的这个地址核实证明的现状。 Ask the ledger's service, too, how a certificate stands."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """离线验证收据、户的收据、一致性证明、检查点、见证人的报告、结单、志愿服务证明的文件或二维码文字；不需要数据库和网络。

    Verify a receipt, a household's receipts, a consistency, a checkpoint, a witness's report, a statement, a
    certificate's file or the text of its QR code: no database, no network. Exit status: 0 valid; 1 altered, or signed
    by nobody trusted; 3 a certificate that was revoked, or has lost records; 4 one that is genuine, while its ledger
    couldn't be asked.
    """
    keys = _trusted(key)
    if successions_file is not None:
        keys = succeeding(keys, split_successions(successions_file.read_text(errors="replace")))
    trust = Trust(keys, _witnesses(witness))
    if file.stat().st_size > RECEIPTS_BYTES_MAX:
        raise NoReceipt
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError:
        raise NoReceipt from None
    status = 0
    if text.startswith((CERTIFICATE_FORMAT + "\n", PACKED_MARK)):
        later = Later(revocation, online)
        shown, lines, status = verified_certificate(text, trust.keys, trust.cosigned, later)
    elif revocation is not None or online is not None:
        fail("--revocation 和 --online 只用于志愿服务证明。 / --revocation and --online are for certificates.")
    else:
        shown, lines = _KINDS.get(text.partition("\n")[0], _verified_checkpoint)(text, trust)

    def show(console: Console) -> None:
        for line in lines:
            console.print(line)
        for one in shown.get("witnesses", ()):
            console.print(f"  见证人 witness {one['name']}，副签于 cosigned {one['cosigned_at']}")

    answer(shown, as_json, show)
    if status:
        raise typer.Exit(status)


Verified = tuple[dict[str, Any], list[str]]
"""What a file proves: as members of one document, and as lines for people."""


def _verified_receipt(text: str, trust: Trust) -> Verified:
    if len(text) > RECEIPT_BYTES_MAX:
        raise NoReceipt
    receipt = Receipt.parse(text)
    checkpoint = trust.checkpoint(receipt.checkpoint)
    leaf = receipt.proven(checkpoint)
    shown = {
        "valid": True,
        "ledger": leaf.ledger,
        **_fact(leaf),
        **_tree(checkpoint),
        "witnesses": trust.cosigned(receipt.checkpoint),
    }
    return shown, [f"有效 valid: {leaf.ledger} {_line(leaf)}", _tree_line(checkpoint), _data(leaf)]


def _verified_receipts(text: str, trust: Trust) -> Verified:
    found = Receipts.parse(text)
    checkpoint = trust.checkpoint(found.checkpoint)
    leaves = [receipt.proven(checkpoint) for receipt in found.receipts]
    shown = {
        "valid": True,
        "ledger": checkpoint.origin,
        "household": found.household,
        "facts": [_fact(leaf) for leaf in leaves],
        **_tree(checkpoint),
        "witnesses": trust.cosigned(found.checkpoint),
    }
    head = f"有效 valid: {checkpoint.origin} {found.household} 户的 {len(leaves)} 条 facts of the household"
    return shown, [head, *(f"  {_line(leaf)}" for leaf in leaves), _tree_line(checkpoint)]


def _verified_consistency(text: str, trust: Trust) -> Verified:
    found = Consistency.parse(text)
    older = Trust(trust.keys, []).checkpoint(found.older)
    newer = trust.checkpoint(found.newer)
    found.require(older, newer)
    shown = {
        "valid": True,
        "ledger": newer.origin,
        "older": _tree(older),
        "newer": _tree(newer),
        "witnesses": trust.cosigned(found.newer),
    }
    head = (
        f"有效 valid: {newer.origin} 由 {older.size} 条增长到 {newer.size} 条，前面的一字未改 "
        f"has grown from {older.size} facts to {newer.size}, and the first are as they were"
    )
    return shown, [head, _tree_line(older), _tree_line(newer)]


def _verified_refused(text: str, trust: Trust) -> Verified:
    """What a witness wrote down: that both checkpoints are the log's own. That they exclude each other is to be seen
    where it has forked; where it was rewritten, the log's failure to prove growth is the witness's word."""
    try:
        found = RefusedLog.parse(text)
    except ValueError:
        raise NoReceipt from None
    kept, seen = trust.checkpoint(found.kept), Trust(trust.keys, []).checkpoint(found.seen)
    shown = {
        "valid": True,
        "ledger": kept.origin,
        "refused": found.kind,
        "seen_at": found.seen_at,
        "kept": _tree(kept),
        "seen": _tree(seen),
        "witnesses": trust.cosigned(found.kept),
    }
    head = f"两个检查点都由日志签名 both were signed by the log: {kept.origin} {found.kind} {found.seen_at}"
    return shown, [head, _tree_line(kept), _tree_line(seen)]


def _verified_statement(text: str, trust: Trust) -> Verified:
    """A balance that a household takes along. Only the ledger that receives it knows whether it was paid in."""
    found = BalanceStatement.parse(text.rpartition("\n\n")[0] + "\n")
    verified(text, [key for key in trust.keys if key.name == found.ledger])
    shown = {"valid": True, "ledger": found.ledger, "statement": found.model_dump(mode="json")}
    head = f"有效 valid: {found.id}   {found.household} → {found.receiving_ledger}   {found.minutes:,} 分钟 min"
    until = (
        f"  有效期至 valid until {found.valid_until}；是否已转入，只有 {found.receiving_ledger} 知道 "
        "whether it was paid in only the receiving ledger knows"
    )
    return {**shown, "witnesses": trust.cosigned(text)}, [head, until]


def _verified_checkpoint(text: str, trust: Trust) -> Verified:
    try:
        Checkpoint.parse(text.partition("\n\n")[0] + "\n")
    except NoCheckpoint:
        raise NoReceipt from None
    checkpoint = trust.checkpoint(text)
    shown = {"valid": True, "ledger": checkpoint.origin, **_tree(checkpoint), "witnesses": trust.cosigned(text)}
    return shown, [f"有效 valid: {checkpoint.origin} 的检查点 checkpoint", _tree_line(checkpoint)]


_KINDS: dict[str, Callable[[str, Trust], Verified]] = {
    PROOF_FORMAT: _verified_receipt,
    RECEIPTS_FORMAT: _verified_receipts,
    CONSISTENCY_FORMAT: _verified_consistency,
    REFUSED_FORMAT: _verified_refused,
    STATEMENT_FORMAT: _verified_statement,
}
"""What each kind of file is read by, by its first line; a checkpoint has the log's name there."""


def _recorded_at(leaf: Leaf) -> str:
    return datetime.fromtimestamp(leaf.recorded_at_microseconds / 1_000_000, UTC).isoformat(timespec="microseconds")


def _fact(leaf: Leaf) -> dict[str, object]:
    return {
        "position": leaf.position,
        "type": leaf.type,
        "recorded_at": _recorded_at(leaf),
        "tags": list(leaf.tags),
        "fact": msgspec.json.decode(leaf.data),
    }


def _tree(checkpoint: Checkpoint) -> dict[str, object]:
    return {"log_size": checkpoint.size, "root": base64.b64encode(checkpoint.root).decode()}


def _line(leaf: Leaf) -> str:
    return f"{leaf.position}   {leaf.type}   {_recorded_at(leaf)}"


def _data(leaf: Leaf) -> str:
    return leaf.data.decode(errors="replace")


def _tree_line(checkpoint: Checkpoint) -> str:
    tree = _tree(checkpoint)
    return f"  日志共 the log has {checkpoint.size} 条 facts，根 root {tree['root']}"


def _witnesses(given: list[str] | None) -> list[VerifierKey]:
    """The witnesses that were named; ends the command where one is none."""
    try:
        return [witness_key(text.strip()) for text in given or ()]
    except ValueError as error:
        fail(f"--witness：{error}。")


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
