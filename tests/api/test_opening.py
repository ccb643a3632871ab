"""Opening balances over HTTP, and sixteen who approve one at once."""

from collections.abc import Callable

import pytest

from api.wiring import Timebank, known
from domain.account import Account
from domain.decision import Actor
from domain.opening import (
    ApproveOpeningBalance,
    OpeningAlreadyCredited,
    ProposeOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
)
from tests.api.racing import RACERS, race, won
from tests.api.service import XINZHU, Api, register_places


def test_one_proposes_another_approves_and_it_is_credited_once(api: Api) -> None:
    household = api.new_household()
    number = api.wrote("/v1/opening-balances", {"household": household, "minutes": 700}, "S1")["opening"]
    path, body = f"/v1/opening-balances/{household}", {"opening": number}
    twice = api.post("/v1/opening-balances", {"household": household, "minutes": 1}, "S2")
    assert api.problem(twice, 409, "opening-already-proposed")["opening"] == number
    waiting = api.read("/v1/opening-balances", "S2", status="open")["items"]
    assert (household, 700, XINZHU) in [(row["household"], row["minutes"], row["community"]) for row in waiting]
    api.problem(api.post(path + "/approval", body, "S1"), 403, "approved-by-proposer")
    api.problem(api.post(path + "/approval", {"opening": "OB-NONE"}, "S2"), 404, "unknown-opening")
    api.problem(api.post(path + "/approval", body, "S9"), 404, "unknown-household")
    assert api.wrote(path + "/approval", body, "S2")["facts"] == ["opening-balance-credited.v1"]
    balance = api.read(f"/v1/households/{household}/balance", "S1")
    assert (balance["balance_minutes"], balance["received_minutes"]) == (700, 700)
    api.problem(api.post(path + "/approval", body, "admin"), 409, "opening-already-credited")


def test_a_wrong_proposal_is_rejected_or_withdrawn_and_a_right_one_made(api: Api) -> None:
    household = api.new_household()
    path = f"/v1/opening-balances/{household}"
    proposed = {"household": household, "minutes": 7, "opening": "OB1"}
    api.wrote("/v1/opening-balances", proposed, "S1")
    api.wrote(path + "/rejection", {"opening": "OB1", "reason": "wrong-amount"}, "S2")
    api.wrote("/v1/opening-balances", proposed | {"opening": "OB2"}, "S1")
    api.problem(api.post(path + "/withdrawal", {"opening": "OB2"}, "S2"), 403, "proposed-by-another")
    api.wrote(path + "/withdrawal", {"opening": "OB2"}, "S1")
    api.wrote("/v1/opening-balances", proposed, "S1")
    rows = [row for row in api.read("/v1/opening-balances", "S1", limit=500)["items"] if row["household"] == household]
    assert [(row["opening"], row["status"]) for row in rows] == [("OB2", "withdrawn"), ("OB1", "open")]
    assert household not in {row["household"] for row in api.read("/v1/opening-balances", "S9")["items"]}
    api.problem(api.get("/v1/opening-balances", "S9", community=XINZHU), 403, "outside-community")


@pytest.mark.parametrize("loops", [1, 4])
def test_of_sixteen_who_approve_one_opening_balance_exactly_one_does(
    open_bank: Callable[..., Timebank], loops: int
) -> None:
    bank = open_bank()
    with Api(bank, "http://none") as api:
        register_places(api)
        household = api.new_household()
        proposal = ProposeOpeningBalance(opening="OB1", household=household, minutes=300)
        api.record((propose_opening_balance, proposal))
        approve = ApproveOpeningBalance(household=household, opening="OB1")
        approvers = [Actor(f"S{number}", "staff", XINZHU) for number in range(RACERS)]
        outcomes = race(bank, loops, [(approve_opening_balance, approve, one) for one in approvers])
    assert won(outcomes) == 1
    assert outcomes.count(OpeningAlreadyCredited(household)) == RACERS - 1
    assert known(bank.store, Account.of("household:" + household)).balance_minutes == 300
