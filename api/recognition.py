"""Recognition: stars that fall due, honours, training and commendations on volunteers' records."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final

import psycopg
from fastapi import APIRouter, Body, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import IdempotencyKey, MinPosition, Written, answer, written
from api.certificate import listed
from api.household import VolunteerPath, readable_volunteer
from api.identity import Reader, Staff
from api.wiring import Service
from api.writing import WritingRoute
from domain.household import UnknownMember
from domain.identifiers import RecordId
from domain.policy import NoPolicyInForce, PolicyBook
from domain.recognition import (
    AwardHonour,
    RecordCommendation,
    RecordTraining,
    SettleStars,
    WithdrawalReason,
    WithdrawRecognition,
    award_honour,
    record_commendation,
    record_training,
    stars_due,
    withdraw_recognition,
)
from domain.refusal import Refusal
from projections import certificate, recognition
from projections.recognition import RecognitionRow

router = APIRouter(route_class=WritingRoute, prefix="/v1", tags=["星级与荣誉 recognition"])

RULES: Final[dict[str, Callable[..., Any]]] = {
    "add_honour": award_honour,
    "add_training": record_training,
    "add_commendation": record_commendation,
    "withdraw_a_recognition": withdraw_recognition,
}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {"read_recognition": (UnknownMember,)}
EXAMPLES: Final[dict[str, Any]] = {
    "add_honour": {
        "volunteer": "V00001",
        "title": "年度优秀志愿者",
        "level": "community",
        "awarded_on": "2026-10-31",
    },
    "add_training": {"volunteer": "V00001", "subject": "first-aid", "minutes": 480, "trained_on": "2026-10-18"},
    "add_commendation": {
        "volunteer": "V00001",
        "title": "表扬信",
        "organisation": "新竹街道办事处",
        "commended_on": "2026-10-31",
    },
    "withdraw_a_recognition": {"reason": "wrong-person"},
}
# For each kind: what its title and its detail are called.
KINDS: Final[dict[str, tuple[str, str, str]]] = {
    "honour": ("title", "level", "awarded_on"),
    "training": ("name", "subject", "trained_on"),
    "commendation": ("title", "organisation", "commended_on"),
}


class RecognitionWritten(Written):
    recognition: str = Field(description="The number of the honour, training or commendation.")


class Withdrawal(BaseModel):
    """Why it no longer stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: WithdrawalReason


class RecognitionRecord(BaseModel):
    """A volunteer's record beside the hours themselves. What was withdrawn stays on it, with its reason."""

    volunteer: str
    service_minutes: int = Field(description="Of confirmed and unreversed service.")
    service_records: int
    star: int = Field(description="The highest star that is held; 0: none.")
    training_minutes: int = Field(description="Of all trainings that stand.")
    stars: list[dict[str, object]]
    honours: list[dict[str, object]]
    trainings: list[dict[str, object]]
    commendations: list[dict[str, object]]
    certificates: list[dict[str, object]]
    position: int


@router.post("/honours", status_code=201, response_model=RecognitionWritten, summary="授予荣誉 Award an honour")
async def add_honour(
    request: Request, caller: Staff, command: AwardHonour, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give a volunteer an honour. Never oneself, nor somebody of one's own household."""
    service: Service = request.app.state.service
    accepted = await service.execute(award_honour, command, caller, idempotency_key)
    return written(accepted, recognition=accepted.facts[0].recognition)  # type: ignore[attr-defined]


@router.post("/trainings", status_code=201, response_model=RecognitionWritten, summary="登记培训 Record a training")
async def add_training(
    request: Request, caller: Staff, command: RecordTraining, idempotency_key: IdempotencyKey = None
) -> Response:
    """Put a training on a volunteer's record. It earns no time."""
    service: Service = request.app.state.service
    accepted = await service.execute(record_training, command, caller, idempotency_key)
    return written(accepted, recognition=accepted.facts[0].recognition)  # type: ignore[attr-defined]


@router.post(
    "/commendations", status_code=201, response_model=RecognitionWritten, summary="登记表彰 Record a commendation"
)
async def add_commendation(
    request: Request, caller: Staff, command: RecordCommendation, idempotency_key: IdempotencyKey = None
) -> Response:
    """Put an organisation's commendation on a volunteer's record."""
    service: Service = request.app.state.service
    accepted = await service.execute(record_commendation, command, caller, idempotency_key)
    return written(accepted, recognition=accepted.facts[0].recognition)  # type: ignore[attr-defined]


@router.post(
    "/recognitions/{recognition}/withdrawal",
    status_code=201,
    response_model=Written,
    summary="撤销 Withdraw an honour, training or commendation",
)
async def withdraw_a_recognition(
    request: Request,
    caller: Staff,
    number: Annotated[RecordId, Path(alias="recognition")],
    body: Annotated[Withdrawal, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Withdraw what was put on a record, for a reason. It stays on the record as withdrawn."""
    service: Service = request.app.state.service
    command = WithdrawRecognition(recognition=number, reason=body.reason)
    return written(await service.execute(withdraw_recognition, command, caller, idempotency_key))


@router.get(
    "/volunteers/{volunteer}/recognition", response_model=RecognitionRecord, summary="志愿者档案 A volunteer's record"
)
async def read_recognition(
    request: Request, caller: Reader, volunteer: VolunteerPath, min_position: MinPosition = None
) -> Response:
    """Stars, honours, training, commendations and certificates. Read by whoever reads the volunteer: themselves, staff
    of their community, auditors."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    await readable_volunteer(service, caller, volunteer)
    async with service.pool.connection() as connection:
        return answer({**await record_of(connection, volunteer), "position": position})


async def record_of(connection: psycopg.AsyncConnection[Any], volunteer: str) -> dict[str, object]:
    """All that stands or stood on a volunteer's record."""
    rows = await recognition.recognitions(connection, volunteer)
    minutes, records = await recognition.served(connection, volunteer)
    issued = await certificate.certificates(connection, volunteer=volunteer, limit=1000)
    standing = [row for row in rows if row.status == "stands"]
    return {
        "volunteer": volunteer,
        "service_minutes": minutes,
        "service_records": records,
        "star": max((row.star for row in standing), default=0),
        "training_minutes": sum(row.minutes for row in standing if row.kind == "training"),
        "stars": [_star(row) for row in rows if row.kind == "star"],
        **{f"{kind}s": [_entry(row) for row in rows if row.kind == kind] for kind in KINDS},
        "certificates": [listed(row) for row in issued],
    }


def _star(row: RecognitionRow) -> dict[str, object]:
    return {
        "star": row.star,
        "threshold_minutes": row.threshold_minutes,
        "service_minutes": row.minutes,
        **_stands(row),
    }


def _entry(row: RecognitionRow) -> dict[str, object]:
    title, detail, day = KINDS[row.kind]
    shown = {"recognition": row.recognition, title: row.title, detail: row.detail, day: row.on_day}
    if row.kind == "training":
        shown["minutes"] = row.minutes  # type: ignore[assignment]
    return {**shown, "given_by": row.given_by, **_stands(row)}


def _stands(row: RecognitionRow) -> dict[str, object]:
    names = ("status", "withdrawn_by", "reason", "position", "recorded_at_microseconds", "withdrawn_position")
    return {name: getattr(row, name) for name in names}


def find_stars(
    connection: psycopg.Connection[Any], now: datetime, book: PolicyBook
) -> Iterator[tuple[str, SettleStars]]:
    """Whose stars have changed, as far as the projections know. The position is part of each key: what was reached may
    be lost and reached again."""
    try:
        star_minutes = book.in_force(now.date()).policy.star_minutes
    except NoPolicyInForce:
        return
    position, counts = recognition.star_counts(connection, min(star_minutes, default=None))
    for one in counts:
        awarded, lost = stars_due(one.held, one.minutes, star_minutes)
        if lost or (awarded and one.alive):
            yield (
                f"{one.volunteer} {position}",
                SettleStars(volunteer=one.volunteer, service_minutes=one.minutes, counted_position=position),
            )
