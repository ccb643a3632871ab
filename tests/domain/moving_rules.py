"""What the random time bank does to move minutes, and what must hold of it: a part of `test_time_bank`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from domain.account import (
    GrantApproved,
    MinutesDonated,
    MinutesGranted,
    MinutesTransferred,
    OpeningBalanceCredited,
    StartingMinutesGranted,
)
from domain.decision import Actor
from domain.fact import Fact
from domain.grant import (
    ApproveGrant,
    GrantProposed,
    GrantStartingMinutes,
    ProposeGrant,
    WithdrawGrant,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
    withdraw_grant,
)
from domain.opening import (
    ApproveOpeningBalance,
    OpeningBalanceProposed,
    ProposeOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
)
from domain.policy import Policy
from domain.transfer import (
    DonateMinutes,
    EndFamilyTie,
    FamilyTieEnded,
    FamilyTieRegistered,
    RegisterFamilyTie,
    TransferMinutes,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)

HOUSEHOLDS = st.sampled_from(["H1", "H2", "H3", "H4"])
ACTORS = st.one_of(
    st.builds(Actor, st.sampled_from(["P1", "P2", "P3", "P4"]), st.sampled_from(["volunteer", "volunteer", "admin"])),
    st.sampled_from([Actor("A1", "admin"), Actor("A2", "admin")]),
)
AMOUNTS = st.integers(1, 200)
NUMBERS = st.sampled_from(["G1", "G2", "G3"])


class MovingRules:
    """The commands, and `moved`, which looks at each fact that follows before the balances move."""

    command: Callable[..., None]
    facts: list[Fact]
    home: dict[str, str]
    balances: Any

    @rule(pair=st.tuples(HOUSEHOLDS, HOUSEHOLDS), ends=st.sampled_from([False, False, True]), actor=ACTORS)
    def tie(self, pair: tuple[str, str], ends: bool, actor: Actor) -> None:
        names = {"household": pair[0], "other_household": pair[1]}
        if ends:
            self.command(end_family_tie, EndFamilyTie(**names), actor)
        else:
            self.command(register_family_tie, RegisterFamilyTie(**names), actor)

    @rule(pair=st.tuples(HOUSEHOLDS, HOUSEHOLDS), minutes=AMOUNTS, actor=ACTORS)
    def transfer(self, pair: tuple[str, str], minutes: int, actor: Actor) -> None:
        gift = TransferMinutes(household=pair[0], recipient_household=pair[1], minutes=minutes)
        self.command(transfer, gift, actor)

    @rule(household=HOUSEHOLDS, minutes=AMOUNTS, actor=ACTORS)
    def donate(self, household: str, minutes: int, actor: Actor) -> None:
        self.command(donate, DonateMinutes(household=household, minutes=minutes), actor)

    @rule(number=NUMBERS, household=HOUSEHOLDS, minutes=AMOUNTS, proposer=ACTORS, approver=ACTORS)
    def grant_by_two(self, number: str, household: str, minutes: int, proposer: Actor, approver: Actor) -> None:
        proposal = ProposeGrant(grant=number, household=household, minutes=minutes, need="other")
        self.command(propose_grant, proposal, proposer)
        self.command(approve_grant, ApproveGrant(grant=number), approver)

    @rule(number=NUMBERS, actor=ACTORS)
    def settle_grant(self, number: str, actor: Actor) -> None:
        self.command(withdraw_grant, WithdrawGrant(grant=number), actor)

    @rule(household=HOUSEHOLDS, actor=ACTORS)
    def start(self, household: str, actor: Actor) -> None:
        self.command(grant_starting_minutes, GrantStartingMinutes(household=household, need="low-income"), actor)

    @rule(household=HOUSEHOLDS, minutes=AMOUNTS, proposer=ACTORS, approver=ACTORS)
    def open_by_two(self, household: str, minutes: int, proposer: Actor, approver: Actor) -> None:
        proposal = ProposeOpeningBalance(opening="OB1", household=household, minutes=minutes)
        self.command(propose_opening_balance, proposal, proposer)
        self.command(approve_opening_balance, ApproveOpeningBalance(household=household, opening="OB1"), approver)

    def moved(self, fact: Fact, policy: Policy, actor: Actor) -> None:
        """``policy`` is the one that the fact was decided under."""
        before = self.facts[:-1]
        match fact:
            case MinutesTransferred():
                giver, receiver = fact.source.removeprefix("household:"), fact.target.removeprefix("household:")
                assert policy.transfer == "anyone" or (policy.transfer, fact.tie) == ("family", "family")
                assert fact.tie == ("family" if self._tied(giver, receiver) else "anyone")
                assert self.home.get(actor.id) != receiver
                assert actor.role != "volunteer" or self.home[actor.id] == giver
                assert self.balances[fact.source] >= fact.minutes
                month = fact.minutes + sum(
                    one.minutes
                    for one in before
                    if isinstance(one, MinutesTransferred)
                    and (one.source, one.on.year, one.on.month) == (fact.source, fact.on.year, fact.on.month)
                )
                assert policy.transfer_minutes_month_max is None or month <= policy.transfer_minutes_month_max
                self._has_room(fact, policy)
            case MinutesDonated():
                assert self.balances[fact.source] >= fact.minutes
                assert actor.role != "volunteer" or "household:" + self.home[actor.id] == fact.source
            case GrantApproved():
                (proposed,) = [one for one in before if isinstance(one, GrantProposed) and one.grant == fact.grant]
                assert not [one for one in before if isinstance(one, GrantApproved) and one.grant == fact.grant]
                assert proposed.proposed_by != fact.approved_by == actor.id
                assert self.home.get(actor.id) != proposed.household
                assert (fact.target, fact.minutes) == ("household:" + proposed.household, proposed.minutes)
                self._has_room(fact, policy)
            case MinutesGranted():
                assert fact.on is not None
                since = fact.on - timedelta(days=policy.grant_alone_days - 1)
                alone = fact.minutes + sum(
                    one.minutes
                    for one in before
                    if isinstance(one, MinutesGranted | StartingMinutesGranted)
                    and one.target == fact.target
                    and one.on is not None
                    and one.on >= since
                )
                assert policy.grant_minutes_alone_max is None or alone <= policy.grant_minutes_alone_max
            case StartingMinutesGranted():
                earlier = [one.household for one in before if isinstance(one, StartingMinutesGranted)]
                assert fact.household not in earlier
                assert fact.minutes == policy.starting_grant_minutes > 0
                self._has_room(fact, policy)
            case OpeningBalanceCredited():
                earlier = [one.household for one in before if isinstance(one, OpeningBalanceCredited)]
                assert fact.household not in earlier
                proposed_by = [
                    one.proposed_by
                    for one in before
                    if isinstance(one, OpeningBalanceProposed) and one.household == fact.household
                ][-1]
                assert proposed_by != fact.approved_by == actor.id
                assert self.home.get(actor.id) != fact.household
                self._has_room(fact, policy)
            case _:
                pass

    def _tied(self, one: str, other: str) -> bool:
        last = None
        for fact in self.facts[:-1]:
            if isinstance(fact, FamilyTieRegistered | FamilyTieEnded) and {fact.household, fact.other_household} == {
                one,
                other,
            }:
                last = fact
        return isinstance(last, FamilyTieRegistered)

    def _has_room(self, fact: Any, policy: Policy) -> None:
        cap = policy.balance_minutes_max
        assert cap is None or self.balances[fact.target] + fact.minutes <= cap
