"""A long day: two services under random load are killed and started again, over and over, and the books still agree.

TIMEBANK_TORTURE_SECONDS says how long; `make torture` runs the long form.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from api.wiring import timebank
from application.replay import replay
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy, Policy
from infrastructure.settings import Settings
from tests.api.processes import ServiceProcess, answer
from tests.api.service import JINHU, XINZHU, Api, Volunteer, register_places
from tests.conftest import FIRST_DAY

SECONDS = float(os.environ.get("TIMEBANK_TORTURE_SECONDS") or 6)
CLIENTS = 6
KILLS_MIN = 2


@dataclass
class Day:
    """What happens, and what was acknowledged: first position and facts by the key they were asked for under."""

    addresses: list[str]
    tokens: dict[str, str]
    people: list[Volunteer]
    over: threading.Event = field(default_factory=threading.Event)
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong: list[object] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, seed: int) -> None:
        try:
            with httpx.Client(timeout=30) as client:
                self._write(client, Random(seed))  # noqa: S311 - reproducible
        except BaseException as error:  # noqa: BLE001 - told at the end
            self.wrong.append(error)

    def _write(self, client: httpx.Client, dice: Random) -> None:
        waiting: list[str] = []
        while not self.over.is_set():
            kind = dice.choice(("log", "log", "confirm", "reverse", "fund", "grant"))
            by, body, path = "S0", None, ""
            if kind == "log":
                person = dice.choice(self.people)
                served = dice.choice([None, dice.choice(self.people).household])
                by = person.number
                path, body = "/v1/hours", person.hours(hour=dice.randint(0, 22), recipient_household=served)
            elif kind in ("confirm", "reverse"):
                if not waiting:
                    continue
                record = dice.choice(waiting)
                path = f"/v1/hours/{record}/" + ("confirmation" if kind == "confirm" else "reversal")
                body = None if kind == "confirm" else {"reason": "other"}
            elif kind == "fund":
                by, path, body = "admin", "/v1/pools/funding", {"community": XINZHU, "minutes": dice.randint(1, 60)}
            else:
                household = dice.choice(self.people).household
                path, body = "/v1/grants", {"household": household, "minutes": dice.randint(1, 90), "need": "other"}
            answered = self._send(client, dice, path, body, by)
            if answered is not None and kind == "log":
                waiting.append(answered["record"])

    def _send(self, client: httpx.Client, dice: Random, path: str, body: Any, by: str) -> dict[str, Any] | None:
        """Send it to either service until one answers; the same key makes it happen once. None: refused."""
        key = uuid4().hex
        headers = {"Authorization": f"Bearer {self.tokens[by]}", "Idempotency-Key": key}
        given_up_at = time.monotonic() + 60
        while time.monotonic() < given_up_at:
            address = dice.choice(self.addresses)
            try:
                response = client.post(address + path, json=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.01)
                continue
            if response.status_code in (200, 201):
                found: dict[str, Any] = response.json()
                with self.lock:
                    self.acknowledged[key] = found
                return found
            if response.status_code == 503:
                continue
            if response.status_code not in (403, 409, 422):
                self.wrong.append(response.text)
            return None
        self.wrong.append(f"{path} was not answered")
        return None


@pytest.mark.parametrize("seed", [int(os.environ.get("TIMEBANK_TORTURE_SEED") or 1)])
def test_whatever_is_killed_no_acknowledged_fact_is_lost_and_the_books_agree(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)  # noqa: S311 - reproducible
    data = tmp_path / "data"
    opening = OpenLedger(name="折腾", synthetic=True)
    rules = Policy(day_minutes_max=1440, balance_minutes_max=300)
    with timebank(Settings(data=data), opening, AdoptPolicy(effective_on=FIRST_DAY, policy=rules)) as bank:
        services = [ServiceProcess(TIMEBANK_DATA=data) for _ in range(2)]
        try:
            for service in services:
                service.wait_until_it_answers()
            with Api(bank, services[0].address) as api:
                register_places(api)
                people = [api.new_volunteer(community) for community in (XINZHU, JINHU) * 10]
                tokens = api.tokens
            day = Day([s.address for s in services], tokens, people)
            clients = [threading.Thread(target=day.client, args=(seed * 100 + n,)) for n in range(CLIENTS)]
            for client in clients:
                client.start()
            ends_at, kills = time.monotonic() + SECONDS, 0
            try:
                # Where a service takes long to start, the day lasts until some were killed all the same.
                while kills < KILLS_MIN or time.monotonic() < ends_at:
                    time.sleep(dice.uniform(0.2, 1.0))  # how long it lives is part of the dice
                    victim = dice.choice(services)
                    victim.end(dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                    if dice.random() < 0.3:
                        with psycopg.connect(bank.owner_address, autocommit=True) as connection:
                            connection.execute(
                                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                            )
                    victim.start()
                    victim.wait_until_it_answers()
                    kills += 1
            finally:
                day.over.set()
                for client in clients:
                    client.join()
        finally:
            for service in services:
                if service.process.running:
                    service.end(signal.SIGTERM)
        assert day.wrong == []
        check(bank.store, day)
    replayed = answer("replay", TIMEBANK_DATA=data)
    assert (replayed["differences"], replayed["conserved"]) == ([], True)
    assert replayed["position"] == replayed["facts"]


def check(store: Any, day: Day) -> None:
    """Every acknowledged fact is where its caller was told, once, and positions are without gaps."""
    assert replay(store).total_minutes == 0
    recorded = [one for batch in store.scan() for one in batch]
    assert [one.position for one in recorded] == list(range(1, len(recorded) + 1))
    times = [one.recorded_at_microseconds for one in recorded]
    assert times == sorted(times)
    assert len(day.acknowledged) > 20
    claimed: set[int] = set()
    for told in day.acknowledged.values():
        first, last = told["positions"]
        assert [one.envelope.fact.type for one in recorded[first - 1 : last]] == told["facts"]
        assert len({one.envelope.command for one in recorded[first - 1 : last]}) == 1
        if told.get("record"):
            assert recorded[first - 1].envelope.fact.record == told["record"]
        assert not claimed & set(range(first, last + 1))
        claimed |= set(range(first, last + 1))
    commands = [one.envelope.command for one in recorded]
    assert len(commands) - len(set(commands)) == sum(a == b for a, b in pairwise(commands))
