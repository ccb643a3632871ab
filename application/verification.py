"""A bundle verified offline: without a database, without a network, and without trusting whoever wrote it.

    log      every line is the leaf that was sealed; tiles, entry bundles and roots are those of the leaves
    fold     facts decode; balances, figures, rules, seals and samples are what they come to
    rules    every fact is decided again
    plain    the plain-text journals are, to the byte, what the facts give
    files    every file is the one that the manifest names

Who signed is checked before, by whoever knows the keys: here the roots come as they were signed. The parts need nothing
of each other, so each runs in a process of its own where there are processors. None of them holds the facts: each goes
through them once, and reads again only where a decision asks for something long past.
"""

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final
from zoneinfo import ZoneInfo

import msgspec

from application.bundle import (
    BALANCES,
    FACTS_FILE,
    FIGURES,
    MANIFEST,
    POLICIES,
    BundleUnreadable,
    Decode,
    FactLine,
    FiguresFile,
    Manifest,
    PolicyFile,
    entries_path,
    policy_path,
    read_balances,
    read_figures,
    read_policies,
    tile_path,
)
from application.disclosure import SealRecount
from application.finding import (
    BALANCES as BALANCE,
)
from application.finding import (
    BUNDLE,
    DRAWN_OTHERWISE,
    FILE_CHANGED,
    FILE_MISSING,
    FILE_UNLISTED,
    NOT_CONSERVED,
    PLAIN,
    SEALED_OTHERWISE,
    UNREADABLE,
    Finding,
    Findings,
)
from application.finding import (
    FIGURES as FIGURE,
)
from application.finding import (
    POLICIES as POLICY,
)
from application.inspection import Past, Redraw
from application.log import Relog, Row
from application.redecision import POSITION_MAX, Redecision
from application.replay import CELLS
from domain.disclosure import PeriodSealed
from domain.fact import Movement, Recorded
from domain.facts import FACTS
from domain.figures import DEFINITIONS
from domain.inspection import SampleDrawn
from domain.ledger import LedgerOpened
from domain.plain_journal import FORMS, PlainJournal
from domain.policy import PolicyAdopted

BATCH_FACTS: Final = 2_000
MOVEMENTS: Final = frozenset(name for name, fact in FACTS.items() if issubclass(fact, Movement))
"""Stored types of which plain-text journals are made: of movements no version was superseded."""
PARTS: Final = ("log", "fold", "rules", "plain", "files")
"""In the order in which they are told."""
SHARES_MAX: Final = 4
"""How many processes share the deciding: each takes the memory of one."""
_READ_BYTES: Final = 1 << 20

Roots = Mapping[int, Sequence[tuple[str, bytes]]]


class Checked(msgspec.Struct):
    """What one part of the verification came to."""

    part: str
    findings: Findings
    facts: int = 0
    movements: int = 0
    commands: int = 0
    seals: int = 0
    samples: int = 0
    undecided: int = 0
    """Facts at the end whose command may go on beyond the bundle."""
    figures: Any = None


class FactLines:
    """The facts of a bundle in the order of their lines, and again by their positions."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FACTS_FILE
        self._decode = msgspec.json.Decoder(FactLine).decode
        self._starts = array("Q")
        self._positions = array("q")

    def __iter__(self) -> Iterator[FactLine | None]:
        """None in the place of a line that is no fact. Raises: BundleUnreadable."""
        decode, starts, positions = self._decode, self._starts, self._positions
        at = 0
        try:
            with self._path.open("rb", _READ_BYTES) as file:
                for line in file:
                    starts.append(at)
                    at += len(line)
                    try:
                        fact = decode(line)
                        positions.append(fact.position)
                        yield fact
                    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
                        positions.append(0)
                        yield None
        except OSError as error:
            raise BundleUnreadable(FACTS_FILE, error.strerror or str(error)) from None

    def at(self, positions: Sequence[int]) -> Iterator[FactLine]:
        """The facts at some positions, which were gone through before."""
        with self._path.open("rb") as file:
            for position in positions:
                at = position - 1
                if self._positions[at : at + 1] != array("q", (position,)):  # lines were removed or swapped
                    at = self._positions.index(position)
                file.seek(self._starts[at])
                yield self._decode(file.readline())


def verify_log(directory: Path, manifest: Manifest, roots: Roots) -> Checked:
    """The part ``log``. Raises: BundleUnreadable."""
    relog = Relog(
        manifest.ledger,
        manifest.size,
        roots,
        lambda tile: _bytes(directory, tile_path(tile)),
        lambda number, width: _bytes(directory, entries_path(number, width)),
    )
    rows: list[Row] = []

    def hand() -> None:
        relog.fold(rows)
        rows.clear()

    for line in FactLines(directory):
        if line is None:
            hand()
            relog.missing(zh="这一行不是事实", en="the line is no fact")
            continue
        rows.append((line.position, line.recorded_at_microseconds, line.type, line.tags, bytes(line.data)))
        if len(rows) == BATCH_FACTS:
            hand()
    hand()
    relog.close()
    return Checked("log", relog.findings)


def verify_fold(directory: Path, manifest: Manifest, decode: Decode) -> Checked:
    """The part ``fold``. Raises: BundleUnreadable."""
    findings = Findings()
    lines = FactLines(directory)
    refold = Refold(manifest.ledger, lambda positions: map(partial(_recorded, decode), lines.at(positions)))
    fold = refold.fold
    for number, line in enumerate(lines, 1):
        if line is None:
            continue  # found where the log is computed again
        try:
            fact = decode(line.type, bytes(line.data), line.position).fact
        except ValueError as error:
            findings.add(Finding(UNREADABLE, str(error), str(error), position=number, type=line.type))
        else:
            fold(line.position, fact)
    for finding in recounted(refold.seals, refold.redraw):
        findings.add(finding)
    refold.compare(directory, manifest.size, findings)
    return Checked(
        "fold",
        findings,
        facts=refold.facts,
        movements=refold.movements,
        seals=refold.seals.seals,
        samples=refold.redraw.samples,
        figures=refold.tally.figures(),
    )


def recounted(seals: SealRecount, redraw: Redraw) -> Iterator[Finding]:
    """What seals and samples say that the facts before them don't come to."""
    for difference in seals.differences:
        yield difference.finding(SEALED_OTHERWISE, PeriodSealed.type)
    for difference in redraw.differences:
        yield difference.finding(DRAWN_OTHERWISE, SampleDrawn.type)


class Refold:
    """Balances, figures and rules, as the facts come to; and every seal and every sample, as the facts before it do."""

    def __init__(self, ledger: str, past: Past) -> None:
        self.facts = 0
        self.movements = 0
        self.balances: dict[str, int] = {}
        self.seals = SealRecount(ledger)
        self.redraw = Redraw(ledger, past)
        self.tally = self.seals.periods.tally
        self._policies: dict[int, PolicyFile] = {}

    def fold(self, position: int, fact: Any) -> None:
        self.facts += 1
        if isinstance(fact, Movement):
            self.movements += 1
            balances, minutes = self.balances, fact.minutes
            balances[fact.source] = balances.get(fact.source, 0) - minutes
            balances[fact.target] = balances.get(fact.target, 0) + minutes
        elif isinstance(fact, PolicyAdopted):
            self._policies[fact.version] = PolicyFile(fact.version, fact.effective_on, position, fact.policy)
        self.seals.fold(position, fact)
        self.redraw.fold(position, fact)

    def compare(self, directory: Path, size: int, findings: Findings) -> None:
        """Find where the files of a bundle say otherwise. What can't be read is found as that."""
        total = sum(self.balances.values())
        if total:
            findings.add(Finding(NOT_CONSERVED, f"合计 {total} 分钟", f"they come to {total} minutes"))
        for compare in (self._compare_balances, self._compare_policies, self._compare_figures):
            try:
                compare(directory, size, findings)
            except BundleUnreadable as error:
                findings.add(Finding(BUNDLE, error.reason, error.reason, error.path))

    def _compare_balances(self, directory: Path, _: int, findings: Findings) -> None:
        written = read_balances(directory)
        for account in sorted(written.keys() | self.balances.keys()):
            _compare(BALANCE, BALANCES, account, written.get(account), self.balances.get(account), findings)

    def _compare_policies(self, directory: Path, _: int, findings: Findings) -> None:
        written = read_policies(directory)
        for version in sorted(written.keys() | self._policies.keys()):
            place = policy_path(version)
            one, other = (
                None if each is None else msgspec.to_builtins(each)
                for each in (written.get(version), self._policies.get(version))
            )
            if one is None or other is None:
                _compare(POLICY, POLICIES, f"version {version}", one and "", other and "", findings)
                continue
            for name in ("version", "effective_on", "position"):
                _compare(POLICY, place, name, one[name], other[name], findings)
            for name in one["policy"]:
                _compare(POLICY, place, name, one["policy"][name], other["policy"][name], findings)

    def _compare_figures(self, directory: Path, size: int, findings: Findings) -> None:
        written = read_figures(directory)
        definitions = {name: f"{zh} / {en}" for name, (zh, en) in DEFINITIONS.items()}
        cells = {name: self.tally.cells(by, level=level) for name, (by, level) in CELLS.items()}
        ours = FiguresFile(size, self.tally.figures(), cells, definitions)
        _compare(FIGURE, FIGURES, "position", written.position, ours.position, findings)
        for name in ours.figures.__struct_fields__:
            _compare(FIGURE, FIGURES, name, getattr(written.figures, name), getattr(ours.figures, name), findings)
        for by in ours.cells.keys() | written.cells.keys():
            one, other = written.cells.get(by, {}), ours.cells.get(by, {})
            for key in sorted(one.keys() | other.keys()):
                _compare(FIGURE, FIGURES, f"{by} {key}", one.get(key), other.get(key), findings)
        for name in ours.definitions.keys() | written.definitions.keys():
            said, right = written.definitions.get(name), ours.definitions.get(name)
            _compare(FIGURE, FIGURES, f"definition of {name}", said, right, findings)


def _compare(kind: str, place: str, what: str, written: object, ours: object, findings: Findings) -> None:
    if written != ours:
        said, right = (msgspec.json.encode(each).decode() for each in (written, ours))
        zh, en = f"{what}：写着 {said}，应为 {right}", f"{what}: {said} instead of {right}"
        findings.add(Finding(kind, zh, en, place))


def _recorded(decode: Decode, line: FactLine) -> Recorded[Any]:
    """Raises: ValueError for what can't be decoded."""
    envelope = decode(line.type, bytes(line.data), line.position)
    return Recorded(line.position, line.recorded_at_microseconds, envelope)


def verify_rules(directory: Path, decode: Decode, share: int = 0, shares: int = 1) -> Checked:
    """The part ``rules``, or a share of it. Raises: BundleUnreadable."""
    lines = FactLines(directory)
    recorded = partial(_recorded, decode)
    redecision = Redecision(lambda positions: map(recorded, lines.at(positions)), share=share, shares=shares)
    for number, line in enumerate(lines, 1):
        try:
            if line is None or not 0 < line.position <= POSITION_MAX:
                raise ValueError
            redecision.take(recorded(line), line.tags)
        except ValueError:
            redecision.pass_over(number)  # found where the log is computed again
    redecision.close(may_go_on=True)
    return Checked("rules", redecision.findings, commands=redecision.commands, undecided=redecision.undecided)


def verify_plain(directory: Path, manifest: Manifest, decode: Decode) -> Checked:
    """The part ``plain``. Raises: BundleUnreadable."""
    findings = Findings()
    plain: PlainJournal | None = None
    journals = [PlainFile(directory, name, findings) for name in FORMS]
    texts: list[list[str]] = [[] for _ in FORMS]
    waiting = 0
    for line in FactLines(directory):
        if line is None or (plain is not None and line.type not in MOVEMENTS):
            continue
        try:
            fact = decode(line.type, bytes(line.data), line.position).fact
        except ValueError:
            continue  # found where the facts are folded
        if plain is None:
            zone = ZoneInfo(fact.zone if isinstance(fact, LedgerOpened) else "UTC")
            plain = PlainJournal(manifest.ledger, zone, synthetic=manifest.synthetic)
            for chunks, text in zip(texts, plain.head(), strict=True):
                chunks.append(text)
        if isinstance(fact, Movement):
            moved = plain.movement(line.position, line.recorded_at_microseconds, line.type, fact)
            for chunks, text in zip(texts, moved, strict=True):
                chunks.append(text)
            waiting += 1
            if waiting == BATCH_FACTS:
                for journal, chunks in zip(journals, texts, strict=True):
                    journal.compare("".join(chunks).encode())
                    chunks.clear()
                waiting = 0
    if plain is not None:
        for journal, chunks, text in zip(journals, texts, plain.end(), strict=True):
            journal.compare("".join((*chunks, text)).encode())
    for journal in journals:
        journal.close()
    return Checked("plain", findings)


class PlainFile:
    """One file that is compared with what it should be, piece by piece, up to the first line that differs."""

    def __init__(self, directory: Path, name: str, findings: Findings) -> None:
        self._name = name
        self._findings = findings
        self._line = 1
        self._differs = False
        self._file: BinaryIO = BytesIO()
        try:
            self._file = (directory / name).open("rb")
        except OSError as error:
            self._differs = True
            self._find(error.strerror or str(error), error.strerror or str(error))

    def compare(self, wanted: bytes) -> None:
        if self._differs:
            return
        found = self._file.read(len(wanted))
        if found == wanted:
            self._line += wanted.count(b"\n")
            return
        for one, other in zip_longest(found.splitlines(), wanted.splitlines()):
            if one != other:
                said, right = (_shown(each) for each in (one, other))
                self._find(
                    f"第 {self._line} 行写着 {said}，应为 {right}", f"line {self._line}: {said} instead of {right}"
                )
                break
            self._line += 1
        else:
            self._find(f"第 {self._line} 行的换行不同", f"line {self._line}: its end is another one")
        self._differs = True

    def close(self) -> None:
        """Nothing comes after what should be there."""
        with self._file:
            more = b"" if self._differs else self._file.readline()
            if more:
                self._find(f"第 {self._line} 行多出 {_shown(more)}", f"line {self._line}: {_shown(more)} is too much")

    def _find(self, zh: str, en: str) -> None:
        self._findings.add(Finding(PLAIN, zh, en, self._name))


def _shown(line: bytes | None) -> str:
    return "—" if line is None else repr(line.decode(errors="replace").rstrip("\n"))


def verify_files(directory: Path, manifest: Manifest) -> Checked:
    """The part ``files``."""
    findings = Findings()
    listed = {MANIFEST}
    for file in manifest.files:
        listed.add(file.path)
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts:
            findings.add(Finding(BUNDLE, "路径在审计包之外", "its path is outside of the bundle", file.path))
            continue
        try:
            with (directory / path).open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
                length = content.tell()
        except OSError as error:
            reason = error.strerror or str(error)
            findings.add(Finding(FILE_MISSING, reason, reason, file.path))
            continue
        if (length, sha256) != (file.bytes, file.sha256):
            zh = f"{length} 字节、{sha256}，清单写着 {file.bytes}、{file.sha256}"
            en = f"{length} bytes, {sha256}; the manifest says {file.bytes}, {file.sha256}"
            findings.add(Finding(FILE_CHANGED, zh, en, file.path))
    for name in _all_files(directory):
        if name not in listed:
            findings.add(Finding(FILE_UNLISTED, "清单里没有", "the manifest doesn't name it", name))
    return Checked("files", findings)


def _all_files(directory: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            yield (Path(folder) / name).relative_to(directory).as_posix()


def verify_parts(
    directory: Path,
    manifest: Manifest,
    roots: Roots,
    decode: Decode,
    *,
    rules: bool = True,
    plain: bool = True,
    processes: int | None = None,
) -> list[Checked]:
    """All parts (``rules`` and ``plain`` where they are wanted), each in a process of its own where there are
    processors; in the order in which they are told.

    ``decode`` raises a ValueError for what can't be decoded. Raises: BundleUnreadable.
    """
    processes = processes or os.cpu_count() or 1
    # The longest first. Deciding is shared by as many as there are: each folds all facts, and decides some.
    parts: list[tuple[Callable[..., Checked], tuple[Any, ...]]] = []
    shares = min(SHARES_MAX, processes)
    if rules:
        parts += [(verify_rules, (directory, decode, share, shares)) for share in range(shares)]
    if plain:
        parts.append((verify_plain, (directory, manifest, decode)))
    parts.append((verify_fold, (directory, manifest, decode)))
    parts.append((verify_log, (directory, manifest, roots)))
    parts.append((verify_files, (directory, manifest)))
    if processes == 1:
        done = [check(*arguments) for check, arguments in parts]
    else:
        with ProcessPoolExecutor(min(processes, len(parts)), get_context("fork")) as pool:
            running: list[Future[Checked]] = [pool.submit(check, *arguments) for check, arguments in parts]
            done = [future.result() for future in running]
    return [one for name in PARTS for one in _joined([each for each in done if each.part == name])]


def _joined(shares: Sequence[Checked]) -> Iterator[Checked]:
    """The shares of one part as the whole of it; none where there is none."""
    if shares:
        whole = shares[0]
        for share in shares[1:]:
            whole.findings.extend(share.findings)
            whole.undecided += share.undecided
        if whole.part == "rules":
            whole.findings.sort()
        yield whole


def _bytes(directory: Path, path: str) -> bytes | None:
    try:
        return (directory / path).read_bytes()
    except OSError:
        return None
