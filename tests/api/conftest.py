"""The service that the tests of the API call."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from api.wiring import Timebank, timebank
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from infrastructure import log
from tests.api.service import Api, register_places, serving
from tests.conftest import FIRST_DAY, assert_conserved, settings_for


@pytest.fixture(scope="session", autouse=True)
def _signed_at_once() -> Iterator[None]:
    """Many tests wait for the checkpoint of what they recorded, and none for how long nothing more must come before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "IDLE_SECONDS", 0.1)
        patch.setattr(log, "NEWS_SECONDS", 0.1)
        yield


@pytest.fixture(scope="session")
def service(ledgers_url: str) -> Iterator[Api]:
    """A service with the default policy, for tests that each bring their own people."""
    opening = OpenLedger(name="青秀区时间银行", synthetic=True)
    with (
        timebank(settings_for(ledgers_url, f"t{uuid4().hex}"), opening, AdoptPolicy(effective_on=FIRST_DAY)) as bank,
        serving(bank) as api,
    ):
        register_places(api)
        yield api


@pytest.fixture
def api(service: Api) -> Iterator[Api]:
    yield service
    assert_conserved(service.bank)


@pytest.fixture
def strict(open_bank: Callable[..., Timebank]) -> Iterator[Api]:
    """A service whose communities pay for what is served, up to a low cap."""
    bank = open_bank(payer="pool", balance_minutes_max=100, above_balance_max="refuse")
    with serving(bank) as api:
        register_places(api)
        yield api
