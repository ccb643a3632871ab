"""What the rest of the time bank needs of a journal, whatever it is stored in."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from domain.decision import Reading
from domain.fact import Envelope, Recorded


class Conflict(Exception):
    """Another writer recorded something that a decision had read; it must be read and decided again."""

    def __init__(self) -> None:
        super().__init__(
            "其他程序同时记录了与此有关的内容，这次什么也没有记录，请重试。 / "
            "Another writer recorded something that this depends on; nothing was recorded. Try again."
        )


class FactsTooLong(Exception):
    """Facts of some commands are longer than evidence can hold. Nothing was recorded, of no command of the batch.

    ``lengths_bytes`` has the longest leaf of each such command by its id.
    """

    def __init__(self, lengths_bytes: Mapping[str, int]) -> None:
        self.lengths_bytes = lengths_bytes
        super().__init__(
            f"有 {len(lengths_bytes)} 个命令的事实太长，无法列入证据。 / "
            f"The facts of {len(lengths_bytes)} commands are too long to be evidence."
        )


class StoreUnavailable(Exception):
    """The journal could not be reached, or did not answer in time. Nothing is known to be recorded.

    The reason is a technical one, kept without its credentials.
    """

    def __init__(self, reason: str) -> None:
        reason = re.sub(r"://[^/\s]*@|password\s*=\s*('[^']*'|\S+)", "…", " ".join(reason.split()))
        super().__init__(
            "暂时无法使用账本，请稍后重试；若一直如此，请检查数据库。重试不会重复记录同一命令。 / "
            "The ledger can't be used just now. Try again later; if that doesn't help, look at the database. "
            f"A command that is sent again is not recorded twice. ({reason})"
        )


class FactStore(Protocol):
    """The facts of one ledger."""

    def head(self) -> int:
        """The last position; 0 while nothing is recorded. Raises: StoreUnavailable."""

    def recall(self, readings: Collection[Reading[Any]]) -> tuple[int, dict[Reading[Any], Any]]:
        """States folded before, all as of one position, for those of the readings that are worth keeping.

        A position of 0 and no states is always a right answer. Raises: StoreUnavailable.
        """

    def borne(self, tags: Collection[str], head: int) -> Collection[str]:
        """Of some tags, those that a fact up to ``head`` may bear; all of them is always a right answer."""

    def read_boundary(
        self, tags: Collection[str], head: int, recalled: Collection[str] = (), recalled_position: int = 0
    ) -> tuple[Sequence[Recorded[Any]], Sequence[Recorded[Any]]]:
        """Facts up to ``head`` that bear one of the tags, and all facts after ``head``; both in order.

        Of the ``recalled`` tags only the facts after ``recalled_position`` are wanted.
        """

    def append(
        self,
        envelopes: Sequence[Envelope[Any]],
        boundary: Collection[Reading[Any]],
        commands: Collection[str],
        after: int,
        tags: Iterable[Sequence[str]] | None = None,
    ) -> tuple[int, int]:
        """Record all, or nothing: returns the first position and recorded-at (microseconds).

        ``tags`` are each envelope's own, from who has made them already; they may be gone through more than once.

        Raises: Conflict when a fact after ``after`` belongs to the boundary or to one of the commands; FactsTooLong;
        StoreUnavailable.
        """

    def scan(self, after: int = 0, to: int | None = None) -> Iterator[Iterable[Recorded[Any]]]:
        """All facts after a position, up to another (None: the head), in order, in batches, each to be gone through
        before the next."""
