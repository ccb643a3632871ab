"""The outbox: each key once, its checkpoint in the same commit, deliveries claimed by one at a time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import given as each
from hypothesis import settings
from hypothesis import strategies as st
from psycopg import Connection

from domain.notice import Notice
from infrastructure.notice import (
    OutboxNotBegun,
    begin,
    claim,
    deliveries,
    delivery_counts,
    last_notices,
    mark_delivered,
    mark_failed,
    position_of,
    retry,
    writing,
)
from infrastructure.schema import SERVICE_ROLE
from infrastructure.vault import remember

LEDGER, RACERS = "qingxiu", 16


def notice(number: int, to: str = "person:V1", kind: str = "hours-confirmed") -> Notice:
    return Notice(f"{kind}:R{number}:{number}:{to}", kind, to, {"record": f"R{number}", "minutes": 60})


@pytest.fixture
def connection(journal_url: str) -> Iterator[Connection[Any]]:
    """As the service's role, on an outbox that begins at 10."""
    with connected(journal_url) as opened:
        begin(opened, LEDGER, 10)
        yield opened


def connected(address: str) -> Connection[Any]:
    return psycopg.connect(address, autocommit=True, options=f"-c role={SERVICE_ROLE}")


def put(connection: Connection[Any], *notices: Notice, adapters: tuple[str, ...] = ("log",), to: int = 0) -> int:
    with writing(connection, LEDGER) as outbox:
        written = outbox.put(notices, adapters)
        if to:
            outbox.reach(to)
        return written


def keys(connection: Connection[Any]) -> list[str]:
    return [one.key for one in reversed(last_notices(connection, LEDGER, 1000))]


def test_a_key_is_written_once_whatever_else_it_says(connection: Connection[Any]) -> None:
    assert put(connection, notice(1), notice(1)) == 1
    assert put(connection, Notice(notice(1).key, "hours-reversed", "person:V2", {}), notice(2)) == 1
    assert keys(connection) == [notice(1).key, notice(2).key]
    assert delivery_counts(connection, LEDGER) == {"log": {"pending": 2}}


def test_another_ledger_has_keys_and_a_position_of_its_own(connection: Connection[Any]) -> None:
    put(connection, notice(1), to=20)
    begin(connection, "other", 3)
    with writing(connection, "other") as outbox:
        assert outbox.position == 3
        assert outbox.put([notice(1)], []) == 1
    assert position_of(connection, LEDGER) == 20
    assert claim(connection, "other", "log") is None


def test_an_outbox_begins_once(connection: Connection[Any]) -> None:
    put(connection, to=20)
    begin(connection, LEDGER, 99)
    assert position_of(connection, LEDGER) == 20
    for asked in (position_of, lambda *of: writing(*of).__enter__()):
        with pytest.raises(OutboxNotBegun, match=r"serve|启动服务"):
            asked(connection, "other")


def test_notices_and_checkpoint_are_one_commit(connection: Connection[Any]) -> None:
    def crash() -> None:
        with writing(connection, LEDGER) as outbox:
            outbox.put([notice(1)], ["log"])
            outbox.reach(20)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert keys(connection) == []
    assert position_of(connection, LEDGER) == 10


def test_sixteen_who_tell_of_the_same_facts_write_each_notice_once(
    connection: Connection[Any], journal_url: str
) -> None:
    start = threading.Barrier(RACERS)

    def tell() -> int:
        with connected(journal_url) as own:
            start.wait(60)
            written = 0
            while True:
                with writing(own, LEDGER) as outbox:
                    if outbox.position >= 50:
                        return written
                    news = [notice(position) for position in range(outbox.position + 1, outbox.position + 6)]
                    written += outbox.put(news, ["log"])
                    outbox.reach(outbox.position + 5)

    with ThreadPoolExecutor(RACERS) as pool:
        assert sum(pool.map(lambda _: tell(), range(RACERS))) == 40
    assert keys(connection) == [notice(position).key for position in range(11, 51)]


def test_sixteen_who_claim_at_once_never_have_the_same(connection: Connection[Any], journal_url: str) -> None:
    put(connection, *(notice(number) for number in range(100)))
    start = threading.Barrier(RACERS)

    def deliver() -> list[str]:
        with connected(journal_url) as own:
            start.wait(60)
            mine = []
            while (claimed := claim(own, LEDGER, "log")) is not None:
                mine.append(claimed.key)
                mark_delivered(own, claimed)
            return mine

    with ThreadPoolExecutor(RACERS) as pool:
        delivered = [key for mine in pool.map(lambda _: deliver(), range(RACERS)) for key in mine]
    assert sorted(delivered) == sorted(notice(number).key for number in range(100))
    assert delivery_counts(connection, LEDGER) == {"log": {"delivered": 100}}


def test_each_adapter_has_a_delivery_of_its_own(connection: Connection[Any]) -> None:
    put(connection, notice(1), adapters=("log", "webhook"))
    by_log, by_webhook = claim(connection, LEDGER, "log"), claim(connection, LEDGER, "webhook")
    assert by_log is not None and by_webhook is not None  # noqa: PT018
    mark_delivered(connection, by_log)
    mark_failed(connection, by_webhook, "HTTP 500", None)
    assert delivery_counts(connection, LEDGER) == {"log": {"delivered": 1}, "webhook": {"failed": 1}}
    (failed,) = deliveries(connection, LEDGER, "failed", 10)
    assert [(one.adapter, one.attempts, one.last_error) for one in failed.deliveries] == [("webhook", 1, "HTTP 500")]


def test_a_claim_that_nobody_settles_runs_out_and_counts_as_an_attempt(connection: Connection[Any]) -> None:
    put(connection, notice(1))
    lost = claim(connection, LEDGER, "log", 0)
    again = claim(connection, LEDGER, "log")
    assert lost is not None and again is not None  # noqa: PT018
    assert (lost.attempts, again.attempts, again.key) == (1, 2, lost.key)
    assert claim(connection, LEDGER, "log") is None
    mark_failed(connection, lost, "late", None)  # the other has it now
    assert delivery_counts(connection, LEDGER) == {"log": {"pending": 1}}
    mark_delivered(connection, lost)  # but if it did go out, it did
    assert delivery_counts(connection, LEDGER) == {"log": {"delivered": 1}}


def test_a_failed_one_waits_and_one_that_was_given_up_is_tried_again_on_demand(connection: Connection[Any]) -> None:
    put(connection, notice(1), notice(2))
    for error, seconds in (("HTTP 500", 3600.0), ("HTTP 410", None)):
        claimed = claim(connection, LEDGER, "log")
        assert claimed is not None
        mark_failed(connection, claimed, error, seconds)
    assert claim(connection, LEDGER, "log") is None
    assert retry(connection, LEDGER, [10**6]) == retry(connection, "other") == 0
    assert retry(connection, LEDGER) == 1
    claimed = claim(connection, LEDGER, "log")
    assert claimed is not None
    assert (claimed.key, claimed.attempts) == (notice(2).key, 1)


def test_who_was_erased_from_the_vault_is_told_nothing_more(connection: Connection[Any]) -> None:
    remember(connection, LEDGER, names={"V1": "张三", "V2": "李四"})
    put(connection, notice(1), notice(2, "person:V2"), notice(3))
    first = claim(connection, LEDGER, "log")
    assert first is not None
    mark_failed(connection, first, "HTTP 500", None)
    connection.execute("DELETE FROM vault_people WHERE ledger = %s AND person = 'V1'", (LEDGER,))
    assert delivery_counts(connection, LEDGER) == {"log": {"pending": 1, "withdrawn": 2}}
    assert put(connection, notice(1), notice(3), notice(4), notice(5, "person:V2")) == 1
    mark_delivered(connection, first)
    assert retry(connection, LEDGER) == 0
    assert delivery_counts(connection, LEDGER)["log"]["withdrawn"] == 2
    remember(connection, LEDGER, names={"V1": "张三"})
    assert put(connection, notice(1), notice(6)) == 1


def test_what_a_person_muted_is_not_written_for_them(connection: Connection[Any]) -> None:
    connection.execute(
        "INSERT INTO notice_settings (ledger, person, muted) VALUES (%s, 'V1', '{hours-confirmed}')", (LEDGER,)
    )
    muted, other = notice(1), notice(2, kind="hours-reversed")
    shared = (notice(3, "everybody"), notice(4, "person:V2"), notice(5, "staff:V1"))
    assert put(connection, muted, other, *shared) == 4
    assert muted.key not in keys(connection)


@each(
    batches=st.lists(
        st.tuples(st.lists(st.integers(0, 9), max_size=6), st.booleans()),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=25)
def test_whatever_is_put_and_however_often_it_fails_each_key_is_there_once(
    ledgers_url: str, batches: list[tuple[list[int], bool]]
) -> None:
    expected: list[str] = []
    ledger = f"p{abs(hash(str(batches)))}"
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(ledgers_url, autocommit=True))
        connection.execute("DELETE FROM notice_deliveries WHERE ledger = %s", (ledger,))
        connection.execute("DELETE FROM notices WHERE ledger = %s", (ledger,))
        begin(connection, ledger, 0)
        for numbers, fails in batches:
            try:
                with writing(connection, ledger) as outbox:
                    outbox.put([notice(number) for number in numbers], ["log", "webhook"])
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue
            for number in numbers:
                if notice(number).key not in expected:
                    expected.append(notice(number).key)
        found = [one.key for one in reversed(last_notices(connection, ledger, 1000))]
        counts = delivery_counts(connection, ledger)
    assert found == expected
    assert {name: sum(states.values()) for name, states in counts.items()} == (
        {"log": len(expected), "webhook": len(expected)} if expected else {}
    )
