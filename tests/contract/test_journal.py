"""What the journal promises, on a real PostgreSQL: order, no gaps, one winner, nothing ever changed."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem, DCBRecorder
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.dcb.tests import DCBRecorderTestCase
from eventsourcing.persistence import DataError, IntegrityError, OperationalError, ProgrammingError
from eventsourcing.postgres import PostgresDatastore

from infrastructure.journal import Appended, PostgresJournal, StoredFact, open_datastore
from infrastructure.schema import SERVICE_ROLE

RACERS = 16
COPIED = 600  # events enough that they go by COPY
SECONDS = 120.0  # how long to wait for what must happen


def fact(n: int = 0, *tags: str, type_: str = "hours-confirmed.v1") -> DCBEvent:
    return DCBEvent(type=type_, data=b'{"n":%d}' % n, tags=list(tags))


def condition(*tags: str, types: tuple[str, ...] = (), after: int | None = None) -> DCBAppendCondition:
    return DCBAppendCondition(DCBQuery([DCBQueryItem(list(types), list(tags))]), after)


def positions(journal: PostgresJournal) -> list[int]:
    return [stored.position for stored in journal.read()]


def scanned(journal: PostgresJournal, after: int = 0, to: int | None = None) -> list[StoredFact]:
    return [stored for facts in journal.scan(after, to) for stored in facts]


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


# The library's own tests, unchanged


@pytest.fixture(params=["postgres", "memory"])
def recorder(request: pytest.FixtureRequest) -> DCBRecorder:
    if request.param == "memory":
        return InMemoryDCBRecorder()
    journal: PostgresJournal = request.getfixturevalue("journal")
    return journal


class TestLibrary:
    def test_append_and_read(self, recorder: DCBRecorder) -> None:
        DCBRecorderTestCase()._test_append_read(recorder)

    def test_append_and_subscribe(self, recorder: DCBRecorder) -> None:
        DCBRecorderTestCase()._test_append_subscribe(recorder)


# Appending


def test_positions_start_at_one_and_an_append_says_where_its_facts_are(journal: PostgresJournal) -> None:
    assert (journal.head(), journal.read().head) == (0, None)
    first = journal.append_facts([fact(1), fact(2)])
    second = journal.append_facts([fact(n) for n in range(COPIED)])
    assert (first.first_position, first.last_position) == (1, 2)
    assert (second.first_position, second.last_position) == (3, 2 + COPIED)
    assert journal.head() == 2 + COPIED
    assert {f.recorded_at_microseconds for f in scanned(journal, to=2)} == {first.recorded_at_microseconds}
    assert {f.recorded_at_microseconds for f in scanned(journal, after=2)} == {second.recorded_at_microseconds}
    assert first.recorded_at_microseconds < second.recorded_at_microseconds


def test_an_append_of_nothing_is_refused(journal: PostgresJournal) -> None:
    with pytest.raises(ProgrammingError):
        journal.append([])


@pytest.mark.parametrize("count", [1, COPIED])
def test_a_failed_append_takes_no_position(journal: PostgresJournal, count: int) -> None:
    journal.append([fact(1, "account:a")])
    events = [fact(n, "account:a") for n in range(count)]
    with pytest.raises(IntegrityError):
        journal.append(events, condition("account:a", after=0))
    with pytest.raises(DataError):
        journal.append([*events, fact(3, "nul\0")])
    with pytest.raises(DataError):
        journal.append([*events, fact(3, "half of a pair \ud842")])
    assert journal.append(events, condition("account:a", after=1)) == 1 + count
    assert positions(journal) == list(range(1, count + 2))


@pytest.mark.parametrize("between", [1, 2_500], ids=["short tail", "long tail"])
def test_a_condition_compares_types_and_all_tags_of_facts_after_it_only(journal: PostgresJournal, between: int) -> None:
    journal.append([fact(0, "a", "b", type_="t")])
    journal.append([fact(n, "other") for n in range(between)])
    journal.append([fact(1, "a", "c", type_="t"), fact(2, "d", type_="u")])
    for conflict in (
        condition("a"),
        condition("a", after=1),
        condition("c", "a", after=1),
        condition("a", types=("t", "x"), after=1),
        condition(types=("u",), after=1),
        condition(after=1),
        DCBAppendCondition(DCBQuery([DCBQueryItem([], ["nowhere"]), DCBQueryItem(["u"], ["d"])]), 1),
    ):
        with pytest.raises(IntegrityError):
            journal.append([fact()], conflict)
    for holds in (
        condition("b", after=1),
        condition("a", "b", after=1),
        condition("a", types=("u",), after=1),
        condition(types=("x",), after=1),
        condition("nowhere"),
        condition("a", after=between + 3),
    ):
        journal.append([fact()], holds)
    assert journal.head() == between + 3 + 6


def test_five_thousand_facts_are_one_append(journal: PostgresJournal) -> None:
    events = [fact(n, f"record:{n}", f"account:{n % 7}") for n in range(5_000)]
    assert journal.append(events, condition("record:0")) == 5_000
    assert [(f.position, f.data, f.tags) for f in scanned(journal)] == [
        (n, event.data, event.tags) for n, event in enumerate(events, 1)
    ]


HOSTILE = [
    "quote \" and ' and {braces}, commas",
    "back\\slash \\x41 \\",
    "NULL",
    "null",
    "",
    " ",
    "\n\r\t\x01\x7f",
    "𠮷野家 · 青秀区",
    "{}",
    "%s %(a)s $1 --;",
    "x" * 10_000,
]


@pytest.mark.parametrize("count", [len(HOSTILE), COPIED])
def test_hostile_texts_come_back_as_they_were(journal: PostgresJournal, count: int) -> None:
    events = [
        DCBEvent(
            type=HOSTILE[n % len(HOSTILE)], data=bytes(range(256)) * (n % 3), tags=HOSTILE[: n % (len(HOSTILE) + 1)]
        )
        for n in range(count)
    ]
    journal.append(events)
    assert [sequenced.event for sequenced in journal.read()] == events
    assert [DCBEvent(f.type, f.data, f.tags) for f in scanned(journal)] == events
    for tag in HOSTILE:
        cold, _ = journal.read_boundary([tag], journal.head())
        assert [f.position for f in cold] == [n for n, event in enumerate(events, 1) if tag in event.tags]


# Races


def race(contenders: Sequence[Callable[[], Appended]]) -> list[Appended]:
    """Start all at once; the appends that went through."""
    barrier = threading.Barrier(len(contenders))

    def run(contend: Callable[[], Appended]) -> Appended | None:
        barrier.wait(SECONDS)
        try:
            return contend()
        except IntegrityError:
            return None

    with ThreadPoolExecutor(len(contenders)) as pool:
        return [appended for appended in pool.map(run, contenders) if appended is not None]


@pytest.mark.parametrize("count", [1, COPIED])
def test_of_racers_on_one_boundary_exactly_one_wins(journal: PostgresJournal, count: int) -> None:
    for heat in range(5):
        tag = f"account:{heat}"
        head = journal.head()

        def contend(tag: str = tag, head: int = head) -> Appended:
            return journal.append_facts([fact(n, tag) for n in range(count)], condition(tag, after=head))

        assert len(race([contend] * RACERS)) == 1
    assert positions(journal) == list(range(1, 5 * count + 1))


def test_racers_on_boundaries_of_their_own_all_win(journal: PostgresJournal) -> None:
    def contend(tag: str) -> Appended:
        return journal.append_facts([fact(0, tag)], condition(tag, after=0))

    contenders = [partial(contend, f"account:{n}") for n in range(RACERS)]
    assert sorted(appended.last_position for appended in race(contenders)) == list(range(1, RACERS + 1))


def test_an_unconditioned_append_is_seen_by_the_condition_it_races(journal: PostgresJournal) -> None:
    """Both may go through, but then the conditioned one came first."""
    for heat in range(20):
        tag = f"account:{heat}"
        head = journal.head()
        conditioned, unconditioned = [fact(0, tag, "conditioned")], [fact(0, tag, "unconditioned")]
        race(
            [
                partial(journal.append_facts, conditioned, condition(tag, after=head)),
                partial(journal.append_facts, unconditioned),
            ]
        )
        order = [stored.event.tags[1] for stored in journal.read(after=head)]
        assert order in (["unconditioned"], ["conditioned", "unconditioned"])


def contend_in_a_process(url: str, barrier: "multiprocessing.synchronize.Barrier") -> bool:
    with open_datastore(url, lock_timeout_seconds=20) as datastore:
        journal = PostgresJournal(datastore, "qingxiu")
        journal.head()
        barrier.wait(SECONDS)
        try:
            journal.append([fact(0, "account:a")], condition("account:a", after=0))
        except IntegrityError:
            return False
        return True


def run_contender(
    url: str, barrier: "multiprocessing.synchronize.Barrier", wins: "multiprocessing.Queue[bool]"
) -> None:
    wins.put(contend_in_a_process(url, barrier))


def test_of_racing_processes_exactly_one_wins(journal: PostgresJournal, journal_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(RACERS), context.Queue()
    processes = [context.Process(target=run_contender, args=(journal_url, barrier, wins)) for _ in range(RACERS)]
    for process in processes:
        process.start()
    outcomes = [wins.get(timeout=2 * SECONDS) for _ in processes]
    for process in processes:
        process.join(SECONDS)
        process.close()
    wins.close()
    wins.join_thread()
    assert sorted(outcomes) == [False] * (RACERS - 1) + [True]
    assert journal.head() == 1


def test_readers_see_every_position_once_and_in_order_while_writers_write(journal: PostgresJournal) -> None:
    writers, appends, total = 4, 25, 4 * 25 * 3

    def write(writer: int) -> None:
        for n in range(appends):
            journal.append([fact(n, f"writer:{writer}") for _ in range(3)])

    def tail() -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            seen += [stored.position for stored in journal.read(after=len(seen))]
        return seen

    def follow() -> list[int]:
        with journal.subscribe() as subscription:
            return [next(subscription).position for _ in range(total)]

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(tail), pool.submit(tail), pool.submit(follow), pool.submit(follow)]
        for writer in [pool.submit(write, n) for n in range(writers)]:
            writer.result(SECONDS)
        assert all(reader.result(SECONDS) == list(range(1, total + 1)) for reader in readers)


# Locks


@contextmanager
def ledger_held(url: str, ledger: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT FROM ledgers WHERE ledger = %s FOR UPDATE", (ledger,))
        yield


def test_ledgers_have_positions_of_their_own_and_do_not_wait_for_each_other(
    journal: PostgresJournal, datastore: PostgresDatastore, journal_url: str
) -> None:
    other = PostgresJournal(datastore, "xixiangtang")
    journal.append([fact(1, "account:a")])
    other.append([fact(2, "account:a")])
    with ledger_held(journal_url, journal.ledger):
        assert other.append([fact(3, "account:a")], condition("account:a", after=1)) == 2
    assert [f.data for f in journal.read_boundary(["account:a"], 9)[0]] == [b'{"n":1}']
    assert [f.data for f in other.read_boundary(["account:a"], 9)[0]] == [b'{"n":2}', b'{"n":3}']


@pytest.mark.parametrize("count", [1, COPIED])
def test_a_ledger_that_stays_locked_is_an_error_and_not_a_wait(
    journal: PostgresJournal, journal_url: str, count: int
) -> None:
    journal.append([fact()])
    with open_datastore(journal_url, lock_timeout_seconds=0.1) as impatient, ledger_held(journal_url, journal.ledger):
        with pytest.raises(OperationalError, match="lock timeout"):
            PostgresJournal(impatient, journal.ledger).append([fact()] * count)
        assert journal.head() == 1


# Time


def test_recorded_at_does_not_go_back_when_the_clock_does(journal: PostgresJournal, journal_url: str) -> None:
    journal.append([fact()])
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with administrator(journal_url) as connection:  # as if the clock had been an hour ahead, and was then put right
        connection.execute("ALTER TABLE ledgers DISABLE TRIGGER advance_ledger")
        connection.execute("UPDATE ledgers SET recorded_at = %s", (ahead,))
        connection.execute("ALTER TABLE ledgers ENABLE TRIGGER advance_ledger")
    assert journal.append_facts([fact()]).recorded_at_microseconds == round(ahead.timestamp() * 1_000_000)


def test_position_at_is_the_last_one_recorded_by_then(journal: PostgresJournal) -> None:
    def at(microseconds: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

    assert journal.position_at(datetime.now(UTC)) == 0
    appended = [journal.append_facts([fact()] * count) for count in (1, 3, 2, 5)]
    for append in appended:
        assert journal.position_at(at(append.recorded_at_microseconds)) == append.last_position
        assert journal.position_at(at(append.recorded_at_microseconds - 1)) == append.first_position - 1
    with pytest.raises(ProgrammingError):
        journal.position_at(datetime(2026, 1, 1))  # noqa: DTZ001 -- the zone is missing on purpose


# Reading


def test_read_boundary_gives_cold_facts_by_tag_and_the_whole_tail(journal: PostgresJournal) -> None:
    assert journal.read_boundary(["a"], 0) == ([], [])
    journal.append([fact(1, "a", "b"), fact(2, "c"), fact(3, "b"), fact(4), fact(5, "a"), fact(6, "z")])
    cold, tail = journal.read_boundary(["a", "b", "nowhere", "a"], 4)
    assert [f.position for f in cold] == [1, 3]
    assert [f.position for f in tail] == [5, 6]
    assert cold[0] == StoredFact(1, cold[0].recorded_at_microseconds, "hours-confirmed.v1", ["a", "b"], b'{"n":1}')
    assert journal.read_boundary([], 6) == ([], [])
    assert [len(facts) for facts in journal.read_boundary([], 0)] == [0, 6]
    assert [len(facts) for facts in journal.read_boundary(["a"], 6)] == [2, 0]


def test_read_by_tag_reaches_past_one_window(journal: PostgresJournal) -> None:
    journal.append([fact(n, "hot", f"record:{n}") for n in range(4_500)])
    assert len(list(journal.read())) == 4_500
    assert [s.position for s in journal.read(DCBQuery([DCBQueryItem(tags=["hot"])]), after=4_000)] == list(
        range(4_001, 4_501)
    )
    query = DCBQuery([DCBQueryItem(tags=["record:7", "hot"]), DCBQueryItem(types=["other"], tags=["record:8"])])
    assert [s.position for s in journal.read(query)] == [8]
    assert [s.position for s in journal.read(DCBQuery([DCBQueryItem(tags=["hot"])]), limit=3)] == [1, 2, 3]


@pytest.mark.parametrize("count", [5, COPIED])
def test_tags_are_found_on_both_sides_of_every_2_30th_position(
    journal: PostgresJournal, journal_url: str, count: int
) -> None:
    journal.append([fact(0, "a")])
    with administrator(journal_url) as connection:  # as if a billion facts had been recorded between
        connection.execute("ALTER TABLE facts DISABLE TRIGGER admit_facts")
        with connection.transaction():
            connection.execute("UPDATE ledgers SET head = %s", (2**30 - 3,))
            connection.execute(
                "INSERT INTO facts SELECT ledger, head, recorded_at, 't', '{}', '' FROM ledgers", prepare=False
            )
        connection.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER admit_facts")
    last = journal.append([fact(n, "a", f"n:{n}") for n in range(count)])
    crossing = list(range(2**30 - 2, last + 1))
    assert last == 2**30 - 3 + count

    def found(tag: str, after: int = 0, upto: int = last) -> list[int]:
        return [f.position for f in journal.read_boundary([tag], upto)[0] if f.position > after]

    assert found("a") == [1, *crossing]
    assert found("a", upto=2**30) == [1, 2**30 - 2, 2**30 - 1, 2**30]
    assert [found(f"n:{n}") for n in range(4)] == [[position] for position in crossing[:4]]
    recent = journal.read_boundary([], last, ["a"], 2**30 - 1)[0]
    assert [f.position for f in recent] == crossing[2:]


def test_scan_gives_batches_between_two_positions_and_of_some_types(journal: PostgresJournal) -> None:
    journal.append([fact(n, type_=f"t{n % 2}") for n in range(10)])
    assert [[f.position for f in facts] for facts in journal.scan(2, 9, batch=3)] == [[3, 4, 5], [6, 7, 8], [9]]
    assert [f.position for facts in journal.scan(types=["t0"]) for f in facts] == [1, 3, 5, 7, 9]
    assert list(journal.scan(types=["t9"])) == list(journal.scan(10)) == list(journal.scan(to=0)) == []
    assert len(scanned(journal, to=99)) == 10


def test_what_is_made_of_each_facts_data_comes_in_the_same_batches(journal: PostgresJournal) -> None:
    journal.append([fact(n, type_=f"t{n % 2}") for n in range(10)])
    stored = [
        [(f.position, f.recorded_at_microseconds, f.type, f.data) for f in b] for b in journal.scan(2, 9, batch=3)
    ]
    assert [list(made) for made in journal.scan_data(lambda *columns: columns, 2, 9, batch=3)] == stored
    assert list(journal.scan_data(lambda *columns: columns, 10)) == []


def test_a_dead_connection_is_replaced_before_it_is_used(journal: PostgresJournal, journal_url: str) -> None:
    journal.append([fact()])
    with administrator(journal_url) as connection:
        terminate_all(connection)
    assert journal.append([fact()]) == 2


# Subscribing


def terminate_all(connection: psycopg.Connection) -> int:
    terminated = connection.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return len(terminated.fetchall())


def test_a_subscription_survives_dropped_connections_and_neither_loses_nor_doubles(
    journal: PostgresJournal, journal_url: str
) -> None:
    with journal.subscribe() as subscription, administrator(journal_url) as connection:
        seen = []
        for n in range(1, 6):
            journal.append([fact(n), fact(n)])
            seen += [next(subscription).position for _ in range(2)]
            assert terminate_all(connection) >= 1
        journal.append([fact()])
        seen.append(next(subscription).position)
    assert seen == list(range(1, 12))


def test_a_waiting_subscription_is_woken_after_its_connections_were_dropped(
    journal: PostgresJournal, journal_url: str
) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        journal.subscribe(after=0) as subscription,
        administrator(journal_url) as connection,
    ):
        waiting = pool.submit(next, subscription)
        wait([waiting], timeout=0.2)
        terminate_all(connection)
        journal.append([fact()])
        assert waiting.result(SECONDS).position == 1


def test_a_subscription_gives_what_its_query_means_after_a_position(journal: PostgresJournal) -> None:
    journal.append([fact(1, "a"), fact(2, "b"), fact(3, "a")])
    with journal.subscribe(DCBQuery([DCBQueryItem(tags=["a"])]), after=1) as subscription:
        assert next(subscription).position == 3
        journal.append([fact(4, "b")])
        journal.append([fact(5, "a")])
        assert next(subscription).position == 5


def test_stopping_ends_a_waiting_iteration_and_leaves_no_thread(journal: PostgresJournal) -> None:
    with ThreadPoolExecutor(1) as pool:
        with journal.subscribe() as subscription:
            waiting = pool.submit(list, subscription)
            assert not wait([waiting], timeout=0.2).done
            subscription.stop()
            assert waiting.result(SECONDS) == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("listen-")]


def test_a_subscription_is_used_as_a_context_manager(journal: PostgresJournal) -> None:
    subscription = journal.subscribe()
    with pytest.raises(ProgrammingError):
        next(subscription)


# What the database refuses


@pytest.fixture(params=["owner", "service"])
def session(request: pytest.FixtureRequest, journal: PostgresJournal, journal_url: str) -> Iterator[psycopg.Connection]:
    """Somebody with psql and a journal of three facts."""
    journal.append([fact(1, "a"), fact(2, "b"), fact(3, "c")])
    with administrator(journal_url) as connection:
        if request.param == "service":
            connection.execute(f"SET ROLE {SERVICE_ROLE}")
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET data = ''",
        "UPDATE facts SET type = type WHERE false",
        "DELETE FROM facts",
        "TRUNCATE facts",
        "TRUNCATE facts, fact_tags, ledgers CASCADE",
        "INSERT INTO facts VALUES ('qingxiu', 1, now(), 't', '{}', '')"
        " ON CONFLICT (ledger, position) DO UPDATE SET data = ''",
        "DELETE FROM fact_tags",
        "UPDATE fact_tags SET tag_key = 9",
        "DELETE FROM tag_heads",
        "TRUNCATE tag_heads",
        "DELETE FROM ledgers",
        "UPDATE ledgers SET head = head - 1",
        "UPDATE ledgers SET ledger = 'other'",
        "UPDATE ledgers SET head = head + 1",  # a gap
        "INSERT INTO facts VALUES ('qingxiu', 4, now(), 't', '{}', '')",  # the head has not been moved
        "INSERT INTO facts VALUES ('nowhere', 1, now(), 't', '{}', '')",
        "WITH moved AS (UPDATE ledgers SET head = head + 2)"
        " INSERT INTO facts VALUES ('qingxiu', 5, now(), 't', '{}', '')",  # position 4 would be missing
        "WITH moved AS (UPDATE ledgers SET head = head + 1)"
        " INSERT INTO facts VALUES ('qingxiu', 4, '2020-01-01', 't', '{}', '')",  # back-dated
    ],
)
def test_the_database_refuses(session: psycopg.Connection, journal: PostgresJournal, statement: str) -> None:
    before = scanned(journal)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(statement)
    assert scanned(journal) == before
    assert journal.append([fact()]) == 4


@pytest.mark.parametrize("schema", ["pg_temp", SERVICE_ROLE])
def test_tables_of_the_same_names_are_no_way_round(journal: PostgresJournal, journal_url: str, schema: str) -> None:
    journal.append([fact()])
    with administrator(journal_url) as connection:
        connection.execute(f"SET ROLE {SERVICE_ROLE}")
        if schema != "pg_temp":
            connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(
            f"CREATE TABLE {schema}.ledgers AS SELECT 'qingxiu' AS ledger, 9000::bigint AS head,"
            " '2020-01-01'::timestamptz AS recorded_at"
        )
        connection.execute(f"CREATE TABLE {schema}.facts AS SELECT 'qingxiu' AS ledger, 8999::bigint AS position")
        for table in ("ledgers", "facts"):
            connection.execute(f"GRANT ALL ON {schema}.{table} TO public")
        if schema != "pg_temp":
            connection.execute(f"GRANT ALL ON SCHEMA {schema} TO public")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not its next ones"):
            connection.execute("INSERT INTO public.facts VALUES ('qingxiu', 9000, '2020-01-01', 't', '{}', '')")
        connection.execute(f"INSERT INTO {schema}.facts VALUES ('qingxiu', 2)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no fact at its head"):
            connection.execute("UPDATE public.ledgers SET head = 2")
    assert positions(journal) == [1]


def test_functions_and_operators_of_the_same_names_are_no_way_round(journal: PostgresJournal, journal_url: str) -> None:
    journal.append([fact()] * 2)
    with administrator(journal_url) as connection:
        connection.execute(f"SET ROLE {SERVICE_ROLE}")
        connection.execute("CREATE SCHEMA shadow")
        connection.execute(
            "CREATE FUNCTION shadow.clock_timestamp() RETURNS timestamptz"
            " LANGUAGE sql AS $$ SELECT '2100-01-01'::timestamptz $$"
        )
        connection.execute("CREATE FUNCTION shadow.never(bigint, bigint) RETURNS bool LANGUAGE sql AS 'SELECT false'")
        connection.execute("CREATE OPERATOR shadow.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = shadow.never)")
        connection.execute("SET search_path = shadow, pg_catalog, public")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="never goes down"):
            connection.execute("UPDATE ledgers SET head = 1")
        connection.execute("INSERT INTO ledgers VALUES ('new', 0)")
        connection.execute("UPDATE ledgers SET head = head WHERE ledger = 'new'")
        assert connection.execute("SELECT recorded_at < '2100-01-01' FROM ledgers WHERE ledger = 'new'").fetchone() == (
            True,
        )


def test_replication_mode_is_no_way_round(journal: PostgresJournal, journal_url: str) -> None:
    journal.append([fact()])
    with administrator(journal_url) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM facts")


def test_the_service_role_can_do_its_work(journal_url: str) -> None:
    as_service = psycopg.conninfo.make_conninfo(journal_url, options=f"-c role={SERVICE_ROLE}")
    with open_datastore(as_service) as datastore:
        journal = PostgresJournal(datastore, "qingxiu")
        journal.append([fact(1, "a")], condition("a"))
        journal.append([fact(2, "a")] * COPIED, condition("a", after=1))
        assert len(journal.read_boundary(["a"], 1)[1]) == COPIED


def test_a_client_cannot_choose_when_something_was_recorded(session: psycopg.Connection) -> None:
    session.execute("INSERT INTO ledgers VALUES ('new', 7, '2020-01-01')")
    session.execute("UPDATE ledgers SET recorded_at = '2020-01-01' WHERE ledger = 'new'")
    assert session.execute(
        "SELECT head, now() - recorded_at < '1 minute' FROM ledgers WHERE ledger = 'new'"
    ).fetchone() == (
        0,
        True,
    )


def test_whoever_opens_psql_can_read_the_facts(session: psycopg.Connection) -> None:
    assert session.execute("SELECT position, tags, data FROM facts_readable WHERE position = 2").fetchall() == [
        (2, ["b"], {"n": 2})
    ]
