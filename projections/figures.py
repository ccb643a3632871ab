"""The district's public figures, counted from the service records whenever they are asked for."""

from datetime import date
from typing import Any, Final

from psycopg import Cursor

from domain.community import Community, became
from domain.figures import Basis, Dimension, Figure
from domain.published_list import Counted, put_together
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

_PER_HOUSEHOLD: Final = """
    SELECT {key} AS key, recipient_household, sum(service_minutes) AS minutes, count(*) AS records
    FROM {source} WHERE {where} GROUP BY 1, 2
"""
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
) -> dict[str, Figure]:
    """Figures by key of a dimension; for the whole district (``by`` None) under the one key ``""``.

    ``until`` bounds the day of service for basis ``service``; ``position`` bounds what the journal held for basis
    ``recorded``. With ``places_on`` places are rolled up into what they have become by that day.
    """
    key, source, asked = _asked(cursor, basis, until, position, by, level, places_on)
    # Two plain aggregations, since count(DISTINCT …) sorts every row.
    cursor.execute(
        f"""
        SELECT key, count(recipient_household), sum(minutes)::bigint, sum(records)::bigint
        FROM ({_PER_HOUSEHOLD.format(key=key, source=source, where=_WHERE[basis])}) AS per_household
        GROUP BY key ORDER BY key
        """,
        asked,
    )
    cells = {key: Figure(households, minutes, records) for key, households, minutes, records in cursor.fetchall()}
    return cells or ({"": Figure(0, 0, 0)} if by is None else {})


def published_figures(
    cursor: Cursor[Any],
    count_min: int,
    *,
    basis: Basis,
    until: date | None,
    position: int,
    by: Dimension,
    level: int,
    places_on: date | None,
) -> dict[str, Figure]:
    """As `figures`, for everybody to see: what is of fewer than so many volunteers or households is put together.

    It then counts for the community or grid above it, or under the key ``""``; see `domain.published_list`.
    """
    key, source, asked = _asked(cursor, basis, until, position, by, level, places_on)
    cells: dict[tuple[str, ...], Counted] = {}
    cursor.execute(_PER_HOUSEHOLD.format(key=key, source=source, where=_WHERE[basis]), asked)
    for name, household, minutes, records in cursor.fetchall():
        cell = cells.setdefault(_path(name, by), Counted())
        if household is not None:
            cell.households.add(household)
        cell.minutes += int(minutes)
        cell.records += records
    cursor.execute(f"SELECT DISTINCT {key} AS key, volunteer FROM {source} WHERE {_WHERE[basis]}", asked)
    for name, volunteer in cursor.fetchall():
        cells[_path(name, by)].volunteers.add(volunteer)
    return {"/".join(path): cell.figure() for path, cell in put_together(cells, count_min).items()}


def _path(key: str, by: Dimension) -> tuple[str, ...]:
    return tuple(key.split("/")) if by == "grid" else (key,)


def _asked(
    cursor: Cursor[Any],
    basis: Basis,
    until: date | None,
    position: int,
    by: Dimension | None,
    level: int,
    places_on: date | None,
) -> tuple[str, str, dict[str, Any]]:
    """The expression of the key, what it is asked of, and the parameters of both."""
    asked: dict[str, Any] = {"until": until, "position": position, "level": level}
    source = "hours"
    if places_on is not None and by in ("community", "grid"):
        moved = _moved(cursor, moving_places(cursor, position if basis == "recorded" else None), places_on)
        if moved:
            asked |= zip(("c", "g", "into_c", "into_g"), map(list, zip(*moved, strict=True)), strict=True)
            source = _ROLLED_UP
    return "''" if by is None else _KEYS[by], source, asked
