"""The district's public figures, counted from facts. What each one means is written here, once, and shown with it."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, tzinfo
from operator import attrgetter
from typing import Any, Final, Literal, Self

import msgspec

from domain.account import HoursConfirmed, HoursReversed
from domain.community import Community, CommunityMerged, GridMoved, GridPath, Place, became, evolve
from domain.fact import Fact
from domain.hours import HoursLogged

Basis = Literal["service", "recorded"]
"""``service``: by the day of service, as the books stand at the position. ``recorded``: as the books stood then."""

Dimension = Literal["community", "grid", "service", "month"]

Places = Literal["then", "now"]
"""``then``: services count where they were recorded. ``now``: where that place belongs by the day asked for."""

DEFINITIONS: Final = {
    "households_served": (
        "至少有一条已确认且未冲正的服务记录以其为服务对象的户数。",
        "Households that at least one confirmed and unreversed service record names as its recipient.",
    ),
    "service_minutes": (
        "已确认且未冲正的服务记录的服务时长（分钟）之和；未确认的不计。",
        "Minutes of service of all confirmed and unreversed records; what is not confirmed does not count.",
    ),
    "service_records": (
        "已确认且未冲正的服务记录数。",
        "The number of confirmed and unreversed service records.",
    ),
}


class Figure(msgspec.Struct, frozen=True):
    """What one cell counts: the whole district, or one community, grid, service or month."""

    households_served: int
    service_minutes: int
    service_records: int


def last_instant(day: date, zone: tzinfo) -> datetime:
    """The last microsecond of a day in the zone."""
    return datetime.combine(day, time.max, zone)


class Service(msgspec.Struct, frozen=True, gc=False):
    """What is counted of one record; a long journal has hundreds of thousands of them."""

    volunteer: str
    community: str
    grid: GridPath
    service: str
    started_on: date
    recipient_household: str | None
    service_minutes: int


class Tally:
    """The same figures folded from the facts alone, for whoever recounts them.

    Feed it the facts up to the position that the figures are wanted for.
    """

    def __init__(self) -> None:
        self._logged: dict[str, Service] = {}
        self._counting: dict[str, Service] = {}
        self._known: dict[Any, Any] = {}
        """Names, places and days, each kept once for all records that have it."""
        self._communities: dict[str, Community] = {}

    def fold(self, fact: Fact) -> Service | None:
        """Returns the service that counts from now on, or that counted until now; None: no other counts than before."""
        # Asking for the very type, as nothing derives from a fact, is several times faster than asking for an instance.
        if type(fact) is HoursLogged:
            self._logged[fact.record] = self._service(fact)
        elif type(fact) is HoursConfirmed:
            logged = self._logged.pop(fact.record, None)
            if logged is not None:
                self._counting[fact.record] = logged
            return logged
        elif type(fact) is HoursReversed:
            return self._counting.pop(fact.record, None)
        elif type(fact) is CommunityMerged or type(fact) is GridMoved:
            self._communities[fact.community] = evolve(self._community(fact.community), fact)
        return None

    def _service(self, fact: HoursLogged) -> Service:
        once = self._known.setdefault
        community, grid, service, recipient = fact.community, fact.grid, fact.service, fact.recipient_household
        day = fact.started_at.date()
        return Service(
            once(fact.volunteer, fact.volunteer),
            once(community, community),
            once(grid, grid),
            once(service, service),
            once(day, day),
            once(recipient, recipient),
            fact.service_minutes,
        )

    def _community(self, community: str) -> Community:
        """What is known of where a community's places move; nothing else of it."""
        return self._communities.get(community) or Community(community)

    def figures(self, *, until: date | None = None) -> Figure:
        """The district's figures over services that began on or before a day (None: all)."""
        return Counted().of([x for x in self._counting.values() if until is None or x.started_on <= until]).figure()

    def cells(
        self, by: Dimension, *, level: int = 1, until: date | None = None, places_on: date | None = None
    ) -> dict[str, Figure]:
        """The figures by community, grid (to a level, prefixed with its community), service or month.

        With ``places_on`` places are rolled up into what they have become by that day.
        """
        return self._rolled_up(self._groups(by, until), by, level, places_on)

    def all_cells(self, wanted: Mapping[str, tuple[Dimension, int]]) -> dict[str, dict[str, Figure]]:
        """`cells` of several dimensions, each with its level: what is grouped alike is gone through once."""
        groups: dict[Any, list[tuple[Service, Counted]]] = {}
        cells = {}
        for name, (by, level) in wanted.items():
            of = _GROUPED_BY[by]
            if of not in groups:
                groups[of] = self._groups(by, None)
            cells[name] = self._rolled_up(groups[of], by, level, None)
        return cells

    def _groups(self, by: Dimension, until: date | None) -> list[tuple[Service, "Counted"]]:
        """Counted by what there is little of, place, service or day: each with one of its records."""
        of = _GROUPED_BY[by]
        groups: dict[Any, list[Service]] = {}
        for logged in self._counting.values():
            if until is None or logged.started_on <= until:
                what = of(logged)
                group = groups.get(what)
                if group is None:
                    group = groups[what] = []
                group.append(logged)
        return [(group[0], Counted().of(group)) for group in groups.values()]

    def _rolled_up(
        self, groups: list[tuple[Service, "Counted"]], by: Dimension, level: int, places_on: date | None
    ) -> dict[str, Figure]:
        cells: dict[str, Counted] = {}
        for logged, counted in groups:
            place = logged.community, logged.grid
            if places_on is not None and self._communities:
                place = became(self._community, *place, places_on)
            cells.setdefault(_key(logged, place, by, level), Counted()).add(counted)
        return {key: cell.figure() for key, cell in cells.items()}


class Counted:
    """What some records come to, which can be added to what others do."""

    __slots__ = ("households", "records", "service_minutes")

    def __init__(self) -> None:
        self.households: set[str] = set()
        self.service_minutes = self.records = 0

    def of(self, records: list[Service]) -> Self:
        self.households = {r.recipient_household for r in records if r.recipient_household is not None}
        self.service_minutes = sum([r.service_minutes for r in records])
        self.records = len(records)
        return self

    def add(self, other: Self) -> None:
        self.households |= other.households
        self.service_minutes += other.service_minutes
        self.records += other.records

    def figure(self) -> Figure:
        return Figure(len(self.households), self.service_minutes, self.records)


_place: Final = attrgetter("community", "grid")
_GROUPED_BY: Final[dict[Dimension, Callable[[Service], Any]]] = {
    "community": _place,
    "grid": _place,
    "service": attrgetter("service"),
    "month": attrgetter("started_on"),
}


def _key(logged: Service, place: Place, by: Dimension, level: int) -> str:
    match by:
        case "community":
            return place[0]
        case "grid":
            return "/".join((place[0], *place[1][:level]))
        case "service":
            return logged.service
        case "month":
            return f"{logged.started_on:%Y-%m}"
