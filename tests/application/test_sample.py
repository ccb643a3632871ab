"""The sample district, checked by reading its files again as an importer would."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import asdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.sample import SampleSummary, write_sample

ROOT = Path(__file__).parents[2]
HEADER = [
    *("记录编号", "志愿者编号", "志愿者姓名", "户编号", "服务对象户编号", "社区", "网格", "服务项目"),
    *("服务日期", "开始时间", "结束时间", "时长（分钟）", "确认人", "备注", "状态", "户所在社区"),
]
TO_A_HOUSEHOLD = {
    *("助餐", "助浴", "助洁", "助医陪诊", "陪伴聊天", "代购代办"),
    *("心理慰藉", "理发", "家电维修", "课业辅导", "法律咨询", "智能手机教学"),
}
TO_THE_COMMUNITY = {
    *("文明劝导", "环境清洁", "治安巡逻", "交通疏导"),
    *("政策宣传", "活动组织", "垃圾分类指导", "楼道整治"),
}


class Row(NamedTuple):
    record: str
    volunteer: str
    name: str
    home: str
    recipient: str
    community: str
    grid: str
    service: str
    worked_on: str
    start_time: str
    end_time: str
    minutes: str
    confirmed_by: str
    note: str
    status: str
    home_community: str

    @property
    def start(self) -> datetime:
        return datetime.fromisoformat(f"{self.worked_on} {self.start_time}")

    @property
    def end(self) -> datetime:
        end = datetime.fromisoformat(f"{self.worked_on} {self.end_time}")
        return end if end > self.start else end + timedelta(days=1)

    @property
    def counted(self) -> bool:
        return self.status == "已确认"


class Sample(NamedTuple):
    directory: Path
    summary: SampleSummary
    rows: list[Row]


def read(directory: Path, summary: SampleSummary) -> Sample:
    rows = []
    for name in summary.files:
        with (directory / name).open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            assert "合成数据 SYNTHETIC DATA" in next(lines)[0]
            assert next(lines) == HEADER
            rows += [Row(*line) for line in lines]
    return Sample(directory, summary, rows)


@pytest.fixture(scope="module", params=[(20, 400), (60, 6000)], ids=["small", "medium"])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    households_served, hours = request.param
    directory = tmp_path_factory.mktemp("sample")
    return read(directory, write_sample(directory, households_served=households_served, hours=hours))


def assert_importable(sample: Sample) -> None:
    """Every rule that the ledger's policy holds a record to."""
    homes: dict[str, tuple[str, str]] = {}
    names: dict[str, str] = {}
    stretches: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    day_minutes: Counter[tuple[str, date]] = Counter()
    for row in sample.rows:
        minutes = int(row.minutes)
        assert row.end - row.start == timedelta(minutes=minutes)
        assert 15 <= minutes <= 8 * 60
        assert date(2022, 3, 1) <= row.start.date() <= date(2026, 10, 31)
        assert row.end <= datetime(2026, 11, 1)  # noqa: DTZ001 - local wall clock, as in the files
        home = (row.home, row.home_community)
        assert homes.setdefault(row.volunteer, home) == home
        assert names.setdefault(row.volunteer, row.name) == row.name
        assert row.recipient != row.home
        assert row.service in (TO_A_HOUSEHOLD if row.recipient else TO_THE_COMMUNITY)
        assert re.fullmatch(r"第(\d)网格/\1-\d元网格/\d栋", row.grid)
        stretches[row.volunteer].append((row.start, row.end))
        midnight = datetime.combine(row.end.date(), datetime.min.time())
        after = max(0, (row.end - max(midnight, row.start)) // timedelta(minutes=1))
        day_minutes[row.volunteer, row.end.date()] += after
        day_minutes[row.volunteer, row.start.date()] += minutes - after
    for volunteer in stretches.values():
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(sorted(volunteer)))
    assert max(day_minutes.values()) <= 10 * 60


def assert_counts(sample: Sample, households_served: int, hours: int) -> None:
    """What was asked for is what an honest count of the files gives, and what the summary says."""
    rows, summary = sample.rows, sample.summary
    counted = [row for row in rows if row.counted]
    served = {row.recipient for row in counted} - {""}
    statuses = Counter(row.status for row in rows)
    service_minutes = sum(int(row.minutes) for row in counted)
    assert len(served) == households_served
    assert {row.recipient for row in rows} - {""} == served
    assert hours * 60 <= service_minutes <= hours * 60 + hours * 60 // 200
    assert summary == SampleSummary(
        files=summary.files,
        records=len(rows),
        confirmed=statuses["已确认"],
        rejected=statuses["已驳回"],
        reversed=statuses["已冲正"],
        pending=statuses["待确认"],
        service_minutes=service_minutes,
        households=len({row.home for row in rows} | served),
        households_served=len(served),
        volunteers=len({row.volunteer for row in rows}),
        communities=len({row.community for row in rows}),
        first_date=min(row.start.date() for row in rows),
        last_date=max(row.start.date() for row in rows),
    )


def test_every_record_obeys_the_policy_so_that_an_import_accepts_it(sample: Sample) -> None:
    assert_importable(sample)


def test_exactly_the_households_asked_for_are_served_for_the_hours_asked_for(sample: Sample) -> None:
    arguments = json.loads((sample.directory / "sample.json").read_bytes())["arguments"]
    assert_counts(sample, arguments["households_served"], arguments["hours"])


def test_every_file_says_that_it_is_synthetic_and_opens_in_excel(sample: Sample) -> None:
    for name in sample.summary.files:
        assert re.fullmatch(r"hours-20\d\d-synthetic\.csv", name)
        data = (sample.directory / name).read_bytes()
        assert data.startswith("\ufeff# 合成数据 SYNTHETIC DATA".encode())
        assert b"\r" not in data
    readme = (sample.directory / "README.txt").read_text("utf-8-sig")
    assert "合成数据" in readme
    assert "SYNTHETIC DATA" in readme
    assert "SYNTHETIC DATA" in json.loads((sample.directory / "sample.json").read_bytes())["notice"]


def test_a_file_holds_one_year_in_order_of_time_with_running_numbers(sample: Sample) -> None:
    by_year: dict[str, list[Row]] = defaultdict(list)
    for row in sample.rows:
        by_year[row.worked_on[:4]].append(row)
    assert [f"hours-{year}-synthetic.csv" for year in by_year] == list(sample.summary.files)
    for year, rows in by_year.items():
        assert [row.record for row in rows] == [f"R{year}-{number:06}" for number in range(1, len(rows) + 1)]
        assert all(earlier.start <= later.start for earlier, later in pairwise(rows))


def test_ids_are_plain_and_no_number_is_left_out(sample: Sample) -> None:
    volunteers = {row.volunteer for row in sample.rows}
    households = {row.home for row in sample.rows} | {row.recipient for row in sample.rows} - {""}
    assert volunteers == {f"V{number:05}" for number in range(1, sample.summary.volunteers + 1)}
    assert households == {f"H{number:05}" for number in range(1, sample.summary.households + 1)}


def test_staff_of_the_place_settle_a_record_and_nobody_has_settled_a_pending_one(sample: Sample) -> None:
    staff: dict[str, set[str]] = defaultdict(set)
    for row in sample.rows:
        if row.status == "待确认":
            assert row.confirmed_by == ""
            assert row.worked_on.startswith("2026-10-")
        else:
            assert re.fullmatch(r"S\d{4}", row.confirmed_by)
            staff[row.community].add(row.confirmed_by)
    assert all(len(members) <= 3 for members in staff.values())
    assert len(set.union(*staff.values())) == sum(map(len, staff.values()))


def test_rejected_and_reversed_records_say_why_in_made_up_words(sample: Sample) -> None:
    assert {row.status for row in sample.rows} >= {"已确认", "已驳回", "已冲正"}
    for row in sample.rows:
        if row.status in ("已驳回", "已冲正"):
            assert row.note.startswith(f"合成{row.status[1:]}：")
        else:
            assert row.note == "" or row.note.startswith("合成备注：")


def test_a_recipient_lives_in_one_building_and_the_record_is_made_there(sample: Sample) -> None:
    places: dict[str, tuple[str, str]] = {}
    for row in sample.rows:
        if row.recipient:
            assert places.setdefault(row.recipient, (row.community, row.grid)) == (row.community, row.grid)


def test_a_sample_of_any_size_has_a_leap_day_a_night_watch_and_rare_characters(sample: Sample) -> None:
    assert any(row.worked_on == "2024-02-29" for row in sample.rows)
    assert any(row.end.date() > row.start.date() for row in sample.rows)
    assert any(int(row.minutes) % 5 for row in sample.rows)
    assert any(character in row.name for row in sample.rows for character in "𠮷㛃䶮")
    assert {"新竹社区", "金湖社区", "金花茶社区"} <= {row.community for row in sample.rows}


def test_the_marker_vouches_for_each_file(sample: Sample) -> None:
    marker = json.loads((sample.directory / "sample.json").read_bytes())
    files = {path.name for path in sample.directory.iterdir()} - {"sample.json"}
    assert set(marker["sha256"]) == files
    for name, digest in marker["sha256"].items():
        assert hashlib.sha256((sample.directory / name).read_bytes()).hexdigest() == digest
    summary = json.loads(json.dumps(asdict(sample.summary), default=str))
    assert marker["summary"] == summary


def test_the_same_arguments_give_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from application.sample import write_sample;"
        "write_sample(Path(sys.argv[1]), households_served=60, hours=3000, seed=11)"
    )
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", program, tmp_path / hash_seed], env=environment, cwd=ROOT, check=True)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("1", "2"))
    assert first == second


def test_the_bytes_are_those_of_every_machine(tmp_path: Path) -> None:
    """A golden digest: whoever changes it changes everybody's sample, and says so in the changelog."""
    write_sample(tmp_path, households_served=20, hours=400, seed=7)
    digest = hashlib.sha256((tmp_path / "sample.json").read_bytes()).hexdigest()
    assert digest == "00aae5de1dd1d7c20f86d91d6604963ec4b556827f4ded1106cc728b2e48647a"


def test_another_seed_gives_another_sample(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_sample(tmp_path / str(seed), households_served=5, hours=100, seed=seed)
    name = "hours-2025-synthetic.csv"
    assert (tmp_path / "1" / name).read_bytes() != (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize(
    ("households_served", "hours"), [(0, 400), (-1, 400), (20, 0), (20, 251), (1, 49), (20, 9451), (1898, 400)]
)
def test_impossible_arguments_are_refused_in_both_languages_and_leave_nothing(
    tmp_path: Path, households_served: int, hours: int
) -> None:
    with pytest.raises(ValueError, match=r"至少为 1.* At least|总时长须在.* hours must be"):
        write_sample(tmp_path / "sample", households_served=households_served, hours=hours)
    assert not (tmp_path / "sample").exists()


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hours-2023.csv").write_text("真实记录")
    with pytest.raises(FileExistsError, match=r"不是空的.* is not empty"):
        write_sample(tmp_path, households_served=20, hours=400)
    assert [path.name for path in tmp_path.iterdir()] == ["hours-2023.csv"]


@pytest.mark.parametrize("content", ["", "[]", '{"generator": "another"}'])
def test_a_marker_of_somebody_else_is_no_earlier_sample(tmp_path: Path, content: str) -> None:
    (tmp_path / "sample.json").write_text(content)
    with pytest.raises(FileExistsError):
        write_sample(tmp_path, households_served=20, hours=400)
    assert (tmp_path / "sample.json").read_text() == content


def test_an_earlier_sample_is_replaced_by_one_equal_to_a_fresh_one(tmp_path: Path) -> None:
    write_sample(tmp_path / "again", households_served=60, hours=3000)
    write_sample(tmp_path / "again", households_served=20, hours=400)
    write_sample(tmp_path / "fresh", households_served=20, hours=400)
    again, fresh = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("again", "fresh"))
    assert again == fresh


def test_a_run_that_died_is_no_complete_sample_and_can_be_repeated(tmp_path: Path) -> None:
    write_sample(tmp_path, households_served=20, hours=400)

    def die_while_writing(done: int, total: int) -> None:
        if done > total * 3 // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, households_served=20, hours=400, progress=die_while_writing)
    assert not (tmp_path / "sample.json").exists()
    assert list(tmp_path.glob("*.csv")) == []

    sample = read(tmp_path, write_sample(tmp_path, households_served=20, hours=400))
    assert_counts(sample, 20, 400)
    assert list(tmp_path.glob("*.partial")) == []


def test_progress_never_goes_back_and_ends_complete(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_sample(tmp_path, households_served=20, hours=400, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert len({total for _, total in told}) == 1
    assert told[-1][0] == told[-1][1]


@settings(max_examples=50, deadline=None)
@given(households_served=st.integers(1, 30), hours_each=st.integers(13, 110), seed=st.integers(0, 2**64))
def test_any_small_district_obeys_the_rules_and_meets_its_figures(
    households_served: int, hours_each: int, seed: int
) -> None:
    hours = 50 + hours_each * households_served
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        summary = write_sample(directory, households_served=households_served, hours=hours, seed=seed)
        sample = read(directory, summary)
    assert_importable(sample)
    assert_counts(sample, households_served, hours)
    assert summary.communities == 3


def test_the_whole_district_comes_out_as_1898_households_and_430_000_hours(tmp_path: Path) -> None:
    sample = read(tmp_path, write_sample(tmp_path))
    assert_importable(sample)
    assert_counts(sample, 1898, 430_000)
    summary, rows = sample.summary, sample.rows
    assert summary.households == 6000
    assert summary.communities == 68
    assert 0.010 < summary.rejected / summary.records < 0.020
    assert 0.005 < summary.reversed / summary.records < 0.009
    assert 0.002 < summary.pending / summary.records < 0.004
    assert 80 < summary.service_minutes / summary.confirmed < 100
    assert {row.service for row in rows} == TO_A_HOUSEHOLD | TO_THE_COMMUNITY
    assert {row.home for row in rows} & {row.recipient for row in rows}, "some give and receive"

    minutes_given: Counter[str] = Counter()
    for row in rows:
        if row.counted:
            minutes_given[row.volunteer] += int(row.minutes)
    in_order = sorted(minutes_given.values())
    weeks = (date(2026, 10, 31) - date(2022, 3, 1)).days // 7
    assert 1000 * 60 < in_order[-1] < weeks * 12 * 60
    assert sum(in_order[-len(in_order) // 10 :]) > sum(in_order) * 0.4, "a tenth of them give two fifths of it"

    months = Counter(row.worked_on[:7] for row in rows)
    assert months["2024-02"] < months["2024-01"]
    assert months["2024-02"] < months["2024-03"]
    assert months["2023-05"] < months["2026-05"]
