"""Communities and their grids, as registered, and what they become and are called from which day on."""

from datetime import date
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.community import (
    Community,
    CommunityDissolved,
    CommunityMerged,
    CommunityParted,
    CommunityRegistered,
    CommunityRenamed,
    CommunitySplit,
    GridMoved,
    GridRegistered,
    GridRenamed,
    evolve,
)
from domain.fact import Recorded
from projections.projection import Projection, Write, copy_rows


class CommunityRow(msgspec.Struct):
    """``name`` is today's; ``merged_into`` another community that it becomes, or became, a part of on a day."""

    community: str
    name: str
    grids: int
    merged_into: str | None
    merged_on: str | None


class GridRow(msgspec.Struct):
    """``grid`` is the path below the community joined by ``/``; ``level`` is 1 (base), 2 (meta) or 3 (building);
    ``name`` is what it is called today."""

    community: str
    grid: str
    level: int
    name: str


SPLIT_COLUMNS: Final = ("community", "into_community", "minutes", "effective_on")
MOVE_COLUMNS: Final = ("community", "grid", "into_community", "into_grid", "effective_on")


class Communities(Projection):
    name = "communities"
    version = 3
    tables = """
        CREATE TABLE communities (community text COLLATE "C" PRIMARY KEY, name text NOT NULL);
        CREATE TABLE grids (
            community text COLLATE "C" NOT NULL, grid text COLLATE "C" NOT NULL, level integer NOT NULL,
            PRIMARY KEY (community, grid)
        );
        CREATE TABLE community_names (
            community text COLLATE "C" NOT NULL, name text NOT NULL, effective_on date NOT NULL,
            position bigint NOT NULL
        );
        CREATE TABLE place_moves (
            position bigint PRIMARY KEY, community text COLLATE "C" NOT NULL, grid text NOT NULL,
            into_community text NOT NULL, into_grid text NOT NULL, effective_on date NOT NULL
        );
        CREATE TABLE dissolved_communities (community text COLLATE "C" PRIMARY KEY);
        CREATE TABLE grid_names (
            community text COLLATE "C" NOT NULL, grid text COLLATE "C" NOT NULL, name text NOT NULL,
            effective_on date NOT NULL, position bigint NOT NULL
        );
        CREATE TABLE community_splits (
            community text COLLATE "C" NOT NULL, into_community text COLLATE "C" PRIMARY KEY, minutes bigint NOT NULL,
            effective_on date NOT NULL
        );
        CREATE TABLE parted_communities (into_community text COLLATE "C" PRIMARY KEY);
    """
    fact_types = (
        CommunityRegistered,
        GridRegistered,
        CommunityRenamed,
        CommunityMerged,
        CommunityDissolved,
        GridMoved,
        GridRenamed,
        CommunitySplit,
        CommunityParted,
    )

    def __init__(self) -> None:
        self._communities: list[tuple[str, str]] = []
        self._grids: list[tuple[str, str, int]] = []
        self._names: list[tuple[str, str, str, int]] = []
        self._moves: list[tuple[int, str, str, str, str, str]] = []
        self._dissolved: list[tuple[str]] = []
        self._grid_names: list[tuple[str, str, str, str, int]] = []
        self._splits: list[tuple[str, str, int, str]] = []
        self._parted: list[tuple[str]] = []

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._communities.clear()
        self._grids.clear()
        self._names.clear()
        self._moves.clear()
        self._dissolved.clear()
        self._grid_names.clear()
        self._splits.clear()
        self._parted.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact, position = recorded.envelope.fact, recorded.position
        match fact:
            case CommunityRegistered():
                self._communities.append((fact.community, fact.name))
            case GridRegistered():
                self._grids.append((fact.community, "/".join(fact.grid), len(fact.grid)))
            case CommunityRenamed():
                self._names.append((fact.community, fact.name, fact.effective_on.isoformat(), position))
            case CommunityMerged():
                self._moves.append((position, fact.community, "", fact.into, "", fact.effective_on.isoformat()))
            case GridMoved():
                into = fact.into_community, "/".join(fact.into_grid)
                grid = "/".join(fact.grid)
                self._moves.append((position, fact.community, grid, *into, fact.effective_on.isoformat()))
            case CommunityDissolved():
                self._dissolved.append((fact.community,))
            case GridRenamed():
                named = fact.community, "/".join(fact.grid), fact.name, fact.effective_on.isoformat()
                self._grid_names.append((*named, position))
            case CommunitySplit():
                day = fact.effective_on.isoformat()
                self._splits.append((fact.community, fact.into, fact.minutes, day))
            case CommunityParted():
                self._parted.append((fact.into,))

    def take(self, *, more: bool = False) -> Write:
        del more
        communities, self._communities = self._communities, []
        grids, self._grids = self._grids, []
        names, self._names = self._names, []
        moves, self._moves = self._moves, []
        dissolved, self._dissolved = self._dissolved, []
        grid_names, self._grid_names = self._grid_names, []
        splits, self._splits = self._splits, []
        parted, self._parted = self._parted, []

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "communities", ("community", "name"), communities)
            copy_rows(cursor, "grids", ("community", "grid", "level"), grids)
            copy_rows(cursor, "community_names", ("community", "name", "effective_on", "position"), names)
            copy_rows(cursor, "place_moves", ("position", *MOVE_COLUMNS), moves)
            copy_rows(cursor, "dissolved_communities", ("community",), dissolved)
            copy_rows(cursor, "grid_names", ("community", "grid", "name", "effective_on", "position"), grid_names)
            copy_rows(cursor, "community_splits", SPLIT_COLUMNS, splits)
            copy_rows(cursor, "parted_communities", ("into_community",), parted)

        return write


async def communities(connection: AsyncConnection[Any], *, today: date, after: str, limit: int) -> list[CommunityRow]:
    """Communities in the order of their ids, after a given one, with today's name and the number of their grids."""
    cursor = connection.cursor(row_factory=class_row(CommunityRow))
    await cursor.execute(
        """
        SELECT c.community, coalesce(n.name, c.name) AS name,
               (SELECT count(*) FROM grids g WHERE g.community = c.community) AS grids,
               m.into_community AS merged_into, m.effective_on::text AS merged_on
        FROM communities c
        LEFT JOIN LATERAL (
            SELECT name FROM community_names n WHERE n.community = c.community AND n.effective_on <= %s
            ORDER BY effective_on DESC, position DESC LIMIT 1
        ) n ON true
        LEFT JOIN place_moves m ON m.community = c.community AND m.grid = ''
        WHERE c.community > %s ORDER BY c.community LIMIT %s
        """,
        (today, after, limit),
    )
    return await cursor.fetchall()


class ChangeRow(msgspec.Struct):
    """A place that becomes another one from a day on; each is a community and a grid's path (empty: all of it)."""

    effective_on: str
    place: tuple[str, str]
    into: tuple[str, str]


async def changes(connection: AsyncConnection[Any], community: str | None) -> list[ChangeRow]:
    """What becomes, or became, of the places of a community (None: of all), by day."""
    cursor = await connection.execute(
        "SELECT effective_on::text, community, grid, into_community, into_grid FROM place_moves"
        " WHERE %(community)s::text IS NULL OR community = %(community)s ORDER BY effective_on, position",
        {"community": community},
    )
    return [ChangeRow(row[0], (row[1], row[2]), (row[3], row[4])) for row in await cursor.fetchall()]


def moving_places(cursor: Cursor[Any], position: int | None = None) -> dict[str, Community]:
    """The communities whose places move, each with its moves alone, as recorded up to a position (None: all)."""
    cursor.execute(
        f"SELECT {', '.join(MOVE_COLUMNS)} FROM place_moves"
        " WHERE %(position)s::bigint IS NULL OR position <= %(position)s ORDER BY position",
        {"position": position},
    )
    found: dict[str, Community] = {}
    for community, grid, into_community, into_grid, effective_on in cursor.fetchall():
        moved: CommunityMerged | GridMoved
        if grid:
            path, into_path = tuple(grid.split("/")), tuple(into_grid.split("/"))
            moved = GridMoved(community, path, into_community, into_path, effective_on)
        else:
            moved = CommunityMerged(community, into_community, effective_on)
        found[community] = evolve(found.get(community) or Community(community), moved)
    return found


def mergers_due(cursor: Cursor[Any], today: date) -> list[tuple[str, int]]:
    """Communities that are to be a part of another one by now, and are not, or whose pool holds something since; with
    the position of the pool's last movement."""
    cursor.execute(
        """
        SELECT m.community, coalesce(a.last_position, 0) FROM place_moves m
        LEFT JOIN dissolved_communities d USING (community)
        LEFT JOIN accounts a ON a.account = 'pool:' || m.community
        WHERE m.grid = '' AND m.effective_on <= %s
            AND (d.community IS NULL OR a.balance_minutes <> 0 OR a.held_minutes <> 0)
        ORDER BY m.effective_on, m.community
        """,
        (today,),
    )
    return cursor.fetchall()


def splits_due(cursor: Cursor[Any], today: date) -> list[tuple[str, str]]:
    """The splits whose day has come and that are not carried out: the community, and the new one."""
    cursor.execute(
        "SELECT s.community, s.into_community FROM community_splits s"
        " WHERE s.effective_on <= %s"
        " AND NOT EXISTS (SELECT FROM parted_communities p WHERE p.into_community = s.into_community)"
        " ORDER BY s.effective_on, s.into_community",
        (today,),
    )
    return cursor.fetchall()


async def grids(
    connection: AsyncConnection[Any], community: str, *, today: date, after: str, limit: int
) -> list[GridRow]:
    """One community's grids in the order of their paths, after a given one, with today's names."""
    cursor = connection.cursor(row_factory=class_row(GridRow))
    await cursor.execute(
        """
        SELECT g.community, g.grid, g.level, coalesce(n.name, regexp_replace(g.grid, '^.*/', '')) AS name
        FROM grids g
        LEFT JOIN LATERAL (
            SELECT name FROM grid_names n
            WHERE n.community = g.community AND n.grid = g.grid AND n.effective_on <= %s
            ORDER BY effective_on DESC, position DESC LIMIT 1
        ) n ON true
        WHERE g.community = %s AND g.grid > %s ORDER BY g.grid LIMIT %s
        """,
        (today, community, after, limit),
    )
    return await cursor.fetchall()
