"""Consent to be listed in disclosures: a row for each time that somebody gave it, and until which position it held."""

from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.consent import ConsentGiven, ConsentWithdrawn
from domain.fact import Recorded
from projections.projection import KeptRows


class ConsentRow(msgspec.Struct):
    """One consent, numbered by its person and position. It holds as long as ``withdrawn_position`` is None."""

    consent: str
    person: str
    recorded_by: str
    paper_sha256: str | None
    given_position: int
    given_at_microseconds: int
    withdrawn_by: str | None = None
    withdrawn_position: int | None = None
    withdrawn_at_microseconds: int | None = None


COLUMNS: Final = ConsentRow.__struct_fields__


class Consents(KeptRows[ConsentRow]):
    name = "consents"
    version = 1
    table = "consents"
    row_type = ConsentRow
    tables = """
        CREATE TABLE consents (
            consent text COLLATE "C" PRIMARY KEY,
            person text COLLATE "C" NOT NULL,
            recorded_by text NOT NULL,
            paper_sha256 text,
            given_position bigint NOT NULL,
            given_at_microseconds bigint NOT NULL,
            withdrawn_by text,
            withdrawn_position bigint,
            withdrawn_at_microseconds bigint
        );
    """
    indexes = """
        CREATE INDEX consents_by_person ON consents (person, given_position);
    """
    fact_types = (ConsentGiven, ConsentWithdrawn)

    def __init__(self) -> None:
        super().__init__()
        self._standing: dict[str, str] = {}
        """The consent of each person that has not withdrawn it."""

    def load(self, cursor: Cursor[Any]) -> None:
        super().load(cursor)
        self._standing = {row.person: key for key, row in self.rows.items() if row.withdrawn_position is None}

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case ConsentGiven():
                key = f"{fact.person}/{recorded.position}"
                self._standing[fact.person] = key
                row = ConsentRow(
                    key,
                    fact.person,
                    fact.recorded_by,
                    fact.paper_sha256,
                    recorded.position,
                    recorded.recorded_at_microseconds,
                )
                self.put(key, row)
            case ConsentWithdrawn():
                row = self.change(self._standing.pop(fact.person))
                row.withdrawn_by, row.withdrawn_position = fact.recorded_by, recorded.position
                row.withdrawn_at_microseconds = recorded.recorded_at_microseconds


def consenting(cursor: Cursor[Any], position: int | None) -> set[str]:
    """Everybody who consented at a position; None: who does now."""
    cursor.execute(
        "SELECT person FROM consents WHERE (%(position)s::bigint IS NULL OR given_position <= %(position)s)"
        " AND (withdrawn_position IS NULL OR withdrawn_position > %(position)s)",
        {"position": position},
    )
    return {person for (person,) in cursor.fetchall()}


async def consents(connection: AsyncConnection[Any], person: str) -> list[ConsentRow]:
    """Each time that somebody consented, the latest first."""
    cursor = connection.cursor(row_factory=class_row(ConsentRow))
    await cursor.execute(
        f"SELECT {', '.join(COLUMNS)} FROM consents WHERE person = %s ORDER BY given_position DESC", (person,)
    )
    return await cursor.fetchall()
