"""Facts are found by their tags however far the index of tags reaches, and it follows the journal."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructure.journal import PostgresJournal, open_datastore
from infrastructure.schema import SERVICE_ROLE
from infrastructure.tag_index import TagIndexThread
from tests.api.processes import until
from tests.contract.test_journal import administrator, condition, fact

TAGS = ("a", "b", "c", "𠮷")
UNINDEXED_MAX = 8_192  # what the database leaves unindexed at most


def index(url: str, facts_max: int, ledger: str = "qingxiu") -> int:
    with administrator(url) as connection:
        rows = connection.execute("SELECT index_facts(%s, %s)", (ledger, facts_max)).fetchall()
    return int(rows[0][0])


def reach(url: str, ledger: str = "qingxiu") -> int:
    with administrator(url) as connection:
        rows = connection.execute("SELECT head FROM tag_heads WHERE ledger = %s", (ledger,)).fetchall()
    return rows[0][0] if rows else 0


def entries(url: str) -> int:
    with administrator(url) as connection:
        return int(connection.execute("SELECT count(*) FROM fact_tags").fetchall()[0][0])


def until_reached(url: str, position: int) -> None:
    until(lambda: reach(url) >= position)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    appends=st.lists(
        st.tuples(
            st.lists(st.lists(st.sampled_from(TAGS), max_size=3, unique=True), min_size=1, max_size=6),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=6,
    ),
    wanted=st.lists(st.sampled_from(TAGS), max_size=3),
    data=st.data(),
)
def test_facts_are_found_by_tag_however_far_the_index_reaches(
    ledgers_url: str, appends: Sequence[tuple[Sequence[list[str]], int]], wanted: list[str], data: st.DataObject
) -> None:
    ledger, recorded = uuid4().hex, list[list[str]]()
    with open_datastore(ledgers_url) as datastore:
        journal = PostgresJournal(datastore, ledger)
        for tagged, indexed in appends:
            journal.append([fact(n, *tags) for n, tags in enumerate(tagged)])
            recorded += tagged
            index(ledgers_url, indexed, ledger)
        upto = data.draw(st.integers(0, len(recorded)))
        after = data.draw(st.integers(0, upto))
        cold, tail = journal.read_boundary(wanted, upto)
        recent = journal.read_boundary([], upto, wanted, after)[0]
    found = [n for n, tags in enumerate(recorded, 1) if not {*tags}.isdisjoint(wanted)]
    assert [f.position for f in cold] == [n for n in found if n <= upto]
    assert [f.position for f in recent] == [n for n in found if after < n <= upto]
    assert [f.position for f in tail] == [*range(upto + 1, len(recorded) + 1)]


def test_what_is_appended_is_indexed_behind_it(journal: PostgresJournal, journal_url: str) -> None:
    journal.append([fact(n, "a", "b") for n in range(5)])
    first = reach(journal_url)
    with TagIndexThread(journal_url, journal):
        for _ in range(3):
            last = journal.append([fact(n, "a", f"n:{n}") for n in range(700)], condition("x"))
            until_reached(journal_url, last)
    assert first <= 5
    assert entries(journal_url) == 2 * last
    assert len(journal.read_boundary(["a"], last)[0]) == last


def test_an_index_that_fell_behind_is_completed_by_the_append_that_leaves_too_much(
    journal: PostgresJournal, journal_url: str
) -> None:
    journal.append([fact(0, "a")])
    start = reach(journal_url)
    last = journal.append([fact(n, "a") for n in range(UNINDEXED_MAX - 1)])
    assert (start, reach(journal_url)) == (1, 1)
    last = journal.append([fact(n, "a") for n in range(3)])
    assert (last, reach(journal_url), entries(journal_url)) == (UNINDEXED_MAX + 3, last, last)


def test_an_append_that_fails_takes_nothing_into_the_index(journal: PostgresJournal, journal_url: str) -> None:
    last = journal.append([fact(n, "a") for n in range(3)])
    with psycopg.connect(journal_url) as connection:
        connection.execute("SELECT * FROM append_facts('qingxiu', 3, ARRAY[ROW('t', '{z}', '')::new_fact])")
        assert connection.execute("SELECT index_facts('qingxiu', 99)").fetchall()
        connection.rollback()
    assert index(journal_url, 99) == last - 3
    assert reach(journal_url) == last
    assert entries(journal_url) == last
    assert journal.read_boundary(["z"], last) == ([], [])


def test_what_is_indexed_before_its_facts_are_there_does_not_hide_them(
    journal: PostgresJournal, journal_url: str
) -> None:
    last = journal.append([fact(n, "a") for n in range(3)])
    as_service = psycopg.conninfo.make_conninfo(journal_url, options=f"-c role={SERVICE_ROLE}")
    with psycopg.connect(as_service) as connection:
        connection.execute("SELECT * FROM take_positions('qingxiu', NULL, 1)")
        connection.execute("SELECT index_facts('qingxiu', 99)")
        connection.execute(
            "INSERT INTO facts SELECT ledger, head, recorded_at, 't', '{hidden}', '' FROM ledgers", prepare=False
        )
    assert [f.position for f in journal.read_boundary(["hidden"], last + 1)[0]] == [last + 1]
    index(journal_url, 99)
    assert [f.position for f in journal.read_boundary(["hidden"], last + 1)[0]] == [last + 1]


def test_of_many_who_index_at_once_each_fact_is_taken_by_one(journal: PostgresJournal, journal_url: str) -> None:
    journal.append([fact(n, "a", f"n:{n}") for n in range(2)])
    last = journal.append([fact(n, "a", f"n:{n}") for n in range(2_000)])
    with ThreadPoolExecutor(16) as pool:
        taken = [*pool.map(lambda _: index(journal_url, 100), range(64))]
    index(journal_url, last)
    assert sum(taken) <= last
    assert (reach(journal_url), entries(journal_url)) == (last, 2 * last)


def test_a_ledger_that_does_not_exist_has_nothing_to_index(journal_url: str) -> None:
    assert (index(journal_url, 9, "nowhere"), reach(journal_url, "nowhere")) == (0, 0)


def test_indexing_goes_on_after_its_connection_was_dropped(
    journal: PostgresJournal, journal_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TagIndexThread(journal_url, journal), caplog.at_level(logging.WARNING, "infrastructure.tag_index"):
        until_reached(journal_url, journal.append([fact(0, "a")] * 2))
        with administrator(journal_url) as connection:
            dropped = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT index_facts%'"
                " AND datname = current_database()"
            ).fetchall()
        assert dropped == [(True,)]
        until_reached(journal_url, journal.append([fact(0, "a")] * 3))
    assert [record.name for record in caplog.records] == ["infrastructure.tag_index"]
