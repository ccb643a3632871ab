"""The leaf: the exact bytes of a stored fact, with where, when and under what they were stored, to be hashed.

    1 byte     the encoding's version, 0x01
    2 + n      the ledger's name
    8          leaf index, which is the position less one
    8          recorded-at, Unix microseconds, signed
    2 + n      the stored type
    2          how many tags
    2 + n      each tag, in the stored order
    4 + n      the stored data, byte for byte

All numbers are big-endian, all texts UTF-8, and every length comes before what it measures: so no two facts have the
same leaf, whatever is in their texts. A leaf is never decoded to be verified: it is hashed as it is, and only then
read. A new version of the encoding would get another first byte; leaves already hashed keep theirs.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

VERSION: Final = 1
LEAF_BYTES_MAX: Final = 65_535
"""What an entry of an entry bundle (C2SP tlog-tiles) can hold, which has its length in two bytes before it."""

_LENGTH: Final = struct.Struct(">H")
_INDEX_TIME_TYPE: Final = struct.Struct(">QqH")
_DATA_LENGTH: Final = struct.Struct(">I")


class LeafTooLong(Exception):
    """A stored fact is longer than any leaf may be; the program itself records none such."""

    def __init__(self, position: int, length_bytes: int) -> None:
        self.position, self.length_bytes = position, length_bytes
        super().__init__(
            f"位置 {position} 的事实有 {length_bytes} 字节，超过 {LEAF_BYTES_MAX}，无法列入证据。 / "
            f"The fact at position {position} makes a leaf of {length_bytes} bytes, more than {LEAF_BYTES_MAX}."
        )


class LeafMalformed(Exception):
    """Bytes that are no leaf of a version that this program knows."""

    def __init__(self) -> None:
        super().__init__("不是本程序认识的事实编码。 / These bytes are no leaf that this program can read.")


class Leaf(NamedTuple):
    """One leaf, taken apart."""

    ledger: str
    position: int
    recorded_at_microseconds: int
    type: str
    tags: tuple[str, ...]
    data: bytes

    def encoded(self) -> bytes:
        """Raises: LeafTooLong."""
        return encoder(self.ledger)(self.position, self.recorded_at_microseconds, self.type, self.tags, self.data)

    @staticmethod
    def parse(encoded: bytes) -> "Leaf":
        """Only what `encoded` gives. Raises: LeafMalformed."""
        try:
            leaf = _taken_apart(encoded)
            if len(encoded) <= LEAF_BYTES_MAX and leaf.encoded() == encoded:
                return leaf
        except (struct.error, UnicodeError):
            pass
        raise LeafMalformed


def leaf_length_bytes(ledger: str, type_: str, tags: Sequence[str], data: bytes) -> int:
    """How long the leaf of a fact is, wherever and whenever it is recorded."""
    texts = sum(len(text.encode()) for text in (ledger, type_, *tags))
    return 1 + 2 + _INDEX_TIME_TYPE.size + 2 + 2 * len(tags) + 4 + texts + len(data)


Encode = Callable[[int, int, str, Sequence[str], bytes], bytes]
"""The leaf of a fact by its position, recorded-at (Unix microseconds), type, tags and data. Raises: LeafTooLong."""
Pack = Callable[[list[bytes], int, int, str, Sequence[str], bytes], int]
"""The same in pieces, put behind others; returns the leaf's length. Raises: LeafTooLong."""


def encoder(ledger: str) -> Encode:
    """What encodes the leaves of one ledger."""
    pack = packer(ledger)

    def encode(position: int, recorded_at_microseconds: int, type_: str, tags: Sequence[str], data: bytes) -> bytes:
        pieces: list[bytes] = []
        pack(pieces, position, recorded_at_microseconds, type_, tags, data)
        return b"".join(pieces)

    return encode


def packer(ledger: str, *, bundled: bool = False) -> Pack:
    """What encodes the leaves of one ledger, many of which are joined at a time; with ``bundled`` each after its
    length, as in an entry bundle."""
    name = ledger.encode()
    head = bytes((VERSION,)) + _LENGTH.pack(len(name)) + name
    fixed_bytes = len(head) + _INDEX_TIME_TYPE.size + _LENGTH.size + _DATA_LENGTH.size
    pack_index_time_type, pack_data_length, pack_length = _INDEX_TIME_TYPE.pack, _DATA_LENGTH.pack, _LENGTH.pack
    # Types and most lengths recur, and packing is most of the work.
    lengths = [pack_length(length) for length in range(2_048)]
    types: dict[str, bytes] = {}

    def pack(
        pieces: list[bytes],
        position: int,
        recorded_at_microseconds: int,
        type_: str,
        tags: Sequence[str],
        data: bytes,
    ) -> int:
        type_bytes = types.get(type_)
        if type_bytes is None:
            type_bytes = types[type_] = type_.encode()
        data_length, type_length = len(data), len(type_bytes)
        length = fixed_bytes + type_length + data_length
        tagged: list[bytes] = []
        for tag in tags:
            tag_bytes = tag.encode()
            tag_length = len(tag_bytes)
            length += 2 + tag_length
            tagged += (lengths[tag_length] if tag_length < 2_048 else b""), tag_bytes
        if length > LEAF_BYTES_MAX:
            raise LeafTooLong(position, length)
        if length >= 2_048:
            tagged = [piece for tag_bytes in tagged[1::2] for piece in (pack_length(len(tag_bytes)), tag_bytes)]
        if bundled:
            pieces.append(lengths[length] if length < 2_048 else pack_length(length))
        pieces += head, pack_index_time_type(position - 1, recorded_at_microseconds, type_length), type_bytes
        pieces.append(lengths[len(tags)] if length < 2_048 else pack_length(len(tags)))
        pieces += tagged
        pieces += pack_data_length(data_length), data
        return length

    return pack


def _taken_apart(encoded: bytes) -> Leaf:
    """Raises: LeafMalformed, struct.error, UnicodeError."""
    if encoded[:1] != bytes((VERSION,)):
        raise LeafMalformed
    at = 1

    def text(length: int) -> str:
        nonlocal at
        at += length
        return encoded[at - length : at].decode()

    def number(layout: struct.Struct) -> tuple[int, ...]:
        nonlocal at
        at += layout.size
        return layout.unpack_from(encoded, at - layout.size)

    ledger = text(*number(_LENGTH))
    index, recorded_at_microseconds, type_length = number(_INDEX_TIME_TYPE)
    type_ = text(type_length)
    (count,) = number(_LENGTH)
    tags = tuple(text(*number(_LENGTH)) for _ in range(count))
    (length,) = number(_DATA_LENGTH)
    return Leaf(ledger, index + 1, recorded_at_microseconds, type_, tags, encoded[at : at + length])


def bundle(leaves: Sequence[bytes]) -> bytes:
    """An entry bundle: each leaf after its length in two bytes."""
    pack = _LENGTH.pack
    return b"".join([part for leaf in leaves for part in (pack(len(leaf)), leaf)])


def parted(content: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """The leaves of an entry bundle, by their lengths."""
    end = 0
    for length in lengths:
        start = end + _LENGTH.size
        end = start + length
        yield content[start:end]


def unbundled(content: bytes) -> list[bytes]:
    """The leaves of an entry bundle. Raises: LeafMalformed where it ends within one."""
    leaves = []
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 2], "big")
        leaf = content[at + 2 : at + 2 + length]
        if len(leaf) != length or at + 2 > len(content):
            raise LeafMalformed
        leaves.append(leaf)
        at += 2 + length
    return leaves
