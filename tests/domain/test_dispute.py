"""Disputes: who may question a settled record and until when, what is held meanwhile, and how it ends."""

from datetime import datetime, timedelta
from typing import Any, get_args

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import (
    Account,
    BalanceTooLow,
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesHeld,
    MinutesReleased,
    Reason,
)
from domain.decision import Actor, LeftToTime
from domain.dispute import (
    DecidedByParty,
    DecideDispute,
    Dispute,
    DisputeAlreadyOpened,
    DisputeClosed,
    DisputedTooLate,
    DisputeEscalated,
    DisputeNotDue,
    DisputeStatementGiven,
    EscalateDispute,
    GroundNotFitting,
    LeftToAdministrators,
    NotYourSide,
    OpenDispute,
    RecordDisputeDecided,
    RecordNotDisputable,
    SidesNotHeard,
    StateCase,
    UnknownDispute,
    WithdrawDispute,
    WithdrawnByAnother,
    decide_dispute,
    escalate_dispute,
    open_dispute,
    state_case,
    withdraw_dispute,
)
from domain.evidence import EvidenceAttached, EvidenceTooWeak
from domain.fact import Fact
from domain.hours import (
    ConfirmHours,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    RecordInDispute,
    RecordOverlaps,
    ReverseHours,
    ServiceRecord,
    UnknownRecord,
    confirm,
    import_hours,
    reverse,
)
from domain.household import HouseholdClosed, MemberRegistered
from domain.refusal import Refusal
from tests.controls import (
    ADMIN,
    COMMAND_EXAMPLES,
    DISTRICT,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REJECTED,
    HOURS_REVERSED,
    LOGGER,
    NOW,
    STAFF,
    STAFF_ELSEWHERE,
    TIME,
    XINZHU,
    at,
    credited,
    district,
    given,
    logged,
    volunteer,
)

JUDGE = Actor("S3", "staff", XINZHU)
EARNER, RECIPIENT, STRANGER = volunteer("V1"), volunteer("V3"), volunteer("V4")
HEARING_UNTIL = NOW + timedelta(days=7, hours=12)
DECISION_DUE = NOW + timedelta(days=15)
CONFIRMED = (HOURS_LOGGED, HOURS_CONFIRMED)
REJECTED = (HOURS_LOGGED, HOURS_REJECTED)
HELD = MinutesHeld("household:H1", 90, "dispute:D1")
RELEASED = MinutesReleased("household:H1", 90, "dispute:D1")


def disputing(ground: Any = "not-served", settled_at: datetime = NOW, **changes: Any) -> OpenDispute:
    return OpenDispute(**({"dispute": "D1", "record": "R1", "ground": ground, "settled_at": settled_at} | changes))


def opened(by: str = "V3", side: Any = "recipient", ground: Any = "not-served", minutes: int = 90) -> DisputeOpened:
    return DisputeOpened("D1", "R1", by, side, ground, minutes, NOW, HEARING_UNTIL, DECISION_DUE)


IN_DISPUTE = (*CONFIRMED, opened(), HELD)
HEARD = (*IN_DISPUTE, DisputeStatementGiven("D1", "earner", "V1", "served"))
REJECTION_HEARD = (
    *REJECTED,
    opened("V1", "earner", "served", 0),
    DisputeStatementGiven("D1", "recipient", "V3", "not-served"),
)
UPHOLD, DISMISS = (DecideDispute(dispute="D1", outcome=outcome) for outcome in ("upheld", "dismissed"))
STATE, WITHDRAW = StateCase(dispute="D1", ground="served"), WithdrawDispute(dispute="D1")
ESCALATE = EscalateDispute(dispute="D1")


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("actor", "named", "side"),
    [
        (EARNER, None, "earner"),
        (volunteer("V2"), None, "earner"),
        (RECIPIENT, None, "recipient"),
        (RECIPIENT, "recipient", "recipient"),
        (STAFF, None, "staff"),
        (STAFF, "recipient", "recipient"),
        (ADMIN, "earner", "earner"),
        (Actor("V2", "staff", XINZHU), None, "earner"),
    ],
)
def test_either_side_disputes_a_confirmed_record_and_its_minutes_are_held(actor: Actor, named: Any, side: Any) -> None:
    outcome = given(DISTRICT, CONFIRMED).when(open_dispute, disputing(side=named), actor=actor)
    outcome.then(opened(actor.id, side), HELD, policy=1)


def test_a_dispute_without_a_number_gets_its_commands() -> None:
    facts = given(DISTRICT, CONFIRMED).when(open_dispute, disputing(dispute=None), actor=RECIPIENT).accepted
    assert isinstance(facts[0], DisputeOpened)
    assert facts[0].dispute == "01234567-89abcdef-01234567-89abcdef"


def test_what_is_held_is_what_the_record_left_on_the_account() -> None:
    capped = (HOURS_LOGGED, HOURS_CONFIRMED, MinutesCapped("household:H1", "pool:" + XINZHU, 30, "R1"))
    held = replace(HELD, minutes=60)
    given(DISTRICT, capped).when(open_dispute, disputing(), actor=RECIPIENT).then(opened(minutes=60), held)
    honoured = (HOURS_LOGGED, replace(HOURS_CONFIRMED, minutes=0, honour_minutes=90))
    given(DISTRICT, honoured).when(open_dispute, disputing(), actor=RECIPIENT).then(opened(minutes=0))


@pytest.mark.parametrize("heir", ["household:H2", "pool:" + XINZHU])
@pytest.mark.parametrize("end", ["upheld", "dismissed", "withdrawn"])
def test_a_closed_households_heir_is_held_to_what_is_in_dispute_of_its_past(heir: str, end: Any) -> None:
    past = (*DISTRICT, *CONFIRMED, HouseholdClosed("H1", "other", heir, ("V1", "V2")))
    hold, release = replace(HELD, account=heir), replace(RELEASED, account=heir)
    facts = given(past).when(open_dispute, disputing()).then(opened("S2", "staff"), hold, policy=1).facts
    told = (DisputeStatementGiven("D1", side, "A1", "other") for side in ("earner", "recipient"))
    standing = given(past, facts, told)
    if end == "withdrawn":
        assert standing.when(withdraw_dispute, WITHDRAW).accepted == (DisputeWithdrawn("D1", "R1"), release)
        return
    decided = standing.when(decide_dispute, DecideDispute(dispute="D1", outcome=end), actor=JUDGE).accepted
    assert decided[1] == release
    undone = (HoursReversed(heir, "issuance", 90, "R1", "S3", "not-served"),)
    assert decided[2:] == (undone if end == "upheld" else ())


def test_what_lapsed_with_a_closed_household_is_not_held() -> None:
    past = (*DISTRICT, *CONFIRMED, HouseholdClosed("H1", "other", "expired", ("V1", "V2")))
    facts = given(past).when(open_dispute, disputing()).then(opened("S2", "staff", minutes=0), policy=1).facts
    told = (DisputeStatementGiven("D1", side, "A1", "other") for side in ("earner", "recipient"))
    upheld, undone = given(past, facts, told).when(decide_dispute, UPHOLD, actor=JUDGE).accepted
    assert isinstance(upheld, DisputeUpheld)
    assert undone == HoursReversed("expired", "issuance", 90, "R1", "S3", "not-served")


def test_minutes_that_were_spent_are_held_all_the_same() -> None:
    spent = HoursConfirmed("household:H1", "household:H3", 80, "R9", "S9")
    past = (*DISTRICT, *CONFIRMED, spent)
    facts = given(past).when(open_dispute, disputing(), actor=RECIPIENT).then(opened(), HELD).facts
    account = given(past, facts).state(Account.of("household:H1"))
    assert (account.balance_minutes, account.held_minutes, account.available_minutes) == (10, 90, -80)


def test_what_is_held_pays_for_nothing() -> None:
    paying = district(payer="recipient")
    service = logged("R2", "11-20 09:00 - 09:30", volunteer="V4", household="H3", recipient_household="H1")
    past = (paying, CONFIRMED, credited("H1", 10), service)
    command = ConfirmHours(record="R2")
    assert given(*past).when(confirm, command).accepted
    given(*past, opened(), HELD).when(confirm, command).refused(BalanceTooLow("household:H1", 10, 30, 0))


@pytest.mark.parametrize(
    ("actor", "side"), [(EARNER, "earner"), (STAFF, "staff"), (Actor("V3", "staff", XINZHU), None)]
)
def test_a_rejected_record_is_disputed_by_the_side_that_would_have_earned(actor: Actor, side: Any) -> None:
    outcome = given(DISTRICT, REJECTED).when(open_dispute, disputing("served"), actor=actor)
    if side is None:
        outcome.refused(RecordNotDisputable("R1", "rejected"))
    else:
        outcome.then(opened(actor.id, side, "served", 0))


@pytest.mark.parametrize("ground", [*get_args(Reason), "served"])
def test_the_ground_fits_what_became_of_the_record(ground: Any) -> None:
    for past, status in ((CONFIRMED, "confirmed"), (REJECTED, "rejected")):
        outcome = given(DISTRICT, past).when(open_dispute, disputing(ground), actor=EARNER)
        if (ground == "served") == (status == "rejected"):
            assert outcome.accepted
        else:
            outcome.refused(GroundNotFitting("R1", status, ground))


@pytest.mark.parametrize(("past", "status"), [((HOURS_LOGGED,), "logged"), ((*CONFIRMED, HOURS_REVERSED), "reversed")])
def test_only_a_settled_record_is_disputed(past: tuple[Fact, ...], status: str) -> None:
    given(DISTRICT, past).when(open_dispute, disputing(), actor=RECIPIENT).refused(RecordNotDisputable("R1", status))


@pytest.mark.parametrize(
    ("actor", "changes", "refusal"),
    [
        (STRANGER, {}, UnknownRecord("R1")),
        (volunteer("V-NONE"), {}, UnknownRecord("R1")),
        (STAFF_ELSEWHERE, {}, UnknownRecord("R1")),
        (RECIPIENT, {"record": "R9"}, UnknownRecord("R9")),
        (RECIPIENT, {"side": "earner"}, NotYourSide("V3", "recipient")),
        (EARNER, {"side": "recipient"}, NotYourSide("V1", "earner")),
    ],
)
def test_who_has_no_part_in_a_record_does_not_dispute_it(actor: Actor, changes: Any, refusal: Refusal) -> None:
    given(DISTRICT, CONFIRMED).when(open_dispute, disputing(**changes), actor=actor).refused(refusal)


@pytest.mark.parametrize(("days", "ago", "refused"), [(30, 30, False), (30, 31, True), (0, 0, False), (0, 1, True)])
def test_a_record_is_disputed_within_the_policys_days(days: int, ago: int, refused: bool) -> None:
    past = (district(dispute_days_max=days), CONFIRMED)
    outcome = given(*past).when(open_dispute, disputing(settled_at=NOW - timedelta(days=ago)), actor=RECIPIENT)
    if refused:
        outcome.refused(DisputedTooLate("R1", days))
    else:
        assert outcome.accepted


def test_a_record_is_in_one_dispute_at_a_time_and_each_has_a_number_of_its_own() -> None:
    again = given(DISTRICT, IN_DISPUTE)
    again.when(open_dispute, disputing(dispute="D2"), actor=EARNER).refused(RecordInDispute("R1", "D1"))
    again.when(open_dispute, disputing(), actor=RECIPIENT).refused(DisputeAlreadyOpened("D1"))


def test_a_withdrawn_dispute_leaves_the_record_open_to_another_and_a_decided_one_does_not() -> None:
    withdrawn = (*IN_DISPUTE, DisputeWithdrawn("D1", "R1"), RELEASED)
    assert given(DISTRICT, withdrawn).when(open_dispute, disputing(dispute="D2"), actor=EARNER).accepted
    dismissed = (*HEARD, DisputeDismissed("D1", "R1", "S3"), RELEASED)
    outcome = given(DISTRICT, dismissed).when(open_dispute, disputing(dispute="D2"), actor=EARNER)
    outcome.refused(RecordDisputeDecided("R1", "D1"))


def test_what_is_said_in_free_words_is_known_by_its_digest_alone() -> None:
    command = disputing(text=" 那天没有人来\n真的 ")
    facts = given(DISTRICT, CONFIRMED).when(open_dispute, command, actor=RECIPIENT).accepted
    assert isinstance(facts[0], DisputeOpened)
    assert command.text == "那天没有人来\n真的"
    assert facts[0].text_digest == command.text_digest
    assert command.text_digest is not None
    assert len(command.text_digest) == 64
    sent = command.model_dump_json()
    assert "没有人" not in sent
    assert command.text_digest in sent  # other words are another command
    assert command.text_digest != disputing(text=command.text, salt="ab").text_digest
    for bad in ("", " ", "x" * 2001, "a\x00b", "a\u202eb"):
        with pytest.raises(ValidationError):
            disputing(text=bad)


# ── While it is open ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_record_in_dispute_is_not_reversed_beside_it() -> None:
    past = given(DISTRICT, IN_DISPUTE)
    past.when(reverse, ReverseHours(record="R1", reason="other")).refused(RecordInDispute("R1", "D1"))
    row = replace(
        COMMAND_EXAMPLES[import_hours],
        **{"record": "R1", "started_at": HOURS_LOGGED.started_at, "ended_at": HOURS_LOGGED.ended_at},
        status="reversed",
    )
    past.when(import_hours, row, actor=ADMIN).refused(RecordInDispute("R1", "D1"))


@pytest.mark.parametrize(
    ("actor", "named", "side"),
    [
        (EARNER, None, "earner"),
        (RECIPIENT, None, "recipient"),
        (STAFF, "earner", "earner"),
        (STAFF, "recipient", "recipient"),
        (STAFF, None, "staff"),
    ],
)
def test_both_sides_are_heard_and_staff_write_down_what_they_are_told(actor: Actor, named: Any, side: Any) -> None:
    command = StateCase(dispute="D1", ground="served", side=named, text="我在场")
    statement = DisputeStatementGiven("D1", side, actor.id, "served", command.text_digest)
    past = given(DISTRICT, IN_DISPUTE)
    past.when(state_case, command, actor=actor).then(statement)
    heard = given(DISTRICT, IN_DISPUTE, statement).state(Dispute.of("D1")).heard
    assert heard == {"recipient", side}


@pytest.mark.parametrize(
    ("past", "actor", "refusal"),
    [
        (IN_DISPUTE, STRANGER, UnknownDispute("D1")),
        (IN_DISPUTE, STAFF_ELSEWHERE, UnknownDispute("D1")),
        (CONFIRMED, EARNER, UnknownDispute("D1")),
        ((*IN_DISPUTE, DisputeWithdrawn("D1", "R1")), EARNER, DisputeClosed("D1", "withdrawn")),
    ],
)
def test_only_those_whom_an_open_dispute_concerns_are_heard(past: Any, actor: Actor, refusal: Refusal) -> None:
    given(DISTRICT, past).when(state_case, STATE, actor=actor).refused(refusal)


def test_nobody_speaks_for_the_other_side() -> None:
    command = StateCase(dispute="D1", ground="other", side="recipient")
    given(DISTRICT, IN_DISPUTE).when(state_case, command, actor=EARNER).refused(NotYourSide("V1", "earner"))


# ── Deciding ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_upheld_dispute_releases_the_minutes_and_reverses_the_record_at_once() -> None:
    undone = HoursReversed("household:H1", "issuance", 90, "R1", "S3", "not-served")
    outcome = given(DISTRICT, HEARD).when(decide_dispute, UPHOLD, actor=JUDGE)
    facts = outcome.then(DisputeUpheld("D1", "R1", "S3"), RELEASED, undone, policy=0).facts
    after = given(DISTRICT, HEARD, facts)
    assert after.state(Account.of("household:H1")) == Account("household:H1", 0, 0)
    assert after.state(ServiceRecord.of("R1")).status == "reversed"
    assert after.state(Dispute.of("D1")).status == "upheld"


def test_what_went_on_to_the_pool_comes_back_with_an_upheld_dispute() -> None:
    capped = MinutesCapped("household:H1", "pool:" + XINZHU, 30, "R1")
    past = (*CONFIRMED, capped, opened(minutes=60), replace(HELD, minutes=60), HEARD[-1])
    given(DISTRICT, past).when(decide_dispute, UPHOLD, actor=JUDGE).then(
        DisputeUpheld("D1", "R1", "S3"),
        replace(RELEASED, minutes=60),
        CappedMinutesReturned("pool:" + XINZHU, "household:H1", 30, "R1"),
        HoursReversed("household:H1", "issuance", 90, "R1", "S3", "not-served"),
    )


def test_a_dismissed_dispute_releases_the_minutes_and_the_record_stays() -> None:
    outcome = given(DISTRICT, HEARD).when(decide_dispute, DISMISS, actor=JUDGE)
    facts = outcome.then(DisputeDismissed("D1", "R1", "S3"), RELEASED).facts
    after = given(DISTRICT, HEARD, facts)
    assert after.state(Account.of("household:H1")) == Account("household:H1", 90, 0)
    assert after.state(ServiceRecord.of("R1")).status == "confirmed"
    assert after.when(reverse, ReverseHours(record="R1", reason="other")).accepted


def test_a_rejected_record_is_confirmed_after_all_when_its_dispute_is_upheld() -> None:
    upheld = DisputeUpheld("D1", "R1", "S3")
    confirmed = replace(HOURS_CONFIRMED, confirmed_by="S3")
    past = given(DISTRICT, REJECTION_HEARD)
    facts = past.when(decide_dispute, UPHOLD, actor=JUDGE).then(upheld, confirmed, policy=1).facts
    after = given(DISTRICT, REJECTION_HEARD, facts)
    assert after.state(ServiceRecord.of("R1")).counts
    assert after.when(reverse, ReverseHours(record="R1", reason="other")).accepted
    past.when(decide_dispute, DISMISS, actor=JUDGE).then(DisputeDismissed("D1", "R1", "S3"))
    low = district(balance_minutes_max=50)
    capped = MinutesCapped("household:H1", "pool:" + XINZHU, 40, "R1")
    given(low, REJECTION_HEARD).when(decide_dispute, UPHOLD, actor=JUDGE).then(upheld, confirmed, capped)


def test_a_rejected_record_whose_time_was_used_since_is_not_confirmed_after_all() -> None:
    other = logged("R2", "11-21 10:00 - 11:00")
    past = given(DISTRICT, REJECTION_HEARD, other)
    past.when(decide_dispute, UPHOLD, actor=JUDGE).refused(RecordOverlaps("R1", "R2"))
    poor = given(district(payer="pool"), REJECTION_HEARD)
    poor.when(decide_dispute, UPHOLD, actor=JUDGE).refused(BalanceTooLow("pool:" + XINZHU, 0, 90, 0))


@pytest.mark.parametrize(
    ("by", "actor"),
    [
        ("V3", LOGGER),
        ("V3", STAFF),  # confirmed it
        ("S3", JUDGE),  # opened it
        ("V3", Actor("V1", "staff", XINZHU)),
        ("V3", Actor("V2", "admin")),
        ("V3", Actor("V3", "admin")),
        ("V3", EARNER),
        ("V1", RECIPIENT),
        ("V3", Actor("S4", "staff", XINZHU)),
    ],
)
def test_nobody_decides_who_has_a_part_in_it(by: str, actor: Actor) -> None:
    past = (*CONFIRMED, opened(by), HELD, HEARD[-1], MemberRegistered("S4", "H2"))
    outcome = given(DISTRICT, past).when(decide_dispute, UPHOLD, actor=actor)
    outcome.refused(DecidedByParty("D1", actor.id))


def test_who_rejected_a_record_does_not_decide_the_dispute_over_it() -> None:
    given(DISTRICT, REJECTION_HEARD).when(decide_dispute, DISMISS, actor=STAFF).refused(DecidedByParty("D1", "S2"))


@pytest.mark.parametrize(("after", "refused"), [(timedelta(0), True), (timedelta(days=7, hours=12), False)])
def test_it_is_decided_once_both_sides_were_heard_or_had_time_enough(after: timedelta, refused: bool) -> None:
    outcome = given(DISTRICT, IN_DISPUTE).when(decide_dispute, DISMISS, actor=JUDGE, now=NOW + after)
    if refused:
        outcome.refused(SidesNotHeard("D1", HEARING_UNTIL.isoformat(timespec="minutes")))
    else:
        assert outcome.accepted
    assert given(DISTRICT, HEARD).when(decide_dispute, DISMISS, actor=JUDGE, now=NOW + after).accepted


def test_a_dispute_is_decided_once_by_staff_of_its_community_if_it_exists() -> None:
    decided = (*HEARD, DisputeDismissed("D1", "R1", "S3"), RELEASED)
    for command in (UPHOLD, DISMISS):
        given(DISTRICT, decided).when(decide_dispute, command, actor=ADMIN).refused(DisputeClosed("D1", "dismissed"))
        given(DISTRICT, HEARD).when(decide_dispute, command, actor=STAFF_ELSEWHERE).refused(UnknownDispute("D1"))
        given(DISTRICT).when(decide_dispute, command, actor=JUDGE).refused(UnknownDispute("D1"))


def test_who_opened_a_dispute_may_take_it_back_and_nobody_else() -> None:
    past = given(DISTRICT, HEARD)
    past.when(withdraw_dispute, WITHDRAW, actor=RECIPIENT).then(DisputeWithdrawn("D1", "R1"), RELEASED)
    for other in (EARNER, STAFF, ADMIN):
        past.when(withdraw_dispute, WITHDRAW, actor=other).refused(WithdrawnByAnother("D1", other.id))
    past.when(withdraw_dispute, WITHDRAW, actor=STRANGER).refused(UnknownDispute("D1"))
    rejected = given(DISTRICT, REJECTION_HEARD)
    rejected.when(withdraw_dispute, WITHDRAW, actor=EARNER).then(DisputeWithdrawn("D1", "R1"))


# ── Escalation ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dispute_that_nobody_decides_in_time_escalates_once_and_by_itself() -> None:
    past, late = given(DISTRICT, HEARD), DECISION_DUE
    past.when(escalate_dispute, ESCALATE, actor=TIME, now=late).then(DisputeEscalated("D1"))
    past.when(escalate_dispute, ESCALATE, actor=TIME, now=late - timedelta(minutes=1)).refused(DisputeNotDue("D1"))
    past.when(escalate_dispute, ESCALATE, actor=ADMIN, now=late).refused(LeftToTime("A1"))
    escalated = given(DISTRICT, HEARD, DisputeEscalated("D1"))
    escalated.when(escalate_dispute, ESCALATE, actor=TIME, now=late).refused(DisputeNotDue("D1"))
    closed = given(DISTRICT, HEARD, DisputeWithdrawn("D1", "R1"))
    closed.when(escalate_dispute, ESCALATE, actor=TIME, now=late).refused(DisputeClosed("D1", "withdrawn"))


def test_an_escalated_dispute_is_decided_by_an_administrator() -> None:
    past = given(DISTRICT, HEARD, DisputeEscalated("D1"))
    past.when(decide_dispute, DISMISS, actor=JUDGE).refused(LeftToAdministrators("D1"))
    past.when(decide_dispute, DISMISS, actor=ADMIN).then(DisputeDismissed("D1", "R1", "A1"), RELEASED)


def test_the_days_are_those_of_the_policy_that_the_service_lives_under() -> None:
    facts = given(district(dispute_decision_days=4), CONFIRMED).when(open_dispute, disputing(), actor=STAFF).accepted
    assert isinstance(facts[0], DisputeOpened)
    assert facts[0].hearing_until == at("11-24 12:00")
    assert facts[0].decision_due == at("11-26 12:00")


def test_what_is_confirmed_after_a_dispute_needs_the_policys_evidence_too() -> None:
    past = (*district(evidence_min="recipient"), *REJECTION_HEARD)
    weak = EvidenceTooWeak("R1", "self", "recipient")
    given(past).when(decide_dispute, UPHOLD, actor=JUDGE).refused(weak)
    vouched = DisputeStatementGiven("D1", "recipient", "V3", "served")
    assert given(past, vouched).when(decide_dispute, UPHOLD, actor=JUDGE).accepted
    paper = EvidenceAttached("R1", "sheet", "ab" * 32, "S2", "staff")
    assert given(past, paper).when(decide_dispute, UPHOLD, actor=JUDGE).accepted
