"""Databases and journals for the contract tests."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.postgres import PostgresDatastore
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from infrastructure.journal import PostgresJournal, open_datastore
from infrastructure.schema import migrate


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """A new, empty database, dropped afterwards. Its user is a superuser."""
    name = Identifier(f"timebank_test_{uuid4().hex}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(name))
        yield make_conninfo(server_url, dbname=name.as_string().strip('"'))
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def journal_url(database_url: str) -> str:
    """A new database with the journal's tables."""
    migrate(database_url)
    return database_url


@pytest.fixture
def datastore(journal_url: str) -> Iterator[PostgresDatastore]:
    with open_datastore(journal_url, max_overflow=30, lock_timeout_seconds=20) as opened:
        yield opened


@pytest.fixture
def journal(datastore: PostgresDatastore) -> PostgresJournal:
    return PostgresJournal(datastore, "qingxiu")
