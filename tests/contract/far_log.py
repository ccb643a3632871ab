"""A log far away, as a witness sees it: real HTTP, and an operator who may do with it whatever they like."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.checkpoint import Checkpoint
from domain.merkle import Tile
from infrastructure.signing import SigningKey, verified
from tests.domain.test_witness import Log, grown

KEY = SigningKey("qingxiu", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


class FarLog:
    """Serves a log below ``/v1/log``; ``shows`` is which, and may be another at any time."""

    def __init__(self, address: str) -> None:
        self.address = f"{address}/v1/log"
        self.key = KEY
        self.successions = ""
        self.handed_in: list[tuple[int, str]] = []
        self.asked: list[str] = []
        self.takes = 200
        self.before: Callable[[str], object] | None = None
        """Called with the path before each answer."""
        self.show(grown(7))

    def show(self, log: Log) -> str:
        """Show another log, signed with the key; returns its checkpoint."""
        self.log = log
        self.note = self.key.sign(log.checkpoint.text())
        return self.note

    def sizes(self) -> set[tuple[int, bytes]]:
        """The trees, by size and root, that cosignatures were handed in for."""
        return {Checkpoint.parse(verified(note, [self.key.verifier]))[1:] for _, note in self.handed_in}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.before is not None:
            self.before(path)
        if method == "PUT":
            if self.takes == 200:
                self.handed_in.append((int(path.split("/")[1]), self.note + body.decode()))
            return self.takes, b"{}"
        if path == "checkpoint":
            return 200, self.note.encode()
        if path == "successions":
            return 200, self.successions.encode()
        try:
            return 200, self.log.tile(Tile.parse(path.removeprefix("tile/")))
        except LookupError:
            return 404, b""


@contextmanager
def far_log() -> Iterator[FarLog]:
    """A log of seven facts, on a free port of this machine."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = log.answer(self.command, self.path.removeprefix("/v1/log/"), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_GET

        def log_message(self, format: str, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        log = FarLog(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield log
        finally:
            server.shutdown()
            thread.join()
