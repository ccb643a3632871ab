"""The stories of the sample district: what its people do after the years that were imported, all of it made up.

Each story is a few people and a few days, in the order in which things happen; days count back from the one on which
they are first played. Together they use everything that the ledger can record, and they leave work behind for whoever
tries a demo out: open requests, queues, a dispute to decide, a reward to collect, a proposal to approve.

To tell one more, write it and add it to STORIES. Steps are only ever added at a story's end, since a command's id comes
from its place. Whoever is served was served in the imported history, too, so no story adds a household served; hours
that stay confirmed are counted on top of the imported ones.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from application.disclosure import PeriodTally
from application.scenes import Later, Settled, Stage, Step, Story, number_by_time, recorded_by, served_by
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.certificate import (
    CertificateIssued,
    IssueCertificate,
    RevokeCertificate,
    certificate_numbers,
    code_sha256,
    issue_certificate,
    revoke_certificate,
)
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
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
from domain.consent import GiveConsent, WithdrawConsent, give_consent, withdraw_consent
from domain.decision import BY_TIME, Actor, fold_facts
from domain.desk import KeyPaper, key_paper
from domain.disclosure import (
    CountedPeriod,
    Disclosure,
    FreezePeriod,
    ObjectionGround,
    SealPeriod,
    freeze_period,
    seal_period,
    seals,
)
from domain.dispute import (
    DecideDispute,
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
from domain.expiry import AnnounceExpiry, ExpireMinutes, announce_expiry, expire_minutes
from domain.grant import (
    ApproveGrant,
    GrantStartingMinutes,
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
    ConfirmHours,
    HoursLogged,
    LogHours,
    RejectHours,
    ReverseHours,
    SettleSilence,
    confirm,
    log,
    reject,
    reverse,
    settle_silence,
)
from domain.household import (
    AttestAge,
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
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
    AnswerFinding,
    CloseFinding,
    Drawn,
    DrawSample,
    InspectRecord,
    Matter,
    RecordFinding,
    Sample,
    Severity,
    answer_finding,
    close_finding,
    draw_records,
    draw_sample,
    inspect_record,
    record_finding,
)
from domain.journal import FactStore
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
    RegisterPartner,
    RestockReward,
    SettlePartner,
    WithdrawReward,
    offer_reward,
    register_partner,
    restock_reward,
    settle_partner,
    withdraw_reward,
)
from domain.policy import (
    ApprovePolicy,
    ProposePolicy,
    RejectPolicy,
    WithdrawPolicy,
    approve_policy,
    propose_policy,
    reject_policy,
    withdraw_policy,
)
from domain.presets import PRESETS
from domain.recognition import (
    AwardHonour,
    RecordCommendation,
    RecordTraining,
    SettleStars,
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
    ReserveReward,
    ReverseRedemption,
    collect,
    collect_many,
    release,
    reserve,
    reverse_redemption,
)
from domain.redemption import code_sha256 as redemption_sha256
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    ExpireRequest,
    FulfilRequest,
    FulfilWithRecord,
    LapseOffer,
    MakeOffer,
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
from domain.sheet import LogSheet, SheetRow, log_sheet
from domain.statement import PayIn, TakeAlong, TrustLedger, pay_in, take_balance_along, trust_ledger
from domain.transfer import (
    DonateMinutes,
    EndFamilyTie,
    RegisterFamilyTie,
    TransferMinutes,
    donate,
    end_family_tie,
    register_family_tie,
    transfer,
)
from domain.visit import (
    AttachEvidence,
    CheckIn,
    CheckOut,
    CloseVisit,
    MakeDoorCode,
    MarkOverdue,
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

# ── Who takes part ───────────────────────────────────────────────────────────────────────────────────────────────

COOK, DRIVER, NURSE, STUDENT = "VS-COOK", "VS-DRIVER", "VS-NURSE", "VS-STUDENT"
BARBER, GARDENER, SAVER, NOVICE = "VS-BARBER", "VS-GARDENER", "VS-SAVER", "VS-NOVICE"
VOLUNTEERS: Final = (COOK, DRIVER, NURSE, STUDENT, BARBER, GARDENER, SAVER)
GRANNY, UNCLE = "VS-GRANNY", "VS-UNCLE"
"""Members of the first two households that are served: they ask, confirm and redeem for themselves."""
NAMES: Final = {
    COOK: "覃师傅（合成）",
    DRIVER: "韦师傅（合成）",
    NURSE: "莫护士（合成）",
    STUDENT: "陆同学（合成）",
    BARBER: "黄师傅（合成）",
    GARDENER: "闭阿姨（合成）",
    SAVER: "农叔叔（合成）",
    NOVICE: "班同学（合成）",
    GRANNY: "甘奶奶（合成）",
    UNCLE: "岑伯伯（合成）",
}
CONTACT, IN_CHARGE, HANDLER = "合成联系方式", "滕主任（合成）", "卢干事（合成）"
"""Names are for the vault; the journal knows numbers only."""
CANTEEN, LUNCH, HAIRCUT, FAN = "PS-CANTEEN", "RWS-LUNCH", "RWS-HAIRCUT", "RWS-FAN"
TO_COLLECT: Final = "RVS-VISITOR"
"""The visitor's reservation, which the canteen's counter can collect."""
NEIGHBOURHOOD: Final = "合成示范社区"
EAST: Final = "合成东社区"

ADMIN, PROPOSER = Actor("D001", "admin"), Actor("D002", "admin")
DISTRICT: Final = Actor("S0001", "staff")
AUDITOR: Final = Actor("A0001", "auditor")
TIME: Final = Actor(BY_TIME, "admin")
COUNTER: Final = Actor(CANTEEN, "partner")


def staff(stage: Stage, number: int) -> Actor:
    """Staff of the home community; number 1 is the one whom a demo gives a token for."""
    return Actor(f"S010{number}", "staff", stage.cast.home)


def member(person: str) -> Actor:
    return Actor(person, "volunteer")


def home_of(person: str) -> str:
    """The household that a volunteer of the stories lives in."""
    return person.replace("VS-", "HS-")


def joining(person: str, household: str) -> RegisterMember:
    return RegisterMember(member=person, household=household, name=None)


def hours(
    stage: Stage, days: int, begin: str, end: str, *, record: str, volunteer: str, service: str, for_: str | None = None
) -> LogHours:
    """What is logged of one stretch of service; for the home community at large, if for no household."""
    return LogHours(
        record=record,
        volunteer=volunteer,
        recipient_household=for_,
        service=service,
        started_at=stage.at(days, begin),
        ended_at=stage.at(days, end),
    )


# ── Rules and people ─────────────────────────────────────────────────────────────────────────────────────────────


def rules_are_tried_out(stage: Stage) -> Iterator[Step]:
    """Two weeks on trial: who is served pays, what is asked for is held, old minutes lapse, and an hour is a star. Then
    all is as before.

    Of two other proposals one is refused and one withdrawn. Another one waits for the administrator.
    """
    as_before = PRESETS["qingxiu"].policy
    trial = replace(
        as_before, payer="recipient", request_hold=True, silence_days=5, expiry_months=36, expiry_notice_days=7
    )
    trial = replace(trial, star_minutes=(60, *as_before.star_minutes))
    lower_cap = replace(as_before, balance_minutes_max=30_000)
    silent = replace(as_before, silence_days=14)
    step, on = stage.step, stage.on
    begin = on(-24)
    yield step(
        -27, "10:00", PROPOSER, propose_policy, ProposePolicy(proposal="PS-TRIAL", effective_on=begin, policy=trial)
    )
    yield step(
        -27, "10:00", PROPOSER, propose_policy, ProposePolicy(proposal="PS-CAP", effective_on=begin, policy=lower_cap)
    )
    yield step(
        -27, "10:00", PROPOSER, propose_policy, ProposePolicy(proposal="PS-HASTE", effective_on=begin, policy=silent)
    )
    yield step(-27, "16:00", PROPOSER, withdraw_policy, WithdrawPolicy(proposal="PS-HASTE"))
    yield step(-26, "10:00", ADMIN, reject_policy, RejectPolicy(proposal="PS-CAP", reason="not-agreed"))
    yield step(-26, "10:00", ADMIN, approve_policy, ApprovePolicy(proposal="PS-TRIAL"))
    back = ProposePolicy(proposal="PS-BACK", effective_on=on(-12), policy=as_before)
    yield step(-15, "10:00", PROPOSER, propose_policy, back)
    yield step(-14, "10:00", ADMIN, approve_policy, ApprovePolicy(proposal="PS-BACK"))
    wanted = ProposePolicy(proposal="PS-SILENCE", effective_on=on(14), policy=silent)
    yield step(-1, "16:00", PROPOSER, propose_policy, wanted)


def people_join(stage: Stage) -> Iterator[Step]:
    """Seven volunteers register, each with a household; two who are served get numbers of their own. Ages are attested
    from a document that is seen and not copied."""
    desk, home, step = staff(stage, 2), stage.cast.home, stage.step
    grid = stage.served(0).grid
    for person in VOLUNTEERS:
        household = RegisterHousehold(household=home_of(person), community=home, grid=grid)
        yield step(-26, "09:00", desk, register_household, household)
        yield step(-26, "09:00", desk, register_member, joining(person, home_of(person)))
        yield step(-26, "09:00", desk, enrol_volunteer, EnrolVolunteer(volunteer=person))
    for number, person in enumerate((GRANNY, UNCLE)):
        yield step(-26, "09:00", desk, register_member, joining(person, stage.served(number).household))
    yield step(-26, "12:00", desk, attest_age, AttestAge(person=GRANNY, age_years_min=80))
    for person in stage.cast.old_members:
        yield step(-26, "12:00", desk, attest_age, AttestAge(person=person, age_years_min=75))


def minutes_are_granted(stage: Stage) -> Iterator[Step]:
    """A pool is funded, and minutes go to who needs them: a small grant by one person, a large one by two."""
    clerk, desk, step = staff(stage, 3), staff(stage, 2), stage.step
    first, second, third = (stage.served(number).household for number in range(3))
    gardener = home_of(GARDENER)
    for community, minutes in ((stage.cast.home, 6_000), (stage.cast.elsewhere, 600)):
        yield step(-26, "10:00", PROPOSER, fund_pool, FundPool(community=community, minutes=minutes))
    starting = GrantStartingMinutes(household=gardener, need="low-income")
    yield step(-23, "09:00", desk, grant_starting_minutes, starting)
    yield step(-23, "09:00", desk, grant_minutes, GrantMinutes(household=gardener, minutes=120, need="living-alone"))
    yield step(-23, "09:00", desk, grant_minutes, GrantMinutes(household=second, minutes=300, need="disability"))
    for grant, household, minutes in (("GS-1", first, 900), ("GS-2", second, 700), ("GS-3", third, 800)):
        proposal = ProposeGrant(grant=grant, household=household, minutes=minutes, need="illness")
        yield step(-23, "09:00", clerk, propose_grant, proposal)
    yield step(-23, "12:00", desk, approve_grant, ApproveGrant(grant="GS-1"))
    yield step(-23, "12:00", desk, reject_grant, RejectGrant(grant="GS-2", reason="not-proven"))
    yield step(-23, "12:00", clerk, withdraw_grant, WithdrawGrant(grant="GS-3"))
    waiting = ProposeGrant(grant="GS-4", household=gardener, minutes=900, need="emergency")
    yield step(-1, "09:00", clerk, propose_grant, waiting)


def older_books_are_brought_in(stage: Stage) -> Iterator[Step]:
    """Of three opening balances one is approved; the saver so reaches the cap, and what is earned above it goes to the
    pool. A record above the cap is reversed, and the pool gives back what it had of it."""
    clerk, desk, step = staff(stage, 3), staff(stage, 2), stage.step
    for opening, person, minutes in (("OS-1", SAVER, 89_970), ("OS-2", COOK, 9_000), ("OS-3", DRIVER, 600)):
        proposal = ProposeOpeningBalance(opening=opening, household=home_of(person), minutes=minutes)
        yield step(-25, "09:00", clerk, propose_opening_balance, proposal)
    approval = ApproveOpeningBalance(household=home_of(SAVER), opening="OS-1")
    yield step(-25, "12:00", desk, approve_opening_balance, approval)
    refusal = RejectOpeningBalance(household=home_of(COOK), opening="OS-2", reason="wrong-amount")
    yield step(-25, "12:00", desk, reject_opening_balance, refusal)
    mistake = WithdrawOpeningBalance(household=home_of(DRIVER), opening="OS-3")
    yield step(-25, "12:00", clerk, withdraw_opening_balance, mistake)
    for days, record in ((-10, "RS-CAP-1"), (-8, "RS-CAP-2")):
        served = stage.served(2).household
        given = hours(
            stage, days, "15:00", "16:00", record=record, volunteer=SAVER, service="智能手机教学", for_=served
        )
        yield step(days, "18:00", member(SAVER), log, given)
        yield step(days + 1, "09:00", desk, confirm, ConfirmHours(record=record))
    yield step(-6, "09:00", desk, reverse, ReverseHours(record="RS-CAP-2", reason="wrong-time"))


def minutes_change_hands(stage: Stage) -> Iterator[Step]:
    """The saver gives minutes to the family's other household, and to the pool; another tie is ended."""
    desk, step = staff(stage, 2), stage.step
    saver = home_of(SAVER)
    tie = RegisterFamilyTie(household=saver, other_household=home_of(STUDENT))
    yield step(-20, "09:00", desk, register_family_tie, tie)
    other = RegisterFamilyTie(household=home_of(DRIVER), other_household=home_of(NURSE))
    yield step(-20, "09:00", desk, register_family_tie, other)
    ended = EndFamilyTie(household=home_of(DRIVER), other_household=home_of(NURSE))
    yield step(-5, "09:00", desk, end_family_tie, ended)
    given = TransferMinutes(household=saver, recipient_household=home_of(STUDENT), minutes=120)
    yield step(-5, "12:00", member(SAVER), transfer, given)
    yield step(-4, "12:00", member(SAVER), donate, DonateMinutes(household=saver, minutes=300))


def old_minutes_lapse(stage: Stage) -> Iterator[Step]:
    """During the trial old minutes are announced to lapse. Those of one record do; the other's are called off, because
    the trial is over when their day comes."""
    step, cast = stage.step, stage.cast
    for days, saver in zip((-23, -18), cast.savers, strict=False):
        notice = AnnounceExpiry(household=saver.household, records=(saver.record,))
        yield step(days, "10:00", TIME, announce_expiry, notice)
    for number, (days, saver) in enumerate(zip((-16, -11), cast.savers, strict=False), 1):
        due = ExpireMinutes(household=saver.household, announcement=number_by_time(stage, old_minutes_lapse, number))
        yield step(days, "10:00", TIME, expire_minutes, due)


# ── Requests and visits ──────────────────────────────────────────────────────────────────────────────────────────


def a_way_to_the_hospital(stage: Stage) -> Iterator[Step]:
    """Granny asks for company to the hospital; what it will cost is held. The driver offers and can't come after all,
    the nurse goes, and Granny pays with what was held. She takes another request back."""
    granny, step, at = member(GRANNY), stage.step, stage.at
    household = stage.served(0).household
    wanted = AskForService(
        request="QS-HOSPITAL",
        household=household,
        service="助医陪诊",
        earliest_at=at(-20, "08:00"),
        latest_at=at(-20, "12:00"),
        estimated_minutes=120,
        needs=("wheelchair",),
    )
    yield step(-22, "10:00", granny, ask, wanted)
    for person in (DRIVER, NURSE):
        yield step(-22, "12:00", member(person), offer, MakeOffer(request="QS-HOSPITAL", volunteer=person))
    yield step(-22, "16:00", granny, accept, AcceptOffer(request="QS-HOSPITAL", volunteer=DRIVER))
    yield step(-21, "09:00", member(DRIVER), withdraw, WithdrawOffer(request="QS-HOSPITAL", volunteer=DRIVER))
    yield step(-21, "16:00", granny, accept, AcceptOffer(request="QS-HOSPITAL", volunteer=NURSE))
    given = FulfilRequest(
        request="QS-HOSPITAL", record="RS-HOSPITAL", started_at=at(-20, "08:30"), ended_at=at(-20, "10:40")
    )
    yield step(-20, "12:00", member(NURSE), fulfil, given)
    yield step(-19, "09:00", granny, confirm, ConfirmHours(record="RS-HOSPITAL", rating=5))
    again = AskForService(
        request="QS-CHECKUP",
        household=household,
        service="助医陪诊",
        earliest_at=at(-16, "08:00"),
        latest_at=at(-16, "12:00"),
        estimated_minutes=120,
    )
    yield step(-19, "10:00", granny, ask, again)
    yield step(-18, "09:00", granny, cancel, CancelRequest(request="QS-CHECKUP"))


def a_lamp_is_mended(stage: Stage) -> Iterator[Step]:
    """Uncle's lamp is to be mended, and he isn't at home on the day: he asks for another one. The barber, who is good
    with lamps, checks in and out with codes from the door, and the visit is what was asked for."""
    uncle, barber, step, at = member(UNCLE), member(BARBER), stage.step, stage.at
    household = stage.served(1).household
    wanted = AskForService(
        request="QS-LAMP",
        household=household,
        service="家电维修",
        earliest_at=at(-8, "09:00"),
        latest_at=at(-8, "12:00"),
        estimated_minutes=60,
    )
    yield step(-10, "09:00", uncle, ask, wanted)
    yield step(-10, "12:00", barber, offer, MakeOffer(request="QS-LAMP", volunteer=BARBER))
    yield step(-9, "09:00", uncle, accept, AcceptOffer(request="QS-LAMP", volunteer=BARBER))
    later = RescheduleRequest(request="QS-LAMP", earliest_at=at(-6, "09:00"), latest_at=at(-6, "17:00"))
    yield step(-9, "16:00", uncle, reschedule, later)
    yield step(-8, "09:00", barber, offer, MakeOffer(request="QS-LAMP", volunteer=BARBER))
    yield step(-8, "12:00", staff(stage, 2), accept, AcceptOffer(request="QS-LAMP", volunteer=BARBER))
    codes = [stage.door_code(name) for name in ("lamp, in", "lamp, out")]
    for code in codes:
        yield step(-6, "09:00", uncle, make_door_code, MakeDoorCode(household=household, code_hash=code_hash(code)))
    arriving = CheckIn(visit="CS-LAMP", volunteer=BARBER, service="家电维修", code=codes[0])
    yield step(-6, "10:00", barber, check_in, arriving)
    leaving = CheckOut(visit="CS-LAMP", code=codes[1], record="RS-LAMP")
    yield step(-6, "11:10", barber, check_out, leaving)
    yield step(-6, "12:00", barber, fulfil_with_record, FulfilWithRecord(request="QS-LAMP", record="RS-LAMP"))
    yield step(-5, "09:00", uncle, confirm, ConfirmHours(record="RS-LAMP", rating=4))


def requests_wait(stage: Stage) -> Iterator[Step]:
    """Nobody came for one request, and its time went by. Others are open now: for whoever tries the demo out, who has
    offered for one of them, and is awaited at another."""
    step, at, cast = stage.step, stage.at, stage.cast
    desk, visitor = staff(stage, 2), member(cast.visitor)

    def request(
        number: str, household: str, service: str, days: int, begin: str, end: str, *needs: str
    ) -> AskForService:
        return AskForService.model_validate(
            {
                "request": number,
                "household": household,
                "service": service,
                "earliest_at": at(days, begin),
                "latest_at": at(days, end),
                "estimated_minutes": 60,
                "needs": needs,
            }
        )

    first, second, third = (stage.served(number).household for number in range(3))
    yield step(-10, "09:00", desk, ask, request("QS-NOBODY", third, "代购代办", -9, "08:00", "18:00"))
    yield step(-8, "09:00", TIME, expire, ExpireRequest(request="QS-NOBODY"))
    yield step(-2, "09:00", member(GRANNY), ask, request("QS-MEAL", first, "助餐", 2, "10:30", "13:00"))
    yield step(-2, "09:00", member(UNCLE), ask, request("QS-TALK", second, "陪伴聊天", 3, "09:00", "17:00", "dialect"))
    bathing = request("QS-BATH", third, "助浴", 4, "09:00", "12:00", "woman-volunteer", "lift")
    yield step(-2, "09:00", desk, ask, bathing)
    near = cast.near_visitor.household
    yield step(-2, "09:00", DISTRICT, ask, request("QS-NEAR", near, "陪伴聊天", 5, "09:00", "17:00"))
    yield step(-2, "09:00", DISTRICT, ask, request("QS-NEXT", near, "助洁", 6, "09:00", "12:00"))
    yield step(-1, "09:00", member(COOK), offer, MakeOffer(request="QS-MEAL", volunteer=COOK))
    for number in ("QS-NEAR", "QS-NEXT"):
        yield step(-1, "09:00", visitor, offer, MakeOffer(request=number, volunteer=cast.visitor))
    yield step(-1, "12:00", DISTRICT, accept, AcceptOffer(request="QS-NEXT", volunteer=cast.visitor))


def visits_stay_open(stage: Stage) -> Iterator[Step]:
    """Three check-ins without a check-out: the desk closes one as it really was, one was a mistake, and one waits."""
    desk, clerk, step = staff(stage, 2), staff(stage, 3), stage.step
    cleaning = CheckIn(visit="CS-FORGOTTEN", volunteer=STUDENT, service="环境清洁")
    yield step(-9, "08:00", member(STUDENT), check_in, cleaning)
    yield step(-8, "09:00", TIME, mark_overdue, MarkOverdue(visit="CS-FORGOTTEN"))
    ended = CloseVisit(visit="CS-FORGOTTEN", ended_at=stage.at(-9, "09:30"), reason="forgotten", record="RS-FORGOTTEN")
    yield step(-8, "10:00", desk, close_visit, ended)
    yield step(-7, "09:00", clerk, confirm, ConfirmHours(record="RS-FORGOTTEN"))
    yield step(-7, "09:00", member(COOK), check_in, CheckIn(visit="CS-MISTAKE", volunteer=COOK, service="助餐"))
    yield step(-7, "12:00", member(COOK), void_visit, VoidVisit(visit="CS-MISTAKE", reason="mistake"))
    shopping = CheckIn(
        visit="CS-WAITING", volunteer=DRIVER, service="代购代办", recipient_household=stage.served(1).household
    )
    yield step(-2, "14:00", member(DRIVER), check_in, shopping)
    yield step(-1, "09:00", TIME, mark_overdue, MarkOverdue(visit="CS-WAITING"))


# ── Hours, sheets, paper and disputes ────────────────────────────────────────────────────────────────────────────


def hours_of_every_kind(stage: Stage) -> Iterator[Step]:
    """Hours that are confirmed, by the desk and by silence, rejected, and reversed, with a photo and a sheet as
    evidence; and some that wait to be confirmed, one of them logged late."""
    desk, step = staff(stage, 2), stage.step
    first, second, third = (stage.served(number).household for number in range(3))
    sweeping = hours(stage, -22, "08:00", "09:30", record="RS-SILENCE", volunteer=STUDENT, service="环境清洁")
    yield step(-22, "10:00", member(STUDENT), log, sweeping)
    # By the scenes' clock, which is what the ledger's own column would show of a district that lived through it.
    silence = SettleSilence(record="RS-SILENCE", logged_at=stage.at(-22, "10:00"))
    yield step(-17, "10:00", TIME, settle_silence, silence)

    meal = hours(stage, -11, "10:30", "11:30", record="RS-MEAL", volunteer=COOK, service="助餐", for_=first)
    yield step(-11, "12:00", member(COOK), log, meal)
    photo = AttachEvidence(record="RS-MEAL", kind="photo", sha256=stage.sha256("meal"))
    yield step(-11, "12:00", member(COOK), attach_evidence, photo)
    paper = AttachEvidence(record="RS-MEAL", kind="sheet", sha256=stage.sha256("sheet of the meal"))
    yield step(-10, "09:00", desk, attach_evidence, paper)
    yield step(-10, "12:00", desk, confirm, ConfirmHours(record="RS-MEAL"))

    wrong = hours(stage, -9, "13:00", "14:00", record="RS-WRONG", volunteer=BARBER, service="理发", for_=second)
    yield step(-9, "18:00", member(BARBER), log, wrong)
    yield step(-8, "09:00", desk, reject, RejectHours(record="RS-WRONG", reason="wrong-time"))

    twice = hours(stage, -9, "15:00", "16:00", record="RS-TWICE", volunteer=COOK, service="陪伴聊天", for_=second)
    yield step(-9, "18:00", member(COOK), log, twice)
    yield step(-8, "09:00", desk, confirm, ConfirmHours(record="RS-TWICE"))
    yield step(-7, "09:00", desk, reverse, ReverseHours(record="RS-TWICE", reason="duplicate"))

    late = hours(stage, -11, "14:00", "15:30", record="RS-LATE", volunteer=NURSE, service="心理慰藉", for_=third)
    yield step(-2, "10:00", member(NURSE), log, late)
    tidy = hours(stage, -3, "09:00", "10:30", record="RS-TIDY", volunteer=DRIVER, service="助洁", for_=first)
    yield step(-2, "10:00", member(DRIVER), log, tidy)
    lessons = hours(stage, -2, "16:30", "17:30", record="RS-LESSONS", volunteer=STUDENT, service="课业辅导", for_=third)
    yield step(-1, "18:00", member(STUDENT), log, lessons)


def a_group_serves(stage: Stage) -> Iterator[Step]:
    """A group of neighbours cleans up together, on one sheet. What it earned is the group's own: some goes to a
    household in need, some to the pool. The lead changes hands, and one member leaves."""
    desk, clerk, gardener, step, at = staff(stage, 2), staff(stage, 3), member(GARDENER), stage.step, stage.at
    home = stage.cast.home
    yield step(-25, "09:00", desk, register_group, RegisterGroup(group="TS-GREEN", community=home, leader=GARDENER))
    for person in (STUDENT, COOK, BARBER):
        yield step(-25, "12:00", gardener, join_group, JoinGroup(group="TS-GREEN", member=person))
    together = LogSheet(
        sheet="SS-GREEN",
        community=home,
        service="楼道整治",
        started_at=at(-11, "16:00"),
        ended_at=at(-11, "18:00"),
        leader=GARDENER,
        group="TS-GREEN",
        sha256=stage.sha256("sheet of the group"),
        rows=(
            SheetRow(volunteer=GARDENER, record="RS-GREEN-1"),
            SheetRow(volunteer=STUDENT, record="RS-GREEN-2"),
            SheetRow(volunteer=COOK, record="RS-GREEN-3", ended_at=at(-11, "17:30")),
        ),
    )
    yield step(-10, "09:00", clerk, log_sheet, together)
    for number in (1, 2, 3):
        yield step(-9, "09:00", desk, confirm, ConfirmHours(record=f"RS-GREEN-{number}"))
    yield step(-8, "09:00", gardener, appoint_group_leader, AppointGroupLeader(group="TS-GREEN", leader=STUDENT))
    yield step(-8, "12:00", member(BARBER), leave_group, LeaveGroup(group="TS-GREEN", member=BARBER))
    needy = DonateGroupMinutes(group="TS-GREEN", minutes=120, household=stage.served(2).household, need="living-alone")
    yield step(-7, "12:00", member(STUDENT), donate_group_minutes, needy)
    yield step(-7, "12:00", member(STUDENT), donate_group_minutes, DonateGroupMinutes(group="TS-GREEN", minutes=60))


def paper_is_keyed_by_two(stage: Stage) -> Iterator[Step]:
    """Two people key a paper, unseen: first they differ, then they agree and its hours are logged. Another paper was
    keyed once, and waits for the second person."""
    chief, desk, clerk, step = (*(staff(stage, number) for number in (1, 2, 3)), stage.step)
    home = stage.cast.home
    first, second = stage.served(0).household, stage.served(1).household
    rows = (
        hours(stage, -10, "08:30", "09:30", record="RS-PAPER-1", volunteer=NURSE, service="助洁", for_=first),
        hours(stage, -10, "09:00", "10:00", record="RS-PAPER-2", volunteer=DRIVER, service="代购代办", for_=second),
    )
    misread = hours(
        stage, -10, "09:00", "10:30", record="RS-PAPER-2", volunteer=DRIVER, service="代购代办", for_=second
    )

    def keyed(*lines: LogHours) -> KeyPaper:
        return KeyPaper(paper="ZS-1", community=home, sha256=stage.sha256("paper"), rows=lines)

    yield step(-9, "09:00", clerk, key_paper, keyed(*rows))
    yield step(-9, "12:00", desk, key_paper, keyed(rows[0], misread))
    yield step(-8, "09:00", desk, key_paper, keyed(*rows))
    for number in (1, 2):
        yield step(-7, "09:00", chief, confirm, ConfirmHours(record=f"RS-PAPER-{number}"))
    waiting = hours(stage, -4, "09:00", "10:00", record="RS-PAPER-3", volunteer=BARBER, service="理发", for_=first)
    once = KeyPaper(paper="ZS-2", community=home, sha256=stage.sha256("second paper"), rows=(waiting,))
    yield step(-1, "09:00", clerk, key_paper, once)


def haircuts_are_disputed(stage: Stage) -> Iterator[Step]:
    """Uncle had no haircut that day, and is right. The cook did serve what was rejected, and is right, too. Uncle
    disputes the lamp as well, and thinks better of it."""
    desk, clerk, uncle, step, at = staff(stage, 2), staff(stage, 3), member(UNCLE), stage.step, stage.at
    first, second = stage.served(0).household, stage.served(1).household
    haircut = hours(stage, -11, "13:00", "14:00", record="RS-HAIRCUT", volunteer=BARBER, service="理发", for_=second)
    yield step(-11, "18:00", member(BARBER), log, haircut)
    yield step(-10, "09:00", desk, confirm, ConfirmHours(record="RS-HAIRCUT"))
    doubted = OpenDispute(dispute="DS-HAIRCUT", record="RS-HAIRCUT", ground="not-served", settled_at=at(-10, "09:00"))
    yield step(-9, "09:00", uncle, open_dispute, doubted)
    yield step(-8, "09:00", member(BARBER), state_case, StateCase(dispute="DS-HAIRCUT", ground="served"))
    yield step(-8, "12:00", clerk, decide_dispute, DecideDispute(dispute="DS-HAIRCUT", outcome="upheld"))

    supper = hours(stage, -10, "17:00", "18:00", record="RS-SUPPER", volunteer=COOK, service="助餐", for_=first)
    yield step(-10, "19:00", member(COOK), log, supper)
    yield step(-9, "09:00", desk, reject, RejectHours(record="RS-SUPPER", reason="not-served"))
    served = OpenDispute(dispute="DS-SUPPER", record="RS-SUPPER", ground="served", settled_at=at(-9, "09:00"))
    yield step(-9, "18:00", member(COOK), open_dispute, served)
    yield step(-8, "09:00", member(GRANNY), state_case, StateCase(dispute="DS-SUPPER", ground="served"))
    yield step(-7, "09:00", clerk, decide_dispute, DecideDispute(dispute="DS-SUPPER", outcome="upheld"))

    unsure = OpenDispute(dispute="DS-LAMP", record="RS-LAMP", ground="wrong-time", settled_at=at(-5, "09:00"))
    yield step(-4, "09:00", uncle, open_dispute, unsure)
    yield step(-3, "09:00", uncle, withdraw_dispute, WithdrawDispute(dispute="DS-LAMP"))


def a_dispute_takes_too_long(stage: Stage) -> Iterator[Step]:
    """Nobody decides a dispute within its fifteen days. It escalates, and an administrator dismisses it."""
    desk, clerk, step, at = staff(stage, 2), staff(stage, 3), stage.step, stage.at
    patrol = hours(stage, -22, "19:00", "20:30", record="RS-PATROL", volunteer=DRIVER, service="治安巡逻")
    yield step(-22, "21:00", member(DRIVER), log, patrol)
    yield step(-21, "09:00", desk, confirm, ConfirmHours(record="RS-PATROL"))
    doubted = OpenDispute(dispute="DS-PATROL", record="RS-PATROL", ground="wrong-time", settled_at=at(-21, "09:00"))
    yield step(-20, "09:00", clerk, open_dispute, doubted)
    yield step(-4, "10:00", TIME, escalate_dispute, EscalateDispute(dispute="DS-PATROL"))
    yield step(-3, "09:00", PROPOSER, decide_dispute, DecideDispute(dispute="DS-PATROL", outcome="dismissed"))


def disputes_are_open(stage: Stage) -> Iterator[Step]:
    """Two records of the imported history are in dispute now: one where both sides were heard, so that staff can decide
    it, and one of the visitor's own, who has not been heard yet."""
    clerk, step, cast = staff(stage, 3), stage.step, stage.cast

    def doubted(number: str, record: Settled) -> OpenDispute:
        return OpenDispute(
            dispute=number,
            record=record.record,
            ground="wrong-time",
            side="recipient",
            settled_at=record.settled_at,
        )

    if cast.disputable is not None:
        yield step(-3, "09:00", clerk, open_dispute, doubted("DS-OPEN", cast.disputable))
        heard = StateCase(dispute="DS-OPEN", ground="served", side="earner")
        yield step(-2, "09:00", clerk, state_case, heard)
    if cast.disputable_of_visitor is not None:
        yield step(-2, "09:00", DISTRICT, open_dispute, doubted("DS-VISITOR", cast.disputable_of_visitor))


# ── Rewards ──────────────────────────────────────────────────────────────────────────────────────────────────────


def minutes_are_redeemed(stage: Stage) -> Iterator[Step]:
    """A canteen gives lunches and haircuts for minutes. Some are collected, also while the counter has no network; one
    is given up, one undone; the canteen is settled with. The visitor has a lunch to collect."""
    desk, step, at, cast = staff(stage, 2), stage.step, stage.at, stage.cast
    canteen = RegisterPartner(partner=CANTEEN, name="合成食堂", community=cast.home)
    yield step(-20, "09:00", desk, register_partner, canteen)
    for reward, name, minutes, items in ((LUNCH, "午餐", 60, 20), (HAIRCUT, "理发", 90, 5), (FAN, "扇子", 30, 10)):
        offered = OfferReward(reward=reward, partner=CANTEEN, name=name, minutes=minutes, items=items)
        yield step(-20, "12:00", desk, offer_reward, offered)
    yield step(-12, "09:00", COUNTER, restock_reward, RestockReward(reward=LUNCH, items=10))
    yield step(-12, "09:00", COUNTER, withdraw_reward, WithdrawReward(reward=FAN))

    def reserved(days: int, clock: str, reservation: str, reward: str, person: str) -> Step:
        digest = redemption_sha256(reservation, stage.redemption_code(reservation))
        command = ReserveReward(reservation=reservation, reward=reward, member=person, code_sha256=digest)
        return step(days, clock, member(person), reserve, command)

    def collected(reservation: str) -> CollectReward:
        return CollectReward(reservation=reservation, code=stage.redemption_code(reservation))

    yield reserved(-10, "09:00", "RVS-1", LUNCH, GRANNY)
    yield step(-10, "12:00", COUNTER, collect, collected("RVS-1"))
    yield reserved(-8, "09:00", "RVS-2", LUNCH, GARDENER)
    noted = collected("RVS-2").model_copy(update={"collected_at": at(-8, "12:10")})
    yield step(-8, "18:00", COUNTER, collect_many, CollectManyRewards(collections=(noted,)))
    undone = ReverseRedemption(reservation="RVS-1", reason="wrong-person", restocked=False)
    yield step(-7, "09:00", desk, reverse_redemption, undone)
    yield step(-5, "09:00", desk, settle_partner, SettlePartner(partner=CANTEEN))

    yield reserved(-6, "09:00", "RVS-3", HAIRCUT, UNCLE)
    yield step(-5, "12:00", member(UNCLE), release, ReleaseReservation(reservation="RVS-3"))
    yield step(-1, "16:00", TIME, release, ReleaseReservation(reservation="RVS-3"))
    yield reserved(-6, "09:00", "RVS-4", LUNCH, UNCLE)
    yield reserved(-3, "12:00", TO_COLLECT, LUNCH, cast.visitor)


# ── Households and places that live, and leaving for another ledger ──────────────────────────────────────────────


def households_live(stage: Stage) -> Iterator[Step]:
    """A son sets up a household of his own with a share of the minutes, and comes back to his parents. Somebody leaves
    and returns, somebody moves in with another household, a household moves to another community; and somebody who
    lived alone dies."""
    desk, step, cast = staff(stage, 2), stage.step, stage.cast
    parents, son, other, lonely = "HS-PARENTS", "HS-SON", "HS-OTHER", "HS-LONELY"
    for household, people in (
        (parents, ("VS-FATHER", "VS-MOTHER", "VS-SON")),
        (other, ("VS-COUSIN",)),
        (lonely, ("VS-LONELY",)),
    ):
        registering = RegisterHousehold(household=household, community=cast.home)
        yield step(-21, "09:00", desk, register_household, registering)
        for person in people:
            yield step(-21, "09:00", desk, register_member, joining(person, household))
    for household in (parents, lonely):
        grant = GrantMinutes(household=household, minutes=240, need="low-income")
        yield step(-20, "12:00", desk, grant_minutes, grant)
    apart = SplitHousehold(household=parents, into=son, members=("VS-SON",), minutes=80)
    yield step(-18, "09:00", desk, split_household, apart)
    yield step(-15, "09:00", desk, leave_household, LeaveHousehold(member="VS-FATHER"))
    yield step(-13, "09:00", desk, register_member, joining("VS-FATHER", parents))
    yield step(-12, "09:00", desk, move_member, MoveMember(member="VS-COUSIN", into=parents))
    yield step(-10, "09:00", desk, merge_households, MergeHouseholds(household=son, into=parents))
    moving = MoveHousehold(household=other, community=cast.elsewhere, moved_on=stage.on(-9))
    yield step(-9, "16:00", desk, move_household, moving)
    yield step(-8, "16:00", desk, record_death, RecordDeath(member="VS-LONELY"))
    yield step(-6, "16:00", desk, close_household, CloseHousehold(household=lonely, cause="died"))


def places_change(stage: Stage) -> Iterator[Step]:
    """A small community is registered; one grid of it goes to its neighbour, and then the rest does, with its pool and
    its household. Some grids of that neighbour become a community of their own, with a share of its pool, and a third
    one gets another name. Before all that, the small one's grids swap theirs."""
    step, on, cast = stage.step, stage.on, stage.cast
    first, second = ("第1网格",), ("第2网格",)
    yield step(-20, "09:00", PROPOSER, register_community, RegisterCommunity(community=NEIGHBOURHOOD))
    for grid in (first, second):
        yield step(-20, "09:00", DISTRICT, register_grid, RegisterGrid(community=NEIGHBOURHOOD, grid=grid))
    household = RegisterHousehold(household="HS-SMALL", community=NEIGHBOURHOOD, grid=first)
    yield step(-20, "12:00", DISTRICT, register_household, household)
    yield step(-20, "12:00", PROPOSER, fund_pool, FundPool(community=NEIGHBOURHOOD, minutes=300))
    renaming = RenameCommunity(community=cast.third, name=f"{cast.third}（合成更名）", effective_on=on(-8))
    yield step(-10, "09:00", PROPOSER, rename_community, renaming)
    if cast.other_grid is not None:
        moving = MoveGrid(
            community=NEIGHBOURHOOD,
            grid=second,
            into_community=cast.elsewhere,
            into_grid=(cast.other_grid,),
            effective_on=on(-8),
        )
        yield step(-10, "09:00", PROPOSER, move_grid, moving)
    merging = MergeCommunities(community=NEIGHBOURHOOD, into=cast.elsewhere, effective_on=on(-6))
    yield step(-9, "09:00", PROPOSER, merge_communities, merging)
    yield step(-6, "10:00", TIME, complete_merger, CompleteMerger(community=NEIGHBOURHOOD))
    yield step(-6, "10:00", TIME, follow_place, FollowPlace(household="HS-SMALL"))
    if cast.split_grid is not None:
        parting = SplitCommunity(
            community=cast.elsewhere, into=EAST, grids=(cast.split_grid,), minutes=240, effective_on=on(-4)
        )
        yield step(-7, "09:00", PROPOSER, split_community, parting)
        for follower in cast.followers:
            yield step(-4, "10:00", TIME, follow_place, FollowPlace(household=follower))
        shared = CompleteSplit(community=cast.elsewhere, into=EAST)
        yield step(-4, "10:00", TIME, complete_split, shared)
    swapped = (GridName(grid=first, name=second[0]), GridName(grid=second, name=first[0]))
    renamed = RenameGrids(community=NEIGHBOURHOOD, names=swapped, effective_on=on(-16))
    yield step(-18, "09:00", PROPOSER, rename_grids, renamed)


def a_family_moves(stage: Stage) -> Iterator[Step]:
    """A family plans to move, puts it off, and moves on the day that it plans then. What it has asked for follows it.
    The grandson had offered to do it; he moves in with the family, and so his offer lapses, and somebody else is
    wanted still."""
    desk, step, at, cast = staff(stage, 2), stage.step, stage.at, stage.cast
    family, elder, grandson = "HS-FAMILY", "VS-ELDER", "VS-GRANDSON"
    for household, person in ((family, elder), ("HS-GRANDSON", grandson)):
        registering = RegisterHousehold(household=household, community=cast.home)
        yield step(-14, "09:00", desk, register_household, registering)
        yield step(-14, "09:00", desk, register_member, joining(person, household))
    yield step(-14, "09:00", desk, enrol_volunteer, EnrolVolunteer(volunteer=grandson))
    soon = MoveHousehold(household=family, community=cast.elsewhere, moved_on=stage.on(-10))
    yield step(-13, "09:00", desk, move_household, soon)
    yield step(-12, "09:00", desk, call_off_move, CallOffMove(household=family))
    later = soon.model_copy(update={"moved_on": stage.on(-7)})
    yield step(-11, "09:00", desk, move_household, later)
    wanted = AskForService(
        request="QS-BOXES",
        household=family,
        service="家具搬移",
        earliest_at=at(-6, "09:00"),
        latest_at=at(7, "18:00"),
        estimated_minutes=120,
        needs=("heavy-lifting",),
    )
    yield step(-10, "12:00", member(elder), ask, wanted)
    yield step(-9, "12:00", member(grandson), offer, MakeOffer(request="QS-BOXES", volunteer=grandson))
    yield step(-7, "10:00", TIME, complete_move, CompleteMove(household=family))
    # The district's: the two live in different communities by now.
    yield step(-5, "12:00", DISTRICT, move_member, MoveMember(member=grandson, into=family))
    yield step(-5, "16:00", TIME, lapse_offer, LapseOffer(request="QS-BOXES", volunteer=grandson))


def people_come_and_go(stage: Stage) -> Iterator[Step]:
    """One household leaves for the ledger next door with its balance, and another one arrives from there with its own,
    on a statement that is paid in once."""
    desk, step, home = staff(stage, 2), stage.step, stage.cast.home
    if not stage.neighbour:
        return
    for household, person in (("HS-LEAVING", "VS-LEAVING"), ("HS-ARRIVING", "VS-ARRIVING")):
        yield step(-12, "09:00", desk, register_household, RegisterHousehold(household=household, community=home))
        yield step(-12, "09:00", desk, register_member, joining(person, household))
    grant = GrantMinutes(household="HS-LEAVING", minutes=240, need="other")
    yield step(-12, "12:00", desk, grant_minutes, grant)
    leaving = TakeAlong(household="HS-LEAVING", receiving_ledger=stage.neighbour, ledger=stage.ledger)
    yield step(-8, "09:00", desk, take_balance_along, leaving)
    if stage.arrival is None:
        return
    trusting = TrustLedger(ledger=stage.neighbour, key=stage.arrival.key)
    yield step(-8, "12:00", PROPOSER, trust_ledger, trusting)
    paying = PayIn(
        household="HS-ARRIVING", ledger=stage.ledger, statement=stage.arrival.statement, key=stage.arrival.key
    )
    yield step(-7, "12:00", desk, pay_in, paying)


# ── Recognition and certificates ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class StarsOf(Later):
    """The stars of somebody whose first service was on a day, by what they had served until the moment."""

    volunteer: str
    since: date

    def made(self, store: FactStore, at: datetime) -> SettleStars:
        counted = served_by(store, self.volunteer, self.since, at.date(), at)
        return SettleStars(volunteer=self.volunteer, service_minutes=counted.minutes, counted_position=counted.position)


@dataclass(frozen=True)
class CertificateOf(Later):
    """A certificate of what somebody of the stories served in a period."""

    volunteer: str
    since: date
    until: date
    code: str

    @property
    def kept(self) -> str:
        """What the vault keeps of it: the code, the contact and two names."""
        kept = {"code": self.code, "contact": CONTACT, "in_charge_name": IN_CHARGE, "handler_name": HANDLER}
        return msgspec.json.encode(kept).decode()

    def made(self, store: FactStore, at: datetime) -> IssueCertificate:
        return IssueCertificate(
            volunteer=self.volunteer,
            since=self.since,
            until=self.until,
            in_charge="S0100",
            issuer=None,
            contact=CONTACT,
            in_charge_name=IN_CHARGE,
            handler_name=HANDLER,
            counted=served_by(store, self.volunteer, self.since, self.until, at),
            code_sha256=code_sha256(self.code),
            kept_sha256=hashlib.sha256(self.kept.encode()).hexdigest(),
        )


@dataclass(frozen=True)
class RevocationOf(Later):
    """The end of a certificate whose number was given when it was issued."""

    certificate: CertificateOf

    def made(self, store: FactStore, at: datetime) -> RevokeCertificate:
        wanted = code_sha256(self.certificate.code)
        issued = [r.envelope.fact for r in recorded_by(store, [certificate_numbers.tag], at)]
        numbers = [i.certificate for i in issued if isinstance(i, CertificateIssued) and i.code_sha256 == wanted]
        return RevokeCertificate(certificate=numbers[0] if numbers else "none", reason="superseded")


def certificates(stage: Stage) -> tuple[CertificateOf, ...]:
    """The certificates of the stories, of which the second is revoked."""
    since, until = stage.on(-25), stage.on(-5)
    return (
        CertificateOf(NURSE, since, until, stage.certificate_code("nurse")),
        CertificateOf(DRIVER, since, until, stage.certificate_code("driver")),
    )


def a_star_is_won_and_lost(stage: Stage) -> Iterator[Step]:
    """While an hour is a star, a novice wins one; the hours turn out to be somebody else's, and so it is lost."""
    desk, step = staff(stage, 2), stage.step
    since = stage.on(-26)
    household = RegisterHousehold(household=home_of(NOVICE), community=stage.cast.home)
    yield step(-26, "09:00", desk, register_household, household)
    yield step(-26, "09:00", desk, register_member, joining(NOVICE, home_of(NOVICE)))
    yield step(-26, "09:00", desk, enrol_volunteer, EnrolVolunteer(volunteer=NOVICE))
    sorting = hours(stage, -22, "09:00", "10:30", record="RS-NOVICE", volunteer=NOVICE, service="垃圾分类指导")
    yield step(-22, "12:00", member(NOVICE), log, sorting)
    yield step(-21, "09:00", desk, confirm, ConfirmHours(record="RS-NOVICE"))
    yield step(-20, "10:00", TIME, settle_stars, StarsOf(NOVICE, since))
    yield step(-19, "09:00", desk, reverse, ReverseHours(record="RS-NOVICE", reason="wrong-person"))
    yield step(-18, "10:00", TIME, settle_stars, StarsOf(NOVICE, since))


def service_is_recognised(stage: Stage) -> Iterator[Step]:
    """An honour, trainings and a commendation go on the records of volunteers; one was noted twice. Two certificates
    are issued, and one of them is revoked."""
    desk, step, on = staff(stage, 2), stage.step, stage.on
    honour = AwardHonour(recognition="ES-HONOUR", volunteer=GARDENER, title="社区好邻居", awarded_on=on(-9))
    yield step(-9, "10:00", desk, award_honour, honour)
    for number in ("ES-TRAINING", "ES-TWICE"):
        training = RecordTraining(
            recognition=number, volunteer=STUDENT, subject="first-aid", minutes=120, trained_on=on(-12)
        )
        yield step(-9, "10:00", desk, record_training, training)
    twice = WithdrawRecognition(recognition="ES-TWICE", reason="duplicate")
    yield step(-8, "10:00", desk, withdraw_recognition, twice)
    commended = RecordCommendation(
        recognition="ES-COMMENDED",
        volunteer=stage.cast.visitor,
        title="优秀志愿者",
        organisation="合成示范单位",
        commended_on=on(-7),
    )
    yield step(-6, "10:00", DISTRICT, record_commendation, commended)
    for certificate in certificates(stage):
        yield step(-4, "10:00", desk, issue_certificate, certificate)
    yield step(-3, "10:00", desk, revoke_certificate, RevocationOf(certificates(stage)[1]))


# ── Disclosure ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Past:
    """What the ledger holds: counted by month, and its service records in the order they were logged."""

    def __init__(self) -> None:
        self.tally = PeriodTally()
        self.logged: list[str] = []

    def follow(self, store: FactStore) -> None:
        """Take in what is new."""
        for batch in store.scan(self.tally.position, store.head()):
            for recorded in batch:
                fact = recorded.envelope.fact
                self.tally.fold(recorded.position, fact)
                if isinstance(fact, HoursLogged):
                    self.logged.append(fact.record)


_PASTS: Final[WeakKeyDictionary[FactStore, _Past]] = WeakKeyDictionary()
"""What was counted of a ledger so far, so that its years of imported history are gone through once in a playing."""


def _past(store: FactStore) -> _Past:
    """All that the ledger holds now."""
    past = _PASTS.setdefault(store, _Past())
    past.follow(store)
    return past


@dataclass(frozen=True)
class SealOf(Later):
    """The seal of a month, as the journal holds it by the moment."""

    period: str
    ledger: str
    secret: bytes

    def made(self, store: FactStore, at: datetime) -> SealPeriod:
        before = [r.envelope.fact for r in recorded_by(store, [seals.tag, Disclosure.of(self.period).tag], at)]
        if fold_facts(Disclosure.of(self.period), before).sealed is not None:
            # It is recorded already; what was counted is no part of what it is known by.
            return SealPeriod(period=self.period, counted=CountedPeriod(0, 0, 0, 0, 0))
        tally, since = _past(store).tally, fold_facts(seals, before).watermark
        return SealPeriod(
            period=self.period, counted=tally.counted(self.period, since, tally.position, self.secret, self.ledger)
        )


def disclosed_periods(stage: Stage) -> tuple[str, str]:
    """The last two months of the imported history that are over when the first of them is sealed."""
    over = stage.on(-24).replace(day=1) - timedelta(days=1)
    last = min(over, stage.cast.last_served_on).replace(day=1)
    return f"{last - timedelta(days=1):%Y-%m}", f"{last:%Y-%m}"


def months_are_disclosed(stage: Stage) -> Iterator[Step]:
    """Volunteers consent to be listed, and one takes it back. A month is disclosed; of three objections one is right,
    one isn't, and one is withdrawn; then it is frozen. The next month is open, and an objection waits for an answer."""
    desk, step = staff(stage, 2), stage.step
    earlier, later = disclosed_periods(stage)
    for person in stage.cast.consenting:
        paper = GiveConsent(person=person, paper_sha256=stage.sha256(f"consent of {person}"))
        yield step(-25, "10:00", DISTRICT, give_consent, paper)
    for person in (COOK, NURSE):
        yield step(-25, "12:00", member(person), give_consent, GiveConsent(person=person))
    first, second = (SealOf(period, stage.ledger, stage.pseudonym_secret(period)) for period in (earlier, later))
    yield step(-24, "10:00", PROPOSER, seal_period, first)
    objections: tuple[tuple[str, str, ObjectionGround], ...] = (
        (GRANNY, "BS-1", "hours-wrong"),
        (UNCLE, "BS-2", "figures-wrong"),
        (COOK, "BS-3", "other"),
    )
    for person, number, ground in objections:
        objection = RaiseObjection(period=earlier, objection=number, ground=ground, text=None)
        yield step(-23, "10:00", member(person), raise_objection, objection)
    yield step(-22, "09:00", member(COOK), withdraw_objection, WithdrawObjection(period=earlier, objection="BS-3"))
    right = DecideObjection(period=earlier, objection="BS-1", outcome="upheld", text=None)
    yield step(-20, "09:00", desk, decide_objection, right)
    wrong = DecideObjection(period=earlier, objection="BS-2", outcome="dismissed", text=None)
    yield step(-20, "09:00", desk, decide_objection, wrong)
    yield step(-16, "10:00", TIME, freeze_period, FreezePeriod(period=earlier))
    yield step(-5, "09:00", member(COOK), withdraw_consent, WithdrawConsent(person=COOK))
    yield step(-3, "10:00", PROPOSER, seal_period, second)
    waiting = RaiseObjection(period=later, objection="BS-4", ground="hours-missing", text=None)
    yield step(-2, "10:00", member(GRANNY), raise_objection, waiting)


# ── Inspection ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SampleOf(Later):
    """A sample of all records that the ledger holds by the moment."""

    sample: str
    seed: str
    count: int
    ledger: str

    def made(self, store: FactStore, at: datetime) -> DrawSample:
        before = [r.envelope.fact for r in recorded_by(store, [Sample.of(self.sample).tag], at)]
        drawn = fold_facts(Sample.of(self.sample), before).drawn
        if drawn is not None:
            # It is recorded already; what was drawn is no part of what it is known by.
            known = Drawn(self.ledger, drawn.size, drawn.population, drawn.records)
            return DrawSample(sample=self.sample, seed=self.seed, count=self.count, drawn=known)
        past = _past(store)
        drawing = draw_records(self.ledger, self.seed, past.tally.position, None, past.logged, self.count)
        return DrawSample(sample=self.sample, seed=self.seed, count=self.count, drawn=drawing)


@dataclass(frozen=True)
class OfSample(Later):
    """Something about a record of a sample, which is known once it is drawn: in order, or a finding."""

    sample: str
    number: int
    finding: str | None = None
    severity: Severity = "minor"
    matter: Matter = "other"

    def made(self, store: FactStore, at: datetime) -> InspectRecord | RecordFinding:
        before = [r.envelope.fact for r in recorded_by(store, [Sample.of(self.sample).tag], at)]
        drawn = fold_facts(Sample.of(self.sample), before).drawn
        records = () if drawn is None else drawn.records
        # In a very small district one record plays several parts.
        record = records[self.number % len(records)] if records else "none"
        if self.finding is None:
            return InspectRecord(sample=self.sample, record=record)
        return RecordFinding(
            finding=self.finding,
            severity=self.severity,
            matter=self.matter,
            sample=self.sample,
            record=record,
            text=None,
        )


def books_are_inspected(stage: Stage) -> Iterator[Step]:
    """An auditor draws ten records with a seed that everybody knows. Two are in order, and with two something is wrong:
    one is answered and closed, one waits for an answer."""
    step = stage.step
    yield step(-3, "14:00", AUDITOR, draw_sample, SampleOf("TS-1", "合成种子 synthetic seed", 10, stage.ledger))
    for number in range(2):
        yield step(-2, "09:00", AUDITOR, inspect_record, OfSample("TS-1", number))
    yield step(-2, "12:00", AUDITOR, record_finding, OfSample("TS-1", 2, "FS-1", "minor", "no-evidence"))
    yield step(-2, "12:00", AUDITOR, record_finding, OfSample("TS-1", 3, "FS-2", "moderate", "wrong-time"))
    answered = AnswerFinding(finding="FS-1", measure="explained", text=None)
    yield step(-1, "09:00", DISTRICT, answer_finding, answered)
    yield step(-1, "12:00", AUDITOR, close_finding, CloseFinding(finding="FS-1", outcome="accepted", text=None))


STORIES: Final[tuple[Story, ...]] = (
    rules_are_tried_out,
    people_join,
    minutes_are_granted,
    older_books_are_brought_in,
    minutes_change_hands,
    old_minutes_lapse,
    a_way_to_the_hospital,
    a_lamp_is_mended,
    requests_wait,
    visits_stay_open,
    hours_of_every_kind,
    a_group_serves,
    paper_is_keyed_by_two,
    haircuts_are_disputed,
    a_dispute_takes_too_long,
    disputes_are_open,
    minutes_are_redeemed,
    households_live,
    places_change,
    a_family_moves,
    people_come_and_go,
    a_star_is_won_and_lost,
    service_is_recognised,
    months_are_disclosed,
    books_are_inspected,
)
"""At one moment a story that comes first is played first."""


# ── The ledger next door ─────────────────────────────────────────────────────────────────────────────────────────

NEIGHBOUR_COMMUNITY: Final = "合成邻区社区"


def emigrant(ledger: str) -> str:
    """The household of the ledger next door that leaves it for this one."""
    return f"HS-{ledger}"


def the_neighbour_begins(stage: Stage) -> Iterator[Step]:
    """In the ledger next door, once for all ledgers that it is next door to: it has a community."""
    community = RegisterCommunity(community=NEIGHBOUR_COMMUNITY)
    yield stage.step(-13, "09:00", PROPOSER, register_community, community)


def somebody_leaves_the_neighbour(stage: Stage) -> Iterator[Step]:
    """In the ledger next door: a household with a balance from older books takes it along to this one."""
    step = stage.step
    household, opening = emigrant(stage.ledger), f"OS-{stage.ledger}"
    desk = Actor("S0102", "staff", NEIGHBOUR_COMMUNITY)
    registering = RegisterHousehold(household=household, community=NEIGHBOUR_COMMUNITY)
    yield step(-12, "09:00", desk, register_household, registering)
    yield step(-12, "09:00", desk, register_member, joining(f"VS-{stage.ledger}", household))
    proposal = ProposeOpeningBalance(opening=opening, household=household, minutes=480)
    yield step(-12, "09:00", Actor("S0103", "staff", NEIGHBOUR_COMMUNITY), propose_opening_balance, proposal)
    approval = ApproveOpeningBalance(household=household, opening=opening)
    yield step(-12, "12:00", desk, approve_opening_balance, approval)
    leaving = TakeAlong(household=household, receiving_ledger=stage.ledger, ledger=stage.neighbour)
    yield step(-9, "09:00", desk, take_balance_along, leaving)
