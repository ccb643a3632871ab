"""Two service processes on one database: whichever is asked, what one of them recorded holds for both."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.wiring import timebank
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from infrastructure.settings import Settings
from tests.api.processes import services, until
from tests.api.service import Api, register_places
from tests.conftest import FIRST_DAY, assert_conserved, new_database, settings_for
from tests.contract.test_embedded import nothing_runs, postmaster

ROUNDS = 25
BACK_SECONDS_MAX = 30


@pytest.fixture(scope="module")
def pair(server_url: str) -> Iterator[tuple[Api, Api]]:
    """Both start at once, on a ledger that neither has folded before."""
    with ExitStack() as stack:
        address = stack.enter_context(new_database(server_url))
        opening = OpenLedger(name="两个进程", synthetic=True)
        bank = stack.enter_context(timebank(settings_for(address), opening, AdoptPolicy(effective_on=FIRST_DAY)))
        first, second = stack.enter_context(services(2, TIMEBANK_DATABASE_URL=address))
        apis = tuple(stack.enter_context(Api(bank, one.address)) for one in (first, second))
        apis[1].tokens = apis[0].tokens
        register_places(apis[0])
        yield apis  # type: ignore[misc]
        assert_conserved(bank)


def at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """All calls begin at the same moment; their answers in the same order."""
    start = threading.Barrier(len(calls))

    def call(one: Callable[[], httpx.Response]) -> httpx.Response:
        start.wait(60)
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_the_same_key_sent_to_both_at_once_is_one_fact(pair: tuple[Api, Api]) -> None:
    one, other = pair
    anna = one.new_volunteer()
    for n in range(ROUNDS):
        anna = one.new_volunteer() if n % 8 == 0 else anna
        body, key = anna.hours(hour=8 + n % 8), uuid4().hex
        answers = at_once(
            lambda: one.post("/v1/hours", body, anna.number, key),  # noqa: B023 - called in this round
            lambda: other.post("/v1/hours", body, anna.number, key),  # noqa: B023
        )
        assert sorted(answer.status_code for answer in answers) == [200, 201]
        first, second = (answer.json() for answer in answers)
        assert first | {"repeated": None} == second | {"repeated": None}


def test_of_two_confirmations_at_once_exactly_one_wins_and_is_credited_once(pair: tuple[Api, Api]) -> None:
    one, other = pair
    people = [one.new_volunteer() for _ in range(ROUNDS)]
    for anna in people:
        path = f"/v1/hours/{one.logged(anna)}/confirmation"
        answers = at_once(
            lambda: one.post(path, None, "S1"),  # noqa: B023
            lambda: other.post(path, None, "S2"),  # noqa: B023
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        lost = next(answer for answer in answers if answer.status_code == 409)
        one.problem(lost, 409, "record-already-settled")
    for anna in people:
        for api in pair:
            assert api.read(f"/v1/households/{anna.household}/balance", "auditor")["balance_minutes"] == 60


def test_of_two_claims_for_the_same_time_exactly_one_wins(pair: tuple[Api, Api]) -> None:
    one, other = pair
    for _ in range(ROUNDS):
        anna = one.new_volunteer()
        answers = at_once(
            lambda: one.post("/v1/hours", anna.hours(), anna.number),  # noqa: B023
            lambda: other.post("/v1/hours", anna.hours(service="助洁"), "S1"),  # noqa: B023
        )
        assert sorted(answer.status_code for answer in answers) == [201, 422]
        lost = next(answer for answer in answers if answer.status_code == 422)
        one.problem(lost, 422, "record-overlaps")


def test_a_pool_never_pays_more_than_it_holds_however_it_is_asked(pair: tuple[Api, Api]) -> None:
    one, other = pair
    community = "池社区"
    one.wrote("/v1/communities", {"community": community}, "admin")
    one.wrote("/v1/pools/funding", {"community": community, "minutes": 100}, "admin")
    households = [one.new_household(community) for _ in range(8)]
    calls: list[Any] = [
        lambda api=api, household=household: api.post(
            "/v1/grants", {"household": household, "minutes": 30, "need": "other"}, "S0"
        )
        for household, api in zip(households, (one, other) * 4, strict=True)
    ]
    answers = at_once(*calls)
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 5
    for api in pair:
        assert api.read(f"/v1/communities/{community}/pool", "auditor")["balance_minutes"] == 10


def test_each_reads_what_the_other_wrote(pair: tuple[Api, Api]) -> None:
    one, other = pair
    for n in range(ROUNDS):
        writer, reader = (one, other) if n % 2 else (other, one)
        anna = one.new_volunteer()
        written = writer.wrote("/v1/hours", anna.hours(), anna.number)
        path = f"/v1/hours/{written['record']}"
        row = reader.get(path, anna.number, min_position=written["position"])
        assert (row.status_code, row.json()["status"]) == (200, "logged")
        confirmed = reader.wrote(path + "/confirmation", None, "S1")
        row = writer.get(path, anna.number, min_position=confirmed["position"])
        assert row.json()["status"] == "confirmed"


def test_a_database_server_that_is_killed_comes_back_under_the_services_and_no_fact_is_lost(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", database_url=None)  # the embedded server, whatever the others run on
    opening = OpenLedger(name="两个进程", synthetic=True)
    acknowledged: list[dict[str, Any]] = []
    with ExitStack() as stack:
        with timebank(settings, opening, AdoptPolicy(effective_on=FIRST_DAY)) as bank:
            running = stack.enter_context(services(2, TIMEBANK_DATA=settings.data))
            apis = [stack.enter_context(Api(bank, one.address)) for one in running]
            register_places(apis[0])
            anna = apis[0].new_volunteer()
            apis[1].tokens = apis[0].tokens
        # From here on the services alone hold the server.
        for hour in (8, 9, 10):
            acknowledged.append(apis[0].wrote("/v1/hours", anna.hours(hour=hour), anna.number))
            os.kill(postmaster(settings.data), signal.SIGKILL)
            body, key = anna.hours(hour=hour + 8), uuid4().hex
            for api in apis:

                def written(api: Api = api, body: Any = body, key: str = key) -> bool:
                    response = api.post("/v1/hours", body, anna.number, key)
                    assert response.status_code in (200, 201, 503), response.text
                    if response.status_code != 503:
                        acknowledged.append(response.json())
                    return response.status_code != 503

                until(written, BACK_SECONDS_MAX)
    assert nothing_runs(settings.data)
    with timebank(settings) as bank:
        recorded = [one for batch in bank.store.scan() for one in batch]
        for told in acknowledged:
            first, last = told["positions"]
            assert [one.envelope.fact.type for one in recorded[first - 1 : last]] == told["facts"]
            assert recorded[first - 1].envelope.fact.record == told["record"]
        assert len({told["record"] for told in acknowledged}) == 6
        assert len(acknowledged) == 9
        assert_conserved(bank)
