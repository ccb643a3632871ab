"""The journal: facts appended in PostgreSQL, numbered 1, 2, 3, … without gaps within each ledger.

`PostgresJournal` is the library's `DCBRecorder`, and the only module that knows the library. Errors are the library's
(`eventsourcing.persistence`): `IntegrityError` means that an append's condition failed, and nothing else;
`OperationalError` a lock not got in time or a connection lost; `DataError` a text that PostgreSQL can't hold.
"""

import logging
import select
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Protocol, Self, TypeVar, cast

import msgspec
import psycopg
from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBQueryItem,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
    DCBSubscription,
)
from eventsourcing.dcb.popo import SimpleDCBReadResponse
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from eventsourcing.postgres import ConnectionPool, PostgresDatastore
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.types.numeric import Int8BinaryLoader

from infrastructure.stopping import Stopping
from infrastructure.tag_filter import TagFilter

CHANNEL = "timebank_facts"  # NOTIFY's channel; its payload is the ledger

_MICROSECONDS_1970_TO_2000 = 946_684_800_000_000  # PostgreSQL counts time from 2000-01-01
_WINDOW = 2_000  # facts read at a time, and the longest tail that is matched without its tags being looked up
_COPY_FACTS_MIN = 500  # from this many facts on, COPY is faster than one statement
_COPY_CHUNK_FACTS = 64
_STREAMED_FACTS = 8_000  # in one query, whose snapshot stays open meanwhile
_RECONNECT_DELAY_SECONDS_MAX = 5.0
_BETWEEN = "FROM facts WHERE ledger = %(ledger)s AND position > %(after)s AND position <= %(upto)s"

_log = logging.getLogger(__name__)

_Cursor = psycopg.Cursor[tuple[Any, ...]]
_Rows = Generator[tuple[Any, ...], None, None]
T = TypeVar("T")


class JournalConnection(psycopg.Connection[DictRow]):
    """Keeps the cursor that facts are read and appended with: making one takes as long as using it."""

    @cached_property
    def facts_cursor(self) -> _Cursor:
        cursor = self.cursor(binary=True, row_factory=tuple_row)
        cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)  # µs since 2000: no datetime made
        cursor.adapters.register_dumper(_Packed, _PackedDumper)
        return cursor


class StoredFact(NamedTuple):
    """One fact as the journal holds it. Times are Unix microseconds."""

    position: int
    recorded_at_microseconds: int
    type: str
    tags: list[str]
    data: bytes


class NewFact(msgspec.Struct, frozen=True, gc=False):
    """One fact to be appended, as `DCBEvent` is, made in less time."""

    type: str
    data: bytes
    tags: Sequence[str]


class NewFacts(Protocol):
    """Facts to be appended all at once; gone through again where others have written meanwhile."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[DCBEvent | NewFact]: ...


class Appended(NamedTuple):
    """Where an append's facts are, and the one time at which they were recorded (Unix microseconds)."""

    first_position: int
    last_position: int
    recorded_at_microseconds: int


def open_datastore(
    connection_string: str,
    *,
    pool_size: int = 2,
    max_overflow: int = 8,
    lock_timeout_seconds: float = 5.0,
    connect_timeout_seconds: float = 5.0,
) -> PostgresDatastore:
    """The library's connection pool over any libpq connection string or URL (sockets, several hosts, TLS, options).

    Close it when done. Connections that died while idle are replaced before use. A session that stops in the middle
    of a transaction is ended after ten seconds, so that it can't hold a ledger's lock for ever.
    """
    options = conninfo_to_dict(connection_string).get("options") or ""
    datastore = PostgresDatastore("", "", "", "", "", idle_in_transaction_session_timeout=10)
    # In place of the library's pool, which knows five settings only and checks a connection by a round trip.
    datastore.pool = ConnectionPool(
        make_conninfo(
            connection_string,
            options=f"{options} -c lock_timeout={round(lock_timeout_seconds * 1000)}"
            r" -c default_transaction_isolation=read\ committed",
        ),
        connection_class=JournalConnection,
        kwargs={"row_factory": dict_row},
        min_size=pool_size,
        max_size=pool_size + max_overflow,
        open=False,
        configure=datastore.after_connect_func(),
        check=_check_open,
        timeout=connect_timeout_seconds,
    )
    return datastore


def _check_open(connection: psycopg.Connection[Any]) -> None:
    """Raises psycopg.OperationalError if the idle connection is closed. No round trip unless the server has spoken."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)


class PostgresJournal(DCBRecorder):
    """The facts of one ledger.

    Every append locks its ledger's row first. So the order of commits is the order of positions, an append that fails
    takes no position, and a reader that has seen position n has seen all before it. Ledgers don't wait for each other.
    """

    def __init__(self, datastore: PostgresDatastore, ledger: str) -> None:
        self.datastore = datastore
        self.ledger = ledger
        self.appended = threading.Event()  # set after each append, for whoever follows within this process
        self.tags: TagFilter | None = None  # of who fills it, so that tags which no fact bears aren't looked up
        self._new_fact_oid = 0

    # Appending

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append all events or none, and return the last one's position. Errors as for `append_facts`."""
        return self.append_facts(events, condition).last_position

    def append_facts(self, events: NewFacts, condition: DCBAppendCondition | None = None) -> Appended:
        """Append all events or none.

        Raises IntegrityError if a fact after `condition.after` matches its query, OperationalError if the ledger stays
        locked for longer than the lock timeout, DataError if a type or tag can't be stored.
        """
        if not events:
            raise ProgrammingError("an append needs one event at least")
        write = self._copy if len(events) >= _COPY_FACTS_MIN else self._insert
        checked = None if condition is None else condition.after or 0
        with self._cursor() as cursor:
            try:
                # Nearly always nobody else has written since the caller looked.
                appended = write(cursor, events, checked)
                if appended is None:
                    with cursor.connection.transaction():
                        self._refuse_if_condition_fails(cursor, condition, self._lock(cursor))
                        appended = write(cursor, events, None)
            except UnicodeEncodeError as error:
                raise DataError(f"a type or tag is not valid Unicode: {error}") from error
        if appended is None:
            raise InternalError(f"ledger {self.ledger} vanished during an append")
        last_position, recorded_at = appended
        first_position = last_position - len(events) + 1
        if self.tags is not None:
            self.tags.add(first_position - 1, last_position, (tag for event in events for tag in event.tags))
        self.appended.set()
        return Appended(first_position, last_position, recorded_at + _MICROSECONDS_1970_TO_2000)

    def _insert(self, cursor: _Cursor, events: NewFacts, checked: int | None) -> tuple[int, int] | None:
        """Append in one round trip, unless the head has moved past `checked`: None then, as from `_copy`."""
        if not self._new_fact_oid:
            cursor.execute("SELECT 'new_fact'::regtype::oid::bigint")
            (self._new_fact_oid,) = cast("tuple[int]", cursor.fetchone())
        cursor.execute(
            "SELECT last_position, last_recorded_at FROM append_facts(%s::text, %s::bigint, %s)",
            (self.ledger, checked, _Packed(_pack_facts(events, self._new_fact_oid))),
            prepare=True,
        )
        return cast("tuple[int, int] | None", cursor.fetchone())

    def _copy(self, cursor: _Cursor, events: NewFacts, checked: int | None) -> tuple[int, int] | None:
        """Append by COPY: some round trips more, but the server writes while the next rows are being packed."""
        with cursor.connection.transaction():
            cursor.execute(
                "SELECT last_position, last_recorded_at FROM take_positions(%s, %s::bigint, %s)",
                (self.ledger, checked, len(events)),
                prepare=True,
            )
            taken = cast("tuple[int, int] | None", cursor.fetchone())
            if taken is not None:
                last_position, recorded_at = taken
                rows = _pack_rows(self.ledger, last_position - len(events) + 1, recorded_at, events)
                columns = "ledger, position, recorded_at, type, tags, data"
                with cursor.copy(f"COPY facts ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
                    for packed in rows:
                        copy.write(packed)
            return taken

    def _lock(self, cursor: _Cursor) -> int:
        """Hold the ledger's lock until the transaction ends; returns its head. Makes the ledger's row if need be."""
        cursor.execute("INSERT INTO ledgers (ledger) VALUES (%s) ON CONFLICT DO NOTHING", (self.ledger,))
        cursor.execute("SELECT head FROM ledgers WHERE ledger = %s FOR NO KEY UPDATE", (self.ledger,))
        (head,) = cast("tuple[int]", cursor.fetchone())
        return head

    def _refuse_if_condition_fails(self, cursor: _Cursor, condition: DCBAppendCondition | None, head: int) -> None:
        if condition is None:
            return
        after = condition.after or 0
        for fact in self.matching(_Matcher(condition.fail_if_events_match), after, head, cursor):
            raise IntegrityError(f"position {fact.position} ({fact.type}) matches the condition after {after}")

    # Reading

    def read(
        self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None
    ) -> DCBReadResponse:
        """The matching facts in order, read as they are asked for. With a limit, `head` is the last one's position."""
        head = self.head()
        facts = self.matching(_Matcher(query or DCBQuery()), after or 0, head)
        if limit is None:
            return SimpleDCBReadResponse(map(_sequenced, facts), head or None)
        events = [_sequenced(fact) for fact in islice(facts, limit)]
        return SimpleDCBReadResponse(iter(events), events[-1].position if events else None)

    def head(self) -> int:
        """The last position; 0 if nothing has been recorded."""
        rows = self._rows("SELECT head FROM ledgers WHERE ledger = %s", (self.ledger,))
        return cast("int", rows[0][0]) if rows else 0

    def position_at(self, time: datetime) -> int:
        """The last position recorded at or before the time, which must name its zone; 0 if there is none."""
        if time.tzinfo is None:
            raise ProgrammingError("position_at needs a time with a time zone")
        ((position,),) = self._rows("SELECT position_at(%s, %s)", (self.ledger, time))
        return cast("int", position)

    def read_boundary(
        self, tags: Sequence[str], head: int, recent_tags: Sequence[str] = (), recent_after: int = 0
    ) -> tuple[list[StoredFact], list[StoredFact]]:
        """In one round trip: the facts up to `head` that have one of the tags at least, and all facts after it.

        Both in order, each fact once. Facts with one of `recent_tags` count from the position after `recent_after` on.
        """
        columns = "position, recorded_at, type, tags, data"
        cold = f"SELECT {columns} FROM facts_tagged(%(ledger)s, %(tags)s, 0, %(head)s)"
        if recent_tags:
            recent = f"SELECT {columns} FROM facts_tagged(%(ledger)s, %(recent)s, %(after)s, %(head)s)"
            cold = f"(SELECT * FROM ({cold} UNION {recent}) AS found ORDER BY position)"
        facts = self._facts(
            f"{cold} UNION ALL SELECT {columns} FROM facts_between(%(ledger)s, %(head)s, {2**63 - 1}, NULL)",
            {
                "ledger": self.ledger,
                "tags": _Packed(_pack_texts(tags)),
                "head": head,
                "recent": _Packed(_pack_texts(recent_tags)),
                "after": recent_after,
            },
        )
        tail_length = next((n for n, fact in enumerate(reversed(facts)) if fact.position <= head), len(facts))
        cold_length = len(facts) - tail_length
        tail = facts[cold_length:]
        if self.tags is not None and tail:
            self.tags.add(head, tail[-1].position, (tag for fact in tail for tag in fact.tags))
        return facts[:cold_length], tail

    def scan(
        self,
        after: int = 0,
        to: int | None = None,
        types: Sequence[str] | None = None,
        batch: int = 2_000,
    ) -> Iterator[list[StoredFact]]:
        """Facts with after < position <= to (default: the head now), in lists of at most `batch`.

        Facts never change and positions have no gaps, so all lists together are one consistent state though each is
        read by itself: no snapshot stays open that would keep the ledger's row from being cleaned up. Lists may be
        shorter where `types` leaves facts out. Plain rows in the binary form are read 2.3 times as fast as COPY, whose
        rows have to be taken apart here.
        """
        only = "" if types is None else " AND type = ANY (%(types)s)"
        for window in self._windows(after, to, batch):
            if facts := self._facts(
                f"SELECT position, recorded_at, type, tags, data {_BETWEEN}{only} ORDER BY position",
                {"types": list(types or ()), **window},
            ):
                yield facts

    def scan_data(
        self, make: Callable[[int, int, str, bytes], T], after: int = 0, to: int | None = None, batch: int = 500
    ) -> Iterator[Iterator[T]]:
        """As `scan`, what is made of each fact's position, recorded-at (Unix microseconds), type and data.

        Without tags, and without a `StoredFact` for each, it takes half the time. Each is made when it is asked for:
        who lets go of one before the next takes a fifth less time again, in memory that the processor's cache still
        holds. Many batches are one query: the server looks up and sends what comes next while the caller works, which a
        thread could not have it do, since the caller seldom lets go of the interpreter.
        """
        statement = f"SELECT position, recorded_at, type, data {_BETWEEN} ORDER BY position"
        for window in self._windows(after, to, _STREAMED_FACTS):
            with self._cursor() as cursor, closing(cast("_Rows", cursor.stream(statement, window, size=batch))) as rows:
                # Taken here and not by the caller, so that what fails is told as any failure of the journal.
                while some := list(islice(rows, batch)):
                    yield (
                        make(position, recorded_at + _MICROSECONDS_1970_TO_2000, type_, data)
                        for position, recorded_at, type_, data in some
                    )

    def at(self, positions: Sequence[int]) -> list[StoredFact]:
        """The facts at some positions, in order."""
        return self._facts(
            "SELECT position, recorded_at, type, tags, data FROM facts"
            " WHERE ledger = %(ledger)s AND position = ANY (%(positions)s) ORDER BY position",
            {"ledger": self.ledger, "positions": list(positions)},
        )

    def _windows(self, after: int, to: int | None, batch: int) -> Iterator[dict[str, object]]:
        upto = self.head() if to is None else min(to, self.head())
        for start in range(after, upto, batch):
            yield {"ledger": self.ledger, "after": start, "upto": min(start + batch, upto)}

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> "JournalSubscription":
        """All matching facts after the position, then new ones as they are recorded. Use it as a context manager."""
        return JournalSubscription(self, query, after)

    def matching(self, matcher: "_Matcher", after: int, to: int, cursor: _Cursor | None = None) -> Iterator[StoredFact]:
        """The facts with after < position <= to that the matcher accepts, in order."""
        if matcher.tags is not None and to - after > _WINDOW:
            windows: Iterable[list[StoredFact]] = [
                self._facts(
                    "SELECT position, recorded_at, type, tags, data FROM facts_tagged(%s, %s, %s, %s)",
                    (self.ledger, _Packed(_pack_texts(matcher.tags)), after, to),
                    cursor,
                )
            ]
        else:
            windows = (
                self._facts(
                    "SELECT position, recorded_at, type, tags, data FROM facts_between(%s, %s, %s, %s)",
                    (self.ledger, start, min(start + _WINDOW, to), matcher.types),
                    cursor,
                )
                for start in range(after, to, _WINDOW)
            )
        return (fact for facts in windows for fact in facts if matcher.accepts(fact.type, fact.tags))

    def _facts(
        self, statement: str, parameters: Sequence[object] | Mapping[str, object], cursor: _Cursor | None = None
    ) -> list[StoredFact]:
        return [
            StoredFact(position, recorded_at + _MICROSECONDS_1970_TO_2000, type_, tags, data)
            for position, recorded_at, type_, tags, data in self._rows(statement, parameters, cursor)
        ]

    def _rows(
        self, statement: str, parameters: Sequence[object] | Mapping[str, object], cursor: _Cursor | None = None
    ) -> list[tuple[Any, ...]]:
        if cursor is not None:
            return cursor.execute(statement, parameters, prepare=True).fetchall()
        with self._cursor() as cursor:
            return cursor.execute(statement, parameters, prepare=True).fetchall()

    @contextmanager
    def _cursor(self) -> Iterator[_Cursor]:
        try:
            with self.datastore.get_connection() as connection:
                yield cast("JournalConnection", connection).facts_cursor
        except IntegrityError as error:
            if isinstance(error.__cause__, psycopg.IntegrityError):
                raise InternalError(str(error)) from error  # a constraint, not the caller's condition
            raise


class JournalSubscription(DCBSubscription[PostgresJournal]):
    """Facts as they are recorded, each once and in order, however often connections drop.

    A thread listens and does nothing else, so that a slow consumer never holds up PostgreSQL's notification queue; the
    consumer's own thread reads. `stop()` may be called from any thread and ends a waiting `next()`.
    """

    def __init__(self, recorder: PostgresJournal, query: DCBQuery | None = None, after: int | None = None) -> None:
        super().__init__(recorder, query, after)
        self._matcher = _Matcher(query or DCBQuery())
        self._facts: Iterator[StoredFact] = iter(())
        self._upto = self._last_position  # how far `_facts` reaches
        self._notified = threading.Event()
        self._stopped = Stopping()
        self._listener = threading.Thread(target=self._listen, name=f"listen-{recorder.ledger}")

    def __enter__(self) -> Self:
        super().__enter__()
        self._stopped.open()
        self._listener.start()
        return self

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        self._listener.join()
        self._stopped.close()

    def stop(self) -> None:
        """End the iteration, also one that is waiting in another thread."""
        super().stop()
        if self._has_been_entered and not self._stopped.is_set():
            self._stopped.set()
            self._notified.set()

    def __next__(self) -> DCBSequencedEvent:
        if not self._has_been_entered:
            raise ProgrammingError("a subscription is to be used as a context manager")
        delays = reconnect_delays()
        while not self._stopped.is_set():
            try:
                for fact in self._facts:
                    self._last_position = fact.position
                    return _sequenced(fact)
                self._last_position = self._upto
                self._notified.clear()
                self._upto = self._recorder.head()
                if self._upto > self._last_position:
                    self._facts = self._recorder.matching(self._matcher, self._last_position, self._upto)
                else:
                    self._notified.wait()
            except (OperationalError, InterfaceError) as error:
                _log.warning("reading ledger %s failed, reading again: %s", self._recorder.ledger, error)
                self._facts, self._upto = iter(()), self._last_position
                self._stopped.wait(next(delays))
        raise StopIteration

    def _listen(self) -> None:
        conninfo = cast("str", self._recorder.datastore.pool.conninfo)
        delays = reconnect_delays()
        while not self._stopped.is_set():
            try:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    delays = reconnect_delays()
                    self._notified.set()  # something may have been recorded while nobody listened
                    self._wait_for_notifications(connection)
            except psycopg.Error as error:
                _log.warning("listening to ledger %s failed, connecting again: %s", self._recorder.ledger, error)
                self._stopped.wait(next(delays))

    def _wait_for_notifications(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stopped.is_set():
            if self._recorder.ledger in self._stopped.wait_for_news(connection):
                self._notified.set()


def reconnect_delays() -> Iterator[float]:
    """Seconds to wait before each further attempt."""
    delay = 0.05
    while True:
        yield delay
        delay = min(delay * 2, _RECONNECT_DELAY_SECONDS_MAX)


class _Matcher:
    """Says which facts a query means. A query may have thousands of items; a fact is compared with few of them.

    An item with tags is found by its first one, so callers put the rarest first. `tags` and `types` are what every
    accepted fact has one of, for a first choice in SQL; None where there is no such list.
    """

    def __init__(self, query: DCBQuery) -> None:
        items = query.items or [DCBQueryItem()]
        self.types = sorted({type_ for item in items for type_ in item.types}) if all(i.types for i in items) else None
        self._by_tag: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = defaultdict(list)
        self._untagged: list[frozenset[str]] = []
        for item in items:
            types = frozenset(item.types)
            if item.tags:
                self._by_tag[item.tags[0]].append((types, frozenset(item.tags)))
            else:
                self._untagged.append(types)
        self.tags = None if self._untagged else list(self._by_tag)

    def accepts(self, type_: str, tags: list[str]) -> bool:
        if any(not types or type_ in types for types in self._untagged):
            return True
        return any(
            (not types or type_ in types) and required.issubset(tags)
            for tag in tags
            for types, required in self._by_tag.get(tag, ())
        )


def _sequenced(fact: StoredFact) -> DCBSequencedEvent:
    return DCBSequencedEvent(DCBEvent(type=fact.type, data=fact.data, tags=fact.tags), fact.position)


# PostgreSQL's binary forms, written and read here because psycopg takes several times as long for arrays of texts.

_TEXT, _TEXT_ARRAY, _BYTEA = 25, 1009, 17  # type oids, the same in every PostgreSQL
_ARRAY = struct.Struct("!iiiii")  # dimensions, has nulls, element type, length, lower bound
_COLUMN = struct.Struct("!ii")  # type, length
_ROW_START = struct.Struct("!iii")  # columns, then the first column's type and length
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_COPY_ROW = struct.Struct("!iqiqi")  # length and position, length and time, length of the type


class _Packed(NamedTuple):
    """A parameter that is in PostgreSQL's binary form already."""

    binary: bytes


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Packed) -> Buffer:
        return obj.binary


def _pack_texts(texts: Sequence[str]) -> bytes:
    if not texts:
        return _ARRAY.pack(0, 0, _TEXT, 0, 0)[:12]
    parts = [_ARRAY.pack(1, 0, _TEXT, len(texts), 1)]
    for text in texts:
        encoded = text.encode()
        parts += len(encoded).to_bytes(4, "big"), encoded
    return b"".join(parts)


def _pack_facts(events: NewFacts, new_fact_oid: int) -> bytes:
    """An array of new_fact rows."""
    parts = [_ARRAY.pack(1, 0, new_fact_oid, len(events), 1)]
    for event in events:
        type_ = event.type.encode()
        tags = _pack_texts(event.tags)
        data = event.data
        row_length = 28 + len(type_) + len(tags) + len(data)
        parts += (
            row_length.to_bytes(4, "big"),
            _ROW_START.pack(3, _TEXT, len(type_)),
            type_,
            _COLUMN.pack(_TEXT_ARRAY, len(tags)),
            tags,
            _COLUMN.pack(_BYTEA, len(data)),
            data,
        )
    return b"".join(parts)


def _pack_rows(ledger: str, position: int, recorded_at: int, events: NewFacts) -> Iterator[bytes]:
    """A binary COPY into facts, in chunks of some rows; the first row gets the position."""
    packed_ledger = ledger.encode()
    ledger_start = struct.pack("!hi", 6, len(packed_ledger)) + packed_ledger
    parts = [_COPY_HEADER]
    for n, event in enumerate(events):
        type_ = event.type.encode()
        tags = _pack_texts(event.tags)
        parts += (
            ledger_start,
            _COPY_ROW.pack(8, position + n, 8, recorded_at, len(type_)),
            type_,
            len(tags).to_bytes(4, "big"),
            tags,
            len(event.data).to_bytes(4, "big"),
            event.data,
        )
        if n % _COPY_CHUNK_FACTS == 0:
            yield b"".join(parts)
            parts.clear()
    yield b"".join(parts) + _COPY_END
