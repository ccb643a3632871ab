"""Late entries: service records that were logged later than the policy of their day ordinarily has it, settled or not.

Found in the service records whenever they are asked for, so that logging and confirming cost nothing more. What was
imported from older books is none of them: nobody knows when that was logged.
"""

from collections.abc import Sequence
from datetime import date, timedelta, tzinfo
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.policy import PolicyAdopted

LATE: Final = """
    (SELECT hours.*, logged_on, logged_on - worked_on AS days_late
     FROM hours
     CROSS JOIN LATERAL (
         SELECT (to_timestamp(logged_at_microseconds / 1000000) AT TIME ZONE %(zone)s)::date
     ) AS day (logged_on)
     JOIN unnest(%(effective)s::date[], %(until_day)s::date[], %(late_after_days)s::int[])
         AS policy (first_day, last_day, late_after_days) ON worked_on BETWEEN first_day AND last_day
     WHERE NOT imported AND logged_on - worked_on > late_after_days)
"""
"""A row for each late entry, with the day of the ledger's zone on which it was logged."""


def late_parameters(policies: Sequence[PolicyAdopted], zone: tzinfo) -> dict[str, object]:
    """What `LATE` asks for: how long each version of the rules ordinarily gives, and for services of which days."""
    effective = [adopted.effective_on for adopted in policies]
    return {
        "zone": str(zone),
        "effective": effective,
        "until_day": [day - timedelta(days=1) for day in effective[1:]] + [date.max] * bool(effective),
        "late_after_days": [adopted.policy.late_after_days for adopted in policies],
    }


class LateEntry(msgspec.Struct, frozen=True):
    """One late entry. ``days_late`` are those from the day of the service to the day on which it was logged."""

    position: int
    record: str
    community: str
    volunteer: str
    household: str
    recipient_household: str | None
    service: str
    worked_on: str
    logged_on: str
    days_late: int
    late_reason: str | None
    service_minutes: int
    logged_by: str
    evidence: str
    status: str
    settled_by: str | None


class LateCount(msgspec.Struct, frozen=True):
    """The late entries that were logged in one community in one month, and what became of them."""

    community: str
    month: str
    records: int
    to_confirm: int
    confirmed: int
    rejected: int
    reversed: int
    with_reason: int
    service_minutes: int
    days_late_max: int


_SELECTED: Final = ", ".join(
    {"position": "logged_position AS position", "worked_on": "worked_on::text", "logged_on": "logged_on::text"}.get(
        column, column
    )
    for column in LateEntry.__struct_fields__
)
_ASKED: Final = """
    (%(community)s::text IS NULL OR community = %(community)s)
    AND (%(since)s::date IS NULL OR logged_on >= %(since)s) AND (%(until)s::date IS NULL OR logged_on <= %(until)s)
"""


async def late_entries(
    connection: AsyncConnection[Any],
    policies: Sequence[PolicyAdopted],
    zone: tzinfo,
    *,
    community: str | None = None,
    since: date | None = None,
    until: date | None = None,
    status: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[LateEntry]:
    """Late entries in the order they were logged, after a position, of the days on which they were logged."""
    cursor = connection.cursor(row_factory=class_row(LateEntry))
    await cursor.execute(
        f"SELECT {_SELECTED} FROM {LATE} AS late WHERE logged_position > %(after)s AND {_ASKED}"
        " AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY logged_position LIMIT %(limit)s",
        {
            **late_parameters(policies, zone),
            "community": community,
            "since": since,
            "until": until,
            "status": status,
            "after": after,
            "limit": limit,
        },
    )
    return await cursor.fetchall()


def late_counts(
    cursor: Cursor[Any],
    policies: Sequence[PolicyAdopted],
    zone: tzinfo,
    *,
    community: str | None,
    since: date | None,
    until: date | None,
) -> list[LateCount]:
    """How many there are by community and by the month in which they were logged, the latest month first."""
    cursor.execute(
        f"""
        SELECT community, to_char(logged_on, 'YYYY-MM'), count(*), count(*) FILTER (WHERE status = 'logged'),
               count(*) FILTER (WHERE status = 'confirmed'), count(*) FILTER (WHERE status = 'rejected'),
               count(*) FILTER (WHERE status = 'reversed'), count(late_reason), sum(service_minutes)::bigint,
               max(days_late)
        FROM {LATE} AS late WHERE {_ASKED}
        GROUP BY 1, 2 ORDER BY 2 DESC, community COLLATE "C"
        """,
        {**late_parameters(policies, zone), "community": community, "since": since, "until": until},
    )
    return [LateCount(*row) for row in cursor.fetchall()]
