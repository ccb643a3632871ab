"""Service requests and the offers for them: where each stands, what is open for a volunteer, what waits too long."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.hours import RequestFulfilled
from domain.matching import Place
from domain.request import (
    OfferAccepted,
    OfferMade,
    OfferWithdrawn,
    RequestAsked,
    RequestCancelled,
    RequestExpired,
    RequestFact,
    RequestFollowed,
    RequestRescheduled,
)
from projections.hours import to_the_minute
from projections.projection import Projection, Write, upsert_rows

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RequestRow(msgspec.Struct, gc=False):
    """One request. Times of the window carry the ledger's offset; those ending in ``_microseconds`` are Unix times.

    ``needs`` are separated by spaces, ``grid`` is the path joined by ``/``; ``held_minutes`` were held when it was
    asked; ``volunteer`` is the one accepted, ``record`` the service record that fulfils it; ``changed_…`` tell of its
    last fact.
    """

    request: str
    household: str
    community: str
    grid: str
    service: str
    earliest_at: str
    latest_at: str
    earliest_at_microseconds: int
    expires_at_microseconds: int
    estimated_minutes: int
    needs: str
    held_minutes: int
    asked_by: str
    asked_position: int
    asked_at_microseconds: int
    changed_position: int
    changed_at_microseconds: int
    status: str = "open"
    volunteer: str | None = None
    accepted_by: str | None = None
    accepted_at_microseconds: int | None = None
    record: str | None = None


class OfferRow(msgspec.Struct, gc=False):
    """A volunteer's last offer for a request: ``made``, ``accepted``, ``withdrawn``, or ``lapsed`` with its window."""

    request: str
    volunteer: str
    offered_by: str
    offered_position: int
    offered_at_microseconds: int
    status: str = "made"


COLUMNS: Final = RequestRow.__struct_fields__
OFFER_COLUMNS: Final = OfferRow.__struct_fields__
SELECT: Final = f"SELECT {', '.join('r.' + column for column in COLUMNS)} FROM requests r"
SELECT_OFFERS: Final = f"SELECT {', '.join('o.' + column for column in OFFER_COLUMNS)} FROM offers o"
ACTIVE: Final = "r.status IN ('open', 'accepted')"


def unix_microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


class Requests(Projection):
    """Requests that are not over yet are held in memory: they alone change, and there are never many."""

    name = "requests"
    version = 1
    tables = """
        CREATE TABLE requests (
            request text COLLATE "C" PRIMARY KEY,
            household text COLLATE "C" NOT NULL,
            community text NOT NULL,
            grid text NOT NULL,
            service text NOT NULL,
            earliest_at text NOT NULL,
            latest_at text NOT NULL,
            earliest_at_microseconds bigint NOT NULL,
            expires_at_microseconds bigint NOT NULL,
            estimated_minutes integer NOT NULL,
            needs text NOT NULL,
            held_minutes integer NOT NULL,
            asked_by text NOT NULL,
            asked_position bigint NOT NULL,
            asked_at_microseconds bigint NOT NULL,
            changed_position bigint NOT NULL,
            changed_at_microseconds bigint NOT NULL,
            status text NOT NULL,
            volunteer text COLLATE "C",
            accepted_by text,
            accepted_at_microseconds bigint,
            record text
        );
        CREATE TABLE offers (
            request text COLLATE "C" NOT NULL,
            volunteer text COLLATE "C" NOT NULL,
            offered_by text NOT NULL,
            offered_position bigint NOT NULL,
            offered_at_microseconds bigint NOT NULL,
            status text NOT NULL,
            PRIMARY KEY (request, volunteer)
        );
    """
    indexes = """
        CREATE UNIQUE INDEX requests_by_position ON requests (asked_position);
        CREATE INDEX requests_by_household ON requests (household, asked_position);
        CREATE INDEX requests_by_community ON requests (community, asked_position);
        CREATE INDEX requests_open ON requests (asked_position) WHERE status = 'open';
        CREATE INDEX requests_to_expire ON requests (expires_at_microseconds) WHERE status IN ('open', 'accepted');
        CREATE INDEX offers_by_volunteer ON offers (volunteer, request);
    """
    fact_types = get_args(RequestFact)

    def __init__(self) -> None:
        self._rows: dict[str, RequestRow] = {}
        self._offers: dict[str, dict[str, OfferRow]] = {}
        self._changed: dict[str, RequestRow] = {}
        self._changed_offers: dict[tuple[str, str], OfferRow] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(f"{SELECT} WHERE {ACTIVE}")
        self._rows = {row[0]: RequestRow(*row) for row in cursor}
        self._offers = {request: {} for request in self._rows}
        cursor.execute(f"{SELECT_OFFERS} JOIN requests r ON r.request = o.request WHERE {ACTIVE}")
        for row in cursor:
            self._offers[row[0]][row[1]] = OfferRow(*row)
        self._changed.clear()
        self._changed_offers.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        if isinstance(fact, RequestAsked):
            self._rows[fact.request] = _asked(fact, recorded)
            self._offers[fact.request] = {}
        row, offers = self._rows[fact.request], self._offers[fact.request]
        row.changed_position, row.changed_at_microseconds = recorded.position, recorded.recorded_at_microseconds
        self._changed[row.request] = row
        match fact:
            case OfferMade():
                at = recorded.recorded_at_microseconds
                offers[fact.volunteer] = OfferRow(row.request, fact.volunteer, fact.offered_by, recorded.position, at)
                self._offer_is(fact.request, fact.volunteer, "made")
            case OfferAccepted():
                row.status, row.volunteer, row.accepted_by = "accepted", fact.volunteer, fact.accepted_by
                row.accepted_at_microseconds = recorded.recorded_at_microseconds
                row.expires_at_microseconds = unix_microseconds(fact.expires_at)
                self._offer_is(fact.request, fact.volunteer, "accepted")
            case OfferWithdrawn():
                self._offer_is(fact.request, fact.volunteer, "withdrawn")
                if fact.expires_at is not None:
                    _reopen(row, fact.expires_at)
            case RequestRescheduled():
                row.earliest_at, row.latest_at = to_the_minute(fact.earliest_at), to_the_minute(fact.latest_at)
                row.earliest_at_microseconds = unix_microseconds(fact.earliest_at)
                _reopen(row, fact.expires_at)
                for offer in [offer for offer in offers.values() if offer.status in ("made", "accepted")]:
                    self._offer_is(fact.request, offer.volunteer, "lapsed")
            case RequestFulfilled():
                row.status, row.record = "fulfilled", fact.record
            case RequestCancelled():
                row.status = "cancelled"
            case RequestExpired():
                row.status = "expired"
            case RequestFollowed():
                row.household, row.community, row.grid = fact.household, fact.community, "/".join(fact.grid)

    def _offer_is(self, request: str, volunteer: str, status: str) -> None:
        offer = self._offers[request][volunteer]
        offer.status = status
        self._changed_offers[request, volunteer] = offer

    def take(self, *, more: bool = False) -> Write:
        del more
        rows = [astuple(row) for row in self._changed.values()]
        offers = [astuple(offer) for offer in self._changed_offers.values()]
        for row in self._changed.values():
            if row.status not in ("open", "accepted"):
                del self._rows[row.request], self._offers[row.request]
        self._changed.clear()
        self._changed_offers.clear()

        def write(cursor: Cursor[Any]) -> None:
            upsert_rows(cursor, "requests", COLUMNS, "request", rows)
            upsert_rows(cursor, "offers", OFFER_COLUMNS, "request, volunteer", offers)

        return write


def _asked(fact: RequestAsked, recorded: Recorded[Any]) -> RequestRow:
    return RequestRow(
        fact.request,
        fact.household,
        fact.community,
        "/".join(fact.grid),
        fact.service,
        to_the_minute(fact.earliest_at),
        to_the_minute(fact.latest_at),
        unix_microseconds(fact.earliest_at),
        unix_microseconds(fact.expires_at),
        fact.estimated_minutes,
        " ".join(fact.needs),
        fact.held_minutes,
        fact.asked_by,
        recorded.position,
        recorded.recorded_at_microseconds,
        recorded.position,
        recorded.recorded_at_microseconds,
    )


def _reopen(row: RequestRow, expires_at: datetime) -> None:
    row.status, row.volunteer, row.accepted_by, row.accepted_at_microseconds = "open", None, None, None
    row.expires_at_microseconds = unix_microseconds(expires_at)


async def request(connection: AsyncConnection[Any], number: str) -> RequestRow | None:
    """One request, or None."""
    cursor = connection.cursor(row_factory=class_row(RequestRow))
    await cursor.execute(f"{SELECT} WHERE r.request = %s", (number,))
    return await cursor.fetchone()


async def offers(connection: AsyncConnection[Any], number: str) -> list[OfferRow]:
    """The offers for one request, whatever became of them, in the order in which they were made."""
    cursor = connection.cursor(row_factory=class_row(OfferRow))
    await cursor.execute(f"{SELECT_OFFERS} WHERE o.request = %s ORDER BY o.offered_position", (number,))
    return await cursor.fetchall()


async def offer(connection: AsyncConnection[Any], number: str, volunteer: str) -> OfferRow | None:
    """One volunteer's offer for one request, or None."""
    cursor = connection.cursor(row_factory=class_row(OfferRow))
    await cursor.execute(f"{SELECT_OFFERS} WHERE o.request = %s AND o.volunteer = %s", (number, volunteer))
    return await cursor.fetchone()


async def requests(
    connection: AsyncConnection[Any],
    *,
    community: str | None = None,
    household: str | None = None,
    volunteer: str | None = None,
    status: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[RequestRow]:
    """Requests in the order they were asked, after an asked position, that match every filter given; ``volunteer``: for
    which an offer of theirs stands."""
    filters = {"community": community, "household": household, "status": status}
    given = {column: value for column, value in filters.items() if value is not None}
    where = "".join(f" AND r.{column} = %({column})s" for column in given)
    if volunteer is not None:
        where += (
            " AND EXISTS (SELECT FROM offers o WHERE o.request = r.request AND o.volunteer = %(volunteer)s"
            " AND o.status IN ('made', 'accepted'))"
        )
    cursor = connection.cursor(row_factory=class_row(RequestRow))
    await cursor.execute(
        f"{SELECT} WHERE r.asked_position > %(after)s{where} ORDER BY r.asked_position LIMIT %(limit)s",
        {**given, "volunteer": volunteer, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


class OpenRow(RequestRow, gc=False):
    """An open request as one volunteer is shown it: their distance from it, whether they have given that service, and
    whether an offer of theirs stands."""

    distance: int = 0
    service_is_new: bool = False
    offered: bool = False

    @property
    def rank(self) -> tuple[int, bool, int, int]:
        """As `domain.matching.rank`, with the window's begin as microseconds."""
        return (self.distance, self.service_is_new, self.earliest_at_microseconds, self.asked_position)


FIRST_RANK: Final = (-1, False, 0, 0)
OPEN: Final = f"""
    SELECT * FROM (
        SELECT {", ".join("r." + column for column in COLUMNS)},
               CASE WHEN r.community <> %(community)s THEN 4
                    WHEN r.grid = %(building)s::text THEN 0
                    WHEN r.grid = %(meta)s::text OR starts_with(r.grid, %(meta)s::text || '/') THEN 1
                    WHEN r.grid = %(base)s::text OR starts_with(r.grid, %(base)s::text || '/') THEN 2
                    ELSE 3 END AS distance,
               r.service NOT IN (
                   SELECT h.service FROM hours h WHERE h.volunteer = %(volunteer)s AND h.status = 'confirmed'
               ) AS service_is_new,
               EXISTS (
                   SELECT FROM offers o
                   WHERE o.request = r.request AND o.volunteer = %(volunteer)s AND o.status = 'made'
               ) AS offered
        FROM requests r
        WHERE r.status = 'open' AND r.expires_at_microseconds > %(now)s AND r.household <> %(household)s
              AND NOT EXISTS (SELECT FROM households c WHERE c.household = r.household AND c.status <> 'open')
    ) AS found
    WHERE (distance, service_is_new, earliest_at_microseconds, asked_position)
          > (%(distance)s::integer, %(service_is_new)s::boolean, %(earliest)s::bigint, %(position)s::bigint)
    ORDER BY distance, service_is_new, earliest_at_microseconds, asked_position
    LIMIT %(limit)s
"""
"""`domain.matching.rank`, spelt out for the database; a test holds the two together."""


async def open_requests(
    connection: AsyncConnection[Any],
    *,
    volunteer: str,
    household: str,
    home: Place,
    now_microseconds: int,
    after: tuple[int, bool, int, int] = FIRST_RANK,
    limit: int = 100,
) -> list[OpenRow]:
    """What is open for a volunteer who lives at ``home``, nearest first (`domain.matching`), after a given rank. Their
    own household's requests are not, nor those of one that is closed by now."""
    levels = ["/".join(home.grid[:depth]) if len(home.grid) >= depth else None for depth in (1, 2, 3)]
    cursor = connection.cursor(row_factory=class_row(OpenRow))
    await cursor.execute(
        OPEN,
        {
            "volunteer": volunteer,
            "household": household,
            "community": home.community,
            **dict(zip(("base", "meta", "building"), levels, strict=True)),
            "now": now_microseconds,
            **dict(zip(("distance", "service_is_new", "earliest", "position"), after, strict=True)),
            "limit": limit,
        },
    )
    return await cursor.fetchall()


async def waiting(
    connection: AsyncConnection[Any],
    *,
    community: str | None,
    asked_before_microseconds: int,
    after: int = 0,
    limit: int = 100,
) -> tuple[int, list[RequestRow]]:
    """How many requests of a community (None: of all) nobody has been accepted for, asked before a time; and those
    after an asked position, the longest waiting first."""
    where = "r.status = 'open' AND r.asked_at_microseconds < %s AND (%s::text IS NULL OR r.community = %s)"
    asked = (asked_before_microseconds, community, community)
    counted = await (await connection.execute(f"SELECT count(*) FROM requests r WHERE {where}", asked)).fetchone()
    cursor = connection.cursor(row_factory=class_row(RequestRow))
    await cursor.execute(
        f"{SELECT} WHERE {where} AND r.asked_position > %s ORDER BY r.asked_position LIMIT %s", (*asked, after, limit)
    )
    return (counted or (0,))[0], await cursor.fetchall()


def offers_to_lapse(connection: Connection[Any]) -> list[tuple[str, str, int]]:
    """Offers that stand though who made them has died, left, or is of the household that asks by now; each with the
    position that it was made at."""
    return connection.execute(
        "SELECT o.request, o.volunteer, o.offered_position FROM requests r JOIN offers o USING (request)"
        " JOIN people p ON p.person = o.volunteer"
        f" WHERE {ACTIVE} AND o.status IN ('made', 'accepted')"
        " AND (p.household IS NULL OR NOT p.volunteer OR p.household = r.household) ORDER BY o.offered_position"
    ).fetchall()


def over(connection: Connection[Any], now: datetime) -> Sequence[str]:
    """The requests whose time is over, and that nothing has ended yet."""
    found = connection.execute(
        f"SELECT r.request FROM requests r WHERE {ACTIVE} AND r.expires_at_microseconds <= %s"
        " ORDER BY r.expires_at_microseconds, r.request",
        (unix_microseconds(now),),
    )
    return [number for (number,) in found]
