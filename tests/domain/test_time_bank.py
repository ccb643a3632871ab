"""The whole domain at random: whatever is commanded in whatever order, the rules that bind a time bank hold.

One state machine leads everything, by the rules of each concept in `tests/domain/time_bank/`, through the real writer;
beside it goes a model that shares no code with the domain. Here it runs on a journal in memory, in
`tests/projections/test_time_bank.py` on PostgreSQL with all that is folded from it.

A new concept adds a module with a mixin of rules and one of the model, and its names to the two classes here.
"""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.account import FundPool, fund_pool
from domain.decision import Actor
from domain.hours import ReverseHours, reverse
from domain.household_life import CloseHousehold, MergeHouseholds, close_household, merge_households
from domain.ledger import OpenLedger, open_ledger
from domain.opening import (
    ApproveOpeningBalance,
    ProposeOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
)
from domain.policy import Policy
from domain.redemption import ReverseRedemption, reverse_redemption
from tests.controls import COMMAND_EXAMPLES, JINHU, OFFSET, TIME, XINZHU
from tests.domain.time_bank.attending import AttendingModel, AttendingRules
from tests.domain.time_bank.books import Ledger
from tests.domain.time_bank.disclosing import DisclosingModel, DisclosingRules
from tests.domain.time_bank.disputes import DisputeModel, DisputeRules
from tests.domain.time_bank.hours import SPANS
from tests.domain.time_bank.households import HouseholdRules, register_people
from tests.domain.time_bank.inspecting import InspectingModel, InspectingRules
from tests.domain.time_bank.leading import ADMIN, INDEX, JUDGE, OTHER_ADMIN, THIRD_ADMIN, Leading
from tests.domain.time_bank.leaving import LeavingModel, LeavingRules
from tests.domain.time_bank.moving import MovingModel, MovingRules
from tests.domain.time_bank.places import GRIDS, PlaceRules, register_places
from tests.domain.time_bank.policies import POLICIES, PolicyModel, PolicyRules, adopt_first
from tests.domain.time_bank.recognition import RecognitionModel, RecognitionRules
from tests.domain.time_bank.redeeming import RedemptionModel, RedemptionRules
from tests.domain.time_bank.requests import RequestModel, RequestRules
from tests.in_memory import InMemoryFactStore

START = datetime(2028, 2, 28, 12, 0, tzinfo=OFFSET)  # the leap day is near
FIRST_DAY = date(2028, 1, 1)


class Books(
    Ledger,
    PolicyModel,
    AttendingModel,
    DisputeModel,
    RequestModel,
    RedemptionModel,
    MovingModel,
    LeavingModel,
    RecognitionModel,
    DisclosingModel,
    InspectingModel,
):
    """The model of everything, beside a real ledger."""


class TimeBank(
    PlaceRules,
    HouseholdRules,
    PolicyRules,
    AttendingRules,
    DisputeRules,
    RequestRules,
    RedemptionRules,
    MovingRules,
    LeavingRules,
    RecognitionRules,
    DisclosingRules,
    InspectingRules,
    RuleBasedStateMachine,
):
    """Two ledgers: ``here``, which everything happens in, and ``there``, which households leave for and come from."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.here: Any = None
        self.there: Any = None

    def open_here(self, policy: Policy) -> Books:
        return self.open_in_memory(policy)

    def open_in_memory(self, policy: Policy) -> Books:
        books = Books(InMemoryFactStore(), lambda: self.now)
        books.send(open_ledger, OpenLedger(name="试验时间银行", synthetic=True), ADMIN)
        adopt_first(books, FIRST_DAY, policy)
        return books

    @initialize(
        policy=POLICIES,
        funded=st.sampled_from([600, 600, 1]),
        minutes=st.sampled_from([60, 150, 1]),
        month_max=st.sampled_from([None, 1, 2]),
    )
    def a_district(self, policy: Policy, funded: int, minutes: int, month_max: int | None) -> None:
        self.here = self.open_here(policy)
        register_places(self.here, (XINZHU, JINHU), GRIDS[:2], ADMIN)
        for community in (XINZHU, JINHU):
            self.here.send(fund_pool, FundPool(community=community, minutes=funded), ADMIN)
        people = iter(range(1, 10))
        for number, community in enumerate((XINZHU, JINHU, XINZHU, JINHU, XINZHU), 1):
            members = tuple(f"P{next(people)}" for _ in range(2 if number in (1, 4) else 1))
            register_people(self.here, f"H{number}", community, members, ADMIN)
            self.open_balance(self.here, f"H{number}", minutes)
        self.register_partner(0, False, ADMIN)
        self.offer_reward(0, 20, 2, ((), 0, 0, month_max), ADMIN)
        self.there = self.open_in_memory(Policy(take_along=True))
        register_places(self.there, (XINZHU,), (), ADMIN)
        register_people(self.there, "H1", XINZHU, ("P1",), ADMIN)
        self.open_balance(self.there, "H1", 60)
        self.trust(False, True)
        self.trust(True, True)

    def open_balance(self, books: Books, household: str, minutes: int) -> None:
        """What older books held, by two people."""
        proposal = ProposeOpeningBalance(opening="OB1", household=household, minutes=minutes)
        books.send(propose_opening_balance, proposal, ADMIN)
        approval = ApproveOpeningBalance(household=household, opening="OB1")
        books.send(approve_opening_balance, approval, OTHER_ADMIN)

    @rule(hours=st.sampled_from([24, 1, 2, 5, 10, 20, 48, 24 * 8, 24 * 31]))
    def time_passes(self, hours: int) -> None:
        self.wait(hours=hours)

    @rule(folded=st.booleans())
    def a_process_starts_anew(self, folded: bool) -> None:
        """One of the writers forgets what it knew; some balances may be recalled from what was folded meanwhile."""
        if folded:
            self.fold()
        self.here.restart()

    @precondition(lambda self: len(self.here.households) - len(self.here.heirs) > 3)
    @rule(
        person=INDEX,
        heir=INDEX,
        span=SPANS,
        ends=st.sampled_from(["merged", "closed"]),
        how=st.sampled_from(["redemption reversed", "hours reversed", "disputed", "still asking"]),
    )
    def a_household_ends_and_its_past_is_undone(self, person: int, heir: int, span: Any, ends: str, how: str) -> None:
        """What an heir then bears: chance alone seldom finds what somebody left behind."""
        here, home = self.here, self.here.home[self.somebody(person)] or self.household(person)
        record, reservation = self.new_record(), f"RV{len(here.reservations)}"
        if how == "redemption reversed":
            self.have_lunch(reward=0, person=person, end="collected")
        elif how == "still asking":
            self.ask_for(home, start=2, hours=40, minutes=60, actor=None)
        else:
            self.serve(volunteer=person, recipient=None, span=span, by=OTHER_ADMIN)
        if ends == "merged":
            here.send(merge_households, MergeHouseholds(household=home, into=self.household(heir)), ADMIN)
        else:
            here.send(close_household, CloseHousehold(household=home, cause="other"), ADMIN)
        if how == "redemption reversed":
            reversal = ReverseRedemption(reservation=reservation, reason="other", restocked=True)
            here.send(reverse_redemption, reversal, ADMIN)
        elif how == "hours reversed":
            here.send(reverse, ReverseHours(record=record, reason="other"), ADMIN)
        elif how == "disputed":
            self.open(f"D{len(here.disputes)}", record, "not-served", None, ADMIN)

    @rule(person=INDEX, span=SPANS, reserves=st.booleans(), days=st.sampled_from([1, 2, 41]))
    def minutes_lapse(self, person: int, span: Any, reserves: bool, days: int) -> None:
        """From the service to the day on which it lapses; some of it may be promised by then."""
        self.serve(volunteer=person, recipient=None, span=span, by=OTHER_ADMIN)
        self.wait(days=62)
        if "confirmed" not in self.here.status.values():
            return
        self.announce_expiry(TIME)
        self.wait(days=days - 1)
        if reserves:
            self.reserve(reward=0, person=person, fresh=True, by_member=True, actor=ADMIN)
        self.wait(days=1)
        if self.here.announced:
            self.expire_minutes(TIME)

    def fold(self) -> None:
        self.here.store.recall_position = self.here.store.head()

    @invariant()
    def the_books_agree(self) -> None:
        for ledger in (self.here, self.there):
            ledger.check()
        self.check_statements()

    def teardown(self) -> None:
        for ledger in (self.here, self.there):
            if ledger is not None:
                ledger.close()


NOT_LED = frozenset[str]()
"""Commands that the machine leaves out, which ought to be none."""


def live_through_everything(bank: TimeBank) -> None:
    """One life of a bank in which every command is accepted at least once, led by the rules of the machine."""
    policy = Policy(
        payer="recipient",
        request_hold=True,
        balance_minutes_min=-600,
        balance_minutes_max=None,
        log_days_back_max=40,
        silence_days=1,
        dispute_decision_days=1,
        reservation_days=1,
        transfer="anyone",
        starting_grant_minutes=30,
        grant_minutes_alone_max=60,
        expiry_months=1,
        expiry_notice_days=1,
        take_along=True,
        star_minutes=(60,),
    )
    bank.a_district(policy=policy, funded=600, minutes=200, month_max=None)
    for step in (*SERVICE, *RECOGNITION, *REDEMPTION, *MOVING, *LIVES, *DISCLOSING, *INSPECTING):
        step(bank)
        bank.the_books_agree()
    accepted = {name for ledger in (bank.here, bank.there) for name, answer in ledger.told if answer == "Accepted"}
    assert {decide.__name__ for decide in COMMAND_EXAMPLES} - accepted == NOT_LED
    bank.teardown()


def change_place(bank: Any, how: str, grid: int, days: int = 0, community: int = 1) -> None:
    bank.place_changes(pair=(community, 2), grids=(grid, 0), how=how, minutes=1, days=days, actor=ADMIN)


HOUR = timedelta(hours=1)
"""Persons and households count from the newest: 0 is P7 of H5, 1 P6 and H4, 4 P3 and H1."""
SERVICE: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.log(volunteer=0, recipient=1, span=(-4 * HOUR, HOUR), fresh=True, by=None),
    lambda bank: bank.confirm(record=0, actor=ADMIN),
    lambda bank: bank.log(volunteer=1, recipient=0, span=(-4 * HOUR, HOUR), fresh=True, by=None),
    lambda bank: bank.confirm_as_member(record=0, person=0, rating=5),
    lambda bank: bank.log_many(rows=[(True, 3, None, (-4 * HOUR, HOUR))]),
    lambda bank: bank.reject(record=0, actor=ADMIN, reason="other"),
    lambda bank: bank.serve(volunteer=3, recipient=None, span=(-2 * HOUR, HOUR), by=TIME),
    lambda bank: bank.reverse(record=0, again=False, actor=ADMIN, reason="other"),
    lambda bank: bank.import_row(
        fresh=True,
        people=(None, 0, None),
        places=(0, 0),
        span=(-4 * HOUR, HOUR),
        status="confirmed",
        confirmer=OTHER_ADMIN.id,
    ),
    lambda bank: bank.quarrel(
        people=(4, None), span=(-4 * HOUR, HOUR), rejected=False, outcome="upheld", judge=THIRD_ADMIN, hours=80
    ),
    lambda bank: bank.quarrel(
        people=(4, None), span=(-2 * HOUR, HOUR), rejected=True, outcome="upheld", judge=JUDGE, hours=12
    ),
    lambda bank: bank.serve(volunteer=4, recipient=None, span=(-9 * HOUR, HOUR), by=OTHER_ADMIN),
    lambda bank: bank.open_dispute(record=0, fits=True, ground="other", side=None, actor=ADMIN),
    lambda bank: bank.state_case(dispute=0, ground="other", side="recipient", actor=ADMIN),
    lambda bank: bank.withdraw_dispute(dispute=0, by_opener=True, actor=ADMIN),
    lambda bank: bank.make_door_code(household=1, by_member=True, minutes=720, actor=ADMIN),
    lambda bank: bank.check_in(volunteer=6, where=0, code=0, alone=True, actor=ADMIN),
    lambda bank: bank.check_out(visit=0, minutes=60, new_code=True, alone=True, actor=ADMIN),
    lambda bank: bank.check_in(volunteer=6, where=3, code=None, alone=True, actor=ADMIN),
    lambda bank: bank.wait(hours=13),
    lambda bank: bank.mark_overdue(actor=TIME),
    lambda bank: bank.end_visit(visit=0, minutes=60, voids=False, actor=ADMIN),
    lambda bank: bank.check_in(volunteer=6, where=3, code=None, alone=True, actor=ADMIN),
    lambda bank: bank.end_visit(visit=0, minutes=60, voids=True, actor=ADMIN),
    lambda bank: bank.attach_evidence(record=0, kind="sheet", fresh=True, actor=ADMIN),
    lambda bank: bank.key_paper(
        volunteer=4, span=(-4 * HOUR, HOUR), alike=True, keyers=[ADMIN, OTHER_ADMIN, JUDGE], actor=ADMIN
    ),
    lambda bank: bank.serve_a_request(people=(1, 6), minutes=60, with_record=False, confirms=True),
    lambda bank: bank.serve_a_request(people=(1, 6), minutes=60, with_record=True, confirms=False),
    lambda bank: bank.ask(household=1, start=2, hours=8, minutes=60, by_member=True, actor=ADMIN),
    lambda bank: bank.offer(request=0, volunteer=6, by_staff=False, actor=ADMIN),
    lambda bank: bank.accept_or_withdraw(request=0, volunteer=0, withdraws=True, actor=ADMIN),
    lambda bank: bank.reschedule_or_cancel(request=0, start=5, cancels=False, actor=ADMIN),
    lambda bank: bank.reschedule_or_cancel(request=0, start=5, cancels=True, actor=ADMIN),
    lambda bank: bank.ask(household=1, start=2, hours=8, minutes=60, by_member=True, actor=ADMIN),
    lambda bank: bank.offer(request=0, volunteer=3, by_staff=False, actor=ADMIN),
    lambda bank: bank.member_goes(person=3, into=1, how="m", actor=ADMIN),
    lambda bank: bank.expire_requests(actor=TIME),
    lambda bank: bank.wait(hours=20),
    lambda bank: bank.expire_requests(actor=TIME),
)
REDEMPTION: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.have_lunch(reward=0, person=5, end="reversed"),
    lambda bank: bank.reserve(reward=0, person=5, fresh=True, by_member=True, actor=ADMIN),
    lambda bank: bank.hand_in(reservations=[0], hours_ago=0),
    lambda bank: bank.reserve(reward=0, person=5, fresh=True, by_member=True, actor=ADMIN),
    lambda bank: bank.release(reservation=0, gives_up=False, actor=ADMIN),
    lambda bank: bank.settle_partner(partner=0, actor=ADMIN),
    lambda bank: bank.restock_or_withdraw(reward=0, withdraws=False, actor=ADMIN),
    lambda bank: bank.restock_or_withdraw(reward=0, withdraws=True, actor=ADMIN),
)
RECOGNITION: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.settle_stars(actor=TIME),
    *(lambda bank, how=how: bank.recognise(person=0, how=how, days=0, actor=ADMIN) for how in "htc"),
    lambda bank: bank.withdraw_recognition(entry=0, actor=ADMIN),
    lambda bank: bank.issue_certificate(person=0, in_charge="S5", actor=ADMIN),
    lambda bank: bank.revoke_certificate(certificate=0, reason="mistake", actor=ADMIN),
)
MOVING: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.grant_minutes(household=4, minutes=10, need="other", actor=ADMIN),
    lambda bank: bank.grant_starting_minutes(household=4, need="other", actor=ADMIN),
    *(lambda bank, how=how: bank.grant_by_two(household=4, minutes=100, how=how, actor=ADMIN) for how in "arw"),
    lambda bank: bank.register_household(community=0, grid=True, actor=ADMIN),
    lambda bank: bank.opening_balance(household=0, minutes=90, how="r", proposer=ADMIN, actor=OTHER_ADMIN),
    lambda bank: bank.opening_balance(household=0, minutes=90, how="w", proposer=ADMIN, actor=ADMIN),
    lambda bank: bank.opening_balance(household=0, minutes=90, how="a", proposer=ADMIN, actor=OTHER_ADMIN),
    lambda bank: bank.tie(pair=(0, 1), ends=False, actor=ADMIN),
    lambda bank: bank.tie(pair=(0, 1), ends=True, actor=ADMIN),
    lambda bank: bank.transfer(pair=(0, 4), minutes=1, by_member=True, actor=ADMIN),
    lambda bank: bank.donate(household=0, community=None, minutes=1, by_member=True, actor=ADMIN),
    lambda bank: bank.register_group(community=0, leader=5, actor=ADMIN),
    lambda bank: bank.log_sheet(
        people=[5], place=(0, None), span=(-4 * HOUR, HOUR), group=0, by_leader=False, actor=ADMIN
    ),
    lambda bank: bank.confirm(record=0, actor=OTHER_ADMIN),
    lambda bank: bank.donate_group_minutes(group=0, minutes=10, household=None, by_leader=True, actor=ADMIN),
    lambda bank: bank.change_group(group=0, person=0, how="j", by_leader=True, actor=ADMIN),
    lambda bank: bank.change_group(group=0, person=0, how="a", by_leader=True, actor=ADMIN),
    lambda bank: bank.change_group(group=0, person=1, how="l", by_leader=True, actor=ADMIN),
    lambda bank: bank.wait(days=62),
    lambda bank: bank.announce_expiry(actor=TIME),
    lambda bank: bank.wait(days=2),
    lambda bank: bank.expire_minutes(actor=TIME),
)
LIVES: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.propose_policy(policy=Policy(), days=1, fresh=True, at_once=True),
    lambda bank: bank.propose_policy(policy=Policy(), days=1, fresh=True, at_once=False),
    lambda bank: bank.settle_proposal(proposal=0, admin=ADMIN, how="r"),
    lambda bank: bank.propose_policy(policy=Policy(), days=1, fresh=True, at_once=False),
    lambda bank: bank.settle_proposal(proposal=0, admin=OTHER_ADMIN, how="w"),
    lambda bank: bank.register_member(household=0, enrols=True, again=None, actor=ADMIN),
    lambda bank: bank.attest_age(person=0, years=60, actor=ADMIN),
    lambda bank: bank.split_household(household=0, minutes=10, actor=ADMIN),
    *(lambda bank, how=how: bank.member_goes(person=0, into=2, how=how, actor=ADMIN) for how in "mld"),
    lambda bank: bank.take_along(household=1, back=False, actor=ADMIN),
    lambda bank: bank.pay_in(statement=0, household=0, right=True, days=0, actor=ADMIN),
    lambda bank: bank.take_along(household=0, back=True, actor=ADMIN),
    lambda bank: bank.pay_in(statement=1, household=0, right=True, days=0, actor=ADMIN),
    lambda bank: bank.move_household(household=0, community=1, days=1, actor=ADMIN),
    lambda bank: bank.end_plan(plan=0, waits=0, calls_off=True, actor=ADMIN),
    lambda bank: bank.move_household(household=0, community=1, days=1, actor=ADMIN),
    lambda bank: bank.end_plan(plan=0, waits=1, calls_off=False, actor=ADMIN),
    lambda bank: bank.move_household(household=0, community=0, days=0, actor=ADMIN),
    lambda bank: bank.household_ends(pair=(0, 1), how="merged", cause="other", actor=ADMIN),
    lambda bank: bank.household_ends(pair=(0, 1), how="closed", cause="other", actor=ADMIN),
    lambda bank: bank.register_place(community=0, grid=("三格",), fresh=True, actor=ADMIN),
    lambda bank: change_place(bank, "renamed", grid=0),
    lambda bank: change_place(bank, "grid moved", grid=0),
    lambda bank: bank.register_place(community=0, grid=("一格",), fresh=False, actor=ADMIN),
    lambda bank: change_place(bank, "grids renamed", grid=0, community=0),
    lambda bank: change_place(bank, "split", grid=1, days=1),
    lambda bank: bank.wait(days=1),
    lambda bank: bank.follow_places(),
    lambda bank: bank.register_household(community=1, grid=True, actor=ADMIN),
    lambda bank: change_place(bank, "merged", grid=0),
    lambda bank: bank.follow_places(),
)


DISCLOSING: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.consent(person=0, by_member=True, withdraws=False, actor=ADMIN),
    lambda bank: bank.consent(person=0, by_member=True, withdraws=True, actor=ADMIN),
    lambda bank: bank.seal_period(months=0, stale=False, actor=ADMIN),
    *(
        lambda bank, number=number: bank.raise_objection(
            person=number, record=None, ground="other", by_member=True, actor=ADMIN
        )
        for number in range(2)
    ),
    lambda bank: bank.settle_objection(objection=0, how="u", by_raiser=True, actor=OTHER_ADMIN),
    lambda bank: bank.settle_objection(objection=0, how="w", by_raiser=True, actor=OTHER_ADMIN),
    lambda bank: bank.wait(days=7),
    lambda bank: bank.freeze_periods(actor=TIME),
)


AUDITOR = Actor("U1", "auditor")
INSPECTING: tuple[Callable[[Any], None], ...] = (
    lambda bank: bank.draw_sample(count=2, actor=AUDITOR),
    lambda bank: bank.inspect(record=0, drawn=True, finds=False, of_sample=True, actor=AUDITOR),
    lambda bank: bank.inspect(record=1, drawn=True, finds=True, of_sample=True, actor=AUDITOR),
    *(lambda bank, how=how: bank.settle_finding(finding=0, how=how, actor=ADMIN, auditor=AUDITOR) for how in "ar"),
)


def test_no_concept_hides_what_another_brings() -> None:
    names = Counter(
        name for base in TimeBank.__mro__[1:] for name in vars(base) if issubclass(base, Leading) and name[:1] != "_"
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_in_one_life_every_command_is_accepted() -> None:
    live_through_everything(TimeBank())


TestTimeBank = TimeBank.TestCase
TestTimeBank.settings = settings(
    max_examples=50, stateful_step_count=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
