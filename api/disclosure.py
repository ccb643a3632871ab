"""Disclosures: a month sealed by staff, shown to everybody with what came late to it, frozen when its time is over."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
import psycopg
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import AfterPosition, IdempotencyKey, Limit, MinPosition, Written, answer, page, written
from api.identity import Anyone, Reader, Staff
from api.wiring import Counted, Service, Timebank, known, one_moment
from api.writing import WritingRoute
from domain.disclosure import (
    CountedPeriod,
    FreezePeriod,
    Period,
    SealPeriod,
    UnknownDisclosure,
    seal_period,
    seals,
)
from domain.figures import DEFINITIONS as FIGURE_DEFINITIONS
from domain.ledger import SYNTHETIC_NOTICE
from domain.policy import PolicyBook
from domain.published_list import (
    Listed,
    figure,
    groups,
    is_large_enough,
    large_enough,
    pseudonym,
    rows,
    volunteers,
)
from domain.refusal import Refusal
from infrastructure.log import LogDamaged, signed_size
from infrastructure.signing import SigningKeyUnusable
from infrastructure.vault import recalled_remark, remember
from projections import disclosure
from projections.consent import consenting
from projections.disclosure import DisclosureRow, corrected, due_to_freeze, late_changes, late_totals, service_given
from projections.dispute import EPOCH
from projections.objection import counted_objections

logger = logging.getLogger(__name__)
router = APIRouter(route_class=WritingRoute, prefix="/v1/disclosures", tags=["公示 disclosure"])

RULES: Final[dict[str, Callable[..., Any]]] = {"seal_a_period": seal_period}
READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "read_disclosure": (UnknownDisclosure, "figures-busy"),
    "list_late_changes": (UnknownDisclosure,),
    "read_own_row": (UnknownDisclosure,),
}
DISCLOSURE_SECONDS: Final = 10.0
"""How long a disclosure is kept before it is counted again, unless a fresher one is asked for."""
SECRET_BYTES: Final = 32

DEFINITIONS: Final[dict[str, str]] = {
    **{name: f"{zh} / {en}" for name, (zh, en) in FIGURE_DEFINITIONS.items()},
    "watermark": (
        "账本的位置：本月按截至该位置的内容计数，任何人可用账本重算。 / The position of the journal up to which the "
        "month was counted; anybody with the journal counts it again."
    ),
    "corrected": (
        "本月之前的服务，在上一个月封存之后、本月封存之前确认的减去冲正的：分钟数和记录数。 / Of services before this "
        "month: what was confirmed, less what was reversed, since the last month was sealed; minutes and records."
    ),
    "groups": (
        "按社区、按服务项目；人数或户数少于 count_min 的并入空名一组，仍不够则不公布。 / "
        "By community and by service; what counts fewer than count_min volunteers or households is put together under "
        "the empty name, and where that is still too few, nothing is published."
    ),
    "listed": (
        "同意公示的志愿者，每月一个化名，只写社区和时长范围，除化名外至少有 count_min 人完全相同；"
        "sha256 是封存时名单的摘要，withheld 是其中现在不显示的行的摘要（撤回同意，或因此人数不够）。 / "
        "Volunteers who consent, under a pseudonym for each month, with community and a range of minutes; at least "
        "count_min of them are alike in all but the pseudonym. `sha256` is of the list as it was sealed; `withheld` "
        "has the hashes of the rows of it that are not shown any more: consent was withdrawn, or too few are left."
    ),
    "late": (
        "封存之后确认或冲正的本月服务：仍按原日期计，计入下一次封存的更正。 / "
        "Services of this month that were confirmed or reversed after it was sealed: they keep their date, and the "
        "next seal counts them as corrections."
    ),
}


class Sealing(BaseModel):
    """Which month is to be sealed."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"example": {"period": "2026-10"}})

    period: Period


class SealWritten(Written):
    period: str
    watermark: int = Field(description="The position up to which the month was counted.")


class DisclosurePage(BaseModel):
    items: list[dict[str, object]]
    next: str | None
    position: int


class Disclosed(BaseModel):
    """A sealed month. What each part means is said beside it, under ``definitions``."""

    ledger: str
    synthetic: bool
    period: str
    status: str = Field(description="`open`: residents may object. `frozen`: it stays as it is.")
    position: int
    watermark: int
    sealed_position: int = Field(description="Where the seal is in the journal; its receipt proves it.")
    sealed_on: str
    objections_until: datetime
    decisions_until: datetime
    frozen_on: str | None
    households_served: int
    service_minutes: int
    service_records: int
    corrected_minutes: int
    corrected_records: int
    count_min: int
    by_community: list[dict[str, object]]
    by_service: list[dict[str, object]]
    listed: dict[str, object]
    late: dict[str, object]
    objections: list[dict[str, object]]
    undecided: int | None = Field(description="Objections that were frozen undecided; null while it is open.")
    definitions: dict[str, str]
    notice: str | None


class LatePage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int
    withheld: int = Field(description="How many aren't listed, because too few people are concerned.")


class OwnRow(BaseModel):
    """How the caller is listed, exactly: minutes and records are nobody else's to see."""

    period: str
    pseudonym: str | None = Field(description="Null where the month's secret was erased.")
    service_minutes: int
    service_records: int
    listed: bool
    why: str
    position: int


PeriodPath = Annotated[Period, Path(alias="period")]
AfterPeriod = Annotated[Period | None, Query(description="The `next` of the page before.")]


@router.post("", status_code=201, response_model=SealWritten, summary="封存公示 Seal and disclose a month")
async def seal_a_period(
    request: Request, caller: Staff, command: Sealing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Seal a month that is over, as all that is recorded has it now, and disclose it. By staff of the whole district or
    an administrator, one month after the other. Nothing is locked: what is corrected later is listed as late."""
    service: Service = request.app.state.service
    # All that was recorded before this was asked for is to be counted.
    head = await asyncio.to_thread(service.bank.store.head)
    size = await asyncio.to_thread(checkpoint_size, service.bank)
    await service.fresh(max(head, size))
    sealing = await asyncio.to_thread(prepared, service.bank, command.period, size)
    accepted = await service.execute(seal_period, sealing, caller, idempotency_key)
    sealed: Any = accepted.facts[0]
    return written(accepted, period=sealed.period, watermark=sealed.watermark)


def checkpoint_size(bank: Timebank) -> int:
    """How many facts are in the log, with all that is recorded now, at a checkpoint that is signed; 0: there is none.

    A month that is counted up to there can be exported up to there, too.
    """
    try:
        with contextlib.closing(bank.sealer()) as sealer:
            sealer.catch_up()
            note = sealer.sign()
    except (LogDamaged, SigningKeyUnusable) as error:
        # Residents are told of their month all the same: what an operator has to look into is no reason to wait.
        logger.error("a month is sealed without a checkpoint: %s", error)
        return 0
    return 0 if note is None else signed_size(note)


def prepared(bank: Timebank, period: str, size: int = 0) -> SealPeriod:
    """The command to seal a month, with what the projections count now; up to a size of the log that is signed, where
    they hold it.

    Raises: StoreUnavailable.
    """
    since = known(bank.store, seals).watermark
    secret = _new_secret(bank, period)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        if size and since <= size < position:
            position = size
        given = service_given(cursor, period, position)
        corrections = corrected(cursor, period, since, position) if since else (0, 0)
        agreed = consenting(cursor, position)
    total = figure(given)
    counted = CountedPeriod(
        position,
        since,
        total.households_served,
        total.service_minutes,
        total.service_records,
        *corrections,
        tuple(
            one._replace(person=pseudonym(secret, bank.name, period, one.person))
            for one in volunteers(given)
            if one.person in agreed
        ),
    )
    return SealPeriod(period=period, counted=counted)


def secret_key(period: str) -> str:
    """Where the vault keeps what a month's pseudonyms are made with."""
    return "disclosure:" + period


def secret_of(bank: Timebank, period: str) -> bytes | None:
    """A month's secret; None where there is none, or it was erased."""
    with psycopg.connect(bank.address) as connection:
        kept = recalled_remark(connection, bank.name, secret_key(period))
    return None if kept is None else bytes.fromhex(kept)


def _new_secret(bank: Timebank, period: str) -> bytes:
    """A month's secret, made if there is none: the same for all who are sealing it at the same moment."""
    with psycopg.connect(bank.address) as connection:
        new = secrets.token_hex(SECRET_BYTES)
        remember(connection, bank.name, remarks={secret_key(period): new}, overwrite=False)
        return bytes.fromhex(recalled_remark(connection, bank.name, secret_key(period)) or new)


@router.get("", response_model=DisclosurePage, summary="公示列表 Disclosed months")
async def list_disclosures(
    request: Request, _: Anyone, after: AfterPeriod = None, limit: Limit = 100, min_position: MinPosition = None
) -> Response:
    """The months that are sealed, the earliest first, with their figures. Public."""
    service: Service = request.app.state.service
    position = await service.fresh(min_position)
    async with service.pool.connection() as connection:
        found = await disclosure.disclosures(connection, after=after or "", limit=limit + 1)
    return page([shown(service.bank, row) for row in found], limit, lambda item: item["period"], position)


@router.get("/{period}", response_model=Disclosed, summary="月度公示 A disclosed month")
async def read_disclosure(
    request: Request, _: Anyone, period: PeriodPath, min_position: MinPosition = None
) -> Response:
    """A sealed month: figures as of the seal, by community and service, the pseudonymous list, what came late, and how
    objections stand. Public; nobody can be recognised in it."""
    service: Service = request.app.state.service
    await service.fresh(min_position)

    def count() -> Counted:
        content = disclosed(service.bank, period)
        return Counted(time.monotonic(), content["position"], msgspec.json.encode(content))

    content = await service.counted(("disclosure", period), count, min_position or 0, DISCLOSURE_SECONDS)
    return answer(msgspec.Raw(content))


def shown(bank: Timebank, row: DisclosureRow) -> dict[str, Any]:
    """A sealed month as its facts have it, in the ledger's time; not who sealed it, which the facts themselves say."""
    left_out = {"sealed_by", "frozen_at_microseconds", "frozen_position", "list_rows", "list_sha256"}
    content = {
        name: value
        for name, value in msgspec.to_builtins(row).items()
        if name not in left_out and not name.endswith("_microseconds")
    }
    frozen = row.frozen_at_microseconds
    return {
        **content,
        "status": row.status,
        "objections_until": _local(bank, row.objections_until_microseconds),
        "decisions_until": _local(bank, row.decisions_until_microseconds),
        "frozen_on": None if frozen is None else _local(bank, frozen).date(),
    }


def _local(bank: Timebank, microseconds: int) -> datetime:
    return (EPOCH + timedelta(microseconds=microseconds)).astimezone(bank.zone)


def disclosed(bank: Timebank, period: str) -> dict[str, Any]:
    """All that is published of a month, in one snapshot that names its position. Raises: UnknownDisclosure."""
    secret = secret_of(bank, period)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        row = disclosure.disclosure(cursor, period)
        if row is None:
            raise UnknownDisclosure(period)
        given = service_given(cursor, period, row.watermark)
        then, now = consenting(cursor, row.watermark), consenting(cursor, None)
        late = late_totals(cursor, row)
        objections = counted_objections(cursor, period)
    sealed: list[Listed] = []
    agreeing: set[str] = set()
    if secret is not None:
        names = {one.person: pseudonym(secret, bank.name, period, one.person) for one in volunteers(given)}
        sealed = rows(
            (one._replace(person=names[one.person]) for one in volunteers(given) if one.person in then), row.count_min
        )
        agreeing = {names[person] for person in now if person in names}
    kept = large_enough([one for one in sealed if one.pseudonym in agreeing], row.count_min)
    seen = {one.pseudonym for one in kept}
    withheld = sorted(one.sha256().hex() for one in sealed if one.pseudonym not in seen)
    return {
        "ledger": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "position": position,
        **shown(bank, row),
        "by_community": groups(given, lambda one: one.community, row.count_min),
        "by_service": groups(given, lambda one: one.service, row.count_min),
        "listed": {"rows": kept, "withheld": withheld, "sealed_rows": row.list_rows, "sha256": row.list_sha256},
        "late": {
            "changes": late.changes,
            "change_minutes": late.change_minutes,
            "change_records": late.change_records,
        },
        "objections": objections,
        "definitions": DEFINITIONS,
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


@router.get("/{period}/late-entries", response_model=LatePage, summary="封存后的更正 What came late to a month")
async def list_late_changes(
    request: Request,
    _: Anyone,
    period: PeriodPath,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Services of a sealed month that were confirmed or reversed after its watermark, in the order of their positions,
    without saying whose; not at all where too few people are concerned. Public."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    content = await asyncio.to_thread(late_page, service.bank, period, after, limit)
    return answer(content)


def late_page(bank: Timebank, period: str, after: int = 0, limit: int = 100) -> dict[str, Any]:
    """A page of what came late to a month. Raises: UnknownDisclosure."""
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        row = disclosure.disclosure(cursor, period)
        if row is None:
            raise UnknownDisclosure(period)
        totals = late_totals(cursor, row)
        safe = is_large_enough(totals.volunteers, totals.households_served, row.count_min)
        found = late_changes(cursor, row, str(bank.zone), after=after, limit=limit + 1) if safe else []
    return {
        "items": found[:limit],
        "next": found[limit - 1].position if len(found) > limit else None,
        "position": position,
        "withheld": 0 if safe else totals.changes,
    }


WHY: Final[dict[str, str]] = {
    "listed": "在名单中。 / You are in the list.",
    "no-service": "本月封存时没有您已确认的服务。 / The month had no confirmed service of yours when it was sealed.",
    "no-consent": "封存时您没有同意公示。 / You had not consented when it was sealed.",
    "withdrawn": "您已撤回同意，不再显示。 / You have withdrawn your consent and are shown no longer.",
    "too-few": "与您情况相同的人太少，为免被认出不显示。 / Too few are like you; you might be recognised.",
}


@router.get("/{period}/own", response_model=OwnRow, summary="我在公示中 How I am listed")
async def read_own_row(
    request: Request, caller: Reader, period: PeriodPath, min_position: MinPosition = None
) -> Response:
    """The caller's own pseudonym of the month and what was counted for them, so that they can check it and object."""
    service: Service = request.app.state.service
    await service.fresh(min_position)
    return answer(await asyncio.to_thread(own_row, service.bank, period, caller.id))


def own_row(bank: Timebank, period: str, person: str) -> dict[str, Any]:
    """How somebody is listed, and what was counted for them. Raises: UnknownDisclosure."""
    secret = secret_of(bank, period)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        row = disclosure.disclosure(cursor, period)
        if row is None:
            raise UnknownDisclosure(period)
        given = [one for one in service_given(cursor, period, row.watermark) if one.volunteer == person]
        then, now = consenting(cursor, row.watermark), consenting(cursor, None)
    name = None if secret is None else pseudonym(secret, bank.name, period, person)
    if not given:
        why = "no-service"
    elif person not in then:
        why = "no-consent"
    elif person not in now:
        why = "withdrawn"
    else:
        listed = [one.pseudonym for one in disclosed(bank, period)["listed"]["rows"]]
        why = "listed" if name in listed else "too-few"
    return {
        "period": period,
        "pseudonym": name,
        "service_minutes": sum(one.minutes for one in given),
        "service_records": len(given),
        "listed": why == "listed",
        "why": WHY[why],
        "position": position,
    }


# ── What falls due ───────────────────────────────────────────────────────────────────────────────────────────────


def to_freeze(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterator[tuple[str, FreezePeriod]]:
    """Disclosures whose time is over."""
    for period in due_to_freeze(connection.cursor(), now):
        yield period, FreezePeriod(period=period)
