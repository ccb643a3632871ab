"""The board over HTTP and on the command line: staff see their community's, auditors and administrators all."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from api import wiring
from application.sample import SampleSummary
from domain.household import AttestAge, attest_age
from domain.signals import RULES
from domain.solvency import DEFINITIONS
from projections.queue import QUEUES
from tests.api.processes import answer, run
from tests.api.service import JINHU, XINZHU, Api, Volunteer

BOARDS = (
    *("/v1/queues", "/v1/queues/to-confirm", "/v1/late-entries", "/v1/late-entries/counts"),
    *("/v1/solvency", "/v1/signals"),
)


def counts(api: Api, by: str, **asked: Any) -> dict[str, int]:
    return {item["queue"]: item["count"] for item in api.read("/v1/queues", by, **asked)["items"]}


def busy(api: Api, hours: int, community: str = XINZHU) -> Volunteer:
    """Somebody with so many records of one hour on one day."""
    anna = api.new_volunteer(community)
    for hour in range(hours):
        api.logged(anna, hour=8 + hour)
    return anna


def signalled(api: Api, by: str, **asked: Any) -> list[list[str]]:
    """Whom the rule about implausible days names."""
    rules = {rule["rule"]: rule for rule in api.read("/v1/signals", by, **asked)["rules"]}
    return [signal["who"] for signal in rules["implausible-day"]["signals"]]


def test_a_record_is_in_the_queue_of_its_community_until_it_is_confirmed(api: Api) -> None:
    before, elsewhere, all_before = counts(api, "S1"), counts(api, "S9"), counts(api, "admin")
    record = api.logged(api.new_volunteer())
    assert counts(api, "S1")["to-confirm"] == before["to-confirm"] + 1
    assert counts(api, "S9") == elsewhere
    for by in ("admin", "auditor", "S0"):
        assert counts(api, by)["to-confirm"] == all_before["to-confirm"] + 1
    assert counts(api, "admin", community=JINHU) == elsewhere
    items = api.read("/v1/queues/to-confirm", "S1", limit=500)["items"]
    assert items[-1]["record"] == record
    assert (items[-1]["waiting_days"], items[-1]["community"]) == (0, XINZHU)
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    assert counts(api, "S1") == before


def test_a_queue_says_what_waits_in_it_and_comes_in_pages(api: Api) -> None:
    busy(api, 3)
    found = api.read("/v1/queues", "S1")
    assert [item["queue"] for item in found["items"]] == [queue.name for queue in QUEUES]
    assert all(item["definition"] for item in found["items"])
    assert found["community"] == XINZHU
    assert "合成数据" in found["notice"]
    everything = [item["record"] for item in api.read("/v1/queues/to-confirm", "S1", limit=500)["items"]]
    pages, after = [], 0
    while after is not None:
        page = api.read("/v1/queues/to-confirm", "S1", limit=2, after=after)
        pages += [item["record"] for item in page["items"]]
        after = page["next"]
    assert pages == everything
    assert len(pages) >= 3


def test_a_late_entry_is_listed_with_its_reason_after_it_is_confirmed_too(api: Api) -> None:
    before = api.read("/v1/late-entries/counts", "S1")["records"]
    anna = api.new_volunteer()
    api.logged(anna, days_ago=2, late_reason="forgotten")  # in time, so nothing is kept of it
    record = api.logged(anna, days_ago=9, late_reason="no-network")
    assert api.read(f"/v1/hours/{record}", "S1")["late_reason"] == "no-network"
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    counts = api.read("/v1/late-entries/counts", "S1")
    assert counts["records"] == before + 1
    assert counts["items"][0]["community"] == XINZHU
    assert sum(each["records"] for each in counts["items"]) == counts["records"]
    last = api.read("/v1/late-entries", "auditor", status="confirmed", limit=500)["items"][-1]
    assert (last["record"], last["days_late"], last["late_reason"], last["status"]) == (
        *(record, 9, "no-network"),
        "confirmed",
    )
    first = api.read("/v1/late-entries", "S1", limit=1)
    assert len(first["items"]) == 1
    assert api.read("/v1/late-entries", "S9", since="2199-01-01")["items"] == []


def test_a_queue_that_there_is_not_is_not_found(api: Api) -> None:
    api.problem(api.get("/v1/queues/nothing", "S1"), 404, "not-found")


@pytest.mark.parametrize("path", BOARDS)
def test_staff_see_their_own_community_and_members_nothing(api: Api, path: str) -> None:
    api.problem(api.get(path, "S1", community=JINHU), 403, "outside-community")
    api.problem(api.get(path, api.new_volunteer().number), 403, "role-not-allowed")
    assert api.get(path, "S1", community=XINZHU).status_code == 200
    for by in ("auditor", "admin", "S0"):
        assert api.get(path, by, community=JINHU).status_code == 200


def test_solvency_balances_and_says_what_it_means(api: Api) -> None:
    record = api.logged(anna := api.new_volunteer())
    before = api.read("/v1/solvency", "auditor")
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S1")
    after = api.read("/v1/solvency", "auditor")
    assert after["outstanding"]["total_minutes"] == before["outstanding"]["total_minutes"] + 60
    assert after["issued"]["issued_minutes"] == before["issued"]["issued_minutes"] + 60
    assert after["waiting"]["records"] == before["waiting"]["records"] + 1
    assert {cell["difference_minutes"] for cell in (after["issued"], *after["issued_by_community"])} == {0}
    assert set(after["definitions"]) == set(DEFINITIONS)
    assert set(DEFINITIONS) <= after.keys() | {"issued"}
    assert after["synthetic"]
    assert "合成数据" in after["notice"]
    own = api.read("/v1/solvency", "S1")
    assert (own["community"], own["issued"]) == (XINZHU, None)
    assert [cell["community"] for cell in own["issued_by_community"]] == [XINZHU]
    assert own == api.read("/v1/solvency", "admin", community=XINZHU)
    api.record((attest_age, AttestAge(person=anna.number, age_years_min=80)))
    assert api.read("/v1/solvency", "S1")["idle_savers"]["households"] == 0  # they saved only yesterday


def test_a_signal_names_its_rule_and_its_records_to_those_of_its_community(api: Api) -> None:
    anna, ben = busy(api, 6), busy(api, 5)
    found = api.read("/v1/signals", "auditor")
    assert [rule["rule"] for rule in found["rules"]] == list(RULES)
    for rule in found["rules"]:
        assert rule["parameters"] == RULES[rule["rule"]].parameters
        assert rule["text"] == f"{RULES[rule['rule']].zh} / {RULES[rule['rule']].en}"
    (signal,) = [each for rule in found["rules"] for each in rule["signals"] if each["who"] == [anna.number]]
    assert (signal["records_count"], signal["service_minutes"], signal["communities"]) == (6, 360, [XINZHU])
    assert len(set(signal["records"])) == 6
    for record in signal["records"]:
        assert api.read(f"/v1/hours/{record}", "auditor")["volunteer"] == anna.number
    assert [anna.number] in signalled(api, "S1")
    assert [anna.number] not in signalled(api, "S9")
    assert [ben.number] not in signalled(api, "auditor")
    tomorrow = str(datetime.now(api.bank.zone).date() + timedelta(days=1))
    assert signalled(api, "auditor", since=tomorrow) == []


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01"])
def test_a_day_that_there_is_not_is_refused(api: Api, since: str) -> None:
    api.problem(api.get("/v1/signals", "auditor", since=since), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/v1/signals", "/v1/solvency"])
def test_an_answer_is_kept_for_a_while_unless_a_fresher_one_is_asked_for(api: Api, path: str) -> None:
    first = api.read(path, "auditor")
    position = api.wrote("/v1/hours", (anna := api.new_volunteer()).hours(), anna.number)["position"]
    api.read("/v1/hours", "auditor")
    assert api.get(path, "auditor").json() == first
    assert api.read(path, "auditor")["position"] >= position


@pytest.mark.parametrize("path", BOARDS[:1] + BOARDS[3:])
def test_what_is_asked_while_too_much_is_counted_is_told_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(wiring, "FIGURES_WAIT_SECONDS_MAX", 0.05)
    monkeypatch.setattr(api.app.state.service, "_counts", asyncio.Semaphore(0))
    # A position that no kept answer has.
    position = api.wrote("/v1/hours", (anna := api.new_volunteer()).hours(), anna.number)["position"]
    api.read("/v1/hours", "auditor")
    response = api.get(path, "auditor", min_position=position)
    api.problem(response, 503, "figures-busy")
    assert response.headers["retry-after"] == "1"


# ── The command line ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sample_set(sample_url: str) -> dict[str, str]:
    """The settings for a ledger of its own with the small district in it."""
    return {"TIMEBANK_DATABASE_URL": sample_url}


def test_each_board_is_one_json_document(sample_set: dict[str, str], sample: tuple[Any, SampleSummary]) -> None:
    _, summary = sample
    waiting = {item["queue"]: item["count"] for item in answer("queues", **sample_set)["items"]}
    assert waiting == {queue.name: 0 for queue in QUEUES} | {"to-confirm": summary.pending}
    solvency = answer("solvency", **sample_set)
    issued = solvency["issued"]
    assert issued["issued_minutes"] == summary.service_minutes
    assert {cell["difference_minutes"] for cell in (issued, *solvency["issued_by_community"])} == {0}
    assert sum(cell["issued_minutes"] for cell in solvency["issued_by_community"]) == issued["issued_minutes"]
    signals = answer("signals", "--since", "2022-01-01", **sample_set)
    assert [rule["rule"] for rule in signals["rules"]] == list(RULES)
    # An ordinary district has nothing to hide.
    assert sum(rule["count"] for rule in signals["rules"]) <= 2
    one = answer("solvency", "--community", XINZHU, **sample_set)
    assert [cell["community"] for cell in one["issued_by_community"]] == [XINZHU]


@pytest.mark.parametrize("command", ["queues", "late-entries", "solvency", "signals"])
def test_each_board_is_plain_to_read(sample_set: dict[str, str], command: str) -> None:
    done = run(command, **sample_set)
    assert (done.returncode, done.stderr) == (0, "")
    assert "合成数据" in done.stdout
    shown = {"queues": "待确认 To confirm", "solvency": "合计 total", "signals": "always-round: "}
    shown["late-entries"] = "补登 late: 0"  # all of the sample was imported
    assert shown[command] in done.stdout


def test_the_command_line_takes_days_as_they_are_written(sample_set: dict[str, str]) -> None:
    found = answer("signals", "--since", "2024-02-29", **sample_set)
    assert (found["since"], found["until"]) == ("2024-02-29", str(date.fromisoformat(found["until"])))
    late = answer("late-entries", "--since", "2024-02-29", "--until", "2024-03-31", **sample_set)
    assert (late["since"], late["until"], late["items"]) == ("2024-02-29", "2024-03-31", [])
    assert run("signals", "--since", "yesterday", **sample_set).returncode == 2
