"""Partners and rewards: what is left of each is what the facts say, and every settlement has its number."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from msgspec.structs import replace

from api.wiring import Timebank
from domain.account import PartnerSettled
from domain.decision import fold_facts
from domain.partner import PartnerRegistered, Reward, RewardOffered
from projections.partner import REWARD_COLUMNS, last_settlements, partners, rewards, settlements
from tests.controls import (
    JINHU,
    PARTNER_REGISTERED,
    PARTNER_SETTLED,
    REDEMPTION_REVERSED,
    RESERVATION_RELEASED,
    REWARD_OFFERED,
    REWARD_RESTOCKED,
    REWARD_WITHDRAWN,
    XINZHU,
    collected,
    reserved,
)
from tests.projections.history import History, projecting, record
from tests.projections.test_account import ask

OpenBank = Callable[..., Timebank]
TALE = (
    REWARD_OFFERED,
    *reserved("RV1"),
    replace(RESERVATION_RELEASED, reservation="RV1"),
    *collected("RV2"),
    *collected("RV3"),
    replace(REDEMPTION_REVERSED, reservation="RV3"),
    REWARD_RESTOCKED,
    *reserved("RV4"),
    REWARD_WITHDRAWN,
)


def reward_rows(bank: Timebank) -> dict[str, dict[str, Any]]:
    with bank.reading() as connection:
        found = connection.execute(f"SELECT {', '.join(REWARD_COLUMNS)} FROM rewards")
        return {row[0]: dict(zip(REWARD_COLUMNS, row, strict=True)) for row in found}


@pytest.mark.parametrize("cuts", [(), *combinations(range(1, len(TALE), 2), 2)], ids=str)
def test_the_stock_reads_the_same_whichever_batch_changes_it(open_bank: OpenBank, cuts: tuple[int, ...]) -> None:
    bank = open_bank()
    for start, end in zip((0, *cuts), (*cuts, len(TALE)), strict=True):
        record(bank, *TALE[start:end])
    row = reward_rows(bank)["RW1"]
    assert (row["items_left"], row["items_reserved"], row["items_collected"], row["withdrawn"]) == (6, 1, 1, True)
    assert (row["minutes"], row["communities"], row["household_month_max"]) == (60, XINZHU, 2)


def test_every_reward_says_what_the_facts_say(open_bank: OpenBank) -> None:
    bank = open_bank()
    history = History(bank, 41)
    with projecting(bank) as projector:
        for _ in range(8):
            history.go(60)
            projector.catch_up()
    facts = [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]
    found = reward_rows(bank)
    assert set(found) == {fact.reward for fact in facts if isinstance(fact, RewardOffered)}
    assert any(row["items_collected"] for row in found.values())
    for number, row in found.items():
        state = fold_facts(Reward.of(number), facts)
        assert (row["items_left"], row["withdrawn"]) == (state.items_left, state.withdrawn)
    settled = [fact for fact in facts if isinstance(fact, PartnerSettled)]
    assert settled
    listed = ask(bank, lambda c: settlements(c, "P1", after=0, limit=500))
    assert [(row.number, row.minutes) for row in listed] == [(fact.number, fact.minutes) for fact in settled]
    assert [row.number for row in listed] == list(range(1, len(listed) + 1))


def test_rewards_are_listed_by_who_may_redeem_them_and_whether_anything_is_left(open_bank: OpenBank) -> None:
    bank = open_bank()
    for_all = replace(REWARD_OFFERED, reward="RW2", communities=(), partner="P2")
    both = replace(REWARD_OFFERED, reward="RW3", communities=(JINHU, XINZHU))
    none_left = replace(REWARD_OFFERED, reward="RW4", items=0)
    gone = replace(REWARD_OFFERED, reward="RW5")
    record(bank, REWARD_OFFERED, for_all, both, none_left, gone, replace(REWARD_WITHDRAWN, reward="RW5"))

    def listed(community: str | None = None, partner: str | None = None, open_only: bool = True) -> list[str]:
        found, after = [], 0
        while True:
            rows = ask(
                bank,
                lambda c: rewards(
                    c,
                    community=community,
                    partner=partner,
                    open_only=open_only,
                    after=after,  # noqa: B023 - called in this round
                    limit=2,
                ),
            )
            if not rows:
                return found
            found += [row.reward for row in rows]
            after = rows[-1].offered_position

    assert listed() == ["RW1", "RW2", "RW3"]
    assert listed(open_only=False) == ["RW1", "RW2", "RW3", "RW4", "RW5"]
    assert listed(JINHU) == ["RW2", "RW3"]
    assert listed(XINZHU) == ["RW1", "RW2", "RW3"]
    assert listed("新竹") == ["RW2"]
    assert listed(partner="P2") == ["RW2"]


def test_partners_and_their_last_settlements_are_found(open_bank: OpenBank) -> None:
    bank = open_bank()
    other = PartnerRegistered("P2", "金湖食堂", JINHU, "S9")
    record(bank, PARTNER_REGISTERED, other, PARTNER_SETTLED, replace(PARTNER_SETTLED, number=2, minutes=30))

    def numbers(until: int | None) -> list[int]:
        return [row.number for row in ask(bank, lambda c: last_settlements(c, "P1", until=until))]

    assert [row.partner for row in ask(bank, lambda c: partners(c, community=None, after="", limit=9))] == ["P1", "P2"]
    assert [row.name for row in ask(bank, lambda c: partners(c, community=JINHU, after="P1", limit=9))] == ["金湖食堂"]
    assert [numbers(None), numbers(2), numbers(1), numbers(0)] == [[2, 1], [2, 1], [1], []]
