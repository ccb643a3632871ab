"""Service requests over HTTP: asked for, matched, accepted once, done, and shown to nobody whom they don't concern."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, get_args
from uuid import uuid4

import pytest

from api.due import DueReport, run_due
from api.request import ListedStatus
from api.wiring import Timebank, known
from application.write_loop import Accepted, Ticket, Writer
from domain.account import Account
from domain.community import RegisterCommunity, register_community
from domain.decision import Actor
from domain.household import (
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.refusal import Refusal
from domain.request import (
    AcceptOffer,
    AskForService,
    MakeOffer,
    RequestInOtherStatus,
    ServiceRequest,
    Status,
    accept,
    ask,
    offer,
)
from tests.api.service import GRID, JINHU, RARE, XINZHU, Api, Volunteer, midnight, serving
from tests.conftest import assert_conserved

RACERS = 16
ADMIN = Actor("A1", "admin")


def asking(api: Api, household: str, **changes: Any) -> dict[str, Any]:
    """An hour of help, from yesterday morning to tomorrow night: so that it can be done at once."""
    today = midnight(api.bank)
    body = {
        "household": household,
        "service": "陪诊",
        "earliest_at": (today - timedelta(hours=15)).isoformat(),
        "latest_at": (today + timedelta(hours=44)).isoformat(),
        "estimated_minutes": 60,
        "needs": ["wheelchair"],
    }
    return body | changes


def served(api: Api) -> dict[str, Any]:
    """An hour of yesterday's morning."""
    start = midnight(api.bank) - timedelta(hours=15)
    return {"started_at": start.isoformat(), "ended_at": (start + timedelta(hours=1)).isoformat()}


def asked(api: Api, asker: Volunteer, **changes: Any) -> str:
    return str(api.wrote("/v1/requests", asking(api, asker.household, **changes), asker.number)["request"])


def offered(api: Api, number: str, helper: Volunteer) -> None:
    api.wrote(f"/v1/requests/{number}/offers", {"volunteer": helper.number}, helper.number)


def accepted(api: Api, number: str, asker: Volunteer, helper: Volunteer) -> None:
    api.wrote(f"/v1/requests/{number}/acceptance", {"volunteer": helper.number}, asker.number)


def open_to(api: Api, helper: Volunteer, **params: Any) -> list[str]:
    return [one["request"] for one in whole_list(api, "/v1/requests/open", helper.number, **params)]


def whole_list(api: Api, path: str, by: str, **params: Any) -> list[dict[str, Any]]:
    found, after = [], None
    while True:
        page = api.read(path, by, **params, **({} if after is None else {"after": after}))
        found += page["items"]
        after = page["next"]
        if after is None:
            return found


# ── From asking to credit ────────────────────────────────────────────────────────────────────────────────────────


def test_a_household_asks_a_neighbour_offers_is_accepted_and_is_credited_for_what_they_gave(api: Api) -> None:
    asker, helper = api.new_volunteer(), api.new_volunteer()
    number = asked(api, asker)
    offered(api, number, helper)
    whole = api.read(f"/v1/requests/{number}", asker.number)
    assert (whole["status"], whole["household"], whole["needs"]) == ("open", asker.household, ["wheelchair"])
    assert [(one["volunteer"], one["status"]) for one in whole["offers"]] == [(helper.number, "made")]
    accepted(api, number, asker, helper)
    done = api.wrote(f"/v1/requests/{number}/fulfilment", served(api), helper.number)
    assert done["facts"] == ["hours-logged.v1", "request-fulfilled.v1"]
    record = api.read(f"/v1/hours/{done['record']}", "S1")
    assert (record["recipient_household"], record["service"], record["status"]) == (asker.household, "陪诊", "logged")
    api.wrote(f"/v1/hours/{done['record']}/confirmation", None, "S1")
    assert api.read(f"/v1/households/{helper.household}/balance", helper.number)["balance_minutes"] == 60
    whole = api.read(f"/v1/requests/{number}", asker.number)
    assert (whole["status"], whole["record"], whole["volunteer"]) == ("fulfilled", done["record"], helper.number)


def test_hours_of_a_request_that_are_logged_late_keep_their_reason(api: Api) -> None:
    asker, helper = api.new_volunteer(), api.new_volunteer()
    start = midnight(api.bank) - timedelta(days=9)
    number = asked(api, asker, earliest_at=start.isoformat())
    offered(api, number, helper)
    accepted(api, number, asker, helper)
    hour = {"started_at": start.isoformat(), "ended_at": (start + timedelta(hours=1)).isoformat()}
    late = hour | {"late_reason": "away-or-ill"}
    done = api.wrote(f"/v1/requests/{number}/fulfilment", late, helper.number)
    assert api.read(f"/v1/hours/{done['record']}", "S1")["late_reason"] == "away-or-ill"
    wrong = hour | {"late_reason": "was ill"}
    api.problem(api.post(f"/v1/requests/{number}/fulfilment", wrong, helper.number), 422, "invalid-request")


def test_a_record_logged_otherwise_is_named_as_the_requests(api: Api) -> None:
    asker, helper = api.new_volunteer(), api.new_volunteer()
    number = asked(api, asker)
    offered(api, number, helper)
    accepted(api, number, asker, helper)
    other = api.logged(helper, hour=12)
    path = f"/v1/requests/{number}/record"
    api.problem(api.post(path, {"record": other}, helper.number), 422, "record-not-for-request")
    record = api.logged(helper, recipient_household=asker.household)
    named = api.wrote(path, {"record": record}, helper.number)
    assert (named["facts"], named["request"], named["record"]) == (["request-fulfilled.v1"], number, record)
    assert api.read(f"/v1/requests/{number}", helper.number)["record"] == record


def test_staff_do_all_of_it_for_those_who_can_not(api: Api) -> None:
    household, helper = api.new_household(), api.new_volunteer()
    number = f"PAPER-{helper.number}"
    assert api.wrote("/v1/requests", asking(api, household, request=number), "S1")["request"] == number
    who = {"volunteer": helper.number}
    api.wrote(f"/v1/requests/{number}/offers", who, "S1")
    api.wrote(f"/v1/requests/{number}/acceptance", who, "S1")
    assert api.wrote(f"/v1/requests/{number}/withdrawal", who, "S1")["request"] == number
    window = {name: asking(api, household)[name] for name in ("earliest_at", "latest_at")}
    api.wrote(f"/v1/requests/{number}/window", window, "S1")
    api.wrote(f"/v1/requests/{number}/offers", who, "S1")
    api.wrote(f"/v1/requests/{number}/acceptance", who, "S2")
    api.wrote(f"/v1/requests/{number}/fulfilment", served(api) | {"record": f"R-{number}"}, "S1")
    assert api.read(f"/v1/requests/{number}", "S1")["record"] == f"R-{number}"


def test_a_request_is_cancelled_by_its_household(api: Api) -> None:
    asker, helper = api.new_volunteer(), api.new_volunteer()
    number = asked(api, asker)
    assert number in open_to(api, helper)
    api.problem(api.post(f"/v1/requests/{number}/cancellation", None, helper.number), 404, "unknown-request")
    api.wrote(f"/v1/requests/{number}/cancellation", None, asker.number)
    assert number not in open_to(api, helper)
    again = api.problem(api.post(f"/v1/requests/{number}/cancellation", None, "S1"), 409, "request-in-other-status")
    assert again["request_status"] == "cancelled"


def test_the_same_key_asks_once(api: Api) -> None:
    asker = api.new_volunteer()
    body = asking(api, asker.household)
    first = api.wrote("/v1/requests", body, asker.number, key="K1")
    again = api.post("/v1/requests", body, asker.number, "K1").json()
    assert (again["repeated"], again["request"]) == (True, first["request"])


def test_what_is_against_the_rules_is_refused(api: Api) -> None:
    asker, helper, other = (api.new_volunteer() for _ in range(3))
    number = asked(api, asker)

    def refused(action: str, body: Any, by: str, status: int, code: str) -> None:
        api.problem(api.post(f"/v1/requests/{number}/{action}", body, by), status, code)

    taken = asking(api, other.household, request=number)
    api.problem(api.post("/v1/requests", taken, other.number), 409, "request-already-asked")
    others = asking(api, helper.household)
    api.problem(api.post("/v1/requests", others, asker.number), 404, "unknown-household")
    past = {
        "earliest_at": (midnight(api.bank) - timedelta(days=3)).isoformat(),
        "latest_at": (midnight(api.bank) - timedelta(days=2)).isoformat(),
    }
    api.problem(api.post("/v1/requests", asking(api, asker.household, **past), asker.number), 422, "window-over")
    refused("window", past, asker.number, 422, "window-over")
    who, somebody = {"volunteer": helper.number}, {"volunteer": other.number}
    refused("offers", who, other.number, 403, "offer-for-somebody-else")
    refused("offers", {"volunteer": asker.number}, asker.number, 422, "own-household-served")
    offered(api, number, helper)
    refused("offers", who, helper.number, 409, "offer-already-made")
    refused("acceptance", somebody, asker.number, 404, "unknown-offer")
    refused("acceptance", who, helper.number, 404, "unknown-request")
    api.tokens["staff who helps"] = api.new_token(helper.number, "staff", XINZHU)
    refused("acceptance", who, "staff who helps", 403, "own-offer-accepted")
    refused("fulfilment", served(api), "S1", 409, "request-in-other-status")
    accepted(api, number, asker, helper)
    refused("acceptance", who, asker.number, 409, "request-in-other-status")
    early = {name: (datetime.fromisoformat(at) - timedelta(days=2)).isoformat() for name, at in served(api).items()}
    refused("fulfilment", early, helper.number, 422, "served-outside-window")
    refused("fulfilment", served(api), asker.number, 403, "not-yourself")
    refused("fulfilment", served(api), other.number, 404, "unknown-request")


@pytest.mark.parametrize(
    "changes",
    [{"needs": ["王奶奶"]}, {"remark": "三楼"}, {"latest_at": "2020-01-01T00:00:00+08:00"}, {"estimated_minutes": 0}],
)
def test_what_is_no_request_is_not_valid(api: Api, changes: dict[str, Any]) -> None:
    asker = api.new_volunteer()
    body = asking(api, asker.household, **changes)
    api.problem(api.post("/v1/requests", body, asker.number), 422, "invalid-request")


def test_times_that_can_not_be_are_not_valid(api: Api) -> None:
    asker = api.new_volunteer()
    number = asked(api, asker)
    backwards = {"earliest_at": "2099-01-02T00:00:00Z", "latest_at": "2099-01-01T00:00:00Z"}
    api.problem(api.post(f"/v1/requests/{number}/window", backwards, asker.number), 422, "invalid-request")
    too_many = served(api) | {"minutes": 61}
    api.problem(api.post(f"/v1/requests/{number}/fulfilment", too_many, asker.number), 422, "invalid-request")


# ── Who sees what ────────────────────────────────────────────────────────────────────────────────────────────────


def test_which_household_asks_is_told_to_the_accepted_volunteer_alone(api: Api) -> None:
    asker, helper, other = (api.new_volunteer() for _ in range(3))
    number = asked(api, asker)
    path = f"/v1/requests/{number}"

    def tells(by: str) -> bool:
        response = api.get(path, by, min_position=api.bank.store.head())
        listed = api.read("/v1/requests/open", by, limit=500)["items"]
        listed += api.read("/v1/requests", by, volunteer=by)["items"]
        found = [str(one) for one in listed if one["request"] == number] + [response.text]
        assert not any(asker.number in text for text in found)
        return any(asker.household in text for text in found)

    for person in (helper, other):
        assert not tells(person.number)
        offered(api, number, person)
        assert not tells(person.number)
    accepted(api, number, asker, helper)
    assert tells(helper.number)
    assert not tells(other.number)
    assert api.read(path, helper.number)["household"] == asker.household
    assert api.read(path, other.number)["offer"] == "made"
    mine = api.read("/v1/requests", helper.number, volunteer=helper.number)["items"]
    assert [(one["request"], one["offer"], one["household"]) for one in mine] == [(number, "accepted", asker.household)]


def test_a_request_is_there_for_those_whom_it_concerns_only(api: Api) -> None:
    asker, helper, stranger = (api.new_volunteer() for _ in range(3))
    number = asked(api, asker)
    path = f"/v1/requests/{number}"
    for reader in (asker.number, "S0", "S1", "auditor", "admin"):
        assert api.read(path, reader)["household"] == asker.household
    assert "household" not in api.read(path, stranger.number)
    offered(api, number, helper)
    accepted(api, number, asker, helper)
    for reader in (stranger.number, "S9"):
        hidden = api.problem(api.get(path, reader, min_position=api.bank.store.head()), 404, "unknown-request")
        absent = api.problem(api.get("/v1/requests/Q-NONE", reader), 404, "unknown-request")
        assert str(hidden).replace(number, "Q-NONE") == str(absent)


def test_who_gives_no_service_is_shown_nothing_to_offer_for(api: Api) -> None:
    household = api.new_household()
    member = f"M{household}"
    api.record((register_member, RegisterMember(member=member, household=household)))
    for person in (member, f"NOBODY-{household}"):
        api.tokens[person] = api.new_token(person, "volunteer")
    api.read("/v1/requests", member)
    api.problem(api.get("/v1/requests/open", member), 403, "not-enrolled")
    api.problem(api.get("/v1/requests/open", f"NOBODY-{household}"), 404, "unknown-member")
    number = asked(api, api.new_volunteer())
    for person in (member, f"NOBODY-{household}"):
        api.problem(api.get(f"/v1/requests/{number}", person), 404, "unknown-request")
    assert api.read("/v1/requests", f"NOBODY-{household}")["items"] == []


def test_lists_reach_no_further_than_their_reader(api: Api) -> None:
    asker, helper = api.new_volunteer(RARE), api.new_volunteer(RARE)
    numbers = [asked(api, asker) for _ in range(3)]
    offered(api, numbers[1], helper)
    accepted(api, numbers[1], asker, helper)

    def listed(by: str, **params: Any) -> list[str]:
        return [one["request"] for one in whole_list(api, "/v1/requests", by, **params)]

    assert listed(asker.number) == listed(asker.number, household=asker.household, limit=2) == numbers
    assert listed(asker.number, status="accepted") == numbers[1:2]
    assert listed(helper.number) == []
    assert listed(helper.number, volunteer=helper.number) == numbers[1:2]
    assert listed("auditor", community=RARE, household=asker.household, limit=1) == numbers
    assert listed("auditor", volunteer=helper.number) == numbers[1:2]
    assert not set(numbers) & set(listed("S1"))
    api.problem(api.get("/v1/requests", "S1", community=RARE), 403, "outside-community")
    api.problem(api.get("/v1/requests/waiting", "S1", community=RARE), 403, "outside-community")
    for params in (
        {"household": asker.household},
        {"volunteer": asker.number},
        {"volunteer": helper.number, "household": asker.household},
    ):
        api.problem(api.get("/v1/requests", helper.number, **params), 403, "own-records-only")


def test_the_statuses_to_list_by_are_those_that_a_request_can_have() -> None:
    assert {*get_args(ListedStatus), "absent"} == set(get_args(Status))


# ── Matching and waiting ─────────────────────────────────────────────────────────────────────────────────────────


def neighbour(api: Api, name: str, community: str, grid: tuple[str, ...] = ()) -> Volunteer:
    """A volunteer whose household lives at a grid."""
    person = Volunteer(0, midnight(api.bank) - timedelta(days=1))
    person.number, person.household = f"{name}-V", f"{name}-H"
    api.record(
        (register_household, RegisterHousehold(household=person.household, community=community, grid=grid)),
        (register_member, RegisterMember(member=person.number, household=person.household)),
        (enrol_volunteer, EnrolVolunteer(volunteer=person.number)),
    )
    api.tokens[person.number] = api.new_token(person.number, "volunteer")
    return person


def test_a_volunteer_sees_the_nearest_first_then_what_they_know_then_what_is_early(api: Api) -> None:
    tag = uuid4().hex[:8].replace("1", "a")
    helper = neighbour(api, f"{tag}-0", XINZHU, GRID)
    record = api.logged(helper, service="理发")
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    places = {"building": GRID, "meta": GRID[:2], "base": GRID[:1], "community": ()}
    found = {}
    for distance, grid in reversed(places.items()):
        found[distance] = asked(api, neighbour(api, f"{tag}-{distance}", XINZHU, grid))
    found["elsewhere"] = asked(api, neighbour(api, f"{tag}-elsewhere", JINHU))
    late = (midnight(api.bank) + timedelta(hours=2)).isoformat()
    near = neighbour(api, f"{tag}-near", XINZHU, GRID)
    found["known"] = asked(api, near, service="理发", earliest_at=late)
    found["late"] = asked(api, near, earliest_at=late)
    own = asked(api, helper)
    rows = {one["request"]: one for one in whole_list(api, "/v1/requests/open", helper.number, limit=3)}
    names = {number: name for name, number in found.items()}
    assert [names[number] for number in rows if number in names] == [
        *("known", "building", "late", "meta", "base", "community", "elsewhere")
    ]
    assert own not in rows
    assert {name: rows[found[name]]["distance"] for name in ("known", "meta", "base", "community", "elsewhere")} == {
        "known": "same-building",
        "meta": "same-meta-grid",
        "base": "same-base-grid",
        "community": "same-community",
        "elsewhere": "elsewhere",
    }
    assert [rows[found[name]]["service_given_before"] for name in ("known", "late")] == [True, False]


@pytest.mark.parametrize("after", ["1", "a,b,c,d", "5,0,0,1", "1,0,0,0,0", "-1,0,0,1", "1,0,1e3,1", "1,0,²,1"])
def test_a_cursor_that_is_none_is_not_valid(api: Api, after: str) -> None:
    helper = api.new_volunteer()
    api.problem(api.get("/v1/requests/open", helper.number, after=after), 422, "invalid-request")


def test_staff_see_what_waits_too_long_and_how_much_there_is(open_bank: Callable[..., Timebank]) -> None:
    bank = open_bank()
    with serving(bank) as api:
        api.record((register_community, RegisterCommunity(community=XINZHU)))
        asker, helper = api.new_volunteer(), api.new_volunteer()
        numbers = [asked(api, asker) for _ in range(3)]
        offered(api, numbers[0], helper)
        accepted(api, numbers[0], asker, helper)
        page = api.read("/v1/requests/waiting", "S1", days=0, limit=1)
        assert (page["count"], [one["request"] for one in page["items"]]) == (2, numbers[1:2])
        assert [one["request"] for one in whole_list(api, "/v1/requests/waiting", "S1", days=0)] == numbers[1:]
        assert api.read("/v1/requests/waiting", "S9", days=0)["count"] == 0
        assert api.read("/v1/requests/waiting", "auditor")["count"] == 0  # since three days


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HOLDING = {"request_hold": True, "payer": "recipient", "balance_minutes_min": -300}


@pytest.fixture
def holding(open_bank: Callable[..., Timebank]) -> Timebank:
    """A ledger that holds what is asked for, of households that may owe five hours: H1 asks, V2 to V20 give."""
    bank = open_bank(**HOLDING)
    people = range(1, 21)
    done(
        bank,
        (register_community, RegisterCommunity(community=XINZHU)),
        *((register_household, RegisterHousehold(household=f"H{n}", community=XINZHU)) for n in people),
        *((register_member, RegisterMember(member=f"V{n}", household=f"H{n}")) for n in people),
        *((enrol_volunteer, EnrolVolunteer(volunteer=f"V{n}")) for n in people),
    )
    return bank


def done(bank: Timebank, *commands: tuple[Any, Any], days_ago: int = 0) -> None:
    """Commands that are accepted, as of some days ago."""
    tickets = [Ticket(decide, command, ADMIN, uuid4().hex) for decide, command in commands]
    Writer(bank.store, bank.zone, clock=lambda: datetime.now(UTC) - timedelta(days=days_ago)).run(tickets)
    for ticket in tickets:
        assert isinstance(ticket.outcome, Accepted), ticket.outcome


def request_of(bank: Timebank, number: str, **changes: Any) -> AskForService:
    today = midnight(bank)
    body = {
        "request": number,
        "household": "H1",
        "service": "助洁",
        "earliest_at": today - timedelta(days=9),
        "latest_at": today + timedelta(days=3),
        "estimated_minutes": 60,
    }
    return AskForService.model_validate(body | changes)


def account(bank: Timebank) -> Account:
    return known(bank.store, Account.of("household:H1"))


def expired(report: DueReport) -> tuple[int, int]:
    return report.done["requests over"], report.refused["requests over"]


def test_what_is_over_expires_once_and_releases_what_was_held(holding: Timebank) -> None:
    long_ago = request_of(holding, "Q1", latest_at=midnight(holding) - timedelta(days=1))
    done(holding, (ask, long_ago), (ask, request_of(holding, "Q2")), days_ago=5)
    assert account(holding).held_minutes == 120
    projector = holding.projector()
    projector.prepare()
    projector.catch_up()
    assert expired(run_due(holding, datetime.now(UTC))) == (1, 0)
    # The projections don't know yet: it is found again, and already done.
    assert expired(run_due(holding, datetime.now(UTC))) == (0, 0)
    projector.catch_up()
    later = datetime.now(UTC) + timedelta(days=9)
    assert expired(run_due(holding, later)) == (0, 1)  # by the writer's clock it is not over
    projector.close()
    assert known(holding.store, ServiceRequest.of("Q1")).status == "expired"
    assert known(holding.store, ServiceRequest.of("Q2")).status == "open"
    assert account(holding) == Account("household:H1", 0, 60)


def test_available_differs_from_the_balance_by_what_is_held(holding: Timebank) -> None:
    done(holding, (ask, request_of(holding, "Q1")))
    with serving(holding) as api:
        balance = api.read("/v1/households/H1/balance", "S1")
    assert [balance[f"{name}_minutes"] for name in ("balance", "held", "available")] == [0, 60, -60]


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────────


def raced(bank: Timebank, commands: list[tuple[Any, Any]]) -> list[Any]:
    """Every command at the same moment, each by a writer of its own as in processes of their own; the outcomes."""
    start = Barrier(len(commands))

    def run(decide: Any, command: Any) -> Any:
        ticket = Ticket(decide, command, ADMIN, uuid4().hex)
        start.wait()
        Writer(bank.store, bank.zone).run([ticket])
        return ticket.outcome

    with ThreadPoolExecutor(len(commands)) as pool:
        return [one.result() for one in [pool.submit(run, *command) for command in commands]]


def test_of_sixteen_acceptances_of_different_offers_exactly_one_holds(holding: Timebank) -> None:
    racers = [f"V{n}" for n in range(2, 2 + RACERS)]
    offers = [(offer, MakeOffer(request="Q1", volunteer=racer)) for racer in racers]
    done(holding, (ask, request_of(holding, "Q1")), *offers)
    outcomes = raced(holding, [(accept, AcceptOffer(request="Q1", volunteer=racer)) for racer in racers])
    winners = [racer for racer, outcome in zip(racers, outcomes, strict=True) if isinstance(outcome, Accepted)]
    assert len(winners) == 1
    assert outcomes.count(RequestInOtherStatus("Q1", "accepted")) == RACERS - 1
    state = known(holding.store, ServiceRequest.of("Q1"))
    assert (state.status, state.volunteer, len(state.offers)) == ("accepted", winners[0], RACERS)


def test_as_many_requests_are_asked_at_once_as_the_household_can_cover(holding: Timebank) -> None:
    outcomes = raced(holding, [(ask, request_of(holding, f"Q{n}")) for n in range(RACERS)])
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, Refusal) for outcome in outcomes) == RACERS - 5
    assert account(holding) == Account("household:H1", 0, 300)
    assert_conserved(holding)


def test_of_sixteen_clicks_at_once_one_accepts(api: Api) -> None:
    asker, helpers = api.new_volunteer(), [api.new_volunteer() for _ in range(RACERS)]
    number = asked(api, asker)
    for helper in helpers:
        offered(api, number, helper)
    path = f"/v1/requests/{number}/acceptance"
    with ThreadPoolExecutor(RACERS) as pool:
        sent = [pool.submit(api.post, path, {"volunteer": helper.number}, asker.number) for helper in helpers]
        answers = [one.result().status_code for one in sent]
    assert sorted(answers) == [201] + [409] * (RACERS - 1)
