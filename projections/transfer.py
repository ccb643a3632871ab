"""Family ties between households, as they stand now and as they once were."""

from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.transfer import FamilyTieEnded, FamilyTieRegistered
from projections.projection import KeptRows


class FamilyTieRow(msgspec.Struct):
    """One tie; the household with the smaller number comes first. ``ended_by`` is None while it holds."""

    tie: str
    household: str
    other_household: str
    registered_by: str
    registered_position: int
    ended_by: str | None = None
    ended_position: int | None = None


COLUMNS: Final = FamilyTieRow.__struct_fields__


class FamilyTies(KeptRows[FamilyTieRow]):
    name = "family_ties"
    version = 1
    table = "family_ties"
    row_type = FamilyTieRow
    tables = """
        CREATE TABLE family_ties (
            tie text COLLATE "C" PRIMARY KEY,
            household text COLLATE "C" NOT NULL,
            other_household text COLLATE "C" NOT NULL,
            registered_by text NOT NULL,
            registered_position bigint NOT NULL,
            ended_by text,
            ended_position bigint
        );
    """
    indexes = """
        CREATE INDEX family_ties_by_household ON family_ties (household);
        CREATE INDEX family_ties_by_other ON family_ties (other_household);
    """
    fact_types = (FamilyTieRegistered, FamilyTieEnded)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        one, other = sorted((fact.household, fact.other_household))
        tie = f"{one}/{other}"
        if isinstance(fact, FamilyTieRegistered):
            self.put(tie, FamilyTieRow(tie, one, other, fact.registered_by, recorded.position))
        elif isinstance(fact, FamilyTieEnded):
            row = self.change(tie)
            row.ended_by, row.ended_position = fact.ended_by, recorded.position


async def family_ties(connection: AsyncConnection[Any], household: str) -> list[FamilyTieRow]:
    """The ties of one household that hold now, in the order they were registered."""
    cursor = connection.cursor(row_factory=class_row(FamilyTieRow))
    await cursor.execute(
        f"SELECT {', '.join(COLUMNS)} FROM family_ties"
        " WHERE %s IN (household, other_household) AND ended_by IS NULL ORDER BY registered_position",
        (household,),
    )
    return await cursor.fetchall()
