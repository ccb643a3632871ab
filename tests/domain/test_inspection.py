"""Inspection: samples that anybody draws alike, findings by auditors who have no part in what they inspect."""

import hashlib
from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given as every
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.decision import Actor
from domain.fact import Fact
from domain.hours import UnknownRecord
from domain.household import HouseholdMerged, MemberRegistered
from domain.inspection import (
    MATTER_ZH,
    MEASURE_ZH,
    METHOD,
    OUTCOME_ZH,
    SEVERITY_ZH,
    AnsweredByAuditor,
    AnswerFinding,
    CloseFinding,
    Drawn,
    DrawSample,
    Finding,
    FindingAlreadyClosed,
    FindingAlreadyRecorded,
    FindingAnswered,
    FindingClosed,
    FindingNotAnswered,
    FindingOutcome,
    FindingRecorded,
    InspectedByParty,
    InspectRecord,
    LeftToAuditors,
    Matter,
    Measure,
    NothingToSample,
    NotTheDraw,
    RecordAlreadyInspected,
    RecordFinding,
    RecordInspected,
    RecordNotDrawn,
    Sample,
    SampleAlreadyDrawn,
    SampleDrawn,
    SampleWanted,
    Severity,
    UnknownFinding,
    UnknownSample,
    answer_finding,
    close_finding,
    draw,
    draw_records,
    draw_sample,
    inspect_record,
    record_finding,
)
from tests.controls import (
    ADMIN,
    AUDITOR,
    DISTRICT,
    FINDING_ANSWERED,
    FINDING_CLOSED,
    FINDING_RECORDED,
    HOURS_CONFIRMED,
    HOURS_REJECTED,
    RECORD_INSPECTED,
    SAMPLE_DRAWN,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    given,
    logged,
    volunteer,
)

RECORDS = (
    logged("R1", "11-20 09:00 - 10:30"),
    replace(HOURS_CONFIRMED, record="R1"),
    logged("R2", "11-20 14:00 - 15:00"),
    replace(HOURS_REJECTED, record="R2"),
)
DRAWN = (*DISTRICT, *RECORDS, SAMPLE_DRAWN)
FOUND = (*DRAWN, FINDING_RECORDED)
ANSWERED = (*FOUND, FINDING_ANSWERED)


# ── The draw ─────────────────────────────────────────────────────────────────────────────────────────────────


@every(
    seed=st.text(min_size=1, max_size=20),
    size=st.integers(1, 10**6),
    period=st.sampled_from([None, "2026-10"]),
    population=st.integers(0, 300),
    count=st.integers(1, 500),
)
def test_a_draw_is_of_different_things_as_many_as_asked_for_and_the_same_again(
    seed: str, size: int, period: str | None, population: int, count: int
) -> None:
    drawn = draw("qingxiu", seed, size, period, population, count)
    assert len(drawn) == len(set(drawn)) == min(count, population)
    assert all(0 <= index < population for index in drawn)
    assert draw("qingxiu", seed, size, period, population, count) == drawn
    fewer = draw("qingxiu", seed, size, period, population, max(1, count // 2))
    assert drawn[: len(fewer)] == fewer


def test_the_draw_is_what_is_written_down() -> None:
    """Written from the words of the guide alone, as another implementation would be."""

    def by_hand(seed: str, size: int, period: str, population: int, count: int) -> list[int]:
        found: list[int] = []
        largest = (2**64 // population) * population
        for counter in range(10_000):
            lines = ["timebank-sample/v1", "qingxiu", str(size), period, str(population), str(counter), seed]
            digest = hashlib.sha256("\n".join(lines).encode()).digest()
            number = sum(byte << 8 * (7 - place) for place, byte in enumerate(digest[:8]))
            if number < largest and number % population not in found:
                found.append(number % population)
            if len(found) == count:
                break
        return found

    assert METHOD == "timebank-sample/v1"
    for seed, size, period, population, count in (("双色球 2026137", 412, "", 1000, 50), ("x", 7, "2026-10", 3, 3)):
        assert draw("qingxiu", seed, size, period or None, population, count) == by_hand(
            seed, size, period, population, count
        )
    assert draw("qingxiu", "a golden seed", 1000, None, 100, 5) == [43, 66, 89, 34, 31]


def test_seed_size_period_population_and_ledger_each_make_another_draw() -> None:
    base = draw("qingxiu", "s", 100, "2026-10", 1000, 20)
    others = [
        draw("xingning", "s", 100, "2026-10", 1000, 20),
        draw("qingxiu", "t", 100, "2026-10", 1000, 20),
        draw("qingxiu", "s", 101, "2026-10", 1000, 20),
        draw("qingxiu", "s", 100, None, 1000, 20),
        draw("qingxiu", "s", 100, "2026-10", 1001, 20),
    ]
    assert base not in others
    assert len({tuple(other) for other in others}) == 5


def test_no_index_is_drawn_more_often_than_another() -> None:
    times = Counter(index for seed in range(6000) for index in draw("qingxiu", str(seed), 1, None, 6, 1))
    assert set(times) == set(range(6))
    # Chi squared with 5 degrees of freedom: above 30 less than once in 60,000.
    assert sum((count - 1000) ** 2 / 1000 for count in times.values()) < 30


def test_numbers_that_would_favour_the_first_indexes_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([2**64 - 1, 2**64 - 1, 5, 5, 7])

    class Digest:
        def digest(self) -> bytes:
            return next(numbers).to_bytes(8) + bytes(24)

    monkeypatch.setattr("domain.inspection.hashlib.sha256", lambda _: Digest())
    assert draw("qingxiu", "s", 1, None, 10, 2) == [5, 7]


def test_records_are_drawn_from_the_order_in_which_they_were_logged() -> None:
    population = [f"R{n}" for n in range(10)]
    drawn = draw_records("qingxiu", "s", 412, None, population, 4)
    indexes = draw("qingxiu", "s", 412, None, 10, 4)
    assert drawn == Drawn("qingxiu", 412, 10, tuple(f"R{index}" for index in indexes))


# ── Recording a draw ─────────────────────────────────────────────────────────────────────────────────────────


def drawing(count: int = 2, **changes: Any) -> DrawSample:
    drawn = changes.pop("drawn", Drawn("qingxiu", 412, 3, ("R2", "R1")))
    return DrawSample(
        **({"sample": "T1", "seed": "双色球 2026137", "count": count, "period": "2026-11"} | changes), drawn=drawn
    )


def test_an_auditor_records_a_draw() -> None:
    given(DISTRICT).when(draw_sample, drawing(), actor=AUDITOR).then(SAMPLE_DRAWN)
    assert drawing().model_dump() == {"sample": "T1", "seed": "双色球 2026137", "count": 2, "period": "2026-11"}
    (fact,) = given(DISTRICT).when(draw_sample, drawing(sample=None), actor=AUDITOR).accepted
    assert isinstance(fact, SampleDrawn)
    assert fact.sample == "01234567-89abcdef-01234567-89abcdef"


@pytest.mark.parametrize("actor", [ADMIN, STAFF, volunteer("V1")])
def test_nobody_else_draws_inspects_finds_or_closes(actor: Actor) -> None:
    for decide, command in (
        (draw_sample, drawing(sample="T2")),
        (inspect_record, InspectRecord(sample="T1", record="R2")),
        (record_finding, RecordFinding(severity="minor", matter="other")),
        (close_finding, CloseFinding(finding="F1", outcome="resolved")),
    ):
        given(ANSWERED).when(decide, command, actor=actor).refused(LeftToAuditors(actor.id))  # type: ignore[arg-type]


def test_a_sample_is_drawn_once_of_something_and_of_as_much_as_was_asked_for() -> None:
    given(DRAWN).when(draw_sample, drawing(), actor=AUDITOR).refused(SampleAlreadyDrawn("T1"))
    nothing = drawing(drawn=Drawn("qingxiu", 412, 0, ()))
    given(DISTRICT).when(draw_sample, nothing, actor=AUDITOR).refused(NothingToSample("2026-11"))
    all_of_it = drawing(9, drawn=Drawn("qingxiu", 412, 3, ("R3", "R2", "R1")))
    assert given(DISTRICT).when(draw_sample, all_of_it, actor=AUDITOR).accepted
    for records in (("R2",), ("R2", "R2"), ("R1", "R2", "R3")):
        other = drawing(drawn=Drawn("qingxiu", 412, 3, records))
        given(DISTRICT).when(draw_sample, other, actor=AUDITOR).refused(NotTheDraw("T1"))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": " "},
        {"seed": "a\nb"},
        {"seed": "x" * 201},
        {"seed": "13800138000"},
        {"count": 0},
        {"count": 501},
        {"period": "2026-13"},
    ],
)
def test_what_is_asked_for_fits(changes: Any) -> None:
    with pytest.raises(ValidationError):
        SampleWanted(**({"seed": "s", "count": 5} | changes))


# ── Inspecting ───────────────────────────────────────────────────────────────────────────────────────────────

INSPECT = InspectRecord(sample="T1", record="R2")


def test_a_record_of_a_sample_is_found_in_order_once() -> None:
    given(DRAWN).when(inspect_record, INSPECT, actor=AUDITOR).then(RecordInspected("T1", "R2", "U1"))
    given(DRAWN, RECORD_INSPECTED).when(inspect_record, INSPECT, actor=AUDITOR).refused(
        RecordAlreadyInspected("T1", "R2")
    )
    given(FOUND).when(inspect_record, InspectRecord(sample="T1", record="R1"), actor=AUDITOR).refused(
        RecordAlreadyInspected("T1", "R1")
    )


def test_what_was_not_drawn_is_not_inspected() -> None:
    given(DISTRICT).when(inspect_record, INSPECT, actor=AUDITOR).refused(UnknownSample("T1"))
    given(DRAWN).when(inspect_record, InspectRecord(sample="T1", record="R9"), actor=AUDITOR).refused(
        RecordNotDrawn("T1", "R9")
    )
    given(DISTRICT, SAMPLE_DRAWN).when(inspect_record, INSPECT, actor=AUDITOR).refused(UnknownRecord("R2"))


@pytest.mark.parametrize(
    ("person", "past"),
    [
        ("V1", ()),
        ("S1", ()),
        ("S2", ()),
        ("U1", (MemberRegistered("U1", "H1"),)),
        ("U1", (MemberRegistered("U1", "H2"),)),
        ("U1", (MemberRegistered("U1", "H3"), HouseholdMerged("H2", "H3", ("V3",)))),
    ],
    ids=["served", "logged", "settled", "household that earned", "household served", "its successor"],
)
def test_auditors_have_no_part_in_what_they_inspect(person: str, past: tuple[Fact, ...]) -> None:
    actor = Actor(person, "auditor")
    for record in ("R1", "R2"):
        refusal = InspectedByParty(record, person)
        command = InspectRecord(sample="T1", record=record)
        given(DRAWN, past).when(inspect_record, command, actor=actor).refused(refusal)
        finding = RecordFinding(severity="minor", matter="other", record=record)
        given(DRAWN, past).when(record_finding, finding, actor=actor).refused(refusal)
    close = CloseFinding(finding="F1", outcome="resolved")
    given(ANSWERED, past).when(close_finding, close, actor=actor).refused(InspectedByParty("R1", person))


# ── Findings ─────────────────────────────────────────────────────────────────────────────────────────────────


def finding(**changes: Any) -> RecordFinding:
    return RecordFinding(**({"finding": "F1", "severity": "moderate", "matter": "no-evidence"} | changes))


def test_a_finding_is_about_a_record_of_a_sample_another_record_or_none() -> None:
    of_sample = finding(sample="T1", record="R1")
    given(DRAWN).when(record_finding, of_sample, actor=AUDITOR).then(replace(FINDING_RECORDED, text_digest=None))
    of_record = FindingRecorded("F1", "moderate", "no-evidence", "U1", None, "R2", XINZHU)
    given(DRAWN).when(record_finding, finding(record="R2"), actor=AUDITOR).then(of_record)
    of_none = FindingRecorded("F1", "moderate", "no-evidence", "U1")
    given(DRAWN).when(record_finding, finding(), actor=AUDITOR).then(of_none)
    assert (
        given(DRAWN, RECORD_INSPECTED).when(record_finding, finding(sample="T1", record="R2"), actor=AUDITOR).accepted
    )


def test_what_a_finding_names_exists() -> None:
    given(DRAWN).when(record_finding, finding(sample="T9", record="R1"), actor=AUDITOR).refused(UnknownSample("T9"))
    given(DRAWN).when(record_finding, finding(sample="T1"), actor=AUDITOR).refused(RecordNotDrawn("T1", ""))
    given(DRAWN).when(record_finding, finding(record="R9"), actor=AUDITOR).refused(UnknownRecord("R9"))
    given(FOUND).when(record_finding, finding(), actor=AUDITOR).refused(FindingAlreadyRecorded("F1"))


def test_words_are_kept_apart() -> None:
    (fact,) = given(DRAWN).when(record_finding, finding(text="没有签到表", salt="x"), actor=AUDITOR).accepted
    assert isinstance(fact, FindingRecorded)
    assert fact.text_digest is not None
    assert "签到" not in repr(fact)


ANSWER = AnswerFinding(finding="F1", measure="corrected")


def test_staff_whom_it_concerns_answer_as_often_as_they_like() -> None:
    answered = FindingAnswered("F1", "corrected", "S2")
    given(FOUND).when(answer_finding, ANSWER, actor=STAFF).then(answered)
    given(ANSWERED).when(answer_finding, ANSWER, actor=STAFF).then(answered)
    given(FOUND).when(answer_finding, ANSWER, actor=ADMIN).then(replace(answered, answered_by="A1"))
    given(FOUND).when(answer_finding, ANSWER, actor=STAFF_ELSEWHERE).refused(UnknownFinding("F1"))
    given(DRAWN).when(answer_finding, ANSWER, actor=STAFF).refused(UnknownFinding("F1"))
    of_district = (*DRAWN, FindingRecorded("F1", "minor", "other", "U1"))
    given(of_district).when(answer_finding, ANSWER, actor=STAFF).refused(UnknownFinding("F1"))
    given(of_district).when(answer_finding, ANSWER, actor=STAFF._replace(community=None)).then(answered)


@pytest.mark.parametrize("actor", [AUDITOR, Actor("U2", "auditor"), Actor("U1", "admin"), Actor("V1", "volunteer")])
def test_who_found_it_or_is_no_staff_does_not_answer(actor: Actor) -> None:
    given(FOUND).when(answer_finding, ANSWER, actor=actor).refused(AnsweredByAuditor("F1", actor.id))


def test_an_auditor_closes_what_is_answered_or_unfounded() -> None:
    resolved, unfounded = (CloseFinding(finding="F1", outcome=outcome) for outcome in ("resolved", "unfounded"))  # type: ignore[arg-type]
    given(ANSWERED).when(close_finding, resolved, actor=AUDITOR).then(FINDING_CLOSED)
    given(FOUND).when(close_finding, resolved, actor=AUDITOR).refused(FindingNotAnswered("F1"))
    given(FOUND).when(close_finding, unfounded, actor=Actor("U2", "auditor")).then(
        FindingClosed("F1", "unfounded", "U2")
    )
    given(DRAWN).when(close_finding, resolved, actor=AUDITOR).refused(UnknownFinding("F1"))


def test_a_closed_finding_stays_closed() -> None:
    past = (*ANSWERED, FINDING_CLOSED)
    given(past).when(answer_finding, ANSWER, actor=STAFF).refused(FindingAlreadyClosed("F1"))
    close = CloseFinding(finding="F1", outcome="unfounded")
    given(past).when(close_finding, close, actor=AUDITOR).refused(FindingAlreadyClosed("F1"))


def test_states_follow_the_facts() -> None:
    assert given(FOUND, RECORD_INSPECTED).state(Sample.of("T1")).inspected == {"R1", "R2"}
    statuses = [given(past).state(Finding.of("F1")).status for past in (DRAWN, FOUND, ANSWERED)]
    assert statuses == ["absent", "open", "answered"]
    assert given(ANSWERED, FINDING_CLOSED).state(Finding.of("F1")).status == "closed"


def test_every_word_is_said_in_chinese() -> None:
    for chinese, words in (
        (SEVERITY_ZH, Severity),
        (MATTER_ZH, Matter),
        (MEASURE_ZH, Measure),
        (OUTCOME_ZH, FindingOutcome),
    ):
        assert set(chinese) == set(get_args(words))
