"""Redemption: who may reserve, what is held, a code that is spent once, and no stock or balance below zero."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import (
    Account,
    BalanceTooLow,
    HoursReversed,
    MinutesHeld,
    MinutesReleased,
    RewardCollected,
)
from domain.decision import Actor, RowsRefused
from domain.household import AgeAttested, HouseholdClosed, HouseholdMerged, MemberRegistered, UnknownMember
from domain.partner import (
    PartnerRegistered,
    ReservationReleased,
    Reward,
    RewardAlreadyWithdrawn,
    RewardReserved,
    RewardRestocked,
    UnknownReward,
)
from domain.policy import NoPolicyInForce, Policy, PolicyAdopted
from domain.redemption import (
    COLLECTION_GRACE,
    AgeNotAttested,
    CollectedInTheFuture,
    CollectedOutsideReservation,
    CollectionStillPossible,
    CollectManyRewards,
    CollectReward,
    HandedInTooLate,
    RedemptionAlreadyReversed,
    RedemptionBalanceTooLow,
    RedemptionOfOwnHousehold,
    ReleaseReservation,
    ReservationAlreadyCollected,
    ReservationAlreadyEnded,
    ReservationAlreadyMade,
    ReservationAlreadyReleased,
    ReservationGivenUp,
    ReserveReward,
    ReverseRedemption,
    RewardLimitReached,
    RewardNotCollected,
    RewardNotForCommunity,
    RewardOutOfStock,
    UnknownReservation,
    WrongCode,
    code_sha256,
    collect,
    collect_many,
    release,
    reserve,
    reverse_redemption,
)
from tests.controls import (
    ADMIN,
    AGE_ATTESTED,
    CODE,
    DISTRICT,
    JINHU,
    NOW,
    PARTNER_REGISTERED,
    REDEMPTION_REVERSED,
    RESERVATION_GIVEN_UP,
    RESERVATION_RELEASED,
    REWARD_COLLECTED,
    REWARD_OFFERED,
    REWARD_WITHDRAWN,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    at,
    collected,
    credited,
    district,
    given,
    reserved,
    volunteer,
)

COUNTER = Actor("P1", "partner")
OTHER_COUNTER = Actor("P2", "partner")
SYSTEM = Actor("@due", "admin")
OFFER = (PARTNER_REGISTERED, REWARD_OFFERED, AGE_ATTESTED, credited("H2", 300))
READY = (*DISTRICT, *OFFER)
"""V3, of 60 years, may redeem RW1 (60 minutes, from a balance of 90, twice a month, for Xinzhu)."""
RESERVED = (*READY, *reserved("RV1"))
COLLECTED = (*READY, *collected("RV1"))
ENDS = at("11-29 00:00")


def ask(reservation: str = "RV1", member: str = "V3", reward: str = "RW1") -> ReserveReward:
    return ReserveReward(
        reservation=reservation, reward=reward, member=member, code_sha256=code_sha256(reservation, CODE)
    )


def spend(code: str = CODE, collected_at: datetime | None = None, reservation: str = "RV1") -> CollectReward:
    return CollectReward(reservation=reservation, code=code, collected_at=collected_at)


# ── Reserving ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_member_reserves_and_the_minutes_are_held_through_the_last_day() -> None:
    fact = replace(REWARD_RESERVED_NOW, reserved_by="V3")
    held = MinutesHeld("household:H2", 60, "reservation:RV1")
    given(READY).when(reserve, ask(), actor=volunteer("V3")).then(fact, held, policy=1)
    given(READY).when(reserve, ask()).then(replace(fact, reserved_by="S2"), held, policy=1)


REWARD_RESERVED_NOW = RewardReserved(
    *("RV1", "RW1", "P1", "V3", "H2", XINZHU, 60, code_sha256("RV1", CODE)),
    *(at("11-22 12:00"), at("11-30 00:00"), "V3"),
)


def test_the_last_day_is_the_ledgers_and_as_late_as_the_policy_says() -> None:
    facts = (*district(reservation_days=1), *OFFER)
    late = datetime.fromisoformat("2026-11-22T15:59:59+00:00")  # a second before midnight in Shanghai
    for now, expires_at in ((late, at("11-24 00:00")), (late + timedelta(seconds=1), at("11-25 00:00"))):
        fact, _ = given(facts).when(reserve, ask(), now=now).accepted
        assert isinstance(fact, RewardReserved)
        assert fact.expires_at == expires_at
        assert fact.expires_at.utcoffset() == timedelta(hours=8)


def test_a_member_reserves_for_others_of_their_household_and_for_nobody_else() -> None:
    facts = (*READY, MemberRegistered("V5", "H2"))
    assert given(facts).when(reserve, ask(), actor=volunteer("V5")).accepted
    for stranger in ("V1", "V9"):
        given(facts).when(reserve, ask(), actor=volunteer(stranger)).refused(UnknownMember("V3"))
    given(facts).when(reserve, ask(member="V9"), actor=volunteer("V9")).refused(UnknownMember("V9"))


def test_staff_reserve_for_members_of_their_community_and_are_told_nothing_of_another() -> None:
    assert given(READY).when(reserve, ask(), actor=STAFF).accepted
    assert given(READY).when(reserve, ask(), actor=ADMIN).accepted
    given(READY).when(reserve, ask(), actor=STAFF_ELSEWHERE).refused(UnknownMember("V3"))


def test_a_number_is_one_reservations_only() -> None:
    given(RESERVED).when(reserve, ask()).refused(ReservationAlreadyMade("RV1"))


def test_only_a_reward_that_is_offered_is_reserved() -> None:
    given(READY).when(reserve, ask(reward="RW9")).refused(UnknownReward("RW9"))
    given(READY, REWARD_WITHDRAWN).when(reserve, ask()).refused(RewardAlreadyWithdrawn("RW1"))


def test_a_reward_may_be_for_some_communities_only() -> None:
    jinhu = replace(REWARD_OFFERED, reward="RW2", communities=(JINHU,))
    given(READY, jinhu).when(reserve, ask(reward="RW2")).refused(RewardNotForCommunity("RW2", XINZHU))
    both = replace(jinhu, communities=(JINHU, XINZHU))
    assert given(READY, both).when(reserve, ask(reward="RW2")).accepted


@pytest.mark.parametrize(
    ("policy_years", "reward_years", "attested", "needed"),
    [(60, 0, 59, 60), (0, 60, 59, 60), (65, 60, 60, 65), (60, 65, 64, 65), (0, 1, 0, 1)],
)
def test_the_age_is_the_higher_of_the_policys_and_the_rewards(
    policy_years: int, reward_years: int, attested: int, needed: int
) -> None:
    facts = [*district(redemption_age_years_min=policy_years), PARTNER_REGISTERED, credited("H2", 300)]
    facts += [replace(REWARD_OFFERED, age_years_min=reward_years), AgeAttested("V3", attested, "S2")]
    given(facts).when(reserve, ask()).refused(AgeNotAttested("V3", attested, needed))
    assert given(facts, AgeAttested("V3", needed, "S2")).when(reserve, ask()).accepted


def test_without_an_attested_age_nobody_redeems_where_one_is_asked_for_and_everybody_where_none_is() -> None:
    facts = (*DISTRICT, PARTNER_REGISTERED, credited("H2", 300))
    given(facts, REWARD_OFFERED).when(reserve, ask()).refused(AgeNotAttested("V3", 0, 60))
    assert given(facts, replace(REWARD_OFFERED, age_years_min=0)).when(reserve, ask()).accepted


@pytest.mark.parametrize(("policy_minutes", "reward_minutes", "needed"), [(0, 90, 90), (120, 90, 120), (6000, 0, 6000)])
def test_the_balance_from_which_one_redeems_is_the_higher_of_the_policys_and_the_rewards(
    policy_minutes: int, reward_minutes: int, needed: int
) -> None:
    facts = [*district(redemption_balance_minutes_min=policy_minutes), PARTNER_REGISTERED, AGE_ATTESTED]
    facts += [replace(REWARD_OFFERED, balance_minutes_min=reward_minutes), credited("H2", needed - 1)]
    given(facts).when(reserve, ask()).refused(RedemptionBalanceTooLow("household:H2", needed - 1, needed))
    # What is held counts towards it, since it is still the household's; it can't pay for anything else.
    held = (credited("H2", 61), MinutesHeld("household:H2", 60, "request:Q1"))
    assert given(facts, held).when(reserve, ask()).accepted


def test_what_is_available_must_cover_the_price_and_nobody_redeems_on_credit() -> None:
    facts = (*district(balance_minutes_min=-600), PARTNER_REGISTERED, AGE_ATTESTED)
    facts += (replace(REWARD_OFFERED, balance_minutes_min=0), credited("H2", 100))
    given(facts, MinutesHeld("household:H2", 41, "request:Q1")).when(reserve, ask()).refused(
        BalanceTooLow("household:H2", 59, 60, 0)
    )
    assert given(facts, MinutesHeld("household:H2", 40, "request:Q1")).when(reserve, ask()).accepted
    given(facts, reserved("RV2")).when(reserve, ask()).refused(BalanceTooLow("household:H2", 40, 60, 0))


def test_the_last_one_is_reserved_once() -> None:
    facts = (*DISTRICT, PARTNER_REGISTERED, AGE_ATTESTED, replace(REWARD_OFFERED, items=1), credited("H2", 300))
    assert given(facts).when(reserve, ask()).accepted
    given(facts, reserved("RV2")).when(reserve, ask()).refused(RewardOutOfStock("RW1"))
    assert given(facts, reserved("RV2"), replace(RESERVATION_RELEASED, reservation="RV2")).when(reserve, ask()).accepted
    assert given(facts, reserved("RV2"), RewardRestocked("RW1", 1, "P1")).when(reserve, ask()).accepted


def test_a_household_has_so_many_a_month_and_what_came_to_nothing_does_not_count() -> None:
    refused = RewardLimitReached("RW1", 2)
    two = (*RESERVED, *reserved("RV2"))
    given(two).when(reserve, ask("RV3")).refused(refused)
    given(READY, collected("RV1"), reserved("RV2"), RESERVATION_GIVEN_UP).when(reserve, ask("RV3")).refused(refused)
    assert given(two, RESERVATION_RELEASED).when(reserve, ask("RV3")).accepted
    assert given(COLLECTED, REDEMPTION_REVERSED, reserved("RV2")).when(reserve, ask("RV3")).accepted
    assert given(two).when(reserve, ask("RV3"), now=at("12-01 00:00")).accepted
    other = replace(REWARD_OFFERED, reward="RW2")
    assert given(two, other).when(reserve, ask("RV3", reward="RW2")).accepted


def test_reserving_needs_a_policy_and_lives_under_todays() -> None:
    without = [fact for fact in READY if not isinstance(fact, PolicyAdopted)]
    given(without).when(reserve, ask()).refused(NoPolicyInForce("2026-11-22"))
    today = PolicyAdopted(2, NOW.date(), Policy(reservation_days=30))
    decided = given(READY, today).when(reserve, ask()).decided
    assert decided is not None
    assert decided.policy == 2


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, "G" * 64, "A" * 64, CODE])
def test_what_is_sent_for_the_code_is_a_digest_and_never_the_code(digest: str) -> None:
    with pytest.raises(ValidationError):
        ReserveReward(reservation="RV1", reward="RW1", member="V3", code_sha256=digest)


# ── Collecting ───────────────────────────────────────────────────────────────────────────────────────────────

RELEASED = MinutesReleased("household:H2", 60, "reservation:RV1")


@pytest.mark.parametrize("actor", [COUNTER, STAFF, ADMIN])
def test_the_code_collects_and_the_minutes_go_to_the_partner(actor: Actor) -> None:
    fact = replace(REWARD_COLLECTED, collected_at=NOW)
    given(RESERVED).when(collect, spend(), actor=actor).then(RELEASED, fact, policy=0)
    account = given(RESERVED, RELEASED, fact).state(Account.of("household:H2"))
    assert account == Account("household:H2", 240, 0)
    assert given(RESERVED, RELEASED, fact).state(Account.of("partner:P1")).balance_minutes == 60


@pytest.mark.parametrize("code", ["abcdefghijklmnop", "ABCD-EFGH-IJKL-MNOP", " abcd efgh ijkl mnop "])
def test_a_code_may_be_typed_as_it_is_printed(code: str) -> None:
    assert given(RESERVED).when(collect, spend(code), actor=COUNTER).accepted


@pytest.mark.parametrize("code", ["", "ABCDEFGHIJKLMNO", "ABCDEFGHIJKLMNO1", "A" * 65, "ABCDEFGHIJKLMNOＰ"])
def test_a_code_that_is_too_short_to_be_secret_is_none(code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spend(code)
    assert "16" in str(refused.value)


def test_a_wrong_code_collects_nothing_nor_does_the_code_of_another_reservation() -> None:
    given(RESERVED).when(collect, spend("P" * 16), actor=COUNTER).refused(WrongCode("RV1"))
    assert code_sha256("RV1", CODE) != code_sha256("RV2", CODE)


def test_a_code_is_in_no_fact_and_in_nothing_that_is_printed() -> None:
    facts = given(RESERVED).when(collect, spend(), actor=COUNTER).accepted
    assert CODE not in repr((facts, RESERVED, spend(), WrongCode("RV1")))


def test_a_code_is_spent_once_whatever_became_of_it() -> None:
    refused = ReservationAlreadyCollected("RV1")
    given(COLLECTED).when(collect, spend(), actor=COUNTER).refused(refused)
    given(COLLECTED, REDEMPTION_REVERSED).when(collect, spend(), actor=COUNTER).refused(refused)
    given(RESERVED, RESERVATION_RELEASED).when(collect, spend(), actor=COUNTER).refused(
        ReservationAlreadyReleased("RV1")
    )


@pytest.mark.parametrize("actor", [OTHER_COUNTER, STAFF_ELSEWHERE])
def test_to_others_a_reservation_is_not_there(actor: Actor) -> None:
    for decide, command in ((collect, spend()), (release, ReleaseReservation(reservation="RV1"))):
        given(RESERVED).when(decide, command, actor=actor).refused(UnknownReservation("RV1"))
        given(READY).when(decide, command, actor=actor).refused(UnknownReservation("RV1"))


def test_staff_where_the_partner_is_collect_for_households_of_elsewhere() -> None:
    partner = PartnerRegistered("P1", "金湖食堂", JINHU, "S9")
    facts = tuple(partner if fact is PARTNER_REGISTERED else fact for fact in RESERVED)
    assert given(facts).when(collect, spend(), actor=STAFF_ELSEWHERE).accepted
    assert given(facts).when(collect, spend(), actor=STAFF).accepted


def test_a_reward_that_was_withdrawn_since_is_still_collected() -> None:
    assert given(RESERVED, REWARD_WITHDRAWN).when(collect, spend(), actor=COUNTER).accepted


def test_without_a_network_a_counter_hands_in_later_what_was_collected_in_time() -> None:
    last = ENDS - timedelta(minutes=1)
    for now in (last, ENDS, ENDS + COLLECTION_GRACE - timedelta(seconds=1)):
        outcome = given(RESERVED).when(collect, spend(collected_at=last), actor=COUNTER, now=now)
        outcome.then(RELEASED, replace(REWARD_COLLECTED, collected_at=last))
    too_late = HandedInTooLate("RV1", "2026-12-02T00:00:00+08:00")
    given(RESERVED).when(collect, spend(collected_at=last), actor=COUNTER, now=ENDS + COLLECTION_GRACE).refused(
        too_late
    )


def test_a_collection_is_of_a_time_that_has_come_and_at_which_the_reservation_held() -> None:
    future = spend(collected_at=NOW + timedelta(seconds=1))
    given(RESERVED).when(collect, future, actor=COUNTER).refused(
        CollectedInTheFuture("RV1", "2026-11-22T12:00:01+08:00")
    )
    span = ("2026-11-21T09:00:00+08:00", "2026-11-29T00:00:00+08:00")
    for collected_at in (at("11-21 08:59"), ENDS):
        outcome = given(RESERVED).when(collect, spend(collected_at=collected_at), actor=COUNTER, now=ENDS)
        outcome.refused(CollectedOutsideReservation("RV1", collected_at.isoformat(), *span))
    given(RESERVED).when(collect, spend(), actor=COUNTER, now=ENDS).refused(
        CollectedOutsideReservation("RV1", ENDS.isoformat(), *span)
    )
    assert given(RESERVED).when(collect, spend(collected_at=at("11-21 09:00")), actor=COUNTER).accepted


def test_a_counters_list_is_taken_whole_or_not_at_all() -> None:
    facts = (*RESERVED, *reserved("RV2"))
    rows = tuple(spend(reservation=number, collected_at=at("11-22 09:00")) for number in ("RV1", "RV2"))
    accepted = given(facts).when(collect_many, CollectManyRewards(collections=rows), actor=COUNTER).accepted
    assert [fact.reservation for fact in accepted if isinstance(fact, RewardCollected)] == ["RV1", "RV2"]
    bad = (*rows, rows[0], spend("P" * 16, reservation="RV2"), spend(reservation="RV9"))
    given(facts).when(collect_many, CollectManyRewards(collections=bad), actor=COUNTER).refused(
        RowsRefused(
            (
                (2, ReservationAlreadyCollected("RV1")),
                (3, ReservationAlreadyCollected("RV2")),
                (4, UnknownReservation("RV9")),
            )
        )
    )


def test_what_was_promised_is_paid_though_the_hours_behind_it_were_reversed_since() -> None:
    undone = HoursReversed("household:H2", "issuance", 300, "R0", "S2", "false-record")
    accepted = given(RESERVED, undone).when(collect, spend(), actor=COUNTER).accepted
    assert given(RESERVED, undone, accepted).state(Account.of("household:H2")) == Account("household:H2", -60, 0)


# ── Releasing ────────────────────────────────────────────────────────────────────────────────────────────────

LET_GO = ReleaseReservation(reservation="RV1")


@pytest.mark.parametrize(("actor", "cause"), [(COUNTER, "by-partner"), (STAFF, "by-staff"), (ADMIN, "by-staff")])
def test_who_knows_that_nothing_was_handed_over_releases_at_once(actor: Actor, cause: Any) -> None:
    released = ReservationReleased("RV1", "RW1", actor.id, cause)
    given(RESERVED).when(release, LET_GO, actor=actor).then(RELEASED, released, policy=0)
    given(RESERVED, RESERVATION_GIVEN_UP).when(release, LET_GO, actor=actor).then(RELEASED, released)
    assert given(RESERVED, RELEASED, released).state(Account.of("household:H2")) == Account("household:H2", 300, 0)


def test_a_member_gives_up_at_once_and_a_counter_without_a_network_may_still_hand_in_what_was_before() -> None:
    given_up = ReservationGivenUp("RV1", "V3", NOW)
    given(RESERVED).when(release, LET_GO, actor=volunteer("V3")).then(given_up, policy=0)
    facts = (*RESERVED, given_up)
    assert given(facts).state(Account.of("household:H2")).held_minutes == 60
    before = spend(collected_at=NOW - timedelta(minutes=1))
    assert given(facts).when(collect, before, actor=COUNTER, now=NOW + timedelta(days=1)).accepted
    outside = CollectedOutsideReservation(
        "RV1", "2026-11-22T12:00:00+08:00", "2026-11-21T09:00:00+08:00", "2026-11-22T12:00:00+08:00"
    )
    given(facts).when(collect, spend(), actor=COUNTER).refused(outside)
    given(facts).when(release, LET_GO, actor=volunteer("V3")).refused(ReservationAlreadyEnded("RV1"))
    given(facts).when(release, LET_GO, actor=SYSTEM, now=NOW + COLLECTION_GRACE).then(
        RELEASED, ReservationReleased("RV1", "RW1", "@due", "given-up")
    )


def test_only_its_own_household_gives_a_reservation_up() -> None:
    given(RESERVED).when(release, LET_GO, actor=volunteer("V1")).refused(UnknownReservation("RV1"))
    given(RESERVED).when(release, LET_GO, actor=volunteer("V9")).refused(UnknownReservation("RV1"))
    given(RESERVED).when(release, LET_GO, actor=volunteer("V3"), now=ENDS).refused(ReservationAlreadyEnded("RV1"))


def test_the_system_releases_what_has_ended_once_no_counter_can_hand_it_in() -> None:
    until = ENDS + COLLECTION_GRACE
    refused = CollectionStillPossible("RV1", "2026-12-02T00:00:00+08:00")
    given(RESERVED).when(release, LET_GO, actor=SYSTEM, now=until - timedelta(seconds=1)).refused(refused)
    given(RESERVED).when(release, LET_GO, actor=SYSTEM, now=until).then(
        RELEASED, ReservationReleased("RV1", "RW1", "@due", "expired")
    )


def test_a_reservation_is_released_once_and_never_after_it_was_collected() -> None:
    for actor in (COUNTER, STAFF, volunteer("V3"), SYSTEM):
        given(COLLECTED).when(release, LET_GO, actor=actor).refused(ReservationAlreadyCollected("RV1"))
        given(RESERVED, RESERVATION_RELEASED).when(release, LET_GO, actor=actor).refused(
            ReservationAlreadyReleased("RV1")
        )


# ── Reversing ────────────────────────────────────────────────────────────────────────────────────────────────


def undo(restocked: bool = True) -> ReverseRedemption:
    return ReverseRedemption(reservation="RV1", reason="other", restocked=restocked)


@pytest.mark.parametrize("restocked", [True, False])
def test_a_redemption_is_reversed_exactly_and_the_item_is_in_the_stock_again_if_it_came_back(restocked: bool) -> None:
    undone = replace(REDEMPTION_REVERSED, restocked=restocked)
    given(COLLECTED).when(reverse_redemption, undo(restocked)).then(undone, policy=0)
    facts = given(COLLECTED, undone)
    assert facts.state(Account.of("household:H2")).balance_minutes == 300
    assert facts.state(Account.of("partner:P1")).balance_minutes == 0
    assert facts.state(Reward.of("RW1")).items_left == 4 + restocked


def test_a_redemption_is_reversed_once_and_only_if_it_was_one() -> None:
    given(COLLECTED, REDEMPTION_REVERSED).when(reverse_redemption, undo()).refused(RedemptionAlreadyReversed("RV1"))
    for facts in (RESERVED, (*RESERVED, RESERVATION_GIVEN_UP), (*RESERVED, RESERVATION_RELEASED)):
        given(facts).when(reverse_redemption, undo()).refused(RewardNotCollected("RV1"))
    given(READY).when(reverse_redemption, undo()).refused(UnknownReservation("RV1"))


def test_nobody_reverses_a_redemption_of_their_own_household_or_of_another_community() -> None:
    own = MemberRegistered("S2", "H2")
    given(COLLECTED, own).when(reverse_redemption, undo()).refused(RedemptionOfOwnHousehold("RV1", "H2"))
    given(COLLECTED).when(reverse_redemption, undo(), actor=STAFF_ELSEWHERE).refused(UnknownReservation("RV1"))


@pytest.mark.parametrize("heir", ["household:H1", "pool:" + XINZHU, "expired"])
def test_a_closed_households_heir_has_the_minutes_back(heir: str) -> None:
    closed = HouseholdClosed("H2", "died", heir, ("V3",))
    given(COLLECTED, closed).when(reverse_redemption, undo()).then(replace(REDEMPTION_REVERSED, target=heir))


def test_nobody_reverses_a_redemption_in_favour_of_their_own_household_that_is_the_heir() -> None:
    own = (MemberRegistered("S2", "H1"), HouseholdMerged("H2", "H1", ("V3",)))
    given(COLLECTED, own).when(reverse_redemption, undo()).refused(RedemptionOfOwnHousehold("RV1", "H2"))
