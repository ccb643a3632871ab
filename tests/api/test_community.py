"""Communities, grids and pools over HTTP."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.service import GRID, JINHU, RARE, XINZHU, Api


def listed(api: Api, path: str, key: str, limit: int) -> list[str]:
    found, after = [], ""
    while True:
        page = api.read(path, limit=limit, after=after)
        found += [item[key] for item in page["items"]]
        assert page["next"] is None or len(page["items"]) == limit
        if page["next"] is None:
            return found
        after = page["next"]


def test_communities_and_grids_are_public_and_listed_once_each(api: Api) -> None:
    names = listed(api, "/v1/communities", "community", 500)
    assert {XINZHU, JINHU, RARE} <= set(names)
    assert listed(api, "/v1/communities", "community", 1) == names == sorted(set(names))
    paths = listed(api, f"/v1/communities/{XINZHU}/grids", "grid", 500)
    assert {"/".join(GRID[:depth]) for depth in (1, 2, 3)} <= set(paths)
    assert listed(api, f"/v1/communities/{XINZHU}/grids", "grid", 1) == paths
    assert api.read(f"/v1/communities/{RARE}/grids")["items"] == []
    api.problem(api.get("/v1/communities/没有/grids"), 404, "unknown-community")


@pytest.mark.parametrize("name", ["𠮷田𫝆社区", "南宁 'x'; DROP TABLE facts;--", '{"$ne": 1}', "%_社区", "é社区"])
def test_rare_characters_and_odd_names_work_in_bodies_paths_and_filters(api: Api, name: str) -> None:
    api.wrote("/v1/communities", {"community": name, "name": name[:5]}, "admin")
    api.wrote("/v1/grids", {"community": name, "grid": ["𠮷"]}, "S0")
    path = f"/v1/communities/{quote(name, safe='')}"
    assert [item["grid"] for item in api.read(path + "/grids")["items"]] == ["𠮷"]
    api.wrote("/v1/pools/funding", {"community": name, "minutes": 7}, "admin")
    pool = api.read(path + "/pool", "auditor")
    assert (pool["community"], pool["balance_minutes"]) == (name, 7)
    anna = api.new_volunteer(name)
    record = api.logged(anna)
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S0")
    assert [row["record"] for row in api.read("/v1/hours", "auditor", community=name)["items"]] == [record]
    assert [row["household"] for row in api.read("/v1/households", "auditor", community=name)["items"]] == [
        anna.household
    ]
    api.served(4, name)
    assert {cell["key"] for cell in api.read("/v1/figures", by="community")["cells"]} >= {name}


def test_a_last_page_that_is_full_is_the_last(api: Api) -> None:
    for path in ("/v1/communities", f"/v1/communities/{XINZHU}/grids"):
        items = api.read(path, limit=500)["items"]
        page = api.read(path, limit=len(items))
        assert (page["items"], page["next"]) == (items, None)
        page = api.read(path, limit=len(items) - 1)
        assert (page["items"], page["next"] is None) == (items[:-1], False)


def test_what_cannot_be_registered_is_refused(api: Api) -> None:
    refused: list[tuple[str, dict[str, Any], str, int, str]] = [
        ("/v1/communities", {"community": XINZHU}, "admin", 409, "community-already-registered"),
        ("/v1/grids", {"community": "没有", "grid": ["甲"]}, "S0", 404, "unknown-community"),
        ("/v1/grids", {"community": XINZHU, "grid": ["没有", "甲"]}, "S1", 404, "unknown-grid"),
        ("/v1/grids", {"community": XINZHU, "grid": GRID}, "S1", 409, "grid-already-registered"),
        ("/v1/grids", {"community": XINZHU, "grid": ["甲"]}, "S9", 403, "outside-community"),
        ("/v1/grids", {"community": XINZHU, "grid": []}, "S1", 422, "invalid-request"),
        ("/v1/grids", {"community": XINZHU, "grid": ["甲/乙"]}, "S1", 422, "invalid-request"),
        ("/v1/pools/funding", {"community": "没有", "minutes": 1}, "admin", 404, "unknown-community"),
        ("/v1/pools/funding", {"community": XINZHU, "minutes": 0}, "admin", 422, "invalid-request"),
        ("/v1/pools/funding", {"community": XINZHU, "minutes": 1.5}, "admin", 422, "invalid-request"),
    ]
    for path, body, by, status, code in refused:
        api.problem(api.post(path, body, by), status, code)


def test_a_funded_pool_grants_minutes_to_a_household(api: Api) -> None:
    household = api.new_household(JINHU)
    api.wrote("/v1/pools/funding", {"community": JINHU, "minutes": 600}, "admin")
    before = api.read(f"/v1/communities/{JINHU}/pool", "S9")["balance_minutes"]
    granted = api.wrote("/v1/grants", {"household": household, "minutes": 90, "need": "living-alone"}, "S9")
    assert granted["facts"] == ["minutes-granted.v1"]
    assert api.read(f"/v1/communities/{JINHU}/pool", "S9")["balance_minutes"] == before - 90
    balance = api.read(f"/v1/households/{household}/balance", "S9")
    assert (balance["balance_minutes"], balance["granted_minutes"], balance["earned_minutes"]) == (90, 90, 0)


def test_a_grant_that_cannot_be_given_is_refused(strict: Api) -> None:
    grant = {"household": strict.new_household(), "minutes": 101, "need": "other"}
    strict.problem(strict.post("/v1/grants", grant | {"household": "H-NONE"}, "S1"), 404, "unknown-household")
    strict.problem(strict.post("/v1/grants", grant, "S9"), 404, "unknown-household")
    strict.problem(strict.post("/v1/grants", grant, "S1"), 422, "balance-too-low")
    strict.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 500}, "admin")
    found = strict.problem(strict.post("/v1/grants", grant, "S1"), 422, "balance-too-high")
    assert (found["minutes"], found["balance_minutes_max"]) == (101, 100)


def test_a_pool_is_read_by_staff_of_its_community_and_by_inspectors(api: Api) -> None:
    for reader in ("S1", "S0", "auditor", "admin"):
        api.read(f"/v1/communities/{XINZHU}/pool", reader)
    api.problem(api.get(f"/v1/communities/{XINZHU}/pool", "S9"), 403, "outside-community")
    api.problem(api.get("/v1/communities/没有/pool", "S0"), 404, "unknown-community")
