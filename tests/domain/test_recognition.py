"""Recognition: stars that come and go with what was served, and what staff put on a volunteer's record."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.decision import Actor, LeftToTime
from domain.household import (
    HouseholdClosed,
    MemberDied,
    MemberLeft,
    MemberMoved,
    NotEnrolled,
    UnknownMember,
)
from domain.policy import NoPolicyInForce
from domain.recognition import (
    LEVEL_ZH,
    REASON_ZH,
    SUBJECT_ZH,
    AwardHonour,
    DayToCome,
    Level,
    RecognisedByOwnHousehold,
    Recognition,
    RecognitionAlreadyRecorded,
    RecognitionAlreadyWithdrawn,
    RecognitionWithdrawn,
    RecordCommendation,
    RecordTraining,
    SettleStars,
    StarAwarded,
    Stars,
    StarsNotDue,
    StarWithdrawn,
    Subject,
    UnknownRecognition,
    WithdrawalReason,
    WithdrawRecognition,
    award_honour,
    record_commendation,
    record_training,
    settle_stars,
    stars_due,
    withdraw_recognition,
)
from tests.controls import (
    ADMIN,
    COMMAND_ID,
    COMMENDATION_RECORDED,
    DISTRICT,
    HONOUR_AWARDED,
    STAFF,
    STAFF_ELSEWHERE,
    TIME,
    TRAINING_RECORDED,
    district,
    given,
    volunteer,
)

HOURS = (6_000, 18_000, 36_000, 60_000, 90_000)
HONOUR = AwardHonour(recognition="N1", volunteer="V1", title="年度优秀志愿者", awarded_on=date(2026, 11, 20))
TRAINING = RecordTraining(
    recognition="N2", volunteer="V1", subject="first-aid", name="救护员初训", minutes=480, trained_on=date(2026, 10, 18)
)
COMMENDATION = RecordCommendation(
    recognition="N3", volunteer="V1", title="表扬信", organisation="新竹街道办事处", commended_on=date(2026, 11, 1)
)
ENTRIES = [
    (award_honour, HONOUR, HONOUR_AWARDED),
    (record_training, TRAINING, TRAINING_RECORDED),
    (record_commendation, COMMENDATION, COMMENDATION_RECORDED),
]
each = pytest.mark.parametrize(("decide", "command"), [entry[:2] for entry in ENTRIES])
each_entry = pytest.mark.parametrize(("decide", "command", "fact"), ENTRIES, ids=["honour", "training", "commendation"])


def served(minutes: int, position: int = 400) -> SettleStars:
    return SettleStars(volunteer="V1", service_minutes=minutes, counted_position=position)


def starred(*stars: int, position: int = 300) -> tuple[StarAwarded, ...]:
    return tuple(StarAwarded("V1", star, HOURS[star - 1], HOURS[star - 1], position) for star in stars)


# ── Stars ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hundred_hours_are_the_first_star_and_a_minute_less_is_none() -> None:
    given(DISTRICT).when(settle_stars, served(6_000), actor=TIME).then(
        StarAwarded("V1", 1, 6_000, 6_000, 400), policy=1
    )
    given(DISTRICT).when(settle_stars, served(5_999), actor=TIME).refused(StarsNotDue("V1"))


def test_all_stars_that_were_reached_are_awarded_at_once_and_each_once() -> None:
    given(DISTRICT).when(settle_stars, served(40_000), actor=TIME).then(
        *(StarAwarded("V1", star, HOURS[star - 1], 40_000, 400) for star in (1, 2, 3))
    )
    given(DISTRICT, starred(1, 2)).when(settle_stars, served(40_000), actor=TIME).then(
        StarAwarded("V1", 3, 36_000, 40_000, 400)
    )
    given(DISTRICT, starred(1, 2, 3)).when(settle_stars, served(40_000), actor=TIME).refused(StarsNotDue("V1"))


def test_a_star_lost_by_a_reversal_is_withdrawn_and_can_be_reached_again() -> None:
    lost = StarWithdrawn("V1", 2, 17_940, 400)
    given(DISTRICT, starred(1, 2)).when(settle_stars, served(17_940), actor=TIME).then(lost)
    again = served(18_000, position=500)
    given(DISTRICT, starred(1, 2), lost).when(settle_stars, again, actor=TIME).then(
        StarAwarded("V1", 2, 18_000, 18_000, 500)
    )


def test_a_new_policy_takes_no_star_away_and_awards_what_is_easier_now() -> None:
    held = starred(1)
    harder = district(star_minutes=(12_000,))
    given(harder, held).when(settle_stars, served(6_000), actor=TIME).refused(StarsNotDue("V1"))
    given(harder, held).when(settle_stars, served(5_999), actor=TIME).then(StarWithdrawn("V1", 1, 5_999, 400))
    easier = district(star_minutes=(3_000, 5_000))
    given(easier, held).when(settle_stars, served(5_000), actor=TIME).then(StarAwarded("V1", 2, 5_000, 5_000, 400))
    given(district(star_minutes=()), held).when(settle_stars, served(90_000), actor=TIME).refused(StarsNotDue("V1"))


def test_what_was_counted_before_the_last_time_changes_nothing() -> None:
    given(DISTRICT, starred(1, position=401)).when(settle_stars, served(18_000), actor=TIME).refused(StarsNotDue("V1"))
    given(DISTRICT, starred(1, position=400)).when(settle_stars, served(18_000), actor=TIME).then(
        StarAwarded("V1", 2, 18_000, 18_000, 400)
    )


def test_somebody_who_died_is_awarded_no_star_and_may_still_lose_one() -> None:
    facts = (*DISTRICT, *starred(1), MemberDied("V1", "H1"))
    given(facts).when(settle_stars, served(18_000), actor=TIME).refused(StarsNotDue("V1"))
    given(facts).when(settle_stars, served(5_000), actor=TIME).then(StarWithdrawn("V1", 1, 5_000, 400))
    left = (*DISTRICT, MemberLeft("V1", "H1"))
    assert given(left).when(settle_stars, served(6_000), actor=TIME).accepted


def test_stars_are_left_to_time_and_need_a_policy() -> None:
    for actor in (ADMIN, STAFF, volunteer("V1")):
        given(DISTRICT).when(settle_stars, served(6_000), actor=actor).refused(LeftToTime(actor.id))
    unruled = [fact for fact in DISTRICT if fact.type != "policy-adopted.v2"]
    given(unruled).when(settle_stars, served(6_000), actor=TIME).refused(NoPolicyInForce("2026-11-22"))


@hypothesis_given(
    counts=st.lists(st.tuples(st.integers(0, 120), st.sampled_from([(30, 60, 90), (40, 50), (), (10,)])), max_size=12)
)
def test_whatever_is_counted_under_whatever_policy_stars_settle_at_once(
    counts: list[tuple[int, tuple[int, ...]]],
) -> None:
    """What is due once is done once: after it nothing is due, every star held is earned, and none twice."""
    held: dict[int, int] = {}
    for minutes, star_minutes in counts:
        awarded, lost = stars_due(tuple(held.items()), minutes, star_minutes)
        assert not set(awarded) & held.keys()
        assert set(lost) <= held.keys()
        held = {star: of for star, of in held.items() if star not in lost}
        held |= {star: star_minutes[star - 1] for star in awarded}
        assert all(minutes >= of or star_minutes[star - 1] <= minutes for star, of in held.items())
        assert {star for star, of in enumerate(star_minutes, 1) if minutes >= of} <= held.keys()
        assert stars_due(tuple(held.items()), minutes, star_minutes) == ((), ())


# ── Honours, training, commendations ─────────────────────────────────────────────────────────────────────────


@each_entry
def test_staff_put_it_on_the_record(decide: Any, command: Any, fact: Any) -> None:
    given(DISTRICT).when(decide, command).then(fact)
    (unnamed,) = given(DISTRICT).when(decide, command.model_copy(update={"recognition": None})).accepted
    number = "-".join(COMMAND_ID[start : start + 8] for start in (0, 8, 16, 24))
    assert unnamed == replace(fact, recognition=number)


@each_entry
def test_a_number_is_used_once_even_after_it_was_withdrawn(decide: Any, command: Any, fact: Any) -> None:
    refused = RecognitionAlreadyRecorded(command.recognition)
    given(DISTRICT, fact).when(decide, command).refused(refused)
    withdrawn = RecognitionWithdrawn(command.recognition, "S2", "mistake")
    given(DISTRICT, fact, withdrawn).when(decide, command).refused(refused)


@each_entry
def test_nobody_recognises_themselves_or_their_own_household(decide: Any, command: Any, fact: Any) -> None:
    own = Actor("V1", "staff", STAFF.community)
    given(DISTRICT).when(decide, command, actor=own).refused(RecognisedByOwnHousehold("V1", "V1"))
    relative = Actor("V2", "admin")
    given(DISTRICT).when(decide, command, actor=relative).refused(RecognisedByOwnHousehold("V1", "V2"))
    given(DISTRICT, fact).when(
        withdraw_recognition, WithdrawRecognition(recognition=command.recognition, reason="other"), actor=relative
    ).refused(RecognisedByOwnHousehold("V1", "V2"))
    alone = (*DISTRICT, MemberLeft("V1", "H1"))
    given(alone).when(decide, command, actor=Actor("V1", "admin")).refused(RecognisedByOwnHousehold("V1", "V1"))
    assert given(DISTRICT).when(decide, command, actor=Actor("V3", "staff", STAFF.community)).accepted


@each
def test_only_volunteers_of_the_staffs_community_are_recognised(decide: Any, command: Any) -> None:
    given(DISTRICT).when(decide, command, actor=STAFF_ELSEWHERE).refused(UnknownMember("V1"))
    nobody = command.model_copy(update={"volunteer": "V99"})
    given(DISTRICT).when(decide, nobody, actor=ADMIN).refused(UnknownMember("V99"))
    member = command.model_copy(update={"volunteer": "V3"})
    given(DISTRICT).when(decide, member).refused(NotEnrolled("V3"))
    moved = (*DISTRICT, MemberMoved("V1", "H1", "H3"))
    given(moved).when(decide, command).refused(UnknownMember("V1"))
    assert given(moved).when(decide, command, actor=STAFF_ELSEWHERE).accepted


@pytest.mark.parametrize(
    "gone",
    [MemberLeft("V1", "H1"), MemberDied("V1", "H1"), HouseholdClosed("H1", "other", "pool:新竹社区", ("V1", "V2"))],
)
def test_who_belongs_to_no_household_is_recognised_by_the_district(gone: Any) -> None:
    given(DISTRICT, gone).when(award_honour, HONOUR).refused(UnknownMember("V1"))
    given(DISTRICT, gone).when(award_honour, HONOUR, actor=ADMIN).then(replace(HONOUR_AWARDED, awarded_by="A1"))


@each
def test_a_day_must_have_come(decide: Any, command: Any) -> None:
    field = next(name for name in ("awarded_on", "trained_on", "commended_on") if hasattr(command, name))
    today, tomorrow = (command.model_copy(update={field: date(2026, 11, day)}) for day in (22, 23))
    assert given(DISTRICT).when(decide, today).accepted
    given(DISTRICT).when(decide, tomorrow).refused(DayToCome("2026-11-23"))


def test_another_training_needs_its_name_and_no_name_holds_personal_data() -> None:
    with pytest.raises(ValidationError, match="needs its name"):
        RecordTraining(volunteer="V1", subject="other", minutes=60, trained_on=date(2026, 1, 1))
    assert RecordTraining(volunteer="V1", subject="other", name="编织", minutes=60, trained_on=date(2026, 1, 1))
    for name in ("13812345678", "课程 13812345678", "a/b", ""):
        with pytest.raises(ValidationError):
            AwardHonour(volunteer="V1", title=name, awarded_on=date(2026, 1, 1))


# ── Withdrawn ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fact", [entry[2] for entry in ENTRIES], ids=lambda fact: fact.type)
def test_an_entry_is_withdrawn_once_for_a_reason(fact: Any) -> None:
    withdrawal = WithdrawRecognition(recognition=fact.recognition, reason="wrong-person")
    withdrawn = RecognitionWithdrawn(fact.recognition, "S2", "wrong-person")
    given(DISTRICT, fact).when(withdraw_recognition, withdrawal).then(withdrawn)
    given(DISTRICT, fact, withdrawn).when(withdraw_recognition, withdrawal, actor=ADMIN).refused(
        RecognitionAlreadyWithdrawn(fact.recognition)
    )
    assert given(fact, withdrawn).state(Recognition.of(fact.recognition)) == Recognition(fact.recognition, fact, True)


def test_what_is_not_there_or_elsewhere_is_unknown() -> None:
    withdrawal = WithdrawRecognition(recognition="N1", reason="mistake")
    given(DISTRICT).when(withdraw_recognition, withdrawal).refused(UnknownRecognition("N1"))
    given(DISTRICT, HONOUR_AWARDED).when(withdraw_recognition, withdrawal, actor=STAFF_ELSEWHERE).refused(
        UnknownRecognition("N1")
    )


def test_every_fixed_word_has_its_chinese() -> None:
    assert [*LEVEL_ZH] == [*Level.__args__]  # type: ignore[attr-defined]
    assert [*SUBJECT_ZH] == [*Subject.__args__]  # type: ignore[attr-defined]
    assert [*REASON_ZH] == [*WithdrawalReason.__args__]  # type: ignore[attr-defined]


def test_stars_are_folded_by_volunteer() -> None:
    facts = (*starred(1, 2), StarAwarded("V2", 1, 6_000, 6_000, 350), StarWithdrawn("V1", 1, 5_000, 500))
    assert given(facts).state(Stars.of("V1")) == Stars(((2, 18_000),), 500)
    assert given(facts).state(Stars.of("V2")) == Stars(((1, 6_000),), 350)
