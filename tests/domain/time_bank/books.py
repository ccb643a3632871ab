"""The books of one ledger under test: every command is decided by the real writer, and judged by a model beside it.

A concept adds a mixin of `Model`: what it keeps in mind, and one method for each of its facts (`follows`), which says
by which rules the fact may follow and notes what it changes. The model is written from the rules. It folds nothing with
the domain's own `evolve`, and decides nothing.

What is true of every command, whatever it is, is asserted here (`together`).
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple

from msgspec.structs import replace

from application.write_loop import Accepted, CommandIdReused, Decide, Ticket, Writer
from domain.account import (
    Account,
    BalanceCarried,
    BalancePaidIn,
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesHeld,
    MinutesReleased,
    RedemptionReversed,
)
from domain.community import RegisterCommunity, register_community
from domain.decision import Actor, Context, Reading, drive, fold_facts
from domain.fact import Fact, Movement
from domain.hours import import_hours
from domain.policy import Policy, PolicyAdopted
from domain.refusal import Refusal
from infrastructure.codec import decode, encode
from tests.controls import ZONE, envelope
from tests.redecided import journal, redecided

Wanted = tuple[Decide, Any, Actor]


class Told(NamedTuple):
    """What a fact followed from. ``policy`` is the version that it was decided under (None: none was read)."""

    command: Any
    actor: Actor
    now: datetime
    policy: Policy | None

    @property
    def today(self) -> date:
        return self.now.astimezone(ZONE).date()


def follows(*kinds: type[Fact]) -> Callable[[Any], Any]:
    """The method that judges and notes facts of these types."""

    def mark(method: Any) -> Any:
        method.follows = kinds
        return method

    return mark


class Model:
    """What every concept's part of the model builds on: accounts, what is held on them, and versions of the policy."""

    judges: ClassVar[dict[type[Fact], str]] = {}

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.by_tag: dict[str, list[Fact]] = defaultdict(list)
        self.balances: Counter[str] = Counter()
        self.holds: dict[str, tuple[str, int]] = {}
        self.policies: list[PolicyAdopted] = []
        self.carried: dict[str, int] = {}
        """What one command has released so far: it may hold the same on another account."""
        self.moved: set[str] = set()
        """Accounts that changed since they were last compared with their folds."""

    def __init_subclass__(cls) -> None:
        cls.judges = {}
        for base in cls.__mro__:
            for name, method in vars(base).items():
                for kind in getattr(method, "follows", ()):
                    assert cls.judges.setdefault(kind, name) == name, f"two methods judge {kind.__name__}"
                    assert getattr(cls, name) is method, f"{base.__name__}.{name} is hidden by another of that name"

    # ── What follows ─────────────────────────────────────────────────────────────────────────────────────────

    def note(self, fact: Fact, told: Told) -> None:
        """Judge one fact by the books before it, then enter it."""
        assert type(fact) in self.judges, f"no part of the model knows {type(fact).__name__}"
        again = decode(fact.type, encode(envelope(fact))).fact
        assert again == fact
        assert again.tags() == fact.tags()
        self.facts.append(again)
        for tag in fact.tags():
            self.by_tag[tag].append(again)
        getattr(self, self.judges[type(fact)])(fact, told)
        if isinstance(fact, Movement):
            self._move(fact, told)

    def _move(self, fact: Movement, told: Told) -> None:
        assert fact.minutes >= 0
        if fact.source == fact.target:
            # Where both stand in one place by now, such as two households that were merged since.
            assert isinstance(fact, HoursReversed | CappedMinutesReturned), fact
        self.balances[fact.source] -= fact.minutes
        self.balances[fact.target] += fact.minutes
        self.moved |= {fact.source, fact.target}
        floor = self.floor(fact, told)
        assert floor is None or self.available(fact.source) >= floor, (fact, self.available(fact.source), floor)
        self.after_movement(fact, told)

    def floor(self, fact: Movement, told: Told) -> int | None:
        """What a movement must leave on its source, in minutes that aren't held; None where it is never refused: it
        undoes something exactly, hands over a debt, or comes from an account that is there to be below zero."""
        if fact.source == "issuance" or isinstance(fact, BalancePaidIn):
            return None
        if isinstance(fact, HoursReversed | CappedMinutesReturned | RedemptionReversed | MinutesCapped):
            return None
        if isinstance(fact, BalanceCarried) and fact.cause not in ("household-split", "community-split"):
            return None
        if isinstance(fact, HoursConfirmed) and fact.source.startswith("household:"):
            assert told.policy is not None
            return told.policy.balance_minutes_min
        return 0

    def after_movement(self, fact: Movement, told: Told) -> None:
        """What a concept has to say of a movement once the balances have moved."""

    @follows(MinutesHeld)
    def _held(self, fact: MinutesHeld, told: Told) -> None:
        """Nothing is promised that isn't there; what is in dispute is set aside whatever was spent of it, and what was
        held already goes along with whoever takes an account over."""
        assert fact.minutes > 0
        assert fact.hold not in self.holds
        self.holds[fact.hold] = (fact.account, fact.minutes)
        self.moved.add(fact.account)
        if fact.hold in self.carried:
            assert self.carried.pop(fact.hold) == fact.minutes
            return
        floors = {
            "request": told.policy and told.policy.balance_minutes_min,
            "reservation": 0,
            "split": 0,
            "dispute": None,
        }
        floor = floors[fact.hold.partition(":")[0]]
        assert floor is None or self.available(fact.account) >= floor

    @follows(MinutesReleased)
    def _released(self, fact: MinutesReleased, _: Told) -> None:
        assert self.holds.pop(fact.hold) == (fact.account, fact.minutes)
        self.carried[fact.hold] = fact.minutes
        self.moved.add(fact.account)

    def held(self, account: str) -> int:
        return sum(minutes for name, minutes in self.holds.values() if name == account)

    def available(self, account: str) -> int:
        return self.balances[account] - self.held(account)

    def in_force(self, day: date) -> Policy:
        return [version for version in self.policies if version.effective_on <= day][-1].policy

    def expected_holds(self) -> dict[str, int]:
        """What should be held now, by hold; a concept that holds minutes adds its own."""
        return {}

    def after_command(self, facts: tuple[Fact, ...], before: Counter[str], told: Told) -> None:
        """What a concept has to say of a command once all its facts are entered."""

    def standings(self) -> dict[Reading[Any], str]:
        """The status that each fold should have come to; a concept adds its own."""
        return {}

    def refused(self, *told: str) -> None:
        """What a refusal says, in each language."""
        assert all(told)

    def check(self) -> None:
        """What holds after every step; a concept adds its own."""
        assert sum(self.balances.values()) == 0
        for name in self.moved:
            if ":" in name:  # the others are never asked for
                account = fold_facts(Account.of(name), self.by_tag["account:" + name])
                assert account == Account(name, self.balances[name], self.held(name))
        self.moved.clear()
        assert {hold: minutes for hold, (_, minutes) in self.holds.items()} == self.expected_holds()


class Ledger(Model):
    """The model of a ledger, and the real one: two writers in turn, so that each meets what the other recorded."""

    def __init__(self, store: Any, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.store = store
        self.clock = clock
        self.writers = [Writer(store, ZONE, clock=clock) for _ in range(2)]
        self.commands = 0
        self.interrupted = False
        """Something was found wrong amid a command, so that what it left is of no interest."""
        self.told: Counter[tuple[str, str]] = Counter()
        """How often each decision was answered in which way, by the name of the answer."""
        for batch in store.scan():
            for recorded in batch:
                actor = Actor(recorded.envelope.actor, recorded.envelope.role)
                self.note(recorded.envelope.fact, Told(None, actor, clock(), None))

    def send(self, decide: Decide, command: Any, actor: Actor) -> bool:
        """Whether the command was accepted."""
        return isinstance(self.together((decide, command, actor))[0], Accepted)

    def together(self, *wanted: Wanted) -> list[Accepted | Refusal]:
        """Give commands in one batch. Each is decided like the pure decision on states that are folded from the first
        fact, before anything is remembered; what is refused leaves no fact; and whatever is sent again changes nothing.
        """
        if not wanted:
            return []
        tickets = [
            Ticket(decide, command, actor, self._new_command_id(), decide is import_hours)
            for decide, command, actor in wanted
        ]
        self.interrupted = True
        facts_before = len(self.facts)
        expected = [self._expect(ticket) for ticket in tickets]
        self._run(tickets)
        for ticket, expects in zip(tickets, expected, strict=True):
            found = ticket.outcome.facts if isinstance(ticket.outcome, Accepted) else ticket.outcome
            assert found == expects, f"{ticket.command!r}: {found!r} instead of {expects!r}"
            if isinstance(expects, Refusal):
                self.refused(str(expects), expects.message_zh)
            self.told[ticket.decide.__name__, type(ticket.outcome).__name__] += 1
        assert self.store.head() == len(self.facts)
        self._send_again(tickets, alone=len(self.facts) == facts_before)
        self.interrupted = False
        return [ticket.outcome for ticket in tickets]  # type: ignore[misc]

    def _run(self, tickets: list[Ticket]) -> None:
        self.writers[0].run(tickets)
        self.writers.reverse()

    def _new_command_id(self) -> str:
        self.commands += 1
        return hashlib.blake2b(str(self.commands).encode(), digest_size=16).hexdigest()

    def _expect(self, ticket: Ticket) -> tuple[Fact, ...] | Refusal:
        """What follows from a command on the books as they are, entered into them."""
        now = self.clock()
        context = Context(ticket.actor, now, ticket.id, ZONE)
        try:
            decided = drive(ticket.decide(ticket.command, context), self.state)
        except Refusal as refusal:
            return refusal
        before = Counter(self.balances)
        told = Told(ticket.command, ticket.actor, now, None)
        for version, fact in decided.each():
            told = told._replace(policy=self.policies[version - 1].policy if version else None)
            self.note(fact, told)
        self.after_command(decided.facts, before, told)
        self.carried.clear()
        return decided.facts

    def _send_again(self, tickets: list[Ticket], *, alone: bool) -> None:
        """The same id and content give the first answer, the same id and other content a refusal; a refused command
        that left its id free is refused again for the same reason."""
        again = [Ticket(t.decide, t.command, t.actor, t.id) for t in tickets if self._is_known(t) or alone]
        firsts = [t for t in tickets if self._is_known(t) or alone]
        others = [
            Ticket(register_community, RegisterCommunity(community="别的内容"), t.actor, t.id)
            for t in tickets
            if self._is_known(t)
        ]
        head = self.store.head()
        self._run([*again, *others])
        for first, repeated in zip(firsts, again, strict=True):
            if self._is_known(first):
                assert repeated.outcome == replace(first.outcome, repeated=True)
            elif isinstance(first.outcome, Refusal):
                assert repeated.outcome == first.outcome
        assert all(other.outcome == CommandIdReused(other.id) for other in others)
        assert self.store.head() == head

    @staticmethod
    def _is_known(ticket: Ticket) -> bool:
        """The journal holds its id: it was accepted, and something followed."""
        return isinstance(ticket.outcome, Accepted) and bool(ticket.outcome.facts)

    def restart(self) -> None:
        """One of the writers forgets everything, as a process that starts anew."""
        self.writers[0] = Writer(self.store, ZONE, clock=self.clock)

    def state(self, reading: Reading[Any]) -> Any:
        return fold_facts(reading, self.by_tag[reading.tag])

    def close(self) -> None:
        """At the end: the journal holds what the books hold, what is remembered is what a replay gives, everything
        stands as the model has it, and every fact is decided again from the facts alone."""
        if self.interrupted:
            return
        assert [recorded.envelope.fact for batch in self.store.scan() for recorded in batch] == self.facts
        for writer in self.writers:
            memory = writer._memory
            assert memory is None or memory.head == len(self.facts)
            for reading, state in {} if memory is None else memory.young.items():
                assert state == self.state(reading)
        for reading, status in self.standings().items():
            assert self.state(reading).status == status, reading.tag
        assert redecided(journal(self.store)).findings.found == []
