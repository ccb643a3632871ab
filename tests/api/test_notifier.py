"""News and reminders reach the outbox once, whatever dies and however many tell; imports pass in silence."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from api import notifier
from api.notifier import NoticeThread, adapters_of, begin_notices, notifying, reminders, write_news, write_reminders
from api.wiring import SYSTEM, Timebank, timebank
from application.hours_import import HoursImport
from application.sample import SampleSummary
from application.write_loop import Ticket, new_id
from domain.account import FundPool, fund_pool
from domain.community import RegisterCommunity, register_community
from domain.fact import Fact
from domain.journal import StoreUnavailable
from domain.ledger import OpenLedger
from domain.notice import Notice
from domain.policy import AdoptPolicy
from domain.recognition import StarAwarded
from infrastructure import fact_store
from infrastructure.notice import (
    Writing,
    begin,
    claim,
    delivery_counts,
    last_notices,
    mark_failed,
    position_of,
    writing,
)
from infrastructure.settings import BadSetting, Settings, read_settings
from tests.api.processes import answer, services, until
from tests.api.service import XINZHU, Api
from tests.api.shop import open_shop
from tests.conftest import FIRST_DAY, new_database, settings_for
from tests.controls import (
    DISPUTE_OPENED,
    DISTRICT,
    EXPIRY_ANNOUNCED,
    HOURS_CONFIRMED,
    HOURS_LOGGED,
    MINUTES_GRANTED,
    OFFER_ACCEPTED,
    OFFER_MADE,
    PARTNER_REGISTERED,
    REQUEST_ASKED,
    REQUEST_RESCHEDULED,
    REWARD_OFFERED,
    REWARD_RESERVED,
    envelope,
    logged,
)

OpenBank = Callable[..., Timebank]
RACERS = 16
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def record(bank: Timebank, *facts: Fact, imported: bool = False) -> int:
    """Put facts into the journal as they are, whatever the rules would say; the position reached."""
    envelopes = [replace(envelope(fact), command=new_id().replace("-", ""), imported=imported) for fact in facts]
    bank.store.append(envelopes, [], [one.command for one in envelopes], bank.store.head())
    return bank.store.head()


def project(bank: Timebank) -> None:
    bank.catch_up()


@pytest.fixture
def bank(open_bank: OpenBank) -> Timebank:
    """A ledger that is told of from now on."""
    bank = open_bank()
    record(bank, *DISTRICT[2:], HOURS_LOGGED, logged("R3", "10-30 09:00 - 10:00"))
    project(bank)
    begin_notices(bank)
    return bank


@pytest.fixture
def connection(bank: Timebank) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(bank.address, autocommit=True) as opened:
        yield opened


def tell(bank: Timebank, connection: psycopg.Connection[Any]) -> None:
    while write_news(bank, connection, ["log"]):
        pass


def keys(bank: Timebank, connection: psycopg.Connection[Any]) -> list[str]:
    return [one.key for one in reversed(last_notices(connection, bank.name, 10_000))]


# ── News ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_happened_before_the_first_start_is_told_to_nobody(
    bank: Timebank, connection: psycopg.Connection[Any]
) -> None:
    head = bank.store.head()
    tell(bank, connection)
    begin_notices(bank)
    assert (keys(bank, connection), position_of(connection, bank.name)) == ([], head)
    assert write_news(bank, connection, ["log"]) is False


def test_stars_that_older_books_make_due_are_awarded_before_and_told_to_nobody(open_bank: OpenBank) -> None:
    bank = open_bank()
    served = replace(logged("R4", "11-20 09:00 - 10:00"), claimed_minutes=6_000, service_minutes=6_000)
    record(bank, *DISTRICT[2:], served, replace(HOURS_CONFIRMED, record="R4", minutes=6_000), imported=True)
    project(bank)
    begin_notices(bank)
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    assert [fact.star for fact in facts if isinstance(fact, StarAwarded)] == [1]
    with psycopg.connect(bank.address, autocommit=True) as connection:
        tell(bank, connection)
        begin_notices(bank)
        assert (keys(bank, connection), position_of(connection, bank.name)) == ([], len(facts))


def test_news_is_told_once_and_a_second_look_changes_nothing(
    bank: Timebank, connection: psycopg.Connection[Any]
) -> None:
    position = record(bank, HOURS_CONFIRMED)
    for _ in range(2):
        tell(bank, connection)
        assert keys(bank, connection) == [f"hours-confirmed:R1:{position}:person:V1"]
    assert delivery_counts(connection, bank.name) == {"log": {"pending": 1}}
    connection.execute("UPDATE notice_checkpoints SET position = %s WHERE ledger = %s", (position - 1, bank.name))
    tell(bank, connection)
    assert len(keys(bank, connection)) == 1


def test_a_rebuild_of_the_projections_leaves_the_outbox_alone(
    bank: Timebank, connection: psycopg.Connection[Any]
) -> None:
    record(bank, HOURS_CONFIRMED)
    tell(bank, connection)
    project(bank)
    with closing(bank.projector()) as projector:
        projector.rebuild()
    tell(bank, connection)
    assert len(keys(bank, connection)) == 1


def test_a_crash_while_notices_are_written_loses_none_and_doubles_none(
    bank: Timebank, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(bank, HOURS_CONFIRMED, MINUTES_GRANTED)

    def crash(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Writing, "reach", crash)
        with pytest.raises(RuntimeError):
            write_news(bank, connection, ["log"])
    assert keys(bank, connection) == []
    tell(bank, connection)
    assert len(keys(bank, connection)) == 2


def test_sixteen_who_tell_at_once_tell_everything_once(
    bank: Timebank, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "BATCH_FACTS", 3)
    record(bank, *(MINUTES_GRANTED for _ in range(60)))
    start = threading.Barrier(RACERS)

    def run(_: int) -> None:
        with psycopg.connect(bank.address, autocommit=True) as own:
            start.wait(60)
            tell(bank, own)

    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(run, range(RACERS)))
    found = keys(bank, connection)
    assert len(found) == len(set(found)) == 60
    assert position_of(connection, bank.name) == bank.store.head()
    assert [int(key.split(":")[1]) for key in found] == sorted(int(key.split(":")[1]) for key in found)


def test_an_import_is_passed_over_in_silence_and_what_comes_after_it_is_told(
    open_bank: OpenBank, sample: tuple[Path, SampleSummary]
) -> None:
    bank = open_bank()
    project(bank)
    begin_notices(bank)
    directory, summary = sample
    for name in summary.files:
        HoursImport(bank.store, bank.zone, directory / name, ledger_is_synthetic=True).run()
    with psycopg.connect(bank.address, autocommit=True) as connection:
        tell(bank, connection)
        assert keys(bank, connection) == []
        assert position_of(connection, bank.name) == bank.store.head() > 800
        command = RegisterCommunity(community="新竹东社区")
        bank.run(Ticket(register_community, command, SYSTEM, new_id().replace("-", "")))
        bank.run(Ticket(fund_pool, FundPool(community="新竹东社区", minutes=60), SYSTEM, new_id().replace("-", "")))
        tell(bank, connection)
        assert keys(bank, connection) == []
        record(bank, replace(MINUTES_GRANTED, target="household:H00001"))
        tell(bank, connection)
        assert {key.split(":")[0] for key in keys(bank, connection)} == {"grant-received"}


def test_imported_facts_are_not_even_decoded(bank: Timebank, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = fact_store.decode

    def counting(type_name: str, data: bytes, position: int | None = None) -> Any:
        decoded.append(position or 0)
        return decode(type_name, data, position)

    head = record(bank, HOURS_CONFIRMED, imported=True)
    after = record(bank, MINUTES_GRANTED)
    monkeypatch.setattr(fact_store, "decode", counting)
    record(bank, logged("R9", "11-20 09:00 - 10:00"))
    without = {HOURS_LOGGED.type}
    first, second, third = (fact for batch in bank.store.scan_own(head - 1, without=without) for fact in batch)
    assert first is third is None
    assert second is not None
    assert (second.position, decoded) == (after, [after])


def test_a_long_way_is_gone_in_steps(
    bank: Timebank, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "SCAN_FACTS", 4)
    monkeypatch.setattr(notifier, "SCAN_FACTS_MAX", 8)
    start = bank.store.head()
    record(bank, *(replace(HOURS_CONFIRMED, record=f"X{number}") for number in range(20)), imported=True)
    reached = []
    while write_news(bank, connection, ["log"]):
        reached.append(position_of(connection, bank.name) - start)
    assert reached == [8, 16]
    assert position_of(connection, bank.name) - start == 20


# ── Reminders ────────────────────────────────────────────────────────────────────────────────────────────────


def reminded(bank: Timebank, now: datetime) -> set[str]:
    return {one.kind for one in reminders(bank, now)}


def test_what_falls_due_is_found_and_reminded_of_once(bank: Timebank, connection: psycopg.Connection[Any]) -> None:
    record(
        bank,
        *(PARTNER_REGISTERED, REWARD_OFFERED, REWARD_RESERVED, DISPUTE_OPENED),
        *(REQUEST_ASKED, REQUEST_RESCHEDULED, OFFER_MADE, OFFER_ACCEPTED),
        *(replace(REQUEST_ASKED, request="Q2"), replace(REQUEST_RESCHEDULED, request="Q2"), EXPIRY_ANNOUNCED),
    )
    project(bank)
    soon = timedelta(seconds=1)
    lapse = datetime.combine(EXPIRY_ANNOUNCED.on, datetime.min.time(), bank.zone)
    for now, kind in (
        (REWARD_RESERVED.expires_at - soon, "reservation-ends"),
        (DISPUTE_OPENED.hearing_until - soon, "dispute-hearing-ends"),
        (DISPUTE_OPENED.decision_due - soon, "dispute-decision-due"),
        (REQUEST_RESCHEDULED.earliest_at - soon, "request-soon"),
        (REQUEST_RESCHEDULED.earliest_at - soon, "request-unanswered"),
        (lapse - soon, "expiry-near"),
        (lapse.replace(hour=9), "records-waiting"),
    ):
        assert kind in reminded(bank, now), kind
        written = write_reminders(bank, connection, ["log"], now)
        assert write_reminders(bank, connection, ["log"], now) == 0, kind
        assert written or kind == "request-unanswered"
    assert reminded(bank, lapse - timedelta(days=300)) == set()
    assert len(keys(bank, connection)) == len(set(keys(bank, connection)))
    assert {key.split(":")[0] for key in keys(bank, connection)} >= {"request-soon", "request-unanswered"}


def test_staff_get_one_digest_a_day_however_many_records_wait(
    bank: Timebank, connection: psycopg.Connection[Any]
) -> None:
    record(bank, *(logged(f"W{number}", f"11-{number} 09:00 - 10:00") for number in range(10, 15)))
    record(bank, logged("OLD", "10-10 09:00 - 10:00"), imported=True)
    project(bank)
    morning = datetime(2026, 11, 22, 8, 0, tzinfo=bank.zone)
    assert not any(one.kind == "records-waiting" for one in reminders(bank, morning - timedelta(minutes=1)))
    for hours in (0, 5, 24):
        write_reminders(bank, connection, [], morning + timedelta(hours=hours))
    assert [key for key in keys(bank, connection) if key.startswith("records-waiting")] == [
        f"records-waiting:{XINZHU}:2026-11-{day}:staff:{XINZHU}" for day in (22, 23)
    ]
    (first,) = [one for one in last_notices(connection, bank.name, 100) if "2026-11-22" in one.key]
    assert first.parts["count"] == 7


def test_without_anything_due_nothing_is_locked(bank: Timebank, connection: psycopg.Connection[Any]) -> None:
    project(bank)
    long_ago = datetime(2020, 1, 1, 1, 0, tzinfo=bank.zone)
    assert write_reminders(bank, connection, [], long_ago) == 0


def test_a_member_is_reminded_of_a_reservation_that_they_made(api: Api) -> None:
    shop = open_shop(api)
    household = shop.household(60)
    number = shop.reserved(household)
    row = api.read(f"/v1/reservations/{number}", "M-" + household)
    ends_at = datetime.fromisoformat(row["ends_at"])
    found = [one for one in reminders(api.bank, ends_at - timedelta(minutes=1)) if number in one.key]
    assert [(one.kind, one.recipient) for one in found] == [("reservation-ends", "person:M-" + household)]


# ── The threads ──────────────────────────────────────────────────────────────────────────────────────────────


def with_settings(bank: Timebank, **changes: Any) -> Timebank:
    return Timebank(bank.settings.model_copy(update=changes), bank.address, bank.owner_address, bank.store, bank.opened)


def test_a_running_service_writes_and_delivers_and_goes_on_after_failures(
    bank: Timebank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "NEWS_SECONDS", 0.001)
    project(bank)
    failures: list[Exception] = [StoreUnavailable("away"), psycopg.OperationalError("away"), RuntimeError("broken")]
    write = notifier.write_news

    def failing(*arguments: Any) -> bool:
        if failures:
            raise failures.pop()
        return write(*arguments)

    monkeypatch.setattr(notifier, "write_news", failing)
    log = tmp_path / "notices.jsonl"
    position = record(bank, HOURS_CONFIRMED)
    with notifying(with_settings(bank, notices_log=log)):
        until(lambda: log.exists() and "hours-confirmed" in log.read_text())
    sent = [json.loads(line) for line in log.read_text().splitlines()]
    assert f"hours-confirmed:R1:{position}:person:V1" in [one["data"]["key"] for one in sent]
    assert not failures


def test_a_thread_that_is_told_to_stop_stops(bank: Timebank) -> None:
    with NoticeThread(bank, []) as running:
        pass
    assert not running._thread.is_alive()


def test_two_services_and_a_killed_one_deliver_each_key_once(server_url: str, tmp_path: Path) -> None:
    log = tmp_path / "notices.jsonl"

    def lines() -> list[str]:
        if not log.exists():
            return []
        whole, _, _ = log.read_text().rpartition("\n")  # what follows the last line end is being written
        return [json.loads(line)["data"]["key"] for line in whole.splitlines()]

    with new_database(server_url) as address:
        opening = OpenLedger(name="两个进程", synthetic=True)
        with (
            timebank(settings_for(address), opening, AdoptPolicy(effective_on=FIRST_DAY)) as bank,
            services(2, TIMEBANK_DATABASE_URL=address, TIMEBANK_NOTICES_LOG=log) as (first, _),
        ):
            record(bank, *DISTRICT[2:])
            record(bank, *(MINUTES_GRANTED for _ in range(30)))
            until(lambda: len(lines()) >= 5)
            first.end(signal.SIGKILL)
            record(bank, *(MINUTES_GRANTED for _ in range(30)))
            # The killed one may have one in its hands, which it keeps from others for a minute: that minute passes.
            until(lambda: len(set(lines())) >= 59)
            with psycopg.connect(bank.address, autocommit=True) as connection:
                connection.execute(
                    "UPDATE notice_deliveries SET next_attempt_at = clock_timestamp() WHERE state = 'pending'"
                )
            until(lambda: len(set(lines())) >= 60)
            with psycopg.connect(bank.address, autocommit=True) as connection:
                found = [one.key for one in last_notices(connection, bank.name, 1000)]
            assert len(found) == len(set(found)) == 60
            # Only what the killed one had in its hands may come twice, and then by the same key.
            assert set(lines()) == set(found)
            assert len(lines()) <= 61


# ── Settings and commands ────────────────────────────────────────────────────────────────────────────────────


def test_the_adapters_are_those_that_are_set(tmp_path: Path) -> None:
    assert adapters_of(Settings()) == []
    both = Settings(
        notices_log=tmp_path / "n.jsonl",
        notices_webhook=SecretStr("https://example.org/hook"),
        notices_webhook_secret=SecretStr(SECRET),
    )
    assert [adapter.name for adapter in adapters_of(both)] == ["log", "webhook"]


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://example.org/hook?x=1", True),
        ("https://example.org:8443", True),
        ("http://127.0.0.1:9000/hook", True),
        ("http://[::1]:9000", True),
        ("http://localhost/hook", True),
        ("http://example.org/hook", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://10.0.0.1/", False),
        ("ftp://localhost/", False),
        ("https://user:hunter2@example.org/", False),
        ("https:///hook", False),
        ("https://example.org:0/", False),
        ("https://example.org:99999/", False),
        ("https://example.org/a b", False),
        ("https://example.org/\r\nX: y", False),
        ("https://example.org/#top", False),
        ("hunter2", False),
    ],
)
def test_a_webhook_is_https_or_this_very_machine(url: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEBANK_NOTICES_WEBHOOK", url)
    monkeypatch.setenv("TIMEBANK_NOTICES_WEBHOOK_SECRET", SECRET)
    if fits:
        assert "example" not in repr(read_settings()).split("notices_webhook=")[1]
    else:
        with pytest.raises(BadSetting) as raised:
            read_settings()
        assert raised.value.name == "TIMEBANK_NOTICES_WEBHOOK"
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsec_", "whsec_hunter2", "whsec_" + "A" * 20, "whsec_" + "A" * 200]
)
def test_a_webhook_needs_a_secret_that_fits_and_is_never_shown(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEBANK_NOTICES_WEBHOOK", "https://example.org/hook")
    monkeypatch.setenv("TIMEBANK_NOTICES_WEBHOOK_SECRET", secret)
    with pytest.raises(BadSetting) as raised:
        read_settings()
    assert raised.value.name == "TIMEBANK_NOTICES_WEBHOOK_SECRET"
    assert "whsec_ " in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_staff_see_on_the_command_line_what_waits_and_have_it_tried_again(database_url: str) -> None:
    own = {"TIMEBANK_DATABASE_URL": database_url}
    with (
        timebank(settings_for(database_url), OpenLedger(name="试验"), AdoptPolicy(effective_on=FIRST_DAY)) as bank,
        psycopg.connect(bank.address, autocommit=True) as connection,
    ):
        begin(connection, bank.name, 2)
        with writing(connection, bank.name) as outbox:
            for number in ("D1", "D2"):
                key = f"dispute-escalated:{number}:7:admins"
                outbox.put([Notice(key, "dispute-escalated", "admins", {"dispute": number})], ["webhook"])
        claimed = claim(connection, bank.name, "webhook")
        assert claimed is not None
        mark_failed(connection, claimed, "HTTP 500", None)
    assert answer("notices", "status", **own) == {
        "ledger": "qingxiu",
        "position": 2,
        "head": 2,
        "adapters": [],
        "deliveries": {"webhook": {"failed": 1, "pending": 1}},
    }
    assert [one["key"][:20] for one in answer("notices", "list", **own)["items"]] == [
        "dispute-escalated:D2",
        "dispute-escalated:D1",
    ]
    assert [one["parts"] for one in answer("notices", "pending", **own)["items"]] == [{"dispute": "D2"}]
    (failed,) = answer("notices", "failed", **own)["items"]
    assert failed["deliveries"][0]["last_error"] == "HTTP 500"
    assert answer("notices", "retry", failed["number"], **own) == {"retried": 1}
    assert answer("notices", "retry", **own) == {"retried": 0}
    assert len(answer("notices", "pending", **own)["items"]) == 2
