"""Disclosure: months are sealed one after the other once they are over, and frozen once their time is over."""

from datetime import date, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.decision import LeftToTime
from domain.disclosure import (
    CountedPeriod,
    FreezePeriod,
    ObjectionsStillPossible,
    ObjectionsUndecided,
    PeriodAlreadyFrozen,
    PeriodAlreadySealed,
    PeriodFrozen,
    PeriodNotNext,
    PeriodNotOver,
    PeriodSealed,
    SealedForDistrict,
    SealedMeanwhile,
    SealPeriod,
    UnknownDisclosure,
    first_day,
    freeze_period,
    last_day,
    next_period,
    seal_period,
)
from domain.fact import Fact
from domain.policy import NoPolicyInForce
from domain.published_list import VolunteerServed, list_sha256, rows
from tests.controls import (
    ADMIN,
    DISTRICT,
    LEDGER_OPENED,
    NOW,
    OBJECTION_DISMISSED,
    OBJECTION_RAISED,
    OBJECTION_UPHELD,
    OBJECTION_WITHDRAWN,
    PERIOD_FROZEN,
    PERIOD_SEALED,
    STAFF,
    TIME,
    XINZHU,
    at,
    district,
    given,
)

NOBODY_LISTED = list_sha256(())


def counted(watermark: int = 500, since: int = 0, **changes: Any) -> CountedPeriod:
    return CountedPeriod(watermark, since, 21, 5400, 62, **changes)


def sealing(period: str = "2026-10", **changes: Any) -> SealPeriod:
    return SealPeriod(period=period, counted=counted(**changes))


def sealed(period: str = "2026-10", watermark: int = 500, **changes: Any) -> PeriodSealed:
    fact = PeriodSealed(
        *(period, watermark, 21, 5400, 62, 0, 0, 0, NOBODY_LISTED, 5, "A1", date(2026, 11, 22)),
        *(NOW + timedelta(days=7), NOW + timedelta(days=22)),
    )
    return replace(fact, **changes)


# ── Sealing ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_month_that_is_over_is_sealed_with_what_it_came_to_and_two_deadlines() -> None:
    given(DISTRICT).when(seal_period, sealing(), actor=ADMIN).then(sealed(), policy=1)


def test_staff_of_the_whole_district_seal_and_staff_of_a_community_do_not() -> None:
    assert given(DISTRICT).when(seal_period, sealing(), actor=STAFF._replace(community=None)).accepted
    given(DISTRICT).when(seal_period, sealing(), actor=STAFF).refused(SealedForDistrict(XINZHU))


def test_the_policy_says_how_long_residents_object_and_how_many_are_too_few() -> None:
    past = district(objection_days=10, objection_decision_days=5, disclosure_count_min=3)
    given(past).when(seal_period, sealing(), actor=ADMIN).then(
        sealed(count_min=3, objections_until=NOW + timedelta(days=10), decisions_until=NOW + timedelta(days=15))
    )


def test_who_consented_is_listed_where_enough_are_alike() -> None:
    five = tuple(VolunteerServed(f"P{n}", XINZHU, 60 + n) for n in range(5))
    listed = rows(five, 5)
    assert len(listed) == 5
    digest = list_sha256(row.sha256() for row in listed)
    given(DISTRICT).when(seal_period, sealing(served=five), actor=ADMIN).then(sealed(list_rows=5, list_sha256=digest))
    given(DISTRICT).when(seal_period, sealing(served=five[:4]), actor=ADMIN).then(sealed())


def test_what_was_counted_is_no_part_of_what_is_asked_for() -> None:
    assert sealing().model_dump() == {"period": "2026-10"}


def test_months_are_sealed_one_after_the_other() -> None:
    past = (*DISTRICT, sealed("2026-08"))
    october = sealing(since=500, watermark=600)
    given(past).when(seal_period, october, actor=ADMIN).refused(PeriodNotNext("2026-10", "2026-09"))
    september = sealing("2026-09", since=500, watermark=600, corrected_minutes=-90, corrected_records=-1)
    given(past).when(seal_period, september, actor=ADMIN).then(
        sealed("2026-09", 600, corrected_minutes=-90, corrected_records=-1)
    )
    given(past, sealed("2026-09", 600)).when(seal_period, sealing("2026-07"), actor=ADMIN).refused(
        PeriodNotNext("2026-07", "2026-10")
    )


def test_a_month_is_sealed_once() -> None:
    past = (*DISTRICT, sealed())
    given(past).when(seal_period, sealing(since=500), actor=ADMIN).refused(PeriodAlreadySealed("2026-10"))


@pytest.mark.parametrize(
    ("period", "now", "over"),
    [
        ("2026-11", at("11-30 24:00") - timedelta(microseconds=1), False),
        ("2026-11", at("11-30 24:00"), True),
        ("2026-12", at("11-30 24:00"), False),
        ("2030-01", NOW, False),
    ],
)
def test_a_month_is_over_when_the_ledgers_next_one_has_begun(period: str, now: Any, over: bool) -> None:
    outcome = given(DISTRICT).when(seal_period, sealing(period), actor=ADMIN, now=now)
    if over:
        assert outcome.accepted
    else:
        outcome.refused(PeriodNotOver(period))


@pytest.mark.parametrize("past", [(), (sealed("2026-09", 400),)])
def test_what_was_counted_from_another_seal_is_counted_again(past: tuple[Fact, ...]) -> None:
    given(DISTRICT, past).when(seal_period, sealing(since=300), actor=ADMIN).refused(SealedMeanwhile("2026-10"))


def test_without_a_policy_nothing_is_sealed() -> None:
    given(LEDGER_OPENED).when(seal_period, sealing(), actor=ADMIN).refused(NoPolicyInForce("2026-11-22"))


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "202610", "1899-12", "9999-01", "2026-10-01", "", "２０２６-10"])
def test_a_period_is_a_month(text: str) -> None:
    with pytest.raises(ValidationError):
        FreezePeriod(period=text)


def test_months_follow_one_another() -> None:
    assert next_period("2026-12") == "2027-01"
    assert next_period("2028-01") == "2028-02"
    assert (first_day("2028-02"), last_day("2028-02")) == (date(2028, 2, 1), date(2028, 2, 29))


# ── Freezing ─────────────────────────────────────────────────────────────────────────────────────────────────

FREEZE = FreezePeriod(period="2026-10")
UNTIL, DECISIONS = PERIOD_SEALED.objections_until, PERIOD_SEALED.decisions_until


def test_a_disclosure_is_frozen_when_nobody_may_object_any_more() -> None:
    past = given(DISTRICT, PERIOD_SEALED)
    past.when(freeze_period, FREEZE, actor=TIME, now=UNTIL).then(PeriodFrozen("2026-10", 0, 0))
    early = UNTIL - timedelta(microseconds=1)
    past.when(freeze_period, FREEZE, actor=TIME, now=early).refused(
        ObjectionsStillPossible("2026-10", "2026-11-27T12:00+08:00")
    )


@pytest.mark.parametrize(
    ("outcome", "upheld"), [(OBJECTION_UPHELD, 1), (OBJECTION_DISMISSED, 0), (OBJECTION_WITHDRAWN, 0)]
)
def test_decided_objections_are_counted_with_it(outcome: Fact, upheld: int) -> None:
    past = given(DISTRICT, PERIOD_SEALED, OBJECTION_RAISED, outcome)
    past.when(freeze_period, FREEZE, actor=TIME, now=UNTIL).then(PeriodFrozen("2026-10", 1, upheld))


def test_it_waits_for_what_is_undecided_until_the_last_day_and_then_says_so() -> None:
    past = given(DISTRICT, PERIOD_SEALED, OBJECTION_RAISED)
    early = DECISIONS - timedelta(microseconds=1)
    past.when(freeze_period, FREEZE, actor=TIME, now=early).refused(ObjectionsUndecided("2026-10", 1))
    past.when(freeze_period, FREEZE, actor=TIME, now=DECISIONS).then(PeriodFrozen("2026-10", 1, 0, ("B1",)))


def test_it_is_frozen_once_by_time_and_only_if_it_is_sealed() -> None:
    given(DISTRICT, PERIOD_SEALED, PERIOD_FROZEN).when(freeze_period, FREEZE, actor=TIME, now=DECISIONS).refused(
        PeriodAlreadyFrozen("2026-10")
    )
    given(DISTRICT).when(freeze_period, FREEZE, actor=TIME).refused(UnknownDisclosure("2026-10"))
    given(DISTRICT, PERIOD_SEALED).when(freeze_period, FREEZE, actor=ADMIN, now=UNTIL).refused(LeftToTime("A1"))
