"""Decisions: pure generators that yield what they need to know and return the facts that follow.

    def confirm(command: ConfirmHours, context: Context) -> Decision:
        record = yield from read(ServiceRecord.of(command.record))
        ...
        return Decided(policy.version, (HoursConfirmed(...),))

What a decision yields (a fold and a tag) is what gets read, cached and put into the append condition, so a
decision can't read one thing and be checked against another.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import repeat
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, overload

import msgspec

from domain.fact import Fact
from domain.refusal import AgainstRule, NotAllowed, Refusal

S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")

Role = Literal["volunteer", "staff", "partner", "auditor", "admin"]
"""``volunteer`` is every member, whether they give service or receive it; ``partner`` the counter of a partner."""


@dataclass(frozen=True, eq=False)
class Fold(Generic[S]):
    """How one kind of state is folded from the facts of one tag.

    ``fact_types`` is the ``get_args`` of the union that ``evolve`` matches exhaustively, so what is read and
    what is folded can't drift apart. ``evolve`` never refuses: history is already true.
    """

    prefix: str
    initial: Callable[[str], S]
    evolve: Callable[[S, Any], S]
    fact_types: tuple[type[Fact], ...]

    def of(self, subject: str) -> "Reading[S]":
        return Reading(self, f"{self.prefix}:{subject}")

    def start(self, tag: str) -> S:
        """The state before any fact, for a tag such as ``record:R1``."""
        return self.initial(tag[len(self.prefix) + 1 :])


READINGS_KEPT: Final = 16_384
"""Readings of each kind that are made once and kept: of what many decisions ask for, such as a household."""


class Reading(msgspec.Struct, Generic[S], frozen=True, gc=False, cache_hash=True):
    """One thing that a decision needs to know.

    Each command makes and looks up a dozen. A struct takes a fourth of the time that a named tuple takes to be made,
    and keeps its hash.
    """

    fold: Fold[S]
    tag: str


class Actor(NamedTuple):
    """Who gives a command. ``community`` bounds what staff may act on; None is the whole district."""

    id: str
    role: Role
    community: str | None = None


BY_TIME: Final = "@due"
"""Who gives the commands that time alone makes due; no person has this number."""


class Context(msgspec.Struct, frozen=True, gc=False):
    """What arrives from outside with every command: who, when, and the command's own id (32 hex digits)."""

    actor: Actor
    now: datetime
    command_id: str
    zone: tzinfo


class KnownByHash(str):
    """The hash of a code, in the place of the code itself: all that is left of it where a fact is decided again."""


class Decided(msgspec.Struct, frozen=True, gc=False):
    """The facts that follow from a command, and the policy version they were decided under (0: none read).

    ``policies`` names a version for each fact where one command was decided under several.
    """

    policy: int
    facts: tuple[Fact, ...]
    policies: tuple[int, ...] = ()

    def each(self) -> Iterable[tuple[int, Fact]]:
        """Every fact with the policy version it was decided under."""
        if not self.policies:
            return zip(repeat(self.policy), self.facts)
        return zip(self.policies, self.facts, strict=True)


Question = tuple[Reading[Any], ...]
Decision = Generator[Question, tuple[Any, ...], Decided]


@overload
def read(a: Reading[A], /) -> Generator[Question, Any, A]: ...
@overload
def read(a: Reading[A], b: Reading[B], /) -> Generator[Question, Any, tuple[A, B]]: ...
@overload
def read(a: Reading[A], b: Reading[B], c: Reading[C], /) -> Generator[Question, Any, tuple[A, B, C]]: ...
@overload
def read(
    a: Reading[A], b: Reading[B], c: Reading[C], d: Reading[D], /
) -> Generator[Question, Any, tuple[A, B, C, D]]: ...
@overload
def read(
    a: Reading[A], b: Reading[B], c: Reading[C], d: Reading[D], e: Reading[E], /
) -> Generator[Question, Any, tuple[A, B, C, D, E]]: ...
def read(*readings: Reading[Any]) -> Generator[Question, Any, Any]:
    """Ask for states, all in one round; one reading gives its state, several give a tuple."""
    states = yield readings
    return states[0] if len(readings) == 1 else states


def read_all(readings: Iterable[Reading[S]]) -> Generator[Question, Any, tuple[S, ...]]:
    """Ask for any number of states of one kind in one round (none asks nothing)."""
    question = tuple(readings)
    if not question:
        return ()
    states: tuple[S, ...] = yield question
    return states


def fold_facts(reading: Reading[S], facts: Iterable[Fact]) -> S:
    """The state of one reading after the given facts: those of its types that bear its tag."""
    return _evolved(reading, reading.fold.start(reading.tag), (f for f in facts if reading.tag in f.tags()))


def drive(decision: Decision, states: Mapping[Reading[Any], Any] | Callable[[Reading[Any]], Any]) -> Decided:
    """Run a decision to its end on known states.

    Raises: KeyError when a state is missing from a mapping; Refusal when the decision refuses.
    """
    look_up = states if callable(states) else states.__getitem__
    try:
        question = next(decision)
        while True:
            question = decision.send(tuple(map(look_up, question)))
    except StopIteration as stop:
        decided: Decided = stop.value
        return decided


def together(decisions: Sequence[Callable[[], Decision]]) -> Decision:
    """Several decisions as one: each sees the facts of those before it, and all of them hold, or none does.

    They are begun twice: side by side, to ask what all of them need in as few rounds as one of them takes, and then in
    their order, for real. Raises: RowsRefused, which names every refused row, not the first only.
    """
    states: dict[Reading[Any], Any] = {}
    yield from _foreseen(decisions, states)
    readings_by_tag: dict[str, list[Reading[Any]]] = {}
    for reading in states:
        readings_by_tag.setdefault(reading.tag, []).append(reading)
    facts: list[tuple[int, Fact]] = []
    facts_by_tag: dict[str, list[Fact]] = {}
    refused: list[tuple[int, Refusal]] = []
    for row, begin in enumerate(decisions):
        decision = begin()
        try:
            question = next(decision)
            while True:
                unknown = tuple(reading for reading in question if reading not in states)
                if unknown:
                    for reading, state in zip(unknown, (yield unknown), strict=True):
                        # Read late: what the rows before it decided isn't in it yet.
                        states[reading] = _evolved(reading, state, facts_by_tag.get(reading.tag, ()))
                        readings_by_tag.setdefault(reading.tag, []).append(reading)
                question = decision.send(tuple(states[reading] for reading in question))
        except StopIteration as stop:
            decided: Decided = stop.value
        except Refusal as refusal:
            refused.append((row, refusal))
            continue
        facts += decided.each()
        for fact in decided.facts:
            for tag in fact.tags():
                facts_by_tag.setdefault(tag, []).append(fact)
                for reading in readings_by_tag.get(tag, ()):
                    states[reading] = _evolved(reading, states[reading], (fact,))
    if refused:
        raise RowsRefused(tuple(refused))
    return Decided(0, tuple(fact for _, fact in facts), tuple(policy for policy, _ in facts))


def _foreseen(
    decisions: Sequence[Callable[[], Decision]], states: dict[Reading[Any], Any]
) -> Generator[Question, tuple[Any, ...], None]:
    """Ask for what all decisions would need if each were alone, every round at once."""
    running: list[tuple[Decision, Question]] = []
    for begin in decisions:
        decision = begin()
        # What a decision raises here, its end included, is met again when it is made for real.
        with suppress(Exception):
            running.append((decision, next(decision)))
    while running:
        unknown = tuple(dict.fromkeys(r for _, question in running for r in question if r not in states))
        if unknown:
            states.update(zip(unknown, (yield unknown), strict=True))
        going: list[tuple[Decision, Question]] = []
        for decision, question in running:
            with suppress(Exception):
                going.append((decision, decision.send(tuple(states[reading] for reading in question))))
        running = going


def _evolved(reading: Reading[S], state: S, facts: Iterable[Fact]) -> S:
    for fact in facts:
        if isinstance(fact, reading.fold.fact_types):
            state = reading.fold.evolve(state, fact)
    return state


def require_time(context: Context) -> None:
    """What falls due with time alone is nobody's to do. Raises: LeftToTime."""
    if context.actor.id != BY_TIME:
        raise LeftToTime(context.actor.id)


@dataclass(unsafe_hash=True)
class LeftToTime(NotAllowed):
    person: str
    zh = "这一步到期由系统自动办理，“{person}”不能代办。"
    en = "This is done by itself when it is due; “{person}” can't do it."


@dataclass(unsafe_hash=True)
class RowsRefused(AgainstRule):
    """Rows of a batch, each with its own refusal; nothing of the batch was recorded. Rows count from 0."""

    rows: tuple[tuple[int, Refusal], ...]
    zh = "整批没有登记：其中有不符合规则的行。"
    en = "Nothing of the batch was recorded: rows in it are against the rules."

    @property
    def facts(self) -> dict[str, object]:
        return {}
