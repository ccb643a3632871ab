"""Partners and what they give for minutes: rewards with a price and a stock (合作单位、兑换项).

The facts that change a reward's stock are all here, so that its stock is one fold:

    left = offered + restocked - reserved + released + given back and put back on the shelf

A partner's account gathers what its counter collected; settling moves it on, on a numbered statement. A redemption that
is reversed after it was settled takes the partner's account below zero, and so lowers the next settlement.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from domain.account import SETTLED, Account, PartnerSettled, RedemptionReversed, partner_account
from domain.community import Community, require_reach, require_scope
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read, read_all
from domain.fact import Fact
from domain.identifiers import PersonId, PlaceName, RecordId, ServiceName, new_number
from domain.refusal import AgainstRule, AlreadyDone, Unknown

ITEMS_MAX: Final = 1_000_000


class PartnerRegistered(Fact, frozen=True, omit_defaults=True):
    """A shop, canteen or organisation that gives rewards; ``community`` is where its counter is."""

    type = "partner-registered.v1"
    partner: str
    name: str
    community: str
    registered_by: str

    def tags(self) -> tuple[str, ...]:
        return ("partner:" + self.partner,)


class RewardOffered(Fact, frozen=True, omit_defaults=True):
    """A partner gives ``items`` of something for ``minutes`` each. Another price or other terms are another reward.

    ``communities`` are those whose households may redeem it (none named: all); ``age_years_min`` and
    ``balance_minutes_min`` bind beside the policy's own; ``household_month_max`` is how many a household may reserve in
    a calendar month (None: any number).
    """

    type = "reward-offered.v1"
    reward: str
    partner: str
    name: str
    minutes: int
    items: int
    communities: tuple[str, ...]
    age_years_min: int
    balance_minutes_min: int
    household_month_max: int | None
    offered_by: str

    def tags(self) -> tuple[str, ...]:
        return ("reward:" + self.reward,)


class RewardRestocked(Fact, frozen=True, omit_defaults=True):
    """A partner put more items of a reward at the members' disposal."""

    type = "reward-restocked.v1"
    reward: str
    items: int
    restocked_by: str

    def tags(self) -> tuple[str, ...]:
        return ("reward:" + self.reward,)


class RewardWithdrawn(Fact, frozen=True, omit_defaults=True):
    """Nobody reserves it any more; what was reserved before can still be collected."""

    type = "reward-withdrawn.v1"
    reward: str
    withdrawn_by: str

    def tags(self) -> tuple[str, ...]:
        return ("reward:" + self.reward,)


class RewardReserved(Fact, frozen=True, omit_defaults=True, gc=False):
    """One item was taken from the stock for a household, whose minutes are held until it is collected or released.

    ``code_sha256`` is all that the journal knows of the code that collects it. ``community`` is the household's;
    ``expires_at`` is the first moment at which it can't be collected any more.
    """

    type = "reward-reserved.v1"
    reservation: str
    reward: str
    partner: str
    member: str
    household: str
    community: str
    minutes: int
    code_sha256: str
    reserved_at: datetime
    expires_at: datetime
    reserved_by: str

    def tags(self) -> tuple[str, ...]:
        month = f"redemptions:{self.household}:{self.reward}:{self.reserved_at:%Y-%m}"
        return ("reservation:" + self.reservation, "reward:" + self.reward, month)


class ReservationReleased(Fact, frozen=True, omit_defaults=True, gc=False):
    """A reservation came to nothing: its item is in the stock again, and its minutes are no longer held."""

    type = "reservation-released.v1"
    reservation: str
    reward: str
    released_by: str
    cause: Literal["expired", "given-up", "by-partner", "by-staff"]

    def tags(self) -> tuple[str, ...]:
        return ("reservation:" + self.reservation, "reward:" + self.reward)


PartnerFact = PartnerRegistered | PartnerSettled
RewardFact = (
    RewardOffered | RewardRestocked | RewardWithdrawn | RewardReserved | ReservationReleased | RedemptionReversed
)


class Partner(msgspec.Struct, frozen=True):
    """``settlements`` is how many statements were settled with it so far."""

    partner: str
    registered: PartnerRegistered | None = None
    settlements: int = 0

    @staticmethod
    def of(partner: str) -> "Reading[Partner]":
        return _partner.of(partner)

    def require(self) -> PartnerRegistered:
        """Raises: UnknownPartner."""
        if self.registered is None:
            raise UnknownPartner(self.partner)
        return self.registered


def _evolve_partner(state: Partner, fact: PartnerFact) -> Partner:
    match fact:
        case PartnerRegistered():
            return replace(state, registered=fact)
        case PartnerSettled():
            return replace(state, settlements=state.settlements + 1)


_partner = Fold[Partner]("partner", Partner, _evolve_partner, get_args(PartnerFact))


class Reward(msgspec.Struct, frozen=True, gc=False):
    """``items_left`` can be reserved now."""

    reward: str
    offered: RewardOffered | None = None
    withdrawn: bool = False
    items_left: int = 0

    @staticmethod
    def of(reward: str) -> "Reading[Reward]":
        return _reward.of(reward)

    def require(self) -> RewardOffered:
        """Raises: UnknownReward."""
        if self.offered is None:
            raise UnknownReward(self.reward)
        return self.offered


def _evolve_reward(state: Reward, fact: RewardFact) -> Reward:
    match fact:
        case RewardOffered():
            return Reward(state.reward, fact, state.withdrawn, state.items_left + fact.items)
        case RewardWithdrawn():
            return replace(state, withdrawn=True)
        case RewardRestocked():
            change = fact.items
        case RewardReserved():
            change = -1
        case ReservationReleased():
            change = 1
        case RedemptionReversed():
            change = int(fact.restocked)
    return Reward(state.reward, state.offered, state.withdrawn, state.items_left + change)


_reward = Fold[Reward]("reward", Reward, _evolve_reward, get_args(RewardFact))

PartnerId = PersonId
"""A partner's number is also the person of its counter's tokens."""
Items = Annotated[int, Field(strict=True, ge=1, le=ITEMS_MAX)]


class RegisterPartner(BaseModel):
    """Register a partner where its counter is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partner: PartnerId
    name: PlaceName
    community: PlaceName


class OfferReward(BaseModel):
    """Offer a partner's reward. Its number may be left out: a new one is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: RecordId | None = None
    partner: PartnerId
    name: ServiceName
    minutes: Annotated[int, Field(strict=True, ge=1, le=60_000_000, description="What one costs.")]
    items: Annotated[int, Field(strict=True, ge=0, le=ITEMS_MAX, description="How many there are.")]
    communities: Annotated[
        tuple[PlaceName, ...], Field(max_length=200, description="Who may redeem it; [] for all.")
    ] = ()
    age_years_min: Annotated[int, Field(strict=True, ge=0, le=120)] = 0
    balance_minutes_min: Annotated[int, Field(strict=True, ge=0, le=60_000_000)] = 0
    household_month_max: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None


class RestockReward(BaseModel):
    """Add items to a reward's stock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: RecordId
    items: Items


class WithdrawReward(BaseModel):
    """Let nobody reserve a reward any more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: RecordId


class SettlePartner(BaseModel):
    """Settle with a partner what it has collected since the last time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partner: PartnerId


def register_partner(command: RegisterPartner, context: Context) -> Decision:
    """Raises: OutsideCommunity, UnknownCommunity, PartnerAlreadyRegistered."""
    require_scope(context, command.community)
    partner, community = yield from read(Partner.of(command.partner), Community.of(command.community))
    community.require()
    if partner.registered is not None:
        raise PartnerAlreadyRegistered(command.partner)
    return Decided(0, (PartnerRegistered(command.partner, command.name, command.community, context.actor.id),))


def offer_reward(command: OfferReward, context: Context) -> Decision:
    """The staff's to decide, since a price in minutes is a promise of the time bank.

    Raises: UnknownPartner (also where it is outside the staff's community), RewardAlreadyOffered, UnknownCommunity.
    """
    number = command.reward or new_number(context.command_id)
    reward, partner = yield from read(Reward.of(number), Partner.of(command.partner))
    require_reach(context, partner.require().community, UnknownPartner(command.partner))
    if reward.offered is not None:
        raise RewardAlreadyOffered(number)
    for community in (yield from read_all(Community.of(name) for name in command.communities)):
        community.require()
    offered = RewardOffered(
        number,
        command.partner,
        command.name,
        command.minutes,
        command.items,
        tuple(dict.fromkeys(command.communities)),
        command.age_years_min,
        command.balance_minutes_min,
        command.household_month_max,
        context.actor.id,
    )
    return Decided(0, (offered,))


def restock_reward(command: RestockReward, context: Context) -> Decision:
    """By the partner itself or by staff. Raises: UnknownReward (also another partner's), RewardAlreadyWithdrawn,
    StockTooLarge."""
    reward = yield from _own_reward(command.reward, context)
    if reward.items_left + command.items > ITEMS_MAX:
        raise StockTooLarge(command.reward, reward.items_left, command.items, ITEMS_MAX)
    return Decided(0, (RewardRestocked(command.reward, command.items, context.actor.id),))


def withdraw_reward(command: WithdrawReward, context: Context) -> Decision:
    """By the partner itself or by staff. Raises: UnknownReward (also another partner's), RewardAlreadyWithdrawn."""
    yield from _own_reward(command.reward, context)
    return Decided(0, (RewardWithdrawn(command.reward, context.actor.id),))


def _own_reward(number: str, context: Context) -> Generator[Question, Any, Reward]:
    """A reward that is still offered, for its partner and the staff where the partner is."""
    reward = yield from read(Reward.of(number))
    offered = reward.require()
    actor = context.actor
    if actor.role == "partner":
        if actor.id != offered.partner:
            raise UnknownReward(number)
    elif actor.community is not None:
        partner = yield from read(Partner.of(offered.partner))
        require_reach(context, partner.require().community, UnknownReward(number))
    if reward.withdrawn:
        raise RewardAlreadyWithdrawn(number)
    return reward


def settle_partner(command: SettlePartner, context: Context) -> Decision:
    """Raises: UnknownPartner (also where it is outside the staff's community), NothingToSettle."""
    partner, account = yield from read(Partner.of(command.partner), Account.of(partner_account(command.partner)))
    require_reach(context, partner.require().community, UnknownPartner(command.partner))
    if account.balance_minutes <= 0:
        raise NothingToSettle(command.partner, account.balance_minutes)
    settled = PartnerSettled(
        account.account, SETTLED, account.balance_minutes, command.partner, partner.settlements + 1, context.actor.id
    )
    return Decided(0, (settled,))


@dataclass(unsafe_hash=True)
class UnknownPartner(Unknown):
    partner: str
    zh = "合作单位“{partner}”没有登记。"
    en = "The partner “{partner}” is not registered."


@dataclass(unsafe_hash=True)
class PartnerAlreadyRegistered(AlreadyDone):
    partner: str
    zh = "合作单位“{partner}”已经登记。"
    en = "The partner “{partner}” is registered already."


@dataclass(unsafe_hash=True)
class UnknownReward(Unknown):
    reward: str
    zh = "没有编号为“{reward}”的兑换项。"
    en = "There is no reward “{reward}”."


@dataclass(unsafe_hash=True)
class RewardAlreadyOffered(AlreadyDone):
    reward: str
    zh = "兑换项“{reward}”已经存在；价格或条件不同的请用新编号。"
    en = "The reward “{reward}” exists already; another price or other terms need a number of their own."


@dataclass(unsafe_hash=True)
class RewardAlreadyWithdrawn(AlreadyDone):
    reward: str
    zh = "兑换项“{reward}”已经下架。"
    en = "The reward “{reward}” was withdrawn."


@dataclass(unsafe_hash=True)
class StockTooLarge(AgainstRule):
    reward: str
    items_left: int
    items: int
    items_max: int
    zh = "兑换项“{reward}”现有 {items_left} 份，再加 {items} 份会超过 {items_max} 份。"
    en = "{items_left} of the reward “{reward}” are left; {items} more would exceed {items_max}."


@dataclass(unsafe_hash=True)
class NothingToSettle(AgainstRule):
    partner: str
    balance_minutes: int
    zh = "合作单位“{partner}”没有可结算的分钟（现有 {balance_minutes} 分钟）。"
    en = "There is nothing to settle with the partner “{partner}”, which holds {balance_minutes} minutes."
