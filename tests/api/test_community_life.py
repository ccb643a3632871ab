"""Places that change, over HTTP and when they are due: pools and households follow, figures roll up, history stays."""

from collections.abc import Callable
from datetime import datetime, timedelta

from api.due import DUE, run_due
from api.wiring import Timebank, known
from domain.account import Account
from tests.api.service import GRID, JINHU, RARE, XINZHU, Api, register_places, serving

OpenBank = Callable[..., Timebank]

SPLITTING = [kind for kind in DUE if kind.name == "community-split"]
MOVING = [kind for kind in DUE if kind.name in ("community-merger", "household-follows")]


def test_a_communitys_name_changes_on_its_day_and_its_id_never(api: Api) -> None:
    today = datetime.now(api.bank.zone).date()
    body = {"community": RARE, "name": "明天的名字", "effective_on": (today + timedelta(days=1)).isoformat()}
    api.wrote("/v1/community-names", body, "admin")
    assert name_of(api, RARE) == RARE
    api.wrote("/v1/community-names", {**body, "name": "今天的名字", "effective_on": today.isoformat()}, "admin")
    assert name_of(api, RARE) == "今天的名字"
    past = {**body, "effective_on": "2020-01-01"}
    api.problem(api.post("/v1/community-names", past, "admin"), 422, "effective-too-early")
    api.problem(api.post("/v1/community-names", body, "S0"), 403, "role-not-allowed")


def name_of(api: Api, community: str) -> str:
    items = api.read("/v1/communities", limit=500)["items"]
    return next(str(item["name"]) for item in items if item["community"] == community)


def test_a_merger_is_carried_out_on_its_day_once_and_followed_by_what_comes_later(open_bank: OpenBank) -> None:
    bank = open_bank(payer="pool")
    with serving(bank) as api:
        register_places(api)
        anna = api.new_volunteer()
        today = datetime.now(bank.zone).date()
        day = (today + timedelta(days=3)).isoformat()
        api.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 600}, "admin")
        api.wrote(f"/v1/hours/{api.logged(anna)}/confirmation", None, "S1")
        api.served(4)  # five together, as many as are told of in public
        body = {"community": XINZHU, "into": JINHU, "effective_on": day}
        api.wrote("/v1/community-mergers", body, "admin")
        api.problem(api.post("/v1/community-mergers", body, "admin"), 409, "place-already-moved")
        merged = api.read("/v1/communities", limit=500)["items"]
        assert [i["merged_on"] for i in merged if i["merged_into"] == JINHU] == [day]
        now = datetime.now(bank.zone)
        assert run_due(bank, now, MOVING).done == {"community-merger": 0, "household-follows": 0}
        before = api.read("/v1/figures/exact", "auditor", by="community", places="now")["cells"]
        assert [cell["key"] for cell in before] == [XINZHU]
        later = api.read("/v1/figures/exact", "auditor", by="community", places="now", as_of=day)["cells"]
        assert [cell["key"] for cell in later] == [JINHU]
        for path, by in (("/v1/figures/exact", "auditor"), ("/v1/figures", None)):
            then = api.read(path, by, by="community", as_of=day)
            assert ([cell["key"] for cell in then["cells"]], then["places"]) == ([XINZHU], "then")


def test_what_is_due_today_is_done_once_however_often_it_is_asked_for(open_bank: OpenBank) -> None:
    bank = open_bank(payer="pool")
    with serving(bank) as api:
        register_places(api)
        anna = api.new_volunteer()
        api.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 600}, "admin")
        first, second = api.logged(anna), api.logged(anna, hour=12)
        api.wrote(f"/v1/hours/{first}/confirmation", None, "S1")
        today = datetime.now(bank.zone).date().isoformat()
        api.wrote("/v1/community-mergers", {"community": XINZHU, "into": JINHU, "effective_on": today}, "admin")
        api.read("/v1/communities")
        now = datetime.now(bank.zone)
        assert run_due(bank, now, MOVING).done == {"community-merger": 1, "household-follows": 1}
        assert pool(api, JINHU) == 540
        assert pool(api, XINZHU) == 0
        assert run_due(bank, now, MOVING).done == {"community-merger": 0, "household-follows": 0}
        assert api.read(f"/v1/households/{anna.household}", "S0")["community"] == JINHU
        # What was logged before and is settled later finds the pool that the old one became part of.
        api.wrote(f"/v1/hours/{second}/confirmation", None, "S1")
        assert pool(api, JINHU) == 480
        api.wrote(f"/v1/hours/{first}/reversal", {"reason": "other"}, "S1")
        assert (pool(api, JINHU), pool(api, XINZHU)) == (540, 0)
        late = {"household": "H-LATE", "community": XINZHU}
        api.problem(api.post("/v1/households", late, "S1"), 422, "dissolved-community")
        assert api.read(f"/v1/hours/{second}", "S0")["community"] == XINZHU


def pool(api: Api, community: str) -> int:
    return int(api.read(f"/v1/communities/{community}/pool", "S0")["balance_minutes"])


def test_a_grid_moves_and_a_community_is_split(open_bank: OpenBank) -> None:
    bank = open_bank()
    with serving(bank) as api:
        register_places(api)
        today = datetime.now(bank.zone).date().isoformat()
        body = {"household": "H-A", "community": XINZHU, "grid": GRID}
        api.wrote("/v1/households", body, "S1")
        api.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 600}, "admin")
        split = {"community": XINZHU, "into": "新竹东社区", "grids": [GRID[0]], "minutes": 200, "effective_on": today}
        api.wrote("/v1/community-splits", split, "admin")
        assert (pool(api, XINZHU), pool(api, "新竹东社区")) == (400, 200)
        assert run_due(bank, datetime.now(bank.zone), MOVING).done["household-follows"] == 1
        home = api.read("/v1/households/H-A", "S0")
        assert (home["community"], home["grid"]) == ("新竹东社区", "/".join(GRID))
        api.wrote("/v1/grids", {"community": JINHU, "grid": ["第1网格"]}, "admin")
        move = {
            "community": "新竹东社区",
            "grid": [GRID[0]],
            "into_community": JINHU,
            "into_grid": ["第1网格"],
            "effective_on": today,
        }
        api.wrote("/v1/grid-moves", move, "admin")
        api.problem(api.post("/v1/grid-moves", move, "admin"), 409, "place-already-moved")
        itself = {**move, "community": JINHU, "grid": ["第1网格"]}
        api.problem(api.post("/v1/grid-moves", itself, "admin"), 422, "moved-into-itself")
        api.read("/v1/communities")
        assert run_due(bank, datetime.now(bank.zone), MOVING).done["household-follows"] == 1
        home = api.read("/v1/households/H-A", "S9")
        assert (home["community"], home["grid"]) == (JINHU, "第1网格")


def test_a_planned_split_shares_the_pool_on_its_day_once(open_bank: OpenBank) -> None:
    bank = open_bank()
    with serving(bank) as api:
        register_places(api)
        api.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 600}, "admin")
        now = datetime.now(bank.zone)
        day = now + timedelta(days=3)
        split = {"community": XINZHU, "into": "新竹东社区", "grids": [GRID[0]], "minutes": 200}
        api.wrote("/v1/community-splits", {**split, "effective_on": day.date().isoformat()}, "admin")
        assert (pool(api, XINZHU), known(bank.store, Account.of("pool:" + XINZHU)).held_minutes) == (600, 200)
        assert run_due(bank, now, SPLITTING).done == {"community-split": 0}
        assert run_due(bank, day, SPLITTING).refused == {"community-split": 1}  # the journal's own day hasn't come
        assert (pool(api, XINZHU), pool(api, "新竹东社区")) == (600, 0)


def test_two_grids_swap_their_names_from_a_day_on(api: Api) -> None:
    today = datetime.now(api.bank.zone).date().isoformat()
    for grid in ("甲网格", "乙网格"):
        api.wrote("/v1/grids", {"community": JINHU, "grid": [grid]}, "admin")
    names = [{"grid": ["甲网格"], "name": "乙网格"}, {"grid": ["乙网格"], "name": "甲网格"}]
    body = {"community": JINHU, "names": names, "effective_on": today}
    api.problem(api.post("/v1/grid-names", {**body, "names": names[:1]}, "admin"), 422, "grid-name-taken")
    api.problem(api.post("/v1/grid-names", body, "S9"), 403, "role-not-allowed")
    api.wrote("/v1/grid-names", body, "admin")
    items = api.read(f"/v1/communities/{JINHU}/grids", limit=500)["items"]
    called = {item["grid"]: item["name"] for item in items}
    assert (called["甲网格"], called["乙网格"]) == ("乙网格", "甲网格")
