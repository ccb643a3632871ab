"""Redraw: every recorded sample drawn again from the journal alone, as anybody who has the facts can."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from application.replay import Difference
from domain.disclosure import first_day, last_day
from domain.fact import Recorded
from domain.hours import HoursLogged
from domain.inspection import METHOD, SampleDrawn, draw_records
from domain.journal import FactStore


class Redraw:
    """A fold over facts in their order; ``differences`` are what the method gives against what the samples say."""

    def __init__(self, ledger: str) -> None:
        self.position = 0
        self.samples = 0
        self.differences: list[Difference] = []
        self._ledger = ledger
        self._logged: list[tuple[int, date, str]] = []

    def fold(self, batch: Iterable[Recorded[Any]]) -> None:
        for recorded in batch:
            self.position = recorded.position
            match recorded.envelope.fact:
                case HoursLogged() as fact:
                    self._logged.append((recorded.position, fact.started_at.date(), fact.record))
                case SampleDrawn() as fact:
                    self._draw(fact, recorded.position)

    def _draw(self, fact: SampleDrawn, position: int) -> None:
        self.samples += 1
        days = (date.min, date.max) if fact.period is None else (first_day(fact.period), last_day(fact.period))
        population = [record for at, day, record in self._logged if at <= fact.size and days[0] <= day <= days[1]]
        drawn = draw_records(self._ledger, fact.seed, fact.size, fact.period, population, len(fact.records))
        self._compare(f"sample {fact.sample} method", METHOD, fact.method)
        self._compare(f"sample {fact.sample} was drawn after its size", True, fact.size < position)
        self._compare(f"sample {fact.sample} population", drawn.population, fact.population)
        self._compare(f"sample {fact.sample} records", drawn.records, fact.records)

    def _compare(self, what: str, drawn: object, said: object) -> None:
        if drawn != said:
            self.differences.append(Difference(what, drawn, said))


def redraw(store: FactStore, ledger: str, progress: Callable[[int], None] | None = None) -> Redraw:
    """Draw every sample again, from the first fact to the head.

    Raises: what the store raises for facts that can't be read.
    """
    fold = Redraw(ledger)
    for batch in store.scan():
        fold.fold(batch)
        if progress is not None:
            progress(fold.position)
    return fold
