"""Redemption: who may reserve, what is held, a code that is spent once, and no stock or balance below zero."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import (
    Account,
    BalanceTooLow,
    HoursReversed,
    MinutesHeld,
    MinutesReleased,
    PartnerSettled,
    RedemptionReversed,
    RewardCollected,
)
from domain.decision import Actor, Context, Decision, Reading, RowsRefused, drive, fold_facts
from domain.fact import Fact, Movement
from domain.household import AgeAttested, HouseholdRegistered, MemberRegistered, UnknownMember
from domain.partner import (
    OfferReward,
    PartnerRegistered,
    ReservationReleased,
    RestockReward,
    Reward,
    RewardAlreadyWithdrawn,
    RewardOffered,
    RewardReserved,
    RewardRestocked,
    RewardWithdrawn,
    SettlePartner,
    UnknownReward,
    WithdrawReward,
    offer_reward,
    restock_reward,
    settle_partner,
    withdraw_reward,
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
    Reservation,
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
from domain.refusal import Refusal
from infrastructure.codec import decode, encode
from tests.controls import (
    ADMIN,
    AGE_ATTESTED,
    CODE,
    COMMAND_ID,
    DISTRICT,
    JINHU,
    NOW,
    OFFSET,
    PARTNER_REGISTERED,
    POLICY_ADOPTED,
    REDEMPTION_REVERSED,
    RESERVATION_GIVEN_UP,
    RESERVATION_RELEASED,
    REWARD_COLLECTED,
    REWARD_OFFERED,
    REWARD_WITHDRAWN,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    ZONE,
    at,
    collected,
    credited,
    district,
    envelope,
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


# ── At random ────────────────────────────────────────────────────────────────────────────────────────────────

HOUSEHOLDS = {"H1": XINZHU, "H2": XINZHU, "H3": JINHU}
MEMBERS = {"V1": "H1", "V2": "H2", "V3": "H3", "V4": "H1"}
START = at("11-26 10:00")  # the month ends soon
ACTORS = st.one_of(
    st.just(ADMIN),
    st.just(COUNTER),
    st.sampled_from([STAFF, STAFF_ELSEWHERE, OTHER_COUNTER, *map(volunteer, MEMBERS)]),
)
BACK = st.sampled_from([0, 0, 1, 2, 4])
CODES = {n: "ABCDEFGHIJKLMNO" + letter for n, letter in enumerate("PQ")}


class Redeeming(RuleBasedStateMachine):
    """Two rewards, three households and little of anything; beside the facts a model that shares no code with them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.by_tag: dict[str, list[Fact]] = defaultdict(list)
        # The model
        self.stock: Counter[str] = Counter()
        self.balance: Counter[str] = Counter()
        self.held: dict[str, tuple[str, int]] = {}
        self.debt: Counter[str] = Counter()
        self.reservations: dict[str, RewardReserved] = {}
        self.ends: dict[str, datetime] = {}
        self.status: dict[str, str] = {}
        self.settlements = 0
        self.told: list[str] = []

    @initialize(minutes=st.lists(st.integers(60, 400), min_size=3, max_size=3), limit=st.sampled_from([None, 1, 2]))
    def a_district(self, minutes: list[int], limit: int | None) -> None:
        self.record(replace(POLICY_ADOPTED, policy=Policy(reservation_days=1, redemption_age_years_min=60)))
        for (household, community), amount in zip(HOUSEHOLDS.items(), minutes, strict=True):
            self.record(HouseholdRegistered(household, community))
            self.record(credited(household, amount))
        for member, household in MEMBERS.items():
            self.record(MemberRegistered(member, household))
            self.record(AgeAttested(member, 60 if member != "V4" else 59, "S2"))
        self.record(PARTNER_REGISTERED)
        for reward, community in (("RW1", ()), ("RW2", (XINZHU,))):
            self.limit = limit
            self.record(RewardOffered(reward, "P1", "午餐", 50, 2, community, 0, 50, limit, "S2"))
        for reward in ("RW1", "RW2"):
            self.ask(len(self.reservations), reward, ADMIN)

    @precondition(lambda self: self.reservations)
    @rule(hours=st.sampled_from([1, 2, 7, 24, 60, 120]))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(reward=st.sampled_from(["RW1", "RW2"]), actor=st.sampled_from([ADMIN, STAFF, *map(volunteer, MEMBERS)]))
    def reserve(self, reward: str, actor: Actor) -> None:
        self.ask(len(self.reservations), reward, actor)

    @precondition(lambda self: self.reservations)
    @rule(reward=st.sampled_from(["RW1", "RW2"]), actor=ACTORS)
    def reserve_under_a_number_that_is_taken(self, reward: str, actor: Actor) -> None:
        self.ask(len(self.reservations) - 1, reward, actor)

    def ask(self, number: int, reward: str, actor: Actor) -> None:
        member = actor.id if actor.role == "volunteer" else ("V1", "V2", "V3")[len(self.reservations) % 3]
        digest = code_sha256(f"RV{number}", CODES[0])
        command = ReserveReward(reservation=f"RV{number}", reward=reward, member=member, code_sha256=digest)
        self.command(reserve, command, actor)

    @precondition(lambda self: self.reservations)
    @rule(back=BACK, code=st.sampled_from([0] * 5 + [1]), actor=ACTORS, ago=st.sampled_from([None, 0, 2, 5, 70]))
    def collect(self, back: int, code: int, actor: Actor, ago: int | None) -> None:
        collected_at = None if ago is None else self.now - timedelta(hours=ago)
        self.command(collect, spend(CODES[code], collected_at, self.named(back)), actor)

    @precondition(lambda self: len(self.reservations) > 1)
    @rule(back=st.lists(BACK, min_size=1, max_size=2), ago=st.sampled_from([0, 1, 2, 26]))
    def hand_in(self, back: list[int], ago: int) -> None:
        rows = tuple(spend(CODES[0], self.now - timedelta(hours=ago), self.named(n)) for n in back)
        self.command(collect_many, CollectManyRewards(collections=rows), COUNTER)

    @precondition(lambda self: self.reservations)
    @rule(back=BACK, actor=ACTORS)
    def release(self, back: int, actor: Actor) -> None:
        self.command(release, ReleaseReservation(reservation=self.named(back)), actor)

    @precondition(lambda self: self.reservations)
    @rule(back=BACK)
    def give_up(self, back: int) -> None:
        member = volunteer(self.reservations[self.named(back)].member)
        self.command(release, ReleaseReservation(reservation=self.named(back)), member)

    @precondition(lambda self: "open" in self.status.values())
    @rule()
    def release_what_is_due(self) -> None:
        for number in list(self.reservations):
            self.command(release, ReleaseReservation(reservation=number), SYSTEM)

    @precondition(lambda self: "collected" in self.status.values())
    @rule(back=BACK, restocked=st.booleans())
    def reverse(self, back: int, restocked: bool) -> None:
        command = ReverseRedemption(reservation=self.named(back), reason="other", restocked=restocked)
        self.command(reverse_redemption, command, ADMIN)

    @rule(actor=ACTORS, reward=st.sampled_from(["RW1", "RW2"]))
    def restock(self, actor: Actor, reward: str) -> None:
        self.command(restock_reward, RestockReward(reward=reward, items=1), actor)

    @precondition(lambda self: len(self.reservations) > 6)
    @rule()
    def withdraw(self) -> None:
        self.command(withdraw_reward, WithdrawReward(reward="RW2"), ADMIN)
        again = OfferReward(reward="RW2", partner="P1", name="午餐", minutes=1, items=100)
        self.command(offer_reward, again, ADMIN)

    @precondition(lambda self: "collected" in self.status.values())
    @rule()
    def settle(self) -> None:
        self.command(settle_partner, SettlePartner(partner="P1"), ADMIN)

    @rule(household=st.sampled_from(sorted(HOUSEHOLDS)), minutes=st.integers(1, 80), falsely=st.booleans())
    def earn(self, household: str, minutes: int, falsely: bool) -> None:
        """Hours are credited; some were false, and are reversed once they may have been spent or promised."""
        account = "household:" + household
        if falsely and self.balance[account] >= minutes:
            self.debt[account] += minutes
            self.record(HoursReversed(account, "issuance", minutes, "R0", "S2", "false-record"))
        else:
            self.record(credited(household, minutes))

    def named(self, back: int) -> str:
        return f"RV{max(0, len(self.reservations) - 1 - back)}"

    def command(self, decide: Callable[[Any, Context], Decision], command: Any, actor: Actor) -> None:
        context = Context(actor, self.now, COMMAND_ID, ZONE)
        try:
            decided = drive(decide(command, context), self.state)
        except Refusal as refusal:
            self.told.append(str(refusal))
            return
        assert drive(decide(command, context), self.state) == decided  # pure
        for fact in decided.facts:
            self.record(fact)

    def state(self, reading: Reading[Any]) -> Any:
        return fold_facts(reading, self.by_tag[reading.tag])

    def record(self, fact: Fact) -> None:
        stored = encode(envelope(fact))
        assert not any(code.encode() in stored for code in CODES.values())
        assert decode(fact.type, stored).fact == fact
        for tag in fact.tags():
            self.by_tag[tag].append(fact)
        if isinstance(fact, Movement):
            self.balance[fact.source] -= fact.minutes
            self.balance[fact.target] += fact.minutes
        self.model(fact)

    def model(self, fact: Fact) -> None:
        match fact:
            case RewardOffered():
                assert fact.reward not in self.stock
                self.stock[fact.reward] = fact.items
            case RewardRestocked():
                self.stock[fact.reward] += fact.items
            case RewardReserved():
                assert fact.reservation not in self.reservations
                assert MEMBERS[fact.member] == fact.household
                assert fact.member != "V4"  # too young
                assert self.balance["household:" + fact.household] >= 50
                self.stock[fact.reward] -= 1
                self.reservations[fact.reservation], self.status[fact.reservation] = fact, "open"
                self.ends[fact.reservation] = fact.expires_at
                assert (fact.expires_at - fact.reserved_at) > timedelta(days=1)
                self.check_month(fact)
            case ReservationGivenUp():
                assert self.status[fact.reservation] == "open"
                self.ends[fact.reservation] = fact.given_up_at
            case ReservationReleased():
                assert self.status[fact.reservation] == "open"
                assert f"reservation:{fact.reservation}" not in self.held
                assert fact.cause in ("by-staff", "by-partner") or (
                    self.now - self.ends[fact.reservation] >= COLLECTION_GRACE
                )
                self.status[fact.reservation] = "released"
                self.stock[fact.reward] += 1
            case RewardCollected():
                reservation = self.reservations[fact.reservation]
                assert self.status[fact.reservation] == "open"
                assert f"reservation:{fact.reservation}" not in self.held
                assert reservation.reserved_at <= fact.collected_at < self.ends[fact.reservation]
                assert fact.collected_at <= self.now < self.ends[fact.reservation] + COLLECTION_GRACE
                assert fact.collected_at.utcoffset() == OFFSET.utcoffset(None)
                self.status[fact.reservation] = "collected"
            case RedemptionReversed():
                assert self.status[fact.reservation] == "collected"
                self.status[fact.reservation] = "reversed"
                self.stock[fact.reward] += fact.restocked
            case MinutesHeld():
                assert fact.hold not in self.held
                self.held[fact.hold] = (fact.account, fact.minutes)
                available = self.balance[fact.account] - sum(m for a, m in self.held.values() if a == fact.account)
                assert available >= 0  # nothing is promised that isn't there
            case MinutesReleased():
                assert self.held.pop(fact.hold) == (fact.account, fact.minutes)
            case PartnerSettled():
                assert fact.minutes > 0
                self.settlements += 1
                assert fact.number == self.settlements
                assert self.balance["partner:P1"] == 0
            case RewardWithdrawn():
                assert fact.reward == "RW2"
            case _:
                pass

    def check_month(self, reserved: RewardReserved) -> None:
        counting = [
            other
            for number, other in self.reservations.items()
            if self.status[number] in ("open", "collected")
            and (other.household, other.reward) == (reserved.household, reserved.reward)
            and other.reserved_at.month == reserved.reserved_at.month
        ]
        assert self.limit is None or len(counting) <= self.limit

    @invariant()
    def all_accounts_sum_to_zero_and_are_as_the_model_has_them(self) -> None:
        assert sum(self.balance.values()) == 0
        for name in [*self.balance, *(account for account, _ in self.held.values())]:
            if ":" in name:
                held = sum(minutes for account, minutes in self.held.values() if account == name)
                assert self.state(Account.of(name)) == Account(name, self.balance[name], held)

    @invariant()
    def no_stock_is_below_zero_and_no_balance_but_for_hours_that_were_reversed(self) -> None:
        for reward, left in self.stock.items():
            assert self.state(Reward.of(reward)).items_left == left >= 0
        for household in HOUSEHOLDS:
            account = self.state(Account.of("household:" + household))
            assert account.available_minutes >= -self.debt[account.account]

    @invariant()
    def no_refusal_tells_a_code(self) -> None:
        assert not any(code in text for text in self.told for code in CODES.values())
        self.told.clear()

    @invariant()
    def what_is_open_is_held_and_nothing_else(self) -> None:
        assert set(self.held) == {f"reservation:{number}" for number, status in self.status.items() if status == "open"}
        for number, status in self.status.items():
            found = self.state(Reservation.of(number)).status
            assert found == status or (status, found) in (("open", "reserved"), ("open", "given-up"))


TestRedeeming = Redeeming.TestCase
TestRedeeming.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
