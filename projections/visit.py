"""Visits: one row each, from the check-in to what became of it; those that are overdue are staff's queue."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.visit import VISIT_FACTS, CheckedIn, CheckedOut, VisitClosed, VisitOverdue, VisitVoided
from projections.hours import to_the_minute
from projections.projection import CopyValue, Projection, Write, copy_rows


class VisitRow(msgspec.Struct, gc=False):
    """One visit. ``evidence`` is the check-in's own; the record has the weaker one of both ends."""

    visit: str
    volunteer: str
    recipient_household: str | None
    community: str
    grid: str
    service: str
    started_at: str
    started_at_microseconds: int
    checked_in_by: str
    evidence: str
    position: int
    status: str = "open"
    ended_at: str | None = None
    record: str | None = None
    settled_by: str | None = None
    reason: str | None = None
    settled_position: int | None = None


COLUMNS: Final = VisitRow.__struct_fields__
SETTLED_COLUMNS: Final = COLUMNS[COLUMNS.index("status") :]
SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM visits"


class Visits(Projection):
    name = "visits"
    version = 1
    tables = """
        CREATE TABLE visits (
            visit text COLLATE "C" PRIMARY KEY,
            volunteer text COLLATE "C" NOT NULL,
            recipient_household text,
            community text NOT NULL,
            grid text NOT NULL,
            service text NOT NULL,
            started_at text NOT NULL,
            started_at_microseconds bigint NOT NULL,
            checked_in_by text NOT NULL,
            evidence text NOT NULL,
            position bigint NOT NULL,
            status text NOT NULL,
            ended_at text,
            record text,
            settled_by text,
            reason text,
            settled_position bigint
        );
    """
    indexes = """
        CREATE UNIQUE INDEX visits_by_position ON visits (position);
        CREATE INDEX visits_by_volunteer ON visits (volunteer, position);
        CREATE INDEX visits_by_recipient ON visits (recipient_household, position);
        CREATE INDEX visits_open ON visits (started_at_microseconds) WHERE status = 'open';
        CREATE INDEX visits_overdue ON visits (community, position) WHERE status = 'overdue';
    """
    fact_types = VISIT_FACTS

    def __init__(self) -> None:
        self._new: dict[str, VisitRow] = {}
        self._settled: dict[str, tuple[CopyValue, ...]] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._new.clear()
        self._settled.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact, position = recorded.envelope.fact, recorded.position
        match fact:
            case CheckedIn():
                self._new[fact.visit] = VisitRow(
                    fact.visit,
                    fact.volunteer,
                    fact.recipient_household,
                    fact.community,
                    "/".join(fact.grid),
                    fact.service,
                    to_the_minute(fact.started_at),
                    round(fact.started_at.timestamp()) * 1_000_000,
                    fact.checked_in_by,
                    fact.evidence,
                    position,
                )
            case CheckedOut():
                ended_at = to_the_minute(fact.ended_at)
                self._settle(fact.visit, "logged", ended_at, fact.record, fact.checked_out_by, None, position)
            case VisitClosed():
                ended_at = to_the_minute(fact.ended_at)
                self._settle(fact.visit, "logged", ended_at, fact.record, fact.closed_by, fact.reason, position)
            case VisitVoided():
                self._settle(fact.visit, "voided", None, None, fact.voided_by, fact.reason, position)
            case VisitOverdue():
                self._settle(fact.visit, "overdue", None, None, None, None, position)

    def _settle(self, visit: str, *values: CopyValue) -> None:
        if visit in self._new:
            kept = astuple(self._new[visit])[: -len(SETTLED_COLUMNS)]
            self._new[visit] = VisitRow(*kept, *values)
        else:
            self._settled[visit] = values

    def take(self, *, more: bool = False) -> Write:
        del more
        new, self._new = self._new, {}
        settled, self._settled = self._settled, {}

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "visits", COLUMNS, [astuple(row) for row in new.values()])
            if settled:
                changes = ", ".join(f"{column} = %s" for column in SETTLED_COLUMNS)
                cursor.executemany(
                    f"UPDATE visits SET {changes} WHERE visit = %s",
                    [(*values, visit) for visit, values in settled.items()],
                )

        return write


async def visit(connection: AsyncConnection[Any], number: str) -> VisitRow | None:
    """One visit, or None."""
    cursor = connection.cursor(row_factory=class_row(VisitRow))
    await cursor.execute(f"{SELECT} WHERE visit = %s", (number,))
    return await cursor.fetchone()


async def visits(
    connection: AsyncConnection[Any],
    *,
    community: str | None = None,
    status: str | None = None,
    concerning: tuple[str, str | None] | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[VisitRow]:
    """Visits in the order they were begun, after a position, that match every filter given; ``concerning`` a volunteer,
    or the household that was served."""
    filters = {"community": community, "status": status}
    where = "".join(f" AND {column} = %({column})s" for column, value in filters.items() if value is not None)
    if concerning is not None:
        where += " AND (volunteer = %(volunteer)s OR recipient_household = %(household)s)"
    volunteer, household = concerning or (None, None)
    cursor = connection.cursor(row_factory=class_row(VisitRow))
    await cursor.execute(
        f"{SELECT} WHERE position > %(after)s{where} ORDER BY position LIMIT %(limit)s",
        {**filters, "volunteer": volunteer, "household": household, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


def open_since(connection: Connection[Any], until_microseconds: int) -> Iterator[tuple[str, int]]:
    """The visits that were begun before a time and are still open, each with when it was begun (Unix)."""
    yield from connection.execute(
        "SELECT visit, started_at_microseconds FROM visits WHERE status = 'open' AND started_at_microseconds < %s"
        " ORDER BY started_at_microseconds, visit",
        (until_microseconds,),
    )
