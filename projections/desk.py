"""Papers that are keyed at the desk: where each stands, and how the last two keyings differ.

What was keyed is not in it: whoever keys a paper as the second person must not see what the first one typed.
"""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.desk import PaperAgreed, PaperKeyed
from domain.fact import Recorded
from projections.projection import CopyValue, Projection, Write, upsert_rows


class PaperStanding(msgspec.Struct, gc=False):
    """One paper: ``keyed`` by one person, ``differing`` between two, or ``logged``. ``position`` is its last fact's."""

    paper: str
    community: str
    sha256: str
    status: str
    keyed_by: str
    also_keyed_by: str | None
    rows: int
    differences: list[dict[str, object]]
    records: list[str]
    position: int
    recorded_at_microseconds: int


COLUMNS: Final = PaperStanding.__struct_fields__
SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM papers"


class Papers(Projection):
    name = "papers"
    version = 1
    tables = """
        CREATE TABLE papers (
            paper text COLLATE "C" PRIMARY KEY,
            community text NOT NULL,
            sha256 text NOT NULL,
            status text NOT NULL,
            keyed_by text NOT NULL,
            also_keyed_by text,
            rows integer NOT NULL,
            differences jsonb NOT NULL,
            records jsonb NOT NULL,
            position bigint NOT NULL,
            recorded_at_microseconds bigint NOT NULL
        );
    """
    indexes = "CREATE INDEX papers_by_position ON papers (position);"
    fact_types = (PaperKeyed, PaperAgreed)

    def __init__(self) -> None:
        self._changed: dict[str, PaperStanding] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._changed.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: PaperKeyed | PaperAgreed = recorded.envelope.fact
        position, at = recorded.position, recorded.recorded_at_microseconds
        if isinstance(fact, PaperKeyed):
            differences = [msgspec.to_builtins(difference) for difference in fact.differences]
            status, also, rows, records = "differing" if differences else "keyed", None, len(fact.rows), []
        else:
            differences, records = [], list(fact.records)
            status, also, rows = "logged", fact.also_keyed_by, len(records)
        self._changed[fact.paper] = PaperStanding(
            *(fact.paper, fact.community, fact.sha256, status, fact.keyed_by, also, rows, differences, records),
            *(position, at),
        )

    def take(self, *, more: bool = False) -> Write:
        del more
        rows: list[tuple[CopyValue, ...]] = []
        for row in self._changed.values():
            rows.append(tuple(msgspec.json.encode(v).decode() if isinstance(v, list) else v for v in astuple(row)))
        self._changed = {}

        def write(cursor: Cursor[Any]) -> None:
            upsert_rows(cursor, "papers", COLUMNS, "paper", rows)

        return write


async def paper(connection: AsyncConnection[Any], number: str) -> PaperStanding | None:
    """One paper, or None."""
    cursor = connection.cursor(row_factory=class_row(PaperStanding))
    await cursor.execute(f"{SELECT} WHERE paper = %s", (number,))
    return await cursor.fetchone()


async def papers(
    connection: AsyncConnection[Any], *, community: str | None, status: str | None, after: int, limit: int
) -> list[PaperStanding]:
    """Papers in the order in which something last happened to them, after a position, by community and status."""
    cursor = connection.cursor(row_factory=class_row(PaperStanding))
    await cursor.execute(
        f"{SELECT} WHERE position > %(after)s AND (%(community)s::text IS NULL OR community = %(community)s)"
        " AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY position LIMIT %(limit)s",
        {"community": community, "status": status, "after": after, "limit": limit},
    )
    return await cursor.fetchall()
