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
    MinutesHeld,
    MinutesReleased,
    fund_pool,
    grant_minutes,
)
from domain.community import CommunityRegistered, RegisterCommunity, register_community
from domain.decision import Actor, Context, Decided, Decision, Reading, drive, fold_facts
from domain.dispute import (
    DecideDispute,
    Dispute,
    DisputeEscalated,
    DisputeStatementGiven,
    EscalateDispute,
    OpenDispute,
    StateCase,
    WithdrawDispute,
    decide_dispute,
    escalate_dispute,
    open_dispute,
    state_case,
    withdraw_dispute,
)
from domain.fact import Fact, Movement
from domain.figures import Figure, Tally
from domain.hours import (
    MINUTE,
    ConfirmHours,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    HoursLogged,
    HoursRejected,
    ImportHours,
    LogHours,
    LogManyHours,
    RejectHours,
    ReverseHours,
    SettleSilence,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
    settle_silence,
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
from tests.controls import COMMAND_ID, JINHU, OFFSET, TIME, XINZHU, ZONE, envelope
from tests.domain.moving_rules import MovingRules

START = datetime(2028, 2, 28, 12, 0, tzinfo=OFFSET)  # the leap day is near

COMMUNITIES = st.sampled_from([XINZHU, JINHU])
HOUSEHOLDS = st.sampled_from(["H1", "H2", "H3", "H4"])
PEOPLE = st.sampled_from(["P1", "P2", "P3", "P4", "P5"])
RECORDS = st.integers(0, 30)  # the newest but so many
FRESH = st.sampled_from([True] * 7 + [False])
AMOUNTS = st.integers(1, 300)
REASONS = st.sampled_from(["duplicate", "not-served", "other"])
GROUNDS = st.sampled_from(["not-served", "wrong-time", "served"])
SIDES = st.sampled_from([None, None, "earner", "recipient"])
DISPUTES = st.integers(0, 3)  # the newest but so many
ADMIN, OTHER_ADMIN, JUDGE = Actor("A1", "admin"), Actor("A2", "admin"), Actor("S8", "staff")
ACTORS = st.one_of(
    st.builds(Actor, PEOPLE, st.just("volunteer")),
    st.builds(Actor, PEOPLE, st.just("staff"), COMMUNITIES),
    st.builds(Actor, PEOPLE, st.just("admin")),
    st.just(ADMIN),
    st.just(OTHER_ADMIN),
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
    transfer=st.sampled_from(["nobody", "family", "anyone"]),
    transfer_minutes_month_max=st.sampled_from([None, 100]),
    starting_grant_minutes=st.sampled_from([0, 30]),
    grant_minutes_alone_max=st.sampled_from([None, 100]),
    above_balance_max=st.sampled_from(["refuse", "pool", "honour"]),
    silence_days=st.sampled_from([None, 1, 2]),
    dispute_days_max=st.sampled_from([0, 1, 30]),
    dispute_decision_days=st.sampled_from([1, 3]),
).filter(lambda policy: policy.service_minutes(policy.record_minutes_min) >= 1)
SPANS = st.tuples(st.integers(-60, 1), st.integers(1, 16)).map(  # half hours ago, quarter hours long
    lambda drawn: (drawn[0] * 30 * MINUTE, drawn[1] * 15 * MINUTE)
)


class TimeBank(MovingRules, RuleBasedStateMachine):
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
        self.logged_at: dict[str, datetime] = {}
        self.settled_at: dict[str, datetime] = {}
        self.disputes: dict[str, DisputeOpened] = {}
        self.outcomes: dict[str, str] = {}
        self.heard: dict[str, set[str]] = {}
        self.escalated: set[str] = set()
        self.holds: dict[str, MinutesHeld] = {}
        self.actor = ADMIN

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

    @rule(back=RECORDS, person=PEOPLE, rating=st.sampled_from([None, 1, 5]))
    def confirm_as_member(self, back: int, person: str, rating: int | None) -> None:
        command = ConfirmHours(record=self.named(back), rating=rating)
        self.command(confirm, command, Actor(person, "volunteer"))

    @rule(actor=st.just(TIME) | ACTORS)
    def silence(self, actor: Actor) -> None:
        for record in [record for record, status in self.status.items() if status == "logged"]:
            self.command(settle_silence, SettleSilence(record=record, logged_at=self.logged_at[record]), actor)

    def disputed(self, back: int) -> str:
        return f"D{max(0, len(self.disputes) - 1 - back)}"

    @rule(back=RECORDS, fresh=FRESH, ground=GROUNDS, side=SIDES, actor=ACTORS)
    def open_dispute(self, back: int, fresh: bool, ground: Any, side: Any, actor: Actor) -> None:
        settled = [record for record, status in self.status.items() if status in ("confirmed", "rejected")]
        record = settled[-1 - back % len(settled)] if settled else self.named(back)
        if fresh:  # else a ground that may not fit
            ground = "served" if self.status.get(record) == "rejected" else "false-record"
        number = f"D{len(self.disputes)}" if fresh else self.disputed(0)
        opening = OpenDispute(
            dispute=number,
            record=record,
            ground=ground,
            side=side,
            settled_at=self.settled_at.get(record, self.now),
            text=None,
        )
        self.command(open_dispute, opening, actor)

    @rule(
        volunteer=PEOPLE,
        recipient=HOUSEHOLDS | st.none(),
        span=SPANS,
        rejected=st.booleans(),
        outcome=st.sampled_from(["upheld", "dismissed", None]),
        judge=st.sampled_from([OTHER_ADMIN, JUDGE, JUDGE]),
        hours=st.sampled_from([0, 12, 36, 80]),
    )
    def quarrel(
        self, volunteer: str, recipient: str | None, span: Any, rejected: bool, outcome: Any, judge: Actor, hours: int
    ) -> None:
        """From the service to the dispute's end, with everything in its place: chance alone seldom gets so far."""
        record, number = f"R{len(self.status)}", f"D{len(self.disputes)}"
        self.command(log, self.claim(record, volunteer, recipient, span), ADMIN)
        if rejected:
            self.command(reject, RejectHours(record=record, reason="other"), ADMIN)
        else:
            self.command(confirm, ConfirmHours(record=record), OTHER_ADMIN)
        settled_at = self.settled_at.get(record, self.now)
        ground: Any = "served" if rejected else "not-served"
        opening = OpenDispute(dispute=number, record=record, ground=ground, settled_at=settled_at, text=None)
        self.command(open_dispute, opening, Actor(volunteer, "volunteer"))
        self.now += timedelta(hours=hours)
        if not hours:
            self.command(state_case, StateCase(dispute=number, ground="other", side="recipient", text=None), ADMIN)
        self.command(escalate_dispute, EscalateDispute(dispute=number), TIME)
        if outcome is not None:
            self.command(decide_dispute, DecideDispute(dispute=number, outcome=outcome, text=None), judge)

    @rule(back=DISPUTES, ground=GROUNDS, side=SIDES, actor=ACTORS)
    def state_case(self, back: int, ground: Any, side: Any, actor: Actor) -> None:
        statement = StateCase(dispute=self.disputed(back), ground=ground, side=side, text=None)
        self.command(state_case, statement, actor)

    @rule(back=DISPUTES, outcome=st.sampled_from(["upheld", "dismissed"]), heard=st.booleans(), actor=ACTORS)
    def decide_dispute(self, back: int, outcome: Any, heard: bool, actor: Actor) -> None:
        number = self.disputed(back)
        if heard:
            for side in ("earner", "recipient"):
                self.command(state_case, StateCase(dispute=number, ground="other", side=side, text=None), ADMIN)
        self.command(decide_dispute, DecideDispute(dispute=number, outcome=outcome, text=None), actor)

    @rule(back=DISPUTES, by_opener=FRESH, actor=ACTORS)
    def withdraw_dispute(self, back: int, by_opener: bool, actor: Actor) -> None:
        number = self.disputed(back)
        if by_opener and number in self.disputes:
            actor = Actor(self.disputes[number].opened_by, "admin")
        self.command(withdraw_dispute, WithdrawDispute(dispute=number), actor)

    @rule(actor=st.just(TIME) | ACTORS)
    def escalate_disputes(self, actor: Actor) -> None:
        for number in self.disputes:
            self.command(escalate_dispute, EscalateDispute(dispute=number), actor)

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
        self.actor = actor
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
        if decide is decide_dispute and any(isinstance(fact, HoursReversed) for fact in decided.facts):
            self.check_exact_reversal(self.disputes[command.dispute].record, before, whole=False)

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
            if self.policies:
                self.moved(fact, self.policies[policy - 1].policy, self.actor)
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
                self.logged_at[fact.record] = self.now
                if self.claimed:  # what older books rejected or reversed took up nobody's time
                    self.check_claim(fact, policy)
            case HoursRejected():
                assert self.status[fact.record] == "logged"
                self.status[fact.record] = "rejected"
                self.settled_at[fact.record] = self.now
            case HoursConfirmed():
                after_all = self.status[fact.record] == "rejected" and self.upheld_last(fact.record)
                assert self.status[fact.record] == "logged" or after_all
                self.status[fact.record] = "confirmed"
                self.settled_at[fact.record] = self.now
                self.check_confirmer(fact)
            case HoursReversed():
                assert self.status[fact.record] == "confirmed"
                assert self.in_dispute(fact.record) is None
                self.status[fact.record] = "reversed"
            case DisputeOpened():
                self.check_opening(fact, policy)
                self.disputes[fact.dispute], self.heard[fact.dispute] = fact, {fact.side}
            case DisputeStatementGiven():
                assert fact.dispute not in self.outcomes
                self.heard[fact.dispute].add(fact.side)
            case DisputeEscalated():
                assert fact.dispute not in self.outcomes
                assert self.actor == TIME
                assert self.now >= self.disputes[fact.dispute].decision_due
                self.escalated.add(fact.dispute)
            case DisputeUpheld():
                self.check_decider(fact.dispute, fact.decided_by)
                self.outcomes[fact.dispute] = "upheld"
            case DisputeDismissed():
                self.check_decider(fact.dispute, fact.decided_by)
                self.outcomes[fact.dispute] = "dismissed"
            case DisputeWithdrawn():
                assert fact.dispute not in self.outcomes
                assert self.disputes[fact.dispute].opened_by == self.actor.id
                self.outcomes[fact.dispute] = "withdrawn"
            case MinutesHeld():
                assert fact.minutes > 0
                assert fact.hold not in self.holds
                self.holds[fact.hold] = fact
            case MinutesReleased():
                held = self.holds.pop(fact.hold)
                assert (held.account, held.minutes) == (fact.account, fact.minutes)
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
            floor = self.policies[policy - 1].policy.balance_minutes_min
            assert self.balances[fact.source] - self.held(fact.source) >= floor
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

        policy = self.in_force(logged)
        if self.actor == TIME:
            assert confirmed.confirmed_as == "silence"
            assert policy.silence_days is not None
            assert self.now >= self.logged_at[confirmed.record] + timedelta(days=policy.silence_days)
        elif self.actor.role == "volunteer":
            assert confirmed.confirmed_as == "recipient"
            assert self.home[confirmed.confirmed_by] == logged.recipient_household
        else:
            assert confirmed.confirmed_as == "staff"

    def in_force(self, logged: HoursLogged) -> Policy:
        return [p for p in self.policies if p.effective_on <= logged.started_at.date()][-1].policy

    def held(self, account: str) -> int:
        return sum(held.minutes for held in self.holds.values() if held.account == account)

    def in_dispute(self, record: str) -> str | None:
        """The open dispute over a record."""
        of_record = [number for number, opened in self.disputes.items() if opened.record == record]
        unsettled = [number for number in of_record if number not in self.outcomes]
        assert len(unsettled) <= 1
        return unsettled[0] if unsettled else None

    def upheld_last(self, record: str) -> bool:
        return self.last(DisputeOpened, record).dispute in {n for n, end in self.outcomes.items() if end == "upheld"}

    def check_opening(self, opened: DisputeOpened, policy: int) -> None:
        logged, record = self.records[opened.record], opened.record
        assert opened.dispute not in self.disputes
        assert self.in_dispute(record) is None
        assert not {"upheld", "dismissed"} & {
            self.outcomes[number] for number, earlier in self.disputes.items() if earlier.record == record
        }
        assert self.status[record] == ("rejected" if opened.ground == "served" else "confirmed")
        rules = self.policies[policy - 1].policy
        assert rules == self.in_force(logged)
        assert self.now <= self.settled_at[record] + timedelta(days=rules.dispute_days_max)
        home = self.home.get(opened.opened_by)
        if self.actor.role == "volunteer":
            assert home in (logged.household, logged.recipient_household)
        if home == logged.household:
            assert opened.side == "earner"
        kept = [fact for fact in self.by_tag["record:" + record] if isinstance(fact, HoursConfirmed | MinutesCapped)]
        earner = "household:" + logged.household
        left = sum((fact.target == earner) * fact.minutes - (fact.source == earner) * fact.minutes for fact in kept)
        assert opened.held_minutes == left

    def check_decider(self, number: str, decided_by: str) -> None:
        opened = self.disputes[number]
        logged = self.records[opened.record]
        assert number not in self.outcomes
        assert self.actor.role in ("staff", "admin")
        assert self.actor.role == "admin" or number not in self.escalated
        assert decided_by not in (logged.volunteer, logged.logged_by, opened.opened_by)
        assert self.home.get(decided_by, "") not in (logged.household, logged.recipient_household)
        assert {"earner", "recipient"} <= self.heard[number] or self.now >= opened.hearing_until

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
                account = self.state(Account.of(name))
                assert (account.balance_minutes, account.held_minutes) == (minutes, self.held(name))

    @invariant()
    def what_is_in_dispute_is_held_and_nothing_else_is(self) -> None:
        unsettled = {number: fact for number, fact in self.disputes.items() if number not in self.outcomes}
        expected = {"dispute:" + number: fact.held_minutes for number, fact in unsettled.items() if fact.held_minutes}
        assert {hold: fact.minutes for hold, fact in self.holds.items()} == expected
        for number in self.disputes:
            assert self.state(Dispute.of(number)).status == self.outcomes.get(number, "open")

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
