"""Who of an imported history can play in scenes: asked of the imported records alone, which no scene changes."""

from datetime import UTC, date, datetime
from typing import Any, Final

from psycopg import Cursor

from domain.community import GridPath

_IMPORTED: Final = "imported AND status = 'confirmed'"
"""The one thing that could change is a person's reversal of an imported record, which no scene does."""


def served(cursor: Cursor[Any]) -> list[tuple[str, str, GridPath]]:
    """Households that were served, none of which earns, with community and grid; in the order of their numbers."""
    cursor.execute(
        f"""
        SELECT recipient_household, min(community), min(grid) FROM hours
        WHERE {_IMPORTED} AND recipient_household IS NOT NULL
          AND recipient_household NOT IN (SELECT household FROM hours WHERE imported)
        GROUP BY 1 ORDER BY recipient_household COLLATE "C"
        """
    )
    return [(household, community, tuple(filter(None, grid.split("/")))) for household, community, grid in cursor]


def visitor_at_home(cursor: Cursor[Any], volunteer: str) -> tuple[str, str] | None:
    """A volunteer's household, and the community that they served in most; None where they never served."""
    cursor.execute(
        f"""
        SELECT household, community FROM hours WHERE {_IMPORTED} AND volunteer = %s
        GROUP BY 1, 2 ORDER BY count(*) DESC, community COLLATE "C" LIMIT 1
        """,
        (volunteer,),
    )
    return next(iter(cursor.fetchall()), None)


def volunteers_of(cursor: Cursor[Any], community: str, limit: int) -> list[str]:
    """The first volunteers, by their numbers, whose households belong to a community."""
    cursor.execute(
        """
        SELECT volunteer FROM hours JOIN households USING (household) WHERE imported AND households.community = %s
        GROUP BY 1 ORDER BY volunteer LIMIT %s
        """,
        (community, limit),
    )
    return [volunteer for (volunteer,) in cursor]


def last_serving(cursor: Cursor[Any], limit: int) -> list[str]:
    """The volunteers who served last, in the order of their numbers."""
    cursor.execute(
        f"SELECT volunteer FROM (SELECT volunteer, max(worked_on) AS last FROM hours WHERE {_IMPORTED} GROUP BY 1) AS v"
        " ORDER BY last DESC, volunteer LIMIT %s",
        (limit,),
    )
    return sorted(volunteer for (volunteer,) in cursor)


def last_served_on(cursor: Cursor[Any]) -> date:
    """The last day of imported service."""
    cursor.execute(f"SELECT max(worked_on) FROM hours WHERE {_IMPORTED}")
    ((day,),) = cursor.fetchall()
    return day  # type: ignore[no-any-return]


def oldest_credits(cursor: Cursor[Any], but_of: str, limit: int) -> list[tuple[str, str]]:
    """The oldest records by which households, but for one, earned; each with its household."""
    cursor.execute(
        f"SELECT household, record FROM hours WHERE {_IMPORTED} AND household <> %s"
        " ORDER BY worked_on, record LIMIT %s",
        (but_of, limit),
    )
    return cursor.fetchall()


def last_settled(
    cursor: Cursor[Any], *, community: str | None = None, volunteer: str | None = None, not_by: str, but_of: str = ""
) -> tuple[str, datetime] | None:
    """The last record of service to a household, of a community or a volunteer, that somebody else than ``not_by``
    confirmed and that didn't earn for the household ``but_of``; and when the journal recorded that."""
    cursor.execute(
        f"""
        SELECT record, settled_at_microseconds FROM hours
        WHERE {_IMPORTED} AND recipient_household IS NOT NULL AND settled_by <> %(not_by)s AND household <> %(but_of)s
          AND (%(community)s::text IS NULL OR community = %(community)s)
          AND (%(volunteer)s::text IS NULL OR volunteer = %(volunteer)s)
        ORDER BY worked_on DESC, record DESC LIMIT 1
        """,
        {"not_by": not_by, "but_of": but_of, "community": community, "volunteer": volunteer},
    )
    for record, microseconds in cursor:
        return record, datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return None


def base_grids(cursor: Cursor[Any], community: str) -> list[str]:
    """The base grids of a community that service was recorded in, by their names."""
    cursor.execute(
        "SELECT DISTINCT split_part(grid, '/', 1) AS base FROM hours WHERE imported AND community = %s AND grid <> ''"
        " ORDER BY base",
        (community,),
    )
    return [base for (base,) in cursor]
