"""The rule book: which version is in force on a day, when a new one may begin, and what its numbers mean."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.policy import AdoptPolicy, NoPolicyInForce, Policy, PolicyAdopted, PolicyBook, PolicyTooEarly, adopt
from tests.controls import ADMIN, NOW, POLICY_ADOPTED, given

STRICTER = Policy(record_minutes_min=60)


def test_the_first_version_may_reach_back_to_when_the_books_begin() -> None:
    command = AdoptPolicy(effective_on=date(2020, 1, 1))
    given().when(adopt, command, actor=ADMIN).then(POLICY_ADOPTED, policy=0)


def test_a_later_version_begins_tomorrow_at_the_earliest() -> None:
    tomorrow, today = date(2026, 11, 23), date(2026, 11, 22)
    later = AdoptPolicy(effective_on=tomorrow, policy=STRICTER)
    given(POLICY_ADOPTED).when(adopt, later, actor=ADMIN).then(PolicyAdopted(2, tomorrow, STRICTER))
    early = AdoptPolicy(effective_on=today, policy=STRICTER)
    given(POLICY_ADOPTED).when(adopt, early, actor=ADMIN).refused(PolicyTooEarly("2026-11-22", "2026-11-22"))


def test_today_is_the_ledgers_day() -> None:
    command = AdoptPolicy(effective_on=date(2026, 11, 23), policy=STRICTER)
    last_minute = datetime(2026, 11, 22, 15, 59, tzinfo=UTC)  # 23:59 in Shanghai
    assert given(POLICY_ADOPTED).when(adopt, command, now=last_minute).accepted
    midnight = last_minute + timedelta(minutes=1)
    given(POLICY_ADOPTED).when(adopt, command, now=midnight).refused(PolicyTooEarly("2026-11-23", "2026-11-23"))


@pytest.mark.parametrize(("day", "accepted"), [(date(2027, 1, 1), False), (date(2027, 1, 2), True)])
def test_effective_dates_rise(day: date, accepted: bool) -> None:
    planned = PolicyAdopted(2, date(2027, 1, 1), STRICTER)
    outcome = given(POLICY_ADOPTED, planned).when(adopt, AdoptPolicy(effective_on=day))
    if accepted:
        outcome.then(PolicyAdopted(3, day, Policy()))
    else:
        outcome.refused(PolicyTooEarly(day.isoformat(), "2027-01-01"))


def test_a_version_is_in_force_from_its_day_until_the_next_begins() -> None:
    second = PolicyAdopted(2, date(2028, 2, 29), STRICTER)
    book = PolicyBook((POLICY_ADOPTED, second))
    assert book.in_force(date(2020, 1, 1)) == book.in_force(date(2028, 2, 28)) == POLICY_ADOPTED
    assert book.in_force(date(2028, 2, 29)) == book.in_force(date(2100, 1, 1)) == second
    with pytest.raises(NoPolicyInForce) as refused:
        book.in_force(date(2019, 12, 31))
    assert refused.value == NoPolicyInForce("2019-12-31")


@pytest.mark.parametrize(
    ("rounding", "step", "claimed", "minutes"),
    [
        ("up", 15, 52, 60),  # N. California: quarter hours up
        ("up", 15, 45, 45),
        ("up", 15, 46, 60),
        ("up", 60, 1, 60),
        ("down", 15, 52, 45),
        ("down", 15, 45, 45),
        ("down", 60, 59, 0),
        ("nearest", 15, 52, 45),
        ("nearest", 15, 53, 60),
        ("nearest", 30, 44, 30),
        ("nearest", 30, 45, 60),  # exactly between: up
        ("nearest", 1, 52, 52),
        ("down", 1, 52, 52),
        ("up", 1, 52, 52),
    ],
)
def test_minutes_are_rounded_to_the_step(rounding, step: int, claimed: int, minutes: int) -> None:
    assert Policy(rounding=rounding, rounding_step_minutes=step).service_minutes(claimed) == minutes


@hypothesis_given(st.sampled_from(["down", "nearest", "up"]), st.integers(1, 240), st.integers(0, 1440))
def test_rounding_gives_a_whole_number_of_steps_nearest_to_the_claim(rounding, step: int, claimed: int) -> None:
    minutes = Policy(rounding=rounding, rounding_step_minutes=step).service_minutes(claimed)
    assert minutes % step == 0
    assert minutes >= 0
    match rounding:
        case "down":
            assert minutes <= claimed < minutes + step
        case "up":
            assert minutes - step < claimed <= minutes
        case _:
            assert 2 * abs(minutes - claimed) <= step


@pytest.mark.parametrize(
    ("setting", "least", "most"),
    [
        ("record_minutes_min", 1, 1440),
        ("record_minutes_max", 1, 1440),
        ("log_days_back_max", 0, 3660),
        ("day_minutes_max", 1, 1440),
        ("rounding_step_minutes", 1, 240),
        ("balance_minutes_min", -60_000_000, 0),
        ("balance_minutes_max", 1, 60_000_000),
    ],
)
def test_every_number_has_its_bounds(setting: str, least: int, most: int) -> None:
    others = {"record_minutes_min": 1, "record_minutes_max": 1440, "rounding": "up"}
    for number in (least, most):
        AdoptPolicy.model_validate({"effective_on": "2027-01-01", "policy": others | {setting: number}})
    for number in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=setting):
            AdoptPolicy.model_validate({"effective_on": "2027-01-01", "policy": others | {setting: number}})


def test_the_shortest_record_may_equal_the_longest_but_not_exceed_it() -> None:
    AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=60, record_minutes_max=60))
    with pytest.raises(ValidationError, match="最短时长"):
        AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=61, record_minutes_max=60))


def test_the_shortest_record_never_rounds_to_nothing() -> None:
    AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=15, rounding_step_minutes=15))
    with pytest.raises(ValidationError, match="取整后不能为零"):
        AdoptPolicy(effective_on=NOW.date(), policy=Policy(record_minutes_min=14, rounding_step_minutes=15))


def test_there_may_be_no_cap_at_all() -> None:
    read = AdoptPolicy.model_validate({"effective_on": "2027-01-01", "policy": {"balance_minutes_max": None}})
    assert read.policy.balance_minutes_max is None
