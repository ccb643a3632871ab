"""Certificate files proven: signed by a trusted key, and what they say issued in the log; and asked about."""

import http.client
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from domain.certificate import CertificateIssued, CertificateRevoked
from domain.certificate_file import CertificateContent, CertificateFile, NoCertificateFile
from domain.checkpoint import Checkpoint, NoCheckpoint, NoReceipt, Receipt
from domain.leaf import Leaf
from domain.statement import VerifierKey
from infrastructure.codec import UnknownFactType, UnreadableFact, decode
from infrastructure.signing import verified
from infrastructure.witness import LogUnreachable, RemoteLog

ANSWER_BYTES_MAX: Final = 100_000
STATUSES: Final = frozenset({"valid", "records-reversed", "revoked", "unknown"})


class Proven(NamedTuple):
    """What a genuine certificate file says, the fact that issued it, and the checkpoint that it is proven at."""

    content: CertificateContent
    leaf: Leaf
    checkpoint: Checkpoint


def proven(file: CertificateFile, keys: Iterable[VerifierKey]) -> Proven:
    """Hold a file to the keys that are trusted: only those of the ledger that it names count.

    Raises: NoteNotGenuine, NoCertificateFile.
    """
    said = file.content
    own = [key for key in keys if key.name == said.ledger]
    verified(file.note, own)
    leaf, checkpoint = _fact(file.receipt, said.ledger, own)
    if leaf.type != CertificateIssued.type:
        raise NoCertificateFile
    said.require_issued(_decoded(leaf, CertificateIssued))
    return Proven(said, leaf, checkpoint)


def require_revocation(receipt: Receipt, certificate: Proven, keys: Iterable[VerifierKey]) -> Leaf:
    """The fact of a receipt, which must be that this very certificate was revoked. Raises: NoteNotGenuine,
    NoCertificateFile."""
    ledger = certificate.content.ledger
    leaf, _ = _fact(receipt, ledger, [key for key in keys if key.name == ledger])
    if leaf.type != CertificateRevoked.type or leaf.position <= certificate.leaf.position:
        raise NoCertificateFile
    if _decoded(leaf, CertificateRevoked).certificate != certificate.content.certificate:
        raise NoCertificateFile
    return leaf


def _fact(receipt: Receipt, ledger: str, keys: list[VerifierKey]) -> tuple[Leaf, Checkpoint]:
    """Raises: NoteNotGenuine, NoCertificateFile."""
    try:
        checkpoint = Checkpoint.parse(verified(receipt.checkpoint, keys))
        leaf = receipt.proven(checkpoint)
    except (NoCheckpoint, NoReceipt):
        raise NoCertificateFile from None
    if leaf.ledger != ledger:
        raise NoCertificateFile
    return leaf, checkpoint


def _decoded(leaf: Leaf, kind: type[Any]) -> Any:
    """Raises: NoCertificateFile where a leaf holds something else than its type says."""
    try:
        fact = decode(leaf.type, leaf.data, leaf.position).fact
    except (UnknownFactType, UnreadableFact):
        raise NoCertificateFile from None
    if not isinstance(fact, kind):
        raise NoCertificateFile
    return fact


class RemoteCertificates(RemoteLog):
    """A ledger's service, asked where a certificate stands now."""

    def verification(self, number: str, code: str) -> dict[str, Any]:
        """What the ledger tells whoever holds the certificate. Raises: LogUnreachable."""
        path = f"v1/certificates/{quote(number)}/verification?code={quote(code)}"
        where = f"{self.address}/v1/certificates"
        status, content = self._asked("GET", path, ANSWER_BYTES_MAX)
        if status != http.client.OK:
            raise LogUnreachable(where, f"HTTP {status}")
        try:
            found = json.loads(content)
        except ValueError:
            raise LogUnreachable(where, "JSON") from None
        if not isinstance(found, dict) or found.get("status") not in STATUSES:
            raise LogUnreachable(where, "JSON")
        return found
