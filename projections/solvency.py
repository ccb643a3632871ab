"""The solvency board's figures, counted from accounts, movements and records whenever they are asked for."""

from calendar import monthrange
from datetime import date
from typing import Any, Final

from psycopg import Cursor

from domain.solvency import (
    IDLE_MONTHS,
    SAVER_AGE_YEARS_MIN,
    SERVED_MONTHS,
    Identity,
    IdleSaver,
    MonthServed,
    Outstanding,
    Requests,
    Waiting,
)

SAVERS_SHOWN: Final = 100
SPENDING: Final = ("hours-confirmed.v1", "reward-collected.v1", "minutes-transferred.v1", "minutes-donated.v1")
"""Movements by which a household uses its minutes; what is capped, expires, is carried or reversed isn't its doing."""

_ACCOUNTS: Final = """
    (SELECT account, balance_minutes, coalesce(a.community, g.community) AS community
     FROM accounts a LEFT JOIN groups g ON a.account = 'group:' || g.group_id)
"""
"""Accounts with their communities: a group's is known of the group alone."""
_OWN: Final = "(community = %(community)s OR %(community)s::text IS NULL)"


def outstanding(cursor: Cursor[Any], community: str | None) -> tuple[Outstanding, int]:
    """What is promised, and what accounts below zero owe, in minutes."""
    cursor.execute(
        f"""
        SELECT coalesce(sum(balance_minutes) FILTER (WHERE kind = 'household' AND balance_minutes > 0), 0)::bigint,
               coalesce(sum(balance_minutes) FILTER (WHERE kind = 'group' AND balance_minutes > 0), 0)::bigint,
               coalesce(sum(balance_minutes) FILTER (WHERE kind = 'pool' AND balance_minutes > 0), 0)::bigint,
               coalesce(-sum(balance_minutes) FILTER (WHERE balance_minutes < 0), 0)::bigint
        FROM (SELECT split_part(account, ':', 1) AS kind, * FROM {_ACCOUNTS} AS accounts WHERE {_OWN}) AS kinds
        WHERE kind IN ('household', 'group', 'pool')
        """,
        {"community": community},
    )
    ((households, groups, pools, overdrawn),) = cursor.fetchall()
    return Outstanding(households, groups, pools, households + groups + pools), overdrawn


def served(cursor: Cursor[Any], community: str | None, today: date) -> list[MonthServed]:
    """Service in each of the last whole months, oldest first, from the first one with any."""
    this_month = today.replace(day=1)
    cursor.execute(
        f"""
        WITH months AS (
            SELECT date_trunc('month', worked_on) AS month, sum(service_minutes)::bigint AS minutes
            FROM hours WHERE status = 'confirmed' AND {_OWN} AND worked_on < %(this_month)s GROUP BY 1
        )
        SELECT to_char(month, 'YYYY-MM'), coalesce(minutes, 0)
        FROM generate_series(
            greatest((SELECT min(month) FROM months), %(first_month)s::date), %(this_month)s::date - interval '1 month',
            interval '1 month'
        ) AS month LEFT JOIN months USING (month)
        WHERE EXISTS (SELECT FROM months) ORDER BY month
        """,
        {"community": community, "first_month": months_before(this_month, SERVED_MONTHS), "this_month": this_month},
    )
    return [MonthServed(*row) for row in cursor.fetchall()]


def identity(cursor: Cursor[Any]) -> Identity:
    """Where all issued minutes of the ledger are, by the accounts' balances."""
    cursor.execute(
        "SELECT split_part(account, ':', 1) AS kind, sum(balance_minutes)::bigint FROM accounts GROUP BY kind"
    )
    held = dict(cursor.fetchall())
    return Identity(
        None,
        -held.get("issuance", 0),
        0,
        held.get("household", 0) + held.get("group", 0),
        held.get("pool", 0),
        held.get("partner", 0) + held.get("settled", 0),
        held.get("expired", 0),
        held.get("ledger", 0),
    )


def identities(cursor: Cursor[Any], community: str | None) -> list[Identity]:
    """Where each community's issued minutes are: what it holds by its accounts' balances, all else by the movements."""
    cursor.execute(
        f"""
        WITH own AS (
            SELECT account, coalesce(community, '') AS community, balance_minutes,
                   account LIKE 'pool:%%' AS pool
            FROM {_ACCOUNTS} AS accounts WHERE account ~ '^(household|group|pool):'
        ),
        flows AS (SELECT source, target, sum(minutes) AS minutes FROM movements GROUP BY 1, 2),
        sides AS (  -- what came into, and (negative) went out of, accounts of a community, and to or from what
            SELECT own.community, other.community AS other_community, split_part(source, ':', 1) AS other, minutes
            FROM flows JOIN own ON own.account = target LEFT JOIN own other ON other.account = source
            UNION ALL
            SELECT own.community, other.community, split_part(target, ':', 1), -minutes
            FROM flows JOIN own ON own.account = source LEFT JOIN own other ON other.account = target
        ),
        moved AS (
            SELECT community,
                   sum(minutes) FILTER (WHERE other = 'issuance') AS issued,
                   sum(minutes) FILTER (WHERE other_community <> community) AS moved_in,
                   -sum(minutes) FILTER (WHERE other IN ('partner', 'settled')) AS spent,
                   -sum(minutes) FILTER (WHERE other = 'expired') AS expired,
                   -sum(minutes) FILTER (WHERE other = 'ledger') AS left_ledger
            FROM sides GROUP BY 1
        ),
        held AS (
            SELECT community, sum(balance_minutes) FILTER (WHERE NOT pool) AS held,
                   sum(balance_minutes) FILTER (WHERE pool) AS pooled
            FROM own GROUP BY 1
        )
        SELECT community, coalesce(issued, 0)::bigint, coalesce(moved_in, 0)::bigint, coalesce(held, 0)::bigint,
               coalesce(pooled, 0)::bigint, coalesce(spent, 0)::bigint, coalesce(expired, 0)::bigint,
               coalesce(left_ledger, 0)::bigint
        FROM held LEFT JOIN moved USING (community)
        WHERE community = %(community)s OR %(community)s::text IS NULL ORDER BY community COLLATE "C"
        """,
        {"community": community},
    )
    return [Identity(*row) for row in cursor.fetchall()]


def waiting(cursor: Cursor[Any], community: str | None, since_microseconds: int) -> Waiting:
    """How long records confirmed since then had waited, in whole minutes."""
    cursor.execute(
        f"""
        SELECT count(*), (percentile_disc(0.5) WITHIN GROUP (ORDER BY minutes))::bigint,
               (percentile_disc(0.9) WITHIN GROUP (ORDER BY minutes))::bigint
        FROM (
            SELECT (settled_at_microseconds - logged_at_microseconds) / 60000000 AS minutes
            FROM hours
            WHERE status IN ('confirmed', 'reversed') AND NOT imported AND settled_at_microseconds >= %(since)s
              AND {_OWN}
        ) AS waits
        """,
        {"community": community, "since": since_microseconds},
    )
    ((records, median, ninetieth),) = cursor.fetchall()
    return Waiting(records, median, ninetieth)


def requests(cursor: Cursor[Any], community: str | None, since_microseconds: int) -> Requests:
    """What became of the service requests that were asked since then."""
    cursor.execute(
        f"""
        SELECT count(*), count(*) FILTER (WHERE status = 'fulfilled'), count(*) FILTER (WHERE status = 'cancelled'),
               count(*) FILTER (WHERE status = 'expired'), count(*) FILTER (WHERE status = 'accepted'),
               count(*) FILTER (WHERE status = 'open'), count(*) FILTER (WHERE status IN ('expired', 'open')),
               coalesce(sum(estimated_minutes) FILTER (WHERE status IN ('expired', 'open')), 0)::bigint,
               (percentile_disc(0.5) WITHIN GROUP (ORDER BY waited))::bigint,
               (percentile_disc(0.9) WITHIN GROUP (ORDER BY waited))::bigint
        FROM (
            SELECT *, (accepted_at_microseconds - asked_at_microseconds) / 60000000 AS waited FROM requests
        ) AS requests WHERE asked_at_microseconds >= %(since)s AND {_OWN}
        """,
        {"community": community, "since": since_microseconds},
    )
    (row,) = cursor.fetchall()
    return Requests(*row)


def idle_savers(cursor: Cursor[Any], community: str | None, today: date, zone: str) -> tuple[int, int, list[IdleSaver]]:
    """How many households of old savers leave their minutes idle, how many minutes these are, and those with the most.

    What came with a service record counts for the day of that service, everything else for the day it was recorded.
    """
    cursor.execute(
        f"""
        WITH savers AS (
            SELECT household, a.account, a.community, a.balance_minutes, max(age_years_min) AS age_years_min
            FROM people JOIN accounts a ON a.account = 'household:' || household
            WHERE age_years_min >= %(age)s AND a.balance_minutes > 0 AND {_OWN}
            GROUP BY 1, 2, 3, 4
        ),
        histories AS (
            SELECT s.*,
                (SELECT min(coalesce(h.worked_on, (to_timestamp(m.recorded_at_microseconds / 1000000)
                                                   AT TIME ZONE %(zone)s)::date))
                 FROM movements m LEFT JOIN hours h USING (record)
                 WHERE m.target = s.account AND m.target <> 'issuance') AS first_saved_on,
                (SELECT max(coalesce(h.worked_on, (to_timestamp(m.recorded_at_microseconds / 1000000)
                                                   AT TIME ZONE %(zone)s)::date))
                 FROM movements m LEFT JOIN hours h USING (record)
                 WHERE m.source = s.account AND m.source <> 'issuance' AND m.kind = ANY (%(spending)s)) AS last_spent_on
            FROM savers s
        )
        SELECT household, community, balance_minutes, age_years_min, first_saved_on::text, last_spent_on::text,
               count(*) OVER (), (sum(balance_minutes) OVER ())::bigint
        FROM histories
        WHERE first_saved_on <= %(idle_since)s AND (last_spent_on IS NULL OR last_spent_on < %(idle_since)s)
        ORDER BY balance_minutes DESC, household LIMIT %(shown)s
        """,
        {
            "community": community,
            "age": SAVER_AGE_YEARS_MIN,
            "idle_since": months_before(today, IDLE_MONTHS),
            "zone": zone,
            "spending": list(SPENDING),
            "shown": SAVERS_SHOWN,
        },
    )
    rows = cursor.fetchall()
    return (*rows[0][-2:], [IdleSaver(*row[:-2]) for row in rows]) if rows else (0, 0, [])


def months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or its last day where it has none such."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
