"""Partners and their rewards: who offers what, how many are left, and what is settled."""

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import Account, PartnerSettled, RedemptionReversed
from domain.community import OutsideCommunity, UnknownCommunity
from domain.decision import Actor
from domain.partner import (
    ITEMS_MAX,
    NothingToSettle,
    OfferReward,
    Partner,
    PartnerAlreadyRegistered,
    PartnerRegistered,
    RegisterPartner,
    RestockReward,
    Reward,
    RewardAlreadyOffered,
    RewardAlreadyWithdrawn,
    RewardOffered,
    RewardRestocked,
    RewardWithdrawn,
    SettlePartner,
    StockTooLarge,
    UnknownPartner,
    UnknownReward,
    WithdrawReward,
    offer_reward,
    register_partner,
    restock_reward,
    settle_partner,
    withdraw_reward,
)
from tests.controls import (
    ADMIN,
    DISTRICT,
    JINHU,
    PARTNER_REGISTERED,
    REDEMPTION_REVERSED,
    REDEMPTIONS,
    RESERVATION_RELEASED,
    REWARD_OFFERED,
    REWARD_RESTOCKED,
    REWARD_WITHDRAWN,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    collected,
    given,
    reserved,
)

COUNTER = Actor("P1", "partner")
OTHER_COUNTER = Actor("P2", "partner")
OFFERED = (*DISTRICT, PARTNER_REGISTERED, REWARD_OFFERED)


def test_a_partner_is_registered_where_its_counter_is() -> None:
    command = RegisterPartner(partner="P1", name="新竹食堂", community=XINZHU)
    given(DISTRICT).when(register_partner, command).then(PARTNER_REGISTERED, policy=0)
    given(DISTRICT).when(register_partner, command, actor=ADMIN).then(replace(PARTNER_REGISTERED, registered_by="A1"))


def test_a_partner_is_registered_once_in_a_community_of_ones_own() -> None:
    command = RegisterPartner(partner="P1", name="别名", community=XINZHU)
    given(DISTRICT, PARTNER_REGISTERED).when(register_partner, command).refused(PartnerAlreadyRegistered("P1"))
    given(DISTRICT).when(register_partner, command, actor=STAFF_ELSEWHERE).refused(OutsideCommunity(XINZHU, JINHU))
    nowhere = RegisterPartner(partner="P1", name="别名", community="没有的社区")
    given(DISTRICT).when(register_partner, nowhere, actor=ADMIN).refused(UnknownCommunity("没有的社区"))


def offer(**changes: Any) -> OfferReward:
    terms = {"reward": "RW1", "partner": "P1", "name": "午餐", "minutes": 60, "items": 5, "communities": (XINZHU,)}
    return OfferReward.model_validate(
        terms | {"age_years_min": 60, "balance_minutes_min": 90, "household_month_max": 2} | changes
    )


def test_a_reward_is_offered_with_its_price_its_stock_and_who_may_redeem_it() -> None:
    given(DISTRICT, PARTNER_REGISTERED).when(offer_reward, offer()).then(REWARD_OFFERED, policy=0)


def test_a_reward_without_a_number_gets_one_and_without_terms_is_for_everybody() -> None:
    command = OfferReward(partner="P1", name="理发", minutes=30, items=0)
    number = "01234567-89abcdef-01234567-89abcdef"
    plain = RewardOffered(number, "P1", "理发", 30, 0, (), 0, 0, None, "S2")
    given(DISTRICT, PARTNER_REGISTERED).when(offer_reward, command).then(plain)


def test_a_community_named_twice_is_named_once() -> None:
    outcome = given(DISTRICT, PARTNER_REGISTERED).when(offer_reward, offer(communities=(JINHU, XINZHU, JINHU)))
    outcome.then(replace(REWARD_OFFERED, communities=(JINHU, XINZHU)))


def test_a_reward_is_refused() -> None:
    given(DISTRICT).when(offer_reward, offer()).refused(UnknownPartner("P1"))
    given(OFFERED).when(offer_reward, offer(minutes=1)).refused(RewardAlreadyOffered("RW1"))
    given(DISTRICT, PARTNER_REGISTERED).when(offer_reward, offer(), actor=STAFF_ELSEWHERE).refused(UnknownPartner("P1"))
    nowhere = offer(communities=(XINZHU, "没有的社区"))
    given(DISTRICT, PARTNER_REGISTERED).when(offer_reward, nowhere).refused(UnknownCommunity("没有的社区"))


@pytest.mark.parametrize(
    "changes",
    [
        {"minutes": 0},
        {"minutes": -60},
        {"items": -1},
        {"items": ITEMS_MAX + 1},
        {"age_years_min": 121},
        {"balance_minutes_min": -1},
        {"household_month_max": 0},
    ],
)
def test_a_reward_against_sense_can_not_even_be_asked_for(changes: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        offer(**changes)


@pytest.mark.parametrize("actor", [COUNTER, STAFF, ADMIN])
def test_the_partner_itself_or_staff_restock_and_withdraw(actor: Actor) -> None:
    restocked = RewardRestocked("RW1", 3, actor.id)
    given(OFFERED).when(restock_reward, RestockReward(reward="RW1", items=3), actor=actor).then(restocked)
    given(OFFERED).when(withdraw_reward, WithdrawReward(reward="RW1"), actor=actor).then(
        RewardWithdrawn("RW1", actor.id)
    )


@pytest.mark.parametrize("actor", [OTHER_COUNTER, STAFF_ELSEWHERE])
def test_to_others_a_reward_is_not_there(actor: Actor) -> None:
    for decide, command in (
        (restock_reward, RestockReward(reward="RW1", items=3)),
        (withdraw_reward, WithdrawReward(reward="RW1")),
    ):
        given(OFFERED).when(decide, command, actor=actor).refused(UnknownReward("RW1"))
        given(DISTRICT).when(decide, command, actor=ADMIN).refused(UnknownReward("RW1"))


def test_what_was_withdrawn_is_not_restocked_nor_withdrawn_again() -> None:
    refused = RewardAlreadyWithdrawn("RW1")
    given(OFFERED, REWARD_WITHDRAWN).when(restock_reward, RestockReward(reward="RW1", items=3)).refused(refused)
    given(OFFERED, REWARD_WITHDRAWN).when(withdraw_reward, WithdrawReward(reward="RW1")).refused(refused)


def test_a_stock_has_an_end() -> None:
    command = RestockReward(reward="RW1", items=ITEMS_MAX - 4)
    given(OFFERED).when(restock_reward, command).refused(StockTooLarge("RW1", 5, ITEMS_MAX - 4, ITEMS_MAX))
    assert given(OFFERED).when(restock_reward, RestockReward(reward="RW1", items=ITEMS_MAX - 5)).accepted


def test_the_stock_is_what_was_offered_and_added_less_what_is_reserved() -> None:
    def left(*facts: Any) -> int:
        return given(OFFERED, *facts).state(Reward.of("RW1")).items_left

    assert left() == 5
    assert left(REWARD_RESTOCKED) == 8
    assert left(reserved("RV1"), reserved("RV2")) == 3
    assert left(reserved("RV1"), RESERVATION_RELEASED) == 5
    assert left(collected("RV1")) == 4
    assert left(collected("RV1"), REDEMPTION_REVERSED) == 5
    assert left(collected("RV1"), replace(REDEMPTION_REVERSED, restocked=False)) == 4


def test_all_that_a_partner_holds_is_settled_on_statements_that_are_numbered() -> None:
    facts = (DISTRICT, REDEMPTIONS)
    first = PartnerSettled("partner:P1", "settled", 60, "P1", 1, "S2")
    given(*facts).when(settle_partner, SettlePartner(partner="P1")).then(first, policy=0)
    given(*facts, first).when(settle_partner, SettlePartner(partner="P1")).refused(NothingToSettle("P1", 0))
    second = replace(first, minutes=120, number=2)
    given(*facts, first, collected("RV3"), collected("RV4")).when(settle_partner, SettlePartner(partner="P1")).then(
        second
    )
    assert given(*facts, first).state(Account.of("partner:P1")).balance_minutes == 0
    assert given(*facts, first, second).state(Partner.of("P1")) == Partner("P1", PARTNER_REGISTERED, 2)


def test_what_is_reversed_after_it_was_settled_lowers_the_next_settlement() -> None:
    settled = PartnerSettled("partner:P1", "settled", 60, "P1", 1, "S2")
    undone = RedemptionReversed("partner:P1", "household:H2", 60, "RV2", "RW1", "S2", "other", False)
    facts = (DISTRICT, REDEMPTIONS, settled, undone)
    command = SettlePartner(partner="P1")
    given(*facts).when(settle_partner, command).refused(NothingToSettle("P1", -60))
    given(*facts, collected("RV3"), collected("RV4")).when(settle_partner, command).then(replace(settled, number=2))


def test_staff_settle_with_partners_of_their_community() -> None:
    command = SettlePartner(partner="P1")
    for facts, actor in (((DISTRICT, REDEMPTIONS), STAFF_ELSEWHERE), ((DISTRICT,), ADMIN)):
        given(*facts).when(settle_partner, command, actor=actor).refused(UnknownPartner("P1"))


def test_who_is_paid_is_named_by_a_number_that_is_no_phone_number() -> None:
    with pytest.raises(ValidationError):
        RegisterPartner(partner="13812345678", name="食堂", community=XINZHU)
    with pytest.raises(ValidationError):
        RegisterPartner(partner="P1", name="食堂 13812345678", community=XINZHU)
    assert PartnerRegistered("P1", "新竹食堂", XINZHU, "S2").tags() == ("partner:P1",)
