"""Visits over HTTP: codes for the door, check-in and check-out, staff's queue, and evidence for a record."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from api.due import run_due
from api.visit import ListedVisitStatus
from api.wiring import Timebank
from application.write_loop import Accepted, Ticket, WriteLoop, Writer
from domain.decision import Actor
from domain.visit import CheckIn, VisitStatus, check_in, code_hash
from infrastructure.codec import encode
from tests.api.service import JINHU, XINZHU, Api, Volunteer, register_places, serving
from tests.controls import CHECKED_IN, DOOR_CODE_MADE, district, envelope

RACERS = 16


def checking_in(anna: Volunteer, **changes: Any) -> dict[str, Any]:
    return {"volunteer": anna.number, "service": "陪伴聊天"} | changes


def begun_before(api: Api, anna: Volunteer, minutes: int) -> str:
    """A visit that was begun so long ago, as its fact says."""
    started_at = (datetime.now(UTC) - timedelta(minutes=minutes)).astimezone(api.bank.zone)
    number = f"C-{uuid4().hex[:8]}-{anna.number}"
    fact = replace(
        CHECKED_IN,
        visit=number,
        volunteer=anna.number,
        started_at=started_at.replace(second=0, microsecond=0),
        recipient_household=None,
        grid=(),
        evidence="self",
        code_hash=None,
    )
    api.bank.store.append([envelope(fact)], [], [], api.bank.store.head())
    return number


def test_a_volunteer_shows_by_the_codes_of_the_door_that_they_were_there(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    made = api.wrote("/v1/door-codes", {"household": served.household}, served.number)
    assert made["facts"] == ["door-code-made.v1"]
    assert re.fullmatch(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", made["code"])
    begun = api.wrote("/v1/visits", checking_in(anna, code=made["code"].lower()), anna.number)
    assert begun["facts"] == ["checked-in.v1"]
    row = api.read(f"/v1/visits/{begun['visit']}", anna.number)
    assert (row["status"], row["evidence"], row["recipient_household"]) == ("open", "checked-in", served.household)
    again = api.post("/v1/visits", checking_in(api.new_volunteer(), code=made["code"]), "S0")
    api.problem(again, 409, "door-code-spent")


def test_the_code_is_in_the_answer_alone_and_a_repeated_request_gives_it_again(api: Api) -> None:
    served = api.new_volunteer()
    body = {"household": served.household, "valid_minutes": 60}
    made = api.wrote("/v1/door-codes", body, served.number, key="door-1")
    again = api.post("/v1/door-codes", body, served.number, key="door-1")
    assert again.status_code == 200
    assert (again.json()["code"], again.json()["repeated"]) == (made["code"], True)
    assert api.wrote("/v1/door-codes", body, "S1", key="door-1")["code"] != made["code"]
    assert api.wrote("/v1/door-codes", body, served.number)["code"] != made["code"]
    code = made["code"].replace("-", "")
    stored = [encode(recorded.envelope) for batch in api.bank.store.scan() for recorded in batch]
    assert sum(code_hash(code).encode() in fact for fact in stored) == 1
    assert not any(code.encode() in fact or made["code"].encode() in fact for fact in stored)


def test_a_visit_that_is_checked_out_is_a_record_of_its_grade(api: Api) -> None:
    anna = api.new_volunteer()
    visit = begun_before(api, anna, 90)
    ended = api.wrote(f"/v1/visits/{visit}/check-out", {"minutes": 60}, anna.number)
    assert ended["facts"] == ["checked-out.v1", "hours-logged.v1"]
    assert api.read(f"/v1/visits/{visit}", "S1")["record"] == ended["record"]
    row = api.read(f"/v1/hours/{ended['record']}", anna.number)
    assert (row["status"], row["evidence"], row["claimed_minutes"]) == ("logged", "self", 60)
    api.wrote(f"/v1/hours/{ended['record']}/confirmation", None, "S1")
    assert api.read(f"/v1/hours/{ended['record']}", anna.number)["evidence"] == "self"


def test_staff_who_are_there_give_the_record_their_grade(api: Api) -> None:
    anna = api.new_volunteer()
    begun = api.wrote("/v1/visits", checking_in(anna), "S1")
    assert api.read(f"/v1/visits/{begun['visit']}", "S1")["evidence"] == "staff"


def test_checking_in_against_the_rules_is_refused(api: Api) -> None:
    anna, ben, theirs = api.new_volunteer(), api.new_volunteer(), api.new_household(JINHU)
    named = checking_in(anna, visit=f"C-{anna.number}")
    expired = api.wrote("/v1/door-codes", {"household": ben.household, "valid_minutes": 5}, ben.number)
    own = api.wrote("/v1/door-codes", {"household": anna.household}, anna.number)
    assert expired["valid_until"] > datetime.now(api.bank.zone).isoformat()
    refused: list[tuple[dict[str, Any], str, int, str]] = [
        (named, ben.number, 403, "not-yourself"),
        (checking_in(anna, volunteer="V-NONE"), "S0", 404, "unknown-member"),
        (checking_in(anna, recipient_household=anna.household), anna.number, 422, "own-household-served"),
        (checking_in(anna, recipient_household="H-NONE"), anna.number, 404, "unknown-household"),
        (checking_in(anna, community="没有社区"), anna.number, 404, "unknown-community"),
        (checking_in(anna, community=XINZHU, grid=["没有"]), anna.number, 404, "unknown-grid"),
        (checking_in(anna), "S9", 403, "outside-community"),
        (checking_in(anna, recipient_household=theirs), "S1", 403, "outside-community"),
        (checking_in(anna, code="0" * 16), anna.number, 404, "unknown-door-code"),
        (checking_in(anna, code=own["code"]), anna.number, 403, "own-door-code"),
        (checking_in(anna, code="x"), anna.number, 422, "invalid-request"),
        (checking_in(anna, grid=["第3网格"]), anna.number, 422, "invalid-request"),
    ]
    for body, by, status, code in refused:
        api.problem(api.post("/v1/visits", body, by), status, code)
    api.wrote("/v1/visits", named, anna.number)
    api.problem(api.post("/v1/visits", named, anna.number), 409, "visit-already-begun")
    api.problem(api.post("/v1/visits", checking_in(anna), anna.number), 409, "still-checked-in")


def test_an_expired_code_is_told_as_such(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    code = "A" * 16
    made = replace(
        DOOR_CODE_MADE,
        code_hash=code_hash(code),
        household=served.household,
        made_by=served.number,
        valid_until=datetime.now(api.bank.zone) - timedelta(minutes=1),
    )
    api.bank.store.append([envelope(made)], [], [], api.bank.store.head())
    api.problem(api.post("/v1/visits", checking_in(anna, code=code), anna.number), 422, "door-code-expired")


def test_nobody_makes_a_code_for_somebody_elses_door(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    for by in (anna.number, "S9"):
        api.problem(api.post("/v1/door-codes", {"household": served.household}, by), 404, "unknown-household")
    api.problem(api.post("/v1/door-codes", {"household": served.household}, "auditor"), 403, "role-not-allowed")


def test_a_visit_is_ended_once_and_by_whom_it_concerns(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    visit = begun_before(api, anna, 60)
    for path, body in (("check-out", {}), ("voiding", {"reason": "mistake"})):
        api.problem(api.post(f"/v1/visits/{visit}/{path}", body, ben.number), 404, "unknown-visit")
        api.problem(api.post(f"/v1/visits/{visit}/{path}", body, "S9"), 404, "unknown-visit")
    api.wrote(f"/v1/visits/{visit}/voiding", {"reason": "not-served"}, anna.number)
    assert api.read(f"/v1/visits/{visit}", anna.number)["status"] == "voided"
    closing = {"ended_at": datetime.now(api.bank.zone).replace(second=0, microsecond=0).isoformat(), "reason": "device"}
    for path, body, by in (
        ("check-out", {}, anna.number),
        ("voiding", {"reason": "mistake"}, "S1"),
        ("closing", closing, "S1"),
    ):
        problem = api.problem(api.post(f"/v1/visits/{visit}/{path}", body, by), 409, "visit-not-open")
        assert problem["current_status"] == "voided"


def test_a_visit_keeps_the_rules_of_every_record(api: Api) -> None:
    anna = api.new_volunteer()
    visit = begun_before(api, anna, 10)
    api.problem(api.post(f"/v1/visits/{visit}/check-out", {}, anna.number), 422, "record-too-short")
    longer = api.post(f"/v1/visits/{visit}/check-out", {"minutes": 600}, anna.number)
    api.problem(longer, 422, "visit-times-outside")


def test_an_open_check_in_never_earns_and_staff_settle_it_from_their_queue(api: Api) -> None:
    anna = api.new_volunteer()
    visit, other = begun_before(api, anna, 800), begun_before(api, anna, 900)
    assert api.read(f"/v1/visits/{visit}", "S1")["position"]
    run_due(api.bank, datetime.now(UTC))  # as the service does by itself, each minute
    queue = api.read("/v1/visits", "S1", status="overdue", limit=500)["items"]
    assert {visit, other} <= {row["visit"] for row in queue}
    assert all(row["community"] == XINZHU for row in queue)
    assert visit not in {row["visit"] for row in api.read("/v1/visits", "S9", status="overdue", limit=500)["items"]}
    api.problem(api.post(f"/v1/visits/{visit}/check-out", {}, anna.number), 409, "visit-not-open")
    started_at = datetime.fromisoformat(api.read(f"/v1/visits/{visit}", "S1")["started_at"])
    ended_at = (started_at + timedelta(minutes=45)).isoformat()
    outside = {"ended_at": (started_at - timedelta(minutes=1)).isoformat(), "reason": "forgotten"}
    api.problem(api.post(f"/v1/visits/{visit}/closing", outside, "S1"), 422, "visit-times-outside")
    odd = {"ended_at": (started_at + timedelta(seconds=61)).isoformat(), "reason": "forgotten"}
    api.problem(api.post(f"/v1/visits/{visit}/closing", odd, "S1"), 422, "invalid-request")
    closing = {"ended_at": ended_at, "reason": "forgotten"}
    api.problem(api.post(f"/v1/visits/{visit}/closing", closing, anna.number), 403, "role-not-allowed")
    api.problem(api.post(f"/v1/visits/{visit}/closing", closing, "S9"), 404, "unknown-visit")
    record = api.wrote(f"/v1/visits/{visit}/closing", closing, "S1")["record"]
    row = api.read(f"/v1/hours/{record}", "S1")
    assert (row["claimed_minutes"], row["evidence"], row["status"]) == (45, "self", "logged")
    api.problem(api.post(f"/v1/hours/{record}/confirmation", None, "S1"), 403, "confirmed-by-logger")
    api.wrote(f"/v1/visits/{other}/voiding", {"reason": "not-served"}, "S1")
    left = {row["visit"] for row in api.read("/v1/visits", "S1", status="overdue", limit=500)["items"]}
    assert not {visit, other} & left


def test_visits_are_read_by_those_whom_they_concern(api: Api) -> None:
    anna, served, stranger = api.new_volunteer(), api.new_volunteer(), api.new_volunteer()
    body = checking_in(anna, recipient_household=served.household)
    visit = api.wrote("/v1/visits", body, anna.number)["visit"]
    for by in (anna.number, served.number, "S0", "S1", "auditor", "admin"):
        assert api.read(f"/v1/visits/{visit}", by)["visit"] == visit
        assert visit in {row["visit"] for row in api.read("/v1/visits", by, limit=500)["items"]}
    for by in (stranger.number, "S9"):
        api.problem(api.get(f"/v1/visits/{visit}", by), 404, "unknown-visit")
        assert visit not in {row["visit"] for row in api.read("/v1/visits", by, limit=500)["items"]}
    api.problem(api.get("/v1/visits/C-NONE", "S0"), 404, "unknown-visit")
    api.problem(api.get("/v1/visits", "S9", community=XINZHU), 403, "outside-community")


def test_a_list_is_read_page_by_page(api: Api) -> None:
    anna = api.new_volunteer()
    begun = [begun_before(api, anna, 100 + n) for n in range(3)]
    found, after = [], 0
    while after is not None:
        answer = api.read("/v1/visits", anna.number, limit=1, after=after)
        found += [row["visit"] for row in answer["items"]]
        after = answer["next"]
    assert found == begun
    open_ones = api.read("/v1/visits", anna.number, status="open")["items"]
    assert [row["visit"] for row in open_ones] == begun
    assert api.read("/v1/visits", anna.number, status="logged")["items"] == []


def test_every_status_of_a_visit_can_be_asked_for() -> None:
    assert {*ListedVisitStatus.__args__, "absent"} == set(VisitStatus.__args__)  # type: ignore[attr-defined]


# ── Evidence ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_paper_that_staff_hold_raises_a_records_grade_for_good(api: Api) -> None:
    anna, stranger = api.new_volunteer(), api.new_volunteer()
    record = api.logged(anna)
    photo, paper = {"kind": "photo", "sha256": "12" * 32}, {"kind": "sheet", "sha256": "34" * 32}
    api.wrote(f"/v1/hours/{record}/evidence", photo, anna.number)
    assert api.read(f"/v1/hours/{record}", anna.number)["evidence"] == "self"
    assert api.wrote(f"/v1/hours/{record}/evidence", paper, "S1")["facts"] == ["evidence-attached.v1"]
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    api.wrote(f"/v1/hours/{record}/reversal", {"reason": "duplicate"}, "S1")
    row = api.read(f"/v1/hours/{record}", anna.number)
    assert (row["status"], row["evidence"]) == ("reversed", "staff")
    attached = api.read(f"/v1/hours/{record}/evidence", anna.number)["items"]
    assert [(file["kind"], file["sha256"], file["attached_by"]) for file in attached] == [
        ("photo", "12" * 32, anna.number),
        ("sheet", "34" * 32, "S1"),
    ]
    again = api.post(f"/v1/hours/{record}/evidence", photo, "S1")
    api.problem(again, 409, "evidence-already-attached")
    for by in (stranger.number, "S9"):
        api.problem(api.post(f"/v1/hours/{record}/evidence", photo, by), 404, "unknown-record")
        api.problem(api.get(f"/v1/hours/{record}/evidence", by), 404, "unknown-record")
    api.problem(api.get("/v1/hours/R-NONE/evidence", "S1"), 404, "unknown-record")


def test_a_policy_may_ask_for_more_than_the_volunteers_word(open_bank: Callable[..., Timebank]) -> None:
    with serving(open_bank(evidence_min="staff")) as api:
        register_places(api)
        record = api.logged(api.new_volunteer())
        api.problem(api.post(f"/v1/hours/{record}/confirmation", None, "S1"), 422, "evidence-too-weak")
        api.wrote(f"/v1/hours/{record}/evidence", {"kind": "sheet", "sha256": "56" * 32}, "S2")
        api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")


def test_a_member_of_the_household_that_was_served_gives_the_record_its_grade(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    record = api.logged(anna, recipient_household=served.household)
    api.wrote(f"/v1/hours/{record}/confirmation", {}, served.number)
    assert api.read(f"/v1/hours/{record}", anna.number)["evidence"] == "recipient"


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("processes", [1, 4])
def test_one_door_code_lets_exactly_one_of_sixteen_volunteers_in(
    open_bank: Callable[..., Timebank], processes: int
) -> None:
    bank = open_bank()
    code = "B" * 16
    made = replace(DOOR_CODE_MADE, code_hash=code_hash(code), valid_until=datetime.now(bank.zone) + timedelta(hours=1))
    past = [*district()[2:], made]
    people = []
    for number in range(RACERS):
        household = replace(district()[6], household=f"HR{number}")
        member = replace(district()[8], member=f"VR{number}", household=f"HR{number}")
        enrolled = replace(district()[12], volunteer=f"VR{number}")
        people += [household, member, enrolled]
    bank.store.append([envelope(fact) for fact in (*past, *people)], [], [], bank.store.head())
    tickets = [
        Ticket(
            check_in,
            CheckIn(volunteer=f"VR{number}", service="助餐", code=code, visit=f"CR{number}"),
            Actor(f"VR{number}", "volunteer"),
            uuid4().hex,
        )
        for number in range(RACERS)
    ]
    loops = [WriteLoop(Writer(bank.store, bank.zone)) for _ in range(processes)]
    start = threading.Barrier(RACERS)

    def race(number: int) -> None:
        start.wait()
        loops[number % processes].run([tickets[number]])

    for loop in loops:
        loop.__enter__()
    try:
        threads = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for loop in loops:
            loop.__exit__()
    won = [ticket for ticket in tickets if isinstance(ticket.outcome, Accepted)]
    assert len(won) == 1
    lost = [ticket.outcome.code for ticket in tickets if not isinstance(ticket.outcome, Accepted)]  # type: ignore[union-attr]
    assert lost == ["door-code-spent"] * (RACERS - 1)
