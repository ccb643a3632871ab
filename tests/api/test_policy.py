"""The rule book over HTTP."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from api.wiring import Timebank
from domain.presets import PRESETS
from tests.api.service import XINZHU, Api, register_places, serving

PROPOSALS = "/v1/policies/proposals"


def with_second_admin(api: Api) -> Api:
    api.tokens["admin2"] = api.new_token("admin2", "admin")
    return api


def tomorrow(bank: Timebank) -> str:
    return str(datetime.now(bank.zone).date() + timedelta(days=1))


def test_a_policy_is_proposed_by_one_adopted_by_another_and_listed(open_bank: Callable[..., Timebank]) -> None:
    bank = open_bank()
    with serving(bank) as api:
        with_second_admin(api)
        later = {"proposal": "P1", "effective_on": tomorrow(bank), "policy": {"record_minutes_min": 30}}
        proposed = api.wrote(PROPOSALS, later, "admin")
        assert (proposed["facts"], proposed["proposal"]) == (["policy-proposed.v1"], "P1")
        assert [(item["proposed_by"], item["status"]) for item in api.read(PROPOSALS, "auditor")["items"]] == [
            ("admin", "open")
        ]
        assert len(api.read("/v1/policies")["items"]) == 1
        approval = f"{PROPOSALS}/P1/approval"
        api.problem(api.request("POST", approval, "admin"), 403, "decided-by-proposer")
        adopted = api.request("POST", approval, "admin2", key="once")
        assert (adopted.status_code, adopted.json()["facts"]) == (201, ["policy-adopted.v2"])
        assert api.request("POST", approval, "admin2", key="once").json()["repeated"]
        first, second = api.read("/v1/policies")["items"]
        assert (first["version"], first["effective_on"]) == (1, "2020-01-01")
        assert (second["version"], second["effective_on"], second["proposal"]) == (2, later["effective_on"], "P1")
        assert second["policy"]["record_minutes_min"] == 30
        assert second["policy"]["record_minutes_max"] == first["policy"]["record_minutes_max"]
        assert api.read(PROPOSALS, "auditor")["items"][0]["status"] == "adopted"
        api.problem(api.request("POST", approval, "admin2"), 409, "policy-proposal-settled")
        for day in (datetime.now(bank.zone).date(), later["effective_on"]):
            api.problem(api.post(PROPOSALS, {"effective_on": str(day)}, "admin"), 422, "policy-too-early")


def test_a_proposal_is_rejected_by_another_or_withdrawn_by_its_own(api: Api) -> None:
    with_second_admin(api)
    for number in ("P1", "P2"):
        api.wrote(PROPOSALS, {"proposal": number, "effective_on": tomorrow(api.bank)}, "admin")
    again = api.post(PROPOSALS, {"proposal": "P1", "effective_on": tomorrow(api.bank)}, "admin2")
    api.problem(again, 409, "policy-proposal-exists")
    reason = {"reason": "not-agreed"}
    api.problem(api.post(f"{PROPOSALS}/P1/rejection", reason, "admin"), 403, "decided-by-proposer")
    api.problem(api.post(f"{PROPOSALS}/P1/rejection", {"reason": "because"}, "admin2"), 422, "invalid-request")
    assert api.wrote(f"{PROPOSALS}/P1/rejection", reason, "admin2")["proposal"] == "P1"
    api.problem(api.request("POST", f"{PROPOSALS}/P2/withdrawal", "admin2"), 403, "policy-withdrawn-by-another")
    assert api.request("POST", f"{PROPOSALS}/P2/withdrawal", "admin").json()["facts"] == [
        "policy-proposal-withdrawn.v1"
    ]
    statuses = {item["proposal"]: item["status"] for item in api.read(PROPOSALS, "admin")["items"]}
    assert (statuses["P1"], statuses["P2"]) == ("rejected", "withdrawn")
    for path in ("P9/approval", "P9/withdrawal"):
        api.problem(api.request("POST", f"{PROPOSALS}/{path}", "admin"), 404, "unknown-policy-proposal")
    assert len(api.read("/v1/policies")["items"]) == 1


def test_no_later_policy_is_adopted_alone_and_none_is_proposed_that_makes_no_sense(api: Api) -> None:
    alone = api.post("/v1/policies", {"effective_on": tomorrow(api.bank)}, "admin")
    api.problem(alone, 403, "policy-needs-approval")
    for wrong in ({"payer": "me"}, {"record_minutes_min": 90, "record_minutes_max": 60}, {"no_such_rule": 1}):
        body = {"effective_on": tomorrow(api.bank), "policy": wrong}
        api.problem(api.post(PROPOSALS, body, "admin"), 422, "invalid-request")


def test_administrators_alone_change_the_rules_and_proposals_are_for_those_who_inspect(api: Api) -> None:
    person = api.new_volunteer()
    for caller in ("S1", "auditor", person.number):
        proposal = api.post(PROPOSALS, {"effective_on": tomorrow(api.bank)}, caller)
        api.problem(proposal, 403, "role-not-allowed")
        api.problem(api.request("POST", f"{PROPOSALS}/P1/approval", caller), 403, "role-not-allowed")
    api.problem(api.get(PROPOSALS, person.number), 403, "role-not-allowed")
    api.problem(api.get(PROPOSALS), 401, "unauthorized")


def test_one_proposal_is_adopted_once_however_many_approve_it(open_bank: Callable[..., Timebank]) -> None:
    bank = open_bank()
    with serving(bank) as api, ThreadPoolExecutor(16) as racers:
        api.wrote(PROPOSALS, {"proposal": "P1", "effective_on": tomorrow(bank)}, "admin")
        admins = [f"admin{number}" for number in range(16)]
        for admin in admins:
            api.tokens[admin] = api.new_token(admin, "admin")
        answers = racers.map(lambda admin: api.request("POST", f"{PROPOSALS}/P1/approval", admin).status_code, admins)
        assert sorted(answers) == [201, *[409] * 15]
        assert [item["version"] for item in api.read("/v1/policies")["items"]] == [1, 2]


def test_the_rules_of_other_places_are_public_and_can_be_proposed_as_they_are(api: Api) -> None:
    presets = {item["name"]: item for item in api.read("/v1/policies/presets")["items"]}
    assert list(presets) == list(PRESETS)
    nanjing = presets["nanjing"]
    assert nanjing["settings"]["balance_minutes_max"] == nanjing["policy"]["balance_minutes_max"] == 90_000
    assert {"zh", "en"} == set(nanjing["unsaid"][0])
    body = {"proposal": "P-nanjing", "effective_on": tomorrow(api.bank), "policy": nanjing["policy"]}
    assert api.wrote(PROPOSALS, body, "admin")["proposal"] == "P-nanjing"


def test_nothing_is_granted_before_any_policy_is_in_force(open_bank: Callable[..., Timebank]) -> None:
    bank = open_bank(from_tomorrow=True)
    with serving(bank) as api:
        register_places(api)
        api.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 60}, "admin")
        grant = {"household": api.new_household(), "minutes": 10, "need": "other"}
        api.problem(api.post("/v1/grants", grant, "S1"), 422, "no-policy-in-force")
