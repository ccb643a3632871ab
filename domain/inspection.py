"""Inspection (查验台账): an auditor draws a sample of service records, looks into each, and records what they find.

The sample is drawn by a method that anybody can repeat, from a seed that is public; seed, method, size of the log and
the records drawn are a fact. So is what became of each: inspected and in order, or a finding with its severity, which
staff answer and an auditor closes. Auditors have no part in what they inspect, and nobody else inspects.
(FIELD, "What no system surveyed does completely": a sample that anyone can reproduce, with findings as facts.)
"""

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain.community import require_reach
from domain.decision import Context, Decided, Decision, Fold, Question, Reading, read
from domain.disclosure import Period
from domain.dispute import WithText
from domain.fact import Fact
from domain.hours import HoursLogged, ServiceRecord, side_of
from domain.household import Person
from domain.identifiers import RecordId, has_control, looks_personal, new_number
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

METHOD: Final = "timebank-sample/v1"
DRAWN_MAX: Final = 500
"""So that the fact which names them is short enough to be evidence."""
SEED_CHARACTERS_MAX: Final = 200

Severity = Literal["minor", "moderate", "serious"]
SEVERITY_ZH: Final[dict[str, str]] = {"minor": "轻微", "moderate": "一般", "serious": "严重"}
Matter = Literal[
    "no-evidence", "wrong-time", "wrong-person", "not-served", "duplicate", "wrongly-confirmed", "late", "other"
]
MATTER_ZH: Final[dict[str, str]] = {
    "no-evidence": "缺少凭据",
    "wrong-time": "时间有误",
    "wrong-person": "人员有误",
    "not-served": "没有服务",
    "duplicate": "重复登记",
    "wrongly-confirmed": "确认不当",
    "late": "补登不当",
    "other": "其他",
}
Measure = Literal["corrected", "explained", "disagreed"]
MEASURE_ZH: Final[dict[str, str]] = {"corrected": "已更正", "explained": "已说明", "disagreed": "不认同"}
FindingOutcome = Literal["resolved", "accepted", "unfounded", "referred"]
OUTCOME_ZH: Final[dict[str, str]] = {
    "resolved": "已整改",
    "accepted": "接受说明",
    "unfounded": "不成立",
    "referred": "移交处理",
}


class SampleDrawn(Fact, frozen=True, omit_defaults=True):
    """So many of the service records that the log held up to ``size`` (a position), of one month or of all, were drawn
    with a public seed. ``population`` is how many there were to draw from; ``records`` are in the order of the draw.
    """

    type = "sample-drawn.v1"
    sample: str
    method: str
    seed: str
    size: int
    population: int
    records: tuple[str, ...]
    drawn_by: str
    period: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("sample:" + self.sample,)


class RecordInspected(Fact, frozen=True, omit_defaults=True):
    """An auditor looked into a record of a sample and found it in order."""

    type = "record-inspected.v1"
    sample: str
    record: str
    inspected_by: str

    def tags(self) -> tuple[str, ...]:
        return ("sample:" + self.sample,)


class FindingRecorded(Fact, frozen=True, omit_defaults=True):
    """An auditor found something wrong: with a record of a sample, another record, or no record in particular.
    ``community`` is the record's. What it is in words is in the vault."""

    type = "finding-recorded.v1"
    finding: str
    severity: Severity
    matter: Matter
    found_by: str
    sample: str | None = None
    record: str | None = None
    community: str | None = None
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        sample = () if self.sample is None else ("sample:" + self.sample,)
        return ("finding:" + self.finding, *sample)


class FindingAnswered(Fact, frozen=True, omit_defaults=True):
    """Staff said what they did about a finding."""

    type = "finding-answered.v1"
    finding: str
    measure: Measure
    answered_by: str
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("finding:" + self.finding,)


class FindingClosed(Fact, frozen=True, omit_defaults=True):
    """An auditor closed a finding, and said what came of it."""

    type = "finding-closed.v1"
    finding: str
    outcome: FindingOutcome
    closed_by: str
    text_digest: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("finding:" + self.finding,)


SampleFact = SampleDrawn | RecordInspected | FindingRecorded
FindingFact = FindingRecorded | FindingAnswered | FindingClosed


class Sample(msgspec.Struct, frozen=True):
    """A sample, and which of its records were inspected: found in order, or the subject of a finding."""

    sample: str
    drawn: SampleDrawn | None = None
    inspected: frozenset[str] = frozenset()

    @staticmethod
    def of(sample: str) -> "Reading[Sample]":
        return _sample.of(sample)


def _evolve_sample(state: Sample, fact: SampleFact) -> Sample:
    match fact:
        case SampleDrawn():
            return replace(state, drawn=fact)
        case RecordInspected():
            return replace(state, inspected=state.inspected | {fact.record})
        case FindingRecorded():
            inspected = frozenset() if fact.record is None else frozenset((fact.record,))
            return replace(state, inspected=state.inspected | inspected)


_sample = Fold[Sample]("sample", Sample, _evolve_sample, get_args(SampleFact))


class Finding(msgspec.Struct, frozen=True):
    """Where a finding stands."""

    finding: str
    recorded: FindingRecorded | None = None
    status: Literal["absent", "open", "answered", "closed"] = "absent"

    @staticmethod
    def of(finding: str) -> "Reading[Finding]":
        return _finding.of(finding)


def _evolve_finding(state: Finding, fact: FindingFact) -> Finding:
    match fact:
        case FindingRecorded():
            return Finding(state.finding, fact, "open")
        case FindingAnswered():
            return replace(state, status="answered")
        case FindingClosed():
            return replace(state, status="closed")


_finding = Fold[Finding]("finding", Finding, _evolve_finding, get_args(FindingFact))


# ── Drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def draw(ledger: str, seed: str, size: int, period: str | None, population: int, count: int) -> list[int]:
    """Which of so many things are drawn, by their index from 0 on, in the order they are drawn.

    For counter = 0, 1, 2, …: SHA-256 over the UTF-8 lines ``timebank-sample/v1``, ledger, size, period (empty for
    all), population, counter and seed, each but the last with a line end. Its first 8 bytes are a big-endian number.
    Where that is at least the largest multiple of the population that fits in 8 bytes, it is passed over, since the
    first indexes would otherwise be drawn more often; else the index is its remainder by the population, passed
    over if it was drawn before. It ends with ``count`` indexes, or when all are drawn.
    """
    beginning = f"{METHOD}\n{ledger}\n{size}\n{period or ''}\n{population}\n"
    wanted = min(count, population)
    limit = (1 << 64) - (1 << 64) % population if population else 0
    drawn: dict[int, None] = {}
    counter = 0
    while len(drawn) < wanted:
        digest = hashlib.sha256(f"{beginning}{counter}\n{seed}".encode()).digest()
        counter += 1
        number = int.from_bytes(digest[:8])
        if number < limit:
            drawn.setdefault(number % population)
    return list(drawn)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn from the service records that the log of a ledger held up to ``size``, in their order there."""

    ledger: str
    size: int
    population: int
    records: tuple[str, ...]


def draw_records(ledger: str, seed: str, size: int, period: str | None, population: Sequence[str], count: int) -> Drawn:
    """Draw from records that are in the order of their positions."""
    indexes = draw(ledger, seed, size, period, len(population), count)
    return Drawn(ledger, size, len(population), tuple(population[index] for index in indexes))


def _fit_seed(text: str) -> str:
    text = text.strip()
    if has_control(text):
        raise ValueError("不能包含控制字符或不可见字符 / must not contain control or invisible characters")
    if looks_personal(text):
        raise ValueError("疑似身份证号或手机号 / looks like an identity-card or mobile number")
    return text


Seed = Annotated[
    str,
    AfterValidator(_fit_seed),
    Field(
        min_length=1,
        max_length=SEED_CHARACTERS_MAX,
        description="Public, and known to nobody before the log had its size: such as the numbers of a lottery draw.",
    ),
]


class SampleWanted(BaseModel):
    """Draw so many service records, with a seed, of one month (by the day of service) or of all."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"example": {"seed": "双色球 2026137 期 03 08 14 21 27 30 + 11", "count": 50}},
    )

    sample: RecordId | None = None
    seed: Seed
    count: Annotated[int, Field(strict=True, ge=1, le=DRAWN_MAX)]
    period: Period | None = None


class DrawSample(SampleWanted):
    """As `SampleWanted`, with what was drawn: from what the log held then, and so no part of what is asked for."""

    drawn: Drawn = Field(exclude=True)


class InspectRecord(BaseModel):
    """Say that a record of a sample is in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: RecordId
    record: RecordId


class RecordFinding(WithText):
    """Say that something is wrong."""

    finding: RecordId | None = None
    severity: Severity
    matter: Matter
    sample: RecordId | None = None
    record: RecordId | None = None


class AnswerFinding(WithText):
    """Say what was done about a finding."""

    finding: RecordId
    measure: Measure


class CloseFinding(WithText):
    """Close a finding with what came of it."""

    finding: RecordId
    outcome: FindingOutcome


# ── Decisions ────────────────────────────────────────────────────────────────────────────────────────────────────


def draw_sample(command: DrawSample, context: Context) -> Decision:
    """Raises: LeftToAuditors, SampleAlreadyDrawn, NothingToSample, NotTheDraw."""
    _require_auditor(context)
    number = command.sample or new_number(context.command_id)
    sample = yield from read(Sample.of(number))
    if sample.drawn is not None:
        raise SampleAlreadyDrawn(number)
    drawn = command.drawn
    if not drawn.population:
        raise NothingToSample(command.period or "all")
    expected = min(command.count, drawn.population)
    if len(drawn.records) != expected or len(set(drawn.records)) != expected:
        raise NotTheDraw(number)
    fact = SampleDrawn(
        number,
        METHOD,
        command.seed,
        drawn.size,
        drawn.population,
        drawn.records,
        context.actor.id,
        command.period,
    )
    return Decided(0, (fact,))


def inspect_record(command: InspectRecord, context: Context) -> Decision:
    """Raises: LeftToAuditors, UnknownSample, RecordNotDrawn, RecordAlreadyInspected, UnknownRecord,
    InspectedByParty."""
    _require_auditor(context)
    sample = yield from _drawn(command.sample, command.record)
    if command.record in sample.inspected:
        raise RecordAlreadyInspected(command.sample, command.record)
    yield from _without_part(command.record, context)
    return Decided(0, (RecordInspected(command.sample, command.record, context.actor.id),))


def record_finding(command: RecordFinding, context: Context) -> Decision:
    """Also of a record that was found in order before: one looks again.

    Raises: LeftToAuditors, FindingAlreadyRecorded, UnknownSample, RecordNotDrawn, UnknownRecord, InspectedByParty.
    """
    _require_auditor(context)
    number = command.finding or new_number(context.command_id)
    finding = yield from read(Finding.of(number))
    if finding.recorded is not None:
        raise FindingAlreadyRecorded(number)
    if command.sample is not None:
        yield from _drawn(command.sample, command.record or "")
    community = None
    if command.record is not None:
        community = (yield from _without_part(command.record, context)).community
    fact = FindingRecorded(
        number,
        command.severity,
        command.matter,
        context.actor.id,
        command.sample,
        command.record,
        community,
        command.text_digest,
    )
    return Decided(0, (fact,))


def answer_finding(command: AnswerFinding, context: Context) -> Decision:
    """By staff whom it concerns; as often as there is something to say, until it is closed.

    Raises: UnknownFinding (also where it is outside the staff's community), AnsweredByAuditor, FindingAlreadyClosed.
    """
    recorded = yield from _recorded(command.finding, context)
    if context.actor.id == recorded.found_by or context.actor.role not in ("staff", "admin"):
        raise AnsweredByAuditor(command.finding, context.actor.id)
    fact = FindingAnswered(command.finding, command.measure, context.actor.id, command.text_digest)
    return Decided(0, (fact,))


def close_finding(command: CloseFinding, context: Context) -> Decision:
    """Once it is answered; what turned out to be unfounded needs no answer.

    Raises: LeftToAuditors, UnknownFinding, FindingAlreadyClosed, FindingNotAnswered, UnknownRecord, InspectedByParty.
    """
    _require_auditor(context)
    recorded = yield from _recorded(command.finding, context)
    finding = yield from read(Finding.of(command.finding))
    if finding.status == "open" and command.outcome != "unfounded":
        raise FindingNotAnswered(command.finding)
    if recorded.record is not None:
        yield from _without_part(recorded.record, context)
    fact = FindingClosed(command.finding, command.outcome, context.actor.id, command.text_digest)
    return Decided(0, (fact,))


def _require_auditor(context: Context) -> None:
    """Raises: LeftToAuditors."""
    if context.actor.role != "auditor":
        raise LeftToAuditors(context.actor.id)


def _drawn(number: str, record: str) -> Generator[Question, Any, Sample]:
    """A sample that a record was drawn in. Raises: UnknownSample, RecordNotDrawn."""
    sample = yield from read(Sample.of(number))
    if sample.drawn is None:
        raise UnknownSample(number)
    if record not in sample.drawn.records:
        raise RecordNotDrawn(number, record)
    return sample


def _without_part(number: str, context: Context) -> Generator[Question, Any, HoursLogged]:
    """A record in which the auditor has no part. Raises: UnknownRecord, InspectedByParty."""
    record, auditor = yield from read(ServiceRecord.of(number), Person.of(context.actor.id))
    logged = record.require()
    if auditor.person in record.parties or (yield from side_of(auditor, logged)) is not None:
        raise InspectedByParty(number, auditor.person)
    return logged


def _recorded(number: str, context: Context) -> Generator[Question, Any, FindingRecorded]:
    """A finding that isn't closed, for whom it concerns: one without a community is the district's.

    Raises: UnknownFinding, FindingAlreadyClosed."""
    finding = yield from read(Finding.of(number))
    if finding.recorded is None:
        raise UnknownFinding(number)
    require_reach(context, finding.recorded.community or "", UnknownFinding(number))
    if finding.status == "closed":
        raise FindingAlreadyClosed(number)
    return finding.recorded


@dataclass(unsafe_hash=True)
class LeftToAuditors(NotAllowed):
    person: str
    zh = "抽查、查验和结案由审核人员办理，“{person}”不是以审核人员的身份。"
    en = "Samples, inspections and the closing of findings are an auditor's; “{person}” doesn't act as one."


@dataclass(unsafe_hash=True)
class SampleAlreadyDrawn(AlreadyDone):
    sample: str
    zh = "抽样编号“{sample}”已被使用，请换一个或省略。"
    en = "The number “{sample}” of a sample is taken: choose another, or leave it out."


@dataclass(unsafe_hash=True)
class NothingToSample(AgainstRule):
    period: str
    zh = "没有可抽取的服务记录（{period}）。"
    en = "There is no service record to draw from ({period})."


@dataclass(unsafe_hash=True)
class NotTheDraw(AgainstRule):
    sample: str
    zh = "抽样“{sample}”的记录数与所要的不符。"
    en = "The sample “{sample}” doesn't have as many records as were asked for."


@dataclass(unsafe_hash=True)
class UnknownSample(Unknown):
    sample: str
    zh = "没有编号为“{sample}”的抽样。"
    en = "There is no sample “{sample}”."


@dataclass(unsafe_hash=True)
class RecordNotDrawn(AgainstRule):
    sample: str
    record: str
    zh = "服务记录“{record}”不在抽样“{sample}”中。"
    en = "The service record “{record}” was not drawn in the sample “{sample}”."


@dataclass(unsafe_hash=True)
class RecordAlreadyInspected(AlreadyDone):
    sample: str
    record: str
    zh = "抽样“{sample}”中的服务记录“{record}”已经查验。"
    en = "The service record “{record}” of the sample “{sample}” was inspected already."


@dataclass(unsafe_hash=True)
class InspectedByParty(NotAllowed):
    record: str
    person: str
    zh = "“{person}”与服务记录“{record}”有关（服务、登记、处理，或属有关的户），须由无关的审核人员办理。"
    en = (
        "“{person}” has a part in the service record “{record}” (served, logged or settled it, or is of a household on "
        "either side); another auditor must do it."
    )


@dataclass(unsafe_hash=True)
class FindingAlreadyRecorded(AlreadyDone):
    finding: str
    zh = "问题编号“{finding}”已被使用，请换一个或省略。"
    en = "The number “{finding}” of a finding is taken: choose another, or leave it out."


@dataclass(unsafe_hash=True)
class UnknownFinding(Unknown):
    finding: str
    zh = "没有编号为“{finding}”的问题。"
    en = "There is no finding “{finding}”."


@dataclass(unsafe_hash=True)
class FindingAlreadyClosed(AlreadyDone):
    finding: str
    zh = "问题“{finding}”已经结案。"
    en = "The finding “{finding}” is closed already."


@dataclass(unsafe_hash=True)
class AnsweredByAuditor(NotAllowed):
    finding: str
    person: str
    zh = "问题“{finding}”由工作人员答复；“{person}”是提出的人，或不是工作人员。"
    en = "The finding “{finding}” is for staff to answer; “{person}” found it, or isn't staff."


@dataclass(unsafe_hash=True)
class FindingNotAnswered(AgainstRule):
    finding: str
    zh = "问题“{finding}”还没有答复；不成立的可以直接结案。"
    en = "The finding “{finding}” isn't answered yet; only an unfounded one is closed without."
