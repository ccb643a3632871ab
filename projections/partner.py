"""Partners, what was settled with them, and their rewards with what is left of each."""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.account import PartnerSettled, RedemptionReversed, RewardCollected
from domain.fact import Recorded
from domain.partner import (
    PartnerRegistered,
    ReservationReleased,
    RewardOffered,
    RewardReserved,
    RewardRestocked,
    RewardWithdrawn,
)
from projections.projection import CopyValue, Projection, Write, copy_rows, upsert_rows


class PartnerRow(msgspec.Struct):
    partner: str
    name: str
    community: str
    registered_position: int


class RewardRow(msgspec.Struct, gc=False):
    """``communities`` are joined by ``/``; none named: all may redeem it. Every item that was in stock and not given
    back to the partner is left, reserved or collected."""

    reward: str
    partner: str
    name: str
    minutes: int
    communities: str
    age_years_min: int
    balance_minutes_min: int
    household_month_max: int | None
    offered_position: int
    withdrawn: bool = False
    items_left: int = 0
    items_reserved: int = 0
    items_collected: int = 0


class SettlementRow(msgspec.Struct):
    """``position`` is the settlement's own: it covers what came after the one before it."""

    partner: str
    number: int
    minutes: int
    settled_by: str
    position: int
    recorded_at_microseconds: int


PARTNER_COLUMNS: Final = PartnerRow.__struct_fields__
REWARD_COLUMNS: Final = RewardRow.__struct_fields__
SETTLEMENT_COLUMNS: Final = SettlementRow.__struct_fields__


class Partners(Projection):
    """Partners and settlements are added; the rewards are held in memory while the projector runs."""

    name = "partners"
    version = 1
    tables = """
        CREATE TABLE partners (
            partner text COLLATE "C" PRIMARY KEY,
            name text NOT NULL,
            community text NOT NULL,
            registered_position bigint NOT NULL
        );
        CREATE TABLE settlements (
            partner text COLLATE "C" NOT NULL,
            number bigint NOT NULL,
            minutes bigint NOT NULL,
            settled_by text NOT NULL,
            position bigint NOT NULL,
            recorded_at_microseconds bigint NOT NULL,
            PRIMARY KEY (partner, number)
        );
        CREATE TABLE rewards (
            reward text COLLATE "C" PRIMARY KEY,
            partner text COLLATE "C" NOT NULL,
            name text NOT NULL,
            minutes bigint NOT NULL,
            communities text NOT NULL,
            age_years_min integer NOT NULL,
            balance_minutes_min bigint NOT NULL,
            household_month_max integer,
            offered_position bigint NOT NULL,
            withdrawn boolean NOT NULL,
            items_left bigint NOT NULL,
            items_reserved bigint NOT NULL,
            items_collected bigint NOT NULL
        );
    """
    indexes = "CREATE UNIQUE INDEX rewards_by_position ON rewards (offered_position);"
    fact_types = (
        PartnerRegistered,
        PartnerSettled,
        RewardOffered,
        RewardRestocked,
        RewardWithdrawn,
        RewardReserved,
        ReservationReleased,
        RewardCollected,
        RedemptionReversed,
    )

    def __init__(self) -> None:
        self._partners: list[tuple[CopyValue, ...]] = []
        self._settlements: list[tuple[CopyValue, ...]] = []
        self._rewards: dict[str, RewardRow] = {}
        self._changed: dict[str, RewardRow] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        cursor.execute(f"SELECT {', '.join(REWARD_COLUMNS)} FROM rewards")
        self._rewards = {row[0]: RewardRow(*row) for row in cursor}
        self._changed.clear()
        self._partners.clear()
        self._settlements.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case PartnerRegistered():
                self._partners.append((fact.partner, fact.name, fact.community, recorded.position))
            case PartnerSettled():
                when = recorded.position, recorded.recorded_at_microseconds
                self._settlements.append((fact.partner, fact.number, fact.minutes, fact.settled_by, *when))
            case RewardOffered():
                self._rewards[fact.reward] = RewardRow(
                    fact.reward,
                    fact.partner,
                    fact.name,
                    fact.minutes,
                    "/".join(fact.communities),
                    fact.age_years_min,
                    fact.balance_minutes_min,
                    fact.household_month_max,
                    recorded.position,
                    items_left=fact.items,
                )
                self._row(fact.reward)
            case RewardRestocked():
                self._row(fact.reward).items_left += fact.items
            case RewardWithdrawn():
                self._row(fact.reward).withdrawn = True
            case RewardReserved():
                row = self._row(fact.reward)
                row.items_left -= 1
                row.items_reserved += 1
            case ReservationReleased():
                row = self._row(fact.reward)
                row.items_left += 1
                row.items_reserved -= 1
            case RewardCollected():
                row = self._row(fact.reward)
                row.items_reserved -= 1
                row.items_collected += 1
            case RedemptionReversed():
                row = self._row(fact.reward)
                row.items_collected -= 1
                row.items_left += fact.restocked

    def _row(self, reward: str) -> RewardRow:
        row = self._changed[reward] = self._rewards[reward]
        return row

    def take(self, *, more: bool = False) -> Write:
        partners, self._partners = self._partners, []
        settlements, self._settlements = self._settlements, []
        rewards = [] if more else [astuple(row) for row in self._changed.values()]
        if not more:
            self._changed.clear()

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "partners", PARTNER_COLUMNS, partners)
            copy_rows(cursor, "settlements", SETTLEMENT_COLUMNS, settlements)
            upsert_rows(cursor, "rewards", REWARD_COLUMNS, "reward", rewards)

        return write


async def partner(connection: AsyncConnection[Any], number: str) -> PartnerRow | None:
    """One partner, or None."""
    cursor = connection.cursor(row_factory=class_row(PartnerRow))
    await cursor.execute(f"SELECT {', '.join(PARTNER_COLUMNS)} FROM partners WHERE partner = %s", (number,))
    return await cursor.fetchone()


async def partners(
    connection: AsyncConnection[Any], *, community: str | None, after: str, limit: int
) -> list[PartnerRow]:
    """Partners in the order of their numbers, after a given one, of one community or of all."""
    cursor = connection.cursor(row_factory=class_row(PartnerRow))
    await cursor.execute(
        f"SELECT {', '.join(PARTNER_COLUMNS)} FROM partners WHERE partner > %s"
        " AND (%s::text IS NULL OR community = %s) ORDER BY partner LIMIT %s",
        (after, community, community, limit),
    )
    return await cursor.fetchall()


async def reward(connection: AsyncConnection[Any], number: str) -> RewardRow | None:
    """One reward, or None."""
    cursor = connection.cursor(row_factory=class_row(RewardRow))
    await cursor.execute(f"SELECT {', '.join(REWARD_COLUMNS)} FROM rewards WHERE reward = %s", (number,))
    return await cursor.fetchone()


async def rewards(
    connection: AsyncConnection[Any],
    *,
    community: str | None,
    partner: str | None,
    open_only: bool,
    after: int,
    limit: int,
) -> list[RewardRow]:
    """Rewards in the order they were offered, after an offered position: those that households of a community may
    redeem, those of a partner, those that somebody can reserve now."""
    cursor = connection.cursor(row_factory=class_row(RewardRow))
    await cursor.execute(
        f"SELECT {', '.join(REWARD_COLUMNS)} FROM rewards WHERE offered_position > %(after)s"
        " AND (%(community)s::text IS NULL OR communities = ''"
        " OR %(community)s = ANY(string_to_array(communities, '/')))"
        " AND (%(partner)s::text IS NULL OR partner = %(partner)s)"
        " AND (NOT %(open_only)s OR (NOT withdrawn AND items_left > 0))"
        " ORDER BY offered_position LIMIT %(limit)s",
        {"community": community, "partner": partner, "open_only": open_only, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


async def settlements(connection: AsyncConnection[Any], partner: str, *, after: int, limit: int) -> list[SettlementRow]:
    """What was settled with a partner, in order, after a number."""
    cursor = connection.cursor(row_factory=class_row(SettlementRow))
    await cursor.execute(
        f"SELECT {', '.join(SETTLEMENT_COLUMNS)} FROM settlements WHERE partner = %s AND number > %s"
        " ORDER BY number LIMIT %s",
        (partner, after, limit),
    )
    return await cursor.fetchall()


async def last_settlements(connection: AsyncConnection[Any], partner: str, *, until: int | None) -> list[SettlementRow]:
    """The settlement of a number (None: the last there is) and the one before it, the later one first."""
    cursor = connection.cursor(row_factory=class_row(SettlementRow))
    await cursor.execute(
        f"SELECT {', '.join(SETTLEMENT_COLUMNS)} FROM settlements WHERE partner = %s"
        " AND (%s::bigint IS NULL OR number <= %s) ORDER BY number DESC LIMIT 2",
        (partner, until, until),
    )
    return await cursor.fetchall()
