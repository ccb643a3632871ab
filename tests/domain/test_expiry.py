"""Minutes that lapse: announced in time, first in first out, and never more than what is left of old ones."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.account import (
    Account,
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesDonated,
    MinutesExpired,
    MinutesGranted,
    MinutesHeld,
    MinutesReleased,
    account_fold,
)
from domain.decision import BY_TIME, Actor, LeftToTime
from domain.expiry import (
    AnnounceExpiry,
    ExpireMinutes,
    Expiry,
    ExpiryAlreadyDone,
    ExpiryAnnounced,
    ExpiryCalledOff,
    ExpiryNotDue,
    NothingExpires,
    Savings,
    UnknownAnnouncement,
    announce_expiry,
    earned_before,
    expire_minutes,
    savings_fold,
)
from domain.fact import Fact, Movement
from domain.household import UnknownHousehold
from domain.household_life import (
    CloseHousehold,
    MergeHouseholds,
    SplitHousehold,
    close_household,
    merge_households,
    split_household,
)
from domain.policy import NoPolicyInForce, Policy, PolicyAdopted
from domain.transfer import TransferMinutes, transfer
from tests.controls import (
    ADMIN,
    COMMAND_ID,
    DISTRICT,
    FACT_EXAMPLES,
    XINZHU,
    at,
    district,
    given,
    logged,
)

TIME = Actor(BY_TIME, "admin")
HOME, POOL = "household:H1", "pool:" + XINZHU
EXPIRING = district(expiry_months=2, expiry_notice_days=10)
NUMBER = "-".join(COMMAND_ID[start : start + 8] for start in (0, 8, 16, 24))


def served(record: str, day: str, minutes: int) -> tuple[Fact, ...]:
    """A confirmed record of V1's, for H1."""
    return (
        logged(record, f"{day} 09:00 - 17:00", claimed_minutes=minutes, service_minutes=minutes),
        HoursConfirmed("issuance", HOME, minutes, record, "S2"),
    )


def spent(minutes: int) -> MinutesDonated:
    return MinutesDonated(HOME, POOL, minutes, "V1")


def granted(minutes: int) -> MinutesGranted:
    return MinutesGranted(POOL, HOME, minutes, "S2", "illness")


def announced(minutes: int, *records: str, number: str = NUMBER) -> ExpiryAnnounced:
    return ExpiryAnnounced(number, "H1", minutes, date(2026, 12, 2), date(2026, 10, 1), records)


def announce(*records: str) -> AnnounceExpiry:
    return AnnounceExpiry(household="H1", records=records)


OLD = (*served("R1", "09-01", 60), *served("R2", "09-30", 90), *served("R3", "10-01", 30))
EXPIRE = ExpireMinutes(household="H1", announcement=NUMBER)
THEN = at("12-02 00:00")


@pytest.mark.parametrize(
    ("day", "months", "before"),
    [
        (date(2026, 12, 1), 1, date(2026, 11, 1)),
        (date(2026, 12, 31), 1, date(2026, 11, 1)),
        (date(2026, 1, 31), 1, date(2025, 12, 1)),
        (date(2026, 3, 1), 24, date(2024, 3, 1)),
        (date(2028, 2, 29), 600, date(1978, 2, 1)),
    ],
)
def test_minutes_lapse_on_the_first_of_a_month_after_as_many_whole_months(day: date, months: int, before: date) -> None:
    assert earned_before(day, months) == before


# ── What is left ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_second_fold_of_an_account_takes_all_that_the_first_one_takes() -> None:
    assert (savings_fold.prefix, savings_fold.fact_types) == (account_fold.prefix, account_fold.fact_types)
    for fact in FACT_EXAMPLES:
        for tag in fact.tags():
            if tag.startswith("account:"):
                once = savings_fold.evolve(savings_fold.start(tag), fact)  # type: ignore[arg-type]
                assert once.account == account_fold.evolve(account_fold.start(tag), fact)


def left(*facts: Any) -> dict[str, int]:
    return given(*facts).state(Savings.of(HOME)).left()


def test_what_came_in_first_is_spent_first() -> None:
    assert left(OLD) == {"R1": 60, "R2": 90, "R3": 30}
    assert left(OLD, spent(50)) == {"R1": 10, "R2": 90, "R3": 30}
    assert left(OLD, spent(100)) == {"R2": 50, "R3": 30}
    assert left(OLD, spent(180)) == {}
    assert left(granted(40), OLD, spent(50)) == {"R1": 50, "R2": 90, "R3": 30}
    assert left(OLD, granted(40), spent(180)) == {}


def test_what_was_held_is_still_there() -> None:
    assert left(OLD, MinutesHeld(HOME, 180, "request:Q1")) == {"R1": 60, "R2": 90, "R3": 30}


def test_what_was_reversed_or_capped_is_not_there() -> None:
    reversed_ = HoursReversed(HOME, "issuance", 90, "R2", "S2", "duplicate")
    assert left(OLD, reversed_) == {"R1": 60, "R3": 30}
    assert left(OLD, spent(100), reversed_) == {}
    assert left(OLD, spent(100), reversed_, granted(5)) == {}
    capped = MinutesCapped(HOME, POOL, 20, "R3")
    assert left(OLD, capped) == {"R1": 60, "R2": 90, "R3": 10}
    undone = (CappedMinutesReturned(POOL, HOME, 20, "R3"), HoursReversed(HOME, "issuance", 30, "R3", "S2", "duplicate"))
    assert left(OLD, capped, undone) == {"R1": 60, "R2": 90}


def test_what_lapsed_is_not_there_and_takes_nothing_from_what_came_before() -> None:
    expired = MinutesExpired(HOME, "expired", 90, "H1", "X1", (("R2", 90),))
    assert left(OLD, expired) == {"R1": 60, "R3": 30}
    assert left(granted(40), OLD, expired) == {"R1": 60, "R3": 30}


# ── Announced ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_will_be_old_when_the_notice_is_over_is_announced_record_by_record() -> None:
    command = announce("R1", "R2", "R3")
    given(EXPIRING, OLD).when(announce_expiry, command, actor=TIME).then(announced(150, "R1", "R2"), policy=1)
    given(EXPIRING, OLD, spent(70)).when(announce_expiry, command, actor=TIME).then(announced(80, "R2"))


def test_only_what_is_named_there_and_not_announced_yet_is_announced() -> None:
    given(EXPIRING, OLD).when(announce_expiry, announce("R1", "R1", "R9"), actor=TIME).then(announced(60, "R1"))
    again = (*EXPIRING, *OLD, announced(60, "R1", number="X1"))
    given(again).when(announce_expiry, announce("R1", "R2"), actor=TIME).then(announced(90, "R2"))
    given(again).when(announce_expiry, announce("R1"), actor=TIME).refused(NothingExpires("H1"))
    called_off = ExpiryCalledOff("X1", "H1", "held")
    given(again, called_off).when(announce_expiry, announce("R1"), actor=TIME).then(announced(60, "R1"))


def test_nothing_is_announced_where_nothing_lapses() -> None:
    refused = NothingExpires("H1")
    given(DISTRICT, OLD).when(announce_expiry, announce("R1"), actor=TIME).refused(refused)
    given(EXPIRING, OLD).when(announce_expiry, announce("R3"), actor=TIME).refused(refused)
    given(EXPIRING, OLD, spent(180)).when(announce_expiry, announce("R1"), actor=TIME).refused(refused)
    given(DISTRICT[:1], OLD).when(announce_expiry, announce("R1"), actor=TIME).refused(UnknownHousehold("H1"))
    unruled = [fact for fact in EXPIRING if not isinstance(fact, PolicyAdopted)]
    given(unruled, OLD).when(announce_expiry, announce("R1"), actor=TIME).refused(NoPolicyInForce("2026-11-22"))


def test_the_calendar_decides_and_no_person() -> None:
    given(EXPIRING, OLD).when(announce_expiry, announce("R1"), actor=ADMIN).refused(LeftToTime("A1"))
    given(EXPIRING, OLD, announced(60, "R1")).when(expire_minutes, EXPIRE, actor=ADMIN).refused(LeftToTime("A1"))


# ── Lapsed ───────────────────────────────────────────────────────────────────────────────────────────────────


def expired(minutes: int, *lapsed: tuple[str, int]) -> MinutesExpired:
    return MinutesExpired(HOME, "expired", minutes, "H1", NUMBER, lapsed)


def test_what_is_left_of_the_announced_records_lapses_on_the_day() -> None:
    past = (*EXPIRING, *OLD, announced(150, "R1", "R2"))
    day_before = THEN - timedelta(minutes=1)
    given(past).when(expire_minutes, EXPIRE, actor=TIME, now=day_before).refused(ExpiryNotDue(NUMBER, "2026-12-02"))
    both = expired(150, ("R1", 60), ("R2", 90))
    given(past).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).then(both, policy=1)
    given(past, spent(70)).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).then(expired(80, ("R2", 80)))
    after = given(past, both)
    assert after.state(Account.of(HOME)).balance_minutes == 30
    after.when(expire_minutes, EXPIRE, actor=TIME, now=THEN).refused(ExpiryAlreadyDone(NUMBER))
    assert after.state(Expiry.of("H1")).open == ()


def test_what_is_held_is_spared_and_announced_anew_when_it_is_free() -> None:
    past = (*EXPIRING, *OLD, announced(150, "R1", "R2"))
    hold = MinutesHeld(HOME, 100, "dispute:D1")
    some = (
        given(past, hold).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).then(expired(80, ("R1", 60), ("R2", 20)))
    )
    released = MinutesReleased(HOME, 100, "dispute:D1")
    again = replace(announced(70, "R2"), on=date(2026, 12, 12))
    given(past, hold, some.facts, released).when(announce_expiry, announce("R1", "R2"), actor=TIME, now=THEN).then(
        again
    )


def test_where_nothing_is_left_or_free_or_the_policy_changed_it_is_called_off() -> None:
    past = (*EXPIRING, *OLD, announced(150, "R1", "R2"))
    given(past, spent(180)).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).then(
        ExpiryCalledOff(NUMBER, "H1", "spent")
    )
    hold = MinutesHeld(HOME, 180, "dispute:D1")
    held = ExpiryCalledOff(NUMBER, "H1", "held")
    given(past, hold).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).then(held)
    for months in (None, 3):
        changed = PolicyAdopted(2, date(2026, 12, 1), Policy(expiry_months=months))
        given(past, changed).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).then(
            ExpiryCalledOff(NUMBER, "H1", "policy"), policy=2
        )
    sooner = PolicyAdopted(2, date(2026, 12, 1), Policy(expiry_months=1))
    assert given(past, sooner).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).accepted == (
        expired(150, ("R1", 60), ("R2", 90)),
    )


def test_what_was_not_announced_does_not_lapse() -> None:
    given(EXPIRING, OLD).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).refused(UnknownAnnouncement(NUMBER))
    unruled = [fact for fact in EXPIRING if not isinstance(fact, PolicyAdopted)]
    given(unruled, OLD, announced(60, "R1")).when(expire_minutes, EXPIRE, actor=TIME, now=THEN).refused(
        NoPolicyInForce("2026-12-02")
    )


# ── At random ────────────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("earn"), st.integers(1, 90)),
        st.tuples(st.just("earn late"), st.integers(1, 90)),
        st.tuples(st.just("grant"), st.integers(1, 50)),
        st.tuples(st.just("spend"), st.integers(1, 120)),
        st.tuples(st.just("reverse"), st.integers(0, 5)),
        st.tuples(st.just("hold"), st.integers(1, 60)),
        st.tuples(st.just("release"), st.just(0)),
        st.tuples(st.just("days"), st.integers(1, 40)),
    ),
    max_size=40,
)


class Model:
    """Lots in the order they came in, as anybody would keep them with counters on a table."""

    def __init__(self) -> None:
        self.lots: list[tuple[str | None, int]] = []
        self.debt = 0

    def add(self, record: str | None, minutes: int) -> None:
        paid = min(self.debt, minutes)
        self.debt -= paid
        self.lots.append((record, minutes - paid))

    def take(self, minutes: int, of: str | None = None) -> None:
        for index, (record, there) in enumerate(self.lots):
            if of is None or record == of:
                taken = min(there, minutes)
                self.lots[index] = (record, there - taken)
                minutes -= taken
        if of is not None:
            self.take(minutes)
        else:
            self.debt += minutes

    def left(self) -> dict[str, int]:
        return {record: minutes for record, minutes in self.lots if record is not None and minutes}


@examples(STEPS)
def test_never_more_lapses_than_is_left_of_what_is_old_enough_and_was_announced_in_time(steps: list[Any]) -> None:
    now: datetime = at("01-05 08:00")
    facts: list[Fact] = list(EXPIRING)
    model = Model()
    days: dict[str, date] = {}
    earned: dict[str, int] = {}
    holds: list[MinutesHeld] = []
    for number, (what, amount) in enumerate(steps):
        account = given(facts).state(Account.of(HOME))
        match what:
            case "earn" | "earn late":
                record = f"R{number}"
                day = now - timedelta(days=1 if what == "earn" else 50)
                facts += served(record, f"{day:%m-%d}", amount) if day.year == 2026 else ()
                if day.year == 2026:
                    days[record], earned[record] = day.date(), amount
                    model.add(record, amount)
            case "grant":
                facts.append(granted(amount))
                model.add(None, amount)
            case "spend" if account.available_minutes >= amount:
                facts.append(spent(amount))
                model.take(amount)
            case "reverse" if earned:
                record = sorted(earned)[amount % len(earned)]
                minutes = earned.pop(record)
                facts.append(HoursReversed(HOME, "issuance", minutes, record, "S2", "duplicate"))
                model.take(minutes, record)
                model.lots = [one for one in model.lots if one[0] != record]
            case "hold" if account.available_minutes >= amount:
                holds.append(MinutesHeld(HOME, amount, f"request:Q{number}"))
                facts.append(holds[-1])
            case "release" if holds:
                done = holds.pop()
                facts.append(MinutesReleased(HOME, done.minutes, done.hold))
            case "days" if (now + timedelta(days=amount)).year == 2026:
                now += timedelta(days=amount)
        assert given(facts).state(Savings.of(HOME)).left() == model.left()
        if earned:
            command = announce(*sorted(earned))
            outcome = given(facts).when(announce_expiry, command, actor=TIME, now=now, command_id=f"{number:032x}")
            for fact in () if outcome.refusal else outcome.accepted:
                assert isinstance(fact, ExpiryAnnounced)
                assert fact.on - now.date() == timedelta(days=10)
                assert fact.minutes == sum(model.left()[record] for record in fact.records)
                facts.append(fact)
        for one in given(facts).state(Expiry.of("H1")).open:
            command = ExpireMinutes(household="H1", announcement=one.announcement)
            outcome = given(facts).when(expire_minutes, command, actor=TIME, now=now)
            if outcome.refusal is not None:
                assert isinstance(outcome.refusal, ExpiryNotDue)
                continue
            (fact,) = outcome.accepted
            if isinstance(fact, MinutesExpired):
                available = given(facts).state(Account.of(HOME)).available_minutes
                assert now.date() >= one.on
                assert 0 < fact.minutes == sum(minutes for _, minutes in fact.lapsed) <= min(available, one.minutes)
                for record, minutes in fact.lapsed:
                    assert record in one.records
                    assert days[record] < earned_before(now.date(), 2)
                    assert minutes <= model.left()[record]
                    model.take(minutes, record)
            facts.append(fact)
    assert given(facts).state(Savings.of(HOME)).left() == model.left()
    moved = [fact for fact in facts if isinstance(fact, Movement)]
    assert sum((fact.target == HOME) * fact.minutes - (fact.source == HOME) * fact.minutes for fact in moved) == (
        given(facts).state(Account.of(HOME)).balance_minutes
    )


# ── Passed on ────────────────────────────────────────────────────────────────────────────────────────────────

OTHER = "household:H2"
PASSING = district(expiry_months=2, expiry_notice_days=10, transfer="anyone")


def pass_on(source: str, target: str, minutes: int) -> TransferMinutes:
    return TransferMinutes(household=source, recipient_household=target, minutes=minutes)


def test_minutes_that_are_transferred_keep_the_records_that_they_were_earned_by() -> None:
    (moved,) = given(PASSING, OLD).when(transfer, pass_on("H1", "H2", 100)).accepted
    assert moved.lots == (("R1", 60), ("R2", 40))  # type: ignore[attr-defined]
    after = given(PASSING, OLD, moved)
    assert after.state(Savings.of(HOME)).left() == {"R2": 50, "R3": 30}
    assert after.state(Savings.of(OTHER)).left() == {"R1": 60, "R2": 40}
    command = AnnounceExpiry(household="H2", records=("R1", "R2", "R3"))
    (told,) = after.when(announce_expiry, command, actor=TIME).accepted
    assert (told.minutes, told.records) == (100, ("R1", "R2"))  # type: ignore[attr-defined]
    expire = ExpireMinutes(household="H2", announcement=NUMBER)
    (lapsed,) = given(PASSING, OLD, moved, told).when(expire_minutes, expire, actor=TIME, now=THEN).accepted
    assert lapsed.lapsed == (("R1", 60), ("R2", 40))  # type: ignore[attr-defined]


def test_what_never_had_an_age_has_none_where_it_is_passed_on() -> None:
    (moved,) = given(PASSING, granted(40), OLD).when(transfer, pass_on("H1", "H2", 50)).accepted
    assert moved.lots == (("R1", 10),)  # type: ignore[attr-defined]
    assert given(PASSING, OLD, moved).state(Savings.of(OTHER)).left() == {"R1": 10}


def test_minutes_keep_their_age_when_a_household_is_split_merged_or_taken_over() -> None:
    split = SplitHousehold(household="H1", into="H8", members=("V2",), minutes=70)
    _, share = given(PASSING, OLD).when(split_household, split).accepted
    assert share.lots == (("R1", 60), ("R2", 10))  # type: ignore[attr-defined]
    whole = (("R1", 60), ("R2", 90), ("R3", 30))
    merge = MergeHouseholds(household="H1", into="H2")
    close = CloseHousehold(household="H1", cause="died", taken_over_by="H2")
    for decide, command in ((merge_households, merge), (close_household, close)):
        _, carried = given(PASSING, OLD).when(decide, command).accepted
        assert carried.lots == whole  # type: ignore[attr-defined]
    to_pool = CloseHousehold(household="H1", cause="died")
    _, pooled = given(PASSING, OLD).when(close_household, to_pool).accepted
    assert pooled.lots == ()  # type: ignore[attr-defined]


def test_no_age_is_asked_for_where_no_version_of_the_policy_lets_minutes_lapse() -> None:
    never = district(transfer="anyone")
    (moved,) = given(never, OLD).when(transfer, pass_on("H1", "H2", 100)).accepted
    assert moved.lots == ()  # type: ignore[attr-defined]
    coming = PolicyAdopted(2, date(2027, 1, 1), Policy(expiry_months=2))
    (moved,) = given(never, coming, OLD).when(transfer, pass_on("H1", "H2", 100)).accepted
    assert moved.lots == (("R1", 60), ("R2", 40))  # type: ignore[attr-defined]


def test_what_came_back_lapses_once() -> None:
    (there,) = given(PASSING, OLD).when(transfer, pass_on("H1", "H2", 100)).accepted
    (back,) = given(PASSING, OLD, there).when(transfer, pass_on("H2", "H1", 70)).accepted
    assert back.lots == (("R1", 60), ("R2", 10))  # type: ignore[attr-defined]
    home = (*OLD, there, back)
    assert left(home) == {"R2": 60, "R3": 30, "R1": 60}
    expired_ = MinutesExpired(HOME, "expired", 110, "H1", "X1", (("R1", 60), ("R2", 50)))
    assert left(home, expired_) == {"R2": 10, "R3": 30}


HOMES = st.sampled_from(["H1", "H2", "H3"])
PASSES = st.lists(
    st.one_of(
        st.tuples(st.just("earn"), HOMES, HOMES, st.integers(1, 90)),
        st.tuples(st.just("grant"), HOMES, HOMES, st.integers(1, 90)),
        st.tuples(st.just("pass"), HOMES, HOMES, st.integers(1, 120)),
        st.tuples(st.just("spend"), HOMES, HOMES, st.integers(1, 90)),
        st.tuples(st.just("lapse"), HOMES, HOMES, st.integers(1, 60)),
        st.tuples(st.just("reverse"), HOMES, HOMES, st.integers(0, 5)),
    ),
    max_size=30,
)


@examples(PASSES)
def test_however_minutes_are_passed_round_of_no_record_more_lapses_than_was_earned_and_unspent(
    steps: list[Any],
) -> None:
    facts: list[Fact] = list(PASSING)
    earned: dict[str, HoursConfirmed] = {}
    lapsed: dict[str, int] = {}
    for number, (what, home, other, minutes) in enumerate(steps):
        account, name = given(facts).state(Account.of("household:" + home)), "household:" + home
        match what:
            case "earn":
                confirmed = HoursConfirmed("issuance", name, minutes, f"R{number}", "S2")
                earned[f"R{number}"] = confirmed
                facts.append(confirmed)
            case "grant":
                facts.append(MinutesGranted(POOL, name, minutes, "S2", "other"))
            case "pass":
                outcome = given(facts).when(transfer, pass_on(home, other, minutes), actor=ADMIN)
                facts += () if outcome.decided is None else outcome.decided.facts
            case "spend" if account.balance_minutes >= minutes:
                facts.append(replace(spent(minutes), source=name))
            case "lapse":
                there = given(facts).state(Savings.of(name)).left()
                for record, rest in list(there.items())[:1]:
                    gone = min(minutes, rest)
                    lapsed[record] = lapsed.get(record, 0) + gone
                    facts.append(MinutesExpired(name, "expired", gone, home, f"X{number}", ((record, gone),)))
            case "reverse" if minutes < len(earned):
                record = list(earned)[minutes]
                undone = earned[record]
                if not any(isinstance(fact, HoursReversed) and fact.record == record for fact in facts):
                    facts.append(HoursReversed(undone.target, "issuance", undone.minutes, record, "S2", "duplicate"))
        left_of: dict[str, int] = dict(lapsed)
        for each in ("H1", "H2", "H3"):
            savings = given(facts).state(Savings.of("household:" + each))
            rest = savings.left()
            assert sum(rest.values()) <= max(0, savings.account.balance_minutes)
            for record, there_are in rest.items():
                left_of[record] = left_of.get(record, 0) + there_are
        for record, count in left_of.items():
            assert count <= earned[record].minutes
