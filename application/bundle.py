"""The bundle: everything that an auditor needs of a ledger, as files, with nobody's personal data in them.

    manifest.json           what the bundle is, and every other file with its length and SHA-256
    facts.jsonl             a fact a line, in order, with its stored bytes verbatim
    log/…                   checkpoint, tiles, entry bundles and key successions, as GET /v1/log/… answers them
    checkpoints/N.note      older signed checkpoints, by the number of facts that they are of
    keys/…                  public keys, one a line: the log's own, oldest first, and those of its witnesses
    policies/VERSION.json   the adopted versions of the rules
    figures.json            the public figures as they were counted for whoever asked at this position
    balances.csv            every account that ever moved, and its minutes; households by their number, too
    journal.…               the movements for ledger, hledger and beancount

Writing streams: the facts are gone through once, in batches, and only balances are kept. The manifest is put in its
place when all else is written, so that without it nothing looks finished. The same ledger, checkpoint and period give
the same bytes. Reading is for whoever verifies: one generator or function a file, and one error for all that can't be
read.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from application.replay import GapInJournal
from domain.account import household_account
from domain.fact import Envelope, Movement
from domain.facts import FACTS
from domain.figures import DEFINITIONS, Figure
from domain.leaf import bundle, encoder
from domain.merkle import TILE_HASHES, Tile, number_path
from domain.plain_journal import FORMS, PlainJournal
from domain.policy import Policy, PolicyAdopted

FORMAT: Final = "timebank-audit-bundle/v1"
MANIFEST: Final = "manifest.json"
FACTS_FILE: Final = "facts.jsonl"
CHECKPOINT: Final = "log/checkpoint"
SUCCESSIONS: Final = "log/successions"
CHECKPOINTS: Final = "checkpoints"
LOG_KEYS: Final = "keys/log.vkey"
WITNESS_KEYS: Final = "keys/witnesses.vkey"
POLICIES: Final = "policies"
FIGURES: Final = "figures.json"
BALANCES: Final = "balances.csv"
BALANCES_HEAD: Final = ("account", "household", "minutes")
_HOUSEHOLD: Final = household_account("")

T = TypeVar("T")
StoredRow = tuple[int, int, str, Sequence[str], bytes]
"""A fact as it is stored: position, recorded-at (Unix microseconds), type, tags, data."""
Decode = Callable[[str, bytes, int], Envelope[Any]]
"""The envelope of stored bytes, by their type; the position is for errors."""


def tile_path(tile: Tile) -> str:
    return f"log/tile/{tile.path}"


def entries_path(number: int, width: int) -> str:
    """Of the entry bundle with the leaves of a tile of level 0."""
    return f"log/tile/entries/{number_path(number, width)}"


def checkpoint_path(size: int) -> str:
    return f"{CHECKPOINTS}/{size}.note"


def policy_path(version: int) -> str:
    return f"{POLICIES}/{version}.json"


class BundleDirectoryInUse(Exception):
    """A bundle is written where nothing is yet."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} 不是空目录；请给出新的或空的目录。 / "
            f"{directory} isn't an empty directory; name a new or empty one."
        )


class BundleUnreadable(Exception):
    """A file of a bundle is missing, or isn't what it should be. ``reason`` is in English."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"审计包里的 {path} 无法读取：{reason} / {path} of the bundle can't be read: {reason}")


class NoSuchPeriod(Exception):
    """A text that is no month, or one that isn't over."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"“{text}”不是已经结束的月份，例：2026-10。 / “{text}” is no month that is over; an example: 2026-10."
        )


class NothingRecorded(Exception):
    """When the period ended the ledger held no fact."""

    def __init__(self, period: str) -> None:
        super().__init__(f"{period} 结束时账本里还没有事实。 / The ledger held no fact when {period} ended.")


class BadBytes(Exception):
    """Stored bytes that no line of a file can hold as they are; the program itself records none such."""

    def __init__(self, position: int) -> None:
        super().__init__(
            f"位置 {position} 的事实含有换行，无法写成一行。 / The fact at position {position} holds a line end."
        )


# ── What is in it ────────────────────────────────────────────────────────────────────────────────────────────────


class Listed(msgspec.Struct, frozen=True):
    """A file of the bundle, as the manifest has it."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle is: a ledger up to its fact number ``size``, and all files but the manifest, by their path."""

    format: str
    ledger: str
    size: int
    period: str | None
    synthetic: bool
    files: tuple[Listed, ...]


class FactLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the facts. ``data`` are the stored bytes."""

    position: int
    recorded_at_microseconds: int
    type: str
    tags: list[str]
    data: msgspec.Raw


class FiguresFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public figures of basis ``recorded`` at a position: in all, and in each of `application.replay.CELLS`."""

    position: int
    figures: Figure
    cells: dict[str, dict[str, Figure]]
    definitions: dict[str, str]


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An adopted version of the rules, and the position of the fact that it was adopted by."""

    version: int
    effective_on: date
    position: int
    policy: Policy


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a bundle is written of. ``facts`` are in batches, in order, ``tiles`` in any; both are gone through once.

    ``balances`` (minutes by account), ``figures`` and ``cells`` are what the projections say at that size.
    """

    ledger: str
    zone: ZoneInfo
    synthetic: bool
    size: int
    period: str | None
    checkpoint: str
    older_checkpoints: dict[int, str]
    successions: str
    log_keys: Sequence[str]
    witness_keys: Sequence[str]
    tiles: Iterable[tuple[Tile, bytes]]
    facts: Iterable[Sequence[StoredRow]]
    decode: Decode
    balances: dict[str, int]
    figures: Figure
    cells: dict[str, dict[str, Figure]]


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def write_bundle(directory: Path, contents: Contents, progress: Callable[[int], None] = lambda _: None) -> Manifest:
    """Write a bundle into a directory that is new or empty. ``progress`` is told how many facts are written.

    Whatever was written is removed again when this fails. Raises: BundleDirectoryInUse, GapInJournal, BadBytes,
    LeafTooLong, what ``facts`` and ``decode`` raise, OSError.
    """
    with ExitStack() as stack:
        files = _Files(directory)
        stack.callback(files.remove)
        files.write(CHECKPOINT, contents.checkpoint.encode())
        files.write(SUCCESSIONS, contents.successions.encode())
        for size, note in contents.older_checkpoints.items():
            files.write(checkpoint_path(size), note.encode())
        files.write(LOG_KEYS, _lines(contents.log_keys))
        files.write(WITNESS_KEYS, _lines(contents.witness_keys))
        for tile, hashes in contents.tiles:
            files.write(tile_path(tile), hashes)
        _write_facts(files, contents, progress)
        definitions = {name: f"{zh} / {en}" for name, (zh, en) in DEFINITIONS.items()}
        files.write(FIGURES, _json(FiguresFile(contents.size, contents.figures, contents.cells, definitions)))
        files.write(BALANCES, _balances(contents.balances))
        manifest = Manifest(FORMAT, contents.ledger, contents.size, contents.period, contents.synthetic, files.listed())
        files.finish(_json(manifest))
        stack.pop_all()
    return manifest


_OTHERS: Final = frozenset(
    name for name, fact in FACTS.items() if not issubclass(fact, Movement) and fact is not PolicyAdopted
)
"""Types whose facts neither move minutes nor adopt rules: they are not decoded to be written. Superseded and unknown
ones aren't among them."""


def _write_facts(files: "_Files", contents: Contents, progress: Callable[[int], None]) -> None:
    """Everything that is made of the facts themselves, in one pass."""
    encode_line, encode_leaf = msgspec.json.Encoder().encode, encoder(contents.ledger)
    plain = PlainJournal(contents.ledger, contents.zone, synthetic=contents.synthetic)
    leaves: list[bytes] = []
    policies: dict[int, PolicyFile] = {}
    position = 0
    with ExitStack() as stack:
        lines = stack.enter_context(files.open(FACTS_FILE))
        journals = [stack.enter_context(files.open(name)) for name in FORMS]
        texts: list[list[str]] = [[text] for text in plain.head()]
        for batch in contents.facts:
            written: list[bytes] = []
            for row in batch:
                position += 1
                if row[0] != position:
                    raise GapInJournal(position, row[0])
                _, recorded_at_microseconds, type_, tags, data = row
                if b"\n" in data:
                    raise BadBytes(position)
                line = FactLine(position, recorded_at_microseconds, type_, list(tags), msgspec.Raw(data))
                written += (encode_line(line), b"\n")
                leaves.append(encode_leaf(position, recorded_at_microseconds, type_, tags, data))
                if len(leaves) == TILE_HASHES:
                    files.write(entries_path((position - 1) // TILE_HASHES, TILE_HASHES), bundle(leaves))
                    leaves.clear()
                if type_ in _OTHERS:
                    continue
                fact = contents.decode(type_, data, position).fact
                if isinstance(fact, Movement):
                    moved = plain.movement(position, recorded_at_microseconds, type_, fact)
                    for chunks, text in zip(texts, moved, strict=True):
                        chunks.append(text)
                elif isinstance(fact, PolicyAdopted):
                    policies[fact.version] = PolicyFile(fact.version, fact.effective_on, position, fact.policy)
            lines.write(b"".join(written))
            for journal, chunks in zip(journals, texts, strict=True):
                journal.write("".join(chunks).encode())
                chunks.clear()
            progress(position)
        for journal, text in zip(journals, plain.end(), strict=True):
            journal.write(text.encode())
    if position != contents.size:
        raise GapInJournal(position + 1, contents.size)
    if leaves:
        files.write(entries_path(position // TILE_HASHES, len(leaves)), bundle(leaves))
    for version, adopted in policies.items():
        files.write(policy_path(version), _json(adopted))


def _balances(balances: dict[str, int]) -> bytes:
    """Households by their number, then the other accounts."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(BALANCES_HEAD)
    for account in sorted(balances, key=lambda name: (not name.startswith(_HOUSEHOLD), name)):
        household = account.removeprefix(_HOUSEHOLD) if account.startswith(_HOUSEHOLD) else ""
        table.writerow((account, household, balances[account]))
    return text.getvalue().encode()


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def _json(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


class _File:
    """A file that is being written, and what the manifest will say of it."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._bytes = 0
        self._sha256 = hashlib.sha256()

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._sha256.update(content)
        self._bytes += len(content)

    def listed(self) -> Listed:
        return Listed(self._path, self._bytes, self._sha256.hexdigest())

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Files:
    """The files of a bundle that is being written, each new, and the directories that were made for them."""

    def __init__(self, directory: Path) -> None:
        """Raises: BundleDirectoryInUse."""
        self._directory = directory
        self._written: list[_File] = []
        self._paths: list[Path] = []
        self._made: list[Path] = []
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise BundleDirectoryInUse(directory)
        self._make(directory)

    def _make(self, directory: Path) -> None:
        if directory.is_dir():
            return
        self._make(directory.parent)
        # Facts name people by their numbers: what is made here is its owner's alone.
        directory.mkdir(mode=0o700)
        self._made.append(directory)

    def open(self, path: str) -> _File:
        place = self._directory / path
        if place.parent != (self._paths[-1].parent if self._paths else None):
            self._make(place.parent)
        file = _File(path, place.open("xb"))
        self._paths.append(place)
        self._written.append(file)
        return file

    def write(self, path: str, content: bytes) -> None:
        with self.open(path) as file:
            file.write(content)

    def listed(self) -> tuple[Listed, ...]:
        return tuple(sorted((file.listed() for file in self._written), key=lambda listed: listed.path))

    def finish(self, manifest: bytes) -> None:
        """Put the manifest in its place: all of it or, whenever this is killed, nothing that looks like one."""
        fresh = self._directory / f".{MANIFEST}"
        self._paths.append(fresh)
        with fresh.open("xb") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._directory / MANIFEST)
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Leave what was there before. What can't be removed is left; without its manifest it is no bundle."""
        for path in reversed(self._paths):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        for directory in reversed(self._made):
            # Somebody else may have put something there meanwhile.
            with suppress(OSError):
                directory.rmdir()


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def read_manifest(directory: Path) -> Manifest:
    """Raises: BundleUnreadable."""
    manifest = _decoded(directory, MANIFEST, Manifest)
    if manifest.format != FORMAT:
        raise BundleUnreadable(MANIFEST, f"its format is {manifest.format!r}, not {FORMAT!r}")
    return manifest


def read_facts(directory: Path) -> Iterator[FactLine]:
    """The facts in the order of their lines, as they were stored: position by position is for the caller to check.

    Raises: BundleUnreadable, at the line that is none.
    """
    decode = msgspec.json.Decoder(FactLine).decode
    try:
        with (directory / FACTS_FILE).open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise BundleUnreadable(FACTS_FILE, f"line {number}: {error}") from None
    except OSError as error:
        raise BundleUnreadable(FACTS_FILE, error.strerror or str(error)) from None


def read_checkpoints(directory: Path) -> dict[int, str]:
    """The older checkpoints by their size, the smallest first. Raises: BundleUnreadable."""
    folder = directory / CHECKPOINTS
    found: dict[int, str] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if not re.fullmatch(r"(0|[1-9][0-9]{0,18})\.note", path.name, re.ASCII):
            raise BundleUnreadable(f"{CHECKPOINTS}/{path.name}", "it isn't named for a size")
        found[int(path.stem)] = read_text(directory, f"{CHECKPOINTS}/{path.name}")
    return dict(sorted(found.items()))


def read_keys(directory: Path, path: str) -> list[str]:
    """The public keys of one of the two files of them, as texts. Raises: BundleUnreadable."""
    return read_text(directory, path).splitlines()


def read_policies(directory: Path) -> dict[int, PolicyFile]:
    """The adopted policies by version. Raises: BundleUnreadable."""
    folder = directory / POLICIES
    paths = folder.iterdir() if folder.is_dir() else ()
    found = [_decoded(directory, f"{POLICIES}/{path.name}", PolicyFile) for path in paths]
    return {one.version: one for one in sorted(found, key=lambda one: one.version)}


def read_figures(directory: Path) -> FiguresFile:
    """Raises: BundleUnreadable."""
    return _decoded(directory, FIGURES, FiguresFile)


def read_balances(directory: Path) -> dict[str, int]:
    """Minutes by account, in the file's order. Raises: BundleUnreadable."""
    rows = csv.reader(io.StringIO(read_text(directory, BALANCES)), strict=True)
    found: dict[str, int] = {}
    try:
        if tuple(next(rows, ())) != BALANCES_HEAD:
            raise BundleUnreadable(BALANCES, "its columns are others")
        for account, household, minutes in rows:
            named = account.removeprefix(_HOUSEHOLD) if account.startswith(_HOUSEHOLD) else ""
            if account in found or household != named:
                raise BundleUnreadable(BALANCES, f"line {rows.line_num}: {account} comes twice or names another")
            found[account] = int(minutes)
    except (csv.Error, ValueError) as error:
        raise BundleUnreadable(BALANCES, f"line {rows.line_num}: {error}") from None
    return found


def read_text(directory: Path, path: str) -> str:
    """A text of the bundle, to the byte. Raises: BundleUnreadable."""
    try:
        return (directory / path).read_bytes().decode()
    except OSError as error:
        raise BundleUnreadable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise BundleUnreadable(path, str(error)) from None


def _decoded(directory: Path, path: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode((directory / path).read_bytes(), type=kind)
    except OSError as error:
        raise BundleUnreadable(path, error.strerror or str(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleUnreadable(path, str(error)) from None
