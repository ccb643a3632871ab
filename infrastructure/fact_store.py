"""The journal as the domain sees it: envelopes in, recorded envelopes out, conflicts named."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery, DCBQueryItem
from eventsourcing.persistence import IntegrityError, PersistenceError

from domain.account import Account, account_fold
from domain.decision import Reading
from domain.fact import Envelope, Recorded, Tagged
from domain.journal import Conflict, FactsTooLong, StoreUnavailable
from domain.leaf import LEAF_BYTES_MAX, leaf_length_bytes
from infrastructure.codec import decode, encode, is_imported, stored_type
from infrastructure.journal import NewFact, PostgresJournal, StoredFact

CERTAINLY_SHORT_BYTES: Final = 8_000
"""Up to this much data, a fact's leaf is never too long: its tags are made of what is in the data."""

RecallAccounts = Callable[[list[str]], tuple[int, dict[str, tuple[int, int]]]]
"""Balances and held minutes of some accounts as of one position; those left out had never moved. Position 0: none
known."""


class PostgresFactStore:
    """Facts of one ledger, typed."""

    def __init__(self, journal: PostgresJournal, recall_accounts: RecallAccounts | None = None) -> None:
        self.journal = journal
        self._recall_accounts = recall_accounts

    def head(self) -> int:
        """See `FactStore`. Raises: StoreUnavailable."""
        try:
            return self.journal.head()
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error

    def recall(self, readings: Collection[Reading[Any]]) -> tuple[int, dict[Reading[Any], Any]]:
        """See `FactStore`: accounts are recalled, since they alone gather facts without end."""
        accounts = {reading: reading.fold.start(reading.tag) for reading in readings if reading.fold is account_fold}
        if not accounts or self._recall_accounts is None:
            return 0, {}
        try:
            position, known = self._recall_accounts([account.account for account in accounts.values()])
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error
        if not position:
            return 0, {}
        return position, {
            reading: Account(account.account, *known.get(account.account, (0, 0)))
            for reading, account in accounts.items()
        }

    def borne(self, tags: Collection[str], head: int) -> Collection[str]:
        """See `FactStore`."""
        known = self.journal.tags
        return tags if known is None else known.borne(tags, head)

    def read_boundary(
        self, tags: Collection[str], head: int, recalled: Collection[str] = (), recalled_position: int = 0
    ) -> tuple[Sequence[Recorded[Any]], Sequence[Recorded[Any]]]:
        """See `FactStore`. Raises: StoreUnavailable, UnknownFactType, UnreadableFact."""
        try:
            cold, tail = self.journal.read_boundary(list(tags), head, list(recalled), recalled_position)
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error
        return _all_recorded(cold), _all_recorded(tail)

    def append(
        self,
        envelopes: Sequence[Envelope[Any]],
        boundary: Collection[Reading[Any]],
        commands: Collection[str],
        after: int,
        tags: Iterable[Sequence[str]] | None = None,
    ) -> tuple[int, int]:
        """See `FactStore`. Raises: Conflict, FactsTooLong, StoreUnavailable."""
        events = EncodedEnvelopes(envelopes, [envelope.tags() for envelope in envelopes] if tags is None else tags)
        events.require_short(self.journal.ledger)
        condition = DCBAppendCondition(_Boundary(boundary, commands), after)
        try:
            appended = self.journal.append_facts(events, condition)
        except IntegrityError as error:
            raise Conflict from error
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error
        return appended.first_position, appended.recorded_at_microseconds

    def scan(self, after: int = 0, to: int | None = None, batch: int = 500) -> Iterator[Iterable[Recorded[Any]]]:
        """All facts after a position, in order, in batches, each to be gone through before the next.

        Raises: StoreUnavailable, and UnknownFactType or UnreadableFact where a batch reaches such a fact.
        """
        try:
            yield from self.journal.scan_data(_recorded, after, to, batch)
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error

    def scan_own(
        self, after: int, to: int | None = None, batch: int = 500, *, without: Collection[str] = ()
    ) -> Iterator[Iterable[Recorded[Any] | None]]:
        """As `scan`, with None in the place of what was brought in from older books, and of facts of the types that
        it is to be ``without``: those aren't even decoded.

        Raises: StoreUnavailable, and UnknownFactType or UnreadableFact where a batch reaches such a fact.
        """

        def make(position: int, recorded_at_microseconds: int, type_: str, data: bytes) -> Recorded[Any] | None:
            if type_ in without or is_imported(data):
                return None
            return _recorded(position, recorded_at_microseconds, type_, data)

        try:
            yield from self.journal.scan_data(make, after, to, batch)
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error

    def at(self, positions: Sequence[int]) -> list[Recorded[Any]]:
        """The facts at some positions, in order. Raises: StoreUnavailable, UnknownFactType, UnreadableFact."""
        try:
            return _all_recorded(self.journal.at(positions))
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error

    def scan_stored(self, after: int = 0, to: int | None = None, batch: int = 2_000) -> Iterator[list[StoredFact]]:
        """All facts after a position as they are stored, in order, in batches. Raises: StoreUnavailable."""
        try:
            yield from self.journal.scan(after, to, batch=batch)
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error

    def position_at(self, time: datetime) -> int:
        """The last position recorded at or before the time, which must name its zone. Raises: StoreUnavailable."""
        try:
            return self.journal.position_at(time)
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error


class EncodedEnvelopes:
    """Envelopes as the journal is to record them. Each is made when it is packed, of what is known before the ledger is
    locked: an import's would be hundreds of thousands of objects for the interpreter to search for garbage."""

    def __init__(self, envelopes: Sequence[Envelope[Any]], tags: Iterable[Sequence[str]]) -> None:
        self._envelopes = envelopes
        self._types = [stored_type(envelope.fact) for envelope in envelopes]
        self._data = [encode(envelope) for envelope in envelopes]
        self._tags = tags

    def require_short(self, ledger: str) -> None:
        """Raises: FactsTooLong."""
        lengths_bytes: dict[str, int] = {}
        for n, data in enumerate(self._data):
            if len(data) > CERTAINLY_SHORT_BYTES:
                envelope = self._envelopes[n]
                length = leaf_length_bytes(ledger, self._types[n], envelope.tags(), data)
                if length > LEAF_BYTES_MAX:
                    lengths_bytes[envelope.command] = max(length, lengths_bytes.get(envelope.command, 0))
        if lengths_bytes:
            raise FactsTooLong(lengths_bytes)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[NewFact]:
        return map(NewFact, self._types, self._data, self._tags)


class _Boundary(DCBQuery):
    """A boundary as the journal's query: spelt out only if it is looked at, which is when others wrote meanwhile."""

    def __init__(self, readings: Collection[Reading[Any]], commands: Collection[str]) -> None:
        self._readings, self._commands = readings, commands

    @property
    def items(self) -> list[DCBQueryItem]:  # type: ignore[override]
        items = [DCBQueryItem([t.type for t in r.fold.fact_types], [r.tag]) for r in self._readings]
        return items + [DCBQueryItem([], ["command:" + command]) for command in self._commands]


def _all_recorded(facts: Sequence[StoredFact]) -> list[Recorded[Any]]:
    return [recorded_of(fact) for fact in facts]


def recorded_of(fact: StoredFact) -> Tagged[Any]:
    """Raises: UnknownFactType, UnreadableFact."""
    envelope = decode(fact.type, fact.data, fact.position)
    return Tagged(fact.position, fact.recorded_at_microseconds, envelope, fact.tags)


def _recorded(position: int, recorded_at_microseconds: int, type_: str, data: bytes) -> Recorded[Any]:
    """A stored fact, decoded. Raises: UnknownFactType, UnreadableFact."""
    return Recorded(position, recorded_at_microseconds, decode(type_, data, position))
