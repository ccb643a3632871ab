"""What a policy would have done: history decided again under it, and who would be affected and by how much.

Two histories are folded side by side, fact by fact in the journal's order: the one that happened, and the one that is
supposed. Whatever a policy has a say in is decided again with the functions that decided it, against the states of the
supposed history: hours, requests with their holds, check-ins, disputes, reservations, transfers, donations, grants,
opening balances, expiry, and the closing of households. Where that comes to something else, it is decided once more
against what happened, under the policies that were in force: only if that gives the very facts of the journal is the
difference the new policy's doing. So the rules that are in force make no difference to their own history.

What follows from something that wouldn't have happened doesn't happen either, such as the collection of what was never
reserved. All other facts stand in both histories, and the report counts those that a policy had a say in. What was
refused at the time left no fact: a laxer policy shows none of what it would have let in. What time alone would have
done under the policy is shown as of the end: the records that silence would confirm, the minutes that would be
announced to lapse.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain, groupby
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from application.revival import LEADING, Revived, revive
from domain.account import (
    UNDECIDED,
    Account,
    CappedMinutesReturned,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesHeld,
    MinutesReleased,
    household_account,
)
from domain.decision import BY_TIME, Actor, Context, Decided, Decision, Fold, Reading, drive, read_all
from domain.expiry import AnnounceExpiry, ExpiryAnnounced, ExpiryCalledOff, Savings, announce_expiry
from domain.fact import Envelope, Fact, Movement, Recorded
from domain.facts import CONCEPTS
from domain.hours import (
    ConfirmHours,
    DisputeOpened,
    HoursLogged,
    HoursRejected,
    ImportHours,
    LogHours,
    RejectHours,
    RequestFulfilled,
    ReverseHours,
    ServiceRecord,
    SettleSilence,
    confirm,
    import_hours,
    log,
    reject,
    reverse,
    settle_silence,
)
from domain.household import Household, HouseholdClosed
from domain.journal import FactStore
from domain.policy import Policy, PolicyAdopted, PolicyBook, policy_book
from domain.refusal import Refusal
from domain.request import OfferAccepted, RequestAsked, RequestExpired, ServiceRequest

DECIDED_AGAIN: Final = (HoursLogged, HoursConfirmed, MinutesCapped, HoursRejected, HoursReversed, CappedMinutesReturned)
HOURS_AND_HOLDS: Final = (*DECIDED_AGAIN, MinutesReleased)
ROUNDED, CAPPED, HONOURED, PAID = "rounded", "above-cap", "honour", "payer"
"""Effects beside refusals, which have their rule's code: other minutes, more or less to the pool or as an honour, and
another account that pays."""
OTHER_MINUTES, OTHER_TERMS = "other-minutes", "other-terms"
"""Effects on what isn't hours: other minutes, or other days or accounts."""
BY_SILENCE, LAPSING = "confirmed-by-silence", "would-lapse"
"""What time alone would do at the end of the history."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SUBJECTS: Final = ("record", "request", "reservation", "dispute", "visit")
"""The prefixes of tags whose facts follow from the first of them."""


class Effect(msgspec.Struct):
    """What the policy would have done to records for one reason: ``code`` is a refusal's, or one of the four above.

    Minutes are those of the service; for ``above-cap`` and ``honour`` those that were not left to the household.
    """

    code: str
    records: int = 0
    minutes_before: int = 0
    minutes_after: int = 0


class AffectedRecord(msgspec.Struct, frozen=True, gc=False):
    """One record and one effect on it."""

    record: str
    volunteer: str
    account: str
    day: date
    code: str
    minutes_before: int
    minutes_after: int


class OtherEffect(msgspec.Struct):
    """What the policy would have done to decisions of one kind, named by their first fact, for one reason.

    Minutes are those that moved, or that were held where none did.
    """

    type: str
    code: str
    decisions: int = 0
    minutes_before: int = 0
    minutes_after: int = 0


class AffectedDecision(msgspec.Struct, frozen=True, gc=False):
    """One decision that isn't about hours, and the effect on it; position 0 is what time would do at the end."""

    position: int
    type: str
    account: str
    day: date
    code: str
    minutes_before: int
    minutes_after: int


class Sums(msgspec.Struct):
    """What service came to in one history, in minutes: for one account, or all of them."""

    credited_minutes: int = 0
    capped_minutes: int = 0
    honour_minutes: int = 0
    paid_minutes: int = 0
    balance_minutes: int = 0


class AffectedAccount(msgspec.Struct):
    """A household (or a group, or a pool) as it is, and as it would be."""

    account: str
    records: int
    before: Sums
    after: Sums
    decisions: int = 0
    """Affected decisions that aren't about hours."""

    @property
    def change_minutes(self) -> int:
        """The larger of the changes to what it was credited and to what it holds."""
        return max(
            abs(self.after.credited_minutes - self.before.credited_minutes),
            abs(self.after.balance_minutes - self.before.balance_minutes),
        )


class Uncovered(msgspec.Struct):
    """Facts of one type that would have overdrawn an account."""

    facts: int = 0
    minutes: int = 0


class Setting(msgspec.Struct, frozen=True):
    setting: str
    adopted: Any
    supposed: Any


class DryRunReport(msgspec.Struct):
    """Who would be affected and by how much, the largest changes first."""

    position: int
    facts: int
    settings: list[Setting]
    """Where the policy differs from the last one that is adopted."""
    records: int
    """Records whose logging was decided again."""
    records_affected: int
    volunteers_affected: int
    households_affected: int
    effects: list[Effect]
    total_before: Sums
    total_after: Sums
    accounts: list[AffectedAccount]
    affected: list[AffectedRecord]
    other_effects: list[OtherEffect]
    affected_decisions: list[AffectedDecision]
    follows: dict[str, int]
    """Facts, by type, that only follow from something that wouldn't have happened."""
    uncovered: dict[str, Uncovered]
    """Movements, by type, that stand in both histories and would have overdrawn an account in the supposed one."""
    not_decided_again: dict[str, int]
    """Facts, by type, that a policy had a say in and that stand as they happened."""
    kept: dict[str, int]
    """Facts on hours, by type, that stand as they happened since other rules than those of hours decided them."""


class _Step(NamedTuple):
    """One decision that was made on a record, and the facts that followed."""

    decide: Callable[[Any, Context], Decision]
    command: Any
    actor: str
    facts: tuple[Fact, ...]


class DryRun:
    """A fold over the facts of whole commands in their order; days (of service) bound where the policy is supposed."""

    def __init__(self, policy: Policy, zone: tzinfo, since: date | None = None, until: date | None = None) -> None:
        self._policy, self._zone, self._since, self._until = policy, zone, since, until
        # Hours are decided by the folds of the first concepts; a later fold over the same tags serves other decisions.
        self._folds: dict[str, Fold[Any]] = {}
        self._later: dict[str, list[Fold[Any]]] = {}
        for fold in _all_folds():
            first = self._folds.setdefault(fold.prefix, fold)
            if fold is not first and fold not in (later := self._later.setdefault(fold.prefix, [])):
                later.append(fold)
        self._later_folds = {fold for folds in self._later.values() for fold in folds}
        self._states: dict[Any, Any] = {}
        self._supposed: dict[Any, Any] = {}
        """States by tag (of a later fold: by reading), of the supposed history only where it went another way."""
        self._book = self._supposed_book(PolicyBook())
        self._unlogged: set[str] = set()
        self._before: dict[str, Sums] = {}
        self._after: dict[str, Sums] = {}
        self._effects: dict[str, Effect] = {}
        self._affected: list[AffectedRecord] = []
        self._never: set[str] = set()
        """What didn't happen in the supposed history: subjects by tag, holds and announcements."""
        self._other_holds: dict[str, MinutesHeld | None] = {}
        """Holds that are others in the supposed history."""
        self._recorded_at: dict[str, int] = {}
        """When each record was last logged or settled, as the journal recorded it; microseconds."""
        self._logged_at: dict[str, datetime] = {}
        """When those records were logged that silence confirmed."""
        self._now = EPOCH
        self._other_effects: dict[tuple[str, str], OtherEffect] = {}
        self._affected_decisions: list[AffectedDecision] = []
        self._follows: Counter[str] = Counter()
        self._uncovered: dict[str, Uncovered] = {}
        self._not_decided_again: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._records = 0
        self.position = 0

    def fold(self, command: Sequence[Recorded[Any]]) -> None:
        """Everything that one command recorded."""
        self.position = command[-1].position
        self._now = command[-1].envelope.decided_at
        records: dict[str, list[Fact]] = {}
        others: list[Fact] = []
        released: list[Fact] = []
        for recorded in command:
            fact = recorded.envelope.fact
            if isinstance(fact, DECIDED_AGAIN):
                records.setdefault(fact.record, []).extend((*released, fact))
                released = []
                self._note_time(fact, recorded.recorded_at_microseconds)
            elif isinstance(fact, MinutesReleased) and fact.hold.startswith("request:"):
                released.append(fact)  # of the record that is settled next, if one is
            else:
                others += (*released, fact)
                released = []
        others += released
        lead = next((fact for fact in others if not isinstance(fact, MinutesReleased)), None)
        whole = tuple(others) if isinstance(lead, LEADING) else ()
        logged = next((f for facts in records.values() for f in facts if isinstance(f, HoursLogged)), None)
        by_itself = {id(fact) for fact in others}
        for recorded in command:
            envelope, fact = recorded.envelope, recorded.envelope.fact
            if isinstance(fact, DECIDED_AGAIN):
                if facts := records.pop(fact.record, None):
                    self._decide_again(envelope, fact.record, facts)
            elif whole and fact is whole[0]:
                self._decide_whole(recorded, whole, logged)
            elif not whole and id(fact) in by_itself:
                self._stands(envelope)

    def _note_time(self, fact: Fact, microseconds: int) -> None:
        """When a record was logged and settled, as the journal recorded it."""
        match fact:
            case HoursLogged():
                self._recorded_at[fact.record] = microseconds
            case HoursConfirmed() | HoursRejected():
                if isinstance(fact, HoursConfirmed) and fact.confirmed_as == "silence":
                    self._logged_at[fact.record] = self._settled_at(fact.record)
                self._recorded_at[fact.record] = microseconds

    def report(self) -> DryRunReport:
        accounts = [
            AffectedAccount(name, records, before, after)
            for name, records, before, after in self._accounts()
            if records or before != after
        ]
        self._count_decisions(accounts)
        accounts.sort(key=lambda each: (-each.change_minutes, -each.records, -each.decisions, each.account))
        book: PolicyBook = self._states.get(policy_book.tag, PolicyBook())
        total_before, total_after = self._totals()
        return DryRunReport(
            position=self.position,
            facts=self.position,
            settings=_changed(book.versions[-1].policy if book.versions else Policy(), self._policy),
            records=self._records,
            records_affected=len({each.record for each in self._affected}),
            volunteers_affected=len({each.volunteer for each in self._affected}),
            households_affected=sum(each.account.startswith("household:") for each in accounts),
            effects=sorted(self._effects.values(), key=lambda each: (-each.records, each.code)),
            total_before=total_before,
            total_after=total_after,
            accounts=accounts,
            affected=sorted(
                self._affected, key=lambda each: (-abs(each.minutes_after - each.minutes_before), each.record)
            ),
            other_effects=sorted(
                self._other_effects.values(), key=lambda each: (-each.decisions, each.type, each.code)
            ),
            affected_decisions=sorted(
                self._affected_decisions,
                key=lambda each: (-abs(each.minutes_after - each.minutes_before), each.position, each.account),
            ),
            follows=dict(sorted(self._follows.items())),
            uncovered=self._uncovered,
            not_decided_again=dict(sorted(self._not_decided_again.items())),
            kept=dict(sorted(self._kept.items())),
        )

    def _count_decisions(self, accounts: list[AffectedAccount]) -> None:
        """Note at each account how many other decisions are affected, also where that changes no balance."""
        by_name = {each.account: each for each in accounts}
        for affected in self._affected_decisions:
            if not affected.account:
                continue
            if (account := by_name.get(affected.account)) is None:
                state: Account = self._state(Account.of(affected.account))
                same = replace(self._before.get(affected.account, Sums()), balance_minutes=state.balance_minutes)
                account = by_name[affected.account] = AffectedAccount(affected.account, 0, same, same)
                accounts.append(account)
            account.decisions += 1

    def _accounts(self) -> Iterator[tuple[str, int, Sums, Sums]]:
        """Every account that minutes came to or left, with how many of its records are affected."""
        records = Counter(each.account for each in {each.record: each for each in self._affected}.values())
        tags = (key for key in chain(self._states, self._supposed) if isinstance(key, str))
        names = {tag for tag in tags if tag.startswith("account:")}
        for name in {tag.removeprefix("account:") for tag in names} | records.keys():
            before, after = self._before.get(name, Sums()), self._after.get(name, Sums())
            now: Account = self._state(Account.of(name))
            supposed: Account = self._supposed_state(Account.of(name))
            yield (
                name,
                records[name],
                replace(before, balance_minutes=now.balance_minutes),
                replace(after, balance_minutes=supposed.balance_minutes),
            )

    def _totals(self) -> tuple[Sums, Sums]:
        """What all service came to, and what all households hold."""
        totals = Sums(), Sums()
        for name, _, *both in self._accounts():
            for total, sums in zip(totals, both, strict=True):
                total.credited_minutes += sums.credited_minutes
                total.capped_minutes += sums.capped_minutes
                total.honour_minutes += sums.honour_minutes
                total.paid_minutes += sums.paid_minutes
                total.balance_minutes += sums.balance_minutes if name.startswith("household:") else 0
        return totals

    # ── Both histories ───────────────────────────────────────────────────────────────────────────────────────────────

    def _key(self, reading: Reading[Any]) -> Any:
        return reading if reading.fold in self._later_folds else reading.tag

    def _state(self, reading: Reading[Any]) -> Any:
        state = self._states.get(self._key(reading))
        return reading.fold.start(reading.tag) if state is None else state

    def _supposed_state(self, reading: Reading[Any]) -> Any:
        if reading.tag == policy_book.tag:
            return self._book
        state = self._supposed.get(self._key(reading))
        return self._state(reading) if state is None else state

    def _happened_and_would(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            for key, reading in self._readings(fact):
                if (supposed := self._supposed.get(key)) is not None:
                    self._supposed[key] = reading.fold.evolve(supposed, fact)
                self._states[key] = reading.fold.evolve(self._state(reading), fact)
            _sum(self._before, fact, self._state)
            _sum(self._after, fact, self._supposed_state)

    def _happened(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            for key, reading in self._readings(fact):
                state = self._state(reading)
                self._supposed.setdefault(key, state)
                self._states[key] = reading.fold.evolve(state, fact)
            _sum(self._before, fact, self._state)

    def _would(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            for key, reading in self._readings(fact):
                self._supposed[key] = reading.fold.evolve(self._supposed_state(reading), fact)
            _sum(self._after, fact, self._supposed_state)

    def _readings(self, fact: Fact) -> Iterator[tuple[Any, Reading[Any]]]:
        """What a fact belongs to, with the key under which its state is kept."""
        for tag in fact.tags():
            prefix = tag[: tag.index(":")]
            if (fold := self._folds.get(prefix)) is not None:
                yield tag, Reading(fold, tag)
                for later in self._later.get(prefix, ()):
                    if isinstance(fact, later.fact_types):
                        reading = Reading(later, tag)
                        yield reading, reading

    def _supposed_book(self, book: PolicyBook) -> PolicyBook:
        """The versions that were adopted, and in their place between the bounds the one that is supposed."""
        first = self._since or date.min
        versions = [adopted for adopted in book.versions if adopted.effective_on < first]
        versions.append(PolicyAdopted(0, first, self._policy))
        if self._until is not None:
            end = self._until + timedelta(days=1)
            later = [adopted for adopted in book.versions if adopted.effective_on > end]
            in_force = [adopted for adopted in book.versions if adopted.effective_on <= end][-1:]
            versions += [*(replace(adopted, effective_on=end) for adopted in in_force), *later]
        return PolicyBook(tuple(versions))

    # ── One fact after another ───────────────────────────────────────────────────────────────────────────────────────

    def _stands(self, envelope: Envelope[Any]) -> None:
        fact = envelope.fact
        if self._never and not self._never.isdisjoint(_subjects(fact)):
            self._follows[fact.type] += 1
            self._happened((fact,))
            return
        if isinstance(fact, MinutesReleased) and fact.hold in self._other_holds:
            self._release_other(fact)
            return
        if isinstance(fact, RequestFulfilled):
            self._fulfilled(fact)
            return
        self._happened_and_would((fact,))
        if isinstance(fact, PolicyAdopted):
            self._book = self._supposed_book(self._states[policy_book.tag])
        if envelope.policy and not envelope.imported:
            self._not_decided_again[fact.type] += 1
        self._check_cover(fact)

    def _check_cover(self, fact: Fact) -> None:
        """Count what stands and would have overdrawn an account in the supposed history alone."""
        if isinstance(fact, Movement) and fact.source not in UNDECIDED:
            source = Account.of(fact.source)
            supposed = self._supposed_state(source).balance_minutes
            if supposed < min(0, self._state(source).balance_minutes):
                uncovered = self._uncovered.setdefault(fact.type, Uncovered())
                uncovered.facts += 1
                uncovered.minutes += min(fact.minutes, -supposed)

    def _release_other(self, released: MinutesReleased) -> None:
        """What was held is released, and in the supposed history what was held there."""
        self._happened((released,))
        held = self._other_holds.pop(released.hold)
        if held is not None:
            self._would((replace(released, account=held.account, minutes=held.minutes),))

    def _fulfilled(self, fact: RequestFulfilled) -> None:
        """A request was done: what it holds until its record is settled is what was held for it, in each history."""
        terms, supposed = (
            look_up(ServiceRequest.of(fact.request)).terms for look_up in (self._state, self._supposed_state)
        )
        if terms is None or supposed is None or terms.held_minutes == supposed.held_minutes:
            self._happened_and_would((fact,))
        else:
            self._happened((fact,))
            self._would((replace(fact, held_minutes=supposed.held_minutes),))

    def _decide_whole(self, recorded: Recorded[Any], facts: tuple[Fact, ...], logged: HoursLogged | None) -> None:
        """What one command decided beside the hours that it logged, if it did."""
        envelope = recorded.envelope
        if self._never and any(not self._never.isdisjoint(_subjects(fact)) for fact in facts):
            self._follows.update(fact.type for fact in facts)
            self._happened(facts)
            return
        revived = revive(facts, self._settled_at, logged)
        if revived is None:
            for fact in facts:
                self._stands(msgspec.structs.replace(envelope, fact=fact))
            return
        context = Context(Actor(envelope.actor, "admin"), envelope.decided_at, envelope.command, self._zone)
        would = _revived(revived, context, facts, self._supposed_state)
        if would == facts:
            self._happened_and_would(facts)
            for fact in facts:
                self._check_cover(fact)
            return
        if _revived(revived, context, facts, self._state) != facts:
            for fact in facts:
                self._stands(msgspec.structs.replace(envelope, fact=fact))
            return
        self._happened(facts)
        self._note_holds(facts, () if isinstance(would, Refusal) else would)
        account, day = self._account_of(facts), envelope.decided_at.astimezone(self._zone).date()
        if isinstance(would, Refusal):
            if not revived.of_its_own or isinstance(would, revived.of_its_own):
                self._never.update(revived.subjects)
                self._affect_decision(recorded.position, facts, account, day, would.code, ())
            return
        self._would(would)
        same = _minutes(facts) == _minutes(would)
        self._affect_decision(recorded.position, facts, account, day, OTHER_TERMS if same else OTHER_MINUTES, would)

    def _settled_at(self, record: str) -> datetime:
        return EPOCH + timedelta(microseconds=self._recorded_at.get(record, 0))

    def _note_holds(self, facts: tuple[Fact, ...], would: tuple[Fact, ...]) -> None:
        """Remember the holds that are made in one history and not, or otherwise, in the other."""
        made, supposed = ({f.hold: f for f in each if isinstance(f, MinutesHeld)} for each in (facts, would))
        for hold in made.keys() | supposed.keys():
            if made.get(hold) != supposed.get(hold):
                self._other_holds[hold] = supposed.get(hold)

    def _account_of(self, facts: tuple[Fact, ...]) -> str:
        """Whom a decision concerns first: the account that pays or is paid, or that of the household it is about."""
        for fact in facts:
            match fact:
                case Movement():
                    return fact.target if fact.source in UNDECIDED or fact.source.startswith("pool:") else fact.source
                case MinutesHeld():
                    return fact.account
        match facts[0]:
            case RequestAsked(household=household) | HouseholdClosed(household=household):
                return household_account(household)
            case ExpiryAnnounced(household=household) | ExpiryCalledOff(household=household):
                return household_account(household)
            case DisputeOpened(record=record):
                logged = self._state(ServiceRecord.of(record)).logged
                return "" if logged is None else household_account(logged.household)
            case OfferAccepted(request=request) | RequestExpired(request=request):
                terms = self._state(ServiceRequest.of(request)).terms
                return "" if terms is None else household_account(terms.household)
            case _:
                return ""

    def _affect_decision(
        self, position: int, facts: tuple[Fact, ...], account: str, day: date, code: str, would: tuple[Fact, ...]
    ) -> None:
        kind = next(fact.type for fact in facts if isinstance(fact, LEADING))
        before, after = _minutes(facts), _minutes(would)
        self._note(AffectedDecision(position, kind, account, day, code, before, after))

    def _note(self, affected: AffectedDecision) -> None:
        key = affected.type, affected.code
        effect = self._other_effects.setdefault(key, OtherEffect(*key))
        effect.decisions += 1
        effect.minutes_before += affected.minutes_before
        effect.minutes_after += affected.minutes_after
        self._affected_decisions.append(affected)

    # ── What time alone would do at the end ──────────────────────────────────────────────────────────────────────────

    def fall_due(self, now: datetime | None = None) -> None:
        """Have silence settle what it would by now (None: when the last fact was decided), and see what would lapse."""
        context = Context(Actor(BY_TIME, "admin"), now or self._now, "0" * 32, self._zone)
        policies = [adopted.policy for adopted in (*self._book.versions, *self._adopted().versions)]
        if any(policy.silence_days is not None for policy in policies):
            for record in [*self._recorded_at]:
                self._fall_silent(record, context)
        if any(policy.expiry_months is not None for policy in policies):
            names = sorted({key.tag for key in (*self._states, *self._supposed) if isinstance(key, Reading)})
            for tag in names:
                if tag.startswith("account:household:"):
                    self._lapse(tag.removeprefix("account:household:"), context)

    def _adopted(self) -> PolicyBook:
        book: PolicyBook = self._states.get(policy_book.tag, PolicyBook())
        return book

    def _fall_silent(self, record: str, context: Context) -> None:
        reading = ServiceRecord.of(record)
        happened, supposed = self._state(reading), self._supposed_state(reading)
        if "logged" not in (happened.status, supposed.status) or happened.logged is None:
            return
        command = SettleSilence.model_construct(record=record, logged_at=self._settled_at(record))
        before, after = (
            _drive(settle_silence(command, context), look_up) for look_up in (self._state, self._supposed_state)
        )
        if happened.status == "logged" and isinstance(before, tuple):
            self._happened(before)
        if supposed.status == "logged" and isinstance(after, tuple):
            self._would(after)
        minutes = _minutes(before), _minutes(after)
        if happened.status == supposed.status == "logged" and minutes[0] != minutes[1]:
            account, day = household_account(happened.logged.household), happened.logged.started_at.date()
            self._note(AffectedDecision(0, HoursConfirmed.type, account, day, BY_SILENCE, *minutes))

    def _lapse(self, household: str, context: Context) -> None:
        account = household_account(household)
        minutes = []
        for look_up in (self._state, self._supposed_state):
            records = tuple(look_up(Savings.of(account)).left())
            command = AnnounceExpiry.model_construct(household=household, records=records)
            announced = _drive(announce_expiry(command, context), look_up)
            found = announced if isinstance(announced, tuple) else ()
            minutes.append(sum(fact.minutes for fact in found if isinstance(fact, ExpiryAnnounced)))
        if minutes[0] != minutes[1]:
            day = context.now.astimezone(self._zone).date()
            self._note(AffectedDecision(0, ExpiryAnnounced.type, account, day, LAPSING, *minutes))

    def _decide_again(self, envelope: Envelope[Any], record: str, facts: list[Fact]) -> None:
        self._records += isinstance(facts[0], HoursLogged)
        for step in self._steps(envelope, facts):
            if record in self._unlogged or "record:" + record in self._never:
                self._unlogged.add(record)
                self._happened(step.facts)
                continue
            context = Context(Actor(step.actor, "admin"), envelope.decided_at, envelope.command, self._zone)
            would = _decided(step, context, self._supposed_state)
            if would == step.facts:
                self._happened_and_would(step.facts)
            elif _decided(step, context, self._state) != step.facts:
                self._keep(record, step.facts)
            else:
                self._differs(record, step.facts, would)

    def _keep(self, record: str, facts: tuple[Fact, ...]) -> None:
        """Facts that other rules decided stand; but a reversal undoes what the record was credited, in each history."""
        self._kept.update(fact.type for fact in facts)
        supposed = self._supposed_state(ServiceRecord.of(record))
        if not any(isinstance(fact, HoursReversed) for fact in facts) or supposed == self._state(
            ServiceRecord.of(record)
        ):
            self._happened_and_would(facts)
            return
        self._happened(facts)
        credited, capped = supposed.confirmed, supposed.capped
        for fact in facts:
            if isinstance(fact, HoursReversed) and credited is not None:
                self._would((replace(fact, source=credited.target, target=credited.source, minutes=credited.minutes),))
            elif isinstance(fact, CappedMinutesReturned) and capped is not None:
                self._would((replace(fact, source=capped.target, target=capped.source, minutes=capped.minutes),))

    def _differs(self, record: str, facts: tuple[Fact, ...], would: tuple[Fact, ...] | Refusal) -> None:
        self._happened(facts)
        if not isinstance(would, Refusal):
            self._would(would)
        logged: HoursLogged = self._states["record:" + record].logged
        if isinstance(would, Refusal):
            if isinstance(facts[0], HoursLogged):
                self._unlogged.add(record)
                self._never.add("record:" + record)
            if isinstance(facts[0], HoursLogged | HoursConfirmed):
                self._affect(logged, would.code, logged.service_minutes, 0)
            return  # what can't be rejected or reversed since it wasn't confirmed is no effect of its own
        for code, kind, minutes_of in _COMPARED:
            before, after = (sum(minutes_of(f) for f in each if isinstance(f, kind)) for each in (facts, would))
            if before != after:
                self._affect(logged, code, before, after)
        paid, would_pay = ([f for f in each if isinstance(f, HoursConfirmed)] for each in (facts, would))
        if [f.source for f in paid] != [f.source for f in would_pay]:
            self._affect(logged, PAID, sum(f.minutes for f in paid), sum(f.minutes for f in would_pay))

    def _affect(self, logged: HoursLogged, code: str, minutes_before: int, minutes_after: int) -> None:
        effect = self._effects.setdefault(code, Effect(code))
        effect.records += 1
        effect.minutes_before += minutes_before
        effect.minutes_after += minutes_after
        account, day = "household:" + logged.household, logged.started_at.date()
        self._affected.append(
            AffectedRecord(logged.record, logged.volunteer, account, day, code, minutes_before, minutes_after)
        )

    def _steps(self, envelope: Envelope[Any], facts: list[Fact]) -> Iterator[_Step]:
        """The decisions that made one command's facts on one record, as the commands that would ask for them now."""
        if envelope.imported and isinstance(facts[0], HoursLogged):
            yield self._imported(facts[0], facts)
            return
        for kind, same in _by_decision(facts):
            match next((fact for fact in same if type(fact) is kind), None):
                case HoursLogged() as fact:
                    yield _Step(log, _claim(fact), fact.logged_by, same)
                case HoursConfirmed() as fact if fact.confirmed_as == "silence":
                    logged_at = self._logged_at.get(fact.record, envelope.decided_at)
                    silent = SettleSilence.model_construct(record=fact.record, logged_at=logged_at)
                    yield _Step(settle_silence, silent, fact.confirmed_by, same)
                case HoursConfirmed() as fact:
                    yield _Step(confirm, ConfirmHours.model_construct(record=fact.record), fact.confirmed_by, same)
                case HoursRejected() as fact:
                    rejected = RejectHours.model_construct(record=fact.record, reason=fact.reason)
                    yield _Step(reject, rejected, fact.rejected_by, same)
                case HoursReversed() as fact:
                    reversed_ = ReverseHours.model_construct(record=fact.record, reason=fact.reason)
                    yield _Step(reverse, reversed_, fact.reversed_by, same)
                case _:  # no decision on hours makes only this
                    yield _Step(_undecidable, None, "", same)

    def _imported(self, logged: HoursLogged, facts: list[Fact]) -> _Step:
        """The row of older books that was imported; who and what is new in it is registered already."""
        confirmed_by, status = None, "logged"
        for fact in facts:
            match fact:
                case HoursConfirmed():
                    confirmed_by, status = fact.confirmed_by, "confirmed"
                case HoursRejected():
                    confirmed_by, status = fact.rejected_by, "rejected"
                case HoursReversed():
                    status = "reversed"
        row = ImportHours(
            record=logged.record,
            volunteer=logged.volunteer,
            household=logged.household,
            household_community=self._state(Household.of(logged.household)).community or logged.community,
            recipient_household=logged.recipient_household,
            community=logged.community,
            grid=logged.grid,
            service=logged.service,
            started_at=logged.started_at,
            ended_at=logged.ended_at,
            minutes=logged.claimed_minutes,
            confirmed_by=confirmed_by,
            status=status,  # type: ignore[arg-type]
        )
        return _Step(import_hours, row, logged.logged_by, tuple(facts))


def dry_run(
    store: FactStore,
    policy: Policy,
    zone: tzinfo,
    since: date | None = None,
    until: date | None = None,
    progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> DryRunReport:
    """Replay the journal under a policy that is supposed on the days from ``since`` to ``until``: for service begun on
    them, and for everything else that was decided on them. ``now`` is when the history ends (None: with its last fact).

    Raises: what the store raises for facts that can't be read.
    """
    run = DryRun(policy, zone, since, until)

    def facts() -> Iterator[Recorded[Any]]:
        for batch in store.scan():
            position = 0
            for recorded in batch:
                position = recorded.position
                yield recorded
            if progress is not None:
                progress(position)

    for _, command in groupby(facts(), lambda recorded: recorded.envelope.command):
        run.fold(tuple(command))
    run.fall_due(now)
    return run.report()


def _decided(step: _Step, context: Context, look_up: Callable[[Reading[Any]], Any]) -> tuple[Fact, ...] | Refusal:
    """What a step comes to; what no policy has a say in is taken from the facts that happened."""
    try:
        decided = drive(step.decide(step.command, context), look_up).facts
    except Refusal as refusal:
        return refusal
    if decided == step.facts:
        return decided
    return tuple(_as_it_happened(fact, step.facts) for fact in decided if isinstance(fact, HOURS_AND_HOLDS))


def _revived(
    revived: Revived, context: Context, facts: tuple[Fact, ...], look_up: Callable[[Reading[Any]], Any]
) -> tuple[Fact, ...] | Refusal:
    """What a revived command comes to, without the facts on hours, which are decided by themselves."""
    decided = _drive(revived.decide(revived.command, context), look_up)
    if isinstance(decided, Refusal):
        return decided
    return tuple(revived.as_it_happened(fact, facts) for fact in decided if not isinstance(fact, DECIDED_AGAIN))


def _drive(decision: Decision, look_up: Callable[[Reading[Any]], Any]) -> tuple[Fact, ...] | Refusal:
    try:
        return drive(decision, look_up).facts
    except Refusal as refusal:
        return refusal


def _minutes(facts: tuple[Fact, ...] | Refusal) -> int:
    """The minutes that facts move, or hold where they move none."""
    if isinstance(facts, Refusal):
        return 0
    moved = [fact.minutes for fact in facts if isinstance(fact, Movement)]
    return sum(moved) if moved else sum(fact.minutes for fact in facts if isinstance(fact, MinutesHeld))


def _subjects(fact: Fact) -> set[str]:
    """What a fact follows from: the first fact of its subject, its hold, or its announcement."""
    found = {tag for tag in fact.tags() if tag[: tag.index(":")] in SUBJECTS}
    if isinstance(fact, MinutesHeld | MinutesReleased):
        found.add(fact.hold)
    elif (announcement := getattr(fact, "announcement", None)) is not None:
        found.add("announcement:" + announcement)
    return found


def _by_decision(facts: list[Fact]) -> Iterator[tuple[type[Fact], tuple[Fact, ...]]]:
    """One command's facts on one record by the decision that made them; a release belongs to what comes after it."""
    released: tuple[Fact, ...] = ()
    for kind, each in groupby(facts, _settles):
        if kind is MinutesReleased:
            released = tuple(each)
        else:
            yield kind, (*released, *each)
            released = ()


def _as_it_happened(fact: Fact, facts: tuple[Fact, ...]) -> Fact:
    like = next((each for each in facts if type(each) is type(fact)), fact)
    match fact:
        case HoursLogged():
            return replace(like, service_minutes=fact.service_minutes)
        case HoursConfirmed():
            moved = {"source": fact.source, "target": fact.target, "minutes": fact.minutes}
            return replace(like, **moved, honour_minutes=fact.honour_minutes)
        case Movement():
            return replace(like, source=fact.source, target=fact.target, minutes=fact.minutes)
        case MinutesReleased():
            return fact
        case _:
            return like


def _undecidable(_: None, __: Context) -> Decision:
    """What none of the decisions on hours comes to: nothing."""
    yield from read_all(())
    return Decided(0, ())


def _settles(fact: Fact) -> type[Fact]:
    """The fact that names the decision which this one belongs to."""
    match fact:
        case MinutesCapped():
            return HoursConfirmed
        case CappedMinutesReturned():
            return HoursReversed
        case _:
            return type(fact)


def _claim(logged: HoursLogged) -> LogHours:
    return LogHours.model_construct(
        record=logged.record,
        volunteer=logged.volunteer,
        recipient_household=logged.recipient_household,
        community=logged.community,
        grid=logged.grid,
        service=logged.service,
        started_at=logged.started_at,
        ended_at=logged.ended_at,
        minutes=logged.claimed_minutes,
        late_reason=logged.late_reason,
    )


_COMPARED: Final[tuple[tuple[str, type[Fact], Callable[[Any], int]], ...]] = (
    (ROUNDED, HoursLogged, lambda fact: fact.service_minutes),
    (CAPPED, MinutesCapped, lambda fact: fact.minutes),
    (HONOURED, HoursConfirmed, lambda fact: fact.honour_minutes),
)


def _sum(sums: dict[str, Sums], fact: Fact, look_up: Callable[[Reading[Any]], Any]) -> None:
    """Add what a fact on hours says to the sums of the accounts that it names."""
    match fact:
        case HoursConfirmed():
            earner = sums.get(fact.target) or sums.setdefault(fact.target, Sums())
            earner.credited_minutes += fact.minutes
            earner.honour_minutes += fact.honour_minutes
            if fact.source not in UNDECIDED:
                sums.setdefault(fact.source, Sums()).paid_minutes += fact.minutes
        case HoursReversed():
            earner = sums.setdefault(fact.source, Sums())
            earner.credited_minutes -= fact.minutes
            confirmed: HoursConfirmed | None = look_up(ServiceRecord.of(fact.record)).confirmed
            earner.honour_minutes -= 0 if confirmed is None else confirmed.honour_minutes
            if fact.target not in UNDECIDED:
                sums.setdefault(fact.target, Sums()).paid_minutes -= fact.minutes
        case MinutesCapped():
            sums.setdefault(fact.source, Sums()).capped_minutes += fact.minutes
        case CappedMinutesReturned():
            sums.setdefault(fact.target, Sums()).capped_minutes -= fact.minutes


def _changed(adopted: Policy, supposed: Policy) -> list[Setting]:
    now, then = asdict(adopted), asdict(supposed)
    return [Setting(name, now[name], then[name]) for name in now if now[name] != then[name]]


def _all_folds() -> Iterator[Fold[Any]]:
    """Every fold that the domain's concepts define."""
    for module in CONCEPTS:
        for value in vars(module).values():
            fold = value.fold if isinstance(value, Reading) else value
            if isinstance(fold, Fold):
                yield fold
