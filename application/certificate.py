"""Recount: what certificates and stars say, counted again from the journal alone.

A certificate and a star were counted in the projection, and the append condition doesn't cover what was counted: so
whoever audits counts the same records again, up to the position that each fact names.
"""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import msgspec

from application.replay import Difference
from domain.account import HoursConfirmed, HoursReversed
from domain.certificate import CertificateIssued, CertificateRevoked, CountedService, count_service
from domain.fact import Recorded
from domain.hours import HoursLogged
from domain.journal import FactStore
from domain.policy import PolicyAdopted
from domain.recognition import StarAwarded, StarWithdrawn


class _Service(msgspec.Struct, gc=False):
    """One service record: what it is, where it was confirmed and where it was reversed (0: it wasn't)."""

    record: str
    service: str
    day: date
    minutes: int
    confirmed_position: int = 0
    reversed_position: int = 0

    def counts_at(self, position: int) -> bool:
        return 0 < self.confirmed_position <= position and not 0 < self.reversed_position <= position


class Recount:
    """A fold over facts in their order; ``differences`` are what the facts say against what they were to say."""

    def __init__(self) -> None:
        self.position = 0
        self.certificates = 0
        self.stars = 0
        self.differences: list[Difference] = []
        self._records: dict[str, _Service] = {}
        self._volunteers: dict[str, list[_Service]] = {}
        self._star_minutes: dict[int, tuple[int, ...]] = {}
        self._issued: set[str] = set()
        self._revoked: set[str] = set()

    def fold(self, batch: Iterable[Recorded[Any]]) -> None:
        for recorded in batch:
            self.position = recorded.position
            match recorded.envelope.fact:
                case HoursLogged() as fact:
                    day = fact.started_at.date()
                    logged = _Service(fact.record, fact.service, day, fact.service_minutes)
                    self._records[fact.record] = logged
                    self._volunteers.setdefault(fact.volunteer, []).append(logged)
                case HoursConfirmed() as fact:
                    if (row := self._records.get(fact.record)) is not None:
                        row.confirmed_position = recorded.position
                case HoursReversed() as fact:
                    if (row := self._records.get(fact.record)) is not None:
                        row.reversed_position = recorded.position
                case PolicyAdopted() as fact:
                    self._star_minutes[fact.version] = fact.policy.star_minutes
                case CertificateIssued() as fact:
                    self._certificate(fact, recorded.position)
                case CertificateRevoked() as fact:
                    if fact.certificate not in self._issued - self._revoked:
                        self._differ(
                            f"certificate {fact.certificate} revoked", "once, after it was issued", "otherwise"
                        )
                    self._revoked.add(fact.certificate)
                case StarAwarded() as fact:
                    thresholds = self._star_minutes.get(recorded.envelope.policy, ())
                    threshold = thresholds[fact.star - 1] if fact.star <= len(thresholds) else None
                    self._compare(f"star {fact.star} of {fact.volunteer} threshold", threshold, fact.threshold_minutes)
                    self._star(fact, recorded.position)
                case StarWithdrawn() as fact:
                    self._star(fact, recorded.position)

    def _served(self, volunteer: str, position: int, since: date = date.min, until: date = date.max) -> CountedService:
        return count_service(
            position,
            (
                (row.record, row.service, row.minutes)
                for row in self._volunteers.get(volunteer, ())
                if since <= row.day <= until and row.counts_at(position)
            ),
        )

    def _certificate(self, fact: CertificateIssued, position: int) -> None:
        self.certificates += 1
        self._issued.add(fact.certificate)
        what = f"certificate {fact.certificate}"
        counted = self._served(fact.volunteer, fact.counted_position, fact.since, fact.until)
        self._compare(f"{what} sequence", self.certificates, fact.sequence)
        self._compare(f"{what} number", f"{fact.issued_on.year}-{self.certificates:06}", fact.certificate)
        self._compare(f"{what} services", counted.services, fact.services)
        self._compare(f"{what} minutes", counted.minutes, fact.service_minutes)
        self._compare(f"{what} records", counted.records, fact.service_records)
        self._compare(f"{what} digest of records", counted.records_sha256, fact.records_sha256)
        self._compare(f"{what} counted before it was issued", True, fact.counted_position < position)

    def _star(self, fact: StarAwarded | StarWithdrawn, position: int) -> None:
        self.stars += 1
        what = f"star {fact.star} of {fact.volunteer} at {position}"
        counted = self._served(fact.volunteer, fact.counted_position)
        self._compare(f"{what} minutes", counted.minutes, fact.service_minutes)
        self._compare(f"{what} counted before", True, fact.counted_position < position)

    def _compare(self, what: str, counted: object, said: object) -> None:
        if counted != said:
            self._differ(what, counted, said)

    def _differ(self, what: str, counted: object, said: object) -> None:
        self.differences.append(Difference(what, counted, said))


def recount(store: FactStore, progress: Callable[[int], None] | None = None) -> Recount:
    """Count everything that certificates and stars say again, from the first fact to the head.

    Raises: what the store raises for facts that can't be read.
    """
    fold = Recount()
    for batch in store.scan():
        fold.fold(batch)
        if progress is not None:
            progress(fold.position)
    return fold
