"""What falls due with time alone: reservations that expire, disputes that escalate, silence that settles.

Nothing happens by itself: each is a command like any other, given by the system and decided by the rules, so that it
can be refused where things have moved on. What is due is found in the projections, which are only asked whom to ask
about. Running it twice, or in two processes at once, does nothing twice: each command has its id from what it is about.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

import psycopg

from api.wiring import Timebank
from application.write_loop import Accepted, Decide, Ticket, Writer, command_id
from domain.community import Community, became
from domain.community_life import CompleteMerger, FollowPlace, complete_merger, follow_place
from domain.decision import Actor
from domain.policy import PolicyBook
from domain.refusal import Refusal
from projections.community import mergers_due, moving_places
from projections.household import in_places

ACTOR: Final = Actor("@due", "admin")
"""No person's number starts so: nobody can have a token for this id, nor share its command ids."""
BATCH_COMMANDS: Final = 500

Find = Callable[[psycopg.Connection[Any], datetime, PolicyBook], Iterable[tuple[str, Any]]]
"""What is due now: a key of its own for each occasion, and the command. The time has the ledger's zone."""


class Due(NamedTuple):
    """One kind of thing that falls due."""

    name: str
    find: Find
    decide: Decide


def _mergers(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterable[tuple[str, Any]]:
    with connection.cursor() as cursor:
        for name, position in mergers_due(cursor, now.date()):
            yield f"{name} {position}", CompleteMerger(community=name)


def _followers(connection: psycopg.Connection[Any], now: datetime, _: PolicyBook) -> Iterable[tuple[str, Any]]:
    today = now.date()
    with connection.cursor() as cursor:
        moving = moving_places(cursor)
    for row in in_places(connection, moving):
        path = tuple(row.grid.split("/")) if row.grid else ()
        place = became(lambda name: moving.get(name) or Community(name), row.community, path, today)
        if place != (row.community, path):
            yield f"{row.household} {row.community}/{row.grid}", FollowPlace(household=row.household)


DUE: Final[tuple[Due, ...]] = (
    Due("community-merger", _mergers, complete_merger),
    Due("household-follows", _followers, follow_place),
)


class DueReport(NamedTuple):
    """How many commands were done now, and how many the rules refused since things had moved on, by kind."""

    done: dict[str, int]
    refused: dict[str, int]


def run_due(bank: Timebank, book: PolicyBook, now: datetime, kinds: Sequence[Due] = DUE) -> DueReport:
    """Find everything that is due, and have it decided and recorded. Raises: StoreUnavailable."""
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
