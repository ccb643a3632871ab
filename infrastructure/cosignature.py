"""Cosignatures at the ledger: whose are taken, and what witnesses have signed of its log.

Nobody's are taken unless the operator has named the witness. The service can't name one: it has no right to.
"""

from typing import Any, Final

from psycopg import AsyncConnection, Connection

from domain.statement import VerifierKey
from domain.witness import Cosignature, witness_key
from infrastructure.log import checkpoint_of
from infrastructure.signing import NoteNotGenuine, require_cosignature

WITNESSES_MAX: Final = 16
AHEAD_SECONDS_MAX: Final = 300
"""By how much a witness's clock may be ahead of the database's."""


class TooManyWitnesses(Exception):
    """A checkpoint that everybody fetches must stay small."""

    def __init__(self) -> None:
        super().__init__(
            f"最多信任 {WITNESSES_MAX} 个见证人，请先停用一个。 / "
            f"At most {WITNESSES_MAX} witnesses are trusted; distrust one first."
        )


class CosignatureRefused(Exception):
    """It isn't from a witness that is trusted here, not of this checkpoint, or of a time to come."""


def trust(connection: Connection[Any], ledger: str, key: VerifierKey) -> None:
    """Take a witness's cosignatures from now on. Raises: TooManyWitnesses."""
    with connection.transaction():
        # Its row stays locked, so that two who trust at once count each other.
        connection.execute("SELECT FROM ledgers WHERE ledger = %s FOR NO KEY UPDATE", (ledger,))
        connection.execute("INSERT INTO log_witnesses VALUES (%s, %s) ON CONFLICT DO NOTHING", (ledger, str(key)))
        rows = connection.execute("SELECT count(*) FROM log_witnesses WHERE ledger = %s", (ledger,)).fetchall()
        if rows[0][0] > WITNESSES_MAX:
            raise TooManyWitnesses


def distrust(connection: Connection[Any], ledger: str, key: VerifierKey) -> bool:
    """Take no more of a witness's cosignatures; what it has signed stays. Returns whether it was trusted."""
    with connection.transaction():
        deleted = connection.execute(
            "DELETE FROM log_witnesses WHERE ledger = %s AND key = %s", (ledger, str(key))
        ).rowcount
    return bool(deleted)


async def trusted_witnesses(connection: AsyncConnection[Any], ledger: str) -> list[VerifierKey]:
    """The witnesses whose cosignatures are taken, as they were trusted."""
    cursor = await connection.execute(
        "SELECT key FROM log_witnesses WHERE ledger = %s ORDER BY trusted_at, key", (ledger,)
    )
    return [witness_key(key) for (key,) in await cursor.fetchall()]


async def keep_cosignature(connection: AsyncConnection[Any], ledger: str, size: int, line: str) -> Cosignature | None:
    """Keep the line by which a witness has cosigned the checkpoint of a size; returns the one that is kept, which is
    the first that it gave. None where there is no checkpoint of that size. Raises: CosignatureRefused.
    """
    try:
        given = Cosignature.parse(line)
    except ValueError:
        raise CosignatureRefused from None
    witnesses = await trusted_witnesses(connection, ledger)
    key = next((one for one in witnesses if (one.name, one.hash) == (given.name, given.hash)), None)
    if key is None:
        raise CosignatureRefused
    note = await checkpoint_of(connection, ledger, size)
    if note is None:
        return None
    text = note.partition("\n\n")[0] + "\n"
    try:
        require_cosignature(text, given, key)
    except NoteNotGenuine:
        raise CosignatureRefused from None
    # Whoever asks twice, or sixteen times at once, is given what was kept first.
    await connection.execute(
        "INSERT INTO log_cosignatures (ledger, size, witness, line, cosigned_at) SELECT %s, %s, %s, %s, %s"
        " WHERE %s <= extract(epoch FROM clock_timestamp()) + %s ON CONFLICT DO NOTHING",
        (ledger, size, str(key), line, given.seconds, given.seconds, AHEAD_SECONDS_MAX),
    )
    cursor = await connection.execute(
        "SELECT line FROM log_cosignatures WHERE ledger = %s AND size = %s AND witness = %s", (ledger, size, str(key))
    )
    row = await cursor.fetchone()
    if row is None:
        raise CosignatureRefused
    return Cosignature.parse(row[0])
