"""A thread that waits for the database's news: woken by them, and by the word that it is to end."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from infrastructure.journal import CHANNEL
from infrastructure.stopping import Stopping
from tests.api.service import DEADLINE_SECONDS

LONG_SECONDS = 100 * DEADLINE_SECONDS

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    stopping = Stopping()
    stopping.open()
    yield stopping
    stopping.close()


@pytest.fixture
def listening(ledgers_url: str) -> Iterator[Connection]:
    with psycopg.connect(ledgers_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}".encode())
        yield connection


def waiting(stopping: Stopping, connection: Connection) -> threading.Thread:
    thread = threading.Thread(target=stopping.wait_for_news, args=(connection, LONG_SECONDS), daemon=True)
    thread.start()
    return thread


def returned(thread: threading.Thread) -> bool:
    thread.join(DEADLINE_SECONDS)
    return not thread.is_alive()


def test_a_wait_ends_when_it_is_to_stop(stopping: Stopping, listening: Connection) -> None:
    thread = waiting(stopping, listening)
    stopping.set()
    assert returned(thread)
    assert stopping.is_set()


def test_a_wait_that_begins_after_it_was_to_stop_ends_too(stopping: Stopping, listening: Connection) -> None:
    stopping.set()
    assert returned(waiting(stopping, listening))


def test_a_wait_ends_with_news(stopping: Stopping, listening: Connection, ledgers_url: str) -> None:
    thread = waiting(stopping, listening)
    with psycopg.connect(ledgers_url, autocommit=True) as other:
        other.execute(f"NOTIFY {CHANNEL}".encode())
    assert returned(thread)
    assert not stopping.is_set()


def test_news_that_came_while_something_else_was_asked_are_not_waited_for_again(
    stopping: Stopping, listening: Connection, ledgers_url: str
) -> None:
    with psycopg.connect(ledgers_url, autocommit=True) as other:
        other.execute(f"NOTIFY {CHANNEL}".encode())
    listening.execute("SELECT 1")
    assert returned(waiting(stopping, listening))


def test_a_wait_ends_with_its_time(stopping: Stopping, listening: Connection) -> None:
    stopping.wait_for_news(listening, 0)
    assert not stopping.is_set()


def test_a_connection_that_is_lost_is_told(stopping: Stopping, listening: Connection, ledgers_url: str) -> None:
    with psycopg.connect(ledgers_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (listening.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        [stopping.wait_for_news(listening, LONG_SECONDS) for _ in range(3)]
