"""Many facts are told of in a few reads, and the same is told however they are cut into batches."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given as each
from hypothesis import strategies as st
from msgspec.structs import replace

from application.notice import Asked, tell, tell_news
from domain.fact import Fact
from domain.notice import RESERVATION_LEAD, Notice, remind_of_reservation
from tests.controls import (
    DISPUTE_DISMISSED,
    DISPUTE_OPENED,
    DISTRICT,
    FACT_EXAMPLES,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    MINUTES_GRANTED,
    REQUESTS,
    REWARD_RESERVED,
    envelope,
    logged,
)
from tests.in_memory import InMemoryFactStore

PAST = (*DISTRICT, HOURS_LOGGED, logged("R3", "10-30 09:00 - 10:00"), *REQUESTS, REWARD_RESERVED, DISPUTE_OPENED)


def stored(*facts: Fact, imported: Sequence[bool] = ()) -> InMemoryFactStore:
    """A store with these facts, each of a command of its own."""
    store = InMemoryFactStore()
    for number, fact in enumerate(facts):
        one = replace(envelope(fact), command=f"{number:032x}", imported=number < len(imported) and imported[number])
        store.append([one], [], [one.command], store.head())
    return store


def news_in_batches(store: InMemoryFactStore, size: int) -> list[Notice]:
    recorded: list[Any] = [one for batch in store.scan() for one in batch]
    return [
        notice for start in range(0, len(recorded), size) for notice in tell_news(store, recorded[start : start + size])
    ]


def test_what_a_batch_asks_for_is_read_in_as_many_rounds_as_one_of_its_facts_takes() -> None:
    store = stored(*PAST, *(replace(HOURS_CONFIRMED, record=record) for record in ("R1", "R3")), DISPUTE_DISMISSED)
    reads = store.reads
    notices = news_in_batches(store, 1000)
    assert store.reads - reads == 2
    assert [one.key for one in notices if one.kind == "hours-confirmed"] == [
        f"hours-confirmed:{record}:{len(PAST) + number}:person:V1" for number, record in ((1, "R1"), (2, "R3"))
    ]


def test_where_nothing_is_asked_nothing_is_read() -> None:
    store = stored(HOURS_LOGGED)
    reads = store.reads
    assert news_in_batches(store, 10) == []
    assert store.reads == reads


def test_news_is_told_as_things_stood_before_its_fact() -> None:
    moved = [fact for fact in FACT_EXAMPLES if fact.type == "household-merged.v1"]
    store = stored(*DISTRICT, MINUTES_GRANTED, *moved)
    granted = [one for one in news_in_batches(store, 1000) if one.kind == "grant-received"]
    assert {one.recipient for one in granted} == {"person:V3"}


def test_a_reminder_sees_all_that_was_recorded() -> None:
    store = stored(REWARD_RESERVED)
    soon = REWARD_RESERVED.expires_at - RESERVATION_LEAD
    (notice,) = tell(store, [Asked(remind_of_reservation("RV1", soon))])
    assert notice.kind == "reservation-ends"


@each(
    facts=st.lists(st.sampled_from(FACT_EXAMPLES), max_size=12),
    imported=st.lists(st.booleans(), max_size=40),
    size=st.integers(1, 7),
)
def test_the_same_is_told_however_it_is_cut_into_batches_and_each_key_once(
    facts: list[Fact], imported: list[bool], size: int
) -> None:
    store = stored(*PAST, *facts, imported=imported)
    whole = news_in_batches(store, 1000)
    assert news_in_batches(store, size) == whole
    assert len({one.key for one in whole}) == len(whole)
    silent = {position for position, was in enumerate(imported, 1) if was}
    assert not any(f":{position}:" in one.key for one in whole for position in silent)
