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
from domain.certificate import (
    CertificateIssued,
    CertificateRevoked,
    IssueCertificate,
    RevokeCertificate,
    ServiceTotal,
    count_service,
    issue_certificate,
    revoke_certificate,
)
from domain.certificate import code_sha256 as certificate_code_sha256
from domain.community import (
    CommunityDissolved,
    CommunityMerged,
    CommunityParted,
    CommunityRegistered,
    CommunityRenamed,
    CommunitySplit,
    GridMoved,
    GridRegistered,
    GridRenamed,
    RegisterCommunity,
    RegisterGrid,
    register_community,
    register_grid,
)
from domain.community_life import (
    CompleteMerger,
    CompleteSplit,
    FollowPlace,
    GridName,
    MergeCommunities,
    MoveGrid,
    RenameCommunity,
    RenameGrids,
    SplitCommunity,
    complete_merger,
    complete_split,
    follow_place,
    merge_communities,
    move_grid,
    rename_community,
    rename_grids,
    split_community,
)
from domain.consent import ConsentGiven, ConsentWithdrawn, GiveConsent, WithdrawConsent, give_consent, withdraw_consent
from domain.decision import BY_TIME, Actor, Context, Decided, Decision, Reading, drive, fold_facts
from domain.desk import KeyingDifference, KeyPaper, PaperAgreed, PaperKeyed, PaperRow, key_paper
from domain.disclosure import (
    CountedPeriod,
    FreezePeriod,
    ObjectionDismissed,
    ObjectionRaised,
    ObjectionUpheld,
    ObjectionWithdrawn,
    PeriodFrozen,
    PeriodSealed,
    SealPeriod,
    freeze_period,
    seal_period,
)
from domain.dispute import (
    DecideDispute,
    DisputeEscalated,
    DisputeStatementGiven,
    EscalateDispute,
    OpenDispute,
    StateCase,
    WithdrawDispute,
    decide_dispute,
    escalate_dispute,
    open_dispute,
    state_case,
    withdraw_dispute,
)
from domain.evidence import EvidenceAttached
from domain.expiry import (
    AnnounceExpiry,
    ExpireMinutes,
    ExpiryAnnounced,
    ExpiryCalledOff,
    announce_expiry,
    expire_minutes,
)
from domain.fact import Envelope, Fact
from domain.grant import (
    ApproveGrant,
    GrantProposed,
    GrantRejected,
    GrantStartingMinutes,
    GrantWithdrawn,
    ProposeGrant,
    RejectGrant,
    WithdrawGrant,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
    reject_grant,
    withdraw_grant,
)
from domain.group import (
    AppointGroupLeader,
    DonateGroupMinutes,
    GroupLeaderAppointed,
    GroupMemberJoined,
    GroupMemberLeft,
    GroupRegistered,
    JoinGroup,
    LeaveGroup,
    RegisterGroup,
    appoint_group_leader,
    donate_group_minutes,
    join_group,
    leave_group,
    register_group,
)
from domain.hours import (
    MINUTE,
    ConfirmHours,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    HoursLogged,
    HoursRejected,
    ImportHours,
    LogHours,
    LogManyHours,
    RejectHours,
    RequestFulfilled,
    ReverseHours,
    SettleSilence,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
    settle_silence,
)
from domain.household import (
    AgeAttested,
    AttestAge,
    EnrolVolunteer,
    HouseholdClosed,
    HouseholdMerged,
    HouseholdMoveCalledOff,
    HouseholdMoved,
    HouseholdMovePlanned,
    HouseholdRegistered,
    HouseholdSplit,
    MemberDied,
    MemberLeft,
    MemberMoved,
    MemberRegistered,
    RegisterHousehold,
    RegisterMember,
    VolunteerEnrolled,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.household_life import (
    CallOffMove,
    CloseHousehold,
    CompleteMove,
    LeaveHousehold,
    MergeHouseholds,
    MoveHousehold,
    MoveMember,
    RecordDeath,
    SplitHousehold,
    call_off_move,
    close_household,
    complete_move,
    leave_household,
    merge_households,
    move_household,
    move_member,
    record_death,
    split_household,
)
from domain.inspection import (
    METHOD,
    AnswerFinding,
    CloseFinding,
    Drawn,
    DrawSample,
    FindingAnswered,
    FindingClosed,
    FindingRecorded,
    InspectRecord,
    RecordFinding,
    RecordInspected,
    SampleDrawn,
    answer_finding,
    close_finding,
    draw_sample,
    inspect_record,
    record_finding,
)
from domain.ledger import LedgerOpened, OpenLedger, open_ledger
from domain.objection import (
    DecideObjection,
    RaiseObjection,
    WithdrawObjection,
    decide_objection,
    raise_objection,
    withdraw_objection,
)
from domain.opening import (
    ApproveOpeningBalance,
    OpeningBalanceProposed,
    OpeningBalanceRejected,
    OpeningBalanceWithdrawn,
    ProposeOpeningBalance,
    RejectOpeningBalance,
    WithdrawOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
    reject_opening_balance,
    withdraw_opening_balance,
)
from domain.partner import (
    OfferReward,
    PartnerRegistered,
    RegisterPartner,
    ReservationReleased,
    RestockReward,
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
from domain.recognition import (
    AwardHonour,
    CommendationRecorded,
    HonourAwarded,
    RecognitionWithdrawn,
    RecordCommendation,
    RecordTraining,
    SettleStars,
    StarAwarded,
    StarWithdrawn,
    TrainingRecorded,
    WithdrawRecognition,
    award_honour,
    record_commendation,
    record_training,
    settle_stars,
    withdraw_recognition,
)
from domain.redemption import (
    CollectManyRewards,
    CollectReward,
    ReleaseReservation,
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
from domain.refusal import Refusal
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    ExpireRequest,
    FulfilRequest,
    FulfilWithRecord,
    LapseOffer,
    MakeOffer,
    OfferAccepted,
    OfferMade,
    OfferWithdrawn,
    RequestAsked,
    RequestCancelled,
    RequestExpired,
    RequestFollowed,
    RequestRescheduled,
    RescheduleRequest,
    WithdrawOffer,
    accept,
    ask,
    cancel,
    expire,
    fulfil,
    fulfil_with_record,
    lapse_offer,
    offer,
    reschedule,
    withdraw,
)
from domain.sheet import LogSheet, SheetLogged, SheetRow, log_sheet
from domain.statement import (
    BalanceStatement,
    LedgerTrusted,
    PayIn,
    TakeAlong,
    TrustLedger,
    VerifierKey,
    pay_in,
    take_balance_along,
    trust_ledger,
)
from domain.transfer import (
    DonateMinutes,
    EndFamilyTie,
    FamilyTieEnded,
    FamilyTieRegistered,
    RegisterFamilyTie,
    TransferMinutes,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)
from domain.visit import (
    AttachEvidence,
    CheckedIn,
    CheckedOut,
    CheckIn,
    CheckOut,
    CloseVisit,
    DoorCodeMade,
    MakeDoorCode,
    MarkOverdue,
    VisitClosed,
    VisitOverdue,
    VisitVoided,
    VoidVisit,
    attach_evidence,
    check_in,
    check_out,
    close_visit,
    code_hash,
    make_door_code,
    mark_overdue,
    void_visit,
)

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

XINGNING_KEY: Final = str(VerifierKey.of("xingning", bytes(range(1, 33))))
XINZHU, JINHU, GRID = "新竹社区", "金湖社区", ("第3网格",)
ADMIN: Final = Actor("A1", "admin")
LOGGER: Final = Actor("S1", "staff", XINZHU)
STAFF: Final = Actor("S2", "staff", XINZHU)
STAFF_ELSEWHERE: Final = Actor("S9", "staff", JINHU)
TIME: Final = Actor(BY_TIME, "admin")
AUDITOR: Final = Actor("U1", "auditor")


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
MINUTES_GRANTED = MinutesGranted("pool:" + XINZHU, "household:H2", 120, "S2", "living-alone", date(2026, 11, 22))
AGE_ATTESTED = AgeAttested("V3", 60, "S2")
MINUTES_HELD = MinutesHeld("household:H2", 60, "request:Q1")
MINUTES_RELEASED = MinutesReleased("household:H2", 60, "request:Q1")
GRANT_APPROVED = GrantApproved("pool:" + XINZHU, "household:H2", 900, "G1", "S2")
STARTING_MINUTES_GRANTED = StartingMinutesGranted(
    "pool:" + XINZHU, "household:H2", 120, "H2", "S2", "low-income", date(2026, 11, 22)
)
OPENING_BALANCE_CREDITED = OpeningBalanceCredited("issuance", "household:H2", 600, "H2", "OB1", "A1")
MINUTES_TRANSFERRED = MinutesTransferred("household:H1", "household:H2", 60, "V1", "family", date(2026, 11, 22))
MINUTES_DONATED = MinutesDonated("household:H1", "pool:" + XINZHU, 60, "V1")
MINUTES_EXPIRED = MinutesExpired("household:H1", "expired", 60, "H1", "X1", (("R1", 60),))
BALANCE_CARRIED = BalanceCarried("household:H1", "household:H2", 60, "household-merged")
BALANCE_TAKEN_ALONG = BalanceTakenAlong("household:H1", "ledger:xingning", 60, "H1", "qingxiu-1", ("V1", "V2"))
BALANCE_PAID_IN = BalancePaidIn("ledger:xingning", "household:H2", 60, "H2", "xingning-1", "ab" * 32, "S2")
REWARD_COLLECTED = RewardCollected("household:H2", "partner:P1", 60, "RV1", "RW1", at("11-21 16:00"))
REQUEST_ASKED = RequestAsked(
    *("Q1", "H2", XINZHU, GRID, "陪诊", at("11-22 08:00"), at("11-23 18:00"), 60, ("woman-volunteer", "wheelchair")),
    *("V3", at("11-23 18:00"), 0),
)
OFFER_MADE = OfferMade("Q1", "V1", "V1")
OFFER_ACCEPTED = OfferAccepted("Q1", "V1", "V3", at("12-24 00:00"))
OFFER_WITHDRAWN = OfferWithdrawn("Q1", "V1", "V1", at("11-23 18:00"))
REQUEST_RESCHEDULED = RequestRescheduled("Q1", at("11-24 08:00"), at("11-24 18:00"), "V3", at("11-24 18:00"))
REQUEST_FULFILLED = RequestFulfilled("Q1", "R1", "V1", "household:H2", 60)
REQUEST_CANCELLED = RequestCancelled("Q1", "V3")
REQUEST_EXPIRED = RequestExpired("Q1", "V1")
REQUEST_FOLLOWED = RequestFollowed("Q1", "H1", JINHU, ())
EVIDENCE_ATTACHED = EvidenceAttached("R1", "sheet", "cd" * 32, "S2", "staff")
DOOR_CODE = "7K3MQ2XD9TBV4HRN"
DOOR_CODE_MADE = DoorCodeMade(code_hash(DOOR_CODE), "H2", "V3", at("11-22 20:00"))
CHECKED_IN = CheckedIn(
    *("C1", "V1", XINZHU, "助餐", at("11-22 10:30"), "V1", "checked-in", "H2", GRID, code_hash(DOOR_CODE))
)
CHECKED_OUT = CheckedOut(
    *("C1", "V1", at("11-22 10:30"), at("11-22 12:00"), "R8", "V1", "checked-in", code_hash("9" * 16))
)
VISIT_OVERDUE = VisitOverdue("C1", "V1", at("11-22 10:30"))
VISIT_CLOSED = VisitClosed("C1", "V1", at("11-22 10:30"), at("11-22 11:30"), "R8", "S2", "forgotten")
VISIT_VOIDED = VisitVoided("C1", "V1", at("11-22 10:30"), "V1", "mistake")
SHEET_LOGGED = SheetLogged(
    *("SH1", XINZHU, "助洁", at("11-18 14:00"), at("11-18 16:00"), "V1", "S2"),
    *(("R8", "R9"), GRID, "H2", "G1", "ef" * 32),
)
PAPER_KEYED = PaperKeyed(
    *("P1", XINZHU, "ab" * 32),
    (PaperRow("V1", "助餐", at("11-17 09:00"), at("11-17 10:30"), 90, "H2"),),
    "S1",
    (KeyingDifference(0, "service", "助洁", "助餐"),),
)
PAPER_AGREED = PaperAgreed("P1", XINZHU, "ab" * 32, "S2", "S1", ("R8",))
DISPUTE_OPENED = DisputeOpened(
    *("D1", "R3", "V3", "recipient", "not-served", 60),
    *(at("11-01 12:00"), at("11-09 00:00"), at("11-16 12:00"), "cd" * 32),
)
DISPUTE_STATEMENT_GIVEN = DisputeStatementGiven("D1", "earner", "V1", "served", "ef" * 32)
DISPUTE_ESCALATED = DisputeEscalated("D1")
DISPUTE_UPHELD = DisputeUpheld("D1", "R3", "A1")
DISPUTE_DISMISSED = DisputeDismissed("D1", "R3", "A1")
DISPUTE_WITHDRAWN = DisputeWithdrawn("D1", "R3")
CODE = "ABCDEFGHIJKLMNOP"
PARTNER_REGISTERED = PartnerRegistered("P1", "新竹食堂", XINZHU, "S2")
REWARD_OFFERED = RewardOffered("RW1", "P1", "午餐", 60, 5, (XINZHU,), 60, 90, 2, "S2")
REWARD_RESTOCKED = RewardRestocked("RW1", 3, "P1")
REWARD_WITHDRAWN = RewardWithdrawn("RW1", "P1")
REWARD_RESERVED = RewardReserved(
    *("RV1", "RW1", "P1", "V3", "H2", XINZHU, 60, code_sha256("RV1", CODE)),
    *(at("11-21 09:00"), at("11-29 00:00"), "V3"),
)
RESERVATION_GIVEN_UP = ReservationGivenUp("RV1", "V3", at("11-22 10:00"))
RESERVATION_RELEASED = ReservationReleased("RV1", "RW1", "S2", "by-staff")
REDEMPTION_REVERSED = RedemptionReversed("partner:P1", "household:H2", 60, "RV1", "RW1", "S2", "other", True)
PARTNER_SETTLED = PartnerSettled("partner:P1", "settled", 60, "P1", 1, "A1")
MEMBER_LEFT = MemberLeft("V1", "H1")
MEMBER_MOVED = MemberMoved("V1", "H1", "H2")
MEMBER_DIED = MemberDied("V1", "H1")
HOUSEHOLD_MOVED = HouseholdMoved("H2", JINHU, (), date(2026, 11, 1))
HOUSEHOLD_MOVE_PLANNED = HouseholdMovePlanned("H2", JINHU, (), date(2026, 12, 1), "S2")
HOUSEHOLD_MOVE_CALLED_OFF = HouseholdMoveCalledOff("H2", "S2")
HOUSEHOLD_SPLIT = HouseholdSplit("H1", "H8", XINZHU, (), ("V2",))
HOUSEHOLD_MERGED = HouseholdMerged("H1", "H2", ("V1", "V2"))
HOUSEHOLD_CLOSED = HouseholdClosed("H1", "moved-away", "pool:" + XINZHU, ("V1", "V2"))
LEDGER_TRUSTED = LedgerTrusted("xingning", XINGNING_KEY, "A1")
COMMUNITY_RENAMED = CommunityRenamed(XINZHU, "新竹一社区", date(2026, 12, 1))
COMMUNITY_MERGED = CommunityMerged(XINZHU, JINHU, date(2026, 12, 1))
COMMUNITY_DISSOLVED = CommunityDissolved(XINZHU, JINHU)
GRID_MOVED = GridMoved(XINZHU, GRID, JINHU, ("第1网格",), date(2026, 12, 1))
GRID_RENAMED = GridRenamed(XINZHU, GRID, "第5网格", date(2026, 12, 1))
COMMUNITY_SPLIT = CommunitySplit(XINZHU, "新竹东社区", 60, date(2026, 12, 1))
COMMUNITY_PARTED = CommunityParted(XINZHU, "新竹东社区")
POLICY_PROPOSED = PolicyProposed("P1", date(2026, 12, 1), Policy(record_minutes_min=30), "A2")
POLICY_PROPOSAL_REJECTED = PolicyProposalRejected("P1", "A1", "not-agreed")
POLICY_PROPOSAL_WITHDRAWN = PolicyProposalWithdrawn("P1", "A2")

FAMILY_TIE_REGISTERED = FamilyTieRegistered("H1", "H2", "S2")
FAMILY_TIE_ENDED = FamilyTieEnded("H2", "H1", "S2")
GROUP_REGISTERED = GroupRegistered("G1", XINZHU, "V1")
GROUP_MEMBER_JOINED = GroupMemberJoined("G1", "V2")
GROUP_MEMBER_LEFT = GroupMemberLeft("G1", "V2")
GROUP_LEADER_APPOINTED = GroupLeaderAppointed("G1", "V2")
GRANT_PROPOSED = GrantProposed("G1", "H2", 900, "low-income", "S1")
GRANT_REJECTED = GrantRejected("G1", "S2", "not-proven")
GRANT_WITHDRAWN = GrantWithdrawn("G1", "S1")
OPENING_BALANCE_PROPOSED = OpeningBalanceProposed("OB1", "H2", 600, "S1")
OPENING_BALANCE_REJECTED = OpeningBalanceRejected("OB1", "H2", "S2", "wrong-amount")
OPENING_BALANCE_WITHDRAWN = OpeningBalanceWithdrawn("OB1", "H2", "S1")
EXPIRY_ANNOUNCED = ExpiryAnnounced("X1", "H1", 60, date(2026, 11, 22), date(2026, 10, 1), ("R1",))
EXPIRY_CALLED_OFF = ExpiryCalledOff("X1", "H1", "spent")
STAR_AWARDED = StarAwarded("V1", 1, 6000, 6030, 412)
STAR_WITHDRAWN = StarWithdrawn("V1", 1, 5940, 530)
HONOUR_AWARDED = HonourAwarded("N1", "V1", "年度优秀志愿者", "community", date(2026, 11, 20), "S2")
TRAINING_RECORDED = TrainingRecorded("N2", "V1", "first-aid", 480, date(2026, 10, 18), "S2", "救护员初训")
COMMENDATION_RECORDED = CommendationRecorded("N3", "V1", "表扬信", "新竹街道办事处", date(2026, 11, 1), "S2")
RECOGNITION_WITHDRAWN = RecognitionWithdrawn("N1", "S2", "wrong-person")
CERTIFICATE_CODE = "7K3MQ2XD9TBV4HRN"
CERTIFICATE_ISSUED = CertificateIssued(
    *("2026-000001", 1, "V1", date(2026, 1, 1), date(2026, 11, 21)),
    (ServiceTotal("助洁", 60, 1), ServiceTotal("助餐", 180, 2)),
    *(240, 3, 412, "ab" * 32, "青秀区时间银行", "S1", "S2", date(2026, 11, 22), date(2026, 11, 29)),
    *(certificate_code_sha256(CERTIFICATE_CODE), "cd" * 32),
)
CERTIFICATE_REVOKED = CertificateRevoked("2026-000001", "S2", "mistake")
CONSENT_GIVEN = ConsentGiven("V1", "S2", "ab" * 32)
CONSENT_WITHDRAWN = ConsentWithdrawn("V1", "V1")
PERIOD_SEALED = PeriodSealed(
    *("2026-10", 412, 21, 5400, 62, -90, -1, 12, "ab" * 32, 5, "A1", date(2026, 11, 20)),
    *(at("11-27 12:00"), at("12-12 12:00")),
)
OBJECTION_RAISED = ObjectionRaised(
    *("2026-10", "B1", "V3", "H2", XINZHU, "hours-wrong", "V3", at("12-06 12:00"), "R3", "cd" * 32),
)
OBJECTION_UPHELD = ObjectionUpheld("2026-10", "B1", "S2", "ef" * 32)
OBJECTION_DISMISSED = ObjectionDismissed("2026-10", "B1", "S2")
OBJECTION_WITHDRAWN = ObjectionWithdrawn("2026-10", "B1", "V3")
PERIOD_FROZEN = PeriodFrozen("2026-10", 2, 1, ("B2",))
SAMPLE_DRAWN = SampleDrawn("T1", METHOD, "双色球 2026137", 412, 3, ("R2", "R1"), "U1", "2026-11")
RECORD_INSPECTED = RecordInspected("T1", "R2", "U1")
FINDING_RECORDED = FindingRecorded("F1", "moderate", "no-evidence", "U1", "T1", "R1", XINZHU, "cd" * 32)
FINDING_ANSWERED = FindingAnswered("F1", "corrected", "S1", "ef" * 32)
FINDING_CLOSED = FindingClosed("F1", "resolved", "U1")

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
    REQUEST_ASKED,
    OFFER_MADE,
    OFFER_ACCEPTED,
    OFFER_WITHDRAWN,
    REQUEST_RESCHEDULED,
    REQUEST_FULFILLED,
    REQUEST_CANCELLED,
    REQUEST_EXPIRED,
    REQUEST_FOLLOWED,
    EVIDENCE_ATTACHED,
    DOOR_CODE_MADE,
    CHECKED_IN,
    CHECKED_OUT,
    VISIT_OVERDUE,
    VISIT_CLOSED,
    VISIT_VOIDED,
    SHEET_LOGGED,
    PAPER_KEYED,
    PAPER_AGREED,
    DISPUTE_OPENED,
    DISPUTE_STATEMENT_GIVEN,
    DISPUTE_ESCALATED,
    DISPUTE_UPHELD,
    DISPUTE_DISMISSED,
    DISPUTE_WITHDRAWN,
    PARTNER_REGISTERED,
    REWARD_OFFERED,
    REWARD_RESTOCKED,
    REWARD_WITHDRAWN,
    REWARD_RESERVED,
    RESERVATION_GIVEN_UP,
    RESERVATION_RELEASED,
    MEMBER_LEFT,
    MEMBER_MOVED,
    MEMBER_DIED,
    HOUSEHOLD_MOVED,
    HOUSEHOLD_MOVE_PLANNED,
    HOUSEHOLD_MOVE_CALLED_OFF,
    HOUSEHOLD_SPLIT,
    HOUSEHOLD_MERGED,
    HOUSEHOLD_CLOSED,
    LEDGER_TRUSTED,
    COMMUNITY_RENAMED,
    COMMUNITY_MERGED,
    COMMUNITY_DISSOLVED,
    GRID_MOVED,
    GRID_RENAMED,
    COMMUNITY_SPLIT,
    COMMUNITY_PARTED,
    POLICY_PROPOSED,
    POLICY_PROPOSAL_REJECTED,
    POLICY_PROPOSAL_WITHDRAWN,
    FAMILY_TIE_REGISTERED,
    FAMILY_TIE_ENDED,
    GROUP_REGISTERED,
    GROUP_MEMBER_JOINED,
    GROUP_MEMBER_LEFT,
    GROUP_LEADER_APPOINTED,
    GRANT_PROPOSED,
    GRANT_REJECTED,
    GRANT_WITHDRAWN,
    OPENING_BALANCE_PROPOSED,
    OPENING_BALANCE_REJECTED,
    OPENING_BALANCE_WITHDRAWN,
    EXPIRY_ANNOUNCED,
    EXPIRY_CALLED_OFF,
    STAR_AWARDED,
    STAR_WITHDRAWN,
    HONOUR_AWARDED,
    TRAINING_RECORDED,
    COMMENDATION_RECORDED,
    RECOGNITION_WITHDRAWN,
    CERTIFICATE_ISSUED,
    CERTIFICATE_REVOKED,
    CONSENT_GIVEN,
    CONSENT_WITHDRAWN,
    PERIOD_SEALED,
    OBJECTION_RAISED,
    OBJECTION_UPHELD,
    OBJECTION_DISMISSED,
    OBJECTION_WITHDRAWN,
    PERIOD_FROZEN,
    SAMPLE_DRAWN,
    RECORD_INSPECTED,
    FINDING_RECORDED,
    FINDING_ANSWERED,
    FINDING_CLOSED,
)


def envelope(fact: Fact) -> Envelope[Any]:
    """A fact as it is stored, with the same surroundings every time."""
    decided_at = datetime(2026, 11, 22, 4, 0, 0, 123456, UTC)
    return Envelope(
        "01900000-0000-7000-8000-000000000001", "S2", "staff", COMMAND_ID, COMMAND_ID[::-1], 1, decided_at, fact
    )


STATEMENT: Final = BalanceStatement(
    ledger="xingning",
    number=1,
    household="K1",
    members=("W1", "W2"),
    minutes=60,
    earned_minutes=90,
    spent_minutes=30,
    receiving_ledger="qingxiu",
    issued_at=at("11-01 09:00"),
    valid_until=date(2027, 1, 30),
    policy=1,
)
"""What a household of the ledger next door brought along."""

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
    ask: AskForService(
        household="H2",
        service="陪诊",
        earliest_at=at("11-24 08:00"),
        latest_at=at("11-24 12:00"),
        estimated_minutes=120,
        needs=("wheelchair",),
    ),
    offer: MakeOffer(request="Q1", volunteer="V2"),
    accept: AcceptOffer(request="Q1", volunteer="V1"),
    withdraw: WithdrawOffer(request="Q1", volunteer="V1"),
    reschedule: RescheduleRequest(request="Q1", earliest_at=at("11-24 08:00"), latest_at=at("11-24 18:00")),
    fulfil: FulfilRequest(request="Q2", started_at=at("11-22 09:00"), ended_at=at("11-22 10:00")),
    fulfil_with_record: FulfilWithRecord(request="Q2", record="R9"),
    cancel: CancelRequest(request="Q1"),
    lapse_offer: LapseOffer(request="Q2", volunteer="V2"),
    expire: ExpireRequest(request="Q3"),
    attach_evidence: AttachEvidence(record="R1", kind="sheet", sha256="cd" * 32),
    make_door_code: MakeDoorCode(household="H2", code_hash=code_hash("0" * 16)),
    check_in: CheckIn(volunteer="V2", service="助餐", recipient_household="H2"),
    check_out: CheckOut(visit="C2"),
    mark_overdue: MarkOverdue(visit="C3"),
    close_visit: CloseVisit(visit="C2", ended_at=at("11-22 11:00"), reason="forgotten"),
    void_visit: VoidVisit(visit="C2", reason="mistake"),
    log_sheet: LogSheet(
        community=XINZHU,
        service="助洁",
        started_at=at("11-18 14:00"),
        ended_at=at("11-18 16:00"),
        leader="V1",
        rows=(SheetRow(volunteer="V1"), SheetRow(volunteer="V2", ended_at=at("11-18 15:30"))),
    ),
    key_paper: KeyPaper(
        paper="P7",
        community=XINZHU,
        sha256="ab" * 32,
        rows=(LogHours(volunteer="V1", service="助餐", started_at=at("11-17 09:00"), ended_at=at("11-17 10:30")),),
    ),
    settle_silence: SettleSilence(record="R1", logged_at=at("11-01 12:00")),
    open_dispute: OpenDispute(record="R2", ground="not-served", settled_at=at("11-20 12:00")),
    state_case: StateCase(dispute="D1", ground="served", side="earner"),
    decide_dispute: DecideDispute(dispute="D1", outcome="upheld"),
    withdraw_dispute: WithdrawDispute(dispute="D2"),
    escalate_dispute: EscalateDispute(dispute="D1"),
    register_partner: RegisterPartner(partner="P7", name="金湖理发店", community=XINZHU),
    offer_reward: OfferReward(partner="P1", name="理发", minutes=60, items=10),
    restock_reward: RestockReward(reward="RW1", items=5),
    withdraw_reward: WithdrawReward(reward="RW1"),
    settle_partner: SettlePartner(partner="P1"),
    reserve: ReserveReward(reservation="RV9", reward="RW1", member="V3", code_sha256=code_sha256("RV9", CODE)),
    collect: CollectReward(reservation="RV1", code=CODE),
    collect_many: CollectManyRewards(
        collections=(CollectReward(reservation="RV1", code=CODE, collected_at=at("11-22 08:00")),)
    ),
    release: ReleaseReservation(reservation="RV1"),
    reverse_redemption: ReverseRedemption(reservation="RV2", reason="other", restocked=True),
    leave_household: LeaveHousehold(member="V1"),
    move_member: MoveMember(member="V1", into="H2"),
    record_death: RecordDeath(member="V1"),
    call_off_move: CallOffMove(household="H2"),
    complete_move: CompleteMove(household="H2"),
    move_household: MoveHousehold(household="H2", community=JINHU, moved_on=date(2026, 11, 1)),
    split_household: SplitHousehold(household="H1", into="H8", members=("V2",), minutes=0),
    merge_households: MergeHouseholds(household="H1", into="H2"),
    close_household: CloseHousehold(household="H1", cause="moved-away"),
    trust_ledger: TrustLedger(ledger="xingning", key=XINGNING_KEY),
    take_balance_along: TakeAlong(household="H1", receiving_ledger="xingning", ledger="qingxiu"),
    pay_in: PayIn(household="H2", ledger="qingxiu", statement=STATEMENT, key=XINGNING_KEY),
    rename_community: RenameCommunity(community=XINZHU, name="新竹一社区", effective_on=date(2026, 12, 1)),
    merge_communities: MergeCommunities(community=XINZHU, into=JINHU, effective_on=date(2026, 12, 1)),
    move_grid: MoveGrid(
        community=XINZHU, grid=GRID, into_community=JINHU, into_grid=("第1网格",), effective_on=date(2026, 12, 1)
    ),
    split_community: SplitCommunity(
        community=XINZHU, into="新竹东社区", grids=GRID, minutes=60, effective_on=date(2026, 12, 1)
    ),
    rename_grids: RenameGrids(
        community=XINZHU, names=(GridName(grid=GRID, name="第5网格"),), effective_on=date(2026, 12, 1)
    ),
    complete_merger: CompleteMerger(community=XINZHU),
    complete_split: CompleteSplit(community=XINZHU, into="新竹东社区"),
    follow_place: FollowPlace(household="H2"),
    propose_policy: ProposePolicy(proposal="P9", effective_on=date(2026, 12, 1), policy=Policy(record_minutes_min=30)),
    approve_policy: ApprovePolicy(proposal="P1"),
    reject_policy: RejectPolicy(proposal="P1", reason="not-agreed"),
    withdraw_policy: WithdrawPolicy(proposal="P2"),
    register_family_tie: RegisterFamilyTie(household="H1", other_household="H3"),
    end_family_tie: EndFamilyTie(household="H2", other_household="H1"),
    transfer: TransferMinutes(household="H1", recipient_household="H2", minutes=30),
    donate: DonateMinutes(household="H1", minutes=30),
    register_group: RegisterGroup(group="G2", community=XINZHU, leader="V2"),
    join_group: JoinGroup(group="G1", member="V3"),
    leave_group: LeaveGroup(group="G1", member="V2"),
    appoint_group_leader: AppointGroupLeader(group="G1", leader="V2"),
    donate_group_minutes: DonateGroupMinutes(group="G1", minutes=30, household="H2", need="illness"),
    propose_grant: ProposeGrant(household="H2", minutes=900, need="low-income"),
    approve_grant: ApproveGrant(grant="G1"),
    reject_grant: RejectGrant(grant="G1", reason="not-proven"),
    withdraw_grant: WithdrawGrant(grant="G2"),
    grant_starting_minutes: GrantStartingMinutes(household="H2", need="low-income"),
    propose_opening_balance: ProposeOpeningBalance(household="H3", minutes=600),
    approve_opening_balance: ApproveOpeningBalance(household="H2", opening="OB1"),
    reject_opening_balance: RejectOpeningBalance(household="H2", opening="OB1", reason="wrong-amount"),
    withdraw_opening_balance: WithdrawOpeningBalance(household="H1", opening="OB2"),
    announce_expiry: AnnounceExpiry(household="H1", records=("R2",)),
    expire_minutes: ExpireMinutes(household="H1", announcement="X1"),
    settle_stars: SettleStars(volunteer="V1", service_minutes=6030, counted_position=412),
    award_honour: AwardHonour(recognition="N9", volunteer="V1", title="年度优秀志愿者", awarded_on=date(2026, 11, 20)),
    record_training: RecordTraining(volunteer="V1", subject="first-aid", minutes=480, trained_on=date(2026, 10, 18)),
    record_commendation: RecordCommendation(
        volunteer="V1", title="表扬信", organisation="新竹街道办事处", commended_on=date(2026, 11, 1)
    ),
    withdraw_recognition: WithdrawRecognition(recognition="N1", reason="wrong-person"),
    issue_certificate: IssueCertificate(
        volunteer="V1",
        since=date(2026, 1, 1),
        until=date(2026, 11, 21),
        in_charge="S1",
        contact="0771-0000000",
        counted=count_service(412, [("R1", "助餐", 90)]),
        code_sha256=certificate_code_sha256(CERTIFICATE_CODE),
        kept_sha256="cd" * 32,
    ),
    revoke_certificate: RevokeCertificate(certificate="2026-000001", reason="mistake"),
    give_consent: GiveConsent(person="V1", paper_sha256="ab" * 32),
    withdraw_consent: WithdrawConsent(person="V1"),
    seal_period: SealPeriod(period="2026-10", counted=CountedPeriod(412, 0, 21, 5400, 62)),
    freeze_period: FreezePeriod(period="2026-09"),
    raise_objection: RaiseObjection(period="2026-10", ground="hours-missing", person="V3"),
    decide_objection: DecideObjection(period="2026-10", objection="B1", outcome="upheld"),
    withdraw_objection: WithdrawObjection(period="2026-10", objection="B2"),
    draw_sample: DrawSample(seed="双色球 2026138", count=2, drawn=Drawn("qingxiu", 412, 3, ("R2", "R1"))),
    inspect_record: InspectRecord(sample="T1", record="R1"),
    record_finding: RecordFinding(severity="moderate", matter="no-evidence", sample="T1", record="R1"),
    answer_finding: AnswerFinding(finding="F1", measure="corrected"),
    close_finding: CloseFinding(finding="F2", outcome="resolved"),
}
COMMANDS_OF_TIME: Final = frozenset(
    {
        *(settle_silence, escalate_dispute, mark_overdue, expire, lapse_offer, announce_expiry, expire_minutes),
        *(complete_split, complete_move, settle_stars, freeze_period),
    }
)
"""Those that time alone gives."""
COMMANDS_OF_AUDITORS: Final = frozenset({draw_sample, inspect_record, record_finding, close_finding})
"""Those that an auditor gives, who gives no others."""


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


REQUESTS: Final = (
    REQUEST_ASKED,
    OFFER_MADE,
    replace(REQUEST_ASKED, request="Q2"),
    replace(OFFER_MADE, request="Q2", volunteer="V2"),
    replace(OFFER_ACCEPTED, request="Q2", volunteer="V2"),
    replace(REQUEST_ASKED, request="Q3", expires_at=at("11-22 11:00")),
)
"""H2 has asked three times: V1 has offered for Q1, V2 is accepted for Q2, and Q3's time is over."""


def reserved(reservation: str, **changes: Any) -> tuple[Fact, ...]:
    """V3's reservation of one RW1, and the minutes that are held for it."""
    changes = {"reservation": reservation, "code_sha256": code_sha256(reservation, CODE)} | changes
    fact = replace(REWARD_RESERVED, **changes)
    return fact, MinutesHeld("household:" + fact.household, fact.minutes, "reservation:" + reservation)


def collected(reservation: str, **changes: Any) -> tuple[Fact, ...]:
    """That reservation, and what follows when it is collected."""
    fact = replace(REWARD_COLLECTED, reservation=reservation, **changes)
    return (*reserved(reservation), MinutesReleased(fact.source, fact.minutes, "reservation:" + reservation), fact)


REDEMPTIONS: Final = (
    PARTNER_REGISTERED,
    replace(REWARD_OFFERED, age_years_min=0, household_month_max=3),
    credited("H2", 300),
    *reserved("RV1"),
    *collected("RV2", collected_at=at("11-21 16:00")),
)
"""V3's household has reserved RW1 twice, and collected it once."""


# ── What is past when an example command is given ────────────────────────────────────────────────────────────

ORDINARY_PAST: Final[tuple[Fact, ...]] = (
    *district(silence_days=7),
    HOURS_LOGGED,
    logged("R2", "11-10 09:00 - 10:30"),
    replace(HOURS_CONFIRMED, record="R2"),
    POOL_FUNDED,
)
IN_DISPUTE = (
    *(logged(record, f"10-30 {hour}:00 - {hour + 1}:00") for record, hour in (("R3", 10), ("R4", 14))),
    *(replace(HOURS_CONFIRMED, record=record, minutes=60) for record in ("R3", "R4")),
    DISPUTE_OPENED,
    replace(DISPUTE_OPENED, dispute="D2", record="R4", opened_by=ADMIN.id),
    *(MinutesHeld("household:H1", 60, hold) for hold in ("dispute:D1", "dispute:D2")),
)
VISITED = (
    CheckedIn("C2", "V2", XINZHU, "助餐", at("11-22 10:00"), "V2", "self", "H2"),
    CheckedIn("C3", "V2", XINZHU, "助餐", at("11-21 09:00"), "V2", "self", "H2"),
)
DISCLOSED = (
    replace(PERIOD_SEALED, sealed_by="A2"),
    replace(OBJECTION_RAISED, record=None),
    replace(
        OBJECTION_RAISED, objection="B2", person="V4", household="H3", community=JINHU, raised_by="A1", record=None
    ),
)
"""Since October was sealed, V3 objects, and V4, for whom an administrator wrote it down."""
INSPECTED = (
    SAMPLE_DRAWN,
    FINDING_RECORDED,
    replace(FINDING_RECORDED, finding="F2", sample=None),
    replace(FINDING_ANSWERED, finding="F2"),
)
"""Of two findings one is answered."""
PROPOSALS = (POLICY_PROPOSED, replace(POLICY_PROPOSED, proposal="P2", proposed_by="A1"))
FIRST_COMMANDS: Final = frozenset({open_ledger, adopt})
"""Those that are given before anything else."""
MOVING_PAST: Final[tuple[Fact, ...]] = (
    PolicyAdopted(2, date(2026, 11, 1), Policy(transfer="anyone", starting_grant_minutes=60, expiry_months=1)),
    PoolFunded("issuance", "pool:" + XINZHU, 600, "A1"),
    HoursConfirmed("issuance", "group:G1", 60, "R0", "S2"),
    FAMILY_TIE_REGISTERED,
    GROUP_REGISTERED,
    GROUP_MEMBER_JOINED,
    GRANT_PROPOSED,
    GrantProposed("G2", "H2", 60, "illness", "A1"),
    OPENING_BALANCE_PROPOSED,
    OpeningBalanceProposed("OB2", "H1", 60, "A1"),
    EXPIRY_ANNOUNCED,
)
"""What the examples of moving minutes build on."""
MOVING_COMMANDS: Final = (
    *(end_family_tie, transfer, join_group, leave_group, appoint_group_leader, donate_group_minutes, approve_grant),
    *(reject_grant, withdraw_grant, grant_starting_minutes, approve_opening_balance, reject_opening_balance),
    *(withdraw_opening_balance, announce_expiry, expire_minutes),
)

COMMAND_PASTS: Final[dict[Callable[[Any, Context], Decision], tuple[Fact, ...]]] = {
    **dict.fromkeys((state_case, decide_dispute, withdraw_dispute, escalate_dispute), IN_DISPUTE),
    **dict.fromkeys((check_out, close_visit, void_visit, mark_overdue), VISITED),
    **dict.fromkeys((offer, accept, withdraw, reschedule, fulfil, cancel, expire), REQUESTS),
    lapse_offer: (*REQUESTS, MemberLeft("V2", "H1")),
    fulfil_with_record: (*REQUESTS, logged("R9", "11-22 09:00 - 10:00", volunteer="V2")),
    **{
        decide: REDEMPTIONS
        for decide in COMMAND_EXAMPLES
        if decide.__module__ in ("domain.partner", "domain.redemption")
    },
    take_balance_along: (replace(POLICY_ADOPTED, version=2, policy=Policy(take_along=True)), HOURS_CONFIRMED),
    pay_in: (LEDGER_TRUSTED,),
    move_grid: (GridRegistered(JINHU, ("第1网格",)),),
    call_off_move: (HOUSEHOLD_MOVE_PLANNED,),
    complete_move: (replace(HOUSEHOLD_MOVE_PLANNED, moves_on=date(2026, 11, 22)),),
    complete_split: (
        CommunityRegistered("新竹东社区", "新竹东社区"),
        replace(COMMUNITY_SPLIT, effective_on=date(2026, 11, 22)),
        MinutesHeld("pool:" + XINZHU, 60, "split:新竹东社区"),
    ),
    complete_merger: (replace(COMMUNITY_MERGED, effective_on=date(2026, 11, 22)),),
    follow_place: (replace(COMMUNITY_MERGED, effective_on=date(2026, 11, 22)),),
    **dict.fromkeys((approve_policy, reject_policy, withdraw_policy), PROPOSALS),
    **dict.fromkeys(MOVING_COMMANDS, MOVING_PAST),
    withdraw_recognition: (HONOUR_AWARDED,),
    revoke_certificate: (CERTIFICATE_ISSUED,),
    withdraw_consent: (CONSENT_GIVEN,),
    **dict.fromkeys((inspect_record, record_finding), (SAMPLE_DRAWN,)),
    **dict.fromkeys((answer_finding, close_finding), INSPECTED),
    raise_objection: (PERIOD_SEALED,),
    **dict.fromkeys((decide_objection, withdraw_objection), DISCLOSED),
    freeze_period: (
        replace(PERIOD_SEALED, period="2026-09", objections_until=at("11-09 12:00"), decisions_until=at("11-24 12:00")),
    ),
}
"""What must have happened beside the ordinary for an example command to be accepted."""


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
