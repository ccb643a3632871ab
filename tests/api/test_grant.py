"""Grants that two people decide, over HTTP, and sixteen who approve one at once."""

from collections.abc import Callable, Iterator

import pytest

from api.wiring import Timebank, known
from domain.account import Account, FundPool, GrantMinutes, GrantNeedsApproval, fund_pool, grant_minutes
from domain.decision import Actor
from domain.grant import (
    ApproveGrant,
    GrantAlreadySettled,
    GrantStartingMinutes,
    ProposeGrant,
    StartingGrantAlreadyGiven,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
)
from tests.api.racing import RACERS, race, won
from tests.api.service import JINHU, XINZHU, Api, register_places, serving

OpenBank = Callable[..., Timebank]


@pytest.fixture
def careful(open_bank: OpenBank) -> Iterator[Api]:
    """A service where one person grants a hundred minutes at the most."""
    with serving(open_bank(grant_minutes_alone_max=100, starting_grant_minutes=120)) as api:
        register_places(api)
        yield api


def test_what_is_too_much_for_one_is_proposed_by_one_and_approved_by_another(careful: Api) -> None:
    needy = careful.new_household()
    careful.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 300}, "admin")
    grant = {"household": needy, "minutes": 101, "need": "illness"}
    careful.wrote("/v1/grants", grant | {"minutes": 60}, "S1")
    split = careful.problem(careful.post("/v1/grants", grant | {"minutes": 41}, "S2"), 422, "grant-needs-approval")
    assert (split["granted_minutes"], split["days"], split["grant_minutes_alone_max"]) == (60, 30, 100)
    number = careful.wrote("/v1/grant-proposals", grant, "S1")["grant"]
    (waiting,) = careful.read("/v1/grant-proposals", "S2", status="open")["items"]
    assert (waiting["grant"], waiting["household"], waiting["minutes"], waiting["community"]) == (
        number,
        needy,
        101,
        XINZHU,
    )
    path = f"/v1/grant-proposals/{number}"
    careful.problem(careful.post(path + "/approval", None, "S1"), 403, "approved-by-proposer")
    careful.problem(careful.post(path + "/approval", None, "S9"), 404, "unknown-grant")
    careful.problem(careful.post(path + "/withdrawal", None, "S2"), 403, "proposed-by-another")
    assert careful.wrote(path + "/approval", None, "S2")["facts"] == ["grant-approved.v1"]
    balance = careful.read(f"/v1/households/{needy}/balance", "S1")
    assert (balance["balance_minutes"], balance["granted_minutes"]) == (161, 161)
    careful.problem(careful.post(path + "/approval", None, "admin"), 409, "grant-already-settled")
    (settled,) = careful.read("/v1/grant-proposals", "auditor", status="approved")["items"]
    assert (settled["grant"], settled["settled_by"]) == (number, "S2")


def test_a_proposal_is_rejected_for_a_reason_or_withdrawn_and_pays_nothing(careful: Api) -> None:
    needy = careful.new_household()
    grant = {"household": needy, "minutes": 500, "need": "illness"}
    one, other = (careful.wrote("/v1/grant-proposals", grant, "S1")["grant"] for _ in range(2))
    short = careful.problem(careful.post(f"/v1/grant-proposals/{one}/approval", None, "S2"), 422, "balance-too-low")
    assert short["account"] == "pool:" + XINZHU
    careful.wrote(f"/v1/grant-proposals/{one}/rejection", {"reason": "not-proven"}, "S2")
    careful.wrote(f"/v1/grant-proposals/{other}/withdrawal", None, "S1")
    rows = careful.read("/v1/grant-proposals", "S1")["items"]
    assert [(row["grant"], row["status"], row["reason"]) for row in rows] == [
        (one, "rejected", "not-proven"),
        (other, "withdrawn", None),
    ]
    first = careful.read("/v1/grant-proposals", "S1", limit=1)
    assert first["next"] is not None
    assert careful.read("/v1/grant-proposals", "S1", limit=1, after=first["next"])["items"] == rows[1:]
    assert careful.read("/v1/grant-proposals", "S9")["items"] == []
    careful.problem(careful.get("/v1/grant-proposals", "S9", community=XINZHU), 403, "outside-community")
    again = grant | {"grant": one}
    careful.problem(careful.post("/v1/grant-proposals", again, "S1"), 409, "grant-already-proposed")


def test_a_starting_grant_is_given_once(careful: Api) -> None:
    needy = careful.new_household()
    start = {"household": needy, "need": "low-income"}
    careful.problem(careful.post("/v1/starting-grants", start, "S1"), 422, "balance-too-low")
    careful.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 240}, "admin")
    assert careful.wrote("/v1/starting-grants", start, "S1")["facts"] == ["starting-minutes-granted.v1"]
    careful.problem(careful.post("/v1/starting-grants", start, "S2"), 409, "starting-grant-already-given")
    careful.problem(careful.post("/v1/starting-grants", start, "S9"), 404, "unknown-household")
    assert careful.read(f"/v1/households/{needy}/balance", "S1")["balance_minutes"] == 120


def test_a_policy_without_a_starting_grant_gives_none(api: Api) -> None:
    start = {"household": api.new_household(JINHU), "need": "low-income"}
    api.problem(api.post("/v1/starting-grants", start, "S9"), 422, "no-starting-grant")


@pytest.mark.parametrize("loops", [1, 4])
def test_of_sixteen_who_approve_one_grant_exactly_one_does(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank(starting_grant_minutes=60)
    with Api(bank, "http://none") as api:
        register_places(api)
        needy = api.new_household()
        api.record(
            (fund_pool, FundPool(community=XINZHU, minutes=10_000)),
            (propose_grant, ProposeGrant(grant="G1", household=needy, minutes=300, need="illness")),
        )
        approvers = [Actor(f"S{number}", "staff", XINZHU) for number in range(RACERS)]
        outcomes = race(bank, loops, [(approve_grant, ApproveGrant(grant="G1"), one) for one in approvers])
        assert won(outcomes) == 1
        assert outcomes.count(GrantAlreadySettled("G1", "approved")) == RACERS - 1
        start = GrantStartingMinutes(household=needy, need="illness")
        outcomes = race(bank, loops, [(grant_starting_minutes, start, one) for one in approvers])
        assert won(outcomes) == 1
        assert outcomes.count(StartingGrantAlreadyGiven(needy)) == RACERS - 1
    assert known(bank.store, Account.of("household:" + needy)).balance_minutes == 360
    assert known(bank.store, Account.of("pool:" + XINZHU)).balance_minutes == 10_000 - 360


@pytest.mark.parametrize("loops", [1, 4])
def test_sixteen_small_grants_at_once_come_to_no_more_than_one_person_may_give(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank(grant_minutes_alone_max=100)
    with Api(bank, "http://none") as api:
        register_places(api)
        needy = api.new_household()
        api.record((fund_pool, FundPool(community=XINZHU, minutes=10_000)))
        small = GrantMinutes(household=needy, minutes=30, need="illness")
        granters = [Actor(f"S{number}", "staff", XINZHU) for number in range(RACERS)]
        outcomes = race(bank, loops, [(grant_minutes, small, one) for one in granters])
    assert won(outcomes) == 3
    assert outcomes.count(GrantNeedsApproval(30, 90, 30, 100)) == RACERS - 3
    assert known(bank.store, Account.of("household:" + needy)).balance_minutes == 90


@pytest.mark.parametrize("loops", [1, 4])
def test_sixteen_grants_approved_at_once_take_no_more_than_the_pool_holds(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank()
    with Api(bank, "http://none") as api:
        register_places(api)
        needy = [api.new_household() for _ in range(RACERS)]
        proposals = [ProposeGrant(grant=f"G{home}", household=home, minutes=100, need="other") for home in needy]
        api.record((fund_pool, FundPool(community=XINZHU, minutes=799)))
        api.record(*((propose_grant, proposal) for proposal in proposals))
        staff = Actor("S2", "staff", XINZHU)
        outcomes = race(bank, loops, [(approve_grant, ApproveGrant(grant=f"G{home}"), staff) for home in needy])
    assert won(outcomes) == 7
    assert known(bank.store, Account.of("pool:" + XINZHU)).balance_minutes == 99
