"""The public figures over HTTP: anybody may read them, and they say what they mean."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from api import wiring
from api.wiring import Counted, FiguresAsked, KeptFigures, Service, Timebank
from domain.decision import Actor
from domain.figures import DEFINITIONS
from domain.policy import ApprovePolicy, ProposePolicy, approve_policy, propose_policy
from tests.api.processes import until
from tests.api.service import GRID, JINHU, XINZHU, Api, register_places, serving


def test_figures_are_public_and_say_what_they_mean(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_household()
    before = api.read("/v1/figures")
    two_days_ago = str(datetime.now(api.bank.zone).date() - timedelta(days=2))
    earlier = api.read("/v1/figures", as_of=two_days_ago)["service_records"]
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
    assert api.read("/v1/figures", as_of=two_days_ago)["service_records"] == earlier
    assert api.read("/v1/figures", as_of=two_days_ago, basis="recorded")["position"] == 0
    api.wrote(f"/v1/hours/{record}/reversal", {"reason": "other"}, "S1")
    assert api.read("/v1/figures") == before | {"position": after["position"] + 1}


def test_nobody_is_singled_out_by_a_cell(open_bank: Callable[..., Timebank]) -> None:
    """As many volunteers and households as the policy says, at every level, or it is put together."""
    with serving(open_bank(disclosure_count_min=3)) as api:
        register_places(api)
        part, other = "/".join((XINZHU, *GRID)), "/".join((XINZHU, GRID[0]))

        def cells(**question: Any) -> dict[str, tuple[int, int]]:
            found = api.read("/v1/figures", **question)
            assert found["count_min"] == 3
            return {cell["key"]: (cell["households_served"], cell["service_records"]) for cell in found["cells"]}

        households = [api.new_household() for _ in range(4)]
        for household in households[:2]:
            api.served(3, recipient_household=household, grid=GRID)
        assert api.read("/v1/figures")["service_records"] == 6
        assert api.read("/v1/figures")["count_min"] is None
        assert cells(by="grid", level=3) == cells(by="community") == cells(by="month") == {}
        api.served(1, recipient_household=households[2], grid=GRID)
        assert cells(by="grid", level=3) == {part: (3, 7)}
        assert cells(by="community") == {XINZHU: (3, 7)}
        # What is left beside the building would tell of one household: it takes the building with it.
        api.served(3, recipient_household=households[3], grid=GRID[:1])
        assert cells(by="grid", level=3) == {other: (4, 10)}
        assert cells(by="grid", level=1) == {other: (4, 10)}
        # Service for no household names none, and still who gave it.
        api.served(2, JINHU)
        assert cells(by="community") == {"": (4, 12)}
        api.served(1, JINHU)
        assert cells(by="community") == {XINZHU: (4, 10), JINHU: (0, 3)}


def test_exact_figures_are_for_auditors_and_the_staff_of_the_whole_district(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_household()
    record = api.logged(anna, recipient_household=served, community=XINZHU, grid=GRID)
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    path, question = "/v1/figures/exact", {"by": "grid", "level": 3}
    found = api.read(path, "auditor", **question)
    assert {cell["key"]: cell["service_records"] for cell in found["cells"]}["/".join((XINZHU, *GRID))] >= 1
    assert (found["count_min"], found["places"]) == (None, "then")
    assert api.read(path, "S0", **question) == api.read(path, "admin", **question) == found
    api.problem(api.get(path, None, **question), 401, "unauthorized")
    api.problem(api.get(path, anna.number, **question), 403, "role-not-allowed")
    api.problem(api.get(path, "S1", **question), 403, "outside-community")
    # Counted where it was and where it is, a place would tell of what has moved: only here.
    assert api.read("/v1/figures", by="community", places="now")["places"] == "then"


def test_what_is_published_goes_by_the_policy_of_the_day(
    open_bank: Callable[..., Timebank], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stricter policy comes into force at midnight, when nothing is recorded that could be waited for."""
    with serving(open_bank(disclosure_count_min=3)) as api:
        register_places(api)
        api.served(4)
        as_of = str(datetime.now(api.bank.zone).date())
        tomorrow = datetime.now(api.bank.zone).date() + timedelta(days=1)
        stricter: Any = {"disclosure_count_min": 5}
        api.record((propose_policy, ProposePolicy(proposal="P1", effective_on=tomorrow, policy=stricter)))
        api.record((approve_policy, ApprovePolicy(proposal="P1")), actor=Actor("D2", "admin"))
        question = {"by": "community", "as_of": as_of}
        assert api.read("/v1/figures", **question)["count_min"] == 3

        class Tomorrow(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + timedelta(days=1)

        monkeypatch.setattr("api.figures.datetime", Tomorrow)
        found = api.read("/v1/figures", **question)
        assert (found["count_min"], found["cells"], found["service_records"]) == (5, [], 4)


@pytest.mark.parametrize("by", ["community", "grid", "service", "month"])
def test_the_cells_of_every_dimension_add_up(api: Api, by: str) -> None:
    for _ in range(5):
        api.served(1, recipient_household=api.new_household())
    for basis in ("service", "recorded"):
        found = api.read("/v1/figures", by=by, basis=basis)
        for name in ("service_minutes", "service_records"):
            assert sum(cell[name] for cell in found["cells"]) == found[name] > 0


@pytest.mark.parametrize(
    "question",
    [
        {"as_of": "yesterday"},
        {"as_of": "2026-13-01"},
        {"as_of": "0"},
        {"as_of": "1764115200"},
        {"basis": "x"},
        {"by": "person"},
        {"level": 4},
        {"level": 0},
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(api: Api, question: dict[str, str]) -> None:
    found = api.problem(api.get("/v1/figures", None, **question), 422, "invalid-request")
    assert [error["field"] for error in found["errors"]] == list(question)


@pytest.mark.parametrize("as_of", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("basis", ["service", "recorded"])
def test_any_day_there_is_can_be_asked_for(api: Api, as_of: str, basis: str) -> None:
    found = api.read("/v1/figures", as_of=as_of, basis=basis)
    assert found["as_of"] == as_of
    assert bool(found["service_records"]) is as_of.startswith("9")


def test_answers_are_kept_in_a_bounded_number_of_bytes_the_last_counted_ones() -> None:
    kept, first = KeptFigures(), date(2020, 1, 1)
    for day in range(100):
        kept.keep((first + timedelta(day), "service", None, 1), Counted(0.0, day, b"x" * 1_000_000))
        assert kept.bytes <= wiring.FIGURES_BYTES_MAX
    held = [day for day in range(100) if kept.get((first + timedelta(day), "service", None, 1))]
    assert held == list(range(93, 100))
    again = (first + timedelta(99), "service", None, 1)
    kept.keep(again, Counted(1.0, 100, b"y"))
    assert kept.get(again) == Counted(1.0, 100, b"y")
    assert kept.bytes == 6 * 1_001_000 + 1_001
    kept.keep(again, Counted(1.0, 100, b"x" * wiring.FIGURES_BYTES_MAX))  # by itself too large
    assert (kept.get(again), kept.bytes) == (None, 0)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[Any]]:
    """Counts wait for the event; the list has the day of each one begun."""
    may_go_on, begun = threading.Event(), []
    count = Service._count_figures

    def slow(self: Service, asked: FiguresAsked) -> Counted:
        begun.append(asked.as_of)
        assert may_go_on.wait(60)
        return count(self, asked)

    monkeypatch.setattr(Service, "_count_figures", slow)
    return may_go_on, begun


def test_one_question_is_counted_once_for_all_who_ask_it_at_once(
    api: Api, counting: tuple[threading.Event, list[Any]]
) -> None:
    may_go_on, begun = counting
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(api.get, "/v1/figures", None, as_of="1990-01-01", level=n % 3 + 1) for n in range(8)]
        until(lambda: len(begun) == 1)
        may_go_on.set()
        assert {one.result().status_code for one in asked} == {200}
    assert begun == [date(1990, 1, 1)]


def test_questions_beyond_what_is_counted_at_once_wait_a_while_and_those_kept_do_not(
    api: Api, counting: tuple[threading.Event, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, begun = counting
    monkeypatch.setattr(wiring, "FIGURES_SECONDS", 1e9)
    may_go_on.set()
    assert api.get("/v1/figures", None, as_of="1991-01-01").status_code == 200
    may_go_on.clear()
    begun.clear()
    monkeypatch.setattr(wiring, "FIGURES_WAIT_SECONDS_MAX", 0.2)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(api.get, "/v1/figures", None, as_of=f"1992-01-0{n}") for n in (1, 2)]
        until(lambda: len(begun) == 2)
        response = api.get("/v1/figures", None, as_of="1993-01-01")
        api.problem(response, 503, "figures-busy")
        assert response.headers["retry-after"] == "1"
        assert api.get("/v1/figures", None, as_of="1991-01-01").status_code == 200
        assert len(begun) == wiring.FIGURES_COUNTED_AT_ONCE_MAX
        may_go_on.set()
        assert {one.result().status_code for one in asked} == {200}
    assert api.get("/v1/figures", None, as_of="1993-01-01").status_code == 200
