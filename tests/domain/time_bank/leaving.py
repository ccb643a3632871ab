"""Between two ledgers: a household takes its balance along on a statement, which the other one pays in once."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import BalancePaidIn, BalanceTakenAlong
from domain.decision import Actor
from domain.statement import (
    BalanceStatement,
    LedgerTrusted,
    PayIn,
    TakeAlong,
    TrustLedger,
    VerifierKey,
    pay_in,
    take_balance_along,
    trust_ledger,
)
from tests.domain.time_bank.books import Ledger, Told, follows
from tests.domain.time_bank.households import HouseholdModel
from tests.domain.time_bank.leading import ADMIN, INDEX, RIGHT, STAFF, Leading, pick

NAMES = {"here": "qingxiu", "there": "xingning"}
KEYS = {name: str(VerifierKey.of(name, bytes(range(n, n + 32)))) for n, name in enumerate(NAMES.values())}


class LeavingModel(HouseholdModel):
    def __init__(self) -> None:
        super().__init__()
        self.trusted: dict[str, str] = {}
        self.taken: dict[str, BalanceTakenAlong] = {}
        self.paid: dict[str, BalancePaidIn] = {}

    @follows(LedgerTrusted)
    def _trusted(self, fact: LedgerTrusted, _: Told) -> None:
        assert self.trusted.get(fact.ledger) != fact.key
        self.trusted[fact.ledger] = fact.key

    @follows(BalanceTakenAlong)
    def _taken(self, fact: BalanceTakenAlong, told: Told) -> None:
        assert told.policy.take_along
        assert fact.household in self.heirs  # closed by the same command
        assert fact.minutes == self.balances[fact.source] > 0
        assert fact.statement not in self.taken
        assert fact.statement.rpartition("-")[2] == str(len(self.taken) + 1)
        self.taken[fact.statement] = fact

    @follows(BalancePaidIn)
    def _paid_in(self, fact: BalancePaidIn, told: Told) -> None:
        statement = told.command.statement
        assert fact.statement not in self.paid
        assert self.trusted[statement.ledger] == told.command.key
        assert statement.receiving_ledger == told.command.ledger
        assert told.today <= statement.valid_until
        assert fact.minutes == statement.minutes
        assert self.is_open(fact.household)
        self._outsider(told, fact.household)
        self.paid[fact.statement] = fact


class LeavingRules(Leading):
    there: Ledger | Any

    def sides(self, back: bool) -> tuple[str, Any, str, Any]:
        """The ledger that is left and the one that receives, each with its name."""
        here, there = (NAMES["here"], self.here), (NAMES["there"], self.there)
        return (*there, *here) if back else (*here, *there)

    @rule(back=st.booleans(), right=RIGHT)
    def trust(self, back: bool, right: bool) -> None:
        issuing, _, receiving, receiver = self.sides(back)
        key = KEYS[issuing if right else receiving]
        receiver.send(trust_ledger, TrustLedger(ledger=issuing, key=key), ADMIN)

    @rule(household=INDEX, back=st.booleans(), actor=STAFF)
    def take_along(self, household: int, back: bool, actor: Actor) -> None:
        issuing, issuer, receiving, _ = self.sides(back)
        stands = [name for name in issuer.households if name not in issuer.heirs]
        name = pick(stands or list(issuer.households), household)
        command = TakeAlong(household=name, receiving_ledger=receiving, ledger=issuing)
        issuer.send(take_balance_along, command, actor)

    @precondition(lambda self: self.here.taken or self.there.taken)
    @rule(statement=INDEX, household=INDEX, right=RIGHT, days=st.sampled_from([0] * 5 + [91]), actor=STAFF)
    def pay_in(self, statement: int, household: int, right: bool, days: int, actor: Actor) -> None:
        """Any statement that ever was signed, to any household, and once more to another one; the wrong ledger's key is
        not believed."""
        issuing, issuer, receiving, receiver = self.sides(back=not self.here.taken or statement % 2 == 1)
        if not issuer.taken:
            return
        taken = pick(list(issuer.taken.values()), statement)
        signed = BalanceStatement(
            ledger=issuing,
            number=int(taken.statement.rpartition("-")[2]),
            household=taken.household,
            members=taken.members,
            minutes=taken.minutes,
            earned_minutes=taken.minutes,
            spent_minutes=0,
            receiving_ledger=receiving,
            issued_at=self.now,
            valid_until=self.now.date() + timedelta(days=90 - days),
            policy=1,
        )
        stands = [name for name in receiver.households if name not in receiver.heirs]
        key = KEYS[issuing if right else receiving]
        for index in (household, household + 1):
            name = pick(stands or list(receiver.households), index)
            receiver.send(pay_in, PayIn(household=name, ledger=receiving, statement=signed, key=key), actor)

    def check_statements(self) -> None:
        """Over both ledgers nothing is made or lost: what they hold for each other is what is still on its way."""
        on_its_way = 0
        for back in (False, True):
            _, issuer, _, receiver = self.sides(back)
            assert set(receiver.paid) <= set(issuer.taken)
            on_its_way += sum(one.minutes for number, one in issuer.taken.items() if number not in receiver.paid)
        held = self.here.balances["ledger:" + NAMES["there"]] + self.there.balances["ledger:" + NAMES["here"]]
        assert held == on_its_way
