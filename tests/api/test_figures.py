"""The public figures over HTTP: anybody may read them, and they say what they mean."""

from datetime import datetime, timedelta

import pytest

from domain.figures import DEFINITIONS
from tests.api.service import GRID, XINZHU, Api


def test_figures_are_public_and_say_what_they_mean(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_household()
    before = api.read("/v1/figures")
    record = api.logged(anna, recipient_household=served, community=XINZHU, grid=GRID)
    assert api.read("/v1/figures") == before | {"position": before["position"] + 1}
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    after = api.read("/v1/figures")
    grown = [after[name] - before[name] for name in ("households_served", "service_minutes", "service_records")]
    assert grown == [1, 60, 1]
    assert after["position"] == api.bank.store.head()
    assert after["as_of"] == str(datetime.now(api.bank.zone).date())
    assert set(after["definitions"]) == set(DEFINITIONS)
    assert after["synthetic"] is True
    assert "合成数据" in after["notice"]
    by_grid = {cell["key"]: cell for cell in api.read("/v1/figures", by="grid", level=3)["cells"]}
    assert by_grid["/".join((XINZHU, *GRID))]["service_records"] >= 1
    two_days_ago = str(datetime.now(api.bank.zone).date() - timedelta(days=2))
    assert api.read("/v1/figures", as_of=two_days_ago)["service_records"] == 0
    assert api.read("/v1/figures", as_of=two_days_ago, basis="recorded")["position"] == 0
    api.wrote(f"/v1/hours/{record}/reversal", {"reason": "other"}, "S1")
    assert api.read("/v1/figures") == before | {"position": after["position"] + 1}


@pytest.mark.parametrize("by", ["community", "grid", "service", "month"])
def test_the_cells_of_every_dimension_add_up(api: Api, by: str) -> None:
    record = api.logged(api.new_volunteer())
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    for basis in ("service", "recorded"):
        found = api.read("/v1/figures", by=by, basis=basis)
        for name in ("service_minutes", "service_records"):
            assert sum(cell[name] for cell in found["cells"]) == found[name] > 0


@pytest.mark.parametrize(
    "question",
    [{"as_of": "yesterday"}, {"as_of": "2026-13-01"}, {"basis": "x"}, {"by": "person"}, {"level": 4}, {"level": 0}],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(api: Api, question: dict[str, str]) -> None:
    api.problem(api.get("/v1/figures", None, **question), 422, "invalid-request")


@pytest.mark.parametrize("as_of", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("basis", ["service", "recorded"])
def test_any_day_there_is_can_be_asked_for(api: Api, as_of: str, basis: str) -> None:
    found = api.read("/v1/figures", as_of=as_of, basis=basis)
    assert found["as_of"] == as_of
    assert bool(found["service_records"]) is as_of.startswith("9")
