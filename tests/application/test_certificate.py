"""Recount: certificates and stars are counted again from the journal, and every difference is named."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from application.certificate import Recount
from domain.certificate import ServiceTotal, count_service
from domain.fact import Fact, Recorded
from domain.recognition import StarAwarded, StarWithdrawn
from tests.controls import (
    CERTIFICATE_ISSUED,
    CERTIFICATE_REVOKED,
    HOURS_CONFIRMED,
    HOURS_REVERSED,
    credited,
    district,
    envelope,
    logged,
)

RULES = district(star_minutes=(100, 150))
SERVED = (
    *RULES,
    logged("R1", "11-20 09:00 - 10:00"),
    replace(HOURS_CONFIRMED, record="R1", minutes=60),
    logged("R2", "11-21 09:00 - 10:30"),
    replace(HOURS_CONFIRMED, record="R2", minutes=90),
)
HEAD = len(SERVED)
COUNTED = count_service(HEAD, [("R1", "助餐", 60), ("R2", "助餐", 90)])
ISSUED = replace(
    CERTIFICATE_ISSUED,
    services=COUNTED.services,
    service_minutes=150,
    service_records=2,
    counted_position=HEAD,
    records_sha256=COUNTED.records_sha256,
)
REVERSED = replace(HOURS_REVERSED, record="R1", minutes=60)


def recounted(*facts: Fact) -> Recount:
    fold = Recount()
    fold.fold(_recorded(facts))
    return fold


def _recorded(facts: Iterable[Fact]) -> list[Recorded[Any]]:
    return [Recorded(position, 1_000 + position, envelope(fact)) for position, fact in enumerate(facts, 1)]


def test_what_was_counted_rightly_agrees_whatever_was_reversed_since() -> None:
    stars = (StarAwarded("V1", 1, 100, 150, HEAD), StarAwarded("V1", 2, 150, 150, HEAD))
    lost = StarWithdrawn("V1", 1, 90, HEAD + 4)
    again = recounted(*SERVED, *stars, ISSUED, REVERSED, lost, CERTIFICATE_REVOKED)
    assert (again.certificates, again.stars, again.differences) == (1, 3, [])
    assert again.position == HEAD + 6


def test_what_was_reversed_before_the_position_does_not_count() -> None:
    one = count_service(HEAD + 1, [("R2", "助餐", 90)])
    rightly = replace(
        ISSUED,
        services=one.services,
        service_minutes=90,
        service_records=1,
        counted_position=HEAD + 1,
        records_sha256=one.records_sha256,
    )
    assert recounted(*SERVED, REVERSED, rightly).differences == []
    assert recounted(*SERVED, REVERSED, replace(ISSUED, counted_position=HEAD + 1)).differences != []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"service_minutes": 151}, "minutes"),
        ({"service_records": 3}, "records"),
        ({"services": (ServiceTotal("助餐", 149, 2),)}, "services"),
        ({"records_sha256": "00" * 32}, "digest of records"),
        ({"sequence": 2}, "sequence"),
        ({"counted_position": HEAD + 1}, "counted before it was issued"),
    ],
)
def test_a_certificate_that_says_otherwise_is_named(changes: dict[str, Any], named: str) -> None:
    (found,) = recounted(*SERVED, replace(ISSUED, **changes)).differences
    assert found.what == f"certificate 2026-000001 {named}"


def test_a_number_that_was_used_before_is_named() -> None:
    (found,) = recounted(*SERVED, ISSUED, replace(ISSUED, sequence=2)).differences
    assert (found.what, found.replayed) == ("certificate 2026-000001 number", "2026-000002")


def test_a_certificate_of_another_period_or_volunteer_is_named() -> None:
    for changes in ({"since": date(2026, 11, 21)}, {"until": date(2026, 11, 20)}, {"volunteer": "V2"}):
        assert len(recounted(*SERVED, replace(ISSUED, **changes)).differences) == 4


def test_a_number_that_is_left_out_or_comes_twice_is_named() -> None:
    second = replace(ISSUED, certificate="2026-000002", sequence=2)
    assert recounted(*SERVED, ISSUED, second).differences == []
    for sequence in (1, 3):
        (found,) = recounted(*SERVED, ISSUED, replace(second, sequence=sequence)).differences
        assert (found.replayed, found.projected) == (2, sequence)


def test_a_revocation_of_nothing_or_for_the_second_time_is_named() -> None:
    assert len(recounted(*SERVED, CERTIFICATE_REVOKED).differences) == 1
    assert len(recounted(*SERVED, ISSUED, CERTIFICATE_REVOKED, CERTIFICATE_REVOKED).differences) == 1


@pytest.mark.parametrize(
    "star",
    [
        StarAwarded("V1", 1, 100, 149, HEAD),
        StarAwarded("V1", 1, 90, 150, HEAD),
        StarAwarded("V1", 3, 100, 150, HEAD),
        StarAwarded("V2", 1, 100, 150, HEAD),
        StarAwarded("V1", 1, 100, 150, HEAD + 1),
        StarWithdrawn("V1", 1, 90, HEAD),
    ],
)
def test_a_star_that_says_otherwise_is_named(star: Fact) -> None:
    (found,) = recounted(*SERVED, star).differences
    assert found.what.startswith("star ")


def test_credits_without_a_record_are_no_service() -> None:
    assert recounted(*RULES, credited("H1", 600), replace(REVERSED, record="R0")).differences == []
