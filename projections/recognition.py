"""What stands on volunteers' records beside their hours: stars, honours, training and commendations."""

from typing import Any, Final, NamedTuple, get_args

import msgspec
from psycopg import AsyncConnection, Connection, Cursor
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.recognition import (
    CommendationRecorded,
    HonourAwarded,
    RecognitionFact,
    RecognitionWithdrawn,
    StarAwarded,
    StarFact,
    StarWithdrawn,
    TrainingRecorded,
)
from projections.projection import KeptRows


class RecognitionRow(msgspec.Struct):
    """One star, honour, training or commendation, and whether it still ``stands`` or was ``withdrawn``.

    A star is numbered ``<volunteer>:<star>:<position>``, which no number of an entry can be. ``minutes`` are those of
    the training, or of service when the star was awarded; ``detail`` is an honour's level, a training's subject, or
    the organisation that commended; ``on_day`` a day of the ledger (a star has its recorded-at only).
    """

    recognition: str
    volunteer: str
    kind: str
    given_by: str
    position: int
    recorded_at_microseconds: int
    title: str | None = None
    detail: str | None = None
    on_day: str | None = None
    minutes: int = 0
    star: int = 0
    threshold_minutes: int = 0
    status: str = "stands"
    withdrawn_by: str | None = None
    reason: str | None = None
    withdrawn_position: int | None = None


COLUMNS: Final = RecognitionRow.__struct_fields__


class Recognitions(KeptRows[RecognitionRow]):
    name = "recognitions"
    version = 1
    table = "recognitions"
    row_type = RecognitionRow
    tables = """
        CREATE TABLE recognitions (
            recognition text COLLATE "C" PRIMARY KEY,
            volunteer text COLLATE "C" NOT NULL,
            kind text NOT NULL,
            given_by text NOT NULL,
            position bigint NOT NULL,
            recorded_at_microseconds bigint NOT NULL,
            title text,
            detail text,
            on_day text,
            minutes bigint NOT NULL,
            star integer NOT NULL,
            threshold_minutes bigint NOT NULL,
            status text NOT NULL,
            withdrawn_by text,
            reason text,
            withdrawn_position bigint
        );
    """
    indexes = """
        CREATE INDEX recognitions_by_volunteer ON recognitions (volunteer, position, recognition);
        CREATE INDEX stars_held ON recognitions (volunteer) WHERE kind = 'star' AND status = 'stands';
    """
    fact_types = (*get_args(StarFact), HonourAwarded, TrainingRecorded, CommendationRecorded, RecognitionWithdrawn)

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[tuple[str, int], str] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        super().load(cursor)
        self._held = {
            (row.volunteer, row.star): number
            for number, row in self.rows.items()
            if row.kind == "star" and row.status == "stands"
        }

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: StarFact | RecognitionFact = recorded.envelope.fact
        actor, when = recorded.envelope.actor, (recorded.position, recorded.recorded_at_microseconds)
        match fact:
            case StarAwarded():
                number = f"{fact.volunteer}:{fact.star}:{recorded.position}"
                self._held[fact.volunteer, fact.star] = number
                row = RecognitionRow(number, fact.volunteer, "star", actor, *when)
                row.star, row.minutes, row.threshold_minutes = fact.star, fact.service_minutes, fact.threshold_minutes
                self.put(number, row)
            case StarWithdrawn():
                number = self._held.pop((fact.volunteer, fact.star))
                self._withdraw(number, actor, "records-reversed", recorded.position)
            case HonourAwarded():
                row = RecognitionRow(fact.recognition, fact.volunteer, "honour", fact.awarded_by, *when)
                row.title, row.detail, row.on_day = fact.title, fact.level, fact.awarded_on.isoformat()
                self.put(fact.recognition, row)
            case TrainingRecorded():
                row = RecognitionRow(fact.recognition, fact.volunteer, "training", fact.recorded_by, *when)
                row.title, row.detail, row.on_day = fact.name, fact.subject, fact.trained_on.isoformat()
                row.minutes = fact.minutes
                self.put(fact.recognition, row)
            case CommendationRecorded():
                row = RecognitionRow(fact.recognition, fact.volunteer, "commendation", fact.recorded_by, *when)
                row.title, row.detail, row.on_day = fact.title, fact.organisation, fact.commended_on.isoformat()
                self.put(fact.recognition, row)
            case RecognitionWithdrawn():
                self._withdraw(fact.recognition, fact.withdrawn_by, fact.reason, recorded.position)

    def _withdraw(self, number: str, by: str, reason: str, position: int) -> None:
        row = self.change(number)
        row.status, row.withdrawn_by, row.reason, row.withdrawn_position = "withdrawn", by, reason, position


async def recognitions(connection: AsyncConnection[Any], volunteer: str) -> list[RecognitionRow]:
    """All that was ever put on a volunteer's record, in order."""
    cursor = connection.cursor(row_factory=class_row(RecognitionRow))
    await cursor.execute(
        f"SELECT {', '.join(COLUMNS)} FROM recognitions WHERE volunteer = %s ORDER BY position, recognition",
        (volunteer,),
    )
    return await cursor.fetchall()


async def served(connection: AsyncConnection[Any], volunteer: str) -> tuple[int, int]:
    """Minutes of a volunteer's confirmed and unreversed service, and the number of its records."""
    cursor = await connection.execute(
        "SELECT coalesce(sum(service_minutes), 0)::bigint, count(*) FROM hours"
        " WHERE volunteer = %s AND status = 'confirmed'",
        (volunteer,),
    )
    ((minutes, records),) = await cursor.fetchall()
    return minutes, records


class StarCount(NamedTuple):
    """What one volunteer has served, and the stars that they hold, each with what it was awarded for."""

    volunteer: str
    alive: bool
    minutes: int
    held: tuple[tuple[int, int], ...]


def star_counts(connection: Connection[Any], least_minutes: int | None) -> tuple[int, list[StarCount]]:
    """The position of the projections, and everybody who has served so many minutes (None: nobody) or holds a star,
    all in one statement, so that what is counted is what the journal held up to that position."""
    rows = connection.execute(
        """
        WITH held AS (
            SELECT volunteer, array_agg(star ORDER BY star) AS stars,
                   array_agg(threshold_minutes ORDER BY star) AS thresholds
            FROM recognitions WHERE kind = 'star' AND status = 'stands' GROUP BY volunteer
        ), served AS (
            SELECT volunteer, sum(service_minutes)::bigint AS minutes
            FROM hours WHERE status = 'confirmed' GROUP BY volunteer
        )
        SELECT c.position, found.volunteer, p.status <> 'died', found.minutes, found.stars, found.thresholds
        FROM checkpoint c LEFT JOIN (
            SELECT volunteer, coalesce(minutes, 0) AS minutes, stars, thresholds
            FROM served FULL JOIN held USING (volunteer) WHERE minutes >= %s OR stars IS NOT NULL
        ) AS found ON true LEFT JOIN people p ON p.person = found.volunteer ORDER BY found.volunteer
        """,
        (least_minutes,),
    ).fetchall()
    found = [
        StarCount(volunteer, bool(alive), minutes, tuple(zip(stars or (), thresholds or (), strict=True)))
        for _, volunteer, alive, minutes, stars, thresholds in rows
        if volunteer is not None
    ]
    return (rows[0][0] if rows else 0), found
