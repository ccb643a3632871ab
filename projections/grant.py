"""Grants that were proposed, and where each stands: what waits for a second person is staff's queue."""

from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from domain.account import GrantApproved
from domain.fact import Recorded
from domain.grant import GrantProposed, GrantRejected, GrantWithdrawn
from projections.projection import KeptRows


class GrantRow(msgspec.Struct):
    """One proposed grant. ``settled_by`` is who approved, rejected or withdrew it."""

    grant_id: str
    household: str
    minutes: int
    need: str
    proposed_by: str
    proposed_position: int
    proposed_at_microseconds: int
    status: str = "open"
    settled_by: str | None = None
    reason: str | None = None
    settled_position: int | None = None


class GrantListed(msgspec.Struct):
    """A proposed grant with the community that its household belongs to now."""

    grant: str
    household: str
    community: str
    minutes: int
    need: str
    proposed_by: str
    proposed_position: int
    proposed_at_microseconds: int
    status: str
    settled_by: str | None
    reason: str | None
    settled_position: int | None


LISTED: Final = ", ".join(
    {"grant": "g.grant_id AS grant", "community": "a.community"}.get(column, f"g.{column}")
    for column in GrantListed.__struct_fields__
)
SELECT: Final = f"SELECT {LISTED} FROM grants g JOIN accounts a ON a.account = 'household:' || g.household"


class Grants(KeptRows[GrantRow]):
    name = "grants"
    version = 1
    table = "grants"
    row_type = GrantRow
    tables = """
        CREATE TABLE grants (
            grant_id text COLLATE "C" PRIMARY KEY,
            household text COLLATE "C" NOT NULL,
            minutes bigint NOT NULL,
            need text NOT NULL,
            proposed_by text NOT NULL,
            proposed_position bigint NOT NULL,
            proposed_at_microseconds bigint NOT NULL,
            status text NOT NULL,
            settled_by text,
            reason text,
            settled_position bigint
        );
    """
    indexes = """
        CREATE UNIQUE INDEX grants_by_position ON grants (proposed_position);
        CREATE INDEX grants_to_settle ON grants (proposed_position) WHERE status = 'open';
    """
    fact_types = (GrantProposed, GrantApproved, GrantRejected, GrantWithdrawn)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case GrantProposed():
                proposed = (fact.grant, fact.household, fact.minutes, fact.need, fact.proposed_by)
                self.put(fact.grant, GrantRow(*proposed, recorded.position, recorded.recorded_at_microseconds))
            case GrantApproved():
                self._settle(recorded, "approved", fact.approved_by)
            case GrantRejected():
                self._settle(recorded, "rejected", fact.rejected_by, fact.reason)
            case GrantWithdrawn():
                self._settle(recorded, "withdrawn", fact.withdrawn_by)

    def _settle(self, recorded: Recorded[Any], status: str, by: str, reason: str | None = None) -> None:
        row = self.change(recorded.envelope.fact.grant)
        row.status, row.settled_by, row.reason, row.settled_position = status, by, reason, recorded.position


async def grants(
    connection: AsyncConnection[Any], *, community: str | None, status: str | None, after: int, limit: int
) -> list[GrantListed]:
    """Proposed grants in the order they were proposed, after a proposed position."""
    cursor = connection.cursor(row_factory=class_row(GrantListed))
    await cursor.execute(
        f"{SELECT} WHERE g.proposed_position > %s AND (%s::text IS NULL OR a.community = %s)"
        " AND (%s::text IS NULL OR g.status = %s) ORDER BY g.proposed_position LIMIT %s",
        (after, community, community, status, status, limit),
    )
    return await cursor.fetchall()
