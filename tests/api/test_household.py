"""Households and their people over HTTP: registered by staff, read by those whom it concerns."""

import json
from typing import Any

import psycopg
import pytest

from tests.api.service import GRID, JINHU, RARE, XINZHU, Api


def test_staff_register_a_household_its_member_and_a_volunteer(api: Api) -> None:
    body = {"household": "H-NEW", "community": XINZHU, "grid": GRID}
    assert api.wrote("/v1/households", body, "S1")["facts"] == ["household-registered.v1"]
    assert api.wrote("/v1/members", {"member": "V-NEW", "household": "H-NEW"}, "S1")["facts"] == [
        "member-registered.v1"
    ]
    assert api.wrote("/v1/volunteers", {"volunteer": "V-NEW"}, "S1")["facts"] == ["volunteer-enrolled.v1"]
    assert api.read("/v1/households/H-NEW/members", "S1")["items"] == [
        {"person": "V-NEW", "household": "H-NEW", "volunteer": True, "status": "member"}
    ]
    assert api.read("/v1/volunteers/V-NEW", "S1")["household"] == "H-NEW"
    balance = api.read("/v1/households/H-NEW/balance", "S1")
    assert (balance["balance_minutes"], balance["community"], balance["last_position"]) == (0, XINZHU, 0)


def test_what_cannot_be_registered_is_refused(api: Api) -> None:
    anna = api.new_volunteer()
    new = {"household": "H-OTHER", "community": XINZHU}
    refused: list[tuple[str, dict[str, Any], str, int, str]] = [
        ("/v1/households", {**new, "community": "没有社区"}, "S0", 404, "unknown-community"),
        ("/v1/households", {**new, "grid": ["没有网格"]}, "S1", 404, "unknown-grid"),
        ("/v1/households", {**new, "household": anna.household}, "S1", 409, "household-already-registered"),
        ("/v1/households", new, "S9", 403, "outside-community"),
        ("/v1/members", {"member": "M1", "household": "H-NONE"}, "S1", 404, "unknown-household"),
        ("/v1/members", {"member": "M1", "household": anna.household}, "S9", 404, "unknown-household"),
        ("/v1/members", {"member": anna.number, "household": anna.household}, "S1", 409, "member-already-registered"),
        ("/v1/volunteers", {"volunteer": "V-NONE"}, "S1", 404, "unknown-member"),
        ("/v1/volunteers", {"volunteer": anna.number}, "S9", 404, "unknown-member"),
        ("/v1/volunteers", {"volunteer": anna.number}, "S1", 409, "volunteer-already-enrolled"),
    ]
    for path, body, by, status, code in refused:
        api.problem(api.post(path, body, by), status, code)


def test_no_refusal_says_to_which_household_of_another_community_somebody_belongs(api: Api) -> None:
    anna, theirs = api.new_volunteer(), api.new_household(JINHU)
    response = api.post("/v1/members", {"member": anna.number, "household": theirs}, "S9")
    api.problem(response, 409, "member-already-registered")
    assert anna.household not in response.text
    assert XINZHU not in response.text
    grant = {"household": anna.household, "minutes": 1, "need": "other"}
    for path, body, code in (
        ("/v1/members", {"member": "M1", "household": anna.household}, "unknown-household"),
        ("/v1/volunteers", {"volunteer": anna.number}, "unknown-member"),
        ("/v1/grants", grant, "unknown-household"),
    ):
        hidden = api.problem(api.post(path, body, "S9"), 404, code)
        absent = {name: value for name, value in body.items() if name != "member"}
        absent |= {name: "NONE-1" for name in absent if name in ("household", "volunteer")}
        told = api.problem(api.post(path, {**body, **absent}, "S9"), 404, code)
        assert str(hidden).replace(body.get("household", anna.number), "NONE-1") == str(told)


@pytest.mark.parametrize("number", ["13812345678", "450103199003078110", "张三", "a b", "", "-x", "x" * 65])
def test_a_number_that_is_personal_or_malformed_is_refused_and_not_repeated(api: Api, number: str) -> None:
    body = {"household": number, "community": XINZHU}
    found = api.problem(api.post("/v1/households", body, "S1"), 422, "invalid-request")
    assert [error["field"] for error in found["errors"]] == ["household"]
    assert number not in str(found) or number in ("", "-x")


@pytest.mark.parametrize("what", ["balance", "statement", "members"])
def test_a_household_is_read_by_its_own_by_staff_of_its_community_and_by_inspectors(api: Api, what: str) -> None:
    anna, stranger = api.new_volunteer(), api.new_volunteer()
    for reader in (anna.number, "S1", "S0", "auditor", "admin"):
        api.read(f"/v1/households/{anna.household}/{what}", reader)
    for reader in (stranger.number, "S9"):
        hidden = api.problem(api.get(f"/v1/households/{anna.household}/{what}", reader), 404, "unknown-household")
        absent = api.problem(api.get(f"/v1/households/H-NONE/{what}", reader), 404, "unknown-household")
        assert str(hidden).replace(anna.household, "H-NONE") == str(absent)


def test_a_volunteer_is_read_by_themselves_and_staff_of_their_community(api: Api) -> None:
    anna, stranger = api.new_volunteer(), api.new_volunteer()
    for reader in (anna.number, "S1", "auditor"):
        assert api.read(f"/v1/volunteers/{anna.number}", reader)["volunteer"] is True
    for reader in (stranger.number, "S9"):
        hidden = api.problem(api.get(f"/v1/volunteers/{anna.number}", reader), 404, "unknown-member")
        absent = api.problem(api.get("/v1/volunteers/V-NONE", reader), 404, "unknown-member")
        assert str(hidden).replace(anna.number, "V-NONE") == str(absent)


def test_households_are_listed_once_each_within_the_readers_reach(api: Api) -> None:
    here, there = api.new_household(RARE), api.new_household(JINHU)

    def listed(by: str, limit: int = 500, **filters: Any) -> list[str]:
        found, after = [], ""
        while True:
            page = api.read("/v1/households", by, limit=limit, after=after, **filters)
            found += [item["household"] for item in page["items"]]
            if page["next"] is None:
                return found
            after = page["next"]

    everywhere = listed("auditor")
    assert {here, there} <= set(everywhere)
    assert everywhere == sorted(set(everywhere)) == listed("admin", 3)
    assert listed("S9") == listed("S0", community=JINHU) == listed("S9", 1, community=JINHU)
    assert (here in listed("S9"), there in listed("S9")) == (False, True)
    api.problem(api.get("/v1/households", "S9", community=RARE), 403, "outside-community")


def test_a_statement_has_every_movement_once_across_its_pages(api: Api) -> None:
    anna = api.new_volunteer()
    for hour in (8, 10, 12, 14):
        record = api.logged(anna, hour=hour)
        api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    api.wrote("/v1/hours/" + record + "/reversal", {"reason": "other"}, "S1")
    path = f"/v1/households/{anna.household}/statement"
    whole = api.read(path, anna.number)["items"]
    assert [row["balance_minutes"] for row in whole] == [60, 120, 180, 240, 180]
    for limit in (1, 2, 5):
        found, after = [], 0
        while after is not None:
            page = api.read(path, anna.number, limit=limit, after=after)
            assert page["items"]
            found += page["items"]
            after = page["next"]
        assert found == whole


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────


def vault(api: Api, person: str) -> str | None:
    with psycopg.connect(api.bank.owner_address) as connection:
        row = connection.execute(
            "SELECT name FROM vault_people WHERE ledger = %s AND person = %s", (api.bank.name, person)
        ).fetchone()
    return None if row is None else str(row[0])


def journal_bytes(api: Api) -> bytes:
    """All that the journal stores, in every table of it."""
    with psycopg.connect(api.bank.owner_address) as connection:
        facts = connection.execute("SELECT type || array_to_string(tags, ' '), data FROM facts").fetchall()
    return b"\n".join(text.encode() + bytes(data) for text, data in facts)


def test_a_name_goes_to_the_vault_and_to_nowhere_in_the_journal(api: Api) -> None:
    household, name = api.new_household(), "欧阳𠮷子"
    body = {"member": "N-" + household, "household": household, "name": name}
    api.wrote("/v1/members", body, "S1", key="member-of-" + household)
    assert vault(api, "N-" + household) == name
    stored = journal_bytes(api)
    assert ("N-" + household).encode() in stored
    assert name.encode() not in stored
    assert name.encode("unicode_escape") not in stored
    assert ("member-of-" + household).encode() not in stored


def test_a_repeated_registration_renames_nobody_and_finishes_what_was_cut_off(api: Api) -> None:
    household = api.new_household()
    body = {"member": "N-" + household, "household": household, "name": "甲"}
    api.wrote("/v1/members", body, "S1", key=household)
    assert api.post("/v1/members", body | {"name": "乙"}, "S1", household).json()["repeated"]
    assert vault(api, "N-" + household) == "甲"
    with psycopg.connect(api.bank.owner_address) as connection:
        connection.execute("DELETE FROM vault_people WHERE person = %s", ("N-" + household,))
    assert api.post("/v1/members", body, "S1", household).json()["repeated"]
    assert vault(api, "N-" + household) == "甲"


def test_a_refused_registration_leaves_no_name(api: Api) -> None:
    body = {"member": "N-NONE", "household": "H-NONE", "name": "丙"}
    api.problem(api.post("/v1/members", body, "S1"), 404, "unknown-household")
    assert vault(api, "N-NONE") is None


@pytest.mark.parametrize(
    "name", ["张\u0000三", "张\n三", "\ud800", "张" * 101], ids=["NUL", "line", "surrogate", "long"]
)
def test_a_name_that_cannot_be_kept_registers_nobody(api: Api, name: str) -> None:
    head = api.bank.store.head()
    content = json.dumps({"member": "N-BAD", "household": api.new_household(), "name": name})
    response = api.request("POST", "/v1/members", "S1", content=content, headers={"Content-Type": "application/json"})
    # Half a surrogate pair is no JSON at all, so it has no field.
    field = "body" if name == "\ud800" else "name"
    assert [e["field"] for e in api.problem(response, 422, "invalid-request")["errors"]] == [field]
    assert api.bank.store.head() == head + 1  # the household
