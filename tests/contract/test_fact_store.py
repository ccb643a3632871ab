"""Errors of the journal reach the rest of the time bank as its own, in words for the person who reads them."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from domain.community import CommunityRegistered
from domain.fact import Envelope
from domain.journal import Conflict, FactsTooLong, StoreUnavailable
from infrastructure.fact_store import PostgresFactStore
from infrastructure.journal import PostgresJournal, open_datastore


@pytest.mark.parametrize(
    "read",
    [
        PostgresFactStore.head,
        lambda store: list(store.scan()),
        lambda store: store.position_at(datetime.now(UTC)),
    ],
)
def test_a_database_that_is_gone_is_a_store_unavailable(read: Callable[[PostgresFactStore], object]) -> None:
    with open_datastore("host=/nowhere password=hunter2", pool_size=0, connect_timeout_seconds=0.2) as datastore:
        store = PostgresFactStore(PostgresJournal(datastore, "qingxiu"))
        with pytest.raises(StoreUnavailable, match=r"请稍后重试.*Try again") as raised:
            read(store)
    assert "hunter2" not in str(raised.value)


def test_the_messages_say_what_to_do_and_no_credentials() -> None:
    assert "请重试" in str(Conflict()) and "Try again" in str(Conflict())  # noqa: PT018
    told = str(StoreUnavailable("postgresql://me:hunter2@db/x and\npassword='hunter 2' password = hunter2 is down"))
    assert "hunter" not in told and "is down" in told and "\n" not in told  # noqa: PT018


def test_a_fact_that_evidence_can_not_hold_is_not_recorded(journal: PostgresJournal) -> None:
    store = PostgresFactStore(journal)
    long, short = (
        Envelope(f"0{n}", "D1", "admin", f"c{n}", "", 0, datetime.now(UTC), CommunityRegistered("新竹社区", name))
        for n, name in enumerate(("长" * 22_000, "新竹社区"))
    )
    with pytest.raises(FactsTooLong) as raised:
        store.append([short, long], [], ["c0", "c1"], 0)
    assert list(raised.value.lengths_bytes) == ["c0"]
    assert store.head() == 0
    assert store.append([short], [], ["c1"], 0)[0] == 1
