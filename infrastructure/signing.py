"""The ledger's signing key, and notes signed with it: C2SP signed notes with Ed25519.

    <text, any number of lines, each ended>
    <empty line>
    — <name> <base64 of the key's hash (4 bytes) and the signature (64 bytes)>

The key lives outside the database, one file a ledger that only its owner may read: whoever can write to the database
must not be able to sign for it. Losing the file loses no fact; those who trusted the key must then be told the new one.
"""

import base64
import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from domain.statement import ED25519, StatementNotGenuine, VerifierKey
from infrastructure.embedded import make_data_directory

_DASH: Final = "\u2014 "
_PREFIX: Final = "PRIVATE+KEY+"


class SigningKeyUnusable(Exception):
    """The key's file is not one, or others than its owner may read it."""

    def __init__(self, path: Path, reason_zh: str, reason_en: str) -> None:
        super().__init__(f"签名密钥 {path} 不可用：{reason_zh}。 / The signing key {path} can't be used: {reason_en}.")


class SigningKeyExists(Exception):
    """A ledger's key is made once: what it has signed must stay checkable."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"签名密钥已经存在：{path} / There is a signing key already: {path}")


class SigningKey:
    """A ledger's private key. Its text is never shown; what others need is `verifier`."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = VerifierKey.of(name, public)

    def sign(self, text: str) -> str:
        """The signed note of a text, which must end with a line end. The same text is always signed the same."""
        signature = base64.b64encode(self.verifier.hash + self._private.sign(text.encode())).decode()
        return f"{text}\n{_DASH}{self.verifier.name} {signature}\n"

    def _stored(self) -> str:
        seed = self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        encoded = base64.b64encode(ED25519 + seed).decode()
        return f"{_PREFIX}{self.verifier.name}+{self.verifier.hash.hex()}+{encoded}\n"


def key_path(data: Path, ledger: str) -> Path:
    return data / "keys" / f"{ledger}.key"


def create_key(data: Path, ledger: str) -> SigningKey:
    """Make a ledger's key, in a file that its owner alone may read. Raises: SigningKeyExists."""
    path = key_path(data, ledger)
    make_data_directory(data)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = SigningKey(ledger, Ed25519PrivateKey.generate())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SigningKeyExists(path) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(key._stored())
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(data: Path, ledger: str) -> SigningKey | None:
    """A ledger's key, or None where none was made. Raises: SigningKeyUnusable."""
    path = key_path(data, ledger)
    try:
        with path.open() as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(1_000)
    except FileNotFoundError:
        return None
    if stat.S_IMODE(mode) & 0o077:
        raise SigningKeyUnusable(path, "其他用户也能读取，请执行 chmod 600", "others may read it; run chmod 600")
    try:
        # Only so often: base64 has a "+" of its own.
        seed = base64.b64decode(text.rstrip("\n").split("+", 4)[4], validate=True)[1:]
        key = SigningKey(ledger, Ed25519PrivateKey.from_private_bytes(seed))
    except (ValueError, IndexError):
        key = None
    if key is None or key._stored() != text:
        raise SigningKeyUnusable(path, "内容不是本账本的密钥", "it doesn't hold this ledger's key")
    return key


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note that bears exactly one signature, by this key. Raises: StatementNotGenuine.

    Whatever is not byte for byte what the key's owner made is refused, even where a reader could make sense of it.
    """
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    name, _, encoded = signatures.removeprefix(_DASH).removesuffix("\n").partition(" ")
    try:
        signed = base64.b64decode(encoded, validate=True)
        content = text.encode()
        if signed[:4] != key.hash or f"{text}\n{_DASH}{name} {base64.b64encode(signed).decode()}\n" != note:
            raise StatementNotGenuine
        if name != key.name:
            raise StatementNotGenuine
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signed[4:], content)
    except (ValueError, InvalidSignature):
        raise StatementNotGenuine from None
    return text
