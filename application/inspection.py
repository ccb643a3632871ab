"""Redraw: every recorded sample drawn again from the journal alone, as anybody who has the facts can."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final

from application.replay import Difference
from domain.disclosure import first_day, fit_period, last_day
from domain.fact import Fact, Recorded
from domain.hours import HoursLogged
from domain.inspection import METHOD, SampleDrawn, draw
from domain.journal import FactStore

OF_SAMPLES: Final = frozenset({HoursLogged, SampleDrawn})
"""The facts that a `Redraw` has to see, in their order."""
Past = Callable[[Sequence[int]], Iterable[Recorded[Any]]]
"""Reads facts again by their positions, which rise."""


class Redraw:
    """A fold over facts in their order; ``differences`` are what the method gives against what the samples say.

    Of a record nothing is kept but where it was logged, and for which day; those that are drawn are read again.
    """

    def __init__(self, ledger: str, past: Past) -> None:
        self.position = 0
        self.samples = 0
        self.differences: list[Difference] = []
        self._ledger = ledger
        self._past = past
        self._positions = array("q")
        self._days = array("i")

    def fold(self, position: int, fact: Fact) -> None:
        self.position = position
        if type(fact) is HoursLogged:
            self._positions.append(position)
            self._days.append(fact.started_at.toordinal())
        elif type(fact) is SampleDrawn:
            self._draw(fact)

    def _draw(self, fact: SampleDrawn) -> None:
        self.samples += 1
        sample = f"sample {fact.sample}"
        population = self._positions[: bisect_right(self._positions, fact.size)]
        if fact.period is not None:
            try:
                period = fit_period(fact.period)
            except ValueError:
                self._compare(f"{sample} is of a month", True, False)
                return
            first, last = (day.toordinal() for day in (first_day(period), last_day(period)))
            days = zip(population, self._days, strict=False)
            population = array("q", [at for at, day in days if first <= day <= last])
        indexes = draw(self._ledger, fact.seed, fact.size, fact.period, len(population), len(fact.records))
        drawn = self._records([population[index] for index in indexes])
        self._compare(f"{sample} method", METHOD, fact.method)
        self._compare(f"{sample} was drawn after its size", True, fact.size < self.position)
        self._compare(f"{sample} population", len(population), fact.population)
        for number, (ours, said) in enumerate(zip_longest(drawn, fact.records), 1):
            if ours != said:
                self._compare(f"{sample} record {number}", ours, said)
                break

    def _records(self, positions: Sequence[int]) -> list[str]:
        """The numbers of the records that were logged at some positions."""
        found = {one.position: one.envelope.fact for one in self._past(sorted(positions))}
        # Only where lines of a bundle were moved is something else there by now.
        return [fact.record if isinstance(fact := found.get(at), HoursLogged) else "" for at in positions]

    def _compare(self, what: str, drawn: object, said: object) -> None:
        if drawn != said:
            self.differences.append(Difference(what, drawn, said, self.position))


def redraw(store: FactStore, ledger: str, past: Past, progress: Callable[[int], None] | None = None) -> Redraw:
    """Draw every sample again, from the first fact to the head.

    Raises: what the store raises for facts that can't be read.
    """
    fold = Redraw(ledger, past)
    for batch in store.scan():
        for recorded in batch:
            fold.fold(recorded.position, recorded.envelope.fact)
        if progress is not None:
            progress(fold.position)
    return fold
