"""Groups: who is in them, whatever came and went within a batch; and random histories move minutes in every way."""

from collections.abc import Callable
from typing import Any

import psycopg

from api.wiring import Timebank
from domain.account import HoursConfirmed
from domain.group import GroupMemberJoined, GroupMemberLeft
from projections.group import GroupListed, group, group_members
from tests.controls import GROUP_LEADER_APPOINTED, GROUP_MEMBER_JOINED, GROUP_MEMBER_LEFT, GROUP_REGISTERED, XINZHU
from tests.projections.history import POLICIES, History, record
from tests.projections.test_account import ask

OpenBank = Callable[..., Timebank]


def members(bank: Timebank) -> Any:
    return ask(bank, lambda connection: group_members(connection, "G1"))


def listed(bank: Timebank) -> Any:
    async def one(connection: psycopg.AsyncConnection[Any]) -> GroupListed | None:
        return await group(connection, "G1")

    return ask(bank, one)


def test_members_come_and_go_in_one_batch_or_in_several(open_bank: OpenBank) -> None:
    bank = open_bank()
    record(bank, GROUP_REGISTERED)
    assert (members(bank), listed(bank)) == (["V1"], GroupListed("G1", XINZHU, "V1", 1, 0))
    record(bank, GROUP_MEMBER_JOINED, GROUP_MEMBER_LEFT, GROUP_MEMBER_JOINED, GROUP_LEADER_APPOINTED)
    assert (members(bank), listed(bank).leader) == (["V1", "V2"], "V2")
    record(bank, GroupMemberLeft("G1", "V1"), GroupMemberJoined("G1", "V1"))
    assert (members(bank), listed(bank).members) == (["V1", "V2"], 2)
    record(bank, GroupMemberLeft("G1", "V1"), HoursConfirmed("issuance", "group:G1", 60, "R1", "S2"))
    assert (members(bank), listed(bank).members, listed(bank).balance_minutes) == (["V2"], 1, 60)


def test_random_histories_move_minutes_in_every_way(open_bank: OpenBank) -> None:
    bank = open_bank(**POLICIES["issuance pays, what is above the cap goes to the pool"])
    history = History(bank, 9)
    for _ in range(30):
        history.go(50)
    seen = {type(recorded.envelope.fact).__module__ for batch in bank.store.scan() for recorded in batch}
    assert {f"domain.{name}" for name in ("transfer", "group", "grant", "opening", "expiry")} <= seen
    kinds = {recorded.envelope.fact.type for batch in bank.store.scan() for recorded in batch}
    assert {
        "minutes-transferred.v1",
        "minutes-donated.v1",
        "grant-approved.v1",
        "starting-minutes-granted.v1",
        "opening-balance-credited.v1",
        "minutes-expired.v1",
    } <= kinds
