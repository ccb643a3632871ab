"""Certificates as files on the command line: written, drawn as a QR code, and verified by whoever has one, offline."""

import base64
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from psycopg import AsyncConnection
from rich.console import Console

from api.acting import queried, seal, sealed
from api.certificate_file import Drawing, drawn, own_keys, signed_file
from api.terminal import Json, answer, fail, hours_of, say
from api.wiring import Timebank
from domain.certificate import UnknownCertificate
from domain.certificate_file import CertificateFile, NoCertificateFile
from domain.checkpoint import NoReceipt, Receipt
from domain.identifiers import normal_id
from domain.ledger import SYNTHETIC_NOTICE
from domain.statement import VerifierKey
from infrastructure.certificate_file import Proven, RemoteCertificates, proven, require_revocation
from infrastructure.witness import LogUnreachable
from projections import certificate

NO_LONGER_VALID: Final = 3
"""Exit status for what is genuine, and was revoked or has lost records since."""
NOT_ASKED: Final = 4
"""Exit status for what is genuine, where the ledger that was to be asked gave no answer."""
HEADINGS: Final = {
    "valid": "有效 valid",
    "records-reversed": "不再完全有效 no longer valid in full",
    "revoked": "已撤销 revoked",
}
DRAWINGS: Final[dict[str, Drawing]] = {".svg": "svg", ".png": "png"}
Number = Annotated[str, typer.Argument(help="证明编号，如 2026-000001。 The certificate's number.")]


def file_(number: Number, as_json: Json = False) -> None:
    """证明文件：可以 > 文件 保存，交给志愿者；用 timebank verify 离线验证。含姓名、联系方式和验证码。

    The certificate as a file: keep it, hand it over, and verify it offline with `timebank verify`. Names are in it.
    """
    number = normal_id(number)
    with sealed() as bank:
        text = _signed(bank, number).text()

    # To the byte: a console may break lines.
    def show(_: Console) -> None:
        sys.stdout.write(text)

    answer({"certificate": number, "file": text}, as_json, show)


def qr(
    number: Number,
    file: Annotated[
        Path, typer.Argument(help="要写的图，.svg 或 .png。 The picture to write: .svg or .png.", dir_okay=False)
    ],
) -> None:
    """把证明文件画成二维码，印在证明上，至少 8 厘米宽。 Draw its file as a QR code; print it 8 cm wide at least."""
    drawing = DRAWINGS.get(file.suffix.lower())
    if drawing is None:
        fail(f"图须以 .svg 或 .png 结尾，不是“{file.name}”。 / A picture ends in .svg or .png, not “{file.name}”.")
    with sealed() as bank:
        content = drawn(_signed(bank, normal_id(number)), own_keys(bank), drawing)
    file.write_bytes(content)
    say(f"已写入 written: {file}")


def _signed(bank: Timebank, number: str) -> CertificateFile:
    """Raises: UnknownCertificate, CertificateAlreadyRevoked, NoSigningKey, SigningKeyUnusable."""
    position = bank.store.head()
    bank.catch_up()

    async def ask(connection: AsyncConnection[Any]) -> CertificateFile | None:
        row = await certificate.certificate(connection, number)
        if row is None:
            raise UnknownCertificate(number)
        return await signed_file(connection, bank, row, position)

    found = queried(bank, ask)
    while found is None:
        # Issued by another process after the log was sealed.
        seal(bank)
        found = queried(bank, ask)
    return found


@dataclass(frozen=True)
class Later:
    """What else there is to tell whether a certificate was revoked after its file was made."""

    revocation: Path | None = None
    online: str | None = None


def verified_certificate(
    text: str, keys: list[VerifierKey], cosigned: Callable[[str], list[dict[str, object]]], later: Later
) -> tuple[dict[str, Any], list[str], int]:
    """What a certificate's file proves, as members of one document and as lines, and the exit status of that.

    Raises: NoCertificateFile, NoteNotGenuine, NotCosigned.
    """
    file = CertificateFile.parse(text)
    witnesses = cosigned(file.receipt.checkpoint)
    found = proven(file, keys)
    status, more = found.content.status, dict[str, Any]()
    exit_status = 0
    if later.online is not None:
        try:
            status, more = _asked(found, later.online)
        except LogUnreachable as error:
            say(f"timebank: {error}")
            exit_status = NOT_ASKED
    if later.revocation is not None:
        receipt = _receipt(later.revocation)
        cosigned(receipt.checkpoint)
        more["revoked_at_position"] = require_revocation(receipt, found, keys).position
        status = "revoked"
    if status != "valid":
        exit_status = NO_LONGER_VALID
    shown = {
        "valid": status == "valid",
        "status": status,
        "ledger": found.content.ledger,
        "position": found.leaf.position,
        "certificate": found.content.model_dump(mode="json"),
        **more,
        "log_size": found.checkpoint.size,
        "root": base64.b64encode(found.checkpoint.root).decode(),
        "witnesses": witnesses,
    }
    return shown, _lines(found, status, more), exit_status


def _receipt(file: Path) -> Receipt:
    """Raises: NoCertificateFile."""
    try:
        return Receipt.parse(file.read_bytes().decode())
    except (NoReceipt, UnicodeDecodeError):
        raise NoCertificateFile from None


def _asked(found: Proven, online: str) -> tuple[str, dict[str, Any]]:
    """Where the certificate stands by its ledger's word. Raises: LogUnreachable."""
    said = found.content
    if said.code is None:
        fail(
            "证明文件里没有验证码，不能在线核验；请在核验页面提交文件。 / "
            "The file holds no code to ask with; hand the file in on the page for it."
        )
    answered = RemoteCertificates(online).verification(said.certificate, said.code)
    if answered["status"] == "unknown" or answered.get("certificate") != said.certificate:
        fail(f"{online} 的账本没有这份证明。 / The ledger at {online} doesn't know this certificate.")
    names = ("revoked_on", "reversed_minutes", "reversed_records", "standing_minutes")
    told = {name: answered[name] for name in names if isinstance(answered.get(name), int | str)}
    return answered["status"], {"asked": online, **told}


def _lines(found: Proven, status: str, more: dict[str, Any]) -> list[str]:
    said = found.content
    lines = [
        f"{HEADINGS[status]}: {said.ledger} {said.certificate}   {said.volunteer} {said.volunteer_name or ''}".rstrip(),
        f"  {said.since} – {said.until}   服务时长 service {hours_of(said.service_minutes)} 小时 h"
        f"（{said.service_minutes:,} 分钟 min，{said.service_records:,} 条 records）",
    ]
    for one in said.services:
        lines.append(f"    {one.service}   {hours_of(one.minutes)} 小时 h   {one.records:,} 条 records")
    lines.append(f"  出具 issued by {said.issuer}   {said.issued_on}   位置 position {found.leaf.position:,}")
    for label, number, name in (
        ("负责人 in charge", said.in_charge, said.in_charge_name),
        ("经办人 handler", said.issued_by, said.handler_name),
    ):
        lines.append(f"  {label}   {name or '—'} {number}")
    lines.append(f"  联系方式 contact   {said.contact or '—'}")
    if status == "records-reversed":
        standing = more.get("standing_minutes", said.standing_minutes)
        lines.append(f"  仍成立 still stand {standing:,} 分钟 min")
    if "revoked_on" in more:
        lines.append(f"  撤销于 revoked on {more['revoked_on']}")
    if "revoked_at_position" in more:
        lines.append(f"  撤销于位置 revoked at position {more['revoked_at_position']:,}")
    lines.append(f"  日志共 the log has {found.checkpoint.size} 条 facts")
    if "asked" in more:
        lines.append(f"  刚向账本核实 the ledger was asked just now: {more['asked']}")
    elif status != "revoked":
        lines.append(
            f"  这是 {said.signed_at.isoformat()}、位置 {said.position:,} 的情况；之后是否撤销，文件说不出来："
            "请加 --online，或在核验页面核验。\n"
            f"  This is how it stood then, at position {said.position:,}. Whether it was revoked since no file can "
            "tell: ask with --online, or on the page for it."
        )
    if said.synthetic:
        lines.append(SYNTHETIC_NOTICE)
    return lines
