"""The district's public figures, counted from the service records whenever they are asked for."""

from datetime import date
from typing import Any, Final

from psycopg import Cursor

from domain.community import Community, became
from domain.figures import Basis, Dimension, Figure
from domain.published_list import Cell, put_together
from projections.community import moving_places

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

_ROLLED_UP: Final = """
    (
        SELECT coalesce(m.into_c, h.community) AS community, coalesce(m.into_g, h.grid) AS grid, recipient_household,
               volunteer, service_minutes, status, worked_on, settled_position, reversed_position
        FROM hours h
        LEFT JOIN unnest(%(c)s::text[], %(g)s::text[], %(into_c)s::text[], %(into_g)s::text[]) m (c, g, into_c, into_g)
            ON m.c = h.community AND m.g = h.grid
    ) AS rolled_up
"""


def _moved(cursor: Cursor[Any], moving: dict[str, Community], day: date) -> list[tuple[str, str, str, str]]:
    """The places of service that have become others by a day, and which."""
    if not moving:
        return []
    cursor.execute("SELECT DISTINCT community, grid FROM hours WHERE community = ANY(%s)", ([*moving],))
    found: list[tuple[str, str, str, str]] = []
    for community, grid in cursor.fetchall():
        path = tuple(grid.split("/")) if grid else ()
        place = became(lambda name: moving.get(name) or Community(name), community, path, day)
        if place != (community, path):
            found.append((community, grid, place[0], "/".join(place[1])))
    return found


def figures(
    cursor: Cursor[Any],
    *,
    basis: Basis = "service",
    until: date | None = None,
    position: int = 0,
    by: Dimension | None = None,
    level: int = 1,
    places_on: date | None = None,
    count_min: int | None = None,
) -> dict[str, Figure]:
    """Figures by key of a dimension; for the whole district (``by`` None) under the one key ``""``.

    ``until`` bounds the day of service for basis ``service``; ``position`` bounds what the journal held for basis
    ``recorded``. With ``places_on`` places are rolled up into what they have become by that day. With ``count_min``
    what is of fewer volunteers or households is put together, for everybody to see: it counts for the community or grid
    above it, or under the key ``""`` (see `domain.published_list`).
    """
    asked: dict[str, Any] = {"until": until, "position": position, "level": level}
    source = "hours"
    if places_on is not None and by in ("community", "grid"):
        moved = _moved(cursor, moving_places(cursor, position if basis == "recorded" else None), places_on)
        if moved:
            asked |= zip(("c", "g", "into_c", "into_g"), map(list, zip(*moved, strict=True)), strict=True)
            source = _ROLLED_UP
    key = "''" if by is None else _KEYS[by]
    services = f"FROM {source} WHERE {_WHERE[basis]}"
    per_household = (
        f"SELECT {key} AS key, recipient_household, sum(service_minutes)::bigint AS minutes, count(*) AS records"
        f" {services} GROUP BY 1, 2"
    )
    if by is not None and count_min is not None:
        cells: dict[tuple[str, ...], Cell] = {}
        for name, household, minutes, records in cursor.execute(per_household, asked).fetchall():
            cell = cells.setdefault(_path(name, by), Cell())
            if household is not None:
                cell.households.add(household)
            cell.service_minutes += minutes
            cell.records += records
        for name, volunteer in cursor.execute(f"SELECT DISTINCT {key}, volunteer {services}", asked).fetchall():
            cells[_path(name, by)].volunteers.add(volunteer)
        return {"/".join(path): cell.figure() for path, cell in put_together(cells, count_min).items()}
    # Two plain aggregations, since count(DISTINCT …) sorts every row.
    cursor.execute(
        f"""
        SELECT key, count(recipient_household), sum(minutes)::bigint, sum(records)::bigint
        FROM ({per_household}) AS per_household
        GROUP BY key ORDER BY key
        """,
        asked,
    )
    found = {key: Figure(households, minutes, records) for key, households, minutes, records in cursor.fetchall()}
    return found or ({"": Figure(0, 0, 0)} if by is None else {})


def _path(key: str, by: Dimension) -> tuple[str, ...]:
    return tuple(key.split("/")) if by == "grid" else (key,)
