"""Whatever is sent, the answer is a problem document that says what to do and tells nothing of the inside."""

import asyncio
import json
import logging
import socket
import time
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from api import hours as hours_routes
from api import problems
from api.app import BODY_BYTES_MAX
from api.wiring import READ_CONNECTIONS_MAX, Service, Timebank
from application.write_loop import WriteLoop
from domain.journal import StoreUnavailable
from infrastructure.fact_store import PostgresFactStore
from infrastructure.projector import Projector
from projections import hours as hours_projection
from tests.api.service import Api
from tests.api.test_answers import READS

JSON = {"Content-Type": "application/json"}


def posted(api: Api, content: bytes | str, headers: dict[str, str] = JSON) -> httpx.Response:
    return api.request("POST", "/v1/hours", "S1", content=content, headers=headers)


def raw(api: Api, request: bytes) -> tuple[int, bytes]:
    """Bytes as no client library would send them; the status and all of the answer."""
    host, port = str(api.client.base_url.host), api.client.base_url.port
    with socket.create_connection((host, port or 80), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split()[1]), answer


BODIES: dict[str, tuple[str | bytes, int, str]] = {
    "nothing": ("", 422, "invalid-request"),
    "null": ("null", 422, "invalid-request"),
    "a list": ("[]", 422, "invalid-request"),
    "a number": ("7", 422, "invalid-request"),
    "not JSON": ("{hours: 1}", 422, "invalid-request"),
    "cut off": ('{"volunteer": "V', 422, "invalid-request"),
    "not UTF-8": (b'{"volunteer": "\xff\xfe"}', 422, "invalid-request"),
    "deep lists": ("[" * 100_000 + "]" * 100_000, 422, "invalid-request"),
    "deep objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, 422, "invalid-request"),
    "a number of 5000 digits": ('{"minutes": ' + "9" * 5000 + "}", 422, "invalid-request"),
    "not a number": ('{"minutes": NaN}', 422, "invalid-request"),
    "NUL": ('{"volunteer": "V\\u0000"}', 422, "invalid-request"),
    "a lone surrogate": ('{"volunteer": "\\ud800", "service": "\\udfff"}', 422, "invalid-request"),
    "SQL": (json.dumps({"volunteer": "'; DROP TABLE facts; --"}), 422, "invalid-request"),
    "a field too many": (json.dumps({"volunteer": "V1", "admin": True}), 422, "invalid-request"),
    "many fields too many": (json.dumps({f"field{n}": n for n in range(20_000)}), 422, "invalid-request"),
    "too large": (b" " * (BODY_BYTES_MAX + 1), 413, "body-too-large"),
}


@pytest.mark.parametrize(("content", "status", "code"), BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_refused(api: Api, content: str | bytes, status: int, code: str) -> None:
    head = api.bank.store.head()
    found = api.problem(posted(api, content), status, code)
    assert len(found.get("errors", [])) <= problems.ERRORS_MAX
    assert api.bank.store.head() == head
    assert api.get("/v1/status").status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", ""])
def test_a_body_of_another_kind_is_refused(api: Api, kind: str) -> None:
    content = json.dumps(api.new_volunteer().hours())
    api.problem(posted(api, content, {"Content-Type": kind}), 422, "invalid-request")


def test_a_body_of_undeclared_length_is_refused(api: Api) -> None:
    def endless() -> Any:
        yield b"{}"

    api.problem(posted(api, endless()), 411, "length-required")  # type: ignore[arg-type]


ODD = {
    "NUL": "%00",
    "line": "%0A",
    "not UTF-8": "%ff%fe",
    "surrogate": "%ed%a0%80",
    "SQL": quote("' OR 1=1 --"),
    "long": "x" * 5000,
    "rare": quote("𠮷"),
    "backslash": "%5C",
    "wildcard": "%25",
    "dots": "..%2f..%2fetc",
}
PATHS = (
    "/v1/hours/{}",
    "/v1/households/{}/balance",
    "/v1/households/{}/statement",
    "/v1/households/{}/members",
    "/v1/volunteers/{}",
    "/v1/communities/{}/grids",
    "/v1/communities/{}/pool",
    "/v1/problems/{}",
    "/docs/{}",
    "/{}",
    "/v1/hours?community={}",
    "/v1/hours?volunteer={}",
    "/v1/hours?status={}",
    "/v1/hours?after={}",
    "/v1/hours?limit={}",
    "/v1/hours?min_position={}",
    "/v1/households?community={}",
    "/v1/households?after={}",
    "/v1/communities?after={}",
    "/v1/communities/新竹社区/grids?after={}",
    "/v1/figures?as_of={}",
    "/v1/figures?by={}",
    "/v1/rewards/{}",
    "/v1/rewards?community={}",
    "/v1/rewards?partner={}",
    "/v1/rewards?open={}",
    "/v1/rewards?after={}",
    "/v1/partners?community={}",
    "/v1/partners?after={}",
    "/v1/partners/{}/settlements",
    "/v1/partners/{}/statement",
    "/v1/reservations/{}",
    "/v1/reservations?community={}",
    "/v1/reservations?status={}",
    "/v1/reservations?after={}",
    "/v1/open-reservations?community={}",
    "/v1/open-reservations?after={}",
    "/v1/queues/{}",
    "/v1/queues?community={}",
    "/v1/solvency?community={}",
    "/v1/signals?since={}",
    "/v1/volunteers/{}/recognition",
    "/v1/certificates/{}",
    "/v1/certificates?community={}",
    "/v1/certificates?volunteer={}",
    "/v1/certificates?after={}",
    "/v1/certificates/{}/verification?code=X",
    "/v1/certificates/2026-000001/verification?code={}",
    "/v1/published-certificates?after={}",
    "/v1/notices?kind={}",
    "/v1/notices?since={}",
    "/v1/notices?after={}",
    "/v1/notices/failed?after={}",
)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_paths_and_questions_are_answered_in_good_order(api: Api, odd: str) -> None:
    for path in PATHS:
        response = api.get(path.format(odd), "admin")
        assert response.status_code in (200, 404, 422), (path, response.text)
        if response.status_code != 200:
            assert response.headers["content-type"] == problems.MEDIA_TYPE
            assert response.json()["code"]
    for step in ("confirmation", "rejection", "reversal"):
        response = api.post(f"/v1/hours/{odd}/{step}", {"reason": "other"}, "S1")
        assert response.status_code in (404, 422), response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/", 405, "method-not-allowed"),
        ("GET", "/v2/hours", 404, "not-found"),
        ("POST", "/nowhere", 404, "not-found"),
        ("OPTIONS", "/v1/hours", 405, "method-not-allowed"),
        ("PUT", "/v1/hours", 405, "method-not-allowed"),
        ("DELETE", "/v1/hours/R1", 405, "method-not-allowed"),
        ("PATCH", "/v1/figures", 405, "method-not-allowed"),
        ("TRACE", "/v1/status", 405, "method-not-allowed"),
        ("GET", "/v1/problems/no-such-code", 404, "not-found"),
        ("GET", "/docs/no-such-file", 404, "not-found"),
    ],
)
def test_what_is_not_there_is_a_problem_document(api: Api, method: str, path: str, status: int, code: str) -> None:
    response = api.client.request(method, path)
    api.problem(response, status, code)
    assert status != 405 or response.headers["allow"]


def test_head_has_the_headers_of_a_problem_and_no_body(api: Api) -> None:
    for path, status in (("/v1/status", 405), ("/nowhere", 404)):
        response = api.client.head(path)
        assert (response.status_code, response.content) == (status, b"")
        assert response.headers["content-type"] == problems.MEDIA_TYPE


@pytest.mark.parametrize(
    "request_", [b"\x00\x01\x02\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\r\n" * 10 + b"x\r\n\r\n"]
)
def test_bytes_that_are_no_http_do_no_harm(api: Api, request_: bytes) -> None:
    status, _ = raw(api, request_)
    assert 400 <= status < 500
    assert api.get("/v1/status").status_code == 200


def test_a_declared_length_without_a_body_holds_nobody_up(api: Api) -> None:
    head = b"POST /v1/hours HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n"
    status, answer = raw(api, head)
    assert status == 413
    assert b"body-too-large" in answer


UNREADABLE = {
    "an unknown method": b"FROB /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    "a control character in a header": b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Note: a\x01b\r\n\r\n",
    "a length that is none": b"POST /v1/hours HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"POST /v1/hours HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}


@pytest.mark.parametrize("request_", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_http_is_answered_with_a_problem_document(api: Api, request_: bytes) -> None:
    status, answer = raw(api, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:])
    assert (status, headers[b"content-type"]) == (400, b"application/problem+json")
    assert (int(headers[b"content-length"]), headers[b"connection"]) == (len(body), b"close")
    found = json.loads(body)
    assert (found["status"], found["code"], found["type"]) == (400, "bad-request", "/v1/problems/bad-request")
    assert api.get("/v1/status").status_code == 200


def test_rejected_values_are_not_repeated(api: Api) -> None:
    secret = "秘密13812345678"
    body = {"volunteer": secret, "service": secret * 5, "started_at": secret, "ended_at": secret, "minutes": secret}
    response = api.post("/v1/hours", body, "S1")
    found = api.problem(response, 422, "invalid-request")
    assert {error["field"] for error in found["errors"]} == set(body)
    assert all(error["message_zh"] and error["message_en"] for error in found["errors"])
    assert "13812345678" not in response.text
    assert "秘密" not in response.text


@pytest.mark.parametrize("minutes", ["true", '"60"', "60.0", "[60]"])
def test_minutes_are_a_whole_number_and_nothing_that_could_pass_for_one(api: Api, minutes: str) -> None:
    anna = api.new_volunteer()
    body = json.dumps(anna.hours()).removesuffix("}") + f', "minutes": {minutes}}}'
    found = api.problem(posted(api, body, JSON), 422, "invalid-request")
    assert [(error["field"], error["message_zh"]) for error in found["errors"]] == [("minutes", "须为整数")]


def test_every_whole_number_that_a_client_may_send_is_strict(api: Api) -> None:
    bodies = {
        str(body.field_info.annotation): body.field_info.annotation
        for route in api.app.routes
        if isinstance(route, APIRoute)
        for body in route.dependant.body_params
    }
    numbers = {name: whole_numbers(TypeAdapter(body).core_schema) for name, body in bodies.items()}
    assert sum(map(len, numbers.values())) > 20
    assert [name for name, found in numbers.items() if not all(number.get("strict") for number in found)] == []


def whole_numbers(schema: Any) -> list[dict[str, Any]]:
    """The parts of pydantic's schema that read a whole number."""
    if isinstance(schema, dict):
        own = [schema] if schema.get("type") == "int" else []
        return own + [number for part in schema.values() for number in whole_numbers(part)]
    if isinstance(schema, list | tuple):
        return [number for part in schema for number in whole_numbers(part)]
    return []


def test_only_what_would_have_written_is_told_that_nothing_was_recorded(api: Api) -> None:
    asked = api.problem(api.get("/v1/figures", None, level=9), 422, "invalid-request")
    assert "recorded" not in asked["detail"]
    assert "登记" not in asked["detail"]
    sent = api.problem(api.post("/v1/hours", {}, "S1"), 422, "invalid-request")
    assert sent["detail_zh"].endswith("什么都没有登记。")
    assert sent["detail_en"].endswith("Nothing was recorded.")


def test_a_failure_inside_is_told_to_the_log_and_to_nobody_else(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2 in /srv/secret.py")

    monkeypatch.setattr(hours_projection, "records", failing)
    with caplog.at_level(logging.ERROR):
        response = api.get("/v1/hours", "admin")
        deadline = time.monotonic() + 60  # the log has it after the caller
        while "hunter2" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    api.problem(response, 500, "internal-error")
    assert "hunter2" not in response.text
    assert "Traceback" not in response.text


def test_a_decision_that_fails_is_a_problem_too_and_the_next_one_is_decided(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Any:
        raise RuntimeError("password=hunter2")
        yield

    anna = api.new_volunteer()
    with monkeypatch.context() as patch:
        patch.setattr(hours_routes, "log", failing)
        response = api.post("/v1/hours", anna.hours(), anna.number)
    api.problem(response, 500, "internal-error")
    assert "hunter2" not in response.text
    api.wrote("/v1/hours", anna.hours(), anna.number)


def test_a_ledger_that_cannot_be_written_to_is_a_problem_and_says_to_try_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise StoreUnavailable("host=10.0.0.1 password=hunter2")

    anna = api.new_volunteer()
    with monkeypatch.context() as patch:
        patch.setattr(WriteLoop, "submit", failing)
        response = api.post("/v1/hours", anna.hours(), anna.number, "again")
    api.problem(response, 503, "ledger-unavailable")
    assert response.headers["retry-after"] == "1"
    assert "hunter2" not in response.text
    api.wrote("/v1/hours", anna.hours(), anna.number, "again")


def test_every_kind_of_problem_is_explained_where_its_type_points(api: Api) -> None:
    listed = api.get("/v1/problems").json()["items"]
    assert len({item["code"] for item in listed}) == len(listed) > 30
    for item in listed:
        assert api.get(f"/v1/problems/{item['code']}").json() == item
        assert 400 <= item["status"] < 600
        assert item["text_zh"]
        assert item["text_en"]


def test_a_service_that_cannot_start_leaves_nothing_open(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no")

    async def start() -> None:
        async with Service(api.bank):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(Projector, "prepare", failing)
        service = Service(api.bank)
        with pytest.raises(RuntimeError):
            asyncio.run(service.__aenter__())
        assert service.pool.closed
    asyncio.run(start())


COUNTED = {"/v1/figures", "/v1/queues", "/v1/solvency", "/v1/signals"}
"""Reads that are counted on a connection of their own."""


def test_while_no_connection_is_to_be_had_every_read_says_so_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    service: Service = api.app.state.service
    api.get("/v1/hours", "admin")  # who calls is remembered for a while
    monkeypatch.setattr(service.pool, "timeout", 0.05)

    async def all_connections() -> list[Any]:
        return [await service.pool.getconn(60) for _ in range(READ_CONNECTIONS_MAX)]

    async def give_back(connections: list[Any]) -> None:
        for connection in connections:
            await service.pool.putconn(connection)

    taken = asyncio.run_coroutine_threadsafe(all_connections(), service._loop).result(60)
    try:
        for path in READS:
            if path not in COUNTED:
                response = api.get(path, "admin")
                api.problem(response, 503, "database-unavailable")
                assert response.headers["retry-after"] == "1"
        service.identity._known.clear()
        anna = api.new_volunteer()
        api.problem(api.post("/v1/hours", anna.hours(), anna.number), 503, "database-unavailable")
        assert api.get("/v1/status").status_code == 200
        assert api.get("/v1/problems").status_code == 200
    finally:
        asyncio.run_coroutine_threadsafe(give_back(taken), service._loop).result(60)
    assert api.get("/v1/hours", "admin").status_code == 200


def test_a_database_that_is_away_is_told_without_its_address(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise psycopg.OperationalError("connection to host=10.0.0.1 password=hunter2 failed")

    def unread(*_: object) -> None:
        raise StoreUnavailable("hunter2")

    monkeypatch.setattr(Timebank, "reading", away)
    monkeypatch.setattr(PostgresFactStore, "read_boundary", unread)
    for path in ("/v1/figures?as_of=1999-01-01", "/v1/policies"):
        response = api.get(path)
        api.problem(response, 503, "database-unavailable")
        assert response.headers["retry-after"] == "1"
        assert "hunter2" not in response.text
    assert "hunter2" in caplog.text


def test_every_route_that_asks_the_database_says_that_it_may_be_away(api: Api) -> None:
    for path, methods in api.client.get("/openapi.json").json()["paths"].items():
        for operation in methods.values():
            documented = "database-unavailable" in operation["responses"].get("503", {}).get("description", "")
            assert documented is not (path == "/v1/status" or path.startswith("/v1/problems"))
