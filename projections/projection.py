"""What every read model has: its tables, its fold, and how a batch of folded rows is written.

A projection folds facts into rows in memory and hands them over once a batch; the projector puts the rows of all of
them and the checkpoint into one transaction. Everything in its tables can be thrown away and folded again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec
from msgspec.structs import astuple
from psycopg import Cursor

from domain.fact import Fact, Recorded

CopyValue = str | int | None
Write = Callable[[Cursor[Any]], None]

_encode_into = msgspec.json.Encoder().encode_into
_LINE_END: Final = ord("\n")


class Projection(ABC):
    """One read model. ``tables`` and ``indexes`` are SQL that runs in the projections' own schema.

    ``version`` goes up with every change of shape or meaning: the projector then folds everything again, and older
    programs leave the tables alone. Whoever removes a projection raises the version of another one.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tables: ClassVar[str]
    indexes: ClassVar[str] = ""
    fact_types: ClassVar[tuple[type[Fact], ...]]

    @abstractmethod
    def load(self, cursor: Cursor[Any]) -> None:
        """Start from what the tables hold; forget what was folded and not written."""

    @abstractmethod
    def fold(self, recorded: Recorded[Any]) -> None:
        """Take in one fact of ``fact_types``. Never refuses: history is already true."""

    @abstractmethod
    def take(self, *, more: bool = False) -> Write:
        """Hand over what was folded since the last time, to be written; folding may go on meanwhile.

        With ``more`` to come in the same transaction, rows that would be overwritten then may be kept back.
        """


class Lines:
    """Rows for one table, each kept as the line of CSV that it is copied as, and not as objects.

    JSON arrays without their brackets are lines of CSV as long as nothing in them is escaped, and encoding them takes a
    fraction of the time that writing row by row does. Encoded while the processor's cache still holds them, and let go
    of, rows cost a rebuild over a quarter less of this program's processor time than when they wait for their batch.
    """

    def __init__(self, rows: Iterable[Sequence[CopyValue]] = ()) -> None:
        self._text = bytearray(b"]")
        for row in rows:
            self.add(row)

    def add(self, row: Sequence[CopyValue]) -> None:
        text = self._text
        # The row's first bracket comes where the last row's second one is, and becomes the end of its line.
        end = len(text) - 1
        _encode_into(row, text, end)
        text[end] = _LINE_END

    def copy(self, cursor: Cursor[Any], table: str, columns: Sequence[str]) -> None:
        """COPY all rows into a table; none is no work."""
        if len(self._text) == 1:
            return
        into = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        lines = memoryview(self._text)[1:-1]
        if b"\\" in self._text:
            with cursor.copy(into) as copy:
                for line in bytes(lines).split(b"\n"):
                    copy.write_row(msgspec.json.decode(b"[" + line + b"]"))
        else:
            with cursor.copy(into + " (FORMAT csv, NULL 'null', ENCODING 'UTF8')") as copy:
                copy.write(lines)


def copy_rows(cursor: Cursor[Any], table: str, columns: Sequence[str], rows: Iterable[Sequence[CopyValue]]) -> None:
    """COPY rows into a table; none is no work."""
    Lines(rows).copy(cursor, table, columns)


def upsert_rows(
    cursor: Cursor[Any],
    table: str,
    columns: Sequence[str],
    key: str,
    rows: Collection[Sequence[CopyValue]],
) -> None:
    """Insert rows, or overwrite those that have the same key: in one COPY and one statement."""
    if not rows:
        return
    stage = f"{table}_stage"
    cursor.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    cursor.execute(f"TRUNCATE pg_temp.{stage}")
    copy_rows(cursor, f"pg_temp.{stage}", columns, rows)
    names = ", ".join(columns)
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column != key)
    cursor.execute(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM pg_temp.{stage} ON CONFLICT ({key}) DO UPDATE SET {changes}"
    )


R = TypeVar("R", bound=msgspec.Struct)


class KeptRows(Projection, Generic[R]):
    """One small table whose rows stay in memory while the projector runs, each by the first of its columns.

    What folds facts changes ``rows`` through `put` and `change`; what changed is written once a batch.
    """

    table: ClassVar[str]
    row_type: type[R]

    def __init__(self) -> None:
        self.rows: dict[str, R] = {}
        self._changed: dict[str, R] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(f"SELECT {', '.join(self.row_type.__struct_fields__)} FROM {self.table}")
        self.rows = {row[0]: self.row_type(*row) for row in cursor}
        self._changed.clear()

    def put(self, key: str, row: R) -> None:
        self.rows[key] = self._changed[key] = row

    def change(self, key: str) -> R:
        """The row, which is about to be changed."""
        row = self._changed[key] = self.rows[key]
        return row

    def take(self, *, more: bool = False) -> Write:
        del more
        columns = self.row_type.__struct_fields__
        rows = [astuple(row) for row in self._changed.values()]
        self._changed.clear()

        def write(cursor: Cursor[Any]) -> None:
            upsert_rows(cursor, self.table, columns, columns[0], rows)

        return write
