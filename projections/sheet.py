"""Sheets of group service: one row each, with the records that were logged by it."""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.sheet import SheetLogged
from projections.hours import to_the_minute
from projections.projection import CopyValue, Projection, Write, copy_rows


class SheetRow(msgspec.Struct, gc=False):
    """One sheet; ``records`` are the numbers of its records, in the order of its rows."""

    sheet: str
    community: str
    grid: str
    recipient_household: str | None
    service: str
    started_at: str
    ended_at: str
    leader: str
    group_id: str | None
    sha256: str | None
    logged_by: str
    records: list[str]
    position: int
    recorded_at_microseconds: int


COLUMNS: Final = SheetRow.__struct_fields__
SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM sheets"


class Sheets(Projection):
    name = "sheets"
    version = 1
    tables = """
        CREATE TABLE sheets (
            sheet text COLLATE "C" PRIMARY KEY,
            community text NOT NULL,
            grid text NOT NULL,
            recipient_household text,
            service text NOT NULL,
            started_at text NOT NULL,
            ended_at text NOT NULL,
            leader text NOT NULL,
            group_id text,
            sha256 text,
            logged_by text NOT NULL,
            records jsonb NOT NULL,
            position bigint NOT NULL,
            recorded_at_microseconds bigint NOT NULL
        );
    """
    indexes = "CREATE UNIQUE INDEX sheets_by_position ON sheets (position);"
    fact_types = (SheetLogged,)

    def __init__(self) -> None:
        self._new: list[SheetRow] = []

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._new.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: SheetLogged = recorded.envelope.fact
        self._new.append(
            SheetRow(
                fact.sheet,
                fact.community,
                "/".join(fact.grid),
                fact.recipient_household,
                fact.service,
                to_the_minute(fact.started_at),
                to_the_minute(fact.ended_at),
                fact.leader,
                fact.group,
                fact.sha256,
                fact.logged_by,
                list(fact.records),
                recorded.position,
                recorded.recorded_at_microseconds,
            )
        )

    def take(self, *, more: bool = False) -> Write:
        del more
        rows: list[tuple[CopyValue, ...]] = []
        for row in self._new:
            rows.append(tuple(msgspec.json.encode(v).decode() if isinstance(v, list) else v for v in astuple(row)))
        self._new = []

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "sheets", COLUMNS, rows)

        return write


async def sheet(connection: AsyncConnection[Any], number: str) -> SheetRow | None:
    """One sheet, or None."""
    cursor = connection.cursor(row_factory=class_row(SheetRow))
    await cursor.execute(f"{SELECT} WHERE sheet = %s", (number,))
    return await cursor.fetchone()


async def sheets(
    connection: AsyncConnection[Any], *, community: str | None, leader: str | None, after: int, limit: int
) -> list[SheetRow]:
    """Sheets in the order they were logged, after a position, of one community or leader or of all."""
    cursor = connection.cursor(row_factory=class_row(SheetRow))
    await cursor.execute(
        f"{SELECT} WHERE position > %(after)s AND (%(community)s::text IS NULL OR community = %(community)s)"
        " AND (%(leader)s::text IS NULL OR leader = %(leader)s) ORDER BY position LIMIT %(limit)s",
        {"community": community, "leader": leader, "after": after, "limit": limit},
    )
    return await cursor.fetchall()
