"""The people of the households: who belongs where, and who gives service. Numbers only; names are in the vault."""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.household import AgeAttested, MemberRegistered, VolunteerEnrolled
from projections.projection import Projection, Write, copy_rows


class PersonRow(msgspec.Struct):
    person: str
    household: str
    volunteer: bool = False


COLUMNS: Final = PersonRow.__struct_fields__


class People(Projection):
    """``age_years_min`` is the age that a person is attested to have reached, 0 where none was: for figures alone."""

    name = "people"
    version = 2
    tables = """
        CREATE TABLE people (
            person text COLLATE "C" PRIMARY KEY, household text COLLATE "C" NOT NULL, volunteer boolean NOT NULL,
            age_years_min integer NOT NULL DEFAULT 0
        );
    """
    indexes = """
        CREATE INDEX people_by_household ON people (household, person);
        CREATE INDEX people_of_age ON people (age_years_min) WHERE age_years_min > 0;
    """
    fact_types = (MemberRegistered, VolunteerEnrolled, AgeAttested)

    def __init__(self) -> None:
        self._new: dict[str, PersonRow] = {}
        self._enrolled: list[str] = []
        self._ages: dict[str, int] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._new.clear()
        self._enrolled.clear()
        self._ages.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        if isinstance(fact, MemberRegistered):
            self._new[fact.member] = PersonRow(fact.member, fact.household)
        elif isinstance(fact, VolunteerEnrolled):
            if fact.volunteer in self._new:
                self._new[fact.volunteer].volunteer = True
            else:
                self._enrolled.append(fact.volunteer)
        elif isinstance(fact, AgeAttested):
            self._ages[fact.person] = max(fact.age_years_min, self._ages.get(fact.person, 0))

    def take(self, *, more: bool = False) -> Write:
        del more
        new, self._new = self._new, {}
        enrolled, self._enrolled = self._enrolled, []
        ages, self._ages = self._ages, {}

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "people", COLUMNS, [astuple(row) for row in new.values()])
            if enrolled:
                cursor.execute("UPDATE people SET volunteer = true WHERE person = ANY(%s)", (enrolled,))
            if ages:
                cursor.execute(
                    "UPDATE people p SET age_years_min = greatest(p.age_years_min, a.age_years_min)"
                    " FROM unnest(%s::text[], %s::int[]) AS a (person, age_years_min) WHERE p.person = a.person",
                    (list(ages), list(ages.values())),
                )

        return write


async def person(connection: AsyncConnection[Any], number: str) -> PersonRow | None:
    """One person, or None."""
    cursor = connection.cursor(row_factory=class_row(PersonRow))
    await cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM people WHERE person = %s", (number,))
    return await cursor.fetchone()


async def members(connection: AsyncConnection[Any], household: str) -> list[PersonRow]:
    """All members of one household, by number."""
    cursor = connection.cursor(row_factory=class_row(PersonRow))
    await cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM people WHERE household = %s ORDER BY person", (household,))
    return await cursor.fetchall()
