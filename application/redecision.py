"""Every fact decided again: the journal held to its own rules, under the policy that was in force then.

    facts in order ──▶ one command's ──▶ read back (`read_back`) ──▶ decided on what was before them ──▶ compared
                                                                                            └──▶ folded as they are

The states are folded by the same `evolve` as when it was decided for real, so that a fact which the rules would have
refused, or would have made otherwise, is found, and named with its position and the refusal. A finding undoes nothing:
what the journal holds is folded all the same, and what follows is judged by that.

Memory doesn't grow with what was decided: as the write loop does, this remembers the states that were used last. What
was forgotten is folded again from its own facts, which a few bytes for each of their tags are kept to find.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import structs
from pydantic import ValidationError

from application.finding import (
    BACK_IN_TIME,
    BEFORE_DECIDED,
    COUNTED_OTHERWISE,
    GAP,
    KINDS,
    LONG_AFTER,
    MIXED,
    NO_COMMAND,
    OTHER_POLICY,
    OTHER_TAGS,
    OTHERWISE,
    REFUSED,
    REPEATED,
    UNDECIDABLE,
    Finding,
    Findings,
)
from application.read_back import GOES_ON, Asked, Command, NoCommand, imported, read_back
from domain.account import Account, HoursConfirmed, HoursReversed, account_fold
from domain.certificate import CertificateIssued, CountedService, count_service
from domain.decision import Actor, Context, Decided, Fold, Reading, Role, drive
from domain.fact import Fact, Recorded, Tagged
from domain.facts import CONCEPTS
from domain.hours import HoursLogged, HoursRejected, ServiceRecord, VolunteerDay
from domain.ledger import LedgerOpened
from domain.recognition import StarAwarded, StarWithdrawn
from domain.refusal import Refusal

POSITION_MAX: Final = 0xFFFF_FFFF
"""Beyond it nothing could be found again (`_Places`)."""
STATES_MAX: Final = 60_000
"""States kept in each of two generations."""
RECENT_MIN: Final = 512
"""Facts at hand: few, as memory that is used again is faster than what is read again."""
CLOCKS_DIFFER_MAX: Final = timedelta(minutes=5)
"""By how much the clock of who decides may be ahead of the journal's, which is the database's."""
DECIDED_BEFORE_MAX: Final = timedelta(hours=1)
"""How long before it is recorded something may be decided. Scenes of a synthetic ledger are decided days before."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_ROLES: Final = get_args(Role)
_COMMON: Final = ("actor", "role", "digest", "decided_at", "imported")
_NO_SERVICE: Final = array("q")
_common: Final = attrgetter(*_COMMON)
"""What all facts of one command have the same in their envelopes."""
_command_of: Final[Callable[[Tagged[Any]], str]] = attrgetter("envelope.command")
_fact_of: Final[Callable[[Recorded[Any]], Fact]] = attrgetter("envelope.fact")
_recorded_at_of: Final[Callable[[Recorded[Any]], int]] = attrgetter("recorded_at_microseconds")


class Redecision:
    """A fold over facts in their order, each with its stored tags.

    ``past`` reads facts again by their positions, which rise; they are before what is being folded, and some may not be
    there. ``first`` and ``last`` bound the work to the commands that begin with those facts, by their number: it is
    only noted where the facts before them are, and what comes after them is left.
    """

    def __init__(
        self,
        past: Callable[[Sequence[int]], Iterable[Recorded[Any]]],
        states_max: int = STATES_MAX,
        *,
        first: int = 1,
        last: int | None = None,
    ) -> None:
        self._first, self._last = first, last
        self._number = 0
        """Of the last fact, as they are counted here."""
        self.ended = False
        """Whether what is to be decided has been."""
        self.position = 0
        self.commands = 0
        self.undecided = 0
        """Facts at the end that may be but a part of what their command recorded."""
        self.findings = Findings()
        self._recent = _Recent(past)
        self._states = _States(self._recent.at, states_max)
        self._state = self._states.__getitem__
        self._zone: Any = UTC
        self._synthetic = False
        self._latest = self._recorded_at = -(1 << 62)
        self._decided_at: datetime | None = None
        """Found to be just before `_recorded_at`."""
        self._decided_from = self._decided_to = EPOCH
        self._first_day, self._last_day = date.max, date.min
        self._service: dict[str, array[int]] = {}
        """By volunteer, where their minutes of service counted from and until: each position before its minutes."""
        self._unsettled: dict[str, HoursLogged] = {}
        """Records that wait to be settled, as they were logged; some may be missing."""
        self._more_follows = False
        """Of what was decided last, all that is recorded is as it should be, and more was to follow."""
        self._learned = 0
        """Commands, as they were counted, that others decide."""
        self._learns = first > 1
        """Whether facts are still those of commands that others decide."""
        self._command: str | None = None
        self._group: list[Tagged[Any]] = []
        """What was gathered so far of the facts of that command, to be decided."""
        self._noted: dict[type[Fact], Callable[[Recorded[Any], Any], None]] = {
            LedgerOpened: self._note_opened,
            HoursLogged: self._note_logged,
            HoursRejected: self._note_rejected,
            HoursConfirmed: self._note_service,
            HoursReversed: self._note_service,
            CertificateIssued: self._count_again,
            StarAwarded: self._count_again,
            StarWithdrawn: self._count_again,
        }
        """What else is kept of facts than states, or looked at."""

    def fold(self, facts: Sequence[Tagged[Any]]) -> None:
        """The next facts, at least one."""
        self._recent.add(facts)
        if self._learns:
            count = self._up_to(self._first, facts)
            others, facts = facts[:count], facts[count:]
            self._learn(others)
            self._learns = not facts
        if self._last is not None and self._number + len(facts) >= self._last:
            count = self._up_to(self._last + 1, facts)
            facts, self.ended = facts[:count], count < len(facts)
        self._check_places(facts)
        self._number += len(facts)
        groups = []
        for command, found in groupby(facts, _command_of):
            if command != self._command:
                groups.append(self._group)
                self._command, self._group = command, []
            self._group += found
        if self.ended:
            groups.append(self._group)
            self._group = []
        self._end_commands(groups)

    def _up_to(self, number: int, facts: Sequence[Tagged[Any]]) -> int:
        """How many of the facts are of commands that began before the one with a number."""
        count = min(len(facts), max(0, number - 1 - self._number))
        command = _command_of(facts[count - 1]) if count else self._command
        while count < len(facts) and _command_of(facts[count]) == command:
            count += 1
        return count

    def _learn(self, facts: Sequence[Tagged[Any]]) -> None:
        """Note facts that others decide."""
        if facts:
            self._number += len(facts)
            self._command, self.position = _command_of(facts[-1]), facts[-1].position
            self._latest = max(self._latest, *map(_recorded_at_of, facts))
            self._states.fold(facts, [recorded.envelope.fact.tags() for recorded in facts])
            self._learned = self._states.places.number + 1
            self._note(facts)

    def pass_over(self, positions: Sequence[int]) -> None:
        """The next facts can't be read, which others have found."""
        self._number += len(positions)
        self.position = positions[-1]

    def close(self, *, may_go_on: bool = False) -> None:
        """Decide the last command, whose facts may go on beyond where the reading ended; and see that each was a new
        one."""
        group, self._group = self._group, []
        self._end_commands([group], may_go_on=may_go_on)
        for recorded, before in self._states.repeated(self._learned):
            self._find(recorded, REPEATED, f"先前在位置 {before}", f"it was recorded at position {before} already")

    # ── The commands of a batch ──────────────────────────────────────────────────────────────────────────────────

    def _check_places(self, facts: Sequence[Tagged[Any]]) -> None:
        """Positions are dense, times don't go back, and what is recorded was decided just before."""
        position, recorded_at, decided_at = self.position, self._recorded_at, self._decided_at
        for recorded in facts:
            position += 1
            if (
                recorded.position != position
                or recorded.recorded_at_microseconds != recorded_at
                or recorded.envelope.decided_at != decided_at
            ):
                break
        else:  # nearly always: a batch has one time, and was decided at another
            self.position = position
            return
        for recorded in facts:
            self._check_place(recorded)
            fact = recorded.envelope.fact
            # What comes after it in this batch is judged by it.
            if isinstance(fact, LedgerOpened):
                self._synthetic = fact.synthetic

    def _check_place(self, recorded: Recorded[Any]) -> None:
        """Name what is wrong with the place or the time of one fact."""
        position, microseconds = recorded.position, recorded.recorded_at_microseconds
        if position != self.position + 1:
            expected = self.position + 1
            self._find(
                recorded,
                GAP,
                f"应为位置 {expected}，读到 {position}",
                f"position {expected} was expected, and {position} is there",
            )
        self.position = position
        if microseconds != self._recorded_at:
            if microseconds < self._latest:
                at, before = _moment(microseconds).isoformat(), _moment(self._latest).isoformat()
                self._find(recorded, BACK_IN_TIME, f"{at} 早于 {before}", f"{at} is before {before}")
            self._latest = max(self._latest, microseconds)
            self._recorded_at, self._decided_at = microseconds, None
            self._decided_from = _moment(microseconds) - DECIDED_BEFORE_MAX
            self._decided_to = _moment(microseconds) + CLOCKS_DIFFER_MAX
        decided_at = recorded.envelope.decided_at
        if decided_at.tzinfo is None:
            self._find(recorded, UNDECIDABLE, "决定时间没有时区", "the time of its decision names no zone")
            return
        if decided_at > self._decided_to:
            kind = BEFORE_DECIDED
        elif decided_at < self._decided_from and not self._synthetic and position > 1:
            kind = LONG_AFTER
        else:
            self._decided_at = decided_at
            return
        decided, at = decided_at.isoformat(), _moment(microseconds).isoformat()
        self._find(recorded, kind, f"决定于 {decided}，记录于 {at}", f"decided at {decided}, recorded at {at}")

    def _end_commands(self, groups: Sequence[Sequence[Tagged[Any]]], *, may_go_on: bool = False) -> None:
        """All facts of some commands are there: decide them in their order, and carry the states on.

        Only what needs the states is done one command after the other. The rest is done for all of them at once, step
        by step: what has just run runs again several times as fast as what runs in between so much else.
        """
        groups = [group for group in groups if group]
        self.commands += len(groups)
        all_facts = [tuple(map(_fact_of, group)) for group in groups]
        all_tags = [[fact.tags() for fact in facts] for facts in all_facts]
        for group, tags in zip(groups, all_tags, strict=True):
            self._check_together(group, tags)
        rows = [*map(_row, groups, all_facts)]
        decide = self._decide_last if may_go_on else self._decide
        decided = []
        noted = 0
        for group, facts, tags, row in zip(groups, all_facts, all_tags, rows, strict=True):
            decided.append(decide(group, facts, row))
            self._states.fold(group, tags)
            if row is None:  # it may be noted by what the states are now, or change what is decided next
                self._note(chain.from_iterable(groups[noted : len(decided)]))
                noted = len(decided)
        self._note(chain.from_iterable(groups[noted:]))
        for group, one in zip(groups, decided, strict=True):
            if one is not None:
                self._compare_policies(group, one)

    def _note(self, facts: Iterable[Recorded[Any]]) -> None:
        """Only once all of a command are folded, as one that was confirmed and reversed by it is looked up by then."""
        noted = self._noted
        for recorded in facts:
            fact = recorded.envelope.fact
            note = noted.get(type(fact))
            if note is not None:
                note(recorded, fact)

    def _note_logged(self, _: Recorded[Any], fact: HoursLogged) -> None:
        if len(self._unsettled) >= STATES_MAX:
            self._unsettled.clear()
        self._unsettled[fact.record] = fact
        day = fact.started_at.date()
        if not self._first_day <= day <= self._last_day:
            self._first_day, self._last_day = min(self._first_day, day), max(self._last_day, day)

    def _note_rejected(self, _: Recorded[Any], fact: HoursRejected) -> None:
        self._unsettled.pop(fact.record, None)

    def _decide_last(
        self, group: Sequence[Recorded[Any]], facts: tuple[Fact, ...], row: Asked | None
    ) -> Decided | None:
        """What may be but a part of what its command recorded is found where it can't be a part of anything."""
        before = [*self.findings.found], Counter(self.findings.counts)
        decided = self._decide(group, facts, row)
        found = self.findings.counts - before[1]
        kinds = {kind for kind, _ in found}
        # A row may be rejected or reversed by what is missing, and then other rules hold for it.
        row_goes_on = group[0].envelope.imported and not isinstance(facts[-1], HoursRejected | HoursReversed)
        unclear = (isinstance(facts[0], GOES_ON) or row_goes_on) and kinds <= {NO_COMMAND, REFUSED, OTHERWISE}
        if found and (unclear or (self._more_follows and kinds == {OTHERWISE})):
            self.findings.restore(*before)
            self.undecided = len(group)
        return decided

    def _check_together(self, group: Sequence[Tagged[Any]], derived: Sequence[tuple[str, ...]]) -> None:
        """What has to be the same in all facts of a command is, and each bears its tags."""
        first = group[0].envelope
        common = _common(first)
        of_command = "command:" + first.command
        for recorded, own in zip(group, derived, strict=True):
            envelope, stored = recorded.envelope, recorded.tags
            if [*own, of_command] != stored:
                said, right = ", ".join(stored), ", ".join((*own, of_command))
                self._find(recorded, OTHER_TAGS, f"{said}，应为 {right}", f"{said} instead of {right}")
            if envelope is not first and _common(envelope) != common:
                for name, one, other in zip(_COMMON, common, _common(envelope), strict=True):
                    if one != other:
                        self._find(
                            recorded,
                            MIXED,
                            f"{name}：前面是 {one}，这里是 {other}",
                            f"{name}: {one} before, {other} here",
                        )

    def _decide(self, group: Sequence[Recorded[Any]], facts: tuple[Fact, ...], row: Asked | None) -> Decided | None:
        """What the rules come to, where that is what is recorded; else what differs is found. ``row`` is what the
        command was, where that is known already."""
        envelope = group[0].envelope
        if envelope.role not in _ROLES:
            self._find(group[0], NO_COMMAND, f"没有“{envelope.role}”这个角色", f"there is no role “{envelope.role}”")
            return None
        self._states.once = envelope.imported
        role: Any = envelope.role
        context = Context(Actor(envelope.actor, role), envelope.decided_at, envelope.command, self._zone)
        first: Decided | Refusal | None = None
        try:
            asked = (row,) if row is not None else read_back(Command(facts, envelope, self._state, self._when))
            for one in asked:
                try:
                    decided = drive(one.decide(one.command, context), self._state)
                except Refusal as refusal:
                    first = first or refusal
                    continue
                if one.unknown:
                    decided = _with_unknown(decided, facts, one.unknown)
                if decided.facts == facts:
                    return decided
                if first is None or isinstance(first, Refusal):
                    first = decided
        except NoCommand as error:
            self._find(group[0], NO_COMMAND, error.zh, error.en)
            return None
        except Refusal as refusal:  # what a command would be read back from isn't there
            first = refusal
        except ValidationError as error:
            zh, en = _invalid(error)
            self._find(group[0], NO_COMMAND, zh, en)
            return None
        except Exception as error:  # noqa: BLE001 - facts that were tampered with may break any part of a decision
            self._find(group[0], UNDECIDABLE, repr(error), repr(error))
            return None
        match first:
            case None:
                self._find(group[0], NO_COMMAND, *KINDS[NO_COMMAND])
            case Refusal():
                self._find(group[0], REFUSED, first.message_zh, first.message_en, first.code)
            case Decided():
                self._differ(group, first)
        return None

    def _compare_policies(self, group: Sequence[Recorded[Any]], decided: Decided) -> None:
        versions = decided.policies or (decided.policy,) * len(group)
        for recorded, version in zip(group, versions, strict=True):
            said = recorded.envelope.policy
            if said != version:
                self._find(
                    recorded, OTHER_POLICY, f"记着第 {said} 版，应为第 {version} 版", f"{said} instead of {version}"
                )

    def _differ(self, group: Sequence[Recorded[Any]], decided: Decided) -> None:
        """Name the first fact that is another one, and its first field that is."""
        self._more_follows = False
        for number, recorded in enumerate(group):
            fact = recorded.envelope.fact
            if number >= len(decided.facts):
                self._find(recorded, OTHERWISE, "按规则没有这条事实", "the rules come to no such fact")
                return
            wanted = decided.facts[number]
            if type(fact) is not type(wanted):
                self._find(recorded, OTHERWISE, f"应为 {wanted.type}", f"{wanted.type} was to follow")
                return
            for name in fact.__struct_fields__:
                said, right = getattr(fact, name), getattr(wanted, name)
                if said != right:
                    self._find(
                        recorded,
                        OTHERWISE,
                        f"{name}：记着 {_told(said)}，应为 {_told(right)}",
                        f"{name}: {_told(said)} instead of {_told(right)}",
                    )
                    return
        self._more_follows = True
        missing = decided.facts[len(group)].type
        self._find(group[-1], OTHERWISE, f"之后缺少 {missing}", f"{missing} was to follow it")

    def _note_opened(self, _: Recorded[Any], opened: LedgerOpened) -> None:
        # A zone that there isn't was found when the ledger's opening was decided again.
        with suppress(KeyError, ValueError, OSError):
            self._zone = ZoneInfo(opened.zone)
        self._synthetic = opened.synthetic

    def _count_again(self, recorded: Recorded[Any], fact: CertificateIssued | StarAwarded | StarWithdrawn) -> None:
        """What a certificate or a star says was counted in the projection: the journal, up to the position that it
        names, must come to the same."""
        if self._learns:
            return
        if fact.counted_position >= recorded.position:
            at = fact.counted_position
            self._find(
                recorded, COUNTED_OTHERWISE, f"数到了自身之后的位置 {at}", f"it was counted up to {at}, which is later"
            )
            return
        if isinstance(fact, CertificateIssued):
            counted = self._served(fact.volunteer, fact.counted_position, fact.since, fact.until)
            said = CountedService(fact.counted_position, fact.services, fact.records_sha256)
            one, other = said.minutes, counted.minutes
            if one == other and said != counted:
                zh, en = "服务记录不是所证明的那些", "the records aren't those that count"
                self._find(recorded, COUNTED_OTHERWISE, zh, en)
        else:
            service = self._service.get(fact.volunteer, _NO_SERVICE)
            counted_to = bisect_right(service[::2], fact.counted_position)
            one, other = fact.service_minutes, sum(service[1 : 2 * counted_to : 2])
        if one != other:
            self._find(recorded, COUNTED_OTHERWISE, f"{one} 分钟，应为 {other}", f"{one} minutes instead of {other}")

    def _note_service(self, recorded: Recorded[Any], fact: HoursConfirmed | HoursReversed) -> None:
        """What a volunteer's stars are counted by."""
        logged = self._unsettled.pop(fact.record, None)
        if logged is None:
            logged = self._state(ServiceRecord.of(fact.record)).logged
        if logged is None:
            return
        known = self._service.get(logged.volunteer)
        if known is None:
            known = self._service[logged.volunteer] = array("q")
        minutes = logged.service_minutes
        known.extend((recorded.position, minutes if isinstance(fact, HoursConfirmed) else -minutes))

    def _served(self, volunteer: str, position: int, since: date, until: date) -> CountedService:
        """A volunteer's confirmed and unreversed service on the days of a period, up to a position."""
        first, last = max(since, self._first_day), min(until, self._last_day)
        found = []
        for day in range(max(0, (last - first).days + 1)):
            on = first + timedelta(day)
            for recorded in self._states.facts_of(VolunteerDay.of(volunteer, on).tag):
                logged = recorded.envelope.fact
                if recorded.position > position or logged.started_at.date() != on:
                    continue
                of_record = self._states.facts_of(ServiceRecord.of(logged.record).tag)
                kinds = {type(one.envelope.fact) for one in of_record if one.position <= position}
                if HoursConfirmed in kinds and HoursReversed not in kinds:
                    found.append((logged.record, logged.service, logged.service_minutes))
        return count_service(position, found)

    def _when(self, record: str, kinds: tuple[type[Fact], ...]) -> datetime:
        """When the last fact of these types was recorded of a record. In a synthetic ledger scenes are decided by a
        clock of their own, and are told the time by it."""
        for recorded in reversed(self._states.facts_of("record:" + record)):
            if isinstance(recorded.envelope.fact, kinds):
                at = _moment(recorded.recorded_at_microseconds)
                return min(at, recorded.envelope.decided_at) if self._synthetic else at
        return EPOCH

    def _find(self, recorded: Recorded[Any], kind: str, zh: str, en: str, code: str = "") -> None:
        envelope = recorded.envelope
        where = {"position": recorded.position, "type": envelope.fact.type, "command": envelope.command}
        self.findings.add(Finding(kind, zh, en, code=code, **where))


def _row(group: Sequence[Recorded[Any]], facts: tuple[Fact, ...]) -> Asked | None:
    """The row of older books that came to these facts, where it can be told from them alone. What is wrong with it is
    met again when it is decided."""
    if group[0].envelope.imported:
        try:
            return imported(facts)
        except Exception:  # noqa: BLE001, S110
            pass
    return None


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _told(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _with_unknown(decided: Decided, facts: tuple[Fact, ...], names: tuple[str, ...]) -> Decided:
    """What was decided, with what the command couldn't know of it as it is recorded."""
    known = []
    for number, fact in enumerate(decided.facts):
        if number < len(facts) and type(facts[number]) is type(fact):
            recorded = facts[number]
            fact = structs.replace(fact, **{name: getattr(recorded, name) for name in names if hasattr(recorded, name)})
        known.append(fact)
    return structs.replace(decided, facts=tuple(known))


def _invalid(error: ValidationError) -> tuple[str, str]:
    """What no command can say, by the first of its fields that can't."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    context = first.get("ctx", {})
    zh, _, en = message.partition(" / ")
    where = f"{field}: " if field else ""
    return f"{where}{context.get('reason_zh', zh)}", f"{where}{en or message}"


# ── What was before ──────────────────────────────────────────────────────────────────────────────────────────────


def _folds_by_type() -> dict[type[Fact], dict[str, tuple[Fold[Any], ...]]]:
    """Every fold that the domain's concepts define, by the types of facts that it folds and the prefix of its tags."""
    found: dict[type[Fact], dict[str, tuple[Fold[Any], ...]]] = {}
    for module in CONCEPTS:
        for value in vars(module).values():
            fold = value.fold if isinstance(value, Reading) else value
            if isinstance(fold, Fold):
                for kind in fold.fact_types:
                    folds = found.setdefault(kind, {})
                    if fold not in folds.get(fold.prefix, ()):
                        folds[fold.prefix] = (*folds.get(fold.prefix, ()), fold)
    return found


_ACCOUNT: Final = account_fold.prefix + ":"
ONCE: Final = frozenset({"record", "day"})
"""What rows of older books are about; these states aren't kept, as they would take the place of all others."""
_NO_FOLDS: Final[dict[str, tuple[Fold[Any], ...]]] = {}


class _States(dict[Reading[Any], Any]):
    """The states as of the last fact that was folded: all accounts, since they alone gather facts without end; of the
    others those used last, and of the rest where their facts are.

    What is asked for and isn't here is folded from its facts.
    """

    def __init__(self, past: Callable[[Sequence[int]], Iterable[Recorded[Any]]], states_max: int) -> None:
        super().__init__()
        self._past = past
        self._states_max = self._full = states_max
        self._old: dict[Reading[Any], Any] = {}
        """The generation before, of what wasn't used since."""
        self._remembered: set[str] = set()
        """The tags of both, and perhaps some more."""
        self.places = _Places()
        self._folds = _folds_by_type()
        self.once = False
        """Whether what is decided is a row of older books: nearly always it says all there is of its record."""

    def __missing__(self, reading: Reading[Any]) -> Any:
        fold = reading.fold
        if fold is account_fold:
            return fold.start(reading.tag)
        tag = reading.tag
        state = self._old.pop(reading, None) if tag in self._remembered else None
        if state is None:
            state = fold.start(tag)
            positions = self.places.of(tag)
            if positions:
                for recorded in self._read(tag, positions):
                    if isinstance(recorded.envelope.fact, fold.fact_types):
                        state = fold.evolve(state, recorded.envelope.fact)
            if self.once and fold.prefix in ONCE:
                return state
        self[reading] = state
        self._remembered.add(tag)
        return state

    def fold(self, facts: Sequence[Recorded[Any]], all_tags: Sequence[tuple[str, ...]]) -> None:
        """Carry what is remembered forward over the next facts, whole commands or parts of them, and note where they
        are."""
        if len(self) >= self._full:
            self._begin_generation()
        places, old, remembered = self.places, self._old, self._remembered
        fresh, number, accounts = places.fresh, places.number, places.of_accounts
        command = places.command
        for recorded, tags in zip(facts, all_tags, strict=True):
            envelope, position = recorded.envelope, recorded.position
            if envelope.command != command:
                command = envelope.command
                places.begin(command)
                fresh, number = places.fresh, places.number
            places.positions.append(position)
            fact = envelope.fact
            folds = self._folds.get(type(fact), _NO_FOLDS)
            moves = account_fold.prefix in folds
            for tag in tags:
                account = accounts.get(tag)
                if account is None and moves and tag.startswith(_ACCOUNT):
                    account = accounts[tag] = Account.of(tag[len(_ACCOUNT) :]), array("I")
                if account is not None:
                    reading, positions = account
                    positions.append(position)
                    if moves:
                        self[reading] = account_fold.evolve(self[reading], fact)
                elif fresh.setdefault(tag, number) != number:
                    places.note_again(tag)
                if tag not in remembered:
                    continue
                for fold in folds.get(tag[: tag.index(":")], ()):
                    if fold is account_fold:
                        continue
                    reading = Reading(fold, tag)
                    state = self.get(reading)
                    if state is None and (state := old.pop(reading, None)) is None:
                        continue
                    self[reading] = fold.evolve(state, fact)

    def _begin_generation(self) -> None:
        """What wasn't used since the last time is forgotten, but for accounts."""
        accounts = {reading: self[reading] for reading, _ in self.places.of_accounts.values()}
        self._old = {reading: state for reading, state in self.items() if reading.fold is not account_fold}
        self.clear()
        self.update(accounts)
        self._full = len(self) + self._states_max
        self._remembered = {reading.tag for reading in self._old}

    def facts_of(self, tag: str) -> list[Recorded[Any]]:
        """All facts so far that bear a tag, in their order."""
        return self._read(tag, self.places.of(tag))

    def _read(self, tag: str, positions: Sequence[int]) -> list[Recorded[Any]]:
        """The facts that bear a tag, of those at some positions."""
        return [recorded for recorded in self._past(positions) if tag in recorded.envelope.fact.tags()]

    def repeated(self, since: int) -> Iterator[tuple[Recorded[Any], int]]:
        """Of the commands from a number on, the first facts of those that were recorded before, and where they were."""
        for before, again in self.places.begun_again(since):
            for recorded in self._past([again]):
                yield recorded, before


class _Recent:
    """The facts that were folded last, whole batches of them: what is asked for again is nearly always among them."""

    def __init__(self, past: Callable[[Sequence[int]], Iterable[Recorded[Any]]]) -> None:
        self._past = past
        self._batches: deque[Sequence[Recorded[Any]]] = deque()
        self._count = 0

    def add(self, facts: Sequence[Recorded[Any]]) -> None:
        self._batches.append(facts)
        self._count += len(facts)
        while self._count - len(self._batches[0]) >= RECENT_MIN:
            self._count -= len(self._batches.popleft())

    def at(self, positions: Sequence[int]) -> Iterable[Recorded[Any]]:
        """The facts at some positions, which rise; some may not be there."""
        found = []
        for position in positions:
            recorded = self._at_hand(position)
            if recorded is None:
                return self._past(positions)
            found.append(recorded)
        return found

    def _at_hand(self, position: int) -> Recorded[Any] | None:
        for batch in self._batches:
            at = position - batch[0].position
            if 0 <= at < len(batch) and batch[at].position == position:
                return batch[at]
        return None


class _Places:
    """Where each tag occurs, in eight bytes for each command that it occurs in: 32 bits of its hash before
    32 of the command's number. Of accounts, which are few and are kept for good, it is where their facts are.

    What was noted last is in a dictionary; the rest in sorted runs. Nearly always something is asked for that never
    occurred, and two looks into ``seen`` tell so. Another tag may have the same hash, and not all facts of a
    command bear the tag: whoever reads by it compares the fact's own tags.
    """

    FRESH_MAX: Final = 1 << 14
    RUNS_MERGED: Final = 64
    SEEN: Final = 1 << 24

    def __init__(self) -> None:
        self.fresh: dict[str, int] = {}
        self._fresh_again: dict[str, list[int]] = {}
        self._runs: list[array[int]] = []
        self._seen = bytearray(self.SEEN)
        """By some bits of a hash, and by some others, whether any such is in the runs."""
        self.of_accounts: dict[str, tuple[Reading[Account], array[int]]] = {}
        """An account by its tag, with the positions of its facts."""
        self.positions = array("I")
        self.command: str | None = None
        self.number = -1
        """Of the command, among all of them."""
        self._hashes = array("q")
        """Of each command's id. Python's are keyed anew by every process, so that nobody can make two alike."""
        self._commands = array("I")
        """Where the facts of each command begin among the positions."""

    def begin(self, command: str) -> None:
        """The next command. Its number then is in `fresh` with each of its tags, and its facts' `positions` follow."""
        if len(self.fresh) >= self.FRESH_MAX:
            self._settle()
        self.command = command
        self.number += 1
        self._hashes.append(hash(command))
        self._commands.append(len(self.positions))

    def begun_again(self, since: int) -> Iterator[tuple[int, int]]:
        """Of the commands from a number on, those that were begun before: at which position first, and then."""
        hashes = self._hashes
        if len({*hashes}) == len(hashes):
            return
        begun: dict[int, int] = {}
        for number, noted in enumerate(hashes):
            position = self.positions[self._commands[number]]
            if noted not in begun:
                begun[noted] = position
            elif number >= since:
                yield begun[noted], position

    def note_again(self, tag: str) -> None:
        """A tag of the command that is in `fresh` with an earlier one."""
        again = self._fresh_again.setdefault(tag, [])
        if not again or again[-1] != self.number:
            again.append(self.number)

    def of(self, tag: str) -> Sequence[int]:
        """The positions of all facts so far of the commands that a tag, or another of the same hash, was noted for."""
        noted, seen = hash(tag), self._seen
        settled = seen[noted & 0xFF_FFFF] and seen[noted >> 32 & 0xFF_FFFF]
        if not settled and tag not in self.fresh and tag not in self.of_accounts:
            return ()
        numbers: list[int] = []
        if settled:
            start = (noted & 0xFFFF_FFFF) << 32
            end = start + (1 << 32)
            for run in self._runs:
                at = bisect_left(run, start)
                while at < len(run) and run[at] < end:
                    numbers.append(run[at] & 0xFFFF_FFFF)
                    at += 1
        if tag in self.fresh:
            numbers += self.fresh[tag], *self._fresh_again.get(tag, ())
        commands, positions = self._commands, self.positions
        found = {*self.of_accounts[tag][1]} if tag in self.of_accounts else set()
        for number in numbers:
            after = commands[number + 1] if number + 1 < len(commands) else len(positions)
            found.update(positions[commands[number] : after])
        return sorted(found)

    def _settle(self) -> None:
        seen = self._seen
        hashes = [*map(hash, self.fresh)]
        for noted in hashes:
            seen[noted & 0xFF_FFFF] = seen[noted >> 32 & 0xFF_FFFF] = 1
        run = [(noted & 0xFFFF_FFFF) << 32 | number for noted, number in zip(hashes, self.fresh.values(), strict=True)]
        for tag, numbers in self._fresh_again.items():
            start = (hash(tag) & 0xFFFF_FFFF) << 32
            run += [start | number for number in numbers]
        run.sort()
        self._runs.append(array("Q", run))
        self.fresh, self._fresh_again = {}, {}
        last = self._runs[-self.RUNS_MERGED :]
        if len(last) == self.RUNS_MERGED and len(last[0]) < 2 * self.FRESH_MAX:
            # Sorting sorted runs is merging them.
            self._runs[-self.RUNS_MERGED :] = [array("Q", sorted(chain.from_iterable(last)))]
