"""Disclosures: a row for each sealed month; and what a month comes to at a position, and what of it is late.

A month's service is found in the service records whenever it is asked for, as of the seal's watermark, which never
changes what it gives: so logging and confirming cost nothing more.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.disclosure import PeriodFrozen, PeriodSealed, first_day, last_day
from domain.fact import Recorded
from domain.published_list import ServiceGiven
from projections.dispute import microseconds
from projections.projection import KeptRows


class DisclosureRow(msgspec.Struct):
    """One sealed month, as its facts have it. Times ending in ``_microseconds`` count from the Unix epoch; days are the
    ledger's, in ISO form. ``undecided`` counts the objections that were frozen undecided."""

    period: str
    watermark: int
    households_served: int
    service_minutes: int
    service_records: int
    corrected_minutes: int
    corrected_records: int
    list_rows: int
    list_sha256: str
    count_min: int
    sealed_by: str
    sealed_on: str
    sealed_position: int
    objections_until_microseconds: int
    decisions_until_microseconds: int
    frozen_position: int | None = None
    frozen_at_microseconds: int | None = None
    undecided: int | None = None

    @property
    def status(self) -> str:
        return "open" if self.frozen_position is None else "frozen"


COLUMNS: Final = DisclosureRow.__struct_fields__


class Disclosures(KeptRows[DisclosureRow]):
    name = "disclosures"
    version = 1
    table = "disclosures"
    row_type = DisclosureRow
    tables = """
        CREATE TABLE disclosures (
            period text COLLATE "C" PRIMARY KEY,
            watermark bigint NOT NULL,
            households_served bigint NOT NULL,
            service_minutes bigint NOT NULL,
            service_records bigint NOT NULL,
            corrected_minutes bigint NOT NULL,
            corrected_records bigint NOT NULL,
            list_rows bigint NOT NULL,
            list_sha256 text NOT NULL,
            count_min integer NOT NULL,
            sealed_by text NOT NULL,
            sealed_on text NOT NULL,
            sealed_position bigint NOT NULL,
            objections_until_microseconds bigint NOT NULL,
            decisions_until_microseconds bigint NOT NULL,
            frozen_position bigint,
            frozen_at_microseconds bigint,
            undecided integer
        );
    """
    fact_types = (PeriodSealed, PeriodFrozen)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case PeriodSealed():
                row = DisclosureRow(
                    fact.period,
                    fact.watermark,
                    fact.households_served,
                    fact.service_minutes,
                    fact.service_records,
                    fact.corrected_minutes,
                    fact.corrected_records,
                    fact.list_rows,
                    fact.list_sha256,
                    fact.count_min,
                    fact.sealed_by,
                    fact.sealed_on.isoformat(),
                    recorded.position,
                    microseconds(fact.objections_until),
                    microseconds(fact.decisions_until),
                )
                self.put(fact.period, row)
            case PeriodFrozen():
                row = self.change(fact.period)
                row.frozen_position, row.undecided = recorded.position, len(fact.undecided)
                row.frozen_at_microseconds = recorded.recorded_at_microseconds


def disclosure(cursor: Cursor[Any], period: str) -> DisclosureRow | None:
    """One sealed month, or None."""
    cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM disclosures WHERE period = %s", (period,))
    rows = cursor.fetchall()
    return DisclosureRow(*rows[0]) if rows else None


async def disclosures(connection: AsyncConnection[Any], *, after: str, limit: int) -> list[DisclosureRow]:
    """Sealed months, the earliest first, after a month."""
    cursor = connection.cursor(row_factory=class_row(DisclosureRow))
    await cursor.execute(
        f"SELECT {', '.join(COLUMNS)} FROM disclosures WHERE period > %s ORDER BY period LIMIT %s", (after, limit)
    )
    return await cursor.fetchall()


def due_to_freeze(cursor: Cursor[Any], now: datetime) -> list[str]:
    """The months whose time to object is over and whose objections are decided, or were to be by now."""
    cursor.execute(
        "SELECT period FROM disclosures d WHERE frozen_position IS NULL AND objections_until_microseconds <= %(now)s"
        " AND (decisions_until_microseconds <= %(now)s OR NOT EXISTS"
        " (SELECT FROM objections o WHERE o.period = d.period AND o.status = 'open')) ORDER BY period",
        {"now": microseconds(now)},
    )
    return [period for (period,) in cursor.fetchall()]


_COUNTED: Final = (
    "status IN ('confirmed', 'reversed') AND settled_position <= %(position)s"
    " AND (reversed_position IS NULL OR reversed_position > %(position)s)"
)


def service_given(cursor: Cursor[Any], period: str, position: int) -> list[ServiceGiven]:
    """The month's service records that were confirmed and unreversed at a position, by the day on which they began."""
    cursor.execute(
        "SELECT volunteer, recipient_household, community, service, service_minutes FROM hours"
        f" WHERE worked_on BETWEEN %(since)s AND %(until)s AND {_COUNTED}",
        {"since": first_day(period), "until": last_day(period), "position": position},
    )
    return [ServiceGiven(*row) for row in cursor.fetchall()]


def corrected(cursor: Cursor[Any], period: str, since_position: int, position: int) -> tuple[int, int]:
    """Minutes and records of services before the month that were confirmed between two positions, less those that were
    reversed then."""
    cursor.execute(
        """
        SELECT coalesce(sum(change * service_minutes), 0)::bigint, coalesce(sum(change), 0)::bigint
        FROM (
            SELECT service_minutes, 1 AS change FROM hours
            WHERE worked_on < %(before)s AND status IN ('confirmed', 'reversed')
            AND settled_position > %(since)s AND settled_position <= %(position)s
            UNION ALL
            SELECT service_minutes, -1 FROM hours
            WHERE worked_on < %(before)s AND status = 'reversed'
            AND reversed_position > %(since)s AND reversed_position <= %(position)s
        ) AS changes
        """,
        {"before": first_day(period), "since": since_position, "position": position},
    )
    ((minutes, records),) = cursor.fetchall()
    return minutes, records


class LateChange(msgspec.Struct, frozen=True):
    """What changed of a sealed month after its watermark: a record was confirmed or reversed at ``position``.

    ``logged_late`` says that it was logged after the watermark, too; ``reason`` is why it was logged late or reversed.
    """

    position: int
    change: str
    change_minutes: int
    recorded_on: str
    logged_late: bool
    imported: bool
    reason: str | None


class LateTotals(msgspec.Struct, frozen=True):
    """How much came late to a month, and how many people and households it concerns."""

    changes: int
    volunteers: int
    households_served: int
    change_minutes: int
    change_records: int


_LATE: Final = """
    (
        SELECT settled_position AS position, 'confirmed' AS change, service_minutes AS change_minutes,
               1 AS change_records, settled_at_microseconds AS at_microseconds,
               logged_position > %(watermark)s AS logged_late, imported, late_reason AS reason, volunteer,
               recipient_household
        FROM hours WHERE worked_on BETWEEN %(since)s AND %(until)s AND status IN ('confirmed', 'reversed')
        AND settled_position > %(watermark)s
        UNION ALL
        SELECT reversed_position, 'reversed', -service_minutes, -1, reversed_at_microseconds,
               logged_position > %(watermark)s, imported, reason, volunteer, recipient_household
        FROM hours WHERE worked_on BETWEEN %(since)s AND %(until)s AND status = 'reversed'
        AND reversed_position > %(watermark)s
    ) AS late
"""


def _late_parameters(row: DisclosureRow) -> dict[str, object]:
    return {"watermark": row.watermark, "since": first_day(row.period), "until": last_day(row.period)}


def late_totals(cursor: Cursor[Any], row: DisclosureRow) -> LateTotals:
    """What came late to a month, counted."""
    cursor.execute(
        "SELECT count(*), count(DISTINCT volunteer), count(DISTINCT recipient_household),"
        f" coalesce(sum(change_minutes), 0)::bigint, coalesce(sum(change_records), 0)::bigint FROM {_LATE}",
        _late_parameters(row),
    )
    return LateTotals(*cursor.fetchall()[0])


def late_changes(cursor: Cursor[Any], row: DisclosureRow, zone: str, *, after: int, limit: int) -> list[LateChange]:
    """What came late to a month in the order it was recorded, after a position."""
    cursor.execute(
        "SELECT position, change, change_minutes,"
        " (to_timestamp(at_microseconds / 1000000) AT TIME ZONE %(zone)s)::date::text, logged_late, imported, reason"
        f" FROM {_LATE} WHERE position > %(after)s ORDER BY position LIMIT %(limit)s",
        {**_late_parameters(row), "zone": zone, "after": after, "limit": limit},
    )
    return [LateChange(*found) for found in cursor.fetchall()]
