"""Disputes: one row each, where it stands and until when it waits, and one for everything that was said in it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.dispute import DisputeEscalated, DisputeFact, DisputeStatementGiven
from domain.fact import Recorded
from domain.hours import DisputeDismissed, DisputeOpened, DisputeUpheld, DisputeWithdrawn
from projections.projection import CopyValue, Projection, Write, copy_rows, upsert_rows


class DisputeRow(msgspec.Struct, gc=False):
    """One dispute. Times ending in ``_microseconds`` count from the Unix epoch. Once it is
    ``escalated`` only an administrator may decide it."""

    dispute: str
    record: str
    opened_by: str
    side: str
    ground: str
    held_minutes: int
    opened_at_microseconds: int
    hearing_until_microseconds: int
    decision_due_microseconds: int
    opened_position: int
    earner_heard: bool = False
    recipient_heard: bool = False
    escalated: bool = False
    status: str = "open"
    decided_by: str | None = None
    decision_digest: str | None = None
    closed_position: int | None = None


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS: Final = DisputeRow.__struct_fields__
STATEMENT_COLUMNS: Final = ("position", "dispute", "side", "stated_by", "ground", "text_digest")


class Disputes(Projection):
    """All disputes; the open ones are held in memory while the projector runs."""

    name = "disputes"
    version = 1
    tables = """
        CREATE TABLE disputes (
            dispute text COLLATE "C" PRIMARY KEY,
            record text COLLATE "C" NOT NULL,
            opened_by text NOT NULL,
            side text NOT NULL,
            ground text NOT NULL,
            held_minutes bigint NOT NULL,
            opened_at_microseconds bigint NOT NULL,
            hearing_until_microseconds bigint NOT NULL,
            decision_due_microseconds bigint NOT NULL,
            opened_position bigint NOT NULL,
            earner_heard boolean NOT NULL,
            recipient_heard boolean NOT NULL,
            escalated boolean NOT NULL,
            status text NOT NULL,
            decided_by text,
            decision_digest text,
            closed_position bigint
        );
        CREATE TABLE dispute_statements (
            position bigint NOT NULL,
            dispute text COLLATE "C" NOT NULL,
            side text NOT NULL,
            stated_by text NOT NULL,
            ground text NOT NULL,
            text_digest text
        );
    """
    indexes = """
        CREATE UNIQUE INDEX disputes_by_position ON disputes (opened_position);
        CREATE INDEX disputes_open ON disputes (decision_due_microseconds) WHERE status = 'open';
        CREATE INDEX dispute_statements_by_dispute ON dispute_statements (dispute, position);
    """
    fact_types = get_args(DisputeFact)

    def __init__(self) -> None:
        self._open: dict[str, DisputeRow] = {}
        self._changed: dict[str, DisputeRow] = {}
        self._statements: list[Sequence[CopyValue]] = []

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM disputes WHERE status = 'open'")
        self._open = {row[0]: DisputeRow(*row) for row in cursor}
        self._changed.clear()
        self._statements.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: DisputeFact = recorded.envelope.fact
        if isinstance(fact, DisputeOpened):
            row = self._open[fact.dispute] = DisputeRow(
                fact.dispute,
                fact.record,
                fact.opened_by,
                fact.side,
                fact.ground,
                fact.held_minutes,
                microseconds(fact.opened_at),
                microseconds(fact.hearing_until),
                microseconds(fact.decision_due),
                recorded.position,
            )
            self._say(row, recorded.position, fact.side, fact.opened_by, fact.ground, fact.text_digest)
        else:
            row = self._open[fact.dispute]
        self._changed[fact.dispute] = row
        match fact:
            case DisputeOpened():
                pass
            case DisputeStatementGiven():
                self._say(row, recorded.position, fact.side, fact.stated_by, fact.ground, fact.text_digest)
            case DisputeEscalated():
                row.escalated = True
            case DisputeUpheld():
                self._close(row, "upheld", recorded.position, fact.decided_by, fact.text_digest)
            case DisputeDismissed():
                self._close(row, "dismissed", recorded.position, fact.decided_by, fact.text_digest)
            case DisputeWithdrawn():
                self._close(row, "withdrawn", recorded.position, None, None)

    def _say(self, row: DisputeRow, position: int, side: str, by: str, ground: str, text_digest: str | None) -> None:
        row.earner_heard = row.earner_heard or side == "earner"
        row.recipient_heard = row.recipient_heard or side == "recipient"
        self._statements.append((position, row.dispute, side, by, ground, text_digest))

    def _close(self, row: DisputeRow, status: str, position: int, by: str | None, text_digest: str | None) -> None:
        row.status, row.decided_by, row.decision_digest, row.closed_position = status, by, text_digest, position
        del self._open[row.dispute]

    def take(self, *, more: bool = False) -> Write:
        del more
        rows = [astuple(row) for row in self._changed.values()]
        self._changed.clear()
        statements, self._statements = self._statements, []

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "dispute_statements", STATEMENT_COLUMNS, statements)
            upsert_rows(cursor, "disputes", COLUMNS, "dispute", rows)

        return write


def microseconds(instant: datetime) -> int:
    """Since the Unix epoch, exactly."""
    return (instant - EPOCH) // timedelta(microseconds=1)


class DisputeListed(DisputeRow, gc=False, kw_only=True):
    """A dispute with what its record says of whom and where it concerns."""

    volunteer: str
    household: str
    recipient_household: str | None
    community: str


class StatementRow(msgspec.Struct):
    """What one side said, in the fixed words of the fact. What it said in its own words is in the vault."""

    position: int
    side: str
    stated_by: str
    ground: str
    text_digest: str | None


SELECT: Final = (
    f"SELECT {', '.join(f'd.{column}' for column in COLUMNS)}, h.volunteer, h.household, h.recipient_household,"
    " h.community FROM disputes d JOIN hours h ON h.record = d.record"
)


async def dispute(connection: AsyncConnection[Any], number: str) -> DisputeListed | None:
    """One dispute, or None."""
    cursor = connection.cursor(row_factory=class_row(DisputeListed))
    await cursor.execute(f"{SELECT} WHERE d.dispute = %s", (number,))
    return await cursor.fetchone()


async def statements(connection: AsyncConnection[Any], number: str) -> list[StatementRow]:
    """Everything that was said in one dispute, in its order; what it was opened with is the first."""
    cursor = connection.cursor(row_factory=class_row(StatementRow))
    await cursor.execute(
        "SELECT position, side, stated_by, ground, text_digest FROM dispute_statements WHERE dispute = %s"
        " ORDER BY position",
        (number,),
    )
    return await cursor.fetchall()


async def disputes(
    connection: AsyncConnection[Any],
    *,
    community: str | None,
    households: Sequence[str] | None,
    status: str | None,
    escalated: bool | None,
    after: int,
    limit: int,
) -> list[DisputeListed]:
    """Disputes in the order they were opened, after a position, that match every filter given. One of ``households``
    is one of the two that a dispute concerns."""
    filters: dict[str, tuple[str, object]] = {
        "community": ("h.community = %(community)s", community),
        "households": (
            "(h.household = ANY(%(households)s) OR h.recipient_household = ANY(%(households)s))",
            households,
        ),
        "status": ("d.status = %(status)s", status),
        "escalated": ("d.escalated = %(escalated)s", escalated),
    }
    given = {name: value for name, (_, value) in filters.items() if value is not None}
    where = "".join(f" AND {filters[name][0]}" for name in given)
    cursor = connection.cursor(row_factory=class_row(DisputeListed))
    await cursor.execute(
        f"{SELECT} WHERE d.opened_position > %(after)s{where} ORDER BY d.opened_position LIMIT %(limit)s",
        {**given, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


def due_disputes(cursor: Cursor[Any], now: datetime) -> list[str]:
    """The open disputes that are due to escalate."""
    cursor.execute(
        "SELECT dispute FROM disputes WHERE status = 'open' AND NOT escalated AND decision_due_microseconds <= %s"
        " ORDER BY opened_position",
        (microseconds(now),),
    )
    return [dispute for (dispute,) in cursor.fetchall()]
