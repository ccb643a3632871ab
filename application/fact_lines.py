"""The facts of a bundle read from its lines, and again by their positions.

A line is decoded once, with the stored envelope in it, as the type that it names. What can't be read so is read the
long way, the line first and then its stored bytes: of a superseded version it is a fact, and of the rest it can be
told what is wrong.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, ClassVar, Final, Union

import msgspec

from application.bundle import FACTS_FILE, BundleUnreadable, Decode, FactLine
from domain.fact import Envelope, Tagged
from domain.facts import FACTS

BATCH_FACTS: Final = 128
"""Few, so that the memory of a batch is still at hand for the next one."""
_READ_BYTES: Final = 1 << 20
UNREADABLE_LINE: Final = (msgspec.MsgspecError, UnicodeDecodeError, OverflowError)
"""What decoding may raise."""

decode_line = msgspec.json.Decoder(FactLine).decode


class FactRead(Tagged[Any], frozen=True, gc=False):
    """A recorded fact as its line has it."""

    stored_type: ClassVar[str]


class _Superseded(FactRead, frozen=True, gc=False):
    """Of a version that no fact is recorded in any more."""

    superseded_type: str

    @property
    def stored_type(self) -> str:  # type: ignore[override]
        return self.superseded_type


class Unread(msgspec.Struct, frozen=True, gc=False):
    """A line that is no fact (without a type), or one whose stored bytes are none. ``number`` counts lines from 1."""

    number: int
    type: str = ""
    reason: str = ""


def _by_type() -> Callable[[bytes], FactRead]:
    """One decoder for the lines of all types."""
    kinds = [
        msgspec.defstruct(
            "FactRead",
            [("envelope", Envelope[fact], msgspec.field(name="data"))],  # type: ignore[valid-type]
            bases=(FactRead,),
            namespace={"stored_type": name},
            tag_field="type",
            tag=name,
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
            kw_only=True,
        )
        for name, fact in FACTS.items()
    ]
    return msgspec.json.Decoder(Union[tuple(kinds)]).decode  # noqa: UP007


_decode = _by_type()


def read_batches(directory: Path, facts: int) -> Iterator[list[bytes]]:
    """The lines of a bundle's facts, so many at a time. Raises: BundleUnreadable."""
    try:
        with (directory / FACTS_FILE).open("rb", _READ_BYTES) as file:
            while lines := list(islice(file, facts)):
                yield lines
    except OSError as error:
        raise BundleUnreadable(FACTS_FILE, error.strerror or str(error)) from None


def parsed(line: bytes) -> FactLine | None:
    """A line with its stored bytes as they are; None for what is no fact."""
    try:
        return decode_line(line)
    except UNREADABLE_LINE:
        return None


class FactLines:
    """The facts of a bundle in the order of their lines, and again by their positions.

    ``decode`` raises a ValueError for stored bytes that are no fact.
    """

    def __init__(self, directory: Path, decode: Decode, *, again: bool = False) -> None:
        """With ``again`` it is kept where each line is."""
        self._directory = directory
        self._decode = decode
        self._again = again
        self._file: FileIO | None = None
        self._starts = array("Q", (0,))
        """Of each line, and of the one that would come after the last."""
        self._positions = array("q")
        """0 for what has no position that could be asked for."""

    def batches(self) -> Iterator[Sequence[FactRead | Unread]]:
        """Raises: BundleUnreadable."""
        number = 0
        for lines in read_batches(self._directory, BATCH_FACTS):
            facts: Sequence[FactRead | Unread]
            try:
                facts = [*map(_decode, lines)]
            except UNREADABLE_LINE:
                facts = [self._read(line, number + more) for more, line in enumerate(lines, 1)]
            number += len(lines)
            if self._again:
                self._starts.extend(accumulate(map(len, lines), initial=self._starts.pop()))
                self._positions.extend(map(_within, facts))
            yield facts

    def _read(self, line: bytes, number: int) -> FactRead | Unread:
        try:
            return _decode(line)
        except UNREADABLE_LINE:
            pass
        row = parsed(line)
        if row is None:
            return Unread(number)
        try:
            envelope = self._decode(row.type, bytes(row.data), row.position)
        except ValueError as error:
            return Unread(number, row.type, str(error))
        return _Superseded(row.position, row.recorded_at_microseconds, envelope, row.tags, row.type)

    def at(self, positions: Sequence[int]) -> Iterator[FactRead]:
        """The facts at some positions, of those that were gone through before."""
        if self._file is None:
            self._file = (self._directory / FACTS_FILE).open("rb", 0)
        number_of, starts, descriptor = self._number_of, self._starts, self._file.fileno()
        for position in positions:
            number = number_of(position)
            if number is None:
                continue
            line = os.pread(descriptor, starts[number + 1] - starts[number], starts[number])
            fact = self._read(line, number + 1)
            if isinstance(fact, FactRead):
                yield fact

    def _number_of(self, position: int) -> int | None:
        """The line of a fact, counted from 0; None where there is none."""
        at = position - 1
        if self._positions[at : at + 1] == array("q", (position,)):
            return at
        try:  # lines were removed or swapped
            return self._positions.index(position)
        except ValueError:
            return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _within(fact: FactRead | Unread) -> int:
    return fact.position if isinstance(fact, FactRead) and 0 < fact.position < 1 << 63 else 0
