"""Redemption: a household reserves a partner's reward, and collects it with a code that is spent once (兑换).

    reserve ──▶ collect ──▶ (reverse)
          └───▶ release, by the partner or staff; or it ends, and is released when nobody can hand it in any more

**The code.** Whoever reserves makes a code of at least 80 random bits, sends only ``SHA-256("<reservation>:<code>")``,
and shows the code at the counter. So no server, log, address or fact ever holds a code that could still be spent. A
plain hash hides nothing for ever that could be guessed, hence the length: 16 characters of base32 or more.

**A counter without a network** checks a code against the hashes of its own open reservations, notes code and time, and
hands its list in later. It is promised that a reservation which it honoured in time is paid to it: the minutes are held
and the item is set aside until ``COLLECTION_GRACE`` after the reservation's end, and only then released. A member who
gives a reservation up ends it at that moment, and has the minutes back after the same time, or at once if the
partner or staff release it, who know that nothing was handed over. So what was collected in time is never refused
for what became of stock or balance since, and neither can be spent twice meanwhile.

Minutes are never redeemed on credit, whatever overdraft the policy gives for service. Only a reversal of hours (which
is exact, and never refused for what was spent or promised since) can take a household below zero.
"""

import hashlib
import hmac
import re
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from domain.account import (
    Account,
    MinutesHeld,
    MinutesReleased,
    Reason,
    RedemptionReversed,
    RewardCollected,
    household_account,
    partner_account,
    release_hold,
    require_cover,
)
from domain.community import require_reach
from domain.decision import (
    Context,
    Decided,
    Decision,
    Fold,
    KnownByHash,
    Question,
    Reading,
    read,
    read_all,
    together,
)
from domain.fact import Fact
from domain.hours import local, with_heirs
from domain.household import Household, Person, UnknownMember, successor
from domain.identifiers import PersonId, RecordId
from domain.partner import (
    Partner,
    ReservationReleased,
    Reward,
    RewardAlreadyWithdrawn,
    RewardReserved,
)
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

COLLECTION_GRACE: Final = timedelta(days=3)
"""How long after a reservation's end a counter that had no network may still hand in that it was collected in time."""
COLLECTIONS_MAX: Final = 500
_CODE = re.compile(r"[A-Z2-7]{16,64}")


class ReservationGivenUp(Fact, frozen=True, omit_defaults=True, gc=False):
    """The household won't collect it. It ends at that moment; it is released once no counter can hand it in."""

    type = "reservation-given-up.v1"
    reservation: str
    given_up_by: str
    given_up_at: datetime

    def tags(self) -> tuple[str, ...]:
        return ("reservation:" + self.reservation,)


Status = Literal["absent", "reserved", "given-up", "collected", "released", "reversed"]
ReservationFact = RewardReserved | ReservationGivenUp | ReservationReleased | RewardCollected | RedemptionReversed


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """Where one reservation stands. ``ends_at`` is the first moment at which it can't be collected any more."""

    reservation: str
    status: Status = "absent"
    reserved: RewardReserved | None = None
    ends_at: datetime | None = None

    @staticmethod
    def of(reservation: str) -> "Reading[Reservation]":
        return _reservation.of(reservation)

    @property
    def counts(self) -> bool:
        """Counts against the household's monthly limit: it came to something, or still may."""
        return self.status in ("reserved", "given-up", "collected")


def _evolve(state: Reservation, fact: ReservationFact) -> Reservation:
    match fact:
        case RewardReserved():
            return Reservation(state.reservation, "reserved", fact, fact.expires_at)
        case ReservationGivenUp():
            return Reservation(state.reservation, "given-up", state.reserved, fact.given_up_at)
        case ReservationReleased():
            return Reservation(state.reservation, "released", state.reserved, state.ends_at)
        case RewardCollected():
            return Reservation(state.reservation, "collected", state.reserved, state.ends_at)
        case RedemptionReversed():
            return Reservation(state.reservation, "reversed", state.reserved, state.ends_at)


_reservation = Fold[Reservation]("reservation", Reservation, _evolve, get_args(ReservationFact))


class HouseholdMonth(msgspec.Struct, frozen=True):
    """The reservations that one household made of one reward in one calendar month, whatever became of them."""

    reservations: tuple[str, ...] = ()

    @staticmethod
    def of(household: str, reward: str, day: datetime) -> "Reading[HouseholdMonth]":
        return _month.of(f"{household}:{reward}:{day:%Y-%m}")


def _evolve_month(state: HouseholdMonth, fact: RewardReserved) -> HouseholdMonth:
    return HouseholdMonth((*state.reservations, fact.reservation))


_month = Fold[HouseholdMonth]("redemptions", lambda _: HouseholdMonth(), _evolve_month, (RewardReserved,))


def code_sha256(reservation: str, code: str) -> str:
    """What the journal keeps of a code in its normal form: it fits this reservation only."""
    if isinstance(code, KnownByHash):
        return str(code)
    return hashlib.sha256(f"{reservation}:{code}".encode()).hexdigest()


def _normal_code(text: str) -> str:
    code = text.upper().replace(" ", "").replace("-", "")
    if _CODE.fullmatch(code) is None:
        raise ValueError(
            "须为 16 至 64 个字符的兑换码，只含 A-Z 和 2-7 / must be a code of 16 to 64 characters of A-Z and 2-7"
        )
    return code


Code = Annotated[
    str,
    AfterValidator(_normal_code),
    WithJsonSchema(
        {"type": "string", "description": "16 to 64 characters of A-Z and 2-7; spaces and hyphens are ignored."}
    ),
    Field(repr=False),
]


class ReserveReward(BaseModel):
    """Reserve a reward for a member, whose household pays. Whoever reserves makes the code and keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reservation: Annotated[RecordId, Field(description="A number of your own choice, such as a UUID.")]
    reward: RecordId
    member: PersonId
    code_sha256: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="SHA-256 of “<reservation>:<code>” in hex; the code: 16 random characters of base32 or more.",
        ),
    ]


class CollectReward(BaseModel):
    """Collect a reserved reward with its code; ``collected_at`` is now unless the counter had no network then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reservation: RecordId
    code: Code
    collected_at: AwareDatetime | None = None


class CollectManyRewards(BaseModel):
    """Hand in what a counter without a network noted: all of it, or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collections: Annotated[tuple[CollectReward, ...], Field(min_length=1, max_length=COLLECTIONS_MAX)]


class ReleaseReservation(BaseModel):
    """Give up or release a reservation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reservation: RecordId


class ReverseRedemption(BaseModel):
    """Undo a redemption: the household has its minutes back, exactly and once.

    ``restocked`` says whether the item came back and can be given to others; else the stock stays as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reservation: RecordId
    reason: Reason
    restocked: bool


def reserve(command: ReserveReward, context: Context) -> Decision:
    """A member reserves for themselves or others of their household; staff for members of their community.

    Raises: ReservationAlreadyMade, UnknownMember (also where they are of another household, or outside the staff's
    community), UnknownReward, RewardAlreadyWithdrawn, NoPolicyInForce, RewardNotForCommunity, AgeNotAttested,
    RedemptionBalanceTooLow, BalanceTooLow, RewardOutOfStock, RewardLimitReached.
    """
    actor = context.actor
    reservation, reward, member, caller, book = yield from read(
        Reservation.of(command.reservation),
        Reward.of(command.reward),
        Person.of(command.member),
        Person.of(actor.id),
        policy_book,
    )
    if reservation.status != "absent":
        raise ReservationAlreadyMade(command.reservation)
    if member.household is None or (actor.role == "volunteer" and caller.household != member.household):
        raise UnknownMember(command.member)
    household = yield from read(Household.of(member.household))
    community = household.require()
    require_reach(context, community, UnknownMember(command.member))
    offered = reward.require()
    if reward.withdrawn:
        raise RewardAlreadyWithdrawn(command.reward)
    reserved_at = local(context.now, context.zone).replace(second=0, microsecond=0)
    adopted = book.in_force(reserved_at.date())
    if offered.communities and community not in offered.communities:
        raise RewardNotForCommunity(command.reward, community)
    age_years_min = max(adopted.policy.redemption_age_years_min, offered.age_years_min)
    if member.age_years_min < age_years_min:
        raise AgeNotAttested(command.member, member.age_years_min, age_years_min)
    account, month = yield from read(
        Account.of(household_account(member.household)),
        HouseholdMonth.of(member.household, command.reward, reserved_at),
    )
    balance_minutes_min = max(adopted.policy.redemption_balance_minutes_min, offered.balance_minutes_min)
    if account.balance_minutes < balance_minutes_min:
        raise RedemptionBalanceTooLow(account.account, account.balance_minutes, balance_minutes_min)
    require_cover(account, offered.minutes, 0)
    if reward.items_left < 1:
        raise RewardOutOfStock(command.reward)
    yield from _check_month(command.reward, month, offered.household_month_max)
    last_day = reserved_at.date() + timedelta(days=adopted.policy.reservation_days)
    # The whole last day counts, so that nobody has to remember an hour.
    expires_at = local(datetime.combine(last_day + timedelta(days=1), time(), context.zone), context.zone)
    reserved = RewardReserved(
        command.reservation,
        command.reward,
        offered.partner,
        command.member,
        member.household,
        community,
        offered.minutes,
        command.code_sha256,
        reserved_at,
        expires_at,
        actor.id,
    )
    return Decided(adopted.version, (reserved, MinutesHeld(account.account, offered.minutes, _hold(reserved))))


def _check_month(reward: str, month: HouseholdMonth, household_month_max: int | None) -> Generator[Question, Any, None]:
    if household_month_max is None or len(month.reservations) < household_month_max:
        return
    reservations = yield from read_all(Reservation.of(number) for number in month.reservations)
    if sum(reservation.counts for reservation in reservations) >= household_month_max:
        raise RewardLimitReached(reward, household_month_max)


def _hold(reserved: RewardReserved) -> str:
    return "reservation:" + reserved.reservation


def _released(reserved: RewardReserved) -> Generator[Question, Any, MinutesReleased]:
    """What was held for it, on the account of the household that stands for the one that reserved."""
    (released,) = yield from release_hold(household_account(reserved.household), reserved.minutes, _hold(reserved))
    return released


def collect(command: CollectReward, context: Context) -> Decision:
    """By the partner's counter, or by staff where the partner or the household is.

    Never refused for the balance: the minutes were held for it (see the head of this module).

    Raises: UnknownReservation (also another partner's), ReservationAlreadyCollected, ReservationAlreadyReleased,
    WrongCode, CollectedInTheFuture, CollectedOutsideReservation, HandedInTooLate.
    """
    _, reserved, ends_at = yield from _open_reservation(command.reservation, context)
    if not hmac.compare_digest(code_sha256(command.reservation, command.code), reserved.code_sha256):
        raise WrongCode(command.reservation)
    collected_at = local(command.collected_at or context.now, context.zone)
    if collected_at > context.now:
        raise CollectedInTheFuture(command.reservation, collected_at.isoformat())
    if not reserved.reserved_at <= collected_at < ends_at:
        raise CollectedOutsideReservation(
            command.reservation, collected_at.isoformat(), reserved.reserved_at.isoformat(), ends_at.isoformat()
        )
    if context.now >= ends_at + COLLECTION_GRACE:
        raise HandedInTooLate(command.reservation, (ends_at + COLLECTION_GRACE).isoformat())
    released = yield from _released(reserved)
    collected = RewardCollected(
        released.account,
        partner_account(reserved.partner),
        reserved.minutes,
        command.reservation,
        reserved.reward,
        collected_at,
    )
    return Decided(0, (released, collected))


def collect_many(command: CollectManyRewards, context: Context) -> Decision:
    """Raises: RowsRefused, with the refusals of `collect` by row."""
    return together([partial(collect, row, context) for row in command.collections])


def release(command: ReleaseReservation, context: Context) -> Decision:
    """A member gives up their household's reservation; the partner, or staff, release it at once, since they know that
    nothing was handed over; the system releases what has ended, once no counter can hand it in any more.

    Raises: UnknownReservation (also another household's or partner's), ReservationAlreadyCollected,
    ReservationAlreadyReleased, ReservationAlreadyEnded, CollectionStillPossible (the system's only).
    """
    reservation, reserved, ends_at = yield from _open_reservation(command.reservation, context)
    actor = context.actor
    cause: Literal["expired", "given-up", "by-partner", "by-staff"]
    if actor.role == "volunteer":
        now = local(context.now, context.zone)
        if reservation.status == "given-up" or now >= ends_at:
            raise ReservationAlreadyEnded(command.reservation)
        return Decided(0, (ReservationGivenUp(command.reservation, actor.id, now),))
    if actor.id.startswith("@"):
        if context.now < ends_at + COLLECTION_GRACE:
            raise CollectionStillPossible(command.reservation, (ends_at + COLLECTION_GRACE).isoformat())
        cause = "given-up" if reservation.status == "given-up" else "expired"
    else:
        cause = "by-partner" if actor.role == "partner" else "by-staff"
    released = ReservationReleased(command.reservation, reserved.reward, actor.id, cause)
    return Decided(0, ((yield from _released(reserved)), released))


def _open_reservation(
    number: str, context: Context
) -> Generator[Question, Any, tuple[Reservation, RewardReserved, datetime]]:
    """A reservation that can still be collected or released, for those whom it concerns, and when it ends.

    Raises: UnknownReservation, ReservationAlreadyCollected, ReservationAlreadyReleased.
    """
    reservation = yield from read(Reservation.of(number))
    reserved = yield from _concerned(reservation, context)
    if reservation.status in ("collected", "reversed"):
        raise ReservationAlreadyCollected(number)
    if reservation.status == "released":
        raise ReservationAlreadyReleased(number)
    return reservation, reserved, reservation.ends_at or reserved.expires_at


def _concerned(reservation: Reservation, context: Context) -> Generator[Question, Any, RewardReserved]:
    """The reservation, for its household (or the one that it was merged into), its partner, and the staff where either
    of them is now. To others it isn't there.

    Raises: UnknownReservation.
    """
    reserved, actor = reservation.reserved, context.actor
    if reserved is None:
        raise UnknownReservation(reservation.reservation)
    if actor.role == "partner":
        concerned = actor.id == reserved.partner
    elif actor.role == "volunteer":
        caller, household = yield from read(Person.of(actor.id), Household.of(reserved.household))
        concerned = caller.household is not None and caller.household == (yield from successor(household)).household
    elif actor.community is None:
        concerned = True
    else:
        partner, household = yield from read(Partner.of(reserved.partner), Household.of(reserved.household))
        home = (yield from successor(household)).community
        concerned = actor.community in (home, partner.require().community)
    if not concerned:
        raise UnknownReservation(reservation.reservation)
    return reserved


def reverse_redemption(command: ReverseRedemption, context: Context) -> Decision:
    """Exact, and never refused for what the partner was paid since: it may leave the partner's account below zero.
    Where the household was closed since, its heir is given back what it would have.

    Raises: UnknownReservation (also where it concerns nobody of the staff's community), RedemptionAlreadyReversed,
    RewardNotCollected, RedemptionOfOwnHousehold.
    """
    reservation, caller = yield from read(Reservation.of(command.reservation), Person.of(context.actor.id))
    reserved = yield from _concerned(reservation, context)
    if reservation.status == "reversed":
        raise RedemptionAlreadyReversed(command.reservation)
    if reservation.status != "collected":
        raise RewardNotCollected(command.reservation)
    household = yield from successor((yield from read(Household.of(reserved.household))))
    if caller.household in (reserved.household, household.household):
        raise RedemptionOfOwnHousehold(command.reservation, reserved.household)
    undone = RedemptionReversed(
        partner_account(reserved.partner),
        household_account(reserved.household),
        reserved.minutes,
        command.reservation,
        reserved.reward,
        context.actor.id,
        command.reason,
        command.restocked,
    )
    return Decided(0, (yield from with_heirs((undone,))))


@dataclass(unsafe_hash=True)
class UnknownReservation(Unknown):
    reservation: str
    zh = "没有编号为“{reservation}”的预留。"
    en = "There is no reservation “{reservation}”."


@dataclass(unsafe_hash=True)
class ReservationAlreadyMade(AlreadyDone):
    reservation: str
    zh = "预留编号“{reservation}”已被使用，请换一个。"
    en = "The number “{reservation}” is a reservation's already; choose another."


@dataclass(unsafe_hash=True)
class ReservationAlreadyCollected(AlreadyDone):
    reservation: str
    zh = "预留“{reservation}”已经兑换；兑换码只能用一次。"
    en = "The reservation “{reservation}” was collected; its code is spent once."


@dataclass(unsafe_hash=True)
class ReservationAlreadyReleased(AlreadyDone):
    reservation: str
    zh = "预留“{reservation}”已经释放。"
    en = "The reservation “{reservation}” was released."


@dataclass(unsafe_hash=True)
class ReservationAlreadyEnded(AlreadyDone):
    reservation: str
    zh = "预留“{reservation}”已经放弃或到期，到时自动释放。"
    en = "The reservation “{reservation}” was given up or has ended; it will be released by itself."


@dataclass(unsafe_hash=True)
class RewardNotForCommunity(AgainstRule):
    reward: str
    community: str
    zh = "兑换项“{reward}”不对社区“{community}”开放。"
    en = "The reward “{reward}” is not for households of “{community}”."


@dataclass(unsafe_hash=True)
class AgeNotAttested(AgainstRule):
    member: str
    attested_years: int
    age_years_min: int
    zh = "兑换须年满 {age_years_min} 岁；“{member}”已核验的年龄是 {attested_years} 岁，请携证件到社区核验。"
    en = (
        "Redeeming needs an age of {age_years_min}; {attested_years} is what is attested of “{member}”. "
        "Staff attest an age when they see a document."
    )


@dataclass(unsafe_hash=True)
class RedemptionBalanceTooLow(AgainstRule):
    account: str
    balance_minutes: int
    balance_minutes_min: int
    zh = "账户“{account}”余额 {balance_minutes} 分钟，满 {balance_minutes_min} 分钟才能兑换。"
    en = "The account “{account}” holds {balance_minutes} minutes; redeeming starts from {balance_minutes_min}."


@dataclass(unsafe_hash=True)
class RewardOutOfStock(AgainstRule):
    reward: str
    zh = "兑换项“{reward}”已经兑完。"
    en = "None of the reward “{reward}” is left."


@dataclass(unsafe_hash=True)
class RewardLimitReached(AgainstRule):
    reward: str
    household_month_max: int
    zh = "兑换项“{reward}”每户每月最多 {household_month_max} 份，本月已满。"
    en = "A household may have {household_month_max} of the reward “{reward}” a month, and has had them."


@dataclass(unsafe_hash=True)
class WrongCode(NotAllowed):
    reservation: str
    zh = "兑换码与预留“{reservation}”不符。"
    en = "The code is not that of the reservation “{reservation}”."


@dataclass(unsafe_hash=True)
class CollectedInTheFuture(AgainstRule):
    reservation: str
    collected_at: str
    zh = "预留“{reservation}”的兑换时间 {collected_at} 还没有到，请核对柜台的时钟。"
    en = "{collected_at}, when “{reservation}” is said to be collected, has not come yet; check the counter's clock."


@dataclass(unsafe_hash=True)
class CollectedOutsideReservation(AgainstRule):
    reservation: str
    collected_at: str
    reserved_at: str
    ends_at: str
    zh = "预留“{reservation}”从 {reserved_at} 到 {ends_at} 之前有效，不能在 {collected_at} 兑换。"
    en = "The reservation “{reservation}” holds from {reserved_at} until {ends_at}; {collected_at} is outside."


@dataclass(unsafe_hash=True)
class HandedInTooLate(AgainstRule):
    reservation: str
    until: str
    zh = "预留“{reservation}”的兑换须在 {until} 之前补交。"
    en = "That “{reservation}” was collected had to be handed in before {until}."


@dataclass(unsafe_hash=True)
class CollectionStillPossible(AgainstRule):
    reservation: str
    until: str
    zh = "预留“{reservation}”在 {until} 之前仍可能由柜台补交兑换，不能自动释放。"
    en = "Until {until} a counter may still hand in that “{reservation}” was collected; it isn't released by itself."


@dataclass(unsafe_hash=True)
class RewardNotCollected(AlreadyDone):
    reservation: str
    zh = "预留“{reservation}”没有兑换，只有已兑换的才能冲正。"
    en = "The reservation “{reservation}” was not collected; only a redemption can be reversed."


@dataclass(unsafe_hash=True)
class RedemptionAlreadyReversed(AlreadyDone):
    reservation: str
    zh = "预留“{reservation}”的兑换已经冲正过一次。"
    en = "The redemption of “{reservation}” was reversed already."


@dataclass(unsafe_hash=True)
class RedemptionOfOwnHousehold(NotAllowed):
    reservation: str
    household: str
    zh = "预留“{reservation}”属于您自己的户“{household}”，须由户外的人冲正。"
    en = "The redemption of “{reservation}” is your own household's (“{household}”); somebody else must reverse it."
