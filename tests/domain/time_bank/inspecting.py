"""Inspection: samples, records found in order, and findings that staff answer and auditors close."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.decision import Actor
from domain.inspection import (
    AnswerFinding,
    CloseFinding,
    DrawSample,
    FindingAnswered,
    FindingClosed,
    FindingRecorded,
    InspectRecord,
    RecordFinding,
    RecordInspected,
    SampleDrawn,
    answer_finding,
    close_finding,
    draw_records,
    draw_sample,
    inspect_record,
    record_finding,
)
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import HoursModel, HoursRules
from tests.domain.time_bank.leading import INDEX, RIGHT, STAFF, pick

AUDITORS = st.sampled_from([*[Actor("U1", "auditor")] * 6, Actor("P1", "auditor"), Actor("A1", "admin")])


class InspectingModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.samples: dict[str, SampleDrawn] = {}
        self.inspected: set[tuple[str, str]] = set()
        self.findings: dict[str, FindingRecorded] = {}
        self.finding_status: dict[str, str] = {}

    @follows(SampleDrawn)
    def _sample_drawn(self, fact: SampleDrawn, told: Told) -> None:
        """Drawn again from the facts, in the order they were recorded."""
        assert told.actor.role == "auditor"
        assert fact.sample not in self.samples
        assert fact.size == len(self.facts) - 1
        population = list(self.records)
        drawn = draw_records("t", fact.seed, fact.size, fact.period, population, len(fact.records))
        assert (fact.population, fact.records) == (drawn.population, drawn.records)
        self.samples[fact.sample] = fact

    @follows(RecordInspected)
    def _record_inspected(self, fact: RecordInspected, told: Told) -> None:
        assert fact.record in self.samples[fact.sample].records
        assert (fact.sample, fact.record) not in self.inspected
        self._without_part(fact.record, told)
        self.inspected.add((fact.sample, fact.record))

    @follows(FindingRecorded)
    def _found(self, fact: FindingRecorded, told: Told) -> None:
        assert fact.finding not in self.findings
        assert told.actor.role == "auditor"
        if fact.sample is not None:
            assert fact.record in self.samples[fact.sample].records
            self.inspected.add((fact.sample, fact.record))
        if fact.record is not None:
            self._without_part(fact.record, told)
            assert fact.community == self.records[fact.record].community
        self.findings[fact.finding], self.finding_status[fact.finding] = fact, "open"

    @follows(FindingAnswered)
    def _answered(self, fact: FindingAnswered, told: Told) -> None:
        found = self.findings[fact.finding]
        assert told.actor.role in ("staff", "admin")
        assert told.actor.community in (None, found.community)
        assert fact.answered_by != found.found_by
        assert self.finding_status[fact.finding] != "closed"
        self.finding_status[fact.finding] = "answered"

    @follows(FindingClosed)
    def _finding_closed(self, fact: FindingClosed, told: Told) -> None:
        found = self.findings[fact.finding]
        assert self.finding_status[fact.finding] == "answered" or fact.outcome == "unfounded"
        assert self.finding_status[fact.finding] != "closed"
        if found.record is not None:
            self._without_part(found.record, told)
        self.finding_status[fact.finding] = "closed"

    def _without_part(self, record: str, told: Told) -> None:
        logged, home = self.records[record], self.home.get(told.actor.id)
        assert told.actor.role == "auditor"
        assert told.actor.id not in (logged.volunteer, logged.logged_by)
        assert home is None or home not in (logged.household, logged.recipient_household)


class InspectingRules(HoursRules):
    @precondition(lambda self: self.here.records)
    @rule(count=st.integers(1, 4), actor=AUDITORS)
    def draw_sample(self, count: int, actor: Actor) -> None:
        here, seed = self.here, f"seed {len(self.here.samples)}"
        drawn = draw_records("t", seed, here.store.head(), None, list(here.records), count)
        command = DrawSample(sample=f"T{len(here.samples)}", seed=seed, count=count, drawn=drawn)
        here.send(draw_sample, command, actor)

    @precondition(lambda self: self.here.samples)
    @rule(record=INDEX, drawn=RIGHT, finds=st.booleans(), of_sample=RIGHT, actor=AUDITORS)
    def inspect(self, record: int, drawn: bool, finds: bool, of_sample: bool, actor: Actor) -> None:
        sample = pick(list(self.here.samples), 0)
        number = pick(self.here.samples[sample].records if drawn else list(self.here.records), record)
        if not finds:
            self.here.send(inspect_record, InspectRecord(sample=sample, record=number), actor)
            return
        command = RecordFinding(
            finding=f"F{len(self.here.findings)}",
            severity="minor",
            matter="other",
            sample=sample if of_sample else None,
            record=number,
            text=None,
        )
        self.here.send(record_finding, command, actor)

    @precondition(lambda self: self.here.findings)
    @rule(finding=INDEX, how=st.sampled_from("arau"), actor=STAFF, auditor=AUDITORS)
    def settle_finding(self, finding: int, how: str, actor: Actor, auditor: Actor) -> None:
        number = pick(list(self.here.findings), finding)
        if how == "a":
            self.here.send(answer_finding, AnswerFinding(finding=number, measure="explained", text=None), actor)
        else:
            outcome: Any = "unfounded" if how == "u" else "resolved"
            self.here.send(close_finding, CloseFinding(finding=number, outcome=outcome, text=None), auditor)
