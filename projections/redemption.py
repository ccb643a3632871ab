"""Reservations: one row each, with where it stands; and redemptions, line by line, for partners' statements."""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from domain.account import RedemptionReversed, RewardCollected
from domain.fact import Recorded
from domain.household import HouseholdClosed, HouseholdMerged
from domain.partner import ReservationReleased, RewardReserved
from domain.redemption import ReservationGivenUp
from projections.projection import CopyValue, Projection, Write, copy_rows

OPEN: Final = "status IN ('reserved', 'given-up')"


class ReservationRow(msgspec.Struct, gc=False):
    """One reservation. It can be collected before ``ends_at``; ``household`` is who stands for the one that reserved by
    now, and ``community`` is where that lives."""

    reservation: str
    reward: str
    partner: str
    member: str
    household: str
    community: str
    minutes: int
    code_sha256: str
    reserved_at: str
    expires_at: str
    reserved_by: str
    reserved_position: int
    status: str
    ends_at: str
    ends_at_microseconds: int
    collected_at: str | None = None
    collected_position: int | None = None
    released_by: str | None = None
    cause: str | None = None
    reversed_by: str | None = None
    reason: str | None = None


class RedemptionRow(msgspec.Struct):
    """One line of a partner's statement: ``minutes`` are negative where a redemption was reversed."""

    position: int
    partner: str
    kind: str
    reservation: str
    reward: str
    minutes: int
    collected_at: str | None
    recorded_at_microseconds: int


COLUMNS: Final = ReservationRow.__struct_fields__
CHANGED_COLUMNS: Final = COLUMNS[COLUMNS.index("status") :]
LINE_COLUMNS: Final = RedemptionRow.__struct_fields__
SELECT: Final = (
    f"SELECT * FROM (SELECT {', '.join(f'r.{column}' for column in COLUMNS if column != 'community')},"
    " coalesce(h.community, r.community) AS community FROM reservations r LEFT JOIN households h USING (household))"
    " AS reservations"
)


class Reservations(Projection):
    name = "reservations"
    version = 2
    tables = """
        CREATE TABLE reservations (
            reservation text COLLATE "C" PRIMARY KEY,
            reward text NOT NULL,
            partner text COLLATE "C" NOT NULL,
            member text NOT NULL,
            household text COLLATE "C" NOT NULL,
            community text NOT NULL,
            minutes bigint NOT NULL,
            code_sha256 text NOT NULL,
            reserved_at text NOT NULL,
            expires_at text NOT NULL,
            reserved_by text NOT NULL,
            reserved_position bigint NOT NULL,
            status text NOT NULL,
            ends_at text NOT NULL,
            ends_at_microseconds bigint NOT NULL,
            collected_at text,
            collected_position bigint,
            released_by text,
            cause text,
            reversed_by text,
            reason text
        );
        CREATE TABLE redemptions (
            position bigint PRIMARY KEY,
            partner text COLLATE "C" NOT NULL,
            kind text NOT NULL,
            reservation text NOT NULL,
            reward text NOT NULL,
            minutes bigint NOT NULL,
            collected_at text,
            recorded_at_microseconds bigint NOT NULL
        );
    """
    indexes = """
        CREATE UNIQUE INDEX reservations_by_position ON reservations (reserved_position);
        CREATE INDEX reservations_by_household ON reservations (household, reserved_position);
        CREATE INDEX reservations_by_partner ON reservations (partner, reserved_position);
        CREATE INDEX reservations_to_end ON reservations (ends_at_microseconds, reservation)
            WHERE status IN ('reserved', 'given-up');
        CREATE INDEX redemptions_by_partner ON redemptions (partner, position);
    """
    fact_types = (
        RewardReserved,
        ReservationGivenUp,
        ReservationReleased,
        RewardCollected,
        RedemptionReversed,
        HouseholdMerged,
        HouseholdClosed,
    )

    def __init__(self) -> None:
        self._heirs: list[tuple[str, str]] = []
        self._new: dict[str, ReservationRow] = {}
        self._changed: dict[str, dict[str, CopyValue]] = {}
        self._lines: list[tuple[CopyValue, ...]] = []

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._new.clear()
        self._changed.clear()
        self._lines.clear()
        self._heirs.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        position = recorded.position
        match fact:
            case RewardReserved():
                expires_at = fact.expires_at.isoformat()
                self._new[fact.reservation] = ReservationRow(
                    fact.reservation,
                    fact.reward,
                    fact.partner,
                    fact.member,
                    fact.household,
                    fact.community,
                    fact.minutes,
                    fact.code_sha256,
                    fact.reserved_at.isoformat(),
                    expires_at,
                    fact.reserved_by,
                    position,
                    "reserved",
                    expires_at,
                    microseconds(fact.expires_at),
                )
            case ReservationGivenUp():
                ends_at, ends_at_microseconds = fact.given_up_at.isoformat(), microseconds(fact.given_up_at)
                self._change(
                    fact.reservation, status="given-up", ends_at=ends_at, ends_at_microseconds=ends_at_microseconds
                )
            case ReservationReleased():
                self._change(fact.reservation, status="released", released_by=fact.released_by, cause=fact.cause)
            case RewardCollected():
                at = fact.collected_at.isoformat()
                self._change(fact.reservation, status="collected", collected_at=at, collected_position=position)
                self._add_line(recorded, fact.target, "collected", fact.minutes, at)
            case RedemptionReversed():
                self._change(fact.reservation, status="reversed", reversed_by=fact.reversed_by, reason=fact.reason)
                self._add_line(recorded, fact.source, "reversed", -fact.minutes, None)
            case HouseholdMerged():
                self._heirs.append((fact.into, fact.household))
            case HouseholdClosed() if fact.heir.startswith("household:"):
                self._heirs.append((fact.heir.removeprefix("household:"), fact.household))

    def _add_line(
        self, recorded: Recorded[Any], account: str, kind: str, minutes: int, collected_at: str | None
    ) -> None:
        fact, partner = recorded.envelope.fact, account.removeprefix("partner:")
        what = (partner, kind, fact.reservation, fact.reward, minutes, collected_at)
        self._lines.append((recorded.position, *what, recorded.recorded_at_microseconds))

    def _change(self, reservation: str, **values: CopyValue) -> None:
        row = self._new.get(reservation)
        if row is None:
            self._changed.setdefault(reservation, {}).update(values)
            return
        for column, value in values.items():
            setattr(row, column, value)

    def take(self, *, more: bool = False) -> Write:
        del more
        new, self._new = self._new, {}
        changed, self._changed = self._changed, {}
        lines, self._lines = self._lines, []
        heirs, self._heirs = self._heirs, []

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "reservations", COLUMNS, [astuple(row) for row in new.values()])
            if changed:
                _change_earlier(cursor, changed)
            copy_rows(cursor, "redemptions", LINE_COLUMNS, lines)
            if heirs:
                cursor.executemany("UPDATE reservations SET household = %s WHERE household = %s", heirs)

        return write


def microseconds(at: datetime) -> int:
    """Whole microseconds of Unix time; a float of this size would round them."""
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _change_earlier(cursor: Cursor[Any], changed: dict[str, dict[str, CopyValue]]) -> None:
    """Change reservations that were made in an earlier batch; what is None is kept."""
    columns = ", ".join(("reservation", *CHANGED_COLUMNS))
    cursor.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS reservations_changed ON COMMIT DELETE ROWS"
        f" AS SELECT {columns} FROM reservations WITH NO DATA"
    )
    cursor.execute("TRUNCATE pg_temp.reservations_changed")
    rows = [[number, *(values.get(column) for column in CHANGED_COLUMNS)] for number, values in changed.items()]
    copy_rows(cursor, "pg_temp.reservations_changed", ("reservation", *CHANGED_COLUMNS), rows)
    changes = ", ".join(f"{column} = coalesce(c.{column}, r.{column})" for column in CHANGED_COLUMNS)
    cursor.execute(
        f"UPDATE reservations r SET {changes} FROM pg_temp.reservations_changed c WHERE r.reservation = c.reservation"
    )


async def reservation(connection: AsyncConnection[Any], number: str) -> ReservationRow | None:
    """One reservation, or None."""
    cursor = connection.cursor(row_factory=class_row(ReservationRow))
    await cursor.execute(f"{SELECT} WHERE reservation = %s", (number,))
    return await cursor.fetchone()


async def reservations(
    connection: AsyncConnection[Any],
    *,
    community: str | None = None,
    household: str | None = None,
    partner: str | None = None,
    status: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[ReservationRow]:
    """Reservations in the order they were made, after a reserved position, that match every filter given."""
    filters = {"community": community, "household": household, "partner": partner, "status": status}
    given = {column: value for column, value in filters.items() if value is not None}
    where = "".join(f" AND {column} = %({column})s" for column in given)
    cursor = connection.cursor(row_factory=class_row(ReservationRow))
    await cursor.execute(
        f"{SELECT} WHERE reserved_position > %(after)s{where} ORDER BY reserved_position LIMIT %(limit)s",
        {**given, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def open_reservations(
    connection: AsyncConnection[Any], *, community: str | None, after: tuple[int, str], limit: int
) -> list[ReservationRow]:
    """Reservations that hold minutes, those that end first at the top, after an end (microseconds) and number."""
    cursor = connection.cursor(row_factory=class_row(ReservationRow))
    await cursor.execute(
        f"{SELECT} WHERE {OPEN} AND (ends_at_microseconds, reservation) > (%s, %s)"
        " AND (%s::text IS NULL OR community = %s) ORDER BY ends_at_microseconds, reservation LIMIT %s",
        (*after, community, community, limit),
    )
    return await cursor.fetchall()


def ended_reservations(connection: Connection[Any], before: datetime) -> list[str]:
    """The numbers of reservations that still hold minutes though they ended at or before a time."""
    cursor = connection.execute(
        f"SELECT reservation FROM reservations WHERE {OPEN} AND ends_at_microseconds <= %s"
        " ORDER BY ends_at_microseconds, reservation",
        (microseconds(before),),
    )
    return [number for (number,) in cursor.fetchall()]


async def redemptions(
    connection: AsyncConnection[Any], partner: str, *, after: int, until: int | None, limit: int
) -> list[RedemptionRow]:
    """The lines of a partner between two positions (the later one is included; None: up to the last), in order."""
    cursor = connection.cursor(row_factory=class_row(RedemptionRow))
    await cursor.execute(
        f"SELECT {', '.join(LINE_COLUMNS)} FROM redemptions WHERE partner = %s AND position > %s"
        " AND (%s::bigint IS NULL OR position <= %s) ORDER BY position LIMIT %s",
        (partner, after, until, until, limit),
    )
    return await cursor.fetchall()


async def redeemed_minutes(connection: AsyncConnection[Any], partner: str, *, after: int, until: int | None) -> int:
    """What those lines come to."""
    cursor = await connection.execute(
        "SELECT coalesce(sum(minutes), 0)::bigint FROM redemptions WHERE partner = %s AND position > %s"
        " AND (%s::bigint IS NULL OR position <= %s)",
        (partner, after, until, until),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
