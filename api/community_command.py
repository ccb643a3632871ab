"""``timebank places``: the communities and their grids, what they are called, and what becomes of them."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from api.acting import caught_up, queried
from api.terminal import Json, answer
from domain.community import UnknownCommunity
from domain.identifiers import normal_name
from projections import community as projected

LISTED_MAX = 10_000


commands = typer.Typer()


@commands.command()
def places(
    community: Annotated[
        str | None, typer.Argument(help="只看一个社区及其网格。 One community, with its grids.")
    ] = None,
    as_json: Json = False,
) -> None:
    """社区和网格：编号、现在的名称，以及从哪天起成为什么。 Communities and grids, and what becomes of them."""
    name = None if community is None else normal_name(community)
    with caught_up() as bank:
        today = datetime.now(bank.zone).date()
        rows = queried(
            bank, lambda connection: projected.communities(connection, today=today, after="", limit=LISTED_MAX)
        )
        changes = queried(bank, lambda connection: projected.changes(connection, name))
        grids = (
            []
            if name is None
            else queried(
                bank,
                lambda connection: projected.grids(connection, name, today=today, after="", limit=LISTED_MAX),
            )
        )
    rows = [row for row in rows if name in (None, row.community)]
    if name is not None and not rows:
        raise UnknownCommunity(name)

    def show(console: Console) -> None:
        for row in rows:
            called = "" if row.name == row.community else f"   现名 called {row.name}"
            console.print(f"{row.community}{called}   网格 grids {row.grids}")
        for grid in grids:
            called = "" if grid.grid.rpartition("/")[2] == grid.name else f"   现名 called {grid.name}"
            console.print(f"  {grid.grid}{called}")
        for change in changes:
            place, into = ("/".join(filter(None, pair)) for pair in (change.place, change.into))
            console.print(f"  {change.effective_on}: {place} → {into}")

    content = {"communities": rows, "grids": grids, "changes": changes}
    answer(content, as_json, show)
