"""A journal of a test decided again, with the clock of who decided it for the journal's own."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from application.redecision import Redecision
from domain.fact import Recorded, Tagged
from domain.journal import FactStore

Facts = list[tuple[Recorded[Any], list[str]]]


def journal(store: FactStore) -> Facts:
    """What a store holds, each fact with its tags, recorded when it was decided: no clock of the store's own."""
    last = 0
    facts = []
    for batch in store.scan():
        for recorded in batch:
            last = max(last, round(recorded.envelope.decided_at.timestamp() * 1_000_000))
            facts.append((replace(recorded, recorded_at_microseconds=last), recorded.envelope.tags()))
    return facts


def redecided(
    facts: Facts,
    *,
    batch: int = 1_000,
    states_max: int = 100,
    may_go_on: bool = False,
    first: int = 1,
    last: int | None = None,
) -> Redecision:
    """Facts decided again, so many at a time."""
    by_position = {recorded.position: recorded for recorded, _ in facts}

    def past(positions: Sequence[int]) -> Iterable[Recorded[Any]]:
        assert list(positions) == sorted(set(positions))
        return [by_position[position] for position in positions if position in by_position]

    redecision = Redecision(past, states_max, first=first, last=last)
    tagged = [Tagged(one.position, one.recorded_at_microseconds, one.envelope, tags) for one, tags in facts]
    for start in range(0, len(tagged), batch):
        redecision.fold(tagged[start : start + batch])
        if redecision.ended:
            break
    redecision.close(may_go_on=may_go_on)
    return redecision
