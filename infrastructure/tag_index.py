"""The index of tags, kept behind the journal: an append need not wait until its facts can be found by their tags.

Whoever looks facts up by tags reads those that the index doesn't reach yet one by one, so nothing is ever missed. This
thread keeps them few; where none runs, the database itself indexes what an append leaves beyond 8,192 facts
(docs/decisions/0002-journal-index.md).
"""

import logging
import threading
from typing import Any, Final, Self

import psycopg

from infrastructure.journal import PostgresJournal, reconnect_delays
from infrastructure.tag_filter import TagFilter

PAUSE_SECONDS: Final = 0.01  # facts come together meanwhile: each round has a cost of its own
FACTS_MAX: Final = 2_000  # a round, so that it ends soon
FACTS_FILTERED_MAX: Final = 1_000  # a round: 5 ms of the interpreter, which others wait for

logger = logging.getLogger(__name__)


class TagIndexThread:
    """Indexes the tags of what this process appends to the journal, in a thread and with a connection of its own.

    Where the journal has a filter of tags, it fills that first, a few facts at a time, with what is there. Until that
    is done, whoever asks for facts by their tags asks the database.
    """

    def __init__(self, address: str, journal: PostgresJournal) -> None:
        self._address = address
        self._journal = journal
        self._tags = journal.tags
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tag-index", daemon=True)

    def __enter__(self) -> Self:
        self._journal.appended.set()  # what an earlier process has left
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._journal.appended.set()
        self._thread.join()

    def _run(self) -> None:
        delays = reconnect_delays()
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._address, autocommit=True) as connection:
                    # An index that a crash takes back is written again; no append waits for this one's disk.
                    connection.execute("SET synchronous_commit = off")
                    if self._tags is not None:
                        self._tags.hear_of(_head(connection, self._journal.ledger))
                    while not self._stopping.is_set():
                        self._journal.appended.wait()
                        self._journal.appended.clear()
                        while _index(connection, self._journal.ledger) == FACTS_MAX:
                            pass
                        delays = reconnect_delays()
                        if self._tags is not None and _fill(self._tags, connection, self._journal.ledger):
                            self._journal.appended.set()
                        self._stopping.wait(PAUSE_SECONDS)
            except psycopg.Error as error:
                logger.warning("indexing tags failed and will be tried again: %s", error)
                self._journal.appended.set()
                self._stopping.wait(next(delays))


def _fill(tags: TagFilter, connection: psycopg.Connection[tuple[Any]], ledger: str) -> bool:
    """Take the next facts that are known of into the filter; whether there are more."""
    after, to = tags.head, min(tags.head + FACTS_FILTERED_MAX, tags.head_heard_of)
    if after < to:
        tags.add(after, to, (tag for (tag,) in _tags(connection, ledger, after, to)))
    return tags.head < tags.head_heard_of


def _index(connection: psycopg.Connection[tuple[int]], ledger: str) -> int:
    """Take the ledger's next facts into the index of tags; how many that were."""
    rows = connection.execute("SELECT index_facts(%s, %s)", (ledger, FACTS_MAX), prepare=True).fetchall()
    return rows[0][0]


def _head(connection: psycopg.Connection[tuple[int]], ledger: str) -> int:
    rows = connection.execute("SELECT head FROM ledgers WHERE ledger = %s", (ledger,)).fetchall()
    return rows[0][0] if rows else 0


def _tags(connection: psycopg.Connection[tuple[str]], ledger: str, after: int, to: int) -> list[tuple[str]]:
    return connection.execute(
        "SELECT unnest(tags) FROM facts WHERE ledger = %s AND position > %s AND position <= %s",
        (ledger, after, to),
        prepare=True,
        binary=True,
    ).fetchall()
