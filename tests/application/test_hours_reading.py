"""A large file is read in a process of its own, and nobody can tell from what is read."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openpyxl import Workbook

import application.hours_reading as hours_reading
from application.hours_file import HoursFile, HoursFileError, HoursRow, open_hours_file
from application.hours_reading import HoursReading, Read
from application.sample import write_sample
from application.write_loop import command_digest, command_id
from domain.hours import ImportHours
from tests.controls import XINZHU, ZONE, at

HEADER = ["record_no", "volunteer_no", "household_no", "community", "service", "date", "start", "end", "confirmed_by"]
SOUND = ["R1", "V1", "H1", XINZHU, "助餐", "2026-11-02", "09:00", "10:30", "S2"]
UNREADABLE = ["R2", "V1", "H1", XINZHU, "助餐", "2026-11-31", "late", "10:30", "S2"]


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Every file counts as large; the processes that were started to read them, none of which is left behind."""
    processes: list[subprocess.Popen[bytes]] = []

    class Kept(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            processes.append(self)

    monkeypatch.setattr(hours_reading, "APART_ROWS_MIN", 0)
    monkeypatch.setattr(subprocess, "Popen", Kept)
    yield processes
    assert [process.returncode for process in processes if process.returncode is None] == []


def written(path: Path, *rows: list[str], header: list[str] = HEADER) -> HoursFile:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return open_hours_file(path, ZONE)


def read(file: HoursFile, chunk_rows: int = 3) -> list[tuple[list[str], Read]]:
    with HoursReading(file, chunk_rows) as reading:
        return [(chunk.cells(index), row) for chunk in reading for index, row in enumerate(chunk.rows)]


def in_this_process(file: HoursFile, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Read]]:
    with monkeypatch.context() as small:
        small.setattr(hours_reading, "APART_ROWS_MIN", file.rows_estimate + 1)
        return read(file)


def test_what_is_read_apart_is_what_is_read_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    summary = write_sample(tmp_path / "sample", households_served=20, hours=300)
    for name in summary.files:
        file = open_hours_file(tmp_path / "sample" / name, ZONE)
        here = in_this_process(file, monkeypatch)
        assert here
        assert read(file, chunk_rows=7) == here
    assert len(started) == len(summary.files)


def test_a_workbook_is_read_apart_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook = Workbook()
    for cells in (HEADER, SOUND, UNREADABLE):
        workbook.worksheets[0].append(cells)
    workbook.save(tmp_path / "hours.xlsx")
    file = open_hours_file(tmp_path / "hours.xlsx", ZONE)
    rows = read(file)
    assert [cells for cells, _ in rows] == [SOUND, UNREADABLE]
    assert rows == in_this_process(file, monkeypatch)


def test_a_rows_command_has_the_id_and_the_digest_of_its_content(tmp_path: Path) -> None:
    ((_, sound), (_, unreadable)) = read(written(tmp_path / "hours.csv", SOUND, UNREADABLE))
    ticket = sound.ticket()
    assert ticket is not None
    assert ticket.command == ImportHours(
        "R1", "V1", "H1", XINZHU, None, XINZHU, (), "助餐", at("11-02 09:00"), at("11-02 10:30"), 90, "S2", "confirmed"
    )
    assert ticket.id == command_id("@import", "R1 confirmed")
    assert ticket.digest == command_digest(ticket.decide, ticket.command)
    assert isinstance(sound.row, HoursRow)
    assert unreadable.ticket() is None


def test_an_error_of_the_file_is_told_as_if_it_were_read_here(tmp_path: Path) -> None:
    written(tmp_path / "hours.csv", SOUND, ["R2", *SOUND[1:]], ["R3", *SOUND[1:]])
    file = open_hours_file(tmp_path / "hours.csv", ZONE, rows_max=2)
    with HoursReading(file, 1) as reading:
        chunks = iter(reading)
        assert [next(chunks).cells(0)[0], next(chunks).cells(0)[0]] == ["R1", "R2"]
        with pytest.raises(HoursFileError) as told:
            next(chunks)
    assert told.value.en == "hours.csv has more than 2 rows; split it into several files"
    assert told.value.zh == "hours.csv 超过 2 行，请分成几个文件"


def test_a_process_that_was_killed_is_an_error_that_says_so(
    tmp_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    with HoursReading(written(tmp_path / "hours.csv", SOUND), 1) as reading:
        (process,) = started
        process.kill()
        process.wait()
        # What it had written by then may be read; that it was the whole file is never believed.
        with pytest.raises(HoursFileError, match=r"the process that reads hours.csv was ended \(-9\); try again"):
            list(reading)


def test_what_is_left_unread_ends_with_the_reading(tmp_path: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    rows = [[f"R{n}", *SOUND[1:]] for n in range(20_000)]
    with HoursReading(written(tmp_path / "hours.csv", *rows), 1_000) as reading:
        assert next(iter(reading)).cells(0) == rows[0]
        (process,) = started
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL


READING = """
import signal, sys, time
from pathlib import Path
from zoneinfo import ZoneInfo
from application import hours_reading
from application.hours_file import open_hours_file

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is started to ignore it
hours_reading.APART_ROWS_MIN = 0
reading = hours_reading.HoursReading(open_hours_file(Path(sys.argv[1]), ZoneInfo("Asia/Shanghai")), 1_000)
next(iter(reading))
print("reading", flush=True)
while True:  # in short waits: a signal just before a long one would not be looked at until its end
    time.sleep(0.01)
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_one_that_decides_ends_the_one_that_reads_ends_too(tmp_path: Path, by: signal.Signals) -> None:
    written(tmp_path / "hours.csv", *([f"R{n}", *SOUND[1:]] for n in range(20_000)))
    command = [sys.executable, "-c", READING, str(tmp_path / "hours.csv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as deciding:
        assert deciding.stdout is not None
        assert deciding.stdout.readline() == b"reading\n"
        os.killpg(deciding.pid, by)
        try:
            _, told = deciding.communicate(timeout=60)  # both hold the pipe, so it ends only when both have
        finally:
            deciding.kill()
    assert deciding.returncode == -by
    assert b"BrokenPipe" not in told
