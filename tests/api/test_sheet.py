"""Sheets of group service over HTTP: one sheet, many volunteers, all of them or none."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.api.service import JINHU, XINZHU, Api, Volunteer, midnight


def sheet(api: Api, *people: Volunteer, **changes: Any) -> dict[str, Any]:
    start = midnight(api.bank) - timedelta(hours=10)
    return {
        "sheet": f"SH-{uuid4().hex[:8]}-X",
        "community": XINZHU,
        "service": "社区清洁",
        "leader": people[0].number,
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(hours=2)).isoformat(),
        "rows": [{"volunteer": person.number} for person in people],
    } | changes


def test_staff_log_a_sheet_and_everybody_has_a_record_of_their_own(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    body = sheet(api, anna, ben, sha256="ab" * 32, group="G1")
    api.problem(api.post("/v1/sheets", body, "S1"), 404, "unknown-group")
    api.wrote("/v1/groups", {"group": "G1", "community": XINZHU, "leader": anna.number}, "S1")
    early = (midnight(api.bank) - timedelta(hours=9)).isoformat()
    body["rows"][1]["ended_at"] = early
    logged = api.wrote("/v1/sheets", body, "S1")
    assert logged["facts"] == ["sheet-logged.v1", "hours-logged.v1", "hours-logged.v1"]
    first, second = (api.read(f"/v1/hours/{record}", "S1") for record in logged["records"])
    assert (first["volunteer"], first["claimed_minutes"], first["evidence"]) == (anna.number, 120, "checked-in")
    assert (second["volunteer"], second["claimed_minutes"], second["group_id"]) == (ben.number, 60, "G1")
    row = api.read(f"/v1/sheets/{body['sheet']}", "S1")
    assert (row["records"], row["sha256"], row["group_id"]) == (logged["records"], "ab" * 32, "G1")
    api.wrote(f"/v1/hours/{logged['records'][0]}/confirmation", None, "S2")
    assert api.read(f"/v1/households/{anna.household}/balance", anna.number)["balance_minutes"] == 0  # the group's


def test_one_bad_row_keeps_the_whole_sheet_out(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    api.logged(ben, hour=14)
    body = sheet(api, anna, ben)
    refused = api.problem(api.post("/v1/sheets", body, "S1"), 422, "rows-refused")
    assert [(error["row"], error["code"]) for error in refused["errors"]] == [(1, "record-overlaps")]
    assert api.get(f"/v1/sheets/{body['sheet']}", "S1").status_code == 404
    assert api.read("/v1/hours", "S1", volunteer=anna.number)["items"] == []


def test_a_leader_logs_their_own_sheet_and_nobody_elses(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    body = sheet(api, anna, ben)
    api.problem(api.post("/v1/sheets", body, ben.number), 403, "not-the-leader")
    logged = api.wrote("/v1/sheets", body, anna.number)
    assert api.read(f"/v1/hours/{logged['records'][1]}", "S1")["evidence"] == "self"
    api.problem(api.post("/v1/sheets", body, "S1"), 409, "sheet-already-logged")


def test_what_is_no_sheet_is_refused(api: Api) -> None:
    anna = api.new_volunteer()
    api.problem(api.post("/v1/sheets", sheet(api, anna), "S9"), 403, "outside-community")
    api.problem(api.post("/v1/sheets", sheet(api, anna, leader="V-NONE"), "S1"), 404, "unknown-member")
    odd = sheet(api, anna, started_at="0001-01-01T00:00:00+08:00")
    problem = api.problem(api.post("/v1/sheets", odd, "S1"), 422, "invalid-request")
    assert "1900" in problem["errors"][0]["message_en"]
    member = api.new_volunteer()
    api.problem(api.post("/v1/sheets", sheet(api, anna), member.number), 403, "not-the-leader")


def test_sheets_are_read_by_those_whom_they_concern(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    number = api.wrote("/v1/sheets", sheet(api, anna, ben), "S1")["sheet"]
    for by in (anna.number, "S1", "S0", "auditor"):
        assert api.read(f"/v1/sheets/{number}", by)["sheet"] == number
        assert number in {row["sheet"] for row in api.read("/v1/sheets", by, limit=500)["items"]}
    for by in (ben.number, "S9"):
        api.problem(api.get(f"/v1/sheets/{number}", by), 404, "not-found")
        assert number not in {row["sheet"] for row in api.read("/v1/sheets", by, limit=500)["items"]}
    api.problem(api.get("/v1/sheets", "S1", community=JINHU), 403, "outside-community")
    page = api.read("/v1/sheets", "S0", limit=1)
    assert len(page["items"]) == 1
