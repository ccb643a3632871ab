"""Fixtures that every room of the tests shares."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from api.wiring import Timebank, timebank
from application.hours_import import HoursImport
from application.replay import replay
from application.sample import SampleSummary, write_sample
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.schema import migrate
from infrastructure.settings import Settings, read_settings

FIRST_DAY = date(2020, 1, 1)

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", settings.default, deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server, as a superuser: the one of TIMEBANK_DATABASE_URL, or an embedded one for this run alone."""
    configured = read_settings().database_url
    if configured is not None:
        yield configured.get_secret_value()
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("data")) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            # Tests make thousands of tables here, and nothing that is written has to outlast the machine. Those that
            # kill a server start one of their own, with its own settings.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.url


@contextmanager
def new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """A database of its own, empty or a copy of another that nobody is connected to; dropped afterwards."""
    name = f"timebank_test_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        yield make_conninfo(server_url, dbname=name)
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """A new, empty database. Its user is a superuser."""
    with new_database(server_url) as address:
        yield address


@pytest.fixture(scope="session")
def ledgers_url(server_url: str) -> Iterator[str]:
    """A database with the schema, for tests that each open a ledger of their own in it."""
    with new_database(server_url) as address:
        migrate(address)
        yield address


def settings_for(address: str, ledger: str = "qingxiu") -> Settings:
    return Settings(database_url=SecretStr(address), ledger=ledger)


@contextmanager
def new_bank(ledgers_url: str, *, from_tomorrow: bool = False, **policy: object) -> Iterator[Timebank]:
    """A new ledger, whose policy has these settings. Whatever was done with it, its accounts sum to zero at last."""
    effective_on = date.today() + timedelta(days=2) if from_tomorrow else FIRST_DAY  # noqa: DTZ011 - any zone's
    adopted = AdoptPolicy.model_validate({"effective_on": effective_on, "policy": policy})
    settings = settings_for(ledgers_url, f"t{uuid4().hex}")
    with timebank(settings, OpenLedger(name="试验时间银行", synthetic=True), adopted) as bank:
        yield bank
        assert_conserved(bank)


@pytest.fixture
def open_bank(ledgers_url: str) -> Iterator[Callable[..., Timebank]]:
    """Opens new ledgers, such as ``open_bank(balance_minutes_max=300)``: see `new_bank`."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(new_bank(ledgers_url, **settings))


def assert_conserved(bank: Timebank) -> None:
    """No minute was made or lost: neither in the journal, nor in the accounts that are folded from it."""
    assert replay(bank.store).total_minutes == 0
    with bank.reading() as connection:
        if connection.execute("SELECT to_regclass('accounts')").fetchone() != (None,):
            assert connection.execute("SELECT coalesce(sum(balance_minutes), 0) FROM accounts").fetchone() == (0,)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummary]:
    """The files of a small synthetic district."""
    directory = tmp_path_factory.mktemp("sample")
    return directory, write_sample(directory, households_served=20, hours=400, seed=7)


@pytest.fixture(scope="session")
def sample_template(server_url: str, sample: tuple[Path, SampleSummary]) -> Iterator[str]:
    """The name of a database with the small district in it, imported and folded, to be copied."""
    directory, summary = sample
    with new_database(server_url) as address:
        opening = OpenLedger(name="合成示例区", synthetic=True)
        with timebank(settings_for(address), opening, AdoptPolicy(effective_on=FIRST_DAY)) as bank:
            for name in summary.files:
                HoursImport(bank.store, bank.zone, directory / name, ledger_is_synthetic=True).run()
            bank.catch_up()
        yield psycopg.conninfo.conninfo_to_dict(address)["dbname"]  # type: ignore[misc]


@pytest.fixture
def sample_url(server_url: str, sample_template: str) -> Iterator[str]:
    """A database of its own with the small district in it."""
    with new_database(server_url, sample_template) as address:
        yield address
