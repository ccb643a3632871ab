"""A witness: somebody who isn't the operator keeps a log's last checkpoint, and signs the next only if it has grown.

A cosignature says: this is the largest tree that I have seen of this log, at this time by my clock, and it has grown
from all that I saw before. So nobody can be shown another history than the witness was, without being found out.

What is signed, and how it is written, is C2SP tlog-cosignature: Ed25519 over ``cosignature/v1``, the time, and the
checkpoint's text. The signature itself is the business of `infrastructure/signing.py`.
"""

import base64
import re
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal, NamedTuple

from domain.checkpoint import Checkpoint, parts_of
from domain.merkle import ReadTile, consistency_ranges, is_consistent, proof, root_of
from domain.statement import VerifierKey

COSIGNATURE: Final = b"\x04"
"""The algorithm's mark in a witness's key: timestamped Ed25519."""
DASH: Final = "\u2014 "
SECONDS_MAX: Final = 253_402_300_799
"""The end of the year 9999, beyond which no time is meant."""
SIGNED_BYTES: Final = 4 + 8 + 64
NAME_CHARACTERS_MAX: Final = 100
REFUSED_FORMAT: Final = "timebank-log-refused/v1"

Kind = Literal["truncated", "forked", "rewritten", "unproven"]


def witness_key(text: str) -> VerifierKey:
    """A witness's public key. Raises: ValueError for what is none, or has a name that no note can hold."""
    key = VerifierKey.parse(text, COSIGNATURE)
    require_name(key.name)
    return key


def require_name(name: str) -> None:
    """Raises: ValueError for a name that a witness can't have: C2SP wants neither spaces nor ``+`` in it."""
    if len(name) > NAME_CHARACTERS_MAX or not re.fullmatch(r"[^\s+\x00-\x20\x7f-\x9f]+", name):
        raise ValueError(
            "见证人名称不能为空、太长，或含空格、加号 / "
            "a witness's name must not be empty or too long, nor hold spaces or plus signs"
        )


def cosigned_message(checkpoint_text: str, seconds: int) -> bytes:
    """The bytes that a witness signs: the checkpoint's text as it is, and when, in Unix seconds."""
    return f"cosignature/v1\ntime {seconds}\n{checkpoint_text}".encode()


class Cosignature(NamedTuple):
    """One line of a note, by which a witness has signed it at a time (Unix seconds)."""

    name: str
    hash: bytes
    seconds: int
    signature: bytes

    def line(self) -> str:
        signed = self.hash + self.seconds.to_bytes(8, "big") + self.signature
        return f"{DASH}{self.name} {base64.b64encode(signed).decode()}\n"

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    @staticmethod
    def of(name: str, signed: bytes) -> "Cosignature":
        """Of a line's name and bytes. Raises: ValueError."""
        seconds = int.from_bytes(signed[4:12], "big")
        if len(signed) != SIGNED_BYTES or not 0 < seconds <= SECONDS_MAX:
            raise ValueError("no cosignature")
        return Cosignature(name, signed[:4], seconds, signed[12:])

    @staticmethod
    def parse(line: str) -> "Cosignature":
        """Only what `line` gives. Raises: ValueError."""
        name, _, encoded = line.removeprefix(DASH).removesuffix("\n").partition(" ")
        require_name(name)
        found = Cosignature.of(name, base64.b64decode(encoded, validate=True))
        if found.line() != line:
            raise ValueError("no cosignature")
        return found


class LogRefused(Exception):
    """A log showed what it can't show if it only grows. Both checkpoints are signed by it: whoever has them can see."""

    kind: ClassVar[Kind]

    def __init__(self, kept: Checkpoint, seen: Checkpoint, zh: str, en: str) -> None:
        self.kept, self.seen = kept, seen
        super().__init__(f"日志 {kept.origin} 被拒绝：{zh}。 / The log {kept.origin} is refused: {en}.")


class LogTruncated(LogRefused):
    """It is shorter than it was."""

    kind = "truncated"

    def __init__(self, kept: Checkpoint, seen: Checkpoint) -> None:
        super().__init__(
            kept,
            seen,
            f"被截短，曾有 {kept.size} 条，现在只有 {seen.size} 条",
            f"it was truncated, for it had {kept.size} facts and now shows {seen.size}",
        )


class LogForked(LogRefused):
    """It has two trees of one size: the signatures alone prove it."""

    kind = "forked"

    def __init__(self, kept: Checkpoint, seen: Checkpoint) -> None:
        super().__init__(
            kept,
            seen,
            f"分叉，同样 {kept.size} 条，签了两个不同的根",
            f"it has forked, for two roots were signed for the same {kept.size} facts",
        )


class LogRewritten(LogRefused):
    """Its tree hasn't grown from the one that was kept."""

    kind = "rewritten"

    def __init__(self, kept: Checkpoint, seen: Checkpoint) -> None:
        super().__init__(
            kept,
            seen,
            f"被改写，前 {kept.size} 条已不是当时签名的那些",
            f"it was rewritten, for its first {kept.size} facts aren't those that were signed",
        )


class LogUnproven(LogRefused):
    """It doesn't show the tree that it signed: it may be damaged, or hide something."""

    kind = "unproven"

    def __init__(self, kept: Checkpoint, seen: Checkpoint) -> None:
        super().__init__(
            kept,
            seen,
            f"没有给出与签名的根相符的瓦片，无法证明 {seen.size} 条由 {kept.size} 条增长而来",
            f"it shows no tiles of the root it signed, so nothing proves that {seen.size} facts grew from {kept.size}",
        )


REFUSALS: Final[tuple[type[LogRefused], ...]] = (LogTruncated, LogForked, LogRewritten, LogUnproven)


def require_growth(kept: Checkpoint, seen: Checkpoint, read_tile: ReadTile) -> None:
    """Hold what a log shows to what was kept of it. ``read_tile`` gives tiles of the tree seen, or raises LookupError.

    Raises: LogTruncated, LogForked, LogRewritten, LogUnproven.
    """
    if seen.size < kept.size:
        raise LogTruncated(kept, seen)
    if seen.size == kept.size:
        if seen.root != kept.root:
            raise LogForked(kept, seen)
        return
    try:
        shown = root_of(seen.size, read_tile)
        path = proof(consistency_ranges(kept.size, seen.size), seen.size, read_tile)
    except LookupError:
        raise LogUnproven(kept, seen) from None
    if shown != seen.root:
        raise LogUnproven(kept, seen)
    if not is_consistent(kept.size, kept.root, seen.size, seen.root, path):
        raise LogRewritten(kept, seen)


class RefusedLog(NamedTuple):
    """What a witness writes down of a log that it refuses: both checkpoints as they were signed, and when it saw."""

    kind: Kind
    seen_at: str
    kept: str
    seen: str

    def text(self) -> str:
        """The file."""
        return f"{REFUSED_FORMAT}\n{self.kind}\n{self.seen_at}\n\n{self.kept}\n{self.seen}"

    @staticmethod
    def parse(text: str) -> "RefusedLog":
        """Raises: ValueError."""
        parts = parts_of(text)
        if len(parts) != 5:
            raise ValueError("no report of a refused log")
        head, kept, kept_signatures, seen, seen_signatures = parts
        lines = head.split("\n")
        kind = next((one.kind for one in REFUSALS if one.kind in lines[1:2]), None)
        if lines[0] != REFUSED_FORMAT or kind is None or len(lines) != 3:
            raise ValueError("no report of a refused log")
        return RefusedLog(kind, lines[2], f"{kept}\n\n{kept_signatures}\n", f"{seen}\n\n{seen_signatures}\n")
