"""Expiry: what the tables find to be announced is what the rules would announce, whatever happened before."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from api.wiring import Timebank, known
from domain.expiry import Expiry, Savings
from domain.hours import ServiceRecord
from projections.expiry import due_announcements, records_to_announce
from tests.controls import (
    COMMUNITY_REGISTERED,
    EXPIRY_ANNOUNCED,
    EXPIRY_CALLED_OFF,
    GRID_REGISTERED,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    MINUTES_EXPIRED,
)
from tests.projections.history import POLICIES, History, projecting, record

OpenBank = Callable[..., Timebank]


def found(bank: Timebank, before: date) -> dict[str, list[str]]:
    with bank.reading() as connection:
        return dict(records_to_announce(connection, before))


def decided(bank: Timebank, households: int, before: date) -> dict[str, list[str]]:
    """The same, from the facts."""
    expected: dict[str, list[str]] = {}
    for household in (f"H{number}" for number in range(1, households + 1)):
        left = known(bank.store, Savings.of("household:" + household)).left()
        announced = {one for each in known(bank.store, Expiry.of(household)).open for one in each.records}
        for number in reversed(left):
            logged = known(bank.store, ServiceRecord.of(number)).logged
            assert logged is not None
            if number not in announced and logged.started_at.date() < before:
                expected.setdefault(household, []).append(number)
    return expected


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("seed", [5, 6])
def test_what_is_found_to_be_announced_is_what_is_left_of_old_records(
    open_bank: OpenBank, policy: dict[str, Any], seed: int
) -> None:
    bank = open_bank(**policy)
    history = History(bank, seed)
    some = 0
    with projecting(bank) as projector:
        for _ in range(5):
            history.go(120)
            projector.catch_up()
            for days in (-1, 30, 90):
                before = (history.today - timedelta(days=days)).date()
                expected = decided(bank, history.households, before)
                assert found(bank, before) == expected
                some += len(expected)
    assert some


def test_records_are_found_again_once_their_announcement_is_done(open_bank: OpenBank) -> None:
    bank = open_bank()
    before = date(2026, 12, 1)
    record(bank, COMMUNITY_REGISTERED, GRID_REGISTERED, HOURS_LOGGED, HOURS_CONFIRMED)
    assert found(bank, before) == {"H1": ["R1"]}
    assert found(bank, date(2026, 11, 21)) == {}
    record(bank, EXPIRY_ANNOUNCED)
    assert found(bank, before) == {}
    with bank.reading() as connection:
        assert due_announcements(connection, EXPIRY_ANNOUNCED.on - timedelta(days=1)) == []
        assert due_announcements(connection, EXPIRY_ANNOUNCED.on) == [("H1", "X1")]
    record(bank, MINUTES_EXPIRED)
    assert found(bank, before) == {"H1": ["R1"]}  # 30 of its 90 minutes are left
    with bank.reading() as connection:
        assert due_announcements(connection, EXPIRY_ANNOUNCED.on) == []


def test_what_was_called_off_is_found_again_even_if_it_was_announced_in_the_same_batch(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, HOURS_LOGGED, HOURS_CONFIRMED, EXPIRY_ANNOUNCED, EXPIRY_CALLED_OFF)
    assert found(bank, date(2026, 12, 1)) == {"H1": ["R1"]}
