"""Minutes that lapse in a running ledger: found in time, announced, lapsed, told to the household; once each."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.due import DUE, DueReport, run_due
from api.wiring import Timebank, known
from application.write_loop import Writer
from domain.account import Account, MinutesDonated
from domain.decision import BY_TIME, Actor
from domain.expiry import ExpireMinutes, Expiry, ExpiryAlreadyDone, announce_expiry, expire_minutes
from domain.hours import ConfirmHours, confirm
from tests.api.racing import RACERS, endow, race, won
from tests.api.service import XINZHU, Api, Volunteer, register_places, serving
from tests.controls import envelope

OpenBank = Callable[..., Timebank]
TIME = Actor(BY_TIME, "admin")
OF_EXPIRY = [kind for kind in DUE if kind.decide in (announce_expiry, expire_minutes)]


@pytest.fixture
def expiring(open_bank: OpenBank) -> Iterator[Api]:
    """A service where minutes lapse a month after the month of the service, announced 61 days before: the last day of
    the month after the next is as far away."""
    with serving(open_bank(expiry_months=1, expiry_notice_days=61)) as api:
        register_places(api)
        yield api


def confirmed(api: Api, person: Volunteer, hour: int = 9) -> str:
    record = api.logged(person, hour=hour)
    api.record((confirm, ConfirmHours(record=record)), actor=Actor("D2", "admin"))
    return record


def due(api: Api, now: datetime, monkeypatch: pytest.MonkeyPatch) -> DueReport:
    """What falls due at a time, when everything recorded is projected."""
    api.read("/v1/expiries", "auditor")
    initial = Writer.__init__

    def at_that_time(self: Writer, *arguments: Any) -> None:
        initial(self, *arguments, clock=lambda: now)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "__init__", at_that_time)
        report = run_due(api.bank, now, OF_EXPIRY)
    api.read("/v1/expiries", "auditor")
    return report


def count(report: DueReport) -> tuple[int, int, int]:
    """Announced, lapsed, refused."""
    return (
        report.done["expiries announced"],
        report.done["minutes expired"],
        report.refused["expiries announced"] + report.refused["minutes expired"],
    )


def test_minutes_are_announced_and_lapse_once_and_the_household_reads_of_it(
    expiring: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = expiring.new_volunteer(), expiring.new_volunteer()
    for person in (anna, ben):
        for hour in (8, 10):
            confirmed(expiring, person, hour)
    now = datetime.now(expiring.bank.zone)
    assert count(due(expiring, now, monkeypatch)) == (2, 0, 0)
    assert count(due(expiring, now + timedelta(minutes=1), monkeypatch)) == (0, 0, 0)
    (row,) = expiring.read(f"/v1/households/{anna.household}/expiries", anna.number)["items"]
    on = (now + timedelta(days=61)).date()
    assert (row["minutes"], row["status"], row["expires_on"]) == (120, "announced", on.isoformat())
    spent = MinutesDonated("household:" + ben.household, "pool:" + XINZHU, 70, ben.number)
    expiring.bank.store.append([envelope(spent)], [], [], expiring.bank.store.head())
    assert count(due(expiring, now + timedelta(days=60), monkeypatch)) == (0, 0, 0)
    assert count(due(expiring, now + timedelta(days=61), monkeypatch)) == (0, 2, 0)
    assert count(due(expiring, now + timedelta(days=62), monkeypatch)) == (0, 0, 0)
    rows = expiring.read("/v1/expiries", "S1", status="expired")["items"]
    assert {row["household"]: row["expired_minutes"] for row in rows} == {anna.household: 120, ben.household: 50}
    statement = expiring.read(f"/v1/households/{anna.household}/statement", anna.number)["items"]
    assert [(one["kind"], one["change_minutes"]) for one in statement][-1] == ("minutes-expired.v1", -120)
    balance = expiring.read(f"/v1/households/{ben.household}/balance", ben.number)
    assert (balance["balance_minutes"], balance["given_minutes"]) == (0, 120)


def test_what_was_granted_has_no_age_and_what_was_spent_is_not_announced(
    expiring: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = expiring.new_volunteer(), expiring.new_volunteer()
    endow(expiring, anna.household, 500)
    confirmed(expiring, ben)
    spent = MinutesDonated("household:" + ben.household, "pool:" + XINZHU, 60, ben.number)
    expiring.bank.store.append([envelope(spent)], [], [], expiring.bank.store.head())
    endow(expiring, ben.household, 10)
    assert count(due(expiring, datetime.now(expiring.bank.zone), monkeypatch)) == (0, 0, 0)


def test_where_the_policy_lets_nothing_lapse_nothing_is_found(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed(api, api.new_volunteer())
    later = datetime.now(api.bank.zone) + timedelta(days=4000)
    assert count(due(api, later, monkeypatch)) == (0, 0, 0)
    long_ago = datetime.now(api.bank.zone) - timedelta(days=9000)
    assert count(due(api, long_ago, monkeypatch)) == (0, 0, 0)


def test_announcements_are_read_by_the_household_and_staff_and_hidden_from_others(
    expiring: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = expiring.new_volunteer(), expiring.new_volunteer()
    for person in (anna, ben):
        confirmed(expiring, person)
    due(expiring, datetime.now(expiring.bank.zone), monkeypatch)
    path = f"/v1/households/{anna.household}/expiries"
    for reader in (ben.number, "S9"):
        expiring.problem(expiring.get(path, reader), 404, "unknown-household")
    first = expiring.read("/v1/expiries", "S1", limit=1)
    rest = expiring.read("/v1/expiries", "S1", after=first["next"])
    both = {row["household"] for row in (*first["items"], *rest["items"])}
    assert both == {anna.household, ben.household}
    assert expiring.read("/v1/expiries", "S9")["items"] == []
    expiring.problem(expiring.get("/v1/expiries", "S9", community=XINZHU), 403, "outside-community")
    expiring.problem(expiring.get("/v1/expiries", anna.number), 403, "role-not-allowed")


@pytest.mark.parametrize("loops", [1, 4])
def test_what_sixteen_have_lapse_at_once_lapses_once(
    open_bank: OpenBank, loops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank(expiry_months=1, expiry_notice_days=1)
    with serving(bank) as api:
        register_places(api)
        anna = api.new_volunteer()
        confirmed(api, anna)
        later = datetime.now(bank.zone) + timedelta(days=70)
        assert count(due(api, later, monkeypatch))[0] == 1
    (announced,) = known(bank.store, Expiry.of(anna.household)).open
    command = ExpireMinutes(household=anna.household, announcement=announced.announcement)
    initial = Writer.__init__
    day = later + timedelta(days=1)
    monkeypatch.setattr(Writer, "__init__", lambda self, *given: initial(self, *given, clock=lambda: day))
    outcomes = race(bank, loops, [(expire_minutes, command, TIME)] * RACERS)
    assert won(outcomes) == 1
    assert outcomes.count(ExpiryAlreadyDone(announced.announcement)) == RACERS - 1
    assert known(bank.store, Account.of("household:" + anna.household)).balance_minutes == 0
