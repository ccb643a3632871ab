"""What all routes share: answers to repeated requests, and reads that wait for what was written."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from api import wiring
from infrastructure import projector
from tests.api.service import Api


def test_the_same_key_and_body_give_the_first_answer_again(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    first = api.wrote("/v1/hours", anna.hours(), anna.number, key)
    head = api.bank.store.head()
    again = api.post("/v1/hours", anna.hours(), anna.number, key)
    assert again.status_code == 200
    assert again.json() == first | {"repeated": True}
    assert api.bank.store.head() == head


def test_the_same_key_and_body_sent_at_once_are_one_fact(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(api.post, "/v1/hours", anna.hours(), anna.number, key) for _ in range(16)]
        answers = [response.result() for response in sent]
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["record"] for answer in answers}) == 1
    assert len({answer.json()["position"] for answer in answers}) == 1


def test_the_same_key_for_another_body_or_another_action_is_refused(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    record = api.wrote("/v1/hours", anna.hours(), "S1", key)["record"]
    api.problem(api.post("/v1/hours", anna.hours(hour=14), "S1", key), 409, "command-id-reused")
    api.problem(api.post(f"/v1/hours/{record}/confirmation", None, "S1", key), 409, "command-id-reused")


def test_two_callers_keys_never_meet(api: Api) -> None:
    anna, ben, key = api.new_volunteer(), api.new_volunteer(), uuid4().hex
    api.wrote("/v1/hours", anna.hours(), anna.number, key)
    api.wrote("/v1/hours", ben.hours(), ben.number, key)


def test_a_refused_request_may_be_sent_again_with_its_key(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    body = anna.hours(community="待登记" + anna.number)
    api.problem(api.post("/v1/hours", body, "S0", key), 404, "unknown-community")
    api.wrote("/v1/communities", {"community": "待登记" + anna.number}, "admin")
    api.wrote("/v1/hours", body, "S0", key)


def test_a_batch_repeats_as_a_whole(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    body = {"hours": [anna.hours(hour=hour) for hour in (8, 10)]}
    first = api.wrote("/v1/hours/batch", body, "S1", key)
    assert api.post("/v1/hours/batch", body, "S1", key).json() == first | {"repeated": True}


@pytest.mark.parametrize("key", ["", "x" * 201], ids=["empty", "long"])
def test_a_key_has_a_length(api: Api, key: str) -> None:
    anna = api.new_volunteer()
    found = api.problem(api.post("/v1/hours", anna.hours(), anna.number, key), 422, "invalid-request")
    assert [error["field"] for error in found["errors"]] == ["Idempotency-Key"]


def test_no_key_is_in_any_stored_byte(api: Api) -> None:
    anna, key = api.new_volunteer(), "key-of-13812345678"
    api.wrote("/v1/hours", anna.hours(), anna.number, key)
    with psycopg.connect(api.bank.owner_address) as connection:
        rows = connection.execute("SELECT f::text, convert_from(data, 'UTF8') FROM facts f").fetchall()
    assert not any(key in text for row in rows for text in row)


def test_a_read_that_asks_for_what_was_just_written_has_it(api: Api) -> None:
    anna = api.new_volunteer()
    for hour in range(8, 18):
        written = api.wrote("/v1/hours", anna.hours(hour=hour), anna.number)
        row = api.get(f"/v1/hours/{written['record']}", anna.number, min_position=written["position"])
        assert row.status_code == 200


def test_a_read_waits_for_the_position_that_it_asks_for(api: Api) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(api.get, "/v1/figures", None, min_position=api.bank.store.head() + 4)
        anna = api.new_volunteer()  # three facts
        assert not asked.done()
        position = api.wrote("/v1/hours", anna.hours(), anna.number)["position"]
        assert asked.result().json()["position"] >= position


READS = (
    "/v1/figures",
    "/v1/communities",
    "/v1/communities/新竹社区/grids",
    "/v1/communities/新竹社区/pool",
    "/v1/hours",
    "/v1/hours/R1",
    "/v1/households",
    "/v1/households/H1/balance",
    "/v1/households/H1/statement",
    "/v1/households/H1/members",
    "/v1/volunteers/V1",
    "/v1/partners",
    "/v1/partners/P1/settlements",
    "/v1/partners/P1/statement",
    "/v1/rewards",
    "/v1/rewards/RW1",
    "/v1/reservations",
    "/v1/reservations/RV1",
    "/v1/open-reservations",
    "/v1/queues",
    "/v1/queues/to-confirm",
    "/v1/solvency",
    "/v1/signals",
    "/v1/volunteers/V1/recognition",
    "/v1/certificates",
    "/v1/certificates/2026-000001",
    "/v1/published-certificates",
)


@pytest.mark.parametrize("path", READS)
def test_a_position_that_does_not_come_in_time_is_a_problem(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(wiring, "READ_WAIT_SECONDS_MAX", 0.05)
    asked = api.bank.store.head() + 1000
    response = api.get(path, "admin", min_position=asked)
    found = api.problem(response, 503, "not-yet-projected")
    assert response.headers["retry-after"] == "1"
    assert found["position"] <= api.bank.store.head()
    assert found["min_position"] == asked


def test_a_projector_that_stands_still_is_waited_for_and_no_longer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "READ_WAIT_SECONDS_MAX", 0.05)
    may_go_on = threading.Event()
    fold_batch = projector.Projector._fold_batch

    def stuck(self: projector.Projector) -> tuple[int, int]:
        assert may_go_on.wait(60)
        return fold_batch(self)

    monkeypatch.setattr(projector.Projector, "_fold_batch", stuck)
    try:
        deadline = time.monotonic() + 60
        while True:  # a batch may have been under way
            position = api.wrote("/v1/hours", (anna := api.new_volunteer()).hours(), anna.number)["position"]
            response = api.get("/v1/hours", "admin", min_position=position)
            if response.status_code == 503:
                break
            assert time.monotonic() < deadline
        assert api.get("/v1/hours", "admin").status_code == 200
    finally:
        may_go_on.set()
    monkeypatch.undo()
    assert api.get("/v1/hours", "admin", min_position=position).status_code == 200
