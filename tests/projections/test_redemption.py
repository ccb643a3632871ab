"""Reservations: one row each, standing where the facts leave it, whichever batch changes it; and a partner's lines."""

from collections.abc import Callable
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace

from api.wiring import Timebank
from domain.account import Account, RedemptionReversed, RewardCollected
from domain.decision import fold_facts
from domain.fact import Fact
from domain.partner import RewardReserved
from domain.redemption import Reservation
from projections.redemption import (
    COLUMNS,
    ended_reservations,
    microseconds,
    open_reservations,
    redeemed_minutes,
    redemptions,
    reservations,
)
from tests.controls import (
    JINHU,
    NOW,
    REDEMPTION_REVERSED,
    RESERVATION_GIVEN_UP,
    RESERVATION_RELEASED,
    REWARD_OFFERED,
    XINZHU,
    at,
    collected,
    reserved,
)
from tests.projections.history import History, projecting, record
from tests.projections.test_account import ask

OpenBank = Callable[..., Timebank]


def rows(bank: Timebank) -> dict[str, dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM reservations")
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found}


TALES: dict[str, tuple[tuple[Fact, ...], dict[str, Any]]] = {
    "reversed": (
        (*collected("RV1", collected_at=at("11-21 16:00")), REDEMPTION_REVERSED),
        {
            "status": "reversed",
            "collected_at": "2026-11-21T16:00:00+08:00",
            "reversed_by": "S2",
            "reason": "other",
            "ends_at": "2026-11-29T00:00:00+08:00",
            "cause": None,
        },
    ),
    "given up and released": (
        (*reserved("RV1"), RESERVATION_GIVEN_UP, RESERVATION_RELEASED),
        {
            "status": "released",
            "ends_at": "2026-11-22T10:00:00+08:00",
            "expires_at": "2026-11-29T00:00:00+08:00",
            "ends_at_microseconds": microseconds(at("11-22 10:00")),
            "released_by": "S2",
            "cause": "by-staff",
            "collected_at": None,
        },
    ),
}


@pytest.mark.parametrize("cuts", [cuts for n in range(3) for cuts in combinations((1, 2, 3), n)], ids=str)
@pytest.mark.parametrize(("tale", "expected"), TALES.values(), ids=TALES)
def test_a_reservation_reads_the_same_whichever_batch_changes_it(
    open_bank: OpenBank, cuts: tuple[int, ...], tale: tuple[Fact, ...], expected: dict[str, Any]
) -> None:
    bank = open_bank()
    record(bank, REWARD_OFFERED)
    for start, end in zip((0, *cuts), (*cuts, len(tale)), strict=True):
        record(bank, *tale[start:end])
    row = rows(bank)["RV1"]
    assert {column: row[column] for column in expected} == expected
    assert (row["reward"], row["partner"], row["member"], row["household"], row["community"], row["minutes"]) == (
        *("RW1", "P1", "V3", "H2", XINZHU, 60),
    )


def test_every_reservation_and_every_line_says_what_the_facts_say(open_bank: OpenBank) -> None:
    bank = open_bank()
    history = History(bank, 42)
    with projecting(bank) as projector:
        for _ in range(8):
            history.go(150)
            projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    found = rows(bank)
    assert {row["status"] for row in found.values()} >= {"reserved", "released", "collected", "reversed"}
    assert set(found) == {fact.reservation for fact in facts if isinstance(fact, RewardReserved)}
    for number, row in found.items():
        state = fold_facts(Reservation.of(number), facts)
        assert state.reserved is not None
        assert state.ends_at is not None
        assert (row["status"], row["ends_at"]) == (state.status, state.ends_at.isoformat())
        assert (row["code_sha256"], row["minutes"]) == (state.reserved.code_sha256, state.reserved.minutes)
    lines = ask(bank, lambda c: redemptions(c, "P1", after=0, until=None, limit=5000))
    moved = [fact for fact in facts if isinstance(fact, RewardCollected | RedemptionReversed)]
    assert [(line.reservation, abs(line.minutes)) for line in lines] == [(m.reservation, m.minutes) for m in moved]
    settled = sum(fact.minutes for fact in facts if type(fact).__name__ == "PartnerSettled")
    balance = fold_facts(Account.of("partner:P1"), facts).balance_minutes
    assert ask(bank, lambda c: redeemed_minutes(c, "P1", after=0, until=None)) == balance + settled
    assert [line.position for line in lines] == sorted({line.position for line in lines})


def test_open_reservations_are_listed_by_their_end_and_those_that_ended_are_found(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, REWARD_OFFERED)
    ends = {"RV1": at("11-25 00:00"), "RV2": at("11-24 00:00"), "RV3": at("11-24 00:00"), "RV4": at("11-23 00:00")}
    for number, expires_at in ends.items():
        record(bank, *reserved(number, expires_at=expires_at, community=JINHU if number == "RV3" else XINZHU))
    record(bank, replace(RESERVATION_RELEASED, reservation="RV4"))
    record(bank, replace(RESERVATION_GIVEN_UP, reservation="RV1", given_up_at=NOW))

    def listed(community: str | None, limit: int) -> list[str]:
        found: list[str] = []
        after = (0, "")
        while page := ask(bank, lambda c: open_reservations(c, community=community, after=after, limit=limit)):  # noqa: B023
            found += [row.reservation for row in page]
            after = page[-1].ends_at_microseconds, page[-1].reservation
        return found

    for limit in (1, 2, 5):
        assert listed(None, limit) == ["RV1", "RV2", "RV3"]
        assert listed(XINZHU, limit) == ["RV1", "RV2"]
    with bank.reading() as connection:
        assert ended_reservations(connection, NOW - timedelta(microseconds=1)) == []
        assert ended_reservations(connection, NOW) == ["RV1"]
        assert ended_reservations(connection, at("11-24 00:00")) == ["RV1", "RV2", "RV3"]


def test_reservations_are_listed_by_every_filter(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, REWARD_OFFERED, *reserved("RV1"), *reserved("RV2", household="H1", community=JINHU))
    record(bank, *reserved("RV3", partner="P2"), replace(RESERVATION_RELEASED, reservation="RV3"))

    def listed(**filters: str) -> list[str]:
        return [row.reservation for row in ask(bank, lambda c: reservations(c, **filters))]

    assert listed() == ["RV1", "RV2", "RV3"]
    assert listed(household="H2") == ["RV1", "RV3"]
    assert listed(community=JINHU) == ["RV2"]
    assert listed(partner="P2", status="released") == ["RV3"]
    assert listed(partner="P1", status="released") == []


def test_microseconds_are_exact() -> None:
    whole = at("11-22 12:00")
    assert microseconds(whole.replace(microsecond=999_999)) == microseconds(whole) + 999_999
    assert microseconds(whole) % 1_000_000 == 0
