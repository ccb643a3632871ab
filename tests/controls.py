"""Example facts and commands that all tests share, and the sentence in which a decision is tested:

given(*DISTRICT, HOURS_LOGGED).when(confirm, ConfirmHours(record="R1")).then(HOURS_CONFIRMED)
given(*DISTRICT).when(confirm, ConfirmHours(record="R1")).refused(UnknownRecord("R1"))
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from domain.account import (
    BalanceCarried,
    BalancePaidIn,
    BalanceTakenAlong,
    CappedMinutesReturned,
    FundPool,
    GrantApproved,
    GrantMinutes,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesDonated,
    MinutesExpired,
    MinutesGranted,
    MinutesHeld,
    MinutesReleased,
    MinutesTransferred,
    OpeningBalanceCredited,
    PartnerSettled,
    PoolFunded,
    RedemptionReversed,
    RewardCollected,
    StartingMinutesGranted,
    fund_pool,
    grant_minutes,
)
from domain.community import (
    CommunityRegistered,
    GridRegistered,
    RegisterCommunity,
    RegisterGrid,
    register_community,
    register_grid,
)
from domain.decision import Actor, Context, Decided, Decision, Reading, drive, fold_facts
from domain.fact import Envelope, Fact
from domain.hours import (
    MINUTE,
    ConfirmHours,
    HoursLogged,
    HoursRejected,
    ImportHours,
    LogHours,
    LogManyHours,
    RejectHours,
    ReverseHours,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
)
from domain.household import (
    AgeAttested,
    AttestAge,
    EnrolVolunteer,
    HouseholdRegistered,
    MemberRegistered,
    RegisterHousehold,
    RegisterMember,
    VolunteerEnrolled,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.ledger import LedgerOpened, OpenLedger, open_ledger
from domain.policy import (
    AdoptPolicy,
    ApprovePolicy,
    Policy,
    PolicyAdopted,
    PolicyProposalRejected,
    PolicyProposalWithdrawn,
    PolicyProposed,
    ProposePolicy,
    RejectPolicy,
    WithdrawPolicy,
    adopt,
    approve_policy,
    propose_policy,
    reject_policy,
    withdraw_policy,
)
from domain.refusal import Refusal

# ── Times and people ─────────────────────────────────────────────────────────────────────────────────────────

ZONE: Final = ZoneInfo("Asia/Shanghai")
OFFSET: Final = timezone(timedelta(hours=8))
COMMAND_ID: Final = "0123456789abcdef0123456789abcdef"


def at(text: str) -> datetime:
    """A time of 2026 in Shanghai: ``at("11-21 09:30")``; ``24:00`` is the midnight that ends the day."""
    day, clock = text.split()
    hour, minute = clock.split(":")
    return datetime.fromisoformat(f"2026-{day}").replace(tzinfo=OFFSET) + timedelta(
        hours=int(hour), minutes=int(minute)
    )


NOW: Final = at("11-22 12:00")

XINZHU, JINHU, GRID = "新竹社区", "金湖社区", ("第3网格",)
ADMIN: Final = Actor("A1", "admin")
LOGGER: Final = Actor("S1", "staff", XINZHU)
STAFF: Final = Actor("S2", "staff", XINZHU)
STAFF_ELSEWHERE: Final = Actor("S9", "staff", JINHU)


def volunteer(person: str) -> Actor:
    return Actor(person, "volunteer")


# ── One example per fact ─────────────────────────────────────────────────────────────────────────────────────

LEDGER_OPENED = LedgerOpened("青秀区时间银行", "Asia/Shanghai", synthetic=True)
POLICY_ADOPTED = PolicyAdopted(1, date(2020, 1, 1), Policy())
COMMUNITY_REGISTERED = CommunityRegistered(XINZHU, XINZHU)
GRID_REGISTERED = GridRegistered(XINZHU, GRID)
HOUSEHOLD_REGISTERED = HouseholdRegistered("H2", XINZHU, GRID)
MEMBER_REGISTERED = MemberRegistered("V1", "H1")
VOLUNTEER_ENROLLED = VolunteerEnrolled("V1")
HOURS_LOGGED = HoursLogged(
    *("R1", "V1", "H1", XINZHU, "助餐", at("11-21 09:00"), at("11-21 10:30"), 90, 90, "S1", "H2", GRID)
)
HOURS_REJECTED = HoursRejected("R1", "S2", "not-served")
HOURS_CONFIRMED = HoursConfirmed("issuance", "household:H1", 90, "R1", "S2")
MINUTES_CAPPED = MinutesCapped("household:H1", "pool:" + XINZHU, 30, "R1")
HOURS_REVERSED = HoursReversed("household:H1", "issuance", 90, "R1", "S2", "duplicate")
CAPPED_MINUTES_RETURNED = CappedMinutesReturned("pool:" + XINZHU, "household:H1", 30, "R1")
POOL_FUNDED = PoolFunded("issuance", "pool:" + XINZHU, 600, "A1")
MINUTES_GRANTED = MinutesGranted("pool:" + XINZHU, "household:H2", 120, "S2", "living-alone")
AGE_ATTESTED = AgeAttested("V3", 60, "S2")
MINUTES_HELD = MinutesHeld("household:H2", 60, "request:Q1")
MINUTES_RELEASED = MinutesReleased("household:H2", 60, "request:Q1")
GRANT_APPROVED = GrantApproved("pool:" + XINZHU, "household:H2", 900, "G1", "S2")
STARTING_MINUTES_GRANTED = StartingMinutesGranted("pool:" + XINZHU, "household:H2", 120, "H2", "S2", "low-income")
OPENING_BALANCE_CREDITED = OpeningBalanceCredited("issuance", "household:H2", 600, "H2", "OB1", "A1")
MINUTES_TRANSFERRED = MinutesTransferred("household:H1", "household:H2", 60, "V1", "family", date(2026, 11, 22))
MINUTES_DONATED = MinutesDonated("household:H1", "pool:" + XINZHU, 60, "V1")
MINUTES_EXPIRED = MinutesExpired("household:H1", "expired", 60, "H1", "X1")
BALANCE_CARRIED = BalanceCarried("household:H1", "household:H2", 60, "household-merged")
BALANCE_TAKEN_ALONG = BalanceTakenAlong("household:H1", "ledger:xingning", 60, "H1", "qingxiu-1")
BALANCE_PAID_IN = BalancePaidIn("ledger:xingning", "household:H2", 60, "H2", "xingning-1", "ab" * 32, "S2")
REWARD_COLLECTED = RewardCollected("household:H2", "partner:P1", 60, "RV1", "RW1", at("11-21 16:00"))
REDEMPTION_REVERSED = RedemptionReversed("partner:P1", "household:H2", 60, "RV1", "RW1", "S2", "other")
PARTNER_SETTLED = PartnerSettled("partner:P1", "settled", 60, "P1", "ST1", "A1")
POLICY_PROPOSED = PolicyProposed("P1", date(2026, 12, 1), Policy(record_minutes_min=30), "A2")
POLICY_PROPOSAL_REJECTED = PolicyProposalRejected("P1", "A1", "not-agreed")
POLICY_PROPOSAL_WITHDRAWN = PolicyProposalWithdrawn("P1", "A2")

FACT_EXAMPLES: Final[tuple[Fact, ...]] = (
    LEDGER_OPENED,
    POLICY_ADOPTED,
    COMMUNITY_REGISTERED,
    GRID_REGISTERED,
    HOUSEHOLD_REGISTERED,
    MEMBER_REGISTERED,
    VOLUNTEER_ENROLLED,
    HOURS_LOGGED,
    HOURS_REJECTED,
    HOURS_CONFIRMED,
    MINUTES_CAPPED,
    HOURS_REVERSED,
    CAPPED_MINUTES_RETURNED,
    POOL_FUNDED,
    MINUTES_GRANTED,
    AGE_ATTESTED,
    MINUTES_HELD,
    MINUTES_RELEASED,
    GRANT_APPROVED,
    STARTING_MINUTES_GRANTED,
    OPENING_BALANCE_CREDITED,
    MINUTES_TRANSFERRED,
    MINUTES_DONATED,
    MINUTES_EXPIRED,
    BALANCE_CARRIED,
    BALANCE_TAKEN_ALONG,
    BALANCE_PAID_IN,
    REWARD_COLLECTED,
    REDEMPTION_REVERSED,
    PARTNER_SETTLED,
    POLICY_PROPOSED,
    POLICY_PROPOSAL_REJECTED,
    POLICY_PROPOSAL_WITHDRAWN,
)


def envelope(fact: Fact) -> Envelope[Any]:
    """A fact as it is stored, with the same surroundings every time."""
    decided_at = datetime(2026, 11, 22, 4, 0, 0, 123456, UTC)
    return Envelope(
        "01900000-0000-7000-8000-000000000001", "S2", "staff", COMMAND_ID, COMMAND_ID[::-1], 1, decided_at, fact
    )


# ── One example per command ──────────────────────────────────────────────────────────────────────────────────

COMMAND_EXAMPLES: Final[dict[Callable[[Any, Context], Decision], Any]] = {
    open_ledger: OpenLedger(name="青秀区时间银行", synthetic=True),
    adopt: AdoptPolicy(effective_on=date(2026, 12, 1), policy=Policy(record_minutes_min=30)),
    register_community: RegisterCommunity(community="金花茶社区"),
    register_grid: RegisterGrid(community=XINZHU, grid=("第9网格",)),
    register_household: RegisterHousehold(household="H7", community=XINZHU, grid=GRID),
    register_member: RegisterMember(member="V7", household="H2"),
    enrol_volunteer: EnrolVolunteer(volunteer="V3"),
    attest_age: AttestAge(person="V3", age_years_min=60),
    log: LogHours(
        volunteer="V1",
        recipient_household="H2",
        service="助餐",
        started_at=at("11-20 09:00"),
        ended_at=at("11-20 10:30"),
    ),
    log_many: LogManyHours(
        hours=(
            LogHours(volunteer="V1", service="助洁", started_at=at("11-19 09:00"), ended_at=at("11-19 10:00")),
            LogHours(volunteer="V2", service="助洁", started_at=at("11-19 09:00"), ended_at=at("11-19 10:00")),
        )
    ),
    confirm: ConfirmHours(record="R1"),
    reject: RejectHours(record="R1", reason="not-served"),
    reverse: ReverseHours(record="R2", reason="duplicate"),
    fund_pool: FundPool(community=XINZHU, minutes=600),
    grant_minutes: GrantMinutes(household="H2", minutes=60, need="living-alone"),
    import_hours: ImportHours(
        "R7",
        "V1",
        "H1",
        XINZHU,
        "H2",
        XINZHU,
        GRID,
        "助餐",
        at("11-18 09:00"),
        at("11-18 10:30"),
        90,
        "S2",
        "confirmed",
    ),
    propose_policy: ProposePolicy(proposal="P9", effective_on=date(2026, 12, 1), policy=Policy(record_minutes_min=30)),
    approve_policy: ApprovePolicy(proposal="P1"),
    reject_policy: RejectPolicy(proposal="P1", reason="not-agreed"),
    withdraw_policy: WithdrawPolicy(proposal="P2"),
}


# ── A small district ─────────────────────────────────────────────────────────────────────────────────────────


def district(**settings: Any) -> tuple[Fact, ...]:
    """Two communities under one policy with these settings: V1 and V2 (volunteers) live in H1, V3 (none) in H2,
    all of Xinzhu; V4 (volunteer) lives in H3 of Jinhu."""
    return (
        LEDGER_OPENED,
        replace(POLICY_ADOPTED, policy=Policy(**settings)),
        COMMUNITY_REGISTERED,
        GRID_REGISTERED,
        CommunityRegistered(JINHU, JINHU),
        HouseholdRegistered("H1", XINZHU),
        HOUSEHOLD_REGISTERED,
        HouseholdRegistered("H3", JINHU),
        *(MemberRegistered(member, home) for member, home in (("V1", "H1"), ("V2", "H1"), ("V3", "H2"), ("V4", "H3"))),
        *(VolunteerEnrolled(person) for person in ("V1", "V2", "V4")),
    )


DISTRICT: Final = district()


def logged(record: str, span: str, **changes: Any) -> HoursLogged:
    """V1's service in H2, such as ``logged("R2", "11-21 09:00 - 10:30")``; an end on another day names it."""
    started_at, ended_at = between(span)
    minutes = (ended_at - started_at) // MINUTE
    fact = replace(HOURS_LOGGED, record=record, started_at=started_at, ended_at=ended_at)
    return replace(fact, **{"claimed_minutes": minutes, "service_minutes": minutes} | changes)


def between(span: str) -> tuple[datetime, datetime]:
    start, end = span.split(" - ")
    return at(start), at(end if " " in end else f"{start.split()[0]} {end}")


def credited(household: str, minutes: int) -> HoursConfirmed:
    """A balance out of nowhere, for a household that needs one."""
    return HoursConfirmed("issuance", "household:" + household, minutes, "R0", "S2")


# ── given … when … then ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outcome:
    decided: Decided | None
    refusal: Refusal | None

    def then(self, *facts: Fact, policy: int | None = None) -> Decided:
        """Exactly these facts followed (and were decided under this version of the policy)."""
        assert self.refusal is None, f"refused: {self.refusal!r}"
        assert self.decided is not None
        assert self.decided.facts == facts
        assert [type(fact) for fact in self.decided.facts] == [type(fact) for fact in facts]
        assert policy is None or {version for version, _ in self.decided.each()} == {policy}
        return self.decided

    @property
    def accepted(self) -> tuple[Fact, ...]:
        """The facts that followed, whatever they are."""
        assert self.refusal is None, f"refused: {self.refusal!r}"
        assert self.decided is not None
        return self.decided.facts

    def refused(self, refusal: Refusal) -> None:
        assert self.refusal == refusal, f"not refused: {self.decided}" if self.refusal is None else None


@dataclass(frozen=True)
class Given:
    facts: tuple[Fact, ...]

    def when(
        self,
        decide: Callable[[Any, Context], Decision],
        command: Any,
        *,
        actor: Actor = STAFF,
        now: datetime = NOW,
        zone: ZoneInfo = ZONE,
        command_id: str = COMMAND_ID,
    ) -> Outcome:
        try:
            return Outcome(drive(decide(command, Context(actor, now, command_id, zone)), self.state), None)
        except Refusal as refusal:
            return Outcome(None, refusal)

    def state(self, reading: Reading[Any]) -> Any:
        return fold_facts(reading, self.facts)


def given(*facts: Fact | Iterable[Fact]) -> Given:
    """What has happened so far; groups of facts may be given whole."""
    flat: list[Fact] = []
    for fact in facts:
        flat += [fact] if isinstance(fact, Fact) else fact
    return Given(tuple(flat))
