"""Households and their people, who come and go."""

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import EXPIRED, BalanceCarried, household_account, pool_account
from domain.community import GridPath
from domain.community_life import CompleteSplit
from domain.decision import Actor, fold_facts
from domain.fact import Fact
from domain.household import (
    AgeAttested,
    AttestAge,
    EnrolVolunteer,
    Household,
    HouseholdClosed,
    HouseholdMerged,
    HouseholdMoveCalledOff,
    HouseholdMoved,
    HouseholdMovePlanned,
    HouseholdRegistered,
    HouseholdSplit,
    MemberDied,
    MemberLeft,
    MemberMoved,
    MemberRegistered,
    RegisterHousehold,
    RegisterMember,
    Roster,
    VolunteerEnrolled,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.household_life import (
    CallOffMove,
    CloseHousehold,
    CompleteMove,
    LeaveHousehold,
    MergeHouseholds,
    MoveHousehold,
    MoveMember,
    RecordDeath,
    SplitHousehold,
    call_off_move,
    close_household,
    complete_move,
    leave_household,
    merge_households,
    move_household,
    move_member,
    record_death,
    split_household,
)
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.leading import INDEX, RIGHT, STAFF, Leading, pick
from tests.domain.time_bank.places import PlaceModel


class HouseholdModel(PlaceModel):
    def __init__(self) -> None:
        super().__init__()
        self.households: dict[str, tuple[str, GridPath]] = {}
        self.heirs: dict[str, str] = {}
        """The account that a closed household's balance went to."""
        self.home: dict[str, str | None] = {}
        self.volunteers: set[str] = set()
        self.dead: set[str] = set()
        self.ages: Counter[str] = Counter()
        self.plans: dict[str, HouseholdMovePlanned] = {}
        self.changed_households: set[str] = set()

    def note(self, fact: Fact, told: Told) -> None:
        super().note(fact, told)
        tags = [tag.partition(":") for tag in fact.tags()]
        self.changed_households |= {name for kind, _, name in tags if kind in ("household", "members")}

    @follows(HouseholdRegistered)
    def _household_registered(self, fact: HouseholdRegistered, _: Told) -> None:
        assert fact.household not in self.households
        assert fact.community in self.communities
        assert fact.grid in {(), *self.grids[fact.community]}
        self.households[fact.household] = fact.community, fact.grid

    @follows(MemberRegistered)
    def _member_registered(self, fact: MemberRegistered, _: Told) -> None:
        assert self.home.get(fact.member) is None
        assert fact.member not in self.dead
        assert self.is_open(fact.household)
        self.home[fact.member] = fact.household

    @follows(VolunteerEnrolled)
    def _enrolled(self, fact: VolunteerEnrolled, _: Told) -> None:
        assert self.home[fact.volunteer] is not None
        assert fact.volunteer not in self.volunteers
        self.volunteers.add(fact.volunteer)

    @follows(AgeAttested)
    def _attested(self, fact: AgeAttested, told: Told) -> None:
        assert fact.attested_by != fact.person
        self._outsider(told, self.home[fact.person])
        assert fact.age_years_min > self.ages[fact.person]
        self.ages[fact.person] = fact.age_years_min

    @follows(MemberLeft, MemberDied)
    def _left(self, fact: MemberLeft | MemberDied, told: Told) -> None:
        assert self.home[fact.member] == fact.household
        assert told.actor.id != fact.member
        self._outsider(told, fact.household)
        self.home[fact.member] = None
        if isinstance(fact, MemberDied):
            self.volunteers.discard(fact.member)
            self.dead.add(fact.member)

    @follows(MemberMoved)
    def _member_moved(self, fact: MemberMoved, told: Told) -> None:
        assert self.home[fact.member] == fact.household != fact.into
        assert self.is_open(fact.into)
        self._outsider(told, fact.household)
        self.home[fact.member] = fact.into

    @follows(HouseholdMoved)
    def _moved(self, fact: HouseholdMoved, told: Told) -> None:
        assert self.is_open(fact.household)
        assert fact.grid in {(), *self.grids[fact.community]}
        assert fact.moved_on <= told.today
        if not fact.planned:
            assert self.households[fact.household] != (fact.community, fact.grid)
        else:
            assert told.actor == TIME
            assert self.plans[fact.household].moves_on == fact.moved_on
        if isinstance(told.command, MoveHousehold):
            assert self.has_place(fact.community, fact.grid)
            self._outsider(told, fact.household)
        plan = self.plans.get(fact.household)
        if plan is not None and (fact.planned or (plan.community, plan.grid) == (fact.community, fact.grid)):
            del self.plans[fact.household]
        self.households[fact.household] = fact.community, fact.grid

    @follows(HouseholdMovePlanned)
    def _move_planned(self, fact: HouseholdMovePlanned, told: Told) -> None:
        assert self.is_open(fact.household)
        assert self.has_place(fact.community, fact.grid)
        assert self.households[fact.household] != (fact.community, fact.grid)
        assert fact.moves_on > told.today
        self._outsider(told, fact.household)
        self.plans[fact.household] = fact

    @follows(HouseholdMoveCalledOff)
    def _move_called_off(self, fact: HouseholdMoveCalledOff, told: Told) -> None:
        assert self.is_open(fact.household)
        self._outsider(told, fact.household)
        del self.plans[fact.household]

    @follows(HouseholdSplit)
    def _split(self, fact: HouseholdSplit, told: Told) -> None:
        assert self.is_open(fact.household)
        assert fact.into not in self.households
        assert self.has_place(fact.community, fact.grid)
        assert all(self.home[person] == fact.household for person in fact.members)
        self._outsider(told, fact.household)
        self.households[fact.into] = fact.community, fact.grid
        self.home.update(dict.fromkeys(fact.members, fact.into))

    @follows(HouseholdMerged)
    def _merged_households(self, fact: HouseholdMerged, told: Told) -> None:
        assert self.is_open(fact.household)
        assert self.is_open(fact.into)
        assert fact.household != fact.into
        self._outsider(told, fact.household, fact.into)
        assert fact.members == self.members(fact.household)
        self.home.update(dict.fromkeys(fact.members, fact.into))
        self.heirs[fact.household] = household_account(fact.into)

    @follows(HouseholdClosed)
    def _closed(self, fact: HouseholdClosed, told: Told) -> None:
        assert self.is_open(fact.household)
        self._outsider(told, fact.household)
        assert fact.members == self.members(fact.household)
        if fact.heir.startswith("household:"):
            assert self.is_open(fact.heir.removeprefix("household:"))
            self._outsider(told, fact.heir.removeprefix("household:"))
        else:
            assert fact.heir in (EXPIRED, "pool:" + self.households[fact.household][0])
            self._leaves_nothing_open(fact.household, told)
        self.home.update(dict.fromkeys(fact.members, None))
        self.heirs[fact.household] = fact.heir

    @follows(BalanceCarried)
    def _carried(self, fact: BalanceCarried, told: Told) -> None:
        """Whoever goes leaves neither minutes nor debts; who divides gives a part."""
        if fact.cause in ("household-merged", "household-closed"):
            assert abs(self.balances[household_account(told.command.household)]) == fact.minutes
        if fact.cause == "community-merged":
            assert abs(self.balances[pool_account(told.command.community)]) == fact.minutes
        if isinstance(told.command, CompleteSplit):
            share_minutes = self.splits[told.command.into].minutes
            assert fact.minutes == min(share_minutes, self.balances[fact.source])
        assert sum(minutes for _, minutes in fact.lots) <= fact.minutes

    def _leaves_nothing_open(self, household: str, _: Told) -> None:
        """Where nobody takes a household over, nothing may wait for it; a concept in which something can adds to it."""
        assert not self.held(household_account(household))

    def _outsider(self, told: Told, *households: str | None) -> None:
        """Nobody decides about their own household."""
        assert self.home.get(told.actor.id) not in {h for h in households if h is not None}

    def is_open(self, household: str) -> bool:
        return household in self.households and household not in self.heirs

    def members(self, household: str) -> tuple[str, ...]:
        return tuple(sorted(person for person, home in self.home.items() if home == household))

    def successor(self, household: str) -> str | None:
        """The household that stands in its place; None where its balance went elsewhere."""
        while household in self.heirs:
            if not self.heirs[household].startswith("household:"):
                return None
            household = self.heirs[household].removeprefix("household:")
        return household

    def stands_for(self, household: str | None) -> str | None:
        """The last household that stands in the place of another one, be it open or closed."""
        while household is not None and self.heirs.get(household, "").startswith("household:"):
            household = self.heirs[household].removeprefix("household:")
        return household

    def standing(self, account: str) -> str:
        """The account that bears what is undone of another's past."""
        kind, _, name = account.partition(":")
        if kind == "household" and name in self.heirs:
            return self.standing(self.heirs[name])
        return self.pool_of(name) if kind == "pool" else account

    def after_command(self, facts: tuple[Fact, ...], before: Counter[str], told: Told) -> None:
        super().after_command(facts, before, told)
        for fact in facts:
            if isinstance(fact, HouseholdMerged | HouseholdClosed):
                assert not self.balances[household_account(fact.household)]

    def check(self) -> None:
        """Whoever belongs where, and what stands in a closed household's place."""
        super().check()
        for household in self.changed_households:
            found = fold_facts(Household.of(household), self.by_tag["household:" + household])
            assert (found.community, found.grid) == self.households[household]
            assert found.heir == self.heirs.get(household)
            assert found.plan == self.plans.get(household)
            roster = fold_facts(Roster.of(household), self.by_tag["members:" + household])
            assert tuple(sorted(roster.members)) == self.members(household)
        self.changed_households.clear()
        for household in self.heirs:
            assert not self.balances[household_account(household)], f"{household} is closed, and holds or owes minutes"
            assert not self.held(household_account(household)), f"{household} is closed, and minutes are held on it"


class HouseholdRules(Leading):
    @rule(community=INDEX, grid=st.booleans(), actor=STAFF)
    def register_household(self, community: int, grid: bool, actor: Actor) -> None:
        name = self.community(community)
        grids = sorted(self.here.grids[name])
        command = RegisterHousehold(
            household=f"H{len(self.here.households) + 1}", community=name, grid=grids[0] if grid and grids else ()
        )
        self.here.send(register_household, command, actor)

    @rule(household=INDEX, enrols=RIGHT, again=st.sampled_from([None] * 5 + [0, 1]), actor=STAFF)
    def register_member(self, household: int, enrols: bool, again: int | None, actor: Actor) -> None:
        """Somebody new, or somebody who was a member before, or still is."""
        person = f"P{len(self.here.home) + 1}" if again is None else pick(list(self.here.home), again)
        self.here.send(register_member, RegisterMember(member=person, household=self.household(household)), actor)
        if enrols:
            self.here.send(enrol_volunteer, EnrolVolunteer(volunteer=person), actor)

    @rule(person=INDEX, years=st.sampled_from([1, 60, 70]), actor=STAFF)
    def attest_age(self, person: int, years: int, actor: Actor) -> None:
        self.here.send(attest_age, AttestAge(person=self.somebody(person), age_years_min=years), actor)

    @rule(person=INDEX, into=INDEX, how=st.sampled_from("mmmld"), actor=STAFF)
    def member_goes(self, person: int, into: int, how: str, actor: Actor) -> None:
        member = self.somebody(person)
        match how:
            case "m":
                self.here.send(move_member, MoveMember(member=member, into=self.household(into)), actor)
            case "l":
                self.here.send(leave_household, LeaveHousehold(member=member), actor)
            case _:
                self.here.send(record_death, RecordDeath(member=member), actor)

    @rule(household=INDEX, community=INDEX, days=st.sampled_from([0, 0, 1, 3, 400]), actor=STAFF)
    def move_household(self, household: int, community: int, days: int, actor: Actor) -> None:
        """Now, or as it is planned."""
        command = MoveHousehold(
            household=self.household(household),
            community=self.community(community),
            moved_on=self.now.date() + timedelta(days=days),
        )
        self.here.send(move_household, command, actor)

    @precondition(lambda self: self.here.plans)
    @rule(plan=INDEX, waits=st.sampled_from([0, 1, 3]), calls_off=st.sampled_from([False, False, True]), actor=STAFF)
    def end_plan(self, plan: int, waits: int, calls_off: bool, actor: Actor) -> None:
        household = pick(list(self.here.plans), plan)
        self.wait(days=waits)
        if calls_off:
            self.here.send(call_off_move, CallOffMove(household=household), actor)
        else:
            self.here.send(complete_move, CompleteMove(household=household), TIME)

    @rule(household=INDEX, minutes=st.sampled_from([0, 10, 60]), actor=STAFF)
    def split_household(self, household: int, minutes: int, actor: Actor) -> None:
        name = self.household(household)
        command = SplitHousehold(
            household=name,
            into=f"H{len(self.here.households) + 1}",
            members=self.here.members(name)[:1] or ("P1",),
            minutes=minutes,
        )
        self.here.send(split_household, command, actor)

    @precondition(lambda self: len(self.here.households) - len(self.here.heirs) > 3)
    @rule(
        pair=st.tuples(INDEX, INDEX),
        how=st.sampled_from(["merged", "taken over", "closed"]),
        cause=st.sampled_from(["moved-away", "died", "other"]),
        actor=STAFF,
    )
    def household_ends(self, pair: tuple[int, int], how: str, cause: Any, actor: Actor) -> None:
        household, other = (self.household(index) for index in pair)
        match how:
            case "merged":
                self.here.send(merge_households, MergeHouseholds(household=household, into=other), actor)
            case "taken over":
                command = CloseHousehold(household=household, cause=cause, taken_over_by=other)
                self.here.send(close_household, command, actor)
            case _:
                self.here.send(close_household, CloseHousehold(household=household, cause=cause), actor)


def register_people(ledger: Any, household: str, community: str, people: tuple[str, ...], actor: Actor) -> None:
    """A household, all of whose members are volunteers."""
    ledger.send(register_household, RegisterHousehold(household=household, community=community), actor)
    for person in people:
        ledger.send(register_member, RegisterMember(member=person, household=household), actor)
        ledger.send(enrol_volunteer, EnrolVolunteer(volunteer=person), actor)
