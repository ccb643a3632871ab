"""Service certificates: one row each, and what of its records was reversed since; and what service there is to certify.

A certificate counts the records of its volunteer and period that were confirmed and unreversed at a position of the
journal; what was reversed after that position is found in the service records whenever somebody asks.
"""

from datetime import date
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.certificate import CertificateIssued, CertificateRevoked, CountedService, count_service
from domain.fact import Recorded
from projections.projection import KeptRows


class CertificateRow(msgspec.Struct):
    """One certificate. ``services`` is JSON; days are the ledger's, in ISO form; ``service_minutes`` and
    ``service_records`` are those of the day it was issued."""

    certificate: str
    sequence: int
    volunteer: str
    since: str
    until: str
    services: str
    service_minutes: int
    service_records: int
    counted_position: int
    records_sha256: str
    issuer: str
    in_charge: str
    issued_by: str
    issued_on: str
    public_until: str
    code_sha256: str
    kept_sha256: str
    issued_position: int
    issued_at_microseconds: int
    revoked: bool = False
    revoked_by: str | None = None
    reason: str | None = None
    revoked_position: int | None = None
    revoked_at_microseconds: int | None = None


COLUMNS: Final = CertificateRow.__struct_fields__


class Certificates(KeptRows[CertificateRow]):
    name = "certificates"
    version = 1
    table = "certificates"
    row_type = CertificateRow
    tables = """
        CREATE TABLE certificates (
            certificate text COLLATE "C" PRIMARY KEY,
            sequence bigint NOT NULL,
            volunteer text COLLATE "C" NOT NULL,
            since text NOT NULL,
            until text NOT NULL,
            services text NOT NULL,
            service_minutes bigint NOT NULL,
            service_records bigint NOT NULL,
            counted_position bigint NOT NULL,
            records_sha256 text NOT NULL,
            issuer text NOT NULL,
            in_charge text NOT NULL,
            issued_by text NOT NULL,
            issued_on text NOT NULL,
            public_until text COLLATE "C" NOT NULL,
            code_sha256 text NOT NULL,
            kept_sha256 text NOT NULL,
            issued_position bigint NOT NULL,
            issued_at_microseconds bigint NOT NULL,
            revoked boolean NOT NULL,
            revoked_by text,
            reason text,
            revoked_position bigint,
            revoked_at_microseconds bigint
        );
    """
    indexes = """
        CREATE UNIQUE INDEX certificates_by_sequence ON certificates (sequence);
        CREATE INDEX certificates_by_volunteer ON certificates (volunteer, sequence);
        CREATE INDEX certificates_public ON certificates (public_until);
    """
    fact_types = (CertificateIssued, CertificateRevoked)

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case CertificateIssued():
                row = CertificateRow(
                    fact.certificate,
                    fact.sequence,
                    fact.volunteer,
                    fact.since.isoformat(),
                    fact.until.isoformat(),
                    msgspec.json.encode(fact.services).decode(),
                    fact.service_minutes,
                    fact.service_records,
                    fact.counted_position,
                    fact.records_sha256,
                    fact.issuer,
                    fact.in_charge,
                    fact.issued_by,
                    fact.issued_on.isoformat(),
                    fact.public_until.isoformat(),
                    fact.code_sha256,
                    fact.kept_sha256,
                    recorded.position,
                    recorded.recorded_at_microseconds,
                )
                self.put(fact.certificate, row)
            case CertificateRevoked():
                row = self.change(fact.certificate)
                row.revoked, row.revoked_by, row.reason = True, fact.revoked_by, fact.reason
                row.revoked_position, row.revoked_at_microseconds = (
                    recorded.position,
                    recorded.recorded_at_microseconds,
                )


class CertificateListed(CertificateRow, kw_only=True):
    """A certificate, the community of its volunteer's household now, and what was reversed since it was issued."""

    community: str | None
    reversed_minutes: int
    reversed_records: int

    @property
    def standing_minutes(self) -> int:
        return self.service_minutes - self.reversed_minutes

    @property
    def status(self) -> str:
        """``valid``, ``records-reversed`` since, or ``revoked``."""
        return "revoked" if self.revoked else "records-reversed" if self.reversed_records else "valid"


_COUNTED: Final = "settled_position <= %(position)s AND (reversed_position IS NULL OR reversed_position > %(position)s)"
SELECT: Final = f"""
    SELECT {", ".join(f"c.{column}" for column in COLUMNS)}, a.community, r.reversed_minutes, r.reversed_records
    FROM certificates c
    LEFT JOIN people p ON p.person = c.volunteer
    LEFT JOIN accounts a ON a.account = 'household:' || p.household
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(service_minutes), 0)::bigint AS reversed_minutes, count(*) AS reversed_records
        FROM hours h WHERE h.volunteer = c.volunteer AND h.status = 'reversed'
        AND h.settled_position <= c.counted_position AND h.reversed_position > c.counted_position
        AND h.worked_on BETWEEN c.since::date AND c.until::date
    ) AS r
"""


def served(cursor: Cursor[Any], volunteer: str, since: date, until: date, position: int) -> CountedService:
    """The service of a volunteer, by the day on which it began, that was confirmed and unreversed at a position, which
    the projections must have reached."""
    cursor.execute(
        "SELECT record, service, service_minutes FROM hours WHERE volunteer = %(volunteer)s"
        " AND status IN ('confirmed', 'reversed') AND worked_on BETWEEN %(since)s AND %(until)s"
        f" AND {_COUNTED}",
        {"volunteer": volunteer, "since": since, "until": until, "position": position},
    )
    return count_service(position, cursor.fetchall())


async def certificate(connection: AsyncConnection[Any], number: str) -> CertificateListed | None:
    """One certificate, or None."""
    cursor = connection.cursor(row_factory=class_row(CertificateListed))
    await cursor.execute(f"{SELECT} WHERE c.certificate = %s", (number,))
    return await cursor.fetchone()


async def certificates(
    connection: AsyncConnection[Any],
    *,
    community: str | None = None,
    volunteer: str | None = None,
    public_on: date | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[CertificateListed]:
    """Certificates in the order of their numbers, after a sequence: of volunteers who live in a community now, of one
    volunteer, or those that are publicised on a day."""
    cursor = connection.cursor(row_factory=class_row(CertificateListed))
    await cursor.execute(
        f"{SELECT} WHERE c.sequence > %(after)s AND (%(community)s::text IS NULL OR a.community = %(community)s)"
        " AND (%(volunteer)s::text IS NULL OR c.volunteer = %(volunteer)s)"
        " AND (%(public_on)s::text IS NULL OR c.public_until >= %(public_on)s) ORDER BY c.sequence LIMIT %(limit)s",
        {
            "after": after,
            "community": community,
            "volunteer": volunteer,
            "public_on": None if public_on is None else public_on.isoformat(),
            "limit": limit,
        },
    )
    return await cursor.fetchall()
