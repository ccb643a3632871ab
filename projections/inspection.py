"""Inspection: samples, the records drawn in them, and findings; and which records there are to draw from."""

from typing import Any, Final, get_args

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.disclosure import first_day, last_day
from domain.fact import Recorded
from domain.inspection import (
    FindingAnswered,
    FindingClosed,
    FindingFact,
    FindingRecorded,
    RecordInspected,
    SampleDrawn,
)
from projections.projection import KeptRows


class SampleRow(msgspec.Struct):
    """One sample, as it was drawn."""

    sample: str
    method: str
    seed: str
    period: str | None
    size: int
    population: int
    drawn: int
    drawn_by: str
    drawn_position: int
    drawn_at_microseconds: int


class SampleListed(SampleRow, kw_only=True):
    """A sample with how many of its records were inspected, and of how many something was found."""

    inspected: int
    findings: int


class DrawnRow(msgspec.Struct):
    """One record of a sample, in its order there from 1 on. ``result`` is None, ``in-order`` or ``finding``."""

    key: str
    sample: str
    number: int
    record: str
    result: str | None = None
    inspected_by: str | None = None
    inspected_position: int | None = None


class FindingRow(msgspec.Struct):
    """One finding, and where it stands: ``open``, ``answered`` or ``closed``."""

    finding: str
    severity: str
    matter: str
    sample: str | None
    record: str | None
    community: str | None
    found_by: str
    text_digest: str | None
    found_position: int
    found_at_microseconds: int
    status: str = "open"
    measure: str | None = None
    answered_by: str | None = None
    answer_digest: str | None = None
    answered_at_microseconds: int | None = None
    outcome: str | None = None
    closed_by: str | None = None
    closing_digest: str | None = None
    closed_at_microseconds: int | None = None


SAMPLE_COLUMNS: Final = SampleRow.__struct_fields__
DRAWN_COLUMNS: Final = DrawnRow.__struct_fields__
FINDING_COLUMNS: Final = FindingRow.__struct_fields__
_SAMPLES: Final = (
    f"SELECT {', '.join(f's.{column}' for column in SAMPLE_COLUMNS)}, r.inspected, r.findings FROM samples s"
    " CROSS JOIN LATERAL (SELECT count(result) AS inspected, count(*) FILTER (WHERE result = 'finding') AS findings"
    " FROM sample_records WHERE sample = s.sample) AS r"
)


class Samples(KeptRows[SampleRow]):
    name = "samples"
    version = 1
    table = "samples"
    row_type = SampleRow
    tables = """
        CREATE TABLE samples (
            sample text COLLATE "C" PRIMARY KEY,
            method text NOT NULL,
            seed text NOT NULL,
            period text,
            size bigint NOT NULL,
            population bigint NOT NULL,
            drawn integer NOT NULL,
            drawn_by text NOT NULL,
            drawn_position bigint NOT NULL,
            drawn_at_microseconds bigint NOT NULL
        );
    """
    fact_types = (SampleDrawn,)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case SampleDrawn():
                row = SampleRow(
                    fact.sample,
                    fact.method,
                    fact.seed,
                    fact.period,
                    fact.size,
                    fact.population,
                    len(fact.records),
                    fact.drawn_by,
                    recorded.position,
                    recorded.recorded_at_microseconds,
                )
                self.put(fact.sample, row)


class SampleRecords(KeptRows[DrawnRow]):
    name = "sample_records"
    version = 1
    table = "sample_records"
    row_type = DrawnRow
    tables = """
        CREATE TABLE sample_records (
            key text COLLATE "C" PRIMARY KEY,
            sample text COLLATE "C" NOT NULL,
            number integer NOT NULL,
            record text COLLATE "C" NOT NULL,
            result text,
            inspected_by text,
            inspected_position bigint
        );
    """
    indexes = """
        CREATE INDEX sample_records_by_sample ON sample_records (sample, number);
    """
    fact_types = (SampleDrawn, RecordInspected, FindingRecorded)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case SampleDrawn():
                for number, record in enumerate(fact.records, 1):
                    key = f"{fact.sample}/{record}"
                    self.put(key, DrawnRow(key, fact.sample, number, record))
            case RecordInspected():
                self._inspect(fact.sample, fact.record, "in-order", fact.inspected_by, recorded.position)
            case FindingRecorded():
                if fact.sample is not None and fact.record is not None:
                    self._inspect(fact.sample, fact.record, "finding", fact.found_by, recorded.position)

    def _inspect(self, sample: str, record: str, result: str, by: str, position: int) -> None:
        row = self.change(f"{sample}/{record}")
        row.result, row.inspected_by, row.inspected_position = result, by, position


class Findings(KeptRows[FindingRow]):
    name = "findings"
    version = 1
    table = "findings"
    row_type = FindingRow
    tables = """
        CREATE TABLE findings (
            finding text COLLATE "C" PRIMARY KEY,
            severity text NOT NULL,
            matter text NOT NULL,
            sample text,
            record text,
            community text,
            found_by text NOT NULL,
            text_digest text,
            found_position bigint NOT NULL,
            found_at_microseconds bigint NOT NULL,
            status text NOT NULL,
            measure text,
            answered_by text,
            answer_digest text,
            answered_at_microseconds bigint,
            outcome text,
            closed_by text,
            closing_digest text,
            closed_at_microseconds bigint
        );
    """
    indexes = """
        CREATE UNIQUE INDEX findings_by_position ON findings (found_position);
    """
    fact_types = get_args(FindingFact)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: FindingFact = recorded.envelope.fact
        match fact:
            case FindingRecorded():
                row = FindingRow(
                    fact.finding,
                    fact.severity,
                    fact.matter,
                    fact.sample,
                    fact.record,
                    fact.community,
                    fact.found_by,
                    fact.text_digest,
                    recorded.position,
                    recorded.recorded_at_microseconds,
                )
                self.put(fact.finding, row)
            case FindingAnswered():
                row = self.change(fact.finding)
                row.status, row.measure, row.answered_by = "answered", fact.measure, fact.answered_by
                row.answer_digest, row.answered_at_microseconds = fact.text_digest, recorded.recorded_at_microseconds
            case FindingClosed():
                row = self.change(fact.finding)
                row.status, row.outcome, row.closed_by = "closed", fact.outcome, fact.closed_by
                row.closing_digest, row.closed_at_microseconds = fact.text_digest, recorded.recorded_at_microseconds


def to_draw_from(cursor: Cursor[Any], size: int, period: str | None) -> list[str]:
    """The service records that the log held up to a position, of a month (by the day of service) or of all, in the
    order they were logged."""
    cursor.execute(
        "SELECT record FROM hours WHERE logged_position <= %(size)s"
        " AND (%(since)s::date IS NULL OR worked_on BETWEEN %(since)s AND %(until)s) ORDER BY logged_position",
        {
            "size": size,
            "since": None if period is None else first_day(period),
            "until": None if period is None else last_day(period),
        },
    )
    return [record for (record,) in cursor.fetchall()]


async def sample(connection: AsyncConnection[Any], number: str) -> SampleListed | None:
    """One sample, or None."""
    cursor = connection.cursor(row_factory=class_row(SampleListed))
    await cursor.execute(f"{_SAMPLES} WHERE s.sample = %s", (number,))
    return await cursor.fetchone()


async def samples(connection: AsyncConnection[Any], *, after: int, limit: int) -> list[SampleListed]:
    """Samples in the order they were drawn, after a position."""
    cursor = connection.cursor(row_factory=class_row(SampleListed))
    await cursor.execute(f"{_SAMPLES} WHERE s.drawn_position > %s ORDER BY s.drawn_position LIMIT %s", (after, limit))
    return await cursor.fetchall()


async def drawn_records(connection: AsyncConnection[Any], number: str, community: str | None) -> list[DrawnRow]:
    """The records of a sample in the order they were drawn; those of one community, or all."""
    cursor = connection.cursor(row_factory=class_row(DrawnRow))
    await cursor.execute(
        f"SELECT {', '.join(f's.{column}' for column in DRAWN_COLUMNS)} FROM sample_records s"
        " JOIN hours h USING (record) WHERE s.sample = %(sample)s"
        " AND (%(community)s::text IS NULL OR h.community = %(community)s) ORDER BY s.number",
        {"sample": number, "community": community},
    )
    return await cursor.fetchall()


async def finding(connection: AsyncConnection[Any], number: str) -> FindingRow | None:
    """One finding, or None."""
    cursor = connection.cursor(row_factory=class_row(FindingRow))
    await cursor.execute(f"SELECT {', '.join(FINDING_COLUMNS)} FROM findings WHERE finding = %s", (number,))
    return await cursor.fetchone()


async def findings(
    connection: AsyncConnection[Any], *, community: str | None, status: str | None, after: int, limit: int
) -> list[FindingRow]:
    """Findings in the order they were recorded, after a position: of one community, or all."""
    cursor = connection.cursor(row_factory=class_row(FindingRow))
    await cursor.execute(
        f"SELECT {', '.join(FINDING_COLUMNS)} FROM findings WHERE found_position > %(after)s"
        " AND (%(community)s::text IS NULL OR community = %(community)s)"
        " AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY found_position LIMIT %(limit)s",
        {"community": community, "status": status, "after": after, "limit": limit},
    )
    return await cursor.fetchall()


# ── What an inspection report counts ─────────────────────────────────────────────────────────────────────────────


class Confirmer(msgspec.Struct, frozen=True):
    """How much one person confirmed, of services of the period that are still confirmed. Who confirmed in older books
    is theirs to say, and ``imported`` counts those."""

    person: str
    confirmed_as: str
    records: int
    service_minutes: int
    volunteers: int
    communities: int
    imported: int


class Reversals(msgspec.Struct, frozen=True):
    """Records that were reversed, for one reason."""

    reason: str
    records: int
    service_minutes: int
    people: int


_PERIOD: Final = "(%(since)s::date IS NULL OR worked_on BETWEEN %(since)s AND %(until)s)"


def _days(period: str | None) -> dict[str, object]:
    if period is None:
        return {"since": None, "until": None}
    return {"since": first_day(period), "until": last_day(period)}


def confirmers(cursor: Cursor[Any], period: str | None) -> list[Confirmer]:
    """Who confirmed how much, the most first."""
    cursor.execute(
        f"""
        SELECT settled_by, confirmed_as, count(*), sum(service_minutes)::bigint, count(DISTINCT volunteer),
               count(DISTINCT community), count(*) FILTER (WHERE imported)
        FROM hours WHERE status = 'confirmed' AND {_PERIOD}
        GROUP BY 1, 2 ORDER BY 4 DESC, settled_by COLLATE "C", confirmed_as
        """,
        _days(period),
    )
    return [Confirmer(*row) for row in cursor.fetchall()]


def reversals(cursor: Cursor[Any], period: str | None) -> list[Reversals]:
    """What was reversed of services of the period, by reason, the most first; ``people`` are those who reversed."""
    cursor.execute(
        f"""
        SELECT coalesce(reason, ''), count(*), sum(service_minutes)::bigint, count(DISTINCT reversed_by)
        FROM hours WHERE status = 'reversed' AND {_PERIOD}
        GROUP BY 1 ORDER BY 2 DESC, 1
        """,
        _days(period),
    )
    return [Reversals(*row) for row in cursor.fetchall()]


class Logged(msgspec.Struct, frozen=True):
    """How many service records there are of the period, by where they stand."""

    records: int
    to_confirm: int
    confirmed: int
    rejected: int
    reversed: int
    inspected: int


def logged(cursor: Cursor[Any], period: str | None) -> Logged:
    """``inspected`` are those that any sample or finding has been about."""
    cursor.execute(
        f"""
        SELECT count(*), count(*) FILTER (WHERE status = 'logged'), count(*) FILTER (WHERE status = 'confirmed'),
               count(*) FILTER (WHERE status = 'rejected'), count(*) FILTER (WHERE status = 'reversed'),
               count(*) FILTER (WHERE record IN (
                   SELECT record FROM sample_records WHERE result IS NOT NULL
                   UNION SELECT record FROM findings WHERE record IS NOT NULL
               ))
        FROM hours WHERE {_PERIOD}
        """,
        _days(period),
    )
    return Logged(*cursor.fetchall()[0])


def all_samples(cursor: Cursor[Any], period: str | None) -> list[SampleListed]:
    """Samples of a month's records, or all samples; as they were drawn."""
    cursor.execute(
        f"{_SAMPLES} WHERE %(period)s::text IS NULL OR s.period = %(period)s ORDER BY s.drawn_position",
        {"period": period},
    )
    names = (*SAMPLE_COLUMNS, "inspected", "findings")
    return [SampleListed(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def all_findings(cursor: Cursor[Any], period: str | None) -> list[FindingRow]:
    """Findings about a month's records, or about a sample of it; or all findings."""
    cursor.execute(
        f"""
        SELECT {", ".join(FINDING_COLUMNS)} FROM findings
        WHERE %(period)s::text IS NULL OR sample IN (SELECT sample FROM samples WHERE period = %(period)s)
           OR record IN (SELECT record FROM hours WHERE {_PERIOD})
        ORDER BY found_position
        """,
        {"period": period, **_days(period)},
    )
    return [FindingRow(*row) for row in cursor.fetchall()]
