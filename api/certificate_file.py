"""Certificates as files and QR codes that verify offline: signed, with the receipt of the fact that issued them."""

import asyncio
import io
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import segno
from fastapi import APIRouter, Query, Request
from psycopg import AsyncConnection
from starlette.responses import Response

from api.answers import MinPosition
from api.certificate import CertificatePath, may_read, shown
from api.identity import allow
from api.log import TEXT, not_yet_sealed
from api.wiring import Service, Timebank
from domain.certificate import CertificateAlreadyRevoked, CertificateTooLongForQr, UnknownCertificate
from domain.certificate_file import CertificateContent, CertificateFile
from domain.decision import Actor
from domain.refusal import Refusal
from domain.statement import NoSigningKey, VerifierKey
from infrastructure.log import receipt
from infrastructure.signing import preceding, read_key, signed_by, successions
from projections import certificate
from projections.certificate import CertificateListed

router = APIRouter(prefix="/v1", tags=["志愿服务证明 certificates"])

_REFUSED: Final[tuple[type[Refusal] | str, ...]] = (
    UnknownCertificate,
    CertificateAlreadyRevoked,
    NoSigningKey,
    "not-yet-sealed",
)
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_certificate_file": _REFUSED,
    "read_certificate_qr": (*_REFUSED, CertificateTooLongForQr),
}
PRIVATE: Final = {"Cache-Control": "private, no-store"}
Drawing = Literal["svg", "png"]
MEDIA_TYPES: Final[dict[Drawing, str]] = {"svg": "image/svg+xml", "png": "image/png"}

Holder = Annotated[Actor, allow("volunteer", "staff", "admin")]


@router.get("/certificates/{certificate}/file", summary="证明文件 Certificate file", response_class=Response)
async def read_certificate_file(
    request: Request, caller: Holder, number: CertificatePath, min_position: MinPosition = None
) -> Response:
    """The certificate as a file that `timebank verify` and others check without asking us: all that is printed on it,
    names and code included, signed now, with the receipt of the fact that issued it. For its volunteer, staff of the
    community where they live now, and administrators. A revoked certificate has none."""
    file, _ = await _file(request, caller, number, min_position)
    name = f"{request.app.state.service.bank.name}-{number}.certificate"
    headers = PRIVATE | {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(file.text(), media_type=TEXT, headers=headers)


@router.get("/certificates/{certificate}/qr", summary="证明二维码 Certificate as a QR code", response_class=Response)
async def read_certificate_qr(
    request: Request,
    caller: Holder,
    number: CertificatePath,
    drawing: Annotated[Drawing, Query(alias="format", description="`svg` to print, `png` to send.")] = "svg",
    min_position: MinPosition = None,
) -> Response:
    """The same file as a QR code, for the paper: print it 8 cm wide at least. For whoever may have the file."""
    file, keys = await _file(request, caller, number, min_position)
    content = await asyncio.to_thread(drawn, file, keys, drawing)
    return Response(content, media_type=MEDIA_TYPES[drawing], headers=PRIVATE)


async def _file(
    request: Request, caller: Actor, number: str, min_position: int | None
) -> tuple[CertificateFile, list[VerifierKey]]:
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await certificate.certificate(connection, number)
        if row is None or not may_read(caller, row):
            # Whoever may not read it isn't told either that it exists.
            raise UnknownCertificate(number)
        file = await signed_file(connection, service.bank, row, position)
    if file is None:
        raise await not_yet_sealed(service)
    return file, await asyncio.to_thread(own_keys, service.bank)


async def signed_file(
    connection: AsyncConnection[Any], bank: Timebank, row: CertificateListed, position: int
) -> CertificateFile | None:
    """A certificate as it stands at a position of the projections, signed; None where no checkpoint holds it yet.

    Raises: CertificateAlreadyRevoked, NoSigningKey, SigningKeyUnusable.
    """
    if row.revoked:
        raise CertificateAlreadyRevoked(row.certificate)
    key = await asyncio.to_thread(read_key, bank.settings.data, bank.name)
    if key is None:
        raise NoSigningKey(bank.name)
    found = await receipt(connection, bank.name, row.issued_position)
    if found is None:
        return None
    printed = await shown(connection, bank, row, private=True)
    content = CertificateContent.model_validate(
        {
            **{name: printed[name] for name in CertificateContent.model_fields if name in printed},
            "ledger": bank.name,
            "position": max(position, row.issued_position),
            "signed_at": datetime.now(bank.zone).replace(microsecond=0),
            "synthetic": bank.opened.synthetic,
        },
        strict=False,
    )
    return CertificateFile(key.sign(content.text()), found)


def own_keys(bank: Timebank) -> list[VerifierKey]:
    """The ledger's key and those before it, which all have signed files that are still out there. None, where there is
    no key. Raises: SigningKeyUnusable."""
    own = read_key(bank.settings.data, bank.name)
    return [] if own is None else preceding(own.verifier, successions(bank.settings.data, bank.name))


def drawn(file: CertificateFile, keys: list[VerifierKey], drawing: Drawing) -> bytes:
    """A file's QR code: with all cosignatures where they fit, mended where a smudge takes up to 15% of it or, where
    that doesn't fit, 7%. Raises: CertificateTooLongForQr."""
    bare = file.receipt._replace(checkpoint=signed_by(file.receipt.checkpoint, keys))
    for candidate in (file, file._replace(receipt=bare)):
        packed = candidate.packed()
        for error in ("m", "l"):
            try:
                code = segno.make(packed, error=error, boost_error=False, micro=False)
            except segno.DataOverflowError:
                continue
            out = io.BytesIO()
            code.save(out, kind=drawing, scale=4, border=4)
            return out.getvalue()
    raise CertificateTooLongForQr(file.content.certificate, len(file.content.services))
