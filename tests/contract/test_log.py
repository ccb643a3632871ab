"""The log: every fact sealed once, by however many sealers, and nothing signed that hasn't grown from what was."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.dcb.api import DCBEvent
from psycopg import AsyncConnection

from domain.checkpoint import Checkpoint
from domain.leaf import Leaf, unbundled
from domain.merkle import TILE_HASHES, Tile, is_included, leaf_hash, root, tile_width, tiles_in
from infrastructure.journal import CHANNEL, PostgresJournal
from infrastructure.log import (
    BATCH_FACTS,
    LogDamaged,
    Sealer,
    SealerThread,
    checkpoint_holding,
    entry_bundle,
    newest_checkpoint,
    older_checkpoints,
    receipt,
    tile_hashes,
    tiles_hashes,
)
from infrastructure.schema import SERVICE_ROLE
from infrastructure.signing import SigningKey, create_key, read_key, rotate_key, verified
from tests.contract.test_signing import NOW

LEDGER, RACERS, DEADLINE_SECONDS = "qingxiu", 16, 60
T = TypeVar("T")


def record(journal: PostgresJournal, count: int) -> None:
    journal.append([DCBEvent("a.v1", b'{"n":%d}' % n, [f"a:{n}", "command:" + uuid4().hex]) for n in range(count)])


def leaves(journal: PostgresJournal) -> list[bytes]:
    return [
        Leaf(LEDGER, *fact[:3], tuple(fact.tags), fact.data).encoded() for facts in journal.scan() for fact in facts
    ]


@pytest.fixture
def key(tmp_path: Path) -> Callable[[], SigningKey | None]:
    create_key(tmp_path, LEDGER)
    return lambda: read_key(tmp_path, LEDGER)


@pytest.fixture
def new_sealer(
    journal_url: str, journal: PostgresJournal, key: Callable[[], SigningKey | None]
) -> Iterator[Callable[[], Sealer]]:
    """Makes sealers, each with a connection of its own and the service's rights."""
    with ExitStack() as stack:

        def make() -> Sealer:
            address = psycopg.conninfo.make_conninfo(
                journal_url, options=f"-c role={SERVICE_ROLE}", application_name="sealer"
            )
            return stack.enter_context(closing(Sealer(address, LEDGER, CHANNEL, journal.scan, key)))

        yield make


def asked(journal_url: str, query: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with await AsyncConnection.connect(journal_url, autocommit=True) as connection:
            return await query(connection)

    return asyncio.run(ask())


def changed(journal_url: str, statement: str) -> None:
    """As somebody who owns the database would."""
    with psycopg.connect(journal_url) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("count", [1, 255, 256, 257, BATCH_FACTS, BATCH_FACTS * 2 + 3])
def test_the_log_is_the_tree_over_the_exact_stored_bytes(
    journal_url: str,
    journal: PostgresJournal,
    new_sealer: Callable[[], Sealer],
    key: Callable[[], SigningKey],
    count: int,
) -> None:
    record(journal, count)
    sealer = new_sealer()
    assert sealer.catch_up() == count
    note = sealer.sign()
    assert note is not None
    hashes = [leaf_hash(leaf) for leaf in leaves(journal)]
    assert Checkpoint.parse(verified(note, [key().verifier])) == Checkpoint(LEDGER, count, root(hashes))
    assert asked(journal_url, lambda connection: newest_checkpoint(connection, LEDGER)) == note
    for number in range(count // TILE_HASHES + 1):
        width = tile_width(count, 0, number)
        tile = asked(journal_url, lambda c, n=number, w=width: tile_hashes(c, LEDGER, Tile(0, n, w)))
        if width:
            assert tile == b"".join(hashes[number * TILE_HASHES :][:width])
            entries = asked(journal_url, lambda c, n=number, w=width: entry_bundle(c, LEDGER, n, w))
            assert entries is not None
            assert unbundled(entries) == leaves(journal)[number * TILE_HASHES :][:width]


def test_partial_tiles_stay_after_they_became_full(
    journal_url: str, journal: PostgresJournal, new_sealer: Callable[[], Sealer]
) -> None:
    sealer = new_sealer()
    record(journal, 200)
    sealer.catch_up()
    before = asked(journal_url, lambda connection: tile_hashes(connection, LEDGER, Tile(0, 0, 200)))
    assert asked(journal_url, lambda connection: tile_hashes(connection, LEDGER, Tile(0, 0))) is None
    assert asked(journal_url, lambda connection: entry_bundle(connection, LEDGER, 0, 201)) is None
    record(journal, 100)
    sealer.catch_up()
    assert asked(journal_url, lambda connection: tile_hashes(connection, LEDGER, Tile(0, 0, 200))) == before
    full = asked(journal_url, lambda connection: tile_hashes(connection, LEDGER, Tile(0, 0)))
    assert full is not None
    assert before is not None
    assert full.startswith(before)
    top = asked(journal_url, lambda connection: tile_hashes(connection, LEDGER, Tile(1, 0, 1)))
    assert top == root([full[at : at + 32] for at in range(0, 8192, 32)])


def test_every_fact_has_a_receipt_once_a_checkpoint_holds_it(
    journal_url: str, journal: PostgresJournal, new_sealer: Callable[[], Sealer], key: Callable[[], SigningKey]
) -> None:
    record(journal, 600)
    sealer = new_sealer()
    sealer.catch_up()
    assert asked(journal_url, lambda connection: receipt(connection, LEDGER, 1)) is None
    sealer.sign()
    record(journal, 300)
    sealer.catch_up()  # the tree is beyond the checkpoint now
    for position, leaf in enumerate(leaves(journal)[:600:37]):
        position = position * 37 + 1
        found = asked(journal_url, lambda connection, p=position: receipt(connection, LEDGER, p))
        assert found is not None
        checkpoint = Checkpoint.parse(verified(found.checkpoint, [key().verifier]))
        assert (checkpoint.size, found.leaf) == (600, leaf)
        assert is_included(leaf_hash(leaf), position - 1, 600, found.path, checkpoint.root)
        assert found.proven(checkpoint).position == position
    assert asked(journal_url, lambda connection: receipt(connection, LEDGER, 601)) is None


def test_sixteen_sealers_at_once_take_every_fact_in_once(
    journal: PostgresJournal, new_sealer: Callable[[], Sealer], key: Callable[[], SigningKey]
) -> None:
    sealers = [new_sealer() for _ in range(RACERS)]
    barrier = threading.Barrier(RACERS)

    def race(sealer: Sealer) -> set[str | None]:
        barrier.wait()
        notes = set()
        for _ in range(5):
            record(journal, 70)
            sealer.catch_up()
            notes.add(sealer.sign())
        return notes

    with ThreadPoolExecutor(RACERS) as pool:
        notes = set[str | None]().union(*pool.map(race, sealers))
    sealers[0].catch_up()
    notes.add(sealers[0].sign())
    hashes = [leaf_hash(leaf) for leaf in leaves(journal)]
    assert len(hashes) == RACERS * 5 * 70
    for note in notes:
        assert note is not None
        checkpoint = Checkpoint.parse(verified(note, [key().verifier]))
        assert checkpoint.root == root(hashes[: checkpoint.size])
    assert max(Checkpoint.parse(note.partition("\n\n")[0] + "\n").size for note in notes if note) == len(hashes)


def test_a_sealer_that_dies_in_the_middle_leaves_nothing_half_done(
    journal: PostgresJournal, new_sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(journal, 700)
    dying = new_sealer()
    with monkeypatch.context() as patched:
        real = psycopg.Connection.execute

        def cut(connection: Any, query: Any, *arguments: Any) -> Any:
            if "UPDATE log_heads" in str(query):
                raise KeyboardInterrupt
            return real(connection, query, *arguments)

        patched.setattr(psycopg.Connection, "execute", cut)
        with pytest.raises(KeyboardInterrupt):
            dying.seal()
    sealer = new_sealer()
    assert sealer.catch_up() == 700
    note = sealer.sign()
    assert note is not None
    assert Checkpoint.parse(note.partition("\n\n")[0] + "\n").root == root(
        [leaf_hash(leaf) for leaf in leaves(journal)]
    )


def test_a_checkpoint_is_signed_again_only_when_the_log_or_the_key_is_another(
    journal: PostgresJournal, new_sealer: Callable[[], Sealer], tmp_path: Path
) -> None:
    sealer = new_sealer()
    assert sealer.sign() is None
    record(journal, 3)
    assert sealer.sign() is None
    sealer.catch_up()
    first = sealer.sign()
    assert first is not None
    assert sealer.sign() == first
    rotated = rotate_key(tmp_path, LEDGER, NOW)
    assert rotated is not None
    second = sealer.sign()
    assert second is not None
    assert verified(second, [rotated.verifier]) == first.partition("\n\n")[0] + "\n"
    record(journal, 1)
    sealer.catch_up()
    assert sealer.sign(seconds=60) == second
    assert sealer.sign() != second


@pytest.mark.parametrize(
    ("more", "tampering", "named"),
    [
        (
            1,
            "UPDATE log_heads SET partial[1] = set_byte(partial[1], 5, 1 - get_byte(partial[1], 5) % 2)",
            "aren't those",
        ),
        (1, "UPDATE log_heads SET size = 3, partial[1] = substr(partial[1], 1, 96)", "were signed"),
        (1, "UPDATE log_heads SET size = 700", "isn't one of its size"),
        (300, "UPDATE log_tiles SET hashes = set_byte(hashes, 9, 1 - get_byte(hashes, 9) % 2)", "aren't those"),
    ],
)
def test_a_log_that_was_changed_is_not_signed(
    journal_url: str, journal: PostgresJournal, new_sealer: Callable[[], Sealer], more: int, tampering: str, named: str
) -> None:
    sealer = new_sealer()
    record(journal, 5)
    sealer.catch_up()
    sealer.sign()
    record(journal, more)
    sealer.catch_up()
    changed(journal_url, tampering)
    with pytest.raises(LogDamaged, match=named):
        sealer.sign()


def test_the_thread_seals_what_is_recorded_and_signs_as_soon_as_nothing_more_is(
    journal_url: str, journal: PostgresJournal, new_sealer: Callable[[], Sealer]
) -> None:
    def signed(count: int) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            note = asked(journal_url, lambda connection: newest_checkpoint(connection, LEDGER))
            if note is not None and Checkpoint.parse(note.partition("\n\n")[0] + "\n").size == count:
                return
            assert time.monotonic() < deadline, note

    with SealerThread(new_sealer(), seconds=3_600):
        record(journal, 40)
        signed(40)
        with psycopg.connect(journal_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'sealer'"
            )
        record(journal, 2)
        signed(42)


def test_all_tiles_of_an_earlier_size_are_read_at_once(
    journal_url: str, journal: PostgresJournal, new_sealer: Callable[[], Sealer]
) -> None:
    sealer = new_sealer()
    record(journal, 600)
    sealer.catch_up()
    tiles = [*tiles_in(300), Tile(0, 2, 89), Tile(3, 0, 1)]
    read = asked(journal_url, lambda connection: tiles_hashes(connection, LEDGER, tiles))
    assert read[-2:] == [None, None]
    alone = [asked(journal_url, lambda c, t=tile: tile_hashes(c, LEDGER, t)) for tile in tiles[:-2]]
    assert read[:-2] == alone
    assert [len(hashes or b"") for hashes in alone] == [256 * 32, 44 * 32, 32]
    assert asked(journal_url, lambda connection: tiles_hashes(connection, LEDGER, [])) == []


def signed(journal: PostgresJournal, sealer: Sealer, count: int) -> str:
    if count:
        record(journal, count)
    sealer.catch_up()
    note = sealer.sign()
    assert note is not None
    return note


def test_of_each_day_the_last_checkpoint_of_each_key_is_kept(
    journal_url: str, journal: PostgresJournal, new_sealer: Callable[[], Sealer], tmp_path: Path
) -> None:
    sealer = new_sealer()
    notes = [signed(journal, sealer, 1) for _ in range(4)]
    rotated = rotate_key(tmp_path, LEDGER, NOW)
    assert rotated is not None
    notes.append(signed(journal, sealer, 0))
    notes += [signed(journal, sealer, 1) for _ in range(2)]
    # In Shanghai, sizes 1 and 2 were signed on one day, and all others on the next.
    for size, hour in enumerate((14, 15, 16, 17, 18, 19), 1):
        changed(journal_url, f"UPDATE log_checkpoints SET signed_at = '2026-10-31T{hour}:00:00+00' WHERE size = {size}")
    cosigned = f"{notes[0]}— witness AAAABBBB\n"
    changed(journal_url, f"UPDATE log_checkpoints SET note = '{cosigned}' WHERE size = 1")

    def older(size: int) -> dict[int, str]:
        return asked(journal_url, lambda c: older_checkpoints(c, LEDGER, size, "Asia/Shanghai"))

    assert older(6) == {1: cosigned, 2: notes[1], 4: notes[3], 5: notes[5]}
    assert older(5) == {1: cosigned, 2: notes[1], 4: joined_by(notes[3], notes[4])}
    assert older(2) == {1: cosigned}
    assert older(1) == {}
    assert list(older(6)) == [1, 2, 4, 5]
    verified(older(5)[4], [rotated.verifier])

    def holding(position: int) -> str | None:
        return asked(journal_url, lambda c: checkpoint_holding(c, LEDGER, position))

    assert [holding(1), holding(3), holding(4), holding(6), holding(7)] == [
        *(cosigned, notes[2], notes[3], notes[6], None)
    ]
    # Whoever has the key can sign another tree of the same size: that is not left out, but told.
    other = "\n".join([LEDGER, "4", "A" * 43 + "=", "", "— qingxiu AAAABBBB", ""])
    changed(
        journal_url,
        f"INSERT INTO log_checkpoints (ledger, size, note, signed_at) VALUES ('{LEDGER}', 4, '{other}', '2026-10-31')",
    )
    with pytest.raises(LogDamaged, match="two roots were signed for 4 facts"):
        older(6)


def joined_by(*notes: str) -> str:
    """One note with the signatures of all."""
    return notes[0] + "".join(note.rpartition("\n\n")[2] for note in notes[1:])
