"""Service requests: asked, offered for, accepted, rescheduled, done, cancelled, or over."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from domain.decision import Actor, Reading
from domain.fact import Fact
from domain.hours import ConfirmHours, LogHours, RequestFulfilled, confirm, log
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    ExpireRequest,
    FulfilRequest,
    FulfilWithRecord,
    LapseOffer,
    MakeOffer,
    OfferAccepted,
    OfferMade,
    OfferWithdrawn,
    RequestAsked,
    RequestCancelled,
    RequestExpired,
    RequestFollowed,
    RequestRescheduled,
    RescheduleRequest,
    ServiceRequest,
    WithdrawOffer,
    accept,
    ask,
    cancel,
    expire,
    fulfil,
    fulfil_with_record,
    lapse_offer,
    offer,
    reschedule,
    withdraw,
)
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import HoursModel, HoursRules
from tests.domain.time_bank.leading import ADMIN, BY_TIME, INDEX, OTHER_ADMIN, RIGHT, STAFF, member, pick


class RequestModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[str, RequestAsked] = {}
        self.request_status: dict[str, str] = {}
        self.request_ends: dict[str, datetime] = {}
        self.offers: dict[str, set[str]] = {}
        self.accepted_volunteer: dict[str, str | None] = {}
        self.fulfilled_by: dict[str, RequestFulfilled] = {}

    @follows(RequestAsked)
    def _asked(self, fact: RequestAsked, told: Told) -> None:
        assert fact.request not in self.requests
        assert self.is_open(fact.household)
        assert told.actor.role != "volunteer" or self.home[told.actor.id] == fact.household
        assert self.has_place(fact.community, fact.grid)
        assert told.policy == self.in_force(told.today)
        assert (fact.held_minutes > 0) <= (told.policy.request_hold and told.policy.payer == "recipient")
        assert fact.expires_at <= fact.latest_at
        self.requests[fact.request], self.offers[fact.request] = fact, set()
        self.accepted_volunteer[fact.request] = None
        self.request_status[fact.request], self.request_ends[fact.request] = "open", fact.expires_at

    @follows(RequestFollowed)
    def _followed(self, fact: RequestFollowed, _: Told) -> None:
        """With whoever stands in the household's place, or with the household to another home."""
        asked = self.requests[fact.request]
        assert self.request_status[fact.request] in ("open", "accepted")
        assert fact.household == self.stands_for(asked.household)
        assert (fact.household, fact.community, fact.grid) != (asked.household, asked.community, asked.grid)
        assert self.is_open(fact.household)
        if (fact.community, fact.grid) != (asked.community, asked.grid):
            assert (fact.community, fact.grid) == self.households[fact.household]
        self.requests[fact.request] = replace(asked, household=fact.household, community=fact.community, grid=fact.grid)

    def _leaves_nothing_open(self, household: str, told: Told) -> None:
        super()._leaves_nothing_open(household, told)
        for number, asked in self.requests.items():
            if asked.household == household and self.request_status[number] in ("open", "accepted"):
                assert told.now >= self.request_ends[number]

    @follows(OfferMade)
    def _offered(self, fact: OfferMade, told: Told) -> None:
        self._still_open(fact.request, told)
        self._fits(fact.request, fact.volunteer)
        assert fact.volunteer not in self.offers[fact.request]
        self.offers[fact.request].add(fact.volunteer)

    @follows(OfferAccepted)
    def _accepted(self, fact: OfferAccepted, told: Told) -> None:
        self._still_open(fact.request, told)
        self._fits(fact.request, fact.volunteer)
        assert fact.volunteer in self.offers[fact.request]
        assert fact.accepted_by != fact.volunteer
        assert self.home.get(fact.accepted_by) != self.home[fact.volunteer]
        assert self.accepted_volunteer[fact.request] is None
        self.accepted_volunteer[fact.request] = fact.volunteer
        self.request_status[fact.request], self.request_ends[fact.request] = "accepted", fact.expires_at

    @follows(OfferWithdrawn)
    def _offer_withdrawn(self, fact: OfferWithdrawn, told: Told) -> None:
        assert self.request_status[fact.request] in ("open", "accepted")
        if isinstance(told.command, LapseOffer):  # who made it can't come any more
            home = self.home[fact.volunteer]
            assert fact.volunteer in self.dead or home in (None, self.requests[fact.request].household)
        self.offers[fact.request].remove(fact.volunteer)
        assert (fact.expires_at is not None) == (self.accepted_volunteer[fact.request] == fact.volunteer)
        if fact.expires_at is not None:
            self.accepted_volunteer[fact.request] = None
            self.request_status[fact.request], self.request_ends[fact.request] = "open", fact.expires_at

    @follows(RequestRescheduled)
    def _rescheduled(self, fact: RequestRescheduled, _: Told) -> None:
        """Nobody is bound to a time that they didn't agree to."""
        assert self.request_status[fact.request] in ("open", "accepted")
        self.offers[fact.request], self.accepted_volunteer[fact.request] = set(), None
        self.request_status[fact.request], self.request_ends[fact.request] = "open", fact.expires_at

    @follows(RequestFulfilled)
    def _fulfilled(self, fact: RequestFulfilled, _: Told) -> None:
        logged, asked = self.records[fact.record], self.requests[fact.request]
        assert self.request_status[fact.request] == "accepted"
        assert fact.record not in {one.record for one in self.fulfilled_by.values()}
        assert fact.volunteer == logged.volunteer == self.accepted_volunteer[fact.request]
        assert logged.recipient_household == asked.household
        assert self.status[fact.record] in ("logged", "confirmed")
        assert fact.held_minutes == (asked.held_minutes if self.status[fact.record] == "logged" else 0)
        self.fulfilled_by[fact.request] = fact
        self.request_status[fact.request] = "fulfilled"

    @follows(RequestCancelled)
    def _cancelled(self, fact: RequestCancelled, told: Told) -> None:
        assert self.request_status[fact.request] in ("open", "accepted")
        assert told.actor.role != "volunteer" or self.home[told.actor.id] == self.requests[fact.request].household
        self.request_status[fact.request] = "cancelled"

    @follows(RequestExpired)
    def _request_expired(self, fact: RequestExpired, told: Told) -> None:
        assert self.request_status[fact.request] in ("open", "accepted")
        assert told.actor == TIME
        assert told.now >= self.request_ends[fact.request]
        self.request_status[fact.request] = "expired"

    def _still_open(self, request: str, told: Told) -> None:
        assert self.request_status[request] == "open"
        assert told.now < self.request_ends[request]

    def _fits(self, request: str, volunteer: str) -> None:
        assert volunteer in self.volunteers
        assert self.home[volunteer] not in (None, self.requests[request].household)
        assert self.is_open(self.requests[request].household)

    def after_command(self, facts: tuple[Fact, ...], before: Counter[str], told: Told) -> None:
        """Whoever asks can be served: a request never stays with a household that is gone."""
        super().after_command(facts, before, told)
        for number, asked in self.requests.items():
            if self.request_status[number] in ("open", "accepted") and told.now < self.request_ends[number]:
                assert self.is_open(asked.household)

    def standings(self) -> dict[Reading[Any], str]:
        requests = {ServiceRequest.of(number): status for number, status in self.request_status.items()}
        return super().standings() | requests

    def expected_holds(self) -> dict[str, int]:
        """What was asked for is held until it comes to nothing, or its record is settled."""
        holds = super().expected_holds()
        for number, asked in self.requests.items():
            status = self.request_status[number]
            if status == "fulfilled":
                fulfilled = self.fulfilled_by[number]
                waits = fulfilled.held_minutes > 0 and self.status[fulfilled.record] == "logged"
            else:
                waits = status in ("open", "accepted")
            if waits and asked.held_minutes:
                holds["request:" + number] = asked.held_minutes
        return holds


class RequestRules(HoursRules):
    def request(self, index: int, *statuses: str) -> str:
        found = [number for number, status in self.here.request_status.items() if status in statuses]
        return pick(found if found and index % 8 != 7 else list(self.here.requests) or ["Q0"], index)

    def window(self, start_hours: int, hours: int) -> dict[str, datetime]:
        earliest_at = self.now.replace(second=0, microsecond=0) + timedelta(hours=start_hours)
        return {"earliest_at": earliest_at, "latest_at": earliest_at + timedelta(hours=hours)}

    @rule(
        household=INDEX,
        start=st.integers(-3, 30),
        hours=st.sampled_from([2, 8, 40]),
        minutes=st.sampled_from([15, 60, 120]),
        by_member=st.booleans(),
        actor=STAFF,
    )
    def ask(self, household: int, start: int, hours: int, minutes: int, by_member: bool, actor: Actor) -> None:
        self.ask_for(self.household(household), start, hours, minutes, actor if not by_member else None)

    def ask_for(self, household: str, start: int, hours: int, minutes: int, actor: Actor | None) -> str:
        """By one of the household where nobody is named."""
        number = f"Q{len(self.here.requests)}"
        command = AskForService(
            request=number, household=household, service="陪诊", estimated_minutes=minutes, **self.window(start, hours)
        )
        people = self.here.members(household)
        self.here.send(ask, command, actor or (member(people[0]) if people else ADMIN))
        return number

    @precondition(lambda self: self.here.requests)
    @rule(request=INDEX, volunteer=INDEX, by_staff=st.booleans(), actor=STAFF)
    def offer(self, request: int, volunteer: int, by_staff: bool, actor: Actor) -> None:
        person = self.somebody(volunteer)
        command = MakeOffer(request=self.request(request, "open"), volunteer=person)
        self.here.send(offer, command, actor if by_staff else member(person))

    @precondition(lambda self: any(self.here.offers.values()))
    @rule(request=INDEX, volunteer=INDEX, withdraws=st.sampled_from([False] * 3 + [True]), actor=STAFF)
    def accept_or_withdraw(self, request: int, volunteer: int, withdraws: bool, actor: Actor) -> None:
        number = self.request(request, *(("open", "accepted") if withdraws else ("open",)))
        person = pick(sorted(self.here.offers[number]) or ["P1"], volunteer)
        if withdraws:
            self.here.send(withdraw, WithdrawOffer(request=number, volunteer=person), actor)
        else:
            self.here.send(accept, AcceptOffer(request=number, volunteer=person), actor)

    @precondition(lambda self: self.here.requests)
    @rule(request=INDEX, start=st.integers(-3, 30), cancels=st.booleans(), actor=STAFF)
    def reschedule_or_cancel(self, request: int, start: int, cancels: bool, actor: Actor) -> None:
        number = self.request(request, "open", "accepted")
        if cancels:
            self.here.send(cancel, CancelRequest(request=number), actor)
        else:
            self.here.send(reschedule, RescheduleRequest(request=number, **self.window(start, 8)), actor)

    @precondition(lambda self: "accepted" in self.here.request_status.values())
    @rule(request=INDEX, minutes=st.sampled_from([15, 60, 90]), alone=RIGHT, with_record=st.booleans(), actor=STAFF)
    def fulfil(self, request: int, minutes: int, alone: bool, with_record: bool, actor: Actor) -> None:
        number = self.request(request, "accepted")
        self.give(
            number, minutes, member(self.here.accepted_volunteer[number] or "P1") if alone else actor, with_record
        )

    def give(self, number: str, minutes: int, actor: Actor, with_record: bool) -> None:
        """What was given for a request is logged, with it or before it."""
        asked = self.here.requests[number]
        self.now = max(self.now, asked.earliest_at + timedelta(minutes=minutes))
        record, volunteer = self.new_record(), self.here.accepted_volunteer[number] or "P1"
        started_at = self.now.replace(second=0, microsecond=0) - timedelta(minutes=minutes)
        times = {"started_at": started_at, "ended_at": started_at + timedelta(minutes=minutes)}
        if not with_record:
            self.here.send(fulfil, FulfilRequest(request=number, record=record, **times), actor)
            return
        hours = LogHours(
            record=record, volunteer=volunteer, recipient_household=asked.household, service="陪诊", **times
        )
        self.here.send(log, hours, actor)
        self.here.send(fulfil_with_record, FulfilWithRecord(request=number, record=record), actor)

    @precondition(lambda self: self.here.requests)
    @rule(actor=BY_TIME)
    def expire_requests(self, actor: Actor) -> None:
        lapsing = [
            (lapse_offer, LapseOffer(request=number, volunteer=person), actor)
            for number, people in self.here.offers.items()
            for person in sorted(people)
        ]
        expiring = [(expire, ExpireRequest(request=number), actor) for number in self.here.requests]
        self.here.together(*lapsing, *expiring)

    @rule(
        people=st.tuples(INDEX, INDEX),
        minutes=st.sampled_from([15, 60]),
        with_record=st.booleans(),
        confirms=st.booleans(),
    )
    def serve_a_request(self, people: tuple[int, int], minutes: int, with_record: bool, confirms: bool) -> None:
        """From asking to the credit, with everything in its place: chance alone seldom gets so far."""
        volunteer = self.somebody(people[1])
        number = self.ask_for(self.household(people[0]), 0, 8, 60, None)
        self.here.send(offer, MakeOffer(request=number, volunteer=volunteer), member(volunteer))
        self.here.send(accept, AcceptOffer(request=number, volunteer=volunteer), ADMIN)
        if number not in self.here.requests:
            return
        record = self.new_record()
        self.give(number, minutes, member(volunteer), with_record)
        if confirms:
            self.here.send(confirm, ConfirmHours(record=record), OTHER_ADMIN)
