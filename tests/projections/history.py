"""Random histories of a small district, decided by the real rules and recorded in a real journal."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from api.wiring import Timebank
from application.write_loop import Ticket, Writer
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
from domain.community_life import (
    MergeCommunities,
    MoveGrid,
    RenameCommunity,
    SplitCommunity,
    merge_communities,
    move_grid,
    rename_community,
    split_community,
)
from domain.decision import Actor
from domain.fact import Fact
from domain.hours import ConfirmHours, LogHours, RejectHours, ReverseHours, confirm, log, reject, reverse
from domain.household import (
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.household_life import (
    CloseHousehold,
    LeaveHousehold,
    MergeHouseholds,
    MoveHousehold,
    MoveMember,
    RecordDeath,
    SplitHousehold,
    close_household,
    leave_household,
    merge_households,
    move_household,
    move_member,
    record_death,
    split_household,
)
from infrastructure.projector import Projector, schema_of
from tests.controls import envelope

ADMIN = Actor("A1", "admin")
CHECKER = Actor("S1", "staff")
LOGGER = Actor("S2", "staff")
COMMUNITIES = ("新竹社区", "𠮷祥社区")
GRIDS = (("第1网格",), ("第1网格", "甲"), ("第1网格", "甲", "2栋"), ("第2网格",))
SERVICES = ("助餐", "助洁", "陪伴聊天")


class History:
    """What happens in one district. ``go`` records some commands in one batch; those that are refused don't happen."""

    def __init__(self, bank: Timebank, seed: int) -> None:
        self.bank = bank
        self.dice = Random(seed)  # noqa: S311 - reproducible
        self.life_dice = Random(seed)  # noqa: S311 - likewise
        self.writer = Writer(bank.store, bank.zone)
        self.households = 0
        self.records = 0
        self.splits = 0
        self.today = datetime.now(bank.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        self.record_commands([(register_community, RegisterCommunity(community=name)) for name in COMMUNITIES])
        self.record_commands(
            [(register_grid, RegisterGrid(community=COMMUNITIES[0], grid=grid)) for grid in GRIDS]
            + [command for _ in range(6) for command in self._household()]
        )

    def go(self, commands: int) -> int:
        """How many of the commands were accepted."""
        happening = [command for _ in range(commands) for command in self._something()]
        # With dice of their own, so that what else happens stays the same whatever is added here.
        happening += [self._life() for _ in range(commands) if self.life_dice.random() < 0.02]
        happening += [self._place() for _ in range(commands) if self.life_dice.random() < 0.02]
        return self.record_commands(happening)

    def record_commands(self, commands: list[tuple[Any, Any]]) -> int:
        tickets = [
            Ticket(decide, command, LOGGER if decide is log else CHECKER if decide is confirm else ADMIN, uuid4().hex)
            for decide, command in commands
        ]
        self.writer.run(tickets)
        return sum(not isinstance(ticket.outcome, Exception) for ticket in tickets)

    def _household(self) -> list[tuple[Any, Any]]:
        self.households += 1
        number = self.households
        community = COMMUNITIES[number % 3 == 0]
        grid = self.dice.choice(GRIDS) if community == COMMUNITIES[0] and number % 2 else ()
        return [
            (register_household, RegisterHousehold(household=f"H{number}", community=community, grid=grid)),
            (register_member, RegisterMember(member=f"V{number}", household=f"H{number}")),
            (enrol_volunteer, EnrolVolunteer(volunteer=f"V{number}")),
        ]

    def _something(self) -> list[tuple[Any, Any]]:
        dice = self.dice
        record = f"R{dice.randint(max(1, self.records - 15), self.records + 1)}"
        household = f"H{dice.randint(1, self.households)}"
        match dice.choices("lcjvfgh", (30, 30, 4, 10, 3, 4, 1))[0]:
            case "l":
                return [self._log()]
            case "c":
                return [(confirm, ConfirmHours(record=record))]
            case "j":
                return [(reject, RejectHours(record=record, reason="not-served"))]
            case "v":
                return [(reverse, ReverseHours(record=record, reason="duplicate"))]
            case "f":
                return [(fund_pool, FundPool(community=dice.choice(COMMUNITIES), minutes=dice.randint(1, 300)))]
            case "g":
                return [(grant_minutes, GrantMinutes(household=household, minutes=dice.randint(1, 90), need="other"))]
            case _:
                return self._household()

    def _place(self) -> tuple[Any, Any]:
        """Something that becomes of a community or a grid. The two communities themselves stay."""
        dice, effective_on = self.life_dice, self.today.date() + timedelta(days=self.life_dice.randint(0, 40))
        new, grid = f"新社区{dice.randint(1, 6)}", dice.choice(GRIDS)
        match dice.choices("nrmgs", (3, 1, 2, 3, 2))[0]:
            case "n":
                return register_community, RegisterCommunity(community=new)
            case "r":
                return rename_community, RenameCommunity(community=new, name=new + "（新）", effective_on=effective_on)
            case "m":
                into = dice.choice([*COMMUNITIES, "新社区1"])
                return merge_communities, MergeCommunities(community=new, into=into, effective_on=effective_on)
            case "g":
                return move_grid, MoveGrid(
                    community=COMMUNITIES[0],
                    grid=grid,
                    into_community=dice.choice([COMMUNITIES[0], new]),
                    into_grid=dice.choice(GRIDS),
                    effective_on=effective_on,
                )
            case _:
                return split_community, SplitCommunity(
                    community=COMMUNITIES[0],
                    into=new,
                    grids=(grid[0],),
                    minutes=dice.choice([0, 30]),
                    effective_on=effective_on,
                )

    def _life(self) -> tuple[Any, Any]:
        """Something that befalls a household or one of its people."""
        dice = self.life_dice
        member = f"V{dice.randint(1, self.households)}"
        household, other = (f"H{dice.randint(1, self.households)}" for _ in range(2))
        match dice.choices("lmdMsgcr", (2, 4, 1, 4, 4, 2, 1, 4))[0]:
            case "l":
                return leave_household, LeaveHousehold(member=member)
            case "m":
                return move_member, MoveMember(member=member, into=other)
            case "d":
                return record_death, RecordDeath(member=member)
            case "M":
                moved_on, community = self.today.date(), dice.choice(COMMUNITIES)
                return move_household, MoveHousehold(household=household, community=community, moved_on=moved_on)
            case "s":
                self.splits += 1
                return split_household, SplitHousehold(
                    household=household, into=f"N{self.splits}", members=(member,), minutes=dice.randint(0, 60)
                )
            case "g":
                return merge_households, MergeHouseholds(household=household, into=other)
            case "c":
                return close_household, CloseHousehold(household=household, cause="other")
            case _:
                return register_member, RegisterMember(member=member, household=household)

    def _log(self) -> tuple[Any, Any]:
        dice = self.dice
        self.records += 1
        started_at = self.today - timedelta(days=dice.randint(1, 120), minutes=-15 * dice.randint(28, 80))
        return log, LogHours(
            record=f"R{self.records}",
            volunteer=f"V{dice.randint(1, self.households)}",
            recipient_household=dice.choice([None, f"H{dice.randint(1, self.households)}"]),
            service=dice.choice(SERVICES),
            started_at=started_at,
            ended_at=started_at + timedelta(minutes=15 * dice.randint(1, 8)),
        )


POLICIES: dict[str, dict[str, Any]] = {
    "issuance pays, what is above the cap goes to the pool": {"balance_minutes_max": 240},
    "the recipient pays": {"payer": "recipient", "balance_minutes_min": -600, "balance_minutes_max": None},
    "the pool pays, what is above the cap is an honour": {
        "payer": "pool",
        "balance_minutes_max": 200,
        "above_balance_max": "honour",
    },
}
for policy in POLICIES.values():
    policy["log_days_back_max"] = 400


@contextmanager
def projecting(bank: Timebank) -> Iterator[Projector]:
    """A projector of its own, with its tables made."""
    projector = bank.projector()
    try:
        projector.prepare()
        yield projector
    finally:
        projector.close()


def rows(bank: Timebank) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the projections hold: every row of every table, checkpoint and all."""
    with psycopg.connect(bank.address) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        schema = schema_of(bank.name)
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
        return {
            table: sorted(connection.execute(SQL("SELECT * FROM {}").format(Identifier(schema, table))), key=repr)
            for (table,) in sorted(tables)
        }


def record(bank: Timebank, *facts: Fact) -> int:
    """Facts that are true whatever the rules say, folded at once; returns the last one's position."""
    head = bank.store.head()
    bank.store.append([envelope(fact) for fact in facts], [], [], head)
    with projecting(bank) as projector:
        return projector.catch_up()
