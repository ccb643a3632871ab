"""Commands that are given at the same moment, through one write loop or through several as in several processes."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from api.wiring import Timebank
from application.write_loop import Accepted, Ticket, WriteLoop, Writer
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.decision import Actor
from tests.api.service import XINZHU, Api

RACERS = 16


def race(bank: Timebank, loops: int, commands: Sequence[tuple[Any, Any, Actor]]) -> list[Any]:
    """The outcome of each command, all begun at once, in turn by so many write loops."""
    tickets = [Ticket(decide, command, actor, uuid4().hex) for decide, command, actor in commands]
    start = threading.Barrier(len(tickets))
    with ExitStack() as stack:
        running = [stack.enter_context(WriteLoop(Writer(bank.store, bank.zone))) for _ in range(loops)]

        def run(number: int) -> None:
            start.wait(60)
            running[number % loops].run([tickets[number]])

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(tickets))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [ticket.outcome for ticket in tickets]


def won(outcomes: Sequence[Any]) -> int:
    """How many were accepted."""
    return sum(isinstance(outcome, Accepted) for outcome in outcomes)


def endow(api: Api, household: str, minutes: int, community: str = XINZHU) -> None:
    """Have a household hold so many minutes more."""
    api.record(
        (fund_pool, FundPool(community=community, minutes=minutes)),
        (grant_minutes, GrantMinutes(household=household, minutes=minutes, need="other")),
    )
