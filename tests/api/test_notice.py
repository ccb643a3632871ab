"""Notices over HTTP: read by whom they are for alone, marked as read, muted, and shown where undelivered."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from api.notifier import write_news
from api.wiring import Timebank
from domain.decision import Actor
from domain.notice import KINDS, Notice
from domain.policy import ApprovePolicy, ProposePolicy, approve_policy, propose_policy
from infrastructure.notice import claim, mark_failed, writing
from tests.api.service import JINHU, XINZHU, Api, Volunteer

OpenBank = Callable[..., Timebank]


def tell(bank: Timebank) -> None:
    """Have everything told that was recorded."""
    with psycopg.connect(bank.address, autocommit=True) as connection:
        while write_news(bank, connection, ()):
            pass


def confirmed(api: Api, person: Volunteer, **changes: Any) -> str:
    record = api.logged(person, **changes)
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    return record


def notices(api: Api, by: str, **asked: Any) -> list[dict[str, Any]]:
    tell(api.bank)
    response = api.get("/v1/notices", by, **asked)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def put_notice(api: Api, recipient: str, kind: str = "dispute-escalated", about: str = "D1") -> str:
    key = f"{kind}:{about}:{recipient}"
    with psycopg.connect(api.bank.address, autocommit=True) as connection, writing(connection, api.bank.name) as outbox:
        outbox.put([Notice(key, kind, recipient, {"dispute": about})], [])
    return key


def test_a_volunteer_reads_that_their_hours_were_confirmed(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    record = confirmed(api, anna)
    (item,) = [one for one in notices(api, anna.number) if one["recipient"] != "everybody"]
    assert (item["kind"], item["parts"], item["read"]) == (
        "hours-confirmed",
        {"record": record, "minutes": 60},
        False,
    )
    assert item["key"].startswith(f"hours-confirmed:{record}:")
    assert record in item["text_zh"] and record in item["text_en"]  # noqa: PT018
    assert not any(record in one["key"] for one in notices(api, ben.number))
    assert api.get("/v1/notices", anna.number).json()["position"] == api.bank.store.head()


def test_each_reads_what_is_for_them_and_nothing_else(api: Api) -> None:
    anna = api.new_volunteer()
    api.tokens["partner"] = api.new_token("P-N", "partner")
    about = "D-" + anna.number
    to = {
        name: put_notice(api, recipient, about=about)
        for name, recipient in (
            ("anna", "person:" + anna.number),
            ("partner", "person:P-N"),
            ("xinzhu", "staff:" + XINZHU),
            ("jinhu", "staff:" + JINHU),
            ("admins", "admins"),
            ("everybody", "everybody"),
        )
    }
    for by, expected in {
        anna.number: {"anna", "everybody"},
        "partner": {"partner", "everybody"},
        "S1": {"xinzhu", "everybody"},
        "S9": {"jinhu", "everybody"},
        "S0": {"xinzhu", "jinhu", "everybody"},
        "admin": {"xinzhu", "jinhu", "admins", "everybody"},
    }.items():
        found = {one["key"] for one in notices(api, by, limit=500) if about in one["key"]}
        assert found == {to[name] for name in expected}, by
    api.problem(api.get("/v1/notices", "auditor"), 403, "role-not-allowed")


def test_notices_come_in_pages_in_the_order_they_were_written(api: Api) -> None:
    anna = api.new_volunteer()
    keys = [put_notice(api, "person:" + anna.number, about=f"D{number}") for number in range(5)]
    after, found = 0, []
    while after is not None:
        page = api.get("/v1/notices", anna.number, after=after, limit=2, kind="dispute-escalated").json()
        found += [one["key"] for one in page["items"] if one["recipient"] != "everybody"]
        after = page["next"]
    assert found == keys


def test_what_was_marked_as_read_is_no_longer_unread(api: Api) -> None:
    anna = api.new_volunteer()
    numbers = []
    for about in ("D1", "D2"):
        put_notice(api, "person:" + anna.number, about=about)
        numbers.append(notices(api, anna.number)[-1]["number"])
    for upto, read in ((numbers[0], 1), (0, 1), (numbers[1] + 10**9, 2)):
        answer = api.request("PUT", "/v1/notices/read", anna.number, json={"upto": upto})
        assert answer.status_code == 200
        assert answer.json()["read_upto"] >= numbers[read - 1]
        own = [one for one in notices(api, anna.number) if one["recipient"] != "everybody"]
        assert [one["read"] for one in own] == [True] * read + [False] * (2 - read)
        unread = [one["number"] for one in notices(api, anna.number, unread=True)]
        assert [number for number in unread if number in numbers] == numbers[read:]
    put_notice(api, "person:" + anna.number, about="D3")
    assert [one["parts"]["dispute"] for one in notices(api, anna.number, unread=True)] == ["D3"]


def test_notices_since_a_time(api: Api) -> None:
    anna = api.new_volunteer()
    put_notice(api, "person:" + anna.number)
    written_at = datetime.fromisoformat(notices(api, anna.number)[-1]["written_at"])
    assert notices(api, anna.number, since=written_at.isoformat())
    assert not notices(api, anna.number, since=(written_at + timedelta(seconds=1)).isoformat())


def test_a_muted_kind_is_not_told_until_it_is_wanted_again(api: Api) -> None:
    anna = api.new_volunteer()
    answer = api.request("PUT", "/v1/notices/settings", anna.number, json={"muted": ["hours-confirmed"] * 2})
    assert answer.json() == {"muted": ["hours-confirmed"]}
    confirmed(api, anna, hour=8)
    assert not [one for one in notices(api, anna.number) if one["kind"] == "hours-confirmed"]
    found = api.get("/v1/notices/settings", anna.number).json()
    assert found["muted"] == ["hours-confirmed"]
    assert [one["kind"] for one in found["kinds"]] == list(KINDS)
    assert api.request("PUT", "/v1/notices/settings", anna.number, json={"muted": []}).json() == {"muted": []}
    record = confirmed(api, anna, hour=10)
    (item,) = [one for one in notices(api, anna.number) if one["kind"] == "hours-confirmed"]
    assert item["parts"]["record"] == record


def test_what_goes_to_many_is_left_out_for_whoever_muted_it(api: Api) -> None:
    api.tokens["S7"] = api.new_token("S7", "staff", XINZHU)
    key = put_notice(api, "staff:" + XINZHU, about="D-muted")
    api.request("PUT", "/v1/notices/settings", "S7", json={"muted": ["dispute-escalated"]})
    assert key not in {one["key"] for one in notices(api, "S7", limit=500)}
    assert key in {one["key"] for one in notices(api, "S2", limit=500)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/notices/settings", {"muted": ["no-such-kind"]}),
        ("/v1/notices/settings", {"muted": "hours-confirmed"}),
        ("/v1/notices/settings", {}),
        ("/v1/notices/read", {"upto": -1}),
        ("/v1/notices/read", {"upto": "all", "more": 1}),
    ],
)
def test_a_setting_that_means_nothing_is_refused(api: Api, path: str, body: Any) -> None:
    api.problem(api.request("PUT", path, "S1", json=body), 422, "invalid-request")


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "no-such"), ("since", "yesterday"), ("after", "-1"), ("limit", "0"), ("unread", "maybe")],
)
def test_a_question_that_means_nothing_is_refused(api: Api, name: str, value: str) -> None:
    api.problem(api.get("/v1/notices", "S1", **{name: value}), 422, "invalid-request")


def test_a_setting_of_undeclared_length_is_refused(api: Api) -> None:
    response = api.request("PUT", "/v1/notices/read", "S1", content=iter([b"{}"]))
    api.problem(response, 411, "length-required")


def test_everybody_is_told_of_new_rules(strict: Api) -> None:
    day = datetime.now(strict.bank.zone).date() + timedelta(days=30)
    proposal = ProposePolicy(proposal="P1", effective_on=day)
    strict.record((propose_policy, proposal))
    strict.record((approve_policy, ApprovePolicy(proposal="P1")), actor=Actor("D2", "admin"))
    assert [one["kind"] for one in notices(strict, "admin")] == ["policy-proposed", "policy-adopted"]
    for by in (strict.new_volunteer().number, "S1", "admin"):
        (item,) = [one for one in notices(strict, by) if one["kind"] == "policy-adopted"]
        assert (item["recipient"], item["parts"]["effective_on"]) == ("everybody", day.isoformat())


def test_what_was_given_up_is_shown_to_staff(api: Api) -> None:
    anna = api.new_volunteer()
    about = "D-failed-" + anna.number
    recipients = ("person:" + anna.number, "staff:" + XINZHU, "staff:" + JINHU)
    with psycopg.connect(api.bank.address, autocommit=True) as connection:
        with writing(connection, api.bank.name) as outbox:
            given = [Notice(f"{about}:{to}", "dispute-escalated", to, {"dispute": about}) for to in recipients]
            outbox.put(given, ["webhook", "log"])
        for adapter in ("webhook", "log"):
            while (claimed := claim(connection, api.bank.name, adapter)) is not None:
                mark_failed(connection, claimed, "HTTP 500", None)
    for by, expected in (("admin", recipients), ("S0", recipients), ("S1", recipients[1:2]), ("S9", recipients[2:])):
        found = api.get("/v1/notices/failed", by, limit=500).json()["items"]
        mine = [one for one in found if about in one["key"]]
        assert [one["recipient"] for one in mine] == list(expected)
        for one in mine:
            assert [(each["adapter"], each["last_error"]) for each in one["deliveries"]] == [
                ("log", "HTTP 500"),
                ("webhook", "HTTP 500"),
            ]
    api.problem(api.get("/v1/notices/failed", anna.number), 403, "role-not-allowed")
