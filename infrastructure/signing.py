"""The ledger's signing key, and notes signed with it: C2SP signed notes with Ed25519.

    <text, any number of lines, each ended>
    <empty line>
    — <name> <base64 of the key's hash (4 bytes) and the signature (64 bytes)>

The key lives outside the database, one file a ledger that only its owner may read: whoever can write to the database
must not be able to sign for it. Losing the file loses no fact; those who trusted the key must then be told the new one.

A key that is rotated signs its successor before it is destroyed, so whoever trusts it can follow. All such notes of a
ledger are in one file beside its key, each as long as these lines, oldest first:

    timebank-key-succession/v1
    <verifier key before>
    <verifier key after>
    <when, RFC 3339>

A witness has a key too, of another kind (`domain/witness.py`): it signs notes of others, with the time, by one more
line.
"""

import base64
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from domain.checkpoint import Checkpoint
from domain.statement import ED25519, StatementNotGenuine, VerifierKey
from domain.witness import COSIGNATURE, Cosignature, cosigned_message, require_name
from infrastructure.embedded import make_data_directory

_DASH: Final = "\u2014 "
_PREFIX: Final = "PRIVATE+KEY+"
_SUCCESSION: Final = "timebank-key-succession/v1"
_SUCCESSION_LINES: Final = 6
SIGNATURES_MAX: Final = 100


class NoteNotGenuine(Exception):
    """No key that is trusted has signed it as it is."""

    def __init__(self) -> None:
        super().__init__("没有受信任密钥的有效签名。 / No trusted key has signed this as it is.")


class NotCosigned(Exception):
    """A witness that was to have signed a checkpoint didn't."""

    def __init__(self, key: VerifierKey) -> None:
        super().__init__(f"没有见证人 {key.name} 的副签。 / The witness {key.name} has not cosigned this.")


class OtherOrigin(Exception):
    """A checkpoint was signed with the key of another log, which can't speak for the one that it names."""

    def __init__(self, origin: str, names: Iterable[str]) -> None:
        signers = ", ".join(names)
        super().__init__(
            f"检查点是日志“{origin}”的，签名的却是“{signers}”的密钥。 / "
            f"The checkpoint is of the log “{origin}”, and the key that signed it is of “{signers}”."
        )


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
        self.verifier = VerifierKey.of(name, _public_bytes(private))

    def sign(self, text: str) -> str:
        """The signed note of a text, which must end with a line end. The same text is always signed the same."""
        signature = base64.b64encode(self.verifier.hash + self._private.sign(text.encode())).decode()
        return f"{text}\n{_DASH}{self.verifier.name} {signature}\n"

    def _stored(self) -> str:
        return _key_text(self.verifier, self._private)


class CosigningKey:
    """A witness's private key, which signs nothing but checkpoints of others, with the time."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.verifier = VerifierKey.of(name, _public_bytes(private), COSIGNATURE)

    def cosign(self, checkpoint_text: str, seconds: int) -> Cosignature:
        """Sign a checkpoint's text at a time (Unix seconds)."""
        signature = self._private.sign(cosigned_message(checkpoint_text, seconds))
        return Cosignature(self.verifier.name, self.verifier.hash, seconds, signature)

    def _stored(self) -> str:
        return _key_text(self.verifier, self._private)


def _public_bytes(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _key_text(verifier: VerifierKey, private: Ed25519PrivateKey) -> str:
    """What a private key's file holds."""
    seed = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    encoded = base64.b64encode(verifier.algorithm + seed).decode()
    return f"{_PREFIX}{verifier.name}+{verifier.hash.hex()}+{encoded}\n"


def key_path(data: Path, ledger: str) -> Path:
    return data / "keys" / f"{ledger}.key"


def succession_path(data: Path, ledger: str) -> Path:
    return data / "keys" / f"{ledger}.successions"


def create_key(data: Path, ledger: str) -> SigningKey:
    """Make a ledger's key, in a file that its owner alone may read. Raises: SigningKeyExists."""
    path = key_path(data, ledger)
    make_data_directory(data)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = SigningKey(ledger, Ed25519PrivateKey.generate())
    try:
        _write_new(path, key._stored())
    except FileExistsError:
        raise SigningKeyExists(path) from None
    return key


def create_witness_key(path: Path, name: str) -> CosigningKey:
    """Make a witness's key, in a file that its owner alone may read. Raises: ValueError, SigningKeyExists."""
    require_name(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = CosigningKey(name, Ed25519PrivateKey.generate())
    try:
        _write_new(path, key._stored())
    except FileExistsError:
        raise SigningKeyExists(path) from None
    return key


def _write_new(path: Path, text: str) -> None:
    """Raises: FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, text: str) -> None:
    """All of the text, or what was there before, whenever this is killed; on disk when the directory is."""
    fresh = path.with_suffix(path.suffix + ".fresh")
    fresh.unlink(missing_ok=True)
    _write_new(fresh, text)
    fresh.rename(path)


def rotate_key(data: Path, ledger: str, now: datetime) -> SigningKey | None:
    """Put a new key in the place of a ledger's key, which signs it and is destroyed; None where there is no key.

    The successor is on disk before it is signed, and signed before it takes the place: whenever this is killed, the
    key that is there can still sign, and running it again goes on where it ended. Raises: SigningKeyUnusable.
    """
    path = key_path(data, ledger)
    successor, notes = path.with_suffix(".successor"), succession_path(data, ledger)
    if not path.exists():
        return None
    with alone(path.parent):
        key = read_key(data, ledger)
        if key is None:
            return None
        while (new := _read(successor, ledger)) is None:
            replace_file(successor, SigningKey(ledger, Ed25519PrivateKey.generate())._stored())
        if not any(str(new.verifier) in note for note in successions(data, ledger)):
            note = key.sign(f"{_SUCCESSION}\n{key.verifier}\n{new.verifier}\n{now.isoformat(timespec='seconds')}\n")
            replace_file(notes, "".join((*successions(data, ledger), note)))
        successor.rename(path)
    return new


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a directory's lock, and have what was renamed in it on disk when this ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def successions(data: Path, ledger: str) -> list[str]:
    """The notes by which a ledger's keys have named their successors, oldest first."""
    try:
        return split_successions(succession_path(data, ledger).read_text())
    except FileNotFoundError:
        return []


def split_successions(text: str) -> list[str]:
    """The notes of a file of them."""
    lines = text.splitlines(keepends=True)
    return ["".join(lines[at : at + _SUCCESSION_LINES]) for at in range(0, len(lines), _SUCCESSION_LINES)]


def succeeding(trusted: Iterable[VerifierKey], notes: Iterable[str]) -> list[VerifierKey]:
    """The trusted keys, and all that they, one after the other, have named their successors."""
    keys = list(trusted)
    for note in notes:
        try:
            lines = verified(note, keys).split("\n")
            if lines[0] == _SUCCESSION and len(lines) == 5:
                before, after = VerifierKey.parse(lines[1]), VerifierKey.parse(lines[2])
                if before in keys and before.name == after.name and after not in keys:
                    keys.append(after)
        except (NoteNotGenuine, ValueError):
            continue
    return keys


def preceding(key: VerifierKey, notes: list[str]) -> list[VerifierKey]:
    """A key, and those that led to it, one after the other."""
    keys = [key]
    for note in reversed(notes):
        with suppress(ValueError, IndexError):
            before = VerifierKey.parse(note.split("\n")[1])
            if keys[-1] in succeeding([before], [note]):
                keys.append(before)
    return keys


def read_key(data: Path, ledger: str) -> SigningKey | None:
    """A ledger's key, or None where none was made. Raises: SigningKeyUnusable."""
    return _read(key_path(data, ledger), ledger)


def read_witness_key(path: Path) -> CosigningKey | None:
    """A witness's key, or None where none was made. Raises: SigningKeyUnusable."""
    found = _read_text(path)
    if found is None:
        return None
    text, name, private = found
    key = None if private is None else CosigningKey(name, private)
    if key is None or key._stored() != text:
        raise SigningKeyUnusable(path, "内容不是见证人的密钥", "it doesn't hold a witness's key")
    return key


def _read(path: Path, ledger: str) -> SigningKey | None:
    found = _read_text(path)
    if found is None:
        return None
    text, _, private = found
    key = None if private is None else SigningKey(ledger, private)
    if key is None or key._stored() != text:
        raise SigningKeyUnusable(path, "内容不是本账本的密钥", "it doesn't hold this ledger's key")
    return key


def _read_text(path: Path) -> tuple[str, str, Ed25519PrivateKey | None] | None:
    """What a key's file holds, and the name and key in it; None where there is no file.

    Whether that is all that it holds is for the caller to see. Raises: SigningKeyUnusable where others may read it.
    """
    try:
        with path.open() as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(1_000)
    except FileNotFoundError:
        return None
    if stat.S_IMODE(mode) & 0o077:
        raise SigningKeyUnusable(path, "其他用户也能读取，请执行 chmod 600", "others may read it; run chmod 600")
    try:
        # Only so often: base64 has a "+" of its own.
        _, _, name, _, encoded = text.rstrip("\n").split("+", 4)
        return text, name, Ed25519PrivateKey.from_private_bytes(base64.b64decode(encoded, validate=True)[1:])
    except ValueError:
        return text, "", None


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


def verified(note: str, keys: Iterable[VerifierKey]) -> str:
    """The text of a note that one of the keys at least has signed, whoever else has. Raises: NoteNotGenuine.

    As C2SP signed-note says: signatures of keys that aren't known are read over; one that a known key should have made
    and didn't spoils the whole.
    """
    text, signatures = _taken_apart(note)
    known = {(key.name, key.hash): key.public_key for key in keys if key.algorithm == ED25519}
    signers = 0
    for name, signed in signatures:
        public_key = known.get((name, signed[:4]))
        if public_key is not None:
            _verify(public_key, signed[4:], text.encode())
            signers += 1
    if not signers:
        raise NoteNotGenuine
    return text


def signed_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint of a note that one of the keys at least has signed, which must be a key of the log that it names.

    Raises: NoteNotGenuine, NoCheckpoint, OtherOrigin.
    """
    known = list(keys)
    checkpoint = Checkpoint.parse(verified(note, known))
    try:
        verified(note, [key for key in known if key.name == checkpoint.origin])
    except NoteNotGenuine:
        signers = {name for name, _ in _taken_apart(note)[1]}
        raise OtherOrigin(checkpoint.origin, sorted({key.name for key in known} & signers)) from None
    return checkpoint


def cosignatures(note: str, keys: Iterable[VerifierKey]) -> dict[VerifierKey, Cosignature]:
    """Which of the witnesses' keys have cosigned a checkpoint, whoever else has; the earliest cosignature of each.

    Raises: NoteNotGenuine where one of them should have and didn't, for that spoils the whole.
    """
    text, signatures = _taken_apart(note)
    known = {(key.name, key.hash): key for key in keys if key.algorithm == COSIGNATURE}
    found: dict[VerifierKey, Cosignature] = {}
    for name, signed in signatures:
        key = known.get((name, signed[:4]))
        if key is not None:
            try:
                cosignature = Cosignature.of(name, signed)
            except ValueError:
                raise NoteNotGenuine from None
            require_cosignature(text, cosignature, key)
            if key not in found or cosignature.seconds < found[key].seconds:
                found[key] = cosignature
    return found


def require_cosignature(text: str, cosignature: Cosignature, key: VerifierKey) -> None:
    """Hold a cosignature to a checkpoint's text and a witness's key. Raises: NoteNotGenuine."""
    if (cosignature.name, cosignature.hash, COSIGNATURE) != (key.name, key.hash, key.algorithm):
        raise NoteNotGenuine
    _verify(key.public_key, cosignature.signature, cosigned_message(text, cosignature.seconds))


def require_cosigned(note: str, keys: Iterable[VerifierKey]) -> dict[VerifierKey, Cosignature]:
    """The cosignature of each of the witnesses, all of which must have signed. Raises: NotCosigned, NoteNotGenuine."""
    wanted = list(keys)
    found = cosignatures(note, wanted)
    for key in wanted:
        if key not in found:
            raise NotCosigned(key)
    return found


def signed_by(note: str, keys: Iterable[VerifierKey]) -> str:
    """A note with the lines of these keys alone, as they are: whoever else has signed it. Raises: NoteNotGenuine."""
    text, signatures = _taken_apart(note)
    known = {(key.name, key.hash) for key in keys}
    lines = note.removeprefix(f"{text}\n").splitlines(keepends=True)
    kept = [line for line, (name, signed) in zip(lines, signatures, strict=True) if (name, signed[:4]) in known]
    return f"{text}\n{''.join(kept)}"


def _taken_apart(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, and the name and bytes of each line that signs it. Raises: NoteNotGenuine."""
    text, separator, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if not separator or lines.pop() or not 0 < len(lines) <= SIGNATURES_MAX or not _is_text(note):
        raise NoteNotGenuine
    found = []
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            signed = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise NoteNotGenuine from None
        if not line.startswith(_DASH) or not name or "+" in name or len(signed) < 5:
            raise NoteNotGenuine
        found.append((name, signed))
    return text + "\n", found


def _verify(public_key: bytes, signature: bytes, content: bytes) -> None:
    """Raises: NoteNotGenuine."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)
    except (ValueError, InvalidSignature):
        raise NoteNotGenuine from None


def _is_text(note: str) -> bool:
    try:
        note.encode()
    except UnicodeEncodeError:
        return False
    return not any(character < " " and character != "\n" for character in note)
