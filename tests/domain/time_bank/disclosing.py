"""Disclosure: consent, months that are sealed and frozen, and objections to them."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.consent import (
    ConsentGiven,
    ConsentWithdrawn,
    GiveConsent,
    WithdrawConsent,
    give_consent,
    withdraw_consent,
)
from domain.decision import Actor
from domain.disclosure import (
    CountedPeriod,
    FreezePeriod,
    ObjectionDismissed,
    ObjectionRaised,
    ObjectionUpheld,
    ObjectionWithdrawn,
    PeriodFrozen,
    PeriodSealed,
    SealPeriod,
    freeze_period,
    seal_period,
)
from domain.hours import HoursLogged
from domain.objection import (
    DecideObjection,
    RaiseObjection,
    WithdrawObjection,
    decide_objection,
    raise_objection,
    withdraw_objection,
)
from domain.published_list import VolunteerServed
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import HoursModel, HoursRules
from tests.domain.time_bank.leading import ADMIN, BY_TIME, INDEX, RIGHT, STAFF, member, pick

GROUNDS = st.sampled_from(["hours-missing", "figures-wrong", "other"])


def month_of(day: date) -> str:
    return f"{day:%Y-%m}"


def after(period: str, months: int = 1) -> str:
    count = int(period[:4]) * 12 + int(period[5:]) - 1 + months
    return f"{count // 12}-{count % 12 + 1:02}"


class DisclosingModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.consents: set[str] = set()
        self.sealed: dict[str, PeriodSealed] = {}
        self.frozen: dict[str, PeriodFrozen] = {}
        self.objections: dict[str, ObjectionRaised] = {}
        self.objection_outcomes: dict[str, str] = {}
        self.through_last_seal = (0, 0)
        """Minutes and records of all service up to the end of the last sealed month, as it was sealed."""

    def confirmed(self) -> Iterable[HoursLogged]:
        return [self.records[record] for record, status in self.status.items() if status == "confirmed"]

    def total(self, *, before: str) -> tuple[int, int]:
        """Minutes and records of all service before a month, as the books stand."""
        counting = [one for one in self.confirmed() if month_of(one.started_at.date()) < before]
        return sum(one.service_minutes for one in counting), len(counting)

    def of_month(self, period: str) -> list[HoursLogged]:
        return [one for one in self.confirmed() if month_of(one.started_at.date()) == period]

    @follows(ConsentGiven)
    def _consented(self, fact: ConsentGiven, told: Told) -> None:
        assert fact.person in self.volunteers
        assert fact.person not in self.consents
        assert fact.person == told.actor.id or (told.actor.role != "volunteer" and fact.paper_sha256 is not None)
        self.consents.add(fact.person)

    @follows(ConsentWithdrawn)
    def _consent_withdrawn(self, fact: ConsentWithdrawn, told: Told) -> None:
        assert fact.person == told.actor.id or told.actor.role != "volunteer"
        self.consents.remove(fact.person)

    @follows(PeriodSealed)
    def _sealed(self, fact: PeriodSealed, told: Told) -> None:
        """One month after the other; what all of them and their corrections come to is what the books hold."""
        assert told.actor.community is None
        assert fact.period < month_of(told.today)
        assert fact.period not in self.sealed
        assert not self.sealed or fact.period == after(max(self.sealed))
        assert told.policy is not None
        assert fact.watermark == len(self.facts) - 1
        given = self.of_month(fact.period)
        assert (fact.service_minutes, fact.service_records) == (sum(o.service_minutes for o in given), len(given))
        assert fact.households_served == len({one.recipient_household for one in given} - {None})
        through = self.total(before=after(fact.period))
        if self.sealed:
            minutes, records = self.through_last_seal
            assert minutes + fact.corrected_minutes + fact.service_minutes == through[0]
            assert records + fact.corrected_records + fact.service_records == through[1]
        self.through_last_seal = through
        assert fact.list_rows <= len({one.volunteer for one in given} & self.consents)
        assert fact.list_rows == 0 or fact.list_rows >= fact.count_min == told.policy.disclosure_count_min
        assert fact.objections_until - told.now == timedelta(days=told.policy.objection_days)
        assert fact.decisions_until - fact.objections_until == timedelta(days=told.policy.objection_decision_days)
        self.sealed[fact.period] = fact

    @follows(ObjectionRaised)
    def _raised(self, fact: ObjectionRaised, told: Told) -> None:
        assert fact.objection not in self.objections
        assert told.now < self.sealed[fact.period].objections_until
        assert fact.period not in self.frozen
        assert fact.household == self.home[fact.person]
        assert fact.person == told.actor.id or told.actor.role != "volunteer"
        others = [n for n, one in self.objections.items() if (one.period, one.person) == (fact.period, fact.person)]
        assert all(number in self.objection_outcomes for number in others)
        if fact.record is not None:
            assert month_of(self.records[fact.record].started_at.date()) == fact.period
        self.objections[fact.objection] = fact

    @follows(ObjectionUpheld, ObjectionDismissed)
    def _objection_decided(self, fact: ObjectionUpheld | ObjectionDismissed, told: Told) -> None:
        raised = self.objections[fact.objection]
        assert fact.objection not in self.objection_outcomes
        assert told.actor.role in ("staff", "admin")
        assert told.actor.role == "admin" or told.now <= raised.decision_due
        assert fact.decided_by not in (raised.person, raised.raised_by, self.sealed[raised.period].sealed_by)
        home = self.home.get(fact.decided_by)
        assert home is None or home not in (raised.household, self.home.get(raised.person))
        if raised.record is not None:
            logged = self.records[raised.record]
            assert fact.decided_by not in (logged.volunteer, logged.logged_by)
            assert home is None or home not in (logged.household, logged.recipient_household)
        self.objection_outcomes[fact.objection] = "upheld" if isinstance(fact, ObjectionUpheld) else "dismissed"

    @follows(ObjectionWithdrawn)
    def _objection_withdrawn(self, fact: ObjectionWithdrawn, told: Told) -> None:
        raised = self.objections[fact.objection]
        assert fact.objection not in self.objection_outcomes
        assert told.actor.id in (raised.person, raised.raised_by)
        self.objection_outcomes[fact.objection] = "withdrawn"

    @follows(PeriodFrozen)
    def _frozen(self, fact: PeriodFrozen, told: Told) -> None:
        sealed = self.sealed[fact.period]
        of_period = [number for number, one in self.objections.items() if one.period == fact.period]
        undecided = tuple(number for number in of_period if number not in self.objection_outcomes)
        assert told.actor == TIME
        assert fact.period not in self.frozen
        assert told.now >= (sealed.decisions_until if undecided else sealed.objections_until)
        assert (fact.objections, fact.undecided) == (len(of_period), undecided)
        assert fact.upheld == sum(self.objection_outcomes.get(number) == "upheld" for number in of_period)
        self.frozen[fact.period] = fact


class DisclosingRules(HoursRules):
    @precondition(lambda self: self.here.volunteers)
    @rule(person=INDEX, by_member=RIGHT, withdraws=st.sampled_from([False, False, True]), actor=STAFF)
    def consent(self, person: int, by_member: bool, withdraws: bool, actor: Actor) -> None:
        consenting = sorted(self.here.consents)
        volunteer = pick(consenting if withdraws and consenting else sorted(self.here.volunteers), person)
        by = member(volunteer) if by_member else actor
        if withdraws:
            self.here.send(withdraw_consent, WithdrawConsent(person=volunteer), by)
        else:
            paper = None if by_member else "ab" * 32
            self.here.send(give_consent, GiveConsent(person=volunteer, paper_sha256=paper), by)

    @rule(months=st.sampled_from([0, 0, 0, 1, -1]), stale=st.sampled_from([False] * 7 + [True]), actor=STAFF)
    def seal_period(self, months: int, stale: bool, actor: Actor) -> None:
        """Mostly the month that is next, with what it comes to."""
        here = self.here
        last = max(here.sealed, default=None)
        period = after(month_of(self.now.date()) if last is None else last, (-1 if last is None else 1) + months)
        since = 0 if last is None else here.sealed[last].watermark
        given, through = here.of_month(period), here.total(before=period)
        minutes, records = here.through_last_seal if last is not None else through
        served: dict[str, VolunteerServed] = {}
        for one in given:
            if one.volunteer in here.consents:
                known = served.get(one.volunteer, VolunteerServed(one.volunteer, one.community, 0))
                served[one.volunteer] = known._replace(minutes=known.minutes + one.service_minutes)
        counted = CountedPeriod(
            here.store.head(),
            since + stale,
            len({one.recipient_household for one in given} - {None}),
            sum(one.service_minutes for one in given),
            len(given),
            through[0] - minutes,
            through[1] - records,
            tuple(served.values()),
        )
        here.send(seal_period, SealPeriod(period=period, counted=counted), actor)

    @precondition(lambda self: self.here.sealed)
    @rule(person=INDEX, record=INDEX | st.none(), ground=GROUNDS, by_member=RIGHT, actor=STAFF)
    def raise_objection(self, person: int, record: int | None, ground: Any, by_member: bool, actor: Actor) -> None:
        who, period = self.somebody(person), max(self.here.sealed)
        own = [number for number, one in self.here.records.items() if one.volunteer == who]
        command = RaiseObjection(
            period=period,
            objection=f"B{len(self.here.objections)}",
            ground=ground,
            person=who,
            record=None if record is None or not own else pick(own, record),
            text=None,
        )
        self.here.send(raise_objection, command, member(who) if by_member else actor)

    @precondition(lambda self: self.here.objections)
    @rule(objection=INDEX, how=st.sampled_from("uudw"), by_raiser=RIGHT, actor=STAFF)
    def settle_objection(self, objection: int, how: str, by_raiser: bool, actor: Actor) -> None:
        """Mostly one that is open."""
        still_open = [number for number in self.here.objections if number not in self.here.objection_outcomes]
        number = pick(still_open if still_open and objection % 8 != 7 else list(self.here.objections), objection)
        raised = self.here.objections[number]
        if how == "w":
            by = member(raised.person) if by_raiser else actor
            self.here.send(withdraw_objection, WithdrawObjection(period=raised.period, objection=number), by)
        else:
            outcome: Any = "upheld" if how == "u" else "dismissed"
            command = DecideObjection(period=raised.period, objection=number, outcome=outcome, text=None)
            self.here.send(decide_objection, command, actor)

    @precondition(lambda self: self.here.sealed)
    @rule(actor=BY_TIME)
    def freeze_periods(self, actor: Actor) -> None:
        self.here.together(*((freeze_period, FreezePeriod(period=period), actor) for period in self.here.sealed))

    @rule(people=st.lists(INDEX, max_size=3), how=st.sampled_from("udw-"), days=st.sampled_from([7, 22]))
    def a_month_is_disclosed(self, people: list[int], how: str, days: int) -> None:
        """From the seal to the freeze, with everything in its place: chance alone seldom gets so far."""
        self.seal_period(months=0, stale=False, actor=ADMIN)
        for person in people if self.here.sealed else ():
            self.raise_objection(person=person, record=None, ground="other", by_member=True, actor=ADMIN)
            if how != "-" and self.here.objections:  # it may have been refused
                self.settle_objection(objection=0, how=how, by_raiser=True, actor=Actor("A9", "admin"))
        self.wait(days=days)
        self.freeze_periods(actor=TIME)
