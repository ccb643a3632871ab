"""The whole domain at random: whatever is commanded in whatever order, the rules that bind a time bank hold."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.account import (
    Account,
    CappedMinutesReturned,
    FundPool,
    GrantMinutes,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    fund_pool,
    grant_minutes,
)
from domain.community import CommunityRegistered, RegisterCommunity, register_community
from domain.decision import Actor, Context, Decided, Decision, Reading, drive, fold_facts
from domain.fact import Fact, Movement
from domain.figures import Figure, Tally
from domain.hours import (
    MINUTE,
    ConfirmHours,
    HoursLogged,
    HoursRejected,
    ImportHours,
    LogHours,
    LogManyHours,
    RejectHours,
    ReverseHours,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
)
from domain.household import (
    EnrolVolunteer,
    HouseholdRegistered,
    MemberRegistered,
    RegisterHousehold,
    RegisterMember,
    VolunteerEnrolled,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.policy import (
    AdoptPolicy,
    ApprovePolicy,
    Policy,
    PolicyAdopted,
    PolicyProposalRejected,
    PolicyProposalWithdrawn,
    PolicyProposed,
    ProposePolicy,
    RejectPolicy,
    WithdrawPolicy,
    adopt,
    approve_policy,
    propose_policy,
    reject_policy,
    withdraw_policy,
)
from domain.refusal import Refusal
from infrastructure.codec import decode, encode
from tests.controls import COMMAND_ID, JINHU, OFFSET, XINZHU, ZONE, envelope

START = datetime(2028, 2, 28, 12, 0, tzinfo=OFFSET)  # the leap day is near

COMMUNITIES = st.sampled_from([XINZHU, JINHU])
HOUSEHOLDS = st.sampled_from(["H1", "H2", "H3", "H4"])
PEOPLE = st.sampled_from(["P1", "P2", "P3", "P4", "P5"])
RECORDS = st.integers(0, 30)  # the newest but so many
FRESH = st.sampled_from([True] * 7 + [False])
AMOUNTS = st.integers(1, 300)
REASONS = st.sampled_from(["duplicate", "not-served", "other"])
ADMIN, OTHER_ADMIN = Actor("A1", "admin"), Actor("A2", "admin")
ACTORS = st.one_of(
    st.builds(Actor, PEOPLE, st.just("volunteer")),
    st.builds(Actor, PEOPLE, st.just("staff"), COMMUNITIES),
    st.builds(Actor, PEOPLE, st.just("admin")),
    st.just(ADMIN),
    st.just(ADMIN),
)
POLICIES = st.builds(
    Policy,
    record_minutes_min=st.sampled_from([1, 15]),
    record_minutes_max=st.sampled_from([120, 480, 1440]),
    log_days_back_max=st.integers(0, 3),
    day_minutes_max=st.sampled_from([120, 300, 1440]),
    rounding=st.sampled_from(["down", "nearest", "up"]),
    rounding_step_minutes=st.sampled_from([1, 15, 60]),
    payer=st.sampled_from(["recipient", "pool", "issuance"]),
    payer_without_recipient=st.sampled_from(["pool", "issuance"]),
    balance_minutes_min=st.sampled_from([0, -60, -300]),
    balance_minutes_max=st.sampled_from([None, 60, 200]),
    above_balance_max=st.sampled_from(["refuse", "pool", "honour"]),
).filter(lambda policy: policy.service_minutes(policy.record_minutes_min) >= 1)
SPANS = st.tuples(st.integers(-60, 1), st.integers(1, 16)).map(  # half hours ago, quarter hours long
    lambda drawn: (drawn[0] * 30 * MINUTE, drawn[1] * 15 * MINUTE)
)


class TimeBank(RuleBasedStateMachine):
    """The facts so far, and beside them a model of what they come to that shares no code with the domain."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.facts: list[Fact] = []
        self.by_tag: dict[str, list[Fact]] = defaultdict(list)
        self.stored_by_tag: dict[str, list[Fact]] = defaultdict(list)
        self.tally = Tally()
        # The model
        self.balances: Counter[str] = Counter()
        self.policies: list[PolicyAdopted] = []
        self.proposals: dict[str, PolicyProposed] = {}
        self.open_proposals: set[str] = set()
        self.home: dict[str, str] = {}
        self.records: dict[str, HoursLogged] = {}
        self.status: dict[str, str] = {}

    # ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────

    @initialize(policy=POLICIES, funded=st.booleans())
    def a_district(self, policy: Policy, funded: bool) -> None:
        self.record([PolicyAdopted(1, date(2028, 2, 26), policy)], 0)
        self.record([CommunityRegistered(name, name) for name in (XINZHU, JINHU)], 0)
        for household, community, members in (
            ("H1", XINZHU, ("P1", "P2")),
            ("H2", JINHU, ("P3",)),
            ("H3", XINZHU, ("P4",)),
        ):
            self.record([HouseholdRegistered(household, community)], 0)
            for member in members:
                self.record([MemberRegistered(member, household), VolunteerEnrolled(member)], 0)
        if funded:
            self.command(fund_pool, FundPool(community=XINZHU, minutes=200), ADMIN)

    @rule(hours=st.integers(1, 20))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(policy=POLICIES, days=st.integers(0, 2))
    def adopt_alone(self, policy: Policy, days: int) -> None:
        effective_on = self.now.date() + timedelta(days=days)
        self.command(adopt, AdoptPolicy(effective_on=effective_on, policy=policy), ADMIN)

    @rule(policy=POLICIES, days=st.integers(0, 2), fresh=FRESH, at_once=FRESH)
    def propose(self, policy: Policy, days: int, fresh: bool, at_once: bool) -> None:
        effective_on = self.now.date() + timedelta(days=days)
        number = f"P{len(self.proposals) - (not fresh)}"
        self.command(
            propose_policy, ProposePolicy(proposal=number, effective_on=effective_on, policy=policy), OTHER_ADMIN
        )
        if at_once:
            self.command(approve_policy, ApprovePolicy(proposal=number), ADMIN)

    @rule(back=st.integers(0, 3), admin=st.sampled_from([ADMIN, OTHER_ADMIN]), what=st.sampled_from("arw"))
    def settle_proposal(self, back: int, admin: Actor, what: str) -> None:
        number = f"P{len(self.proposals) - 1 - back}"
        match what:
            case "a":
                self.command(approve_policy, ApprovePolicy(proposal=number), admin)
            case "r":
                self.command(reject_policy, RejectPolicy(proposal=number, reason="not-agreed"), admin)
            case _:
                self.command(withdraw_policy, WithdrawPolicy(proposal=number), admin)

    @rule(community=COMMUNITIES, household=HOUSEHOLDS, actor=ACTORS)
    def register(self, community: str, household: str, actor: Actor) -> None:
        self.command(register_community, RegisterCommunity(community=community), actor)
        self.command(register_household, RegisterHousehold(household=household, community=community), actor)

    @rule(person=PEOPLE, household=HOUSEHOLDS, actor=ACTORS)
    def enrol(self, person: str, household: str, actor: Actor) -> None:
        self.command(register_member, RegisterMember(member=person, household=household), actor)
        self.command(enrol_volunteer, EnrolVolunteer(volunteer=person), actor)

    def named(self, back: int) -> str:
        """A record there is, or may be: the newest but so many."""
        return f"R{max(0, len(self.status) - 1 - back)}"

    def claim(self, record: str, volunteer: str, recipient: str | None, span: tuple[timedelta, timedelta]) -> LogHours:
        started_at = self.now + span[0]
        return LogHours(
            record=record,
            volunteer=volunteer,
            recipient_household=recipient,
            service="助餐",
            started_at=started_at,
            ended_at=started_at + span[1],
        )

    @rule(fresh=FRESH, volunteer=PEOPLE, recipient=HOUSEHOLDS | st.none(), span=SPANS, actor=ACTORS)
    def log(self, fresh: bool, volunteer: str, recipient: str | None, span: Any, actor: Actor) -> None:
        record = f"R{len(self.status)}" if fresh else self.named(0)
        self.command(log, self.claim(record, volunteer, recipient, span), actor)

    @rule(volunteer=PEOPLE, rows=st.lists(st.tuples(FRESH, HOUSEHOLDS | st.none(), SPANS), min_size=1, max_size=4))
    def log_sheet(self, volunteer: str, rows: list[Any]) -> None:
        first = len(self.status)
        hours = tuple(
            self.claim(f"R{first + n if fresh else first}", volunteer, recipient, span)
            for n, (fresh, recipient, span) in enumerate(rows)
        )
        self.command(log_many, LogManyHours(hours=hours), ADMIN)

    @rule(back=RECORDS, actor=ACTORS)
    def confirm(self, back: int, actor: Actor) -> None:
        self.command(confirm, ConfirmHours(record=self.named(back)), actor)

    @rule(actor=ACTORS)
    def confirm_all(self, actor: Actor) -> None:
        for record in [record for record, status in self.status.items() if status == "logged"]:
            self.command(confirm, ConfirmHours(record=record), actor)

    @rule(back=RECORDS, actor=ACTORS, reason=REASONS)
    def reject(self, back: int, actor: Actor, reason: Any) -> None:
        self.command(reject, RejectHours(record=self.named(back), reason=reason), actor)

    @rule(back=RECORDS, actor=ACTORS, reason=REASONS)
    def reverse(self, back: int, actor: Actor, reason: Any) -> None:
        self.command(reverse, ReverseHours(record=self.named(back), reason=reason), actor)

    @rule(community=COMMUNITIES, minutes=AMOUNTS, actor=ACTORS)
    def fund(self, community: str, minutes: int, actor: Actor) -> None:
        self.command(fund_pool, FundPool(community=community, minutes=minutes), actor)

    @rule(household=HOUSEHOLDS, minutes=AMOUNTS, actor=ACTORS)
    def grant(self, household: str, minutes: int, actor: Actor) -> None:
        self.command(grant_minutes, GrantMinutes(household=household, minutes=minutes, need="other"), actor)

    @rule(
        fresh=FRESH,
        volunteer=PEOPLE,
        homes=st.tuples(HOUSEHOLDS, HOUSEHOLDS | st.none()),
        places=st.tuples(COMMUNITIES, COMMUNITIES),
        span=SPANS,
        confirmed_by=PEOPLE,
        status=st.sampled_from(["logged", "confirmed", "rejected", "reversed"]),
    )
    def import_row(
        self, fresh: bool, volunteer: str, homes: Any, places: Any, span: Any, confirmed_by: str, status: Any
    ) -> None:
        household, recipient = homes
        record = f"R{len(self.status)}" if fresh else self.named(0)
        started_at = (self.now + span[0]).astimezone(ZONE)
        row = ImportHours(
            *(record, volunteer, self.home.get(volunteer, household), places[0], recipient, places[1], (), "助洁"),
            *(started_at, started_at + span[1], span[1] // MINUTE, confirmed_by, status),
        )
        self.command(import_hours, row, Actor("import", "admin"))

    # ── What follows from a command ──────────────────────────────────────────────────────────────────────────

    def command(self, decide: Callable[[Any, Context], Decision], command: Any, actor: Actor) -> None:
        context = Context(actor, self.now, COMMAND_ID, ZONE)
        try:
            decided = drive(decide(command, context), self.state)
        except Refusal as refusal:
            str(refusal)  # can be told
            return
        assert drive(decide(command, context), self.state) == decided  # pure
        from_stored = drive(decide(command, context), self.stored_state)
        assert stored(from_stored) == stored(decided)  # nothing depends on what storing changes
        before = dict(self.balances)
        self.actor = actor
        self.claimed = decide is not import_hours or command.status in ("logged", "confirmed")
        for policy, fact in decided.each():
            self.record([fact], policy)
        if decide is reverse or (decide is import_hours and command.status == "reversed"):
            self.check_exact_reversal(command.record, before, whole=decide is import_hours)

    def state(self, reading: Reading[Any]) -> Any:
        return fold_facts(reading, self.by_tag[reading.tag])

    def stored_state(self, reading: Reading[Any]) -> Any:
        return fold_facts(reading, self.stored_by_tag[reading.tag])

    def record(self, facts: Iterable[Fact], policy: int) -> None:
        for fact in facts:
            self.facts.append(fact)
            again = decode(fact.type, encode(envelope(fact))).fact
            assert again == fact
            assert again.tags() == fact.tags()
            for tag in fact.tags():
                self.by_tag[tag].append(fact)
                self.stored_by_tag[tag].append(again)
            self.tally.fold(fact)
            self.model(fact, policy)

    def model(self, fact: Fact, policy: int) -> None:
        match fact:
            case PolicyAdopted():
                assert fact.version == len(self.policies) + 1
                if self.policies:
                    self.check_adoption(fact)
                self.policies.append(fact)
            case PolicyProposed():
                assert fact.proposal not in self.proposals
                self.proposals[fact.proposal] = fact
                self.open_proposals.add(fact.proposal)
            case PolicyProposalRejected():
                assert fact.rejected_by != self.proposals[fact.proposal].proposed_by
                self.open_proposals.remove(fact.proposal)
            case PolicyProposalWithdrawn():
                assert fact.withdrawn_by == self.proposals[fact.proposal].proposed_by
                self.open_proposals.remove(fact.proposal)
            case MemberRegistered():
                assert fact.member not in self.home
                self.home[fact.member] = fact.household
            case HoursLogged():
                assert fact.record not in self.status
                self.status[fact.record], self.records[fact.record] = "logged", fact
                if self.claimed:  # what older books rejected or reversed took up nobody's time
                    self.check_claim(fact, policy)
            case HoursRejected():
                assert self.status[fact.record] == "logged"
                self.status[fact.record] = "rejected"
            case HoursConfirmed():
                assert self.status[fact.record] == "logged"
                self.status[fact.record] = "confirmed"
                self.check_confirmer(fact)
            case HoursReversed():
                assert self.status[fact.record] == "confirmed"
                self.status[fact.record] = "reversed"
            case _:
                pass
        if isinstance(fact, Movement):
            self.move(fact, policy)

    def move(self, fact: Movement, policy: int) -> None:
        assert fact.minutes >= 0
        assert fact.source != fact.target
        self.balances[fact.source] -= fact.minutes
        self.balances[fact.target] += fact.minutes
        if isinstance(fact, HoursReversed | CappedMinutesReturned):
            return  # a reversal is exact, whatever it leaves behind
        kind = fact.source.partition(":")[0]
        if kind == "pool":
            assert self.balances[fact.source] >= 0
        if kind == "household" and not isinstance(fact, MinutesCapped):
            assert self.balances[fact.source] >= self.policies[policy - 1].policy.balance_minutes_min
        if isinstance(fact, MinutesCapped):
            cap = self.policies[policy - 1].policy.balance_minutes_max
            assert cap is not None
            assert fact.minutes > 0
            confirmed = self.last(HoursConfirmed, fact.record)
            assert self.balances[fact.source] == max(cap, self.balances[fact.source] + fact.minutes - confirmed.minutes)

    def check_adoption(self, adopted: PolicyAdopted) -> None:
        """A later version is what was proposed, is approved by another, and changes no day that has begun."""
        proposed = self.proposals[adopted.proposal]
        self.open_proposals.remove(adopted.proposal)
        assert (adopted.effective_on, adopted.policy) == (proposed.effective_on, proposed.policy)
        assert proposed.proposed_by != self.actor.id
        assert adopted.effective_on > max(self.now.date(), self.policies[-1].effective_on)

    def check_claim(self, logged: HoursLogged, policy: int) -> None:
        in_force = [p for p in self.policies if p.effective_on <= logged.started_at.date()][-1]
        assert in_force.version == policy
        rules = in_force.policy
        whole = (logged.ended_at - logged.started_at) // MINUTE
        assert rules.record_minutes_min <= logged.claimed_minutes <= min(whole, rules.record_minutes_max)
        assert logged.ended_at <= self.now
        assert logged.started_at.utcoffset() == timedelta(hours=8)
        assert logged.household == self.home[logged.volunteer] != logged.recipient_household
        step = rules.rounding_step_minutes
        assert logged.service_minutes % step == 0
        assert abs(logged.service_minutes - logged.claimed_minutes) < step

    def check_confirmer(self, confirmed: HoursConfirmed) -> None:
        logged = self.records[confirmed.record]
        assert confirmed.confirmed_by not in (logged.volunteer, logged.logged_by)
        assert self.home.get(confirmed.confirmed_by) != logged.household
        assert confirmed.minutes + confirmed.honour_minutes == logged.service_minutes
        assert confirmed.target == "household:" + logged.household

    def check_exact_reversal(self, record: str, before: dict[str, int], *, whole: bool) -> None:
        """The record's movements cancel out; imported and reversed in one row, nothing has changed at all."""
        changes: Counter[str] = Counter()
        for fact in self.by_tag["record:" + record]:
            if isinstance(fact, Movement):
                changes[fact.source] -= fact.minutes
                changes[fact.target] += fact.minutes
        assert not any(changes.values())
        if whole:
            assert {name: n for name, n in self.balances.items() if n} == {name: n for name, n in before.items() if n}

    def last(self, kind: type[Any], record: str) -> Any:
        return next(fact for fact in reversed(self.by_tag["record:" + record]) if isinstance(fact, kind))

    # ── What always holds ────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def all_accounts_sum_to_zero_and_are_as_the_model_has_them(self) -> None:
        assert sum(self.balances.values()) == 0
        for name, minutes in self.balances.items():
            if name != "issuance":
                assert self.state(Account.of(name)).balance_minutes == minutes

    @invariant()
    def nobody_is_in_two_places_at_once_nor_serves_too_long_a_day(self) -> None:
        by_volunteer: dict[str, list[HoursLogged]] = defaultdict(list)
        for record, logged in self.records.items():
            if self.status[record] in ("logged", "confirmed"):
                by_volunteer[logged.volunteer].append(logged)
        for claims in by_volunteer.values():
            claims.sort(key=lambda claim: claim.started_at)
            assert all(a.ended_at <= b.started_at for a, b in pairwise(claims))
        longest = max((p.policy.day_minutes_max for p in self.policies), default=0)
        for claims in by_volunteer.values():
            worked: Counter[date] = Counter()
            for claim in claims:
                for minute in range(claim.claimed_minutes):
                    worked[(claim.started_at + minute * MINUTE).date()] += 1
            assert all(minutes <= longest for minutes in worked.values())

    @invariant()
    def figures_count_confirmed_service_alone(self) -> None:
        counting = [self.records[record] for record, status in self.status.items() if status == "confirmed"]
        served = {logged.recipient_household for logged in counting} - {None}
        minutes = sum(logged.service_minutes for logged in counting)
        assert self.tally.figures() == Figure(len(served), minutes, len(counting))
        by_community = self.tally.cells("community").values()
        assert sum(cell.service_minutes for cell in by_community) == minutes


def stored(decided: Decided) -> list[tuple[int, bytes]]:
    return [(policy, encode(envelope(fact))) for policy, fact in decided.each()]


TestTimeBank = TimeBank.TestCase
TestTimeBank.settings = settings(
    max_examples=250, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
