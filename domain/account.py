"""Accounts and everything that moves minutes between them. All accounts of a ledger together always sum to zero.

An account is ``household:H1``, ``group:G1``, ``pool:新竹社区`` (公共时间池), ``partner:P1`` (what redemptions paid) or
``ledger:…`` (another time bank). Three more exist once: ``issuance``, the negative one that service earned without a
payer comes from, ``settled`` (redemptions that the partner was paid for) and ``expired``. So always

    issued = held by households and groups + pooled + spent (partners, settled) + expired + left for other ledgers

A balance is a fold; it is stored in no fact. Minutes that are held stay in the balance and can't be spent.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from domain.community import Community, require_scope
from domain.decision import READINGS_KEPT, Context, Decided, Decision, Fold, Question, Reading, read, read_all
from domain.fact import Fact, Movement
from domain.household import Household, Person
from domain.identifiers import HouseholdId, PlaceName
from domain.policy import policy_book
from domain.refusal import AgainstRule, NotAllowed

ISSUANCE: Final = "issuance"
SETTLED: Final = "settled"
EXPIRED: Final = "expired"
UNDECIDED: Final = frozenset({ISSUANCE, SETTLED, EXPIRED})
"""Accounts whose balance no decision ever asks for, so that no fact is tagged with them."""
Reason = Literal["duplicate", "wrong-person", "wrong-time", "not-served", "false-record", "other"]
ImportReason = Reason | Literal["imported"]


def household_account(household: str) -> str:
    return "household:" + household


def pool_account(community: str) -> str:
    return "pool:" + community


def group_account(group: str) -> str:
    return "group:" + group


def partner_account(partner: str) -> str:
    return "partner:" + partner


def ledger_account(ledger: str) -> str:
    return "ledger:" + ledger


def _account_tags(movement: Movement) -> tuple[str, ...]:
    source, target = movement.source, movement.target
    if source in UNDECIDED:
        return ("account:" + target,) if target not in UNDECIDED else ()
    if target in UNDECIDED or source == target:
        return ("account:" + source,)
    return ("account:" + source, "account:" + target)


def _alone_tags(account: str, on: date | None) -> tuple[str, ...]:
    return () if on is None else ("alone-granted:" + account,)


class HoursConfirmed(Movement, frozen=True, omit_defaults=True, gc=False):
    """A service record was confirmed: ``minutes`` are credited to the earning household (target).

    ``honour_minutes`` is the part above the balance cap that is recognised without being credited. ``confirmed_as``
    says who vouched: somebody of the staff, a member of the household that was served, or nobody, since all who might
    have answered were silent for as long as the policy says. ``rating`` is from 1 to 5; 0: none was given.
    """

    type = "hours-confirmed.v1"
    record: str
    confirmed_by: str
    honour_minutes: int = 0
    confirmed_as: Literal["staff", "recipient", "silence"] = "staff"
    rating: int = 0

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class MinutesCapped(Movement, frozen=True, omit_defaults=True, gc=False):
    """What lifted a household above the policy's balance cap went on to its community's pool."""

    type = "minutes-capped.v1"
    record: str

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class HoursReversed(Movement, frozen=True, omit_defaults=True, gc=False):
    """A confirmed record was undone: exactly what was credited goes back to where it came from (冲正)."""

    type = "hours-reversed.v1"
    record: str
    reversed_by: str
    reason: ImportReason

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class CappedMinutesReturned(Movement, frozen=True, omit_defaults=True, gc=False):
    """A reversal took back what had gone on to the pool, so that it undoes its record exactly."""

    type = "capped-minutes-returned.v1"
    record: str

    def tags(self) -> tuple[str, ...]:
        return ("record:" + self.record, *_account_tags(self))


class PoolFunded(Movement, frozen=True, omit_defaults=True, gc=False):
    """A community's pool was given minutes from issuance, for grants."""

    type = "pool-funded.v1"
    funded_by: str

    def tags(self) -> tuple[str, ...]:
        return _account_tags(self)


class MinutesGranted(Movement, frozen=True, omit_defaults=True, gc=False):
    """A household was granted minutes from its community's pool, by one person alone, on a day of the ledger's zone."""

    type = "minutes-granted.v1"
    granted_by: str
    need: str
    on: date | None = None

    def tags(self) -> tuple[str, ...]:
        return (*_alone_tags(self.target, self.on), *_account_tags(self))


class GrantApproved(Movement, frozen=True, omit_defaults=True, gc=False):
    """A proposed grant above what one person may give alone was approved by a second one, and paid."""

    type = "grant-approved.v1"
    grant: str
    approved_by: str

    def tags(self) -> tuple[str, ...]:
        return ("grant:" + self.grant, *_account_tags(self))


class StartingMinutesGranted(Movement, frozen=True, omit_defaults=True, gc=False):
    """A new household in need was given the policy's starting grant from its community's pool, once in its life."""

    type = "starting-minutes-granted.v1"
    household: str
    granted_by: str
    need: str
    on: date | None = None

    def tags(self) -> tuple[str, ...]:
        return ("start:" + self.household, *_alone_tags(self.target, self.on), *_account_tags(self))


class OpeningBalanceCredited(Movement, frozen=True, omit_defaults=True, gc=False):
    """What a household held in older books, proposed by one person and approved by another; once a household."""

    type = "opening-balance-credited.v1"
    household: str
    opening: str
    approved_by: str

    def tags(self) -> tuple[str, ...]:
        return ("opening:" + self.household, *_account_tags(self))


Lots = tuple[tuple[str, int], ...]
"""Minutes with their age: how many of which service record, the oldest first. What is in no lot has no age."""


class MinutesTransferred(Movement, frozen=True, omit_defaults=True, gc=False):
    """A household gave minutes to another (转赠). ``tie`` is what the policy allowed it by; ``lots`` keep their age
    where minutes lapse."""

    type = "minutes-transferred.v1"
    transferred_by: str
    tie: Literal["family", "anyone"]
    on: date
    lots: Lots = ()

    def tags(self) -> tuple[str, ...]:
        return (f"transfers:{self.source}:{self.on:%Y-%m}", *_account_tags(self))


class MinutesDonated(Movement, frozen=True, omit_defaults=True, gc=False):
    """A household or a group gave minutes to a pool, or a group to a household in ``need`` (捐赠)."""

    type = "minutes-donated.v1"
    donated_by: str
    need: str | None = None

    def tags(self) -> tuple[str, ...]:
        return _account_tags(self)


class MinutesExpired(Movement, frozen=True, omit_defaults=True, gc=False):
    """Minutes lapsed as the policy says, after it was announced. ``lapsed`` says how many of which record."""

    type = "minutes-expired.v1"
    household: str
    announcement: str
    lapsed: tuple[tuple[str, int], ...]

    def tags(self) -> tuple[str, ...]:
        return ("expiry:" + self.household, *_account_tags(self))


class BalanceCarried(Movement, frozen=True, omit_defaults=True, gc=False):
    """Minutes followed people or places: a household was split, merged or closed, or a community merged or split.

    ``lots`` are what keeps its age between households.
    """

    type = "balance-carried.v1"
    cause: Literal["household-split", "household-merged", "household-closed", "community-merged", "community-split"]
    lots: Lots = ()

    def tags(self) -> tuple[str, ...]:
        return _account_tags(self)


class BalanceTakenAlong(Movement, frozen=True, omit_defaults=True, gc=False):
    """A household left for another ledger: its balance goes to that ledger's account, by a signed statement."""

    type = "balance-taken-along.v1"
    household: str
    statement: str
    members: tuple[str, ...]

    def tags(self) -> tuple[str, ...]:
        return ("statement:" + self.statement, "issued:statements", *_account_tags(self))


class BalancePaidIn(Movement, frozen=True, omit_defaults=True, gc=False):
    """A household's balance from another ledger was paid in, on a signed statement that can be paid in only once."""

    type = "balance-paid-in.v1"
    household: str
    statement: str
    statement_digest: str
    paid_in_by: str

    def tags(self) -> tuple[str, ...]:
        return ("statement:" + self.statement, *_account_tags(self))


class RewardCollected(Movement, frozen=True, omit_defaults=True, gc=False):
    """A reserved reward was handed over: the household's minutes went to the partner (兑换)."""

    type = "reward-collected.v1"
    reservation: str
    reward: str
    collected_at: datetime

    def tags(self) -> tuple[str, ...]:
        # Not its reward's: the stock was taken when it was reserved.
        return ("reservation:" + self.reservation, *_account_tags(self))


class RedemptionReversed(Movement, frozen=True, omit_defaults=True, gc=False):
    """A redemption was undone, exactly and once: the partner's minutes return to the household.

    ``restocked`` tells whether the item came back and is in the stock again.
    """

    type = "redemption-reversed.v1"
    reservation: str
    reward: str
    reversed_by: str
    reason: Reason
    restocked: bool

    def tags(self) -> tuple[str, ...]:
        return ("reservation:" + self.reservation, "reward:" + self.reward, *_account_tags(self))


class PartnerSettled(Movement, frozen=True, omit_defaults=True, gc=False):
    """All that a partner's account held was settled with it, on a statement; each partner's count from 1."""

    type = "partner-settled.v1"
    partner: str
    number: int
    settled_by: str

    def tags(self) -> tuple[str, ...]:
        return ("partner:" + self.partner, *_account_tags(self))


class MinutesHeld(Fact, frozen=True, omit_defaults=True, gc=False):
    """Minutes of an account were set aside; they stay its own, and can't be spent until they are released.

    ``hold`` names what for: ``request:…``, ``reservation:…``, ``dispute:…`` or ``split:…``. One hold is made once and
    released once on an account; where a household is merged, it is released there and made on its successor's.
    """

    type = "minutes-held.v1"
    account: str
    minutes: int
    hold: str

    def tags(self) -> tuple[str, ...]:
        return ("account:" + self.account,)


class MinutesReleased(Fact, frozen=True, omit_defaults=True, gc=False):
    """All of a hold was released, to be spent or kept."""

    type = "minutes-released.v1"
    account: str
    minutes: int
    hold: str

    def tags(self) -> tuple[str, ...]:
        return ("account:" + self.account,)


MovementFact = (
    HoursConfirmed
    | MinutesCapped
    | HoursReversed
    | CappedMinutesReturned
    | PoolFunded
    | MinutesGranted
    | GrantApproved
    | StartingMinutesGranted
    | OpeningBalanceCredited
    | MinutesTransferred
    | MinutesDonated
    | MinutesExpired
    | BalanceCarried
    | BalanceTakenAlong
    | BalancePaidIn
    | RewardCollected
    | RedemptionReversed
    | PartnerSettled
)
AccountFact = MovementFact | MinutesHeld | MinutesReleased


class Account(msgspec.Struct, frozen=True, gc=False):
    """An account's balance in minutes, and how many of them are held."""

    account: str
    balance_minutes: int = 0
    held_minutes: int = 0

    @property
    def available_minutes(self) -> int:
        """What can be spent now. May be below zero where a reversal took what was held or spent."""
        return self.balance_minutes - self.held_minutes

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(account: str) -> "Reading[Account]":
        return account_fold.of(account)


def evolve(state: Account, fact: AccountFact) -> Account:
    """The account after one movement; one that names it neither as source nor as target changes nothing."""
    minutes = fact.minutes
    if isinstance(fact, Movement):
        change = (minutes if fact.target == state.account else 0) - (minutes if fact.source == state.account else 0)
        return Account(state.account, state.balance_minutes + change, state.held_minutes) if change else state
    if fact.account != state.account:
        return state
    held = minutes if isinstance(fact, MinutesHeld) else -minutes
    return Account(state.account, state.balance_minutes, state.held_minutes + held)


account_fold = Fold[Account]("account", Account, evolve, get_args(AccountFact))


class GrantedAlone(msgspec.Struct, frozen=True):
    """What one account was granted by one person's word: the days and the minutes, in their order."""

    grants: tuple[tuple[date, int], ...] = ()

    @staticmethod
    def of(account: str) -> "Reading[GrantedAlone]":
        return _granted.of(account)

    def minutes_since(self, day: date) -> int:
        """What was granted on that day and after it."""
        return sum(minutes for on, minutes in self.grants if on >= day)


def _evolve_granted(state: GrantedAlone, fact: MinutesGranted | StartingMinutesGranted) -> GrantedAlone:
    return state if fact.on is None else GrantedAlone((*state.grants, (fact.on, fact.minutes)))


_granted = Fold[GrantedAlone](
    "alone-granted", lambda _: GrantedAlone(), _evolve_granted, (MinutesGranted, StartingMinutesGranted)
)
HoldFact = MinutesHeld | MinutesReleased


class Holds(msgspec.Struct, frozen=True):
    """What an account's minutes are held for, one by one. Read where holds go with a household or a pool."""

    account: str
    open: tuple[MinutesHeld, ...] = ()

    @staticmethod
    def of(account: str) -> "Reading[Holds]":
        return _holds.of(account)


def _evolve_holds(state: Holds, fact: HoldFact) -> Holds:
    if fact.account != state.account:
        return state
    others = tuple(held for held in state.open if held.hold != fact.hold)
    return Holds(state.account, (*others, fact) if isinstance(fact, MinutesHeld) else others)


_holds = Fold[Holds](account_fold.prefix, Holds, _evolve_holds, get_args(HoldFact))
"""A second fold on the accounts' tags: what the first one leaves out to stay small."""


def carry_holds(source: Account, target: str) -> Generator[Question, Any, tuple[Fact, ...]]:
    """What is held on an account is held on another one instead, for the same and as many minutes in all."""
    if not source.held_minutes:
        return ()
    holds = yield from read(Holds.of(source.account))
    facts: list[Fact] = []
    for held in holds.open:
        facts.append(MinutesReleased(held.account, held.minutes, held.hold))
        facts.append(MinutesHeld(target, held.minutes, held.hold))
    return tuple(facts)


def release_hold(account: str, minutes: int, hold: str) -> Generator[Question, Any, tuple[MinutesReleased, ...]]:
    """Release what was held on an account, where it is held now: a merged household's holds are its successor's."""
    if not minutes:
        return ()
    (standing,) = yield from standing_accounts((account,))
    return (MinutesReleased(standing, minutes, hold),)


Amount = Annotated[int, Field(strict=True, ge=1, le=60_000_000, description="Whole minutes.")]
Need = Literal["living-alone", "low-income", "disability", "illness", "emergency", "other"]


class FundPool(BaseModel):
    """Give a community's pool minutes from issuance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    minutes: Amount


class GrantMinutes(BaseModel):
    """Grant a household minutes from its community's pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    minutes: Amount
    need: Need


def fund_pool(command: FundPool, context: Context) -> Decision:
    """Raises: UnknownCommunity, DissolvedCommunity, OutsideCommunity."""
    require_scope(context, command.community)
    community = yield from read(Community.of(command.community))
    community.require()
    pool = pool_account(command.community)
    return Decided(0, (PoolFunded(ISSUANCE, pool, command.minutes, context.actor.id),))


def grant_minutes(command: GrantMinutes, context: Context) -> Decision:
    """By one person, up to the policy's limit: for all that a household was granted so within the policy's days, by
    whomever, its starting grant among it; else a large grant would be given in small ones.

    Raises: UnknownHousehold (also where it is outside the staff's community), ClosedHousehold,
    GrantedToOwnHousehold, BalanceTooLow (the pool's), BalanceTooHigh, GrantNeedsApproval, NoPolicyInForce."""
    household, book, granter = yield from read(
        Household.of(command.household), policy_book, Person.of(context.actor.id)
    )
    community = household.require_within(context)
    if granter.household == command.household:
        raise GrantedToOwnHousehold(command.household)
    today = context.now.astimezone(context.zone).date()
    adopted = book.in_force(today)
    target = household_account(command.household)
    alone_max, days = adopted.policy.grant_minutes_alone_max, adopted.policy.grant_alone_days
    if alone_max is not None:
        granted_alone = yield from read(GrantedAlone.of(target))
        granted_minutes = granted_alone.minutes_since(today - timedelta(days=days - 1))
        if granted_minutes + command.minutes > alone_max:
            raise GrantNeedsApproval(command.minutes, granted_minutes, days, alone_max)
    pool, account = yield from read(Account.of(pool_account(community)), Account.of(target))
    require_cover(pool, command.minutes, 0)
    balance_max = adopted.policy.balance_minutes_max
    if balance_max is not None and account.balance_minutes + command.minutes > balance_max:
        raise BalanceTooHigh(target, account.balance_minutes, command.minutes, balance_max)
    granted = MinutesGranted(pool.account, target, command.minutes, context.actor.id, command.need, today)
    return Decided(adopted.version, (granted,))


def standing_accounts(names: Sequence[str]) -> Generator[Question, Any, list[str]]:
    """The accounts that stand now in the place of some: a closed household's heir, the pool that a merged one went to.

    Asks for all of them in one round, and once more for each that has an heir.
    """
    readings: list[Reading[Any]] = []
    for name in names:
        kind, _, subject = name.partition(":")
        if kind in ("household", "pool"):
            readings.append(Household.of(subject) if kind == "household" else Community.of(subject))
    states = iter((yield from read_all(readings)))
    standing: list[str] = []
    for name in names:
        heir = None
        if name.startswith("household:"):
            heir = next(states).heir
        elif name.startswith("pool:") and (community := next(states).heir) is not None:
            heir = pool_account(community)
        standing += [name] if heir is None else (yield from standing_accounts((heir,)))
    return standing


def require_cover(payer: Account, minutes: int, balance_minutes_min: int) -> None:
    """Raises: BalanceTooLow when paying ``minutes`` out of what isn't held would take the account below its floor."""
    if payer.available_minutes - minutes < balance_minutes_min:
        raise BalanceTooLow(payer.account, payer.available_minutes, minutes, balance_minutes_min)


@dataclass(unsafe_hash=True)
class GrantedToOwnHousehold(NotAllowed):
    household: str
    zh = "不能给自己的户“{household}”拨付，须由户外的人办理。"
    en = "Nobody grants minutes to their own household “{household}”; somebody else must do it."


@dataclass(unsafe_hash=True)
class GrantNeedsApproval(AgainstRule):
    minutes: int
    granted_minutes: int
    days: int
    grant_minutes_alone_max: int
    zh = (
        "{days} 天内已由一人拨付 {granted_minutes} 分钟，再拨付 {minutes} 分钟会超过一个人可以拨付的 "
        "{grant_minutes_alone_max} 分钟，请提出拨付申请，由另一个人批准。"
    )
    en = (
        "One person's word granted {granted_minutes} minutes within {days} days; {minutes} more would exceed the "
        "{grant_minutes_alone_max} that may be granted so. Propose the grant; somebody else approves it."
    )


@dataclass(unsafe_hash=True)
class BalanceTooLow(AgainstRule):
    account: str
    available_minutes: int
    minutes: int
    balance_minutes_min: int
    zh = "账户“{account}”可用 {available_minutes} 分钟，支付 {minutes} 分钟后会低于下限 {balance_minutes_min} 分钟。"
    en = (
        "The account “{account}” has {available_minutes} minutes available; paying {minutes} would take it below "
        "its floor of {balance_minutes_min}."
    )


@dataclass(unsafe_hash=True)
class BalanceTooHigh(AgainstRule):
    account: str
    balance_minutes: int
    minutes: int
    balance_minutes_max: int
    zh = "账户“{account}”余额 {balance_minutes} 分钟，再加 {minutes} 分钟会超过上限 {balance_minutes_max} 分钟。"
    en = (
        "The account “{account}” holds {balance_minutes} minutes; {minutes} more would exceed "
        "its cap of {balance_minutes_max}."
    )
