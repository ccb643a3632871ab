"""Minutes moved at random, by those who may and those who may not: what `History` has happen beside all else."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

from api.wiring import Timebank, known
from application.write_loop import Ticket, Writer
from domain.decision import BY_TIME, Actor
from domain.expiry import AnnounceExpiry, ExpireMinutes, Expiry, Savings, announce_expiry, expire_minutes
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

ADMIN, OTHER, TIME = Actor("A1", "admin"), Actor("A2", "admin"), Actor(BY_TIME, "admin")
BY: dict[Any, Actor] = {
    approve_grant: OTHER,
    reject_grant: OTHER,
    approve_opening_balance: OTHER,
    reject_opening_balance: OTHER,
    announce_expiry: TIME,
}
COMMANDS = 8
HOUSEHOLDS = 6


class MovingHistory:
    """Has dice of its own, so that nothing else that happens depends on it."""

    def __init__(self, bank: Timebank, seed: int) -> None:
        self._bank = bank
        self._dice = Random(seed)  # noqa: S311 - reproducible
        self._writer = Writer(bank.store, bank.zone)
        self._later = Writer(bank.store, bank.zone, clock=lambda: datetime.now(UTC) + timedelta(days=3))
        self._rounds = 0

    def go(self, households: int) -> int:
        """Some commands on households numbered up to so many; how many were accepted."""
        self._rounds += 1
        commands = [command for _ in range(COMMANDS) for command in self._something(households)]
        tickets = [Ticket(decide, command, BY.get(decide, ADMIN), uuid4().hex) for decide, command in commands]
        self._writer.run(tickets)
        home = f"H{self._dice.randint(1, min(households, HOUSEHOLDS))}"
        lapsing = Ticket(expire_minutes, self._expiring(home), TIME, uuid4().hex)
        self._later.run([lapsing])
        return sum(not isinstance(ticket.outcome, Exception) for ticket in (*tickets, lapsing))

    def _something(self, households: int) -> list[tuple[Any, Any]]:
        dice = self._dice
        one, other = (f"{dice.randint(1, min(households, HOUSEHOLDS))}" for _ in range(2))
        household, recipient, member, minutes = f"H{one}", f"H{other}", f"V{other}", dice.randint(1, 60)
        group = dice.choice("ABC")
        grant = f"G{self._rounds}"
        rejected = {"household": household, "opening": household, "reason": "other"}
        propose = propose_grant, ProposeGrant(grant=grant, household=household, minutes=minutes, need="other")
        opening = ProposeOpeningBalance(opening=household, household=household, minutes=minutes)
        open_ = propose_opening_balance, opening
        alone = dice.choice(
            [
                (register_family_tie, RegisterFamilyTie(household=household, other_household=recipient)),
                (end_family_tie, EndFamilyTie(household=household, other_household=recipient)),
                (transfer, TransferMinutes(household=household, recipient_household=recipient, minutes=minutes)),
                (donate, DonateMinutes(household=household, minutes=minutes)),
                (register_group, RegisterGroup(group=group, community="新竹社区", leader="V1")),
                (join_group, JoinGroup(group=group, member=member)),
                (leave_group, LeaveGroup(group=group, member=member)),
                (appoint_group_leader, AppointGroupLeader(group=group, leader=member)),
                (approve_grant, ApproveGrant(grant=grant)),
                (reject_grant, RejectGrant(grant=grant, reason="other")),
                (withdraw_grant, WithdrawGrant(grant=grant)),
                (grant_starting_minutes, GrantStartingMinutes(household=household, need="low-income")),
                (approve_opening_balance, ApproveOpeningBalance(household=household, opening=household)),
                (reject_opening_balance, RejectOpeningBalance.model_validate(rejected)),
                (withdraw_opening_balance, WithdrawOpeningBalance(household=household, opening=household)),
                (announce_expiry, self._announcing(household)),
            ]
        )
        if alone[0] in (approve_grant, reject_grant, withdraw_grant):
            return [propose, alone]
        if alone[0] in (approve_opening_balance, reject_opening_balance, withdraw_opening_balance):
            return [open_, alone]
        return [alone]

    def _announcing(self, household: str) -> AnnounceExpiry:
        """Whatever the household has left."""
        left = known(self._bank.store, Savings.of("household:" + household)).left()
        return AnnounceExpiry(household=household, records=tuple(left)[:500] or ("NONE",))

    def _expiring(self, household: str) -> ExpireMinutes:
        """An announcement of the household that is open, or none."""
        announced = known(self._bank.store, Expiry.of(household)).open
        return ExpireMinutes(household=household, announcement=announced[0].announcement if announced else "NONE")
