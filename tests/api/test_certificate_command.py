"""Certificates as staff issue them on the command line, and what a volunteer's record shows there."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.processes import answer, run

PERIOD = ("--since", "2020-01-01", "--contact", "0771-5550000")
ISSUE = ("certificate", "issue", "V00001", "--in-charge", "S0100", *PERIOD)


@pytest.fixture
def staffed(sample_url: str) -> dict[str, str]:
    """The small district, with a token for one member of its staff."""
    settings = {"TIMEBANK_DATABASE_URL": sample_url}
    answer("token", "add", "--role", "staff", "--person", "S0101", **settings)
    return settings


def test_a_certificate_is_issued_shown_verified_revoked_listed_and_counted_again(staffed: dict[str, str]) -> None:
    issued = answer(*ISSUE, "--by", "S0101", "--in-charge-name", "示例负责人", **staffed)
    number, code = issued["certificate"], issued["code"]
    assert (issued["sequence"], issued["status"], issued["issued_by"], issued["fee"]) == (1, "valid", "S0101", 0)
    assert (issued["contact"], issued["in_charge_name"]) == ("0771-5550000", "示例负责人")
    assert sum(one["minutes"] for one in issued["services"]) == issued["service_minutes"] > 0
    assert answer("certificate", "show", number, **staffed) == issued
    assert answer("certificate", "verify", number, code, **staffed)["status"] == "valid"
    assert answer("certificate", "verify", number, "0" * 16, status=1, **staffed)["status"] == "unknown"
    second = answer(*ISSUE, "--by", "S0101", "--issuer", "新竹社区居委会", **staffed)
    assert (second["sequence"], second["issuer"]) == (2, "新竹社区居委会")
    revoked = answer("certificate", "revoke", number, "--by", "S0101", "--reason", "mistake", **staffed)
    assert (revoked["status"], revoked["reason"]) == ("revoked", "mistake")
    assert answer("certificate", "verify", number, code, status=1, **staffed)["status"] == "revoked"
    again = run("certificate", "revoke", number, "--by", "S0101", "--reason", "other", **staffed)
    assert (again.returncode, again.stdout) == (1, "")
    assert "已经撤销" in again.stderr
    rows = answer("certificate", "list", "--volunteer", "V00001", **staffed)["items"]
    assert [(row["sequence"], row["status"]) for row in rows] == [(1, "revoked"), (2, "valid")]
    public = answer("certificate", "list", "--public", **staffed)["items"]
    assert [row["certificate"] for row in public] == [number, second["certificate"]]
    assert not any("volunteer" in row for row in public)
    assert answer("certificate", "list", "--community", "没有社区", **staffed)["items"] == []
    counted = answer("certificate", "recount", **staffed)
    assert (counted["certificates"], counted["differences"]) == (2, [])
    record = answer("recognition", "V00001", **staffed)
    assert [one["certificate"] for one in record["certificates"]] == [number, second["certificate"]]
    assert record["service_minutes"] == issued["service_minutes"]
    assert answer("replay", **staffed)["differences"] == []


def test_answers_for_people_name_everything_that_is_printed(staffed: dict[str, str]) -> None:
    done = run(*ISSUE, "--by", "S0101", "--handler-name", "示例经办人", **staffed)
    assert done.returncode == 0, done.stderr
    for text in ("志愿服务证明", "V00001", "S0100", "示例经办人", "0771-5550000", "有效", "合成数据"):
        assert text in done.stdout
    number = done.stdout.split("\n")[1].split()[0]
    for arguments in (
        ("certificate", "show", number),
        ("certificate", "list"),
        ("certificate", "list", "--public"),
        ("certificate", "recount"),
        ("recognition", "V00001"),
    ):
        shown = run(*arguments, **staffed)
        assert shown.returncode == 0, shown.stderr
        assert "\x1b" not in shown.stdout
        assert "合成数据" in shown.stdout
    unknown = run("certificate", "verify", number, "X", **staffed)
    assert (unknown.returncode, "查无此证明" in unknown.stdout) == (1, True)


REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "somebody without a token": ((*ISSUE, "--by", "S9999"), "timebank token add"),
    "somebody unknown": (
        ("certificate", "issue", "V-NONE", "--in-charge", "S0100", *PERIOD, "--by", "S0101"),
        "V-NONE",
    ),
    "a bad day": ((*ISSUE, "--by", "S0101", "--until", "31.10.2026"), "2026-10-31"),
    "nothing served": ((*ISSUE, "--by", "S0101", "--until", "2020-01-02"), "没有已确认的服务"),
    "a certificate that isn't there": (("certificate", "show", "2026-000009"), "2026-000009"),
    "nobody's record": (("recognition", "V-NONE"), "V-NONE"),
}


@pytest.mark.parametrize(("arguments", "named"), REFUSED.values(), ids=REFUSED)
def test_what_a_person_can_mend_is_one_line_that_says_how(
    staffed: dict[str, str], arguments: tuple[Any, ...], named: str
) -> None:
    done = run(*arguments, **staffed)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_where_the_ledger_is_not_open_the_command_says_so(tmp_path: Path) -> None:
    done = run("certificate", "list", TIMEBANK_DATA=tmp_path / "data")
    assert done.returncode == 1
    assert "timebank db open" in done.stderr
