"""The public figures: confirmed and unreversed service alone counts."""

from datetime import date, datetime

import pytest

from domain.account import HoursConfirmed, HoursReversed
from domain.fact import Fact
from domain.figures import DEFINITIONS, Dimension, Figure, Tally, last_instant
from domain.hours import HoursRejected
from tests.controls import (
    CAPPED_MINUTES_RETURNED,
    FACT_EXAMPLES,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REJECTED,
    HOURS_REVERSED,
    JINHU,
    MINUTES_CAPPED,
    XINZHU,
    ZONE,
    logged,
)


def tally(*facts: Fact) -> Tally:
    counted = Tally()
    for fact in facts:
        counted.fold(fact)
    return counted


def confirmed(record: str) -> HoursConfirmed:
    return HoursConfirmed("issuance", "household:H1", 1, record, "S2")


@pytest.mark.parametrize(
    ("facts", "figure"),
    [
        ((), Figure(0, 0, 0)),
        ((HOURS_LOGGED,), Figure(0, 0, 0)),
        ((HOURS_LOGGED, HOURS_REJECTED), Figure(0, 0, 0)),
        ((HOURS_LOGGED, HOURS_CONFIRMED), Figure(1, 90, 1)),
        ((HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED), Figure(1, 90, 1)),
        ((HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED, CAPPED_MINUTES_RETURNED, HOURS_REVERSED), Figure(0, 0, 0)),
    ],
)
def test_only_confirmed_and_unreversed_records_count(facts: tuple[Fact, ...], figure: Figure) -> None:
    assert tally(*facts).figures() == figure


def test_a_household_counts_as_served_once_and_only_if_it_is_named() -> None:
    facts = (
        logged("R1", "11-20 09:00 - 10:00"),
        logged("R2", "11-20 10:00 - 11:00"),
        logged("R3", "11-20 11:00 - 12:00", recipient_household="H3"),
        logged("R4", "11-20 12:00 - 13:00", recipient_household=None),
        logged("R5", "11-20 13:00 - 14:00", recipient_household="H4"),
    )
    first_four = tally(*facts, *(confirmed(f"R{n}") for n in (1, 2, 3, 4)))
    assert first_four.figures() == Figure(2, 240, 4)
    first_four.fold(HoursReversed("household:H1", "issuance", 1, "R1", "S2", "other"))
    assert first_four.figures() == Figure(2, 180, 3)  # H2 is still served by R2
    first_four.fold(HoursReversed("household:H1", "issuance", 1, "R2", "S2", "other"))
    assert first_four.figures() == Figure(1, 120, 2)


def test_minutes_of_service_count_not_the_claimed_or_the_credited_ones() -> None:
    record = logged("R1", "11-20 09:00 - 09:52", service_minutes=60)
    assert tally(record, confirmed("R1")).figures().service_minutes == 60


def test_service_counts_on_the_day_on_which_it_began() -> None:
    crossing = tally(logged("R1", "11-20 23:00 - 11-21 01:00"), confirmed("R1"))
    assert crossing.figures(until=date(2026, 11, 19)) == Figure(0, 0, 0)
    assert crossing.figures(until=date(2026, 11, 20)) == Figure(1, 120, 1)
    month = tally(logged("R1", "11-30 23:00 - 12-01 01:00"), confirmed("R1"))
    assert month.cells("month") == {"2026-11": Figure(1, 120, 1)}


@pytest.mark.parametrize(
    ("by", "level", "cells"),
    [
        ("community", 1, {XINZHU: Figure(1, 120, 2), JINHU: Figure(1, 60, 1)}),
        ("service", 1, {"助餐": Figure(2, 120, 2), "𠮷": Figure(1, 60, 1)}),
        ("month", 1, {"2026-10": Figure(1, 60, 1), "2026-11": Figure(2, 120, 2)}),
        ("grid", 1, {XINZHU + "/A": Figure(1, 120, 2), JINHU: Figure(1, 60, 1)}),
        ("grid", 2, {XINZHU + "/A/1": Figure(1, 60, 1), XINZHU + "/A": Figure(1, 60, 1), JINHU: Figure(1, 60, 1)}),
    ],
)
def test_figures_are_broken_down(by: Dimension, level: int, cells: dict[str, Figure]) -> None:
    facts = (
        logged("R1", "10-20 09:00 - 10:00", grid=("A", "1", "x")),
        logged("R2", "11-20 09:00 - 10:00", grid=("A",), service="𠮷"),
        logged("R3", "11-20 10:00 - 11:00", grid=(), community=JINHU, recipient_household="H3"),
        logged("R4", "11-20 11:00 - 12:00"),
        HoursRejected("R4", "S2", "other"),
    )
    counted = tally(*facts, *(confirmed(f"R{n}") for n in (1, 2, 3)))
    assert counted.cells(by, level=level) == cells
    until = counted.cells("service", until=date(2026, 10, 31))
    assert until == {"助餐": Figure(1, 60, 1)}


def test_other_facts_change_nothing() -> None:
    others = [fact for fact in FACT_EXAMPLES if fact not in (HOURS_LOGGED, HOURS_CONFIRMED, HOURS_REVERSED)]
    assert tally(HOURS_LOGGED, HOURS_CONFIRMED, *others).figures() == Figure(1, 90, 1)


def test_every_figure_is_defined_in_both_languages() -> None:
    assert set(DEFINITIONS) == set(Figure.__struct_fields__)
    assert all(zh and en and not zh.isascii() and en.isascii() for zh, en in DEFINITIONS.values())


def test_a_day_ends_with_its_last_microsecond_in_the_ledgers_zone() -> None:
    end = last_instant(date(2028, 2, 29), ZONE)
    assert end.isoformat() == "2028-02-29T23:59:59.999999+08:00"
    assert end < datetime(2028, 3, 1, tzinfo=ZONE)
