"""Recognition: rows that say what the facts say, whichever batch they come in, and stars that are found when due."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace

from api.wiring import Timebank
from domain.decision import fold_facts
from domain.hours import ServiceRecord
from domain.recognition import StarAwarded, StarWithdrawn
from projections.recognition import COLUMNS, star_counts
from tests.controls import (
    COMMENDATION_RECORDED,
    DISTRICT,
    HONOUR_AWARDED,
    HOURS_CONFIRMED,
    HOURS_REVERSED,
    RECOGNITION_WITHDRAWN,
    TRAINING_RECORDED,
    logged,
)
from tests.projections.history import History, projecting, record

OpenBank = Callable[..., Timebank]


def rows(bank: Timebank) -> dict[str, dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM recognitions")
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found}


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in combinations((1, 2, 3), n)], ids=str)
def test_entries_read_the_same_whichever_batches_their_facts_come_in(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (HONOUR_AWARDED, TRAINING_RECORDED, COMMENDATION_RECORDED, RECOGNITION_WITHDRAWN)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 4), strict=True):
        record(bank, *facts[start:end])
    found = rows(bank)
    assert {number: row["position"] for number, row in found.items()} == {"N1": first, "N2": first + 1, "N3": first + 2}
    names = (
        "volunteer",
        "kind",
        "title",
        "detail",
        "on_day",
        "minutes",
        "given_by",
        "status",
        "withdrawn_by",
        "reason",
    )
    assert {number: tuple(row[name] for name in names) for number, row in found.items()} == {
        "N1": (
            *("V1", "honour", "年度优秀志愿者", "community", "2026-11-20", 0, "S2"),
            *("withdrawn", "S2", "wrong-person"),
        ),
        "N2": ("V1", "training", "救护员初训", "first-aid", "2026-10-18", 480, "S2", "stands", None, None),
        "N3": ("V1", "commendation", "表扬信", "新竹街道办事处", "2026-11-01", 0, "S2", "stands", None, None),
    }
    assert found["N1"]["withdrawn_position"] == first + 3


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2), (2,)], ids=str)
def test_a_star_that_is_lost_and_reached_again_is_two_rows(open_bank: OpenBank, cuts: tuple[int, ...]) -> None:
    bank = open_bank()
    facts = (
        StarAwarded("V1", 1, 100, 120, 3),
        StarWithdrawn("V1", 1, 60, 4),
        StarAwarded("V1", 1, 100, 110, 5),
    )
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 3), strict=True):
        record(bank, *facts[start:end])
    found = rows(bank)
    assert {number: (row["status"], row["minutes"], row["reason"]) for number, row in found.items()} == {
        f"V1:1:{first}": ("withdrawn", 120, "records-reversed"),
        f"V1:1:{first + 2}": ("stands", 110, None),
    }


def test_whoever_served_enough_or_holds_a_star_is_counted_at_the_projections_position(open_bank: OpenBank) -> None:
    bank = open_bank()
    hours = [
        fact
        for number, hour in enumerate((8, 10, 12), 1)
        for fact in (
            logged(f"R{number}", f"11-21 {hour:02}:00 - {hour + 1:02}:00"),
            replace(HOURS_CONFIRMED, record=f"R{number}", minutes=60),
        )
    ]
    waiting = logged("R4", "11-21 14:00 - 15:00")
    position = record(bank, *DISTRICT[2:], *hours, waiting, StarAwarded("V2", 1, 60, 60, 1))
    with bank.reading() as connection:
        assert star_counts(connection, 180) == (
            position,
            [("V1", True, 180, ()), ("V2", True, 0, ((1, 60),))],
        )
        assert star_counts(connection, 181) == (position, [("V2", True, 0, ((1, 60),))])
        assert star_counts(connection, None) == (position, [("V2", True, 0, ((1, 60),))])
    position = record(bank, replace(HOURS_REVERSED, record="R3", minutes=60))
    with bank.reading() as connection:
        assert star_counts(connection, 1) == (position, [("V1", True, 120, ()), ("V2", True, 0, ((1, 60),))])


def test_in_a_random_history_everybody_is_counted_as_the_facts_say(open_bank: OpenBank) -> None:
    bank = open_bank(log_days_back_max=400)
    history = History(bank, 43)
    with projecting(bank) as projector:
        for _ in range(6):
            history.go(40)
        position = projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    expected: dict[str, int] = {}
    for number in range(1, history.records + 1):
        state = fold_facts(ServiceRecord.of(f"R{number}"), facts)
        if state.status == "confirmed" and state.logged is not None:
            who = state.logged.volunteer
            expected[who] = expected.get(who, 0) + state.logged.service_minutes
    with bank.reading() as connection:
        counted_at, counts = star_counts(connection, 1)
    assert counted_at == position
    assert {one.volunteer: one.minutes for one in counts} == expected
    assert len(expected) > 3
