"""Delivery to a real HTTP server and a real file: signed, bounded in time, tried again, and given up."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from domain.notice import Notice
from infrastructure import delivery
from infrastructure.delivery import (
    ATTEMPTS_MAX,
    DELAY_SECONDS_MAX,
    JITTER,
    DeliveryFailed,
    DeliveryThread,
    LogFile,
    Webhook,
    delay_seconds,
    deliver_next,
    signature,
    webhook_id,
)
from infrastructure.notice import Claimed, begin, claim, deliveries, delivery_counts, writing

LEDGER = "qingxiu"
SECRET = bytes(range(24))
WRITTEN_AT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


def claimed(key: str = "hours-confirmed:R1:7:person:V1") -> Claimed:
    return Claimed(
        key=key,
        kind="hours-confirmed",
        recipient="person:V1",
        parts={"record": "R1", "minutes": 60},
        number=1,
        written_at=WRITTEN_AT,
        adapter="webhook",
        attempts=1,
    )


class Receiver:
    """Somebody's web server: keeps what it is sent, and answers with the statuses that it is given, then with 204."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.arrived = threading.Semaphore(0)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", receiver.url + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.arrived.release()

            def log_message(self, *_: object) -> None:
                """Quietly."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


@pytest.fixture
def connection(journal_url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(journal_url, autocommit=True) as opened:
        begin(opened, LEDGER, 0)
        yield opened


def put(connection: Connection[Any], count: int, adapter: str = "webhook") -> None:
    notices = [
        Notice(
            f"hours-confirmed:R{n}:{n}:person:V1", "hours-confirmed", "person:V1", {"record": f"R{n}", "minutes": 60}
        )
        for n in range(1, count + 1)
    ]
    with writing(connection, LEDGER) as outbox:
        outbox.put(notices, [adapter])


def let_time_pass(connection: Connection[Any]) -> None:
    connection.execute("UPDATE notice_deliveries SET next_attempt_at = clock_timestamp()")


# ── The webhook ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_notice_is_posted_with_its_key_and_a_signature(receiver: Receiver) -> None:
    Webhook(receiver.url + "/hook?to=bank", SECRET).deliver(claimed())
    ((headers, body),) = receiver.received
    assert headers["webhook-id"] == "hours-confirmed:R1:7:person:V1"
    assert headers["content-type"] == "application/json"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == "v1," + expected
    assert json.loads(body) == {
        "type": "hours-confirmed",
        "timestamp": "2026-11-22T04:00:00Z",
        "data": {
            "key": "hours-confirmed:R1:7:person:V1",
            "recipient": "person:V1",
            "text_zh": "服务记录“R1”已确认，60 分钟已存入。",
            "text_en": "Service record “R1” was confirmed: 60 minutes.",
            "parts": {"record": "R1", "minutes": 60},
        },
    }


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of its reference libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert (
        signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_key_fits_a_header_and_holds_no_dot() -> None:
    assert (
        webhook_id("offer-made:Q.1:7:staff:新竹社区") == "offer-made:Q%2E1:7:staff:%E6%96%B0%E7%AB%B9%E7%A4%BE%E5%8C%BA"
    )


@pytest.mark.parametrize(
    ("status", "for_good"), [(301, False), (307, False), (400, False), (410, True), (429, False), (500, False)]
)
def test_any_answer_but_success_is_a_failure_and_no_redirect_is_followed(
    receiver: Receiver, status: int, for_good: bool
) -> None:
    receiver.statuses = [status]
    with pytest.raises(DeliveryFailed) as raised:
        Webhook(receiver.url, SECRET).deliver(claimed())
    assert (raised.value.reason, raised.value.for_good) == (f"HTTP {status}", for_good)
    assert len(receiver.received) == 1


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection that says whatever it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def never(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drop_by_drop(connection: socket.socket) -> None:
    """A byte at a time for as long as anybody listens."""
    connection.settimeout(0.02)
    try:
        while True:
            connection.sendall(b"H")
            try:
                if not connection.recv(65536):
                    return
            except TimeoutError:
                continue
    except OSError:
        return


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)


def nonsense(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"no HTTP at all\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (never, "TimeoutError"),
        (drop_by_drop, "TimeoutError"),
        (hang_up, "RemoteDisconnected"),
        (nonsense, "BadStatusLine"),
    ],
)
def test_a_receiver_that_misbehaves_holds_nobody_up(answer: Callable[[socket.socket], None], reason: str) -> None:
    with answering(answer) as url, pytest.raises(DeliveryFailed, match=f"^{reason}$"):
        Webhook(url, SECRET, seconds_max=0.3 if reason == "TimeoutError" else 30).deliver(claimed())


def test_a_receiver_that_is_not_there_is_a_failure_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DeliveryFailed) as raised:
        Webhook(f"http://127.0.0.1:{port}/token-hunter2", SECRET).deliver(claimed())
    assert raised.value.reason == "ConnectionRefusedError"
    assert "hunter2" not in str(raised.value) + caplog.text


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    with answering(hang_up) as url, pytest.raises(DeliveryFailed):
        Webhook(url.replace("http://", "https://"), SECRET, seconds_max=5).deliver(claimed())


def test_a_delivery_under_way_can_be_ended() -> None:
    asked = threading.Event()

    def wait(connection: socket.socket) -> None:
        connection.recv(65536)
        asked.set()
        never(connection)

    with answering(wait) as url:
        webhook = Webhook(url, SECRET, seconds_max=60)
        ending = threading.Thread(target=lambda: (asked.wait(60), webhook.interrupt()))
        ending.start()
        with pytest.raises(DeliveryFailed):
            webhook.deliver(claimed())
        ending.join()


# ── The log ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_log_has_a_line_of_json_a_notice_and_nobody_else_reads_it(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "notices.jsonl")
    for key in ("a:1:person:V1", "b:2:person:V1"):
        log.deliver(claimed(key))
    lines = (tmp_path / "notices.jsonl").read_text().splitlines()
    assert [json.loads(line)["data"]["key"] for line in lines] == ["a:1:person:V1", "b:2:person:V1"]
    assert (tmp_path / "notices.jsonl").stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed, match="FileNotFoundError"):
        LogFile(tmp_path / "missing" / "notices.jsonl").deliver(claimed())


# ── Trying again ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_fails_is_tried_again_later_and_delivered_once(connection: Connection[Any], receiver: Receiver) -> None:
    put(connection, 1)
    receiver.statuses = [500, 503]
    webhook = Webhook(receiver.url, SECRET)
    for outcome in (False, None):
        assert deliver_next(connection, LEDGER, webhook) is outcome
    for outcome in (False, True):
        let_time_pass(connection)
        assert deliver_next(connection, LEDGER, webhook) is outcome
    let_time_pass(connection)
    assert deliver_next(connection, LEDGER, webhook) is None
    assert receiver.ids == ["hours-confirmed:R1:1:person:V1"] * 3
    assert delivery_counts(connection, LEDGER) == {"webhook": {"delivered": 1}}


def test_after_the_last_attempt_it_is_given_up_and_shown(
    connection: Connection[Any], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    put(connection, 1)
    receiver.statuses = [500] * 100
    webhook = Webhook(receiver.url + "/hunter2", SECRET)
    while deliver_next(connection, LEDGER, webhook) is not None:
        let_time_pass(connection)
    assert len(receiver.received) == ATTEMPTS_MAX
    (failed,) = deliveries(connection, LEDGER, "failed", 10)
    assert [(one.attempts, one.last_error) for one in failed.deliveries] == [(ATTEMPTS_MAX, "HTTP 500")]
    assert "given up" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_receiver_that_is_gone_for_good_is_asked_once(connection: Connection[Any], receiver: Receiver) -> None:
    put(connection, 1)
    receiver.statuses = [410]
    assert deliver_next(connection, LEDGER, Webhook(receiver.url, SECRET)) is False
    assert delivery_counts(connection, LEDGER) == {"webhook": {"failed": 1}}


def test_after_a_crash_between_sending_and_marking_the_same_id_comes_again(
    connection: Connection[Any], receiver: Receiver
) -> None:
    put(connection, 1)
    webhook = Webhook(receiver.url, SECRET)
    lost = claim(connection, LEDGER, "webhook")
    assert lost is not None
    webhook.deliver(lost)  # and here the process dies
    assert deliver_next(connection, LEDGER, webhook) is None
    let_time_pass(connection)
    assert deliver_next(connection, LEDGER, webhook) is True
    assert receiver.ids == ["hours-confirmed:R1:1:person:V1"] * 2
    assert delivery_counts(connection, LEDGER) == {"webhook": {"delivered": 1}}


def test_a_notice_at_which_the_process_dies_every_time_is_given_up_too(
    connection: Connection[Any], receiver: Receiver
) -> None:
    put(connection, 1)
    for _ in range(ATTEMPTS_MAX):
        assert claim(connection, LEDGER, "webhook", 0) is not None
    assert deliver_next(connection, LEDGER, Webhook(receiver.url, SECRET)) is False
    assert receiver.received == []
    assert delivery_counts(connection, LEDGER) == {"webhook": {"failed": 1}}


def test_delays_grow_up_to_a_day_and_are_never_all_the_same() -> None:
    for attempts, seconds in ((1, 5.0), (2, 20.0), (3, 80.0), (30, DELAY_SECONDS_MAX)):
        delays = {delay_seconds(attempts) for _ in range(50)}
        assert len(delays) > 1
        assert seconds * (1 - JITTER) <= min(delays) <= max(delays) <= seconds * (1 + JITTER)


def test_a_thread_delivers_what_comes_and_goes_on_after_failures(
    connection: Connection[Any], journal_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "IDLE_SECONDS", 0.001)
    monkeypatch.setattr(delivery, "delay_seconds", lambda _: 0.0)
    put(connection, 3)
    receiver.statuses = [500, 204, 500]
    away = [psycopg.OperationalError("away"), RuntimeError("broken")]

    def connect() -> Connection[Any]:
        if away:
            raise away.pop()
        return psycopg.connect(journal_url, autocommit=True)

    with DeliveryThread(connect, LEDGER, Webhook(receiver.url, SECRET)):
        for _ in range(5):
            assert receiver.arrived.acquire(timeout=60)
    assert len(set(receiver.ids)) == 3
    assert delivery_counts(connection, LEDGER) == {"webhook": {"delivered": 3}}
