"""Recount: what the seals of disclosed months say, counted again from the journal alone.

A month was counted in the projection, and the append condition doesn't cover what was counted: so whoever audits counts
the same records again, up to the watermark that each seal names. The list can be made again by whoever has the month's
secret; its hash tells nobody else anything.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable
from datetime import date

from application.replay import Difference
from domain.account import HoursConfirmed
from domain.consent import ConsentGiven, ConsentWithdrawn
from domain.disclosure import CountedPeriod, PeriodSealed, first_day, fit_period, last_day, next_period
from domain.fact import Fact
from domain.figures import Service, Tally
from domain.journal import FactStore
from domain.published_list import ServiceGiven, figure, list_sha256, pseudonym, rows, volunteers


class PeriodTally:
    """A fold over facts in their order, which counts any month as of any position that it has reached.

    It keeps every change of what counts: where it was, of which service, and whether that counts from there on. All
    that was folded is in the ``tally``.
    """

    def __init__(self) -> None:
        self.position = 0
        self.tally = Tally()
        self._positions = array("q")
        self._services: list[Service] = []
        self._counts = array("b")
        self._days: dict[date, array[int]] = {}
        """By day, which of the changes are of services that began on it."""
        self._consents: dict[str, list[tuple[int, bool]]] = {}

    def fold(self, position: int, fact: Fact) -> None:
        self.position = position
        service = self.tally.fold(fact)
        if service is not None:
            changes = self._days.get(service.started_on)
            if changes is None:
                changes = self._days[service.started_on] = array("I")
            changes.append(len(self._services))
            self._positions.append(position)
            self._services.append(service)
            self._counts.append(1 if type(fact) is HoursConfirmed else -1)
        elif type(fact) is ConsentGiven or type(fact) is ConsentWithdrawn:
            self._consents.setdefault(fact.person, []).append((position, type(fact) is ConsentGiven))

    def service_given(self, period: str, position: int) -> list[ServiceGiven]:
        """The month's records that were confirmed and unreversed at a position."""
        first, last = first_day(period), last_day(period)
        counting: dict[int, Service] = {}
        for changes in (changes for day, changes in self._days.items() if first <= day <= last):
            for at in changes[: bisect_right(changes, position, key=self._positions.__getitem__)]:
                service = self._services[at]
                if self._counts[at] > 0:
                    counting[id(service)] = service
                else:
                    counting.pop(id(service), None)
        return [
            ServiceGiven(
                service.volunteer,
                service.recipient_household,
                service.community,
                service.service,
                service.service_minutes,
            )
            for service in counting.values()
        ]

    def corrected(self, period: str, since_position: int, position: int) -> tuple[int, int]:
        """How the minutes and records of all services before the month changed between two positions."""
        before = first_day(period)
        start, end = bisect_right(self._positions, since_position), bisect_right(self._positions, position)
        changes = [
            (self._counts[at], self._services[at].service_minutes)
            for at in range(start, end)
            if self._services[at].started_on < before
        ]
        return sum(change * minutes for change, minutes in changes), sum(change for change, _ in changes)

    def consenting(self, position: int) -> set[str]:
        """Everybody who consented at a position."""
        found = set()
        for person, changes in self._consents.items():
            known = [given for at, given in changes if at <= position]
            if known and known[-1]:
                found.add(person)
        return found

    def counted(self, period: str, since: int, position: int, secret: bytes, ledger: str) -> CountedPeriod:
        """All that a seal counts of a month, as the journal held it at a position."""
        given, agreed = self.service_given(period, position), self.consenting(position)
        total = figure(given)
        return CountedPeriod(
            position,
            since,
            total.households_served,
            total.service_minutes,
            total.service_records,
            *(self.corrected(period, since, position) if since else (0, 0)),
            tuple(
                one._replace(person=pseudonym(secret, ledger, period, one.person))
                for one in volunteers(given)
                if one.person in agreed
            ),
        )


class SealRecount:
    """A fold over facts in their order; ``differences`` are what the journal holds against what the seals say."""

    def __init__(self, ledger: str, secret: Callable[[str], bytes | None] = lambda _: None) -> None:
        self.seals = 0
        self.lists = 0
        self.differences: list[Difference] = []
        self.periods = PeriodTally()
        self._ledger = ledger
        self._secret = secret
        self._last: PeriodSealed | None = None

    @property
    def position(self) -> int:
        return self.periods.position

    def fold(self, position: int, fact: Fact) -> None:
        self.periods.fold(position, fact)
        if type(fact) is PeriodSealed:
            self._seal(fact, position)

    def _seal(self, fact: PeriodSealed, position: int) -> None:
        self.seals += 1
        last, self._last = self._last, fact
        since = 0 if last is None else last.watermark
        try:
            fit_period(fact.period)
            follows = last is None or fact.period == next_period(last.period)
        except ValueError:
            self._require(f"{fact.period} is a month", False)
            self._last = last
            return
        secret = self._secret(fact.period)
        counted = self.periods.counted(fact.period, since, fact.watermark, secret or b"", self._ledger)
        self._require(f"{fact.period} follows the month that was sealed before", follows)
        self._require(f"{fact.period} was sealed after its watermark", since <= fact.watermark < position)
        for name in (
            *("households_served", "service_minutes", "service_records"),
            *("corrected_minutes", "corrected_records"),
        ):
            self._compare(f"{fact.period} {name}", getattr(counted, name), getattr(fact, name))
        if secret is not None:
            self.lists += 1
            listed = rows(counted.served, fact.count_min)
            digest = list_sha256(row.sha256() for row in listed)
            self._compare(f"{fact.period} list_rows", len(listed), fact.list_rows)
            self._compare(f"{fact.period} list_sha256", digest, fact.list_sha256)

    def _require(self, what: str, holds: bool) -> None:
        self._compare(what, True, holds)

    def _compare(self, what: str, counted: object, said: object) -> None:
        if counted != said:
            self.differences.append(Difference(what, counted, said, self.position))


def recount(
    store: FactStore,
    ledger: str,
    secret: Callable[[str], bytes | None] = lambda _: None,
    progress: Callable[[int], None] | None = None,
) -> SealRecount:
    """Count every seal again from the first fact to the head; the lists too, of the months whose secret is known.

    Raises: what the store raises for facts that can't be read.
    """
    fold = SealRecount(ledger, secret)
    for batch in store.scan():
        for recorded in batch:
            fold.fold(recorded.position, recorded.envelope.fact)
        if progress is not None:
            progress(fold.position)
    return fold
