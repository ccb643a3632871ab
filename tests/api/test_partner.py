"""Partners, rewards and statements over HTTP: offered by staff, seen by members, settled with numbers."""

from typing import Any

import psycopg
import pytest

from api.token_command import new_token
from domain.partner import UnknownPartner
from tests.api.service import JINHU, XINZHU, Api
from tests.api.shop import Shop, open_shop


def test_staff_register_a_partner_and_offer_rewards_and_members_see_what_is_left(api: Api) -> None:
    shop = open_shop(api, items=2)
    anna, elsewhere = api.new_volunteer(), api.new_volunteer(JINHU)
    found = api.read(f"/v1/rewards/{shop.reward}", anna.number)
    assert (found["items_left"], found["minutes"], found["communities"]) == (2, 30, [XINZHU])
    assert shop.reward in listed(api, anna.number)
    assert shop.reward not in listed(api, elsewhere.number)
    assert shop.reward not in listed(api, "auditor", community=JINHU)
    assert shop.reward in listed(api, "auditor", partner=shop.partner)
    assert listed(api, shop.partner) == [shop.reward]
    assert shop.partner in {row["partner"] for row in pages(api, "/v1/partners", anna.number)}
    assert shop.partner not in {row["partner"] for row in pages(api, "/v1/partners", "S1", community=JINHU)}


def pages(api: Api, path: str, by: str, limit: int = 2, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: dict[str, Any] = {}
    while True:
        page = api.read(path, by, limit=limit, **after, **filters)
        assert len(page["items"]) <= limit
        found += page["items"]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def listed(api: Api, by: str, **filters: Any) -> list[str]:
    return [row["reward"] for row in pages(api, "/v1/rewards", by, **filters)]


def test_the_partner_restocks_and_withdraws_and_nobody_elses_partner_does(api: Api) -> None:
    shop, other = open_shop(api, items=0), open_shop(api)
    assert shop.reward not in listed(api, shop.partner)
    path = f"/v1/rewards/{shop.reward}"
    for by in (other.partner, "S9"):
        api.problem(api.post(path + "/stock", {"items": 3}, by), 404, "unknown-reward")
        api.problem(api.post(path + "/withdrawal", None, by), 404, "unknown-reward")
    assert api.wrote(path + "/stock", {"items": 3}, shop.partner)["facts"] == ["reward-restocked.v1"]
    assert listed(api, shop.partner) == [shop.reward]
    assert api.wrote(path + "/withdrawal", None, "S1")["facts"] == ["reward-withdrawn.v1"]
    api.problem(api.post(path + "/stock", {"items": 1}, shop.partner), 409, "reward-already-withdrawn")
    assert listed(api, shop.partner) == []
    assert listed(api, shop.partner, open=False) == [shop.reward]
    assert api.read(path, shop.partner)["withdrawn"] is True


def test_a_partner_or_reward_is_refused(api: Api) -> None:
    shop = open_shop(api)
    again = {"partner": shop.partner, "name": "食堂", "community": XINZHU}
    api.problem(api.post("/v1/partners", again, "S1"), 409, "partner-already-registered")
    api.problem(api.post("/v1/partners", again, "S9"), 403, "outside-community")
    api.problem(api.post("/v1/partners", again | {"community": "没有社区"}, "admin"), 404, "unknown-community")
    reward = {"reward": shop.reward, "partner": shop.partner, "name": "午餐", "minutes": 5, "items": 1}
    api.problem(api.post("/v1/rewards", reward, "S1"), 409, "reward-already-offered")
    api.problem(api.post("/v1/rewards", reward, "S9"), 404, "unknown-partner")
    api.problem(api.post("/v1/rewards", reward | {"partner": "P-NONE"}, "S1"), 404, "unknown-partner")
    api.problem(api.get("/v1/rewards/RW-NONE", "S1"), 404, "unknown-reward")
    api.problem(api.post(f"/v1/rewards/{shop.reward}/stock", {"items": 10**6}, "S1"), 422, "stock-too-large")
    numbered = api.wrote("/v1/rewards", {k: v for k, v in reward.items() if k != "reward"}, "S1")
    assert api.read(f"/v1/rewards/{numbered['reward']}", "S1")["partner"] == shop.partner


def statement(api: Api, shop: Shop, by: str, **named: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.read(f"/v1/partners/{shop.partner}/statement", by, **named)
    return found


def test_a_statement_lists_what_one_settlement_paid_for_and_names_no_household(api: Api) -> None:
    shop = open_shop(api, items=9)
    household = shop.household(300)
    first, second = shop.collected(household), shop.collected(household)
    openly = statement(api, shop, shop.partner)
    assert (openly["number"], openly["settled"], openly["minutes"]) == (1, False, 60)
    assert [line["reservation"] for line in openly["items"]] == [first, second]
    path = f"/v1/partners/{shop.partner}/settlements"
    assert api.wrote(path, None, "S1")["facts"] == ["partner-settled.v1"]
    empty = api.problem(api.post(path, None, "S1"), 422, "nothing-to-settle")
    assert empty["balance_minutes"] == 0
    third = shop.collected(household)
    api.wrote(f"/v1/reservations/{first}/reversal", {"reason": "other", "restocked": False}, "S2")
    fourth = shop.collected(household)
    api.wrote(path, None, "S1")
    last = shop.collected(household)
    one, two = (statement(api, shop, "auditor", number=number) for number in (1, 2))
    assert (one["settled"], one["settled_by"], one["minutes"]) == (True, "S1", 60)
    assert [(line["reservation"], line["minutes"]) for line in one["items"]] == [(first, 30), (second, 30)]
    assert [(line["reservation"], line["minutes"]) for line in two["items"]] == [
        (third, 30),
        (first, -30),
        (fourth, 30),
    ]
    assert two["minutes"] == 30
    assert [line["reservation"] for line in statement(api, shop, "S1")["items"]] == [last]
    assert statement(api, shop, "S1")["number"] == 3
    settled = pages(api, path, shop.partner, limit=1)
    assert [(row["number"], row["minutes"]) for row in settled] == [(1, 60), (2, 30)]
    assert household not in repr((one, two, settled))
    paged = statement(api, shop, shop.partner, number=2, limit=2)
    assert paged["minutes"] == 30
    rest = statement(api, shop, shop.partner, number=2, limit=2, after=paged["next"])
    assert paged["items"] + rest["items"] == two["items"]
    assert rest["next"] is None


def test_a_statement_is_for_the_partner_itself_its_communitys_staff_and_those_who_check(api: Api) -> None:
    shop, other = open_shop(api), open_shop(api)
    anna = api.new_volunteer()
    for path in ("statement", "settlements"):
        for by in (shop.partner, "S1", "S0", "auditor", "admin"):
            api.read(f"/v1/partners/{shop.partner}/{path}", by)
        for by in (other.partner, "S9"):
            api.problem(api.get(f"/v1/partners/{shop.partner}/{path}", by), 404, "unknown-partner")
        api.problem(api.get(f"/v1/partners/{shop.partner}/{path}", anna.number), 403, "role-not-allowed")
        api.problem(api.get(f"/v1/partners/P-NONE/{path}", "admin"), 404, "unknown-partner")
    api.problem(api.post(f"/v1/partners/{shop.partner}/settlements", None, "S9"), 404, "unknown-partner")
    api.problem(api.post(f"/v1/partners/{shop.partner}/settlements", None, shop.partner), 403, "role-not-allowed")
    api.problem(api.get(f"/v1/partners/{shop.partner}/statement", "S1", number=1), 404, "not-found")


def test_a_partner_may_call_what_is_a_counters_and_nothing_else(api: Api) -> None:
    shop = open_shop(api)
    for path in ("/v1/hours", "/v1/households", "/v1/households/H1/balance", "/v1/open-reservations"):
        api.problem(api.get(path, shop.partner), 403, "role-not-allowed")
    for path in ("/v1/reservations", "/v1/rewards", "/v1/partners"):
        assert api.post(path, {}, shop.partner).json()["code"] == "role-not-allowed"


def test_a_partners_token_is_for_one_that_is_registered(api: Api) -> None:
    shop = open_shop(api)
    with psycopg.connect(api.bank.address) as connection:
        issued = new_token(api.bank, connection, shop.partner, "partner", None)
        assert issued.actor == (shop.partner, "partner", None)
        with pytest.raises(UnknownPartner):
            new_token(api.bank, connection, "P-NONE", "partner", None)
    api.tokens["counter"] = issued.token
    assert listed(api, "counter") == [shop.reward]
