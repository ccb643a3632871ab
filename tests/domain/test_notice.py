"""Notices: who is told what of which fact, what time alone reminds of, and what is never told."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from string import Formatter
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from domain.account import MinutesDonated, Reason
from domain.certificate import RevocationReason
from domain.decision import drive
from domain.dispute import DisputeStatementGiven
from domain.fact import Fact, Recorded
from domain.household import MemberLeft, MemberRegistered
from domain.notice import (
    DISPUTE_LEAD,
    KINDS,
    LAPSE_LEAD,
    NO_NEWS,
    REASONS_ZH,
    REQUEST_LEAD,
    RESERVATION_LEAD,
    WORDS_ZH,
    Notice,
    Notices,
    Telling,
    digest,
    news,
    remind_of_dispute,
    remind_of_expiry,
    remind_of_request,
    remind_of_reservation,
)
from domain.recognition import SUBJECT_ZH, Subject, WithdrawalReason
from tests.controls import (
    BALANCE_PAID_IN,
    BALANCE_TAKEN_ALONG,
    CERTIFICATE_CODE,
    CERTIFICATE_ISSUED,
    CERTIFICATE_REVOKED,
    CHECKED_IN,
    COMMENDATION_RECORDED,
    DISPUTE_DISMISSED,
    DISPUTE_ESCALATED,
    DISPUTE_OPENED,
    DISPUTE_STATEMENT_GIVEN,
    DISPUTE_UPHELD,
    DISPUTE_WITHDRAWN,
    DISTRICT,
    EXPIRY_ANNOUNCED,
    EXPIRY_CALLED_OFF,
    FACT_EXAMPLES,
    FINDING_ANSWERED,
    FINDING_CLOSED,
    FINDING_RECORDED,
    GRANT_APPROVED,
    GRANT_PROPOSED,
    HONOUR_AWARDED,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    HOURS_REJECTED,
    HOURS_REVERSED,
    HOUSEHOLD_CLOSED,
    HOUSEHOLD_MERGED,
    HOUSEHOLD_MOVE_CALLED_OFF,
    HOUSEHOLD_MOVE_PLANNED,
    HOUSEHOLD_MOVED,
    MEMBER_DIED,
    MINUTES_DONATED,
    MINUTES_EXPIRED,
    MINUTES_GRANTED,
    MINUTES_TRANSFERRED,
    NOW,
    OBJECTION_DISMISSED,
    OBJECTION_RAISED,
    OBJECTION_UPHELD,
    OFFER_ACCEPTED,
    OFFER_MADE,
    OFFER_WITHDRAWN,
    OPENING_BALANCE_CREDITED,
    PARTNER_SETTLED,
    PERIOD_SEALED,
    POLICY_ADOPTED,
    POLICY_PROPOSED,
    RECOGNITION_WITHDRAWN,
    REDEMPTION_REVERSED,
    REQUEST_ASKED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    REQUEST_FOLLOWED,
    REQUEST_RESCHEDULED,
    RESERVATION_GIVEN_UP,
    RESERVATION_RELEASED,
    REWARD_COLLECTED,
    REWARD_RESERVED,
    SAMPLE_DRAWN,
    STAR_AWARDED,
    STAR_WITHDRAWN,
    STARTING_MINUTES_GRANTED,
    TRAINING_RECORDED,
    VISIT_OVERDUE,
    XINZHU,
    at,
    given,
    logged,
)
from tests.controls import envelope as enveloped

POSITION = 77
XINZHU_STAFF = "staff:" + XINZHU
EARNER, HOUSEMATE, SERVED = "person:V1", "person:V2", "person:V3"
DISPUTED = (logged("R3", "10-30 09:00 - 10:00"), DISPUTE_OPENED)
OBJECTED = (PERIOD_SEALED, OBJECTION_RAISED)
AGREED = (REQUEST_ASKED, OFFER_MADE, OFFER_ACCEPTED)


def told(telling: Telling, *past: Fact | Iterable[Fact]) -> Notices:
    """What is told after all that has happened."""
    notices: Any = drive(telling, given(*past).state)  # type: ignore[arg-type]
    return tuple(notices)


def news_of(fact: Fact, *past: Fact | Iterable[Fact], by: str = "S2", **changes: Any) -> Notices:
    envelope = replace(enveloped(fact), actor=by, **changes)
    return told(news(Recorded(POSITION, 1_800_000_000_000_000, envelope)), DISTRICT, *past)


NEWS: dict[str, tuple[Fact, tuple[Fact, ...], str, str, set[str]]] = {
    "hours were confirmed": (HOURS_CONFIRMED, (HOURS_LOGGED,), "S2", "hours-confirmed", {EARNER}),
    "hours were rejected": (HOURS_REJECTED, (HOURS_LOGGED,), "S2", "hours-rejected", {EARNER}),
    "hours were reversed": (HOURS_REVERSED, (HOURS_LOGGED, HOURS_CONFIRMED), "S2", "hours-reversed", {EARNER}),
    "a check-in was forgotten": (VISIT_OVERDUE, (CHECKED_IN,), "@due", "visit-overdue", {XINZHU_STAFF, EARNER}),
    "the served side opened a dispute": (
        *(DISPUTE_OPENED, DISPUTED[:1], "V3", "dispute-opened"),
        {XINZHU_STAFF, EARNER},
    ),
    "the earner opened a dispute": (
        *(replace(DISPUTE_OPENED, opened_by="V1", side="earner"), DISPUTED[:1], "V1", "dispute-opened"),
        {XINZHU_STAFF, SERVED},
    ),
    "a side was heard": (DISPUTE_STATEMENT_GIVEN, DISPUTED, "V1", "dispute-heard", {XINZHU_STAFF, SERVED}),
    "nobody decided": (DISPUTE_ESCALATED, DISPUTED, "@due", "dispute-escalated", {"admins"}),
    "a dispute was upheld": (DISPUTE_UPHELD, DISPUTED, "A1", "dispute-upheld", {XINZHU_STAFF, EARNER, SERVED}),
    "a dispute was dismissed": (DISPUTE_DISMISSED, DISPUTED, "A1", "dispute-dismissed", {XINZHU_STAFF, EARNER, SERVED}),
    "a dispute was withdrawn": (DISPUTE_WITHDRAWN, DISPUTED, "V3", "dispute-withdrawn", {XINZHU_STAFF, EARNER}),
    "a volunteer offered": (OFFER_MADE, (REQUEST_ASKED,), "V1", "offer-made", {SERVED}),
    "an offer was accepted": (OFFER_ACCEPTED, AGREED[:2], "V3", "offer-accepted", {EARNER}),
    "a volunteer can't come": (OFFER_WITHDRAWN, AGREED, "V1", "offer-withdrawn", {SERVED}),
    "staff took an offer back": (OFFER_WITHDRAWN, AGREED, "S2", "offer-withdrawn", {SERVED, EARNER}),
    "a volunteer died": (OFFER_WITHDRAWN, (*AGREED, MEMBER_DIED), "@due", "offer-lapsed", {SERVED}),
    "a volunteer left": (OFFER_WITHDRAWN, (*AGREED, MemberLeft("V1", "H1")), "@due", "offer-lapsed", {SERVED, EARNER}),
    "a request follows its household": (
        *(replace(REQUEST_FOLLOWED, household="H2"), AGREED, "@due", "request-followed"),
        {SERVED, EARNER},
    ),
    "a request comes to another household": (REQUEST_FOLLOWED, AGREED[:1], "V1", "request-followed", {HOUSEMATE}),
    "a household wants another time": (REQUEST_RESCHEDULED, AGREED, "V3", "request-rescheduled", {EARNER}),
    "staff set another time": (REQUEST_RESCHEDULED, AGREED[:2], "S2", "request-rescheduled", {EARNER, SERVED}),
    "a household took it back": (REQUEST_CANCELLED, AGREED, "V3", "request-cancelled", {EARNER}),
    "a request's time is over": (REQUEST_EXPIRED, AGREED, "@due", "request-expired", {EARNER, SERVED}),
    "nobody had come": (replace(REQUEST_EXPIRED, volunteer=None), AGREED[:1], "@due", "request-expired", {SERVED}),
    "a reward was reserved": (REWARD_RESERVED, (), "V3", "reward-reserved", {SERVED}),
    "a reward was collected": (REWARD_COLLECTED, (REWARD_RESERVED,), "P1", "reward-collected", {SERVED}),
    "a reservation was released": (RESERVATION_RELEASED, (REWARD_RESERVED,), "@due", "reservation-released", {SERVED}),
    "a redemption was reversed": (
        *(REDEMPTION_REVERSED, (REWARD_RESERVED, REWARD_COLLECTED), "S2", "redemption-reversed"),
        {SERVED},
    ),
    "minutes were given": (MINUTES_TRANSFERRED, (), "V1", "transfer-received", {SERVED}),
    "a group gave minutes": (
        *(MinutesDonated("group:G1", "household:H2", 60, "V1", "illness"), (), "V1", "donation-received"),
        {SERVED},
    ),
    "minutes were granted": (MINUTES_GRANTED, (), "S2", "grant-received", {SERVED}),
    "a grant was approved": (GRANT_APPROVED, (), "S2", "grant-received", {SERVED}),
    "a starting grant was given": (STARTING_MINUTES_GRANTED, (), "S2", "grant-received", {SERVED}),
    "a grant was proposed": (GRANT_PROPOSED, (), "S1", "grant-proposed", {XINZHU_STAFF}),
    "older books were credited": (OPENING_BALANCE_CREDITED, (), "A1", "opening-balance-credited", {SERVED}),
    "a balance was paid in": (BALANCE_PAID_IN, (), "S2", "balance-paid-in", {SERVED}),
    "a balance was taken along": (BALANCE_TAKEN_ALONG, (), "S2", "statement-issued", {EARNER, HOUSEMATE}),
    "a partner was settled with": (PARTNER_SETTLED, (), "A1", "partner-settled", {"person:P1"}),
    "a planned move was made": (replace(HOUSEHOLD_MOVED, planned=True), (), "@due", "household-moved", {SERVED}),
    "a planned move was called off": (
        *(HOUSEHOLD_MOVE_CALLED_OFF, (HOUSEHOLD_MOVE_PLANNED,), "S2", "household-move-called-off"),
        {SERVED},
    ),
    "two households became one": (HOUSEHOLD_MERGED, (), "S2", "household-merged", {EARNER, HOUSEMATE, SERVED}),
    "a household was closed": (HOUSEHOLD_CLOSED, (), "S2", "household-closed", {EARNER, HOUSEMATE}),
    "a star was won": (STAR_AWARDED, (), "@due", "star-awarded", {EARNER}),
    "a star was lost": (STAR_WITHDRAWN, (STAR_AWARDED,), "@due", "star-withdrawn", {EARNER}),
    "an honour was given": (HONOUR_AWARDED, (), "S2", "honour-awarded", {EARNER}),
    "a training was recorded": (TRAINING_RECORDED, (), "S2", "training-recorded", {EARNER}),
    "a commendation was recorded": (COMMENDATION_RECORDED, (), "S2", "commendation-recorded", {EARNER}),
    "an honour was withdrawn": (RECOGNITION_WITHDRAWN, (HONOUR_AWARDED,), "S2", "recognition-withdrawn", {EARNER}),
    "a certificate was issued": (CERTIFICATE_ISSUED, (), "S2", "certificate-issued", {EARNER}),
    "a certificate was revoked": (CERTIFICATE_REVOKED, (CERTIFICATE_ISSUED,), "S2", "certificate-revoked", {EARNER}),
    "minutes will lapse": (EXPIRY_ANNOUNCED, (), "@due", "expiry-announced", {EARNER, HOUSEMATE}),
    "minutes lapsed": (MINUTES_EXPIRED, (), "@due", "minutes-expired", {EARNER, HOUSEMATE}),
    "nothing lapsed": (EXPIRY_CALLED_OFF, (), "@due", "expiry-called-off", {EARNER, HOUSEMATE}),
    "there are new rules": (POLICY_ADOPTED, (), "A1", "policy-adopted", {"everybody"}),
    "rules were proposed": (POLICY_PROPOSED, (), "A2", "policy-proposed", {"admins"}),
    "a month was disclosed": (PERIOD_SEALED, (), "A1", "period-sealed", {"everybody"}),
    "a resident objected": (OBJECTION_RAISED, (PERIOD_SEALED,), "V3", "objection-raised", {XINZHU_STAFF}),
    "an objection was upheld": (OBJECTION_UPHELD, OBJECTED, "S2", "objection-upheld", {SERVED}),
    "an objection was dismissed": (OBJECTION_DISMISSED, OBJECTED, "S2", "objection-dismissed", {SERVED}),
    "something was found": (FINDING_RECORDED, (SAMPLE_DRAWN,), "U1", "finding-recorded", {XINZHU_STAFF}),
    "something was found that is the district's": (
        *(replace(FINDING_RECORDED, record=None, community=None), (), "U1", "finding-recorded"),
        {"admins"},
    ),
    "a finding was answered": (FINDING_ANSWERED, (FINDING_RECORDED,), "S1", "finding-answered", {"person:U1"}),
    "a finding was closed": (FINDING_CLOSED, (FINDING_RECORDED,), "U1", "finding-closed", {XINZHU_STAFF}),
}


@pytest.mark.parametrize(("fact", "past", "by", "kind", "recipients"), NEWS.values(), ids=NEWS)
def test_whom_a_fact_concerns_is_told(
    fact: Fact, past: tuple[Fact, ...], by: str, kind: str, recipients: set[str]
) -> None:
    notices = news_of(fact, past, by=by)
    assert {notice.recipient for notice in notices} == recipients
    assert {notice.kind for notice in notices} == {kind}
    assert len({notice.key for notice in notices}) == len(notices)
    for notice in notices:
        assert_readable(notice)


def assert_readable(notice: Notice) -> None:
    assert notice.key.startswith(notice.kind + ":")
    assert notice.key.endswith(":" + notice.recipient)
    for text in (notice.text_zh, notice.text_en):
        assert text and "{" not in text and "None" not in text  # noqa: PT018
    for name, value in notice.parts.items():
        if name not in WORDS_ZH:
            assert str(value) in notice.text_zh + notice.text_en or name in ("record", "partner")


def test_a_key_names_what_it_is_about_when_and_whom() -> None:
    (notice,) = news_of(HOURS_CONFIRMED, HOURS_LOGGED)
    assert notice == Notice(
        "hours-confirmed:R1:77:person:V1", "hours-confirmed", "person:V1", {"record": "R1", "minutes": 90}
    )
    assert notice.text_zh == "服务记录“R1”已确认，90 分钟已存入。"
    assert notice.text_en == "Service record “R1” was confirmed: 90 minutes."
    (granted,) = news_of(MINUTES_GRANTED)
    assert granted.key == "grant-received:77:person:V3"


def test_a_reason_is_told_in_both_languages() -> None:
    (notice,) = news_of(HOURS_REJECTED, HOURS_LOGGED)
    assert "未提供服务" in notice.text_zh
    assert "not-served" in notice.text_en
    reasons = (get_args(words) for words in (Reason, WithdrawalReason, RevocationReason))
    assert set(REASONS_ZH) == {"imported"}.union(*reasons)
    (revoked,) = news_of(CERTIFICATE_REVOKED, CERTIFICATE_ISSUED)
    assert revoked.text_zh == "您的志愿服务证明“2026-000001”已作废：有误。"


def test_the_subject_of_a_training_is_told_in_both_languages() -> None:
    (notice,) = news_of(TRAINING_RECORDED)
    assert notice.text_zh == "您的培训已登记：急救，480 分钟（编号“N2”）。"
    assert notice.text_en == "A training of yours was recorded: first-aid, 480 minutes (number “N2”)."
    assert set(SUBJECT_ZH) == set(get_args(Subject))


def test_of_several_stars_that_come_at_once_the_highest_is_told() -> None:
    at_once = [replace(STAR_AWARDED, star=star, service_minutes=36_000) for star in (1, 2, 3)]
    assert [len(news_of(fact, policy=1)) for fact in at_once] == [0, 0, 1]
    below = replace(STAR_AWARDED, star=2, service_minutes=35_999)
    assert [one.parts["star"] for one in news_of(below, policy=1)] == [2]


@pytest.mark.parametrize(
    ("fact", "past"),
    [
        (STAR_AWARDED, ()),
        (STAR_WITHDRAWN, (STAR_AWARDED,)),
        (HONOUR_AWARDED, ()),
        (TRAINING_RECORDED, ()),
        (COMMENDATION_RECORDED, ()),
        (RECOGNITION_WITHDRAWN, (HONOUR_AWARDED,)),
        (CERTIFICATE_ISSUED, ()),
        (CERTIFICATE_REVOKED, (CERTIFICATE_ISSUED,)),
    ],
    ids=lambda fact: getattr(fact, "type", ""),
)
def test_what_is_recorded_of_somebody_who_died_is_told_to_nobody(fact: Fact, past: tuple[Fact, ...]) -> None:
    assert news_of(fact, past, MEMBER_DIED) == ()


def test_a_certificates_notice_names_its_number_period_and_minutes_and_no_code_nor_digest() -> None:
    (notice,) = news_of(CERTIFICATE_ISSUED)
    assert notice.key == "certificate-issued:2026-000001:77:person:V1"
    assert set(notice.parts) == {"certificate", "since", "until", "public_until", "minutes"}
    told_of = f"{notice}{notice.text_zh}{notice.text_en}"
    for secret in (CERTIFICATE_CODE, CERTIFICATE_ISSUED.code_sha256, CERTIFICATE_ISSUED.kept_sha256):
        assert secret not in told_of


def test_a_move_that_was_not_planned_and_a_household_that_left_for_another_ledger_are_told_otherwise_or_not() -> None:
    """Who comes to the desk knows of the one; the statement tells of the other."""
    assert news_of(HOUSEHOLD_MOVED) == ()
    assert news_of(replace(HOUSEHOLD_CLOSED, cause="left-for-ledger")) == ()


def test_what_was_brought_in_from_older_books_is_no_news() -> None:
    for fact, past, by, *_ in NEWS.values():
        assert news_of(fact, past, by=by, imported=True) == ()


@pytest.mark.parametrize("fact", FACT_EXAMPLES, ids=lambda fact: fact.type)
def test_a_fact_whose_past_is_unknown_is_told_to_nobody_it_does_not_name(fact: Fact) -> None:
    for notice in told(news(Recorded(POSITION, 0, enveloped(fact)))):
        assert_readable(notice)


def test_logging_hours_is_no_news() -> None:
    assert news_of(HOURS_LOGGED) == ()
    for fact, past, by, *_ in NEWS.values():
        assert fact.type not in NO_NEWS or news_of(fact, past, by=by) == ()


def test_minutes_given_to_a_pool_concern_no_household() -> None:
    assert news_of(MINUTES_DONATED) == ()


def test_only_who_belongs_to_the_household_at_the_time_is_told() -> None:
    later = MemberRegistered("V9", "H2")
    assert {one.recipient for one in news_of(MINUTES_GRANTED)} == {SERVED}
    assert {one.recipient for one in news_of(MINUTES_GRANTED, later)} == {SERVED, "person:V9"}


def test_a_notice_holds_ids_titles_minutes_and_times_and_no_code_digest_or_need() -> None:
    for fact, past, by, *_ in NEWS.values():
        for notice in news_of(fact, past, by=by):
            assert all(isinstance(value, int | str) for value in notice.parts.values())
            secrets = {"code_sha256", "text_digest", "need", "statement_digest"}
            assert not secrets & notice.parts.keys()


# ── Reminders ────────────────────────────────────────────────────────────────────────────────────────────────

RESERVED_UNTIL = REWARD_RESERVED.expires_at
HEARING_UNTIL, DECISION_DUE = DISPUTE_OPENED.hearing_until, DISPUTE_OPENED.decision_due
BEGINS = REQUEST_RESCHEDULED.earliest_at
SECOND = timedelta(seconds=1)


def kinds(notices: Notices) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for notice in notices:
        assert_readable(notice)
        found.setdefault(notice.kind, set()).add(notice.recipient)
    return found


@pytest.mark.parametrize(
    ("now", "reminded"),
    [
        (RESERVED_UNTIL - RESERVATION_LEAD - SECOND, False),
        (RESERVED_UNTIL - RESERVATION_LEAD, True),
        (RESERVED_UNTIL - SECOND, True),
        (RESERVED_UNTIL, False),
    ],
)
def test_a_reservation_is_reminded_of_within_its_last_day(now: datetime, reminded: bool) -> None:
    notices = told(remind_of_reservation("RV1", now), REWARD_RESERVED)
    assert kinds(notices) == ({"reservation-ends": {SERVED}} if reminded else {})
    assert {one.key for one in notices} <= {"reservation-ends:RV1:person:V3"}


@pytest.mark.parametrize(
    "past",
    [
        (),
        (REWARD_RESERVED, REWARD_COLLECTED),
        (REWARD_RESERVED, RESERVATION_GIVEN_UP),
        (REWARD_RESERVED, RESERVATION_RELEASED),
        (replace(REWARD_RESERVED, reserved_at=RESERVED_UNTIL - RESERVATION_LEAD),),
    ],
    ids=["absent", "collected", "given up", "released", "made on its last day"],
)
def test_a_reservation_that_needs_no_reminder_has_none(past: tuple[Fact, ...]) -> None:
    assert told(remind_of_reservation("RV1", RESERVED_UNTIL - SECOND), past) == ()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (HEARING_UNTIL - DISPUTE_LEAD - SECOND, {}),
        (HEARING_UNTIL - DISPUTE_LEAD, {"dispute-hearing-ends": {XINZHU_STAFF, EARNER}}),
        (HEARING_UNTIL, {}),
        (DECISION_DUE - DISPUTE_LEAD, {"dispute-decision-due": {XINZHU_STAFF}}),
        (DECISION_DUE, {}),
    ],
)
def test_a_dispute_is_reminded_of_before_its_hearing_and_its_deadline(
    now: datetime, expected: dict[str, set[str]]
) -> None:
    assert kinds(told(remind_of_dispute("D1", now), DISTRICT, DISPUTED)) == expected


def test_only_the_side_that_was_not_heard_is_reminded_of_a_hearing() -> None:
    by_earner = replace(DISPUTE_OPENED, opened_by="V1", side="earner")
    now = HEARING_UNTIL - SECOND
    notices = told(remind_of_dispute("D1", now), DISTRICT, DISPUTED[0], by_earner)
    assert kinds(notices) == {"dispute-hearing-ends": {XINZHU_STAFF, SERVED}}
    heard = DisputeStatementGiven("D1", "recipient", "V3", "not-served")
    assert told(remind_of_dispute("D1", now), DISTRICT, DISPUTED[0], by_earner, heard) == ()


@pytest.mark.parametrize("over", [DISPUTE_UPHELD, DISPUTE_DISMISSED, DISPUTE_WITHDRAWN, DISPUTE_ESCALATED])
def test_a_dispute_that_is_over_or_escalated_is_reminded_of_no_more(over: Fact) -> None:
    for now in (HEARING_UNTIL - SECOND, DECISION_DUE - SECOND):
        assert told(remind_of_dispute("D1", now), DISTRICT, DISPUTED, over) == ()
        assert told(remind_of_dispute("D9", now), DISTRICT, DISPUTED) == ()


def test_a_request_that_begins_soon_is_reminded_of_on_both_sides() -> None:
    past = (DISTRICT, REQUEST_ASKED, REQUEST_RESCHEDULED, OFFER_MADE, OFFER_ACCEPTED)
    for now, expected in (
        (BEGINS - REQUEST_LEAD - SECOND, {}),
        (BEGINS - REQUEST_LEAD, {"request-soon": {SERVED, EARNER}}),
        (BEGINS - SECOND, {"request-soon": {SERVED, EARNER}}),
        (BEGINS, {}),
    ):
        assert kinds(told(remind_of_request("Q1", now), *past)) == expected


def test_staff_are_told_of_a_request_for_which_nobody_comes_yet() -> None:
    past = (DISTRICT, REQUEST_ASKED, REQUEST_RESCHEDULED)
    (notice,) = told(remind_of_request("Q1", BEGINS - SECOND), *past)
    assert (notice.kind, notice.recipient) == ("request-unanswered", XINZHU_STAFF)
    for over in (REQUEST_CANCELLED, replace(REQUEST_EXPIRED, volunteer=None)):
        assert told(remind_of_request("Q1", BEGINS - SECOND), *past, over) == ()
    assert told(remind_of_request("Q9", BEGINS - SECOND), *past) == ()


def test_another_time_or_another_volunteer_is_another_reminder() -> None:
    again = replace(REQUEST_RESCHEDULED, earliest_at=BEGINS + timedelta(hours=2))
    past = (DISTRICT, REQUEST_ASKED, REQUEST_RESCHEDULED)
    other = (replace(OFFER_MADE, volunteer="V2"), replace(OFFER_ACCEPTED, volunteer="V2"))
    keys = [
        {one.key for one in told(remind_of_request("Q1", BEGINS - SECOND), *past, *accepted)}
        for accepted in ((), (OFFER_MADE, OFFER_ACCEPTED), other, (again,), (again, OFFER_MADE, OFFER_ACCEPTED))
    ]
    assert all(keys)
    assert len(set().union(*keys)) == sum(map(len, keys))


def test_minutes_that_lapse_within_days_are_reminded_of_once_an_announcement() -> None:
    day = EXPIRY_ANNOUNCED.on
    past = (DISTRICT, EXPIRY_ANNOUNCED)
    both = {"expiry-near": {EARNER, HOUSEMATE}}
    for today, expected in (
        (day - LAPSE_LEAD - timedelta(days=1), {}),
        (day - LAPSE_LEAD, both),
        (day - timedelta(days=1), both),
        (day, {}),
    ):
        assert kinds(told(remind_of_expiry("H1", today), *past)) == expected
    for done in (MINUTES_EXPIRED, EXPIRY_CALLED_OFF):
        assert told(remind_of_expiry("H1", day - timedelta(days=1)), *past, done) == ()
    two = replace(EXPIRY_ANNOUNCED, announcement="X2")
    assert len(told(remind_of_expiry("H1", day - timedelta(days=1)), *past, two)) == 4


@pytest.mark.parametrize(
    ("count", "hour", "keys"),
    [(3, 8, [f"records-waiting:{XINZHU}:2026-11-22:{XINZHU_STAFF}"]), (3, 7, []), (0, 8, []), (0, 7, [])],
)
def test_staff_are_told_once_a_day_what_waits(count: int, hour: int, keys: list[str]) -> None:
    notices = digest(XINZHU, count, NOW.replace(hour=hour))
    assert [one.key for one in notices] == keys
    kinds(notices)


def test_every_kind_there_is_is_told_of_something_and_says_it_in_both_languages() -> None:
    found = {notice.kind for fact, past, by, *_ in NEWS.values() for notice in news_of(fact, past, by=by)}
    asked = (REQUEST_ASKED, REQUEST_RESCHEDULED)
    found |= kinds(told(remind_of_reservation("RV1", RESERVED_UNTIL - SECOND), REWARD_RESERVED)).keys()
    for now in (HEARING_UNTIL - SECOND, DECISION_DUE - SECOND):
        found |= kinds(told(remind_of_dispute("D1", now), DISTRICT, DISPUTED)).keys()
    for accepted in ((), (OFFER_MADE, OFFER_ACCEPTED)):
        found |= kinds(told(remind_of_request("Q1", BEGINS - SECOND), DISTRICT, asked, accepted)).keys()
    found |= kinds(told(remind_of_expiry("H1", EXPIRY_ANNOUNCED.on - LAPSE_LEAD), DISTRICT, EXPIRY_ANNOUNCED)).keys()
    found |= kinds(digest(XINZHU, 1, at("11-22 09:00"))).keys()
    assert found == set(KINDS)
    for kind in KINDS.values():
        fields = [{name for _, name, *_ in Formatter().parse(text) if name} for text in kind]
        assert fields[0] == fields[1]
        assert any("一" <= character <= "鿿" for character in kind.zh)
        assert kind.en.isprintable()
        assert not any("一" <= character <= "鿿" for character in kind.en)
