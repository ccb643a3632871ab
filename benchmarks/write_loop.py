"""Commands through the write loop in one process: log and confirm with all rules, durable, 300 in flight."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from statistics import median

from api.wiring import Timebank
from application.write_loop import Accepted, Decide, Ticket, WriteLoop, Writer, new_id
from benchmarks.bench import District, peak_memory_mb, pgbench_per_second, rounded
from domain.community import RegisterCommunity, register_community
from domain.decision import Actor
from domain.hours import ConfirmHours, HoursLogged, LogHours, confirm, log
from domain.household import (
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    enrol_volunteer,
    register_household,
    register_member,
)

IN_FLIGHT = 300
ROUNDS = 3
LOGGER = Actor("BENCH-1", "admin")
CONFIRMER = Actor("BENCH-2", "admin")


def measure(of: District) -> Iterator[dict[str, object]]:
    """Commands a second at the sample's size, on an empty ledger with as many volunteers, and pgbench's."""
    at_size, empty, pgbench = [], [], []
    # The index of tags is kept all the time, as by the service.
    with of.bank() as full, of.bank("benchmark-empty") as fresh, full.indexing(), fresh.indexing():
        volunteers = _volunteers(full)
        _register(fresh, volunteers)
        # As in the service, one writer remembers whom it has met, from round to round.
        writers = Writer(full.store, full.zone), Writer(fresh.store, fresh.zone)
        for number in range(ROUNDS):
            at_size.append(_commands_per_second(writers[0], full.zone, volunteers, number, of.size.seconds))
            empty.append(_commands_per_second(writers[1], fresh.zone, volunteers, number, of.size.seconds))
            pgbench.append(pgbench_per_second(of.server, of.size.seconds))
    commands, on_empty, tps = median(at_size), median(empty), median(pgbench)
    yield {
        "benchmark": "write_loop",
        "in_flight": IN_FLIGHT,
        "commands_per_second": rounded(commands),
        "commands_per_second_on_an_empty_ledger": rounded(on_empty),
        "pgbench_per_second": rounded(tps),
        "ratio_to_pgbench": rounded(commands / tps),
        "ratio_to_empty": rounded(commands / on_empty),
        "peak_memory_mb": peak_memory_mb(),
    }


def _volunteers(bank: Timebank) -> list[str]:
    with bank.reading() as connection:
        return [row[0] for row in connection.execute("SELECT person FROM people WHERE volunteer ORDER BY person")]


def _register(bank: Timebank, volunteers: list[str]) -> None:
    """As many volunteers, each in a household of their own, in one community, and nothing else."""
    steps: list[tuple[Decide, object]] = [(register_community, RegisterCommunity(community="空社区"))]
    for number, volunteer in enumerate(volunteers):
        household = f"H{number}"
        steps.append((register_household, RegisterHousehold(household=household, community="空社区")))
        steps.append((register_member, RegisterMember(member=volunteer, household=household, name=None)))
        steps.append((enrol_volunteer, EnrolVolunteer(volunteer=volunteer)))
    writer = Writer(bank.store, bank.zone)
    tickets = [Ticket(decide, command, LOGGER, new_id().replace("-", "")) for decide, command in steps]
    for start in range(0, len(tickets), 500):
        writer.run(tickets[start : start + 500])


def _commands_per_second(writer: Writer, zone: tzinfo, volunteers: list[str], round_number: int, seconds: int) -> float:
    """Log and confirm for some seconds; every record is another volunteer's, or at another time."""
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    slots = (
        (volunteer, midnight - timedelta(days=2 + round_number * 3 + day) + timedelta(minutes=480 + 30 * half_hour))
        for day in range(3)
        for half_hour in range(18)
        for volunteer in volunteers
    )
    free = threading.Semaphore(IN_FLIGHT)
    done = [0]
    failures: list[object] = []
    stop_at = time.perf_counter() + seconds

    def logged(ticket: Ticket) -> None:
        if not isinstance(ticket.outcome, Accepted):
            failures.append(ticket.outcome)
            free.release()
            return
        done[0] += 1
        (fact,) = ticket.outcome.facts
        if not isinstance(fact, HoursLogged):
            raise TypeError(f"logging gave {fact}")
        follow = Ticket(confirm, ConfirmHours(record=fact.record), CONFIRMER, new_id().replace("-", ""))
        follow.done = confirmed
        loop.submit(follow)

    def confirmed(ticket: Ticket) -> None:
        if isinstance(ticket.outcome, Accepted):
            done[0] += 1
        else:
            failures.append(ticket.outcome)
        free.release()

    with WriteLoop(writer) as loop:
        started = time.perf_counter()
        for volunteer, started_at in slots:
            if time.perf_counter() > stop_at:
                break
            free.acquire()
            command = LogHours(
                volunteer=volunteer,
                service="环境清洁",
                started_at=started_at,
                ended_at=started_at + timedelta(minutes=30),
            )
            ticket = Ticket(log, command, LOGGER, new_id().replace("-", ""))
            ticket.done = logged
            loop.submit(ticket)
        for _ in range(IN_FLIGHT):
            free.acquire()
        speed = done[0] / (time.perf_counter() - started)
    if failures:
        raise RuntimeError(f"{len(failures)} commands failed, the first with {failures[0]!r}")
    return speed
