"""What falls due with time alone: reservations that expire, disputes that escalate, silence that settles.

Nothing happens by itself: each is a command like any other, given by the system and decided by the rules, so that it
can be refused where things have moved on. What is due is found in the projections, which are only asked whom to ask
about. Running it twice, or in two processes at once, does nothing twice: each command has its id from what it is about.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple

import psycopg

from api import expiry, recognition, request, visit
from api.disclosure import to_freeze
from api.dispute import late_disputes, silent_records
from api.wiring import Timebank, adopted_policies
from application.write_loop import Accepted, Decide, Ticket, Writer, command_id
from domain.community import Community, became
from domain.community_life import (
    CompleteMerger,
    CompleteSplit,
    FollowPlace,
    complete_merger,
    complete_split,
    follow_place,
)
from domain.decision import BY_TIME, Actor
from domain.disclosure import freeze_period
from domain.dispute import escalate_dispute
from domain.expiry import announce_expiry, expire_minutes
from domain.hours import settle_silence
from domain.household_life import CompleteMove, complete_move
from domain.journal import StoreUnavailable
from domain.policy import PolicyBook
from domain.recognition import settle_stars
from domain.redemption import COLLECTION_GRACE, ReleaseReservation, release
from domain.refusal import Refusal
from domain.request import expire, lapse_offer
from domain.visit import mark_overdue
from projections.community import mergers_due, moving_places, splits_due
from projections.household import in_places, moves_due
from projections.redemption import ended_reservations

logger = logging.getLogger(__name__)

ACTOR: Final = Actor(BY_TIME, "admin")
"""No person's number starts so: nobody can have a token for this id, nor share its command ids."""
BATCH_COMMANDS: Final = 500
INTERVAL_SECONDS: Final = 60.0

Find = Callable[[psycopg.Connection[Any], datetime, PolicyBook], Iterable[tuple[str, Any]]]
"""What is due now: a key of its own for each occasion, and the command. The time has the ledger's zone."""


class Due(NamedTuple):
    """One kind of thing that falls due."""

    name: str
    find: Find
    decide: Decide
    every_seconds: float = 0.0
    """How long a running service waits at least before it looks again, where looking takes seconds in a big ledger."""


def _ended_reservations(
    connection: psycopg.Connection[Any], now: datetime, _: PolicyBook
) -> Iterable[tuple[str, ReleaseReservation]]:
    for reservation in ended_reservations(connection, now - COLLECTION_GRACE):
        yield reservation, ReleaseReservation(reservation=reservation)


def _mergers(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterable[tuple[str, Any]]:
    with connection.cursor() as cursor:
        for name, position in mergers_due(cursor, now.date()):
            yield f"{name} {position}", CompleteMerger(community=name)


def _splits(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterable[tuple[str, Any]]:
    with connection.cursor() as cursor:
        for name, into in splits_due(cursor, now.date()):
            yield into, CompleteSplit(community=name, into=into)


def _moves(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterable[tuple[str, Any]]:
    for number, position in moves_due(connection, now.date()):
        yield f"{number} {position}", CompleteMove(household=number)


def _followers(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterable[tuple[str, Any]]:
    today = now.date()
    with connection.cursor() as cursor:
        moving = moving_places(cursor)
    for row in in_places(connection, moving):
        path = tuple(row.grid.split("/")) if row.grid else ()
        place = became(lambda name: moving.get(name) or Community(name), row.community, path, today)
        if place != (row.community, path):
            yield f"{row.household} {row.community}/{row.grid}", FollowPlace(household=row.household)


STARS: Final = Due("stars", recognition.find_stars, settle_stars, every_seconds=3600)
DUE: Final[tuple[Due, ...]] = (
    Due("expiries announced", expiry.find_to_announce, announce_expiry, every_seconds=3600),
    Due("minutes expired", expiry.find_due, expire_minutes),
    STARS,
    Due("overdue visits", visit.find_overdue, mark_overdue),
    Due("silence", silent_records, settle_silence),
    Due("escalation", late_disputes, escalate_dispute),
    Due("requests over", request.find_over, expire),
    Due("offers lapsed", request.find_lapsed, lapse_offer),
    Due("release reservations", _ended_reservations, release),
    Due("community-merger", _mergers, complete_merger),
    Due("community-split", _splits, complete_split),
    Due("household-follows", _followers, follow_place),
    Due("household-moves", _moves, complete_move),
    Due("disclosures frozen", to_freeze, freeze_period),
)


class DueReport(NamedTuple):
    """How many commands were done now, and how many the rules refused since things had moved on, by kind."""

    done: dict[str, int]
    refused: dict[str, int]


def run_due(bank: Timebank, now: datetime, kinds: Sequence[Due] = DUE) -> DueReport:
    """Find everything that is due as far as the projections know, and have it decided and recorded.

    Raises: StoreUnavailable.
    """
    book = PolicyBook(adopted_policies(bank.store))
    done = {kind.name: 0 for kind in kinds}
    refused = dict(done)
    writer = Writer(bank.store, bank.zone)
    for kind in kinds:
        with bank.reading() as connection:
            found = iter(list(kind.find(connection, now.astimezone(bank.zone), book)))
        while batch := list(islice(found, BATCH_COMMANDS)):
            tickets = [
                Ticket(kind.decide, command, ACTOR, command_id(ACTOR.id, f"{kind.name} {key}"))
                for key, command in batch
            ]
            writer.run(tickets)
            for ticket in tickets:
                if isinstance(ticket.outcome, Refusal):
                    refused[kind.name] += 1
                elif isinstance(ticket.outcome, Accepted):
                    done[kind.name] += not ticket.outcome.repeated
                else:
                    raise ticket.outcome or RuntimeError("a command has no outcome")
    return DueReport(done, refused)


@contextlib.asynccontextmanager
async def run_due_each_minute(bank: Timebank) -> AsyncIterator[None]:
    """Do what falls due, minute by minute, for as long as the service runs. Several services don't do it twice."""
    stopping = asyncio.Event()
    looked_at: dict[str, float] = {}

    async def run() -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), INTERVAL_SECONDS)
                return
            try:
                now = time.monotonic()
                kinds = [kind for kind in DUE if looked_at.get(kind.name, -math.inf) + kind.every_seconds <= now]
                await asyncio.to_thread(run_due, bank, datetime.now(UTC), kinds)
                looked_at.update((kind.name, now) for kind in kinds)
            except (psycopg.OperationalError, StoreUnavailable) as error:
                # The next minute does what this one could not.
                logger.warning("what is due has to wait: %s", error)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        stopping.set()
        await task
