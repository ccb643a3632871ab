"""Communities and their grids, as registered."""

from typing import Any

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.community import CommunityRegistered, GridRegistered
from domain.fact import Recorded
from projections.projection import Projection, Write, copy_rows


class CommunityRow(msgspec.Struct):
    community: str
    name: str
    grids: int


class GridRow(msgspec.Struct):
    """``grid`` is the path below the community joined by ``/``; ``level`` is 1 (base), 2 (meta) or 3 (building)."""

    community: str
    grid: str
    level: int


class Communities(Projection):
    name = "communities"
    version = 1
    tables = """
        CREATE TABLE communities (community text COLLATE "C" PRIMARY KEY, name text NOT NULL);
        CREATE TABLE grids (
            community text COLLATE "C" NOT NULL, grid text COLLATE "C" NOT NULL, level integer NOT NULL,
            PRIMARY KEY (community, grid)
        );
    """
    fact_types = (CommunityRegistered, GridRegistered)

    def __init__(self) -> None:
        self._communities: list[tuple[str, str]] = []
        self._grids: list[tuple[str, str, int]] = []

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._communities.clear()
        self._grids.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        if isinstance(fact, CommunityRegistered):
            self._communities.append((fact.community, fact.name))
        elif isinstance(fact, GridRegistered):
            self._grids.append((fact.community, "/".join(fact.grid), len(fact.grid)))

    def take(self, *, more: bool = False) -> Write:
        del more
        communities, self._communities = self._communities, []
        grids, self._grids = self._grids, []

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "communities", ("community", "name"), communities)
            copy_rows(cursor, "grids", ("community", "grid", "level"), grids)

        return write


async def communities(connection: AsyncConnection[Any], *, after: str, limit: int) -> list[CommunityRow]:
    """Communities in the order of their ids, after a given one, with the number of their grids."""
    cursor = connection.cursor(row_factory=class_row(CommunityRow))
    await cursor.execute(
        "SELECT c.community, c.name, (SELECT count(*) FROM grids g WHERE g.community = c.community) AS grids"
        " FROM communities c WHERE c.community > %s ORDER BY c.community LIMIT %s",
        (after, limit),
    )
    return await cursor.fetchall()


async def grids(connection: AsyncConnection[Any], community: str, *, after: str, limit: int) -> list[GridRow]:
    """One community's grids in the order of their paths, after a given one."""
    cursor = connection.cursor(row_factory=class_row(GridRow))
    await cursor.execute(
        "SELECT community, grid, level FROM grids WHERE community = %s AND grid > %s ORDER BY grid LIMIT %s",
        (community, after, limit),
    )
    return await cursor.fetchall()
