"""Scenes: small stories played through the real decisions into a synthetic ledger, after its history was imported.

A story says who does what when, in days counted from the one on which the scenes are first played; its commands are
given to the rules like anybody else's. What they are decided by is a clock of the scenes' own, so that a request can be
asked on one day and done on another; `recorded_at` is the journal's as ever, and says when they were really played.

    stories ──▶ steps, all of them in order of time ──▶ one batch a moment ──▶ `Writer(clock=…)` ──▶ facts

Each command's id comes from its scene's name and its place in it. So playing again adds nothing, and goes on where a
killed run had stopped: also on another day, since the first command tells on which day the scenes were first played.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from application.write_loop import Accepted, Decide, Ticket, Writer, command_id
from domain.certificate import CountedService, count_service
from domain.community import GridPath
from domain.decision import BY_TIME, Actor, fold_facts
from domain.fact import Recorded
from domain.hours import ServiceRecord, VolunteerDay
from domain.identifiers import new_number
from domain.journal import FactStore
from domain.ledger import ledger
from domain.refusal import Refusal
from domain.statement import BalanceStatement
from domain.visit import CODE_CHARACTERS, CODE_LENGTH


class Served(NamedTuple):
    """A household that the imported history names as served, and where."""

    household: str
    community: str
    grid: GridPath


class OldCredit(NamedTuple):
    """A confirmed record of the imported history, and the household that it earned for."""

    household: str
    record: str


class Settled(NamedTuple):
    """A confirmed record of the imported history, and when the journal recorded that."""

    record: str
    settled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who of the imported history takes part. Found in what was imported alone, which no scene changes, so that a run
    which goes on finds the same ones.

    ``visitor`` is the volunteer that a demo gives a token for. ``served`` are households of the ``home`` community, and
    ``near_visitor`` one of the visitor's own; none of them is the visitor's. ``savers`` have the oldest credits.
    ``split_grid`` is the base grid of ``elsewhere`` that becomes a community, and ``followers`` the households in it.
    ``last_served_on`` is the last day of the imported service, and ``consenting`` are volunteers who served until then.
    """

    visitor: str
    visitor_household: str
    home: str
    elsewhere: str
    third: str
    served: tuple[Served, ...]
    near_visitor: Served
    old_members: tuple[str, ...]
    savers: tuple[OldCredit, ...]
    disputable: Settled | None
    disputable_of_visitor: Settled | None
    split_grid: str | None
    other_grid: str | None
    followers: tuple[str, ...]
    last_served_on: date
    consenting: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A statement of another ledger that somebody brings along, and the key that it was found to be signed with."""

    statement: BalanceStatement
    key: str


class Later:
    """A command that holds what was recorded by then, and so is made when its moment has come."""

    def made(self, store: FactStore, at: datetime) -> Any:
        """The command at that moment of the scenes' clock: what was decided since makes no difference to it."""
        raise NotImplementedError


class Step(NamedTuple):
    """One command of a scene (or a `Later` one), by whom and when."""

    at: datetime
    actor: Actor
    decide: Decide
    command: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a story is told on: the day of the first playing, the cast, and the ledger next door, if there is one."""

    today: date
    zone: tzinfo
    ledger: str
    cast: Cast
    neighbour: str = ""
    arrival: Arrival | None = None
    seed: int = 7

    def at(self, days: int, clock: str) -> datetime:
        """A time on a day counted from the first playing's, such as ``at(-3, "09:30")``."""
        return datetime.combine(self.on(days), time.fromisoformat(clock), self.zone)

    def on(self, days: int) -> date:
        return self.today + timedelta(days=days)

    def step(self, days: int, clock: str, actor: Actor, decide: Decide, command: Any) -> Step:
        return Step(self.at(days, clock), actor, decide, command)

    def served(self, number: int) -> Served:
        """One of the households served; in a very small district the same one plays several parts."""
        return self.cast.served[number % len(self.cast.served)]

    def redemption_code(self, reservation: str) -> str:
        return redemption_code(self.seed, reservation)

    def door_code(self, name: str) -> str:
        """A code shown at a door. No secret, since nobody is behind that door."""
        return self._code(f"door {name}")

    def certificate_code(self, name: str) -> str:
        """The verification code of a certificate, which everybody may try out."""
        return self._code(f"certificate {name}")

    def pseudonym_secret(self, period: str) -> bytes:
        """What a month's pseudonyms are made with. No secret, since nobody is behind them."""
        return _digest(self.seed, f"disclosure {period}")

    def _code(self, text: str) -> str:
        return "".join(CODE_CHARACTERS[byte % 32] for byte in _digest(self.seed, text)[:CODE_LENGTH])

    def sha256(self, name: str) -> str:
        """The hash of a photo or scan that nobody ever took."""
        return _digest(self.seed, f"file {name}").hex()


def redemption_code(seed: int, reservation: str) -> str:
    """The code of a reservation. No secret: everybody may try a demo out."""
    return base64.b32encode(_digest(seed, f"reservation {reservation}"))[:16].decode()


def _digest(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


Story = Callable[[Stage], Iterator[Step]]


def step_id(stage: Stage, story: Story, number: int, actor: str) -> str:
    """The id of a story's command; a story's commands count from 1."""
    return command_id(actor, f"scene {stage.ledger} {story.__name__} {number}")


def number_by_time(stage: Stage, story: Story, number: int) -> str:
    """The number that a command of time alone gives to what it makes, such as an announcement."""
    return new_number(step_id(stage, story, number, BY_TIME))


@dataclass(slots=True)
class Played:
    """How many commands were recorded now and before, and those that the rules refused, each with its scene's name.

    Of a scene with a refused command nothing more is played.
    """

    recorded: int = 0
    repeated: int = 0
    refused: list[tuple[str, Refusal]] = field(default_factory=list)


class _Cue(NamedTuple):
    """A step with its place in its story."""

    story: Story
    number: int
    step: Step

    @property
    def at(self) -> datetime:
        return self.step.at

    def id(self, stage: Stage) -> str:
        return step_id(stage, self.story, self.number, self.step.actor.id)

    def ticket(self, stage: Stage, store: FactStore) -> Ticket:
        step = self.step
        command = step.command.made(store, step.at) if isinstance(step.command, Later) else step.command
        return Ticket(step.decide, command, step.actor, self.id(stage))


def play(store: FactStore, stage: Stage, stories: Iterable[Story]) -> Played:
    """Play the stories, their steps in order of time, as far as they aren't recorded yet.

    Raises: SceneInRealLedger; StoreUnavailable.
    """
    require_synthetic(store)
    clock = [stage.at(0, "00:00")]
    writer = Writer(store, stage.zone, clock=lambda: clock[0])
    played, stopped = Played(), set[Story]()
    for clock[0], cues in groupby(_in_order(stage, stories), key=attrgetter("at")):
        batch = [cue for cue in cues if cue.story not in stopped]
        tickets = [cue.ticket(stage, store) for cue in batch]
        writer.run(tickets)
        for cue, ticket in zip(batch, tickets, strict=True):
            match ticket.outcome:
                case Accepted(repeated=repeated):
                    played.recorded += not repeated
                    played.repeated += repeated
                case Refusal() as refusal:
                    stopped.add(cue.story)
                    played.refused.append((cue.story.__name__, refusal))
                case failure:
                    raise failure or RuntimeError("a command has no outcome")
    return played


def _in_order(stage: Stage, stories: Iterable[Story]) -> list[_Cue]:
    cues = [_Cue(story, number, step) for story in stories for number, step in enumerate(story(stage), 1)]
    return sorted(cues, key=attrgetter("at"))


def first_played(store: FactStore, stage: Stage, stories: Sequence[Story]) -> date:
    """The day on which the scenes were first played; the stage's own where they never were. Raises: StoreUnavailable.

    It is read from the time that their earliest command was decided at.
    """
    first = _in_order(stage, stories)[0]
    command = first.id(stage)
    cold, tail = store.read_boundary(["command:" + command], store.head())
    for recorded in (*cold, *tail):
        if recorded.envelope.command == command:
            told_on: date = recorded.envelope.decided_at.astimezone(stage.zone).date()
            return told_on + (stage.today - first.at.date())
    return stage.today


def recorded_by(store: FactStore, tags: Sequence[str], at: datetime) -> list[Recorded[Any]]:
    """What bears one of the tags, and was decided before that moment of the scenes' clock."""
    cold, tail = store.read_boundary(tags, store.head())
    found = (r for r in (*cold, *tail) if not set(tags).isdisjoint(r.envelope.fact.tags()))
    return [recorded for recorded in found if recorded.envelope.decided_at < at]


def served_by(store: FactStore, volunteer: str, since: date, until: date, at: datetime) -> CountedService:
    """What a volunteer of the stories had served in a period, counted from the journal as the projections count it."""
    days = [VolunteerDay.of(volunteer, since + timedelta(days)).tag for days in range((until - since).days + 1)]
    logged = recorded_by(store, days, at)
    records = {r.envelope.fact.record: ServiceRecord.of(r.envelope.fact.record) for r in logged}
    facts = recorded_by(store, [reading.tag for reading in records.values()], at) if records else []
    states = [fold_facts(reading, [r.envelope.fact for r in facts]) for reading in records.values()]
    served = [
        (state.record, state.logged.service, state.logged.service_minutes)
        for state in states
        if state.logged is not None and state.status == "confirmed" and since <= state.logged.started_at.date() <= until
    ]
    return count_service(max((r.position for r in facts), default=0), served)


def require_synthetic(store: FactStore) -> None:
    """Raises: SceneInRealLedger, StoreUnavailable."""
    cold, tail = store.read_boundary([ledger.tag], store.head())
    opened = fold_facts(ledger, [recorded.envelope.fact for recorded in (*cold, *tail)]).opened
    if opened is None or not opened.synthetic:
        raise SceneInRealLedger("" if opened is None else opened.name)


class SceneInRealLedger(Exception):
    """Scenes are made up, so they never enter a ledger that isn't synthetic."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"账本“{name}”不是合成账本，情景不会写入。 / The ledger “{name}” isn't a synthetic one; no scene enters it."
        )
