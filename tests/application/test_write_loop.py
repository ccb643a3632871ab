"""The write loop: every command is decided on the newest facts, recorded once, and answered."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest

import application.write_loop as write_loop
from application.write_loop import (
    ATTEMPTS_MAX,
    BATCH_COMMANDS_MAX,
    Accepted,
    CommandIdReused,
    FactTooLong,
    Ticket,
    WriteLoop,
    Writer,
    command_digest,
    command_id,
    new_id,
)
from domain.account import (
    Account,
    BalanceTooLow,
    FundPool,
    GrantMinutes,
    MinutesGranted,
    PoolFunded,
    fund_pool,
    grant_minutes,
)
from domain.community import (
    Community,
    CommunityAlreadyRegistered,
    CommunityRegistered,
    RegisterCommunity,
    RegisterGrid,
    UnknownCommunity,
    register_community,
    register_grid,
)
from domain.decision import Actor, Context, Decided, Decision, read
from domain.expiry import Savings
from domain.fact import Fact
from domain.hours import ConfirmHours, LogHours, LogManyHours, confirm, log, log_many
from domain.household import RegisterMember
from domain.journal import Conflict, StoreUnavailable
from domain.ledger import ledger
from domain.refusal import Refusal
from tests.controls import ADMIN, COMMAND_EXAMPLES, DISTRICT, GRID, NOW, STAFF, XINZHU, ZONE, at, given
from tests.in_memory import InMemoryFactStore, recorded_at

POOL = "pool:" + XINZHU


@pytest.fixture
def store() -> InMemoryFactStore:
    return InMemoryFactStore()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once: the jitter between them is not what is tested here."""
    monkeypatch.setattr(write_loop.time, "sleep", lambda _: None)


def writer(store: Any, **options: Any) -> Writer:
    return Writer(store, ZONE, clock=lambda: NOW, **options)


def ticket(decide: Any, command: Any, name: str = "", actor: Actor = ADMIN) -> Ticket:
    """A command under an id of its own, or under the same id as every other of that name."""
    return Ticket(decide, command, actor, command_id(actor.id, name) if name else new_id().replace("-", ""))


def community(name: str, id_of: str = "") -> Ticket:
    return ticket(register_community, RegisterCommunity(community=name), id_of or name)


def grid(name: str) -> Ticket:
    return ticket(register_grid, RegisterGrid(community=name, grid=GRID))


def grant(minutes: int = 1) -> Ticket:
    return ticket(grant_minutes, GrantMinutes(household="H2", minutes=minutes, need="other"), actor=STAFF)


def run(writer: Writer, *tickets: Ticket) -> list[Any]:
    writer.run(tickets)
    return [ticket.outcome for ticket in tickets]


def recorded(store: InMemoryFactStore, *facts: Fact) -> None:
    """Facts that are simply there."""

    def bring(_: Any, __: Context) -> Decision:
        yield from read(ledger)
        return Decided(0, facts)

    (outcome,) = run(writer(store), ticket(bring, RegisterCommunity(community="x")))
    assert isinstance(outcome, Accepted)


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_accepted_commands_are_recorded_in_one_append_and_told_their_positions(store: InMemoryFactStore) -> None:
    a, b, c = run(writer(store), community("甲"), grid("甲"), community("乙"))
    assert [a.position, b.position, c.position] == [1, 2, 3]
    assert [a.facts[0], b.facts[0], c.facts[0]] == store.facts
    assert a.recorded_at_microseconds == b.recorded_at_microseconds == recorded_at(1)
    assert store.appends == 1
    assert not a.repeated


def test_a_command_of_many_facts_is_told_its_first_and_last_position(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT)
    _, sheet = run(writer(store), community("甲"), ticket(log_many, COMMAND_EXAMPLES[log_many]))
    head = len(DISTRICT)
    assert (sheet.first_position, sheet.position) == (head + 2, head + 3)
    assert store.facts[sheet.first_position - 1 :] == list(sheet.facts)


def test_the_envelope_says_who_when_for_which_command_and_under_which_policy(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT)
    told = ticket(log, COMMAND_EXAMPLES[log], actor=STAFF)
    run(writer(store), told)
    envelope = store.envelopes[-1]
    assert (envelope.actor, envelope.role, envelope.policy, envelope.imported) == ("S2", "staff", 1, False)
    assert (envelope.command, envelope.digest, envelope.decided_at) == (told.id, told.digest, NOW)
    assert len({envelope.id for envelope in store.envelopes}) == len(store.envelopes)


def test_a_refused_command_affects_no_other(store: InMemoryFactStore) -> None:
    outcomes = run(writer(store), community("甲"), grid("没有"), community("甲", "again"), community("乙"))
    assert isinstance(outcomes[0], Accepted)
    assert outcomes[1:3] == [UnknownCommunity("没有"), CommunityAlreadyRegistered("甲")]
    assert store.facts == [CommunityRegistered("甲", "甲"), CommunityRegistered("乙", "乙")]
    assert outcomes[3].position == 2


def test_where_all_are_refused_nothing_is_appended(store: InMemoryFactStore) -> None:
    assert run(writer(store), grid("甲")) == [UnknownCommunity("甲")]
    assert store.appends == 0


def test_a_batch_is_decided_in_order(store: InMemoryFactStore) -> None:
    early, _, late = run(writer(store), grid("甲"), community("甲"), grid("甲"))
    assert early == UnknownCommunity("甲")
    assert isinstance(late, Accepted)


def test_a_decision_that_breaks_harms_no_other(store: InMemoryFactStore) -> None:
    def broken_at_once(_: Any, __: Context) -> Decision:
        raise ValueError("before asking")

    def broken_later(_: Any, __: Context) -> Decision:
        yield from read(ledger)
        raise ValueError("after asking")

    command = RegisterCommunity(community="x")
    tickets = [community("甲"), ticket(broken_at_once, command), ticket(broken_later, command), community("乙")]
    first, at_once, later, last = run(writer(store), *tickets)
    assert isinstance(at_once, ValueError)
    assert isinstance(later, ValueError)
    assert (first.position, last.position) == (1, 2)


# ── Once and only once ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_command_again_gets_the_first_answer(store: InMemoryFactStore, restarted: bool) -> None:
    recorded(store, *DISTRICT)
    same = writer(store)
    sheet = [ticket(log_many, COMMAND_EXAMPLES[log_many], "sheet") for _ in range(2)]
    (first,) = run(same, sheet[0])
    run(same, community("甲"))
    (again,) = run(writer(store) if restarted else same, sheet[1])
    assert again == Accepted(first.first_position, first.recorded_at_microseconds, first.facts, repeated=True)
    assert len(store.facts) == len(DISTRICT) + 3


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_id_with_other_content_is_refused(store: InMemoryFactStore, restarted: bool) -> None:
    same = writer(store)
    first = community("甲", "key")
    run(same, first)
    other = [
        community("乙", "key"),
        ticket(register_grid, RegisterGrid(community="甲", grid=GRID), "key"),
        ticket(fund_pool, FundPool(community="甲", minutes=1), "key"),
    ]
    outcomes = run(writer(store) if restarted else same, *other)
    assert outcomes == [CommandIdReused(first.id)] * 3
    assert len(store.facts) == 1


def test_two_actors_may_use_the_same_key(store: InMemoryFactStore) -> None:
    tickets = [
        ticket(register_community, RegisterCommunity(community=name), "key", Actor(name, "admin")) for name in "甲乙"
    ]
    assert all(isinstance(outcome, Accepted) for outcome in run(writer(store), *tickets))


def test_duplicates_in_one_batch_are_recorded_once(store: InMemoryFactStore) -> None:
    first, same, other, last = run(
        writer(store), community("甲", "key"), community("甲", "key"), community("乙", "key"), community("丙")
    )
    assert (first.position, first.repeated) == (1, False)
    assert (same.position, same.repeated, same.facts) == (1, True, first.facts)
    assert other == CommandIdReused(community("甲", "key").id)
    assert last.position == 2


def test_a_refused_command_may_be_tried_again_under_its_id(store: InMemoryFactStore) -> None:
    early, _, late = run(
        writer(store),
        ticket(register_grid, RegisterGrid(community="甲", grid=GRID), "key"),
        community("甲"),
        ticket(register_grid, RegisterGrid(community="甲", grid=GRID), "key"),
    )
    assert early == UnknownCommunity("甲")
    assert isinstance(late, Accepted)
    assert not late.repeated


def test_a_lost_acknowledgement_is_found_out_and_nothing_is_recorded_twice(store: InMemoryFactStore) -> None:
    def lose() -> None:
        raise StoreUnavailable("the connection broke after the commit")

    same = writer(store)
    run(same, community("先"))
    store.after_append.append(lose)
    first, refused, second = run(same, community("甲"), grid("没有"), community("乙"))
    assert (first.position, second.position) == (2, 3)
    assert (first.facts, second.facts) == ((CommunityRegistered("甲", "甲"),), (CommunityRegistered("乙", "乙"),))
    assert refused == UnknownCommunity("没有")
    assert len(store.facts) == 3
    assert run(same, grid("乙"))[0].position == 4


def test_a_journal_that_is_away_for_a_moment_is_tried_again(store: InMemoryFactStore) -> None:
    def fail() -> None:
        raise StoreUnavailable("not now")

    store.before_append.extend([fail, fail])
    (outcome,) = run(writer(store), community("甲"))
    assert (outcome.position, outcome.repeated) == (1, False)


def test_a_journal_that_stays_away_is_told_to_everybody_and_later_ones_go_on(store: InMemoryFactStore) -> None:
    def fail() -> None:
        raise StoreUnavailable("gone")

    same = writer(store)
    store.before_append.extend([fail] * 4)
    outcomes = run(same, community("甲"), grid("没有"))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
    assert store.facts == []
    assert run(same, community("甲"), grid("甲"))[1].position == 2


# ── Several writers ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_conflict_is_decided_again_and_never_appended_stale(store: InMemoryFactStore) -> None:
    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    store.before_append.append(lambda: run(elsewhere, community("甲", "theirs")))
    refused, accepted = run(here, community("甲", "ours"), community("乙"))
    assert refused == CommunityAlreadyRegistered("甲")
    assert accepted.position == 3
    assert [fact.community for fact in store.facts] == ["先", "甲", "乙"]  # type: ignore[attr-defined]


def test_what_others_record_elsewhere_is_no_conflict_and_is_seen_afterwards(store: InMemoryFactStore) -> None:
    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    store.before_append.append(lambda: run(elsewhere, community("乙"), grid("先")))
    (outcome,) = run(here, community("甲"))
    assert (outcome.position, store.appends) == (4, 3)
    refused, unknown = run(here, community("乙", "again"), grid("丙"))
    assert (refused, unknown) == (CommunityAlreadyRegistered("乙"), UnknownCommunity("丙"))
    assert run(here, grid("甲"))[0].position == 5


def test_a_balance_that_is_kept_counts_each_movement_once_whoever_wrote_in_between(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT, PoolFunded("issuance", POOL, 20, "A1"))
    here, elsewhere = writer(store), writer(store)
    run(here, grant(1))
    store.before_append.append(lambda: run(elsewhere, community("乙")))
    run(here, ticket(fund_pool, FundPool(community=XINZHU, minutes=5)))
    assert run(here, grant(25)) == [BalanceTooLow(POOL, 24, 25, 0)]


def test_crediting_one_pool_through_two_writers_conflicts_with_nobody(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT)
    here, elsewhere = writer(store), writer(store)
    fund = FundPool(community=XINZHU, minutes=60)
    store.before_append.append(lambda: run(elsewhere, ticket(fund_pool, fund)))
    run(here, ticket(fund_pool, fund))
    assert store.appends == 3  # the district, theirs and ours


def test_the_same_command_sent_to_two_processes_is_recorded_once(store: InMemoryFactStore) -> None:
    here, elsewhere = writer(store), writer(store)
    theirs: list[Any] = []
    store.before_append.append(lambda: theirs.extend(run(elsewhere, community("甲", "key"))))
    (ours,) = run(here, community("甲", "key"))
    assert ours == Accepted(1, recorded_at(1), theirs[0].facts, repeated=True)
    assert len(store.facts) == 1


def test_commands_whose_tags_no_fact_bears_are_recorded_without_reading_the_journal(store: InMemoryFactStore) -> None:
    same = writer(store)
    run(same, community("先"))
    reads = store.reads
    outcomes = run(same, community("甲"), grid("甲"), grid("先"))
    assert [outcome.position for outcome in outcomes] == [2, 3, 4]
    assert store.reads == reads


def test_nobody_is_refused_for_lack_of_what_others_have_just_recorded(store: InMemoryFactStore) -> None:
    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    run(elsewhere, community("甲"))
    refused, accepted, last = run(here, grid("没有"), grid("甲"), community("乙"))
    assert (refused, accepted.position, last.position) == (UnknownCommunity("没有"), 3, 4)


def test_a_command_that_another_process_has_just_recorded_is_answered_as_it_was_there(store: InMemoryFactStore) -> None:
    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    (theirs,) = run(elsewhere, community("甲", "key"))
    (ours, other) = run(here, community("甲", "key"), community("乙", "key"))
    assert (ours, other) == (
        Accepted(2, theirs.recorded_at_microseconds, theirs.facts, repeated=True),
        CommandIdReused(community("甲", "key").id),
    )


def test_a_decision_without_a_fact_has_looked_at_what_others_recorded(store: InMemoryFactStore) -> None:
    def if_unknown(_: Any, __: Context) -> Decision:
        known = yield from read(Community.of("甲"))
        return Decided(0, () if known.name is None else (CommunityRegistered("乙", "乙"),))

    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    run(elsewhere, community("甲"))
    (outcome,) = run(here, ticket(if_unknown, RegisterCommunity(community="x")))
    assert outcome.facts == (CommunityRegistered("乙", "乙"),)


def test_a_batch_is_decided_once_where_some_are_refused_and_once_where_all_are(store: InMemoryFactStore) -> None:
    decided: list[str] = []

    def counted(command: RegisterGrid, context: Context) -> Decision:
        decided.append(command.community)
        return (yield from register_grid(command, context))

    same = writer(store)
    run(same, community("先"))
    reads = store.reads
    for names, reads_more in (["先", "没有"], 0), (["没有"], 1):
        tickets = [ticket(counted, RegisterGrid(community=name, grid=(name,))) for name in names]
        decided.clear()
        outcomes = run(same, *tickets)
        assert (outcomes[-1], decided) == (UnknownCommunity("没有"), names)
        assert store.reads == (reads := reads + reads_more)


def test_after_landing_behind_others_the_tail_is_read_once(store: InMemoryFactStore) -> None:
    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    reads = store.reads
    store.before_append.append(lambda: run(elsewhere, community("乙")))
    run(here, community("甲"))
    theirs = store.reads - reads
    for name in "丙丁戊":
        run(here, community(name))
    assert store.reads == reads + theirs + 1


def test_a_refused_command_that_another_process_has_recorded_is_answered_as_it_was_there(
    store: InMemoryFactStore,
) -> None:
    def never(_: Any, __: Context) -> Decision:
        yield ()
        raise UnknownCommunity("无论如何")

    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    run(elsewhere, community("甲", "key"))
    reused, accepted = run(here, ticket(never, RegisterCommunity(community="甲"), "key"), community("乙"))
    assert reused == CommandIdReused(community("甲", "key").id)
    assert accepted.position == 3


def test_what_is_too_long_only_for_lack_of_what_others_recorded_is_accepted(store: InMemoryFactStore) -> None:
    def long_if_unknown(_: Any, __: Context) -> Decision:
        known = yield from read(Community.of("甲"))
        return Decided(0, (CommunityRegistered("乙", "长" * 22_000 if known.name is None else "短"),))

    here, elsewhere = writer(store), writer(store)
    run(here, community("先"))
    run(elsewhere, community("甲"))
    (outcome,) = run(here, ticket(long_if_unknown, RegisterCommunity(community="x")))
    assert outcome.facts == (CommunityRegistered("乙", "短"),)


def test_after_a_failure_nobody_foresaw_nothing_is_counted_twice(
    store: InMemoryFactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = write_loop.Memory.apply

    def fail_halfway(memory: write_loop.Memory, fact: Fact) -> None:
        apply(memory, fact)
        raise RuntimeError("halfway")

    recorded(store, *DISTRICT, PoolFunded("issuance", POOL, 20, "A1"))
    here, elsewhere = writer(store), writer(store)
    run(here, grant(1))
    run(elsewhere, ticket(fund_pool, FundPool(community=XINZHU, minutes=5)))
    with monkeypatch.context() as failing:
        failing.setattr(write_loop.Memory, "apply", fail_halfway)
        with pytest.raises(RuntimeError, match="halfway"):
            run(here, grant(25))
    assert run(here, grant(25)) == [BalanceTooLow(POOL, 24, 25, 0)]


def register_long_names(command: RegisterCommunity, context: Context) -> Decision:
    """As many facts as are asked for in the name, each longer than evidence holds."""
    del context
    yield ()
    return Decided(0, (CommunityRegistered(command.community, "长" * 22_000),))


def test_what_is_too_long_for_evidence_is_refused_alone(store: InMemoryFactStore) -> None:
    names = ["甲", "乙", "丙", "丁"]
    tickets = [
        Ticket(decide, RegisterCommunity(community=name), ADMIN, command_id("D1", name))
        for name, decide in zip(names, [register_community, register_long_names] * 2, strict=True)
    ]
    Writer(store, ZONE).run(tickets)
    assert [type(ticket.outcome) for ticket in tickets] == [Accepted, FactTooLong] * 2
    assert [fact.community for fact in store.facts if isinstance(fact, CommunityRegistered)] == ["甲", "丙"]
    refused = tickets[1].outcome
    assert isinstance(refused, FactTooLong)
    assert refused.length_bytes > refused.length_bytes_max == 65_535
    Writer(store, ZONE).run(tickets[1:2])
    assert isinstance(tickets[1].outcome, FactTooLong)
    assert len(store.facts) == 2


def test_conflicts_without_end_are_given_up(store: InMemoryFactStore) -> None:
    attempts = 0

    def conflict() -> None:
        nonlocal attempts
        attempts += 1
        raise Conflict

    store.before_append.extend([conflict] * (ATTEMPTS_MAX + 1))
    (outcome,) = run(writer(store), community("甲"))
    assert isinstance(outcome, StoreUnavailable)
    assert attempts == ATTEMPTS_MAX


def test_two_loops_racing_for_one_pool_spend_exactly_what_it_holds(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT, PoolFunded("issuance", POOL, 40, "A1"))
    grants = [[grant() for _ in range(30)] for _ in range(2)]

    def send(tickets: Sequence[Ticket]) -> None:
        with WriteLoop(writer(store)) as loop:
            for ticket in tickets:
                loop.run([ticket])

    threads = [threading.Thread(target=send, args=(tickets,)) for tickets in grants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = [ticket.outcome for tickets in grants for ticket in tickets]
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 40
    assert [outcome for outcome in outcomes if isinstance(outcome, Refusal)] == [BalanceTooLow(POOL, 0, 1, 0)] * 20
    assert sum(isinstance(fact, MinutesGranted) for fact in store.facts) == 40


# ── Memory ───────────────────────────────────────────────────────────────────────────────────────────────────


def story() -> Iterator[list[Ticket]]:
    """Batches that touch many entities again and again."""
    day = iter(range(1, 22))
    for round_ in range(6):
        batch = [ticket(fund_pool, FundPool(community=XINZHU, minutes=45)), grant(30)]
        for volunteer in ("V1", "V2", "V4"):
            start = at(f"11-{next(day):02} 09:00")
            hours = LogHours(
                record=f"{volunteer}-{round_}",
                volunteer=volunteer,
                recipient_household="H2",
                service="助餐",
                started_at=start,
                ended_at=start.replace(hour=10 + round_ // 3),
            )
            batch.append(ticket(log, hours))
            batch.append(ticket(confirm, ConfirmHours(record=f"{volunteer}-{max(0, round_ - 1)}"), actor=STAFF))
        yield batch


@pytest.mark.parametrize("states_max", [1, 3, 10])
def test_a_small_memory_decides_as_a_large_one_and_as_none(states_max: int) -> None:
    def told(make: Callable[[InMemoryFactStore], Callable[[], Writer]]) -> tuple[list[Fact], list[Any]]:
        store = InMemoryFactStore()
        recorded(store, *DISTRICT)
        next_writer = make(store)
        outcomes = [outcome for batch in story() for outcome in run(next_writer(), *batch)]
        return store.facts, [outcome.facts if isinstance(outcome, Accepted) else outcome for outcome in outcomes]

    def lasting(**options: Any) -> Callable[[InMemoryFactStore], Callable[[], Writer]]:
        def make(store: InMemoryFactStore) -> Callable[[], Writer]:
            one = writer(store, **options)
            return lambda: one

        return make

    large = told(lasting())
    assert told(lasting(states_max=states_max)) == large
    assert told(lambda store: lambda: writer(store)) == large
    assert {type(outcome).__name__ for outcome in large[1]} >= {"tuple", "RecordAlreadySettled"}


def test_a_batch_that_needs_more_than_the_memory_keeps_is_decided_all_the_same(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT)
    rows = tuple(
        LogHours(volunteer="V1", service="助洁", started_at=at(f"11-{n:02} 09:00"), ended_at=at(f"11-{n:02} 10:00"))
        for n in range(1, 20)
    )
    reads, read_boundary = 0, store.read_boundary

    def bounded(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        assert reads < 200, "the loop reads the same states again and again"
        return read_boundary(*arguments)

    store.read_boundary = bounded  # type: ignore[method-assign]
    (outcome,) = run(writer(store, states_max=2), ticket(log_many, LogManyHours(hours=rows)))
    assert len(outcome.facts) == 19


def test_known_states_are_not_read_again(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT)
    same, asked = writer(store), []
    read_boundary = store.read_boundary

    def listening(tags: Any, *others: Any) -> Any:
        asked.append([tag for tag in tags if not tag.startswith("command:")])
        return read_boundary(tags, *others)

    store.read_boundary = listening  # type: ignore[method-assign]
    run(same, grant())
    assert any(asked)
    asked.clear()
    run(same, grant())
    assert asked == [[]]


@pytest.mark.parametrize("position", [1, len(DISTRICT), len(DISTRICT) + 1, len(DISTRICT) + 2, 1000])
def test_a_recalled_balance_and_the_facts_after_it_make_the_balance(store: InMemoryFactStore, position: int) -> None:
    """Whatever the position of what is recalled: behind what this process knows of, at it, or ahead of it."""
    recorded(store, *DISTRICT, PoolFunded("issuance", POOL, 20, "A1"))
    late = writer(store)
    run(late, community("甲"))
    recorded(store, PoolFunded("issuance", POOL, 3, "A1"))
    store.recall_position = position
    store.before_append.append(lambda: recorded(store, PoolFunded("issuance", POOL, 2, "A1")))
    first, too_much, last = run(late, grant(24), grant(2), grant(1))
    assert isinstance(first, Accepted)
    assert too_much == BalanceTooLow(POOL, 1, 2, 0)
    assert isinstance(last, Accepted)
    assert run(writer(store), grant()) == [BalanceTooLow(POOL, 0, 1, 0)]


def test_a_recalled_balance_that_is_ahead_of_what_was_read_counts_nothing_twice(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT, PoolFunded("issuance", POOL, 20, "A1"))
    store.recall_position = 1000
    recall = store.recall

    def overtaken(readings: Any) -> Any:
        if any(reading.tag == "account:" + POOL for reading in readings):
            recorded(store, PoolFunded("issuance", POOL, 3, "A1"))
        return recall(readings)

    store.recall = overtaken  # type: ignore[method-assign]
    assert run(writer(store), grant(24)) == [BalanceTooLow(POOL, 23, 24, 0)]


@pytest.mark.parametrize("position", [0, 1, len(DISTRICT) + 1, 1000])
def test_another_fold_of_a_recalled_account_is_told_all_its_facts(store: InMemoryFactStore, position: int) -> None:
    recorded(store, *DISTRICT, PoolFunded("issuance", POOL, 20, "A1"), PoolFunded("issuance", POOL, 3, "A1"))
    store.recall_position = position

    def both(_: Any, __: Context) -> Decision:
        account, savings = yield from read(Account.of(POOL), Savings.of(POOL))
        assert savings.account == account
        return Decided(0, (PoolFunded("issuance", POOL, sum(credit.minutes for credit in savings.credits), "A1"),))

    (outcome,) = run(writer(store), ticket(both, RegisterCommunity(community="x")))
    assert isinstance(outcome, Accepted)
    assert outcome.facts == (PoolFunded("issuance", POOL, 23, "A1"),)


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_loop_finishes_what_was_submitted_before_it_stops(store: InMemoryFactStore) -> None:
    loop = WriteLoop(writer(store))
    told: list[Ticket] = []
    tickets = [community(f"社区{n}") for n in range(BATCH_COMMANDS_MAX + 3)]
    for each in tickets:
        each.done = told.append
    loop.submit(*tickets)  # before it starts, so that all are still waiting when it is told to stop
    with loop:
        pass
    assert told == tickets
    assert [each.outcome.position for each in tickets] == list(range(1, len(tickets) + 1))  # type: ignore[union-attr]
    assert store.appends == 2
    with pytest.raises(StoreUnavailable):
        loop.submit(community("太晚"))


def test_too_many_waiting_commands_are_turned_away_and_none_of_them_is_taken(
    store: InMemoryFactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_loop, "WAITING_COMMANDS_MAX", 2)
    loop = WriteLoop(writer(store))
    loop.submit(community("甲"))
    with pytest.raises(StoreUnavailable, match="overloaded"):
        loop.submit(community("乙"), community("丙"))
    loop.submit(community("丁"))
    with loop:
        pass
    assert store.facts == [CommunityRegistered("甲", "甲"), CommunityRegistered("丁", "丁")]


def test_run_waits_for_all_its_outcomes(store: InMemoryFactStore) -> None:
    with WriteLoop(writer(store)) as loop:
        tickets = [community("甲"), grid("没有"), community("乙")]
        loop.run(tickets)
        assert [type(each.outcome).__name__ for each in tickets] == ["Accepted", "UnknownCommunity", "Accepted"]


def test_outcomes_are_delivered_a_batch_at_a_time(store: InMemoryFactStore) -> None:
    batches: list[list[Ticket]] = []
    loop = WriteLoop(writer(store), batches.append)
    tickets = [community("甲"), community("乙")]
    loop.submit(*tickets)
    with loop:
        pass
    assert batches == [tickets]


def test_a_batch_that_fails_altogether_is_told_and_the_loop_goes_on(store: InMemoryFactStore) -> None:
    def fail() -> None:
        raise RuntimeError("a defect of the store")

    store.before_append.append(fail)
    with WriteLoop(writer(store)) as loop:
        broken, fine = community("甲"), community("甲")
        loop.run([broken])
        loop.run([fine])
    assert isinstance(broken.outcome, RuntimeError)
    assert isinstance(fine.outcome, Accepted)


def test_a_caller_that_cannot_be_told_does_not_stop_the_loop(store: InMemoryFactStore) -> None:
    def gone(_: Ticket) -> None:
        raise RuntimeError("nobody is there any more")

    told: list[Ticket] = []
    loop = WriteLoop(writer(store))
    lost, fine, later = community("甲"), community("乙"), community("丙")
    lost.done, fine.done = gone, told.append
    loop.submit(lost, fine)  # in one batch
    with loop:
        loop.run([later])
    assert told == [fine]
    assert all(isinstance(each.outcome, Accepted) for each in (lost, fine, later))


def test_a_delivery_that_breaks_does_not_stop_the_loop(store: InMemoryFactStore) -> None:
    delivered: list[Ticket] = []

    def deliver(tickets: list[Ticket]) -> None:
        delivered.extend(tickets)
        raise RuntimeError("the service is closing")

    with WriteLoop(writer(store), deliver) as loop:
        for each in (community("甲"), community("乙")):
            loop.submit(each)
    assert [type(each.outcome) for each in delivered] == [Accepted, Accepted]


# ── Ids ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_new_ids_are_uuids_of_version_7_that_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_loop.time, "time_ns", iter(range(10**18, 10**18 + 10**9, 10**6)).__next__)
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(ids)
    assert {(UUID(each).version, UUID(each).variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert UUID(ids[0]).int >> 80 == 10**12


def test_a_process_that_was_forked_makes_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_loop.time, "time_ns", lambda: 10**18)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        os.close(writing)
        assert told.read() != new_id()


def test_a_commands_id_keeps_actors_apart_and_shows_nobodys_key() -> None:
    pairs = [("a", "bc"), ("ab", "c"), ("a", "b:c"), ("a:b", "c"), ("", "abc"), ("1:a", "b"), ("𠮷", "k")]
    ids = [command_id(*pair) for pair in pairs]
    assert len(set(ids)) == len(pairs)
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_a_digest_is_of_what_is_done_and_of_every_field() -> None:
    a = RegisterCommunity(community="甲")
    digests = {
        command_digest(register_community, a),
        command_digest(register_grid, a),
        command_digest(register_community, RegisterCommunity(community="甲", name="甲")),
        command_digest(register_community, RegisterCommunity(community="乙")),
        *(command_digest(decide, command) for decide, command in COMMAND_EXAMPLES.items()),
    }
    assert len(digests) == 4 + len(COMMAND_EXAMPLES)
    assert command_digest(register_community, a) == command_digest(
        register_community, RegisterCommunity(community="甲")
    )


def test_a_name_for_the_vault_is_no_part_of_a_digest() -> None:
    named, unnamed = (RegisterMember(member="V7", household="H2", name=name) for name in ("张𠮷", None))
    assert command_digest(log, named) == command_digest(log, unnamed)


def test_every_example_goes_through_the_loop_as_through_its_decision(store: InMemoryFactStore) -> None:
    recorded(store, *DISTRICT)
    command = COMMAND_EXAMPLES[log]
    told = ticket(log, command, actor=STAFF)
    (outcome,) = run(writer(store), told)
    assert outcome.facts == given(DISTRICT).when(log, command, actor=STAFF, command_id=told.id).accepted
