"""The Merkle log behind the journal: sealed in batches, signed now and then, and read as tiles, bundles and receipts.

Every process may run a sealer. Whoever seals holds the log's head, so tiles and head are one commit and every fact is
taken in once, however many processes there are and whenever one dies. A checkpoint is signed while the head is held,
too, and only where the tree proves to have grown from the last one that was signed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
import psycopg
from psycopg import AsyncConnection, Connection, sql
from psycopg.rows import class_row

from domain.checkpoint import Checkpoint, Consistency, Receipt, joined, signatures, signer
from domain.leaf import bundle, encoder
from domain.merkle import (
    HASH_BYTES,
    TILE_HASHES,
    TILE_HEIGHT,
    Frontier,
    Range,
    Tile,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    leaf_hashes,
    proof,
    tile_width,
    tiles_of,
)
from infrastructure.journal import StoredFact
from infrastructure.signing import SigningKey
from infrastructure.stopping import Stopping

logger = logging.getLogger(__name__)

BATCH_FACTS: Final = 4 * TILE_HASHES
"""Facts that are sealed at a time: few, for the writer waits for this thread while it hashes."""
QUIET_SECONDS: Final = 0.1
"""How long the sealer lets facts gather while they keep coming."""
NEWS_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 1.0
"""How long nothing must have been recorded before what was is signed, however recent the last checkpoint is."""
RECONNECT_SECONDS_MAX: Final = 5.0
COSIGNATURES_WEIGHED_MAX: Final = 1_000
"""How many of the latest cosignatures are looked at for the checkpoint that most witnesses have signed."""

NO_KEY: Final = (
    "证据日志没有签名：请运行 timebank keys init。 / The evidence log is not being signed: run `timebank keys init`."
)

Scan = Callable[[int, int], Iterable[list[StoredFact]]]
"""Facts after a position, up to another or to the head, in order."""


class LogDamaged(Exception):
    """The log isn't one that has only grown: it is neither sealed on nor signed until somebody has looked into it."""

    def __init__(self, reason_zh: str, reason_en: str) -> None:
        super().__init__(f"证据日志已损坏：{reason_zh}。 / The evidence log is damaged: {reason_en}.")


class Sealer:
    """Takes one ledger's facts into its log, over a connection of its own.

    ``key`` reads the ledger's key each time, so that one that is rotated signs at once; None: there is none yet.
    """

    def __init__(
        self, address: str, ledger: str, channel: str, scan: Scan, key: Callable[[], SigningKey | None]
    ) -> None:
        self._address = address
        self._ledger = ledger
        self._channel = channel
        self._scan = scan
        self._key = key
        self._encode = encoder(ledger)
        self._connection: Connection[Any] | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def catch_up(self) -> int:
        """Seal everything up to the head; returns the log's size. Raises: LogDamaged, LeafTooLong."""
        while True:
            size, more = self.seal()
            if not more:
                return size

    def seal(self) -> tuple[int, bool]:
        """Seal the next batch; returns the log's size, and whether there is more. Raises: LogDamaged, LeafTooLong."""
        connection = self._connect()
        rows = connection.execute(
            "SELECT coalesce(log.size, 0), journal.head FROM ledgers journal LEFT JOIN log_heads log USING (ledger)"
            " WHERE ledger = %s",
            (self._ledger,),
        ).fetchall()
        size, head = rows[0] if rows else (0, 0)
        if size >= head:  # nearly always, and then nothing is locked
            return size, False
        try:
            with connection.transaction():
                # What is lost with a crash is sealed again; a checkpoint waits for the disk, for this as well.
                connection.execute("SET LOCAL synchronous_commit TO off")
                frontier = self._hold()
                full: list[tuple[Tile, bytes]] = []
                for facts in self._scan(frontier.size, frontier.size + BATCH_FACTS):
                    full += frontier.extend(self._hashes(facts, frontier.size))
                self._write(full, frontier)
        except psycopg.errors.UniqueViolation as error:
            raise LogDamaged("已有更靠后的瓦片", "it has tiles beyond its head") from error
        return frontier.size, frontier.size < head

    def sign(self, seconds: float = 0) -> str | None:
        """The newest checkpoint: a new one where the log has grown or the key is another, unless one was signed within
        the last so many seconds. None where there is no key or nothing to sign. Raises: LogDamaged, SigningKeyUnusable.
        """
        key = self._key()
        if key is None:
            return None
        connection = self._connect()
        with connection.transaction():
            frontier = self._hold()
            found = connection.execute(
                "SELECT size, note, clock_timestamp() - signed_at < make_interval(secs => %s) FROM log_checkpoints"
                " WHERE ledger = %s ORDER BY number DESC LIMIT 1",
                (seconds, self._ledger),
            ).fetchone()
            if not frontier.size:
                return None if found is None else str(found[1])
            checkpoint = Checkpoint(self._ledger, frontier.size, frontier.root())
            note = key.sign(checkpoint.text())
            if found is not None:
                if found[1] == note or found[2]:
                    return str(found[1])
                self._require_growth(_unsigned(found[1]), checkpoint, frontier)
            connection.execute(
                "INSERT INTO log_checkpoints (ledger, size, note) VALUES (%s, %s, %s)",
                (self._ledger, frontier.size, note),
            )
        return note

    def _require_growth(self, last: Checkpoint, checkpoint: Checkpoint, frontier: Frontier) -> None:
        """What was signed must be how the tree began. Raises: LogDamaged."""
        if last.size > checkpoint.size:
            raise LogDamaged(
                f"签过 {last.size} 条，现在只有 {checkpoint.size} 条",
                f"{last.size} facts were signed, and it holds {checkpoint.size}",
            )
        ranges = consistency_ranges(last.size, checkpoint.size)
        wanted = tiles_of(ranges, checkpoint.size)
        rows = self._connect().execute(_SELECT_TILES, _tile_parameters(self._ledger, wanted)).fetchall()
        read = _reader(rows, frontier.partial)
        if not is_consistent(*last[1:], *checkpoint[1:], proof(ranges, checkpoint.size, read)):
            raise LogDamaged(
                f"前 {last.size} 条已不是签过的那些", f"its first {last.size} facts aren't those that were signed"
            )

    def _hashes(self, facts: Sequence[StoredFact], size: int) -> bytes:
        """Raises: LogDamaged where a position is missing or comes twice; LeafTooLong."""
        if [fact.position for fact in facts] != list(range(size + 1, size + len(facts) + 1)):
            raise LogDamaged(f"位置 {size} 之后不连续", f"positions after {size} are not in a row")
        encode = self._encode
        return leaf_hashes([encode(*fact) for fact in facts])

    def _hold(self) -> Frontier:
        """The log's head, which nobody else moves until the transaction ends. Raises: LogDamaged."""
        connection = self._connect()
        connection.execute("INSERT INTO log_heads (ledger) VALUES (%s) ON CONFLICT DO NOTHING", (self._ledger,))
        ((size, partial),) = connection.execute(
            "SELECT size, partial FROM log_heads WHERE ledger = %s FOR NO KEY UPDATE", (self._ledger,)
        ).fetchall()
        try:
            return Frontier(size, partial)
        except ValueError as error:
            raise LogDamaged("日志头与条数不符", "its head isn't one of its size") from error

    def _write(self, full: Sequence[tuple[Tile, bytes]], frontier: Frontier) -> None:
        connection = self._connect()
        if full:
            connection.execute(
                "INSERT INTO log_tiles (ledger, level, number, hashes) SELECT %s, * FROM"
                " unnest(%s::smallint[], %s::bigint[], %b::bytea[])",
                (
                    self._ledger,
                    [tile.level for tile, _ in full],
                    [tile.number for tile, _ in full],
                    [hashes for _, hashes in full],
                ),
            )
        connection.execute(
            "UPDATE log_heads SET size = %s, partial = %b WHERE ledger = %s",
            (frontier.size, frontier.partial, self._ledger),
        )

    def _connect(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            connection = psycopg.connect(self._address, autocommit=True)
            connection.execute(sql.SQL("LISTEN {0}").format(sql.Identifier(self._channel)))
            self._connection = connection
        return self._connection

    def wait_for_news(self, timeout_seconds: float, stopping: Stopping) -> None:
        """Return when something was appended to any ledger, after the time, or when it is to stop."""
        stopping.wait_for_news(self._connect(), timeout_seconds)


class SealerThread:
    """A sealer that follows the journal in a thread of its own, and reconnects when its connection drops.

    It signs a checkpoint once in so many seconds while facts keep coming, and as soon as they don't.
    """

    def __init__(self, sealer: Sealer, seconds: float) -> None:
        self._sealer = sealer
        self._seconds = seconds
        self._stopping = Stopping()
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)

    def __enter__(self) -> "SealerThread":
        self._stopping.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._stopping.close()

    def _run(self) -> None:
        pause = QUIET_SECONDS
        size, grown_at, signed, warned = 0, time.monotonic(), -1, False
        signed_at = time.monotonic() - self._seconds
        while not self._stopping.is_set():
            try:
                before = size
                size, more = self._sealer.seal()
                now = time.monotonic()
                if size != before:
                    grown_at = now
                idle = not more and now - grown_at >= IDLE_SECONDS
                if (idle and size != signed) or now - signed_at >= self._seconds:
                    if self._sealer.sign(0 if idle else self._seconds) is not None:
                        signed = size
                    elif size and not warned:
                        logger.warning(NO_KEY)
                        warned = True
                    signed_at = now
                pause = QUIET_SECONDS
                if not more:
                    self._stopping.wait(QUIET_SECONDS)
                    self._sealer.wait_for_news(NEWS_SECONDS, self._stopping)
            except LogDamaged as error:
                logger.error("the sealer stops: %s", error)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is: receipts wait for this thread
                logger.warning("the sealer failed and will try again: %r", error)
                self._sealer.close()
                self._stopping.wait(pause)
                pause = min(RECONNECT_SECONDS_MAX, pause * 2)
        self._sealer.close()


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

_SELECT_TILES: Final = (
    "SELECT level, number, hashes FROM log_tiles"
    " JOIN unnest(%(levels)s::smallint[], %(numbers)s::bigint[]) AS wanted (level, number) USING (level, number)"
    " WHERE ledger = %(ledger)s"
)


def _tile_parameters(ledger: str, tiles: Iterable[Tile]) -> dict[str, object]:
    wanted = list(tiles)
    return {"ledger": ledger, "levels": [tile.level for tile in wanted], "numbers": [tile.number for tile in wanted]}


def _reader(rows: Iterable[tuple[int, int, bytes]], partial: Sequence[bytes]) -> Callable[[Tile], bytes]:
    full = {(level, number): hashes for level, number, hashes in rows}
    return lambda tile: full[tile[:2]] if tile[:2] in full else partial[tile.level]


def _unsigned(note: str) -> Checkpoint:
    """What a note of our own says; its signature is another's to check."""
    return Checkpoint.of_note(note)


class SealedLog:
    """One ledger's log as it is stored, for whoever computes it again: over a connection of its own, as of one moment.

    ``checkpoints`` are all that were ever signed, in order, each with its size as it is stored beside the note.
    """

    def __init__(self, connection: Connection[Any], ledger: str) -> None:
        self._connection = connection
        self._ledger = ledger
        rows = connection.execute("SELECT size, partial FROM log_heads WHERE ledger = %s", (ledger,)).fetchall()
        self.size: int = rows[0][0] if rows else 0
        self._partial: list[bytes] = rows[0][1] if rows else []
        self.checkpoints: list[tuple[int, str]] = connection.execute(
            "SELECT size, note FROM log_checkpoints WHERE ledger = %s ORDER BY number", (ledger,)
        ).fetchall()

    def tile(self, tile: Tile) -> bytes | None:
        """The first hashes of a tile, as many as it is wide; None where they aren't there."""
        rows = self._connection.execute(_SELECT_TILES, _tile_parameters(self._ledger, [tile]), prepare=True).fetchall()
        of_head = tile.number == self.size >> TILE_HEIGHT * (tile.level + 1) and tile.level < len(self._partial)
        hashes: bytes = rows[0][2] if rows else self._partial[tile.level] if of_head else b""
        return hashes[: tile.width * HASH_BYTES] if len(hashes) >= tile.width * HASH_BYTES else None

    def head_is_of_its_size(self) -> bool:
        """Whether the last tiles are those that a tree of that size has."""
        try:
            Frontier(self.size, self._partial)
        except ValueError:
            return False
        return True

    def stray_tiles(self) -> int:
        """How many tiles are stored beyond those that a tree of that size has."""
        ((count,),) = self._connection.execute(
            "SELECT count(*) FROM log_tiles WHERE ledger = %s AND number >= (%s::bigint >> (8 * (level + 1)))",
            (self._ledger, self.size),
        ).fetchall()
        return int(count)


_COSIGNED: Final = (
    "note || coalesce((SELECT string_agg(line, '' ORDER BY cosigned_at, witness) FROM log_cosignatures"
    " WHERE ledger = signed.ledger AND size = signed.size), '')"
)
_SELECT_COSIGNED: Final = f"SELECT {_COSIGNED} FROM log_checkpoints signed WHERE ledger = %s"


class SignedSize(msgspec.Struct):
    """A size that a checkpoint was signed for, when, and how many witnesses have cosigned it."""

    size: int
    signed_at: datetime
    cosignatures: int


async def newest_checkpoint(connection: AsyncConnection[Any], ledger: str) -> str | None:
    """The signed checkpoint, with the cosignatures that there are; None where none was signed yet."""
    return await _note(connection, f"{_SELECT_COSIGNED} ORDER BY number DESC LIMIT 1", ledger)


async def checkpoint_of(connection: AsyncConnection[Any], ledger: str, size: int) -> str | None:
    """The checkpoint of a size, with its cosignatures, as the ledger's last key signed it; None where none was."""
    return await _note(connection, f"{_SELECT_COSIGNED} AND size = %s ORDER BY number DESC LIMIT 1", ledger, size)


async def checkpoints(connection: AsyncConnection[Any], ledger: str, after: int, limit: int) -> list[SignedSize]:
    """The sizes beyond one that checkpoints were signed for, smallest first."""
    cursor = connection.cursor(row_factory=class_row(SignedSize))
    await cursor.execute(
        "SELECT size, min(signed_at) AS signed_at, (SELECT count(*) FROM log_cosignatures WHERE ledger = signed.ledger"
        " AND size = signed.size) AS cosignatures FROM log_checkpoints signed WHERE ledger = %s AND size > %s"
        " GROUP BY ledger, size ORDER BY size LIMIT %s",
        (ledger, after, limit),
    )
    return await cursor.fetchall()


async def best_checkpoint(connection: AsyncConnection[Any], ledger: str, position: int) -> str | None:
    """The checkpoint to prove a position at: of the latest that witnesses have cosigned the one that most have, where
    one of them holds it; else the newest. None where none holds it."""
    cursor = await connection.execute(
        "SELECT size FROM (SELECT size FROM log_cosignatures WHERE ledger = %s AND size >= %s"
        " ORDER BY size DESC LIMIT %s) AS latest GROUP BY size ORDER BY count(*) DESC, size DESC LIMIT 1",
        (ledger, position, COSIGNATURES_WEIGHED_MAX),
    )
    row = await cursor.fetchone()
    note = None if row is None else await checkpoint_of(connection, ledger, row[0])
    if note is None:
        note = await newest_checkpoint(connection, ledger)
    return None if note is None or signed_size(note) < position else note


async def consistency(
    connection: AsyncConnection[Any], ledger: str, older: int, newer: int, *, cosigned: bool = False
) -> Consistency | None:
    """The proof between the checkpoints of two sizes; None where one of them was never signed.

    Both are as they were signed first, which never changes, or with the cosignatures that there are by now.
    """
    first = "SELECT note FROM log_checkpoints WHERE ledger = %s AND size = %s ORDER BY number LIMIT 1"
    notes = [
        await checkpoint_of(connection, ledger, size) if cosigned else await _note(connection, first, ledger, size)
        for size in (older, newer)
    ]
    if notes[0] is None or notes[1] is None or older > newer:
        return None
    path = await _proof(connection, ledger, consistency_ranges(older, newer), newer)
    return Consistency(notes[0], notes[1], tuple(path))


def signed_size(note: str) -> int:
    """The size of a checkpoint of our own."""
    return _unsigned(note).size


async def _note(connection: AsyncConnection[Any], query: str, *parameters: object) -> str | None:
    cursor = await connection.execute(query.encode(), parameters)
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def checkpoint_holding(connection: AsyncConnection[Any], ledger: str, position: int) -> str | None:
    """The first checkpoint that holds a position, with its cosignatures; None where none was signed yet."""
    return await _note(connection, f"{_SELECT_COSIGNED} AND size >= %s ORDER BY size, number LIMIT 1", ledger, position)


async def older_checkpoints(connection: AsyncConnection[Any], ledger: str, size: int, zone: str) -> dict[int, str]:
    """Checkpoints of fewer facts, by how many: of each day the last one that each key has signed. Raises: LogDamaged.

    A busy ledger signs thousands a day. To whoever kept another one a tree proves by itself that it grew from that.
    """
    cursor = await connection.execute(
        "SELECT size FROM log_checkpoints WHERE ledger = %s GROUP BY size"
        " HAVING min(split_part(note, E'\\n\\n', 1)) <> max(split_part(note, E'\\n\\n', 1)) ORDER BY size LIMIT 1",
        (ledger,),
    )
    if (forked := await cursor.fetchone()) is not None:
        raise LogDamaged(f"{forked[0]} 条签过两个根", f"two roots were signed for {forked[0]} facts")
    last: dict[tuple[date, tuple[str, bytes]], tuple[int, str]] = {}
    try:
        async with connection.transaction(), connection.cursor("older_checkpoints") as stored:
            await stored.execute(
                f"SELECT size, {_COSIGNED}, (signed_at AT TIME ZONE %s)::date FROM log_checkpoints signed"
                " WHERE ledger = %s AND size < %s ORDER BY number",
                (zone, ledger, size),
            )
            async for signed_size, note, signed_on in stored:
                for line in signatures(note):
                    last[signed_on, signer(line)] = signed_size, note
    except ValueError:
        raise LogDamaged("某个检查点不是签名的文本", "a checkpoint is no signed note") from None
    notes: dict[int, list[str]] = {}
    for signed_size, note in last.values():
        notes.setdefault(signed_size, []).append(note)
    return {signed_size: joined(notes[signed_size]) for signed_size in sorted(notes)}


async def _head(connection: AsyncConnection[Any], ledger: str) -> tuple[int, list[bytes]]:
    cursor = await connection.execute("SELECT size, partial FROM log_heads WHERE ledger = %s", (ledger,))
    return await cursor.fetchone() or (0, [])


async def tile_hashes(connection: AsyncConnection[Any], ledger: str, tile: Tile) -> bytes | None:
    """The hashes of a tile, full or partial; None where the log hasn't so many."""
    (hashes,) = await tiles_hashes(connection, ledger, [tile])
    return hashes


async def tiles_hashes(connection: AsyncConnection[Any], ledger: str, tiles: Sequence[Tile]) -> list[bytes | None]:
    """As `tile_hashes`, of many tiles at once."""
    # The head before the tiles: what is partial in one and full in the other is then found in one of them at least.
    size, partial = await _head(connection, ledger)
    there = [tile for tile in tiles if tile.width <= tile_width(size, tile.level, tile.number)]
    cursor = await connection.execute(_SELECT_TILES, _tile_parameters(ledger, there))
    read = _reader(await cursor.fetchall(), partial)
    return [read(tile)[: tile.width * HASH_BYTES] if tile in there else None for tile in tiles]


_SELECT_FACTS: Final = (
    "SELECT position, (extract(epoch FROM recorded_at) * 1000000)::bigint, type, tags, data FROM facts"
    " WHERE ledger = %s"
)


async def _leaves(connection: AsyncConnection[Any], ledger: str, after: int, to: int) -> list[bytes]:
    cursor = await connection.execute(
        f"{_SELECT_FACTS} AND position > %s AND position <= %s ORDER BY position", (ledger, after, to)
    )
    encode = encoder(ledger)
    return [encode(*row) for row in await cursor.fetchall()]


async def entry_bundle(connection: AsyncConnection[Any], ledger: str, number: int, width: int) -> bytes | None:
    """The leaves of a tile of level 0, each after its length; None where the log hasn't so many."""
    size, _ = await _head(connection, ledger)
    if width > tile_width(size, 0, number):
        return None
    first = number * TILE_HASHES
    return bundle(await _leaves(connection, ledger, first, first + width))


async def receipt(connection: AsyncConnection[Any], ledger: str, position: int) -> Receipt | None:
    """The receipt of a fact, in a checkpoint that witnesses have cosigned where one holds it; None where none does."""
    note = await best_checkpoint(connection, ledger, position)
    if note is None or position < 1:
        return None
    (found,) = await receipts(connection, ledger, [position], note)
    return found


async def receipts(connection: AsyncConnection[Any], ledger: str, positions: Sequence[int], note: str) -> list[Receipt]:
    """The receipts of some facts, in order, in a checkpoint that holds them all: two questions, however many."""
    size = signed_size(note)
    ranges = [inclusion_ranges(position - 1, size) for position in positions]
    _, partial = await _head(connection, ledger)
    wanted = tiles_of([each for one in ranges for each in one], size)
    cursor = await connection.execute(_SELECT_TILES, _tile_parameters(ledger, wanted))
    read = _reader(await cursor.fetchall(), partial)
    cursor = await connection.execute(
        f"{_SELECT_FACTS} AND position = ANY(%s) ORDER BY position", (ledger, [*positions])
    )
    encode = encoder(ledger)
    leaves = [encode(*row) for row in await cursor.fetchall()]
    return [
        Receipt(position, tuple(proof(one, size, read)), note, leaf)
        for position, one, leaf in zip(positions, ranges, leaves, strict=True)
    ]


async def positions_of(
    connection: AsyncConnection[Any], ledger: str, tags: Sequence[str], to: int
) -> list[tuple[int, list[str]]]:
    """The facts up to a position that have one of the tags at least, in order: position and tags of each."""
    cursor = await connection.execute("SELECT position, tags FROM facts_tagged(%s, %s, 0, %s)", (ledger, [*tags], to))
    return await cursor.fetchall()


async def _proof(connection: AsyncConnection[Any], ledger: str, ranges: Sequence[Range], size: int) -> list[bytes]:
    _, partial = await _head(connection, ledger)
    cursor = await connection.execute(_SELECT_TILES, _tile_parameters(ledger, tiles_of(ranges, size)))
    return proof(ranges, size, _reader(await cursor.fetchall(), partial))
