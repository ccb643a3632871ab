"""Whether a witness has cosigned a checkpoint, for whoever verifies: C2SP tlog-cosignature, timestamped Ed25519.

— <name> <base64 of the key's hash (4 bytes), Unix seconds (8) and the signature (64)>
"""

import base64
import hashlib
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ALGORITHM: Final = b"\x04"
_LINE_START: Final = "\u2014 "
_SIGNED_BYTES: Final = 4 + 8 + 64


class WitnessKey(NamedTuple):
    """A witness's public key, ``name+hash+base64``."""

    name: str
    hash: bytes
    public_key: bytes

    @staticmethod
    def parse(text: str) -> "WitnessKey":
        """Raises: ValueError."""
        name, hash_, encoded = (*text.split("+", 2), "", "")[:3]
        data = base64.b64decode(encoded, validate=True)
        hashed = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
        if len(data) != 33 or data[:1] != _ALGORITHM or not name or hash_ != hashed.hex():
            raise ValueError("不是见证人的公钥 / not a witness's key such as name+hash+base64")
        return WitnessKey(name, hashed, data[1:])


def cosigned_at(note: str, key: WitnessKey) -> int | None:
    """When a witness cosigned a note (Unix seconds); None where it has no line of that key.

    Raises: ValueError where it has one that the key never made.
    """
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        name, _, encoded = line.removeprefix(_LINE_START).partition(" ")
        if name != key.name:
            continue
        signed = base64.b64decode(encoded, validate=True)
        if signed[:4] != key.hash:
            continue
        seconds = int.from_bytes(signed[4:12], "big")
        message = f"cosignature/v1\ntime {seconds}\n{text}\n".encode()
        try:
            if len(signed) != _SIGNED_BYTES:
                raise InvalidSignature
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signed[12:], message)
        except InvalidSignature:
            raise ValueError("副签不成立 / the cosignature doesn't hold") from None
        return seconds
    return None
