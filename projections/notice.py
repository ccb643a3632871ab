"""Where to look for what may have to be reminded of: queries on other read models, which only say whom to ask about."""

from datetime import date, datetime
from typing import Any

from psycopg import Cursor

from projections.dispute import microseconds


def reservations_ending(cursor: Cursor[Any], now: datetime, until: datetime) -> list[str]:
    """Reservations that can be collected, and end within the time."""
    cursor.execute(
        "SELECT reservation FROM reservations WHERE status = 'reserved'"
        " AND ends_at_microseconds > %s AND ends_at_microseconds <= %s ORDER BY ends_at_microseconds, reservation",
        (microseconds(now), microseconds(until)),
    )
    return [reservation for (reservation,) in cursor.fetchall()]


def disputes_ending(cursor: Cursor[Any], now: datetime, until: datetime) -> list[str]:
    """Open disputes of which the hearing, or the time to decide, ends within the time."""
    cursor.execute(
        "SELECT dispute FROM disputes WHERE status = 'open' AND NOT escalated"
        " AND decision_due_microseconds > %(now)s"
        " AND (decision_due_microseconds <= %(until)s"
        "  OR (hearing_until_microseconds > %(now)s AND hearing_until_microseconds <= %(until)s))"
        " ORDER BY opened_position",
        {"now": microseconds(now), "until": microseconds(until)},
    )
    return [dispute for (dispute,) in cursor.fetchall()]


def requests_beginning(cursor: Cursor[Any], now: datetime, until: datetime) -> list[str]:
    """Requests that are open or agreed, and may begin within the time."""
    cursor.execute(
        "SELECT request FROM requests WHERE status IN ('open', 'accepted')"
        " AND earliest_at_microseconds > %s AND earliest_at_microseconds <= %s ORDER BY asked_position",
        (microseconds(now), microseconds(until)),
    )
    return [request for (request,) in cursor.fetchall()]


def households_with_lapsing(cursor: Cursor[Any], today: date, until: date) -> list[str]:
    """Households of which announced minutes lapse by a day."""
    cursor.execute(
        "SELECT DISTINCT household FROM expiries WHERE status = 'announced' AND expires_on > %s AND expires_on <= %s"
        " ORDER BY household",
        (today, until),
    )
    return [household for (household,) in cursor.fetchall()]


def records_waiting(cursor: Cursor[Any]) -> list[tuple[str, int]]:
    """How many records wait for confirmation in each community, without those brought in from older books."""
    cursor.execute(
        "SELECT community, count(*) FROM hours WHERE status = 'logged' AND NOT imported GROUP BY community"
        " ORDER BY community"
    )
    return [(community, count) for community, count in cursor.fetchall()]
