"""A volunteer's record over HTTP: stars that come and go by themselves, and what staff put on it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from api.due import ACTOR, DUE, run_due
from api.recognition import KINDS
from api.wiring import Timebank, known
from domain.decision import Actor
from domain.hours import ConfirmHours, ReverseHours, confirm, reverse
from domain.recognition import (
    AwardHonour,
    RecognitionAlreadyRecorded,
    SettleStars,
    Stars,
    StarsNotDue,
    WithdrawRecognition,
    award_honour,
    settle_stars,
    withdraw_recognition,
)
from tests.api.racing import RACERS, race, won
from tests.api.service import Api, Volunteer, midnight, register_places, serving

OpenBank = Callable[..., Timebank]
OF_STARS = [kind for kind in DUE if kind.decide is settle_stars]


@pytest.fixture
def starry(open_bank: OpenBank) -> Iterator[Api]:
    """A service where an hour is the first star, and two hours the second."""
    with serving(open_bank(star_minutes=(60, 120))) as api:
        register_places(api)
        yield api


def serve(api: Api, person: Volunteer, hour: int = 9) -> str:
    record = api.logged(person, hour=hour)
    api.record((confirm, ConfirmHours(record=record)), actor=Actor("D2", "admin"))
    return record


def due(api: Api) -> tuple[int, int]:
    """Settle the stars that are due as far as is known; how many people's were, and how many were refused."""
    api.read("/v1/hours", "auditor")
    report = run_due(api.bank, datetime.now(UTC), OF_STARS)
    return report.done["stars"], report.refused["stars"]


def record_of(api: Api, person: Volunteer, by: str | None = None) -> Any:
    return api.read(f"/v1/volunteers/{person.number}/recognition", by or person.number)


# ── Stars ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stars_come_when_they_are_reached_and_go_when_records_are_reversed(starry: Api) -> None:
    anna, ben = starry.new_volunteer(), starry.new_volunteer()
    first = serve(starry, anna)
    starry.logged(ben)  # not confirmed, so it counts for nothing
    assert due(starry) == (1, 0)
    assert due(starry) == (0, 0)
    found = record_of(starry, anna)
    assert (found["star"], found["service_minutes"], found["service_records"]) == (1, 60, 1)
    second = serve(starry, anna, hour=11)
    assert due(starry) == (1, 0)
    assert record_of(starry, anna)["star"] == 2
    for record in (first, second):
        starry.record((reverse, ReverseHours(record=record, reason="not-served")))
    assert due(starry) == (1, 0)
    found = record_of(starry, anna)
    assert (found["star"], found["service_minutes"]) == (0, 0)
    assert [(star["star"], star["status"], star["reason"]) for star in found["stars"]] == [
        (1, "withdrawn", "records-reversed"),
        (2, "withdrawn", "records-reversed"),
    ]
    serve(starry, anna, hour=13)
    assert due(starry) == (1, 0)
    assert [star["status"] for star in record_of(starry, anna)["stars"]] == ["withdrawn", "withdrawn", "stands"]
    assert record_of(starry, ben)["stars"] == []


def test_a_hundred_hours_are_needed_where_the_policy_says_nothing_else(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    due(api)
    assert record_of(api, anna)["star"] == 0


def test_before_any_policy_is_in_force_nothing_is_found(open_bank: OpenBank) -> None:
    with serving(open_bank(from_tomorrow=True)) as api:
        assert due(api) == (0, 0)


@pytest.mark.parametrize("loops", [1, 4])
def test_what_sixteen_award_at_once_is_awarded_once(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank(star_minutes=(60,))
    with serving(bank) as api:
        register_places(api)
        anna = api.new_volunteer()
        serve(api, anna)
    command = SettleStars(volunteer=anna.number, service_minutes=60, counted_position=bank.store.head())
    outcomes = race(bank, loops, [(settle_stars, command, ACTOR)] * RACERS)
    assert won(outcomes) == 1
    assert [outcome for outcome in outcomes if outcome == StarsNotDue(anna.number)] == [StarsNotDue(anna.number)] * 15
    assert known(bank.store, Stars.of(anna.number)).held == ((1, 60),)


# ── Honours, training, commendations ─────────────────────────────────────────────────────────────────────────


def bodies(api: Api, person: Volunteer) -> dict[str, dict[str, Any]]:
    day = (midnight(api.bank) - timedelta(days=1)).date().isoformat()
    return {
        "honour": {"volunteer": person.number, "title": "年度优秀志愿者", "level": "city", "awarded_on": day},
        "training": {
            "volunteer": person.number,
            "subject": "first-aid",
            "name": "救护员初训",
            "minutes": 480,
            "trained_on": day,
        },
        "commendation": {
            "volunteer": person.number,
            "title": "表扬信",
            "organisation": "新竹街道办事处",
            "commended_on": day,
        },
    }


def test_staff_put_honours_trainings_and_commendations_on_the_record_and_withdraw_them(api: Api) -> None:
    anna = api.new_volunteer()
    numbers = {}
    for kind, body in bodies(api, anna).items():
        answer = api.wrote(f"/v1/{kind}s", body, "S1")
        numbers[kind] = answer["recognition"]
    found = record_of(api, anna)
    assert found["training_minutes"] == 480
    for kind, body in bodies(api, anna).items():
        (entry,) = found[f"{kind}s"]
        del body["volunteer"]
        assert body.items() <= entry.items()
        assert (entry["recognition"], entry["given_by"], entry["status"]) == (numbers[kind], "S1", "stands")
    for kind, number in numbers.items():
        path = f"/v1/recognitions/{number}/withdrawal"
        api.wrote(path, {"reason": "wrong-person"}, "S2")
        api.problem(api.post(path, {"reason": "other"}, "S2"), 409, "recognition-already-withdrawn")
        (entry,) = record_of(api, anna)[f"{kind}s"]
        assert (entry["status"], entry["withdrawn_by"], entry["reason"]) == ("withdrawn", "S2", "wrong-person")
    assert record_of(api, anna)["training_minutes"] == 0
    assert [*bodies(api, anna)] == [*KINDS]


def test_a_repeated_request_puts_one_entry_on_the_record(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    body = bodies(api, anna)["honour"]
    first = api.wrote("/v1/honours", body, "S1", key)
    assert api.post("/v1/honours", body, "S1", key).json() == first | {"repeated": True}
    assert len(record_of(api, anna)["honours"]) == 1
    again = {**body, "recognition": first["recognition"]}
    api.problem(api.post("/v1/honours", again, "S1"), 409, "recognition-already-recorded")


def test_what_may_not_be_recorded_is_refused_with_its_rule(api: Api) -> None:
    anna = api.new_volunteer()
    api.tokens["own"] = api.new_token(anna.number, "staff", "新竹社区")
    for kind, body in bodies(api, anna).items():
        day = KINDS[kind][2]
        path = f"/v1/{kind}s"
        api.problem(api.post(path, body, "own"), 403, "recognised-by-own-household")
        api.problem(api.post(path, body, "S9"), 404, "unknown-member")
        api.problem(api.post(path, {**body, "volunteer": "V-NONE"}, "S1"), 404, "unknown-member")
        api.problem(api.post(path, {**body, day: "2999-01-01"}, "S1"), 422, "day-to-come")
        api.problem(api.post(path, body, anna.number), 403, "role-not-allowed")
        api.problem(
            api.post(path, {**body, "title" if kind != "training" else "name": "13812345678"}, "S1"),
            422,
            "invalid-request",
        )
    api.problem(api.post("/v1/recognitions/N-NONE/withdrawal", {"reason": "other"}, "S1"), 404, "unknown-recognition")
    number = api.wrote("/v1/honours", bodies(api, anna)["honour"], "S1")["recognition"]
    path = f"/v1/recognitions/{number}/withdrawal"
    api.problem(api.post(path, {"reason": "other"}, "S9"), 404, "unknown-recognition")
    api.problem(api.post(path, {"reason": "other"}, "own"), 403, "recognised-by-own-household")


def test_a_record_is_read_by_the_volunteer_their_staff_and_auditors_and_hidden_from_others(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    api.wrote("/v1/honours", bodies(api, anna)["honour"], "S1")
    own = record_of(api, anna)
    for reader in ("S1", "S0", "auditor", "admin"):
        assert record_of(api, anna, reader)["honours"] == own["honours"]
    for stranger in (ben.number, "S9"):
        api.problem(api.get(f"/v1/volunteers/{anna.number}/recognition", stranger), 404, "unknown-member")
    api.problem(api.get("/v1/volunteers/V-NONE/recognition", "admin"), 404, "unknown-member")
    assert api.get(f"/v1/volunteers/{anna.number}/recognition").status_code == 401


@pytest.mark.parametrize("loops", [1, 4])
def test_one_number_is_given_once_and_withdrawn_once_by_sixteen(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank()
    with serving(bank) as api:
        register_places(api)
        anna = api.new_volunteer()
        yesterday = (midnight(bank) - timedelta(days=1)).date()
    staff = [Actor(f"D{number}", "admin") for number in range(RACERS)]
    award = AwardHonour(recognition="N1", volunteer=anna.number, title="标兵", awarded_on=yesterday)
    outcomes = race(bank, loops, [(award_honour, award, actor) for actor in staff])
    assert won(outcomes) == 1
    assert outcomes.count(RecognitionAlreadyRecorded("N1")) == RACERS - 1
    withdrawal = WithdrawRecognition(recognition="N1", reason="mistake")
    assert won(race(bank, loops, [(withdraw_recognition, withdrawal, actor) for actor in staff])) == 1
