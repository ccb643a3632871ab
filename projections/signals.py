"""Risk signals, found in the service records whenever they are asked for: one statement a rule, of bounded size.

The rules are those of domain/signals.py, with their parameters. A community's own signals look at that community's
records alone; only what is usual in the district (shares) is counted from all of them.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

from psycopg import Cursor

from domain.policy import PolicyAdopted
from domain.signals import RULES, Signal

SIGNALS_MAX: Final = 100
RECORDS_MAX: Final = 20

_DISTRICT: Final = """
    district AS (
        SELECT record, volunteer, household, recipient_household, community, worked_on, started_at, ended_at,
               claimed_minutes, service_minutes, status, settled_by, confirmed_as, logged_position
        FROM hours WHERE status IN ('logged', 'confirmed') AND worked_on BETWEEN %(since)s AND %(until)s
    ),
    services AS (SELECT * FROM district WHERE %(community)s::text IS NULL OR community = %(community)s)
"""


def _rings(giver: str, taker: str, given: str) -> str:
    """Those who give to one another in a ring of two or more, each mostly to the next.

    At half of the records or more, nobody gives mostly to more than two, and hardly anybody to more than one: there are
    few ways to go round.
    """
    return f"""
        pairs AS (
            SELECT {giver} AS giver, {taker} AS taker, count(*) AS records FROM services WHERE {given} GROUP BY 1, 2
        ),
        edges AS (
            SELECT giver, taker
            FROM (SELECT *, sum(records) OVER (PARTITION BY giver) AS all_records FROM pairs) AS shares
            WHERE records >= %(records_min)s AND 100 * records >= %(share_percent_min)s * all_records AND giver <> taker
        ),
        rings AS (
            WITH RECURSIVE walks AS (  -- each begins with its least, so that no ring is met twice
                SELECT ARRAY[giver, taker] AS who FROM edges WHERE giver < taker
                UNION ALL
                SELECT who || taker FROM walks JOIN edges ON giver = who[cardinality(who)]
                WHERE cardinality(who) < %(people_max)s AND taker > who[1] AND taker <> ALL (who)
            )
            SELECT who FROM walks JOIN edges ON giver = who[cardinality(who)] AND taker = who[1]
        ),
        turns AS (
            SELECT who, who[turn] AS giver, who[turn %% cardinality(who) + 1] AS taker
            FROM rings, generate_subscripts(who, 1) AS turn
        ),
        hits AS (
            SELECT who, '{{}}'::jsonb AS measured, s.*
            FROM turns t JOIN services s ON s.{giver} = t.giver AND s.{taker} = t.taker AND {given}
        )
    """


_ONE_CONFIRMER: Final = """
    counts AS (
        SELECT community, volunteer, settled_by, count(*) AS records FROM services
        WHERE status = 'confirmed' AND confirmed_as = 'staff' GROUP BY 1, 2, 3
    ),
    suspects AS (
        SELECT volunteer, settled_by, records, all_records
        FROM (
            SELECT volunteer, settled_by, sum(records) AS records,
                   sum(sum(records)) OVER (PARTITION BY volunteer) AS all_records
            FROM counts GROUP BY 1, 2
        ) AS shares
        WHERE all_records >= %(records_min)s AND 100 * records >= %(share_percent_min)s * all_records
    ),
    everywhere AS (SELECT community, sum(records) AS records FROM counts GROUP BY 1),
    by_confirmer AS (SELECT community, settled_by, sum(records) AS records FROM counts GROUP BY 1, 2),
    usual AS (  -- how many of the volunteer's records that person would have confirmed, were it anybody else's
        SELECT s.volunteer, sum(own.records * CASE WHEN e.records = own.records THEN 1
                ELSE (coalesce(b.records, 0) - own.by_suspect) / (e.records - own.records) END) AS records
        FROM suspects s
        JOIN LATERAL (
            SELECT community, sum(records) AS records,
                   coalesce(sum(records) FILTER (WHERE c.settled_by = s.settled_by), 0) AS by_suspect
            FROM counts c WHERE c.volunteer = s.volunteer GROUP BY 1
        ) AS own ON true
        JOIN everywhere e USING (community)
        LEFT JOIN by_confirmer b ON b.community = own.community AND b.settled_by = s.settled_by
        GROUP BY 1
    ),
    hits AS (
        SELECT ARRAY[s.volunteer, s.settled_by] AS who,
               jsonb_build_object('share_percent', floor(100 * s.records / s.all_records)::int,
                                  'usual_percent', round(100 * usual.records / s.all_records)::int) AS measured,
               services.*
        FROM suspects s JOIN usual USING (volunteer)
        JOIN services ON services.volunteer = s.volunteer AND services.settled_by = s.settled_by
             AND services.status = 'confirmed' AND services.confirmed_as = 'staff'
        WHERE 100 * usual.records <= %(usual_percent_max)s * s.all_records
    )
"""

_IMPLAUSIBLE_DAY: Final = """
    ordered AS (
        SELECT *, community <> lag(community) OVER day
                  AND started_at::timestamptz - lag(ended_at::timestamptz) OVER day
                      < make_interval(mins => %(travel_minutes_min)s) AS moved
        FROM services
        WINDOW day AS (PARTITION BY volunteer, worked_on ORDER BY started_at::timestamptz)
    ),
    days AS (
        SELECT volunteer, worked_on, count(*) AS records, sum(claimed_minutes) AS minutes,
               count(*) FILTER (WHERE moved) AS moves
        FROM ordered GROUP BY 1, 2
        HAVING count(*) >= %(records_min)s OR sum(claimed_minutes) >= %(minutes_min)s
            OR count(*) FILTER (WHERE moved) >= %(moves_min)s
    ),
    hits AS (
        SELECT ARRAY[volunteer] AS who,
               jsonb_build_object('day', worked_on, 'records', records, 'minutes', minutes, 'moves', moves) AS measured,
               services.*
        FROM days JOIN services USING (volunteer, worked_on)
    )
"""

_BURST: Final = """
    changes AS (
        SELECT * FROM unnest(%(versions)s::int[], %(effective)s::date[]) AS policy (version, effective_on)
        WHERE version > 1 AND effective_on - %(days)s * %(spans_before)s >= %(since)s
    ),
    spans AS (  -- numbered back from the one that begins with the change, which is 0
        SELECT version, effective_on, community,
               ceil((effective_on - worked_on)::numeric / %(days)s) AS span, count(*) AS records
        FROM changes
        JOIN services ON worked_on >= effective_on - %(days)s * %(spans_before)s AND worked_on < effective_on + %(days)s
        GROUP BY 1, 2, 3, 4
    ),
    volumes AS (  -- the busiest before, since a span may be that of a holiday
        SELECT version, effective_on, community,
               max(records) FILTER (WHERE span > 0) AS before, max(records) FILTER (WHERE span = 0) AS after
        FROM spans GROUP BY 1, 2, 3
    ),
    hits AS (
        SELECT ARRAY[community] AS who,
               jsonb_build_object('policy_version', version, 'effective_on', effective_on,
                                  'records_before', before, 'records_after', after) AS measured,
               services.*
        FROM volumes JOIN services USING (community)
        WHERE after >= %(records_min)s AND 100 * after >= %(growth_percent_min)s * before
          AND worked_on >= effective_on AND worked_on < effective_on + %(days)s
    )
"""

_AT_THE_LIMIT: Final = """
    limits AS (
        SELECT * FROM unnest(%(effective)s::date[], %(until_day)s::date[], %(record_max)s::int[], %(day_max)s::int[])
            AS policy (first_day, last_day, record_minutes_max, day_minutes_max)
    ),
    days AS MATERIALIZED (
        SELECT volunteer, community, worked_on, sum(minutes) OVER day = day_minutes_max AS whole_day,
               record_minutes_max, sum(minutes) OVER day = day_minutes_max
                   OR bool_or(longest = record_minutes_max) OVER day AS at_limit
        FROM (
            SELECT volunteer, community, worked_on, sum(claimed_minutes) AS minutes, max(claimed_minutes) AS longest
            FROM district GROUP BY 1, 2, 3
        ) AS places
        JOIN limits ON worked_on BETWEEN first_day AND last_day
        WINDOW day AS (PARTITION BY volunteer, worked_on)
    ),
    usual AS (SELECT 100.0 * count(*) FILTER (WHERE at_limit) / greatest(count(*), 1) AS percent FROM days),
    suspects AS (
        SELECT volunteer, count(DISTINCT worked_on) AS days,
               count(DISTINCT worked_on) FILTER (WHERE at_limit) AS limit_days
        FROM days WHERE %(community)s::text IS NULL OR community = %(community)s
        GROUP BY 1 HAVING count(*) FILTER (WHERE at_limit) >= %(days_min)s
    ),
    hits AS (
        SELECT ARRAY[volunteer] AS who,
               jsonb_build_object('days', limit_days, 'share_percent', (100 * limit_days / s.days)::int,
                                  'usual_percent', round(percent)::int) AS measured,
               services.*
        FROM suspects s
        JOIN usual ON limit_days >= %(days_min)s AND 100.0 * limit_days / s.days >= percent + %(points_above_min)s
        JOIN services USING (volunteer)
        JOIN days d USING (volunteer, community, worked_on)
        WHERE d.whole_day OR claimed_minutes = d.record_minutes_max
    )
"""

_ALWAYS_ROUND: Final = """
    usual AS (
        SELECT 100.0 * count(*) FILTER (WHERE claimed_minutes %% %(step_minutes)s = 0) / greatest(count(*), 1)
               AS percent
        FROM district
    ),
    suspects AS (
        SELECT volunteer, count(*) AS records, count(*) FILTER (WHERE claimed_minutes %% %(step_minutes)s = 0) AS round
        FROM services GROUP BY 1 HAVING count(*) >= %(records_min)s
    ),
    hits AS (
        SELECT ARRAY[volunteer] AS who,
               jsonb_build_object('share_percent', (100 * s.round / s.records)::int,
                                  'usual_percent', round(percent)::int) AS measured,
               services.*
        FROM suspects s
        JOIN usual ON 100 * s.round >= %(share_percent_min)s * s.records
             AND 100.0 * s.round / s.records >= percent + %(points_above_min)s
        JOIN services USING (volunteer) WHERE claimed_minutes %% %(step_minutes)s = 0
    )
"""

_HITS: Final[dict[str, str]] = {
    "confirmation-ring": _rings("volunteer", "settled_by", "status = 'confirmed'"),
    "service-ring": _rings("household", "recipient_household", "recipient_household IS NOT NULL"),
    "one-confirmer": _ONE_CONFIRMER,
    "implausible-day": _IMPLAUSIBLE_DAY,
    "burst-after-change": _BURST,
    "at-the-limit": _AT_THE_LIMIT,
    "always-round": _ALWAYS_ROUND,
}
"""Each rule's ``hits``: one row for each record of each signal, with ``who`` and what was ``measured``."""


def signals(
    cursor: Cursor[Any],
    rule: str,
    *,
    since: date,
    until: date,
    policies: Sequence[PolicyAdopted],
    community: str | None = None,
) -> tuple[int, list[Signal]]:
    """How many signals a rule gives for services begun from one day to another, and those with the most records."""
    effective = [adopted.effective_on for adopted in policies]
    asked = {
        **RULES[rule].parameters,
        "since": since,
        "until": until,
        "community": community,
        "versions": [adopted.version for adopted in policies],
        "effective": effective,
        "until_day": [day - timedelta(days=1) for day in effective[1:]] + [date.max],
        "record_max": [adopted.policy.record_minutes_max for adopted in policies],
        "day_max": [adopted.policy.day_minutes_max for adopted in policies],
        "records_shown": RECORDS_MAX,
        "signals_shown": SIGNALS_MAX,
    }
    cursor.execute(
        f"""
        WITH {_DISTRICT}, {_HITS[rule]}
        SELECT who, array_agg(DISTINCT community), measured, count(*), sum(service_minutes)::bigint,
               (array_agg(record ORDER BY logged_position))[1:%(records_shown)s], count(*) OVER ()
        FROM hits GROUP BY who, measured ORDER BY count(*) DESC, who, measured LIMIT %(signals_shown)s
        """,
        asked,
    )
    rows = cursor.fetchall()
    return (rows[0][-1] if rows else 0), [Signal(*row[:-1]) for row in rows]
