"""What was attached to service records: the hash of each photo and paper sheet, and who attached it."""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.evidence import EvidenceAttached
from domain.fact import Recorded
from projections.projection import Projection, Write, copy_rows


class EvidenceRow(msgspec.Struct, gc=False):
    """One file that belongs to a record. ``evidence`` is the grade that the record had with it."""

    record: str
    kind: str
    sha256: str
    attached_by: str
    evidence: str
    position: int
    recorded_at_microseconds: int


COLUMNS: Final = EvidenceRow.__struct_fields__


class AttachedEvidence(Projection):
    name = "evidence"
    version = 1
    tables = """
        CREATE TABLE evidence (
            record text COLLATE "C" NOT NULL,
            kind text NOT NULL,
            sha256 text NOT NULL,
            attached_by text NOT NULL,
            evidence text NOT NULL,
            position bigint NOT NULL,
            recorded_at_microseconds bigint NOT NULL
        );
    """
    indexes = "CREATE INDEX evidence_by_record ON evidence (record, position);"
    fact_types = (EvidenceAttached,)

    def __init__(self) -> None:
        self._new: list[EvidenceRow] = []

    def load(self, cursor: Cursor[Any]) -> None:
        del cursor
        self._new.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact: EvidenceAttached = recorded.envelope.fact
        position, at = recorded.position, recorded.recorded_at_microseconds
        self._new.append(
            EvidenceRow(fact.record, fact.kind, fact.sha256, fact.attached_by, fact.evidence, position, at)
        )

    def take(self, *, more: bool = False) -> Write:
        del more
        new, self._new = self._new, []

        def write(cursor: Cursor[Any]) -> None:
            copy_rows(cursor, "evidence", COLUMNS, [astuple(row) for row in new])

        return write


async def attached(connection: AsyncConnection[Any], record: str) -> list[EvidenceRow]:
    """Everything attached to one record, in the order it was."""
    cursor = connection.cursor(row_factory=class_row(EvidenceRow))
    await cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM evidence WHERE record = %s ORDER BY position", (record,))
    return await cursor.fetchall()
