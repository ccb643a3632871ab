"""Reading a file of service records beside deciding it: a large one in a process of its own.

    with HoursReading(file, CHUNK_ROWS) as reading:
        for chunk in reading: …

Parsing a row and hashing its command takes a sixth of an import. In another process it takes none of the time of the
one that decides, which gets chunks of rows through a pipe, hardly more than one ahead. A small file is read here: a
process takes half a second to start.
"""

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import IO, Final, NamedTuple, Self, cast

import msgspec

from application.hours_file import HoursFile, HoursFileError, HoursRow, RowProblem
from application.write_loop import Ticket, command_digest, command_id
from domain.decision import Actor
from domain.hours import ImportHours, import_hours

ACTOR: Final = Actor("@import", "admin")
"""No person's number starts so: nobody can have a token for this id, nor share its command ids."""
APART_ROWS_MIN: Final = 20_000
"""From about this many rows on, a file is read in a process of its own."""
_PIPE_BYTES: Final = 1 << 20


class Read(msgspec.Struct, frozen=True, gc=False):
    """One row: its record with its command's id and digest, or all that is wrong with it."""

    row: HoursRow | tuple[RowProblem, ...]
    command_id: str = ""
    digest: str = ""

    def ticket(self) -> Ticket | None:
        """The row's command; None where it can't be read."""
        if not isinstance(self.row, HoursRow):
            return None
        return Ticket(import_hours, _command(self.row), ACTOR, self.command_id, imported=True, digest=self.digest)


class Chunk:
    """Some rows in the file's order."""

    def __init__(self, rows: list[Read], cells: list[list[str]] | bytes) -> None:
        self.rows = rows
        self._cells = cells

    def cells(self, index: int) -> list[str]:
        """One row's cells as they stand in the file. Hardly ever asked for, so they are unpacked only then."""
        cells = self._cells
        if isinstance(cells, bytes):
            self._cells = cells = cast("list[list[str]]", pickle.loads(cells))  # noqa: S301 - made by `packed`
        return cells[index]

    def packed(self) -> "_PackedChunk":
        rows = self.rows
        return _PackedChunk(
            [read.row for read in rows],
            [read.command_id for read in rows],
            [read.digest for read in rows],
            pickle.dumps(self._cells),
        )


class _PackedChunk(NamedTuple):
    """A chunk as it goes through the pipe: by columns, which are taken out in less time than as many rows."""

    rows: list[HoursRow | tuple[RowProblem, ...]]
    command_ids: list[str]
    digests: list[str]
    cells: bytes

    def chunk(self) -> Chunk:
        return Chunk(list(map(Read, self.rows, self.command_ids, self.digests)), self.cells)


class HoursReading:
    """A file that is being read, by chunks. A context manager, once round: leaving it ends the reading.

    A process that reads begins at once and waits till its rows are taken. It is in a session of its own, so that Ctrl-C
    reaches only the one that decides; it ends when its pipe is closed, whatever became of that one.
    """

    def __init__(self, file: HoursFile, chunk_rows: int) -> None:
        self._file = file
        self._chunk_rows = chunk_rows
        self._process: subprocess.Popen[bytes] | None = None
        if file.rows_estimate >= APART_ROWS_MIN:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself, with no word from outside
                [sys.executable, "-P", "-c", f"from {__name__} import read_apart; read_apart()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pipesize=_PIPE_BYTES,
                start_new_session=True,
            )
            # It may have ended already; that is told when its rows are asked for.
            with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", self._process.stdin) as asked:
                pickle.dump((file, chunk_rows), asked)

    def __iter__(self) -> Iterator[Chunk]:
        """Raises: HoursFileError, as iterating the file does, and when the process that reads was ended."""
        if self._process is None:
            return _chunks(self._file, self._chunk_rows)
        return self._taken(self._process)

    def _taken(self, process: subprocess.Popen[bytes]) -> Iterator[Chunk]:
        answer = cast("IO[bytes]", process.stdout)
        while True:
            try:
                told = pickle.load(answer)  # noqa: S301 - from a process of ours, through a pipe of ours
            except (EOFError, pickle.UnpicklingError):
                raise HoursFileError(
                    f"读取 {self._file.path.name} 的进程意外结束（{process.wait()}），请重试",
                    f"the process that reads {self._file.path.name} was ended ({process.wait()}); try again",
                ) from None
            match told:
                case _PackedChunk():
                    yield told.chunk()
                case _Failed(zh, en):
                    raise HoursFileError(zh, en)
                case None:
                    return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ended(self) -> bool:
        """Whether no process reads the file any more."""
        return self._process is None or self._process.returncode is not None

    def close(self) -> None:
        """End the reading, wherever it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            cast("IO[bytes]", self._process.stdout).close()


class _Failed(NamedTuple):
    """The rest of a file can't be read, and why."""

    zh: str
    en: str


def _chunks(file: HoursFile, chunk_rows: int) -> Iterator[Chunk]:
    rows = iter(file)
    while some := list(islice(rows, chunk_rows)):
        yield Chunk([_read(row) for _, row in some], [cells for cells, _ in some])


def _read(row: HoursRow | tuple[RowProblem, ...]) -> Read:
    if not isinstance(row, HoursRow):
        return Read(row)
    return Read(row, command_id(ACTOR.id, f"{row.record} {row.status}"), command_digest(import_hours, _command(row)))


def _command(row: HoursRow) -> ImportHours:
    return ImportHours(
        row.record,
        row.volunteer,
        row.household,
        row.household_community or row.community,
        row.recipient_household,
        row.community,
        row.grid,
        row.service,
        row.started_at,
        row.ended_at,
        row.minutes,
        row.confirmed_by,
        row.status,
    )


def read_apart() -> None:
    """What the process that reads does: the chunks of the file that it is asked for, then None or why it failed."""
    file, chunk_rows = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    told: _Failed | None = None
    try:
        try:
            for chunk in _chunks(file, chunk_rows):
                _tell(chunk.packed())
        except HoursFileError as error:
            told = _Failed(error.zh, error.en)
        _tell(told)
    except BrokenPipeError:
        os._exit(0)  # nobody wants the rest any more; the interpreter would complain that it can't be written


def _tell(told: _PackedChunk | _Failed | None) -> None:
    pickle.dump(told, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    sys.stdout.buffer.flush()
