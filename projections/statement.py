"""Statements: balances that households took along to other ledgers, or brought; and whose statements are believed."""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.account import BalancePaidIn, BalanceTakenAlong
from domain.fact import Recorded
from domain.statement import LedgerTrusted
from projections.projection import Projection, Write, copy_rows, upsert_rows


class StatementRow(msgspec.Struct):
    """One statement, issued here (``direction`` out) or paid in here (in). ``members`` are joined by spaces;
    ``other_ledger`` is where the minutes went or came from; ``policy`` the version it was decided under."""

    statement: str
    direction: str
    household: str
    other_ledger: str
    minutes: int
    members: str
    policy: int
    position: int
    recorded_at_microseconds: int


class TrustedRow(msgspec.Struct):
    ledger: str
    key: str
    trusted_by: str
    position: int


COLUMNS: Final = StatementRow.__struct_fields__
TRUSTED_COLUMNS: Final = TrustedRow.__struct_fields__


class Statements(Projection):
    name = "statements"
    version = 1
    tables = """
        CREATE TABLE statements (
            statement text COLLATE "C" NOT NULL, direction text NOT NULL, household text NOT NULL,
            other_ledger text NOT NULL, minutes bigint NOT NULL, members text NOT NULL, policy integer NOT NULL,
            position bigint NOT NULL, recorded_at_microseconds bigint NOT NULL, PRIMARY KEY (statement, direction)
        );
        CREATE TABLE trusted_ledgers (
            ledger text COLLATE "C" PRIMARY KEY, key text NOT NULL, trusted_by text NOT NULL, position bigint NOT NULL
        );
    """
    fact_types = (BalanceTakenAlong, BalancePaidIn, LedgerTrusted)

    def __init__(self) -> None:
        self._statements: list[StatementRow] = []
        self._trusted: dict[str, TrustedRow] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._statements.clear()
        self._trusted.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        if isinstance(fact, LedgerTrusted):
            self._trusted[fact.ledger] = TrustedRow(fact.ledger, fact.key, fact.trusted_by, recorded.position)
            return
        out = isinstance(fact, BalanceTakenAlong)
        other = fact.target if out else fact.source
        self._statements.append(
            StatementRow(
                fact.statement,
                "out" if out else "in",
                fact.household,
                other.removeprefix("ledger:"),
                fact.minutes,
                " ".join(fact.members) if out else "",
                recorded.envelope.policy,
                recorded.position,
                recorded.recorded_at_microseconds,
            )
        )

    def take(self, *, more: bool = False) -> Write:
        del more
        statements, self._statements = [astuple(row) for row in self._statements], []
        trusted, self._trusted = [astuple(row) for row in self._trusted.values()], {}

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "statements", COLUMNS, statements)
            upsert_rows(cursor, "trusted_ledgers", TRUSTED_COLUMNS, "ledger", trusted)

        return write


async def issued(connection: AsyncConnection[Any], statement: str) -> StatementRow | None:
    """A statement that this ledger issued, or None."""
    cursor = connection.cursor(row_factory=class_row(StatementRow))
    await cursor.execute(
        f"SELECT {', '.join(COLUMNS)} FROM statements WHERE statement = %s AND direction = 'out'", (statement,)
    )
    return await cursor.fetchone()


async def trusted(connection: AsyncConnection[Any], *, after: str, limit: int) -> list[TrustedRow]:
    """The ledgers whose statements are believed, in the order of their names, after a given one."""
    cursor = connection.cursor(row_factory=class_row(TrustedRow))
    await cursor.execute(
        f"SELECT {', '.join(TRUSTED_COLUMNS)} FROM trusted_ledgers WHERE ledger > %s ORDER BY ledger LIMIT %s",
        (after, limit),
    )
    return await cursor.fetchall()
