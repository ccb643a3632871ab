"""Migrations are applied once, in order, and never to a database that a newer program has changed."""

import subprocess
import sys

import psycopg
import pytest

from infrastructure import schema
from infrastructure.schema import (
    SERVICE_ROLE,
    DatabaseIsNewer,
    Migration,
    MigrationChanged,
    NotPermitted,
    ServerTooOld,
    known_migrations,
    migrate,
    schema_version,
)


def test_an_empty_database_has_version_zero_and_is_brought_to_the_last(database_url: str) -> None:
    assert schema_version(database_url) == 0
    assert migrate(database_url) == len(known_migrations()) == schema_version(database_url)


def test_migrating_again_changes_nothing(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        before = connection.execute("SELECT * FROM schema_migrations ORDER BY version").fetchall()
        migrate(database_url)
        assert connection.execute("SELECT * FROM schema_migrations ORDER BY version").fetchall() == before


def test_processes_that_migrate_at_once_apply_each_file_once(database_url: str) -> None:
    program = "import sys; from infrastructure.schema import migrate; print(migrate(sys.argv[1]))"
    running = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == [str(len(known_migrations()))] * 4
    with psycopg.connect(database_url) as connection:
        versions = connection.execute("SELECT version FROM schema_migrations ORDER BY version").fetchall()
    assert versions == [(n,) for n in range(1, len(known_migrations()) + 1)]


def test_an_older_program_refuses_a_newer_database(database_url: str) -> None:
    migrate(database_url)
    newest = len(known_migrations())
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (%s, '9999_later.sql', '')", (newest + 1,))
    with pytest.raises(DatabaseIsNewer, match=r"请升级本程序.*upgrade the program") as refused:
        migrate(database_url)
    assert (refused.value.database_version, refused.value.program_version) == (newest + 1, newest)


def test_an_applied_file_that_was_changed_is_refused(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1")
    with pytest.raises(MigrationChanged, match=r"0001_journal\.sql"):
        migrate(database_url)


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = known_migrations()
    bad = Migration(len(good) + 1, "9999_bad.sql", b"CREATE TABLE half (); SELECT 1 / 0;")
    monkeypatch.setattr(schema, "known_migrations", lambda: [*good, bad])
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(database_url)
    assert schema_version(database_url) == len(good)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_a_server_that_is_too_old_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SERVER_VERSION_MIN", 99)
    with pytest.raises(ServerTooOld, match="99"):
        migrate(database_url)
    assert schema_version(database_url) == 0


def test_the_service_role_may_add_facts_and_nothing_more(journal_url: str) -> None:
    with psycopg.connect(journal_url) as connection:
        rights = connection.execute(
            "SELECT table_name, array_agg(privilege_type::text ORDER BY privilege_type)"
            " FROM information_schema.role_table_grants"
            " WHERE grantee = %s AND table_name IN ('facts', 'fact_tags', 'ledgers', 'tag_heads')"
            " GROUP BY 1 ORDER BY 1",
            (SERVICE_ROLE,),
        ).fetchall()
    assert rights == [
        ("fact_tags", ["SELECT"]),
        ("facts", ["INSERT", "SELECT"]),
        ("ledgers", ["INSERT", "SELECT", "UPDATE"]),
        ("tag_heads", ["SELECT"]),
    ]


def test_a_user_who_may_not_create_roles_can_migrate(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DO $$ BEGIN CREATE ROLE timebank_test_plain; EXCEPTION WHEN duplicate_object THEN END $$")
        connection.execute("GRANT CREATE ON SCHEMA public TO timebank_test_plain")
    as_plain_user = psycopg.conninfo.make_conninfo(database_url, options="-c role=timebank_test_plain")
    try:
        assert migrate(as_plain_user) == len(known_migrations())
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP OWNED BY timebank_test_plain CASCADE")
            connection.execute("DROP ROLE timebank_test_plain")


def test_a_service_user_who_owns_nothing_finds_the_schema_in_order(journal_url: str) -> None:
    as_service = psycopg.conninfo.make_conninfo(journal_url, options=f"-c role={SERVICE_ROLE}")
    assert migrate(as_service) == len(known_migrations())


def test_a_user_who_may_not_make_tables_is_told_what_to_grant(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE timebank_test_barred")
    as_barred = psycopg.conninfo.make_conninfo(database_url, options="-c role=timebank_test_barred")
    try:
        with pytest.raises(NotPermitted, match=r'权限不足.*GRANT CREATE ON SCHEMA public TO "timebank_test_barred"'):
            migrate(as_barred)
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP ROLE timebank_test_barred")
