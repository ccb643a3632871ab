"""Hours: logged, confirmed, rejected, reversed, left in silence, and brought in from older books."""

from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import CappedMinutesReturned, HoursConfirmed, HoursReversed, MinutesCapped
from domain.decision import Actor, Reading
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
    ServiceRecord,
    SettleSilence,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
    settle_silence,
)
from domain.policy import Policy
from tests.controls import TIME, ZONE
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.households import HouseholdModel
from tests.domain.time_bank.leading import ADMIN, BY_TIME, INDEX, OTHER_ADMIN, RIGHT, STAFF, Leading, member, pick

SPANS = st.tuples(st.integers(4, 54), st.sampled_from([4, 4, 2, 6, 8, 16])).map(  # half hours ago, quarter hours long
    lambda drawn: (-drawn[0] * 30 * MINUTE, drawn[1] * 15 * MINUTE)
)
REASONS = st.sampled_from(["duplicate", "not-served", "other"])
RANKS = ("self", "checked-in", "recipient", "staff")


class HoursModel(HouseholdModel):
    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, HoursLogged] = {}
        self.status: dict[str, str] = {}
        self.logged_at: dict[str, datetime] = {}
        self.settled_at: dict[str, datetime] = {}
        self.grades: dict[str, str] = {}
        """The evidence that was logged, or attached since."""
        self.movements_of: dict[str, list[Movement]] = {}
        self.tally = Tally()

    def note(self, fact: Fact, told: Told) -> None:
        super().note(fact, told)
        self.tally.fold(fact)

    @follows(HoursLogged)
    def _logged(self, fact: HoursLogged, told: Told) -> None:
        assert fact.record not in self.status
        self.status[fact.record], self.records[fact.record] = "logged", fact
        self.logged_at[fact.record] = told.now
        self.movements_of[fact.record] = []
        self.grades[fact.record] = fact.evidence
        imported = told.command if isinstance(told.command, ImportHours) else None
        if imported is None or imported.status in ("logged", "confirmed"):
            self._claim(fact, told)  # what older books rejected or reversed took up nobody's time

    def _claim(self, fact: HoursLogged, told: Told) -> None:
        rules = self.in_force(fact.started_at.date())
        assert told.policy == rules
        whole = (fact.ended_at - fact.started_at) // MINUTE
        assert rules.record_minutes_min <= fact.claimed_minutes <= min(whole, rules.record_minutes_max)
        assert fact.ended_at <= told.now
        assert fact.started_at.utcoffset() == timedelta(hours=8)
        assert fact.household == self.home[fact.volunteer] != fact.recipient_household
        assert fact.volunteer in self.volunteers
        step = rules.rounding_step_minutes
        assert fact.service_minutes % step == 0
        assert abs(fact.service_minutes - fact.claimed_minutes) < step
        if not isinstance(told.command, ImportHours):
            assert (told.today - fact.started_at.date()).days <= rules.log_days_back_max
            assert fact.grid in {(), *self.grids[fact.community]}
            assert fact.community not in self.dissolved
            is_late = (told.today - fact.started_at.date()).days > rules.late_after_days
            assert is_late or fact.late_reason is None
            assert not is_late or fact.late_reason is not None or not rules.late_needs_reason
        self._time_of(fact.volunteer)

    def _time_of(self, volunteer: str) -> None:
        """Nobody is in two places at once, nor serves too long a day."""
        claims = [
            logged
            for record, logged in self.records.items()
            if logged.volunteer == volunteer and self.status[record] in ("logged", "confirmed")
        ]
        claims.sort(key=lambda claim: claim.started_at)
        assert all(a.ended_at <= b.started_at for a, b in pairwise(claims))
        longest = max(version.policy.day_minutes_max for version in self.policies)
        worked: Counter[date] = Counter()
        for claim in claims:
            midnight = datetime.combine(claim.started_at.date() + timedelta(days=1), datetime.min.time(), ZONE)
            on_first = min(claim.claimed_minutes, (midnight - claim.started_at) // MINUTE)
            worked[claim.started_at.date()] += on_first
            worked[midnight.date()] += claim.claimed_minutes - on_first
        assert all(minutes <= longest for minutes in worked.values())

    @follows(HoursRejected)
    def _rejected(self, fact: HoursRejected, told: Told) -> None:
        assert self.status[fact.record] == "logged"
        self.status[fact.record] = "rejected"
        self.settled_at[fact.record] = told.now

    @follows(HoursConfirmed)
    def _confirmed(self, fact: HoursConfirmed, told: Told) -> None:
        """Settled once: unless a dispute over its rejection was upheld, which is the same command's."""
        assert self.status[fact.record] == ("rejected" if self.upheld(fact.record) else "logged")
        self.status[fact.record] = "confirmed"
        self.settled_at[fact.record] = told.now
        self.movements_of[fact.record].append(fact)
        logged = self.records[fact.record]
        rules = self.in_force(logged.started_at.date())
        assert told.policy == rules
        self._confirmer(fact, logged, told, rules)
        assert fact.minutes + fact.honour_minutes == logged.service_minutes
        if logged.group is not None and rules.group_hours == "donate-only":
            assert fact.target == "group:" + logged.group
        else:
            assert fact.target == f"household:{self.successor(logged.household)}"
        assert fact.source == self._payer(fact, logged, rules)
        if not (isinstance(told.command, ImportHours) and told.command.status == "reversed"):
            self._time_of(logged.volunteer)

    def _payer(self, fact: HoursConfirmed, logged: HoursLogged, rules: Policy) -> str:
        payer: str = rules.payer
        if payer == "recipient":
            recipient = None if logged.recipient_household is None else self.successor(logged.recipient_household)
            if recipient is not None and fact.target != "household:" + recipient:
                return "household:" + recipient
            payer = rules.payer_without_recipient
        return "issuance" if payer == "issuance" else self.pool_of(logged.community)

    def _confirmer(self, fact: HoursConfirmed, logged: HoursLogged, told: Told, rules: Policy) -> None:
        assert fact.confirmed_by not in (logged.volunteer, logged.logged_by, logged.also_logged_by)
        home = self.home.get(fact.confirmed_by)
        assert home is None or home not in (logged.household, self.successor(logged.household))
        grade = self.grades[fact.record]
        if isinstance(told.command, ImportHours):
            return
        if told.actor == TIME:
            assert fact.confirmed_as == "silence"
            assert rules.silence_days is not None
            assert told.now >= self.logged_at[fact.record] + timedelta(days=rules.silence_days)
        elif told.actor.role == "volunteer":
            assert fact.confirmed_as == "recipient"
            assert home in (logged.recipient_household, self.stands_for(logged.recipient_household))
            grade = max(grade, "recipient", key=RANKS.index)
        else:
            assert fact.confirmed_as == "staff"
        if isinstance(told.command, ConfirmHours | SettleSilence):
            assert RANKS.index(grade) >= RANKS.index(rules.evidence_min)

    @follows(MinutesCapped)
    def _capped(self, fact: MinutesCapped, _: Told) -> None:
        assert self.status[fact.record] == "confirmed"
        assert fact.minutes > 0
        self.movements_of[fact.record].append(fact)

    @follows(CappedMinutesReturned)
    def _capped_returned(self, fact: CappedMinutesReturned, _: Told) -> None:
        assert self.status[fact.record] == "confirmed"
        self.movements_of[fact.record].append(fact)

    @follows(HoursReversed)
    def _reversed(self, fact: HoursReversed, _: Told) -> None:
        """At most once, exactly, and not while it is in dispute; whoever stands in an account's place gives back."""
        assert self.status[fact.record] == "confirmed"
        assert not self.in_dispute(fact.record)
        self.status[fact.record] = "reversed"
        self.movements_of[fact.record].append(fact)
        changes: Counter[str] = Counter()
        for movement in self.movements_of[fact.record]:
            changes[self.standing(movement.source)] -= movement.minutes
            changes[self.standing(movement.target)] += movement.minutes
        assert not any(changes.values())

    def upheld(self, record: str) -> bool:
        """Whether a dispute over its rejection was upheld."""
        raise NotImplementedError

    def in_dispute(self, record: str) -> bool:
        raise NotImplementedError

    def after_movement(self, fact: Movement, told: Told) -> None:
        super().after_movement(fact, told)
        if isinstance(fact, MinutesCapped):
            assert told.policy is not None
            cap = told.policy.balance_minutes_max
            assert cap is not None
            (confirmed,) = [one for one in self.movements_of[fact.record] if isinstance(one, HoursConfirmed)]
            earned_from = self.balances[fact.source] + fact.minutes - confirmed.minutes
            assert self.balances[fact.source] == max(cap, earned_from)

    def after_command(self, facts: tuple[Fact, ...], before: Counter[str], told: Told) -> None:
        super().after_command(facts, before, told)
        for fact in facts:
            if isinstance(fact, HoursConfirmed) and fact.target.startswith("household:"):
                cap = told.policy and told.policy.balance_minutes_max
                assert cap is None or self.balances[fact.target] <= max(cap, before[fact.target])
        undone = isinstance(told.command, ImportHours) and told.command.status == "reversed"
        if undone and any(isinstance(fact, HoursLogged) for fact in facts):
            assert not any((self.balances - before).values())
            assert not any((before - self.balances).values())

    def standings(self) -> dict[Reading[Any], str]:
        records = {ServiceRecord.of(record): status for record, status in self.status.items()}
        return super().standings() | records

    def check(self) -> None:
        super().check()
        counting = [self.records[record] for record, status in self.status.items() if status == "confirmed"]
        served = {logged.recipient_household for logged in counting} - {None}
        minutes = sum(logged.service_minutes for logged in counting)
        assert self.tally.figures() == Figure(len(served), minutes, len(counting))
        by_community = self.tally.cells("community").values()
        assert sum(cell.service_minutes for cell in by_community) == minutes


class HoursRules(Leading):
    def record(self, index: int, *statuses: str) -> str:
        """One of those that stand so, the newest first; where there is none, any."""
        found = [record for record, status in self.here.status.items() if status in statuses]
        return pick(found or list(self.here.status) or ["R0"], index)

    def new_record(self) -> str:
        return f"R{len(self.here.status)}"

    def claim(self, record: str, volunteer: str, recipient: str | None, span: tuple[timedelta, timedelta]) -> LogHours:
        started_at = self.now + span[0]
        return LogHours(
            record=record,
            volunteer=volunteer,
            recipient_household=recipient,
            service="助餐",
            started_at=started_at,
            ended_at=started_at + span[1],
            late_reason="forgotten" if len(self.here.facts) % 3 else None,
        )

    @rule(volunteer=INDEX, recipient=INDEX | st.none(), span=SPANS, fresh=RIGHT, by=STAFF | st.none())
    def log(self, volunteer: int, recipient: int | None, span: Any, fresh: bool, by: Actor | None) -> None:
        record = self.new_record() if fresh else self.record(0)
        served = None if recipient is None else self.household(recipient)
        claimed = self.claim(record, self.somebody(volunteer), served, span)
        self.here.send(log, claimed, by or member(claimed.volunteer))

    @rule(rows=st.lists(st.tuples(RIGHT, INDEX, INDEX | st.none(), SPANS), min_size=1, max_size=3))
    def log_many(self, rows: list[Any]) -> None:
        first = len(self.here.status)
        hours = tuple(
            self.claim(
                f"R{first + n if fresh else first}",
                self.somebody(volunteer + n),
                None if recipient is None else self.household(recipient),
                span,
            )
            for n, (fresh, volunteer, recipient, span) in enumerate(rows)
        )
        self.here.send(log_many, LogManyHours(hours=hours), ADMIN)

    @rule(
        volunteer=INDEX, recipient=INDEX | st.none(), span=SPANS, by=st.sampled_from([OTHER_ADMIN, OTHER_ADMIN, TIME])
    )
    def serve(self, volunteer: int, recipient: int | None, span: Any, by: Actor) -> None:
        """Logged, and confirmed by staff, or by nobody after some days."""
        record, person = self.new_record(), self.somebody(volunteer)
        served = None if recipient is None else self.household(recipient)
        self.here.send(log, self.claim(record, person, served, span), member(person))
        if by == TIME:
            self.wait(hours=48)
            silence = SettleSilence(record=record, logged_at=self.here.logged_at.get(record, self.now))
            self.here.send(settle_silence, silence, TIME)
        else:
            self.here.send(confirm, ConfirmHours(record=record), by)

    @precondition(lambda self: self.here.status)
    @rule(record=INDEX, actor=STAFF)
    def confirm(self, record: int, actor: Actor) -> None:
        self.here.send(confirm, ConfirmHours(record=self.record(record, "logged")), actor)

    @precondition(lambda self: self.here.status)
    @rule(record=INDEX, person=INDEX, rating=st.sampled_from([None, 1, 5]))
    def confirm_as_member(self, record: int, person: int, rating: int | None) -> None:
        number = self.record(record, "logged")
        logged = self.here.records.get(number)
        served = self.here.members(logged.recipient_household or "") if logged else ()
        confirmer = pick(served, person) if served else self.somebody(person)
        self.here.send(confirm, ConfirmHours(record=number, rating=rating), member(confirmer))

    @precondition(lambda self: "logged" in self.here.status.values())
    @rule(actor=STAFF)
    def confirm_all(self, actor: Actor) -> None:
        logged = [record for record, status in self.here.status.items() if status == "logged"]
        self.here.together(*((confirm, ConfirmHours(record=record), actor) for record in logged))

    @precondition(lambda self: self.here.status)
    @rule(record=INDEX, actor=STAFF, reason=REASONS)
    def reject(self, record: int, actor: Actor, reason: Any) -> None:
        self.here.send(reject, RejectHours(record=self.record(record, "logged"), reason=reason), actor)

    @precondition(lambda self: self.here.status)
    @rule(record=INDEX, again=st.sampled_from([False] * 4 + [True]), actor=STAFF, reason=REASONS)
    def reverse(self, record: int, again: bool, actor: Actor, reason: Any) -> None:
        number = self.record(record, "reversed" if again else "confirmed")
        self.here.send(reverse, ReverseHours(record=number, reason=reason), actor)

    @precondition(lambda self: "logged" in self.here.status.values())
    @rule(actor=BY_TIME)
    def settle_silence(self, actor: Actor) -> None:
        logged = [record for record, status in self.here.status.items() if status == "logged"]
        commands = [SettleSilence(record=record, logged_at=self.here.logged_at[record]) for record in logged]
        self.here.together(*((settle_silence, command, actor) for command in commands))

    @rule(
        fresh=RIGHT,
        people=st.tuples(INDEX | st.none(), INDEX, INDEX | st.none()),
        places=st.tuples(INDEX, INDEX),
        span=SPANS,
        status=st.sampled_from(["logged", "confirmed", "confirmed", "rejected", "reversed"]),
        confirmer=st.sampled_from([OTHER_ADMIN.id] * 3 + ["P1", "P3"]),
    )
    def import_row(self, fresh: bool, people: Any, places: Any, span: Any, status: Any, confirmer: str) -> None:
        """A row of older books: of somebody known, or of a household that nobody knew yet."""
        person, household, recipient = people
        new = f"H{len(self.here.households) + 1}"
        volunteer = f"P{len(self.here.home) + 1}" if person is None else self.somebody(person)
        home = new if person is None else self.here.home.get(volunteer) or self.household(household)
        known = self.here.records.get(self.record(0))
        if not fresh and known is not None:
            row = ImportHours(
                *(known.record, known.volunteer, known.household, self.community(places[0])),
                *(known.recipient_household, known.community, known.grid, known.service),
                *(known.started_at, known.ended_at, known.claimed_minutes, confirmer, status),
            )
        else:
            started_at = (self.now + span[0]).astimezone(ZONE)
            row = ImportHours(
                *(self.new_record(), volunteer, home, self.community(places[0])),
                *(None if recipient is None else self.household(recipient), self.community(places[1]), (), "助洁"),
                *(started_at, started_at + span[1], span[1] // MINUTE, confirmer, status),
            )
        self.here.send(import_hours, row, Actor("import", "admin"))
