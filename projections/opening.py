"""Opening balances that were proposed, and where each stands."""

from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from domain.account import OpeningBalanceCredited
from domain.fact import Recorded
from domain.opening import OpeningBalanceProposed, OpeningBalanceRejected, OpeningBalanceWithdrawn
from projections.projection import KeptRows


class OpeningRow(msgspec.Struct):
    """One proposal. Two households may use the same number for theirs, so ``key`` is both."""

    key: str
    opening: str
    household: str
    minutes: int
    proposed_by: str
    proposed_position: int
    proposed_at_microseconds: int
    status: str = "open"
    settled_by: str | None = None
    reason: str | None = None
    settled_position: int | None = None


class OpeningListed(msgspec.Struct):
    """A proposal with the community that its household belongs to now."""

    opening: str
    household: str
    community: str
    minutes: int
    proposed_by: str
    proposed_position: int
    proposed_at_microseconds: int
    status: str
    settled_by: str | None
    reason: str | None
    settled_position: int | None


LISTED: Final = ", ".join(
    "a.community" if column == "community" else f"o.{column}" for column in OpeningListed.__struct_fields__
)
SELECT: Final = f"SELECT {LISTED} FROM openings o JOIN accounts a ON a.account = 'household:' || o.household"


class Openings(KeptRows[OpeningRow]):
    name = "openings"
    version = 1
    table = "openings"
    row_type = OpeningRow
    tables = """
        CREATE TABLE openings (
            key text COLLATE "C" PRIMARY KEY,
            opening text NOT NULL,
            household text COLLATE "C" NOT NULL,
            minutes bigint NOT NULL,
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
        CREATE UNIQUE INDEX openings_by_position ON openings (proposed_position);
        CREATE INDEX openings_to_settle ON openings (proposed_position) WHERE status = 'open';
    """
    fact_types = (OpeningBalanceProposed, OpeningBalanceCredited, OpeningBalanceRejected, OpeningBalanceWithdrawn)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case OpeningBalanceProposed():
                # After a rejected one, the same number may be given again: the latest is what counts.
                key = f"{fact.household}/{fact.opening}"
                proposed = (key, fact.opening, fact.household, fact.minutes, fact.proposed_by)
                self.put(key, OpeningRow(*proposed, recorded.position, recorded.recorded_at_microseconds))
            case OpeningBalanceCredited():
                self._settle(recorded, "approved", fact.approved_by)
            case OpeningBalanceRejected():
                self._settle(recorded, "rejected", fact.rejected_by, fact.reason)
            case OpeningBalanceWithdrawn():
                self._settle(recorded, "withdrawn", fact.withdrawn_by)

    def _settle(self, recorded: Recorded[Any], status: str, by: str, reason: str | None = None) -> None:
        fact = recorded.envelope.fact
        row = self.change(f"{fact.household}/{fact.opening}")
        row.status, row.settled_by, row.reason, row.settled_position = status, by, reason, recorded.position


async def openings(
    connection: AsyncConnection[Any], *, community: str | None, status: str | None, after: int, limit: int
) -> list[OpeningListed]:
    """Proposals in the order they were made, after a proposed position."""
    cursor = connection.cursor(row_factory=class_row(OpeningListed))
    await cursor.execute(
        f"{SELECT} WHERE o.proposed_position > %s AND (%s::text IS NULL OR a.community = %s)"
        " AND (%s::text IS NULL OR o.status = %s) ORDER BY o.proposed_position LIMIT %s",
        (after, community, community, status, status, limit),
    )
    return await cursor.fetchall()
