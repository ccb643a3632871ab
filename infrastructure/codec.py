"""Facts to stored bytes and back, by stable type names with versions.

The bytes of a stored fact are evidence and are never rewritten. When a type's shape changes, the new shape gets a
new version, and an upcaster in `UPCASTERS` says how the old bytes read as the newest type.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from domain.fact import Envelope, Fact
from domain.facts import FACTS
from domain.policy import PolicyAdopted

UPCASTERS: Final[dict[str, Callable[[bytes], Envelope[Any]]]] = {
    # Settings that came later take their defaults, which allow nothing that moves minutes.
    "policy-adopted.v1": msgspec.json.Decoder(Envelope[PolicyAdopted]).decode,
}
"""Decoders of superseded versions, by stored type name."""


class UnknownFactType(Exception):
    """The journal holds a fact that this program is too old, or too foreign, to read."""

    def __init__(self, type_name: str, position: int | None = None) -> None:
        self.type_name, self.position = type_name, position
        where = "" if position is None else f"（位置 {position} / position {position}）"
        super().__init__(
            f"账本里有本程序不认识的事实类型“{type_name}”{where}，请升级程序。 / "
            f"The journal holds a fact of the unknown type “{type_name}”; upgrade this program."
        )


class UnreadableFact(Exception):
    """The stored bytes are not what their type name says."""

    def __init__(self, type_name: str, position: int | None, reason: str) -> None:
        self.type_name, self.position = type_name, position
        super().__init__(
            f"位置 {position} 的事实“{type_name}”无法解读：{reason} / "
            f"The fact “{type_name}” at position {position} can't be read: {reason}"
        )


_encoder = msgspec.json.Encoder()
_decoders: Final[dict[str, Callable[[bytes], Envelope[Any]]]] = {
    **{name: msgspec.json.Decoder(Envelope[fact]).decode for name, fact in FACTS.items()},  # type: ignore[valid-type]
    **UPCASTERS,
}


def encode(envelope: Envelope[Any]) -> bytes:
    """The bytes to store."""
    return _encoder.encode(envelope)


def decode(type_name: str, data: bytes, position: int | None = None) -> Envelope[Any]:
    """The envelope of a stored fact.

    Raises: UnknownFactType, UnreadableFact.
    """
    try:
        return _decoders[type_name](data)
    except KeyError:
        raise UnknownFactType(type_name, position) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableFact(type_name, position, str(error)) from error


_IMPORTED: Final = b'"imported":true}'


def is_imported(data: bytes) -> bool:
    """Whether stored bytes say that they were brought in from older books, without decoding them.

    Nothing comes after that field; where another program wrote them in another order the answer is no, and the decoded
    envelope says it.
    """
    return data.endswith(_IMPORTED)


def stored_type(fact: Fact) -> str:
    """The name a fact is stored under. Raises: UnknownFactType for one that is not listed in `FACTS`."""
    if fact.type not in FACTS:
        raise UnknownFactType(fact.type)
    return fact.type
