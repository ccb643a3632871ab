"""Accounts: each one's balance and what it is made of, and the statement: every movement with its running balances."""

from typing import Any, Final, get_args

import msgspec
import psycopg
from msgspec.structs import astuple
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row, tuple_row

from domain.account import (
    ISSUANCE,
    AccountFact,
    CappedMinutesReturned,
    GrantApproved,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesGranted,
    MinutesHeld,
    MinutesReleased,
    PoolFunded,
    RedemptionReversed,
    RewardCollected,
    StartingMinutesGranted,
    household_account,
    pool_account,
)
from domain.community import CommunityRegistered
from domain.fact import Movement, Recorded
from domain.household import HouseholdMoved, HouseholdRegistered, HouseholdSplit
from projections.projection import Lines, Projection, Write, upsert_rows


class AccountRow(msgspec.Struct, gc=False):
    """One account as of the projections' position. ``last_activity_microseconds`` is the recorded-at (Unix) of its
    last movement. Always: balance = earned - spent + granted - capped + received - given; ``held_minutes`` are part of
    the balance."""

    account: str
    community: str | None = None
    grid: str = ""
    balance_minutes: int = 0
    earned_minutes: int = 0
    spent_minutes: int = 0
    granted_minutes: int = 0
    capped_minutes: int = 0
    received_minutes: int = 0
    given_minutes: int = 0
    held_minutes: int = 0
    last_position: int = 0
    last_activity_microseconds: int | None = None


ACCOUNT_COLUMNS: Final = AccountRow.__struct_fields__
SELECT: Final = f"SELECT {', '.join(ACCOUNT_COLUMNS)} FROM accounts"
ONE: Final = SELECT + " WHERE account = %s"
MOVEMENT_COLUMNS: Final = (
    "position",
    "kind",
    "source",
    "target",
    "minutes",
    "record",
    "recorded_at_microseconds",
    "source_balance_minutes",
    "target_balance_minutes",
)


class Accounts(Projection):
    """All accounts, held in memory while the projector runs (a district has some thousand)."""

    name = "accounts"
    version = 3
    tables = """
        CREATE TABLE accounts (
            account text COLLATE "C" PRIMARY KEY,
            community text,
            grid text NOT NULL,
            balance_minutes bigint NOT NULL,
            earned_minutes bigint NOT NULL,
            spent_minutes bigint NOT NULL,
            granted_minutes bigint NOT NULL,
            capped_minutes bigint NOT NULL,
            received_minutes bigint NOT NULL,
            given_minutes bigint NOT NULL,
            held_minutes bigint NOT NULL,
            last_position bigint NOT NULL,
            last_activity_microseconds bigint
        );
        CREATE TABLE movements (
            position bigint NOT NULL,
            kind text NOT NULL,
            source text NOT NULL,
            target text NOT NULL,
            minutes bigint NOT NULL,
            record text,
            recorded_at_microseconds bigint NOT NULL,
            source_balance_minutes bigint NOT NULL,
            target_balance_minutes bigint NOT NULL
        );
    """
    indexes = """
        CREATE INDEX movements_by_source ON movements (source, position) WHERE source <> 'issuance';
        CREATE INDEX movements_by_target ON movements (target, position) WHERE target <> 'issuance';
        CREATE INDEX accounts_by_community ON accounts (community, account);
    """
    fact_types = (HouseholdRegistered, HouseholdMoved, HouseholdSplit, CommunityRegistered, *get_args(AccountFact))

    def __init__(self) -> None:
        self.rows: dict[str, AccountRow] = {}
        self._changed: dict[str, AccountRow] = {}
        self._movements = Lines()

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(SELECT)
        self.rows = {row[0]: AccountRow(*row) for row in cursor}
        self._changed.clear()
        self._movements = Lines()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        if isinstance(fact, Movement):
            self._move(recorded, fact)
        elif isinstance(fact, MinutesHeld):
            self._row(fact.account).held_minutes += fact.minutes
        elif isinstance(fact, MinutesReleased):
            self._row(fact.account).held_minutes -= fact.minutes
        elif isinstance(fact, HouseholdRegistered | HouseholdMoved | HouseholdSplit):
            number = fact.into if isinstance(fact, HouseholdSplit) else fact.household
            row = self._row(household_account(number))
            row.community, row.grid = fact.community, "/".join(fact.grid)
        elif isinstance(fact, CommunityRegistered):
            self._row(pool_account(fact.community)).community = fact.community

    def _row(self, account: str) -> AccountRow:
        row = self.rows.get(account)
        if row is None:
            row = self.rows[account] = AccountRow(account)
        self._changed[account] = row
        return row

    def _move(self, recorded: Recorded[Any], fact: Movement) -> None:
        minutes = fact.minutes
        source, target = self._row(fact.source), self._row(fact.target)
        source.balance_minutes -= minutes
        target.balance_minutes += minutes
        match fact:
            case HoursConfirmed():
                source.spent_minutes += minutes
                target.earned_minutes += minutes
            case HoursReversed():
                source.earned_minutes -= minutes
                target.spent_minutes -= minutes
            case MinutesCapped():
                source.capped_minutes += minutes
                target.granted_minutes += minutes
            case CappedMinutesReturned():
                source.granted_minutes -= minutes
                target.capped_minutes -= minutes
            case MinutesGranted() | GrantApproved() | StartingMinutesGranted() | PoolFunded():
                source.spent_minutes += minutes
                target.granted_minutes += minutes
            case RewardCollected():
                source.spent_minutes += minutes
                target.received_minutes += minutes
            case RedemptionReversed():
                source.received_minutes -= minutes
                target.spent_minutes -= minutes
            case _:
                source.given_minutes += minutes
                target.received_minutes += minutes
        for row in (source, target):
            row.last_position = recorded.position
            row.last_activity_microseconds = recorded.recorded_at_microseconds
        self._movements.add(
            (
                recorded.position,
                fact.type,
                fact.source,
                fact.target,
                minutes,
                getattr(fact, "record", None),
                recorded.recorded_at_microseconds,
                source.balance_minutes,
                target.balance_minutes,
            )
        )

    def take(self, *, more: bool = False) -> Write:
        movements, self._movements = self._movements, Lines()
        # Nearly every account changes in nearly every batch of years of facts: only its last row is worth writing.
        rows = [] if more else [astuple(row) for row in self._changed.values()]
        if not more:
            self._changed.clear()

        def write(cursor: Cursor[Any]) -> None:
            movements.copy(cursor, "movements", MOVEMENT_COLUMNS)
            upsert_rows(cursor, "accounts", ACCOUNT_COLUMNS, "account", rows)

        return write


async def account(connection: AsyncConnection[Any], name: str) -> AccountRow | None:
    """One account, or None where nothing is known of it."""
    cursor = connection.cursor(row_factory=class_row(AccountRow))
    await cursor.execute(ONE, (name,))
    return await cursor.fetchone()


def balance(connection: Connection[Any], name: str) -> AccountRow | None:
    """As `account`, for whoever doesn't run in an event loop."""
    return connection.cursor(row_factory=class_row(AccountRow)).execute(ONE, (name,)).fetchone()


async def household_accounts(
    connection: AsyncConnection[Any], *, community: str | None, after: str, limit: int
) -> list[AccountRow]:
    """Households in the order of their numbers, after a given one, of one community or of all."""
    cursor = connection.cursor(row_factory=class_row(AccountRow))
    await cursor.execute(
        f"{SELECT} WHERE account > %s AND account < 'household;'"
        " AND (%s::text IS NULL OR community = %s) ORDER BY account LIMIT %s",
        (household_account(after), community, community, limit),
    )
    return await cursor.fetchall()


class StatementRow(msgspec.Struct):
    """One movement as one account sees it: ``change_minutes`` is negative where the account paid."""

    position: int
    kind: str
    other_account: str
    change_minutes: int
    balance_minutes: int
    record: str | None
    recorded_at_microseconds: int


async def statement(connection: AsyncConnection[Any], name: str, *, after: int, limit: int) -> list[StatementRow]:
    """An account's movements in order, after a position. Issuance has no statement of its own."""
    if name == ISSUANCE:
        return []
    cursor = connection.cursor(row_factory=class_row(StatementRow))
    await cursor.execute(
        """
        SELECT position, kind, target AS other_account,
               CASE WHEN source = target THEN 0 ELSE -minutes END AS change_minutes,
               source_balance_minutes AS balance_minutes, record, recorded_at_microseconds
        FROM movements WHERE source = %(name)s AND source <> 'issuance' AND position > %(after)s
        UNION ALL
        SELECT position, kind, source, minutes, target_balance_minutes, record, recorded_at_microseconds
        FROM movements
        WHERE target = %(name)s AND target <> 'issuance' AND source <> target AND position > %(after)s
        ORDER BY position LIMIT %(limit)s
        """,
        {"name": name, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


def balances_at(cursor: Cursor[Any], position: int) -> dict[str, int]:
    """Every account's balance in minutes after a position, by account; accounts that never moved are left out."""
    cursor.execute(
        """
        SELECT DISTINCT ON (account) account, balance_minutes
        FROM (
            SELECT source AS account, position, source_balance_minutes AS balance_minutes FROM movements
            UNION ALL
            SELECT target, position, target_balance_minutes FROM movements
        ) AS sides
        WHERE position <= %s ORDER BY account, position DESC
        """,
        (position,),
    )
    return dict(cursor.fetchall())


def balances(cursor: Cursor[Any]) -> dict[str, int]:
    """Every account's balance in minutes by its own row; accounts that never moved and hold nothing are left out."""
    cursor.execute("SELECT account, balance_minutes FROM accounts WHERE balance_minutes <> 0 OR last_position > 0")
    return dict(cursor.fetchall())


def recalled_accounts(
    connection: Connection[Any], ledger: str, schema: str, version: str, names: list[str]
) -> tuple[int, dict[str, tuple[int, int]]]:
    """The balances and held minutes of some accounts, and the position that they are of, in one statement.

    (0, {}) where the projections are missing or of another version, or their checkpoint is past the journal's head.
    Accounts that never moved are left out.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    try:
        cursor.execute(
            f"SELECT c.position, a.account, a.balance_minutes, a.held_minutes FROM {schema}.checkpoint c"
            f" JOIN ledgers l ON l.ledger = %s AND l.head >= c.position"
            f" LEFT JOIN {schema}.accounts a ON a.account = ANY(%s) WHERE c.version = %s",
            (ledger, names, version),
            prepare=True,
        )
    except psycopg.errors.UndefinedTable:
        return 0, {}
    rows = cursor.fetchall()
    if not rows:
        return 0, {}
    return rows[0][0], {name: (balance, held) for _, name, balance, held in rows if name is not None}
