"""Desk entry from paper over HTTP: keyed twice by two people, and logged once they agree."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from api.wiring import Timebank
from tests.api.service import JINHU, XINZHU, Api, Volunteer, register_places, serving


def paper(anna: Volunteer, **changes: Any) -> dict[str, Any]:
    number = f"P-{uuid4().hex[:8]}-X"
    return {"paper": number, "community": XINZHU, "sha256": "ab" * 32, "rows": [anna.hours()]} | changes


def test_two_people_key_a_paper_and_its_records_are_logged(api: Api) -> None:
    anna = api.new_volunteer()
    body = paper(anna)
    first = api.wrote("/v1/papers", body, "S1")
    assert (first["facts"], first["differences"]) == (["paper-keyed.v1"], [])
    assert api.read("/v1/hours", "S1", volunteer=anna.number)["items"] == []
    assert body["paper"] in {row["paper"] for row in api.read("/v1/papers", "S2", status="keyed", limit=500)["items"]}
    second = api.wrote("/v1/papers", body, "S2")
    assert second["facts"] == ["paper-agreed.v1", "hours-logged.v1"]
    (record,) = second["records"]
    row = api.read(f"/v1/hours/{record}", "S1")
    assert (row["evidence"], row["logged_by"], row["also_logged_by"]) == ("staff", "S2", "S1")
    for keyer in ("S1", "S2"):
        api.problem(api.post(f"/v1/hours/{record}/confirmation", None, keyer), 403, "confirmed-by-logger")
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S0")
    api.problem(api.post("/v1/papers", body, "S0"), 409, "paper-already-logged")
    assert api.read(f"/v1/papers/{body['paper']}", "auditor")["records"] == [record]


def test_differences_are_told_and_nothing_is_logged_until_two_agree(api: Api) -> None:
    anna = api.new_volunteer()
    body = paper(anna)
    api.wrote("/v1/papers", body, "S1")
    other = body | {"rows": [anna.hours(service="助洁")]}
    differing = api.wrote("/v1/papers", other, "S2", key=body["paper"])
    assert differing["differences"] == [{"row": 0, "field": "service", "earlier": "助餐", "now": "助洁"}]
    again = api.post("/v1/papers", other, "S2", key=body["paper"]).json()
    assert (again["repeated"], again["differences"]) == (True, differing["differences"])
    row = api.read(f"/v1/papers/{body['paper']}", "S1")
    assert (row["status"], row["differences"]) == ("differing", differing["differences"])
    assert api.read("/v1/hours", "S1", volunteer=anna.number)["items"] == []
    assert api.wrote("/v1/papers", other, "S1")["facts"] == ["paper-agreed.v1", "hours-logged.v1"]


def test_what_was_keyed_first_is_not_shown_to_whoever_keys_it_again(api: Api) -> None:
    anna = api.new_volunteer()
    body = paper(anna)
    api.wrote("/v1/papers", body, "S1")
    assert anna.number not in str(api.read(f"/v1/papers/{body['paper']}", "S2"))


def test_what_cannot_be_keyed_is_refused(api: Api) -> None:
    anna = api.new_volunteer()
    body = paper(anna)
    api.problem(api.post("/v1/papers", body, "S9"), 403, "outside-community")
    api.problem(api.post("/v1/papers", body, anna.number), 403, "role-not-allowed")
    api.wrote("/v1/papers", body, "S1")
    api.problem(api.post("/v1/papers", body | {"community": JINHU}, "S9"), 409, "paper-number-taken")
    api.tokens["own"] = api.new_token(anna.number, "staff", XINZHU)
    api.problem(api.post("/v1/papers", body, "own"), 403, "own-hours-keyed")
    api.logged(anna)
    refused = api.problem(api.post("/v1/papers", body, "S2"), 422, "rows-refused")
    assert [error["code"] for error in refused["errors"]] == ["record-overlaps"]
    api.problem(api.get(f"/v1/papers/{body['paper']}", "S9"), 404, "not-found")
    api.problem(api.get("/v1/papers", "S9", community=XINZHU), 403, "outside-community")
    assert body["paper"] not in {row["paper"] for row in api.read("/v1/papers", "S9", limit=500)["items"]}


def test_of_many_second_keyings_at_once_one_logs_the_paper(open_bank: Callable[..., Timebank]) -> None:
    with serving(open_bank()) as api:
        register_places(api)
        anna = api.new_volunteer()
        body = paper(anna)
        api.wrote("/v1/papers", body, "S1")
        keyers = [f"K{number}" for number in range(16)]
        api.tokens |= {keyer: api.new_token(keyer, "staff", XINZHU) for keyer in keyers}
        start, codes = threading.Barrier(len(keyers)), []

        def key(keyer: str) -> None:
            start.wait()
            answer = api.post("/v1/papers", body, keyer)
            codes.append(answer.json().get("code", answer.status_code))

        threads = [threading.Thread(target=key, args=(keyer,)) for keyer in keyers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes, key=str) == [201, *["paper-already-logged"] * 15]
        assert len(api.read("/v1/hours", "S1", volunteer=anna.number)["items"]) == 1
