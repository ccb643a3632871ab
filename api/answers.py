"""What the routes answer with: JSON made by msgspec, and the parameters that many of them share."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from application.write_loop import Accepted
from domain.identifiers import has_control

PAGE_MAX: Final = 500
IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 200

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX,
        description="Yours to choose, such as a UUID. The same key and body again give the first answer again.",
    ),
]
MinPosition = Annotated[
    int | None,
    Query(ge=0, le=2**62, description="Wait (at most 5 seconds) until the answer holds this position of the journal."),
]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


def _fit_cursor(text: str) -> str:
    if has_control(text):
        raise ValueError("不能包含控制字符 / must not contain control characters")
    return text


After = Annotated[str, AfterValidator(_fit_cursor), Query(max_length=200, description="The `next` of the page before.")]
AfterPosition = Annotated[int, Query(ge=0, le=2**62, description="The `next` of the page before.")]


def _fit_day(text: object) -> object:
    # A number alone would be read as seconds since 1970.
    if isinstance(text, str) and "-" not in text[1:]:
        raise PydanticCustomError("date_parsing", "must be a day such as 2026-10-31")
    return text


Day = Annotated[date, BeforeValidator(_fit_day)]
"""A day in a question."""


class Written(BaseModel):
    """A command's facts are in the journal, for ever."""

    position: int = Field(description="Position of the last fact; give it as min_position to read what you wrote.")
    positions: list[int] = Field(description="First and last position of the command's facts.")
    recorded_at_microseconds: int = Field(description="When the journal recorded them; Unix time.")
    repeated: bool = Field(description="True when this is the first answer again, to a repeated request.")
    facts: list[str] = Field(description="The stored types of the facts, in order.")
    record: str | None = Field(None, description="The service record's number.")
    records: list[str] | None = Field(None, description="The service records' numbers, in the order of the rows.")
    request: str | None = Field(None, description="The service request's number.")
    dispute: str | None = Field(None, description="The dispute's number.")
    proposal: str | None = Field(None, description="The proposed policy's number.")


def written(accepted: Accepted, **members: object) -> Response:
    """The answer to a write: 201, or 200 when the command had been recorded before."""
    content = {
        "position": accepted.position,
        "positions": [accepted.first_position, accepted.position],
        "recorded_at_microseconds": accepted.recorded_at_microseconds,
        "repeated": accepted.repeated,
        "facts": [fact.type for fact in accepted.facts],
        **members,
    }
    return answer(content, 200 if accepted.repeated else 201)


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Any struct, dict or list as JSON."""
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def page(rows: list[Any], limit: int, cursor: Callable[[Any], Any], position: int) -> Response:
    """One page of a list, from its rows and the one after them, which tells whether this page is the last.

    ``next`` is null on the last page, else the ``cursor`` of the last row shown.
    """
    shown = rows[:limit]
    return answer({"items": shown, "next": cursor(shown[-1]) if len(rows) > limit else None, "position": position})
