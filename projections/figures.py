"""The district's public figures, counted from the service records whenever they are asked for."""

from datetime import date
from typing import Any, Final

from psycopg import Cursor

from domain.figures import Basis, Dimension, Figure

_KEYS: Final[dict[Dimension, str]] = {
    "community": "community",
    "grid": "community || array_to_string('{\"\"}'::text[] || (string_to_array(grid, '/'))[1:%(level)s], '/')",
    "service": "service",
    "month": "to_char(worked_on, 'YYYY-MM')",
}
_WHERE: Final[dict[Basis, str]] = {
    "service": "status = 'confirmed' AND (%(until)s::date IS NULL OR worked_on <= %(until)s)",
    "recorded": (
        "status IN ('confirmed', 'reversed') AND settled_position <= %(position)s"
        " AND (reversed_position IS NULL OR reversed_position > %(position)s)"
    ),
}


def figures(
    cursor: Cursor[Any],
    *,
    basis: Basis = "service",
    until: date | None = None,
    position: int = 0,
    by: Dimension | None = None,
    level: int = 1,
) -> dict[str, Figure]:
    """Figures by key of a dimension; for the whole district (``by`` None) under the one key ``""``.

    ``until`` bounds the day of service for basis ``service``; ``position`` bounds what the journal held for basis
    ``recorded``.
    """
    key = "''" if by is None else _KEYS[by]
    # Two plain aggregations, since count(DISTINCT …) sorts every row.
    cursor.execute(
        f"""
        SELECT key, count(recipient_household), sum(minutes)::bigint, sum(records)::bigint
        FROM (
            SELECT {key} AS key, recipient_household, sum(service_minutes) AS minutes, count(*) AS records
            FROM hours WHERE {_WHERE[basis]} GROUP BY 1, 2
        ) AS per_household
        GROUP BY key ORDER BY key
        """,
        {"until": until, "position": position, "level": level},
    )
    cells = {key: Figure(households, minutes, records) for key, households, minutes, records in cursor.fetchall()}
    return cells or ({"": Figure(0, 0, 0)} if by is None else {})
