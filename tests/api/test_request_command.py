"""``timebank request``, ``statement`` and ``places``: what staff do at a desk, each with a token of their own."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.api.processes import answer, run

PEOPLE = {"volunteer": "V00001", "staff": "S0101", "auditor": "A001"}


@pytest.fixture
def district(sample_url: str, tmp_path: Path) -> dict[str, str]:
    return {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": str(tmp_path / "data")}


def token(district: dict[str, str], role: str, *more: str) -> str:
    return str(answer("token", "add", "--role", role, "--person", PEOPLE[role], *more, **district)["token"])


def window() -> tuple[str, ...]:
    start = datetime.now(ZoneInfo("Asia/Shanghai")).replace(hour=9, minute=0) + timedelta(days=2)
    until = start + timedelta(hours=3)
    return ("--from", f"{start:%Y-%m-%dT%H:%M}", "--to", f"{until:%Y-%m-%dT%H:%M}")


def test_a_request_is_asked_offered_for_accepted_rescheduled_and_cancelled(district: dict[str, str]) -> None:
    places = {**district, "TIMEBANK_TOKEN": token(district, "staff")}
    asking = ("request", "ask", "H00027", "陪诊", *window(), "--minutes", "60", "--need", "lift", "--key", "desk-1")
    asked = answer(*asking, **places)
    assert asked["facts"] == ["request-asked.v1"]
    assert answer(*asking, **places)["repeated"]
    number = asked["request"]
    assert "已办理 done: offer-made.v1" in run("request", "offer", number, "V00001", **places).stdout
    accepted = answer("request", "accept", number, "V00001", **places)
    assert accepted["facts"] == ["offer-accepted.v1"]
    shown = run("request", "show", number, **district).stdout
    for text in ("已约定 accepted", "陪诊", "搀扶起坐", "约定 accepted: V00001", "响应 offer: V00001"):
        assert text in shown
    assert [row["request"] for row in answer("request", "list", "--status", "accepted", **district)] == [number]
    assert answer("request", "withdraw", number, "V00001", **places)["facts"] == ["offer-withdrawn.v1"]
    assert answer("request", "reschedule", number, *window(), **places)["facts"] == ["request-rescheduled.v1"]
    assert answer("request", "cancel", number, **places)["facts"] == ["request-cancelled.v1"]
    again = run("request", "cancel", number, **places)
    assert (again.returncode, again.stdout) == (1, "")
    assert "is cancelled now" in again.stderr


def test_the_hours_of_a_request_are_logged_by_whom_it_was_accepted_for(district: dict[str, str]) -> None:
    staff = {**district, "TIMEBANK_TOKEN": token(district, "staff")}
    now = datetime.now(ZoneInfo("Asia/Shanghai"))
    times = ("--from", f"{now - timedelta(days=9):%Y-%m-%dT00:00}", "--to", f"{now + timedelta(days=1):%Y-%m-%dT23:00}")
    number = answer("request", "ask", "H00027", "助餐", *times, "--minutes", "30", **staff)["request"]
    for step in ("offer", "accept"):
        answer("request", step, number, "V00001", **staff)
    day = now - timedelta(days=9)
    given = ("--from", f"{day:%Y-%m-%dT04:00}", "--to", f"{day:%Y-%m-%dT04:30}")
    done = answer("request", "done", number, *given, "--late-reason", "on-paper", **staff)
    assert done["facts"] == ["hours-logged.v1", "request-fulfilled.v1"]
    assert answer("request", "show", number, **district)["record"] == done["record"]
    (late,) = answer("late-entries", **district)["items"]
    assert (late["records"], late["with_reason"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("request", "show", "Q-NONE"), "There is no service request"),
        (("request", "list", "--status", "lost"), "there are: open, accepted"),
        (("statement", "show", "qingxiu-9"), "There is no statement"),
        (("places", "别处"), "is not registered"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], told: str, district: dict[str, str]) -> None:
    done = run(*arguments, **district)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_nobody_acts_without_a_token_of_a_role_that_may(district: dict[str, str]) -> None:
    command = ("request", "cancel", "Q-1")
    assert run(*command, **district).returncode == 2
    unknown = run(*command, "--token", "tb_no", **district)
    assert (unknown.returncode, "unknown or revoked" in unknown.stderr) == (1, True)
    everywhere = token(district, "staff")
    auditor = run(*command, "--token", token(district, "auditor"), **district)
    assert (auditor.returncode, "The role auditor may not do this" in auditor.stderr) == (1, True)
    ours = answer("request", "ask", "H00027", "陪诊", *window(), "--minutes", "60", "--token", everywhere, **district)
    home = answer("request", "show", ours["request"], **district)["community"]
    other = next(row["community"] for row in answer("places", **district)["communities"] if row["community"] != home)
    bound = token(district, "staff", "--community", other)
    refused = run("request", "cancel", ours["request"], "--token", bound, **district)
    assert (refused.returncode, "There is no service request" in refused.stderr) == (1, True)
    member = ("statement", "issue", "H00001", "xingning", "--token", token(district, "volunteer"))
    answer("keys", "init", **district)
    done = run(*member, **district)
    assert (done.returncode, "The role volunteer may not do this" in done.stderr) == (1, True)


def test_places_are_listed_with_their_grids(district: dict[str, str]) -> None:
    found: dict[str, Any] = answer("places", "新竹社区", **district)
    assert [row["community"] for row in found["communities"]] == ["新竹社区"]
    assert len(found["grids"]) == found["communities"][0]["grids"] > 0
    assert all(grid["name"] == grid["grid"].rpartition("/")[2] for grid in found["grids"])
    assert "新竹社区   网格 grids" in run("places", **district).stdout


def test_a_statement_is_refused_where_it_was_altered_or_its_ledger_is_not_trusted(
    district: dict[str, str], tmp_path: Path
) -> None:
    staff = {**district, "TIMEBANK_TOKEN": token(district, "staff")}
    no_key = run("statement", "issue", "H00001", "xingning", **staff)
    assert (no_key.returncode, "timebank keys init" in no_key.stderr) == (1, True)
    answer("keys", "init", **district)
    denied = run("statement", "issue", "H00001", "xingning", **staff)
    assert (denied.returncode, "another ledger" in denied.stderr) == (1, True)  # not under this policy
    for content, told in ((b"not a statement", "never signed it"), (b"\xff\xfe", "is no statement")):
        file = tmp_path / "statement.txt"
        file.write_bytes(content)
        done = run("statement", "pay-in", "H00027", file, **staff)
        assert (done.returncode, told in done.stderr) == (1, True)
