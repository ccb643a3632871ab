"""Partners, their rewards, and how minutes are redeemed for them."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account import PartnerSettled, RedemptionReversed, RewardCollected
from domain.decision import Actor, Reading
from domain.fact import Fact
from domain.partner import (
    OfferReward,
    PartnerRegistered,
    RegisterPartner,
    ReservationReleased,
    RestockReward,
    Reward,
    RewardOffered,
    RewardReserved,
    RewardRestocked,
    RewardWithdrawn,
    SettlePartner,
    WithdrawReward,
    offer_reward,
    register_partner,
    restock_reward,
    settle_partner,
    withdraw_reward,
)
from domain.redemption import (
    COLLECTION_GRACE,
    CollectManyRewards,
    CollectReward,
    ReleaseReservation,
    Reservation,
    ReservationGivenUp,
    ReserveReward,
    ReverseRedemption,
    code_sha256,
    collect,
    collect_many,
    release,
    reserve,
    reverse_redemption,
)
from infrastructure.codec import encode
from tests.controls import JINHU, OFFSET, TIME, XINZHU, envelope
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.households import HouseholdModel
from tests.domain.time_bank.leading import ADMIN, INDEX, STAFF, Leading, member, pick

CODES = ("ABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOQ")
"""The one that reservations are made with, and a wrong one."""
COUNTER, OTHER_COUNTER = Actor("S1P", "partner"), Actor("S2P", "partner")


class RedemptionModel(HouseholdModel):
    def __init__(self) -> None:
        super().__init__()
        self.partners: dict[str, int] = {}
        """How many statements were settled with each."""
        self.rewards: dict[str, RewardOffered] = {}
        self.stock: dict[str, int] = {}
        self.withdrawn: set[str] = set()
        self.reservations: dict[str, RewardReserved] = {}
        self.reservation_ends: dict[str, datetime] = {}
        self.reservation_status: dict[str, str] = {}

    def note(self, fact: Fact, told: Told) -> None:
        stored = encode(envelope(fact))
        assert not any(code.encode() in stored for code in CODES)
        super().note(fact, told)

    def refused(self, *told: str) -> None:
        super().refused(*told)
        assert not any(code in text for code in CODES for text in told)

    @follows(PartnerRegistered)
    def _partner_registered(self, fact: PartnerRegistered, _: Told) -> None:
        assert fact.partner not in self.partners
        assert self.has_place(fact.community)
        self.partners[fact.partner] = 0

    @follows(RewardOffered)
    def _reward_offered(self, fact: RewardOffered, _: Told) -> None:
        assert fact.reward not in self.stock
        assert fact.partner in self.partners
        self.rewards[fact.reward], self.stock[fact.reward] = fact, fact.items

    @follows(RewardRestocked)
    def _restocked(self, fact: RewardRestocked, _: Told) -> None:
        assert fact.reward not in self.withdrawn
        self.stock[fact.reward] += fact.items

    @follows(RewardWithdrawn)
    def _reward_withdrawn(self, fact: RewardWithdrawn, _: Told) -> None:
        assert fact.reward not in self.withdrawn
        self.withdrawn.add(fact.reward)

    @follows(RewardReserved)
    def _reserved(self, fact: RewardReserved, told: Told) -> None:
        offered, policy = self.rewards[fact.reward], told.policy
        assert policy == self.in_force(told.today)
        assert fact.reservation not in self.reservations
        assert fact.reward not in self.withdrawn
        assert self.home[fact.member] == fact.household
        assert fact.community == self.households[fact.household][0]
        assert not offered.communities or fact.community in offered.communities
        assert self.ages[fact.member] >= max(policy.redemption_age_years_min, offered.age_years_min)
        balance_minutes = self.balances["household:" + fact.household]
        assert balance_minutes >= max(policy.redemption_balance_minutes_min, offered.balance_minutes_min)
        assert fact.minutes == offered.minutes
        self.stock[fact.reward] -= 1
        self.reservations[fact.reservation], self.reservation_status[fact.reservation] = fact, "reserved"
        self.reservation_ends[fact.reservation] = fact.expires_at
        assert fact.expires_at - fact.reserved_at > timedelta(days=policy.reservation_days)
        counting = [
            other
            for number, other in self.reservations.items()
            if self.reservation_status[number] in ("reserved", "given-up", "collected")
            and (other.household, other.reward) == (fact.household, fact.reward)
            and (other.reserved_at.year, other.reserved_at.month) == (fact.reserved_at.year, fact.reserved_at.month)
        ]
        assert offered.household_month_max is None or len(counting) <= offered.household_month_max

    @follows(ReservationGivenUp)
    def _given_up(self, fact: ReservationGivenUp, told: Told) -> None:
        assert self.reservation_status[fact.reservation] == "reserved"
        assert self.home[told.actor.id] == self.stands_for(self.reservations[fact.reservation].household)
        self.reservation_status[fact.reservation] = "given-up"
        self.reservation_ends[fact.reservation] = fact.given_up_at

    @follows(ReservationReleased)
    def _reservation_released(self, fact: ReservationReleased, told: Told) -> None:
        """By itself only once no counter can hand it in any more."""
        assert self.reservation_status[fact.reservation] in ("reserved", "given-up")
        assert fact.cause in ("by-staff", "by-partner") or (
            told.now - self.reservation_ends[fact.reservation] >= COLLECTION_GRACE
        )
        self.reservation_status[fact.reservation] = "released"
        self.stock[fact.reward] += 1

    @follows(RewardCollected)
    def _collected(self, fact: RewardCollected, told: Told) -> None:
        """Once, with its code, in time, and handed in in time; its minutes were held for it."""
        reserved, ends_at = self.reservations[fact.reservation], self.reservation_ends[fact.reservation]
        assert self.reservation_status[fact.reservation] in ("reserved", "given-up")
        assert "reservation:" + fact.reservation not in self.holds
        assert reserved.reserved_at <= fact.collected_at < ends_at
        assert fact.collected_at <= told.now < ends_at + COLLECTION_GRACE
        assert fact.collected_at.utcoffset() == OFFSET.utcoffset(None)
        assert (fact.source, fact.minutes) == (self.standing("household:" + reserved.household), reserved.minutes)
        self.reservation_status[fact.reservation] = "collected"

    def floor(self, fact: Any, told: Told) -> int | None:
        # What was held for it is there, unless hours that were earned falsely were reversed meanwhile.
        return None if isinstance(fact, RewardCollected) else super().floor(fact, told)

    @follows(RedemptionReversed)
    def _redemption_reversed(self, fact: RedemptionReversed, told: Told) -> None:
        reserved = self.reservations[fact.reservation]
        assert self.reservation_status[fact.reservation] == "collected"
        assert fact.target == self.standing("household:" + reserved.household)
        assert fact.minutes == reserved.minutes
        self._outsider(told, reserved.household)
        self.reservation_status[fact.reservation] = "reversed"
        self.stock[fact.reward] += fact.restocked

    @follows(PartnerSettled)
    def _settled(self, fact: PartnerSettled, _: Told) -> None:
        self.partners[fact.partner] += 1
        assert fact.number == self.partners[fact.partner]
        assert fact.minutes == self.balances["partner:" + fact.partner] > 0

    def standings(self) -> dict[Reading[Any], str]:
        reservations = {Reservation.of(number): status for number, status in self.reservation_status.items()}
        return super().standings() | reservations

    def expected_holds(self) -> dict[str, int]:
        """What can still be collected is held."""
        return super().expected_holds() | {
            "reservation:" + number: self.reservations[number].minutes
            for number, status in self.reservation_status.items()
            if status in ("reserved", "given-up")
        }

    def check(self) -> None:
        super().check()
        for reward, items in self.stock.items():
            assert self.state(Reward.of(reward)).items_left == items >= 0

    def state(self, reading: Any) -> Any:
        raise NotImplementedError


class RedemptionRules(Leading):
    def reservation(self, index: int, *statuses: str) -> str:
        found = [number for number, status in self.here.reservation_status.items() if status in statuses]
        return pick(found if found and index % 8 != 7 else list(self.here.reservations) or ["RV0"], index)

    def reward(self, index: int) -> str:
        there = [name for name, items in self.here.stock.items() if items and name not in self.here.withdrawn]
        return pick(there if there and index % 8 != 7 else list(self.here.rewards) or ["RW0"], index)

    @rule(community=INDEX, second=st.booleans(), actor=STAFF)
    def register_partner(self, community: int, second: bool, actor: Actor) -> None:
        command = RegisterPartner(
            partner=(COUNTER, OTHER_COUNTER)[second].id, name="食堂", community=self.community(community)
        )
        self.here.send(register_partner, command, actor)

    @precondition(lambda self: self.here.partners)
    @rule(
        partner=INDEX,
        minutes=st.sampled_from([20, 1, 50]),
        items=st.sampled_from([9, 2, 0]),
        limits=st.tuples(
            st.sampled_from([(), (), (XINZHU,), (XINZHU, JINHU)]),
            st.sampled_from([0, 0, 60]),
            st.sampled_from([0, 30]),
            st.sampled_from([None, 1, 2]),
        ),
        actor=STAFF,
    )
    def offer_reward(self, partner: int, minutes: int, items: int, limits: Any, actor: Actor) -> None:
        communities, years, balance_minutes, month_max = limits
        command = OfferReward(
            reward=f"RW{len(self.here.rewards)}",
            partner=pick(list(self.here.partners), partner),
            name="午餐",
            minutes=minutes,
            items=items,
            communities=communities,
            age_years_min=years,
            balance_minutes_min=balance_minutes,
            household_month_max=month_max,
        )
        self.here.send(offer_reward, command, actor)

    @precondition(lambda self: self.here.rewards)
    @rule(reward=INDEX, withdraws=st.sampled_from([False] * 8 + [True]), actor=STAFF | st.just(COUNTER))
    def restock_or_withdraw(self, reward: int, withdraws: bool, actor: Actor) -> None:
        if withdraws:
            self.here.send(withdraw_reward, WithdrawReward(reward=self.reward(reward)), actor)
        else:
            self.here.send(restock_reward, RestockReward(reward=self.reward(reward), items=1), actor)

    @precondition(lambda self: self.here.rewards)
    @rule(reward=INDEX, person=INDEX, fresh=st.sampled_from([True] * 6 + [False]), by_member=st.booleans(), actor=STAFF)
    def reserve(self, reward: int, person: int, fresh: bool, by_member: bool, actor: Actor) -> None:
        who = self.somebody(person)
        number = f"RV{len(self.here.reservations) - (not fresh and bool(self.here.reservations))}"
        command = ReserveReward(
            reservation=number,
            reward=self.reward(reward),
            member=who,
            code_sha256=code_sha256(number, CODES[0]),
        )
        self.here.send(reserve, command, member(who) if by_member else actor)

    def spend(self, number: str, hours_ago: int | None, code: str = CODES[0]) -> CollectReward:
        collected_at = None if hours_ago is None else self.now - timedelta(hours=hours_ago)
        return CollectReward(reservation=number, code=code, collected_at=collected_at)

    @precondition(lambda self: self.here.reservations)
    @rule(
        reservation=INDEX,
        code=st.sampled_from([0] * 5 + [1]),
        hours_ago=st.sampled_from([None, None, 0, 2, 5, 70]),
        actor=st.sampled_from([COUNTER, COUNTER, ADMIN, OTHER_COUNTER]) | STAFF,
    )
    def collect(self, reservation: int, code: int, hours_ago: int | None, actor: Actor) -> None:
        number = self.reservation(reservation, "reserved", "given-up")
        self.here.send(collect, self.spend(number, hours_ago, CODES[code]), actor)

    @precondition(lambda self: len(self.here.reservations) > 1)
    @rule(reservations=st.lists(INDEX, min_size=1, max_size=2), hours_ago=st.sampled_from([0, 1, 2, 26]))
    def hand_in(self, reservations: list[int], hours_ago: int) -> None:
        numbers = [self.reservation(index, "reserved", "given-up") for index in reservations]
        command = CollectManyRewards(collections=tuple(self.spend(number, hours_ago) for number in numbers))
        self.here.send(collect_many, command, pick((ADMIN, COUNTER), reservations[0]))

    @precondition(lambda self: self.here.reservations)
    @rule(reservation=INDEX, gives_up=st.booleans(), actor=st.just(COUNTER) | STAFF)
    def release(self, reservation: int, gives_up: bool, actor: Actor) -> None:
        number = self.reservation(reservation, "reserved", "given-up")
        if gives_up:
            actor = member(self.here.reservations[number].member)
        self.here.send(release, ReleaseReservation(reservation=number), actor)

    @precondition(lambda self: self.here.reservations)
    @rule()
    def release_what_is_due(self) -> None:
        commands = [ReleaseReservation(reservation=number) for number in self.here.reservations]
        self.here.together(*((release, command, TIME) for command in commands))

    @precondition(lambda self: {"collected", "reversed"} & set(self.here.reservation_status.values()))
    @rule(reservation=INDEX, restocked=st.booleans(), actor=STAFF)
    def reverse_redemption(self, reservation: int, restocked: bool, actor: Actor) -> None:
        number = self.reservation(reservation, "collected")
        command = ReverseRedemption(reservation=number, reason="other", restocked=restocked)
        self.here.send(reverse_redemption, command, actor)

    @precondition(lambda self: self.here.partners)
    @rule(partner=INDEX, actor=STAFF)
    def settle_partner(self, partner: int, actor: Actor) -> None:
        self.here.send(settle_partner, SettlePartner(partner=pick(list(self.here.partners), partner)), actor)

    @rule(reward=INDEX, person=INDEX, end=st.sampled_from(["collected", "given-up", "reversed"]))
    def have_lunch(self, reward: int, person: int, end: str) -> None:
        """From reserving to the counter, with everything in its place: chance alone seldom gets so far."""
        number = f"RV{len(self.here.reservations)}"
        self.reserve(reward, person, True, True, ADMIN)
        if number not in self.here.reservations:
            return
        if end == "given-up":
            self.here.send(
                release, ReleaseReservation(reservation=number), member(self.here.reservations[number].member)
            )
        self.here.send(collect, self.spend(number, None if end != "given-up" else 0), ADMIN)
        if end == "reversed":
            reversal = ReverseRedemption(reservation=number, reason="other", restocked=True)
            self.here.send(reverse_redemption, reversal, ADMIN)
