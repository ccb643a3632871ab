"""Households that live, over HTTP: decided by staff, seen by those whom it concerns, and no minute lost on the way."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from api.due import DUE, run_due
from application.write_loop import Accepted, Ticket, Writer
from domain.account import MinutesHeld, MinutesReleased
from domain.decision import Actor
from domain.household import ClosedHousehold, RegisterMember, register_member
from domain.household_life import CloseHousehold, MergeHouseholds, close_household, merge_households
from tests.api.service import JINHU, XINZHU, Api, Volunteer
from tests.projections.history import record

RACERS = 16


def earned(api: Api, minutes: int = 60) -> Volunteer:
    """Somebody whose household holds some minutes."""
    anna = api.new_volunteer()
    for hour in range(minutes // 60):
        api.wrote(f"/v1/hours/{api.logged(anna, hour=8 + 2 * hour)}/confirmation", None, "S1")
    return anna


def balance(api: Api, household: str) -> int:
    return int(api.read(f"/v1/households/{household}/balance", "S0")["balance_minutes"])


def test_who_leaves_can_not_log_until_they_join_another_household(api: Api) -> None:
    anna, other = earned(api), api.new_household()
    assert api.wrote("/v1/departures", {"member": anna.number}, "S1")["facts"] == ["member-left.v1"]
    api.problem(api.post("/v1/hours", anna.hours(hour=15), anna.number), 404, "unknown-member")
    assert api.read(f"/v1/volunteers/{anna.number}", anna.number) == {
        "person": anna.number,
        "household": None,
        "volunteer": True,
        "status": "left",
    }
    api.problem(api.get(f"/v1/volunteers/{anna.number}", "S1"), 404, "unknown-member")
    api.problem(api.get(f"/v1/households/{anna.household}/balance", anna.number), 404, "unknown-household")
    api.wrote("/v1/members", {"member": anna.number, "household": other}, "S1")
    api.wrote("/v1/hours", anna.hours(hour=15), anna.number)
    assert api.read(f"/v1/volunteers/{anna.number}", "S1")["household"] == other
    assert balance(api, anna.household) == 60


def test_a_member_moves_and_reads_the_new_household_alone(api: Api) -> None:
    anna, berta = api.new_volunteer(), api.new_volunteer()
    api.wrote("/v1/member-moves", {"member": anna.number, "into": berta.household}, "S1")
    members = api.read(f"/v1/households/{berta.household}/members", anna.number)["items"]
    assert [member["person"] for member in members] == [anna.number, berta.number]
    api.problem(api.get(f"/v1/households/{anna.household}/balance", anna.number), 404, "unknown-household")
    move = {"member": anna.number, "into": berta.household}
    api.problem(api.post("/v1/member-moves", move, "S1"), 422, "same-household")
    api.problem(api.post("/v1/member-moves", move, "S9"), 404, "unknown-member")


def test_who_has_died_has_no_token_any_more_and_their_household_is_to_be_closed(api: Api) -> None:
    anna = earned(api)
    api.wrote("/v1/deaths", {"member": anna.number}, "S1")
    with api.bank.reading() as connection:
        left = connection.execute(
            "SELECT count(*) FROM tokens WHERE ledger = %s AND person = %s AND revoked_at IS NULL",
            (api.bank.name, anna.number),
        ).fetchone()
    assert left == (0,)
    api.problem(api.post("/v1/hours", anna.hours(hour=15), "S1"), 422, "member-has-died")
    again = {"member": anna.number, "household": anna.household}
    api.problem(api.post("/v1/members", again, "S1"), 422, "member-has-died")
    assert balance(api, anna.household) == 60
    for reader, seen in (("S1", True), ("S0", True), ("auditor", True), ("S9", False)):
        listed = [item["household"] for item in api.read("/v1/deserted-households", reader, limit=500)["items"]]
        assert (anna.household in listed) is seen
        assert listed == sorted(listed)
    first = api.read("/v1/deserted-households", "S0", limit=1)
    assert len(first["items"]) == 1
    api.wrote("/v1/household-closures", {"household": anna.household, "cause": "died"}, "S1")
    listed = [item["household"] for item in api.read("/v1/deserted-households", "S0", limit=500)["items"]]
    assert anna.household not in listed


def test_a_household_moves_and_is_then_its_new_communitys(api: Api) -> None:
    anna = earned(api)
    body = {"household": anna.household, "community": JINHU, "moved_on": "2026-01-01"}
    assert api.wrote("/v1/household-moves", body, "S1")["facts"] == ["household-moved.v1"]
    assert api.read(f"/v1/households/{anna.household}/balance", "S9")["community"] == JINHU
    assert api.read(f"/v1/households/{anna.household}", "S9")["community"] == JINHU
    api.problem(api.get(f"/v1/households/{anna.household}/balance", "S1"), 404, "unknown-household")
    api.problem(api.post("/v1/household-moves", body, "S9"), 422, "same-place")
    late = {**body, "community": XINZHU, "moved_on": "2999-01-01"}
    api.problem(api.post("/v1/household-moves", late, "S9"), 422, "too-far-ahead")


def test_a_household_is_split_and_its_history_stays(api: Api) -> None:
    anna = earned(api, 120)
    new = anna.household + "-B"
    body = {"household": anna.household, "into": new, "members": [anna.number], "minutes": 50}
    answer = api.wrote("/v1/household-splits", body, "S1", key="split-" + new)
    assert answer["facts"] == ["household-split.v1", "balance-carried.v1"]
    assert api.post("/v1/household-splits", body, "S1", "split-" + new).json()["repeated"]
    assert (balance(api, anna.household), balance(api, new)) == (70, 50)
    assert api.read(f"/v1/households/{new}", anna.number)["members"] == 1
    kinds = [row["kind"] for row in api.read(f"/v1/households/{anna.household}/statement", "S1")["items"]]
    assert kinds == ["hours-confirmed.v1", "hours-confirmed.v1", "balance-carried.v1"]
    more = {**body, "into": new + "-C"}
    api.problem(api.post("/v1/household-splits", more, "S1"), 404, "unknown-member")
    greedy = {"household": new, "into": new + "-C", "members": [anna.number], "minutes": 51}
    api.problem(api.post("/v1/household-splits", greedy, "S1"), 422, "balance-too-low")


def test_households_are_merged_and_the_one_that_is_left_stands_for_both(api: Api) -> None:
    anna, berta = earned(api), earned(api, 120)
    waiting = api.logged(anna, hour=16)
    body = {"household": anna.household, "into": berta.household}
    api.wrote("/v1/household-mergers", body, "S1")
    assert (balance(api, anna.household), balance(api, berta.household)) == (0, 180)
    api.wrote(f"/v1/hours/{waiting}/confirmation", None, "S1")
    assert balance(api, berta.household) == 240
    gone = api.read(f"/v1/households/{anna.household}", "S1")
    assert (gone["status"], gone["heir"], gone["members"]) == ("merged", "household:" + berta.household, 0)
    assert api.read(f"/v1/households/{berta.household}/balance", anna.number)["balance_minutes"] == 240
    api.problem(api.post("/v1/household-mergers", body, "S1"), 422, "closed-household")
    served = berta.hours(recipient_household=anna.household, hour=19)
    api.problem(api.post("/v1/hours", served, berta.number), 422, "closed-household")


def test_a_closed_household_leaves_its_minutes_to_the_pool_and_can_not_close_on_held_ones(api: Api) -> None:
    anna = earned(api)
    pool = api.read(f"/v1/communities/{XINZHU}/pool", "S1")["balance_minutes"]
    account = "household:" + anna.household
    record(api.bank, MinutesHeld(account, 30, "request:Q1"))
    body = {"household": anna.household, "cause": "moved-away"}
    found = api.problem(api.post("/v1/household-closures", body, "S1"), 422, "minutes-still-held")
    assert found["held_minutes"] == 30
    record(api.bank, MinutesReleased(account, 30, "request:Q1"))
    waiting = api.logged(anna, hour=16)
    api.wrote("/v1/household-closures", body, "S1")
    assert balance(api, anna.household) == 0
    assert api.read(f"/v1/communities/{XINZHU}/pool", "S1")["balance_minutes"] == pool + 60
    api.problem(api.post(f"/v1/hours/{waiting}/confirmation", None, "S1"), 422, "closed-household")
    assert api.read(f"/v1/households/{anna.household}", "S1")["heir"] == "pool:" + XINZHU


def test_of_sixteen_who_merge_or_close_one_household_at_once_exactly_one_succeeds(api: Api) -> None:
    """Each with a writer of their own, as so many processes would."""
    anna, berta = earned(api), api.new_household()
    start, before = Barrier(RACERS), balance(api, berta)
    merging = merge_households, MergeHouseholds(household=anna.household, into=berta)
    closing = close_household, CloseHousehold(household=anna.household, cause="other", taken_over_by=berta)
    joining = register_member, RegisterMember(member=f"J-{anna.number}", household=anna.household)

    def race(number: int) -> bool:
        decide, command = joining if number == 0 else (merging, closing)[number % 2]
        ticket = Ticket(decide, command, Actor("D1", "admin"), uuid4().hex)
        writer = Writer(api.bank.store, api.bank.zone)
        start.wait(60)
        writer.run([ticket])
        assert isinstance(ticket.outcome, Accepted | ClosedHousehold), ticket.outcome
        return isinstance(ticket.outcome, Accepted)

    with ThreadPoolExecutor(RACERS) as pool:
        joined, *done = pool.map(race, range(RACERS))
    assert sum(done) == 1
    assert (balance(api, anna.household), balance(api, berta)) == (0, before + 60)
    # Who joined in the very last moment was taken along, or has left with the others: nobody is in a closed household.
    assert api.read(f"/v1/households/{anna.household}/members", "S0")["items"] == []
    assert not joined or api.read(f"/v1/volunteers/J-{anna.number}", "S0")["household"] in (berta, None)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/departures", {"member": "X"}),
        ("/v1/member-moves", {"member": "X", "into": "Y"}),
        ("/v1/deaths", {"member": "X"}),
        ("/v1/household-moves", {"household": "X", "community": XINZHU, "moved_on": "2026-01-01"}),
        ("/v1/household-splits", {"household": "X", "into": "Y", "members": ["Z"], "minutes": 0}),
        ("/v1/household-mergers", {"household": "X", "into": "Y"}),
        ("/v1/household-closures", {"household": "X", "cause": "other"}),
    ],
)
def test_only_staff_decide_and_nobody_about_their_own_household(api: Api, path: str, body: dict[str, Any]) -> None:
    anna = api.new_volunteer()
    for by in (anna.number, "auditor"):
        api.problem(api.post(path, body, by), 403, "role-not-allowed")
    api.tokens["own"] = api.new_token(anna.number, "staff", XINZHU)
    own = {name: anna.number if name in ("member", "members") else value for name, value in body.items()}
    own |= {"members": [anna.number]} if "members" in body else {}
    own |= {"household": anna.household} if "household" in body else {}
    if "into" in body:
        own["into"] = f"{anna.household}-N" if "members" in body else api.new_household()
    api.problem(api.post(path, own, "own"), 403, "decided-by-member")


def test_a_move_is_planned_done_by_time_once_and_can_be_called_off(api: Api) -> None:
    anna = earned(api)
    today = datetime.now(api.bank.zone).date()
    body = {"household": anna.household, "community": JINHU, "moved_on": (today + timedelta(days=9)).isoformat()}
    assert api.wrote("/v1/household-moves", body, "S1")["facts"] == ["household-move-planned.v1"]
    found = api.read(f"/v1/households/{anna.household}", anna.number)
    assert (found["community"], found["moves_on"], found["moves_to"]) == (XINZHU, body["moved_on"], JINHU)
    assert api.post(f"/v1/household-moves/{anna.household}/cancellation", None, "S9").status_code == 404
    answer = api.wrote(f"/v1/household-moves/{anna.household}/cancellation", None, "S1")
    assert answer["facts"] == ["household-move-called-off.v1"]
    api.problem(api.post(f"/v1/household-moves/{anna.household}/cancellation", None, "S1"), 422, "no-move-planned")
    assert api.read(f"/v1/households/{anna.household}", anna.number)["moves_on"] is None


def test_what_a_merged_household_asked_for_is_its_successors_to_see_and_to_accept(api: Api) -> None:
    anna, berta, carl = api.new_volunteer(), api.new_volunteer(), api.new_volunteer()
    start = datetime.now(api.bank.zone).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=2)
    ask = {
        "household": anna.household,
        "service": "陪诊",
        "earliest_at": start.isoformat(),
        "latest_at": (start + timedelta(hours=4)).isoformat(),
        "estimated_minutes": 60,
    }
    asked = api.wrote("/v1/requests", ask, anna.number)["request"]
    for who in (berta, carl):
        api.wrote(f"/v1/requests/{asked}/offers", {"volunteer": who.number}, who.number)
    waiting = api.logged(carl, recipient_household=anna.household, hour=16)
    api.wrote("/v1/household-mergers", {"household": anna.household, "into": berta.household}, "S1")
    assert api.read(f"/v1/requests/{asked}", berta.number)["household"] == berta.household
    assert asked in [row["request"] for row in api.read("/v1/requests/open", carl.number, limit=500)["items"]]
    # Whoever is of the household by now can't serve it, and their offer lapses with time.
    lapsing = [kind for kind in DUE if kind.name == "offers lapsed"]
    run_due(api.bank, datetime.now(api.bank.zone), lapsing)  # or the service has by itself, which looks each minute
    offers = api.read(f"/v1/requests/{asked}", "S1")["offers"]
    assert {one["volunteer"]: one["status"] for one in offers} == {berta.number: "withdrawn", carl.number: "made"}
    assert run_due(api.bank, datetime.now(api.bank.zone), lapsing).done == {"offers lapsed": 0}
    api.wrote(f"/v1/requests/{asked}/acceptance", {"volunteer": carl.number}, berta.number)
    # What was served before is listed for, read and confirmed by the household that stands for it now.
    listed = api.read("/v1/hours", berta.number, recipient_household=anna.household)["items"]
    assert waiting in [row["record"] for row in listed]
    assert api.read(f"/v1/hours/{waiting}", berta.number)["status"] == "logged"
    api.wrote(f"/v1/hours/{waiting}/confirmation", None, berta.number)
    assert api.read(f"/v1/households/{anna.household}/statement", berta.number)["items"] == []
    api.problem(api.get(f"/v1/households/{anna.household}/statement", carl.number), 404, "unknown-household")
    body = {"household": berta.household, "cause": "moved-away"}
    found = api.problem(api.post("/v1/household-closures", body, "S1"), 422, "requests-still-open")
    assert found["requests"] == asked
