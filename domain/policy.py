"""The policy: the time bank's rule book, as numbered versions that are facts themselves.

A service lives under the rules that were in force when it began, whenever it is logged or confirmed. So a new
version takes effect on a later day than the one it is adopted on; only the first may reach back, to the day
from which a district's history is brought in.

The first version opens the ledger and is adopted alone. Every later one is proposed by one person and approved by
another: nobody changes the rules of everybody's time by themselves.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, Literal, assert_never, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.decision import Context, Decided, Decision, Fold, read
from domain.fact import Fact
from domain.identifiers import RecordId, new_number
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

Minutes = Annotated[int, Field(strict=True, ge=0, le=60_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the rules. All amounts are whole minutes. Sources of each number: FIELD, "Rule books seen".

    The defaults are the ones a district starts with here; each is a setting, none is a law.
    """

    record_minutes_min: Annotated[int, Field(strict=True, ge=1, le=1440)] = 15
    record_minutes_max: Annotated[int, Field(strict=True, ge=1, le=1440)] = 480
    log_days_back_max: Annotated[int, Field(strict=True, ge=0, le=3660)] = 30
    day_minutes_max: Annotated[int, Field(strict=True, ge=1, le=1440)] = 600
    rounding: Literal["down", "nearest", "up"] = "down"
    rounding_step_minutes: Annotated[int, Field(strict=True, ge=1, le=240)] = 1
    payer: Literal["recipient", "pool", "issuance"] = "issuance"
    payer_without_recipient: Literal["pool", "issuance"] = "issuance"
    balance_minutes_min: Annotated[int, Field(strict=True, ge=-60_000_000, le=0)] = 0
    balance_minutes_max: Annotated[int, Field(strict=True, ge=1, le=60_000_000)] | None = 90_000
    above_balance_max: Literal["refuse", "pool", "honour"] = "pool"

    # Requests and evidence
    late_after_days: Annotated[int, Field(strict=True, ge=0, le=3660)] = 7
    """The ordinary time to log a service: what is logged more days after its own day is late, and listed as late."""
    late_needs_reason: bool = False
    """Whether a service that is logged late is refused without a reason."""
    request_hold: bool = False
    """Whether a request's estimated minutes are held on the asking household's account."""
    request_open_days_max: Annotated[int, Field(strict=True, ge=1, le=366)] = 30
    check_in_minutes_max: Annotated[int, Field(strict=True, ge=1, le=1440)] = 720
    """A check-in still open after so long goes to a queue for staff; it never earns by itself."""
    evidence_min: Literal["self", "checked-in", "recipient", "staff"] = "self"
    """The least evidence on which a record may be confirmed."""

    # Confirmation and disputes
    silence_days: Annotated[int, Field(strict=True, ge=1, le=366)] | None = None
    """After so many days without an answer a record is confirmed and marked so; None: never."""
    dispute_days_max: Annotated[int, Field(strict=True, ge=0, le=366)] = 30
    """How long after a record was settled either side may dispute it."""
    dispute_decision_days: Annotated[int, Field(strict=True, ge=1, le=366)] = 15
    """A dispute still undecided after so long escalates."""

    # Redemption
    redemption_age_years_min: Annotated[int, Field(strict=True, ge=0, le=120)] = 0
    redemption_balance_minutes_min: Minutes = 0
    reservation_days: Annotated[int, Field(strict=True, ge=1, le=366)] = 7

    # Moving minutes
    transfer: Literal["nobody", "family", "anyone"] = "nobody"
    transfer_minutes_month_max: Minutes | None = None
    group_hours: Literal["donate-only", "household"] = "donate-only"
    """Whether hours given as a group are its own to donate, or each member's household earns them."""
    grant_minutes_alone_max: Minutes | None = None
    """What one household may be granted on one person's word within ``grant_alone_days``; above this it takes a second
    person. None: one person is enough."""
    grant_alone_days: Annotated[int, Field(strict=True, ge=1, le=366)] = 30
    starting_grant_minutes: Minutes = 0
    expiry_months: Annotated[int, Field(strict=True, ge=1, le=600)] | None = None
    """Minutes lapse so many months after they were earned; None: never (no Chinese rule on expiry is known)."""
    expiry_notice_days: Annotated[int, Field(strict=True, ge=1, le=366)] = 60
    closing_balance: Literal["pool", "expire"] = "pool"
    """Where a closed household's balance goes, if no other household takes it over."""
    take_along: bool = False
    """Whether a household that moves away may take its balance to another ledger."""

    # Recognition
    star_minutes: Annotated[tuple[Annotated[int, Field(strict=True, ge=1)], ...], Field(max_length=10)] = (
        *(6_000, 18_000, 36_000, 60_000, 90_000),
    )
    """Minutes of confirmed service for each star: 100, 300, 600, 1000 and 1500 hours (星级志愿者)."""
    certificate_issuer: Literal["staff", "admin"] = "staff"
    """Who may issue and revoke service certificates."""
    certificate_minutes_min: Minutes = 0
    """The least minutes of service that are certified."""
    certificate_public_days: Annotated[int, Field(strict=True, ge=7, le=366)] = 7
    """How long an issued certificate is publicised (民发〔2015〕149号: at least seven days)."""

    # Disclosure
    disclosure_count_min: Annotated[int, Field(strict=True, ge=2, le=100)] = 5
    """How many people and households there must be at least in whatever is published of a month. No Chinese rule names
    a number, so this is a setting."""
    objection_days: Annotated[int, Field(strict=True, ge=7, le=366)] = 7
    """How long residents may object to a disclosure (民发〔2015〕149号: at least seven days of publicity)."""
    objection_decision_days: Annotated[int, Field(strict=True, ge=1, le=366)] = 15
    """An objection still undecided after so long is an administrator's (民政部令第67号: in time, without a number)."""

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


ProposalReason = Literal["not-agreed", "superseded", "mistake", "other"]


class PolicyAdopted(Fact, frozen=True, omit_defaults=True):
    """A version of the rules was adopted; it is in force from ``effective_on`` until the next one's day.

    ``proposal`` is what a second person approved with it; the first version has none.
    """

    type = "policy-adopted.v2"
    version: int
    effective_on: date
    policy: Policy
    proposal: str = ""

    def tags(self) -> tuple[str, ...]:
        return ("policy:book",)


class PolicyProposed(Fact, frozen=True, omit_defaults=True):
    """A new version of the rules was proposed; it binds nobody before another person approves it."""

    type = "policy-proposed.v1"
    proposal: str
    effective_on: date
    policy: Policy
    proposed_by: str

    def tags(self) -> tuple[str, ...]:
        return ("proposal:book",)


class PolicyProposalRejected(Fact, frozen=True, omit_defaults=True):
    """A second person refused a proposed version of the rules."""

    type = "policy-proposal-rejected.v1"
    proposal: str
    rejected_by: str
    reason: ProposalReason

    def tags(self) -> tuple[str, ...]:
        return ("proposal:book",)


class PolicyProposalWithdrawn(Fact, frozen=True, omit_defaults=True):
    """Whoever proposed a version of the rules took it back."""

    type = "policy-proposal-withdrawn.v1"
    proposal: str
    withdrawn_by: str

    def tags(self) -> tuple[str, ...]:
        return ("proposal:book",)


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

ProposalFact = PolicyProposed | PolicyProposalRejected | PolicyProposalWithdrawn
ProposalStatus = Literal["open", "rejected", "withdrawn", "adopted"]


class PolicyProposal(msgspec.Struct, frozen=True):
    """A proposed version of the rules, and whether it was rejected or withdrawn. That it was adopted says the book."""

    proposed: PolicyProposed
    status: ProposalStatus = "open"


class PolicyProposals(msgspec.Struct, frozen=True):
    """All versions ever proposed, oldest first: they are so few that one state holds them."""

    proposals: tuple[PolicyProposal, ...] = ()

    def find(self, proposal: str, book: PolicyBook) -> PolicyProposal | None:
        """One proposal and where it stands; None where there is none of that number."""
        return next((found for found in self.standing(book) if found.proposed.proposal == proposal), None)

    def standing(self, book: PolicyBook) -> tuple[PolicyProposal, ...]:
        """All proposals and where they stand, oldest first."""
        adopted = {version.proposal for version in book.versions}
        return tuple(replace(p, status="adopted") if p.proposed.proposal in adopted else p for p in self.proposals)


def _evolve_proposals(state: PolicyProposals, fact: ProposalFact) -> PolicyProposals:
    match fact:
        case PolicyProposed():
            return PolicyProposals((*state.proposals, PolicyProposal(fact)))
        case PolicyProposalRejected():
            return _settled(state, fact.proposal, "rejected")
        case PolicyProposalWithdrawn():
            return _settled(state, fact.proposal, "withdrawn")


def _settled(state: PolicyProposals, proposal: str, status: ProposalStatus) -> PolicyProposals:
    return PolicyProposals(
        tuple(replace(p, status=status) if p.proposed.proposal == proposal else p for p in state.proposals)
    )


policy_proposals = Fold[PolicyProposals](
    "proposal", lambda _: PolicyProposals(), _evolve_proposals, get_args(ProposalFact)
).of("book")


class AdoptPolicy(BaseModel):
    """Adopt the first version of the rules, from a day on. Settings that are left out take their defaults."""

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


class ProposePolicy(AdoptPolicy):
    """Propose a new version of the rules, from a later day on. Settings that are left out take their defaults."""

    proposal: RecordId | None = None


class ApprovePolicy(BaseModel):
    """Approve a version of the rules that somebody else proposed: it is adopted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proposal: RecordId


class RejectPolicy(BaseModel):
    """Refuse a version of the rules that somebody else proposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proposal: RecordId
    reason: ProposalReason


class WithdrawPolicy(BaseModel):
    """Take back a version of the rules that one proposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proposal: RecordId


def adopt(command: AdoptPolicy, _: Context) -> Decision:
    """Raises: PolicyNeedsApproval."""
    book = yield from read(policy_book)
    if book.versions:
        raise PolicyNeedsApproval(book.versions[-1].version)
    return Decided(0, (PolicyAdopted(1, command.effective_on, command.policy),))


def propose_policy(command: ProposePolicy, context: Context) -> Decision:
    """Raises: PolicyProposalExists, PolicyTooEarly."""
    book, proposals = yield from read(policy_book, policy_proposals)
    number = command.proposal or new_number(context.command_id)
    if proposals.find(number, book) is not None:
        raise PolicyProposalExists(number)
    _require_later(book, command.effective_on, context)
    return Decided(0, (PolicyProposed(number, command.effective_on, command.policy, context.actor.id),))


def approve_policy(command: ApprovePolicy, context: Context) -> Decision:
    """The day must still be to come: what was proposed in time may be approved too late.

    Raises: UnknownPolicyProposal, PolicyProposalSettled, DecidedByProposer, PolicyTooEarly.
    """
    book, proposals = yield from read(policy_book, policy_proposals)
    proposed = _open(proposals, book, command.proposal)
    if proposed.proposed_by == context.actor.id:
        raise DecidedByProposer(command.proposal)
    _require_later(book, proposed.effective_on, context)
    version = len(book.versions) + 1
    return Decided(0, (PolicyAdopted(version, proposed.effective_on, proposed.policy, command.proposal),))


def reject_policy(command: RejectPolicy, context: Context) -> Decision:
    """Raises: UnknownPolicyProposal, PolicyProposalSettled, DecidedByProposer."""
    book, proposals = yield from read(policy_book, policy_proposals)
    if _open(proposals, book, command.proposal).proposed_by == context.actor.id:
        raise DecidedByProposer(command.proposal)
    return Decided(0, (PolicyProposalRejected(command.proposal, context.actor.id, command.reason),))


def withdraw_policy(command: WithdrawPolicy, context: Context) -> Decision:
    """Raises: UnknownPolicyProposal, PolicyProposalSettled, PolicyWithdrawnByAnother."""
    book, proposals = yield from read(policy_book, policy_proposals)
    if _open(proposals, book, command.proposal).proposed_by != context.actor.id:
        raise PolicyWithdrawnByAnother(command.proposal)
    return Decided(0, (PolicyProposalWithdrawn(command.proposal, context.actor.id),))


def _open(proposals: PolicyProposals, book: PolicyBook, proposal: str) -> PolicyProposed:
    """What waits for a second person. Raises: UnknownPolicyProposal, PolicyProposalSettled."""
    found = proposals.find(proposal, book)
    if found is None:
        raise UnknownPolicyProposal(proposal)
    if found.status != "open":
        raise PolicyProposalSettled(proposal, found.status)
    return found.proposed


def _require_later(book: PolicyBook, effective_on: date, context: Context) -> None:
    """Raises: PolicyTooEarly, unless it is the ledger's first version."""
    if book.versions:
        earliest = max(context.now.astimezone(context.zone).date(), book.versions[-1].effective_on)
        if effective_on <= earliest:
            raise PolicyTooEarly(effective_on.isoformat(), earliest.isoformat())


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


@dataclass(unsafe_hash=True)
class PolicyNeedsApproval(NotAllowed):
    version: int
    zh = "已有第 {version} 版规则；新的一版须先提案，再由另一人批准。"
    en = "Version {version} of the rules is adopted; a new one must be proposed, and approved by another person."


@dataclass(unsafe_hash=True)
class UnknownPolicyProposal(Unknown):
    proposal: str
    zh = "没有编号为“{proposal}”的规则提案。"
    en = "There is no proposed policy “{proposal}”."


@dataclass(unsafe_hash=True)
class PolicyProposalExists(AlreadyDone):
    proposal: str
    zh = "规则提案“{proposal}”已经存在，新的提案请用新编号。"
    en = "The proposed policy “{proposal}” exists already; another proposal needs a number of its own."


PROPOSAL_STATUS_ZH: Final = {"rejected": "已否决", "withdrawn": "已撤回", "adopted": "已采用"}


@dataclass(unsafe_hash=True)
class PolicyProposalSettled(AlreadyDone):
    proposal: str
    outcome: str
    zh = "规则提案“{proposal}”{outcome}，不能再处理。"
    en = "The proposed policy “{proposal}” is {outcome} already."

    @property
    def message_zh(self) -> str:
        return self.zh.format(proposal=self.proposal, outcome=PROPOSAL_STATUS_ZH.get(self.outcome, self.outcome))


@dataclass(unsafe_hash=True)
class DecidedByProposer(NotAllowed):
    proposal: str
    zh = "规则提案“{proposal}”由您提出，须由另一人批准或否决；您可以撤回。"
    en = "You proposed the policy “{proposal}”; another person approves or rejects it. You may withdraw it."


@dataclass(unsafe_hash=True)
class PolicyWithdrawnByAnother(NotAllowed):
    proposal: str
    zh = "规则提案“{proposal}”只能由提案人撤回。"
    en = "Only whoever proposed the policy “{proposal}” may withdraw it."
