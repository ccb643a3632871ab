"""Everything that moves minutes but service: pools, grants, gifts, groups, opening balances, and minutes that lapse."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import (
    FundPool,
    GrantApproved,
    GrantMinutes,
    HoursConfirmed,
    MinutesCapped,
    MinutesDonated,
    MinutesExpired,
    MinutesGranted,
    MinutesTransferred,
    OpeningBalanceCredited,
    PoolFunded,
    StartingMinutesGranted,
    fund_pool,
    grant_minutes,
)
from domain.decision import Actor
from domain.expiry import (
    AnnounceExpiry,
    ExpireMinutes,
    ExpiryAnnounced,
    ExpiryCalledOff,
    announce_expiry,
    expire_minutes,
)
from domain.fact import Movement
from domain.grant import (
    ApproveGrant,
    GrantProposed,
    GrantRejected,
    GrantStartingMinutes,
    GrantWithdrawn,
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
    DonateGroupMinutes,
    GroupLeaderAppointed,
    GroupMemberJoined,
    GroupMemberLeft,
    GroupRegistered,
    JoinGroup,
    LeaveGroup,
    RegisterGroup,
    appoint_group_leader,
    donate_group_minutes,
    join_group,
    leave_group,
    register_group,
)
from domain.opening import (
    ApproveOpeningBalance,
    OpeningBalanceProposed,
    OpeningBalanceRejected,
    OpeningBalanceWithdrawn,
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
    FamilyTieEnded,
    FamilyTieRegistered,
    RegisterFamilyTie,
    TransferMinutes,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import HoursModel
from tests.domain.time_bank.leading import (
    AMOUNT,
    BY_TIME,
    INDEX,
    OTHER_ADMIN,
    RIGHT,
    STAFF,
    Leading,
    member,
    pick,
)

NEEDS = st.sampled_from(["low-income", "other"])


class MovingModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.ties: set[frozenset[str]] = set()
        self.given: Counter[tuple[str, int, int]] = Counter()
        """Minutes that an account transferred in a year's month."""
        self.groups: dict[str, tuple[str, set[str]]] = {}
        """Leader and members."""
        self.grants: dict[str, GrantProposed] = {}
        self.open_grants: set[str] = set()
        self.granted_alone: list[tuple[str, date, int]] = []
        """What an account was granted on one person's word, and when."""
        self.started: set[str] = set()
        self.openings: dict[str, OpeningBalanceProposed] = {}
        """The open proposal of each household."""
        self.opened: set[str] = set()
        self.announced: dict[str, ExpiryAnnounced] = {}
        self.open_announcements: set[str] = set()
        self.lapsed: Counter[str] = Counter()
        """Minutes of each record."""

    @follows(PoolFunded)
    def _funded(self, fact: PoolFunded, _: Told) -> None:
        assert fact.source == "issuance"
        assert self.has_place(fact.target.removeprefix("pool:"))

    @follows(FamilyTieRegistered)
    def _tied(self, fact: FamilyTieRegistered, told: Told) -> None:
        pair = frozenset({fact.household, fact.other_household})
        assert len(pair) == 2
        assert pair not in self.ties
        self._outsider(told, *pair)
        self.ties.add(pair)

    @follows(FamilyTieEnded)
    def _untied(self, fact: FamilyTieEnded, _: Told) -> None:
        self.ties.remove(frozenset({fact.household, fact.other_household}))

    @follows(MinutesTransferred)
    def _transferred(self, fact: MinutesTransferred, told: Told) -> None:
        policy = told.policy
        giver, receiver = (name.removeprefix("household:") for name in (fact.source, fact.target))
        tied = frozenset({giver, receiver}) in self.ties
        assert fact.tie == ("family" if tied else "anyone")
        assert policy.transfer == "anyone" or (policy.transfer == "family" and tied)
        assert self.is_open(giver)
        self._outsider(told, receiver)
        self._may_give(told, giver)
        self.given[fact.source, fact.on.year, fact.on.month] += fact.minutes
        month_minutes = self.given[fact.source, fact.on.year, fact.on.month]
        assert fact.on == told.today
        assert policy.transfer_minutes_month_max is None or month_minutes <= policy.transfer_minutes_month_max
        assert sum(minutes for _, minutes in fact.lots) <= fact.minutes
        self._has_room(fact, told)

    @follows(MinutesDonated)
    def _donated(self, fact: MinutesDonated, told: Told) -> None:
        kind, _, name = fact.source.partition(":")
        if kind == "group":
            assert told.actor.role != "volunteer" or told.actor.id == self.groups[name][0]
        else:
            assert fact.target.startswith("pool:")
            self._may_give(told, name)
        if fact.target.startswith("household:"):
            self._outsider(told, fact.target.removeprefix("household:"))
            self._has_room(fact, told)
        else:
            assert self.has_place(fact.target.removeprefix("pool:"))

    def _may_give(self, told: Told, household: str) -> None:
        assert told.actor.role != "volunteer" or self.home[told.actor.id] == household

    def _has_room(self, fact: Movement, told: Told) -> None:
        cap = told.policy.balance_minutes_max if told.policy else None
        assert self.is_open(fact.target.removeprefix("household:"))
        assert cap is None or self.balances[fact.target] + fact.minutes <= cap

    @follows(MinutesGranted)
    def _granted(self, fact: MinutesGranted, told: Told) -> None:
        household = fact.target.removeprefix("household:")
        assert fact.on == told.today
        self.granted_alone.append((fact.target, told.today, fact.minutes))
        since = told.today - timedelta(days=told.policy.grant_alone_days - 1)
        alone = sum(minutes for name, on, minutes in self.granted_alone if name == fact.target and on >= since)
        assert told.policy.grant_minutes_alone_max is None or alone <= told.policy.grant_minutes_alone_max
        assert fact.source == "pool:" + self.households[household][0]
        self._outsider(told, household)
        self._has_room(fact, told)

    @follows(StartingMinutesGranted)
    def _starting(self, fact: StartingMinutesGranted, told: Told) -> None:
        assert fact.household not in self.started
        self.started.add(fact.household)
        self.granted_alone.append((fact.target, told.today, fact.minutes))
        assert fact.minutes == told.policy.starting_grant_minutes > 0
        self._outsider(told, fact.household)
        self._has_room(fact, told)

    @follows(GrantProposed)
    def _grant_proposed(self, fact: GrantProposed, told: Told) -> None:
        assert fact.grant not in self.grants
        self._outsider(told, fact.household)
        self.grants[fact.grant] = fact
        self.open_grants.add(fact.grant)

    @follows(GrantApproved)
    def _grant_approved(self, fact: GrantApproved, told: Told) -> None:
        self.open_grants.remove(fact.grant)
        proposed = self.grants[fact.grant]
        assert proposed.proposed_by != fact.approved_by == told.actor.id
        self._outsider(told, proposed.household)
        assert (fact.target, fact.minutes) == ("household:" + proposed.household, proposed.minutes)
        self._has_room(fact, told)

    @follows(GrantRejected)
    def _grant_rejected(self, fact: GrantRejected, told: Told) -> None:
        self.open_grants.remove(fact.grant)
        assert self.grants[fact.grant].proposed_by != fact.rejected_by == told.actor.id

    @follows(GrantWithdrawn)
    def _grant_withdrawn(self, fact: GrantWithdrawn, _: Told) -> None:
        self.open_grants.remove(fact.grant)
        assert self.grants[fact.grant].proposed_by == fact.withdrawn_by

    @follows(OpeningBalanceProposed)
    def _opening_proposed(self, fact: OpeningBalanceProposed, told: Told) -> None:
        assert fact.household not in self.openings
        assert fact.household not in self.opened
        self._outsider(told, fact.household)
        self.openings[fact.household] = fact

    @follows(OpeningBalanceCredited)
    def _opening_credited(self, fact: OpeningBalanceCredited, told: Told) -> None:
        proposed = self.openings.pop(fact.household)
        self.opened.add(fact.household)
        assert proposed.proposed_by != fact.approved_by == told.actor.id
        assert (fact.opening, fact.minutes) == (proposed.opening, proposed.minutes)
        self._outsider(told, fact.household)
        self._has_room(fact, told)

    @follows(OpeningBalanceRejected)
    def _opening_rejected(self, fact: OpeningBalanceRejected, _: Told) -> None:
        assert self.openings.pop(fact.household).proposed_by != fact.rejected_by

    @follows(OpeningBalanceWithdrawn)
    def _opening_withdrawn(self, fact: OpeningBalanceWithdrawn, _: Told) -> None:
        assert self.openings.pop(fact.household).proposed_by == fact.withdrawn_by

    @follows(GroupRegistered)
    def _group_registered(self, fact: GroupRegistered, _: Told) -> None:
        assert fact.group not in self.groups
        assert self.home[fact.leader] is not None
        self.groups[fact.group] = fact.leader, {fact.leader}

    @follows(GroupMemberJoined)
    def _joined(self, fact: GroupMemberJoined, _: Told) -> None:
        assert fact.member not in self.groups[fact.group][1]
        self.groups[fact.group][1].add(fact.member)

    @follows(GroupMemberLeft)
    def _member_left(self, fact: GroupMemberLeft, _: Told) -> None:
        leader, members = self.groups[fact.group]
        assert fact.member != leader
        members.remove(fact.member)

    @follows(GroupLeaderAppointed)
    def _appointed(self, fact: GroupLeaderAppointed, _: Told) -> None:
        leader, members = self.groups[fact.group]
        assert fact.leader in members - {leader}
        self.groups[fact.group] = fact.leader, members

    @follows(ExpiryAnnounced)
    def _announced(self, fact: ExpiryAnnounced, told: Told) -> None:
        assert told.actor == TIME
        assert told.policy.expiry_months is not None
        assert fact.on > told.today
        assert fact.minutes > 0
        earlier = [self.announced[number] for number in self.open_announcements]
        still = {record for one in earlier if one.household == fact.household for record in one.records}
        assert not still & set(fact.records)
        for record in fact.records:
            assert self.records[record].started_at.date() < fact.earned_before
        self.announced[fact.announcement] = fact
        self.open_announcements.add(fact.announcement)

    @follows(ExpiryCalledOff)
    def _called_off(self, fact: ExpiryCalledOff, _: Told) -> None:
        self.open_announcements.remove(fact.announcement)

    @follows(MinutesExpired)
    def _expired(self, fact: MinutesExpired, told: Told) -> None:
        """What was announced, on its day; in all households together no more of a record than was credited for it."""
        self.open_announcements.remove(fact.announcement)
        announced = self.announced[fact.announcement]
        assert told.actor == TIME
        assert told.policy.expiry_months is not None
        assert told.today >= announced.on
        assert fact.minutes == sum(minutes for _, minutes in fact.lapsed) > 0
        for record, minutes in fact.lapsed:
            assert record in announced.records
            assert self.status[record] in ("confirmed", "reversed")
            self.lapsed[record] += minutes
            movements = self.movements_of[record]
            earned = sum(m.minutes for m in movements if isinstance(m, HoursConfirmed))
            capped = sum(m.minutes for m in movements if isinstance(m, MinutesCapped))
            assert self.lapsed[record] <= earned - capped


class MovingRules(Leading):
    @rule(community=INDEX, minutes=AMOUNT, actor=STAFF)
    def fund_pool(self, community: int, minutes: int, actor: Actor) -> None:
        self.here.send(fund_pool, FundPool(community=self.community(community), minutes=minutes), actor)

    @rule(household=INDEX, minutes=AMOUNT, need=NEEDS, actor=STAFF)
    def grant_minutes(self, household: int, minutes: int, need: Any, actor: Actor) -> None:
        command = GrantMinutes(household=self.household(household), minutes=minutes, need=need)
        self.here.send(grant_minutes, command, actor)

    @rule(household=INDEX, need=NEEDS, actor=STAFF)
    def grant_starting_minutes(self, household: int, need: Any, actor: Actor) -> None:
        command = GrantStartingMinutes(household=self.household(household), need=need)
        self.here.send(grant_starting_minutes, command, actor)

    @rule(household=INDEX, minutes=AMOUNT, how=st.sampled_from("aaarw-"), actor=STAFF)
    def grant_by_two(self, household: int, minutes: int, how: str, actor: Actor) -> None:
        number = f"G{len(self.here.grants)}"
        command = ProposeGrant(grant=number, household=self.household(household), minutes=minutes, need="other")
        self.here.send(propose_grant, command, OTHER_ADMIN)
        self.settle(number, how, OTHER_ADMIN if how == "w" else actor)

    @precondition(lambda self: self.here.grants)
    @rule(grant=INDEX, how=st.sampled_from("arw"), actor=STAFF)
    def settle_grant(self, grant: int, how: str, actor: Actor) -> None:
        self.settle(pick(list(self.here.grants), grant), how, actor)

    def settle(self, number: str, how: str, actor: Actor) -> None:
        match how:
            case "a":
                self.here.send(approve_grant, ApproveGrant(grant=number), actor)
            case "r":
                self.here.send(reject_grant, RejectGrant(grant=number, reason="not-proven"), actor)
            case "w":
                self.here.send(withdraw_grant, WithdrawGrant(grant=number), actor)

    @rule(household=INDEX, minutes=AMOUNT, how=st.sampled_from("aaarw"), proposer=STAFF, actor=STAFF)
    def opening_balance(self, household: int, minutes: int, how: str, proposer: Actor, actor: Actor) -> None:
        unopened = [h for h in self.here.households if h not in self.here.opened and h not in self.here.heirs]
        name = pick(unopened, household) if unopened and household % 8 != 7 else self.household(household)
        opening = f"OB{len(self.here.facts)}"
        proposed = ProposeOpeningBalance(opening=opening, household=name, minutes=minutes)
        self.here.send(propose_opening_balance, proposed, proposer)
        match how:
            case "a":
                approval = ApproveOpeningBalance(household=name, opening=opening)
                self.here.send(approve_opening_balance, approval, actor)
            case "r":
                rejection = RejectOpeningBalance(household=name, opening=opening, reason="wrong-amount")
                self.here.send(reject_opening_balance, rejection, actor)
            case _:
                withdrawal = WithdrawOpeningBalance(household=name, opening=opening)
                self.here.send(withdraw_opening_balance, withdrawal, actor)

    @rule(pair=st.tuples(INDEX, INDEX), ends=st.sampled_from([False, False, True]), actor=STAFF)
    def tie(self, pair: tuple[int, int], ends: bool, actor: Actor) -> None:
        one, other = (self.household(index) for index in pair)
        if ends:
            self.here.send(end_family_tie, EndFamilyTie(household=one, other_household=other), actor)
        else:
            self.here.send(register_family_tie, RegisterFamilyTie(household=one, other_household=other), actor)

    @rule(pair=st.tuples(INDEX, INDEX), minutes=AMOUNT, by_member=st.booleans(), actor=STAFF)
    def transfer(self, pair: tuple[int, int], minutes: int, by_member: bool, actor: Actor) -> None:
        household, recipient = (self.household(index) for index in pair)
        people = self.here.members(household)
        command = TransferMinutes(household=household, recipient_household=recipient, minutes=minutes)
        self.here.send(transfer, command, member(people[0]) if by_member and people else actor)

    @rule(household=INDEX, community=st.none() | INDEX, minutes=AMOUNT, by_member=st.booleans(), actor=STAFF)
    def donate(self, household: int, community: int | None, minutes: int, by_member: bool, actor: Actor) -> None:
        name = self.household(household)
        people = self.here.members(name)
        pool = None if community is None else self.community(community)
        command = DonateMinutes(household=name, minutes=minutes, community=pool)
        self.here.send(donate, command, member(people[0]) if by_member and people else actor)

    @rule(community=INDEX, leader=INDEX, actor=STAFF)
    def register_group(self, community: int, leader: int, actor: Actor) -> None:
        command = RegisterGroup(
            group=f"GR{len(self.here.groups)}", community=self.community(community), leader=self.somebody(leader)
        )
        self.here.send(register_group, command, actor)

    @precondition(lambda self: self.here.groups)
    @rule(group=INDEX, person=INDEX, how=st.sampled_from("jjlla"), by_leader=st.booleans(), actor=STAFF)
    def change_group(self, group: int, person: int, how: str, by_leader: bool, actor: Actor) -> None:
        name = pick(list(self.here.groups), group)
        leader, members = self.here.groups[name]
        actor = member(leader) if by_leader else actor
        match how:
            case "j":
                self.here.send(join_group, JoinGroup(group=name, member=self.somebody(person)), actor)
            case "l":
                self.here.send(leave_group, LeaveGroup(group=name, member=pick(sorted(members), person)), actor)
            case _:
                appointed = AppointGroupLeader(group=name, leader=pick(sorted(members), person))
                self.here.send(appoint_group_leader, appointed, actor)

    @precondition(lambda self: self.here.groups)
    @rule(group=INDEX, minutes=AMOUNT, household=st.none() | INDEX, by_leader=RIGHT, actor=STAFF)
    def donate_group_minutes(
        self, group: int, minutes: int, household: int | None, by_leader: bool, actor: Actor
    ) -> None:
        name = pick(list(self.here.groups), group)
        minutes = min(minutes, self.here.balances["group:" + name]) or minutes
        command = (
            DonateGroupMinutes(group=name, minutes=minutes)
            if household is None
            else DonateGroupMinutes(group=name, minutes=minutes, household=self.household(household), need="illness")
        )
        self.here.send(donate_group_minutes, command, member(self.here.groups[name][0]) if by_leader else actor)

    @precondition(lambda self: "confirmed" in self.here.status.values())
    @rule(actor=BY_TIME)
    def announce_expiry(self, actor: Actor) -> None:
        """Of all that is settled, whatever its age and whoever has it by now: the decision finds what is old."""
        records = tuple(record for record, status in self.here.status.items() if status == "confirmed")
        stands = [name for name in self.here.households if name not in self.here.heirs]
        commands = [AnnounceExpiry(household=name, records=records) for name in stands]
        self.here.together(*((announce_expiry, command, actor) for command in commands))

    @precondition(lambda self: self.here.announced)
    @rule(actor=BY_TIME)
    def expire_minutes(self, actor: Actor) -> None:
        commands = [
            ExpireMinutes(household=announced.household, announcement=number)
            for number, announced in self.here.announced.items()
        ]
        self.here.together(*((expire_minutes, command, actor) for command in commands))
