"""Disputes over settled records: their minutes are held, both sides are heard, and somebody of neither decides."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import HoursConfirmed, MinutesCapped
from domain.decision import Actor, Reading
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
from domain.hours import (
    ConfirmHours,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    HoursLogged,
    RejectHours,
    confirm,
    log,
    reject,
)
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import SPANS, HoursModel, HoursRules
from tests.domain.time_bank.leading import (
    ADMIN,
    BY_TIME,
    INDEX,
    JUDGE,
    OTHER_ADMIN,
    RIGHT,
    STAFF,
    THIRD_ADMIN,
    member,
    pick,
)

GROUNDS = st.sampled_from(["not-served", "wrong-time", "served"])
SIDES = st.sampled_from([None, None, None, "earner", "recipient"])


class DisputeModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.disputes: dict[str, DisputeOpened] = {}
        self.outcomes: dict[str, str] = {}
        self.heard: dict[str, set[str]] = {}
        self.escalated: set[str] = set()

    @follows(DisputeOpened)
    def _opened(self, fact: DisputeOpened, told: Told) -> None:
        logged, record = self.records[fact.record], fact.record
        assert fact.dispute not in self.disputes
        of_record = [number for number, earlier in self.disputes.items() if earlier.record == record]
        assert all(self.outcomes.get(number) == "withdrawn" for number in of_record)
        assert self.status[record] == ("rejected" if fact.ground == "served" else "confirmed")
        rules = self.in_force(logged.started_at.date())
        assert told.policy == rules
        assert told.now <= self.settled_at[record] + timedelta(days=rules.dispute_days_max)
        home = self.home.get(fact.opened_by)
        if told.actor.role == "volunteer":
            own = fact.opened_by == logged.volunteer
            assert own or home in self.sides(logged)
        if home is not None and home in (logged.household, self.stands_for(logged.household)):
            assert fact.side == "earner"
        confirmed = sum(m.minutes for m in self.movements_of[record] if isinstance(m, HoursConfirmed))
        capped = sum(m.minutes for m in self.movements_of[record] if isinstance(m, MinutesCapped))
        lapsed = any(self.standing(m.target) == "expired" for m in self.movements_of[record])
        assert fact.held_minutes == (0 if lapsed else confirmed - capped)
        self.disputes[fact.dispute], self.heard[fact.dispute] = fact, {fact.side}

    @follows(DisputeStatementGiven)
    def _stated(self, fact: DisputeStatementGiven, _: Told) -> None:
        assert fact.dispute not in self.outcomes
        self.heard[fact.dispute].add(fact.side)

    @follows(DisputeEscalated)
    def _escalated(self, fact: DisputeEscalated, told: Told) -> None:
        assert fact.dispute not in self.outcomes
        assert fact.dispute not in self.escalated
        assert told.actor == TIME
        assert told.now >= self.disputes[fact.dispute].decision_due
        self.escalated.add(fact.dispute)

    @follows(DisputeUpheld, DisputeDismissed)
    def _decided(self, fact: DisputeUpheld | DisputeDismissed, told: Told) -> None:
        opened = self.disputes[fact.dispute]
        logged = self.records[opened.record]
        assert fact.dispute not in self.outcomes
        assert told.actor.role in ("staff", "admin")
        assert told.actor.role == "admin" or fact.dispute not in self.escalated
        assert fact.decided_by not in (logged.volunteer, logged.logged_by, opened.opened_by)
        assert self.home.get(fact.decided_by) not in self.sides(logged)
        assert {"earner", "recipient"} <= self.heard[fact.dispute] or told.now >= opened.hearing_until
        self.outcomes[fact.dispute] = "upheld" if isinstance(fact, DisputeUpheld) else "dismissed"

    @follows(DisputeWithdrawn)
    def _dispute_withdrawn(self, fact: DisputeWithdrawn, told: Told) -> None:
        assert fact.dispute not in self.outcomes
        assert self.disputes[fact.dispute].opened_by == told.actor.id
        self.outcomes[fact.dispute] = "withdrawn"

    def sides(self, logged: HoursLogged) -> set[str]:
        """The households on either side, and those that stand in their place by now."""
        named = (logged.household, logged.recipient_household)
        return {name for household in named for name in (household, self.stands_for(household)) if name is not None}

    def in_dispute(self, record: str) -> bool:
        return any(d.record == record for number, d in self.disputes.items() if number not in self.outcomes)

    def upheld(self, record: str) -> bool:
        of_record = [number for number, d in self.disputes.items() if (d.record, d.ground) == (record, "served")]
        return any(self.outcomes.get(number) == "upheld" for number in of_record)

    def standings(self) -> dict[Reading[Any], str]:
        disputes = {Dispute.of(number): self.outcomes.get(number, "open") for number in self.disputes}
        return super().standings() | disputes

    def expected_holds(self) -> dict[str, int]:
        """What is in dispute is held."""
        unsettled = {number: fact for number, fact in self.disputes.items() if number not in self.outcomes}
        holds = {"dispute:" + number: fact.held_minutes for number, fact in unsettled.items() if fact.held_minutes}
        return super().expected_holds() | holds


class DisputeRules(HoursRules):
    def dispute(self, index: int) -> str:
        """Mostly one that is open."""
        unsettled = [number for number in self.here.disputes if number not in self.here.outcomes]
        return pick(unsettled if unsettled and index % 8 != 7 else list(self.here.disputes), index)

    @precondition(lambda self: {"confirmed", "rejected"} & set(self.here.status.values()))
    @rule(record=INDEX, fits=RIGHT, ground=GROUNDS, side=SIDES, actor=STAFF)
    def open_dispute(self, record: int, fits: bool, ground: Any, side: Any, actor: Actor) -> None:
        number = self.record(record, "confirmed", "rejected")
        if fits:  # else a ground that may not
            ground = "served" if self.here.status.get(number) == "rejected" else "false-record"
        dispute = f"D{len(self.here.disputes)}" if fits or not self.here.disputes else self.dispute(0)
        self.open(dispute, number, ground, side, actor)

    def open(self, dispute: str, record: str, ground: Any, side: Any, actor: Actor) -> None:
        settled_at = self.here.settled_at.get(record, self.now)
        command = OpenDispute(
            dispute=dispute, record=record, ground=ground, side=side, settled_at=settled_at, text=None
        )
        self.here.send(open_dispute, command, actor)

    @rule(
        people=st.tuples(INDEX, INDEX | st.none()),
        span=SPANS,
        rejected=st.booleans(),
        outcome=st.sampled_from(["upheld", "upheld", "dismissed", None]),
        judge=st.sampled_from([THIRD_ADMIN, JUDGE]),
        hours=st.sampled_from([0, 12, 36, 80]),
    )
    def quarrel(self, people: Any, span: Any, rejected: bool, outcome: Any, judge: Actor, hours: int) -> None:
        """From the service to the dispute's end, with everything in its place: chance alone seldom gets so far."""
        record, dispute = self.new_record(), f"D{len(self.here.disputes)}"
        volunteer = self.somebody(people[0])
        recipient = None if people[1] is None else self.household(people[1])
        self.here.send(log, self.claim(record, volunteer, recipient, span), ADMIN)
        if rejected:
            self.here.send(reject, RejectHours(record=record, reason="other"), ADMIN)
        else:
            self.here.send(confirm, ConfirmHours(record=record), OTHER_ADMIN)
        self.open(dispute, record, "served" if rejected else "not-served", None, member(volunteer))
        self.wait(hours=hours)
        if not hours:
            self.state(dispute, "recipient", ADMIN)
        self.here.send(escalate_dispute, EscalateDispute(dispute=dispute), TIME)
        if outcome is not None:
            self.here.send(decide_dispute, DecideDispute(dispute=dispute, outcome=outcome, text=None), judge)

    def state(self, dispute: str, side: Any, actor: Actor, ground: Any = "other") -> None:
        self.here.send(state_case, StateCase(dispute=dispute, ground=ground, side=side, text=None), actor)

    @precondition(lambda self: self.here.disputes)
    @rule(dispute=INDEX, ground=GROUNDS, side=SIDES, actor=STAFF)
    def state_case(self, dispute: int, ground: Any, side: Any, actor: Actor) -> None:
        self.state(self.dispute(dispute), side, actor, ground)

    @precondition(lambda self: self.here.disputes)
    @rule(dispute=INDEX, outcome=st.sampled_from(["upheld", "dismissed"]), heard=st.booleans(), actor=STAFF)
    def decide_dispute(self, dispute: int, outcome: Any, heard: bool, actor: Actor) -> None:
        number = self.dispute(dispute)
        if heard:
            for side in ("earner", "recipient"):
                self.state(number, side, ADMIN)
        self.here.send(decide_dispute, DecideDispute(dispute=number, outcome=outcome, text=None), actor)

    @precondition(lambda self: self.here.disputes)
    @rule(dispute=INDEX, by_opener=RIGHT, actor=STAFF)
    def withdraw_dispute(self, dispute: int, by_opener: bool, actor: Actor) -> None:
        number = self.dispute(dispute)
        if by_opener:
            actor = Actor(self.here.disputes[number].opened_by, "admin")
        self.here.send(withdraw_dispute, WithdrawDispute(dispute=number), actor)

    @precondition(lambda self: self.here.disputes)
    @rule(actor=BY_TIME)
    def escalate_disputes(self, actor: Actor) -> None:
        commands = [EscalateDispute(dispute=number) for number in self.here.disputes]
        self.here.together(*((escalate_dispute, command, actor) for command in commands))
