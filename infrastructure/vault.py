"""The vault: personal data, kept apart from the journal, which never forgets."""

from collections.abc import Mapping

from psycopg import Connection


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
