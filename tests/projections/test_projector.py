"""Facts become rows: each exactly once, whatever is killed, raised, rebuilt or run twice."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from random import Random
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import OperationalError

from api import wiring
from api.wiring import Timebank, one_moment, public_figures
from application.replay import CELLS, Counted, differences, replay
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.fact import Movement
from infrastructure import projector as projector_module
from infrastructure.projector import (
    ProjectionsAreNewer,
    ProjectionsDamaged,
    Projector,
    ProjectorThread,
    RebuildRunning,
    is_newer,
)
from projections.account import Accounts, balances, balances_at
from projections.figures import figures
from projections.hours import Hours
from tests.projections.history import COMMUNITIES, POLICIES, History, projecting, rows

DEADLINE_SECONDS = 60
OpenBank = Callable[..., Timebank]


class Following:
    """A projector in its thread, and how far it has told that it is."""

    def __init__(self, bank: Timebank) -> None:
        self._reached = threading.Condition()
        self.position = 0
        self._thread = ProjectorThread(bank.projector(), self._told)

    def _told(self, position: int) -> None:
        with self._reached:
            self.position = max(self.position, position)
            self._reached.notify_all()

    def wait_for(self, position: int) -> None:
        with self._reached:
            assert self._reached.wait_for(lambda: self.position >= position, DEADLINE_SECONDS)

    def __enter__(self) -> "Following":
        self._thread.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._thread.__exit__(*raised)


def rebuilt(bank: Timebank) -> dict[str, list[tuple[Any, ...]]]:
    with closing(bank.projector()) as projector:
        projector.rebuild()
    return rows(bank)


def projected(bank: Timebank, position: int | None = None) -> Counted:
    with bank.reading() as connection, connection.cursor() as cursor:
        bound = 2**62 if position is None else position
        return Counted(
            balances(cursor) if position is None else balances_at(cursor, position),
            figures(cursor, basis="recorded", position=bound)[""],
            {
                name: figures(cursor, basis="recorded", position=bound, by=by, level=level)
                for name, (by, level) in CELLS.items()
            },
        )


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_folding_as_it_happens_equals_a_rebuild_and_equals_a_replay(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any], seed: int
) -> None:
    bank = open_bank(**policy)
    dice = Random(seed)  # noqa: S311 - reproducible
    history = History(bank, seed)
    funded = FundPool(community=COMMUNITIES[0], minutes=600)
    granted = GrantMinutes(household="H1", minutes=60, need="other")
    assert history.record_commands([(fund_pool, funded), (grant_minutes, granted)]) == 2
    with projecting(bank) as projector:
        for _ in range(45):
            history.go(dice.randint(1, 15))
            monkeypatch.setattr(projector_module, "BATCH_FACTS", dice.choice([1, 2, 3, 7, 50]))
            assert projector.catch_up() == bank.store.head()
    as_it_happened = rows(bank)
    kinds = {fact for (_, fact, *_) in as_it_happened["movements"]}
    assert {"hours-confirmed.v1", "hours-reversed.v1", "pool-funded.v1", "minutes-granted.v1"} <= kinds
    assert policy.get("balance_minutes_max") != 240 or {"minutes-capped.v1", "capped-minutes-returned.v1"} <= kinds
    assert rebuilt(bank) == as_it_happened
    assert differences(replay(bank.store).counted(), projected(bank)) == []
    for position in dice.sample(range(bank.store.head()), 8):
        assert differences(replay(bank.store, position).counted(), projected(bank, position)) == []


def test_a_rebuild_in_many_batches_equals_one_in_a_single_batch(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    History(bank, 3).go(200)
    at_once = rebuilt(bank)
    monkeypatch.setattr(projector_module, "REBUILD_BATCH_FACTS", 3)
    assert rebuilt(bank) == at_once


@pytest.fixture
def behind(open_bank: OpenBank) -> Iterator[tuple[Timebank, Projector]]:
    """A projector that has folded some facts and has others, which also settle earlier records, before it."""
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 4)
    with projecting(bank) as projector:
        history.go(60)
        projector.catch_up()
        history.go(60)
        yield bank, projector


@pytest.mark.parametrize("projection", [Hours, Accounts], ids=["before the last projection", "in the last"])
def test_a_failure_while_writing_leaves_nothing_half_done_and_the_next_run_continues(
    behind: tuple[Timebank, Projector], monkeypatch: pytest.MonkeyPatch, projection: type[Any]
) -> None:
    bank, projector = behind
    before = rows(bank)
    take = projection.take

    def take_and_fail(self: Any) -> Callable[[Any], None]:
        write = take(self)

        def failing(cursor: Any) -> None:
            write(cursor)
            raise ZeroDivisionError

        return failing

    with monkeypatch.context() as patch:
        patch.setattr(projection, "take", take_and_fail)
        with pytest.raises(ZeroDivisionError):
            projector.catch_up()
    assert rows(bank) == before
    projector.catch_up()
    assert rows(bank) != before
    assert rows(bank) == rebuilt(bank)


def test_a_connection_killed_between_rows_and_checkpoint_leaves_nothing_half_done(
    behind: tuple[Timebank, Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, projector = behind
    before = rows(bank)
    take = Accounts.take

    def take_and_kill(self: Accounts) -> Callable[[Any], None]:
        write = take(self)

        def killed(cursor: psycopg.Cursor[Any]) -> None:
            write(cursor)
            pid = cursor.connection.info.backend_pid
            with psycopg.connect(bank.owner_address) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))

        return killed

    with monkeypatch.context() as patch:
        patch.setattr(Accounts, "take", take_and_kill)
        with pytest.raises(psycopg.OperationalError):
            projector.catch_up()
    assert rows(bank) == before
    projector.catch_up()
    assert rows(bank) == rebuilt(bank)


def test_a_failed_rebuild_leaves_the_tables_as_they_were(
    behind: tuple[Timebank, Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, projector = behind
    before = rows(bank)

    def failing(_: Accounts, *, more: bool = False) -> Callable[[Any], None]:
        del more

        def write(_: Any) -> None:
            raise ZeroDivisionError

        return write

    with monkeypatch.context() as patch:
        patch.setattr(Accounts, "take", failing)
        with pytest.raises(ZeroDivisionError):
            projector.rebuild()
    assert rows(bank) == before
    projector.catch_up()
    assert rows(bank) == rebuilt(bank)


def test_projectors_that_run_at_once_fold_every_fact_once(open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector_module, "BATCH_FACTS", 5)
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 5)
    with projecting(bank), ExitStack() as stack:
        following = [stack.enter_context(Following(bank)) for _ in range(3)]
        for _ in range(40):
            history.go(8)
        for one in following:
            one.wait_for(bank.store.head())
    folded = rows(bank)
    movements = sum(isinstance(r.envelope.fact, Movement) for batch in bank.store.scan() for r in batch)
    assert len(folded["movements"]) == movements
    assert folded == rebuilt(bank)


def test_rebuilds_while_facts_are_recorded_folded_and_read(open_bank: OpenBank) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 6)
    history.go(100)
    stop = threading.Event()
    wrong: list[object] = []

    def reading() -> None:
        """The figures are of one moment: what they hold only ever grows, and never disappears in a swap."""
        position = 0
        try:
            while not stop.is_set():
                with bank.reading() as connection:
                    found = public_figures(bank, connection, as_of=history.today, basis="service", by="grid", level=3)
                if found["position"] < position or not found["service_records"]:
                    wrong.append(found)
                position = found["position"]
        except BaseException as error:  # noqa: BLE001 - told below
            wrong.append(error)

    def writing() -> None:
        while not stop.is_set():
            history.go(10)

    with projecting(bank), Following(bank) as following:
        following.wait_for(bank.store.head())
        threads = [threading.Thread(target=target) for target in (writing, reading, reading)]
        for thread in threads:
            thread.start()
        try:
            with closing(bank.projector()) as rebuilding:
                for _ in range(15):
                    rebuilding.rebuild()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        following.wait_for(bank.store.head())
    assert wrong == []
    assert rows(bank) == rebuilt(bank)


def test_whoever_reads_the_tables_as_of_one_moment_reads_them_all_while_a_rebuild_waits_to_swap_them(
    open_bank: OpenBank,
) -> None:
    bank = open_bank()
    History(bank, 12).go(50)
    failed: list[BaseException] = []

    def rebuild() -> None:
        try:
            rebuilt(bank)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    with projecting(bank) as projector, bank.reading() as connection, bank.reading() as watching:
        head = projector.catch_up()
        waiting = threading.Thread(target=rebuild)
        with one_moment(connection) as (cursor, position):
            waiting.start()
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not watching.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchall()[0][0]:
                assert time.monotonic() < deadline
            for table in ("movements", "accounts", "hours", "people", "grids", "communities", "checkpoint"):
                assert cursor.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] > 0
        waiting.join()
    assert failed == []
    assert position == head


def test_a_rebuild_beside_another_is_refused_and_whoever_prepares_waits_for_it(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank()
    History(bank, 7)
    rebuilding, may_go_on = threading.Event(), threading.Event()
    fold_all = Projector._fold_all

    def slow(self: Projector, *arguments: Any) -> int:
        rebuilding.set()
        assert may_go_on.wait(DEADLINE_SECONDS)
        return fold_all(self, *arguments)

    with closing(bank.projector()) as first, closing(bank.projector()) as second, closing(bank.projector()) as third:
        with monkeypatch.context() as patch:
            patch.setattr(Projector, "_fold_all", slow)
            one = threading.Thread(target=first.prepare)
            one.start()
            assert rebuilding.wait(DEADLINE_SECONDS)
        with pytest.raises(RebuildRunning):
            second.rebuild()
        other = threading.Thread(target=third.prepare)
        other.start()
        may_go_on.set()
        one.join()
        other.join()
        assert third.catch_up() == bank.store.head()


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), OperationalError("gone"), RuntimeError("odd")])
def test_a_projector_that_could_not_read_tries_again(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bank = open_bank()
    scan = bank.store.scan
    failures = [error]

    def failing_once(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return scan(*arguments, **named)

    with projecting(bank):
        monkeypatch.setattr(bank.store, "scan", failing_once)
        with Following(bank) as following:
            History(bank, 8)
            following.wait_for(bank.store.head())
    assert not failures


def test_tables_of_another_version_are_folded_anew(open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = open_bank()
    history = History(bank, 9)
    history.go(50)
    with projecting(bank) as projector:
        projector.catch_up()
    before = rows(bank)
    with bank.reading() as connection:
        connection.execute("UPDATE accounts SET balance_minutes = balance_minutes + 1")
    monkeypatch.setattr(Accounts, "version", Accounts.version + 1)
    with projecting(bank):
        after = rows(bank)
    (checkpoint,) = after.pop("checkpoint")
    assert f"accounts.{Accounts.version}" in checkpoint[1]
    del before["checkpoint"]
    assert after == before


def test_a_running_projector_notices_that_its_tables_are_gone_and_folds_them_anew(open_bank: OpenBank) -> None:
    bank = open_bank()
    history = History(bank, 10)
    with projecting(bank) as projector:
        projector.catch_up()
        before = rows(bank)
        with Following(bank) as following:
            following.wait_for(bank.store.head())
            with bank.reading() as connection:
                connection.execute("DROP TABLE checkpoint")
            history.go(20)
            following.wait_for(bank.store.head())
    assert rows(bank) == rebuilt(bank) != before


def test_a_rebuild_mends_what_a_running_projector_remembers(open_bank: OpenBank) -> None:
    bank = open_bank()
    history = History(bank, 13)
    history.go(50)
    with projecting(bank) as running:
        running.catch_up()
        with bank.reading() as connection:
            connection.execute("UPDATE accounts SET balance_minutes = balance_minutes + 1000")
        running.close()
        running.catch_up()
        rebuilt(bank)
        head = bank.store.head()
        while not any(isinstance(r.envelope.fact, Movement) for batch in bank.store.scan(head) for r in batch):
            history.go(5)
        running.catch_up()
        folded_on = rows(bank)
    assert folded_on == rebuilt(bank)


@pytest.mark.parametrize(
    ("found", "ours", "newer"),
    [
        ("accounts.1 hours.1", "accounts.1 hours.1", False),
        ("accounts.1 hours.2", "accounts.1 hours.1", True),
        ("accounts.1 hours.9", "accounts.1 hours.10", False),
        ("accounts.1 hours.1 people.1", "accounts.1 hours.1", True),
        ("accounts.1 hours.1 people.1", "accounts.1 hours.2", False),
        ("accounts.1", "accounts.1 hours.1", False),
        ("accounts.2 hours.1", "accounts.1 hours.2", True),
        ("", "accounts.1", False),
    ],
)
def test_versions_are_compared_by_projection(found: str, ours: str, newer: bool) -> None:
    assert is_newer(found, ours) is newer


class NewerAccounts(Accounts):
    """Accounts as a later version of the program folds them."""

    version = Accounts.version + 1


def test_a_program_that_finds_newer_tables_stops_and_says_so_once(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bank = open_bank()
    history = History(bank, 14)
    with projecting(bank) as older, closing(bank.projector()) as starting:
        older.catch_up()
        following = Following(bank)
        with monkeypatch.context() as patch:
            # For the projectors made now: the class itself is also what another test's service folds by.
            newest = [NewerAccounts() if isinstance(one, Accounts) else one for one in wiring.projections()]
            patch.setattr(wiring, "projections", lambda: newest)
            with projecting(bank) as newer:
                newer.catch_up()
        before = rows(bank)
        history.go(20)
        with following:
            following._thread._thread.join(DEADLINE_SECONDS)
            assert not following._thread._thread.is_alive()
        for refused in (older.catch_up, starting.prepare, starting.catch_up):
            with pytest.raises(ProjectionsAreNewer, match="timebank rebuild"):
                refused()
        assert rows(bank) == before
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        starting.rebuild()
        assert older.catch_up() == bank.store.head()


def test_a_checkpoint_set_back_is_told_as_such_and_a_rebuild_mends_it(open_bank: OpenBank) -> None:
    bank = open_bank()
    History(bank, 15).go(50)
    with projecting(bank) as projector:
        projector.catch_up()
        with bank.reading() as connection:
            connection.execute("UPDATE checkpoint SET position = 0")
        with pytest.raises(ProjectionsDamaged, match="timebank rebuild"):
            projector.catch_up()
        projector.rebuild()
        assert projector.catch_up() == bank.store.head()


def test_a_checkpoint_past_the_head_recalls_no_balance(open_bank: OpenBank) -> None:
    bank = open_bank()
    History(bank, 16).go(50)
    recall = bank.store._recall_accounts
    assert recall is not None
    with projecting(bank) as projector:
        head = projector.catch_up()
    position, held = recall(["issuance"])
    assert (position, list(held)) == (head, ["issuance"])
    with bank.reading() as connection:
        connection.execute("UPDATE checkpoint SET position = position + 1")
    assert recall(["issuance"]) == (0, {})


def test_comparing_finds_nothing_in_tables_that_were_folded_on_and_keeps_nothing(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 17)
    with projecting(bank) as projector, closing(bank.projector()) as other:
        history.go(100)
        projector.catch_up()
        before, reached = rows(bank), bank.store.head()
        history.go(100)
        monkeypatch.setattr(projector_module, "REBUILD_BATCH_FACTS", 7)
        with projector.compared() as compared:
            assert (compared.checkpoint, compared.position, compared.differences) == (reached, reached, [])
            with pytest.raises(RebuildRunning):
                other.rebuild()
            other.catch_up()
        assert before != rows(bank)
        with projector.compared() as compared:
            assert (compared.position, compared.differences) == (bank.store.head(), [])
        assert rows(bank) == rebuilt(bank)
