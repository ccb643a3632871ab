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
from domain.decision import Actor
from domain.fact import Fact
from domain.hours import ConfirmHours, LogHours, RejectHours, ReverseHours, confirm, log, reject, reverse
from domain.household import (
    AttestAge,
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
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
        self.writer = Writer(bank.store, bank.zone)
        self.households = 0
        self.records = 0
        self.today = datetime.now(bank.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        self.record_commands([(register_community, RegisterCommunity(community=name)) for name in COMMUNITIES])
        self.record_commands(
            [(register_grid, RegisterGrid(community=COMMUNITIES[0], grid=grid)) for grid in GRIDS]
            + [command for _ in range(6) for command in self._household()]
        )

    def go(self, commands: int) -> int:
        """How many of the commands were accepted."""
        return self.record_commands([command for _ in range(commands) for command in self._something()])

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
            (attest_age, AttestAge(person=f"V{number - number % 2}", age_years_min=60 + number)),
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
