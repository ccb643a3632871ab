"""A running service and who calls it: real HTTP, real tokens, and every error held to the documentation."""

import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Self

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.app import create_app
from api.protocol import configured
from api.wiring import Timebank, _new_command
from application.write_loop import Accepted, Ticket, Writer
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
from domain.decision import Actor, Role
from domain.hours import ConfirmHours, LogHours, confirm, log
from domain.household import (
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    enrol_volunteer,
    register_household,
    register_member,
)
from infrastructure.tokens import issue_token

XINZHU, JINHU, RARE = "新竹社区", "金湖社区", "𠮷祥社区"
GRID = ("第3网格", "甲", "2栋")
DEADLINE_SECONDS = 60
STAFF: dict[str, tuple[Role, str | None]] = {
    "admin": ("admin", None),
    "auditor": ("auditor", None),
    "S0": ("staff", None),
    "S1": ("staff", XINZHU),
    "S2": ("staff", XINZHU),
    "S9": ("staff", JINHU),
}
# As long as no hash, seed or pseudonym has by chance: tests look for numbers where they mustn't be.
_numbers = itertools.count(100_000_001)


class Volunteer:
    """Somebody new in a household of their own, and where their time goes by."""

    def __init__(self, number: int, day: datetime) -> None:
        self.number, self.household = f"V{number}", f"H{number}"
        self._day = day

    def hours(self, **changes: Any) -> dict[str, Any]:
        """A claim for an hour of yesterday's morning; ``hour`` names another, ``days_ago`` another day."""
        start = self._day + timedelta(days=1 - changes.pop("days_ago", 1), hours=changes.pop("hour", 9))
        body = {
            "volunteer": self.number,
            "service": "助餐",
            "started_at": start.isoformat(),
            "ended_at": (start + timedelta(minutes=60)).isoformat(),
        }
        return body | changes


_document: dict[str, Any] = {}
"""What documents the routes, which are those of every ledger: made once, as it takes a fifth of a second."""


class Api:
    """Calls one service. ``by`` names the caller: one of STAFF, a volunteer's number, or None for nobody."""

    def __init__(self, bank: Timebank, address: str, app: FastAPI | None = None) -> None:
        self.bank, self.app = bank, app or create_app(bank)
        self.client = httpx.Client(base_url=address, timeout=DEADLINE_SECONDS)
        self.tokens = {name: self.new_token(name, *role) for name, role in STAFF.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def new_token(self, person: str, role: Role, community: str | None = None) -> str:
        with psycopg.connect(self.bank.address) as connection:
            return issue_token(connection, self.bank.name, person, role, community).token

    def request(self, method: str, path: str, by: str | None = None, **named: Any) -> httpx.Response:
        headers = dict(named.pop("headers", {}))
        if by is not None:
            headers["Authorization"] = f"Bearer {self.tokens[by]}"
        if (key := named.pop("key", None)) is not None:
            headers["Idempotency-Key"] = key
        return self.client.request(method, path, headers=headers, **named)

    def get(self, path: str, by: str | None = None, /, **params: Any) -> httpx.Response:
        # No parameters at all would take away those that the path names itself.
        return self.request("GET", path, by, params=params or None)

    def post(self, path: str, body: Any, by: str | None = None, key: str | None = None) -> httpx.Response:
        return self.request("POST", path, by, key=key, json=body)

    def wrote(self, path: str, body: Any, by: str, key: str | None = None) -> dict[str, Any]:
        """A write that must be accepted for the first time; its answer."""
        response = self.post(path, body, by, key)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        assert not answer["repeated"]
        return answer

    def read(self, path: str, by: str | None = None, /, **params: Any) -> Any:
        """A read that must succeed and hold everything that was written."""
        response = self.get(path, by, **params, min_position=self.bank.store.head())
        assert response.status_code == 200, response.text
        return response.json()

    def new_volunteer(self, community: str = XINZHU) -> Volunteer:
        """Registered and enrolled, with a token."""
        number = next(_numbers)
        person = Volunteer(number, midnight(self.bank) - timedelta(days=1))
        self.record(
            (register_household, RegisterHousehold(household=person.household, community=community)),
            (register_member, RegisterMember(member=person.number, household=person.household)),
            (enrol_volunteer, EnrolVolunteer(volunteer=person.number)),
        )
        self.tokens[person.number] = self.new_token(person.number, "volunteer")
        return person

    def new_household(self, community: str = XINZHU) -> str:
        household = f"H{next(_numbers)}"
        self.record((register_household, RegisterHousehold(household=household, community=community)))
        return household

    def logged(self, person: Volunteer, **changes: Any) -> str:
        """A record that waits to be settled."""
        command = LogHours.model_validate(person.hours(**changes))
        ((fact,),) = self.record((log, command), actor=Actor(person.number, "volunteer"))
        return str(fact.record)

    def served(self, count: int, community: str = XINZHU, **changes: Any) -> list[str]:
        """Confirmed records of an hour, each of a volunteer of its own: as many as may be published together."""
        records = [self.logged(self.new_volunteer(community), community=community, **changes) for _ in range(count)]
        self.record(*((confirm, ConfirmHours(record=record)) for record in records))
        return records

    def record(self, *commands: tuple[Any, Any], actor: Actor | None = None) -> list[tuple[Any, ...]]:
        """Record commands as the district's own staff would, without HTTP; the facts of each."""
        actor = actor or Actor("D1", "admin")
        tickets = [Ticket(decide, command, actor, _new_command()) for decide, command in commands]
        Writer(self.bank.store, self.bank.zone).run(tickets)
        for ticket in tickets:
            assert isinstance(ticket.outcome, Accepted), ticket.outcome
        return [ticket.outcome.facts for ticket in tickets if isinstance(ticket.outcome, Accepted)]

    def problem(self, response: httpx.Response, status: int, code: str) -> dict[str, Any]:
        """The response is this problem, in full, and the documentation of its route says so."""
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = response.json()
        assert (document["status"], document["code"]) == (status, code)
        assert document["type"] == f"/v1/problems/{code}"
        assert document["detail"] == f"{document['detail_zh']} / {document['detail_en']}"
        assert re.search("[一-鿿]", document["detail_zh"])
        assert re.search("[a-z]{3}", document["detail_en"])
        assert document["title"]
        assert document["instance"]
        if status not in (405, 500) and code != "not-found":
            assert code in self.documented(response.request).get(str(status), ""), f"{code} is not documented"
        return document

    def documented(self, request: httpx.Request) -> dict[str, str]:
        """The codes by status that the documentation names for the route of a request."""
        if not _document:
            _document.update(self.app.openapi())
        operation = _document["paths"][self.route(request).path_format][request.method.lower()]
        return {status: response["description"] for status, response in operation["responses"].items()}

    def route(self, request: httpx.Request) -> APIRoute:
        for route in api_routes(self.app):
            if request.method in (route.methods or ()) and route.path_regex.fullmatch(request.url.path):
                return route
        raise LookupError(request.url.path)


def api_routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def midnight(bank: Timebank) -> datetime:
    return datetime.now(bank.zone).replace(hour=0, minute=0, second=0, microsecond=0)


@contextmanager
def serving(bank: Timebank) -> Iterator[Api]:
    """The service in a thread of this process, on a free port, so that a test can also reach into it."""
    app = create_app(bank)
    config = configured(app, log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not server.started:
                assert thread.is_alive(), "the service did not start"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with Api(bank, f"http://127.0.0.1:{listening.getsockname()[1]}", app) as api:
                yield api
        finally:
            server.should_exit = True
            thread.join()


def register_places(api: Api) -> None:
    """The communities and grids of the tests."""
    grids = [(register_grid, RegisterGrid(community=XINZHU, grid=GRID[:depth])) for depth in (1, 2, 3)]
    api.record(*((register_community, RegisterCommunity(community=name)) for name in (XINZHU, JINHU, RARE)), *grids)
