"""Minutes given away over HTTP, and sixteen who give the last ones at once."""

from collections.abc import Callable, Iterator

import pytest

from api.wiring import Timebank, known
from domain.account import Account, BalanceTooLow
from domain.decision import Actor
from domain.transfer import TransferMinutes, TransferMonthFull, transfer
from tests.api.racing import RACERS, endow, race, won
from tests.api.service import JINHU, XINZHU, Api, register_places, serving

OpenBank = Callable[..., Timebank]


@pytest.fixture
def family(open_bank: OpenBank) -> Iterator[Api]:
    """A service where family may give each other a hundred minutes a month."""
    with serving(open_bank(transfer="family", transfer_minutes_month_max=100, balance_minutes_max=500)) as api:
        register_places(api)
        yield api


def test_family_gives_minutes_and_both_statements_show_it(family: Api) -> None:
    anna, ben = family.new_volunteer(), family.new_volunteer(JINHU)
    endow(family, anna.household, 200)
    gift = {"household": anna.household, "recipient_household": ben.household, "minutes": 60}
    family.problem(family.post("/v1/transfers", gift, anna.number), 422, "not-family")
    tie = {"household": anna.household, "other_household": ben.household}
    assert family.wrote("/v1/family-ties", tie, "S1")["facts"] == ["family-tie-registered.v1"]
    for person, other in ((anna, ben), (ben, anna)):
        ties = family.read(f"/v1/households/{person.household}/family-ties", person.number)["items"]
        assert [(row["household"], row["registered_by"]) for row in ties] == [(other.household, "S1")]
    assert family.wrote("/v1/transfers", gift, anna.number)["facts"] == ["minutes-transferred.v1"]
    assert family.wrote("/v1/transfers", gift | {"minutes": 40}, "S1")["facts"] == ["minutes-transferred.v1"]
    full = family.problem(family.post("/v1/transfers", gift | {"minutes": 1}, anna.number), 422, "transfer-month-full")
    assert full["transferred_minutes"] == 100
    rows = family.read(f"/v1/households/{ben.household}/statement", ben.number)["items"]
    assert [(row["kind"], row["change_minutes"], row["other_account"]) for row in rows] == [
        ("minutes-transferred.v1", 60, "household:" + anna.household),
        ("minutes-transferred.v1", 40, "household:" + anna.household),
    ]
    balance = family.read(f"/v1/households/{anna.household}/balance", anna.number)
    assert (balance["balance_minutes"], balance["given_minutes"]) == (100, 100)
    family.wrote("/v1/family-ties/ending", tie, "S1")
    assert family.read(f"/v1/households/{anna.household}/family-ties", anna.number)["items"] == []
    family.problem(family.post("/v1/family-ties/ending", tie, "S1"), 404, "unknown-family-tie")


def test_a_gift_against_the_rules_is_refused(family: Api) -> None:
    anna, ben = family.new_volunteer(), family.new_volunteer()
    endow(family, anna.household, 50)
    endow(family, ben.household, 490)
    family.wrote("/v1/family-ties", {"household": anna.household, "other_household": ben.household}, "S1")
    gift = {"household": anna.household, "recipient_household": ben.household, "minutes": 10}
    family.problem(family.post("/v1/transfers", gift, ben.number), 403, "not-of-the-household")
    family.problem(family.post("/v1/transfers", gift, "S9"), 404, "unknown-household")
    family.problem(family.post("/v1/transfers", gift | {"minutes": 11}, anna.number), 422, "balance-too-high")
    family.problem(family.post("/v1/transfers", gift | {"minutes": 51}, anna.number), 422, "balance-too-low")
    itself = gift | {"recipient_household": anna.household}
    family.problem(family.post("/v1/transfers", itself, anna.number), 422, "household-named-twice")
    family.problem(family.post("/v1/transfers", gift, "auditor"), 403, "role-not-allowed")
    tie = {"household": anna.household, "other_household": ben.household}
    family.problem(family.post("/v1/family-ties", tie, anna.number), 403, "role-not-allowed")
    family.problem(family.post("/v1/family-ties", tie, "S1"), 409, "family-tie-already-registered")
    family.problem(family.post("/v1/family-ties", tie, "S9"), 404, "unknown-household")


def test_under_the_first_policy_nobody_transfers_and_everybody_donates(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    endow(api, anna.household, 60)
    gift = {"household": anna.household, "recipient_household": ben.household, "minutes": 10}
    api.problem(api.post("/v1/transfers", gift, anna.number), 422, "transfers-switched-off")
    before = api.read(f"/v1/communities/{JINHU}/pool", "auditor")["balance_minutes"]
    donation = {"household": anna.household, "minutes": 60, "community": JINHU}
    assert api.wrote("/v1/donations", donation, anna.number)["facts"] == ["minutes-donated.v1"]
    assert api.read(f"/v1/communities/{JINHU}/pool", "auditor")["balance_minutes"] == before + 60
    api.problem(api.post("/v1/donations", donation, anna.number), 422, "balance-too-low")
    api.problem(api.post("/v1/donations", donation, ben.number), 403, "not-of-the-household")
    nowhere = donation | {"community": "没有社区"}
    api.problem(api.post("/v1/donations", nowhere, anna.number), 404, "unknown-community")


def test_ties_are_read_by_the_household_and_its_staff_and_are_hidden_from_others(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    path = f"/v1/households/{anna.household}/family-ties"
    for reader in (anna.number, "S1", "auditor"):
        assert api.read(path, reader)["items"] == []
    for reader in (ben.number, "S9"):
        api.problem(api.get(path, reader), 404, "unknown-household")


@pytest.mark.parametrize("loops", [1, 4])
def test_sixteen_who_give_the_last_minutes_at_once_give_no_more_than_there_are(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank(transfer="anyone")
    with Api(bank, "http://none") as api:
        register_places(api)
        anna = api.new_volunteer()
        others = [api.new_household(XINZHU) for _ in range(RACERS)]
        endow(api, anna.household, 5 * 10 + 9)
        giver = Actor(anna.number, "volunteer")
        gifts = [TransferMinutes(household=anna.household, recipient_household=to, minutes=10) for to in others]
        outcomes = race(bank, loops, [(transfer, gift, giver) for gift in gifts])
    assert won(outcomes) == 5
    refused = BalanceTooLow("household:" + anna.household, 9, 10, 0)
    assert [one for one in outcomes if isinstance(one, BaseException)] == [refused] * (RACERS - 5)
    assert known(bank.store, Account.of("household:" + anna.household)).balance_minutes == 9


@pytest.mark.parametrize("loops", [1, 4])
def test_sixteen_who_give_at_once_give_no_more_than_the_months_limit(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank(transfer="anyone", transfer_minutes_month_max=35)
    with Api(bank, "http://none") as api:
        register_places(api)
        anna, other = api.new_volunteer(), api.new_household()
        endow(api, anna.household, 1000)
        gift = TransferMinutes(household=anna.household, recipient_household=other, minutes=10)
        outcomes = race(bank, loops, [(transfer, gift, Actor(anna.number, "volunteer"))] * RACERS)
    assert won(outcomes) == 3
    assert sum(isinstance(one, TransferMonthFull) for one in outcomes) == RACERS - 3
