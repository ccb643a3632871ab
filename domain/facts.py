"""The list of every fact type there is, by its stored name."""

from typing import Final

from domain.account import (
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesGranted,
    PoolFunded,
)
from domain.community import CommunityRegistered, GridRegistered
from domain.fact import Fact
from domain.hours import HoursLogged, HoursRejected
from domain.household import HouseholdRegistered, MemberRegistered, VolunteerEnrolled
from domain.ledger import LedgerOpened
from domain.policy import PolicyAdopted

FACTS: Final[dict[str, type[Fact]]] = {
    fact.type: fact
    for fact in (
        LedgerOpened,
        PolicyAdopted,
        CommunityRegistered,
        GridRegistered,
        HouseholdRegistered,
        MemberRegistered,
        VolunteerEnrolled,
        HoursLogged,
        HoursRejected,
        HoursConfirmed,
        MinutesCapped,
        HoursReversed,
        CappedMinutesReturned,
        PoolFunded,
        MinutesGranted,
    )
}
