"""The sample district: made-up years of a time bank, written as the files that `timebank import` reads.

Nothing in it is real. The same arguments give the same bytes on every machine: all chance comes from
`random.Random(seed).random()`, the one method whose sequence Python promises to keep, and all arithmetic on it is
exact or IEEE-rounded (no exp, no log).

How a district comes about, in reading order: communities and grids; households, of which some will be served;
volunteers, each with habits and a budget of minutes; a first visit to every household that will be served; then every
volunteer's other services until the budgets, and with them the hours asked for, are reached.
"""

import hashlib
import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from itertools import accumulate, chain
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import NamedTuple

HEADER = (
    "记录编号,志愿者编号,志愿者姓名,户编号,服务对象户编号,社区,网格,服务项目,"
    "服务日期,开始时间,结束时间,时长（分钟）,确认人,备注,状态,户所在社区"
)
CONFIRMED, REJECTED, REVERSED, PENDING = "已确认", "已驳回", "已冲正", "待确认"
MARKER = "sample.json"
README = "README.txt"
GENERATOR = "timebank sample"

FIRST_DATE = date(2022, 3, 1)
LAST_DATE = date(2026, 10, 31)
LAST_MONTH = (date(2026, 10, 1) - FIRST_DATE).days
LEAP_DAY = (date(2024, 2, 29) - FIRST_DATE).days
DAYS = (LAST_DATE - FIRST_DATE).days + 1
YEARS = range(FIRST_DATE.year, LAST_DATE.year + 1)
NEW_YEARS = (date(2023, 1, 22), date(2024, 2, 10), date(2025, 1, 29), date(2026, 2, 17))
"""The first days of the lunar years that fall between the first date and the last."""

DAY_MINUTES = 24 * 60
RECORD_MINUTES_MIN = 15
VOLUNTEER_DAY_MINUTES_MAX = 10 * 60

COMMUNITIES_MIN, COMMUNITIES_MAX = 3, 68
RECIPIENT_WEIGHT_MAX = 4000
"""Four times the median: keeps anybody from being visited more often than is plausible."""
HOURS_MIN = 50
"""Below this, half a per cent of the hours is less than the shortest record, and the total could miss its mark."""
HOURS_PER_HOUSEHOLD_MIN = 4
"""Enough that every volunteer can act and every served household be visited with time to spare."""
HOURS_PER_HOUSEHOLD_MAX = 150
"""A sixth or so of what the volunteers could give; beyond it they would no longer be plausible."""

COMMUNITY_NAMES = (
    "新竹社区",
    "金湖社区",
    "金花茶社区",
    *(f"{first}{second}社区" for first in "荔桂榕莲兰松云霞晴安和祥瑞" for second in "汀坪岚圃澜"),
)
SURNAMES = (
    "黄韦李陈梁覃陆农莫潘张王刘蒙蓝罗林周吴何谢邓卢苏杨唐韩曾廖秦石赵钟朱庞宋甘零岑班玉闭",
    ("欧阳", "司马", "上官", "诸葛", "慕容", "令狐"),
)
GIVEN = "秀兰桂英建国志明丽华小燕春梅海波文彬玉珍少芳永强美玲宏伟雪莹家豪思远静怡子涵佳宁立新凤娟振东素云晓峰水生"
RARE = "𠮷㛃䶮"
"""Characters outside what many fonts, and UTF-16 units taken for characters, can deal with."""

REMARKS = (
    "合成备注：带队服务",
    "合成备注：两人同行",
    "合成备注：补录签到表",
    "合成备注：新志愿者见习",
    "合成备注：雨天改期",
)
STATUS_REMARKS = {
    REJECTED: ("合成驳回：与签到表不符", "合成驳回：服务对象未确认", "合成驳回：重复登记"),
    REVERSED: ("合成冲正：时长有误", "合成冲正：误记他人", "合成冲正：活动取消"),
}


class _Service(NamedTuple):
    """A kind of service: how common, what starts when (local time), how long, and whether a household receives it."""

    name: str
    weight: int
    to_household: bool
    starts: str
    minutes_min: int
    minutes_max: int


SERVICES = (
    _Service("助餐", 14, True, "10:30-11:20 11:30-12:15 16:40-17:40", 30, 100),
    _Service("助浴", 4, True, "09:00-10:30 14:30-16:00", 50, 140),
    _Service("助洁", 9, True, "08:30-10:00 14:30-16:00", 60, 170),
    _Service("助医陪诊", 5, True, "07:30-08:40 13:30-14:30", 100, 240),
    _Service("陪伴聊天", 14, True, "09:00-10:30 15:00-16:30 19:00-19:50", 40, 120),
    _Service("代购代办", 10, True, "08:30-10:00 15:30-17:00", 25, 100),
    _Service("心理慰藉", 4, True, "09:30-10:30 15:00-16:30 19:00-20:00", 40, 110),
    _Service("理发", 4, True, "09:00-10:30 14:30-16:00", 15, 60),
    _Service("家电维修", 4, True, "09:30-11:00 15:00-17:00 19:00-20:00", 25, 140),
    _Service("课业辅导", 5, True, "09:00-10:00 16:30-17:30 19:00-19:40", 50, 120),
    _Service("文明劝导", 6, False, "07:30-08:30 17:00-18:00", 50, 130),
    _Service("环境清洁", 8, False, "07:00-08:30 15:30-16:30", 50, 160),
    _Service("治安巡逻", 7, False, "19:00-20:30 21:40-23:30", 60, 170),
    _Service("交通疏导", 6, False, "07:10-07:50 17:10-17:50", 45, 120),
    _Service("政策宣传", 4, False, "09:00-10:00 15:00-16:00", 50, 160),
    _Service("活动组织", 3, False, "08:30-09:30 14:00-15:00", 90, 480),
    _Service("垃圾分类指导", 7, False, "07:00-08:00 18:30-19:30", 45, 130),
    _Service("楼道整治", 3, False, "08:30-09:30 14:30-15:30", 80, 220),
    _Service("法律咨询", 2, True, "09:30-10:30 15:00-16:00 19:00-20:00", 25, 110),
    _Service("智能手机教学", 4, True, "09:30-10:30 15:00-16:30", 45, 120),
)


class _Habit(NamedTuple):
    """When a kind of volunteer serves. `parts` weigh (morning, noon, afternoon, evening, night)."""

    share: int
    week_minutes_max: int
    weekday: int
    weekend: int
    weekday_parts: tuple[int, int, int, int, int]
    weekend_parts: tuple[int, int, int, int, int]


HABITS = (
    _Habit(45, 11 * 60, 10, 3, (24, 8, 12, 5, 1), (18, 8, 12, 5, 1)),  # retired: weekday mornings
    _Habit(35, 6 * 60, 3, 12, (2, 6, 3, 24, 3), (16, 8, 16, 8, 2)),  # employed: weekends, some evenings
    _Habit(20, 8 * 60, 6, 9, (12, 8, 14, 12, 2), (12, 8, 14, 12, 2)),  # neither, such as students
)


class _Slot(NamedTuple):
    """One service in one window of the day. A window is a first start and a number of five-minute steps."""

    service: int
    start: int
    steps: int


class _Slots(NamedTuple):
    """The slots open to a habit on a kind of day, with running weights to draw by."""

    slots: list[_Slot]
    running: list[int]


class _Recipients(NamedTuple):
    """A community's households to be served, by the day of their first visit, with running weights to draw by."""

    households: list[int]
    first_days: list[int]
    running: list[int]


class _Household(NamedTuple):
    code: str
    community: int
    grid: int
    served: bool


@dataclass(slots=True)
class _Volunteer:
    """A volunteer; days count from `FIRST_DATE`, minutes from its midnight."""

    household: int
    community: int
    habit: int
    first_day: int
    last_day: int
    zeal: int
    favourites: frozenset[int]
    name: str
    budget_minutes: int = 0
    promised_minutes: int = 0
    busy: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


class _Record(NamedTuple):
    """One service record. Sorts by start, then volunteer, which no two records share."""

    start: int
    volunteer: int
    minutes: int
    recipient: int | None
    community: int
    grid: int
    service: int
    status: str


@dataclass(frozen=True)
class SampleSummary:
    """What a sample holds, as written to `sample.json`.

    `files` are names within the directory. `service_minutes` are those of confirmed and unreversed records, and
    `households_served` counts the households that such a record names as recipient. `households` and `volunteers` all
    appear in the files. The dates are the first and last dates of service.
    """

    files: tuple[str, ...]
    records: int
    confirmed: int
    rejected: int
    reversed: int
    pending: int
    service_minutes: int
    households: int
    households_served: int
    volunteers: int
    communities: int
    first_date: date
    last_date: date


def write_sample(
    directory: Path,
    *,
    households_served: int = 1898,
    hours: int = 430_000,
    seed: int = 7,
    progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Write a synthetic district into `directory`, one CSV a year, and say what is in it.

    Exactly `households_served` households are named as recipient of a confirmed and unreversed record, and such
    records hold at least `hours` hours and at most half a per cent more. `progress` is told how much is done out of
    how much, in no particular unit. `sample.json`, with the summary and the SHA-256 of each file, is written last:
    without it a sample is not complete.

    Raises `ValueError` for arguments that no plausible district fits, `FileExistsError` if `directory` holds anything
    but an earlier sample or the remains of one, and `OSError` if it can't be written.
    """
    households = _household_count(households_served, hours)
    _claim(directory)
    tell = progress or (lambda _done, _total: None)
    district = _District(Random(seed), households_served, households)  # noqa: S311 - reproducible, not secret
    target_minutes = hours * 60
    records = district.serve(target_minutes, lambda done: tell(min(done, target_minutes), 2 * target_minutes))

    digests: dict[str, str] = {}
    first = 0
    for year in YEARS:
        last = bisect_left(records, _days_until(year + 1) * DAY_MINUTES, first, key=attrgetter("start"))
        if last > first:
            rows = district.rows(year, records[first:last])
            name = _year_file(year)
            digests[name] = _write(directory, name, _csv_text(year, seed, rows))
            tell(target_minutes + target_minutes * last // len(records), 2 * target_minutes)
        first = last
    readme = _readme(households_served, hours, seed)
    digests[README] = _write(directory, README, iter([readme]))
    for name in digests:
        os.replace(_partial(directory, name), directory / name)

    summary = district.summary(tuple(name for name in digests if name != README), records)
    document = {
        "generator": GENERATOR,
        "notice": "合成数据，不涉及任何真实人员。 SYNTHETIC DATA, not real people.",
        "arguments": {"households_served": households_served, "hours": hours, "seed": seed},
        "summary": asdict(summary),
        "sha256": digests,
    }
    text = json.dumps(document, ensure_ascii=False, indent=2, default=date.isoformat) + "\n"
    _partial(directory, MARKER).write_bytes(text.encode())
    os.replace(_partial(directory, MARKER), directory / MARKER)
    return summary


def _household_count(households_served: int, hours: int) -> int:
    """Households in the district, in the proportion of the real one. Raises `ValueError` where no district fits."""
    if households_served < 1:
        raise ValueError(
            f"服务户数至少为 1，不能是 {households_served}。"
            f" At least 1 household must be served, not {households_served}."
        )
    households = max(households_served * 6000 // 1898, households_served + 2 * COMMUNITIES_MIN)
    hours_min = max(HOURS_MIN, HOURS_PER_HOUSEHOLD_MIN * households)
    hours_max = HOURS_PER_HOUSEHOLD_MAX * households
    if not hours_min <= hours <= hours_max:
        raise ValueError(
            f"服务 {households_served} 户时，总时长须在 {hours_min} 至 {hours_max} 小时之间，不能是 {hours}。"
            f" With {households_served} households served, hours must be {hours_min} to {hours_max}, not {hours}."
        )
    return households


class _District:
    """A made-up district. Built once from the dice, then made to serve, then written out."""

    def __init__(self, dice: Random, households_served: int, households: int) -> None:
        self.random = dice.random
        count = max(COMMUNITIES_MIN, min(COMMUNITIES_MAX, households // 80))
        self.communities = COMMUNITY_NAMES[:count]
        self.grids = [self._grids() for _ in self.communities]
        self.households = self._households(households_served, households)
        self.volunteers = self._volunteers()
        self.slots = {
            (habit, weekend, summer): _slots(HABITS[habit], weekend, summer)
            for habit in range(len(HABITS))
            for weekend in (False, True)
            for summer in (False, True)
        }
        dates = [FIRST_DATE + timedelta(day) for day in range(DAYS)]
        self.day_kinds = [(day.weekday() >= 5, 6 <= day.month <= 9) for day in dates]
        self.day_texts = [day.isoformat() for day in dates]
        self.running_days = [[0, *accumulate(_day_weight(habit, day) for day in dates)] for habit in HABITS]
        self.records: list[_Record] = []

    def serve(self, target_minutes: int, tell: Callable[[int], None]) -> list[_Record]:
        """All records in order of time; confirmed ones hold `target_minutes` to half a per cent more."""
        self._share_out(target_minutes)
        self._keep_the_calendar()
        recipients = self._visit_first()
        limit = target_minutes + target_minutes // 200
        # Smallest budgets first: what a single record overshoots is made up for by those who give more anyway.
        order = sorted(range(len(self.volunteers)), key=lambda n: (self.volunteers[n].budget_minutes, n))
        reserve = sum(RECORD_MINUTES_MIN + volunteer.promised_minutes for volunteer in self.volunteers)
        done = due = 0
        for number in order:
            volunteer = self.volunteers[number]
            reserve -= RECORD_MINUTES_MIN + volunteer.promised_minutes
            done += volunteer.promised_minutes
            due += volunteer.budget_minutes
            goal = min(due, limit - reserve - RECORD_MINUTES_MIN + 1)
            while done < goal or not volunteer.busy:
                record = self._service(number, recipients, minutes_max=limit - reserve - done)
                if record:
                    self.records.append(record)
                    done += record.minutes if record.status == CONFIRMED else 0
            volunteer.busy = {}
            tell(done)
        self.records.sort()
        return self.records

    def rows(self, year: int, records: list[_Record]) -> Iterator[str]:
        """The CSV lines of one year's records."""
        clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in range(DAY_MINUTES)]
        for number, record in enumerate(records, 1):
            volunteer = self.volunteers[record.volunteer]
            day, start = divmod(record.start, DAY_MINUTES)
            end = (start + record.minutes) % DAY_MINUTES
            home = self.households[volunteer.household].code
            recipient = "" if record.recipient is None else self.households[record.recipient].code
            staff = "" if record.status == PENDING else f"S{record.community + 1:02}{self._below(3) + 1:02}"
            remarks = STATUS_REMARKS.get(record.status) or (REMARKS if self.random() < 0.03 else ("",))
            yield (
                f"R{year}-{number:06},{_volunteer_code(record.volunteer)},{volunteer.name},{home},{recipient},"
                f"{self.communities[record.community]},{self.grids[record.community][record.grid]},"
                f"{SERVICES[record.service].name},{self.day_texts[day]},{clock[start]},{clock[end]},{record.minutes},"
                f"{staff},{remarks[self._below(len(remarks))]},{record.status},{self.communities[volunteer.community]}\n"
            )

    def summary(self, files: tuple[str, ...], records: list[_Record]) -> SampleSummary:
        """The sample's figures, counted from its records."""
        counted = [record for record in records if record.status == CONFIRMED]
        statuses = [record.status for record in records]
        involved = {self.volunteers[record.volunteer].household for record in records}
        involved.update(record.recipient for record in records if record.recipient is not None)
        return SampleSummary(
            files=files,
            records=len(records),
            confirmed=len(counted),
            rejected=statuses.count(REJECTED),
            reversed=statuses.count(REVERSED),
            pending=statuses.count(PENDING),
            service_minutes=sum(record.minutes for record in counted),
            households=len(involved),
            households_served=len({record.recipient for record in counted if record.recipient is not None}),
            volunteers=len({record.volunteer for record in records}),
            communities=len({record.community for record in records}),
            first_date=FIRST_DATE + timedelta(records[0].start // DAY_MINUTES),
            last_date=FIRST_DATE + timedelta(records[-1].start // DAY_MINUTES),
        )

    def _below(self, end: int) -> int:
        return int(self.random() * end)

    def _between(self, first: int, last: int) -> int:
        return first + int(self.random() * (last - first + 1))

    def _zeal(self) -> int:
        """A factor around 1,000 whose logarithm is roughly normal: most are small and a few are large."""
        random = self.random
        return int(1000 * (random() + 0.12) * (random() + 0.12) / ((random() + 0.12) * (random() + 0.12)))

    def _grids(self) -> list[str]:
        """The building grids of one community, each as its path from the base grid down."""
        return [
            f"第{base}网格/{base}-{meta}元网格/{building}栋"
            for base in range(1, self._between(3, 8) + 1)
            for meta in range(1, self._between(2, 3) + 1)
            for building in range(1, self._between(2, 5) + 1)
        ]

    def _households(self, served_count: int, count: int) -> list[_Household]:
        served = [number < served_count for number in range(count)]
        for last in range(count - 1, 0, -1):
            other = self._below(last + 1)
            served[last], served[other] = served[other], served[last]
        running = list(accumulate(self._between(30, 150) for _ in self.communities))
        households: list[_Household] = []
        # Two households a community that only give, so that everyone who is served has someone else to serve them.
        givers = iter([*range(len(self.communities)), *range(len(self.communities))])
        for number in range(count):
            community = None if served[number] else next(givers, None)
            if community is None:
                community = bisect_right(running, self._below(running[-1]))
            grid = self._below(len(self.grids[community]))
            households.append(_Household(f"H{number + 1:05}", community, grid, served[number]))
        return households

    def _volunteers(self) -> list[_Volunteer]:
        """One or two of every household that isn't served and of some that are, in the order of joining."""
        volunteers = []
        for number, household in enumerate(self.households):
            chance = self.random()
            members = int(chance < 0.15) if household.served else 1 + int(chance < 0.15)
            volunteers += [self._volunteer(number, household.community) for _ in range(members)]
        volunteers.sort(key=attrgetter("first_day", "household"))
        # The founder was there all along, so that the calendar's special days find somebody whatever the size.
        volunteers[0].first_day, volunteers[0].last_day = 0, DAYS - 1
        for number in range(2, len(volunteers), 29):
            volunteers[number].name = volunteers[number].name[:-1] + RARE[number // 29 % len(RARE)]
        return volunteers

    def _volunteer(self, household: int, community: int) -> _Volunteer:
        chance = self._below(100)
        habit = bisect_right(list(accumulate(habit.share for habit in HABITS)), chance)
        stay_days_min = 90
        first_day = self._below(150) if self.random() < 0.25 else self._below(DAYS - stay_days_min)
        leaves = self.random() < 0.45
        last_day = self._between(first_day + stay_days_min, DAYS - 1) if leaves else DAYS - 1
        singles, doubles = SURNAMES
        surname = doubles[self._below(len(doubles))] if self.random() < 0.02 else singles[self._below(len(singles))]
        given = [GIVEN[self._below(len(GIVEN))] for _ in range(2 if self.random() < 0.8 else 1)]
        return _Volunteer(
            household=household,
            community=community,
            habit=habit,
            first_day=first_day,
            last_day=last_day,
            zeal=self._zeal(),
            favourites=frozenset(self._below(len(SERVICES)) for _ in range(4)),
            name="".join([surname, *given]),
        )

    def _share_out(self, target_minutes: int) -> None:
        """Give each volunteer a budget by zeal and time of stay, within what their habit allows a week."""
        left = target_minutes
        weight_left = sum(v.zeal * (v.last_day - v.first_day + 1) for v in self.volunteers)
        for volunteer in sorted(self.volunteers, key=lambda v: -v.zeal / HABITS[v.habit].week_minutes_max):
            days = volunteer.last_day - volunteer.first_day + 1
            weight = volunteer.zeal * days
            minutes_max = HABITS[volunteer.habit].week_minutes_max * days // 7
            volunteer.budget_minutes = min(minutes_max, left * weight // weight_left)
            left -= volunteer.budget_minutes
            weight_left -= weight
        self.volunteers[0].budget_minutes += left

    def _keep_the_calendar(self) -> None:
        """The founder serves on the leap day and keeps a watch past midnight: samples of any size then hold both."""
        cleaning, patrol = (
            next(number for number, service in enumerate(SERVICES) if service.name == name)
            for name in ("环境清洁", "治安巡逻")
        )
        watch_day = self._between(LEAP_DAY + 1, DAYS - 2)
        for day, start, minutes, service in (
            (LEAP_DAY, 8 * 60 + 5, 85, cleaning),
            (watch_day, 23 * 60 + 10, 112, patrol),
        ):
            self._promise(0, day * DAY_MINUTES + start, minutes, None, service)

    def _visit_first(self) -> list[_Recipients]:
        """Have every household to be served visited once by a neighbour; return the recipients of each community."""
        helpers: list[list[int]] = [[] for _ in self.communities]
        for number in sorted(range(len(self.volunteers)), key=lambda n: (-self.volunteers[n].budget_minutes, n)):
            helpers[self.volunteers[number].community].append(number)
        turns = [0] * len(self.communities)
        visits: list[list[tuple[int, int]]] = [[] for _ in self.communities]
        for recipient, household in enumerate(self.households):
            if household.served:
                near = helpers[household.community]
                while self.volunteers[near[turns[household.community] % len(near)]].household == recipient:
                    turns[household.community] += 1
                day = self._first_visit(near[turns[household.community] % len(near)], recipient)
                turns[household.community] += 1
                visits[household.community].append((day, recipient))
        recipients = []
        for visited in visits:
            visited.sort()
            weights = (min(self._zeal(), RECIPIENT_WEIGHT_MAX) for _ in visited)
            recipients.append(
                _Recipients(
                    households=[recipient for _, recipient in visited],
                    first_days=[day for day, _ in visited],
                    running=list(accumulate(weights)),
                )
            )
        return recipients

    def _first_visit(self, number: int, recipient: int) -> int:
        """Have a volunteer visit a household on some day of theirs, and return that day."""
        volunteer = self.volunteers[number]
        while True:
            day = self._day(volunteer)
            slot = self._slot(volunteer, day)
            start, minutes = self._stretch(day, slot)
            if SERVICES[slot.service].to_household and self._promise(number, start, minutes, recipient, slot.service):
                return day

    def _promise(self, number: int, start: int, minutes: int, recipient: int | None, service: int) -> bool:
        """Add a confirmed record whatever the budget, unless the volunteer is busy then."""
        volunteer = self.volunteers[number]
        if not _book(volunteer.busy, start, start + minutes):
            return False
        place = self.households[volunteer.household if recipient is None else recipient]
        volunteer.promised_minutes += minutes
        self.records.append(_Record(start, number, minutes, recipient, place.community, place.grid, service, CONFIRMED))
        return True

    def _service(self, number: int, recipients: list[_Recipients], minutes_max: int) -> _Record | None:
        """One more record of a volunteer, or None if chance fell on a time or a recipient that can't be."""
        volunteer = self.volunteers[number]
        day = self._day(volunteer)
        slot = self._slot(volunteer, day)
        start, minutes = self._stretch(day, slot)
        minutes = min(minutes, minutes_max)
        community = volunteer.community
        if volunteer.busy and self.random() < 0.1:  # the first time at home, so that no community is left out
            community = (community + (1 if self.random() < 0.5 else -1)) % len(self.communities)
        recipient = None
        if SERVICES[slot.service].to_household:
            households, first_days, running = recipients[community]
            known = bisect_left(first_days, day)
            if not known:
                return None
            recipient = households[bisect_right(running, self._below(running[known - 1]))]
            if recipient == volunteer.household:
                return None
            grid = self.households[recipient].grid
        elif community == volunteer.community and self.random() < 0.5:
            grid = self.households[volunteer.household].grid
        else:
            grid = self._below(len(self.grids[community]))
        if not _book(volunteer.busy, start, start + minutes):
            return None
        return _Record(start, number, minutes, recipient, community, grid, slot.service, self._status(day))

    def _status(self, day: int) -> str:
        """Counted off rather than drawn, so that small samples hold some of each as well."""
        count = len(self.records)
        if count % 67 == 33:
            return REJECTED
        if count % 143 == 71:
            return REVERSED
        # The nearer the end, the more is still to be confirmed.
        if day >= LAST_MONTH and self.random() < 0.25 * (day - LAST_MONTH) / (DAYS - LAST_MONTH):
            return PENDING
        return CONFIRMED

    def _day(self, volunteer: _Volunteer) -> int:
        running = self.running_days[volunteer.habit]
        first, end = running[volunteer.first_day], running[volunteer.last_day + 1]
        return bisect_right(running, first + int(self.random() * (end - first))) - 1

    def _slot(self, volunteer: _Volunteer, day: int) -> _Slot:
        """What the volunteer does that day and when; mostly one of the things they like to do."""
        slots, running = self.slots[volunteer.habit, *self.day_kinds[day]]
        for _ in range(4):
            slot = slots[bisect_right(running, int(self.random() * running[-1]))]
            if slot.service in volunteer.favourites:
                break
        return slot

    def _stretch(self, day: int, slot: _Slot) -> tuple[int, int]:
        """Start and minutes of a service. People write down fives; the sign-in machine doesn't."""
        random = self.random
        service = SERVICES[slot.service]
        steps = (service.minutes_max - service.minutes_min) // 5
        start = day * DAY_MINUTES + slot.start + 5 * int(random() * slot.steps)
        minutes = service.minutes_min + 5 * int((random() + random()) / 2 * steps)
        if random() < 0.15:
            start += int(random() * 5)
            minutes += int(random() * 5)
        return start, minutes


def _slots(habit: _Habit, weekend: bool, summer: bool) -> _Slots:
    morning, noon, afternoon, evening, night = habit.weekend_parts if weekend else habit.weekday_parts
    if summer:
        noon = noon // 4  # the heat
    slots, weights = [], []
    for number, service in enumerate(SERVICES):
        windows = service.starts.split()
        for window in windows:
            start, end = (_minute(text) for text in window.split("-"))
            parts = ((11 * 60 + 30, morning), (15 * 60, noon), (18 * 60, afternoon), (21 * 60 + 30, evening))
            part = next((weight for until, weight in parts if start < until), night)
            slots.append(_Slot(number, start, (end - start) // 5 + 1))
            weights.append(service.weight * part * 12 // len(windows))
    return _Slots(slots, list(accumulate(weights)))


def _minute(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _day_weight(habit: _Habit, day: date) -> int:
    """How likely a day is: more each year, fewer at the Spring Festival and in the hottest weeks."""
    weight = (habit.weekend if day.weekday() >= 5 else habit.weekday) * (60 * DAYS + 40 * (day - FIRST_DATE).days)
    if any(-4 <= (day - new_year).days <= 7 for new_year in NEW_YEARS):
        weight //= 5
    if day.month in (7, 8):
        weight = weight * 4 // 5
    return weight


def _book(busy: dict[int, list[tuple[int, int]]], start: int, end: int) -> bool:
    """Note a stretch of minutes in a volunteer's calendar, unless it overlaps, fills the day or leaves the years."""
    days = range(start // DAY_MINUTES, (end - 1) // DAY_MINUTES + 1)
    if days[-1] >= DAYS:
        return False
    for day in days:
        midnight = day * DAY_MINUTES
        next_midnight = midnight + DAY_MINUTES
        day_minutes = min(end, next_midnight) - max(start, midnight)
        for other_start, other_end in busy.get(day, ()):
            if start < other_end and other_start < end:
                return False
            day_minutes += min(other_end, next_midnight) - max(other_start, midnight)
        if day_minutes > VOLUNTEER_DAY_MINUTES_MAX:
            return False
    for day in days:
        busy.setdefault(day, []).append((start, end))
    return True


def _volunteer_code(number: int) -> str:
    return f"V{number + 1:05}"


def _days_until(year: int) -> int:
    return (date(year, 1, 1) - FIRST_DATE).days


def _year_file(year: int) -> str:
    return f"hours-{year}-synthetic.csv"


def _partial(directory: Path, name: str) -> Path:
    return directory / f"{name}.partial"


def _claim(directory: Path) -> None:
    """Make the directory ours and clear an earlier sample. Raises `FileExistsError` if others' files are in it."""
    directory.mkdir(parents=True, exist_ok=True)
    marker = directory / MARKER
    ours = _partial(directory, MARKER).exists() or (marker.exists() and _is_marker(marker))
    if not ours and any(directory.iterdir()):
        raise FileExistsError(
            f"目录 {directory} 不是空的，也不是以前生成的样本；请换一个目录。"
            f" {directory} is not empty and holds no earlier sample; choose another directory."
        )
    # The claim outlives a killed run, which may then be repeated; the old marker must not vouch for new files.
    _partial(directory, MARKER).touch()
    marker.unlink(missing_ok=True)
    for name in (README, *(_year_file(year) for year in YEARS)):
        (directory / name).unlink(missing_ok=True)
        _partial(directory, name).unlink(missing_ok=True)


def _is_marker(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("generator") == GENERATOR


def _write(directory: Path, name: str, texts: Iterator[str]) -> str:
    """Write a file under its temporary name, with a byte-order mark for Excel; return its SHA-256 in hex."""
    digest = hashlib.sha256()
    with _partial(directory, name).open("wb", buffering=1 << 20) as file:
        for text in chain(("\ufeff",), texts):
            data = text.encode()
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def _csv_text(year: int, seed: int, rows: Iterator[str]) -> Iterator[str]:
    yield (
        f"# 合成数据 SYNTHETIC DATA {year}：全部由程序生成，不涉及任何真实人员、住户或服务 "
        f"(no real people; made by {GENERATOR} with seed {seed})\n"
    )
    yield f"{HEADER}\n"
    yield from rows


def _readme(households_served: int, hours: int, seed: int) -> str:
    return (
        "合成数据，仅供演示和测试。\n"
        "本目录所有人员、住户、服务和时长都由程序随机生成，与真实的个人、家庭和社区服务无关；"
        "社区名称仅用于演示。请勿当作真实记录公示或上报。\n"
        "\n"
        "SYNTHETIC DATA, for demonstration and tests only.\n"
        "Every person, household, service and hour in this directory was made up by a program and describes no real\n"
        "person, family or service; community names are for show. Never publish or report it as a real record.\n"
        "\n"
        f"生成命令 Made by: {GENERATOR} DIR --households-served {households_served} --hours {hours} --seed {seed}\n"
        f"完整性 Completeness: {MARKER} is written last and holds the SHA-256 of each file.\n"
    )
