"""A certificate as a file: what is printed on it, signed, with the receipt of its fact; and as a QR code.

    <the certificate's note>      what it says, one line of JSON, signed by the ledger's key
    <empty line>
    <the fact's receipt>          a C2SP tlog-proof file: the fact, its inclusion proof, the signed checkpoint

The note says what the paper says, and nothing more. What of that the journal knows must be what the fact says; names
and contact, which no fact holds, stand on the ledger's signature alone. Whether a certificate was revoked after its
file was made can't be in the file. Who has signed is the business of `infrastructure/signing.py`.

The QR code holds the same file packed: the leaf raw and the rest as text, deflated, in the alphabet of QR codes.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Final, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from domain.certificate import CertificateIssued, is_code
from domain.checkpoint import NoReceipt, Receipt

FORMAT: Final = "timebank-certificate/v1"
PACKED_MARK: Final = "TIMEBANK1:"
FILE_BYTES_MAX: Final = 200_000
"""A receipt's fact has 65,535 bytes at the most, which base64 makes a third longer."""
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
"""Of base45 (RFC 9285), which are the characters that a QR code holds at five and a half bits each."""

_LEAF_LENGTH: Final = struct.Struct(">H")
_EXTRA: Final = "\nextra "
_VALUE: Final = {character: value for value, character in enumerate(ALPHABET)}


class NoCertificateFile(Exception):
    """A file that is no certificate, or one whose parts don't belong together."""

    def __init__(self) -> None:
        super().__init__(
            "不是志愿服务证明文件，或被改动过。 / This is no file of a service certificate, or it was altered."
        )


class CertifiedService(BaseModel):
    """How much of one service was given, as it is printed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    service: str
    minutes: int
    records: int


class CertificateContent(BaseModel):
    """What is printed on a certificate. ``standing_minutes`` are those that still stood at ``position`` of the journal,
    when the file was signed; names, contact and code are None where the vault no longer has them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ledger: str
    certificate: str
    volunteer: str
    volunteer_name: str | None
    since: date
    until: date
    services: tuple[CertifiedService, ...]
    service_minutes: int
    service_records: int
    issuer: str
    in_charge: str
    in_charge_name: str | None
    issued_by: str
    handler_name: str | None
    contact: str | None
    issued_on: date
    public_until: date
    code: str | None
    standing_minutes: Annotated[int, Field(ge=0)]
    position: Annotated[int, Field(ge=1)]
    signed_at: AwareDatetime
    synthetic: bool

    @property
    def status(self) -> str:
        """``valid`` or ``records-reversed``, at its position."""
        return "valid" if self.standing_minutes == self.service_minutes else "records-reversed"

    def text(self) -> str:
        """The canonical text that is signed: the format's name, and one line of JSON with its names in order."""
        content = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return f"{FORMAT}\n{content}\n"

    @staticmethod
    def parse(text: str) -> "CertificateContent":
        """Raises: NoCertificateFile for what no ledger would have signed."""
        name, _, content = text.partition("\n")
        try:
            found = CertificateContent.model_validate_json(content)
        except ValidationError:
            raise NoCertificateFile from None
        if name != FORMAT or found.text() != text:
            raise NoCertificateFile
        return found

    def require_issued(self, fact: CertificateIssued) -> None:
        """Hold what is printed to the fact that issued it. Raises: NoCertificateFile."""
        said = [(one.service, one.minutes, one.records) for one in self.services]
        same = said == [(one.service, one.minutes, one.records) for one in fact.services] and all(
            getattr(self, name) == getattr(fact, name) for name in _OF_THE_FACT
        )
        if not same or self.standing_minutes > self.service_minutes:
            raise NoCertificateFile
        if self.code is not None and not is_code(self.code, fact.code_sha256):
            raise NoCertificateFile


_OF_THE_FACT: Final = (
    *("certificate", "volunteer", "since", "until", "service_minutes", "service_records"),
    *("issuer", "in_charge", "issued_by", "issued_on", "public_until"),
)


class CertificateFile(NamedTuple):
    """The note that says what is certified, as it was signed, and the receipt of the fact that issued it."""

    note: str
    receipt: Receipt

    def text(self) -> str:
        """The file."""
        return f"{self.note}\n{self.receipt.text()}"

    @staticmethod
    def parse(text: str) -> "CertificateFile":
        """The parts of a file, or of what its QR code holds; none of them is verified. Raises: NoCertificateFile."""
        if text.startswith(PACKED_MARK):
            text = unpacked(text)
        head, _, rest = text.partition("\n\n")
        signatures, _, receipt = rest.partition("\n\n")
        try:
            found = CertificateFile(f"{head}\n\n{signatures}\n", Receipt.parse(receipt))
        except NoReceipt:
            raise NoCertificateFile from None
        if found.text() != text or not text.startswith(FORMAT + "\n"):
            raise NoCertificateFile
        return found

    @property
    def content(self) -> CertificateContent:
        """What the note says, whoever signed it. Raises: NoCertificateFile."""
        return CertificateContent.parse(self.note.partition("\n\n")[0] + "\n")

    def packed(self) -> str:
        """What the QR code holds."""
        head, _, rest = self.text().partition(_EXTRA)
        text = f"{head}{_EXTRA}\n{rest.partition(chr(10))[2]}"
        leaf = self.receipt.leaf
        return PACKED_MARK + "".join(base45(zlib.compress(_LEAF_LENGTH.pack(len(leaf)) + leaf + text.encode(), 9)))


def unpacked(packed: str) -> str:
    """The text of the file that a QR code holds. Raises: NoCertificateFile."""
    try:
        deflated = zlib.decompressobj()
        content = deflated.decompress(from_base45(packed.strip().removeprefix(PACKED_MARK)), FILE_BYTES_MAX)
        if not deflated.eof or deflated.unused_data:
            raise NoCertificateFile
        (length,) = _LEAF_LENGTH.unpack_from(content)
        at = _LEAF_LENGTH.size + length
        leaf, text = content[_LEAF_LENGTH.size : at], content[at:].decode()
    except (ValueError, struct.error, zlib.error):
        raise NoCertificateFile from None
    if text.count(f"{_EXTRA}\n") != 1:
        raise NoCertificateFile
    head, _, rest = text.partition(_EXTRA)
    # The index and the path don't matter here: only how a receipt writes its leaf.
    extra = Receipt(1, (), "", leaf).proof_text().partition("\n")[0]
    return f"{head}\n{extra}{rest}"


def base45(content: bytes) -> Iterator[str]:
    """RFC 9285: two bytes are three characters, a last one is two; the lowest digit comes first."""
    for at in range(0, len(content), 2):
        pair = content[at : at + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            value, digit = divmod(value, 45)
            yield ALPHABET[digit]


def from_base45(text: str) -> bytes:
    """Raises: ValueError."""
    if not re.fullmatch(f"[{re.escape(ALPHABET)}]*", text) or len(text) % 3 == 1 or len(text) > FILE_BYTES_MAX:
        raise ValueError(text[:20])
    content = bytearray()
    for at in range(0, len(text), 3):
        group = text[at : at + 3]
        value = sum(_VALUE[character] * 45**power for power, character in enumerate(group))
        try:
            content += value.to_bytes(len(group) - 1, "big")
        except OverflowError:
            raise ValueError(group) from None
    return bytes(content)
