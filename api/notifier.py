"""What tells: news of the journal and reminders of the time go to the outbox, and from there out by the adapters.

All of it runs behind the writer, in threads of its own. The journal is read in batches from the checkpoint, which
moves in the transaction that writes the notices. On a ledger that was never told of, the checkpoint begins at the head:
what happened before is told to nobody, nor are the stars that follow from it.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import Connection

from api.due import STARS, run_due
from api.wiring import Timebank
from application.notice import Asked, tell, tell_news
from domain.journal import StoreUnavailable
from domain.notice import (
    DIGEST_HOUR,
    DISPUTE_LEAD,
    LAPSE_LEAD,
    NO_NEWS,
    REQUEST_LEAD,
    RESERVATION_LEAD,
    Notices,
    Telling,
    digest,
    remind_of_dispute,
    remind_of_expiry,
    remind_of_request,
    remind_of_reservation,
)
from infrastructure.delivery import Adapter, DeliveryThread, LogFile, Webhook
from infrastructure.notice import begin, has_begun, position_of, writing
from infrastructure.settings import Settings, webhook_secret_bytes
from projections.notice import (
    disputes_ending,
    households_with_lapsing,
    records_waiting,
    requests_beginning,
    reservations_ending,
)

logger = logging.getLogger(__name__)

NEWS_SECONDS: Final = 1.0
"""How long facts gather before it is looked at what they are news of."""
REMINDERS_SECONDS: Final = 60.0
BATCH_FACTS: Final = 500
"""Facts that are told of at a time, where none was brought in from older books."""
SCAN_FACTS: Final = 2_000
SCAN_FACTS_MAX: Final = 50_000
"""Facts after which a transaction ends though hardly any was news: an import is passed in a few of them."""
RECONNECT_SECONDS_MAX: Final = 30.0


def adapters_of(settings: Settings) -> list[Adapter]:
    """The ways out that the settings name."""
    found: list[Adapter] = []
    if settings.notices_log is not None:
        found.append(LogFile(settings.notices_log))
    if settings.notices_webhook is not None and settings.notices_webhook_secret is not None:
        secret = webhook_secret_bytes(settings.notices_webhook_secret.get_secret_value())
        found.append(Webhook(settings.notices_webhook.get_secret_value(), secret))
    return found


def begin_notices(bank: Timebank) -> None:
    """Begin at the head of a ledger that was never told of. The stars that older books make due are awarded before, as
    far as the projections know, since nobody is told of older books: in a whole district that would be a thousand
    people at once.

    Raises: StoreUnavailable, psycopg.OperationalError.
    """
    with psycopg.connect(bank.address, autocommit=True) as connection:
        if has_begun(connection, bank.name):
            return
        run_due(bank, datetime.now(UTC), (STARS,))
        begin(connection, bank.name, bank.store.head())


def write_news(bank: Timebank, connection: Connection[Any], adapters: Sequence[str]) -> bool:
    """Tell of the next facts after the checkpoint; returns whether there may be more.

    Raises: OutboxNotBegun, StoreUnavailable.
    """
    head = bank.store.head()
    if position_of(connection, bank.name) >= head:  # nearly always, and then nothing is locked
        return False
    with writing(connection, bank.name) as outbox:
        # What a crash of the database takes away, the checkpoint with it, is told again.
        connection.execute("SET LOCAL synchronous_commit TO off")
        start = position = outbox.position
        facts: list[Any] = []
        size = BATCH_FACTS if head - start <= SCAN_FACTS else SCAN_FACTS
        for batch in bank.store.scan_own(start, head, size, without=NO_NEWS):
            for fact in batch:
                position += 1
                if fact is not None:
                    facts.append(fact)
            if len(facts) >= BATCH_FACTS or position - start >= SCAN_FACTS_MAX:
                break
        outbox.put(tell_news(bank.store, facts), adapters)
        outbox.reach(position)
        return position < head


def reminders(bank: Timebank, now: datetime, *, with_digest: bool = True) -> Notices:
    """Everything that is to be reminded of now, as far as the projections know. Raises: StoreUnavailable."""
    here = now.astimezone(bank.zone)
    today = here.date()
    with bank.reading() as connection, connection.cursor() as cursor:
        tellings: list[Telling] = [
            *(remind_of_reservation(one, here) for one in reservations_ending(cursor, now, now + RESERVATION_LEAD)),
            *(remind_of_dispute(one, here) for one in disputes_ending(cursor, now, now + DISPUTE_LEAD)),
            *(remind_of_request(one, here) for one in requests_beginning(cursor, now, now + REQUEST_LEAD)),
            *(remind_of_expiry(one, today) for one in households_with_lapsing(cursor, today, today + LAPSE_LEAD)),
        ]
        waiting = records_waiting(cursor) if with_digest and here.hour >= DIGEST_HOUR else []
    told = tell(bank.store, [Asked(telling) for telling in tellings])
    return told + tuple(notice for community, count in waiting for notice in digest(community, count, here))


def write_reminders(
    bank: Timebank, connection: Connection[Any], adapters: Sequence[str], now: datetime, *, with_digest: bool = True
) -> int:
    """Write what is to be reminded of now and wasn't before; returns how many. Raises: OutboxNotBegun,
    StoreUnavailable."""
    told = reminders(bank, now, with_digest=with_digest)
    if not told:
        return 0
    with writing(connection, bank.name) as outbox:
        return outbox.put(told, adapters)


class NoticeThread:
    """Writes news and reminders for as long as the service runs. Several services don't write them twice."""

    def __init__(self, bank: Timebank, adapters: Sequence[str]) -> None:
        self._bank, self._adapters = bank, adapters
        self._stopping = threading.Event()
        self._reminded_at = -math.inf
        self._digest_day = ""
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def __enter__(self) -> "NoticeThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = NEWS_SECONDS
        while not self._stopping.is_set():
            try:
                with closing(psycopg.connect(self._bank.address, autocommit=True)) as connection:
                    while not self._stopping.wait(NEWS_SECONDS):
                        self._write(connection)
                        pause = NEWS_SECONDS
            except (psycopg.OperationalError, StoreUnavailable) as error:
                logger.warning("notices have to wait: %s", error)
            except Exception:
                # Whatever it is, what comes after it waits too: the log has all of it, and it is tried again.
                logger.exception("notices could not be written")
            self._stopping.wait(pause)
            pause = min(RECONNECT_SECONDS_MAX, pause * 2)

    def _write(self, connection: Connection[Any]) -> None:
        while write_news(self._bank, connection, self._adapters) and not self._stopping.is_set():
            pass
        if time.monotonic() - self._reminded_at >= REMINDERS_SECONDS:
            now = datetime.now(UTC)
            here = now.astimezone(self._bank.zone)
            # Once a day is often enough to count what waits.
            digest_day = here.date().isoformat() if here.hour >= DIGEST_HOUR else self._digest_day
            with_digest = digest_day != self._digest_day
            write_reminders(self._bank, connection, self._adapters, now, with_digest=with_digest)
            self._reminded_at, self._digest_day = time.monotonic(), digest_day


@contextmanager
def notifying(bank: Timebank) -> Iterator[None]:
    """Write and deliver notices for as long as the service runs."""
    adapters = adapters_of(bank.settings)
    begin_notices(bank)
    with ExitStack() as stack:
        stack.enter_context(NoticeThread(bank, [adapter.name for adapter in adapters]))
        for adapter in adapters:
            stack.enter_context(
                DeliveryThread(lambda: psycopg.connect(bank.address, autocommit=True), bank.name, adapter)
            )
        yield
