"""Importing a district's own books: every row decided by the same rules, then all of them recorded at once.

Rows are decided against the journal and against each other in memory; nothing is written before the last row is
known to be good (or, with ``skip_bad``, known to be refused). Each row is a command with an id of its own, made from
its record number and status, so importing a file again adds nothing, a changed row is noticed, and what an office has
settled since its last export is settled by the next.
"""

import contextlib
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import tzinfo
from itertools import accumulate, chain, islice, pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from application.hours_file import HoursFile, HoursRow, RefusedRows, RowProblem, open_hours_file
from application.hours_reading import HoursReading
from application.write_loop import Accepted, CommandIdReused, Ticket, Writer
from domain.account import BalanceTooLow, HoursConfirmed, HoursReversed
from domain.decision import Reading
from domain.fact import Envelope, Recorded
from domain.hours import (
    ConfirmedByLogger,
    ConfirmedByOwnHousehold,
    DayTooLong,
    InTheFuture,
    MemberElsewhere,
    OwnHouseholdServed,
    RecordAboveCap,
    RecordAlreadyLogged,
    RecordAlreadySettled,
    RecordOverlaps,
    RecordTooLong,
    RecordTooShort,
)
from domain.household import ClosedHousehold, MemberHasDied
from domain.journal import Conflict, FactStore
from domain.policy import NoPolicyInForce
from domain.refusal import Refusal

CHUNK_ROWS: Final = 1_000
CONFLICTS_MAX: Final = 5
STATES_MAX: Final = 200_000
"""States kept in each of the writer's two generations: the people and places of a district, and some weeks of days."""

_FIELDS: Final[dict[type[Refusal], str]] = {
    BalanceTooLow: "minutes",
    ClosedHousehold: "household",
    ConfirmedByLogger: "confirmed_by",
    ConfirmedByOwnHousehold: "confirmed_by",
    DayTooLong: "minutes",
    InTheFuture: "date",
    MemberElsewhere: "household",
    MemberHasDied: "volunteer",
    NoPolicyInForce: "date",
    OwnHouseholdServed: "recipient_household",
    RecordAboveCap: "minutes",
    RecordAlreadySettled: "status",
    RecordOverlaps: "start",
    RecordTooLong: "minutes",
    RecordTooShort: "minutes",
}
"""The column that a refusal speaks of; any other speaks of the record number."""


class SyntheticFile(Exception):
    """Synthetic rows must never meet real ones."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} 是合成数据，不能导入真实账本。 / "
            f"{path.name} holds synthetic data and can't be imported into a real ledger."
        )


class ImportReport(msgspec.Struct):
    """What an import did, or with ``dry_run`` would do. Minutes are of service, confirmed and unreversed."""

    file: str
    dry_run: bool
    synthetic: bool
    rows: int = 0
    rows_imported: int = 0
    rows_already_there: int = 0
    rows_refused: int = 0
    facts: int = 0
    service_minutes: int = 0
    service_records: int = 0
    by_status: dict[str, int] = {}
    position: int | None = None
    refused_file: str | None = None
    ignored_columns: list[str] = []
    ignored_sheets: list[str] = []
    problems: list[RowProblem] = []


class _Tags:
    """The tags of each envelope in turn, kept one after the other. A list an envelope would be hundreds of thousands of
    objects for the interpreter to search for garbage again and again."""

    def __init__(self) -> None:
        self._tags: list[str] = []
        self._bounds = array("q", [0])
        """Where each envelope's begin, and where the last one's end."""

    def add(self, tags: Sequence[Sequence[str]]) -> None:
        end = self._bounds.pop()
        self._bounds.extend(accumulate(map(len, tags), initial=end))
        self._tags += chain.from_iterable(tags)

    def __iter__(self) -> Iterator[list[str]]:
        return self.after(0)

    def after(self, envelopes: int) -> Iterator[list[str]]:
        """Those of the envelopes after so many."""
        return (self._tags[start:end] for start, end in pairwise(self._bounds[envelopes:]))


class Held:
    """What was decided for one file and is not recorded yet, on top of the facts up to ``after``.

    Hardly any tag is asked for again while its facts are held: what is asked often is remembered by the writer, and
    the rest is new. So where each tag occurs is worked out when the first of them is asked for. It is a chain of
    entries, each with the one before it, and no list a tag, for the same reason as in `_Tags`.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self.envelopes: list[Envelope[Any]] = []
        self._tags = _Tags()
        self._tags_held: set[str] = set()
        self._boundary: set[Reading[Any]] = set()
        self._commands: set[str] = set()
        self._envelopes_entered = 0
        self._last_entry: dict[str, int] = {}
        """Of each tag. An entry has the index of its envelope, and the entry before it (-1: there is none)."""
        self._entry_envelopes = array("q")
        self._entries_before = array("q")

    @property
    def head(self) -> int:
        return self.after + len(self.envelopes)

    def add(
        self,
        envelopes: Sequence[Envelope[Any]],
        tags: Sequence[Sequence[str]],
        boundary: Collection[Reading[Any]],
        commands: Collection[str],
    ) -> None:
        self.envelopes += envelopes
        self._tags.add(tags)
        self._tags_held.update(*tags)
        self._boundary.update(boundary)
        self._commands.update(commands)

    def bearing(self, tags: Iterable[str]) -> set[str]:
        """Of some tags, those that its facts bear."""
        return self._tags_held.intersection(tags)

    def tagged(self, tags: Iterable[str]) -> list[Recorded[Any]]:
        """The facts that bear one of the tags, once for each of them; their time is not known yet."""
        held = self.bearing(tags)
        if not held:
            return []
        self._enter()
        found: list[int] = []
        for tag in held:
            entry = self._last_entry[tag]
            while entry >= 0:
                found.append(self._entry_envelopes[entry])
                entry = self._entries_before[entry]
        return [Recorded(self.after + 1 + index, 0, self.envelopes[index]) for index in found]

    def _enter(self) -> None:
        """Enter the tags of what was added since the last time."""
        last_entry, entry = self._last_entry, len(self._entry_envelopes)
        of_envelope, before = self._entry_envelopes.append, self._entries_before.append
        for index, tags in enumerate(self._tags.after(self._envelopes_entered), self._envelopes_entered):
            for tag in tags:
                before(last_entry.get(tag, -1))
                of_envelope(index)
                last_entry[tag] = entry
                entry += 1
        self._envelopes_entered = len(self.envelopes)

    def record(self, store: FactStore) -> int:
        """Record all of it in one append; returns the first position.

        Raises: Conflict when others recorded meanwhile what was decided on; StoreUnavailable.
        """
        first, _ = store.append(self.envelopes, self._boundary, self._commands, self.after, self._tags)
        return first


class PendingStore:
    """A fact store that holds back what is appended, so that many batches can be recorded as one, or not at all.

    Reads see the journal as it stood at the beginning, and what was held back since. What is being recorded counts as
    recorded where it is expected to be; whoever records it must see whether that comes true.
    """

    def __init__(self, store: FactStore) -> None:
        self._store = store
        self._leaving: Held | None = None
        self.held = Held(store.head())

    def release(self) -> Held:
        """Let go of what is held, for it to be recorded, and hold what comes next on top of it."""
        self._leaving, self.held = self.held, Held(self.held.head)
        return self._leaving

    def settled(self) -> None:
        """What was let go is in the journal now, where it was expected to be."""
        self._leaving = None

    def head(self) -> int:
        return self.held.head

    def recall(self, readings: Collection[Reading[Any]]) -> tuple[int, dict[Reading[Any], Any]]:
        position, states = self._store.recall(readings)
        return (position, states) if position <= self.held.after else (0, {})

    def borne(self, tags: Collection[str], head: int) -> Collection[str]:
        del head
        held = self.held.bearing(tags)
        if self._leaving is not None:
            held |= self._leaving.bearing(tags)
        return held.union(self._store.borne(tags, self.held.after))

    def read_boundary(
        self, tags: Collection[str], head: int, recalled: Collection[str] = (), recalled_position: int = 0
    ) -> tuple[Sequence[Recorded[Any]], Sequence[Recorded[Any]]]:
        del head
        cold, _ = self._store.read_boundary(tags, self.held.after, recalled, recalled_position)
        pending = self.held.tagged((*tags, *recalled))
        if self._leaving is not None:
            pending += self._leaving.tagged((*tags, *recalled))
        if not pending:
            return cold, ()
        by_position = {recorded.position: recorded for recorded in (*cold, *pending)}
        return [by_position[position] for position in sorted(by_position)], ()

    def append(
        self,
        envelopes: Sequence[Envelope[Any]],
        boundary: Collection[Reading[Any]],
        commands: Collection[str],
        after: int,
        tags: Iterable[Sequence[str]] | None = None,
    ) -> tuple[int, int]:
        del after
        first = self.held.head + 1
        tags = [envelope.tags() for envelope in envelopes] if tags is None else list(tags)
        self.held.add(envelopes, tags, boundary, commands)
        return first, 0

    def scan(self, after: int = 0, to: int | None = None) -> Iterator[Iterable[Recorded[Any]]]:
        return self._store.scan(after, to)


class HoursImport:
    """One file on its way into one ledger. ``names`` and ``remarks`` are what belongs to the vault."""

    def __init__(self, store: FactStore, zone: tzinfo, path: Path, *, ledger_is_synthetic: bool) -> None:
        """Raises: HoursFileError; SyntheticFile."""
        self.store = store
        self.zone = zone
        self.file: HoursFile = open_hours_file(path, zone)
        if self.file.synthetic and not ledger_is_synthetic:
            raise SyntheticFile(path)
        self.names: dict[str, str] = {}
        self.remarks: dict[str, str] = {}

    def run(
        self,
        *,
        dry_run: bool = False,
        skip_bad: bool = False,
        refused_path: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> ImportReport:
        """Decide every row; record them unless ``dry_run``, or unless a row is refused and ``skip_bad`` is not given.

        ``refused_path`` (or one numbered like it) gets the refused rows with their reasons, for correction; a dry run
        writes none. ``progress`` is told the number of rows decided.

        Raises: HoursFileError when the rest of the file can't be read; StoreUnavailable; Conflict when others keep
        recording what the rows depend on; OSError where ``refused_path`` can't be written.
        """
        reports: list[ImportReport] = []
        import_in_turn(
            [self],
            lambda _, report: reports.append(report),
            dry_run=dry_run,
            skip_bad=skip_bad,
            refused_path=refused_path,
            progress=progress,
        )
        return reports[0]


Done = Callable[[HoursImport, ImportReport], object]


def import_in_turn(
    imports: Sequence[HoursImport],
    done: Done,
    *,
    dry_run: bool = False,
    skip_bad: bool = False,
    refused_path: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Import files into one ledger in their order, each all or nothing, as `HoursImport.run` does one of them.

    While a file is being recorded, the next is decided. ``done`` is called with each file and its report, in order,
    once it is recorded, or known not to be; what it raises ends the run before anything more is recorded. ``progress``
    is told the number of rows decided in all files together. Whatever ends the run, a file that is being recorded then
    is waited for.

    Raises: as `HoursImport.run`, for the first file that can't be imported; those before it are recorded.
    """
    if imports:
        _ImportRun(imports, done, dry_run, skip_bad, refused_path, progress).run()


@dataclass(slots=True)
class _Recording:
    """A file that is being recorded."""

    importing: HoursImport
    report: ImportReport
    held: Held
    first_position: Future[int]


class _Unfounded(Exception):
    """What was being recorded is not where later decisions took it to be, so they don't hold."""


class _ImportRun:
    def __init__(
        self,
        imports: Sequence[HoursImport],
        done: Done,
        dry_run: bool,
        skip_bad: bool,
        refused_path: Path | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._store = imports[0].store
        self._zone = imports[0].zone
        self._waiting = deque(imports)
        self._done = done
        self._dry_run = dry_run
        self._skip_bad = skip_bad
        self._refused_path = refused_path
        self._progress = progress
        self._rows = 0
        self._conflicts = 0
        self._writing: tuple[PendingStore, Writer] | None = None
        """Kept from file to file, as long as everything that was decided is recorded where it was expected to be."""
        self._recording: _Recording | None = None
        self._readings: dict[HoursImport, HoursReading] = {}

    def run(self) -> None:
        with ThreadPoolExecutor(1, "import-recorder") as recorder:
            try:
                while self._waiting or self._recording is not None:
                    with contextlib.suppress(_Unfounded):
                        self._next(recorder)
            finally:
                for reading in self._readings.values():
                    reading.close()
                # Something ended the run early. What is recorded by then is told; what isn't can be imported again.
                recording, self._recording = self._recording, None
                if recording is not None and recording.first_position.exception() is None:
                    self._tell(recording)

    def _next(self, recorder: ThreadPoolExecutor) -> None:
        """Decide one file, wait for the one before it to be recorded, and have this one recorded.

        Raises: _Unfounded when it has to be decided again; as `HoursImport.run`.
        """
        if not self._waiting:
            self._look_after_recording(wait=True)
            return
        importing = self._waiting[0]
        try:
            pending, report = self._decide(importing)
        except Exception:
            # It may come of what turns out not to be recorded.
            self._look_after_recording(wait=True)
            raise
        try:
            self._look_after_recording(wait=True)
        except BaseException:
            _withdraw(report)
            raise
        self._waiting.popleft()
        self._rows += report.rows
        if self._dry_run or (report.rows_refused and not self._skip_bad):
            self._writing = None
            if not self._dry_run:
                report.rows_imported = report.facts = report.service_minutes = report.service_records = 0
                report.by_status = {}
                importing.names.clear()
                importing.remarks.clear()
            self._done(importing, report)
        elif not pending.held.envelopes:
            self._done(importing, report)
        else:
            held = pending.release()
            self._recording = _Recording(importing, report, held, recorder.submit(held.record, self._store))

    def _look_after_recording(self, *, wait: bool) -> None:
        """See whether the file that is being recorded is, and where.

        Raises: _Unfounded when what was decided since doesn't hold; Conflict, StoreUnavailable.
        """
        recording = self._recording
        if recording is None or not (wait or recording.first_position.done()):
            return
        try:
            first = recording.first_position.result()
        except Conflict:
            self._recording = self._writing = None
            self._waiting.appendleft(recording.importing)
            self._rows -= recording.report.rows
            _withdraw(recording.report)  # the next attempt says anew what it refuses
            self._conflicts += 1
            if self._conflicts == CONFLICTS_MAX:
                raise
            time.sleep(0.1 * 2 ** (self._conflicts - 1))
            raise _Unfounded from None
        except Exception:
            self._recording = None
            raise
        self._recording = None
        self._conflicts = 0
        self._tell(recording)
        if first != recording.held.after + 1:
            self._writing = None
            raise _Unfounded
        if self._writing is not None:
            self._writing[0].settled()

    def _tell(self, recording: _Recording) -> None:
        recording.report.position = recording.first_position.result() + len(recording.held.envelopes) - 1
        self._done(recording.importing, recording.report)

    def _decide(self, importing: HoursImport) -> tuple[PendingStore, ImportReport]:
        file = importing.file
        report = ImportReport(
            file.path.name,
            self._dry_run,
            file.synthetic,
            ignored_columns=list(file.ignored_columns),
            ignored_sheets=list(file.ignored_sheets),
        )
        by_status: Counter[str] = Counter()
        importing.names.clear()  # another attempt may decide otherwise
        importing.remarks.clear()
        if self._writing is None:
            pending = PendingStore(self._store)
            self._writing = pending, Writer(pending, self._zone, states_max=STATES_MAX)
        pending, writer = self._writing
        refused_path = None if self._dry_run else self._refused_path
        with contextlib.ExitStack() as stack:
            reading = stack.enter_context(self._reading(importing))
            refused = stack.enter_context(RefusedRows(refused_path, file)) if refused_path is not None else None
            for chunk in reading:
                tickets = [read.ticket() for read in chunk.rows]
                writer.run([ticket for ticket in tickets if ticket is not None])
                for index, (read, ticket) in enumerate(zip(chunk.rows, tickets, strict=True)):
                    row = read.row
                    problems = row if isinstance(row, tuple) else _settle(importing, row, ticket, report, by_status)
                    if problems:
                        report.rows_refused += 1
                        report.problems += problems
                        if refused is not None:
                            refused.add(chunk.cells(index), problems)
                report.rows += len(chunk.rows)
                if self._progress is not None:
                    self._progress(self._rows + report.rows)
                self._look_after_recording(wait=False)
        report.facts = len(pending.held.envelopes)
        report.by_status = dict(sorted(by_status.items()))
        if refused is not None and refused.count:
            report.refused_file = str(refused.path)
        return pending, report

    def _reading(self, importing: HoursImport) -> HoursReading:
        """The file, to be read from its beginning. The one after it is begun as well, so that it need not be waited
        for."""
        for begun in islice(self._waiting, 2):
            if begun not in self._readings:
                self._readings[begun] = HoursReading(begun.file, CHUNK_ROWS)
        return self._readings.pop(importing)


def _withdraw(report: ImportReport) -> None:
    """Take back what was said of a file's rows, because it will be said anew."""
    if report.refused_file is not None:
        Path(report.refused_file).unlink()


def _settle(
    importing: HoursImport, row: HoursRow, ticket: Ticket | None, report: ImportReport, by_status: Counter[str]
) -> tuple[RowProblem, ...]:
    """Take one row's outcome into the report; what refused it, if anything."""
    outcome = ticket.outcome if ticket is not None else None
    if not isinstance(outcome, Accepted):
        if isinstance(outcome, Refusal):
            return (_problem(row, outcome),)
        raise outcome if outcome is not None else RuntimeError("a row has no outcome")
    if row.volunteer_name:
        importing.names[row.volunteer] = row.volunteer_name
    if row.note:
        importing.remarks[row.record] = row.note
    if outcome.repeated or not outcome.facts:
        report.rows_already_there += 1
        return ()
    report.rows_imported += 1
    by_status[row.status] += 1
    minutes = 0
    for fact in outcome.facts:
        match fact:
            case HoursConfirmed():
                minutes = fact.minutes + fact.honour_minutes
                report.service_records += 1
                report.service_minutes += minutes
            case HoursReversed():
                report.service_records -= 1
                report.service_minutes -= minutes or fact.minutes
            case _:
                pass
    return ()


def _problem(row: HoursRow, refusal: Refusal) -> RowProblem:
    if isinstance(refusal, CommandIdReused | RecordAlreadyLogged):
        return RowProblem(
            row.row,
            "record",
            row.record,
            "这个记录编号已导入过，但内容不同；已入账的记录只能冲正，不能修改。",
            "This record number was imported before with other content; what is recorded is reversed, never edited.",
        )
    field = _FIELDS.get(type(refusal), "record")
    value = getattr(row, {"date": "started_at", "start": "started_at"}.get(field, field))
    return RowProblem(row.row, field, str(value), refusal.message_zh, refusal.message_en)
