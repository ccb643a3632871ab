"""Accounts and statements: every balance is the sum of its movements, and the statement shows how it came about."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest

from api.wiring import Timebank
from domain.account import ISSUANCE
from projections.account import AccountRow, StatementRow, account, household_accounts, statement
from tests.controls import (
    CAPPED_MINUTES_RETURNED,
    COMMUNITY_REGISTERED,
    GRID_REGISTERED,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REVERSED,
    HOUSEHOLD_REGISTERED,
    MINUTES_CAPPED,
    MINUTES_GRANTED,
    POOL_FUNDED,
    XINZHU,
)
from tests.projections.history import POLICIES, History, projecting, record

OpenBank = Callable[..., Timebank]
Query = Callable[[psycopg.AsyncConnection[Any]], Coroutine[Any, Any, Any]]


def ask(bank: Timebank, query: Query) -> Any:
    async def asking() -> Any:
        async with await psycopg.AsyncConnection.connect(bank.read_address) as connection:
            return await query(connection)

    return asyncio.run(asking())


def row(bank: Timebank, name: str) -> AccountRow:
    found = ask(bank, lambda connection: account(connection, name))
    assert isinstance(found, AccountRow)
    return found


def whole_statement(bank: Timebank, name: str, limit: int = 500) -> list[StatementRow]:
    def page(after: int) -> list[StatementRow]:
        found: list[StatementRow] = ask(bank, lambda c: statement(c, name, after=after, limit=limit))
        return found

    rows = found = page(0)
    while found:
        assert len(found) <= limit
        found = page(found[-1].position)
        rows = rows + found
    return rows


@pytest.fixture(params=POLICIES.values(), ids=POLICIES)
def bank(open_bank: OpenBank, request: pytest.FixtureRequest) -> Timebank:
    """A district in which much has happened."""
    bank = open_bank(**request.param)
    history = History(bank, 21)
    with projecting(bank) as projector:
        for _ in range(6):
            history.go(50)
            projector.catch_up()
    return bank


def test_every_kind_of_movement_changes_what_the_balance_is_made_of(open_bank: OpenBank) -> None:
    bank = open_bank()
    registered = (COMMUNITY_REGISTERED, GRID_REGISTERED, HOUSEHOLD_REGISTERED)
    record(bank, *registered, HOURS_LOGGED, HOURS_CONFIRMED, MINUTES_CAPPED, POOL_FUNDED)
    position = record(bank, MINUTES_GRANTED)
    house, pool, granted = row(bank, "household:H1"), row(bank, "pool:" + XINZHU), row(bank, "household:H2")
    assert (house.balance_minutes, house.earned_minutes, house.capped_minutes) == (60, 90, 30)
    assert (pool.balance_minutes, pool.granted_minutes, pool.spent_minutes) == (30 + 600 - 120, 630, 120)
    assert (granted.balance_minutes, granted.granted_minutes, granted.last_position) == (120, 120, position)
    assert (granted.community, granted.grid) == (XINZHU, "第3网格")
    record(bank, CAPPED_MINUTES_RETURNED, HOURS_REVERSED)
    house, pool = row(bank, "household:H1"), row(bank, "pool:" + XINZHU)
    assert (house.balance_minutes, house.earned_minutes, house.spent_minutes, house.capped_minutes) == (0, 0, 0, 0)
    assert pool.balance_minutes == 480
    assert row(bank, ISSUANCE).balance_minutes == -600


def test_a_balance_is_what_was_earned_spent_granted_capped_received_and_given(bank: Timebank) -> None:
    households = ask(bank, lambda c: household_accounts(c, community=None, after="", limit=500))
    assert any(one.capped_minutes or one.spent_minutes or one.granted_minutes for one in households)
    for one in households:
        made_of = one.earned_minutes - one.spent_minutes + one.granted_minutes - one.capped_minutes
        assert one.balance_minutes == made_of + one.received_minutes - one.given_minutes


def test_a_statement_runs_in_order_up_to_the_balance_whatever_the_size_of_its_pages(bank: Timebank) -> None:
    with bank.reading() as connection:
        names = [name for (name,) in connection.execute("SELECT account FROM accounts WHERE account <> 'issuance'")]
    moved = 0
    for name in names:
        rows = whole_statement(bank, name)
        balance = 0
        for movement in rows:
            balance += movement.change_minutes
            assert movement.balance_minutes == balance
        assert [r.position for r in rows] == sorted({r.position for r in rows})
        found = row(bank, name)
        assert (found.balance_minutes, found.last_position) == (balance, rows[-1].position if rows else 0)
        moved += len(rows)
    longest = max(names, key=lambda name: len(whole_statement(bank, name)))
    assert whole_statement(bank, longest, 3) == whole_statement(bank, longest)
    with bank.reading() as connection:
        sides = "SELECT count(*) FILTER (WHERE source <> 'issuance') + count(*) FILTER (WHERE target <> 'issuance')"
        assert connection.execute(f"{sides} FROM movements").fetchone() == (moved,)


def test_issuance_has_no_statement(bank: Timebank) -> None:
    assert whole_statement(bank, ISSUANCE) == []


def test_households_come_once_each_in_the_order_of_their_numbers(bank: Timebank) -> None:
    def page(after: str, limit: int) -> list[str]:
        found = ask(bank, lambda c: household_accounts(c, community=None, after=after, limit=limit))
        return [one.account for one in found]

    every = page("", 500)
    paged = found = page("", 2)
    while found:
        found = page(found[-1].removeprefix("household:"), 2)
        paged = paged + found
    assert paged == every == sorted(set(every))
    assert all(name.startswith("household:") for name in every)
    of_one = ask(bank, lambda c: household_accounts(c, community=XINZHU, after="", limit=500))
    assert 0 < len(of_one) < len(every)
    assert {one.community for one in of_one} == {XINZHU}
