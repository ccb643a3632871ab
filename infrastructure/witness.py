"""The witness's own machine: a log far away, the last checkpoint that was seen of it, and reports of what was refused.

A directory holds all of it, and no database does:

    witness.key                    the witness's private key
    <log>.checkpoint               the last checkpoint, with our cosignature once we have given it
    refused/<log>-<kind>-….txt     both checkpoints of a log that was refused, to be shown to others

A checkpoint is on disk before it is cosigned, under the directory's lock. So whenever this is killed, and however many
of it run at once, nothing is ever cosigned that doesn't continue what was cosigned before.
"""

import hashlib
import http.client
import os
import ssl
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from domain.checkpoint import Checkpoint, NoCheckpoint
from domain.merkle import HASH_BYTES, TILE_HASHES, Tile
from domain.statement import VerifierKey
from domain.witness import Cosignature, LogRefused, RefusedLog, require_growth
from infrastructure.signing import (
    CosigningKey,
    NoteNotGenuine,
    alone,
    cosignatures,
    replace_file,
    signed_by,
    split_successions,
    succeeding,
    verified,
)

SECONDS_MAX: Final = 20.0
"""How long one answer of the log may take, whatever it does."""
NOTE_BYTES_MAX: Final = 100_000
SUCCESSIONS_BYTES_MAX: Final = 1_000_000
KEY_FILE: Final = "witness.key"


class LogUnreachable(Exception):
    """The log gave no answer, or none that can be used; nothing is said about the log itself."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"无法读取日志 {address}：{reason} / The log at {address} can't be read: {reason}")


class KeptDamaged(Exception):
    """What was kept of a log can't be read any more, and whoever goes on without it is no witness."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"保存的检查点 {path} 已损坏，请从备份恢复。 / "
            f"The kept checkpoint {path} is damaged; restore it from a copy."
        )


class RemoteLog:
    """A log as C2SP tlog-tiles serves it, below a prefix, which may be named with the checkpoint in it. No redirect is
    followed, and no proxy is asked."""

    def __init__(self, address: str) -> None:
        """Raises: LogUnreachable for what is no address."""
        self.address = address.rstrip("/").removesuffix("/checkpoint")
        parts = urlsplit(self.address)
        with suppress(ValueError):
            self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path
            if parts.scheme in ("http", "https") and self._host and self.address.isascii() and not parts.query:
                self._tls = ssl.create_default_context() if parts.scheme == "https" else None
                return
        raise LogUnreachable(address, "http(s)://…")

    def checkpoint(self) -> str:
        """Raises: LogUnreachable."""
        return self._text("checkpoint", NOTE_BYTES_MAX)

    def successions(self) -> list[str]:
        """The notes by which the log's keys have named their successors. Raises: LogUnreachable."""
        return split_successions(self._text("successions", SUCCESSIONS_BYTES_MAX))

    def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile, out of the full one where the log has no narrower one any more.

        Raises: LookupError where the log hasn't it; LogUnreachable.
        """
        for width in (tile.width, TILE_HASHES):
            path = "tile/" + Tile(tile.level, tile.number, width).path
            status, content = self._asked("GET", path, width * HASH_BYTES)
            if status == http.client.OK and len(content) == width * HASH_BYTES:
                return content[: tile.width * HASH_BYTES]
            if status not in (http.client.OK, http.client.NOT_FOUND, http.client.GONE):
                raise LogUnreachable(f"{self.address}/{path}", f"HTTP {status}")
        raise LookupError(path)

    def hand_in(self, size: int, cosignature: Cosignature) -> int:
        """Give the log a cosignature of a checkpoint of its; returns the HTTP status. Raises: LogUnreachable."""
        path = f"checkpoints/{size}/cosignatures"
        return self._asked("PUT", path, NOTE_BYTES_MAX, cosignature.line().encode())[0]

    def _text(self, path: str, bytes_max: int) -> str:
        status, content = self._asked("GET", path, bytes_max)
        if status != http.client.OK:
            raise LogUnreachable(f"{self.address}/{path}", f"HTTP {status}")
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise LogUnreachable(f"{self.address}/{path}", "UTF-8") from None

    def _asked(self, method: str, path: str, bytes_max: int, body: bytes | None = None) -> tuple[int, bytes]:
        deadline = time.monotonic() + SECONDS_MAX
        headers = {"User-Agent": "timebank", "Cache-Control": "no-cache"}
        if body is not None:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        try:
            with closing(self._connection()) as connection:
                connection.request(method, f"{self._path}/{path}", body, headers)
                response = connection.getresponse()
                content = b""
                # In pieces: the time-out of a socket begins anew with every byte.
                while piece := response.read1(65_536):
                    content += piece
                    if len(content) > bytes_max:
                        raise LogUnreachable(f"{self.address}/{path}", f"> {bytes_max} B")
                    if time.monotonic() > deadline:
                        raise TimeoutError("timed out")
                return response.status, content
        except (OSError, http.client.HTTPException) as error:
            raise LogUnreachable(f"{self.address}/{path}", str(error) or type(error).__name__) from error

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=SECONDS_MAX)
        return http.client.HTTPSConnection(self._host, self._port, timeout=SECONDS_MAX, context=self._tls)


class Refused(Exception):
    """A log was refused, and both its checkpoints are written down."""

    def __init__(self, reason: LogRefused, report: Path) -> None:
        self.reason, self.report = reason, report
        super().__init__(f"{reason} 报告 Report: {report}")


class Looked(NamedTuple):
    """What a look at a log came to.

    ``before`` is the size that was kept until then (None: this is the first look), ``handed_in`` the HTTP status with
    which the log took the cosignature (None: it had it already, or couldn't be reached).
    """

    checkpoint: Checkpoint
    before: int | None
    cosignature: Cosignature
    carried: bool
    handed_in: int | None


class Witness:
    """Looks at logs, keeps the last checkpoint of each, and cosigns what continues it. ``clock`` gives Unix seconds."""

    def __init__(self, directory: Path, key: CosigningKey, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._key = key
        self._clock = clock

    def look(self, log: RemoteLog, trusted: VerifierKey) -> Looked:
        """See how a log has grown, keep its checkpoint, cosign that, and hand the cosignature in.

        ``trusted`` is the log's key, or one from which its key descends by successions.

        Raises: Refused, with both checkpoints written down; NoteNotGenuine and NoCheckpoint where the log shows what
        its key hasn't signed; KeptDamaged; LogUnreachable.
        """
        path = self.kept_path(trusted.name)
        with alone(self._directory):
            # Only now: what another look has kept in the meantime must not be newer than what this one sees.
            note, keys = _shown(log, trusted)
            text = _text(note)
            seen = Checkpoint.parse(text)
            if seen.origin != trusted.name:
                raise NoCheckpoint
            kept_note = _read(path)
            before = None if kept_note is None else self._require_growth(kept_note, path, seen, note, keys, log)
            own = carried = self._own(note)
            if own is None and kept_note is not None and _text(kept_note) == text:
                own = self._own(kept_note)
            # What isn't the log's or ours is of no use to us, and might be too much to keep.
            note = signed_by(note, keys)
            if kept_note is None or _text(kept_note) != text:
                self._keep(path, note)
            if own is None:
                own = self._key.cosign(text, int(self._clock()))
                self._keep(path, note + own.line())
            status = None
            if carried is None:
                with suppress(LogUnreachable):  # it will be handed in with the next look
                    status = log.hand_in(seen.size, own)
        return Looked(seen, before, own, carried is not None, status)

    def _require_growth(
        self,
        kept_note: str,
        path: Path,
        seen: Checkpoint,
        note: str,
        keys: list[VerifierKey],
        log: RemoteLog,
    ) -> int:
        """The size that was kept, which the checkpoint seen must continue. Raises: Refused, KeptDamaged."""
        try:
            kept = Checkpoint.parse(_text(kept_note))
            self._own(kept_note)
        except (NoCheckpoint, NoteNotGenuine):
            raise KeptDamaged(path) from None
        try:
            require_growth(kept, seen, cache(log.tile))
        except LogRefused as reason:
            raise Refused(reason, self._report(reason, kept_note, signed_by(note, keys))) from reason
        return kept.size

    def _own(self, note: str) -> Cosignature | None:
        """Our cosignature, if the note carries it. Raises: NoteNotGenuine."""
        return cosignatures(note, [self._key.verifier]).get(self._key.verifier)

    def kept_path(self, origin: str) -> Path:
        """Where the last checkpoint of a log is kept."""
        return self._directory / f"{quote(origin, safe='')}.checkpoint"

    def _keep(self, path: Path, note: str) -> None:
        """On disk, whatever happens from now on."""
        replace_file(path, note)
        _sync(path.parent)

    def _report(self, refused: LogRefused, kept_note: str, note: str) -> Path:
        """Write both checkpoints down, once, where nothing of ours ever removes them."""
        directory = self._directory / "refused"
        directory.mkdir(mode=0o700, exist_ok=True)
        digest = hashlib.sha256(f"{refused.kept.text()}{refused.seen.text()}".encode()).hexdigest()[:12]
        sizes = f"{refused.kept.size}-{refused.seen.size}"
        name = f"{quote(refused.kept.origin, safe='')}-{refused.kind}-{sizes}-{digest}.txt"
        path = directory / name
        if not path.exists():
            at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
            replace_file(path, RefusedLog(refused.kind, at, kept_note, note).text())
            _sync(directory)
            _sync(self._directory)
        return path


def _shown(log: RemoteLog, trusted: VerifierKey) -> tuple[str, list[VerifierKey]]:
    """The log's checkpoint, which the trusted key has signed, or one that it has led to; and those keys."""
    note, keys = log.checkpoint(), [trusted]
    try:
        verified(note, keys)
    except NoteNotGenuine:
        keys = succeeding(keys, log.successions())
        verified(note, keys)
    return note, keys


def _text(note: str) -> str:
    """What is signed of a checkpoint."""
    return note.partition("\n\n")[0] + "\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise KeptDamaged(path) from None


def _sync(directory: Path) -> None:
    """Have what was renamed in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
