"""Minutes that lapse (到期) where the policy says so: announced first, and never more than what is left of them.

Only minutes that were earned by service lapse; what a household was granted, or given by a group or from older books,
has no age. They lapse on the first of a month, once the policy's months have passed after the month of the service.
Whatever a household spends counts against what was credited first, so of a record nothing is left once as much was
spent as came in up to it.

Passing minutes on doesn't make them younger: what a household transfers to another one, or what is carried there when
it is split, merged or taken over, is taken from what was credited first and keeps the records that it was earned by
(`age_of`). So of each record no more ever lapses, in all households together, than was credited for it. What goes to a
pool is everybody's and loses its age, as does what leaves for another ledger.

The announcement names the records; when its day has come, what is left of exactly those lapses. What is held is spared,
and announced anew once it is free. Both steps are the system's own, and find out for themselves that they are due.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from domain.account import (
    EXPIRED,
    Account,
    AccountFact,
    BalanceCarried,
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    Lots,
    MinutesCapped,
    MinutesExpired,
    MinutesTransferred,
    account_fold,
    evolve,
    household_account,
)
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read, read_all, require_time
from domain.fact import Fact, Movement
from domain.hours import ServiceRecord
from domain.household import Household
from domain.identifiers import HouseholdId, RecordId, new_number
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, Unknown

RECORDS_MAX: Final = 500
"""Records in one announcement; what is more is announced in the next one."""


class ExpiryAnnounced(Fact, frozen=True, omit_defaults=True):
    """A household was told that what is left of these records' minutes lapses on a day unless it is spent before.

    ``minutes`` is what was left of them, all of service before ``earned_before``.
    """

    type = "expiry-announced.v1"
    announcement: str
    household: str
    minutes: int
    on: date
    earned_before: date
    records: tuple[str, ...]

    def tags(self) -> tuple[str, ...]:
        return ("expiry:" + self.household,)


class ExpiryCalledOff(Fact, frozen=True, omit_defaults=True):
    """Nothing lapsed on an announced day: it was all spent or held, or the policy no longer says so."""

    type = "expiry-called-off.v1"
    announcement: str
    household: str
    reason: Literal["spent", "held", "policy"]

    def tags(self) -> tuple[str, ...]:
        return ("expiry:" + self.household,)


ExpiryFact = ExpiryAnnounced | MinutesExpired | ExpiryCalledOff


class Expiry(msgspec.Struct, frozen=True):
    """What is announced to one household and not done yet, the oldest first."""

    open: tuple[ExpiryAnnounced, ...] = ()
    closed: frozenset[str] = frozenset()

    @staticmethod
    def of(household: str) -> "Reading[Expiry]":
        return _fold.of(household)

    def require(self, announcement: str) -> ExpiryAnnounced:
        """Raises: UnknownAnnouncement, ExpiryAlreadyDone."""
        if announcement in self.closed:
            raise ExpiryAlreadyDone(announcement)
        for announced in self.open:
            if announced.announcement == announcement:
                return announced
        raise UnknownAnnouncement(announcement)


def _evolve(state: Expiry, fact: ExpiryFact) -> Expiry:
    match fact:
        case ExpiryAnnounced():
            return replace(state, open=(*state.open, fact))
        case MinutesExpired() | ExpiryCalledOff():
            still = tuple(one for one in state.open if one.announcement != fact.announcement)
            return Expiry(still, state.closed | {fact.announcement})


_fold = Fold[Expiry]("expiry", lambda _: Expiry(), _evolve, get_args(ExpiryFact))


class Credit(msgspec.Struct, frozen=True, gc=False):
    """What once came into an account; ``record`` is None where it wasn't earned by service."""

    record: str | None
    minutes: int


class Savings(msgspec.Struct, frozen=True):
    """An account and all that came into it, in order, without what was reversed or lapsed. Read for expiry alone."""

    account: Account
    credits: tuple[Credit, ...] = ()

    @staticmethod
    def of(account: str) -> "Reading[Savings]":
        return savings_fold.of(account)

    def left(self) -> dict[str, int]:
        """The minutes that are left of each record, none left out: what was credited last is spent last."""
        found: dict[str, int] = {}
        for credit in reversed(self.unspent()):
            if credit.record is not None:
                found[credit.record] = found.get(credit.record, 0) + credit.minutes
        return found

    def unspent(self) -> list[Credit]:
        """What is left of what came in, in order."""
        rest = max(0, self.account.balance_minutes)
        found: list[Credit] = []
        for credit in reversed(self.credits):
            left = min(rest, credit.minutes)
            rest -= left
            if left:
                found.append(Credit(credit.record, left))
        return found[::-1]

    def first(self, minutes: int) -> Lots:
        """The lots among the first minutes that are unspent, one for each record."""
        found: dict[str, int] = {}
        for credit in self.unspent():
            taken = min(minutes, credit.minutes)
            minutes -= taken
            if credit.record is not None and taken:
                found[credit.record] = found.get(credit.record, 0) + taken
        return tuple(found.items())


def _evolve_savings(state: Savings, fact: AccountFact) -> Savings:
    account = evolve(state.account, fact)
    if not isinstance(fact, Movement) or (fact.source == fact.target and not isinstance(fact, HoursReversed)):
        return Savings(account, state.credits)
    name, credits = account.account, state.credits
    match fact:
        case HoursConfirmed() if fact.target == name:
            credits = (*credits, Credit(fact.record, fact.minutes))
        case MinutesCapped() if fact.source == name:
            credits = tuple(
                Credit(one.record, one.minutes - fact.minutes) if one.record == fact.record else one for one in credits
            )
        case HoursReversed():
            # Both, where a merger made one household of who earned and who paid.
            if fact.source == name:
                credits = tuple(one for one in credits if one.record != fact.record)
            if fact.target == name:
                credits = (*credits, Credit(None, fact.minutes))
        case MinutesExpired() if fact.source == name:
            credits = _without(credits, dict(fact.lapsed))
        case CappedMinutesReturned():
            pass  # its record is reversed in the same breath
        case MinutesTransferred() | BalanceCarried() if fact.target == name:
            without_age = fact.minutes - sum(minutes for _, minutes in fact.lots)
            credits = (*credits, *(Credit(*lot) for lot in fact.lots), Credit(None, without_age))
        case _ if fact.target == name:
            credits = (*credits, Credit(None, fact.minutes))
    return Savings(account, credits)


def _without(credits: tuple[Credit, ...], lapsed: dict[str, int]) -> tuple[Credit, ...]:
    """What came in less what lapsed of each record: of what came in last, since the rest was spent before."""
    kept: list[Credit] = []
    for credit in reversed(credits):
        gone = min(credit.minutes, lapsed.get(credit.record or "", 0))
        if gone and credit.record is not None:
            lapsed[credit.record] -= gone
            credit = Credit(credit.record, credit.minutes - gone)
        kept.append(credit)
    return tuple(reversed(kept))


def age_of(account: str, minutes: int) -> Generator[Question, Any, Lots]:
    """The lots that go along when minutes of a household's account are passed on to another household. Asked for only
    where some version of the policy lets minutes lapse, be it one that is to come."""
    book = yield from read(policy_book)
    if minutes <= 0 or all(adopted.policy.expiry_months is None for adopted in book.versions):
        return ()
    savings = yield from read(Savings.of(account))
    return savings.first(minutes)


savings_fold = Fold[Savings](
    account_fold.prefix, lambda account: Savings(Account(account)), _evolve_savings, account_fold.fact_types
)
"""A second fold on the accounts' tags: what the first one leaves out to stay small."""


def earned_before(day: date, months: int) -> date:
    """What was served before this first of a month lapses on the day or has lapsed: ``months`` have passed since the
    month in which it was served."""
    index = day.year * 12 + day.month - 1 - months
    return date(index // 12, index % 12 + 1, 1)


class AnnounceExpiry(BaseModel):
    """Announce that what is left of these records' minutes will lapse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    records: Annotated[tuple[RecordId, ...], Field(min_length=1, max_length=RECORDS_MAX)]


class ExpireMinutes(BaseModel):
    """Have announced minutes lapse, as far as they are still there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    announcement: RecordId


def announce_expiry(command: AnnounceExpiry, context: Context) -> Decision:
    """Raises: LeftToTime, UnknownHousehold, NothingExpires, NoPolicyInForce."""
    require_time(context)
    account = household_account(command.household)
    household, book, expiry, savings = yield from read(
        Household.of(command.household), policy_book, Expiry.of(command.household), Savings.of(account)
    )
    household.require()
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    months = adopted.policy.expiry_months
    if months is None:
        raise NothingExpires(command.household)
    on = context.now.astimezone(context.zone).date() + timedelta(days=adopted.policy.expiry_notice_days)
    before = earned_before(on, months)
    left = savings.left()
    announced = {record for one in expiry.open for record in one.records}
    asked = [record for record in dict.fromkeys(command.records) if record in left and record not in announced]
    records = yield from read_all(ServiceRecord.of(record) for record in asked)
    old = tuple(
        record.record for record in records if record.logged is not None and record.logged.started_at.date() < before
    )
    minutes = sum(left[record] for record in old)
    if not minutes:
        raise NothingExpires(command.household)
    number = new_number(context.command_id)
    return Decided(adopted.version, (ExpiryAnnounced(number, command.household, minutes, on, before, old),))


def expire_minutes(command: ExpireMinutes, context: Context) -> Decision:
    """Raises: LeftToTime, UnknownAnnouncement, ExpiryAlreadyDone, ExpiryNotDue, NoPolicyInForce."""
    require_time(context)
    account = household_account(command.household)
    book, expiry, savings = yield from read(policy_book, Expiry.of(command.household), Savings.of(account))
    announced = expiry.require(command.announcement)
    today = context.now.astimezone(context.zone).date()
    if today < announced.on:
        raise ExpiryNotDue(command.announcement, announced.on.isoformat())
    adopted = book.in_force(today)
    months = adopted.policy.expiry_months
    if months is None or earned_before(today, months) < announced.earned_before:
        called_off = ExpiryCalledOff(command.announcement, command.household, "policy")
        return Decided(adopted.version, (called_off,))
    left = savings.left()
    free = savings.account.available_minutes
    lapsed: list[tuple[str, int]] = []
    for record in announced.records:
        minutes = min(left.get(record, 0), free)
        if minutes > 0:
            lapsed.append((record, minutes))
            free -= minutes
    if not lapsed:
        reason: Literal["spent", "held"] = "held" if any(record in left for record in announced.records) else "spent"
        return Decided(adopted.version, (ExpiryCalledOff(command.announcement, command.household, reason),))
    minutes = sum(minutes for _, minutes in lapsed)
    expired = MinutesExpired(account, EXPIRED, minutes, command.household, command.announcement, tuple(lapsed))
    return Decided(adopted.version, (expired,))


@dataclass(unsafe_hash=True)
class NothingExpires(AgainstRule):
    household: str
    zh = "户“{household}”没有即将到期的时间。"
    en = "No minutes of the household “{household}” are about to lapse."


@dataclass(unsafe_hash=True)
class UnknownAnnouncement(Unknown):
    announcement: str
    zh = "没有编号为“{announcement}”的到期预告。"
    en = "There is no announcement “{announcement}” of minutes that lapse."


@dataclass(unsafe_hash=True)
class ExpiryAlreadyDone(AlreadyDone):
    announcement: str
    zh = "到期预告“{announcement}”已经处理。"
    en = "The announcement “{announcement}” was dealt with already."


@dataclass(unsafe_hash=True)
class ExpiryNotDue(AgainstRule):
    announcement: str
    on: str
    zh = "到期预告“{announcement}”的日期是 {on}，还没有到。"
    en = "The announcement “{announcement}” is for {on}, which hasn't come yet."
