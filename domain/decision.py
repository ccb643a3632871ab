"""Decisions: pure generators that yield what they need to know and return the facts that follow.

    def confirm(command: ConfirmHours, context: Context) -> Decision:
        record = yield from read(ServiceRecord.of(command.record))
        ...
        return Decided(policy.version, (HoursConfirmed(...),))

What a decision yields (a fold and a tag) is what gets read, cached and put into the append condition, so a
decision can't read one thing and be checked against another.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from domain.fact import Fact

S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")

Role = Literal["volunteer", "staff", "auditor", "admin"]


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


class Reading(NamedTuple, Generic[S]):
    """One thing that a decision needs to know."""

    fold: Fold[S]
    tag: str


class Actor(NamedTuple):
    """Who gives a command. ``community`` bounds what staff may act on; None is the whole district."""

    id: str
    role: Role
    community: str | None = None


class Context(NamedTuple):
    """What arrives from outside with every command: who, when, and the command's own id (32 hex digits)."""

    actor: Actor
    now: datetime
    command_id: str
    zone: tzinfo


class Decided(NamedTuple):
    """The facts that follow from a command, and the policy version they were decided under (0: none read)."""

    policy: int
    facts: tuple[Fact, ...]


class Conflict(Exception):
    """Another writer recorded something that a decision had read; it must be read and decided again."""


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
    state = reading.fold.start(reading.tag)
    for fact in facts:
        if isinstance(fact, reading.fold.fact_types) and reading.tag in fact.tags():
            state = reading.fold.evolve(state, fact)
    return state


def drive(decision: Decision, states: Mapping[Reading[Any], Any] | Callable[[Reading[Any]], Any]) -> Decided:
    """Run a decision to its end on known states.

    Raises: KeyError when a state is missing from a mapping; Refusal when the decision refuses.
    """
    look_up = states.__getitem__ if isinstance(states, Mapping) else states
    try:
        question = next(decision)
        while True:
            question = decision.send(tuple(map(look_up, question)))
    except StopIteration as stop:
        decided: Decided = stop.value
        return decided
