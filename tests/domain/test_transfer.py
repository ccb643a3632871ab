"""Minutes given away: by whom, to whom, how many a month, and never more than there are."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.account import Account, BalanceTooHigh, BalanceTooLow, MinutesDonated, MinutesHeld, MinutesTransferred
from domain.community import UnknownCommunity
from domain.decision import Actor
from domain.fact import Fact
from domain.household import MemberRegistered, UnknownHousehold
from domain.policy import NoPolicyInForce, Policy
from domain.transfer import (
    DonateMinutes,
    EndFamilyTie,
    FamilyTieAlreadyRegistered,
    FamilyTieEnded,
    FamilyTieRegistered,
    FamilyTies,
    HouseholdNamedTwice,
    MovedToOwnHousehold,
    NotFamily,
    NotOfTheHousehold,
    RegisterFamilyTie,
    TieOfOwnHousehold,
    TransferMinutes,
    TransferMonth,
    TransferMonthFull,
    TransfersSwitchedOff,
    UnknownFamilyTie,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)
from tests.controls import (
    ADMIN,
    DISTRICT,
    JINHU,
    NOW,
    OFFSET,
    POLICY_ADOPTED,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    at,
    credited,
    district,
    given,
    volunteer,
)

TIE = FamilyTieRegistered("H1", "H2", "S2")
ANYONE = (*district(transfer="anyone"), credited("H1", 100))
FAMILY = (*district(transfer="family"), credited("H1", 100))
V1 = volunteer("V1")


def gift(minutes: int, source: str = "H1", target: str = "H2") -> TransferMinutes:
    return TransferMinutes(household=source, recipient_household=target, minutes=minutes)


def moved(minutes: int, by: str = "V1", tie: Any = "anyone", target: str = "H2") -> MinutesTransferred:
    return MinutesTransferred("household:H1", "household:" + target, minutes, by, tie, date(2026, 11, 22))


# ── Family ties ──────────────────────────────────────────────────────────────────────────────────────────────


def test_staff_register_a_tie_that_holds_both_ways_and_end_it_from_either_side() -> None:
    command = RegisterFamilyTie(household="H1", other_household="H3")
    registered = given(DISTRICT).when(register_family_tie, command).then(FamilyTieRegistered("H1", "H3", "S2")).facts
    for one, other in (("H1", "H3"), ("H3", "H1")):
        assert given(registered).state(FamilyTies.of(one)).others == {other}
        ended = FamilyTieEnded(one, other, "A1")
        end = EndFamilyTie(household=one, other_household=other)
        given(DISTRICT, registered).when(end_family_tie, end, actor=ADMIN).then(ended)
        assert given(registered, ended).state(FamilyTies.of(one)).others == frozenset()
        assert given(registered, ended).state(FamilyTies.of(other)).others == frozenset()
        given(DISTRICT, registered, ended).when(end_family_tie, end, actor=ADMIN).refused(UnknownFamilyTie(one, other))


def test_a_tie_is_registered_once_between_two_households_that_are_there() -> None:
    def tie(one: str, other: str) -> RegisterFamilyTie:
        return RegisterFamilyTie(household=one, other_household=other)

    for pair in (("H1", "H2"), ("H2", "H1")):
        refused = FamilyTieAlreadyRegistered(*pair)
        given(DISTRICT, TIE).when(register_family_tie, tie(*pair)).refused(refused)
    given(DISTRICT).when(register_family_tie, tie("H1", "H1")).refused(HouseholdNamedTwice("H1"))
    given(DISTRICT).when(register_family_tie, tie("H1", "H8")).refused(UnknownHousehold("H8"))
    given(DISTRICT).when(register_family_tie, tie("H8", "H1")).refused(UnknownHousehold("H8"))


def test_nobody_registers_a_tie_of_their_own_household() -> None:
    for home in ("H1", "H2"):
        member = MemberRegistered("S2", home)
        command = RegisterFamilyTie(household="H1", other_household="H2")
        given(DISTRICT, member).when(register_family_tie, command).refused(TieOfOwnHousehold(home))


def test_a_tie_is_registered_and_ended_by_the_staff_of_the_first_household() -> None:
    register = RegisterFamilyTie(household="H1", other_household="H3")
    end = EndFamilyTie(household="H1", other_household="H2")
    refused = UnknownHousehold("H1")
    given(DISTRICT).when(register_family_tie, register, actor=STAFF_ELSEWHERE).refused(refused)
    given(DISTRICT, TIE).when(end_family_tie, end, actor=STAFF_ELSEWHERE).refused(refused)


# ── Transfers ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_member_gives_minutes_of_their_household() -> None:
    given(ANYONE).when(transfer, gift(100), actor=V1).then(moved(100), policy=1)
    given(ANYONE).when(transfer, gift(60, target="H3"), actor=V1).then(moved(60, target="H3"))


def test_staff_give_at_the_households_request_within_their_community() -> None:
    given(ANYONE).when(transfer, gift(60)).then(moved(60, "S2"))
    given(ANYONE).when(transfer, gift(60), actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H1"))


def test_a_member_gives_for_no_other_household_whether_it_is_there_or_not() -> None:
    for household in ("H1", "H8"):
        refused = NotOfTheHousehold(household)
        given(ANYONE).when(transfer, gift(1, household), actor=volunteer("V3")).refused(refused)
    given(ANYONE).when(transfer, gift(1, "H8", "H1"), actor=volunteer("X9")).refused(NotOfTheHousehold("H8"))


def test_nobody_moves_the_minutes_of_others_to_their_own_household() -> None:
    staff_of_h2 = MemberRegistered("S2", "H2")
    given(ANYONE, staff_of_h2).when(transfer, gift(1)).refused(MovedToOwnHousehold("H2"))


def test_minutes_go_to_another_household_that_is_there() -> None:
    given(ANYONE).when(transfer, gift(1, target="H8"), actor=V1).refused(UnknownHousehold("H8"))
    given(ANYONE).when(transfer, gift(1, target="H1"), actor=V1).refused(HouseholdNamedTwice("H1"))


def test_the_policy_says_to_whom() -> None:
    given(DISTRICT, credited("H1", 100), TIE).when(transfer, gift(1), actor=V1).refused(TransfersSwitchedOff(1))
    given(FAMILY).when(transfer, gift(1), actor=V1).refused(NotFamily("H1", "H2"))
    given(FAMILY, TIE).when(transfer, gift(1), actor=V1).then(moved(1, tie="family"))
    given(FAMILY, FamilyTieRegistered("H2", "H1", "S2")).when(transfer, gift(1), actor=V1).then(moved(1, tie="family"))
    given(FAMILY, TIE, FamilyTieEnded("H2", "H1", "S2")).when(transfer, gift(1), actor=V1).refused(
        NotFamily("H1", "H2")
    )
    given(ANYONE, TIE).when(transfer, gift(1), actor=V1).then(moved(1, tie="family"))


def test_a_gift_needs_a_policy_in_force() -> None:
    early = replace(POLICY_ADOPTED, effective_on=date(2027, 1, 1))
    facts = [fact if fact.type != early.type else early for fact in DISTRICT]
    given(facts).when(transfer, gift(1), actor=V1).refused(NoPolicyInForce("2026-11-22"))


@pytest.mark.parametrize("floor", [0, -600])
def test_nobody_gives_what_they_do_not_have_whatever_overdraft_there_is(floor: int) -> None:
    facts = (*district(transfer="anyone", balance_minutes_min=floor), credited("H1", 100))
    assert given(facts).when(transfer, gift(100), actor=V1).accepted
    given(facts).when(transfer, gift(101), actor=V1).refused(BalanceTooLow("household:H1", 100, 101, 0))
    held = MinutesHeld("household:H1", 40, "request:Q1")
    given(facts, held).when(transfer, gift(61), actor=V1).refused(BalanceTooLow("household:H1", 60, 61, 0))
    assert given(facts, held).when(transfer, gift(60), actor=V1).accepted


def test_a_gift_reaches_the_recipients_cap_and_never_passes_it() -> None:
    facts = (*district(transfer="anyone", balance_minutes_max=120), credited("H1", 100), credited("H2", 40))
    assert given(facts).when(transfer, gift(80), actor=V1).accepted
    given(facts).when(transfer, gift(81), actor=V1).refused(BalanceTooHigh("household:H2", 40, 81, 120))


def test_so_much_a_month_may_be_given_by_the_ledgers_calendar() -> None:
    facts = (*district(transfer="anyone", transfer_minutes_month_max=60), credited("H1", 500))
    assert given(facts).when(transfer, gift(60), actor=V1).accepted
    given(facts).when(transfer, gift(61), actor=V1).refused(TransferMonthFull("2026-11", 0, 61, 60))
    earlier = (moved(40), replace(moved(60), on=date(2026, 10, 31)), replace(moved(60), source="household:H2"))
    given(facts, earlier).when(transfer, gift(21), actor=V1).refused(TransferMonthFull("2026-11", 40, 21, 60))
    assert given(facts, earlier).when(transfer, gift(20), actor=V1).accepted
    # 23:30 on the last of the month in UTC is the next month here.
    midnight = at("11-30 24:00")
    given(facts, earlier).when(transfer, gift(21), actor=V1, now=midnight - timedelta(minutes=1)).refused(
        TransferMonthFull("2026-11", 40, 21, 60)
    )
    assert given(facts, earlier).when(transfer, gift(60), actor=V1, now=midnight).accepted


GIFTS = st.lists(
    st.tuples(
        st.sampled_from([("V1", "H1", "H2"), ("V3", "H2", "H1"), ("V1", "H1", "H3"), ("V4", "H3", "H1")]),
        st.integers(1, 90),
        st.integers(0, 20),
    ),
    max_size=25,
)


@examples(GIFTS, st.sampled_from([None, 60, 120]), st.sampled_from([None, 150]), st.booleans())
def test_gifts_conserve_minutes_and_keep_every_limit(
    gifts: list[Any], month_max: int | None, balance_max: int | None, family: bool
) -> None:
    mode = "family" if family else "anyone"
    facts: list[Fact] = [
        *district(transfer=mode, transfer_minutes_month_max=month_max, balance_minutes_max=balance_max),
        TIE,
        credited("H1", 100),
        credited("H2", 70),
    ]
    now: datetime = NOW
    by_month: dict[tuple[str, str], int] = {}
    for (person, source, target), minutes, days in gifts:
        now += timedelta(days=days)
        outcome = given(facts).when(transfer, gift(minutes, source, target), actor=volunteer(person), now=now)
        if outcome.refusal is None:
            facts += outcome.accepted
            key = (source, f"{now.astimezone(OFFSET):%Y-%m}")
            by_month[key] = by_month.get(key, 0) + minutes
            assert not family or {source, target} == {"H1", "H2"}
        balances = [given(facts).state(Account.of("household:" + home)).balance_minutes for home in ("H1", "H2", "H3")]
        assert sum(balances) == 170
        assert min(balances) >= 0
        assert balance_max is None or max(balances) <= balance_max
    for (home, month), total in by_month.items():
        assert month_max is None or total <= month_max
        day = date.fromisoformat(month + "-01")
        assert given(facts).state(TransferMonth.of("household:" + home, day)).minutes == total


# ── Donations ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_household_donates_to_a_pool_under_every_policy() -> None:
    facts = (*DISTRICT, credited("H1", 100))
    for community, pool in ((None, XINZHU), (JINHU, JINHU)):
        command = DonateMinutes(household="H1", minutes=100, community=community)
        for actor in (V1, STAFF):
            donated = MinutesDonated("household:H1", "pool:" + pool, 100, actor.id)
            given(facts).when(donate, command, actor=actor).then(donated)


def test_a_donation_is_of_what_there_is_to_a_pool_that_is_there() -> None:
    facts = (*DISTRICT, credited("H1", 100))
    low = BalanceTooLow("household:H1", 100, 101, 0)
    given(facts).when(donate, DonateMinutes(household="H1", minutes=101), actor=V1).refused(low)
    nowhere = DonateMinutes(household="H1", minutes=1, community="没有社区")
    given(facts).when(donate, nowhere, actor=V1).refused(UnknownCommunity("没有社区"))


@pytest.mark.parametrize(
    ("actor", "household", "refusal"),
    [
        (volunteer("V3"), "H1", NotOfTheHousehold("H1")),
        (volunteer("V3"), "H8", NotOfTheHousehold("H8")),
        (STAFF_ELSEWHERE, "H1", UnknownHousehold("H1")),
        (STAFF, "H8", UnknownHousehold("H8")),
    ],
)
def test_who_is_not_of_a_household_donates_nothing_of_it(actor: Actor, household: str, refusal: Any) -> None:
    command = DonateMinutes(household=household, minutes=1)
    given(DISTRICT, credited("H1", 100)).when(donate, command, actor=actor).refused(refusal)


def test_a_policy_starts_without_transfers() -> None:
    assert Policy().transfer == "nobody"
