"""The policy: the time bank's rule book, as numbered versions that are facts themselves.

A service lives under the rules that were in force when it began, whenever it is logged or confirmed. So a new
version takes effect on a later day than the one it is adopted on; only the first may reach back, to the day
from which a district's history is brought in.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal, assert_never

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.decision import Context, Decided, Decision, Fold, read
from domain.fact import Fact
from domain.refusal import AgainstRule

Minutes = Annotated[int, Field(ge=0, le=60_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the rules. All amounts are whole minutes. Sources of each number: FIELD, "Rule books seen".

    The defaults are the ones a district starts with here; each is a setting, none is a law.
    """

    record_minutes_min: Annotated[int, Field(ge=1, le=1440)] = 15
    record_minutes_max: Annotated[int, Field(ge=1, le=1440)] = 480
    log_days_back_max: Annotated[int, Field(ge=0, le=3660)] = 30
    day_minutes_max: Annotated[int, Field(ge=1, le=1440)] = 600
    rounding: Literal["down", "nearest", "up"] = "down"
    rounding_step_minutes: Annotated[int, Field(ge=1, le=240)] = 1
    payer: Literal["recipient", "pool", "issuance"] = "issuance"
    payer_without_recipient: Literal["pool", "issuance"] = "issuance"
    balance_minutes_min: Annotated[int, Field(ge=-60_000_000, le=0)] = 0
    balance_minutes_max: Annotated[int, Field(ge=1, le=60_000_000)] | None = 90_000
    above_balance_max: Literal["refuse", "pool", "honour"] = "pool"

    # Requests and evidence
    request_hold: bool = False
    """Whether a request's estimated minutes are held on the asking household's account."""
    request_open_days_max: Annotated[int, Field(ge=1, le=366)] = 30
    check_in_minutes_max: Annotated[int, Field(ge=1, le=1440)] = 720
    """A check-in still open after so long goes to a queue for staff; it never earns by itself."""
    evidence_min: Literal["self", "checked-in", "recipient", "staff"] = "self"
    """The least evidence on which a record may be confirmed."""

    # Confirmation and disputes
    silence_days: Annotated[int, Field(ge=1, le=366)] | None = None
    """After so many days without an answer a record is confirmed and marked so; None: never."""
    dispute_days_max: Annotated[int, Field(ge=0, le=366)] = 30
    """How long after a record was settled either side may dispute it."""
    dispute_decision_days: Annotated[int, Field(ge=1, le=366)] = 15
    """A dispute still undecided after so long escalates."""

    # Redemption
    redemption_age_years_min: Annotated[int, Field(ge=0, le=120)] = 0
    redemption_balance_minutes_min: Minutes = 0
    reservation_days: Annotated[int, Field(ge=1, le=366)] = 7

    # Moving minutes
    transfer: Literal["nobody", "family", "anyone"] = "nobody"
    transfer_minutes_month_max: Minutes | None = None
    group_hours: Literal["donate-only", "household"] = "donate-only"
    """Whether hours given as a group are its own to donate, or each member's household earns them."""
    grant_minutes_alone_max: Minutes | None = None
    """A grant above this needs a second person; None: one person is enough."""
    starting_grant_minutes: Minutes = 0
    expiry_months: Annotated[int, Field(ge=1, le=600)] | None = None
    """Minutes lapse so many months after they were earned; None: never (no Chinese rule on expiry is known)."""
    expiry_notice_days: Annotated[int, Field(ge=1, le=366)] = 60
    closing_balance: Literal["pool", "expire"] = "pool"
    """Where a closed household's balance goes, if no other household takes it over."""
    take_along: bool = False
    """Whether a household that moves away may take its balance to another ledger."""

    # Recognition
    star_minutes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=10)] = (
        *(6_000, 18_000, 36_000, 60_000, 90_000),
    )
    """Minutes of confirmed service for each star: 100, 300, 600, 1000 and 1500 hours (星级志愿者)."""

    def service_minutes(self, claimed_minutes: int) -> int:
        """Claimed minutes rounded to the policy's step (N. California: quarter hours up, 52 min become 60)."""
        step = self.rounding_step_minutes
        match self.rounding:
            case "down":
                return claimed_minutes // step * step
            case "nearest":
                return (2 * claimed_minutes + step) // (2 * step) * step
            case "up":
                return -(-claimed_minutes // step) * step
            case _:
                assert_never(self.rounding)


class PolicyAdopted(Fact, frozen=True, omit_defaults=True):
    """A version of the rules was adopted; it is in force from ``effective_on`` until the next one's day."""

    type = "policy-adopted.v2"
    version: int
    effective_on: date
    policy: Policy

    def tags(self) -> tuple[str, ...]:
        return ("policy:book",)


class PolicyBook(msgspec.Struct, frozen=True):
    """All versions adopted so far, oldest first; their effective dates rise."""

    versions: tuple[PolicyAdopted, ...] = ()

    def in_force(self, day: date) -> PolicyAdopted:
        """The version in force on a day. Raises: NoPolicyInForce before the first one's effective date."""
        for adopted in reversed(self.versions):
            if adopted.effective_on <= day:
                return adopted
        raise NoPolicyInForce(day.isoformat())


def _evolve(book: PolicyBook, fact: PolicyAdopted) -> PolicyBook:
    return PolicyBook((*book.versions, fact))


policy_book = Fold[PolicyBook]("policy", lambda _: PolicyBook(), _evolve, (PolicyAdopted,)).of("book")


class AdoptPolicy(BaseModel):
    """Adopt a new version of the rules from a day on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effective_on: date
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _consistent(self) -> "AdoptPolicy":
        if self.policy.record_minutes_min > self.policy.record_minutes_max:
            raise ValueError("最短时长不能大于最长时长 / record_minutes_min must not exceed record_minutes_max")
        if self.policy.service_minutes(self.policy.record_minutes_min) < 1:
            raise ValueError("最短的服务取整后不能为零 / the shortest record must not round to zero minutes")
        return self


def adopt(command: AdoptPolicy, context: Context) -> Decision:
    """Raises: PolicyTooEarly."""
    book = yield from read(policy_book)
    if book.versions:
        today = context.now.astimezone(context.zone).date()
        earliest = max(today, book.versions[-1].effective_on)
        if command.effective_on <= earliest:
            raise PolicyTooEarly(command.effective_on.isoformat(), earliest.isoformat())
    version = len(book.versions) + 1
    return Decided(0, (PolicyAdopted(version, command.effective_on, command.policy),))


@dataclass(unsafe_hash=True)
class NoPolicyInForce(AgainstRule):
    day: str
    zh = "{day} 当天没有生效的规则，请先由管理员采用规则。"
    en = "No policy was in force on {day}; an administrator must adopt one first."


@dataclass(unsafe_hash=True)
class PolicyTooEarly(AgainstRule):
    effective_on: str
    after: str
    zh = "新规则的生效日 {effective_on} 必须晚于 {after}：已经开始的服务不受新规则影响。"
    en = "A new policy must take effect after {after}, not on {effective_on}: services begun keep their rules."
