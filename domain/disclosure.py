"""Disclosure (公示): a month is sealed with what it came to, residents may object for some days, and then it is frozen.

The seal is a watermark: the position of the journal up to which the month was counted. Nothing is locked by it. What
belongs to the month and is recorded after the watermark keeps its own date, is listed as late, and is counted as a
correction by the next month's seal. So the figures of all seals and their corrections always add up to what the books
hold. What is counted arrives with the command, as for certificates: what a position held never changes, and anybody
with the journal counts it again.

(The programme: monthly reporting to residents, 公示 and 异议. 民发〔2015〕149号: generally at least seven days.)
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from domain.decision import Context, Decided, Decision, Fold, Reading, read, require_time
from domain.fact import Fact
from domain.hours import local
from domain.policy import policy_book
from domain.published_list import VolunteerServed, list_sha256, rows
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

ObjectionGround = Literal["hours-missing", "hours-wrong", "false-record", "figures-wrong", "recognisable", "other"]
GROUND_ZH: Final[dict[str, str]] = {
    "hours-missing": "漏记服务",
    "hours-wrong": "时长有误",
    "false-record": "虚假记录",
    "figures-wrong": "数字有误",
    "recognisable": "能认出个人",
    "other": "其他",
}
ObjectionStatus = Literal["open", "upheld", "dismissed", "withdrawn"]
STATUS_ZH: Final[dict[str, str]] = {
    "open": "待处理",
    "upheld": "成立",
    "dismissed": "不成立",
    "withdrawn": "已撤回",
}
_PERIOD: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def first_day(period: str) -> date:
    """The first day of a month such as ``2026-10``."""
    return date.fromisoformat(period + "-01")


def next_period(period: str) -> str:
    """The month after it."""
    return f"{first_day(period) + timedelta(days=31):%Y-%m}"


def last_day(period: str) -> date:
    """The last day of a month."""
    return first_day(next_period(period)) - timedelta(days=1)


def fit_period(text: str) -> str:
    """A month such as ``2026-10``. Raises: ValueError for any other text."""
    # Years from 1900 on: others are mistakes, and the last ones have no next month.
    if _PERIOD.fullmatch(text) is None or not "1900" <= text[:4] < "9999":
        raise ValueError("应为月份，例：2026-10 / must be a month such as 2026-10")
    return text


Period = Annotated[
    str,
    AfterValidator(fit_period),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$", "examples": ["2026-10"]}),
]
"""A month of the ledger's calendar."""


class PeriodSealed(Fact, frozen=True, omit_defaults=True):
    """A month was counted as the journal held it up to the ``watermark`` (a position), and disclosed.

    ``corrected_minutes`` and ``corrected_records`` are what was confirmed, less what was reversed, of services before
    this month between the last seal's watermark and this one. ``list_sha256`` is of the pseudonymous list, of so many
    rows; ``count_min`` is how many there must be at least of whatever is published. Residents object until
    ``objections_until``, and all objections are to be decided by ``decisions_until``.
    """

    type = "period-sealed.v1"
    period: str
    watermark: int
    households_served: int
    service_minutes: int
    service_records: int
    corrected_minutes: int
    corrected_records: int
    list_rows: int
    list_sha256: str
    count_min: int
    sealed_by: str
    sealed_on: date
    objections_until: datetime
    decisions_until: datetime

    def tags(self) -> tuple[str, ...]:
        return ("period:" + self.period, "seals:book")


class ObjectionRaised(Fact, frozen=True, omit_defaults=True):
    """A resident objects to a disclosure, or somebody of the staff wrote it down for them. What they said in their own
    words is in the vault. ``record`` is a service record of their own household that they object to."""

    type = "objection-raised.v1"
    period: str
    objection: str
    person: str
    household: str
    community: str
    ground: ObjectionGround
    raised_by: str
    decision_due: datetime
    record: str | None = None
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("period:" + self.period,)


class ObjectionUpheld(Fact, frozen=True, omit_defaults=True):
    """An objection is right. What was wrong is corrected by facts of its own, which are listed as late."""

    type = "objection-upheld.v1"
    period: str
    objection: str
    decided_by: str
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("period:" + self.period,)


class ObjectionDismissed(Fact, frozen=True, omit_defaults=True):
    """An objection was looked into, and nothing is wrong."""

    type = "objection-dismissed.v1"
    period: str
    objection: str
    decided_by: str
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("period:" + self.period,)


class ObjectionWithdrawn(Fact, frozen=True, omit_defaults=True):
    """Whoever objects no longer does."""

    type = "objection-withdrawn.v1"
    period: str
    objection: str
    withdrawn_by: str

    def tags(self) -> tuple[str, ...]:
        return ("period:" + self.period,)


class PeriodFrozen(Fact, frozen=True, omit_defaults=True):
    """The time to object is over and the disclosure stays as it is. ``undecided`` are the objections that nobody had
    decided by their last day."""

    type = "period-frozen.v1"
    period: str
    objections: int
    upheld: int
    undecided: tuple[str, ...] = ()

    def tags(self) -> tuple[str, ...]:
        return ("period:" + self.period,)


ObjectionFact = ObjectionRaised | ObjectionUpheld | ObjectionDismissed | ObjectionWithdrawn
DisclosureFact = PeriodSealed | ObjectionFact | PeriodFrozen


class Objection(msgspec.Struct, frozen=True):
    """What was raised, and where it stands."""

    raised: ObjectionRaised
    status: ObjectionStatus = "open"


class Disclosure(msgspec.Struct, frozen=True):
    """A month's seal, and every objection to it: they are so few that one state holds them."""

    period: str
    sealed: PeriodSealed | None = None
    frozen: bool = False
    objections: dict[str, Objection] = {}

    @staticmethod
    def of(period: str) -> "Reading[Disclosure]":
        return _disclosure.of(period)

    @property
    def undecided(self) -> tuple[str, ...]:
        return tuple(number for number, one in self.objections.items() if one.status == "open")

    def require(self) -> PeriodSealed:
        """Raises: UnknownDisclosure."""
        if self.sealed is None:
            raise UnknownDisclosure(self.period)
        return self.sealed


def _evolve(state: Disclosure, fact: DisclosureFact) -> Disclosure:
    match fact:
        case PeriodSealed():
            return replace(state, sealed=fact)
        case ObjectionRaised():
            return replace(state, objections={**state.objections, fact.objection: Objection(fact)})
        case ObjectionUpheld():
            return _settled(state, fact.objection, "upheld")
        case ObjectionDismissed():
            return _settled(state, fact.objection, "dismissed")
        case ObjectionWithdrawn():
            return _settled(state, fact.objection, "withdrawn")
        case PeriodFrozen():
            return replace(state, frozen=True)


def _settled(state: Disclosure, objection: str, status: ObjectionStatus) -> Disclosure:
    found = state.objections.get(objection)
    if found is None:  # only where history was tampered with
        return state
    return replace(state, objections={**state.objections, objection: replace(found, status=status)})


_disclosure = Fold[Disclosure]("period", Disclosure, _evolve, get_args(DisclosureFact))


class Seals(msgspec.Struct, frozen=True):
    """The last month that was sealed; months are sealed one after the other."""

    last: PeriodSealed | None = None

    @property
    def watermark(self) -> int:
        """Up to where the journal is sealed; 0 before the first seal."""
        return 0 if self.last is None else self.last.watermark


def _evolve_seals(_: Seals, fact: PeriodSealed) -> Seals:
    return Seals(fact)


seals = Fold[Seals]("seals", lambda _: Seals(), _evolve_seals, (PeriodSealed,)).of("book")


@dataclass(frozen=True, slots=True)
class CountedPeriod:
    """A month's service as the journal held it up to the ``watermark``, and what changed of earlier months since the
    last seal's, which is ``since_watermark`` (0: there was none). ``served`` are the volunteers who had consented by
    then, with their pseudonyms in the place of their numbers."""

    watermark: int
    since_watermark: int
    households_served: int
    service_minutes: int
    service_records: int
    corrected_minutes: int = 0
    corrected_records: int = 0
    served: tuple[VolunteerServed, ...] = ()


class SealPeriod(BaseModel):
    """Seal a month that is over, with what was counted: which may be counted anew for a repeated request, and so is no
    part of what is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: Period
    counted: CountedPeriod = Field(exclude=True)


class FreezePeriod(BaseModel):
    """Freeze a disclosure whose time is over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: Period


def seal_period(command: SealPeriod, context: Context) -> Decision:
    """By staff of the whole district or an administrator, month by month.

    Raises: SealedForDistrict, PeriodAlreadySealed, PeriodNotNext, PeriodNotOver, SealedMeanwhile, NoPolicyInForce.
    """
    if context.actor.community is not None:
        raise SealedForDistrict(context.actor.community)
    disclosure, book, sealing = yield from read(Disclosure.of(command.period), policy_book, seals)
    if disclosure.sealed is not None:
        raise PeriodAlreadySealed(command.period)
    if sealing.last is not None and command.period != next_period(sealing.last.period):
        raise PeriodNotNext(command.period, next_period(sealing.last.period))
    now = local(context.now, context.zone)
    if now.date() <= last_day(command.period):
        raise PeriodNotOver(command.period)
    counted = command.counted
    if counted.since_watermark != sealing.watermark:
        raise SealedMeanwhile(command.period)
    adopted = book.in_force(now.date())
    policy = adopted.policy
    listed = rows(counted.served, policy.disclosure_count_min)
    objections_until = now + timedelta(days=policy.objection_days)
    sealed = PeriodSealed(
        command.period,
        counted.watermark,
        counted.households_served,
        counted.service_minutes,
        counted.service_records,
        counted.corrected_minutes,
        counted.corrected_records,
        len(listed),
        list_sha256(row.sha256() for row in listed),
        policy.disclosure_count_min,
        context.actor.id,
        now.date(),
        objections_until,
        objections_until + timedelta(days=policy.objection_decision_days),
    )
    return Decided(adopted.version, (sealed,))


def freeze_period(command: FreezePeriod, context: Context) -> Decision:
    """Once nobody may object any more and all is decided; at the latest on the last day for decisions.

    Raises: LeftToTime, UnknownDisclosure, PeriodAlreadyFrozen, ObjectionsStillPossible, ObjectionsUndecided.
    """
    require_time(context)
    disclosure = yield from read(Disclosure.of(command.period))
    sealed = disclosure.require()
    if disclosure.frozen:
        raise PeriodAlreadyFrozen(command.period)
    if context.now < sealed.objections_until:
        raise ObjectionsStillPossible(command.period, sealed.objections_until.isoformat(timespec="minutes"))
    undecided = disclosure.undecided
    if undecided and context.now < sealed.decisions_until:
        raise ObjectionsUndecided(command.period, len(undecided))
    upheld = sum(one.status == "upheld" for one in disclosure.objections.values())
    return Decided(0, (PeriodFrozen(command.period, len(disclosure.objections), upheld, undecided),))


@dataclass(unsafe_hash=True)
class UnknownDisclosure(Unknown):
    period: str
    zh = "{period} 还没有公示。"
    en = "{period} has not been disclosed."


@dataclass(unsafe_hash=True)
class SealedForDistrict(NotAllowed):
    community: str
    zh = "月份由全区的工作人员或管理员封存公示；您只负责“{community}”。"
    en = "A month is sealed by staff of the whole district or an administrator; yours is “{community}” only."


@dataclass(unsafe_hash=True)
class PeriodAlreadySealed(AlreadyDone):
    period: str
    zh = "{period} 已经封存公示；之后的更正计入下一个月。"
    en = "{period} is sealed and disclosed already; what is corrected since is counted with the next month."


@dataclass(unsafe_hash=True)
class PeriodNotNext(AgainstRule):
    period: str
    next_period: str
    zh = "月份须逐月封存：接下来是 {next_period}，不是 {period}。"
    en = "Months are sealed one after the other: the next one is {next_period}, not {period}."


@dataclass(unsafe_hash=True)
class PeriodNotOver(AgainstRule):
    period: str
    zh = "{period} 还没有结束，不能封存。"
    en = "{period} isn't over yet and can't be sealed."


@dataclass(unsafe_hash=True)
class SealedMeanwhile(AlreadyDone):
    period: str
    zh = "计数期间另有月份被封存，请重新封存 {period}。"
    en = "Another month was sealed while {period} was counted; seal it again."


@dataclass(unsafe_hash=True)
class PeriodAlreadyFrozen(AlreadyDone):
    period: str
    zh = "{period} 的公示已经定稿。"
    en = "The disclosure of {period} is frozen already."


@dataclass(unsafe_hash=True)
class ObjectionsStillPossible(AgainstRule):
    period: str
    until: str
    zh = "{period} 的异议期到 {until} 才结束。"
    en = "Residents may object to {period} until {until}."


@dataclass(unsafe_hash=True)
class ObjectionsUndecided(AgainstRule):
    period: str
    objections: int
    zh = "{period} 还有 {objections} 个异议没有处理。"
    en = "{objections} objections to {period} are not decided yet."
