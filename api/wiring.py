"""Where the parts are put together: settings to database, journal, writer, projector and service."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple, Self
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from api.identity import Identity
from api.problems import Problem
from application.write_loop import Accepted, CommandIdReused, Decide, Ticket, WriteLoop, Writer, command_id, new_id
from domain.decision import Actor, Reading, S, fold_facts
from domain.fact import Recorded
from domain.figures import DEFINITIONS, Basis, Dimension, Places, last_instant
from domain.journal import StoreUnavailable
from domain.ledger import SYNTHETIC_NOTICE, LedgerOpened, OpenLedger, ledger, open_ledger
from domain.policy import AdoptPolicy, NoPolicyInForce, Policy, PolicyAdopted, adopt, policy_book, policy_proposals
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.fact_store import PostgresFactStore
from infrastructure.journal import CHANNEL, PostgresJournal, open_datastore
from infrastructure.log import Sealer, SealerThread
from infrastructure.projector import Projector, ProjectorThread, projections_version, schema_of
from infrastructure.schema import SERVICE_ROLE, migrate
from infrastructure.settings import Settings
from infrastructure.signing import read_key
from infrastructure.tag_filter import TagFilter
from infrastructure.tag_index import TagIndexThread
from infrastructure.tokens import revoke_tokens
from infrastructure.vault import forget, remember
from projections.account import Accounts, recalled_accounts
from projections.certificate import Certificates
from projections.community import Communities
from projections.consent import Consents
from projections.desk import Papers
from projections.disclosure import Disclosures
from projections.dispute import Disputes
from projections.evidence import AttachedEvidence
from projections.expiry import Expiries
from projections.figures import figures
from projections.grant import Grants
from projections.group import Groups
from projections.hours import Hours
from projections.household import People
from projections.inspection import Findings, SampleRecords, Samples
from projections.objection import Objections
from projections.opening import Openings
from projections.partner import Partners
from projections.projection import Projection
from projections.recognition import Recognitions
from projections.redemption import Reservations
from projections.request import Requests
from projections.sheet import Sheets
from projections.statement import Statements
from projections.transfer import FamilyTies
from projections.visit import Visits

READ_WAIT_SECONDS_MAX: Final = 5.0
READ_CONNECTIONS_MAX: Final = 8
CONNECTION_WAIT_SECONDS_MAX: Final = 3.0
"""How long a read waits for a connection of the pool before it says that the database is unavailable."""
FIGURES_SECONDS: Final = 1.0
FIGURES_WAIT_SECONDS_MAX: Final = 5.0
FIGURES_COUNTED_AT_ONCE_MAX: Final = 2
FIGURES_BYTES_MAX: Final = 8_000_000
KEPT_OVERHEAD_BYTES: Final = 1_000
"""What a kept answer takes beside its own bytes, roughly: its question and its place."""
SYSTEM: Final = Actor("@system", "admin")
"""Nobody can have a token for this id, nor choose its command ids: no person's number starts so."""


class LedgerNotOpen(Exception):
    """The database holds no ledger of that name yet."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"账本“{name}”还没有开立，请先运行 timebank db open，或用 timebank demo 试用示例。 / "
            f"The ledger “{name}” is not open; run `timebank db open`, or try the sample with `timebank demo`."
        )


def projections() -> Sequence[Projection]:
    """All read models, fresh."""
    return (
        Communities(),
        People(),
        Hours(),
        Accounts(),
        AttachedEvidence(),
        Visits(),
        Sheets(),
        Papers(),
        Disputes(),
        Requests(),
        Partners(),
        Reservations(),
        Statements(),
        FamilyTies(),
        Groups(),
        Grants(),
        Openings(),
        Expiries(),
        Recognitions(),
        Certificates(),
        Consents(),
        Disclosures(),
        Objections(),
        Samples(),
        SampleRecords(),
        Findings(),
    )


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The database's address for its owner, migrated: the embedded one, started if need be, or the one that is set.

    Raises: DatabaseUnavailable, SchemaError, psycopg.OperationalError.
    """
    if settings.database_url is not None:
        address = settings.database_url.get_secret_value()
        migrate(address)
        yield address
        return
    with EmbeddedPostgres(settings.data) as server:
        migrate(server.url)
        yield server.url


def service_address(owner_address: str) -> str:
    """The same database for the service, which may not change a fact; as the owner where there is no such role."""
    with psycopg.connect(owner_address) as connection:
        row = connection.execute(
            "SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s", (SERVICE_ROLE,)
        ).fetchone()
    if row is None or not row[0]:
        return owner_address
    options = conninfo_to_dict(owner_address).get("options") or ""
    # Without the path, tables in a schema that is named like the role would stand in for the journal's.
    return make_conninfo(owner_address, options=f"{options} -c role={SERVICE_ROLE} -c search_path=public".strip())


@dataclass(slots=True)
class Timebank:
    """One ledger on one database: what the commands and the service both stand on."""

    settings: Settings
    address: str
    owner_address: str
    store: PostgresFactStore
    opened: LedgerOpened

    @property
    def name(self) -> str:
        return self.settings.ledger

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.opened.zone)

    def projector(self) -> Projector:
        def scan(after: int, to: int | None, batch: int) -> Iterator[Iterable[Recorded[Any]]]:
            return self.store.scan(after, to, batch)

        return Projector(self.address, self.name, CHANNEL, scan, projections)

    def catch_up(self, told: Callable[[int], None] | None = None) -> int:
        """Fold everything that is in the ledger; returns the position reached.

        Raises: ProjectionsAreNewer, ProjectionsDamaged.
        """
        with closing(self.projector()) as projector:
            projector.prepare(told)
            return projector.catch_up(told)

    def sealer(self) -> Sealer:
        return Sealer(
            self.address, self.name, CHANNEL, self.store.journal.scan, lambda: read_key(self.settings.data, self.name)
        )

    def indexing(self) -> TagIndexThread:
        """Use it as a context manager while much is appended."""
        if self.store.journal.tags is None:
            self.store.journal.tags = TagFilter()
        return TagIndexThread(self.address, self.store.journal)

    def reading(self) -> psycopg.Connection[Any]:
        """A connection for queries on the projections."""
        return psycopg.connect(self.read_address, autocommit=True)

    @property
    def read_address(self) -> str:
        options = conninfo_to_dict(self.address).get("options") or ""
        path = f"-c search_path={schema_of(self.name)},public"
        patience = conninfo_to_dict(self.address).get("connect_timeout") or round(CONNECTION_WAIT_SECONDS_MAX)
        return make_conninfo(self.address, options=f"{options} {path}".strip(), connect_timeout=patience)

    def run(self, *tickets: Ticket) -> list[Accepted]:
        """Decide and record commands at once, without a write loop. Raises: Refusal, StoreUnavailable."""
        Writer(self.store, self.zone).run(tickets)
        return [_accepted(ticket) for ticket in tickets]


@contextmanager
def timebank(
    settings: Settings, opening: OpenLedger | None = None, policy: AdoptPolicy | None = None
) -> Iterator[Timebank]:
    """Connect to the ledger that the settings name; with ``opening`` and ``policy`` open it where it isn't open yet.

    Raises: LedgerNotOpen, and as `database`.
    """
    with database(settings) as owner_address, ExitStack() as stack:
        address = service_address(owner_address)
        datastore = stack.enter_context(open_datastore(address))
        journal = PostgresJournal(datastore, settings.ledger)
        store = PostgresFactStore(journal, _recall_accounts(journal))
        opened = _opened(store)
        if opened is None and opening is not None:
            Writer(store, ZoneInfo(opening.zone)).run(tickets := [Ticket(open_ledger, opening, SYSTEM, _new_command())])
            _accepted(tickets[0])
            opened = _opened(store)
        if opened is None:
            raise LedgerNotOpen(settings.ledger)
        bank = Timebank(settings, address, owner_address, store, opened)
        if policy is not None and opening is not None and not adopted_policies(store):
            # Its id makes it happen once, however often and with whatever policy the ledger is opened this way.
            with suppress(CommandIdReused):
                bank.run(Ticket(adopt, policy, SYSTEM, command_id(SYSTEM.id, "first policy")))
        yield bank


def _recall_accounts(journal: PostgresJournal) -> Callable[[list[str]], tuple[int, dict[str, tuple[int, int]]]]:
    """Balances as the projector has folded them, with the same fold that decisions use (docs/decisions)."""
    schema, version = schema_of(journal.ledger), projections_version(projections())

    def recall(names: list[str]) -> tuple[int, dict[str, tuple[int, int]]]:
        with journal.datastore.get_connection() as connection:
            return recalled_accounts(connection, journal.ledger, schema, version, names)

    return recall


def known(store: PostgresFactStore, reading: Reading[S]) -> S:
    """What a decision would be told now. Raises: StoreUnavailable."""
    cold, tail = store.read_boundary([reading.tag], store.head())
    return fold_facts(reading, [recorded.envelope.fact for recorded in (*cold, *tail)])


def adopted_policies(store: PostgresFactStore) -> tuple[PolicyAdopted, ...]:
    """Every adopted version of the rules, oldest first. Raises: StoreUnavailable."""
    return known(store, policy_book).versions


def _opened(store: PostgresFactStore) -> LedgerOpened | None:
    return known(store, ledger).opened


def _new_command() -> str:
    return new_id().replace("-", "")


def _accepted(ticket: Ticket) -> Accepted:
    if isinstance(ticket.outcome, Accepted):
        return ticket.outcome
    raise ticket.outcome or StoreUnavailable("the command has no outcome")


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():  # its caller may have gone away
        future.set_result(None)


@contextmanager
def one_moment(connection: psycopg.Connection[Any]) -> Iterator[tuple[psycopg.Cursor[Any], int]]:
    """Queries that all see the projections as of one position, which comes with the cursor."""
    connection.autocommit = False
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction(), connection.cursor() as cursor:
        # Before anything that takes the snapshot, which would see no row of tables that a rebuild swaps in after it.
        cursor.execute("LOCK TABLE checkpoint IN ACCESS SHARE MODE")
        yield cursor, cursor.execute("SELECT position FROM checkpoint").fetchall()[0][0]


def public_figures(
    bank: Timebank,
    connection: psycopg.Connection[Any],
    *,
    as_of: date,
    basis: Basis,
    by: Dimension | None,
    level: int,
    places: Places = "then",
    published_on: date | None = None,
) -> dict[str, Any]:
    """The district's figures with what they mean, counted in one snapshot that names its position.

    For everybody to see, what is too small by the policy of the day on which it is published is put together; else
    (None) every cell is exact.
    """
    count_min = None if by is None or published_on is None else _count_min(bank.store, published_on)
    with one_moment(connection) as (cursor, position):
        asked: dict[str, Any] = {"basis": basis, "until": as_of, "position": position}
        if basis == "recorded":
            asked["position"] = min(position, bank.store.position_at(last_instant(as_of, bank.zone)))
        total = figures(cursor, **asked)[""]
        places_on = as_of if places == "now" else None
        cells = {}
        if by is not None:
            cells = figures(cursor, **asked, by=by, level=level, places_on=places_on, count_min=count_min)
    return {
        "ledger": bank.opened.name,
        "synthetic": bank.opened.synthetic,
        "as_of": as_of,
        "basis": basis,
        "position": asked["position"],
        **msgspec.to_builtins(total),
        "by": by,
        "places": places,
        "count_min": count_min,
        "cells": [{"key": key, **msgspec.to_builtins(cell)} for key, cell in cells.items()],
        "definitions": {name: f"{zh} / {en}" for name, (zh, en) in DEFINITIONS.items()},
        "notice": SYNTHETIC_NOTICE if bank.opened.synthetic else None,
    }


def _count_min(store: PostgresFactStore, day: date) -> int:
    """How many volunteers and households there are at least in what is published on a day. Raises: StoreUnavailable."""
    book = known(store, policy_book)
    try:
        return book.in_force(day).policy.disclosure_count_min
    except NoPolicyInForce:
        return max([Policy().disclosure_count_min, *(one.policy.disclosure_count_min for one in book.versions)])


class FiguresAsked(NamedTuple):
    """A question about the figures, as `public_figures` takes it."""

    as_of: date
    basis: Basis
    by: Dimension | None
    level: int
    places: Places
    published_on: date | None


Question = Hashable
"""What was asked, in full: two questions that are equal have the same answer at the same position."""


class Counted(NamedTuple):
    """One answer about the figures: when it was counted (monotonic seconds), what it knew of, and its JSON."""

    counted_at: float
    position: int
    content: bytes


class KeptFigures:
    """Answers about the figures, the last counted ones, in a bounded number of bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Question, Counted] = OrderedDict()
        self.bytes = 0

    def get(self, question: Question) -> Counted | None:
        return self._kept.get(question)

    def keep(self, question: Question, counted: Counted) -> None:
        """Keep an answer in the place of what was counted longest ago."""
        self._forget(self._kept.pop(question, None))
        self._kept[question] = counted
        self.bytes += self._size(counted)
        while self.bytes > FIGURES_BYTES_MAX:
            self._forget(self._kept.popitem(last=False)[1])

    def _forget(self, counted: Counted | None) -> None:
        if counted is not None:
            self.bytes -= self._size(counted)

    @staticmethod
    def _size(counted: Counted) -> int:
        return len(counted.content) + KEPT_OVERHEAD_BYTES


class Service:
    """A running service: the write loop, the projector and the read connections around one `Timebank`."""

    def __init__(self, bank: Timebank) -> None:
        self.bank = bank
        self.position = 0
        """Everything up to here is in the projections."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._figures = KeptFigures()
        self._asked: WeakValueDictionary[Question, asyncio.Lock] = WeakValueDictionary()
        """A lock for each question that somebody is asking."""
        self._counts = asyncio.Semaphore(FIGURES_COUNTED_AT_ONCE_MAX)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def _start(self, enter: AsyncExitStack) -> None:
        bank = self.bank
        self._loop = asyncio.get_running_loop()
        self.pool = await enter.enter_async_context(
            AsyncConnectionPool(
                bank.read_address,
                min_size=2,
                max_size=READ_CONNECTIONS_MAX,
                timeout=CONNECTION_WAIT_SECONDS_MAX,
                open=False,
                kwargs={"autocommit": True},
                check=AsyncConnectionPool.check_connection,
            )
        )
        self.identity = Identity(self.pool, bank.name)
        projector = bank.projector()
        await asyncio.to_thread(projector.prepare)
        self.position = await asyncio.to_thread(projector.catch_up)
        enter.enter_context(ProjectorThread(projector, self._projected))
        enter.enter_context(SealerThread(bank.sealer(), bank.settings.checkpoint_seconds))
        enter.enter_context(bank.indexing())
        self._write_loop = enter.enter_context(WriteLoop(Writer(bank.store, bank.zone), self._deliver))

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def execute(self, decide: Decide, command: Any, actor: Actor, key: str | None) -> Accepted:
        """Have a command decided and recorded. Raises: Refusal; Problem 503."""
        ticket = Ticket(decide, command, actor, _new_command() if key is None else command_id(actor.id, key))
        answer: asyncio.Future[None] = self._loop.create_future()
        ticket.done = lambda _: _wake(answer)
        try:
            self._write_loop.submit(ticket)
            await answer
            return _accepted(ticket)
        except StoreUnavailable as error:
            raise Problem("ledger-unavailable", headers={"Retry-After": "1"}) from error

    async def fresh(self, min_position: int | None) -> int:
        """Wait until the projections hold a position; returns the one that they do hold. Raises: Problem 503."""
        if min_position is None or min_position <= self.position:
            return self.position
        reached: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((min_position, reached))
        try:
            await asyncio.wait_for(reached, READ_WAIT_SECONDS_MAX)
        except TimeoutError:
            raise Problem(
                "not-yet-projected", headers={"Retry-After": "1"}, min_position=min_position, position=self.position
            ) from None
        finally:
            self._waiters = [waiter for waiter in self._waiters if waiter[1] is not reached]
        return self.position

    async def remember_name(self, person: str, name: str, *, overwrite: bool) -> None:
        """Keep a person's name in the vault."""

        def keep() -> None:
            with psycopg.connect(self.bank.address) as connection:
                remember(connection, self.bank.name, names={person: name}, overwrite=overwrite)

        await asyncio.to_thread(keep)

    async def remember_remark(self, key: str, remark: str, *, overwrite: bool) -> None:
        """Keep a text in the vault. A key that isn't a record's own number holds a colon, which no number does."""

        def keep() -> None:
            with psycopg.connect(self.bank.address) as connection:
                remember(connection, self.bank.name, remarks={key: remark}, overwrite=overwrite)

        await asyncio.to_thread(keep)

    async def forget_remark(self, key: str) -> None:
        """Erase a text of the vault."""

        def erase() -> None:
            with psycopg.connect(self.bank.address) as connection:
                forget(connection, self.bank.name, [key])

        await asyncio.to_thread(erase)

    async def revoke_tokens(self, person: str) -> None:
        """End every token of a person."""

        def revoke() -> None:
            with psycopg.connect(self.bank.address) as connection:
                revoke_tokens(connection, self.bank.name, person)

        await asyncio.to_thread(revoke)

    async def policies(self) -> list[dict[str, object]]:
        """Every adopted version of the rules, oldest first."""
        versions = await asyncio.to_thread(adopted_policies, self.bank.store)
        return [msgspec.to_builtins(adopted) for adopted in versions]

    async def policy_proposals(self) -> list[dict[str, object]]:
        """Every version of the rules that was ever proposed, and where it stands, oldest first."""
        proposals, book = await asyncio.to_thread(
            lambda: (known(self.bank.store, policy_proposals), known(self.bank.store, policy_book))
        )
        return [
            {**msgspec.to_builtins(proposal.proposed), "status": proposal.status}
            for proposal in proposals.standing(book)
        ]

    async def figures(self, asked: FiguresAsked, min_position: int) -> bytes:
        """The figures as JSON; counted at most once a second for the same question, unless a fresher one is needed.

        Raises: Problem 503 where too much else is being counted.
        """
        question = asked if asked.by == "grid" else asked._replace(level=1)
        return await self.counted(question, lambda: self._count_figures(question), min_position, FIGURES_SECONDS)

    async def counted(
        self, question: Question, count: Callable[[], Counted], min_position: int, seconds: float
    ) -> bytes:
        """The answer to a question that takes a while to count, counted once for all who ask it at once, and kept
        for so many seconds unless a fresher one is needed. Raises: Problem 503 where too much else is being counted."""
        lock = self._asked.setdefault(question, asyncio.Lock())
        try:
            async with asyncio.timeout(FIGURES_WAIT_SECONDS_MAX) as waiting, lock:
                kept = self._figures.get(question)
                if kept is not None:
                    stale = kept.counted_at < time.monotonic() - seconds
                    if kept.position >= max(min_position, self.position if stale else 0):
                        return kept.content
                async with self._counts:
                    waiting.reschedule(None)
                    counted = await asyncio.to_thread(count)
                self._figures.keep(question, counted)
                return counted.content
        except TimeoutError:
            raise Problem("figures-busy", headers={"Retry-After": "1"}) from None

    def _count_figures(self, asked: FiguresAsked) -> Counted:
        position = self.position  # of a day that is past, the answer itself names an earlier one
        with self.bank.reading() as connection:
            counted = public_figures(self.bank, connection, **asked._asdict())
        return Counted(time.monotonic(), max(position, counted["position"]), msgspec.json.encode(counted))

    def _deliver(self, tickets: list[Ticket]) -> None:
        """Called in the write loop's thread, once a batch."""
        self._call(lambda: [ticket.done(ticket) for ticket in tickets if ticket.done is not None])

    def _projected(self, position: int) -> None:
        """Called in the projector's thread."""
        self._call(lambda: self._reached(position))

    def _reached(self, position: int) -> None:
        self.position = max(self.position, position)
        for wanted, reached in self._waiters:
            if wanted <= self.position:
                _wake(reached)

    def _call(self, callback: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)
