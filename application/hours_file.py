"""Reading an office's file of service records: CSV or XLSX in, typed rows or named problems out.

    open_hours_file(path, zone) → HoursFile, iterated as (cells, HoursRow | tuple[RowProblem, ...])

A file that can't be read as a whole raises `HoursFileError`. A row that can't be read is answered with every one of its
problems beside its cells as they stand in the file, so that `RefusedRows` can hand them back for correction. Nothing is
decided here: whether a record may be written is the decision's business.
"""

import codecs
import csv
import os
import re
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import count, islice, repeat
from operator import getitem, itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TextIO, TypeVar
from xml.parsers.expat import ExpatError, ParserCreate

import msgspec
from openpyxl import load_workbook
from openpyxl.utils.datetime import WINDOWS_EPOCH, from_excel
from openpyxl.xml.constants import SHEET_MAIN_NS

from domain.identifiers import (
    NAME_SEPARATORS,
    Flaw,
    check_id,
    check_name,
    has_control,
    masked,
    normal_id,
    normal_name,
)

Status = Literal["logged", "confirmed", "rejected", "reversed"]

ROWS_MAX: Final = 2_000_000
COLUMNS_MAX: Final = 100
RECORD_MINUTES_MAX: Final = 24 * 60
GRID_LEVELS_MAX: Final = 3
PERSON_NAME_CHARACTERS_MAX: Final = 100
NOTE_CHARACTERS_MAX: Final = 1000
SHOWN_CHARACTERS_MAX: Final = 60
XLSX_BYTES_MAX: Final = 1 << 30
XLSX_STRINGS_BYTES_MAX: Final = 256 << 20
XLSX_PART_BYTES_MAX: Final = 16 << 20
XLSX_COMPRESSION_RATIO_MAX: Final = 100
"""Sheets of records pack about 10 to 1; only a bomb packs 100 to 1 and is large as well."""
XLSX_ROW_BYTES_MAX: Final = 2 << 20
"""Of a row, or of one text in the table of texts: it is kept until it has been read."""
XLSX_AROUND_ROWS_BYTES_MAX: Final = 16 << 20
XLSX_AROUND_ROWS_ELEMENTS_MAX: Final = 250_000
"""Of the elements of a part that are no rows or texts, nor within one: they are kept until the part has been read."""

_CHUNK_BYTES = 1 << 20
_MEMO_TEXTS_MAX = 32_768
_MEMO_CHARACTERS_MAX = 200
_DAY_MINUTES = 24 * 60
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class HoursRow(msgspec.Struct, frozen=True, gc=False):
    """One service record as the file claims it; times are aware, in the zone given to `open_hours_file`.

    ``row`` counts as a person sees it: the first row of the file is 1, and a cell with line breaks is one row.
    ``minutes`` is the claimed service, at most the time from ``started_at`` to ``ended_at``. ``community`` and ``grid``
    are where the service was; ``household_community`` is where the volunteer's household is, if the file says so.
    """

    row: int
    record: str
    volunteer: str
    volunteer_name: str
    household: str
    recipient_household: str | None
    community: str
    grid: tuple[str, ...]
    service: str
    started_at: datetime
    ended_at: datetime
    minutes: int
    confirmed_by: str | None
    note: str
    status: Status
    household_community: str | None = None


class RowProblem(msgspec.Struct, frozen=True):
    """Why a row can't be read: ``field`` is a key of `HoursFile.columns`, or ``row`` for the row as a whole.

    ``value`` is safe to print: shortened, without control characters, and starred out where it looks personal.
    """

    row: int
    field: str
    value: str
    reason_zh: str
    reason_en: str


class HoursFileError(Exception):
    """The file can't be read at all; the message says what to do, on one line, in Chinese and in English."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh = zh
        self.en = en


class _Why(NamedTuple):
    zh: str
    en: str


class _Unfit(Exception):
    """A text that can't be read; `at` names the field where the caller doesn't know it."""

    def __init__(self, why: _Why, at: str = "") -> None:
        super().__init__(why.en)
        self.why = why
        self.at = at


_NOT_DATE = _Why("不是可识别的日期，例：2026-11-22", "is not a date such as 2026-11-22")
_NO_SUCH_DAY = _Why("日历上没有这一天", "is not a day of the calendar")
_NOT_TIME = _Why("不是可识别的时间，例：09:05", "is not a time such as 09:05")
_SECONDS = _Why("时间只能精确到分钟，秒必须为 0", "must be whole minutes, without seconds")
_CLOCK_CHANGE = _Why("该时刻因时钟调整而不存在", "does not exist on that day, because clocks changed")
_NOT_MINUTES = _Why("须为整数分钟，例：90", "is not a whole number of minutes such as 90")
_MINUTES_RANGE = _Why(f"须在 1 到 {RECORD_MINUTES_MAX} 分钟之间", f"must be between 1 and {RECORD_MINUTES_MAX} minutes")
_MINUTES_OVER = _Why("时长超过了开始到结束的时间", "is more than the time from start to end")
_NO_TIME = _Why("结束时间与开始时间相同", "is the same as the start")
_NOT_OVERNIGHT = _Why(
    "早于开始时间，按跨夜计算的时间至少是所填时长的两倍，请检查开始、结束时间是否填反或填错",
    "is before the start, and the time until then on the next day is at least twice the minutes: check both times",
)
_END_OR_MINUTES = _Why("结束时间和时长至少填一项", "is missing: give the end or the minutes")
_GRID_LEVELS = _Why(f"网格最多 {GRID_LEVELS_MAX} 级", f"has more than {GRID_LEVELS_MAX} levels")
_GRID_GAP = _Why("网格路径中有空的一级", "has an empty level")
_NAME_TOO_LONG = _Why(
    f"最多 {PERSON_NAME_CHARACTERS_MAX} 个字符", f"must have at most {PERSON_NAME_CHARACTERS_MAX} characters"
)
_NOTE_TOO_LONG = _Why(f"最多 {NOTE_CHARACTERS_MAX} 个字符", f"must have at most {NOTE_CHARACTERS_MAX} characters")
_CONTROL = _Why(Flaw.NAME_CONTROL.zh, Flaw.NAME_CONTROL.value)
_STATUS = _Why("须为 待确认、已确认、已驳回 或 已冲正", "must be one of logged, confirmed, rejected and reversed")
_NEEDS_CONFIRMER = _Why(
    "已确认、已驳回或已冲正的记录须填确认人", "is missing: a settled record needs the person who settled it"
)
_EXTRA_CELLS = _Why("单元格多于表头，可能有未加引号的分隔符", "has more cells than the header")
_EXCEL_ERROR = _Why("单元格是 Excel 错误值", "is an error value of Excel")
_NOT_COMPUTED = _Why(
    "公式没有计算结果，请在 Excel 中打开并重新保存", "is a formula without a result: open in Excel and save again"
)
_NUMBER_INEXACT = _Why(
    "数字超过 15 位，Excel 已丢失精度，请将该列设为文本",
    "is a number of more than 15 digits, which Excel doesn't keep: format the column as text",
)
_BECAME_DATE = _Why(
    "Excel 已将其变成日期或时间，请将该列设为文本", "was turned into a date or time by Excel: format the column as text"
)

_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    # In the order of HoursRow: the Chinese header, the English one, aliases. 时长 alone is none: it may be hours.
    "record": ("记录编号", "record_no", "记录号", "record", "record_id", "record_number"),
    "volunteer": ("志愿者编号", "volunteer_no", "志愿者号", "volunteer", "volunteer_id", "volunteer_number"),
    "volunteer_name": ("志愿者姓名", "volunteer_name", "姓名", "name"),
    "household": ("户编号", "household_no", "户号", "household", "household_id", "household_number"),
    "recipient_household": (
        "服务对象户编号",
        "recipient_household_no",
        "服务对象户号",
        "recipient_household",
    ),
    "community": ("社区", "community", "所属社区", "社区名称"),
    "grid": ("网格", "grid_path", "网格路径", "所属网格", "grid"),
    "service": ("服务项目", "service", "服务类型", "service_type"),
    "date": ("服务日期", "date", "日期", "service_date"),
    "start": ("开始时间", "start", "起始时间", "start_time"),
    "end": ("结束时间", "end", "终止时间", "end_time"),
    "minutes": ("时长（分钟）", "minutes", "服务时长（分钟）", "分钟", "分钟数", "duration_minutes"),
    "confirmed_by": ("确认人", "confirmed_by", "确认人编号", "confirmer"),
    "note": ("备注", "note", "notes", "remark", "remarks"),
    "status": ("状态", "status", "记录状态"),
    "household_community": ("户所在社区", "household_community"),
}
_REQUIRED = ("record", "volunteer", "household", "community", "service", "date", "start")

_STATUSES: Final[Mapping[str, Status]] = {
    "待确认": "logged",
    "logged": "logged",
    "已确认": "confirmed",
    "confirmed": "confirmed",
    "已驳回": "rejected",
    "rejected": "rejected",
    "已冲正": "reversed",
    "reversed": "reversed",
}
_NONE_WORDS = frozenset({"", "-", "—", "无", "none"})
_EXCEL_ERRORS = frozenset({"#N/A", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"})

_DATES = (
    re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})(?:[ T]0?0:00(?::00)?)?"),
    re.compile(r"([0-9]{4})(年)([0-9]{1,2})月([0-9]{1,2})日"),
    re.compile(r"([0-9]{4})()([0-9]{2})([0-9]{2})"),
)
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2}))?|[时点](?:整|([0-9]{1,2})分(?:([0-9]{1,2})秒)?)?)")
_WHOLE_MINUTES = re.compile(r"([0-9]{1,6})(?:\.0+)?(?: ?(?:分钟|分|min))?")
_GRID_SEPARATOR = re.compile(f"[{NAME_SEPARATORS}]")
_NOTE_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


# ── Reading one cell ─────────────────────────────────────────────────────────────────────────────────────────

V = TypeVar("V")


class _Memo(dict[str, V], Generic[V]):
    """What each text was read as. Offices repeat themselves; when full it forgets, so memory stays bounded."""

    def __init__(self, read: Callable[[str], V]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> V:
        if text in _EXCEL_ERRORS:
            raise _Unfit(_EXCEL_ERROR)
        value = self._read(text)
        if len(text) <= _MEMO_CHARACTERS_MAX:
            if len(self) >= _MEMO_TEXTS_MAX:
                self.clear()
            self[text] = value
        return value


def _plain(text: str) -> str:
    # `RefusedRows` puts a quote before such cells; whoever corrects its file and imports it again didn't type it.
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA_STARTS) else text


def _refuse_flaw(flaw: Flaw | None) -> None:
    if flaw is not None:
        raise _Unfit(_Why(flaw.zh, flaw.value))


def _read_id(text: str) -> str:
    identifier = normal_id(_plain(text))
    _refuse_flaw(check_id(identifier))
    return identifier


def _read_id_or_none(text: str) -> str | None:
    return None if normal_id(_plain(text)).casefold() in _NONE_WORDS else _read_id(text)


def _read_name(text: str) -> str:
    name = normal_name(_plain(text))
    _refuse_flaw(check_name(name))
    return name


def _read_grid(text: str) -> tuple[str, ...]:
    path = normal_name(_plain(text))
    if path.casefold() in _NONE_WORDS:
        return ()
    levels = [level.strip() for level in _GRID_SEPARATOR.split(path)]
    if not all(levels):
        raise _Unfit(_GRID_GAP)
    if len(levels) > GRID_LEVELS_MAX:
        raise _Unfit(_GRID_LEVELS)
    return tuple(_read_name(level) for level in levels)


def _read_person_name(text: str) -> str:
    # Not normalised: a person's name keeps the very characters it is written with.
    name = _plain(text).strip()
    if len(name) > PERSON_NAME_CHARACTERS_MAX:
        raise _Unfit(_NAME_TOO_LONG)
    if has_control(name):
        raise _Unfit(_CONTROL)
    return name


def _read_note(text: str) -> str:
    note = _plain(text).strip().replace("\r\n", "\n")
    if len(note) > NOTE_CHARACTERS_MAX:
        raise _Unfit(_NOTE_TOO_LONG)
    if _NOTE_CONTROL.search(note):
        raise _Unfit(_CONTROL)
    return note


def _read_status(text: str) -> Status | None:
    word = normal_id(text).casefold()
    if not word:
        return None
    if word not in _STATUSES:
        raise _Unfit(_STATUS)
    return _STATUSES[word]


def _read_minutes(text: str) -> int | None:
    number = normal_id(_plain(text))
    if not number:
        return None
    found = _WHOLE_MINUTES.fullmatch(number)
    if found is None:
        raise _Unfit(_MINUTES_RANGE if re.fullmatch(r"-[0-9]+|[0-9]{7,}", number) else _NOT_MINUTES)
    if not 1 <= int(found[1]) <= RECORD_MINUTES_MAX:
        raise _Unfit(_MINUTES_RANGE)
    return int(found[1])


def _read_time(text: str) -> int:
    """Minutes from the start of the day; 24:00 is 1440, the midnight that ends it."""
    clock = normal_id(text)
    if not clock:
        _refuse_flaw(Flaw.BLANK)
    found = _TIME.fullmatch(clock)
    if found is None:
        raise _Unfit(_NOT_TIME)
    hour, minute, second = int(found[1]), int(found[2] or found[4] or 0), int(found[3] or found[5] or 0)
    if minute > 59 or second > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise _Unfit(_NOT_TIME)
    if second:
        raise _Unfit(_SECONDS)
    return hour * 60 + minute


def _read_time_or_none(text: str) -> int | None:
    return _read_time(text) if text and not text.isspace() else None


def _read_date(text: str) -> date:
    """A day from 1900 to 2199."""
    day = normal_id(text)
    if not day:
        _refuse_flaw(Flaw.BLANK)
    for pattern in _DATES:
        found = pattern.fullmatch(day)
        if found is None:
            continue
        try:
            read = date(int(found[1]), int(found[3]), int(found[4]))
        except ValueError:
            raise _Unfit(_NO_SUCH_DAY) from None
        if not 1900 <= read.year < 2200:
            raise _Unfit(_NOT_DATE)
        return read
    raise _Unfit(_NOT_DATE)


# ── Reading one row ──────────────────────────────────────────────────────────────────────────────────────────


_MINUTES = tuple(timedelta(minutes=minutes) for minutes in range(2 * _DAY_MINUTES + 1))


class _Day(NamedTuple):
    """A day's first midnight, and whether the clock stays as it is until two days later."""

    midnight: datetime
    steady: bool


_SOME_DAY = _Day(datetime(2000, 1, 1, tzinfo=UTC), steady=True)


def _span(day: _Day, start: int, end: int | None, minutes: int | None) -> tuple[datetime, datetime, int]:
    """When the service started and ended, and its minutes; an end before the start is on the next day.

    Unless the minutes say that it is a typing error: whoever works through a night claims most of it, while swapped
    times, believed, would block a day for an hour's service.
    """
    midnight, steady = day
    if end is None:
        if minutes is None:
            raise _Unfit(_END_OR_MINUTES, "end")
        length = minutes
    else:
        length = end - start
        if length <= 0:
            length += _DAY_MINUTES
            if length in (0, _DAY_MINUTES):
                raise _Unfit(_NO_TIME, "end")
            if minutes is not None and 2 * minutes <= length:
                raise _Unfit(_NOT_OVERNIGHT, "end")
    if steady:
        if minutes is not None and minutes > length:
            raise _Unfit(_MINUTES_OVER, "minutes")
        return midnight + _MINUTES[start], midnight + _MINUTES[start + length], minutes or length
    # The clock changes on that day or the next, so the minutes on the wall are not the minutes served.
    started_at = _existing(midnight + _MINUTES[start], "start")
    if end is None:
        ended_at = (started_at.astimezone(UTC) + _MINUTES[length]).astimezone(midnight.tzinfo)
        return started_at, ended_at, length
    ended_at = _existing(midnight + _MINUTES[start + length], "end")
    elapsed = (ended_at.astimezone(UTC) - started_at.astimezone(UTC)) // timedelta(minutes=1)
    if minutes is not None and minutes > elapsed:
        raise _Unfit(_MINUTES_OVER, "minutes")
    return started_at, ended_at, minutes or elapsed


def _day(day: date, zone: tzinfo) -> _Day:
    midnight = datetime.combine(day, time(), zone)
    return _Day(midnight, midnight.utcoffset() == (midnight + timedelta(days=2)).utcoffset())


def _existing(wall: datetime, at: str) -> datetime:
    if wall.astimezone(UTC).astimezone(wall.tzinfo).replace(tzinfo=None) != wall.replace(tzinfo=None):
        raise _Unfit(_CLOCK_CHANGE, at)
    return wall


def _settled(status: Status | None, confirmed_by: str | None) -> Status:
    if status is None:
        return "logged" if confirmed_by is None else "confirmed"
    if status != "logged" and confirmed_by is None:
        raise _Unfit(_NEEDS_CONFIRMER, "confirmed_by")
    return status


def _shown(text: str) -> str:
    shown = _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", masked(text))
    return shown if len(shown) <= SHOWN_CHARACTERS_MAX else shown[: SHOWN_CHARACTERS_MAX - 1] + "…"


_Spoilt = Mapping[str, _Why]
"""The fields of a row that Excel spoilt before anybody read them, and how."""
_SOUND: _Spoilt = {}


class _RowReader:
    """Reads the rows of one file: sound ones quickly; where something is wrong, again and carefully."""

    def __init__(self, columns: Mapping[str, int], width: int, zone: tzinfo) -> None:
        self._width = width
        # A field without a column reads the empty text that `_sound` puts behind the row's cells.
        self._pick = itemgetter(*(columns.get(field, width) for field in _HEADERS))
        readers: dict[str, Callable[[str], Any]] = {
            "record": _read_id,
            "volunteer": _read_id,
            "volunteer_name": _read_person_name,
            "household": _read_id,
            "recipient_household": _read_id_or_none,
            "community": _read_name,
            "grid": _read_grid,
            "service": _read_name,
            "date": lambda text: _day(_read_date(text), zone),
            "start": _read_time,
            "end": _read_time_or_none,
            "minutes": _read_minutes,
            "confirmed_by": _read_id_or_none,
            "note": _read_note,
            "status": _read_status,
            "household_community": lambda text: _read_name(text) if _plain(text) else None,
        }
        self._memos = tuple(_Memo(readers[field]) for field in _HEADERS)

    def read(self, row: int, cells: list[str], spoilt: _Spoilt) -> HoursRow | tuple[RowProblem, ...]:
        """The row's record, or all that is wrong with it; `spoilt` are the fields that Excel spoilt, and how."""
        surplus: list[str] = []
        if len(cells) != self._width:
            surplus = [cell for cell in cells[self._width :] if cell.strip()]
            cells = cells[: self._width] + [""] * (self._width - len(cells))
        if not spoilt and not surplus:
            try:
                return self._sound(row, cells)
            except _Unfit:
                pass
        return self._problems(row, cells, surplus, spoilt)

    def _texts(self, cells: list[str]) -> tuple[str, ...]:
        texts: tuple[str, ...] = self._pick((*cells, ""))
        return texts

    def _sound(self, row: int, cells: list[str]) -> HoursRow:
        values: tuple[Any, ...] = (*map(getitem, self._memos, self._texts(cells)),)
        record, volunteer, name, household, recipient, community, grid, service = values[:8]
        day, start, end, minutes, confirmed_by, note, status, household_community = values[8:]
        started_at, ended_at, minutes = _span(day, start, end, minutes)
        status = _settled(status, confirmed_by)
        # fmt: off
        return HoursRow(
            row, record, volunteer, name, household, recipient, community, grid, service,
            started_at, ended_at, minutes, confirmed_by, note, status, household_community,
        )
        # fmt: on

    def _problems(self, row: int, cells: list[str], surplus: list[str], spoilt: _Spoilt) -> tuple[RowProblem, ...]:
        texts = dict(zip(_HEADERS, self._texts(cells), strict=True))
        values = {"row": " ".join(surplus), **texts}
        read: dict[str, Any] = {}
        problems: list[RowProblem] = []

        @contextmanager
        def noting(at: str) -> Iterator[None]:
            try:
                yield
            except _Unfit as unfit:
                field = unfit.at or at
                problems.append(RowProblem(row, field, _shown(values[field]), unfit.why.zh, unfit.why.en))

        with noting("row"):
            if surplus:
                raise _Unfit(_EXTRA_CELLS)
        for memo, (field, text) in zip(self._memos, texts.items(), strict=True):
            with noting(field):
                if field in spoilt:
                    raise _Unfit(spoilt[field])
                read[field] = memo[text]
        with noting("end"):
            if {"start", "end", "minutes"} <= read.keys():
                _span(read.get("date", _SOME_DAY), read["start"], read["end"], read["minutes"])
        with noting("status"):
            if {"status", "confirmed_by"} <= read.keys():
                _settled(read["status"], read["confirmed_by"])
        return tuple(problems)


# ── Reading CSV ──────────────────────────────────────────────────────────────────────────────────────────────

_Records = Iterator[tuple[list[str], _Spoilt]]


class _Heading(NamedTuple):
    """What stands before the records: the header's row and cells, and whether a comment says synthetic."""

    row: int
    cells: list[str]
    synthetic: bool


def _is_comment(text: str) -> bool:
    return text.lstrip(' "').startswith("#")


def _says_synthetic(comment: str) -> bool:
    return "SYNTHETIC" in comment.upper() or "合成" in comment


class _CsvTable:
    """A CSV file of known encoding and delimiter."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoding, lines = _text_encoding(path)
        self.heading = self._read_heading()
        self.rows_estimate = max(0, lines - self.heading.row)
        self.ignored_sheets: tuple[str, ...] = ()

    def _open(self) -> TextIO:
        return self._path.open(encoding=self._encoding, newline="")

    def _read_heading(self) -> _Heading:
        synthetic = False
        with self._open() as text:
            for row in range(1, ROWS_MAX):
                line = text.readline()
                if not line:
                    break
                if _is_comment(line):
                    synthetic = synthetic or _says_synthetic(line)
                elif line.strip(' ,;"\t\r\n\0'):
                    self._delimiter = max(",;\t", key=lambda mark: _known_headers(_split_line(line, mark)))
                    self._lines_before = row - 1
                    return _Heading(row, self._first_record(), synthetic)
        raise _no_header(self._path)

    def _first_record(self) -> list[str]:
        return next((cells for cells, _ in self._all_records()), [])

    def records(self, columns: Mapping[str, int]) -> _Records:
        del columns  # in CSV every cell is text, whatever its column
        return islice(self._all_records(), 1, None)

    def _all_records(self) -> _Records:
        row = self._lines_before
        try:
            with self._open() as text:
                for _ in range(self._lines_before):
                    text.readline()
                # Strict, because a quote left open would silently swallow the records after it.
                for cells in csv.reader(text, delimiter=self._delimiter, strict=True):
                    row += 1
                    yield cells, _SOUND
        except csv.Error as error:
            raise HoursFileError(
                f"{self._path.name} 第 {row + 1} 行的引号不成对，或单元格过长（{error}），请改正后重试",
                f"{self._path.name} row {row + 1}: a quote is not closed, or a cell is too long ({error}); "
                "correct it and try again",
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(self._path, error) from error


def _split_line(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line[: _CHUNK_BYTES // 16]], delimiter=delimiter), [])


def _text_encoding(path: Path) -> tuple[str, int]:
    """The encoding that the whole file decodes in, and its number of lines."""
    with path.open("rb") as binary:
        start = binary.read(3)
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        candidates = ["utf-16"]
    elif start == codecs.BOM_UTF8:
        candidates = ["utf-8-sig"]
    else:
        candidates = ["utf-8", "gb18030"]
    failures: list[tuple[str, int]] = []
    for encoding in candidates:
        lines, failed_at = _decode_through(path, encoding)
        if failed_at is None:
            return encoding, lines
        failures.append((encoding, failed_at))
        if encoding == "utf-8" and _is_chinese_utf8(path, failed_at):
            # One damaged byte must not turn a whole file of names into other characters.
            break
    zh = "，".join(f"不是 {encoding.upper()}（第 {at} 字节）" for encoding, at in failures)
    en = ", ".join(f"not {encoding.upper()} at byte {at}" for encoding, at in failures)
    raise HoursFileError(
        f"无法识别 {path.name} 的编码：{zh}；请在 Excel 中另存为“CSV UTF-8”",
        f"the encoding of {path.name} is unknown: {en}; save it as 'CSV UTF-8' in Excel",
    )


def _decode_through(path: Path, encoding: str) -> tuple[int, int | None]:
    """The file's line ends, and the offset of the first byte that isn't of the encoding (None: all are)."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = read_bytes = 0
    with path.open("rb") as binary:
        while True:
            chunk = binary.read(_CHUNK_BYTES)
            read_bytes += len(chunk)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return lines, read_bytes - len(error.object) + error.start
            if not chunk:
                return lines, None
            line_ends = chunk.count(b"\n") or chunk.count(b"\r")
            if not line_ends and len(chunk) == _CHUNK_BYTES:
                raise HoursFileError(
                    f"{path.name} 中有超过 1 MiB 的一行，不是服务记录表，请检查文件",
                    f"{path.name} has a line of more than 1 MiB, so it is no table of records; check the file",
                )
            lines += line_ends


def _is_chinese_utf8(path: Path, failed_at: int) -> bool:
    with path.open("rb") as binary:
        before = binary.read(min(failed_at, _CHUNK_BYTES)).decode("utf-8", errors="ignore")
    # By chance a GB18030 text opens with one or two characters that are valid UTF-8, not with ten.
    return len(re.findall("[\u4e00-\u9fff]", before)) >= 10


# ── Reading XLSX ─────────────────────────────────────────────────────────────────────────────────────────────


class _XlsxTable:
    """The first sheet of an XLSX workbook."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_formulas, rows = _inspect_package(path)
        self._epoch = WINDOWS_EPOCH
        self.ignored_sheets: tuple[str, ...] = ()
        self.heading = self._read_heading()
        self.rows_estimate = max(0, rows - self.heading.row)

    def _read_heading(self) -> _Heading:
        synthetic = False
        # A sheet that names a far row begins with that many empty ones.
        for row, values in enumerate(islice(self._sheet_rows(data_only=True), ROWS_MAX), 1):
            cells = [_cell_text(value, "", self._epoch)[0] for value in values]
            if not any(map(str.strip, cells)):
                continue
            if not _is_comment(cells[0]):
                return _Heading(row, cells, synthetic)
            synthetic = synthetic or any(map(_says_synthetic, cells))
        raise _no_header(self._path)

    def records(self, columns: Mapping[str, int]) -> _Records:
        fields = [""] * (COLUMNS_MAX + 1)
        for field, index in columns.items():
            fields[index] = field
        computed = self._sheet_rows(data_only=True)
        # Only a second reading tells a formula without a result from an empty cell.
        formulas = self._sheet_rows(data_only=False) if self._has_formulas else repeat(())
        for values, sources in islice(zip(computed, formulas, strict=False), self.heading.row, None):
            spoilt: dict[str, _Why] = {}
            cells: list[str] = []
            for index, value in enumerate(values):
                field = fields[index]
                text, why = _cell_text(value, field, self._epoch)
                if value is None and sources and sources[index] is not None:
                    text, why = str(sources[index]), _NOT_COMPUTED
                if why is not None and field:
                    spoilt[field] = why
                cells.append(text)
            while cells and not cells[-1]:
                cells.pop()
            yield cells, spoilt

    def _sheet_rows(self, *, data_only: bool) -> Iterator[Sequence[Any]]:
        try:
            with self._path.open("rb") as binary:
                with _openpyxl_is_quiet():
                    workbook = load_workbook(binary, read_only=True, data_only=data_only, keep_links=False)
                    sheet, *others = workbook.worksheets
                    self._epoch = workbook.epoch
                    self.ignored_sheets = tuple(other.title for other in others)
                    # The size that a sheet claims may be wrong; openpyxl would cut the rows off there.
                    sheet.reset_dimensions()
                    rows = sheet.iter_rows(max_col=COLUMNS_MAX + 1, values_only=True)
                while batch := _quiet_batch(rows):
                    yield from batch
        except Exception as error:
            # openpyxl raises whatever a damaged part makes its parsers meet.
            raise _unreadable(self._path, error) from error


def _quiet_batch(rows: Iterator[Sequence[Any]]) -> list[Sequence[Any]]:
    with _openpyxl_is_quiet():
        return list(islice(rows, 1000))


@contextmanager
def _openpyxl_is_quiet() -> Iterator[None]:
    """Without its warnings about what it doesn't keep: nothing is kept here, and bad dates come back as problems."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_TIMES = ("start", "end")


def _cell_text(value: object, field: str, epoch: datetime) -> tuple[str, _Why | None]:
    """A cell as text that could have been typed into a CSV file, and how Excel spoilt it for its field, if so."""
    if value is None:
        return "", None
    if isinstance(value, str):
        return value, None
    if isinstance(value, bool):
        return str(value).upper(), None
    if isinstance(value, int | float):
        return _number_text(value, field, epoch)
    if isinstance(value, datetime) and field in _TIMES and value == from_excel(1, epoch):
        return "24:00", None
    if isinstance(value, timedelta):
        text = _clock_text(value)
    elif isinstance(value, time):
        text = _clock_text(datetime.combine(date.min, value) - datetime.combine(date.min, time()))
    elif isinstance(value, datetime) and value.time() == time():
        text = value.date().isoformat()
    else:
        text = str(value)
    return text, None if field in ("date", *_TIMES, "") else _BECAME_DATE


def _number_text(number: float, field: str, epoch: datetime) -> tuple[str, _Why | None]:
    if field == "date" and 1 <= number < 100_000:
        return _cell_text(from_excel(number, epoch), field, epoch)
    if field in _TIMES and 0 <= number <= 1:
        return _clock_text(timedelta(days=number)), None
    if abs(number) >= 10**15:
        return str(number), _NUMBER_INEXACT
    return str(int(number) if number == int(number) else number), None


def _clock_text(span: timedelta) -> str:
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{clock}:{seconds:02}" if seconds else clock


_FORMULA = re.compile(rb"<(?:[A-Za-z0-9]+:)?f[ />]")


def _inspect_package(path: Path) -> tuple[bool, int]:
    """Whether an XLSX has formulas, and how many rows; refuses what isn't one, or would take too much memory."""
    has_formulas, rows = False, 0
    try:
        with zipfile.ZipFile(path) as package:
            _refuse_bomb(path, package.infolist())
            for part in package.infolist():
                is_sheet = part.filename.startswith("xl/worksheets/") and part.filename.endswith(".xml")
                weight = _Weight()
                with package.open(part) as content:
                    overlap = b""
                    while chunk := content.read(_CHUNK_BYTES):
                        goes_on = weight.add(chunk)
                        if weight.is_too_much():
                            raise _bomb(path)
                        if is_sheet:
                            has_formulas = has_formulas or _FORMULA.search(overlap + chunk) is not None
                            overlap = chunk[-20:]
                        elif not goes_on:
                            break
                rows += weight.rows if is_sheet else 0
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise _unreadable(path, error) from error
    return has_formulas, rows


class _Weight:
    """What openpyxl would keep of one part while it reads it, found by the parser that it uses itself.

    It keeps the tree of what it has read: of a row, or of one text, until that ends, of everything else until the part
    ends. So it isn't the size of a part that costs memory, but what stands around its rows, and one row that is large.
    """

    _WHOLES = (f"{SHEET_MAIN_NS} row", f"{SHEET_MAIN_NS} si")
    # The order in which Excel computes its formulas, one element each: nobody reads it.
    _UNREAD = f"{SHEET_MAIN_NS} calcChain"

    def __init__(self) -> None:
        self.rows = 0
        """Rows, or texts in the table of texts."""
        self._around = self._depth = self._began_at = self._in_rows_bytes = self._read_bytes = 0
        self._has_doctype = self._ended = self._is_unread = False
        self._parser = ParserCreate(namespace_separator=" ")
        self._parser.ordered_attributes = True  # cheaper than a dictionary, and nobody looks
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._doctype

    def add(self, chunk: bytes) -> bool:
        """Weigh some more of the part; False where it is no XML, or no more, and openpyxl would read no further."""
        if not self._ended:
            self._read_bytes += len(chunk)
            try:
                self._parser.Parse(chunk)
            except ExpatError:
                self._ended = True
        return not self._ended

    def is_too_much(self) -> bool:
        row_bytes = self._read_bytes - self._began_at if self._depth else 0
        return (
            self._has_doctype  # which may multiply what follows; the format forbids it
            or self.rows > ROWS_MAX
            or row_bytes > XLSX_ROW_BYTES_MAX
            or (self._around > XLSX_AROUND_ROWS_ELEMENTS_MAX and not self._is_unread)
            or self._read_bytes - self._in_rows_bytes - row_bytes > XLSX_AROUND_ROWS_BYTES_MAX
        )

    def _start(self, name: str, _: object) -> None:
        if self._depth:
            self._depth += 1
        elif name in self._WHOLES:
            self.rows += 1
            self._depth = 1
            self._began_at = self._parser.CurrentByteIndex
        else:
            self._is_unread = self._is_unread or (not self._around and name == self._UNREAD)
            self._around += 1

    def _end(self, _: str) -> None:
        if self._depth:
            self._depth -= 1
            if not self._depth:
                self._in_rows_bytes += self._parser.CurrentByteIndex - self._began_at

    def _doctype(self, *_: object) -> None:
        self._has_doctype = True


def _refuse_bomb(path: Path, parts: list[zipfile.ZipInfo]) -> None:
    # ZipFile never unpacks more than the size that a part declares, so the declared sizes are bounds.
    if any(part.flag_bits & 1 for part in parts):
        raise _encrypted(path)
    cells = [part for part in parts if part.filename.startswith(("xl/worksheets/", "xl/sharedStrings"))]
    too_large = (
        # Of every part, because a workbook says by itself which of its parts are sheets, whatever their names.
        sum(part.file_size for part in parts) > XLSX_BYTES_MAX
        or any(
            part.file_size > max(XLSX_PART_BYTES_MAX, XLSX_COMPRESSION_RATIO_MAX * part.compress_size) for part in parts
        )
        or any(
            part.file_size > XLSX_PART_BYTES_MAX
            for part in parts
            if part not in cells and part.filename.endswith((".xml", ".rels"))
        )
        or any(
            part.file_size > XLSX_STRINGS_BYTES_MAX for part in parts if part.filename.startswith("xl/sharedStrings")
        )
        or any(part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for part in parts)
    )
    if too_large:
        raise _bomb(path)


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Table(Protocol):
    heading: _Heading
    rows_estimate: int
    ignored_sheets: tuple[str, ...]

    def records(self, columns: Mapping[str, int]) -> _Records:
        """The rows after the header; `columns` says which field stands where."""


class HoursFile:
    """An office's file with a good header. Iterate it as often as needed; each time reads the file anew."""

    def __init__(self, path: Path, table: _Table, zone: tzinfo, rows_max: int) -> None:
        self.path = path
        self.header: Final = _without_trailing_blanks(table.heading.cells)
        """The header's cells as they stand in the file."""
        self._columns, self.ignored_columns = _columns(path, self.header)
        self.columns: Final = {field: self.header[index] for field, index in self._columns.items()}
        """The file's own header of each field that it has."""
        self.synthetic: Final = table.heading.synthetic
        self.rows_estimate: Final = table.rows_estimate
        """About how many rows follow the header: good for a progress bar and nothing else."""
        self.ignored_sheets: Final = table.ignored_sheets
        self._table = table
        self._zone = zone
        self._rows_max = rows_max

    def __iter__(self) -> Iterator[tuple[list[str], HoursRow | tuple[RowProblem, ...]]]:
        """Each row's cells as they stand in the file, with its record or all of its problems; blank rows are skipped.

        Raises HoursFileError where the rest of the file can't be read, or has too many rows.
        """
        read = _RowReader(self._columns, len(self.header), self._zone).read
        row_max = self._table.heading.row + self._rows_max
        for row, (cells, spoilt) in enumerate(self._table.records(self._columns), self._table.heading.row + 1):
            if row > row_max:
                raise HoursFileError(
                    f"{self.path.name} 超过 {self._rows_max} 行，请分成几个文件",
                    f"{self.path.name} has more than {self._rows_max} rows; split it into several files",
                )
            if cells and (cells[0].strip() or "".join(cells).strip()):
                yield cells, read(row, cells, spoilt)


def open_hours_file(path: Path, zone: tzinfo, rows_max: int = ROWS_MAX) -> HoursFile:
    """Opens a CSV or XLSX file of service records, told apart by their content; times are of `zone`.

    Raises HoursFileError where the file is missing, unreadable, empty, encrypted, of unknown encoding or too large
    unpacked, and where its header lacks a required column or has one twice.
    """
    try:
        if not path.is_file():
            raise HoursFileError(f"找不到文件 {path}，请检查路径", f"there is no file {path}; check the path")
        with path.open("rb") as binary:
            start = binary.read(4096)
        return HoursFile(path, _table(path, start), zone, rows_max)
    except OSError as error:
        raise _unreadable(path, error) from error


def _table(path: Path, start: bytes) -> _Table:
    if start.startswith(b"PK\x03\x04"):
        return _XlsxTable(path)
    if start.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise _encrypted(path)
    if path.suffix.lower() in (".xlsx", ".xlsm") and start:
        raise HoursFileError(
            f"{path.name} 不是有效的 XLSX 文件，请在 Excel 中重新另存",
            f"{path.name} is no XLSX; save it again in Excel",
        )
    return _CsvTable(path)


def _header_key(text: str) -> str:
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", text).casefold())


_FIELD_OF_HEADER: Final = {_header_key(name): field for field, names in _HEADERS.items() for name in names}


def _known_headers(cells: Iterable[str]) -> int:
    return sum(_header_key(cell) in _FIELD_OF_HEADER for cell in cells)


def _columns(path: Path, header: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Where each field's column is, and the headers that name no field."""
    if len(header) > COLUMNS_MAX:
        raise HoursFileError(
            f"{path.name} 超过 {COLUMNS_MAX} 列，请删去多余的列",
            f"{path.name} has more than {COLUMNS_MAX} columns; remove those that are not needed",
        )
    columns: dict[str, int] = {}
    ignored: list[str] = []
    for index, cell in enumerate(header):
        field = _FIELD_OF_HEADER.get(_header_key(cell))
        if field is None:
            ignored.append(_shown(cell.strip()) or f"#{index + 1}")
        elif field in columns:
            raise HoursFileError(
                f"{path.name} 中“{_HEADERS[field][0]}”列重复，请只保留一列",
                f"{path.name} has the column {_HEADERS[field][1]} twice; keep one",
            )
        else:
            columns[field] = index
    missing = [_HEADERS[field][:2] for field in _REQUIRED if field not in columns]
    if "end" not in columns and "minutes" not in columns:
        missing.append(("结束时间或时长（分钟）", "end or minutes"))
    if missing:
        unknown = "、".join(ignored)
        raise HoursFileError(
            f"{path.name} 缺少列：{'、'.join(zh for zh, _ in missing)}；第一行须为表头"
            + (f"，未识别的列：{unknown}" if ignored else ""),
            f"{path.name} lacks the columns {', '.join(en for _, en in missing)}; "
            "the first row must be the header" + (f"; not recognised: {unknown}" if ignored else ""),
        )
    return columns, tuple(ignored)


def _without_trailing_blanks(cells: list[str]) -> list[str]:
    return cells[: max((index + 1 for index, cell in enumerate(cells) if cell.strip()), default=0)]


def _no_header(path: Path) -> HoursFileError:
    return HoursFileError(
        f"{path.name} 是空的，请选择有表头和记录的文件",
        f"{path.name} is empty; choose a file with a header and records",
    )


def _bomb(path: Path) -> HoursFileError:
    return HoursFileError(
        f"{path.name} 解压后过大，或压缩方式、结构异常，为安全起见不予读取；请只保留数据另存，或改存为 CSV",
        f"{path.name} unpacks to too much, or is built or packed unusually; save only its data, or save it as CSV",
    )


def _encrypted(path: Path) -> HoursFileError:
    return HoursFileError(
        f"{path.name} 已加密或是旧版 XLS，请去掉密码并另存为 XLSX 或 CSV",
        f"{path.name} is encrypted or an old XLS; remove the password and save it as XLSX or CSV",
    )


def _unreadable(path: Path, error: Exception) -> HoursFileError:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return HoursFileError(
        f"无法读取 {path.name}，请检查文件是否完好并有权限读取（{why}）",
        f"{path.name} can't be read; check that it is undamaged and that you may read it ({why})",
    )


# ── Handing rows back ────────────────────────────────────────────────────────────────────────────────────────


class RefusedRows:
    """Writes refused rows to a CSV that Excel opens: their own cells, then row, reasons in Chinese and in English.

    A context manager. The file is made with the first row, so none is left where nothing was refused, nor where an
    exception leaves the context. It holds what the
    office's file holds, names included, so nobody but its owner may read it. One that is there already may hold
    somebody's corrections: it is left alone, and this one gets a number (`path`). A cell that a spreadsheet would run
    as a formula gets a quote before it, which the reader takes off again.
    """

    def __init__(self, path: Path, source: HoursFile) -> None:
        self.path = path
        self._source = source
        self._file: TextIO | None = None
        self.count = 0

    def add(self, cells: Sequence[str], problems: Sequence[RowProblem]) -> None:
        """Adds one row with all of its problems. Raises OSError where the file can't be written."""
        width = len(self._source.header)
        if self._file is None:
            self._file = self._create()
            if self._source.synthetic:
                self._file.write("# SYNTHETIC 合成数据\r\n")
            _write_safely(self._file, [*self._source.header, "原行号", "问题", "problems"])
        columns = self._source.columns
        _write_safely(
            self._file,
            [
                *cells[:width],
                *[""] * (width - len(cells)),
                str(problems[0].row),
                "；".join(f"{columns.get(p.field, p.field)}：{p.reason_zh}" for p in problems),
                "; ".join(f"{columns.get(p.field, p.field)}: {p.reason_en}" for p in problems),
                *cells[width:],
            ],
        )
        self.count += 1

    def _create(self) -> TextIO:
        wanted = self.path
        for number in count(2):
            try:
                made = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                return open(made, "w", encoding="utf-8-sig", newline="")
            except FileExistsError:
                self.path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        raise AssertionError("numbers never end")

    def __enter__(self) -> "RefusedRows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            if error is not None:
                self.path.unlink()


def _write_safely(file: TextIO, cells: Iterable[str]) -> None:
    csv.writer(file).writerow(["'" + cell if cell.startswith(_FORMULA_STARTS) else cell for cell in cells])
