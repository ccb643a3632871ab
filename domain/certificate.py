"""Service certificates (志愿服务证明): what a volunteer served in a period, numbered without gaps, and free.

A certificate names its volunteer by number alone, and says how much service was counted, by service; issuer, person in
charge, handler, number and day. Names, the contact and the verification code are in the vault, under the code's hash.
(民政部令第67号: who records, certifies; 民发〔2015〕149号: the fields, and seven days of publicity; MZ/T 061-2015)

What was served is counted in the projection, and is what the journal held up to the position that the fact names: the
boundary doesn't cover it, anybody with the journal counts it again (docs/decisions). A record that is reversed later
shows when the certificate is verified.
"""

import hashlib
import hmac
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read
from domain.fact import Fact
from domain.household import UnknownMember
from domain.identifiers import PersonId, RecordId, has_control
from domain.ledger import ledger
from domain.policy import PolicyAdopted, policy_book
from domain.recognition import Title, known_volunteer, require_past
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

CODE_CHARACTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Of a verification code: 32 that nobody mistakes for one another, so five bits each."""
CODE_LENGTH: Final = 16
RevocationReason = Literal["records-reversed", "mistake", "wrong-person", "superseded", "false-record", "other"]
REASON_ZH: Final[dict[str, str]] = {
    "records-reversed": "记录已冲正",
    "mistake": "出具有误",
    "wrong-person": "误发他人",
    "superseded": "已另行出具",
    "false-record": "虚假记录",
    "other": "其他",
}


@dataclass(frozen=True, slots=True)
class ServiceTotal:
    """How much of one service was given."""

    service: str
    minutes: int
    records: int


@dataclass(frozen=True, slots=True)
class CountedService:
    """Confirmed and unreversed service of one volunteer in a period, as the journal held it up to ``position``."""

    position: int
    services: tuple[ServiceTotal, ...] = ()
    records_sha256: str = hashlib.sha256().hexdigest()

    @property
    def minutes(self) -> int:
        return sum(one.minutes for one in self.services)

    @property
    def records(self) -> int:
        return sum(one.records for one in self.services)


def count_service(position: int, records: Iterable[tuple[str, str, int]]) -> CountedService:
    """Count records, each with its service and minutes of service. ``records_sha256`` is over one line for each record,
    ``<record> <minutes>`` and a line end, in the order of the records' UTF-8 bytes."""
    digest = hashlib.sha256()
    totals: dict[str, tuple[int, int]] = {}
    for record, service, minutes in sorted(records, key=lambda one: one[0].encode()):
        digest.update(f"{record} {minutes}\n".encode())
        sum_minutes, count = totals.get(service, (0, 0))
        totals[service] = (sum_minutes + minutes, count + 1)
    services = tuple(ServiceTotal(service, *totals[service]) for service in sorted(totals))
    return CountedService(position, services, digest.hexdigest())


class CertificateIssued(Fact, frozen=True, omit_defaults=True):
    """A volunteer's service from ``since`` to ``until`` was certified, as the journal held it up to
    ``counted_position``. ``in_charge`` is the person in charge (负责人), ``issued_by`` the handler (经办人).

    ``sequence`` counts the ledger's certificates from 1. ``code_sha256`` is of the verification code, ``kept_sha256``
    of all that the vault keeps of this certificate.
    """

    type = "certificate-issued.v1"
    certificate: str
    sequence: int
    volunteer: str
    since: date
    until: date
    services: tuple[ServiceTotal, ...]
    service_minutes: int
    service_records: int
    counted_position: int
    records_sha256: str
    issuer: str
    in_charge: str
    issued_by: str
    issued_on: date
    public_until: date
    code_sha256: str
    kept_sha256: str

    def tags(self) -> tuple[str, ...]:
        return ("certificate:" + self.certificate, "numbering:certificates")


class CertificateRevoked(Fact, frozen=True, omit_defaults=True):
    """A certificate is worth nothing any more."""

    type = "certificate-revoked.v1"
    certificate: str
    revoked_by: str
    reason: RevocationReason

    def tags(self) -> tuple[str, ...]:
        return ("certificate:" + self.certificate,)


CertificateFact = CertificateIssued | CertificateRevoked


class Certificate(msgspec.Struct, frozen=True):
    """Where one certificate stands."""

    certificate: str
    issued: CertificateIssued | None = None
    revoked: bool = False

    @staticmethod
    def of(certificate: str) -> "Reading[Certificate]":
        return _certificate.of(certificate)


def _evolve(state: Certificate, fact: CertificateFact) -> Certificate:
    match fact:
        case CertificateIssued():
            return Certificate(state.certificate, fact)
        case CertificateRevoked():
            return replace(state, revoked=True)


_certificate = Fold[Certificate]("certificate", Certificate, _evolve, get_args(CertificateFact))


class CertificateNumbers(msgspec.Struct, frozen=True):
    """How many certificates this ledger has issued, which is the last one's sequence too."""

    count: int = 0


def _evolve_numbers(_: CertificateNumbers, fact: CertificateIssued) -> CertificateNumbers:
    return CertificateNumbers(fact.sequence)


certificate_numbers = Fold[CertificateNumbers](
    "numbering", lambda _: CertificateNumbers(), _evolve_numbers, (CertificateIssued,)
).of("certificates")


def _fit(text: str) -> str:
    text = text.strip()
    if has_control(text):
        raise ValueError("不能包含控制字符或不可见字符 / must not contain control or invisible characters")
    return text


Kept = Annotated[
    str,
    AfterValidator(_fit),
    Field(min_length=1, max_length=100, description="Kept in the vault, never in the journal."),
]


class CertificateWanted(BaseModel):
    """Certify a volunteer's service in a period. ``in_charge`` is the number of the person in charge; where that person
    or the handler is no member of a household, their names may be given for the vault."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "volunteer": "V00001",
                "since": "2026-01-01",
                "until": "2026-10-31",
                "in_charge": "S0100",
                "contact": "0771-0000000",
            }
        },
    )

    volunteer: PersonId
    since: date
    until: date
    in_charge: PersonId
    issuer: Title | None = Field(None, description="The organisation that certifies; the time bank if left out.")
    contact: Kept = Field(exclude=True)
    in_charge_name: Kept | None = Field(None, exclude=True)
    handler_name: Kept | None = Field(None, exclude=True)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since > self.until:
            raise ValueError("起始日不能晚于截止日 / since must not be after until")
        return self


class IssueCertificate(CertificateWanted):
    """As `CertificateWanted`, with what was counted, and the hashes of what the vault keeps. The code is random, and
    what was served may be counted anew for a repeated request, so neither is a part of what is asked for."""

    counted: CountedService = Field(exclude=True)
    code_sha256: str = Field(exclude=True)
    kept_sha256: str = Field(exclude=True)


class RevokeCertificate(BaseModel):
    """Revoke a certificate, once and for good; another one may be issued."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: RecordId
    reason: RevocationReason


def issue_certificate(command: IssueCertificate, context: Context) -> Decision:
    """Raises: UnknownMember (also where they are outside the staff's community), RecognisedByOwnHousehold,
    CertifiedByAdministrators, DayToCome, NothingToCertify, TooFewMinutesToCertify, NoPolicyInForce."""
    yield from known_volunteer(command.volunteer, context, UnknownMember(command.volunteer), command.in_charge)
    adopted = yield from _may_certify(context)
    require_past(command.until, context)
    counted = command.counted
    if not counted.records:
        raise NothingToCertify(command.volunteer, command.since.isoformat(), command.until.isoformat())
    if counted.minutes < adopted.policy.certificate_minutes_min:
        raise TooFewMinutesToCertify(counted.minutes, adopted.policy.certificate_minutes_min)
    numbers, opened = yield from read(certificate_numbers, ledger)
    sequence = numbers.count + 1
    today = context.now.astimezone(context.zone).date()
    issued = CertificateIssued(
        f"{today.year}-{sequence:06}",
        sequence,
        command.volunteer,
        command.since,
        command.until,
        counted.services,
        counted.minutes,
        counted.records,
        counted.position,
        counted.records_sha256,
        command.issuer or ("" if opened.opened is None else opened.opened.name),
        command.in_charge,
        context.actor.id,
        today,
        today + timedelta(days=adopted.policy.certificate_public_days),
        command.code_sha256,
        command.kept_sha256,
    )
    return Decided(adopted.version, (issued,))


def revoke_certificate(command: RevokeCertificate, context: Context) -> Decision:
    """Raises: UnknownCertificate (also where it is outside the staff's community), RecognisedByOwnHousehold,
    CertifiedByAdministrators, CertificateAlreadyRevoked, NoPolicyInForce."""
    certificate = yield from read(Certificate.of(command.certificate))
    if certificate.issued is None:
        raise UnknownCertificate(command.certificate)
    yield from known_volunteer(certificate.issued.volunteer, context, UnknownCertificate(command.certificate))
    adopted = yield from _may_certify(context)
    if certificate.revoked:
        raise CertificateAlreadyRevoked(command.certificate)
    return Decided(adopted.version, (CertificateRevoked(command.certificate, context.actor.id, command.reason),))


def _may_certify(context: Context) -> Generator[Question, Any, PolicyAdopted]:
    """The policy of today. Raises: CertifiedByAdministrators, NoPolicyInForce."""
    book = yield from read(policy_book)
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    if adopted.policy.certificate_issuer == "admin" and context.actor.role != "admin":
        raise CertifiedByAdministrators(adopted.version)
    return adopted


def code_sha256(code: str) -> str:
    """What the journal keeps of a verification code, which is 80 random bits: a plain hash can't be searched."""
    return hashlib.sha256(normal_code(code).encode()).hexdigest()


def normal_code(text: str) -> str:
    """A verification code as it is hashed, whichever way it is typed off the paper."""
    return text.upper().replace("-", "").replace(" ", "").translate(str.maketrans("OIL", "011"))


def shown_code(code: str) -> str:
    """A verification code as it is printed: in fours."""
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def is_code(code: str, sha256: str) -> bool:
    """Whether that is the code with this hash; takes as long for a wrong one."""
    return hmac.compare_digest(code_sha256(code), sha256)


@dataclass(unsafe_hash=True)
class CertifiedByAdministrators(NotAllowed):
    policy: int
    zh = "按第 {policy} 版规则，志愿服务证明由管理员出具和撤销。"
    en = "Under version {policy} of the policy certificates are issued and revoked by administrators."


@dataclass(unsafe_hash=True)
class NothingToCertify(AgainstRule):
    volunteer: str
    since: str
    until: str
    zh = "“{volunteer}”在 {since} 至 {until} 没有已确认的服务可以证明。"
    en = "“{volunteer}” has no confirmed service from {since} to {until} to certify."


@dataclass(unsafe_hash=True)
class TooFewMinutesToCertify(AgainstRule):
    minutes: int
    certificate_minutes_min: int
    zh = "这段时间的服务共 {minutes} 分钟，少于出具证明所需的 {certificate_minutes_min} 分钟。"
    en = "{minutes} minutes of service are fewer than the {certificate_minutes_min} that a certificate needs."


@dataclass(unsafe_hash=True)
class UnknownCertificate(Unknown):
    certificate: str
    zh = "没有编号为“{certificate}”的志愿服务证明。"
    en = "There is no service certificate “{certificate}”."


@dataclass(unsafe_hash=True)
class CertificateAlreadyRevoked(AlreadyDone):
    certificate: str
    zh = "志愿服务证明“{certificate}”已经撤销。"
    en = "The service certificate “{certificate}” was revoked already."


@dataclass(unsafe_hash=True)
class CertificateTooLongForQr(AgainstRule):
    certificate: str
    services: int
    zh = "志愿服务证明“{certificate}”列有 {services} 个服务项目，一个二维码放不下；请使用证明文件。"
    en = "The certificate “{certificate}” lists {services} services, more than a QR code holds; use its file."
