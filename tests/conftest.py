"""Fixtures that every room of the tests shares."""

from collections.abc import Iterator

import pytest

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.settings import read_settings


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server, as a superuser: the one of TIMEBANK_DATABASE_URL, or an embedded one for this run alone."""
    configured = read_settings().database_url
    if configured is not None:
        yield configured.get_secret_value()
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("data")) as server:
        yield server.url
