"""Consent: volunteers agree to be listed, by themselves or on paper, and take it back."""

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.consent import (
    Consent,
    ConsentAlreadyGiven,
    ConsentGiven,
    ConsentNeedsPaper,
    ConsentNotGiven,
    ConsentOfAnother,
    ConsentWithdrawn,
    GiveConsent,
    WithdrawConsent,
    give_consent,
    withdraw_consent,
)
from domain.decision import Actor
from domain.household import MemberDied, MemberLeft, NotEnrolled, UnknownMember
from tests.controls import (
    ADMIN,
    CONSENT_GIVEN,
    DISTRICT,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    given,
    volunteer,
)

PAPER = "ab" * 32
OWN = ConsentGiven("V1", "V1")
GIVE, GIVE_ON_PAPER = GiveConsent(person="V1"), GiveConsent(person="V1", paper_sha256=PAPER)
WITHDRAW = WithdrawConsent(person="V1")


def test_a_volunteer_consents_and_takes_it_back() -> None:
    given(DISTRICT).when(give_consent, GIVE, actor=volunteer("V1")).then(OWN)
    given(DISTRICT, OWN).when(withdraw_consent, WITHDRAW, actor=volunteer("V1")).then(ConsentWithdrawn("V1", "V1"))
    given(DISTRICT, OWN, ConsentWithdrawn("V1", "V1")).when(give_consent, GIVE, actor=volunteer("V1")).then(OWN)


@pytest.mark.parametrize("actor", [STAFF, ADMIN, Actor("V2", "staff", XINZHU)])
def test_staff_record_what_was_signed_on_paper(actor: Actor) -> None:
    given(DISTRICT).when(give_consent, GIVE_ON_PAPER, actor=actor).then(ConsentGiven("V1", actor.id, PAPER))
    given(DISTRICT).when(give_consent, GIVE, actor=actor).refused(ConsentNeedsPaper("V1"))
    given(DISTRICT, OWN).when(withdraw_consent, WITHDRAW, actor=actor).then(ConsentWithdrawn("V1", actor.id))


def test_staff_who_volunteer_consent_for_themselves_without_a_paper() -> None:
    given(DISTRICT).when(give_consent, GIVE, actor=Actor("V1", "staff", "金湖社区")).then(OWN)


def test_nobody_consents_for_somebody_else() -> None:
    for decide, command in ((give_consent, GIVE_ON_PAPER), (withdraw_consent, WITHDRAW)):
        given(DISTRICT, OWN).when(decide, command, actor=volunteer("V2")).refused(ConsentOfAnother("V1"))


def test_who_is_of_another_community_is_unknown_to_staff() -> None:
    for decide, command in ((give_consent, GIVE_ON_PAPER), (withdraw_consent, WITHDRAW)):
        given(DISTRICT).when(decide, command, actor=STAFF_ELSEWHERE).refused(UnknownMember("V1"))


def test_only_volunteers_are_listed_and_so_consent() -> None:
    given(DISTRICT).when(give_consent, GiveConsent(person="V3"), actor=volunteer("V3")).refused(NotEnrolled("V3"))
    nobody = GiveConsent(person="V9", paper_sha256=PAPER)
    given(DISTRICT).when(give_consent, nobody).refused(UnknownMember("V9"))


def test_consent_is_given_once_and_withdrawn_once() -> None:
    given(DISTRICT, OWN).when(give_consent, GIVE, actor=volunteer("V1")).refused(ConsentAlreadyGiven("V1"))
    for past in ((), (OWN, ConsentWithdrawn("V1", "V1"))):
        given(DISTRICT, past).when(withdraw_consent, WITHDRAW, actor=volunteer("V1")).refused(ConsentNotGiven("V1"))


@pytest.mark.parametrize("gone", [MemberLeft("V1", "H1"), MemberDied("V1", "H1")])
def test_for_who_has_left_or_died_the_district_withdraws(gone: Any) -> None:
    past = given(DISTRICT, CONSENT_GIVEN, gone)
    past.when(withdraw_consent, WITHDRAW, actor=ADMIN).then(ConsentWithdrawn("V1", "A1"))
    past.when(withdraw_consent, WITHDRAW, actor=STAFF).refused(UnknownMember("V1"))


def test_a_paper_is_named_by_its_hash() -> None:
    with pytest.raises(ValidationError):
        GiveConsent(person="V1", paper_sha256="a scan")


def test_a_withdrawn_consent_is_as_none() -> None:
    assert given(CONSENT_GIVEN).state(Consent.of("V1")) == Consent("V1", given=True)
    assert given(CONSENT_GIVEN, ConsentWithdrawn("V1", "S2")).state(Consent.of("V1")) == Consent("V1")
    assert given(replace(CONSENT_GIVEN, person="V2")).state(Consent.of("V1")) == Consent("V1")
