"""How a thread that follows the journal is told to end."""

import selectors
import socket
import threading
from typing import Any

from psycopg import Connection


class Stopping(threading.Event):
    """Set where a thread is to end: then a wait for the database's news ends too, as any other wait for it does."""

    def open(self) -> None:
        """Before the thread begins."""
        self._hears, self._tells = socket.socketpair()

    def close(self) -> None:
        """Once the thread has ended."""
        self._hears.close()
        self._tells.close()

    def set(self) -> None:
        super().set()
        self._tells.send(b"\0")

    def wait_for_news(self, connection: Connection[Any], timeout_seconds: float | None = None) -> list[str]:
        """Return when the connection was notified of something, after the time (None: there is none), or when it is
        set; with what came with the notifications."""
        news = _news(connection)
        if news:
            return news  # while something else was asked
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._hears, selectors.EVENT_READ)
            selector.select(timeout_seconds)
        return _news(connection)


def _news(connection: Connection[Any]) -> list[str]:
    return [notification.payload for notification in connection.notifies(timeout=0)]
