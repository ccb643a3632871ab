"""Commands read back from all the facts that they came to, whichever command it was, to be decided again.

What a command says and no fact holds can't be read back: the codes that open a door or collect a reward (their hashes
are known), what was said in free words (its digest is), another ledger's signed statement, and of which community the
staff were that acted. What the rules make of it is taken as right, and `Asked.unknown` names the fields of the facts
that follow from it alone. Everything else is built by the command's own model, so that what no command can say, such
as fewer than no minutes, is found too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

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
    CountedService,
    IssueCertificate,
    RevokeCertificate,
    issue_certificate,
    revoke_certificate,
)
from domain.community import (
    Community,
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
from domain.consent import (
    ConsentGiven,
    ConsentWithdrawn,
    GiveConsent,
    WithdrawConsent,
    give_consent,
    withdraw_consent,
)
from domain.decision import BY_TIME, Context, Decision, KnownByHash, Reading
from domain.desk import KeyPaper, Paper, PaperAgreed, PaperKeyed, PaperRow, key_paper
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
    seals,
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
    ServiceRecord,
    SettleSilence,
    check_span,
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
from domain.identifiers import Flaw, all_plain, check_id, check_name
from domain.inspection import (
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
    Reservation,
    ReservationGivenUp,
    ReserveReward,
    ReverseRedemption,
    collect,
    collect_many,
    release,
    reserve,
    reverse_redemption,
)
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
    Trust,
    TrustLedger,
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
    make_door_code,
    mark_overdue,
    void_visit,
)

FOLLOWING: Final = (
    *(MinutesHeld, MinutesReleased, MinutesCapped, CappedMinutesReturned),
    *(RequestFollowed, CommunitySplit, BalanceTakenAlong),
)
"""Facts that never say by themselves which command they came from."""
GOES_ON: Final = (
    *(CommunityRegistered, GridRegistered, HouseholdRegistered, MemberRegistered, VolunteerEnrolled),
    *(GridRenamed, HouseholdClosed, SheetLogged, PaperAgreed, MinutesReleased, CappedMinutesReturned),
)
"""First facts of commands that can't be told from a part of their facts, where the reading ends amid them."""
_NO_CODE: Final = "A" * 16
_KEPT_APART: Final = "-"
"""In the place of what only the vault keeps."""
_THIS_LEDGER: Final = "this-ledger"
"""A ledger has no name in its own facts but the one that people read."""
_IMPORTED_MINUTES_MAX: Final = 1440


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What was asked for, and the fields of its facts in which it can't be compared."""

    decide: Callable[[Any, Context], Decision]
    command: Any
    unknown: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True, gc=False):
    """What one command recorded, and what reading it back may need of the past.

    ``state`` is of before the command; ``recorded_at`` says when the last fact of some types was recorded of a record.
    """

    facts: tuple[Fact, ...]
    envelope: Envelope[Any]
    state: Callable[[Reading[Any]], Any]
    recorded_at: Callable[[str, tuple[type[Fact], ...]], datetime]

    def of(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


class NoCommand(Exception):
    """Facts to which no command comes, as far as can be told without deciding any."""

    def __init__(self, zh: str, en: str) -> None:
        self.zh, self.en = zh, en
        super().__init__(f"{zh} / {en}")


def read_back(command: Command) -> Iterator[Asked]:
    """The commands that may have come to these facts, the likeliest first: one, but for few.

    Raises: NoCommand; ValidationError where it would say what no command can.
    """
    if command.envelope.imported:
        return iter((imported(command.facts) or Asked(import_hours, _row(command.facts, _logged_before(command))),))
    for fact in command.facts:
        read = _LEADS.get(type(fact))
        if read is not None:
            return iter(read(fact, command))
    return iter(_of_held(command))


# ── Ledger, policy, places ───────────────────────────────────────────────────────────────────────────────────────


def _of_ledger(first: LedgerOpened, _: Command) -> Sequence[Asked]:
    return (Asked(open_ledger, OpenLedger(name=first.name, zone=first.zone, synthetic=first.synthetic)),)


def _of_policy(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case PolicyAdopted(proposal=""):
            adopted = AdoptPolicy(effective_on=first.effective_on, policy=asdict(first.policy))  # type: ignore[arg-type]
            return (Asked(adopt, adopted),)
        case PolicyAdopted():
            return (Asked(approve_policy, ApprovePolicy(proposal=first.proposal)),)
        case PolicyProposed():
            # As settings by name: a policy that is one already isn't looked at again.
            settings: Any = asdict(first.policy)
            proposed = ProposePolicy(proposal=first.proposal, effective_on=first.effective_on, policy=settings)
            return (Asked(propose_policy, proposed),)
        case PolicyProposalRejected():
            return (Asked(reject_policy, RejectPolicy(proposal=first.proposal, reason=first.reason)),)
        case PolicyProposalWithdrawn():
            return (Asked(withdraw_policy, WithdrawPolicy(proposal=first.proposal)),)
        case _:
            return ()


def _of_place(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case CommunityRegistered():
            for split in command.of(CommunitySplit):
                return (Asked(split_community, _split(first, split, command)),)
            registered = RegisterCommunity(community=first.community, name=first.name)
            return (Asked(register_community, registered),)
        case GridRegistered():
            return (Asked(register_grid, RegisterGrid(community=first.community, grid=first.grid)),)
        case CommunityRenamed():
            renamed = RenameCommunity(community=first.community, name=first.name, effective_on=first.effective_on)
            return (Asked(rename_community, renamed),)
        case CommunityMerged():
            merged = MergeCommunities(community=first.community, into=first.into, effective_on=first.effective_on)
            return (Asked(merge_communities, merged),)
        case GridMoved():
            moved = MoveGrid(
                community=first.community,
                grid=first.grid,
                into_community=first.into_community,
                into_grid=first.into_grid,
                effective_on=first.effective_on,
            )
            return (Asked(move_grid, moved),)
        case GridRenamed():
            names = tuple(GridName(grid=one.grid, name=one.name) for one in command.of(GridRenamed))
            called = RenameGrids(community=first.community, names=names, effective_on=first.effective_on)
            return (Asked(rename_grids, called),)
        case CommunityDissolved():
            return (Asked(complete_merger, CompleteMerger(community=first.community)),)
        case CommunityParted():
            return (Asked(complete_split, CompleteSplit(community=first.community, into=first.into)),)
        case _:
            return ()


def _split(first: CommunityRegistered, split: CommunitySplit, command: Command) -> SplitCommunity:
    return SplitCommunity(
        community=split.community,
        into=split.into,
        name=first.name,
        grids=tuple(moved.grid[0] for moved in command.of(GridMoved)),
        minutes=split.minutes,
        effective_on=split.effective_on,
    )


def _of_carried(first: BalanceCarried, command: Command) -> Sequence[Asked]:
    """Minutes came to a merged community's pool since its day; a debt goes the other way."""
    names = [_subject(name) for name in (first.source, first.target) if name.startswith("pool:")]
    dissolved = [name for name in names if command.state(Community.of(name)).heir is not None]
    return [Asked(complete_merger, CompleteMerger(community=name)) for name in (*dissolved, *names)]


def _of_held(command: Command) -> Sequence[Asked]:
    """What is held in a merged community's pool is all that went over to the other one."""
    accounts = [fact.account for fact in command.of(MinutesReleased) if fact.account.startswith("pool:")]
    if not accounts:
        raise NoCommand("没有任何命令会只得出这样的事实", "no command comes to such facts alone")
    return (Asked(complete_merger, CompleteMerger(community=_subject(accounts[0]))),)


# ── Households and the people in them ────────────────────────────────────────────────────────────────────────────


def _of_household(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case HouseholdRegistered():
            registered = RegisterHousehold(household=first.household, community=first.community, grid=first.grid)
            return (Asked(register_household, registered),)
        case HouseholdMoved(planned=True):
            return (Asked(complete_move, CompleteMove(household=first.household)),)
        case HouseholdMoved():
            follow = Asked(follow_place, FollowPlace(household=first.household))
            if command.envelope.actor == BY_TIME:
                return (follow,)
            moved = MoveHousehold(
                household=first.household, community=first.community, grid=first.grid, moved_on=first.moved_on
            )
            return (Asked(move_household, moved), follow)
        case HouseholdMovePlanned():
            planned = MoveHousehold(
                household=first.household, community=first.community, grid=first.grid, moved_on=first.moves_on
            )
            return (Asked(move_household, planned),)
        case HouseholdMoveCalledOff():
            return (Asked(call_off_move, CallOffMove(household=first.household)),)
        case HouseholdSplit():
            split = SplitHousehold(
                household=first.household,
                into=first.into,
                members=first.members,
                minutes=sum(share.minutes for share in command.of(BalanceCarried)),
                community=first.community,
                grid=first.grid,
            )
            return (Asked(split_household, split),)
        case HouseholdMerged():
            return (Asked(merge_households, MergeHouseholds(household=first.household, into=first.into)),)
        case HouseholdClosed():
            return (_of_closing(first, command),)
        case _:
            return ()


def _of_closing(first: HouseholdClosed, command: Command) -> Asked:
    if first.cause == "left-for-ledger":
        taken = next(iter(command.of(BalanceTakenAlong)), None)
        if taken is None:
            raise NoCommand("转往其他账本却没有带走余额", "nothing was taken along to the other ledger")
        along = TakeAlong(
            household=first.household,
            receiving_ledger=_subject(taken.target),
            ledger=taken.statement.rpartition("-")[0],
        )
        return Asked(take_balance_along, along)
    heir = _subject(first.heir) if first.heir.startswith("household:") else None
    return Asked(close_household, CloseHousehold(household=first.household, cause=first.cause, taken_over_by=heir))


def _of_person(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case MemberRegistered():
            return (Asked(register_member, RegisterMember(member=first.member, household=first.household, name=None)),)
        case VolunteerEnrolled():
            return (Asked(enrol_volunteer, EnrolVolunteer(volunteer=first.volunteer)),)
        case AgeAttested():
            return (Asked(attest_age, AttestAge(person=first.person, age_years_min=first.age_years_min)),)
        case MemberLeft():
            return (Asked(leave_household, LeaveHousehold(member=first.member)),)
        case MemberMoved():
            return (Asked(move_member, MoveMember(member=first.member, into=first.into)),)
        case MemberDied():
            return (Asked(record_death, RecordDeath(member=first.member)),)
        case _:
            return ()


# ── Hours ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_hours(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case HoursLogged():
            fulfilled = command.of(RequestFulfilled)
            if fulfilled:
                given = FulfilRequest(
                    request=fulfilled[0].request,
                    record=first.record,
                    started_at=first.started_at,
                    ended_at=first.ended_at,
                    minutes=first.claimed_minutes,
                    late_reason=first.late_reason,
                )
                return (Asked(fulfil, given),)
            rows = tuple(_claim(logged) for logged in command.of(HoursLogged))
            return (Asked(log, rows[0]) if len(rows) == 1 else Asked(log_many, LogManyHours(hours=rows)),)
        case RequestFulfilled():
            done = FulfilWithRecord(request=first.request, record=first.record)
            return (Asked(fulfil_with_record, done),)
        case HoursConfirmed(confirmed_as="silence"):
            logged_at = command.recorded_at(first.record, (HoursLogged,))
            return (Asked(settle_silence, SettleSilence(record=first.record, logged_at=logged_at)),)
        case HoursConfirmed():
            return (Asked(confirm, ConfirmHours(record=first.record, rating=first.rating or None)),)
        case HoursRejected():
            return (Asked(reject, RejectHours(record=first.record, reason=first.reason)),)  # type: ignore[arg-type]
        case HoursReversed():
            return (Asked(reverse, ReverseHours(record=first.record, reason=first.reason)),)  # type: ignore[arg-type]
        case _:
            return ()


def _claim(logged: HoursLogged) -> LogHours:
    return LogHours(
        record=logged.record,
        volunteer=logged.volunteer,
        recipient_household=logged.recipient_household,
        community=logged.community,
        grid=logged.grid,
        service=logged.service,
        started_at=logged.started_at,
        ended_at=logged.ended_at,
        minutes=logged.claimed_minutes,
        late_reason=logged.late_reason,
    )


def imported(facts: tuple[Fact, ...]) -> Asked | None:
    """The row of older books that was imported; None where only what was before tells which record it is of, as it was
    imported again once it was settled there. Raises: NoCommand."""
    for fact in facts:
        if isinstance(fact, HoursLogged):
            return Asked(import_hours, _row(facts, fact))
    return None


def _logged_before(command: Command) -> HoursLogged:
    for fact in command.facts:
        if isinstance(fact, HoursConfirmed | HoursRejected | HoursReversed):
            record: ServiceRecord = command.state(ServiceRecord.of(fact.record))
            return record.require()
    raise NoCommand("旧台账的一行须登记或处理一条服务记录", "a row of older books logs or settles a service record")


def _row(facts: tuple[Fact, ...], logged: HoursLogged) -> ImportHours:
    status, confirmed_by = "logged", None
    # Where the household is known already, its own community makes no difference.
    household_community = logged.community
    for fact in facts:
        if fact is logged:
            continue
        match fact:
            case HoursConfirmed():
                status, confirmed_by = "confirmed", fact.confirmed_by
            case HoursRejected():
                status, confirmed_by = "rejected", fact.rejected_by
            case HoursReversed():
                status, confirmed_by = "reversed", fact.reversed_by
            case CommunityRegistered() if fact.community != logged.community:
                household_community = fact.community
            case HouseholdRegistered() if fact.household == logged.household:
                household_community = fact.community
    row = ImportHours(
        logged.record,
        logged.volunteer,
        logged.household,
        household_community,
        logged.recipient_household,
        logged.community,
        logged.grid,
        logged.service,
        logged.started_at,
        logged.ended_at,
        logged.claimed_minutes,
        confirmed_by,
        status,  # type: ignore[arg-type]
    )
    _check_row(row)
    return row


def _check_row(row: ImportHours) -> None:
    """What a row must be to be read from a file at all. Raises: NoCommand."""
    recipient, confirmed_by = row.recipient_household, row.confirmed_by
    ids = (
        row.record,
        row.volunteer,
        row.household,
        row.household if recipient is None else recipient,
        row.volunteer if confirmed_by is None else confirmed_by,
    )
    names = (row.community, row.household_community, row.service, *row.grid)
    flaw = None if all_plain(ids) else _first_flaw(check_id, ids)
    if flaw is None and not _fit_names.issuperset(names):
        flaw = _first_flaw(check_name, names)
        if flaw is None:
            if len(_fit_names) >= _FIT_MAX:
                _fit_names.clear()
            _fit_names.update(names)
    if flaw is not None:
        raise NoCommand(f"旧台账的一行不会这样写：{flaw.zh}", f"no row of older books says so: it {flaw.value}")
    if not 0 < row.minutes <= _IMPORTED_MINUTES_MAX:
        raise NoCommand(f"旧台账的一行不会有 {row.minutes} 分钟", f"no row of older books has {row.minutes} minutes")
    try:
        check_span(row.started_at, row.ended_at, row.minutes)
    except ValueError as error:
        zh, _, en = str(error).partition(" / ")
        raise NoCommand(zh, en) from None


_FIT_MAX: Final = 32_768
_fit_names: Final[set[str]] = set()
"""Names that were found fit: of places and services there are few, and each comes again and again."""


def _first_flaw(check: Callable[[str], Flaw | None], texts: Iterable[str]) -> Flaw | None:
    return next((flaw for flaw in map(check, texts) if flaw is not None), None)


# ── Requests, visits, sheets and paper ───────────────────────────────────────────────────────────────────────────


def _of_request(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case RequestAsked():
            asked = AskForService(
                request=first.request,
                household=first.household,
                community=first.community,
                grid=first.grid,
                service=first.service,
                earliest_at=first.earliest_at,
                latest_at=first.latest_at,
                estimated_minutes=first.estimated_minutes,
                needs=first.needs,  # type: ignore[arg-type]
            )
            return (Asked(ask, asked),)
        case OfferMade():
            return (Asked(offer, MakeOffer(request=first.request, volunteer=first.volunteer)),)
        case OfferAccepted():
            return (Asked(accept, AcceptOffer(request=first.request, volunteer=first.volunteer)),)
        case OfferWithdrawn():
            if command.envelope.actor == BY_TIME:
                return (Asked(lapse_offer, LapseOffer(request=first.request, volunteer=first.volunteer)),)
            return (Asked(withdraw, WithdrawOffer(request=first.request, volunteer=first.volunteer)),)
        case RequestRescheduled():
            rescheduled = RescheduleRequest(
                request=first.request, earliest_at=first.earliest_at, latest_at=first.latest_at
            )
            return (Asked(reschedule, rescheduled),)
        case RequestCancelled():
            return (Asked(cancel, CancelRequest(request=first.request)),)
        case RequestExpired():
            return (Asked(expire, ExpireRequest(request=first.request)),)
        case _:
            return ()


def _of_visit(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case DoorCodeMade():
            made_at = command.envelope.decided_at.replace(microsecond=0)
            code = MakeDoorCode(
                household=first.household,
                code_hash=first.code_hash,
                valid_minutes=(first.valid_until - made_at) // MINUTE,
            )
            return (Asked(make_door_code, code),)
        case CheckedIn():
            begun = CheckIn(
                visit=first.visit,
                volunteer=first.volunteer,
                service=first.service,
                recipient_household=first.recipient_household if first.code_hash is None else None,
                community=first.community,
                grid=first.grid,
            )
            return (Asked(check_in, _with_code(begun, first.code_hash)),)
        case CheckedOut():
            minutes = next((logged.claimed_minutes for logged in command.of(HoursLogged)), None)
            ended = CheckOut(visit=first.visit, record=first.record, minutes=minutes)
            return (Asked(check_out, _with_code(ended, first.code_hash)),)
        case VisitOverdue():
            return (Asked(mark_overdue, MarkOverdue(visit=first.visit)),)
        case VisitClosed():
            logged = next(iter(command.of(HoursLogged)), None)
            closed = CloseVisit(
                visit=first.visit,
                started_at=None if logged is None else logged.started_at,
                ended_at=first.ended_at,
                minutes=None if logged is None else logged.claimed_minutes,
                reason=first.reason,
                record=first.record,
            )
            return (Asked(close_visit, closed),)
        case VisitVoided():
            return (Asked(void_visit, VoidVisit(visit=first.visit, reason=first.reason)),)
        case EvidenceAttached():
            attached = AttachEvidence(record=first.record, kind=first.kind, sha256=first.sha256)
            return (Asked(attach_evidence, attached),)
        case _:
            return ()


def _with_code(command: Any, code_hash: str | None) -> Any:
    return command if code_hash is None else command.model_copy(update={"code": KnownByHash(code_hash)})


def _of_sheet(first: SheetLogged, command: Command) -> Sequence[Asked]:
    logged: list[HoursLogged] = command.of(HoursLogged)
    sheet = LogSheet(
        sheet=first.sheet,
        community=first.community,
        grid=first.grid,
        recipient_household=first.recipient_household,
        service=first.service,
        started_at=first.started_at,
        ended_at=first.ended_at,
        leader=first.leader,
        group=first.group,
        sha256=first.sha256,
        late_reason=next((hours.late_reason for hours in logged if hours.late_reason is not None), None),
        rows=tuple(
            SheetRow(
                volunteer=hours.volunteer,
                record=hours.record,
                started_at=hours.started_at,
                ended_at=hours.ended_at,
                minutes=hours.claimed_minutes,
            )
            for hours in logged
        ),
    )
    return (Asked(log_sheet, sheet),)


def _of_paper(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case PaperKeyed():
            rows = first.rows
        case PaperAgreed():
            # Both keyed the same, and what one of them keyed is there.
            keyings = command.state(Paper.of(first.paper)).keyings
            rows = next((keyed.rows for keyed in keyings if keyed.keyed_by == first.also_keyed_by), ())
        case _:
            return ()
    keyed = KeyPaper(
        paper=first.paper, community=first.community, sha256=first.sha256, rows=tuple(_keyed_row(row) for row in rows)
    )
    return (Asked(key_paper, keyed),)


def _keyed_row(row: PaperRow) -> LogHours:
    return LogHours(
        record=row.record,
        volunteer=row.volunteer,
        recipient_household=row.recipient_household,
        community=row.community,
        grid=row.grid,
        service=row.service,
        started_at=row.started_at,
        ended_at=row.ended_at,
        minutes=row.claimed_minutes,
    )


# ── Disputes, partners and redemption ────────────────────────────────────────────────────────────────────────────


def _of_dispute(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case DisputeOpened():
            opened = OpenDispute(
                dispute=first.dispute,
                record=first.record,
                ground=first.ground,
                side=None if first.side == "staff" else first.side,
                settled_at=command.recorded_at(first.record, (HoursConfirmed, HoursRejected)),
            )
            return (Asked(open_dispute, opened, ("text_digest",)),)
        case DisputeStatementGiven():
            side = None if first.side == "staff" else first.side
            given = StateCase(dispute=first.dispute, ground=first.ground, side=side)
            return (Asked(state_case, given, ("text_digest",)),)
        case DisputeUpheld() | DisputeDismissed():
            outcome = "upheld" if isinstance(first, DisputeUpheld) else "dismissed"
            decided = DecideDispute(dispute=first.dispute, outcome=outcome)  # type: ignore[arg-type]
            return (Asked(decide_dispute, decided, ("text_digest",)),)
        case DisputeWithdrawn():
            return (Asked(withdraw_dispute, WithdrawDispute(dispute=first.dispute)),)
        case DisputeEscalated():
            return (Asked(escalate_dispute, EscalateDispute(dispute=first.dispute)),)
        case _:
            return ()


def _of_partner(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case PartnerRegistered():
            registered = RegisterPartner(partner=first.partner, name=first.name, community=first.community)
            return (Asked(register_partner, registered),)
        case RewardOffered():
            offered = OfferReward(
                reward=first.reward,
                partner=first.partner,
                name=first.name,
                minutes=first.minutes,
                items=first.items,
                communities=first.communities,
                age_years_min=first.age_years_min,
                balance_minutes_min=first.balance_minutes_min,
                household_month_max=first.household_month_max,
            )
            return (Asked(offer_reward, offered),)
        case RewardRestocked():
            return (Asked(restock_reward, RestockReward(reward=first.reward, items=first.items)),)
        case RewardWithdrawn():
            return (Asked(withdraw_reward, WithdrawReward(reward=first.reward)),)
        case PartnerSettled():
            return (Asked(settle_partner, SettlePartner(partner=first.partner)),)
        case _:
            return ()


def _of_redemption(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case RewardReserved():
            reserved = ReserveReward(
                reservation=first.reservation,
                reward=first.reward,
                member=first.member,
                code_sha256=first.code_sha256,
            )
            return (Asked(reserve, reserved),)
        case RewardCollected():
            rows = tuple(_collected(collected, command) for collected in command.of(RewardCollected))
            if len(rows) == 1:
                return (Asked(collect, rows[0]),)
            return (Asked(collect_many, CollectManyRewards(collections=rows)),)
        case ReservationGivenUp() | ReservationReleased():
            return (Asked(release, ReleaseReservation(reservation=first.reservation)),)
        case RedemptionReversed():
            reversed_ = ReverseRedemption(reservation=first.reservation, reason=first.reason, restocked=first.restocked)
            return (Asked(reverse_redemption, reversed_),)
        case _:
            return ()


def _collected(first: RewardCollected, command: Command) -> CollectReward:
    """With the code's hash for the code: nobody but the member ever had that."""
    reserved = command.state(Reservation.of(first.reservation)).reserved
    collected = CollectReward(reservation=first.reservation, code=_NO_CODE, collected_at=first.collected_at)
    return collected if reserved is None else _with_code(collected, reserved.code_sha256)


# ── Minutes that move ────────────────────────────────────────────────────────────────────────────────────────────


def _of_movement(first: Fact, command: Command) -> Sequence[Asked]:
    match first:
        case PoolFunded():
            return (Asked(fund_pool, FundPool(community=_subject(first.target), minutes=first.minutes)),)
        case MinutesGranted():
            household, need = _subject(first.target), first.need
            granted = GrantMinutes(household=household, minutes=first.minutes, need=need)  # type: ignore[arg-type]
            return (Asked(grant_minutes, granted),)
        case MinutesTransferred():
            given = TransferMinutes(
                household=_subject(first.source), recipient_household=_subject(first.target), minutes=first.minutes
            )
            return (Asked(transfer, given),)
        case MinutesDonated():
            return (_of_donation(first),)
        case BalancePaidIn():
            return (_of_statement(first, command),)
        case LedgerTrusted():
            return (Asked(trust_ledger, TrustLedger(ledger=first.ledger, key=first.key)),)
        case FamilyTieRegistered():
            tie = RegisterFamilyTie(household=first.household, other_household=first.other_household)
            return (Asked(register_family_tie, tie),)
        case FamilyTieEnded():
            ended = EndFamilyTie(household=first.household, other_household=first.other_household)
            return (Asked(end_family_tie, ended),)
        case _:
            return ()


def _of_donation(first: MinutesDonated) -> Asked:
    community = _subject(first.target) if first.target.startswith("pool:") else None
    if not first.source.startswith("group:"):
        gift = DonateMinutes(household=_subject(first.source), minutes=first.minutes, community=community)
        return Asked(donate, gift)
    group_gift = DonateGroupMinutes(
        group=_subject(first.source),
        minutes=first.minutes,
        community=community,
        household=None if community else _subject(first.target),
        need=first.need,  # type: ignore[arg-type]
    )
    return Asked(donate_group_minutes, group_gift)


def _of_statement(first: BalancePaidIn, command: Command) -> Asked:
    """As if the statement had been signed, addressed to this ledger and valid: nothing more is known than its number,
    its minutes and its digest."""
    ledger, _, number = first.statement.rpartition("-")
    trusted = command.state(Trust.of(ledger)).key
    statement = BalanceStatement(
        ledger=ledger,
        number=int(number) if number.isdecimal() else 0,
        household="",
        members=(),
        minutes=first.minutes,
        earned_minutes=0,
        spent_minutes=0,
        receiving_ledger=_THIS_LEDGER,
        issued_at=command.envelope.decided_at,
        valid_until=(command.envelope.decided_at + timedelta(days=1)).date(),
        policy=0,
    )
    paid = PayIn(household=first.household, ledger=_THIS_LEDGER, statement=statement, key=trusted or "")
    return Asked(pay_in, paid, ("statement_digest",))


def _of_grant(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case GrantProposed():
            proposed = ProposeGrant(
                grant=first.grant,
                household=first.household,
                minutes=first.minutes,
                need=first.need,  # type: ignore[arg-type]
            )
            return (Asked(propose_grant, proposed),)
        case GrantApproved():
            return (Asked(approve_grant, ApproveGrant(grant=first.grant)),)
        case GrantRejected():
            return (Asked(reject_grant, RejectGrant(grant=first.grant, reason=first.reason)),)  # type: ignore[arg-type]
        case GrantWithdrawn():
            return (Asked(withdraw_grant, WithdrawGrant(grant=first.grant)),)
        case StartingMinutesGranted():
            started = GrantStartingMinutes(household=first.household, need=first.need)  # type: ignore[arg-type]
            return (Asked(grant_starting_minutes, started),)
        case _:
            return ()


def _of_opening(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case OpeningBalanceProposed():
            proposed = ProposeOpeningBalance(opening=first.opening, household=first.household, minutes=first.minutes)
            return (Asked(propose_opening_balance, proposed),)
        case OpeningBalanceCredited():
            credited = ApproveOpeningBalance(household=first.household, opening=first.opening)
            return (Asked(approve_opening_balance, credited),)
        case OpeningBalanceRejected():
            rejected = RejectOpeningBalance(
                household=first.household,
                opening=first.opening,
                reason=first.reason,  # type: ignore[arg-type]
            )
            return (Asked(reject_opening_balance, rejected),)
        case OpeningBalanceWithdrawn():
            withdrawn = WithdrawOpeningBalance(household=first.household, opening=first.opening)
            return (Asked(withdraw_opening_balance, withdrawn),)
        case _:
            return ()


def _of_expiry(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case ExpiryAnnounced():
            return (Asked(announce_expiry, AnnounceExpiry(household=first.household, records=first.records)),)
        case MinutesExpired() | ExpiryCalledOff():
            lapsed = ExpireMinutes(household=first.household, announcement=first.announcement)
            return (Asked(expire_minutes, lapsed),)
        case _:
            return ()


# ── Groups, recognition and certificates ─────────────────────────────────────────────────────────────────────────


def _of_group(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case GroupRegistered():
            registered = RegisterGroup(group=first.group, community=first.community, leader=first.leader)
            return (Asked(register_group, registered),)
        case GroupMemberJoined():
            return (Asked(join_group, JoinGroup(group=first.group, member=first.member)),)
        case GroupMemberLeft():
            return (Asked(leave_group, LeaveGroup(group=first.group, member=first.member)),)
        case GroupLeaderAppointed():
            return (Asked(appoint_group_leader, AppointGroupLeader(group=first.group, leader=first.leader)),)
        case _:
            return ()


def _of_recognition(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case StarAwarded() | StarWithdrawn():
            settled = SettleStars(
                volunteer=first.volunteer,
                service_minutes=first.service_minutes,
                counted_position=first.counted_position,
            )
            return (Asked(settle_stars, settled),)
        case HonourAwarded():
            honour = AwardHonour(
                recognition=first.recognition,
                volunteer=first.volunteer,
                title=first.title,
                level=first.level,
                awarded_on=first.awarded_on,
            )
            return (Asked(award_honour, honour),)
        case TrainingRecorded():
            training = RecordTraining(
                recognition=first.recognition,
                volunteer=first.volunteer,
                subject=first.subject,
                name=first.name,
                minutes=first.minutes,
                trained_on=first.trained_on,
            )
            return (Asked(record_training, training),)
        case CommendationRecorded():
            commended = RecordCommendation(
                recognition=first.recognition,
                volunteer=first.volunteer,
                title=first.title,
                organisation=first.organisation,
                commended_on=first.commended_on,
            )
            return (Asked(record_commendation, commended),)
        case RecognitionWithdrawn():
            withdrawn = WithdrawRecognition(recognition=first.recognition, reason=first.reason)
            return (Asked(withdraw_recognition, withdrawn),)
        case _:
            return ()


def _of_certificate(first: Fact, _: Command) -> Sequence[Asked]:
    """What was counted is as the fact says; whether that is right is counted again elsewhere."""
    match first:
        case CertificateIssued():
            issued = IssueCertificate(
                volunteer=first.volunteer,
                since=first.since,
                until=first.until,
                in_charge=first.in_charge,
                issuer=first.issuer or None,
                contact=_KEPT_APART,
                in_charge_name=None,
                handler_name=None,
                counted=CountedService(first.counted_position, first.services, first.records_sha256),
                code_sha256=first.code_sha256,
                kept_sha256=first.kept_sha256,
            )
            return (Asked(issue_certificate, issued),)
        case CertificateRevoked():
            revoked = RevokeCertificate(certificate=first.certificate, reason=first.reason)
            return (Asked(revoke_certificate, revoked),)
        case _:
            return ()


# ── Disclosure and inspection ────────────────────────────────────────────────────────────────────────────────────


def _of_consent(first: Fact, _: Command) -> Sequence[Asked]:
    match first:
        case ConsentGiven():
            return (Asked(give_consent, GiveConsent(person=first.person, paper_sha256=first.paper_sha256)),)
        case ConsentWithdrawn():
            return (Asked(withdraw_consent, WithdrawConsent(person=first.person)),)
        case _:
            return ()


def _of_disclosure(first: Fact, command: Command) -> Sequence[Asked]:
    """What was counted for a seal is taken as right: `application.disclosure.recount` counts it again."""
    match first:
        case PeriodSealed():
            counted = CountedPeriod(
                first.watermark,
                command.state(seals).watermark,
                first.households_served,
                first.service_minutes,
                first.service_records,
                first.corrected_minutes,
                first.corrected_records,
            )
            sealed = SealPeriod(period=first.period, counted=counted)
            return (Asked(seal_period, sealed, ("list_rows", "list_sha256")),)
        case PeriodFrozen():
            return (Asked(freeze_period, FreezePeriod(period=first.period)),)
        case ObjectionRaised():
            raised = RaiseObjection(
                period=first.period,
                objection=first.objection,
                ground=first.ground,
                person=first.person,
                record=first.record,
            )
            return (Asked(raise_objection, raised, ("text_digest",)),)
        case ObjectionUpheld() | ObjectionDismissed():
            outcome = "upheld" if isinstance(first, ObjectionUpheld) else "dismissed"
            decided = DecideObjection(period=first.period, objection=first.objection, outcome=outcome)  # type: ignore[arg-type]
            return (Asked(decide_objection, decided, ("text_digest",)),)
        case ObjectionWithdrawn():
            withdrawn = WithdrawObjection(period=first.period, objection=first.objection)
            return (Asked(withdraw_objection, withdrawn),)
        case _:
            return ()


def _of_inspection(first: Fact, _: Command) -> Sequence[Asked]:
    """What was drawn is taken as drawn from the right records: `application.inspection.redraw` draws it again."""
    match first:
        case SampleDrawn():
            drawn = Drawn(_THIS_LEDGER, first.size, first.population, first.records)
            sample = DrawSample(
                sample=first.sample, seed=first.seed, count=len(first.records), period=first.period, drawn=drawn
            )
            return (Asked(draw_sample, sample),)
        case RecordInspected():
            return (Asked(inspect_record, InspectRecord(sample=first.sample, record=first.record)),)
        case FindingRecorded():
            found = RecordFinding(
                finding=first.finding,
                severity=first.severity,
                matter=first.matter,
                sample=first.sample,
                record=first.record,
            )
            return (Asked(record_finding, found, ("text_digest",)),)
        case FindingAnswered():
            answered = AnswerFinding(finding=first.finding, measure=first.measure)
            return (Asked(answer_finding, answered, ("text_digest",)),)
        case FindingClosed():
            closed = CloseFinding(finding=first.finding, outcome=first.outcome)
            return (Asked(close_finding, closed, ("text_digest",)),)
        case _:
            return ()


def _subject(account: str) -> str:
    return account.partition(":")[2]


_LEADS: Final[dict[type[Fact], Callable[[Any, Command], Sequence[Asked]]]] = {
    LedgerOpened: _of_ledger,
    **dict.fromkeys(
        (PolicyAdopted, PolicyProposed, PolicyProposalRejected, PolicyProposalWithdrawn),
        _of_policy,
    ),
    **dict.fromkeys(
        (
            *(CommunityRegistered, GridRegistered, CommunityRenamed, CommunityMerged, GridMoved, GridRenamed),
            *(CommunityDissolved, CommunityParted),
        ),
        _of_place,
    ),
    BalanceCarried: _of_carried,
    **dict.fromkeys(
        (
            *(HouseholdRegistered, HouseholdMoved, HouseholdMovePlanned, HouseholdMoveCalledOff),
            *(HouseholdSplit, HouseholdMerged, HouseholdClosed),
        ),
        _of_household,
    ),
    **dict.fromkeys(
        (MemberRegistered, VolunteerEnrolled, AgeAttested, MemberLeft, MemberMoved, MemberDied), _of_person
    ),
    **dict.fromkeys((HoursLogged, RequestFulfilled, HoursConfirmed, HoursRejected, HoursReversed), _of_hours),
    **dict.fromkeys(
        (
            *(RequestAsked, OfferMade, OfferAccepted, OfferWithdrawn),
            *(RequestRescheduled, RequestCancelled, RequestExpired),
        ),
        _of_request,
    ),
    **dict.fromkeys(
        (DoorCodeMade, CheckedIn, CheckedOut, VisitOverdue, VisitClosed, VisitVoided, EvidenceAttached), _of_visit
    ),
    SheetLogged: _of_sheet,
    **dict.fromkeys((PaperKeyed, PaperAgreed), _of_paper),
    **dict.fromkeys(
        (
            *(DisputeOpened, DisputeStatementGiven, DisputeUpheld, DisputeDismissed),
            *(DisputeWithdrawn, DisputeEscalated),
        ),
        _of_dispute,
    ),
    **dict.fromkeys((PartnerRegistered, RewardOffered, RewardRestocked, RewardWithdrawn, PartnerSettled), _of_partner),
    **dict.fromkeys(
        (RewardReserved, RewardCollected, ReservationGivenUp, ReservationReleased, RedemptionReversed),
        _of_redemption,
    ),
    **dict.fromkeys(
        (
            *(PoolFunded, MinutesGranted, MinutesTransferred, MinutesDonated, BalancePaidIn, LedgerTrusted),
            *(FamilyTieRegistered, FamilyTieEnded),
        ),
        _of_movement,
    ),
    **dict.fromkeys((GrantProposed, GrantApproved, GrantRejected, GrantWithdrawn, StartingMinutesGranted), _of_grant),
    **dict.fromkeys(
        (OpeningBalanceProposed, OpeningBalanceCredited, OpeningBalanceRejected, OpeningBalanceWithdrawn),
        _of_opening,
    ),
    **dict.fromkeys((ExpiryAnnounced, MinutesExpired, ExpiryCalledOff), _of_expiry),
    **dict.fromkeys((GroupRegistered, GroupMemberJoined, GroupMemberLeft, GroupLeaderAppointed), _of_group),
    **dict.fromkeys(
        (StarAwarded, StarWithdrawn, HonourAwarded, TrainingRecorded, CommendationRecorded, RecognitionWithdrawn),
        _of_recognition,
    ),
    **dict.fromkeys((CertificateIssued, CertificateRevoked), _of_certificate),
    **dict.fromkeys((ConsentGiven, ConsentWithdrawn), _of_consent),
    **dict.fromkeys(
        (PeriodSealed, PeriodFrozen, ObjectionRaised, ObjectionUpheld, ObjectionDismissed, ObjectionWithdrawn),
        _of_disclosure,
    ),
    **dict.fromkeys(
        (SampleDrawn, RecordInspected, FindingRecorded, FindingAnswered, FindingClosed),
        _of_inspection,
    ),
}
"""How each type of fact is read back where it is the first of a command that says which one it was."""
LEADING: Final = tuple(_LEADS)
