"""Visits: whoever was there can show it, an open check-in never earns, and a grade never goes down."""

from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.community import OutsideCommunity, UnknownCommunity, UnknownGrid
from domain.decision import BY_TIME, Actor, LeftToTime
from domain.evidence import Attached, EvidenceAttached, EvidenceTooWeak
from domain.hours import (
    ConfirmHours,
    HoursLogged,
    InTheFuture,
    NotYourself,
    OwnHouseholdServed,
    RecordOverlaps,
    RecordTooShort,
    UnknownRecord,
    confirm,
    import_hours,
)
from domain.household import NotEnrolled, UnknownHousehold, UnknownMember
from domain.policy import NoPolicyInForce, Policy, PolicyAdopted
from domain.visit import (
    CODE_CHARACTERS,
    AttachEvidence,
    Attendance,
    CheckedIn,
    CheckIn,
    CheckOut,
    CloseVisit,
    DoorCode,
    DoorCodeExists,
    DoorCodeExpired,
    DoorCodeSpent,
    EvidenceAlreadyAttached,
    MakeDoorCode,
    MarkOverdue,
    OwnDoorCode,
    StillCheckedIn,
    UnknownDoorCode,
    UnknownVisit,
    Visit,
    VisitAlreadyBegun,
    VisitNotOpen,
    VisitNotOverdue,
    VisitTimesOutside,
    VisitTooLong,
    VoidVisit,
    attach_evidence,
    check_in,
    check_out,
    close_visit,
    code_hash,
    make_door_code,
    mark_overdue,
    void_visit,
)
from tests.controls import (
    CHECKED_IN,
    CHECKED_OUT,
    COMMAND_EXAMPLES,
    DISTRICT,
    DOOR_CODE,
    DOOR_CODE_MADE,
    EVIDENCE_ATTACHED,
    GRID,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    JINHU,
    STAFF,
    STAFF_ELSEWHERE,
    VISIT_CLOSED,
    VISIT_OVERDUE,
    VISIT_VOIDED,
    XINZHU,
    at,
    district,
    given,
    logged,
    volunteer,
)

V1, V3 = volunteer("V1"), volunteer("V3")
SYSTEM = Actor(BY_TIME, "admin")
SECOND_CODE = "9" * 16
SECOND_MADE = replace(DOOR_CODE_MADE, code_hash=code_hash(SECOND_CODE))
ALONE = replace(CHECKED_IN, evidence="self", code_hash=None)
NOON_RECORD = logged("R8", "11-22 10:30 - 12:00", logged_by="V1")


def checking_in(**changes: Any) -> CheckIn:
    return CheckIn.model_validate({"visit": "C1", "volunteer": "V1", "service": "助餐"} | changes)


# ── Codes for the door ───────────────────────────────────────────────────────────────────────────────────────


def test_the_household_makes_a_code_for_its_door_and_the_journal_holds_its_hash_alone() -> None:
    command = MakeDoorCode(household="H2", code_hash=code_hash(DOOR_CODE), valid_minutes=480)
    given(DISTRICT).when(make_door_code, command, actor=V3).then(DOOR_CODE_MADE)
    assert DOOR_CODE not in repr(DOOR_CODE_MADE)


def test_staff_make_a_code_for_a_household_of_their_community() -> None:
    command = MakeDoorCode(household="H2", code_hash=code_hash(DOOR_CODE), valid_minutes=480)
    given(DISTRICT).when(make_door_code, command).then(replace(DOOR_CODE_MADE, made_by="S2"))


@pytest.mark.parametrize("actor", [V1, volunteer("V4"), volunteer("V9"), STAFF_ELSEWHERE], ids=lambda a: a.id)
def test_nobody_else_makes_one(actor: Actor) -> None:
    command = MakeDoorCode(household="H2", code_hash=code_hash(DOOR_CODE))
    given(DISTRICT).when(make_door_code, command, actor=actor).refused(UnknownHousehold("H2"))


def test_a_code_is_made_once() -> None:
    command = MakeDoorCode(household="H2", code_hash=code_hash(DOOR_CODE))
    given(DISTRICT, DOOR_CODE_MADE).when(make_door_code, command).refused(DoorCodeExists("H2"))
    unknown = MakeDoorCode(household="H9", code_hash=code_hash(DOOR_CODE))
    given(DISTRICT).when(make_door_code, unknown).refused(UnknownHousehold("H9"))


@pytest.mark.parametrize("typed", ["7k3m-q2xd-9tbv-4hrn", " 7K3MQ2XD 9TBV4HRN ", "7K3M-Q2XD-9TBV-4HRN"])
def test_a_code_is_typed_as_people_do(typed: str) -> None:
    assert checking_in(code=typed).code == DOOR_CODE


def test_letters_that_look_like_digits_are_taken_for_them() -> None:
    assert checking_in(code="OIL1" * 4).code == "0111" * 4
    assert not set("OIL") & set(CODE_CHARACTERS)


@pytest.mark.parametrize("typed", ["7K3M", DOOR_CODE + "7", "７" * 16, "7K3M-Q2XD-9TBV-4HR!"])
def test_what_is_no_code_is_not_taken(typed: str) -> None:
    with pytest.raises(ValidationError, match="16"):
        checking_in(code=typed)


def test_a_code_says_which_household_it_is_so_nothing_else_does() -> None:
    with pytest.raises(ValidationError, match="leave that out"):
        checking_in(code=DOOR_CODE, recipient_household="H2")
    with pytest.raises(ValidationError, match="community"):
        checking_in(grid=GRID)


# ── Checking in ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_volunteer_checks_in_with_the_code_at_the_door() -> None:
    outcome = given(DISTRICT, DOOR_CODE_MADE).when(
        check_in, checking_in(code=DOOR_CODE), actor=V1, now=at("11-22 10:30").replace(second=59)
    )
    outcome.then(CHECKED_IN, policy=1)


def test_a_volunteer_checks_in_alone() -> None:
    command = checking_in(recipient_household="H2")
    given(DISTRICT).when(check_in, command, actor=V1, now=at("11-22 10:30")).then(ALONE)


def test_a_check_in_without_a_recipient_is_where_the_volunteer_lives_or_at_a_named_place() -> None:
    home = replace(ALONE, recipient_household=None, grid=())
    given(DISTRICT).when(check_in, checking_in(), actor=V1, now=at("11-22 10:30")).then(home)
    there = checking_in(community=JINHU)
    given(DISTRICT).when(check_in, there, actor=V1, now=at("11-22 10:30")).then(replace(home, community=JINHU))


def test_staff_who_are_there_check_a_volunteer_in() -> None:
    command = checking_in(recipient_household="H2")
    by_staff = replace(ALONE, checked_in_by="S2", evidence="staff")
    given(DISTRICT).when(check_in, command, now=at("11-22 10:30")).then(by_staff)


@pytest.mark.parametrize("person", ["V1", "V2"])
def test_staff_of_the_volunteers_own_household_give_no_more_than_the_volunteers_word(person: str) -> None:
    command = checking_in(recipient_household="H2")
    outcome = given(DISTRICT).when(check_in, command, actor=Actor(person, "staff", XINZHU), now=at("11-22 10:30"))
    outcome.then(replace(ALONE, checked_in_by=person))


def test_a_new_visit_is_numbered_by_its_command() -> None:
    (begun,) = given(DISTRICT).when(check_in, checking_in(visit=None), actor=V1).accepted
    assert isinstance(begun, CheckedIn)
    assert begun.visit == "01234567-89abcdef-01234567-89abcdef"


REFUSED_TO_CHECK_IN: list[tuple[dict[str, Any], Actor, Exception]] = [
    ({}, volunteer("V2"), NotYourself("V1")),
    ({"volunteer": "V9"}, STAFF, UnknownMember("V9")),
    ({"volunteer": "V3"}, V3, NotEnrolled("V3")),
    ({"recipient_household": "H1"}, V1, OwnHouseholdServed("H1")),
    ({"recipient_household": "H9"}, V1, UnknownHousehold("H9")),
    ({"community": "别处"}, V1, UnknownCommunity("别处")),
    ({"community": XINZHU, "grid": ("别处",)}, V1, UnknownGrid(XINZHU, "别处")),
    ({}, STAFF_ELSEWHERE, OutsideCommunity(XINZHU, JINHU)),
    ({"code": SECOND_CODE}, V1, UnknownDoorCode()),
]


@pytest.mark.parametrize(("changes", "actor", "refusal"), REFUSED_TO_CHECK_IN, ids=lambda x: type(x).__name__)
def test_a_check_in_against_the_rules_is_refused(changes: dict[str, Any], actor: Actor, refusal: Any) -> None:
    given(DISTRICT).when(check_in, checking_in(**changes), actor=actor).refused(refusal)


def test_a_visit_is_begun_once() -> None:
    given(DISTRICT, CHECKED_IN).when(check_in, checking_in(), actor=V1).refused(VisitAlreadyBegun("C1"))


def test_nobody_checks_in_before_there_are_rules() -> None:
    later = (*DISTRICT[:1], PolicyAdopted(1, date(2026, 12, 1), Policy()), *DISTRICT[2:])
    given(later).when(check_in, checking_in(), actor=V1).refused(NoPolicyInForce("2026-11-22"))


def test_a_code_is_spent_by_the_first_who_uses_it() -> None:
    spent = given(DISTRICT, DOOR_CODE_MADE, CHECKED_IN)
    again = checking_in(visit="C2", volunteer="V4", code=DOOR_CODE)
    spent.when(check_in, again, actor=volunteer("V4")).refused(DoorCodeSpent())
    assert not given(DOOR_CODE_MADE).state(DoorCode.of(DOOR_CODE_MADE.code_hash)).spent


def test_a_code_is_good_for_its_time() -> None:
    made, command = given(DISTRICT, DOOR_CODE_MADE), checking_in(code=DOOR_CODE)
    assert made.when(check_in, command, actor=V1, now=at("11-22 20:00")).accepted
    late = made.when(check_in, command, actor=V1, now=at("11-22 20:00").replace(second=1))
    late.refused(DoorCodeExpired("2026-11-22T20:00:00+08:00"))


@pytest.mark.parametrize("maker", ["V1", "V2"])
def test_a_code_that_the_volunteer_or_their_household_made_proves_nothing(maker: str) -> None:
    made = replace(DOOR_CODE_MADE, made_by=maker)
    given(DISTRICT, made).when(check_in, checking_in(code=DOOR_CODE), actor=V1).refused(OwnDoorCode("V1"))


def test_a_code_of_ones_own_door_serves_ones_own_household() -> None:
    made = replace(DOOR_CODE_MADE, household="H1", made_by="S1")
    given(DISTRICT, made).when(check_in, checking_in(code=DOOR_CODE), actor=V1).refused(OwnHouseholdServed("H1"))


def test_one_volunteer_is_at_one_place_at_a_time() -> None:
    command = checking_in(visit="C2")
    here = given(DISTRICT, CHECKED_IN)
    here.when(check_in, command, actor=V1).refused(StillCheckedIn("V1", "C1"))
    here.when(check_in, command, actor=V1, now=at("11-22 22:30")).refused(StillCheckedIn("V1", "C1"))
    yesterday = replace(CHECKED_IN, started_at=at("11-21 23:00"))
    given(DISTRICT, yesterday).when(check_in, command, actor=V1, now=at("11-22 11:00")).refused(
        StillCheckedIn("V1", "C1")
    )


def test_what_was_ended_or_is_past_the_limit_keeps_nobody_from_the_next_visit() -> None:
    command = checking_in(visit="C2")
    assert given(DISTRICT, CHECKED_IN).when(check_in, command, actor=V1, now=at("11-22 22:31")).accepted
    for ended in (CHECKED_OUT, VISIT_OVERDUE, VISIT_CLOSED, VISIT_VOIDED):
        assert given(DISTRICT, CHECKED_IN, ended).when(check_in, command, actor=V1).accepted
        assert given(CHECKED_IN, ended).state(Attendance.of("V1", date(2026, 11, 22))).open == ()


# ── Checking out ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_check_out_logs_the_visit_as_a_record_that_names_its_evidence() -> None:
    command = CheckOut(visit="C1", code=SECOND_CODE, record="R8")
    outcome = given(DISTRICT, DOOR_CODE_MADE, SECOND_MADE, CHECKED_IN).when(check_out, command, actor=V1)
    outcome.then(CHECKED_OUT, replace(NOON_RECORD, evidence="checked-in"), policy=1)


@pytest.mark.parametrize(
    ("at_the_start", "staff", "grade"),
    [
        ("self", False, "self"),
        ("checked-in", False, "self"),
        ("staff", False, "self"),
        ("self", True, "self"),
        ("checked-in", True, "checked-in"),
        ("staff", True, "staff"),
    ],
)
def test_the_record_has_the_weaker_grade_of_its_two_ends(at_the_start: Any, staff: bool, grade: str) -> None:
    begun = given(DISTRICT, replace(CHECKED_IN, evidence=at_the_start))
    out, record = begun.when(check_out, CheckOut(visit="C1", record="R8"), actor=STAFF if staff else V1).accepted
    assert isinstance(record, HoursLogged)
    assert record.evidence == grade
    assert out.evidence == ("staff" if staff else "self")  # type: ignore[attr-defined]


def test_a_break_is_left_out() -> None:
    command = CheckOut(visit="C1", record="R8", minutes=60)
    _, record = given(DISTRICT, CHECKED_IN).when(check_out, command, actor=V1).accepted
    assert record == replace(NOON_RECORD, claimed_minutes=60, service_minutes=60)


def test_the_record_keeps_the_place_and_the_rules_of_the_check_in() -> None:
    newer = PolicyAdopted(2, date(2026, 11, 22), Policy(record_minutes_min=120))
    begun = replace(ALONE, started_at=at("11-21 23:30"), community=JINHU, grid=())
    outcome = given(DISTRICT, newer, begun).when(
        check_out, CheckOut(visit="C1", record="R8"), actor=V1, now=at("11-22 00:30")
    )
    _, record = outcome.accepted
    expected = logged("R8", "11-21 23:30 - 11-22 00:30", logged_by="V1", community=JINHU, grid=())
    assert record == expected
    assert outcome.decided is not None
    assert outcome.decided.policy == 1


@pytest.mark.parametrize("actor", [volunteer("V2"), V3, STAFF_ELSEWHERE], ids=lambda a: a.id)
def test_nobody_checks_out_of_somebody_elses_visit(actor: Actor) -> None:
    begun = given(DISTRICT, CHECKED_IN)
    begun.when(check_out, CheckOut(visit="C1"), actor=actor).refused(UnknownVisit("C1"))
    begun.when(void_visit, VoidVisit(visit="C1", reason="mistake"), actor=actor).refused(UnknownVisit("C1"))


def test_a_visit_ends_once() -> None:
    for ended, status in (
        (CHECKED_OUT, "logged"),
        (VISIT_OVERDUE, "overdue"),
        (VISIT_CLOSED, "logged"),
        (VISIT_VOIDED, "voided"),
    ):
        over = given(DISTRICT, CHECKED_IN, ended)
        assert over.state(Visit.of("C1")).status == status
        over.when(check_out, CheckOut(visit="C1"), actor=V1).refused(VisitNotOpen("C1", status))
    given(DISTRICT).when(check_out, CheckOut(visit="C1"), actor=V1).refused(UnknownVisit("C1"))
    assert "逾期未签退" in VisitNotOpen("C1", "overdue").message_zh


def test_a_check_in_past_the_limit_never_earns_by_itself() -> None:
    begun = given(district(check_in_minutes_max=120, record_minutes_max=480), CHECKED_IN)
    command = CheckOut(visit="C1")
    assert begun.when(check_out, command, actor=V1, now=at("11-22 12:30")).accepted
    begun.when(check_out, command, actor=V1, now=at("11-22 12:31")).refused(VisitTooLong("C1", 120))
    begun.when(check_out, command, now=at("11-22 12:31")).refused(VisitTooLong("C1", 120))


def test_the_code_at_the_end_is_the_same_households() -> None:
    elsewhere = replace(SECOND_MADE, household="H3", made_by="V4")
    command = CheckOut(visit="C1", code=SECOND_CODE)
    given(DISTRICT, elsewhere, CHECKED_IN).when(check_out, command, actor=V1).refused(UnknownDoorCode())
    given(DISTRICT, CHECKED_IN).when(check_out, command, actor=V1).refused(UnknownDoorCode())
    same = CheckOut(visit="C1", code=DOOR_CODE)
    given(DISTRICT, DOOR_CODE_MADE, CHECKED_IN).when(check_out, same, actor=V1).refused(DoorCodeSpent())


def test_a_visit_keeps_the_rules_of_every_record() -> None:
    command = CheckOut(visit="C1")
    given(DISTRICT, CHECKED_IN).when(check_out, command, actor=V1, now=at("11-22 10:40")).refused(
        RecordTooShort(10, 15)
    )
    meeting = given(DISTRICT, CHECKED_IN, logged("R2", "11-22 11:00 - 11:30"))
    meeting.when(check_out, CheckOut(visit="C1", record="R8"), actor=V1).refused(RecordOverlaps("R8", "R2"))
    at_once = given(DISTRICT, CHECKED_IN).when(check_out, command, actor=V1, now=at("11-22 10:30"))
    at_once.refused(VisitTimesOutside("C1", "2026-11-22T10:30:00+08:00", "2026-11-22T10:30:00+08:00"))
    longer = given(DISTRICT, CHECKED_IN).when(check_out, CheckOut(visit="C1", minutes=91), actor=V1)
    longer.refused(VisitTimesOutside("C1", "2026-11-22T10:30:00+08:00", "2026-11-22T12:00:00+08:00"))


# ── Overdue ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_system_marks_what_nobody_checked_out_of() -> None:
    begun, command = given(DISTRICT, CHECKED_IN), MarkOverdue(visit="C1")
    begun.when(mark_overdue, command, actor=SYSTEM, now=at("11-22 22:30")).refused(VisitNotOverdue("C1", 720))
    begun.when(mark_overdue, command, actor=SYSTEM, now=at("11-22 22:31")).then(VISIT_OVERDUE, policy=1)
    begun.when(mark_overdue, command, now=at("11-22 22:31")).refused(LeftToTime("S2"))
    over = given(DISTRICT, CHECKED_IN, CHECKED_OUT)
    over.when(mark_overdue, command, actor=SYSTEM, now=at("11-22 22:31")).refused(VisitNotOpen("C1", "logged"))
    given(DISTRICT).when(mark_overdue, command, actor=SYSTEM).refused(UnknownVisit("C1"))


@pytest.mark.parametrize("overdue", [(), (VISIT_OVERDUE,)], ids=["open", "overdue"])
def test_staff_close_it_with_its_times_and_it_is_worth_the_volunteers_word(overdue: Any) -> None:
    command = CloseVisit(visit="C1", ended_at=at("11-22 11:30"), reason="forgotten", record="R8")
    outcome = given(DISTRICT, CHECKED_IN, *overdue).when(close_visit, command, now=at("11-23 09:00"))
    outcome.then(VISIT_CLOSED, logged("R8", "11-22 10:30 - 11:30", logged_by="S2"), policy=1)
    later = CloseVisit(visit="C1", started_at=at("11-22 10:45"), ended_at=at("11-22 11:30"), reason="forgotten")
    _, record = given(DISTRICT, CHECKED_IN, *overdue).when(close_visit, later, now=at("11-23 09:00")).accepted
    assert record.claimed_minutes == 45  # type: ignore[attr-defined]


def test_what_is_closed_late_says_that_the_visit_was_left_open() -> None:
    past = given(district(late_after_days=1, late_needs_reason=True), CHECKED_IN, VISIT_OVERDUE)
    command = CloseVisit(visit="C1", ended_at=at("11-22 11:30"), reason="forgotten", record="R8")
    *_, record = past.when(close_visit, command, now=at("11-25 09:00")).accepted
    assert record.late_reason == "visit-left-open"  # type: ignore[attr-defined]


def test_what_is_closed_lies_within_the_visit() -> None:
    overdue = given(DISTRICT, CHECKED_IN, VISIT_OVERDUE)
    outside = VisitTimesOutside("C1", "2026-11-22T10:30:00+08:00", "2026-11-22T22:30:00+08:00")
    for start, end, minutes in (
        (None, "11-22 10:30", None),
        ("11-22 10:29", "11-22 11:00", None),
        ("11-22 21:00", "11-22 22:31", None),
        (None, "11-22 11:00", 31),
    ):
        command = CloseVisit(
            visit="C1",
            started_at=start and at(start),
            ended_at=at(end),
            minutes=minutes,
            reason="forgotten",
        )
        overdue.when(close_visit, command, now=at("11-23 09:00")).refused(outside)


def test_staff_close_what_is_open_and_of_their_community_once_it_has_ended() -> None:
    command = CloseVisit(visit="C1", ended_at=at("11-22 12:30"), reason="device")
    given(DISTRICT).when(close_visit, command).refused(UnknownVisit("C1"))
    begun = given(DISTRICT, CHECKED_IN)
    begun.when(close_visit, command, actor=STAFF_ELSEWHERE).refused(UnknownVisit("C1"))
    begun.when(close_visit, command).refused(InTheFuture("2026-11-22T12:30:00+08:00"))
    given(DISTRICT, CHECKED_IN, CHECKED_OUT).when(close_visit, command).refused(VisitNotOpen("C1", "logged"))


@pytest.mark.parametrize(
    "time", ["2026-11-22T10:30:01+08:00", "1899-11-22T10:30:00+08:00", "2200-01-01T10:30:00+08:00"]
)
def test_times_are_whole_minutes_of_our_centuries(time: str) -> None:
    with pytest.raises(ValidationError, match="times must be"):
        CloseVisit.model_validate({"visit": "C1", "ended_at": time, "reason": "forgotten"})


@pytest.mark.parametrize("actor", [V1, STAFF], ids=lambda a: a.id)
def test_a_visit_that_came_to_nothing_is_voided(actor: Actor) -> None:
    command = VoidVisit(visit="C1", reason="mistake")
    for past in ((CHECKED_IN,), (CHECKED_IN, VISIT_OVERDUE)):
        given(DISTRICT, *past).when(void_visit, command, actor=actor).then(replace(VISIT_VOIDED, voided_by=actor.id))
    given(DISTRICT, CHECKED_IN, CHECKED_OUT).when(void_visit, command, actor=actor).refused(
        VisitNotOpen("C1", "logged")
    )


# ── Evidence ─────────────────────────────────────────────────────────────────────────────────────────────────

PHOTO = AttachEvidence(record="R1", kind="photo", sha256="cd" * 32)
PAPER = AttachEvidence(record="R1", kind="sheet", sha256="cd" * 32)


def test_a_paper_that_staff_hold_gives_a_record_the_grade_staff() -> None:
    given(DISTRICT, HOURS_LOGGED).when(attach_evidence, PAPER).then(EVIDENCE_ATTACHED)


@pytest.mark.parametrize(
    ("command", "actor"),
    [
        (PHOTO, STAFF),
        (PHOTO, V1),
        (PAPER, V1),
        (PAPER, volunteer("V2")),
        (PAPER, V3),
        (PAPER, Actor("V2", "staff", XINZHU)),
    ],
    ids=str,
)
def test_anything_else_is_there_to_be_looked_at_and_gives_no_grade(command: AttachEvidence, actor: Actor) -> None:
    attached = replace(EVIDENCE_ATTACHED, kind=command.kind, attached_by=actor.id, evidence="self")
    given(DISTRICT, HOURS_LOGGED).when(attach_evidence, command, actor=actor).then(attached)


def test_a_grade_never_goes_down() -> None:
    photo = PHOTO.model_copy(update={"sha256": "99" * 32})
    better = given(DISTRICT, replace(HOURS_LOGGED, evidence="recipient"))
    assert better.when(attach_evidence, photo).accepted[0].evidence == "recipient"  # type: ignore[attr-defined]
    (again,) = given(DISTRICT, HOURS_LOGGED, EVIDENCE_ATTACHED).when(attach_evidence, photo).accepted
    assert isinstance(again, EvidenceAttached)
    assert again.evidence == "staff"
    weak = replace(again, evidence="self")
    assert given(EVIDENCE_ATTACHED, weak).state(Attached.of("R1")).evidence == "staff"


def test_only_those_whom_a_record_concerns_attach_to_it_and_each_file_once() -> None:
    past = given(DISTRICT, HOURS_LOGGED, EVIDENCE_ATTACHED)
    for actor in (volunteer("V4"), volunteer("V9"), STAFF_ELSEWHERE):
        past.when(attach_evidence, PHOTO, actor=actor).refused(UnknownRecord("R1"))
    for actor in (STAFF, V1, V3):
        past.when(attach_evidence, PHOTO, actor=actor).refused(EvidenceAlreadyAttached("R1", "cd" * 32))
    alone = given(DISTRICT, replace(HOURS_LOGGED, recipient_household=None))
    alone.when(attach_evidence, PHOTO, actor=volunteer("V9")).refused(UnknownRecord("R1"))


def test_a_record_is_confirmed_on_no_less_than_the_policys_evidence() -> None:
    strict = district(evidence_min="checked-in")
    confirming = ConfirmHours(record="R1")
    given(strict, HOURS_LOGGED).when(confirm, confirming).refused(EvidenceTooWeak("R1", "self", "checked-in"))
    given(strict, replace(HOURS_LOGGED, evidence="checked-in")).when(confirm, confirming).then(HOURS_CONFIRMED)
    given(strict, HOURS_LOGGED, EVIDENCE_ATTACHED).when(confirm, confirming).then(HOURS_CONFIRMED)
    stricter = district(evidence_min="staff")
    photo = replace(EVIDENCE_ATTACHED, kind="photo", evidence="recipient")
    given(stricter, HOURS_LOGGED, photo).when(confirm, confirming).refused(EvidenceTooWeak("R1", "recipient", "staff"))
    assert "工作人员" in EvidenceTooWeak("R1", "recipient", "staff").message_zh


def test_the_household_that_was_served_is_evidence_by_itself() -> None:
    strict = given(district(evidence_min="recipient"), HOURS_LOGGED)
    strict.when(confirm, ConfirmHours(record="R1")).refused(EvidenceTooWeak("R1", "self", "recipient"))
    vouched = replace(HOURS_CONFIRMED, confirmed_by="V3", confirmed_as="recipient")
    strict.when(confirm, ConfirmHours(record="R1"), actor=Actor("V3", "volunteer")).then(vouched)
    (photo,) = given(DISTRICT, HOURS_LOGGED, vouched).when(attach_evidence, PHOTO).accepted
    assert photo.evidence == "recipient"  # type: ignore[attr-defined]


def test_what_older_books_confirmed_is_brought_in_whatever_evidence_is_asked_for_now() -> None:
    facts = (
        given(district(evidence_min="staff")).when(import_hours, COMMAND_EXAMPLES[import_hours], actor=STAFF).accepted
    )
    assert [fact.evidence for fact in facts if isinstance(fact, HoursLogged)] == ["self"]
