"""Minutes that are announced to lapse, and those that lapsed; and where to look for what is to be announced next."""

from collections.abc import Iterator
from datetime import date
from itertools import groupby
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from domain.account import BalanceCarried, MinutesExpired, MinutesTransferred
from domain.expiry import ExpiryAnnounced, ExpiryCalledOff
from domain.fact import Recorded
from projections.projection import KeptRows, Write, copy_rows


class ExpiryRow(msgspec.Struct):
    """One announcement: ``minutes`` lapse on ``expires_on``, a day of the ledger, unless they are spent before.

    ``expired_minutes`` is what did lapse; ``reason`` is why nothing did.
    """

    announcement: str
    household: str
    minutes: int
    expires_on: str
    earned_before: str
    announced_position: int
    status: str = "announced"
    expired_minutes: int = 0
    reason: str | None = None
    done_position: int | None = None


COLUMNS: Final = ExpiryRow.__struct_fields__
LISTED: Final = ", ".join(
    f"e.{column}::text" if column in ("expires_on", "earned_before") else f"e.{column}" for column in COLUMNS
)

# What is left of a record is what its household holds, less all that came in after it: what came in first is spent
# first. As `domain.expiry.Savings.left`, which decides.
TO_ANNOUNCE: Final = """
    WITH aged AS (
        SELECT m.target AS account, m.record FROM hours h
        JOIN movements m ON m.record = h.record AND m.kind = 'hours-confirmed.v1'
        WHERE h.status = 'confirmed' AND h.worked_on < %(before)s
        UNION
        SELECT l.account, l.record FROM lots l JOIN hours h USING (record) WHERE h.worked_on < %(before)s
    ), old AS (
        SELECT a.account, substr(a.account, 11) AS household, a.balance_minutes, aged.record
        FROM aged JOIN accounts a USING (account)
        WHERE a.account LIKE 'household:%%' AND a.balance_minutes > 0
        AND NOT EXISTS (
            SELECT FROM expiry_records e JOIN expiries x USING (announcement)
            WHERE e.record = aged.record AND x.household = substr(a.account, 11) AND e.is_open
        )
    ), homes AS (
        SELECT DISTINCT account, household, balance_minutes FROM old
    ), capped AS (
        SELECT m.source AS account, m.record, sum(m.minutes) AS minutes FROM movements m
        JOIN homes ON m.source = homes.account WHERE m.kind = 'minutes-capped.v1' GROUP BY m.source, m.record
    ), credits AS (
        SELECT homes.account, homes.balance_minutes, m.position, 0 AS part, r.record,
               m.minutes - coalesce((SELECT sum(l.minutes) FROM lots l WHERE l.position = m.position), 0)
               - coalesce(capped.minutes, 0) AS minutes
        FROM homes JOIN movements m ON m.target = homes.account
        LEFT JOIN hours r ON m.kind = 'hours-confirmed.v1' AND r.record = m.record
        LEFT JOIN capped ON capped.account = homes.account AND capped.record = r.record
        WHERE m.kind <> 'capped-minutes-returned.v1' AND (r.record IS NULL OR r.status <> 'reversed')
        UNION ALL
        SELECT l.account, homes.balance_minutes, l.position, -l.part, l.record, l.minutes
        FROM lots l JOIN homes USING (account)
        WHERE NOT EXISTS (
            SELECT FROM movements m
            WHERE m.record = l.record AND m.source = l.account AND m.kind = 'hours-reversed.v1'
            AND m.position > l.position
        )
    ), gone AS (
        SELECT x.household, e.record, sum(e.lapsed_minutes) AS minutes FROM expiry_records e
        JOIN expiries x USING (announcement) WHERE e.lapsed_minutes > 0 GROUP BY x.household, e.record
    ), kept AS (
        -- What lapsed of a record is what had come in of it last, since the rest was spent before.
        SELECT c.account, c.balance_minutes, c.position, c.part, c.record,
               c.minutes - least(c.minutes, greatest(0, coalesce(g.minutes, 0) + c.minutes - sum(c.minutes) OVER (
                   PARTITION BY c.account, c.record ORDER BY c.position DESC, c.part DESC
               ))) AS minutes
        FROM credits c LEFT JOIN gone g ON g.household = substr(c.account, 11) AND g.record = c.record
    ), rests AS (
        SELECT account, position, part, record, minutes,
               balance_minutes + minutes
               - sum(minutes) OVER (PARTITION BY account ORDER BY position DESC, part DESC) AS rest
        FROM kept
    )
    SELECT household, record FROM rests JOIN old USING (account, record)
    WHERE rest > 0 AND minutes > 0 GROUP BY household, record ORDER BY household, max(ARRAY[position, part])
"""


class Expiries(KeptRows[ExpiryRow]):
    name = "expiries"
    version = 2
    table = "expiries"
    row_type = ExpiryRow
    tables = """
        CREATE TABLE expiries (
            announcement text COLLATE "C" PRIMARY KEY,
            household text COLLATE "C" NOT NULL,
            minutes bigint NOT NULL,
            expires_on date NOT NULL,
            earned_before date NOT NULL,
            announced_position bigint NOT NULL,
            status text NOT NULL,
            expired_minutes bigint NOT NULL,
            reason text,
            done_position bigint
        );
        CREATE TABLE expiry_records (
            announcement text COLLATE "C" NOT NULL,
            record text COLLATE "C" NOT NULL,
            is_open boolean NOT NULL,
            lapsed_minutes bigint NOT NULL,
            PRIMARY KEY (announcement, record)
        );
        CREATE TABLE lots (
            position bigint NOT NULL,
            part integer NOT NULL,
            account text COLLATE "C" NOT NULL,
            record text COLLATE "C" NOT NULL,
            minutes bigint NOT NULL,
            PRIMARY KEY (position, part)
        );
    """
    indexes = """
        CREATE UNIQUE INDEX expiries_by_position ON expiries (announced_position);
        CREATE INDEX expiries_by_household ON expiries (household, announced_position);
        CREATE INDEX expiries_open ON expiries (expires_on) WHERE status = 'announced';
        CREATE INDEX expiry_records_by_record ON expiry_records (record);
        CREATE INDEX lots_by_account ON lots (account, position);
        CREATE INDEX lots_by_record ON lots (record);
    """
    fact_types = (ExpiryAnnounced, MinutesExpired, ExpiryCalledOff, MinutesTransferred, BalanceCarried)

    def __init__(self) -> None:
        super().__init__()
        self._announced: list[tuple[str, str, bool, int]] = []
        self._closed: list[str] = []
        self._lapsed: list[tuple[int, str, str]] = []
        self._lots: list[tuple[int, int, str, str, int]] = []

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(f"SELECT {LISTED} FROM expiries e")
        self.rows = {row[0]: ExpiryRow(*row) for row in cursor}
        self._changed.clear()
        self._announced.clear()
        self._closed.clear()
        self._lapsed.clear()
        self._lots.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        if isinstance(fact, MinutesTransferred | BalanceCarried):
            # Parts count down to the minutes without age, which come in last.
            count = len(fact.lots)
            for part, (record, minutes) in enumerate(fact.lots):
                self._lots.append((recorded.position, count - part, fact.target, record, minutes))
            return
        number = fact.announcement
        match fact:
            case ExpiryAnnounced():
                days = fact.on.isoformat(), fact.earned_before.isoformat()
                self.put(number, ExpiryRow(number, fact.household, fact.minutes, *days, recorded.position))
                self._announced += [(number, record, True, 0) for record in fact.records]
            case MinutesExpired():
                self._close(recorded, "expired").expired_minutes = fact.minutes
                self._lapsed += [(minutes, number, record) for record, minutes in fact.lapsed]
            case ExpiryCalledOff():
                self._close(recorded, "called-off").reason = fact.reason

    def _close(self, recorded: Recorded[Any], status: str) -> ExpiryRow:
        number = recorded.envelope.fact.announcement
        row = self.change(number)
        row.status, row.done_position = status, recorded.position
        self._closed.append(number)
        return row

    def take(self, *, more: bool = False) -> Write:
        write_rows = super().take(more=more)
        announced, self._announced = self._announced, []
        closed, self._closed = self._closed, []
        lapsed, self._lapsed = self._lapsed, []
        lots, self._lots = self._lots, []

        def write(cursor: Cursor[Any]) -> None:
            write_rows(cursor)
            copy_rows(cursor, "expiry_records", ("announcement", "record", "is_open", "lapsed_minutes"), announced)
            copy_rows(cursor, "lots", ("position", "part", "account", "record", "minutes"), lots)
            if closed:
                cursor.execute("UPDATE expiry_records SET is_open = false WHERE announcement = ANY(%s)", (closed,))
            if lapsed:
                cursor.executemany(
                    "UPDATE expiry_records SET lapsed_minutes = %s WHERE announcement = %s AND record = %s", lapsed
                )

        return write


async def expiries(
    connection: AsyncConnection[Any],
    *,
    community: str | None = None,
    household: str | None = None,
    status: str | None = None,
    after: int,
    limit: int,
) -> list[ExpiryRow]:
    """Announcements in the order they were made, after an announced position, that match every filter given."""
    cursor = connection.cursor(row_factory=class_row(ExpiryRow))
    await cursor.execute(
        f"SELECT {LISTED} FROM expiries e JOIN accounts a ON a.account = 'household:' || e.household"
        " WHERE e.announced_position > %(after)s AND (%(community)s::text IS NULL OR a.community = %(community)s)"
        " AND (%(household)s::text IS NULL OR e.household = %(household)s)"
        " AND (%(status)s::text IS NULL OR e.status = %(status)s) ORDER BY e.announced_position LIMIT %(limit)s",
        {"community": community, "household": household, "status": status, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


def records_to_announce(connection: Connection[Any], before: date) -> Iterator[tuple[str, list[str]]]:
    """The households with minutes left of service before a day that isn't announced yet: the records of each."""
    rows = connection.execute(TO_ANNOUNCE, {"before": before}).fetchall()
    for household, found in groupby(rows, key=lambda row: row[0]):
        yield household, [record for _, record in found]


def due_announcements(connection: Connection[Any], day: date) -> list[tuple[str, str]]:
    """Household and number of each announcement whose day has come."""
    return connection.execute(
        "SELECT household, announcement FROM expiries WHERE status = 'announced' AND expires_on <= %s"
        " ORDER BY expires_on, announcement",
        (day,),
    ).fetchall()
