"""Replay counts the ledger again from its facts alone, and names every place where others counted otherwise."""

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from application.replay import CELLS, Counted, Difference, GapInJournal, Replay, differences, replay
from domain.account import PoolFunded
from domain.fact import Fact, Recorded
from domain.figures import Figure
from tests.controls import (
    CAPPED_MINUTES_RETURNED,
    DISTRICT,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REVERSED,
    JINHU,
    MINUTES_CAPPED,
    MINUTES_GRANTED,
    POOL_FUNDED,
    XINZHU,
    envelope,
    logged,
)
from tests.in_memory import InMemoryFactStore

POOL = "pool:" + XINZHU
STORY = (*DISTRICT, HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED, POOL_FUNDED, MINUTES_GRANTED)
BALANCES = {"household:H1": 60, "household:H2": 120, "issuance": -690, POOL: 510}


def recorded(facts: Iterable[Fact], first: int = 1) -> list[Recorded[Any]]:
    return [Recorded(position, 1_000 + position, envelope(fact)) for position, fact in enumerate(facts, first)]


def counted(*facts: Fact) -> Counted:
    fold = Replay()
    fold.fold(recorded(facts))
    return fold.counted()


def test_balances_and_figures_are_counted_from_the_facts() -> None:
    fold = Replay()
    fold.fold(recorded(STORY))
    one = Figure(1, 90, 1)
    found = fold.counted()
    assert (found.balances, found.figures) == (BALANCES, one)
    assert {name: found.cells[name] for name in ("community", "service", "month")} == {
        "community": {XINZHU: one},
        "service": {"助餐": one},
        "month": {"2026-11": one},
    }
    assert [list(found.cells[f"grid {level}"].values()) for level in (1, 2, 3)] == [[one]] * 3
    assert (fold.facts, fold.movements, fold.position) == (len(STORY), 4, len(STORY))
    assert fold.recorded_at_microseconds == 1_000 + len(STORY)
    assert fold.total_minutes == 0


def test_a_reversal_is_counted_to_the_minute() -> None:
    undone = counted(*STORY, CAPPED_MINUTES_RETURNED, HOURS_REVERSED)
    assert undone.balances == {"household:H1": 0, "household:H2": 120, "issuance": -600, POOL: 480}
    assert undone.figures == Figure(0, 0, 0)
    assert undone.cells == {name: {} for name in CELLS}


def test_batches_of_any_size_come_to_the_same() -> None:
    whole, pieces = Replay(), Replay()
    whole.fold(recorded(STORY))
    for one in recorded(STORY):
        pieces.fold([one])
    pieces.fold([])
    assert pieces.counted() == whole.counted()
    assert (pieces.facts, pieces.position) == (whole.facts, whole.position)


@pytest.mark.parametrize("missing", range(len(STORY) - 1))
def test_a_missing_fact_is_named_wherever_it_was(missing: int) -> None:
    facts = recorded(STORY)
    del facts[missing]
    with pytest.raises(GapInJournal, match=f"position {missing + 1} ") as gap:
        Replay().fold(facts)
    assert (gap.value.expected, gap.value.found) == (missing + 1, missing + 2)


def test_a_gap_between_batches_and_a_repeated_fact_are_named_too() -> None:
    fold = Replay()
    fold.fold(recorded(STORY[:3]))
    with pytest.raises(GapInJournal):
        fold.fold(recorded(STORY[4:], first=5))
    with pytest.raises(GapInJournal):
        fold.fold(recorded(STORY[2:], first=3))


def test_a_store_is_replayed_to_its_head_or_to_a_position() -> None:
    store = InMemoryFactStore()
    store.append([envelope(fact) for fact in STORY], (), (), 0)
    told: list[int] = []
    assert replay(store, progress=told.append).counted() == counted(*STORY)
    assert told == list(range(1, len(STORY) + 1))
    for position in range(len(STORY) + 1):
        assert replay(store, to=position).counted() == counted(*STORY[:position])
    assert replay(store, to=len(STORY) + 100).position == len(STORY)
    assert replay(InMemoryFactStore()).counted() == counted()


def test_what_is_counted_alike_has_no_difference() -> None:
    assert differences(counted(*STORY), counted(*STORY)) == []


def test_every_difference_is_named_in_order() -> None:
    ours = counted(*STORY)
    theirs = counted(
        *STORY[:-1],
        replace(MINUTES_GRANTED, minutes=121),
        PoolFunded("issuance", "pool:" + JINHU, 5, "A1"),
        logged("R9", "11-20 09:00 - 10:00", service="助洁", recipient_household="H3"),
        replace(HOURS_CONFIRMED, record="R9", minutes=0),
    )
    found = [each for each in differences(ours, theirs) if not each.what.startswith("grid ")]
    assert {each.what[:6] for each in differences(ours, theirs) if each not in found} == {"grid 1", "grid 2", "grid 3"}
    assert found == [
        Difference("balance household:H2", 120, 121),
        Difference("balance issuance", -690, -695),
        Difference("balance " + POOL, 510, 509),
        Difference("balance pool:" + JINHU, None, 5),
        Difference("figures", Figure(1, 90, 1), Figure(2, 150, 2)),
        Difference("community " + XINZHU, Figure(1, 90, 1), Figure(2, 150, 2)),
        Difference("service 助洁", None, Figure(1, 60, 1)),
        Difference("month 2026-11", Figure(1, 90, 1), Figure(2, 150, 2)),
    ]
    assert {each.what for each in differences(theirs, ours)} == {each.what for each in differences(ours, theirs)}


def test_minutes_that_were_made_from_nothing_show_in_the_total() -> None:
    fold = Replay()
    fold.fold(recorded(STORY))
    accounts = fold._accounts  # as a defect of the fold would leave them
    accounts[POOL] = replace(accounts[POOL], balance_minutes=accounts[POOL].balance_minutes + 1)
    assert fold.total_minutes == 1
