"""Accounts: what moves minutes, and that none are made or lost on the way."""

from typing import get_args

import pytest
from pydantic import ValidationError

from domain.account import (
    UNDECIDED,
    Account,
    AccountFact,
    BalanceTooHigh,
    BalanceTooLow,
    FundPool,
    GrantedToOwnHousehold,
    GrantMinutes,
    MinutesGranted,
    MinutesHeld,
    MinutesReleased,
    PoolFunded,
    fund_pool,
    grant_minutes,
)
from domain.community import OutsideCommunity, UnknownCommunity
from domain.fact import Movement
from domain.household import MemberRegistered, UnknownHousehold
from domain.policy import NoPolicyInForce, Policy, PolicyAdopted
from tests.controls import (
    ADMIN,
    COMMUNITY_REGISTERED,
    DISTRICT,
    FACT_EXAMPLES,
    HOUSEHOLD_REGISTERED,
    JINHU,
    NOW,
    POOL_FUNDED,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    credited,
    district,
    given,
)

POOL = "pool:" + XINZHU
MOVEMENTS = [fact for fact in FACT_EXAMPLES if isinstance(fact, Movement)]


def test_every_movement_there_is_counts_in_every_account() -> None:
    assert set(get_args(AccountFact)) == {*Movement.__subclasses__(), MinutesHeld, MinutesReleased}


@pytest.mark.parametrize(
    "movement", [fact for fact in FACT_EXAMPLES if isinstance(fact, Movement)], ids=lambda m: m.type
)
def test_a_movement_takes_from_its_source_exactly_what_it_gives_to_its_target(movement: Movement) -> None:
    fold = Account.of("any").fold
    balances = {
        name: fold.evolve(Account(name, 7), movement).balance_minutes - 7
        for name in (movement.source, movement.target, "household:nobody")
    }
    assert balances == {movement.source: -movement.minutes, movement.target: movement.minutes, "household:nobody": 0}


@pytest.mark.parametrize(
    "movement", [fact for fact in FACT_EXAMPLES if isinstance(fact, Movement)], ids=lambda m: m.type
)
def test_a_movement_is_found_by_both_its_accounts_except_those_that_nothing_is_decided_on(movement: Movement) -> None:
    tagged = {tag for tag in movement.tags() if tag.startswith("account:")}
    assert tagged == {"account:" + name for name in (movement.source, movement.target) if name not in UNDECIDED}


def test_what_is_held_stays_in_the_balance_and_is_not_available_until_it_is_released() -> None:
    account = Account.of("household:H2")
    held = (credited("H2", 90), MinutesHeld("household:H2", 60, "request:Q1"))
    assert given(held).state(account) == Account("household:H2", 90, 60)
    assert given(held).state(account).available_minutes == 30
    released = given(held, MinutesReleased("household:H2", 60, "request:Q1")).state(account)
    assert released == Account("household:H2", 90, 0)


def test_a_hold_on_another_account_holds_nothing_here() -> None:
    fold = Account.of("any").fold
    assert fold.evolve(Account("household:H1", 7), MinutesHeld("household:H2", 60, "request:Q1")).held_minutes == 0


def test_held_minutes_can_not_be_granted() -> None:
    facts = (*DISTRICT, POOL_FUNDED, MinutesHeld(POOL, 100, "request:Q1"))
    given(facts).when(grant_minutes, grant(501)).refused(BalanceTooLow(POOL, 500, 501, 0))
    assert given(facts).when(grant_minutes, grant(500)).accepted


def test_a_pool_is_funded_from_issuance() -> None:
    command = FundPool(community=XINZHU, minutes=600)
    given(DISTRICT).when(fund_pool, command, actor=ADMIN).then(POOL_FUNDED, policy=0)
    assert given(POOL_FUNDED).state(Account.of(POOL)).balance_minutes == 600


def test_a_pool_of_an_unknown_community_is_not_funded() -> None:
    given(DISTRICT).when(fund_pool, FundPool(community="别处", minutes=1)).refused(OutsideCommunity("别处", XINZHU))
    given(DISTRICT).when(fund_pool, FundPool(community="别处", minutes=1), actor=ADMIN).refused(
        UnknownCommunity("别处")
    )


def test_staff_fund_their_own_pool_only() -> None:
    command = FundPool(community=XINZHU, minutes=600)
    given(DISTRICT).when(fund_pool, command, actor=STAFF_ELSEWHERE).refused(OutsideCommunity(XINZHU, JINHU))
    given(DISTRICT).when(fund_pool, command).then(PoolFunded("issuance", POOL, 600, "S2"))


def grant(minutes: int, household: str = "H2") -> GrantMinutes:
    return GrantMinutes(household=household, minutes=minutes, need="living-alone")


@pytest.mark.parametrize("minutes", [1, 599, 600])
def test_a_grant_takes_at_most_what_the_pool_holds(minutes: int) -> None:
    granted = MinutesGranted(POOL, "household:H2", minutes, "S2", "living-alone", NOW.date())
    given(DISTRICT, POOL_FUNDED).when(grant_minutes, grant(minutes)).then(granted, policy=1)


def test_a_grant_above_what_the_pool_holds_is_refused() -> None:
    given(DISTRICT, POOL_FUNDED).when(grant_minutes, grant(601)).refused(BalanceTooLow(POOL, 600, 601, 0))
    given(DISTRICT).when(grant_minutes, grant(1)).refused(BalanceTooLow(POOL, 0, 1, 0))


def test_a_pool_has_no_overdraft_whatever_households_have() -> None:
    facts = district(balance_minutes_min=-600)
    given(facts).when(grant_minutes, grant(1)).refused(BalanceTooLow(POOL, 0, 1, 0))


def test_a_grant_comes_from_the_pool_of_the_households_own_community() -> None:
    refused = BalanceTooLow("pool:" + JINHU, 0, 1, 0)
    given(DISTRICT, POOL_FUNDED).when(grant_minutes, grant(1, "H3"), actor=ADMIN).refused(refused)


@pytest.mark.parametrize("above", ["refuse", "pool", "honour"])
def test_a_grant_reaches_the_cap_and_never_passes_it(above: str) -> None:
    facts = (*district(balance_minutes_max=100, above_balance_max=above), POOL_FUNDED, credited("H2", 40))
    assert given(facts).when(grant_minutes, grant(60)).accepted
    given(facts).when(grant_minutes, grant(61)).refused(BalanceTooHigh("household:H2", 40, 61, 100))


def test_without_a_cap_a_grant_may_be_of_any_size() -> None:
    facts = (*district(balance_minutes_max=None), POOL_FUNDED, credited("H2", 60_000_000))
    assert given(facts).when(grant_minutes, grant(600)).accepted


def test_nobody_grants_to_their_own_household() -> None:
    member = MemberRegistered("S2", "H2")
    refused = GrantedToOwnHousehold("H2")
    given(DISTRICT, POOL_FUNDED, member).when(grant_minutes, grant(1)).refused(refused)
    assert given(DISTRICT, POOL_FUNDED, MemberRegistered("S2", "H1")).when(grant_minutes, grant(1)).accepted


def test_a_grant_to_an_unknown_household_is_refused() -> None:
    given(DISTRICT, POOL_FUNDED).when(grant_minutes, grant(1, "H8")).refused(UnknownHousehold("H8"))


def test_staff_grant_in_their_own_community_and_are_told_nothing_of_another() -> None:
    refused = UnknownHousehold("H2")
    given(DISTRICT, POOL_FUNDED).when(grant_minutes, grant(1), actor=STAFF_ELSEWHERE).refused(refused)
    for actor in (STAFF, ADMIN):
        assert given(DISTRICT, POOL_FUNDED).when(grant_minutes, grant(1), actor=actor).accepted


def test_a_grant_needs_a_policy_and_lives_under_todays() -> None:
    places = (COMMUNITY_REGISTERED, HOUSEHOLD_REGISTERED, POOL_FUNDED)
    given(places).when(grant_minutes, grant(1)).refused(NoPolicyInForce("2026-11-22"))
    today = PolicyAdopted(2, NOW.date(), Policy(balance_minutes_max=100))
    given(DISTRICT, POOL_FUNDED, today).when(grant_minutes, grant(101)).refused(
        BalanceTooHigh("household:H2", 0, 101, 100)
    )
    decided = given(DISTRICT, POOL_FUNDED, today).when(grant_minutes, grant(100)).decided
    assert decided is not None
    assert decided.policy == 2


@pytest.mark.parametrize("minutes", [0, -1, 60_000_001])
def test_an_amount_is_at_least_one_minute_and_not_absurd(minutes: int) -> None:
    with pytest.raises(ValidationError):
        grant(minutes)
    with pytest.raises(ValidationError):
        FundPool(community=XINZHU, minutes=minutes)
