"""Inspection: samples, their records and findings stand where the facts leave them, whichever batches those come in."""

import asyncio
from collections.abc import Callable
from itertools import combinations
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from api.wiring import Timebank
from projections.inspection import FINDING_COLUMNS, SampleListed, samples, to_draw_from
from tests.controls import (
    FINDING_ANSWERED,
    FINDING_CLOSED,
    FINDING_RECORDED,
    HOURS_CONFIRMED,
    RECORD_INSPECTED,
    SAMPLE_DRAWN,
    logged,
)
from tests.projections.history import record

OpenBank = Callable[..., Timebank]


def listed(bank: Timebank) -> list[SampleListed]:
    async def asking() -> list[SampleListed]:
        async with await psycopg.AsyncConnection.connect(bank.read_address) as connection:
            return await samples(connection, after=0, limit=10)

    return asyncio.run(asking())


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in combinations((1, 2, 3, 4), n)], ids=str)
def test_a_sample_and_a_finding_read_the_same_whichever_batches_their_facts_come_in(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (SAMPLE_DRAWN, RECORD_INSPECTED, FINDING_RECORDED, FINDING_ANSWERED, FINDING_CLOSED)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 5), strict=True):
        record(bank, *facts[start:end])
    (sample,) = listed(bank)
    assert (sample.sample, sample.seed, sample.size, sample.drawn_position) == ("T1", SAMPLE_DRAWN.seed, 412, first)
    assert (sample.drawn, sample.inspected, sample.findings) == (2, 2, 1)
    with bank.reading() as connection:
        rows = connection.execute(
            "SELECT number, record, result, inspected_by, inspected_position FROM sample_records ORDER BY number"
        ).fetchall()
        (values,) = connection.execute(f"SELECT {', '.join(FINDING_COLUMNS)} FROM findings").fetchall()
    assert rows == [(1, "R2", "in-order", "U1", first + 1), (2, "R1", "finding", "U1", first + 2)]
    row: dict[str, Any] = dict(zip(FINDING_COLUMNS, values, strict=True))
    expected = {
        "finding": "F1",
        "severity": "moderate",
        "matter": "no-evidence",
        "sample": "T1",
        "record": "R1",
        "status": "closed",
        "measure": "corrected",
        "answered_by": "S1",
        "outcome": "resolved",
        "closed_by": "U1",
        "found_position": first + 2,
    }
    assert expected.items() <= row.items()


def test_a_record_that_was_in_order_and_is_not_counts_once(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, SAMPLE_DRAWN, RECORD_INSPECTED, replace(FINDING_RECORDED, record="R2"))
    (sample,) = listed(bank)
    assert (sample.inspected, sample.findings) == (1, 1)
    record(bank, replace(FINDING_RECORDED, finding="F2", record="R2"))
    record(bank, replace(FINDING_RECORDED, finding="F3", sample=None))
    (sample,) = listed(bank)
    assert (sample.inspected, sample.findings) == (1, 1)


def test_what_is_drawn_from_was_logged_up_to_a_position_and_served_in_the_month(open_bank: OpenBank) -> None:
    bank = open_bank()
    head = bank.store.head()
    record(
        bank,
        logged("R2", "10-31 09:00 - 10:00"),
        logged("R1", "11-01 09:00 - 10:00"),
        replace(HOURS_CONFIRMED, record="R2", minutes=60),
        logged("R3", "10-01 09:00 - 10:00"),
    )
    with bank.reading() as connection:
        cursor = connection.cursor()
        assert to_draw_from(cursor, head + 4, None) == ["R2", "R1", "R3"]
        assert to_draw_from(cursor, head + 3, None) == ["R2", "R1"]
        assert to_draw_from(cursor, head + 4, "2026-10") == ["R2", "R3"]
        assert to_draw_from(cursor, head, None) == []
