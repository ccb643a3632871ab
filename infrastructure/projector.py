"""The projector: folds the journal into the projections' tables, in batches, rows and checkpoint in one transaction.

Every process may run one. They take turns on an advisory lock, and each starts from the checkpoint that it finds, so
any number of them folds every fact exactly once. A rebuild folds into a schema of its own, beside the one that is
being read, and then takes its place.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import psycopg
from psycopg import Connection, Cursor, sql

from domain.fact import Fact, Recorded

logger = logging.getLogger(__name__)

BATCH_FACTS: Final = 5_000
REBUILD_BATCH_FACTS: Final = 20_000
RECONNECT_SECONDS_MAX: Final = 5.0
QUIET_SECONDS: Final = 0.1
"""How long the projector lets facts gather while they keep coming, so that a batch is worth its transaction."""


Write = Callable[[Cursor[Any]], None]


class Foldable(Protocol):
    """A projection as the projector needs it; see `projections.projection.Projection`."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def tables(self) -> str: ...
    @property
    def indexes(self) -> str: ...
    @property
    def fact_types(self) -> tuple[type[Fact], ...]: ...
    def load(self, cursor: Cursor[Any]) -> None: ...
    def fold(self, recorded: Recorded[Any]) -> None: ...
    def take(self) -> Write: ...


Scan = Callable[[int, int], Iterator[list[Recorded[Any]]]]
"""Facts after a position, in batches of at most so many."""


class RebuildRunning(Exception):
    """Another process is rebuilding the same projections."""

    def __init__(self) -> None:
        super().__init__(
            "另一个进程正在重建投影，请等它完成。 / "
            "Another process is rebuilding the projections; wait until it is done."
        )


def schema_of(ledger: str) -> str:
    """The schema of a ledger's projections. Ledger names hold no underscore, so two never meet."""
    return "projection_" + ledger.replace("-", "_")


def projections_version(projections: Sequence[Foldable]) -> str:
    """What a checkpoint of these projections is marked with."""
    return " ".join(f"{projection.name}.{projection.version}" for projection in projections)


class Projector:
    """Folds one ledger's facts with one set of projections, over a connection of its own."""

    def __init__(
        self, address: str, ledger: str, channel: str, scan: Scan, make: Callable[[], Sequence[Foldable]]
    ) -> None:
        self._address = address
        self._schema = schema_of(ledger)
        self._fresh = self._schema + "_fresh"
        self._channel = channel
        self._scan = scan
        self._make = make
        self._projections = make()
        self._position: int | None = None
        self._connection: Connection[Any] | None = None
        self._by_type = _by_type(self._projections)

    @property
    def version(self) -> str:
        """Changes whenever a projection's shape or meaning does."""
        return projections_version(self._projections)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._position = None

    def prepare(self, progress: Callable[[int], None] | None = None) -> None:
        """Make the tables, or fold them anew where they are of another version; wait where another process does."""
        while not self._current():
            try:
                self.rebuild(progress)
            except RebuildRunning:
                with self._connect().transaction():
                    self._connect().execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s))", (self._fresh,))

    def _current(self) -> bool:
        with self._connect().transaction(), self._connect().cursor() as cursor:
            current = self._checkpoint(cursor)
        return current is not None and current[1] == self.version

    def catch_up(self, told: Callable[[int], None] | None = None) -> int:
        """Fold what the journal holds beyond the checkpoint; returns the position reached."""
        while True:
            before, after = self._fold_batch()
            if told is not None:
                told(after)
            if after == before:
                return after

    def rebuild(self, progress: Callable[[int], None] | None = None) -> int:
        """Fold everything again and put it in the place of what is there, in one transaction, while that is read.

        Returns the position reached. Raises: RebuildRunning.
        """
        projections = self._make()
        by_type = _by_type(projections)
        connection = self._connect()
        fresh = self._fresh
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", (fresh,))
            row = cursor.fetchone()
            if row is None or not row[0]:
                raise RebuildRunning
            cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE").format(sql.Identifier(fresh)))
            cursor.execute(sql.SQL("CREATE SCHEMA {0}").format(sql.Identifier(fresh)))
            cursor.execute(sql.SQL("SET LOCAL search_path TO {0}, public").format(sql.Identifier(fresh)))
            cursor.execute("CREATE TABLE checkpoint (position bigint NOT NULL, version text NOT NULL)")
            for projection in projections:
                cursor.execute(projection.tables.encode())
                projection.load(cursor)
            position = self._fold_all(cursor, 0, projections, by_type, progress)
            for projection in projections:
                if projection.indexes:
                    cursor.execute(projection.indexes.encode())
            # From here on the live projector waits, for as long as the last few facts take.
            self._lock(cursor)
            position = self._fold_all(cursor, position, projections, by_type, progress)
            cursor.execute("INSERT INTO checkpoint VALUES (%s, %s)", (position, self.version))
            self._lock_tables(cursor)
            cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE").format(sql.Identifier(self._schema)))
            cursor.execute(
                sql.SQL("ALTER SCHEMA {0} RENAME TO {1}").format(sql.Identifier(fresh), sql.Identifier(self._schema))
            )
        self._position = None
        return position

    def _fold_all(
        self,
        cursor: Cursor[Any],
        position: int,
        projections: Sequence[Foldable],
        by_type: dict[type, list[Foldable]],
        progress: Callable[[int], None] | None,
    ) -> int:
        with _Writing(cursor) as writing:
            for batch in self._scan(position, REBUILD_BATCH_FACTS):
                _fold(batch, by_type)
                writing.hand([projection.take() for projection in projections])
                position = batch[-1].position
                if progress is not None:
                    progress(position)
        return position

    def _fold_batch(self) -> tuple[int, int]:
        """One batch in one transaction: the checkpoint before and after it."""
        connection = self._connect()
        try:
            with connection.transaction(), connection.cursor() as cursor:
                # What is lost with a crash is folded again, so nobody has to wait for the disk here.
                cursor.execute("SET LOCAL synchronous_commit TO off")
                self._lock(cursor)
                current = self._checkpoint(cursor)
                if current is None or current[1] != self.version:
                    raise psycopg.errors.UndefinedTable("the projections are of another version")
                before = current[0]
                if before != self._position:
                    for projection in self._projections:
                        projection.load(cursor)
                after = before
                for batch in self._scan(before, BATCH_FACTS):
                    _fold(batch, self._by_type)
                    after = batch[-1].position
                    break
                if after != before:
                    for projection in self._projections:
                        projection.take()(cursor)
                    cursor.execute("UPDATE checkpoint SET position = %s", (after,))
        except BaseException:
            self._position = None
            raise
        self._position = after
        return before, after

    def _lock(self, cursor: Cursor[Any]) -> None:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))

    def _lock_tables(self, cursor: Cursor[Any]) -> None:
        """Wait until nobody reads the tables any more, and keep readers out until they are swapped.

        In the order in which they were made, checkpoint first, as readers of several take them: in another order, each
        could wait for the other.
        """
        cursor.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind = 'r' ORDER BY c.oid",
            (self._schema,),
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())

    def _checkpoint(self, cursor: Cursor[Any]) -> tuple[int, str] | None:
        cursor.execute("SELECT to_regclass(%s)", (f"{self._schema}.checkpoint",))
        row = cursor.fetchone()
        if row is None or row[0] is None:
            return None
        cursor.execute("SELECT position, version FROM checkpoint")
        found: tuple[int, str] | None = cursor.fetchone()
        return found

    def _connect(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            connection = psycopg.connect(self._address, autocommit=True)
            connection.execute(sql.SQL("SET search_path TO {0}, public").format(sql.Identifier(self._schema)))
            connection.execute(sql.SQL("LISTEN {0}").format(sql.Identifier(self._channel)))
            self._connection = connection
            self._position = None
        return self._connection

    def wait_for_news(self, timeout_seconds: float) -> None:
        """Return when something was appended to any ledger, or after the time."""
        for _ in self._connect().notifies(timeout=timeout_seconds, stop_after=1):
            pass


class _Writing:
    """Writes batches in a thread, so that the next one is folded while the database takes in the last."""

    def __init__(self, cursor: Cursor[Any]) -> None:
        self._cursor = cursor
        self._batches: queue.Queue[Sequence[Write] | None] = queue.Queue(maxsize=2)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="projection-writer", daemon=True)

    def __enter__(self) -> "_Writing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until everything is written. Raises: what the writing raised."""
        self._batches.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def hand(self, batch: Sequence[Write]) -> None:
        """Raises: what writing an earlier batch raised."""
        if self._failure is not None:
            raise self._failure
        self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            if self._failure is None:
                try:
                    for write in batch:
                        write(self._cursor)
                except BaseException as error:  # noqa: BLE001 - raised where the batches come from
                    self._failure = error


class ProjectorThread:
    """A projector that follows the journal in a thread of its own, and reconnects when its connection drops.

    ``told`` is called in that thread with every position that the tables have reached.
    """

    def __init__(self, projector: Projector, told: Callable[[int], None]) -> None:
        self._projector = projector
        self._told = told
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def __enter__(self) -> "ProjectorThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.1
        while not self._stopping.is_set():
            try:
                self._projector.catch_up(self._told)
                pause = 0.1
                self._stopping.wait(QUIET_SECONDS)
                self._projector.wait_for_news(0.5)
            except psycopg.errors.UndefinedTable:
                logger.warning("the projections are of another version; folding them anew")
                self._recover()
            except Exception as error:  # noqa: BLE001 - whatever it is: readers wait for this thread
                logger.warning("the projector failed and will try again: %r", error)
                self._projector.close()
                self._stopping.wait(pause)
                pause = min(RECONNECT_SECONDS_MAX, pause * 2)
        self._projector.close()

    def _recover(self) -> None:
        try:
            self._projector.prepare()
        except Exception as error:  # noqa: BLE001 - likewise
            logger.warning("the projections could not be folded anew yet: %r", error)
            self._stopping.wait(1.0)


def _by_type(projections: Sequence[Foldable]) -> dict[type, list[Foldable]]:
    by_type: dict[type, list[Foldable]] = {}
    for projection in projections:
        for fact_type in projection.fact_types:
            by_type.setdefault(fact_type, []).append(projection)
    return by_type


def _fold(batch: Sequence[Recorded[Any]], by_type: dict[type, list[Foldable]]) -> None:
    for recorded in batch:
        for projection in by_type.get(type(recorded.envelope.fact), ()):
            projection.fold(recorded)
