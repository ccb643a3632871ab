"""The rule book over HTTP."""

from collections.abc import Callable
from datetime import datetime, timedelta

from api.wiring import Timebank
from tests.api.service import XINZHU, register_places, serving


def test_a_policy_is_adopted_from_a_later_day_on_and_listed(open_bank: Callable[..., Timebank]) -> None:
    bank = open_bank()
    today = datetime.now(bank.zone).date()
    with serving(bank) as api:
        later = {"effective_on": str(today + timedelta(days=1)), "policy": {"record_minutes_min": 30}}
        assert api.wrote("/v1/policies", later, "admin")["facts"] == ["policy-adopted.v2"]
        first, second = api.read("/v1/policies")["items"]
        assert (first["version"], first["effective_on"]) == (1, "2020-01-01")
        assert (second["version"], second["effective_on"]) == (2, later["effective_on"])
        assert second["policy"]["record_minutes_min"] == 30
        assert second["policy"]["record_minutes_max"] == first["policy"]["record_minutes_max"]
        for day in (today, today + timedelta(days=1)):
            api.problem(api.post("/v1/policies", {"effective_on": str(day)}, "admin"), 422, "policy-too-early")
        for wrong in ({"payer": "me"}, {"record_minutes_min": 90, "record_minutes_max": 60}, {"no_such_rule": 1}):
            body = {"effective_on": str(today + timedelta(days=9)), "policy": wrong}
            api.problem(api.post("/v1/policies", body, "admin"), 422, "invalid-request")


def test_nothing_is_granted_before_any_policy_is_in_force(open_bank: Callable[..., Timebank]) -> None:
    bank = open_bank(from_tomorrow=True)
    with serving(bank) as api:
        register_places(api)
        api.wrote("/v1/pools/funding", {"community": XINZHU, "minutes": 60}, "admin")
        grant = {"household": api.new_household(), "minutes": 10, "need": "other"}
        api.problem(api.post("/v1/grants", grant, "S1"), 422, "no-policy-in-force")
