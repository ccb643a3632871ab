"""Service records: one row each, with where it stands, who vouched for it, and when the journal learned of it."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any, Final, get_args

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.account import CappedMinutesReturned, HoursConfirmed, HoursReversed, MinutesCapped
from domain.evidence import RANK, Evidence, EvidenceAttached, stronger
from domain.fact import Recorded
from domain.hours import (
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    HoursLogged,
    HoursRejected,
    RecordFact,
)
from projections.projection import CopyValue, Lines, Projection, Write, copy_rows


class HoursRow(msgspec.Struct, gc=False):
    """One service record. Times ending in ``_microseconds`` are recorded-at (Unix); ``worked_on`` is the ledger's day
    on which the service began; ``grid`` is the path joined by ``/``. A ``rating`` of 0 is none. ``evidence`` is the
    record's grade now."""

    record: str
    volunteer: str
    household: str
    recipient_household: str | None
    community: str
    grid: str
    service: str
    started_at: str
    ended_at: str
    worked_on: str
    claimed_minutes: int
    service_minutes: int
    logged_by: str
    imported: bool
    logged_position: int
    logged_at_microseconds: int
    evidence: Evidence
    group_id: str | None
    also_logged_by: str | None
    late_reason: str | None
    status: str
    settled_by: str | None
    reason: str | None
    credit_minutes: int
    confirmed_as: str | None
    rating: int
    settled_position: int | None
    settled_at_microseconds: int | None
    reversed_by: str | None
    reversed_position: int | None
    reversed_at_microseconds: int | None


COLUMNS: Final = HoursRow.__struct_fields__
SETTLED_COLUMNS: Final = COLUMNS[COLUMNS.index("status") :]
UNSETTLED: Final = ("logged", None, None, 0, None, 0, None, None, None, None, None)


def to_the_minute(time: datetime) -> str:
    """As ``time.isoformat(timespec="minutes")``, in an eighth of its time; for a time whose offset is whole minutes."""
    text: str = msgspec.to_builtins(time)
    return text[:16] + ("+00:00" if text[-1] == "Z" else text[-6:])


class Hours(Projection):
    name = "hours"
    version = 3
    tables = """
        CREATE TABLE hours (
            record text COLLATE "C" PRIMARY KEY,
            volunteer text COLLATE "C" NOT NULL,
            household text NOT NULL,
            recipient_household text,
            community text NOT NULL,
            grid text NOT NULL,
            service text NOT NULL,
            started_at text NOT NULL,
            ended_at text NOT NULL,
            worked_on date NOT NULL,
            claimed_minutes integer NOT NULL,
            service_minutes integer NOT NULL,
            logged_by text NOT NULL,
            imported boolean NOT NULL,
            logged_position bigint NOT NULL,
            logged_at_microseconds bigint NOT NULL,
            evidence text NOT NULL,
            group_id text,
            also_logged_by text,
            late_reason text,
            status text NOT NULL,
            settled_by text,
            reason text,
            credit_minutes integer NOT NULL,
            confirmed_as text,
            rating integer NOT NULL,
            settled_position bigint,
            settled_at_microseconds bigint,
            reversed_by text,
            reversed_position bigint,
            reversed_at_microseconds bigint
        );
    """
    indexes = """
        CREATE UNIQUE INDEX hours_by_position ON hours (logged_position);
        CREATE INDEX hours_by_volunteer ON hours (volunteer, logged_position);
        CREATE INDEX hours_by_recipient ON hours (recipient_household, logged_position);
        CREATE INDEX hours_to_settle ON hours (community, logged_position) WHERE status = 'logged';
    """
    fact_types = (*get_args(RecordFact), EvidenceAttached)

    def __init__(self) -> None:
        self._rows = Lines()
        self._logged: dict[str, Recorded[HoursLogged]] = {}
        """What was logged since the last time and isn't settled: its row is made when it is, and never changed here."""
        self._settled: dict[str, list[CopyValue]] = {}
        self._raised: dict[str, Evidence] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._rows = Lines()
        self._logged.clear()
        self._settled.clear()
        self._raised.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case HoursLogged():
                self._logged[fact.record] = recorded
            case HoursConfirmed():
                if fact.confirmed_as == "recipient":
                    self._raise(fact.record, "recipient")
                vouched = (fact.minutes, fact.confirmed_as, fact.rating)
                self._settle(fact.record, ("confirmed", fact.confirmed_by, None, *vouched), recorded)
            case HoursRejected():
                self._settle(fact.record, ("rejected", fact.rejected_by, fact.reason, 0, None, 0), recorded)
            case HoursReversed():
                self._reverse(fact, recorded)
            case EvidenceAttached():
                self._raise(fact.record, fact.evidence)
            case MinutesCapped() | CappedMinutesReturned():
                pass
            case DisputeOpened() | DisputeUpheld() | DisputeDismissed() | DisputeWithdrawn():
                pass  # see projections/dispute.py; what follows from one is a fact of its own

    def _settle(
        self, record: str, values: tuple[str, str, str | None, int, str | None, int], recorded: Recorded[Any]
    ) -> None:
        when = recorded.position, recorded.recorded_at_microseconds
        logged = self._logged.pop(record, None)
        if logged is None:
            self._settled[record] = [record, *values, *when, None, None, None]
        else:
            self._add(logged, (*values, *when, None, None, None))

    def _add(self, logged: Recorded[HoursLogged], settled: tuple[CopyValue, ...]) -> None:
        fact = logged.envelope.fact
        evidence = fact.evidence
        if fact.record in self._raised:
            evidence = stronger(evidence, self._raised.pop(fact.record))
        started_at = to_the_minute(fact.started_at)
        self._rows.add(
            (
                fact.record,
                fact.volunteer,
                fact.household,
                fact.recipient_household,
                fact.community,
                "/".join(fact.grid),
                fact.service,
                started_at,
                to_the_minute(fact.ended_at),
                started_at[:10],
                fact.claimed_minutes,
                fact.service_minutes,
                fact.logged_by,
                logged.envelope.imported,
                logged.position,
                logged.recorded_at_microseconds,
                evidence,
                fact.group,
                fact.also_logged_by,
                fact.late_reason,
                *settled,
            )
        )

    def _raise(self, record: str, evidence: Evidence) -> None:
        self._raised[record] = stronger(self._raised.get(record, "self"), evidence)

    def _reverse(self, fact: HoursReversed, recorded: Recorded[Any]) -> None:
        values = (fact.reversed_by, recorded.position, recorded.recorded_at_microseconds)
        settled = self._settled.setdefault(fact.record, [fact.record] + [None] * len(SETTLED_COLUMNS))
        settled[1], settled[3], settled[-3:] = "reversed", fact.reason, values

    def take(self, *, more: bool = False) -> Write:
        del more
        for logged in self._logged.values():
            self._add(logged, UNSETTLED)
        self._logged.clear()
        rows, self._rows = self._rows, Lines()
        settled, self._settled = self._settled, {}
        raised, self._raised = self._raised, {}

        def write(cursor: Cursor[Any]) -> None:
            rows.copy(cursor, "hours", COLUMNS)
            if settled:
                _settle_written(cursor, list(settled.values()))
            if raised:
                cursor.execute(
                    "UPDATE hours h SET evidence = r.evidence"
                    " FROM unnest(%s::text[], %s::text[]) AS r (record, evidence) WHERE h.record = r.record"
                    " AND array_position(%s::text[], h.evidence) < array_position(%s::text[], r.evidence)",
                    (list(raised), list(raised.values()), list(RANK), list(RANK)),
                )

        return write


def _settle_written(cursor: Cursor[Any], settled: Collection[Sequence[CopyValue]]) -> None:
    """Settle records whose rows are in the table already; what is None was settled before and is kept."""
    cursor.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS hours_settled (record text, status text, settled_by text,"
        " reason text, credit_minutes integer, confirmed_as text, rating integer, settled_position bigint,"
        " settled_at_microseconds bigint, reversed_by text, reversed_position bigint,"
        " reversed_at_microseconds bigint) ON COMMIT DELETE ROWS"
    )
    cursor.execute("TRUNCATE pg_temp.hours_settled")
    copy_rows(cursor, "pg_temp.hours_settled", ("record", *SETTLED_COLUMNS), settled)
    changes = ", ".join(
        # What a record was rejected for is no reason of its confirmation after all.
        f"{column} = CASE WHEN s.status = 'confirmed' THEN NULL ELSE coalesce(s.reason, h.reason) END"
        if column == "reason"
        else f"{column} = coalesce(s.{column}, h.{column})"
        for column in SETTLED_COLUMNS
    )
    cursor.execute(f"UPDATE hours h SET {changes} FROM pg_temp.hours_settled s WHERE h.record = s.record")


SELECT: Final = "SELECT " + ", ".join(f"{c}::text" if c == "worked_on" else c for c in COLUMNS) + " FROM hours"


async def record(connection: AsyncConnection[Any], number: str) -> HoursRow | None:
    """One service record, or None."""
    cursor = connection.cursor(row_factory=class_row(HoursRow))
    await cursor.execute(f"{SELECT} WHERE record = %s", (number,))
    return await cursor.fetchone()


async def records_of(connection: AsyncConnection[Any], household: str) -> list[str]:
    """The numbers of the records of what a household's people gave, as long as they are of it, and of what was given
    to it, whatever became of them."""
    cursor = await connection.execute(
        "SELECT record FROM hours WHERE recipient_household = %(household)s"
        " UNION SELECT record FROM people JOIN hours ON hours.volunteer = people.person"
        " WHERE people.household = %(household)s AND hours.household = %(household)s",
        {"household": household},
    )
    return [record for (record,) in await cursor.fetchall()]


async def records(
    connection: AsyncConnection[Any],
    *,
    community: str | None = None,
    volunteer: str | None = None,
    recipient_household: str | None = None,
    status: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[HoursRow]:
    """Records in the order they were logged, after a logged position, that match every filter given."""
    filters = {
        "community": community,
        "volunteer": volunteer,
        "recipient_household": recipient_household,
        "status": status,
    }
    given = {column: value for column, value in filters.items() if value is not None}
    where = "".join(f" AND {column} = %({column})s" for column in given)
    cursor = connection.cursor(row_factory=class_row(HoursRow))
    await cursor.execute(
        f"{SELECT} WHERE logged_position > %(after)s{where} ORDER BY logged_position LIMIT %(limit)s",
        {**given, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


def unanswered(cursor: Cursor[Any], logged_until_microseconds: int) -> list[tuple[str, date, int]]:
    """Records that wait since a time or longer: their number, the day of service, and when they were logged."""
    cursor.execute(
        "SELECT record, worked_on, logged_at_microseconds FROM hours"
        " WHERE status = 'logged' AND logged_at_microseconds <= %s ORDER BY logged_position",
        (logged_until_microseconds,),
    )
    return cursor.fetchall()
