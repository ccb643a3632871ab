"""The direct way into a writing route: a body may come in parts, and its sender may go away."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request

from api.hours import router
from api.problems import Problem
from api.writing import WritingRoute, _command
from domain.community import RegisterCommunity


def sent(*messages: dict[str, Any]) -> Request:
    """A request whose body arrives in these messages."""
    arriving: Iterator[dict[str, Any]] = iter(messages)

    async def receive() -> Any:
        return next(arriving)

    return Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)


def part(body: bytes, *, more_body: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more_body}


def read(request: Request) -> Any:
    return asyncio.run(_command(request, RegisterCommunity))


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_a_body_is_the_same_in_however_many_parts_it_comes(length: int) -> None:
    body = '{"community":"𠮷祥社区"}'.encode()
    parts = [part(body[start : start + length]) for start in range(0, len(body), length)]
    assert read(sent(*parts, part(b"", more_body=False))) == RegisterCommunity(community="𠮷祥社区")


def test_a_message_without_a_body_and_without_more_is_the_end_of_it() -> None:
    whole = part(b'{"community":"a"}')
    assert read(sent(whole, {"type": "http.request"})) == RegisterCommunity(community="a")


def test_a_client_that_goes_away_before_its_body_ends_has_given_no_command() -> None:
    with pytest.raises(Problem) as raised:
        read(sent(part(b'{"community":"a"}'), {"type": "http.disconnect"}))
    assert raised.value.code == "bad-request"


def test_logging_hours_is_entered_directly_and_a_route_of_another_shape_is_not() -> None:
    routes = {route.name: route for route in router.routes if isinstance(route, WritingRoute)}
    names = {name: route.app.__qualname__ for name, route in routes.items() if hasattr(route.app, "__qualname__")}
    assert "WritingRoute" in names["log_hours"]
    assert "WritingRoute" not in names["confirm_hours"]
