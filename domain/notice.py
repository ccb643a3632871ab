"""Notices (通知): what to tell whom, as a pure function of facts and time.

`news` says what follows from one fact, and the reminders what follows from the time. Both are generators that yield
what they need to know, as decisions do; the states that news is told by are those just before its fact. So the same
fact gives the same notices with the same keys whenever and however often it is looked at, and whoever keeps each key
once tells everything once.

A notice holds ids, places, titles, minutes and times, and never a person's name: its texts are templates over them.
What was brought in from older books is no news to anybody. To tell of another fact, add its arm to `_news` and its
texts to `KINDS`.
"""

from collections.abc import Generator, Iterable
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from domain.account import (
    BalancePaidIn,
    BalanceTakenAlong,
    GrantApproved,
    HoursConfirmed,
    HoursReversed,
    MinutesDonated,
    MinutesExpired,
    MinutesGranted,
    MinutesTransferred,
    OpeningBalanceCredited,
    PartnerSettled,
    RedemptionReversed,
    RewardCollected,
    StartingMinutesGranted,
)
from domain.certificate import Certificate, CertificateIssued, CertificateRevoked
from domain.decision import BY_TIME, Question, read
from domain.disclosure import (
    Disclosure,
    ObjectionDismissed,
    ObjectionRaised,
    ObjectionUpheld,
    PeriodSealed,
)
from domain.dispute import BOTH_SIDES, Dispute, DisputeEscalated, DisputeStatementGiven
from domain.expiry import Expiry, ExpiryAnnounced, ExpiryCalledOff
from domain.fact import Fact, Recorded
from domain.grant import GrantProposed
from domain.hours import (
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    DisputeWithdrawn,
    HoursLogged,
    HoursRejected,
    ServiceRecord,
)
from domain.household import (
    Household,
    HouseholdClosed,
    HouseholdMerged,
    HouseholdMoveCalledOff,
    HouseholdMoved,
    Person,
    Roster,
)
from domain.inspection import Finding, FindingAnswered, FindingClosed, FindingRecorded
from domain.partner import ReservationReleased, RewardReserved
from domain.policy import PolicyAdopted, PolicyProposed, policy_book
from domain.recognition import (
    SUBJECT_ZH,
    CommendationRecorded,
    HonourAwarded,
    Recognition,
    RecognitionWithdrawn,
    StarAwarded,
    StarWithdrawn,
    TrainingRecorded,
)
from domain.redemption import Reservation
from domain.request import (
    OfferAccepted,
    OfferMade,
    OfferWithdrawn,
    RequestCancelled,
    RequestExpired,
    RequestFollowed,
    RequestRescheduled,
    ServiceRequest,
)
from domain.visit import Visit, VisitOverdue

ADMINS: Final = "admins"
EVERYBODY: Final = "everybody"
PERSON: Final = "person:"
STAFF: Final = "staff:"

RESERVATION_LEAD: Final = timedelta(days=1)
"""How long before its end a reservation that nobody collected is reminded of."""
REQUEST_LEAD: Final = timedelta(days=1)
"""How long before its window a request is reminded of: to come, or that nobody comes yet."""
DISPUTE_LEAD: Final = timedelta(days=2)
"""How long before the end of a hearing, or the day by which to decide, a dispute is reminded of."""
LAPSE_LEAD: Final = timedelta(days=7)
"""How long before the announced day minutes that will lapse are reminded of."""
DIGEST_HOUR: Final = 8
"""From which hour of the ledger's day on staff are told what waits for confirmation, once a day."""

NO_NEWS: Final = frozenset({HoursLogged.type})
"""The stored types of facts that nobody need read to know that they are no news: by far the most frequent one, of which
the daily digest tells."""

Part = str | int


class Kind(NamedTuple):
    """One kind of notice: its texts are templates over its parts."""

    zh: str
    en: str


KINDS: Final[dict[str, Kind]] = {
    "hours-confirmed": Kind(
        "服务记录“{record}”已确认，{minutes} 分钟已存入。",
        "Service record “{record}” was confirmed: {minutes} minutes.",
    ),
    "hours-rejected": Kind(
        "服务记录“{record}”已被驳回：{reason}。如有异议可提出争议。",
        "Service record “{record}” was rejected: {reason}. You may dispute it.",
    ),
    "hours-reversed": Kind(
        "服务记录“{record}”已冲正：{reason}；{minutes} 分钟已转回。",
        "Service record “{record}” was reversed: {reason}; {minutes} minutes went back.",
    ),
    "records-waiting": Kind(
        "{community}有 {count} 条服务记录待确认（{day}）。",
        "{count} service records of {community} wait for confirmation ({day}).",
    ),
    "visit-overdue": Kind(
        "签到“{visit}”超过时限仍未签退，须由工作人员核实后办结或作废。",
        "Visit “{visit}” wasn't checked out of in time: staff find out when it ended, or void it.",
    ),
    "dispute-opened": Kind(
        "服务记录“{record}”有争议“{dispute}”：请在 {hearing_until} 前陈述，{decision_due} 前裁定。",
        "Dispute “{dispute}” over record “{record}”: state your case by {hearing_until}; to be decided by "
        "{decision_due}.",
    ),
    "dispute-heard": Kind(
        "争议“{dispute}”（记录“{record}”）有新的陈述。",
        "Something was stated in dispute “{dispute}” (record “{record}”).",
    ),
    "dispute-hearing-ends": Kind(
        "争议“{dispute}”的陈述将于 {hearing_until} 截止，还有一方没有陈述。",
        "The hearing of dispute “{dispute}” ends at {hearing_until}, and a side hasn't spoken.",
    ),
    "dispute-decision-due": Kind(
        "争议“{dispute}”须在 {decision_due} 前裁定，逾期升级。",
        "Dispute “{dispute}” is to be decided by {decision_due}, or it escalates.",
    ),
    "dispute-escalated": Kind(
        "争议“{dispute}”逾期未裁定，已升级，须由管理员裁定。",
        "Dispute “{dispute}” wasn't decided in time and is an administrator's now.",
    ),
    "dispute-upheld": Kind(
        "争议“{dispute}”（记录“{record}”）已支持。", "Dispute “{dispute}” (record “{record}”) was upheld."
    ),
    "dispute-dismissed": Kind(
        "争议“{dispute}”（记录“{record}”）已驳回，记录不变。",
        "Dispute “{dispute}” (record “{record}”) was dismissed; the record stays as it was.",
    ),
    "dispute-withdrawn": Kind(
        "争议“{dispute}”（记录“{record}”）已撤回。", "Dispute “{dispute}” (record “{record}”) was withdrawn."
    ),
    "offer-made": Kind(
        "志愿者“{volunteer}”响应了服务需求“{request}”，请查看并接受。",
        "Volunteer “{volunteer}” offers for request “{request}”: see and accept it.",
    ),
    "offer-accepted": Kind(
        "您对服务需求“{request}”的响应已被接受：{earliest_at} 至 {latest_at}。",
        "Your offer for request “{request}” was accepted: {earliest_at} to {latest_at}.",
    ),
    "offer-withdrawn": Kind(
        "志愿者“{volunteer}”对服务需求“{request}”的响应已撤回。",
        "The offer of volunteer “{volunteer}” for request “{request}” was withdrawn.",
    ),
    "request-rescheduled": Kind(
        "服务需求“{request}”已改期：{earliest_at} 至 {latest_at}；原有响应失效，可以重新响应。",
        "Request “{request}” was rescheduled: {earliest_at} to {latest_at}; offers lapsed and may be made again.",
    ),
    "offer-lapsed": Kind(
        "志愿者“{volunteer}”不能再来，对服务需求“{request}”的响应已失效。",
        "Volunteer “{volunteer}” can't come any more: the offer for request “{request}” lapsed.",
    ),
    "request-followed": Kind(
        "服务需求“{request}”现由“{household}”户提出，地点在{place}；已有的响应和约定不变。",
        "Request “{request}” is household “{household}”'s now, at {place}; offers stand, and so does what was agreed.",
    ),
    "request-cancelled": Kind("服务需求“{request}”已取消。", "Request “{request}” was cancelled."),
    "request-expired": Kind(
        "服务需求“{request}”到时未完成，已过期。", "Request “{request}” expired without having been done."
    ),
    "request-soon": Kind(
        "服务需求“{request}”将于 {earliest_at} 开始，志愿者“{volunteer}”。",
        "Request “{request}” begins at {earliest_at}, with volunteer “{volunteer}”.",
    ),
    "request-unanswered": Kind(
        "服务需求“{request}”将于 {earliest_at} 开始，还没有约定志愿者。",
        "Request “{request}” begins at {earliest_at}, and no volunteer is accepted.",
    ),
    "reward-reserved": Kind(
        "兑换预留“{reservation}”：{minutes} 分钟，请在 {expires_at} 前领取。",
        "Reservation “{reservation}”: {minutes} minutes; collect it before {expires_at}.",
    ),
    "reservation-ends": Kind(
        "兑换预留“{reservation}”将于 {expires_at} 到期，请及时领取。",
        "Reservation “{reservation}” ends at {expires_at}: collect it before.",
    ),
    "reward-collected": Kind(
        "兑换“{reservation}”已领取，支出 {minutes} 分钟。",
        "Reservation “{reservation}” was collected for {minutes} minutes.",
    ),
    "reservation-released": Kind(
        "兑换预留“{reservation}”已释放，{minutes} 分钟不再冻结。",
        "Reservation “{reservation}” was released; its {minutes} minutes are no longer held.",
    ),
    "redemption-reversed": Kind(
        "兑换“{reservation}”已冲正：{reason}；{minutes} 分钟已退回。",
        "Redemption “{reservation}” was reversed: {reason}; {minutes} minutes came back.",
    ),
    "transfer-received": Kind(
        "“{household}”户转赠给本户 {minutes} 分钟。", "Household “{household}” gave yours {minutes} minutes."
    ),
    "donation-received": Kind("本户收到捐赠 {minutes} 分钟。", "Your household was given {minutes} minutes."),
    "grant-received": Kind("本户获拨付 {minutes} 分钟。", "Your household was granted {minutes} minutes."),
    "grant-proposed": Kind(
        "拨付“{grant}”（{minutes} 分钟）待另一人审批。",
        "Grant “{grant}” of {minutes} minutes waits for a second person.",
    ),
    "opening-balance-credited": Kind(
        "本户的期初时间 {minutes} 分钟已记入。", "Your household's opening balance of {minutes} minutes was credited."
    ),
    "balance-paid-in": Kind(
        "结单“{statement}”已转入本户 {minutes} 分钟。",
        "Statement “{statement}” was paid in to your household: {minutes} minutes.",
    ),
    "statement-issued": Kind(
        "已为“{household}”户出具结单“{statement}”：带走 {minutes} 分钟。",
        "Statement “{statement}” was issued to household “{household}” over {minutes} minutes.",
    ),
    "partner-settled": Kind(
        "第 {number} 号结算单已出具：{minutes} 分钟。", "Settlement {number} was issued over {minutes} minutes."
    ),
    "household-moved": Kind(
        "“{household}”户已按计划于 {on} 迁到{place}。",
        "Household “{household}” moved to {place} on {on}, as planned.",
    ),
    "household-move-called-off": Kind(
        "“{household}”户预定 {on} 迁到{place}，现已取消。",
        "The move of household “{household}” to {place} on {on} was called off.",
    ),
    "household-merged": Kind(
        "“{household}”户已并入“{into}”户，时间和未办完的事都由后者继续。",
        "Household “{household}” became a part of “{into}”, which goes on with its minutes and what is unfinished.",
    ),
    "household-closed": Kind(
        "“{household}”户已销户，您现在不属于任何一户。",
        "Household “{household}” was closed; you belong to none now.",
    ),
    "star-awarded": Kind(
        "您已服务 {minutes} 分钟，达到 {star} 星。", "You have served {minutes} minutes and reached star {star}."
    ),
    "star-withdrawn": Kind(
        "有记录冲正后，您的服务为 {minutes} 分钟，不再是 {star} 星。",
        "Since records were reversed you have served {minutes} minutes, which is less than star {star} takes.",
    ),
    "honour-awarded": Kind(
        "您获得荣誉“{title}”（编号“{recognition}”）。", "You were given the honour “{title}” (number “{recognition}”)."
    ),
    "training-recorded": Kind(
        "您的培训已登记：{subject}，{minutes} 分钟（编号“{recognition}”）。",
        "A training of yours was recorded: {subject}, {minutes} minutes (number “{recognition}”).",
    ),
    "commendation-recorded": Kind(
        "您受到的表彰“{title}”已登记（编号“{recognition}”）。",
        "The commendation “{title}” was put on your record (number “{recognition}”).",
    ),
    "recognition-withdrawn": Kind(
        "您的荣誉、培训或表彰“{recognition}”已撤销：{reason}。",
        "The honour, training or commendation “{recognition}” was withdrawn from your record: {reason}.",
    ),
    "certificate-issued": Kind(
        "您的志愿服务证明“{certificate}”已出具：{since} 至 {until}，{minutes} 分钟，公示至 {public_until}。",
        "Your service certificate “{certificate}” was issued: {minutes} minutes from {since} to {until}; public until "
        "{public_until}.",
    ),
    "certificate-revoked": Kind(
        "您的志愿服务证明“{certificate}”已作废：{reason}。",
        "Your service certificate “{certificate}” was revoked: {reason}.",
    ),
    "expiry-announced": Kind(
        "本户有 {minutes} 分钟将于 {on} 到期（公告“{announcement}”），请在此之前使用。",
        "{minutes} minutes of your household lapse on {on} (announcement “{announcement}”) unless spent before.",
    ),
    "expiry-near": Kind(
        "提醒：公告“{announcement}”的 {minutes} 分钟将于 {on} 到期。",
        "Reminder: {minutes} minutes of announcement “{announcement}” lapse on {on}.",
    ),
    "minutes-expired": Kind(
        "公告“{announcement}”的 {minutes} 分钟已到期。", "{minutes} minutes of announcement “{announcement}” lapsed."
    ),
    "expiry-called-off": Kind(
        "公告“{announcement}”的时间没有到期扣除。", "Nothing lapsed of announcement “{announcement}”."
    ),
    "policy-adopted": Kind(
        "新版规则（第 {version} 版）自 {effective_on} 起生效。",
        "Version {version} of the rules is in force from {effective_on}.",
    ),
    "period-sealed": Kind(
        "{period} 已公示；如有异议，请在 {objections_until} 之前提出。",
        "{period} is disclosed; if anything in it is wrong, object by {objections_until}.",
    ),
    "objection-raised": Kind(
        "对 {period} 公示提出的异议“{objection}”待处理，期限 {decision_due}。",
        "An objection “{objection}” to {period} waits to be decided by {decision_due}.",
    ),
    "objection-upheld": Kind(
        "您对 {period} 的异议“{objection}”成立；更正会列在封存后的更正中。",
        "Your objection “{objection}” to {period} is right; what is corrected will be listed as late.",
    ),
    "objection-dismissed": Kind(
        "您对 {period} 的异议“{objection}”不成立。", "Your objection “{objection}” to {period} was dismissed."
    ),
    "finding-recorded": Kind(
        "查验问题“{finding}”待答复。", "The finding “{finding}” of an inspection waits for an answer."
    ),
    "finding-answered": Kind(
        "查验问题“{finding}”已有答复，可以结案。", "The finding “{finding}” was answered: close it."
    ),
    "finding-closed": Kind("查验问题“{finding}”已结案。", "The finding “{finding}” was closed."),
    "policy-proposed": Kind(
        "规则提案“{proposal}”待另一人审批，拟自 {effective_on} 起生效。",
        "Proposal “{proposal}” of rules from {effective_on} waits for a second person.",
    ),
}
"""Every kind of notice there is, with what it says."""

REASONS_ZH: Final = {
    "duplicate": "重复",
    "wrong-person": "人员有误",
    "wrong-time": "时间有误",
    "not-served": "未提供服务",
    "false-record": "虚假记录",
    "records-reversed": "记录已冲正",
    "superseded": "已另行出具",
    "misconduct": "行为不当",
    "mistake": "有误",
    "other": "其他",
    "imported": "旧台账",
}
WORDS_ZH: Final = {"reason": REASONS_ZH, "subject": SUBJECT_ZH}
"""The parts whose words are of a closed list, with what they are called in Chinese."""


class Notice(msgspec.Struct, frozen=True):
    """Something to tell to one recipient, once for its key.

    ``recipient`` is ``person:…`` (a member, somebody of the staff, or the counter of a partner), ``staff:…`` of a
    community, ``admins`` or ``everybody``. ``parts`` are ids, places, titles, minutes (whole) and times that the texts
    are made of.
    """

    key: str
    kind: str
    recipient: str
    parts: dict[str, Part]

    @property
    def text_zh(self) -> str:
        words = {name: WORDS_ZH[name].get(str(value), value) for name, value in self.parts.items() if name in WORDS_ZH}
        return KINDS[self.kind].zh.format(**self.parts | words)

    @property
    def text_en(self) -> str:
        return KINDS[self.kind].en.format(**self.parts)


Notices = tuple[Notice, ...]
Telling = Generator[Question, Any, Notices]
"""Yields what it needs to know, as a decision does, and returns what is to be told."""


class _Draft(NamedTuple):
    kind: str
    recipients: tuple[str, ...]
    parts: dict[str, Part]

    def notices(self, occasion: str) -> Notices:
        """One a recipient. Where the first part is an id, they are about that; ``occasion`` tells two of them apart."""
        about = next(iter(self.parts.values()))
        words = (self.kind, about if isinstance(about, str) else "", occasion)
        key = ":".join(word for word in words if word)
        return tuple(Notice(f"{key}:{to}", self.kind, to, self.parts) for to in self.recipients)


def _tell(kind: str, recipients: Iterable[str], /, **parts: Part) -> _Draft:
    return _Draft(kind, tuple(sorted(set(recipients))), parts)


_Drafts = Generator[Question, Any, tuple[_Draft, ...]]


def person(number: str) -> str:
    """The recipient that is one person."""
    return PERSON + number


def staff(community: str) -> str:
    """The recipient that is a community's staff."""
    return STAFF + community


# ── News: what follows from a fact ───────────────────────────────────────────────────────────────────────────────


def news(recorded: Recorded[Any]) -> Telling:
    """What a fact is news of, and to whom; nothing where it was brought in from older books.

    The states that it asks for are those just before the fact. Its position is part of each key, so a fact that can
    happen to the same thing twice is told twice, and one that is looked at twice is not.
    """
    envelope = recorded.envelope
    if envelope.imported:
        return ()
    drafts = yield from _news(envelope.fact, envelope.actor, envelope.policy)
    return tuple(notice for draft in drafts for notice in draft.notices(str(recorded.position)))


def _news(fact: Fact, actor: str, policy: int) -> _Drafts:
    """What concerns nobody in particular is no news. Nobody is told what they did themselves, but receipts. ``policy``
    is the version that it was decided under."""
    match fact:
        case HoursConfirmed():
            to = yield from _volunteer(fact.record)
            return (_tell("hours-confirmed", to, record=fact.record, minutes=fact.minutes),)
        case HoursRejected():
            to = yield from _volunteer(fact.record)
            return (_tell("hours-rejected", to, record=fact.record, reason=fact.reason),)
        case HoursReversed():
            to = yield from _volunteer(fact.record)
            return (_tell("hours-reversed", to, record=fact.record, minutes=fact.minutes, reason=fact.reason),)
        case VisitOverdue():
            visit = yield from read(Visit.of(fact.visit))
            at = () if visit.begun is None else (staff(visit.begun.community),)
            return (_tell("visit-overdue", (*at, person(fact.volunteer)), visit=fact.visit),)
        case DisputeOpened():
            to = yield from _concerned(fact.record, without=fact.opened_by)
            times = {"hearing_until": _time(fact.hearing_until), "decision_due": _time(fact.decision_due)}
            return (_tell("dispute-opened", to, dispute=fact.dispute, record=fact.record, **times),)
        case DisputeStatementGiven():
            dispute = yield from read(Dispute.of(fact.dispute))
            if dispute.opened is None:
                return ()
            to = yield from _concerned(dispute.opened.record, without=fact.stated_by)
            return (_tell("dispute-heard", to, dispute=fact.dispute, record=dispute.opened.record),)
        case DisputeEscalated():
            return (_tell("dispute-escalated", (ADMINS,), dispute=fact.dispute),)
        case DisputeUpheld() | DisputeDismissed():
            dispute = yield from read(Dispute.of(fact.dispute))
            opener = () if dispute.opened is None else (person(dispute.opened.opened_by),)
            to = yield from _concerned(fact.record, without=fact.decided_by)
            kind = "dispute-upheld" if isinstance(fact, DisputeUpheld) else "dispute-dismissed"
            return (_tell(kind, (*opener, *to), dispute=fact.dispute, record=fact.record),)
        case DisputeWithdrawn():
            to = yield from _concerned(fact.record, without=actor)
            return (_tell("dispute-withdrawn", to, dispute=fact.dispute, record=fact.record),)
        case OfferMade():
            to = yield from _asking(fact.request, without=actor)
            return (_tell("offer-made", to, request=fact.request, volunteer=fact.volunteer),)
        case OfferAccepted():
            terms = (yield from read(ServiceRequest.of(fact.request))).terms
            if terms is None:
                return ()
            window = {"earliest_at": _time(terms.earliest_at), "latest_at": _time(terms.latest_at)}
            return (_tell("offer-accepted", (person(fact.volunteer),), request=fact.request, **window),)
        case OfferWithdrawn() if actor == BY_TIME:
            members = yield from _asking(fact.request)
            volunteer = yield from _living(fact.volunteer)
            return (_tell("offer-lapsed", (*members, *volunteer), request=fact.request, volunteer=fact.volunteer),)
        case OfferWithdrawn():
            to = yield from _asking(fact.request, without=actor)
            volunteer = () if actor == fact.volunteer else (person(fact.volunteer),)
            return (_tell("offer-withdrawn", (*to, *volunteer), request=fact.request, volunteer=fact.volunteer),)
        case RequestRescheduled():
            request = yield from read(ServiceRequest.of(fact.request))
            to = yield from _asking(fact.request, without=actor)
            window = {"earliest_at": _time(fact.earliest_at), "latest_at": _time(fact.latest_at)}
            return (_tell("request-rescheduled", (*to, *_answering(request)), request=fact.request, **window),)
        case RequestFollowed():
            request = yield from read(ServiceRequest.of(fact.request))
            members = yield from _members(fact.household)
            to = tuple({*members, *_answering(request)} - {person(actor)})
            about = {"request": fact.request, "household": fact.household}
            return (_tell("request-followed", to, **about, place=_place(fact.community, fact.grid)),)
        case RequestCancelled():
            request = yield from read(ServiceRequest.of(fact.request))
            to = yield from _asking(fact.request, without=actor)
            return (_tell("request-cancelled", (*to, *_answering(request)), request=fact.request),)
        case RequestExpired():
            to = yield from _asking(fact.request)
            volunteer = () if fact.volunteer is None else (person(fact.volunteer),)
            return (_tell("request-expired", (*to, *volunteer), request=fact.request),)
        case RewardReserved():
            ends = _time(fact.expires_at)
            to = (person(fact.member),)
            return (_tell("reward-reserved", to, reservation=fact.reservation, minutes=fact.minutes, expires_at=ends),)
        case RewardCollected() | ReservationReleased():
            reserved = (yield from read(Reservation.of(fact.reservation))).reserved
            if reserved is None:
                return ()
            kind = "reward-collected" if isinstance(fact, RewardCollected) else "reservation-released"
            to = (person(reserved.member),)
            return (_tell(kind, to, reservation=fact.reservation, minutes=reserved.minutes),)
        case RedemptionReversed():
            reserved = (yield from read(Reservation.of(fact.reservation))).reserved
            to = () if reserved is None else (person(reserved.member),)
            return (
                _tell(
                    "redemption-reversed",
                    to,
                    reservation=fact.reservation,
                    minutes=fact.minutes,
                    reason=fact.reason,
                ),
            )
        case MinutesTransferred():
            to = yield from _holders(fact.target)
            giver = fact.source.removeprefix("household:")
            return (_tell("transfer-received", to, household=giver, minutes=fact.minutes),)
        case MinutesDonated():
            to = yield from _holders(fact.target)
            return (_tell("donation-received", to, minutes=fact.minutes),)
        case MinutesGranted() | GrantApproved() | StartingMinutesGranted():
            to = yield from _holders(fact.target)
            return (_tell("grant-received", to, minutes=fact.minutes),)
        case GrantProposed():
            household = yield from read(Household.of(fact.household))
            to = () if household.community is None else (staff(household.community),)
            return (_tell("grant-proposed", to, grant=fact.grant, minutes=fact.minutes),)
        case OpeningBalanceCredited():
            to = yield from _holders(fact.target)
            return (_tell("opening-balance-credited", to, minutes=fact.minutes),)
        case BalancePaidIn():
            to = yield from _holders(fact.target)
            return (_tell("balance-paid-in", to, statement=fact.statement, minutes=fact.minutes),)
        case BalanceTakenAlong():
            to = tuple(map(person, fact.members))
            about = {"statement": fact.statement, "household": fact.household}
            return (_tell("statement-issued", to, **about, minutes=fact.minutes),)
        case PartnerSettled():
            to = (person(fact.partner),)
            return (_tell("partner-settled", to, partner=fact.partner, number=fact.number, minutes=fact.minutes),)
        case HouseholdMoved() if fact.planned:
            to = yield from _members(fact.household)
            where = {"place": _place(fact.community, fact.grid), "on": fact.moved_on.isoformat()}
            return (_tell("household-moved", to, household=fact.household, **where),)
        case HouseholdMoveCalledOff():
            plan = (yield from read(Household.of(fact.household))).plan
            if plan is None:
                return ()
            to = yield from _members(fact.household)
            where = {"place": _place(plan.community, plan.grid), "on": plan.moves_on.isoformat()}
            return (_tell("household-move-called-off", to, household=fact.household, **where),)
        case HouseholdMerged():
            others = yield from _members(fact.into)
            to = (*map(person, fact.members), *others)
            return (_tell("household-merged", to, household=fact.household, into=fact.into),)
        case HouseholdClosed() if fact.cause != "left-for-ledger":  # of which the statement tells
            return (_tell("household-closed", map(person, fact.members), household=fact.household),)
        case StarAwarded():
            if (yield from _is_passed(fact, policy)):
                return ()
            to = yield from _living(fact.volunteer)
            return (_tell("star-awarded", to, star=fact.star, minutes=fact.service_minutes),)
        case StarWithdrawn():
            to = yield from _living(fact.volunteer)
            return (_tell("star-withdrawn", to, star=fact.star, minutes=fact.service_minutes),)
        case HonourAwarded():
            to = yield from _living(fact.volunteer)
            return (_tell("honour-awarded", to, recognition=fact.recognition, title=fact.title),)
        case TrainingRecorded():
            about = {"recognition": fact.recognition, "subject": fact.subject}
            to = yield from _living(fact.volunteer)
            return (_tell("training-recorded", to, **about, minutes=fact.minutes),)
        case CommendationRecorded():
            to = yield from _living(fact.volunteer)
            return (_tell("commendation-recorded", to, recognition=fact.recognition, title=fact.title),)
        case RecognitionWithdrawn():
            entry = (yield from read(Recognition.of(fact.recognition))).entry
            to = () if entry is None else (yield from _living(entry.volunteer))
            return (_tell("recognition-withdrawn", to, recognition=fact.recognition, reason=fact.reason),)
        case CertificateIssued():
            days = {"since": fact.since, "until": fact.until, "public_until": fact.public_until}
            about = {"certificate": fact.certificate, **{name: day.isoformat() for name, day in days.items()}}
            to = yield from _living(fact.volunteer)
            return (_tell("certificate-issued", to, **about, minutes=fact.service_minutes),)
        case CertificateRevoked():
            issued = (yield from read(Certificate.of(fact.certificate))).issued
            to = () if issued is None else (yield from _living(issued.volunteer))
            return (_tell("certificate-revoked", to, certificate=fact.certificate, reason=fact.reason),)
        case ExpiryAnnounced():
            to = yield from _members(fact.household)
            about = {"announcement": fact.announcement, "on": fact.on.isoformat()}
            return (_tell("expiry-announced", to, **about, minutes=fact.minutes),)
        case MinutesExpired():
            to = yield from _members(fact.household)
            return (_tell("minutes-expired", to, announcement=fact.announcement, minutes=fact.minutes),)
        case ExpiryCalledOff():
            to = yield from _members(fact.household)
            return (_tell("expiry-called-off", to, announcement=fact.announcement),)
        case PolicyAdopted():
            since = fact.effective_on.isoformat()
            return (_tell("policy-adopted", (EVERYBODY,), version=fact.version, effective_on=since),)
        case PolicyProposed():
            since = fact.effective_on.isoformat()
            return (_tell("policy-proposed", (ADMINS,), proposal=fact.proposal, effective_on=since),)
        case PeriodSealed():
            until = _time(fact.objections_until)
            return (_tell("period-sealed", (EVERYBODY,), period=fact.period, objections_until=until),)
        case ObjectionRaised():
            about = {"period": fact.period, "objection": fact.objection, "decision_due": _time(fact.decision_due)}
            return (_tell("objection-raised", (staff(fact.community),), **about),)
        case ObjectionUpheld() | ObjectionDismissed():
            raised = (yield from read(Disclosure.of(fact.period))).objections.get(fact.objection)
            to = () if raised is None else (yield from _living(raised.raised.person))
            kind = "objection-upheld" if isinstance(fact, ObjectionUpheld) else "objection-dismissed"
            return (_tell(kind, to, period=fact.period, objection=fact.objection),)
        case FindingRecorded():
            return (_tell("finding-recorded", (_responsible(fact),), finding=fact.finding),)
        case FindingAnswered() | FindingClosed():
            found = (yield from read(Finding.of(fact.finding))).recorded
            if found is None:
                return ()
            if isinstance(fact, FindingAnswered):
                return (_tell("finding-answered", (person(found.found_by),), finding=fact.finding),)
            return (_tell("finding-closed", (_responsible(found),), finding=fact.finding),)
        case _:
            return ()


_Recipients = Generator[Question, Any, tuple[str, ...]]


def _responsible(found: FindingRecorded) -> str:
    """Whoever answers a finding: the community's staff; administrators, where it is about no record."""
    return ADMINS if found.community is None else staff(found.community)


def _time(at: datetime) -> str:
    """As people read it. Facts hold times with the ledger's own offset."""
    return f"{at:%Y-%m-%d %H:%M}"


def _place(community: str, grid: tuple[str, ...]) -> str:
    return "/".join((community, *grid))


def _living(number: str) -> _Recipients:
    """Nothing is told to somebody who died."""
    return () if (yield from read(Person.of(number))).died else (person(number),)


def _is_passed(fact: StarAwarded, policy: int) -> Generator[Question, Any, bool]:
    """Whether the same minutes reach a higher star, too. Of several that come at once, as after older books were
    brought in, people are told of the highest."""
    book = yield from read(policy_book)
    thresholds = next((each.policy.star_minutes for each in book.versions if each.version == policy), ())
    return any(fact.service_minutes >= minutes for minutes in thresholds[fact.star :])


def _volunteer(record: str) -> _Recipients:
    logged = (yield from read(ServiceRecord.of(record))).logged
    return () if logged is None else (person(logged.volunteer),)


def _members(household: str) -> _Recipients:
    roster = yield from read(Roster.of(household))
    return tuple(map(person, roster.members))


def _holders(account: str) -> _Recipients:
    """The members of the household whose account it is; pools and groups are nobody's."""
    kind, _, household = account.partition(":")
    return (yield from _members(household)) if kind == "household" else ()


def _concerned(record: str, *, without: str | None = None) -> _Recipients:
    """Both sides of a record and the staff of its community, without who did what is told."""
    logged = (yield from read(ServiceRecord.of(record))).logged
    if logged is None:
        return ()
    served = () if logged.recipient_household is None else (yield from _members(logged.recipient_household))
    sides = {person(logged.volunteer), *served} - {person(without or "")}
    return (staff(logged.community), *sides)


def _asking(request: str, *, without: str | None = None) -> _Recipients:
    terms = (yield from read(ServiceRequest.of(request))).terms
    if terms is None:
        return ()
    members = yield from _members(terms.household)
    return tuple(member for member in members if member != person(without or ""))


def _answering(request: ServiceRequest) -> tuple[str, ...]:
    """Who has offered, or is accepted."""
    return tuple(person(number) for number in {*request.offers, request.volunteer} if number is not None)


# ── Reminders: what follows from the time ────────────────────────────────────────────────────────────────────────


def remind_of_reservation(reservation: str, now: datetime) -> Telling:
    """That a reservation ends soon: to the member; not where it was made shorter before its end than that."""
    state = yield from read(Reservation.of(reservation))
    reserved, ends_at = state.reserved, state.ends_at
    if reserved is None or ends_at is None or state.status != "reserved":
        return ()
    if not ends_at - RESERVATION_LEAD <= now < ends_at or ends_at - reserved.reserved_at <= RESERVATION_LEAD:
        return ()
    to = (person(reserved.member),)
    return _tell("reservation-ends", to, reservation=reservation, expires_at=_time(ends_at)).notices("")


def remind_of_dispute(dispute: str, now: datetime) -> Telling:
    """That a hearing ends soon: to the sides that haven't spoken, and to staff. That it is to be decided soon: to
    staff."""
    state = yield from read(Dispute.of(dispute))
    opened = state.opened
    if opened is None or state.status != "open" or state.escalated:
        return ()
    logged = (yield from read(ServiceRecord.of(opened.record))).logged
    if logged is None:
        return ()
    at = staff(logged.community)
    told: Notices = ()
    if opened.hearing_until - DISPUTE_LEAD <= now < opened.hearing_until and not state.heard >= BOTH_SIDES:
        silent = [person(logged.volunteer)] if "earner" not in state.heard else []
        if "recipient" not in state.heard and logged.recipient_household is not None:
            silent += yield from _members(logged.recipient_household)
        parts = {"record": opened.record, "hearing_until": _time(opened.hearing_until)}
        told += _tell("dispute-hearing-ends", (at, *silent), dispute=dispute, **parts).notices("")
    if opened.decision_due - DISPUTE_LEAD <= now < opened.decision_due:
        parts = {"record": opened.record, "decision_due": _time(opened.decision_due)}
        told += _tell("dispute-decision-due", (at,), dispute=dispute, **parts).notices("")
    return told


def remind_of_request(request: str, now: datetime) -> Telling:
    """That the window of a request is near: to both who agreed, or to staff where nobody is accepted yet."""
    state = yield from read(ServiceRequest.of(request))
    terms = state.terms
    if terms is None or not terms.earliest_at - REQUEST_LEAD <= now < terms.earliest_at:
        return ()
    begins = _time(terms.earliest_at)
    occasion = terms.earliest_at.strftime("%Y%m%dT%H%M")
    if state.status == "open":
        unanswered = _tell("request-unanswered", (staff(terms.community),), request=request, earliest_at=begins)
        return unanswered.notices(occasion)
    if state.status != "accepted" or state.volunteer is None:
        return ()
    to = yield from _asking(request)
    both = (*to, person(state.volunteer))
    parts = {"earliest_at": begins, "volunteer": state.volunteer}
    return _tell("request-soon", both, request=request, **parts).notices(f"{occasion}-{state.volunteer}")


def remind_of_expiry(household: str, today: date) -> Telling:
    """That announced minutes lapse within days: to the members of the household."""
    expiry = yield from read(Expiry.of(household))
    near = [one for one in expiry.open if one.on - LAPSE_LEAD <= today < one.on]
    to = (yield from _members(household)) if near else ()
    return tuple(
        notice
        for one in near
        for notice in _tell(
            "expiry-near", to, announcement=one.announcement, minutes=one.minutes, on=one.on.isoformat()
        ).notices("")
    )


def digest(community: str, count: int, now: datetime) -> Notices:
    """How many records of a community wait for confirmation: to its staff, once a day (``now`` has the ledger's zone),
    from `DIGEST_HOUR` on, and not where none waits."""
    if not count or now.hour < DIGEST_HOUR:
        return ()
    day = now.date().isoformat()
    return _tell("records-waiting", (staff(community),), community=community, count=count, day=day).notices(day)
