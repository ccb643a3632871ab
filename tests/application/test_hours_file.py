"""An office's file is read into typed rows, or answered with every problem by row, field and reason."""

import csv
import io
import struct
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from application import hours_file
from application.hours_file import (
    NOTE_CHARACTERS_MAX,
    HoursFile,
    HoursFileError,
    HoursRow,
    RefusedRows,
    RowProblem,
    open_hours_file,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
CHINESE = [
    *("记录编号", "志愿者编号", "志愿者姓名", "户编号", "服务对象户编号", "社区", "网格", "服务项目"),
    *("服务日期", "开始时间", "结束时间", "时长（分钟）", "确认人", "备注", "状态"),
]
ENGLISH = [
    *("record_no", "volunteer_no", "volunteer_name", "household_no", "recipient_household_no", "community"),
    *("grid_path", "service", "date", "start", "end", "minutes", "confirmed_by", "note", "status"),
]
FIELDS = [
    *("record", "volunteer", "volunteer_name", "household", "recipient_household", "community", "grid", "service"),
    *("date", "start", "end", "minutes", "confirmed_by", "note", "status"),
]
CELLS = [
    *("R-1", "V-1", "张𠮷", "H-1", "H-2", "新竹", "第3网格/3-2元网格/5栋", "助餐"),
    *("2026-11-22", "09:05", "10:35", "90", "S-1", "送餐，两份", "已确认"),
]
ROW = HoursRow(
    row=2,
    record="R-1",
    volunteer="V-1",
    volunteer_name="张𠮷",
    household="H-1",
    recipient_household="H-2",
    community="新竹",
    grid=("第3网格", "3-2元网格", "5栋"),
    service="助餐",
    started_at=datetime(2026, 11, 22, 9, 5, tzinfo=SHANGHAI),
    ended_at=datetime(2026, 11, 22, 10, 35, tzinfo=SHANGHAI),
    minutes=90,
    confirmed_by="S-1",
    note="送餐，两份",
    status="confirmed",
)
ENCODINGS = ["utf-8", "utf-8-sig", "gb18030", "utf-16"]
MOBILE = "13800138000"
IDENTITY = "11010519491231002X"


def cells_with(**changes: Any) -> list[Any]:
    return [changes.get(field, cell) for field, cell in zip(FIELDS, CELLS, strict=True)]


def as_csv(rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*rows: Sequence[Any], encoding: str = "utf-8", before: str = "", delimiter: str = ",") -> Path:
        path = tmp_path / "hours.csv"
        path.write_bytes((before + as_csv(rows, delimiter)).encode(encoding))
        return path

    return write


@pytest.fixture
def write_xlsx(tmp_path: Path) -> Write:
    def write_xlsx(*rows: Sequence[Any], formats: dict[str, str] | None = None) -> Path:
        workbook = openpyxl.Workbook()
        sheet = workbook.active
        assert sheet is not None
        for row in rows:
            sheet.append(list(row))
        for coordinate, number_format in (formats or {}).items():
            sheet[coordinate].number_format = number_format
        path = tmp_path / "hours.xlsx"
        workbook.save(path)
        workbook.close()
        return path

    return write_xlsx


def outcomes(path: Path, zone: ZoneInfo = SHANGHAI) -> list[HoursRow | tuple[RowProblem, ...]]:
    return [outcome for _, outcome in open_hours_file(path, zone)]


def only_row(path: Path, zone: ZoneInfo = SHANGHAI) -> HoursRow:
    (outcome,) = outcomes(path, zone)
    assert isinstance(outcome, HoursRow), outcome
    return outcome


def only_problems(path: Path, zone: ZoneInfo = SHANGHAI) -> tuple[RowProblem, ...]:
    (outcome,) = outcomes(path, zone)
    assert isinstance(outcome, tuple), outcome
    assert outcome
    return outcome


def refusal(path: Path, **options: Any) -> HoursFileError:
    with pytest.raises(HoursFileError) as refused:
        list(open_hours_file(path, SHANGHAI, **options))
    assert "\n" not in str(refused.value)
    assert str(refused.value) == f"{refused.value.zh} / {refused.value.en}"
    return refused.value


# ── What a good file may look like ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("header", [CHINESE, ENGLISH])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_reads_the_same_in_every_encoding_language_and_delimiter(
    write: Write, encoding: str, header: list[str], delimiter: str
) -> None:
    assert only_row(write(header, CELLS, encoding=encoding, delimiter=delimiter)) == ROW


@pytest.mark.parametrize("header", [CHINESE, ENGLISH])
def test_an_xlsx_of_text_reads_like_the_csv(write_xlsx: Write, header: list[str]) -> None:
    assert only_row(write_xlsx(header, CELLS)) == ROW


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_read(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "hours.csv"
    path.write_bytes(as_csv([CHINESE, CELLS]).replace("\r\n", line_end).encode())
    assert only_row(path) == ROW


def test_columns_come_in_any_order_case_width_and_spacing(write: Write) -> None:
    header = [f"  {name.upper()}　".replace("_", " ") for name in reversed(ENGLISH)]
    assert only_row(write(header, CELLS[::-1])) == ROW
    header = [name.replace("（", "(").replace("）", ")") for name in reversed(CHINESE)]
    assert only_row(write(header, CELLS[::-1])) == ROW
    assert only_row(write(["ｒｅｃｏｒｄ＿ｎｏ", *ENGLISH[1:]], CELLS)) == ROW


def test_optional_columns_may_be_absent(write: Write) -> None:
    required = ["record_no", "volunteer_no", "household_no", "community", "service", "date", "start", "minutes"]
    row = only_row(write(required, ["R", "V", "H", "新竹", "助餐", "20261122", "9:05", "30"]))
    assert (row.volunteer_name, row.recipient_household, row.grid, row.note) == ("", None, (), "")
    assert (row.confirmed_by, row.status) == (None, "logged")
    assert row.ended_at == datetime(2026, 11, 22, 9, 35, tzinfo=SHANGHAI)


def test_unknown_columns_are_ignored_and_listed(write: Write) -> None:
    file = open_hours_file(write([*CHINESE, "星座", "", " "], [*CELLS, "狮子", "", ""]), SHANGHAI)
    assert file.ignored_columns == ("星座",)
    assert file.columns["minutes"] == "时长（分钟）"
    assert [outcome for _, outcome in file] == [ROW]


def test_a_column_without_a_name_is_listed_by_its_place(write: Write) -> None:
    assert open_hours_file(write(["", *CHINESE], ["1", *CELLS]), SHANGHAI).ignored_columns == ("#1",)


@pytest.mark.parametrize(
    ("comment", "synthetic"),
    [("# SYNTHETIC sample\n", True), ('"# 合成数据, 非真实"\n', True), ("# from the district\n", False), ("", False)],
)
def test_a_comment_marks_a_csv_synthetic(write: Write, comment: str, synthetic: bool) -> None:
    file = open_hours_file(write(CHINESE, CELLS, before=comment, encoding="utf-8-sig"), SHANGHAI)
    assert file.synthetic is synthetic
    assert [outcome.row for _, outcome in file if isinstance(outcome, HoursRow)] == [3 if comment else 2]


def test_a_comment_marks_an_xlsx_synthetic(write_xlsx: Write) -> None:
    file = open_hours_file(write_xlsx(["# 合成"], CHINESE, CELLS), SHANGHAI)
    assert file.synthetic
    assert [outcome.row for _, outcome in file if isinstance(outcome, HoursRow)] == [3]


def test_rows_count_as_a_person_sees_them(write: Write) -> None:
    # A blank row counts, a cell with line breaks is one row.
    path = write(CHINESE, cells_with(note="一\r\n二\n三"), [], ["", " "], cells_with(record="R-2"), before="# x\n\n")
    first, second = outcomes(path)
    assert isinstance(first, HoursRow)
    assert isinstance(second, HoursRow)
    assert (first.row, first.note, second.row) == (4, "一\n二\n三", 7)


def test_trailing_blank_rows_and_cells_are_nothing(write: Write, write_xlsx: Write) -> None:
    rows = [[*CHINESE, "", ""], [*CELLS, "", " "], [""] * 17, [" "], []]
    assert outcomes(write(*rows)) == [ROW]
    assert outcomes(write_xlsx(*rows)) == [ROW]


def test_cells_missing_at_the_end_are_blank(write: Write) -> None:
    assert only_row(write(CHINESE, CELLS[:12])).status == "logged"


def test_a_header_alone_has_no_rows(write: Write) -> None:
    assert outcomes(write(CHINESE)) == []


def test_a_file_can_be_read_twice_and_tells_about_how_long_it_is(write: Write) -> None:
    file = open_hours_file(write(CHINESE, *[CELLS] * 5), SHANGHAI)
    assert list(file) == list(file)
    assert file.rows_estimate == 5


def test_many_different_texts_are_read_right(write: Write) -> None:
    # More than the memo holds.
    path = write(CHINESE, *[cells_with(record=f"R{n}", note=f"备注{n}") for n in range(40_000)])
    for number, outcome in enumerate(outcomes(path)):
        assert isinstance(outcome, HoursRow)
        assert (outcome.record, outcome.note) == (f"R{number}", f"备注{number}")


# ── Values ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2024-02-29",
            "2024/2/29",
            "2024.02.29",
            "20240229",
            "2024年2月29日",
            "2024年02月29日",
            "２０２４－０２－２９",
        ),
        *(" 2024-02-29 ", "2024-02-29 00:00:00", "2024-02-29T00:00"),
    ],
)
def test_a_date_is_read_in_every_usual_form(write: Write, text: str) -> None:
    assert only_row(write(CHINESE, cells_with(date=text))).started_at.date() == date(2024, 2, 29)


@pytest.mark.parametrize(
    "text", ["9:05", "09:05", "09:05:00", "9时05分", "9时5分", "９：０５", "09时05分00秒", "9点05分"]
)
def test_a_time_is_read_in_every_usual_form(write: Write, text: str) -> None:
    assert only_row(write(CHINESE, cells_with(start=text))).started_at.time() == time(9, 5)


@pytest.mark.parametrize(
    ("start", "end", "minutes", "ended", "length"),
    [
        ("09:05", "10:35", "", (22, 10, 35), 90),  # minutes from the times
        ("09:05", "", "45", (22, 9, 50), 45),  # end from the minutes
        ("09:05", "10:35", "60", (22, 10, 35), 60),  # a break in between
        ("22:00", "24:00", "", (23, 0, 0), 120),
        ("22:00", "0:00", "", (23, 0, 0), 120),
        ("22:00", "01:30", "", (23, 1, 30), 210),  # over midnight
        ("22:00", "01:00", "180", (23, 1, 0), 180),
        ("22:00", "01:00", "91", (23, 1, 0), 91),  # a break in between
        ("0:00", "24:00", "60", (23, 0, 0), 60),  # not over midnight, whatever the minutes
        ("23:30", "", "60", (23, 0, 30), 60),
        ("24:00", "1:00", "", (23, 1, 0), 60),
        ("9时", "10点整", "６０分钟", (22, 10, 0), 60),
        ("9:00", "10:00", "60.0", (22, 10, 0), 60),
    ],
)
def test_end_and_minutes_complete_each_other(
    write: Write, start: str, end: str, minutes: str, ended: tuple[int, int, int], length: int
) -> None:
    row = only_row(write(CHINESE, cells_with(start=start, end=end, minutes=minutes)))
    assert row.ended_at == datetime(2026, 11, *ended, tzinfo=SHANGHAI)
    assert row.minutes == length


@pytest.mark.parametrize("minutes", ["", "60", "1440"])
@pytest.mark.parametrize(("start", "end"), [("9:00", "9:00"), ("0:00", "0:00"), ("24:00", "0:00"), ("24:00", "24:00")])
def test_a_service_that_ends_when_it_starts_is_refused(write: Write, start: str, end: str, minutes: str) -> None:
    (problem,) = only_problems(write(CHINESE, cells_with(start=start, end=end, minutes=minutes)))
    assert (problem.field, problem.value) == ("end", end)
    assert (problem.reason_zh, problem.reason_en) == ("结束时间与开始时间相同", "is the same as the start")


@pytest.mark.parametrize(
    ("start", "end", "minutes"),
    [("10:00", "09:00", "60"), ("22:00", "01:00", "90"), ("22:00", "21:30", "30"), ("14:30", "02:30", "360")],
)
def test_an_end_before_the_start_is_no_night_where_the_minutes_are_far_fewer(
    write: Write, start: str, end: str, minutes: str
) -> None:
    (problem,) = only_problems(write(CHINESE, cells_with(start=start, end=end, minutes=minutes)))
    assert problem.field == "end"
    assert "填反" in problem.reason_zh
    assert problem.reason_en.startswith("is before the start")


@given(st.integers(0, 1439), st.integers(0, 1440), st.integers(1, 1440))
def test_over_midnight_goes_who_served_more_than_half_of_it(start: int, end: int, minutes: int) -> None:
    span = end - start if end > start else end - start + 1440
    if end == start or minutes > span or (end < start and 2 * minutes <= span):
        with pytest.raises(hours_file._Unfit):
            hours_file._span(hours_file._SOME_DAY, start, end, minutes)
    else:
        started_at, ended_at, counted = hours_file._span(hours_file._SOME_DAY, start, end, minutes)
        assert (ended_at - started_at, counted) == (timedelta(minutes=span), minutes)


def test_minutes_are_the_time_that_passed_where_clocks_change(write: Write) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    forward = cells_with(date="2026-03-29", start="01:30", end="03:30", minutes="")
    assert only_row(write(CHINESE, forward), berlin).minutes == 60
    back = cells_with(date="2026-10-25", start="01:30", end="03:30", minutes="180")
    assert only_row(write(CHINESE, back), berlin).minutes == 180
    counted = cells_with(date="2026-03-29", start="01:30", end="", minutes="60")
    assert only_row(write(CHINESE, counted), berlin).ended_at == datetime(2026, 3, 29, 3, 30, tzinfo=berlin)
    skipped = cells_with(date="2026-03-29", start="02:30", end="04:00", minutes="")
    (problem,) = only_problems(write(CHINESE, skipped), berlin)
    assert (problem.field, problem.reason_en) == ("start", "does not exist on that day, because clocks changed")
    too_long = cells_with(date="2026-03-29", start="01:30", end="03:30", minutes="90")
    (problem,) = only_problems(write(CHINESE, too_long), berlin)
    assert problem.field == "minutes"


@pytest.mark.parametrize("word", ["", "无", "none", "None", "-", "－", " ", "'-"])
def test_a_service_for_nobody_in_particular_names_no_household(write: Write, word: str) -> None:
    assert only_row(write(CHINESE, cells_with(recipient_household=word))).recipient_household is None


@pytest.mark.parametrize(
    ("path", "levels"),
    [
        ("第3网格/3-2元网格/5栋", ("第3网格", "3-2元网格", "5栋")),
        (" 第3网格 ／ 3-2元网格 ", ("第3网格", "3-2元网格")),
        ("第3网格>3-2元网格＞5栋", ("第3网格", "3-2元网格", "5栋")),
        ("第3网格", ("第3网格",)),
        ("", ()),
        ("无", ()),
    ],
)
def test_a_grid_path_has_up_to_three_levels(write: Write, path: str, levels: tuple[str, ...]) -> None:
    assert only_row(write(CHINESE, cells_with(grid=path))).grid == levels


@pytest.mark.parametrize(
    ("text", "confirmed_by", "status"),
    [
        ("", "S-1", "confirmed"),
        ("", "", "logged"),
        ("待确认", "", "logged"),
        ("LOGGED", "S-1", "logged"),
        ("已确认", "S-1", "confirmed"),
        ("Rejected", "S-1", "rejected"),
        (" 已冲正 ", "S-1", "reversed"),
    ],
)
def test_status_is_read_or_follows_from_who_confirmed(write: Write, text: str, confirmed_by: str, status: str) -> None:
    assert only_row(write(CHINESE, cells_with(status=text, confirmed_by=confirmed_by))).status == status


def test_ids_are_made_plain_and_places_composed_but_personal_names_left_alone(write: Write) -> None:
    row = only_row(write(CHINESE, cells_with(volunteer=" Ｖ－１ ", community="Cafe\u0301", volunteer_name="\uf91d 氏")))
    assert (row.volunteer, row.community, row.volunteer_name) == ("V-1", "Café", "\uf91d 氏")


# ── Every problem of a row, by row, field and reason ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("record", "", "must not be empty"),
        ("record", "编号1", "must start with a letter"),
        ("record", "R" * 65, "at most 64 characters"),
        ("record", IDENTITY, "identity-card or mobile"),
        ("volunteer", "", "must not be empty"),
        ("volunteer", MOBILE, "identity-card or mobile"),
        ("volunteer", "１３８００１３８０００", "identity-card or mobile"),
        ("volunteer_name", "张" * 101, "at most 100 characters"),
        ("volunteer_name", "张\0三", "control"),
        ("household", "", "must not be empty"),
        ("household", "H 1", "must start with a letter"),
        ("recipient_household", "没有", "must start with a letter"),
        ("recipient_household", "110105491231002", "identity-card or mobile"),
        ("community", "", "must not be empty"),
        ("community", "新竹/金湖", "must not contain '/'"),
        ("community", "新" * 41, "at most 40 characters"),
        ("community", f"新竹{MOBILE}", "identity-card or mobile"),
        ("community", "#N/A", "error value of Excel"),
        ("grid", "一/二/三/四", "more than 3 levels"),
        ("grid", "一//三", "empty level"),
        ("grid", "一/" + "二" * 41, "at most 40 characters"),
        ("grid", f"一/{MOBILE}", "identity-card or mobile"),
        ("service", "", "must not be empty"),
        ("service", "助\t餐", "control"),
        ("date", "", "must not be empty"),
        ("date", "2026-02-29", "not a day of the calendar"),
        ("date", "20261301", "not a day of the calendar"),
        ("date", "22/11/2026", "not a date such as"),
        ("date", "2026-11/22", "not a date such as"),
        ("date", "2026-11-22 09:05", "not a date such as"),
        ("date", "1026-11-22", "not a date such as"),
        ("date", "昨天", "not a date such as"),
        ("start", "", "must not be empty"),
        ("start", "9.05", "not a time such as"),
        ("start", "25:00", "not a time such as"),
        ("start", "24:01", "not a time such as"),
        ("start", "9:60", "not a time such as"),
        ("start", "9:05:30", "without seconds"),
        ("start", "下午2:30", "not a time such as"),
        ("end", "later", "not a time such as"),
        ("minutes", "0", "between 1 and 1440"),
        ("minutes", "-5", "between 1 and 1440"),
        ("minutes", "99999999999", "between 1 and 1440"),
        ("minutes", "1.5", "not a whole number"),
        ("minutes", "两小时", "not a whole number"),
        ("minutes", "91", "more than the time from start to end"),
        ("confirmed_by", "王主任", "must start with a letter"),
        ("note", "x" * (NOTE_CHARACTERS_MAX + 1), "at most 1000 characters"),
        ("note", "a\0b", "control"),
        ("status", "done", "must be one of"),
    ],
)
def test_a_bad_cell_is_named_by_row_field_and_reason(write: Write, field: str, value: str, reason: str) -> None:
    (problem,) = only_problems(write(CHINESE, cells_with(**{field: value})))
    assert (problem.row, problem.field) == (2, field)
    assert reason in problem.reason_en
    assert any("\u4e00" <= character <= "\u9fff" for character in problem.reason_zh)
    assert len(problem.value) <= 60


def test_a_bad_row_gives_all_of_its_problems(write: Write) -> None:
    bad = cells_with(
        record="", volunteer=MOBILE, date="2026-02-30", start="9:00", end="10:00", minutes="61", status="?"
    )
    problems = only_problems(write(CHINESE, bad))
    assert [problem.field for problem in problems] == ["record", "volunteer", "date", "status", "minutes"]


def test_a_bad_row_does_not_spoil_its_neighbours(write: Write) -> None:
    first, second, third = outcomes(write(CHINESE, CELLS, cells_with(start="x"), CELLS))
    assert isinstance(first, HoursRow)
    assert isinstance(second, tuple)
    assert isinstance(third, HoursRow)
    assert third.row == 4


def test_end_or_minutes_must_be_given(write: Write) -> None:
    (problem,) = only_problems(write(CHINESE, cells_with(end="", minutes="")))
    assert (problem.field, problem.value) == ("end", "")


@pytest.mark.parametrize("status", ["已确认", "rejected", "已冲正"])
def test_a_settled_record_needs_who_settled_it(write: Write, status: str) -> None:
    (problem,) = only_problems(write(CHINESE, cells_with(status=status, confirmed_by="")))
    assert problem.field == "confirmed_by"


def test_cells_beyond_the_header_are_a_problem_of_the_row(write: Write, write_xlsx: Write) -> None:
    for path in (write(CHINESE, [*CELLS, "三份"]), write_xlsx(CHINESE, [*CELLS, "三份"])):
        (problem,) = only_problems(path)
        assert (problem.field, problem.value) == ("row", "三份")


@pytest.mark.parametrize("number", [MOBILE, IDENTITY, "１３８００１３８０００"])
@pytest.mark.parametrize("field", ["volunteer", "community", "date", "note", "status"])
def test_a_problem_never_shows_a_personal_number(write: Write, number: str, field: str) -> None:
    value = number + "\0" if field == "note" else number
    (problem,) = only_problems(write(CHINESE, cells_with(**{field: value})))
    assert "***" in problem.value
    assert not {MOBILE, IDENTITY, "１３８００１３８０００"} & {problem.value, problem.value[:-1]}


def test_a_shown_value_holds_no_control_characters(write: Write) -> None:
    (problem,) = only_problems(write(CHINESE, cells_with(date="\x1b[31m\n2026")))
    assert problem.value == "\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}2026"


# ── What Excel does to cells ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("day", "start", "end", "minutes"),
    [
        (date(2026, 11, 22), time(9, 5), time(10, 35), 90),
        (datetime(2026, 11, 22), time(9, 5), timedelta(hours=10, minutes=35), 90.0),  # noqa: DTZ001
        (46348, (9 * 60 + 5) / 1440, 0.4409722, None),  # serial numbers without a date format
        (20261122, "09:05", "10:35", "90"),
        ("2026年11月22日", time(9, 5), None, 90),
    ],
)
def test_real_dates_times_and_numbers_are_read(write_xlsx: Write, day: Any, start: Any, end: Any, minutes: Any) -> None:
    row = only_row(write_xlsx(CHINESE, cells_with(date=day, start=start, end=end, minutes=minutes)))
    assert (row.started_at, row.ended_at, row.minutes) == (ROW.started_at, ROW.ended_at, ROW.minutes)


@pytest.mark.parametrize("end", [timedelta(days=1), 1, "24:00"])
def test_a_whole_day_is_midnight_at_its_end(write_xlsx: Write, end: Any) -> None:
    row = only_row(write_xlsx(CHINESE, cells_with(start=time(22), end=end, minutes=None)))
    assert row.minutes == 120
    row = only_row(write_xlsx(CHINESE, cells_with(start=time(22), end=1, minutes=None), formats={"K2": "h:mm"}))
    assert row.minutes == 120


def test_serial_dates_of_the_1904_epoch_are_read(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.epoch = CALENDAR_MAC_1904
    sheet = workbook.active
    assert sheet is not None
    sheet.append(CHINESE)
    sheet.append(cells_with(date=46348 - 1462))
    workbook.save(tmp_path / "mac.xlsx")
    assert only_row(tmp_path / "mac.xlsx").started_at == ROW.started_at


def test_numeric_ids_become_their_integer_text(write_xlsx: Write) -> None:
    row = only_row(write_xlsx(CHINESE, cells_with(record=12.0, volunteer=7, household=100200)))
    assert (row.record, row.volunteer, row.household) == ("12", "7", "100200")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("volunteer", 13800138000, "identity-card or mobile"),
        ("volunteer", 450103199003071200, "more than 15 digits"),  # Excel has zeroed the last three
        ("volunteer", 4.5e17, "more than 15 digits"),
        ("record", True, None),
        ("grid", date(2026, 3, 2), "turned into a date"),  # typed as 3-2
        ("community", time(3, 2), "turned into a date"),
        ("minutes", time(1, 30), "turned into a date"),
        ("minutes", 90.5, "not a whole number"),
        ("date", datetime(2026, 11, 22, 9, 5), "not a date such as"),  # noqa: DTZ001
        ("date", 3, "minutes"),
        ("start", 9.05, "not a time such as"),
        ("start", time(9, 5, 30), "without seconds"),
        ("community", "#REF!", "error value of Excel"),
        ("volunteer_name", "=CONCAT(A1,B1)", "formula without a result"),
        ("minutes", "=K2-J2", "formula without a result"),
        ("note", '=HYPERLINK("http://x")', "formula without a result"),
    ],
)
def test_what_excel_spoilt_is_named(write_xlsx: Write, field: str, value: Any, reason: str | None) -> None:
    path = write_xlsx(CHINESE, cells_with(**{field: value}))
    if reason is None:
        assert only_row(path).record == "TRUE"
    elif reason == "minutes":  # a small serial number is a day of January 1900
        assert only_row(path).started_at.year == 1900
    else:
        (problem,) = only_problems(path)
        assert problem.field == field
        assert reason in problem.reason_en


def edited_xlsx(path: Path, edit: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path) as package:
        parts = {name: edit(name, package.read(name)) for name in package.namelist()}
    return pack(path, parts, compression)


def pack(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return path


def edited_sheet(path: Path, old: bytes, new: bytes) -> Path:
    def edit(name: str, content: bytes) -> bytes:
        if not name.startswith("xl/worksheets/"):
            return content
        assert old in content
        return content.replace(old, new, 1)

    return edited_xlsx(path, edit)


def test_a_formula_with_its_result_is_read(write_xlsx: Write) -> None:
    path = edited_sheet(write_xlsx(CHINESE, cells_with(minutes="=45*2")), b"<v />", b"<v>90</v>")
    assert only_row(path) == ROW


def test_a_sheet_that_misstates_its_size_is_read_to_its_end(write_xlsx: Write) -> None:
    path = write_xlsx(CHINESE, CELLS, cells_with(record="R-2"))
    assert len(outcomes(edited_sheet(path, b'ref="A1:O3"', b'ref="A1:B2"'))) == 2


def test_a_date_beyond_the_calendar_is_a_problem_and_no_noise(write_xlsx: Write) -> None:
    path = write_xlsx(CHINESE, cells_with(date=99_999_999_999), formats={"I2": "yyyy-mm-dd"})
    (problem,) = only_problems(path)
    assert problem.field == "date"


def test_other_sheets_are_ignored_and_listed(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(CHINESE)
    sheet.append(CELLS)
    workbook.create_sheet("去年").append(CHINESE)
    workbook.save(tmp_path / "two.xlsx")
    file = open_hours_file(tmp_path / "two.xlsx", SHANGHAI)
    assert file.ignored_sheets == ("去年",)
    assert [outcome for _, outcome in file] == [ROW]


# ── Files that can't be read ─────────────────────────────────────────────────────────────────────────────────


def read_or_refused(path: Path) -> tuple[list[HoursRow | tuple[RowProblem, ...]], HoursFileError | None]:
    try:
        return outcomes(path), None
    except HoursFileError as error:
        return [], error


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "check the path" in refusal(tmp_path / "none.csv").en
    assert "check the path" in refusal(tmp_path).en


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"# only a comment\n", b",,,\n", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["hours.csv", "hours.xlsx"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "save it again" in refusal(path).en if name == "hours.xlsx" and content else "empty" in refusal(path).en


def test_an_empty_workbook_is_refused(write_xlsx: Write) -> None:
    assert "empty" in refusal(write_xlsx()).en


@pytest.mark.parametrize("missing", ["record", "volunteer", "household", "community", "service", "date", "start"])
@pytest.mark.parametrize("header", [CHINESE, ENGLISH])
def test_a_missing_required_column_is_named_beside_the_unknown_ones(
    write: Write, missing: str, header: list[str]
) -> None:
    place = FIELDS.index(missing)
    error = refusal(write([*header[:place], "misspelt", *header[place + 1 :]], CELLS))
    assert CHINESE[place] in error.zh
    assert ENGLISH[place] in error.en
    assert "misspelt" in error.en


def test_end_and_minutes_may_not_both_lack_a_column(write: Write) -> None:
    assert "lacks the columns end or minutes" in refusal(write(CHINESE[:10], CELLS[:10])).en


def test_a_column_twice_is_refused(write: Write) -> None:
    assert "record_no twice" in refusal(write([*CHINESE, "Record No"], CELLS)).en


def test_too_many_columns_are_refused(write: Write, write_xlsx: Write) -> None:
    header = [*CHINESE, *(f"x{number}" for number in range(100))]
    assert "more than 100 columns" in refusal(write(header)).en
    assert "more than 100 columns" in refusal(write_xlsx(header)).en


def test_an_unknown_encoding_is_refused_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    start = as_csv([CHINESE, CELLS]).encode("gb18030")
    path.write_bytes(start + b"\xff\n")
    assert f"not GB18030 at byte {len(start)}" in refusal(path).en
    assert "not UTF-8 at byte 0" in refusal(path).en


@pytest.mark.parametrize("rows", [1, 20_000])  # within the first chunk, and behind it
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_damaged_utf8_file_is_not_taken_for_gb18030(tmp_path: Path, rows: int, bom: bytes) -> None:
    path = tmp_path / "hours.csv"
    start = bom + as_csv([CHINESE, *[CELLS] * rows]).encode()
    path.write_bytes(start + b"\xb0\xa1,\n")
    assert f"at byte {len(start)}" in refusal(path).en


def test_a_character_cut_off_at_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    path.write_bytes(as_csv([CHINESE]).encode() + "竹".encode()[:2])
    assert "not UTF-8 at byte" in refusal(path).en


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_characters_across_read_chunks_survive(write: Write, encoding: str) -> None:
    rows = [cells_with(record=f"R{number}", note="𠮷㐂" * (number % 7)) for number in range(20_000)]
    read = outcomes(write(CHINESE, *rows, encoding=encoding))
    assert [outcome.note for outcome in read if isinstance(outcome, HoursRow)] == [row[13] for row in rows]


@pytest.mark.parametrize(
    "tail", ['R-2,"unclosed\n', 'R-2,"a"b,c\n', 'R-2,"' + "x" * 200_000 + '"\n'], ids=["open", "stray", "long"]
)
def test_broken_quoting_and_endless_cells_are_refused_with_the_row(write: Write, tail: str) -> None:
    path = write(CHINESE, CELLS)
    path.write_text(path.read_text() + tail)
    assert "row 3" in refusal(path).en
    assert "第 3 行" in refusal(path).zh


def test_an_endless_line_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    path.write_bytes(b"x," * (1 << 20))
    assert "more than 1 MiB" in refusal(path).en


@pytest.mark.parametrize("extra", [0, 1])
def test_more_rows_than_the_limit_are_refused(write: Write, write_xlsx: Write, extra: int) -> None:
    for path in (write(CHINESE, *[CELLS] * (3 + extra)), write_xlsx(CHINESE, *[CELLS] * (3 + extra))):
        if extra:
            assert "more than 3 rows" in refusal(path, rows_max=3).en
        else:
            assert len(list(open_hours_file(path, SHANGHAI, rows_max=3))) == 3


@pytest.mark.parametrize("content", [b"just text", b"%PDF-1.7\n", b"PK\x03\x04 cut off", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_xlsx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hours.xlsx"
    path.write_bytes(content)
    assert refusal(path)


def test_another_kind_of_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hours.xlsx"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("word/document.xml", "<w/>")
    assert "can't be read" in refusal(path).en


def test_an_encrypted_workbook_and_an_old_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hours.xlsx"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096))
    assert "remove the password" in refusal(path).en


def test_a_zip_with_a_password_is_refused(write_xlsx: Write) -> None:
    path = write_xlsx(CHINESE, CELLS)
    content = bytearray(path.read_bytes())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        struct.pack_into("<H", content, at + flags_at, 1)
    path.write_bytes(content)
    assert "remove the password" in refusal(path).en


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/styles.xml"])
def test_a_zip_bomb_is_refused(write_xlsx: Write, part: str) -> None:
    path = write_xlsx(CHINESE, CELLS)
    edited_xlsx(path, lambda name, content: content + b" " * (20 << 20) if name == part else content)
    assert "unpacks to too much" in refusal(path).en


SHEET, TEXTS_PART = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
HEAVY: dict[str, tuple[str, bytes, bytes]] = {
    "one row of many cells": (SHEET, b"<sheetData>", b"<sheetData><row r='1'>" + b"<c/>" * 800_000 + b"</row>"),
    "a row that never ends": (SHEET, b"</sheetData>", b"<row>" + b"<c/>" * 800_000),
    "much before the rows": (SHEET, b"<sheetData>", b"<x/>" * 300_000 + b"<sheetData>"),
    "much between rows": (SHEET, b"</sheetData>", (b"<row/>" + b"<x/>" * 300) * 1_000 + b"</sheetData>"),
    "rows of another kind": (SHEET, b"</sheetData>", b"<row xmlns='x'/>" * 300_000 + b"</sheetData>"),
    "much after the rows": (SHEET, b"</sheetData>", b"</sheetData>" + b"<hyperlink/>" * 300_000),
    "one large text": (TEXTS_PART, b"<si>", b"<si><t>" + b"a" * (4 << 20) + b"</t></si><si>"),
    "many texts": (TEXTS_PART, b"<si>", b"<si/>" * 2_000_001 + b"<si>"),
    "many styles": ("xl/styles.xml", b"<cellXfs", b"<xf/>" * 300_000 + b"<cellXfs"),
    "entities": (SHEET, b"<worksheet", b"<!DOCTYPE x [<!ENTITY a '<c/><c/>'>]><worksheet"),
}


@pytest.mark.parametrize("where", HEAVY)
def test_what_would_take_much_memory_is_refused_though_it_is_small(write_xlsx: Write, where: str) -> None:
    name, old, new = HEAVY[where]
    path = write_xlsx(CHINESE, CELLS)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with zipfile.ZipFile(path) as package:
        parts = {part: package.read(part) for part in package.namelist()}
    parts[TEXTS_PART] = f'<sst xmlns="{main}"><si><t>文</t></si></sst>'.encode()
    pack(path, parts)
    assert only_row(path) == ROW
    pack(path, parts | {name: parts[name].replace(old, new, 1)})
    assert path.stat().st_size < 1 << 20
    assert "built or packed unusually" in refusal(path).en


def test_a_workbook_that_computes_many_cells_is_read(write_xlsx: Write) -> None:
    path = write_xlsx(CHINESE, CELLS)
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    order = b"".join(b'<c r="L%d" i="1"/>' % row for row in range(300_000))
    pack(path, parts | {"xl/calcChain.xml": b'<calcChain xmlns="%b">%b</calcChain>' % (main.encode(), order)})
    assert only_row(path) == ROW


def test_a_large_office_book_is_read_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "hours.xlsx"
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append(CHINESE)
    for number in range(20_000):
        sheet.append(cells_with(record=f"R-{number}", note=f"备注 {number}"))
    workbook.save(path)
    file = open_hours_file(path, SHANGHAI)
    assert file.rows_estimate == 20_000
    assert sum(isinstance(outcome, HoursRow) for _, outcome in file) == 20_000


def test_a_zip_bomb_under_a_name_that_no_office_gives_a_sheet_is_refused(write_xlsx: Write) -> None:
    path = write_xlsx(CHINESE, CELLS)
    usual, unusual = "xl/worksheets/sheet1.xml", "xl/cells/sheet1.dat"
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name).replace(usual.encode(), unusual.encode()) for name in package.namelist()}
    parts[unusual] = parts.pop(usual)
    pack(path, parts)
    assert only_row(path) == ROW
    pack(path, parts | {unusual: parts[unusual] + b" " * (20 << 20)})
    assert "unpacks to too much" in refusal(path).en


def test_an_unusual_compression_is_refused(write_xlsx: Write) -> None:
    path = write_xlsx(CHINESE, CELLS)
    assert "packed unusually" in refusal(edited_xlsx(path, lambda _, content: content, zipfile.ZIP_LZMA)).en


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"</sheetData>", b""),  # not well-formed
        (b"<sheetData>", b"<sheetData><row><c t='s'><v>999999</v></c></row>"),  # no such shared string
        (b"<sheetData>", b"<sheetData><row r='x'/>"),
    ],
)
def test_a_damaged_or_hostile_sheet_is_refused_or_harmless(write_xlsx: Write, old: bytes, new: bytes) -> None:
    path = edited_sheet(write_xlsx(CHINESE, CELLS), old, new)
    read, error = read_or_refused(path)
    assert read == [ROW] if error is None else "can't be read" in error.en


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", as_csv([CHINESE]).encode(), b"PK\x03\x04", b"\xff\xfe"]))
def test_any_bytes_are_read_or_refused(content: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hours.csv"
        path.write_bytes(start + content)
        read, error = read_or_refused(path)
        assert all(read)
        assert error is None or (error.zh and error.en)


# ── There and back ───────────────────────────────────────────────────────────────────────────────────────────

IDS = st.from_regex(r"[A-Z][A-Za-z0-9._-]{0,9}", fullmatch=True)
TEXTS = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"]))
NAMES = st.text(st.sampled_from("新竹金湖花茶助餐浴𠮷㐂A1 "), min_size=1, max_size=20).filter(
    lambda name: name == name.strip() and len(name) > 0
)


@st.composite
def hours_rows(draw: st.DrawFn) -> tuple[list[str], HoursRow]:
    """A row as written, and the record it holds."""
    day = draw(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
    start = draw(st.integers(0, 1439))
    length = draw(st.integers(1, 1439))
    # Over midnight a claim of half the time or less is taken for a typing error.
    minutes = draw(st.integers(1 if start + length < 1440 else length // 2 + 1, length))
    recipient = draw(st.none() | IDS.filter(lambda text: text.casefold() != "none"))
    confirmed_by = draw(st.none() | IDS.filter(lambda text: text.casefold() != "none"))
    grid = tuple(draw(st.lists(NAMES, max_size=3)))
    note = draw(TEXTS.map(str.strip).filter(lambda text: not text.startswith("'") and not text.startswith("#")))
    started_at = datetime.combine(day, time(), SHANGHAI) + timedelta(minutes=start)
    row = HoursRow(
        row=0,
        record=draw(IDS),
        volunteer=draw(IDS),
        volunteer_name=draw(NAMES),
        household=draw(IDS),
        recipient_household=recipient,
        community=draw(NAMES),
        grid=grid,
        service=draw(NAMES),
        started_at=started_at,
        ended_at=started_at + timedelta(minutes=length),
        minutes=minutes,
        confirmed_by=confirmed_by,
        note=note,
        status="confirmed" if confirmed_by else "logged",
    )
    cells = [
        *(row.record, row.volunteer, row.volunteer_name, row.household, recipient or "无", row.community),
        *("/".join(grid), row.service, f"{row.started_at:%Y-%m-%d}", f"{row.started_at:%H:%M}"),
        *(f"{row.ended_at:%H:%M}", str(minutes), confirmed_by or "", note, ""),
    ]
    return cells, row


@settings(deadline=None)
@given(st.lists(hours_rows(), max_size=8), st.sampled_from(ENCODINGS), st.sampled_from(",;\t"))
def test_what_is_written_is_read_back(written: list[tuple[list[str], HoursRow]], encoding: str, delimiter: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hours.csv"
        path.write_bytes(as_csv([CHINESE, *(cells for cells, _ in written)], delimiter).encode(encoding))
        read = list(open_hours_file(path, SHANGHAI))
    assert [cells for cells, _ in read] == [cells for cells, _ in written]
    for place, ((_, outcome), (_, row)) in enumerate(zip(read, written, strict=True), 2):
        assert isinstance(outcome, HoursRow), outcome
        assert {**as_dict(outcome), "row": 0} == as_dict(row)
        assert outcome.row == place
        assert outcome.started_at.tzinfo is SHANGHAI


def as_dict(row: HoursRow) -> dict[str, Any]:
    return {field: getattr(row, field) for field in row.__struct_fields__}


def refused_rows(file: HoursFile, path: Path) -> int:
    with RefusedRows(path, file) as refused:
        for cells, outcome in file:
            if not isinstance(outcome, HoursRow):
                refused.add(cells, outcome)
        return refused.count


def test_refused_rows_come_back_as_they_were_with_the_reasons(write: Write, tmp_path: Path) -> None:
    bad = cells_with(date="2026-02-30", minutes=" 0 ")
    file = open_hours_file(write(CHINESE, CELLS, bad, before="# SYNTHETIC\n"), SHANGHAI)
    assert refused_rows(file, tmp_path / "refused.csv") == 1
    lines = list(csv.reader((tmp_path / "refused.csv").read_text("utf-8-sig").splitlines()))
    assert "SYNTHETIC" in lines[0][0]
    assert lines[1] == [*CHINESE, "原行号", "问题", "problems"]
    assert lines[2][:16] == [*bad, "4"]
    assert lines[2][16].startswith("服务日期：日历上没有这一天；时长（分钟）：")
    assert lines[2][17].startswith("服务日期: is not a day of the calendar; 时长（分钟）: ")


def test_corrected_refused_rows_can_be_imported(write: Write, tmp_path: Path) -> None:
    bad = cells_with(date="2026-02-30", recipient_household="-", note="=1+1")
    file = open_hours_file(write(CHINESE, bad), SHANGHAI)
    refused_rows(file, tmp_path / "refused.csv")
    corrected = tmp_path / "corrected.csv"
    corrected.write_text((tmp_path / "refused.csv").read_text("utf-8-sig").replace("2026-02-30", "2026-02-28"), "utf-8")
    again = open_hours_file(corrected, SHANGHAI)
    assert again.ignored_columns == ("原行号", "问题", "problems")
    row = only_row(corrected)
    assert (row.recipient_household, row.note) == (None, "=1+1")


def test_nothing_refused_leaves_no_file(write: Write, tmp_path: Path) -> None:
    assert refused_rows(open_hours_file(write(CHINESE, CELLS), SHANGHAI), tmp_path / "refused.csv") == 0
    assert not (tmp_path / "refused.csv").exists()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_refused_cells_can_not_run_as_formulas(write: Write, tmp_path: Path, start: str) -> None:
    bad = cells_with(record=start + "cmd|' /C calc'!A0", note=start + "1")
    refused_rows(open_hours_file(write([*CHINESE, "=x"], [*bad, start]), SHANGHAI), tmp_path / "refused.csv")
    with (tmp_path / "refused.csv").open(encoding="utf-8-sig", newline="") as refused:
        cells = [cell for line in csv.reader(refused) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))]
    assert "'=x" in cells


def test_cells_beyond_the_header_come_back_too(write: Write, tmp_path: Path) -> None:
    refused_rows(open_hours_file(write(CHINESE, [*CELLS, "三份"]), SHANGHAI), tmp_path / "refused.csv")
    assert (tmp_path / "refused.csv").read_text("utf-8-sig").rstrip().endswith(",三份")
