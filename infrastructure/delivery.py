"""Notices on their way out: adapters that carry one each, and the thread that carries what is due.

Both adapters carry the same JSON, as Standard Webhooks have it: `type`, `timestamp`, and in `data` the key, the
recipient, the texts and what they are made of. Who the recipient is, the receiver has to know: no name and no number of
a telephone leaves here.
"""

import base64
import hashlib
import hmac
import http.client
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

import msgspec
import psycopg
from psycopg import Connection

from infrastructure.notice import Claimed, claim, mark_delivered, mark_failed

logger = logging.getLogger(__name__)

ATTEMPTS_MAX: Final = 10
FIRST_DELAY_SECONDS: Final = 5.0
DELAY_GROWTH: Final = 4.0
DELAY_SECONDS_MAX: Final = 86_400.0
JITTER: Final = 0.25
"""By which part of it a delay is longer or shorter than it would be, so that not all come back at once."""
WEBHOOK_SECONDS_MAX: Final = 10.0
"""How long one delivery may take from the connection to the answer's status, whatever the receiver does."""
IDLE_SECONDS: Final = 1.0
PAUSE_SECONDS_MAX: Final = 60.0


class DeliveryFailed(Exception):
    """A notice didn't go out. The reason holds no address and nothing that the receiver said.

    ``for_good``: it makes no sense to try it again.
    """

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        self.reason, self.for_good = reason, for_good
        super().__init__(reason)


class Adapter(Protocol):
    """One way by which notices go out."""

    name: str

    def deliver(self, notice: Claimed) -> None:
        """Return once the receiver has it. Raises: DeliveryFailed."""

    def interrupt(self) -> None:
        """End a delivery that is under way in another thread."""


def message(notice: Claimed) -> bytes:
    """What goes out."""
    return msgspec.json.encode(
        {
            "type": notice.kind,
            "timestamp": notice.written_at,
            "data": {
                "key": notice.key,
                "recipient": notice.recipient,
                "text_zh": notice.text_zh,
                "text_en": notice.text_en,
                "parts": notice.parts,
            },
        }
    )


class LogFile:
    """Appends each notice as one line of JSON. The file is opened for each, so it may be rotated at any time."""

    name = "log"

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, notice: Claimed) -> None:
        line = message(notice) + b"\n"
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # In one call, so that processes that share the file don't mix their lines.
                if os.write(file, line) != len(line):
                    raise DeliveryFailed("the line was cut off")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise DeliveryFailed(type(error).__name__) from error

    def interrupt(self) -> None:
        """It doesn't take long."""


def webhook_id(key: str) -> str:
    """The key as a header can hold it, and without the dot that parts the signed content."""
    return quote(key, safe=":").replace(".", "%2E")


def signature(secret: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Standard Webhooks: HMAC-SHA256 over ``id.timestamp.body``, in base64 after its version."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


class Webhook:
    """POSTs each notice to one address, signed. Redirects are not followed, and no proxy is asked."""

    name = "webhook"

    def __init__(self, url: str, secret: bytes, *, seconds_max: float = WEBHOOK_SECONDS_MAX) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._secret = parts.hostname or "", parts.port, secret
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._seconds_max = seconds_max
        self._current: http.client.HTTPConnection | None = None

    def deliver(self, notice: Claimed) -> None:
        body, identifier, now = message(notice), webhook_id(notice.key), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "timebank",
            "webhook-id": identifier,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._secret, identifier, now, body),
        }
        try:
            status = self._post(body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryFailed(type(error).__name__) from error
        if not 200 <= status < 300:
            raise DeliveryFailed(f"HTTP {status}", for_good=status == http.client.GONE)

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        connection = self._connection()
        over = threading.Event()

        def end() -> None:
            over.set()
            self.interrupt()

        # The time-out of a socket begins anew with every byte; this one doesn't.
        limit = threading.Timer(self._seconds_max, end)
        limit.daemon = True
        with closing(connection):
            self._current = connection
            limit.start()
            try:
                connection.connect()
                if over.is_set():  # there was nothing to interrupt yet
                    raise TimeoutError
                connection.request("POST", self._target, body, headers)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                if over.is_set():
                    raise TimeoutError from None
                raise
            finally:
                self._current = None
                limit.cancel()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds_max)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds_max, context=self._tls)

    def interrupt(self) -> None:
        connection = self._current
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                # The plain socket's own: that of TLS would first take its session from whoever reads it now.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def delay_seconds(attempts: int) -> float:
    """How long to wait after so many failed attempts: 5 s, 20 s, 80 s, … up to a day, more or less."""
    delay = min(DELAY_SECONDS_MAX, FIRST_DELAY_SECONDS * DELAY_GROWTH ** (attempts - 1))
    return delay * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, keeps no secret


def deliver_next(connection: Connection[Any], ledger: str, adapter: Adapter) -> bool | None:
    """Deliver what has been due for longest; returns whether it went out, or None where nothing is due."""
    claimed = claim(connection, ledger, adapter.name)
    if claimed is None:
        return None
    try:
        if claimed.attempts > ATTEMPTS_MAX:
            raise DeliveryFailed("every attempt was cut short", for_good=True)
        adapter.deliver(claimed)
    except DeliveryFailed as failure:
        given_up = failure.for_good or claimed.attempts >= ATTEMPTS_MAX
        again_in_seconds = None if given_up else delay_seconds(claimed.attempts)
        mark_failed(connection, claimed, failure.reason, again_in_seconds)
        if given_up:
            logger.warning("notice %s was given up by %s: %s", claimed.number, adapter.name, failure.reason)
        return False
    mark_delivered(connection, claimed)
    return True


class DeliveryThread:
    """Delivers by one adapter what is due, for as long as the service runs.

    After a failure it pauses, longer each time, so that a receiver that is down isn't asked once for every notice that
    waits; the first success ends that.
    """

    def __init__(self, connect: Callable[[], Connection[Any]], ledger: str, adapter: Adapter) -> None:
        self._connect, self._ledger, self._adapter = connect, ledger, adapter
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notices-{adapter.name}", daemon=True)

    def __enter__(self) -> "DeliveryThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._adapter.interrupt()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with closing(self._connect()) as connection:
                    while not self._stopping.is_set():
                        went_out = deliver_next(connection, self._ledger, self._adapter)
                        failures = failures + 1 if went_out is False else 0
                        if not went_out:
                            self._stopping.wait(_pause_seconds(failures))
            except psycopg.OperationalError as error:
                failures += 1
                logger.warning("the delivery of notices by %s has to wait: %s", self._adapter.name, error)
                self._stopping.wait(_pause_seconds(failures))
            except Exception:
                # Nobody else would deliver; what failed is logged whole, and tried again.
                failures += 1
                logger.exception("the delivery of notices by %s failed", self._adapter.name)
                self._stopping.wait(_pause_seconds(failures))


def _pause_seconds(failures: int) -> float:
    return float(min(PAUSE_SECONDS_MAX, IDLE_SECONDS * 2 ** min(failures, 10)))
