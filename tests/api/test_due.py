"""What falls due is done by the rules, once, and goes on when some of it is no longer due."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from api import due
from api.due import Due, DueReport, run_due, run_due_each_minute
from api.wiring import SYSTEM, Timebank, known
from application.write_loop import Ticket, new_id
from domain.account import Account, FundPool, fund_pool
from domain.community import RegisterCommunity, register_community
from domain.journal import StoreUnavailable
from domain.policy import PolicyBook
from tests.controls import JINHU, XINZHU

OpenBank = Callable[..., Timebank]
NOW = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)


@pytest.fixture
def bank(open_bank: OpenBank) -> Timebank:
    """A ledger with two communities."""
    bank = open_bank()
    for name in (XINZHU, JINHU):
        bank.run(Ticket(register_community, RegisterCommunity(community=name), SYSTEM, new_id().replace("-", "")))
    return bank


def funding(*communities: str) -> Due:
    """Stands for anything that falls due: here, pools that are to be funded."""

    def find(_: psycopg.Connection[Any], now: datetime, book: PolicyBook) -> Iterator[tuple[str, FundPool]]:
        assert now.isoformat() == "2026-11-23T00:30:00+08:00"
        assert book.in_force(now.date()).version == 1
        for community in communities:
            yield community, FundPool(community=community, minutes=60)

    return Due("funding", find, fund_pool)


def pool_minutes(bank: Timebank, community: str) -> int:
    return known(bank.store, Account.of("pool:" + community)).balance_minutes


def test_what_is_due_is_done_once_however_often_it_is_found(bank: Timebank) -> None:
    assert run_due(bank, NOW, [funding(XINZHU)]) == DueReport({"funding": 1}, {"funding": 0})
    assert run_due(bank, NOW, [funding(XINZHU, JINHU)]) == DueReport({"funding": 1}, {"funding": 0})
    assert (pool_minutes(bank, XINZHU), pool_minutes(bank, JINHU)) == (60, 60)


def test_what_the_rules_refuse_by_now_stops_nothing_else(bank: Timebank) -> None:
    assert run_due(bank, NOW, [funding("没有的社区", JINHU)]) == DueReport({"funding": 1}, {"funding": 1})
    assert pool_minutes(bank, JINHU) == 60


def test_more_than_a_batch_is_done(bank: Timebank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "BATCH_COMMANDS", 1)
    assert run_due(bank, NOW, [funding(XINZHU, JINHU)]).done == {"funding": 2}


def test_a_service_does_what_is_due_again_and_again_and_looks_seldom_for_what_takes_long_to_find(
    bank: Timebank, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Sequence[Due]] = []

    async def serve() -> None:
        again = asyncio.Event()
        loop = asyncio.get_running_loop()

        def run(of: Timebank, now: datetime, kinds: Sequence[Due]) -> None:
            assert of is bank
            assert now.tzinfo is UTC
            calls.append(kinds)
            if len(calls) == 1:
                raise StoreUnavailable("away")
            if len(calls) == 3:
                loop.call_soon_threadsafe(again.set)

        seldom = funding(XINZHU)._replace(name="seldom", every_seconds=3600)
        monkeypatch.setattr(due, "DUE", (funding(JINHU), seldom))
        monkeypatch.setattr(due, "INTERVAL_SECONDS", 0.001)
        monkeypatch.setattr(due, "run_due", run)
        async with run_due_each_minute(bank):
            await asyncio.wait_for(again.wait(), 60)

    asyncio.run(serve())
    names = [[kind.name for kind in kinds] for kinds in calls[:3]]
    assert names == [["funding", "seldom"], ["funding", "seldom"], ["funding"]]
