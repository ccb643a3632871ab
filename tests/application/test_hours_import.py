"""Importing an office's file: every row under the same rules, all of it or nothing, and never twice."""

import csv
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import application.hours_import as hours_import
import application.hours_reading as hours_reading
from application.hours_file import HoursFileError, open_hours_file
from application.hours_import import CONFLICTS_MAX, HoursImport, ImportReport, SyntheticFile, import_in_turn
from application.write_loop import Accepted, Ticket, Writer, new_id
from domain.account import Account, HoursConfirmed, HoursReversed, MinutesCapped
from domain.decision import Context, Decided, Decision, fold_facts, read
from domain.fact import Fact
from domain.hours import HoursLogged, LogHours, VolunteerDay, log
from domain.household import HouseholdRegistered, MemberRegistered, VolunteerEnrolled
from domain.journal import Conflict, StoreUnavailable
from domain.ledger import ledger
from domain.policy import Policy
from tests.controls import (
    ADMIN,
    DISTRICT,
    GRID,
    LEDGER_OPENED,
    NOW,
    POLICY_ADOPTED,
    XINZHU,
    ZONE,
    at,
    credited,
    district,
    logged,
)
from tests.in_memory import InMemoryFactStore

FIELDS = [
    *("record_no", "volunteer_no", "volunteer_name", "household_no", "recipient_household_no", "community"),
    *("grid_path", "service", "date", "start", "end", "minutes", "confirmed_by", "note", "status"),
]
GOOD: dict[str, str] = {
    "record_no": "R1",
    "volunteer_no": "V1",
    "volunteer_name": "张𠮷",
    "household_no": "H1",
    "recipient_household_no": "H2",
    "community": XINZHU,
    "grid_path": GRID[0],
    "service": "助餐",
    "date": "2026-11-02",
    "start": "09:00",
    "end": "10:30",
    "minutes": "",
    "confirmed_by": "S2",
    "note": "",
    "status": "confirmed",
}


def row(record: str, day: int = 2, **changes: str) -> dict[str, str]:
    return GOOD | {"record_no": record, "date": f"2026-11-{day:02}"} | changes


MANY = [
    row("R1", 2),
    row("R2", 3, status="logged"),
    row("R3", 4, status="rejected"),
    row("R4", 5, status="reversed"),
    row("R5", 6, recipient_household_no="", note="送餐"),
]
TOO_SHORT = row("R6", 7, end="09:10")


@pytest.fixture
def store() -> InMemoryFactStore:
    """A ledger with a policy and nothing else."""
    empty = InMemoryFactStore()
    recorded(empty, LEDGER_OPENED, POLICY_ADOPTED)
    return empty


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import's writer sees the time of the examples, not that of the machine."""
    monkeypatch.setattr(hours_import, "Writer", partial(Writer, clock=lambda: NOW))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which take no time here."""
    slept: list[float] = []
    monkeypatch.setattr(hours_import.time, "sleep", slept.append)
    return slept


@pytest.fixture
def office(tmp_path: Path, store: InMemoryFactStore) -> "Office":
    return Office(tmp_path, store)


class Office:
    def __init__(self, folder: Path, store: InMemoryFactStore) -> None:
        self.path = folder / "hours.csv"
        self.refused = folder / "refused.csv"
        self.store = store
        self.files: list[HoursImport] = []

    def writes(self, *rows: dict[str, str], comment: str = "") -> "Office":
        with self.path.open("w", encoding="utf-8", newline="") as file:
            file.write(comment)
            sheet = csv.DictWriter(file, FIELDS)
            sheet.writeheader()
            sheet.writerows(rows)
        return self

    def importing(self, *, synthetic_ledger: bool = True) -> HoursImport:
        return HoursImport(self.store, ZONE, self.path, ledger_is_synthetic=synthetic_ledger)

    def imports(self, **options: Any) -> ImportReport:
        return self.importing().run(refused_path=self.refused, **options)

    def writes_files(self, *files: list[dict[str, str]]) -> "Office":
        """A file each, such as one a year."""
        self.files = []
        whole = self.path
        for number, rows in enumerate(files, 1):
            self.path = whole.with_name(f"hours-{number}.csv")
            self.files.append(self.writes(*rows).importing())
        self.path = whole
        return self

    def imports_in_turn(self, **options: Any) -> list[ImportReport]:
        reports: list[ImportReport] = []
        import_in_turn(self.files, lambda _, report: reports.append(report), refused_path=self.refused, **options)
        return reports


def recorded(store: InMemoryFactStore, *facts: Fact) -> None:
    def bring(_: Any, __: Context) -> Decision:
        yield from read(ledger)
        return Decided(0, facts)

    run(store, bring, LogHours(volunteer="x", service="x", started_at=at("11-01 09:00"), ended_at=at("11-01 10:00")))


def run(store: InMemoryFactStore, decide: Any, command: Any) -> None:
    ticket = Ticket(decide, command, ADMIN, new_id().replace("-", ""))
    Writer(store, ZONE, clock=lambda: NOW).run([ticket])
    assert isinstance(ticket.outcome, Accepted), ticket.outcome


def test_a_good_file_is_imported_whole_in_one_append(office: Office, store: InMemoryFactStore) -> None:
    appends = store.appends
    report = office.writes(*MANY).imports()
    assert (report.rows, report.rows_imported, report.rows_already_there, report.rows_refused) == (5, 5, 0, 0)
    assert report.by_status == {"confirmed": 2, "logged": 1, "rejected": 1, "reversed": 1}
    assert (report.service_records, report.service_minutes) == (2, 180)
    assert report.problems == []
    assert report.position == len(store.facts) == report.facts + 2
    assert store.appends == appends + 1
    assert not office.refused.exists()


def test_what_the_rows_imply_is_registered_once(office: Office, store: InMemoryFactStore) -> None:
    office.writes(*MANY).imports()
    registered = [f for f in store.facts if isinstance(f, HouseholdRegistered | MemberRegistered | VolunteerEnrolled)]
    assert registered == [
        HouseholdRegistered("H1", XINZHU),
        HouseholdRegistered("H2", XINZHU, GRID),
        MemberRegistered("V1", "H1"),
        VolunteerEnrolled("V1"),
    ]


def test_imported_facts_say_so_and_keep_their_claimed_times(office: Office, store: InMemoryFactStore) -> None:
    office.writes(MANY[0]).imports()
    imported = store.envelopes[2:]
    assert all(envelope.imported and envelope.actor == "@import" for envelope in imported)
    assert {envelope.policy for envelope in imported} == {1}
    assert imported[-2].fact == logged("R1", "11-02 09:00 - 10:30", logged_by="V1")


def test_names_and_notes_go_to_the_vault_and_never_to_the_journal(office: Office, store: InMemoryFactStore) -> None:
    importing = office.writes(*MANY).importing()
    importing.run()
    assert importing.names == {"V1": "张𠮷"}
    assert importing.remarks == {"R5": "送餐"}
    assert "张" not in repr(store.envelopes)
    assert "送餐" not in repr(store.envelopes)


# ── All or nothing ───────────────────────────────────────────────────────────────────────────────────────────


def test_one_bad_row_keeps_the_whole_file_out(office: Office, store: InMemoryFactStore) -> None:
    importing = office.writes(*MANY, TOO_SHORT).importing()
    report = importing.run(refused_path=office.refused)
    assert (report.rows, report.rows_imported, report.rows_refused) == (6, 0, 1)
    assert (report.facts, report.service_minutes, report.service_records, report.by_status) == (0, 0, 0, {})
    assert report.position is None
    assert len(store.facts) == 2
    assert importing.names == importing.remarks == {}


def test_a_bad_row_is_named_with_its_field_and_reason(office: Office) -> None:
    problems = office.writes(MANY[0], TOO_SHORT, row("R7", 8, start="late")).imports().problems
    assert [(problem.row, problem.field, problem.value) for problem in problems] == [
        (3, "minutes", "10"),
        (4, "start", "late"),
    ]
    assert "最短 15 分钟" in problems[0].reason_zh
    assert "shortest record of 15" in problems[0].reason_en


def test_bad_rows_may_be_skipped_and_are_handed_back(office: Office, store: InMemoryFactStore) -> None:
    unreadable = row("R7", 8, start="late")
    report = office.writes(*MANY, TOO_SHORT, unreadable, row("R8", 9)).imports(skip_bad=True)
    assert (report.rows_imported, report.rows_refused, report.service_records) == (6, 2, 3)
    assert report.position == len(store.facts)
    assert report.refused_file == str(office.refused)
    with office.refused.open(encoding="utf-8-sig", newline="") as file:
        handed_back = list(csv.DictReader(file))
    assert [{field: each[field] for field in FIELDS} for each in handed_back] == [TOO_SHORT, unreadable]
    assert [each["原行号"] for each in handed_back] == ["7", "8"]


def test_handed_back_rows_are_imported_once_corrected(office: Office) -> None:
    office.writes(*MANY, TOO_SHORT).imports(skip_bad=True)
    office.writes(TOO_SHORT | {"end": "10:00"})
    report = office.imports()
    assert (report.rows_imported, report.facts) == (1, 2)


def test_a_dry_run_reports_everything_and_writes_nothing(office: Office, store: InMemoryFactStore) -> None:
    appends = store.appends
    report = office.writes(*MANY, TOO_SHORT).imports(dry_run=True)
    assert report.dry_run
    assert (report.rows_imported, report.rows_refused, report.service_minutes) == (5, 1, 180)
    assert report.facts > 0
    assert report.position is None
    assert (store.appends, len(store.facts)) == (appends, 2)
    real = office.imports(skip_bad=True)
    assert (real.facts, real.rows_imported, real.service_minutes) == (report.facts, 5, 180)


def test_a_dry_run_of_a_good_file_writes_nothing_either(office: Office, store: InMemoryFactStore) -> None:
    report = office.writes(*MANY).imports(dry_run=True)
    assert (report.rows_imported, report.rows_refused, report.position) == (5, 0, None)
    assert len(store.facts) == 2


# ── Again ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_file_again_adds_nothing(office: Office, store: InMemoryFactStore) -> None:
    office.writes(*MANY).imports()
    before = store.facts
    report = office.imports()
    assert (report.rows_already_there, report.rows_imported, report.facts, report.position) == (5, 0, 0, None)
    assert (report.service_minutes, report.by_status) == (0, {})
    assert store.facts == before


def test_a_longer_file_adds_what_is_new(office: Office) -> None:
    office.writes(*MANY).imports()
    report = office.writes(*MANY, row("R8", 9)).imports()
    assert (report.rows_already_there, report.rows_imported, report.facts) == (5, 1, 2)


@pytest.mark.parametrize("changes", [{"end": "10:31"}, {"confirmed_by": "S3"}, {"recipient_household_no": ""}])
def test_a_changed_row_is_noticed(office: Office, store: InMemoryFactStore, changes: dict[str, str]) -> None:
    office.writes(*MANY).imports()
    before = store.facts
    report = office.writes(MANY[0] | changes, *MANY[1:]).imports()
    assert (report.rows_refused, report.rows_already_there) == (1, 4)
    assert [(problem.field, problem.value) for problem in report.problems] == [("record", "R1")]
    assert "只能冲正" in report.problems[0].reason_zh
    assert store.facts == before


def test_a_name_may_be_corrected_by_importing_again(office: Office) -> None:
    office.writes(*MANY).imports()
    importing = office.writes(*(each | {"volunteer_name": "章𠮷"} for each in MANY)).importing()
    assert importing.run().rows_already_there == 5
    assert importing.names == {"V1": "章𠮷"}


def test_a_record_number_twice_in_one_file_is_noticed(office: Office) -> None:
    report = office.writes(MANY[0], MANY[0], row("R1", 9)).imports()
    assert (report.rows_already_there, report.rows_refused) == (1, 1)
    assert [(problem.row, problem.field) for problem in report.problems] == [(4, "record")]


def test_a_number_that_was_given_to_another_service_here_is_noticed(office: Office, store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT[2:], logged("R1", "11-02 09:00 - 10:31"))
    report = office.writes(MANY[0]).imports()
    assert [(problem.field, problem.value) for problem in report.problems] == [("record", "R1")]


@pytest.mark.parametrize(
    ("before", "after", "adds"),
    [
        ("logged", "confirmed", ["hours-confirmed.v1"]),
        ("logged", "rejected", ["hours-rejected.v1"]),
        ("logged", "reversed", ["hours-confirmed.v1", "hours-reversed.v1"]),
        ("confirmed", "reversed", ["hours-reversed.v1"]),
    ],
)
def test_what_an_office_settled_since_its_last_export_is_settled_by_the_next(
    office: Office, store: InMemoryFactStore, before: str, after: str, adds: list[str]
) -> None:
    office.writes(row("R1", status=before)).imports()
    known = len(store.facts)
    report = office.writes(row("R1", status=after)).imports()
    assert (report.rows_imported, report.rows_refused) == (1, 0)
    assert [fact.type for fact in store.facts[known:]] == adds
    report = office.writes(row("R1", status=after)).imports()
    assert (report.rows_already_there, report.facts) == (1, 0)


@pytest.mark.parametrize(("before", "after"), [("confirmed", "rejected"), ("rejected", "confirmed")])
def test_what_was_settled_one_way_is_not_settled_another(office: Office, before: str, after: str) -> None:
    office.writes(row("R1", status=before)).imports()
    report = office.writes(row("R1", status=after)).imports()
    assert [(problem.field, problem.value) for problem in report.problems] == [("status", after)]


@pytest.mark.parametrize("status", ["rejected", "reversed"])
@pytest.mark.parametrize("first", [True, False], ids=["duplicate first", "duplicate last"])
def test_a_duplicate_that_the_office_refused_is_no_overlap(office: Office, status: str, first: bool) -> None:
    rows = [row("R1", status=status), row("R2")]
    report = office.writes(*(rows if first else reversed(rows))).imports()
    assert (report.rows_imported, report.rows_refused) == (2, 0)
    assert report.service_records == 1


def test_an_older_export_takes_nothing_back(office: Office, store: InMemoryFactStore) -> None:
    office.writes(row("R1", status="confirmed")).imports()
    before = store.facts
    report = office.writes(row("R1", status="logged")).imports()
    assert (report.rows_already_there, report.rows_refused) == (1, 0)
    assert store.facts == before


def test_a_lost_acknowledgement_is_mended_by_importing_again(office: Office, store: InMemoryFactStore) -> None:
    def lose() -> None:
        raise StoreUnavailable("the connection broke after the commit")

    store.after_append.append(lose)
    importing = office.writes(*MANY).importing()
    with pytest.raises(StoreUnavailable):
        importing.run()
    before = store.facts
    report = importing.run()
    assert (report.rows_already_there, report.facts) == (5, 0)
    assert store.facts == before
    assert importing.names == {"V1": "张𠮷"}


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bad", "field", "value"),
    [
        (row("R9", 2, start="10:29", end="11:30"), "start", "2026-11-02 10:29:00+08:00"),
        (row("R9", 2, start="11:00", end="19:31"), "minutes", "511"),
        (row("R9", 9, confirmed_by="V1"), "confirmed_by", "V1"),
        (row("R9", 9, recipient_household_no="H1"), "recipient_household", "H1"),
        (row("R9", 9, household_no="H2", recipient_household_no=""), "household", "H2"),
        (row("R9", 9, date="2199-11-09"), "date", "2199-11-09 09:00:00+08:00"),
        (row("R9", 9, date="2019-12-31"), "date", "2019-12-31 09:00:00+08:00"),
    ],
)
def test_a_row_against_the_rules_is_named_by_its_column(
    office: Office, bad: dict[str, str], field: str, value: str
) -> None:
    report = office.writes(MANY[0], bad).imports()
    assert [(problem.row, problem.field, problem.value) for problem in report.problems] == [(3, field, value)]


def test_rows_see_each_other_across_chunks(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours_import, "CHUNK_ROWS", 2)
    told: list[int] = []
    overlapping = row("R9", 2, start="10:00", end="11:00")
    office.writes(*MANY, overlapping, row("R1", 9), MANY[0])
    report = office.imports(skip_bad=True, progress=told.append)
    assert [problem.row for problem in report.problems] == [7, 8]
    assert (report.rows_imported, report.rows_already_there) == (5, 1)
    assert told == [2, 4, 6, 8]
    again = office.imports(skip_bad=True)
    assert (again.rows_already_there, again.rows_refused) == (6, 2)


def test_a_pool_that_earlier_rows_filled_pays_later_ones(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is first read by the second row, when the first one's excess is not yet recorded."""
    monkeypatch.setattr(hours_import, "CHUNK_ROWS", 1)
    rules = {"payer": "recipient", "payer_without_recipient": "pool", "balance_minutes_max": 200}
    office.store = InMemoryFactStore()
    recorded(office.store, *district(**rules), credited("H1", 200), credited("H2", 90))
    general = row("R2", 3, recipient_household_no="")
    report = office.writes(row("R1", 2), general, general | {"record_no": "R3", "date": "2026-11-04"}).imports()
    assert report.problems == []
    assert fold_facts(Account.of("household:H1"), office.store.facts).balance_minutes == 200
    assert fold_facts(Account.of("pool:" + XINZHU), office.store.facts).balance_minutes == 90


def test_what_is_held_back_is_recorded_under_all_that_was_read_and_all_its_commands(
    office: Office, store: InMemoryFactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours_import, "CHUNK_ROWS", 2)
    appended: list[Any] = []
    append = store.append

    def listening(envelopes: Any, boundary: Any, commands: Any, after: int, tags: Any) -> Any:
        appended.append((boundary, commands, after))
        return append(envelopes, boundary, commands, after, tags)

    store.append = listening  # type: ignore[method-assign]
    office.writes(*MANY).imports()
    ((boundary, commands, after),) = appended
    assert after == 2
    assert set(commands) == {envelope.command for envelope in store.envelopes[2:]}
    tags = {reading.tag for reading in boundary}
    assert {f"record:R{n}" for n in range(1, 6)} | {"person:V1", "person:S2", "household:H1", "policy:book"} <= tags


def test_balances_run_on_through_the_file_and_from_the_ledger(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours_import, "CHUNK_ROWS", 1)
    fresh = InMemoryFactStore()
    recorded(fresh, *district(balance_minutes_max=200), credited("H1", 60))
    fresh.recall_position = 3
    office.store = fresh
    office.writes(row("R1", 2), row("R2", 3), row("R3", 4)).imports()
    capped = [fact.minutes for fact in fresh.facts if isinstance(fact, MinutesCapped)]
    assert capped == [40, 90]
    assert fold_facts(Account.of("household:H1"), fresh.facts).balance_minutes == 200
    assert POLICY_ADOPTED.policy == Policy()


def test_synthetic_rows_never_meet_a_real_ledger(office: Office, store: InMemoryFactStore) -> None:
    office.writes(*MANY, comment="# SYNTHETIC 合成数据\n")
    with pytest.raises(SyntheticFile, match=r"hours\.csv"):
        office.importing(synthetic_ledger=False)
    assert len(store.facts) == 2
    report = office.imports()
    assert report.synthetic
    assert report.rows_imported == 5


def test_real_rows_may_meet_a_real_ledger(office: Office) -> None:
    report = office.writes(*MANY).importing(synthetic_ledger=False).run()
    assert (report.synthetic, report.rows_imported) == (False, 5)


# ── Others at work ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_others_record_meanwhile_is_decided_on_again(
    office: Office, store: InMemoryFactStore, pauses: list[float]
) -> None:
    """Somebody logs hours of the same volunteer, on the same day, while the file is being decided."""
    recorded(store, *DISTRICT[2:])
    theirs = LogHours(
        record="T1", volunteer="V1", service="助洁", started_at=at("11-02 10:00"), ended_at=at("11-02 11:00")
    )
    store.before_append.append(lambda: run(store, log, theirs))
    importing = office.writes(*MANY, row("R8", 9, volunteer_name="章𠮷")).importing()
    report = importing.run(skip_bad=True, refused_path=office.refused)
    assert [(problem.row, problem.field) for problem in report.problems] == [(2, "start")]
    assert (report.rows_imported, report.rows_refused) == (5, 1)
    assert report.position == len(store.facts)
    assert len(pauses) == 1
    spans = fold_facts(VolunteerDay.of("V1", at("11-02 00:00").date()), store.facts).spans
    assert [span.record for span in spans] == ["T1"]


@pytest.mark.usefixtures("pauses")
def test_a_name_is_not_kept_for_a_row_that_is_refused_in_the_end(office: Office, store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT[2:])
    store.before_append.append(lambda: recorded(store, MemberRegistered("V7", "H2")))
    importing = office.writes(MANY[0], row("R9", 9, volunteer_no="V7", volunteer_name="李")).importing()
    report = importing.run(skip_bad=True)
    assert [problem.field for problem in report.problems] == ["household"]
    assert importing.names == {"V1": "张𠮷"}


def test_what_others_record_elsewhere_is_no_conflict(
    office: Office, store: InMemoryFactStore, pauses: list[float]
) -> None:
    store.before_append.append(lambda: recorded(store, HouseholdRegistered("H99", XINZHU)))
    report = office.writes(*MANY).imports()
    assert report.position == len(store.facts)
    assert pauses == []


def test_conflicts_without_end_are_told(office: Office, store: InMemoryFactStore, pauses: list[float]) -> None:
    def conflict() -> None:
        raise Conflict

    store.before_append.extend([conflict] * CONFLICTS_MAX)
    with pytest.raises(Conflict):
        office.writes(*MANY).imports()
    assert len(pauses) == CONFLICTS_MAX - 1
    assert len(store.facts) == 2


@pytest.mark.usefixtures("pauses")
def test_the_same_file_imported_by_two_at_once_is_recorded_once(office: Office, store: InMemoryFactStore) -> None:
    office.writes(*MANY)
    store.before_append.append(lambda: office.importing().run())
    report = office.imports()
    assert (report.rows_already_there, report.rows_imported, report.position) == (5, 0, None)
    records = [fact.record for fact in store.facts if isinstance(fact, HoursLogged)]
    assert records == ["R1", "R2", "R3", "R4", "R5"]
    confirmed = [fact for fact in store.facts if isinstance(fact, HoursConfirmed)]
    undone = [fact for fact in store.facts if isinstance(fact, HoursReversed)]
    assert (len(confirmed), len(undone)) == (3, 1)


def test_refused_rows_never_overwrite_somebodys_corrections(office: Office) -> None:
    office.writes(MANY[0], TOO_SHORT).imports()
    office.refused.write_text("corrected by hand")
    report = office.imports()
    assert office.refused.read_text() == "corrected by hand"
    assert report.refused_file is not None
    again = Path(report.refused_file)
    assert again != office.refused
    assert again.stat().st_mode & 0o077 == 0
    assert "R6" in again.read_text(encoding="utf-8-sig")


# ── Several files ────────────────────────────────────────────────────────────────────────────────────────────

FIRST = [row("R1", 2), row("R2", 3, status="logged")]
SECOND = [row("R3", 4), row("R4", 5, note="送餐")]
THIRD = [row("R5", 6), row("R6", 7)]


class Gate:
    """Holds an append back until the next file has been decided so far, then lets something happen at the worst moment.

    ``passed`` is the progress callback: it opens the gate once ``rows`` are decided.
    """

    def __init__(self, rows: int, happening: Callable[[], object] = lambda: None) -> None:
        self._rows = rows
        self._open = threading.Event()
        self._happening = happening

    def __call__(self) -> None:
        assert self._open.wait(10), "the next file was not decided while this one was being recorded"
        self._happening()

    def passed(self, rows: int) -> None:
        if rows >= self._rows:
            self._open.set()


def test_files_are_recorded_in_turn_each_in_one_append_and_told_in_order(
    office: Office, store: InMemoryFactStore
) -> None:
    appends = store.appends
    reports = office.writes_files(FIRST, SECOND, THIRD).imports_in_turn()
    assert [(report.file, report.rows_imported) for report in reports] == [
        ("hours-1.csv", 2),
        ("hours-2.csv", 2),
        ("hours-3.csv", 2),
    ]
    assert store.appends == appends + 3
    positions = [0 if report.position is None else report.position for report in reports]
    assert positions == sorted(positions)
    assert positions[-1] == len(store.facts) == 2 + sum(report.facts for report in reports)


def test_files_imported_in_turn_become_the_same_facts_as_one_after_the_other(
    office: Office, store: InMemoryFactStore
) -> None:
    office.writes_files(FIRST, SECOND, THIRD).imports_in_turn()
    alone = office.store = InMemoryFactStore()
    recorded(alone, LEDGER_OPENED, POLICY_ADOPTED)
    for importing in office.writes_files(FIRST, SECOND, THIRD).files:
        importing.run()
    assert alone.facts == store.facts


def test_a_file_is_decided_while_the_one_before_it_is_being_recorded(office: Office, store: InMemoryFactStore) -> None:
    gate = Gate(rows=4)
    store.before_append.append(gate)
    settled = [row("R2", 3, status="confirmed"), *SECOND]
    reports = office.writes_files(FIRST, settled).imports_in_turn(progress=gate.passed)
    assert [report.rows_imported for report in reports] == [2, 3]
    assert [fact.record for fact in store.facts if isinstance(fact, HoursConfirmed)] == ["R1", "R2", "R3", "R4"]


def test_rows_that_the_file_before_held_already_are_there(office: Office, store: InMemoryFactStore) -> None:
    gate = Gate(rows=5)
    store.before_append.append(gate)
    overlapping = row("R9", 2, start="10:00", end="11:00")
    reports = office.writes_files(FIRST, [*FIRST, overlapping]).imports_in_turn(progress=gate.passed, skip_bad=True)
    assert (reports[1].rows_already_there, reports[1].rows_refused, reports[1].position) == (2, 1, None)
    assert [problem.field for problem in reports[1].problems] == ["start"]


def test_a_conflict_while_the_next_file_is_decided_has_both_decided_again(
    office: Office, store: InMemoryFactStore, pauses: list[float]
) -> None:
    """Somebody else registers a volunteer elsewhere, whom both files name."""
    recorded(store, *DISTRICT[2:])
    gate = Gate(rows=4, happening=lambda: recorded(store, MemberRegistered("V7", "H2")))
    store.before_append.append(gate)
    office.writes_files([FIRST[0], row("R2", 3, volunteer_no="V7")], [*SECOND, row("R8", 9, volunteer_no="V7")])
    reports = office.imports_in_turn(progress=gate.passed, skip_bad=True)
    assert [(report.rows_imported, report.rows_refused) for report in reports] == [(1, 1), (2, 1)]
    assert [problem.field for report in reports for problem in report.problems] == ["household", "household"]
    assert [report.refused_file for report in reports] == [
        str(office.refused),
        str(office.refused.with_name("refused-2.csv")),
    ]
    assert sorted(path.name for path in office.refused.parent.glob("refused*")) == ["refused-2.csv", "refused.csv"]
    records = [fact.record for fact in store.facts if isinstance(fact, HoursLogged)]
    assert len(pauses) == 1
    assert records == ["R1", "R3", "R4"]


def test_what_others_record_in_between_moves_a_file_and_has_the_next_decided_again(
    office: Office, store: InMemoryFactStore, pauses: list[float]
) -> None:
    """What they record touches the second file alone: deciding it on what was remembered would miss it."""
    recorded(store, *DISTRICT[2:])
    gate = Gate(rows=4, happening=lambda: recorded(store, MemberRegistered("V7", "H2")))
    store.before_append.append(gate)
    reports = office.writes_files(FIRST, [row("R8", 9, volunteer_no="V7"), SECOND[0]]).imports_in_turn(
        progress=gate.passed, skip_bad=True
    )
    assert [(report.rows_imported, report.rows_refused) for report in reports] == [(2, 0), (1, 1)]
    assert pauses == []
    assert reports[-1].position == len(store.facts)


def test_conflicts_without_end_are_told_and_nothing_later_is_recorded(
    office: Office, store: InMemoryFactStore, pauses: list[float]
) -> None:
    def conflict() -> None:
        raise Conflict

    told: list[ImportReport] = []
    store.before_append.extend([lambda: None, *[conflict] * CONFLICTS_MAX])
    files = office.writes_files(FIRST, SECOND, THIRD).files
    with pytest.raises(Conflict):
        import_in_turn(files, lambda _, report: told.append(report))
    assert [report.file for report in told] == ["hours-1.csv"]
    assert told[0].position == len(store.facts)
    assert len(pauses) == CONFLICTS_MAX - 1


def test_a_failure_to_record_a_file_ends_the_run_and_loses_nothing_that_is_recorded(
    office: Office, store: InMemoryFactStore
) -> None:
    def fail() -> None:
        raise StoreUnavailable("the server went away")

    told: list[str] = []
    gate = Gate(rows=7, happening=fail)
    store.before_append.extend([lambda: None, gate])
    files = office.writes_files(FIRST, [*SECOND, TOO_SHORT], THIRD).files
    with pytest.raises(StoreUnavailable):
        import_in_turn(files, lambda _, report: told.append(report.file), skip_bad=True, progress=gate.passed)
    assert told == ["hours-1.csv"]
    reports = office.imports_in_turn(skip_bad=True)
    assert [(report.rows_already_there, report.rows_imported) for report in reports] == [(2, 0), (0, 2), (0, 2)]


def test_a_refused_file_is_left_out_and_the_next_is_decided_without_it(
    office: Office, store: InMemoryFactStore
) -> None:
    """The third file has the volunteer of a good row in the refused one, in another household."""
    newcomer = {"volunteer_no": "V9", "volunteer_name": "李"}
    refused = [row("R3", 4, household_no="H9", **newcomer), TOO_SHORT]
    office.writes_files(FIRST, refused, [row("R5", 6, household_no="H2", recipient_household_no="H1", **newcomer)])
    reports = office.imports_in_turn()
    assert [(report.rows_imported, report.rows_refused) for report in reports] == [(2, 0), (0, 1), (1, 0)]
    assert reports[1].position is None
    assert MemberRegistered("V9", "H2") in store.facts
    assert office.files[1].names == {}
    assert office.files[2].names == {"V9": "李"}


def test_whoever_is_told_may_end_the_run(office: Office, store: InMemoryFactStore) -> None:
    def stop(_: HoursImport, report: ImportReport) -> None:
        if report.rows_refused:
            raise RuntimeError(report.file)

    files = office.writes_files(FIRST, [*SECOND, TOO_SHORT], THIRD).files
    with pytest.raises(RuntimeError, match=r"hours-2\.csv"):
        import_in_turn(files, stop)
    assert [fact.record for fact in store.facts if isinstance(fact, HoursLogged)] == ["R1", "R2"]


def test_a_dry_run_of_several_files_decides_each_by_itself(office: Office, store: InMemoryFactStore) -> None:
    reports = office.writes_files(FIRST, FIRST).imports_in_turn(dry_run=True)
    assert [(report.rows_imported, report.rows_already_there) for report in reports] == [(2, 0), (2, 0)]
    assert len(store.facts) == 2


def test_the_same_files_again_add_nothing(office: Office, store: InMemoryFactStore) -> None:
    office.writes_files(FIRST, SECOND).imports_in_turn()
    before = store.facts
    reports = office.writes_files(FIRST, SECOND).imports_in_turn()
    assert [(report.rows_already_there, report.facts, report.position) for report in reports] == [(2, 0, None)] * 2
    assert store.facts == before


def test_an_interruption_waits_for_the_file_that_is_being_recorded_and_tells_of_it(
    office: Office, store: InMemoryFactStore
) -> None:
    """Its names and remarks belong in the vault, since its facts are in the journal."""
    gate = Gate(rows=6)
    store.before_append.extend([lambda: None, gate])

    def interrupt(rows: int) -> None:
        gate.passed(rows)
        if rows == 6:
            raise KeyboardInterrupt

    told: list[str] = []
    files = office.writes_files(FIRST, SECOND, THIRD).files
    with pytest.raises(KeyboardInterrupt):
        import_in_turn(
            files, lambda file, _: told.extend([*file.remarks.values(), file.file.path.name]), progress=interrupt
        )
    assert told == ["hours-1.csv", "送餐", "hours-2.csv"]
    assert [fact.record for fact in store.facts if isinstance(fact, HoursLogged)] == ["R1", "R2", "R3", "R4"]


def test_an_interruption_tells_nothing_of_a_file_that_was_not_recorded(
    office: Office, store: InMemoryFactStore
) -> None:
    def fail() -> None:
        raise StoreUnavailable("the server went away as well")

    def interrupt(rows: int) -> None:
        gate.passed(rows)
        if rows == 4:
            raise KeyboardInterrupt

    gate = Gate(rows=4, happening=fail)
    store.before_append.append(gate)
    told: list[str] = []
    files = office.writes_files(FIRST, SECOND).files
    with pytest.raises(KeyboardInterrupt):
        import_in_turn(files, lambda _, report: told.append(report.file), progress=interrupt)
    assert (told, len(store.facts)) == ([], 2)


def test_what_a_small_memory_forgets_is_read_again(
    office: Office, store: InMemoryFactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours_import, "CHUNK_ROWS", 1)
    monkeypatch.setattr(hours_import, "STATES_MAX", 1)
    gate = Gate(rows=7)
    store.before_append.append(gate)
    reports = office.writes_files([*FIRST, row("R7", 8)], [*SECOND, *FIRST, row("R8", 9)]).imports_in_turn(
        progress=gate.passed
    )
    assert [(report.rows_imported, report.rows_already_there) for report in reports] == [(3, 0), (3, 2)]
    registered = [f for f in store.facts if isinstance(f, HouseholdRegistered | MemberRegistered | VolunteerEnrolled)]
    assert len(registered) == 4


@pytest.mark.usefixtures("pauses")
def test_a_file_that_cant_be_read_to_its_end_does_not_keep_the_one_before_it_out(
    office: Office, store: InMemoryFactStore
) -> None:
    recorded(store, *DISTRICT[2:])
    store.before_append.append(lambda: recorded(store, MemberRegistered("V1", "H1"), VolunteerEnrolled("V1")))
    files = office.writes_files(FIRST, SECOND).files
    files[1].file = open_hours_file(files[1].file.path, ZONE, rows_max=1)
    told: list[str] = []
    with pytest.raises(HoursFileError, match="more than 1 rows"):
        import_in_turn(files, lambda _, report: told.append(report.file))
    assert told == ["hours-1.csv"]
    assert [fact.record for fact in store.facts if isinstance(fact, HoursLogged)] == ["R1", "R2"]


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as one that is read in a process of its own."""
    monkeypatch.setattr(hours_reading, "APART_ROWS_MIN", 0)


@pytest.mark.usefixtures("_large")
def test_bad_rows_of_a_large_file_are_handed_back_as_they_stand_in_it(office: Office) -> None:
    unreadable = row("R7", 8, start="late")
    report = office.writes(*MANY, TOO_SHORT, unreadable, row("R8", 9)).imports(skip_bad=True)
    assert (report.rows, report.rows_imported, report.rows_refused) == (8, 6, 2)
    with office.refused.open(encoding="utf-8-sig", newline="") as file:
        handed_back = list(csv.DictReader(file))
    assert [{field: each[field] for field in FIELDS} for each in handed_back] == [TOO_SHORT, unreadable]


@pytest.mark.usefixtures("_large")
def test_a_large_file_that_was_imported_when_it_was_small_adds_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        small.setattr(hours_reading, "APART_ROWS_MIN", 1_000)
        office.writes(*MANY).imports()
    report = office.imports()
    assert (report.rows, report.rows_already_there, report.facts) == (5, 5, 0)


@pytest.mark.usefixtures("_large", "pauses")
def test_large_files_are_read_anew_when_they_are_decided_again(office: Office, store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT[2:])
    store.before_append.append(lambda: recorded(store, MemberRegistered("V1", "H1"), VolunteerEnrolled("V1")))
    reports = office.writes_files(FIRST, SECOND, [row("R8", 9)]).imports_in_turn()
    assert [report.rows_imported for report in reports] == [len(FIRST), len(SECOND), 1]


@pytest.mark.usefixtures("_large")
def test_whatever_ends_the_run_no_file_is_read_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[hours_reading.HoursReading] = []

    class Kept(hours_reading.HoursReading):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(self)

    class Full(Exception):
        pass

    def full(_: int) -> None:
        raise Full

    monkeypatch.setattr(hours_import, "HoursReading", Kept)
    with pytest.raises(Full):
        office.writes_files(FIRST, SECOND, [row("R8", 9)]).imports_in_turn(progress=full)
    assert [reading.ended for reading in begun] == [True, True]
