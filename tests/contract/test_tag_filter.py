"""A tag that a fact bears is never thought unused, whoever recorded the fact, and however far the filter reaches."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import IntegrityError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from application.write_loop import Accepted, Ticket, Writer, command_id
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
from infrastructure.fact_store import PostgresFactStore
from infrastructure.journal import PostgresJournal, open_datastore
from infrastructure.tag_filter import TagFilter
from infrastructure.tag_index import TagIndexThread
from tests.api.processes import until
from tests.contract.test_journal import COPIED, condition, fact
from tests.controls import ADMIN
from tests.in_memory import InMemoryFactStore

UNUSED = [f"never-used:{n}" for n in range(1_000)]

tagged = st.lists(st.lists(st.integers(0, 30).map("record:{}𠮷".format), max_size=3), min_size=1, max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), tagged),
        st.tuples(st.just("others append"), tagged),
        st.tuples(st.just("read the tail"), st.integers(0, 30)),
        st.tuples(st.just("fill"), st.integers(1, 5)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(tagged, max_size=2), steps=steps)
def test_no_tag_that_a_fact_bears_is_thought_unused(
    ledgers_url: str, before: Sequence[list[list[str]]], steps: Sequence[tuple[str, object]]
) -> None:
    with open_datastore(ledgers_url) as datastore:
        journal = PostgresJournal(datastore, uuid4().hex)
        others = PostgresJournal(datastore, journal.ledger)
        recorded: list[list[str]] = []
        for some in before:
            others.append([fact(0, *tags) for tags in some])
            recorded += some
        known = journal.tags = TagFilter()
        known.hear_of(journal.head())
        for step, what in steps:
            if isinstance(what, list):
                writing = journal if step == "append" else others
                writing.append([fact(0, *tags) for tags in what], condition("nothing"))
                recorded += what
            elif step == "fill":
                after, to = known.head, min(known.head + int(str(what)), known.head_heard_of)
                known.add(after, to, (tag for tags in recorded[after:to] for tag in tags))
            else:
                journal.read_boundary([], min(int(str(what)), len(recorded)))
            for head in range(len(recorded) + 1):
                used = {tag for tags in recorded[:head] for tag in tags}
                assert used <= set(known.borne([*used], head))
            assert known.head <= known.head_heard_of <= len(recorded)


names = st.sampled_from("甲乙丙")
commands = st.one_of(
    names.map(lambda name: (register_community, RegisterCommunity(community=name))),
    st.tuples(names, st.sampled_from("一二三")).map(
        lambda place: (register_grid, RegisterGrid(community=place[0], grid=(place[1],)))
    ),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.lists(st.tuples(commands, st.integers(0, 9)), min_size=1, max_size=3),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_two_processes_answer_as_one_would_however_far_their_filters_are_filled(
    ledgers_url: str, batches: Sequence[tuple[int, Sequence[tuple[Any, int]], int]]
) -> None:
    alone = Writer(InMemoryFactStore(), UTC)
    with open_datastore(ledgers_url) as datastore:
        ledger = uuid4().hex
        journals = [PostgresJournal(datastore, ledger) for _ in range(2)]
        for journal in journals:
            journal.tags = TagFilter()
        writers = [Writer(PostgresFactStore(journal), UTC) for journal in journals]
        for which, steps, filled in batches:
            asked = [
                [Ticket(decide, command, ADMIN, command_id("D1", str(number))) for (decide, command), number in steps]
                for _ in range(2)
            ]
            writers[which].run(asked[0])
            alone.run(asked[1])
            for here, there in zip(*asked, strict=True):
                assert told(here) == told(there)
            tags = journals[1 - which].tags
            assert tags is not None
            facts = [*journals[0].scan(tags.head, tags.head + filled)]
            for fact in (fact for some in facts for fact in some):
                tags.add(fact.position - 1, fact.position, fact.tags)


def told(ticket: Ticket) -> object:
    """All that a client is told, but for the time."""
    outcome = ticket.outcome
    return replace(outcome, recorded_at_microseconds=0) if isinstance(outcome, Accepted) else outcome


def test_a_filter_that_is_full_so_far_tells_what_is_new(journal: PostgresJournal) -> None:
    journal.tags = TagFilter()
    last = journal.append([fact(n, "a", f"n:{n}") for n in range(COPIED)], condition("x"))
    last = journal.append([fact(0, "b")], condition("x", after=last))
    assert (journal.tags.head, journal.tags.head_heard_of) == (last, last)
    assert journal.tags.borne(["a", "b", "n:7", *UNUSED], last)[:3] == ["a", "b", "n:7"]
    assert len(journal.tags.borne(UNUSED, last)) < len(UNUSED) // 100
    assert journal.tags.borne(UNUSED, last + 1) == UNUSED  # a fact that it doesn't know may bear them


def test_an_append_that_fails_teaches_nothing(journal: PostgresJournal) -> None:
    others = PostgresJournal(journal.datastore, journal.ledger)
    known = journal.tags = TagFilter()
    first = others.append([fact(0, "a")])
    with pytest.raises(IntegrityError):
        journal.append([fact(1, "mine")], condition("a"))
    assert (known.head, known.head_heard_of, first) == (0, 0, 1)


def test_the_index_thread_fills_the_filter_behind_whoever_writes(journal: PostgresJournal, journal_url: str) -> None:
    others = PostgresJournal(journal.datastore, journal.ledger)
    others.append([fact(n, "a", f"n:{n}") for n in range(5_000)])
    journal.tags = TagFilter()
    with TagIndexThread(journal_url, journal):
        for n in range(20):
            last = (others if n % 3 else journal).append([fact(n, f"later:{n}")])
        last = journal.append([fact(0, "last")])
        until(lambda: journal.tags is not None and journal.tags.head == last)
        used = ["a", *[f"n:{n}" for n in range(5_000)], *[f"later:{n}" for n in range(20)], "last"]
        assert list(journal.tags.borne(used, last)) == used
        assert len(journal.tags.borne(UNUSED, last)) < len(UNUSED) // 100
    head = journal.tags.head
    with TagIndexThread(journal_url, journal):
        assert journal.tags.head == head
