"""Service certificates: numbered without gaps, revoked once, and saying what was counted and no more."""

import hashlib
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.certificate import (
    CODE_CHARACTERS,
    REASON_ZH,
    Certificate,
    CertificateAlreadyRevoked,
    CertificateIssued,
    CertificateNumbers,
    CertificateRevoked,
    CertificateWanted,
    CertifiedByAdministrators,
    IssueCertificate,
    NothingToCertify,
    RevocationReason,
    RevokeCertificate,
    ServiceTotal,
    TooFewMinutesToCertify,
    UnknownCertificate,
    certificate_numbers,
    code_sha256,
    count_service,
    is_code,
    issue_certificate,
    revoke_certificate,
    shown_code,
)
from domain.decision import Actor
from domain.fact import Fact
from domain.household import MemberDied, MemberLeft, MemberMoved, UnknownMember
from domain.policy import AdoptPolicy, NoPolicyInForce
from domain.recognition import DayToCome, RecognisedByOwnHousehold
from tests.controls import (
    ADMIN,
    CERTIFICATE_CODE,
    CERTIFICATE_ISSUED,
    DISTRICT,
    NOW,
    STAFF,
    STAFF_ELSEWHERE,
    district,
    given,
)

COUNTED = count_service(412, [("R2", "助餐", 90), ("R1", "助餐", 90), ("R3", "助洁", 60)])
CODE_HASH = code_sha256(CERTIFICATE_CODE)
REVOKE = RevokeCertificate(certificate="2026-000001", reason="mistake")
REVOKED = CertificateRevoked("2026-000001", "S2", "mistake")
ISSUED = replace(CERTIFICATE_ISSUED, records_sha256=COUNTED.records_sha256)


def wanted(**changes: Any) -> IssueCertificate:
    return IssueCertificate(
        **{
            "volunteer": "V1",
            "since": date(2026, 1, 1),
            "until": date(2026, 11, 21),
            "in_charge": "S1",
            "contact": "0771-0000000",
            "counted": COUNTED,
            "code_sha256": CODE_HASH,
            "kept_sha256": "cd" * 32,
        }
        | changes
    )


# ── Issued ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_counted_is_certified_under_the_next_number_by_the_time_bank_itself() -> None:
    given(DISTRICT).when(issue_certificate, wanted()).then(ISSUED, policy=1)
    second = replace(ISSUED, certificate="2026-000002", sequence=2)
    given(DISTRICT, ISSUED).when(issue_certificate, wanted()).then(second)


def test_another_organisation_may_certify_and_the_sequence_goes_on_over_the_years() -> None:
    command = wanted(issuer="新竹社区居民委员会")
    later = NOW + timedelta(days=100)
    (fact,) = given(DISTRICT, ISSUED).when(issue_certificate, command, now=later).accepted
    assert isinstance(fact, CertificateIssued)
    assert (fact.certificate, fact.sequence, fact.issuer) == ("2027-000002", 2, "新竹社区居民委员会")
    assert (fact.issued_on, fact.public_until) == (date(2027, 3, 2), date(2027, 3, 9))


def test_a_revoked_certificates_number_is_never_used_again() -> None:
    (fact,) = given(DISTRICT, ISSUED, REVOKED).when(issue_certificate, wanted()).accepted
    assert isinstance(fact, CertificateIssued)
    assert fact.certificate == "2026-000002"


def test_the_policy_says_who_certifies_from_how_much_and_how_long_it_is_publicised() -> None:
    admins = district(certificate_issuer="admin")
    given(admins).when(issue_certificate, wanted()).refused(CertifiedByAdministrators(1))
    assert given(admins).when(issue_certificate, wanted(), actor=ADMIN).accepted
    given(admins, ISSUED).when(revoke_certificate, REVOKE).refused(CertifiedByAdministrators(1))
    assert given(district(certificate_minutes_min=240)).when(issue_certificate, wanted()).accepted
    given(district(certificate_minutes_min=241)).when(issue_certificate, wanted()).refused(
        TooFewMinutesToCertify(240, 241)
    )
    (fact,) = given(district(certificate_public_days=30)).when(issue_certificate, wanted()).accepted
    assert isinstance(fact, CertificateIssued)
    assert fact.public_until == date(2026, 12, 22)
    unruled = [fact for fact in DISTRICT if fact.type != "policy-adopted.v2"]
    given(unruled).when(issue_certificate, wanted()).refused(NoPolicyInForce("2026-11-22"))
    given(unruled, ISSUED).when(revoke_certificate, REVOKE).refused(NoPolicyInForce("2026-11-22"))
    with pytest.raises(ValidationError):
        AdoptPolicy.model_validate({"effective_on": NOW.date(), "policy": {"certificate_public_days": 6}})


def test_nothing_is_not_certified_nor_what_is_still_to_come() -> None:
    nothing = wanted(counted=count_service(412, []))
    given(DISTRICT).when(issue_certificate, nothing).refused(NothingToCertify("V1", "2026-01-01", "2026-11-21"))
    assert given(DISTRICT).when(issue_certificate, wanted(until=date(2026, 11, 22))).accepted
    given(DISTRICT).when(issue_certificate, wanted(until=date(2026, 11, 23))).refused(DayToCome("2026-11-23"))
    with pytest.raises(ValidationError, match="since must not be after until"):
        wanted(since=date(2026, 11, 22))


@pytest.mark.parametrize("person", ["V1", "V2"])
def test_nobody_certifies_themselves_or_their_own_household_nor_is_in_charge_of_it(person: str) -> None:
    refused = RecognisedByOwnHousehold("V1", person)
    for actor in (Actor(person, "staff", STAFF.community), Actor(person, "admin")):
        given(DISTRICT).when(issue_certificate, wanted(), actor=actor).refused(refused)
        given(DISTRICT, ISSUED).when(revoke_certificate, REVOKE, actor=actor).refused(refused)
    given(DISTRICT).when(issue_certificate, wanted(in_charge=person)).refused(refused)


def test_staff_certify_their_communitys_volunteers_and_the_district_those_of_no_household() -> None:
    given(DISTRICT).when(issue_certificate, wanted(), actor=STAFF_ELSEWHERE).refused(UnknownMember("V1"))
    given(DISTRICT).when(issue_certificate, wanted(volunteer="V99"), actor=ADMIN).refused(UnknownMember("V99"))
    for gone in (MemberLeft("V1", "H1"), MemberDied("V1", "H1")):
        given(DISTRICT, gone).when(issue_certificate, wanted()).refused(UnknownMember("V1"))
        given(DISTRICT, gone).when(issue_certificate, wanted(), actor=ADMIN).then(replace(ISSUED, issued_by="A1"))
    moved = (*DISTRICT, ISSUED, MemberMoved("V1", "H1", "H3"))
    given(moved).when(revoke_certificate, REVOKE).refused(UnknownCertificate("2026-000001"))
    assert given(moved).when(revoke_certificate, REVOKE, actor=STAFF_ELSEWHERE).accepted


@hypothesis_given(
    st.lists(st.sampled_from(["issue", "revoke", "nothing"]), max_size=30), st.randoms(use_true_random=False)
)
def test_numbers_have_no_gaps_and_none_comes_twice(steps: list[str], dice: Any) -> None:
    facts: list[Fact] = [*DISTRICT]
    sequences: list[int] = []
    revoked: set[int] = set()
    for step in steps:
        if step == "issue":
            now = NOW + timedelta(days=200 * len(sequences))
            (fact,) = given(facts).when(issue_certificate, wanted(), now=now).accepted
            assert isinstance(fact, CertificateIssued)
            sequences.append(fact.sequence)
            assert fact.certificate == f"{now.year}-{fact.sequence:06}"
            facts.append(fact)
        elif step == "nothing":
            assert given(facts).when(issue_certificate, wanted(counted=count_service(1, []))).refusal is not None
        elif sequences:
            number = dice.choice(sequences)
            issued = next(f for f in facts if isinstance(f, CertificateIssued) and f.sequence == number)
            command = RevokeCertificate(certificate=issued.certificate, reason="other")
            outcome = given(facts).when(revoke_certificate, command)
            if number in revoked:
                outcome.refused(CertificateAlreadyRevoked(issued.certificate))
            else:
                facts += outcome.accepted
                revoked.add(number)
    assert sequences == [*range(1, len(sequences) + 1)]


# ── Revoked ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_is_revoked_once_for_a_reason() -> None:
    given(DISTRICT, ISSUED).when(revoke_certificate, REVOKE).then(REVOKED, policy=1)
    given(DISTRICT, ISSUED, REVOKED).when(revoke_certificate, REVOKE, actor=ADMIN).refused(
        CertificateAlreadyRevoked("2026-000001")
    )
    given(DISTRICT).when(revoke_certificate, REVOKE).refused(UnknownCertificate("2026-000001"))
    given(DISTRICT, ISSUED).when(revoke_certificate, REVOKE, actor=STAFF_ELSEWHERE).refused(
        UnknownCertificate("2026-000001")
    )
    state = given(ISSUED, REVOKED).state(Certificate.of("2026-000001"))
    assert state == Certificate("2026-000001", ISSUED, True)
    assert given(ISSUED).state(certificate_numbers) == CertificateNumbers(1)
    assert [*REASON_ZH] == [*RevocationReason.__args__]  # type: ignore[attr-defined]


# ── What is counted, and the code ────────────────────────────────────────────────────────────────────────────


def test_service_is_counted_by_service_with_a_digest_of_its_records() -> None:
    assert COUNTED.services == (ServiceTotal("助洁", 60, 1), ServiceTotal("助餐", 180, 2))
    assert (COUNTED.minutes, COUNTED.records) == (240, 3)
    assert COUNTED.records_sha256 == hashlib.sha256(b"R1 90\nR2 90\nR3 60\n").hexdigest()
    assert (count_service(0, []).minutes, count_service(0, []).records) == (0, 0)


@hypothesis_given(st.dictionaries(st.text("RS123", min_size=1), st.tuples(st.sampled_from("abc"), st.integers(1, 480))))
def test_the_order_in_which_records_are_counted_is_no_matter(found: dict[str, tuple[str, int]]) -> None:
    records = [(record, service, minutes) for record, (service, minutes) in found.items()]
    counted = count_service(7, records)
    assert counted == count_service(7, reversed(records))
    assert counted.minutes == sum(minutes for *_, minutes in records)
    assert counted.records == len(records)
    for record, service, minutes in records:
        others = [one for one in records if one[0] != record]
        assert count_service(7, [*others, (record, service, minutes + 1)]).records_sha256 != counted.records_sha256


def test_a_code_is_read_off_the_paper_however_it_is_typed() -> None:
    assert shown_code(CERTIFICATE_CODE) == "7K3M-Q2XD-9TBV-4HRN"
    for typed in ("7K3M-Q2XD-9TBV-4HRN", "7k3mq2xd9tbv4hrn", " 7K3M Q2XD 9TBV 4HRN "):
        assert is_code(typed, CODE_HASH)
    for wrong in ("", "7K3MQ2XD9TBV4HR", "7K3MQ2XD9TBV4HRM", "𠮷"):
        assert not is_code(wrong, CODE_HASH)
    assert code_sha256("oil0") == code_sha256("0110")
    assert len(set(CODE_CHARACTERS)) == 32


def test_what_is_kept_apart_and_what_is_counted_is_no_part_of_what_was_asked_for() -> None:
    """A repeated request has another code, and perhaps another count: it must have the first answer all the same."""
    asked = CertificateWanted.model_validate(
        {"volunteer": "V1", "since": "2026-01-01", "until": "2026-11-21", "in_charge": "S1", "contact": "0771-1"}
    )
    assert "0771" not in asked.model_dump_json()
    one, other = wanted(), wanted(counted=count_service(9, []), code_sha256="0" * 64, kept_sha256="1" * 64)
    assert one.model_dump_json() == other.model_dump_json() == asked.model_dump_json()
