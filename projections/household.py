"""The households, where each one is and whether it is open, and their people: who belongs where, and who gives service.

Numbers only; names are in the vault.
"""

from collections.abc import Collection
from datetime import date
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from domain.account import household_account
from domain.fact import Recorded
from domain.household import (
    AgeAttested,
    HouseholdClosed,
    HouseholdFact,
    HouseholdMerged,
    HouseholdMoveCalledOff,
    HouseholdMoved,
    HouseholdMovePlanned,
    HouseholdRegistered,
    HouseholdSplit,
    MemberDied,
    MemberLeft,
    MemberMoved,
    MemberRegistered,
    VolunteerEnrolled,
)
from projections.projection import Projection, Write, upsert_rows


class PersonRow(msgspec.Struct):
    """``household`` is None, and ``status`` says why, for somebody who is no member any more."""

    person: str
    household: str | None
    volunteer: bool = False
    status: str = "member"


class HouseholdRow(msgspec.Struct):
    """``grid`` is the path joined by ``/``; ``heir`` the account that stands in the place of a closed one.

    ``deserted_position`` is where the last of its members left or died, while nobody has come since. ``moves_on`` is
    the day of a planned move, and ``moves_to`` where to, with the grid's path after a ``/``.
    """

    household: str
    community: str
    grid: str
    status: str = "open"
    members: int = 0
    deserted_position: int | None = None
    heir: str | None = None
    closed_position: int | None = None
    moves_on: str | None = None
    moves_to: str | None = None
    move_planned_position: int | None = None


PERSON_COLUMNS: Final = PersonRow.__struct_fields__
HOUSEHOLD_COLUMNS: Final = HouseholdRow.__struct_fields__


class People(Projection):
    """Held in memory while the projector runs, as accounts are: a district has some thousand of each.

    ``age_years_min`` is the age that a person is attested to have reached, 0 where none was: for figures alone.
    """

    name = "people"
    version = 4
    tables = """
        CREATE TABLE people (
            person text COLLATE "C" PRIMARY KEY, household text COLLATE "C", volunteer boolean NOT NULL,
            status text NOT NULL, age_years_min integer NOT NULL DEFAULT 0
        );
        CREATE TABLE households (
            household text COLLATE "C" PRIMARY KEY, community text COLLATE "C" NOT NULL, grid text NOT NULL,
            status text NOT NULL, members integer NOT NULL, deserted_position bigint, heir text, closed_position bigint,
            moves_on text, moves_to text, move_planned_position bigint
        );
    """
    indexes = """
        CREATE INDEX people_by_household ON people (household, person);
        CREATE INDEX people_of_age ON people (age_years_min) WHERE age_years_min > 0;
        CREATE INDEX households_moving ON households (moves_on) WHERE moves_on IS NOT NULL AND status = 'open';
        CREATE INDEX households_by_heir ON households (heir) WHERE heir IS NOT NULL;
        CREATE INDEX households_deserted ON households (household)
            WHERE status = 'open' AND deserted_position IS NOT NULL;
    """
    fact_types = (
        *get_args(HouseholdFact),
        MemberRegistered,
        VolunteerEnrolled,
        AgeAttested,
        MemberLeft,
        MemberMoved,
        MemberDied,
    )

    def __init__(self) -> None:
        self._people: dict[str, PersonRow] = {}
        self._households: dict[str, HouseholdRow] = {}
        self._changed_people: dict[str, PersonRow] = {}
        self._changed_households: dict[str, HouseholdRow] = {}
        self._ages: dict[str, int] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(f"SELECT {', '.join(PERSON_COLUMNS)} FROM people")
        self._people = {row[0]: PersonRow(*row) for row in cursor}
        cursor.execute(f"SELECT {', '.join(HOUSEHOLD_COLUMNS)} FROM households")
        self._households = {row[0]: HouseholdRow(*row) for row in cursor}
        self._changed_people.clear()
        self._changed_households.clear()
        self._ages.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case MemberRegistered():
                self._person(fact.member, fact.household, recorded.position)
            case VolunteerEnrolled():
                person = self._people.get(fact.volunteer)
                if person is not None:
                    person.volunteer = True
                    self._changed_people[person.person] = person
            case AgeAttested():
                self._ages[fact.person] = max(fact.age_years_min, self._ages.get(fact.person, 0))
            case MemberMoved():
                self._person(fact.member, fact.into, recorded.position)
            case MemberLeft():
                self._person(fact.member, None, recorded.position, "left")
            case MemberDied():
                self._person(fact.member, None, recorded.position, "died").volunteer = False
            case HouseholdRegistered():
                self._place(fact.household, fact.community, fact.grid)
            case HouseholdMoved():
                row = self._place(fact.household, fact.community, fact.grid)
                if fact.planned or row.moves_to == "/".join((fact.community, *fact.grid)):
                    row.moves_on = row.moves_to = row.move_planned_position = None
            case HouseholdMovePlanned():
                row = self._changed_household(fact.household)
                row.moves_on, row.moves_to = fact.moves_on.isoformat(), "/".join((fact.community, *fact.grid))
                row.move_planned_position = recorded.position
            case HouseholdMoveCalledOff():
                row = self._changed_household(fact.household)
                row.moves_on = row.moves_to = row.move_planned_position = None
            case HouseholdSplit():
                self._place(fact.into, fact.community, fact.grid)
                for member in fact.members:
                    self._person(member, fact.into, recorded.position)
            case HouseholdMerged():
                self._close(fact.household, "merged", household_account(fact.into), recorded.position)
                for member in fact.members:
                    self._person(member, fact.into, recorded.position)
            case HouseholdClosed():
                self._close(fact.household, "closed", fact.heir, recorded.position)
                for member in fact.members:
                    self._person(member, None, recorded.position, "left")

    def _person(self, number: str, household: str | None, position: int, status: str = "member") -> PersonRow:
        row = self._people.get(number)
        if row is None:
            row = self._people[number] = PersonRow(number, None)
        for home, change in ((row.household, -1), (household, 1)):
            if home is not None and (left := self._households.get(home)) is not None:
                left.members += change
                left.deserted_position = None if left.members else position
                self._changed_households[home] = left
        row.household, row.status = household, status
        self._changed_people[number] = row
        return row

    def _place(self, number: str, community: str, grid: tuple[str, ...]) -> HouseholdRow:
        if number not in self._households:
            self._households[number] = HouseholdRow(number, community, "")
        row = self._changed_household(number)
        row.community, row.grid = community, "/".join(grid)
        return row

    def _changed_household(self, number: str) -> HouseholdRow:
        """A household's row, which is about to be changed."""
        row = self._changed_households[number] = self._households[number]
        return row

    def _close(self, number: str, status: str, heir: str, position: int) -> None:
        row = self._households.get(number)
        if row is not None:
            row.status, row.heir, row.closed_position = status, heir, position
            self._changed_households[number] = row

    def take(self, *, more: bool = False) -> Write:
        del more
        people, self._changed_people = [astuple(row) for row in self._changed_people.values()], {}
        households, self._changed_households = [astuple(row) for row in self._changed_households.values()], {}
        ages, self._ages = self._ages, {}

        def write(cursor: Cursor[Any]) -> None:
            upsert_rows(cursor, "people", PERSON_COLUMNS, "person", people)
            if ages:
                cursor.execute(
                    "UPDATE people p SET age_years_min = greatest(p.age_years_min, a.age_years_min)"
                    " FROM unnest(%s::text[], %s::int[]) AS a (person, age_years_min) WHERE p.person = a.person",
                    (list(ages), list(ages.values())),
                )
            upsert_rows(cursor, "households", HOUSEHOLD_COLUMNS, "household", households)

        return write


async def person(connection: AsyncConnection[Any], number: str) -> PersonRow | None:
    """One person, or None."""
    cursor = connection.cursor(row_factory=class_row(PersonRow))
    await cursor.execute(f"SELECT {', '.join(PERSON_COLUMNS)} FROM people WHERE person = %s", (number,))
    return await cursor.fetchone()


async def members(connection: AsyncConnection[Any], household: str) -> list[PersonRow]:
    """All members of one household, by number."""
    cursor = connection.cursor(row_factory=class_row(PersonRow))
    await cursor.execute(
        f"SELECT {', '.join(PERSON_COLUMNS)} FROM people WHERE household = %s ORDER BY person", (household,)
    )
    return await cursor.fetchall()


async def household(connection: AsyncConnection[Any], number: str) -> HouseholdRow | None:
    """One household, or None."""
    cursor = connection.cursor(row_factory=class_row(HouseholdRow))
    await cursor.execute(f"SELECT {', '.join(HOUSEHOLD_COLUMNS)} FROM households WHERE household = %s", (number,))
    return await cursor.fetchone()


async def stood_for(connection: AsyncConnection[Any], household: str) -> list[str]:
    """A household and all that were merged into it or taken over by it, however often: whose past it answers for."""
    cursor = await connection.execute(
        'WITH RECURSIVE past AS (SELECT %(household)s::text COLLATE "C" AS household UNION'
        " SELECT h.household FROM households h JOIN past ON h.heir = 'household:' || past.household)"
        " SELECT household FROM past",
        {"household": household},
    )
    return [number for (number,) in await cursor.fetchall()]


async def concerns(connection: AsyncConnection[Any], person: str, *households: str | None) -> bool:
    """Whether somebody is of one of these households, or of the one that stands in its place by now."""
    cursor = await connection.execute("SELECT household FROM people WHERE person = %s", (person,))
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        return False
    return row[0] in households or not {*households}.isdisjoint(await stood_for(connection, row[0]))


def moves_due(connection: Connection[Any], today: date) -> list[tuple[str, int]]:
    """The open households whose planned move is due, each with the position that it was planned at."""
    return connection.execute(
        "SELECT household, move_planned_position FROM households"
        " WHERE status = 'open' AND moves_on <= %s ORDER BY moves_on, household",
        (today.isoformat(),),
    ).fetchall()


def in_places(connection: Connection[Any], communities: Collection[str]) -> list[HouseholdRow]:
    """The open households of some communities, by number."""
    cursor = connection.cursor(row_factory=class_row(HouseholdRow))
    cursor.execute(
        f"SELECT {', '.join(HOUSEHOLD_COLUMNS)} FROM households"
        " WHERE status = 'open' AND community = ANY(%s) ORDER BY household",
        ([*communities],),
    )
    return cursor.fetchall()


async def deserted(
    connection: AsyncConnection[Any], *, community: str | None, after: str, limit: int
) -> list[HouseholdRow]:
    """Open households that somebody once belonged to and nobody does any more: they are to be closed."""
    cursor = connection.cursor(row_factory=class_row(HouseholdRow))
    await cursor.execute(
        f"SELECT {', '.join(HOUSEHOLD_COLUMNS)} FROM households WHERE status = 'open' AND deserted_position IS NOT NULL"
        " AND household > %s AND (%s::text IS NULL OR community = %s) ORDER BY household LIMIT %s",
        (after, community, community, limit),
    )
    return await cursor.fetchall()
