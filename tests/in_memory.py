"""A fact store without a database: the library's in-memory recorder under the real codec, with mishaps on demand."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.persistence import IntegrityError

from domain.account import Account
from domain.decision import Reading, fold_facts
from domain.fact import Envelope, Fact, Recorded
from domain.journal import Conflict
from infrastructure.codec import decode, encode, stored_type


class InMemoryFactStore:
    """See `FactStore`. Every fact is stored as bytes and decoded anew, so nothing passes that PostgreSQL would change.

    Each of ``before_append`` and ``after_append`` is called at one append, in turn, just before and just after it is
    recorded: to let others write at the worst moment, or to lose the answer.
    """

    def __init__(self) -> None:
        self.recorder = InMemoryDCBRecorder()
        self.reads = 0
        self.appends = 0
        self.before_append: deque[Callable[[], object]] = deque()
        self.after_append: deque[Callable[[], object]] = deque()
        self.recall_position = 0
        """Balances up to here are recalled; 0 recalls nothing."""

    def head(self) -> int:
        return self.recorder.read().head or 0

    def recall(self, readings: Collection[Reading[Any]]) -> tuple[int, dict[Reading[Any], Any]]:
        position = min(self.recall_position, self.head())
        facts = self.facts[:position]
        accounts = [reading for reading in readings if reading.fold is Account.of("").fold]
        return position, {reading: fold_facts(reading, facts) for reading in accounts if position}

    def read_boundary(
        self, tags: Collection[str], head: int, recalled: Collection[str] = (), recalled_position: int = 0
    ) -> tuple[Sequence[Recorded[Any]], Sequence[Recorded[Any]]]:
        self.reads += 1
        cold = [
            recorded_
            for recorded_ in self._read(DCBQuery())
            if recorded_.position <= head
            and (
                any(tag in tags for tag in recorded_.envelope.tags())
                or (
                    recorded_.position > recalled_position and any(tag in recalled for tag in recorded_.envelope.tags())
                )
            )
        ]
        return cold, self._read(DCBQuery(), after=head)

    def append(
        self,
        envelopes: Sequence[Envelope[Any]],
        boundary: Collection[Reading[Any]],
        commands: Collection[str],
        after: int,
    ) -> tuple[int, int]:
        if self.before_append:
            self.before_append.popleft()()
        events = [DCBEvent(stored_type(e.fact), encode(e), e.tags()) for e in envelopes]
        items = [DCBQueryItem([t.type for t in fold.fact_types], [tag]) for fold, tag in boundary]
        items += [DCBQueryItem([], ["command:" + command]) for command in commands]
        try:
            last = self.recorder.append(events, DCBAppendCondition(DCBQuery(items), after))
        except IntegrityError as error:
            raise Conflict from error
        self.appends += 1
        if self.after_append:
            self.after_append.popleft()()
        first = last - len(events) + 1
        return first, recorded_at(first)

    def scan(self, after: int = 0, to: int | None = None) -> Iterator[list[Recorded[Any]]]:
        for recorded in self._read(DCBQuery(), after=after):
            if to is None or recorded.position <= to:
                yield [recorded]

    @property
    def envelopes(self) -> list[Envelope[Any]]:
        return [recorded.envelope for recorded in self._read(DCBQuery())]

    @property
    def facts(self) -> list[Fact]:
        return [envelope.fact for envelope in self.envelopes]

    def _read(self, query: DCBQuery, after: int | None = None) -> list[Recorded[Any]]:
        return [
            Recorded(event.position, recorded_at(event.position), decode(event.event.type, event.event.data))
            for event in self.recorder.read(query, after=after)
        ]


def recorded_at(position: int) -> int:
    """A time that rises with the position, in microseconds."""
    return 1_800_000_000_000_000 + position
