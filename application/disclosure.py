"""Recount: what the seals of disclosed months say, counted again from the journal alone.

A month was counted in the projection, and the append condition doesn't cover what was counted: so whoever audits counts
the same records again, up to the watermark that each seal names. The list can be made again by whoever has the month's
secret; its hash tells nobody else anything.
"""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import msgspec

from application.replay import Difference
from domain.account import HoursConfirmed, HoursReversed
from domain.consent import ConsentGiven, ConsentWithdrawn
from domain.disclosure import CountedPeriod, PeriodSealed, first_day, last_day, next_period
from domain.fact import Recorded
from domain.hours import HoursLogged
from domain.journal import FactStore
from domain.published_list import ServiceGiven, figure, list_sha256, pseudonym, rows, volunteers


class _Service(msgspec.Struct, gc=False):
    """One service record, where it was confirmed and where it was reversed (0: it wasn't)."""

    given: ServiceGiven
    day: date
    confirmed_position: int = 0
    reversed_position: int = 0

    def counts_at(self, position: int) -> bool:
        return 0 < self.confirmed_position <= position and not 0 < self.reversed_position <= position


class PeriodTally:
    """A fold over facts in their order, which counts any month as of any position that it has reached."""

    def __init__(self) -> None:
        self.position = 0
        self._records: dict[str, _Service] = {}
        self._consents: dict[str, list[tuple[int, bool]]] = {}

    def fold(self, recorded: Recorded[Any]) -> None:
        self.position = recorded.position
        match recorded.envelope.fact:
            case HoursLogged() as fact:
                given = ServiceGiven(
                    fact.volunteer, fact.recipient_household, fact.community, fact.service, fact.service_minutes
                )
                self._records[fact.record] = _Service(given, fact.started_at.date())
            case HoursConfirmed() as fact:
                if (row := self._records.get(fact.record)) is not None:
                    row.confirmed_position = recorded.position
            case HoursReversed() as fact:
                if (row := self._records.get(fact.record)) is not None:
                    row.reversed_position = recorded.position
            case ConsentGiven() as fact:
                self._consents.setdefault(fact.person, []).append((recorded.position, True))
            case ConsentWithdrawn() as fact:
                self._consents.setdefault(fact.person, []).append((recorded.position, False))
            case _:
                pass

    def follow(self, store: FactStore, to: int) -> None:
        """Take in what is new up to a position."""
        for batch in store.scan(self.position, to):
            for recorded in batch:
                self.fold(recorded)

    def logged(self) -> list[str]:
        """All service records, in the order they were logged."""
        return list(self._records)

    def service_given(self, period: str, position: int) -> list[ServiceGiven]:
        """The month's records that were confirmed and unreversed at a position."""
        first, last = first_day(period), last_day(period)
        return [row.given for row in self._records.values() if first <= row.day <= last and row.counts_at(position)]

    def corrected(self, period: str, since_position: int, position: int) -> tuple[int, int]:
        """How the minutes and records of all services before the month changed between two positions."""
        before = first_day(period)
        changes = [
            (int(row.counts_at(position)) - int(row.counts_at(since_position)), row.given.minutes)
            for row in self._records.values()
            if row.day < before
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
        self._ledger = ledger
        self._secret = secret
        self._tally = PeriodTally()
        self._last: PeriodSealed | None = None

    @property
    def position(self) -> int:
        return self._tally.position

    def fold(self, batch: Iterable[Recorded[Any]]) -> None:
        for recorded in batch:
            self._tally.fold(recorded)
            if isinstance(fact := recorded.envelope.fact, PeriodSealed):
                self._seal(fact, recorded.position)

    def _seal(self, fact: PeriodSealed, position: int) -> None:
        self.seals += 1
        last, self._last = self._last, fact
        since = 0 if last is None else last.watermark
        secret = self._secret(fact.period)
        counted = self._tally.counted(fact.period, since, fact.watermark, secret or b"", self._ledger)
        self._require(
            f"{fact.period} follows the month that was sealed before",
            last is None or fact.period == next_period(last.period),
        )
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
            self.differences.append(Difference(what, counted, said))


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
        fold.fold(batch)
        if progress is not None:
            progress(fold.position)
    return fold
