"""A fact store without a database: the library's in-memory recorder under the real codec, with mishaps on demand."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.persistence import IntegrityError

from domain.account import Account
from domain.decision import Reading, fold_facts
from domain.fact import Envelope, Fact, Recorded
from domain.journal import Conflict
from infrastructure.codec import decode
from infrastructure.fact_store import EncodedEnvelopes


class InMemoryFactStore:
    """See `FactStore`. Every fact is stored as bytes and decoded, so nothing passes that PostgreSQL would change.

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
        self._decoded: list[Recorded[Any]] = []
        self._firsts: dict[int, int] = {}
        """By position, the first one of its append, whose time all of them have."""
        self._recording = threading.Lock()

    def head(self) -> int:
        read = self._read()
        return read[-1].position if read else 0

    def recall(self, readings: Collection[Reading[Any]]) -> tuple[int, dict[Reading[Any], Any]]:
        position = min(self.recall_position, self.head())
        facts = self.facts[:position]
        accounts = [reading for reading in readings if reading.fold is Account.of("").fold]
        return position, {reading: fold_facts(reading, facts) for reading in accounts if position}

    def borne(self, tags: Collection[str], head: int) -> Collection[str]:
        used = {tag for one in self._read() if one.position <= head for tag in one.envelope.tags()}
        return used.intersection(tags)

    def read_boundary(
        self, tags: Collection[str], head: int, recalled: Collection[str] = (), recalled_position: int = 0
    ) -> tuple[Sequence[Recorded[Any]], Sequence[Recorded[Any]]]:
        self.reads += 1
        cold = [
            recorded_
            for recorded_ in self._read()
            if recorded_.position <= head
            and (
                any(tag in tags for tag in recorded_.envelope.tags())
                or (
                    recorded_.position > recalled_position and any(tag in recalled for tag in recorded_.envelope.tags())
                )
            )
        ]
        return cold, self._read(after=head)

    def append(
        self,
        envelopes: Sequence[Envelope[Any]],
        boundary: Collection[Reading[Any]],
        commands: Collection[str],
        after: int,
        tags: Iterable[Sequence[str]] | None = None,
    ) -> tuple[int, int]:
        assert tags is None or [list(some) for some in tags] == [envelope.tags() for envelope in envelopes]
        if self.before_append:
            self.before_append.popleft()()
        encoded = EncodedEnvelopes(envelopes, [envelope.tags() for envelope in envelopes])
        encoded.require_short("qingxiu")
        events = [DCBEvent(fact.type, fact.data, [*fact.tags]) for fact in encoded]
        items = [DCBQueryItem([t.type for t in reading.fold.fact_types], [reading.tag]) for reading in boundary]
        items += [DCBQueryItem([], ["command:" + command]) for command in commands]
        with self._recording:
            try:
                last = self.recorder.append(events, DCBAppendCondition(DCBQuery(items), after))
            except IntegrityError as error:
                raise Conflict from error
            first = last - len(events) + 1
            self._firsts.update(dict.fromkeys(range(first, last + 1), first))
        self.appends += 1
        if self.after_append:
            self.after_append.popleft()()
        return first, recorded_at(first)

    def scan(self, after: int = 0, to: int | None = None) -> Iterator[list[Recorded[Any]]]:
        for recorded in self._read(after=after):
            if to is None or recorded.position <= to:
                yield [recorded]

    @property
    def envelopes(self) -> list[Envelope[Any]]:
        return [recorded.envelope for recorded in self._read()]

    @property
    def facts(self) -> list[Fact]:
        return [envelope.fact for envelope in self.envelopes]

    def _read(self, after: int = 0) -> list[Recorded[Any]]:
        with self._recording:
            last = self._decoded[-1].position if self._decoded else 0
            self._decoded += [
                Recorded(
                    event.position,
                    recorded_at(self._firsts[event.position]),
                    decode(event.event.type, event.event.data),
                )
                for event in self.recorder.read(after=last)
            ]
            return [recorded for recorded in self._decoded if recorded.position > after] if after else self._decoded[:]


def recorded_at(position: int) -> int:
    """A time that rises with the position, in microseconds."""
    return 1_800_000_000_000_000 + position
