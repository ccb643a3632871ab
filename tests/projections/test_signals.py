"""Risk signals: each rule has a history that it must point at, and the nearest one that it must leave alone."""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest

from api.wiring import Timebank
from domain.account import HoursConfirmed
from domain.fact import Fact
from domain.hours import MINUTE, HoursLogged, HoursRejected
from domain.policy import Policy, PolicyAdopted
from domain.signals import RULES, Signal
from projections import signals as module
from projections.signals import signals
from tests.controls import HOURS_REVERSED, JINHU, OFFSET, XINZHU
from tests.projections.history import projecting, record

OpenBank = Callable[..., Timebank]
FIRST_DAY = date(2026, 1, 1)
FIRST_POLICY = PolicyAdopted(1, date(2020, 1, 1), Policy())
CHANGED_ON = date(2026, 3, 1)
CHANGED = PolicyAdopted(2, CHANGED_ON, Policy(record_minutes_max=240, day_minutes_max=300))


class Books:
    """Services as a test lays them out: one a day for each volunteer, at nine, confirmed by S2 unless it is said."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.records = 0
        self._days: Counter[str] = Counter()

    def serve(
        self,
        volunteer: str,
        times: int = 1,
        *,
        by: str | None = "S2",
        to: str | None = None,
        minutes: int = 47,
        community: str = XINZHU,
        day: date | None = None,
        at: str = "09:00",
        rejected: bool = False,
    ) -> "Books":
        for _ in range(times):
            self.records += 1
            self._days[volunteer] += day is None
            on = day or FIRST_DAY + timedelta(days=self._days[volunteer])
            start = datetime.fromisoformat(f"{on}T{at}").replace(tzinfo=OFFSET)
            number, household = f"R{self.records}", volunteer.replace("V", "H")
            times_of_it = (start, start + minutes * MINUTE, minutes, minutes)
            self.facts.append(HoursLogged(number, volunteer, household, community, "助餐", *times_of_it, "S1", to))
            if rejected:
                self.facts.append(HoursRejected(number, "S2", "false-record"))
            elif by is not None:
                self.facts.append(HoursConfirmed("issuance", "household:" + household, minutes, number, by))
        return self


def found(
    bank: Timebank, rule: str, books: Books, *policies: PolicyAdopted, community: str | None = None
) -> list[Signal]:
    """The signals of one rule for a whole year."""
    if books.facts:
        record(bank, *books.facts)
    with bank.reading() as connection, connection.cursor() as cursor:
        asked = {"since": FIRST_DAY, "until": date(2026, 12, 31), "policies": policies or (FIRST_POLICY,)}
        count, given = signals(cursor, rule, **asked, community=community)  # type: ignore[arg-type]
    assert count == len(given)
    return given


def who(given: list[Signal]) -> list[list[str]]:
    return sorted(signal.who for signal in given)


def in_turn(books: Books, people: int, *, by: bool) -> Books:
    """Each of so many has three records confirmed by the next, or serves the next one's household three times."""
    for person in range(1, people + 1):
        following = person % people + 1
        whom = {"by": f"V{following}"} if by else {"to": f"H{following}"}
        books.serve(f"V{person}", 3, **whom)
    return books


CONFIRMATIONS = {
    "each of two confirms three of the other's": (lambda b: b.serve("V1", 3, by="V2").serve("V2", 3, by="V1"), 2),
    "one of them confirms only two": (lambda b: b.serve("V1", 3, by="V2").serve("V2", 2, by="V1"), 0),
    "three of six are half": (lambda b: b.serve("V1", 3, by="V2").serve("V1", 3).serve("V2", 3, by="V1"), 2),
    "three of seven are less": (lambda b: b.serve("V1", 3, by="V2").serve("V1", 4).serve("V2", 3, by="V1"), 0),
    "three in turn": (lambda b: b.serve("V1", 3, by="V2").serve("V2", 3, by="V3").serve("V3", 3, by="V1"), 3),
    "three in a row": (lambda b: b.serve("V1", 3, by="V2").serve("V2", 3, by="V3").serve("V3", 3, by="S1"), 0),
    "six in turn": (lambda b: in_turn(b, 6, by=True), 6),
    "seven in turn": (lambda b: in_turn(b, 7, by=True), 0),
    "one of the records was rejected": (
        lambda b: b.serve("V1", 3, by="V2").serve("V2", 2, by="V1").serve("V2", rejected=True),
        0,
    ),
}


@pytest.mark.parametrize(("history", "people"), CONFIRMATIONS.values(), ids=CONFIRMATIONS)
def test_a_confirmation_ring(open_bank: OpenBank, history: Callable[[Books], Books], people: int) -> None:
    given = found(open_bank(), "confirmation-ring", history(Books()))
    assert who(given) == ([[f"V{n + 1}" for n in range(people)]] if people else [])
    assert [signal.records_count for signal in given] == ([3 * people] if people else [])


SERVICES = {
    "each of two serves the other three times": (lambda b: b.serve("V1", 3, to="H2").serve("V2", 3, to="H1"), 2),
    "one of them serves only twice": (lambda b: b.serve("V1", 3, to="H2").serve("V2", 2, to="H1"), 0),
    "what serves nobody by name doesn't count": (
        lambda b: b.serve("V1", 3, to="H2").serve("V1", 9).serve("V2", 3, to="H1"),
        2,
    ),
    "one of them serves others more": (
        lambda b: b.serve("V1", 3, to="H2").serve("V1", 4, to="H9").serve("V2", 3, to="H1"),
        0,
    ),
    "three in turn": (lambda b: b.serve("V1", 3, to="H2").serve("V2", 3, to="H3").serve("V3", 3, to="H1"), 3),
    "three in a row": (lambda b: b.serve("V1", 3, to="H2").serve("V2", 3, to="H3").serve("V3", 3, to="H9"), 0),
    "four in turn": (lambda b: in_turn(b, 4, by=False), 4),
    "six in turn": (lambda b: in_turn(b, 6, by=False), 6),
    "seven in turn": (lambda b: in_turn(b, 7, by=False), 0),
}


@pytest.mark.parametrize(("history", "households"), SERVICES.values(), ids=SERVICES)
def test_a_service_ring(open_bank: OpenBank, history: Callable[[Books], Books], households: int) -> None:
    given = found(open_bank(), "service-ring", history(Books()))
    assert who(given) == ([[f"H{n + 1}" for n in range(households)]] if households else [])
    assert [signal.records_count for signal in given] == ([3 * households] if households else [])


def test_rings_that_share_a_person_are_each_named_once(open_bank: OpenBank) -> None:
    books = Books()
    for giver, taker in ((1, 2), (2, 1), (2, 3), (3, 1)):
        books.serve(f"V{giver}", 3, by=f"V{taker}")
    assert who(found(open_bank(), "confirmation-ring", books)) == [["V1", "V2"], ["V1", "V2", "V3"]]


def others(books: Books, by_same: int, of: int) -> Books:
    """What else there is in the community: so many of so many records are confirmed by the same person."""
    return books.serve("V7", by_same, by="S5").serve("V8", of - by_same, by="S6")


@pytest.mark.parametrize(
    ("history", "signalled"),
    [
        (lambda b: others(b.serve("V1", 18, by="S5").serve("V1", 2, by="S6"), 0, 10), True),
        (lambda b: others(b.serve("V1", 17, by="S5").serve("V1", 3, by="S6"), 0, 10), False),
        (lambda b: others(b.serve("V1", 19, by="S5"), 0, 10), False),
        (lambda b: others(b.serve("V1", 20, by="S5"), 5, 10), True),
        (lambda b: others(b.serve("V1", 20, by="S5"), 6, 10), False),
        (lambda b: b.serve("V1", 20, by="S5"), False),
    ],
    ids=["nine of ten", "less", "too few records", "who does half", "who does most anyway", "nobody to compare with"],
)
def test_one_confirmer_for_one_volunteer(
    open_bank: OpenBank, history: Callable[[Books], Books], signalled: bool
) -> None:
    given = found(open_bank(), "one-confirmer", history(Books()))
    assert who(given) == ([["V1", "S5"]] if signalled else [])


def test_who_confirms_all_of_another_community_is_no_measure_for_this_one(open_bank: OpenBank) -> None:
    books = others(Books().serve("V1", 20, by="S5", community=JINHU), 10, 10)
    books.serve("V9", 10, by="S6", community=JINHU)
    (signal,) = found(open_bank(), "one-confirmer", books)
    assert signal.measured == {"share_percent": 100, "usual_percent": 0}
    assert (signal.communities, signal.records_count, signal.service_minutes) == ([JINHU], 20, 20 * 47)


DAY = date(2026, 5, 4)


def stretch(books: Books, *stretches: tuple[str, int, str]) -> Books:
    for at, minutes, community in stretches:
        books.serve("V1", day=DAY, at=at, minutes=minutes, community=community)
    return books


@pytest.mark.parametrize(
    ("stretches", "signalled"),
    [
        ([(f"{hour:02}:00", 20, XINZHU) for hour in range(8, 14)], True),
        ([(f"{hour:02}:00", 20, XINZHU) for hour in range(8, 13)], False),
        ([("07:00", 300, XINZHU), ("13:00", 240, XINZHU)], True),
        ([("07:00", 300, XINZHU), ("13:00", 239, XINZHU)], False),
        ([("09:00", 60, XINZHU), ("10:14", 46, JINHU), ("11:00", 60, XINZHU)], True),
        ([("09:00", 60, XINZHU), ("10:15", 45, JINHU), ("11:00", 60, XINZHU)], False),
        ([("09:00", 60, XINZHU), ("10:00", 60, JINHU), ("11:00", 60, JINHU)], False),
    ],
    ids=["six records", "five", "nine hours", "a minute less", "to and fro at once", "with time to go", "one way"],
)
def test_an_implausible_day(open_bank: OpenBank, stretches: list[tuple[str, int, str]], signalled: bool) -> None:
    given = found(open_bank(), "implausible-day", stretch(Books(), *stretches))
    assert who(given) == ([["V1"]] if signalled else [])
    for signal in given:
        assert signal.measured["day"] == str(DAY)
        assert signal.records == [f"R{number + 1}" for number in range(len(stretches))]


def volume(before: int, after: int, *, weeks_before: int = 2) -> Books:
    """So many records in the fortnight that begins so long before the change, and in the one that begins with it."""
    books = Books()
    for number in range(before):
        books.serve(f"V{number}", day=CHANGED_ON - timedelta(weeks=weeks_before, days=-(number % 14)))
    for number in range(after):
        books.serve(f"V{number}", day=CHANGED_ON + timedelta(days=number % 14))
    return books.serve("V99", 60, day=CHANGED_ON - timedelta(days=43)).serve("V98", 60, day=date(2026, 3, 15))


@pytest.mark.parametrize(
    ("before", "after", "signalled"),
    [(15, 30, True), (16, 30, False), (14, 29, False), (0, 30, False)],
    ids=["doubled", "not quite", "too few to tell", "a community that begins"],
)
def test_a_burst_after_a_change_of_the_policy(open_bank: OpenBank, before: int, after: int, signalled: bool) -> None:
    bank = open_bank()
    given = found(bank, "burst-after-change", volume(before, after), FIRST_POLICY, CHANGED)
    assert who(given) == ([[XINZHU]] if signalled else [])
    for signal in given:
        assert (signal.measured["records_before"], signal.measured["records_after"]) == (before, after)
        assert (signal.measured["policy_version"], signal.records_count) == (2, after)


@pytest.mark.parametrize(("before", "signalled"), [(15, True), (16, False)])
def test_a_holiday_before_the_change_makes_no_burst(open_bank: OpenBank, before: int, signalled: bool) -> None:
    books = volume(before, 30, weeks_before=6).serve("V97", 3, day=CHANGED_ON - timedelta(days=2))
    given = found(open_bank(), "burst-after-change", books, FIRST_POLICY, CHANGED)
    assert who(given) == ([[XINZHU]] if signalled else [])


def test_a_change_whose_days_before_are_not_all_in_the_period_is_left_out(open_bank: OpenBank) -> None:
    bank, first_in_time = open_bank(), FIRST_DAY + timedelta(days=42)
    early, in_time = (PolicyAdopted(2, day, Policy()) for day in (first_in_time - timedelta(days=1), first_in_time))
    books = Books().serve("V1").serve("V2", 40, day=first_in_time)
    assert found(bank, "burst-after-change", books, early) == []
    assert who(found(bank, "burst-after-change", Books(), in_time)) == [[XINZHU]]


def test_growth_without_a_change_is_no_burst(open_bank: OpenBank) -> None:
    assert found(open_bank(), "burst-after-change", volume(15, 30)) == []


ORDINARY = 40
"""Days of service by others, so that what is usual in the district isn't what the one volunteer does."""


@pytest.mark.parametrize(
    ("history", "signalled"),
    [
        (lambda b: b.serve("V1", 3, minutes=480).serve("V1", 9), True),
        (lambda b: b.serve("V1", 2, minutes=480).serve("V1", 9), False),
        (lambda b: b.serve("V1", 3, minutes=479).serve("V1", 9), False),
        (lambda b: b.serve("V1", 3, minutes=480).serve("V1", 20), False),
        (lambda b: b.serve("V1", 3, minutes=480).serve("V9", 10, minutes=480), True),
        (lambda b: b.serve("V1", 3, minutes=480).serve("V9", 900, minutes=480), False),
    ],
    ids=["three days", "two", "a minute less", "seldom", "somebody else too", "as everybody does"],
)
def test_records_at_exactly_the_limit(open_bank: OpenBank, history: Callable[[Books], Books], signalled: bool) -> None:
    books = history(Books().serve("V8", ORDINARY))
    given = found(open_bank(), "at-the-limit", books)
    assert (["V1"] in who(given)) is signalled
    for signal in given:
        if signal.who == ["V1"]:
            assert (signal.measured["days"], signal.records_count, signal.service_minutes) == (3, 3, 3 * 480)


@pytest.mark.parametrize(("minutes", "signalled"), [(300, True), (299, False)])
def test_days_at_exactly_the_limit(open_bank: OpenBank, minutes: int, signalled: bool) -> None:
    books = Books().serve("V8", ORDINARY)
    for number in range(3):
        day = DAY + timedelta(days=number)
        books.serve("V1", day=day, minutes=300).serve("V1", day=day, at="15:00", minutes=minutes)
    given = found(open_bank(), "at-the-limit", books)
    assert who(given) == ([["V1"]] if signalled else [])
    assert [signal.records_count for signal in given] == ([6] if signalled else [])


@pytest.mark.parametrize(("shift_days", "signalled"), [(0, True), (-1, False)])
def test_the_limit_is_that_of_the_policy_of_the_day(open_bank: OpenBank, shift_days: int, signalled: bool) -> None:
    books = Books().serve("V8", ORDINARY)
    for number in range(3):
        books.serve("V1", day=CHANGED_ON + timedelta(days=number + shift_days), minutes=240)
    given = found(open_bank(), "at-the-limit", books, FIRST_POLICY, CHANGED)
    assert who(given) == ([["V1"]] if signalled else [])


@pytest.mark.parametrize(
    ("history", "signalled"),
    [
        (lambda b: b.serve("V1", 10, minutes=60).serve("V1", 8, minutes=90).serve("V1", 2), True),
        (lambda b: b.serve("V1", 17, minutes=60).serve("V1", 3), False),
        (lambda b: b.serve("V1", 19, minutes=60), False),
        (lambda b: b.serve("V1", 20, minutes=60).serve("V9", 15, minutes=30), True),
        (lambda b: b.serve("V1", 20, minutes=60).serve("V9", 110, minutes=30).serve("V9", 13), False),
    ],
    ids=["nine of ten", "less", "too few records", "some others too", "as everybody does"],
)
def test_durations_that_are_always_round(
    open_bank: OpenBank, history: Callable[[Books], Books], signalled: bool
) -> None:
    given = found(open_bank(), "always-round", history(Books().serve("V8", ORDINARY)))
    assert who(given) == ([["V1"]] if signalled else [])


def test_staff_of_a_community_are_shown_what_its_own_records_say(open_bank: OpenBank) -> None:
    bank = open_bank()
    books = stretch(Books(), *((f"{hour:02}:00", 20, XINZHU if hour < 13 else JINHU) for hour in range(8, 14)))
    assert found(bank, "implausible-day", books, community=XINZHU) == []
    assert who(found(bank, "implausible-day", Books(), community=None)) == [["V1"]]


@pytest.mark.parametrize("status", ["logged", "rejected", "reversed"])
def test_what_was_rejected_or_reversed_gives_no_signal(open_bank: OpenBank, status: str) -> None:
    books = Books()
    for hour in range(8, 14):
        books.serve("V1", day=DAY, at=f"{hour:02}:00", minutes=20, by=None if status == "logged" else "S2")
    if status == "rejected":
        books.facts[-1] = HoursRejected("R6", "S2", "false-record")
    elif status == "reversed":
        source, target = "household:H1", "issuance"
        kind = type(HOURS_REVERSED)
        books.facts.append(kind(source, target, 20, "R6", "S2", "false-record"))
    assert bool(found(open_bank(), "implausible-day", books)) is (status == "logged")


def test_only_services_of_the_period_are_looked_at(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, *stretch(Books(), *((f"{hour:02}:00", 20, XINZHU) for hour in range(8, 14))).facts)
    with bank.reading() as connection, connection.cursor() as cursor:
        for since, until, count in ((DAY, DAY, 1), (DAY + timedelta(1), DAY, 0), (DAY, DAY - timedelta(1), 0)):
            given = signals(cursor, "implausible-day", since=since, until=until, policies=(FIRST_POLICY,))
            assert given[0] == count


def test_an_answer_has_a_bounded_size_and_says_how_much_there_is(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIGNALS_MAX", 1)
    monkeypatch.setattr(module, "RECORDS_MAX", 4)
    bank, books = open_bank(), stretch(Books(), *((f"{hour:02}:00", 20, XINZHU) for hour in range(8, 14)))
    for hour in range(8, 15):
        books.serve("V2", day=DAY, at=f"{hour:02}:00", minutes=20)
    record(bank, *books.facts)
    with bank.reading() as connection, connection.cursor() as cursor:
        count, given = signals(
            cursor, "implausible-day", since=DAY, until=DAY, policies=(FIRST_POLICY,), community=None
        )
    assert (count, who(given), given[0].records_count, len(given[0].records)) == (2, [["V2"]], 7, 4)


@pytest.mark.parametrize("rule", RULES)
def test_where_there_is_nothing_nothing_is_found(open_bank: OpenBank, rule: str) -> None:
    bank = open_bank()
    with projecting(bank):
        assert found(bank, rule, Books().serve("V1")) == []
