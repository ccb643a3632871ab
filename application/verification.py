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
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from functools import partial
from io import BytesIO
from itertools import accumulate, groupby, zip_longest
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec

from application.bundle import (
    BALANCES,
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
from application.fact_lines import UNREADABLE_LINE, FactLines, FactRead, Unread, decode_line, parsed, read_batches
from application.finding import (
    BALANCES as BALANCE,
)
from application.finding import (
    BUNDLE,
    DRAWN_OTHERWISE,
    FILE_CHANGED,
    FILE_MISSING,
    FILE_UNLISTED,
    KEPT_MAX,
    LINE_CHANGED,
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
from application.inspection import OF_SAMPLES, Past, Redraw
from application.log import Relog
from application.redecision import POSITION_MAX, Redecision
from application.replay import CELLS
from domain.disclosure import PeriodSealed
from domain.fact import Movement
from domain.figures import DEFINITIONS
from domain.inspection import SampleDrawn
from domain.leaf import LeafTooLong, packer
from domain.ledger import LedgerOpened
from domain.merkle import TILE_HASHES
from domain.plain_journal import FORMS, PlainJournal
from domain.policy import PolicyAdopted

BATCH_MOVEMENTS: Final = 256
PARTS: Final = ("log", "fold", "rules", "plain", "files")
"""In the order in which they are told."""
SHARES_MAX: Final = 4
"""How many processes share the deciding: each takes the memory of one."""
LEARNING: Final = 0.38
"""How long a fact takes that another share decides, of how long one's own does: measured, with what the last does
besides."""

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


def verify_log(directory: Path, manifest: Manifest, roots: Roots) -> list[Checked]:
    """The part ``log``. Raises: BundleUnreadable."""
    relog = Relog(
        manifest.ledger,
        manifest.size,
        roots,
        lambda tile: _bytes(directory, tile_path(tile)),
        lambda number, width: _bytes(directory, entries_path(number, width)),
    )
    entries_of = _entries_of(manifest.ledger)
    odd: list[FactLine] = []
    position = 1
    for lines in read_batches(directory, TILE_HASHES):
        packed = entries_of(position, lines)
        if packed is None or not relog.fold_entries(position, *packed):
            _relog_one_by_one(relog, lines, odd)
        position += len(lines)
    relog.close()
    # A line that is written otherwise may be read otherwise; where the fact itself is another one that was told.
    told = {finding.position for finding in relog.findings.found}
    for row in odd:
        if row.position not in told:
            zh, en = "写法不同", "it is written in another way"
            relog.findings.add(Finding(LINE_CHANGED, zh, en, position=row.position, type=row.type))
    return [Checked("log", relog.findings)]


def _relog_one_by_one(relog: Relog, lines: Sequence[bytes], odd: list[FactLine]) -> None:
    for line in lines:
        row = parsed(line)
        if row is None:
            relog.missing(zh="这一行不是事实", en="the line is no fact")
            continue
        if len(odd) < KEPT_MAX and msgspec.json.encode(row) + b"\n" != line:
            odd.append(row)
        relog.fold([(row.position, row.recorded_at_microseconds, row.type, row.tags, bytes(row.data))])


def _entries_of(ledger: str) -> Callable[[int, Sequence[bytes]], tuple[bytes, list[int]] | None]:
    """What bundles the leaves of lines that begin at a position, and tells their lengths; of none where a line isn't
    written as it is exported.

    No line says the same in fewer bytes: so one that is as long as what was read from it says nothing else besides.
    """
    pack = packer(ledger, bundled=True)
    nothing: list[bytes] = []
    # A line and a leaf have type, data and the texts of tags in common.
    shorter = pack(nothing, 1, 0, "", (), b"") - len(msgspec.json.encode(FactLine(0, 0, "", [], msgspec.Raw(b"")))) - 1
    shorter += len("00")

    def entries_of(position: int, lines: Sequence[bytes]) -> tuple[bytes, list[int]] | None:
        pieces: list[bytes] = []
        lengths: list[int] = []
        known_at, digits = 0, 1
        try:
            for line, row in zip(lines, [*map(decode_line, lines)], strict=True):
                at, tags = row.recorded_at_microseconds, row.tags
                if at != known_at:
                    known_at, digits = at, len(str(at))
                length = pack(pieces, position, at, row.type, tags, bytes(row.data))
                lengths.append(length)
                commas = len(tags) - 1 if tags else 0
                written = length - shorter + len(str(position)) + digits + commas
                if written != len(line) or row.position != position:
                    return None
                position += 1
        except (*UNREADABLE_LINE, LeafTooLong, UnicodeEncodeError, struct.error):
            return None
        return b"".join(pieces), lengths

    return entries_of


class _Part(Protocol):
    """What checks facts as they are gone through. Once it has ended, it needs no more of them."""

    @property
    def ended(self) -> bool: ...
    def take(self, facts: Sequence[FactRead | Unread]) -> None: ...
    def checked(self) -> Checked: ...


def verify_facts(
    directory: Path,
    manifest: Manifest,
    decode: Decode,
    *,
    fold: bool = False,
    plain: bool = False,
    share: tuple[int, int | None] | None = None,
) -> list[Checked]:
    """Those of the parts ``fold``, ``rules`` (of a share: from one fact on to another) and ``plain`` that are wanted,
    while going through the facts once. Raises: BundleUnreadable."""
    lines = FactLines(directory, decode, again=fold or share is not None)
    parts: list[_Part] = []
    if fold:
        parts.append(_Fold(directory, manifest, lines))
    if share is not None:
        parts.append(_Rules(lines, *share))
    if plain:
        parts.append(_Plain(directory, manifest))
    with closing(lines):
        for facts in lines.batches():
            for part in parts:
                part.take(facts)
            if all(part.ended for part in parts):
                break
        return [part.checked() for part in parts]


class _Fold:
    """The part ``fold``."""

    ended = False

    def __init__(self, directory: Path, manifest: Manifest, lines: FactLines) -> None:
        self._directory, self._size = directory, manifest.size
        self._findings = Findings()
        self._refold = Refold(manifest.ledger, lines.at)

    def take(self, facts: Sequence[FactRead | Unread]) -> None:
        fold = self._refold.fold
        for fact in facts:
            if isinstance(fact, FactRead):
                fold(fact.position, fact.envelope.fact)
            elif fact.type:  # else it was found where the log is computed again
                self._findings.add(Finding(UNREADABLE, fact.reason, fact.reason, position=fact.number, type=fact.type))

    def checked(self) -> Checked:
        """Raises: BundleUnreadable."""
        refold, findings = self._refold, self._findings
        for finding in recounted(refold.seals, refold.redraw):
            findings.add(finding)
        refold.compare(self._directory, self._size, findings)
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
        if type(fact) in OF_SAMPLES:
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
        cells = self.tally.all_cells(CELLS)
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


class _Rules:
    """The part ``rules``, or a share of it."""

    def __init__(self, lines: FactLines, first: int, last: int | None) -> None:
        self._redecision = Redecision(lines.at, first=first, last=last)
        self._number = 0

    def take(self, facts: Sequence[FactRead | Unread]) -> None:
        for fit, found in groupby(facts, _fit):
            some: list[Any] = [*found]
            before, self._number = self._number, self._number + len(some)
            if fit:
                self._redecision.fold(some)
            else:  # it was found where the log is computed again, or the facts are folded
                self._redecision.pass_over(range(before + 1, self._number + 1))

    @property
    def ended(self) -> bool:
        return self._redecision.ended

    def checked(self) -> Checked:
        redecision = self._redecision
        redecision.close(may_go_on=True)
        return Checked("rules", redecision.findings, commands=redecision.commands, undecided=redecision.undecided)


def _fit(fact: FactRead | Unread) -> bool:
    """Whether a fact could be read, and is where it can be found again."""
    return isinstance(fact, FactRead) and 0 < fact.position <= POSITION_MAX


class _Plain:
    """The part ``plain``."""

    ended = False

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._manifest = manifest
        self._findings = Findings()
        self._plain: PlainJournal | None = None
        self._journals = [PlainFile(directory, name, self._findings) for name in FORMS]
        self._texts: list[list[str]] = [[] for _ in FORMS]

    def take(self, facts: Sequence[FactRead | Unread]) -> None:
        for fact in facts:
            if isinstance(fact, FactRead):
                what = fact.envelope.fact
                if self._plain is None:
                    self._plain = self._begun(what)
                if isinstance(what, Movement):
                    moved = self._plain.movement(fact.position, fact.recorded_at_microseconds, fact.stored_type, what)
                    for chunks, text in zip(self._texts, moved, strict=True):
                        chunks.append(text)
        if len(self._texts[0]) >= BATCH_MOVEMENTS:
            self._compare()

    def _begun(self, first: Any) -> PlainJournal:
        zone = ZoneInfo(first.zone if isinstance(first, LedgerOpened) else "UTC")
        plain = PlainJournal(self._manifest.ledger, zone, synthetic=self._manifest.synthetic)
        self._texts = [[text] for text in plain.head()]
        return plain

    def _compare(self) -> None:
        for journal, chunks in zip(self._journals, self._texts, strict=True):
            journal.compare("".join(chunks).encode())
            chunks.clear()

    def checked(self) -> Checked:
        if self._plain is not None:
            for chunks, text in zip(self._texts, self._plain.end(), strict=True):
                chunks.append(text)
            self._compare()
        for journal in self._journals:
            journal.close()
        return Checked("plain", self._findings)


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


def verify_files(directory: Path, manifest: Manifest) -> list[Checked]:
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
    return [Checked("files", findings)]


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
    shares = _shares(manifest.size, min(SHARES_MAX, processes)) if rules else [None]
    # The last share goes through all facts, and the first ones end before.
    checks: list[Callable[[], list[Checked]]] = [
        partial(
            verify_facts,
            directory,
            manifest,
            decode,
            share=share,
            fold=share is shares[-1],
            plain=plain and share is shares[-1],
        )
        for share in shares[::-1]
    ]
    checks += partial(verify_log, directory, manifest, roots), partial(verify_files, directory, manifest)
    if processes == 1:
        done = [each for check in checks for each in check()]
    else:
        with ProcessPoolExecutor(min(processes, len(checks)), get_context("fork")) as pool:
            running: list[Future[list[Checked]]] = [pool.submit(check) for check in checks]
            done = [each for future in running for each in future.result()]
    return [one for name in PARTS for one in _joined([each for each in done if each.part == name])]


def _shares(size: int, shares: int) -> list[tuple[int, int | None]]:
    """From which fact on and up to which each share decides, so that all take as long."""
    weights = [(1 - LEARNING) ** share for share in range(shares)]
    ends = [round(size * weight / sum(weights)) for weight in accumulate(weights)]
    return [(first + 1, last) for first, last in zip([0, *ends], [*ends[:-1], None], strict=False)]


def _joined(shares: Sequence[Checked]) -> Iterator[Checked]:
    """The shares of one part as the whole of it; none where there is none."""
    if shares:
        whole = shares[0]
        for share in shares[1:]:
            whole.findings.extend(share.findings)
            whole.commands += share.commands
            whole.undecided += share.undecided
        if whole.part == "rules":
            whole.findings.sort()
        yield whole


def _bytes(directory: Path, path: str) -> bytes | None:
    try:
        return (directory / path).read_bytes()
    except OSError:
        return None
