"""Importing a district's own books: every row decided by the same rules, then all of them recorded at once.

Rows are decided against the journal and against each other in memory; nothing is written before the last row is
known to be good (or, with ``skip_bad``, known to be refused). Each row is a command with an id of its own, made from
its record number and status, so importing a file again adds nothing, a changed row is noticed, and what an office has
settled since its last export is settled by the next.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from application.hours_file import HoursFile, HoursRow, RefusedRows, RowProblem, open_hours_file
from application.write_loop import Accepted, CommandIdReused, Ticket, Writer, command_id
from domain.account import BalanceTooLow, HoursConfirmed, HoursReversed
from domain.decision import Actor, Reading
from domain.fact import Envelope, Recorded
from domain.hours import (
    ConfirmedByLogger,
    ConfirmedByOwnHousehold,
    DayTooLong,
    ImportHours,
    InTheFuture,
    MemberElsewhere,
    OwnHouseholdServed,
    RecordAboveCap,
    RecordAlreadyLogged,
    RecordAlreadySettled,
    RecordOverlaps,
    RecordTooLong,
    RecordTooShort,
    import_hours,
)
from domain.household import ClosedHousehold, MemberHasDied
from domain.journal import Conflict, FactStore
from domain.policy import NoPolicyInForce
from domain.refusal import Refusal

CHUNK_ROWS: Final = 1_000
CONFLICTS_MAX: Final = 5
ACTOR: Final = Actor("@import", "admin")
"""No person's number starts so: nobody can have a token for this id, nor share its command ids."""

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


class PendingStore:
    """A fact store that holds back what is appended, so that many batches can be recorded as one, or not at all.

    Reads see the journal as it stood at the beginning, and what was held back since.
    """

    def __init__(self, store: FactStore) -> None:
        self._store = store
        self._base = store.head()
        self._by_tag: dict[str, list[Recorded[Any]]] = {}
        self._boundary: set[Reading[Any]] = set()
        self._commands: set[str] = set()
        self.envelopes: list[Envelope[Any]] = []

    def head(self) -> int:
        return self._base + len(self.envelopes)

    def recall(self, readings: Collection[Reading[Any]]) -> tuple[int, dict[Reading[Any], Any]]:
        position, states = self._store.recall(readings)
        return (position, states) if position <= self._base else (0, {})

    def read_boundary(
        self, tags: Collection[str], head: int, recalled: Collection[str] = (), recalled_position: int = 0
    ) -> tuple[Sequence[Recorded[Any]], Sequence[Recorded[Any]]]:
        del head
        cold, _ = self._store.read_boundary(tags, self._base, recalled, recalled_position)
        pending = [recorded for tag in (*tags, *recalled) for recorded in self._by_tag.get(tag, ())]
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
    ) -> tuple[int, int]:
        del after
        first = self.head() + 1
        for position, envelope in enumerate(envelopes, first):
            recorded = Recorded(position, 0, envelope)
            for tag in envelope.tags():
                self._by_tag.setdefault(tag, []).append(recorded)
        self.envelopes += envelopes
        self._boundary.update(boundary)
        self._commands.update(commands)
        return first, 0

    def scan(self, after: int = 0, to: int | None = None) -> Iterator[list[Recorded[Any]]]:
        return self._store.scan(after, to)

    def flush(self) -> int | None:
        """Record everything held back, in one append: returns its last position, or None where there was nothing.

        Raises: Conflict when others recorded meanwhile what was decided on; StoreUnavailable.
        """
        if not self.envelopes:
            return None
        first, _ = self._store.append(self.envelopes, self._boundary, self._commands, self._base)
        return first + len(self.envelopes) - 1


class HoursImport:
    """One file on its way into one ledger. ``names`` and ``remarks`` are what belongs to the vault."""

    def __init__(self, store: FactStore, zone: tzinfo, path: Path, *, ledger_is_synthetic: bool) -> None:
        """Raises: HoursFileError; SyntheticFile."""
        self._store = store
        self._zone = zone
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
        for attempt in range(CONFLICTS_MAX):
            pending = PendingStore(self._store)
            report = self._decide(pending, refused_path if not dry_run else None, dry_run, progress)
            if dry_run or (report.rows_refused and not skip_bad):
                break
            try:
                report.position = pending.flush()
                break
            except Conflict:
                if report.refused_file is not None:
                    Path(report.refused_file).unlink()  # the next attempt says anew what it refuses
                if attempt + 1 == CONFLICTS_MAX:
                    raise
                time.sleep(0.1 * 2**attempt)
        if report.rows_refused and not skip_bad and not dry_run:
            report.rows_imported = report.facts = report.service_minutes = report.service_records = 0
            report.by_status = {}
            self.names.clear()
            self.remarks.clear()
        return report

    def _decide(
        self,
        pending: PendingStore,
        refused_path: Path | None,
        dry_run: bool,
        progress: Callable[[int], None] | None,
    ) -> ImportReport:
        report = ImportReport(
            self.file.path.name,
            dry_run,
            self.file.synthetic,
            ignored_columns=list(self.file.ignored_columns),
            ignored_sheets=list(self.file.ignored_sheets),
        )
        by_status: Counter[str] = Counter()
        self.names.clear()  # another attempt may decide otherwise
        self.remarks.clear()
        writer = Writer(pending, self._zone, states_max=100_000_000)
        rows = iter(self.file)
        with contextlib.ExitStack() as stack:
            refused = stack.enter_context(RefusedRows(refused_path, self.file)) if refused_path is not None else None
            while chunk := list(islice(rows, CHUNK_ROWS)):
                tickets = [_ticket(row) if isinstance(row, HoursRow) else None for _, row in chunk]
                writer.run([ticket for ticket in tickets if ticket is not None])
                for (cells, row), ticket in zip(chunk, tickets, strict=True):
                    problems = row if isinstance(row, tuple) else self._settle(row, ticket, report, by_status)
                    if problems:
                        report.rows_refused += 1
                        report.problems += problems
                        if refused is not None:
                            refused.add(cells, problems)
                report.rows += len(chunk)
                if progress is not None:
                    progress(report.rows)
        report.facts = len(pending.envelopes)
        report.by_status = dict(sorted(by_status.items()))
        if refused is not None and refused.count:
            report.refused_file = str(refused.path)
        return report

    def _settle(
        self, row: HoursRow, ticket: Ticket | None, report: ImportReport, by_status: Counter[str]
    ) -> tuple[RowProblem, ...]:
        """Take one row's outcome into the report; what refused it, if anything."""
        outcome = ticket.outcome if ticket is not None else None
        if isinstance(outcome, Refusal):
            return (_problem(row, outcome),)
        if not isinstance(outcome, Accepted):
            raise outcome if outcome is not None else RuntimeError("a row has no outcome")
        if row.volunteer_name:
            self.names[row.volunteer] = row.volunteer_name
        if row.note:
            self.remarks[row.record] = row.note
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


def _ticket(row: HoursRow) -> Ticket:
    command = ImportHours(
        row.record,
        row.volunteer,
        row.household,
        row.household_community or row.community,
        row.recipient_household,
        row.community,
        row.grid,
        row.service,
        row.started_at,
        row.ended_at,
        row.minutes,
        row.confirmed_by,
        row.status,
    )
    return Ticket(import_hours, command, ACTOR, command_id(ACTOR.id, f"{row.record} {row.status}"), imported=True)


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
