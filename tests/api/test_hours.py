"""Service records over HTTP: logged, confirmed, rejected, reversed, read, by those who may and nobody else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, get_args

import pytest

from api.hours import ListedStatus
from api.wiring import READ_CONNECTIONS_MAX
from domain.hours import Status
from tests.api.service import GRID, JINHU, RARE, XINZHU, Api, midnight


def test_a_volunteer_logs_and_staff_confirm_and_the_household_is_credited(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_household()
    logged = api.wrote("/v1/hours", anna.hours(recipient_household=served), anna.number)
    assert logged["facts"] == ["hours-logged.v1"]
    assert logged["positions"] == [logged["position"]] * 2
    record = logged["record"]
    assert api.read(f"/v1/hours/{record}", "S1")["status"] == "logged"
    assert api.read(f"/v1/households/{anna.household}/balance", anna.number)["balance_minutes"] == 0
    confirmed = api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    assert (confirmed["facts"], confirmed["record"]) == (["hours-confirmed.v1"], record)
    row = api.read(f"/v1/hours/{record}", "S1")
    assert (row["status"], row["credit_minutes"], row["settled_by"]) == ("confirmed", 60, "S1")
    assert (row["recipient_household"], row["community"], row["settled_position"]) == (
        served,
        XINZHU,
        confirmed["position"],
    )
    balance = api.read(f"/v1/households/{anna.household}/balance", anna.number)
    assert (balance["balance_minutes"], balance["earned_minutes"]) == (60, 60)
    reversal = api.wrote(f"/v1/hours/{record}/reversal", {"reason": "duplicate"}, "S2")
    assert reversal["facts"] == ["hours-reversed.v1"]
    assert api.read(f"/v1/hours/{record}", "S1")["status"] == "reversed"
    assert api.read(f"/v1/households/{anna.household}/balance", anna.number)["balance_minutes"] == 0
    statement = api.read(f"/v1/households/{anna.household}/statement", anna.number)["items"]
    assert [(row["change_minutes"], row["balance_minutes"]) for row in statement] == [(60, 60), (-60, 0)]


def test_staff_reject_and_it_never_earns(api: Api) -> None:
    anna = api.new_volunteer()
    record = api.logged(anna)
    assert api.wrote(f"/v1/hours/{record}/rejection", {"reason": "not-served"}, "S1")["record"] == record
    row = api.read(f"/v1/hours/{record}", anna.number)
    assert (row["status"], row["reason"], row["credit_minutes"]) == ("rejected", "not-served", 0)


def test_staff_log_for_a_volunteer_of_their_community_at_a_grid(api: Api) -> None:
    anna = api.new_volunteer()
    body = anna.hours(record=f"SHEET-{anna.number}", community=XINZHU, grid=GRID)
    assert api.wrote("/v1/hours", body, "S1")["record"] == f"SHEET-{anna.number}"
    assert api.read(f"/v1/hours/SHEET-{anna.number}", "auditor")["grid"] == "/".join(GRID)


REFUSED_TO_LOG: dict[str, tuple[int, dict[str, Any]]] = {
    "record-too-short": (422, {"ended_at": timedelta(hours=9, minutes=5)}),
    "record-too-long": (422, {"ended_at": timedelta(hours=18)}),
    "in-the-future": (422, {"started_at": timedelta(days=3), "ended_at": timedelta(days=3, hours=1)}),
    "too-long-ago": (422, {"started_at": timedelta(days=-60), "ended_at": timedelta(days=-60, hours=1)}),
    "no-policy-in-force": (422, {"started_at": timedelta(days=-9999), "ended_at": timedelta(days=-9999, hours=1)}),
    "unknown-community": (404, {"community": "没有社区"}),
    "unknown-grid": (404, {"community": XINZHU, "grid": ["没有网格"]}),
    "unknown-household": (404, {"recipient_household": "H-NONE"}),
}


@pytest.mark.parametrize("code", REFUSED_TO_LOG)
def test_a_claim_against_the_rules_is_refused(api: Api, code: str) -> None:
    anna = api.new_volunteer()
    status, changes = REFUSED_TO_LOG[code]
    day = midnight(api.bank) - timedelta(days=1)
    changes = {k: (day + v).isoformat() if isinstance(v, timedelta) else v for k, v in changes.items()}
    api.problem(api.post("/v1/hours", anna.hours(**changes), anna.number), status, code)


def test_a_claim_that_meets_another_is_refused(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    record = api.logged(anna)
    overlap = api.problem(api.post("/v1/hours", anna.hours(), anna.number), 422, "record-overlaps")
    assert overlap["other"] == record
    again = ben.hours(record=record)
    api.problem(api.post("/v1/hours", again, ben.number), 409, "record-already-logged")
    api.problem(
        api.post("/v1/hours", anna.hours(hour=12, recipient_household=anna.household), anna.number),
        422,
        "own-household-served",
    )


def test_a_day_holds_so_much_and_no_more(api: Api) -> None:
    anna = api.new_volunteer()
    end = midnight(api.bank) - timedelta(days=1) + timedelta(hours=18)
    api.wrote("/v1/hours", anna.hours(hour=10, ended_at=end.isoformat()), anna.number)
    late = anna.hours(hour=18, ended_at=(end + timedelta(hours=3)).isoformat())
    found = api.problem(api.post("/v1/hours", late, anna.number), 422, "day-too-long")
    assert (found["minutes"], found["day_minutes_max"]) == (660, 600)


def test_nobody_logs_for_another_or_for_whom_is_no_volunteer(api: Api) -> None:
    anna, ben, elsewhere = api.new_volunteer(), api.new_volunteer(), api.new_volunteer(JINHU)
    api.problem(api.post("/v1/hours", ben.hours(), anna.number), 403, "not-yourself")
    api.problem(api.post("/v1/hours", elsewhere.hours(), "S1"), 403, "outside-community")
    api.problem(api.post("/v1/hours", ben.hours(volunteer="V-NONE"), "S1"), 404, "unknown-member")
    household = api.new_household()
    api.wrote("/v1/members", {"member": "M-" + household, "household": household}, "S1")
    api.problem(api.post("/v1/hours", ben.hours(volunteer="M-" + household), "S1"), 403, "not-enrolled")


def test_who_logged_or_served_or_lives_there_does_not_confirm(api: Api) -> None:
    anna = api.new_volunteer()
    by_staff = api.wrote("/v1/hours", anna.hours(), "S1")["record"]
    api.problem(api.post(f"/v1/hours/{by_staff}/confirmation", None, "S1"), 403, "confirmed-by-logger")
    api.wrote("/v1/members", {"member": "S-" + anna.number, "household": anna.household}, "S1")
    api.tokens["kin"] = api.new_token("S-" + anna.number, "staff", XINZHU)
    api.problem(api.post(f"/v1/hours/{by_staff}/confirmation", None, "kin"), 403, "confirmed-by-own-household")
    api.tokens["self"] = api.new_token(anna.number, "staff", XINZHU)
    api.problem(api.post(f"/v1/hours/{by_staff}/confirmation", None, "self"), 403, "confirmed-by-logger")


@pytest.mark.parametrize("step", ["confirmation", "rejection", "reversal"])
def test_a_step_on_what_is_not_there_or_not_ones_own_is_refused(api: Api, step: str) -> None:
    body = None if step == "confirmation" else {"reason": "other"}
    api.problem(api.post(f"/v1/hours/R-NONE/{step}", body, "S1"), 404, "unknown-record")
    record = api.logged(api.new_volunteer())
    api.problem(api.post(f"/v1/hours/{record}/{step}", body, "S9"), 404, "unknown-record")


def test_a_record_is_settled_once_and_reversed_once(api: Api) -> None:
    record = api.logged(api.new_volunteer())
    early = api.problem(
        api.post(f"/v1/hours/{record}/reversal", {"reason": "other"}, "S1"), 409, "record-not-confirmed"
    )
    assert early["current_status"] == "logged"
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    for step, body in (("confirmation", None), ("rejection", {"reason": "other"})):
        found = api.problem(api.post(f"/v1/hours/{record}/{step}", body, "S2"), 409, "record-already-settled")
        assert found["current_status"] == "confirmed"
    api.wrote(f"/v1/hours/{record}/reversal", {"reason": "other"}, "S1")
    response = api.post(f"/v1/hours/{record}/reversal", {"reason": "other"}, "S2")
    api.problem(response, 409, "record-already-reversed")


def test_a_payer_who_cannot_pay_and_a_household_at_its_cap_are_refused(strict: Api) -> None:
    anna = strict.new_volunteer()
    first, second = strict.logged(anna), strict.logged(anna, hour=12)
    poor = strict.problem(strict.post(f"/v1/hours/{first}/confirmation", None, "S1"), 422, "balance-too-low")
    assert (poor["account"], poor["available_minutes"]) == ("pool:" + XINZHU, 0)
    strict.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 1000}, "admin")
    strict.wrote(f"/v1/hours/{first}/confirmation", None, "S1")
    full = strict.problem(strict.post(f"/v1/hours/{second}/confirmation", None, "S1"), 422, "record-above-cap")
    assert (full["balance_minutes"], full["balance_minutes_max"]) == (60, 100)


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sheet_is_logged_as_a_whole_in_its_order(api: Api) -> None:
    anna = api.new_volunteer()
    rows = [anna.hours(hour=hour, record=f"B{hour}-{anna.number}") for hour in (9, 11, 8)]
    answer = api.wrote("/v1/hours/batch", {"hours": rows}, "S1")
    assert answer["records"] == [row["record"] for row in rows]
    assert answer["positions"] == [answer["position"] - 2, answer["position"]]


def test_of_a_sheet_with_refused_rows_nothing_is_logged_and_every_one_is_named(api: Api) -> None:
    anna = api.new_volunteer()
    rows = [
        anna.hours(),
        anna.hours(),
        anna.hours(hour=11),
        anna.hours(hour=13, volunteer="V-NONE"),
        anna.hours(hour=14, recipient_household=anna.household),
    ]
    head = api.bank.store.head()
    found = api.problem(api.post("/v1/hours/batch", {"hours": rows}, "S1"), 422, "rows-refused")
    named = [(error["row"], error["code"]) for error in found["errors"]]
    assert named == [(1, "record-overlaps"), (3, "unknown-member"), (4, "own-household-served")]
    assert all(error["message_zh"] and error["message_en"] for error in found["errors"])
    assert api.bank.store.head() == head


def test_of_a_sheet_with_invalid_rows_row_and_field_are_named(api: Api) -> None:
    anna = api.new_volunteer()
    bad = anna.hours(started_at="yesterday")
    del bad["service"]
    response = api.post("/v1/hours/batch", {"hours": [anna.hours(), bad]}, "S1")
    found = api.problem(response, 422, "invalid-request")
    assert {error["field"] for error in found["errors"]} == {"hours.1.service", "hours.1.started_at"}


@pytest.mark.parametrize("rows", [0, 1001])
def test_a_sheet_has_a_row_at_least_and_a_thousand_at_most(api: Api, rows: int) -> None:
    anna = api.new_volunteer()
    response = api.post("/v1/hours/batch", {"hours": [anna.hours()] * rows}, "S1")
    api.problem(response, 422, "invalid-request")


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_may_not_read_a_record_is_told_what_is_told_of_one_that_is_not_there(api: Api) -> None:
    anna, ben, served = api.new_volunteer(), api.new_volunteer(), api.new_volunteer(JINHU)
    record = api.logged(anna, recipient_household=served.household, community=XINZHU)
    for reader in (anna.number, served.number, "S1", "S0", "auditor", "admin"):
        assert api.read(f"/v1/hours/{record}", reader)["record"] == record
    for reader in (ben.number, "S9"):
        hidden = api.problem(api.get(f"/v1/hours/{record}", reader), 404, "unknown-record")
        absent = api.problem(api.get("/v1/hours/R-NONE", reader), 404, "unknown-record")
        assert str(hidden).replace(record, "R-NONE") == str(absent)


def test_records_are_listed_each_once_with_cursors_and_by_every_filter(api: Api) -> None:
    anna, ben = api.new_volunteer(RARE), api.new_volunteer(RARE)
    records = [api.logged(one, hour=hour) for hour in (8, 9, 10) for one in (anna, ben)]
    api.wrote(f"/v1/hours/{records[0]}/confirmation", None, "S0")
    api.wrote(f"/v1/hours/{records[1]}/rejection", {"reason": "other"}, "S0")

    def listed(by: str = "auditor", limit: int = 500, **filters: Any) -> list[str]:
        found, after = [], 0
        while True:
            page = api.read("/v1/hours", by, limit=limit, after=after, **filters)
            assert len(page["items"]) <= limit
            found += [row["record"] for row in page["items"]]
            if page["next"] is None:
                return found
            after = page["next"]

    assert listed(community=RARE) == records
    for limit in (1, 2, 3, 6):
        assert listed(limit=limit, community=RARE) == records
    assert listed(volunteer=anna.number) == records[::2]
    assert listed(anna.number) == records[::2]
    assert listed(community=RARE, status="confirmed") == records[:1]
    assert listed(volunteer=ben.number, status="rejected") == records[1:2]
    assert listed(community=RARE, status="logged") == records[2:]
    assert set(records) <= set(listed("S0"))
    assert not set(records) & set(listed("S1"))


def test_the_statuses_to_list_by_are_those_that_a_record_can_have(api: Api) -> None:
    assert {*get_args(ListedStatus), "absent"} == set(get_args(Status))
    api.problem(api.get("/v1/hours", "auditor", status="absent"), 422, "invalid-request")


def test_a_full_page_of_records_or_households_or_movements_that_is_the_last_says_so(api: Api) -> None:
    name = "满页社区"
    api.wrote("/v1/communities", {"community": name}, "admin")
    anna = api.new_volunteer(name)
    for hour in (8, 10):
        api.wrote(f"/v1/hours/{api.logged(anna, hour=hour)}/confirmation", None, "S0")
    for path, named, count in (
        ("/v1/hours", {"volunteer": anna.number}, 2),
        ("/v1/households", {"community": name}, 1),
        (f"/v1/households/{anna.household}/statement", {}, 2),
    ):
        page = api.read(path, "auditor", limit=count, **named)
        assert (len(page["items"]), page["next"]) == (count, None)


def test_many_volunteers_may_read_a_strangers_record_at_once(api: Api) -> None:
    record = api.logged(api.new_volunteer())
    strangers = [api.new_volunteer().number for _ in range(READ_CONNECTIONS_MAX)]
    path = f"/v1/hours/{record}"
    for stranger in strangers:
        assert api.get(path, stranger).status_code == 404
    # Had each waited for a second connection while holding one, the pool would have run dry, and some been told so.
    with ThreadPoolExecutor(4 * READ_CONNECTIONS_MAX) as pool:
        asked = [pool.submit(api.get, path, stranger) for stranger in strangers * 8]
        for one in asked:
            api.problem(one.result(), 404, "unknown-record")


def test_a_list_reaches_no_further_than_its_reader(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    api.problem(api.get("/v1/hours", anna.number, volunteer=ben.number), 403, "own-records-only")
    api.problem(api.get("/v1/hours", "S1", community=JINHU), 403, "outside-community")
