"""The outbox: every notice once for its key, with the journal's position up to which all was told; and its deliveries.

Whoever writes holds the ledger's checkpoint until the transaction ends. So however many processes tell of the same
facts, and whenever one of them dies, what was told and up to where are one commit. A delivery is claimed for a while
by one of them, which counts as an attempt; if that dies, the claim runs out and the notice goes out again. So a key is
in the outbox once, and on the wire at least once: it goes with the notice, for the receiver to know a repeat by.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row, kwargs_row

from domain.notice import PERSON, STAFF, Notice

CLAIM_SECONDS: Final = 60.0
"""How long a claimed delivery is left to whoever claimed it; longer than any attempt takes."""
State = Literal["pending", "delivered", "failed", "withdrawn"]

_encode = msgspec.json.Encoder().encode


class OutboxNotBegun(Exception):
    """The outbox has no position yet: nobody has begun it."""

    def __init__(self, ledger: str) -> None:
        super().__init__(
            f"账本“{ledger}”的通知还没有开始，请先启动服务。 / "
            f"The notices of “{ledger}” have not begun: start the service."
        )


class OutboxNotice(Notice, frozen=True, kw_only=True):
    """A notice as the outbox holds it; numbers rise in the order in which notices were written."""

    number: int
    written_at: datetime


class Claimed(OutboxNotice, frozen=True, kw_only=True):
    """A notice that is to be delivered now by whoever claimed it. ``attempts`` counts this one."""

    adapter: str
    attempts: int


class Delivery(msgspec.Struct, frozen=True):
    """How one delivery stands. ``last_error`` is what it failed of, without any address."""

    adapter: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None


class WithDeliveries(OutboxNotice, frozen=True, kw_only=True):
    """A notice with those of its deliveries that stand as was asked for."""

    deliveries: list[Delivery]


class NoticeSettings(msgspec.Struct, frozen=True):
    """What one person has read, and which kinds they aren't told."""

    read_upto: int = 0
    muted: list[str] = []


class Writing:
    """The outbox while its ledger's checkpoint is held: all that is put is committed with it, or nothing is."""

    def __init__(self, connection: Connection[Any], ledger: str, position: int) -> None:
        self._connection = connection
        self._ledger = ledger
        self.position = position

    def put(self, notices: Sequence[Notice], adapters: Collection[str]) -> int:
        """Write the notices whose keys aren't there yet, to go out by the adapters; returns how many those were.

        Kinds that their person doesn't want are left out, and those for people who were erased.
        """
        if not notices:
            return 0
        rows = [(one.key, one.kind, one.recipient, _encode(one.parts).decode()) for one in notices]
        written = self._connection.execute(
            "WITH given AS ("
            " SELECT * FROM unnest(%(keys)s::text[], %(kinds)s::text[], %(recipients)s::text[], %(parts)s::text[])"
            " WITH ORDINALITY AS given (key, kind, recipient, parts, n)"
            "), written AS ("
            " INSERT INTO notices (ledger, key, kind, recipient, parts)"
            " SELECT %(ledger)s, key, kind, recipient, parts::jsonb FROM given WHERE NOT EXISTS ("
            "  SELECT FROM notice_settings s WHERE s.ledger = %(ledger)s AND given.recipient LIKE 'person:%%'"
            "  AND s.person = substr(given.recipient, 8) AND (s.erased OR given.kind = ANY (s.muted)))"
            " ORDER BY n ON CONFLICT (ledger, key) DO NOTHING RETURNING number"
            "), sent AS ("
            " INSERT INTO notice_deliveries (number, adapter, ledger)"
            " SELECT number, adapter, %(ledger)s FROM written CROSS JOIN unnest(%(adapters)s::text[]) AS adapter"
            ") SELECT count(*) FROM written",
            {
                "ledger": self._ledger,
                **{
                    name: list(column)
                    for name, column in zip(
                        ("keys", "kinds", "recipients", "parts"), zip(*rows, strict=True), strict=True
                    )
                },
                "adapters": sorted(set(adapters)),
            },
        ).fetchall()
        return int(written[0][0])

    def reach(self, position: int) -> None:
        """All up to this position was told."""
        self._connection.execute(
            "UPDATE notice_checkpoints SET position = %s WHERE ledger = %s", (position, self._ledger)
        )
        self.position = position


def begin(connection: Connection[Any], ledger: str, head: int) -> None:
    """Have the outbox begin after a position, unless it has begun before."""
    connection.execute(
        "INSERT INTO notice_checkpoints (ledger, position) VALUES (%s, %s) ON CONFLICT DO NOTHING", (ledger, head)
    )


def has_begun(connection: Connection[Any], ledger: str) -> bool:
    """Whether the ledger was ever told of."""
    found = connection.execute("SELECT 1 FROM notice_checkpoints WHERE ledger = %s", (ledger,))
    return found.fetchone() is not None


def position_of(connection: Connection[Any], ledger: str) -> int:
    """The position of the journal up to which all was told. Raises: OutboxNotBegun."""
    found = connection.execute("SELECT position FROM notice_checkpoints WHERE ledger = %s", (ledger,)).fetchall()
    if not found:
        raise OutboxNotBegun(ledger)
    return int(found[0][0])


@contextmanager
def writing(connection: Connection[Any], ledger: str) -> Iterator[Writing]:
    """The outbox to write to, in one transaction. Waits while another process writes. Raises: OutboxNotBegun."""
    with connection.transaction():
        found = connection.execute(
            "SELECT position FROM notice_checkpoints WHERE ledger = %s FOR UPDATE", (ledger,)
        ).fetchall()
        if not found:
            raise OutboxNotBegun(ledger)
        yield Writing(connection, ledger, found[0][0])


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────


def claim(connection: Connection[Any], ledger: str, adapter: str, seconds: float = CLAIM_SECONDS) -> Claimed | None:
    """The delivery that has been due for longest, for this caller alone for so many seconds; None: none is due."""
    with connection.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(
            "WITH due AS MATERIALIZED ("
            " SELECT number, adapter FROM notice_deliveries"
            " WHERE ledger = %s AND adapter = %s AND state = 'pending' AND next_attempt_at <= clock_timestamp()"
            " ORDER BY next_attempt_at, number LIMIT 1 FOR UPDATE SKIP LOCKED"
            ") UPDATE notice_deliveries d"
            " SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + make_interval(secs => %s)"
            " FROM due JOIN notices n ON n.number = due.number WHERE d.number = due.number AND d.adapter = due.adapter"
            " RETURNING n.key, n.kind, n.recipient, n.parts, n.number, n.written_at, d.adapter, d.attempts",
            (ledger, adapter, seconds),
        ).fetchone()


def mark_delivered(connection: Connection[Any], claimed: Claimed) -> None:
    """It went out, whoever else may have claimed it meanwhile."""
    connection.execute(
        "UPDATE notice_deliveries SET state = 'delivered', delivered_at = clock_timestamp(), last_error = NULL"
        " WHERE number = %s AND adapter = %s AND state <> 'withdrawn'",
        (claimed.number, claimed.adapter),
    )


def mark_failed(connection: Connection[Any], claimed: Claimed, error: str, again_in_seconds: float | None) -> None:
    """It didn't go out; it is tried again after so many seconds, or given up (None). Nothing where the claim had run
    out and another has it."""
    connection.execute(
        "UPDATE notice_deliveries SET last_error = %(error)s,"
        " state = CASE WHEN %(seconds)s::float8 IS NULL THEN 'failed' ELSE state END,"
        " next_attempt_at = clock_timestamp() + make_interval(secs => coalesce(%(seconds)s::float8, 0))"
        " WHERE number = %(number)s AND adapter = %(adapter)s AND attempts = %(attempts)s AND state = 'pending'",
        {
            "error": error,
            "seconds": again_in_seconds,
            "number": claimed.number,
            "adapter": claimed.adapter,
            "attempts": claimed.attempts,
        },
    )


def retry(connection: Connection[Any], ledger: str, numbers: Collection[int] | None = None) -> int:
    """Have deliveries that were given up tried again from the first attempt: those of some notices, or all (None).
    Returns how many."""
    return connection.execute(
        "UPDATE notice_deliveries SET state = 'pending', attempts = 0, next_attempt_at = clock_timestamp()"
        " WHERE ledger = %(ledger)s AND state = 'failed'"
        " AND (%(numbers)s::bigint[] IS NULL OR number = ANY (%(numbers)s::bigint[]))",
        {"ledger": ledger, "numbers": None if numbers is None else list(numbers)},
    ).rowcount


_DELIVERIES: Final = (
    "SELECT n.key, n.kind, n.recipient, n.parts, n.number, n.written_at, jsonb_agg(jsonb_build_object("
    "  'adapter', d.adapter, 'attempts', d.attempts, 'next_attempt_at', d.next_attempt_at, 'last_error', d.last_error"
    " ) ORDER BY d.adapter) AS deliveries FROM notice_deliveries d JOIN notices n ON n.number = d.number"
    " WHERE d.ledger = %(ledger)s AND d.state = %(state)s AND d.number > %(after)s"
    " AND (%(recipients)s::text[] IS NULL OR n.recipient = ANY (%(recipients)s::text[]))"
    " GROUP BY n.number ORDER BY n.number LIMIT %(limit)s"
)


def _with_deliveries(deliveries: list[dict[str, Any]], **columns: Any) -> WithDeliveries:
    return WithDeliveries(deliveries=msgspec.convert(deliveries, list[Delivery]), **columns)


def deliveries(connection: Connection[Any], ledger: str, state: State, limit: int) -> list[WithDeliveries]:
    """The first notices of which a delivery stands so, in the order in which they were written."""
    with connection.cursor(row_factory=kwargs_row(_with_deliveries)) as cursor:
        asked = {"ledger": ledger, "state": state, "after": 0, "recipients": None, "limit": limit}
        return cursor.execute(_DELIVERIES, asked).fetchall()


async def failed_deliveries(
    connection: AsyncConnection[Any], ledger: str, *, recipients: Collection[str] | None, after: int, limit: int
) -> list[WithDeliveries]:
    """Notices of which a delivery was given up, after a number: to some recipients, or to all (None)."""
    given = None if recipients is None else list(recipients)
    async with connection.cursor(row_factory=kwargs_row(_with_deliveries)) as cursor:
        await cursor.execute(
            _DELIVERIES, {"ledger": ledger, "state": "failed", "after": after, "recipients": given, "limit": limit}
        )
        return await cursor.fetchall()


def delivery_counts(connection: Connection[Any], ledger: str) -> dict[str, dict[str, int]]:
    """How many deliveries of each adapter stand how."""
    found: dict[str, dict[str, int]] = {}
    for adapter, state, count in connection.execute(
        "SELECT adapter, state, count(*) FROM notice_deliveries WHERE ledger = %s GROUP BY 1, 2 ORDER BY 1, 2",
        (ledger,),
    ):
        found.setdefault(adapter, {})[state] = count
    return found


def last_notices(connection: Connection[Any], ledger: str, limit: int) -> list[OutboxNotice]:
    """The notices that were written last, the newest first."""
    with connection.cursor(row_factory=class_row(OutboxNotice)) as cursor:
        return cursor.execute(
            "SELECT key, kind, recipient, parts, number, written_at FROM notices WHERE ledger = %s"
            " ORDER BY number DESC LIMIT %s",
            (ledger, limit),
        ).fetchall()


# ── Reading one's own ────────────────────────────────────────────────────────────────────────────────────────────


async def inbox(
    connection: AsyncConnection[Any],
    ledger: str,
    person: str,
    *,
    recipients: Collection[str],
    all_staff: bool,
    unread: bool,
    since: datetime | None,
    kind: str | None,
    after: int,
    limit: int,
) -> list[OutboxNotice]:
    """A person's notices in the order they were written, after a number: to any of the recipients, and with
    ``all_staff`` to those of every community. What goes to many is left out where the person has muted its kind."""
    async with connection.cursor(row_factory=class_row(OutboxNotice)) as cursor:
        await cursor.execute(
            "SELECT n.key, n.kind, n.recipient, n.parts, n.number, n.written_at FROM notices n"
            " LEFT JOIN notice_settings s ON s.ledger = n.ledger AND s.person = %(person)s"
            " WHERE n.ledger = %(ledger)s AND n.number > %(after)s"
            " AND (n.recipient = ANY (%(recipients)s) OR (%(all_staff)s AND n.recipient LIKE %(staff)s))"
            " AND (NOT %(unread)s OR n.number > coalesce(s.read_upto, 0))"
            " AND (%(since)s::timestamptz IS NULL OR n.written_at >= %(since)s)"
            " AND (%(kind)s::text IS NULL OR n.kind = %(kind)s)"
            " AND (n.recipient = %(own)s OR NOT n.kind = ANY (coalesce(s.muted, '{}')))"
            " ORDER BY n.number LIMIT %(limit)s",
            {
                "ledger": ledger,
                "person": person,
                "own": PERSON + person,
                "recipients": list(recipients),
                "all_staff": all_staff,
                "staff": STAFF + "%",
                "unread": unread,
                "since": since,
                "kind": kind,
                "after": after,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


async def told_position(connection: AsyncConnection[Any], ledger: str) -> int:
    """The position of the journal up to which all was told; 0 where the outbox has not begun."""
    cursor = await connection.execute("SELECT position FROM notice_checkpoints WHERE ledger = %s", (ledger,))
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def settings_of(connection: AsyncConnection[Any], ledger: str, person: str) -> NoticeSettings:
    """A person's own settings; where they never set anything, all is told and nothing is read."""
    async with connection.cursor(row_factory=class_row(NoticeSettings)) as cursor:
        await cursor.execute(
            "SELECT read_upto, muted FROM notice_settings WHERE ledger = %s AND person = %s", (ledger, person)
        )
        return await cursor.fetchone() or NoticeSettings()


async def mute(connection: AsyncConnection[Any], ledger: str, person: str, kinds: Sequence[str]) -> None:
    """From now on a person isn't told these kinds, and is told all others."""
    await connection.execute(
        "INSERT INTO notice_settings (ledger, person, muted) VALUES (%s, %s, %s)"
        " ON CONFLICT (ledger, person) DO UPDATE SET muted = excluded.muted",
        (ledger, person, list(kinds)),
    )


async def mark_read(connection: AsyncConnection[Any], ledger: str, person: str, upto: int) -> None:
    """A person has read their notices up to a number; that never goes back."""
    await connection.execute(
        "INSERT INTO notice_settings (ledger, person, read_upto)"
        " VALUES (%(ledger)s, %(person)s, least(%(upto)s::bigint,"
        "  (SELECT coalesce(max(number), 0) FROM notices WHERE ledger = %(ledger)s)))"
        " ON CONFLICT (ledger, person) DO UPDATE"
        " SET read_upto = greatest(notice_settings.read_upto, excluded.read_upto)",
        {"ledger": ledger, "person": person, "upto": upto},
    )
