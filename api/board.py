"""Staff's board: what waits for them, whether what was promised can be served, and what inspection should look into."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.answers import AfterPosition, Day, Limit, MinPosition, answer, page
from api.hours import ListedStatus
from api.identity import Inspector
from api.problems import Problem
from api.wiring import Counted, Service, Timebank, adopted_policies, one_moment
from domain.community import OutsideCommunity
from domain.decision import Actor
from domain.identifiers import PlaceName
from domain.ledger import SYNTHETIC_NOTICE
from domain.refusal import Refusal
from domain.signals import RULES as SIGNAL_RULES
from domain.signals import SCOPE_EN, SCOPE_ZH, Rule
from domain.solvency import DEFINITIONS, IDLE_MONTHS, SAVER_AGE_YEARS_MIN, Identity, months_to_serve_all
from projections import queue, solvency
from projections.late_entries import late_counts, late_entries
from projections.signals import signals

router = APIRouter(prefix="/v1", tags=["工作台 board"])

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    "list_queues": (OutsideCommunity, "figures-busy"),
    "read_queue": (OutsideCommunity, "not-found"),
    "list_late_entries": (OutsideCommunity,),
    "count_late_entries": (OutsideCommunity, "figures-busy"),
    "read_solvency": (OutsideCommunity, "figures-busy"),
    "read_signals": (OutsideCommunity, "figures-busy"),
}

SIGNALS_DAYS: Final = 365
SIGNALS_SECONDS: Final = 60.0
"""How long the answers about signals are kept: they look at months, and take a second or two to count."""
SOLVENCY_SECONDS: Final = 10.0
LATE_SECONDS: Final = 10.0
QUEUES_SECONDS: Final = 1.0

CommunityQuery = Annotated[PlaceName | None, Query(description="One community only. Staff of one see theirs alone.")]

LoggedSince = Annotated[Day | None, Query(description="Logged on this day or later.")]
LoggedUntil = Annotated[Day | None, Query(description="Logged on this day or earlier.")]
LATE_DEFINITION: Final = (
    "登记晚于当时规则的通常期限（late_after_days）的服务记录，不论是否已处理；从旧台账导入的不算。按登记的月份计。 / "
    "Service records that were logged later than the policy of their day ordinarily has it (`late_after_days`), "
    "settled or not; not those imported from older books. Counted by the month in which they were logged."
)


class QueueCount(BaseModel):
    queue: str
    title: str
    count: int
    oldest_waiting_days: int | None
    definition: str


class Queues(BaseModel):
    ledger: str
    synthetic: bool
    position: int
    community: str | None
    items: list[QueueCount]
    notice: str | None


class QueuePage(BaseModel):
    items: list[dict[str, object]]
    next: int | None
    position: int


class LateCounts(BaseModel):
    ledger: str
    synthetic: bool
    position: int
    community: str | None
    since: date | None
    until: date | None
    records: int
    items: list[dict[str, object]]
    definition: str
    notice: str | None


class Solvency(BaseModel):
    """Counted from accounts, movements and records. What each figure means is said beside it, under ``definitions``."""

    ledger: str
    synthetic: bool
    as_of: date
    position: int
    community: str | None
    outstanding: dict[str, int]
    overdrawn_minutes: int
    served: list[dict[str, object]]
    served_minutes_a_month: int = Field(description="The average of those months, in whole minutes.")
    months_to_serve_all: float | None
    issued: dict[str, object] | None = Field(description="Of the whole ledger; null where one community is asked for.")
    issued_by_community: list[dict[str, object]]
    waiting: dict[str, int | None]
    requests: dict[str, int | None]
    idle_savers: dict[str, object]
    definitions: dict[str, str]
    notice: str | None


class Signals(BaseModel):
    """Every rule, in words with its parameters, and what it found: the signals with the most records first."""

    ledger: str
    synthetic: bool
    since: date
    until: date
    position: int
    community: str | None
    rules: list[dict[str, object]]
    definition: str
    notice: str | None


def _own_community(caller: Actor, community: str | None) -> str | None:
    """The community whose things somebody may ask for: staff of one only for theirs. Raises: OutsideCommunity."""
    if caller.community is None:
        return community
    if community not in (None, caller.community):
        raise OutsideCommunity(community or "", caller.community)
    return caller.community


@router.get("/queues", response_model=Queues, summary="待办 Queues")
async def list_queues(
    request: Request, caller: Inspector, community: CommunityQuery = None, min_position: MinPosition = None
) -> Response:
    """What waits for staff: each queue with how many wait in it, and for how long the oldest has."""
    service: Service = request.app.state.service
    community = _own_community(caller, community)
    await service.fresh(min_position)
    question = ("queues", community)
    count = _counting(lambda: queues_board(service.bank, community=community, now=datetime.now(UTC)))
    return answer(msgspec.Raw(await service.counted(question, count, min_position or 0, QUEUES_SECONDS)))


@router.get("/queues/{name}", response_model=QueuePage, summary="一类待办 One queue")
async def read_queue(
    request: Request,
    caller: Inspector,
    name: Annotated[str, Path(max_length=100)],
    community: CommunityQuery = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """What waits in one queue, oldest first, each with the whole days that it has waited."""
    service: Service = request.app.state.service
    community = _own_community(caller, community)
    asked = queue.named(name)
    if asked is None:
        raise Problem("not-found")
    position = await service.fresh(min_position)
    policies = await asyncio.to_thread(adopted_policies, service.bank.store)
    async with service.pool.connection() as connection:
        rows = await queue.waiting(
            connection,
            asked,
            policies,
            community=community,
            now=datetime.now(UTC),
            zone=service.bank.zone,
            after=after,
            limit=limit + 1,
        )
    return page(rows, limit, lambda row: row["position"], position)


@router.get("/late-entries", response_model=QueuePage, summary="补登记录 Late entries")
async def list_late_entries(
    request: Request,
    caller: Inspector,
    community: CommunityQuery = None,
    since: LoggedSince = None,
    until: LoggedUntil = None,
    status: Annotated[ListedStatus | None, Query()] = None,
    after: AfterPosition = 0,
    limit: Limit = 100,
    min_position: MinPosition = None,
) -> Response:
    """Records that were logged later than the policy of their day ordinarily has it, settled or not, in the order they
    were logged, with the reason that was given."""
    service: Service = request.app.state.service
    community = _own_community(caller, community)
    position = await service.fresh(min_position)
    policies = await asyncio.to_thread(adopted_policies, service.bank.store)
    asked: dict[str, Any] = {"community": community, "since": since, "until": until, "status": status}
    async with service.pool.connection() as connection:
        rows = await late_entries(connection, policies, service.bank.zone, **asked, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: row.position, position)


@router.get("/late-entries/counts", response_model=LateCounts, summary="补登统计 Late entries counted")
async def count_late_entries(
    request: Request,
    caller: Inspector,
    community: CommunityQuery = None,
    since: LoggedSince = None,
    until: LoggedUntil = None,
    min_position: MinPosition = None,
) -> Response:
    """How many late entries there are, by community and by the month in which they were logged, and what became of
    them."""
    service: Service = request.app.state.service
    community = _own_community(caller, community)
    await service.fresh(min_position)
    question = ("late-entries", community, since, until)
    count = _counting(lambda: late_board(service.bank, community=community, since=since, until=until))
    return answer(msgspec.Raw(await service.counted(question, count, min_position or 0, LATE_SECONDS)))


@router.get("/solvency", response_model=Solvency, summary="兑付能力 Solvency")
async def read_solvency(
    request: Request, caller: Inspector, community: CommunityQuery = None, min_position: MinPosition = None
) -> Response:
    """What is outstanding against what is served, where all issued minutes are, how long records wait, and which old
    savers leave their minutes idle."""
    service: Service = request.app.state.service
    community = _own_community(caller, community)
    await service.fresh(min_position)
    today = datetime.now(service.bank.zone).date()
    question = ("solvency", community, today)
    count = _counting(lambda: solvency_board(service.bank, community=community, today=today))
    return answer(msgspec.Raw(await service.counted(question, count, min_position or 0, SOLVENCY_SECONDS)))


@router.get("/signals", response_model=Signals, summary="风险信号 Risk signals")
async def read_signals(
    request: Request,
    caller: Inspector,
    community: CommunityQuery = None,
    since: Annotated[Day | None, Query(description="Services begun from this day on; a year ago if left out.")] = None,
    min_position: MinPosition = None,
) -> Response:
    """What each rule for inspection points at, with the records. A signal is no finding."""
    service: Service = request.app.state.service
    community = _own_community(caller, community)
    await service.fresh(min_position)
    today = datetime.now(service.bank.zone).date()
    question = ("signals", community, since, today)
    count = _counting(lambda: signals_board(service.bank, community=community, since=since, today=today))
    return answer(msgspec.Raw(await service.counted(question, count, min_position or 0, SIGNALS_SECONDS)))


def _counting(count: Callable[[], dict[str, Any]]) -> Callable[[], Counted]:
    def counted() -> Counted:
        content = count()
        return Counted(time.monotonic(), content["position"], msgspec.json.encode(content))

    return counted


def queues_board(bank: Timebank, *, community: str | None, now: datetime) -> dict[str, Any]:
    """Every queue with its count, in one snapshot that names its position."""
    policies = adopted_policies(bank.store)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        found = queue.counts(cursor, policies, community=community, now=now, zone=bank.zone)
    return {
        "ledger": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "position": position,
        "community": community,
        "items": found,
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


def late_board(bank: Timebank, *, community: str | None, since: date | None, until: date | None) -> dict[str, Any]:
    """The late entries counted by community and month, in one snapshot that names its position."""
    policies = adopted_policies(bank.store)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        found = late_counts(cursor, policies, bank.zone, community=community, since=since, until=until)
    return {
        "ledger": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "position": position,
        "community": community,
        "since": since,
        "until": until,
        "records": sum(each.records for each in found),
        "items": found,
        "definition": LATE_DEFINITION,
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


def solvency_board(bank: Timebank, *, community: str | None, today: date) -> dict[str, Any]:
    """The whole board with its definitions, counted in one snapshot that names its position."""
    year_ago = datetime.combine(solvency.months_before(today, 12), datetime.min.time(), bank.zone)
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        outstanding, overdrawn_minutes = solvency.outstanding(cursor, community)
        served = solvency.served(cursor, community, today)
        total = None if community is not None else solvency.identity(cursor)
        by_community = solvency.identities(cursor, community)
        waiting = solvency.waiting(cursor, community, int(year_ago.timestamp()) * 1_000_000)
        requests = solvency.requests(cursor, community, int(year_ago.timestamp()) * 1_000_000)
        savers, idle_minutes, shown = solvency.idle_savers(cursor, community, today, str(bank.zone))
    return {
        "ledger": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "as_of": today,
        "position": position,
        "community": community,
        "outstanding": outstanding,
        "overdrawn_minutes": overdrawn_minutes,
        "served": served,
        "served_minutes_a_month": sum(month.service_minutes for month in served) // max(len(served), 1),
        "months_to_serve_all": months_to_serve_all(outstanding.total_minutes, served),
        "issued": None if total is None else _with_difference(total),
        "issued_by_community": [_with_difference(each) for each in by_community],
        "waiting": waiting,
        "requests": requests,
        "idle_savers": {
            "age_years_min": SAVER_AGE_YEARS_MIN,
            "idle_months": IDLE_MONTHS,
            "households": savers,
            "idle_minutes": idle_minutes,
            "items": shown,
        },
        "definitions": {name: f"{zh} / {en}" for name, (zh, en) in DEFINITIONS.items()},
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


def _with_difference(identity: Identity) -> dict[str, object]:
    return {**msgspec.to_builtins(identity), "difference_minutes": identity.difference_minutes}


def signals_board(bank: Timebank, *, community: str | None, since: date | None, today: date) -> dict[str, Any]:
    """Every rule with what it found, in one snapshot that names its position."""
    first_day = since or today - timedelta(days=SIGNALS_DAYS)
    policies = adopted_policies(bank.store)
    rules: list[dict[str, object]] = []
    with bank.reading() as connection, one_moment(connection) as (cursor, position):
        for rule in SIGNAL_RULES.values():
            count, found = signals(
                cursor, rule.name, since=first_day, until=today, policies=policies, community=community
            )
            rules.append({**_described(rule), "count": count, "signals": found})
    return {
        "ledger": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "since": first_day,
        "until": today,
        "position": position,
        "community": community,
        "rules": rules,
        "definition": f"{SCOPE_ZH} / {SCOPE_EN}",
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


def _described(rule: Rule) -> dict[str, object]:
    return {"rule": rule.name, "text": f"{rule.zh} / {rule.en}", "parameters": rule.parameters}
