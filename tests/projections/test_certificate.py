"""Certificates: what there is to certify at a position, and what was reversed since, is what the facts say."""

from collections.abc import Callable
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace

from api.wiring import Timebank, known
from application.certificate import recount
from domain.certificate import CountedService, certificate_numbers, count_service
from domain.fact import Fact
from projections.certificate import COLUMNS, served
from tests.controls import (
    CERTIFICATE_ISSUED,
    CERTIFICATE_REVOKED,
    HOURS_CONFIRMED,
    HOURS_REJECTED,
    HOURS_REVERSED,
    logged,
)
from tests.projections.history import History, projecting, record

OpenBank = Callable[..., Timebank]
YEAR = date(2026, 1, 1), date(2026, 12, 31)


def counted(bank: Timebank, position: int, volunteer: str = "V1", days: tuple[date, date] = YEAR) -> CountedService:
    with bank.reading() as connection, connection.cursor() as cursor:
        return served(cursor, volunteer, *days, position)


def minutes_at(bank: Timebank, position: int) -> int:
    return counted(bank, position).minutes


@pytest.mark.parametrize("cuts", [(), (1,)], ids=str)
def test_a_certificate_reads_the_same_whichever_batches_its_facts_come_in(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts = (CERTIFICATE_ISSUED, CERTIFICATE_REVOKED)
    first = bank.store.head() + 1
    for start, end in zip((0, *cuts), (*cuts, 2), strict=True):
        record(bank, *facts[start:end])
    with bank.reading() as connection:
        (values,) = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM certificates").fetchall()
    row = dict(zip(COLUMNS, values, strict=True))
    expected = {
        "certificate": "2026-000001",
        "sequence": 1,
        "volunteer": "V1",
        "since": "2026-01-01",
        "until": "2026-11-21",
        "services": '[{"service":"助洁","minutes":60,"records":1},{"service":"助餐","minutes":180,"records":2}]',
        "service_minutes": 240,
        "service_records": 3,
        "issued_on": "2026-11-22",
        "public_until": "2026-11-29",
        "issued_position": first,
        "revoked": True,
        "revoked_by": "S2",
        "reason": "mistake",
        "revoked_position": first + 1,
    }
    assert expected.items() <= row.items()


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in combinations((2, 4, 5), n)], ids=str)
def test_what_counts_at_a_position_stays_so_whatever_is_settled_later(
    open_bank: OpenBank, cuts: tuple[int, ...]
) -> None:
    bank = open_bank()
    facts: tuple[Fact, ...] = (
        logged("R1", "11-21 09:00 - 10:00"),
        replace(HOURS_CONFIRMED, record="R1", minutes=60),
        logged("R2", "11-21 11:00 - 12:30"),
        replace(HOURS_REJECTED, record="R2"),
        replace(HOURS_CONFIRMED, record="R2", minutes=90),
        replace(HOURS_REVERSED, record="R1", minutes=60),
    )
    before = bank.store.head()
    for start, end in zip((0, *cuts), (*cuts, 6), strict=True):
        record(bank, *facts[start:end])
    assert [minutes_at(bank, before + n) for n in range(7)] == [0, 0, 60, 60, 60, 150, 90]
    assert counted(bank, before + 5) == count_service(before + 5, [("R1", "助餐", 60), ("R2", "助餐", 90)])
    assert counted(bank, before + 5, days=(date(2026, 11, 22), date(2026, 12, 31))).records == 0
    assert counted(bank, before + 5, volunteer="V2").records == 0


def test_in_a_random_history_every_count_is_what_the_journal_says_again(open_bank: OpenBank) -> None:
    """Certificates of every volunteer, of several periods, as of several positions, with history going on after."""
    bank = open_bank(log_days_back_max=400)
    history = History(bank, 47)
    today = history.today.date()
    issued: set[str] = set()
    for _ in range(5):
        with projecting(bank) as projector:
            history.go(40)
            position = projector.catch_up()
        facts: list[Any] = []
        last = known(bank.store, certificate_numbers).count
        for number in range(1, 7):
            days = today - timedelta(days=30 * number), today
            found = counted(bank, position, f"V{number}", days)
            certificate = f"{CERTIFICATE_ISSUED.issued_on.year}-{last + number:06}"
            issued.add(certificate)
            facts.append(
                replace(
                    CERTIFICATE_ISSUED,
                    certificate=certificate,
                    sequence=last + number,
                    volunteer=f"V{number}",
                    since=days[0],
                    until=days[1],
                    services=found.services,
                    service_minutes=found.minutes,
                    service_records=found.records,
                    counted_position=position,
                    records_sha256=found.records_sha256,
                )
            )
        record(bank, *facts)
    again = recount(bank.store)
    assert again.certificates >= len(issued) == 30
    # What else happened at random certifies what nobody counted, and is found out.
    named = {difference.what for difference in again.differences}
    assert not [what for what in named if what.split()[1] in issued or what.endswith("sequence")]
    assert {what for what in named if what.endswith(" minutes")}
    with bank.reading() as connection:
        sums = connection.execute(
            "SELECT sum(service_minutes) FROM certificates WHERE certificate = ANY (%s)", ([*issued],)
        ).fetchall()
    assert sums[0][0] > 600
