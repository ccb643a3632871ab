"""Disclosures: what a month comes to at a position, and what came late to it, is what the facts say."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import combinations
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from api.disclosure import disclosed, prepared, secret_of
from api.wiring import Timebank, known
from application.disclosure import PeriodTally, recount
from application.replay import Difference
from application.write_loop import Ticket
from domain.account import HoursReversed
from domain.consent import GiveConsent, WithdrawConsent, give_consent, withdraw_consent
from domain.decision import Actor
from domain.disclosure import Disclosure, PeriodSealed, seal_period, seals
from domain.fact import Fact
from domain.figures import Figure
from domain.published_list import figure
from projections.consent import COLUMNS as CONSENT_COLUMNS
from projections.consent import consenting
from projections.disclosure import COLUMNS, corrected, due_to_freeze, late_totals, service_given
from projections.disclosure import disclosure as disclosure_row
from projections.objection import COLUMNS as OBJECTION_COLUMNS
from tests.controls import (
    CONSENT_GIVEN,
    CONSENT_WITHDRAWN,
    HOURS_CONFIRMED,
    HOURS_REJECTED,
    HOURS_REVERSED,
    OBJECTION_DISMISSED,
    OBJECTION_RAISED,
    OBJECTION_UPHELD,
    OBJECTION_WITHDRAWN,
    PERIOD_FROZEN,
    PERIOD_SEALED,
    logged,
)
from tests.projections.history import History, projecting, record

OpenBank = Callable[..., Timebank]
OCTOBER = "2026-10"


def given_at(bank: Timebank, period: str, position: int) -> Figure:
    with bank.reading() as connection, connection.cursor() as cursor:
        return figure(service_given(cursor, period, position))


def row_of(bank: Timebank, table: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1").fetchall()
    return [dict(zip(columns, values, strict=True)) for values in found]


@pytest.mark.parametrize("cuts", [(), (1,)], ids=str)
def test_a_disclosure_reads_the_same_whichever_batches_its_facts_come_in(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (PERIOD_SEALED, PERIOD_FROZEN)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 2), strict=True):
        record(bank, *facts[start:end])
    (row,) = row_of(bank, "disclosures", COLUMNS)
    expected = {
        "period": OCTOBER,
        "watermark": 412,
        "households_served": 21,
        "service_minutes": 5400,
        "service_records": 62,
        "corrected_minutes": -90,
        "corrected_records": -1,
        "list_rows": 12,
        "list_sha256": "ab" * 32,
        "count_min": 5,
        "sealed_by": "A1",
        "sealed_on": "2026-11-20",
        "sealed_position": first,
        "frozen_position": first + 1,
        "undecided": 1,
    }
    assert expected.items() <= row.items()


@pytest.mark.parametrize(
    ("closed", "status", "by"),
    [
        (OBJECTION_UPHELD, "upheld", "S2"),
        (OBJECTION_DISMISSED, "dismissed", "S2"),
        (OBJECTION_WITHDRAWN, "withdrawn", None),
        (None, "open", None),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_objection_stands_where_its_facts_leave_it(
    open_bank: OpenBank, closed: Fact | None, status: str, by: str | None, together: bool
) -> None:
    bank = open_bank()
    facts = (PERIOD_SEALED, OBJECTION_RAISED, *([closed] if closed else []))
    for batch in [facts] if together else [(fact,) for fact in facts]:
        record(bank, *batch)
    (row,) = row_of(bank, "objections", OBJECTION_COLUMNS)
    assert (row["objection"], row["person"], row["ground"], row["record"]) == ("B1", "V3", "hours-wrong", "R3")
    assert (row["status"], row["decided_by"], row["closed_position"] is None) == (status, by, closed is None)
    until, last = PERIOD_SEALED.objections_until, PERIOD_SEALED.decisions_until
    with bank.reading() as connection:
        cursor = connection.cursor()
        assert due_to_freeze(cursor, until - timedelta(microseconds=1)) == []
        assert due_to_freeze(cursor, until) == ([] if closed is None else [OCTOBER])
        assert due_to_freeze(cursor, last) == [OCTOBER]
    record(bank, PERIOD_FROZEN)
    with bank.reading() as connection:
        assert due_to_freeze(connection.cursor(), last) == []


@pytest.mark.parametrize("cuts", [cuts for n in range(3) for cuts in combinations((1, 2), n)], ids=str)
def test_consent_is_known_as_of_any_position(open_bank: OpenBank, cuts: tuple[int, ...]) -> None:
    bank = open_bank()
    facts = (CONSENT_GIVEN, CONSENT_WITHDRAWN, replace(CONSENT_GIVEN, paper_sha256=None))
    before = bank.store.head()
    for start, end in zip((0, *cuts), (*cuts, 3), strict=True):
        record(bank, *facts[start:end])
    with bank.reading() as connection:
        cursor = connection.cursor()
        assert [consenting(cursor, before + n) for n in range(4)] == [set(), {"V1"}, set(), {"V1"}]
        assert consenting(cursor, None) == {"V1"}
    first, second = row_of(bank, "consents", CONSENT_COLUMNS)
    assert (first["withdrawn_by"], second["withdrawn_position"]) == ("V1", None)
    record(bank, CONSENT_WITHDRAWN)
    with bank.reading() as connection:
        assert consenting(connection.cursor(), None) == set()


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in combinations((2, 4, 5), n)], ids=str)
def test_what_a_month_comes_to_at_a_position_stays_so_and_the_rest_is_late(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts: tuple[Fact, ...] = (
        logged("R1", "10-31 09:00 - 10:00"),
        replace(HOURS_CONFIRMED, record="R1", minutes=60),
        logged("R2", "10-01 11:00 - 12:30"),
        replace(HOURS_REJECTED, record="R2"),
        replace(HOURS_CONFIRMED, record="R2", minutes=90),
        replace(HOURS_REVERSED, record="R1", minutes=60),
    )
    before = bank.store.head()
    for start, end in zip((0, *cuts), (*cuts, 6), strict=True):
        record(bank, *facts[start:end])
    counted = [given_at(bank, OCTOBER, before + n) for n in range(7)]
    assert [one.service_minutes for one in counted] == [0, 0, 60, 60, 60, 150, 90]
    assert given_at(bank, "2026-11", before + 6) == given_at(bank, "2026-09", before + 6) == Figure(0, 0, 0)
    with bank.reading() as connection:
        cursor = connection.cursor()
        assert corrected(cursor, "2026-11", before + 2, before + 6) == (30, 0)
        assert corrected(cursor, "2026-11", before + 5, before + 6) == (-60, -1)
        assert corrected(cursor, OCTOBER, before, before + 6) == (0, 0)
    record(bank, replace(PERIOD_SEALED, watermark=before + 2))
    with bank.reading() as connection:
        cursor = connection.cursor()
        row = disclosure_row(cursor, OCTOBER)
        assert row is not None
        totals = late_totals(cursor, row)
    assert (totals.changes, totals.change_minutes, totals.change_records) == (2, 30, 0)
    assert (totals.volunteers, totals.households_served) == (1, 1)


def months(bank: Timebank, count: int) -> list[str]:
    """The last whole months, the earliest first."""
    first = datetime.now(bank.zone).date().replace(day=1)
    found = []
    for _ in range(count):
        first = (first - timedelta(days=1)).replace(day=1)
        found.append(f"{first:%Y-%m}")
    return found[::-1]


@pytest.mark.parametrize("seed", [3, 59])
def test_in_a_random_history_all_seals_and_their_corrections_add_up_and_are_counted_again(
    open_bank: OpenBank, seed: int
) -> None:
    bank = open_bank(log_days_back_max=400, disclosure_count_min=2)
    history, dice = History(bank, seed), Random(seed)  # noqa: S311 - reproducible
    admin = Actor("D1", "admin")
    sealed: list[PeriodSealed] = []
    with projecting(bank) as projector:
        for period in months(bank, 4):
            history.go(40)
            for number in range(1, history.households + 1):
                decide, command = (
                    (give_consent, GiveConsent(person=f"V{number}", paper_sha256="ab" * 32))
                    if dice.random() < 0.8
                    else (withdraw_consent, WithdrawConsent(person=f"V{number}"))
                )
                history.record_commands([(decide, command)])
            projector.catch_up()
            sealing = prepared(bank, period)
            bank.run(Ticket(seal_period, sealing, admin, f"{len(sealed):032x}"))
            projector.catch_up()
            fact = known(bank.store, Disclosure.of(period)).sealed
            assert fact is not None
            sealed.append(fact)
    facts = [recorded for batch in bank.store.scan() for recorded in batch]
    tally = PeriodTally()
    for recorded in facts:
        tally.fold(recorded.position, recorded.envelope.fact)
    with bank.reading() as connection:
        cursor = connection.cursor()
        for fact in sealed:
            ours = sorted(tally.service_given(fact.period, fact.watermark), key=repr)
            assert ours == sorted(service_given(cursor, fact.period, fact.watermark), key=repr)
            assert figure(ours) == Figure(fact.households_served, fact.service_minutes, fact.service_records)
            assert tally.consenting(fact.watermark) == consenting(cursor, fact.watermark)
    through, _ = through_end(tally, sealed[0])
    for fact in sealed[1:]:
        through += fact.corrected_minutes + fact.service_minutes
        assert through == through_end(tally, fact)[0]
    assert any(fact.corrected_minutes for fact in sealed)
    again = recount(bank.store, bank.name, lambda period: secret_of(bank, period))
    assert (again.seals, again.lists, again.differences) == (4, 4, [])
    assert recount(bank.store, bank.name).lists == 0
    assert known(bank.store, seals).last == sealed[-1]
    for fact in sealed:
        assert disclosed(bank, fact.period)["service_minutes"] == fact.service_minutes


def through_end(tally: PeriodTally, fact: PeriodSealed) -> tuple[int, int]:
    """Minutes and records of all service up to the end of a sealed month, at its watermark."""
    minutes, records = tally.corrected(fact.period, 0, fact.watermark)
    return minutes + fact.service_minutes, records + fact.service_records


def test_a_seal_that_says_what_the_journal_does_not_is_found_with_what_is_wrong(open_bank: OpenBank) -> None:
    bank = open_bank()
    head = bank.store.head()
    record(bank, logged("R1", "10-31 09:00 - 10:00"), replace(HOURS_CONFIRMED, record="R1", minutes=60))
    right = replace(
        PERIOD_SEALED,
        watermark=head + 2,
        households_served=1,
        service_minutes=60,
        service_records=1,
        corrected_minutes=0,
        corrected_records=0,
        list_rows=0,
    )
    record(bank, right)
    assert recount(bank.store, bank.name).differences == []
    record(bank, HoursReversed("household:H1", "issuance", 60, "R1", "S2", "other"))
    december = replace(right, period="2026-12", watermark=head + 99, service_minutes=0)
    record(bank, december)
    found = recount(bank.store, bank.name, lambda _: bytes(32)).differences
    assert [one.what for one in found] == [
        "2026-10 list_sha256",
        "2026-12 follows the month that was sealed before",
        "2026-12 was sealed after its watermark",
        "2026-12 households_served",
        "2026-12 service_records",
        "2026-12 corrected_minutes",
        "2026-12 corrected_records",
        "2026-12 list_sha256",
    ]
    assert found[5] == Difference("2026-12 corrected_minutes", -60, 0, bank.store.head())
