"""Disputes: one row each, standing where the facts leave it, whichever batch they come in."""

from collections.abc import Callable
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest

from api.wiring import Timebank
from domain.decision import fold_facts
from domain.dispute import Dispute
from domain.hours import DisputeOpened, ServiceRecord
from projections.dispute import COLUMNS, due_disputes, microseconds
from tests.controls import (
    DISPUTE_DISMISSED,
    DISPUTE_ESCALATED,
    DISPUTE_OPENED,
    DISPUTE_STATEMENT_GIVEN,
    DISPUTE_UPHELD,
    DISPUTE_WITHDRAWN,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REJECTED,
)
from tests.projections.history import History, projecting, record
from tests.projections.test_hours import rows as hours_rows

OpenBank = Callable[..., Timebank]


def rows(bank: Timebank) -> dict[str, dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM disputes")
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found}


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in combinations((1, 2, 3), n)], ids=str)
def test_a_dispute_reads_the_same_whichever_batches_its_facts_come_in(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (DISPUTE_OPENED, DISPUTE_STATEMENT_GIVEN, DISPUTE_ESCALATED, DISPUTE_UPHELD)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 4), strict=True):
        record(bank, *facts[start:end])
    assert rows(bank)["D1"] == {
        "dispute": "D1",
        "record": "R3",
        "opened_by": "V3",
        "side": "recipient",
        "ground": "not-served",
        "held_minutes": 60,
        "opened_at_microseconds": microseconds(DISPUTE_OPENED.opened_at),
        "hearing_until_microseconds": microseconds(DISPUTE_OPENED.hearing_until),
        "decision_due_microseconds": microseconds(DISPUTE_OPENED.decision_due),
        "opened_position": first,
        "earner_heard": True,
        "recipient_heard": True,
        "escalated": True,
        "status": "upheld",
        "decided_by": "A1",
        "decision_digest": None,
        "closed_position": first + 3,
    }
    with bank.reading() as connection:
        said = connection.execute("SELECT position, side, stated_by FROM dispute_statements ORDER BY 1").fetchall()
    assert said == [(first, "recipient", "V3"), (first + 1, "earner", "V1")]


@pytest.mark.parametrize(
    ("closed", "status"), [(DISPUTE_DISMISSED, "dismissed"), (DISPUTE_WITHDRAWN, "withdrawn"), (None, "open")]
)
def test_a_dispute_is_due_while_it_is_open_and_late(open_bank: OpenBank, closed: Any, status: str) -> None:
    bank = open_bank()
    record(bank, DISPUTE_OPENED, *([closed] if closed else []))
    assert rows(bank)["D1"]["status"] == status
    due = DISPUTE_OPENED.decision_due
    with bank.reading() as connection:
        cursor = connection.cursor()
        assert due_disputes(cursor, due - timedelta(microseconds=1)) == []
        assert due_disputes(cursor, due) == (["D1"] if status == "open" else [])
    if closed is None:
        record(bank, DISPUTE_ESCALATED)
        with bank.reading() as connection:
            assert due_disputes(connection.cursor(), due) == []


@pytest.mark.parametrize("cuts", [cuts for n in range(3) for cuts in combinations((1, 2), n)], ids=str)
def test_a_record_confirmed_after_all_keeps_no_reason_of_its_rejection(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (HOURS_LOGGED, HOURS_REJECTED, HOURS_CONFIRMED)
    for start, end in zip((0, *cuts), (*cuts, 3), strict=True):
        record(bank, *facts[start:end])
    row = hours_rows(bank)["R1"]
    assert (row["status"], row["reason"], row["confirmed_as"], row["rating"]) == ("confirmed", None, "staff", 0)


def test_every_row_says_what_the_facts_say(open_bank: OpenBank) -> None:
    bank = open_bank(log_days_back_max=400)
    history = History(bank, 41)
    with projecting(bank) as projector:
        for _ in range(12):
            history.go(40)
            newest = range(max(1, history.records - 12), history.records + 1)
            history.record_commands([step for n in newest for step in history.dispute(f"R{n}")])
            projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    found = rows(bank)
    assert {row["status"] for row in found.values()} == {"open", "upheld", "dismissed", "withdrawn"}
    assert set(found) == {fact.dispute for fact in facts if isinstance(fact, DisputeOpened)}
    for number, row in found.items():
        state = fold_facts(Dispute.of(number), facts)
        assert state.opened is not None
        assert (row["status"], row["escalated"]) == (state.status, state.escalated)
        heard = {side for side in ("earner", "recipient") if row[f"{side}_heard"]}
        assert heard == state.heard - {"staff"}
        disputed = fold_facts(ServiceRecord.of(row["record"]), facts).dispute
        assert (disputed == number) == (state.status == "open")
    with bank.reading() as connection:
        open_minutes = sum(row["held_minutes"] for row in found.values() if row["status"] == "open")
        reserved = "SELECT coalesce(sum(minutes), 0) FROM reservations WHERE status = 'reserved'"
        held = f"SELECT sum(held_minutes) - ({reserved}) FROM accounts"
        assert connection.execute(held).fetchall() == [(open_minutes,)]
