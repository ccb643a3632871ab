"""Households, their members and volunteers."""

import pytest

from domain.community import OutsideCommunity, UnknownCommunity, UnknownGrid
from domain.household import (
    AgeAlreadyAttested,
    AgeAttested,
    AttestAge,
    AttestedByMember,
    EnrolVolunteer,
    Household,
    HouseholdAlreadyRegistered,
    HouseholdRegistered,
    MemberAlreadyRegistered,
    MemberRegistered,
    Person,
    RegisterHousehold,
    RegisterMember,
    UnknownHousehold,
    UnknownMember,
    VolunteerAlreadyEnrolled,
    VolunteerEnrolled,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
)
from tests.controls import ADMIN, DISTRICT, GRID, JINHU, STAFF, STAFF_ELSEWHERE, XINZHU, given


def test_a_household_is_registered_at_its_grid() -> None:
    command = RegisterHousehold(household="H7", community=XINZHU, grid=GRID)
    given(DISTRICT).when(register_household, command).then(HouseholdRegistered("H7", XINZHU, GRID))


def test_a_household_needs_no_grid() -> None:
    command = RegisterHousehold(household="H7", community=JINHU)
    given(DISTRICT).when(register_household, command, actor=ADMIN).then(HouseholdRegistered("H7", JINHU))


@pytest.mark.parametrize(
    ("household", "community", "grid", "refusal"),
    [
        ("H1", XINZHU, (), HouseholdAlreadyRegistered("H1")),
        ("H1", JINHU, (), HouseholdAlreadyRegistered("H1")),
        ("H7", "没有的社区", (), UnknownCommunity("没有的社区")),
        ("H7", JINHU, GRID, UnknownGrid(JINHU, "第3网格")),
    ],
)
def test_a_household_is_refused(household: str, community: str, grid: tuple, refusal: Exception) -> None:
    command = RegisterHousehold(household=household, community=community, grid=grid)
    given(DISTRICT).when(register_household, command, actor=ADMIN).refused(refusal)


def test_a_member_is_registered_without_a_name_in_the_journal() -> None:
    command = RegisterMember(member="V7", household="H2", name="张𠮷")
    facts = given(DISTRICT).when(register_member, command).then(MemberRegistered("V7", "H2")).facts
    assert "张" not in repr(facts)
    assert "name" not in command.model_dump()


@pytest.mark.parametrize(
    ("member", "household", "refusal"),
    [
        ("V7", "H8", UnknownHousehold("H8")),
        ("V1", "H1", MemberAlreadyRegistered("V1")),
        ("V1", "H2", MemberAlreadyRegistered("V1")),
    ],
)
def test_a_member_is_refused(member: str, household: str, refusal: Exception) -> None:
    given(DISTRICT).when(register_member, RegisterMember(member=member, household=household)).refused(refusal)


def test_a_member_is_enrolled_as_volunteer() -> None:
    given(DISTRICT).when(enrol_volunteer, EnrolVolunteer(volunteer="V3")).then(VolunteerEnrolled("V3"))


@pytest.mark.parametrize(("person", "refusal"), [("V7", UnknownMember("V7")), ("V1", VolunteerAlreadyEnrolled("V1"))])
def test_an_enrolment_is_refused(person: str, refusal: Exception) -> None:
    given(DISTRICT).when(enrol_volunteer, EnrolVolunteer(volunteer=person)).refused(refusal)


@pytest.mark.parametrize(
    ("decide", "command", "refusal"),
    [
        (register_household, RegisterHousehold(household="H7", community=XINZHU), OutsideCommunity(XINZHU, JINHU)),
        (register_member, RegisterMember(member="V7", household="H2"), UnknownHousehold("H2")),
        (register_member, RegisterMember(member="V1", household="H2"), UnknownHousehold("H2")),
        (enrol_volunteer, EnrolVolunteer(volunteer="V3"), UnknownMember("V3")),
        (enrol_volunteer, EnrolVolunteer(volunteer="V1"), UnknownMember("V1")),
    ],
)
def test_staff_of_one_community_are_told_nothing_of_another(decide, command, refusal: Exception) -> None:
    given(DISTRICT).when(decide, command, actor=STAFF_ELSEWHERE).refused(refusal)


@pytest.mark.parametrize(
    ("decide", "command"),
    [
        (register_household, RegisterHousehold(household="H7", community=XINZHU)),
        (register_member, RegisterMember(member="V7", household="H2")),
        (enrol_volunteer, EnrolVolunteer(volunteer="V3")),
    ],
)
def test_staff_of_a_community_and_of_the_district_register_people(decide, command) -> None:
    assert given(DISTRICT).when(decide, command, actor=STAFF).accepted
    assert given(DISTRICT).when(decide, command, actor=ADMIN).accepted


def test_a_person_keeps_the_household_when_enrolled_and_the_enrolment_when_registered() -> None:
    registered, enrolled = MemberRegistered("V7", "H2"), VolunteerEnrolled("V7")
    for facts in ((registered, enrolled), (enrolled, registered)):
        assert given(*facts).state(Person.of("V7")) == Person("V7", "H2", True)
    assert given(DISTRICT).state(Household.of("H2")) == Household("H2", XINZHU, GRID)


def test_an_age_is_attested_without_a_date_of_birth_and_only_rises() -> None:
    attested = AgeAttested("V3", 60, "S2")
    given(DISTRICT).when(attest_age, AttestAge(person="V3", age_years_min=60)).then(attested)
    assert given(DISTRICT, attested, AgeAttested("V3", 18, "S2")).state(Person.of("V3")).age_years_min == 60
    higher = AttestAge(person="V3", age_years_min=61)
    given(DISTRICT, attested).when(attest_age, higher).then(AgeAttested("V3", 61, "S2"))
    given(DISTRICT, attested).when(attest_age, AttestAge(person="V3", age_years_min=60)).refused(
        AgeAlreadyAttested("V3", 60)
    )


def test_nobody_attests_an_age_for_themselves_or_their_household_or_out_of_reach() -> None:
    command = AttestAge(person="V3", age_years_min=60)
    given(DISTRICT, MemberRegistered("S2", "H2")).when(attest_age, command).refused(AttestedByMember("V3"))
    given(DISTRICT).when(attest_age, AttestAge(person="V8", age_years_min=60)).refused(UnknownMember("V8"))
    given(DISTRICT).when(attest_age, command, actor=STAFF_ELSEWHERE).refused(UnknownMember("V3"))
