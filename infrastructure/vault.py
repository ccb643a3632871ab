"""The vault: personal data, kept apart from the journal, which never forgets."""

from collections.abc import Collection, Mapping
from typing import Any

from psycopg import AsyncConnection, Connection


def remember(
    connection: Connection[object],
    ledger: str,
    *,
    names: Mapping[str, str] | None = None,
    remarks: Mapping[str, str] | None = None,
    overwrite: bool = True,
) -> None:
    """Keep names by person and remarks by record; what is known already is overwritten, or kept."""
    for table, key, value, given in (
        ("vault_people", "person", "name", names),
        ("vault_remarks", "record", "remark", remarks),
    ):
        if given:
            connection.execute(
                f"INSERT INTO {table} (ledger, {key}, {value})"
                " SELECT %s, * FROM unnest(%s::text[], %s::text[])"
                f" ON CONFLICT (ledger, {key}) DO "
                + (f"UPDATE SET {value} = excluded.{value}" if overwrite else "NOTHING"),
                (ledger, list(given), list(given.values())),
            )


def recalled_remark(connection: Connection[Any], ledger: str, key: str) -> str | None:
    """The remark under a key, or None."""
    rows = connection.execute(
        "SELECT remark FROM vault_remarks WHERE ledger = %s AND record = %s", (ledger, key)
    ).fetchall()
    return rows[0][0] if rows else None


def forget(connection: Connection[object], ledger: str, remarks: Collection[str]) -> None:
    """Erase the remarks under the given keys, if there are any."""
    connection.execute("DELETE FROM vault_remarks WHERE ledger = %s AND record = ANY(%s)", (ledger, list(remarks)))


async def recalled_names(connection: AsyncConnection[Any], ledger: str, people: Collection[str]) -> dict[str, str]:
    """The names that are known of the given people, by their numbers."""
    cursor = await connection.execute(
        "SELECT person, name FROM vault_people WHERE ledger = %s AND person = ANY(%s)", (ledger, list(people))
    )
    return dict(await cursor.fetchall())


async def recalled_remarks(connection: AsyncConnection[Any], ledger: str, keys: Collection[str]) -> dict[str, str]:
    """The remarks there are under the given keys, by key."""
    cursor = await connection.execute(
        "SELECT record, remark FROM vault_remarks WHERE ledger = %s AND record = ANY(%s)", (ledger, list(keys))
    )
    return dict(await cursor.fetchall())
