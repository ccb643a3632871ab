"""Databases and journals for the contract tests."""

from collections.abc import Iterator

import pytest
from eventsourcing.postgres import PostgresDatastore

from infrastructure.journal import PostgresJournal, open_datastore
from infrastructure.schema import migrate


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
