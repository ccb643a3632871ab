"""Random histories of a small district, decided by the real rules and recorded in a real journal."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from api.wiring import Timebank, known
from application.write_loop import Ticket, Writer
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
from domain.decision import Actor
from domain.expiry import BY_TIME, AnnounceExpiry, ExpireMinutes, Expiry, Savings, announce_expiry, expire_minutes
from domain.fact import Fact
from domain.grant import (
    ApproveGrant,
    GrantStartingMinutes,
    ProposeGrant,
    RejectGrant,
    WithdrawGrant,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
    reject_grant,
    withdraw_grant,
)
from domain.group import (
    AppointGroupLeader,
    JoinGroup,
    LeaveGroup,
    RegisterGroup,
    appoint_group_leader,
    join_group,
    leave_group,
    register_group,
)
from domain.hours import ConfirmHours, LogHours, RejectHours, ReverseHours, confirm, log, reject, reverse
from domain.household import (
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.opening import (
    ApproveOpeningBalance,
    ProposeOpeningBalance,
    RejectOpeningBalance,
    WithdrawOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
    reject_opening_balance,
    withdraw_opening_balance,
)
from domain.transfer import (
    DonateMinutes,
    EndFamilyTie,
    RegisterFamilyTie,
    TransferMinutes,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)
from infrastructure.projector import Projector, schema_of
from tests.controls import envelope

ADMIN = Actor("A1", "admin")
CHECKER = Actor("S1", "staff")
LOGGER = Actor("S2", "staff")
COMMUNITIES = ("新竹社区", "𠮷祥社区")
GRIDS = (("第1网格",), ("第1网格", "甲"), ("第1网格", "甲", "2栋"), ("第2网格",))
SERVICES = ("助餐", "助洁", "陪伴聊天")
BY: dict[Any, Actor] = {log: LOGGER, confirm: CHECKER}
"""Who gives a command where it isn't the administrator."""
BY |= {approve_grant: CHECKER, reject_grant: CHECKER}
BY |= {approve_opening_balance: CHECKER, reject_opening_balance: CHECKER}
BY |= {announce_expiry: Actor(BY_TIME, "admin"), expire_minutes: Actor(BY_TIME, "admin")}


class History:
    """What happens in one district. ``go`` records some commands in one batch; those that are refused don't happen."""

    def __init__(self, bank: Timebank, seed: int) -> None:
        self.bank = bank
        self.dice = Random(seed)  # noqa: S311 - reproducible
        self.writer = Writer(bank.store, bank.zone)
        self.later = Writer(bank.store, bank.zone, clock=lambda: datetime.now(UTC) + timedelta(days=3))
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
        tickets = [Ticket(decide, command, BY.get(decide, ADMIN), uuid4().hex) for decide, command in commands]
        self.writer.run([ticket for ticket in tickets if ticket.decide is not expire_minutes])
        self.later.run([ticket for ticket in tickets if ticket.decide is expire_minutes])
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
        if dice.random() < 0.2:
            return [self._moving(household)]
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

    def _moving(self, household: str) -> tuple[Any, Any]:
        """Minutes that are moved on, by those who may and those who may not."""
        dice = self.dice
        other, minutes = f"H{dice.randint(1, self.households)}", dice.randint(1, 90)
        number = dice.choice("ABCD")
        grant = f"G{self.records // 5}"
        return dice.choice(
            [
                (register_family_tie, RegisterFamilyTie(household=household, other_household=other)),
                (end_family_tie, EndFamilyTie(household=household, other_household=other)),
                (transfer, TransferMinutes(household=household, recipient_household=other, minutes=minutes)),
                (donate, DonateMinutes(household=household, minutes=minutes)),
                (register_group, RegisterGroup(group=number, community=COMMUNITIES[0], leader="V1")),
                (join_group, JoinGroup(group=number, member=f"V{other[1:]}")),
                (leave_group, LeaveGroup(group=number, member=f"V{other[1:]}")),
                (appoint_group_leader, AppointGroupLeader(group=number, leader=f"V{other[1:]}")),
                (propose_grant, ProposeGrant(grant=grant, household=household, minutes=minutes, need="other")),
                (approve_grant, ApproveGrant(grant=grant)),
                (reject_grant, RejectGrant(grant=grant, reason="other")),
                (withdraw_grant, WithdrawGrant(grant=grant)),
                (grant_starting_minutes, GrantStartingMinutes(household=household, need="low-income")),
                (
                    propose_opening_balance,
                    ProposeOpeningBalance(opening=household, household=household, minutes=minutes),
                ),
                (approve_opening_balance, ApproveOpeningBalance(household=household, opening=household)),
                (reject_opening_balance, RejectOpeningBalance(household=household, opening=household, reason="other")),
                (withdraw_opening_balance, WithdrawOpeningBalance(household=household, opening=household)),
                (announce_expiry, self._announcing(household)),
                (expire_minutes, self._expiring(household)),
            ]
        )

    def _announcing(self, household: str) -> AnnounceExpiry:
        """Whatever the household has left."""
        left = known(self.bank.store, Savings.of("household:" + household)).left()
        return AnnounceExpiry(household=household, records=tuple(left) or ("NONE",))

    def _expiring(self, household: str) -> ExpireMinutes:
        """An announcement of the household that is open, or none."""
        announced = known(self.bank.store, Expiry.of(household)).open
        return ExpireMinutes(household=household, announcement=announced[0].announcement if announced else "NONE")

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
    policy |= {"transfer": "anyone", "starting_grant_minutes": 30, "expiry_months": 1, "expiry_notice_days": 1}


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
