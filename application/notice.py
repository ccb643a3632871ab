"""Notices are told from the journal: many at a time, so that what they ask for is read in a few rounds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from domain.decision import Question, Reading, fold_facts
from domain.fact import Recorded
from domain.journal import FactStore
from domain.notice import Notices, Telling, news


class Asked(NamedTuple):
    """Something that may be told. ``before`` is the position before which it sees the journal; None: all of it."""

    telling: Telling
    before: int | None = None


def tell_news(store: FactStore, recorded: Sequence[Recorded[Any]]) -> Notices:
    """All that the facts are news of, in their order. Raises: StoreUnavailable."""
    return tell(store, [Asked(news(one), one.position) for one in recorded])


def tell(store: FactStore, asked: Sequence[Asked]) -> Notices:
    """All that is to be told, in the order of what was asked. Raises: StoreUnavailable."""
    told: list[Notices] = [()] * len(asked)
    running: list[tuple[int, Question]] = []
    for number, one in enumerate(asked):
        _go_on(told, running, number, one, None)
    head = store.head() if running else 0
    facts_by_tag: dict[str, list[Recorded[Any]]] = {}
    while running:
        wanted = {reading.tag for _, question in running for reading in question} - facts_by_tag.keys()
        if wanted:
            _read(store, wanted, head, facts_by_tag)
        going, running = running, []
        for number, question in going:
            before = asked[number].before
            states = tuple(_state(reading, facts_by_tag[reading.tag], before) for reading in question)
            _go_on(told, running, number, asked[number], states)
    return tuple(notice for notices in told for notice in notices)


def _go_on(
    told: list[Notices], running: list[tuple[int, Question]], number: int, one: Asked, states: tuple[Any, ...] | None
) -> None:
    try:
        running.append((number, one.telling.send(states)))
    except StopIteration as stop:
        told[number] = stop.value


def _read(store: FactStore, tags: set[str], head: int, facts_by_tag: dict[str, list[Recorded[Any]]]) -> None:
    facts_by_tag.update((tag, []) for tag in tags)
    cold, tail = store.read_boundary(sorted(tags), head)
    for recorded in (*cold, *tail):
        for tag in recorded.envelope.fact.tags():
            if tag in tags:
                facts_by_tag[tag].append(recorded)


def _state(reading: Reading[Any], facts: Sequence[Recorded[Any]], before: int | None) -> Any:
    return fold_facts(
        reading, (recorded.envelope.fact for recorded in facts if before is None or recorded.position < before)
    )
