"""The projector: folds the journal into the projections' tables, in batches, rows and checkpoint in one transaction.

Every process may run one. They take turns on an advisory lock, and each starts from the checkpoint that it finds, so
any number of them folds every fact exactly once. A rebuild folds into a schema of its own, beside the one that is
being read, and then takes its place.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import psycopg
from psycopg import Connection, Cursor, sql

from domain.fact import Fact, Recorded
from infrastructure.stopping import Stopping

logger = logging.getLogger(__name__)

BATCH_FACTS: Final = 5_000
REBUILD_BATCH_FACTS: Final = 20_000
SCAN_FACTS_MAX: Final = 500
"""How many facts a rebuild reads at a time: no more than the processor's cache holds."""
RECONNECT_SECONDS_MAX: Final = 5.0
QUIET_SECONDS: Final = 0.1
"""How long the projector lets facts gather while they keep coming, so that a batch is worth its transaction."""
ROWS_NAMED_MAX: Final = 5
"""How many differing rows of one table are named; all are counted."""
SCRATCH: Final = "pg_temp"
"""Where the projections are folded anew to be compared: nobody else sees it, and it ends with the transaction."""


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
    def take(self, *, more: bool = False) -> Write: ...


Scan = Callable[[int, int | None, int], Iterator[Iterable[Recorded[Any]]]]
"""Facts after a position, up to another (None: the head), in batches of at most so many."""


class RebuildRunning(Exception):
    """Another process is rebuilding the same projections, or comparing them with the journal."""

    def __init__(self) -> None:
        super().__init__(
            "另一个进程正在重建或核对汇总表，请等它完成。 / "
            "Another process is rebuilding the projections or comparing them; wait until it is done."
        )


class ProjectionsAreNewer(Exception):
    """The tables were folded by a newer version of the program, which this one must not overwrite."""

    def __init__(self, found: str, ours: str) -> None:
        self.found, self.ours = found, ours
        super().__init__(
            f"汇总表由更新版本的程序写成（{found}；本程序为 {ours}）。请改用该版本；若确要退回本版本，先停止其他程序，"
            "再运行 timebank rebuild。 / "
            f"The projections were folded by a newer version of the program ({found}; this one has {ours}). Use that "
            "version; to go back to this one for good, stop the others and run timebank rebuild."
        )


class ProjectionsDamaged(Exception):
    """The tables aren't what the program left: facts would be folded twice, or a table or a column is missing."""

    def __init__(self, reason: object) -> None:
        reason = " ".join(str(reason).split())
        super().__init__(
            f"汇总表或其检查点被改动过，无法继续汇总，请运行 timebank rebuild 重建（{reason}）。 / "
            f"The projections or their checkpoint were changed by hand; run timebank rebuild ({reason})."
        )


class Checkpoint(NamedTuple):
    """Up to where the tables are folded, by which version; ``table`` changes whenever a rebuild swaps the tables."""

    position: int
    version: str
    table: int


class RowDifference(NamedTuple):
    """Rows of one table that aren't the same folded anew: one row by its key, or the table's count of them."""

    what: str
    folded_anew: object
    found: object


class Comparison(NamedTuple):
    """The tables as of one moment, beside the same folded anew. The cursor reads what the tables held then."""

    cursor: Cursor[Any]
    checkpoint: int
    position: int
    differences: list[RowDifference]


def schema_of(ledger: str) -> str:
    """The schema of a ledger's projections. Ledger names hold no underscore, so two never meet."""
    return "projection_" + ledger.replace("-", "_")


def projections_version(projections: Sequence[Foldable]) -> str:
    """What a checkpoint of these projections is marked with."""
    return " ".join(f"{projection.name}.{projection.version}" for projection in projections)


def is_newer(found: str, ours: str) -> bool:
    """Whether a checkpoint's version is of a newer program: any projection of it is, or it has further ones.

    So whoever removes a projection raises the version of another one.
    """
    theirs, own = _versions(found), _versions(ours)
    return (theirs.keys() > own.keys() and all(theirs[name] == own[name] for name in own)) or any(
        version > own.get(name, version) for name, version in theirs.items()
    )


def _versions(text: str) -> dict[str, int]:
    parts = (part.rpartition(".") for part in text.split())
    return {name: int(version) for name, _, version in parts if version.isdecimal()}


class Projector:
    """Folds one ledger's facts with one set of projections, over a connection of its own."""

    def __init__(
        self, address: str, ledger: str, channel: str, scan: Scan, make: Callable[[], Sequence[Foldable]]
    ) -> None:
        self._address = address
        self._schema = schema_of(ledger)
        self._fresh = self._schema + "_fresh"
        self._retired = self._schema + "_retired"
        self._channel = channel
        self._scan = scan
        self._make = make
        self._projections = make()
        self._held: tuple[int, int] | None = None
        """The tables and the position that the projections' memory is of."""
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
        self._held = None

    def prepare(self, progress: Callable[[int], None] | None = None) -> None:
        """Make the tables, or fold them anew where they are of an older version; wait where another process does.

        Raises: ProjectionsAreNewer.
        """
        while not self._current():
            try:
                self.rebuild(progress)
            except RebuildRunning:
                with self._connect().transaction():
                    self._connect().execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._fresh,))

    def _current(self) -> bool:
        with self._connect().transaction(), self._connect().cursor() as cursor:
            current = self._checkpoint(cursor)
        return current is not None and self._is_ours(current)

    def _is_ours(self, checkpoint: Checkpoint) -> bool:
        """Raises: ProjectionsAreNewer."""
        if is_newer(checkpoint.version, self.version):
            raise ProjectionsAreNewer(checkpoint.version, self.version)
        return checkpoint.version == self.version

    def catch_up(self, told: Callable[[int], None] | None = None) -> int:
        """Fold what the journal holds beyond the checkpoint; returns the position reached.

        Raises: ProjectionsAreNewer, ProjectionsDamaged.
        """
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
        with self._connect().transaction(), self._connect().cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", (self._fresh,))
            if not cursor.fetchall()[0][0]:
                raise RebuildRunning
            fresh, current, retired = map(sql.Identifier, (self._fresh, self._schema, self._retired))
            cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {0}, {1} CASCADE").format(fresh, retired))
            cursor.execute(sql.SQL("CREATE SCHEMA {0}").format(fresh))
            columns = sql.SQL("(position bigint NOT NULL, version text NOT NULL)")
            cursor.execute(sql.SQL("CREATE TABLE {0}.checkpoint {1}").format(fresh, columns))
            projections = self._make()
            self._make_tables(cursor, self._fresh, projections)
            position = self._fold_all(cursor, 0, None, projections, progress)
            for projection in projections:
                if projection.indexes:
                    cursor.execute(projection.indexes.encode())
            # From here on the live projector waits, for as long as the last few facts take.
            self._lock(cursor)
            position = self._fold_all(cursor, position, None, projections, progress)
            cursor.execute("INSERT INTO checkpoint VALUES (%s, %s)", (position, self.version))
            self._lock_tables(cursor)
            cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", (self._schema,))
            if cursor.fetchall()[0][0]:
                cursor.execute(sql.SQL("ALTER SCHEMA {0} RENAME TO {1}").format(current, retired))
            cursor.execute(sql.SQL("ALTER SCHEMA {0} RENAME TO {1}").format(fresh, current))
        self._held = None
        # Dropped in the swap itself, the old tables would be missed by whoever looks one up just as it is committed.
        with self._connect().transaction(), self._connect().cursor() as cursor:
            cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE").format(retired))
        return position

    @contextlib.contextmanager
    def compared(self, progress: Callable[[int], None] | None = None) -> Iterator[Comparison]:
        """Fold everything again beside what is there, and compare all rows, as of one moment; nothing is kept.

        The tables are read and folded on meanwhile; only a rebuild has to wait. Raises: RebuildRunning,
        ProjectionsDamaged.
        """
        try:
            with self._connect().transaction(force_rollback=True), self._connect().cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                # Before anything that takes the snapshot, which would see no row of tables swapped in after it.
                cursor.execute("LOCK TABLE checkpoint IN ACCESS SHARE MODE")
                cursor.execute("SELECT pg_try_advisory_xact_lock_shared(hashtext(%s))", (self._fresh,))
                if not cursor.fetchall()[0][0]:
                    raise RebuildRunning
                cursor.execute("SELECT position FROM checkpoint")
                ((checkpoint,),) = cursor.fetchall()
                projections = self._make()
                tables = self._make_tables(cursor, SCRATCH, projections)
                position = self._fold_all(cursor, 0, checkpoint, projections, progress)
                # Named last, as it would else be looked in first.
                path = sql.SQL("SET LOCAL search_path TO {0}, public, {1}")
                cursor.execute(path.format(sql.Identifier(self._schema), sql.Identifier(SCRATCH)))
                found = [row for table in tables for row in _row_differences(cursor, self._schema, table)]
                yield Comparison(cursor, checkpoint, position, found)
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise ProjectionsDamaged(error) from error

    def _make_tables(self, cursor: Cursor[Any], schema: str, projections: Sequence[Foldable]) -> list[str]:
        """Empty tables in a schema, which unqualified names mean until the transaction ends; returns their names."""
        before = _tables(cursor, schema)
        cursor.execute(sql.SQL("SET LOCAL search_path TO {0}, public").format(sql.Identifier(schema)))
        for projection in projections:
            cursor.execute(projection.tables.encode())
            projection.load(cursor)
        return [table for table in _tables(cursor, schema) if table not in before]

    def _fold_all(
        self,
        cursor: Cursor[Any],
        position: int,
        to: int | None,
        projections: Sequence[Foldable],
        progress: Callable[[int], None] | None,
    ) -> int:
        """Fold what is after a position, up to another or to the head; returns the position reached."""
        by_type = _by_type(projections)
        handed = position
        with _Writing(cursor) as writing:
            for batch in self._scan(position, to, min(SCAN_FACTS_MAX, REBUILD_BATCH_FACTS)):
                position = _fold(batch, by_type, position)
                if position - handed >= REBUILD_BATCH_FACTS:
                    writing.hand([projection.take(more=True) for projection in projections])
                    handed = position
                if progress is not None:
                    progress(position)
            writing.hand([projection.take() for projection in projections])
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
                if current is None or not self._is_ours(current):
                    raise psycopg.errors.UndefinedTable("the projections are of another version")
                before = current.position
                if (current.table, before) != self._held:
                    for projection in self._projections:
                        projection.load(cursor)
                after = before
                for batch in self._scan(before, before + BATCH_FACTS, BATCH_FACTS):
                    after = _fold(batch, self._by_type, after)
                if after != before:
                    for projection in self._projections:
                        projection.take()(cursor)
                    cursor.execute("UPDATE checkpoint SET position = %s", (after,))
        except psycopg.errors.UniqueViolation as error:
            self._held = None
            raise ProjectionsDamaged(error.diag.message_primary) from error
        except BaseException:
            self._held = None
            raise
        self._held = current.table, after
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

    def _checkpoint(self, cursor: Cursor[Any]) -> Checkpoint | None:
        cursor.execute("SELECT to_regclass(%s)::oid", (f"{self._schema}.checkpoint",))
        ((table,),) = cursor.fetchall()
        if table is None:
            return None
        cursor.execute("SELECT position, version, tableoid FROM checkpoint")
        found = cursor.fetchone()
        return None if found is None else Checkpoint(*found)

    def _connect(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            connection = psycopg.connect(self._address, autocommit=True)
            connection.execute(sql.SQL("SET search_path TO {0}, public").format(sql.Identifier(self._schema)))
            connection.execute(sql.SQL("LISTEN {0}").format(sql.Identifier(self._channel)))
            self._connection = connection
            self._held = None
        return self._connection

    def wait_for_news(self, timeout_seconds: float, stopping: Stopping) -> None:
        """Return when something was appended to any ledger, after the time, or when it is to stop."""
        stopping.wait_for_news(self._connect(), timeout_seconds)


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
        self._stopping = Stopping()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def __enter__(self) -> "ProjectorThread":
        self._stopping.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._stopping.close()

    def _run(self) -> None:
        pause = 0.1
        while not self._stopping.is_set():
            try:
                self._projector.catch_up(self._told)
                pause = 0.1
                self._stopping.wait(QUIET_SECONDS)
                self._projector.wait_for_news(0.5, self._stopping)
            except ProjectionsAreNewer as error:
                logger.error("the projector stops: %s", error)
                break
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
        except ProjectionsAreNewer:
            pass  # which the next batch says
        except Exception as error:  # noqa: BLE001 - likewise
            logger.warning("the projections could not be folded anew yet: %r", error)
            self._stopping.wait(1.0)


def _by_type(projections: Sequence[Foldable]) -> dict[type, list[Foldable]]:
    by_type: dict[type, list[Foldable]] = {}
    for projection in projections:
        for fact_type in projection.fact_types:
            by_type.setdefault(fact_type, []).append(projection)
    return by_type


def _fold(batch: Iterable[Recorded[Any]], by_type: dict[type, list[Foldable]], position: int) -> int:
    """Fold what comes after a position; returns the position reached."""
    for recorded in batch:
        position = recorded.position
        for projection in by_type.get(type(recorded.envelope.fact), ()):
            projection.fold(recorded)
    return position


def _tables(cursor: Cursor[Any], schema: str) -> list[str]:
    """The names of a schema's tables, in the order in which they were made."""
    of_schema = "pg_my_temp_schema()" if schema == SCRATCH else "to_regnamespace(%(schema)s)"
    cursor.execute(
        f"SELECT relname FROM pg_class WHERE relnamespace = {of_schema} AND relkind = 'r' ORDER BY oid".encode(),
        {"schema": f'"{schema}"'},
    )
    return [name for (name,) in cursor.fetchall()]


def _row_differences(cursor: Cursor[Any], schema: str, table: str) -> list[RowDifference]:
    """The rows of a table that aren't in it folded anew, and the other way round: how many, and the first few."""
    cursor.execute(
        "SELECT a.attname, coalesce(a.attnum = ANY(i.indkey), a.attnum = 1) FROM pg_attribute a"
        " LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary"
        " WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (f"{SCRATCH}.{table}",),
    )
    columns = cursor.fetchall()
    keys = [name for name, in_key in columns if in_key]
    names = {
        "columns": sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        "keys": sql.SQL(", ").join(map(sql.Identifier, keys)),
        "anew": sql.Identifier(SCRATCH, table),
        "there": sql.Identifier(schema, table),
        "few": sql.Literal(ROWS_NAMED_MAX),
    }
    only = "SELECT {columns} FROM {%s} EXCEPT ALL SELECT {columns} FROM {%s}"
    cursor.execute(
        sql.SQL(
            f"WITH anew AS MATERIALIZED ({only % ('anew', 'there')}),"
            f" found AS MATERIALIZED ({only % ('there', 'anew')})"
            " SELECT (SELECT count(*) FROM anew), (SELECT count(*) FROM found), to_jsonb(anew), to_jsonb(found)"
            " FROM anew FULL JOIN found USING ({keys}) ORDER BY {keys} LIMIT {few}"
        ).format(**names)
    )
    rows = cursor.fetchall()
    if not rows:
        return []
    cursor.execute(sql.SQL("SELECT (SELECT count(*) FROM {anew}), (SELECT count(*) FROM {there})").format(**names))
    ((all_anew, all_found),) = cursor.fetchall()
    anew_only, found_only = rows[0][:2]
    counts = (
        {"rows": all_anew, "not_in_the_other": anew_only},
        {"rows": all_found, "not_in_the_other": found_only},
    )
    return [RowDifference(f"table {table}", *counts)] + [
        RowDifference(f"row {table} {'/'.join(str((anew or found)[key]) for key in keys)}", *_what_differs(anew, found))
        for _, _, anew, found in rows
    ]


def _what_differs(anew: dict[str, Any] | None, found: dict[str, Any] | None) -> tuple[object, object]:
    """Two rows of the same key, without the columns that are the same in both; all of one that has no other."""
    if anew is None or found is None or anew == found:
        return anew, found
    names = [name for name in anew if anew[name] != found[name]]
    return {name: anew[name] for name in names}, {name: found[name] for name in names}
