"""The write loop: from commands to recorded facts.

One writer per process gathers the commands that arrived while the last commit was in flight, reads what their
boundaries need in one query, decides them in order, appends all their facts under one condition, and answers each.
A refused command affects no other. On a conflict it reads and decides again; it never re-appends a stale decision.
"""

import hashlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from domain.decision import Actor, Context, Decided, Decision, Fold, Question, Reading
from domain.fact import Envelope, Fact, Recorded
from domain.journal import Conflict, FactsTooLong, FactStore, StoreUnavailable
from domain.leaf import LEAF_BYTES_MAX
from domain.refusal import AgainstRule, AlreadyDone, Refusal

logger = logging.getLogger(__name__)

BATCH_COMMANDS_MAX: Final = 500
WAITING_COMMANDS_MAX: Final = 20_000
ATTEMPTS_MAX: Final = 12
STATES_MAX: Final = 100_000
"""States kept in each of the memory's two generations."""

Decide = Callable[[Any, Context], Decision]


class Accepted(msgspec.Struct, frozen=True):
    """A command's facts as recorded. ``repeated`` when it had been recorded before under the same id."""

    first_position: int
    recorded_at_microseconds: int
    facts: tuple[Fact, ...]
    repeated: bool = False

    @property
    def position(self) -> int:
        """The position of the command's last fact."""
        return self.first_position + len(self.facts) - 1


Outcome = Accepted | Exception
Answers = dict[str, list[Recorded[Any]]]


@dataclass(unsafe_hash=True)
class CommandIdReused(AlreadyDone):
    command: str
    zh = "同一个 Idempotency-Key 已用于内容不同的请求；新的请求请换一个新的 key。"
    en = "This Idempotency-Key was used for a request with other content; a new request needs a key of its own."


@dataclass(unsafe_hash=True)
class FactTooLong(AgainstRule):
    length_bytes: int
    length_bytes_max: int
    zh = "这样登记的事实有 {length_bytes} 字节，证据日志最多容纳 {length_bytes_max}，什么都没有登记；请分几次办理。"
    en = (
        "This would make a fact of {length_bytes} bytes, and evidence holds {length_bytes_max}; nothing was recorded. "
        "Do it in several steps."
    )


class Ticket(msgspec.Struct, eq=False):
    """One command on its way through the loop. ``id`` is 32 hex digits; ``digest`` is of its whole content."""

    decide: Decide
    command: Any
    actor: Actor
    id: str
    imported: bool = False
    digest: str = ""
    outcome: Outcome | None = None
    done: Callable[["Ticket"], None] | None = None

    def __post_init__(self) -> None:
        if not self.digest:
            self.digest = command_digest(self.decide, self.command)


def command_digest(decide: Decide, command: Any) -> str:
    """128 bits over what is to be done and every field of it, as 32 hex digits."""
    if not isinstance(command, msgspec.Struct) and isinstance(command, BaseModel):  # the first is known much faster
        content = command.model_dump_json().encode()
    else:
        content = msgspec.json.encode(command)
    return hashlib.blake2b(decide.__name__.encode() + b"\0" + content, digest_size=16).hexdigest()


def command_id(actor: str, key: str) -> str:
    """A command's id from what the client calls it: one actor's keys can't meet another's, nor be read in a fact."""
    return hashlib.blake2b(f"{len(actor)}:{actor}:{key}".encode(), digest_size=16).hexdigest()


def new_id(milliseconds: int | None = None) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds (since 1970; None: now), then randomness, so that ids sort by time.

    An id is unlike any other and no secret: nobody gains anything by guessing one.
    """
    # Seeded by the system, anew in a forked process. Asking the system itself lets go of the interpreter every time,
    # and the writer then waits behind the event loop, a switch interval for a fact.
    noise = random.getrandbits(80) & 0x0FFF_3FFF_FFFF_FFFF_FFFF
    if milliseconds is None:
        milliseconds = _milliseconds_now()
    text = (milliseconds << 80 | 0x7000_8000_0000_0000_0000 | noise).to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


class Memory:
    """The folded states of recently used entities, as of ``head``.

    Two generations bound it: when the young one is full it becomes the old one, and what is looked up in the old
    one moves back to the young.
    """

    def __init__(self, states_max: int, head: int) -> None:
        self.head = head
        self.behind = False
        """Whether others are known to have recorded facts after the head."""
        self._states_max = states_max
        self.young: dict[Reading[Any], Any] = {}
        self._old: dict[Reading[Any], Any] = {}
        self._folds: set[Fold[Any]] = set()
        self._folds_by_type: dict[type[Fact], dict[str, list[Fold[Any]]]] = {}
        """The folds seen so far that a type of fact belongs to, by the prefix of their tags."""

    def get(self, reading: Reading[Any]) -> Any:
        """The state, or None where it isn't known."""
        state = self.young.get(reading)
        if state is None and (state := self._old.pop(reading, None)) is not None:
            self.young[reading] = state
        return state

    def forget(self) -> None:
        """Start a new generation if the young one is full: between batches only, since a batch needs all its states."""
        if len(self.young) >= self._states_max:
            self._old, self.young = self.young, {}

    def load(self, states: Mapping[Reading[Any], Any]) -> None:
        """Remember states that were folded from the journal, and carry states of their folds forward from now on."""
        self.young.update(states)
        for fold in {reading.fold for reading in states} - self._folds:
            self._folds.add(fold)
            for fact_type in fold.fact_types:
                self._folds_by_type.setdefault(fact_type, {}).setdefault(fold.prefix, []).append(fold)

    def affected(self, fact: Fact, tags: Iterable[str]) -> list[Reading[Any]]:
        """The readings that one fact with such tags belongs to, of the folds seen so far."""
        folds = self._folds_by_type.get(type(fact))
        if folds is None:
            return []
        return [Reading(fold, tag) for tag in tags for fold in folds.get(tag.partition(":")[0], ())]

    def apply(self, fact: Fact) -> None:
        """Carry what is known forward over one recorded fact."""
        for reading in self.affected(fact, fact.tags()):
            state = self.get(reading)
            if state is not None:
                self.young[reading] = reading.fold.evolve(state, fact)


class _States(dict[Reading[Any], Any]):
    """The states that a batch goes by: what it has changed, and what it has looked up in the memory so far.

    The rows of a file ask for the same people and places again and again; those are found here at once.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self._memory = memory

    def __missing__(self, reading: Reading[Any]) -> Any:
        """Raises: _Missing."""
        state = self._memory.get(reading)
        if state is None:
            raise _Missing
        self[reading] = state
        return state


@dataclass(slots=True)
class _Batch:
    """One attempt at a batch: what it has decided so far, not yet recorded."""

    states: _States
    milliseconds: int = field(default_factory=_milliseconds_now)
    """Since 1970: the time in the ids of its envelopes."""
    envelopes: list[Envelope[Any]] = field(default_factory=list)
    tags: list[tuple[str, ...]] = field(default_factory=list)
    """Of each envelope."""
    boundary: set[Reading[Any]] = field(default_factory=set)
    commands: dict[str, tuple[str, int, tuple[Fact, ...]]] = field(default_factory=dict)
    """By command id: digest, index of its first envelope, and its facts."""
    missing: set[Reading[Any]] = field(default_factory=set)


_Begun = tuple[Decision, Question]
"""A decision that has asked its first question."""


class _Missing(Exception):
    """A decision asked for a state that isn't loaded yet."""


class Writer:
    """Decides batches of commands and records their facts, in the caller's thread."""

    def __init__(
        self,
        store: FactStore,
        zone: tzinfo,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        states_max: int = STATES_MAX,
    ) -> None:
        self._store = store
        self._zone = zone
        self._clock = clock
        self._states_max = states_max
        self._memory: Memory | None = None
        self._looked = False
        """Whether what others recorded has been looked for since the attempt began."""

    def run(self, tickets: Sequence[Ticket]) -> None:
        """Decide the tickets in order, record all their facts at once, and set each one's outcome.

        An outcome is `Accepted`, a `Refusal`, or `StoreUnavailable` when conflicts or failures of the journal
        outlast the attempts. Whether a failed commit was recorded after all is found out from the command ids.
        """
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                time.sleep(random.uniform(0, min(0.5, 0.002 * 2**attempt)))  # noqa: S311 - jitter, not a secret
            try:
                self._attempt(tickets)
                return
            except FactsTooLong as error:
                if self._looked:
                    self._refuse(tickets, error.lengths_bytes)
                    return
                failure: Exception = error
            except Conflict:
                failure = StoreUnavailable("too many conflicts with other writers")
            except StoreUnavailable as error:
                failure = error
                if attempt >= 3:
                    break
            except Exception:
                self._memory = None  # it may have been carried over half of what others recorded
                raise
            if self._memory is not None:
                self._memory.behind = True
        self._memory = None
        for ticket in tickets:
            ticket.outcome = failure

    def _refuse(self, tickets: Sequence[Ticket], lengths_bytes: Mapping[str, int]) -> None:
        """Refuse the commands whose facts are too long, and run the others."""
        others = [ticket for ticket in tickets if ticket.id not in lengths_bytes]
        for ticket in tickets:
            if ticket.id in lengths_bytes:
                ticket.outcome = FactTooLong(lengths_bytes[ticket.id], LEAF_BYTES_MAX)
        if others:
            self.run(others)

    def _attempt(self, tickets: Sequence[Ticket]) -> None:
        now = self._clock()
        memory = self._memory
        if memory is None:
            memory = self._memory = Memory(self._states_max, self._store.head())
        memory.forget()
        self._looked = False
        decisions, states, answers = self._load_first(memory, tickets, now)
        while True:
            batch = _Batch(states)
            for ticket, begun in zip(tickets, decisions, strict=True):
                self._decide(memory, ticket, now, batch, answers, begun)
            if batch.missing:
                self._load(memory, batch.missing, tickets, answers, first=False)
            # An append fails if others have changed what any of the batch was decided on. Where nothing is appended,
            # somebody has to look: nobody is refused for lack of what was recorded a moment ago elsewhere.
            elif not batch.envelopes and not self._looked:
                head, memory.behind = memory.head, True
                self._load(memory, (), tickets, answers, first=False)
                if memory.head == head:
                    break
            else:
                break
            decisions, states = [None] * len(tickets), _States(memory)  # those were gone on with, and changed
        first_position, recorded_at = 0, 0
        if batch.envelopes:
            first_position, recorded_at = self._store.append(
                batch.envelopes, batch.boundary, {ticket.id for ticket in tickets}, memory.head, batch.tags
            )
            if first_position == memory.head + 1:
                memory.young.update(batch.states)  # of folds that are all known: what was affected is what was loaded
                memory.head += len(batch.envelopes)
            else:
                # Others recorded facts in between that touch no boundary of ours: the next batch reads the whole
                # tail, theirs and ours, in order.
                memory.behind = True
        answered: set[str] = set()
        for ticket in tickets:
            if ticket.outcome is None:
                _, start, facts = batch.commands[ticket.id]
                ticket.outcome = Accepted(first_position + start, recorded_at, facts, ticket.id in answered)
                answered.add(ticket.id)

    def _load_first(
        self, memory: Memory, tickets: Sequence[Ticket], now: datetime
    ) -> tuple[list[_Begun | None], _States, Answers]:
        """Begin every decision, load what it asks for first, and what was recorded under the commands' ids before."""
        asked: set[Reading[Any]] = set()
        begun: list[_Begun | None] = []
        for ticket in tickets:
            try:
                decision = ticket.decide(ticket.command, Context(ticket.actor, now, ticket.id, self._zone))
                question = next(decision)
            except Exception:  # noqa: BLE001 - told to its caller when it is decided for real
                begun.append(None)
            else:
                begun.append((decision, question))
                asked.update(question)
        states, missing = _States(memory), set[Reading[Any]]()
        for reading in asked:
            state = memory.get(reading)
            if state is None:
                missing.add(reading)
            else:
                states[reading] = state
        head, answers = memory.head, Answers()
        states.update(self._load(memory, missing, tickets, answers, first=True))
        if memory.head != head:
            states.clear()  # others recorded facts meanwhile, over which the memory has carried its own
        return begun, states, answers

    def _load(
        self,
        memory: Memory,
        missing: Collection[Reading[Any]],
        tickets: Sequence[Ticket],
        answers: Answers,
        *,
        first: bool,
    ) -> dict[Reading[Any], Any]:
        """Fold the missing states from the journal, and carry all known ones forward over its tail; returns the first.

        What the journal holds under the tickets' ids goes to ``answers``: from its whole length the first time, and
        from the tail every time, so that a command which another process records meanwhile isn't missed.

        Where no fact bears any of the tags, and nobody else is known to have recorded anything, nothing is read.
        """
        commands = {ticket.id for ticket in tickets}
        tags = {reading.tag for reading in missing}
        if first:
            tags.update(["command:" + command for command in commands])
        borne = set(self._store.borne(tags, memory.head))
        position, recalled = self._store.recall([reading for reading in missing if reading.tag in borne])
        states = {reading: reading.fold.start(reading.tag) for reading in missing if reading not in recalled} | recalled
        if not borne and not memory.behind:
            memory.load(states)
            return states
        # Where another fold of the same tag is asked for, too, all of its facts are needed.
        recalled_tags = {reading.tag for reading in recalled} - {r.tag for r in missing if r not in recalled}
        cold, tail = self._store.read_boundary(borne - recalled_tags, memory.head, recalled_tags, position)
        self._looked, memory.behind = True, False
        by_tag: dict[str, list[Reading[Any]]] = {}
        if cold or tail:
            for reading in missing:
                by_tag.setdefault(reading.tag, []).append(reading)
        for recorded in (*cold, *tail):
            fact = recorded.envelope.fact
            if recorded.position > memory.head:
                memory.apply(fact)
                memory.head = recorded.position
            for tag in fact.tags():
                for reading in by_tag.get(tag, ()):
                    # What was recalled may be ahead of the head that this process has seen so far.
                    known_position = position if reading in recalled else 0
                    if recorded.position > known_position and isinstance(fact, reading.fold.fact_types):
                        states[reading] = reading.fold.evolve(states[reading], fact)
            if recorded.envelope.command in commands:
                known = answers.setdefault(recorded.envelope.command, [])
                if not known or recorded.position > known[-1].position:
                    known.append(recorded)
        memory.load(states)
        return states

    def _decide(
        self, memory: Memory, ticket: Ticket, now: datetime, batch: _Batch, answers: Answers, begun: _Begun | None
    ) -> None:
        ticket.outcome = None
        before = answers.get(ticket.id)
        if before is not None:
            first = before[0]
            if first.envelope.digest != ticket.digest:
                ticket.outcome = CommandIdReused(ticket.id)
            else:
                facts = tuple(recorded.envelope.fact for recorded in before)
                ticket.outcome = Accepted(first.position, first.recorded_at_microseconds, facts, repeated=True)
            return
        if ticket.id in batch.commands:
            if batch.commands[ticket.id][0] != ticket.digest:
                ticket.outcome = CommandIdReused(ticket.id)
            return
        try:
            if begun is None:
                decision = ticket.decide(ticket.command, Context(ticket.actor, now, ticket.id, self._zone))
                begun = decision, next(decision)
            decided = self._drive(memory, *begun, batch)
        except _Missing:
            return
        except Refusal as refusal:
            ticket.outcome = refusal
            return
        except Exception as error:
            logger.exception("a decision failed")
            ticket.outcome = error
            return
        batch.commands[ticket.id] = (ticket.digest, len(batch.envelopes), decided.facts)
        actor, states, known = ticket.actor, batch.states, memory.get
        command_tag = "command:" + ticket.id
        for policy, fact in decided.each():
            batch.envelopes.append(
                Envelope(
                    new_id(batch.milliseconds),
                    actor.id,
                    actor.role,
                    ticket.id,
                    ticket.digest,
                    policy,
                    now,
                    fact,
                    ticket.imported,
                )
            )
            tags = fact.tags()
            batch.tags.append((*tags, command_tag))
            for reading in memory.affected(fact, tags):
                state = states.get(reading) or known(reading)
                if state is not None:
                    states[reading] = reading.fold.evolve(state, fact)

    def _drive(self, memory: Memory, decision: Decision, question: Question, batch: _Batch) -> Decided:
        # The inner loop of all writing.
        look_up, boundary = batch.states.__getitem__, batch.boundary
        try:
            while True:
                try:
                    answer = tuple(map(look_up, question))
                except _Missing:
                    batch.missing.update(r for r in question if r not in batch.states and memory.get(r) is None)
                    raise
                boundary.update(question)
                question = decision.send(answer)
        except StopIteration as stop:
            decided: Decided = stop.value
            return decided


class WriteLoop:
    """A writer in a thread of its own: everybody's commands, gathered while the last commit was in flight.

    ``deliver`` is called once a batch, in the writer's thread, with the tickets whose outcomes are known.
    """

    def __init__(self, writer: Writer, deliver: Callable[[list[Ticket]], None] | None = None) -> None:
        self._writer = writer
        self._deliver = deliver or _tell_each
        self._waiting: deque[Ticket] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="write-loop", daemon=True)

    def __enter__(self) -> "WriteLoop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what was submitted, then stop."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def submit(self, *tickets: Ticket) -> None:
        """Hand in commands; they are decided in this order.

        Raises: StoreUnavailable when stopping or when too many are waiting; then none of them is taken.
        """
        with self._wake:
            if self._stopping or len(self._waiting) + len(tickets) > WAITING_COMMANDS_MAX:
                raise StoreUnavailable("the write loop is stopping or overloaded")
            self._waiting.extend(tickets)
            self._wake.notify()

    def run(self, tickets: Sequence[Ticket]) -> None:
        """Hand in commands and wait for all their outcomes. Raises: StoreUnavailable."""
        done = threading.Semaphore(0)
        for ticket in tickets:
            ticket.done = lambda _: done.release()
        self.submit(*tickets)
        for _ in tickets:
            done.acquire()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                count = min(len(self._waiting), BATCH_COMMANDS_MAX)
                tickets = [self._waiting.popleft() for _ in range(count)]
            try:
                self._writer.run(tickets)
            except Exception as error:
                logger.exception("the write loop failed on a batch")
                for ticket in tickets:
                    ticket.outcome = error
            try:
                self._deliver(tickets)
            except Exception:  # who can't be told must not stop what others still wait for
                logger.exception("the outcomes of a batch could not be delivered")


def _tell_each(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        if ticket.done is not None:
            try:
                ticket.done(ticket)
            except Exception:
                logger.exception("an outcome could not be told")
