"""Commands read back from the facts that followed from them: all but hours, which the dry run knows by itself.

A command of which the journal keeps too little to read it back (the code that collects a reward, what was said in a
dispute) is read back as far as a policy has a say in it; what it leaves out is taken from the facts that happened.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from domain.account import (
    BalanceCarried,
    GrantApproved,
    GrantMinutes,
    MinutesDonated,
    MinutesExpired,
    MinutesGranted,
    MinutesTransferred,
    OpeningBalanceCredited,
    StartingMinutesGranted,
    grant_minutes,
)
from domain.decision import Context, Decision
from domain.dispute import DisputeEscalated, EscalateDispute, OpenDispute, escalate_dispute, open_dispute
from domain.expiry import (
    AnnounceExpiry,
    ExpireMinutes,
    ExpiryAnnounced,
    ExpiryCalledOff,
    announce_expiry,
    expire_minutes,
)
from domain.fact import Fact
from domain.grant import ApproveGrant, GrantStartingMinutes, approve_grant, grant_starting_minutes
from domain.group import DonateGroupMinutes, donate_group_minutes
from domain.hours import DisputeOpened, HoursLogged, RequestFulfilled
from domain.household import HouseholdClosed
from domain.household_life import CloseHousehold, close_household
from domain.opening import ApproveOpeningBalance, approve_opening_balance
from domain.partner import RewardReserved
from domain.redemption import ReserveReward, reserve
from domain.refusal import Refusal
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    ExpireRequest,
    FulfilWithRecord,
    OfferAccepted,
    RequestAsked,
    RequestCancelled,
    RequestExpired,
    RequestRescheduled,
    RescheduleRequest,
    accept,
    ask,
    cancel,
    expire,
    fulfil_with_record,
    reschedule,
)
from domain.transfer import DonateMinutes, TransferMinutes, donate, transfer
from domain.visit import CheckedOut, CheckOut, MarkOverdue, VisitOverdue, VisitTooLong, check_out, mark_overdue

LEADING: Final = (
    *(RequestAsked, OfferAccepted, RequestRescheduled, RequestFulfilled, RequestCancelled, RequestExpired),
    *(CheckedOut, VisitOverdue, DisputeOpened, DisputeEscalated, RewardReserved),
    *(MinutesTransferred, MinutesDonated, MinutesGranted, GrantApproved, StartingMinutesGranted),
    *(OpeningBalanceCredited, ExpiryAnnounced, MinutesExpired, ExpiryCalledOff, HouseholdClosed),
)
"""Facts that begin what one command decided, and from which it is read back."""


class Revived(NamedTuple):
    """A command to be decided again.

    ``subjects`` don't come to be if it is refused. Of one that also logs hours the refusals are told by those, except
    for those ``of_its_own``. ``unknown`` names the fields that it can't be compared in.
    """

    decide: Callable[[Any, Context], Decision]
    command: Any
    subjects: tuple[str, ...] = ()
    of_its_own: tuple[type[Refusal], ...] = ()
    unknown: tuple[str, ...] = ()

    def as_it_happened(self, fact: Fact, facts: tuple[Fact, ...]) -> Fact:
        """A decided fact, with what the command couldn't know of it."""
        like = next((each for each in facts if type(each) is type(fact)), None)
        if like is None or not self.unknown:
            return fact
        return replace(fact, **{name: getattr(like, name) for name in self.unknown if hasattr(like, name)})


def revive(
    facts: tuple[Fact, ...], settled_at: Callable[[str], datetime], logged: HoursLogged | None = None
) -> Revived | None:
    """The command behind facts of which one is of `LEADING`; None where it can't be read back.

    ``settled_at`` says when a record was settled; ``logged`` are the hours that the command logged beside these facts.
    """
    first = next(fact for fact in facts if isinstance(fact, LEADING))
    match first:
        case RequestAsked() | OfferAccepted() | RequestRescheduled() | RequestCancelled() | RequestExpired():
            return _of_request(first)
        case RequestFulfilled():
            if logged is not None:
                return None  # the hours are decided, and the request with them
            fulfilled = FulfilWithRecord.model_construct(request=first.request, record=first.record)
            return Revived(fulfil_with_record, fulfilled)
        case CheckedOut():
            minutes = None if logged is None else logged.claimed_minutes
            checked_out = CheckOut.model_construct(visit=first.visit, code=None, record=first.record, minutes=minutes)
            record = ("record:" + first.record,)
            return Revived(check_out, checked_out, record, (VisitTooLong,), ("evidence", "code_hash"))
        case VisitOverdue():
            return Revived(mark_overdue, MarkOverdue.model_construct(visit=first.visit))
        case DisputeOpened():
            opened = OpenDispute.model_construct(
                dispute=first.dispute,
                record=first.record,
                ground=first.ground,
                side=None if first.side == "staff" else first.side,
                settled_at=settled_at(first.record),
                text=None,
                salt="",
            )
            return Revived(open_dispute, opened, ("dispute:" + first.dispute,), unknown=("text_digest",))
        case DisputeEscalated():
            return Revived(escalate_dispute, EscalateDispute.model_construct(dispute=first.dispute))
        case RewardReserved():
            reserved = ReserveReward.model_construct(
                reservation=first.reservation,
                reward=first.reward,
                member=first.member,
                code_sha256=first.code_sha256,
            )
            return Revived(reserve, reserved, ("reservation:" + first.reservation,))
        case HouseholdClosed():
            return _of_closing(first, facts)
        case _:
            return _of_movement(first)


def _of_request(first: Fact) -> Revived | None:
    match first:
        case RequestAsked():
            asked = AskForService.model_construct(
                request=first.request,
                household=first.household,
                community=first.community,
                grid=first.grid,
                service=first.service,
                earliest_at=first.earliest_at,
                latest_at=first.latest_at,
                estimated_minutes=first.estimated_minutes,
                needs=first.needs,
            )
            return Revived(ask, asked, ("request:" + first.request,))
        case OfferAccepted():
            accepted = AcceptOffer.model_construct(request=first.request, volunteer=first.volunteer)
            return Revived(accept, accepted)
        case RequestRescheduled():
            rescheduled = RescheduleRequest.model_construct(
                request=first.request, earliest_at=first.earliest_at, latest_at=first.latest_at
            )
            return Revived(reschedule, rescheduled)
        case RequestCancelled():
            return Revived(cancel, CancelRequest.model_construct(request=first.request))
        case RequestExpired():
            return Revived(expire, ExpireRequest.model_construct(request=first.request))
        case _:
            return None


def _of_closing(first: HouseholdClosed, facts: tuple[Fact, ...]) -> Revived | None:
    """Where a household took the closed one over, no policy has a say; nor is a statement signed again."""
    if first.cause == "left-for-ledger" or first.heir.startswith("household:"):
        return None
    if any(not isinstance(fact, HouseholdClosed | BalanceCarried) for fact in facts):
        return None
    closed = CloseHousehold.model_construct(household=first.household, cause=first.cause, taken_over_by=None)
    return Revived(close_household, closed)


def _of_movement(first: Fact) -> Revived | None:
    match first:
        case MinutesTransferred():
            given = TransferMinutes.model_construct(
                household=_subject(first.source), recipient_household=_subject(first.target), minutes=first.minutes
            )
            return Revived(transfer, given)
        case MinutesDonated():
            return _of_donation(first)
        case MinutesGranted():
            granted = GrantMinutes.model_construct(
                household=_subject(first.target), minutes=first.minutes, need=first.need
            )
            return Revived(grant_minutes, granted)
        case GrantApproved():
            return Revived(approve_grant, ApproveGrant.model_construct(grant=first.grant))
        case StartingMinutesGranted():
            started = GrantStartingMinutes.model_construct(household=first.household, need=first.need)
            return Revived(grant_starting_minutes, started)
        case OpeningBalanceCredited():
            credited = ApproveOpeningBalance.model_construct(household=first.household, opening=first.opening)
            return Revived(approve_opening_balance, credited)
        case ExpiryAnnounced():
            announced = AnnounceExpiry.model_construct(household=first.household, records=first.records)
            return Revived(announce_expiry, announced, ("announcement:" + first.announcement,))
        case MinutesExpired() | ExpiryCalledOff():
            lapsed = ExpireMinutes.model_construct(household=first.household, announcement=first.announcement)
            return Revived(expire_minutes, lapsed)
        case _:
            return None


def _of_donation(first: MinutesDonated) -> Revived:
    community = _subject(first.target) if first.target.startswith("pool:") else None
    if first.source.startswith("group:"):
        household = None if community else _subject(first.target)
        gift = DonateGroupMinutes.model_construct(
            group=_subject(first.source),
            minutes=first.minutes,
            community=community,
            household=household,
            need=first.need,
        )
        return Revived(donate_group_minutes, gift)
    donated = DonateMinutes.model_construct(
        household=_subject(first.source), minutes=first.minutes, community=community
    )
    return Revived(donate, donated)


def _subject(account: str) -> str:
    return account.partition(":")[2]
