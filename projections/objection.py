"""Objections to disclosures: one row each, where it stands and until when it waits."""

from typing import Any, Final, get_args

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.disclosure import (
    ObjectionDismissed,
    ObjectionFact,
    ObjectionRaised,
    ObjectionStatus,
    ObjectionUpheld,
    ObjectionWithdrawn,
)
from domain.fact import Recorded
from projections.dispute import microseconds
from projections.projection import KeptRows


class ObjectionRow(msgspec.Struct):
    """One objection. ``key`` is its month and number. Times ending in ``_microseconds`` count from the Unix epoch."""

    key: str
    period: str
    objection: str
    person: str
    household: str
    community: str
    ground: str
    raised_by: str
    record: str | None
    text_digest: str | None
    raised_position: int
    raised_at_microseconds: int
    decision_due_microseconds: int
    status: str = "open"
    decided_by: str | None = None
    decision_digest: str | None = None
    closed_position: int | None = None
    closed_at_microseconds: int | None = None


COLUMNS: Final = ObjectionRow.__struct_fields__


class Objections(KeptRows[ObjectionRow]):
    name = "objections"
    version = 1
    table = "objections"
    row_type = ObjectionRow
    tables = """
        CREATE TABLE objections (
            key text COLLATE "C" PRIMARY KEY,
            period text COLLATE "C" NOT NULL,
            objection text COLLATE "C" NOT NULL,
            person text NOT NULL,
            household text NOT NULL,
            community text NOT NULL,
            ground text NOT NULL,
            raised_by text NOT NULL,
            record text,
            text_digest text,
            raised_position bigint NOT NULL,
            raised_at_microseconds bigint NOT NULL,
            decision_due_microseconds bigint NOT NULL,
            status text NOT NULL,
            decided_by text,
            decision_digest text,
            closed_position bigint,
            closed_at_microseconds bigint
        );
    """
    indexes = """
        CREATE INDEX objections_by_period ON objections (period, raised_position);
    """
    fact_types = get_args(ObjectionFact)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: ObjectionFact = recorded.envelope.fact
        key = f"{fact.period}/{fact.objection}"
        match fact:
            case ObjectionRaised():
                row = ObjectionRow(
                    key,
                    fact.period,
                    fact.objection,
                    fact.person,
                    fact.household,
                    fact.community,
                    fact.ground,
                    fact.raised_by,
                    fact.record,
                    fact.text_digest,
                    recorded.position,
                    recorded.recorded_at_microseconds,
                    microseconds(fact.decision_due),
                )
                self.put(key, row)
            case ObjectionUpheld():
                self._close(key, "upheld", fact.decided_by, fact.text_digest, recorded)
            case ObjectionDismissed():
                self._close(key, "dismissed", fact.decided_by, fact.text_digest, recorded)
            case ObjectionWithdrawn():
                self._close(key, "withdrawn", None, None, recorded)

    def _close(
        self, key: str, status: ObjectionStatus, by: str | None, digest: str | None, recorded: Recorded[Any]
    ) -> None:
        row = self.change(key)
        row.status, row.decided_by, row.decision_digest = status, by, digest
        row.closed_position, row.closed_at_microseconds = recorded.position, recorded.recorded_at_microseconds


class ObjectionCount(msgspec.Struct, frozen=True):
    """How many objections there are to a month on one ground, and how they stand."""

    ground: str
    raised: int
    open: int
    upheld: int
    dismissed: int
    withdrawn: int


def counted_objections(cursor: Cursor[Any], period: str) -> list[ObjectionCount]:
    """By ground, without saying whose they are."""
    cursor.execute(
        "SELECT ground, count(*), count(*) FILTER (WHERE status = 'open'), count(*) FILTER (WHERE status = 'upheld'),"
        " count(*) FILTER (WHERE status = 'dismissed'), count(*) FILTER (WHERE status = 'withdrawn')"
        ' FROM objections WHERE period = %s GROUP BY ground ORDER BY ground COLLATE "C"',
        (period,),
    )
    return [ObjectionCount(*row) for row in cursor.fetchall()]


async def objection(connection: AsyncConnection[Any], period: str, number: str) -> ObjectionRow | None:
    """One objection, or None."""
    cursor = connection.cursor(row_factory=class_row(ObjectionRow))
    await cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM objections WHERE key = %s", (f"{period}/{number}",))
    return await cursor.fetchone()


async def objections(
    connection: AsyncConnection[Any],
    period: str,
    *,
    community: str | None,
    person: str | None,
    status: str | None,
    after: int,
    limit: int,
) -> list[ObjectionRow]:
    """The objections to a month in the order they were raised, after a position: of a community, or of one person."""
    cursor = connection.cursor(row_factory=class_row(ObjectionRow))
    await cursor.execute(
        f"SELECT {', '.join(COLUMNS)} FROM objections WHERE period = %(period)s AND raised_position > %(after)s"
        " AND (%(community)s::text IS NULL OR community = %(community)s)"
        " AND (%(person)s::text IS NULL OR person = %(person)s)"
        " AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY raised_position LIMIT %(limit)s",
        {
            "period": period,
            "community": community,
            "person": person,
            "status": status,
            "after": after,
            "limit": limit,
        },
    )
    return await cursor.fetchall()
