"""Service certificates: issued, shown to whom they concern, revoked, publicised, and verified by anybody."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Anyone, Reader, Staff
from api.wiring import Service, Timebank, one_moment
from api.writing import WritingRoute
from domain.certificate import (
    CODE_CHARACTERS,
    CODE_LENGTH,
    CertificateIssued,
    CertificateWanted,
    IssueCertificate,
    RevocationReason,
    RevokeCertificate,
    UnknownCertificate,
    code_sha256,
    is_code,
    issue_certificate,
    revoke_certificate,
    shown_code,
)
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.identifiers import PersonId, PlaceName, RecordId
from domain.ledger import SYNTHETIC_NOTICE
from domain.refusal import Refusal
from infrastructure.vault import recalled_names, recalled_remarks
from projections import certificate
from projections.certificate import CertificateListed

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["志愿服务证明 certificates"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_certificate": issue_certificate,
    "revoke_a_certificate": revoke_certificate,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_certificate": (UnknownCertificate,),
    "list_certificates": (OutsideCommunity,),
}
EXAMPLES: Final[dict[str, Any]] = {"revoke_a_certificate": {"reason": "records-reversed"}}
MEANINGS: Final[dict[str, str]] = {
    "valid": "有效：所证明的记录都仍然成立。 / Valid: every record that it certifies still stands.",
    "records-reversed": "不再完全有效：出具之后有记录被冲正，仍成立的分钟数见 standing_minutes。 / "
    "No longer valid in full: records were reversed since it was issued; standing_minutes are those that still stand.",
    "revoked": "已撤销，不再有效。 / Revoked: it is worth nothing any more.",
    "unknown": "没有这样的证明，或验证码不符。 / There is no such certificate, or the code isn't its own.",
}

CertificatePath = Annotated[RecordId, Path(alias="certificate")]


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the vault keeps of a certificate, under the hash of its code."""

    code: str
    contact: str
    in_charge_name: str | None = None
    handler_name: str | None = None


class CertificateWritten(Written):
    certificate: str = Field(description="The certificate's number.")


class Revocation(BaseModel):
    """Why the certificate is worth nothing any more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: RevocationReason


class CertificatePage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class Verification(BaseModel):
    """What a certificate says, for whoever holds it: no names. All but status and meaning are left out where it is
    unknown, and all but the number and the day where it is revoked."""

    status: Literal["valid", "records-reversed", "revoked", "unknown"]
    meaning: str
    certificate: str | None = None
    volunteer: str | None = None
    since: str | None = None
    until: str | None = None
    services: list[dict[str, object]] | None = None
    service_minutes: int | None = None
    service_records: int | None = None
    issuer: str | None = None
    issued_on: str | None = None
    revoked_on: str | None = None
    reversed_minutes: int | None = None
    reversed_records: int | None = None
    standing_minutes: int | None = None
    notice: str | None = None


@router.post(
    "/certificates", status_code=201, response_model=CertificateWritten, summary="出具证明 Issue a certificate"
)
async def add_certificate(
    request: Request, caller: Staff, command: CertificateWanted, idempotency_key: IdempotencyKey = None
) -> Response:
    """Certify what a volunteer served in a period: all confirmed and unreversed records whose service began in it, that
    the journal holds now. Free. Contact and names go to the vault; the answer is the number."""
    service: Service = request.app.state.service
    # All that was recorded before this was asked for is to be counted.
    await service.fresh(await asyncio.to_thread(service.bank.store.head))
    issuing, kept = await asyncio.to_thread(prepared, service.bank, command)
    # Before the fact, so that what it names is always there.
    await service.remember_remark(vault_key(issuing.code_sha256), kept, overwrite=False)
    try:
        accepted = await service.execute(issue_certificate, issuing, caller, idempotency_key)
    except Refusal:
        await service.forget_remark(vault_key(issuing.code_sha256))
        raise
    if accepted.repeated:
        await service.forget_remark(vault_key(issuing.code_sha256))
    return written(accepted, certificate=issued_number(accepted.facts))


def prepared(bank: Timebank, wanted: CertificateWanted) -> tuple[IssueCertificate, str]:
    """The command to issue a certificate, with what the projections count and the hash of a new code; and what the
    vault is to keep under that hash."""
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        counted = certificate.served(cursor, wanted.volunteer, wanted.since, wanted.until, position)
    code = "".join(secrets.choice(CODE_CHARACTERS) for _ in range(CODE_LENGTH))
    kept = msgspec.json.encode(Kept(code, wanted.contact, wanted.in_charge_name, wanted.handler_name)).decode()
    issuing = IssueCertificate(
        **dict(wanted),
        counted=counted,
        code_sha256=code_sha256(code),
        kept_sha256=hashlib.sha256(kept.encode()).hexdigest(),
    )
    return issuing, kept


def vault_key(sha256: str) -> str:
    """Where the vault keeps what belongs to the certificate whose code has this hash."""
    return "certificate:" + sha256


def issued_number(facts: tuple[Any, ...]) -> str:
    (issued,) = (fact for fact in facts if isinstance(fact, CertificateIssued))
    return issued.certificate


@router.post(
    "/certificates/{certificate}/revocation",
    status_code=201,
    response_model=CertificateWritten,
    summary="撤销证明 Revoke a certificate",
)
async def revoke_a_certificate(
    request: Request,
    caller: Staff,
    number: CertificatePath,
    body: Annotated[Revocation, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Revoke a certificate, once and for good. Another one may be issued, under a number of its own."""
    service: Service = request.app.state.service
    command = RevokeCertificate(certificate=number, reason=body.reason)
    accepted = await service.execute(revoke_certificate, command, caller, idempotency_key)
    return written(accepted, certificate=number)


@router.get("/certificates", response_model=CertificatePage, summary="证明列表 List certificates")
async def list_certificates(
    request: Request,
    caller: Reader,
    community: Annotated[PlaceName | None, Query()] = None,
    volunteer: Annotated[PersonId | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Certificates by number. Volunteers see their own, staff those of volunteers who live in their community now."""
    service: Service = request.app.state.service
    if caller.role == "staff" and caller.community is not None:
        if community not in (None, caller.community):
            raise OutsideCommunity(community or "", caller.community)
        community = caller.community
    if caller.role == "volunteer":
        volunteer = caller.id
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        rows = await certificate.certificates(
            connection, community=community, volunteer=volunteer, after=after, limit=limit + 1
        )
    return page([listed(row) for row in rows], limit, lambda item: item["sequence"], position)


@router.get(
    "/published-certificates", response_model=CertificatePage, summary="证明公示 Certificates that are publicised"
)
async def list_published_certificates(
    request: Request, _: Anyone, after: AfterPosition = 0, limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """Issued certificates by number, for as long as the policy of their day has them publicised; seven days at least.
    Public, and without personal data: not even the volunteer's number."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    today = datetime.now(service.bank.zone).date()
    async with service.pool.connection() as connection:
        rows = await certificate.certificates(connection, public_on=today, after=after, limit=limit + 1)
    return page([publicised(row) for row in rows], limit, lambda item: item["sequence"], position)


@router.get("/certificates/{certificate}", response_model=dict[str, object], summary="志愿服务证明 A certificate")
async def read_certificate(
    request: Request, caller: Reader, number: CertificatePath, min_position: MinPosition = None
) -> Response:
    """Everything that is printed on a certificate. Read by its volunteer, staff of the community where they live now,
    and administrators; auditors read it without names, contact and code."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await certificate.certificate(connection, number)
        if row is None or not may_read(caller, row):
            # Whoever may not read it isn't told either that it exists.
            raise UnknownCertificate(number)
        private = caller.role != "auditor"
        return answer(await shown(connection, service.bank, row, private=private))


def may_read(caller: Actor, row: CertificateListed) -> bool:
    """Whether a caller may read all of a certificate."""
    match caller.role:
        case "auditor" | "admin":
            return True
        case "staff":
            return caller.community is None or caller.community == row.community
        case _:
            return caller.id == row.volunteer


def listed(row: CertificateListed) -> dict[str, object]:
    """A certificate without what only its paper needs."""
    left_out = {"code_sha256", "kept_sha256", "records_sha256", "services", "revoked", "community"}
    shown = {name: value for name, value in msgspec.to_builtins(row).items() if name not in left_out}
    return {**shown, "status": row.status, "standing_minutes": row.standing_minutes}


def publicised(row: CertificateListed) -> dict[str, object]:
    """What the public reads of a certificate: nothing of whom it is for."""
    names = ("certificate", "sequence", "issuer", "service_minutes", "issued_on", "public_until", "status")
    return {name: getattr(row, name) for name in names}


async def shown(
    connection: AsyncConnection[Any], bank: Timebank, row: CertificateListed, *, private: bool
) -> dict[str, object]:
    """A certificate in full; with ``private`` also what the vault has of it."""
    content = {
        **listed(row),
        "services": msgspec.json.decode(row.services),
        "records_sha256": row.records_sha256,
        "code_sha256": row.code_sha256,
        "kept_sha256": row.kept_sha256,
        "fee": 0,
        "meaning": MEANINGS[row.status],
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }
    if not private:
        return content
    key = vault_key(row.code_sha256)
    texts = await recalled_remarks(connection, bank.name, [key])
    kept = msgspec.json.decode(texts[key], type=Kept) if key in texts else None
    names = await recalled_names(connection, bank.name, {row.volunteer, row.in_charge, row.issued_by})
    return {
        **content,
        "volunteer_name": names.get(row.volunteer),
        "in_charge_name": (kept and kept.in_charge_name) or names.get(row.in_charge),
        "handler_name": (kept and kept.handler_name) or names.get(row.issued_by),
        "contact": kept and kept.contact,
        "code": kept and shown_code(kept.code),
    }


@router.get(
    "/certificates/{certificate}/verification", response_model=Verification, summary="验证证明 Verify a certificate"
)
async def verify_certificate(
    request: Request,
    _: Anyone,
    number: CertificatePath,
    code: Annotated[str, Query(max_length=100, description="The verification code that is printed on it.")],
    min_position: MinPosition = None,
) -> Response:
    """Whether a certificate is valid, by its number and the code printed on it. Public; a wrong code and a wrong number
    are answered alike, so that nobody can go through the numbers."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    async with service.pool.connection() as connection:
        row = await certificate.certificate(connection, number)
    return answer(verified(service.bank, row, code))


def verified(bank: Timebank, row: CertificateListed | None, code: str) -> dict[str, object]:
    """What whoever holds a certificate with this code is told of it."""
    notice = SYNTHETIC_NOTICE if bank.opened.synthetic else None
    known = is_code(code, "0" * 64 if row is None else row.code_sha256)
    if row is None or not known:
        return {"status": "unknown", "meaning": MEANINGS["unknown"], "notice": notice}
    return standing(bank, row)


def standing(bank: Timebank, row: CertificateListed) -> dict[str, object]:
    """What is told of a certificate to whoever has shown that they hold it."""
    notice = SYNTHETIC_NOTICE if bank.opened.synthetic else None
    answered: dict[str, object] = {"status": row.status, "meaning": MEANINGS[row.status], "notice": notice}
    if row.revoked:
        at = datetime.fromtimestamp((row.revoked_at_microseconds or 0) // 1_000_000, bank.zone)
        return answered | {"certificate": row.certificate, "revoked_on": at.date()}
    names = ("certificate", "volunteer", "since", "until", "service_minutes", "service_records", "issuer", "issued_on")
    answered |= {name: getattr(row, name) for name in names}
    answered["services"] = msgspec.json.decode(row.services)
    if row.reversed_records:
        for name in ("reversed_minutes", "reversed_records", "standing_minutes"):
            answered[name] = getattr(row, name)
    return answered
