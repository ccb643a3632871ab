"""The public figures: what counts, in which cell, as of which day, on either basis."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from api.wiring import Timebank, public_figures
from domain.account import HoursConfirmed, HoursReversed
from domain.community_life import MergeCommunities, MoveGrid, merge_communities, move_grid
from domain.figures import Basis, Dimension, Figure, Tally
from domain.hours import HoursLogged, HoursRejected
from projections.figures import figures
from tests.controls import JINHU, XINZHU, logged
from tests.projections.history import COMMUNITIES, POLICIES, History, projecting, record

OpenBank = Callable[..., Timebank]


def confirmed(fact: HoursLogged) -> HoursConfirmed:
    return HoursConfirmed("issuance", "household:" + fact.household, fact.service_minutes, fact.record, "S2")


def reversed_(fact: HoursLogged) -> HoursReversed:
    return HoursReversed("household:" + fact.household, "issuance", fact.service_minutes, fact.record, "S2", "other")


def asked(bank: Timebank, **question: Any) -> dict[str, Figure]:
    with bank.reading() as connection, connection.cursor() as cursor:
        return figures(cursor, **question)


def total(cells: dict[str, Figure]) -> tuple[int, int]:
    return sum(cell.service_minutes for cell in cells.values()), sum(cell.service_records for cell in cells.values())


FIRST = logged("R1", "11-20 09:00 - 10:00", recipient_household="H2", grid=("甲", "乙", "丙"))
AGAIN = logged("R2", "11-21 09:00 - 10:30", recipient_household="H2", grid=("甲",), service="助洁")
OTHER = logged("R3", "10-05 09:00 - 09:20", recipient_household="H3", community=JINHU, grid=(), household="H9")
FOR_ALL = logged("R4", "11-21 14:00 - 14:15", recipient_household=None, grid=("甲", "乙"))


@pytest.fixture
def bank(open_bank: OpenBank) -> Timebank:
    """Four confirmed records of service for two households and for the community at large."""
    bank = open_bank()
    counted = (FIRST, AGAIN, OTHER, FOR_ALL)
    record(bank, *counted, *(confirmed(fact) for fact in counted))
    return bank


def test_a_household_counts_once_and_service_for_all_names_none(bank: Timebank) -> None:
    assert asked(bank) == {"": Figure(2, 60 + 90 + 20 + 15, 4)}


def test_nothing_is_zero(open_bank: OpenBank) -> None:
    bank = open_bank()
    with projecting(bank):
        assert asked(bank) == {"": Figure(0, 0, 0)}
        assert asked(bank, by="month") == {}


@pytest.mark.parametrize(
    ("by", "level", "cells"),
    [
        ("community", 1, {XINZHU: (1, 165, 3), JINHU: (1, 20, 1)}),
        ("grid", 1, {f"{XINZHU}/甲": (1, 165, 3), JINHU: (1, 20, 1)}),
        ("grid", 2, {f"{XINZHU}/甲": (1, 90, 1), f"{XINZHU}/甲/乙": (1, 75, 2), JINHU: (1, 20, 1)}),
        (
            "grid",
            3,
            {
                f"{XINZHU}/甲": (1, 90, 1),
                f"{XINZHU}/甲/乙": (0, 15, 1),
                f"{XINZHU}/甲/乙/丙": (1, 60, 1),
                JINHU: (1, 20, 1),
            },
        ),
        ("service", 1, {"助餐": (2, 95, 3), "助洁": (1, 90, 1)}),
        ("month", 1, {"2026-10": (1, 20, 1), "2026-11": (1, 165, 3)}),
    ],
)
def test_cells(bank: Timebank, by: Dimension, level: int, cells: dict[str, tuple[int, int, int]]) -> None:
    assert asked(bank, by=by, level=level) == {key: Figure(*cell) for key, cell in cells.items()}


def test_unconfirmed_and_rejected_records_never_count(bank: Timebank) -> None:
    before = asked(bank)
    waiting = logged("R5", "11-19 09:00 - 10:00", recipient_household="H5")
    refused = logged("R6", "11-19 11:00 - 12:00", recipient_household="H6")
    record(bank, waiting, refused, HoursRejected("R6", "S2", "not-served"))
    assert asked(bank) == asked(bank, basis="recorded", position=bank.store.head()) == before


def test_a_reversed_record_leaves_the_figures_by_service_and_stays_where_it_was_recorded(bank: Timebank) -> None:
    before, then = asked(bank), bank.store.head()
    position = record(bank, reversed_(OTHER))
    assert asked(bank) == {"": Figure(1, 165, 3)}
    assert asked(bank, basis="recorded", position=position) == asked(bank)
    assert asked(bank, basis="recorded", position=then) == before
    # Served by another record as well, the household goes on counting.
    record(bank, reversed_(FIRST))
    assert asked(bank) == {"": Figure(1, 105, 2)}


def test_as_of_a_day_of_service_includes_that_day(bank: Timebank) -> None:
    days = {date(2026, 10, 4): 0, date(2026, 10, 5): 1, date(2026, 11, 20): 2, date(2026, 11, 21): 4}
    assert {day: asked(bank, until=day)[""].service_records for day in days} == days


@pytest.mark.parametrize(("basis", "then"), [("service", 4), ("recorded", 0)])
def test_as_of_a_day_before_anything_was_recorded(bank: Timebank, basis: Basis, then: int) -> None:
    """What was served long ago was recorded today."""
    today = datetime.now(bank.zone).date()

    def records(day: date) -> tuple[int, int]:
        with bank.reading() as connection:
            found = public_figures(bank, connection, as_of=day, basis=basis, by=None, level=1)
        return found["service_records"], found["position"]

    yesterday_position = 0 if basis == "recorded" else bank.store.head()
    assert records(today - timedelta(days=1)) == (then, yesterday_position)
    assert records(date.max) == (4, bank.store.head())
    assert records(date.min)[0] == 0


def test_a_record_that_counts_has_the_minutes_of_its_service_not_of_its_credit(bank: Timebank) -> None:
    honoured = logged("R7", "11-18 09:00 - 10:00")
    before = asked(bank)[""].service_minutes
    record(bank, honoured, replace(confirmed(honoured), minutes=10, honour_minutes=50))
    assert asked(bank)[""].service_minutes == before + 60


@pytest.mark.parametrize("seed", [11, 12])
def test_figures_equal_those_counted_from_the_facts_as_of_any_day_and_position(open_bank: OpenBank, seed: int) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, seed)
    with projecting(bank) as projector:
        for _ in range(5):
            history.go(60)
            projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    dice = Random(seed)  # noqa: S311 - reproducible
    questions: list[tuple[Dimension, int]] = [("community", 1), ("service", 1), ("month", 1)]
    questions += [("grid", level) for level in (1, 2, 3)]
    now = tally(facts)
    for day in (history.today.date() - timedelta(days=dice.randint(0, 125)) for _ in range(6)):
        assert asked(bank, until=day) == {"": now.figures(until=day)}
        for by, level in questions:
            cells = now.cells(by, level=level, until=day)
            assert asked(bank, until=day, by=by, level=level) == cells
            assert asked(bank, until=day, by=by, level=level, count_min=1) == cells
            together = asked(bank, until=day, by=by, level=level, count_min=3)
            assert all(not 0 < cell.households_served < 3 for cell in together.values())
            assert not together or total(together) == total(cells)
    for position in dice.sample(range(len(facts)), 6):
        then = tally(facts[:position])
        assert asked(bank, basis="recorded", position=position) == {"": then.figures()}
        for by, level in questions:
            assert asked(bank, basis="recorded", position=position, by=by, level=level) == then.cells(by, level=level)


@pytest.mark.parametrize("seed", [13, 15])
def test_places_are_rolled_up_the_same_from_the_facts_and_in_the_tables(open_bank: OpenBank, seed: int) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, seed)
    with projecting(bank) as projector:
        for _ in range(6):
            history.go(80)
            projector.catch_up()
        in_a_week = history.today.date() + timedelta(days=7)
        home, other = COMMUNITIES
        moves = (
            MergeCommunities(community=other, into=home, effective_on=in_a_week + timedelta(days=13)),
            *(
                MoveGrid(community=home, grid=grid, into_community=home, into_grid=("第2网格",), effective_on=in_a_week)
                for grid in (("第1网格", "甲"), ("第1网格",))
            ),
        )
        # Some of it may have come about by chance already.
        history.record_commands(
            [(merge_communities if isinstance(move, MergeCommunities) else move_grid, move) for move in moves]
        )
        projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    now, head = tally(facts), bank.store.head()
    differing = 0
    for days in (0, 7, 20, 40):
        day = history.today.date() + timedelta(days=days)
        for by, level in (("community", 1), ("grid", 1), ("grid", 2), ("grid", 3), ("service", 1)):
            rolled_up = asked(bank, by=by, level=level, places_on=day)
            assert rolled_up == now.cells(by, level=level, places_on=day)  # type: ignore[arg-type]
            differing += rolled_up != asked(bank, by=by, level=level)
            total = sum(cell.service_minutes for cell in rolled_up.values())
            assert total == now.figures().service_minutes
            for position in (head // 2, head - 5):
                then = tally(facts[:position]).cells(by, level=level, places_on=day)  # type: ignore[arg-type]
                question = {"basis": "recorded", "position": position, "by": by, "level": level, "places_on": day}
                assert asked(bank, **question) == then
    assert differing


def tally(facts: list[Any]) -> Tally:
    folded = Tally()
    for fact in facts:
        folded.fold(fact)
    return folded
