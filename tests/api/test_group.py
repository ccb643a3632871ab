"""Groups over HTTP: led, joined, left, and what they donate."""

from domain.account import HoursConfirmed
from tests.api.service import JINHU, RARE, XINZHU, Api, Volunteer
from tests.controls import envelope


def new_group(api: Api, minutes: int = 0, community: str = XINZHU) -> tuple[str, Volunteer]:
    """A group with its leader, which served so many minutes."""
    leader = api.new_volunteer(community)
    group = f"G-{leader.number}"
    api.wrote("/v1/groups", {"group": group, "community": community, "leader": leader.number}, "admin")
    if minutes:
        earned = HoursConfirmed("issuance", "group:" + group, minutes, f"R-{group}", "S2")
        api.bank.store.append([envelope(earned)], [], [], api.bank.store.head())
    return group, leader


def test_a_group_is_registered_joined_led_by_another_and_left(api: Api) -> None:
    group, anna = new_group(api)
    ben = api.new_volunteer()
    path = f"/v1/groups/{group}"
    api.wrote(path + "/members", {"member": ben.number}, anna.number)
    found = api.read(path, ben.number)
    assert (found["leader"], found["members"], found["balance_minutes"]) == (
        anna.number,
        sorted([anna.number, ben.number]),
        0,
    )
    api.problem(api.post(path + "/members", {"member": ben.number}, anna.number), 409, "already-in-group")
    api.problem(api.post(path + "/leader", {"member": ben.number}, ben.number), 403, "not-leading-group")
    api.problem(api.post(path + "/departures", {"member": anna.number}, anna.number), 403, "leader-stays")
    api.wrote(path + "/leader", {"member": ben.number}, anna.number)
    api.problem(api.post(path + "/leader", {"member": ben.number}, "S1"), 409, "already-leading")
    api.wrote(path + "/departures", {"member": anna.number}, anna.number)
    api.problem(api.post(path + "/departures", {"member": anna.number}, "S1"), 404, "not-in-group")
    assert api.read(path, "S1")["members"] == [ben.number]
    again = {"group": group, "community": XINZHU, "leader": ben.number}
    api.problem(api.post("/v1/groups", again, "S1"), 409, "group-already-registered")


def test_a_group_donates_to_pools_and_to_households_in_need_and_its_statement_shows_it(api: Api) -> None:
    group, anna = new_group(api, minutes=100)
    needy = api.new_household()
    path = f"/v1/groups/{group}"
    assert api.wrote(path + "/donations", {"minutes": 30}, anna.number)["facts"] == ["minutes-donated.v1"]
    gift = {"minutes": 50, "household": needy, "need": "living-alone"}
    api.wrote(path + "/donations", gift, "S1")
    assert api.read(path, anna.number)["balance_minutes"] == 20
    rows = api.read(path + "/statement", anna.number)["items"]
    assert [(row["change_minutes"], row["other_account"]) for row in rows[1:]] == [
        (-30, "pool:" + XINZHU),
        (-50, "household:" + needy),
    ]
    api.problem(api.post(path + "/donations", {"minutes": 21}, anna.number), 422, "balance-too-low")
    own = gift | {"minutes": 1, "household": anna.household}
    api.problem(api.post(path + "/donations", own, anna.number), 403, "moved-to-own-household")
    nameless = {"minutes": 1, "household": needy}
    api.problem(api.post(path + "/donations", nameless, anna.number), 422, "invalid-request")


def test_groups_are_listed_to_those_who_inspect_them_and_hidden_from_strangers(api: Api) -> None:
    (one, anna), (other, _) = new_group(api, community=RARE), new_group(api, minutes=7, community=RARE)
    listed = api.read("/v1/groups", "auditor", community=RARE)["items"]
    expected = sorted([(one, 0), (other, 7)])
    assert [(row["group"], row["balance_minutes"]) for row in listed] == expected
    first = api.read("/v1/groups", "S0", community=RARE, limit=1)
    rest = api.read("/v1/groups", "S0", community=RARE, after=first["next"])
    assert [row["group"] for row in (*first["items"], *rest["items"])] == [name for name, _ in expected]
    api.problem(api.get("/v1/groups", "S1", community=JINHU), 403, "outside-community")
    assert one not in {row["group"] for row in api.read("/v1/groups", "S1")["items"]}
    api.problem(api.get("/v1/groups", anna.number), 403, "role-not-allowed")
    stranger = api.new_volunteer()
    for path in (f"/v1/groups/{one}", f"/v1/groups/{one}/statement"):
        for reader in (stranger.number, "S1", "S9"):
            api.problem(api.get(path, reader), 404, "unknown-group")
    api.problem(api.get("/v1/groups/G-NONE", "auditor"), 404, "unknown-group")
    api.problem(api.post(f"/v1/groups/{one}/donations", {"minutes": 1}, stranger.number), 404, "unknown-group")
